/* SPDX-License-Identifier: MIT */
/*
 * `weft connect`: standard input to a connection, and what comes back to standard output.
 *
 * Shows: two tasks on one stream, one for each way; half-close at the end of input; every endpoint
 * by one call. Standard input and output are streams, too.
 *
 * Floor 6. Invariant: all that came before the peer's end has been written when it returns 0.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <weft/error.h>
#include <weft/run.h>
#include <weft/stream.h>
#include <weft/udp.h>

#include "cli.h"
#include "cli_tls.h"
#include "talk.h"

static struct {
    const char *endpoint, *ca, *server_name, *proxy, *driver;
    int64_t connect_ms, idle_ms;
    bool insecure, verbose;
} config = {.connect_ms = 10000};

static const struct cli_option options[] = {
    {"verbose", NULL, "say on stderr who the peer is and, over TLS, what was agreed on", CLI_FLAG,
     &config.verbose, 0, 0, "-v"},
    {"ca", "FILE", "certificates to trust instead of the system's", CLI_TEXT, &config.ca, 0, 0,
     NULL},
    {"insecure-no-verify", NULL, "believe any certificate", CLI_FLAG, &config.insecure, 0, 0, NULL},
    {"server-name", "NAME", "that the certificate must have (the endpoint's host)", CLI_TEXT,
     &config.server_name, 0, 0, NULL},
    {"proxy", "URL", "socks5://[USER:PASSWORD@]HOST:PORT, or http://... (CONNECT)", CLI_TEXT,
     &config.proxy, 0, 0, NULL},
    {"connect-ms", "MS", "time for the name, connecting and the handshake (10000)", CLI_NUMBER,
     &config.connect_ms, 1, 3600000, NULL},
    {"idle-ms", "MS", "end when nothing has come for so long (0: wait; over UDP 1000)", CLI_NUMBER,
     &config.idle_ms, 0, 86400000, NULL},
    {"driver", "NAME", "uring or epoll (the best that works here)", CLI_CHOICE, &config.driver, 0,
     0, "uring|epoll"},
    {NULL, NULL, NULL, CLI_FLAG, NULL, 0, 0, NULL},
};

static const struct cli_verb verb = {
    .name = "connect",
    .synopsis = "ENDPOINT [OPTION...]",
    .about = "Connects, sends standard input and prints what comes back. At the end of input it\n"
             "closes its side only, and goes on until the peer has ended its own. Over UDP each\n"
             "line of input is a datagram.",
    .operand = "ENDPOINT",
    .options = options,
};

/* --- Streams ---------------------------------------------------------------------------------- */

struct ends {
    struct weft_stream *in, *out, *peer;
};

/* What comes from the peer, until it ends or has been silent for too long. */
static int print_answer(void *arg)
{
    struct ends *e = arg;
    for (;;) {
        const void *data;
        weft_deadline d = config.idle_ms > 0 ? weft_after_ms(config.idle_ms) : WEFT_NEVER;
        ssize_t n = weft_peek(e->peer, &data, d);
        if (n <= 0)
            return n == 0 || n == -ETIMEDOUT ? TALK_ENDED : (int)n;
        int r = weft_write(e->out, data, (size_t)n, WEFT_NEVER);
        if (r == 0)
            r = weft_flush(e->out, WEFT_NEVER);
        if (r < 0)
            return r;
        weft_consume(e->peer, (size_t)n);
    }
}

/* The rest of a connection whose peer has gone is its reader's to tell. */
static int send_input(void *arg)
{
    struct ends *e = arg;
    const void *data;
    ssize_t n;
    int r = 0;
    while (r == 0 && (n = weft_peek(e->in, &data, WEFT_NEVER)) != 0) {
        if (n < 0)
            return (int)n;
        r = weft_write(e->peer, data, (size_t)n, WEFT_NEVER);
        weft_consume(e->in, (size_t)n);
    }
    if (r == 0)
        r = weft_shutdown(e->peer, WEFT_NEVER);
    return r == -EPIPE || r == -ECONNRESET ? 0 : r;
}

static void print_facts(struct weft_stream *s)
{
    char text[WEFT_ENDPOINT_MAX];
    struct weft_address a;
    struct weft_tls_info i;
    if (weft_stream_peer(s, &a) == 0 && weft_address_print(&a, text, sizeof text) > 0)
        fprintf(stderr, "connected to %s\n", text);
    if (weft_tls_info(s, &i) < 0)
        return;
    fprintf(stderr, "%s, %s%s%s%s\n", i.version, i.cipher, i.alpn[0] != '\0' ? ", alpn " : "",
            i.alpn, i.resumed ? ", resumed" : "");
    fprintf(stderr, "certificate %s\nof %s\nfor %s\n", i.verified ? "trusted" : "NOT VERIFIED",
            i.subject, i.names);
    for (const char *line = i.chain; *line != '\0';) {
        size_t n = strcspn(line, "\n");
        fprintf(stderr, "chain: %.*s\n", (int)n, line);
        line += n + (line[n] == '\n');
    }
}

static int open_ends(struct ends *e)
{
    int r = weft_stream_from_fd(&e->in, dup(STDIN_FILENO));
    return r < 0 ? r : weft_stream_from_fd(&e->out, dup(STDOUT_FILENO));
}

/* Everything printed, or why not. */
static int close_ends(struct ends *e, int r)
{
    int closed = weft_close(&e->out, WEFT_NEVER);
    (void)weft_close(&e->in, WEFT_NOW);
    return r < 0 ? r : closed;
}

static int run_stream(void)
{
    struct ends e = {NULL, NULL, NULL};
    struct weft_tls *tls = NULL;
    int status = cli_tls_client(verb.name, &tls, config.ca, config.insecure);
    if (status != CLI_GO_ON)
        return status;
    struct weft_dial_options o = {
        .tls = tls, .server_name = config.server_name, .proxy = config.proxy};
    int r = weft_dial(&e.peer, config.endpoint, &o, weft_after_ms(config.connect_ms));
    weft_tls_close(&tls);
    if (r < 0)
        return cli_failed_code(verb.name, r, "cannot connect to %s", config.endpoint);
    if (config.verbose)
        print_facts(e.peer);
    r = open_ends(&e);
    if (r == 0)
        r = talk_both_ways(send_input, print_answer, &e);
    r = close_ends(&e, r);
    if (r < 0)
        weft_abort(&e.peer);
    (void)weft_close(&e.peer, weft_after_s(5));
    return r < 0 ? cli_failed_code(verb.name, r, "%s", config.endpoint) : CLI_OK;
}

/* --- Datagrams -------------------------------------------------------------------------------- */

struct lines {
    struct ends ends;
    struct weft_udp *socket;
};

/* A line, or what the input ends with instead. Its length, 0 behind the last, or an error. */
static ssize_t read_line(struct weft_stream *in, char *line, size_t cap)
{
    size_t len = 0;
    ssize_t n = weft_read_until(in, line, cap, '\n', WEFT_NEVER);
    if (n != WEFT_EEOF)
        return n;
    while (len < cap && (n = weft_read(in, line + len, cap - len, WEFT_NEVER)) > 0)
        len += (size_t)n;
    return n < 0 ? n : (ssize_t)len;
}

static int send_lines(void *arg)
{
    struct lines *l = arg;
    static char line[65536];
    ssize_t n;
    int r = 0;
    while (r == 0 && (n = read_line(l->ends.in, line, sizeof line)) > 0)
        r = weft_udp_send(l->socket, line, (size_t)n, NULL, WEFT_NEVER);
    return r < 0 ? r : (int)n;
}

/* Each answer, until nothing has come for a while; refusals are the network's answers. */
static int print_datagrams(void *arg)
{
    struct lines *l = arg;
    static char buf[65536];
    int64_t idle_ms = config.idle_ms > 0 ? config.idle_ms : 1000;
    for (;;) {
        ssize_t n = weft_udp_recv(l->socket, buf, sizeof buf, NULL, weft_after_ms(idle_ms));
        if (n < 0)
            return n == -ETIMEDOUT ? TALK_ENDED : (int)n;
        int r = weft_write(l->ends.out, buf, (size_t)n, WEFT_NEVER);
        if (r == 0)
            r = weft_flush(l->ends.out, WEFT_NEVER);
        if (r < 0)
            return r;
    }
}

/* What is only for streams is refused: who asks for a proxy does not want to be seen beside it. */
static int check_udp(void)
{
    if (config.proxy != NULL)
        return cli_usage_error(verb.name, "--proxy is for streams: datagrams go by no proxy");
    if (config.ca != NULL || config.insecure || config.server_name != NULL)
        return cli_usage_error(verb.name, "--ca, --insecure-no-verify and --server-name are for "
                                          "TLS, which does not secure datagrams here");
    return CLI_GO_ON;
}

static int run_udp(void)
{
    const struct weft_udp_options o = {.resolve_ms = config.connect_ms};
    struct lines l = {.socket = NULL};
    int r = weft_udp_dial(&l.socket, config.endpoint, &o);
    if (r < 0)
        return cli_failed_code(verb.name, r, "cannot connect to %s", config.endpoint);
    r = open_ends(&l.ends);
    if (r == 0)
        r = talk_both_ways(send_lines, print_datagrams, &l);
    r = close_ends(&l.ends, r);
    weft_udp_close(&l.socket);
    return r < 0 ? cli_failed_code(verb.name, r, "%s", config.endpoint) : CLI_OK;
}

/* --- The verb --------------------------------------------------------------------------------- */

static int run(void *arg)
{
    const struct weft_endpoint *e = arg;
    return e->kind == WEFT_ENDPOINT_UDP ? run_udp() : run_stream();
}

int connect_main(int argc, char **argv)
{
    struct weft_endpoint e;
    int r = cli_parse(&verb, argc, argv, &config.endpoint);
    if (r != CLI_GO_ON)
        return r;
    r = weft_endpoint_parse(&e, config.endpoint);
    if (r < 0)
        return cli_failed_code(verb.name, r, "cannot connect to %s", config.endpoint);
    r = e.kind == WEFT_ENDPOINT_UDP ? check_udp() : CLI_GO_ON;
    if (r != CLI_GO_ON)
        return r;
    struct weft_options loop = {.driver = config.driver, .log = cli_log, .name = "connect"};
    r = weft_run(&loop, run, &e);
    return r < 0 ? cli_failed_code(verb.name, r, "cannot run a loop") : r;
}
