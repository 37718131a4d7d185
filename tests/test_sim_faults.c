/* SPDX-License-Identifier: MIT */
/* What a scenario does to clocks, links, files and memory; and that a run can still be repeated. */
#include "base/alloc.h"
#include "sim_fault_kit.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(clocks_jump_and_drift),
        cmocka_unit_test(links_have_their_latency),
        cmocka_unit_test(partitions_hold_and_heal),
        cmocka_unit_test(servers_and_clients_bear_faults),
        cmocka_unit_test(allocations_fail_where_it_was_asked_for),
        cmocka_unit_test(the_same_run_with_all_faults),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
