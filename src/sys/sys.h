/* SPDX-License-Identifier: MIT */
#ifndef WEFT__SYS_H
#define WEFT__SYS_H
/*
 * The seam (floor 1): one contract, several drivers. Everything that can wait is an operation.
 *
 * Contract, which tests/test_driver.c holds every driver to:
 *
 *  1. The caller owns the operation and everything it points to, and keeps both in place from
 * submit until the operation has ended. After its end the driver and the kernel touch neither
 * again.
 *  2. submit either returns true: it ended at once, op->res is set, done is not called. Or false:
 * it is under way, and done(op) is called exactly once (MULTI: once for each result, the last with
 * op->more == false), from within wait, on the thread of wait. submit never fails by itself; want
 * of memory and the like is the operation's own result.
 *  3. done may submit and cancel any operation, and free this one. It must not call wait.
 *  4. cancel asks for the end; done follows, with -ECANCELED or whatever result was quicker.
 * Cancelling an operation that is not under way is a bug of the caller.
 *  5. res is the count or descriptor (>= 0) or -errno. RECV of a stream returns 0 at its end. SEND
 *     is whole: res == len, or an error (with `moved` telling how much had gone).
 *  6. wait(until) sends what is queued, blocks until something ended, wake was called, or the
 *     monotonic clock passes `until` (0: never blocks), and calls done for all that ended.
 *     It returns the number of ends, or -errno when the driver itself is broken.
 *  7. wake may be called from any thread and from a signal handler. Wakes are not counted.
 *  8. Descriptors of sockets are in blocking mode as far as others can see; recv, send and their
 * msg kinds never rely on O_NONBLOCK, and work on a descriptor in either mode. Before a descriptor
 *     that was ever used with a driver is closed or given away, forget(fd) is called, with no
 *     operation of it under way.
 *  9. Time is the caller's affair in the loop drivers; only the block driver, which has no loop
 * above it, ends an operation at op->until_ns, with -ETIMEDOUT.
 *
 * A thread that acts for a simulated process (sim/world.h) has one driver, sim, whose kernel,
 * network and clock are simulated.
 */
#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/base.h"
#include "base/list.h"

enum weft__op_kind {
    WEFT__OP_NOP,     /* ends in the next wait, res 0 */
    WEFT__OP_ACCEPT,  /* u.accept; res: a close-on-exec descriptor in blocking mode. May be MULTI */
    WEFT__OP_CONNECT, /* u.connect */
    WEFT__OP_RECV,    /* u.io: into the caller's buffer */
    WEFT__OP_RECV_POOL, /* into a buffer of the driver's pool, taken when bytes are there: op->rbuf.
                           May be MULTI */
    WEFT__OP_SEND,      /* u.io: all of it */
    WEFT__OP_RECVMSG,   /* u.msg */
    WEFT__OP_SENDMSG,   /* u.msg: may be partial on streams */
    WEFT__OP_READ,  /* u.io: read(2) at the descriptor's own position: pipes, terminals, eventfd */
    WEFT__OP_WRITE, /* u.io: write(2), may be partial */
    WEFT__OP_POLL,  /* u.poll.events; res: ready events of poll(2). Any descriptor, also foreign */
    WEFT__OP_KINDS
};

/* A buffer of a driver's receive pool, lent to whoever an operation brought it to. */
struct weft__rbuf {
    struct weft__rbuf *next; /* for its holder */
    uint8_t *data;
    uint32_t len;  /* bytes received, set by the driver */
    uint32_t used; /* bytes consumed, for its holder */
    uint16_t bid;  /* driver's own */
};
/* What one pool buffer holds: 16 KiB, which are usual, and what TLS puts around them in a record.
 */
#define WEFT__RBUF_SIZE 16512u
/* What a MULTI RECV_POOL brings at most, all its results together. */
#define WEFT__RECV_MULTI_MAX 131072u
/* Bytes in pool buffers after which epoll's wait takes up no more: they are to be still in the
 * cache when they are used. */
#define WEFT__RECV_WAIT_MAX 131072u
/* How many connections a MULTI ACCEPT brings in one wait; the others stay in the kernel's queue
 * while what is ready has its turn. */
#define WEFT__ACCEPT_ROUND 16

struct weft__op;
typedef void (*weft__op_done)(struct weft__op *op);

enum {
    WEFT__OP_MULTI = 1, /* more than one result: ACCEPT, at most WEFT__ACCEPT_ROUND in a wait, and
                           after a cancel in its done only what `room` allowed; and, as long as the
                           driver likes, RECV_POOL on a loop: any of its results may be the last */
    WEFT__OP_POLL_FIRST = 2, /* hint: nothing is there yet (the last read was short), so do not try
                                first */
    WEFT__OP_SHIELDED = 4,   /* block driver: its cancel_fd is not looked at before shield_ns */
    WEFT__OP_SLOWLY = 8,     /* MULTI ACCEPT: one connection in a wait is enough; may be set and
                                cleared by done */
    WEFT__OP_AT_ONCE = 16,   /* loop drivers: its time has passed, so it will be cancelled after the
                                next wait, and is to have been tried by then */
};

struct weft__op {
    union {
        struct weft__slink link; /* the driver's, while under way */
        struct weft__rbuf *rbuf; /* RECV_POOL's result when res > 0; the receiver's to give back */
        int64_t shield_ns;       /* block driver, with SHIELDED; read by submit */
    };
    weft__op_done done;
    int fd;
    int res;
    uint8_t kind;  /* enum weft__op_kind */
    uint8_t flags; /* WEFT__OP_MULTI ... */
    uint8_t state; /* the driver's; 0 when not under way */
    bool more : 1; /* out: MULTI goes on */
    bool full : 1; /* out, RECV kinds: more bytes are known or likely to be waiting. On TCP a driver
                      always knows, or else says so of a buffer that was filled */
    uint32_t moved; /* out, SEND: bytes that had gone when it failed */
    union {
        struct {
            void *buf; /* SEND and WRITE do not write to it */
            uint32_t len;
            int flags; /* MSG_...; MSG_NOSIGNAL is implied for sends */
        } io;
        struct {
            struct msghdr *msg;
            int flags;
        } msg;
        struct {
            struct sockaddr *addr; /* may be NULL; not with MULTI */
            union {
                socklen_t *addrlen;
                size_t room; /* MULTI: how many more are welcome, kept up to date by done. A driver
                                may have taken so many when it is cancelled; 0 is like 1 */
            };
        } accept;
        struct {
            const struct sockaddr *addr;
            socklen_t addrlen;
        } connect;
        struct {
            short events;
        } poll;
    } u;
    union {
        int64_t until_ns; /* block driver only */
        const void *near; /* the others: what done looks at first, or NULL. A hint: they may have
                             the processor fetch it ahead */
    };
};

struct weft__sys; /* one driver instance; belongs to the thread that opened it */

struct weft__sys_options {
    unsigned entries; /* operations queued before they are sent to the kernel; 0: default */
    unsigned rbufs;   /* pool buffers kept ready; 0: default */
    int cancel_fd; /* block: an eventfd that, once readable, fails every operation with -ECANCELED;
                      -1: none */
};

struct weft__driver {
    const char *name;
    /* 0, or why this driver cannot be used here; text: a static sentence, set on failure. */
    int (*probe)(const char **text);
    int (*open)(struct weft__sys **ret, const struct weft__sys_options *o);
    void (*close)(struct weft__sys *sys); /* nothing under way; NULL is fine */
    bool (*submit)(struct weft__sys *sys, struct weft__op *op);
    void (*cancel)(struct weft__sys *sys, struct weft__op *op);
    int (*wait)(struct weft__sys *sys, int64_t until_ns);
    /* Has the kernel begin what was submitted, where no wait follows at once. NULL: where submit
     * does, and in a simulation, where nobody would notice. */
    void (*push)(struct weft__sys *sys);
    void (*wake)(struct weft__sys *sys);
    int (*fd)(struct weft__sys *sys); /* polls readable when wait(0) would find something; -1: none
                                       */
    /* only: the descriptor is about to be closed, and its file ends with it. */
    void (*forget)(struct weft__sys *sys, int fd, bool only);
    void (*rbuf_put)(struct weft__sys *sys, struct weft__rbuf *rb);
    bool multi_recv; /* a MULTI RECV_POOL has many results, as a rule */
};

/* The first member of every driver's instance. */
struct weft__sys {
    const struct weft__driver *driver;
    uint64_t in_flight;   /* operations under way */
    uint64_t completions; /* ever */
};

extern const struct weft__driver weft__driver_uring;
extern const struct weft__driver weft__driver_epoll;
extern const struct weft__driver weft__driver_block;
extern const struct weft__driver weft__driver_sim;

/*
 * Chooses a loop driver: inside a simulation sim, else the named one; with NULL what WEFT_DRIVER
 * names, else the best that the probe finds. -ENOSYS or -EINVAL (an unknown name) with the detail
 * set.
 */
int weft__driver_choose(const struct weft__driver **ret, const char *name);

/* Of an ACCEPT that is to tell the peer's address; else NULL. */
static inline socklen_t *weft__op_addrlen(const struct weft__op *op)
{
    return op->u.accept.addr != NULL ? op->u.accept.addrlen : NULL;
}

/* Has the processor fetch an operation under way, that will end soon; then what done looks at. */
static inline void weft__op_fetch(const struct weft__op *op)
{
    weft__fetch(op, 3 * (size_t)WEFT__CACHE_LINE);
}

static inline void weft__op_fetch_near(const struct weft__op *op)
{
    weft__fetch(op->near, 2 * (size_t)WEFT__CACHE_LINE);
}

static inline bool weft__sys_submit(struct weft__sys *sys, struct weft__op *op)
{
    return sys->driver->submit(sys, op);
}

static inline void weft__sys_cancel(struct weft__sys *sys, struct weft__op *op)
{
    sys->driver->cancel(sys, op);
}

static inline int weft__sys_wait(struct weft__sys *sys, int64_t until_ns)
{
    return sys->driver->wait(sys, until_ns);
}

static inline void weft__sys_wake(struct weft__sys *sys)
{
    sys->driver->wake(sys);
}

static inline void weft__rbuf_put(struct weft__sys *sys, struct weft__rbuf *rb)
{
    sys->driver->rbuf_put(sys, rb);
}

/* forget and close(2). sys may be NULL. */
void weft__sys_close_fd(struct weft__sys *sys, int fd);
/* The same of a descriptor that is the only one of its file, as far as we know. */
void weft__sys_close_only_fd(struct weft__sys *sys, int fd);

/* CLOCK_MONOTONIC in nanoseconds. */
int64_t weft__clock_ns(void);
/* CPU time that the calling thread has used, likewise; in a simulation always 0. */
int64_t weft__clock_used_ns(void);

#endif
