/* SPDX-License-Identifier: MIT */
/*
 * Whom keep-alive takes for dead, in simulation: not a peer whose answer nobody has looked for, nor
 * one that takes what is being sent; but one that does neither.
 */
#include "ws_kit.h"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <stddef.h>
#include <sys/socket.h>

#include <weft/listener.h>
#include <weft/server.h>
#include <weft/sim.h>

#define LONG ((size_t)4 << 20)

static const struct weft_ws_options mute = {.ping_ms = -1};

static int64_t seconds(int64_t begin_ns)
{
    return (weft_now_ns() - begin_ns) / 1000000000;
}

static void simulate(weft_fn server, weft_fn client)
{
    for (uint64_t seed = 1; seed <= 5; seed++) {
        struct weft_sim_options o = {.seed = seed};
        struct weft_sim *sim = NULL;
        CHECK_EQ(weft_sim_open(&sim, &o), 0);
        CHECK_EQ(weft_sim_host(sim, "server", server, NULL), 0);
        CHECK_EQ(weft_sim_host(sim, "client", client, NULL), 0);
        int err = weft_sim_run(sim, weft_s(10000));
        if (err < 0)
            (void)fprintf(stderr, "seed %d: %s %s\n", (int)seed, weft_error_name(err),
                          weft_sim_failure(sim));
        CHECK_EQ(err, 0);
        CHECK(weft_sim_host_ended(sim, "server", NULL) && weft_sim_host_ended(sim, "client", NULL));
        weft_sim_close(&sim);
    }
}

static struct weft_ws *accept_one(void)
{
    struct weft_listener *l = NULL;
    struct weft_stream *s = NULL;
    struct weft_ws *ws = NULL;
    CHECK_EQ(weft_listen(&l, "tcp://*:80", NULL), 0);
    CHECK_EQ(weft_accept(l, &s, WEFT_NEVER), 0);
    CHECK_EQ(weft_ws_accept(&ws, &s, NULL, WEFT_NEVER), 0);
    weft_listener_close(&l);
    return ws;
}

static struct weft_ws *dial(void)
{
    struct weft_ws *ws = NULL;
    CHECK_EQ(weft_ws_dial(&ws, "ws://server:80/", &mute, NULL, WEFT_NEVER), 0);
    return ws;
}

static void say(struct weft_ws *ws, const char *text)
{
    CHECK_EQ(weft_ws_write(ws, WEFT_WS_TEXT, text, strlen(text), WEFT_NEVER), 0);
}

static void expect(struct weft_ws *ws, const char *text)
{
    struct weft_ws_message m;
    CHECK_EQ(weft_ws_read(ws, &m, WEFT_NEVER), 1);
    CHECK(m.len == strlen(text) && memcmp(m.data, text, m.len) == 0);
}

/* Reads, and so answers pings, for so long. */
static void listen_for(struct weft_ws *ws, int64_t s)
{
    struct weft_ws_message m;
    CHECK_EQ(weft_ws_read(ws, &m, weft_after_s(s)), -ETIMEDOUT);
}

/* --- Readers that come back late ------------------------------------------------------------- */

/* Works on each message for longer than a ping and its answer may take. */
static int busy_server(void *arg)
{
    struct weft_ws *ws = accept_one();
    struct weft_ws_message m;
    int r;
    (void)arg;
    while ((r = weft_ws_read(ws, &m, WEFT_NEVER)) > 0) {
        CHECK_EQ(weft_sleep_ms(60000), 0);
        say(ws, "done");
    }
    CHECK_EQ(r, 0);
    CHECK_EQ(weft_ws_close(&ws, 0, NULL, WEFT_NEVER), 0);
    return 0;
}

static int busy_client(void *arg)
{
    struct weft_ws *ws = dial();
    (void)arg;
    for (int i = 0; i < 3; i++) {
        say(ws, "work");
        expect(ws, "done");
        listen_for(ws, 100);
    }
    CHECK_EQ(weft_ws_close(&ws, 0, NULL, WEFT_NEVER), 0);
    return 0;
}

static void works_between_reads(void)
{
    simulate(busy_server, busy_client);
}

/* Its pong comes when nobody reads, and is looked for much later. */
static int absent_server(void *arg)
{
    struct weft_ws *ws = accept_one();
    struct weft_ws_message m;
    int64_t begin = weft_now_ns();
    (void)arg;
    weft_deadline just_after = {begin + INT64_C(30) * 1000000000 + 200000};
    CHECK_EQ(weft_ws_read(ws, &m, just_after), -ETIMEDOUT);
    CHECK(ws->pinged);
    CHECK_EQ(weft_sleep_ms(60000), 0);
    expect(ws, "still here");
    CHECK(seconds(begin) > 190);
    CHECK_EQ(weft_ws_close(&ws, 0, NULL, WEFT_NEVER), 0);
    return 0;
}

static int absent_client(void *arg)
{
    struct weft_ws *ws = dial();
    struct weft_ws_message m;
    (void)arg;
    listen_for(ws, 200);
    say(ws, "still here");
    CHECK_EQ(weft_ws_read(ws, &m, WEFT_NEVER), 0);
    CHECK_EQ(weft_ws_close(&ws, 0, NULL, WEFT_NEVER), 0);
    return 0;
}

static void pong_lies_unread(void)
{
    simulate(absent_server, absent_client);
}

/* Only writes, and closes: the peer has close_ms to answer. */
static int telling_server(void *arg)
{
    struct weft_ws *ws = accept_one();
    (void)arg;
    for (int i = 0; i < 6; i++) {
        CHECK_EQ(weft_sleep_ms(10000), 0);
        say(ws, "news");
    }
    CHECK_EQ(weft_ws_close(&ws, 0, NULL, WEFT_NEVER), 0);
    return 0;
}

static int told_client(void *arg)
{
    struct weft_ws *ws = dial();
    struct weft_ws_message m;
    (void)arg;
    for (int i = 0; i < 6; i++)
        expect(ws, "news");
    CHECK_EQ(weft_sleep_ms(5000), 0);
    CHECK_EQ(weft_ws_read(ws, &m, WEFT_NEVER), 0);
    CHECK_EQ(weft_ws_close(&ws, 0, NULL, WEFT_NEVER), 0);
    return 0;
}

static void closes_after_silence(void)
{
    simulate(telling_server, told_client);
}

/* --- While something long is sent, in tasks --------------------------------------------------- */

static bool encoded; /* sent as one message to many is */

static int write_long(void *arg)
{
    char *text = calloc(1, LONG);
    struct weft_ws_encoded *e = NULL;
    CHECK(text != NULL);
    int err = encoded ? weft_ws_encode(&e, WEFT_WS_BINARY, text, LONG, NULL) : 0;
    CHECK_EQ(err, 0);
    err = encoded ? weft_ws_send_encoded(arg, e, WEFT_NEVER)
                  : weft_ws_write(arg, WEFT_WS_BINARY, text, LONG, WEFT_NEVER);
    weft_ws_encoded_unref(e);
    free(text);
    CHECK(err == 0 || err == WEFT_ECLOSED);
    return 0;
}

static int long_server(void *arg)
{
    struct weft_ws *ws = accept_one();
    struct weft_group *g = kit_group();
    (void)arg;
    kit_go(g, "long", write_long, ws);
    expect(ws, "got it");
    CHECK_EQ(weft_group_wait(g, WEFT_NEVER), 0);
    CHECK_EQ(weft_group_close(&g), 0);
    CHECK_EQ(weft_ws_close(&ws, 0, NULL, WEFT_NEVER), 0);
    return 0;
}

/* Takes it little by little, and is silent meanwhile. */
static void take_slowly(struct weft_ws *ws, size_t want)
{
    size_t len = 0;
    while (len < want) {
        struct weft_ws_message m;
        CHECK_EQ(weft_ws_read_some(ws, &m, WEFT_NEVER), 1);
        len += m.len;
        CHECK_EQ(weft_sleep_ms(1000), 0);
    }
    CHECK_EQ(len, want);
}

static int slow_client(void *arg)
{
    struct weft_ws *ws = dial();
    struct weft_ws_message m;
    (void)arg;
    take_slowly(ws, LONG);
    listen_for(ws, 100);
    say(ws, "got it");
    CHECK_EQ(weft_ws_read(ws, &m, WEFT_NEVER), 0);
    CHECK_EQ(weft_ws_close(&ws, 0, NULL, WEFT_NEVER), 0);
    return 0;
}

static void takes_it_slowly(void)
{
    for (int i = 0; i < 2; i++) {
        encoded = i > 0;
        simulate(long_server, slow_client);
    }
    encoded = false;
}

static int stuck_server(void *arg)
{
    struct weft_ws *ws = accept_one();
    struct weft_group *g = kit_group();
    struct weft_ws_message m;
    int64_t begin = weft_now_ns();
    (void)arg;
    kit_go(g, "long", write_long, ws);
    CHECK_EQ(weft_ws_read(ws, &m, WEFT_NEVER), -EHOSTDOWN);
    CHECK(seconds(begin) >= 50 && seconds(begin) <= 130);
    weft_ws_abort(&ws);
    CHECK_EQ(weft_group_wait(g, WEFT_NEVER), 0);
    CHECK_EQ(weft_group_close(&g), 0);
    return 0;
}

static int deaf_client(void *arg)
{
    struct weft_ws *ws = dial();
    (void)arg;
    CHECK_EQ(weft_sleep_ms(1000000), 0);
    weft_ws_abort(&ws);
    return 0;
}

static void takes_nothing(void)
{
    simulate(stuck_server, deaf_client);
}

/* --- The same in callbacks -------------------------------------------------------------------- */

static struct {
    int closed, error;
    int64_t closed_s, begin_ns;
    bool paused;
    struct weft_event over;
} room;

#define QUEUE ((size_t)900 << 10)

static int on_made(struct weft_ws *ws, void *arg)
{
    char *text = calloc(1, QUEUE);
    CHECK(text != NULL && arg == NULL);
    int err = weft_ws_write(ws, WEFT_WS_BINARY, text, QUEUE, WEFT_NOW);
    free(text);
    return err;
}

static int on_message(struct weft_ws *ws, const struct weft_ws_message *m, void *conn)
{
    (void)m, (void)conn;
    return weft_ws_close(&ws, 0, NULL, WEFT_NOW);
}

static void on_paused(struct weft_ws *ws, void *conn)
{
    (void)ws, (void)conn;
    room.paused = true;
}

static void on_closed(struct weft_ws *ws, int error, void *conn)
{
    (void)ws, (void)conn;
    room.error = error;
    room.closed_s = seconds(room.begin_ns);
    weft_event_set(&room.over);
}

static const struct weft_ws_protocol protocol = {
    .made = on_made, .message = on_message, .paused = on_paused, .closed = on_closed};

static int callback_server(void *arg)
{
    const struct weft_server_options o = {.model = WEFT_PROTOCOLS, .write_ms = -1};
    struct weft_ws_factory *f = NULL;
    struct weft_server *server = NULL;
    struct weft_group *g = kit_group();
    (void)arg;
    memset(&room, 0, sizeof room);
    room.begin_ns = weft_now_ns();
    CHECK_EQ(weft_ws_factory_open(&f, &protocol, NULL, NULL, 0, 0), 0);
    CHECK_EQ(weft_server_open(&server, g, "tcp://*:80", &o, NULL, NULL, weft_ws_factory_of(f)), 0);
    CHECK_EQ(weft_event_wait(&room.over, WEFT_NEVER), 0);
    CHECK(room.paused);
    CHECK_EQ(weft_group_close(&g), 0);
    weft_ws_factory_close(&f);
    return 0;
}

static int slow_callback_server(void *arg)
{
    CHECK_EQ(callback_server(arg), 0);
    CHECK_EQ(room.error, 0);
    CHECK(room.closed_s > 150);
    return 0;
}

static int slow_callback_client(void *arg)
{
    struct weft_ws *ws = dial();
    struct weft_ws_message m;
    (void)arg;
    take_slowly(ws, QUEUE);
    listen_for(ws, 100);
    say(ws, "got it");
    CHECK_EQ(weft_ws_read(ws, &m, WEFT_NEVER), 0);
    CHECK_EQ(weft_ws_close(&ws, 0, NULL, WEFT_NEVER), 0);
    return 0;
}

static void callbacks_are_taken_slowly(void)
{
    simulate(slow_callback_server, slow_callback_client);
}

static int stuck_callback_server(void *arg)
{
    CHECK_EQ(callback_server(arg), 0);
    CHECK_EQ(room.error, -EHOSTDOWN);
    CHECK(room.closed_s >= 50 && room.closed_s <= 130);
    return 0;
}

static void callbacks_are_not_taken(void)
{
    simulate(stuck_callback_server, deaf_client);
}

/* --- On the drivers -------------------------------------------------------------------------- */

#define TIMES 200

static int answer(void *arg)
{
    struct weft_ws_message m;
    CHECK_EQ(weft_ws_read(arg, &m, WS_SOON), 1);
    return 0;
}

/* A pong that lies in the kernel when its time has passed counts, on every driver. */
static int late_on_drivers(void *arg)
{
    static const struct weft_ws_options hurried = {.ping_ms = 20000, .pong_ms = 20000};
    struct weft_stream *a = NULL, *b = NULL;
    struct weft_ws_message m;
    (void)arg;
    CHECK_EQ(weft_socketpair(&a, &b), 0);
    struct ws_pair p = ws_kit_pair(a, b, &hurried, &mute);
    const struct weft_stream *peer = weft_ws_stream(p.server);
    struct weft_group *g = kit_group();
    kit_go(g, "answer", answer, p.server);
    for (int i = 0; i < TIMES; i++) {
        uint64_t sent = weft_stream_bytes_out(peer);
        p.client->due_ns = 0; /* as after a long time: a ping is due, ... */
        CHECK_EQ(weft_ws_ping(p.client, "", 0, WS_SOON), 0);
        p.client->pinged = true;
        while (weft_stream_bytes_out(peer) == sent)
            CHECK_EQ(weft_yield(), 0);
        CHECK(p.client->pinged); /* ... went, and nobody has looked for the answer */
        CHECK_EQ(weft_ws_read(p.client, &m, weft_after_ms(1)), -ETIMEDOUT);
        CHECK(!p.client->pinged);
    }
    say(p.client, "enough");
    CHECK_EQ(weft_group_wait(g, WS_SOON), 0);
    CHECK_EQ(weft_group_close(&g), 0);
    ws_kit_close(&p);
    return 0;
}

/* Fills all buffers between two ends of a TCP connection. */
static struct weft_ws *fill(struct weft_stream **client)
{
    static const char text[4000];
    char endpoint[WEFT_ENDPOINT_MAX];
    struct weft_listener *l = NULL;
    struct weft_stream *s = NULL;
    CHECK_EQ(weft_listen(&l, "tcp://127.0.0.1:0", NULL), 0);
    CHECK(weft_listener_endpoint(l, endpoint, sizeof endpoint) > 0);
    CHECK_EQ(weft_dial(client, endpoint, NULL, WS_SOON), 0);
    /* So that TCP tells of what is read soon: a buffer that has grown holds that back for long. */
    CHECK_EQ(setsockopt(weft_stream_fd(*client), SOL_SOCKET, SO_RCVBUF, &(int){65536}, sizeof(int)),
             0);
    CHECK_EQ(weft_accept(l, &s, WS_SOON), 0);
    weft_listener_close(&l);
    struct weft_ws *ws = ws_kit_open(s, true, NULL, NULL);
    for (int full = 0; full < 3;) { /* once may be a pause of the machine's */
        int err = weft_ws_write(ws, WEFT_WS_BINARY, text, sizeof text, weft_after_ms(50));
        CHECK(err == 0 || err == -ETIMEDOUT);
        full = err == 0 ? 0 : full + 1;
    }
    return ws;
}

/* The emulator of another processor's programs may have none. */
static bool has_tcp_info(const struct weft_stream *s)
{
    struct tcp_info info;
    socklen_t len = sizeof info;
    return getsockopt(weft_stream_fd(s), IPPROTO_TCP, TCP_INFO, &info, &len) == 0 &&
           len > offsetof(struct tcp_info, tcpi_notsent_bytes);
}

/* A ping that stands behind much cannot be answered before that has been taken. */
static int ping_stands_in_line(void *arg)
{
    struct weft_stream *client = NULL;
    struct weft_ws *ws = fill(&client);
    struct weft_ws_message m;
    static char buf[16384];
    size_t got = 0;
    int r = -ETIMEDOUT;
    (void)arg;
    ws->due_ns = 0;
    CHECK_EQ(weft_ws_read(ws, &m, weft_after_ms(1)), -ETIMEDOUT);
    CHECK(ws->pinged);
    while (got < (size_t)256 << 10) {
        ssize_t n = weft_read(client, buf, sizeof buf, WS_SOON);
        CHECK(n > 0);
        got += (size_t)n;
    }
    ws->due_ns = 0; /* the pong's time has passed, and the peer has taken something */
    if (has_tcp_info(client))
        CHECK_EQ(weft_ws_read(ws, &m, weft_after_ms(1)), -ETIMEDOUT);
    for (int i = 0; i < 100 && r == -ETIMEDOUT; i++) { /* and now it takes nothing any more */
        ws->due_ns = 0;
        r = weft_ws_read(ws, &m, weft_after_ms(1));
    }
    CHECK_EQ(r, -EHOSTDOWN);
    weft_ws_abort(&ws);
    weft_abort(&client);
    return 0;
}

static const struct kit_case cases[] = {
    IN_TASK(late_on_drivers), IN_TASK(ping_stands_in_line),     ONCE(works_between_reads),
    ONCE(pong_lies_unread),   ONCE(closes_after_silence),       ONCE(takes_it_slowly),
    ONCE(takes_nothing),      ONCE(callbacks_are_taken_slowly), ONCE(callbacks_are_not_taken),
};
KIT_MAIN(cases)
