/* SPDX-License-Identifier: MIT */
/*
 * A client of HTTP/2 whose frames are bytes by hand: for what no library would send. And a server
 * for it, in a simulation, so that a minute costs nothing.
 */
#ifndef HTTP2_PEER_KIT_H
#define HTTP2_PEER_KIT_H

#include <weft/sim.h>

#include "http2_frame_kit.h"
#include "http_kit.h"

#define SOON weft_after_s(600)

struct place;

struct client {
    struct place *place;
    struct weft_stream *s;
    uint8_t status; /* the first byte of the last head: HPACK's index of a status */
};

static inline void put(struct client *c, const void *data, size_t len)
{
    CHECK_EQ(weft_write(c->s, data, len, SOON), 0);
}

static inline size_t frame(uint8_t *to, uint8_t type, uint8_t flags, uint32_t id, const void *body,
                           size_t len)
{
    const uint8_t head[] = {
        0,          (uint8_t)(len >> 8), (uint8_t)len,        type,
        flags,      (uint8_t)(id >> 24), (uint8_t)(id >> 16), (uint8_t)(id >> 8),
        (uint8_t)id};
    memcpy(to, head, sizeof head);
    if (len > 0)
        memcpy(to + sizeof head, body, len);
    return sizeof head + len;
}

static inline void put_frame(struct client *c, uint8_t type, uint8_t flags, uint32_t id,
                             const void *body, size_t len)
{
    uint8_t buf[256];
    put(c, buf, frame(buf, type, flags, id, body, len));
}

/* A head in one frame, :method by its index in HPACK's static table (2: GET, 3: POST). */
static inline size_t head(uint8_t *to, uint8_t flags, uint32_t id, uint8_t method, const char *path)
{
    uint8_t block[64] = {(uint8_t)(0x80 | method), 0x86, 0x04, (uint8_t)strlen(path)};
    size_t len = 4 + strlen(path);
    memcpy(block + 4, path, strlen(path));
    memcpy(block + len, "\x01\x01h", 3);
    return frame(to, 1, flags, id, block, len + 3);
}

static inline void ask(struct client *c, uint32_t id, const char *path)
{
    uint8_t buf[128];
    put(c, buf, head(buf, 5, id, 2, path)); /* END_STREAM, END_HEADERS */
}

/* window: of each stream. */
static inline void begin(struct client *c, uint32_t window)
{
    static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    const uint8_t setting[] = {0,
                               4,
                               (uint8_t)(window >> 24),
                               (uint8_t)(window >> 16),
                               (uint8_t)(window >> 8),
                               (uint8_t)window};
    put(c, preface, sizeof preface - 1);
    put_frame(c, 4, 0, 0, setting, sizeof setting);
}

static inline void open_window(struct client *c, uint32_t id, uint8_t by)
{
    const uint8_t body[] = {0, 0, 0, by};
    put_frame(c, 8, 0, id, body, sizeof body);
}

/*
 * Reads until that stream ends (0), is reset (RST_STREAM), or the connection is to end (GOAWAY);
 * *code: of these two. WEFT_EEOF: it has just ended.
 */
static inline int await(struct client *c, uint32_t id, uint32_t *code)
{
    struct h2_frame f;
    for (;;) {
        int err = read_frame(c->s, &f, SOON);
        CHECK(err == 0 || err == WEFT_EEOF);
        if (err < 0)
            return err;
        *code = number_of(f.body + (f.type == GOAWAY ? 4 : 0));
        if (f.type == HEADERS)
            c->status = f.body[0];
        if (f.type == GOAWAY || (f.type == RST_STREAM && f.id == id))
            return f.type;
        if ((f.type == DATA || f.type == HEADERS) && f.id == id && (f.flags & END_STREAM) != 0)
            return 0;
    }
}

/* --- The server, and both together ------------------------------------------------------------ */

struct place {
    struct weft_http_options o;
    int (*client)(struct client *c);
    void (*routes)(struct weft_http_app *app, struct place *p); /* beside those of place_app() */
    struct weft_event go, over;
    int body;                            /* what reading one gave */
    struct weft_http_server_stats stats; /* at the end */
    int held;
};

static inline int place_small(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    (void)q, (void)arg;
    return weft_http_text(r, 200, "small");
}

static inline int place_whole(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    struct place *p = arg;
    const void *data;
    size_t len;
    p->body = weft_http_body(q, &data, &len, WEFT_NEVER);
    return p->body < 0 ? p->body : weft_http_text(r, 200, "%zu", len);
}

static inline struct weft_http_app *place_app(struct place *p)
{
    struct weft_http_app *app = http_kit_app();
    http_kit_at_once(app, "GET /now", place_small);
    http_kit_route(app, "GET /small", place_small);
    CHECK_EQ(weft_http_route(app, "POST /whole", place_whole, p), 0);
    p->routes(app, p);
    return app;
}

static inline int place_server(void *arg)
{
    struct place *p = arg;
    struct weft_group *g = kit_group();
    struct weft_http_app *app = place_app(p);
    struct weft_http_server *server = NULL;
    CHECK_EQ(weft_http_server_open(&server, g, "tcp://*:80", app, &p->o), 0);
    CHECK_EQ(weft_event_wait(&p->over, WEFT_NEVER), 0);
    weft_http_server_stats_mt(server, &p->stats);
    weft_group_cancel(g);
    (void)weft_group_close(&g);
    weft_http_app_close(&app);
    return 0;
}

static inline int place_client(void *arg)
{
    struct client c = {.place = arg};
    CHECK_EQ(weft_dial(&c.s, "tcp://server:80", NULL, SOON), 0);
    int err = c.place->client(&c);
    weft_abort(&c.s);
    weft_event_set(&c.place->over);
    return err;
}

static inline void place_play(struct place *p)
{
    struct weft_sim *sim = NULL;
    CHECK_EQ(weft_sim_open(&sim, &(struct weft_sim_options){.seed = 1}), 0);
    CHECK_EQ(weft_sim_host(sim, "server", place_server, p), 0);
    CHECK_EQ(weft_sim_host(sim, "client", place_client, p), 0);
    CHECK_EQ(weft_sim_run(sim, weft_s(3600)), 0);
    CHECK_EQ(weft_sim_close(&sim), 0);
}

#endif
