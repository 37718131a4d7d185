/* SPDX-License-Identifier: MIT */
/*
 * Sending a part of a file.
 *
 * Floor 3. A socket gets it by sendfile(2), in slices, so that a long file neither keeps the loop
 * nor defers a cancel; anything else, and files that sendfile does not take, by pread(2) and a
 * write of the class. Both leave the file's own position alone. Reading a file may wait for the
 * disk, and the loop with it.
 */
#include <errno.h>
#include <poll.h>

#include "base/alloc.h"
#include "net/stream.h"
#include "sys/call.h"
#include "sys/call_file.h"

#define SLICE ((size_t)1 << 20)
#define COPY_SIZE ((size_t)64 * 1024)

static int await_room(struct weft_stream *s, weft_deadline d)
{
    struct weft__io io;
    io.op = (struct weft__op){.kind = WEFT__OP_POLL, .fd = s->fd, .u.poll = {.events = POLLOUT}};
    int events = weft__fd_await(s, &io, true, d);
    return events < 0 ? events : 0;
}

/* One slice: > 0, or 0 at the end of the file; -EINVAL and -ENOSYS: not by sendfile. */
static ssize_t send_slice(struct weft_stream *s, int fd, off_t *offset, size_t len, weft_deadline d)
{
    int err = weft__wait_check();
    while (err == 0 && !s->closed) {
        ssize_t n = weft__call_sendfile(s->fd, fd, offset, weft__min_size(len, SLICE));
        if (n != -EAGAIN)
            return n;
        err = await_room(s, d);
    }
    return err < 0 ? err : WEFT_ECLOSED;
}

static int copy(struct weft_stream *s, int fd, off_t *offset, size_t len, size_t *moved,
                weft_deadline d)
{
    int err = 0;
    void *buf = weft__alloc(weft__min_size(len, COPY_SIZE));
    if (buf == NULL)
        return -ENOMEM;
    while (err == 0 && len > 0) {
        size_t went = 0;
        ssize_t n = weft__call_pread(fd, buf, weft__min_size(len, COPY_SIZE), *offset);
        if (n <= 0) {
            err = n < 0 ? (int)n : WEFT_EEOF;
            break;
        }
        struct iovec iov = {.iov_base = buf, .iov_len = (size_t)n};
        err = s->cls->write(s, &iov, 1, &went, d);
        *offset += (off_t)went;
        *moved += went;
        len -= went;
        weft__stream_sent(s, went);
    }
    weft__free(buf);
    return err;
}

static int send_all(struct weft_stream *s, int fd, off_t *offset, size_t len, size_t *moved,
                    weft_deadline d)
{
    while (s->socket && len > 0) {
        ssize_t n = send_slice(s, fd, offset, len, d);
        if (n == -EINVAL || n == -ENOSYS)
            break;
        if (n <= 0)
            return n < 0 ? (int)n : WEFT_EEOF;
        *moved += (size_t)n;
        len -= (size_t)n;
        weft__stream_sent(s, (size_t)n);
        if (len > 0)
            weft__charge();
    }
    return len > 0 ? copy(s, fd, offset, len, moved, d) : 0;
}

/* Whether an error is one of the stream, and not of the file. */
static bool is_streams(int err)
{
    return err == -EPIPE || err == -ECONNRESET || err == -ENOTCONN || err == -ECONNABORTED ||
           err == -ETIMEDOUT || err == -EHOSTUNREACH || err == -ENETUNREACH || err == WEFT_ECLOSED;
}

static int send_file(struct weft_stream *s, int fd, off_t *offset, size_t len, weft_deadline d)
{
    size_t moved = 0;
    int err = s->error;
    if (err == 0 && s->shut)
        err = WEFT_ECLOSED;
    if (err == 0 && s->out != NULL) {
        if (len > 0) /* what stands before the file mostly goes at once, and with it */
            weft__out_try_with_more(s);
        err = s->error;
    }
    if (err == 0 && s->out != NULL)
        err = weft__out_wait(s, 0, d);
    if (err < 0)
        return err;
    weft__stream_begins(s);
    err = send_all(s, fd, offset, len, &moved, d);
    if ((err == -ETIMEDOUT || err == -ECANCELED) && moved > 0)
        s->error = WEFT_EPOISONED;
    else if (err != -ETIMEDOUT && is_streams(err))
        s->error = err;
    return err;
}

int weft_sendfile(struct weft_stream *s, int fd, off_t *offset, size_t len, weft_deadline d)
{
    if (*offset < 0)
        return weft__fail(-EINVAL, "offset %lld", (long long)*offset);
    int err = weft__stream_enter(s, &s->writer);
    if (err < 0)
        return err;
    return (int)weft__stream_leave_with(s, &s->writer, send_file(s, fd, offset, len, d));
}
