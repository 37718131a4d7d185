/* SPDX-License-Identifier: MIT */
/*
 * Stacks for tasks: equal in size, cut from large mappings (slabs), each with a guard below it.
 *
 * Floor 2. Invariants:
 * - A pool belongs to one thread. No call waits; only a get that finds no used stack, and a put
 *   beyond the mark, make system calls.
 * - A stack that was never used costs no memory but address space and 32 bytes of bookkeeping,
 *   themselves untouched until first use. A used one costs the pages that its users touched:
 *   transparent huge pages are off for stacks.
 * - Free stacks come back last in, first out, so the next user finds its cache lines warm. Fewer
 *   than WEFT__STACK_HOT_MAX + WEFT__STACK_BATCH free stacks keep their pages: when they become as
 *   many, the pages of the oldest batch are given back to the kernel, and a slab without any used
 *   stack is unmapped unless it is the last one with room.
 * - Whoever runs past a stack's end hits the guard: MADV_GUARD_INSTALL where the kernel has it
 *   (Linux 6.13), which needs no mapping of its own, else mprotect, which costs two mappings a
 *   stack, so that vm.max_map_count limits the number of stacks (to about 32,000 by default).
 *   WEFT_STACK_GUARD=mprotect in the environment chooses the second.
 */
#ifndef WEFT__RT_STACK_H
#define WEFT__RT_STACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes of a stack when none are asked for. Code that sanitizers instrument needs more. */
#define WEFT__STACK_SIZE_DEFAULT ((size_t)32 * 1024)
#define WEFT__STACK_SIZE_DEFAULT_SANITIZED ((size_t)256 * 1024)
#define WEFT__STACK_SIZE_MIN ((size_t)16 * 1024)
#define WEFT__STACK_SIZE_MAX ((size_t)1024 * 1024 * 1024)

#define WEFT__STACK_HOT_MAX 1024
#define WEFT__STACK_BATCH 64

struct weft__stack_slab;
struct weft__stack_pool;

struct weft__stack {
    void *lo;                      /* usable: [lo, hi); the guard lies just below lo */
    void *hi;                      /* the end of a page */
    struct weft__stack_slab *slab; /* the pool's own from here on */
    uint32_t next;
    uint32_t valgrind_id;
};

/*
 * Opens a pool of stacks of `stack_size` bytes each, guard included (an eighth of it, at least a
 * page and at most 64 KiB): 0 means WEFT__STACK_SIZE_DEFAULT, of which 28 KiB are usable where a
 * page is 4 KiB. Sizes are rounded up to whole pages, to WEFT__STACK_SIZE_MIN and to room for at
 * least one page beside the guard. At most `max_stacks` stacks are out at a time; 0 means no limit.
 * Maps nothing yet.
 *
 * Returns 0, -ENOMEM, or -EINVAL for a size beyond WEFT__STACK_SIZE_MAX.
 */
int weft__stack_pool_open(struct weft__stack_pool **ret, size_t stack_size, size_t max_stacks);

/*
 * From now on weft__stack_pool_open on this thread gives out p again, to whoever asks for stacks of
 * its size without a limit of their own: the loops of a simulation, of which there may be
 * thousands, share their free stacks and the bookkeeping. Such a pool closes with the last of those
 * who have it. NULL: no more. Returns what was shared before.
 */
struct weft__stack_pool *weft__stack_pool_share(struct weft__stack_pool *p);

/* Unmaps everything, for the last who has it; all stacks must have been put back. Takes NULL. */
void weft__stack_pool_close(struct weft__stack_pool *p);

/*
 * Takes a stack out of the pool. Its contents are whatever its last user left, zeros if fresh.
 *
 * Returns 0; -EAGAIN when max_stacks are out; -ENOMEM when memory, address space or mappings ran
 * out. After a failure weft__stack_pool_detail says which limit it was.
 */
int weft__stack_get(struct weft__stack_pool *p, struct weft__stack **ret);

/*
 * Puts a stack back. The caller must not run on it, and what lies on it is gone, the structures of
 * its user included.
 */
void weft__stack_put(struct weft__stack_pool *p, struct weft__stack *s);

/* A sentence on the last failed get; "" when none failed. Valid until the next one fails. */
const char *weft__stack_pool_detail(const struct weft__stack_pool *p);

/*
 * Bytes of the stack, counted down from hi, that were ever written with something other than zero
 * since its pages were fresh: the mark of all its users since then, not only of the last one. For
 * reports: it asks the kernel which pages exist (some microseconds) and reads the lowest of them.
 */
size_t weft__stack_high_water(const struct weft__stack *s);

/*
 * Whether addr lies in the guard of one of the pool's stacks, and of which: for a SIGSEGV handler
 * that names the task whose stack overflowed. Async-signal-safe on the pool's thread. *ret is
 * untouched when false.
 */
bool weft__stack_guard_hit(const struct weft__stack_pool *p, const void *addr,
                           struct weft__stack **ret);

struct weft__stack_stats {
    size_t live;   /* out of the pool */
    size_t hot;    /* free, with their pages */
    size_t mapped; /* stacks that the slabs hold in all */
    size_t slabs;
    size_t stack_size; /* bytes, guard included */
    size_t guard_size;
    bool guard_mprotect; /* guards are (now) made by mprotect */
};

void weft__stack_pool_stats(const struct weft__stack_pool *p, struct weft__stack_stats *ret);

#endif
