/* SPDX-License-Identifier: MIT */
/* Standing receives. Floor 3. See feed.h. */
#include "net/feed.h"

#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "net/transport.h"
#include "sys/call.h"

/* In the order in which something that comes looks at it: the driver fetches the first three cache
 * lines ahead. That is why the reader's wait is here, and not in its frame. */
struct weft__feed {
    struct weft__op op;
    struct weft_stream *s; /* NULL: it has ended, or left the feed to the heir */
    struct weft__rbuf *first, *last;
    uint32_t held; /* bytes in them */
    int ended;     /* what receiving came to: 1 the end, < 0; 0: nothing */
    bool armed;    /* the operation is under way */
    bool canceling;
    bool awaited;           /* the reader stands still in wait */
    bool settling;          /* it waits for the operation's end, not for bytes */
    struct weft__wait wait; /* the reader's */
    struct weft_loop *loop;
    struct weft__transport *heir; /* gets what comes; or NULL */
};

bool weft__feed_holds(const struct weft__feed *f)
{
    return f->first != NULL || f->ended != 0;
}

void weft__feed_pause(struct weft__feed *f)
{
    if (!f->armed || f->canceling)
        return;
    f->canceling = true;
    weft__sys_cancel(f->loop->sys, &f->op);
}

/* --- What comes ------------------------------------------------------------------------------- */

static void push(struct weft__feed *f, struct weft__rbuf *rb)
{
    rb->next = NULL;
    rb->used = 0;
    if (f->first == NULL)
        f->first = rb;
    else
        f->last->next = rb;
    f->last = rb;
    f->held += rb->len;
    if (f->held >= WEFT__FEED_HOLD)
        weft__feed_pause(f);
}

static struct weft__rbuf *pop(struct weft__feed *f)
{
    f->held -= f->first->len;
    return weft__rbuf_pop(&f->first);
}

static void feed_free(struct weft__feed *f)
{
    while (f->first != NULL)
        weft__rbuf_release(f->loop, pop(f));
    weft__free(f);
}

static void take(struct weft__feed *f, const struct weft__op *op)
{
    if (op->res > 0) {
        if (f->heir != NULL)
            weft__transport_inherit(f->heir, op->rbuf);
        else if (f->s != NULL)
            push(f, op->rbuf);
        else
            weft__rbuf_put(f->loop->sys, op->rbuf);
        if (f->s != NULL)
            f->s->drained = !op->full;
    } else if (op->res != -ECANCELED) {
        f->ended = op->res == 0 ? 1 : op->res;
    }
}

static void feed_done(struct weft__op *op)
{
    struct weft__feed *f = WEFT__CONTAINER_OF(op, struct weft__feed, op);
    struct weft__transport *heir = f->heir;
    if (!op->more)
        f->armed = f->canceling = false;
    take(f, op);
    if (f->s == NULL) {
        if (f->armed)
            return;
        int ended = f->ended;
        feed_free(f);
        if (heir != NULL)
            weft__transport_inherited(heir, ended);
        return;
    }
    if (!f->awaited || (f->armed && (f->settling || !weft__feed_holds(f))))
        return;
    f->awaited = false;
    weft__flow_warm(f->wait.flow);
    weft__wait_trigger(&f->wait, 0);
}

static void arm(struct weft__feed *f)
{
    f->op = (struct weft__op){
        .kind = WEFT__OP_RECV_POOL,
        .flags = (uint8_t)(WEFT__OP_MULTI | (f->s->drained ? WEFT__OP_POLL_FIRST : 0)),
        .fd = f->s->fd,
        .done = feed_done,
        .near = weft__task_of(weft__flow_self())};
    f->armed = true;
    if (weft__sys_submit(f->loop->sys, &f->op)) {
        f->armed = false;
        take(f, &f->op);
    }
}

/* --- Reading ---------------------------------------------------------------------------------- */

static void feed_abort(struct weft__wait *w, int why)
{
    (void)why; /* kept in the wait, which the operation's end triggers */
    weft__feed_pause(WEFT__CONTAINER_OF(w, struct weft__feed, wait));
}

/* Until something comes, or the operation is over. 0, or why it was cut short. */
static int stand(struct weft__feed *f, weft_deadline d)
{
    weft__wait_init(&f->wait, "read", f->s->fd, feed_abort);
    weft__flow_self()->near = f->s;
    f->awaited = true;
    (void)weft__wait_block(&f->wait, d);
    return weft__feed_holds(f) ? 0 : f->wait.why;
}

static int give_up(struct weft_stream *s)
{
    feed_free(s->feed);
    s->feed = NULL;
    return -EAGAIN;
}

/* > 0: there are bytes. 0 at the end. -EAGAIN: a receive of the caller's own is to find out. */
static int await_some(struct weft_stream *s, weft_deadline d)
{
    struct weft__feed *f = s->feed;
    int err = s->closed ? WEFT_ECLOSED : weft__wait_check();
    bool waited = false;
    while (err == 0 && !weft__feed_holds(f)) {
        if (!f->armed && s->exposed)
            return give_up(s);
        if (!f->armed)
            arm(f);
        if (weft__feed_holds(f))
            break;
        waited = true;
        err = stand(f, d);
        if (s->closed)
            err = WEFT_ECLOSED;
        else if (err == -ETIMEDOUT) /* the cancel may have been quicker than bytes that are there */
            return -EAGAIN;
    }
    if (err < 0)
        return err;
    if (!waited)
        weft__charge();
    if (f->first != NULL)
        return 1;
    if (f->ended > 0) {
        s->end = true;
        return 0;
    }
    err = f->ended;
    f->ended = 0; /* told */
    return err;
}

ssize_t weft__feed_fill(struct weft_stream *s, weft_deadline d)
{
    int some = await_some(s, d);
    if (some <= 0)
        return some;
    s->in = pop(s->feed);
    size_t n = weft__in_left(s);
    weft__stream_got(s, n);
    return (ssize_t)n;
}

ssize_t weft__feed_read(struct weft_stream *s, void *buf, size_t cap, weft_deadline d)
{
    int some = await_some(s, d);
    if (some <= 0)
        return some;
    struct weft__feed *f = s->feed;
    struct weft__rbuf *rb = f->first;
    size_t n = weft__min_size(cap, rb->len - rb->used);
    memcpy(buf, rb->data + rb->used, n);
    rb->used += (uint32_t)n;
    if (rb->used == rb->len)
        weft__rbuf_release(f->loop, pop(f));
    weft__stream_got(s, n);
    return (ssize_t)n;
}

/* --- Begin and end ---------------------------------------------------------------------------- */

void weft__feed_open(struct weft_stream *s)
{
    struct weft__feed *f = weft__calloc(1, sizeof *f);
    s->fills = 0; /* without memory it is due again later */
    if (f == NULL)
        return;
    f->loop = s->loop;
    f->s = s;
    s->feed = f;
}

/* All of it into one read-ahead. */
static int gather(struct weft_stream *s)
{
    struct weft__feed *f = s->feed;
    size_t len = weft__in_left(s);
    for (const struct weft__rbuf *rb = f->first; rb != NULL; rb = rb->next)
        len += rb->len - rb->used;
    struct weft__rbuf *all = weft__in_alloc(s, len);
    if (all == NULL)
        return -ENOMEM;
    if (s->in != NULL) {
        all->len = (uint32_t)weft__in_left(s);
        memcpy(all->data, s->in->data + s->in->used, all->len);
    }
    while (f->first != NULL) {
        struct weft__rbuf *rb = pop(f);
        size_t n = rb->len - rb->used;
        memcpy(all->data + all->len, rb->data + rb->used, n);
        all->len += (uint32_t)n;
        weft__stream_got(s, n);
        weft__rbuf_release(f->loop, rb);
    }
    if (s->in != NULL)
        weft__rbuf_release(s->loop, s->in);
    s->in = all;
    return 0;
}

int weft__feed_settle(struct weft_stream *s)
{
    struct weft__feed *f = s->feed;
    if (f == NULL)
        return 0;
    weft__feed_pause(f);
    if (f->armed) {
        weft__wait_init(&f->wait, "read", s->fd, NULL);
        f->settling = f->awaited = true;
        (void)weft__wait_block(&f->wait, WEFT_NEVER);
        f->settling = false;
    }
    int err = f->first != NULL ? gather(s) : 0;
    if (err < 0)
        return err;
    s->end = s->end || f->ended > 0;
    s->feed = NULL;
    weft__free(f);
    return 0;
}

void weft__feed_drop(struct weft__feed *f, bool abrupt)
{
    WEFT__ASSERT(!f->awaited);
    if (!f->armed) {
        feed_free(f);
        return;
    }
    if (!abrupt && !f->s->shut) /* close(2) alone would not tell the peer before it has ended */
        (void)weft__call_shutdown(f->s->fd, SHUT_WR);
    f->s = NULL;
    weft__feed_pause(f);
}

void weft__feed_bequeath(struct weft__feed *f, struct weft__transport *t)
{
    WEFT__ASSERT(!f->awaited);
    while (f->first != NULL)
        weft__transport_inherit(t, pop(f));
    if (!f->armed) {
        if (f->ended != 0)
            t->s.ended = f->ended;
        weft__free(f);
        return;
    }
    f->s = NULL;
    f->heir = t;
    t->s.busy = true;
    t->op.kind = WEFT__OP_NOP;
    weft__feed_pause(f);
}
