/* SPDX-License-Identifier: MIT */
/*
 * Torture of the HTTP server: every allocation, system call and wait goes wrong in turn; see
 * torture_kit.h. And what a steady exchange allocates: nothing.
 */
#include <weft/http_server.h>

#include "base/alloc.h"
#include "torture_kit.h"

#define THEN(err, expr)                                                                            \
    do {                                                                                           \
        if ((err) == 0)                                                                            \
            (err) = torture_first(0, (expr));                                                      \
    } while (0)

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
    int err = weft_http_set(r, "ETag", "\"v\"");
    THEN(err, weft_http_body(q, &data, &len, TORTURE_SOON));
    return err < 0 ? err : weft_http_send(r, 200, "text/plain", data, len);
}

static int pieces(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    static char text[3000];
    (void)q, (void)arg;
    memset(text, 'a', sizeof text);
    int err = weft_http_set(r, "Content-Type", "text/plain");
    for (int i = 0; i < 3; i++)
        THEN(err, weft_http_write(r, text, sizeof text, TORTURE_SOON));
    return err;
}

static int make_app(struct weft_http_app **app)
{
    int err = weft_http_app_open(app);
    THEN(err, weft_http_route(*app, "GET /hello/:name", hello, NULL));
    THEN(err, weft_http_route(*app, "POST /echo", echo, NULL));
    THEN(err, weft_http_route(*app, "GET /pieces", pieces, NULL));
    if (err == 0)
        err = weft_http_route_with(*app, "GET /fast/:name",
                                   &(struct weft_http_route_options){.at_once = true}, hello, NULL);
    return err;
}

/* Everything until the end, of which whatever comes will do. */
static int drain(struct weft_stream *s)
{
    char buf[4096];
    ssize_t n;
    while ((n = weft_read(s, buf, sizeof buf, TORTURE_SOON)) > 0)
        ;
    return (int)n;
}

static int ask_bytes(const char *endpoint, const char *text, size_t len)
{
    struct weft_stream *s = NULL;
    int err = weft_dial(&s, endpoint, NULL, TORTURE_SOON);
    THEN(err, weft_write(s, text, len, TORTURE_SOON));
    THEN(err, drain(s));
    return torture_first(err, weft_close(&s, TORTURE_SOON));
}

static int ask(const char *endpoint, const char *text)
{
    return ask_bytes(endpoint, text, strlen(text));
}

/* The preface, settings, a request that is answered directly, one in a task, GOAWAY. */
static const char requests2[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
                                "\0\0\0\x04\0\0\0\0\0"
                                "\0\0\x0e\x01\x05\0\0\0\x01\x82\x86\x04\x07/fast/a\x01\x01h"
                                "\0\0\x0f\x01\x05\0\0\0\x03\x82\x86\x04\x08/hello/a\x01\x01h"
                                "\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\0";

static const char requests[] =
    "GET /hello/a HTTP/1.1\r\nHost: a\r\n\r\n"
    "GET /fast/a HTTP/1.1\r\nHost: a\r\n\r\n"
    "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    "GET /pieces HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n"
    "GET /pieces HTTP/1.1\r\nHost: a\r\nAccept-Encoding: br\r\nConnection: close\r\n\r\n";

static int exchange(void *arg)
{
    struct weft_http_app *app = NULL;
    struct weft_http_server *server = NULL;
    struct weft_group *g = NULL;
    char endpoint[WEFT_ENDPOINT_MAX];
    (void)arg;
    int err = make_app(&app);
    THEN(err, weft_group_open(&g));
    THEN(err, weft_http_server_open(&server, g, "tcp://127.0.0.1:0", app,
                                    &(struct weft_http_options){.park_ms = 1}));
    THEN(err, weft_http_server_endpoint(server, endpoint, sizeof endpoint));
    THEN(err, ask(endpoint, requests));
    THEN(err, ask(endpoint, "nonsense\r\n\r\n"));
    THEN(err, ask_bytes(endpoint, requests2, sizeof requests2 - 1));
    err = torture_first(err, weft_group_close(&g));
    weft_http_app_close(&app);
    return err;
}

static int scene(const char *driver)
{
    return weft_run(&(struct weft_options){.driver = driver}, exchange, NULL);
}

/* --- The steady state ------------------------------------------------------------------------ */

static int one(struct weft_stream *s, const char *request)
{
    char buf[4096];
    size_t got = 0;
    CHECK_EQ(weft_write(s, request, strlen(request), weft_after_s(20)), 0);
    while (got < 9 || memcmp(buf + got - 9, "hello abc", 9) != 0) { /* the newline follows */
        ssize_t n = weft_read(s, buf + got, 1, weft_after_s(20));
        CHECK_EQ(n, 1);
        got++;
    }
    CHECK_EQ(weft_read_full(s, buf, 1, weft_after_s(20)), 0);
    return 0;
}

static int steady(void *arg)
{
    static const char *const asked[] = {
        "GET /hello/abc HTTP/1.1\r\nHost: a\r\nUser-Agent: some\r\nAccept: */*\r\n\r\n",
        "GET /fast/abc?x=y HTTP/1.1\r\nHost: a\r\n\r\n"};
    struct weft_http_app *app = NULL;
    struct weft_http_server *server = NULL;
    struct weft_group *g = NULL;
    struct weft_stream *s = NULL;
    char endpoint[WEFT_ENDPOINT_MAX];
    (void)arg;
    CHECK_EQ(make_app(&app), 0);
    CHECK_EQ(weft_group_open(&g), 0);
    CHECK_EQ(weft_http_server_open(&server, g, "tcp://127.0.0.1:0", app, NULL), 0);
    CHECK(weft_http_server_endpoint(server, endpoint, sizeof endpoint) > 0);
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(weft_dial(&s, endpoint, NULL, weft_after_s(20)), 0);
        for (int k = 0; k < 20; k++)
            (void)one(s, asked[i]);
        weft__alloc_hooks = true;
        uint64_t before = weft__alloc_count();
        for (int k = 0; k < 100; k++)
            (void)one(s, asked[i]);
        CHECK_EQ(weft__alloc_count() - before, 0);
        (void)weft_close(&s, WEFT_NEVER);
    }
    CHECK_EQ(weft_group_close(&g), 0);
    weft_http_app_close(&app);
    return 0;
}

int main(void)
{
    static const struct torture_scene scenes[] = {{"http", scene}};
    if (weft_run(NULL, steady, NULL) != 0)
        return 1;
    return torture_main(scenes, WEFT__ARRAY_LEN(scenes), NULL, 0, 20);
}
