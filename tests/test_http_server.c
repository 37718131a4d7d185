/* SPDX-License-Identifier: MIT */
/*
 * The HTTP server over TCP, in tasks: routes, requests, responses, keep-alive, pipelining, what is
 * refused.
 */
#include "http_kit.h"

/* --- Handlers -------------------------------------------------------------------------------- */

static int hello(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    (void)arg;
    return weft_http_text(r, 200, "hello %s\n", weft_http_param(q, "name"));
}

static int show(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    (void)arg;
    const char *query = weft_http_query(q), *a = weft_http_query_param(q, "a");
    const char *field = weft_http_field(q, "x-field"), *cookie = weft_http_cookie(q, "b");
    return weft_http_text(r, 200, "%s|%s|%s|%s|%s|%s|%s|%s|%d|%s", weft_http_method_text(q),
                          weft_http_target(q), weft_http_path(q), query != NULL ? query : "-",
                          a != NULL ? a : "-", field != NULL ? field : "-",
                          cookie != NULL ? cookie : "-", weft_http_host(q), weft_http_version(q),
                          weft_http_peer(q));
}

static int rest(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    (void)arg;
    return weft_http_text(r, 200, "rest=%s", weft_http_param(q, "rest"));
}

static int echo(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    const void *data;
    size_t len;
    (void)arg;
    int err = weft_http_body(q, &data, &len, weft_after_s(20));
    return err < 0 ? err : weft_http_send(r, 200, "application/octet-stream", data, len);
}

static int pieces(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    (void)q, (void)arg;
    CHECK_EQ(weft_http_set(r, "Content-Type", "text/x-pieces"), 0);
    CHECK_EQ(weft_http_set_trailer(r, "X-Sum", "3"), 0);
    for (int i = 0; i < 3; i++)
        if (weft_http_write(r, &"abc"[i], 1, WEFT_NEVER) < 0)
            return -EPIPE;
    return 0;
}

static int status(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    (void)r, (void)arg;
    return atoi(weft_http_param(q, "n"));
}

static int broken(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    (void)q, (void)arg;
    CHECK_EQ(weft_http_set(r, "Content-Length", "10"), 0);
    CHECK_EQ(weft_http_write(r, "abc", 3, WEFT_NEVER), 0);
    CHECK_EQ(weft_http_flush(r, WEFT_NEVER), 0);
    return -EIO;
}

static int nothing(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    (void)q, (void)r, (void)arg;
    return 0;
}

static int fields(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    (void)q, (void)arg;
    CHECK_EQ(weft_http_set(r, "X-A", "1"), 0);
    CHECK_EQ(weft_http_set(r, "x-a", "2"), 0);
    CHECK_EQ(weft_http_add(r, "X-B", "1"), 0);
    CHECK_EQ(weft_http_add(r, "X-B", "2"), 0);
    CHECK_EQ(weft_http_set(r, "X-C", "a\r\nX-Evil: 1"), -EINVAL);
    CHECK_EQ(weft_http_set(r, "X C", "a"), -EINVAL);
    CHECK_EQ(weft_http_set(r, "Connection", "close"), -EINVAL);
    CHECK_EQ(weft_http_set(r, "Transfer-Encoding", "chunked"), -EINVAL);
    CHECK_EQ(
        weft_http_set_cookie(r, "sid", "x1", &(struct weft_http_cookie_options){.max_age_s = 60}),
        0);
    return weft_http_send(r, 201, "text/plain", "ok", 2);
}

static int tagged(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    (void)q, (void)arg;
    CHECK_EQ(weft_http_set(r, "ETag", "\"v1\""), 0);
    return weft_http_send(r, 200, "text/plain", "body", 4);
}

static struct weft_http_app *test_app(void)
{
    struct weft_http_app *app = http_kit_app();
    http_kit_route(app, "GET /hello/:name", hello);
    http_kit_route(app, "GET /show", show);
    http_kit_route(app, "* /any/show", show);
    http_kit_route(app, "GET /rest/*rest", rest);
    http_kit_route(app, "POST /echo", echo);
    http_kit_route(app, "PUT /echo", echo);
    http_kit_route(app, "GET /pieces", pieces);
    http_kit_route(app, "GET /status/:n", status);
    http_kit_route(app, "GET /broken", broken);
    http_kit_route(app, "GET /nothing", nothing);
    http_kit_route(app, "GET /fields", fields);
    http_kit_route(app, "GET /tagged", tagged);
    const struct weft_http_route_options raw = {.raw_query = true};
    CHECK_EQ(weft_http_route_with(app, "GET /raw", &raw, show, NULL), 0);
    return app;
}

/* --- Cases ----------------------------------------------------------------------------------- */

struct row {
    const char *request;
    int status;
    const char *has, *has_too;
};

#define CLOSE "Host: a\r\nConnection: close\r\n\r\n"
static const struct row rows[] = {
    {HTTP_KIT_GET("/hello/you"), 200, "\r\nContent-Length: 10\r\n", "\r\n\r\nhello you\n"},
    {HTTP_KIT_GET("/hello/a%20b%2Fc"), 200, "hello a b/c\n", "Connection: close"},
    {HTTP_KIT_GET("/hello/"), 404, "nothing is served", NULL},
    {HTTP_KIT_GET("/nowhere"), 404, "404 Not Found", NULL},
    {"GET /nowhere HTTP/1.1\r\nAccept: application/json\r\n" CLOSE, 404, "application/json",
     "\"status\": 404"},
    {"DELETE /echo HTTP/1.1\r\n" CLOSE, 405, "\r\nAllow: POST, PUT, OPTIONS\r\n", NULL},
    {"OPTIONS /hello/x HTTP/1.1\r\n" CLOSE, 204, "\r\nAllow: GET, HEAD, OPTIONS\r\n", NULL},
    {"OPTIONS * HTTP/1.1\r\n" CLOSE, 204, "Connection: close", NULL},
    {"BREW /hello/x HTTP/1.1\r\n" CLOSE, 501, "not known", NULL},
    {"HEAD /hello/you HTTP/1.1\r\n" CLOSE, 200, "\r\nContent-Length: 10\r\n", NULL},
    {"GET /show?a=1%202&b=+ HTTP/1.1\r\nX-Field: one\r\nCookie: a=1; b=2\r\nx-field: two\r\n" CLOSE,
     200, "GET|/show?a=1%202&b=+|/show|a=1%202&b=+|1 2|one, two|2|a|11|127.0.0.1", NULL},
    {"GET http://other:81/show HTTP/1.1\r\n" CLOSE, 200, "|other:81|11|", NULL},
    {"PATCH /any/show HTTP/1.1\r\n" CLOSE, 200, "PATCH|/any/show", NULL},
    {HTTP_KIT_GET("/rest/a/b%2Fc/d"), 200, "rest=a/b%2Fc/d", NULL},
    {HTTP_KIT_GET("/rest/"), 200, "rest=", NULL},
    {"POST /echo HTTP/1.1\r\nContent-Length: 3\r\n" CLOSE "abc", 200, "\r\n\r\nabc", NULL},
    {"POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n" CLOSE
     "2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n",
     200, "\r\n\r\nabcde", NULL},
    {HTTP_KIT_GET("/pieces"), 200, "Transfer-Encoding: chunked", "1\r\nb\r\n1\r\nc\r\n0\r\n\r\n"},
    {"GET /pieces HTTP/1.1\r\nTE: trailers\r\n" CLOSE, 200, "Transfer-Encoding: chunked",
     "c\r\n0\r\nX-Sum: 3\r\n\r\n"},
    {"GET /pieces HTTP/1.0\r\n\r\n", 200, "Connection: close", "\r\n\r\nabc"},
    {HTTP_KIT_GET("/status/429"), 429, "429 Too Many Requests", NULL},
    {HTTP_KIT_GET("/status/503"), 503, "503 Service Unavailable", NULL},
    {HTTP_KIT_GET("/nothing"), 500, "no answer", NULL},
    {HTTP_KIT_GET("/fields"), 201, "\r\nx-a: 2\r\n", "\r\nX-B: 1\r\nX-B: 2\r\n"},
    {HTTP_KIT_GET("/fields"), 201, "Set-Cookie: sid=x1;", "HttpOnly"},
    {"GET /tagged HTTP/1.1\r\nIf-None-Match: \"v0\", \"v1\"\r\n" CLOSE, 304, "ETag: \"v1\"", NULL},
    /* A list over several lines is one list (RFC 9110 section 5.3). */
    {"GET /tagged HTTP/1.1\r\nIf-None-Match: \"v0\"\r\nIf-None-Match: \"v1\"\r\n" CLOSE, 304,
     "ETag: \"v1\"", NULL},
    {"GET /tagged HTTP/1.1\r\nIf-Match: \"v0\"\r\nif-match: \"v1\"\r\n" CLOSE, 200, "body", NULL},
    {"GET /tagged HTTP/1.1\r\nIf-Match: \"v0\"\r\n" CLOSE, 412, "412 Precondition Failed", NULL},
    {"GET /hello/you HTTP/1.1\r\n" CLOSE, 200, "\r\nServer: weft\r\nDate: ", "GMT\r\n"},
    {"GET /hello/you HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /hello/1 HTTP/1.0\r\n\r\n", 200,
     "Connection: keep-alive\r\n", "hello 1\n"},
    /* Refused before a handler sees it. */
    {HTTP_KIT_GET("/rest/../x"), 400, "400 Bad Request", "Connection: close"},
    {HTTP_KIT_GET("/rest/%2e%2e/x"), 400, "400 Bad Request", NULL},
    {HTTP_KIT_GET("/rest/%00"), 400, "400 Bad Request", NULL},
    {HTTP_KIT_GET("/rest/%zz"), 400, "400 Bad Request", NULL},
    {HTTP_KIT_GET("/show?a=x%00y"), 400, "400 Bad Request", "the query is not one"},
    {HTTP_KIT_GET("/show?a=x&b%00"), 400, "400 Bad Request", NULL},
    {HTTP_KIT_GET("/show?a=x%2500y"), 200, "|x%00y|", NULL},
    {HTTP_KIT_GET("/nowhere?%00"), 400, "400 Bad Request", NULL},
    {"GET http://a?a=%00 HTTP/1.1\r\n" CLOSE, 400, "400 Bad Request", NULL},
    {HTTP_KIT_GET("/raw?a=x%00y&b"), 200, "|a=x%00y&b|-|", NULL},
    {HTTP_KIT_GET("/raw?b=x%00y&a=z"), 200, "|b=x%00y&a=z|z|", NULL},
    {"GET /show HTTP/1.1\r\nExpect: something\r\n" CLOSE, 417, "100-continue", NULL},
    {"GET /show HTTP/2.0\r\n" CLOSE, 505, "505 ", NULL},
    {"GET /show HTTP/1.1\r\n\r\n", 400, "Connection: close", NULL},
    {"POST /echo HTTP/1.1\r\nContent-Length: 99999999999\r\n" CLOSE, 413, "Connection: close",
     NULL},
    {"POST /echo HTTP/1.1\r\nContent-Length: 2000000\r\n" CLOSE, 413, "Connection: close", NULL},
    {"POST /echo HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n" CLOSE, 501, "501 ", NULL},
    {"CONNECT a:1 HTTP/1.1\r\n" CLOSE, 501, "no proxy", NULL},
    {"\r\nGET /hello/you HTTP/1.1\r\n" CLOSE, 200, "hello you", NULL},
    {"\x16\x03\x01\x02", 400, "Connection: close", NULL},
};

static int table(void *arg)
{
    struct http_kit k;
    static char buf[65536];
    (void)arg;
    http_kit_open(&k, test_app(), NULL);
    for (size_t i = 0; i < WEFT__ARRAY_LEN(rows); i++) {
        http_kit_expect(&k, rows[i].request, rows[i].status, buf, sizeof buf);
        CHECK(rows[i].has == NULL || http_kit_has(buf, rows[i].has));
        CHECK(rows[i].has_too == NULL || http_kit_has(buf, rows[i].has_too));
        if (strncmp(rows[i].request, "HEAD", 4) == 0 || rows[i].status == 304 ||
            rows[i].status == 204)
            CHECK(strcmp(strstr(buf, "\r\n\r\n"), "\r\n\r\n") == 0);
    }
    http_kit_close(&k);
    return 0;
}

/* What two readers could take for different messages is one refusal, and nothing behind it is
 * looked at. */
#define HIDDEN "GET /hello/smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
static const char *const smuggling[] = {
    "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"
    "0\r\n\r\n" HIDDEN,
    "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 44\r\n\r\n" HIDDEN,
    "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 0, 44\r\n\r\n" HIDDEN,
    "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: +0\r\n\r\n" HIDDEN,
    "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length : 0\r\n\r\n" HIDDEN,
    "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n" HIDDEN,
    "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n" HIDDEN,
    "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\vchunked\r\n\r\n0\r\n\r\n" HIDDEN,
    "POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" HIDDEN,
    "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0x0\r\n\r\n" HIDDEN,
    "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\n\r\n" HIDDEN,
    "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    "fffffffffffffffff\r\n" HIDDEN,
    "GET /show HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n" HIDDEN,
    "GET /show HTTP/1.1\r\nHost: a\r\nX: 1\r\n folded\r\n\r\n" HIDDEN,
    "GET /show HTTP/1.1\nHost: a\n\n" HIDDEN,
    "GET /show HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n" HIDDEN,
    "GET  /show HTTP/1.1\r\nHost: a\r\n\r\n" HIDDEN,
    "GET /show HTTP/1.1 \r\nHost: a\r\n\r\n" HIDDEN,
};

static int no_smuggling(void *arg)
{
    struct http_kit k;
    static char buf[65536];
    (void)arg;
    http_kit_open(&k, test_app(), NULL);
    for (size_t i = 0; i < WEFT__ARRAY_LEN(smuggling); i++) {
        (void)http_kit_ask(&k, smuggling[i], buf, sizeof buf);
        int got = http_kit_status(buf);
        if (got != 400 && got != 501)
            (void)fprintf(stderr, "%s---\n%s\n", smuggling[i], buf);
        CHECK(got == 400 || got == 501);
        CHECK_EQ(http_kit_count(buf, "HTTP/1.1 "), 1);
        CHECK(http_kit_has(buf, "Connection: close"));
        CHECK(strstr(buf, "smuggled") == NULL);
    }
    http_kit_close(&k);
    return 0;
}

/* Requests in one packet are answered in order; the last one ends the connection. */
static int pipelined(void *arg)
{
    struct http_kit k;
    static char request[65536], buf[262144];
    (void)arg;
    http_kit_open(&k, test_app(), NULL);
    size_t len = 0;
    for (int i = 0; i < 500; i++)
        len += (size_t)sprintf(request + len,
                               i % 7 == 3 ? "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: "
                                            "4\r\n\r\n%04d"
                                          : "GET /hello/%04d HTTP/1.1\r\nHost: a\r\n\r\n",
                               i);
    strcpy(request + len, HTTP_KIT_GET("/hello/last"));
    (void)http_kit_ask(&k, request, buf, sizeof buf);
    CHECK_EQ(http_kit_count(buf, "HTTP/1.1 200 OK"), 501);
    const char *at = buf;
    for (int i = 0; i < 500; i++) {
        char want[32];
        (void)sprintf(want, i % 7 == 3 ? "\r\n\r\n%04d" : "hello %04d\n", i);
        at = strstr(at, want);
        CHECK(at != NULL);
    }
    CHECK(strstr(at, "hello last") != NULL);
    CHECK_EQ(http_kit_count(buf, "Connection: close"), 1);
    struct weft_http_server_stats st;
    weft_http_server_stats_mt(k.server, &st);
    CHECK_EQ(st.requests, 501);
    CHECK_EQ(st.by_class[2], 501);
    http_kit_close(&k);
    return 0;
}

static int keep_alive(void *arg)
{
    struct http_kit k;
    char buf[4096];
    (void)arg;
    http_kit_open(&k, test_app(), &(struct weft_http_options){.requests_max = 3, .park_ms = -1});
    struct weft_stream *s = http_kit_dial(&k);
    for (int i = 0; i < 3; i++) {
        http_kit_send(s, "GET /hello/you HTTP/1.1\r\nHost: a\r\n\r\n");
        (void)http_kit_read_one(s, buf, sizeof buf);
        CHECK_EQ(http_kit_status(buf), 200);
        CHECK_EQ(strstr(buf, "Connection: close") != NULL, i == 2);
    }
    CHECK_EQ(http_kit_read_all(s, buf, sizeof buf), 0);
    (void)weft_close(&s, WEFT_NEVER);
    /* A body that the handler leaves is passed over when it is short, and ends the connection when
     * it is not. */
    s = http_kit_dial(&k);
    http_kit_send(s, "GET /hello/you HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
                     "GET /hello/two HTTP/1.1\r\nHost: a\r\n\r\n");
    (void)http_kit_read_one(s, buf, sizeof buf);
    (void)http_kit_read_one(s, buf, sizeof buf);
    CHECK(http_kit_has(buf, "hello two"));
    (void)weft_close(&s, WEFT_NEVER);
    s = http_kit_dial(&k);
    http_kit_send(s, "GET /hello/you HTTP/1.1\r\nHost: a\r\nContent-Length: 300000\r\n\r\nabc");
    (void)http_kit_read_all(s, buf, sizeof buf);
    CHECK(http_kit_has(buf, "Connection: close"));
    (void)weft_close(&s, WEFT_NEVER);
    http_kit_close(&k);
    return 0;
}

static int expect_continue(void *arg)
{
    struct http_kit k;
    char buf[4096];
    (void)arg;
    http_kit_open(&k, test_app(), NULL);
    struct weft_stream *s = http_kit_dial(&k);
    http_kit_send(s, "POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n"
                     "Content-Length: 3\r\n\r\n");
    (void)http_kit_read_one(s, buf, sizeof buf);
    CHECK(strcmp(buf, "HTTP/1.1 100 Continue\r\n\r\n") == 0);
    http_kit_send(s, "abc");
    (void)http_kit_read_one(s, buf, sizeof buf);
    CHECK(http_kit_has(buf, "\r\n\r\nabc"));
    /* Who is not asked for its body is not waited for either. */
    http_kit_send(s, "GET /hello/you HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n"
                     "Content-Length: 3\r\n\r\n");
    (void)http_kit_read_all(s, buf, sizeof buf);
    CHECK_EQ(http_kit_count(buf, "HTTP/1.1 "), 1);
    CHECK(http_kit_has(buf, "Connection: close"));
    (void)weft_close(&s, WEFT_NEVER);
    http_kit_close(&k);
    return 0;
}

/* A response that cannot be completed is cut off, not ended. */
static int cut_off(void *arg)
{
    struct http_kit k;
    char buf[4096];
    (void)arg;
    http_kit_open(&k, test_app(), NULL);
    struct weft_stream *s = http_kit_dial(&k);
    http_kit_send(s, "GET /broken HTTP/1.1\r\nHost: a\r\n\r\n");
    size_t got = 0;
    ssize_t n;
    while ((n = weft_read(s, buf + got, sizeof buf - got - 1, weft_after_s(20))) > 0)
        got += (size_t)n;
    CHECK_EQ(n, -ECONNRESET);
    (void)weft_close(&s, WEFT_NEVER);
    http_kit_close(&k);
    return 0;
}

static int conflicts(void *arg)
{
    struct weft_http_app *app = test_app();
    (void)arg;
    CHECK_EQ(weft_http_route(app, "GET /hello/:other", hello, NULL), -EEXIST);
    CHECK(http_kit_has(weft_error_detail(), "'GET /hello/:name'"));
    CHECK_EQ(weft_http_route(app, "POST /hello/:other", hello, NULL), 0);
    CHECK_EQ(weft_http_route(app, "GET hello", hello, NULL), -EINVAL);
    CHECK_EQ(weft_http_route(app, "GET /*rest/more", hello, NULL), -EINVAL);
    CHECK_EQ(weft_http_route(app, "GET /:a/:a", hello, NULL), -EINVAL);
    CHECK_EQ(weft_http_route(app, "GET /:", hello, NULL), -EINVAL);
    CHECK_EQ(weft_http_route(app, "G(T /", hello, NULL), -EINVAL);
    struct http_kit k;
    http_kit_open(&k, app, NULL);
    CHECK_EQ(weft_http_route(app, "GET /late", hello, NULL), -EBUSY);
    http_kit_close(&k);
    return 0;
}

static int which(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    (void)arg;
    return weft_http_text(r, 200, "%s at %s", weft_http_pattern(q), weft_http_path(q));
}

/* A path of text alone is found by its text, every other one in the tree: with the same result. */
static int text_and_names(void *arg)
{
    static const struct {
        const char *request, *answer;
    } asked[] = {
        {HTTP_KIT_GET("/same/text"), "GET /same/text at /same/text"},
        {HTTP_KIT_GET("/same/text?a=b"), "GET /same/text at /same/text"},
        {HTTP_KIT_GET("http://a/same/text"), "GET /same/text at /same/text"},
        {HTTP_KIT_GET("/same/%74ext"), "GET /same/text at /same/text"},
        {HTTP_KIT_GET("/same/text/"), "404"},
        {HTTP_KIT_GET("/same/other"), "GET /same/:id at /same/other"},
        {"POST /same/text HTTP/1.1\r\n" CLOSE, "POST /same/:id at /same/text"},
        {"PUT /same/text HTTP/1.1\r\n" CLOSE, "\r\nAllow: GET, HEAD, POST, OPTIONS\r\n"},
        {"BREW /same/all HTTP/1.1\r\n" CLOSE, "* /same/all at /same/all"},
        {"GET /same/all HTTP/1.1\r\n" CLOSE, "* /same/all at /same/all"},
        {"DELETE /same/all HTTP/1.1\r\n" CLOSE, "DELETE /same/all at /same/all"},
        {HTTP_KIT_GET("/a%20b"), "404"},
        {HTTP_KIT_GET("/a%2520b"), "GET /a%20b at /a%20b"},
        {HTTP_KIT_GET("/dots/./x"), "400"},
        {HTTP_KIT_GET("/"), "GET / at /"},
        {HTTP_KIT_GET("http://a"), "GET / at "},
        {HTTP_KIT_GET("/many/77"), "GET /many/77 at /many/77"},
    };
    static const char *const routes[] = {
        "GET /same/text",   "GET /same/:id", "POST /same/:id", "* /same/all",
        "DELETE /same/all", "GET /a%20b",    "GET /dots/./x",  "GET /",
    };
    struct http_kit k;
    char buf[4096];
    (void)arg;
    struct weft_http_app *app = http_kit_app();
    for (size_t i = 0; i < WEFT__ARRAY_LEN(routes); i++)
        http_kit_route(app, routes[i], which);
    for (int i = 0; i < 200; i++) {
        (void)snprintf(buf, sizeof buf, "GET /many/%d", i);
        http_kit_route(app, buf, which);
    }
    CHECK_EQ(weft_http_route(app, "GET /many/77", which, NULL), -EEXIST);
    http_kit_open(&k, app, NULL);
    for (size_t i = 0; i < WEFT__ARRAY_LEN(asked); i++) {
        (void)http_kit_ask(&k, asked[i].request, buf, sizeof buf);
        if (!http_kit_has(buf, asked[i].answer))
            (void)fprintf(stderr, "%s---\n%s\n", asked[i].request, buf);
        CHECK(http_kit_has(buf, asked[i].answer));
    }
    http_kit_close(&k);
    return 0;
}

static int outer(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    CHECK_EQ(weft_http_note(q, "who", arg), 0);
    CHECK_EQ(weft_http_set(r, "X-Outer", arg), 0);
    return weft_http_next(q, r);
}

static int gate(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    (void)arg;
    const char *key = weft_http_field(q, "Authorization");
    if (key == NULL)
        return 401;
    CHECK(strcmp(weft_http_noted(q, "who"), "outer") == 0);
    return weft_http_next(q, r);
}

static int page(struct weft_http_request *q, struct weft_http_response *r, int code,
                const char *message, void *arg)
{
    (void)q, (void)arg;
    return weft_http_text(r, code, "page %d (%s)", code, message);
}

static int middleware(void *arg)
{
    struct http_kit k;
    char buf[4096];
    (void)arg;
    struct weft_http_app *app = test_app();
    CHECK_EQ(weft_http_use(app, "/", outer, "outer"), 0);
    CHECK_EQ(weft_http_use(app, "/hello", gate, NULL), 0);
    weft_http_error_pages(app, page, NULL);
    http_kit_open(&k, app, NULL);
    (void)http_kit_ask(&k, HTTP_KIT_GET("/hello/x"), buf, sizeof buf);
    CHECK_EQ(http_kit_status(buf), 401);
    CHECK(http_kit_has(buf, "page 401 ()") && http_kit_has(buf, "X-Outer: outer"));
    (void)http_kit_ask(&k, "GET /hello/x HTTP/1.1\r\nAuthorization: k\r\n" CLOSE, buf, sizeof buf);
    CHECK(http_kit_has(buf, "hello x"));
    (void)http_kit_ask(&k, HTTP_KIT_GET("/hellox"), buf, sizeof buf);
    CHECK_EQ(http_kit_status(buf), 404);
    http_kit_close(&k);
    return 0;
}

static uint64_t at_once_of(const struct http_kit *k)
{
    struct weft_http_server_stats st;
    weft_http_server_stats_mt(k->server, &st);
    return st.at_once;
}

static int count_it(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    ++*(int *)arg;
    int err = weft_http_set(r, "X-Seen", "yes");
    return err < 0 ? err : weft_http_next(q, r);
}

/* Middleware that never waits leaves requests where they are; any other takes what is below it to
 * tasks. */
static int at_once_middleware(void *arg)
{
    struct http_kit k;
    static char buf[65536];
    int quick = 0, slow_one = 0;
    (void)arg;
    struct weft_http_app *app = http_kit_app();
    struct weft_http_route_options at_once_route = {.at_once = true};
    CHECK_EQ(weft_http_route_with(app, "GET /fast/:name", &at_once_route, which, NULL), 0);
    CHECK_EQ(weft_http_route_with(app, "GET /deep/fast/:name", &at_once_route, which, NULL), 0);
    CHECK_EQ(weft_http_use_with(app, "/", &(struct weft_http_use_options){.at_once = true},
                                count_it, &quick),
             0);
    CHECK_EQ(weft_http_use(app, "/deep", count_it, &slow_one), 0);
    http_kit_open(&k, app, NULL);
    struct weft_stream *s = http_kit_dial(&k);
    for (int i = 0; i < 20; i++) {
        http_kit_send(s, "GET /fast/x HTTP/1.1\r\nHost: a\r\n\r\n");
        (void)http_kit_read_one(s, buf, sizeof buf);
        CHECK(http_kit_status(buf) == 200 && http_kit_has(buf, "X-Seen: yes"));
    }
    uint64_t so_far = at_once_of(&k);
    CHECK(so_far >= 15);
    CHECK_EQ(quick, 20);
    for (int i = 0; i < 20; i++) {
        http_kit_send(s, "GET /deep/fast/x HTTP/1.1\r\nHost: a\r\n\r\n");
        (void)http_kit_read_one(s, buf, sizeof buf);
        CHECK(http_kit_status(buf) == 200 && http_kit_has(buf, "deep/fast/x"));
    }
    CHECK_EQ(at_once_of(&k), so_far);
    CHECK_EQ(slow_one, 20);
    (void)weft_close(&s, WEFT_NEVER);
    http_kit_close(&k);
    return 0;
}

static const struct kit_case cases[] = {
    IN_TASK(table),           IN_TASK(no_smuggling),
    IN_TASK(pipelined),       IN_TASK(keep_alive),
    IN_TASK(expect_continue), IN_TASK(cut_off),
    IN_TASK(conflicts),       IN_TASK(middleware),
    IN_TASK(text_and_names),  IN_TASK(at_once_middleware),
};
KIT_MAIN(cases)
