/* SPDX-License-Identifier: MIT */
/*
 * Internet addresses as sockets of a simulated host see them, and routes; see ports.h.
 *
 * Floor 1. Addresses of users come with any alignment of sockaddr_storage's; they are read in
 * place.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "sys/sim/ports.h"

static const struct sockaddr_in *in4_of(const struct sockaddr *sa)
{
    return (const struct sockaddr_in *)(const void *)sa;
}

static const struct sockaddr_in6 *in6_of(const struct sockaddr *sa)
{
    return (const struct sockaddr_in6 *)(const void *)sa;
}

/* --- Kinds ------------------------------------------------------------------------------------ */

bool weft__sa_is_any(const struct sockaddr *sa)
{
    if (sa->sa_family == AF_INET)
        return in4_of(sa)->sin_addr.s_addr == htonl(INADDR_ANY);
    return sa->sa_family == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&in6_of(sa)->sin6_addr);
}

bool weft__sa_is_loopback(const struct sockaddr *sa)
{
    if (sa->sa_family == AF_INET)
        return ntohl(in4_of(sa)->sin_addr.s_addr) >> 24 == 127;
    return sa->sa_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&in6_of(sa)->sin6_addr);
}

bool weft__sa_is_multicast(const struct sockaddr *sa)
{
    if (sa->sa_family == AF_INET)
        return IN_MULTICAST(ntohl(in4_of(sa)->sin_addr.s_addr));
    return sa->sa_family == AF_INET6 && IN6_IS_ADDR_MULTICAST(&in6_of(sa)->sin6_addr);
}

bool weft__sa_is_broadcast(const struct sockaddr *sa)
{
    if (sa->sa_family != AF_INET)
        return false;
    uint32_t a = ntohl(in4_of(sa)->sin_addr.s_addr);
    return a == INADDR_BROADCAST || a == UINT32_C(0x0affffff);
}

bool weft__sa_is_mapped(const struct sockaddr *sa)
{
    return sa->sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&in6_of(sa)->sin6_addr);
}

/* --- Parts ------------------------------------------------------------------------------------ */

uint16_t weft__sa_port(const struct sockaddr *sa)
{
    if (sa->sa_family == AF_INET)
        return ntohs(in4_of(sa)->sin_port);
    return sa->sa_family == AF_INET6 ? ntohs(in6_of(sa)->sin6_port) : 0;
}

void weft__sa_set_port(struct sockaddr *sa, uint16_t port)
{
    if (sa->sa_family == AF_INET)
        ((struct sockaddr_in *)(void *)sa)->sin_port = htons(port);
    else if (sa->sa_family == AF_INET6)
        ((struct sockaddr_in6 *)(void *)sa)->sin6_port = htons(port);
}

bool weft__sa_same_address(const struct sockaddr *a, const struct sockaddr *b)
{
    if (a->sa_family != b->sa_family)
        return false;
    if (a->sa_family == AF_INET)
        return in4_of(a)->sin_addr.s_addr == in4_of(b)->sin_addr.s_addr;
    return a->sa_family == AF_INET6 &&
           IN6_ARE_ADDR_EQUAL(&in6_of(a)->sin6_addr, &in6_of(b)->sin6_addr);
}

bool weft__sa_equal(const struct sockaddr *a, const struct sockaddr *b)
{
    return weft__sa_same_address(a, b) && weft__sa_port(a) == weft__sa_port(b);
}

socklen_t weft__sa_len(const struct sockaddr *sa)
{
    if (sa->sa_family == AF_INET)
        return sizeof(struct sockaddr_in);
    return sa->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6) : 0;
}

/* --- Plain and mapped ------------------------------------------------------------------------- */

static void set_v4(union weft__sa *ret, in_addr_t addr, in_port_t port)
{
    *ret = (union weft__sa){0};
    ret->in4.sin_family = AF_INET;
    ret->in4.sin_addr.s_addr = addr;
    ret->in4.sin_port = port;
}

static void set_v6(union weft__sa *ret, const struct in6_addr *addr)
{
    *ret = (union weft__sa){0};
    ret->in6.sin6_family = AF_INET6;
    ret->in6.sin6_addr = *addr;
}

void weft__sa_plain(union weft__sa *ret, const struct sockaddr *sa)
{
    if (sa->sa_family == AF_INET) {
        set_v4(ret, in4_of(sa)->sin_addr.s_addr, in4_of(sa)->sin_port);
    } else if (weft__sa_is_mapped(sa)) {
        in_addr_t v4;
        memcpy(&v4, &in6_of(sa)->sin6_addr.s6_addr[12], sizeof v4);
        set_v4(ret, v4, in6_of(sa)->sin6_port);
    } else {
        struct sockaddr_in6 copy = *in6_of(sa);
        copy.sin6_flowinfo = 0;
        *ret = (union weft__sa){.in6 = copy};
    }
}

socklen_t weft__sa_show(struct sockaddr_storage *ret, int domain, const struct sockaddr *plain)
{
    union weft__sa u = {0};
    if (domain == AF_INET6 && plain->sa_family == AF_INET) {
        u.in6.sin6_family = AF_INET6;
        u.in6.sin6_port = in4_of(plain)->sin_port;
        u.in6.sin6_addr.s6_addr[10] = u.in6.sin6_addr.s6_addr[11] = 0xff;
        memcpy(&u.in6.sin6_addr.s6_addr[12], &in4_of(plain)->sin_addr, 4);
    } else if (plain->sa_family == AF_INET) {
        u.in4 = *in4_of(plain);
    } else {
        u.in6 = *in6_of(plain);
    }
    socklen_t len = weft__sa_len(&u.sa);
    memset(ret, 0, sizeof *ret);
    memcpy(ret, &u, len);
    return len;
}

void weft__sa_resolve_any(union weft__sa *plain)
{
    uint16_t port = weft__sa_port(&plain->sa);
    if (!weft__sa_is_any(&plain->sa))
        return;
    if (plain->sa.sa_family == AF_INET)
        set_v4(plain, htonl(INADDR_LOOPBACK), 0);
    else
        set_v6(plain, &in6addr_loopback);
    weft__sa_set_port(&plain->sa, port);
}

int weft__sa_destination(union weft__sa *ret, int domain, bool v6only, const struct sockaddr *sa,
                         socklen_t len)
{
    union weft__sa to;
    if (len < sizeof sa->sa_family)
        return -EINVAL;
    if (sa->sa_family != domain)
        return -EAFNOSUPPORT;
    if (len < weft__sa_len(sa))
        return -EINVAL;
    if (v6only && weft__sa_is_mapped(sa))
        return -ENETUNREACH;
    weft__sa_plain(&to, sa);
    weft__sa_resolve_any(&to);
    *ret = to;
    return 0;
}

void weft__sa_give(void *sa, socklen_t *len, const struct sockaddr_storage *from,
                   socklen_t from_len)
{
    if (sa == NULL)
        return;
    memcpy(sa, from, weft__min_size(*len, from_len));
    *len = from_len;
}

void weft__sa_print(const struct sockaddr *sa, char *buf, size_t cap)
{
    char text[INET6_ADDRSTRLEN];
    bool v6 = sa->sa_family == AF_INET6;
    const void *addr = v6 ? (const void *)&in6_of(sa)->sin6_addr : &in4_of(sa)->sin_addr;
    if (weft__sa_len(sa) == 0 || inet_ntop(sa->sa_family, addr, text, sizeof text) == NULL)
        (void)snprintf(buf, cap, "-");
    else
        (void)snprintf(buf, cap, v6 ? "[%s]:%d" : "%s:%d", text, weft__sa_port(sa));
}

/* --- Routes ----------------------------------------------------------------------------------- */

bool weft__host_has(const struct weft__host *h, const struct sockaddr *sa)
{
    if (weft__sa_is_loopback(sa))
        return true;
    if (sa->sa_family == AF_INET)
        return in4_of(sa)->sin_addr.s_addr == h->address4.s_addr;
    return sa->sa_family == AF_INET6 && IN6_ARE_ADDR_EQUAL(&in6_of(sa)->sin6_addr, &h->address6);
}

void weft__host_source(const struct weft__host *h, const struct sockaddr *to, union weft__sa *ret)
{
    bool loopback = weft__sa_is_loopback(to);
    if (to->sa_family == AF_INET)
        set_v4(ret, loopback ? htonl(INADDR_LOOPBACK) : h->address4.s_addr, 0);
    else
        set_v6(ret, loopback ? &in6addr_loopback : &h->address6);
}
