/* SPDX-License-Identifier: MIT */
/*
 * WebSocket over a stream of HTTP/2 (RFC 8441) in a simulation, so that a minute costs nothing: a
 * server whose handler leaves it to a task of others, and a client that is bytes by hand.
 */
#ifndef WS_H2_KIT_H
#define WS_H2_KIT_H

#include "http2_peer_kit.h"

#include <weft/websocket.h>

#define WIDE 0x7fffffffu

/* A server for one client, and who holds its WebSockets. */
struct scene {
    struct place p; /* first */
    weft_http_handler handler;
    int (*hold)(void *arg);
    struct weft_group *holders;
    struct weft_ws *ws;
    bool drains; /* when it is over, before it ends */
    int result, after;
    bool returned; /* the handler has */
    struct weft_event go_on;
};

/* --- The server ------------------------------------------------------------------------------- */

/* The handler leaves it to a task of others. */
static inline int leave_it(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    struct scene *x = arg;
    int err = weft_http_websocket(q, r, &x->ws, NULL);
    if (err != 0)
        return err;
    kit_go(x->holders, "holds it", x->hold, x);
    x->returned = true;
    return 0;
}

static inline int echo(void *arg)
{
    struct scene *x = arg;
    struct weft_ws_message m;
    int err;
    while ((err = weft_ws_read(x->ws, &m, WEFT_NEVER)) > 0) {
        CHECK(x->returned);
        err = weft_ws_write(x->ws, m.type, m.data, m.len, WEFT_NEVER);
        if (err < 0)
            break;
    }
    x->result = err;
    x->after = weft_ws_close(&x->ws, 0, NULL, SOON);
    return 0;
}

static inline int serve(void *arg)
{
    struct scene *x = arg;
    struct weft_group *g = kit_group();
    struct weft_http_app *app = http_kit_app();
    struct weft_http_server *server = NULL;
    x->holders = kit_group();
    http_kit_route(app, "GET /small", place_small);
    CHECK_EQ(weft_http_route(app, "GET /ws", x->handler, x), 0);
    CHECK_EQ(weft_http_server_open(&server, g, "tcp://*:80", app, &x->p.o), 0);
    CHECK_EQ(weft_event_wait(&x->p.over, WEFT_NEVER), 0);
    if (x->drains)
        CHECK_EQ(weft_http_server_drain(server, SOON), 0);
    weft_group_cancel(g);
    CHECK_EQ(weft_group_close(&g), 0);
    weft_event_set(&x->go_on);
    CHECK_EQ(weft_group_wait(x->holders, SOON), 0); /* they end by themselves */
    CHECK_EQ(weft_group_close(&x->holders), 0);
    weft_http_app_close(&app);
    return 0;
}

static inline void play(struct scene *x)
{
    struct weft_sim *sim = NULL;
    x->handler = x->handler != NULL ? x->handler : leave_it;
    CHECK_EQ(weft_sim_open(&sim, &(struct weft_sim_options){.seed = 1}), 0);
    CHECK_EQ(weft_sim_host(sim, "server", serve, x), 0);
    CHECK_EQ(weft_sim_host(sim, "client", place_client, &x->p), 0);
    CHECK_EQ(weft_sim_run(sim, weft_s(3600)), 0);
    CHECK_EQ(weft_sim_close(&sim), 0);
}

/* --- The client ------------------------------------------------------------------------------- */

static inline size_t field(uint8_t *to, const char *name, const char *value)
{
    size_t n = strlen(name), v = strlen(value);
    to[0] = 0; /* a literal with a new name (RFC 7541 section 6.2.2) */
    to[1] = (uint8_t)n;
    memcpy(to + 2, name, n);
    to[2 + n] = (uint8_t)v;
    memcpy(to + 3 + n, value, v);
    return 3 + n + v;
}

static inline void ask_for_ws(struct client *c, uint32_t id)
{
    uint8_t block[200];
    size_t len = field(block, ":method", "CONNECT");
    len += field(block + len, ":protocol", "websocket");
    len += field(block + len, ":scheme", "http");
    len += field(block + len, ":path", "/ws");
    len += field(block + len, ":authority", "h");
    len += field(block + len, "sec-websocket-version", "13");
    put_frame(c, HEADERS, 4, id, block, len);
}

/* The next frame of that type and stream; its body's length. */
static inline size_t frame_of(struct client *c, uint8_t type, uint32_t id, uint8_t body[16384])
{
    uint8_t h[9];
    for (;;) {
        CHECK_EQ(weft_read_full(c->s, h, sizeof h, SOON), 0);
        size_t len = (size_t)h[0] << 16 | (size_t)h[1] << 8 | h[2];
        CHECK(len <= 16384);
        if (len > 0)
            CHECK_EQ(weft_read_full(c->s, body, len, SOON), 0);
        if (h[3] == type && number_of(h + 5) == id)
            return len;
        CHECK(h[3] != GOAWAY && !(h[3] == RST_STREAM && number_of(h + 5) == id));
    }
}

static inline void open_ws(struct client *c, uint32_t id)
{
    uint8_t body[16384];
    ask_for_ws(c, id);
    CHECK(frame_of(c, HEADERS, id, body) > 0);
    CHECK_EQ(body[0], 0x80 | 8); /* 200 */
}

/* A frame of WebSocket, masked by zeros. */
static inline void say(struct client *c, uint32_t id, uint8_t first, const void *data, size_t len)
{
    uint8_t buf[200] = {first, (uint8_t)(0x80 | len)};
    CHECK(len < 126);
    memcpy(buf + 6, data, len);
    put_frame(c, DATA, 0, id, buf, 6 + len);
}

/* Bytes of the tunnel, in however many frames. */
static inline void hears(struct client *c, uint32_t id, const void *want, size_t len)
{
    uint8_t body[16384];
    for (size_t got = 0; got < len;) {
        size_t n = frame_of(c, DATA, id, body);
        CHECK(n <= len - got);
        CHECK_EQ(memcmp(body, (const uint8_t *)want + got, n), 0);
        got += n;
    }
}

static inline void widen(struct client *c, uint32_t id, uint32_t by)
{
    const uint8_t body[] = {(uint8_t)(by >> 24), (uint8_t)(by >> 16), (uint8_t)(by >> 8),
                            (uint8_t)by};
    put_frame(c, 8, 0, id, body, sizeof body);
}

static inline void ask_well(struct client *c, uint32_t id)
{
    uint32_t code = 0;
    ask(c, id, "/small");
    widen(c, id, 100);
    CHECK_EQ(await(c, id, &code), 0);
}

#define SAYS_BYE(c, id) say(c, id, 0x88, "\x03\xe8", 2)
#define BYE "\x88\x02\x03\xe8"

#endif
