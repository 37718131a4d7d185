/* SPDX-License-Identifier: MIT */
#ifndef WEFT__NET_DIAL_H
#define WEFT__NET_DIAL_H
/*
 * The steps of connecting to one address (floor 3): socket, connect (the only one that waits),
 * settle. What joins them with names, proxies and TLS is in src/dial/.
 */
#include <net/if.h>

#include <weft/stream.h>

/* What the attempts of one dial have in common. */
struct weft__dial_how {
    struct weft_address local; /* len 0: the system chooses */
    int keepalive_s, user_timeout_ms;
    bool no_delay_off, fast_open;
    char interface[IF_NAMESIZE]; /* "": any */
};

/* A socket that is bound and has the options that belong before connect; or a negative code. */
int weft__dial_socket(const struct weft__dial_how *h, int family);
/* The options that belong behind connect. -ECONNREFUSED for a socket that is its own peer. */
int weft__dial_settle(int fd, const struct weft__dial_how *h, const struct weft_address *to);
/* All of it in the calling flow: a connected descriptor or a negative code. */
int weft__dial_fd(const struct weft__dial_how *h, const struct weft_address *to, weft_deadline d);

#endif
