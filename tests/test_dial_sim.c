/* SPDX-License-Identifier: MIT */
/*
 * Dialling inside simulations: names are those of hosts, a dead family costs one delay and no more,
 * and TLS works as outside.
 */
#include "sim_host_kit.h"
#include "tls_kit.h"

#include <weft/dns.h>

static struct weft_tls *client_context, *server_context;

/* IPv4, which goes first here, is full and gives no answer; IPv6 answers. */
static int half_dead(void *arg)
{
    struct weft_listener *four = NULL, *six = NULL;
    struct weft_listen_options o = {.backlog = 1};
    struct weft_stream *s = NULL, *own[4] = {NULL};
    char c;
    (void)arg;
    CHECK_EQ(weft_listen(&four, "tcp://0.0.0.0:80", &o), 0);
    CHECK_EQ(weft_listen(&six, "tcp://[fd00::1]:80", NULL), 0);
    for (int i = 0; i < 4; i++) {
        int err = weft_dial(&own[i], "tcp://10.0.0.1:80", NULL, weft_after_ms(10));
        CHECK(err == 0 || err == -ETIMEDOUT);
    }
    CHECK_EQ(weft_accept(six, &s, WEFT_NEVER), 0);
    CHECK_EQ(weft_read(s, &c, 1, WEFT_NEVER), 0);
    for (int i = 0; i < 4; i++)
        weft_abort(&own[i]);
    CHECK_EQ(weft_close(&s, weft_after_s(1)), 0);
    weft_listener_close(&four);
    weft_listener_close(&six);
    return 0;
}

static int dials_it(void *arg)
{
    struct weft_stream *s = NULL;
    struct weft_address a;
    (void)arg;
    CHECK_EQ(weft_sleep_ms(500), 0);
    int64_t began = weft_now_ns();
    CHECK_EQ(weft_dial(&s, "tcp://server:80", NULL, weft_after_s(5)), 0);
    int64_t took = weft_now_ns() - began;
    CHECK_EQ(weft_stream_peer(s, &a), 0);
    CHECK_EQ(a.sa.ss_family, AF_INET6);
    /* The answer about the name, the delay, a round trip. */
    CHECK(took >= 250000000 && took < 250000000 + 1000000 + 3000000);
    CHECK_EQ(weft_close(&s, weft_after_s(1)), 0);
    return 0;
}

static void dead_family(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct weft_sim *sim = sim_open(seed, false);
        CHECK_EQ(weft_sim_host(sim, "server", half_dead, NULL), 0);
        CHECK_EQ(weft_sim_host(sim, "client", dials_it, NULL), 0);
        sim_end(sim);
    }
}

static int hello(struct weft_stream *s, void *arg)
{
    (void)arg;
    return weft_write(s, "hello", 5, weft_after_s(5));
}

static int serves(void *arg)
{
    struct weft_group *g = kit_group();
    struct weft_server_options o = {.tls = server_context};
    (void)arg;
    CHECK_EQ(weft_serve(g, "tls://server:443", &o, hello, NULL), 0); /* its own name */
    CHECK_EQ(weft_sleep_ms(3000), 0);
    return weft_group_close(&g);
}

static int reads(void *arg)
{
    struct weft_stream *s = NULL;
    struct weft_dial_options o = {.tls = client_context, .server_name = "server.test"};
    char buf[8];
    (void)arg;
    CHECK_EQ(weft_sleep_ms(100), 0);
    CHECK_EQ(weft_dial(&s, "tls://server:443", &o, weft_after_s(2)), 0);
    CHECK_EQ(weft_read_full(s, buf, 5, weft_after_s(2)), 0);
    CHECK(memcmp(buf, "hello", 5) == 0);
    CHECK_EQ(weft_close(&s, weft_after_s(2)), 0);
    o.server_name = NULL;
    CHECK_EQ(weft_dial(&s, "tls://server:443", &o, weft_after_s(2)), WEFT_ECERTIFICATE);
    CHECK_EQ(weft_dial(&s, "tls://nobody:443", &o, weft_after_s(2)), WEFT_ENAME);
    CHECK_EQ(weft_dial(&s, "tls://server:444", &o, weft_after_s(2)), -ECONNREFUSED);
    return 0;
}

static void secured(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS / 4; seed++) {
        struct weft_sim *sim = sim_open(seed, false);
        CHECK_EQ(weft_sim_host(sim, "server", serves, NULL), 0);
        CHECK_EQ(weft_sim_host(sim, "client", reads, NULL), 0);
        sim_end(sim);
    }
}

#define MUCH 300 /* pieces of 8000 bytes */

/* All of it is queued at once; then nothing happens to this stream but that the queue is sent. */
static int says_much(struct weft_stream *s, void *arg)
{
    static const char piece[8000];
    char c;
    (void)arg;
    for (int i = 0; i < MUCH; i++)
        CHECK_EQ(weft_write(s, piece, sizeof piece, WEFT_NOW), 0);
    CHECK_EQ(weft_read(s, &c, 1, WEFT_NEVER), 1);
    return 0;
}

static int serves_much(void *arg)
{
    struct weft_group *g = kit_group();
    struct weft_server *server = NULL;
    struct weft_server_stats st = {.accepted = 0};
    struct weft_server_options o = {
        .tls = server_context, .idle_ms = 1000, .write_buffer = 16 << 20};
    (void)arg;
    CHECK_EQ(weft_server_open(&server, g, "tls://server:443", &o, says_much, NULL, NULL), 0);
    CHECK_EQ(weft_sleep_ms(20000), 0);
    weft_server_stats_mt(server, &st);
    CHECK_EQ(st.accepted, 1);
    CHECK_EQ(st.timed_out, 0);
    return weft_group_close(&g);
}

static int reads_much(void *arg)
{
    struct weft_stream *s = NULL;
    struct weft_dial_options o = {.tls = client_context, .server_name = "server.test"};
    char buf[8000];
    (void)arg;
    CHECK_EQ(weft_sleep_ms(100), 0);
    CHECK_EQ(weft_dial(&s, "tls://server:443", &o, weft_after_s(2)), 0);
    int64_t began = weft_now_ns();
    for (int i = 0; i < MUCH; i++)
        CHECK_EQ(weft_read_full(s, buf, sizeof buf, WEFT_NEVER), 0);
    CHECK(weft_now_ns() - began > weft_s(3));
    CHECK_EQ(weft_write(s, "x", 1, weft_after_s(2)), 0);
    CHECK_EQ(weft_read(s, buf, 1, weft_after_s(2)), 0);
    CHECK_EQ(weft_close(&s, weft_after_s(2)), 0);
    return 0;
}

/* A peer that takes slowly what a secured connection's task has queued is not idle. */
static void slow_is_not_idle(void **state)
{
    static const struct weft_link slow = {.bytes_per_s = 400000};
    (void)state;
    for (uint64_t seed = 1; seed <= 2; seed++) {
        struct weft_sim *sim = sim_open(seed, false);
        CHECK_EQ(weft_sim_host(sim, "server", serves_much, NULL), 0);
        CHECK_EQ(weft_sim_host(sim, "client", reads_much, NULL), 0);
        CHECK_EQ(weft_sim_link(sim, "*", "*", &slow), 0);
        sim_end(sim);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(dead_family), cmocka_unit_test(secured),
                                       cmocka_unit_test(slow_is_not_idle)};
    server_context = tls_kit_server("server");
    client_context = tls_kit_client();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    weft_tls_close(&server_context);
    weft_tls_close(&client_context);
    return failed;
}
