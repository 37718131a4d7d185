/* SPDX-License-Identifier: MIT */
/* Tests of channels between plain threads and loops, with select and cancels. */
#include "channel_kit.h"

/* --- Threads ------------------------------------------------------------------------------- */

static void plain_thread(const char *driver)
{
    struct weft_channel *c = plain(sizeof(int), 1);
    struct weft_select s = {.channel = c, .recv = &(int){0}};
    int v = 1;
    (void)driver;
    CHECK_EQ(weft_channel_recv(c, &v, WEFT_NOW), -ETIMEDOUT);
    CHECK_EQ(weft_channel_recv(c, &v, WEFT_NEVER), -EDEADLK);
    CHECK_EQ(weft_select(&s, 1, WEFT_NEVER), -EDEADLK);
    CHECK_EQ(weft_select(&s, 1, WEFT_NOW), -ETIMEDOUT);
    CHECK_EQ(weft_channel_send(c, &v, WEFT_NEVER), 0);
    CHECK_EQ(weft_channel_send(c, &v, weft_after_s(100)), -EDEADLK);
    CHECK_EQ(weft_channel_recv(c, &v, WEFT_NEVER), 0);
    weft_channel_close(&c);

    c = mt(sizeof(int), 1);
    weft_deadline d = soon();
    CHECK_EQ(weft_channel_recv(c, &v, WEFT_NOW), -ETIMEDOUT);
    CHECK_EQ(weft_channel_recv(c, &v, d), -ETIMEDOUT);
    CHECK(weft_now_ns() >= d.ns);
    s.channel = c;
    CHECK_EQ(weft_select(&s, 1, soon()), -ETIMEDOUT);
    CHECK_EQ(weft_channel_send(c, &v, WEFT_NEVER), 0);
    CHECK_EQ(weft_channel_send(c, &v, soon()), -ETIMEDOUT);
    CHECK_EQ(weft_select(&s, 1, WEFT_NEVER), 0);
    weft_channel_close(&c);
}

/*
 * Many workers on threads and on two loops push numbers through one channel, some by select, some
 * with short deadlines, and every number must arrive once.
 */
#define SUM_SENDERS 3
#define SUM_EACH 2000

struct sum {
    struct weft_channel *c, *other, *stop;
    const char *driver;
    _Atomic uint64_t sum, got, senders;
    int ms; /* of the receivers' patience; 0: for ever */
};

static int sum_send(void *arg)
{
    struct sum *x = arg;
    for (uint64_t i = 1; i <= SUM_EACH;) {
        weft_deadline d = i % 3 == 0 ? weft_after_us(20) : WEFT_NEVER;
        struct weft_select s[2] = {{.channel = x->c, .send = &i},
                                   {.channel = x->stop, .recv = &(uint64_t){0}}};
        int err = i % 2 == 0 ? weft_select(s, 2, d) : weft_channel_send(x->c, &i, d);
        CHECK(err == 0 || err == -ETIMEDOUT);
        if (err == 0)
            i++;
    }
    if (atomic_fetch_sub(&x->senders, 1) == 1)
        weft_channel_shut(x->c);
    return 0;
}

static int sum_recv(void *arg)
{
    struct sum *x = arg;
    for (uint64_t k = 0;; k++) {
        uint64_t v = 0, w = 0;
        weft_deadline d = k % 3 == 0 ? weft_after_us(20) : WEFT_NEVER;
        struct weft_select s[2] = {{.channel = x->other, .recv = &w},
                                   {.channel = x->c, .recv = &v}};
        int err = k % 2 == 0 ? weft_select(s, 2, d) : weft_channel_recv(x->c, &v, d);
        if (err == 1)
            err = s[1].result;
        if (err == WEFT_ECLOSED)
            return 0;
        CHECK(err == -ETIMEDOUT || err == 0);
        if (err == 0) {
            CHECK(v > 0);
            atomic_fetch_add(&x->sum, v);
            atomic_fetch_add(&x->got, 1);
        }
    }
}

static int sum_tasks(void *arg)
{
    struct weft_group *g = kit_group();
    kit_go(g, "recv", sum_recv, arg);
    kit_go(g, "send", sum_send, arg);
    kit_go(g, "recv", sum_recv, arg);
    CHECK_EQ(weft_group_wait(g, WEFT_NEVER), 0);
    return weft_group_close(&g);
}

static int sum_loop(void *arg)
{
    struct sum *x = arg;
    return weft_run(&(struct weft_options){.driver = x->driver}, sum_tasks, x);
}

static void threads_and_loops(const char *driver)
{
    for (size_t capacity = 0; capacity < 3; capacity++) {
        struct sum x = {.driver = driver, .senders = SUM_SENDERS};
        struct weft_group *g = kit_group();
        x.c = mt(8, capacity);
        x.other = mt(8, 1);
        x.stop = mt(8, 1);
        kit_go(g, "loop", sum_loop, &x);
        kit_go(g, "loop", sum_loop, &x);
        kit_go(g, "recv", sum_recv, &x);
        kit_go(g, "send", sum_send, &x);
        CHECK_EQ(weft_group_wait(g, WEFT_NEVER), 0);
        CHECK_EQ(weft_group_close(&g), 0);
        CHECK_EQ(x.got, SUM_SENDERS * SUM_EACH);
        CHECK_EQ(x.sum, (uint64_t)SUM_SENDERS * SUM_EACH * (SUM_EACH + 1) / 2);
        weft_channel_close(&x.c);
        weft_channel_close(&x.other);
        weft_channel_close(&x.stop);
    }
}

/* Both sides select over the same two channels in opposite order: no deadlock, nothing lost. */
struct cross {
    struct weft_channel *a, *b;
    const char *driver;
    bool swap;
    uint64_t sent, received;
};

#define CROSS_ROUNDS 3000

static int cross_run(void *arg)
{
    struct cross *x = arg;
    uint64_t out = 1, in = 0;
    while (x->sent + x->received < CROSS_ROUNDS) {
        struct weft_select s[4] = {
            {.channel = x->swap ? x->b : x->a, .send = &out},
            {.channel = x->swap ? x->a : x->b, .recv = &in},
            {.channel = x->swap ? x->b : x->a, .recv = &in},
            {.channel = x->swap ? x->a : x->b, .send = &out},
        };
        int i = weft_select(s, 4, WEFT_NEVER);
        CHECK(i >= 0);
        CHECK_EQ(s[i].result, 0);
        if (i == 0 || i == 3)
            x->sent++;
        else
            x->received++;
    }
    return 0;
}

static int cross_loop(void *arg)
{
    struct cross *x = arg;
    return weft_run(&(struct weft_options){.driver = x->driver}, cross_run, x);
}

static void selects_meet_across_threads(const char *driver)
{
    for (int kind = 0; kind < 3; kind++) {
        struct weft_channel *a = mt(8, 0), *b = mt(8, 0);
        struct cross x = {.a = a, .b = b, .driver = driver};
        struct cross y = {.a = a, .b = b, .driver = driver, .swap = true};
        struct weft_group *g = kit_group();
        kit_go(g, "x", kind > 0 ? cross_loop : cross_run, &x);
        kit_go(g, "y", kind > 1 ? cross_loop : cross_run, &y);
        CHECK_EQ(weft_group_wait(g, WEFT_NEVER), 0);
        CHECK_EQ(weft_group_close(&g), 0);
        CHECK_EQ(x.sent, y.received);
        CHECK_EQ(y.sent, x.received);
        weft_channel_close(&a);
        weft_channel_close(&b);
    }
}

/* A cancel races with a sender on another thread: an item is received or stays with the sender. */
struct race {
    struct weft_channel *c;
    _Atomic uint64_t sent, received;
    _Atomic bool over;
};

static int race_send(void *arg)
{
    struct race *x = arg;
    while (!x->over) {
        if (weft_channel_send(x->c, &(int){1}, weft_after_us(50)) == 0)
            atomic_fetch_add(&x->sent, 1);
    }
    return 0;
}

static int race_recv(void *arg)
{
    struct race *x = arg;
    int err, v;
    while ((err = weft_channel_recv(x->c, &v, WEFT_NEVER)) == 0)
        atomic_fetch_add(&x->received, 1);
    return err;
}

static int race_cancels(void *arg)
{
    struct race *x = arg;
    for (int i = 0; i < 500; i++) {
        struct weft_group *g = kit_group();
        kit_go(g, "recv", race_recv, x);
        if (i % 4 == 0)
            CHECK_EQ(weft_sleep_until(weft_after_us(100)), 0);
        else
            CHECK_EQ(weft_yield(), 0);
        CHECK_EQ(weft_group_close(&g), 0);
    }
    return 0;
}

static void cancel_races_with_a_sender(const char *driver)
{
    struct race x = {.c = mt(sizeof(int), 0)};
    struct weft_group *g = kit_group();
    kit_go(g, "sender", race_send, &x);
    CHECK_EQ(weft_run(&(struct weft_options){.driver = driver}, race_cancels, &x), 0);
    x.over = true;
    CHECK_EQ(weft_group_wait(g, WEFT_NEVER), 0);
    CHECK_EQ(weft_group_close(&g), 0);
    CHECK_EQ(x.sent, x.received);
    weft_channel_close(&x.c);
}

static const struct kit_case cases[] = {
    ON_THREAD(plain_thread),
    ON_THREAD(threads_and_loops),
    ON_THREAD(selects_meet_across_threads),
    ON_THREAD(cancel_races_with_a_sender),
};

KIT_MAIN(cases)
