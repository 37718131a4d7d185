/* SPDX-License-Identifier: MIT */
#ifndef WEFT_APP_NODE_H
#define WEFT_APP_NODE_H
/*
 * A node: some services in one group, that run until a signal says stop, and then drain. `weft
 * echo` is a node of one service, `weft up` one of several.
 *
 * Floor 6. Invariants: all calls are of the task that called node_open; whatever happens,
 * node_close leaves nothing behind; messages about failures are printed here, once.
 */
#include <stdint.h>

#include <weft/group.h>
#include <weft/server.h>
#include <weft/signal.h>

#include "echo.h"

#define NODE_SERVICES 8

struct node_service {
    const char *kind;           /* "tasks", "threads", "protocols" or, over UDP, NULL */
    struct weft_server *server; /* NULL: UDP */
    struct echo_udp udp;
    char endpoint[WEFT_ENDPOINT_MAX]; /* with its real port */
};

struct node {
    const char *verb; /* in front of messages */
    int64_t drain_ms;
    struct weft_tls *tls;            /* of tls:// endpoints; NULL: none */
    int workers;                     /* loops of a service; 1: all on the loop of the caller */
    const struct weft_options *loop; /* of other workers */
    struct weft_group *group;        /* all that ends at the first signal */
    struct weft_group *watch;        /* what waits for the second one */
    struct weft_signals *signals[2]; /* for the two groups */
    struct node_service services[NODE_SERVICES];
    int count;
};

struct node_counts {
    uint64_t live, messages, bytes;
};

/* Whether the text is an endpoint at all: CLI_GO_ON or what to exit with. */
int node_check(const char *verb, const char *endpoint);

/* Opens the groups and takes the signals. Returns CLI_GO_ON or what to exit with, as do all below.
 */
int node_open(struct node *n);

/* Listens at an endpoint; for UDP the model does not matter. *ret: borrowed, what was opened. */
int node_serve(struct node *n, const char *endpoint, enum weft_model model,
               const struct node_service **ret);

/* Waits for SIGINT or SIGTERM, drains; a second signal ends the process at once. */
int node_run(struct node *n);

/* Sums of all services. */
void node_counts(const struct node *n, struct node_counts *ret);

void node_close(struct node *n);

#endif
