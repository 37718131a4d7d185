/* SPDX-License-Identifier: MIT */
/*
 * Joined writes: the bounded queue of a descriptor stream on a loop.
 *
 * Floor 3. Small writes are copied to chunks, and the chunks go to the driver before the loop waits
 * next, so that what one turn wrote to a stream costs one operation. Bytes for many streams are not
 * copied: a chunk refers to them, and one operation gathers what lies in several places. One send
 * is under way at a time, which keeps the order.
 *
 * Invariants: s->out exists exactly while bytes are queued; the steady state allocates nothing
 * (out_chunk.c); a queue whose stream has gone (s NULL) lives on until its operation has ended, and
 * then closes the descriptor, and lets go of what it refers to. Last words are tried once more
 * then, and never waited for.
 */
#include <errno.h>
#include <string.h>

#include "net/out.h"
#include "net/transport.h"
#include "sys/call.h"

/* Shorter bytes are copied even if they are shared: that is cheaper than to keep count of them. */
#define SHARE_MIN 512u

static void chunks_free(struct weft__out *o)
{
    while (o->first != NULL) {
        struct weft__chunk *c = o->first;
        o->first = c->next;
        weft__chunk_free(o, c);
    }
    o->queued = 0;
}

/* Frees a queue that no stream, operation or list refers to any more. */
static void out_free_if_done(struct weft__out *o)
{
    if (o->s != NULL || o->sending || o->scheduled)
        return;
    chunks_free(o);
    if (o->orphan_fd >= 0)
        weft__fd_close(o->loop, o->orphan_fd, o->abrupt);
    weft__out_free(o);
}

size_t weft__out_queued(const struct weft_stream *s)
{
    return s->out != NULL ? s->out->queued : 0;
}

/* --- Sending --------------------------------------------------------------------------------- */

static void wake(struct weft__out *o, int result)
{
    struct weft__wait *w = o->waiter;
    if (w == NULL || (result == 0 && o->queued > o->below))
        return;
    o->waiter = NULL;
    weft__wait_trigger(w, result);
}

/* The stream has nothing queued any more. */
static void detach(struct weft__out *o)
{
    o->s->out = NULL;
    o->s = NULL;
    out_free_if_done(o);
}

void weft__stream_fail(struct weft_stream *s, int error)
{
    struct weft__out *o = s->out;
    if (s->error == 0)
        s->error = error;
    if (o != NULL && !o->sending) {
        wake(o, s->error);
        detach(o);
    }
}

static void take_off(struct weft__out *o, size_t left)
{
    o->queued -= left;
    while (left > 0) {
        struct weft__chunk *c = o->first;
        uint32_t n = (uint32_t)weft__min_size(left, c->end - c->start);
        c->start += n;
        left -= n;
        if (c->start == c->end) {
            o->first = c->next;
            weft__chunk_free(o, c);
        }
    }
}

static ssize_t send_now(struct weft__out *o, int fd, int flags, size_t *tried);

/* The stream is gone, and the operation that held the rest back has ended. */
static void try_last_words(struct weft__out *o, int res)
{
    bool alive = res > 0 || res == -ECANCELED;
    size_t tried = 0;
    ssize_t n = res > 0 ? res : (ssize_t)o->op.moved;
    take_off(o, (size_t)n);
    for (n = 1; alive && n > 0 && o->queued > 0;) {
        n = send_now(o, o->orphan_fd, 0, &tried);
        take_off(o, n > 0 ? (size_t)n : 0);
    }
    if (o->queued > 0)
        o->abrupt = true;
}

/* Takes off what went. False when the queue is gone. */
static bool account(struct weft__out *o, int res)
{
    struct weft_stream *s = o->s;
    if (WEFT__UNLIKELY(s == NULL)) {
        if (o->last_words)
            try_last_words(o, res);
        out_free_if_done(o);
        return false;
    }
    if (res <= 0) {
        weft__stream_sent(s, o->op.moved);
        weft__stream_fail(s, res < 0 ? res : -EPIPE);
        return false;
    }
    weft__stream_sent(s, (size_t)res);
    take_off(o, (size_t)res);
    wake(o, 0);
    if (o->queued > 0)
        return true;
    detach(o);
    return false;
}

static void sent(struct weft__op *op);

static size_t gather(const struct weft__out *o, struct iovec *iov, size_t max)
{
    size_t n = 0;
    for (struct weft__chunk *c = o->first; c != NULL && n < max; c = c->next)
        iov[n++] = (struct iovec){.iov_base = c->data + c->start, .iov_len = c->end - c->start};
    return n;
}

/* What can be sent without waiting, of as much as one call gathers (*tried). */
static ssize_t send_now(struct weft__out *o, int fd, int flags, size_t *tried)
{
    struct iovec iov[WEFT__OUT_GATHER];
    struct msghdr msg = {.msg_iov = iov, .msg_iovlen = gather(o, iov, WEFT__OUT_GATHER)};
    *tried = 0;
    for (size_t i = 0; i < msg.msg_iovlen; i++)
        *tried += iov[i].iov_len;
    return weft__call_sendmsg_now(fd, &msg, flags);
}

static void prepare(struct weft__out *o, const struct weft_stream *s)
{
    const struct weft__chunk *c = o->first;
    o->op.flags = 0;
    o->op.fd = s->fd;
    o->op.done = sent;
    o->op.moved = 0;
    if (o->by_ref > 0 && c->next != NULL && s->socket) {
        memset(&o->msg, 0, sizeof o->msg);
        o->msg.msg_iov = o->iov;
        o->msg.msg_iovlen = gather(o, o->iov, WEFT__OUT_GATHER);
        o->op.kind = WEFT__OP_SENDMSG;
        o->op.u.msg.msg = &o->msg;
        o->op.u.msg.flags = 0;
        return;
    }
    o->op.kind = s->socket ? WEFT__OP_SEND : WEFT__OP_WRITE;
    o->op.u.io.buf = c->data + c->start;
    o->op.u.io.len = c->end - c->start;
    o->op.u.io.flags = 0;
}

static void send_more(struct weft__out *o)
{
    struct weft_stream *s = o->s;
    do {
        prepare(o, s);
        o->sending = true;
        if (!weft__sys_submit(o->loop->sys, &o->op))
            return;
        o->sending = false;
    } while (account(o, o->op.res));
    if (s->proto != NULL)
        weft__transport_progress(s);
}

static void sent(struct weft__op *op)
{
    struct weft__out *o = WEFT__CONTAINER_OF(op, struct weft__out, op);
    struct weft_stream *s = o->s;
    o->sending = false;
    if (account(o, op->res))
        send_more(o);
    else if (s != NULL && s->proto != NULL)
        weft__transport_progress(s);
}

static void before_wait(struct weft__before_wait *b)
{
    struct weft__out *o = WEFT__CONTAINER_OF(b, struct weft__out, before);
    o->scheduled = false;
    if (o->s == NULL)
        out_free_if_done(o);
    else if (!o->sending)
        send_more(o);
}

void weft__out_kick(struct weft_stream *s)
{
    if (s->out != NULL && !s->out->sending)
        send_more(s->out);
}

/* --- Queueing -------------------------------------------------------------------------------- */

/* The queue, made and scheduled as needed; NULL: no memory. first_len: of what will be copied to
 * it; 0: nothing. */
static struct weft__out *out_for(struct weft_stream *s, size_t first_len)
{
    struct weft__out *o = s->out;
    if (o == NULL) {
        o = weft__out_new(s->loop, first_len);
        if (o == NULL)
            return NULL;
        o->s = s;
        o->before.fn = before_wait;
        s->out = o;
    }
    if (!o->scheduled && !o->sending) {
        o->scheduled = true;
        weft__loop_before_wait(o->loop, &o->before);
    }
    return o;
}

/* Takes off again what was added behind `last`. */
static void chunks_undo(struct weft__out *o, struct weft__chunk *last)
{
    struct weft__chunk *extra = last->next;
    last->next = NULL;
    o->last = last;
    while (extra != NULL) {
        struct weft__chunk *next = extra->next;
        weft__chunk_free(o, extra);
        extra = next;
    }
}

/* Chunks for len bytes behind the last, before anything is copied: all or nothing. */
static int make_room(struct weft__out *o, size_t len, struct weft__chunk **from)
{
    struct weft__chunk *c = o->last;
    size_t room = weft__chunk_writable(c) ? c->cap - c->end : 0;
    if (room < len && weft__out_grow(o)) {
        c = o->last;
        room = c->cap - c->end;
    } else if (room < len && c->kind == WEFT__CHUNK_OWN && o->size == WEFT__OUT_SMALL) {
        c->cap = c->end; /* the rest of so small a chunk is not worth an operation */
        room = 0;
    }
    *from = c;
    while (room < len) {
        struct weft__chunk *more = weft__chunk_add(o, len - room);
        if (more == NULL) {
            chunks_undo(o, c);
            return -ENOMEM;
        }
        room += more->cap;
    }
    return 0;
}

int weft__out_append(struct weft_stream *s, const struct iovec *iov, int n)
{
    struct weft__chunk *c;
    size_t total = 0;
    for (int i = 0; i < n; i++)
        total += iov[i].iov_len;
    if (total == 0)
        return 0;
    struct weft__out *o = out_for(s, total);
    if (o == NULL)
        return -ENOMEM;
    int err = make_room(o, total, &c);
    if (err < 0) {
        if (o->queued == 0)
            detach(o);
        return err;
    }
    for (int i = 0; i < n; i++) {
        const uint8_t *from = iov[i].iov_base;
        size_t left = iov[i].iov_len;
        while (left > 0) {
            size_t m = weft__min_size(left, weft__chunk_writable(c) ? c->cap - c->end : 0);
            if (m > 0) {
                memcpy(c->data + c->end, from, m);
                c->end += (uint32_t)m;
                from += m;
                left -= m;
            }
            if (left > 0)
                c = c->next;
        }
    }
    o->queued += total;
    return 0;
}

char *weft__out_room(struct weft_stream *s, size_t len)
{
    struct weft__out *o = s->out;
    if (o == NULL) { /* its first chunk has the size that is asked for */
        o = out_for(s, len);
        if (o != NULL && o->last->cap < len) {
            detach(o);
            o = NULL;
        }
        return o != NULL ? (char *)o->last->data + o->last->end : NULL;
    }
    /* It has bytes, so it is scheduled or being sent. */
    const struct weft__chunk *c = o->last;
    if (!weft__chunk_writable(c) || (c->cap - c->end < len && !weft__out_grow(o)))
        return NULL;
    c = o->last;
    return c->cap - c->end >= len ? (char *)c->data + c->end : NULL;
}

void weft__out_filled(struct weft_stream *s, size_t len)
{
    struct weft__out *o = s->out;
    WEFT__ASSERT(len > 0 && len <= o->last->cap - o->last->end);
    o->last->end += (uint32_t)len;
    o->queued += len;
}

/* A chunk of the queue that will refer to bytes elsewhere: its own while that is unused. */
static struct weft__chunk *ref_chunk(struct weft_stream *s)
{
    struct weft__out *o = out_for(s, 0);
    if (o == NULL)
        return NULL;
    return o->queued == 0 ? &o->own : weft__chunk_add_ref(o);
}

int weft__out_lend(struct weft_stream *s, struct weft__rbuf *rb, const void *data, size_t len)
{
    struct weft__chunk *c = ref_chunk(s);
    if (c == NULL)
        return -ENOMEM;
    c->kind = WEFT__CHUNK_LENT;
    c->lent = rb;
    c->data = rb->data;
    c->start = (uint32_t)((const uint8_t *)data - rb->data);
    c->end = c->cap = c->start + (uint32_t)len;
    s->out->queued += len;
    return 0;
}

int weft__out_share(struct weft_stream *s, struct weft__shared *sh, const void *data, size_t len)
{
    const struct weft__out *o = s->out;
    if (len < SHARE_MIN && (o == NULL || weft__chunk_writable(o->last))) {
        struct iovec iov = {.iov_base = (void *)(uintptr_t)data, .iov_len = len};
        return weft__out_append(s, &iov, 1);
    }
    struct weft__chunk *c = ref_chunk(s);
    if (c == NULL)
        return -ENOMEM;
    c->kind = WEFT__CHUNK_SHARED;
    c->shared = weft__shared_ref(sh);
    c->data = (uint8_t *)(uintptr_t)data; /* which is only read */
    c->start = 0;
    c->end = c->cap = (uint32_t)len;
    s->out->by_ref++;
    s->out->queued += len;
    return 0;
}

/* --- Waiting, ending ------------------------------------------------------------------------- */

struct out_wait {
    struct weft__wait wait;
    struct weft__out *out;
};

static void wait_abort(struct weft__wait *w, int why)
{
    WEFT__CONTAINER_OF(w, struct out_wait, wait)->out->waiter = NULL;
    weft__wait_trigger(w, why);
}

int weft__out_wait(struct weft_stream *s, size_t below, weft_deadline d)
{
    weft__out_kick(s);
    if (weft__out_queued(s) <= below) {
        weft__charge(); /* a writer that always finds room must not keep the loop */
        return s->error;
    }
    struct out_wait ow = {.out = s->out};
    weft__wait_init(&ow.wait, "write", s->fd, wait_abort);
    s->out->waiter = &ow.wait;
    s->out->below = below;
    return weft__wait_block(&ow.wait, d);
}

static void try_to_send(struct weft_stream *s, int flags)
{
    struct weft__out *o = s->out;
    size_t tried = 0;
    ssize_t n;
    if (o == NULL || o->sending || !s->socket)
        return;
    do {
        n = send_now(o, s->fd, flags, &tried);
        if (n < 0 && n != -EAGAIN)
            weft__stream_fail(s, (int)n);
    } while (n > 0 && account(o, (int)n) && (size_t)n == tried);
}

void weft__out_last_try(struct weft_stream *s)
{
    try_to_send(s, 0);
}

void weft__out_try_with_more(struct weft_stream *s)
{
    try_to_send(s, MSG_MORE);
}

void weft__out_last_words(struct weft_stream *s)
{
    if (s->out != NULL && s->socket)
        s->out->last_words = true;
    weft__out_last_try(s);
}

void weft__out_move(struct weft_stream *s)
{
    if (s->out != NULL)
        s->out->s = s;
}

void weft__out_drop(struct weft_stream *s, bool abrupt)
{
    if (s->out != NULL && s->out->last_words)
        weft__out_last_try(s);
    struct weft__out *o = s->out;
    if (o == NULL)
        return;
    WEFT__ASSERT(o->waiter == NULL);
    s->out = NULL;
    o->s = NULL;
    if (o->sending) { /* the kernel still reads the chunk: the descriptor waits for that, too */
        o->orphan_fd = s->fd;
        o->abrupt = abrupt || !o->last_words;
        s->fd = -1;
        weft__sys_cancel(o->loop->sys, &o->op);
        return;
    }
    out_free_if_done(o);
}
