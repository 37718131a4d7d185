/* SPDX-License-Identifier: MIT */
/*
 * A hierarchical timer wheel: adding and removing a timer is O(1) whatever their number.
 *
 * Floor 0. A tick is 2^17 ns (about 131 us). Level L has 64 slots of 64^L ticks each; eight levels
 * cover every non-negative int64_t, so no deadline is too far.
 *
 * Invariants:
 * - a timer fires at the first advance whose now is at or after its deadline rounded up to a tick:
 *   never early, and at most one tick late when advance is called as weft__wheel_next_ns() asks;
 * - one advance hands timers out ordered by deadline, and by insertion where deadlines are equal;
 * - a timer filed at level L differs from the wheel's current tick in its 64-ary digit L and in no
 *   higher one; hence all timers of one tick lie in one slot, in the order of insertion;
 * - a bit of a level's bitmap is set exactly when its slot holds a timer.
 *
 * The wheel must not be moved in memory. It belongs to one thread.
 */
#ifndef WEFT__BASE_WHEEL_H
#define WEFT__BASE_WHEEL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"

#define WEFT__WHEEL_TICK_SHIFT 17
#define WEFT__WHEEL_TICK_NS (INT64_C(1) << WEFT__WHEEL_TICK_SHIFT)
#define WEFT__WHEEL_LEVELS 8
#define WEFT__WHEEL_SLOTS 64

/* Zeroed memory is a timer that is not armed. */
struct weft__timer {
    struct weft__node node; /* in a slot, or in the caller's list of expired timers */
    int64_t when_ns;
    uint16_t slot; /* level * 64 + slot, or one of the wheel's own lists */
};

struct weft__wheel {
    uint64_t now;                        /* the current tick: everything up to it has fired */
    uint64_t armed;                      /* number of timers that have not fired */
    uint64_t bitmap[WEFT__WHEEL_LEVELS]; /* slots in use */
    struct weft__list due;               /* deadline at or before the current tick */
    struct weft__list slots[WEFT__WHEEL_LEVELS * WEFT__WHEEL_SLOTS];
};

/* now_ns is at least 0, here and everywhere. */
void weft__wheel_init(struct weft__wheel *w, int64_t now_ns);

/*
 * Arms a timer that is not linked. A deadline that has passed fires at the next advance; INT64_MAX
 * is a deadline like any other (callers do not arm a timer for "never").
 */
void weft__wheel_add(struct weft__wheel *w, struct weft__timer *t, int64_t when_ns);

/* Disarms a timer. Legal when it is not armed, and when it lies in a list of expired timers. */
void weft__wheel_del(struct weft__wheel *w, struct weft__timer *t);

/*
 * When advance should be called next, absolute; INT64_MAX when no timer is armed. It is never
 * later than the first timer's time to fire, and may be earlier, because timers have to be moved
 * to a finer level; it is in the past when a timer is due.
 */
int64_t weft__wheel_next_ns(const struct weft__wheel *w);

/*
 * Moves the timers that have expired to the end of `expired`, from where the caller pops them
 * (weft__list_pop_front, weft__timer_of). A timer that is popped may be added again. A now_ns
 * before the last one counts as the last one.
 */
void weft__wheel_advance(struct weft__wheel *w, int64_t now_ns, struct weft__list *expired);

/* True while the timer is armed, or expired and not yet popped. */
static inline bool weft__timer_linked(const struct weft__timer *t)
{
    return weft__node_linked(&t->node);
}

static inline struct weft__timer *weft__timer_of(struct weft__node *n)
{
    return WEFT__CONTAINER_OF(n, struct weft__timer, node);
}

#endif
