/* SPDX-License-Identifier: MIT */
/*
 * The one way in which parsers and builders of src/wire touch bytes: weft__reader over bytes that
 * exist, weft__writer over a buffer of fixed size. All pointer arithmetic of src/wire is here.
 *
 * Floor 0. Numbers are big endian, the order of networks.
 *
 * Invariants: 0 <= pos <= len, respectively cap; a read past the end returns false, moves nothing
 * and leaves its out-parameter untouched; a write past the end sets `full`, writes nothing, and
 * makes every later write fail too, so a builder checks once, at its end.
 */
#ifndef WEFT__WIRE_CURSOR_H
#define WEFT__WIRE_CURSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/base.h"

struct weft__reader {
    const unsigned char *data;
    size_t len;
    size_t pos;
};

static inline struct weft__reader weft__reader_of(const void *data, size_t len)
{
    return (struct weft__reader){.data = data, .len = len};
}

static inline size_t weft__reader_left(const struct weft__reader *r)
{
    return r->len - r->pos;
}

static inline bool weft__reader_at_end(const struct weft__reader *r)
{
    return r->pos == r->len;
}

/* Goes to an absolute position. */
static inline bool weft__reader_seek(struct weft__reader *r, size_t pos)
{
    if (pos > r->len)
        return false;
    r->pos = pos;
    return true;
}

static inline bool weft__reader_skip(struct weft__reader *r, size_t n)
{
    if (n > weft__reader_left(r))
        return false;
    r->pos += n;
    return true;
}

/* The next byte, which stays. */
static inline bool weft__reader_peek(const struct weft__reader *r, unsigned char *byte)
{
    if (weft__reader_at_end(r))
        return false;
    *byte = r->data[r->pos];
    return true;
}

static inline bool weft__reader_u8(struct weft__reader *r, unsigned char *byte)
{
    if (weft__reader_at_end(r))
        return false;
    *byte = r->data[r->pos++];
    return true;
}

/* A big-endian number of `size` bytes, 1 to 8. */
static inline bool weft__reader_number(struct weft__reader *r, size_t size, uint64_t *value)
{
    if (size > weft__reader_left(r))
        return false;
    uint64_t v = 0;
    for (size_t i = 0; i < size; i++)
        v = v << 8 | r->data[r->pos + i];
    r->pos += size;
    *value = v;
    return true;
}

/* The next n bytes, not copied: a pointer into the reader's data. */
static inline bool weft__reader_bytes(struct weft__reader *r, size_t n, const void **bytes)
{
    if (n > weft__reader_left(r))
        return false;
    *bytes = r->len == 0 ? (const void *)"" : r->data + r->pos;
    r->pos += n;
    return true;
}

/* Consumes n bytes if they are these. */
static inline bool weft__reader_match(struct weft__reader *r, const void *bytes, size_t n)
{
    if (n > weft__reader_left(r) || (n > 0 && memcmp(r->data + r->pos, bytes, n) != 0))
        return false;
    r->pos += n;
    return true;
}

/* The absolute position of the first such byte from pos on. */
static inline bool weft__reader_find(const struct weft__reader *r, unsigned char byte, size_t *at)
{
    if (weft__reader_at_end(r))
        return false;
    const unsigned char *p = memchr(r->data + r->pos, byte, weft__reader_left(r));
    if (p == NULL)
        return false;
    *at = (size_t)(p - r->data);
    return true;
}

/* The absolute position of the first such bytes, one or more, from pos on. */
static inline bool weft__reader_find_bytes(const struct weft__reader *r, const void *bytes,
                                           size_t n, size_t *at)
{
    if (n == 0 || n > weft__reader_left(r))
        return false;
    const unsigned char *p = memmem(r->data + r->pos, weft__reader_left(r), bytes, n);
    if (p == NULL)
        return false;
    *at = (size_t)(p - r->data);
    return true;
}

/* A reader over [from, to) of the same data, cut to what exists. */
static inline struct weft__reader weft__reader_part(const struct weft__reader *r, size_t from,
                                                    size_t to)
{
    to = weft__min_size(to, r->len);
    from = weft__min_size(from, to);
    return weft__reader_of(r->len == 0 ? NULL : r->data + from, to - from);
}

struct weft__writer {
    unsigned char *data;
    size_t cap;
    size_t pos;
    bool full; /* a write did not fit */
};

static inline struct weft__writer weft__writer_of(void *data, size_t cap)
{
    return (struct weft__writer){.data = data, .cap = cap};
}

static inline bool weft__writer_bytes(struct weft__writer *w, const void *bytes, size_t n)
{
    if (w->full || n > w->cap - w->pos) {
        w->full = true;
        return false;
    }
    if (n > 0)
        memcpy(w->data + w->pos, bytes, n);
    w->pos += n;
    return true;
}

/* Where the next n bytes go, for the caller to fill; NULL: they do not fit. */
static inline unsigned char *weft__writer_take(struct weft__writer *w, size_t n)
{
    if (w->full || n > w->cap - w->pos) {
        w->full = true;
        return NULL;
    }
    unsigned char *at = w->data + w->pos;
    w->pos += n;
    return at;
}

static inline bool weft__writer_text(struct weft__writer *w, const char *text)
{
    return weft__writer_bytes(w, text, strlen(text));
}

static inline bool weft__writer_u8(struct weft__writer *w, unsigned char byte)
{
    return weft__writer_bytes(w, &byte, 1);
}

/* A big-endian number of `size` bytes, 1 to 8; higher bytes of the value are dropped. */
static inline bool weft__writer_number(struct weft__writer *w, size_t size, uint64_t value)
{
    unsigned char bytes[8];
    for (size_t i = size; i > 0; i--) {
        bytes[i - 1] = (unsigned char)value;
        value >>= 8;
    }
    return weft__writer_bytes(w, bytes, size);
}

/* A number in decimal digits. */
static inline bool weft__writer_decimal(struct weft__writer *w, uint64_t value)
{
    unsigned char digits[20];
    size_t first = sizeof(digits);
    do {
        digits[--first] = (unsigned char)('0' + value % 10);
        value /= 10;
    } while (value != 0);
    return weft__writer_bytes(w, &digits[first], sizeof(digits) - first);
}

#endif
