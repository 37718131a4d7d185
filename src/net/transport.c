/* SPDX-License-Identifier: MIT */
/*
 * Streams in callback mode: a protocol's callbacks on the loop.
 *
 * Floor 3. One receive operation, of many results where the driver can, is under way while the
 * connection wants bytes; a buffer of the driver's pool comes with them, so an idle connection is
 * this struct and nothing more. The same operation, as a NOP, is how work is put off to the loop's
 * next turn.
 *
 * Invariants:
 *  - user callbacks run on the loop with its callback flow, one of a connection at a time;
 *  - `lost` is called by settle and only there: with no operation under way, outside every other
 *    callback of the connection; the struct is freed right after;
 *  - a receive that is under way when reading is paused is cancelled; what it brings until it has
 *    ended (no more than WEFT__RECV_MULTI_MAX) is held in a list at s.in, then `ended` has its end.
 */
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "net/server.h"
#include "net/transport.h"

/* A write of at least so much, out of the receive buffer itself, is sent from there without a copy.
 */
#define LEND_MIN 2048u
/* Receives that ended at once before others have their turn. */
#define READS_PER_TURN 16

static const struct weft_protocol *protocol_of(const struct weft__transport *t)
{
    return t->s.shared->factory.protocol;
}

/* --- Callbacks -------------------------------------------------------------------------------- */

/* Callbacks see the loop's callback flow, also when a task's call leads to one. */
static struct weft__flow *enter(struct weft__transport *t, bool *was_inside)
{
    struct weft__flow *f = weft__flow_current;
    *was_inside = t->s.inside;
    t->s.inside = true;
    weft__flow_current = &t->s.loop->callback;
    return f;
}

static void leave(struct weft__transport *t, struct weft__flow *f, bool was_inside)
{
    weft__flow_current = f;
    t->s.inside = was_inside;
}

static void settle(struct weft__transport *t);
static void read_more(struct weft__transport *t);

/* Has settle called in the next turn. */
void weft__transport_later(struct weft__transport *t)
{
    if (t->s.busy)
        return;
    t->s.busy = true;
    t->op.kind = WEFT__OP_NOP;
    t->op.flags = 0;
    t->op.fd = -1;
    t->op.done = weft__transport_op_done;
    bool ended = weft__sys_submit(t->s.loop->sys, &t->op);
    WEFT__ASSERT(!ended);
}

static void stop_receiving(struct weft__transport *t)
{
    if (t->s.canceling || t->op.kind == WEFT__OP_NOP)
        return;
    t->s.canceling = true;
    weft__sys_cancel(t->s.loop->sys, &t->op);
}

/* Something happened that settle has to look at. */
static void stir(struct weft__transport *t)
{
    if (t->s.inside)
        return; /* looked at when the callback has returned */
    if (!t->s.busy)
        weft__transport_later(t);
    else if (t->s.aborting || (t->s.closing && weft__out_queued(&t->s) == 0))
        stop_receiving(t);
}

static void fail(struct weft__transport *t, int error)
{
    if (t->s.aborting)
        return;
    t->s.aborting = true;
    /* What the receive found out, the send is not told any more. */
    t->s.reason = error == -EPIPE && t->s.ended < 0 ? t->s.ended : error;
}

static void call_made(struct weft__transport *t)
{
    const struct weft_protocol *p = protocol_of(t);
    bool was;
    t->s.starting = false;
    if (p->made == NULL)
        return;
    struct weft__flow *f = enter(t, &was);
    int err = p->made(&t->s, t->s.shared->factory.arg);
    leave(t, f, was);
    if (err < 0)
        fail(t, err);
}

static void call_eof(struct weft__transport *t)
{
    const struct weft_protocol *p = protocol_of(t);
    bool was;
    int keep = 0;
    t->s.end = true;
    if (p->eof != NULL) {
        struct weft__flow *f = enter(t, &was);
        keep = p->eof(&t->s, t->s.user);
        leave(t, f, was);
    }
    if (keep < 0)
        fail(t, keep);
    else if (keep == 0)
        t->s.closing = true;
}

/* Delivers a buffer that is in no list: the receive's, or one that was held back. */
static void call_data(struct weft__transport *t, struct weft__rbuf *rb)
{
    bool was;
    struct weft__rbuf *held = t->s.in;
    t->s.in = rb; /* where the transport's calls find it */
    t->s.lent = false;
    t->s.delivering = true;
    struct weft__flow *f = enter(t, &was);
    int err = protocol_of(t)->data(&t->s, rb->data + rb->used, rb->len - rb->used, t->s.user);
    leave(t, f, was);
    t->s.delivering = false;
    t->s.in = held;
    if (!t->s.lent)
        weft__rbuf_release(t->s.loop, rb);
    if (err < 0)
        fail(t, err);
}

static void call_lost(struct weft__transport *t)
{
    const struct weft_protocol *p = protocol_of(t);
    bool was;
    if (p->lost == NULL)
        return;
    struct weft__flow *f = enter(t, &was);
    p->lost(&t->s, t->s.reason, t->s.user);
    leave(t, f, was);
}

static void call_mark(struct weft__transport *t, void (*fn)(struct weft_stream *, void *))
{
    bool was;
    if (fn == NULL)
        return;
    struct weft__flow *f = enter(t, &was);
    fn(&t->s, t->s.user);
    leave(t, f, was);
}

/* --- The end ---------------------------------------------------------------------------------- */

static void transport_free(struct weft__transport *t, bool abrupt)
{
    weft__factory_unref(t->s.shared);
    while (t->s.in != NULL) {
        struct weft__rbuf *rb = t->s.in;
        t->s.in = rb->next;
        weft__rbuf_release(t->s.loop, rb);
    }
    weft__stream_fini(&t->s, abrupt);
    weft__free(t->extra);
    weft__free(t);
}

static void finish(struct weft__transport *t)
{
    struct weft__worker *w = t->s.worker;
    struct weft__peer *peer = t->extra != NULL ? t->extra->peer : NULL;
    int error = t->s.reason;
    bool timed_out = t->s.timed_out;
    struct weft_address address = {0};
    if (error < 0 && w != NULL && w->server->options.failed != NULL)
        address = weft__stream_peer_or_none(&t->s);
    if (!t->s.starting && !t->s.detached)
        call_lost(t);
    struct weft__member m = t->member; /* the group is told last, when nothing is left */
    weft__list_remove(&t->member.link);
    transport_free(t, error < 0 && error != -ECONNRESET); /* the peer's reset needs no answer */
    if (w != NULL) {
        weft__worker_ended(w, peer, error, timed_out, &address);
        weft__worker_resume(w);
    }
    m.link = (struct weft__node){NULL, NULL};
    weft__group_leave(&m, 0, true); /* the error was told to lost */
}

/* Looks at what is due. t may be gone afterwards. Not inside a callback of it. */
static void settle(struct weft__transport *t)
{
    if (t->s.inside)
        return;
    if (t->s.detached) {
        if (t->s.busy)
            stop_receiving(t);
        else if (!t->s.claimed)
            finish(t);
        else
            weft__transport_wake_heir(t);
        return;
    }
    if (t->s.closing && weft__out_queued(&t->s) == 0 && !t->s.aborting) {
        t->s.aborting = true; /* nothing is left to wait for; error stays 0: graceful */
    }
    if (t->s.aborting) {
        if (!t->s.busy) {
            finish(t);
            return;
        }
        stop_receiving(t);
        return;
    }
    if (t->s.shutting && !t->s.shut && weft__out_queued(&t->s) == 0) {
        t->s.shut = true;
        int err = t->s.cls->shutdown(&t->s);
        if (err < 0 && err != -ENOTCONN)
            fail(t, err);
    }
    read_more(t);
}

/* --- Receiving -------------------------------------------------------------------------------- */

static bool is_paused(const struct weft__transport *t)
{
    return t->s.held || (t->s.paused && !t->s.shared->factory.read_on_paused);
}

static bool wants_bytes(const struct weft__transport *t)
{
    return !is_paused(t) && !t->s.starting && !t->s.closing && !t->s.aborting && !t->s.end &&
           !t->s.detached;
}

/* Keeps bytes for later; in the last buffer's room, so that many small pieces take few buffers. */
static void hold(struct weft__transport *t, struct weft__rbuf *rb)
{
    struct weft__rbuf *last = t->s.in;
    while (last != NULL && last->next != NULL)
        last = last->next;
    rb->next = NULL;
    if (last == NULL) {
        t->s.in = rb;
    } else if (weft__rbuf_on_heap(last) || rb->len > WEFT__RBUF_SIZE - last->len) {
        last->next = rb;
    } else {
        memcpy(last->data + last->len, rb->data, rb->len);
        last->len += rb->len;
        weft__rbuf_put(t->s.loop->sys, rb);
    }
}

/* The receive has come to the peer's end (1) or an error. */
static void receive_ended(struct weft__transport *t, int how)
{
    t->s.ended = 0;
    if (how < 0)
        fail(t, how);
    else
        call_eof(t);
}

static void received(struct weft__transport *t)
{
    int n = t->op.res;
    bool hold_back = t->s.detached || t->s.in != NULL || is_paused(t);
    if (n > 0) {
        struct weft__rbuf *rb = t->op.rbuf;
        rb->used = 0;
        weft__stream_got(&t->s, (size_t)n);
        t->s.drained = (uint32_t)n < WEFT__RBUF_SIZE && !t->op.full;
        if ((t->s.aborting || t->s.closing) && !t->s.detached)
            weft__rbuf_put(t->s.loop->sys, rb);
        else if (hold_back)
            hold(t, rb);
        else
            call_data(t, rb);
    } else if (n != -ECANCELED) {
        if (hold_back || (n == 0 && t->s.closing))
            t->s.ended = n == 0 ? 1 : n;
        else
            receive_ended(t, n == 0 ? 1 : n);
    }
}

static void read_more(struct weft__transport *t)
{
    for (int i = 0; wants_bytes(t); i++) {
        if (t->s.in != NULL) {
            struct weft__rbuf *rb = t->s.in;
            t->s.in = rb->next;
            rb->next = NULL;
            call_data(t, rb);
        } else if (t->s.ended != 0) {
            receive_ended(t, t->s.ended);
        } else if (t->s.busy) {
            return;
        } else if (i == READS_PER_TURN) {
            weft__transport_later(t);
            return;
        } else {
            t->op.kind = WEFT__OP_RECV_POOL;
            t->op.flags = WEFT__OP_MULTI | (t->s.drained ? WEFT__OP_POLL_FIRST : 0);
            t->op.fd = t->s.fd;
            t->op.done = weft__transport_op_done;
            t->s.busy = true;
            if (!weft__sys_submit(t->s.loop->sys, &t->op))
                return;
            t->s.busy = false;
            received(t);
        }
    }
    if (t->s.busy)
        stop_receiving(t);
    else if (t->s.aborting || t->s.detached || (t->s.closing && weft__out_queued(&t->s) == 0))
        weft__transport_later(t);
}

void weft__transport_op_done(struct weft__op *op)
{
    struct weft__transport *t = WEFT__CONTAINER_OF(op, struct weft__transport, op);
    if (!op->more)
        t->s.busy = t->s.canceling = false;
    if (op->kind == WEFT__OP_RECV_POOL)
        received(t);
    else if (t->s.starting && !t->s.aborting)
        call_made(t);
    settle(t);
}

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
        struct weft__flow *f = enter(t, &was);
        int res = x->produce(&t->s, x->arg);
        leave(t, f, was);
        if (res <= 0) {
            x->produce = NULL;
            if (res < 0)
                fail(t, res);
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
        fail(t, s->error);
    if (t->s.paused && weft__out_queued(s) <= s->shared->factory.write_mark / 4 && !t->s.aborting) {
        t->s.paused = false;
        call_mark(t, protocol_of(t)->resumed);
    }
    produce(t);
    t->s.progressing = false;
    settle(t);
}

static int may_write(const struct weft__transport *t, size_t len)
{
    if (t->s.closing || t->s.aborting || t->s.shutting)
        return WEFT_ECLOSED;
    if (t->s.error < 0)
        return t->s.error;
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
    call_mark(t, protocol_of(t)->paused);
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
    if (lendable(t, buf, len)) {
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
    err = weft__out_append(s, iov, n);
    if (err == 0)
        check_mark(t);
    return err;
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
    stir(t);
    return 0;
}

void weft_transport_resume_producer(struct weft_stream *s)
{
    struct weft__transport *t = s->proto;
    if (t == NULL || t->extra == NULL || !t->extra->waiting)
        return;
    t->extra->waiting = false;
    produce(t);
    stir(t);
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
        stir(t);
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
        stir(t);
    else if (!t->s.inside)
        settle(t);
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
    stir(t);
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
    if (t->s.aborting)
        return;
    fail(t, error < 0 ? error : -ECONNABORTED);
    stir(t);
}
