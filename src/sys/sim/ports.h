/* SPDX-License-Identifier: MIT */
#ifndef WEFT__SIM_PORTS_H
#define WEFT__SIM_PORTS_H
/*
 * Internet addresses and ports of simulated processes, for TCP and UDP (floor 1): which port is
 * free, who holds it, who takes what comes in, and which address a packet leaves from.
 *
 * Words: an address is plain when it is IPv4 or real IPv6. A mapped one (::ffff:10.0.0.1) is how an
 * IPv6 socket writes an IPv4 address; what travels in the network is always plain.
 *
 * Invariants:
 *  - a binding in proc->ports with a proto other than 0 is the first member of a struct weft__port;
 *    it is in the bucket of its port, in Linux's order: the newest first, but sockets of IPv6 with
 *    reuse_port behind all others, oldest first;
 *  - binding.at is written as the socket's family has it (mapped on an IPv6 socket); `plain` and
 *    `peer` of a port are plain, and `plain` is what conflicts and look-ups compare.
 */
#include "sys/sim/world.h"

union weft__sa {
    struct sockaddr sa;
    struct sockaddr_in in4;
    struct sockaddr_in6 in6;
};

/* The place of one socket in its process's table. In the socket's memory, zeroed, with `domain`
 * and the flags filled in by the socket; they may be changed while it is not bound, `listens`,
 * `reuse_addr`, `reuse_port`, `v6only` and `peer` at any time. */
struct weft__port {
    struct weft__binding b; /* first; desc and proto are the socket's to set before weft__port_bind,
                               at and at_len are set by it */
    union weft__sa plain;   /* b.at, plain; sa_family 0: not bound */
    union weft__sa peer;    /* sa_family 0: not connected. Then nothing comes in but from there */
    int domain;             /* AF_INET, AF_INET6 */
    bool v6only;            /* IPV6_V6ONLY */
    bool reuse_addr, reuse_port;
    bool listens; /* weft__port_find may find it: a listener, any UDP socket; false: it only keeps
                     its port */
};

static inline bool weft__port_bound(const struct weft__port *port)
{
    return weft__node_linked(&port->b.link);
}

/*
 * bind(2): checks the address (which may be a mapped one on a socket that is not v6only), takes a
 * free port where it has none, enters the socket. Port 0 never gives a port that anyone has, reuse
 * or not. Conflicts are Linux's: the same port, and the same address or a wildcard on either side
 * that covers the other (:: covers IPv4 unless v6only); not where both have reuse_addr and, with
 * TCP, neither listens; nor where both have reuse_port (UDP: nor behind the first such one).
 *
 * 0, -EINVAL (bound already, or len too short), -EAFNOSUPPORT, -EADDRNOTAVAIL (not an address of
 * the host; multicast and broadcast are for UDP), -EADDRINUSE (also: no port is free).
 */
int weft__port_bind(struct weft__proc *p, struct weft__port *port, const struct sockaddr *sa,
                    socklen_t len);
/* Binds to a free port at the wildcard address, or at `at` (plain; its port is not looked at). For
 * connect and the first send. -EADDRINUSE: no port is free; callers have their own code for it. */
int weft__port_autobind(struct weft__proc *p, struct weft__port *port, const struct sockaddr *at);
/* Changes the address of a bound socket and keeps its port: connect on a wildcard socket makes it
 * the source address, disconnect takes that back. Asks for no conflict, as Linux. */
void weft__port_readdress(struct weft__port *port, const struct sockaddr *plain);
/* Takes it out; twice is fine. */
void weft__port_release(struct weft__port *port);
/* -EADDRINUSE when another socket listens where this bound one is about to: what listen(2) checks
 * again, since two sockets with reuse_addr can be bound to one port. */
int weft__port_can_listen(struct weft__proc *p, const struct weft__port *port);

/*
 * Who takes what has come in for to from `from` (both plain): the socket that listens with the best
 * match, where a peer counts most, then an exact address, then the own family. Of several that
 * match equally well: the first in the order above, or with reuse_port one of those
 * that share its address, by a hash of both addresses and the world's seed, so that one sender
 * always finds the same. NULL: nobody.
 */
struct weft__port *weft__port_find(struct weft__proc *p, int proto, const struct sockaddr *to,
                                   const struct sockaddr *from);
/* True when port (which listens or not) would take something for `to` from `from`. */
bool weft__port_matches(const struct weft__port *port, int proto, const struct sockaddr *to,
                        const struct sockaddr *from);
/* All sockets on a port number (network order is not meant), for multicast and broadcast: the first
 * after `after`, NULL at the end. */
struct weft__port *weft__port_each(struct weft__proc *p, int proto, uint16_t number,
                                   struct weft__port *after);

/* --- Routes ---------------------------------------------------------------------------------- */

/* True for an address that reaches h itself: its own, loopback. Plain. */
bool weft__host_has(const struct weft__host *h, const struct sockaddr *sa);
/*
 * The address that something to `to` (plain; not 0.0.0.0 or ::, see weft__sa_resolve_any) leaves
 * from when its socket is bound to none: 127.0.0.1 or ::1 to a loopback address, else the host's
 * own of that family. Port 0.
 */
void weft__host_source(const struct weft__host *h, const struct sockaddr *to, union weft__sa *ret);

/* --- Addresses ------------------------------------------------------------------------------- */

/* Of AF_INET and AF_INET6; anything else is no address of any kind, and has port 0. */
bool weft__sa_is_any(const struct sockaddr *sa);
bool weft__sa_is_loopback(const struct sockaddr *sa); /* 127.0.0.0/8, ::1 */
bool weft__sa_is_multicast(const struct sockaddr *sa);
bool weft__sa_is_broadcast(const struct sockaddr *sa); /* 255.255.255.255 and 10.255.255.255 */
bool weft__sa_is_mapped(const struct sockaddr *sa);
uint16_t weft__sa_port(const struct sockaddr *sa); /* host order */
void weft__sa_set_port(struct sockaddr *sa, uint16_t port);
/* Family and address; and the port as well. Scopes and flow labels are not looked at. */
bool weft__sa_same_address(const struct sockaddr *a, const struct sockaddr *b);
bool weft__sa_equal(const struct sockaddr *a, const struct sockaddr *b);
socklen_t weft__sa_len(const struct sockaddr *sa);
/* A copy, plain: a mapped address becomes IPv4. */
void weft__sa_plain(union weft__sa *ret, const struct sockaddr *sa);
/* A plain address as a socket of that domain shows it: IPv4 is mapped on an IPv6 socket. Returns
 * its length. */
socklen_t weft__sa_show(struct sockaddr_storage *ret, int domain, const struct sockaddr *plain);
/* connect and sendto to 0.0.0.0 or :: mean this host: 127.0.0.1 or ::1. */
void weft__sa_resolve_any(union weft__sa *plain);
/*
 * A destination that the user gave to a socket of that domain, plain and with "any" resolved.
 * -EINVAL (len too short), -EAFNOSUPPORT (another family; AF_UNSPEC, too), -ENETUNREACH (a mapped
 * address on a socket that is v6only).
 */
int weft__sa_destination(union weft__sa *ret, int domain, bool v6only, const struct sockaddr *sa,
                         socklen_t len);
/* As the kernel hands addresses out: cut to *len bytes, *len becomes the true length. sa may be
 * NULL. */
void weft__sa_give(void *sa, socklen_t *len, const struct sockaddr_storage *from,
                   socklen_t from_len);
/* "10.0.0.1:80", "[fd00::1]:80"; "-" for none. Fits into 64 bytes. */
void weft__sa_print(const struct sockaddr *sa, char *buf, size_t cap);

#endif
