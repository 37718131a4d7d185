/* SPDX-License-Identifier: MIT */
/*
 * How a connection gets into callback mode and out of it again: accepted, dialled, attached,
 * detached.
 *
 * Floor 3. Invariant: until a call here has succeeded, descriptor and stream are the caller's.
 */
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "net/feed.h"
#include "net/secure.h"
#include "net/server.h"
#include "net/transport.h"

#define WRITE_MARK_DEFAULT 65536u
#define WRITE_MAX_FACTOR 16u

size_t weft__factory_write_max(const struct weft_factory *f)
{
    size_t mark = f->write_mark > 0 ? f->write_mark : WRITE_MARK_DEFAULT, max = f->write_max;
    if (max == 0 && __builtin_mul_overflow(mark, (size_t)WRITE_MAX_FACTOR, &max))
        max = SIZE_MAX;
    return weft__max_size(max, mark);
}

int weft__factory_ref_new(struct weft__factory_ref **ret, const struct weft_factory *f)
{
    if (f->protocol == NULL || f->protocol->data == NULL)
        return weft__fail(-EINVAL, "a factory needs a protocol with a data callback");
    struct weft__factory_ref *ref = weft__alloc(sizeof *ref);
    if (ref == NULL)
        return -ENOMEM;
    *ref = (struct weft__factory_ref){.factory = *f, .refs = 1};
    ref->factory.write_mark = f->write_mark > 0 ? f->write_mark : WRITE_MARK_DEFAULT;
    ref->factory.write_max = weft__factory_write_max(f);
    *ret = ref;
    return 0;
}

void weft__factory_unref(struct weft__factory_ref *ref)
{
    if (ref != NULL && --ref->refs == 0)
        weft__free(ref);
}

static void transport_cancel(struct weft__member *m, struct weft__queue *more)
{
    struct weft__transport *t = WEFT__CONTAINER_OF(m, struct weft__transport, member);
    (void)more;
    weft_transport_abort(&t->s, -ECANCELED);
}

const struct weft__member_class weft__transport_class = {
    .kind = "connection",
    .cancel = transport_cancel,
    .tree = weft__tree_transport,
};

static struct weft__transport *transport_new(struct weft__factory_ref *ref)
{
    struct weft__transport *t = weft__alloc(sizeof *t);
    if (t == NULL)
        return NULL;
    memset(t, 0, sizeof *t);
    t->op.near = t;
    ref->refs++;
    return t;
}

static void transport_discard(struct weft__transport *t, struct weft__factory_ref *ref)
{
    weft__factory_unref(ref);
    weft__transport_extra_free(t);
    weft__free(t);
}

void weft__transport_extra_free(struct weft__transport *t)
{
    if (t->extra != NULL)
        weft__free(t->extra->told);
    weft__free(t->extra);
}

struct weft__transport_extra *weft__transport_extra(struct weft__transport *t)
{
    if (t->extra == NULL)
        t->extra = weft__calloc(1, sizeof *t->extra);
    return t->extra;
}

struct weft_address weft__transport_told(const struct weft__transport *t)
{
    return t->extra != NULL && t->extra->told != NULL ? *t->extra->told : (struct weft_address){0};
}

/* What a connection that comes from a task has beside its stream. */
static int bring_along(struct weft__transport *t, const struct weft_stream *s, bool secured,
                       struct weft__peer *peer)
{
    const struct weft_address *told =
        s->conn != NULL && s->conn->told.len > 0 ? &s->conn->told : NULL;
    if (!secured && peer == NULL && told == NULL)
        return 0;
    if (weft__transport_extra(t) == NULL)
        return -ENOMEM;
    t->extra->peer = peer;
    if (told == NULL)
        return 0;
    t->extra->told = weft__alloc(sizeof *told);
    if (t->extra->told == NULL)
        return -ENOMEM;
    *t->extra->told = *told;
    return 0;
}

int weft__transport_new(struct weft__transport **ret, struct weft_group *g,
                        struct weft__factory_ref *ref, int fd, int family,
                        struct weft__worker *worker, struct weft__peer *peer, bool extra)
{
    struct weft__transport *t = transport_new(ref);
    if (t == NULL)
        return -ENOMEM;
    int err = extra && weft__transport_extra(t) == NULL ? -ENOMEM : 0;
    if (err == 0)
        err = weft__group_enter(g, &t->member, &weft__transport_class);
    if (err < 0) {
        transport_discard(t, ref);
        return err;
    }
    weft__fd_stream_init(&t->s, fd, family, g->loop, 0);
    t->s.proto = t;
    t->s.shared = ref;
    t->s.worker = worker;
    t->s.reason = 0;
    t->s.starting = true;
    if (peer != NULL)
        t->extra->peer = peer;
    if (worker != NULL) {
        t->s.counters = &worker->counters;
        t->s.drained = !worker->behind;
    }
    *ret = t;
    return 0;
}

int weft__transport_open(struct weft_group *g, struct weft__factory_ref *ref, int fd, int family,
                         struct weft__worker *worker, struct weft__peer *peer, bool now)
{
    struct weft__transport *t = NULL;
    int err = weft__transport_new(&t, g, ref, fd, family, worker, peer, peer != NULL);
    if (err < 0)
        return err;
    if (now) {
        t->op.kind = WEFT__OP_NOP;
        weft__transport_op_done(&t->op);
    } else {
        weft__transport_later(t);
    }
    return 0;
}

int weft__transport_attach(struct weft__transport **ret, struct weft_stream **sp,
                           struct weft_group *g, struct weft__factory_ref *ref,
                           struct weft__worker *worker, struct weft__peer *peer)
{
    struct weft_stream *s = *sp, *lower = s;
    if (s->cls->filter != NULL)
        lower = s->cls->filter->lower(s);
    if (s->loop == NULL || s->loop != g->loop || s->loop != weft_loop_current())
        return weft__fail(WEFT_ETHREAD, "stream and group must belong to the loop that runs this");
    if (!lower->cls->joins)
        return weft__fail(-EOPNOTSUPP, "only a stream with a descriptor can run a protocol");
    if (s->proto != NULL || s->reader != NULL || s->writer != NULL)
        return weft__fail(-EBUSY, "someone reads or writes the stream");
    struct weft__transport *t = transport_new(ref);
    if (t == NULL)
        return -ENOMEM;
    int err = bring_along(t, s, s != lower, peer);
    if (err == 0)
        err = weft__group_enter(g, &t->member, &weft__transport_class);
    if (err < 0) {
        transport_discard(t, ref);
        return err;
    }
    if (s->conn != NULL) {
        s->conn->stream = NULL;
        s->conn = NULL;
    }
    if (s->record_len > 0) {
        s->in->used += s->record_len;
        s->record_len = 0;
    }
    weft__in_release(s);
    t->s = *lower;
    WEFT__ASSERT(t->s.in == NULL || t->s.in->next == NULL); /* now it is a list */
    weft__out_move(&t->s);
    t->s.feed = NULL;
    t->s.proto = t;
    t->s.user = NULL;
    t->s.shared = ref;
    t->s.worker = worker;
    t->s.reason = 0;
    t->s.starting = true;
    t->s.counters = NULL; /* the server's, which may end before it */
    if (t->s.end) {       /* the task has seen it; eof tells it again, behind what is left */
        t->s.end = false;
        t->s.ended = 1;
    }
    if (s != lower)
        weft__transport_adopt(t, s);
    if (lower->feed != NULL)
        weft__feed_bequeath(lower->feed, t);
    weft__free(lower);
    *sp = NULL;
    *ret = t;
    return 0;
}

int weft_protocol_attach(struct weft_group *g, struct weft_stream **s, const struct weft_factory *f)
{
    struct weft__factory_ref *ref = NULL;
    struct weft__transport *t = NULL;
    int err = weft__factory_ref_new(&ref, f);
    if (err < 0)
        return err;
    err = weft__transport_attach(&t, s, g, ref, NULL, NULL);
    weft__factory_unref(ref); /* the transport has its own */
    if (err == 0)
        weft__transport_later(t);
    return err;
}

/* --- Detach: a connection goes on in a task --------------------------------------------------- */

/*
 * The receive of the connection may be under way still, and bring bytes, or come to an end, before
 * its cancel takes effect. So the task claims the connection's struct: it lives until the task has
 * waited for that and taken over what came.
 */
struct detached {
    struct weft__split split;
    struct weft_address told;
    int (*handler)(struct weft_stream *s, void *arg);
    void *arg;
};

/* A stream whose receive failed while it changed hands: the kernel tells that but once. */
static ssize_t broken_read(struct weft_stream *s, void *buf, size_t cap, weft_deadline d)
{
    (void)buf, (void)cap, (void)d;
    return s->error;
}

static ssize_t broken_fill(struct weft_stream *s, weft_deadline d)
{
    (void)d;
    return s->error;
}

static int broken_write(struct weft_stream *s, struct iovec *iov, int n, size_t *moved,
                        weft_deadline d)
{
    (void)iov, (void)n, (void)moved, (void)d;
    return s->error;
}

static int broken_shutdown(struct weft_stream *s)
{
    return s->error;
}

static void broken_release(struct weft_stream *s, bool abrupt)
{
    weft__tcp_class.release(s, abrupt);
}

static int broken_address(const struct weft_stream *s, bool peer, struct weft_address *ret)
{
    return weft__tcp_class.address(s, peer, ret);
}

static const struct weft__stream_class broken_class = {
    .kind = "broken",
    .read = broken_read,
    .fill = broken_fill,
    .write = broken_write,
    .shutdown = broken_shutdown,
    .release = broken_release,
    .address = broken_address,
    .joins = true,
};

/* Puts the held buffers behind what the stream has; takes all of them or none. */
static int take_held(struct weft_stream *s, struct weft__rbuf *held)
{
    if (held == NULL || (s->in == NULL && held->next == NULL)) {
        s->in = held != NULL ? held : s->in;
        return 0;
    }
    size_t total = weft__in_left(s);
    for (const struct weft__rbuf *rb = held; rb != NULL; rb = rb->next)
        total += rb->len;
    struct weft__rbuf *all = weft__in_alloc(s, total);
    if (all == NULL)
        return -ENOMEM;
    if (s->in != NULL) {
        s->in->next = held;
        held = s->in;
    }
    while (held != NULL) {
        struct weft__rbuf *rb = weft__rbuf_pop(&held);
        memcpy(all->data + all->len, rb->data + rb->used, rb->len - rb->used);
        all->len += rb->len - rb->used;
        weft__rbuf_release(s->loop, rb);
    }
    s->in = all;
    return 0;
}

void weft__transport_wake_heir(struct weft__transport *t)
{
    struct weft__wait *w = t->s.user;
    t->s.user = NULL;
    if (w != NULL)
        weft__wait_trigger(w, 0);
}

/* Waits until the claimed connection is at rest, takes what it has, and gives it up. */
void weft__transport_take_over(struct weft__split *p)
{
    struct weft_stream *s = p->lower;
    struct weft__transport *t = p->from;
    if (t == NULL)
        return;
    while (t->s.busy) {
        struct weft__wait w; /* not to be cut short: the kernel may write to its buffers */
        weft__wait_init(&w, "detach", s->fd, NULL);
        t->s.user = &w;
        (void)weft__wait_block(&w, WEFT_NEVER);
    }
    int err = take_held(s, t->s.in);
    if (err == 0)
        t->s.in = NULL;
    if (t->s.ended > 0)
        s->end = true;
    else if (err == 0)
        err = t->s.ended;
    if (err < 0) {
        s->error = err;
        s->end = false;
        s->cls = &broken_class;
    }
    s->bytes_in = t->s.bytes_in;
    s->drained = t->s.drained;
    t->s.claimed = false;
    weft__transport_later(t);
}

static int detached_main(void *arg)
{
    struct detached *d = arg;
    weft__transport_take_over(&d->split);
    struct weft__conn c = {.stream = d->split.stream, .told = d->told};
    c.stream->conn = &c; /* so that the handler may close or give the stream away */
    int err = d->handler(c.stream, d->arg);
    if (c.stream == NULL)
        return err;
    if (err < 0) {
        weft__stream_give_up(&c.stream, WEFT_NEVER);
        return err;
    }
    return weft_close(&c.stream, weft_after_s(60));
}

int weft__transport_split(struct weft__transport *t, size_t unread, struct weft__split *ret)
{
    struct weft__rbuf *rb = t->s.delivering ? t->s.in : NULL;
    if (!t->s.inside || (t->s.busy && !t->s.delivering && !t->s.secured))
        return weft__fail(-EBUSY, "only the connection's own data, made or eof may detach it");
    if (t->s.closing || t->s.aborting || t->s.shutting || t->s.shaking ||
        (t->extra != NULL && t->extra->produce != NULL))
        return weft__fail(-EBUSY, "the connection is closing, or has a producer");
    if (unread > 0 && (rb == NULL || unread > rb->len - rb->used))
        return weft__fail(-EINVAL, "%zu unread bytes of a smaller piece", unread);
    struct weft_stream *s = weft__alloc(sizeof *s);
    if (s == NULL)
        return -ENOMEM;
    *s = t->s;
    s->proto = NULL;
    s->reader = NULL;
    s->writer = NULL;
    s->conn = NULL;
    s->counters = NULL;
    s->in = NULL;
    s->out_max = WEFT__OUT_MAX_DEFAULT;
    s->fills = 0;
    s->busy = s->inside = s->held = s->paused = s->lent = s->delivering = false;
    s->ended = 0;
    s->secured = s->more = false;
    struct weft_stream *top = t->s.secured ? t->extra->filter : s;
    if (unread > 0 && weft__in_prepend(top, rb->data + rb->len - unread, unread) < 0) {
        weft__free(s);
        return -ENOMEM;
    }
    bool more = t->s.delivering || t->s.secured || t->s.in != NULL || t->s.ended != 0;
    *ret = (struct weft__split){.stream = top, .lower = s, .from = more ? t : NULL};
    return 0;
}

void weft__transport_unsplit(struct weft__split *p)
{
    if (p->stream->in != NULL)
        weft__rbuf_release(p->lower->loop, p->stream->in);
    p->stream->in = NULL;
    weft__free(p->lower);
}

void weft__transport_part(struct weft__transport *t, struct weft__split *p)
{
    weft__out_move(p->lower);
    if (p->stream != p->lower)
        weft__transport_disown(t, p->lower);
    t->s.out = NULL;
    t->s.fd = -1;
    t->s.label = NULL;
    t->s.detached = true;
    t->s.claimed = p->from != NULL;
    t->s.user = NULL; /* from now on, the wait of the task that has claimed it */
}

int weft_protocol_detach(struct weft_group *g, struct weft_stream *ts, size_t unread,
                         int (*handler)(struct weft_stream *s, void *arg), void *arg)
{
    struct weft__transport *t = weft__transport_of(ts);
    struct detached d = {.told = weft__transport_told(t), .handler = handler, .arg = arg};
    int err = weft__transport_split(t, unread, &d.split);
    if (err < 0)
        return err;
    err = weft__task_spawn(g,
                           &(struct weft__spawn){.fn = detached_main,
                                                 .arg = &d,
                                                 .copy = sizeof d,
                                                 .name = "detached",
                                                 .site = "weft_protocol_detach"},
                           NULL);
    if (err < 0) {
        weft__transport_unsplit(&d.split);
        return err;
    }
    weft__transport_part(t, &d.split);
    return 0;
}
