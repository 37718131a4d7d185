/* SPDX-License-Identifier: MIT */
/*
 * A stream's read-ahead: bytes that came and were not taken yet.
 *
 * Floor 3. It is a buffer of the driver's pool as the driver brought it; where a record needs more
 * room than that, or on plain threads, which have no pool in common, it is one on the heap, marked
 * by bid HEAP. A thread, and a loop, keep one spare, so a steady exchange allocates nothing.
 *
 * Invariant: in lists (callback mode, feeds) a buffer is taken off before it is released, so one
 * that is new to its holder has no `next`.
 */
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "net/stream.h"

#define HEAP UINT16_MAX

struct heap_rbuf {
    struct weft__rbuf rb;
    size_t cap;
    uint8_t data[];
};

static size_t capacity(const struct weft__rbuf *rb)
{
    return rb->bid == HEAP ? WEFT__CONTAINER_OF(rb, struct heap_rbuf, rb)->cap : WEFT__RBUF_SIZE;
}

static struct weft__rbuf *heap_new(size_t cap)
{
    struct heap_rbuf *h = weft__alloc(sizeof *h + cap);
    if (h == NULL)
        return NULL;
    h->rb = (struct weft__rbuf){.data = h->data, .bid = HEAP};
    h->cap = cap;
    return &h->rb;
}

static void spare_free(struct weft__rbuf *rb)
{
    weft__free(WEFT__CONTAINER_OF(rb, struct heap_rbuf, rb));
}

static void spare_close(struct weft__service *service)
{
    struct weft_loop *l = WEFT__CONTAINER_OF(service, struct weft_loop, in_service);
    if (l->in_spare != NULL)
        spare_free(l->in_spare);
    l->in_spare = NULL;
}

/* The place for a spare heap buffer, of the loop or (NULL) of the calling thread; NULL: none. */
static struct weft__rbuf **spare(struct weft_loop *l)
{
    if (l != NULL) {
        if (l->in_service.close == NULL) {
            l->in_service.close = spare_close;
            weft__list_push_back(&l->services, &l->in_service.link);
        }
        return &l->in_spare;
    }
    struct weft__flow *f = weft__flow_self();
    if (f->kind != WEFT__FLOW_THREAD)
        return NULL;
    weft__thread_of(f)->spare_free = spare_free;
    return &weft__thread_of(f)->spare;
}

bool weft__rbuf_on_heap(const struct weft__rbuf *rb)
{
    return rb->bid == HEAP;
}

void weft__rbuf_release(struct weft_loop *l, struct weft__rbuf *rb)
{
    if (rb->bid != HEAP) {
        weft__rbuf_put(l->sys, rb);
        return;
    }
    WEFT__ASSERT(rb->next == NULL); /* a spare is handed out as it is */
    struct heap_rbuf *h = WEFT__CONTAINER_OF(rb, struct heap_rbuf, rb);
    struct weft__rbuf **place = spare(l);
    if (place != NULL && *place == NULL && h->cap == WEFT__RBUF_SIZE)
        *place = rb;
    else
        weft__free(h);
}

void weft__in_release(struct weft_stream *s)
{
    if (s->in == NULL || s->in->used < s->in->len)
        return;
    weft__rbuf_release(s->loop, s->in);
    s->in = NULL;
}

struct weft__rbuf *weft__in_alloc(struct weft_stream *s, size_t cap)
{
    struct weft__rbuf **place = spare(s->loop);
    if (place != NULL && *place != NULL && cap <= WEFT__RBUF_SIZE) {
        struct weft__rbuf *rb = *place;
        *place = NULL;
        rb->len = 0;
        rb->used = 0;
        return rb;
    }
    return heap_new(weft__max_size(cap, WEFT__RBUF_SIZE));
}

struct weft__rbuf *weft__rbuf_fit(struct weft_loop *l, struct weft__rbuf *rb, size_t cap)
{
    size_t left = rb != NULL ? rb->len - rb->used : 0;
    WEFT__ASSERT(left <= cap);
    if (rb != NULL && rb->bid == HEAP && rb->used == 0 && capacity(rb) == cap)
        return rb;
    struct weft__rbuf *fits = heap_new(cap);
    if (fits == NULL || rb == NULL)
        return fits;
    memcpy(fits->data, rb->data + rb->used, left);
    fits->len = (uint32_t)left;
    weft__rbuf_release(l, rb);
    return fits;
}

int weft__in_room(struct weft_stream *s, size_t min, uint8_t **at, size_t *cap)
{
    struct weft__rbuf *rb = s->in;
    size_t left = rb->len - rb->used;
    if (weft__max_size(min, left + 1) > capacity(rb)) {
        /* Doubling, so that a record that arrives in crumbs is copied a bounded number of times. */
        struct weft__rbuf *larger = weft__in_alloc(s, weft__max_size(min, 2 * capacity(rb)));
        if (larger == NULL)
            return -ENOMEM;
        memcpy(larger->data, rb->data + rb->used, left);
        larger->len = (uint32_t)left;
        weft__rbuf_release(s->loop, rb);
        s->in = rb = larger;
    } else if (rb->used > 0 && (rb->len == capacity(rb) || rb->used + min > capacity(rb))) {
        memmove(rb->data, rb->data + rb->used, left);
        rb->len = (uint32_t)left;
        rb->used = 0;
    }
    *at = rb->data + rb->len;
    *cap = capacity(rb) - rb->len;
    return 0;
}

int weft__in_prepend(struct weft_stream *s, const void *data, size_t len)
{
    size_t left = weft__in_left(s);
    struct weft__rbuf *rb = weft__in_alloc(s, len + left);
    if (rb == NULL)
        return -ENOMEM;
    memcpy(rb->data, data, len);
    if (left > 0)
        memcpy(rb->data + len, s->in->data + s->in->used, left);
    rb->len = (uint32_t)(len + left);
    if (s->in != NULL)
        weft__rbuf_release(s->loop, s->in);
    s->in = rb;
    return 0;
}
