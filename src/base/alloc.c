/* SPDX-License-Identifier: MIT */
/*
 * Allocation with test hooks; see alloc.h.
 *
 * Floor 0. Invariants: the count is taken before the allocation, so with one thread the n-th
 * allocation is the same one in every run; a failure that is asked for happens once.
 */
#include "base/alloc.h"

#include <stdlib.h>
#include <string.h>

#include "base/base.h"

_Atomic bool weft__alloc_hooks;
_Thread_local unsigned weft__alloc_sure;

static _Atomic uint64_t alloc_count;
static _Atomic uint64_t alloc_fail_target; /* fail when the count reaches this; 0 = never */
static _Atomic int64_t alloc_live;
static _Atomic(bool (*)(void)) refuser; /* NULL: nobody */
static _Atomic int refusals;            /* calls of weft__alloc_refuse_by that are not taken back */
static _Atomic bool hooks_before;

static inline bool hooks_on(void)
{
    return WEFT__UNLIKELY(atomic_load_explicit(&weft__alloc_hooks, memory_order_relaxed));
}

/* What an allocation gave: one block more, if it is one. */
static inline void *counted(void *ptr)
{
    if (hooks_on() && ptr != NULL)
        atomic_fetch_add_explicit(&alloc_live, 1, memory_order_relaxed);
    return ptr;
}

/* True when the allocation that is about to happen has to fail. */
static __attribute__((noinline)) bool hook_says_fail(void)
{
    uint64_t n = atomic_fetch_add_explicit(&alloc_count, 1, memory_order_relaxed) + 1;
    if (n == atomic_load_explicit(&alloc_fail_target, memory_order_relaxed))
        return true;
    bool (*refuse)(void) = atomic_load_explicit(&refuser, memory_order_acquire);
    return refuse != NULL && weft__alloc_sure == 0 && refuse();
}

static inline bool must_fail(void)
{
    return hooks_on() && hook_says_fail();
}

void weft__alloc_fail_at(uint64_t n)
{
    uint64_t target = n == 0 ? 0 : atomic_load(&alloc_count) + n;
    atomic_store(&alloc_fail_target, target);
    if (n != 0)
        atomic_store(&weft__alloc_hooks, true);
}

void weft__alloc_refuse_by(bool (*fn)(void))
{
    if (fn == NULL) {
        if (atomic_fetch_sub(&refusals, 1) > 1)
            return;
        atomic_store(&refuser, NULL);
        atomic_store(&weft__alloc_hooks, atomic_load(&hooks_before));
    } else {
        if (atomic_fetch_add(&refusals, 1) == 0)
            atomic_store(&hooks_before, atomic_load(&weft__alloc_hooks));
        atomic_store(&refuser, fn);
        atomic_store(&weft__alloc_hooks, true);
    }
}

uint64_t weft__alloc_count(void)
{
    return atomic_load_explicit(&alloc_count, memory_order_relaxed);
}

int64_t weft__alloc_live(void)
{
    return atomic_load_explicit(&alloc_live, memory_order_relaxed);
}

void *weft__alloc(size_t size)
{
    return must_fail() ? NULL : counted(malloc(size == 0 ? 1 : size));
}

void *weft__calloc(size_t count, size_t size)
{
    size_t total;
    if (must_fail() || __builtin_mul_overflow(count, size, &total))
        return NULL;
    return counted(calloc(1, total == 0 ? 1 : total));
}

void *weft__realloc(void *ptr, size_t size)
{
    if (must_fail())
        return NULL;
    void *grown = realloc(ptr, size == 0 ? 1 : size);
    return ptr == NULL ? counted(grown) : grown;
}

char *weft__strdup(const char *s)
{
    size_t size = strlen(s) + 1;
    char *copy = weft__alloc(size);
    if (copy != NULL)
        memcpy(copy, s, size);
    return copy;
}

void weft__free(void *ptr)
{
    if (hooks_on() && ptr != NULL)
        atomic_fetch_sub_explicit(&alloc_live, 1, memory_order_relaxed);
    free(ptr);
}
