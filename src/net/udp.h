/* SPDX-License-Identifier: MIT */
#ifndef WEFT__NET_UDP_H
#define WEFT__NET_UDP_H
/*
 * UDP sockets from the inside (floor 3): udp.c has one datagram at a time and all settings,
 * udp_batch.c many, and what the kernel joins (UDP_SEGMENT, UDP_GRO).
 */
#include <weft/udp.h>

#include "rt/rt.h"

/* What UDP_GRO brought at once and was not handed out yet. */
struct weft__gro {
    struct weft_address from;
    size_t len, used;
    size_t segment; /* each datagram's length but the last one's */
    int error;      /* met behind datagrams that were handed out: the next call's */
    uint8_t data[65536];
};

struct weft_udp {
    struct weft_loop *loop;      /* NULL: plain threads */
    struct weft__flow *receiver; /* who is in a receiving call */
    struct weft__flow *sender;
    struct weft__gro *gro; /* where UDP_GRO is on */
    struct weft_endpoint at;
    int fd;
    bool segments; /* UDP_SEGMENT works, as far as we know */
    bool closed;   /* while someone was inside */
};

/* What weft_udp_open and weft_udp_dial do once there is an address; endpoint: for the detail. */
int weft__udp_open(struct weft_udp **ret, const struct weft_endpoint *e, const char *endpoint,
                   const struct weft_udp_options *o, bool dial);

/* Takes the place of the receiver or sender: -EBUSY, WEFT_ECLOSED, WEFT_ETHREAD, -EDEADLK,
 * -ECANCELED. */
int weft__udp_enter(struct weft_udp *u, struct weft__flow **place);
/* Leaves it; what the call returns: WEFT_ECLOSED when the socket was closed (and may be gone). */
int weft__udp_leave(struct weft_udp *u, struct weft__flow **place, int res);
/* Waits for POLLIN or POLLOUT. 0 when it is there. */
int weft__udp_await(struct weft_udp *u, short events, weft_deadline d);

/* Turns UDP_GRO and UDP_SEGMENT on where the kernel has them. -ENOMEM. */
int weft__udp_segment(struct weft_udp *u);
/* The next datagrams of a socket with UDP_GRO, at least one and at most n. */
int weft__udp_gro_recv(struct weft_udp *u, struct weft_datagram *dg, int n, weft_deadline d);

#endif
