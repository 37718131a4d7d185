/* SPDX-License-Identifier: MIT */
/*
 * What an operation of the io_uring driver says to the kernel, and what becomes of the answer
 * (floor 1).
 *
 * An operation is one entry, as a rule. It takes further steps where the kernel says -EAGAIN,
 * mostly because the descriptor has O_NONBLOCK (poll, and again), where a SEND was short, and where
 * a RECV_POOL found no buffer.
 *
 * Invariants: an operation that was cancelled takes no further step; MSG_DONTWAIT never reaches
 * the kernel, since operations wait.
 */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <sys/stat.h>

#include "base/base.h"
#include "sys/call.h"
#include "sys/try.h"
#include "sys/uring.h"

#if WEFT_HAVE_VALGRIND
#include <valgrind/memcheck.h>
#endif

/* The kernel itself has tried often by then, so it is not short. */
static const struct __kernel_timespec connect_pause = {.tv_nsec = 10000000};

/* Of Linux 6.10, in newer headers: an accept that finds nothing ends with -EAGAIN. */
#define ACCEPT_DONTWAIT 2u

static inline void prep_io(struct io_uring_sqe *sqe, int code, const struct weft__op *op)
{
    io_uring_prep_rw(code, sqe, op->fd, op->u.io.buf, op->u.io.len, 0);
    sqe->msg_flags = (uint32_t)(op->u.io.flags & ~MSG_DONTWAIT);
}

static inline bool is_multi_recv(const struct uring_sys *s, const struct weft__op *op)
{
    return op->kind == WEFT__OP_RECV_POOL && (op->flags & WEFT__OP_MULTI) && !s->no_multi_recv;
}

static void prep_op(const struct uring_sys *s, struct io_uring_sqe *sqe, const struct weft__op *op)
{
    switch (op->kind) {
    case WEFT__OP_RECV:
        prep_io(sqe, IORING_OP_RECV, op);
        break;
    case WEFT__OP_RECV_POOL:
        io_uring_prep_rw(IORING_OP_RECV, sqe, op->fd, NULL, WEFT__RBUF_SIZE, 0);
        sqe->flags = IOSQE_BUFFER_SELECT;
        sqe->buf_group = WEFT__URING_GROUP;
        if (is_multi_recv(s, op)) {
            sqe->ioprio = IORING_RECV_MULTISHOT;
            sqe->len = 0; /* up to the buffer's */
            /* optlen, in newer headers. The last buffer may pass it. */
            uint32_t limit = WEFT__RECV_MULTI_MAX - WEFT__RBUF_SIZE;
            sqe->file_index = op->moved < limit ? limit - op->moved : 1;
        }
        break;
    case WEFT__OP_SEND:
        io_uring_prep_rw(IORING_OP_SEND, sqe, op->fd, (const char *)op->u.io.buf + op->moved,
                         op->u.io.len - op->moved, 0);
        sqe->msg_flags = (uint32_t)((op->u.io.flags & ~MSG_DONTWAIT) | MSG_NOSIGNAL | MSG_WAITALL);
        break;
    case WEFT__OP_ACCEPT:
        io_uring_prep_accept(sqe, op->fd, op->u.accept.addr, weft__op_addrlen(op), SOCK_CLOEXEC);
        break;
    case WEFT__OP_CONNECT:
        io_uring_prep_connect(sqe, op->fd, op->u.connect.addr, op->u.connect.addrlen);
        break;
    case WEFT__OP_RECVMSG:
        io_uring_prep_recvmsg(sqe, op->fd, op->u.msg.msg,
                              (unsigned)(op->u.msg.flags & ~MSG_DONTWAIT));
        break;
    case WEFT__OP_SENDMSG:
        io_uring_prep_sendmsg(sqe, op->fd, op->u.msg.msg,
                              (unsigned)((op->u.msg.flags & ~MSG_DONTWAIT) | MSG_NOSIGNAL));
        break;
    case WEFT__OP_READ:
        io_uring_prep_read(sqe, op->fd, op->u.io.buf, op->u.io.len, UINT64_MAX);
        break;
    case WEFT__OP_WRITE:
        io_uring_prep_write(sqe, op->fd, op->u.io.buf, op->u.io.len, UINT64_MAX);
        sqe->flags |= IOSQE_ASYNC; /* a broken pipe's SIGPIPE then finds a worker that takes none */
        break;
    case WEFT__OP_POLL:
        io_uring_prep_poll_add(sqe, op->fd, (unsigned short)op->u.poll.events);
        break;
    default:
        io_uring_prep_nop(sqe);
        break;
    }
    if ((op->flags & WEFT__OP_POLL_FIRST) && !(op->state & AGAIN) &&
        (op->kind == WEFT__OP_RECV || op->kind == WEFT__OP_RECV_POOL ||
         op->kind == WEFT__OP_RECVMSG))
        sqe->ioprio |= IORING_RECVSEND_POLL_FIRST;
    if (op->state & ASYNC)
        sqe->flags |= IOSQE_ASYNC;
}

static short poll_events(const struct weft__op *op)
{
    bool out = op->kind == WEFT__OP_SEND || op->kind == WEFT__OP_SENDMSG ||
               op->kind == WEFT__OP_WRITE || op->kind == WEFT__OP_CONNECT;
    return out ? POLLOUT : POLLIN;
}

void weft__uring_prep(const struct uring_sys *s, struct io_uring_sqe *sqe,
                      const struct weft__op *op)
{
    int step = op->state & STEPS;
    if (WEFT__LIKELY(step == STEP_OP))
        prep_op(s, sqe, op);
    else if (step == STEP_POLL)
        io_uring_prep_poll_add(sqe, op->fd, (unsigned short)poll_events(op));
    else
        io_uring_prep_rw(IORING_OP_TIMEOUT, sqe, -1, &connect_pause, 1, 0);
    sqe->user_data = (uintptr_t)op;
}

static inline void call_done(struct uring_sys *s, struct weft__op *op, int res)
{
    op->res = res;
    s->sys.completions++;
    s->ends++;
    op->done(op);
}

void weft__uring_finish(struct uring_sys *s, struct weft__op *op, int res)
{
    if (WEFT__UNLIKELY(op->state & CANCELLED) && res == -EINTR)
        res = -ECANCELED;
    s->file_ops -= is_file_op(op);
    op->state = 0;
    op->more = false;
    s->sys.in_flight--;
    call_done(s, op, res);
}

/* The next step of an operation that has not ended, unless it was cancelled meanwhile. */
static void go_on(struct uring_sys *s, struct weft__op *op, int step)
{
    if (op->state & CANCELLED) {
        weft__uring_finish(s, op, -ECANCELED);
        return;
    }
    set_step(op, step);
    weft__uring_issue(s, op);
}

/*
 * The kernel leaves a WRITE, and the READ of a file that it cannot look into without waiting, to a
 * thread of its own, and the request to cancel may be there before that begins. A receive may find
 * all buffers taken, and then has to wait for the next wait. The rest it tries when it is sent.
 */
bool weft__uring_at_once(struct uring_sys *s, struct weft__op *op)
{
    bool receives = op->kind == WEFT__OP_RECV || op->kind == WEFT__OP_RECV_POOL ||
                    op->kind == WEFT__OP_RECVMSG || op->kind == WEFT__OP_READ;
    if (!receives && op->kind != WEFT__OP_WRITE)
        return false;
    weft__try_begin(op);
    if (weft__try(op, &(struct weft__try_how){.pool = &s->pool}) != WEFT__TRIED_ENDED)
        return false;
    if (op->kind == WEFT__OP_RECV_POOL && op->res == -ENOBUFS)
        return false; /* as where the kernel finds none: it waits for some */
    s->sys.completions++;
    return true;
}

static bool is_disk_file(int fd)
{
    struct stat st;
    return fstat(fd, &st) == 0 && (S_ISREG(st.st_mode) || S_ISBLK(st.st_mode));
}

/* The kernel would not wait, mostly because the descriptor has O_NONBLOCK. */
static void on_again(struct uring_sys *s, struct weft__op *op)
{
    bool file = op->kind == WEFT__OP_READ || op->kind == WEFT__OP_WRITE;
    if (op->kind == WEFT__OP_CONNECT && op->u.connect.addr->sa_family == AF_UNIX) {
        go_on(s, op, STEP_DELAY); /* the listener's backlog is full, which no event tells */
    } else if (file && !(op->state & ASYNC) && is_disk_file(op->fd)) {
        op->state |= ASYNC;
        go_on(s, op, STEP_OP);
    } else {
        op->state |= AGAIN;
        go_on(s, op, STEP_POLL);
    }
}

/* A pause or a poll came to its end. */
static void on_step(struct uring_sys *s, struct weft__op *op, int res)
{
    if ((op->state & STEPS) == STEP_DELAY) {
        go_on(s, op, STEP_OP);
    } else if (res < 0) {
        weft__uring_finish(s, op, op->state & CANCELLED ? -ECANCELED : res);
    } else if (op->kind == WEFT__OP_CONNECT && !(op->state & CANCELLED)) {
        int err = 0;
        socklen_t len = sizeof err;
        int r = weft__call_getsockopt(op->fd, SOL_SOCKET, SO_ERROR, &err, &len);
        weft__uring_finish(s, op, r < 0 ? r : -err);
    } else {
        go_on(s, op, STEP_OP);
    }
}

#if WEFT_HAVE_VALGRIND
/* Tells valgrind of the bytes that the kernel wrote: it does not see io_uring do it. */
static void mark_defined(const struct weft__op *op, int res)
{
    if (op->kind == WEFT__OP_RECV || op->kind == WEFT__OP_READ) {
        VALGRIND_MAKE_MEM_DEFINED(op->u.io.buf, res);
    } else if (op->kind == WEFT__OP_ACCEPT && op->u.accept.addr != NULL) {
        VALGRIND_MAKE_MEM_DEFINED(op->u.accept.addrlen, sizeof(socklen_t));
        VALGRIND_MAKE_MEM_DEFINED(op->u.accept.addr, *op->u.accept.addrlen);
    } else if (op->kind == WEFT__OP_RECVMSG) {
        struct msghdr *m = op->u.msg.msg;
        VALGRIND_MAKE_MEM_DEFINED(m, sizeof *m);
        VALGRIND_MAKE_MEM_DEFINED(m->msg_name, m->msg_namelen);
        VALGRIND_MAKE_MEM_DEFINED(m->msg_control, m->msg_controllen);
        size_t left = (size_t)res;
        for (size_t i = 0; i < m->msg_iovlen && left > 0; i++) {
            size_t n = weft__min_size(left, m->msg_iov[i].iov_len);
            VALGRIND_MAKE_MEM_DEFINED(m->msg_iov[i].iov_base, n);
            left -= n;
        }
    }
}
#endif

static void on_recv_pool(struct uring_sys *s, struct weft__op *op, int res, uint32_t flags)
{
    struct weft__rbuf *rb = flags & IORING_CQE_F_BUFFER ? weft__uring_bufs_take(s, flags) : NULL;
    if (WEFT__LIKELY(res > 0 && rb != NULL)) {
#if WEFT_HAVE_VALGRIND
        if (s->valgrind)
            VALGRIND_MAKE_MEM_DEFINED(rb->data, res);
#endif
        rb->len = (uint32_t)res;
        op->full = (flags & IORING_CQE_F_SOCK_NONEMPTY) != 0;
        op->rbuf = rb;
        if (flags & IORING_CQE_F_MORE) {
            op->more = true;
            op->moved += (uint32_t)res; /* in case that it has to be issued anew */
            call_done(s, op, res);
        } else {
            weft__uring_finish(s, op, res);
        }
        return;
    }
    if (rb != NULL)
        weft__uring_bufs_untake(s, rb); /* picked, but nothing came */
    if (res == -EAGAIN) {
        on_again(s, op);
    } else if (res == -EINVAL && is_multi_recv(s, op)) {
        s->no_multi_recv = true; /* before Linux 6.17 it cannot be limited */
        go_on(s, op, STEP_OP);
    } else if (res == -ENOBUFS && !(op->state & CANCELLED)) {
        s->bufs.used++; /* one more was wanted */
        set_step(op, STEP_OP);
        weft__uring_enqueue(s, op); /* until the refill of the next wait */
    } else if (res == -EINTR) {
        go_on(s, op, STEP_OP);
    } else {
        op->rbuf = NULL;
        weft__uring_finish(s, op, op->state & CANCELLED && res < 0 ? -ECANCELED : res);
    }
}

static void on_send(struct uring_sys *s, struct weft__op *op, int res)
{
    op->moved += (uint32_t)res;
    if (WEFT__LIKELY(op->moved == op->u.io.len))
        weft__uring_finish(s, op, (int)op->u.io.len);
    else if (res == 0 && !(op->state & CANCELLED))
        weft__uring_finish(s, op, -EIO);
    else
        go_on(s, op, STEP_OP);
}

static bool fills(const struct msghdr *m, int res)
{
    size_t room = 0;
    for (size_t i = 0; i < m->msg_iovlen; i++)
        room += m->msg_iov[i].iov_len;
    return (size_t)res >= room;
}

/* Puts entries for all but one of `n` connections before the accept's own, if there is room. */
static void issue_extra(struct uring_sys *s, struct weft__op *op, size_t n)
{
    if (n < 2 || !weft__queue_empty(&s->queued) || io_uring_sq_space_left(&s->ring) < n)
        return; /* behind them the operation's own must find a place */
    while (--n > 0) {
        struct io_uring_sqe *sqe = io_uring_get_sqe(&s->ring);
        io_uring_prep_accept(sqe, op->fd, NULL, NULL, SOCK_CLOEXEC);
        sqe->ioprio |= ACCEPT_DONTWAIT;
        sqe->user_data = (uintptr_t)op | WEFT__URING_EXTRA;
    }
}

/*
 * A MULTI accept is issued anew after each connection. The kernel's own multishot accept would
 * bring its whole queue at a blow, thousands of connections between two turns of what is ready.
 *
 * From Linux 6.10 on a completion tells whether there are more in a TCP listener's queue. Then the
 * next wait asks for several at once: the extra entries do not wait, so they are answered by the
 * call that sends them and before the operation's own, and need no place of theirs. `full`: the
 * kernel has told so once; `moved`: how many came since the last issue. Where it has not told, the
 * wait asks again, for one after the other.
 */
static void on_accept_multi(struct uring_sys *s, struct weft__op *op, int fd, uint32_t flags)
{
    if (op->state & CANCELLED) {
        weft__uring_finish(s, op, fd);
        return;
    }
    bool rest = (flags & IORING_CQE_F_SOCK_NONEMPTY) != 0;
    uint32_t came = op->moved + 1;
    op->full = op->full || rest;
    op->moved = 0;
    set_place(op, IN_DONE);
    op->more = true;
    call_done(s, op, fd);
    if (op->state & CANCELLED) {
        weft__uring_finish(s, op, -ECANCELED);
        return;
    }
    bool slowly = (op->flags & WEFT__OP_SLOWLY) != 0;
    s->accepted = s->accepted || !(op->full || slowly);
    if (rest && !slowly) {
        size_t next = weft__min_size((size_t)2 * came, WEFT__ACCEPT_ROUND);
        issue_extra(s, op, weft__min_size(next, op->u.accept.room));
    }
    weft__uring_issue(s, op);
}

void weft__uring_answer_extra(struct uring_sys *s, struct weft__op *op, int res)
{
    if (res < 0)
        return; /* the queue was empty; of everything else the operation's own entry tells */
    op->moved++;
    op->more = true;
    call_done(s, op, res);
}

static void on_op(struct uring_sys *s, struct weft__op *op, int res, uint32_t flags)
{
    if (op->kind == WEFT__OP_RECV_POOL) {
        on_recv_pool(s, op, res, flags);
        return;
    }
    if (WEFT__UNLIKELY(res < 0)) {
        bool under_way = op->kind == WEFT__OP_CONNECT && (res == -EINPROGRESS || res == -EINTR);
        if (res == -EAGAIN || under_way)
            on_again(s, op);
        else if (res == -EINTR)
            go_on(s, op, STEP_OP);
        else
            weft__uring_finish(s, op, res);
        return;
    }
#if WEFT_HAVE_VALGRIND
    if (WEFT__UNLIKELY(s->valgrind))
        mark_defined(op, res);
#endif
    if (op->kind == WEFT__OP_SEND) {
        on_send(s, op, res);
        return;
    }
    if (op->kind == WEFT__OP_ACCEPT && (op->flags & WEFT__OP_MULTI)) {
        on_accept_multi(s, op, res, flags);
        return;
    }
    if (op->kind == WEFT__OP_RECV)
        op->full = (flags & IORING_CQE_F_SOCK_NONEMPTY) != 0;
    else if (op->kind == WEFT__OP_RECVMSG)
        op->full = (flags & IORING_CQE_F_SOCK_NONEMPTY) != 0 || fills(op->u.msg.msg, res);
    weft__uring_finish(s, op, res);
}

void weft__uring_answer(struct uring_sys *s, struct weft__op *op, int res, uint32_t flags)
{
    if (WEFT__LIKELY((op->state & STEPS) == STEP_OP))
        on_op(s, op, res, flags);
    else
        on_step(s, op, res);
}
