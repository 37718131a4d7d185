/* SPDX-License-Identifier: MIT */
#ifndef WAITS_H
#define WAITS_H
/*
 * Every way that a task can wait, for scenario_cancel.c: each waits until its deadline, a cancel or
 * an error, and leaves nothing behind.
 *
 * Floor 6: public headers only.
 */
#include <poll.h>

#include "scenario.h"

#define TREE_MAX 40

static struct {
    struct weft_sim *sim;
    int tasks;           /* started in this round */
    int live;            /* of them */
    int64_t canceled_ns; /* INT64_MAX: not yet */
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

static int (*const ways[])(struct wait *w) = {
    in_read, in_write,   in_accept,  in_dial,  in_pipe, in_udp,   in_file, in_channel,
    in_lock, in_signals, in_offload, in_sleep, in_join, in_group, in_group};
#define WAYS (int64_t)(sizeof ways / sizeof ways[0])

#endif
