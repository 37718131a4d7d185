/* SPDX-License-Identifier: MIT */
/*
 * `weft serve`: the files of a directory over HTTP.
 *
 * Shows: an HTTP server from the command line to its drain. A successor may be started at the same
 * port before this one is told to stop: then no request is lost.
 *
 * Floor 6. Invariant: the first line on stdout is `listening ENDPOINT`, with the real port.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <weft/error.h>
#include <weft/http_server.h>
#include <weft/signal.h>

#include "cli.h"

static struct {
    const char *listen, *cert, *key, *log, *driver, *cache;
    int64_t workers, drain_ms;
    bool list, hidden, precompressed;
} config = {
    .listen = "tcp://127.0.0.1:8080",
    .workers = 1,
    .drain_ms = 5000,
};

static const struct cli_option options[] = {
    {"listen", "ENDPOINT", "where to listen (tcp://127.0.0.1:8080); port 0: any free one", CLI_TEXT,
     &config.listen, 0, 0, NULL},
    {"cert", "FILE", "the certificate, for tls:// endpoints", CLI_TEXT, &config.cert, 0, 0, NULL},
    {"key", "FILE", "its key, where FILE of --cert does not have it", CLI_TEXT, &config.key, 0, 0,
     NULL},
    {"list", NULL, "list directories that have no index.html", CLI_FLAG, &config.list, 0, 0, NULL},
    {"hidden", NULL, "serve names that begin with a dot, too", CLI_FLAG, &config.hidden, 0, 0,
     NULL},
    {"precompressed", NULL, "send NAME.br or NAME.gz for NAME to who takes them", CLI_FLAG,
     &config.precompressed, 0, 0, NULL},
    {"cache-control", "TEXT", "the Cache-Control field of every file", CLI_TEXT, &config.cache, 0,
     0, NULL},
    {"log", "FORMAT", "a line for each request on stdout: common, combined or json", CLI_CHOICE,
     &config.log, 0, 0, "common|combined|json"},
    {"workers", "N", "loops, each with its own thread (1)", CLI_NUMBER, &config.workers, 1, 256,
     NULL},
    {"driver", "NAME", "uring or epoll (the best that works here)", CLI_CHOICE, &config.driver, 0,
     0, "uring|epoll"},
    {"drain-ms", "MS", "how long requests may go on after a signal (5000)", CLI_NUMBER,
     &config.drain_ms, 0, 86400000, NULL},
    {NULL, NULL, NULL, CLI_FLAG, NULL, 0, 0, NULL},
};

static const struct cli_verb verb = {
    .name = "serve",
    .synopsis = "[OPTION...] DIRECTORY",
    .about = "Serves the files of a directory over HTTP. The first line printed is the endpoint\n"
             "with its real port. SIGINT or SIGTERM drains and ends it, a second one ends it at\n"
             "once.",
    .operand = "DIRECTORY",
    .options = options,
};

static enum weft_http_log log_of(const char *word)
{
    if (word == NULL)
        return WEFT_HTTP_LOG_NONE;
    if (strcmp(word, "common") == 0)
        return WEFT_HTTP_LOG_COMMON;
    return strcmp(word, "combined") == 0 ? WEFT_HTTP_LOG_COMBINED : WEFT_HTTP_LOG_JSON;
}

static int drain(void *arg)
{
    struct weft_http_server *server = arg;
    return weft_http_server_drain(server, weft_after_ms(config.drain_ms));
}

/* Until the first signal; then the drain, until it has ended or the second signal. */
static int serve(struct weft_group *g, struct weft_http_app *app, const struct weft_options *loop)
{
    static const int stop[] = {SIGINT, SIGTERM, 0};
    struct weft_signals *signals = NULL;
    struct weft_http_server *server = NULL;
    struct weft_group *draining = NULL;
    char endpoint[WEFT_ENDPOINT_MAX];
    struct weft_http_options o = {
        .server = {.workers = (int)config.workers == 1 ? 0 : (int)config.workers,
                   .reuse_port = true,
                   .loop = loop},
        .cert = config.cert,
        .key = config.key,
        .log_format = log_of(config.log),
        .log_fd = STDOUT_FILENO,
    };
    int r = weft_signals_open(&signals, stop);
    if (r == 0)
        r = weft_http_server_open(&server, g, config.listen, app, &o);
    if (r == 0)
        r = weft_http_server_endpoint(server, endpoint, sizeof endpoint);
    if (r < 0) {
        weft_signals_close(&signals);
        return cli_failed_code(verb.name, r, "cannot serve at %s", config.listen);
    }
    printf("listening %s\n", endpoint);
    fflush(stdout);
    r = weft_signals_wait(signals, WEFT_NEVER);
    if (r > 0)
        r = weft_group_open(&draining);
    if (r == 0)
        r = weft_group_go(draining, "drain", drain, server);
    int second = -ETIMEDOUT;
    while (r == 0 && second == -ETIMEDOUT && weft_group_count(draining) > 0)
        second = weft_signals_wait(signals, weft_after_ms(20));
    if (second > 0)
        _exit(128 + second); /* what is still open is not waited for */
    if (r == 0 && second != -ETIMEDOUT)
        r = second;
    (void)weft_group_close(&draining); /* also where the time was up, it has ended as it should */
    weft_signals_close(&signals);
    return r < 0 ? cli_failed(verb.name, "stopped by an error: %s", weft_error_text(r)) : CLI_OK;
}

static int run(void *arg)
{
    struct weft_group *g = NULL;
    struct weft_http_app *app = NULL;
    const char *dir = ((const char **)arg)[0];
    const struct weft_options *loop = ((const void **)arg)[1];
    int r = weft_http_app_open(&app);
    if (r == 0)
        r = weft_http_static(
            app, "/",
            &(struct weft_http_static_options){.dir = dir,
                                               .list = config.list,
                                               .hidden = config.hidden,
                                               .precompressed = config.precompressed,
                                               .cache_control = config.cache});
    if (r == 0)
        r = weft_group_open(&g);
    if (r < 0)
        r = cli_failed_code(verb.name, r, "cannot serve %s", dir);
    else
        r = serve(g, app, loop);
    (void)weft_group_close(&g);
    weft_http_app_close(&app);
    return r;
}

int serve_main(int argc, char **argv)
{
    const char *dir = NULL;
    int r = cli_parse(&verb, argc, argv, &dir);
    if (r != CLI_GO_ON)
        return r;
    if (config.key != NULL && config.cert == NULL)
        return cli_usage_error(verb.name, "--key needs --cert");
    cli_raise_file_limit();
    struct weft_options loop = {.driver = config.driver, .log = cli_log, .name = "serve"};
    const void *args[] = {dir, &loop};
    r = weft_run(&loop, run, args);
    return r < 0 ? cli_failed_code(verb.name, r, "cannot run a loop") : r;
}
