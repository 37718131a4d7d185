/* SPDX-License-Identifier: MIT */
#ifndef WEFT__SIM_MEMORY_H
#define WEFT__SIM_MEMORY_H
/*
 * The simulator's own memory (floor 1): allocations in a file that includes this are never refused
 * by the faults that a simulation injects into its hosts. To be included after base/alloc.h.
 *
 * Invariant: for tests that make each allocation fail in turn, they are like all others.
 */
#include "base/alloc.h"

static inline void *weft__sim_alloc(size_t size)
{
    weft__alloc_sure++;
    void *p = weft__alloc(size);
    weft__alloc_sure--;
    return p;
}

static inline void *weft__sim_calloc(size_t count, size_t size)
{
    weft__alloc_sure++;
    void *p = weft__calloc(count, size);
    weft__alloc_sure--;
    return p;
}

static inline void *weft__sim_realloc(void *ptr, size_t size)
{
    weft__alloc_sure++;
    void *p = weft__realloc(ptr, size);
    weft__alloc_sure--;
    return p;
}

static inline char *weft__sim_strdup(const char *s)
{
    weft__alloc_sure++;
    char *p = weft__strdup(s);
    weft__alloc_sure--;
    return p;
}

#define weft__alloc(size) weft__sim_alloc(size)
#define weft__calloc(count, size) weft__sim_calloc(count, size)
#define weft__realloc(ptr, size) weft__sim_realloc(ptr, size)
#define weft__strdup(s) weft__sim_strdup(s)

#endif
