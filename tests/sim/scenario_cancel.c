/* SPDX-License-Identifier: MIT */
/*
 * Trees of tasks that wait in every way there is, cancelled at random times: by their group, its
 * deadline, one by one, or by a crash of the host; some hold a shield for a farewell.
 *
 * Holds: a wait ends with what was waited for, its own deadline, or the cancel, and not before
 * there was reason to; deadlines are kept to a tick of the timers; once all shields have run out
 * everything has ended; nothing is left open (the simulation looks for leaks).
 */
#include "waits.h"

#define ROUNDS 4
#define DEPTH_MAX 3
#define SHIELD_MS 50
/* A timer fires up to 131 us late, and turns of other tasks take no time at all. */
#define TICK_NS weft_us(132)

/* --- A task -------------------------------------------------------------------------------- */

static void farewell(int64_t ms)
{
    int64_t begin = weft_now_ns();
    weft_shield(SHIELD_MS);
    int err = weft_sleep_ms(ms);
    weft_unshield();
    int64_t took = weft_now_ns() - begin;
    if (took > weft_ms(SHIELD_MS) + TICK_NS)
        (void)weft_sim_fail(NULL, "a shield of %d ms has held %lld us", SHIELD_MS,
                            (long long)took / 1000);
    if (err == 0 && took < weft_ms(ms))
        (void)weft_sim_fail(NULL, "a shielded sleep was cut short");
}

static int look_at(int64_t way, struct wait *w, int err)
{
    int64_t now = weft_now_ns();
    if (err == -ETIMEDOUT && now < w->d.ns)
        return weft_sim_fail(NULL, "way %lld: time-out before the deadline", (long long)way);
    if (err == -ECANCELED && weft_canceled() == 0)
        return weft_sim_fail(NULL, "way %lld: cancelled, and nobody has", (long long)way);
    if (w->d.ns < INT64_MAX && now > w->d.ns + TICK_NS && ways[way] != in_file &&
        ways[way] != in_group)
        return weft_sim_fail(NULL, "way %lld: %lld us after its deadline", (long long)way,
                             (long long)(now - w->d.ns) / 1000);
    return 0;
}

static int a_task(void *arg)
{
    struct wait w = {.depth = *(int *)arg, .d = WEFT_NEVER};
    int64_t way = pick(here.sim, 0, w.depth < DEPTH_MAX ? WAYS - 1 : WAYS - 3);
    if (one_in(here.sim, 3))
        w.d = weft_after_us(pick(here.sim, 0, 400000));
    here.live++;
    int err = ways[way](&w);
    if (err != WEFT_ECHECK)
        err = look_at(way, &w, err);
    if (weft_canceled() < 0 && one_in(here.sim, 4))
        farewell(pick(here.sim, 1, 2 * SHIELD_MS));
    if (weft_canceled() < 0 && weft_sleep_until(WEFT_NEVER) != -ECANCELED)
        err = weft_sim_fail(NULL, "a cancel was forgotten");
    here.live--;
    return err;
}

/* --- Rounds -------------------------------------------------------------------------------- */

static int end_tree(struct weft_group *g, struct weft_task **first)
{
    int err = weft_sleep_ms(pick(here.sim, 0, 300));
    here.canceled_ns = weft_now_ns();
    switch (pick(here.sim, 0, 3)) {
    case 0:
        weft_group_cancel(g);
        break;
    case 1:
        weft_task_cancel(*first);
        weft_group_cancel(g);
        break;
    case 2:
        here.canceled_ns += weft_ms(20);
        err = weft_group_deadline(g, (weft_deadline){here.canceled_ns});
        if (err == 0 && (err = weft_group_wait(g, WEFT_NEVER)) == -ETIMEDOUT)
            err = 0;
        break;
    default: /* the close does it */
        break;
    }
    return err;
}

static int round_of_waits(void)
{
    struct weft_task_options o = {.name = "tree", .keep_errors = true};
    struct weft_task *first = NULL;
    struct weft_group *g = NULL;
    int depth = 0;
    here.tasks = 0;
    here.canceled_ns = INT64_MAX;
    int err = weft_group_open(&g);
    for (int64_t n = pick(here.sim, 1, 6); err == 0 && n > 0; n--) {
        o.copy = sizeof depth;
        err = weft_group_spawn(g, &o, a_task, &depth, first == NULL ? &first : NULL);
        here.tasks += err == 0;
    }
    if (err == 0)
        err = end_tree(g, &first);
    weft_task_release(&first);
    int64_t begin = here.canceled_ns;
    int closed = weft_group_close(&g);
    /* A shield for each level of the tree, one after the other, and the disk takes its time. */
    int64_t bound = (DEPTH_MAX + 2) * weft_ms(SHIELD_MS + 20);
    if (here.live != 0)
        return weft_sim_fail(NULL, "%d tasks live on in a closed group", here.live);
    if (err == 0 && weft_now_ns() - begin > bound)
        return weft_sim_fail(NULL, "%lld us from the cancel to the end",
                             (long long)(weft_now_ns() - begin) / 1000);
    return err == WEFT_ECHECK ? err : closed == WEFT_ECHECK ? closed : 0;
}

static int forest(void *arg)
{
    int err = weft_channel_open(&here.empty, sizeof(int), 1);
    (void)arg;
    here.live = 0; /* a crash may have left a number */
    weft_semaphore_init(&here.none, 0);
    weft_barrier_init(&here.barrier, 1000);
    here.mutex = (struct weft_mutex)WEFT_MUTEX_INIT;
    here.never = (struct weft_event)WEFT_EVENT_INIT;
    if (err == 0)
        err = weft_channel_open(&here.rendezvous, sizeof(int), 0);
    for (int i = 0; err == 0 && i < ROUNDS; i++)
        err = round_of_waits();
    weft_channel_close(&here.empty);
    weft_channel_close(&here.rendezvous);
    return err == WEFT_ECHECK ? err : 0; /* a crash, or no memory */
}

/* --- The scene ----------------------------------------------------------------------------- */

static int swallow(struct weft_stream *s, void *arg)
{
    (void)s;
    (void)arg;
    return weft_sleep_until(WEFT_NEVER);
}

static int sink(void *arg)
{
    struct weft_group *g = NULL;
    (void)arg;
    int err = weft_group_open(&g);
    if (err == 0)
        err = weft_serve(g, "tcp://*:80", NULL, swallow, NULL);
    if (err == 0)
        err = weft_group_wait(g, WEFT_NEVER);
    int closed = weft_group_close(&g);
    return err < 0 ? err : closed;
}

static void crash_and_restart(struct weft_sim *sim, void *arg)
{
    (void)arg;
    MUST(weft_sim_crash(sim, "forest"));
    MUST(weft_sim_restart(sim, "forest"));
}

int main(void)
{
    struct weft_sim *sim = scene();
    here.sim = sim;
    service(sim, "sink", sink, NULL);
    service(sim, "hole", sink, NULL);
    MUST(weft_sim_host(sim, "forest", forest, NULL));
    rough_links(sim);
    MUST(weft_sim_partition(sim, "hole", "*"));
    MUST(weft_sim_disk(sim, "*", &(struct weft_sim_disk){.latency_us = pick(sim, 10, 500)}));
    struct weft_sim_faults f = {.short_io = 0.05, .again = 0.05, .no_buffers = 0.01};
    f.no_files = one_in(sim, 2) ? 0.02 : 0;
    f.no_memory = one_in(sim, 2) ? 0.02 : 0;
    MUST(weft_sim_faults(sim, "forest", &f));
    if (one_in(sim, 3))
        MUST(weft_sim_at(sim, weft_ms(pick(sim, 0, 800)), crash_and_restart, NULL));
    return play(sim, weft_s(600), NULL);
}
