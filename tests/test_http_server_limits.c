/* SPDX-License-Identifier: MIT */
/*
 * The HTTP server's limits in time and size, parking, answers without a task, drain, upgrade, logs,
 * and the other models: threads, a stream in memory.
 */
#include "http_kit.h"

#include <unistd.h>

#include <weft/sync.h>
#include <weft/websocket.h>

static int hello(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    (void)arg;
    return weft_http_text(r, 200, "hello %s\n", weft_http_param(q, "name"));
}

static int echo(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    const void *data;
    size_t len;
    (void)arg;
    int err = weft_http_body(q, &data, &len, weft_after_s(20));
    return err < 0 ? err : weft_http_send(r, 200, "text/plain", data, len);
}

static struct weft_event go, arrived;

static int slow(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    (void)q, (void)arg;
    weft_event_set(&arrived);
    int err = weft_event_wait(&go, WEFT_NEVER);
    return err < 0 ? err : weft_http_text(r, 200, "slow\n");
}

static int flood(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    static char block[16384];
    int err = 0;
    (void)q;
    while (err == 0)
        err = weft_http_write(r, block, sizeof block, WEFT_NEVER);
    *(_Atomic int *)arg = err;
    return err;
}

static _Atomic int flood_result;

static struct weft_http_app *test_app(void)
{
    struct weft_http_app *app = http_kit_app();
    http_kit_route(app, "GET /hello/:name", hello);
    http_kit_route(app, "POST /echo", echo);
    http_kit_route(app, "GET /slow", slow);
    CHECK_EQ(weft_http_route(app, "GET /flood", flood, &flood_result), 0);
    http_kit_at_once(app, "GET /fast/:name", hello);
    weft_event_clear(&go);
    weft_event_clear(&arrived);
    return app;
}

static struct weft_http_server_stats stats_of(const struct http_kit *k)
{
    struct weft_http_server_stats st;
    weft_http_server_stats_mt(k->server, &st);
    return st;
}

#define GET(target) "GET " target " HTTP/1.1\r\nHost: a\r\n\r\n"

/* --- Time ------------------------------------------------------------------------------------ */

static int slow_clients(void *arg)
{
    struct http_kit k;
    char buf[4096];
    (void)arg;
    http_kit_open(&k, test_app(),
                  &(struct weft_http_options){
                      .header_ms = 100, .body_ms = 100, .idle_ms = 300, .park_ms = 20});
    /* A head that does not come to its end. */
    (void)http_kit_ask(&k, "GET / HTTP/1.1\r\nHost: a\r\n", buf, sizeof buf);
    CHECK_EQ(http_kit_status(buf), 408);
    /* A body that does not. */
    (void)http_kit_ask(&k, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc", buf,
                       sizeof buf);
    CHECK_EQ(http_kit_status(buf), 408);
    CHECK(http_kit_has(buf, "Connection: close"));
    /* A connection that asks for nothing, before and after its first request. */
    struct weft_stream *s = http_kit_dial(&k);
    CHECK_EQ(http_kit_read_all(s, buf, sizeof buf), 0);
    (void)weft_close(&s, WEFT_NEVER);
    s = http_kit_dial(&k);
    http_kit_send(s, GET("/hello/you"));
    (void)http_kit_read_one(s, buf, sizeof buf);
    CHECK_EQ(http_kit_read_all(s, buf, sizeof buf), 0);
    (void)weft_close(&s, WEFT_NEVER);
    http_kit_close(&k);
    return 0;
}

/* A client that never reads costs a bounded time and memory. */
static int slow_reader(void *arg)
{
    struct http_kit k;
    (void)arg;
    atomic_store(&flood_result, 0);
    http_kit_open(&k, test_app(), &(struct weft_http_options){.write_ms = 200});
    struct weft_stream *s = http_kit_dial(&k);
    http_kit_send(s, GET("/flood"));
    while (atomic_load(&flood_result) == 0)
        CHECK_EQ(weft_sleep_ms(5), 0);
    CHECK_EQ(atomic_load(&flood_result), -ETIMEDOUT);
    weft_abort(&s);
    http_kit_close(&k);
    return 0;
}

static int request_time(void *arg)
{
    struct http_kit k;
    char buf[4096];
    (void)arg;
    http_kit_open(&k, test_app(), &(struct weft_http_options){.request_ms = 100});
    (void)http_kit_ask(&k, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc", buf,
                       sizeof buf);
    CHECK_EQ(http_kit_status(buf), 408);
    http_kit_close(&k);
    return 0;
}

/* --- Sizes ----------------------------------------------------------------------------------- */

static int sizes(void *arg)
{
    static char request[300000], buf[65536];
    static const char *const hosts[] = {"a", NULL};
    struct http_kit k;
    (void)arg;
    http_kit_open(&k, test_app(),
                  &(struct weft_http_options){.line_max = 200,
                                              .head_max = 4096,
                                              .fields_max = 10,
                                              .body_max = 100,
                                              .stream_max = 1000,
                                              .hosts = hosts});
    memset(request, 'a', sizeof request - 1);
    memcpy(request, "GET /", 5);
    (void)http_kit_ask(&k, request, buf, sizeof buf);
    CHECK_EQ(http_kit_status(buf), 414);
    memcpy(request, "GET / HTTP/1.1\r\nHost: a\r\nX: ", 28);
    (void)http_kit_ask(&k, request, buf, sizeof buf);
    CHECK_EQ(http_kit_status(buf), 431);
    size_t len = (size_t)sprintf(request, "GET / HTTP/1.1\r\nHost: a\r\n");
    for (int i = 0; i < 11; i++)
        len += (size_t)sprintf(request + len, "X%d: 1\r\n", i);
    strcpy(request + len, "\r\n");
    (void)http_kit_ask(&k, request, buf, sizeof buf);
    CHECK_EQ(http_kit_status(buf), 431);
    (void)http_kit_ask(&k, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 101\r\n\r\n", buf,
                       sizeof buf);
    CHECK_EQ(http_kit_status(buf), 413);
    (void)sprintf(request,
                  "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n65\r\n%0101d"
                  "\r\n0\r\n\r\n",
                  0);
    (void)http_kit_ask(&k, request, buf, sizeof buf);
    CHECK_EQ(http_kit_status(buf), 413);
    (void)http_kit_ask(&k, "GET /hello/x HTTP/1.1\r\nHost: b\r\n\r\n", buf, sizeof buf);
    CHECK_EQ(http_kit_status(buf), 421);
    while (stats_of(&k).by_class[4] < 6)
        CHECK_EQ(weft_sleep_ms(1), 0);
    http_kit_close(&k);
    return 0;
}

/* --- Parking --------------------------------------------------------------------------------- */

static int parking(void *arg)
{
    struct http_kit k;
    char buf[4096];
    struct weft_stream *s[8];
    (void)arg;
    http_kit_open(&k, test_app(), &(struct weft_http_options){.park_ms = 10});
    for (int i = 0; i < 8; i++) {
        s[i] = http_kit_dial(&k);
        http_kit_send(s[i], GET("/hello/you"));
        (void)http_kit_read_one(s[i], buf, sizeof buf);
    }
    for (int round = 0; round < 3; round++) {
        while (stats_of(&k).parked < 8)
            CHECK_EQ(weft_sleep_ms(2), 0);
        CHECK_EQ(stats_of(&k).server.live, 8);
        for (int i = 0; i < 8; i++) {
            /* Whole, in two pieces, two at once. */
            http_kit_send(s[i], i % 3 == 0   ? GET("/hello/two")
                                : i % 3 == 1 ? "GET /hello/t"
                                             : GET("/hello/one") GET("/hello/two"));
            if (i % 3 == 1) {
                CHECK_EQ(weft_sleep_ms(2), 0);
                http_kit_send(s[i], "wo HTTP/1.1\r\nHost: a\r\n\r\n");
            }
            if (i % 3 == 2)
                (void)http_kit_read_one(s[i], buf, sizeof buf);
            (void)http_kit_read_one(s[i], buf, sizeof buf);
            CHECK(http_kit_has(buf, "hello two"));
        }
    }
    while (stats_of(&k).parked < 8)
        CHECK_EQ(weft_sleep_ms(2), 0);
    for (int i = 0; i < 4; i++)
        (void)weft_close(&s[i], WEFT_NEVER);
    while (stats_of(&k).server.live > 4)
        CHECK_EQ(weft_sleep_ms(2), 0);
    CHECK_EQ(stats_of(&k).parked, 4);
    /* A drain ends them at once. */
    CHECK_EQ(weft_http_server_drain(k.server, weft_after_s(20)), 0);
    for (int i = 4; i < 8; i++) {
        CHECK_EQ(http_kit_read_all(s[i], buf, sizeof buf), 0);
        (void)weft_close(&s[i], WEFT_NEVER);
    }
    CHECK_EQ(stats_of(&k).parked, 0);
    http_kit_close(&k);
    return 0;
}

static int at_once(void *arg)
{
    struct http_kit k;
    static char buf[65536];
    (void)arg;
    http_kit_open(&k, test_app(), NULL);
    struct weft_stream *s = http_kit_dial(&k);
    for (int i = 0; i < 50; i++) {
        http_kit_send(s, i % 10 == 5   ? GET("/hello/x") /* a task's, in between */
                         : i % 10 == 6 ? GET("/fast/1") GET("/fast/2") GET("/hello/3")
                         : i % 10 == 7 ? "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: "
                                         "3\r\n\r\nabc"
                                       : GET("/fast/x"));
        for (int n = i % 10 == 6 ? 3 : 1; n > 0; n--) {
            (void)http_kit_read_one(s, buf, sizeof buf);
            CHECK_EQ(http_kit_status(buf), 200);
        }
    }
    CHECK(stats_of(&k).at_once >= 25);
    CHECK_EQ(stats_of(&k).requests, 60);
    http_kit_send(s, HTTP_KIT_GET("/fast/last") GET("/fast/never"));
    (void)http_kit_read_all(s, buf, sizeof buf);
    CHECK(http_kit_has(buf, "Connection: close"));
    CHECK_EQ(http_kit_count(buf, "HTTP/1.1"), 1);
    (void)weft_close(&s, WEFT_NEVER);
    /* What is wrong is refused in the same words as ever. */
    s = http_kit_dial(&k);
    http_kit_send(s, GET("/fast/x"));
    (void)http_kit_read_one(s, buf, sizeof buf);
    http_kit_send(s, "GET /fast/x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n");
    (void)http_kit_read_all(s, buf, sizeof buf);
    CHECK_EQ(http_kit_status(buf), 400);
    (void)weft_close(&s, WEFT_NEVER);
    http_kit_close(&k);
    return 0;
}

/* A client that asks and never reads is a task's to wait for, and costs a bounded queue. */
static int at_once_unread(void *arg)
{
    struct http_kit k;
    (void)arg;
    http_kit_open(&k, test_app(), &(struct weft_http_options){.write_ms = 300});
    struct weft_stream *s = http_kit_dial(&k);
    static char many[200 * 40];
    size_t len = 0;
    for (int i = 0; i < 200; i++)
        len += (size_t)sprintf(many + len, "GET /fast/x HTTP/1.1\r\nHost: a\r\n\r\n");
    int err = 0;
    while (err == 0)
        err = weft_write(s, many, len, weft_after_ms(200));
    while (stats_of(&k).server.live > 0)
        CHECK_EQ(weft_sleep_ms(10), 0);
    CHECK_EQ(stats_of(&k).server.timed_out, 1);
    weft_abort(&s);
    http_kit_close(&k);
    return 0;
}

/* --- Drain ----------------------------------------------------------------------------------- */

struct drain {
    struct http_kit *k;
    int result;
};

static int drainer(void *arg)
{
    struct drain *d = arg;
    d->result = weft_http_server_drain(d->k->server, weft_after_s(20));
    return 0;
}

static int drain(void *arg)
{
    struct http_kit k;
    char buf[4096];
    (void)arg;
    http_kit_open(&k, test_app(), NULL);
    struct weft_stream *busy = http_kit_dial(&k), *recent = http_kit_dial(&k);
    http_kit_send(recent, GET("/hello/you"));
    (void)http_kit_read_one(recent, buf, sizeof buf);
    http_kit_send(busy, GET("/slow"));
    CHECK_EQ(weft_event_wait(&arrived, weft_after_s(20)), 0);
    struct drain d = {.k = &k};
    struct weft_group *g = kit_group();
    kit_go(g, "drain", drainer, &d);
    CHECK_EQ(weft_yield(), 0);
    CHECK_EQ(weft_yield(), 0);
    /* What was just asking is answered once more, and told that it is the last time. */
    http_kit_send(recent, GET("/hello/you"));
    (void)http_kit_read_all(recent, buf, sizeof buf);
    CHECK(http_kit_has(buf, "Connection: close") && http_kit_has(buf, "hello you"));
    weft_event_set(&go);
    (void)http_kit_read_all(busy, buf, sizeof buf);
    CHECK(http_kit_has(buf, "Connection: close") && http_kit_has(buf, "slow\n"));
    (void)weft_close(&busy, WEFT_NEVER);
    (void)weft_close(&recent, WEFT_NEVER);
    CHECK_EQ(weft_group_wait(g, weft_after_s(30)), 0);
    CHECK_EQ(d.result, 0);
    CHECK_EQ(weft_group_close(&g), 0);
    http_kit_close(&k);
    return 0;
}

/* --- Upgrade, logs --------------------------------------------------------------------------- */

static int upgrade(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    struct weft_stream *s = NULL;
    char buf[64];
    (void)arg;
    if (!weft_http_wants_upgrade(q, "ECHO"))
        return 426;
    CHECK_EQ(weft_http_set(r, "X-More", "1"), 0);
    int err = weft_http_upgrade(q, r, "echo", &s);
    while (err == 0) {
        ssize_t n = weft_read(s, buf, sizeof buf, weft_after_s(20));
        if (n <= 0)
            break;
        err = weft_write(s, buf, (size_t)n, weft_after_s(20));
    }
    if (s != NULL)
        (void)weft_close(&s, weft_after_s(5));
    return err;
}

static int upgrades(void *arg)
{
    struct http_kit k;
    char buf[4096];
    (void)arg;
    struct weft_http_app *app = http_kit_app();
    http_kit_route(app, "GET /echo", upgrade);
    http_kit_open(&k, app, NULL);
    struct weft_stream *s = http_kit_dial(&k);
    http_kit_send(s, "GET /echo HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\n"
                     "Upgrade: other, echo\r\n\r\nearly");
    (void)http_kit_read_one(s, buf, sizeof buf);
    CHECK_EQ(http_kit_status(buf), 101);
    CHECK(http_kit_has(buf, "Connection: Upgrade\r\nUpgrade: echo\r\n"));
    CHECK(http_kit_has(buf, "X-More: 1"));
    CHECK_EQ(weft_read_full(s, buf, 5, weft_after_s(20)), 0);
    CHECK(memcmp(buf, "early", 5) == 0);
    http_kit_send(s, "later");
    CHECK_EQ(weft_read_full(s, buf, 5, weft_after_s(20)), 0);
    CHECK_EQ(weft_shutdown(s, WEFT_NEVER), 0);
    CHECK_EQ(http_kit_read_all(s, buf, sizeof buf), 0);
    (void)weft_close(&s, WEFT_NEVER);
    CHECK_EQ(stats_of(&k).upgrades, 1);
    (void)http_kit_ask(&k, HTTP_KIT_GET("/echo"), buf, sizeof buf);
    CHECK_EQ(http_kit_status(buf), 426);
    http_kit_close(&k);
    return 0;
}

static int chat(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    struct weft_ws *ws = NULL;
    struct weft_ws_message m;
    (void)arg;
    struct weft_ws_options o = {.deflate = true,
                                .fields = "Set-Cookie: a=1\r\nSet-Cookie: b=2\r\n"};
    int err = weft_http_websocket(q, r, &ws, &o);
    while (err == 0 && (err = weft_ws_read(ws, &m, weft_after_s(20))) > 0)
        err = weft_ws_write(ws, m.type, m.data, m.len, weft_after_s(20));
    if (ws != NULL)
        (void)weft_ws_close(&ws, 1000, NULL, weft_after_s(5));
    return err;
}

#define ASK_WEBSOCKET                                                                              \
    "GET /chat HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"               \
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"

static int websockets(void *arg)
{
    struct http_kit k;
    char buf[4096], url[WEFT_ENDPOINT_MAX + 16];
    struct weft_ws *ws = NULL;
    struct weft_ws_message m;
    (void)arg;
    struct weft_http_app *app = http_kit_app();
    http_kit_route(app, "GET /chat", chat);
    http_kit_open(&k, app, NULL);
    (void)http_kit_ask(&k, HTTP_KIT_GET("/chat"), buf, sizeof buf);
    CHECK_EQ(http_kit_status(buf), 426);
    CHECK(http_kit_has(buf, "Sec-WebSocket-Version: 13"));
    CHECK(http_kit_has(buf, "\r\nUpgrade: websocket\r\n")); /* RFC 9110, 15.5.22 */
    CHECK(http_kit_has(buf, "\r\nConnection: Upgrade\r\n"));
    (void)http_kit_ask(&k, ASK_WEBSOCKET "Content-Length: 3\r\n\r\nabc", buf, sizeof buf);
    CHECK_EQ(http_kit_status(buf), 400);
    (void)http_kit_ask(&k, ASK_WEBSOCKET "\r\n\x88\x80\x01\x02\x03\x04", buf, sizeof buf);
    CHECK_EQ(http_kit_status(buf), 101);
    CHECK(http_kit_has(buf, "Set-Cookie: a=1\r\nSet-Cookie: b=2\r\n"));
    (void)snprintf(url, sizeof url, "ws://%s/chat", k.endpoint + strlen("tcp://"));
    CHECK_EQ(weft_ws_dial(&ws, url, NULL, NULL, weft_after_s(20)), 0);
    for (int i = 0; i < 10; i++) {
        CHECK_EQ(weft_ws_write(ws, WEFT_WS_TEXT, "hello", 5, weft_after_s(20)), 0);
        CHECK_EQ(weft_ws_read(ws, &m, weft_after_s(20)), 1);
        CHECK(m.len == 5 && memcmp(m.data, "hello", 5) == 0);
    }
    CHECK_EQ(weft_ws_close(&ws, 1000, NULL, weft_after_s(20)), 0);
    CHECK_EQ(stats_of(&k).upgrades, 2);
    http_kit_close(&k);
    return 0;
}

struct lines {
    char text[4096];
    size_t len;
};

static void take_line(void *arg, const char *line, size_t len)
{
    struct lines *l = arg;
    CHECK(len < sizeof l->text - l->len - 2 && line[len] == '\0' && strchr(line, '\n') == NULL);
    memcpy(l->text + l->len, line, len);
    l->len += len;
    l->text[l->len++] = '\n';
    l->text[l->len] = '\0';
}

static int logs(void *arg)
{
    char buf[4096];
    static const char request[] = "GET /hello/x?a=\"b HTTP/1.1\r\nHost: a\r\nUser-Agent: te\\st\r\n"
                                  "X-Request-Id: abc-1\r\nConnection: close\r\n\r\n";
    static const char good[] = "GET /hello/x?a=1 HTTP/1.1\r\nHost: a\r\nUser-Agent: te\\\"st\r\n"
                               "X-Request-Id: abc-1\r\nConnection: close\r\n\r\n";
    (void)arg;
    for (int format = WEFT_HTTP_LOG_COMMON; format <= WEFT_HTTP_LOG_JSON; format++) {
        struct lines lines = {.len = 0};
        struct http_kit k;
        http_kit_open(&k, test_app(),
                      &(struct weft_http_options){.log_format = (enum weft_http_log)format,
                                                  .log = take_line,
                                                  .log_arg = &lines});
        (void)http_kit_ask(&k, good, buf, sizeof buf);
        (void)http_kit_ask(&k, request, buf, sizeof buf);
        http_kit_close(&k);
        if (format == WEFT_HTTP_LOG_JSON) {
            CHECK(http_kit_has(lines.text, "\"target\": \"/hello/x?a=1\", \"version\": 1.1, "
                                           "\"status\": 200, \"bytes\": 8, "));
            CHECK(http_kit_has(lines.text, "\"id\": \"abc-1\""));
            CHECK(http_kit_has(lines.text, "te\\u005c\\u0022st"));
        } else {
            CHECK(http_kit_has(lines.text, "127.0.0.1 - - ["));
            CHECK(http_kit_has(lines.text, "\"GET /hello/x?a=1 HTTP/1.1\" 200 8"));
            CHECK(http_kit_has(lines.text, "\"-\" 400 "));
            CHECK_EQ(strstr(lines.text, "\"te\\x5c\\x22st\"") != NULL,
                     format == WEFT_HTTP_LOG_COMBINED);
        }
        CHECK_EQ(http_kit_count(lines.text, "\n"), 2);
    }
    return 0;
}

static int log_to_fd(void *arg)
{
    char buf[4096], text[4096];
    int fds[2];
    struct http_kit k;
    (void)arg;
    CHECK_EQ(pipe(fds), 0);
    http_kit_open(
        &k, test_app(),
        &(struct weft_http_options){.log_format = WEFT_HTTP_LOG_COMMON, .log_fd = fds[1]});
    (void)http_kit_ask(&k, HTTP_KIT_GET("/hello/x"), buf, sizeof buf);
    http_kit_close(&k);
    ssize_t n = read(fds[0], text, sizeof text - 1);
    CHECK(n > 0);
    text[n] = '\0';
    CHECK(http_kit_has(text, "\"GET /hello/x HTTP/1.1\" 200 8\n"));
    (void)close(fds[0]);
    (void)close(fds[1]);
    return 0;
}

/* --- Models ---------------------------------------------------------------------------------- */

static int threads(void *arg)
{
    struct http_kit k;
    static char buf[65536];
    (void)arg;
    http_kit_open(&k, test_app(), &(struct weft_http_options){.server = {.model = WEFT_THREADS}});
    struct weft_stream *s = http_kit_dial(&k);
    for (int i = 0; i < 3; i++) {
        http_kit_send(
            s, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc" GET("/fast/x"));
        (void)http_kit_read_one(s, buf, sizeof buf);
        CHECK(http_kit_has(buf, "\r\n\r\nabc"));
        (void)http_kit_read_one(s, buf, sizeof buf);
        CHECK(http_kit_has(buf, "hello x"));
    }
    (void)weft_close(&s, WEFT_NEVER);
    while (stats_of(&k).requests < 6) /* counted a moment after the answer */
        CHECK_EQ(weft_sleep_ms(1), 0);
    http_kit_close(&k);
    return 0;
}

static int workers(void *arg)
{
    struct http_kit k;
    char buf[4096];
    (void)arg;
    http_kit_open(&k, test_app(), &(struct weft_http_options){.workers = 2});
    for (int i = 0; i < 20; i++) {
        (void)http_kit_ask(&k, HTTP_KIT_GET("/fast/x"), buf, sizeof buf);
        CHECK(http_kit_has(buf, "hello x"));
    }
    while (stats_of(&k).requests < 20)
        CHECK_EQ(weft_sleep_ms(1), 0);
    http_kit_close(&k);
    return 0;
}

struct over_pipe {
    struct weft_stream *s;
    struct weft_http_app *app;
};

static int serve_pipe(void *arg)
{
    struct over_pipe *o = arg;
    return weft_http_serve_stream(&o->s, o->app, NULL);
}

static int memory(void *arg)
{
    struct weft_stream *a = NULL;
    struct over_pipe o = {.app = test_app()};
    char buf[4096];
    (void)arg;
    CHECK_EQ(weft_pipe_open(&a, &o.s, 0), 0);
    struct weft_group *g = kit_group();
    kit_go(g, "server", serve_pipe, &o);
    http_kit_send(a, GET("/hello/a") HTTP_KIT_GET("/fast/b"));
    (void)http_kit_read_all(a, buf, sizeof buf);
    CHECK(http_kit_has(buf, "hello a\n") && http_kit_has(buf, "hello b\n"));
    (void)weft_close(&a, WEFT_NEVER);
    CHECK_EQ(weft_group_wait(g, weft_after_s(20)), 0);
    CHECK_EQ(weft_group_close(&g), 0);
    CHECK(o.s == NULL);
    weft_http_app_close(&o.app);
    return 0;
}

static const struct kit_case cases[] = {
    IN_TASK(slow_clients), IN_TASK(slow_reader), IN_TASK(request_time),   IN_TASK(sizes),
    IN_TASK(parking),      IN_TASK(at_once),     IN_TASK(at_once_unread), IN_TASK(drain),
    IN_TASK(upgrades),     IN_TASK(websockets),  IN_TASK(logs),           IN_TASK(log_to_fd),
    IN_TASK(threads),      IN_TASK(workers),     IN_TASK(memory),
};
KIT_MAIN(cases)
