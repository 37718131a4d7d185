/* SPDX-License-Identifier: MIT */
/*
 * The HTTP client and servers that answer before they have the whole body, and read no more of it:
 * they are heard while the body is sent, from tasks and plain threads, by HTTP/1.1 and HTTP/2.
 */
#include "http2_frame_kit.h"
#include "http_client_kit.h"

#include <weft/offload.h>
#include <weft/server.h>
#include <weft/tls.h>

#define MUCH ((size_t)16 << 20) /* more than two sockets hold */

/* What one server does with each of its connections. */
struct early {
    struct weft_group *group;
    char url[WEFT_ENDPOINT_MAX + 8];
    const char *const *replies; /* one after the other, NULL at the end; each when it is due */
    bool reads;                 /* the body, before the last reply */
    bool hangs_up;              /* behind the last reply, else it stays until its client has gone */
    size_t connections, got;    /* bytes of bodies */
    size_t produced;
    struct weft_event done;
    const struct weft_http_call *call; /* of the client on a thread */
    int status;
    char *pem; /* secured */
    struct weft_tls *trusting;
};

static void read_head(struct weft_stream *s)
{
    char line[4096];
    ssize_t n;
    while ((n = weft_read_until(s, line, sizeof line, '\n', soon())) > 2)
        continue;
    CHECK_EQ(n, 2);
}

/* By Content-Length of MUCH. */
static void read_body(struct early *e, struct weft_stream *s)
{
    const void *data;
    for (size_t left = MUCH; left > 0;) {
        ssize_t n = weft_peek(s, &data, soon());
        CHECK(n > 0);
        weft_consume(s, (size_t)n);
        e->got += (size_t)n;
        left -= (size_t)n;
    }
}

static int serve_early(struct weft_stream *s, void *arg)
{
    struct early *e = arg;
    e->connections++;
    read_head(s);
    for (int i = 0; e->replies[i] != NULL; i++) {
        if (e->reads && e->replies[i + 1] == NULL)
            read_body(e, s);
        CHECK_EQ(weft_write(s, e->replies[i], strlen(e->replies[i]), soon()), 0);
        CHECK_EQ(weft_flush(s, soon()), 0);
        for (int turn = 0; turn < 20; turn++) /* the client sees it apart */
            CHECK_EQ(weft_yield(), 0);
    }
    if (!e->hangs_up)
        CHECK_EQ(weft_event_wait(&e->done, soon()), 0);
    return 0;
}

static void early_open(struct early *e, weft_handler handler)
{
    struct weft_server *server = NULL;
    char at[WEFT_ENDPOINT_MAX];
    e->group = kit_group();
    const struct weft_server_options o = {.cert = e->pem};
    CHECK_EQ(weft_server_open(&server, e->group,
                              e->pem != NULL ? "tls://127.0.0.1:0" : "tcp://127.0.0.1:0", &o,
                              handler, e, NULL),
             0);
    CHECK(weft_server_endpoint(server, at, sizeof at) > 0);
    (void)snprintf(e->url, sizeof e->url, "%s%s/", e->pem != NULL ? "https://" : "http://",
                   at + strlen("tcp://"));
}

static void early_close(struct early *e)
{
    weft_event_set(&e->done);
    (void)weft_group_close(&e->group);
}

static ssize_t produce_endless(void *arg, void *buf, size_t cap, weft_deadline d)
{
    struct early *e = arg;
    (void)d;
    memset(buf, 'p', cap);
    e->produced += cap;
    CHECK(e->produced < ((size_t)1 << 30)); /* somebody has to stop it */
    return (ssize_t)cap;
}

/* Asks once; the status, or what it came to. */
static int ask(struct early *e, struct weft_http_call call, bool http2)
{
    const struct weft_http_client_options o = {.http2_prior = http2, .tls = e->trusting};
    struct weft_http_client *c = client_of(&o);
    struct weft_http_reply *r = NULL;
    const void *data;
    size_t len;
    call.url = e->url;
    int res = weft_http_fetch(c, &call, &r, soon());
    if (res == 0) {
        res = weft_http_reply_status(r);
        if (res >= 300) {
            CHECK_EQ(weft_http_reply_body(r, &data, &len, soon()), 0);
            CHECK(len == 4 && memcmp(data, "nope", 4) == 0);
        }
    }
    weft_http_reply_close(&r);
    struct weft_http_client_stats st;
    weft_http_client_stats(c, &st);
    if (!http2 && res >= 300)
        CHECK_EQ(st.open, 0); /* what the server makes of the half request is not known */
    weft_http_client_close(&c);
    return res;
}

static int on_thread(struct weft_job *job, void *arg)
{
    struct early *e = arg;
    (void)job;
    e->status = ask(e, *e->call, false);
    return 0;
}

/* By a task, or by a plain thread. */
static int ask_as(struct early *e, struct weft_http_call call, bool thread)
{
    if (!thread)
        return ask(e, call, false);
    e->call = &call;
    CHECK_EQ(weft_offload(on_thread, e, weft_after_s(60)), 0);
    return e->status;
}

static const char *const refusal[] = {
    "HTTP/1.1 413 Too Much\r\nContent-Length: 4\r\nConnection: close\r\n\r\nnope", NULL};

static void *much(void)
{
    void *body = calloc(1, MUCH);
    CHECK(body != NULL);
    return body;
}

/* The server says no and reads nothing, and neither hangs up. */
static int refused(void *arg)
{
    void *body = much();
    (void)arg;
    for (int i = 0; i < 4; i++) {
        struct early e = {.replies = refusal, .done = WEFT_EVENT_INIT};
        early_open(&e, serve_early);
        struct weft_http_call whole = {.body = body, .body_len = MUCH},
                              endless = {.method = "PUT",
                                         .produce = produce_endless,
                                         .produce_arg = &e,
                                         .produce_len = -1};
        CHECK_EQ(ask_as(&e, i < 2 ? whole : endless, i % 2 != 0), 413);
        CHECK_EQ(e.connections, 1);
        early_close(&e);
    }
    free(body);
    return 0;
}

/* The same over TLS, where what comes is not only what the server says: tickets, too. */
static int refused_secured(void *arg)
{
    void *body = much();
    (void)arg;
    for (int i = 0; i < 2; i++) {
        struct early e = {.replies = refusal, .done = WEFT_EVENT_INIT};
        CHECK_EQ(weft_tls_self_signed(&e.pem, NULL, 0), 0);
        const struct weft_tls_options o = {.ca = e.pem, .alpn = "http/1.1"};
        CHECK_EQ(weft_tls_open(&e.trusting, &o), 0);
        early_open(&e, serve_early);
        struct weft_http_call call = {.body = body, .body_len = MUCH};
        CHECK_EQ(ask_as(&e, call, i != 0), 413);
        early_close(&e);
        weft_tls_close(&e.trusting);
        weft_tls_text_free(&e.pem);
    }
    free(body);
    return 0;
}

/* Behind interim replies, in pieces, and behind the 100 that let the body come. */
static int in_pieces(void *arg)
{
    static const char *const pieces[] = {"HTTP/1.1 100 Continue\r\n\r\n",
                                         "HTTP/1.1 102 Processing\r\nX-A: 1\r\n",
                                         "\r\nHTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 4",
                                         "13 Too Much\r\nContent-Length: 4\r\n",
                                         "\r\nnope",
                                         NULL};
    void *body = much();
    (void)arg;
    for (int i = 0; i < 4; i++) {
        struct early e = {.replies = pieces, .done = WEFT_EVENT_INIT};
        early_open(&e, serve_early);
        struct weft_http_call call = {.body = body, .body_len = MUCH, .expect_continue = i < 2};
        CHECK_EQ(ask_as(&e, call, i % 2 != 0), 413);
        early_close(&e);
    }
    free(body);
    return 0;
}

/* Who says 1xx or 2xx early gets all of the body. */
static int taken(void *arg)
{
    static const char *const kindly[] = {"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\n",
                                         "Content-Length: 2\r\n\r\nok", NULL};
    void *body = much();
    (void)arg;
    for (int i = 0; i < 2; i++) {
        struct early e = {.replies = kindly, .reads = true, .done = WEFT_EVENT_INIT};
        early_open(&e, serve_early);
        struct weft_http_call call = {.body = body, .body_len = MUCH};
        CHECK_EQ(ask_as(&e, call, i != 0), 200);
        CHECK_EQ(e.got, MUCH);
        early_close(&e);
    }
    free(body);
    return 0;
}

/* A 100 lets the body come also when others come before it, and so does a second without one. */
static int continued(void *arg)
{
    static const char *const hinted[] = {"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n",
                                         "\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 1",
                                         "00 Continue\r\n\r\n", OK("2\r\n\r\nok"), NULL},
                             *const silent[] = {"HTTP/1.1 102 Processing\r\n\r\n",
                                                OK("2\r\n\r\nok"), NULL};
    void *body = much();
    (void)arg;
    for (int i = 0; i < 3; i++) {
        struct early e = {
            .replies = i < 2 ? hinted : silent, .reads = true, .done = WEFT_EVENT_INIT};
        early_open(&e, serve_early);
        struct weft_http_call call = {.body = body, .body_len = MUCH, .expect_continue = true};
        CHECK_EQ(ask_as(&e, call, i == 1), 200);
        CHECK_EQ(e.got, MUCH);
        early_close(&e);
    }
    free(body);
    return 0;
}

/* Who hangs up without a word is noticed at once, and so is nonsense. */
static int lost(void *arg)
{
    static const char *const nothing[] = {NULL}, *const nonsense[] = {"what is this? HTTP?\r\n\r\n",
                                                                      NULL};
    void *body = much();
    (void)arg;
    for (int i = 0; i < 2; i++) {
        struct early e = {.replies = nothing, .hangs_up = true, .done = WEFT_EVENT_INIT};
        early_open(&e, serve_early);
        struct weft_http_call call = {.body = body, .body_len = MUCH};
        int err = ask_as(&e, call, i != 0);
        CHECK(err == -EPIPE || err == -ECONNRESET || err == WEFT_EEOF);
        CHECK_EQ(e.connections, 1);
        e.replies = nonsense;
        e.hangs_up = false;
        CHECK_EQ(ask_as(&e, call, i != 0), WEFT_EPROTOCOL);
        early_close(&e);
    }
    free(body);
    return 0;
}

static int ask_canceled(void *arg)
{
    struct early *e = arg;
    struct weft_http_call call = {.produce = produce_endless, .produce_arg = e, .produce_len = -1};
    CHECK_EQ(ask(e, call, false), -ECANCELED);
    return 0;
}

static int ask_late(void *arg)
{
    struct early *e = arg;
    struct weft_http_client *c = client_of(NULL);
    struct weft_http_reply *r = NULL;
    const struct weft_http_call call = {
        .url = e->url, .produce = produce_endless, .produce_arg = e, .produce_len = -1};
    CHECK_EQ(weft_http_fetch(c, &call, &r, weft_after_ms(50)), -ETIMEDOUT);
    weft_http_client_close(&c);
    return 0;
}

/* A server that says nothing, either: the deadline and a cancel end it, and nobody listens on. */
static int given_up(void *arg)
{
    static const char *const nothing[] = {NULL};
    struct early e = {.replies = nothing, .done = WEFT_EVENT_INIT};
    (void)arg;
    early_open(&e, serve_early);
    CHECK_EQ(ask_late(&e), 0);
    struct weft_group *g = kit_group();
    size_t before = e.produced;
    kit_go(g, "is canceled", ask_canceled, &e);
    while (e.produced == before)
        CHECK_EQ(weft_yield(), 0);
    for (int i = 0; i < 50; i++)
        CHECK_EQ(weft_yield(), 0);
    weft_group_cancel(g);
    CHECK(weft_group_close(&g) <= 0);
    early_close(&e);
    return 0;
}

/* --- HTTP/2 ----------------------------------------------------------------------------------- */

/* Its head has come (the first frame of type HEADERS): 413 and "nope", the stream ended on our
 * side; not another byte is read, and no window opens. */
static int refuse_h2(struct weft_stream *s, void *arg)
{
    static const char reply[] = "\0\0\0\4\0\0\0\0\0" /* settings */
                                "\0\0\5\1\4\0\0\0\1\x08\x03"
                                "413" /* :status, RFC 7541 section 6.2.2 */
                                "\0\0\4\0\1\0\0\0\1nope";
    struct early *e = arg;
    struct h2_frame f;
    char preface[24];
    e->connections++;
    CHECK_EQ(weft_read_full(s, preface, sizeof preface, soon()), 0);
    do
        CHECK_EQ(read_frame(s, &f, soon()), 0);
    while (f.type != HEADERS);
    CHECK_EQ(weft_write(s, reply, sizeof reply - 1, soon()), 0);
    CHECK_EQ(weft_flush(s, soon()), 0);
    CHECK_EQ(weft_event_wait(&e->done, soon()), 0);
    return 0;
}

/* The next frame of a body that does not end. */
static void read_more(struct weft_stream *s, struct h2_frame *f)
{
    CHECK_EQ(read_frame(s, f, soon()), 0);
    CHECK(f->type != DATA || (f->flags & END_STREAM) == 0);
}

/* Says 413 when a window's worth of the body has come, and opens the window wide before the rest of
 * the reply: what comes then must not look like all of the body. The client resets the stream when
 * it has the reply (RFC 9113 section 8.1). */
static int refuse_h2_opening(struct weft_stream *s, void *arg)
{
    static const char settings[] = "\0\0\0\4\0\0\0\0\0",
                      reply[] = "\0\0\5\1\4\0\0\0\1\x08\x03"
                                "413"
                                "\0\0\2\0\0\0\0\0\1no"
                                "\0\0\4\x8\0\0\0\0\0\x20\0\0\0"
                                "\0\0\4\x8\0\0\0\0\1\x20\0\0\0"
                                "\0\0\x8\6\0\0\0\0\0" /* a ping */
                                "12345678",
                      rest[] = "\0\0\2\0\1\0\0\0\1pe";
    struct early *e = arg;
    struct h2_frame f;
    char preface[24];
    CHECK_EQ(weft_read_full(s, preface, sizeof preface, soon()), 0);
    CHECK_EQ(weft_write(s, settings, sizeof settings - 1, soon()), 0);
    while (e->got < 65535) {
        read_more(s, &f);
        e->got += f.type == DATA ? f.len : 0;
    }
    for (int i = 0; i < 2; i++) { /* two answers, for the first overtakes what is ready */
        CHECK_EQ(weft_write(s, i == 0 ? reply : reply + 51, i == 0 ? sizeof reply - 1 : 17, soon()),
                 0);
        do
            read_more(s, &f);
        while (f.type != PING);
    }
    CHECK_EQ(weft_write(s, rest, sizeof rest - 1, soon()), 0);
    do
        read_more(s, &f);
    while (f.type != RST_STREAM);
    CHECK_EQ(number_of(f.body), 8); /* CANCEL */
    weft_event_set(&e->done);
    return 0;
}

static int refused_in_between(void *arg)
{
    void *body = much();
    (void)arg;
    struct early e = {.done = WEFT_EVENT_INIT};
    early_open(&e, refuse_h2_opening);
    struct weft_http_call call = {.body = body, .body_len = MUCH};
    CHECK_EQ(ask(&e, call, true), 413);
    CHECK_EQ(weft_event_wait(&e.done, soon()), 0);
    early_close(&e);
    free(body);
    return 0;
}

static int on_thread_h2(struct weft_job *job, void *arg)
{
    struct early *e = arg;
    (void)job;
    e->status = ask(e, *e->call, true);
    return 0;
}

static int refused_h2(void *arg)
{
    void *body = much();
    (void)arg;
    for (int i = 0; i < 4; i++) {
        struct early e = {.done = WEFT_EVENT_INIT};
        early_open(&e, refuse_h2);
        struct weft_http_call call = {.body = body, .body_len = MUCH},
                              endless = {.method = "PUT",
                                         .produce = produce_endless,
                                         .produce_arg = &e,
                                         .produce_len = -1};
        e.call = i < 2 ? &call : &endless;
        if (i % 2 != 0)
            CHECK_EQ(weft_offload(on_thread_h2, &e, weft_after_s(60)), 0);
        else
            e.status = ask(&e, *e.call, true);
        CHECK_EQ(e.status, 413);
        CHECK_EQ(e.connections, 1);
        early_close(&e);
    }
    free(body);
    return 0;
}

static const struct kit_case cases[] = {
    IN_TASK(refused),
    IN_TASK(refused_secured),
    IN_TASK(in_pieces),
    IN_TASK(taken),
    IN_TASK(lost),
    IN_TASK(given_up),
    IN_TASK(refused_h2),
    IN_TASK(continued),
    IN_TASK(refused_in_between),
};
KIT_MAIN(cases)
