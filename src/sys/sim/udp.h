/* SPDX-License-Identifier: MIT */
#ifndef WEFT__SIM_UDP_H
#define WEFT__SIM_UDP_H
/*
 * Simulated datagram sockets (floor 1): udp.c has the socket and receiving, udp_send.c the way of a
 * datagram, udp_opt.c options and groups.
 *
 * Invariants:
 *  - a datagram on its way is an event with its own memory and knows no socket: who takes it is
 *    looked up by address when it arrives;
 *  - within a host without delay it arrives while it is sent, as on Linux's loopback;
 *  - bytes queued stay within rcvbuf, but that an empty queue takes any one datagram.
 */
#include "sys/sim/ports.h"

/* A datagram, or (refused) the word that nobody took it, on its way back. */
struct weft__dgram {
    struct weft__event event; /* on its way */
    struct weft__slink link;  /* in a receiver's queue */
    struct weft__path *path;
    union weft__sa from, to; /* plain */
    uint32_t len;
    bool refused;
    bool by_lo; /* to a group, by the loopback interface */
    uint8_t data[];
};

/* Interfaces of a host: number 1 is loopback, every other the network. */
#define WEFT__UDP_LO 1

struct weft__udp_group {
    union weft__sa group; /* port 0 */
    bool lo;
};

struct weft__udp {
    struct weft__desc desc; /* first */
    struct weft__host *host;
    struct weft__port port;
    struct weft__queue queue; /* struct weft__dgram */
    size_t queued;            /* bytes, with what the kernel needs for each */
    union weft__sa bound;     /* what bind said; family 0: it was not called */
    int error;                /* to be told once */
    bool shut_in, shut_out;
    int64_t stuck_ns;        /* a send found the way full; it may try again then */
    struct weft__event room; /* at that time */
    struct weft__udp_group *groups;
    size_t n_groups;
    /* Options. */
    int rcvbuf, sndbuf; /* as getsockopt tells them: twice what was asked for */
    int broadcast;
    int ttl4, ttl6, tos4, tos6;
    int group_ttl4, group_ttl6, group_loop4, group_loop6, group_all4, group_all6;
    int group_if4, group_if6;
};

static inline struct weft__udp *weft__udp_of(struct weft__desc *d)
{
    return WEFT__CONTAINER_OF(d, struct weft__udp, desc);
}

extern const struct weft__desc_class weft__udp_class;

/* A SOCK_DGRAM socket of AF_INET or AF_INET6. -EAFNOSUPPORT, -ENETDOWN, -ENOMEM. */
int weft__sim_udp_open(struct weft__proc *p, int domain, struct weft__desc **ret);

/* --- Between the files of it ------------------------------------------------------------------ */

/* sendmsg(2); -EAGAIN sets stuck_ns and room. */
ssize_t weft__udp_send(struct weft__udp *u, const struct msghdr *msg, int flags);
/* A destination of the user's; port 0 is legal. */
int weft__udp_destination(const struct weft__udp *u, const struct sockaddr *sa, socklen_t len,
                          union weft__sa *ret);
/* The host that `to` is at, and the address that it is reached from. NULL host: a group. */
int weft__udp_route(const struct weft__udp *u, const union weft__sa *to, struct weft__host **host,
                    union weft__sa *from);
/* Port and address for a socket that has none: `at` NULL is the wildcard. */
int weft__udp_autobind(struct weft__udp *u, const union weft__sa *at);
/* d has arrived for u, which takes it over or drops it. */
void weft__udp_enqueue(struct weft__udp *u, struct weft__dgram *d);
void weft__udp_drop(struct weft__dgram *d, const char *fmt);

int weft__udp_set(struct weft__desc *d, int level, int name, const void *value, socklen_t len);
int weft__udp_get(struct weft__desc *d, int level, int name, void *value, socklen_t *len);
/* True when u itself, or anyone on the host, is in the group. */
bool weft__udp_joined(const struct weft__udp *u, const struct sockaddr *group, bool lo);
bool weft__udp_host_joined(struct weft__proc *p, const struct sockaddr *group, bool lo);

#endif
