/* SPDX-License-Identifier: MIT */
/*
 * Checking UTF-8; see utf8.h.
 *
 * Floor 0. Long pieces go through 64 bytes at a time: blocks of ASCII are only looked at for high
 * bits, others are classified by three table look-ups for each byte and the one before it (Keiser
 * and Lemire, "Validating UTF-8 In Less Than One Instruction Per Byte", 2021). The vectors only
 * ever say that everything up to a place is fine; what follows, and which byte is wrong, is found
 * by the byte-wise check, so the two cannot disagree about a verdict.
 */
#include "wire/utf8.h"

#include <string.h>

#include "base/base.h"

#if defined(__x86_64__)
#include <immintrin.h>
#define VECTORS 1
#define TARGET __attribute__((target("ssse3")))
#elif defined(__aarch64__)
#include <arm_neon.h>
#define VECTORS 1
#define TARGET
#else
#define VECTORS 0
#endif

/* --- One byte at a time ---------------------------------------------------------------------- */

static bool begin(struct weft__utf8 *u, unsigned char c)
{
    if (c < 0x80)
        return true;
    if (c < 0xc2 || c > 0xf4)
        return false;
    u->low = 0x80;
    u->high = 0xbf;
    if (c < 0xe0) {
        u->need = 1;
    } else if (c < 0xf0) {
        u->need = 2;
        if (c == 0xe0)
            u->low = 0xa0; /* else overlong */
        else if (c == 0xed)
            u->high = 0x9f; /* else a surrogate */
    } else {
        u->need = 3;
        if (c == 0xf0)
            u->low = 0x90;
        else if (c == 0xf4)
            u->high = 0x8f; /* else above U+10FFFF */
    }
    return true;
}

static bool next(struct weft__utf8 *u, unsigned char c)
{
    if (u->need == 0)
        return begin(u, c);
    if (c < u->low || c > u->high)
        return false;
    u->low = 0x80;
    u->high = 0xbf;
    u->need--;
    return true;
}

/* --- Many at a time -------------------------------------------------------------------------- */

#if VECTORS

#define BLOCK 64u

/* What may be wrong with two bytes that follow each other; a pair is wrong where all three tables
 * have the same bit. */
enum {
    TOO_SHORT = 1,   /* a lead byte, and none that continues */
    TOO_LONG = 2,    /* ASCII, and one that continues */
    OVERLONG_3 = 4,  /* E0 80 to E0 9F */
    TOO_LARGE = 8,   /* F4 90 and more, F5 90 and more */
    SURROGATE = 16,  /* ED A0 to ED BF */
    OVERLONG_2 = 32, /* C0, C1 */
    OTHER_4 = 64,    /* F0 80 to F0 8F, and F5 80 and more */
    TWO_CONT = 128,  /* two that continue: right only as third or fourth byte */
    CARRY = TOO_SHORT | TOO_LONG | TWO_CONT
};

#define REP4(x) (x), (x), (x), (x)

/* By the high half of the first byte, its low half, and the high half of the second. */
static const uint8_t first_high[16] = {REP4(TOO_LONG),
                                       REP4(TOO_LONG),
                                       REP4(TWO_CONT),
                                       TOO_SHORT | OVERLONG_2,
                                       TOO_SHORT,
                                       TOO_SHORT | OVERLONG_3 | SURROGATE,
                                       TOO_SHORT | TOO_LARGE | OTHER_4};
#define LARGE (CARRY | TOO_LARGE | OTHER_4)
static const uint8_t first_low[16] = {CARRY | OVERLONG_3 | OVERLONG_2 | OTHER_4,
                                      CARRY | OVERLONG_2,
                                      CARRY,
                                      CARRY,
                                      CARRY | TOO_LARGE,
                                      LARGE,
                                      LARGE,
                                      LARGE,
                                      REP4(LARGE),
                                      LARGE,
                                      LARGE | SURROGATE,
                                      LARGE,
                                      LARGE};
#define CONT (TOO_LONG | OVERLONG_2 | TWO_CONT)
static const uint8_t second_high[16] = {REP4(TOO_SHORT),
                                        REP4(TOO_SHORT),
                                        CONT | OVERLONG_3 | OTHER_4,
                                        CONT | OVERLONG_3 | TOO_LARGE,
                                        CONT | SURROGATE | TOO_LARGE,
                                        CONT | SURROGATE | TOO_LARGE,
                                        REP4(TOO_SHORT)};

#if defined(__x86_64__)

typedef __m128i vec;

TARGET static inline vec load(const unsigned char *at)
{
    return _mm_loadu_si128((const __m128i *)(const void *)at);
}
TARGET static inline vec either(vec a, vec b)
{
    return _mm_or_si128(a, b);
}
TARGET static inline bool any_high(vec a)
{
    return _mm_movemask_epi8(a) != 0;
}
TARGET static inline bool any(vec a)
{
    return _mm_movemask_epi8(_mm_cmpeq_epi8(a, _mm_setzero_si128())) != 0xffff;
}

/* The bits of what is wrong with each byte of v, which comes after `before`. */
TARGET static inline vec faults(vec v, vec before)
{
    const vec low = _mm_set1_epi8(0x0f);
    vec prev1 = _mm_alignr_epi8(v, before, 15);
    vec prev2 = _mm_alignr_epi8(v, before, 14);
    vec prev3 = _mm_alignr_epi8(v, before, 13);
    vec a = _mm_shuffle_epi8(load(first_high), _mm_and_si128(_mm_srli_epi16(prev1, 4), low));
    vec b = _mm_shuffle_epi8(load(first_low), _mm_and_si128(prev1, low));
    vec c = _mm_shuffle_epi8(load(second_high), _mm_and_si128(_mm_srli_epi16(v, 4), low));
    vec pair = _mm_and_si128(_mm_and_si128(a, b), c);
    /* High bit: the byte two before begins three or four bytes, or the one three before four. */
    vec third = _mm_subs_epu8(prev2, _mm_set1_epi8((char)(0xe0 - 0x80)));
    vec fourth = _mm_subs_epu8(prev3, _mm_set1_epi8((char)(0xf0 - 0x80)));
    vec must = _mm_and_si128(_mm_or_si128(third, fourth), _mm_set1_epi8((char)0x80));
    return _mm_xor_si128(pair, must);
}

static bool have_vectors(void)
{
    return __builtin_cpu_supports("ssse3");
}

TARGET static inline vec nothing(void)
{
    return _mm_setzero_si128();
}

#else

typedef uint8x16_t vec;

static inline vec load(const unsigned char *at)
{
    return vld1q_u8(at);
}
static inline vec either(vec a, vec b)
{
    return vorrq_u8(a, b);
}
static inline bool any_high(vec a)
{
    return vmaxvq_u8(a) >= 0x80;
}
static inline bool any(vec a)
{
    return vmaxvq_u8(a) != 0;
}

static inline vec faults(vec v, vec before)
{
    vec prev1 = vextq_u8(before, v, 15);
    vec prev2 = vextq_u8(before, v, 14);
    vec prev3 = vextq_u8(before, v, 13);
    vec a = vqtbl1q_u8(load(first_high), vshrq_n_u8(prev1, 4));
    vec b = vqtbl1q_u8(load(first_low), vandq_u8(prev1, vdupq_n_u8(0x0f)));
    vec c = vqtbl1q_u8(load(second_high), vshrq_n_u8(v, 4));
    vec pair = vandq_u8(vandq_u8(a, b), c);
    vec third = vqsubq_u8(prev2, vdupq_n_u8(0xe0 - 0x80));
    vec fourth = vqsubq_u8(prev3, vdupq_n_u8(0xf0 - 0x80));
    vec must = vandq_u8(vorrq_u8(third, fourth), vdupq_n_u8(0x80));
    return veorq_u8(pair, must);
}

static bool have_vectors(void)
{
    return true;
}

static inline vec nothing(void)
{
    return vdupq_n_u8(0);
}

#endif

/* The start of the character that the byte before `end` is part of and that is not whole there. */
static size_t whole_until(const unsigned char *data, size_t end)
{
    for (size_t back = 1; back <= 3 && back <= end; back++) {
        unsigned char c = data[end - back];
        size_t size = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : c >= 0xc0 ? 2 : 1;
        if (c < 0x80 || c >= 0xc0)
            return size > back ? end - back : end;
    }
    return end;
}

/* How many of the bytes, which begin with a character, are whole characters for certain. */
TARGET static size_t check_blocks(const unsigned char *data, size_t len)
{
    vec before = nothing();
    size_t at = 0;
    for (; len - at >= BLOCK; at += BLOCK) {
        vec a = load(data + at), b = load(data + at + 16);
        vec c = load(data + at + 32), d = load(data + at + 48);
        if (any_high(either(either(a, b), either(c, d)))) {
            vec wrong =
                either(either(faults(a, before), faults(b, a)), either(faults(c, b), faults(d, c)));
            if (any(wrong))
                break;
        } else if (whole_until(data, at) != at) {
            break;
        }
        before = d;
    }
    return whole_until(data, at);
}

#endif

/* --- Both ------------------------------------------------------------------------------------ */

/* How many of the bytes, which begin with a character, are ASCII, in words. */
static size_t ascii_words(const unsigned char *data, size_t len)
{
    size_t at = 0;
    uint64_t word;
    for (; len - at >= sizeof word; at += sizeof word) {
        memcpy(&word, data + at, sizeof word);
        if ((word & UINT64_C(0x8080808080808080)) != 0)
            break;
    }
    return at;
}

bool weft__utf8_check(struct weft__utf8 *u, const void *bytes, size_t len, size_t *at)
{
    const unsigned char *data = bytes;
    size_t i = 0;
    for (; i < len && u->need > 0; i++) {
        if (!next(u, data[i]))
            goto wrong;
    }
#if VECTORS
    if (len - i >= BLOCK && have_vectors())
        i += check_blocks(data + i, len - i);
#endif
    while (i < len) {
        if (u->need == 0 && len - i >= 8) {
            i += ascii_words(data + i, len - i);
            if (i == len)
                break;
        }
        if (!next(u, data[i]))
            goto wrong;
        i++;
    }
    return true;
wrong:
    if (at != NULL)
        *at = i;
    return false;
}
