/* SPDX-License-Identifier: MIT */
/*
 * The block driver: an operation is executed by the thread that submits it, which waits in ppoll(2)
 * until the descriptor is ready, the operation's time has passed, or the cancel descriptor says so.
 *
 * Floor 1. A thread per connection opens one of these, so opening it costs one small allocation:
 * no descriptor, no buffer; the pool's slabs are of a few buffers.
 *
 * Invariants:
 * - submit always returns true, so nothing is ever under way;
 * - an operation that can end at once does so, whatever its time and the cancel descriptor say; but
 *   a thread that never has to wait looks at the cancel descriptor now and then, too;
 * - a shield's end is no end of an operation, which from then on looks at the cancel descriptor: so
 *   it has nothing to do again, and what the socket itself says is told from it;
 * - the cancel descriptor is looked at, never read: it stays the owner's, and may be shared;
 * - wake never creates the eventfd that wait sleeps on, so that a signal handler may call it.
 */
#include <errno.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/base.h"
#include "sys/call.h"
#include "sys/rbuf.h"
#include "sys/sys.h"
#include "sys/try.h"

#define SLAB 2      /* pool buffers mapped together */
#define UNWAITED 64 /* operations without a wait until the cancel descriptor is looked at */
#define LATER_NS INT64_C(1000000) /* until a Unix listener whose backlog is full is asked again */

struct block_sys {
    struct weft__sys sys;
    int cancel_fd;
    int listener; /* the last one that was given O_NONBLOCK; -1: none */
    int unwaited;
    int64_t shield_ns;   /* until then the operation that runs does not look at cancel_fd; 0 */
    _Atomic int wake_fd; /* -1 until the first wait that sleeps */
    _Atomic bool woken;
    struct weft__rpool pool;
};

static inline struct block_sys *self(struct weft__sys *sys)
{
    return (struct block_sys *)(void *)sys;
}

/* ppoll(2) until then; INT64_MAX: without end. The number that are ready, or -errno. */
static int poll_until(struct pollfd *p, nfds_t n, int64_t until_ns)
{
    struct timespec ts = {0};
    if (until_ns != INT64_MAX) {
        int64_t left = until_ns <= 0 ? 0 : weft__max_i64(until_ns - weft__clock_ns(), 0);
        ts = (struct timespec){.tv_sec = (time_t)(left / 1000000000), .tv_nsec = left % 1000000000};
    }
    int ready = ppoll(p, n, until_ns != INT64_MAX ? &ts : NULL, NULL);
    return ready < 0 ? -errno : ready;
}

/*
 * Waits for events on fd, or, with fd -1, for the time only. 0: they are there or `until` has
 * passed, *late says which. -ECANCELED, or another error of ppoll.
 */
static int wait_fd(struct block_sys *s, int fd, short events, int64_t until_ns, bool *late)
{
    int r = weft__fault();
    if (r < 0)
        return r;
    struct pollfd p[2] = {{.fd = fd, .events = events}, {.events = POLLIN}};
    s->unwaited = 0;
    for (;;) {
        bool shielded = s->shield_ns > 0 && s->shield_ns > weft__clock_ns();
        bool unshields = shielded && s->shield_ns < until_ns;
        p[1].fd = shielded ? -1 : s->cancel_fd;
        int n = poll_until(p, 2, unshields ? s->shield_ns : until_ns);
        if (n < 0 && n != -EINTR)
            return n;
        if (n > 0 && p[1].revents != 0)
            return -ECANCELED;
        if (n > 0 || (n == 0 && !unshields)) {
            *late = n == 0;
            return 0;
        }
    }
}

/* accept(2) is to say EAGAIN when another thread was quicker; see try.h. */
static int prepare_listener(struct block_sys *s, int fd)
{
    if (s->listener == fd)
        return 0;
    int r = weft__call_set_nonblock(fd, true);
    if (r == 0)
        s->listener = fd;
    return r;
}

static int prepare(struct block_sys *s, struct weft__op *op)
{
    if (op->flags & WEFT__OP_MULTI)
        return -EINVAL;
    if (op->kind == WEFT__OP_ACCEPT)
        return prepare_listener(s, op->fd);
    if (s->cancel_fd >= 0 && ++s->unwaited >= UNWAITED) {
        bool late;
        return wait_fd(s, -1, 0, 0, &late);
    }
    return 0;
}

/* Waits between two attempts. 0: try again. */
static int wait_for(struct block_sys *s, struct weft__op *op, enum weft__tried t)
{
    bool late = false;
    int r;
    if (t == WEFT__TRIED_WAIT && op->fd < 0)
        return -EBADF; /* ppoll would pass over it */
    if (t == WEFT__TRIED_WAIT) {
        r = wait_fd(s, op->fd, weft__try_events(op), op->until_ns, &late);
    } else {
        int64_t soon = weft__clock_ns() + LATER_NS;
        r = wait_fd(s, -1, 0, weft__min_i64(soon, op->until_ns), &late);
        late = late && op->until_ns < soon;
    }
    return r == 0 && late ? -ETIMEDOUT : r;
}

static void execute(struct block_sys *s, struct weft__op *op)
{
    struct weft__try_how how = {.pool = &s->pool};
    /* Nobody can want it back: then the kernel may wait itself, which is one call instead of three.
     */
    how.may_wait = s->cancel_fd < 0 && op->until_ns == INT64_MAX;
    bool first = (op->flags & WEFT__OP_POLL_FIRST) && !how.may_wait && op->fd >= 0;
    for (;;) {
        enum weft__tried t = first ? WEFT__TRIED_WAIT : weft__try(op, &how);
        first = false;
        if (t == WEFT__TRIED_ENDED)
            return;
        int r = wait_for(s, op, t);
        if (r < 0) {
            op->res = r;
            return;
        }
    }
}

static bool submit(struct weft__sys *sys, struct weft__op *op)
{
    struct block_sys *s = self(sys);
    weft__try_begin(op);
    s->shield_ns = op->flags & WEFT__OP_SHIELDED ? op->shield_ns : 0;
    op->res = prepare(s, op);
    if (op->res == 0 && op->kind != WEFT__OP_NOP)
        execute(s, op);
    s->shield_ns = 0;
    weft__try_end(op);
    sys->completions++;
    return true;
}

static void cancel(struct weft__sys *sys, struct weft__op *op)
{
    (void)sys;
    (void)op;
    WEFT__ASSERT(false); /* nothing is ever under way */
}

/* The eventfd is made here; the order of the two stores and loads, here and in wake, matters. */
static int wait(struct weft__sys *sys, int64_t until_ns)
{
    struct block_sys *s = self(sys);
    int fd = atomic_load(&s->wake_fd);
    if (fd < 0 && until_ns != 0) {
        fd = weft__call_eventfd();
        if (fd < 0)
            return fd;
        atomic_store(&s->wake_fd, fd);
    }
    if (atomic_load(&s->woken))
        until_ns = 0; /* it may have been before the eventfd was there */
    bool late = false;
    int r = wait_fd(s, fd, POLLIN, until_ns, &late);
    if (r == 0 && atomic_exchange(&s->woken, false) && fd >= 0) {
        uint64_t count;
        ssize_t n = read(fd, &count, sizeof(count));
        (void)n; /* there may be nothing in it yet; then the next wait returns early, no harm */
    }
    return r;
}

static void wake(struct weft__sys *sys)
{
    struct block_sys *s = self(sys);
    if (atomic_exchange(&s->woken, true))
        return;
    int fd = atomic_load(&s->wake_fd);
    if (fd < 0)
        return;
    int saved = errno; /* this may be a signal handler */
    uint64_t one = 1;
    ssize_t n = write(fd, &one, sizeof(one));
    (void)n;
    errno = saved;
}

static int get_fd(struct weft__sys *sys)
{
    (void)sys;
    return -1;
}

static void forget(struct weft__sys *sys, int fd, bool only)
{
    (void)only;
    struct block_sys *s = self(sys);
    if (s->listener == fd)
        s->listener = -1;
}

static void rbuf_put(struct weft__sys *sys, struct weft__rbuf *rb)
{
    weft__rpool_put(&self(sys)->pool, rb);
}

static int open_sys(struct weft__sys **ret, const struct weft__sys_options *o)
{
    struct block_sys *s = weft__calloc(1, sizeof(*s));
    if (s == NULL)
        return -ENOMEM;
    s->sys.driver = &weft__driver_block;
    s->cancel_fd = o->cancel_fd;
    s->listener = -1;
    atomic_init(&s->wake_fd, -1);
    weft__rpool_init(&s->pool, SLAB);
    *ret = &s->sys;
    return 0;
}

static void close_sys(struct weft__sys *sys)
{
    if (sys == NULL)
        return;
    struct block_sys *s = self(sys);
    int fd = atomic_load(&s->wake_fd);
    if (fd >= 0)
        close(fd);
    weft__rpool_fini(&s->pool);
    weft__free(s);
}

static int probe(const char **text)
{
    (void)text;
    return 0;
}

const struct weft__driver weft__driver_block = {
    .name = "block",
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
