/* SPDX-License-Identifier: MIT */
/*
 * The memory of joined writes: queues with room for a small or a large message or for none, and
 * further chunks.
 *
 * Floor 3. Invariant: all of it comes from spare lists of the loop, each with a maximum, so the
 * steady state allocates nothing, and what a burst took is given back but for that.
 */
#include <string.h>

#include "base/alloc.h"
#include "net/out.h"

/* The longest record of TLS goes in one piece. */
#define LARGE_DATA 16896u
/* With the queue an odd number of cache lines, so that many queues spread over the cache. */
#define SMALL_DATA 1168u

/* As a queue, or as a further chunk. */
union block {
    union block *next_spare;
    struct weft__out out;
    struct weft__chunk chunk;
};

/* Of what is kept: weft__out_size, and chunks that only refer. */
enum { REFS = WEFT__OUT_SIZES, KINDS };

static const struct {
    uint32_t size, data;
    uint32_t spares_max;
} kinds[KINDS] = {
    [WEFT__OUT_BARE] = {sizeof(struct weft__out), 0, 4096},
    [WEFT__OUT_SMALL] = {sizeof(struct weft__out) + SMALL_DATA, SMALL_DATA, 2048},
    [WEFT__OUT_LARGE] = {sizeof(struct weft__out) + LARGE_DATA, LARGE_DATA, 512},
    [REFS] = {sizeof(struct weft__chunk), 0, 4096},
};

struct spares {
    struct weft__service service;
    struct {
        union block *first;
        uint32_t count;
    } of[KINDS];
};

static void spares_close(struct weft__service *service)
{
    struct spares *sp = WEFT__CONTAINER_OF(service, struct spares, service);
    for (int kind = 0; kind < KINDS; kind++)
        while (sp->of[kind].first != NULL) {
            union block *b = sp->of[kind].first;
            sp->of[kind].first = b->next_spare;
            weft__free(b);
        }
    weft__free(sp);
}

static union block *block_get(struct weft_loop *l, int kind)
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
    union block *b = sp->of[kind].first;
    if (b == NULL)
        return weft__alloc(kinds[kind].size);
    sp->of[kind].first = b->next_spare;
    sp->of[kind].count--;
    return b;
}

static void block_put(struct weft_loop *l, union block *b, int kind)
{
    struct spares *sp = l->out_spares;
    if (sp->of[kind].count >= kinds[kind].spares_max) {
        weft__free(b);
        return;
    }
    b->next_spare = sp->of[kind].first;
    sp->of[kind].first = b;
    sp->of[kind].count++;
}

static uint8_t *data_of(union block *b)
{
    return (uint8_t *)b + sizeof(struct weft__out);
}

static enum weft__out_size size_for(size_t len)
{
    return len == 0 ? WEFT__OUT_BARE : len <= SMALL_DATA ? WEFT__OUT_SMALL : WEFT__OUT_LARGE;
}

struct weft__out *weft__out_new(struct weft_loop *l, size_t first_len)
{
    enum weft__out_size size = size_for(first_len);
    union block *b = block_get(l, size);
    if (b == NULL)
        return NULL;
    struct weft__out *o = &b->out;
    memset(o, 0, offsetof(struct weft__out, msg));
    o->loop = l;
    o->size = (uint8_t)size;
    o->orphan_fd = -1;
    o->own.kind = WEFT__CHUNK_OWN;
    o->own.inside = true;
    o->own.data = data_of(b);
    o->own.cap = kinds[size].data;
    o->first = o->last = &o->own;
    return o;
}

void weft__out_free(struct weft__out *o)
{
    block_put(o->loop, WEFT__CONTAINER_OF(o, union block, out), o->size);
}

static struct weft__chunk *add(struct weft__out *o, struct weft__chunk *c)
{
    o->last->next = c;
    o->last = c;
    return c;
}

struct weft__chunk *weft__chunk_add(struct weft__out *o, size_t want)
{
    enum weft__out_size size = size_for(weft__max_size(want, 1));
    union block *b = block_get(o->loop, size);
    if (b == NULL)
        return NULL;
    b->chunk = (struct weft__chunk){
        .kind = WEFT__CHUNK_BLOCK, .data = data_of(b), .cap = kinds[size].data};
    return add(o, &b->chunk);
}

struct weft__chunk *weft__chunk_add_ref(struct weft__out *o)
{
    union block *b = block_get(o->loop, REFS);
    if (b == NULL)
        return NULL;
    b->chunk = (struct weft__chunk){.kind = WEFT__CHUNK_LENT};
    return add(o, &b->chunk);
}

bool weft__out_grow(struct weft__out *o)
{
    struct weft__chunk *own = &o->own;
    if (o->sending || o->first != own || own->next != NULL || own->kind != WEFT__CHUNK_OWN ||
        own->cap >= LARGE_DATA)
        return false;
    struct weft__chunk *c = weft__chunk_add(o, LARGE_DATA);
    if (c == NULL)
        return false;
    c->end = own->end - own->start;
    memcpy(c->data, own->data + own->start, c->end);
    own->next = NULL;
    own->start = own->end = 0;
    o->first = c;
    return true;
}

void weft__chunk_free(struct weft__out *o, struct weft__chunk *c)
{
    bool ref = c->kind >= WEFT__CHUNK_LENT;
    if (c->kind == WEFT__CHUNK_LENT) {
        weft__rbuf_put(o->loop->sys, c->lent);
    } else if (ref) {
        weft__shared_unref(c->shared);
        o->by_ref--;
    }
    if (c->inside)
        return;
    int size = c->cap == SMALL_DATA ? WEFT__OUT_SMALL : WEFT__OUT_LARGE;
    block_put(o->loop, WEFT__CONTAINER_OF(c, union block, chunk), ref ? (int)REFS : size);
}
