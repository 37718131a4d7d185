/* SPDX-License-Identifier: MIT */
/*
 * Looks up the name of a field: one hash, one comparison, some bytes at once.
 *
 * Floor 0. For the parsers' hot path; elsewhere weft__http_name_of().
 *
 * Invariant: the bytes that are compared hold no control character. Then setting bit 5 makes equal
 * exactly what differs in the case of letters: the characters of the known names are letters, '-'
 * and '2', and what else becomes one of those by that bit is a control character.
 */
#ifndef WEFT__WIRE_HTTP_NAME_H
#define WEFT__WIRE_HTTP_NAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "wire/http.h"

struct weft__http_name_row {
    const char *text;  /* as it is sent */
    const char *lower; /* as it is compared */
    size_t len;
};

extern const struct weft__http_name_row weft__http_names[WEFT__HTTP_NAMES];
extern const uint8_t weft__http_name_slots[128];

static inline unsigned weft__http_name_slot(const char *name, size_t len)
{
    unsigned first = (unsigned char)name[0] | 0x20u;
    unsigned middle = (unsigned char)name[len / 2] | 0x20u;
    unsigned last = (unsigned char)name[len - 1] | 0x20u;
    return ((unsigned)len * 104u + first * 127u + middle * 61u + last * 249u) & 127u;
}

static inline uint64_t weft__http_name_8(const char *at)
{
    uint64_t v;
    memcpy(&v, at, sizeof(v));
    return v | UINT64_C(0x2020202020202020);
}

static inline uint32_t weft__http_name_4(const char *at)
{
    uint32_t v;
    memcpy(&v, at, sizeof(v));
    return v | UINT32_C(0x20202020);
}

/* Words of 8, 4 or 1 bytes, the last of which may overlap the one before it. */
static inline bool weft__http_name_same(const char *a, const char *b, size_t len)
{
    uint64_t differ = 0;
    if (len >= 8) {
        for (size_t i = 0; i + 8 < len; i += 8)
            differ |= weft__http_name_8(a + i) ^ weft__http_name_8(b + i);
        differ |= weft__http_name_8(a + len - 8) ^ weft__http_name_8(b + len - 8);
    } else if (len >= 4) {
        differ = weft__http_name_4(a) ^ weft__http_name_4(b);
        differ |= weft__http_name_4(a + len - 4) ^ weft__http_name_4(b + len - 4);
    } else {
        for (size_t i = 0; i < len; i++)
            differ |= ((unsigned char)a[i] | 0x20u) ^ ((unsigned char)b[i] | 0x20u);
    }
    return differ == 0;
}

static inline enum weft__http_name weft__http_name_find(const char *name, size_t len)
{
    if (len == 0)
        return WEFT__HN_OTHER;
    unsigned id = weft__http_name_slots[weft__http_name_slot(name, len)];
    const struct weft__http_name_row *row = &weft__http_names[id];
    if (row->len != len || !weft__http_name_same(name, row->lower, len))
        return WEFT__HN_OTHER;
    return (enum weft__http_name)id;
}

#endif
