/* SPDX-License-Identifier: MIT */
/*
 * Lines of heads and trailers: where one ends, and what a field line holds. The hot path of the
 * HTTP/1 parsers, inlined into them.
 *
 * Floor 0. Works by index over data[0 .. len); every index is checked against len before it is
 * used.
 *
 * Invariant: a line that was found holds no control character but HTAB, so whoever looks into it
 * need not ask about NUL, CR or LF any more.
 */
#ifndef WEFT__WIRE_HTTP1_LINE_H
#define WEFT__WIRE_HTTP1_LINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/base.h"
#include "wire/http1.h"
#include "wire/http_name.h"

#if defined(__AVX2__)
#include <immintrin.h>
#elif defined(__SSE2__)
#include <emmintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

/* Sets the error and a detail that says the same; returns the code. */
int weft__http1_refuse(struct weft__http1_error *e, int status, size_t at, const char *why)
    __attribute__((cold));

/* Three callers, and each of them is hot: the compiler would rather have one copy and calls. */
#define WEFT__HTTP1_INLINE static inline __attribute__((always_inline))

static inline bool weft__http1_is_control(char c)
{
    unsigned char u = (unsigned char)c;
    return (u < 0x20 && u != '\t') || u == 0x7f;
}

/* Masks of blocks of WEFT__HTTP1_BLOCK bytes, bit i for byte i (NEON has no cheap such mask: there
   each byte has four bits). controls: the byte is a control character other than HTAB; colons: it
   is a colon; first: the first byte in a mask; from: the mask without its first n bytes. */
#if defined(__AVX2__)
#define WEFT__HTTP1_BLOCK 32
static inline uint64_t weft__http1_controls(const char *at)
{
    __m256i v = _mm256_loadu_si256((const __m256i *)(const void *)at);
    __m256i low = _mm256_cmpeq_epi8(_mm256_min_epu8(v, _mm256_set1_epi8(0x1f)), v);
    __m256i tab = _mm256_cmpeq_epi8(v, _mm256_set1_epi8('\t'));
    __m256i del = _mm256_cmpeq_epi8(v, _mm256_set1_epi8(0x7f));
    __m256i hit = _mm256_or_si256(_mm256_andnot_si256(tab, low), del);
    return (uint32_t)_mm256_movemask_epi8(hit);
}
static inline uint64_t weft__http1_colons(const char *at)
{
    __m256i v = _mm256_loadu_si256((const __m256i *)(const void *)at);
    return (uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(v, _mm256_set1_epi8(':')));
}
static inline size_t weft__http1_first(uint64_t mask)
{
    return (size_t)__builtin_ctzll(mask);
}
static inline uint64_t weft__http1_from(uint64_t mask, size_t n)
{
    return mask >> n << n;
}
#elif defined(__SSE2__)
#define WEFT__HTTP1_BLOCK 16
static inline uint64_t weft__http1_controls(const char *at)
{
    __m128i v = _mm_loadu_si128((const __m128i *)(const void *)at);
    __m128i low = _mm_cmpeq_epi8(_mm_min_epu8(v, _mm_set1_epi8(0x1f)), v);
    __m128i tab = _mm_cmpeq_epi8(v, _mm_set1_epi8('\t'));
    __m128i del = _mm_cmpeq_epi8(v, _mm_set1_epi8(0x7f));
    __m128i hit = _mm_or_si128(_mm_andnot_si128(tab, low), del);
    return (unsigned)_mm_movemask_epi8(hit);
}
static inline uint64_t weft__http1_colons(const char *at)
{
    __m128i v = _mm_loadu_si128((const __m128i *)(const void *)at);
    return (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(v, _mm_set1_epi8(':')));
}
static inline size_t weft__http1_first(uint64_t mask)
{
    return (size_t)__builtin_ctzll(mask);
}
static inline uint64_t weft__http1_from(uint64_t mask, size_t n)
{
    return mask >> n << n;
}
#elif defined(__ARM_NEON)
#define WEFT__HTTP1_BLOCK 16
static inline uint64_t weft__http1_controls(const char *at)
{
    uint8x16_t v = vld1q_u8((const uint8_t *)at);
    uint8x16_t low = vcltq_u8(v, vdupq_n_u8(0x20));
    uint8x16_t tab = vceqq_u8(v, vdupq_n_u8('\t'));
    uint8x16_t del = vceqq_u8(v, vdupq_n_u8(0x7f));
    uint8x16_t hit = vorrq_u8(vbicq_u8(low, tab), del);
    uint8x8_t nibbles = vshrn_n_u16(vreinterpretq_u16_u8(hit), 4);
    return vget_lane_u64(vreinterpret_u64_u8(nibbles), 0);
}
static inline uint64_t weft__http1_colons(const char *at)
{
    uint8x16_t hit = vceqq_u8(vld1q_u8((const uint8_t *)at), vdupq_n_u8(':'));
    uint8x8_t nibbles = vshrn_n_u16(vreinterpretq_u16_u8(hit), 4);
    return vget_lane_u64(vreinterpret_u64_u8(nibbles), 0);
}
static inline size_t weft__http1_first(uint64_t mask)
{
    return (size_t)__builtin_ctzll(mask) / 4;
}
static inline uint64_t weft__http1_from(uint64_t mask, size_t n)
{
    return mask >> 4 * n << 4 * n;
}
#endif

/* The first control character in [from, to); to when there is none. */
WEFT__HTTP1_INLINE size_t weft__http1_find_control(const char *data, size_t from, size_t to)
{
    size_t i = from;
#ifdef WEFT__HTTP1_BLOCK
    for (; i + WEFT__HTTP1_BLOCK <= to; i += WEFT__HTTP1_BLOCK) {
        uint64_t mask = weft__http1_controls(data + i);
        if (mask != 0)
            return i + weft__http1_first(mask);
    }
    /* The rest as a block that ends where it ends; what was looked at before is not there again. */
    if (i < to && to >= WEFT__HTTP1_BLOCK) {
        size_t back = to - WEFT__HTTP1_BLOCK;
        uint64_t mask = weft__http1_from(weft__http1_controls(data + back), i - back);
        return mask != 0 ? back + weft__http1_first(mask) : to;
    }
#endif
    while (i < to && !weft__http1_is_control(data[i]))
        i++;
    return i;
}

/*
 * Looks for the end of the line that begins at scan->line. Its CR may stand at `last` at most.
 * Returns 1 with *end set to the CR's position; 0 when more bytes are needed; -1 when the line is
 * too long, with *end where; or an error.
 */
WEFT__HTTP1_INLINE int weft__http1_line(struct weft__http1_scan *scan, const char *data, size_t len,
                                        size_t last, struct weft__http1_error *e, size_t *end)
{
    size_t to = weft__min_size(len, last + 1);
    if (WEFT__UNLIKELY(scan->looked > last)) { /* all of the head's bytes are used up */
        *end = last;
        return -1;
    }
    size_t at = weft__http1_find_control(data, scan->looked, to);
    scan->looked = (uint32_t)at;
    if (WEFT__UNLIKELY(at == to)) {
        *end = last;
        return len > last ? -1 : 0;
    }
    if (WEFT__UNLIKELY(data[at] != '\r')) {
        if (data[at] == '\n')
            return weft__http1_refuse(e, 400, at, "a line ends in LF without CR");
        return weft__http1_refuse(e, 400, at, "there is a control character");
    }
    if (WEFT__UNLIKELY(at + 1 == len))
        return 0;
    if (WEFT__UNLIKELY(data[at + 1] != '\n'))
        return weft__http1_refuse(e, 400, at, "there is a CR without LF");
    *end = at;
    return 1;
}

/* What is wrong with the name of a field line in [from, to); colon is to when there is none. */
int weft__http1_bad_name(struct weft__http1_error *e, const char *data, size_t from, size_t colon,
                         size_t to) __attribute__((cold));

/* The first colon in [from, to); to when there is none. */
WEFT__HTTP1_INLINE size_t weft__http1_find_colon(const char *data, size_t from, size_t to)
{
    size_t i = from;
#ifdef WEFT__HTTP1_BLOCK
    if (i + WEFT__HTTP1_BLOCK <= to) {
        uint64_t mask = weft__http1_colons(data + i);
        if (mask != 0)
            return i + weft__http1_first(mask);
        i += WEFT__HTTP1_BLOCK;
    }
#endif
    while (i < to && data[i] != ':')
        i++;
    return i;
}

/* Splits the field line [from, to). Returns 0 or an error. */
WEFT__HTTP1_INLINE int weft__http1_field_line(struct weft__http1_field *f,
                                              struct weft__http1_error *e, const char *data,
                                              size_t from, size_t to)
{
    size_t colon = weft__http1_find_colon(data, from, to);
    enum weft__http_name id = weft__http_name_find(data + from, colon - from);
    if (id == WEFT__HN_OTHER &&
        WEFT__UNLIKELY(colon == to || !weft__http_token(weft__slice_of(data + from, colon - from))))
        return weft__http1_bad_name(e, data, from, colon, to);
    if (WEFT__UNLIKELY(colon == to))
        return weft__http1_bad_name(e, data, from, colon, to);
    size_t value = colon + 1;
    while (value < to && (data[value] == ' ' || data[value] == '\t'))
        value++;
    while (to > value && (data[to - 1] == ' ' || data[to - 1] == '\t'))
        to--;
    f->name = (struct weft__http_span){(uint32_t)from, (uint32_t)(colon - from)};
    f->value = (struct weft__http_span){(uint32_t)value, (uint32_t)(to - value)};
    f->id = id;
    return 0;
}

#endif
