/* SPDX-License-Identifier: MIT */
/*
 * The HTTP side of a node: see site.h.
 *
 * Shows: routes, middleware, files, and a WebSocket whose handler is a loop with a deadline.
 *
 * Floor 6. The page's files are part of the program (page/, embedded when it is built).
 */
#include "site.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <weft/error.h>

#include "node.h"
#include "page.h"

#define REPORT_MS 1000
#define SEND_MS 5000

/* Nothing but what is its own, and nobody's frame. What the user's files may do is not for us to
 * say. */
static int secure_fields(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    static const struct {
        const char *name, *value;
    } fields[] = {
        {"Content-Security-Policy", "default-src 'self'; img-src 'self' data:; "
                                    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"},
        {"X-Content-Type-Options", "nosniff"},
        {"Referrer-Policy", "no-referrer"},
    };
    const char *path = weft_http_path(q);
    size_t first = path != NULL && strncmp(path, "/files", 6) == 0 ? 1 : 0;
    int err = 0;
    (void)arg;
    for (size_t i = first; i < sizeof fields / sizeof fields[0] && err == 0; i++)
        err = weft_http_set(r, fields[i].name, fields[i].value);
    return err < 0 ? err : weft_http_next(q, r);
}

static int page_file(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    const struct page_file *f = arg;
    (void)q;
    int err = weft_http_set(r, "Cache-Control", "no-cache");
    return err < 0 ? err : weft_http_send(r, 200, f->type, f->data, f->len);
}

static int healthz(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    (void)arg;
    return weft_http_draining(q) ? weft_http_text(r, 503, "draining\n")
                                 : weft_http_text(r, 200, "ok\n");
}

static int metrics(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    const struct site *s = arg;
    (void)q;
    char *text = live_metrics(&s->live);
    if (text == NULL)
        return -ENOMEM;
    int err =
        weft_http_send(r, 200, "text/plain; version=0.0.4; charset=utf-8", text, strlen(text));
    free(text);
    return err;
}

/* Sends a report each second, and reads meanwhile, so that pings are answered and an end is seen.
 * Somebody who only looks does not hold up the node's end. */
static int run_live(struct weft_ws *ws, const struct weft_http_request *q, struct live *l)
{
    struct weft_ws_message m;
    for (;;) {
        struct weft_ws_encoded *report;
        int err = live_report(l, &report);
        if (err == 0)
            err = weft_ws_send_encoded(ws, report, weft_after_ms(SEND_MS));
        if (err < 0)
            return err;
        weft_deadline next = weft_after_ms(REPORT_MS);
        while ((err = weft_ws_read(ws, &m, next)) > 0)
            ; /* the page says nothing that matters */
        if (err != -ETIMEDOUT || weft_http_draining(q))
            return err;
    }
}

static int live(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    static const struct weft_ws_options o = {.message_max = 4096};
    struct site *s = arg;
    struct weft_ws *ws = NULL;
    int err = weft_http_websocket(q, r, &ws, &o);
    if (err != 0)
        return err;
    err = run_live(ws, q, &s->live);
    (void)weft_ws_close(&ws, 1001, "", weft_after_ms(SEND_MS));
    return err == -ECANCELED ? err : 0;
}

static int add_routes(struct site *s, const char *files)
{
    int err = weft_http_use(s->app, "/", secure_fields, NULL);
    for (size_t i = 0; i < page_file_count && err == 0; i++)
        err = weft_http_route(s->app, page_files[i].pattern, page_file,
                              (void *)(uintptr_t)&page_files[i]);
    if (err == 0)
        err = weft_http_route(s->app, "GET /live", live, s);
    if (err == 0)
        err = weft_http_route(s->app, "GET /healthz", healthz, NULL);
    if (err == 0)
        err = weft_http_route(s->app, "GET /metrics", metrics, s);
    if (err == 0 && files != NULL)
        err = weft_http_static(s->app, "/files",
                               &(struct weft_http_static_options){.dir = files, .list = true});
    return err;
}

int site_open(struct site *s, const struct node *n, const char *endpoint, const char *files)
{
    const struct weft_http_options o = {.server.drain_ms = n->drain_ms};
    *s = (struct site){.app = NULL};
    int err = weft_http_app_open(&s->app);
    if (err == 0)
        err = add_routes(s, files);
    if (err == 0)
        err = live_open(&s->live, n, n->group);
    if (err == 0)
        err = weft_http_server_open(&s->server, n->group, endpoint, s->app, &o);
    if (err == 0)
        err = weft_http_server_endpoint(s->server, s->endpoint, sizeof s->endpoint);
    if (err < 0)
        return err;
    s->live.http = s->server;
    return 0;
}

void site_close(struct site *s)
{
    live_close(&s->live);
    weft_http_app_close(&s->app);
}
