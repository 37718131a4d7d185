/* SPDX-License-Identifier: MIT */
/*
 * Looking at a loop from another thread: is it stuck, and with what?
 *
 * Floor 2. The loop takes no notice: it keeps its counters as always, and tells only which task
 * runs and whether it is in the driver's wait (weft__loop_mark, weft__loop_busy). Who looks twice
 * and finds the same counts knows that it did nothing else in between. So a stretch is measured
 * from the first look that found it, and is never overstated.
 *
 * Invariant: a task is only followed by a pointer while `onlookers` says so, and a task that ends
 * first takes the pointer away and then waits for the onlookers to go (weft__loop_unbusy).
 */
#include <stdio.h>

#include "rt/see.h"

/*
 * A counter of the loop that its own thread changes by plain stores: 8 aligned bytes, of which a
 * reader sees the value before or after. What is concluded from it holds with either.
 */
static __attribute__((no_sanitize_thread, noinline)) uint64_t peek_at(const uint64_t *counter)
{
    return *(const volatile uint64_t *)counter;
}

static struct weft__spot spot_of(struct weft_loop *l)
{
    struct weft__spot s;
    s.place = atomic_load_explicit(&l->place, memory_order_acquire);
    s.task = atomic_load_explicit(&l->busy_task, memory_order_acquire);
    s.turns = peek_at(&l->turns);
    s.switches = peek_at(&l->switches);
    s.completions = peek_at(&l->sys->completions);
    return s;
}

static bool same(const struct weft__spot *a, const struct weft__spot *b)
{
    return a->turns == b->turns && a->switches == b->switches && a->completions == b->completions &&
           a->task == b->task && a->place == b->place;
}

enum weft__hold_state weft__hold_look(struct weft_loop *l, struct weft__hold *h, int64_t now_ns)
{
    struct weft__spot s = spot_of(l);
    if (h->since_ns == 0 || !same(&s, &h->spot)) {
        h->spot = s;
        h->since_ns = now_ns;
    }
    if (s.place == WEFT__NOT_RUN)
        return WEFT__HOLD_NOT_RUN;
    /* In the driver's wait the loop sleeps until an operation ends; then it is in a callback. */
    if (s.place != WEFT__AT_WORK && s.place == s.completions)
        return WEFT__HOLD_NONE;
    return WEFT__HOLD_BUSY;
}

bool weft__hold_who(struct weft_loop *l, const struct weft__hold *h, char *buf, size_t cap)
{
    atomic_fetch_add(&l->onlookers, 1);
    const struct weft__task *t = atomic_load(&l->busy_task);
    if (t != NULL && t == h->spot.task)
        snprintf(buf, cap, "task %s (%s)", t->flow.name, t->flow.site);
    else
        snprintf(buf, cap, "a callback");
    atomic_fetch_sub(&l->onlookers, 1);
    struct weft__spot now = spot_of(l);
    return same(&now, &h->spot);
}

void weft__loop_unbusy(struct weft_loop *l)
{
    atomic_store(&l->busy_task, NULL);
    while (atomic_load(&l->onlookers) > 0)
        sched_yield(); /* a name is being copied */
}
