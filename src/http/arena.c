/* SPDX-License-Identifier: MIT */
/* Memory of a request, beyond the first block. Floor 5. Invariants as in arena.h. */
#include "http/arena.h"

#include "base/alloc.h"

#define BLOCK_SIZE ((size_t)8192)

void *weft__arena_more(struct weft__arena *a, size_t size)
{
    size_t rounded;
    if (__builtin_add_overflow(size, (size_t)15, &rounded))
        return NULL;
    rounded &= ~(size_t)15;
    /* A large piece has a block to itself, and the one in use goes on being filled. */
    bool alone = rounded > BLOCK_SIZE / 4;
    size_t len = alone ? rounded : BLOCK_SIZE;
    if (len > a->max - a->taken)
        return NULL;
    struct weft__arena_block *b = weft__alloc(sizeof *b + len);
    if (b == NULL)
        return NULL;
    b->next = a->blocks;
    a->blocks = b;
    a->taken += len;
    if (!alone) {
        a->at = b->data + rounded;
        a->end = b->data + len;
    }
    return b->data;
}

void weft__arena_free_blocks(struct weft__arena *a)
{
    while (a->blocks != NULL) {
        struct weft__arena_block *b = a->blocks;
        a->blocks = b->next;
        weft__free(b);
    }
    a->taken = 0;
}
