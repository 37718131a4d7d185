/* SPDX-License-Identifier: MIT */
/*
 * Heads and bodies of HTTP/1 on a stream (http/h1_head.h, h1_body.h): every framing, fed whole and
 * byte by byte, with limits, time-outs and early ends; what is written is read back.
 */
#include "rt_kit.h"

#include "http/h1_body.h"
#include "http/h1_head.h"
#include "net/stream.h"

struct feed {
    struct weft_stream *to;
    const char *text;
    size_t len;
    size_t piece;
    bool hang; /* leaves the stream open */
};

static int feeder(void *arg)
{
    struct feed *f = arg;
    for (size_t at = 0; at < f->len; at += f->piece) {
        size_t n = weft__min_size(f->piece, f->len - at);
        if (weft_write(f->to, f->text + at, n, weft_after_s(20)) < 0)
            return 0; /* the reader has seen enough */
        if (weft_yield() < 0)
            return 0;
    }
    return f->hang ? 0 : weft_shutdown(f->to, WEFT_NEVER);
}

struct seen {
    ssize_t head;
    int result; /* of the body */
    char body[256];
    size_t len;
    char trailer[64];
    size_t left; /* bytes behind the message */
};

static void read_message(struct weft_stream *s, bool request, uint64_t max, size_t step,
                         struct seen *seen)
{
    struct weft__http1_field fields[16], trailers[4];
    struct weft__http1_head h = {.fields = fields, .fields_cap = 16};
    struct weft__http1_scan scan = {0};
    struct weft__h1_body b;
    const char *data;
    *seen = (struct seen){0};
    seen->head =
        request ? weft__h1_read_request(s, &h, &scan, &data, weft_after_s(20))
                : weft__h1_read_response(s, &h, &scan, WEFT__HTTP_GET, &data, weft_after_s(20));
    if (seen->head <= 0)
        return;
    weft_consume(s, (size_t)seen->head);
    struct weft__h1_body_limits limits = {.max = max, .gap_ns = weft_s(5)};
    weft__h1_body_init(&b, s, &h, &limits, trailers, 4);
    for (;;) {
        char buf[64];
        const void *p;
        ssize_t n = step > 0 ? weft__h1_body_read(&b, buf, step, weft_after_s(20))
                             : weft__h1_body_peek(&b, &p, weft_after_s(20));
        if (n <= 0) {
            seen->result = (int)n;
            break;
        }
        if (step == 0)
            n = 1; /* takes less than it was shown */
        memcpy(seen->body + seen->len, step > 0 ? buf : p, (size_t)n);
        seen->len += (size_t)n;
        if (step == 0)
            weft__h1_body_consume(&b, 1);
    }
    if (b.trailers != NULL)
        (void)snprintf(seen->trailer, sizeof seen->trailer, "%.*s",
                       (int)b.chunked.fields[0].value.len,
                       b.trailers + b.chunked.fields[0].value.at);
    const void *rest;
    if (seen->result == 0 && weft_peek(s, &rest, weft_after_s(20)) > 0)
        seen->left = weft__in_left(s);
    weft__h1_body_fini(&b);
}

static struct seen run_case(const char *text, bool request, uint64_t max, size_t piece, size_t step)
{
    struct weft_stream *a = NULL, *b = NULL;
    struct weft_group *g = kit_group();
    struct seen seen;
    CHECK_EQ(weft_socketpair(&a, &b), 0);
    struct feed f = {.to = a, .text = text, .len = strlen(text), .piece = piece};
    kit_go(g, "feeder", feeder, &f);
    read_message(b, request, max, step, &seen);
    (void)weft_close(&b, WEFT_NEVER);
    CHECK_EQ(weft_group_close(&g), 0);
    (void)weft_close(&a, weft_after_s(1));
    return seen;
}

struct row {
    const char *text;
    bool request;
    uint64_t max;
    int result;
    const char *body;
    const char *trailer;
    bool more; /* something stands behind the message */
};

#define POST "POST / HTTP/1.1\r\nHost: a\r\n"
static const struct row rows[] = {
    {"GET / HTTP/1.1\r\nHost: a\r\n\r\nnext", true, 100, 0, "", "", true},
    {POST "Content-Length: 5\r\n\r\nhellonext", true, 100, 0, "hello", "", true},
    {POST "Content-Length: 5\r\n\r\nhel", true, 100, WEFT_EEOF, "hel", "", false},
    {POST "Content-Length: 5\r\n\r\nhello", true, 4, -EMSGSIZE, "", "", false},
    {POST "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;x=y\r\n world\r\n0\r\n\r\nnext", true,
     100, 0, "hello world", "", true},
    {POST "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: abc\r\n\r\n", true, 100, 0,
     "hello", "abc", false},
    {POST "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n", true, 100, WEFT_EEOF, "hello",
     "", false},
    {POST "Transfer-Encoding: chunked\r\n\r\n5\r\nhelloX", true, 100, WEFT_EPROTOCOL, "hello", "",
     false},
    {"HTTP/1.1 200 OK\r\n\r\nuntil the end", false, 100, 0, "until the end", "", false},
};

static int framings(void *arg)
{
    static const size_t pieces[] = {1, 7, 10000}, steps[] = {0, 1, 3, 64};
    (void)arg;
    for (size_t i = 0; i < WEFT__ARRAY_LEN(rows); i++)
        for (size_t p = 0; p < WEFT__ARRAY_LEN(pieces); p++)
            for (size_t k = 0; k < WEFT__ARRAY_LEN(steps); k++) {
                const struct row *r = &rows[i];
                struct seen s = run_case(r->text, r->request, r->max, pieces[p], steps[k]);
                CHECK(s.head > 0);
                CHECK_EQ(s.result, r->result);
                CHECK_EQ(s.len, strlen(r->body));
                CHECK(memcmp(s.body, r->body, s.len) == 0);
                CHECK(strcmp(s.trailer, r->trailer) == 0);
                CHECK_EQ(s.left > 0, r->more);
            }
    return 0;
}

static int heads(void *arg)
{
    (void)arg;
    CHECK_EQ(run_case("", true, 1, 1, 1).head, 0);
    CHECK_EQ(run_case("GET / HT", true, 1, 1, 1).head, WEFT_EEOF);
    CHECK_EQ(run_case("GET /\n\n", true, 1, 1, 1).head, WEFT_EPROTOCOL);
    char *big = malloc(80001);
    CHECK(big != NULL);
    memset(big, 'a', 80000);
    memcpy(big, "GET / HTTP/1.1\r\nX: ", 19);
    big[80000] = '\0';
    CHECK_EQ(run_case(big, true, 1, 5000, 1).head, WEFT_ETOOLONG);
    free(big);
    return 0;
}

/* A body that comes too slowly is an error that stays; a caller's own time-out is not. */
static int too_slow(void *arg)
{
    struct weft_stream *a = NULL, *b = NULL;
    struct weft__http1_field fields[4];
    struct weft__http1_head h = {.fields = fields, .fields_cap = 4};
    struct weft__http1_scan scan = {0};
    struct weft__h1_body body;
    static const char text[] = POST "Content-Length: 9\r\n\r\nabc";
    const char *data;
    char buf[16];
    (void)arg;
    CHECK_EQ(weft_socketpair(&a, &b), 0);
    CHECK_EQ(weft_write(a, text, strlen(text), WEFT_NEVER), 0);
    ssize_t n = weft__h1_read_request(b, &h, &scan, &data, WEFT_NEVER);
    CHECK(n > 0);
    weft_consume(b, (size_t)n);
    struct weft__h1_body_limits limits = {.max = 9, .gap_ns = weft_ms(60)};
    weft__h1_body_init(&body, b, &h, &limits, NULL, 0);
    CHECK_EQ(weft__h1_body_read(&body, buf, sizeof buf, WEFT_NEVER), 3);
    CHECK_EQ(weft__h1_body_read(&body, buf, sizeof buf, WEFT_NOW), -ETIMEDOUT);
    CHECK_EQ(weft_write(a, "de", 2, WEFT_NEVER), 0);
    CHECK_EQ(weft__h1_body_read(&body, buf, sizeof buf, WEFT_NEVER), 2);
    CHECK_EQ(weft__h1_body_read(&body, buf, sizeof buf, WEFT_NEVER), -ETIMEDOUT);
    CHECK_EQ(weft_write(a, "fghi", 4, WEFT_NEVER), 0);
    CHECK_EQ(weft__h1_body_read(&body, buf, sizeof buf, WEFT_NEVER), -ETIMEDOUT);
    /* A rate: three bytes in the first second of waiting, and so on. */
    weft__h1_body_init(
        &body, b, &h,
        &(struct weft__h1_body_limits){.max = 9, .min_rate = 1000, .grace_ns = weft_ms(50)}, NULL,
        0);
    CHECK_EQ(weft__h1_body_read(&body, buf, sizeof buf, WEFT_NEVER), 4);
    CHECK_EQ(weft__h1_body_read(&body, buf, sizeof buf, WEFT_NEVER), -ETIMEDOUT);
    (void)weft_close(&a, WEFT_NEVER);
    (void)weft_close(&b, WEFT_NEVER);
    return 0;
}

static int out_and_in(void *arg)
{
    struct weft_stream *a = NULL, *b = NULL;
    struct weft__h1_out o;
    struct seen seen;
    static const char head[] = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    static const char sized[] = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n";
    (void)arg;
    CHECK_EQ(weft_socketpair(&a, &b), 0);
    weft__h1_out_init(&o, a, WEFT__HTTP1_CHUNKED, 0);
    CHECK_EQ(weft__h1_out_begin(&o, head, strlen(head), "one ", 4, WEFT_NEVER), 0);
    CHECK_EQ(weft__h1_out_write(&o, "two", 3, WEFT_NEVER), 0);
    CHECK_EQ(weft__h1_out_write(&o, "", 0, WEFT_NEVER), 0); /* no last chunk by mistake */
    CHECK_EQ(weft__h1_out_end(&o, "X-Sum: 7\r\n\r\n", 12, WEFT_NEVER), 0);
    CHECK_EQ(weft__h1_out_write(&o, "x", 1, WEFT_NEVER), WEFT_ECLOSED);
    weft__h1_out_init(&o, a, WEFT__HTTP1_LENGTH, 4);
    CHECK_EQ(weft__h1_out_begin(&o, sized, strlen(sized), "four", 4, WEFT_NEVER), 0);
    CHECK_EQ(weft__h1_out_write(&o, "5", 1, WEFT_NEVER), -EMSGSIZE);
    CHECK_EQ(weft__h1_out_end(&o, NULL, 0, WEFT_NEVER), 0);
    weft__h1_out_init(&o, a, WEFT__HTTP1_LENGTH, 4);
    CHECK_EQ(weft__h1_out_begin(&o, sized, strlen(sized), "fou", 3, WEFT_NEVER), 0);
    CHECK_EQ(weft__h1_out_end(&o, NULL, 0, WEFT_NEVER), -EMSGSIZE);
    CHECK_EQ(weft_shutdown(a, WEFT_NEVER), 0);
    read_message(b, false, 100, 64, &seen);
    CHECK(seen.len == 7 && memcmp(seen.body, "one two", 7) == 0);
    CHECK(strcmp(seen.trailer, "7") == 0);
    read_message(b, false, 100, 64, &seen);
    CHECK(seen.len == 4 && memcmp(seen.body, "four", 4) == 0);
    read_message(b, false, 100, 64, &seen);
    CHECK_EQ(seen.result, WEFT_EEOF);
    (void)weft_close(&a, WEFT_NEVER);
    (void)weft_close(&b, WEFT_NEVER);
    return 0;
}

static const struct kit_case cases[] = {
    IN_TASK(framings),
    IN_TASK(heads),
    IN_TASK(too_slow),
    IN_TASK(out_and_in),
};
KIT_MAIN(cases)
