/* SPDX-License-Identifier: MIT */
/*
 * Clients of HTTP/2 that do not finish what they have begun: the preface, a frame, a head in
 * several, the payload of DATA. What bounds each, to the second, in simulation; and that it does in
 * threads, and over TLS. The client is bytes by hand.
 */
#include <weft/tls.h>

#include "http2_peer_kit.h"
#include "wire/http2_frames.h"

#define CALM 11     /* ENHANCE_YOUR_CALM */
#define HEADER_S 5  /* header_ms */
#define BODY_S 12   /* body_ms */
#define OTHER_S 600 /* of what is not to strike */

/* --- The server ------------------------------------------------------------------------------- */

static int hold(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    struct weft_event never = WEFT_EVENT_INIT;
    (void)q, (void)r, (void)arg;
    return weft_event_wait(&never, WEFT_NEVER);
}

static void routes(struct weft_http_app *app, struct place *p)
{
    (void)p;
    http_kit_route(app, "* /hold", hold);
}

/* o: what is not set is long. */
static struct place play(int (*client)(struct client *c), struct weft_http_options o)
{
    struct place p = {.client = client, .routes = routes, .o = o};
    p.o.header_ms = o.header_ms != 0 ? o.header_ms : HEADER_S * 1000;
    p.o.body_ms = BODY_S * 1000;
    p.o.idle_ms = OTHER_S * 1000;
    place_play(&p);
    return p;
}

static void ask_well(struct client *c, uint32_t id, const char *path)
{
    uint32_t code = 0;
    ask(c, id, path);
    CHECK_EQ(await(c, id, &code), 0);
}

/* The connection ends, and it is told why, so many seconds after that. */
static int cut(struct client *c, int64_t since_ns, int64_t s)
{
    uint32_t code = 0;
    CHECK_EQ(await(c, 0, &code), GOAWAY);
    CHECK_EQ(code, CALM);
    CHECK_EQ(await(c, 0, &code), WEFT_EEOF);
    CHECK_EQ((weft_now_ns() - since_ns) / weft_s(1), s);
    return 0;
}

static void wait_s(int64_t s)
{
    CHECK_EQ(weft_sleep_ms(s * 1000), 0);
}

/* --- Its beginning ---------------------------------------------------------------------------- */

/* That it would have been HTTP/2 nobody can know. */
static int half_preface(struct client *c)
{
    static const char preface[] = "PRI * HTTP/2.0";
    char buf[1000];
    int64_t began = weft_now_ns();
    for (size_t i = 0; i < sizeof preface - 1; i++) {
        if (weft_now_ns() - began < weft_s(HEADER_S - 1))
            wait_s(i > 0);
        put(c, preface + i, 1);
    }
    (void)http_kit_read_all(c->s, buf, sizeof buf);
    CHECK_EQ(http_kit_status(buf), 408);
    CHECK_EQ((weft_now_ns() - began) / weft_s(1), HEADER_S);
    return 0;
}

static int begins_slowly(struct client *c, const char *rest, size_t len)
{
    int64_t began = weft_now_ns();
    put(c, WEFT__HTTP2_PREFACE, 10);
    wait_s(3);
    put(c, &WEFT__HTTP2_PREFACE[10], 14);
    wait_s(1);
    put(c, rest, len);
    return cut(c, began, HEADER_S);
}

static int only_preface(struct client *c)
{
    return begins_slowly(c, "", 0);
}

static int half_settings(struct client *c)
{
    return begins_slowly(c, "\0\0\6\4\0\0\0\0\0\0\4", 11);
}

/* --- Heads and frames ------------------------------------------------------------------------- */

static int half_head(struct client *c)
{
    uint8_t buf[128];
    begin(c, 65535);
    ask_well(c, 1, "/now");
    ask_well(c, 3, "/small");
    int64_t began = weft_now_ns();
    put(c, buf, head(buf, 1, 5, 2, "/small")); /* no END_HEADERS */
    return cut(c, began, HEADER_S);
}

/* A frame each second, to which there is nothing to say. */
static int continued(struct client *c)
{
    uint8_t buf[128];
    begin(c, 65535);
    ask(c, 1, "/hold");
    int64_t began = weft_now_ns();
    put(c, buf, head(buf, 1, 3, 2, "/small"));
    for (int i = 0; i < HEADER_S - 1; i++) {
        wait_s(1);
        put_frame(c, 9, 0, 3, "", 0);
    }
    return cut(c, began, HEADER_S);
}

static int byte_by_byte(struct client *c, const void *bytes, size_t len)
{
    begin(c, 65535);
    ask(c, 1, "/hold");
    ask_well(c, 3, "/now");
    int64_t began = weft_now_ns();
    put(c, bytes, 1);
    for (size_t i = 1; i < len; i++) {
        wait_s(1);
        put(c, (const uint8_t *)bytes + i, 1);
    }
    return cut(c, began, HEADER_S);
}

static int half_frame_head(struct client *c)
{
    return byte_by_byte(c, "\0\0\5", 3);
}

static int half_ping(struct client *c)
{
    uint8_t buf[] = "\0\0\x8\6\0\0\0\0\0pin";
    begin(c, 65535);
    wait_s(HEADER_S + 1); /* between frames there is time */
    int64_t began = weft_now_ns();
    put(c, buf, 10);
    wait_s(3);
    put(c, buf + 10, 1);
    return cut(c, began, HEADER_S);
}

/* With a head that came in time, and another behind it in one piece. */
static int second_head(struct client *c)
{
    uint8_t buf[128];
    uint32_t code = 0;
    begin(c, 65535);
    size_t len = head(buf, 5, 1, 2, "/small");
    put(c, buf, 5);
    wait_s(HEADER_S - 1);
    memcpy(buf + len, "\0\0\x8", 3);
    put(c, buf + 5, len - 5 + 3);
    int64_t began = weft_now_ns();
    CHECK_EQ(await(c, 1, &code), 0);
    return cut(c, began, HEADER_S);
}

/* As long as each is ended in time. */
static int slow_heads(struct client *c)
{
    uint8_t buf[128];
    uint32_t code = 0;
    begin(c, 65535);
    for (uint32_t id = 1; id < 8; id += 2) {
        put(c, buf, head(buf, 1, id, 2, "/small"));
        wait_s(HEADER_S - 1);
        put_frame(c, 9, 4, id, "", 0);
        CHECK_EQ(await(c, id, &code), 0);
    }
    return 0;
}

static int waits_longer(struct client *c)
{
    uint8_t buf[128];
    uint32_t code = 0;
    begin(c, 65535);
    put(c, buf, head(buf, 1, 1, 2, "/small"));
    wait_s(100);
    put_frame(c, 9, 4, 1, "", 0);
    CHECK_EQ(await(c, 1, &code), 0);
    return 0;
}

/* --- Bodies ----------------------------------------------------------------------------------- */

#define PIECES 10

/* A frame in ten pieces, with more time between them than a head has as a whole. */
static void begin_body(struct client *c, const char *path, int pieces)
{
    static const char text[1100];
    uint8_t buf[128];
    const uint8_t h[] = {0, PIECES * 110 >> 8, PIECES * 110 & 0xff, 0, 1, 0, 0, 0, 1};
    put(c, buf, head(buf, 4, 1, 3, path));
    put(c, h, sizeof h);
    for (int i = 0; i < pieces; i++) {
        if (i > 0)
            wait_s(HEADER_S + 1);
        put(c, text, 110);
    }
}

static int slow_body(struct client *c)
{
    uint32_t code = 0;
    begin(c, 65535);
    begin_body(c, "/whole", PIECES);
    CHECK_EQ(await(c, 1, &code), 0);
    return 0;
}

/* Which nobody reads. */
static int half_body(struct client *c)
{
    begin(c, 65535);
    begin_body(c, "/hold", 3);
    return cut(c, weft_now_ns(), BODY_S);
}

/* --- In simulation ---------------------------------------------------------------------------- */

static void begins(const char *driver)
{
    (void)driver;
    int (*const clients[])(struct client *) = {half_preface, only_preface, half_settings};
    for (size_t i = 0; i < WEFT__ARRAY_LEN(clients); i++)
        CHECK_EQ(play(clients[i], (struct weft_http_options){0}).stats.bad_requests, 1);
}

static void heads(const char *driver)
{
    int (*const clients[])(struct client *) = {half_head, continued,   half_frame_head,
                                               half_ping, second_head, slow_heads};
    (void)driver;
    for (size_t i = 0; i < WEFT__ARRAY_LEN(clients); i++)
        CHECK_EQ(play(clients[i], (struct weft_http_options){0}).stats.bad_requests,
                 clients[i] != slow_heads);
    (void)play(waits_longer, (struct weft_http_options){.header_ms = -1});
}

static void bodies(const char *driver)
{
    (void)driver;
    struct place p = play(slow_body, (struct weft_http_options){.min_rate = 1});
    CHECK_EQ(p.body, 0);
    CHECK_EQ(p.stats.bad_requests, 0);
    (void)play(half_body, (struct weft_http_options){.min_rate = 1});
}

/* --- In threads, and over TLS ----------------------------------------------------------------- */

static void served(enum weft_model model, bool tls, void (*client)(struct client *c),
                   struct place *p)
{
    struct http_kit k = {.app = place_app(p), .g = kit_group()};
    struct client c = {.place = p};
    struct weft_tls *trusting = NULL;
    char *pem = NULL;
    struct weft_http_options o = {.server.model = model, .header_ms = 200, .idle_ms = 600000};
    if (tls) {
        CHECK_EQ(weft_tls_self_signed(&pem, NULL, 0), 0);
        CHECK_EQ(weft_tls_open(&trusting, &(struct weft_tls_options){.ca = pem, .alpn = "h2"}), 0);
        o.server.cert = pem;
    }
    const char *at = tls ? "tls://127.0.0.1:0" : "tcp://127.0.0.1:0";
    CHECK_EQ(weft_http_server_open(&k.server, k.g, at, k.app, &o), 0);
    CHECK(weft_http_server_endpoint(k.server, k.endpoint, sizeof k.endpoint) > 0);
    CHECK_EQ(weft_dial(&c.s, k.endpoint, &(struct weft_dial_options){.tls = trusting}, SOON), 0);
    uint32_t code = 0;
    client(&c);
    CHECK_EQ(await(&c, 0, &code), GOAWAY);
    CHECK_EQ(code, CALM);
    CHECK_EQ(await(&c, 0, &code), WEFT_EEOF);
    weft_abort(&c.s);
    http_kit_close(&k);
    weft_tls_close(&trusting);
    weft_tls_text_free(&pem);
}

static void sends_half_a_preface(struct client *c)
{
    put(c, WEFT__HTTP2_PREFACE, 10);
    CHECK_EQ(weft_flush(c->s, SOON), 0);
}

static void sends_half_a_head(struct client *c)
{
    uint8_t buf[128];
    begin(c, 65535);
    put(c, buf, head(buf, 1, 1, 2, "/small"));
    CHECK_EQ(weft_flush(c->s, SOON), 0);
}

/* While a handler reads for the connection. */
static void sends_half_a_frame(struct client *c)
{
    uint8_t buf[128];
    begin(c, 65535);
    size_t len = head(buf, 4, 1, 3, "/whole");
    memcpy(buf + len, "\0\0\1", 3);
    put(c, buf, len + 3);
    CHECK_EQ(weft_flush(c->s, SOON), 0);
}

static int everywhere(void *arg)
{
    (void)arg;
    struct place p = {.routes = routes};
    served(WEFT_TASKS, true, sends_half_a_preface, &p);
    served(WEFT_TASKS, true, sends_half_a_head, &p);
    served(WEFT_THREADS, false, sends_half_a_head, &p);
    served(WEFT_THREADS, false, sends_half_a_frame, &p);
    CHECK_EQ(p.body, WEFT_EPROTOCOL);
    return 0;
}

static const struct kit_case cases[] = {ON_THREAD(begins), ON_THREAD(heads), ON_THREAD(bodies),
                                        IN_TASK(everywhere)};
KIT_MAIN(cases)
