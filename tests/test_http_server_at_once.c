/* SPDX-License-Identifier: MIT */
/*
 * Requests of HTTP/1 that are answered without a task, whose heads are nearly the same: of one
 * connection nothing is taken for another's, nor of one request for the next.
 */
#include "http_kit.h"

#define HEAD(target) target " HTTP/1.1\r\nHost: a\r\n\r\n"

static int hello(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    (void)arg;
    return weft_http_text(r, 200, "hello %s %s\n", weft_http_param(q, "name"),
                          weft_http_field(q, "Host"));
}

static int trailer(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    (void)q, (void)arg;
    int err = weft_http_write(r, "body", 4, WEFT_NEVER);
    return err < 0 ? err : weft_http_set_trailer(r, "X-Sum", "42");
}

static struct weft_http_app *test_app(void)
{
    struct weft_http_app *app = http_kit_app();
    http_kit_at_once(app, "GET /:name", hello);
    http_kit_at_once(app, "GET /trailer/", trailer);
    return app;
}

static void expect(struct weft_stream *s, const char *text)
{
    static char buf[65536];
    (void)http_kit_read_one(s, buf, sizeof buf);
    CHECK(http_kit_has(buf, text));
}

static int again(void *arg)
{
    static const char *const asked[][2] = {
        {HEAD("GET /1"), "hello 1 a"},
        {HEAD("GET /1"), "hello 1 a"},
        {HEAD("GET /2"), "hello 2 a"},
        {HEAD("GET /1"), "hello 1 a"},
        {"GET /1 HTTP/1.1\r\nHost: b\r\n\r\n", "hello 1 b"},
        {"GET /1 HTTP/1.1\r\nHost: b\r\nX: y\r\n\r\n", "hello 1 b"},
        {"GET /1 HTTP/1.1\r\nHost: b\r\n\r\n", "hello 1 b"},
    };
    static const char piece[] = HEAD("GET /1");
    static char buf[65536];
    struct http_kit k;
    (void)arg;
    http_kit_open(&k, test_app(), NULL);
    struct weft_stream *s = http_kit_dial(&k);
    for (size_t i = 0; i < WEFT__ARRAY_LEN(asked); i++) {
        http_kit_send(s, asked[i][0]);
        expect(s, asked[i][1]);
    }
    /* From another connection, with others before and behind it, and in pieces. */
    struct weft_stream *other = http_kit_dial(&k);
    http_kit_send(other, HEAD("GET /1"));
    expect(other, "hello 1 a");
    http_kit_send(other, HEAD("GET /1") HEAD("GET /1") HEAD("GET /3") HEAD("GET /1"));
    for (int i = 0; i < 4; i++)
        expect(other, i == 2 ? "hello 3 a" : "hello 1 a");
    for (size_t i = 0; i + 1 < sizeof piece; i++) {
        CHECK_EQ(weft_write(other, piece + i, 1, weft_after_s(20)), 0);
        CHECK_EQ(weft_flush(other, weft_after_s(20)), 0);
    }
    expect(other, "hello 1 a");
    /* What the connection is to do is read anew, too. */
    http_kit_send(s, HEAD("GET /1"));
    expect(s, "hello 1 a");
    http_kit_send(s, "GET /1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    (void)http_kit_read_all(s, buf, sizeof buf);
    CHECK(http_kit_has(buf, "hello 1 a") && http_kit_has(buf, "Connection: close"));
    (void)weft_close(&s, WEFT_NEVER);
    (void)weft_close(&other, WEFT_NEVER);
    http_kit_close(&k);
    return 0;
}

struct lent {
    struct weft_http_app *app;
    bool hung_up; /* by the client */
};

static int lend(struct weft_stream *s, void *arg)
{
    struct lent *l = arg;
    int err = weft_http_serve_stream(&s, l->app, NULL);
    CHECK(l->hung_up); /* it serves to the end: nothing of the connection is left behind */
    return err;
}

/* A server of streams whose handler serves HTTP: its connections keep their tasks. */
static int of_another_server(void *arg)
{
    struct lent l = {.app = test_app()};
    struct weft_group *g = kit_group();
    struct weft_server *server = NULL;
    struct weft_stream *s = NULL;
    char endpoint[WEFT_ENDPOINT_MAX];
    (void)arg;
    CHECK_EQ(weft_server_open(&server, g, "tcp://127.0.0.1:0", NULL, lend, &l, NULL), 0);
    CHECK(weft_server_endpoint(server, endpoint, sizeof endpoint) > 0);
    CHECK_EQ(weft_dial(&s, endpoint, NULL, weft_after_s(20)), 0);
    for (int i = 0; i < 3; i++) {
        http_kit_send(s, HEAD("GET /1"));
        expect(s, "hello 1 a");
    }
    l.hung_up = true;
    CHECK_EQ(weft_close(&s, weft_after_s(20)), 0);
    CHECK_EQ(weft_group_close(&g), 0);
    weft_http_app_close(&l.app);
    return 0;
}

/* What a response has does not depend on where it is made. */
static int trailers(void *arg)
{
    static const char takes[] = "GET /trailer/ HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n\r\n";
    static const char end[] = "4\r\nbody\r\n0\r\nX-Sum: 42\r\n\r\n";
    static const char bare_end[] = "4\r\nbody\r\n0\r\n\r\n";
    struct http_kit k;
    char buf[4096];
    (void)arg;
    http_kit_open(&k, test_app(), NULL);
    struct weft_stream *s = http_kit_dial(&k);
    for (int i = 0; i < 3; i++) { /* the first one in a task */
        http_kit_send(s, takes);
        (void)http_kit_read_one(s, buf, sizeof buf);
        CHECK_EQ(weft_read_full(s, buf, sizeof end - 1, weft_after_s(20)), 0);
        CHECK(memcmp(buf, end, sizeof end - 1) == 0);
        http_kit_send(s, HEAD("GET /trailer/"));
        (void)http_kit_read_one(s, buf, sizeof buf);
        CHECK_EQ(weft_read_full(s, buf, sizeof bare_end - 1, weft_after_s(20)), 0);
        CHECK(memcmp(buf, bare_end, sizeof bare_end - 1) == 0);
    }
    (void)weft_close(&s, weft_after_s(20));
    http_kit_close(&k);
    return 0;
}

/* Who has asked for more than one connection carries gets every answer that there is, and no reset
 * that might take them along. */
static int more_than_a_connection_carries(void *arg)
{
    enum { ASKED = 10000, CARRIED = 10 };
    static const char one[] = HEAD("GET /1");
    static char all[ASKED * (sizeof one - 1)], buf[65536];
    struct http_kit k;
    (void)arg;
    for (size_t i = 0; i < ASKED; i++)
        memcpy(all + i * (sizeof one - 1), one, sizeof one - 1);
    http_kit_open(&k, test_app(), &(struct weft_http_options){.requests_max = CARRIED});
    for (int i = 0; i < 5; i++) {
        struct weft_stream *s = http_kit_dial(&k);
        http_kit_send(s, HEAD("GET /2")); /* from here on without a task */
        expect(s, "hello 2 a");
        CHECK_EQ(weft_write(s, all, sizeof all, weft_after_s(20)), 0);
        CHECK_EQ(weft_flush(s, weft_after_s(20)), 0);
        size_t got = 0;
        ssize_t n;
        while ((n = weft_read(s, buf + got, sizeof buf - 1 - got, weft_after_s(20))) > 0)
            got += (size_t)n;
        CHECK_EQ(n, 0);
        buf[got] = '\0';
        CHECK_EQ(http_kit_count(buf, "hello 1 a"), CARRIED - 1);
        CHECK_EQ(http_kit_count(buf, "Connection: close"), 1);
        (void)weft_close(&s, weft_after_s(20));
    }
    http_kit_close(&k);
    return 0;
}

static const struct kit_case cases[] = {IN_TASK(again), IN_TASK(of_another_server),
                                        IN_TASK(trailers), IN_TASK(more_than_a_connection_carries)};
KIT_MAIN(cases)
