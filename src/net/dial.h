/* SPDX-License-Identifier: MIT */
#ifndef WEFT__NET_DIAL_H
#define WEFT__NET_DIAL_H
/*
 * The steps of dialling (floor 3), for weft_dial, which waits, and for the clients in callback
 * mode, which do not: target, socket, connect (an operation), settle.
 */
#include <weft/stream.h>

struct weft__dial_target {
    struct weft_dial_options options; /* bind is not kept: `local` is */
    struct weft_address address;
    struct weft_address local; /* len 0: the system chooses */
    int family;
    char text[WEFT_ENDPOINT_MAX]; /* the endpoint, for reports */
};

/* Reads endpoint and options (o may be NULL). Errors as weft_dial. */
int weft__dial_target(struct weft__dial_target *ret, const char *endpoint,
                      const struct weft_dial_options *o);
/* A socket for it, bound and with the options that belong before connect; or a negative code. */
int weft__dial_socket(const struct weft__dial_target *t);
/* The options that belong behind connect. */
int weft__dial_settle(int fd, const struct weft__dial_target *t);

#endif
