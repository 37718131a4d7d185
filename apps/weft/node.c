/* SPDX-License-Identifier: MIT */
/*
 * Shows: several servers in one group, and how a signal ends them. The task that waits for the
 * signal is a member of the same group and simply returns an error: the first error of a
 * member cancels the others, and a cancelled server drains before it ends. See node.h.
 *
 * Floor 6.
 */
#include "node.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <weft/address.h>
#include <weft/error.h>

#include "cli.h"

static const int stop_signals[] = {SIGINT, SIGTERM, 0};

/* What the first signal's task returns. No service fails with it. */
enum { STOPPED = -EINTR };

static int wait_for_signal(void *arg)
{
    int r = weft_signals_wait(arg, WEFT_NEVER);
    return r > 0 ? STOPPED : r;
}

/* Has its own queue of signals, so it sees the first one, too. */
static int wait_for_second_signal(void *arg)
{
    int r = weft_signals_wait(arg, WEFT_NEVER);
    if (r > 0)
        r = weft_signals_wait(arg, WEFT_NEVER);
    if (r > 0)
        _exit(128 + r);
    return 0;
}

int node_check(const char *verb, const char *endpoint)
{
    struct weft_endpoint parsed;
    int r = weft_endpoint_parse(&parsed, endpoint);
    return r < 0 ? cli_failed_code(verb, r, "cannot listen on %s", endpoint) : CLI_GO_ON;
}

int node_open(struct node *n)
{
    int r = 0;
    for (int i = 0; i < 2 && r == 0; i++)
        r = weft_signals_open(&n->signals[i], stop_signals);
    if (r == 0)
        r = weft_group_open(&n->watch);
    if (r == 0)
        r = weft_group_open(&n->group);
    if (r == 0)
        r = weft_group_go(n->watch, "second signal", wait_for_second_signal, n->signals[1]);
    if (r == 0)
        r = weft_group_go(n->group, "first signal", wait_for_signal, n->signals[0]);
    return r < 0 ? cli_failed_code(n->verb, r, "cannot start") : CLI_GO_ON;
}

static int serve_udp(struct node *n, const char *endpoint, struct node_service *s)
{
    int r = weft_udp_open(&s->udp.socket, endpoint, NULL);
    if (r < 0)
        return r;
    r = weft_udp_endpoint(s->udp.socket, s->endpoint, sizeof(s->endpoint));
    if (r < 0)
        return r;
    return weft_group_go(n->group, "udp echo", echo_udp_run, &s->udp);
}

static int serve_streams(struct node *n, const char *endpoint, enum weft_model model,
                         struct node_service *s)
{
    static const char *const kinds[] = {"tasks", "threads", "protocols"};
    static const struct weft_factory factory = {.protocol = &echo_protocol};
    bool protocols = model == WEFT_PROTOCOLS;
    struct weft_server_options o = {
        .model = model,
        .workers = n->workers > 1 ? n->workers : 0,
        .max_connections = 1000000, /* the limit of open files is the real one */
        .drain_ms = n->drain_ms,
        .loop = n->loop,
        .tls = n->tls,
    };
    int r = weft_server_open(&s->server, n->group, endpoint, &o, protocols ? NULL : echo_stream,
                             NULL, protocols ? &factory : NULL);
    if (r < 0)
        return r;
    s->kind = kinds[model];
    return weft_server_endpoint(s->server, s->endpoint, sizeof(s->endpoint));
}

int node_serve(struct node *n, const char *endpoint, enum weft_model model,
               const struct node_service **ret)
{
    struct node_service *s = &n->services[n->count];
    struct weft_endpoint parsed;
    int r = weft_endpoint_parse(&parsed, endpoint);
    if (r >= 0) {
        n->count++;
        r = parsed.kind == WEFT_ENDPOINT_UDP ? serve_udp(n, endpoint, s)
                                             : serve_streams(n, endpoint, model, s);
    }
    if (r < 0)
        return cli_failed_code(n->verb, r, "cannot listen on %s", endpoint);
    *ret = s;
    return CLI_GO_ON;
}

int node_run(struct node *n)
{
    int r = weft_group_wait(n->group, WEFT_NEVER);
    if (r == STOPPED)
        return CLI_OK;
    return cli_failed(n->verb, "stopped by an error: %s", weft_error_text(r));
}

void node_counts(const struct node *n, struct node_counts *ret)
{
    *ret = (struct node_counts){0};
    for (int i = 0; i < n->count; i++) {
        const struct node_service *s = &n->services[i];
        struct weft_server_stats stats;
        ret->messages += s->udp.messages;
        ret->bytes += s->udp.bytes;
        if (s->server == NULL)
            continue;
        weft_server_stats_mt(s->server, &stats);
        ret->live += stats.live;
        ret->messages += stats.reads;
        ret->bytes += stats.bytes_in;
    }
}

void node_close(struct node *n)
{
    weft_group_close(&n->group);
    weft_group_close(&n->watch);
    for (int i = 0; i < n->count; i++)
        weft_udp_close(&n->services[i].udp.socket);
    for (int i = 0; i < 2; i++)
        weft_signals_close(&n->signals[i]);
}
