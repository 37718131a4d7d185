/* SPDX-License-Identifier: MIT */
/*
 * Intrusive lists: weft__list, doubly linked, and weft__queue, a singly linked FIFO.
 *
 * Floor 0. Invariants of weft__list: the list is a ring through its head, so a list must be
 * initialised and must not be moved in memory; a node that is in no list has both links NULL
 * (zeroed memory is such a node), so a node knows whether it is linked, it can remove itself
 * without knowing its list, and removing it twice is legal. Adding a linked node is a bug and
 * asserted.
 * Invariants of weft__queue: zeroed memory is an empty queue, and it may be moved; a node in no
 * queue has no defined link, so it does not know whether it is queued.
 */
#ifndef WEFT__BASE_LIST_H
#define WEFT__BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

#include "base/base.h"

struct weft__node {
    struct weft__node *prev;
    struct weft__node *next;
};

struct weft__list {
    struct weft__node head;
};

/* The initial value of the list variable `l`. */
#define WEFT__LIST_INIT(l)                                                                         \
    {                                                                                              \
        {                                                                                          \
            &(l).head, &(l).head                                                                   \
        }                                                                                          \
    }

static inline void weft__node_init(struct weft__node *n)
{
    n->prev = NULL;
    n->next = NULL;
}

static inline bool weft__node_linked(const struct weft__node *n)
{
    return n->next != NULL;
}

static inline void weft__list_init(struct weft__list *l)
{
    l->head.prev = &l->head;
    l->head.next = &l->head;
}

static inline bool weft__list_empty(const struct weft__list *l)
{
    return l->head.next == &l->head;
}

/* Puts n between two neighbours. */
static inline void weft__node_link(struct weft__node *n, struct weft__node *prev,
                                   struct weft__node *next)
{
    WEFT__ASSERT(n->next == NULL);
    n->prev = prev;
    n->next = next;
    prev->next = n;
    next->prev = n;
}

static inline void weft__list_push_back(struct weft__list *l, struct weft__node *n)
{
    weft__node_link(n, l->head.prev, &l->head);
}

static inline void weft__list_push_front(struct weft__list *l, struct weft__node *n)
{
    weft__node_link(n, &l->head, l->head.next);
}

/* Puts n just before `at`, which is linked (or a list's head: then n becomes the last). */
static inline void weft__list_insert_before(struct weft__node *at, struct weft__node *n)
{
    weft__node_link(n, at->prev, at);
}

/* Takes n out of the list it is in, if it is in one. */
static inline void weft__list_remove(struct weft__node *n)
{
    if (n->next == NULL)
        return;
    n->prev->next = n->next;
    n->next->prev = n->prev;
    n->prev = NULL;
    n->next = NULL;
}

/* First and last node, NULL when empty; nothing is removed. */
static inline struct weft__node *weft__list_first(const struct weft__list *l)
{
    return weft__list_empty(l) ? NULL : l->head.next;
}

static inline struct weft__node *weft__list_last(const struct weft__list *l)
{
    return weft__list_empty(l) ? NULL : l->head.prev;
}

/* The node after n, NULL when n is the last. */
static inline struct weft__node *weft__list_next(const struct weft__list *l,
                                                 const struct weft__node *n)
{
    return n->next == &l->head ? NULL : n->next;
}

static inline struct weft__node *weft__list_pop_front(struct weft__list *l)
{
    struct weft__node *n = weft__list_first(l);
    if (n != NULL)
        weft__list_remove(n);
    return n;
}

static inline struct weft__node *weft__list_pop_back(struct weft__list *l)
{
    struct weft__node *n = weft__list_last(l);
    if (n != NULL)
        weft__list_remove(n);
    return n;
}

/* Moves all nodes of `from` to the end of `to`, in order; `from` is empty afterwards. */
static inline void weft__list_splice_back(struct weft__list *to, struct weft__list *from)
{
    if (weft__list_empty(from))
        return;
    from->head.next->prev = to->head.prev;
    to->head.prev->next = from->head.next;
    from->head.prev->next = &to->head;
    to->head.prev = from->head.prev;
    weft__list_init(from);
}

/*
 * Walks the list. WEFT__LIST_EACH: the body must not remove any node. WEFT__LIST_EACH_SAFE: the
 * body may remove `n` and no other. Where a callback may remove anything, splice the list to a
 * local one and pop its front until it is empty.
 */
#define WEFT__LIST_EACH(l, n)                                                                      \
    for (struct weft__node *n = (l)->head.next; n != &(l)->head; n = n->next)
#define WEFT__LIST_EACH_SAFE(l, n, tmp)                                                            \
    for (struct weft__node *n = (l)->head.next, *tmp = n->next; n != &(l)->head;                   \
         n = tmp, tmp = n->next)

struct weft__slink {
    struct weft__slink *next;
};

struct weft__queue {
    struct weft__slink *first;
    struct weft__slink *last; /* defined only while first is not NULL */
};

static inline void weft__queue_init(struct weft__queue *q)
{
    q->first = NULL;
    q->last = NULL;
}

static inline bool weft__queue_empty(const struct weft__queue *q)
{
    return q->first == NULL;
}

static inline void weft__queue_push_back(struct weft__queue *q, struct weft__slink *n)
{
    n->next = NULL;
    if (q->first == NULL)
        q->first = n;
    else
        q->last->next = n;
    q->last = n;
}

static inline void weft__queue_push_front(struct weft__queue *q, struct weft__slink *n)
{
    if (q->first == NULL)
        q->last = n;
    n->next = q->first;
    q->first = n;
}

/* NULL when empty. */
static inline struct weft__slink *weft__queue_pop_front(struct weft__queue *q)
{
    struct weft__slink *n = q->first;
    if (n != NULL) {
        q->first = n->next;
        n->next = NULL;
    }
    return n;
}

/* Moves all nodes of `from` to the end of `to`, in order; `from` is empty afterwards. */
static inline void weft__queue_splice_back(struct weft__queue *to, struct weft__queue *from)
{
    if (from->first == NULL)
        return;
    if (to->first == NULL)
        to->first = from->first;
    else
        to->last->next = from->first;
    to->last = from->last;
    weft__queue_init(from);
}

#endif
