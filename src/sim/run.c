/* SPDX-License-Identifier: MIT */
/*
 * The run: who is next, a step of it, the checks, then the world's next event.
 *
 * Floor 4. Everybody who has something to do does it before time moves on, one turn at a time, and
 * chance says who is next. When nobody has, all events of the next point in time happen.
 *
 * The world's list of those with something to do cannot be drawn from at random without a walk, so
 * they are moved to an array first. Their nodes go to a list of ours, by which the world knows that
 * they are waiting already.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "net/count.h"
#include "sim/sim.h"
#include "sys/sim/memory.h"

#define STEPS_AT_ONCE ((uint64_t)100000)
#define STEPS_AT_ONCE_A_HOST ((uint64_t)100)
#define TREES_MAX 20
/* Hosts that wait for no time, and nothing moves so long but timers of services: a deadlock. */
#define QUIET_NS (INT64_C(3600) * 1000000000)

/* --- Actions and checks ----------------------------------------------------------------------- */

static void action_due(struct weft__event *e)
{
    struct weft__sim_action *a = WEFT__CONTAINER_OF(e, struct weft__sim_action, event);
    struct weft_sim *sim = a->sim;
    weft_sim_action fn = a->fn;
    void *arg = a->arg;
    weft__list_remove(&a->link);
    weft__free(a);
    fn(sim, arg);
}

int weft_sim_at(struct weft_sim *sim, int64_t when_ns, weft_sim_action action, void *arg)
{
    int err = weft__sim_of(&sim);
    if (err == 0 && weft__sim_by_ghost())
        err = -ECANCELED;
    if (err == 0 && action == NULL)
        err = weft__fail(-EINVAL, "no action");
    if (err < 0)
        return err;
    struct weft__sim_action *a = weft__calloc(1, sizeof *a);
    if (a == NULL)
        return -ENOMEM;
    a->event.fn = action_due;
    a->sim = sim;
    a->fn = action;
    a->arg = arg;
    err = weft__event_set(sim->world, &a->event, when_ns);
    if (err < 0) {
        weft__free(a);
        return err;
    }
    weft__list_push_back(&sim->actions, &a->link);
    return 0;
}

void weft__sim_actions_drop(struct weft_sim *sim)
{
    struct weft__node *n;
    while ((n = weft__list_pop_front(&sim->actions)) != NULL) {
        struct weft__sim_action *a = WEFT__CONTAINER_OF(n, struct weft__sim_action, link);
        weft__event_del(sim->world, &a->event);
        weft__free(a);
    }
}

int weft_sim_check(struct weft_sim *sim, const char *name, weft_sim_checker check, void *arg)
{
    int err = weft__sim_of(&sim);
    if (err == 0 && weft__sim_by_ghost())
        err = -ECANCELED;
    if (err == 0 && (name == NULL || check == NULL))
        err = weft__fail(-EINVAL, "a check without a %s", name == NULL ? "name" : "function");
    if (err < 0)
        return err;
    size_t size = strlen(name) + 1;
    struct weft__sim_checker *c = weft__alloc(sizeof *c + size);
    if (c == NULL)
        return -ENOMEM;
    *c = (struct weft__sim_checker){.fn = check, .arg = arg};
    memcpy(c->name, name, size);
    weft__list_push_back(&sim->checks, &c->link);
    return 0;
}

static void run_checks(struct weft_sim *sim)
{
    WEFT__LIST_EACH(&sim->checks, n) {
        struct weft__sim_checker *c = WEFT__CONTAINER_OF(n, struct weft__sim_checker, link);
        sim->checking = c;
        weft__error_detail_clear();
        int err = c->fn(sim, c->arg);
        sim->checking = NULL;
        if (err < 0) {
            const char *detail = weft_error_detail();
            weft__sim_failed(sim, WEFT_ECHECK, NULL, "check '%s' says %s%s%s", c->name,
                             weft_error_name(err), detail[0] != '\0' ? ": " : "", detail);
        }
        if (sim->code < 0)
            return;
    }
}

/* --- Steps ------------------------------------------------------------------------------------ */

static void take(struct weft_sim *sim, struct weft__node *n)
{
    struct weft__sim_host *h =
        weft__sim_host_of(WEFT__CONTAINER_OF(n, struct weft__proc, runnable));
    weft__list_push_back(&sim->taken, n);
    sim->ready[sim->n_ready++] = h;
    h->place = sim->n_ready;
}

/* Takes out who is next; NULL: nobody has anything to do. */
static struct weft__sim_host *next_host(struct weft_sim *sim)
{
    struct weft__list *runnable = &sim->world->runnable;
    for (;;) {
        struct weft__sim_host *h;
        struct weft__node *n;
        if (sim->in_order) {
            if ((n = weft__list_pop_front(runnable)) == NULL)
                return NULL;
            h = weft__sim_host_of(WEFT__CONTAINER_OF(n, struct weft__proc, runnable));
        } else {
            while ((n = weft__list_pop_front(runnable)) != NULL)
                take(sim, n);
            if (sim->n_ready == 0)
                return NULL;
            h = sim->ready[sim->n_ready > 1 ? weft__world_below(sim->world, sim->n_ready) : 0];
            weft__sim_untake(h);
        }
        if (WEFT__LIKELY(!h->host->paused))
            return h;
        h->held = true;
    }
}

static void step(struct weft_sim *sim, struct weft__sim_host *h)
{
    int64_t pipes = weft__pipe_ends;
    sim->steps++;
    sim->steps_at_once++;
    sim->turn_hash = (sim->turn_hash ^ (h->host->id + 1)) * UINT64_C(0x100000001b3);
    h->instant = sim->instant;
    if (!h->service)
        sim->stirred_ns = sim->world->now_ns;
    weft__sim_proc = h->proc;
    sim->in_turn = true;
    bool live = weft__loop_turn(h->loop, INT64_MAX);
    sim->in_turn = false;
    weft__sim_proc = NULL;
    h->pipe_ends += weft__pipe_ends - pipes;
    weft__sim_after_turn(h, live);
    weft__sim_commands(sim);
    if (!weft__list_empty(&sim->checks) && sim->code == 0 && !sim->closing)
        run_checks(sim);
}

/* All that happens at the next point in time. */
static void events(struct weft_sim *sim)
{
    struct weft__world *w = sim->world;
    int64_t before = w->now_ns;
    do
        (void)weft__world_step(w);
    while (sim->code == 0 && weft__world_next_ns(w) == w->now_ns);
    if (w->now_ns != before) {
        sim->steps_at_once = 0;
        sim->instant++;
    }
}

/* --- No way on -------------------------------------------------------------------------------- */

static bool waits(const struct weft__sim_host *h)
{
    return h->state == WEFT__HOST_UP && !h->service;
}

static uint64_t traffic(const struct weft__world_stats *s)
{
    return s->segments + s->datagrams + s->dropped + s->connections;
}

/*
 * A server looks after its connections by a timer, so where there is one something will always
 * happen. It is still a deadlock when for an hour nothing else has, and the others wait for no
 * time and no action.
 */
static bool quiet(struct weft_sim *sim)
{
    uint64_t n = traffic(&sim->world->stats);
    bool stirs = n != sim->traffic || !weft__list_empty(&sim->actions);
    if (!stirs && sim->world->now_ns - sim->stirred_ns < QUIET_NS)
        return false;
    sim->traffic = n;
    if (!stirs) {
        WEFT__LIST_EACH(&sim->hosts, node) {
            struct weft__sim_host *h = WEFT__CONTAINER_OF(node, struct weft__sim_host, link);
            stirs = stirs || (waits(h) && weft__event_is_set(&h->proc->wake));
        }
    }
    if (stirs)
        sim->stirred_ns = sim->world->now_ns;
    return !stirs;
}

static bool runs_on(const struct weft__sim_host *h)
{
    return h->state == WEFT__HOST_UP && h->instant == h->sim->instant;
}

/* What the others may be waiting for. */
static void print_services(struct weft_sim *sim, FILE *f, size_t printed)
{
    WEFT__LIST_EACH(&sim->hosts, node) {
        struct weft__sim_host *h = WEFT__CONTAINER_OF(node, struct weft__sim_host, link);
        if (h->service && h->state == WEFT__HOST_UP && printed++ < TREES_MAX)
            weft__sim_print_tree(h, f);
    }
}

/* Fails with the hosts that are meant, by name in the sentence, by tree in the body. */
static void no_way_on(struct weft_sim *sim, int code, const char *what,
                      bool (*meant)(const struct weft__sim_host *h))
{
    char names[240] = "";
    char *text = NULL;
    size_t len = 0, n = 0, at = 0;
    FILE *f = open_memstream(&text, &len);
    WEFT__LIST_EACH(&sim->hosts, node) {
        struct weft__sim_host *h = WEFT__CONTAINER_OF(node, struct weft__sim_host, link);
        if (!meant(h))
            continue;
        if (at + strlen(h->host->name) + 20 < sizeof names)
            at += (size_t)snprintf(names + at, sizeof names - at, "%s%s%s", n > 0 ? ", " : "",
                                   h->host->name, h->host->paused ? " (paused)" : "");
        if (f != NULL && n < TREES_MAX)
            weft__sim_print_tree(h, f);
        n++;
    }
    if (f != NULL) {
        if (n > TREES_MAX)
            fprintf(f, "... and %zu hosts more\n", n - TREES_MAX);
        if (code == WEFT_EDEADLOCK)
            print_services(sim, f, n);
        (void)fclose(f);
    }
    weft__sim_failed(sim, code, text, "%s: %zu host%s, %s", what, n, n == 1 ? "" : "s", names);
}

static void deadlock(struct weft_sim *sim)
{
    no_way_on(sim, WEFT_EDEADLOCK, "nothing can happen any more, and main waits", waits);
}

static void livelock(struct weft_sim *sim)
{
    char what[100];
    (void)snprintf(what, sizeof what, "%llu steps, and time stands still",
                   (unsigned long long)sim->steps_at_once);
    no_way_on(sim, WEFT_ELIVELOCK, what, runs_on);
}

/* --- The run ---------------------------------------------------------------------------------- */

static bool enough(const struct weft_sim *sim)
{
    if (sim->closing)
        return weft__list_empty(&sim->world->procs);
    return sim->needed == 0 && sim->mains > 0 && weft__list_empty(&sim->actions);
}

void weft__sim_go(struct weft_sim *sim, int64_t end_ns, uint64_t max_steps)
{
    struct weft__world *w = sim->world;
    uint64_t at_once = sim->max_at_once > 0 ? sim->max_at_once
                                            : STEPS_AT_ONCE + STEPS_AT_ONCE_A_HOST * sim->n_hosts;
    uint64_t last = sim->steps < UINT64_MAX - max_steps ? sim->steps + max_steps : UINT64_MAX;
    sim->steps_at_once = 0;
    sim->instant++;
    while (sim->code == 0 && sim->steps < last && !enough(sim)) {
        struct weft__sim_host *h = next_host(sim);
        if (h != NULL) {
            step(sim, h);
            if (WEFT__UNLIKELY(sim->steps_at_once > at_once) && sim->code == 0)
                livelock(sim);
            continue;
        }
        int64_t next = weft__world_next_ns(w);
        if (sim->needed > 0 && !sim->closing && (next == INT64_MAX || quiet(sim))) {
            deadlock(sim);
        } else if (next == INT64_MAX && (end_ns == INT64_MAX || sim->closing)) {
            break;
        } else if (next > end_ns) {
            weft__world_advance(w, end_ns);
            break;
        } else {
            events(sim);
        }
    }
}

int weft_sim_run(struct weft_sim *sim, int64_t span_ns)
{
    if (sim == NULL || span_ns < 0)
        return weft__fail(-EINVAL, sim == NULL ? "no simulation" : "a span below 0");
    int err = weft__sim_of(&sim);
    if (err == 0 && (weft__sim_running != NULL || weft_loop_current() != NULL))
        err = weft__fail(-EDEADLK, "weft_sim_run inside a simulation or a loop's task");
    if (err < 0)
        return err;
    int64_t now = sim->world->now_ns;
    weft__sim_running = sim;
    sim->started = true;
    weft__sim_start_new(sim);
    weft__sim_go(sim, span_ns < INT64_MAX - now ? now + span_ns : INT64_MAX, UINT64_MAX);
    weft__sim_running = NULL;
    weft__sim_tell(sim);
    if (sim->code < 0)
        weft__error_detail("%s", sim->sentence);
    return sim->code;
}
