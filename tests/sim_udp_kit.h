/* SPDX-License-Identifier: MIT */
/* A small simulated network, and calls on its datagram sockets, for tests of this floor. */
#ifndef SIM_UDP_KIT_H
#define SIM_UDP_KIT_H

#include "rt_kit.h"

#include <arpa/inet.h>

#include "sys/sim/calls.h"
#include "sys/sim/ports.h"

#define MS INT64_C(1000000)
#define US INT64_C(1000)
#define HOSTS 3

struct net {
    struct weft__world *w;
    struct weft__host *h[HOSTS];
    struct weft__proc *p[HOSTS];
};

/* Hosts "h0", "h1" and "h2", which are 10.0.0.1 to 10.0.0.3 and fd00::1 to fd00::3. */
static inline void net_open(struct net *n, uint64_t seed)
{
    char name[] = "h0";
    assert_int_equal(weft__world_open(&n->w, seed), 0);
    assert_int_equal(weft__trace_open(n->w, 16), 0);
    for (int i = 0; i < HOSTS; i++, name[1]++) {
        assert_int_equal(weft__host_open(&n->h[i], n->w, name), 0);
        assert_int_equal(weft__proc_open(&n->p[i], n->h[i]), 0);
    }
}

static inline void net_close(struct net *n)
{
    for (int i = 0; i < HOSTS; i++)
        if (n->p[i] != NULL)
            weft__proc_close(n->p[i]);
    weft__world_close(n->w);
}

/* Until nothing is on its way any more. */
static inline void net_run(struct net *n)
{
    while (weft__world_step(n->w)) {
    }
}

static inline void net_link(struct net *n, struct weft__link l)
{
    assert_int_equal(weft__link_set(n->w, "*", "*", &l), 0);
}

static inline union weft__sa at(const char *ip, int port)
{
    union weft__sa a = {0};
    if (strchr(ip, ':') != NULL) {
        a.in6.sin6_family = AF_INET6;
        assert_int_equal(inet_pton(AF_INET6, ip, &a.in6.sin6_addr), 1);
    } else {
        a.in4.sin_family = AF_INET;
        assert_int_equal(inet_pton(AF_INET, ip, &a.in4.sin_addr), 1);
    }
    weft__sa_set_port(&a.sa, (uint16_t)port);
    return a;
}

static inline int udp_socket(struct weft__proc *p, int domain)
{
    int fd = weft__sim_socket(p, domain, SOCK_DGRAM, 0);
    assert_true(fd >= WEFT__SIM_FD_FIRST);
    return fd;
}

static inline int try_bind(struct weft__proc *p, int fd, const char *ip, int port)
{
    union weft__sa a = at(ip, port);
    return weft__sim_bind(p, fd, &a.sa, weft__sa_len(&a.sa));
}

static inline int udp_bound(struct weft__proc *p, const char *ip, int port)
{
    int fd = udp_socket(p, strchr(ip, ':') != NULL ? AF_INET6 : AF_INET);
    assert_int_equal(try_bind(p, fd, ip, port), 0);
    return fd;
}

static inline int udp_connect(struct weft__proc *p, int fd, const char *ip, int port)
{
    union weft__sa a = at(ip, port);
    return weft__sim_connect_now(p, fd, &a.sa, weft__sa_len(&a.sa));
}

/* "10.0.0.1:80" of the socket, or of its peer. */
static inline const char *address_of(struct weft__proc *p, int fd, bool peer)
{
    static char text[2][64];
    union weft__sa a;
    socklen_t len = sizeof a;
    int err = weft__sim_address(p, fd, peer, &a.sa, &len);
    if (err < 0)
        return weft_error_name(err);
    weft__sa_print(&a.sa, text[peer], sizeof text[peer]);
    return text[peer];
}

static inline int port_of(struct weft__proc *p, int fd)
{
    union weft__sa a;
    socklen_t len = sizeof a;
    assert_int_equal(weft__sim_address(p, fd, false, &a.sa, &len), 0);
    return weft__sa_port(&a.sa);
}

static inline int set_int(struct weft__proc *p, int fd, int level, int name, int x)
{
    return weft__sim_setsockopt(p, fd, level, name, &x, sizeof x);
}

static inline int get_int(struct weft__proc *p, int fd, int level, int name)
{
    int x = -1;
    socklen_t len = sizeof x;
    int err = weft__sim_getsockopt(p, fd, level, name, &x, &len);
    return err < 0 ? err : x;
}

/* ip NULL: to the peer. */
static inline ssize_t udp_send(struct weft__proc *p, int fd, const char *ip, int port,
                               const void *data, size_t len)
{
    union weft__sa a;
    struct iovec iov = {.iov_base = (void *)(uintptr_t)data, .iov_len = len};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    if (ip != NULL) {
        a = at(ip, port);
        msg.msg_name = &a;
        msg.msg_namelen = weft__sa_len(&a.sa);
    }
    return weft__sim_sendmsg_now(p, fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* What came last: its sender and flags. */
static char kit_from[64];
static int kit_flags;

static inline ssize_t udp_recv(struct weft__proc *p, int fd, void *buf, size_t cap, int flags)
{
    struct sockaddr_storage from;
    struct iovec iov = {.iov_base = buf, .iov_len = cap};
    struct msghdr msg = {
        .msg_name = &from, .msg_namelen = sizeof from, .msg_iov = &iov, .msg_iovlen = 1};
    memset(&from, 0, sizeof from);
    ssize_t n = weft__sim_recvmsg_now(p, fd, &msg, flags | MSG_DONTWAIT);
    if (n >= 0) {
        weft__sa_print((const struct sockaddr *)&from, kit_from, sizeof kit_from);
        kit_flags = msg.msg_flags;
    }
    return n;
}

/* How many are there. */
static inline int udp_drain(struct weft__proc *p, int fd)
{
    static char buf[65536];
    int n = 0;
    while (udp_recv(p, fd, buf, sizeof buf, 0) >= 0)
        n++;
    return n;
}

#endif
