/* SPDX-License-Identifier: MIT */
/*
 * What a simulation costs: messages a second of one core, and many hosts with many connections.
 *
 * Floor 6: public headers only. An echo is a message of 64 B there and one back, between two hosts
 * over a link of 1 ms; without jitter the connections keep step, and a turn of a host serves all of
 * them, with jitter each packet comes alone. Each figure is the thread's CPU time of the run alone,
 * in a process of its own, the best of three; memory is the process's peak.
 *
 * usage: sim [--seconds S] [--hosts N]    S: simulated seconds of an echo run (20); N: 10,000 hosts
 *                                         with ten connections each; 0 leaves that out
 *
 * Invariants: exit 0 when every bar is met, 1 when one is missed, 2 for wrong usage.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <weft/sim.h>
#include <weft/weft.h>

#define SIZE 64
#define CONNECTIONS 64
#define RUNS 3
#define DIALS 10 /* of each of many hosts */
#define BAR_MESSAGES 1e6
#define BAR_BYTES 2147483648.0

struct result {
    double cpu_s;
    uint64_t echoes, steps, events, connections;
    long peak_kib;
};

struct echo_case {
    const char *name;
    enum weft_model model; /* of the server */
    unsigned in_flight;
    int64_t jitter_us;
    bool bar;
};

static struct {
    unsigned in_flight;
    uint64_t echoes;
    int hosts;
} now;

static void must(int result, const char *what)
{
    if (result >= 0)
        return;
    (void)fprintf(stderr, "sim: %s: %s (%s)\n", what, weft_error_text(result), weft_error_detail());
    exit(2);
}

static double cpu_s(void)
{
    struct timespec ts;
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* --- Servers ------------------------------------------------------------------------------- */

static int echo_task(struct weft_stream *s, void *arg)
{
    char buf[4096];
    ssize_t n;
    (void)arg;
    while ((n = weft_read(s, buf, sizeof buf, WEFT_NEVER)) > 0) {
        int err = weft_write(s, buf, (size_t)n, WEFT_NEVER);
        if (err < 0)
            return err;
    }
    return (int)n;
}

static int echo_data(struct weft_stream *t, const void *bytes, size_t len, void *conn)
{
    (void)conn;
    return weft_transport_write(t, bytes, len);
}

static const struct weft_protocol echo_protocol = {.data = echo_data};

static int serve(struct weft_group *g, enum weft_model model)
{
    struct weft_server_options o = {.model = model};
    struct weft_factory f = {.protocol = &echo_protocol};
    return model == WEFT_PROTOCOLS ? weft_serve_protocol(g, "tcp://*:7", &o, &f)
                                   : weft_serve(g, "tcp://*:7", &o, echo_task, NULL);
}

static int server(void *arg)
{
    struct weft_group *g = NULL;
    int err = weft_group_open(&g);
    if (err == 0)
        err = serve(g, *(enum weft_model *)arg);
    if (err == 0)
        err = weft_group_wait(g, WEFT_NEVER);
    (void)weft_group_close(&g);
    return err;
}

/* --- Messages ------------------------------------------------------------------------------ */

/* Keeps so many in flight, until the end of the run. */
static int ask(void *arg)
{
    static const char message[SIZE];
    char buf[4096];
    struct weft_stream *s = NULL;
    size_t part = 0;
    (void)arg;
    int err = weft_dial(&s, "tcp://server:7", NULL, WEFT_NEVER);
    for (unsigned i = 0; err == 0 && i < now.in_flight; i++)
        err = weft_write(s, message, SIZE, WEFT_NEVER);
    while (err == 0) {
        ssize_t n = weft_read(s, buf, sizeof buf, WEFT_NEVER);
        if (n <= 0)
            break;
        part += (size_t)n;
        now.echoes += part / SIZE;
        for (; err == 0 && part >= SIZE; part -= SIZE)
            err = weft_write(s, message, SIZE, WEFT_NEVER);
    }
    weft_abort(&s);
    return 0;
}

static int client(void *arg)
{
    struct weft_group *g = NULL;
    (void)arg;
    int err = weft_group_open(&g);
    if (err == 0)
        err = weft_sleep_ms(10);
    for (int i = 0; err == 0 && i < CONNECTIONS; i++)
        err = weft_group_go(g, "ask", ask, NULL);
    if (err == 0)
        err = weft_group_wait(g, WEFT_NEVER);
    (void)weft_group_close(&g);
    return err;
}

static void finish(struct weft_sim *sim, struct result *ret, double begin)
{
    struct weft_sim_stats stats;
    struct rusage usage;
    ret->cpu_s = cpu_s() - begin;
    weft_sim_stats(sim, &stats);
    (void)getrusage(RUSAGE_SELF, &usage);
    ret->steps = stats.steps;
    ret->events = stats.events;
    ret->connections = stats.connections;
    ret->peak_kib = usage.ru_maxrss;
    must(weft_sim_close(&sim), "close");
}

static void echoes(struct result *ret, const struct echo_case *c, int64_t seconds)
{
    struct weft_sim_host_options service = {.service = true};
    enum weft_model model = c->model;
    struct weft_sim *sim = NULL;
    must(weft_sim_open(&sim, &(struct weft_sim_options){.seed = 1}), "open");
    must(weft_sim_host_with(sim, "server", &service, server, &model), "host");
    must(weft_sim_host_with(sim, "client", &service, client, NULL), "host");
    must(weft_sim_link(sim, "*", "*",
                       &(struct weft_link){.latency_us = 1000, .jitter_us = c->jitter_us}),
         "link");
    now.in_flight = c->in_flight;
    must(weft_sim_run(sim, weft_ms(100)), "run"); /* warms pools */
    uint64_t before = now.echoes;
    double begin = cpu_s();
    must(weft_sim_run(sim, weft_s(seconds)), "run");
    ret->echoes = now.echoes - before;
    finish(sim, ret, begin);
}

/* --- Many ---------------------------------------------------------------------------------- */

/* Serves, has connections to the next ten hosts, and an echo on each of them. */
static int one_of_many(void *arg)
{
    struct weft_stream *s[DIALS] = {NULL};
    struct weft_group *g = NULL;
    int number = *(int *)arg;
    char endpoint[64], byte = '?';
    int err = weft_group_open(&g);
    if (err == 0)
        err = serve(g, WEFT_PROTOCOLS);
    if (err == 0)
        err = weft_sleep_ms(100);
    for (int i = 0; err == 0 && i < DIALS; i++) {
        (void)snprintf(endpoint, sizeof endpoint, "tcp://host-%d:7", (number + i + 1) % now.hosts);
        err = weft_dial(&s[i], endpoint, NULL, WEFT_NEVER);
        if (err == 0)
            err = weft_write(s[i], &byte, 1, WEFT_NEVER);
        if (err == 0)
            err = weft_read_full(s[i], &byte, 1, WEFT_NEVER);
        now.echoes += err == 0;
    }
    if (err == 0)
        err = weft_group_wait(g, WEFT_NEVER);
    for (int i = 0; i < DIALS; i++)
        weft_abort(&s[i]);
    (void)weft_group_close(&g);
    return err;
}

static void many(struct result *ret, int hosts)
{
    struct weft_sim_host_options service = {.service = true};
    struct weft_sim *sim = NULL;
    int *numbers = calloc((size_t)hosts, sizeof *numbers);
    char name[32];
    must(numbers == NULL ? -ENOMEM : 0, "memory");
    double begin = cpu_s();
    now.hosts = hosts;
    must(weft_sim_open(&sim, &(struct weft_sim_options){.seed = 1}), "open");
    for (int i = 0; i < hosts; i++) {
        numbers[i] = i;
        (void)snprintf(name, sizeof name, "host-%d", i);
        must(weft_sim_host_with(sim, name, &service, one_of_many, &numbers[i]), "host");
    }
    must(weft_sim_link(sim, "*", "*", &(struct weft_link){.latency_us = 1000}), "link");
    must(weft_sim_run(sim, weft_s(1)), "run");
    ret->echoes = now.echoes;
    finish(sim, ret, begin);
    free(numbers);
}

/* --- Measuring ----------------------------------------------------------------------------- */

/* In a process of its own, so that its peak of memory is its own. */
static void apart(struct result *ret, const struct echo_case *c, int64_t seconds, int hosts)
{
    int fds[2], status;
    must(pipe(fds) < 0 ? -errno : 0, "pipe");
    (void)fflush(stdout);
    pid_t pid = fork();
    must(pid < 0 ? -errno : 0, "fork");
    if (pid == 0) {
        struct result r = {0};
        if (c != NULL)
            echoes(&r, c, seconds);
        else
            many(&r, hosts);
        _exit(write(fds[1], &r, sizeof r) == (ssize_t)sizeof r ? 0 : 2);
    }
    (void)close(fds[1]);
    ssize_t n = read(fds[0], ret, sizeof *ret);
    (void)close(fds[0]);
    if (waitpid(pid, &status, 0) != pid || status != 0 || n != (ssize_t)sizeof *ret)
        exit(2);
}

static bool measure_echoes(const struct echo_case *c, int64_t seconds)
{
    struct result r, best = {0};
    for (int i = 0; i < RUNS; i++) {
        apart(&r, c, seconds, 0);
        if (i == 0 || r.cpu_s < best.cpu_s)
            best = r;
    }
    double messages = 2 * (double)best.echoes / best.cpu_s;
    bool met = !c->bar || messages >= BAR_MESSAGES;
    (void)printf("%-44s %9.0f %9.0f %9.0f %7.2f %7.2f  %s\n", c->name, messages,
                 (double)best.echoes / best.cpu_s, c->bar ? BAR_MESSAGES : 0,
                 (double)best.steps / (double)best.echoes,
                 (double)best.events / (double)best.echoes,
                 !c->bar ? ""
                 : met   ? "met"
                         : "MISSED");
    return met;
}

static bool measure_many(int hosts)
{
    struct result r;
    apart(&r, NULL, 0, hosts);
    double bytes = (double)r.peak_kib * 1024;
    bool met = bytes <= BAR_BYTES;
    (void)printf("\n%d hosts, %llu connections, one echo on each: %.1f s of CPU, %.0f MiB at most "
                 "(%.1f KiB a connection; bar %.0f MiB)  %s\n",
                 hosts, (unsigned long long)r.connections, r.cpu_s, bytes / 1048576,
                 bytes / 1024 / (double)(r.connections > 0 ? r.connections : 1),
                 BAR_BYTES / 1048576, met ? "met" : "MISSED");
    return met && r.echoes == (uint64_t)hosts * DIALS;
}

int main(int argc, char **argv)
{
    static const struct echo_case cases[] = {
        {"64 connections, 64 B, tasks", WEFT_TASKS, 1, 0, true},
        {"64 connections, 64 B, protocol", WEFT_PROTOCOLS, 1, 0, true},
        {"64 connections, 64 B, 16 in flight, tasks", WEFT_TASKS, 16, 0, true},
        {"64 connections, 64 B, 16 in flight, protocol", WEFT_PROTOCOLS, 16, 0, true},
        {"64 connections, 64 B, tasks, jitter", WEFT_TASKS, 1, 1000, false},
        {"64 connections, 64 B, protocol, jitter", WEFT_PROTOCOLS, 1, 1000, false},
    };
    int64_t seconds = 20;
    int hosts = 10000;
    bool met = true;
    for (int i = 1; i < argc; i += 2) {
        bool of_seconds = strcmp(argv[i], "--seconds") == 0;
        if (i + 1 == argc || (!of_seconds && strcmp(argv[i], "--hosts") != 0)) {
            (void)fprintf(stderr, "usage: sim [--seconds S] [--hosts N]\n");
            return 2;
        }
        if (of_seconds)
            seconds = atoi(argv[i + 1]);
        else
            hosts = atoi(argv[i + 1]);
    }
    if (seconds < 1 || hosts < 0) {
        (void)fprintf(stderr, "sim: --seconds is at least 1, --hosts at least 0\n");
        return 2;
    }
    (void)printf("%-44s %9s %9s %9s %7s %7s\n", "simulated, a second of one core", "messages",
                 "echoes", "bar", "steps", "events");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        met &= measure_echoes(&cases[i], seconds);
    if (hosts > 0)
        met &= measure_many(hosts);
    return met ? 0 : 1;
}
