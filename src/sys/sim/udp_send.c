/* SPDX-License-Identifier: MIT */
/*
 * The way of a simulated datagram: from sendmsg(2) over a path, or over many to a group, to the
 * sockets that take it; and the word back when nobody does. See udp.h.
 *
 * Floor 1. A sender that is quicker than its link waits, as one does whose network card's queue is
 * full: bytes that are not on the wire yet count against its SO_SNDBUF.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "sys/sim/memory.h"
#include "sys/sim/udp.h"

#define MAX_LEN4 65507
#define MAX_LEN6 65527
#define HEADER4 28 /* IPv4 and UDP */
#define HEADER6 48
#define PART_MIN 8 /* RFC 791: what any fragment has room for */

static bool is_group(const union weft__sa *to)
{
    return weft__sa_is_multicast(&to->sa) || weft__sa_is_broadcast(&to->sa);
}

/* --- Arriving --------------------------------------------------------------------------------- */

static struct weft__udp *of_port(struct weft__port *port)
{
    return WEFT__CONTAINER_OF(port, struct weft__udp, port);
}

static struct weft__dgram *copy_of(const struct weft__dgram *d)
{
    struct weft__dgram *copy = weft__alloc(sizeof *d + d->len);
    if (copy == NULL)
        return NULL;
    memcpy(copy, d, sizeof *d + d->len);
    memset(&copy->event, 0, sizeof copy->event);
    copy->event.fn = d->event.fn;
    return copy;
}

/* The sender hears of it if it is connected to there, and still is. */
static void arrive_refusal(struct weft__dgram *d, struct weft__proc *p)
{
    struct weft__world *w = p->world;
    struct weft__port *port = weft__port_find(p, IPPROTO_UDP, &d->from.sa, &d->to.sa);
    if (port != NULL && port->peer.sa.sa_family != 0) {
        struct weft__udp *u = of_port(port);
        weft__trace(w, d->path->from, d->path->to, "udp %" PRIi64 " < %" PRIi64 ": refused",
                    weft__sa_port(&d->from.sa), weft__sa_port(&d->to.sa), 0, 0);
        u->error = -ECONNREFUSED;
        weft__desc_wake(&u->desc);
    }
    weft__free(d);
}

/* Within a group's host: everyone on the port whose address is the group's or any. */
static void arrive_group(struct weft__dgram *d, struct weft__proc *p)
{
    uint16_t number = weft__sa_port(&d->to.sa);
    bool multicast = weft__sa_is_multicast(&d->to.sa);
    bool v4 = d->to.sa.sa_family == AF_INET;
    struct weft__port *port = NULL;
    if (multicast && !weft__udp_host_joined(p, &d->to.sa, d->by_lo)) {
        weft__udp_drop(d,
                       "udp %" PRIi64 " > %" PRIi64 ": %" PRIi64 " bytes: nobody is in the group");
        return;
    }
    while ((port = weft__port_each(p, IPPROTO_UDP, number, port)) != NULL) {
        struct weft__udp *u = of_port(port);
        if (!weft__port_matches(port, IPPROTO_UDP, &d->to.sa, &d->from.sa))
            continue;
        if (multicast && !(v4 ? u->group_all4 : u->group_all6) &&
            !weft__udp_joined(u, &d->to.sa, d->by_lo))
            continue;
        struct weft__dgram *copy = copy_of(d);
        if (copy != NULL)
            weft__udp_enqueue(u, copy);
    }
    weft__free(d);
}

static void send_refusal(struct weft__dgram *d);

static void arrive(struct weft__dgram *d)
{
    struct weft__proc *p = d->path->to->proc;
    struct weft__port *port;
    if (p == NULL && (d->path->to->dark || d->refused || is_group(&d->to))) {
        weft__udp_drop(d, "udp %" PRIi64 " > %" PRIi64 ": %" PRIi64 " bytes: the host is down");
    } else if (d->refused) {
        arrive_refusal(d, p);
    } else if (is_group(&d->to)) {
        arrive_group(d, p);
    } else if (p != NULL &&
               (port = weft__port_find(p, IPPROTO_UDP, &d->to.sa, &d->from.sa)) != NULL) {
        weft__udp_enqueue(of_port(port), d);
    } else {
        send_refusal(d);
    }
}

static void arrive_due(struct weft__event *e)
{
    struct weft__dgram *d = WEFT__CONTAINER_OF(e, struct weft__dgram, event);
    (void)weft__event_reserve(d->path->from->world, -1);
    arrive(d);
}

/* --- Under way -------------------------------------------------------------------------------- */

/* Leaves in as many packets as the path wants: when the last one arrives, -1 when one is lost. All
 * of them take their time on the wire. */
static int64_t send_parts(struct weft__path *path, const struct weft__dgram *d)
{
    uint32_t header = d->to.sa.sa_family == AF_INET ? HEADER4 : HEADER6;
    uint32_t room = path->mtu > header + PART_MIN ? path->mtu - header : PART_MIN;
    uint32_t left = d->len;
    int64_t when = 0;
    do {
        uint32_t part = (uint32_t)weft__min_size(left, room);
        int64_t at = weft__path_send(path, part + header);
        when = at < 0 || when < 0 ? -1 : weft__max_i64(when, at);
        left -= part;
    } while (left > 0);
    return when;
}

/* The event of a datagram has room of its own, and takes none that others count on. */
static int depart(struct weft__world *w, struct weft__dgram *d, int64_t when)
{
    int err = weft__event_reserve(w, 1);
    return err < 0 ? err : weft__event_set(w, &d->event, when);
}

static void transmit_one(struct weft__dgram *d)
{
    struct weft__path *path = d->path;
    struct weft__world *w = path->from->world;
    int64_t when = send_parts(path, d);
    if (when >= 0 && weft__world_chance(w, path->reorder) && path->reorder_ns > 0)
        when += 1 + (int64_t)weft__world_below(w, (uint64_t)path->reorder_ns);
    if (when == w->now_ns && path->from == path->to)
        arrive(d);
    else if (when < 0 || depart(w, d, when) < 0)
        weft__udp_drop(d, "udp %" PRIi64 " > %" PRIi64 ": %" PRIi64 " bytes are lost");
}

/* A duplicate is a packet like another, and may be lost as well. */
static void transmit(struct weft__dgram *d)
{
    struct weft__path *path = d->path;
    struct weft__dgram *copy = NULL;
    if (weft__world_chance(path->from->world, path->duplicate))
        copy = copy_of(d);
    transmit_one(d);
    if (copy != NULL)
        transmit_one(copy);
}

/* RFC 1122, 4.1.3.1: port unreachable. */
static void send_refusal(struct weft__dgram *d)
{
    struct weft__host *here = d->path->to, *there = d->path->from;
    struct weft__world *w = here->world;
    struct weft__path *back = weft__path_get(w, here, there);
    w->stats.dropped++;
    weft__trace(w, there, here, "udp %" PRIi64 " > %" PRIi64 ": %" PRIi64 " bytes: nobody is there",
                weft__sa_port(&d->from.sa), weft__sa_port(&d->to.sa), d->len, 0);
    if (back == NULL) {
        weft__free(d);
        return;
    }
    d->path = back;
    d->refused = true;
    d->len = HEADER4; /* it quotes the header of what it is about */
    transmit_one(d);
}

/* --- Where to --------------------------------------------------------------------------------- */

int weft__udp_destination(const struct weft__udp *u, const struct sockaddr *sa, socklen_t len,
                          union weft__sa *ret)
{
    int domain = u->port.domain;
    /* Datagram sockets of IPv6 take IPv4 addresses as they are. */
    if (domain == AF_INET6 && len >= sizeof sa->sa_family && sa->sa_family == AF_INET) {
        if (u->port.v6only)
            return -ENETUNREACH;
        domain = AF_INET;
    }
    return weft__sa_destination(ret, domain, u->port.v6only, sa, len);
}

/* By the loopback interface: as the address says, or the option for its family. */
static bool leaves_by_lo(const struct weft__udp *u, const union weft__sa *group)
{
    if (weft__sa_is_broadcast(&group->sa))
        return false;
    if (group->sa.sa_family == AF_INET)
        return u->group_if4 == WEFT__UDP_LO;
    unsigned scope = group->in6.sin6_scope_id;
    return (scope != 0 ? (int)scope : u->group_if6) == WEFT__UDP_LO;
}

int weft__udp_route(const struct weft__udp *u, const union weft__sa *to, struct weft__host **host,
                    union weft__sa *from)
{
    struct weft__host *h = NULL;
    const union weft__sa *at = weft__port_bound(&u->port) ? &u->port.plain : &u->bound;
    bool group = is_group(to), lo = group && leaves_by_lo(u, to);
    if (weft__sa_is_broadcast(&to->sa) && !u->broadcast)
        return -EACCES;
    if (!group) {
        h = weft__host_by_address(u->desc.world, u->host, &to->sa);
        if (h == NULL)
            return -ENETUNREACH;
    }
    *host = h;
    bool fixed = at->sa.sa_family != 0 && !weft__sa_is_any(&at->sa);
    if (!fixed || is_group(at)) {
        union weft__sa towards = {.sa.sa_family = to->sa.sa_family};
        if (lo)
            weft__sa_resolve_any(&towards);
        weft__host_source(u->host, lo ? &towards.sa : &to->sa, from);
        return 0;
    }
    if (at->sa.sa_family != to->sa.sa_family)
        return -ENETUNREACH;
    if (h != u->host && weft__sa_is_loopback(&at->sa) && !lo)
        return -EINVAL;
    *from = *at;
    return 0;
}

/* --- Sending ---------------------------------------------------------------------------------- */

static ssize_t length_of(const struct msghdr *msg)
{
    size_t len = 0;
    for (size_t i = 0; i < msg->msg_iovlen; i++) {
        if (msg->msg_iov[i].iov_len > UINT16_MAX - len)
            return -EMSGSIZE;
        len += msg->msg_iov[i].iov_len;
    }
    return (ssize_t)len;
}

static struct weft__dgram *gather(const struct msghdr *msg, size_t len)
{
    struct weft__dgram *d = weft__alloc(sizeof *d + len);
    if (d == NULL)
        return NULL;
    memset(d, 0, sizeof *d);
    d->event.fn = arrive_due;
    d->len = (uint32_t)len;
    size_t done = 0;
    for (size_t i = 0; i < msg->msg_iovlen; i++) {
        if (msg->msg_iov[i].iov_len > 0)
            memcpy(d->data + done, msg->msg_iov[i].iov_base, msg->msg_iov[i].iov_len);
        done += msg->msg_iov[i].iov_len;
    }
    return d;
}

/* -EAGAIN while the way has as many bytes before it as the send buffer holds. */
static int check_room(struct weft__udp *u, struct weft__path *path, size_t len)
{
    struct weft__world *w = u->desc.world;
    weft__path_refresh(path);
    if (path->bytes_per_s == 0 || path->busy_ns <= w->now_ns)
        return 0;
    int64_t room = weft__max_i64(u->sndbuf - (int64_t)len, 0);
    int64_t room_ns = (int64_t)((__int128)room * 1000000000 / path->bytes_per_s);
    int64_t free_ns = path->busy_ns - room_ns;
    if (free_ns <= w->now_ns)
        return 0;
    (void)weft__event_set(w, &u->room, free_ns); /* its room is reserved */
    u->stuck_ns = free_ns;
    return -EAGAIN;
}

/* To every host that may have a receiver; d is used up. */
static void send_to_group(struct weft__udp *u, struct weft__dgram *d)
{
    struct weft__world *w = u->desc.world;
    bool multicast = weft__sa_is_multicast(&d->to.sa), v4 = d->to.sa.sa_family == AF_INET;
    bool loop = !multicast || (v4 ? u->group_loop4 : u->group_loop6);
    bool leaves = !multicast || (v4 ? u->group_ttl4 : u->group_ttl6) > 0;
    d->by_lo = leaves_by_lo(u, &d->to);
    for (size_t i = 0; i < w->n_hosts; i++) {
        struct weft__host *h = w->hosts[i];
        bool own = h == u->host;
        if (h->proc == NULL || (own ? !loop : !leaves || d->by_lo))
            continue;
        if (multicast && !weft__udp_host_joined(h->proc, &d->to.sa, d->by_lo))
            continue;
        struct weft__path *path = weft__path_get(w, u->host, h);
        struct weft__dgram *copy = path != NULL ? copy_of(d) : NULL;
        if (copy == NULL)
            continue; /* as good as lost */
        copy->path = path;
        transmit(copy);
    }
    weft__free(d);
}

/* The destination of a message, and all that can be said against it. */
static int destination(const struct weft__udp *u, const struct msghdr *msg, union weft__sa *to)
{
    if (msg->msg_name == NULL || msg->msg_namelen == 0) {
        *to = u->port.peer;
        return to->sa.sa_family != 0 ? 0 : -EDESTADDRREQ;
    }
    int err = weft__udp_destination(u, msg->msg_name, msg->msg_namelen, to);
    if (err == 0 && weft__sa_port(&to->sa) == 0)
        err = -EINVAL;
    return err;
}

static int check_faults(const struct weft__udp *u)
{
    const struct weft__sim_faults *f = &u->host->faults;
    if (weft__world_chance(u->desc.world, f->no_buffers))
        return -ENOBUFS;
    return weft__world_chance(u->desc.world, f->no_memory) ? -ENOMEM : 0;
}

/* What a call hears before its message is looked at. */
static int check_socket(struct weft__udp *u, const struct msghdr *msg, int flags)
{
    if (WEFT__UNLIKELY(u->desc.proc->ghost))
        return -ENETDOWN;
    if (flags & (MSG_OOB | MSG_MORE))
        return -EOPNOTSUPP;
    if (u->shut_out)
        return -EPIPE;
    if (u->error != 0) {
        int err = u->error;
        u->error = 0;
        return err;
    }
    /* No control message that a datagram can have is known here: UDP_SEGMENT is not. */
    return msg->msg_controllen > 0 ? -EINVAL : check_faults(u);
}

ssize_t weft__udp_send(struct weft__udp *u, const struct msghdr *msg, int flags)
{
    struct weft__host *host;
    struct weft__path *path = NULL;
    union weft__sa to, from;
    ssize_t len = length_of(msg);
    int err = check_socket(u, msg, flags);
    if (err == 0 && len < 0)
        err = (int)len;
    if (err == 0)
        err = destination(u, msg, &to);
    if (err == 0)
        err = weft__udp_route(u, &to, &host, &from);
    if (err == 0 && len > (to.sa.sa_family == AF_INET ? MAX_LEN4 : MAX_LEN6))
        err = -EMSGSIZE;
    if (err == 0 && host != NULL) {
        path = weft__path_get(u->desc.world, u->host, host);
        err = path == NULL ? -ENOBUFS : check_room(u, path, (size_t)len);
    }
    if (err < 0)
        return err;
    if (!weft__port_bound(&u->port) && weft__udp_autobind(u, NULL) < 0)
        return -EADDRINUSE; /* Linux: -EAGAIN, which would wait here for nothing */
    struct weft__dgram *d = gather(msg, (size_t)len);
    if (d == NULL)
        return -ENOBUFS;
    weft__sa_set_port(&from.sa, weft__sa_port(&u->port.plain.sa));
    d->from = from;
    d->to = to;
    d->path = path;
    if (path == NULL)
        send_to_group(u, d);
    else
        transmit(d);
    return len;
}
