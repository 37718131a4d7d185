/* SPDX-License-Identifier: MIT */
/*
 * The io_uring driver: operations are queued and sent to the kernel together, by the next wait.
 *
 * Floor 1; Linux 6.1. The ring is set up for one thread (SINGLE_ISSUER), and completions are made
 * by that thread inside wait and nowhere else (DEFER_TASKRUN), so they interrupt nothing and come
 * in batches. A thread of the kernel that polls the queue (SQPOLL) is never used: it would take a
 * core.
 *
 * The queues, the wait and the vtable are here; uring_op.c has what an operation says to the
 * kernel, uring_bufs.c the receive buffers.
 *
 * Invariants:
 * - user_data is the operation's address; an operation has at most one entry in the kernel or in
 *   the submission queue, so it is done with when that entry's completion has come;
 * - an operation that the full submission queue cannot take, or that has to be tried again, waits
 *   in `queued`, which each wait empties before it sleeps; nothing overtakes what is there;
 * - the request to cancel is an entry behind the operation's own, in the same queue: it never meets
 *   a later operation at the same address;
 * - `wake_state` alone says whether there was a wake. wake_fd only ends a sleep, so it is written
 *   to only when one is believed to be on, and it is never read;
 * - event_fd is written to by the kernel whenever it has made or could make a completion, and is
 *   read after entering the kernel and before the completion queue is looked at.
 */
#include <errno.h>
#include <poll.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/base.h"
#include "sys/call.h"
#include "sys/rbuf.h"
#include "sys/uring.h"

#if WEFT_HAVE_VALGRIND
#include <valgrind/valgrind.h>
#endif

#define ENTRIES_DEFAULT 1024u

/* user_data that is no operation's */
#define DATA_IGNORE 0u
#define DATA_WAKE 1u

/* How many completions ahead an operation is fetched, and then what its done looks at. */
#define FETCH_OP 6
#define FETCH_NEAR 3

static void uring_wake(struct weft__sys *sys);

/* ---- sending ---- */

/* An entry of the submission queue, or NULL: the kernel does not take any now. */
static inline struct io_uring_sqe *get_sqe(struct uring_sys *s)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&s->ring);
    if (WEFT__LIKELY(sqe != NULL) || s->stuck)
        return sqe;
    s->stuck = io_uring_submit(&s->ring) <= 0;
    return io_uring_get_sqe(&s->ring);
}

/* Puts the operation's current step into the submission queue. */
static bool try_issue(struct uring_sys *s, struct weft__op *op)
{
    struct io_uring_sqe *sqe = get_sqe(s);
    if (WEFT__UNLIKELY(sqe == NULL))
        return false;
    weft__uring_prep(s, sqe, op);
    set_place(op, IN_KERNEL);
    return true;
}

void weft__uring_enqueue(struct uring_sys *s, struct weft__op *op)
{
    set_place(op, IN_QUEUED);
    weft__queue_push_back(&s->queued, &op->link);
}

void weft__uring_issue(struct uring_sys *s, struct weft__op *op)
{
    if (WEFT__UNLIKELY(!weft__queue_empty(&s->queued)) || WEFT__UNLIKELY(!try_issue(s, op)))
        weft__uring_enqueue(s, op);
}

/* Ends an operation that is not in the kernel: done is called by the next wait, or by this one. */
static void end_later(struct uring_sys *s, struct weft__op *op, int res)
{
    op->res = res;
    set_place(op, IN_ENDED);
    weft__queue_push_back(&s->ended, &op->link);
}

static bool uring_submit(struct weft__sys *sys, struct weft__op *op)
{
    struct uring_sys *s = self(sys);
    if (WEFT__UNLIKELY(op->flags & WEFT__OP_AT_ONCE) && weft__uring_at_once(s, op))
        return true;
    op->state = STEP_OP;
    op->more = false;
    op->full = false;
    op->moved = 0;
    sys->in_flight++;
    s->file_ops += is_file_op(op);
    int err = weft__fault();
    if (WEFT__UNLIKELY(err < 0) || op->kind == WEFT__OP_NOP)
        end_later(s, op, err);
    else if (WEFT__UNLIKELY(op->kind >= WEFT__OP_KINDS))
        end_later(s, op, -EINVAL);
    else
        weft__uring_issue(s, op);
    if (op->kind == WEFT__OP_RECV_POOL)
        s->bufs.wanted = true;
    if (WEFT__UNLIKELY(s->embedded) && !s->in_wait)
        uring_wake(sys);
    return false;
}

static bool try_cancel(struct uring_sys *s, struct weft__op *op)
{
    struct io_uring_sqe *sqe = get_sqe(s);
    if (sqe == NULL)
        return false;
    io_uring_prep_cancel64(sqe, (uintptr_t)op, 0);
    sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
    sqe->user_data = DATA_IGNORE;
    return true;
}

/*
 * What a kernel thread carries out can miss the request: found at work it is only marked and woken
 * (-EALREADY), and it may be about to look for room, and then to wait for it. So such requests are
 * repeated, as those are that had no room, until the operation has ended.
 */
static bool may_miss_cancel(const struct weft__op *op)
{
    return op->kind == WEFT__OP_WRITE || (op->state & ASYNC);
}

static void uring_cancel(struct weft__sys *sys, struct weft__op *op)
{
    struct uring_sys *s = self(sys);
    WEFT__ASSERT(op->state != 0);
    if (op->state & CANCELLED)
        return;
    int place = op->state & PLACES;
    if (place == IN_ENDED)
        return;
    op->state |= CANCELLED;
    if (place == IN_QUEUED) {
        s->sweep = true;
    } else if (place == IN_DONE) {
        return; /* looked at when its done has returned */
    } else if (!weft__queue_empty(&s->cancels) || !try_cancel(s, op) || may_miss_cancel(op)) {
        op->state |= CANCEL_LATER;
        weft__queue_push_back(&s->cancels, &op->link);
    }
    if (s->embedded && !s->in_wait)
        uring_wake(sys);
}

/* An operation completed while it stood in `cancels`. */
static void drop_cancel(struct uring_sys *s, struct weft__op *op)
{
    struct weft__queue rest = s->cancels;
    weft__queue_init(&s->cancels);
    struct weft__slink *l;
    while ((l = weft__queue_pop_front(&rest)) != NULL) {
        if (l != &op->link)
            weft__queue_push_back(&s->cancels, l);
    }
    op->state &= (uint8_t)~CANCEL_LATER;
}

static void send_cancels(struct uring_sys *s)
{
    struct weft__queue rest = s->cancels, again = {NULL, NULL};
    struct weft__slink *l;
    while ((l = rest.first) != NULL && try_cancel(s, op_of(l))) {
        (void)weft__queue_pop_front(&rest);
        if (may_miss_cancel(op_of(l)))
            weft__queue_push_back(&again, l);
        else
            op_of(l)->state &= (uint8_t)~CANCEL_LATER;
    }
    weft__queue_splice_back(&rest, &again);
    s->cancels = rest;
}

/* Sends what waits for room in the submission queue, requests to cancel first. */
static void send_queued(struct uring_sys *s)
{
    struct weft__slink *l;
    if (WEFT__UNLIKELY(!weft__queue_empty(&s->cancels)))
        send_cancels(s);
    if (s->sweep) {
        struct weft__queue rest = s->queued;
        weft__queue_init(&s->queued);
        while ((l = weft__queue_pop_front(&rest)) != NULL) {
            if (op_of(l)->state & CANCELLED)
                end_later(s, op_of(l), -ECANCELED);
            else
                weft__queue_push_back(&s->queued, l);
        }
        s->sweep = false;
    }
    while ((l = s->queued.first) != NULL) {
        struct weft__op *op = op_of(l);
        if (op->kind == WEFT__OP_RECV_POOL && s->bufs.filled == 0) {
            /* The refill before this found no memory: trying again would be no use. */
            (void)weft__queue_pop_front(&s->queued);
            end_later(s, op, -ENOBUFS);
            continue;
        }
        if (!try_issue(s, op))
            break;
        (void)weft__queue_pop_front(&s->queued);
    }
}

/* ---- waiting ---- */

static inline uint64_t data_at(const struct io_uring_cq *cq, unsigned i)
{
    return cq->cqes[i & cq->ring_mask].user_data;
}

static inline struct weft__op *op_of_data(uint64_t data)
{
    return (struct weft__op *)(uintptr_t)(data & ~(uint64_t)WEFT__URING_EXTRA);
}

/* Operations of many connections are rarely in the cache: those that come soon are fetched. */
static inline void fetch_ahead(const struct io_uring_cq *cq, unsigned head, unsigned tail)
{
    if (tail - head > FETCH_OP)
        weft__op_fetch((const void *)(uintptr_t)data_at(cq, head + FETCH_OP));
    if (tail - head > FETCH_NEAR && data_at(cq, head + FETCH_NEAR) > DATA_WAKE)
        weft__op_fetch_near(op_of_data(data_at(cq, head + FETCH_NEAR)));
}

/* Takes what the completion queue holds now; what is added meanwhile is for the next wait. */
static void reap(struct uring_sys *s)
{
    struct io_uring_cq *cq = &s->ring.cq;
    unsigned head = *cq->khead;
    unsigned tail = io_uring_smp_load_acquire(cq->ktail);
    while (head != tail) {
        const struct io_uring_cqe cqe = cq->cqes[head & cq->ring_mask];
        head++;
        fetch_ahead(cq, head, tail);
        io_uring_smp_store_release(cq->khead, head);
        if (WEFT__UNLIKELY(cqe.user_data <= DATA_WAKE)) {
            if (cqe.user_data == DATA_WAKE && !(cqe.flags & IORING_CQE_F_MORE))
                s->wake_armed = false;
            continue;
        }
        struct weft__op *op = op_of_data(cqe.user_data);
        if (WEFT__UNLIKELY(cqe.user_data & WEFT__URING_EXTRA)) {
            weft__uring_answer_extra(s, op, cqe.res);
            continue;
        }
        bool later = (op->state & CANCEL_LATER) != 0;
        if (WEFT__UNLIKELY(later))
            drop_cancel(s, op);
        weft__uring_answer(s, op, cqe.res, cqe.flags);
        if (WEFT__UNLIKELY(later) && (cqe.flags & IORING_CQE_F_MORE)) {
            op->state |= CANCEL_LATER; /* a MULTI goes on until it is cancelled */
            weft__queue_push_back(&s->cancels, &op->link);
        }
    }
}

static void run_ended(struct uring_sys *s)
{
    struct weft__queue list = s->ended;
    weft__queue_init(&s->ended);
    struct weft__slink *l;
    while ((l = weft__queue_pop_front(&list)) != NULL) {
        struct weft__op *op = op_of(l);
        if (op->kind == WEFT__OP_RECV_POOL)
            op->rbuf = NULL;
        weft__uring_finish(s, op, op->res);
    }
}

static void arm_wake(struct uring_sys *s)
{
    struct io_uring_sqe *sqe = get_sqe(s);
    if (sqe == NULL)
        return;
    io_uring_prep_poll_multishot(sqe, s->wake_fd, POLLIN);
    sqe->user_data = DATA_WAKE;
    s->wake_armed = true;
}

/* Async-signal-safe. */
static void ring_bell(int fd)
{
    int err = errno;
    uint64_t one = 1;
    ssize_t n;
    do {
        n = write(fd, &one, sizeof one);
    } while (n < 0 && errno == EINTR);
    errno = err;
}

static void uring_wake(struct weft__sys *sys)
{
    struct uring_sys *s = self(sys);
    int old = atomic_exchange(&s->wake_state, WAKE_WOKEN);
    if (old == WAKE_SLEEPING)
        ring_bell(s->wake_fd);
    else if (old == WAKE_POLLED)
        ring_bell(s->event_fd);
}

static inline bool take_wake(struct uring_sys *s)
{
    return atomic_load_explicit(&s->wake_state, memory_order_relaxed) != WAKE_IDLE &&
           atomic_exchange(&s->wake_state, WAKE_IDLE) == WAKE_WOKEN;
}

/* From here on a wake writes to a descriptor. False: there has been one already. */
static inline bool fall_asleep(struct uring_sys *s, int how)
{
    int old = atomic_load_explicit(&s->wake_state, memory_order_relaxed);
    while (old != WAKE_WOKEN) {
        if (atomic_compare_exchange_weak(&s->wake_state, &old, how))
            return true;
    }
    return false;
}

/* There are completions that only a call of the kernel makes. */
static inline bool kernel_has_work(const struct uring_sys *s)
{
    return (IO_URING_READ_ONCE(*s->ring.sq.kflags) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) !=
           0;
}

/* The kernel signals event_fd whenever wait would find something. */
static int open_event_fd(struct uring_sys *s)
{
    if (s->event_fd >= 0)
        return 0;
    int fd = weft__call_eventfd();
    if (fd < 0)
        return fd;
    int err = io_uring_register_eventfd(&s->ring, fd);
    if (err < 0) {
        close(fd);
        return err;
    }
    s->event_fd = fd;
    return 0;
}

/*
 * Before event_fd is slept on. A completion that a write to an eventfd brings about is signalled
 * late by the kernel, and (seen in 6.18) once in the life of a registration; so each sleep has a
 * new one while something may wait for an eventfd. True: there is no reason to sleep.
 */
static bool renew_event_fd(struct uring_sys *s)
{
    if (s->file_ops > 0) {
        (void)io_uring_unregister_eventfd(&s->ring);
        if (io_uring_register_eventfd(&s->ring, s->event_fd) < 0)
            return true;
    }
    return io_uring_cq_ready(&s->ring) > 0 || kernel_has_work(s);
}

/*
 * Sleeps in poll(2). valgrind does not know that io_uring_enter may block, and would let no other
 * thread run; TSan keeps signal handlers back until a call that it knows.
 */
static int enter_and_poll(struct uring_sys *s, int64_t ns)
{
    int r = io_uring_submit_and_get_events(&s->ring);
    if (r < 0 || renew_event_fd(s))
        return r;
    struct timespec ts = {.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
    struct pollfd p = {.fd = s->event_fd, .events = POLLIN};
    if (ppoll(&p, 1, ns == INT64_MAX ? NULL : &ts, NULL) < 0)
        return -errno;
    return io_uring_get_events(&s->ring);
}

/* Sends, and sleeps for at most `ns` until something completes; 0: does not sleep. */
static int enter(struct uring_sys *s, int64_t ns)
{
    struct io_uring_cqe *cqe;
    int r;
    if (WEFT__UNLIKELY(s->sleep_in_poll) && ns > 0) {
        r = enter_and_poll(s, ns);
    } else if (ns == INT64_MAX) {
        r = io_uring_submit_and_wait(&s->ring, 1);
    } else if (ns > 0) {
        struct __kernel_timespec ts = {.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
        r = io_uring_submit_and_wait_timeout(&s->ring, &cqe, 1, &ts, NULL);
    } else {
        if (io_uring_sq_ready(&s->ring) == 0 && !kernel_has_work(s))
            return 0;
        r = io_uring_submit_and_get_events(&s->ring);
    }
    if (r >= 0 || r == -ETIME || r == -EINTR)
        return 0;
    if (r != -EAGAIN && r != -EBUSY && r != -ENOMEM)
        return r;
    /* The kernel is short of memory. What is unsent stays unsent for now. */
    if (ns > 0 && io_uring_cq_ready(&s->ring) == 0) {
        struct timespec pause = {.tv_nsec = RETRY_NS};
        (void)nanosleep(&pause, NULL);
    }
    return 0;
}

/* How long to sleep at most; *expired: `until_ns` has passed. */
static int64_t sleep_ns(struct uring_sys *s, int64_t until_ns, bool *expired)
{
    int64_t until = until_ns;
    int64_t now = 0;
    bool untidy = weft__rpool_untidy(&s->pool);
    bool held_up =
        !weft__queue_empty(&s->queued) || !weft__queue_empty(&s->cancels) || !s->wake_armed;
    if (until_ns == INT64_MAX && !untidy && !held_up)
        return INT64_MAX;
    now = weft__clock_ns();
    *expired = until_ns <= now;
    if (untidy)
        until = weft__min_i64(until, weft__rpool_tidy(&s->pool, now));
    if (held_up)
        until = weft__min_i64(until, now + RETRY_NS);
    return until == INT64_MAX ? INT64_MAX : weft__max_i64(until - now, 0);
}

/*
 * For one who polls our descriptor: leaves nothing unsent, and nothing to be done that the
 * descriptor does not tell of. What the kernel does after this, it tells itself.
 */
static void settle(struct uring_sys *s)
{
    weft__uring_push(&s->sys);
    bool asleep = fall_asleep(s, WAKE_POLLED);
    bool left = !weft__queue_empty(&s->ended) || !weft__queue_empty(&s->queued) ||
                !weft__queue_empty(&s->cancels) || io_uring_sq_ready(&s->ring) > 0 ||
                renew_event_fd(s);
    if (!asleep || left)
        ring_bell(s->event_fd);
}

/* Accepts that brought a connection may bring more at once, up to a round of them. */
static int accept_round(struct uring_sys *s)
{
    int err = 0;
    for (int i = 1; i < WEFT__ACCEPT_ROUND && s->accepted && err == 0; i++) {
        s->accepted = false;
        err = enter(s, 0);
        reap(s);
    }
    s->accepted = false;
    return err;
}

static int uring_wait(struct weft__sys *sys, int64_t until_ns)
{
    struct uring_sys *s = self(sys);
    WEFT__ASSERT(!s->in_wait);
    int err = 0;
    bool expired = until_ns <= 0;
    bool woken = false;
    s->ends = 0;
    s->in_wait = true;
    do {
        s->stuck = false;
        if (s->bufs.wanted)
            weft__uring_bufs_refill(s);
        if (!s->wake_armed)
            arm_wake(s);
        send_queued(s);
        int64_t ns = 0;
        if (!expired && weft__queue_empty(&s->ended)) {
            ns = sleep_ns(s, until_ns, &expired);
            if (ns > 0 && !fall_asleep(s, s->sleep_in_poll ? WAKE_POLLED : WAKE_SLEEPING))
                ns = 0;
        }
        err = enter(s, ns);
        if (WEFT__UNLIKELY(s->event_fd >= 0)) {
            uint64_t count;
            (void)!read(s->event_fd, &count, sizeof count);
        }
        reap(s);
        if (WEFT__UNLIKELY(s->accepted) && err == 0)
            err = accept_round(s);
        run_ended(s);
        woken = take_wake(s);
    } while (s->ends == 0 && !woken && !expired && err == 0);
    if (s->embedded)
        settle(s);
    s->in_wait = false;
    return s->ends > 0 || err == 0 ? s->ends : err;
}

/*
 * An eventfd, not the ring's own descriptor: what DEFER_TASKRUN leaves to be done by wait makes the
 * ring readable, but does not wake who sleeps in poll or epoll on it.
 */
static int uring_fd(struct weft__sys *sys)
{
    struct uring_sys *s = self(sys);
    if (s->embedded)
        return s->event_fd;
    if (open_event_fd(s) < 0)
        return -1;
    s->embedded = true;
    ring_bell(s->event_fd); /* for what has gathered until now */
    if (!s->in_wait)
        settle(s);
    return s->event_fd;
}

static void uring_forget(struct weft__sys *sys, int fd, bool only)
{
    (void)sys, (void)fd, (void)only; /* the kernel knows them only by the operations under way */
}

static void uring_rbuf_put(struct weft__sys *sys, struct weft__rbuf *rb)
{
    weft__rpool_put(&self(sys)->pool, rb);
}

/* ---- opening and closing ---- */

static void uring_close(struct weft__sys *sys)
{
    if (sys == NULL)
        return;
    struct uring_sys *s = self(sys);
    WEFT__ASSERT(sys->in_flight == 0);
    weft__uring_bufs_close(s);
    weft__uring_ring_close(&s->ring);
    if (s->wake_fd >= 0)
        close(s->wake_fd);
    if (s->event_fd >= 0)
        close(s->event_fd);
    weft__rpool_fini(&s->pool);
    weft__free(s);
}

static int uring_open(struct weft__sys **ret, const struct weft__sys_options *o)
{
    struct uring_sys *s = weft__calloc(1, sizeof *s);
    if (s == NULL)
        return -ENOMEM;
    int err = weft__uring_ring_open(&s->ring, o->entries == 0 ? ENTRIES_DEFAULT : o->entries);
    if (err < 0) {
        weft__free(s);
        return err;
    }
    s->sys.driver = &weft__driver_uring;
    s->event_fd = -1;
    weft__rpool_init(&s->pool, 0);
#if WEFT_HAVE_VALGRIND
    s->valgrind = RUNNING_ON_VALGRIND != 0;
#endif
    s->sleep_in_poll = s->valgrind || WEFT__URING_TSAN;
    /* Saves looking the descriptor up on each call. Without it everything works as well. */
    (void)io_uring_register_ring_fd(&s->ring);
    s->wake_fd = weft__call_eventfd();
    err = s->wake_fd < 0 ? s->wake_fd : weft__uring_bufs_open(s, o->rbufs);
    if (err == 0 && s->sleep_in_poll)
        err = open_event_fd(s);
    if (err < 0) {
        uring_close(&s->sys);
        return err;
    }
    *ret = &s->sys;
    return 0;
}

const struct weft__driver weft__driver_uring = {
    .name = "uring",
    .probe = weft__uring_probe,
    .open = uring_open,
    .close = uring_close,
    .submit = uring_submit,
    .cancel = uring_cancel,
    .wait = uring_wait,
    .push = weft__uring_push,
    .wake = uring_wake,
    .fd = uring_fd,
    .forget = uring_forget,
    .rbuf_put = uring_rbuf_put,
    .multi_recv = true,
};
