/* SPDX-License-Identifier: MIT */
/*
 * WebSocket as callbacks: a server of a factory with clients in tasks, on each driver.
 */
#include "ws_kit.h"

#include <weft/random.h>
#include <weft/server.h>

#include "base/alloc.h"

#define ROOM_MAX 64

/* A room: what comes is sent to all, or done as it says. */
struct room {
    struct weft_ws *members[ROOM_MAX];
    size_t n, made, closed, paused, resumed;
    int last_error;
    unsigned last_code;
    bool encode;
    struct weft_event emptied;
};

static int on_made(struct weft_ws *ws, void *arg)
{
    struct room *r = arg;
    CHECK(weft_ws_get(ws) == NULL);
    weft_ws_set(ws, r);
    CHECK(r->n < ROOM_MAX);
    r->members[r->n++] = ws;
    r->made++;
    return strcmp(weft_ws_subprotocol(ws), "unwanted") == 0 ? -EPERM : 0;
}

static void send_to_all(struct room *r, const struct weft_ws_message *m)
{
    static const struct weft_ws_options o = {.deflate = true, .deflate_min = 64};
    struct weft_ws_encoded *e = NULL;
    if (r->encode)
        CHECK_EQ(weft_ws_encode(&e, m->type, m->data, m->len, &o), 0);
    for (size_t i = 0; i < r->n; i++) {
        int err = r->encode ? weft_ws_send_encoded(r->members[i], e, WEFT_NOW)
                            : weft_ws_write(r->members[i], m->type, m->data, m->len, WEFT_NOW);
        CHECK(err == 0 || err == -ENOBUFS || err == WEFT_ECLOSED);
    }
    weft_ws_encoded_unref(e);
}

static bool is(const struct weft_ws_message *m, const char *text)
{
    return m->len == strlen(text) && memcmp(m->data, text, m->len) == 0;
}

static int on_message(struct weft_ws *ws, const struct weft_ws_message *m, void *conn)
{
    struct room *r = conn;
    struct weft_ws_message other;
    struct weft_ws *self = ws;
    CHECK(m->last && m->data != NULL);
    CHECK_EQ(weft_ws_read(ws, &other, WEFT_NOW), -EBUSY);
    CHECK_EQ(weft_ws_write_part(ws, WEFT_WS_TEXT, "x", 1, true, WEFT_NOW), -EINVAL);
    if (is(m, "error"))
        return weft__fail(-EIO, "not the peer's business");
    if (is(m, "abort"))
        weft_ws_abort(&self);
    else if (is(m, "close"))
        CHECK_EQ(weft_ws_close(&self, 4000, "as you wish", WEFT_NOW), 0);
    else if (is(m, "ping"))
        CHECK_EQ(weft_ws_ping(ws, "are you there", 13, WEFT_NOW), 0);
    else
        send_to_all(r, m);
    return 0;
}

static void on_closed(struct weft_ws *ws, int error, void *conn)
{
    struct room *r = conn;
    size_t i = 0;
    while (i < r->n && r->members[i] != ws)
        i++;
    CHECK(i < r->n);
    r->members[i] = r->members[--r->n];
    r->closed++;
    r->last_error = error;
    r->last_code = weft_ws_close_code(ws);
    if (r->n == 0)
        weft_event_set(&r->emptied);
}

static void on_paused(struct weft_ws *ws, void *conn)
{
    (void)ws;
    ((struct room *)conn)->paused++;
}

static void on_resumed(struct weft_ws *ws, void *conn)
{
    (void)ws;
    ((struct room *)conn)->resumed++;
}

static const struct weft_ws_protocol protocol = {.made = on_made,
                                                 .message = on_message,
                                                 .paused = on_paused,
                                                 .resumed = on_resumed,
                                                 .closed = on_closed};

struct house {
    struct room room;
    struct weft_ws_factory *factory;
    struct weft_group *g;
    struct weft_server *server;
    char url[WEFT_ENDPOINT_MAX + 8], endpoint[WEFT_ENDPOINT_MAX];
};

static void house_open_as(struct house *h, const struct weft_ws_protocol *p, enum weft_model model,
                          const struct weft_ws_options *o)
{
    struct weft_server_options so = {.model = model};
    memset(h, 0, sizeof *h);
    CHECK_EQ(weft_ws_factory_open(&h->factory, p, o, &h->room, 0, 0), 0);
    h->g = kit_group();
    CHECK_EQ(weft_server_open(&h->server, h->g, "tcp://127.0.0.1:0", &so, NULL, NULL,
                              weft_ws_factory_of(h->factory)),
             0);
    CHECK(weft_server_endpoint(h->server, h->endpoint, sizeof h->endpoint) > 0);
    (void)snprintf(h->url, sizeof h->url, "ws%s/", h->endpoint + 3);
}

static void house_open(struct house *h, const struct weft_ws_options *o)
{
    house_open_as(h, &protocol, WEFT_PROTOCOLS, o);
}

static void house_close(struct house *h)
{
    CHECK_EQ(weft_group_close(&h->g), 0);
    CHECK_EQ(h->room.n, 0);
    CHECK_EQ(h->room.made, h->room.closed);
    weft_ws_factory_close(&h->factory);
}

static struct weft_ws *visit(struct house *h, const struct weft_ws_options *o)
{
    struct weft_ws *ws = NULL;
    CHECK_EQ(weft_ws_dial(&ws, h->url, o, NULL, WS_SOON), 0);
    return ws;
}

static void expect(struct weft_ws *ws, const void *data, size_t len)
{
    struct weft_ws_message m;
    CHECK_EQ(weft_ws_read(ws, &m, WS_SOON), 1);
    CHECK(m.len == len && memcmp(m.data, data, len) == 0);
}

static void say(struct weft_ws *ws, const char *text)
{
    CHECK_EQ(weft_ws_write(ws, WEFT_WS_TEXT, text, strlen(text), WS_SOON), 0);
}

/* --- Cases ----------------------------------------------------------------------------------- */

static const struct weft_ws_options deflating = {.deflate = true, .deflate_min = 64};
static const struct weft_ws_options taking_over = {
    .deflate = true, .deflate_min = 64, .deflate_takeover = true};

static int echoes(void *arg)
{
    static const struct weft_ws_options *const options[] = {NULL, &deflating, &taking_over};
    static const size_t sizes[] = {0, 1, 125, 126, 5000, 16000, 70000, 300000};
    static char text[300000];
    (void)arg;
    memset(text, 'x', sizeof text);
    for (size_t i = 0; i < WEFT__ARRAY_LEN(options) * 4; i++) {
        struct house h;
        house_open_as(&h, &protocol, i % 4 < 2 ? WEFT_PROTOCOLS : WEFT_TASKS, options[i / 4]);
        h.room.encode = i % 2 != 0;
        struct weft_ws *ws = visit(&h, options[i / 4]);
        CHECK_EQ(weft_ws_deflates(ws), options[i / 4] != NULL);
        for (size_t k = 0; k < 2 * WEFT__ARRAY_LEN(sizes); k++) {
            size_t len = sizes[k % WEFT__ARRAY_LEN(sizes)];
            text[0] = (char)('a' + k);
            CHECK_EQ(weft_ws_write(ws, WEFT_WS_TEXT, text, len, WS_SOON), 0);
            expect(ws, text, len);
        }
        CHECK_EQ(weft_ws_close(&ws, 1001, "", WS_SOON), 0);
        CHECK_EQ(weft_event_wait(&h.room.emptied, WS_SOON), 0);
        CHECK_EQ(h.room.last_error, 0);
        CHECK_EQ(h.room.last_code, 1001);
        house_close(&h);
    }
    return 0;
}

/* A message as long as may be, of bytes that do not compress, and what came with it: all of that is
 * sent back, with no more said to the factory than message_max. */
static int longest(void *arg)
{
    static const struct weft_ws_options larger = {
        .message_max = 3 << 20, .deflate = true, .deflate_memory = 1, .ping_ms = -1};
    static const struct weft_ws_options *const options[] = {NULL, &deflating, &larger};
    (void)arg;
    for (size_t i = 0; i < WEFT__ARRAY_LEN(options); i++) {
        size_t len = options[i] == &larger ? 3 << 20 : WEFT__WS_MESSAGE_MAX;
        char *text = malloc(len);
        struct house h;
        CHECK(text != NULL);
        weft_random(text, len);
        house_open(&h, options[i]);
        struct weft_ws *ws = visit(&h, options[i]);
        CHECK_EQ(weft_ws_write(ws, WEFT_WS_BINARY, text, len, WS_SOON), 0);
        say(ws, "and more");
        expect(ws, text, len);
        expect(ws, "and more", 8);
        CHECK_EQ(weft_ws_close(&ws, 0, NULL, WS_SOON), 0);
        house_close(&h);
        free(text);
    }
    return 0;
}

static int rooms(void *arg)
{
    struct house h;
    struct weft_ws *ws[ROOM_MAX];
    char text[40];
    (void)arg;
    house_open(&h, &deflating);
    h.room.encode = true;
    for (size_t i = 0; i < ROOM_MAX; i++)
        ws[i] = visit(&h, i % 2 == 0 ? NULL : &deflating);
    for (size_t i = 0; i < ROOM_MAX; i++) {
        (void)snprintf(text, sizeof text, "from %zu", i);
        say(ws[i], text);
        for (size_t k = 0; k < ROOM_MAX; k++)
            expect(ws[k], text, strlen(text));
    }
    for (size_t i = 0; i < ROOM_MAX; i++)
        CHECK_EQ(weft_ws_close(&ws[i], 0, NULL, WS_SOON), 0);
    house_close(&h);
    return 0;
}

/* The ways in which the server ends it. */
static int ends(void *arg)
{
    static const struct {
        const char *word;
        int read, error;
        unsigned code;
        const char *reason;
    } ways[] = {{"close", 0, 0, 4000, "as you wish"}, {"error", 0, -EIO, 1011, ""}};
    struct house h;
    struct weft_ws_message m;
    (void)arg;
    house_open(&h, NULL);
    for (size_t i = 0; i < WEFT__ARRAY_LEN(ways); i++) {
        struct weft_ws *ws = visit(&h, NULL);
        say(ws, ways[i].word);
        CHECK_EQ(weft_ws_read(ws, &m, WS_SOON), ways[i].read);
        CHECK_EQ(weft_ws_close_code(ws), ways[i].code);
        CHECK(strcmp(weft_ws_close_reason(ws), ways[i].reason) == 0);
        CHECK_EQ(weft_ws_close(&ws, 0, NULL, WS_SOON), 0);
        CHECK_EQ(weft_event_wait(&h.room.emptied, WS_SOON), 0);
        weft_event_clear(&h.room.emptied);
        CHECK_EQ(h.room.last_error, ways[i].error);
    }
    struct weft_ws *ws = visit(&h, NULL);
    say(ws, "abort");
    int r = weft_ws_read(ws, &m, WS_SOON);
    CHECK(r == WEFT_EEOF || r == -ECONNRESET);
    weft_ws_abort(&ws);
    CHECK_EQ(h.room.last_error, -ECONNABORTED);
    ws = visit(&h, NULL);
    weft_event_clear(&h.room.emptied);
    say(ws, "ping");
    say(ws, "hello");
    expect(ws, "hello", 5);
    weft_ws_abort(&ws);
    CHECK_EQ(weft_event_wait(&h.room.emptied, WS_SOON), 0);
    CHECK(h.room.last_error < 0);
    house_close(&h);
    return 0;
}

static int handshakes(void *arg)
{
    static const struct weft_ws_options o = {
        .protocols = "chat, unwanted", .protocol_required = true, .origins = "http://a.test"};
    static const struct weft_ws_options good = {.protocols = "chat", .origin = "http://a.test"};
    static const struct weft_ws_options unwanted = {.protocols = "unwanted"};
    static const struct weft_ws_options foreign = {.protocols = "chat", .origin = "http://b.test"};
    struct house h;
    struct weft_ws *ws = NULL;
    struct weft_ws_message m;
    (void)arg;
    house_open(&h, &o);
    CHECK_EQ(weft_ws_dial(&ws, h.url, NULL, NULL, WS_SOON), -ECONNREFUSED);
    CHECK(strstr(weft_error_detail(), "400") != NULL);
    CHECK_EQ(weft_ws_dial(&ws, h.url, &foreign, NULL, WS_SOON), -ECONNREFUSED);
    CHECK(strstr(weft_error_detail(), "403") != NULL);
    CHECK_EQ(h.room.made, 0);
    ws = visit(&h, &good);
    CHECK(strcmp(weft_ws_subprotocol(ws), "chat") == 0);
    CHECK_EQ(weft_ws_close(&ws, 0, NULL, WS_SOON), 0);
    ws = visit(&h, &unwanted); /* refused by `made` */
    CHECK_EQ(weft_ws_read(ws, &m, WS_SOON), 0);
    CHECK_EQ(weft_ws_close_code(ws), 1011);
    CHECK_EQ(weft_ws_close(&ws, 0, NULL, WS_SOON), 0);
    house_close(&h);
    return 0;
}

/* A request that comes byte by byte, with a frame behind it in the same pieces. */
static int slowly(void *arg)
{
    static const char request[] = "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: "
                                  "Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                                  "Sec-WebSocket-Version: 13\r\n\r\n\x81\x82\0\0\0\0hi";
    struct house h;
    (void)arg;
    house_open(&h, NULL);
    for (size_t piece = 1; piece < sizeof request; piece = piece < 3 ? piece + 1 : piece * 4) {
        struct weft_stream *s = NULL;
        char back[300] = "";
        size_t got = 0;
        CHECK_EQ(weft_dial(&s, h.endpoint, NULL, WS_SOON), 0);
        for (size_t at = 0; at < sizeof request - 1; at += piece) {
            size_t n = weft__min_size(piece, sizeof request - 1 - at);
            CHECK_EQ(weft_write(s, request + at, n, WS_SOON), 0);
            CHECK_EQ(weft_flush(s, WS_SOON), 0);
            kit_settle();
        }
        while (strstr(back, "\r\n\r\n\x81\x02hi") == NULL) {
            ssize_t n = weft_read(s, back + got, sizeof back - 1 - got, WS_SOON);
            CHECK(n > 0);
            got += (size_t)n;
        }
        weft_abort(&s);
    }
    house_close(&h);
    return 0;
}

/* Who asks for nothing in time is let go of, and so is who does not answer pings. */
static int silent(void *arg)
{
    const struct weft_ws_options hurried = {.handshake_ms = 20}, mute = {.ping_ms = -1};
    const struct weft_ws_options strict = {.ping_ms = 20, .pong_ms = 20};
    const struct weft_ws_options often = {.ping_ms = 5, .pong_ms = 20000};
    struct house h;
    struct weft_stream *s = NULL;
    char byte;
    (void)arg;
    house_open(&h, &hurried);
    CHECK_EQ(weft_dial(&s, h.endpoint, NULL, WS_SOON), 0);
    CHECK(weft_read(s, &byte, 1, WS_SOON) <= 0);
    weft_abort(&s);
    house_close(&h);
    house_open(&h, &strict);
    struct weft_ws *ws = visit(&h, &mute); /* and nobody reads it */
    CHECK_EQ(weft_event_wait(&h.room.emptied, WS_SOON), 0);
    CHECK_EQ(h.room.last_error, -EHOSTDOWN);
    weft_ws_abort(&ws);
    house_close(&h);
    house_open(&h, &often);
    ws = visit(&h, &mute); /* who answers stays */
    for (int i = 0; i < 10; i++) {
        struct weft_ws_message m;
        CHECK_EQ(weft_ws_read(ws, &m, weft_after_ms(10)), -ETIMEDOUT);
    }
    say(ws, "still here");
    expect(ws, "still here", 10);
    CHECK_EQ(weft_ws_close(&ws, 0, NULL, WS_SOON), 0);
    house_close(&h);
    return 0;
}

/* A peer that never reads costs the queue's maximum and no more. */
static int back_pressure(void *arg)
{
    static char text[60000];
    struct house h;
    (void)arg;
    house_open(&h, NULL);
    struct weft_ws *deaf = visit(&h, NULL), *other = visit(&h, NULL);
    for (int i = 0; i < 400 && h.room.paused == 0; i++) {
        CHECK_EQ(weft_ws_write(other, WEFT_WS_BINARY, text, sizeof text, WS_SOON), 0);
        expect(other, text, sizeof text);
    }
    CHECK(h.room.paused > 0);
    for (size_t i = 0; i < h.room.n; i++)
        CHECK(weft_transport_queued(weft_ws_stream(h.room.members[i])) <= (size_t)16 * 65536);
    size_t resumed = h.room.resumed;
    for (int i = 0; h.room.resumed == resumed; i++)
        expect(deaf, text, sizeof text);
    weft_ws_abort(&deaf);
    weft_ws_abort(&other);
    house_close(&h);
    return 0;
}

/* What a connection that nobody uses takes of the allocator. */
static int memory(void *arg)
{
    struct house h;
    struct weft_ws *ws[ROOM_MAX];
    (void)arg;
    CHECK(sizeof(struct weft_ws) + 232 <= 1024); /* and the transport's */
    house_open(&h, &deflating);
    for (size_t i = 0; i < ROOM_MAX; i++) {
        char text[2000];
        memset(text, 'x', sizeof text);
        ws[i] = visit(&h, &deflating);
        CHECK_EQ(weft_ws_write(ws[i], WEFT_WS_TEXT, text, sizeof text, WS_SOON), 0);
        for (size_t k = 0; k <= i; k++)
            expect(ws[k], text, sizeof text);
    }
    for (size_t i = 0; i < h.room.n; i++) {
        const struct weft_ws *m = h.room.members[i];
        CHECK(m->buf == NULL && m->inflater == NULL && m->deflater == NULL && m->asking == NULL);
    }
    for (size_t i = 0; i < ROOM_MAX; i++)
        weft_ws_abort(&ws[i]);
    house_close(&h);
    return 0;
}

/* --- From a task to callbacks ---------------------------------------------------------------- */

static int attaches(void *arg)
{
    struct room r = {.n = 0};
    struct weft_ws_factory *f = NULL;
    struct weft_stream *a = NULL, *b = NULL;
    struct weft_ws_message m;
    (void)arg;
    CHECK_EQ(weft_ws_factory_open(&f, &protocol, NULL, &r, 0, 0), 0);
    CHECK_EQ(weft_socketpair(&a, &b), 0);
    struct ws_pair p = ws_kit_pair(a, b, NULL, NULL);
    struct weft_group *g = kit_group();
    say(p.client, "first");
    say(p.client, "second");
    CHECK_EQ(weft_ws_read(p.server, &m, WS_SOON), 1);
    CHECK_EQ(weft_ws_attach(g, &p.server, f), 0);
    CHECK(p.server == NULL);
    weft_ws_factory_close(&f); /* the connection holds it */
    expect(p.client, "second", 6);
    say(p.client, "third");
    expect(p.client, "third", 5);
    CHECK_EQ(weft_ws_close(&p.client, 0, NULL, WS_SOON), 0);
    CHECK_EQ(weft_event_wait(&r.emptied, WS_SOON), 0);
    CHECK_EQ(r.last_error, 0);
    CHECK_EQ(weft_group_close(&g), 0);

    /* A client's side can be handed over, too; and a group may end before it began. */
    CHECK_EQ(weft_ws_factory_open(&f, &protocol, NULL, &r, 0, 0), 0);
    CHECK_EQ(weft_socketpair(&a, &b), 0);
    p = ws_kit_pair(a, b, NULL, NULL);
    g = kit_group();
    CHECK_EQ(weft_ws_attach(g, &p.client, f), 0);
    say(p.server, "to a client");
    expect(p.server, "to a client", 11);
    say(p.server, "close");
    CHECK_EQ(weft_ws_read(p.server, &m, WS_SOON), 0);
    CHECK_EQ(weft_ws_close(&p.server, 0, NULL, WS_SOON), 0);
    CHECK_EQ(weft_group_close(&g), 0);
    CHECK_EQ(weft_socketpair(&a, &b), 0);
    p = ws_kit_pair(a, b, NULL, NULL);
    g = kit_group();
    CHECK_EQ(weft_ws_attach(g, &p.client, f), 0);
    CHECK_EQ(weft_group_close(&g), 0);
    weft_ws_abort(&p.server);
    CHECK_EQ(r.made, r.closed);
    weft_ws_factory_close(&f);
    return 0;
}

/* --- More in one receive than may be answered ------------------------------------------------ */

#define ORDERS 100
#define GOODS 65536u /* all of them are six times what a write queue may hold */

/* Each message is an order: its number comes back, in front of much more. */
static int on_order(struct weft_ws *ws, const struct weft_ws_message *m, void *conn)
{
    static unsigned char goods[GOODS];
    struct room *r = conn;
    CHECK_EQ(m->len, 1);
    CHECK(r->paused == r->resumed); /* nothing comes while writing is paused */
    goods[0] = *(const unsigned char *)m->data;
    return weft_ws_write(ws, WEFT_WS_BINARY, goods, sizeof goods, WEFT_NOW);
}

static struct weft_ws *order_all(struct house *h)
{
    struct weft_ws *ws = visit(h, NULL);
    for (unsigned char i = 0; i < ORDERS; i++)
        CHECK_EQ(weft_ws_write(ws, WEFT_WS_BINARY, &i, 1, WS_SOON), 0);
    return ws;
}

static int orders(void *arg)
{
    struct weft_ws_protocol selling = protocol;
    struct weft_ws_message m;
    struct house h;
    (void)arg;
    selling.message = on_order;
    house_open_as(&h, &selling, WEFT_PROTOCOLS, NULL);
    struct weft_ws *ws = order_all(&h);
    for (unsigned char i = 0; i < ORDERS; i++) {
        CHECK_EQ(weft_ws_read(ws, &m, WS_SOON), 1);
        CHECK(m.len == GOODS && *(const unsigned char *)m.data == i);
    }
    CHECK(h.room.paused > 0);
    CHECK_EQ(weft_ws_close(&ws, 0, NULL, WS_SOON), 0);
    CHECK_EQ(weft_event_wait(&h.room.emptied, WS_SOON), 0);
    CHECK_EQ(h.room.last_error, 0);
    ws = order_all(&h); /* and who leaves meanwhile leaves nothing behind */
    for (size_t paused = h.room.paused; h.room.paused == paused;)
        CHECK_EQ(weft_yield(), 0);
    weft_ws_abort(&ws);
    house_close(&h);
    return 0;
}

/* --- Clients as callbacks -------------------------------------------------------------------- */

struct visitor {
    int made, closed, error;
    char got[40];
    struct weft_event over;
};

static int visitor_made(struct weft_ws *ws, void *arg)
{
    struct visitor *v = arg;
    weft_ws_set(ws, v);
    v->made++;
    CHECK(strcmp(weft_ws_subprotocol(ws), "chat") == 0);
    return weft_ws_write(ws, WEFT_WS_TEXT, "hello", 5, WEFT_NOW);
}

static int visitor_message(struct weft_ws *ws, const struct weft_ws_message *m, void *conn)
{
    struct visitor *v = conn;
    (void)snprintf(v->got, sizeof v->got, "%.*s", (int)m->len, (const char *)m->data);
    return weft_ws_close(&ws, 0, NULL, WEFT_NOW);
}

static void visitor_closed(struct weft_ws *ws, int error, void *conn)
{
    struct visitor *v = conn;
    CHECK((ws == NULL) == (v->made == 0));
    CHECK_EQ(weft_sleep_ms(1), -EDEADLK);
    v->closed++;
    v->error = error;
    weft_event_set(&v->over);
}

static const struct weft_ws_protocol visiting = {
    .made = visitor_made, .message = visitor_message, .closed = visitor_closed};

static int clients(void *arg)
{
    static const struct weft_ws_options o = {.protocols = "chat"};
    struct visitor v = {.made = 0};
    struct weft_ws_factory *f = NULL;
    struct house h;
    (void)arg;
    house_open(&h, &o);
    CHECK_EQ(weft_ws_factory_open(&f, &visiting, &o, &v, 0, 0), 0);
    struct weft_group *g = kit_group();
    CHECK_EQ(weft_ws_protocol_dial(g, h.url, NULL, f, 60000), 0);
    CHECK_EQ(weft_event_wait(&v.over, WS_SOON), 0);
    CHECK(v.made == 1 && v.closed == 1 && v.error == 0 && strcmp(v.got, "hello") == 0);

    v = (struct visitor){.made = 0}; /* a URL that is none */
    CHECK_EQ(weft_ws_protocol_dial(g, "ws://", NULL, f, 60000), 0);
    CHECK_EQ(weft_event_wait(&v.over, WS_SOON), 0);
    CHECK(v.made == 0 && v.closed == 1 && v.error < 0);

    v = (struct visitor){.made = 0}; /* cut off before it began */
    CHECK_EQ(weft_ws_protocol_dial(g, h.url, NULL, f, 0), 0);
    weft_ws_factory_close(&f); /* it is held */
    weft_group_cancel(g);
    CHECK_EQ(weft_group_close(&g), 0);
    CHECK(v.made == 0 && v.closed == 1 && v.error == -ECANCELED);
    house_close(&h);
    return 0;
}

static const struct kit_case cases[] = {
    IN_TASK(longest),    IN_TASK(echoes),   IN_TASK(rooms),   IN_TASK(ends),
    IN_TASK(handshakes), IN_TASK(slowly),   IN_TASK(silent),  IN_TASK(back_pressure),
    IN_TASK(memory),     IN_TASK(attaches), IN_TASK(clients), IN_TASK(orders),
};
KIT_MAIN(cases)
