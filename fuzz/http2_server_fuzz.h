/* SPDX-License-Identifier: MIT */
#ifndef WEFT_FUZZ_HTTP2_SERVER_FUZZ_H
#define WEFT_FUZZ_HTTP2_SERVER_FUZZ_H
/*
 * A client of HTTP/2 that sends what it likes to the whole server: the pump around nghttp2, request
 * and response, routes, compression, tunnels. For the fuzzer, and for the test that replays its
 * corpus.
 *
 * Input: one byte, then what the client sends. Bit 0 of the first byte: behind the preface and an
 * empty SETTINGS; bits 1 to 3: in pieces of 2^(n+1)-1 bytes (0: whole); bit 4: what the server
 * sends is read late. Checked: the server ends when its client does, and what it sent is whole
 * frames.
 */
#include <errno.h>
#include <string.h>

#include <weft/weft.h>

#include "base/base.h"

#define H2_FUZZ_MAX 65536u

struct h2_fuzz {
    struct weft_stream *client, *server;
    struct weft_http_app *app;
    const uint8_t *data;
    size_t size;
    uint64_t got;           /* bytes of the server */
    uint8_t head[9];        /* of the frame that comes */
    size_t head_len, frame; /* of it: bytes there, bytes of its body to come */
    bool frames;            /* false: it was no client of HTTP/2 */
    bool ended;
};

static int h2_fuzz_page(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    (void)arg;
    return weft_http_text(r, 200, "%s %s %s\n", weft_http_method_text(q), weft_http_path(q),
                          weft_http_param(q, "name"));
}

static int h2_fuzz_large(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    static const char zeros[8192];
    int err = 0;
    (void)q, (void)arg;
    for (int i = 0; err == 0 && i < 12; i++)
        err = weft_http_write(r, zeros, sizeof zeros, weft_after_s(5));
    return err;
}

static int h2_fuzz_echo(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    char buf[1000];
    ssize_t n;
    int err = 0;
    (void)arg;
    while (err == 0 && (n = weft_http_read(q, buf, sizeof buf, weft_after_s(5))) != 0)
        err = n < 0 ? (int)n : weft_http_write(r, buf, (size_t)n, weft_after_s(5));
    const char *sum = err == 0 ? weft_http_trailer(q, "x-sum") : NULL;
    return sum != NULL ? weft_http_set_trailer(r, "x-sum", sum) : err;
}

static int h2_fuzz_form(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    (void)arg;
    int err = weft_http_form(q, weft_after_s(5));
    return err < 0 ? err : weft_http_text(r, 200, "%s\n", weft_http_form_value(q, "a"));
}

static int h2_fuzz_socket(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    const struct weft_ws_options o = {.deflate = true};
    struct weft_ws_message m;
    struct weft_ws *ws = NULL;
    (void)arg;
    int err = weft_http_websocket(q, r, &ws, &o);
    while (err == 0 && weft_ws_read(ws, &m, weft_after_s(5)) > 0)
        err = weft_ws_write(ws, m.type, m.data, m.len, weft_after_s(5));
    return ws != NULL ? weft_ws_close(&ws, 1000, NULL, weft_after_s(1)) : err;
}

static int h2_fuzz_serve(void *arg)
{
    struct h2_fuzz *f = arg;
    const struct weft_http_options o = {
        .body_max = 4096, .stream_max = 65536, .head_max = 4096, .streams_max = 16};
    int err = weft_http_serve_stream(&f->server, f->app, &o);
    (void)err; /* whatever became of it */
    f->ended = true;
    return 0;
}

static int h2_fuzz_send(void *arg)
{
    static const char open[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0";
    struct h2_fuzz *f = arg;
    uint8_t how = f->data[0];
    size_t piece = (how >> 1 & 7) == 0 ? f->size : ((size_t)2 << (how >> 1 & 7)) - 1, at = 1;
    int err = (how & 1) != 0 ? weft_write(f->client, open, sizeof open - 1, weft_after_s(5)) : 0;
    while (err == 0 && at < f->size) {
        size_t n = weft__min_size(piece, f->size - at);
        err = weft_write(f->client, f->data + at, n, weft_after_s(5));
        at += n;
        if (err == 0 && piece < f->size)
            err = weft_yield(); /* the server sees it apart */
    }
    if (err == 0)
        err = weft_shutdown(f->client, weft_after_s(5));
    (void)err; /* the server may have ended before */
    return 0;
}

/* Frames and nothing else: heads of nine bytes, bodies of at most 16 KiB. */
static void h2_fuzz_got(struct h2_fuzz *f, const uint8_t *data, size_t len)
{
    f->got += len;
    while (f->frames && len > 0) {
        if (f->frame > 0) {
            size_t n = weft__min_size(f->frame, len);
            f->frame -= n;
            data += n;
            len -= n;
            continue;
        }
        f->head[f->head_len++] = *data++;
        len--;
        if (f->head_len < sizeof f->head)
            continue;
        f->head_len = 0;
        f->frame = (size_t)f->head[0] << 16 | (size_t)f->head[1] << 8 | f->head[2];
        WEFT__ASSERT(f->frame <= 16384 && f->head[3] <= 9);
    }
}

static int h2_fuzz_receive(void *arg)
{
    struct h2_fuzz *f = arg;
    const void *data;
    ssize_t n;
    for (int i = 0; (f->data[0] & 16) != 0 && i < 20 && weft_yield() == 0;)
        i++;
    while ((n = weft_peek(f->client, &data, weft_after_s(5))) > 0) {
        h2_fuzz_got(f, data, (size_t)n);
        weft_consume(f->client, (size_t)n);
    }
    WEFT__ASSERT(n != -ETIMEDOUT); /* its client has ended, so it ends */
    WEFT__ASSERT(n < 0 || !f->frames || (f->frame == 0 && f->head_len == 0));
    return 0;
}

static int h2_fuzz_run(void *arg)
{
    struct h2_fuzz *f = arg;
    struct weft_group *g = NULL;
    int err = weft_pipe_open(&f->client, &f->server, 4096);
    if (err == 0)
        err = weft_group_open(&g);
    if (err == 0)
        err = weft_group_go(g, "serve", h2_fuzz_serve, f);
    if (err == 0)
        err = weft_group_go(g, "send", h2_fuzz_send, f);
    if (err == 0)
        err = weft_group_go(g, "receive", h2_fuzz_receive, f);
    if (err == 0)
        err = weft_group_wait(g, weft_after_s(8));
    WEFT__ASSERT(err == 0 && f->ended);
    (void)weft_group_close(&g);
    weft_abort(&f->client);
    return 0;
}

static struct weft_http_app *h2_fuzz_kept;

/* Made once. */
static struct weft_http_app *h2_fuzz_app(void)
{
    static const struct weft_http_route_options at_once = {.at_once = true};
    struct weft_http_app *app = NULL;
    if (h2_fuzz_kept != NULL)
        return h2_fuzz_kept;
    int err = weft_http_app_open(&app);
    err = err < 0 ? err : weft_http_route(app, "GET /", h2_fuzz_page, NULL);
    err = err < 0 ? err : weft_http_route_with(app, "GET /a/:name", &at_once, h2_fuzz_page, NULL);
    err = err < 0 ? err : weft_http_route_with(app, "GET /m", &at_once, h2_fuzz_large, NULL);
    err = err < 0 ? err : weft_http_route(app, "GET /l", h2_fuzz_large, NULL);
    err = err < 0 ? err : weft_http_route(app, "POST /e", h2_fuzz_echo, NULL);
    err = err < 0 ? err : weft_http_route(app, "POST /f", h2_fuzz_form, NULL);
    err = err < 0 ? err : weft_http_route(app, "GET /s", h2_fuzz_socket, NULL);
    WEFT__ASSERT(err == 0);
    h2_fuzz_kept = app;
    return app;
}

static inline void h2_fuzz_app_close(void)
{
    weft_http_app_close(&h2_fuzz_kept);
}

static void h2_fuzz_one(const uint8_t *data, size_t size)
{
    static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    const struct weft_options o = {.driver = "epoll"};
    struct h2_fuzz f = {.data = data, .size = weft__min_size(size, H2_FUZZ_MAX)};
    if (size == 0)
        return;
    f.frames = (data[0] & 1) != 0 ||
               (f.size > sizeof preface - 1 && memcmp(data + 1, preface, sizeof preface - 1) == 0);
    f.app = h2_fuzz_app();
    int err = weft_run(&o, h2_fuzz_run, &f);
    WEFT__ASSERT(err == 0);
}

#endif
