/* SPDX-License-Identifier: MIT */
/*
 * Streams over a descriptor: TCP, Unix sockets, and by read(2) and write(2) pipes and terminals.
 *
 * Floor 3. Every wait is one operation of the seam. On a loop an idle stream in fill holds no
 * buffer: the driver brings one of its pool with the bytes. A thread, which keeps one anyway and is
 * in one call at a time, waits with it in hand.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "net/feed.h"
#include "net/server.h"
#include "net/stream.h"
#include "net/transport.h"
#include "sys/call.h"

/*
 * A server's time limits where no loop sweeps: the wait's own deadline, or the limit's, whichever
 * is earlier.
 */
static weft_deadline limited(const struct weft_stream *s, bool writing, weft_deadline d)
{
    if (WEFT__LIKELY(s->loop != NULL || s->conn == NULL || s->conn->worker == NULL))
        return d;
    const struct weft_server_options *o = &s->conn->worker->server->options;
    int64_t ms = writing ? o->write_ms : o->idle_ms;
    if (!writing && !s->first_byte && o->first_byte_ms > 0 && (ms <= 0 || o->first_byte_ms < ms))
        ms = o->first_byte_ms;
    return ms > 0 ? weft_earlier(d, weft_after_ms(ms)) : d;
}

int weft__fd_await(struct weft_stream *s, struct weft__io *io, bool writing, weft_deadline d)
{
    if (WEFT__UNLIKELY(s->closed)) /* while an earlier round of the same call had yielded */
        return WEFT_ECLOSED;
    weft_deadline sooner = limited(s, writing, d);
    weft__flow_self()->near = s;
    int n = weft__await(io, writing ? "write" : "read", sooner);
    if (n == -ETIMEDOUT && sooner.ns < d.ns)
        s->timed_out = true;
    return n;
}

static void got(struct weft_stream *s, struct weft__io *io, ssize_t n, size_t cap)
{
    if (n > 0) {
        weft__stream_got(s, (size_t)n);
        s->drained = ((size_t)n < cap || s->tcp) && !io->op.full;
    } else if (n == 0) {
        s->end = true;
    }
}

/* Calls that have a receive of their own: where there is a feed, a task waits in frames without. */
WEFT__APART static ssize_t receive(struct weft_stream *s, void *buf, size_t cap, weft_deadline d)
{
    struct weft__io io;
    io.op =
        (struct weft__op){.kind = s->socket ? WEFT__OP_RECV : WEFT__OP_READ,
                          .flags = s->drained ? WEFT__OP_POLL_FIRST : 0,
                          .fd = s->fd,
                          .u.io = {.buf = buf, .len = (uint32_t)weft__min_size(cap, INT32_MAX)}};
    int n = weft__fd_await(s, &io, false, d);
    got(s, &io, n, cap);
    return n;
}

static ssize_t fd_read(struct weft_stream *s, void *buf, size_t cap, weft_deadline d)
{
    ssize_t fed = s->feed != NULL ? weft__feed_read(s, buf, cap, d) : -EAGAIN;
    return fed != -EAGAIN ? fed : receive(s, buf, cap, d);
}

/* Into a pool buffer, on a loop's socket. */
static ssize_t fill_pool(struct weft_stream *s, weft_deadline d)
{
    struct weft__io io;
    io.op = (struct weft__op){
        .kind = WEFT__OP_RECV_POOL, .flags = s->drained ? WEFT__OP_POLL_FIRST : 0, .fd = s->fd};
    int n = weft__fd_await(s, &io, false, d);
    if (n > 0) {
        s->in = io.op.rbuf;
        s->in->used = 0;
        if (s->tcp && s->feed == NULL && s->fills < WEFT__FEED_AFTER &&
            s->loop->sys->driver->multi_recv)
            s->fills = (s->fills + 1u) & 3u;
    }
    got(s, &io, n, WEFT__RBUF_SIZE);
    return n;
}

/* Waits for bytes where no driver brings them in a buffer of its own. */
static ssize_t await_bytes(struct weft_stream *s, weft_deadline d)
{
    struct weft__io io;
    io.op = (struct weft__op){.kind = WEFT__OP_POLL, .fd = s->fd, .u.poll = {.events = POLLIN}};
    ssize_t n = weft__fd_await(s, &io, false, d);
    if (n > 0)
        s->drained = false; /* poll has just said so */
    return n;
}

WEFT__APART static ssize_t fill(struct weft_stream *s, weft_deadline d)
{
    if (s->loop != NULL && s->socket)
        return fill_pool(s, d);
    ssize_t n = s->loop != NULL ? await_bytes(s, d) : 0;
    if (n < 0)
        return n;
    struct weft__rbuf *rb = weft__in_alloc(s, WEFT__RBUF_SIZE);
    if (rb == NULL)
        return -ENOMEM;
    n = fd_read(s, rb->data, WEFT__RBUF_SIZE, d);
    rb->len = n > 0 ? (uint32_t)n : 0;
    s->in = rb;
    if (n <= 0)
        weft__in_release(s);
    return n;
}

static ssize_t fd_fill(struct weft_stream *s, weft_deadline d)
{
    if (WEFT__UNLIKELY(weft__feed_due(s)))
        weft__feed_open(s);
    ssize_t fed = s->feed != NULL ? weft__feed_fill(s, d) : -EAGAIN;
    return fed != -EAGAIN ? fed : fill(s, d);
}

/*
 * What one operation writes at most. A driver tells of a write when all of it has gone, so this is
 * what a peer has to take within a server's time limit, be it ever so slow.
 */
#define PIECE ((size_t)256 * 1024)

/* How many of the n are in the next operation; *cut: what is left of the last of them. */
static int next_piece(struct iovec *iov, int n, size_t *cut)
{
    size_t room = PIECE;
    *cut = 0;
    for (int i = 0; i < n; i++) {
        if (iov[i].iov_len > room) {
            *cut = iov[i].iov_len - room;
            return i + 1;
        }
        room -= iov[i].iov_len;
    }
    return n;
}

/* One operation's worth. */
static ssize_t write_some(struct weft_stream *s, struct iovec *iov, int n, size_t *moved,
                          weft_deadline d)
{
    struct weft__io io;
    struct msghdr msg;
    size_t cut;
    n = next_piece(iov, n, &cut);
    iov[n - 1].iov_len -= cut;
    io.op = (struct weft__op){.fd = s->fd};
    if (n == 1 || !s->socket) {
        io.op.kind = s->socket ? WEFT__OP_SEND : WEFT__OP_WRITE;
        io.op.u.io.buf = iov->iov_base;
        io.op.u.io.len = (uint32_t)iov->iov_len;
    } else {
        memset(&msg, 0, sizeof msg);
        msg.msg_iov = iov;
        msg.msg_iovlen = (size_t)n;
        io.op.kind = WEFT__OP_SENDMSG;
        io.op.u.msg.msg = &msg;
    }
    int res = weft__fd_await(s, &io, true, d);
    iov[n - 1].iov_len += cut;
    *moved += res > 0 ? (size_t)res : io.op.moved;
    return res;
}

static int fd_write(struct weft_stream *s, struct iovec *iov, int n, size_t *moved, weft_deadline d)
{
    weft__stream_begins(s);
    while (n > 0) {
        if (iov->iov_len == 0) {
            iov++;
            n--;
            continue;
        }
        ssize_t res = write_some(s, iov, n, moved, d);
        if (res < 0)
            return (int)res;
        size_t went = (size_t)res;
        while (n > 0 && went >= iov->iov_len) {
            went -= iov->iov_len;
            iov++;
            n--;
        }
        if (n > 0) {
            iov->iov_base = (uint8_t *)iov->iov_base + went;
            iov->iov_len -= went;
            weft__stream_moves(s);
        }
    }
    return 0;
}

static int fd_shutdown(struct weft_stream *s)
{
    if (!s->socket)
        return weft__fail(-ENOTSOCK, "a pipe or terminal has no half-close");
    return weft__call_shutdown(s->fd, SHUT_WR);
}

/* To be closed with an RST, socket(7) SO_LINGER. */
static void no_linger(int fd)
{
    struct linger reset = {.l_onoff = 1, .l_linger = 0};
    int err = weft__call_setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    (void)err; /* then it ends gracefully, or had ended before */
}

void weft__fd_close(struct weft_loop *l, int fd, bool abrupt)
{
    if (abrupt)
        no_linger(fd);
    weft__sys_close_fd(l != NULL ? l->sys : NULL, fd);
}

static void fd_release(struct weft_stream *s, bool abrupt)
{
    if (s->fd < 0)
        return;
    if (abrupt && s->tcp)
        no_linger(s->fd);
    if (s->aliased)
        weft__sys_close_fd(s->loop != NULL ? s->loop->sys : NULL, s->fd);
    else
        weft__sys_close_only_fd(s->loop != NULL ? s->loop->sys : NULL, s->fd);
    s->fd = -1;
}

static int fd_address(const struct weft_stream *s, bool peer, struct weft_address *ret)
{
    if (!s->socket)
        return -EOPNOTSUPP;
    return peer ? weft__socket_peer(s->fd, ret) : weft__socket_local(s->fd, ret);
}

#define FD_CLASS(text)                                                                             \
    {                                                                                              \
        .kind = (text), .read = fd_read, .fill = fd_fill, .write = fd_write,                       \
        .shutdown = fd_shutdown, .release = fd_release, .address = fd_address, .joins = true,      \
    }
const struct weft__stream_class weft__tcp_class = FD_CLASS("tcp");
const struct weft__stream_class weft__unix_class = FD_CLASS("unix");
const struct weft__stream_class weft__fd_class = FD_CLASS("fd");

void weft__fd_stream_init(struct weft_stream *s, int fd, int family, struct weft_loop *loop,
                          size_t out_max)
{
    bool tcp = family == AF_INET || family == AF_INET6;
    const struct weft__stream_class *cls = family < 0 ? &weft__fd_class : &weft__unix_class;
    weft__stream_init(s, tcp ? &weft__tcp_class : cls, loop);
    s->fd = fd;
    s->socket = family >= 0;
    s->tcp = tcp;
    if (out_max > 0)
        s->out_max =
            (uint32_t)weft__min_size(weft__max_size(out_max, WEFT__OUT_MAX_MIN), UINT32_MAX);
}

int weft__fd_stream_open(struct weft_stream **ret, int fd, int family, size_t out_max)
{
    struct weft_stream *s = weft__alloc(sizeof *s);
    if (s == NULL)
        return -ENOMEM;
    weft__fd_stream_init(s, fd, family, weft_loop_current(), out_max);
    *ret = s;
    return 0;
}

int weft_stream_from_fd(struct weft_stream **ret, int fd)
{
    struct stat st;
    int err = weft__call_inside(fd, "weft_stream_from_fd");
    if (err == 0)
        err = weft__call_fstat(fd, &st);
    if (err < 0)
        return err;
    int family = -1;
    if (S_ISSOCK(st.st_mode)) {
        family = weft__socket_family(fd);
        if (family < 0)
            return family;
    } else if (S_ISDIR(st.st_mode)) {
        return -EISDIR;
    }
    err = weft__fd_stream_open(ret, fd, family, 0);
    if (err == 0)
        (*ret)->aliased = true;
    return err;
}

int weft_socketpair(struct weft_stream **a, struct weft_stream **b)
{
    struct weft_stream *first = NULL, *second = NULL;
    int fds[2];
    int err = weft__call_socketpair(AF_UNIX, SOCK_STREAM, fds);
    if (err < 0)
        return err;
    err = weft__fd_stream_open(&first, fds[0], AF_UNIX, 0);
    if (err == 0)
        err = weft__fd_stream_open(&second, fds[1], AF_UNIX, 0);
    if (err < 0) {
        weft__free(first);
        weft__call_close(fds[0]);
        weft__call_close(fds[1]);
        return err;
    }
    *a = first;
    *b = second;
    return 0;
}
