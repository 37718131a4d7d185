/* SPDX-License-Identifier: MIT */
/*
 * Several tasks at one WebSocket connection: writers take turns, a second reader is refused,
 * closing and aborting wake whoever is inside; pongs get through while a writer waits; keep-alive.
 */
#include "ws_kit.h"

#include <weft/listener.h>
#include <weft/sim.h>

static struct ws_pair socket_pair_of(const struct weft_ws_options *client,
                                     const struct weft_ws_options *server)
{
    struct weft_stream *a = NULL, *b = NULL;
    CHECK_EQ(weft_socketpair(&a, &b), 0);
    return ws_kit_pair(a, b, client, server);
}

/* --- Writers --------------------------------------------------------------------------------- */

#define WRITERS 8
#define ROUNDS 30

struct writer {
    struct weft_ws *ws;
    char mark;
};

static int write_many(void *arg)
{
    const struct writer *w = arg;
    static const size_t sizes[] = {1, 100, 5000, 20000, 70000};
    char *text = malloc(70000);
    CHECK(text != NULL);
    memset(text, w->mark, 70000);
    for (size_t i = 0; i < ROUNDS; i++) {
        size_t len = sizes[i % WEFT__ARRAY_LEN(sizes)];
        if (i % 7 == 0) {
            CHECK_EQ(weft_ws_write_part(w->ws, WEFT_WS_TEXT, text, len, false, WS_SOON), 0);
            CHECK_EQ(weft_yield(), 0);
            CHECK_EQ(weft_ws_ping(w->ws, "p", 1, WS_SOON), 0);
            CHECK_EQ(weft_ws_write_part(w->ws, WEFT_WS_TEXT, text, 1, true, WS_SOON), 0);
        } else {
            CHECK_EQ(weft_ws_write(w->ws, WEFT_WS_TEXT, text, len, WS_SOON), 0);
        }
    }
    free(text);
    return 0;
}

static int count_whole(void *arg)
{
    struct weft_ws *ws = arg;
    for (int i = 0; i < WRITERS * ROUNDS; i++) {
        struct weft_ws_message m;
        CHECK_EQ(weft_ws_read(ws, &m, WS_SOON), 1);
        const char *c = m.data;
        for (size_t k = 1; k < m.len; k++)
            CHECK(c[k] == c[0]); /* nothing of another's message within */
    }
    return 0;
}

static int writers(void *arg)
{
    static const struct weft_ws_options deflating = {.deflate = true, .deflate_takeover = true};
    (void)arg;
    for (int way = 0; way < 4; way++) {
        struct ws_pair p =
            way / 2 == 0 ? socket_pair_of(NULL, NULL) : socket_pair_of(&deflating, &deflating);
        struct weft_ws *from = way % 2 == 0 ? p.client : p.server;
        struct weft_group *g = kit_group();
        struct writer w[WRITERS];
        kit_go(g, "reader", count_whole, way % 2 == 0 ? p.server : p.client);
        for (int i = 0; i < WRITERS; i++) {
            w[i] = (struct writer){from, (char)('a' + i)};
            kit_go(g, "writer", write_many, &w[i]);
        }
        CHECK_EQ(weft_group_wait(g, WS_SOON), 0);
        CHECK_EQ(weft_group_close(&g), 0);
        ws_kit_close(&p);
    }
    return 0;
}

/* --- Ending while others are inside ---------------------------------------------------------- */

struct inside {
    struct weft_ws *ws;
    int result;
};

static int read_one(void *arg)
{
    struct inside *i = arg;
    struct weft_ws_message m;
    i->result = weft_ws_read(i->ws, &m, WS_SOON);
    return 0;
}

static int write_until_full(void *arg)
{
    struct inside *i = arg;
    static char text[100000];
    i->result = 0;
    while (i->result == 0)
        i->result = weft_ws_write(i->ws, WEFT_WS_BINARY, text, sizeof text, WS_SOON);
    return 0;
}

static int abort_wakes(void *arg)
{
    struct ws_pair p = socket_pair_of(NULL, NULL);
    struct weft_group *g = kit_group();
    struct inside i[4] = {{p.server, 1}, {p.server, 1}, {p.server, 1}, {p.server, 1}};
    struct weft_ws_message m;
    (void)arg;
    kit_go(g, "reader", read_one, &i[0]);
    for (int k = 1; k < 4; k++)
        kit_go(g, "writer", write_until_full, &i[k]);
    kit_settle();
    CHECK_EQ(weft_ws_read(p.server, &m, WS_SOON), -EBUSY);
    CHECK_EQ(weft_ws_write(p.server, WEFT_WS_TEXT, "x", 1, weft_after_ms(5)), -ETIMEDOUT);
    weft_ws_abort(&p.server);
    CHECK_EQ(weft_group_wait(g, WS_SOON), 0);
    for (int k = 0; k < 4; k++)
        CHECK_EQ(i[k].result, WEFT_ECLOSED);
    CHECK_EQ(weft_group_close(&g), 0);
    weft_ws_abort(&p.client);
    return 0;
}

static int hold_message(void *arg)
{
    struct inside *i = arg;
    i->result = weft_ws_write_part(i->ws, WEFT_WS_TEXT, "begun", 5, false, WS_SOON);
    return i->result;
}

/* A message that somebody began and never ended keeps the others waiting, and closing does not. */
static int unfinished(void *arg)
{
    struct ws_pair p = socket_pair_of(NULL, NULL);
    struct weft_group *g = kit_group();
    struct inside holder = {p.server, 1}, other = {p.server, 1}, peer = {p.client, 1};
    (void)arg;
    kit_go(g, "holder", hold_message, &holder);
    kit_settle();
    CHECK_EQ(weft_ws_write(p.server, WEFT_WS_TEXT, "x", 1, weft_after_ms(5)), -ETIMEDOUT);
    kit_go(g, "other", write_until_full, &other);
    kit_go(g, "peer", read_one, &peer);
    kit_settle();
    CHECK_EQ(weft_ws_close(&p.server, 0, NULL, WS_SOON), 0);
    CHECK_EQ(weft_group_wait(g, WS_SOON), 0);
    CHECK_EQ(other.result, WEFT_ECLOSED);
    CHECK_EQ(peer.result, 0);
    CHECK_EQ(weft_group_close(&g), 0);
    CHECK_EQ(weft_ws_close(&p.client, 0, NULL, WS_SOON), 0);
    return 0;
}

/* Closing while another task reads: it takes the peer's close frame. */
static int close_beside_reader(void *arg)
{
    struct ws_pair p = socket_pair_of(NULL, NULL);
    struct weft_group *g = kit_group();
    struct inside near = {p.server, 1}, far = {p.client, 1};
    (void)arg;
    kit_go(g, "near", read_one, &near);
    kit_go(g, "far", read_one, &far);
    kit_settle();
    CHECK_EQ(weft_ws_close(&p.server, 1001, NULL, WS_SOON), 0);
    CHECK_EQ(weft_group_wait(g, WS_SOON), 0);
    CHECK_EQ(near.result, 0);
    CHECK_EQ(far.result, 0);
    CHECK_EQ(weft_ws_close_code(p.client), 1001);
    CHECK_EQ(weft_group_close(&g), 0);
    CHECK_EQ(weft_ws_close(&p.client, 0, NULL, WS_SOON), 0);

    p = socket_pair_of(NULL, NULL); /* and when the peer does not answer */
    g = kit_group();
    near = (struct inside){p.server, 1};
    kit_go(g, "near", read_one, &near);
    kit_settle();
    CHECK_EQ(weft_ws_close(&p.server, 0, NULL, weft_after_ms(20)), -ETIMEDOUT);
    CHECK_EQ(weft_group_wait(g, WS_SOON), 0);
    CHECK_EQ(near.result, WEFT_ECLOSED);
    CHECK_EQ(weft_group_close(&g), 0);
    weft_ws_abort(&p.client);
    return 0;
}

static int bad_closes(void *arg)
{
    static const unsigned codes[] = {1, 999, 1004, 1005, 1006, 1015, 2999, 5000};
    struct ws_pair p = socket_pair_of(NULL, NULL);
    struct weft_ws *none = NULL;
    (void)arg;
    for (size_t i = 0; i < WEFT__ARRAY_LEN(codes); i++)
        CHECK_EQ(weft_ws_close(&p.client, codes[i], NULL, WS_SOON), -EINVAL);
    CHECK_EQ(weft_ws_close(&p.client, 1000, "\xff", WS_SOON), -EILSEQ);
    CHECK(p.client != NULL);
    CHECK_EQ(weft_ws_close(&none, 0, NULL, WS_SOON), 0);
    weft_ws_abort(&none);
    CHECK_EQ(weft_ws_write(p.client, WEFT_WS_TEXT, "ok\xff", 3, WS_SOON), -EILSEQ);
    CHECK(strstr(weft_error_detail(), "byte 2") != NULL);
    CHECK_EQ(weft_ws_write(p.client, (enum weft_ws_type)3, "", 0, WS_SOON), -EINVAL);
    CHECK_EQ(weft_ws_write_part(p.client, WEFT_WS_TEXT, "\xc3", 1, false, WS_SOON), 0);
    CHECK_EQ(weft_ws_write_part(p.client, WEFT_WS_TEXT, "x", 1, true, WS_SOON), -EILSEQ);
    CHECK_EQ(weft_ws_write_part(p.client, WEFT_WS_TEXT, "\xa9", 1, true, WS_SOON), 0);
    CHECK_EQ(weft_ws_ping(p.client, "", 126, WS_SOON), -EINVAL);
    ws_kit_close(&p);
    return 0;
}

/* --- Fragments that are cut off --------------------------------------------------------------- */

static int write_one(void *arg)
{
    struct inside *i = arg;
    i->result = weft_ws_write(i->ws, WEFT_WS_TEXT, "x", 1, WS_SOON);
    return 0;
}

struct parts {
    struct weft_ws *ws;
    size_t len;
};

static int read_parts(void *arg)
{
    struct parts *x = arg;
    struct weft_ws_message m;
    CHECK_EQ(weft_ws_read(x->ws, &m, WS_SOON), 1);
    CHECK(m.type == WEFT_WS_BINARY && m.len == x->len);
    CHECK_EQ(weft_ws_read(x->ws, &m, WS_SOON), 1);
    CHECK(m.type == WEFT_WS_TEXT && m.len == 1);
    return 0;
}

/* One that found no room has not been sent, and can be sent again, also the last of a message:
 * until then that goes on, and other messages wait. */
static int last_part_again(void *arg)
{
    static const char text[4000];
    (void)arg;
    for (int way = 0; way < 2; way++) {
        struct ws_pair p = socket_pair_of(NULL, NULL);
        struct weft_ws *from = way == 0 ? p.server : p.client;
        struct parts x = {way == 0 ? p.client : p.server, 0};
        struct inside other = {from, 1};
        struct weft_group *g = kit_group();
        int err = 0;
        for (size_t n = sizeof text; err == 0; x.len += err == 0 ? n : 0)
            err = weft_ws_write_part(from, WEFT_WS_BINARY, text, n, false, weft_after_ms(5));
        CHECK_EQ(err, -ETIMEDOUT);
        while (err == -ETIMEDOUT && weft_ws_ping(from, "", 0, weft_after_ms(5)) == 0)
            ; /* until there is room for nothing */
        CHECK_EQ(weft_ws_write_part(from, WEFT_WS_BINARY, "z", 1, true, weft_after_ms(5)),
                 -ETIMEDOUT);
        CHECK_EQ(weft_ws_write(from, WEFT_WS_TEXT, "x", 1, weft_after_ms(5)), -EBUSY);
        kit_go(g, "other", write_one, &other);
        kit_settle();
        CHECK_EQ(other.result, 1);
        x.len++;
        kit_go(g, "reader", read_parts, &x);
        CHECK_EQ(weft_ws_write_part(from, WEFT_WS_BINARY, "z", 1, true, WS_SOON), 0);
        CHECK_EQ(weft_group_wait(g, WS_SOON), 0);
        CHECK_EQ(other.result, 0);
        CHECK_EQ(weft_group_close(&g), 0);
        ws_kit_close(&p);
    }
    return 0;
}

/* One of which a part has gone is the last of all, and nobody waits for the message's end. */
static int part_cut_off(void *arg)
{
    static const char text[1 << 20];
    (void)arg;
    for (int way = 0; way < 4; way++) {
        struct ws_pair p = socket_pair_of(NULL, NULL);
        struct weft_ws *from = way % 2 == 0 ? p.server : p.client;
        struct weft_group *g = kit_group();
        struct inside waiting = {from, 1};
        CHECK_EQ(weft_ws_write_part(from, WEFT_WS_BINARY, "a", 1, false, WS_SOON), 0);
        kit_go(g, "waiting", write_one, &waiting);
        kit_settle();
        CHECK_EQ(weft_ws_write_part(from, WEFT_WS_BINARY, text, sizeof text, way / 2 == 1,
                                    weft_after_ms(5)),
                 -ETIMEDOUT);
        CHECK_EQ(weft_group_wait(g, WS_SOON), 0);
        CHECK_EQ(waiting.result, WEFT_EPOISONED);
        CHECK_EQ(weft_ws_write_part(from, WEFT_WS_BINARY, "b", 1, true, WS_SOON), WEFT_EPOISONED);
        CHECK_EQ(weft_ws_write(from, WEFT_WS_TEXT, "x", 1, WS_SOON), WEFT_EPOISONED);
        CHECK_EQ(weft_group_close(&g), 0);
        weft_ws_abort(&p.client);
        weft_ws_abort(&p.server);
    }
    return 0;
}

/* The peer has closed: who waited behind an unfinished message is told so. */
static int closed_within_parts(void *arg)
{
    struct ws_pair p = socket_pair_of(NULL, NULL);
    struct weft_group *g = kit_group();
    struct inside waiting = {p.server, 1};
    struct weft_ws_message m;
    (void)arg;
    CHECK_EQ(weft_ws_write_part(p.server, WEFT_WS_BINARY, "a", 1, false, WS_SOON), 0);
    kit_go(g, "waiting", write_one, &waiting);
    kit_go(g, "closes", ws_kit_close_one, &p.client);
    CHECK_EQ(weft_ws_read(p.server, &m, WS_SOON), 0);
    CHECK_EQ(waiting.result, 1);
    CHECK_EQ(weft_ws_write_part(p.server, WEFT_WS_BINARY, "b", 1, false, WS_SOON), WEFT_ECLOSED);
    kit_settle();
    CHECK_EQ(waiting.result, WEFT_ECLOSED);
    CHECK_EQ(weft_ws_close(&p.server, 0, NULL, WS_SOON), 0);
    CHECK_EQ(weft_group_wait(g, WS_SOON), 0);
    CHECK_EQ(weft_group_close(&g), 0);
    return 0;
}

/* --- Pongs and keep-alive -------------------------------------------------------------------- */

/* Both sides write more than fits, and read: the pings in between are answered, nothing stalls. */
static int flood(void *arg)
{
    struct inside *i = arg;
    static char text[300000];
    for (int k = 0; k < 20; k++) {
        CHECK_EQ(weft_ws_write(i->ws, WEFT_WS_BINARY, text, sizeof text, WS_SOON), 0);
        CHECK_EQ(weft_ws_ping(i->ws, "still there", 11, WS_SOON), 0);
    }
    return 0;
}

static int drain_flood(void *arg)
{
    struct inside *i = arg;
    for (int k = 0; k < 20; k++) {
        struct weft_ws_message m;
        CHECK_EQ(weft_ws_read(i->ws, &m, WS_SOON), 1);
        CHECK_EQ(m.len, 300000);
    }
    return 0;
}

static int both_flood(void *arg)
{
    struct ws_pair p = socket_pair_of(NULL, NULL);
    struct weft_group *g = kit_group();
    struct inside i[2] = {{p.client, 0}, {p.server, 0}};
    (void)arg;
    for (int k = 0; k < 2; k++) {
        kit_go(g, "write", flood, &i[k]);
        kit_go(g, "read", drain_flood, &i[k]);
    }
    CHECK_EQ(weft_group_wait(g, WS_SOON), 0);
    CHECK_EQ(weft_group_close(&g), 0);
    ws_kit_close(&p);
    return 0;
}

/* Pings go out while a task reads, and pongs come as long as the other side reads, too. How soon
 * they must come is shown in simulation, below: a real machine may pause for longer. */
static int keeps_alive(void *arg)
{
    static const struct weft_ws_options eager = {.ping_ms = 10, .pong_ms = 20000};
    static const struct weft_ws_options patient = {.ping_ms = -1};
    struct ws_pair p = socket_pair_of(&eager, &patient);
    struct weft_group *g = kit_group();
    struct inside i = {p.server, 0};
    struct weft_ws_message m;
    (void)arg;
    kit_go(g, "answers pings", read_one, &i);
    while (weft_stream_bytes_in(weft_ws_stream(p.client)) <= 100) /* until pongs have come */
        CHECK_EQ(weft_ws_read(p.client, &m, weft_after_ms(120)), -ETIMEDOUT);
    CHECK_EQ(weft_ws_write(p.client, WEFT_WS_TEXT, "x", 1, WS_SOON), 0);
    CHECK_EQ(weft_group_wait(g, WS_SOON), 0);
    CHECK_EQ(i.result, 1);
    weft_ws_abort(&p.client);
    weft_ws_abort(&p.server);
    CHECK_EQ(weft_group_close(&g), 0);
    return 0;
}

/* Nobody reads there, and so nobody answers. */
static int finds_the_dead(void *arg)
{
    static const struct weft_ws_options eager = {.ping_ms = 10, .pong_ms = 10};
    static const struct weft_ws_options patient = {.ping_ms = -1};
    struct ws_pair p = socket_pair_of(&eager, &patient);
    struct weft_ws_message m;
    (void)arg;
    CHECK_EQ(weft_ws_read(p.client, &m, WS_SOON), -EHOSTDOWN);
    CHECK_EQ(weft_ws_read(p.client, &m, WS_SOON), -EHOSTDOWN);
    CHECK_EQ(weft_ws_write(p.client, WEFT_WS_TEXT, "x", 1, WS_SOON), WEFT_ECLOSED);
    CHECK_EQ(weft_ws_close(&p.client, 0, NULL, weft_after_ms(10)), -EHOSTDOWN);
    weft_ws_abort(&p.server);
    return 0;
}

/* A cancelled task still says good-bye, and does not wait for an answer. */
static int canceled_body(void *arg)
{
    struct weft_ws **ws = arg;
    struct weft_ws_message m;
    CHECK_EQ(weft_ws_read(*ws, &m, WS_SOON), -ECANCELED);
    CHECK_EQ(weft_ws_close(ws, 1001, "stopping", WS_SOON), -ECANCELED);
    return 0;
}

static int cancel(void *arg)
{
    struct ws_pair p = socket_pair_of(NULL, NULL);
    struct weft_group *g = kit_group();
    struct weft_ws_message m;
    (void)arg;
    kit_go(g, "canceled", canceled_body, &p.server);
    kit_settle();
    CHECK_EQ(weft_group_close(&g), 0);
    CHECK(p.server == NULL);
    CHECK_EQ(weft_ws_read(p.client, &m, WS_SOON), 0);
    CHECK_EQ(weft_ws_close_code(p.client), 1001);
    CHECK_EQ(weft_ws_close(&p.client, 0, NULL, WS_SOON), 0);
    return 0;
}

/* --- In simulation --------------------------------------------------------------------------- */

static struct {
    struct weft_ws_options client;
    int64_t idle_s, until_s; /* how long it is quiet; when the network goes */
} day;

static int sim_server(void *arg)
{
    struct weft_listener *l = NULL;
    struct weft_stream *s = NULL;
    struct weft_ws *ws = NULL;
    struct weft_ws_message m;
    int r = 0;
    CHECK_EQ(weft_listen(&l, "tcp://*:80", NULL), 0);
    CHECK_EQ(weft_accept(l, &s, WEFT_NEVER), 0);
    CHECK_EQ(weft_ws_accept(&ws, &s, NULL, WEFT_NEVER), 0);
    while ((r = weft_ws_read(ws, &m, WEFT_NEVER)) > 0)
        CHECK_EQ(weft_ws_write(ws, m.type, m.data, m.len, WEFT_NEVER), 0);
    *(int *)arg = r;
    CHECK(weft_ws_close(&ws, 0, NULL, WEFT_NEVER) <= 0);
    weft_listener_close(&l);
    return 0;
}

static int sim_client(void *arg)
{
    struct weft_ws *ws = NULL;
    struct weft_ws_message m;
    CHECK_EQ(weft_ws_dial(&ws, "ws://server:80/", &day.client, NULL, WEFT_NEVER), 0);
    for (int i = 0; i < 50; i++) {
        CHECK_EQ(weft_ws_write(ws, WEFT_WS_TEXT, "hello", 5, WEFT_NEVER), 0);
        CHECK_EQ(weft_ws_read(ws, &m, WEFT_NEVER), 1);
    }
    /* Idle: pings keep it open. Then the network is gone. */
    CHECK_EQ(weft_ws_read(ws, &m, weft_after_s(day.idle_s)), -ETIMEDOUT);
    CHECK_EQ(weft_ws_write(ws, WEFT_WS_TEXT, "x", 1, WEFT_NEVER), 0);
    CHECK_EQ(weft_ws_read(ws, &m, WEFT_NEVER), 1);
    *(int *)arg = weft_ws_read(ws, &m, WEFT_NEVER);
    weft_ws_abort(&ws);
    return 0;
}

static void part(struct weft_sim *sim, void *arg)
{
    (void)arg;
    CHECK_EQ(weft_sim_partition(sim, "server", "client"), 0);
}

static void simulate_day(void)
{
    for (uint64_t seed = 1; seed <= 5; seed++) {
        struct weft_sim_options o = {.seed = seed};
        struct weft_sim *sim = NULL;
        int server = 0, client = 0;
        CHECK_EQ(weft_sim_open(&sim, &o), 0);
        CHECK_EQ(weft_sim_host(sim, "server", sim_server, &server), 0);
        CHECK_EQ(weft_sim_host(sim, "client", sim_client, &client), 0);
        CHECK_EQ(weft_sim_at(sim, weft_s(day.until_s), part, NULL), 0);
        int err = weft_sim_run(sim, weft_s(200000));
        if (err < 0)
            (void)fprintf(stderr, "seed %d: %s %s\n", (int)seed, weft_error_name(err),
                          weft_error_detail());
        CHECK_EQ(err, 0);
        weft_sim_close(&sim);
        CHECK_EQ(client, -EHOSTDOWN);
        CHECK_EQ(server, -EHOSTDOWN);
    }
}

static void a_day_in_simulation(const char *driver)
{
    (void)driver;
    day.client = (struct weft_ws_options){.ping_ms = 0};
    day.idle_s = 86400;
    day.until_s = 90000;
    simulate_day();
}

/* Often, and with little time for each pong: who answers at once is in time for all of them. */
static void hurried_in_simulation(const char *driver)
{
    (void)driver;
    day.client = (struct weft_ws_options){.ping_ms = 100, .pong_ms = 100};
    day.idle_s = 600;
    day.until_s = 700;
    simulate_day();
}

/* A guest who takes nothing any more and says good-bye: the reader waits close_ms for room to
 * answer, and not for as long as the guest likes. */
static int flood_body(void *arg)
{
    static char text[100000];
    int err = 0;
    while (err == 0)
        err = weft_ws_write(arg, WEFT_WS_BINARY, text, sizeof text, WEFT_NEVER);
    CHECK_EQ(err, WEFT_ECLOSED);
    return 0;
}

static int stalled_server(void *arg)
{
    struct weft_listener *l = NULL;
    struct weft_stream *s = NULL;
    struct weft_ws *ws = NULL;
    struct weft_ws_message m;
    struct weft_group *g = kit_group();
    CHECK_EQ(weft_listen(&l, "tcp://*:80", NULL), 0);
    CHECK_EQ(weft_accept(l, &s, WEFT_NEVER), 0);
    CHECK_EQ(weft_ws_accept(&ws, &s, NULL, WEFT_NEVER), 0);
    kit_go(g, "flood", flood_body, ws);
    int64_t begin = weft_now_ns();
    CHECK_EQ(weft_ws_read(ws, &m, WEFT_NEVER), 0);
    *(int64_t *)arg = weft_now_ns() - begin;
    weft_ws_abort(&ws);
    CHECK_EQ(weft_group_close(&g), 0);
    weft_listener_close(&l);
    return 0;
}

static int stalled_client(void *arg)
{
    struct weft_ws *ws = NULL;
    static const unsigned char bye[] = {0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8};
    (void)arg;
    CHECK_EQ(weft_ws_dial(&ws, "ws://server:80/", NULL, NULL, WEFT_NEVER), 0);
    CHECK_EQ(weft_sleep_ms(5000), 0); /* of the simulation: the server's queues are full */
    CHECK_EQ(weft_write(weft_ws_stream(ws), bye, sizeof bye, WEFT_NEVER), 0);
    CHECK_EQ(weft_sleep_ms(3600000), 0);
    weft_ws_abort(&ws);
    return 0;
}

static void stalled(const char *driver)
{
    struct weft_sim_options o = {.seed = 1};
    struct weft_sim *sim = NULL;
    int64_t took = 0;
    (void)driver;
    CHECK_EQ(weft_sim_open(&sim, &o), 0);
    CHECK_EQ(weft_sim_host(sim, "server", stalled_server, &took), 0);
    CHECK_EQ(weft_sim_host(sim, "client", stalled_client, NULL), 0);
    CHECK_EQ(weft_sim_run(sim, weft_s(10000)), 0);
    weft_sim_close(&sim);
    CHECK(took > 0 && took < INT64_C(60) * 1000000000); /* close_ms is 10 s */
}

static const struct kit_case cases[] = {
    IN_TASK(writers),
    IN_TASK(abort_wakes),
    IN_TASK(unfinished),
    IN_TASK(close_beside_reader),
    IN_TASK(bad_closes),
    IN_TASK(last_part_again),
    IN_TASK(part_cut_off),
    IN_TASK(closed_within_parts),
    IN_TASK(both_flood),
    IN_TASK(cancel),
    IN_TASK(keeps_alive),
    IN_TASK(finds_the_dead),
    ON_THREAD(a_day_in_simulation),
    ON_THREAD(hurried_in_simulation),
    ON_THREAD(stalled),
};
KIT_MAIN(cases)
