/* SPDX-License-Identifier: MIT */
/*
 * Time limits of a server against large writes: who takes a long answer slowly, but takes it, is
 * served; who takes nothing is cut off.
 */
#include "sim_host_kit.h"

#include <unistd.h>

#define MUCH 6000000u
#define PATIENCE_MS 2000

struct answer {
    enum weft_model model;
    int64_t idle_ms, write_ms;
    bool in_pieces;    /* by weft_writev */
    int64_t silent_ms; /* the client, between two questions */
    bool deaf;         /* it never reads the answer */
    struct weft_server *server;
};

static int answer_with_much(struct weft_stream *s, void *arg)
{
    static char much[MUCH];
    const struct answer *a = arg;
    char c;
    for (;;) {
        ssize_t n = weft_read(s, &c, 1, WEFT_NEVER);
        if (n <= 0)
            return (int)n;
        struct iovec iov[3] = {{much, 100}, {much + 100, MUCH - 200}, {much + MUCH - 100, 100}};
        int err = a->in_pieces ? weft_writev(s, iov, 3, WEFT_NEVER)
                               : weft_write(s, much, MUCH, WEFT_NEVER);
        if (err < 0)
            return err;
    }
}

static int server_main(void *arg)
{
    struct answer *a = arg;
    struct weft_group *g = kit_group();
    struct weft_server_options o = {
        .model = a->model, .idle_ms = a->idle_ms, .write_ms = a->write_ms};
    struct weft_server_stats st;
    CHECK_EQ(weft_server_open(&a->server, g, "tcp://*:80", &o, answer_with_much, a, NULL), 0);
    do {
        CHECK_EQ(weft_sleep_ms(100), 0);
        weft_server_stats_mt(a->server, &st);
    } while (st.accepted == 0 || st.live > 0);
    CHECK_EQ(st.timed_out, a->deaf ? 1 : 0);
    CHECK_EQ(st.failed, a->deaf ? 1 : 0);
    return weft_group_close(&g);
}

static int client_main(void *arg)
{
    static char buf[65536];
    const struct answer *a = arg;
    struct weft_stream *s = NULL;
    while (weft_dial(&s, "tcp://server:80", NULL, weft_after_s(5)) < 0)
        CHECK_EQ(weft_sleep_ms(5), 0); /* it does not listen yet */
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(weft_write(s, "?", 1, WEFT_NEVER), 0);
        if (a->deaf)
            CHECK_EQ(weft_sleep_ms(20000), 0);
        for (size_t got = 0; got < MUCH && !a->deaf;) {
            ssize_t n = weft_read(s, buf, sizeof buf, WEFT_NEVER);
            CHECK(n > 0);
            got += (size_t)n;
        }
        CHECK_EQ(weft_sleep_ms(a->silent_ms), 0);
        if (a->deaf)
            break;
    }
    return weft_close(&s, WEFT_NEVER);
}

/* The whole answer takes 6 s, the limits are 2 s. */
static void once(struct answer a)
{
    static const struct weft_link l = {.latency_us = 1000, .bytes_per_s = 1000000};
    for (uint64_t seed = 1; seed <= 3; seed++) {
        struct weft_sim *sim = sim_open(seed, false);
        CHECK_EQ(weft_sim_host(sim, "server", server_main, &a), 0);
        CHECK_EQ(weft_sim_host(sim, "client", client_main, &a), 0);
        CHECK_EQ(weft_sim_link(sim, "*", "*", &l), 0);
        sim_end(sim);
    }
}

static void an_answer_that_goes_on_is_not_cut(void)
{
    once((struct answer){.write_ms = PATIENCE_MS});
    once((struct answer){.write_ms = PATIENCE_MS, .in_pieces = true});
    once((struct answer){.idle_ms = PATIENCE_MS, .write_ms = 60000});
}

/* Time that passed before the write began is not its own. */
static void nor_one_after_a_long_silence(void)
{
    for (int64_t ms = 0; ms < 250; ms += 50) /* whenever the server looks at it */
        once((struct answer){.write_ms = PATIENCE_MS, .silent_ms = 5000 + ms});
}

static void who_takes_nothing_is_cut_off(void)
{
    once((struct answer){.write_ms = PATIENCE_MS, .deaf = true});
}

/* Threads, which are not simulated: at this pace the answer takes longer than the limit. */
static int nor_by_a_thread(void *arg)
{
    static char buf[65536];
    struct answer a = {.write_ms = 1000};
    struct weft_server_options o = {.model = WEFT_THREADS, .write_ms = a.write_ms};
    struct weft_group *g = kit_group();
    struct weft_stream *s = NULL;
    struct weft_server_stats st;
    char at[WEFT_ENDPOINT_MAX];
    (void)arg;
    (void)snprintf(at, sizeof at, "unix:@weft-test-slow-%d", (int)getpid());
    CHECK_EQ(weft_server_open(&a.server, g, at, &o, answer_with_much, &a, NULL), 0);
    CHECK_EQ(weft_dial(&s, at, NULL, weft_after_s(20)), 0);
    CHECK_EQ(weft_write(s, "?", 1, WEFT_NEVER), 0);
    for (size_t got = 0, naps = 0; got < MUCH;) {
        ssize_t n = weft_read(s, buf, sizeof buf, weft_after_s(20));
        CHECK(n > 0);
        got += (size_t)n;
        for (; naps < got / (MUCH / 30); naps++)
            CHECK_EQ(weft_sleep_ms(50), 0);
    }
    weft_server_stats_mt(a.server, &st);
    CHECK_EQ(st.timed_out, 0);
    CHECK_EQ(weft_close(&s, weft_after_s(20)), 0);
    CHECK_EQ(weft_group_close(&g), 0);
    return 0;
}

int main(void)
{
    static const struct kit_case cases[] = {
        ONCE(an_answer_that_goes_on_is_not_cut), ONCE(nor_one_after_a_long_silence),
        ONCE(who_takes_nothing_is_cut_off), IN_TASK(nor_by_a_thread)};
    return kit_main(cases, sizeof cases / sizeof cases[0]);
}
