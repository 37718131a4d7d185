/* SPDX-License-Identifier: MIT */
/*
 * Trees of tasks that wait in every way there is, cancelled at random times: by their group, its
 * deadline, one by one, or by a crash of the host; some hold a shield for a farewell.
 *
 * Holds: a wait ends with what was waited for, its own deadline, or the cancel, and not before
 * there was reason to; deadlines are kept to a tick of the timers; once all shields have run out
 * everything has ended; nothing is left open (the simulation looks for leaks).
 */
#include "scenario.h"

#include <poll.h>

#define ROUNDS 4
#define TREE_MAX 40
#define DEPTH_MAX 3
#define SHIELD_MS 50
/* A timer fires up to 131 us late, and turns of other tasks take no time at all. */
#define TICK_NS weft_us(132)

static struct {
    struct weft_sim *sim;
    int tasks;             /* started in this round */
    int live;              /* of them */
    int64_t canceled_ns;   /* INT64_MAX: not yet */
    struct weft_mutex mutex;
    struct weft_semaphore none;
    struct weft_event never;
    struct weft_barrier barrier;
    struct weft_channel *empty, *rendezvous;
} here;

struct wait {
    weft_deadline d;
    int depth;
};

/* --- Ways to wait -------------------------------------------------------------------------- */

static int in_read(struct wait *w)
{
    struct weft_stream *s = NULL;
    char byte;
    int err = weft_dial(&s, "tcp://sink:80", NULL, w->d);
    if (err == 0) {
        ssize_t n = weft_read(s, &byte, 1, w->d);
        err = n < 0 ? (int)n : weft_sim_fail(NULL, "the sink has sent something");
    }
    weft_abort(&s);
    return err;
}

static int in_write(struct wait *w)
{
    static const char much[1 << 20];
    struct weft_stream *s = NULL;
    int err = weft_dial(&s, "tcp://sink:80", NULL, w->d);
    if (err == 0)
        err = weft_write(s, much, sizeof much, w->d);
    int again = err < 0 && s != NULL ? weft_write(s, much, 1, WEFT_NEVER) : err;
    if (err < 0 && s != NULL && again == 0)
        err = weft_sim_fail(NULL, "a stream takes more after a write was cut off");
    (void)weft_close(&s, WEFT_NOW);
    return err;
}

static int in_accept(struct wait *w)
{
    struct weft_listener *l = NULL;
    struct weft_stream *s = NULL;
    int err = weft_listen(&l, "tcp://*:0", NULL);
    if (err == 0)
        err = weft_accept(l, &s, w->d);
    weft_abort(&s);
    weft_listener_close(&l);
    return err;
}

static int in_dial(struct wait *w)
{
    struct weft_stream *s = NULL;
    int err = weft_dial(&s, "tcp://hole:80", NULL, w->d);
    weft_abort(&s);
    return err;
}

static int in_pipe(struct wait *w)
{
    struct weft_stream *a = NULL, *b = NULL;
    char byte;
    int err = one_in(here.sim, 2) ? weft_pipe_open(&a, &b, 0) : weft_socketpair(&a, &b);
    ssize_t n = err < 0 ? err : weft_read(a, &byte, 1, w->d);
    (void)weft_close(&a, WEFT_NOW);
    weft_abort(&b);
    return (int)n;
}

static int in_udp(struct wait *w)
{
    struct weft_udp *u = NULL;
    char byte;
    int err = weft_udp_open(&u, "udp://*:0", NULL);
    ssize_t n = err < 0               ? err
                : one_in(here.sim, 2) ? weft_udp_recv(u, &byte, 1, NULL, w->d)
                                      : weft_poll(weft_udp_fd(u), POLLIN, w->d);
    weft_udp_close(&u);
    return (int)n;
}

static int in_file(struct wait *w)
{
    struct weft_file *f = NULL;
    int err = weft_file_open(&f, "/tmp/log", WEFT_FILE_APPEND | WEFT_FILE_CREATE, 0, w->d);
    for (int i = 0; err == 0 && i < 200; i++) {
        err = weft_file_append(f, "line\n", 5, w->d);
        if (err == 0 && i % 8 == 0)
            err = weft_file_sync(f, w->d);
    }
    (void)weft_file_close(&f, w->d);
    return err;
}

static int in_channel(struct wait *w)
{
    int item = 1, took;
    struct weft_select arms[] = {{.channel = here.empty, .recv = &took},
                                 {.channel = here.rendezvous, .send = &item}};
    switch (pick(here.sim, 0, 2)) {
    case 0:
        return weft_channel_recv(here.empty, &took, w->d);
    case 1:
        return weft_channel_send(here.rendezvous, &item, w->d);
    default:
        return weft_select(arms, 2, w->d);
    }
}

static int in_lock(struct wait *w)
{
    int err;
    switch (pick(here.sim, 0, 3)) {
    case 0:
        err = weft_mutex_lock(&here.mutex, w->d);
        if (err == 0) {
            err = weft_sleep_until(w->d);
            weft_mutex_unlock(&here.mutex);
        }
        return err;
    case 1:
        return weft_semaphore_acquire(&here.none, w->d);
    case 2:
        return weft_event_wait(&here.never, w->d);
    default:
        return weft_barrier_wait(&here.barrier, w->d);
    }
}

static int in_signals(struct wait *w)
{
    struct weft_signals *s = NULL;
    int err = weft_signals_open(&s, (int[]){SIGUSR1, 0});
    if (err == 0)
        err = weft_signals_wait(s, w->d);
    weft_signals_close(&s);
    return err;
}

static int job(struct weft_job *j, void *arg)
{
    (void)j;
    ++*(int *)arg;
    return 0;
}

static int in_offload(struct wait *w)
{
    int count = 0, done = 0, err = 0;
    while (err == 0 && done < 300) {
        err = weft_offload(job, &count, w->d);
        done += err == 0;
    }
    if (count < done || count > done + 1)
        return weft_sim_fail(NULL, "%d jobs ran, %d are known to have", count, done);
    return err < 0 ? err : weft_sleep_until(w->d);
}

static int in_sleep(struct wait *w)
{
    return weft_sleep_until(w->d);
}

static int sleep_long(void *arg)
{
    return weft_sleep_until(*(weft_deadline *)arg);
}

static int in_join(struct wait *w)
{
    struct weft_task_options o = {.name = "child", .keep_errors = true};
    struct weft_task *t = NULL;
    struct weft_group *g = NULL;
    weft_deadline longer = WEFT_NEVER;
    int err = weft_group_open(&g);
    if (err == 0)
        err = weft_group_spawn(g, &o, sleep_long, &longer, &t);
    if (err == 0)
        err = weft_task_join(&t, NULL, w->d);
    weft_task_release(&t);
    (void)weft_group_close(&g);
    return err;
}

static int a_task(void *arg);

/* A tree below. */
static int in_group(struct wait *w)
{
    struct weft_task_options o = {.name = "twig", .copy = sizeof(int), .keep_errors = true};
    struct weft_group *g = NULL;
    int below = w->depth + 1;
    int err = weft_group_open(&g);
    for (int64_t n = pick(here.sim, 1, 4); err == 0 && n > 0 && here.tasks < TREE_MAX; n--) {
        err = weft_group_spawn(g, &o, a_task, &below, NULL);
        here.tasks += err == 0;
    }
    if (err == 0)
        err = weft_group_wait(g, w->d);
    int closed = weft_group_close(&g);
    return err < 0 ? err : closed;
}

static int (*const ways[])(struct wait *w) = {in_read,   in_write, in_accept,  in_dial, in_pipe,
                                              in_udp,    in_file,  in_channel, in_lock, in_signals,
                                              in_offload, in_sleep, in_join,   in_group, in_group};
#define WAYS (int64_t)(sizeof ways / sizeof ways[0])

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
    if (w->d.ns < INT64_MAX && now > w->d.ns + TICK_NS && now > here.canceled_ns + TICK_NS &&
        ways[way] != in_file && ways[way] != in_group)
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
    MUST(weft_sim_faults(sim, "forest",
                         &(struct weft_sim_faults){.short_io = 0.05,
                                                   .again = 0.05,
                                                   .no_buffers = 0.01,
                                                   .no_files = one_in(sim, 2) ? 0.02 : 0,
                                                   .no_memory = one_in(sim, 2) ? 0.02 : 0}));
    if (one_in(sim, 3))
        MUST(weft_sim_at(sim, weft_ms(pick(sim, 0, 800)), crash_and_restart, NULL));
    return play(sim, weft_s(600), NULL);
}
