/* SPDX-License-Identifier: MIT */
#ifndef WEFT__URING_H
#define WEFT__URING_H
/*
 * What the three files of the io_uring driver share (floor 1): uring.c, the queues and the vtable;
 * uring_op.c, what an operation says to the kernel and what becomes of the answer; uring_bufs.c,
 * the ring of receive buffers. The invariants of the whole are in uring.c.
 */
#include <liburing.h>
#include <stdatomic.h>

#include "sys/rbuf.h"
#include "sys/sys.h"

/* Under ThreadSanitizer. */
#if defined(__SANITIZE_THREAD__)
#define WEFT__URING_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define WEFT__URING_TSAN 1
#endif
#endif
#ifndef WEFT__URING_TSAN
#define WEFT__URING_TSAN 0
#endif

#define WEFT__URING_GROUP 0 /* of buffers */
#define RETRY_NS 1000000    /* when nothing will tell that the time has come */

/* op->state; 0 is an operation that is not under way */
enum {
    STEP_OP = 1,    /* the operation itself */
    STEP_POLL = 2,  /* poll, then the operation again */
    STEP_DELAY = 3, /* a pause, then the operation again */
    STEPS = 3,
    IN_DONE = 0,   /* a MULTI whose done is being called, and which then goes on */
    IN_KERNEL = 4, /* or in the submission queue */
    IN_QUEUED = 8, /* in s->queued */
    IN_ENDED = 12, /* in s->ended, res is set */
    PLACES = 12,
    CANCELLED = 16,
    CANCEL_LATER = 32, /* in s->cancels */
    AGAIN = 64,        /* it was polled for: POLL_FIRST is over */
    ASYNC = 128,       /* a file that says -EAGAIN and cannot be polled: by a kernel thread */
};

/* s->wake_state */
enum {
    WAKE_IDLE,
    WAKE_SLEEPING, /* in a wait that sleeps: a wake writes to wake_fd, which the ring polls */
    WAKE_POLLED,   /* somebody may sleep on our descriptor: it writes to event_fd */
    WAKE_WOKEN,
};

/* The ring of buffers that the kernel picks from. */
struct uring_bufs {
    struct io_uring_buf_ring *ring; /* NULL: not opened */
    size_t bytes;
    uint32_t entries;
    uint32_t filled;           /* buffers in the ring, as far as completions tell */
    uint32_t used;             /* since the last refill */
    uint32_t peak;             /* used between two refills, lately; in 1/256 */
    bool wanted;               /* there has been a RECV_POOL */
    struct weft__rbuf **slots; /* by buffer id: the buffer in the ring, or NULL */
    uint16_t *free_ids;
};

/* What marks the user_data of an accept's extra entry, beside the operation's address. */
#define WEFT__URING_EXTRA 1u

struct uring_sys {
    struct weft__sys sys;
    struct io_uring ring;
    struct weft__queue queued;  /* to be sent */
    struct weft__queue ended;   /* ended without the kernel, done not called yet */
    struct weft__queue cancels; /* in the kernel; requests to cancel them are to be sent (again) */
    int ends;                   /* in this wait */
    bool in_wait;
    bool stuck;    /* the kernel did not take entries; not asked again before the next wait */
    bool sweep;    /* there are cancelled operations in `queued` */
    bool embedded; /* somebody polls our descriptor: nothing may stay unsent between waits */
    bool wake_armed;
    bool valgrind;
    bool sleep_in_poll; /* for the tools that check */
    bool accepted;      /* a MULTI accept brought a connection, and may bring more at once */
    bool no_multi_recv; /* the kernel does not have it as we want it: one result each */
    uint32_t file_ops;  /* READ, WRITE and POLL under way */
    int wake_fd;
    int event_fd; /* what fd() gives, or -1 */

    struct weft__rpool pool;
    struct uring_bufs bufs;

    char pad[64]; /* others write the next line */
    _Atomic int wake_state;
};

static inline struct uring_sys *self(struct weft__sys *sys)
{
    return (struct uring_sys *)(void *)sys;
}

static inline struct weft__op *op_of(struct weft__slink *l)
{
    return l == NULL ? NULL : WEFT__CONTAINER_OF(l, struct weft__op, link);
}

static inline void set_place(struct weft__op *op, int place)
{
    op->state = (uint8_t)((op->state & ~PLACES) | place);
}

static inline void set_step(struct weft__op *op, int step)
{
    op->state = (uint8_t)((op->state & ~STEPS) | step);
}

static inline bool is_file_op(const struct weft__op *op)
{
    return op->kind >= WEFT__OP_READ && op->kind <= WEFT__OP_POLL;
}

/* ---- uring_bufs.c ---- */

/* rbufs: what the options say, 0 for the default. close is right after a failed open, too. */
int weft__uring_bufs_open(struct uring_sys *s, unsigned rbufs);
void weft__uring_bufs_close(struct uring_sys *s);
/* Brings the ring up to what is expected to be used; once a round, before sending. */
void weft__uring_bufs_refill(struct uring_sys *s);
/* Takes the buffer that a completion names out of the ring. */
struct weft__rbuf *weft__uring_bufs_take(struct uring_sys *s, uint32_t cqe_flags);
/* Gives one back that was taken and not used. */
void weft__uring_bufs_untake(struct uring_sys *s, struct weft__rbuf *rb);

/* ---- uring_ring.c ---- */

int weft__uring_ring_open(struct io_uring *ring, unsigned entries);
void weft__uring_ring_close(struct io_uring *ring);
int weft__uring_probe(const char **text); /* the vtable's, as is the next */
void weft__uring_push(struct weft__sys *sys);

/* ---- uring_op.c ---- */

/* Fills an entry for the operation's current step. */
void weft__uring_prep(const struct uring_sys *s, struct io_uring_sqe *sqe,
                      const struct weft__op *op);
/* Tries an AT_ONCE by plain calls. True: it has ended. */
bool weft__uring_at_once(struct uring_sys *s, struct weft__op *op);
/* The answer to it: ends the operation, or issues its next step. */
void weft__uring_answer(struct uring_sys *s, struct weft__op *op, int res, uint32_t flags);
/* The answer to an extra entry. */
void weft__uring_answer_extra(struct uring_sys *s, struct weft__op *op, int res);
/* Ends an operation that is in no queue, and calls done. */
void weft__uring_finish(struct uring_sys *s, struct weft__op *op, int res);

/* ---- uring.c ---- */

/* Puts the operation's current step into the submission queue, or into `queued`. */
void weft__uring_issue(struct uring_sys *s, struct weft__op *op);
/* Puts it into `queued`, for the next round. */
void weft__uring_enqueue(struct uring_sys *s, struct weft__op *op);

#endif
