/* SPDX-License-Identifier: MIT */
/*
 * 12: an HTTP server: two routes, a middleware that tells how long an answer took, files.
 *
 * Shows: handlers in plain blocking code, parameters of a path, what weft_http_next is for.
 * usage: 12_http_server ENDPOINT [DIRECTORY]; try: curl -i http://127.0.0.1:8080/hello/you
 */
#include "http_serve.h"

static int hello(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    (void)arg;
    return weft_http_text(r, 200, "hello %s\n", weft_http_param(q, "name"));
}

static int slow(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    (void)q, (void)arg;
    int err = weft_sleep_ms(100); /* this task waits; the server goes on */
    return err < 0 ? err : weft_http_text(r, 200, "that took a while\n");
}

static int timed(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    (void)arg;
    int64_t began = weft_now_ns();
    int result = weft_http_next(q, r);
    (void)fprintf(stderr, "%s %s: %d after %lld us\n", weft_http_method_text(q), weft_http_path(q),
                  weft_http_status_of(r), (long long)(weft_now_ns() - began) / 1000);
    return result;
}

static int run(void *arg)
{
    char **argv = arg;
    struct weft_http_app *app = NULL;
    int err = weft_http_app_open(&app);
    if (err == 0)
        err = weft_http_use(app, "/", timed, NULL);
    if (err == 0)
        err = weft_http_route(app, "GET /hello/:name", hello, NULL);
    if (err == 0)
        err = weft_http_route(app, "GET /slow", slow, NULL);
    if (err == 0 && argv[2] != NULL)
        err = weft_http_static(app, "/files", &(struct weft_http_static_options){.dir = argv[2]});
    return serve_app(err, app, argv[1], NULL);
}

int main(int argc, char **argv)
{
    return argc < 2 ? 2 : weft_run(NULL, run, argv);
}
