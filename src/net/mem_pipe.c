/* SPDX-License-Identifier: MIT */
/*
 * Pipes in memory: two stream ends of one loop, joined by a ring of bytes in each direction.
 *
 * Floor 3. Invariants:
 *  - a ring is allocated by the first write and freed when its reader has taken the last byte after
 *    the writer's end, or is gone itself; while it is empty it starts at its first byte again, so
 *    that small exchanges touch little of it;
 *  - a reader waits only on an empty ring, a writer only on a full one, so at most one of the two
 *    waits in a direction;
 *  - what was written before a close can still be read; an abort drops it.
 *
 * Only tasks can wait for one another here: on a plain thread nobody else could ever fill or empty
 * the ring, so there are no such pipes there.
 */
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "net/stream.h"

#define CAPACITY_DEFAULT 65536u

/* One direction. */
struct way {
    uint8_t *ring; /* NULL: nothing was written yet */
    size_t start, used;
    struct weft__wait *reader, *writer;
    bool ended;  /* no more will be written */
    bool broken; /* nobody will read */
    int error;   /* what reading and writing meet after an abort */
};

struct pipe {
    struct way ways[2]; /* written by end 0, by end 1 */
    size_t capacity;
    int ends; /* not released yet */
};

struct end {
    struct weft_stream s; /* first: the two are one block */
    struct pipe *pipe;
    int side;
};

static struct end *end_of(const struct weft_stream *s)
{
    return WEFT__CONTAINER_OF(s, struct end, s);
}

static struct way *way_out(const struct weft_stream *s)
{
    return &end_of(s)->pipe->ways[end_of(s)->side];
}

static struct way *way_in(const struct weft_stream *s)
{
    return &end_of(s)->pipe->ways[!end_of(s)->side];
}

/* --- Waiting --------------------------------------------------------------------------------- */

struct place {
    struct weft__wait wait;
    struct weft__wait **in;
};

static void place_abort(struct weft__wait *w, int why)
{
    *WEFT__CONTAINER_OF(w, struct place, wait)->in = NULL;
    weft__wait_trigger(w, why);
}

static int stand(struct weft_stream *s, struct weft__wait **in, const char *what, weft_deadline d)
{
    struct place p = {.in = in};
    int err = weft__wait_check();
    if (err < 0)
        return err;
    if (s->closed) /* while an earlier round of the same call had yielded */
        return WEFT_ECLOSED;
    weft__wait_init(&p.wait, what, -1, place_abort);
    *in = &p.wait;
    return weft__wait_block(&p.wait, d);
}

static void wake(struct weft__wait **in)
{
    struct weft__wait *w = *in;
    if (w == NULL)
        return;
    *in = NULL;
    weft__wait_trigger(w, 0);
}

/* --- Reading --------------------------------------------------------------------------------- */

static size_t take(struct way *w, size_t capacity, void *buf, size_t cap)
{
    size_t n = weft__min_size(cap, w->used);
    size_t first = weft__min_size(n, capacity - w->start);
    memcpy(buf, w->ring + w->start, first);
    memcpy((uint8_t *)buf + first, w->ring, n - first);
    w->used -= n;
    w->start = w->used > 0 ? (w->start + n) % capacity : 0;
    if (w->used == 0 && w->ended) {
        weft__free(w->ring);
        w->ring = NULL;
    }
    return n;
}

/* Waits until there is something: > 0, 0 at the end. */
static ssize_t await_bytes(struct weft_stream *s, weft_deadline d)
{
    struct way *w = way_in(s);
    bool waited = false;
    while (w->used == 0) {
        if (w->error < 0)
            return w->error;
        if (w->ended) {
            s->end = true;
            return 0;
        }
        int err = stand(s, &w->reader, "read", d);
        if (err < 0)
            return err;
        waited = true;
    }
    if (!waited)
        weft__charge();
    return w->used > 0 ? (ssize_t)w->used : w->error; /* an abort may have come meanwhile */
}

static ssize_t taken(struct weft_stream *s, void *buf, size_t cap)
{
    struct way *w = way_in(s);
    size_t n = take(w, end_of(s)->pipe->capacity, buf, cap);
    weft__stream_got(s, n);
    wake(&w->writer);
    return (ssize_t)n;
}

static ssize_t pipe_read(struct weft_stream *s, void *buf, size_t cap, weft_deadline d)
{
    ssize_t n = await_bytes(s, d);
    return n > 0 ? taken(s, buf, cap) : n;
}

static ssize_t pipe_fill(struct weft_stream *s, weft_deadline d)
{
    ssize_t n = await_bytes(s, d);
    if (n <= 0)
        return n;
    struct weft__rbuf *rb = weft__in_alloc(s, WEFT__RBUF_SIZE);
    if (rb == NULL)
        return -ENOMEM;
    n = taken(s, rb->data, WEFT__RBUF_SIZE);
    rb->len = (uint32_t)n;
    s->in = rb;
    return n;
}

/* --- Writing --------------------------------------------------------------------------------- */

static void put(struct way *w, size_t capacity, const uint8_t *from, size_t n)
{
    size_t at = (w->start + w->used) % capacity;
    size_t first = weft__min_size(n, capacity - at);
    memcpy(w->ring + at, from, first);
    memcpy(w->ring, from + first, n - first);
    w->used += n;
}

/* Waits for room. */
static int await_room(struct weft_stream *s, bool *waited, weft_deadline d)
{
    struct way *w = way_out(s);
    size_t capacity = end_of(s)->pipe->capacity;
    for (;;) {
        if (w->error < 0)
            return w->error;
        if (w->broken)
            return -EPIPE;
        if (w->used < capacity)
            break;
        int err = stand(s, &w->writer, "write", d);
        if (err < 0)
            return err;
        *waited = true;
    }
    if (w->ring == NULL)
        w->ring = weft__alloc(capacity);
    return w->ring != NULL ? 0 : -ENOMEM;
}

static int pipe_write(struct weft_stream *s, struct iovec *iov, int n, size_t *moved,
                      weft_deadline d)
{
    struct way *w = way_out(s);
    size_t capacity = end_of(s)->pipe->capacity;
    bool waited = false;
    for (int i = 0; i < n; i++) {
        const uint8_t *from = iov[i].iov_base;
        size_t left = iov[i].iov_len;
        while (left > 0) {
            int err = await_room(s, &waited, d);
            if (err < 0)
                return err;
            size_t m = weft__min_size(left, capacity - w->used);
            put(w, capacity, from, m);
            from += m;
            left -= m;
            *moved += m;
            wake(&w->reader);
        }
    }
    if (!waited)
        weft__charge();
    return 0;
}

/* --- Ending ---------------------------------------------------------------------------------- */

static void drop(struct way *w)
{
    weft__free(w->ring);
    w->ring = NULL;
    w->start = w->used = 0;
}

static void way_end(struct way *w, int error)
{
    w->ended = true;
    if (error < 0) {
        w->error = error;
        drop(w);
    } else if (w->used == 0) {
        drop(w);
    }
    wake(&w->reader);
}

static int pipe_shutdown(struct weft_stream *s)
{
    way_end(way_out(s), 0);
    return 0;
}

static void pipe_release(struct weft_stream *s, bool abrupt)
{
    struct pipe *p = end_of(s)->pipe;
    struct way *in = way_in(s);
    int error = abrupt ? -ECONNRESET : 0;
    way_end(way_out(s), error);
    in->broken = true;
    in->error = error;
    drop(in);
    wake(&in->writer);
    if (--p->ends == 0) {
        drop(&p->ways[0]);
        drop(&p->ways[1]);
        weft__free(p);
    }
}

static int pipe_address(const struct weft_stream *s, bool peer, struct weft_address *ret)
{
    (void)s;
    (void)peer;
    (void)ret;
    return -EOPNOTSUPP;
}

static const struct weft__stream_class pipe_class = {
    .kind = "pipe",
    .read = pipe_read,
    .fill = pipe_fill,
    .write = pipe_write,
    .shutdown = pipe_shutdown,
    .release = pipe_release,
    .address = pipe_address,
};

int weft_pipe_open(struct weft_stream **a, struct weft_stream **b, size_t capacity)
{
    struct weft_loop *l = weft_loop_current();
    struct end *ends[2] = {NULL, NULL};
    if (l == NULL)
        return weft__fail(-EOPNOTSUPP, "a pipe in memory needs a loop; see weft_socketpair");
    struct pipe *p = weft__calloc(1, sizeof *p);
    for (int i = 0; i < 2; i++)
        ends[i] = weft__alloc(sizeof *ends[i]);
    if (p == NULL || ends[0] == NULL || ends[1] == NULL) {
        weft__free(ends[0]);
        weft__free(ends[1]);
        weft__free(p);
        return -ENOMEM;
    }
    p->capacity = capacity > 0 ? capacity : CAPACITY_DEFAULT;
    p->ends = 2;
    for (int i = 0; i < 2; i++) {
        weft__stream_init(&ends[i]->s, &pipe_class, l);
        ends[i]->pipe = p;
        ends[i]->side = i;
    }
    *a = &ends[0]->s;
    *b = &ends[1]->s;
    return 0;
}
