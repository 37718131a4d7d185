/* SPDX-License-Identifier: MIT */
/*
 * Writing and ending: joined where it is small and a loop runs, direct where it is large.
 *
 * Floor 3. Invariants: a write that waits for room has queued nothing; a direct write that was cut
 * off after some bytes poisons the stream; ending frees the stream now, or when the last flow that
 * is inside leaves it.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "net/secure.h"
#include "net/server.h"
#include "net/stream.h"
#include "net/transport.h"

/* From here on a write goes out of the caller's memory, and the caller waits for it. */
#define DIRECT_MIN 8192u
#define IOV_ON_STACK 16
#define PRINTF_ON_STACK 512

static bool joins(const struct weft_stream *s)
{
    return s->loop != NULL && s->cls->joins;
}

static int write_direct(struct weft_stream *s, struct iovec *iov, int n, weft_deadline d)
{
    size_t moved = 0;
    int err = s->cls->write(s, iov, n, &moved, d);
    weft__stream_sent(s, moved);
    if (err == 0)
        return 0;
    if (err != -ETIMEDOUT && err != -ECANCELED)
        s->error = err;
    else if (moved > 0)
        s->error = WEFT_EPOISONED;
    return err;
}

/* May write to iov. The writer's place is taken. */
static int write_all(struct weft_stream *s, struct iovec *iov, int n, size_t total, weft_deadline d)
{
    if (WEFT__UNLIKELY(s->error < 0))
        return s->error;
    if (WEFT__UNLIKELY(s->shut))
        return WEFT_ECLOSED;
    if (!joins(s))
        return write_direct(s, iov, n, d);
    if (total >= DIRECT_MIN) {
        int err = weft__out_wait(s, 0, d);
        return err < 0 ? err : write_direct(s, iov, n, d);
    }
    if (WEFT__UNLIKELY(weft__out_queued(s) + total > s->out_max)) {
        int err = weft__out_wait(s, s->out_max / 2, d);
        if (err < 0)
            return err;
    }
    return weft__out_append(s, iov, n);
}

int weft_write(struct weft_stream *s, const void *buf, size_t len, weft_deadline d)
{
    int err = weft__stream_enter(s, &s->writer);
    if (WEFT__UNLIKELY(err < 0))
        return err;
    struct iovec iov = {.iov_base = (void *)(uintptr_t)buf, .iov_len = len};
    return (int)weft__stream_leave_with(s, &s->writer, write_all(s, &iov, 1, len, d));
}

/* The writer's place is taken. */
static int write_shared(struct weft_stream *s, struct weft__shared *sh, const void *data,
                        size_t len, weft_deadline d)
{
    struct iovec iov = {.iov_base = (void *)(uintptr_t)data, .iov_len = len};
    if (!joins(s) || len == 0 || len > s->out_max || s->error < 0 || s->shut)
        return write_all(s, &iov, 1, len, d);
    if (weft__out_queued(s) + len > s->out_max) {
        int err = weft__out_wait(s, weft__min_size(s->out_max / 2, s->out_max - len), d);
        if (err < 0)
            return err;
    }
    return weft__out_share(s, sh, data, len);
}

int weft__write_shared(struct weft_stream *s, struct weft__shared *sh, const void *data, size_t len,
                       weft_deadline d)
{
    int err = weft__stream_enter(s, &s->writer);
    if (WEFT__UNLIKELY(err < 0))
        return err;
    return (int)weft__stream_leave_with(s, &s->writer, write_shared(s, sh, data, len, d));
}

int weft_writev(struct weft_stream *s, const struct iovec *iov, int n, weft_deadline d)
{
    struct iovec few[IOV_ON_STACK];
    struct iovec *copy = few;
    size_t total = 0;
    if (n < 0 || n > 1024) /* IOV_MAX */
        return weft__fail(-EINVAL, "writev of %d pieces; 0 to 1024 can be had", n);
    for (int i = 0; i < n; i++)
        if (__builtin_add_overflow(total, iov[i].iov_len, &total))
            return -EINVAL;
    int err = weft__stream_enter(s, &s->writer);
    if (err < 0)
        return err;
    if (n > IOV_ON_STACK) {
        copy = weft__calloc((size_t)n, sizeof *copy);
        if (copy == NULL)
            return (int)weft__stream_leave_with(s, &s->writer, -ENOMEM);
    }
    if (n > 0)
        memcpy(copy, iov, (size_t)n * sizeof *copy);
    err = write_all(s, copy, n, total, d);
    if (copy != few)
        weft__free(copy);
    return (int)weft__stream_leave_with(s, &s->writer, err);
}

char *weft__write_room(struct weft_stream *s, size_t len)
{
    if (s->proto != NULL)
        return weft__transport_room(s, len);
    if (s->loop == NULL || !s->cls->joins || weft__flow_self()->loop != s->loop ||
        weft__wait_check() < 0 || s->closed || s->timed_out || s->writer != NULL || s->error < 0 ||
        s->shut || len >= DIRECT_MIN || weft__out_queued(s) + len > s->out_max)
        return NULL;
    return weft__out_room(s, len);
}

void weft__write_filled(struct weft_stream *s, size_t len)
{
    weft__out_filled(s, len);
    if (s->proto != NULL)
        weft__transport_filled(s);
}

int weft_write_record(struct weft_stream *s, const struct weft_framing *f, const void *record,
                      size_t len, weft_deadline d)
{
    char head[WEFT_FRAMING_OVERHEAD], tail[WEFT_FRAMING_OVERHEAD];
    size_t head_len, tail_len;
    int err = weft_framing_check(f, record, len);
    if (err == 0)
        err = weft_framing_encode(f, len, head, &head_len, tail, &tail_len);
    if (err < 0)
        return err;
    struct iovec iov[3] = {{head, head_len}, {(void *)(uintptr_t)record, len}, {tail, tail_len}};
    return weft_writev(s, iov, 3, d);
}

int weft_printf(struct weft_stream *s, weft_deadline d, const char *fmt, ...)
{
    char few[PRINTF_ON_STACK];
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int len = vsnprintf(few, sizeof few, fmt, ap);
    va_end(ap);
    int err = len < 0 ? -EINVAL : 0;
    if (err == 0 && (size_t)len < sizeof few) {
        err = weft_write(s, few, (size_t)len, d);
    } else if (err == 0) {
        char *text = weft__alloc((size_t)len + 1);
        if (text != NULL) {
            vsnprintf(text, (size_t)len + 1, fmt, again);
            err = weft_write(s, text, (size_t)len, d);
        } else {
            err = -ENOMEM;
        }
        weft__free(text);
    }
    va_end(again);
    return err;
}

/* Waits until nothing is queued, here or below. The writer's place is taken. */
static int flush_all(struct weft_stream *s, weft_deadline d)
{
    if (s->error < 0)
        return s->error;
    if (s->cls->flush != NULL)
        return s->cls->flush(s, d);
    return joins(s) ? weft__out_wait(s, 0, d) : 0;
}

int weft_flush(struct weft_stream *s, weft_deadline d)
{
    int err = weft__stream_enter(s, &s->writer);
    if (err < 0)
        return err;
    err = flush_all(s, d);
    return (int)weft__stream_leave_with(s, &s->writer, err);
}

int weft_shutdown(struct weft_stream *s, weft_deadline d)
{
    int err = weft__stream_enter(s, &s->writer);
    if (err < 0)
        return err;
    err = flush_all(s, d);
    if (err == 0 && !s->shut) {
        err = s->cls->shutdown(s);
        s->shut = err == 0;
        if (err == 0 && s->cls->flush != NULL) /* what tells it is written, too */
            err = s->cls->flush(s, d);
    }
    return (int)weft__stream_leave_with(s, &s->writer, err);
}

/* --- Ending ---------------------------------------------------------------------------------- */

static void interrupt(struct weft__flow *f)
{
    if (f != NULL && f->kind == WEFT__FLOW_TASK && f->wait != NULL)
        weft__wait_abort(f->wait, -ECANCELED);
}

void weft__stream_end(struct weft_stream **ret, bool abrupt)
{
    struct weft_stream *s = *ret;
    *ret = NULL;
    if (s->conn != NULL) {
        s->conn->stream = NULL; /* its server has nothing left to close */
        s->conn = NULL;
    }
    if (s->reader == NULL && s->writer == NULL) {
        weft__stream_free(s, abrupt);
        return;
    }
    s->closed = true;
    s->abrupt = abrupt;
    interrupt(s->reader);
    interrupt(s->writer);
}

int weft_close(struct weft_stream **ret, weft_deadline d)
{
    struct weft_stream *s = *ret;
    int err = 0;
    if (s == NULL)
        return 0;
    if (s->loop != NULL && !pthread_equal(s->loop->thread, pthread_self()))
        return weft__fail(WEFT_ETHREAD, "the stream belongs to another loop; it stays open");
    *ret = NULL;
    if (s->proto != NULL) { /* in callback mode closing never waits */
        weft_transport_close(s);
        return 0;
    }
    if (s->cls->finish != NULL && s->writer == NULL) {
        s->writer = weft__flow_self();
        err = s->cls->finish(s, d);
        if (weft__stream_leave(s, &s->writer))
            return WEFT_ECLOSED;
    } else if (s->out != NULL && s->writer == NULL) {
        weft__out_last_try(s);
        if (s->out != NULL) {
            err = weft__stream_enter(s, &s->writer);
            if (err == 0) {
                err = weft__out_wait(s, 0, d);
                if (weft__stream_leave(s, &s->writer))
                    return WEFT_ECLOSED;
            }
        }
    }
    if (err == 0)
        err = s->error;
    weft__stream_end(&s, false);
    return err;
}

void weft_abort(struct weft_stream **ret)
{
    struct weft_stream *s = *ret;
    if (s == NULL)
        return;
    WEFT__ASSERT(s->loop == NULL || pthread_equal(s->loop->thread, pthread_self()));
    *ret = NULL;
    if (s->proto != NULL)
        weft_transport_abort(s, -ECONNABORTED);
    else
        weft__stream_end(&s, true);
}

/* Whether the peer is being told why it ends: by a filter; or by one whose handshake has failed,
 * and which has left the stream with its side ended. */
static bool tells(const struct weft_stream *s)
{
    if (s->proto != NULL)
        return false;
    if (s->cls->filter != NULL)
        return s->cls->filter->last_words(s);
    return s->shut && s->error == WEFT_EPOISONED;
}

void weft__stream_give_up(struct weft_stream **ret, weft_deadline d)
{
    if (*ret == NULL || !tells(*ret)) {
        weft_abort(ret);
        return;
    }
    int err = weft_close(ret, weft_earlier(d, weft_after_ms(WEFT__LAST_WORDS_MS)));
    (void)err; /* the stream had failed before */
}
