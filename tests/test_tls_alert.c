/* SPDX-License-Identifier: MIT */
/*
 * Alerts that stand behind other bytes: they arrive when the peer reads, in every model, and hold
 * no connection for longer than WEFT__LAST_WORDS_MS when it does not.
 *
 * The peer of each connection reads nothing at first, and small buffers are filled until a send
 * stays under way. Then it sends a record that is none.
 */
#include <poll.h>
#include <sys/socket.h>

#include <weft/protocol.h>
#include <weft/server.h>

#include "listener_kit.h"
#include "net/out.h"
#include "net/transport.h"
#include "sim_host_kit.h"
#include "sys/call.h"
#include "tls/tls.h"
#include "tls_meet.h"

#define BAD_RECORD "\x17\x03\x03\x00\x14twenty wrong bytes.."
#define BAD_HELLO "\x16\x03\x01\x00\x05hello"
#define STUCK_MS 20 /* a send that has not ended then waits for the peer */

/* --- A connection whose send is under way ------------------------------------------------------
 */

static struct weft_stream *below(struct weft_stream *s)
{
    return s->proto == NULL && s->cls->filter != NULL ? weft__tls_of(s)->lower : s;
}

static void small_buffer(struct weft_stream *s, int which)
{
    int size = which == SO_RCVBUF ? 131072 : 32768;
    CHECK_EQ(weft__call_setsockopt(below(s)->fd, SOL_SOCKET, which, &size, sizeof size), 0);
}

/* By a task; or by a thread, which stops before a write would be cut off. */
static void fill(struct weft_stream *s)
{
    static const char block[4096];
    int err = 0;
    small_buffer(s, SO_SNDBUF);
    while (err == 0) {
        if (s->loop == NULL)
            err = weft_poll(below(s)->fd, POLLOUT, weft_after_ms(STUCK_MS)) < 0 ? -ETIMEDOUT : 0;
        if (err == 0)
            err = weft_write(s, block, sizeof block, weft_after_s(60));
        if (err == 0)
            err = weft_flush(s, weft_after_ms(STUCK_MS));
    }
    CHECK_EQ(err, -ETIMEDOUT);
    CHECK(s->loop == NULL || weft__out_queued(below(s)) > 0);
}

static void put_below(struct weft_stream *s, const char *bytes, size_t len)
{
    CHECK_EQ(weft_write(below(s), bytes, len, WEFT_NEVER), 0);
    CHECK_EQ(weft_flush(below(s), weft_after_s(60)), 0);
}

/* --- A server with one connection --------------------------------------------------------------
 */

enum stage { NEW, MADE, FILLED, FAILED };

struct site {
    struct weft_group *g;
    struct weft_server *server;
    struct weft_tls *tls, *client;
    struct weft_stream *c; /* the client's end */
    struct weft_stream *t; /* the server's, as long as it is there */
    size_t filled;         /* what waited in it then */
    enum weft_model model;
    int64_t write_ms, wrong_ns; /* the latter: when the peer began to do wrong */
    _Atomic int stage, error;   /* as the server told it */
    char detail[200];
    struct place place;
    bool local;    /* a Unix socket: no reset, and what is full stays full */
    bool starttls; /* the handshake comes when the send is under way */
};

static void on_failed(void *arg, const struct weft_address *peer, int error)
{
    struct site *s = arg;
    (void)peer;
    (void)snprintf(s->detail, sizeof s->detail, "%s", weft_error_detail());
    s->error = error;
}

static int fill_and_read(struct weft_stream *s, void *arg)
{
    struct site *site = arg;
    char c;
    fill(s);
    site->t = s;
    site->filled = weft__out_queued(below(s));
    site->stage = FILLED;
    ssize_t n = site->starttls ? weft_tls_accept(&s, site->tls, weft_after_s(60))
                               : weft_read(s, &c, 1, weft_after_s(60));
    site->stage = FAILED;
    return (int)n;
}

static int on_made(struct weft_stream *t, void *arg)
{
    struct site *s = arg;
    weft_transport_set(t, s);
    s->t = t;
    s->stage = MADE;
    return 0;
}

static int secured(struct weft_stream *t, void *conn)
{
    (void)t;
    (void)conn;
    CHECK(false); /* nobody shakes hands here */
    return 0;
}

static int on_data(struct weft_stream *t, const void *data, size_t len, void *conn)
{
    struct site *s = conn;
    (void)data;
    CHECK(s->starttls);
    return weft_tls_accept_nowait(t, s->tls, len, secured);
}

static void on_lost(struct weft_stream *t, int error, void *conn)
{
    struct site *s = conn;
    (void)t;
    CHECK(error < 0);
    s->t = NULL;
}

static void one_block(void *arg)
{
    static const char block[4096];
    CHECK_EQ(weft_transport_write(((struct site *)arg)->t, block, sizeof block), 0);
}

/* The same as fill, in callbacks. */
static void fill_callbacks(struct site *s)
{
    small_buffer(s->t, SO_SNDBUF);
    do {
        kit_as_callback(one_block, s);
        for (int i = 0; i < STUCK_MS && weft_transport_queued(s->t) > 0; i++)
            CHECK_EQ(weft_sleep_ms(1), 0);
    } while (weft_transport_queued(s->t) == 0);
    s->stage = FILLED;
}

static void await_filled(struct site *s)
{
    bool callbacks = s->model == WEFT_PROTOCOLS;
    while (s->stage < (callbacks ? MADE : FILLED))
        CHECK_EQ(weft_sleep_ms(1), 0);
    if (callbacks)
        fill_callbacks(s);
}

/* The server has found what is wrong, and it may be waiting until the peer can be told. */
static bool has_failed(const struct site *s)
{
    if (s->stage == FAILED)
        return true;
    if (s->model == WEFT_PROTOCOLS)
        return s->t == NULL || s->t->aborting;
    return s->model == WEFT_TASKS && weft__out_queued(below(s->t)) > s->filled;
}

/* Until the server has found the bad record. */
static void site_open(struct site *s, enum weft_model model)
{
    static const struct weft_protocol protocol = {
        .made = on_made, .data = on_data, .lost = on_lost};
    struct weft_factory f = {.protocol = &protocol, .arg = s};
    struct weft_server_options o = {.model = model, .failed = on_failed, .failed_arg = s};
    char endpoint[WEFT_ENDPOINT_MAX] = "tcp";
    bool callbacks = model == WEFT_PROTOCOLS;
    const char *wrong = s->starttls ? BAD_HELLO : BAD_RECORD;
    s->model = model;
    s->g = kit_group();
    if (s->tls == NULL) {
        s->tls = tls_kit_server("server");
        s->client = tls_kit_client();
    }
    o.tls = s->starttls ? NULL : s->tls;
    o.handshake_ms = 60000;
    o.write_ms = s->write_ms;
    const char *at = s->starttls ? "tcp://127.0.0.1:0" : "tls://127.0.0.1:0";
    if (s->local) {
        s->place = place_make();
        at = s->place.endpoint;
    }
    CHECK_EQ(weft_server_open(&s->server, s->g, at, &o, callbacks ? NULL : fill_and_read, s,
                              callbacks ? &f : NULL),
             0);
    CHECK(weft_server_endpoint(s->server, endpoint, sizeof endpoint) > 0);
    if (!s->local)
        memcpy(endpoint, "tcp", 3);
    CHECK_EQ(weft_dial(&s->c, endpoint, NULL, weft_after_s(60)), 0);
    small_buffer(s->c, SO_RCVBUF);
    if (!s->starttls)
        CHECK_EQ(weft_tls_connect(&s->c, s->client, "server.test", weft_after_s(60)), 0);
    await_filled(s);
    s->wrong_ns = weft_now_ns();
    put_below(s->c, wrong, s->starttls ? sizeof BAD_HELLO - 1 : sizeof BAD_RECORD - 1);
    while (!has_failed(s))
        CHECK_EQ(weft_sleep_ms(1), 0);
}

static uint64_t live(const struct site *s)
{
    struct weft_server_stats st;
    weft_server_stats_mt(s->server, &st);
    return st.live;
}

static void wait_idle(const struct site *s)
{
    while (live(s) > 0)
        CHECK_EQ(weft_sleep_ms(1), 0);
}

static void site_close(struct site *s)
{
    CHECK_EQ(weft_group_close(&s->g), 0);
    weft_abort(&s->c);
    if (s->local)
        place_end(&s->place);
}

static void site_fini(struct site *s)
{
    weft_tls_close(&s->tls);
    weft_tls_close(&s->client);
}

/* --- The peer reads -----------------------------------------------------------------------------
 */

/* Where all is slow the time may have been over before enough was read. */
static bool too_late(const struct site *s)
{
    return weft_now_ns() - s->wrong_ns >= weft_ms(WEFT__LAST_WORDS_MS);
}

static bool hears_in_session(struct site *s)
{
    char buf[4096];
    ssize_t n;
    while ((n = weft_read(s->c, buf, sizeof buf, weft_after_s(60))) > 0)
        ;
    if (n != WEFT_ETLS && too_late(s))
        return false;
    CHECK_EQ(n, WEFT_ETLS);
    CHECK(has(weft_error_detail(), "bad record mac (alert 20)"));
    return true;
}

/* The last bytes are a record of TLS with a fatal alert. */
static bool hears_in_handshake(struct site *s)
{
    unsigned char buf[4096];
    uint64_t last = 0; /* eight bytes */
    ssize_t n;
    while ((n = weft_read(s->c, buf, sizeof buf, weft_after_s(60))) > 0)
        for (ssize_t i = 0; i < n; i++)
            last = last << 8 | buf[i];
    bool alert = (last >> 40 & 0xffff) == 0x1503 && (last >> 8 & 0xffffff) == 0x000202;
    if ((n != 0 || !alert) && too_late(s))
        return false;
    CHECK_EQ(n, 0);
    CHECK(alert);
    return true;
}

static void hear(bool (*hears)(struct site *s), bool starttls)
{
    for (int m = 0; m < 6;) {
        struct site s = {.starttls = starttls, .local = m < 3};
        site_open(&s, (enum weft_model)(m % 3));
        m += hears(&s);
        wait_idle(&s);
        CHECK_EQ(s.error, WEFT_ETLS);
        CHECK(starttls || has(s.detail, "bad record"));
        site_close(&s);
        site_fini(&s);
    }
}

static int after_the_handshake(void *arg)
{
    (void)arg;
    hear(hears_in_session, false);
    return 0;
}

static int in_the_handshake(void *arg)
{
    (void)arg;
    hear(hears_in_handshake, true);
    return 0;
}

/* --- It never reads ------------------------------------------------------------------------------
 */

static int an_end_does_not_wait_for_ever(void *arg)
{
    struct site tasks = {.local = true}, callbacks = {.local = true};
    (void)arg;
    site_open(&tasks, WEFT_TASKS);
    site_open(&callbacks, WEFT_PROTOCOLS);
    int64_t began = weft_now_ns();
    wait_idle(&tasks);
    wait_idle(&callbacks);
    CHECK(weft_now_ns() - began < weft_s(30)); /* as long as any write may take: 60 s */
    CHECK_EQ(tasks.error, WEFT_ETLS);
    CHECK_EQ(callbacks.error, WEFT_ETLS);
    CHECK(has(tasks.detail, "bad record") && has(callbacks.detail, "bad record"));
    site_close(&tasks);
    site_close(&callbacks);
    site_fini(&tasks);
    site_fini(&callbacks);
    return 0;
}

/* How it ends that is being waited for; ms: how long that takes, or a little more. */
static void lasts(const struct site *how, enum weft_model model, void (*end)(struct site *s),
                  int ms)
{
    struct site s = *how;
    site_open(&s, model);
    int64_t began = weft_now_ns();
    end(&s);
    int64_t took = weft_now_ns() - began;
    if (took > weft_ms(ms + 60) || took < weft_ms(ms - 60))
        (void)fprintf(stderr, "model %d: %lld ns\n", (int)model, (long long)took);
    CHECK(took <= weft_ms(ms + 60) && took >= weft_ms(ms - 60));
    site_close(&s);
}

static void by_itself(struct site *s)
{
    wait_idle(s);
    CHECK_EQ(s->error, WEFT_ETLS);
}

static void by_a_cancel(struct site *s)
{
    CHECK_EQ(weft_sleep_ms(200), 0);
    CHECK_EQ(live(s), 1);
    CHECK_EQ(weft_group_close(&s->g), 0);
    CHECK_EQ(s->error, WEFT_ETLS);
    s->g = kit_group();
}

static void abort_now(void *arg)
{
    weft_transport_abort(((struct site *)arg)->t, -ECONNABORTED);
}

static void by_an_abort(struct site *s)
{
    CHECK_EQ(weft_sleep_ms(200), 0);
    kit_as_callback(abort_now, s);
    by_itself(s);
}

static int in_a_simulation(void *arg)
{
    struct site s = *(struct site *)arg;
    for (int starttls = 0; starttls < 2; starttls++) {
        s.starttls = starttls;
        lasts(&s, WEFT_TASKS, by_itself, WEFT__LAST_WORDS_MS);
        lasts(&s, WEFT_PROTOCOLS, by_itself, WEFT__LAST_WORDS_MS);
        lasts(&s, WEFT_TASKS, by_a_cancel, 200);
        lasts(&s, WEFT_PROTOCOLS, by_a_cancel, 200);
        lasts(&s, WEFT_PROTOCOLS, by_an_abort, 200);
    }
    s.write_ms = 300; /* no write may take longer, and this is one */
    for (int starttls = 0; starttls < 2; starttls++) {
        s.starttls = starttls;
        lasts(&s, WEFT_TASKS, by_itself, 300);
        lasts(&s, WEFT_PROTOCOLS, by_itself, 300);
    }
    return 0;
}

static void it_lasts_as_long_as_it_may(const char *driver)
{
    struct site s = {.tls = tls_kit_server("server"), .client = tls_kit_client()};
    (void)driver; /* a simulation's own */
    for (uint64_t seed = 1; seed <= 3; seed++) {
        struct weft_sim *sim = sim_open(seed, false);
        CHECK_EQ(weft_sim_host(sim, "here", in_a_simulation, &s), 0);
        sim_end(sim);
    }
    site_fini(&s);
}

/* --- An abort ----------------------------------------------------------------------------------
 */

/* All that can be had at once. */
static size_t take(int fd, uint8_t *to, size_t cap)
{
    size_t got = 0;
    ssize_t n;
    while (got < cap && (n = recv(fd, to + got, cap - got, MSG_DONTWAIT)) > 0)
        got += (size_t)n;
    return got;
}

/* There is room again when it is aborted, but nobody has looked yet. */
static int an_abort_tries_once_more(void *arg)
{
    static uint8_t got[1 << 20];
    struct weft_tls_options o = {.ca = tls_kit_file("ca.pem"), .max_version = WEFT_TLS_1_2};
    struct weft_tls *client = tls_kit_open(&o), *server = tls_kit_server("server");
    struct meeting m = meet(client, server, "server.test");
    size_t n, at = 0, last = 0;
    char c;
    (void)arg;
    fill(m.server.s);
    CHECK_EQ(weft_write(m.client.s, "x", 1, WEFT_NEVER), 0);
    put_below(m.client.s, BAD_RECORD, sizeof BAD_RECORD - 1); /* in one piece with the former */
    CHECK_EQ(weft_read(m.server.s, &c, 1, weft_after_s(60)), 1);
    CHECK_EQ(weft_read(m.server.s, &c, 1, weft_after_s(60)), WEFT_ETLS);
    CHECK(weft__out_queued(below(m.server.s)) > 0);
    int fd = below(m.client.s)->fd;
    n = take(fd, got, sizeof got);
    weft_abort(&m.server.s);
    for (struct pollfd p = {.fd = fd, .events = POLLRDHUP}; (p.revents & POLLRDHUP) == 0;) {
        CHECK_EQ(weft_sleep_ms(1), 0);
        CHECK(poll(&p, 1, 0) >= 0);
    }
    n += take(fd, got + n, sizeof got - n);
    for (; at < n; at += 5 + (size_t)(got[at + 3] << 8 | got[at + 4]))
        last = at;
    CHECK_EQ(at, n);
    CHECK_EQ(got[last], 0x15); /* a record with an alert */
    weft_abort(&m.client.s);
    weft_tls_close(&client);
    weft_tls_close(&server);
    return 0;
}

static const struct kit_case cases[] = {
    IN_TASK(after_the_handshake),           IN_TASK(in_the_handshake),
    IN_TASK(an_end_does_not_wait_for_ever), ON_THREAD(it_lasts_as_long_as_it_may),
    IN_TASK(an_abort_tries_once_more),
};
KIT_MAIN(cases)
