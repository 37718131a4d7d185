/* SPDX-License-Identifier: MIT */
#ifndef WEFT__TRY_H
#define WEFT__TRY_H
/*
 * One attempt at an operation by plain system calls (floor 1): what the epoll and the block driver
 * have in common. They differ in how they wait between two attempts. The io_uring driver has it for
 * what is not to be waited for.
 *
 * Invariants:
 * - an attempt never waits, unless `may_wait` says that it may, or the descriptor is a regular
 * file;
 * - the descriptor's O_NONBLOCK is not relied on and, but for two cases, not touched. A listener
 * has it set by its driver before the first attempt and keeps it: the connection that poll promised
 *   may be gone, or taken by another thread, when accept is called, and a loop must not hang then;
 *   giving it back would hang the other loops of a shared listener. A socket that connects has it
 *   while it connects, and has its old mode back when the operation ends;
 * - READ and WRITE pass RWF_NOWAIT, which is for one call what O_NONBLOCK would be for all who
 * share the open file (the shell has our terminal after us, a child may have the other end of
 * stdin). Where the file cannot do that (a terminal, a FIFO with a name), poll(2) is asked first,
 * and a write is cut to what a pipe that is ready takes without waiting.
 */
#include "sys/rbuf.h"
#include "sys/sys.h"

enum weft__tried {
    WEFT__TRIED_ENDED, /* op->res is set */
    WEFT__TRIED_WAIT,  /* try again when weft__try_events are there */
    WEFT__TRIED_LATER, /* try again in a moment; no event will tell: a Unix listener's backlog is
                          full */
};

/* What an attempt keeps in op->state from one to the next; the other bits are the driver's. */
enum {
    WEFT__TRY_STARTED = 0x40, /* connect(2) has been called */
    WEFT__TRY_RESTORE = 0x80, /* blocking mode is to be restored */
    WEFT__TRY_BITS = 0xc0,
};

struct weft__try_how {
    struct weft__rpool *pool; /* where RECV_POOL takes its buffer */
    bool may_wait;            /* RECV, SEND, RECVMSG, SENDMSG may wait in the kernel */
    bool unix_stream;         /* RECV: see `full` below */
};

/* Clears what submit has to clear before the first attempt. */
static inline void weft__try_begin(struct weft__op *op)
{
    op->state = 0;
    op->more = false;
    op->full = false;
    op->moved = 0;
}

/*
 * Attempts any kind but NOP. An ACCEPT takes one connection. A RECV without flags that is not
 * `full` has emptied a stream socket, with two exceptions: there is urgent data, or descriptors are
 * passed on a Unix socket and the read stopped behind them. With `unix_stream` the second one is
 * seen and gives `full`, so that only the first is left for the caller to think of.
 */
enum weft__tried weft__try(struct weft__op *op, const struct weft__try_how *how);

/* When the operation has ended, however it ended. */
void weft__try_restore(struct weft__op *op);
static inline void weft__try_end(struct weft__op *op)
{
    if (op->state & WEFT__TRY_RESTORE)
        weft__try_restore(op);
    op->state = 0;
}

/* The events of poll(2) that an attempt of this operation waits for. */
static inline short weft__try_events(const struct weft__op *op)
{
    if (op->kind == WEFT__OP_POLL)
        return op->u.poll.events;
    bool out = op->kind == WEFT__OP_SEND || op->kind == WEFT__OP_SENDMSG ||
               op->kind == WEFT__OP_WRITE || op->kind == WEFT__OP_CONNECT;
    return out ? POLLOUT : POLLIN;
}

#endif
