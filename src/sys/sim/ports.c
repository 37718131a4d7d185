/* SPDX-License-Identifier: MIT */
/*
 * Who holds which port of a simulated process; see ports.h.
 *
 * Floor 1. A process has few listeners and datagram sockets, and its connections are found from
 * their other ends, so a table of 64 lists is enough; a port number is looked for in one of them.
 */
#include "sys/sim/ports.h"

#include <errno.h>
#include <string.h>

/* ip_local_port_range of Linux. */
#define PORT_FIRST 32768
#define PORT_LAST 60999

static struct weft__list *bucket(struct weft__proc *p, uint16_t number)
{
    return &p->ports[number % WEFT__SIM_PORT_BUCKETS];
}

/* NULL: another kind of binding, of AF_UNIX. */
static struct weft__port *of_node(struct weft__node *n)
{
    struct weft__binding *b = WEFT__CONTAINER_OF(n, struct weft__binding, link);
    return b->proto == 0 ? NULL : WEFT__CONTAINER_OF(b, struct weft__port, b);
}

static uint16_t number_of(const struct weft__port *port)
{
    return weft__sa_port(&port->plain.sa);
}

/* --- Conflicts -------------------------------------------------------------------------------- */

/* True when an address of a socket bound to `a` may be one of a socket bound to `b`. */
static bool overlap(const struct weft__port *a, const struct weft__port *b)
{
    bool a_any = weft__sa_is_any(&a->plain.sa), b_any = weft__sa_is_any(&b->plain.sa);
    if (a->plain.sa.sa_family == b->plain.sa.sa_family)
        return a_any || b_any || weft__sa_same_address(&a->plain.sa, &b->plain.sa);
    const struct weft__port *v6 = a->plain.sa.sa_family == AF_INET6 ? a : b;
    return !v6->v6only && weft__sa_is_any(&v6->plain.sa);
}

/* Sharing by reuse_addr; for TCP only where nobody listens. */
static bool shared(const struct weft__port *a, const struct weft__port *b)
{
    bool listens = a->b.proto == IPPROTO_TCP && (a->listens || b->listens);
    return a->reuse_addr && b->reuse_addr && !listens;
}

/*
 * Where port->plain is what it asks for; never: no sharing, whatever both want. They are asked in
 * their order, and Linux lets a datagram socket in when it meets one that shares by reuse_port,
 * whoever stands behind it.
 */
static bool conflict(struct weft__proc *p, const struct weft__port *port, bool never)
{
    uint16_t number = number_of(port);
    struct weft__list *l = bucket(p, number);
    WEFT__LIST_EACH(l, n) {
        const struct weft__port *other = of_node(n);
        if (other == NULL || other == port || other->b.proto != port->b.proto ||
            number_of(other) != number || !overlap(port, other))
            continue;
        if (never)
            return true;
        if (shared(port, other))
            continue;
        if (!port->reuse_port || !other->reuse_port)
            return true;
        if (port->b.proto == IPPROTO_UDP)
            return false;
    }
    return false;
}

static int take_free(struct weft__proc *p, struct weft__port *port)
{
    struct weft__host *h = p->host;
    for (int i = PORT_FIRST; i <= PORT_LAST; i++) {
        if (h->next_port < PORT_FIRST || h->next_port > PORT_LAST)
            h->next_port = PORT_FIRST;
        weft__sa_set_port(&port->plain.sa, h->next_port++);
        if (!conflict(p, port, true))
            return 0;
    }
    return -EADDRINUSE;
}

/* --- Binding ---------------------------------------------------------------------------------- */

static void enter(struct weft__proc *p, struct weft__port *port)
{
    port->b.at_len = weft__sa_show(&port->b.at, port->domain, &port->plain.sa);
    if (port->reuse_port && port->domain == AF_INET6)
        weft__list_push_back(bucket(p, number_of(port)), &port->b.link);
    else
        weft__list_push_front(bucket(p, number_of(port)), &port->b.link);
}

static int check_bind(const struct weft__proc *p, const struct weft__port *port,
                      const struct sockaddr *sa, socklen_t len)
{
    if (weft__port_bound(port))
        return -EINVAL;
    if (len < (port->domain == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6)))
        return -EINVAL;
    if (sa->sa_family != port->domain)
        return -EAFNOSUPPORT;
    if (port->v6only && weft__sa_is_mapped(sa))
        return -EINVAL;
    union weft__sa plain;
    weft__sa_plain(&plain, sa);
    bool group = weft__sa_is_multicast(&plain.sa) || weft__sa_is_broadcast(&plain.sa);
    if (weft__sa_is_any(&plain.sa) || weft__host_has(p->host, &plain.sa) ||
        (group && port->b.proto == IPPROTO_UDP))
        return 0;
    return -EADDRNOTAVAIL;
}

/* port->plain is the address. */
static int take(struct weft__proc *p, struct weft__port *port)
{
    int err = 0;
    if (number_of(port) == 0)
        err = take_free(p, port);
    else if (conflict(p, port, false))
        err = -EADDRINUSE;
    if (err < 0) {
        port->plain = (union weft__sa){0};
        return err;
    }
    enter(p, port);
    return 0;
}

int weft__port_bind(struct weft__proc *p, struct weft__port *port, const struct sockaddr *sa,
                    socklen_t len)
{
    int err = check_bind(p, port, sa, len);
    if (err < 0)
        return err;
    weft__sa_plain(&port->plain, sa);
    return take(p, port);
}

int weft__port_autobind(struct weft__proc *p, struct weft__port *port, const struct sockaddr *at)
{
    WEFT__ASSERT(!weft__port_bound(port));
    if (at != NULL)
        weft__sa_plain(&port->plain, at);
    else
        port->plain = (union weft__sa){.sa.sa_family = (sa_family_t)port->domain};
    weft__sa_set_port(&port->plain.sa, 0);
    return take(p, port);
}

void weft__port_readdress(struct weft__port *port, const struct sockaddr *plain)
{
    uint16_t number = number_of(port);
    WEFT__ASSERT(weft__port_bound(port));
    weft__sa_plain(&port->plain, plain);
    weft__sa_set_port(&port->plain.sa, number);
    port->b.at_len = weft__sa_show(&port->b.at, port->domain, &port->plain.sa);
}

void weft__port_release(struct weft__port *port)
{
    weft__list_remove(&port->b.link);
    port->plain = (union weft__sa){0};
}

int weft__port_can_listen(struct weft__proc *p, const struct weft__port *port)
{
    struct weft__list *l = bucket(p, number_of(port));
    WEFT__LIST_EACH(l, n) {
        const struct weft__port *other = of_node(n);
        if (other != NULL && other != port && other->listens && other->b.proto == port->b.proto &&
            number_of(other) == number_of(port) && overlap(port, other) &&
            !(port->reuse_port && other->reuse_port))
            return -EADDRINUSE;
    }
    return 0;
}

/* --- Looking up ------------------------------------------------------------------------------- */

bool weft__port_matches(const struct weft__port *port, int proto, const struct sockaddr *to,
                        const struct sockaddr *from)
{
    const struct sockaddr *at = &port->plain.sa;
    if (port->b.proto != proto || weft__sa_port(at) != weft__sa_port(to))
        return false;
    if (port->peer.sa.sa_family != 0 && !weft__sa_equal(&port->peer.sa, from))
        return false;
    if (at->sa_family == to->sa_family)
        return weft__sa_is_any(at) || weft__sa_same_address(at, to);
    return at->sa_family == AF_INET6 && !port->v6only && weft__sa_is_any(at);
}

/* How well it matches; 0: not. */
static int score(const struct weft__port *port, int proto, const struct sockaddr *to,
                 const struct sockaddr *from)
{
    if (!port->listens || !weft__port_matches(port, proto, to, from))
        return 0;
    int s = 1;
    if (port->peer.sa.sa_family != 0)
        s += 4;
    if (!weft__sa_is_any(&port->plain.sa))
        s += 2;
    return s * 2 + (port->domain == to->sa_family);
}

static uint64_t mix(uint64_t h, const struct sockaddr *sa)
{
    const uint8_t *bytes;
    size_t n;
    if (sa->sa_family == AF_INET) {
        bytes = (const uint8_t *)&((const struct sockaddr_in *)(const void *)sa)->sin_addr;
        n = 4;
    } else {
        bytes = (const uint8_t *)&((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr;
        n = 16;
    }
    for (size_t i = 0; i < n; i++)
        h = (h ^ bytes[i]) * UINT64_C(0x100000001b3);
    h = (h ^ weft__sa_port(sa)) * UINT64_C(0x9fb21c651e98df25);
    return h ^ (h >> 32);
}

/* True when port matches as well as `best`, and shares its address and port with it. */
static bool in_group(const struct weft__port *port, const struct weft__port *best, int best_score,
                     int proto, const struct sockaddr *to, const struct sockaddr *from)
{
    return port != NULL && port->reuse_port && score(port, proto, to, from) == best_score &&
           weft__sa_same_address(&port->plain.sa, &best->plain.sa);
}

/* One of the group of `best`. */
static struct weft__port *choose(struct weft__proc *p, struct weft__port *best, int best_score,
                                 int proto, const struct sockaddr *to, const struct sockaddr *from)
{
    struct weft__list *l = bucket(p, number_of(best));
    uint64_t count = 0;
    WEFT__LIST_EACH(l, n) {
        const struct weft__port *port = of_node(n);
        count += in_group(port, best, best_score, proto, to, from);
    }
    uint64_t h = mix(mix(p->world->seed ^ UINT64_C(0xcbf29ce484222325), to), from);
    h *= UINT64_C(0x9fb21c651e98df25);
    uint64_t which = (uint64_t)(((unsigned __int128)(h ^ (h >> 29)) * count) >> 64);
    WEFT__LIST_EACH(l, n) {
        struct weft__port *port = of_node(n);
        if (in_group(port, best, best_score, proto, to, from) && which-- == 0)
            return port;
    }
    return best;
}

struct weft__port *weft__port_find(struct weft__proc *p, int proto, const struct sockaddr *to,
                                   const struct sockaddr *from)
{
    struct weft__list *l = bucket(p, weft__sa_port(to));
    struct weft__port *best = NULL;
    int best_score = 0;
    bool several = false;
    WEFT__LIST_EACH(l, n) {
        struct weft__port *port = of_node(n);
        int s = port != NULL ? score(port, proto, to, from) : 0;
        if (s == 0 || s < best_score)
            continue;
        several = s == best_score;
        if (several)
            continue;
        best = port;
        best_score = s;
    }
    if (several && best->reuse_port)
        return choose(p, best, best_score, proto, to, from);
    return best;
}

struct weft__port *weft__port_each(struct weft__proc *p, int proto, uint16_t number,
                                   struct weft__port *after)
{
    struct weft__list *l = bucket(p, number);
    struct weft__node *n = after != NULL ? weft__list_next(l, &after->b.link) : weft__list_first(l);
    for (; n != NULL; n = weft__list_next(l, n)) {
        struct weft__port *port = of_node(n);
        if (port != NULL && port->b.proto == proto && number_of(port) == number)
            return port;
    }
    return NULL;
}
