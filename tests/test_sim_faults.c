/* SPDX-License-Identifier: MIT */
/* What a scenario does to hosts: crashes, restarts, pauses, signals, clocks, links, want of things.
 */
#include <fcntl.h>
#include <signal.h>

#include <weft/signal.h>

#include "base/alloc.h"
#include "sim_run_kit.h"
#include "sys/sim/calls.h"
#include "sys/sim/world.h"

static void add(struct sim_kit *k, const char *name, weft_fn fn, void *arg)
{
    assert_int_equal(weft_sim_host(k->sim, name, fn, arg), 0);
}

static void add_service(struct sim_kit *k, const char *name, weft_fn fn, void *arg)
{
    struct weft_sim_host_options o = {.service = true};
    assert_int_equal(weft_sim_host_with(k->sim, name, &o, fn, arg), 0);
}

/* --- Actions of one call ------------------------------------------------------------------- */

static void crash(struct weft_sim *sim, void *arg)
{
    CHECK_EQ(weft_sim_crash(sim, arg), 0);
}

static void restart(struct weft_sim *sim, void *arg)
{
    CHECK_EQ(weft_sim_restart(sim, arg), 0);
}

static void pause_it(struct weft_sim *sim, void *arg)
{
    CHECK_EQ(weft_sim_pause(sim, arg), 0);
}

static void resume(struct weft_sim *sim, void *arg)
{
    CHECK_EQ(weft_sim_resume(sim, arg), 0);
}

static void terminate(struct weft_sim *sim, void *arg)
{
    CHECK_EQ(weft_sim_signal(sim, arg, SIGTERM), 0);
}

static void kill_it(struct weft_sim *sim, void *arg)
{
    CHECK_EQ(weft_sim_signal(sim, arg, SIGKILL), 0);
}

static void hang_up(struct weft_sim *sim, void *arg)
{
    CHECK_EQ(weft_sim_signal(sim, arg, SIGHUP), 0);
}

static void nothing(struct weft_sim *sim, void *arg)
{
    (void)sim;
    (void)arg;
}

static void at(struct sim_kit *k, int64_t when_ns, weft_sim_action fn, const char *hosts)
{
    assert_int_equal(weft_sim_at(k->sim, when_ns, fn, (void *)(uintptr_t)hosts), 0);
}

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

/* Dials anew until all pings are answered, whatever becomes of the server. */
static int persist(void *arg)
{
    struct sim_kit_client *c = arg;
    while (c->done < c->pings) {
        struct weft_stream *s = NULL;
        int err = weft_dial(&s, "tcp://server:80", NULL, weft_after_s(1));
        while (err == 0 && c->done < c->pings) {
            err = sim_kit_ping(s, "ping\n", weft_after_s(1));
            c->done += err == 0;
            if (err == 0)
                err = weft_sleep_ms(c->pause_ms);
        }
        if (err == -ECANCELED) {
            weft_abort(&s);
            return err;
        }
        (void)weft_close(&s, weft_after_s(1));
        if (err < 0)
            CHECK_EQ(weft_sleep_ms(50), 0);
    }
    return 0;
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

/* --- Clocks -------------------------------------------------------------------------------- */

struct clocks {
    int64_t begun_mono, begun_wall, mono, wall;
};

static int read_clocks(void *arg)
{
    struct clocks *c = arg;
    c->begun_mono = weft_now_ns();
    c->begun_wall = weft_wall_ns();
    for (;;) {
        int err = weft_sleep_ms(100);
        if (err < 0)
            return err;
        c->mono = weft_now_ns() - c->begun_mono;
        c->wall = weft_wall_ns() - c->begun_wall;
    }
}

static void is_about(int64_t got, int64_t want)
{
    if (got < want - 200 * MILLI || got > want + 200 * MILLI)
        print_error("%lld is not about %lld\n", (long long)got, (long long)want);
    assert_true(got >= want - 200 * MILLI && got <= want + 200 * MILLI);
}

static void clocks_jump_and_drift(void **state)
{
    struct sim_kit k;
    struct clocks a = {0}, b = {0}, c = {0};
    struct weft_sim_host_options fast = {
        .service = true, .drift_ppm = 500000, .wall_offset_ns = 3600 * SECOND};
    (void)state;
    sim_kit_open(&k, 1);
    add_service(&k, "a", read_clocks, &a);
    add_service(&k, "b", read_clocks, &b);
    assert_int_equal(weft_sim_host_with(k.sim, "c", &fast, read_clocks, &c), 0);
    sim_kit_run(&k, 10 * SECOND, 0);
    is_about(a.mono, 10 * SECOND);
    is_about(a.wall, 10 * SECOND);
    is_about(c.mono, 15 * SECOND);
    is_about(c.begun_wall - a.begun_wall, 3600 * SECOND);
    assert_int_equal(weft_sim_clock(k.sim, "a", -5 * SECOND, 0), 0);
    assert_int_equal(weft_sim_clock(k.sim, "b", 0, -500000), 0);
    assert_int_equal(weft_sim_clock(k.sim, "c", 0, 0), 0);
    sim_kit_run(&k, 10 * SECOND, 0);
    is_about(a.mono, 20 * SECOND);
    is_about(a.wall, 15 * SECOND);
    is_about(b.mono, 15 * SECOND);
    is_about(c.mono, 25 * SECOND);
    sim_kit_close(&k, 0);
}

/* --- Links --------------------------------------------------------------------------------- */

static int time_ping(void *arg)
{
    struct weft_stream *s = NULL;
    CHECK_EQ(weft_dial(&s, "tcp://server:80", NULL, weft_after_s(60)), 0);
    int64_t begin = weft_now_ns();
    CHECK_EQ(sim_kit_ping(s, "ping\n", weft_after_s(600)), 0);
    *(int64_t *)arg = weft_now_ns() - begin;
    return weft_close(&s, weft_after_s(60));
}

static void links_have_their_latency(void **state)
{
    struct sim_kit k;
    int64_t took[3];
    struct weft_link l = {.latency_us = 40000};
    struct weft_link slow = {.latency_us = 200000};
    (void)state;
    sim_kit_open(&k, 1);
    sim_kit_server(&k);
    add(&k, "near", time_ping, &took[0]);
    add(&k, "far", time_ping, &took[1]);
    add(&k, "askew", time_ping, &took[2]);
    assert_int_equal(weft_sim_link(k.sim, "far", "server", &l), 0);
    assert_int_equal(weft_sim_link_oneway(k.sim, "server", "a*", &slow), 0);
    sim_kit_run(&k, 60 * SECOND, 0);
    assert_true(took[0] >= 1 * MILLI && took[0] < 2 * MILLI);
    assert_true(took[1] >= 80 * MILLI && took[1] < 82 * MILLI);
    assert_true(took[2] >= 200 * MILLI && took[2] < 203 * MILLI);
    sim_kit_close(&k, 0);
}

static void split(struct weft_sim *sim, void *arg)
{
    CHECK_EQ(weft_sim_partition(sim, arg, "server"), 0);
}

static void heal(struct weft_sim *sim, void *arg)
{
    CHECK_EQ(weft_sim_heal(sim, "server", arg), 0);
}

static void split_oneway(struct weft_sim *sim, void *arg)
{
    CHECK_EQ(weft_sim_partition_oneway(sim, "server", arg), 0);
}

static void partitions_hold_and_heal(void **state)
{
    static const weft_sim_action cuts[] = {split, split_oneway};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct sim_kit k;
        struct sim_kit_client c[2] = {{.pings = 50, .pause_ms = 100},
                                      {.pings = 50, .pause_ms = 100}};
        sim_kit_open(&k, 1);
        sim_kit_server(&k);
        add(&k, "left", sim_kit_client, &c[0]);
        add(&k, "right", sim_kit_client, &c[1]);
        at(&k, SECOND, cuts[i], "left");
        at(&k, 8 * SECOND, heal, "left");
        sim_kit_run(&k, 8 * SECOND, 0);
        assert_true(c[0].done < 12);
        assert_int_equal(c[1].done, 50);
        sim_kit_run(&k, 600 * SECOND, 0);
        assert_int_equal(c[0].done, 50);
        sim_kit_close(&k, 0);
    }
}

/* --- Want of things ------------------------------------------------------------------------ */

static void servers_and_clients_bear_faults(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct sim_kit k;
        struct sim_kit_client c = {.pings = 100, .pause_ms = 5};
        struct weft_sim_faults f = {.short_io = 0.3, .again = 0.3};
        sim_kit_open(&k, seed);
        sim_kit_server(&k);
        add(&k, "client", persist, &c);
        assert_int_equal(weft_sim_faults(k.sim, "*", &f), 0);
        if (seed > 5)
            f.no_files = 0.2;
        if (seed > 10)
            f.no_memory = 0.02;
        assert_int_equal(weft_sim_faults(k.sim, "client", &f), 0);
        sim_kit_run(&k, 600 * SECOND, 0);
        assert_int_equal(c.done, 100);
        sim_kit_close(&k, 0);
    }
    assert_false(atomic_load(&weft__alloc_hooks)); /* taken back with the last simulation */
}

static int allocate(void *arg)
{
    int *refused = arg;
    for (int i = 0; i < 1000; i++) {
        void *p = weft_task_alloc(10);
        *refused += p == NULL;
        weft_sim_note("line %d", i); /* the simulator's own memory is never short */
    }
    return 0;
}

static void allocations_fail_where_it_was_asked_for(void **state)
{
    struct sim_kit k;
    int some = 0, none = 0;
    struct weft_sim_faults f = {.no_memory = 0.25};
    (void)state;
    sim_kit_open(&k, 1);
    add(&k, "a", allocate, &some);
    add(&k, "b", allocate, &none);
    assert_int_equal(weft_sim_faults(k.sim, "a", &f), 0);
    sim_kit_run(&k, SECOND, 0);
    assert_true(some > 150 && some < 350);
    assert_int_equal(none, 0);
    sim_kit_close(&k, 0);
}

/* --- All of it, and still the same run ------------------------------------------------------ */

static void crash_in_check(struct weft_sim *sim, void *arg)
{
    *(bool *)arg = true;
    (void)sim;
}

/* Takes power from the server as soon as it is told to, from within a check. */
static int crash_when_told(struct weft_sim *sim, void *arg)
{
    bool *told = arg;
    if (*told) {
        *told = false;
        CHECK_EQ(weft_sim_crash(sim, "server"), 0);
        CHECK_EQ(weft_sim_restart(sim, "server"), 0);
    }
    return 0;
}

static uint64_t everything(uint64_t seed, uint64_t *steps)
{
    struct sim_kit k;
    struct sim_kit_client c[3] = {{.pings = 60, .pause_ms = 20},
                                  {.pings = 60, .pause_ms = 20},
                                  {.pings = 60, .pause_ms = 20}};
    struct weft_link l = {.jitter_us = 4000, .loss = 0.03, .bytes_per_s = 1000000};
    struct weft_sim_faults f = {
        .short_io = 0.1, .again = 0.1, .no_files = 0.05, .no_memory = 0.005};
    struct weft_sim_stats stats;
    bool told = false;
    sim_kit_open(&k, seed);
    sim_kit_server(&k);
    add(&k, "client-1", persist, &c[0]);
    add(&k, "client-2", persist, &c[1]);
    add(&k, "client-3", persist, &c[2]);
    assert_int_equal(weft_sim_link(k.sim, "*", "*", &l), 0);
    assert_int_equal(weft_sim_faults(k.sim, "client-*", &f), 0);
    assert_int_equal(weft_sim_check(k.sim, "crash", crash_when_told, &told), 0);
    assert_int_equal(weft_sim_clock(k.sim, "client-2", SECOND, 20000), 0);
    at(&k, SECOND / 4, split, "client-1");
    at(&k, SECOND / 2, pause_it, "client-3");
    at(&k, SECOND, heal, "client-1");
    assert_int_equal(weft_sim_at(k.sim, 3 * SECOND / 2, crash_in_check, &told), 0);
    at(&k, 2 * SECOND, resume, "client-3");
    sim_kit_run(&k, 600 * SECOND, 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(c[i].done, 60);
    weft_sim_stats(k.sim, &stats);
    *steps = stats.steps;
    uint64_t hash = weft_sim_hash(k.sim);
    sim_kit_close(&k, 0);
    return hash;
}

static void the_same_run_with_all_faults(void **state)
{
    uint64_t before = 0;
    (void)state;
    for (uint64_t seed = 1; seed <= 15; seed++) {
        uint64_t steps[2];
        uint64_t hash = everything(seed, &steps[0]);
        assert_int_equal(everything(seed, &steps[1]), hash);
        assert_int_equal(steps[0], steps[1]);
        assert_int_not_equal(hash, before);
        before = hash;
    }
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

/* --- No memory for the simulator itself ----------------------------------------------------- */

static int whole_life(void)
{
    struct weft_sim *sim = NULL;
    struct sim_kit_client c = {.pings = 2};
    struct weft_sim_host_options service = {.service = true, .may_fail = true};
    struct weft_sim_host_options client = {.may_fail = true};
    struct weft_link l = {.latency_us = 100};
    int err = weft_sim_open(&sim, &(struct weft_sim_options){.seed = 3, .quiet = true});
    if (err == 0)
        err = weft_sim_host_with(sim, "server", &service, sim_kit_echo_server, NULL);
    if (err == 0)
        err = weft_sim_host_with(sim, "client", &client, sim_kit_client, &c);
    if (err == 0)
        err = weft_sim_link(sim, "*", "*", &l);
    if (err == 0)
        err = weft_sim_at(sim, SECOND, restart, (void *)(uintptr_t) "client");
    if (err == 0)
        err = weft_sim_run(sim, 60 * SECOND);
    int closed = weft_sim_close(&sim);
    return err != 0 ? err : closed;
}

static void every_allocation_may_fail(void **state)
{
    uint64_t n = 0, ended = 0;
    (void)state;
    for (;;) {
        weft__alloc_fail_at(++n);
        uint64_t before = weft__alloc_count();
        int err = whole_life();
        weft__alloc_fail_at(0);
        if (err != 0 && err != -ENOMEM)
            print_error("allocation %llu: %s\n", (unsigned long long)n, weft_error_name(err));
        assert_true(err == 0 || err == -ENOMEM);
        ended += err == 0;
        if (weft__alloc_count() - before < n)
            break; /* there is no n-th one */
        assert_true(n < 10000);
    }
    assert_true(n > 50 && ended < n);
    atomic_store(&weft__alloc_hooks, false);
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
        cmocka_unit_test(clocks_jump_and_drift),
        cmocka_unit_test(links_have_their_latency),
        cmocka_unit_test(partitions_hold_and_heal),
        cmocka_unit_test(servers_and_clients_bear_faults),
        cmocka_unit_test(allocations_fail_where_it_was_asked_for),
        cmocka_unit_test(the_same_run_with_all_faults),
        cmocka_unit_test(a_restart_ends_a_pause),
        cmocka_unit_test(every_allocation_may_fail),
        cmocka_unit_test(a_task_that_ignores_its_crash_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
