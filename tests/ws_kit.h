/* SPDX-License-Identifier: MIT */
/*
 * What the tests of WebSocket share: a pair of connections over a pair of streams, after a
 * handshake or without one.
 */
#ifndef WS_KIT_H
#define WS_KIT_H

#include "rt_kit.h"

#include <weft/websocket.h>

#include "ws/ws.h"

#define WS_SOON weft_after_s(60)

struct ws_kit_side {
    struct weft_stream *s;
    struct weft_ws *ws;
    const struct weft_ws_options *o;
    int result;
    char detail[200];
};

static inline int ws_kit_be_server(void *arg)
{
    struct ws_kit_side *side = arg;
    side->result = weft_ws_accept(&side->ws, &side->s, side->o, WS_SOON);
    (void)snprintf(side->detail, sizeof side->detail, "%s", weft_error_detail());
    (void)weft_close(&side->s, WS_SOON);
    return 0;
}

static inline int ws_kit_be_client(void *arg)
{
    struct ws_kit_side *side = arg;
    side->result = weft_ws_connect(&side->ws, &side->s, "server.test", "/chat", side->o, WS_SOON);
    (void)snprintf(side->detail, sizeof side->detail, "%s", weft_error_detail());
    (void)weft_close(&side->s, WS_SOON);
    return 0;
}

static inline void ws_kit_both(weft_fn a, void *arg_a, weft_fn b, void *arg_b)
{
    struct weft_group *g = kit_group();
    kit_go(g, "a", a, arg_a);
    kit_go(g, "b", b, arg_b);
    CHECK_EQ(weft_group_wait(g, weft_after_s(120)), 0);
    CHECK_EQ(weft_group_close(&g), 0);
}

static inline void ws_kit_shake(struct ws_kit_side *client, struct ws_kit_side *server)
{
    ws_kit_both(ws_kit_be_client, client, ws_kit_be_server, server);
}

struct ws_pair {
    struct weft_ws *client, *server;
};

/* Both options may be NULL. Takes the streams. */
static inline struct ws_pair ws_kit_pair(struct weft_stream *a, struct weft_stream *b,
                                         const struct weft_ws_options *client,
                                         const struct weft_ws_options *server)
{
    struct ws_kit_side c = {.s = a, .o = client}, s = {.s = b, .o = server};
    ws_kit_shake(&c, &s);
    if (c.result != 0 || s.result != 0)
        (void)fprintf(stderr, "client: %s, server: %s\n", c.detail, s.detail);
    CHECK_EQ(c.result, 0);
    CHECK_EQ(s.result, 0);
    return (struct ws_pair){c.ws, s.ws};
}

static inline int ws_kit_close_one(void *arg)
{
    struct weft_ws **ws = arg;
    int err = weft_ws_close(ws, 0, NULL, WS_SOON);
    CHECK(err <= 0);
    return err;
}

/* Both say good-bye. */
static inline void ws_kit_close(struct ws_pair *p)
{
    ws_kit_both(ws_kit_close_one, &p->client, ws_kit_close_one, &p->server);
}

/* A connection on a stream, as after a handshake. */
static inline struct weft_ws *ws_kit_open(struct weft_stream *s, bool server,
                                          const struct weft__ws_deflate *deflate,
                                          const struct weft_ws_options *o)
{
    struct weft__ws_agreed a = {.server = server, .status = 101};
    struct weft_ws *ws = NULL;
    if (deflate != NULL)
        a.deflate = *deflate;
    CHECK_EQ(weft__ws_open(&ws, &s, &a, o), 0);
    return ws;
}

#endif
