/* SPDX-License-Identifier: MIT */
/*
 * Simulated stream sockets and pipes as descriptors; see sock.h.
 *
 * Floor 1. What an operation does to a sock, what poll(2) says of it, and its end. Results are
 * those of Linux, as far as programs can tell: an error is told once, bytes that came before it can
 * still be read, a close with unread bytes resets.
 */
#include "sys/sim/sock.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/un.h>

#include "sys/sim/calls.h"
#include "sys/sim/memory.h"

#define TCP_BUFFER 131072u
#define UNIX_BUFFER 106496u
#define PIPE_HALF 32768u
#define EVENTS 3

/* --- Making and ending ------------------------------------------------------------------------ */

struct weft__sock *weft__sock_new(struct weft__proc *p, int domain)
{
    struct weft__sock *s = weft__calloc(1, sizeof *s);
    if (s == NULL || weft__event_reserve(p->world, EVENTS) < 0) {
        weft__free(s);
        return NULL;
    }
    weft__desc_init(&s->desc, &weft__sock_class, p);
    weft__sock_events(s);
    s->domain = (uint8_t)domain;
    s->rcvbuf = s->sndbuf = domain == AF_UNIX ? UNIX_BUFFER : TCP_BUFFER;
    s->keep_idle_s = 7200;
    s->keep_interval_s = 75;
    s->keep_count = 9;
    return s;
}

int weft__sim_stream_open(struct weft__proc *p, int domain, struct weft__desc **ret)
{
    struct weft__sock *s = weft__sock_new(p, domain);
    if (s == NULL)
        return -ENOMEM;
    *ret = &s->desc;
    return 0;
}

void weft__sock_join(struct weft__sock *a, struct weft__sock *b)
{
    a->peer = b;
    b->peer = a;
    a->credit = b->rcvbuf;
    b->credit = a->rcvbuf;
    a->state = b->state = WEFT__SOCK_CONNECTED;
}

int weft__sim_stream_pair(struct weft__proc *p, bool pipe, struct weft__desc *ret[2])
{
    struct weft__sock *a = weft__sock_new(p, AF_UNIX);
    struct weft__sock *b = weft__sock_new(p, AF_UNIX);
    if (a == NULL || b == NULL) {
        if (a != NULL)
            weft__desc_unref(&a->desc);
        if (b != NULL)
            weft__desc_unref(&b->desc);
        return -ENOMEM;
    }
    a->pair = b->pair = true;
    if (pipe) {
        a->rcvbuf = b->sndbuf = PIPE_HALF;
        a->pipe_in = b->pipe_out = true;
    }
    weft__sock_join(a, b);
    ret[0] = &a->desc;
    ret[1] = &b->desc;
    return 0;
}

static void sock_free(struct weft__sock *s)
{
    struct weft__sock *peer = s->peer;
    struct weft__world *w = s->desc.world;
    weft__event_del(w, &s->arrive);
    weft__event_del(w, &s->window);
    weft__event_del(w, &s->timer);
    (void)weft__event_reserve(w, -EVENTS);
    weft__segs_drop(&s->rx);
    weft__segs_drop(&s->tx);
    weft__segs_drop(&s->flight);
    if (s->port != NULL)
        weft__port_release(s->port);
    weft__free(s->port);
    weft__free(s->path);
    weft__free(s->backlog);
    bool crashed = s->desc.crashed;
    uint32_t window = s->rcvbuf;
    weft__free(s);
    if (peer == NULL)
        return;
    peer->peer = NULL;
    if (crashed && peer->out != NULL)
        return; /* it will learn that when it speaks */
    /* Over a link it has the window that it was told of until it learns more. */
    peer->credit = peer->out != NULL ? window : WEFT__CREDIT_OPEN;
    weft__sock_push(peer);
    weft__desc_wake(&peer->desc);
    weft__sock_check(peer);
}

void weft__sock_check(struct weft__sock *s)
{
    if (s->desc.refs > 0 || !s->orphan || s->flight.first != NULL)
        return;
    if (s->state == WEFT__SOCK_CONNECTED && !s->desc.crashed && s->tx.first != NULL)
        return;
    sock_free(s);
}

static void sock_release(struct weft__desc *d, bool crash)
{
    struct weft__sock *s = weft__sock_of(d);
    struct weft__world *w = d->world;
    if (s->orphan) {
        weft__sock_check(s);
        return;
    }
    s->orphan = true;
    if (s->state == WEFT__SOCK_LISTENING)
        weft__backlog_close(s, crash);
    if (s->port != NULL)
        weft__port_release(s->port);
    d->proc = NULL;
    weft__event_del(w, &s->timer);
    d->refs++;
    if (crash) {
        weft__event_del(w, &s->window);
        weft__sock_crash(s);
    } else if (s->linger_reset || (s->rx.bytes > 0 && !s->pipe_in)) {
        weft__sock_send_rst(s);
    } else {
        weft__sock_send_fin(s);
    }
    d->refs--;
    weft__sock_check(s);
}

/* --- Reading ---------------------------------------------------------------------------------- */

static int take_error(struct weft__sock *s)
{
    int err = s->error;
    s->error = 0;
    return err;
}

static bool connected(const struct weft__sock *s)
{
    return s->state == WEFT__SOCK_CONNECTED || s->state == WEFT__SOCK_DEAD;
}

/* -EAGAIN when it would wait. */
static ssize_t sock_recv(struct weft__sock *s, struct iovec *iov, size_t n, int flags,
                         struct weft__taken *taken)
{
    struct weft__world *w = s->desc.world;
    struct iovec less;
    size_t room = 0;
    if (!connected(s))
        return -ENOTCONN;
    if (s->pipe_out)
        return -EBADF;
    if (flags & MSG_OOB)
        return -EINVAL; /* no byte is ever urgent */
    for (size_t i = 0; i < n; i++)
        room += iov[i].iov_len;
    if (s->rx.bytes > 0) {
        if (room > 1 && n == 1 && weft__world_chance(w, s->desc.proc->host->faults.short_io)) {
            less = (struct iovec){iov->iov_base, 1 + (size_t)weft__world_below(w, room - 1)};
            iov = &less;
        }
        return (ssize_t)weft__sock_read(s, iov, n, (flags & MSG_PEEK) != 0, taken);
    }
    if (s->fin_arrived && s->domain != AF_UNIX)
        return 0; /* whatever has come to writing since; tcp_recvmsg looks for the end first */
    if (s->error != 0)
        return take_error(s);
    if (s->fin_arrived || s->rx_shut || s->state == WEFT__SOCK_DEAD || room == 0)
        return 0;
    return -EAGAIN;
}

static void drop_rights(struct weft__taken *t)
{
    for (uint8_t i = 0; i < t->n_rights; i++)
        weft__desc_unref(t->rights[i]);
    weft__free(t->rights);
    t->cut |= t->n_rights > 0;
    t->rights = NULL;
    t->n_rights = 0;
}

static enum weft__sim_tried ended(struct weft__op *op, ssize_t res)
{
    if (res == -EAGAIN)
        return WEFT__SIM_WAIT;
    op->res = (int)res;
    return WEFT__SIM_ENDED;
}

static enum weft__sim_tried attempt_recv(struct weft__sock *s, struct weft__op *op)
{
    struct weft__taken taken = {0};
    struct iovec one = {.iov_base = op->u.io.buf, .iov_len = op->u.io.len};
    struct iovec *iov = &one;
    size_t n_iov = 1;
    int flags = op->kind == WEFT__OP_RECV ? op->u.io.flags : 0;
    struct weft__rbuf *rb = NULL;
    if (op->kind == WEFT__OP_RECVMSG) {
        iov = op->u.msg.msg->msg_iov;
        n_iov = op->u.msg.msg->msg_iovlen;
        flags = op->u.msg.flags;
    } else if (op->kind == WEFT__OP_RECV_POOL) {
        if (s->rx.bytes > 0 && (rb = weft__sim_rbuf(&s->desc, op)) == NULL)
            return WEFT__SIM_ENDED;
        one = (struct iovec){.iov_base = rb != NULL ? rb->data : NULL, .iov_len = WEFT__RBUF_SIZE};
    }
    size_t room = 0;
    for (size_t i = 0; i < n_iov; i++)
        room += iov[i].iov_len;
    ssize_t n = sock_recv(s, iov, n_iov, flags, &taken);
    drop_rights(&taken);
    if (n > 0)
        op->full = s->rx.bytes > 0 || taken.cut || (size_t)n == room;
    if (rb != NULL && n > 0) {
        rb->len = (uint32_t)n;
        op->rbuf = rb;
    } else if (rb != NULL) {
        weft__rpool_put(&s->desc.world->pool, rb);
    }
    if (op->kind == WEFT__OP_RECVMSG && n >= 0) {
        op->u.msg.msg->msg_controllen = 0;
        op->u.msg.msg->msg_namelen = 0;
        op->u.msg.msg->msg_flags = 0;
    }
    return ended(op, n);
}

/* --- Writing ---------------------------------------------------------------------------------- */

/* Why nothing can be written; 0: it can. */
static int write_error(struct weft__sock *s)
{
    if (!connected(s))
        return s->state == WEFT__SOCK_CONNECTING ? -EAGAIN : -ENOTCONN;
    if (s->pipe_in)
        return -EBADF;
    if (s->error != 0)
        return take_error(s);
    return s->state == WEFT__SOCK_DEAD || s->fin_sent ? -EPIPE : 0;
}

/* Part of it, or -EAGAIN. rights (NULL: none) is emptied when they are on their way, also where an
 * error is returned then. */
static ssize_t sock_send(struct weft__sock *s, const struct iovec *iov, size_t n_iov, size_t skip,
                         struct weft__taken *rights)
{
    struct weft__taken none = {0};
    size_t total = 0;
    int err = write_error(s);
    if (rights == NULL)
        rights = &none;
    if (err < 0)
        return err;
    for (size_t i = 0; i < n_iov; i++)
        total += iov[i].iov_len;
    if (total == skip)
        return 0;
    if (weft__sock_room(s) == 0 ||
        (s->pipe_out && total - skip <= PIPE_BUF && weft__sock_room(s) < total - skip))
        return -EAGAIN;
    ssize_t n = weft__sock_write(s, iov, n_iov, skip, rights->rights, rights->n_rights);
    if (n > 0) {
        rights->rights = NULL;
        rights->n_rights = 0;
    }
    if (n > 0 && s->state == WEFT__SOCK_DEAD) { /* within a host the other end is known to be gone
                                                 */
        err = s->domain == AF_UNIX ? take_error(s) : 0;
        return err < 0 ? err : n;
    }
    return n;
}

void weft__sim_write_number(struct weft__desc *d, int number)
{
    struct iovec iov = {.iov_base = &number, .iov_len = sizeof number};
    if (d->cls == &weft__sock_class && weft__sock_room(weft__sock_of(d)) >= sizeof number)
        (void)sock_send(weft__sock_of(d), &iov, 1, 0, NULL);
}

static enum weft__sim_tried attempt_send(struct weft__sock *s, struct weft__op *op)
{
    struct iovec iov = {.iov_base = op->u.io.buf, .iov_len = op->u.io.len};
    do {
        ssize_t n = sock_send(s, &iov, 1, op->moved, NULL);
        if (n < 0)
            return ended(op, n);
        op->moved += (uint32_t)n;
    } while (op->moved < op->u.io.len);
    return ended(op, op->u.io.len);
}

static enum weft__sim_tried attempt_write(struct weft__sock *s, struct weft__op *op)
{
    struct weft__world *w = s->desc.world;
    struct iovec one = {.iov_base = op->u.io.buf, .iov_len = op->u.io.len};
    struct iovec *iov = &one;
    size_t n_iov = 1;
    if (op->kind == WEFT__OP_SENDMSG) {
        iov = op->u.msg.msg->msg_iov;
        n_iov = op->u.msg.msg->msg_iovlen;
    }
    if (n_iov > 0 && iov[0].iov_len > 1 &&
        weft__world_chance(w, s->desc.proc->host->faults.short_io)) {
        one = (struct iovec){iov[0].iov_base, 1 + (size_t)weft__world_below(w, iov[0].iov_len - 1)};
        iov = &one;
        n_iov = 1;
    }
    return ended(op, sock_send(s, iov, n_iov, 0, NULL));
}

static enum weft__sim_tried sock_attempt(struct weft__desc *d, struct weft__op *op)
{
    struct weft__sock *s = weft__sock_of(d);
    bool io = op->kind == WEFT__OP_READ || op->kind == WEFT__OP_WRITE;
    if ((s->pipe_in || s->pipe_out) && !io)
        return ended(op, -ENOTSOCK);
    switch (op->kind) {
    case WEFT__OP_ACCEPT:
        return ended(op, weft__sock_accept(s, op->u.accept.addr, weft__op_addrlen(op)));
    case WEFT__OP_CONNECT:
        return weft__sock_connect(s, op);
    case WEFT__OP_SEND:
        return attempt_send(s, op);
    case WEFT__OP_SENDMSG:
    case WEFT__OP_WRITE:
        return attempt_write(s, op);
    default:
        return attempt_recv(s, op);
    }
}

static short sock_ready(struct weft__desc *d)
{
    const struct weft__sock *s = weft__sock_of(d);
    short ready = 0;
    if (s->state == WEFT__SOCK_LISTENING) {
        for (const struct weft__sock *w = s->backlog->first; w != NULL; w = w->next_waiting)
            if (w->arrived)
                return POLLIN;
        return 0;
    }
    if (s->state == WEFT__SOCK_CONNECTING)
        return 0;
    if (s->state == WEFT__SOCK_FRESH)
        return (short)(POLLOUT | POLLHUP | (s->error != 0 ? POLLERR : 0));
    bool dead = s->state == WEFT__SOCK_DEAD;
    bool gone = s->domain == AF_UNIX && s->peer == NULL;
    if (s->pipe_in)
        return (short)((s->rx.bytes > 0 ? POLLIN : 0) | (gone || s->fin_arrived ? POLLHUP : 0));
    if (s->pipe_out)
        return (short)((weft__sock_room(s) >= PIPE_BUF || gone ? POLLOUT : 0) |
                       (gone ? POLLERR : 0));
    if (s->rx.bytes > 0 || s->fin_arrived || s->rx_shut || dead)
        ready |= POLLIN;
    if (s->fin_arrived || s->rx_shut || dead)
        ready |= POLLRDHUP;
    if (dead || gone || ((s->fin_arrived || s->rx_shut) && s->fin_sent))
        ready |= POLLHUP;
    if (s->error != 0)
        ready |= POLLERR;
    if (dead || gone || weft__sock_room(s) >= s->sndbuf / 3)
        ready |= POLLOUT;
    return ready;
}

/* --- Messages with descriptors ---------------------------------------------------------------- */

/* Looks at SCM_RIGHTS: the descriptors, each with a reference. */
static int rights_of(struct weft__proc *p, const struct msghdr *msg, struct weft__desc ***ret,
                     uint8_t *n_ret)
{
    struct msghdr *m = (struct msghdr *)(uintptr_t)msg; /* CMSG_NXTHDR wants it so */
    for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c != NULL; c = CMSG_NXTHDR(m, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS || *ret != NULL)
            return -EINVAL;
        size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        if (n > UINT8_MAX)
            return -EINVAL;
        *ret = weft__calloc(n, sizeof(struct weft__desc *));
        if (*ret == NULL)
            return -ENOMEM;
        for (size_t i = 0; i < n; i++) {
            int fd, err = 0;
            memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
            (*ret)[i] = weft__desc_for(p, fd, "sendmsg", &err);
            if ((*ret)[i] == NULL)
                return err;
            weft__desc_ref((*ret)[i]);
            (*n_ret)++;
        }
    }
    return 0;
}

static ssize_t sock_send_now(struct weft__desc *d, const struct msghdr *msg, int flags)
{
    struct weft__sock *s = weft__sock_of(d);
    struct weft__taken rights = {0};
    if (s->pipe_in || s->pipe_out)
        return -ENOTSOCK;
    if (flags & MSG_OOB)
        return -EOPNOTSUPP;
    int err = s->domain == AF_UNIX ? rights_of(d->proc, msg, &rights.rights, &rights.n_rights) : 0;
    ssize_t n = err;
    if (err == 0)
        n = sock_send(s, msg->msg_iov, msg->msg_iovlen, 0, &rights);
    if (n <= 0)
        drop_rights(&rights);
    return n;
}

/* Gives numbers to the descriptors that came; what has no room is dropped, as the kernel does. */
static void give_rights(struct weft__proc *p, struct weft__taken *t, struct msghdr *msg)
{
    size_t room = msg->msg_control != NULL && msg->msg_controllen >= CMSG_LEN(sizeof(int))
                      ? (msg->msg_controllen - CMSG_LEN(0)) / sizeof(int)
                      : 0;
    size_t n = 0;
    for (; n < t->n_rights && n < room; n++) {
        int fd = weft__desc_install(p, t->rights[n]);
        if (fd < 0)
            break;
        memcpy((uint8_t *)msg->msg_control + CMSG_LEN(0) + n * sizeof fd, &fd, sizeof fd);
    }
    msg->msg_flags = n < t->n_rights ? MSG_CTRUNC : 0;
    for (size_t i = n; i < t->n_rights; i++)
        weft__desc_unref(t->rights[i]);
    weft__free(t->rights);
    if (n > 0) {
        struct cmsghdr c = {.cmsg_len = CMSG_LEN(n * sizeof(int)),
                            .cmsg_level = SOL_SOCKET,
                            .cmsg_type = SCM_RIGHTS};
        memcpy(msg->msg_control, &c, sizeof c);
    }
    msg->msg_controllen = n > 0 ? CMSG_SPACE(n * sizeof(int)) : 0;
}

static ssize_t sock_recv_now(struct weft__desc *d, struct msghdr *msg, int flags)
{
    struct weft__sock *s = weft__sock_of(d);
    struct weft__taken taken = {0};
    if (s->pipe_in || s->pipe_out)
        return -ENOTSOCK;
    ssize_t n = sock_recv(s, msg->msg_iov, msg->msg_iovlen, flags, &taken);
    if (n < 0)
        return n;
    msg->msg_namelen = 0;
    give_rights(d->proc, &taken, msg);
    return n;
}

/* --- The rest --------------------------------------------------------------------------------- */

static int sock_accept_now(struct weft__desc *d)
{
    return weft__sock_accept(weft__sock_of(d), NULL, NULL);
}

static int sock_connect_now(struct weft__desc *d, const struct sockaddr *sa, socklen_t len)
{
    struct weft__sock *s = weft__sock_of(d);
    if (s->state != WEFT__SOCK_FRESH)
        return s->state == WEFT__SOCK_CONNECTING ? -EALREADY : -EISCONN;
    int err = weft__sock_connect_begin(s, sa, len);
    if (err < 0)
        return err;
    return s->state == WEFT__SOCK_CONNECTED ? 0 : -EINPROGRESS;
}

/* Both ends have been told of, and Linux has forgotten the other side. */
static bool is_over(const struct weft__sock *s)
{
    return s->domain != AF_UNIX && s->fin_sent && s->fin_arrived && s->tx.first == NULL &&
           s->flight.first == NULL;
}

static int sock_shutdown(struct weft__desc *d, int how)
{
    struct weft__sock *s = weft__sock_of(d);
    if (s->pipe_in || s->pipe_out)
        return -ENOTSOCK;
    if (s->state != WEFT__SOCK_CONNECTED || is_over(s))
        return -ENOTCONN;
    if (how == SHUT_WR || how == SHUT_RDWR)
        weft__sock_send_fin(s);
    if (how == SHUT_RD || how == SHUT_RDWR) {
        s->rx_shut = true;
        weft__desc_wake(d);
    }
    return 0;
}

static int unix_address(const struct weft__sock *s, bool peer, struct sockaddr_storage *sa,
                        socklen_t *len)
{
    const struct weft__sock *of = peer ? s->peer : s;
    const char *path = of != NULL ? of->path : NULL;
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    *len = (socklen_t)offsetof(struct sockaddr_un, sun_path);
    if (path != NULL) {
        size_t n = strlen(path + 1);
        bool abstract = path[0] == 'a';
        memcpy(un.sun_path + (abstract ? 1 : 0), path + 1, n);
        *len += (socklen_t)n + 1;
    }
    memcpy(sa, &un, sizeof un);
    return 0;
}

static int sock_address(struct weft__desc *d, bool peer, struct sockaddr_storage *sa,
                        socklen_t *len)
{
    const struct weft__sock *s = weft__sock_of(d);
    if (s->pipe_in || s->pipe_out)
        return -ENOTSOCK;
    if (peer && (s->state != WEFT__SOCK_CONNECTED || is_over(s)))
        return -ENOTCONN;
    if (s->domain == AF_UNIX)
        return unix_address(s, peer, sa, len);
    const union weft__sa *at = peer ? &s->remote : &s->local;
    union weft__sa none = {.sa.sa_family = s->domain};
    if (at->sa.sa_family == 0 && s->port != NULL)
        at = &s->port->plain;
    *len = weft__sa_show(sa, s->domain, at->sa.sa_family != 0 ? &at->sa : &none.sa);
    return 0;
}

static int sock_stat(struct weft__desc *d, struct stat *st)
{
    const struct weft__sock *s = weft__sock_of(d);
    *st = (struct stat){.st_mode = (s->pipe_in || s->pipe_out ? S_IFIFO : S_IFSOCK) | 0600};
    return 0;
}

static void sock_describe(const struct weft__desc *d, char *buf, size_t cap)
{
    const struct weft__sock *s = WEFT__CONTAINER_OF(d, const struct weft__sock, desc);
    char local[64], remote[64];
    if (s->pipe_in || s->pipe_out) {
        (void)snprintf(buf, cap, "the %s end of a pipe", s->pipe_in ? "reading" : "writing");
    } else if (s->domain == AF_UNIX) {
        (void)snprintf(buf, cap, "unix %s%s%s",
                       s->state == WEFT__SOCK_LISTENING ? "listener" : "stream",
                       s->path != NULL ? " " : "", s->path != NULL ? s->path + 1 : "");
    } else if (s->state == WEFT__SOCK_LISTENING) {
        weft__sa_print(&s->port->plain.sa, local, sizeof local);
        (void)snprintf(buf, cap, "tcp listener %s", local);
    } else {
        weft__sa_print(&s->local.sa, local, sizeof local);
        weft__sa_print(&s->remote.sa, remote, sizeof remote);
        (void)snprintf(buf, cap, "tcp stream %s - %s", local, remote);
    }
}

const struct weft__desc_class weft__sock_class = {
    .kind = "stream",
    .attempt = sock_attempt,
    .ready = sock_ready,
    .send_now = sock_send_now,
    .recv_now = sock_recv_now,
    .bind = weft__sock_bind,
    .listen = weft__sock_listen,
    .accept_now = sock_accept_now,
    .connect_now = sock_connect_now,
    .shutdown = sock_shutdown,
    .address = sock_address,
    .set = weft__sock_set,
    .get = weft__sock_get,
    .stat = sock_stat,
    .release = sock_release,
    .describe = sock_describe,
};
