/* SPDX-License-Identifier: MIT */
/*
 * UDP sockets: opening, one datagram at a time, multicast, facts.
 *
 * Floor 3. Invariants: one receiver and one sender at a time; the socket is freed by the last to
 * leave it; a receive that fails loses nothing but a datagram that is longer than its room.
 */
#include "net/udp.h"

#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "net/address.h"
#include "net/stream.h"
#include "sys/call.h"
#include "sys/sim/world.h"

/* --- Opening and closing --------------------------------------------------------------------- */

static int set_int(int fd, int level, int name, int value)
{
    return weft__call_setsockopt(fd, level, name, &value, sizeof value);
}

static int options(int fd, const struct weft_endpoint *e, const struct weft_udp_options *o)
{
    int err = 0;
    if (o->reuse_port) {
        err = set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1); /* for multicast receivers of one port */
        if (err == 0)
            err = set_int(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    }
    if (err == 0 && o->broadcast)
        err = set_int(fd, SOL_SOCKET, SO_BROADCAST, 1);
    if (err == 0 && o->receive_buffer > 0)
        err = set_int(fd, SOL_SOCKET, SO_RCVBUF, o->receive_buffer);
    if (err == 0 && o->send_buffer > 0)
        err = set_int(fd, SOL_SOCKET, SO_SNDBUF, o->send_buffer);
    if (err == 0 && e->address.sa.ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&e->address.sa;
        bool dual = IN6_IS_ADDR_UNSPECIFIED(&in6->sin6_addr);
        err = set_int(fd, IPPROTO_IPV6, IPV6_V6ONLY, !dual);
    }
    return err;
}

static int connect_now(int fd, const struct weft_endpoint *e)
{
    /* It never waits: nothing is sent. */
    return weft__call_connect_now(fd, (const struct sockaddr *)&e->address.sa, e->address.len);
}

/* A socket that is bound or connected; e becomes the local endpoint. */
static int socket_for(struct weft_endpoint *e, const struct weft_udp_options *o, bool dial)
{
    int fd = weft__call_socket(e->address.sa.ss_family, SOCK_DGRAM, 0);
    if (fd < 0)
        return fd;
    int err = options(fd, e, o);
    if (err == 0 && dial)
        err = connect_now(fd, e);
    else if (err == 0)
        err = weft__call_bind(fd, (const struct sockaddr *)&e->address.sa, e->address.len);
    if (err == 0)
        err = weft__socket_local(fd, &e->address);
    if (err < 0) {
        weft__call_close(fd);
        return err;
    }
    if (dial)
        e->any = false;
    return fd;
}

int weft__udp_open(struct weft_udp **ret, const struct weft_endpoint *e, const char *endpoint,
                   const struct weft_udp_options *o, bool dial)
{
    int err;
    struct weft_udp *u = weft__calloc(1, sizeof *u);
    if (u == NULL)
        return -ENOMEM;
    u->at = *e;
    u->loop = weft_loop_current();
    u->fd = socket_for(&u->at, o, dial);
    if ((u->fd == -EAFNOSUPPORT || u->fd == -EADDRNOTAVAIL) && e->any) {
        /* A machine without IPv6. */
        u->at = *e;
        err = weft_address_ip(&u->at.address, dial ? "127.0.0.1" : "0.0.0.0",
                              weft_address_port(&e->address));
        u->fd = err < 0 ? err : socket_for(&u->at, o, dial);
    }
    if (u->fd < 0) {
        err = weft__fail(u->fd, "cannot %s %s", dial ? "connect to" : "bind to", endpoint);
        weft__free(u);
        return err;
    }
    err = o->segment ? weft__udp_segment(u) : 0;
    if (err < 0) {
        weft_udp_close(&u);
        return err;
    }
    *ret = u;
    return 0;
}

static void udp_free(struct weft_udp *u)
{
    weft__sys_close_fd(u->loop != NULL ? u->loop->sys : NULL, u->fd);
    weft__free(u->gro);
    weft__free(u);
}

static void interrupt(struct weft__flow *f)
{
    if (f != NULL && f->kind == WEFT__FLOW_TASK && f->wait != NULL)
        weft__wait_abort(f->wait, -ECANCELED);
}

void weft_udp_close(struct weft_udp **ret)
{
    struct weft_udp *u = *ret;
    if (u == NULL)
        return;
    *ret = NULL;
    if (u->receiver == NULL && u->sender == NULL) {
        udp_free(u);
        return;
    }
    u->closed = true;
    interrupt(u->receiver);
    interrupt(u->sender);
}

/* --- Who is inside --------------------------------------------------------------------------- */

int weft__udp_enter(struct weft_udp *u, struct weft__flow **place)
{
    struct weft__flow *f = weft__flow_self();
    if (WEFT__UNLIKELY(f->loop != u->loop))
        return weft__fail(WEFT_ETHREAD, "the UDP socket belongs to another loop");
    int err = weft__wait_check();
    if (WEFT__UNLIKELY(err < 0))
        return err;
    if (WEFT__UNLIKELY(u->closed))
        return WEFT_ECLOSED;
    if (WEFT__UNLIKELY(*place != NULL))
        return weft__fail(-EBUSY, "task '%s' is already %s", (*place)->name,
                          place == &u->receiver ? "receiving here" : "sending from here");
    *place = f;
    return 0;
}

int weft__udp_leave(struct weft_udp *u, struct weft__flow **place, int res)
{
    *place = NULL;
    if (WEFT__LIKELY(!u->closed))
        return res;
    if (u->receiver == NULL && u->sender == NULL)
        udp_free(u);
    return WEFT_ECLOSED;
}

int weft__udp_await(struct weft_udp *u, short events, weft_deadline d)
{
    struct weft__io io;
    if (u->closed)
        return WEFT_ECLOSED;
    io.op = (struct weft__op){.kind = WEFT__OP_POLL, .fd = u->fd, .u.poll = {.events = events}};
    int n = weft__await(&io, events == POLLIN ? "udp recv" : "udp send", d);
    return n < 0 ? n : 0;
}

/* --- One datagram ---------------------------------------------------------------------------- */

static int recv_one(struct weft_udp *u, void *buf, size_t cap, struct weft_address *from,
                    weft_deadline d)
{
    struct weft_address sender = {0};
    struct iovec iov = {.iov_base = buf, .iov_len = cap};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    struct weft__io io;
    if (from != NULL) {
        msg.msg_name = &sender.sa;
        msg.msg_namelen = sizeof sender.sa;
    }
    io.op = (struct weft__op){.kind = WEFT__OP_RECVMSG, .fd = u->fd, .u.msg = {.msg = &msg}};
    int n = weft__await(&io, "udp recv", d);
    if (n < 0)
        return n;
    if (msg.msg_flags & MSG_TRUNC)
        return weft__fail(-EMSGSIZE, "the datagram is longer than %zu bytes", cap);
    if (from != NULL) {
        sender.len = msg.msg_namelen;
        *from = sender;
    }
    return n;
}

static int gro_recv_one(struct weft_udp *u, void *buf, size_t cap, struct weft_address *from,
                        weft_deadline d)
{
    struct weft_datagram dg = {.data = buf, .cap = cap};
    int n = weft__udp_gro_recv(u, &dg, 1, d);
    if (n < 0)
        return n;
    if (dg.truncated)
        return weft__fail(-EMSGSIZE, "the datagram is longer than %zu bytes", cap);
    if (from != NULL)
        *from = dg.address;
    return (int)dg.len;
}

ssize_t weft_udp_recv(struct weft_udp *u, void *buf, size_t cap, struct weft_address *from,
                      weft_deadline d)
{
    int n = weft__udp_enter(u, &u->receiver);
    if (n < 0)
        return n;
    n = u->gro != NULL ? gro_recv_one(u, buf, cap, from, d) : recv_one(u, buf, cap, from, d);
    return weft__udp_leave(u, &u->receiver, n);
}

int weft_udp_send(struct weft_udp *u, const void *buf, size_t len, const struct weft_address *to,
                  weft_deadline d)
{
    int n = weft__udp_enter(u, &u->sender);
    if (n < 0)
        return n;
    struct iovec iov = {.iov_base = (void *)(uintptr_t)buf, .iov_len = len};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    struct weft__io io;
    if (to != NULL && to->len > 0) {
        msg.msg_name = (void *)(uintptr_t)&to->sa;
        msg.msg_namelen = to->len;
    }
    io.op = (struct weft__op){.kind = WEFT__OP_SENDMSG, .fd = u->fd, .u.msg = {.msg = &msg}};
    n = weft__await(&io, "udp send", d);
    return weft__udp_leave(u, &u->sender, n < 0 ? n : 0);
}

/* --- Multicast ------------------------------------------------------------------------------- */

static int interface_index(const char *name, unsigned *ret)
{
    if (name == NULL)
        return 0;
    if (WEFT__UNLIKELY(weft__sim_proc != NULL))
        return weft__fail(-ENODEV, "a simulated host has no interface %s; NULL is its one", name);
    *ret = if_nametoindex(name);
    return *ret != 0 ? 0 : weft__fail(-ENODEV, "no interface is called %s", name);
}

/* The kernel's one call for both families, RFC 3678. */
static int membership(struct weft_udp *u, int name, const char *group, const char *interface)
{
    struct weft_address a;
    struct group_req req = {0};
    unsigned index = 0;
    int err = weft_address_ip(&a, group, 0);
    if (err == 0)
        err = interface_index(interface, &index);
    if (err < 0)
        return err;
    bool v6 = a.sa.ss_family == AF_INET6;
    if (index == 0 && v6)
        index = ((const struct sockaddr_in6 *)&a.sa)->sin6_scope_id;
    req.gr_interface = index;
    memcpy(&req.gr_group, &a.sa, a.len);
    err = weft__call_setsockopt(u->fd, v6 ? IPPROTO_IPV6 : IPPROTO_IP, name, &req, sizeof req);
    if (err < 0)
        return weft__fail(err, "cannot %s %s on %s", name == MCAST_JOIN_GROUP ? "join" : "leave",
                          group, interface != NULL ? interface : "the system's choice");
    return 0;
}

int weft_udp_join(struct weft_udp *u, const char *group, const char *interface)
{
    return membership(u, MCAST_JOIN_GROUP, group, interface);
}

int weft_udp_leave(struct weft_udp *u, const char *group, const char *interface)
{
    return membership(u, MCAST_LEAVE_GROUP, group, interface);
}

static int multicast_v4(int fd, int hops, bool loop, unsigned index)
{
    struct ip_mreqn req = {.imr_ifindex = (int)index};
    int err = set_int(fd, IPPROTO_IP, IP_MULTICAST_TTL, hops);
    if (err == 0)
        err = set_int(fd, IPPROTO_IP, IP_MULTICAST_LOOP, loop);
    if (err == 0)
        err = weft__call_setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &req, sizeof req);
    return err;
}

static int multicast_v6(int fd, int hops, bool loop, unsigned index)
{
    int err = set_int(fd, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, hops);
    if (err == 0)
        err = set_int(fd, IPPROTO_IPV6, IPV6_MULTICAST_LOOP, loop);
    return err == 0 ? set_int(fd, IPPROTO_IPV6, IPV6_MULTICAST_IF, (int)index) : err;
}

int weft_udp_multicast(struct weft_udp *u, int hops, bool loop, const char *interface)
{
    unsigned index = 0;
    if (hops < 0 || hops > 255)
        return weft__fail(-EINVAL, "%d hops; 0 to 255 can be had", hops);
    int err = interface_index(interface, &index);
    if (err < 0)
        return err;
    if (u->at.address.sa.ss_family == AF_INET)
        return multicast_v4(u->fd, hops, loop, index);
    err = multicast_v6(u->fd, hops, loop, index);
    /* An IPv6 socket sends to IPv4 groups, too, with the other family's settings. */
    return err == 0 ? multicast_v4(u->fd, hops, loop, index) : err;
}

/* --- Facts ----------------------------------------------------------------------------------- */

int weft_udp_local(const struct weft_udp *u, struct weft_address *ret)
{
    *ret = u->at.address;
    return 0;
}

int weft_udp_endpoint(const struct weft_udp *u, char *buf, size_t cap)
{
    return weft_endpoint_print(&u->at, buf, cap);
}

int weft_udp_fd(const struct weft_udp *u)
{
    return u->fd;
}
