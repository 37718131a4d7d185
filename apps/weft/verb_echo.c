/* SPDX-License-Identifier: MIT */
/*
 * `weft echo`: one echo server.
 *
 * Shows: a server from the command line to its drain; the model is one word of it.
 *
 * Floor 6. Invariant: the first line on stdout is `listening ENDPOINT`, with the real port.
 */
#include <stdio.h>
#include <string.h>

#include <weft/run.h>

#include "cli.h"
#include "cli_tls.h"
#include "node.h"

static struct {
    const char *model, *listen, *driver, *cert, *key;
    int64_t workers, drain_ms, watchdog_ms;
    bool visible, handshake_offload;
} config = {
    .model = "task",
    .listen = "tcp://127.0.0.1:7001",
    .workers = 1,
    .drain_ms = 5000,
};

static const struct cli_option options[] = {
    {"model", "MODEL", "task (default), thread or protocol", CLI_CHOICE, &config.model, 0, 0,
     "task|thread|protocol"},
    {"listen", "ENDPOINT", "where to listen (tcp://127.0.0.1:7001); port 0: any free one", CLI_TEXT,
     &config.listen, 0, 0, NULL},
    {"cert", "FILE", "the certificate of a tls:// endpoint; without, one is made on the spot",
     CLI_TEXT, &config.cert, 0, 0, NULL},
    {"key", "FILE", "its key (it is in the certificate's file, too)", CLI_TEXT, &config.key, 0, 0,
     NULL},
    {"handshake-offload", NULL, "a tls:// server's keys and signatures are made by the work pool",
     CLI_FLAG, &config.handshake_offload, 0, 0, NULL},
    {"workers", "N", "loops, each with its own thread (1); of threads: how many accept", CLI_NUMBER,
     &config.workers, 1, 256, NULL},
    {"driver", "NAME", "uring or epoll (the best that works here)", CLI_CHOICE, &config.driver, 0,
     0, "uring|epoll"},
    {"drain-ms", "MS", "how long open connections may go on after a signal (5000)", CLI_NUMBER,
     &config.drain_ms, 0, 86400000, NULL},
    {"watchdog-ms", "MS", "report tasks that hold their loop longer (0: off)", CLI_NUMBER,
     &config.watchdog_ms, 0, 3600000, NULL},
    {"visible", NULL, "answer `weft tree`", CLI_FLAG, &config.visible, 0, 0, NULL},
    {NULL, NULL, NULL, CLI_FLAG, NULL, 0, 0, NULL},
};

static const struct cli_verb verb = {
    .name = "echo",
    .synopsis = "[OPTION...]",
    .about =
        "Sends back whatever comes, at one endpoint. The first line printed is the endpoint with\n"
        "its real port. SIGINT or SIGTERM drains and ends it, a second one ends it at once.",
    .options = options,
};

static enum weft_model model_of(const char *word)
{
    if (strcmp(word, "thread") == 0)
        return WEFT_THREADS;
    return strcmp(word, "protocol") == 0 ? WEFT_PROTOCOLS : WEFT_TASKS;
}

static int run(void *arg)
{
    struct node n = {
        .verb = verb.name,
        .drain_ms = config.drain_ms,
        .workers = (int)config.workers,
        .loop = arg,
    };
    const struct node_service *s;
    int r =
        cli_is_tls(config.listen) && strchr(config.listen, '?') == NULL
            ? cli_tls_server(verb.name, &n.tls, config.cert, config.key, config.handshake_offload)
            : CLI_GO_ON;
    if (r == CLI_GO_ON)
        r = node_open(&n);
    if (r == CLI_GO_ON)
        r = node_serve(&n, config.listen, model_of(config.model), &s);
    if (r == CLI_GO_ON) {
        printf("listening %s\n", s->endpoint);
        fflush(stdout);
        r = node_run(&n);
    }
    node_close(&n);
    weft_tls_close(&n.tls);
    return r;
}

int echo_main(int argc, char **argv)
{
    int r = cli_parse(&verb, argc, argv, NULL);
    if (r != CLI_GO_ON)
        return r;
    if (strncmp(config.listen, "udp:", 4) == 0 &&
        (config.workers > 1 || strcmp(config.model, "task") != 0))
        return cli_usage_error(verb.name, "a udp endpoint is served by one task, so it takes "
                                          "neither --model nor --workers");
    if (!cli_is_tls(config.listen) &&
        (config.cert != NULL || config.key != NULL || config.handshake_offload))
        return cli_usage_error(verb.name,
                               "--cert, --key and --handshake-offload are for tls:// endpoints");
    r = node_check(verb.name, config.listen);
    if (r != CLI_GO_ON)
        return r;
    cli_raise_file_limit();
    struct weft_options loop = {
        .driver = config.driver,
        .watchdog_ms = config.watchdog_ms,
        .visible = config.visible,
        .log = cli_log,
        .name = "echo",
    };
    r = weft_run(&loop, run, &loop);
    return r < 0 ? cli_failed_code(verb.name, r, "cannot run a loop") : r;
}
