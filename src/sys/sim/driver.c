/* SPDX-License-Identifier: MIT */
/*
 * The simulation's driver: operations on simulated descriptors, under the world's clock.
 *
 * Floor 1. An operation is tried at once, or, in processes that chance has made lazy, in the next
 * wait, so that both ways of the real drivers are seen. What has to wait stands at its descriptor
 * until something changes there (desc.c).
 *
 * The wait comes in two kinds. Where src/sim runs the world by steps it never blocks: it tells what
 * has ended, leaves its deadline as the process's wake-up, and returns. By itself, for tests of
 * this floor, it lets the world go on until something has ended here or the deadline has come.
 *
 * Invariant: an operation under way is in its descriptor's waiting queue (state WAITING), or in
 * `queue` (QUEUED: it has ended; RETRY: it is to be tried in the wait).
 */
#include <errno.h>

#include "base/error.h"
#include "sys/call.h"
#include "sys/sim/calls.h"
#include "sys/sim/driver.h"
#include "sys/sim/memory.h"

#define OVERTAKE_MAX 8
#define LAST_ONE_IN 16

enum { IDLE, WAITING, QUEUED, RETRY, TELLING, CANCELED };

struct sim_sys {
    struct weft__sys base;
    struct weft__proc *proc;
    struct weft__queue queue;
    size_t queued;
    bool woken;
};

static struct sim_sys *of(struct weft__sys *sys)
{
    return WEFT__CONTAINER_OF(sys, struct sim_sys, base);
}

/* Among a few that end at one time chance may put the last one first, but never before another of
 * its own descriptor. */
static bool may_overtake(const struct sim_sys *s, const struct weft__op *op)
{
    if (s->queued == 0 || s->queued > OVERTAKE_MAX)
        return false;
    for (const struct weft__slink *n = s->queue.first; n != NULL; n = n->next)
        if (WEFT__CONTAINER_OF(n, const struct weft__op, link)->fd == op->fd)
            return false;
    return true;
}

static void enqueue(struct sim_sys *s, struct weft__op *op, uint8_t state)
{
    struct weft__world *w = s->proc->world;
    op->state = state;
    if (!w->in_order && w->run_by_steps && state == QUEUED && may_overtake(s, op) &&
        weft__world_below(w, 2) == 0)
        weft__queue_push_front(&s->queue, &op->link);
    else
        weft__queue_push_back(&s->queue, &op->link);
    s->queued++;
    weft__proc_ready(s->proc);
}

void weft__sim_ended(struct weft__proc *p, struct weft__op *op)
{
    WEFT__ASSERT(p->sys != NULL);
    enqueue(of(p->sys), op, weft__sim_in_wait(op) ? RETRY : QUEUED);
}

struct weft__rbuf *weft__sim_rbuf(struct weft__desc *d, struct weft__op *op)
{
    struct weft__rbuf *rb = NULL;
    if (!weft__world_chance(d->world, d->proc->host->faults.no_memory))
        rb = weft__rpool_get(&d->world->pool);
    if (rb == NULL)
        op->res = -ENOBUFS;
    return rb;
}

/* --- Submitting and cancelling ---------------------------------------------------------------- */

static bool ended_at_once(struct weft__op *op, int res)
{
    op->res = res;
    op->state = IDLE;
    return true;
}

/* Of which side: what takes from the descriptor, and what gives to it. */
static bool takes(const struct weft__op *op)
{
    switch (op->kind) {
    case WEFT__OP_SEND:
    case WEFT__OP_SENDMSG:
    case WEFT__OP_WRITE:
    case WEFT__OP_CONNECT:
        return false;
    default:
        return true;
    }
}

static bool stands_behind(const struct weft__desc *d, const struct weft__op *op)
{
    for (const struct weft__slink *n = d->waiting.first; n != NULL; n = n->next) {
        const struct weft__op *other = WEFT__CONTAINER_OF(n, struct weft__op, link);
        if (op->kind != WEFT__OP_POLL && other->kind != WEFT__OP_POLL && takes(other) == takes(op))
            return true;
    }
    return false;
}

/* Only where chance delays single operations can one be put off that later ones would overtake. */
static bool would_overtake(const struct sim_sys *s, const struct weft__op *op)
{
    if (op->kind == WEFT__OP_POLL || s->proc->host->faults.again == 0)
        return false;
    for (const struct weft__slink *n = s->queue.first; n != NULL; n = n->next) {
        const struct weft__op *other = WEFT__CONTAINER_OF(n, const struct weft__op, link);
        if (other->state == RETRY && other->fd == op->fd && other->kind != WEFT__OP_POLL &&
            takes(other) == takes(op))
            return true;
    }
    return false;
}

static bool sim_submit(struct weft__sys *sys, struct weft__op *op)
{
    struct sim_sys *s = of(sys);
    struct weft__proc *p = s->proc;
    int err = weft__fault();
    op->state = IDLE;
    op->more = op->full = false;
    op->moved = 0;
    if (WEFT__UNLIKELY(err < 0))
        return ended_at_once(op, err);
    if (op->kind == WEFT__OP_NOP) {
        sys->in_flight++;
        op->res = 0;
        enqueue(s, op, QUEUED);
        return false;
    }
    struct weft__desc *d = weft__desc_for(p, op->fd, "an operation", &err);
    if (d == NULL)
        return ended_at_once(op, err);
    bool behind = stands_behind(d, op);
    bool lazy =
        p->lazy || would_overtake(s, op) || weft__world_chance(p->world, p->host->faults.again);
    if (!behind && !lazy && !(op->flags & WEFT__OP_MULTI) &&
        weft__desc_attempt(d, op) == WEFT__SIM_ENDED) {
        op->state = IDLE;
        return true;
    }
    sys->in_flight++;
    if (!behind && (lazy || (op->flags & WEFT__OP_MULTI))) {
        enqueue(s, op, RETRY);
    } else {
        op->state = WAITING;
        weft__desc_park(d, op);
    }
    return false;
}

static void sim_cancel(struct weft__sys *sys, struct weft__op *op)
{
    struct sim_sys *s = of(sys);
    if (op->state == TELLING) { /* a multishot one, from within its done */
        op->state = CANCELED;
    } else if (op->state == RETRY) {
        op->state = CANCELED; /* it is in the queue already */
    } else if (op->state == WAITING) {
        struct weft__desc *d = weft__desc_of(s->proc, op->fd);
        bool there = d != NULL && weft__desc_withdraw(d, op);
        WEFT__ASSERT(there);
        op->res = -ECANCELED;
        enqueue(s, op, CANCELED);
    } else {
        WEFT__ASSERT(op->state == QUEUED || op->state == CANCELED);
    }
}

void weft__sim_cancel_all(struct weft__proc *p)
{
    if (p->sys == NULL)
        return;
    for (size_t i = 0; i < p->n_fds; i++) {
        struct weft__desc *d = p->fds[i];
        while (d != NULL && !weft__queue_empty(&d->waiting))
            sim_cancel(p->sys, WEFT__CONTAINER_OF(d->waiting.first, struct weft__op, link));
    }
    for (struct weft__slink *n = of(p->sys)->queue.first; n != NULL; n = n->next) {
        struct weft__op *op = WEFT__CONTAINER_OF(n, struct weft__op, link);
        if (op->state == RETRY)
            op->state = CANCELED;
    }
}

/* --- Waiting ---------------------------------------------------------------------------------- */

static void tell(struct sim_sys *s, struct weft__op *op, int res)
{
    op->state = IDLE;
    op->res = res;
    op->more = false;
    s->base.in_flight--;
    s->base.completions++;
    op->done(op);
}

/* A RECV_POOL of many results ends after so many bytes, and, as chance has it, any time before. */
static bool is_last(const struct sim_sys *s, const struct weft__op *op)
{
    struct weft__world *w = s->proc->world;
    if (op->kind != WEFT__OP_RECV_POOL)
        return false;
    return op->moved > WEFT__RECV_MULTI_MAX - WEFT__RBUF_SIZE ||
           (!w->in_order && weft__world_below(w, LAST_ONE_IN) == 0);
}

/* One of many results hands out what is there, and waits on. */
static void tell_many(struct sim_sys *s, struct weft__desc *d, struct weft__op *op)
{
    for (int i = 0; i < WEFT__ACCEPT_ROUND; i++) {
        if (weft__desc_attempt(d, op) == WEFT__SIM_WAIT) {
            op->state = WAITING;
            weft__desc_park(d, op);
            return;
        }
        if (op->res < 0 || (op->res == 0 && op->kind != WEFT__OP_ACCEPT)) {
            tell(s, op, op->res);
            return;
        }
        if (op->kind == WEFT__OP_RECV_POOL)
            op->moved += (uint32_t)op->res;
        if (is_last(s, op)) {
            tell(s, op, op->res);
            return;
        }
        op->state = TELLING;
        op->more = true;
        s->base.completions++;
        op->done(op);
        if (op->state == CANCELED) {
            tell(s, op, -ECANCELED);
            return;
        }
        if (op->flags & WEFT__OP_SLOWLY)
            break;
    }
    enqueue(s, op, RETRY);
}

/* op was taken out of the queue. */
static void finish(struct sim_sys *s, struct weft__op *op)
{
    int err = -ECANCELED;
    if (op->state == CANCELED) {
        tell(s, op, -ECANCELED);
        return;
    }
    if (op->state == QUEUED) {
        tell(s, op, op->res);
        return;
    }
    struct weft__desc *d = weft__desc_for(s->proc, op->fd, "an operation", &err);
    if (d == NULL) {
        tell(s, op, err);
    } else if (op->flags & WEFT__OP_MULTI) {
        tell_many(s, d, op);
    } else if (!stands_behind(d, op) && weft__desc_attempt(d, op) == WEFT__SIM_ENDED) {
        tell(s, op, op->res);
    } else {
        op->state = WAITING;
        weft__desc_park(d, op);
    }
}

/* Tells what has ended by now; what ends meanwhile is for the next wait. Returns how many. */
static int deliver(struct sim_sys *s)
{
    uint64_t before = s->base.completions;
    size_t n = s->queued;
    while (n-- > 0) {
        struct weft__slink *l = weft__queue_pop_front(&s->queue);
        s->queued--;
        finish(s, WEFT__CONTAINER_OF(l, struct weft__op, link));
    }
    return (int)(s->base.completions - before);
}

/* Leaves the deadline as a wake-up. What was told has made tasks ready, so the loop's own deadline
 * says nothing then. */
static void note_deadline(struct sim_sys *s, bool again, int64_t until_ns)
{
    struct weft__proc *p = s->proc;
    struct weft__world *w = p->world;
    int64_t when = again || s->queued > 0 ? 0 : weft__proc_to_world_ns(p, until_ns);
    if (when <= w->now_ns) {
        weft__event_del(w, &p->wake);
        weft__proc_ready(p);
    } else if (when == INT64_MAX) {
        weft__event_del(w, &p->wake);
    } else if (!weft__event_is_set(&p->wake) || p->wake.when_ns != when) {
        if (weft__event_set(w, &p->wake, when) < 0)
            weft__proc_ready(p); /* no memory for a longer heap: it asks again at once */
    }
}

static int wait_standing(struct sim_sys *s, int64_t until_ns)
{
    struct weft__world *w = s->proc->world;
    int64_t until = until_ns <= 0 ? w->now_ns : weft__proc_to_world_ns(s->proc, until_ns);
    for (;;) {
        int64_t next = weft__world_next_ns(w);
        if (next > until || next == INT64_MAX)
            break;
        (void)weft__world_step(w);
        int n = deliver(s);
        if (n > 0 || s->woken) {
            s->woken = false;
            return n;
        }
    }
    if (until == INT64_MAX)
        return -EDEADLK; /* nothing can ever happen */
    weft__world_advance(w, until);
    return 0;
}

static int sim_wait(struct weft__sys *sys, int64_t until_ns)
{
    struct sim_sys *s = of(sys);
    int n = deliver(s);
    bool woken = s->woken;
    s->woken = false;
    if (s->proc->world->run_by_steps) {
        note_deadline(s, n > 0 || woken, until_ns);
        return n;
    }
    while (n == 0 && s->queued > 0) /* an attempt that ended nothing here has ended another */
        n = deliver(s);
    return n > 0 || woken ? n : wait_standing(s, until_ns);
}

static void sim_wake(struct weft__sys *sys)
{
    of(sys)->woken = true;
    weft__proc_ready(of(sys)->proc);
}

/* --- Opening and closing ---------------------------------------------------------------------- */

static int sim_probe(const char **text)
{
    if (weft__sim_proc != NULL)
        return 0;
    *text = "it exists inside a simulation only";
    return -ENOSYS;
}

static int sim_open(struct weft__sys **ret, const struct weft__sys_options *o)
{
    struct weft__proc *p = weft__sim_proc;
    (void)o;
    if (p == NULL)
        return weft__fail(-ENOSYS, "the simulation's driver outside a simulation");
    if (p->sys != NULL)
        return weft__fail(-EBUSY, "a simulated process has one loop");
    struct sim_sys *s = weft__calloc(1, sizeof *s);
    if (s == NULL)
        return -ENOMEM;
    s->base.driver = &weft__driver_sim;
    s->proc = p;
    p->sys = &s->base;
    *ret = &s->base;
    return 0;
}

static void sim_close(struct weft__sys *sys)
{
    if (sys == NULL)
        return;
    struct sim_sys *s = of(sys);
    WEFT__ASSERT(sys->in_flight == 0 && weft__queue_empty(&s->queue));
    s->proc->sys = NULL;
    weft__free(s);
}

static int sim_fd(struct weft__sys *sys)
{
    (void)sys;
    return -1;
}

static void sim_forget(struct weft__sys *sys, int fd, bool only)
{
    (void)sys, (void)fd, (void)only;
}

static void sim_rbuf_put(struct weft__sys *sys, struct weft__rbuf *rb)
{
    weft__rpool_put(&of(sys)->proc->world->pool, rb);
}

const struct weft__driver weft__driver_sim = {
    .name = "sim",
    .probe = sim_probe,
    .open = sim_open,
    .close = sim_close,
    .submit = sim_submit,
    .cancel = sim_cancel,
    .wait = sim_wait,
    .wake = sim_wake,
    .fd = sim_fd,
    .forget = sim_forget,
    .rbuf_put = sim_rbuf_put,
};
