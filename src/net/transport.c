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
 *    ended (no more than WEFT__RECV_MULTI_MAX) is held in a list at s.in, then `ended` has its end;
 *  - of a secured connection, all that is received goes through that list, and its end may wait
 *    until the peer has been told of it: see transport_secure.c.
 */
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "net/server.h"
#include "net/transport.h"

/* Receives that ended at once before others have their turn. */
#define READS_PER_TURN 16

/* --- Callbacks -------------------------------------------------------------------------------- */

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

void weft__transport_stir(struct weft__transport *t)
{
    if (t->s.inside)
        return; /* looked at when the callback has returned */
    if (!t->s.busy)
        weft__transport_later(t);
    else if (t->s.aborting || (t->s.closing && weft__out_queued(&t->s) == 0))
        stop_receiving(t);
}

void weft__transport_fail(struct weft__transport *t, int error)
{
    if (t->s.aborting)
        return;
    t->s.aborting = true;
    if (t->s.secured && t->extra->all_sent && (error == -EPIPE || error == -ECONNRESET))
        error = 0; /* the peer has gone before our good-bye, and missed nothing else */
    /* What the receive found out, the send is not told any more. */
    t->s.reason = error == -EPIPE && t->s.ended < 0 ? t->s.ended : error;
}

void weft__transport_made(struct weft__transport *t)
{
    const struct weft_protocol *p = weft__transport_protocol(t);
    bool was;
    t->s.starting = false;
    if (p->made == NULL)
        return;
    struct weft__flow *f = weft__transport_enter(t, &was);
    int err = p->made(&t->s, t->s.shared->factory.arg);
    weft__transport_leave(t, f, was);
    if (err < 0)
        weft__transport_fail(t, err);
}

void weft__transport_eof(struct weft__transport *t)
{
    const struct weft_protocol *p = weft__transport_protocol(t);
    bool was;
    int keep = 0;
    t->s.end = true;
    if (p->eof != NULL) {
        struct weft__flow *f = weft__transport_enter(t, &was);
        keep = p->eof(&t->s, t->s.user);
        weft__transport_leave(t, f, was);
    }
    if (keep < 0)
        weft__transport_fail(t, keep);
    else if (keep == 0)
        t->s.closing = true;
}

void weft__transport_data(struct weft__transport *t, struct weft__rbuf *rb)
{
    bool was;
    struct weft__rbuf *held = t->s.in;
    t->s.in = rb; /* where the transport's calls find it */
    t->s.lent = false;
    t->s.delivering = true;
    struct weft__flow *f = weft__transport_enter(t, &was);
    int err = weft__transport_protocol(t)->data(&t->s, rb->data + rb->used, rb->len - rb->used,
                                                t->s.user);
    weft__transport_leave(t, f, was);
    t->s.delivering = false;
    t->s.in = held;
    if (!t->s.lent)
        weft__rbuf_release(t->s.loop, rb);
    if (err < 0)
        weft__transport_fail(t, err);
}

static void call_lost(struct weft__transport *t)
{
    const struct weft_protocol *p = weft__transport_protocol(t);
    bool was;
    if (t->s.secured)
        weft__transport_secure_lost(t);
    if (t->s.starting && !t->s.detached && t->s.shared->unmade != NULL)
        t->s.shared->unmade(t->s.shared, t->s.reason);
    if (t->s.detached && t->s.shared->given != NULL)
        t->s.shared->given(t->s.shared);
    if (p->lost == NULL || t->s.starting || t->s.detached)
        return;
    struct weft__flow *f = weft__transport_enter(t, &was);
    p->lost(&t->s, t->s.reason, t->s.user);
    weft__transport_leave(t, f, was);
}

void weft__transport_mark(struct weft__transport *t, void (*fn)(struct weft_stream *, void *))
{
    bool was;
    if (fn == NULL)
        return;
    struct weft__flow *f = weft__transport_enter(t, &was);
    fn(&t->s, t->s.user);
    weft__transport_leave(t, f, was);
}

/* --- The end ---------------------------------------------------------------------------------- */

static void transport_free(struct weft__transport *t, bool abrupt)
{
    weft__factory_unref(t->s.shared);
    while (t->s.in != NULL)
        weft__rbuf_release(t->s.loop, weft__rbuf_pop(&t->s.in));
    if (t->s.secured)
        weft__transport_secure_free(t, abrupt);
    weft__stream_fini(&t->s, abrupt);
    weft__transport_extra_free(t);
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
    call_lost(t);
    struct weft__member m = t->member; /* the group is told last, when nothing is left */
    weft__list_remove(&t->member.link);
    bool gentle = t->extra != NULL && t->extra->gentle;
    transport_free(t, error < 0 && !gentle);
    if (w != NULL) {
        weft__worker_ended(w, peer, error, timed_out, &address);
        weft__worker_resume(w);
    }
    m.link = (struct weft__node){NULL, NULL};
    weft__group_leave(&m, 0, true); /* the error was told to lost */
}

void weft__transport_settle(struct weft__transport *t)
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
    if (t->s.secured && (t->s.closing || t->s.shutting) && !t->s.shut && !t->s.aborting)
        weft__transport_goodbye(t);
    if (t->s.closing && weft__out_queued(&t->s) == 0 && !t->s.aborting) {
        t->s.aborting = true; /* nothing is left to wait for; error stays 0: graceful */
    }
    if (t->s.aborting) {
        bool rests = weft__transport_shake_rests(t) && !weft__transport_speaks(t);
        if (t->s.busy)
            stop_receiving(t);
        else if (rests)
            finish(t);
        return;
    }
    if (t->s.shutting && !t->s.shut && weft__out_queued(&t->s) == 0) {
        t->s.shut = true;
        int err = t->s.cls->shutdown(&t->s);
        if (err < 0 && err != -ENOTCONN)
            weft__transport_fail(t, err);
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
    if (t->s.away && t->s.in != NULL)
        return false; /* what has come is enough until the handshake goes on */
    return !is_paused(t) && !t->s.in_line && (!t->s.starting || t->s.shaking) && !t->s.closing &&
           !t->s.aborting && !t->s.end && !t->s.detached;
}

/* Keeps bytes for later; in the last buffer's room, so that many small pieces take few buffers. */
static void hold(struct weft__transport *t, struct weft__rbuf *rb)
{
    struct weft__rbuf *last = t->s.in;
    uint32_t n = rb->len - rb->used;
    t->s.more = true;
    while (last != NULL && last->next != NULL)
        last = last->next;
    rb->next = NULL;
    if (last == NULL) {
        t->s.in = rb;
    } else if (weft__rbuf_on_heap(last) || n > WEFT__RBUF_SIZE - last->len) {
        last->next = rb;
    } else {
        memcpy(last->data + last->len, rb->data + rb->used, n);
        last->len += n;
        weft__rbuf_put(t->s.loop->sys, rb);
    }
}

void weft__transport_inherit(struct weft__transport *t, struct weft__rbuf *rb)
{
    weft__stream_got(&t->s, rb->len - rb->used);
    if ((t->s.aborting || t->s.closing) && !t->s.detached)
        weft__rbuf_release(t->s.loop, rb);
    else
        hold(t, rb);
}

void weft__transport_inherited(struct weft__transport *t, int ended)
{
    if (ended != 0)
        t->s.ended = ended;
    weft__transport_op_done(&t->op);
}

/* The receive has come to the peer's end (1) or an error. */
static void receive_ended(struct weft__transport *t, int how)
{
    t->s.ended = 0;
    if (t->s.secured)
        weft__transport_secure_ended(t, how);
    else if (how < 0)
        weft__transport_fail(t, how);
    else
        weft__transport_eof(t);
}

static void received(struct weft__transport *t)
{
    int n = t->op.res;
    bool hold_back = t->s.detached || t->s.in != NULL || t->s.secured || is_paused(t);
    if (n > 0) {
        struct weft__rbuf *rb = t->op.rbuf;
        rb->used = 0;
        weft__stream_got(&t->s, (size_t)n);
        t->s.drained = (t->s.tcp || (uint32_t)n < WEFT__RBUF_SIZE) && !t->op.full;
        if ((t->s.aborting || t->s.closing) && !t->s.detached)
            weft__rbuf_put(t->s.loop->sys, rb);
        else if (hold_back)
            hold(t, rb);
        else
            weft__transport_data(t, rb);
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
        if (t->s.secured && t->s.more && !t->s.away) {
            weft__transport_secure_step(t);
        } else if (t->s.in != NULL && !t->s.secured) {
            weft__transport_data(t, weft__rbuf_pop(&t->s.in));
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
    else if (t->s.starting && !t->s.shaking && !t->s.aborting)
        weft__transport_made(t);
    weft__transport_settle(t);
}
