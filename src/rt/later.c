/* SPDX-License-Identifier: MIT */
/*
 * Work that a loop's connections are not to wait for: a server's handshakes.
 *
 * Floor 2. Each piece holds the loop for long, and any number of them may come at once. After
 * everything else of a turn the loop does one, and then more, as long as they take no more of its
 * time than everything else has taken since the last. So whoever is served in a turn waits for one
 * piece, or twice as long as without any; and where there is much else to do, half of the loop is
 * there for the pieces all the same. Time is that of the thread: what others of the machine take
 * is nobody's share. In a simulation no time passes, and a turn does one piece.
 *
 * A piece may leave the rest of it to the work pool (struct weft__work). While that has as much as
 * it is to have (works_max), such pieces rest: what they would hand over would only wait, and as
 * long as the loop has nothing to do but to serve, it is there at once for whoever comes. Others do
 * not rest; where both are due they take turns.
 *
 * Invariants: with pieces that are due the loop does not wait; of one sort, first come, first
 * served.
 */
#include "rt/rt.h"

static struct weft__later *next(struct weft_loop *l)
{
    bool pooled = weft__loop_pooled_due(l) && (l->pooled_next || weft__list_empty(&l->later));
    l->pooled_next = !pooled;
    struct weft__node *n = weft__list_pop_front(pooled ? &l->later_pooled : &l->later);
    return WEFT__CONTAINER_OF(n, struct weft__later, link);
}

void weft__loop_run_later(struct weft_loop *l)
{
    int64_t now = weft__clock_used_ns(), else_ns = l->later_ns > 0 ? now - l->later_ns : 0;
    int64_t until = now + else_ns;
    if (l->sys->driver->push != NULL)
        l->sys->driver->push(l->sys); /* what is ready to be sent is not to wait, either */
    l->runs_left = 0;                 /* a task that waits gives the loop its context back */
    do {
        struct weft__later *x = next(l);
        x->fn(x);
        now = weft__clock_used_ns();
    } while (now < until && weft__loop_later_due(l));
    l->later_ns = weft__loop_later_due(l) ? now : 0;
}

struct waiting {
    struct weft__wait wait;
    struct weft__later later;
};

static void go_on(struct weft__later *x)
{
    weft__wait_go_on(&WEFT__CONTAINER_OF(x, struct waiting, later)->wait, 0);
}

static void give_up(struct weft__wait *w, int why)
{
    weft__list_remove(&WEFT__CONTAINER_OF(w, struct waiting, wait)->later.link);
    weft__wait_trigger(w, why);
}

int weft__later_wait(const char *what, bool pooled, weft_deadline d)
{
    struct waiting p = {.later = {.fn = go_on, .pooled = pooled}};
    int err = weft__wait_check();
    struct weft__flow *f = weft__flow_self();
    if (err < 0 || f->kind == WEFT__FLOW_THREAD)
        return err;
    weft__wait_init(&p.wait, what, -1, give_up);
    weft__loop_later(f->loop, &p.later);
    return weft__wait_block(&p.wait, d);
}
