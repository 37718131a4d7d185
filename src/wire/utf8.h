/* SPDX-License-Identifier: MIT */
/*
 * Whether bytes are UTF-8 (RFC 3629), in pieces that may end anywhere: no overlong form, no
 * surrogate, nothing above U+10FFFF.
 *
 * Floor 0. Invariants: the verdict does not depend on the pieces; the first byte after which no
 * valid text could go on is refused, and not a later one.
 */
#ifndef WEFT__WIRE_UTF8_H
#define WEFT__WIRE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* All zero: between characters, as at the start. */
struct weft__utf8 {
    uint8_t need;      /* bytes of a character that are still to come */
    uint8_t low, high; /* bounds of the next of them */
};

/* False when the text cannot go on with these bytes; *at (may be NULL) is then the byte. */
bool weft__utf8_check(struct weft__utf8 *u, const void *data, size_t len, size_t *at);

/* The text may end here. */
static inline bool weft__utf8_complete(const struct weft__utf8 *u)
{
    return u->need == 0;
}

/* A text that is all there. */
static inline bool weft__utf8_valid(const void *data, size_t len)
{
    struct weft__utf8 u = {0};
    return weft__utf8_check(&u, data, len, NULL) && weft__utf8_complete(&u);
}

#endif
