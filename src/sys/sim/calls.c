/* SPDX-License-Identifier: MIT */
/*
 * The system calls of simulated processes that do not wait; see calls.h.
 *
 * Floor 1. Each looks up the descriptor and passes on to its class. A ghost, whose machine has no
 * power any more, gets -ENETDOWN from everything that would make something.
 */
#include "sys/sim/calls.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "sys/sim/driver.h"
#include "sys/sim/memory.h"
#include "sys/sim/ports.h"
#include "sys/sim/udp.h"

int weft__sim_refuse(const char *call)
{
    return weft__fail(WEFT_EOUTSIDE, "%s would leave the simulation", call);
}

/* --- Making descriptors ----------------------------------------------------------------------- */

static int may_make(struct weft__proc *p)
{
    return p->ghost ? -ENETDOWN : weft__sim_refuse_file(p);
}

static int install(struct weft__proc *p, struct weft__desc *d)
{
    int fd = weft__desc_install(p, d);
    if (fd < 0)
        weft__desc_unref(d);
    return fd;
}

int weft__sim_socket(struct weft__proc *p, int domain, int type, int protocol)
{
    struct weft__desc *d = NULL;
    int kind = type & ~(SOCK_NONBLOCK | SOCK_CLOEXEC);
    bool inet = domain == AF_INET || domain == AF_INET6;
    int err = may_make(p);
    if (err < 0)
        return err;
    if (!inet && domain != AF_UNIX)
        return -EAFNOSUPPORT;
    if (kind == SOCK_STREAM && (protocol == 0 || protocol == IPPROTO_TCP))
        err = weft__sim_stream_open(p, domain, &d);
    else if (kind == SOCK_DGRAM && inet && (protocol == 0 || protocol == IPPROTO_UDP))
        err = weft__sim_udp_open(p, domain, &d);
    else
        return weft__fail(WEFT_EOUTSIDE, "socket(%d, %d, %d) has no simulation", domain, kind,
                          protocol);
    if (err < 0)
        return err;
    d->nonblock = (type & SOCK_NONBLOCK) != 0;
    return install(p, d);
}

static int install_pair(struct weft__proc *p, bool pipe, int fds[2])
{
    struct weft__desc *d[2];
    int err = may_make(p);
    if (err == 0)
        err = weft__sim_stream_pair(p, pipe, d);
    if (err < 0)
        return err;
    int first = install(p, d[0]);
    if (first < 0) {
        weft__desc_unref(d[1]);
        return first;
    }
    int second = install(p, d[1]);
    if (second < 0) {
        (void)weft__desc_close(p, first);
        return second;
    }
    fds[0] = first;
    fds[1] = second;
    return 0;
}

int weft__sim_socketpair(struct weft__proc *p, int domain, int type, int fds[2])
{
    if (domain != AF_UNIX || (type & ~(SOCK_NONBLOCK | SOCK_CLOEXEC)) != SOCK_STREAM)
        return -EOPNOTSUPP;
    return install_pair(p, false, fds);
}

int weft__sim_pipe(struct weft__proc *p, int fds[2])
{
    return install_pair(p, true, fds);
}

/* --- On descriptors --------------------------------------------------------------------------- */

int weft__sim_bind(struct weft__proc *p, int fd, const struct sockaddr *sa, socklen_t len)
{
    int err;
    struct weft__desc *d = weft__desc_for(p, fd, "bind", &err);
    if (d == NULL)
        return err;
    return d->cls->bind != NULL ? d->cls->bind(d, sa, len) : -ENOTSOCK;
}

int weft__sim_listen(struct weft__proc *p, int fd, int backlog)
{
    int err;
    struct weft__desc *d = weft__desc_for(p, fd, "listen", &err);
    if (d == NULL)
        return err;
    return d->cls->listen != NULL ? d->cls->listen(d, backlog) : -EOPNOTSUPP;
}

int weft__sim_connect_now(struct weft__proc *p, int fd, const struct sockaddr *sa, socklen_t len)
{
    int err;
    struct weft__desc *d = weft__desc_for(p, fd, "connect", &err);
    if (d == NULL)
        return err;
    return d->cls->connect_now != NULL ? d->cls->connect_now(d, sa, len) : -ENOTSOCK;
}

int weft__sim_accept_now(struct weft__proc *p, int fd)
{
    int err;
    struct weft__desc *d = weft__desc_for(p, fd, "accept", &err);
    if (d == NULL)
        return err;
    return d->cls->accept_now != NULL ? d->cls->accept_now(d) : -EOPNOTSUPP;
}

int weft__sim_shutdown(struct weft__proc *p, int fd, int how)
{
    int err;
    struct weft__desc *d = weft__desc_for(p, fd, "shutdown", &err);
    if (d == NULL)
        return err;
    return d->cls->shutdown != NULL ? d->cls->shutdown(d, how) : -ENOTSOCK;
}

int weft__sim_setsockopt(struct weft__proc *p, int fd, int level, int name, const void *value,
                         socklen_t len)
{
    int err;
    struct weft__desc *d = weft__desc_for(p, fd, "setsockopt", &err);
    if (d == NULL)
        return err;
    return d->cls->set != NULL ? d->cls->set(d, level, name, value, len) : -ENOTSOCK;
}

int weft__sim_getsockopt(struct weft__proc *p, int fd, int level, int name, void *value,
                         socklen_t *len)
{
    int err;
    struct weft__desc *d = weft__desc_for(p, fd, "getsockopt", &err);
    if (d == NULL)
        return err;
    return d->cls->get != NULL ? d->cls->get(d, level, name, value, len) : -ENOTSOCK;
}

int weft__sim_address(struct weft__proc *p, int fd, bool peer, struct sockaddr *sa, socklen_t *len)
{
    struct sockaddr_storage at;
    socklen_t n = 0;
    int err;
    struct weft__desc *d = weft__desc_for(p, fd, peer ? "getpeername" : "getsockname", &err);
    if (d == NULL)
        return err;
    err = d->cls->address != NULL ? d->cls->address(d, peer, &at, &n) : -ENOTSOCK;
    if (err == 0)
        weft__sa_give(sa, len, &at, n);
    return err;
}

static bool again(const struct weft__proc *p)
{
    return weft__world_chance(p->world, p->host->faults.again);
}

ssize_t weft__sim_sendmsg_now(struct weft__proc *p, int fd, const struct msghdr *msg, int flags)
{
    int err;
    struct weft__desc *d = weft__desc_for(p, fd, "sendmsg", &err);
    if (d == NULL)
        return err;
    if (d->cls->send_now == NULL)
        return -ENOTSOCK;
    return again(p) ? -EAGAIN : d->cls->send_now(d, msg, flags);
}

ssize_t weft__sim_recvmsg_now(struct weft__proc *p, int fd, struct msghdr *msg, int flags)
{
    int err;
    struct weft__desc *d = weft__desc_for(p, fd, "recvmsg", &err);
    if (d == NULL)
        return err;
    if (d->cls->recv_now == NULL)
        return -ENOTSOCK;
    return again(p) ? -EAGAIN : d->cls->recv_now(d, msg, flags);
}

int weft__sim_set_nonblock(struct weft__proc *p, int fd, bool on)
{
    int err;
    struct weft__desc *d = weft__desc_for(p, fd, "fcntl", &err);
    if (d == NULL)
        return err;
    d->nonblock = on;
    return 0;
}

int weft__sim_fstat(struct weft__proc *p, int fd, struct stat *st)
{
    int err;
    struct weft__desc *d = weft__desc_for(p, fd, "fstat", &err);
    if (d == NULL)
        return err;
    if (d->cls->stat != NULL)
        return d->cls->stat(d, st);
    *st = (struct stat){.st_mode = S_IFSOCK | 0600};
    return 0;
}

int weft__sim_close(struct weft__proc *p, int fd)
{
    return weft__desc_close(p, fd);
}

/* --- Time and chance -------------------------------------------------------------------------- */

int64_t weft__sim_clock_ns(struct weft__proc *p)
{
    return weft__proc_clock_ns(p);
}

int64_t weft__sim_wall_ns(struct weft__proc *p)
{
    return weft__proc_clock_ns(p) + p->host->wall_ns;
}

void weft__sim_random(struct weft__proc *p, void *buf, size_t len)
{
    uint8_t *to = buf;
    while (len > 0) {
        uint64_t x = weft__random_next(p->random);
        size_t n = weft__min_size(len, sizeof x);
        memcpy(to, &x, n);
        to += n;
        len -= n;
    }
}

int weft__sim_resolve(struct weft__proc *p, const char *name, size_t len, int family, uint16_t port,
                      struct sockaddr_storage *sa, socklen_t *salen)
{
    const struct weft__host *h = weft__host_by_name(p->world, name, len);
    union weft__sa at = {0};
    if (h == NULL)
        return -ENOENT;
    if (family == AF_INET6) {
        at.in6.sin6_family = AF_INET6;
        at.in6.sin6_addr = h->address6;
    } else {
        at.in4.sin_family = AF_INET;
        at.in4.sin_addr = h->address4;
    }
    weft__sa_set_port(&at.sa, port);
    *salen = weft__sa_show(sa, family == AF_INET6 ? AF_INET6 : AF_INET, &at.sa);
    return 0;
}

/* --- Signals ---------------------------------------------------------------------------------- */

struct listening {
    struct weft__node link; /* in proc->signals */
    int signal;
    int fd;
};

int weft__sim_signal_listen(struct weft__proc *p, int signal, int fd, bool on)
{
    WEFT__LIST_EACH_SAFE(&p->signals, n, next) {
        struct listening *l = WEFT__CONTAINER_OF(n, struct listening, link);
        if (l->signal != signal || l->fd != fd)
            continue;
        weft__list_remove(n);
        weft__free(l);
    }
    if (!on)
        return 0;
    struct listening *l = weft__alloc(sizeof *l);
    if (l == NULL)
        return -ENOMEM;
    *l = (struct listening){.signal = signal, .fd = fd};
    weft__list_push_back(&p->signals, &l->link);
    return 0;
}

int weft__sim_signal_send(struct weft__proc *p, int signal)
{
    bool heard = false;
    WEFT__LIST_EACH(&p->signals, n) {
        const struct listening *l = WEFT__CONTAINER_OF(n, struct listening, link);
        struct weft__desc *d = weft__desc_of(p, l->fd);
        if (l->signal != signal || d == NULL)
            continue;
        heard = true;
        weft__sim_write_number(d, signal);
    }
    return heard ? 0 : -ESRCH;
}

void weft__sim_signals_close(struct weft__proc *p)
{
    struct weft__node *n;
    while ((n = weft__list_pop_front(&p->signals)) != NULL)
        weft__free(WEFT__CONTAINER_OF(n, struct listening, link));
}
