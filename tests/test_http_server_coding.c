/* SPDX-License-Identifier: MIT */
/*
 * Bodies that the HTTP server compresses and that are large, or for which there is no memory: what
 * is sent is always what the response says it is.
 */
#include "http_kit.h"

#include <brotli/decode.h>
#include <zlib.h>

#include "base/alloc.h"

#define CLOSE "Host: a\r\nConnection: close\r\n\r\n"
#define BIG ((size_t)4 << 20)

static char text[BIG], answer[BIG + 100000], plain[BIG + 1];
static uint64_t fail_at; /* of the allocations for an answer */
static bool cut_off;     /* it failed when it had begun */

static void make_text(void)
{
    uint32_t x = 1;
    for (size_t i = 0; i < sizeof text; i++) {
        x = x * 1664525u + 1013904223u;
        text[i] = (char)('a' + (x >> 24) % 16);
    }
}

static int send_len(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    (void)arg;
    size_t len = strtoul(weft_http_param(q, "len"), NULL, 10);
    weft__alloc_fail_at(fail_at);
    int err = weft_http_send(r, 200, "application/json", text, len);
    weft__alloc_fail_at(0);
    cut_off = err < 0 && weft_http_set(r, "X-After", "1") == -EALREADY;
    return err;
}

/* Says everything once more where that failed, as an application's own error page might. */
static int send_again(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    int err = send_len(q, r, arg);
    return err == -ENOMEM ? weft_http_send(r, 503, "text/plain", text, 2000) : err;
}

/* The body as it is meant, in plain. Returns its length. */
static size_t body_of(size_t n)
{
    char *body = strstr(answer, "\r\n\r\n");
    CHECK(body != NULL);
    *body = '\0'; /* of the head */
    body += 4;
    size_t len = (size_t)(answer + n - body), out = sizeof plain;
    if (strstr(answer, "Transfer-Encoding: chunked") != NULL) {
        char *in = body, *to = body;
        for (size_t piece; (piece = strtoul(in, &in, 16)) > 0;) {
            memmove(to, in + 2, piece);
            to += piece;
            in += piece + 4;
        }
        len = (size_t)(to - body);
    }
    if (strstr(answer, "Content-Encoding: br") != NULL) {
        CHECK(BrotliDecoderDecompress(len, (uint8_t *)body, &out, (uint8_t *)plain) ==
              BROTLI_DECODER_RESULT_SUCCESS);
        return out;
    }
    if (strstr(answer, "Content-Encoding: gzip") == NULL) {
        memcpy(plain, body, len);
        return len;
    }
    z_stream z = {.next_in = (Bytef *)body,
                  .avail_in = (uInt)len,
                  .next_out = (Bytef *)plain,
                  .avail_out = sizeof plain};
    CHECK_EQ(inflateInit2(&z, 15 + 16), Z_OK);
    CHECK_EQ(inflate(&z, Z_FINISH), Z_STREAM_END);
    out = z.total_out;
    (void)inflateEnd(&z);
    return out;
}

static const char *const codings[] = {"br", "gzip"};

static void check_coded(const struct http_kit *k, const char *path, size_t len, const char *coding)
{
    char request[256], want[64];
    (void)snprintf(request, sizeof request, "GET /%s/%zu HTTP/1.1\r\nAccept-Encoding: %s\r\n" CLOSE,
                   path, len, coding);
    (void)snprintf(want, sizeof want, "Content-Encoding: %s", coding);
    size_t n = http_kit_ask(k, request, answer, sizeof answer);
    CHECK_EQ(http_kit_status(answer), 200);
    CHECK_EQ(body_of(n), len);
    CHECK(memcmp(plain, text, len) == 0);
    CHECK(len < 1024 || http_kit_has(answer, want));
    CHECK(len < 1024 || http_kit_has(answer, "Vary: Accept-Encoding"));
}

/* The body that is sent may be larger than all memory that a request may have. */
static int large(void *arg)
{
    static const size_t lengths[] = {1023, 1024, 100000, 540000};
    const struct weft_http_route_options narrow = {.body_max = 1024};
    const struct weft_http_route_options fast = {.body_max = 1024, .at_once = true};
    struct http_kit k;
    size_t n;
    (void)arg;
    fail_at = 0;
    make_text();
    struct weft_http_app *app = http_kit_app();
    http_kit_route(app, "GET /a/:len", send_len);
    CHECK_EQ(weft_http_route_with(app, "GET /narrow/:len", &narrow, send_len, NULL), 0);
    CHECK_EQ(weft_http_route_with(app, "GET /fast/:len", &fast, send_len, NULL), 0);
    http_kit_open(&k, app, NULL);
    for (size_t i = 0; i < 2 * WEFT__ARRAY_LEN(lengths); i++) {
        check_coded(&k, "narrow", lengths[i / 2], codings[i % 2]);
        check_coded(&k, "fast", lengths[i / 2], codings[i % 2]);
    }
    if (!KIT_SLOW)
        check_coded(&k, "a", BIG, "gzip");
    n = http_kit_ask(&k, "HEAD /narrow/540000 HTTP/1.1\r\nAccept-Encoding: gzip\r\n" CLOSE, answer,
                     sizeof answer);
    CHECK_EQ(http_kit_status(answer), 200);
    CHECK(http_kit_has(answer, "Content-Encoding: gzip") && answer[n - 1] == '\n');
    n = http_kit_ask(&k, "GET /narrow/540000 HTTP/1.0\r\nAccept-Encoding: gzip\r\n\r\n", answer,
                     sizeof answer);
    CHECK_EQ(body_of(n), 540000);
    CHECK(memcmp(plain, text, 540000) == 0);
    http_kit_close(&k);
    return 0;
}

/* What is sent in place of a response that failed is not in its coding. */
static int without_memory(void *arg)
{
    struct http_kit k;
    char request[256];
    int failed = 0;
    (void)arg;
    make_text();
    struct weft_http_app *app = http_kit_app();
    http_kit_route(app, "GET /a/:len", send_len);
    http_kit_route(app, "GET /again/:len", send_again);
    http_kit_open(&k, app, NULL);
    for (int i = 0; i < (KIT_SLOW ? 32 : 64); i++) {
        fail_at = (uint64_t)i / 4 + 1;
        (void)snprintf(request, sizeof request,
                       "GET /%s/20000 HTTP/1.1\r\nAccept-Encoding: %s\r\n" CLOSE,
                       i / 2 % 2 == 0 ? "a" : "again", codings[i % 2]);
        size_t n = http_kit_ask(&k, request, answer, sizeof answer);
        if (cut_off)
            continue;
        int status = http_kit_status(answer);
        size_t len = body_of(n);
        if (status == 500)
            CHECK(memcmp(plain, "500 Internal Server Error", 25) == 0);
        else
            CHECK_EQ(len, status == 200 ? 20000 : 2000);
        CHECK(status == 500 || memcmp(plain, text, len) == 0);
        failed += status != 200;
    }
    CHECK(failed > 0);
    http_kit_close(&k);
    return 0;
}

static const struct kit_case cases[] = {IN_TASK(large), IN_TASK(without_memory)};
KIT_MAIN(cases)
