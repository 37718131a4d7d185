/* SPDX-License-Identifier: MIT */
/*
 * An intrusive hand-over from any number of threads to one: producers push, the consumer takes
 * everything at once, in the order of the pushes.
 *
 * Floor 0. It is a stack of atomic pushes that the consumer empties with one exchange and turns
 * round; as nothing but "all" is ever taken off, a node that comes back cannot be confused (no
 * ABA).
 *
 * Invariants: zeroed memory is empty; push and take are lock-free; a node is in one mpsc at a
 * time; what a producer wrote before its push is visible to the consumer after the take.
 */
#ifndef WEFT__BASE_MPSC_H
#define WEFT__BASE_MPSC_H

#include <stdatomic.h>
#include <stdbool.h>

#include "base/list.h"

struct weft__mpsc {
    _Atomic(struct weft__slink *) top;
};

static inline void weft__mpsc_init(struct weft__mpsc *m)
{
    atomic_init(&m->top, NULL);
}

/*
 * Any thread. True when it was empty: then, and only then, the producer has to wake the consumer.
 */
static inline bool weft__mpsc_push(struct weft__mpsc *m, struct weft__slink *n)
{
    struct weft__slink *top = atomic_load_explicit(&m->top, memory_order_relaxed);
    do {
        n->next = top;
    } while (!atomic_compare_exchange_weak_explicit(&m->top, &top, n, memory_order_acq_rel,
                                                    memory_order_relaxed));
    return top == NULL;
}

/* Any thread; a hint unless the caller orders it otherwise. */
static inline bool weft__mpsc_empty(const struct weft__mpsc *m)
{
    return atomic_load_explicit(&m->top, memory_order_acquire) == NULL;
}

/* The consumer: moves all nodes to the end of `q`, oldest first. */
static inline void weft__mpsc_take(struct weft__mpsc *m, struct weft__queue *q)
{
    struct weft__slink *n = atomic_exchange_explicit(&m->top, NULL, memory_order_acq_rel);
    struct weft__queue taken = {NULL, NULL};
    while (n != NULL) {
        struct weft__slink *older = n->next;
        weft__queue_push_front(&taken, n);
        n = older;
    }
    weft__queue_splice_back(q, &taken);
}

#endif
