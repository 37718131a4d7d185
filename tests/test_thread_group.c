/* SPDX-License-Identifier: MIT */
/* Tests of groups of plain threads: what is true of tasks is true of them. */
#include <unistd.h>

#include "rt_kit.h"

static int return_value(void *arg)
{
    return *(int *)arg;
}

static _Atomic int canceled_count;

static int counts_its_cancel(void *arg)
{
    (void)arg;
    int err = weft_sleep_until(WEFT_NEVER);
    CHECK_EQ(err, -ECANCELED);
    CHECK_EQ(weft_canceled(), -ECANCELED);
    CHECK_EQ(weft_sleep_ms(1000000), -ECANCELED); /* level-triggered */
    CHECK_EQ(weft_yield(), -ECANCELED);
    atomic_fetch_add(&canceled_count, 1);
    return err;
}

static int fails(void *arg)
{
    return weft__fail(*(int *)arg, "cause %d", *(int *)arg);
}

/* --- Groups -------------------------------------------------------------------------------- */

static int is_another_thread(void *arg)
{
    CHECK(!pthread_equal(*(pthread_t *)arg, pthread_self()));
    CHECK(weft_loop_current() == NULL);
    CHECK(strcmp(weft_driver_name(), "block") == 0);
    CHECK(strcmp(weft_task_name(), "worker") == 0);
    return 0;
}

static void starts_threads(const char *driver)
{
    struct weft_group *g = kit_group();
    pthread_t self = pthread_self();
    (void)driver;
    CHECK_EQ(weft_group_wait(g, WEFT_NEVER), 0);
    CHECK_EQ(weft_group_count(g), 0);
    for (int i = 0; i < 20; i++)
        kit_go(g, "worker", is_another_thread, &self);
    CHECK_EQ(weft_group_wait(g, WEFT_NEVER), 0);
    CHECK_EQ(weft_group_count(g), 0);
    kit_go(g, "worker", is_another_thread, &self);
    CHECK_EQ(weft_group_wait(g, weft_after_s(1000)), 0);
    CHECK_EQ(weft_group_close(&g), 0);
    CHECK(g == NULL);
    CHECK_EQ(weft_group_go(NULL, "x", kit_nothing, NULL), -EINVAL);
}

static void first_error_wins(const char *driver)
{
    struct weft_group *g = kit_group();
    int eio = -EIO;
    (void)driver;
    canceled_count = 0;
    for (int i = 0; i < 5; i++)
        kit_go(g, "waits", counts_its_cancel, NULL);
    kit_go(g, "fails", fails, &eio);
    CHECK_EQ(weft_group_wait(g, WEFT_NEVER), -EIO);
    CHECK(strcmp(weft_error_detail(), "cause -5") == 0);
    CHECK_EQ(canceled_count, 5);
    CHECK_EQ(weft_group_go(g, "x", kit_nothing, NULL), -ECANCELED);
    CHECK_EQ(weft_group_close(&g), -EIO);
}

static void waiting_ends_in_time(const char *driver)
{
    struct weft_group *g = kit_group();
    weft_deadline d;
    (void)driver;
    canceled_count = 0;
    kit_go(g, "waits", counts_its_cancel, NULL);
    CHECK_EQ(weft_group_wait(g, WEFT_NOW), -ETIMEDOUT);
    d = weft_after_ms(3);
    CHECK_EQ(weft_group_wait(g, d), -ETIMEDOUT);
    CHECK(weft_now_ns() >= d.ns);
    CHECK_EQ(weft_group_count(g), 1);
    CHECK_EQ(canceled_count, 0);
    d = weft_after_ms(3);
    CHECK_EQ(weft_group_deadline(g, d), 0);
    CHECK_EQ(weft_group_wait(g, WEFT_NEVER), -ETIMEDOUT);
    CHECK(weft_now_ns() >= d.ns);
    CHECK_EQ(canceled_count, 1);
    CHECK_EQ(weft_group_count(g), 0);
    CHECK_EQ(weft_group_go(g, "x", kit_nothing, NULL), -ECANCELED);
    CHECK_EQ(weft_group_close(&g), 0);
}

static void cancel_and_close(const char *driver)
{
    struct weft_group *g = kit_group();
    (void)driver;
    canceled_count = 0;
    for (int i = 0; i < 4; i++)
        kit_go(g, "waits", counts_its_cancel, NULL);
    weft_group_cancel(g);
    CHECK_EQ(weft_group_wait(g, WEFT_NEVER), 0);
    CHECK_EQ(canceled_count, 4);
    CHECK_EQ(weft_group_close(&g), 0);
    g = kit_group();
    kit_go(g, "waits", counts_its_cancel, NULL);
    CHECK_EQ(weft_group_close(&g), 0); /* cancels and joins by itself */
    CHECK_EQ(canceled_count, 5);
}

/* --- Handles ------------------------------------------------------------------------------- */

struct copied {
    int number;
    char text[1000];
};

static int sees_copy(void *arg)
{
    struct copied *c = arg;
    CHECK_EQ((uintptr_t)arg % 16, 0);
    CHECK(strcmp(c->text, "original") == 0);
    return c->number;
}

static void handles(const char *driver)
{
    struct weft_group *g = kit_group();
    struct copied c = {.number = 12, .text = "original"};
    struct weft_task_options o = {.name = "copy", .copy = sizeof c};
    struct weft_task *t;
    int result = 0, eio = -EIO;
    (void)driver;
    CHECK_EQ(weft_group_spawn(g, &o, sees_copy, &c, &t), 0);
    strcpy(c.text, "changed");
    CHECK_EQ(weft_task_join(&t, &result, WEFT_NEVER), 0);
    CHECK(t == NULL && result == 12);

    t = kit_spawn(g, "waits", counts_its_cancel, NULL);
    result = 0;
    CHECK_EQ(weft_task_join(&t, &result, WEFT_NOW), -ETIMEDOUT);
    CHECK_EQ(weft_task_join(&t, &result, weft_after_ms(2)), -ETIMEDOUT);
    CHECK(t != NULL && result == 0);
    weft_task_cancel(t);
    CHECK_EQ(weft_task_join(&t, &result, WEFT_NEVER), 0);
    CHECK_EQ(result, -ECANCELED);

    o = (struct weft_task_options){.name = "fails", .keep_errors = true};
    CHECK_EQ(weft_group_spawn(g, &o, fails, &eio, &t), 0);
    CHECK_EQ(weft_task_join(&t, &result, WEFT_NEVER), 0);
    CHECK_EQ(result, -EIO);
    CHECK(strcmp(weft_error_detail(), "cause -5") == 0);

    t = kit_spawn(g, "value", return_value, &(int){3});
    CHECK_EQ(weft_group_wait(g, WEFT_NEVER), 0);
    weft_task_cancel(t); /* ended */
    weft_task_release(&t);
    t = kit_spawn(g, "waits", counts_its_cancel, NULL);
    weft_task_release(&t); /* alive */
    CHECK_EQ(weft_group_close(&g), 0);
}

struct join_self {
    struct weft_task *t;
    _Atomic bool ready;
    int result;
};

static int joins_itself(void *arg)
{
    struct join_self *j = arg;
    while (!j->ready)
        CHECK_EQ(weft_yield(), 0);
    j->result = weft_task_join(&j->t, NULL, WEFT_NEVER);
    return 0;
}

static void nobody_joins_itself(const char *driver)
{
    struct weft_group *g = kit_group();
    struct join_self j = {.result = 1};
    (void)driver;
    j.t = kit_spawn(g, "self", joins_itself, &j);
    j.ready = true;
    CHECK_EQ(weft_group_wait(g, WEFT_NEVER), 0);
    CHECK_EQ(j.result, -EDEADLK);
    CHECK_EQ(weft_task_join(&j.t, NULL, WEFT_NOW), 0);
    CHECK_EQ(weft_group_close(&g), 0);
}

/* --- What a cancel wakes ------------------------------------------------------------------- */

struct blocked {
    struct weft_channel *empty, *full;
    _Atomic int started, refused;
    int fd; /* never readable */
};

static int in_recv(void *arg)
{
    struct blocked *b = arg;
    int v;
    b->started++;
    CHECK_EQ(weft_channel_recv(b->empty, &v, WEFT_NEVER), -ECANCELED);
    CHECK_EQ(weft_channel_recv(b->empty, &v, weft_after_s(1000)), -ECANCELED);
    b->refused++;
    return 0;
}

static int in_send(void *arg)
{
    struct blocked *b = arg;
    int v = 0;
    b->started++;
    CHECK_EQ(weft_channel_send(b->full, &v, weft_after_s(1000)), -ECANCELED);
    b->refused++;
    return 0;
}

static int in_select(void *arg)
{
    struct blocked *b = arg;
    int v = 0;
    struct weft_select s[2] = {{.channel = b->empty, .recv = &v}, {.channel = b->full, .send = &v}};
    b->started++;
    CHECK_EQ(weft_select(s, 2, WEFT_NEVER), -ECANCELED);
    b->refused++;
    return 0;
}

static int in_group(void *arg)
{
    struct blocked *b = arg;
    struct weft_group *g = kit_group(); /* threads below threads */
    kit_go(g, "below", in_recv, b);
    kit_go(g, "below", counts_its_cancel, NULL);
    b->started++;
    int err = weft_group_wait(g, WEFT_NEVER);
    CHECK(err == -ECANCELED || err == 0); /* those below may end first */
    CHECK_EQ(weft_group_go(g, "x", kit_nothing, NULL), -ECANCELED);
    CHECK_EQ(weft_group_close(&g), 0);
    b->refused++;
    return 0;
}

static int in_join(void *arg)
{
    struct blocked *b = arg;
    struct weft_group *g = kit_group();
    struct weft_task *t = kit_spawn(g, "below", counts_its_cancel, NULL);
    b->started++;
    int err = weft_task_join(&t, NULL, WEFT_NEVER);
    CHECK(err == -ECANCELED || err == 0); /* the one below may end first */
    weft_task_release(&t);
    CHECK_EQ(weft_group_close(&g), 0);
    b->refused++;
    return 0;
}

static int in_operation(void *arg)
{
    struct blocked *b = arg;
    int fds[2];
    CHECK_EQ(pipe(fds), 0);
    struct weft__io io = {.op = {.kind = WEFT__OP_POLL, .fd = fds[0], .u.poll.events = POLLIN}};
    CHECK_EQ(weft__await(&io, "poll", weft_after_us(100)), -ETIMEDOUT);
    b->started++;
    io = (struct weft__io){.op = {.kind = WEFT__OP_POLL, .fd = fds[0], .u.poll.events = POLLIN}};
    CHECK_EQ(weft__await(&io, "poll", WEFT_NEVER), -ECANCELED);
    CHECK_EQ(close(fds[0]), 0);
    CHECK_EQ(close(fds[1]), 0);
    b->refused++;
    return 0;
}

static void cancel_wakes_blocked_threads(const char *driver)
{
    static const weft_fn bodies[] = {in_recv, in_send, in_select, in_group, in_join, in_operation};
    struct blocked b = {.refused = 0};
    (void)driver;
    CHECK_EQ(weft_channel_open_mt(&b.empty, sizeof(int), 1), 0);
    CHECK_EQ(weft_channel_open_mt(&b.full, sizeof(int), 0), 0);
    for (int wait_ms = 0; wait_ms < 9; wait_ms += 3) {
        struct weft_group *g = kit_group();
        canceled_count = 0;
        b.started = b.refused = 0;
        for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++)
            kit_go(g, "blocked", bodies[i], &b);
        while (b.started < 7) /* and the one below in_group */
            CHECK_EQ(weft_yield(), 0);
        CHECK_EQ(weft_sleep_ms(wait_ms), 0); /* 0: many are just about to wait */
        CHECK_EQ(weft_group_close(&g), 0);
        CHECK_EQ(b.refused, 7);
        CHECK_EQ(canceled_count, 2);
    }
    weft_channel_close(&b.empty);
    weft_channel_close(&b.full);
}

static int looks_at_once(void *arg)
{
    struct blocked *b = arg;
    struct weft__io io = {.op = {.kind = WEFT__OP_POLL, .fd = b->fd, .u.poll.events = POLLIN}};
    b->started++;
    CHECK_EQ(weft__await(&io, "poll", WEFT_NEVER), -ECANCELED);
    CHECK_EQ(weft_canceled(), -ECANCELED); /* the woken one is marked already, whichever it is */
    return -ECANCELED;
}

static void the_woken_know_why(const char *driver)
{
    struct blocked b = {.fd = -1};
    int fds[2];
    (void)driver;
    CHECK_EQ(pipe(fds), 0);
    b.fd = fds[0];
    for (int round = 0; round < 5; round++) {
        struct weft_group *g = kit_group();
        b.started = 0;
        for (int i = 0; i < 100; i++)
            kit_go(g, "looks", looks_at_once, &b);
        while (b.started < 100)
            CHECK_EQ(weft_yield(), 0);
        CHECK_EQ(weft_sleep_ms(2), 0); /* most of them stand in poll then */
        CHECK_EQ(weft_group_close(&g), 0);
    }
    CHECK_EQ(close(fds[0]), 0);
    CHECK_EQ(close(fds[1]), 0);
}

struct alone {
    int fd; /* never readable */
    _Atomic int started;
    _Atomic bool over; /* the rest may be cancelled */
};

static int is_canceled_alone(void *arg)
{
    struct alone *a = arg;
    struct weft__io io = {.op = {.kind = WEFT__OP_POLL, .fd = a->fd, .u.poll.events = POLLIN}};
    a->started++;
    CHECK_EQ(weft__await(&io, "poll", WEFT_NEVER), -ECANCELED);
    CHECK_EQ(weft_canceled(), -ECANCELED);
    CHECK_EQ(weft__await(&io, "poll", WEFT_NEVER), -ECANCELED);
    int64_t start = weft_now_ns();
    weft_shield(2); /* in which the same descriptor is not looked at */
    CHECK_EQ(weft__await(&io, "poll", weft_after_s(1000)), -ECANCELED);
    CHECK(weft_now_ns() >= start + weft_ms(2));
    weft_unshield();
    return 0;
}

static int stays(void *arg)
{
    struct alone *a = arg;
    struct weft__io io = {.op = {.kind = WEFT__OP_POLL, .fd = a->fd, .u.poll.events = POLLIN}};
    a->started++;
    CHECK_EQ(weft__await(&io, "poll", WEFT_NEVER), -ECANCELED);
    CHECK(a->over);
    return 0;
}

static void a_thread_is_canceled_alone(const char *driver)
{
    struct alone a = {.fd = -1};
    struct weft_task *t[5], *other;
    int fds[2];
    (void)driver;
    CHECK_EQ(pipe(fds), 0);
    a.fd = fds[0];
    for (int wait_ms = 0; wait_ms < 4; wait_ms += 2) {
        struct weft_group *g = kit_group();
        a.started = 0;
        a.over = false;
        kit_go(g, "stays", stays, &a); /* without a handle, and with one */
        other = kit_spawn(g, "stays", stays, &a);
        for (int i = 0; i < 5; i++)
            t[i] = kit_spawn(g, "alone", is_canceled_alone, &a);
        while (a.started < 7)
            CHECK_EQ(weft_yield(), 0);
        CHECK_EQ(weft_sleep_ms(wait_ms), 0); /* 0: some are just about to wait */
        for (int i = 0; i < 5; i++)
            weft_task_cancel(t[i]);
        for (int i = 0; i < 5; i++)
            CHECK_EQ(weft_task_join(&t[i], NULL, weft_after_s(60)), 0);
        CHECK_EQ(weft_group_count(g), 2);
        a.over = true;
        CHECK_EQ(weft_group_close(&g), 0); /* which reaches both */
        weft_task_release(&other);
    }
    CHECK_EQ(close(fds[0]), 0);
    CHECK_EQ(close(fds[1]), 0);
}

/* --- Clean-up, orphans, shields ------------------------------------------------------------ */

static void defer_sleeps(void *arg)
{
    CHECK_EQ(weft_canceled(), 0);
    CHECK_EQ(weft_sleep_ms(1), 0);
    atomic_fetch_add((_Atomic int *)arg, 1);
}

static int defers(void *arg)
{
    char *memory = weft_task_alloc(10);
    CHECK(memory != NULL);
    memory[9] = 1;
    CHECK_EQ(weft_defer(defer_sleeps, arg), 0);
    CHECK_EQ(weft_defer(defer_sleeps, arg), 0);
    return weft_sleep_until(WEFT_NEVER);
}

static int leaves_a_group(void *arg)
{
    struct weft_group *g = kit_group();
    (void)arg;
    kit_go(g, "orphan", counts_its_cancel, NULL);
    return 0;
}

static int waits_shielded(void *arg)
{
    (void)arg;
    CHECK_EQ(weft_sleep_until(WEFT_NEVER), -ECANCELED);
    int64_t start = weft_now_ns();
    weft_shield(60);
    CHECK_EQ(weft_canceled(), 0);
    CHECK_EQ(weft_sleep_ms(1), 0);
    CHECK_EQ(weft_sleep_until(WEFT_NEVER), -ECANCELED); /* at the shield's end */
    CHECK(weft_now_ns() >= start + 60000000);
    weft_unshield();
    CHECK_EQ(weft_canceled(), -ECANCELED);
    return 0;
}

static void clean_up(const char *driver)
{
    struct weft_group *g = kit_group();
    _Atomic int n = 0;
    (void)driver;
    kit_go(g, "defers", defers, &n);
    kit_go(g, "shielded", waits_shielded, NULL);
    CHECK_EQ(weft_group_wait(g, weft_after_ms(3)), -ETIMEDOUT);
    CHECK_EQ(weft_group_close(&g), 0);
    CHECK_EQ(n, 2);

    g = kit_group();
    canceled_count = 0;
    kit_go(g, "leaver", leaves_a_group, NULL);
    CHECK_EQ(weft_group_wait(g, WEFT_NEVER), WEFT_EORPHAN);
    CHECK(strstr(weft_error_detail(), "'leaver'") != NULL);
    CHECK_EQ(canceled_count, 1);
    CHECK_EQ(weft_group_close(&g), WEFT_EORPHAN);
}

/* --- Loops in a group's threads ------------------------------------------------------------ */

struct loops {
    const char *driver;
    _Atomic int parked, ended;
};

static int loop_main(void *arg)
{
    struct loops *l = arg;
    struct weft_group *g = kit_group();
    for (int i = 0; i < 10; i++)
        kit_go(g, "task", kit_sleep_long, NULL);
    l->parked++;
    CHECK_EQ(weft_group_wait(g, WEFT_NEVER), -ECANCELED);
    CHECK_EQ(weft_canceled(), -ECANCELED);
    CHECK_EQ(weft_group_close(&g), 0);
    l->ended++;
    return -ECANCELED;
}

static int is_canceled_from_its_start(void *arg)
{
    struct weft_group *g = kit_group();
    (void)arg;
    CHECK_EQ(weft_canceled(), -ECANCELED);
    CHECK_EQ(weft_group_go(g, "x", kit_nothing, NULL), -ECANCELED);
    CHECK_EQ(weft_group_close(&g), 0);
    return weft_sleep_until(WEFT_NEVER);
}

static int loop_thread(void *arg)
{
    struct loops *l = arg;
    struct weft_options o = {.driver = l->driver};
    CHECK_EQ(weft_run(&o, loop_main, l), -ECANCELED);
    CHECK_EQ(weft_canceled(), -ECANCELED); /* the thread is, too */
    CHECK_EQ(weft_run(&o, is_canceled_from_its_start, NULL), -ECANCELED);
    return -ECANCELED;
}

static void loops_are_canceled_with_their_group(const char *driver)
{
    struct weft_group *g = kit_group();
    struct loops l = {.driver = driver};
    for (int i = 0; i < 3; i++)
        kit_go(g, "loop", loop_thread, &l);
    while (l.parked < 3)
        CHECK_EQ(weft_yield(), 0);
    CHECK_EQ(l.ended, 0);
    CHECK_EQ(weft_group_close(&g), 0);
    CHECK_EQ(l.ended, 3);
}

static int loop_that_fails(void *arg)
{
    int *code = arg;
    CHECK_EQ(weft_sleep_ms(1), 0);
    return weft__fail(*code, "from within a loop");
}

static int loop_thread_that_fails(void *arg)
{
    return weft_run(NULL, loop_that_fails, arg);
}

static void a_loops_error_cancels_the_other_loops(const char *driver)
{
    struct weft_group *g = kit_group();
    struct loops l = {.driver = driver};
    int eio = -EIO;
    kit_go(g, "loop", loop_thread, &l);
    kit_go(g, "loop", loop_thread, &l);
    while (l.parked < 2)
        CHECK_EQ(weft_yield(), 0);
    kit_go(g, "fails", loop_thread_that_fails, &eio);
    CHECK_EQ(weft_group_wait(g, WEFT_NEVER), -EIO);
    CHECK(strcmp(weft_error_detail(), "from within a loop") == 0);
    CHECK_EQ(weft_group_close(&g), -EIO);
}

/* --- Number -------------------------------------------------------------------------------- */

static void many_short_threads(const char *driver)
{
    struct weft_group *g = kit_group();
    int zero = 0;
    (void)driver;
    for (int i = 0; i < 200; i++) {
        kit_go(g, "short", return_value, &zero);
        if (i % 10 == 0)
            CHECK_EQ(weft_group_wait(g, WEFT_NEVER), 0);
    }
    CHECK_EQ(weft_group_close(&g), 0);
}

/* Cancels race with starts and ends. */
static int short_sleep(void *arg)
{
    (void)arg;
    return weft_sleep_until(weft_after_us(50));
}

static void cancels_race_with_ends(const char *driver)
{
    (void)driver;
    for (int i = 0; i < 100; i++) {
        struct weft_group *g = kit_group();
        struct weft_task *t = kit_spawn(g, "short", short_sleep, NULL);
        kit_go(g, "short", short_sleep, NULL);
        if (i % 2 == 0)
            CHECK_EQ(weft_sleep_until(weft_after_us(60 + i)), 0);
        weft_task_cancel(t);
        if (i % 3 == 0)
            CHECK_EQ(weft_task_join(&t, NULL, WEFT_NEVER), 0);
        weft_task_release(&t);
        CHECK_EQ(weft_group_close(&g), 0);
    }
}

static const struct kit_case cases[] = {
    ON_THREAD(starts_threads),
    ON_THREAD(first_error_wins),
    ON_THREAD(waiting_ends_in_time),
    ON_THREAD(cancel_and_close),
    ON_THREAD(handles),
    ON_THREAD(nobody_joins_itself),
    ON_THREAD(cancel_wakes_blocked_threads),
    ON_THREAD(the_woken_know_why),
    ON_THREAD(a_thread_is_canceled_alone),
    ON_THREAD(clean_up),
    ON_THREAD(loops_are_canceled_with_their_group),
    ON_THREAD(a_loops_error_cancels_the_other_loops),
    ON_THREAD(many_short_threads),
    ON_THREAD(cancels_race_with_ends),
};

KIT_MAIN(cases)
