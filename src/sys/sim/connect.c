/* SPDX-License-Identifier: MIT */
/*
 * How simulated stream sockets find each other: bind, listen, connect, accept; see sock.h.
 *
 * Floor 1. The handshake of TCP as its two ends see it: SYN, answer, ACK, each of which may be
 * lost. A SYN without an answer is sent again after 1, 2, 4 ... seconds, six times
 * (tcp_syn_retries), so that connecting to a host that is silent takes 127 s to fail. A listener
 * whose queue is full is silent, too.
 */
#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "sys/sim/calls.h"
#include "sys/sim/disk.h"
#include "sys/sim/memory.h"
#include "sys/sim/sock.h"

#define SYN_BYTES 60
#define SYN_RETRIES 6
#define SECOND INT64_C(1000000000)
#define NO_ROUTE_NS (3 * SECOND) /* neighbour discovery gives up */
#define UNIX_AGAIN_NS INT64_C(1000000)
#define PORT_FIRST 32768
#define PORT_LAST 60999
#define BACKLOG_MAX 4096

enum phase {
    SYN,         /* on its way */
    ANSWER,      /* SYN-ACK is on its way back */
    REFUSED,     /* RST is */
    AGAIN,       /* until the next SYN */
    UNREACHABLE, /* until that is known */
    ACK,         /* of one in a backlog: the last step is on its way to it */
};

/* --- Names of Unix sockets -------------------------------------------------------------------- */

/* As sock->path has it. -EINVAL, -ENOMEM. */
static int unix_path(const struct sockaddr *sa, socklen_t len, char **ret)
{
    const struct sockaddr_un *un = (const struct sockaddr_un *)(const void *)sa;
    size_t head = offsetof(struct sockaddr_un, sun_path);
    if (sa->sa_family != AF_UNIX || len <= head || len > sizeof *un)
        return -EINVAL;
    bool abstract = un->sun_path[0] == '\0';
    const char *from = un->sun_path + (abstract ? 1 : 0);
    size_t n = strnlen(from, len - head - (abstract ? 1 : 0));
    char *path = weft__calloc(1, n + 2);
    if (path == NULL)
        return -ENOMEM;
    path[0] = abstract ? 'a' : 'f';
    memcpy(path + 1, from, n);
    *ret = path;
    return 0;
}

/* The listener of that name. NULL: *err says why there is none. */
static struct weft__sock *unix_listener(struct weft__proc *p, const char *path, int *err)
{
    struct stat st = {0};
    if (path[0] == 'f') {
        *err = weft__sim_lstat(p, path + 1, &st);
        if (*err < 0)
            return NULL;
    }
    *err = -ECONNREFUSED;
    for (size_t i = 0; i < p->n_fds; i++) {
        struct weft__desc *d = p->fds[i];
        if (d == NULL || d->cls != &weft__sock_class)
            continue;
        struct weft__sock *s = weft__sock_of(d);
        if (s->path != NULL && strcmp(s->path, path) == 0 && s->inode == st.st_ino &&
            s->state == WEFT__SOCK_LISTENING)
            return s;
    }
    return NULL;
}

static bool abstract_taken(struct weft__proc *p, const char *path)
{
    for (size_t i = 0; i < p->n_fds; i++) {
        struct weft__desc *d = p->fds[i];
        if (d != NULL && d->cls == &weft__sock_class && weft__sock_of(d)->path != NULL &&
            strcmp(weft__sock_of(d)->path, path) == 0)
            return true;
    }
    return false;
}

static int unix_bind(struct weft__sock *s, const struct sockaddr *sa, socklen_t len)
{
    struct weft__proc *p = s->desc.proc;
    char *path = NULL;
    if (s->path != NULL)
        return -EINVAL;
    int err = unix_path(sa, len, &path);
    if (err == 0 && path[0] == 'f')
        err = weft__disk_put_socket(p, path + 1, &s->inode);
    else if (err == 0 && abstract_taken(p, path))
        err = -EADDRINUSE;
    if (err < 0) {
        weft__free(path);
        return err;
    }
    s->path = path;
    return 0;
}

/* --- bind and listen -------------------------------------------------------------------------- */

static struct weft__port *port_of(struct weft__sock *s)
{
    if (s->port == NULL)
        s->port = weft__calloc(1, sizeof *s->port);
    if (s->port == NULL)
        return NULL;
    s->port->b.desc = &s->desc;
    s->port->b.proto = IPPROTO_TCP;
    s->port->domain = s->domain;
    s->port->v6only = s->v6only;
    s->port->reuse_addr = s->reuse_addr;
    s->port->reuse_port = s->reuse_port;
    return s->port;
}

int weft__sock_bind(struct weft__desc *d, const struct sockaddr *sa, socklen_t len)
{
    struct weft__sock *s = weft__sock_of(d);
    if (s->pipe_in || s->pipe_out)
        return -ENOTSOCK;
    if (s->state != WEFT__SOCK_FRESH)
        return -EINVAL;
    if (s->domain == AF_UNIX)
        return unix_bind(s, sa, len);
    struct weft__port *port = port_of(s);
    return port != NULL ? weft__port_bind(d->proc, port, sa, len) : -ENOMEM;
}

/* As Linux with somaxconn of BACKLOG_MAX, where a negative one is a large one. */
static int backlog_max(int backlog)
{
    return backlog < 0 || backlog > BACKLOG_MAX ? BACKLOG_MAX : backlog;
}

int weft__sock_listen(struct weft__desc *d, int backlog)
{
    struct weft__sock *s = weft__sock_of(d);
    struct weft__proc *p = d->proc;
    int err = 0;
    if (s->pipe_in || s->pipe_out)
        return -ENOTSOCK;
    if (s->state == WEFT__SOCK_LISTENING) {
        s->backlog->max = backlog_max(backlog);
        return 0;
    }
    if (s->state != WEFT__SOCK_FRESH || (s->domain == AF_UNIX && s->path == NULL))
        return -EINVAL;
    if (s->domain != AF_UNIX) {
        struct weft__port *port = port_of(s);
        if (port == NULL)
            return -ENOMEM;
        err = weft__port_bound(port) ? weft__port_can_listen(p, port)
                                     : weft__port_autobind(p, port, NULL);
    }
    if (err < 0)
        return err;
    s->backlog = weft__calloc(1, sizeof *s->backlog);
    if (s->backlog == NULL)
        return -ENOMEM;
    s->backlog->max = backlog_max(backlog);
    s->state = WEFT__SOCK_LISTENING;
    if (s->port != NULL)
        s->port->listens = true;
    return 0;
}

/* --- The backlog ------------------------------------------------------------------------------ */

static bool backlog_full(const struct weft__backlog *b)
{
    return b->n > b->max || b->drop_syn; /* one more than asked for, as Linux */
}

/* A sock for the listener's side of a connection with s, in its backlog. */
static struct weft__sock *arrive_at(struct weft__sock *listener, struct weft__sock *s)
{
    struct weft__backlog *b = listener->backlog;
    struct weft__sock *a = weft__sock_new(listener->desc.proc, listener->domain);
    if (a == NULL)
        return NULL;
    a->desc.opened_by = "a connection that was not accepted";
    a->rcvbuf = listener->rcvbuf;
    a->sndbuf = listener->sndbuf;
    a->no_delay = listener->no_delay;
    a->keepalive = listener->keepalive;
    a->local = s->remote;
    a->remote = s->local;
    a->out = s->in;
    a->in = s->out;
    if (listener->path != NULL)
        a->path = weft__strdup(listener->path);
    a->listener = listener;
    if (b->first == NULL)
        b->first = a;
    else
        b->last->next_waiting = a;
    b->last = a;
    b->n++;
    weft__sock_join(s, a);
    listener->desc.world->stats.connections++;
    return a;
}

static void leave_backlog(struct weft__sock *a)
{
    struct weft__backlog *b = a->listener->backlog;
    struct weft__sock *before = NULL;
    struct weft__sock *x = b->first;
    while (x != a) {
        before = x;
        x = x->next_waiting;
    }
    if (before == NULL)
        b->first = a->next_waiting;
    else
        before->next_waiting = a->next_waiting;
    if (b->last == a)
        b->last = before;
    b->n--;
    a->listener = NULL;
    a->next_waiting = NULL;
}

void weft__backlog_close(struct weft__sock *s, bool crash)
{
    while (s->backlog->first != NULL) {
        struct weft__sock *a = s->backlog->first;
        leave_backlog(a);
        a->linger_reset = true; /* who was never accepted is reset */
        if (crash)
            weft__desc_crash(&a->desc);
        weft__desc_unref(&a->desc);
    }
}

int weft__sock_accept(struct weft__sock *s, struct sockaddr *sa, socklen_t *len)
{
    struct weft__proc *p = s->desc.proc;
    struct sockaddr_storage shown;
    if (s->state != WEFT__SOCK_LISTENING)
        return -EINVAL;
    struct weft__sock *a = s->backlog->first;
    while (a != NULL && !a->arrived)
        a = a->next_waiting;
    if (a == NULL)
        return -EAGAIN;
    int fd = weft__sim_refuse_file(p);
    if (fd == 0)
        fd = weft__desc_install(p, &a->desc);
    if (fd < 0)
        return fd; /* it stays in the queue */
    leave_backlog(a);
    a->desc.opened_by = p->who != NULL ? p->who() : NULL;
    if (sa != NULL) {
        socklen_t n = 0;
        (void)weft__sock_class.address(&a->desc, true, &shown, &n);
        weft__sa_give(sa, len, &shown, n);
    }
    if (a->keepalive)
        weft__sock_keepalive(a);
    return fd;
}

/* --- connect ---------------------------------------------------------------------------------- */

static void failed(struct weft__sock *s, int error)
{
    s->state = WEFT__SOCK_FRESH; /* it may connect again */
    s->error = error;
    s->remote.sa.sa_family = 0;
    weft__desc_wake(&s->desc);
}

static void again_in(struct weft__sock *s, enum phase phase, int64_t when_ns)
{
    s->phase = (uint8_t)phase;
    s->timer.fn = weft__sock_handshake_due;
    (void)weft__event_set(s->desc.world, &s->timer, when_ns); /* its room is reserved */
}

/* No answer: once more 1, 2, 4 ... s after the last one left. */
static void later(struct weft__sock *s)
{
    again_in(s, AGAIN, s->syn_ns + (SECOND << s->tries));
}

static void send_syn(struct weft__sock *s)
{
    int64_t at = weft__path_send(s->out, SYN_BYTES);
    s->syn_ns = s->desc.world->now_ns;
    if (at >= 0) {
        again_in(s, SYN, at);
        return;
    }
    s->desc.world->stats.dropped++;
    later(s);
}

static struct weft__sock *listener_at(struct weft__proc *p, const struct weft__sock *s)
{
    struct weft__port *port =
        p != NULL ? weft__port_find(p, IPPROTO_TCP, &s->remote.sa, &s->local.sa) : NULL;
    return port != NULL ? weft__sock_of(port->b.desc) : NULL;
}

static void answer(struct weft__sock *s, enum phase phase)
{
    int64_t at = weft__path_send(s->in, SYN_BYTES);
    if (at >= 0)
        again_in(s, phase, at);
    else
        later(s);
}

static void syn_arrives(struct weft__sock *s)
{
    struct weft__host *to = s->out->to;
    struct weft__sock *listener = listener_at(to->proc, s);
    if (to->dark)
        later(s);
    else if (listener == NULL)
        answer(s, REFUSED);
    else if (backlog_full(listener->backlog))
        later(s);
    else
        answer(s, ANSWER);
}

static void answer_arrives(struct weft__sock *s)
{
    struct weft__world *w = s->desc.world;
    const struct weft__host *to = s->out->to;
    struct weft__sock *listener = listener_at(to->proc, s);
    if (to->dark) { /* without power meanwhile, so nobody is there to take the last step */
        later(s);
        return;
    }
    if (listener == NULL) { /* gone meanwhile */
        failed(s, -ECONNREFUSED);
        return;
    }
    if (backlog_full(listener->backlog)) { /* filled by others whose SYN came with this one */
        later(s);
        return;
    }
    struct weft__sock *a = arrive_at(listener, s);
    if (a == NULL) {
        failed(s, -ENOMEM);
        return;
    }
    weft__trace(w, s->out->from, s->out->to, "tcp %" PRIi64 " > %" PRIi64 ": connects",
                weft__sa_port(&s->local.sa), weft__sa_port(&s->remote.sa), 0, 0);
    int64_t at = weft__path_send(s->out, SYN_BYTES);
    again_in(a, ACK, at >= 0 ? at : w->now_ns + SECOND);
    weft__sock_keepalive(s);
    weft__sock_push(s);
    weft__desc_wake(&s->desc);
}

void weft__sock_handshake_due(struct weft__event *e)
{
    struct weft__sock *s = WEFT__CONTAINER_OF(e, struct weft__sock, timer);
    switch (s->phase) {
    case SYN:
        syn_arrives(s);
        break;
    case ANSWER:
        answer_arrives(s);
        break;
    case REFUSED:
        failed(s, -ECONNREFUSED);
        break;
    case AGAIN:
        if (s->domain == AF_UNIX)
            weft__desc_wake(&s->desc);
        else if (s->tries++ >= SYN_RETRIES)
            failed(s, -ETIMEDOUT);
        else
            send_syn(s);
        break;
    case UNREACHABLE:
        failed(s, -EHOSTUNREACH);
        break;
    default: /* ACK */
        s->arrived = true;
        if (s->listener != NULL)
            weft__desc_wake(&s->listener->desc);
        break;
    }
}

/* Within the host, at once. */
static int connect_here(struct weft__sock *s, struct weft__sock *listener)
{
    if (listener == NULL)
        return -ECONNREFUSED;
    if (backlog_full(listener->backlog))
        return -EAGAIN;
    struct weft__sock *a = arrive_at(listener, s);
    if (a == NULL)
        return -ENOMEM;
    a->arrived = true;
    weft__desc_wake(&listener->desc);
    return 0;
}

static int connect_unix(struct weft__sock *s, const struct sockaddr *sa, socklen_t len)
{
    char *path = NULL;
    int err = unix_path(sa, len, &path);
    if (err < 0)
        return err;
    struct weft__sock *listener = unix_listener(s->desc.proc, path, &err);
    weft__free(path);
    return listener != NULL ? connect_here(s, listener) : err;
}

/* Our side's address and port. */
static void choose_local(struct weft__sock *s)
{
    struct weft__host *h = s->desc.proc->host;
    if (s->port != NULL && weft__port_bound(s->port))
        s->local = s->port->plain;
    else
        memset(&s->local, 0, sizeof s->local);
    uint16_t port = weft__sa_port(&s->local.sa);
    if (s->local.sa.sa_family != s->remote.sa.sa_family || weft__sa_is_any(&s->local.sa))
        weft__host_source(h, &s->remote.sa, &s->local);
    if (port == 0) {
        port = h->next_port;
        h->next_port = port >= PORT_LAST || port < PORT_FIRST ? PORT_FIRST : (uint16_t)(port + 1);
    }
    weft__sa_set_port(&s->local.sa, port);
}

static bool is_ours(const struct sockaddr *sa)
{
    if (sa->sa_family == AF_INET)
        return ntohl(((const struct sockaddr_in *)(const void *)sa)->sin_addr.s_addr) >> 24 == 10;
    return ((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr.s6_addr[0] == 0xfd;
}

/* True when bytes on this way are there at once. */
static bool immediate(struct weft__path *path)
{
    weft__path_refresh(path);
    return path->from == path->to && path->latency_ns == 0 && path->jitter_ns == 0 &&
           path->loss == 0 && path->bytes_per_s == 0 && !path->cut;
}

static int connect_tcp(struct weft__sock *s, const struct sockaddr *sa, socklen_t len)
{
    struct weft__proc *p = s->desc.proc;
    int err = weft__sa_destination(&s->remote, s->domain, s->v6only, sa, len);
    if (err < 0)
        return err;
    choose_local(s);
    struct weft__host *to = weft__host_by_address(p->world, p->host, &s->remote.sa);
    if (to == NULL && !is_ours(&s->remote.sa))
        return -ENETUNREACH;
    s->tries = 0;
    s->state = WEFT__SOCK_CONNECTING;
    if (to == NULL) {
        again_in(s, UNREACHABLE, p->world->now_ns + NO_ROUTE_NS);
        return 0;
    }
    s->out = weft__path_get(p->world, p->host, to);
    s->in = weft__path_get(p->world, to, p->host);
    if (s->out == NULL || s->in == NULL)
        return -ENOMEM;
    if (immediate(s->out)) {
        s->out = s->in = NULL;
        err = connect_here(s, listener_at(p, s));
        if (err == -EAGAIN) {
            s->out = weft__path_get(p->world, p->host, to);
            s->in = s->out;
            s->syn_ns = p->world->now_ns;
            later(s);
            err = 0;
        }
        return err;
    }
    send_syn(s);
    return 0;
}

int weft__sock_connect_begin(struct weft__sock *s, const struct sockaddr *sa, socklen_t len)
{
    if (s->pipe_in || s->pipe_out)
        return -ENOTSOCK;
    s->error = 0; /* of an attempt before, which nobody asked about */
    int err = s->domain == AF_UNIX ? connect_unix(s, sa, len) : connect_tcp(s, sa, len);
    if (err < 0 && s->state == WEFT__SOCK_CONNECTING)
        s->state = WEFT__SOCK_FRESH;
    return err;
}

/* A Unix listener's queue is full: connect(2) waits for room, and so we look again and again. */
static enum weft__sim_tried wait_for_room(struct weft__sock *s)
{
    s->state = WEFT__SOCK_FRESH;
    again_in(s, AGAIN, s->desc.world->now_ns + UNIX_AGAIN_NS);
    return WEFT__SIM_WAIT;
}

enum weft__sim_tried weft__sock_connect(struct weft__sock *s, struct weft__op *op)
{
    const struct sockaddr *sa = op->u.connect.addr;
    bool began = (op->moved & 1) != 0; /* free for our use until a SEND's */
    switch (s->state) {
    case WEFT__SOCK_CONNECTING:
        op->res = began ? 0 : -EALREADY;
        if (began)
            return WEFT__SIM_WAIT;
        break;
    case WEFT__SOCK_CONNECTED:
        op->res = began ? 0 : -EISCONN;
        break;
    case WEFT__SOCK_FRESH:
        if (began && s->error != 0) {
            op->res = s->error;
            s->error = 0;
            break;
        }
        op->res = weft__sock_connect_begin(s, sa, op->u.connect.addrlen);
        op->moved = 1;
        if (op->res == -EAGAIN && s->domain == AF_UNIX)
            return wait_for_room(s);
        if (op->res == 0 && s->state == WEFT__SOCK_CONNECTING)
            return WEFT__SIM_WAIT;
        break;
    default:
        op->res = s->state == WEFT__SOCK_LISTENING ? -EISCONN : s->error != 0 ? s->error : -EPIPE;
        s->error = 0;
        break;
    }
    op->moved = 0;
    return WEFT__SIM_ENDED;
}
