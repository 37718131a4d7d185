/* SPDX-License-Identifier: MIT */
/*
 * Joined writes: the bounded queue of a descriptor stream on a loop.
 *
 * Floor 3. Small writes are copied to chunks, and the chunks go to the driver before the loop waits
 * next, so that what one turn wrote to a stream costs one operation. One send is under way at a
 * time, which keeps the order.
 *
 * Invariants: s->out exists exactly while bytes are queued; chunks come from a spare list of the
 * loop, so the steady state allocates nothing; a queue whose stream has gone (s NULL) lives on
 * until its operation has ended, and then closes the descriptor.
 */
#include <errno.h>
#include <string.h>
#include <sys/uio.h>

#include "base/alloc.h"
#include "net/stream.h"
#include "net/transport.h"
#include "sys/call.h"

#define CHUNK_SIZE 16896u /* the longest record of TLS goes in one piece */
#define SPARES_MAX 512
#define LAST_TRY_CHUNKS 16

struct chunk {
    struct chunk *next;
    uint8_t *data;
    uint32_t start, end, cap;
    struct weft__rbuf *lent; /* data lies in it; given back when sent */
};

struct weft__out {
    struct weft__before_wait before;
    struct weft__op op;
    struct weft_stream *s; /* NULL: gone */
    struct weft_loop *loop;
    struct weft__wait *waiter;
    size_t below; /* the waiter wants no more than so many bytes queued */
    size_t queued;
    struct chunk *first, *last;
    bool sending;
    bool scheduled; /* in the loop's before_wait list */
    bool abrupt;
    int orphan_fd; /* to be closed with the queue; -1 */
    struct chunk own;
};

/* A spare is a chunk with its memory, as a queue (own) or as a further chunk. */
struct block {
    union {
        struct block *next_spare;
        struct weft__out out;
        struct chunk chunk;
    };
    uint8_t data[CHUNK_SIZE];
};

struct spares {
    struct weft__service service;
    struct block *first;
    size_t count;
};

static void spares_close(struct weft__service *service)
{
    struct spares *sp = WEFT__CONTAINER_OF(service, struct spares, service);
    while (sp->first != NULL) {
        struct block *b = sp->first;
        sp->first = b->next_spare;
        weft__free(b);
    }
    weft__free(sp);
}

static struct block *block_get(struct weft_loop *l)
{
    struct spares *sp = l->out_spares;
    if (WEFT__UNLIKELY(sp == NULL)) {
        sp = weft__calloc(1, sizeof *sp);
        if (sp == NULL)
            return NULL;
        sp->service.close = spares_close;
        weft__list_push_back(&l->services, &sp->service.link);
        l->out_spares = sp;
    }
    struct block *b = sp->first;
    if (b == NULL)
        return weft__alloc(sizeof *b);
    sp->first = b->next_spare;
    sp->count--;
    return b;
}

static void block_put(struct weft_loop *l, struct block *b)
{
    struct spares *sp = l->out_spares;
    if (sp->count >= SPARES_MAX) {
        weft__free(b);
        return;
    }
    b->next_spare = sp->first;
    sp->first = b;
    sp->count++;
}

static void chunk_free(struct weft__out *o, struct chunk *c)
{
    if (c->lent != NULL) {
        weft__rbuf_put(o->loop->sys, c->lent);
        c->lent = NULL;
    }
    if (c != &o->own)
        block_put(o->loop, WEFT__CONTAINER_OF(c, struct block, chunk));
}

static void chunks_free(struct weft__out *o)
{
    while (o->first != NULL) {
        struct chunk *c = o->first;
        o->first = c->next;
        chunk_free(o, c);
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
    block_put(o->loop, WEFT__CONTAINER_OF(o, struct block, out));
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

/* Takes off what went. False when the queue is gone. */
static bool account(struct weft__out *o, int res)
{
    struct weft_stream *s = o->s;
    if (WEFT__UNLIKELY(s == NULL)) {
        out_free_if_done(o);
        return false;
    }
    if (res <= 0) {
        weft__stream_sent(s, o->op.moved);
        weft__stream_fail(s, res < 0 ? res : -EPIPE);
        return false;
    }
    struct chunk *c = o->first;
    weft__stream_sent(s, (size_t)res);
    c->start += (uint32_t)res;
    o->queued -= (size_t)res;
    if (c->start == c->end) {
        o->first = c->next;
        chunk_free(o, c);
    }
    wake(o, 0);
    if (o->queued > 0)
        return true;
    detach(o);
    return false;
}

static void sent(struct weft__op *op);

static void send_more(struct weft__out *o)
{
    struct weft_stream *s = o->s;
    do {
        struct chunk *c = o->first;
        o->op.kind = s->socket ? WEFT__OP_SEND : WEFT__OP_WRITE;
        o->op.flags = 0;
        o->op.fd = s->fd;
        o->op.done = sent;
        o->op.moved = 0;
        o->op.u.io.buf = c->data + c->start;
        o->op.u.io.len = c->end - c->start;
        o->op.u.io.flags = 0;
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

static struct weft__out *out_open(struct weft_stream *s)
{
    struct block *b = block_get(s->loop);
    if (b == NULL)
        return NULL;
    struct weft__out *o = &b->out;
    memset(o, 0, sizeof *o);
    o->s = s;
    o->loop = s->loop;
    o->orphan_fd = -1;
    o->before.fn = before_wait;
    o->own.data = b->data;
    o->own.cap = CHUNK_SIZE;
    o->first = o->last = &o->own;
    s->out = o;
    return o;
}

static struct chunk *chunk_add(struct weft__out *o)
{
    struct block *b = block_get(o->loop);
    if (b == NULL)
        return NULL;
    b->chunk = (struct chunk){.data = b->data, .cap = CHUNK_SIZE};
    o->last->next = &b->chunk;
    o->last = &b->chunk;
    return &b->chunk;
}

/* The queue, made and scheduled as needed; NULL: no memory. */
static struct weft__out *out_for(struct weft_stream *s)
{
    struct weft__out *o = s->out != NULL ? s->out : out_open(s);
    if (o != NULL && !o->scheduled && !o->sending) {
        o->scheduled = true;
        weft__loop_before_wait(o->loop, &o->before);
    }
    return o;
}

/* Chunks for len bytes behind the last, before anything is copied: all or nothing. */
static int make_room(struct weft__out *o, size_t len, struct chunk **from)
{
    struct chunk *c = o->last;
    size_t room = c->lent == NULL ? c->cap - c->end : 0;
    *from = c;
    while (room < len) {
        if (chunk_add(o) == NULL) {
            struct chunk *extra = (*from)->next;
            (*from)->next = NULL;
            o->last = *from;
            while (extra != NULL) {
                struct chunk *next = extra->next;
                chunk_free(o, extra);
                extra = next;
            }
            return -ENOMEM;
        }
        room += CHUNK_SIZE;
    }
    return 0;
}

int weft__out_append(struct weft_stream *s, const struct iovec *iov, int n)
{
    struct chunk *c;
    size_t total = 0;
    for (int i = 0; i < n; i++)
        total += iov[i].iov_len;
    if (total == 0)
        return 0;
    struct weft__out *o = out_for(s);
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
            size_t m = weft__min_size(left, c->lent == NULL ? c->cap - c->end : 0);
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

int weft__out_lend(struct weft_stream *s, struct weft__rbuf *rb, const void *data, size_t len)
{
    bool fresh = s->out == NULL;
    struct weft__out *o = out_for(s);
    if (o == NULL)
        return -ENOMEM;
    struct chunk *c = fresh ? &o->own : chunk_add(o);
    if (c == NULL)
        return -ENOMEM;
    c->lent = rb;
    c->data = rb->data;
    c->start = (uint32_t)((const uint8_t *)data - rb->data);
    c->end = c->cap = c->start + (uint32_t)len;
    o->queued += len;
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

void weft__out_last_try(struct weft_stream *s)
{
    struct weft__out *o = s->out;
    if (o == NULL || o->sending || !s->socket)
        return;
    struct iovec iov[LAST_TRY_CHUNKS];
    struct msghdr msg = {.msg_iov = iov};
    for (struct chunk *c = o->first; c != NULL && msg.msg_iovlen < LAST_TRY_CHUNKS; c = c->next)
        iov[msg.msg_iovlen++] =
            (struct iovec){.iov_base = c->data + c->start, .iov_len = c->end - c->start};
    ssize_t n = weft__call_sendmsg_now(s->fd, &msg);
    if (n < 0 && n != -EAGAIN)
        weft__stream_fail(s, (int)n);
    while (n > 0) {
        uint32_t m = (uint32_t)weft__min_size((size_t)n, o->first->end - o->first->start);
        n -= m;
        if (!account(o, (int)m))
            return;
    }
}

void weft__out_move(struct weft_stream *s)
{
    if (s->out != NULL)
        s->out->s = s;
}

void weft__out_drop(struct weft_stream *s)
{
    struct weft__out *o = s->out;
    if (o == NULL)
        return;
    WEFT__ASSERT(o->waiter == NULL);
    s->out = NULL;
    o->s = NULL;
    if (o->sending) { /* the kernel still reads the chunk: the descriptor waits for that, too */
        o->orphan_fd = s->fd;
        o->abrupt = true;
        s->fd = -1;
        weft__sys_cancel(o->loop->sys, &o->op);
        return;
    }
    out_free_if_done(o);
}
