/* SPDX-License-Identifier: MIT */
/*
 * The few macros and inline helpers that every internal file may use.
 *
 * Floor 0. Invariants: no function here allocates or waits; WEFT__ASSERT stays in release builds,
 * so its condition must be cheap and free of side effects.
 */
#ifndef WEFT__BASE_BASE_H
#define WEFT__BASE_BASE_H

#include <stddef.h>
#include <stdint.h>

#include <weft/base.h>

#define WEFT__LIKELY(x) __builtin_expect(!!(x), 1)
#define WEFT__UNLIKELY(x) __builtin_expect(!!(x), 0)

/*
 * A function that is not inlined, so that its frame is gone when it returns. Whoever waits for long
 * stands on small frames then: less of a stack to hold, and to fetch when it goes on.
 */
#define WEFT__APART __attribute__((noinline))

/* What memory is fetched by. A guess is enough: nothing but speed depends on it. */
#define WEFT__CACHE_LINE 64

#define WEFT__ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

/* The object of type `type` whose member `member` is at `ptr`. */
#define WEFT__CONTAINER_OF(ptr, type, member)                                                      \
    ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

/* Writes "file:line: assertion failed: expression" to stderr, without stdio, and aborts. */
_Noreturn void weft__assert_failed(const char *file, int line, const char *expr);

/* States what must hold. A failure is a bug in Weft or memory that was overwritten, never input. */
#define WEFT__ASSERT(cond)                                                                         \
    do {                                                                                           \
        if (WEFT__UNLIKELY(!(cond)))                                                               \
            weft__assert_failed(__FILE__, __LINE__, #cond);                                        \
    } while (0)

/*
 * Has the processor fetch so many bytes into its cache: a hint, the address need not be one. The
 * empty asm is no instruction: without it gcc may take a function that does nothing but this for
 * one without effects, and leave out its calls (tests/house/test_fetch.py).
 */
static inline void weft__fetch(const void *from, size_t len)
{
    for (size_t at = 0; at < len; at += WEFT__CACHE_LINE)
        __builtin_prefetch((const char *)from + at);
    __asm__ volatile("");
}

static inline size_t weft__min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

static inline size_t weft__max_size(size_t a, size_t b)
{
    return a > b ? a : b;
}

static inline int64_t weft__min_i64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static inline int64_t weft__max_i64(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static inline uint64_t weft__min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static inline uint64_t weft__max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

#endif
