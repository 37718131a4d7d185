/* SPDX-License-Identifier: MIT */
/*
 * The examples, unchanged, as hosts of a simulation: their main is called in a host's task
 * (tests/meson.build gives it another name), their clients are other hosts, and a signal ends them.
 */
#include "sim_run_kit.h"

#include <signal.h>

#define SEEDS 20
#define CLIENTS 3
#define HELLO "Hello, World!\n"

typedef int (*program)(int argc, char **argv);
int example_03_main(int argc, char **argv);
int example_04_main(int argc, char **argv);
int example_08_main(int argc, char **argv);
int example_11_main(int argc, char **argv);

/* --- The world ----------------------------------------------------------------------------- */

static struct {
    struct sim_kit kit;
    int done[CLIENTS];
    int lost; /* connections that the end of the server has ended */
    int seated;
    unsigned greeted; /* incarnations of the server that have heard "hello" */
    bool over;
} w;

static int run_server(void *arg)
{
    char *argv[] = {(char *)"example", (char *)"tcp://0.0.0.0:8888", NULL};
    return (*(program *)arg)(2, argv);
}

static int run_client(void *arg)
{
    char *argv[] = {(char *)"example", (char *)"tcp://server:8888", NULL};
    return (*(program *)arg)(2, argv);
}

/* The server is example `main`; n clients. */
static void open_world(uint64_t seed, program *main, weft_fn client, int n)
{
    static int numbers[CLIENTS] = {0, 1, 2};
    struct weft_link l = {.latency_us = 800, .jitter_us = 2000, .loss = 0.01};
    struct weft_sim_faults f = {.short_io = 0.1, .again = 0.1};
    struct weft_sim_host_options o = {.service = true};
    char name[24];
    memset(&w, 0, sizeof w);
    sim_kit_open(&w.kit, seed);
    assert_int_equal(weft_sim_host_with(w.kit.sim, "server", &o, run_server, main), 0);
    for (int i = 0; i < n; i++) {
        (void)snprintf(name, sizeof name, "client-%d", i);
        assert_int_equal(weft_sim_host(w.kit.sim, name, client, &numbers[i]), 0);
    }
    assert_int_equal(weft_sim_link(w.kit.sim, "*", "*", &l), 0);
    assert_int_equal(weft_sim_faults(w.kit.sim, "*", &f), 0);
}

/* The server may not listen yet. */
static struct weft_stream *dial(void)
{
    struct weft_stream *s = NULL;
    int err;
    while ((err = weft_dial(&s, "tcp://server:8888", NULL, weft_after_s(30))) == -ECONNREFUSED)
        CHECK_EQ(weft_sleep_ms(10), 0);
    CHECK_EQ(err, 0);
    return s;
}

static void end_server(void)
{
    assert_int_equal(weft_sim_signal(w.kit.sim, "server", SIGTERM), 0);
    sim_kit_run(&w.kit, 60 * SECOND, 0);
}

/* --- 03: a greeting, in tasks -------------------------------------------------------------- */

static int greeted(void *arg)
{
    char text[sizeof HELLO];
    struct weft_stream *s = dial();
    CHECK_EQ(weft_read_full(s, text, strlen(HELLO), weft_after_s(60)), 0);
    CHECK(memcmp(text, HELLO, strlen(HELLO)) == 0);
    CHECK_EQ(weft_write(s, "good day", 8, weft_after_s(60)), 0);
    /* It reads once; if that gave it a part only, the rest is answered by a reset. */
    ssize_t n = weft_read(s, text, sizeof text, weft_after_s(60));
    CHECK(n == 0 || n == -ECONNRESET);
    w.done[*(int *)arg]++;
    return weft_close(&s, weft_after_s(60));
}

/* A simulation ends when all but servers have nothing to do: so it lasts while one drains. */
static int nap(void *arg)
{
    (void)arg;
    return weft_sleep_ms(100);
}

static void tasks(void **state)
{
    program main = example_03_main;
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        int result = -1;
        open_world(seed, &main, greeted, CLIENTS);
        sim_kit_run(&w.kit, 600 * SECOND, 0);
        for (int i = 0; i < CLIENTS; i++)
            assert_int_equal(w.done[i], 1);
        assert_false(weft_sim_host_ended(w.kit.sim, "server", &result));
        assert_int_equal(weft_sim_signal(w.kit.sim, "server", SIGTERM), 0);
        assert_int_equal(weft_sim_host(w.kit.sim, "clock", nap, NULL), 0);
        for (int i = 0; i < 10 && result != 0; i++) {
            sim_kit_run(&w.kit, SECOND, 0);
            assert_int_equal(weft_sim_restart(w.kit.sim, "clock"), 0); /* a reason to go on */
            (void)weft_sim_host_ended(w.kit.sim, "server", &result);
        }
        assert_int_equal(result, 0); /* it drained, and returned from main */
        sim_kit_close(&w.kit, 0);
    }
}

/* --- 04: echo, as a protocol --------------------------------------------------------------- */

static int echoed(void *arg)
{
    char out[1000], back[1000];
    struct weft_stream *s = dial();
    for (int i = 0; i < 10; i++) {
        memset(out, 'a' + i, sizeof out);
        CHECK_EQ(weft_write(s, out, sizeof out, weft_after_s(60)), 0);
        CHECK_EQ(weft_read_full(s, back, sizeof back, weft_after_s(60)), 0);
        CHECK(memcmp(out, back, sizeof out) == 0);
    }
    w.done[*(int *)arg]++;
    while (!w.over)
        CHECK_EQ(weft_sleep_ms(10), 0);
    /* The process dies of the signal, and its kernel closes the connection. */
    ssize_t n = weft_read(s, back, sizeof back, weft_after_s(60));
    CHECK(n == 0 || n == -ECONNRESET);
    w.lost++;
    weft_abort(&s);
    return 0;
}

static void protocol(void **state)
{
    program main = example_04_main;
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        open_world(seed, &main, echoed, CLIENTS);
        sim_kit_run(&w.kit, 30 * SECOND, 0);
        for (int i = 0; i < CLIENTS; i++)
            assert_int_equal(w.done[i], 1);
        w.over = true;
        end_server();
        assert_int_equal(w.lost, CLIENTS);
        sim_kit_close(&w.kit, 0);
    }
}

/* --- 08: a chat ---------------------------------------------------------------------------- */

static int chatted(void *arg)
{
    int me = *(int *)arg, heard[CLIENTS] = {0};
    struct weft_stream *s = dial();
    char line[64];
    w.seated++; /* seated: it may still be on the way there */
    while (w.seated < CLIENTS)
        CHECK_EQ(weft_sleep_ms(10), 0);
    CHECK_EQ(weft_sleep_ms(5000), 0);
    for (int i = 1; i <= 5; i++)
        CHECK_EQ(weft_printf(s, weft_after_s(60), "%d %d\n", me, i), 0);
    for (int n = 0; n < 5 * (CLIENTS - 1); n++) {
        int who, number;
        ssize_t len = weft_read_until(s, line, sizeof line - 1, '\n', weft_after_s(60));
        CHECK(len > 0);
        line[len] = '\0';
        CHECK_EQ(sscanf(line, "%d %d", &who, &number), 2);
        CHECK(who >= 0 && who < CLIENTS && who != me);
        CHECK_EQ(number, ++heard[who]); /* in order, none twice, none dropped */
    }
    w.done[me]++;
    while (!w.over)
        CHECK_EQ(weft_sleep_ms(10), 0);
    return weft_close(&s, weft_after_s(60));
}

static void chat(void **state)
{
    program main = example_08_main;
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        open_world(seed, &main, chatted, CLIENTS);
        sim_kit_run(&w.kit, 30 * SECOND, 0);
        for (int i = 0; i < CLIENTS; i++)
            assert_int_equal(w.done[i], 1);
        w.over = true;
        sim_kit_run(&w.kit, 60 * SECOND, 0);
        end_server(); /* after its guests: their seats are static, and would outlive it */
        sim_kit_close(&w.kit, 0);
    }
}

/* --- 11: a client that comes back ---------------------------------------------------------- */

static int hear_hello(struct weft_stream *s, void *arg)
{
    char line[16];
    (void)arg;
    ssize_t n = weft_read_until(s, line, sizeof line, '\n', WEFT_NEVER);
    if (n <= 0)
        return (int)n;
    CHECK_EQ(n, 6);
    CHECK(memcmp(line, "hello\n", 6) == 0);
    w.greeted |= 1u << weft_sim_incarnation();
    CHECK_EQ(weft_write(s, "you\n", 4, WEFT_NEVER), 0);
    n = weft_read(s, line, sizeof line, WEFT_NEVER);
    CHECK(n <= 0);
    w.lost++;
    return (int)n;
}

static int greeting_server(void *arg)
{
    struct weft_group *g = NULL;
    (void)arg;
    int err = weft_group_open(&g);
    if (err == 0)
        err = weft_serve(g, "tcp://*:8888", NULL, hear_hello, NULL);
    if (err == 0)
        err = weft_group_wait(g, WEFT_NEVER);
    (void)weft_group_close(&g);
    return err;
}

static void crash_server(struct weft_sim *sim, void *arg)
{
    (void)arg;
    CHECK_EQ(weft_sim_crash(sim, "server"), 0);
}

static void start_server(struct weft_sim *sim, void *arg)
{
    (void)arg;
    CHECK_EQ(weft_sim_restart(sim, "server"), 0);
}

static void kill_server(struct weft_sim *sim, void *arg)
{
    (void)arg;
    CHECK_EQ(weft_sim_signal(sim, "server", SIGKILL), 0);
}

static void end_client(struct weft_sim *sim, void *arg)
{
    (void)arg;
    CHECK_EQ(weft_sim_signal(sim, "client", SIGTERM), 0);
}

static void reconnect(void **state)
{
    struct weft_sim_host_options o = {.service = true};
    program main = example_11_main;
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        int result = -1;
        memset(&w, 0, sizeof w);
        sim_kit_open(&w.kit, seed);
        assert_int_equal(weft_sim_host_with(w.kit.sim, "server", &o, greeting_server, NULL), 0);
        assert_int_equal(weft_sim_host(w.kit.sim, "client", run_client, &main), 0);
        /* A process that dies is noticed; a host that loses its power when it is up again. */
        assert_int_equal(weft_sim_at(w.kit.sim, 10 * SECOND, kill_server, NULL), 0);
        assert_int_equal(weft_sim_at(w.kit.sim, 13 * SECOND, start_server, NULL), 0);
        assert_int_equal(weft_sim_at(w.kit.sim, 40 * SECOND, kill_server, NULL), 0);
        assert_int_equal(weft_sim_at(w.kit.sim, 41 * SECOND, crash_server, NULL), 0);
        assert_int_equal(weft_sim_at(w.kit.sim, 41 * SECOND, start_server, NULL), 0);
        assert_int_equal(weft_sim_at(w.kit.sim, 70 * SECOND, end_client, NULL), 0);
        sim_kit_run(&w.kit, 600 * SECOND, 0);
        assert_true(weft_sim_host_ended(w.kit.sim, "client", &result));
        assert_int_equal(result, 0);
        assert_int_equal(w.greeted, 1u << 1 | 1u << 2 | 1u << 3);
        sim_kit_close(&w.kit, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tasks),
        cmocka_unit_test(protocol),
        cmocka_unit_test(chat),
        cmocka_unit_test(reconnect),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
