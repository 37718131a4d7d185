/* SPDX-License-Identifier: MIT */
#ifndef WEFT_APP_SITE_H
#define WEFT_APP_SITE_H
/*
 * The HTTP side of a node: its page, its figures, and the files of a directory if one is given.
 *
 * Floor 6. Paths: / the page, /live its WebSocket, /healthz, /metrics, /files/.
 */
#include "live.h"

struct site {
    struct weft_http_app *app;
    struct weft_http_server *server;
    struct live live;
    char endpoint[WEFT_ENDPOINT_MAX];
};

/* Serves at an endpoint as a member of the node's group; files NULL: none. The struct stays where
 * it is until site_close, after the group's end. Returns 0 or a negative code. */
int site_open(struct site *s, const struct node *n, const char *endpoint, const char *files);
void site_close(struct site *s);

#endif
