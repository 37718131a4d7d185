/* SPDX-License-Identifier: MIT */
/*
 * HTTP/2 connections, both ends in one process over a pipe in memory: requests and replies at the
 * same time, windows, resets, trailers, floods.
 */
#include <weft/stream.h>

#include "http/h2.h"
#include "rt_kit.h"

struct ends {
    struct weft_stream *a, *b;
    struct weft__h2 *client, *server;
    struct weft_group *group;
    struct weft__list ready;
    size_t requests, answered;
    size_t body_len; /* of each reply */
    bool slow;       /* the server answers nothing */
    size_t interims; /* 1xx before each reply */
    bool keeps;      /* the server's streams are the test's */
    struct weft__h2_stream *kept;
};

struct request {
    struct weft__node link;
    struct ends *e;
    struct weft__h2_stream *st;
};

static nghttp2_nv nv(const char *name, const char *value)
{
    return (nghttp2_nv){.name = (uint8_t *)(uintptr_t)name,
                        .namelen = strlen(name),
                        .value = (uint8_t *)(uintptr_t)value,
                        .valuelen = strlen(value)};
}

static void take(void *arg, struct weft__h2_stream *st)
{
    struct ends *e = arg;
    struct request *q = calloc(1, sizeof *q);
    CHECK(q != NULL);
    q->e = e;
    q->st = st;
    e->requests++;
    weft__list_push_back(&e->ready, &q->link);
}

/* Reads the body, answers with its length in a trailer and body_len bytes. */
static int answer(void *arg)
{
    struct request *q = arg;
    struct ends *e = q->e;
    const void *data;
    size_t got = 0;
    ssize_t n;
    char text[24];
    while ((n = weft__h2_peek(q->st, &data, weft_after_s(30))) > 0) {
        got += (size_t)n;
        weft__h2_consume(q->st, (size_t)n);
    }
    int err = (int)n;
    const nghttp2_nv hint = nv(":status", "103");
    for (size_t i = 0; i < e->interims && err == 0; i++)
        err = weft__h2_interim(q->st, &hint, 1);
    (void)snprintf(text, sizeof text, "%zu", got);
    const nghttp2_nv head[] = {nv(":status", "200"), nv("x-got", text)};
    if (err == 0)
        err = weft__h2_respond(q->st, head, 2, true);
    char *body = calloc(1, e->body_len + 1);
    CHECK(body != NULL);
    memset(body, 'b', e->body_len);
    if (err == 0)
        err = weft__h2_write(q->st, body, e->body_len, false, weft_after_s(30));
    const nghttp2_nv sum = nv("x-sum", text);
    if (err == 0)
        err = weft__h2_set_trailers(q->st, &sum, 1);
    if (err == 0)
        err = weft__h2_write(q->st, "", 0, true, weft_after_s(30));
    e->answered += err == 0;
    weft__h2_let_go(q->st);
    (void)weft__h2_flush(e->server, weft_after_s(1));
    free(body);
    free(q);
    return 0;
}

static bool has_ready(void *arg)
{
    return !weft__list_empty(&((struct ends *)arg)->ready);
}

static int serve(void *arg)
{
    struct ends *e = arg;
    int err;
    while ((err = weft__h2_wait(e->server, NULL, has_ready, e, true, WEFT_NEVER)) == 0) {
        struct weft__node *n;
        while ((n = weft__list_pop_front(&e->ready)) != NULL) {
            struct request *q = WEFT__CONTAINER_OF(n, struct request, link);
            if (e->keeps) {
                e->kept = q->st;
                free(q);
            } else if (e->slow) {
                weft__h2_let_go(q->st);
                free(q);
            } else {
                kit_go(e->group, "answers", answer, q);
            }
        }
    }
    weft__h2_break(e->server, err);
    return 0;
}

/* Takes the streams. */
static void open_on(struct ends *e, struct weft_stream *a, struct weft_stream *b,
                    const struct weft__h2_options *o)
{
    struct weft__h2_options so = o != NULL ? *o : (struct weft__h2_options){0};
    struct weft__h2_options co = so;
    *e = (struct ends){.group = kit_group(), .body_len = 100, .a = a, .b = b};
    weft__list_init(&e->ready);
    so.request = take;
    so.arg = e;
    CHECK_EQ(weft__h2_open(&e->client, e->a, false, &co), 0);
    CHECK_EQ(weft__h2_open(&e->server, e->b, true, &so), 0);
    kit_go(e->group, "serves", serve, e);
}

static void open_ends(struct ends *e, const struct weft__h2_options *o)
{
    struct weft_stream *a = NULL, *b = NULL;
    CHECK_EQ(weft_pipe_open(&a, &b, 0), 0);
    open_on(e, a, b, o);
}

static void close_ends(struct ends *e)
{
    weft__h2_close(&e->client);
    weft_abort(&e->a);
    (void)weft_group_close(&e->group);
    weft__h2_close(&e->server);
    weft_abort(&e->b);
}

static struct weft__h2_stream *ask(struct ends *e, bool body)
{
    const nghttp2_nv head[] = {nv(":method", body ? "POST" : "GET"), nv(":scheme", "http"),
                               nv(":authority", "a"), nv(":path", "/")};
    struct weft__h2_stream *st = NULL;
    CHECK_EQ(weft__h2_request(e->client, head, 4, body, &st), 0);
    return st;
}

static const char *field(const struct weft__h2_fields *f, const char *name, char *buf, size_t cap)
{
    for (uint32_t i = 0; i < f->n; i++)
        if (weft__slice_is(weft__http_slice(f->text, f->at[i].name), name)) {
            struct weft__slice v = weft__http_slice(f->text, f->at[i].value);
            (void)snprintf(buf, cap, "%.*s", (int)v.len, v.at);
            return buf;
        }
    return "";
}

static size_t drain(struct weft__h2_stream *st)
{
    const void *data;
    size_t got = 0;
    ssize_t n;
    while ((n = weft__h2_peek(st, &data, weft_after_s(30))) > 0) {
        got += (size_t)n;
        weft__h2_consume(st, (size_t)n);
    }
    if (n < 0)
        print_error("%s\n", weft_error_detail());
    CHECK_EQ(n, 0);
    return got;
}

static void exchange(struct ends *e, size_t body_len)
{
    char buf[32], want[32];
    struct weft__h2_stream *st = ask(e, body_len > 0);
    char *body = calloc(1, body_len + 1);
    CHECK(body != NULL);
    if (body_len > 0)
        CHECK_EQ(weft__h2_write(st, body, body_len, true, weft_after_s(30)), 0);
    CHECK_EQ(weft__h2_head(st, weft_after_s(30)), 0);
    (void)snprintf(want, sizeof want, "%zu", body_len);
    CHECK(strcmp(field(&st->head, ":status", buf, sizeof buf), "200") == 0);
    CHECK(strcmp(field(&st->head, "x-got", buf, sizeof buf), want) == 0);
    CHECK_EQ(drain(st), e->body_len);
    CHECK(strcmp(field(&st->trailers, "x-sum", buf, sizeof buf), want) == 0);
    weft__h2_let_go(st);
    free(body);
}

static int exchanges(void *arg)
{
    struct ends e;
    (void)arg;
    open_ends(&e, NULL);
    exchange(&e, 0);
    exchange(&e, 10);
    e.body_len = 0;
    exchange(&e, 1);
    CHECK_EQ(e.answered, 3);
    close_ends(&e);
    return 0;
}

/* Bodies larger than all windows, both ways. */
static int large(void *arg)
{
    struct ends e;
    (void)arg;
    open_ends(&e, NULL);
    e.body_len = 5u << 20;
    exchange(&e, 3u << 20);
    close_ends(&e);
    return 0;
}

static int one_exchange(void *arg)
{
    exchange(arg, 50000);
    return 0;
}

/* Many flows share the connection; one of them reads for all. */
static int many(void *arg)
{
    struct ends e;
    (void)arg;
    open_ends(&e, NULL);
    e.body_len = 70000;
    struct weft_group *g = kit_group();
    for (int i = 0; i < 60; i++)
        kit_go(g, "asks", one_exchange, &e);
    CHECK_EQ(weft_group_wait(g, weft_after_s(30)), 0);
    CHECK_EQ(weft_group_close(&g), 0);
    CHECK_EQ(e.answered, 60);
    close_ends(&e);
    return 0;
}

static int ask_and_time_out(void *arg)
{
    struct ends *e = arg;
    struct weft__h2_stream *st = ask(e, false);
    int err = weft__h2_head(st, weft_after_ms(10));
    CHECK(err == 0 || err == -ETIMEDOUT);
    weft__h2_let_go(st);
    return 0;
}

/* The flow that reads for the others is cut off by its deadline: another goes on reading. */
static int readers_change(void *arg)
{
    struct ends e;
    (void)arg;
    open_ends(&e, NULL);
    e.body_len = 3u << 20; /* takes a while */
    struct weft_group *g = kit_group();
    for (int i = 0; i < 10; i++) {
        kit_go(g, "gives up", ask_and_time_out, &e);
        kit_go(g, "goes on", one_exchange, &e);
    }
    CHECK_EQ(weft_group_wait(g, weft_after_s(60)), 0);
    CHECK_EQ(weft_group_close(&g), 0);
    close_ends(&e);
    return 0;
}

/* A reply that nobody reads takes no more than its window. */
static int unread(void *arg)
{
    struct ends e;
    (void)arg;
    open_ends(&e, NULL);
    e.body_len = 4u << 20;
    struct weft__h2_stream *st = ask(&e, false);
    CHECK_EQ(weft__h2_head(st, weft_after_s(30)), 0);
    e.body_len = 10;
    exchange(&e, 0); /* others go on beside it */
    CHECK(weft__buffer_len(&st->in) <= 256u << 10);
    CHECK(weft__buffer_len(&st->in) > 0);
    weft__h2_let_go(st); /* resets it */
    exchange(&e, 0);
    close_ends(&e);
    return 0;
}

static int reset_by_server(void *arg)
{
    struct ends e;
    (void)arg;
    open_ends(&e, NULL);
    e.slow = true;
    struct weft__h2_stream *st = ask(&e, false);
    CHECK_EQ(weft__h2_head(st, weft_after_s(30)), WEFT_EEOF);
    CHECK(st->closed);
    CHECK_EQ(weft__h2_write(st, "x", 1, true, weft_after_s(1)), -EPIPE);
    weft__h2_let_go(st);
    e.slow = false;
    exchange(&e, 0);
    close_ends(&e);
    return 0;
}

/* Hints are passed over; one who gives nothing else is left. */
static int many_interims(void *arg)
{
    struct ends e;
    (void)arg;
    open_ends(&e, NULL);
    e.interims = WEFT__H2_INTERIM_MAX;
    exchange(&e, 0);
    e.interims++;
    struct weft__h2_stream *st = ask(&e, false);
    CHECK_EQ(weft__h2_head(st, weft_after_s(30)), WEFT_EPROTOCOL);
    weft__h2_let_go(st);
    e.interims = 0;
    exchange(&e, 0);
    close_ends(&e);
    return 0;
}

/* The peer hangs up: whoever waits is told. */
static int peer_is_gone(void *arg)
{
    struct ends e;
    (void)arg;
    open_ends(&e, NULL);
    e.slow = true;
    weft_group_cancel(e.group);
    CHECK_EQ(weft_group_wait(e.group, weft_after_s(30)), 0);
    struct weft__h2_stream *st = ask(&e, false);
    weft_abort(&e.b);
    int err = weft__h2_head(st, weft_after_s(30));
    CHECK(err == WEFT_EEOF || err == -ECONNRESET || err == -EPIPE);
    CHECK(!weft__h2_usable(e.client));
    weft__h2_let_go(st);
    close_ends(&e);
    return 0;
}

static int goaway(void *arg)
{
    struct ends e;
    (void)arg;
    open_ends(&e, NULL);
    exchange(&e, 0);
    CHECK_EQ(weft__h2_goaway(e.server, -1, NGHTTP2_NO_ERROR), 0);
    CHECK_EQ(weft__h2_flush(e.server, weft_after_s(1)), 0);
    struct weft__h2_stream *st = ask(&e, false);
    CHECK_EQ(weft__h2_head(st, weft_after_s(30)), WEFT_EEOF);
    CHECK_EQ(st->code, NGHTTP2_REFUSED_STREAM);
    CHECK(!weft__h2_usable(e.client));
    weft__h2_let_go(st);
    close_ends(&e);
    return 0;
}

/* What is no HTTP/2 ends the connection. */
static int garbage(void *arg)
{
    struct ends e;
    char text[300];
    (void)arg;
    open_ends(&e, NULL);
    memset(text, 'x', sizeof text);
    CHECK_EQ(weft_write(e.a, text, sizeof text, weft_after_s(1)), 0);
    CHECK_EQ(weft_group_wait(e.group, weft_after_s(30)), 0);
    CHECK_EQ(e.server->error, WEFT_EPROTOCOL);
    close_ends(&e);
    return 0;
}

static void put_u24(uint8_t *at, uint32_t n)
{
    at[0] = (uint8_t)(n >> 16);
    at[1] = (uint8_t)(n >> 8);
    at[2] = (uint8_t)n;
}

/* Resets without end (CVE-2023-44487): the connection is ended after a bounded number. */
static int rapid_reset(void *arg)
{
    struct ends e;
    (void)arg;
    open_ends(&e, NULL);
    size_t n = 0;
    int err = 0;
    for (; n < 20000 && err == 0; n++) {
        struct weft__h2_stream *st = ask(&e, true);
        err = weft__h2_flush(e.client, weft_after_s(5));
        weft__h2_let_go(st); /* HEADERS, then RST_STREAM */
        if (err == 0)
            err = weft__h2_flush(e.client, weft_after_s(5));
        if (n % 50 == 0)
            CHECK_EQ(weft_yield(), 0);
        if (e.client->error == 0 && !weft__h2_usable(e.client))
            break;
        if (e.server->error < 0)
            break;
    }
    CHECK(n < 2000);
    CHECK_EQ(weft_group_wait(e.group, weft_after_s(30)), 0);
    CHECK(e.server->error < 0);
    close_ends(&e);
    return 0;
}

/* A flood of pings, whose answers nobody reads, holds the peer up, and memory is bounded. */
static int ping_flood(void *arg)
{
    struct ends e;
    uint8_t frame[17] = {0};
    (void)arg;
    open_ends(&e, NULL);
    exchange(&e, 0);
    put_u24(frame, 8);
    frame[3] = NGHTTP2_PING;
    int err = 0;
    for (int i = 0; i < 100000 && err == 0; i++)
        err = weft_write(e.a, frame, sizeof frame, weft_after_ms(200));
    CHECK(err < 0); /* the server reads no more of them */
    CHECK(weft__buffer_len(&e.server->out) <= 128u << 10);
    close_ends(&e);
    return 0;
}

/* Who is writing when the connection comes to its end sends what it has begun and no more: the
 * streams of the others, whose bodies would be next, are gone. */
static int nothing_behind_the_end(void *arg)
{
    struct ends e;
    char buf[4096];
    size_t got = 0;
    ssize_t n;
    (void)arg;
    open_ends(&e, NULL);
    e.body_len = 200000;
    struct weft__h2_stream *one = ask(&e, false), *other = ask(&e, false);
    CHECK_EQ(weft__h2_flush(e.client, weft_after_s(30)), 0);
    while (e.requests < 2 || !e.server->flushing)
        CHECK_EQ(weft_yield(), 0);
    kit_settle();
    weft__h2_break(e.server, WEFT_ECLOSED);
    kit_settle();
    while ((n = weft_read(e.a, buf, sizeof buf, WEFT_NOW)) > 0) {
        got += (size_t)n;
        kit_settle();
    }
    CHECK_EQ(n, -ETIMEDOUT);
    CHECK(got <= (64u << 10) + 8000); /* the pipe was full, and a piece waited before it */
    CHECK(!e.server->flushing);
    weft__h2_break(e.client, WEFT_ECLOSED);
    CHECK_EQ(weft__h2_write(one, "none", 4, false, weft_after_s(30)), WEFT_ECLOSED);
    CHECK_EQ(one->unsent, 4);
    weft__h2_let_go(one);
    weft__h2_let_go(other);
    close_ends(&e);
    return 0;
}

/* What the stream below has no room for goes with the next that is sent: nothing is lost of a piece
 * that has been taken, and nothing has been taken of one that was refused. */
static int taken_is_sent(void *arg)
{
    static const char piece[1000];
    const struct weft__h2_options wide = {.window = 64u << 20, .session_window = 64u << 20};
    struct weft_stream *a = NULL, *b = NULL;
    struct ends e;
    size_t sent = 0;
    int err = 0;
    (void)arg;
    CHECK_EQ(weft_socketpair(&a, &b), 0);
    open_on(&e, a, b, &wide);
    e.keeps = true;
    struct weft__h2_stream *st = ask(&e, false);
    CHECK_EQ(weft__h2_flush(e.client, weft_after_s(30)), 0);
    while (e.kept == NULL)
        CHECK_EQ(weft_yield(), 0);
    const nghttp2_nv head = nv(":status", "200");
    CHECK_EQ(weft__h2_respond(e.kept, &head, 1, true), 0);
    for (; err == 0; sent += err == 0 ? sizeof piece : 0)
        err = weft__h2_write(e.kept, piece, sizeof piece, false, WEFT_NOW);
    CHECK_EQ(err, -ETIMEDOUT);
    CHECK_EQ(e.kept->unsent, sizeof piece);
    CHECK(sent > 64u << 10); /* the socket is full, and its stream's queue, and there is more */
    (void)weft__h2_write(e.kept, "", 0, true, WEFT_NOW);
    CHECK_EQ(weft__h2_head(st, weft_after_s(30)), 0);
    CHECK_EQ(drain(st), sent);
    weft__h2_let_go(st);
    weft__h2_let_go(e.kept);
    close_ends(&e);
    return 0;
}

static bool never(void *arg)
{
    (void)arg;
    return false;
}

/* Who always finds something to read is told of his deadline, too. */
static int late_among_noise(void *arg)
{
    static const char preface[] = WEFT__HTTP2_PREFACE "\0\0\0\4\0\0\0\0\0";
    struct weft__h2_options o = {.request = take};
    struct weft_stream *a = NULL, *b = NULL;
    struct weft__h2 *server = NULL;
    uint8_t frame[14] = {0};
    uint64_t sent = sizeof preface - 1;
    (void)arg;
    CHECK_EQ(weft_pipe_open(&a, &b, 0), 0);
    CHECK_EQ(weft__h2_open(&server, b, true, &o), 0);
    CHECK_EQ(weft_write(a, preface, sizeof preface - 1, weft_after_s(30)), 0);
    put_u24(frame, 5);
    frame[3] = NGHTTP2_PRIORITY;
    frame[8] = 1;
    for (; sent < 60000; sent += sizeof frame)
        CHECK_EQ(weft_write(a, frame, sizeof frame, weft_after_s(30)), 0);
    CHECK_EQ(weft__h2_wait(server, NULL, never, NULL, false, WEFT_NOW), -ETIMEDOUT);
    CHECK(server->received > 0 && server->received < sent);
    while (server->received < sent)
        CHECK_EQ(weft__h2_wait(server, NULL, never, NULL, false, WEFT_NOW), -ETIMEDOUT);
    weft__h2_close(&server);
    weft_abort(&a);
    weft_abort(&b);
    return 0;
}

static const struct kit_case cases[] = {
    IN_TASK(exchanges),        IN_TASK(large),         IN_TASK(many),
    IN_TASK(readers_change),   IN_TASK(unread),        IN_TASK(reset_by_server),
    IN_TASK(peer_is_gone),     IN_TASK(goaway),        IN_TASK(garbage),
    IN_TASK(rapid_reset),      IN_TASK(ping_flood),    IN_TASK(nothing_behind_the_end),
    IN_TASK(late_among_noise), IN_TASK(many_interims), IN_TASK(taken_is_sent),
};
KIT_MAIN(cases)
