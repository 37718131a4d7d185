/* SPDX-License-Identifier: MIT */
/* What a scenario does to whole hosts: crashes, restarts, pauses, signals. */
#include <fcntl.h>

#include <weft/signal.h>

#include "sim_fault_kit.h"
#include "sys/sim/calls.h"
#include "sys/sim/world.h"

/* --- Crash and restart --------------------------------------------------------------------- */

struct victim {
    int begun, ended, deferred;
    unsigned incarnation;
    int result;
    int64_t waited_ns; /* after the cancel, under a shield */
};

static void count_deferred(void *arg)
{
    ((struct victim *)arg)->deferred++;
}

static int live_on(void *arg)
{
    struct victim *v = arg;
    v->begun++;
    v->incarnation = weft_sim_incarnation();
    CHECK_EQ(weft_defer(count_deferred, v), 0);
    v->result = weft_sleep_until(WEFT_NEVER);
    int64_t begin = weft_now_ns();
    weft_shield(2000);
    CHECK_EQ(weft_sleep_ms(1000), 0); /* a farewell that takes a second, which the world has not */
    weft_unshield();
    v->waited_ns = weft_now_ns() - begin;
    weft_sim_note("what a ghost says, nobody hears");
    (void)weft_sim_fail(NULL, "and its word is no failure");
    CHECK_EQ(weft_sim_crash(NULL, "*"), 0); /* nor its deeds */
    if (weft_sim_host_name()[0] == 'a' && weft__sim_proc->ghost) {
        CHECK_EQ(weft_sim_host(NULL, "new", live_on, v), -ECANCELED);
        CHECK_EQ(weft_sim_at(NULL, 0, nothing, NULL), -ECANCELED);
    }
    v->ended++;
    return v->result;
}

static void a_crash_runs_tasks_to_their_end_at_once(void **state)
{
    struct sim_kit k;
    struct victim v = {0}, other = {0};
    (void)state;
    sim_kit_open(&k, 1);
    add(&k, "a", live_on, &v);
    add(&k, "b", live_on, &other);
    at(&k, SECOND, crash, "a");
    at(&k, 3 * SECOND, nothing, NULL);
    sim_kit_run(&k, SECOND + 1, 0);
    assert_int_equal(v.begun, 1);
    assert_int_equal(v.ended, 1);
    assert_int_equal(v.deferred, 1);
    assert_int_equal(v.result, -ECANCELED);
    assert_true(v.waited_ns >= SECOND && v.waited_ns < 2 * SECOND);
    assert_int_equal(weft_sim_now_ns(k.sim), SECOND + 1); /* no time passed */
    assert_false(weft_sim_host_ended(k.sim, "a", NULL));
    assert_int_equal(other.ended, 0);
    assert_string_equal(weft_sim_failure(k.sim), "");
    assert_int_equal(weft_sim_crash(k.sim, "a"), 0); /* down already */
    assert_int_equal(weft_sim_restart(k.sim, "*"), 0);
    sim_kit_run(&k, SECOND, 0);
    assert_int_equal(v.begun, 2);
    assert_int_equal(v.incarnation, 2);
    assert_int_equal(other.begun, 1); /* it was up, and is left alone */
    assert_int_equal(weft_sim_crash(k.sim, "*"), 0);
    assert_int_equal(v.ended, 2);
    assert_int_equal(other.ended, 1);
    sim_kit_run(&k, 100 * SECOND, 0); /* nobody is left */
    assert_int_equal(weft_sim_now_ns(k.sim), 3 * SECOND);
    sim_kit_close(&k, 0);
}

static int ask_in_task(void *arg)
{
    struct victim *v = arg;
    v->begun++;
    if (weft_sim_incarnation() > 1)
        return 0;
    CHECK_EQ(weft_sim_crash(NULL, "self"), 0);
    CHECK_EQ(weft_sim_restart(NULL, "self"), 0);
    v->ended++; /* it goes on to the end of its turn */
    return weft_sleep_until(WEFT_NEVER);
}

static void a_task_crashes_its_own_host(void **state)
{
    struct sim_kit k;
    struct victim v = {0};
    (void)state;
    sim_kit_open(&k, 1);
    add(&k, "self", ask_in_task, &v);
    sim_kit_run(&k, SECOND, 0);
    assert_int_equal(v.begun, 2);
    assert_int_equal(v.ended, 1);
    assert_true(weft_sim_host_ended(k.sim, "self", NULL));
    sim_kit_close(&k, 0);
}

static void an_ended_host_starts_again(void **state)
{
    struct sim_kit k;
    struct sim_kit_client c = {.pings = 3};
    (void)state;
    sim_kit_open(&k, 1);
    sim_kit_server(&k);
    add(&k, "client", sim_kit_client, &c);
    at(&k, SECOND, restart, "client");
    at(&k, 2 * SECOND, restart, "client");
    sim_kit_run(&k, 60 * SECOND, 0);
    assert_int_equal(c.done, 9);
    assert_true(weft_sim_now_ns(k.sim) < 3 * SECOND);
    sim_kit_close(&k, 0);
}

static void clients_outlive_crashes_of_the_server(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct sim_kit k;
        struct sim_kit_client c = {.pings = 200, .pause_ms = 20};
        struct weft_link l = {.jitter_us = 3000, .loss = 0.02};
        sim_kit_open(&k, seed);
        sim_kit_server(&k);
        add(&k, "client", persist, &c);
        assert_int_equal(weft_sim_link(k.sim, "*", "*", &l), 0);
        for (int i = 1; i <= 3; i++) {
            at(&k, i * SECOND, crash, "server");
            at(&k, i * SECOND + (int64_t)(weft_sim_random(k.sim) % (700 * MILLI)), restart,
               "server");
        }
        sim_kit_run(&k, 600 * SECOND, 0);
        assert_int_equal(c.done, 200);
        sim_kit_close(&k, 0);
    }
}

/* --- Disks --------------------------------------------------------------------------------- */

/* Counts its starts in a file; what was synced is there after a crash. */
static int count_starts(void *arg)
{
    int *seen = arg;
    struct weft__proc *p = weft__sim_proc;
    uint8_t n = 0;
    int fd = weft__sim_open(p, "/starts", O_RDWR | O_CREAT, 0600);
    CHECK(fd >= 0);
    CHECK(weft__sim_pread(p, fd, &n, 1, 0) >= 0);
    n++;
    *seen = n;
    CHECK_EQ(weft__sim_pwrite(p, fd, &n, 1, 0), 1);
    CHECK_EQ(weft__sim_fsync(p, fd), 0);
    CHECK_EQ(weft__sim_close(p, fd), 0);
    return weft_sleep_until(WEFT_NEVER);
}

static void a_disk_outlives_crashes(void **state)
{
    struct sim_kit k;
    int seen = 0;
    (void)state;
    sim_kit_open(&k, 1);
    add_service(&k, "a", count_starts, &seen);
    assert_int_equal(weft_sim_disk(k.sim, "a", &(struct weft_sim_disk){.latency_us = 50}), 0);
    at(&k, SECOND, crash, "a");
    at(&k, 2 * SECOND, restart, "a");
    at(&k, 3 * SECOND, kill_it, "a");
    at(&k, 4 * SECOND, restart, "a");
    sim_kit_run(&k, 5 * SECOND, 0);
    assert_int_equal(seen, 3);
    sim_kit_close(&k, 0);
}

/* --- Pause --------------------------------------------------------------------------------- */

static void a_paused_server_answers_late(void **state)
{
    struct sim_kit k;
    struct sim_kit_client c = {.pings = 100, .pause_ms = 100};
    (void)state;
    sim_kit_open(&k, 1);
    sim_kit_server(&k);
    add(&k, "client", sim_kit_client, &c);
    at(&k, SECOND, pause_it, "server");
    at(&k, 20 * SECOND, resume, "server");
    sim_kit_run(&k, 19 * SECOND, 0);
    assert_true(c.done > 5 && c.done < 12);
    sim_kit_run(&k, 600 * SECOND, 0);
    assert_int_equal(c.done, 100); /* it stood still, and nothing was lost */
    assert_true(weft_sim_now_ns(k.sim) > 28 * SECOND);
    sim_kit_close(&k, 0);
}

static int pause_oneself(void *arg)
{
    int64_t begin = weft_now_ns();
    CHECK_EQ(weft_sim_pause(NULL, weft_sim_host_name()), 0);
    CHECK_EQ(weft_yield(), 0);
    *(int64_t *)arg = weft_now_ns() - begin;
    return 0;
}

static void a_host_pauses_itself(void **state)
{
    struct sim_kit k;
    int64_t stood_ns = 0;
    (void)state;
    sim_kit_open(&k, 1);
    add(&k, "a", pause_oneself, &stood_ns);
    at(&k, 7 * SECOND, resume, "a");
    sim_kit_run(&k, 60 * SECOND, 0);
    assert_true(stood_ns >= 7 * SECOND && stood_ns < 8 * SECOND);
    sim_kit_close(&k, 0);
}

/* A pause does not outlast a restart. */
static void a_restart_ends_a_pause(void **state)
{
    struct sim_kit k;
    struct victim v = {0};
    (void)state;
    sim_kit_open(&k, 1);
    add_service(&k, "a", live_on, &v);
    at(&k, SECOND, pause_it, "a");
    at(&k, 2 * SECOND, crash, "a");
    at(&k, 3 * SECOND, restart, "a");
    sim_kit_run(&k, 4 * SECOND, 0);
    assert_int_equal(v.begun, 2);
    sim_kit_close(&k, 0);
}

/* --- Signals ------------------------------------------------------------------------------- */

static int stop_on_sigterm(void *arg)
{
    struct weft_signals *s = NULL;
    static const int list[] = {SIGTERM, SIGHUP, 0};
    int *got = arg;
    CHECK_EQ(weft_signals_open(&s, list), 0);
    do {
        *got = *got * 100 + weft_signals_wait(s, WEFT_NEVER);
    } while (*got % 100 != SIGTERM);
    weft_signals_close(&s);
    return 0;
}

static void signals_are_heard(void **state)
{
    struct sim_kit k;
    int got = 0, result = -1;
    (void)state;
    sim_kit_open(&k, 1);
    add(&k, "a", stop_on_sigterm, &got);
    at(&k, SECOND, hang_up, "a");
    at(&k, 2 * SECOND, terminate, "a");
    sim_kit_run(&k, 60 * SECOND, 0);
    assert_int_equal(got, SIGHUP * 100 + SIGTERM);
    assert_true(weft_sim_host_ended(k.sim, "a", &result));
    assert_int_equal(result, 0);
    sim_kit_close(&k, 0);
}

static int read_to_the_end(void *arg)
{
    struct weft_stream *s = NULL;
    char byte;
    CHECK_EQ(weft_dial(&s, "tcp://server:80", NULL, weft_after_s(5)), 0);
    *(ssize_t *)arg = weft_read(s, &byte, 1, weft_after_s(60));
    weft_abort(&s);
    return 0;
}

/* A process that dies says so to its peers; a host that crashes does not. */
static void death_by_signal_and_crash_as_peers_see_them(void **state)
{
    static const weft_sim_action ends[] = {terminate, kill_it, crash, hang_up};
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        struct sim_kit k;
        ssize_t got = 1;
        sim_kit_open(&k, 1);
        sim_kit_server(&k);
        add(&k, "client", read_to_the_end, &got);
        at(&k, SECOND, ends[i], "server");
        sim_kit_run(&k, 600 * SECOND, 0);
        int64_t now = weft_sim_now_ns(k.sim);
        if (i < 2) {
            assert_true(got == 0 || got == -ECONNRESET);
            assert_true(now < 2 * SECOND);
            assert_false(weft_sim_host_ended(k.sim, "server", NULL));
        } else {
            assert_int_equal(got, -ETIMEDOUT);
            assert_true(now >= 60 * SECOND);
        }
        sim_kit_close(&k, 0);
    }
}

/* --- A host that cannot be ended ----------------------------------------------------------- */

static int never_end(void *arg)
{
    (void)arg;
    while (weft_yield() <= 0) {
    }
    return 0;
}

static void a_task_that_ignores_its_crash_is_named(void **state)
{
    struct sim_kit k;
    struct sim_kit_client c = {.pings = 3};
    (void)state;
    sim_kit_open_with(&k, (struct weft_sim_options){.seed = 1, .max_steps_at_once = 100});
    sim_kit_server(&k);
    add(&k, "stubborn", never_end, NULL);
    add(&k, "client", sim_kit_client, &c);
    assert_int_equal(weft_sim_pause(k.sim, "stubborn"), 0);
    at(&k, SECOND, crash, "stubborn");
    sim_kit_run(&k, 60 * SECOND, WEFT_ELIVELOCK);
    assert_string_equal(weft_sim_failure(k.sim),
                        "host stubborn is down, and its cancelled tasks do not end");
    sim_kit_has(&k, "task main #1 (stubborn) ready");
    sim_kit_close(&k, WEFT_ELIVELOCK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_crash_runs_tasks_to_their_end_at_once),
        cmocka_unit_test(a_task_crashes_its_own_host),
        cmocka_unit_test(an_ended_host_starts_again),
        cmocka_unit_test(clients_outlive_crashes_of_the_server),
        cmocka_unit_test(a_disk_outlives_crashes),
        cmocka_unit_test(a_paused_server_answers_late),
        cmocka_unit_test(a_host_pauses_itself),
        cmocka_unit_test(signals_are_heard),
        cmocka_unit_test(death_by_signal_and_crash_as_peers_see_them),
        cmocka_unit_test(a_restart_ends_a_pause),
        cmocka_unit_test(a_task_that_ignores_its_crash_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
