/* SPDX-License-Identifier: MIT */
/*
 * Tests of what a loop's end reaches: groups that callbacks have opened, like the root group, are
 * cancelled and run to their end, and keep the loop alive until then.
 */
#include <poll.h>
#include <unistd.h>

#include <weft/offload.h>
#include <weft/stream.h>

#include "rt_kit.h"

struct opened {
    struct weft_group *group;
    struct weft_loop *loop;
    int fd; /* never readable */
    int slept, polled, refused;
    int done;
    bool again;
};

static int sleeps(void *arg)
{
    struct opened *o = arg;
    o->slept = weft_sleep_until(WEFT_NEVER);
    return 0;
}

static int polls(void *arg)
{
    struct opened *o = arg;
    o->polled = weft_poll(o->fd, POLLIN, WEFT_NEVER);
    return 0;
}

/* In a group of its own, so that what a cancel walks down is there as well. */
static int nests(void *arg)
{
    struct opened *o = arg;
    struct weft_group *g = kit_group();
    kit_go(g, "below", sleeps, o);
    CHECK_EQ(weft_group_wait(g, WEFT_NEVER), -ECANCELED);
    CHECK_EQ(weft_group_close(&g), 0);
    return 0;
}

static void opens_a_group(void *arg)
{
    struct opened *o = arg;
    o->group = kit_group();
    kit_go(o->group, "nests", nests, o);
    kit_go(o->group, "polls", polls, o);
}

/* A callback in the loop's last turns. */
static void opens_another(void *arg)
{
    struct opened *o = arg;
    struct weft_group *g = kit_group();
    o->refused = weft_group_go(g, "x", kit_nothing, NULL);
    o->again = true;
}

static int opens_another_at_its_end(void *arg)
{
    struct opened *o = arg;
    int err = weft_sleep_until(WEFT_NEVER);
    CHECK_EQ(weft_post_mt(weft_loop_current(), opens_another, o), 0);
    return err;
}

static int leaves_groups(void *arg)
{
    struct opened *o = arg;
    kit_as_callback(opens_a_group, o);
    kit_go(o->group, "again", opens_another_at_its_end, o);
    kit_settle();
    CHECK_EQ(o->slept + o->polled, 0);
    CHECK_EQ(weft_group_count(o->group), 3);
    return 7;
}

static void warned(void *arg, enum weft_log_level level, const char *line)
{
    (void)level;
    *(int *)arg += strstr(line, "group") != NULL;
}

static void the_end_reaches_callbacks_groups(const char *driver)
{
    struct opened o = {.fd = -1};
    int fds[2], warnings = 0;
    struct weft_options options = {.driver = driver, .log = warned, .log_arg = &warnings};
    CHECK_EQ(pipe(fds), 0);
    o.fd = fds[0];
    CHECK_EQ(weft_run(&options, leaves_groups, &o), 7);
    CHECK_EQ(o.slept, -ECANCELED);
    CHECK_EQ(o.polled, -ECANCELED);
    CHECK(o.again);
    CHECK_EQ(o.refused, -ECANCELED); /* what is opened after the cancel is cancelled */
    CHECK_EQ(warnings, 2);           /* nobody closed them */
    CHECK_EQ(close(fds[0]), 0);
    CHECK_EQ(close(fds[1]), 0);
}

static void closes_its_group(void *arg)
{
    struct opened *o = arg;
    CHECK_EQ(weft_group_close(&o->group), 0);
}

static int does_a_little(void *arg)
{
    struct opened *o = arg;
    for (int i = 0; i < 3; i++)
        CHECK_EQ(weft_sleep_ms(1), 0);
    o->done++;
    CHECK_EQ(weft_post_mt(o->loop, closes_its_group, o), 0);
    return 0;
}

static void starts_a_little(void *arg)
{
    struct opened *o = arg;
    o->group = kit_group();
    kit_go(o->group, "a little", does_a_little, o);
}

static void steps_count_callbacks_groups(const char *driver)
{
    struct weft_loop *l = NULL;
    struct weft_options options = {.driver = driver};
    CHECK_EQ(weft_loop_open(&l, &options), 0);
    struct opened o = {.loop = l};
    int fds[2];
    CHECK_EQ(pipe(fds), 0);
    CHECK_EQ(weft_loop_step(l, WEFT_NOW), 0);
    CHECK_EQ(weft_post_mt(l, starts_a_little, &o), 0);
    CHECK_EQ(weft_loop_step(l, WEFT_NOW), 1);
    int steps = 0;
    while (o.done == 0 && steps++ < 1000)
        CHECK(weft_loop_step(l, weft_after_s(60)) >= 0); /* which waits, as the task does */
    CHECK_EQ(o.done, 1);
    CHECK(steps < 100);
    CHECK_EQ(weft_loop_step(l, WEFT_NOW), 0);
    CHECK(o.group == NULL);

    /* And the close of a loop that is driven so. */
    CHECK_EQ(weft_post_mt(l, opens_a_group, &o), 0);
    o.fd = fds[0];
    CHECK_EQ(weft_loop_step(l, WEFT_NOW), 1);
    weft_loop_close(&l);
    CHECK_EQ(o.slept, -ECANCELED);
    CHECK_EQ(o.polled, -ECANCELED);
    CHECK_EQ(close(fds[0]), 0);
    CHECK_EQ(close(fds[1]), 0);
}

/* --- A loop in a group's thread ------------------------------------------------------------- */

struct threaded {
    const char *driver;
    struct opened opened;
    _Atomic bool parked;
    int waited;
};

static int waits_in_main(void *arg)
{
    struct threaded *t = arg;
    kit_as_callback(opens_a_group, &t->opened);
    kit_settle();
    t->parked = true;
    t->waited = weft_sleep_until(WEFT_NEVER);
    weft_shield(5000);
    kit_settle(); /* what drains here may still need what callbacks have begun */
    weft_unshield();
    CHECK_EQ(t->opened.slept + t->opened.polled, 0);
    return 0;
}

static int runs_a_loop(void *arg)
{
    struct threaded *t = arg;
    struct weft_options options = {.driver = t->driver};
    return weft_run(&options, waits_in_main, t);
}

static void a_threads_cancel_reaches_callbacks_groups(const char *driver)
{
    struct weft_group *g = kit_group();
    struct threaded t = {.driver = driver};
    int fds[2];
    CHECK_EQ(pipe(fds), 0);
    t.opened.fd = fds[0];
    kit_go(g, "loop", runs_a_loop, &t);
    while (!t.parked)
        CHECK_EQ(weft_yield(), 0);
    CHECK_EQ(weft_group_close(&g), 0);
    CHECK_EQ(t.opened.slept, -ECANCELED);
    CHECK_EQ(t.opened.polled, -ECANCELED);
    CHECK_EQ(t.waited, -ECANCELED);
    CHECK_EQ(close(fds[0]), 0);
    CHECK_EQ(close(fds[1]), 0);
}

struct shielded_loop {
    const char *driver;
    int ms;          /* of the shield around the loop */
    weft_deadline d; /* of the wait in it */
    _Atomic bool within;
    int result;
    int64_t took;
};

static int waits_in_a_loop(void *arg)
{
    struct shielded_loop *s = arg;
    s->within = true;
    return weft_sleep_until(s->d);
}

static int runs_a_loop_within_a_shield(void *arg)
{
    struct shielded_loop *s = arg;
    struct weft_options options = {.driver = s->driver};
    int64_t start = weft_now_ns();
    weft_shield(s->ms);
    s->result = weft_run(&options, waits_in_a_loop, s);
    weft_unshield();
    s->took = weft_now_ns() - start;
    return 0;
}

/* A shield keeps a cancel from a loop as it does from a wait: for so long, and no longer. */
static void a_threads_shield_is_around_its_loop(const char *driver)
{
    static const int shield_ms[] = {30, 60000, 1};
    for (int i = 0; i < 3; i++) {
        struct weft_group *g = kit_group();
        struct shielded_loop s = {.driver = driver, .ms = shield_ms[i]};
        s.d = i == 1 ? weft_after_ms(60) : WEFT_NEVER;
        kit_go(g, "shielded", runs_a_loop_within_a_shield, &s);
        while (!s.within)
            CHECK_EQ(weft_yield(), 0);
        CHECK_EQ(weft_sleep_ms(i == 2 ? 20 : 1), 0); /* the last one's shield is over by then */
        CHECK_EQ(weft_group_close(&g), 0);
        CHECK_EQ(s.result, i == 1 ? 0 : -ECANCELED);
        CHECK(i == 1 || s.took >= 1000000 * (int64_t)s.ms);
    }
}

static const struct kit_case cases[] = {
    ON_THREAD(the_end_reaches_callbacks_groups),
    ON_THREAD(steps_count_callbacks_groups),
    ON_THREAD(a_threads_cancel_reaches_callbacks_groups),
    ON_THREAD(a_threads_shield_is_around_its_loop),
};

KIT_MAIN(cases)
