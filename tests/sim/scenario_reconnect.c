/* SPDX-License-Identifier: MIT */
/*
 * Clients that connect again (weft_reconnector) while their server crashes, stands still, dies and
 * is cut off.
 *
 * Holds: never two connections of one client at once; each delay lies within the bounds asked for,
 * grows while nothing works and begins anew after a steady connection; no attempt is made once the
 * client is told to stop, but the connection that it has lives on; at last every client gets
 * through.
 */
#include "scenario.h"

#define CLIENTS 4
#define TROUBLES 6
#define FIRST_MS 50
#define MAX_MS 800
#define JITTER 0.25
#define STEADY_MS 500

struct client {
    struct weft_sim *sim;
    int live, made, lost;
    int failures; /* in a row */
    int64_t connected_ns;
    int64_t next_ns; /* no attempt can succeed before */
    bool told_connected;
    bool stopped;
    int64_t heard; /* answers, ever */
    struct weft_event news;
};

static struct client clients[CLIENTS];

/* --- The server: answers each ping --------------------------------------------------------- */

static int answer(struct weft_stream *t, const void *bytes, size_t len, void *conn)
{
    (void)conn;
    return weft_transport_write(t, bytes, len);
}

static int server(void *arg)
{
    static const struct weft_protocol echo = {.data = answer};
    struct weft_server_options o = {.model = WEFT_PROTOCOLS};
    struct weft_factory f = {.protocol = &echo};
    struct weft_group *g = NULL;
    (void)arg;
    int err = weft_group_open(&g);
    if (err == 0)
        err = weft_serve_protocol(g, "tcp://*:80", &o, &f);
    if (err == 0)
        err = weft_group_wait(g, WEFT_NEVER);
    int closed = weft_group_close(&g);
    return err < 0 ? err : closed;
}

/* --- A client's connection ----------------------------------------------------------------- */

static int made(struct weft_stream *t, void *arg)
{
    struct client *c = arg;
    c->made++;
    if (++c->live > 1)
        return weft_sim_fail(NULL, "%d connections at once", c->live);
    if (c->stopped)
        return weft_sim_fail(NULL, "a connection after the stop");
    if (weft_now_ns() < c->next_ns)
        return weft_sim_fail(NULL, "a connection before its delay is over");
    c->connected_ns = weft_now_ns();
    weft_event_set(&c->news);
    weft_transport_set(t, c);
    return weft_transport_write(t, "?", 1);
}

static int data(struct weft_stream *t, const void *bytes, size_t len, void *conn)
{
    struct client *c = conn;
    (void)t;
    (void)bytes;
    if (len != 1)
        return weft_sim_fail(NULL, "%zu answers to one question", len);
    c->heard++;
    weft_event_set(&c->news);
    return 0;
}

/* A refused attempt is told by `state` alone. */
static void lost(struct weft_stream *t, int error, void *conn)
{
    struct client *c = conn;
    (void)error;
    if (t == NULL || c == NULL)
        return;
    c->live--;
    c->lost++;
    weft_event_set(&c->news);
}

static void state(void *arg, bool connected, int error, int64_t delay_ms)
{
    struct client *c = arg;
    if (connected) {
        c->told_connected = true;
        return;
    }
    bool steady = c->told_connected && weft_now_ns() - c->connected_ns >= weft_ms(STEADY_MS);
    c->failures = steady ? 0 : c->failures;
    c->told_connected = false;
    if (c->stopped)
        return;
    double base = FIRST_MS;
    for (int i = 0; i < c->failures && base < MAX_MS; i++)
        base *= 2;
    base = base < MAX_MS ? base : MAX_MS;
    if ((double)delay_ms < base * (1 - JITTER) - 1 || (double)delay_ms > base * (1 + JITTER))
        (void)weft_sim_fail(NULL, "after %d failures a delay of %lld ms, not about %.0f",
                            c->failures, (long long)delay_ms, base);
    c->failures++;
    c->next_ns = weft_now_ns() + weft_ms(delay_ms) - weft_us(100);
    weft_sim_note("down (%s), next try in %lld ms", weft_error_name(error), (long long)delay_ms);
}

/* --- A client ------------------------------------------------------------------------------ */

static int wait_for_news(struct client *c, int64_t ms)
{
    int err = weft_event_wait(&c->news, weft_after_ms(ms));
    weft_event_clear(&c->news);
    return err;
}

static int client(void *arg)
{
    static const struct weft_protocol protocol = {.made = made, .data = data, .lost = lost};
    struct client *c = arg;
    struct weft_reconnect_options o = {.first_ms = FIRST_MS,
                                       .max_ms = MAX_MS,
                                       .jitter = JITTER,
                                       .connect_ms = 300,
                                       .steady_ms = STEADY_MS,
                                       .state = state,
                                       .state_arg = c};
    struct weft_factory f = {.protocol = &protocol, .arg = c};
    struct weft_reconnector *r = NULL;
    struct weft_group *g = NULL;
    int err = weft_group_open(&g);
    if (err == 0)
        err = weft_reconnector_open(&r, g, "tcp://server:80", &o, &f);
    if (err == 0)
        err = weft_sleep_ms(pick(c->sim, 2000, 6000));
    /* The troubles are over some time: it gets through. A link that was cut may make it believe in
     * a dead connection, so a live one counts as well. */
    int64_t heard = c->heard;
    while (err == 0 && c->heard == heard && c->live == 0)
        err = wait_for_news(c, 60000) == -ETIMEDOUT
                  ? weft_sim_fail(NULL, "does not get through any more")
                  : 0;
    c->stopped = true;
    int made_before = c->made, live = c->live;
    weft_reconnector_stop(r);
    if (err == 0 && live != c->live)
        err = weft_sim_fail(NULL, "the stop has ended a connection");
    if (err == 0)
        err = weft_sleep_ms(pick(c->sim, 1, 3000));
    int closed = weft_group_close(&g);
    if (err == 0 && c->made != made_before)
        err = weft_sim_fail(NULL, "%d connections after the stop", c->made - made_before);
    if (err == 0 && (c->live != 0 || c->made != c->lost))
        err = weft_sim_fail(NULL, "%d connections were made and %d lost", c->made, c->lost);
    return err < 0 ? err : closed;
}

/* --- Troubles ------------------------------------------------------------------------------ */

static void trouble(struct weft_sim *sim, void *arg)
{
    (void)arg;
    switch (pick(sim, 0, 4)) {
    case 0:
        MUST(weft_sim_crash(sim, "server"));
        break;
    case 1:
        MUST(weft_sim_signal(sim, "server", SIGKILL));
        break;
    case 2:
        MUST(weft_sim_pause(sim, "server"));
        break;
    case 3:
        MUST(weft_sim_partition(sim, "server", "client-*"));
        break;
    default:
        MUST(weft_sim_partition_oneway(sim, one_in(sim, 2) ? "server" : "client-1", "*"));
        break;
    }
}

static void relief(struct weft_sim *sim, void *arg)
{
    (void)arg;
    MUST(weft_sim_resume(sim, "server"));
    MUST(weft_sim_heal(sim, "*", "*"));
    MUST(weft_sim_restart(sim, "server"));
}

int main(void)
{
    struct weft_sim *sim = scene();
    int64_t when = 0;
    char name[24];
    service(sim, "server", server, NULL);
    for (int i = 0; i < CLIENTS; i++) {
        clients[i].sim = sim;
        snprintf(name, sizeof name, "client-%d", i);
        MUST(weft_sim_host(sim, name, client, &clients[i]));
    }
    rough_links(sim);
    MUST(weft_sim_faults(sim, "*", &(struct weft_sim_faults){.short_io = 0.05, .again = 0.05}));
    for (int i = 0; i < TROUBLES; i++) {
        when += weft_ms(pick(sim, 10, 1200));
        MUST(weft_sim_at(sim, when, trouble, NULL));
        when += weft_ms(pick(sim, 10, 1200));
        MUST(weft_sim_at(sim, when, relief, NULL));
    }
    return play(sim, weft_s(600), NULL);
}
