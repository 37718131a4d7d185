/* SPDX-License-Identifier: MIT */
/*
 * What the tests of the stack pool share.
 */
#ifndef STACK_SUPPORT_H
#define STACK_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdbool.h>
#include <stdlib.h>

#include "rt/ctx.h"
#include "rt/stack.h"

#if defined(WEFT_HAVE_VALGRIND) && WEFT_HAVE_VALGRIND
#include <valgrind/valgrind.h>
#else
#define RUNNING_ON_VALGRIND 0
#endif

/* An emulator of another machine says yes to each madvise(2) and makes no guard. */
static inline bool emulated(void)
{
    return getenv("WEFT_TEST_EMULATOR") != NULL;
}

/* Whether memory is what the kernel says: not under tools that keep their own copy of it. */
static inline bool plain(void)
{
    return !WEFT__ASAN && !WEFT__TSAN && !RUNNING_ON_VALGRIND;
}

static inline struct weft__stack_pool *open_pool(size_t stack_size, size_t max_stacks)
{
    struct weft__stack_pool *p = NULL;
    assert_int_equal(weft__stack_pool_open(&p, stack_size, max_stacks), 0);
    return p;
}

static inline struct weft__stack *get(struct weft__stack_pool *p)
{
    struct weft__stack *s = NULL;
    int r = weft__stack_get(p, &s);
    if (r < 0)
        fail_msg("weft__stack_get: %d, %s", r, weft__stack_pool_detail(p));
    return s;
}

static inline struct weft__stack **get_many(struct weft__stack_pool *p, size_t count)
{
    struct weft__stack **stacks = calloc(count, sizeof(struct weft__stack *));
    assert_non_null(stacks);
    for (size_t i = 0; i < count; i++)
        stacks[i] = get(p);
    return stacks;
}

static inline void put_many(struct weft__stack_pool *p, struct weft__stack **stacks, size_t count)
{
    for (size_t i = 0; i < count; i++)
        weft__stack_put(p, stacks[i]);
    free(stacks);
}

static inline struct weft__stack_stats stats_of(const struct weft__stack_pool *p)
{
    struct weft__stack_stats stats;
    weft__stack_pool_stats(p, &stats);
    return stats;
}

#endif
