/* SPDX-License-Identifier: MIT */
/* Tests of weft_run and of loops that another event loop drives. */
#include <poll.h>

#include "base/alloc.h"
#include "rt_kit.h"

static struct weft_options on(const char *driver)
{
    return (struct weft_options){.driver = driver};
}

/* --- weft_run ------------------------------------------------------------------------------ */

static int return_value(void *arg)
{
    return *(int *)arg;
}

static int fails(void *arg)
{
    (void)arg;
    CHECK_EQ(weft_yield(), 0);
    return weft__fail(-EIO, "main has failed");
}

static void returns_the_result(const char *driver)
{
    struct weft_options o = on(driver);
    int values[] = {0, 7, -7, WEFT_ELIMIT, INT32_MAX, -ECANCELED};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++)
        CHECK_EQ(weft_run(&o, return_value, &values[i]), values[i]);
    CHECK_EQ(weft_run(&o, fails, NULL), -EIO);
    CHECK(strcmp(weft_error_detail(), "main has failed") == 0);
    CHECK_EQ(weft_run(&o, NULL, NULL), -EINVAL);
    CHECK_EQ(weft_run(NULL, kit_nothing, NULL), 0);
    o.driver = "steam";
    CHECK_EQ(weft_run(&o, kit_nothing, NULL), -EINVAL);
    CHECK(strstr(weft_error_detail(), "steam") != NULL);
}

static int knows_its_loop(void *arg)
{
    CHECK(weft_loop_current() != NULL);
    CHECK(strcmp(weft_driver_name(), arg) == 0);
    return 0;
}

static void the_named_driver_is_used(const char *driver)
{
    struct weft_options o = on(driver);
    CHECK_EQ(weft_run(&o, knows_its_loop, (void *)driver), 0);
    CHECK(weft_loop_current() == NULL);
    CHECK(strcmp(weft_driver_name(), "block") == 0);

    const char *env = getenv("WEFT_DRIVER");
    char *before = env != NULL ? strdup(env) : NULL;
    CHECK_EQ(setenv("WEFT_DRIVER", driver, 1), 0);
    CHECK_EQ(weft_run(NULL, knows_its_loop, (void *)driver), 0);
    CHECK_EQ(setenv("WEFT_DRIVER", "steam", 1), 0);
    CHECK_EQ(weft_run(NULL, kit_nothing, NULL), -EINVAL);
    CHECK_EQ(weft_run(&o, knows_its_loop, (void *)driver), 0); /* the options come first */
    CHECK_EQ(before != NULL ? setenv("WEFT_DRIVER", before, 1) : unsetenv("WEFT_DRIVER"), 0);
    free(before);
}

static int switches_a_little(void *arg)
{
    struct weft_group *g = kit_group();
    for (int i = 0; i < 3; i++)
        kit_go(g, "task", kit_nothing, NULL);
    CHECK_EQ(weft_group_wait(g, WEFT_NEVER), 0);
    ++*(int *)arg;
    return weft_group_close(&g);
}

static void many_runs_in_sequence(const char *driver)
{
    struct weft_options o = on(driver);
    int n = 0;
    size_t fds = kit_count_fds();
    for (int i = 0; i < 300; i++)
        CHECK_EQ(weft_run(&o, switches_a_little, &n), 0);
    CHECK_EQ(n, 300);
    CHECK_EQ(kit_count_fds(), fds);
}

struct nesting {
    const char *driver;
    int depth;
    bool outer_ran;
};

static int would_disturb(void *arg)
{
    ((struct nesting *)arg)->outer_ran = true;
    return 0;
}

static int runs_another(void *arg)
{
    struct nesting *n = arg;
    struct weft_loop *mine = weft_loop_current();
    struct weft_options o = on(n->driver);
    struct weft_group *g = kit_group();
    CHECK(mine != NULL);
    int level = --n->depth;
    if (level > 0) {
        n->outer_ran = false;
        kit_go(g, "sibling", would_disturb, n);
        CHECK_EQ(weft_run(&o, runs_another, n), level - 1);
        CHECK(!n->outer_ran); /* the outer loop stood still */
    } else {
        CHECK_EQ(weft_sleep_ms(2), 0);
    }
    CHECK(weft_loop_current() == mine);
    CHECK(strcmp(weft_task_name(), "main") == 0);
    CHECK_EQ(weft_group_wait(g, WEFT_NEVER), 0);
    CHECK_EQ(weft_group_close(&g), 0);
    n->outer_ran = false;
    return level;
}

static void runs_nest(const char *driver)
{
    struct weft_options o = on(driver);
    struct nesting n = {.driver = driver, .depth = 4};
    CHECK_EQ(weft_run(&o, runs_another, &n), 3);
    n = (struct nesting){.driver = "epoll", .depth = 2}; /* also with another driver within */
    CHECK_EQ(weft_run(&o, runs_another, &n), 1);
}

static void *run_in_thread(void *arg)
{
    struct weft_options o = on(arg);
    int n = 0;
    for (int i = 0; i < 20; i++)
        CHECK_EQ(weft_run(&o, switches_a_little, &n), 0);
    CHECK_EQ(n, 20);
    return NULL;
}

static void runs_in_several_threads(const char *driver)
{
    pthread_t t[3];
    for (int i = 0; i < 3; i++)
        CHECK_EQ(pthread_create(&t[i], NULL, run_in_thread, (void *)driver), 0);
    for (int i = 0; i < 3; i++)
        CHECK_EQ(pthread_join(t[i], NULL), 0);
}

static int ends_canceled(void *arg)
{
    CHECK_EQ(weft_sleep_until(WEFT_NEVER), -ECANCELED);
    *(bool *)arg = true;
    return -ECANCELED;
}

static int leaves_root_members(void *arg)
{
    CHECK_EQ(weft_group_go(weft_loop_group(weft_loop_current()), "rest", ends_canceled, arg), 0);
    CHECK_EQ(weft_yield(), 0);
    return 5;
}

static void what_is_left_is_ended(const char *driver)
{
    struct weft_options o = on(driver);
    bool ended = false;
    CHECK_EQ(weft_run(&o, leaves_root_members, &ended), 5);
    CHECK(ended);
}

static int counts(void *arg)
{
    struct weft_loop *l = weft_loop_current();
    struct weft_loop_stats a, b;
    struct weft_group *g = kit_group();
    (void)arg;
    CHECK_EQ(weft_loop_stats(l, &a), 0);
    CHECK_EQ(a.tasks_live, 1);
    CHECK_EQ(a.tasks_started, 1);
    for (int i = 0; i < 10; i++)
        kit_go(g, "task", kit_nothing, NULL);
    CHECK_EQ(weft_loop_stats(l, &b), 0);
    CHECK_EQ(b.tasks_live, 11);
    CHECK_EQ(b.tasks_started, 11);
    CHECK_EQ(weft_sleep_ms(1), 0);
    CHECK_EQ(weft_loop_stats(l, &b), 0);
    CHECK_EQ(b.tasks_live, 1);
    CHECK(b.switches >= a.switches + 11);
    CHECK(b.turns > a.turns);
    return weft_group_close(&g);
}

static void stats(const char *driver)
{
    struct weft_options o = on(driver);
    CHECK_EQ(weft_run(&o, counts, NULL), 0);
}

static void each_allocation_fails_once(const char *driver)
{
    struct weft_options o = on(driver);
    bool was_on = weft__alloc_hooks;
    int ran = 0, err = -ENOMEM;
    size_t fds = kit_count_fds();
    for (uint64_t n = 1; ran == 0; n++) {
        CHECK(n < 1000);
        weft__alloc_fail_at(n);
        err = weft_run(&o, return_value, &(int){3});
        weft__alloc_fail_at(0);
        CHECK(err == -ENOMEM || err == 3);
        CHECK_EQ(kit_count_fds(), fds);
        ran += err == 3;
    }
    weft__alloc_hooks = was_on;
}

/* --- Embedding ----------------------------------------------------------------------------- */

static int polls(int fd, int timeout_ms)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    int n = poll(&p, 1, timeout_ms);
    CHECK(n >= 0);
    return n;
}

static struct weft_loop *open_loop(const char *driver)
{
    struct weft_options o = on(driver);
    struct weft_loop *l = NULL;
    CHECK_EQ(weft_loop_open(&l, &o), 0);
    CHECK(l != NULL);
    return l;
}

/* As another event loop would: steps when the descriptor says so, until nothing is left alive. */
static int drive(struct weft_loop *l)
{
    int steps = 0, live;
    do {
        CHECK_EQ(polls(weft_loop_fd(l), 20000), 1);
        live = weft_loop_step(l, WEFT_NOW);
        CHECK(live >= 0);
        steps++;
    } while (live > 0);
    return steps;
}

/* A descriptor may be readable once too often, but it must become quiet when nothing is to do. */
static void settle(struct weft_loop *l)
{
    for (int i = 0; polls(weft_loop_fd(l), 0) > 0; i++) {
        CHECK(i < 5);
        CHECK(weft_loop_step(l, WEFT_NOW) >= 0);
    }
}

static void open_and_close(const char *driver)
{
    struct weft_loop *l = NULL;
    struct weft_options o = {.driver = "steam"};
    CHECK_EQ(weft_loop_open(&l, &o), -EINVAL);
    CHECK(l == NULL);
    weft_loop_close(&l);
    l = open_loop(driver);
    CHECK_EQ(weft_loop_step(l, WEFT_NOW), 0);
    CHECK_EQ(weft_loop_step(l, WEFT_NEVER), 0); /* with nothing alive it waits for nothing */
    weft_loop_close(&l);
    CHECK(l == NULL);
    l = open_loop(driver);
    CHECK(weft_loop_fd(l) >= 0);
    CHECK_EQ(weft_loop_fd(l), weft_loop_fd(l));
    CHECK_EQ(weft_group_go(weft_loop_group(l), "never ran", kit_sleep_long, NULL), 0);
    weft_loop_close(&l);
}

static int sleeps_thrice(void *arg)
{
    for (int i = 0; i < 3; i++)
        CHECK_EQ(weft_sleep_ms(3), 0);
    ++*(int *)arg;
    return 0;
}

static void driven_by_poll(const char *driver)
{
    struct weft_loop *l = open_loop(driver);
    int done = 0;
    settle(l);
    for (int i = 0; i < 5; i++)
        CHECK_EQ(weft_group_go(weft_loop_group(l), "sleeps", sleeps_thrice, &done), 0);
    int steps = drive(l);
    CHECK_EQ(done, 5);
    CHECK(KIT_SLOW || steps < 100); /* it does not spin meanwhile */
    settle(l);
    /* And once more: the loop is as good as new. */
    CHECK_EQ(weft_group_go(weft_loop_group(l), "sleeps", sleeps_thrice, &done), 0);
    (void)drive(l);
    CHECK_EQ(done, 6);
    weft_loop_close(&l);
}

static void a_step_waits_as_long_as_told(const char *driver)
{
    struct weft_loop *l = open_loop(driver);
    int done = 0;
    CHECK_EQ(weft_group_go(weft_loop_group(l), "parked", kit_sleep_long, NULL), 0);
    CHECK_EQ(weft_loop_step(l, WEFT_NOW), 1);
    weft_deadline d = weft_after_ms(4);
    while (weft_left_ns(d) > 0)
        CHECK_EQ(weft_loop_step(l, d), 1);
    CHECK(weft_now_ns() >= d.ns);
    CHECK_EQ(weft_group_go(weft_loop_group(l), "sleeps", sleeps_thrice, &done), 0);
    int steps = 0;
    do {
        CHECK_EQ(weft_loop_step(l, weft_after_s(1000)), 1);
    } while (++steps < 100 && done == 0);
    CHECK_EQ(done, 1);
    weft_loop_close(&l);
}

static int yields(void *arg)
{
    for (int i = 0; i < 5000; i++)
        CHECK_EQ(weft_yield(), 0);
    ++*(int *)arg;
    return 0;
}

static void ready_tasks_keep_the_descriptor_readable(const char *driver)
{
    struct weft_loop *l = open_loop(driver);
    int done = 0;
    (void)weft_loop_fd(l);
    CHECK_EQ(weft_group_go(weft_loop_group(l), "a", yields, &done), 0);
    CHECK_EQ(weft_group_go(weft_loop_group(l), "b", yields, &done), 0);
    CHECK(drive(l) > 1); /* a step ends, though they are always ready */
    CHECK_EQ(done, 2);
    weft_loop_close(&l);
}

struct outside {
    struct weft_channel *plain, *mt;
    int got;
};

static int receives(void *arg)
{
    struct outside *o = arg;
    int v;
    while (weft_channel_recv(o->plain, &v, WEFT_NEVER) == 0)
        o->got += v;
    return 0;
}

static int receives_mt(void *arg)
{
    struct outside *o = arg;
    int v;
    while (weft_channel_recv(o->mt, &v, WEFT_NEVER) == 0)
        o->got += v;
    return 0;
}

static void *sends_mt(void *arg)
{
    struct outside *o = arg;
    for (int i = 0; i < 100; i++)
        CHECK_EQ(weft_channel_send(o->mt, &(int){1}, WEFT_NEVER), 0);
    weft_channel_shut(o->mt);
    return NULL;
}

/* What is done to the loop between two steps makes its descriptor readable. */
static void woken_from_outside(const char *driver)
{
    struct weft_loop *l = open_loop(driver);
    struct weft_group *root = weft_loop_group(l);
    struct outside o = {.got = 0};
    int fd = weft_loop_fd(l);
    CHECK_EQ(weft_channel_open(&o.plain, sizeof(int), 0), 0);
    CHECK_EQ(weft_group_go(root, "receives", receives, &o), 0);
    settle(l);
    CHECK_EQ(weft_channel_send_nowait(o.plain, &(int){5}), 0);
    CHECK_EQ(polls(fd, 0), 1);
    CHECK_EQ(weft_loop_step(l, WEFT_NOW), 1);
    CHECK_EQ(o.got, 5);
    weft_channel_shut(o.plain);
    (void)drive(l);
    weft_channel_close(&o.plain);

    struct weft_task *t = NULL;
    CHECK_EQ(weft_group_spawn(root, NULL, kit_sleep_long, NULL, &t), 0);
    settle(l);
    weft_task_cancel(t);
    (void)drive(l);
    int result = 0;
    CHECK_EQ(weft_task_join(&t, &result, WEFT_NOW), 0);
    CHECK_EQ(result, -ECANCELED);

    pthread_t thread;
    o.got = 0;
    CHECK_EQ(weft_channel_open_mt(&o.mt, sizeof(int), 2), 0);
    CHECK_EQ(weft_group_go(root, "receives", receives_mt, &o), 0);
    CHECK_EQ(pthread_create(&thread, NULL, sends_mt, &o), 0);
    (void)drive(l);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK_EQ(o.got, 100);
    weft_channel_close(&o.mt);

    CHECK_EQ(weft_group_go(root, "parked", kit_sleep_long, NULL), 0);
    settle(l);
    CHECK_EQ(weft_group_deadline(root, weft_after_ms(2)), 0);
    (void)drive(l);
    weft_loop_close(&l);
}

static void group_cancel_from_outside(const char *driver)
{
    struct weft_loop *l = open_loop(driver);
    struct weft_group *root = weft_loop_group(l);
    (void)weft_loop_fd(l);
    CHECK_EQ(weft_group_go(root, "parked", kit_sleep_long, NULL), 0);
    settle(l);
    weft_group_cancel(root);
    (void)drive(l);
    CHECK_EQ(weft_group_go(root, "x", kit_nothing, NULL), -ECANCELED);
    weft_loop_close(&l);
}

static int steps_its_own_loop(void *arg)
{
    CHECK_EQ(weft_loop_step(arg, WEFT_NOW), -EDEADLK);
    return 0;
}

static void *steps_anothers_loop(void *arg)
{
    struct weft_loop_stats s;
    CHECK_EQ(weft_loop_step(arg, WEFT_NOW), WEFT_ETHREAD);
    CHECK_EQ(weft_loop_stats(arg, &s), WEFT_ETHREAD);
    CHECK_EQ(weft_group_go(weft_loop_group(arg), "x", kit_nothing, NULL), WEFT_ETHREAD);
    return NULL;
}

static void step_is_refused(const char *driver)
{
    struct weft_loop *l = open_loop(driver);
    pthread_t t;
    CHECK_EQ(weft_group_go(weft_loop_group(l), "steps", steps_its_own_loop, l), 0);
    CHECK_EQ(weft_loop_step(l, WEFT_NOW), 0);
    CHECK_EQ(pthread_create(&t, NULL, steps_anothers_loop, l), 0);
    CHECK_EQ(pthread_join(t, NULL), 0);
    weft_loop_close(&l);
}

static void two_loops_on_one_thread(const char *driver)
{
    struct weft_loop *l[2] = {open_loop(driver), open_loop("epoll")};
    struct pollfd p[2];
    int done[2] = {0, 0};
    for (int i = 0; i < 2; i++) {
        p[i] = (struct pollfd){.fd = weft_loop_fd(l[i]), .events = POLLIN};
        for (int k = 0; k < 3; k++)
            CHECK_EQ(weft_group_go(weft_loop_group(l[i]), "s", sleeps_thrice, &done[i]), 0);
    }
    while (done[0] + done[1] < 6) {
        CHECK(poll(p, 2, 20000) > 0);
        for (int i = 0; i < 2; i++) {
            if (p[i].revents != 0)
                CHECK(weft_loop_step(l[i], WEFT_NOW) >= 0);
        }
    }
    weft_loop_close(&l[0]);
    weft_loop_close(&l[1]);
}

static int embeds(void *arg)
{
    struct weft_loop *l = open_loop(arg);
    int done = 0;
    CHECK_EQ(weft_group_go(weft_loop_group(l), "sleeps", sleeps_thrice, &done), 0);
    int live;
    while ((live = weft_loop_step(l, WEFT_NOW)) > 0)
        CHECK_EQ(weft_sleep_ms(1), 0);
    CHECK_EQ(live, 0);
    CHECK_EQ(done, 1);
    weft_loop_close(&l);
    return 0;
}

/* A task of one loop may drive another. */
static void a_task_drives_another_loop(const char *driver)
{
    struct weft_options o = on(driver);
    CHECK_EQ(weft_run(&o, embeds, (void *)driver), 0);
}

static const struct kit_case cases[] = {
    ON_THREAD(returns_the_result),
    ON_THREAD(the_named_driver_is_used),
    ON_THREAD(many_runs_in_sequence),
    ON_THREAD(runs_nest),
    ON_THREAD(runs_in_several_threads),
    ON_THREAD(what_is_left_is_ended),
    ON_THREAD(stats),
    ON_THREAD(each_allocation_fails_once),
    ON_THREAD(open_and_close),
    ON_THREAD(driven_by_poll),
    ON_THREAD(a_step_waits_as_long_as_told),
    ON_THREAD(ready_tasks_keep_the_descriptor_readable),
    ON_THREAD(woken_from_outside),
    ON_THREAD(group_cancel_from_outside),
    ON_THREAD(step_is_refused),
    ON_THREAD(two_loops_on_one_thread),
    ON_THREAD(a_task_drives_another_loop),
};

KIT_MAIN(cases)
