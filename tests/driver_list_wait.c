/* SPDX-License-Identifier: MIT */
/*
 * The driver tests about wait, wake, time and the descriptor that embeds a loop.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "driver_kit.h"

static void wait_times(struct kit *k)
{
    int64_t now = weft__clock_ns();
    assert_int_equal(weft__sys_wait(k->sys, 0), 0);
    assert_int_equal(weft__sys_wait(k->sys, now - 1), 0);
    assert_int_equal(weft__sys_wait(k->sys, 1), 0);
    assert_true(weft__clock_ns() - now < KIT_SECOND);
    for (int i = 0; i < 10; i++) {
        int64_t until = weft__clock_ns() + 300000 * i;
        assert_int_equal(weft__sys_wait(k->sys, until), 0);
        now = weft__clock_ns();
        assert_true(now >= until);
        assert_true(now - until < KIT_SECOND); /* not long after, on a busy machine */
    }
}

/* Events that end nothing do not end the wait either. */
static void wait_sleeps_on(struct kit *k)
{
    int fds[2];
    char buf[4];
    struct top r, s;
    kit_pair(KIT_PAIR, fds);
    top_recv(&r, k, fds[0], buf, sizeof(buf));
    top_start(&r);
    int64_t until = weft__clock_ns() + 1000000;
    assert_int_equal(weft__sys_wait(k->sys, until), 0);
    assert_true(weft__clock_ns() >= until);
    kit_fill(fds[0]);
    top_send(&s, k, fds[0], "x", 1);
    top_start(&s);
    kit_turn(k);
    top_cancel(&s);
    assert_int_equal(top_finish(&s), -ECANCELED);
    kit_drain(fds[1]); /* there is room to write now, which nobody waits for */
    until = weft__clock_ns() + 1000000;
    assert_int_equal(weft__sys_wait(k->sys, until), 0);
    assert_true(weft__clock_ns() >= until);
    kit_put(fds[1], "y", 1);
    assert_int_equal(top_finish(&r), 1);
    kit_close_fd(k, fds[0]);
    raw_close(fds[1]);
}

static void wake_before_wait(struct kit *k)
{
    for (int i = 0; i < 5; i++) {
        weft__sys_wake(k->sys);
        weft__sys_wake(k->sys);
        assert_int_equal(weft__sys_wait(k->sys, INT64_MAX), 0);
    }
    /* They are not counted: nothing is left over. */
    int64_t until = weft__clock_ns() + 2000000;
    assert_int_equal(weft__sys_wait(k->sys, until), 0);
    assert_true(weft__clock_ns() >= until);
}

struct waker {
    struct kit *k;
    _Atomic int turn;
    int rounds;
};

static void *wake_often(void *arg)
{
    struct waker *w = arg;
    for (int i = 1; i <= w->rounds; i++) {
        atomic_store(&w->turn, i);
        weft__sys_wake(w->k->sys);
        /* Each is answered before the next, so a lost one hangs. */
        while (atomic_load(&w->turn) == i)
            sched_yield();
    }
    return NULL;
}

static void wake_from_thread(struct kit *k)
{
    struct waker w = {.k = k, .rounds = 2000};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, wake_often, &w), 0);
    for (int i = 1; i <= w.rounds; i++) {
        while (atomic_load(&w.turn) != i)
            assert_int_equal(weft__sys_wait(k->sys, INT64_MAX), 0);
        atomic_store(&w.turn, -i);
    }
    pthread_join(thread, NULL);
}

static void *wake_wildly(void *arg)
{
    struct waker *w = arg;
    for (int i = 1; i <= w->rounds; i++) {
        atomic_fetch_add(&w->turn, 1);
        weft__sys_wake(w->k->sys);
    }
    return NULL;
}

/* Many wakers: what was published before a wake is seen after the wait that it ended. */
static void wake_from_threads(struct kit *k)
{
    enum { THREADS = 4 };
    struct waker w = {.k = k, .rounds = 2000};
    pthread_t thread[THREADS];
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, wake_wildly, &w), 0);
    while (atomic_load(&w.turn) < THREADS * w.rounds)
        assert_int_equal(weft__sys_wait(k->sys, INT64_MAX), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(thread[i], NULL);
    kit_turn(k);
}

static struct kit *signal_kit;
static _Atomic bool signal_came;
static _Atomic int signals_seen;

static void on_signal(int number)
{
    (void)number;
    int saved = errno;
    errno = 4711;
    atomic_store(&signal_came, true);
    weft__sys_wake(signal_kit->sys);
    if (errno != 4711)
        abort();
    errno = saved;
}

static void *signal_main(void *arg)
{
    for (int i = 0; i < 20; i++) {
        pthread_kill(*(pthread_t *)arg, SIGUSR1);
        while (atomic_load(&signals_seen) <= i)
            sched_yield();
    }
    return NULL;
}

static void wake_from_signal(struct kit *k)
{
    struct sigaction sa = {.sa_handler = on_signal}, old;
    pthread_t self = pthread_self(), thread;
#ifdef __SANITIZE_THREAD__
    if (k->drv == &weft__driver_uring)
        return; /* gcc's TSan runs handlers in the calls that it knows; io_uring_enter is none */
#endif
    signal_kit = k;
    atomic_store(&signal_came, false);
    atomic_store(&signals_seen, 0);
    assert_int_equal(sigaction(SIGUSR1, &sa, &old), 0);
    assert_int_equal(pthread_create(&thread, NULL, signal_main, &self), 0);
    for (int i = 0; i < 20; i++) {
        while (!atomic_load(&signal_came))
            assert_int_equal(weft__sys_wait(k->sys, INT64_MAX), 0);
        atomic_store(&signal_came, false);
        atomic_store(&signals_seen, i + 1);
    }
    pthread_join(thread, NULL);
    kit_turn(k);
    sigaction(SIGUSR1, &old, NULL);
}

static void ignore_signal(int number)
{
    (void)number;
    atomic_store(&signal_came, true);
}

static void *pester(void *arg)
{
    for (int i = 0; i < 100; i++) {
        pthread_kill(*(pthread_t *)arg, SIGUSR1);
        sched_yield();
    }
    return NULL;
}

/* A signal without a wake ends neither the wait nor an operation. */
static void signals_are_retried(struct kit *k)
{
    struct sigaction sa = {.sa_handler = ignore_signal}, old;
    pthread_t self = pthread_self(), thread;
    assert_int_equal(sigaction(SIGUSR1, &sa, &old), 0);
    assert_int_equal(pthread_create(&thread, NULL, pester, &self), 0);
    int64_t until = weft__clock_ns() + 20000000;
    assert_int_equal(weft__sys_wait(k->sys, until), 0);
    assert_true(weft__clock_ns() >= until);
    pthread_join(thread, NULL);

    int fds[2];
    char byte;
    struct top t;
    kit_pair(KIT_PAIR, fds);
    assert_int_equal(pthread_create(&thread, NULL, pester, &self), 0);
    top_recv(&t, k, fds[0], &byte, 1);
    top_start(&t);
    if (!k->block)
        kit_turn(k);
    pthread_join(thread, NULL);
    kit_put(fds[1], "x", 1);
    assert_int_equal(top_finish(&t), 1);
    kit_close_fd(k, fds[0]);
    raw_close(fds[1]);
    sigaction(SIGUSR1, &old, NULL);
}

static void nops(struct kit *k)
{
    struct top t[10];
    for (int i = 0; i < 10; i++) {
        top_init(&t[i], k, WEFT__OP_NOP, -1);
        top_start(&t[i]);
        assert_false(t[i].ended);
    }
    assert_int_equal(k->sys->in_flight, 10);
    uint64_t before = k->sys->completions;
    int ends = 0;
    while (ends < 10)
        ends += weft__sys_wait(k->sys, INT64_MAX);
    assert_int_equal(ends, 10);
    assert_int_equal(k->sys->completions - before, 10);
    for (int i = 0; i < 10; i++)
        assert_int_equal(top_finish(&t[i]), 0);
}

static void nop_on_block(struct kit *k)
{
    struct top t;
    top_init(&t, k, WEFT__OP_NOP, -1);
    assert_int_equal(top_run(&t), 0);
}

static bool polls_readable(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return poll(&p, 1, 0) == 1;
}

/* Waits in poll(2) on the loop's descriptor only, as a foreign event loop would. */
static void finish_by_fd(struct kit *k, int fd, struct top *t)
{
    for (int i = 0; !t->ended; i++) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        assert_int_equal(poll(&p, 1, 10000), 1);
        kit_turn(k);
        assert_true(i < 10000);
    }
}

static void embedded(struct kit *k)
{
    int fd = k->drv->fd(k->sys);
    if (k->block || k->sim) {
        assert_int_equal(fd, -1);
        return;
    }
    assert_true(fd >= 0);
    kit_turn(k);
    assert_false(polls_readable(fd));

    struct top t;
    char byte;
    int fds[2];
    for (int i = 0; i < 3; i++) {
        top_init(&t, k, WEFT__OP_NOP, -1);
        top_start(&t);
        /* What is queued is sent by a wait; a loop that is embedded makes one before it polls. */
        kit_turn(k);
        finish_by_fd(k, fd, &t);
    }
    kit_pair(KIT_PAIR, fds);
    for (int i = 0; i < 5; i++) {
        top_recv(&t, k, fds[0], &byte, 1);
        top_start(&t);
        kit_turn(k);
        assert_false(t.ended);
        assert_false(polls_readable(fd));
        kit_put(fds[1], "x", 1);
        finish_by_fd(k, fd, &t);
        assert_int_equal(t.op.res, 1);
    }
    top_recv(&t, k, fds[0], &byte, 1);
    top_start(&t);
    kit_turn(k);
    top_cancel(&t);
    kit_turn(k);
    finish_by_fd(k, fd, &t);
    assert_int_equal(t.op.res, -ECANCELED);
    weft__sys_wake(k->sys);
    assert_true(polls_readable(fd));
    kit_turn(k);
    kit_turn(k);
    assert_false(polls_readable(fd));
    kit_close_fd(k, fds[0]);
    raw_close(fds[1]);
}

/*
 * The source is an eventfd. Not for io_uring: the kernel tells of what an eventfd brings through
 * another eventfd only once (seen on Linux 6.18; its signal from within a signal is put off, and
 * the mark that it was put off stays).
 */
static void embedded_eventfd(struct kit *k)
{
    if (k->drv == &weft__driver_uring)
        return;
    int fd = k->drv->fd(k->sys), source = eventfd(0, EFD_CLOEXEC);
    for (int i = 0; i < 5; i++) {
        struct top t;
        uint64_t count;
        top_read(&t, k, source, &count, sizeof(count));
        top_start(&t);
        kit_turn(k);
        assert_false(polls_readable(fd));
        kit_put(source, &(uint64_t){1}, sizeof(uint64_t));
        finish_by_fd(k, fd, &t);
        assert_int_equal(t.op.res, sizeof(count));
    }
    kit_close_fd(k, source);
}

static int order_seen[40], order_count;

static void note_order(struct top *t)
{
    KIT_CHECK(order_count < 40);
    order_seen[order_count++] = (int)(intptr_t)t->arg;
}

/* What is ended by wait itself comes in the order of submission; small SENDs go in theirs. */
static void order(struct kit *k)
{
    enum { COUNT = 40 };
    struct top t[COUNT];
    order_count = 0;
    for (intptr_t i = 0; i < COUNT; i++) {
        top_init(&t[i], k, WEFT__OP_NOP, -1);
        t[i].then = note_order;
        t[i].arg = (void *)i;
        top_start(&t[i]);
    }
    for (int i = 0; i < COUNT; i++)
        assert_int_equal(top_finish(&t[i]), 0);
    for (int i = 0; i < COUNT; i++)
        assert_int_equal(order_seen[i], i);
    for (int f = 0; f < KIT_FAMILIES; f++) {
        int fds[2];
        char bytes[COUNT], buf[COUNT];
        kit_pair((enum kit_family)f, fds);
        for (int i = 0; i < COUNT; i++) {
            bytes[i] = (char)i;
            top_send(&t[i], k, fds[0], &bytes[i], 1);
            top_start(&t[i]);
        }
        for (int i = 0; i < COUNT; i++)
            assert_int_equal(top_finish(&t[i]), 1);
        kit_get(fds[1], buf, COUNT);
        assert_memory_equal(buf, bytes, COUNT);
        kit_close_fd(k, fds[0]);
        raw_close(fds[1]);
    }
}

/*
 * Several RECVs of one stream, which nobody above does: each byte goes to one of them. Only epoll
 * and the simulation promise that they are served in the order in which they asked; the kernel's
 * io_uring does not.
 */
static void several_readers(struct kit *k)
{
    enum { COUNT = 20 };
    for (int f = 0; f < KIT_FAMILIES; f++) {
        int fds[2];
        char buf[COUNT] = "";
        bool seen[COUNT] = {false};
        struct top t[COUNT];
        kit_pair((enum kit_family)f, fds);
        for (int i = 0; i < COUNT; i++) {
            top_recv(&t[i], k, fds[0], &buf[i], 1);
            top_start(&t[i]);
            if (i % 6 == 5)
                kit_turn(k);
        }
        kit_turn(k);
        for (int i = 0; i < COUNT; i += 4) {
            char bytes[4] = {(char)i, (char)(i + 1), (char)(i + 2), (char)(i + 3)};
            kit_put(fds[1], bytes, 4);
            if (i % 8)
                kit_turn(k);
        }
        for (int i = 0; i < COUNT; i++) {
            assert_int_equal(top_finish(&t[i]), 1);
            assert_in_range(buf[i], 0, COUNT - 1);
            assert_false(seen[(int)buf[i]]);
            seen[(int)buf[i]] = true;
            if (k->drv == &weft__driver_epoll || k->sim)
                assert_int_equal(buf[i], i);
        }
        kit_close_fd(k, fds[0]);
        raw_close(fds[1]);
    }
}

const struct driver_test driver_tests_wait[] = {
    {"wait times", wait_times, ON_ALL},
    {"wait sleeps on", wait_sleeps_on, ON_LOOP},
    {"wake before wait", wake_before_wait, ON_ALL},
    /* A simulation is one thread, and no real signal is for it. */
    {"wake from a thread", wake_from_thread, ON_ALL | ON_REAL},
    {"wake from threads", wake_from_threads, ON_ALL | ON_REAL},
    {"wake from a signal handler", wake_from_signal, ON_ALL | ON_REAL},
    {"signals are retried", signals_are_retried, ON_ALL | ON_REAL},
    {"nops", nops, ON_LOOP},
    {"nop on block", nop_on_block, ON_BLOCK},
    {"embedded", embedded, ON_ALL},
    {"embedded, eventfd", embedded_eventfd, ON_LOOP | ON_REAL}, /* no such descriptor */
    {"order", order, ON_LOOP},
    {"several readers", several_readers, ON_LOOP},
    {NULL, NULL, 0},
};
