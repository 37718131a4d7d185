/* SPDX-License-Identifier: MIT */
/*
 * A byte buffer that grows, with its maximum in its constructor: bytes are appended at the end and
 * consumed from the front.
 *
 * Floor 0. Invariants: length <= capacity <= max; an empty buffer's bytes begin at the start of its
 * memory; a buffer that was never written, or that was trimmed while empty, holds no memory;
 * consuming is O(1), and appending moves the bytes only where that is paid for by what was
 * consumed since, or where the maximum leaves no other way. A failed call changes nothing.
 */
#ifndef WEFT__BASE_BUFFER_H
#define WEFT__BASE_BUFFER_H

#include <stddef.h>
#include <stdint.h>

#include <weft/error.h>

#define WEFT__BUFFER_MAX ((size_t)UINT32_MAX)

/* 24 bytes, because idle connections hold several. */
struct weft__buffer {
    char *memory;
    uint32_t start; /* the first byte that is not consumed */
    uint32_t len;
    uint32_t cap;
    uint32_t max;
};

/* max is 1 to WEFT__BUFFER_MAX. */
void weft__buffer_init(struct weft__buffer *b, size_t max);

/* Frees the memory; b may be all zero, or NULL. The buffer is empty and usable afterwards. */
void weft__buffer_fini(struct weft__buffer *b);

/* Adds len bytes. 0; WEFT_ELIMIT when the buffer would pass its maximum; -ENOMEM. */
WEFT_MUST_CHECK int weft__buffer_append(struct weft__buffer *b, const void *data, size_t len);

/*
 * Makes room for at least len bytes after the last and gives its address; the caller writes there
 * and then commits what it wrote, with no other call between. Errors as in append.
 */
WEFT_MUST_CHECK int weft__buffer_reserve(struct weft__buffer *b, size_t len, void **room);
void weft__buffer_commit(struct weft__buffer *b, size_t len);

/* Drops len bytes from the front; there are at least that many. */
void weft__buffer_consume(struct weft__buffer *b, size_t len);

/* Gives the memory back if the buffer is empty. */
void weft__buffer_trim(struct weft__buffer *b);

/* The bytes; not NULL while there is at least one. Valid until append, reserve, trim or fini. */
static inline const char *weft__buffer_data(const struct weft__buffer *b)
{
    return b->memory == NULL ? NULL : b->memory + b->start;
}

static inline size_t weft__buffer_len(const struct weft__buffer *b)
{
    return b->len;
}

/* How many more bytes the maximum allows. */
static inline size_t weft__buffer_room(const struct weft__buffer *b)
{
    return b->max - b->len;
}

/* How many bytes reserve() can give without allocating or moving. */
static inline size_t weft__buffer_spare(const struct weft__buffer *b)
{
    return b->cap - b->start - b->len;
}

#endif
