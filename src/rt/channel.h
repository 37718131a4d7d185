/* SPDX-License-Identifier: MIT */
/*
 * The inside of channels (floor 2), shared by channel.c (plain), channel_mt.c and select.c.
 *
 * A call that has to wait enters an arm into the channel's list of its direction; a select enters
 * one into each of its channels. Whoever comes from the other side moves the item, takes the arm
 * out and wakes the waiter: items are handed over, never a mere hint to look again, so no wake-up
 * is lost and nobody jumps the queue.
 *
 * Invariants:
 *  - receivers wait only while the channel is empty, senders only while it is full, and nobody
 *    once it is shut; all of this but for arms of a parley that was claimed elsewhere;
 *  - a parley (one waiting call) is settled once: by a peer, a shut, or its own abort. When any of
 *    its channels is an _mt one, `claimed` decides who; else the loop's thread does by its order;
 *  - everything in an _mt channel is under its lock, the links of arms in its lists included; a
 *    peer touches a parley only under the lock of a channel that lists it, or after claiming it;
 *  - locks of channels nest in the order of their addresses, and nothing else is locked within.
 */
#ifndef WEFT__RT_CHANNEL_H
#define WEFT__RT_CHANNEL_H

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include <weft/channel.h>

#include "rt/rt.h"

enum { WEFT__RECV, WEFT__SEND };

struct weft_channel {
    size_t item_size;
    size_t capacity;
    size_t count;
    size_t head; /* the oldest item */
    bool mt;
    bool shut;
    struct weft__list waiting[2]; /* struct weft__arm, by direction */
    uint8_t *items;
    uint64_t stamp[2];    /* when a select last took this direction, counted in selects */
    pthread_t thread;     /* plain: who opened it; looked at by debug builds */
    pthread_mutex_t lock; /* mt only */
};

struct weft__parley;

/* One place in one channel's list. */
struct weft__arm {
    struct weft__node link;
    struct weft_channel *channel;
    struct weft__parley *parley;
    void *item;    /* where it goes, or (not written to) where it is */
    uint8_t way;   /* WEFT__RECV or WEFT__SEND */
    uint8_t index; /* in the caller's array */
};

/* One call that waits, in its own stack frame. */
struct weft__parley {
    struct weft__wait wait;
    struct weft__remote remote; /* the trigger, when a peer on another thread settled it */
    struct weft__arm *arms;
    size_t n;
    struct weft__arm *chosen; /* by a peer; NULL: aborted */
    int result;
    bool mt; /* some arm is of an mt channel */
    _Atomic bool claimed;
};

/* Fills in p for the calling flow and the arms for p. */
void weft__parley_init(struct weft__parley *p, const char *what, struct weft__arm *arms, size_t n,
                       bool mt);
/* Lets a settled parley's flow go on, whichever thread it belongs to; p is gone afterwards. */
void weft__parley_wake(struct weft__parley *p);
/* The peer's end of it: takes the arm out and notes the result. The parley is claimed. */
void weft__parley_settle(struct weft__arm *a, int result);
/* What the waiting call would return if it may not wait: -ETIMEDOUT, -EDEADLK; 0: wait. */
int weft__parley_may_wait(bool plain, weft_deadline d);

int weft__channel_mt_call(struct weft_channel *c, int way, void *item, weft_deadline d);
int weft__channel_mt_nowait(struct weft_channel *c, int way, void *item);
void weft__channel_mt_shut(struct weft_channel *c);

static inline void weft__item_copy(void *to, const void *from, size_t size)
{
    if (size == sizeof(uint64_t))
        memcpy(to, from, sizeof(uint64_t)); /* one move, not a call */
    else
        memcpy(to, from, size);
}

/* The longest waiter of that direction that nobody else has claimed; NULL: none. */
static inline struct weft__arm *weft__channel_claim(struct weft_channel *c, int way)
{
    while (!weft__list_empty(&c->waiting[way])) {
        struct weft__node *n = c->waiting[way].head.next;
        struct weft__arm *a = WEFT__CONTAINER_OF(n, struct weft__arm, link);
        if (!a->parley->mt || !atomic_exchange(&a->parley->claimed, true))
            return a;
        weft__list_remove(n); /* another arm of it was chosen, or it gave up */
    }
    return NULL;
}

static inline void weft__channel_push(struct weft_channel *c, const void *item)
{
    size_t at = c->head + c->count;
    if (at >= c->capacity)
        at -= c->capacity;
    weft__item_copy(c->items + at * c->item_size, item, c->item_size);
    c->count++;
}

static inline void weft__channel_pop(struct weft_channel *c, void *item)
{
    weft__item_copy(item, c->items + c->head * c->item_size, c->item_size);
    if (++c->head == c->capacity)
        c->head = 0;
    c->count--;
}

/*
 * The transfer, if it can be done now: 0, WEFT_ECLOSED or -EAGAIN. *peer is set to a waiter that
 * was served by it and has to be woken.
 */
static inline int weft__channel_try_send(struct weft_channel *c, const void *item,
                                         struct weft__parley **peer)
{
    struct weft__arm *a;
    if (WEFT__UNLIKELY(c->shut))
        return WEFT_ECLOSED;
    if (!weft__list_empty(&c->waiting[WEFT__RECV]) &&
        (a = weft__channel_claim(c, WEFT__RECV)) != NULL) {
        weft__item_copy(a->item, item, c->item_size);
        *peer = a->parley;
        weft__parley_settle(a, 0);
        return 0;
    }
    if (c->count == c->capacity)
        return -EAGAIN;
    weft__channel_push(c, item);
    return 0;
}

static inline int weft__channel_try_recv(struct weft_channel *c, void *item,
                                         struct weft__parley **peer)
{
    struct weft__arm *a = NULL;
    bool stored = c->count > 0;
    if (stored)
        weft__channel_pop(c, item);
    if (!weft__list_empty(&c->waiting[WEFT__SEND]) &&
        (a = weft__channel_claim(c, WEFT__SEND)) != NULL) {
        if (stored)
            weft__channel_push(c, a->item); /* the place that became free */
        else
            weft__item_copy(item, a->item, c->item_size);
        *peer = a->parley;
        weft__parley_settle(a, 0);
    }
    if (stored || a != NULL)
        return 0;
    return c->shut ? WEFT_ECLOSED : -EAGAIN;
}

static inline int weft__channel_try(struct weft_channel *c, int way, void *item,
                                    struct weft__parley **peer)
{
    return way == WEFT__SEND ? weft__channel_try_send(c, item, peer)
                             : weft__channel_try_recv(c, item, peer);
}

#endif
