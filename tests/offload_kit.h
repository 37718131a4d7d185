/* SPDX-License-Identifier: MIT */
/*
 * What the tests of the work pool share: jobs that say where they are and wait to be let go.
 */
#ifndef OFFLOAD_KIT_H
#define OFFLOAD_KIT_H

#include <poll.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include <weft/weft.h>

#include "rt_kit.h"

/* Runs fn in a loop of each driver that this machine has, or of the one that WEFT_DRIVER names. */
static inline void on_loops(struct weft_options o, weft_fn fn)
{
    static const char *const drivers[] = {"epoll", "uring"};
    const char *only = getenv("WEFT_DRIVER");
    for (size_t i = 0; i < WEFT__ARRAY_LEN(drivers); i++) {
        if (only != NULL && only[0] != '\0' && strcmp(only, drivers[i]) != 0)
            continue;
        o.driver = drivers[i];
        int result = weft_run(&o, fn, NULL);
        if (result != -ENOSYS)
            CHECK_EQ(result, 0);
    }
}

/* A job that says that it has begun, waits to be let go, and counts itself and its clean-up. */
struct gate {
    sem_t go;
    _Atomic int begun, ended, cleaned, saw_cancel;
    _Atomic pthread_t cleaner; /* the last one */
};

static inline void gate_init(struct gate *g)
{
    memset(g, 0, sizeof *g);
    sem_init(&g->go, 0, 0);
}

/* An eventfd that is written to after each count, so that the loop need not spin; of the process,
 * because a thread may write to it when the gate is gone. */
static int told = -1;

static inline void add_one(_Atomic int *count)
{
    uint64_t one = 1;
    atomic_fetch_add(count, 1);
    CHECK_EQ(write(told, &one, sizeof one), sizeof one);
}

/* Waits until a count of other threads is there. */
static inline void until(_Atomic int *count, int want)
{
    uint64_t n;
    while (atomic_load(count) < want) {
        CHECK(weft_poll(told, POLLIN, weft_after_s(60)) > 0);
        CHECK_EQ(read(told, &n, sizeof n), sizeof n);
    }
}

static inline void sem_take(sem_t *s)
{
    while (sem_wait(s) < 0)
        ;
}

/* What the copying calls carry: a pointer to the gate and something to write to. */
struct load {
    struct gate *gate;
    int value;
};

static inline int gated(struct weft_job *j, void *arg)
{
    struct load *l = arg;
    add_one(&l->gate->begun);
    sem_take(&l->gate->go);
    l->value += 100;
    if (weft_job_canceled_mt(j))
        add_one(&l->gate->saw_cancel);
    add_one(&l->gate->ended);
    return 7;
}

static inline void clean(void *arg)
{
    struct load *l = arg;
    atomic_store(&l->gate->cleaner, pthread_self());
    add_one(&l->gate->cleaned);
}

struct plain {
    pthread_t thread;
    const char *driver;
    int value;
};

static inline int note_thread(struct weft_job *j, void *arg)
{
    struct plain *p = arg;
    p->thread = pthread_self();
    p->driver = weft_driver_name();
    p->value++;
    return weft_job_canceled_mt(j) ? -1 : 42;
}

/* What a long job does between two looks. */
static inline void pause_a_little(void)
{
    (void)nanosleep(&(struct timespec){.tv_nsec = 50000}, NULL);
}

struct caller {
    struct load load;
    bool copy;
    void (*cleanup)(void *arg);
    weft_deadline deadline;
    int result;
    bool returned;
};

static inline int call(void *arg)
{
    struct caller *c = arg;
    c->result = c->copy
                    ? weft_offload_copy(gated, &c->load, sizeof c->load, c->cleanup, c->deadline)
                    : weft_offload(gated, &c->load, c->deadline);
    c->returned = true;
    return 0;
}

/* A pool of one thread, with a job on it. */
struct busy {
    struct gate gate;
    struct caller caller;
    struct weft_group *group;
};

static inline void busy_open(struct busy *b)
{
    gate_init(&b->gate);
    b->caller = (struct caller){.load = {&b->gate, 0}, .deadline = WEFT_NEVER};
    CHECK_EQ(weft_group_open(&b->group), 0);
    CHECK_EQ(weft_group_go(b->group, "busy", call, &b->caller), 0);
    until(&b->gate.begun, 1);
}

static inline void busy_close(struct busy *b)
{
    sem_post(&b->gate.go);
    CHECK_EQ(weft_group_wait(b->group, WEFT_NEVER), 0);
    CHECK_EQ(b->caller.result, 7);
    CHECK_EQ(weft_group_close(&b->group), 0);
}

static inline void cancel_and_wait(struct weft_group **g)
{
    weft_group_cancel(*g);
    CHECK_EQ(weft_group_close(g), 0);
}

static inline void start(struct weft_group **g, struct caller *c)
{
    CHECK_EQ(weft_group_open(g), 0);
    CHECK_EQ(weft_group_go(*g, "caller", call, c), 0);
    CHECK_EQ(weft_yield(), 0); /* it has submitted its job and waits */
}

static inline void kit_open(void)
{
    told = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    CHECK(told >= 0);
}

#endif
