/* SPDX-License-Identifier: MIT */
/*
 * Rules that the HTTP server keeps for its handlers: middleware is never passed by, what a
 * conditional request gets, which methods a path takes.
 */
#include "http_kit.h"

#include "base/alloc.h"

#define CLOSE "Host: a\r\nConnection: close\r\n\r\n"

/* --- Middleware ------------------------------------------------------------------------------ */

static int open_to_all(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    (void)q, (void)arg;
    return weft_http_text(r, 200, "open");
}

static int no_memory(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    (void)arg;
    weft__alloc_fail_at(1);
    int result = weft_http_next(q, r);
    weft__alloc_fail_at(0);
    return result;
}

static int no_entry(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    (void)q, (void)arg;
    return weft_http_error(r, 403, "no");
}

/* Where there is no memory to see whether it is meant, the request goes no further. */
static int middleware_without_memory(void *arg)
{
    struct http_kit k;
    static char request[4096], buf[8192];
    (void)arg;
    struct weft_http_app *app = http_kit_app();
    CHECK_EQ(weft_http_use(app, "/", no_memory, NULL), 0);
    CHECK_EQ(weft_http_use(app, "/private", no_entry, NULL), 0);
    http_kit_route(app, "GET /*rest", open_to_all);
    http_kit_open(&k, app, NULL);
    (void)snprintf(request, sizeof request, "GET /private/%03000d HTTP/1.1\r\n" CLOSE, 1);
    (void)http_kit_ask(&k, request, buf, sizeof buf);
    CHECK_EQ(http_kit_status(buf), 500);
    http_kit_close(&k);
    return 0;
}

static const struct kit_case cases[] = {IN_TASK(middleware_without_memory)};
KIT_MAIN(cases)
