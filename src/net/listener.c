/* SPDX-License-Identifier: MIT */
/*
 * Listening sockets: making them for servers and for programs that accept by themselves.
 *
 * Floor 3. Invariants: a descriptor that is handed out is bound and listening, and its endpoint
 * carries the real port; a Unix path is replaced only when nobody answers behind it, is closed to
 * others before the first connect can succeed, and is removed only while it is still our socket.
 * Tasks that wait in weft_accept stand in `waiting`; the last of them frees a closed listener.
 *
 * What cannot be made safe: two programs that find the same dead path in the same instant may both
 * replace it; then the second one has it. A lock would have to outlive crashes to do better.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <weft/listener.h>

#include "base/alloc.h"
#include "net/address.h"
#include "net/server.h"
#include "net/stream.h"
#include "sys/call.h"

#define BACKLOG_DEFAULT 4096
#define UNIX_MODE_DEFAULT 0600

/* --- Making the descriptor ------------------------------------------------------------------- */

static int fail_at(int err, const char *what, const struct weft_endpoint *e)
{
    char text[WEFT_ENDPOINT_MAX] = "?";
    (void)weft__endpoint_plain(e, text, sizeof text);
    return weft__fail(err, "cannot %s %s", what, text);
}

const char *weft__unix_path(const struct weft_endpoint *e)
{
    const struct sockaddr_un *un = (const struct sockaddr_un *)&e->address.sa;
    return e->kind == WEFT_ENDPOINT_UNIX && un->sun_path[0] != '\0' ? un->sun_path : NULL;
}

/* An inherited descriptor: it must be what it is taken for. */
static int adopt(struct weft_endpoint *e)
{
    int on;
    socklen_t len = sizeof on;
    int err = weft__call_inside(e->fd, "fd:N");
    if (err < 0)
        return err;
    if (weft__socket_family(e->fd) < 0)
        return weft__fail(-EINVAL, "fd:%d is not a stream socket", e->fd);
    err = weft__call_getsockopt(e->fd, SOL_SOCKET, SO_ACCEPTCONN, &on, &len);
    if (err < 0)
        return fail_at(err, "examine", e);
    if (!on)
        return weft__fail(-EINVAL, "fd:%d is a stream socket, but not a listening one", e->fd);
    err = weft__socket_local(e->fd, &e->address);
    if (err < 0)
        return fail_at(err, "examine", e);
    err = weft__call_cloexec(e->fd);
    if (err < 0)
        return fail_at(err, "examine", e);
    return e->fd;
}

static int set_on(int fd, int level, int name, int value)
{
    return weft__call_setsockopt(fd, level, name, &value, sizeof value);
}

static int tcp_options(int fd, const struct weft_endpoint *e, const struct weft__listen *o)
{
    int err = set_on(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (err == 0 && o->reuse_port)
        err = set_on(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    if (err == 0 && e->address.sa.ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&e->address.sa;
        bool dual = !o->v6_only && IN6_IS_ADDR_UNSPECIFIED(&in6->sin6_addr);
        err = set_on(fd, IPPROTO_IPV6, IPV6_V6ONLY, !dual);
    }
    /* Accepted sockets inherit it, which saves one call a connection. */
    return err == 0 ? weft__socket_no_delay(fd) : err;
}

/* Whether a Unix path is a socket that nobody listens on any more. */
static bool is_dead(const struct weft_endpoint *e)
{
    struct stat st;
    if (weft__call_lstat(weft__unix_path(e), &st) < 0 || !S_ISSOCK(st.st_mode))
        return false;
    /* Without blocking: a live server's backlog may be full. */
    int fd = weft__call_socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return false;
    int err = weft__call_connect_now(fd, (const struct sockaddr *)&e->address.sa, e->address.len);
    weft__call_close(fd);
    return err == -ECONNREFUSED;
}

static int bind_to(int fd, const struct weft_endpoint *e)
{
    const struct sockaddr *sa = (const struct sockaddr *)&e->address.sa;
    int err = weft__call_bind(fd, sa, e->address.len);
    if (err != -EADDRINUSE || weft__unix_path(e) == NULL || !is_dead(e))
        return err;
    int gone = weft__call_unlink(weft__unix_path(e));
    return gone == 0 || gone == -ENOENT ? weft__call_bind(fd, sa, e->address.len) : err;
}

static int bound(const struct weft_endpoint *e, const struct weft__listen *o, const char **step)
{
    const char *path = weft__unix_path(e);
    *step = "open a socket for";
    int fd = weft__call_socket(e->address.sa.ss_family, SOCK_STREAM, 0);
    if (fd < 0)
        return fd;
    int err = weft__endpoint_is_tcp(e) ? tcp_options(fd, e, o) : 0;
    if (err == 0) {
        *step = "bind to";
        err = bind_to(fd, e);
    }
    if (err < 0) {
        weft__call_close(fd);
        return err;
    }
    *step = "set the permissions of";
    if (path != NULL)
        err = weft__call_chmod(path, (mode_t)(o->unix_mode ? o->unix_mode : UNIX_MODE_DEFAULT));
    if (err == 0) {
        *step = "listen on";
        err = weft__call_listen(fd, o->backlog > 0 ? o->backlog : BACKLOG_DEFAULT);
    }
    if (err < 0) {
        if (path != NULL)
            (void)weft__call_unlink(path);
        weft__call_close(fd);
        return err;
    }
    return fd;
}

int weft__listen_fd(struct weft_endpoint *e, const struct weft__listen *o)
{
    const char *step;
    if (e->kind == WEFT_ENDPOINT_FD)
        return adopt(e);
    if (!weft__endpoint_is_tcp(e) && e->kind != WEFT_ENDPOINT_UNIX)
        return fail_at(WEFT_EENDPOINT, "listen for connections on", e);
    struct weft_endpoint at = *e;
    int fd = bound(&at, o, &step);
    if ((fd == -EAFNOSUPPORT || fd == -EADDRNOTAVAIL) && e->any && !o->v6_only) {
        /* A machine without IPv6. */
        int err = weft_address_ip(&at.address, "0.0.0.0", weft_address_port(&e->address));
        fd = err < 0 ? err : bound(&at, o, &step);
    }
    if (fd < 0)
        return fail_at(fd, step, e);
    if (weft__endpoint_is_tcp(e)) {
        int err = weft__socket_local(fd, &at.address);
        if (err < 0) {
            weft__call_close(fd);
            return fail_at(err, "find the port of", e);
        }
    }
    if (at.port >= 0)
        at.port = weft_address_port(&at.address);
    *e = at;
    return fd;
}

void weft__unix_file_note(struct weft__unix_file *f, const struct weft_endpoint *e)
{
    struct stat st;
    const char *path = weft__unix_path(e);
    if (path == NULL || weft__call_lstat(path, &st) < 0)
        return;
    *f = (struct weft__unix_file){.device = st.st_dev, .inode = st.st_ino, .there = true};
}

void weft__unix_file_remove(struct weft__unix_file *f, const struct weft_endpoint *e)
{
    struct stat st;
    const char *path = weft__unix_path(e);
    if (f->there && weft__call_lstat(path, &st) == 0 && st.st_dev == f->device &&
        st.st_ino == f->inode)
        (void)weft__call_unlink(path);
    f->there = false;
}

/* --- Listeners ------------------------------------------------------------------------------- */

struct weft_listener {
    struct weft_loop *loop;    /* NULL: plain threads */
    struct weft_endpoint at;   /* as printed: with the real port, never fd:N */
    struct weft__list waiting; /* struct acceptor; on a loop */
    size_t write_buffer;
    struct weft__unix_file file;
    int fd;
    int family;
    bool closed;
};

/* A task in weft_accept, on its stack. */
struct acceptor {
    struct weft__node link;
    struct weft__flow *flow;
};

int weft_listen(struct weft_listener **ret, const char *endpoint,
                const struct weft_listen_options *o)
{
    static const struct weft_listen_options defaults;
    struct weft_endpoint at;
    int err = weft_endpoint_parse(&at, endpoint);
    if (err == 0 && at.kind == WEFT_ENDPOINT_TLS)
        err = weft__fail(WEFT_EENDPOINT, "a listener gives plain streams: tcp:// and then "
                                         "weft_tls_accept, or a server (server.h)");
    if (err == 0 && at.query[0] != '\0')
        err = weft__fail(WEFT_EENDPOINT, "%s: a listener's endpoint has no options", endpoint);
    if (err == 0)
        err = weft__endpoint_here(&at);
    if (err < 0)
        return err;
    if (o == NULL)
        o = &defaults;
    struct weft_listener *l = weft__calloc(1, sizeof *l);
    if (l == NULL)
        return -ENOMEM;
    struct weft__listen how = {.backlog = o->backlog,
                               .reuse_port = o->reuse_port,
                               .v6_only = o->v6_only,
                               .unix_mode = o->unix_mode};
    l->fd = weft__listen_fd(&at, &how);
    if (l->fd < 0) {
        err = l->fd;
        weft__free(l);
        return err;
    }
    l->loop = weft_loop_current();
    if (l->loop == NULL)
        /* Here, as a thread's driver, which does it for its first accept, is not told of closes. */
        (void)weft__call_set_nonblock(l->fd, true);
    l->at = at;
    l->family = at.address.sa.ss_family;
    l->write_buffer = o->write_buffer;
    weft__list_init(&l->waiting);
    if (at.kind == WEFT_ENDPOINT_FD)
        l->at.kind = l->family == AF_UNIX ? WEFT_ENDPOINT_UNIX : WEFT_ENDPOINT_TCP;
    else
        weft__unix_file_note(&l->file, &l->at);
    *ret = l;
    return 0;
}

static void listener_free(struct weft_listener *l)
{
    weft__sys_close_fd(l->loop != NULL ? l->loop->sys : NULL, l->fd);
    weft__free(l);
}

/* The next descriptor, past the connections that died in the queue. */
static int accept_fd(struct weft_listener *l, weft_deadline d)
{
    struct weft__io io;
    int fd;
    do {
        io.op = (struct weft__op){.kind = WEFT__OP_ACCEPT, .fd = l->fd};
        fd = weft__await(&io, "accept", d);
        if (fd == -ETIMEDOUT && weft_left_ns(d) == 0)
            break; /* our own deadline, not a connection's end */
    } while (fd < 0 && !l->closed && weft__accept_passing(fd));
    return fd;
}

int weft_accept(struct weft_listener *l, struct weft_stream **ret, weft_deadline d)
{
    struct acceptor self = {.flow = weft__flow_self()};
    if (self.flow->loop != l->loop)
        return weft__fail(WEFT_ETHREAD, "the listener belongs to another loop");
    int err = weft__wait_check();
    if (err < 0)
        return err;
    if (l->closed)
        return WEFT_ECLOSED;
    /* Before the connection is taken, so that want of memory leaves it in the queue. */
    struct weft_stream *s = weft__alloc(sizeof *s);
    if (s == NULL)
        return -ENOMEM;
    if (l->loop != NULL)
        weft__list_push_back(&l->waiting, &self.link);
    int fd = accept_fd(l, d);
    if (l->loop != NULL)
        weft__list_remove(&self.link);
    if (l->closed) {
        if (fd >= 0)
            weft__fd_close(l->loop, fd, false);
        fd = WEFT_ECLOSED;
        if (weft__list_empty(&l->waiting))
            listener_free(l);
    }
    if (fd < 0) {
        weft__free(s);
        return fd;
    }
    weft__fd_stream_init(s, fd, l->family, l->loop, l->write_buffer);
    *ret = s;
    return 0;
}

int weft_listener_endpoint(const struct weft_listener *l, char *buf, size_t cap)
{
    return weft_endpoint_print(&l->at, buf, cap);
}

int weft_listener_fd(const struct weft_listener *l)
{
    return l->fd;
}

void weft_listener_close(struct weft_listener **ret)
{
    struct weft_listener *l = *ret;
    if (l == NULL)
        return;
    *ret = NULL;
    weft__unix_file_remove(&l->file, &l->at);
    if (weft__list_empty(&l->waiting)) {
        listener_free(l);
        return;
    }
    l->closed = true;
    WEFT__LIST_EACH(&l->waiting, n) {
        struct weft__flow *f = WEFT__CONTAINER_OF(n, struct acceptor, link)->flow;
        if (f->wait != NULL)
            weft__wait_abort(f->wait, -ECANCELED);
    }
}
