/* SPDX-License-Identifier: MIT */
/*
 * A slice: bytes that somebody else owns, as a pointer and a length. What the parsers of field
 * values and URLs take and give.
 *
 * Floor 0. Invariants: a slice is not NUL-terminated; `at` may be NULL only where len is 0; taking
 * a part never goes outside.
 */
#ifndef WEFT__WIRE_SLICE_H
#define WEFT__WIRE_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "base/base.h"

struct weft__slice {
    const char *at;
    size_t len;
};

static inline struct weft__slice weft__slice_of(const void *at, size_t len)
{
    return (struct weft__slice){.at = (const char *)at, .len = len};
}

/* A string's bytes, without the NUL; NULL gives the empty slice. */
static inline struct weft__slice weft__slice_text(const char *text)
{
    return weft__slice_of(text, text == NULL ? 0 : strlen(text));
}

/* [from, to), cut to what exists. */
static inline struct weft__slice weft__slice_part(struct weft__slice s, size_t from, size_t to)
{
    to = weft__min_size(to, s.len);
    from = weft__min_size(from, to);
    return weft__slice_of(s.len == 0 ? s.at : s.at + from, to - from);
}

static inline struct weft__slice weft__slice_from(struct weft__slice s, size_t from)
{
    return weft__slice_part(s, from, s.len);
}

/* The position of the first such byte from `from` on; s.len when there is none. */
static inline size_t weft__slice_find(struct weft__slice s, char byte, size_t from)
{
    if (from >= s.len)
        return s.len;
    const char *p = (const char *)memchr(s.at + from, byte, s.len - from);
    return p == NULL ? s.len : (size_t)(p - s.at);
}

static inline char weft__ascii_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

static inline bool weft__slice_equal(struct weft__slice a, struct weft__slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.at, b.at, a.len) == 0);
}

/* Equal but for the case of ASCII letters. */
static inline bool weft__slice_equal_nocase(struct weft__slice a, struct weft__slice b)
{
    if (a.len != b.len)
        return false;
    for (size_t i = 0; i < a.len; i++)
        if (weft__ascii_lower(a.at[i]) != weft__ascii_lower(b.at[i]))
            return false;
    return true;
}

/* The same with a string; `text` of weft__slice_is_nocase is in lower case or not, as it likes. */
static inline bool weft__slice_is(struct weft__slice s, const char *text)
{
    return weft__slice_equal(s, weft__slice_text(text));
}

static inline bool weft__slice_is_nocase(struct weft__slice s, const char *text)
{
    return weft__slice_equal_nocase(s, weft__slice_text(text));
}

/* Without spaces and tabs at both ends (OWS, RFC 9110 section 5.6.3). */
static inline struct weft__slice weft__slice_trim(struct weft__slice s)
{
    while (s.len > 0 && (s.at[0] == ' ' || s.at[0] == '\t'))
        s = weft__slice_from(s, 1);
    while (s.len > 0 && (s.at[s.len - 1] == ' ' || s.at[s.len - 1] == '\t'))
        s.len--;
    return s;
}

#endif
