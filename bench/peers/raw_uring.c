/* SPDX-License-Identifier: MIT */
/*
 * The raw io_uring echo server: the yardstick of the io_uring driver. Floor 6.
 *
 *   --mode oneshot    recv into the connection's own 16 KiB buffer, then send, then recv again
 *   --mode linked     the same, but the next recv is linked behind the send, whose success is
 *                     not reported: one completion per message
 *   --mode multishot  one armed recv per connection, data in a ring of provided buffers
 *
 * All modes: one ring, SINGLE_ISSUER and DEFER_TASKRUN, the ring's own fd registered, accept
 * multishot, close through the ring, one io_uring_enter per turn for everything. A recv is
 * tried at once, not polled first: with many connections a turn, the next message is often there
 * (IORING_RECVSEND_POLL_FIRST measured 2 to 15 % slower).
 *
 * Invariant: a connection has at most one recv and one send under way, and is given back to
 * the free list only when it has neither.
 */
#define _GNU_SOURCE
#include "common.h"

#include <errno.h>
#include <liburing.h>
#include <stdbool.h>
#include <sys/mman.h>

#define SQ_ENTRIES 2048
#define CQ_ENTRIES 32768
#define BUFFERS 512 /* a power of two; more of them only spread over more cache */
#define HELD_MAX 64 /* provided buffers that one connection may hold */
#define NONE UINT16_MAX

enum mode { ONESHOT, LINKED, MULTISHOT };
enum op { ACCEPT, RECV, SEND, CANCEL };

struct conn {
    int fd;
    bool receiving, sending, starved, ended;
    uint16_t head, tail, held; /* multishot: provided buffers waiting to be sent */
    uint32_t off, len;
    struct conn *next;
    char *buf;
};

static struct io_uring ring;
static enum mode mode;
static int listener;
static struct conn *free_conns;
static struct conn *starved;

/* The provided buffers: their memory, and a list entry for each. */
static struct io_uring_buf_ring *pool;
static char *pool_data;
static struct {
    uint32_t len;
    uint16_t next;
} slots[BUFFERS];

static struct io_uring_sqe *sqe_get(unsigned room)
{
    while (io_uring_sq_space_left(&ring) < room) {
        io_uring_submit(&ring);
    }
    return io_uring_get_sqe(&ring);
}

static void tag(struct io_uring_sqe *sqe, void *ptr, enum op op)
{
    io_uring_sqe_set_data64(sqe, (uint64_t)(uintptr_t)ptr | (uint64_t)op);
}

static void start_accept(void)
{
    struct io_uring_sqe *sqe = sqe_get(1);
    io_uring_prep_multishot_accept(sqe, listener, NULL, NULL, SOCK_CLOEXEC);
    tag(sqe, NULL, ACCEPT);
}

static struct conn *conn_new(int fd)
{
    struct conn *c = free_conns;
    if (c) {
        free_conns = c->next;
    } else {
        size_t buf = mode == MULTISHOT ? 0 : PEER_BUFFER;
        if (!(c = malloc(sizeof(*c) + buf))) {
            peer_die("malloc");
        }
        c->buf = (char *)(c + 1);
    }
    *c = (struct conn){.fd = fd, .buf = c->buf, .head = NONE, .tail = NONE};
    return c;
}

static void start_recv(struct conn *c)
{
    struct io_uring_sqe *sqe = sqe_get(1);
    if (mode == MULTISHOT) {
        io_uring_prep_recv_multishot(sqe, c->fd, NULL, 0, 0);
        sqe->flags |= IOSQE_BUFFER_SELECT;
        sqe->buf_group = 0;
    } else {
        io_uring_prep_recv(sqe, c->fd, c->buf, PEER_BUFFER, 0);
    }
    tag(sqe, c, RECV);
    c->receiving = true;
}

static void start_send(struct conn *c, const char *data)
{
    struct io_uring_sqe *sqe = sqe_get(mode == LINKED ? 2 : 1);
    io_uring_prep_send(sqe, c->fd, data + c->off, c->len - c->off, MSG_NOSIGNAL | MSG_WAITALL);
    tag(sqe, c, SEND);
    if (mode == LINKED) {
        sqe->flags |= IOSQE_IO_LINK | IOSQE_CQE_SKIP_SUCCESS;
        start_recv(c);
    } else {
        c->sending = true;
    }
}

/* Gives the connection back once nothing is under way. */
static void conn_finish(struct conn *c)
{
    if (c->receiving || c->sending || c->starved) {
        return;
    }
    struct io_uring_sqe *sqe = sqe_get(1);
    io_uring_prep_close(sqe, c->fd);
    sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
    tag(sqe, NULL, CANCEL);
    c->next = free_conns;
    free_conns = c;
}

/* ---- own buffer: oneshot and linked ---- */

static void own_recv(struct conn *c, int res)
{
    c->receiving = false;
    if (res > 0) {
        c->off = 0;
        c->len = (uint32_t)res;
        start_send(c, c->buf);
    } else {
        conn_finish(c);
    }
}

/* Linked, only a failed or short send reports, and then its cancelled recv does not. */
static void own_send(struct conn *c, int res)
{
    c->sending = false;
    if (mode == LINKED) {
        c->receiving = false;
    }
    if (res <= 0) {
        conn_finish(c);
        return;
    }
    c->off += (uint32_t)res;
    if (c->off < c->len) {
        start_send(c, c->buf);
    } else {
        start_recv(c);
    }
}

/* ---- provided buffers: multishot ---- */

static void pool_give(uint16_t bid)
{
    io_uring_buf_ring_add(pool, pool_data + (size_t)bid * PEER_BUFFER, PEER_BUFFER, bid,
                          io_uring_buf_ring_mask(BUFFERS), 0);
    io_uring_buf_ring_advance(pool, 1);
}

static void pool_init(void)
{
    pool = mmap(NULL, BUFFERS * sizeof(struct io_uring_buf), PROT_READ | PROT_WRITE,
                MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    pool_data = mmap(NULL, (size_t)BUFFERS * PEER_BUFFER, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pool == MAP_FAILED || pool_data == MAP_FAILED) {
        peer_die("mmap");
    }
    struct io_uring_buf_reg reg = {.ring_addr = (uintptr_t)pool, .ring_entries = BUFFERS};
    if (io_uring_register_buf_ring(&ring, &reg, 0) < 0) {
        peer_die("io_uring_register_buf_ring");
    }
    io_uring_buf_ring_init(pool);
    for (unsigned i = 0; i < BUFFERS; i++) {
        pool_give((uint16_t)i);
    }
}

static void pool_send_next(struct conn *c)
{
    c->off = 0;
    c->len = slots[c->head].len;
    start_send(c, pool_data + (size_t)c->head * PEER_BUFFER);
}

/* Takes the first waiting buffer off the connection and gives it back to the kernel. */
static void pool_drop(struct conn *c)
{
    uint16_t bid = c->head;
    c->head = slots[bid].next;
    c->held--;
    pool_give(bid);
    if (starved) { /* somebody waits for a buffer, and there is one now */
        struct conn *s = starved;
        starved = s->next;
        s->starved = false;
        start_recv(s);
    }
}

static void pool_recv(struct conn *c, int res, unsigned flags)
{
    c->receiving = (flags & IORING_CQE_F_MORE) != 0;
    if (flags & IORING_CQE_F_BUFFER) {
        uint16_t bid = (uint16_t)(flags >> IORING_CQE_BUFFER_SHIFT);
        if (res > 0) {
            slots[bid].len = (uint32_t)res;
            slots[bid].next = NONE;
            if (c->held++ == 0) {
                c->head = bid;
            } else {
                slots[c->tail].next = bid;
            }
            c->tail = bid;
            if (!c->sending) {
                pool_send_next(c);
            }
        } else {
            pool_give(bid);
        }
    }
    if (res <= 0 && res != -ENOBUFS && res != -ECANCELED) {
        c->ended = true;
    }
    if (c->held == HELD_MAX && c->receiving) { /* the peer does not read: stop reading too */
        struct io_uring_sqe *sqe = sqe_get(1);
        io_uring_prep_cancel64(sqe, (uint64_t)(uintptr_t)c | RECV, 0);
        tag(sqe, NULL, CANCEL);
    } else if (c->ended) {
        conn_finish(c);
    } else if (!c->receiving && c->held == 0) {
        if (res == -ENOBUFS) {
            c->starved = true;
            c->next = starved;
            starved = c;
        } else {
            start_recv(c);
        }
    }
}

static void pool_send(struct conn *c, int res)
{
    c->sending = false;
    if (res > 0) {
        c->off += (uint32_t)res;
        if (c->off < c->len) {
            start_send(c, pool_data + (size_t)c->head * PEER_BUFFER);
            return;
        }
    } else {
        c->ended = true;
    }
    pool_drop(c);
    while (res <= 0 && c->held > 0) {
        pool_drop(c);
    }
    if (c->held > 0) {
        pool_send_next(c);
    } else if (c->ended) {
        conn_finish(c); /* a failed send means a dead socket: its recv ends by itself */
    } else if (!c->receiving) {
        start_recv(c);
    }
}

/* ---- the loop ---- */

static void on_accept(int res, unsigned flags)
{
    if (res >= 0) {
        start_recv(conn_new(res));
    }
    if (!(flags & IORING_CQE_F_MORE)) {
        start_accept();
    }
}

static void dispatch(const struct io_uring_cqe *cqe)
{
    struct conn *c = (struct conn *)(uintptr_t)(cqe->user_data & ~(uint64_t)7);
    switch ((enum op)(cqe->user_data & 7)) {
    case ACCEPT:
        on_accept(cqe->res, cqe->flags);
        break;
    case RECV:
        if (mode == MULTISHOT) {
            pool_recv(c, cqe->res, cqe->flags);
        } else {
            own_recv(c, cqe->res);
        }
        break;
    case SEND:
        if (mode == MULTISHOT) {
            pool_send(c, cqe->res);
        } else {
            own_send(c, cqe->res);
        }
        break;
    case CANCEL:
        break;
    }
}

int main(int argc, char **argv)
{
    const char *name = peer_option(argc, argv, "--mode", "oneshot");
    mode = strcmp(name, "multishot") == 0 ? MULTISHOT
           : strcmp(name, "linked") == 0  ? LINKED
                                          : ONESHOT;
    uint16_t port = peer_begin(argc, argv);
    struct io_uring_params params = {.flags = IORING_SETUP_SINGLE_ISSUER |
                                              IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_CQSIZE,
                                     .cq_entries = CQ_ENTRIES};
    int err = io_uring_queue_init_params(SQ_ENTRIES, &ring, &params);
    if (err < 0) {
        errno = -err;
        peer_die("io_uring_queue_init_params");
    }
    if (io_uring_register_ring_fd(&ring) < 0) {
        fprintf(stderr, "raw_uring: the ring's fd could not be registered\n");
    }
    if (mode == MULTISHOT) {
        pool_init();
    }
    listener = peer_listen(port, 0);
    start_accept();
    for (;;) {
        io_uring_submit_and_wait(&ring, 1);
        unsigned head;
        unsigned seen = 0;
        struct io_uring_cqe *cqe;
        io_uring_for_each_cqe(&ring, head, cqe)
        {
            dispatch(cqe);
            seen++;
        }
        io_uring_cq_advance(&ring, seen);
    }
}
