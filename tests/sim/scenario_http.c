/* SPDX-License-Identifier: MIT */
/*
 * HTTP clients that keep connections, and WebSocket clients, while their server drains, crashes, is
 * killed, stands still and is cut off.
 *
 * Holds: every request ends by its deadline, with the answer to it or an error that has a name; no
 * handler sees a POST twice; the echoes of a WebSocket come in their order, each once; a drain
 * leaves no connection behind; once the troubles are over everybody is served.
 */
#include <inttypes.h>

#include "scenario.h"

#define CLIENTS 3
#define TASKS 3 /* of one client, with one pool */
#define REQUESTS 10
#define SOCKETS 2
#define TROUBLES 5
#define TROUBLED_MS 9000 /* by then all is well again */
#define LATE_MS 20       /* the loop's timers, and what a turn takes */

static struct {
    struct weft_sim *sim;
    bool faults; /* memory and descriptors run out now and then */
    int64_t drain_ms;
    int seen[CLIENTS * TASKS * (REQUESTS + 200)]; /* each POST's number, how often */
    int posts;
} all;

/* --- The server ---------------------------------------------------------------------------- */

static int hello(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    (void)q, (void)arg;
    return weft_http_send(r, 200, "text/plain", "hello", 5);
}

/* Answers with what it was asked for, after a while. */
static int item(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    int64_t ms = pick(all.sim, 0, 300);
    (void)arg;
    int err = one_in(all.sim, 2) ? weft_sleep_ms(ms) : 0;
    return err < 0 ? err : weft_http_text(r, 200, "item %s", weft_http_param(q, "id"));
}

static int add(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    int key = atoi(weft_http_param(q, "key"));
    const void *body;
    size_t len;
    (void)arg;
    if (++all.seen[key] > 1)
        return weft_sim_fail(NULL, "POST %d was sent %d times", key, all.seen[key]);
    int err = weft_http_body(q, &body, &len, weft_after_s(30));
    if (err < 0)
        return err;
    if (len != 3000 || memchr(body, 'x', len) != body)
        return weft_sim_fail(NULL, "POST %d came with %zu bytes", key, len);
    int64_t ms = pick(all.sim, 0, 100);
    err = one_in(all.sim, 3) ? weft_sleep_ms(ms) : 0;
    return err < 0 ? err : weft_http_text(r, 200, "item %d", key);
}

/* In pieces, more than a socket takes at once. */
static int big(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    char piece[4000];
    (void)q, (void)arg;
    int err = 0;
    for (int i = 0; err == 0 && i < 50; i++) {
        memset(piece, 'a' + i % 26, sizeof piece);
        err = weft_http_write(r, piece, sizeof piece, weft_after_s(30));
    }
    return err;
}

static int echo(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    struct weft_ws *ws = NULL;
    struct weft_ws_message m;
    (void)arg;
    int err = weft_http_websocket(q, r, &ws, NULL);
    if (err != 0)
        return err;
    struct weft_stream *s = weft_ws_stream(ws);
    int got = 1;
    while (got > 0 || (got == -ETIMEDOUT && !weft_stream_draining(s))) {
        got = weft_ws_read(ws, &m, weft_after_ms(200));
        if (got > 0 && (err = weft_ws_write(ws, m.type, m.data, m.len, weft_after_s(20))) < 0)
            got = err;
    }
    if (got == 0 || got == -ETIMEDOUT)
        (void)weft_ws_close(&ws, 1001, "going away", weft_after_s(2));
    weft_ws_abort(&ws);
    return 0;
}

static int routes(struct weft_http_app *app)
{
    static const struct weft_http_route_options quick = {.at_once = true};
    int err = weft_http_route_with(app, "GET /hello", &quick, hello, NULL);
    if (err == 0)
        err = weft_http_route(app, "GET /item/:id", item, NULL);
    if (err == 0)
        err = weft_http_route(app, "POST /add/:key", add, NULL);
    if (err == 0)
        err = weft_http_route(app, "GET /big", big, NULL);
    return err < 0 ? err : weft_http_route(app, "GET /ws", echo, NULL);
}

static int drain(struct weft_http_server *s)
{
    struct weft_http_server_stats stats;
    weft_deadline d = weft_after_ms(all.drain_ms);
    int err = weft_http_server_drain(s, d);
    if (err == -ETIMEDOUT && weft_left_ns(d) > 0)
        return weft_sim_fail(NULL, "the drain cuts somebody off before its time");
    weft_http_server_stats_mt(s, &stats);
    if (stats.server.live != 0 || stats.parked != 0)
        return weft_sim_fail(NULL, "%" PRIu64 " connections outlive the drain, %" PRIu64 " parked",
                             stats.server.live, stats.parked);
    weft_sim_note("drained, %" PRIu64 " requests", stats.requests);
    return err == -ETIMEDOUT ? 0 : err;
}

/* Serves until SIGTERM, then drains. */
static int serve(void)
{
    struct weft_http_options o = {.park_ms = 20, .idle_ms = 3000};
    struct weft_signals *signals = NULL;
    struct weft_http_server *s = NULL;
    struct weft_http_app *app = NULL;
    struct weft_group *g = NULL;
    int err = weft_signals_open(&signals, (int[]){SIGTERM, 0});
    if (err == 0)
        err = weft_http_app_open(&app);
    if (err == 0)
        err = routes(app);
    if (err == 0)
        err = weft_group_open(&g);
    if (err == 0)
        err = weft_http_server_open(&s, g, "tcp://*:80", app, &o);
    if (err == 0)
        err = weft_signals_wait(signals, WEFT_NEVER);
    if (err > 0)
        err = drain(s);
    (void)weft_group_close(&g);
    weft_http_app_close(&app);
    weft_signals_close(&signals);
    return err;
}

/* What runs out at the start may be there a little later. */
static int server(void *arg)
{
    int err = serve();
    (void)arg;
    while (weft_error_class(err) == WEFT_CLASS_RESOURCE && weft_sleep_ms(10) == 0)
        err = serve();
    return err;
}

/* --- Requests ------------------------------------------------------------------------------ */

static int check_text(struct weft_http_reply *r, const char *want, weft_deadline d)
{
    const void *data;
    size_t len;
    int err = weft_http_reply_body(r, &data, &len, d);
    if (err == 0 && (len != strlen(want) || memcmp(data, want, len) != 0))
        err = weft_sim_fail(NULL, "the answer '%.*s' instead of '%s'", (int)len, (const char *)data,
                            want);
    return err;
}

static int check_big(struct weft_http_reply *r, weft_deadline d)
{
    const void *data;
    size_t len;
    int err = weft_http_reply_body(r, &data, &len, d);
    if (err == 0 && len != 50 * 4000)
        return weft_sim_fail(NULL, "%zu bytes of a long answer", len);
    for (size_t i = 0; err == 0 && i < 50; i++)
        if (((const char *)data)[i * 4000 + 1999] != (char)('a' + i % 26))
            err = weft_sim_fail(NULL, "piece %zu of a long answer is another", i);
    return err;
}

/* One request of some kind: 1 with its answer, 0: the server was about to go, or < 0. */
static int ask(struct weft_http_client *c, int64_t kind, weft_deadline d)
{
    static char body[3000] = "x";
    struct weft_http_reply *r = NULL;
    char url[64], want[32] = "hello";
    int number = (int)pick(all.sim, 0, 999);
    int err;
    if (kind == 1) {
        number = all.posts++;
        snprintf(url, sizeof url, "http://server/add/%d", number);
        err = weft_http_post(c, url, "text/plain", body, sizeof body, &r, d);
    } else {
        const char *path = kind == 0 ? "hello" : kind == 2 ? "big" : "item/";
        if (kind == 3)
            snprintf(url, sizeof url, "http://server/%s%d", path, number);
        else
            snprintf(url, sizeof url, "http://server/%s", path);
        err = weft_http_get(c, url, &r, d);
    }
    if (kind == 1 || kind == 3)
        snprintf(want, sizeof want, "item %d", number);
    int status = err == 0 ? weft_http_reply_status(r) : 0;
    if (status == 200)
        err = kind == 2 ? check_big(r, d) : check_text(r, want, d);
    else if (err == 0 && status != 503 && !(all.faults && status == 500))
        err = weft_sim_fail(NULL, "%s is answered with %d", url, status);
    if (err == 0 && status == 200 && kind == 1 && all.seen[number] != 1)
        err = weft_sim_fail(NULL, "POST %d is answered, and was seen %d times", number,
                            all.seen[number]);
    weft_http_reply_close(&r);
    return err < 0 ? err : status == 200;
}

/* What an error of a request may be: all that a network does, and nothing that is our fault. */
static bool is_fair(int err)
{
    switch (weft_error_class(err)) {
    case WEFT_CLASS_TIMEOUT:
    case WEFT_CLASS_PEER:
        return true;
    case WEFT_CLASS_RESOURCE:
        return all.faults;
    default:
        return err == WEFT_EEOF || err == -ECONNREFUSED || err == -EHOSTUNREACH ||
               err == -ENETUNREACH;
    }
}

static int ask_by(struct weft_http_client *c, int64_t kind, int64_t ms)
{
    weft_deadline d = weft_after_ms(ms);
    int got = ask(c, kind, d);
    int64_t late = -weft_left_ns(d);
    if (got == WEFT_ECHECK || got == -ECANCELED)
        return got;
    if (weft_now_ns() - d.ns > weft_ms(LATE_MS))
        return weft_sim_fail(NULL, "a request ends %" PRId64 " us after its deadline", late / 1000);
    if (got < 0 && !is_fair(got))
        return weft_sim_fail(NULL, "a request ends with %s: %s", weft_error_name(got),
                             weft_error_detail());
    if (got < 0)
        weft_sim_note("kind %d: %s", (int)kind, weft_error_name(got));
    return got;
}

/* --- Clients ------------------------------------------------------------------------------- */

static int requests(void *arg)
{
    struct weft_http_client *c = *(struct weft_http_client **)arg;
    int got = 0;
    for (int i = 0; i < REQUESTS; i++) {
        int64_t kind = pick(all.sim, 0, 3), pause = pick(all.sim, 0, 1500);
        got = ask_by(c, kind, pick(all.sim, 50, 8000));
        if (got == WEFT_ECHECK || got == -ECANCELED)
            return got;
        got = one_in(all.sim, 2) ? weft_sleep_ms(pause) : 0;
        if (got < 0)
            return got;
    }
    int64_t troubled = weft_ms(TROUBLED_MS) - weft_sim_now_ns(all.sim);
    got = troubled > 0 ? weft_sleep_until(weft_after_ns(troubled)) : 0;
    /* Every kind of request is answered now; a POST over a connection that had died may fail, and
     * then its caller knows it. */
    for (int64_t kind = 0; kind < 4 && got >= 0; kind++) {
        int tries = 0;
        do
            got = ask_by(c, kind, 20000);
        while (got != 1 && got != WEFT_ECHECK && got != -ECANCELED && ++tries < 100 &&
               weft_sleep_ms(100) == 0);
        if (got != 1 && got != WEFT_ECHECK && got != -ECANCELED)
            return weft_sim_fail(NULL, "kind %d is not served any more: %s", (int)kind,
                                 weft_error_name(got));
    }
    return got < 0 ? got : 0;
}

static int client(void *arg)
{
    struct weft_http_client_options o = {.max_per_host = (int)pick(all.sim, 1, 4)};
    struct weft_http_client_stats stats;
    struct weft_http_client *c = NULL;
    struct weft_group *g = NULL;
    (void)arg;
    int err;
    do
        err = weft_http_client_open(&c, &o);
    while (err == -ENOMEM && weft_sleep_ms(10) == 0);
    for (int tasks = 0; err == 0 && tasks < TASKS;) {
        err = g != NULL ? weft_group_go(g, "requests", requests, &c) : weft_group_open(&g);
        tasks += err == 0 && g != NULL;
        if (weft_error_class(err) == WEFT_CLASS_RESOURCE && weft_sleep_ms(10) == 0)
            err = 0;
    }
    if (err == 0)
        err = weft_group_wait(g, WEFT_NEVER);
    int closed = weft_group_close(&g);
    if (c != NULL) {
        weft_http_client_stats(c, &stats);
        if (err == 0 && stats.open != stats.idle)
            err = weft_sim_fail(NULL, "%zu connections are open, %zu idle", stats.open, stats.idle);
        weft_sim_note("%" PRIu64 " requests, %" PRIu64 " connections, %" PRIu64 " retries",
                      stats.requests, stats.connections, stats.retries);
    }
    weft_http_client_close(&c);
    return err < 0 ? err : closed;
}

/* --- WebSocket clients --------------------------------------------------------------------- */

/* Some messages in flight; how many echoes came, or < 0. */
static int talk(int count)
{
    struct weft_ws *ws = NULL;
    struct weft_ws_message m;
    char text[32];
    int sent = 0, heard = 0;
    int err = weft_ws_dial(&ws, "ws://server:80/ws", NULL, NULL, weft_after_s(5));
    while (err >= 0 && heard < count) {
        for (; err >= 0 && sent < count && sent < heard + 3; sent++) {
            int n = snprintf(text, sizeof text, "message %d", sent);
            err = weft_ws_write(ws, WEFT_WS_TEXT, text, (size_t)n, weft_after_s(5));
        }
        if (err >= 0)
            err = weft_ws_read(ws, &m, weft_after_s(5));
        if (err <= 0) {
            err = err == 0 ? WEFT_EEOF : err;
            break;
        }
        int n = snprintf(text, sizeof text, "message %d", heard);
        if (m.len != (size_t)n || memcmp(m.data, text, m.len) != 0)
            err = weft_sim_fail(NULL, "the echo '%.*s' instead of '%s'", (int)m.len,
                                (const char *)m.data, text);
        heard++;
    }
    if (err >= 0)
        err = weft_ws_close(&ws, 0, NULL, weft_after_s(5));
    weft_ws_abort(&ws);
    return err < 0 ? err : heard;
}

static int talker(void *arg)
{
    int got = 0;
    (void)arg;
    while (weft_sim_now_ns(all.sim) < weft_ms(TROUBLED_MS)) {
        got = talk((int)pick(all.sim, 1, 20));
        if (got == WEFT_ECHECK || got == -ECANCELED)
            return got;
        if (got < 0)
            weft_sim_note("talk: %s", weft_error_name(got));
        if (weft_sleep_ms(pick(all.sim, 1, 800)) < 0)
            return -ECANCELED;
    }
    for (int tries = 0; tries < 100; tries++) {
        got = talk(10);
        if (got == 10 || got == WEFT_ECHECK || got == -ECANCELED)
            return got < 0 ? got : 0;
        if (weft_sleep_ms(100) < 0)
            return -ECANCELED;
    }
    return weft_sim_fail(NULL, "no WebSocket any more: %s", weft_error_name(got));
}

/* --- Troubles ------------------------------------------------------------------------------ */

static void trouble(struct weft_sim *sim, void *arg)
{
    (void)arg;
    switch (pick(sim, 0, 5)) {
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
        MUST(weft_sim_partition(sim, "server", one_in(sim, 2) ? "client-*" : "*"));
        break;
    case 4:
        MUST(weft_sim_partition_oneway(sim, one_in(sim, 2) ? "server" : "client-1", "*"));
        break;
    default:
        all.drain_ms = pick(sim, 0, 1500);
        MUST(weft_sim_signal(sim, "server", SIGTERM));
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
    all.sim = sim;
    service(sim, "server", server, NULL);
    for (int i = 0; i < CLIENTS; i++) {
        snprintf(name, sizeof name, "client-%d", i);
        MUST(weft_sim_host(sim, name, client, NULL));
    }
    for (int i = 0; i < SOCKETS; i++) {
        snprintf(name, sizeof name, "talker-%d", i);
        MUST(weft_sim_host(sim, name, talker, NULL));
    }
    rough_links(sim);
    all.faults = one_in(sim, 3);
    struct weft_sim_faults f = {.short_io = 0.05, .again = 0.05};
    f.no_files = f.no_memory = all.faults ? 0.003 : 0;
    MUST(weft_sim_faults(sim, "*", &f));
    for (int i = 0; i < TROUBLES; i++) {
        when += weft_ms(pick(sim, 10, 900));
        MUST(weft_sim_at(sim, when, trouble, NULL));
        when += weft_ms(pick(sim, 10, 900));
        MUST(weft_sim_at(sim, when, relief, NULL));
    }
    /* A drain that began late goes on for a while after the last relief. */
    MUST(weft_sim_at(sim, weft_ms(TROUBLED_MS + 2000), relief, NULL));
    return play(sim, weft_s(3600), NULL);
}
