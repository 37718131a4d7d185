/* SPDX-License-Identifier: MIT */
/*
 * The epoll driver: operations are tried at once and parked where they would wait.
 *
 * Floor 1. A descriptor is registered, edge-triggered, when the first operation on it has to wait,
 * and stays so until forget; a connection that never waits costs no epoll_ctl.
 * epoll_table.h has the parked operations and what is believed of each descriptor.
 *
 * Invariants:
 * - belief: an operation on a side that is believed not ready parks without a system call. A side
 *   is not ready after EAGAIN, after registration (which reports what is there already as an
 *   edge), and after a short read that proves the stream empty: see proves_empty;
 * - order: an operation on a side where others are parked goes behind them, untried. POLL does not
 *   count: it takes nothing;
 * - an event whose generation is not its entry's is stale and dropped: the descriptor was closed,
 *   and perhaps opened again, by a done called for the same batch;
 * - done is called for an operation that is in no list and no queue.
 */
#include <errno.h>
#include <limits.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/base.h"
#include "sys/call.h"
#include "sys/epoll_table.h"
#include "sys/rbuf.h"
#include "sys/sys.h"
#include "sys/try.h"

#if WEFT_HAVE_VALGRIND
#include <valgrind/valgrind.h>
#endif

#define BATCH 64         /* events taken in one wait; what they touch stays in the cache that way */
#define LATER_NS 1000000 /* until a Unix listener whose backlog is full is asked again */

#define EVENTS_OVER (EPOLLRDHUP | EPOLLHUP | EPOLLERR)

/* What an event's data holds in place of a generation and a descriptor. */
#define DATA_WAKE UINT64_MAX
#define DATA_TIMER (UINT64_MAX - 1)

/* op->state, beside WEFT__TRY_BITS */
enum {
    PARKED = 1,  /* in an entry's list */
    QUEUED = 2,  /* in `queued`: the next wait ends it or tries it */
    LATER = 3,   /* in `later` */
    RUNNING = 4, /* a MULTI whose done is being called */
    STATES = 7,
    CANCELLED = 8,
};

struct epoll_sys {
    struct weft__sys sys;
    struct weft__epoll_table table;
    int wake_fd;
    int timer_fd;       /* wakes `later`; -1 until it is needed */
    int ends;           /* in this wait */
    bool embedded;      /* somebody polls ep: it must be readable while something is queued */
    bool no_pwait2;     /* the kernel or a filter does not have it */
    _Atomic bool woken; /* wake was called, and its event was not taken yet */
    struct weft__queue queued;
    struct weft__slink *later;
    struct weft__rpool pool;
    size_t filled; /* bytes of pool buffers in this wait */
    int at, n;     /* events from here on are left, of a wait that had enough bytes */
    struct epoll_event events[BATCH];
};

static inline struct epoll_sys *self(struct weft__sys *sys)
{
    return (struct epoll_sys *)(void *)sys;
}

static inline bool is_multi(const struct weft__op *op) /* a RECV_POOL has one result here */
{
    return (op->flags & WEFT__OP_MULTI) && op->kind == WEFT__OP_ACCEPT;
}

static inline void set_state(struct weft__op *op, int state)
{
    op->state = (uint8_t)((op->state & WEFT__TRY_BITS) | state);
}

/* ---- ends ---- */

static void wake(struct weft__sys *sys)
{
    struct epoll_sys *s = self(sys);
    if (atomic_exchange(&s->woken, true))
        return;
    int saved = errno; /* this may be a signal handler */
    uint64_t one = 1;
    ssize_t n = write(s->wake_fd, &one, sizeof(one));
    (void)n; /* it cannot overflow in the lifetime of the machine */
    errno = saved;
}

/* For the next wait. */
static void enqueue(struct epoll_sys *s, struct weft__op *op)
{
    set_state(op, QUEUED | (op->state & CANCELLED));
    weft__queue_push_back(&s->queued, &op->link);
    if (s->embedded)
        wake(&s->sys);
}

static void end(struct epoll_sys *s, struct weft__op *op)
{
    weft__try_end(op);
    op->more = false;
    s->sys.in_flight--;
    s->sys.completions++;
    s->ends++;
    op->done(op);
}

static void end_with(struct epoll_sys *s, struct weft__op *op, int res)
{
    op->res = res;
    end(s, op);
}

/* ---- registration and parking ---- */

/*
 * Parks an operation that would wait; `front`: it was at the head of its list before it was tried.
 * On failure it is in no list and the error is the operation's result.
 */
static int park(struct epoll_sys *s, struct weft__op *op, bool front)
{
    struct weft__epoll_entry *e;
    int r = weft__epoll_get(&s->table, op->fd, &e);
    if (r < 0)
        return r;
    r = weft__epoll_register(&s->table, e, op);
    if (r < 0)
        return r;
    bool out = weft__epoll_is_out(op);
    if (op->kind == WEFT__OP_POLL)
        e->polled = true;
    else if (out)
        e->out_ready = false;
    else
        e->in_ready = false;
    if (front)
        weft__epoll_prepend(weft__epoll_list(e, out), op);
    else
        weft__epoll_append(weft__epoll_list(e, out), op);
    set_state(op, PARKED);
    return 0;
}

/* Waits for the timer: no event will tell when the operation can go on. */
static int park_later(struct epoll_sys *s, struct weft__op *op)
{
    int r = weft__fault();
    if (r < 0)
        return r;
    if (s->timer_fd < 0) {
        int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
        if (fd < 0)
            return -errno;
        struct epoll_event ev = {.events = EPOLLIN | EPOLLET, .data.u64 = DATA_TIMER};
        if (epoll_ctl(s->table.ep, EPOLL_CTL_ADD, fd, &ev) < 0) {
            r = -errno;
            close(fd);
            return r;
        }
        s->timer_fd = fd;
    }
    if (s->later == NULL) {
        struct itimerspec once = {.it_value.tv_nsec = LATER_NS};
        if (timerfd_settime(s->timer_fd, 0, &once, NULL) < 0)
            return -errno;
    }
    set_state(op, LATER);
    weft__epoll_append(&s->later, op);
    return 0;
}

/* ---- attempts ---- */

/*
 * A stream socket that gave less than was asked for is empty, and what comes next makes an edge,
 * unless urgent data stopped the read. Where there was some, EPOLLPRI has ended the trust before.
 */
static bool proves_empty(const struct weft__epoll_entry *e, const struct weft__op *op)
{
    if (!e->registered || !e->trust || e->over || op->full || op->res < 0)
        return false;
    return op->kind == WEFT__OP_RECV_POOL || (op->kind == WEFT__OP_RECV && op->u.io.flags == 0);
}

static enum weft__tried attempt(struct epoll_sys *s, struct weft__epoll_entry *e,
                                struct weft__op *op)
{
    struct weft__try_how how = {.pool = &s->pool, .unix_stream = e != NULL && e->unix_stream};
    enum weft__tried t = weft__try(op, &how);
    if (t == WEFT__TRIED_ENDED && e != NULL && proves_empty(e, op))
        e->in_ready = false;
    if (op->kind == WEFT__OP_RECV_POOL && t == WEFT__TRIED_ENDED && op->res > 0)
        s->filled += (size_t)op->res;
    return t;
}

/* Parks after an attempt; ends the operation when that fails. */
static void park_or_end(struct epoll_sys *s, struct weft__op *op, enum weft__tried t, bool front)
{
    int r = t == WEFT__TRIED_LATER ? park_later(s, op) : park(s, op, front);
    if (r < 0)
        end_with(s, op, r);
}

/* A MULTI accept takes a bounded number of connections, then goes on in the next wait. */
static void run_multi(struct epoll_sys *s, struct weft__op *op)
{
    int n = 0;
    do {
        enum weft__tried t = attempt(s, NULL, op);
        if (t != WEFT__TRIED_ENDED) {
            park_or_end(s, op, t, true);
            return;
        }
        if (op->res < 0) {
            end(s, op);
            return;
        }
        weft__epoll_accepted(&s->table, op->fd, op->res);
        set_state(op, RUNNING);
        op->more = true;
        s->sys.completions++;
        s->ends++;
        op->done(op);
        if (op->state & CANCELLED) {
            end_with(s, op, -ECANCELED);
            return;
        }
    } while (++n < WEFT__ACCEPT_ROUND && !(op->flags & WEFT__OP_SLOWLY));
    enqueue(s, op);
}

/* Tries an operation that is in no list. */
static void run(struct epoll_sys *s, struct weft__epoll_entry *e, struct weft__op *op, bool front)
{
    if (is_multi(op)) {
        run_multi(s, op);
        return;
    }
    enum weft__tried t = attempt(s, e, op);
    if (t == WEFT__TRIED_ENDED)
        end(s, op);
    else
        park_or_end(s, op, t, front);
}

/* Operations parked on one side, as long as the side is believed ready. */
static void serve_side(struct epoll_sys *s, struct weft__epoll_entry *e, uint32_t gen, bool out)
{
    while (e->gen == gen && (out ? e->out_ready : e->in_ready)) {
        struct weft__slink **place = weft__epoll_first(weft__epoll_list(e, out), false);
        if (*place == NULL)
            return;
        run(s, e, weft__epoll_take(place), true);
    }
}

/* Asks poll(2) about each POLL operation once; those that are not ready go to the end. */
static void serve_polls(struct epoll_sys *s, struct weft__epoll_entry *e, uint32_t gen, bool out)
{
    unsigned n = 0;
    for (struct weft__slink *l = *weft__epoll_list(e, out); l != NULL; l = l->next)
        n += weft__epoll_op(l)->kind == WEFT__OP_POLL;
    while (n-- > 0 && e->gen == gen) {
        struct weft__slink **place = weft__epoll_first(weft__epoll_list(e, out), true);
        if (*place == NULL)
            return;
        struct weft__op *op = weft__epoll_take(place);
        if (attempt(s, e, op) == WEFT__TRIED_ENDED) {
            weft__epoll_release(&s->table, e, op->fd);
            end(s, op);
            continue;
        }
        weft__epoll_append(weft__epoll_list(e, out), op);
    }
}

static void take_event(struct epoll_sys *s, const struct epoll_event *ev)
{
    int fd = (int)(uint32_t)ev->data.u64;
    uint32_t gen = (uint32_t)(ev->data.u64 >> 32);
    struct weft__epoll_entry *e = weft__epoll_find(&s->table, fd);
    if (e == NULL || !e->registered || e->gen != gen)
        return;
    if (ev->events & EPOLLPRI)
        e->trust = false;
    if (ev->events & EVENTS_OVER)
        e->over = true;
    if (ev->events & (EPOLLIN | EPOLLPRI | EVENTS_OVER))
        e->in_ready = true;
    if (ev->events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
        e->out_ready = true;
    serve_side(s, e, gen, false);
    serve_side(s, e, gen, true);
    if (e->gen == gen && e->polled) {
        serve_polls(s, e, gen, false);
        serve_polls(s, e, gen, true);
    }
}

/* What was queued before this wait; what is queued meanwhile is for the next. */
static void run_queued(struct epoll_sys *s)
{
    struct weft__queue now = s->queued;
    weft__queue_init(&s->queued);
    struct weft__slink *l;
    while ((l = weft__queue_pop_front(&now)) != NULL) {
        struct weft__op *op = weft__epoll_op(l);
        if (op->state & CANCELLED)
            end_with(s, op, -ECANCELED);
        else if (op->kind == WEFT__OP_NOP)
            end_with(s, op, 0);
        else
            run(s, weft__epoll_find(&s->table, op->fd), op, true);
    }
}

/* ---- the contract ---- */

/* True when an attempt is known to be in vain, or would overtake another operation. */
static bool waits_untried(struct weft__epoll_entry *e, struct weft__op *op)
{
    if (op->kind == WEFT__OP_POLL || op->kind == WEFT__OP_CONNECT)
        return false;
    if (e == NULL || !e->registered)
        return (op->flags & WEFT__OP_POLL_FIRST) && !(op->flags & WEFT__OP_AT_ONCE) &&
               (op->kind == WEFT__OP_RECV || op->kind == WEFT__OP_RECV_POOL ||
                op->kind == WEFT__OP_RECVMSG);
    if (e->foreign)
        return false;
    bool ready = weft__epoll_is_out(op) ? e->out_ready : e->in_ready;
    if (!ready && !(op->flags & WEFT__OP_AT_ONCE)) /* a wait may leave events for the next one */
        return true;
    return *weft__epoll_first(weft__epoll_list(e, weft__epoll_is_out(op)), false) != NULL;
}

static bool ended_at_once(struct epoll_sys *s, struct weft__op *op)
{
    weft__try_end(op);
    s->sys.completions++;
    return true;
}

static bool submit(struct weft__sys *sys, struct weft__op *op)
{
    struct epoll_sys *s = self(sys);
    weft__try_begin(op);
    int r = 0;
    if (op->kind == WEFT__OP_ACCEPT)
        r = weft__epoll_prepare(&s->table, op->fd);
    else if ((op->flags & WEFT__OP_MULTI) && op->kind != WEFT__OP_RECV_POOL)
        r = -EINVAL;
    if (r < 0)
        goto failed;
    /* A MULTI's results all come from wait, so the first attempt is made there. */
    if (op->kind == WEFT__OP_NOP || is_multi(op)) {
        sys->in_flight++;
        enqueue(s, op);
        return false;
    }
    struct weft__epoll_entry *e = weft__epoll_find(&s->table, op->fd);
    enum weft__tried t = WEFT__TRIED_WAIT;
    if (!waits_untried(e, op))
        t = attempt(s, e, op);
    if (t == WEFT__TRIED_ENDED)
        return ended_at_once(s, op);
    r = t == WEFT__TRIED_LATER ? park_later(s, op) : park(s, op, false);
    if (r < 0)
        goto failed;
    sys->in_flight++;
    return false;
failed:
    op->res = r;
    return ended_at_once(s, op);
}

static void cancel(struct weft__sys *sys, struct weft__op *op)
{
    struct epoll_sys *s = self(sys);
    switch (op->state & STATES) {
    case PARKED: {
        struct weft__epoll_entry *e = weft__epoll_find(&s->table, op->fd);
        weft__epoll_remove(weft__epoll_list(e, weft__epoll_is_out(op)), op);
        if (op->kind == WEFT__OP_POLL)
            weft__epoll_release(&s->table, e, op->fd);
        op->state |= CANCELLED;
        enqueue(s, op);
        return;
    }
    case LATER:
        weft__epoll_remove(&s->later, op);
        op->state |= CANCELLED;
        enqueue(s, op);
        return;
    case QUEUED:
    case RUNNING:
        op->state |= CANCELLED;
        return;
    default:
        WEFT__ASSERT(false); /* it is not under way */
    }
}

static void forget(struct weft__sys *sys, int fd, bool only)
{
    weft__epoll_forget(&self(sys)->table, fd, only);
}

/* epoll_pwait2(2) until the time, or epoll_wait(2) with milliseconds, rounded up. */
static int wait_events(struct epoll_sys *s, int64_t until_ns)
{
    int r = weft__fault();
    if (r < 0)
        return r;
    int64_t left = until_ns;
    if (until_ns != 0 && until_ns != INT64_MAX)
        left = weft__max_i64(until_ns - weft__clock_ns(), 0);
    if (!s->no_pwait2) {
        struct timespec ts = {.tv_sec = (time_t)(left / 1000000000), .tv_nsec = left % 1000000000};
        r = epoll_pwait2(s->table.ep, s->events, BATCH, left == INT64_MAX ? NULL : &ts, NULL);
        if (r >= 0 || (errno != ENOSYS && errno != EPERM))
            return r >= 0 ? r : -errno;
        s->no_pwait2 = true;
    }
    int64_t ms = left / 1000000 + (left % 1000000 != 0);
    if (left == INT64_MAX)
        ms = -1;
    r = epoll_wait(s->table.ep, s->events, BATCH, (int)weft__min_i64(ms, INT_MAX));
    return r >= 0 ? r : -errno;
}

/* Tools that do not know epoll_pwait2: valgrind complains, and gcc's TSan holds back signals. */
static bool tool_lacks_pwait2(void)
{
#if defined(__SANITIZE_THREAD__)
    return true;
#elif WEFT_HAVE_VALGRIND
    return RUNNING_ON_VALGRIND != 0;
#else
    return false;
#endif
}

/* True when wake was called. */
static bool take_events(struct epoll_sys *s)
{
    bool woken = false;
    while (s->at < s->n && (s->filled < WEFT__RECV_WAIT_MAX || s->embedded)) {
        const struct epoll_event *ev = &s->events[s->at];
        weft__epoll_fetch_ahead(&s->table, ev, s->n - s->at);
        s->at++;
        if (ev->data.u64 == DATA_WAKE) {
            /* Edge-triggered: the eventfd is never read, each write is an edge. */
            woken = true;
            atomic_exchange(&s->woken, false);
        } else if (ev->data.u64 == DATA_TIMER) {
            struct weft__slink *l;
            while ((l = s->later) != NULL) {
                s->later = l->next;
                enqueue(s, weft__epoll_op(l));
            }
        } else {
            take_event(s, ev);
        }
    }
    return woken;
}

static int wait(struct weft__sys *sys, int64_t until_ns)
{
    struct epoll_sys *s = self(sys);
    s->ends = 0;
    s->filled = 0;
    for (;;) {
        run_queued(s);
        bool idle = s->ends == 0 && weft__queue_empty(&s->queued);
        int64_t until = idle ? until_ns : 0;
        if (until != 0 && weft__rpool_untidy(&s->pool))
            until = weft__min_i64(until, weft__rpool_tidy(&s->pool, weft__clock_ns()));
        if (s->at >= s->n) {
            int n = wait_events(s, until);
            if (n < 0 && n != -EINTR)
                return s->ends > 0 ? s->ends : n;
            s->at = 0;
            s->n = n;
        }
        bool woken = take_events(s);
        /* An event need not end anything: most tell of room to write that nobody waits for. */
        if (s->ends > 0 || woken || until_ns == 0)
            return s->ends;
        if (until_ns != INT64_MAX && weft__clock_ns() >= until_ns)
            return 0;
    }
}

static int get_fd(struct weft__sys *sys)
{
    struct epoll_sys *s = self(sys);
    if (!s->embedded && (!weft__queue_empty(&s->queued) || s->at < s->n))
        wake(sys);
    s->embedded = true;
    return s->table.ep;
}

static void rbuf_put(struct weft__sys *sys, struct weft__rbuf *rb)
{
    weft__rpool_put(&self(sys)->pool, rb);
}

static void close_sys(struct weft__sys *sys)
{
    if (sys == NULL)
        return;
    struct epoll_sys *s = self(sys);
    WEFT__ASSERT(sys->in_flight == 0);
    if (s->timer_fd >= 0)
        close(s->timer_fd);
    if (s->wake_fd >= 0)
        close(s->wake_fd);
    if (s->table.ep >= 0)
        close(s->table.ep);
    weft__epoll_table_fini(&s->table);
    weft__rpool_fini(&s->pool);
    weft__free(s);
}

static int open_sys(struct weft__sys **ret, const struct weft__sys_options *o)
{
    (void)o; /* nothing is queued for the kernel, and the pool grows by itself */
    struct epoll_sys *s = weft__calloc(1, sizeof(*s));
    if (s == NULL)
        return -ENOMEM;
    s->sys.driver = &weft__driver_epoll;
    s->table.ep = s->wake_fd = s->timer_fd = -1;
    s->no_pwait2 = tool_lacks_pwait2();
    weft__rpool_init(&s->pool, 0);
    int r = weft__fault();
    if (r < 0)
        goto failed;
    s->table.ep = epoll_create1(EPOLL_CLOEXEC);
    if (s->table.ep < 0) {
        r = -errno;
        goto failed;
    }
    r = s->wake_fd = weft__call_eventfd();
    if (r < 0)
        goto failed;
    struct epoll_event ev = {.events = EPOLLIN | EPOLLET, .data.u64 = DATA_WAKE};
    if (epoll_ctl(s->table.ep, EPOLL_CTL_ADD, s->wake_fd, &ev) < 0) {
        r = -errno;
        goto failed;
    }
    *ret = &s->sys;
    return 0;
failed:
    close_sys(&s->sys);
    return r;
}

static int probe(const char **text)
{
    int r = weft__fault();
    int fd = r < 0 ? -1 : epoll_create1(EPOLL_CLOEXEC);
    if (fd < 0) {
        *text = "the system refuses an epoll descriptor";
        return r < 0 ? r : -errno;
    }
    close(fd);
    return 0;
}

const struct weft__driver weft__driver_epoll = {
    .name = "epoll",
    .probe = probe,
    .open = open_sys,
    .close = close_sys,
    .submit = submit,
    .cancel = cancel,
    .wait = wait,
    .wake = wake,
    .fd = get_fd,
    .forget = forget,
    .rbuf_put = rbuf_put,
};
