/* SPDX-License-Identifier: MIT */
/* Simulations: programs as hosts, one seed one run, time, choices, what hosts may do. */
#include <unistd.h>

#include <weft/offload.h>
#include <weft/signal.h>

#include "sim_run_kit.h"

/* --- Opening ------------------------------------------------------------------------------- */

static void seed_of_options_or_environment(void **state)
{
    struct weft_sim *sim = NULL;
    (void)state;
    (void)unsetenv("WEFT_SIM_SEED");
    assert_int_equal(weft_sim_open(&sim, NULL), 0);
    assert_int_equal(weft_sim_seed(sim), 1);
    assert_int_equal(weft_sim_close(&sim), 0);
    assert_null(sim);
    (void)setenv("WEFT_SIM_SEED", "12345", 1);
    assert_int_equal(weft_sim_open(&sim, &(struct weft_sim_options){0}), 0);
    assert_int_equal(weft_sim_seed(sim), 12345);
    assert_int_equal(weft_sim_close(&sim), 0);
    assert_int_equal(weft_sim_open(&sim, &(struct weft_sim_options){.seed = 7}), 0);
    assert_int_equal(weft_sim_seed(sim), 7);
    assert_int_equal(weft_sim_close(&sim), 0);
    static const char *const bad[] = {"x", "12x", "-3", "0", "99999999999999999999999"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        (void)setenv("WEFT_SIM_SEED", bad[i], 1);
        assert_int_equal(weft_sim_open(&sim, NULL), -EINVAL);
        assert_non_null(strstr(weft_error_detail(), bad[i]));
        assert_null(sim);
    }
    (void)unsetenv("WEFT_SIM_SEED");
    assert_int_equal(weft_sim_close(&sim), 0);
}

static int open_another(void *arg)
{
    struct weft_sim *sim = NULL;
    (void)arg;
    CHECK_EQ(weft_sim_open(&sim, NULL), -EDEADLK);
    return 0;
}

static int run_again(void *arg)
{
    struct weft_sim *sim = arg;
    CHECK_EQ(weft_sim_run(sim, SECOND), -EDEADLK);
    CHECK_EQ(weft_sim_close(&sim), -EDEADLK);
    return 0;
}

static void *run_elsewhere(void *arg)
{
    struct weft_sim *sim = arg;
    CHECK_EQ(weft_sim_run(sim, SECOND), WEFT_ETHREAD);
    CHECK_EQ(weft_sim_close(&sim), WEFT_ETHREAD);
    CHECK_EQ(weft_sim_crash(sim, "a"), WEFT_ETHREAD);
    return NULL;
}

static void not_within_itself_nor_elsewhere(void **state)
{
    struct sim_kit k;
    pthread_t t;
    (void)state;
    assert_int_equal(weft_run(NULL, open_another, NULL), 0);
    sim_kit_open(&k, 1);
    assert_int_equal(weft_sim_host(k.sim, "a", open_another, NULL), 0);
    assert_int_equal(weft_sim_host(k.sim, "b", run_again, k.sim), 0);
    assert_int_equal(pthread_create(&t, NULL, run_elsewhere, k.sim), 0);
    assert_int_equal(pthread_join(t, NULL), 0);
    sim_kit_run(&k, SECOND, 0);
    sim_kit_close(&k, 0);
}

static int return_arg(void *arg)
{
    return *(int *)arg;
}

static void refuses_bad_arguments(void **state)
{
    struct sim_kit k;
    char longest[65];
    (void)state;
    sim_kit_open(&k, 1);
    memset(longest, 'a', sizeof longest);
    longest[64] = '\0';
    assert_int_equal(weft_sim_host(k.sim, longest, kit_nothing, NULL), -EINVAL);
    longest[63] = '\0';
    assert_int_equal(weft_sim_host(k.sim, longest, kit_nothing, NULL), 0);
    assert_int_equal(weft_sim_host(k.sim, longest, kit_nothing, NULL), -EEXIST);
    assert_int_equal(weft_sim_host(k.sim, "", kit_nothing, NULL), -EINVAL);
    assert_int_equal(weft_sim_host(k.sim, "a b", kit_nothing, NULL), -EINVAL);
    assert_int_equal(weft_sim_host(k.sim, "a", NULL, NULL), -EINVAL);
    assert_int_equal(weft_sim_host(NULL, "a", kit_nothing, NULL), -EINVAL);
    assert_int_equal(weft_sim_run(k.sim, -1), -EINVAL);
    assert_int_equal(weft_sim_run(NULL, 1), -EINVAL);
    assert_int_equal(weft_sim_at(k.sim, 0, NULL, NULL), -EINVAL);
    assert_int_equal(weft_sim_check(k.sim, "c", NULL, NULL), -EINVAL);
    assert_int_equal(weft_sim_crash(k.sim, "nobody"), -ENOENT);
    assert_int_equal(weft_sim_restart(k.sim, "nobod*"), -ENOENT);
    assert_int_equal(weft_sim_pause(k.sim, "b?"), -ENOENT);
    assert_int_equal(weft_sim_resume(k.sim, "b"), -ENOENT);
    assert_int_equal(weft_sim_signal(k.sim, "b", 15), -ENOENT);
    assert_int_equal(weft_sim_signal(k.sim, "a*", 0), -EINVAL);
    assert_int_equal(weft_sim_clock(k.sim, "b", 0, 0), -ENOENT);
    assert_int_equal(weft_sim_clock(k.sim, "a*", 0, -1000000), -EINVAL);
    assert_int_equal(weft_sim_clock(k.sim, "a*", INT64_MIN, 0), -EINVAL);
    assert_int_equal(weft_sim_link(k.sim, "a*", "b", &(struct weft_link){0}), -ENOENT);
    assert_int_equal(weft_sim_link(k.sim, "a*", "a*", &(struct weft_link){.loss = 1.5}), -EINVAL);
    assert_int_equal(weft_sim_link(k.sim, "*", "*", &(struct weft_link){.latency_us = -1}),
                     -EINVAL);
    assert_int_equal(weft_sim_link(k.sim, "*", "*", NULL), -EINVAL);
    assert_int_equal(weft_sim_partition(k.sim, "b", "a*"), -ENOENT);
    assert_int_equal(weft_sim_heal(k.sim, "a*", "b"), -ENOENT);
    assert_int_equal(weft_sim_faults(k.sim, "*", &(struct weft_sim_faults){.again = -1}), -EINVAL);
    assert_int_equal(weft_sim_faults(k.sim, "b", &(struct weft_sim_faults){.again = 1}), -ENOENT);
    assert_int_equal(weft_sim_disk(k.sim, "*", &(struct weft_sim_disk){.capacity = -1}), -EINVAL);
    assert_int_equal(weft_sim_disk(k.sim, "b", &(struct weft_sim_disk){0}), -ENOENT);
    assert_false(weft_sim_host_ended(k.sim, "b", NULL));
    assert_string_equal(weft_sim_failure(k.sim), "");
    sim_kit_close(&k, 0);
}

/* --- Hosts and time ------------------------------------------------------------------------ */

struct sleeper {
    int64_t woke_ns; /* by its own clock, since it began */
    char name[64];
    unsigned incarnation;
};

static int sleep_long(void *arg)
{
    struct sleeper *s = arg;
    int64_t begin = weft_now_ns();
    CHECK_EQ(weft_sleep_ms(INT64_C(3600000)), 0);
    s->woke_ns = weft_now_ns() - begin;
    (void)snprintf(s->name, sizeof s->name, "%s", weft_sim_host_name());
    s->incarnation = weft_sim_incarnation();
    return 42;
}

static void time_is_virtual(void **state)
{
    struct sim_kit k;
    struct sleeper s = {0};
    int result = 0;
    (void)state;
    sim_kit_open(&k, 1);
    assert_string_equal(weft_sim_host_name(), "");
    assert_int_equal(weft_sim_incarnation(), 0);
    assert_int_equal(weft_sim_now_ns(k.sim), 0);
    assert_int_equal(weft_sim_host(k.sim, "a", sleep_long, &s), 0);
    sim_kit_run(&k, 1800 * SECOND, 0);
    assert_int_equal(weft_sim_now_ns(k.sim), 1800 * SECOND); /* the span, to the nanosecond */
    assert_false(weft_sim_host_ended(k.sim, "a", &result));
    sim_kit_run(&k, 86400 * SECOND, 0);
    assert_true(weft_sim_host_ended(k.sim, "a", &result));
    assert_int_equal(result, 42);
    assert_true(s.woke_ns >= 3600 * SECOND && s.woke_ns < 3601 * SECOND);
    assert_true(weft_sim_now_ns(k.sim) < 3601 * SECOND); /* it ended, so the run did */
    assert_string_equal(s.name, "a");
    assert_int_equal(s.incarnation, 1);
    sim_kit_close(&k, 0);
}

static void pings(struct sim_kit *k, enum weft_model *model)
{
    struct sim_kit_client c[3] = {{.pings = 50}, {.pings = 20, .pause_ms = 3}, {.pings = 1}};
    struct weft_sim_host_options o = {.service = true};
    assert_int_equal(weft_sim_host_with(k->sim, "server", &o, sim_kit_echo_server, model), 0);
    assert_int_equal(weft_sim_host(k->sim, "client-1", sim_kit_client, &c[0]), 0);
    assert_int_equal(weft_sim_host(k->sim, "client-2", sim_kit_client, &c[1]), 0);
    assert_int_equal(weft_sim_host(k->sim, "client-3", sim_kit_client, &c[2]), 0);
    sim_kit_run(k, 60 * SECOND, 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(c[i].done, c[i].pings);
    struct weft_sim_stats stats;
    weft_sim_stats(k->sim, &stats);
    assert_int_equal(stats.connections, 3);
    assert_true(stats.steps > 100);
    assert_true(stats.events > 100);
    assert_true(stats.segments >= 142);
}

static void clients_and_server(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        struct sim_kit k;
        sim_kit_open(&k, seed);
        pings(&k, NULL);
        sim_kit_close(&k, 0);
    }
}

static void thread_model_in_a_host(void **state)
{
    struct sim_kit k;
    enum weft_model model = WEFT_THREADS;
    (void)state;
    sim_kit_open(&k, 1);
    pings(&k, &model);
    sim_kit_close(&k, 0);
}

static void services_alone_run_the_whole_span(void **state)
{
    struct sim_kit k;
    (void)state;
    struct weft_sim_host_options o = {.service = true};
    sim_kit_open(&k, 1);
    assert_int_equal(weft_sim_host_with(k.sim, "a", &o, kit_sleep_long, NULL), 0);
    sim_kit_run(&k, 5 * SECOND, 0);
    assert_int_equal(weft_sim_now_ns(k.sim), 5 * SECOND);
    sim_kit_run(&k, INT64_MAX, 0); /* nothing can happen, and nobody minds */
    assert_int_equal(weft_sim_now_ns(k.sim), 5 * SECOND);
    sim_kit_close(&k, 0);
}

/* --- One seed, one run --------------------------------------------------------------------- */

static void jitter(struct sim_kit *k)
{
    struct weft_link l = {.latency_us = 1000, .jitter_us = 2000};
    assert_int_equal(weft_sim_link(k->sim, "*", "*", &l), 0);
}

static uint64_t hash_of(uint64_t seed, bool in_order, uint64_t *steps)
{
    struct sim_kit k;
    struct sim_kit_client c[4];
    struct weft_sim_stats stats;
    sim_kit_open_with(&k, (struct weft_sim_options){.seed = seed, .in_order = in_order});
    sim_kit_server(&k);
    for (int i = 0; i < 4; i++) {
        char name[32];
        c[i] = (struct sim_kit_client){.pings = 20};
        (void)snprintf(name, sizeof name, "client-%d", i);
        assert_int_equal(weft_sim_host(k.sim, name, sim_kit_client, &c[i]), 0);
    }
    jitter(&k);
    sim_kit_run(&k, 60 * SECOND, 0);
    uint64_t hash = weft_sim_hash(k.sim);
    weft_sim_stats(k.sim, &stats);
    *steps = stats.steps;
    sim_kit_close(&k, 0);
    return hash;
}

static void same_seed_same_run(void **state)
{
    uint64_t before = 0;
    (void)state;
    for (uint64_t seed = 1; seed <= 5; seed++) {
        uint64_t steps[2];
        uint64_t hash = hash_of(seed, false, &steps[0]);
        assert_int_equal(hash_of(seed, false, &steps[1]), hash);
        assert_int_equal(steps[0], steps[1]);
        assert_int_not_equal(hash, before);
        before = hash;
        hash = hash_of(seed, true, &steps[0]);
        assert_int_equal(hash_of(seed, true, &steps[1]), hash);
        assert_int_not_equal(hash, before);
    }
}

static void scenario_has_numbers_of_its_own(void **state)
{
    struct sim_kit a, b;
    (void)state;
    sim_kit_open(&a, 5);
    sim_kit_open(&b, 5);
    for (int i = 0; i < 100; i++)
        assert_int_equal(weft_sim_random(a.sim), weft_sim_random(b.sim));
    assert_int_equal(weft_sim_host(a.sim, "a", kit_nothing, NULL), 0);
    sim_kit_run(&a, SECOND, 0);
    assert_int_equal(weft_sim_random(a.sim), weft_sim_random(b.sim));
    sim_kit_close(&a, 0);
    sim_kit_open(&a, 6);
    assert_int_not_equal(weft_sim_random(a.sim), weft_sim_random(b.sim));
    sim_kit_close(&a, 0);
    sim_kit_close(&b, 0);
}

/* --- Shuffling ----------------------------------------------------------------------------- */

static int write_one(void *arg)
{
    *(int *)arg = 1;
    return 0;
}

static int write_two(void *arg)
{
    *(int *)arg = 2;
    return 0;
}

/* Right only if tasks run in the order in which they were started. */
static int race(void *arg)
{
    int *last = arg;
    struct weft_group *g = kit_group();
    kit_go(g, "one", write_one, last);
    kit_go(g, "two", write_two, last);
    CHECK_EQ(weft_group_wait(g, WEFT_NEVER), 0);
    CHECK_EQ(weft_group_close(&g), 0);
    return 0;
}

static int last_writer(uint64_t seed, bool in_order)
{
    struct sim_kit k;
    int last = 0;
    sim_kit_open_with(&k, (struct weft_sim_options){.seed = seed, .in_order = in_order});
    assert_int_equal(weft_sim_host(k.sim, "a", race, &last), 0);
    sim_kit_run(&k, SECOND, 0);
    sim_kit_close(&k, 0);
    return last;
}

static void seeds_show_a_race(void **state)
{
    int seen[3] = {0, 0, 0};
    (void)state;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        seen[last_writer(seed, false)]++;
        assert_int_equal(last_writer(seed, true), 2);
    }
    assert_int_equal(seen[0], 0);
    assert_true(seen[1] >= 5 && seen[2] >= 5);
}

/* Who of two hosts comes first at one instant is chance, too. */
static int take_turn(void *arg)
{
    int *order = arg;
    *order = *order * 2 + (weft_sim_host_name()[0] == 'b');
    return 0;
}

static void hosts_are_shuffled(void **state)
{
    bool seen[4] = {false, false, false, false};
    (void)state;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct sim_kit k;
        int order = 0;
        sim_kit_open(&k, seed);
        assert_int_equal(weft_sim_host(k.sim, "a", take_turn, &order), 0);
        assert_int_equal(weft_sim_host(k.sim, "b", take_turn, &order), 0);
        sim_kit_run(&k, SECOND, 0);
        sim_kit_close(&k, 0);
        seen[order] = true;
    }
    assert_true(seen[1] && seen[2] && !seen[0] && !seen[3]);
}

/* --- Actions, checks, notes ---------------------------------------------------------------- */

struct acts {
    int n;
    int64_t when[8];
    int checks;
};

static void act(struct weft_sim *sim, void *arg)
{
    struct acts *a = arg;
    CHECK_EQ(weft_sim_host_name()[0], 0);
    a->when[a->n++] = weft_sim_now_ns(sim);
}

static void act_again(struct weft_sim *sim, void *arg)
{
    act(sim, arg);
    CHECK_EQ(weft_sim_at(sim, weft_sim_now_ns(sim) + SECOND, act, arg), 0);
    CHECK_EQ(weft_sim_at(sim, 0, act, arg), 0); /* in the past: now */
}

static int count_check(struct weft_sim *sim, void *arg)
{
    (void)sim;
    ((struct acts *)arg)->checks++;
    return 0;
}

static void actions_hold_the_run_and_come_in_order(void **state)
{
    struct sim_kit k;
    struct acts a = {0};
    struct weft_sim_stats stats;
    (void)state;
    sim_kit_open(&k, 1);
    assert_int_equal(weft_sim_host(k.sim, "a", kit_nothing, NULL), 0);
    assert_int_equal(weft_sim_check(k.sim, "count", count_check, &a), 0);
    assert_int_equal(weft_sim_at(k.sim, 3 * SECOND, act, &a), 0);
    assert_int_equal(weft_sim_at(k.sim, SECOND, act_again, &a), 0);
    assert_int_equal(weft_sim_at(k.sim, 100 * SECOND, act, &a), 0); /* beyond the span: dropped */
    sim_kit_run(&k, 50 * SECOND, 0);
    assert_int_equal(a.n, 4);
    assert_int_equal(a.when[0], SECOND);
    assert_int_equal(a.when[1], SECOND);
    assert_int_equal(a.when[2], 2 * SECOND);
    assert_int_equal(a.when[3], 3 * SECOND);
    assert_int_equal(weft_sim_now_ns(k.sim), 50 * SECOND);
    weft_sim_stats(k.sim, &stats);
    assert_int_equal(a.checks, stats.steps);
    sim_kit_close(&k, 0);
}

static int note_something(void *arg)
{
    (void)arg;
    weft_sim_note("the answer is %d\n", 42);
    return 0;
}

static void notes_and_trace(void **state)
{
    struct sim_kit k;
    char *text = NULL;
    size_t len = 0;
    FILE *trace = open_memstream(&text, &len);
    (void)state;
    assert_non_null(trace);
    weft_sim_note("nobody hears this");
    sim_kit_open_with(&k, (struct weft_sim_options){.seed = 1, .trace = trace});
    assert_int_equal(weft_sim_host(k.sim, "deep", note_something, NULL), 0);
    sim_kit_run(&k, SECOND, 0);
    uint64_t hash = weft_sim_hash(k.sim);
    sim_kit_close(&k, 0);
    (void)fclose(trace);
    assert_non_null(strstr(text, "deep: the answer is 42?\n"));
    assert_null(strstr(text, "nobody"));
    free(text);
    sim_kit_open(&k, 1);
    assert_int_equal(weft_sim_host(k.sim, "deep", note_something, NULL), 0);
    sim_kit_run(&k, SECOND, 0);
    assert_int_equal(weft_sim_hash(k.sim), hash); /* tracing changes nothing */
    sim_kit_close(&k, 0);
}

static void trace_file_of_the_environment(void **state)
{
    char name[] = "/tmp/weft-sim-trace-XXXXXX";
    struct sim_kit k;
    char text[4096];
    (void)state;
    int fd = mkstemp(name);
    assert_true(fd >= 0);
    (void)close(fd);
    (void)setenv("WEFT_SIM_TRACE", name, 1);
    for (uint64_t seed = 71; seed <= 72; seed++) {
        sim_kit_open(&k, seed);
        assert_int_equal(weft_sim_host(k.sim, "deep", note_something, NULL), 0);
        sim_kit_run(&k, SECOND, 0);
        sim_kit_close(&k, 0);
    }
    (void)setenv("WEFT_SIM_TRACE", "/nonexistent/file", 1);
    struct weft_sim *sim = NULL;
    assert_int_equal(weft_sim_open(&sim, NULL), -ENOENT);
    (void)unsetenv("WEFT_SIM_TRACE");
    FILE *f = fopen(name, "r");
    assert_non_null(f);
    text[fread(text, 1, sizeof text - 1, f)] = '\0';
    (void)fclose(f);
    (void)unlink(name);
    assert_non_null(strstr(text, "# simulation, seed 71\n"));
    assert_non_null(strstr(text, "# simulation, seed 72\n")); /* after the first, not instead */
    assert_non_null(strstr(text, "deep: the answer is 42"));
}

/* --- What hosts may do --------------------------------------------------------------------- */

static int nested(void *arg)
{
    CHECK(weft_loop_current() == *(struct weft_loop **)arg);
    CHECK_EQ(weft_sleep_ms(5), 0);
    return 17;
}

static int run_nested(void *arg)
{
    struct weft_loop *l = weft_loop_current();
    (void)arg;
    CHECK_EQ(strcmp(weft_driver_name(), "sim"), 0);
    CHECK_EQ(weft_run(NULL, nested, &l), 17);
    return 0;
}

static void nested_run_is_on_the_hosts_loop(void **state)
{
    struct sim_kit k;
    (void)state;
    sim_kit_open(&k, 1);
    assert_int_equal(weft_sim_host(k.sim, "a", run_nested, NULL), 0);
    sim_kit_run(&k, SECOND, 0);
    assert_true(weft_sim_host_ended(k.sim, "a", NULL));
    sim_kit_close(&k, 0);
}

static int go_outside(void *arg)
{
    struct weft_loop *l = NULL;
    struct weft_process *p = NULL;
    struct weft_stream *s = NULL;
    static const char *const argv[] = {"true", NULL};
    (void)arg;
    CHECK_EQ(weft_loop_open(&l, NULL), WEFT_EOUTSIDE);
    CHECK(strstr(weft_error_detail(), "weft_loop_open") != NULL);
    CHECK_EQ(weft_process_open(&p, &(struct weft_process_options){.argv = argv}), WEFT_EOUTSIDE);
    CHECK_EQ(weft_stream_from_fd(&s, 0), WEFT_EOUTSIDE);
    return weft_poll(0, 1, WEFT_NEVER);
}

static void calls_outside_are_refused_by_name(void **state)
{
    struct sim_kit k;
    (void)state;
    sim_kit_open(&k, 1);
    assert_int_equal(weft_sim_host(k.sim, "a", go_outside, NULL), 0);
    sim_kit_run(&k, SECOND, WEFT_EOUTSIDE);
    sim_kit_has(&k, ": WEFT_EOUTSIDE: host a (incarnation 1): main returned WEFT_EOUTSIDE");
    sim_kit_close(&k, WEFT_EOUTSIDE);
}

/* A host that a task adds runs as all others; its result is kept. */
static int add_host(void *arg)
{
    CHECK_EQ(weft_sim_host(NULL, "late", return_arg, arg), 0);
    return weft_sleep_ms(1);
}

static void hosts_are_added_in_the_run(void **state)
{
    struct sim_kit k;
    int seven = 7, result = 0;
    (void)state;
    sim_kit_open(&k, 1);
    assert_int_equal(weft_sim_host(k.sim, "a", add_host, &seven), 0);
    sim_kit_run(&k, SECOND, 0);
    assert_true(weft_sim_host_ended(k.sim, "late", &result));
    assert_int_equal(result, 7);
    assert_int_equal(weft_sim_host(k.sim, "later", return_arg, &seven), 0);
    sim_kit_run(&k, SECOND, 0);
    assert_true(weft_sim_host_ended(k.sim, "later", &result));
    assert_int_equal(weft_sim_host(k.sim, "never", return_arg, &seven), 0);
    sim_kit_close(&k, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(seed_of_options_or_environment),
        cmocka_unit_test(not_within_itself_nor_elsewhere),
        cmocka_unit_test(refuses_bad_arguments),
        cmocka_unit_test(time_is_virtual),
        cmocka_unit_test(clients_and_server),
        cmocka_unit_test(thread_model_in_a_host),
        cmocka_unit_test(services_alone_run_the_whole_span),
        cmocka_unit_test(same_seed_same_run),
        cmocka_unit_test(scenario_has_numbers_of_its_own),
        cmocka_unit_test(seeds_show_a_race),
        cmocka_unit_test(hosts_are_shuffled),
        cmocka_unit_test(actions_hold_the_run_and_come_in_order),
        cmocka_unit_test(notes_and_trace),
        cmocka_unit_test(trace_file_of_the_environment),
        cmocka_unit_test(nested_run_is_on_the_hosts_loop),
        cmocka_unit_test(calls_outside_are_refused_by_name),
        cmocka_unit_test(hosts_are_added_in_the_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
