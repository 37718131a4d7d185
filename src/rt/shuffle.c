/* SPDX-License-Identifier: MIT */
/*
 * The order of ready tasks in a simulation: any that could have been, as the seed decides.
 *
 * Floor 2. A program that is right only when its tasks run first in, first out, is wrong as soon as
 * one of them is woken a moment earlier. So what is ready is mixed at the start of each turn, and
 * the turn ends after a number of them that chance decides, so that what they wake, and what the
 * network brings, mixes with the rest.
 *
 * Invariants: nothing is lost or added; where nothing can be chosen, no number is asked for; a turn
 * runs at least one.
 */
#include "rt/rt.h"
#include "sys/sim/world.h"

/* At most so many at the front are mixed, so that a turn's cost is bounded. */
#define WINDOW 256

void weft__loop_shuffle(struct weft_loop *l)
{
    struct weft__slink *at[WINDOW];
    size_t n = 0;
    WEFT__ASSERT(weft__sim_proc != NULL);
    struct weft__world *w = weft__sim_proc->world;
    while (n < WINDOW && (at[n] = weft__queue_pop_front(&l->ready)) != NULL)
        n++;
    /* The front is put back from its last to its first, each place taken by one of those left. */
    for (size_t left = n; left > 0; left--) {
        size_t i = left > 1 ? (size_t)weft__world_below(w, left) : 0;
        weft__queue_push_front(&l->ready, at[i]);
        at[i] = at[left - 1];
    }
    if (n > 0)
        l->runs_left = n > 1 ? 1 + (unsigned)weft__world_below(w, n) : 1;
}
