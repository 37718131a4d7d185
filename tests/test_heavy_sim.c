/* SPDX-License-Identifier: MIT */
/* A simulation of 10,000 hosts with 100,000 connections between them: it works, in 2 GiB. */
#include <unistd.h>

#include "sim_run_kit.h"

#define HOSTS 10000
#define CONNECTIONS 10 /* that each host makes */
#define STRIDE 97
#define MEMORY_MAX ((size_t)2 << 30)

struct peer {
    int number;
    int done;
};

static struct peer peers[HOSTS];

struct call {
    struct peer *from;
    int to;
};

static int call_and_hold(void *arg)
{
    const struct call *c = arg;
    struct weft_stream *s = NULL;
    char endpoint[64];
    (void)snprintf(endpoint, sizeof endpoint, "tcp://host-%d:80", c->to);
    int err = weft_dial(&s, endpoint, NULL, weft_after_s(60));
    if (err == 0)
        err = sim_kit_ping(s, "there?\n", weft_after_s(30));
    if (err == 0)
        err = weft_sleep_ms(20000);
    if (err == 0)
        err = sim_kit_ping(s, "still?\n", weft_after_s(30));
    if (err < 0) {
        weft_abort(&s);
        return err;
    }
    c->from->done++;
    return weft_close(&s, weft_after_s(30));
}

static int peer_main(void *arg)
{
    struct peer *p = arg;
    struct weft_group *servers = kit_group();
    struct weft_group *calls = kit_group();
    CHECK_EQ(weft_serve(servers, "tcp://*:80", NULL, sim_kit_echo_one, NULL), 0);
    for (int i = 1; i <= CONNECTIONS; i++) {
        struct call c = {.from = p, .to = (p->number + i * STRIDE) % HOSTS};
        struct weft_task_options o = {.name = "call", .copy = sizeof c};
        CHECK_EQ(weft_group_spawn(calls, &o, call_and_hold, &c, NULL), 0);
    }
    int err = weft_group_wait(calls, WEFT_NEVER);
    CHECK_EQ(weft_group_close(&calls), 0);
    if (err == 0)
        err = weft_sleep_ms(30000); /* the others may still call */
    CHECK_EQ(weft_group_close(&servers), 0);
    return err;
}

static size_t resident(void)
{
    size_t pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%*u %zu", &pages), 1);
    (void)fclose(f);
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

static size_t available(void)
{
    char line[128];
    size_t kib = 0;
    FILE *f = fopen("/proc/meminfo", "r");
    assert_non_null(f);
    while (kib == 0 && fgets(line, sizeof line, f) != NULL)
        (void)sscanf(line, "MemAvailable: %zu kB", &kib);
    (void)fclose(f);
    return kib * 1024;
}

static void ten_thousand_hosts(void **state)
{
    struct sim_kit k;
    struct weft_sim_stats stats;
    (void)state;
    if (available() < 2 * MEMORY_MAX) {
        print_message("too little memory is available\n");
        skip();
    }
    sim_kit_open(&k, 1);
    for (int i = 0; i < HOSTS; i++) {
        char name[32];
        peers[i].number = i;
        (void)snprintf(name, sizeof name, "host-%d", i);
        assert_int_equal(weft_sim_host(k.sim, name, peer_main, &peers[i]), 0);
    }
    sim_kit_run(&k, 10 * SECOND, 0);
    weft_sim_stats(k.sim, &stats);
    assert_int_equal(stats.connections, HOSTS * CONNECTIONS);
    size_t held = resident();
    print_message("%zu MiB with %d connections, %.0f steps so far\n", held >> 20,
                  HOSTS * CONNECTIONS, (double)stats.steps);
    assert_true(held < MEMORY_MAX);
    sim_kit_run(&k, 600 * SECOND, 0);
    for (int i = 0; i < HOSTS; i++)
        assert_int_equal(peers[i].done, CONNECTIONS);
    sim_kit_close(&k, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(ten_thousand_hosts)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
