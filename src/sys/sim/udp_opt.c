/* SPDX-License-Identifier: MIT */
/*
 * Options of simulated datagram sockets, and the groups they are in; see udp.h.
 *
 * Floor 1. Most options are a number within bounds and stand in one table. What is not known here
 * is -ENOPROTOOPT: a program learns that it must do without, as on an older kernel.
 */
#include <errno.h>
#include <netinet/udp.h>
#include <string.h>

#include "sys/sim/memory.h"
#include "sys/sim/udp.h"

/* net.core.rmem_max and wmem_max, and the least, of Linux. */
#define BUFFER_MAX 212992
#define RCVBUF_MIN 2304
#define SNDBUF_MIN 4608
/* net.ipv4.igmp_max_memberships */
#define GROUPS_MAX4 20

/* --- Groups ----------------------------------------------------------------------------------- */

static struct weft__udp_group *find(const struct weft__udp *u, const struct sockaddr *group,
                                    bool lo)
{
    for (size_t i = 0; i < u->n_groups; i++)
        if (u->groups[i].lo == lo && weft__sa_same_address(&u->groups[i].group.sa, group))
            return &u->groups[i];
    return NULL;
}

bool weft__udp_joined(const struct weft__udp *u, const struct sockaddr *group, bool lo)
{
    return find(u, group, lo) != NULL;
}

bool weft__udp_host_joined(struct weft__proc *p, const struct sockaddr *group, bool lo)
{
    for (size_t i = 0; i < p->n_fds; i++) {
        struct weft__desc *d = p->fds[i];
        if (d != NULL && d->cls == &weft__udp_class && weft__udp_joined(weft__udp_of(d), group, lo))
            return true;
    }
    return false;
}

static int join(struct weft__udp *u, const union weft__sa *group, bool lo)
{
    size_t v4 = 0;
    if (find(u, &group->sa, lo) != NULL)
        return -EADDRINUSE;
    for (size_t i = 0; i < u->n_groups; i++)
        v4 += u->groups[i].group.sa.sa_family == AF_INET;
    if (group->sa.sa_family == AF_INET && v4 == GROUPS_MAX4)
        return -ENOBUFS;
    struct weft__udp_group *groups =
        weft__realloc(u->groups, (u->n_groups + 1) * sizeof *u->groups);
    if (groups == NULL)
        return -ENOMEM;
    u->groups = groups;
    groups[u->n_groups++] = (struct weft__udp_group){.group = *group, .lo = lo};
    return 0;
}

static int leave(struct weft__udp *u, const union weft__sa *group, bool lo)
{
    struct weft__udp_group *g = find(u, &group->sa, lo);
    if (g == NULL)
        return -EADDRNOTAVAIL;
    *g = u->groups[--u->n_groups];
    return 0;
}

static int change(struct weft__udp *u, bool joins, const union weft__sa *group, bool lo)
{
    if (!weft__sa_is_multicast(&group->sa))
        return -EINVAL;
    return joins ? join(u, group, lo) : leave(u, group, lo);
}

static bool is_lo4(struct in_addr a)
{
    return ntohl(a.s_addr) >> 24 == 127;
}

/* struct ip_mreq, or struct ip_mreqn: by number, else by the interface's address. */
static int read_mreqn(struct ip_mreqn *ret, const void *value, socklen_t len)
{
    *ret = (struct ip_mreqn){0};
    if (len < sizeof(struct ip_mreq))
        return -EINVAL;
    memcpy(ret, value, weft__min_size(len, sizeof *ret));
    if (ret->imr_ifindex == 0 && is_lo4(ret->imr_address))
        ret->imr_ifindex = WEFT__UDP_LO;
    return 0;
}

static int member4(struct weft__udp *u, bool joins, const void *value, socklen_t len)
{
    struct ip_mreqn req;
    int err = read_mreqn(&req, value, len);
    if (err < 0)
        return err;
    union weft__sa group = {.in4 = {.sin_family = AF_INET, .sin_addr = req.imr_multiaddr}};
    return change(u, joins, &group, req.imr_ifindex == WEFT__UDP_LO);
}

static int member6(struct weft__udp *u, bool joins, const void *value, socklen_t len)
{
    struct ipv6_mreq req;
    if (len < sizeof req)
        return -EINVAL;
    memcpy(&req, value, sizeof req);
    union weft__sa group = {.in6 = {.sin6_family = AF_INET6, .sin6_addr = req.ipv6mr_multiaddr}};
    return change(u, joins, &group, req.ipv6mr_interface == WEFT__UDP_LO);
}

/* RFC 3678, for both families. */
static int member(struct weft__udp *u, bool joins, int family, const void *value, socklen_t len)
{
    struct group_req req;
    union weft__sa group;
    if (len < sizeof req)
        return -EINVAL;
    memcpy(&req, value, sizeof req);
    if (req.gr_group.ss_family != family)
        return -EINVAL;
    weft__sa_plain(&group, (const struct sockaddr *)&req.gr_group);
    weft__sa_set_port(&group.sa, 0);
    return change(u, joins, &group, req.gr_interface == WEFT__UDP_LO);
}

/* --- Numbers ---------------------------------------------------------------------------------- */

struct number {
    int level, name;
    size_t offset; /* of an int in struct weft__udp */
    int min, max;
    bool byte; /* IP options take one byte as well as an int */
};

#define AT(field) offsetof(struct weft__udp, field)
/* Linux takes -1 for the default of some; nobody asks for that here. */
static const struct number numbers[] = {
    {SOL_SOCKET, SO_BROADCAST, AT(broadcast), INT32_MIN, INT32_MAX, false},
    {IPPROTO_IP, IP_TTL, AT(ttl4), 1, 255, true},
    {IPPROTO_IP, IP_TOS, AT(tos4), 0, 255, true},
    {IPPROTO_IP, IP_MULTICAST_TTL, AT(group_ttl4), 0, 255, true},
    {IPPROTO_IP, IP_MULTICAST_LOOP, AT(group_loop4), INT32_MIN, INT32_MAX, true},
    {IPPROTO_IP, IP_MULTICAST_ALL, AT(group_all4), 0, 1, true},
    {IPPROTO_IPV6, IPV6_UNICAST_HOPS, AT(ttl6), 0, 255, false},
    {IPPROTO_IPV6, IPV6_TCLASS, AT(tos6), 0, 255, false},
    {IPPROTO_IPV6, IPV6_MULTICAST_HOPS, AT(group_ttl6), 0, 255, false},
    {IPPROTO_IPV6, IPV6_MULTICAST_LOOP, AT(group_loop6), 0, 1, false},
    {IPPROTO_IPV6, IPV6_MULTICAST_ALL, AT(group_all6), 0, 1, false},
    {IPPROTO_IPV6, IPV6_MULTICAST_IF, AT(group_if6), 0, INT32_MAX, false},
};

static const struct number *number_for(int level, int name)
{
    for (size_t i = 0; i < WEFT__ARRAY_LEN(numbers); i++)
        if (numbers[i].level == level && numbers[i].name == name)
            return &numbers[i];
    return NULL;
}

static int *slot(struct weft__udp *u, const struct number *n)
{
    return (int *)(void *)((char *)u + n->offset);
}

static int read_int(int *ret, const void *value, socklen_t len, bool byte)
{
    if (len >= sizeof *ret)
        memcpy(ret, value, sizeof *ret);
    else if (byte && len >= 1)
        *ret = *(const uint8_t *)value;
    else
        return -EINVAL;
    return 0;
}

static int set_number(struct weft__udp *u, const struct number *n, const void *value, socklen_t len)
{
    int x, err = read_int(&x, value, len, n->byte);
    if (err < 0)
        return err;
    if (x < n->min || x > n->max)
        return -EINVAL;
    *slot(u, n) = n->min == INT32_MIN ? x != 0 : x;
    return 0;
}

static int give_int(int x, void *value, socklen_t *len)
{
    *len = (socklen_t)weft__min_size(*len, sizeof x);
    memcpy(value, &x, *len);
    return 0;
}

/* --- setsockopt(2) ---------------------------------------------------------------------------- */

/* Linux takes twice what is asked for, and never says no. */
static int buffer_size(int asked, int max, int min)
{
    if (asked < 0 || asked > max)
        asked = max;
    return asked * 2 > min ? asked * 2 : min;
}

static int set_socket(struct weft__udp *u, int name, const void *value, socklen_t len)
{
    int x, err = read_int(&x, value, len, false);
    if (err < 0)
        return err;
    switch (name) {
    case SO_RCVBUF:
        u->rcvbuf = buffer_size(x, BUFFER_MAX, RCVBUF_MIN);
        return 0;
    case SO_RCVBUFFORCE:
        u->rcvbuf = buffer_size(x < 0 ? 0 : x, INT32_MAX / 2, RCVBUF_MIN);
        return 0;
    case SO_SNDBUF:
        u->sndbuf = buffer_size(x, BUFFER_MAX, SNDBUF_MIN);
        return 0;
    case SO_SNDBUFFORCE:
        u->sndbuf = buffer_size(x < 0 ? 0 : x, INT32_MAX / 2, SNDBUF_MIN);
        return 0;
    case SO_REUSEADDR:
        u->port.reuse_addr = x != 0;
        return 0;
    case SO_REUSEPORT:
        u->port.reuse_port = x != 0;
        return 0;
    default:
        return -ENOPROTOOPT;
    }
}

/* A number, struct in_addr, or one of the requests for groups. */
static int set_group_if4(struct weft__udp *u, const void *value, socklen_t len)
{
    struct ip_mreqn req = {0};
    if (len >= sizeof(struct ip_mreq)) {
        (void)read_mreqn(&req, value, len);
    } else if (len >= sizeof req.imr_address) {
        memcpy(&req.imr_address, value, sizeof req.imr_address);
        req.imr_ifindex = is_lo4(req.imr_address) ? WEFT__UDP_LO : 0;
    } else {
        return -EINVAL;
    }
    u->group_if4 = req.imr_ifindex;
    return 0;
}

static int set_ip(struct weft__udp *u, int name, const void *value, socklen_t len)
{
    switch (name) {
    case IP_ADD_MEMBERSHIP:
    case IP_DROP_MEMBERSHIP:
        return member4(u, name == IP_ADD_MEMBERSHIP, value, len);
    case MCAST_JOIN_GROUP:
    case MCAST_LEAVE_GROUP:
        return member(u, name == MCAST_JOIN_GROUP, AF_INET, value, len);
    case IP_MULTICAST_IF:
        return set_group_if4(u, value, len);
    default:
        return -ENOPROTOOPT;
    }
}

static int set_ipv6(struct weft__udp *u, int name, const void *value, socklen_t len)
{
    int x, err;
    switch (name) {
    case IPV6_JOIN_GROUP:
    case IPV6_LEAVE_GROUP:
        return member6(u, name == IPV6_JOIN_GROUP, value, len);
    case MCAST_JOIN_GROUP:
    case MCAST_LEAVE_GROUP:
        return member(u, name == MCAST_JOIN_GROUP, AF_INET6, value, len);
    case IPV6_V6ONLY:
        err = read_int(&x, value, len, false);
        if (err == 0 && weft__port_bound(&u->port))
            err = -EINVAL;
        if (err == 0)
            u->port.v6only = x != 0;
        return err;
    default:
        return -ENOPROTOOPT;
    }
}

int weft__udp_set(struct weft__desc *d, int level, int name, const void *value, socklen_t len)
{
    struct weft__udp *u = weft__udp_of(d);
    if (level == IPPROTO_IPV6 && u->port.domain != AF_INET6)
        return -ENOPROTOOPT;
    const struct number *n = number_for(level, name);
    if (n != NULL)
        return set_number(u, n, value, len);
    switch (level) {
    case SOL_SOCKET:
        return set_socket(u, name, value, len);
    case IPPROTO_IP:
        return set_ip(u, name, value, len);
    case IPPROTO_IPV6:
        return set_ipv6(u, name, value, len);
    default: /* SOL_UDP, too: UDP_SEGMENT and UDP_GRO are for those who can do without */
        return -ENOPROTOOPT;
    }
}

/* --- getsockopt(2) ---------------------------------------------------------------------------- */

static int get_socket(struct weft__udp *u, int name, int *ret)
{
    switch (name) {
    case SO_RCVBUF:
        *ret = u->rcvbuf;
        return 0;
    case SO_SNDBUF:
        *ret = u->sndbuf;
        return 0;
    case SO_REUSEADDR:
        *ret = u->port.reuse_addr;
        return 0;
    case SO_REUSEPORT:
        *ret = u->port.reuse_port;
        return 0;
    case SO_TYPE:
        *ret = SOCK_DGRAM;
        return 0;
    case SO_DOMAIN:
        *ret = u->port.domain;
        return 0;
    case SO_PROTOCOL:
        *ret = IPPROTO_UDP;
        return 0;
    case SO_ACCEPTCONN:
        *ret = 0;
        return 0;
    case SO_ERROR:
        *ret = -u->error;
        u->error = 0;
        return 0;
    default:
        return -ENOPROTOOPT;
    }
}

static int get_group_if4(const struct weft__udp *u, void *value, socklen_t *len)
{
    struct in_addr a = {0};
    if (u->group_if4 == WEFT__UDP_LO)
        a.s_addr = htonl(INADDR_LOOPBACK);
    *len = (socklen_t)weft__min_size(*len, sizeof a);
    memcpy(value, &a, *len);
    return 0;
}

int weft__udp_get(struct weft__desc *d, int level, int name, void *value, socklen_t *len)
{
    struct weft__udp *u = weft__udp_of(d);
    int x = 0, err = -ENOPROTOOPT;
    if (level == IPPROTO_IPV6 && u->port.domain != AF_INET6)
        return -ENOPROTOOPT;
    const struct number *n = number_for(level, name);
    if (n != NULL)
        return give_int(*slot(u, n), value, len);
    if (level == IPPROTO_IP && name == IP_MULTICAST_IF)
        return get_group_if4(u, value, len);
    if (level == SOL_SOCKET) {
        err = get_socket(u, name, &x);
    } else if (level == IPPROTO_IPV6 && name == IPV6_V6ONLY) {
        x = u->port.v6only;
        err = 0;
    }
    return err < 0 ? err : give_int(x, value, len);
}
