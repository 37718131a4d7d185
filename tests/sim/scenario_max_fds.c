/* SPDX-License-Identifier: MIT */
/*
 * More clients at once than the server's host has descriptors for, and a part of the server that
 * takes most of them now and then.
 *
 * Holds: accept pauses and goes on; nobody who waits long enough is turned away; connections that
 * were accepted are served meanwhile as if nothing were wrong; the host never has more open than
 * its limit; a client whose own host has no descriptor left gets -EMFILE and succeeds later.
 */
#include "scenario.h"

#define CLIENTS 12
#define VISITS 3
#define LIMIT 8 /* descriptors of the server's host */

static struct {
    struct weft_sim *sim;
    enum weft_model model;
    int live, most; /* connections that the server has */
    uint64_t backoffs;
    int visits; /* all clients', that have ended */
} all;

/* --- The server ---------------------------------------------------------------------------- */

static int made(struct weft_stream *t, void *arg)
{
    (void)t;
    (void)arg;
    all.live++;
    all.most = all.live > all.most ? all.live : all.most;
    return 0;
}

static int data(struct weft_stream *t, const void *bytes, size_t len, void *conn)
{
    (void)conn;
    return weft_transport_write(t, bytes, len);
}

static void lost(struct weft_stream *t, int error, void *conn)
{
    (void)t;
    (void)error;
    (void)conn;
    all.live--;
}

/* Something else that needs descriptors: when it gives them back, no connection has ended. */
static int hog(void *arg)
{
    struct weft_udp *u[LIMIT] = {NULL};
    int err = 0;
    (void)arg;
    while (err == 0) {
        for (int64_t i = pick(all.sim, 0, LIMIT - 1); i >= 0; i--)
            if (u[i] == NULL && weft_udp_open(&u[i], "udp://*:0", NULL) < 0)
                break;
        err = weft_sleep_ms(pick(all.sim, 0, 500));
        for (int i = 0; i < LIMIT; i++)
            weft_udp_close(&u[i]);
        if (err == 0)
            err = weft_sleep_ms(pick(all.sim, 0, 500));
    }
    return err;
}

static const struct weft_protocol protocol = {.made = made, .data = data, .lost = lost};

static int server(void *arg)
{
    struct weft_server_options o = {.model = all.model};
    struct weft_factory f = {.protocol = &protocol};
    struct weft_server_stats stats;
    struct weft_server *s = NULL;
    struct weft_group *g = NULL;
    (void)arg;
    int err = weft_group_open(&g);
    if (err == 0)
        err = weft_server_open(&s, g, "tcp://*:80", &o, NULL, NULL, &f);
    if (err == 0)
        err = weft_group_go(g, "hog", hog, NULL);
    while (err == 0) {
        err = weft_sleep_ms(10);
        weft_server_stats_mt(s, &stats);
        all.backoffs = stats.backoffs;
    }
    (void)weft_group_close(&g);
    return err;
}

/* --- Clients ------------------------------------------------------------------------------- */

/* Asks now and then for a while, so that connections are held; every question is answered soon. */
static int visit(void)
{
    struct weft_stream *s = NULL;
    char answer;
    int err = weft_dial(&s, "tcp://server:80", NULL, weft_after_s(60));
    /* The first answer comes once the server has taken the connection: that may take others' time,
     * but not for ever. */
    weft_deadline d = weft_after_s(120);
    for (int64_t n = pick(all.sim, 1, 6); err == 0 && n > 0; n--) {
        err = weft_write(s, "?", 1, d);
        if (err == 0)
            err = weft_read_full(s, &answer, 1, d);
        if (err == 0)
            err = weft_sleep_ms(pick(all.sim, 0, 200));
        d = weft_after_s(20);
    }
    int closed = weft_close(&s, weft_after_s(20));
    return err < 0 ? err : closed;
}

static int client(void *arg)
{
    (void)arg;
    for (int i = 0; i < VISITS; i++) {
        int err = weft_sleep_ms(pick(all.sim, 0, 100));
        while (err == 0 && (err = visit()) == -EMFILE) /* its own host's fault */
            err = weft_sleep_ms(10);
        if (err < 0)
            return weft_sim_fail(NULL, "visit %d: %s %s", i, weft_error_name(err),
                                 weft_error_detail());
        all.visits++;
    }
    /* The last to go sees that the server notices. */
    for (int i = 0; all.visits == CLIENTS * VISITS && all.live > 0; i++) {
        int err = i < 600 ? weft_sleep_ms(100)
                          : weft_sim_fail(NULL, "the server keeps %d dead connections", all.live);
        if (err < 0)
            return err;
    }
    return 0;
}

static int at_each_step(struct weft_sim *sim, void *arg)
{
    (void)arg;
    if (all.live >= LIMIT) /* the listener is one, too */
        return weft_sim_fail(sim, "%d connections with %d descriptors", all.live, LIMIT);
    return 0;
}

static int at_the_end(struct weft_sim *sim)
{
    if (all.visits != CLIENTS * VISITS)
        return weft_sim_fail(sim, "%d visits", all.visits);
    if (all.most == LIMIT - 1 && all.backoffs == 0)
        return weft_sim_fail(sim, "full, and accept has never paused");
    return 0;
}

int main(void)
{
    struct weft_sim_host_options limited = {.service = true, .max_fds = LIMIT};
    struct weft_sim *sim = scene();
    char name[24];
    all.sim = sim;
    all.model = (enum weft_model[]){WEFT_TASKS, WEFT_THREADS, WEFT_PROTOCOLS}[pick(sim, 0, 2)];
    MUST(weft_sim_host_with(sim, "server", &limited, server, NULL));
    for (int i = 0; i < CLIENTS; i++) {
        snprintf(name, sizeof name, "client-%d", i);
        MUST(weft_sim_host(sim, name, client, NULL));
    }
    rough_links(sim);
    MUST(weft_sim_faults(sim, "*", &(struct weft_sim_faults){.short_io = 0.05, .again = 0.05}));
    MUST(weft_sim_faults(sim, "client-*",
                         &(struct weft_sim_faults){.short_io = 0.05, .no_files = 0.1}));
    MUST(weft_sim_check(sim, "limit", at_each_step, NULL));
    return play(sim, weft_s(3600), at_the_end);
}
