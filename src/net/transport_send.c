/* SPDX-License-Identifier: MIT */
/*
 * Streams in callback mode: writing, its marks and producers, and the other calls of the user.
 *
 * Floor 3. Invariant: nothing here ends a connection; what a call asks for is done by settle, when
 * no callback of the connection runs.
 */
#include <errno.h>
#include <string.h>

#include "net/server.h"
#include "net/transport.h"

/* A write of at least so much, out of the receive buffer itself, is sent from there without a copy.
 */
#define LEND_MIN 2048u

/* --- Sending ---------------------------------------------------------------------------------- */

static bool may_produce(const struct weft__transport *t)
{
    const struct weft__transport_extra *x = t->extra;
    return x != NULL && x->produce != NULL && !x->waiting && !t->s.paused && !t->s.aborting &&
           !t->s.closing;
}

static void produce(struct weft__transport *t)
{
    bool was;
    while (may_produce(t)) {
        struct weft__transport_extra *x = t->extra;
        size_t before = weft__out_queued(&t->s);
        struct weft__flow *f = weft__transport_enter(t, &was);
        int res = x->produce(&t->s, x->arg);
        weft__transport_leave(t, f, was);
        if (res <= 0) {
            x->produce = NULL;
            if (res < 0)
                weft__transport_fail(t, res);
            return;
        }
        if (weft__out_queued(&t->s) == before)
            x->waiting = true; /* it has nothing now and will say when it has */
    }
}

void weft__transport_progress(struct weft_stream *s)
{
    struct weft__transport *t = weft__transport_of(s);
    if (t->s.progressing)
        return;
    t->s.progressing = true;
    if (s->error < 0)
        weft__transport_fail(t, s->error);
    weft__transport_tell_room(t);
    if (t->s.paused && weft__out_queued(s) <= s->shared->factory.write_mark / 4 && !t->s.aborting) {
        t->s.paused = false;
        weft__transport_mark(t, weft__transport_protocol(t)->resumed);
    }
    produce(t);
    t->s.progressing = false;
    weft__transport_settle(t);
}

static int may_write(const struct weft__transport *t, size_t len)
{
    if (t->s.closing || t->s.aborting || t->s.shutting)
        return WEFT_ECLOSED;
    if (t->s.error < 0)
        return t->s.error;
    if (t->s.shaking)
        return weft__fail(-EBUSY, "the handshake is under way");
    size_t queued = weft__out_queued(&t->s);
    size_t max = t->s.shared->factory.write_max;
    if (len > max || queued > max - len)
        return weft__fail(-ENOBUFS,
                          "%zu bytes wait to be sent, and %zu more pass the maximum of %zu", queued,
                          len, max);
    return 0;
}

static void check_mark(struct weft__transport *t)
{
    if (t->s.paused || weft__out_queued(&t->s) <= t->s.shared->factory.write_mark)
        return;
    t->s.paused = true;
    weft__transport_mark(t, weft__transport_protocol(t)->paused);
}

static bool lendable(const struct weft__transport *t, const void *buf, size_t len)
{
    const struct weft__rbuf *rb = t->s.inside ? t->s.in : NULL;
    uintptr_t at = (uintptr_t)buf;
    return len >= LEND_MIN && rb != NULL && !t->s.lent && !weft__rbuf_on_heap(rb) &&
           at >= (uintptr_t)rb->data && at + len <= (uintptr_t)rb->data + rb->len;
}

static void note_queued(struct weft__transport *t)
{
    if (t->s.out == NULL)
        t->s.sent_ms = weft__loop_ms(t->s.loop); /* from now on it may stall */
}

int weft_transport_write(struct weft_stream *s, const void *buf, size_t len)
{
    struct weft__transport *t = s->proto;
    if (WEFT__UNLIKELY(t == NULL))
        return weft__pull_writev(
            s, &(struct iovec){.iov_base = (void *)(uintptr_t)buf, .iov_len = len}, 1);
    int err = may_write(t, len);
    if (err < 0 || len == 0)
        return err;
    note_queued(t);
    if (t->s.secured) {
        err = weft__transport_seal(
            t, &(struct iovec){.iov_base = (void *)(uintptr_t)buf, .iov_len = len}, 1);
    } else if (lendable(t, buf, len)) {
        err = weft__out_lend(s, s->in, buf, len);
        t->s.lent = err == 0;
    } else {
        err = weft__out_append(
            s, &(struct iovec){.iov_base = (void *)(uintptr_t)buf, .iov_len = len}, 1);
    }
    if (err == 0)
        check_mark(t);
    return err;
}

int weft_transport_writev(struct weft_stream *s, const struct iovec *iov, int n)
{
    struct weft__transport *t = s->proto;
    if (t == NULL)
        return weft__pull_writev(s, iov, n);
    size_t total = 0;
    for (int i = 0; i < n; i++)
        if (__builtin_add_overflow(total, iov[i].iov_len, &total))
            return -EINVAL;
    int err = may_write(t, total);
    if (err < 0)
        return err;
    note_queued(t);
    err = t->s.secured ? weft__transport_seal(t, iov, n) : weft__out_append(s, iov, n);
    if (err == 0)
        check_mark(t);
    return err;
}

int weft__transport_share(struct weft_stream *s, struct weft__shared *sh, const void *data,
                          size_t len)
{
    struct weft__transport *t = s->proto;
    struct iovec iov = {.iov_base = (void *)(uintptr_t)data, .iov_len = len};
    if (t == NULL || t->s.secured || len == 0)
        return weft_transport_writev(s, &iov, 1);
    int err = may_write(t, len);
    if (err < 0)
        return err;
    note_queued(t);
    err = weft__out_share(s, sh, data, len);
    if (err == 0)
        check_mark(t);
    return err;
}

char *weft__transport_room(struct weft_stream *s, size_t len)
{
    struct weft__transport *t = s->proto;
    if (t->s.closing || t->s.aborting || t->s.shutting || t->s.error < 0 || t->s.secured ||
        weft__out_queued(s) + len > t->s.shared->factory.write_max)
        return NULL;
    note_queued(t);
    return weft__out_room(s, len);
}

void weft__transport_filled(struct weft_stream *s)
{
    check_mark(s->proto);
}

int weft_transport_write_record(struct weft_stream *s, const struct weft_framing *f,
                                const void *record, size_t len)
{
    char head[WEFT_FRAMING_OVERHEAD], tail[WEFT_FRAMING_OVERHEAD];
    size_t head_len, tail_len;
    int err = weft_framing_check(f, record, len);
    if (err == 0)
        err = weft_framing_encode(f, len, head, &head_len, tail, &tail_len);
    if (err < 0)
        return err;
    struct iovec iov[3] = {{head, head_len}, {(void *)(uintptr_t)record, len}, {tail, tail_len}};
    return weft_transport_writev(s, iov, 3);
}

size_t weft_transport_queued(const struct weft_stream *s)
{
    return weft__out_queued(s);
}

int weft_transport_produce(struct weft_stream *s, weft_producer fn, void *arg)
{
    struct weft__transport *t = s->proto;
    if (t == NULL)
        return fn != NULL ? weft__pull_produce(s, fn, arg) : -EINVAL;
    if (fn == NULL || (t->extra != NULL && t->extra->produce != NULL))
        return weft__fail(fn == NULL ? -EINVAL : -EBUSY, "%s",
                          fn == NULL ? "no producer" : "the transport has a producer already");
    if (t->s.closing || t->s.aborting || t->s.shutting)
        return WEFT_ECLOSED;
    struct weft__transport_extra *x = weft__transport_extra(t);
    if (x == NULL)
        return -ENOMEM;
    x->produce = fn;
    x->arg = arg;
    x->waiting = false;
    produce(t);
    weft__transport_stir(t);
    return 0;
}

void weft_transport_resume_producer(struct weft_stream *s)
{
    struct weft__transport *t = s->proto;
    if (t == NULL || t->extra == NULL || !t->extra->waiting)
        return;
    t->extra->waiting = false;
    produce(t);
    weft__transport_stir(t);
}

/* --- The rest of the transport's calls -------------------------------------------------------- */

void weft_transport_set(struct weft_stream *s, void *user)
{
    if (s->proto == NULL)
        weft__pull_of(s)->user = user;
    else
        s->user = user;
}

void *weft_transport_get(const struct weft_stream *s)
{
    return s->proto == NULL ? weft__pull_of(s)->user : s->user;
}

void weft_transport_pause_reading(struct weft_stream *s)
{
    if (s->proto != NULL)
        s->held = true;
}

void weft_transport_resume_reading(struct weft_stream *s)
{
    struct weft__transport *t = s->proto;
    if (t == NULL || !t->s.held)
        return;
    t->s.held = false;
    if (!t->s.busy)
        weft__transport_stir(t);
}

void weft_transport_shutdown(struct weft_stream *s)
{
    struct weft__transport *t = s->proto;
    if (t == NULL) {
        int err = weft_shutdown(s, WEFT_NEVER);
        (void)err; /* the next write reports it, too */
        return;
    }
    t->s.shutting = true;
    if (!t->s.busy || weft__out_queued(s) > 0)
        weft__transport_stir(t);
    else if (!t->s.inside)
        weft__transport_settle(t);
}

void weft_transport_close(struct weft_stream *s)
{
    struct weft__transport *t = s->proto;
    if (t == NULL) {
        weft__pull_of(s)->closing = true;
        return;
    }
    if (t->s.closing || t->s.aborting)
        return;
    t->s.closing = true;
    weft__transport_stir(t);
}

void weft_transport_abort(struct weft_stream *s, int error)
{
    struct weft__transport *t = s->proto;
    if (t == NULL) {
        struct weft__pull *p = weft__pull_of(s);
        p->aborting = true;
        p->error = error < 0 ? error : -ECONNABORTED;
        return;
    }
    if (t->s.aborting && !weft__transport_hush(t))
        return;
    weft__transport_fail(t, error < 0 ? error : -ECONNABORTED);
    weft__transport_stir(t);
}
