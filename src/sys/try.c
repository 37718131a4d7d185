/* SPDX-License-Identifier: MIT */
/*
 * One attempt at an operation; see try.h.
 *
 * Floor 1. Invariants: every attempt passes one fault point; EINTR is retried here.
 */
#include "sys/try.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/base.h"
#include "sys/call.h"

static enum weft__tried ended(struct weft__op *op, int64_t res)
{
    op->res = (int)res;
    return WEFT__TRIED_ENDED;
}

/* What a system call's result means: n, or errno. */
static enum weft__tried outcome(struct weft__op *op, ssize_t n)
{
    if (n >= 0)
        return ended(op, n);
    if (errno == EAGAIN)
        return WEFT__TRIED_WAIT;
    return ended(op, -errno);
}

/*
 * recv(2) on a Unix stream, as recvmsg(2) because that says whether descriptors or credentials
 * came along (and were dropped): the read stopped there, so it says nothing about what is left.
 */
static ssize_t recv_unix(struct weft__op *op, void *buf, size_t len, int flags)
{
    struct iovec iov = {.iov_base = buf, .iov_len = len};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    ssize_t n = recvmsg(op->fd, &msg, flags);
    if (n > 0 && (msg.msg_flags & MSG_CTRUNC))
        op->full = true;
    return n;
}

static enum weft__tried try_recv(struct weft__op *op, const struct weft__try_how *how)
{
    int flags = op->u.io.flags | (how->may_wait ? 0 : MSG_DONTWAIT);
    ssize_t n;
    do {
        if (how->unix_stream)
            n = recv_unix(op, op->u.io.buf, op->u.io.len, flags);
        else
            n = recv(op->fd, op->u.io.buf, op->u.io.len, flags);
    } while (n < 0 && errno == EINTR);
    op->full |= n >= (ssize_t)op->u.io.len;
    return outcome(op, n);
}

static enum weft__tried try_recv_pool(struct weft__op *op, const struct weft__try_how *how)
{
    struct weft__rbuf *rb = weft__rpool_get(how->pool);
    if (rb == NULL)
        return ended(op, -ENOBUFS);
    ssize_t n;
    do {
        if (how->unix_stream)
            n = recv_unix(op, rb->data, WEFT__RBUF_SIZE, MSG_DONTWAIT);
        else
            n = recv(op->fd, rb->data, WEFT__RBUF_SIZE, MSG_DONTWAIT);
    } while (n < 0 && errno == EINTR);
    if (n <= 0) {
        int err = errno;
        weft__rpool_put(how->pool, rb);
        errno = err;
        return outcome(op, n);
    }
    rb->len = (uint32_t)n;
    op->full |= n == WEFT__RBUF_SIZE;
    op->rbuf = rb;
    return ended(op, n);
}

/*
 * A part that was taken means that the buffer is full now, and that the edge for its room is still
 * to come (epoll(7)), so there is no second call to hear EAGAIN.
 */
static enum weft__tried try_send(struct weft__op *op, const struct weft__try_how *how)
{
    int flags = op->u.io.flags | MSG_NOSIGNAL | (how->may_wait ? 0 : MSG_DONTWAIT);
    for (;;) {
        const char *from = (const char *)op->u.io.buf + op->moved;
        ssize_t n = send(op->fd, from, op->u.io.len - op->moved, flags);
        if (n < 0) {
            if (errno == EINTR)
                continue;
            return outcome(op, n);
        }
        op->moved += (uint32_t)n;
        if (op->moved >= op->u.io.len)
            return ended(op, op->u.io.len);
        if (!how->may_wait)
            return WEFT__TRIED_WAIT;
    }
}

static enum weft__tried try_msg(struct weft__op *op, const struct weft__try_how *how)
{
    int flags = op->u.msg.flags | (how->may_wait ? 0 : MSG_DONTWAIT);
    ssize_t n;
    do {
        if (op->kind == WEFT__OP_SENDMSG)
            n = sendmsg(op->fd, op->u.msg.msg, flags | MSG_NOSIGNAL);
        else
            n = recvmsg(op->fd, op->u.msg.msg, flags);
    } while (n < 0 && errno == EINTR);
    if (op->kind == WEFT__OP_RECVMSG && n > 0) {
        size_t room = 0;
        for (size_t i = 0; i < op->u.msg.msg->msg_iovlen; i++)
            room += op->u.msg.msg->msg_iov[i].iov_len;
        op->full = (size_t)n >= room;
    }
    return outcome(op, n);
}

static enum weft__tried try_accept(struct weft__op *op)
{
    int fd;
    do {
        fd = accept4(op->fd, op->u.accept.addr, weft__op_addrlen(op), SOCK_CLOEXEC);
    } while (fd < 0 && errno == EINTR);
    return outcome(op, fd);
}

/* Each attempt calls connect(2): it says whether the connection is made, under way, or why not. */
static enum weft__tried try_connect(struct weft__op *op)
{
    if (!(op->state & (WEFT__TRY_STARTED | WEFT__TRY_RESTORE))) {
        int mode = fcntl(op->fd, F_GETFL);
        if (mode < 0)
            return ended(op, -errno);
        if (!(mode & O_NONBLOCK)) {
            if (fcntl(op->fd, F_SETFL, mode | O_NONBLOCK) < 0)
                return ended(op, -errno);
            op->state |= WEFT__TRY_RESTORE;
        }
    }
    if (connect(op->fd, op->u.connect.addr, op->u.connect.addrlen) == 0)
        return ended(op, 0);
    switch (errno) {
    case EINPROGRESS:
    case EINTR:
        op->state |= WEFT__TRY_STARTED;
        return WEFT__TRIED_WAIT;
    case EALREADY:
        if (op->state & WEFT__TRY_STARTED)
            return WEFT__TRIED_WAIT;
        break;
    case EISCONN:
        if (op->state & WEFT__TRY_STARTED)
            return ended(op, 0);
        break;
    case EAGAIN:
        if (op->u.connect.addr->sa_family == AF_UNIX)
            return WEFT__TRIED_LATER;
        break;
    default:
        break;
    }
    return ended(op, -errno);
}

static enum weft__tried try_poll(struct weft__op *op)
{
    struct pollfd p = {.fd = op->fd, .events = op->u.poll.events};
    int n;
    if (op->fd < 0) /* which poll passes over */
        return ended(op, -EBADF);
    do {
        n = poll(&p, 1, 0);
    } while (n < 0 && errno == EINTR);
    if (n < 0)
        return ended(op, -errno);
    if (n == 0)
        return WEFT__TRIED_WAIT;
    return ended(op, (p.revents & POLLNVAL) ? -EBADF : p.revents);
}

/* read(2) or write(2) of at most `max` bytes. */
static enum weft__tried plain_io(struct weft__op *op, size_t max)
{
    size_t len = weft__min_size(op->u.io.len, max);
    ssize_t n;
    do {
        if (op->kind == WEFT__OP_WRITE)
            n = write(op->fd, op->u.io.buf, len);
        else
            n = read(op->fd, op->u.io.buf, len);
    } while (n < 0 && errno == EINTR);
    return outcome(op, n);
}

/* EAGAIN from a file that no event will ever come from: what it lacks is a page in memory. */
static bool is_disk_file(int fd)
{
    struct stat st;
    return fstat(fd, &st) == 0 && (S_ISREG(st.st_mode) || S_ISBLK(st.st_mode));
}

static enum weft__tried try_file(struct weft__op *op)
{
    struct iovec iov = {.iov_base = op->u.io.buf, .iov_len = op->u.io.len};
    ssize_t n;
    do {
        if (op->kind == WEFT__OP_WRITE)
            n = pwritev2(op->fd, &iov, 1, -1, RWF_NOWAIT);
        else
            n = preadv2(op->fd, &iov, 1, -1, RWF_NOWAIT);
    } while (n < 0 && errno == EINTR);
    if (n < 0 && errno == EAGAIN && is_disk_file(op->fd))
        return plain_io(op, SIZE_MAX);
    if (n >= 0 || (errno != EOPNOTSUPP && errno != ENOSYS))
        return outcome(op, n);

    struct pollfd p = {.fd = op->fd, .events = weft__try_events(op)};
    do {
        n = poll(&p, 1, 0);
    } while (n < 0 && errno == EINTR);
    if (n == 0)
        return WEFT__TRIED_WAIT;
    return plain_io(op, op->kind == WEFT__OP_WRITE ? PIPE_BUF : SIZE_MAX);
}

/* A pipe whose reader is gone is an error and not a signal. */
static enum weft__tried try_write(struct weft__op *op)
{
    sigset_t before;
    weft__sigpipe_hold(&before);
    enum weft__tried t = try_file(op);
    weft__sigpipe_release(&before, t != WEFT__TRIED_ENDED || op->res == (int)op->u.io.len);
    return t;
}

enum weft__tried weft__try(struct weft__op *op, const struct weft__try_how *how)
{
    int r = weft__fault();
    if (r < 0)
        return ended(op, r);
    switch (op->kind) {
    case WEFT__OP_ACCEPT:
        return try_accept(op);
    case WEFT__OP_CONNECT:
        return try_connect(op);
    case WEFT__OP_RECV:
        return try_recv(op, how);
    case WEFT__OP_RECV_POOL:
        return try_recv_pool(op, how);
    case WEFT__OP_SEND:
        return try_send(op, how);
    case WEFT__OP_RECVMSG:
    case WEFT__OP_SENDMSG:
        return try_msg(op, how);
    case WEFT__OP_READ:
        return try_file(op);
    case WEFT__OP_WRITE:
        return try_write(op);
    case WEFT__OP_POLL:
        return try_poll(op);
    default:
        return ended(op, -EINVAL);
    }
}

void weft__try_restore(struct weft__op *op)
{
    int mode = fcntl(op->fd, F_GETFL);
    if (mode >= 0)
        (void)fcntl(op->fd, F_SETFL, mode & ~O_NONBLOCK);
}
