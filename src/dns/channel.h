/* SPDX-License-Identifier: MIT */
#ifndef WEFT__DNS_CHANNEL_H
#define WEFT__DNS_CHANNEL_H
/*
 * A channel of c-ares and its sockets (floor 4), for those who drive it: channel.c, on a loop, and
 * thread.c.
 */
#include "dns/dns.h"

struct weft__dns_channel {
    struct weft__node link; /* in dns->channels */
    struct weft__dns *dns;
    ares_channel ares;
    struct weft__list socks;
    struct weft__list asked; /* entries */
    struct weft__alarm alarm;
    size_t n_queries;                 /* so far */
    struct weft__dns_entry *asking;   /* its query is being made */
    struct weft__dns_entry *stopping; /* is to get our own answer */
    bool fed;                         /* and has got it */
};

struct weft__dns_sock {
    struct weft__node link; /* in channel->socks, until c-ares closes it */
    struct weft__dns_channel *channel;
    struct weft_loop *loop; /* NULL: of a thread */
    struct weft__op op;
    int fd, broken; /* errno of a failed operation: what c-ares is told */
    short want, ready;
    bool under_way, canceling, closed, stream;
    struct weft_address peer;
};

struct weft__dns_sock *weft__dns_sock_of(struct weft__dns_channel *c, int fd);
/* Has c-ares read and write a descriptor; events as of poll(2). */
void weft__dns_channel_process(struct weft__dns_channel *c, int fd, int events);
/* After each call of c-ares: on a loop, watches what it now wants to be watched. */
void weft__dns_channel_settle(struct weft__dns_channel *c);
/* How long it is until c-ares wants to look at its time-outs; false: it does not. */
bool weft__dns_channel_timeout(struct weft__dns_channel *c, int64_t *ns);

#endif
