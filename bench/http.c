/* SPDX-License-Identifier: MIT */
/*
 * The server that bench/http.py measures: a fixed reply in a task, the same without a task, files,
 * the same files kept open.
 *
 * Floor 6. usage: bench-http ENDPOINT [DIRECTORY]; prints `listening ENDPOINT`, ends on SIGTERM.
 */
#include <signal.h>
#include <stdio.h>

#include <weft/error.h>
#include <weft/http_server.h>
#include <weft/signal.h>

static int hello(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    (void)q, (void)arg;
    return weft_http_send(r, 200, "text/plain", "Hello, World!", 13);
}

static int run(void *arg)
{
    static const int stop[] = {SIGINT, SIGTERM, 0};
    char **argv = arg;
    struct weft_http_app *app = NULL;
    struct weft_group *g = NULL;
    struct weft_signals *signals = NULL;
    struct weft_http_server *server = NULL;
    char endpoint[WEFT_ENDPOINT_MAX];
    int r = weft_http_app_open(&app);
    if (r == 0)
        r = weft_http_route(app, "GET /task", hello, NULL);
    if (r == 0)
        r = weft_http_route_with(app, "GET /", &(struct weft_http_route_options){.at_once = true},
                                 hello, NULL);
    if (r == 0 && argv[2] != NULL)
        r = weft_http_static(app, "/files", &(struct weft_http_static_options){.dir = argv[2]});
    if (r == 0 && argv[2] != NULL)
        r = weft_http_static(app, "/kept",
                             &(struct weft_http_static_options){.dir = argv[2], .keep_open = 100});
    if (r == 0)
        r = weft_group_open(&g);
    if (r == 0)
        r = weft_signals_open(&signals, stop);
    if (r == 0)
        r = weft_http_server_open(&server, g, argv[1], app, NULL);
    if (r == 0)
        r = weft_http_server_endpoint(server, endpoint, sizeof endpoint);
    if (r < 0) {
        (void)fprintf(stderr, "bench-http: %s: %s\n", weft_error_text(r), weft_error_detail());
    } else {
        printf("listening %s\n", endpoint);
        fflush(stdout);
        r = weft_signals_wait(signals, WEFT_NEVER);
    }
    (void)weft_group_close(&g);
    weft_signals_close(&signals);
    weft_http_app_close(&app);
    return r < 0 ? 1 : 0;
}

int main(int argc, char **argv)
{
    if (argc < 2)
        return 2;
    return weft_run(NULL, run, argv);
}
