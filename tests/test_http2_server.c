/* SPDX-License-Identifier: MIT */
/*
 * Server and client of Weft with each other by HTTP/2: the same handlers as by HTTP/1, many
 * requests of one connection, limits, drain; in tasks and, on a plain thread, one after the other.
 */
#include <weft/http_client.h>
#include <weft/http_server.h>
#include <weft/offload.h>

#include "rt_kit.h"

static int hello(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    (void)arg;
    return weft_http_text(r, 200, "hello %s by %d at %s", weft_http_param(q, "name"),
                          weft_http_version(q), weft_http_host(q));
}

/* length NULL: it is not known. */
static int begin(struct weft_http_response *r, const char *length)
{
    int err = weft_http_set(r, "Content-Type", "application/octet-stream");
    if (err == 0 && length != NULL)
        err = weft_http_set(r, "Content-Length", length);
    return err < 0 ? err : weft_http_begin(r);
}

static int echo(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    char buf[5000];
    ssize_t n;
    (void)arg;
    int err = begin(r, NULL);
    while (err == 0 && (n = weft_http_read(q, buf, sizeof buf, weft_after_s(30))) != 0)
        err = n < 0 ? (int)n : weft_http_write(r, buf, (size_t)n, weft_after_s(30));
    return err;
}

static int whole(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    const void *data;
    size_t len;
    (void)arg;
    int err = weft_http_body(q, &data, &len, weft_after_s(30));
    return err < 0 ? err : weft_http_text(r, 200, "%zu", len);
}

static int large(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    static const char piece[10000];
    (void)q;
    (void)arg;
    int err = begin(r, "3000000");
    for (int i = 0; i < 300 && err == 0; i++)
        err = weft_http_write(r, piece, sizeof piece, weft_after_s(30));
    return err;
}

static int cut_short(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    (void)q;
    (void)arg;
    int err = begin(r, "100");
    return err < 0 ? err : weft_http_write(r, "only this", 9, weft_after_s(30));
}

static int trailers(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    (void)q;
    (void)arg;
    int err = begin(r, NULL);
    if (err == 0)
        err = weft_http_write(r, "body", 4, weft_after_s(30));
    return err < 0 ? err : weft_http_set_trailer(r, "X-Sum", "42");
}

/* More than HTTP/2 takes for a head, or for trailers. */
static int long_head(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    static char value[70000];
    (void)q;
    (void)arg;
    memset(value, 'v', sizeof value - 1);
    int err = weft_http_set(r, "X-Long", value);
    return err < 0 ? err : weft_http_text(r, 200, "long");
}

static int long_trailers(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    static char value[70000];
    (void)q;
    (void)arg;
    memset(value, 'v', sizeof value - 1);
    int err = begin(r, NULL);
    if (err == 0)
        err = weft_http_write(r, "body", 4, weft_after_s(30));
    return err < 0 ? err : weft_http_set_trailer(r, "X-Long", value);
}

struct site {
    struct weft_http_app *app;
    struct weft_http_server *server;
    struct weft_group *group;
    struct weft_http_client *client;
    struct weft_event go;
    size_t held;
    char url[300];
};

/* Waits until it is told. */
static int hold(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    struct site *s = arg;
    (void)q;
    s->held++;
    int err = weft_event_wait(&s->go, weft_after_s(30));
    return err < 0 ? err : weft_http_text(r, 200, "held");
}

static void route(struct site *s, const char *pattern, weft_http_handler fn)
{
    CHECK_EQ(weft_http_route(s->app, pattern, fn, s), 0);
}

static void open_site(struct site *s, enum weft_model model)
{
    char at[WEFT_ENDPOINT_MAX];
    const struct weft_http_options o = {.server.model = model, .body_max = 1000};
    const struct weft_http_client_options co = {.http2_prior = true};
    *s = (struct site){.group = kit_group()};
    CHECK_EQ(weft_http_app_open(&s->app), 0);
    route(s, "GET /hello/:name", hello);
    route(s, "POST /echo", echo);
    route(s, "POST /whole", whole);
    route(s, "GET /large", large);
    route(s, "GET /short", cut_short);
    route(s, "GET /trailers", trailers);
    route(s, "GET /hold", hold);
    route(s, "GET /long/head", long_head);
    route(s, "GET /long/trailers", long_trailers);
    CHECK_EQ(weft_http_server_open(&s->server, s->group, "tcp://127.0.0.1:0", s->app, &o), 0);
    CHECK(weft_http_server_endpoint(s->server, at, sizeof at) > 0);
    (void)snprintf(s->url, sizeof s->url, "http://%.200s", at + strlen("tcp://"));
    CHECK_EQ(weft_http_client_open(&s->client, &co), 0);
}

static void close_site(struct site *s)
{
    weft_http_client_close(&s->client);
    (void)weft_group_close(&s->group);
    weft_http_app_close(&s->app);
}

static struct weft_http_reply *fetch(struct site *s, const char *path, const char *method,
                                     const void *body, size_t len)
{
    char url[400];
    struct weft_http_reply *r = NULL;
    (void)snprintf(url, sizeof url, "%s%s", s->url, path);
    struct weft_http_call call = {.url = url, .method = method, .body = body, .body_len = len};
    int err = weft_http_fetch(s->client, &call, &r, weft_after_s(30));
    if (err < 0)
        print_error("%s: %s\n", weft_error_name(err), weft_error_detail());
    CHECK_EQ(err, 0);
    CHECK_EQ(weft_http_reply_version(r), 20);
    return r;
}

static void gives(struct site *s, const char *path, const char *method, const void *body,
                  size_t len, int status, const char *want)
{
    const void *data;
    size_t n;
    struct weft_http_reply *r = fetch(s, path, method, body, len);
    CHECK_EQ(weft_http_reply_status(r), status);
    CHECK_EQ(weft_http_reply_body(r, &data, &n, weft_after_s(30)), 0);
    if (want != NULL) {
        CHECK_EQ(n, strlen(want));
        CHECK(memcmp(data, want, n) == 0);
    }
    weft_http_reply_close(&r);
}

static void exchanges(struct site *s)
{
    char want[400];
    struct weft_http_client_stats st;
    char *body = calloc(1, 300001);
    CHECK(body != NULL);
    memset(body, 'e', 300000);
    (void)snprintf(want, sizeof want, "hello you by 20 at %s", s->url + strlen("http://"));
    gives(s, "/hello/you", "GET", NULL, 0, 200, want);
    gives(s, "/hello/you", "HEAD", NULL, 0, 200, "");
    gives(s, "/nothing", "GET", NULL, 0, 404, NULL);
    gives(s, "/echo", "GET", NULL, 0, 405, NULL);
    gives(s, "/echo", "POST", body, 300000, 200, body);
    gives(s, "/whole", "POST", "12345", 5, 200, "5");
    gives(s, "/whole", "POST", body, 5000, 413, NULL);
    gives(s, "/hello/%ff/../you", "GET", NULL, 0, 200, want);
    weft_http_client_stats(s->client, &st);
    CHECK_EQ(st.connections, 1);
    free(body);
}

/* What cannot be sent is an error that both sides hear of. */
static int too_long(void *arg)
{
    const void *data;
    size_t n;
    struct site s;
    (void)arg;
    open_site(&s, WEFT_TASKS);
    char url[400];
    struct weft_http_reply *r = NULL;
    (void)snprintf(url, sizeof url, "%s/long/head", s.url);
    const struct weft_http_call call = {.url = url};
    CHECK_EQ(weft_http_fetch(s.client, &call, &r, weft_after_s(30)), WEFT_EEOF);
    r = fetch(&s, "/long/trailers", "GET", NULL, 0);
    CHECK(weft_http_reply_body(r, &data, &n, weft_after_s(30)) < 0);
    weft_http_reply_close(&r);
    close_site(&s);
    return 0;
}

static int in_tasks(void *arg)
{
    struct site s;
    (void)arg;
    open_site(&s, WEFT_TASKS);
    exchanges(&s);
    close_site(&s);
    return 0;
}

static int in_threads(void *arg)
{
    struct site s;
    (void)arg;
    open_site(&s, WEFT_THREADS);
    exchanges(&s);
    close_site(&s);
    return 0;
}

static int ends(void *arg)
{
    struct site s;
    char buf[64];
    const void *data;
    size_t n;
    (void)arg;
    open_site(&s, WEFT_TASKS);
    struct weft_http_reply *r = fetch(&s, "/short", "GET", NULL, 0);
    CHECK_EQ(weft_http_reply_length(r), 100);
    ssize_t got = weft_http_reply_read(r, buf, sizeof buf, weft_after_s(30));
    CHECK(got == 9 || got == WEFT_EEOF);
    CHECK_EQ(weft_http_reply_read(r, buf, sizeof buf, weft_after_s(30)), WEFT_EEOF);
    weft_http_reply_close(&r);
    r = fetch(&s, "/trailers", "GET", NULL, 0);
    CHECK_EQ(weft_http_reply_body(r, &data, &n, weft_after_s(30)), 0);
    CHECK_EQ(n, 4);
    CHECK(strcmp(weft_http_reply_trailer(r, "X-Sum"), "42") == 0);
    weft_http_reply_close(&r);
    r = fetch(&s, "/large", "GET", NULL, 0);
    CHECK_EQ(weft_http_reply_length(r), 3000000);
    CHECK_EQ(weft_http_reply_body(r, &data, &n, weft_after_s(30)), 0);
    CHECK_EQ(n, 3000000);
    weft_http_reply_close(&r);
    r = fetch(&s, "/large", "GET", NULL, 0);
    weft_http_reply_close(&r); /* half read: its stream is reset, the connection goes on */
    gives(&s, "/whole", "POST", "1", 1, 200, "1");
    close_site(&s);
    return 0;
}

static int ask_held(void *arg)
{
    gives(arg, "/hold", "GET", NULL, 0, 200, "held");
    return 0;
}

/* Fifty requests of one connection wait at once, and others pass them. */
static int side_by_side(void *arg)
{
    struct site s;
    struct weft_http_client_stats st;
    (void)arg;
    open_site(&s, WEFT_TASKS);
    struct weft_group *g = kit_group();
    for (int i = 0; i < 50; i++)
        kit_go(g, "is held", ask_held, &s);
    while (s.held < 50)
        CHECK_EQ(weft_yield(), 0);
    gives(&s, "/whole", "POST", "1", 1, 200, "1");
    weft_http_client_stats(s.client, &st);
    CHECK_EQ(st.connections, 1);
    weft_event_set(&s.go);
    CHECK_EQ(weft_group_wait(g, weft_after_s(30)), 0);
    CHECK_EQ(weft_group_close(&g), 0);
    close_site(&s);
    return 0;
}

static int drain_now(void *arg)
{
    struct site *s = arg;
    CHECK_EQ(weft_http_server_drain(s->server, weft_after_s(30)), 0);
    return 0;
}

/* A server that drains answers what it has taken, and then the connection ends. */
static int drains(void *arg)
{
    struct site s;
    struct weft_http_client_stats st;
    (void)arg;
    open_site(&s, WEFT_TASKS);
    struct weft_group *g = kit_group();
    kit_go(g, "is held", ask_held, &s);
    while (s.held < 1)
        CHECK_EQ(weft_yield(), 0);
    kit_go(g, "drains", drain_now, &s);
    kit_settle();
    weft_event_set(&s.go);
    CHECK_EQ(weft_group_wait(g, weft_after_s(30)), 0);
    CHECK_EQ(weft_group_close(&g), 0);
    char url[400];
    struct weft_http_reply *r = NULL;
    (void)snprintf(url, sizeof url, "%s/whole", s.url);
    CHECK_EQ(weft_http_get(s.client, url, &r, weft_after_s(30)), -ECONNREFUSED);
    weft_http_client_stats(s.client, &st);
    CHECK_EQ(st.open, 0);
    close_site(&s);
    return 0;
}

static int ask_and_give_up(void *arg)
{
    struct site *s = arg;
    char url[400];
    struct weft_http_reply *r = NULL;
    (void)snprintf(url, sizeof url, "%s/hold", s->url);
    CHECK_EQ(weft_http_get(s->client, url, &r, weft_after_ms(20)), -ETIMEDOUT);
    return 0;
}

/* Who gives up resets his stream alone; the handler is told when it next reads or writes. */
static int gives_up(void *arg)
{
    struct site s;
    struct weft_http_client_stats st;
    (void)arg;
    open_site(&s, WEFT_TASKS);
    struct weft_group *g = kit_group();
    for (int i = 0; i < 20; i++)
        kit_go(g, "gives up", ask_and_give_up, &s);
    CHECK_EQ(weft_group_wait(g, weft_after_s(30)), 0);
    CHECK_EQ(weft_group_close(&g), 0);
    gives(&s, "/whole", "POST", "1", 1, 200, "1");
    weft_http_client_stats(s.client, &st);
    CHECK_EQ(st.connections, 1);
    weft_event_set(&s.go);
    close_site(&s);
    return 0;
}

static int on_thread(struct weft_job *job, void *arg)
{
    struct site *s = arg;
    (void)job;
    const struct weft_http_client_options co = {.http2_prior = true};
    struct site mine = *s;
    CHECK_EQ(weft_http_client_open(&mine.client, &co), 0);
    exchanges(&mine);
    weft_http_client_close(&mine.client);
    return 0;
}

/* The client on a plain thread, where the one flow reads, too. */
static int client_on_thread(void *arg)
{
    struct site s;
    (void)arg;
    open_site(&s, WEFT_TASKS);
    CHECK_EQ(weft_offload(on_thread, &s, weft_after_s(60)), 0);
    close_site(&s);
    return 0;
}

struct bad_end {
    struct weft_http_app *app;
    struct weft_stream *server;
    int ended;
};

static int serve_bad_end(void *arg)
{
    struct bad_end *b = arg;
    b->ended = weft_http_serve_stream(&b->server, b->app, NULL);
    return 0;
}

/* All that the server says until its end, which is to be that of a frame; the last one's type and
 * the code that a GOAWAY has. */
static int read_frames(struct weft_stream *s, uint32_t *code)
{
    uint8_t head[9], body[16384];
    int type = -1;
    for (;;) {
        ssize_t n = weft_read(s, head, 1, weft_after_s(30));
        CHECK(n >= 0);
        if (n == 0)
            return type;
        CHECK_EQ(weft_read_full(s, head + 1, sizeof head - 1, weft_after_s(30)), 0);
        size_t len = (size_t)head[0] << 16 | (size_t)head[1] << 8 | head[2];
        CHECK(len <= sizeof body);
        CHECK_EQ(weft_read_full(s, body, len, weft_after_s(30)), 0);
        type = head[3];
        if (type == 7)
            *code = (uint32_t)body[4] << 24 | (uint32_t)body[5] << 16 | (uint32_t)body[6] << 8 |
                    body[7];
    }
}

/* Who breaks the protocol and hangs up his half is told why, behind the answer that waits for him
 * to read: it fills the pipe when the server comes to that end. */
static int told_why(void *arg)
{
    static const char ask[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
                              "\0\0\0\4\0\0\0\0\0"
                              "\0\0\x0d\1\5\0\0\0\1\x82\x86\x41\1a\x44\6/large",
                      bad[] = "\0\0\0\4\0\0\0\0\1"; /* settings of a stream */
    struct bad_end b = {.app = NULL};
    struct weft_stream *client = NULL;
    struct weft_group *g = kit_group();
    uint32_t code = 0;
    (void)arg;
    CHECK_EQ(weft_http_app_open(&b.app), 0);
    CHECK_EQ(weft_http_route(b.app, "GET /large", large, NULL), 0);
    CHECK_EQ(weft_pipe_open(&client, &b.server, 4096), 0);
    kit_go(g, "serves", serve_bad_end, &b);
    CHECK_EQ(weft_write(client, ask, sizeof ask - 1, weft_after_s(30)), 0);
    for (int i = 0; i < 100; i++)
        CHECK_EQ(weft_yield(), 0);
    CHECK_EQ(weft_write(client, bad, sizeof bad - 1, weft_after_s(30)), 0);
    CHECK_EQ(weft_shutdown(client, weft_after_s(30)), 0);
    for (int i = 0; i < 100; i++)
        CHECK_EQ(weft_yield(), 0);
    CHECK_EQ(read_frames(client, &code), 7);
    CHECK_EQ(code, 1); /* PROTOCOL_ERROR */
    CHECK_EQ(weft_group_wait(g, weft_after_s(30)), 0);
    CHECK_EQ(b.ended, 0);
    CHECK_EQ(weft_group_close(&g), 0);
    weft_abort(&client);
    weft_http_app_close(&b.app);
    return 0;
}

static const struct kit_case cases[] = {
    IN_TASK(in_tasks), IN_TASK(too_long),         IN_TASK(in_threads),
    IN_TASK(ends),     IN_TASK(side_by_side),     IN_TASK(drains),
    IN_TASK(gives_up), IN_TASK(client_on_thread), IN_TASK(told_why),
};
KIT_MAIN(cases)
