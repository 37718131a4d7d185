/* SPDX-License-Identifier: MIT */
#ifndef WEFT__HTTP_ARENA_H
#define WEFT__HTTP_ARENA_H
/*
 * Memory that lives as long as one request (floor 5): taken by moving a pointer, given back all at
 * once. Its first block is the owner's and is used again for the next request, so that requests
 * that fit into it allocate nothing.
 *
 * Invariants: every piece is aligned for any type; `max` bounds what is taken beyond the first
 * block; after a reset nothing is held but the first block.
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/base.h"

struct weft__arena_block {
    struct weft__arena_block *next;
    char data[] __attribute__((aligned(16)));
};

struct weft__arena {
    char *at, *end;
    char *first, *first_end;
    struct weft__arena_block *blocks; /* further ones, the newest first */
    size_t taken, max;                /* bytes of those */
};

/* first: aligned to 16. */
static inline void weft__arena_init(struct weft__arena *a, void *first, size_t len, size_t max)
{
    *a = (struct weft__arena){.at = first,
                              .end = (char *)first + len,
                              .first = first,
                              .first_end = (char *)first + len,
                              .max = max};
}

/* NULL: out of memory, or beyond max. */
void *weft__arena_more(struct weft__arena *a, size_t size);
void weft__arena_free_blocks(struct weft__arena *a);

static inline void *weft__arena_alloc(struct weft__arena *a, size_t size)
{
    size_t left = (size_t)(a->end - a->at);
    if (WEFT__UNLIKELY(size > left || left - size < 15))
        return weft__arena_more(a, size);
    void *p = a->at;
    a->at += (size + 15) & ~(size_t)15;
    return p;
}

static inline void weft__arena_reset(struct weft__arena *a)
{
    if (WEFT__UNLIKELY(a->blocks != NULL))
        weft__arena_free_blocks(a);
    a->at = a->first;
    a->end = a->first_end;
}

/* A copy with a NUL behind it. */
static inline char *weft__arena_text(struct weft__arena *a, const void *text, size_t len)
{
    char *p = weft__arena_alloc(a, len + 1);
    if (p != NULL) {
        if (len > 0)
            memcpy(p, text, len);
        p[len] = '\0';
    }
    return p;
}

#endif
