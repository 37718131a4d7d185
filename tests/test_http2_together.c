/* SPDX-License-Identifier: MIT */
/*
 * HTTP/2 requests that come in one piece: their answers go out together, and none waits for one
 * that takes long, or for one that the client takes no bytes of. The client is bytes by hand.
 */
#include <weft/http_server.h>

#include "rt_kit.h"

#define SOON weft_after_s(60)
#define WINDOW 65535 /* of a stream when nothing else was said (RFC 9113, 6.9.2) */

struct site {
    struct weft_event go;
    bool held;
};

static int small(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    (void)q, (void)arg;
    return weft_http_text(r, 200, "small");
}

static int hold(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    struct site *s = arg;
    (void)q;
    s->held = true;
    int err = weft_event_wait(&s->go, SOON);
    return err < 0 ? err : weft_http_text(r, 200, "held");
}

static int large(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    static const char body[200000];
    (void)q, (void)arg;
    return weft_http_send(r, 200, "application/octet-stream", body, sizeof body);
}

/* A request in one HEADERS frame: indexed fields, and a path and an authority not to be indexed
 * (RFC 7541, 6.2.2). */
static size_t request(uint8_t *to, uint8_t id, const char *path)
{
    size_t len = strlen(path), block = 2 + 2 + len + 2 + 1;
    const uint8_t head[] = {0, 0,  (uint8_t)block, 1,    5,    0,           0,
                            0, id, 0x82,           0x86, 0x04, (uint8_t)len};
    memcpy(to, head, sizeof head);
    memcpy(to + sizeof head, path, len);
    memcpy(to + sizeof head + len, "\x01\x01h", 3);
    return 9 + block;
}

struct seen {
    size_t data;      /* bytes, of all streams */
    bool ended[32];   /* by stream */
    size_t order[32]; /* when it ended */
    size_t ends;
};

static void next_frame(struct weft_stream *s, struct seen *seen)
{
    uint8_t head[9], rest[16384];
    CHECK_EQ(weft_read_full(s, head, sizeof head, SOON), 0);
    size_t len = (size_t)head[1] << 8 | head[2];
    CHECK(head[0] == 0 && len <= sizeof rest && head[8] < 32);
    if (len > 0)
        CHECK_EQ(weft_read_full(s, rest, len, SOON), 0);
    if (head[3] == 0)
        seen->data += len;
    CHECK(head[3] != 3 && head[3] != 7); /* RST_STREAM, GOAWAY */
    if (head[3] == 0 && (head[4] & 1) != 0) {
        seen->ended[head[8]] = true;
        seen->order[head[8]] = ++seen->ends;
    }
}

static int together(void *arg)
{
    static const char *const paths[] = {"/small", "/hold", "/small", "/large", "/small", "/small"};
    struct site site = {.held = false};
    struct seen seen = {.data = 0};
    struct weft_http_app *app = NULL;
    struct weft_http_server *server = NULL;
    struct weft_stream *s = NULL;
    struct weft_group *g = kit_group();
    char at[WEFT_ENDPOINT_MAX];
    /* The preface, settings, and a window for the connection. */
    uint8_t bytes[512] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"
                         "\0\0\x04\x08\0\0\0\0\0\0\x10\0\0";
    size_t len = 24 + 9 + 13;
    (void)arg;
    CHECK_EQ(weft_http_app_open(&app), 0);
    CHECK_EQ(weft_http_route(app, "GET /small", small, &site), 0);
    CHECK_EQ(weft_http_route(app, "GET /hold", hold, &site), 0);
    CHECK_EQ(weft_http_route(app, "GET /large", large, &site), 0);
    CHECK_EQ(weft_http_server_open(&server, g, "tcp://127.0.0.1:0", app, NULL), 0);
    CHECK(weft_http_server_endpoint(server, at, sizeof at) > 0);
    CHECK_EQ(weft_dial(&s, at, NULL, SOON), 0);
    for (size_t i = 0; i < WEFT__ARRAY_LEN(paths); i++)
        len += request(bytes + len, (uint8_t)(1 + 2 * i), paths[i]);
    CHECK_EQ(weft_write(s, bytes, len, SOON), 0);

    /* The small ones, and as much of the large one as the window lets through. */
    while (seen.ends < 4 || seen.data < WINDOW + 20)
        next_frame(s, &seen);
    CHECK(seen.ended[1] && seen.ended[5] && seen.ended[9] && seen.ended[11]);
    CHECK(site.held && !seen.ended[3] && !seen.ended[7]);
    CHECK_EQ(seen.data, WINDOW + 20);

    /* A window for the rest. */
    static const uint8_t more[] = {0, 0, 4, 8, 0, 0, 0, 0, 7, 0, 4, 0, 0};
    CHECK_EQ(weft_write(s, more, sizeof more, SOON), 0);
    while (!seen.ended[7])
        next_frame(s, &seen);
    CHECK(!seen.ended[3]);
    weft_event_set(&site.go);
    while (!seen.ended[3])
        next_frame(s, &seen);
    CHECK_EQ(seen.data, 200000 + 4 * 5 + 4);
    weft_abort(&s);
    weft_group_cancel(g);
    (void)weft_group_close(&g);
    weft_http_app_close(&app);
    return 0;
}

static const struct kit_case cases[] = {IN_TASK(together)};
KIT_MAIN(cases)
