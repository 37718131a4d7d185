/* SPDX-License-Identifier: MIT */
/*
 * Giving descriptors away: out of a stream, to another process, from the process that started us.
 *
 * Floor 3. Descriptors travel with one byte of a Unix stream, unix(7) SCM_RIGHTS, by calls that do
 * not wait and a wait for readiness between them. Whoever sends other bytes, too, must have the
 * reader know where the descriptors come: bytes that are read ahead of a weft_recv_fds (weft_peek,
 * weft_read_record, a larger weft_read) may take that byte, and the kernel then drops what it
 * carries. weft_read_full takes exactly what it is asked for.
 *
 * Invariant: a descriptor that was received is handed out or closed.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <weft/listener.h>

#include "base/alloc.h"
#include "net/feed.h"
#include "net/server.h"
#include "net/stream.h"
#include "sys/call.h"

#define FDS_MAX 64
#define INHERITED_FIRST 3

/* --- Out of a stream ------------------------------------------------------------------------- */

/* The stream as its taker will have it: everything written, and the rest of what was read in place.
 */
static int settle(struct weft_stream *s, size_t cap, weft_deadline d)
{
    if (s->reader != NULL)
        return weft__fail(-EBUSY, "task '%s' is reading this stream", s->reader->name);
    if (s->record_len > 0) {
        weft_consume(s, s->record_len);
        s->record_len = 0;
    }
    int err = 0;
    if (s->feed != NULL) {
        s->reader = s->writer;
        err = weft__feed_settle(s);
        s->reader = NULL;
    }
    if (err < 0 || s->closed)
        return err < 0 ? err : WEFT_ECLOSED;
    if (weft__in_left(s) > cap)
        return weft__fail(-EMSGSIZE, "%zu bytes were read ahead, with room for %zu",
                          weft__in_left(s), cap);
    if (s->error < 0 || s->out == NULL)
        return s->error;
    struct weft__flow *self = s->writer;
    s->reader = self; /* what is read meanwhile would be lost */
    err = weft__out_wait(s, 0, d);
    s->reader = NULL;
    return err;
}

int weft_stream_detach(struct weft_stream **ret, void *unread, size_t cap, size_t *unread_len,
                       weft_deadline d)
{
    struct weft_stream *s = *ret;
    int err = weft__stream_enter(s, &s->writer);
    if (err < 0)
        return err;
    if (s->cls->flush != NULL)
        err = weft__fail(-EOPNOTSUPP, "more than a descriptor makes up a stream of kind %s",
                         s->cls->kind);
    else
        err = s->fd < 0 ? weft__fail(-EOPNOTSUPP, "a pipe in memory has no descriptor")
                        : settle(s, cap, d);
    err = (int)weft__stream_leave_with(s, &s->writer, err);
    if (err < 0)
        return err;
    size_t len = weft__in_left(s);
    if (len > 0)
        memcpy(unread, s->in->data + s->in->used, len);
    if (unread_len != NULL)
        *unread_len = len;
    if (s->conn != NULL) {
        s->conn->stream = NULL; /* its server has nothing left to close */
        s->conn = NULL;
    }
    int fd = s->fd;
    if (s->loop != NULL)
        s->loop->sys->driver->forget(s->loop->sys, fd, false);
    s->fd = -1;
    weft__stream_free(s, false);
    *ret = NULL;
    return fd;
}

/* --- To another process ---------------------------------------------------------------------- */

union control {
    char buf[CMSG_SPACE(FDS_MAX * sizeof(int))];
    struct cmsghdr align;
};

static int await_ready(struct weft_stream *s, short events, weft_deadline d)
{
    struct weft__io io;
    io.op = (struct weft__op){.kind = WEFT__OP_POLL, .fd = s->fd, .u.poll = {.events = events}};
    int n = weft__fd_await(s, &io, events == POLLOUT, d);
    return n < 0 ? n : 0;
}

static int check_unix(const struct weft_stream *s)
{
    if (s->cls != &weft__unix_class)
        return weft__fail(-EOPNOTSUPP, "descriptors travel over Unix sockets, not over %s",
                          s->cls->kind);
    return 0;
}

static int send_fds(struct weft_stream *s, const int *fds, size_t n, weft_deadline d)
{
    union control control;
    char byte = 0;
    struct iovec iov = {.iov_base = &byte, .iov_len = 1};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control.buf,
                         .msg_controllen = CMSG_SPACE(n * sizeof(int))};
    memset(&control, 0, sizeof control);
    struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(n * sizeof(int));
    memcpy(CMSG_DATA(c), fds, n * sizeof(int));

    int err = s->error;
    if (err == 0 && s->shut)
        err = WEFT_ECLOSED;
    if (err == 0 && s->out != NULL)
        err = weft__out_wait(s, 0, d);
    while (err == 0) {
        ssize_t sent = weft__call_sendmsg_now(s->fd, &msg, 0);
        if (sent > 0) {
            weft__stream_sent(s, (size_t)sent);
            weft__charge();
            return 0;
        }
        err = sent == -EAGAIN ? await_ready(s, POLLOUT, d) : (int)sent;
        if (err == -EPIPE || err == -ECONNRESET)
            s->error = err;
    }
    return err;
}

int weft_send_fds(struct weft_stream *s, const int *fds, size_t n, weft_deadline d)
{
    if (n == 0 || n > FDS_MAX)
        return weft__fail(-EINVAL, "%zu descriptors; 1 to %d can be sent at once", n, FDS_MAX);
    int err = check_unix(s);
    if (err == 0)
        err = weft__stream_enter(s, &s->writer);
    if (err < 0)
        return err;
    return (int)weft__stream_leave_with(s, &s->writer, send_fds(s, fds, n, d));
}

/* What came along: copied to fds, how many is returned; or closed when there is no room for all. */
static int take_fds(struct msghdr *msg, int *fds, size_t room)
{
    size_t count = 0;
    bool surplus = (msg->msg_flags & MSG_CTRUNC) != 0;
    int all[FDS_MAX];
    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c != NULL; c = CMSG_NXTHDR(msg, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        WEFT__ASSERT(count + n <= FDS_MAX); /* the control buffer has room for no more */
        memcpy(all + count, CMSG_DATA(c), n * sizeof(int));
        count += n;
    }
    if (!surplus && count <= room) {
        memcpy(fds, all, count * sizeof(int));
        return (int)count;
    }
    for (size_t i = 0; i < count; i++)
        weft__call_close(all[i]);
    return weft__fail(-EMSGSIZE, "%s%zu descriptors came, with room for %zu; all are closed",
                      surplus ? "more than " : "", count, room);
}

static int recv_fds(struct weft_stream *s, int *fds, size_t *n, weft_deadline d)
{
    union control control;
    char byte;
    struct iovec iov = {.iov_base = &byte, .iov_len = 1};
    struct mmsghdr m;
    int err = 0;
    if (weft__in_left(s) > 0)
        return weft__fail(-EINVAL, "%zu bytes that were read ahead come first", weft__in_left(s));
    if (s->end)
        return 0;
    for (;;) {
        m = (struct mmsghdr){.msg_hdr = {.msg_iov = &iov,
                                         .msg_iovlen = 1,
                                         .msg_control = control.buf,
                                         .msg_controllen = sizeof control.buf}};
        err = weft__call_recvmmsg(s->fd, &m, 1, MSG_CMSG_CLOEXEC);
        if (err != -EAGAIN)
            break;
        err = await_ready(s, POLLIN, d);
        if (err < 0)
            break;
    }
    if (err < 0)
        return err;
    if (m.msg_len == 0) {
        s->end = true;
        return 0;
    }
    weft__stream_got(s, 1);
    weft__charge();
    int count = take_fds(&m.msg_hdr, fds, *n);
    if (count == 0) { /* an ordinary byte: not lost */
        err = weft__in_prepend(s, &byte, 1);
        return err < 0 ? err : weft__fail(WEFT_EPROTOCOL, "a byte came without descriptors");
    }
    if (count < 0)
        return count;
    *n = (size_t)count;
    return 1;
}

int weft_recv_fds(struct weft_stream *s, int *fds, size_t *n, weft_deadline d)
{
    int err = check_unix(s);
    if (err == 0)
        err = weft__stream_enter(s, &s->reader);
    if (err < 0)
        return err;
    if (s->record_len > 0) {
        weft_consume(s, s->record_len);
        s->record_len = 0;
    }
    return (int)weft__stream_leave_with(s, &s->reader, recv_fds(s, fds, n, d));
}

/* --- From the process that started us -------------------------------------------------------- */

/* The decimal number in an environment variable; -1: there is none, -2: it is not understood. */
static long number_in(const char *name)
{
    const char *text = getenv(name);
    char *end;
    if (text == NULL)
        return -1;
    errno = 0;
    long n = strtol(text, &end, 10);
    return errno == 0 && end != text && *end == '\0' && n >= 0 ? n : -2;
}

int weft_inherited_fds(void)
{
    long pid = number_in("LISTEN_PID"), n = number_in("LISTEN_FDS");
    if (pid == -2 || n == -2 || n > 4096)
        return weft__fail(-EINVAL, "LISTEN_PID or LISTEN_FDS is not a number that makes sense");
    if (pid != (long)getpid() || n <= 0) /* for another process, or for nobody */
        return 0;
    int err = weft__call_inside(INHERITED_FIRST, "weft_inherited_fds");
    for (int fd = INHERITED_FIRST; err == 0 && fd < INHERITED_FIRST + n; fd++) {
        err = weft__call_cloexec(fd);
        if (err < 0)
            return weft__fail(err, "descriptor %d of %ld inherited ones", fd, n);
    }
    if (err < 0)
        return err;
    return (int)n;
}
