/* SPDX-License-Identifier: MIT */
/*
 * The growable byte buffer; see buffer.h.
 *
 * Floor 0. Invariants: as in buffer.h; capacity doubles, so n bytes appended one at a time cost
 * O(n) in all.
 */
#include "base/buffer.h"

#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/base.h"

#define FIRST_CAPACITY 256

void weft__buffer_init(struct weft__buffer *b, size_t max)
{
    WEFT__ASSERT(max >= 1 && max <= WEFT__BUFFER_MAX);
    *b = (struct weft__buffer){.max = (uint32_t)max};
}

void weft__buffer_fini(struct weft__buffer *b)
{
    if (b == NULL)
        return;
    weft__free(b->memory);
    *b = (struct weft__buffer){.max = b->max};
}

/* Moves the bytes to the start of the memory. */
static void move_to_start(struct weft__buffer *b)
{
    memmove(b->memory, b->memory + b->start, b->len);
    b->start = 0;
}

/* Makes the capacity at least `need`, which is within the maximum. */
static int grow(struct weft__buffer *b, size_t need)
{
    size_t cap = weft__max_size(b->cap, FIRST_CAPACITY / 2) * 2;
    cap = weft__min_size(weft__max_size(cap, need), b->max);
    /* Not realloc: it would copy the consumed bytes too. */
    char *memory = weft__alloc(cap);
    if (memory == NULL)
        return -ENOMEM;
    if (b->len > 0)
        memcpy(memory, b->memory + b->start, b->len);
    weft__free(b->memory);
    b->memory = memory;
    b->start = 0;
    b->cap = (uint32_t)cap;
    return 0;
}

int weft__buffer_reserve(struct weft__buffer *b, size_t len, void **room)
{
    if (len > weft__buffer_room(b))
        return WEFT_ELIMIT;
    if (b->memory == NULL || len > weft__buffer_spare(b)) {
        size_t need = b->len + len;
        /* At least as much was consumed as is moved, or there is nothing to grow into. */
        if (need <= b->cap && (b->start >= b->len || b->cap == b->max)) {
            move_to_start(b);
        } else {
            int r = grow(b, need);
            if (r < 0)
                return r;
        }
    }
    *room = b->memory + b->start + b->len;
    return 0;
}

void weft__buffer_commit(struct weft__buffer *b, size_t len)
{
    WEFT__ASSERT(len <= weft__buffer_spare(b));
    b->len += (uint32_t)len;
}

int weft__buffer_append(struct weft__buffer *b, const void *data, size_t len)
{
    void *room;
    if (len == 0)
        return 0;
    int r = weft__buffer_reserve(b, len, &room);
    if (r < 0)
        return r;
    memcpy(room, data, len);
    weft__buffer_commit(b, len);
    return 0;
}

void weft__buffer_consume(struct weft__buffer *b, size_t len)
{
    WEFT__ASSERT(len <= b->len);
    b->len -= (uint32_t)len;
    b->start = b->len == 0 ? 0 : b->start + (uint32_t)len;
}

void weft__buffer_trim(struct weft__buffer *b)
{
    if (b->len == 0)
        weft__buffer_fini(b);
}
