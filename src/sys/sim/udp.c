/* SPDX-License-Identifier: MIT */
/*
 * Simulated datagram sockets: what a descriptor can do, and receiving; see udp.h.
 *
 * Floor 1. The behaviour is that of udp(7), ip(7) and ipv6(7) on Linux.
 */
#include "sys/sim/udp.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "sys/sim/memory.h"

#define BUFFER_DEFAULT 212992
/* What a datagram costs in the receive buffer beside its bytes, so that many empty ones fill it,
 * too: the size of Linux's struct sk_buff. */
#define OVERHEAD 256

/* --- The receive queue ------------------------------------------------------------------------ */

static struct weft__dgram *first(const struct weft__udp *u)
{
    return u->queue.first == NULL ? NULL
                                  : WEFT__CONTAINER_OF(u->queue.first, struct weft__dgram, link);
}

static void drop_first(struct weft__udp *u)
{
    struct weft__dgram *d = first(u);
    (void)weft__queue_pop_front(&u->queue);
    u->queued -= d->len + OVERHEAD;
    weft__free(d);
}

void weft__udp_drop(struct weft__dgram *d, const char *fmt)
{
    struct weft__world *w = d->path->from->world;
    w->stats.dropped++;
    weft__trace(w, d->path->from, d->path->to, fmt, weft__sa_port(&d->from.sa),
                weft__sa_port(&d->to.sa), d->len, 0);
    weft__free(d);
}

void weft__udp_enqueue(struct weft__udp *u, struct weft__dgram *d)
{
    struct weft__world *w = u->desc.world;
    size_t cost = d->len + OVERHEAD;
    if (u->queued > 0 && u->queued + cost > (size_t)u->rcvbuf) {
        weft__udp_drop(d, "udp %" PRIi64 " > %" PRIi64 ": %" PRIi64 " bytes: the queue is full");
        return;
    }
    w->stats.datagrams++;
    weft__trace(w, d->path->from, d->path->to, "udp %" PRIi64 " > %" PRIi64 ": %" PRIi64 " bytes",
                weft__sa_port(&d->from.sa), weft__sa_port(&d->to.sa), d->len, 0);
    u->queued += cost;
    weft__queue_push_back(&u->queue, &d->link);
    weft__desc_wake(&u->desc);
}

/* --- Receiving -------------------------------------------------------------------------------- */

/* What a call finds before it does anything: the network gone, or an error to tell. */
static int pending(struct weft__udp *u)
{
    int err = u->error;
    if (WEFT__UNLIKELY(u->desc.proc->ghost))
        return -ENETDOWN;
    u->error = 0;
    return err;
}

/* Copies what fits; returns how much. */
static size_t scatter(const struct msghdr *msg, const struct weft__dgram *d)
{
    size_t done = 0;
    for (size_t i = 0; i < msg->msg_iovlen && done < d->len; i++) {
        size_t n = weft__min_size(msg->msg_iov[i].iov_len, d->len - done);
        if (n > 0) /* an empty piece may have no address */
            memcpy(msg->msg_iov[i].iov_base, d->data + done, n);
        done += n;
    }
    return done;
}

static ssize_t receive(struct weft__udp *u, struct msghdr *msg, int flags)
{
    struct sockaddr_storage from;
    int err = pending(u);
    if (err < 0)
        return err;
    if (flags & MSG_OOB)
        return -EOPNOTSUPP;
    if (flags & MSG_ERRQUEUE)
        return -EAGAIN; /* IP_RECVERR cannot be had here, so it is empty */
    const struct weft__dgram *d = first(u);
    msg->msg_flags = 0;
    msg->msg_controllen = 0;
    if (d == NULL && u->shut_in) {
        if (msg->msg_name != NULL)
            msg->msg_namelen = 0;
        return 0;
    }
    if (d == NULL)
        return -EAGAIN;
    size_t n = scatter(msg, d), whole = d->len;
    if (n < whole)
        msg->msg_flags |= MSG_TRUNC;
    socklen_t from_len = weft__sa_show(&from, u->port.domain, &d->from.sa);
    weft__sa_give(msg->msg_name, &msg->msg_namelen, &from, from_len);
    if (!(flags & MSG_PEEK))
        drop_first(u);
    return (ssize_t)((flags & MSG_TRUNC) ? whole : n);
}

static ssize_t recv_now(struct weft__desc *d, struct msghdr *msg, int flags)
{
    return receive(weft__udp_of(d), msg, flags);
}

static ssize_t send_now(struct weft__desc *d, const struct msghdr *msg, int flags)
{
    return weft__udp_send(weft__udp_of(d), msg, flags);
}

/* --- Operations ------------------------------------------------------------------------------- */

static enum weft__sim_tried outcome(struct weft__op *op, ssize_t n)
{
    if (n == -EAGAIN)
        return WEFT__SIM_WAIT;
    op->res = (int)n;
    return WEFT__SIM_ENDED;
}

static enum weft__sim_tried attempt_recv(struct weft__udp *u, struct weft__op *op)
{
    struct iovec iov = {.iov_base = op->u.io.buf, .iov_len = op->u.io.len};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    if (op->kind == WEFT__OP_READ && op->u.io.len == 0)
        return outcome(op, 0); /* read(2) of nothing takes no datagram */
    ssize_t n = receive(u, &msg, op->kind == WEFT__OP_RECV ? op->u.io.flags : 0);
    op->full = !weft__queue_empty(&u->queue);
    return outcome(op, n);
}

static enum weft__sim_tried attempt_recv_pool(struct weft__udp *u, struct weft__op *op)
{
    const struct weft__dgram *d = first(u);
    struct weft__rbuf *rb = NULL;
    struct iovec iov = {0};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    if (u->error == 0 && d != NULL && d->len > 0) {
        rb = weft__sim_rbuf(&u->desc, op);
        if (rb == NULL)
            return WEFT__SIM_ENDED;
        iov = (struct iovec){.iov_base = rb->data, .iov_len = WEFT__RBUF_SIZE};
    }
    ssize_t n = receive(u, &msg, 0);
    op->full = !weft__queue_empty(&u->queue);
    if (rb != NULL && n > 0) {
        rb->len = (uint32_t)n;
        op->rbuf = rb;
    } else {
        weft__rpool_put(&u->desc.world->pool, rb);
    }
    return outcome(op, n);
}

static enum weft__sim_tried attempt_send(struct weft__udp *u, struct weft__op *op)
{
    struct iovec iov = {.iov_base = op->u.io.buf, .iov_len = op->u.io.len};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    ssize_t n = weft__udp_send(u, &msg, op->kind == WEFT__OP_SEND ? op->u.io.flags : 0);
    if (n > 0)
        op->moved = (uint32_t)n;
    return outcome(op, n);
}

static int udp_connect(struct weft__desc *d, const struct sockaddr *sa, socklen_t len);

static enum weft__sim_tried attempt(struct weft__desc *d, struct weft__op *op)
{
    struct weft__udp *u = weft__udp_of(d);
    enum weft__sim_tried t;
    switch (op->kind) {
    case WEFT__OP_RECV:
    case WEFT__OP_READ:
        return attempt_recv(u, op);
    case WEFT__OP_RECV_POOL:
        return attempt_recv_pool(u, op);
    case WEFT__OP_RECVMSG:
        t = outcome(op, receive(u, op->u.msg.msg, op->u.msg.flags));
        op->full = !weft__queue_empty(&u->queue);
        return t;
    case WEFT__OP_SEND:
    case WEFT__OP_WRITE:
        return attempt_send(u, op);
    case WEFT__OP_SENDMSG:
        return outcome(op, weft__udp_send(u, op->u.msg.msg, op->u.msg.flags));
    case WEFT__OP_CONNECT:
        return outcome(op, udp_connect(d, op->u.connect.addr, op->u.connect.addrlen));
    default:
        return outcome(op, -EOPNOTSUPP);
    }
}

static short ready(struct weft__desc *d)
{
    const struct weft__udp *u = weft__udp_of(d);
    int r = u->error != 0 ? POLLERR : 0;
    if (!weft__queue_empty(&u->queue) || u->shut_in)
        r |= POLLIN | POLLRDNORM;
    if (u->shut_in)
        r |= POLLRDHUP;
    if (u->shut_in && u->shut_out)
        r |= POLLHUP;
    if (d->world->now_ns >= u->stuck_ns)
        r |= POLLOUT | POLLWRNORM | POLLWRBAND;
    return (short)r;
}

/* --- Addresses -------------------------------------------------------------------------------- */

static int udp_bind(struct weft__desc *d, const struct sockaddr *sa, socklen_t len)
{
    struct weft__udp *u = weft__udp_of(d);
    if (d->proc->ghost)
        return -ENETDOWN;
    int err = weft__port_bind(d->proc, &u->port, sa, len);
    if (err == 0)
        weft__sa_plain(&u->bound, sa);
    return err;
}

int weft__udp_autobind(struct weft__udp *u, const union weft__sa *at)
{
    bool fixed = u->bound.sa.sa_family != 0 && !weft__sa_is_any(&u->bound.sa);
    if (fixed) /* a disconnect has taken its port, and not its address */
        at = &u->bound;
    return weft__port_autobind(u->desc.proc, &u->port, at != NULL ? &at->sa : NULL);
}

/* Back to what bind said; a port that it did not name goes, as on Linux. */
static int disconnect(struct weft__udp *u)
{
    union weft__sa any = {.sa.sa_family = (sa_family_t)u->port.domain};
    bool was_bound = u->bound.sa.sa_family != 0;
    u->port.peer = (union weft__sa){0};
    if (!weft__port_bound(&u->port))
        return 0;
    if (weft__sa_port(&u->bound.sa) == 0)
        weft__port_release(&u->port);
    else
        weft__port_readdress(&u->port, was_bound ? &u->bound.sa : &any.sa);
    return 0;
}

static int udp_connect(struct weft__desc *d, const struct sockaddr *sa, socklen_t len)
{
    struct weft__udp *u = weft__udp_of(d);
    union weft__sa to, from;
    struct weft__host *host;
    if (d->proc->ghost)
        return -ENETDOWN;
    if (len < sizeof sa->sa_family)
        return -EINVAL;
    if (sa->sa_family == AF_UNSPEC)
        return disconnect(u);
    int err = weft__udp_destination(u, sa, len, &to);
    if (err == 0)
        err = weft__udp_route(u, &to, &host, &from);
    if (err < 0)
        return err;
    if (!weft__port_bound(&u->port)) {
        err = weft__udp_autobind(u, &from);
        if (err < 0)
            return err;
    } else if (weft__sa_is_any(&u->port.plain.sa)) {
        weft__port_readdress(&u->port, &from.sa);
    }
    u->port.peer = to;
    return 0;
}

static int address(struct weft__desc *d, bool peer, struct sockaddr_storage *sa, socklen_t *len)
{
    const struct weft__udp *u = weft__udp_of(d);
    if (peer && u->port.peer.sa.sa_family == 0)
        return -ENOTCONN;
    if (peer) {
        *len = weft__sa_show(sa, u->port.domain, &u->port.peer.sa);
    } else if (weft__port_bound(&u->port)) {
        *sa = u->port.b.at;
        *len = u->port.b.at_len;
    } else {
        memset(sa, 0, sizeof *sa);
        sa->ss_family = (sa_family_t)u->port.domain;
        *len = weft__sa_len((const struct sockaddr *)sa);
    }
    return 0;
}

static int udp_shutdown(struct weft__desc *d, int how)
{
    struct weft__udp *u = weft__udp_of(d);
    if (how != SHUT_RD && how != SHUT_WR && how != SHUT_RDWR)
        return -EINVAL;
    /* An unconnected socket is shut, too, and told that it should not have asked. */
    u->shut_in |= how != SHUT_WR;
    u->shut_out |= how != SHUT_RD;
    weft__desc_wake(d);
    return u->port.peer.sa.sa_family != 0 ? 0 : -ENOTCONN;
}

/* --- Life ------------------------------------------------------------------------------------- */

static void release(struct weft__desc *d, bool crash)
{
    struct weft__udp *u = weft__udp_of(d);
    (void)crash; /* a datagram socket ends without a word in any case */
    weft__port_release(&u->port);
    weft__event_del(d->world, &u->room);
    (void)weft__event_reserve(d->world, -1);
    while (first(u) != NULL)
        drop_first(u);
    weft__free(u->groups);
    weft__free(u);
}

static void describe(const struct weft__desc *d, char *buf, size_t cap)
{
    const struct weft__udp *u = WEFT__CONTAINER_OF(d, const struct weft__udp, desc);
    char local[64], peer[64];
    weft__sa_print(&u->port.plain.sa, local, sizeof local);
    weft__sa_print(&u->port.peer.sa, peer, sizeof peer);
    if (u->port.peer.sa.sa_family != 0)
        (void)snprintf(buf, cap, "udp %s - %s", local, peer);
    else
        (void)snprintf(buf, cap, "udp %s", local);
}

const struct weft__desc_class weft__udp_class = {
    .kind = "udp",
    .attempt = attempt,
    .ready = ready,
    .send_now = send_now,
    .recv_now = recv_now,
    .bind = udp_bind,
    .connect_now = udp_connect,
    .shutdown = udp_shutdown,
    .address = address,
    .set = weft__udp_set,
    .get = weft__udp_get,
    .release = release,
    .describe = describe,
};

static void room_due(struct weft__event *e)
{
    weft__desc_wake(&WEFT__CONTAINER_OF(e, struct weft__udp, room)->desc);
}

int weft__sim_udp_open(struct weft__proc *p, int domain, struct weft__desc **ret)
{
    if (domain != AF_INET && domain != AF_INET6)
        return -EAFNOSUPPORT;
    if (p->ghost)
        return -ENETDOWN;
    struct weft__udp *u = weft__calloc(1, sizeof *u);
    if (u == NULL || weft__event_reserve(p->world, 1) < 0) { /* for `room` */
        weft__free(u);
        return -ENOMEM;
    }
    weft__desc_init(&u->desc, &weft__udp_class, p);
    u->host = p->host;
    u->port.b.desc = &u->desc;
    u->port.b.proto = IPPROTO_UDP;
    u->port.domain = domain;
    u->port.listens = true;
    u->room.fn = room_due;
    u->rcvbuf = u->sndbuf = BUFFER_DEFAULT;
    u->ttl4 = u->ttl6 = 64;
    u->group_ttl4 = u->group_ttl6 = 1;
    u->group_loop4 = u->group_loop6 = u->group_all4 = u->group_all6 = 1;
    *ret = &u->desc;
    return 0;
}
