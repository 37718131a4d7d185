/* SPDX-License-Identifier: MIT */
/*
 * An HTTP server for clients that are not ours: bodies both ways, trailers, events, WebSocket.
 *
 * usage: site ENDPOINT PAGE [CERT KEY] [http1]
 *
 * The first line is `listening ENDPOINT`. SIGTERM drains it and ends it.
 *
 *     GET /            the file PAGE, as HTML
 *     GET /bytes/N     N bytes: byte i is i * 31 + i / 251, modulo 256
 *     POST /echo       the body as it comes, and trailers: x-len, and x-got with the client's x-sum
 *     GET /endless     until the client has had enough
 *     GET /events      three events with ids behind Last-Event-ID, then the end
 *     GET /socket      echo of messages over WebSocket, with permessage-deflate
 *     GET /seen        how many /endless and /echo were cut off, and the version of this request
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <weft/weft.h>

static int cut_off; /* of one loop: no lock */
static const char *page_file;

static int page(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    (void)q, (void)arg;
    return weft_http_file(r, page_file);
}

static int bytes(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    unsigned char buf[16384];
    uint64_t at = 0, len = strtoull(weft_http_param(q, "n"), NULL, 10);
    int err = weft_http_set(r, "Content-Type", "application/octet-stream");
    (void)arg;
    if (err == 0)
        err = weft_http_begin(r);
    while (err == 0 && at < len) {
        size_t n = 0;
        for (; n < sizeof buf && at < len; n++, at++)
            buf[n] = (unsigned char)(at * 31 + at / 251);
        err = weft_http_write(r, buf, n, weft_after_s(60));
    }
    return err;
}

static int echo(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    char buf[16384], len[32];
    uint64_t all = 0;
    ssize_t n = 0;
    (void)arg;
    int err = weft_http_set(r, "Content-Type", "application/octet-stream");
    while (err == 0 && (n = weft_http_read(q, buf, sizeof buf, weft_after_s(60))) > 0) {
        all += (uint64_t)n;
        err = weft_http_write(r, buf, (size_t)n, weft_after_s(60));
    }
    err = n < 0 ? (int)n : err;
    if (err < 0) {
        cut_off++;
        return err;
    }
    (void)snprintf(len, sizeof len, "%llu", (unsigned long long)all);
    const char *sum = weft_http_trailer(q, "x-sum");
    err = weft_http_set_trailer(r, "x-len", len);
    return err < 0 ? err : weft_http_set_trailer(r, "x-got", sum != NULL ? sum : "-");
}

static int endless(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    static const char line[] = "there is always more\n";
    int err = weft_http_set(r, "Content-Type", "application/octet-stream");
    (void)q, (void)arg;
    while (err == 0)
        err = weft_http_write(r, line, sizeof line - 1, weft_after_s(60));
    cut_off++;
    return err;
}

static int events(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    const char *last = weft_http_field(q, "Last-Event-ID");
    int n = last != NULL ? (int)strtol(last, NULL, 10) : 0;
    char id[16], data[64];
    int err = weft_http_sse_begin(r);
    (void)arg;
    if (err == 0)
        err = weft_http_write(r, "retry: 10\n\n", 11, weft_after_s(60));
    for (int i = n + 1; err == 0 && i <= n + 3; i++) {
        (void)snprintf(id, sizeof id, "%d", i);
        (void)snprintf(data, sizeof data, "event %d\nof those behind %d", i, n);
        err = weft_http_sse_send(r, "count", id, data, weft_after_s(60));
    }
    return err;
}

static int talk(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    const struct weft_ws_options o = {.deflate = true, .deflate_takeover = true, .deflate_min = 1};
    struct weft_ws_message m;
    struct weft_ws *ws = NULL;
    int err = weft_http_websocket(q, r, &ws, &o);
    (void)arg;
    if (err != 0)
        return err;
    while (err == 0 && weft_ws_read(ws, &m, WEFT_NEVER) > 0)
        err = weft_ws_write(ws, m.type, m.data, m.len, weft_after_s(60));
    return weft_ws_close(&ws, 1000, "bye", weft_after_s(5));
}

static int seen(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    (void)arg;
    return weft_http_text(r, 200, "%d %d\n", cut_off, weft_http_version(q));
}

static int run(void *arg)
{
    static const int stop[] = {SIGTERM, 0};
    char **argv = arg;
    char endpoint[WEFT_ENDPOINT_MAX];
    struct weft_http_app *app = NULL;
    struct weft_group *g = NULL;
    struct weft_signals *signals = NULL;
    struct weft_http_server *server = NULL;
    struct weft_http_options o = {.server = {.max_connections = 20000}};
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
    for (int i = 3; argv[i] != NULL; i++) {
        if (strcmp(argv[i], "http1") == 0)
            o.no_http2 = true;
        else if (o.cert == NULL)
            o.cert = argv[i];
        else
            o.key = argv[i];
    }
    page_file = argv[2];
    int err = weft_http_app_open(&app);
    err = err < 0 ? err : weft_http_route(app, "GET /", page, NULL);
    err = err < 0 ? err : weft_http_route(app, "GET /bytes/:n", bytes, NULL);
    err = err < 0 ? err : weft_http_route(app, "POST /echo", echo, NULL);
    err = err < 0 ? err : weft_http_route(app, "GET /endless", endless, NULL);
    err = err < 0 ? err : weft_http_route(app, "GET /events", events, NULL);
    err = err < 0 ? err : weft_http_route(app, "GET /socket", talk, NULL);
    err = err < 0 ? err : weft_http_route(app, "GET /seen", seen, NULL);
    err = err < 0 ? err : weft_group_open(&g);
    err = err < 0 ? err : weft_signals_open(&signals, stop);
    err = err < 0 ? err : weft_http_server_open(&server, g, argv[1], app, &o);
    err = err < 0 ? err : weft_http_server_endpoint(server, endpoint, sizeof endpoint);
    if (err >= 0) {
        (void)printf("listening %s\n", endpoint);
        (void)fflush(stdout);
        err = weft_signals_wait(signals, WEFT_NEVER);
    }
    if (err >= 0)
        err = weft_http_server_drain(server, weft_after_s(20));
    if (err < 0)
        (void)fprintf(stderr, "site: %s %s\n", weft_error_text(err), weft_error_detail());
    weft_signals_close(&signals);
    (void)weft_group_close(&g);
    weft_http_app_close(&app);
    return err;
}

int main(int argc, char **argv)
{
    return argc < 3 ? 2 : weft_run(NULL, run, argv) < 0;
}
