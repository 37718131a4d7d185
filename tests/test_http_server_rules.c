/* SPDX-License-Identifier: MIT */
/*
 * Rules that the HTTP server keeps for its handlers: middleware is never passed by, what a
 * conditional request gets, which methods a path takes, whose fault an error is.
 */
#include "http_kit.h"

#define CLOSE "Host: a\r\nConnection: close\r\n\r\n"

struct row {
    const char *request;
    int status;
    const char *has;
};

static void check_rows(const struct http_kit *k, const struct row *rows, size_t n)
{
    static char buf[16384];
    for (size_t i = 0; i < n; i++) {
        http_kit_expect(k, rows[i].request, rows[i].status, buf, sizeof buf);
        CHECK(rows[i].has == NULL || http_kit_has(buf, rows[i].has));
    }
}

/* --- Middleware ------------------------------------------------------------------------------ */

static int open_to_all(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    (void)q, (void)arg;
    return weft_http_text(r, 200, "open");
}

/* Where there is no memory to see whether it is meant, the request goes no further. */
static int middleware_without_memory(void *arg)
{
    struct http_kit k;
    static char request[4096], buf[8192];
    (void)arg;
    struct weft_http_app *app = http_kit_app();
    CHECK_EQ(weft_http_use(app, "/", http_kit_no_memory, NULL), 0);
    CHECK_EQ(weft_http_use(app, "/private", http_kit_no_entry, NULL), 0);
    http_kit_route(app, "GET /*rest", open_to_all);
    http_kit_open(&k, app, NULL);
    (void)snprintf(request, sizeof request, "GET /private/%03000d HTTP/1.1\r\n" CLOSE, 1);
    (void)http_kit_ask(&k, request, buf, sizeof buf);
    CHECK_EQ(http_kit_status(buf), 500);
    http_kit_close(&k);
    return 0;
}

/* --- Conditions ------------------------------------------------------------------------------ */

static int show(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    (void)q, (void)arg;
    int err = weft_http_set(r, "ETag", "\"v1\"");
    return err < 0 ? err : weft_http_text(r, 200, "shown");
}

static int store(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    (void)q;
    ++*(int *)arg;
    int err = weft_http_set(r, "ETag", "\"v2\"");
    return err < 0 ? err : weft_http_text(r, 200, "stored");
}

/* What was done cannot be answered by "I did not do it" (RFC 9110 section 13.2.1). */
static int conditions(void *arg)
{
    static const struct row rows[] = {
        {"GET /a HTTP/1.1\r\nIf-None-Match: \"v1\"\r\n" CLOSE, 304, NULL},
        {"HEAD /a HTTP/1.1\r\nIf-None-Match: \"v1\"\r\n" CLOSE, 304, NULL},
        {"GET /a HTTP/1.1\r\nIf-Match: \"v0\"\r\n" CLOSE, 412, NULL},
        {"PUT /a HTTP/1.1\r\nContent-Length: 0\r\nIf-Match: \"v1\"\r\n" CLOSE, 200, "stored"},
        {"PUT /a HTTP/1.1\r\nContent-Length: 0\r\nIf-None-Match: *\r\n" CLOSE, 200, "stored"},
        {"POST /a HTTP/1.1\r\nContent-Length: 0\r\nIf-Match: \"v1\"\r\n" CLOSE, 200, "stored"},
        {"DELETE /a HTTP/1.1\r\nIf-Match: \"v1\"\r\n" CLOSE, 200, "stored"},
    };
    struct http_kit k;
    int stored = 0;
    (void)arg;
    struct weft_http_app *app = http_kit_app();
    http_kit_route(app, "GET /a", show);
    CHECK_EQ(weft_http_route(app, "* /a", store, &stored), 0);
    http_kit_open(&k, app, NULL);
    check_rows(&k, rows, WEFT__ARRAY_LEN(rows));
    CHECK_EQ(stored, 4);
    http_kit_close(&k);
    return 0;
}

/* --- Methods --------------------------------------------------------------------------------- */

/* Allow names all that a path takes, and 501 is for what nothing here takes (RFC 9110 sections
 * 15.5.6 and 15.6.2). */
static int methods(void *arg)
{
    static const struct row rows[] = {
        {"PROPFIND /dav HTTP/1.1\r\n" CLOSE, 200, "open"},
        {"GET /dav HTTP/1.1\r\n" CLOSE, 405, "\r\nAllow: OPTIONS, TRACE, PROPFIND, LOCK\r\n"},
        {"OPTIONS /dav HTTP/1.1\r\n" CLOSE, 204, "\r\nAllow: OPTIONS, TRACE, PROPFIND, LOCK\r\n"},
        {"OPTIONS /dav/x HTTP/1.1\r\n" CLOSE, 204,
         "\r\nAllow: GET, HEAD, OPTIONS, PROPFIND, LOCK\r\n"},
        {"UNLOCK /dav/x HTTP/1.1\r\n" CLOSE, 405, "PROPFIND, LOCK\r\n"},
        {"PROPFIND /plain HTTP/1.1\r\n" CLOSE, 405, "\r\nAllow: GET, HEAD, OPTIONS\r\n"},
        {"propfind /plain HTTP/1.1\r\n" CLOSE, 501, NULL},
        {"REPORT /plain HTTP/1.1\r\n" CLOSE, 501, NULL},
        {"PROPFIND /nowhere HTTP/1.1\r\n" CLOSE, 404, NULL},
    };
    struct http_kit k;
    char pattern[64];
    (void)arg;
    struct weft_http_app *app = http_kit_app();
    http_kit_route(app, "PROPFIND /dav", open_to_all);
    http_kit_route(app, "LOCK /dav", open_to_all);
    http_kit_route(app, "TRACE /dav", open_to_all);
    http_kit_route(app, "PROPFIND /dav/:a", open_to_all);
    http_kit_route(app, "LOCK /dav/x", open_to_all);
    http_kit_route(app, "UNLOCK /other", open_to_all);
    http_kit_route(app, "GET /dav/:a", open_to_all);
    http_kit_route(app, "GET /plain", open_to_all);
    http_kit_open(&k, app, NULL);
    check_rows(&k, rows, WEFT__ARRAY_LEN(rows));
    http_kit_close(&k);
    /* There is an end to them, and it is told. */
    int err = 0, n = 0;
    app = http_kit_app();
    for (; err == 0 && n < 1000; n++) {
        (void)snprintf(pattern, sizeof pattern, "METHOD%d /", n);
        err = weft_http_route(app, pattern, open_to_all, NULL);
    }
    CHECK_EQ(err, WEFT_ELIMIT);
    CHECK(n > 40);
    CHECK_EQ(weft_http_route(app, "METHOD0 /again", open_to_all, NULL), 0);
    weft_http_app_close(&app);
    return 0;
}

/* --- Errors ---------------------------------------------------------------------------------- */

static int fail_elsewhere(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    (void)q, (void)r;
    return *(int *)arg;
}

static int fail_reading(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    const void *data;
    size_t len;
    (void)r, (void)arg;
    return weft_http_body(q, &data, &len, WEFT_NEVER);
}

/* What a handler has met elsewhere, at another server say, is not what the client has done. */
static int errors_from_elsewhere(void *arg)
{
    static int errors[] = {-EMSGSIZE, WEFT_EPROTOCOL, WEFT_EEOF,     -ETIMEDOUT,
                           -EPIPE,    -ECONNRESET,    WEFT_EPOISONED};
    static const struct row reading[] = {
        {"POST /body HTTP/1.1\r\nContent-Length: 11\r\n" CLOSE, 413, NULL},
        {"POST /body HTTP/1.1\r\nTransfer-Encoding: chunked\r\n" CLOSE "x\r\n", 400, NULL},
    };
    struct http_kit k;
    (void)arg;
    struct weft_http_app *app = http_kit_app();
    for (size_t i = 0; i < WEFT__ARRAY_LEN(errors); i++) {
        char pattern[32];
        (void)snprintf(pattern, sizeof pattern, "POST /%zu", i);
        CHECK_EQ(weft_http_route(app, pattern, fail_elsewhere, &errors[i]), 0);
    }
    const struct weft_http_route_options little = {.body_max = 10};
    CHECK_EQ(weft_http_route_with(app, "POST /body", &little, fail_reading, NULL), 0);
    http_kit_open(&k, app, NULL);
    for (size_t i = 0; i < WEFT__ARRAY_LEN(errors); i++) {
        char request[128];
        (void)snprintf(request, sizeof request, "POST /%zu HTTP/1.1\r\nContent-Length: 0\r\n" CLOSE,
                       i);
        check_rows(&k, &(struct row){request, 500, NULL}, 1);
    }
    check_rows(&k, reading, WEFT__ARRAY_LEN(reading));
    http_kit_close(&k);
    return 0;
}

static const struct kit_case cases[] = {IN_TASK(middleware_without_memory), IN_TASK(conditions),
                                        IN_TASK(methods), IN_TASK(errors_from_elsewhere)};
KIT_MAIN(cases)
