/* SPDX-License-Identifier: MIT */
/*
 * What the tests of simulations share: a simulation whose report is kept as text, an echo server
 * and its clients as hosts, times.
 */
#ifndef SIM_RUN_KIT_H
#define SIM_RUN_KIT_H

#include <weft/listener.h>
#include <weft/server.h>
#include <weft/sim.h>
#include <weft/stream.h>

#include "rt_kit.h"

#define SECOND INT64_C(1000000000)
#define MILLI INT64_C(1000000)

struct sim_kit {
    struct weft_sim *sim;
    FILE *report;
    char *text; /* of the report, once the kit is flushed */
    size_t len;
};

static inline void sim_kit_open_with(struct sim_kit *k, struct weft_sim_options o)
{
    *k = (struct sim_kit){.sim = NULL};
    k->report = open_memstream(&k->text, &k->len);
    assert_non_null(k->report);
    o.report = k->report;
    assert_int_equal(weft_sim_open(&k->sim, &o), 0);
}

static inline void sim_kit_open(struct sim_kit *k, uint64_t seed)
{
    sim_kit_open_with(k, (struct weft_sim_options){.seed = seed});
}

/* The report so far. */
static inline const char *sim_kit_text(struct sim_kit *k)
{
    assert_int_equal(fflush(k->report), 0);
    return k->text != NULL ? k->text : "";
}

static inline void sim_kit_close(struct sim_kit *k, int want)
{
    int got = weft_sim_close(&k->sim);
    if (got != want)
        print_error("%s", sim_kit_text(k));
    assert_int_equal(got, want);
    assert_null(k->sim);
    (void)fclose(k->report);
    free(k->text);
}

static inline void sim_kit_run(struct sim_kit *k, int64_t span_ns, int want)
{
    int got = weft_sim_run(k->sim, span_ns);
    if (got != want)
        print_error("%s %s %s\n", weft_error_name(got), weft_error_detail(), sim_kit_text(k));
    assert_int_equal(got, want);
}

/* The report has it; else it is shown. */
static inline void sim_kit_has(struct sim_kit *k, const char *part)
{
    if (strstr(sim_kit_text(k), part) == NULL) {
        print_error("no '%s' in:\n%s", part, sim_kit_text(k));
        assert_true(false);
    }
}

/* --- Hosts --------------------------------------------------------------------------------- */

static inline int sim_kit_echo_one(struct weft_stream *s, void *arg)
{
    char buf[256];
    ssize_t n;
    (void)arg;
    while ((n = weft_read(s, buf, sizeof buf, WEFT_NEVER)) > 0) {
        int err = weft_write(s, buf, (size_t)n, WEFT_NEVER);
        if (err < 0)
            return err;
    }
    return (int)n;
}

/* main of a host that echoes at port 80, in the model that arg points to (NULL: tasks). */
static inline int sim_kit_echo_server(void *arg)
{
    struct weft_server_options o = {.model = arg != NULL ? *(enum weft_model *)arg : WEFT_TASKS};
    struct weft_group *g = NULL;
    int err = weft_group_open(&g);
    if (err == 0)
        err = weft_serve(g, "tcp://*:80", &o, sim_kit_echo_one, NULL);
    if (err == 0)
        err = weft_group_wait(g, WEFT_NEVER);
    int closed = weft_group_close(&g);
    return err != 0 ? err : closed;
}

/* One line there and back. */
static inline int sim_kit_ping(struct weft_stream *s, const char *line, weft_deadline d)
{
    char buf[64];
    size_t len = strlen(line);
    CHECK(len <= sizeof buf);
    int err = weft_write(s, line, len, d);
    if (err == 0)
        err = weft_read_full(s, buf, len, d);
    if (err == 0 && memcmp(buf, line, len) != 0)
        return WEFT_EPROTOCOL;
    return err;
}

struct sim_kit_client {
    int pings;
    int64_t pause_ms; /* between two */
    int done;         /* out, over all incarnations */
};

/* main of a host that sends pings to the host "server". */
static inline int sim_kit_client(void *arg)
{
    struct sim_kit_client *c = arg;
    struct weft_stream *s = NULL;
    int err = weft_dial(&s, "tcp://server:80", NULL, weft_after_s(30));
    for (int i = 0; err == 0 && i < c->pings; i++) {
        err = sim_kit_ping(s, "ping\n", weft_after_s(30));
        c->done += err == 0;
        if (err == 0 && c->pause_ms > 0)
            err = weft_sleep_ms(c->pause_ms);
    }
    if (err < 0) {
        weft_abort(&s);
        return err;
    }
    return weft_close(&s, weft_after_s(30));
}

static inline void sim_kit_server(struct sim_kit *k)
{
    struct weft_sim_host_options o = {.service = true};
    assert_int_equal(weft_sim_host_with(k->sim, "server", &o, sim_kit_echo_server, NULL), 0);
}

#endif
