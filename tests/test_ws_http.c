/* SPDX-License-Identifier: MIT */
/*
 * The opening handshake on streams, with raw HTTP at the other end: what a server refuses and how,
 * what a client refuses, and that bytes behind the head are not lost.
 */
#include "ws_kit.h"

#include <weft/listener.h>

#include "tls_kit.h"

#define KEY "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
#define UP "Upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"
#define GET "GET /chat HTTP/1.1\r\nHost: server.test\r\n"
#define V13 "Sec-WebSocket-Version: 13\r\n"

/* A peer that says one thing and reads until the end. */
struct raw {
    struct weft_stream *s;
    const char *say;
    char heard[2000];
};

static int talk(void *arg)
{
    struct raw *r = arg;
    size_t len = 0;
    ssize_t n;
    CHECK_EQ(weft_write(r->s, r->say, strlen(r->say), WS_SOON), 0);
    while ((n = weft_read(r->s, r->heard + len, sizeof r->heard - 1 - len, WS_SOON)) > 0) {
        len += (size_t)n;
        if (strstr(r->heard, "\x88\x02\x03\xe8") != NULL)
            break;
    }
    r->heard[len] = '\0';
    return 0;
}

static int close_it(struct ws_kit_side *side)
{
    if (side->ws != NULL)
        CHECK(weft_ws_close(&side->ws, 0, NULL, weft_after_ms(50)) <= 0);
    return side->result;
}

static int serve(void *arg)
{
    CHECK_EQ(ws_kit_be_server(arg), 0);
    (void)close_it(arg);
    return 0;
}

static int connect_to(void *arg)
{
    CHECK_EQ(ws_kit_be_client(arg), 0);
    (void)close_it(arg);
    return 0;
}

/* A request: the result, and what must be in the answer. */
static void refuse(const char *request, const struct weft_ws_options *o, int result,
                   const char *status, const char *part)
{
    struct raw r = {.say = request};
    struct ws_kit_side side = {.o = o};
    CHECK_EQ(weft_socketpair(&r.s, &side.s), 0);
    ws_kit_both(talk, &r, serve, &side);
    if (side.result != result || strncmp(r.heard, status, strlen(status)) != 0 ||
        strstr(r.heard, part) == NULL) {
        (void)fprintf(stderr, "%s-> %s (%s)\n%s\n", request, weft_error_name(side.result),
                      side.detail, r.heard);
        CHECK(false);
    }
    (void)weft_close(&r.s, WS_SOON);
}

static int requests(void *arg)
{
    static const struct weft_ws_options chat = {.protocols = "v2.chat, v1.chat",
                                                .fields = "X-More: yes\r\nX-Two: 2\r\n"};
    static const struct weft_ws_options strict = {.protocols = "v2.chat",
                                                  .protocol_required = true};
    static const struct weft_ws_options listed = {.origins =
                                                      "https://example.org, http://localhost:3000"};
    static const struct weft_ws_options any = {.origins = "*"};
    static const struct weft_ws_options tiny = {.head_max = 512};
    char large[1200] = GET "X-Long: ";
    (void)arg;
    refuse(GET UP KEY V13 "\r\n", NULL, 0, "HTTP/1.1 101 Switching Protocols\r\n",
           "\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n");
    refuse(GET UP KEY V13
           "Sec-WebSocket-Protocol: v1.chat\r\nSec-WebSocket-Protocol: v2.chat\r\n\r\n",
           &chat, 0, "HTTP/1.1 101",
           "\r\nSec-WebSocket-Protocol: v2.chat\r\nX-More: yes\r\nX-Two: 2\r\n\r\n");
    refuse(GET UP KEY V13 "Sec-WebSocket-Protocol: v3\r\n\r\n", &chat, 0, "HTTP/1.1 101", "101");
    refuse(GET UP KEY V13 "\r\n", &strict, WEFT_EPROTOCOL, "HTTP/1.1 400", "no sub-protocol");
    refuse(GET UP KEY V13 "Sec-WebSocket-Protocol: a b\r\n\r\n", NULL, WEFT_EPROTOCOL,
           "HTTP/1.1 400", "tokens");
    refuse(GET UP KEY V13 "Sec-WebSocket-Extensions: x-unknown; a=\"b\\c\"\r\n\r\n", NULL, 0,
           "HTTP/1.1 101", "");
    refuse(GET UP KEY V13 "Sec-WebSocket-Extensions: x-unknown;\r\n\r\n", NULL, WEFT_EPROTOCOL,
           "HTTP/1.1 400", "no list of extensions");
    refuse(GET KEY V13 "Connection: Upgrade\r\n\r\n", NULL, WEFT_EPROTOCOL, "HTTP/1.1 426",
           "\r\nSec-WebSocket-Version: 13\r\n");
    refuse(GET KEY V13 "Upgrade: websocket\r\n\r\n", NULL, WEFT_EPROTOCOL, "HTTP/1.1 426",
           "\r\nUpgrade: websocket\r\n");
    refuse(GET UP KEY "Sec-WebSocket-Version: 8\r\n\r\n", NULL, WEFT_EPROTOCOL, "HTTP/1.1 426",
           "\r\nSec-WebSocket-Version: 13\r\n");
    refuse(GET UP KEY "\r\n", NULL, WEFT_EPROTOCOL, "HTTP/1.1 426", "13");
    refuse(GET UP V13 "\r\n", NULL, WEFT_EPROTOCOL, "HTTP/1.1 400", "Sec-WebSocket-Key");
    refuse(GET UP V13 KEY KEY "\r\n", NULL, WEFT_EPROTOCOL, "HTTP/1.1 400", "Sec-WebSocket-Key");
    refuse(GET UP V13 "Sec-WebSocket-Key: short\r\n\r\n", NULL, WEFT_EPROTOCOL, "HTTP/1.1 400",
           "16 bytes");
    refuse("POST /chat HTTP/1.1\r\nHost: server.test\r\n" UP KEY V13 "\r\n", NULL, WEFT_EPROTOCOL,
           "HTTP/1.1 405", "\r\nAllow: GET\r\n");
    refuse(GET UP KEY V13 "Content-Length: 3\r\n\r\nabc", NULL, WEFT_EPROTOCOL, "HTTP/1.1 400",
           "no body");
    refuse("GET /chat HTTP/1.0\r\nHost: server.test\r\n" UP KEY V13 "\r\n", NULL, WEFT_EPROTOCOL,
           "HTTP/1.1 400", "HTTP/1.1");
    refuse("nonsense\r\n\r\n", NULL, WEFT_EPROTOCOL, "HTTP/1.1 400", "close");
    memset(large + strlen(large), 'x', 1000);
    strcat(large, "\r\n\r\n");
    refuse(large, &tiny, WEFT_ETOOLONG == 0 ? 0 : WEFT_EPROTOCOL, "HTTP/1.1 431", "close");

    refuse(GET UP KEY V13 "Origin: http://server.test\r\n\r\n", NULL, 0, "HTTP/1.1 101", "");
    refuse(GET UP KEY V13 "Origin: http://SERVER.test:80\r\n\r\n", NULL, 0, "HTTP/1.1 101", "");
    refuse(GET UP KEY V13 "Origin: http://server.test:8080\r\n\r\n", NULL, -EACCES, "HTTP/1.1 403",
           "origin");
    refuse(GET UP KEY V13 "Origin: http://evil.test\r\n\r\n", NULL, -EACCES, "HTTP/1.1 403", "");
    refuse(GET UP KEY V13 "Origin: null\r\n\r\n", NULL, -EACCES, "HTTP/1.1 403", "");
    refuse(GET UP KEY V13 "Origin: http://server.test\r\n\r\n", &listed, -EACCES, "HTTP/1.1 403",
           "");
    refuse(GET UP KEY V13 "Origin: https://example.org\r\n\r\n", &listed, 0, "HTTP/1.1 101", "");
    refuse(GET UP KEY V13 "Origin: http://localhost:3000\r\n\r\n", &listed, 0, "HTTP/1.1 101", "");
    refuse(GET UP KEY V13 "Origin: null\r\n\r\n", &any, 0, "HTTP/1.1 101", "");
    return 0;
}

/* An answer: the result, and what the detail says. The key is not known, so none is right. */
static void answer(const char *text, const struct weft_ws_options *o, int result, const char *part)
{
    struct raw r = {.say = text};
    struct ws_kit_side side = {.o = o};
    CHECK_EQ(weft_socketpair(&r.s, &side.s), 0);
    ws_kit_both(talk, &r, connect_to, &side);
    if (side.result != result || strstr(side.detail, part) == NULL) {
        (void)fprintf(stderr, "%s-> %s (%s)\n", text, weft_error_name(side.result), side.detail);
        CHECK(false);
    }
    (void)weft_close(&r.s, WS_SOON);
}

static int answers(void *arg)
{
    (void)arg;
    answer("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", NULL, -ECONNREFUSED,
           "answered 403 Forbidden");
    answer("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", NULL, -ECONNREFUSED, "200");
    answer("HTTP/1.1 101 Switching Protocols\r\n" UP "\r\n", NULL, WEFT_EPROTOCOL,
           "Sec-WebSocket-Accept");
    answer("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 101 X\r\n" UP
           "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
           NULL, WEFT_EPROTOCOL, "Sec-WebSocket-Accept");
    answer("HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n", NULL, WEFT_EPROTOCOL,
           "does not upgrade");
    answer("HTTP/1.1 101 X\r\nUpgrade: websocket\r\n\r\n", NULL, WEFT_EPROTOCOL,
           "does not upgrade");
    answer("garbage\r\n\r\n", NULL, WEFT_EPROTOCOL, "");
    return 0;
}

/* The right key, and what may be wrong beside it. */
struct liar {
    struct weft_stream *s;
    const char *more, *after;
};

static int lie(void *arg)
{
    struct liar *l = arg;
    char line[300], accept[WEFT__WS_ACCEPT_LEN + 1] = "";
    ssize_t n;
    while ((n = weft_read_until(l->s, line, sizeof line - 1, '\n', WS_SOON)) > 2) {
        line[n] = '\0';
        if (strncmp(line, "Sec-WebSocket-Key: ", 19) == 0)
            weft__ws_accept_value(weft__slice_of(line + 19, WEFT__WS_KEY_LEN), accept);
    }
    CHECK_EQ(n, 2);
    CHECK_EQ(weft_printf(l->s, WS_SOON,
                         "HTTP/1.1 101 Yes\r\n%sSec-WebSocket-Accept: %s\r\n%s\r\n%s", UP, accept,
                         l->more, l->after),
             0);
    CHECK(weft_shutdown(l->s, WS_SOON) <= 0);
    while (weft_read(l->s, line, sizeof line, WS_SOON) > 0)
        ;
    return 0;
}

static void liar(const char *more, const struct weft_ws_options *o, int result, const char *part)
{
    struct liar l = {.more = more, .after = ""};
    struct ws_kit_side side = {.o = o};
    CHECK_EQ(weft_socketpair(&l.s, &side.s), 0);
    ws_kit_both(lie, &l, connect_to, &side);
    CHECK_EQ(side.result, result);
    CHECK(strstr(side.detail, part) != NULL);
    (void)weft_close(&l.s, WS_SOON);
}

static int lies(void *arg)
{
    static const struct weft_ws_options offers = {.protocols = "a, b", .deflate = true};
    static const struct weft_ws_options wants = {.protocols = "a", .protocol_required = true};
    (void)arg;
    liar("", NULL, 0, "");
    liar("Sec-WebSocket-Protocol: b\r\n", &offers, 0, "");
    liar("Sec-WebSocket-Protocol: c\r\n", &offers, WEFT_EPROTOCOL, "not offered");
    liar("Sec-WebSocket-Protocol: a, b\r\n", &offers, WEFT_EPROTOCOL, "not offered");
    liar("Sec-WebSocket-Protocol: a\r\n", NULL, WEFT_EPROTOCOL, "not offered");
    liar("", &wants, WEFT_EPROTOCOL, "no sub-protocol");
    liar("Sec-WebSocket-Extensions: permessage-deflate\r\n", NULL, WEFT_EPROTOCOL, "extension");
    liar("Sec-WebSocket-Extensions:\r\n", NULL, WEFT_EPROTOCOL, "no list");
    liar("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n", NULL, WEFT_EPROTOCOL,
         "Sec-WebSocket-Accept");
    liar("Sec-WebSocket-Extensions: permessage-deflate\r\n", &offers, WEFT_EPROTOCOL, "context");
    liar("Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover\r\n", &offers, 0,
         "");
    return 0;
}

/* Frames that came in one piece with the head are read. */
static int read_early(void *arg)
{
    struct ws_kit_side *side = arg;
    struct weft_ws_message m;
    CHECK_EQ(ws_kit_be_client(side), 0);
    CHECK_EQ(side->result, 0);
    CHECK_EQ(weft_ws_read(side->ws, &m, WS_SOON), 1);
    CHECK(m.len == 5 && memcmp(m.data, "early", 5) == 0);
    CHECK_EQ(weft_ws_read(side->ws, &m, WS_SOON), WEFT_EEOF);
    CHECK_EQ(weft_ws_close_code(side->ws), 1006);
    CHECK_EQ(weft_ws_close(&side->ws, 0, NULL, WS_SOON), WEFT_EEOF);
    return 0;
}

static int early(void *arg)
{
    struct liar l = {.more = "",
                     .after = "\x81\x05"
                              "early"};
    struct ws_kit_side side = {.o = NULL};
    (void)arg;
    CHECK_EQ(weft_socketpair(&l.s, &side.s), 0);
    ws_kit_both(lie, &l, read_early, &side);
    (void)weft_close(&l.s, WS_SOON);
    return 0;
}

static int bad_options(void *arg)
{
    static const struct weft_ws_options bad[] = {
        {.protocols = "a b"},
        {.protocols = "a, a"},
        {.protocol_required = true},
        {.fields = "X: no line end"},
        {.fields = "X: y\r\n\r\nsmuggled"},
        {.fields = "no colon\r\n"},
        {.fields = "X: a\rb\r\n"},
        {.head_max = 100},
        {.deflate_bits = 8},
        {.deflate_bits = 16},
        {.deflate_peer_bits = 7},
        {.deflate_level = 10},
        {.deflate_memory = 10},
        {.ping_ms = -2},
        {.pong_ms = -1},
        {.close_ms = -1},
        {.message_max = SIZE_MAX},
    };
    struct weft_stream *a = NULL, *b = NULL;
    struct weft_ws *ws = NULL;
    (void)arg;
    CHECK_EQ(weft_socketpair(&a, &b), 0);
    for (size_t i = 0; i < WEFT__ARRAY_LEN(bad); i++) {
        CHECK_EQ(weft_ws_accept(&ws, &a, &bad[i], WS_SOON), -EINVAL);
        CHECK_EQ(weft_ws_connect(&ws, &b, "h", "/", &bad[i], WS_SOON), -EINVAL);
    }
    CHECK_EQ(weft__ws_options_check(NULL), 0);
    CHECK_EQ(weft_ws_connect(&ws, &b, "", "/", NULL, WS_SOON), -EINVAL);
    CHECK_EQ(weft_ws_connect(&ws, &b, "h\r\nX: y", "/", NULL, WS_SOON), -EINVAL);
    CHECK_EQ(weft_ws_connect(&ws, &b, "h", "/a b", NULL, WS_SOON), -EINVAL);
    CHECK(ws == NULL && a != NULL && b != NULL);
    (void)weft_close(&b, WS_SOON);
    CHECK_EQ(weft_ws_accept(&ws, &a, NULL, WS_SOON), WEFT_EEOF);
    (void)weft_close(&a, WS_SOON);
    return 0;
}

/* By URL, and what is none. */
static int accept_one(void *arg)
{
    struct weft_ws *ws = NULL;
    struct weft_ws_message m;
    struct weft_stream *s = NULL;
    CHECK_EQ(weft_accept(arg, &s, WS_SOON), 0);
    CHECK_EQ(weft_ws_accept(&ws, &s, NULL, WS_SOON), 0);
    CHECK_EQ(weft_ws_read(ws, &m, WS_SOON), 0);
    CHECK_EQ(weft_ws_close(&ws, 0, NULL, WS_SOON), 0);
    return 0;
}

/* The same over TLS. */
static int accept_secured(void *arg)
{
    struct weft_ws *ws = NULL;
    struct weft_ws_message m;
    struct weft_stream *s = NULL;
    struct weft_tls *tls = tls_kit_server("server");
    CHECK_EQ(weft_accept(arg, &s, WS_SOON), 0);
    CHECK_EQ(weft_tls_accept(&s, tls, WS_SOON), 0);
    weft_tls_close(&tls);
    CHECK_EQ(weft_ws_accept(&ws, &s, NULL, WS_SOON), 0);
    CHECK_EQ(weft_ws_read(ws, &m, WS_SOON), 1);
    CHECK_EQ(weft_ws_write(ws, m.type, m.data, m.len, WS_SOON), 0);
    CHECK_EQ(weft_ws_read(ws, &m, WS_SOON), 0);
    CHECK_EQ(weft_ws_close(&ws, 0, NULL, WS_SOON), 0);
    return 0;
}

static int dials_secured(void *arg)
{
    struct weft_listener *l = NULL;
    struct weft_group *g = kit_group();
    struct weft_ws *ws = NULL;
    struct weft_ws_message m;
    struct weft_tls *tls = tls_kit_client();
    struct weft_dial_options dial = {.tls = tls};
    char at[WEFT_ENDPOINT_MAX], url[100];
    (void)arg;
    CHECK_EQ(weft_listen(&l, "tcp://127.0.0.1:0", NULL), 0);
    CHECK(weft_listener_endpoint(l, at, sizeof at) > 0);
    kit_go(g, "server", accept_secured, l);
    (void)snprintf(url, sizeof url, "wss://localhost:%d/", atoi(strrchr(at, ':') + 1));
    int err = weft_ws_dial(&ws, url, NULL, &dial, WS_SOON);
    if (err < 0)
        (void)fprintf(stderr, "%s: %s\n", url, weft_error_detail());
    CHECK_EQ(err, 0);
    CHECK_EQ(weft_ws_write(ws, WEFT_WS_TEXT, "secret", 6, WS_SOON), 0);
    CHECK_EQ(weft_ws_read(ws, &m, WS_SOON), 1);
    CHECK_EQ(m.len, 6);
    CHECK_EQ(weft_ws_close(&ws, 0, NULL, WS_SOON), 0);
    CHECK_EQ(weft_group_wait(g, WS_SOON), 0);
    CHECK_EQ(weft_group_close(&g), 0);
    weft_listener_close(&l);
    weft_tls_close(&tls);
    return 0;
}

static int dials(void *arg)
{
    struct weft_listener *l = NULL;
    struct weft_group *g = kit_group();
    struct weft_ws *ws = NULL;
    char at[WEFT_ENDPOINT_MAX], url[WEFT_ENDPOINT_MAX + 20];
    (void)arg;
    CHECK_EQ(weft_listen(&l, "tcp://127.0.0.1:0", NULL), 0);
    CHECK(weft_listener_endpoint(l, at, sizeof at) > 0);
    kit_go(g, "server", accept_one, l);
    (void)snprintf(url, sizeof url, "ws%s/a?b#c", at + 3);
    CHECK_EQ(weft_ws_dial(&ws, url, NULL, NULL, WS_SOON), 0);
    CHECK(weft_stream_bytes_in(weft_ws_stream(ws)) > 0);
    CHECK_EQ(weft_ws_close(&ws, 0, NULL, WS_SOON), 0);
    CHECK_EQ(weft_group_wait(g, WS_SOON), 0);
    CHECK_EQ(weft_group_close(&g), 0);
    weft_listener_close(&l);
    CHECK_EQ(weft_ws_dial(&ws, url, NULL, NULL, WS_SOON), -ECONNREFUSED);
    CHECK_EQ(weft_ws_dial(&ws, "http://127.0.0.1/", NULL, NULL, WS_SOON), WEFT_EURL);
    CHECK_EQ(weft_ws_dial(&ws, "::", NULL, NULL, WS_SOON), WEFT_EURL);
    return 0;
}

static const struct kit_case cases[] = {
    IN_TASK(requests),    IN_TASK(answers), IN_TASK(lies),          IN_TASK(early),
    IN_TASK(bad_options), IN_TASK(dials),   IN_TASK(dials_secured),
};
KIT_MAIN(cases)
