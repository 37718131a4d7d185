/* SPDX-License-Identifier: MIT */
/* Failures of simulations: each by its name, and what the report says of it. */
#include <inttypes.h>
#include <unistd.h>

#include "sim_run_kit.h"

/* The report has one form; whoever reads it gets these. */
struct first_line {
    uint64_t seed;
    double seconds;
    uint64_t steps;
    char code[40];
    char sentence[500];
};

static struct first_line first_line(struct sim_kit *k)
{
    struct first_line l = {0};
    const char *text = sim_kit_text(k);
    int n = sscanf(text,
                   "simulation failed: seed %" SCNu64 ", after %lf s (%" SCNu64
                   " steps): %39[^:]: %499[^\n]",
                   &l.seed, &l.seconds, &l.steps, l.code, l.sentence);
    if (n != 5)
        print_error("%s", text);
    assert_int_equal(n, 5);
    return l;
}

static void add(struct sim_kit *k, const char *name, weft_fn fn, void *arg)
{
    assert_int_equal(weft_sim_host(k->sim, name, fn, arg), 0);
}

/* --- Deadlock and livelock ----------------------------------------------------------------- */

static int wait_for_nothing(void *arg)
{
    struct weft_event e = WEFT_EVENT_INIT;
    (void)arg;
    return weft_event_wait(&e, WEFT_NEVER);
}

static int sleep_a_little(void *arg)
{
    (void)arg;
    return weft_sleep_ms(1500);
}

static void a_deadlock_shows_who_waits(void **state)
{
    struct sim_kit k;
    (void)state;
    sim_kit_open(&k, 9);
    struct weft_sim_host_options o = {.service = true};
    assert_int_equal(weft_sim_host_with(k.sim, "server", &o, wait_for_nothing, NULL), 0);
    add(&k, "client", wait_for_nothing, NULL);
    add(&k, "other", sleep_a_little, NULL);
    sim_kit_run(&k, 3600 * SECOND, WEFT_EDEADLOCK);
    struct first_line l = first_line(&k);
    assert_int_equal(l.seed, 9);
    assert_true(l.seconds >= 1.5 && l.seconds < 2);
    assert_true(l.steps > 3);
    assert_string_equal(l.code, "WEFT_EDEADLOCK");
    assert_string_equal(l.sentence, "nothing can happen any more, and main waits: 1 host, client");
    assert_string_equal(l.sentence, weft_sim_failure(k.sim));
    assert_string_equal(l.sentence, weft_error_detail());
    sim_kit_has(&k, "host client, incarnation 1:\n  loop client (sim), 1 tasks");
    sim_kit_has(&k, "task main #1 (client) waits in event");
    sim_kit_has(&k, "host server, incarnation 1:\n"); /* it may be what the client waits for */
    assert_null(strstr(sim_kit_text(&k), "host other"));
    assert_int_equal(weft_sim_run(k.sim, SECOND), WEFT_EDEADLOCK); /* and again */
    sim_kit_close(&k, WEFT_EDEADLOCK);
}

static int wait_for_a_word(void *arg)
{
    struct weft_stream *s = NULL;
    char byte;
    (void)arg;
    int err = weft_dial(&s, "tcp://server:80", NULL, weft_after_s(5));
    if (err == 0)
        err = (int)weft_read(s, &byte, 1, WEFT_NEVER);
    weft_abort(&s);
    return err;
}

/* A server has a timer, by which something always happens. */
static void a_deadlock_beside_a_server(void **state)
{
    struct sim_kit k;
    (void)state;
    sim_kit_open(&k, 1);
    sim_kit_server(&k);
    add(&k, "client", wait_for_a_word, NULL);
    sim_kit_run(&k, 1800 * SECOND, 0); /* too early to say */
    sim_kit_run(&k, 864000 * SECOND, WEFT_EDEADLOCK);
    assert_true(weft_sim_now_ns(k.sim) >= 3600 * SECOND);
    assert_true(weft_sim_now_ns(k.sim) < 3700 * SECOND);
    sim_kit_has(&k, "task main #1 (client) waits in read");
    sim_kit_close(&k, WEFT_EDEADLOCK);
}

static int sleep_for_hours(void *arg)
{
    (void)arg;
    return weft_sleep_ms(INT64_C(20) * 3600 * 1000);
}

static void long_sleep_is_no_deadlock(void **state)
{
    struct sim_kit k;
    (void)state;
    sim_kit_open(&k, 1);
    sim_kit_server(&k);
    add(&k, "client", sleep_for_hours, NULL);
    sim_kit_run(&k, INT64_MAX, 0);
    assert_true(weft_sim_now_ns(k.sim) >= 72000 * SECOND);
    sim_kit_close(&k, 0);
}

static void nobody_resumes_a_paused_host(void **state)
{
    struct sim_kit k;
    (void)state;
    sim_kit_open(&k, 1);
    add(&k, "a", sleep_a_little, NULL);
    assert_int_equal(weft_sim_pause(k.sim, "a"), 0);
    sim_kit_run(&k, 3600 * SECOND, WEFT_EDEADLOCK);
    sim_kit_has(&k, "1 host, a (paused)\n");
    sim_kit_has(&k, "host a, incarnation 1, paused:\n");
    sim_kit_close(&k, WEFT_EDEADLOCK);
}

static int yield_for_ever(void *arg)
{
    (void)arg;
    while (weft_yield() == 0) {
    }
    return 0;
}

static void a_livelock_shows_who_runs(void **state)
{
    struct sim_kit k;
    (void)state;
    sim_kit_open_with(&k, (struct weft_sim_options){.seed = 1, .max_steps_at_once = 500});
    add(&k, "busy", yield_for_ever, NULL);
    add(&k, "idle", sleep_a_little, NULL);
    assert_int_equal(weft_sim_pause(k.sim, "busy"), 0);
    sim_kit_run(&k, SECOND, 0);
    assert_int_equal(weft_sim_resume(k.sim, "busy"), 0);
    sim_kit_run(&k, SECOND, WEFT_ELIVELOCK);
    struct first_line l = first_line(&k);
    assert_string_equal(l.code, "WEFT_ELIVELOCK");
    assert_string_equal(l.sentence, "501 steps, and time stands still: 1 host, busy");
    sim_kit_has(&k, "task main #1 (busy) ready");
    assert_null(strstr(sim_kit_text(&k), "host idle"));
    sim_kit_close(&k, WEFT_ELIVELOCK);
}

/* --- Leaks --------------------------------------------------------------------------------- */

static int leak_listener(void *arg)
{
    struct weft_listener *l = NULL;
    CHECK_EQ(weft_sleep_ms(250), 0);
    CHECK_EQ(weft_listen(&l, "tcp://*:80", NULL), 0);
    *(struct weft_listener **)arg = l; /* and forgotten */
    return 0;
}

static void a_leaked_listener(void **state)
{
    struct sim_kit k;
    struct weft_listener *l = NULL;
    (void)state;
    sim_kit_open(&k, 1);
    add(&k, "a", leak_listener, &l);
    sim_kit_run(&k, SECOND, WEFT_ELEAK);
    struct first_line line = first_line(&k);
    assert_string_equal(line.code, "WEFT_ELEAK");
    assert_string_equal(line.sentence, "host a (incarnation 1) has ended and left 1 open");
    sim_kit_has(&k, "listen");
    sim_kit_has(&k, ":80, opened by main (a) at 0.2");
    sim_kit_close(&k, WEFT_ELEAK);
    free(l);
}

static int leak_stream(void *arg)
{
    return weft_dial(arg, "tcp://server:80", NULL, weft_after_s(5));
}

static void a_leaked_stream(void **state)
{
    struct sim_kit k;
    struct weft_stream *s = NULL;
    (void)state;
    sim_kit_open(&k, 1);
    sim_kit_server(&k);
    add(&k, "a", leak_stream, &s);
    sim_kit_run(&k, 10 * SECOND, WEFT_ELEAK);
    sim_kit_has(&k, "  tcp stream 10.0.0.2:");
    sim_kit_has(&k, " opened by main (a) at 0.0");
    sim_kit_close(&k, WEFT_ELEAK);
    free(s);
}

static int leak_pipe(void *arg)
{
    struct weft_stream **ends = arg;
    CHECK_EQ(weft_pipe_open(&ends[0], &ends[1], 0), 0);
    CHECK_EQ(weft_close(&ends[0], WEFT_NEVER), 0);
    return 0;
}

static void a_leaked_pipe(void **state)
{
    static struct weft_stream *ends[2]; /* which nobody frees, and a leak checker still finds */
    struct sim_kit k;
    (void)state;
    sim_kit_open(&k, 1);
    add(&k, "a", leak_pipe, ends);
    sim_kit_run(&k, SECOND, WEFT_ELEAK);
    sim_kit_has(&k, "  1 ends of pipes in memory\n");
    sim_kit_close(&k, WEFT_ELEAK);
}

static int serve_and_keep(void *arg)
{
    CHECK_EQ(weft_listen(arg, "tcp://*:81", NULL), 0);
    return weft_sleep_until(WEFT_NEVER);
}

/* What a service leaves open when it is asked to end shows in close, not before. */
static void a_leak_that_comes_to_light_in_close(void **state)
{
    struct sim_kit k;
    struct weft_listener *l = NULL;
    struct weft_sim_host_options o = {.service = true};
    (void)state;
    sim_kit_open(&k, 1);
    assert_int_equal(weft_sim_host_with(k.sim, "s", &o, serve_and_keep, &l), 0);
    sim_kit_run(&k, SECOND, 0);
    assert_int_equal(weft_sim_close(&k.sim), WEFT_ELEAK);
    sim_kit_has(&k, "host s (incarnation 1) has ended and left 1 open");
    (void)fclose(k.report);
    free(k.text);
    free(l);
}

/* --- Results of main ----------------------------------------------------------------------- */

static int fail_with_detail(void *arg)
{
    struct weft_stream *s = NULL;
    (void)arg;
    return weft_dial(&s, "tcp://nobody:80", NULL, WEFT_NEVER);
}

static void mains_error_with_its_detail(void **state)
{
    struct sim_kit k;
    int result = 0;
    struct weft_sim_host_options o = {.may_fail = true};
    (void)state;
    sim_kit_open(&k, 1);
    add(&k, "a", fail_with_detail, NULL);
    sim_kit_run(&k, SECOND, WEFT_ENAME);
    assert_string_equal(first_line(&k).code, "WEFT_ENAME");
    sim_kit_has(
        &k,
        "host a (incarnation 1): main returned WEFT_ENAME: tcp://nobody:80: nobody: no such name");
    sim_kit_close(&k, WEFT_ENAME);

    sim_kit_open(&k, 1);
    assert_int_equal(weft_sim_host_with(k.sim, "a", &o, fail_with_detail, NULL), 0);
    sim_kit_run(&k, SECOND, 0);
    assert_true(weft_sim_host_ended(k.sim, "a", &result));
    assert_int_equal(result, WEFT_ENAME);
    sim_kit_close(&k, 0);
}

static struct weft_group *orphan;

static int leave_group(void *arg)
{
    (void)arg;
    orphan = kit_group();
    kit_go(orphan, "child", kit_sleep_long, NULL);
    return 0;
}

static void an_open_group_is_an_orphan(void **state)
{
    struct sim_kit k;
    (void)state;
    sim_kit_open(&k, 1);
    add(&k, "a", leave_group, NULL);
    sim_kit_run(&k, SECOND, WEFT_EORPHAN);
    assert_string_equal(first_line(&k).code, "WEFT_EORPHAN");
    sim_kit_close(&k, WEFT_EORPHAN);
}

/* --- Checks and weft_sim_fail -------------------------------------------------------------- */

static int count_up(void *arg)
{
    int err = 0;
    for (int *n = arg; *n < 100 && err == 0; (*n)++)
        err = weft_sleep_ms(10);
    return err;
}

static int below_five(struct weft_sim *sim, void *arg)
{
    int n = *(int *)arg;
    return n < 5 ? 0 : weft_sim_fail(sim, "n is %d", n);
}

static int code_only(struct weft_sim *sim, void *arg)
{
    (void)sim;
    return *(int *)arg < 5 ? 0 : -EINVAL;
}

static void a_check_ends_the_run(void **state)
{
    struct sim_kit k;
    int n = 0;
    (void)state;
    sim_kit_open(&k, 1);
    add(&k, "a", count_up, &n);
    assert_int_equal(weft_sim_check(k.sim, "small", below_five, &n), 0);
    sim_kit_run(&k, 10 * SECOND, WEFT_ECHECK);
    assert_int_equal(n, 5);
    assert_string_equal(first_line(&k).code, "WEFT_ECHECK");
    assert_string_equal(weft_sim_failure(k.sim), "check 'small': n is 5");
    sim_kit_close(&k, WEFT_ECHECK);

    n = 0;
    sim_kit_open(&k, 1);
    add(&k, "a", count_up, &n);
    assert_int_equal(weft_sim_check(k.sim, "small", code_only, &n), 0);
    sim_kit_run(&k, 10 * SECOND, WEFT_ECHECK);
    assert_string_equal(weft_sim_failure(k.sim), "check 'small' says EINVAL");
    sim_kit_close(&k, WEFT_ECHECK);
}

static int fail_twice(void *arg)
{
    (void)arg;
    CHECK_EQ(weft_sleep_ms(10), 0);
    CHECK_EQ(weft_sim_fail(NULL, "first, from %s", weft_sim_host_name()), WEFT_ECHECK);
    CHECK_EQ(weft_sim_fail(NULL, "second"), WEFT_ECHECK);
    return weft_sleep_ms(10);
}

static void fail_action(struct weft_sim *sim, void *arg)
{
    (void)arg;
    (void)weft_sim_fail(sim, "an action\nsays so");
}

static void fail_from_everywhere(void **state)
{
    struct sim_kit k;
    (void)state;
    assert_int_equal(weft_sim_fail(NULL, "x"), -EINVAL);
    sim_kit_open(&k, 1);
    add(&k, "a", fail_twice, NULL);
    sim_kit_run(&k, SECOND, WEFT_ECHECK);
    assert_string_equal(weft_sim_failure(k.sim), "first, from a");
    sim_kit_close(&k, WEFT_ECHECK);

    sim_kit_open(&k, 1);
    add(&k, "a", sleep_a_little, NULL);
    assert_int_equal(weft_sim_at(k.sim, SECOND, fail_action, NULL), 0);
    sim_kit_run(&k, 10 * SECOND, WEFT_ECHECK);
    assert_string_equal(weft_sim_failure(k.sim), "an action?says so");
    assert_int_equal(weft_sim_now_ns(k.sim), SECOND);
    sim_kit_close(&k, WEFT_ECHECK);

    sim_kit_open(&k, 1);
    assert_int_equal(weft_sim_fail(k.sim, "before it began"), WEFT_ECHECK);
    sim_kit_run(&k, SECOND, WEFT_ECHECK);
    sim_kit_close(&k, WEFT_ECHECK);
}

/* --- The report ---------------------------------------------------------------------------- */

static int note_lines(void *arg)
{
    (void)arg;
    for (int i = 0; i < 20; i++)
        weft_sim_note("line %d", i);
    return -EIO;
}

static void the_report_in_full(void **state)
{
    struct sim_kit k;
    (void)state;
    sim_kit_open_with(&k, (struct weft_sim_options){.seed = 1234, .trace_last = 5});
    add(&k, "a", note_lines, NULL);
    sim_kit_run(&k, SECOND, -EIO);
    const char *text = sim_kit_text(&k);
    struct first_line l = first_line(&k);
    assert_int_equal(l.seed, 1234);
    assert_string_equal(l.code, "EIO");
    const char *events = strstr(text, "\nthe last 5 events:\n");
    const char *replay = strstr(text, "\nreplay: WEFT_SIM_SEED=1234 ");
    assert_non_null(events);
    assert_non_null(replay);
    assert_true(events < replay);
    assert_null(strstr(text, "line 15\n"));
    assert_non_null(strstr(events, "a: line 19\n"));
    assert_non_null(strstr(replay, "test_sim_failures"));
    assert_non_null(strstr(replay, "WEFT_SIM_TRACE=FILE"));
    /* Told once. */
    assert_int_equal(weft_sim_run(k.sim, SECOND), -EIO);
    assert_null(strstr(sim_kit_text(&k) + 20, "simulation failed"));
    sim_kit_close(&k, -EIO);
}

/* The command is as a shell takes it, whatever the arguments were. */
static void the_replay_is_quoted(void **state)
{
    char path[400], command[1024], text[4000];
    (void)state;
    ssize_t len = readlink("/proc/self/exe", path, sizeof path - 1);
    assert_true(len > 0);
    path[len] = '\0';
    (void)snprintf(command, sizeof command, "%s'%s' 'a b' \"it's\" --x=1 ''", kit_emulator(), path);
    FILE *f = popen(command, "r"); /* which comes to fail_for_a_parent */
    assert_non_null(f);
    text[fread(text, 1, sizeof text - 1, f)] = '\0';
    assert_int_equal(pclose(f), 0);
    (void)snprintf(command, sizeof command, "test_sim_failures 'a b' 'it'\\''s' --x=1 ''\n");
    if (strstr(text, command) == NULL)
        print_error("%s", text);
    assert_non_null(strstr(text, command));
}

static int fail_for_a_parent(void)
{
    struct weft_sim *sim = NULL;
    CHECK_EQ(weft_sim_open(&sim, &(struct weft_sim_options){.seed = 1, .report = stdout}), 0);
    CHECK_EQ(weft_sim_fail(sim, "on purpose"), WEFT_ECHECK);
    CHECK_EQ(weft_sim_close(&sim), WEFT_ECHECK);
    return 0;
}

static void a_quiet_simulation_tells_nothing(void **state)
{
    struct sim_kit k;
    (void)state;
    sim_kit_open_with(&k, (struct weft_sim_options){.seed = 1, .quiet = true});
    add(&k, "a", note_lines, NULL);
    sim_kit_run(&k, SECOND, -EIO);
    assert_string_equal(sim_kit_text(&k), "");
    assert_string_equal(weft_sim_failure(k.sim), "host a (incarnation 1): main returned EIO");
    sim_kit_close(&k, -EIO);
}

/* The same seed fails at the same step in the same words. */
static void a_failure_is_replayed(void **state)
{
    char *first = NULL;
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct sim_kit k;
        int n = 0;
        struct sim_kit_client c = {.pings = 100};
        struct weft_link l = {.latency_us = 300, .jitter_us = 5000, .loss = 0.05};
        sim_kit_open(&k, 77);
        sim_kit_server(&k);
        add(&k, "client", sim_kit_client, &c);
        add(&k, "a", count_up, &n);
        assert_int_equal(weft_sim_link(k.sim, "*", "*", &l), 0);
        assert_int_equal(weft_sim_check(k.sim, "small", below_five, &n), 0);
        sim_kit_run(&k, 10 * SECOND, WEFT_ECHECK);
        if (i == 0)
            first = strdup(sim_kit_text(&k));
        else
            assert_string_equal(sim_kit_text(&k), first);
        sim_kit_close(&k, WEFT_ECHECK);
    }
    free(first);
}

int main(int argc, char **argv)
{
    (void)argv;
    if (argc > 1)
        return fail_for_a_parent();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_deadlock_shows_who_waits),
        cmocka_unit_test(a_deadlock_beside_a_server),
        cmocka_unit_test(long_sleep_is_no_deadlock),
        cmocka_unit_test(nobody_resumes_a_paused_host),
        cmocka_unit_test(a_livelock_shows_who_runs),
        cmocka_unit_test(a_leaked_listener),
        cmocka_unit_test(a_leaked_stream),
        cmocka_unit_test(a_leaked_pipe),
        cmocka_unit_test(a_leak_that_comes_to_light_in_close),
        cmocka_unit_test(mains_error_with_its_detail),
        cmocka_unit_test(an_open_group_is_an_orphan),
        cmocka_unit_test(a_check_ends_the_run),
        cmocka_unit_test(fail_from_everywhere),
        cmocka_unit_test(the_report_in_full),
        cmocka_unit_test(the_replay_is_quoted),
        cmocka_unit_test(a_quiet_simulation_tells_nothing),
        cmocka_unit_test(a_failure_is_replayed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
