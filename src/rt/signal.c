/* SPDX-License-Identifier: MIT */
/*
 * Signals as something to wait for.
 *
 * Floor 2. The process has one table of signals; each watched one has our handler and the list of
 * those who watch it. The handler writes the signal's number into the pipe of each watcher, who
 * reads it like any other descriptor, in a task or on a plain thread.
 *
 * Order and number: a watcher gets signals in the order in which they were delivered. As in the
 * kernel, a standard signal that is queued already is not queued again; of a real-time signal up
 * to REALTIME_MAX are. So the queue is bounded, the pipe is never full, and no signal is crowded
 * out by others.
 *
 * Whether a signal is delivered at all is decided by the masks of the program's threads; nothing
 * here changes them. SA_RESTART keeps system calls of the program from failing with EINTR, and
 * SA_ONSTACK lets whoever has set up a stack for signals keep them off the tasks' small ones.
 *
 * In a simulation the simulated kernel has the list, and writes each signal as an int into the same
 * kind of pipe; the table and the handler are the real process's and not touched.
 *
 * Invariants:
 *  - table_lock guards all changes; the handler takes no lock, allocates nothing, keeps errno;
 *  - a watcher is taken out of the lists first, and freed once no handler is under way that may
 *    have found it before;
 *  - a signal's old disposition is put back when its last watcher goes, unless somebody else has
 *    replaced ours meanwhile.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include <weft/signal.h>

#include "base/alloc.h"
#include "rt/rt.h"
#include "sys/call.h"
#include "sys/sim/calls.h"
#include "sys/sim/world.h"

#define SIGNALS_MAX 16
#define REALTIME_MAX 128 /* times 16 signals, a byte each: less than the smallest pipe, a page */

/* A watcher's interest in one signal. */
struct entry {
    _Atomic(struct entry *) next; /* of the same signal */
    struct weft_signals *owner;
    int signal;
    int limit;
    _Atomic int queued; /* in the pipe; at most limit */
};

struct weft_signals {
    struct weft_loop *loop;
    struct weft__flow *waiter;
    bool closed;     /* while someone waits, who frees it then */
    int in, out;     /* the pipe: out is for the handler, and does not block */
    size_t part_len; /* in a simulation: bytes of the next signal that were read */
    char part[sizeof(int)];
    int n;
    struct entry entries[SIGNALS_MAX];
};

struct watched {
    _Atomic(struct entry *) first; /* NULL: nobody watches, the disposition is not ours */
    struct sigaction before;
};

static struct watched table[_NSIG];
static pthread_mutex_t table_lock = PTHREAD_MUTEX_INITIALIZER;
/* Handlers under way in all threads. Those that begin count themselves at `turn`, which forget
 * turns away from, so that it waits for the ones before it and not for a stream of new ones. */
static _Atomic int handlers[2];
static _Atomic int turn;
static _Atomic pid_t table_pid;

/* --- In the handler: only what is async-signal-safe ------------------------------------------- */

static void queue(struct entry *e)
{
    /* Never above the limit, not even for a moment: another thread's handler would then take its
     * own signal for one that is queued already, after the watcher has had the last. */
    int n = atomic_load(&e->queued);
    do {
        if (n >= e->limit)
            return;
    } while (!atomic_compare_exchange_weak(&e->queued, &n, n + 1));
    uint8_t byte = (uint8_t)e->signal;
    if (write(e->owner->out, &byte, 1) != 1)
        atomic_fetch_sub(&e->queued, 1); /* cannot be: the pipe has room for all limits */
}

static void handler(int sig)
{
    int saved = errno;
    if (getpid() != atomic_load(&table_pid)) {
        /* A fork that has not executed anything: the pipes are its parent's. The signal has the
         * effect that it had before anybody watched; it is blocked here and comes when we return.
         */
        (void)sigaction(sig, &table[sig].before, NULL);
        (void)raise(sig);
        errno = saved;
        return;
    }
    int at = atomic_load(&turn);
    atomic_fetch_add(&handlers[at], 1); /* before it looks at the list */
    for (struct entry *e = atomic_load(&table[sig].first); e != NULL; e = atomic_load(&e->next))
        queue(e);
    atomic_fetch_sub(&handlers[at], 1);
    errno = saved;
}

/* --- Under table_lock ------------------------------------------------------------------------- */

static bool ours(const struct sigaction *sa)
{
    return !(sa->sa_flags & SA_SIGINFO) && sa->sa_handler == handler;
}

/* In a fork of the process whose table it was: its watchers are not here. */
static void adopt_table(void)
{
    pid_t before = atomic_exchange(&table_pid, getpid());
    if (before == 0 || before == getpid())
        return;
    struct sigaction now;
    for (int sig = 1; sig < _NSIG; sig++) {
        if (atomic_exchange(&table[sig].first, NULL) != NULL && sigaction(sig, NULL, &now) == 0 &&
            ours(&now))
            (void)sigaction(sig, &table[sig].before, NULL);
    }
    atomic_store(&handlers[0], 0);
    atomic_store(&handlers[1], 0);
}

static int watch(struct entry *e)
{
    struct watched *w = &table[e->signal];
    struct sigaction sa = {.sa_handler = handler, .sa_flags = SA_RESTART | SA_ONSTACK};
    struct sigaction now;
    int err = weft__fault();
    if (err < 0)
        return err;
    if (sigaction(e->signal, NULL, &now) < 0)
        return weft__fail(-errno, "signal %d cannot be caught", e->signal);
    bool install = !ours(&now);
    if (install)
        w->before = now; /* before the handler is there, which may need it */
    atomic_store(&e->next, atomic_load(&w->first));
    atomic_store(&w->first, e);
    sigfillset(&sa.sa_mask);
    if (install && sigaction(e->signal, &sa, NULL) < 0) {
        err = errno;
        atomic_store(&w->first, atomic_load(&e->next));
        return weft__fail(-err, "signal %d cannot be caught", e->signal);
    }
    return 0;
}

static void unwatch(struct entry *e)
{
    struct watched *w = &table[e->signal];
    struct sigaction now;
    _Atomic(struct entry *) *at = &w->first;
    bool last = atomic_load(at) == e && atomic_load(&e->next) == NULL;
    /* First the disposition, so that no signal comes to a handler that has nobody to tell. */
    if (last && sigaction(e->signal, NULL, &now) == 0 && ours(&now))
        (void)sigaction(e->signal, &w->before, NULL);
    while (atomic_load(at) != NULL && atomic_load(at) != e)
        at = &atomic_load(at)->next;
    if (atomic_load(at) == NULL)
        return; /* a fork has dropped it: adopt_table */
    /* e keeps its link: a handler that stands on it walks on. */
    atomic_store(at, atomic_load(&e->next));
}

/* Takes out the first n entries, and waits until no handler can know them any more. */
static void forget(struct weft_signals *s, int n)
{
    for (int i = 0; i < n; i++)
        unwatch(&s->entries[i]);
    /* Both, as one may have looked at `turn` long before it counted itself. */
    for (int i = 0; i < 2; i++) {
        int at = atomic_load(&turn);
        atomic_store(&turn, 1 - at);
        while (atomic_load(&handlers[at]) > 0)
            sched_yield(); /* a few instructions in another thread */
    }
}

/* --- In a simulation -------------------------------------------------------------------------- */

static void sim_unwatch(struct weft_signals *s, int n)
{
    for (int i = 0; i < n; i++)
        (void)weft__sim_signal_listen(weft__sim_proc, s->entries[i].signal, s->out, false);
}

static int sim_watch(struct weft_signals *s)
{
    for (int i = 0; i < s->n; i++) {
        int err = weft__fault();
        if (err == 0)
            err = weft__sim_signal_listen(weft__sim_proc, s->entries[i].signal, s->out, true);
        if (err < 0) {
            sim_unwatch(s, i);
            return err;
        }
    }
    return 0;
}

/* --- Opening, waiting, closing ---------------------------------------------------------------- */

static int add(struct weft_signals *s, int sig)
{
    for (int i = 0; i < s->n; i++)
        if (s->entries[i].signal == sig)
            return 0; /* listed twice */
    if (s->n == SIGNALS_MAX)
        return weft__fail(-EINVAL, "more than %d signals", SIGNALS_MAX);
    bool fault = sig == SIGSEGV || sig == SIGBUS || sig == SIGFPE || sig == SIGILL;
    if (sig < 1 || sig >= _NSIG || sig == SIGKILL || sig == SIGSTOP)
        return weft__fail(-EINVAL, "signal %d cannot be caught", sig);
    if (fault) /* the thread would run into it again as soon as the handler returns, for ever */
        return weft__fail(-EINVAL, "signal %d is raised by faults and cannot be waited for", sig);
    struct entry *e = &s->entries[s->n++];
    e->signal = sig;
    e->limit = sig >= SIGRTMIN ? REALTIME_MAX : 1;
    e->owner = s;
    return 0;
}

static int watch_all(struct weft_signals *s)
{
    int err = 0;
    if (WEFT__UNLIKELY(weft__sim_proc != NULL))
        return sim_watch(s);
    pthread_mutex_lock(&table_lock);
    adopt_table();
    for (int i = 0; i < s->n; i++) {
        err = watch(&s->entries[i]);
        if (err < 0) {
            forget(s, i);
            break;
        }
    }
    pthread_mutex_unlock(&table_lock);
    return err;
}

int weft_signals_open(struct weft_signals **ret, const int *signals)
{
    struct weft_signals *s = weft__calloc(1, sizeof *s);
    int fds[2] = {-1, -1};
    if (s == NULL)
        return -ENOMEM;
    int err = 0;
    for (const int *sig = signals; err == 0 && *sig != 0; sig++)
        err = add(s, *sig);
    if (err == 0 && s->n == 0)
        err = weft__fail(-EINVAL, "no signals to wait for");
    if (err == 0)
        err = weft__call_pipe(fds);
    if (err == 0)
        err = weft__call_set_nonblock(fds[1], true); /* of this end alone */
    s->loop = weft__flow_self()->loop;
    s->in = fds[0];
    s->out = fds[1];
    if (err == 0)
        err = watch_all(s);
    if (err < 0) {
        if (fds[0] >= 0) {
            weft__call_close(fds[0]);
            weft__call_close(fds[1]);
        }
        weft__free(s);
        return err;
    }
    *ret = s;
    return 0;
}

static void signals_free(struct weft_signals *s)
{
    weft__sys_close_fd(s->loop != NULL ? s->loop->sys : NULL, s->in);
    weft__call_close(s->out);
    weft__free(s);
}

/* A signal's number from the pipe, or an error. Not inlined, so that a backtrace names its caller.
 */
static __attribute__((noinline)) int next_signal(struct weft_signals *s, weft_deadline d)
{
    struct weft__io io;
    uint8_t byte;
    io.op = (struct weft__op){
        .kind = WEFT__OP_READ, .fd = s->in, .u.io = {.buf = &byte, .len = sizeof byte}};
    int n = weft__await(&io, "signal", d);
    if (n < 0)
        return n;
    WEFT__ASSERT(n == 1); /* the other end is open as long as this one */
    return byte;
}

/* A simulated read may be short, and the wait for the rest be cut off, which loses nothing. */
static int sim_next_signal(struct weft_signals *s, weft_deadline d)
{
    struct weft__io io;
    int sig;
    while (s->part_len < sizeof s->part) {
        io.op = (struct weft__op){.kind = WEFT__OP_READ,
                                  .fd = s->in,
                                  .u.io = {.buf = s->part + s->part_len,
                                           .len = (uint32_t)(sizeof s->part - s->part_len)}};
        int n = weft__await(&io, "signal", d);
        if (n <= 0)
            return n < 0 ? n : -ECANCELED; /* no writer is left: the host has crashed */
        s->part_len += (size_t)n;
    }
    s->part_len = 0;
    memcpy(&sig, s->part, sizeof sig);
    return sig;
}

int weft_signals_wait(struct weft_signals *s, weft_deadline d)
{
    struct weft__flow *f = weft__flow_self();
    if (f->loop != s->loop)
        return weft__fail(WEFT_ETHREAD, "the signals belong to another loop");
    if (s->waiter != NULL)
        return weft__fail(-EBUSY, "'%s' is waiting for these signals", s->waiter->name);
    s->waiter = f;
    int n = WEFT__LIKELY(weft__sim_proc == NULL) ? next_signal(s, d) : sim_next_signal(s, d);
    s->waiter = NULL;
    if (s->closed) {
        signals_free(s);
        return WEFT_ECLOSED;
    }
    for (int i = 0; i < s->n && n > 0 && weft__sim_proc == NULL; i++)
        if (s->entries[i].signal == n)
            atomic_fetch_sub(&s->entries[i].queued, 1);
    return n;
}

void weft_signals_close(struct weft_signals **ret)
{
    struct weft_signals *s = *ret;
    if (s == NULL)
        return;
    *ret = NULL;
    if (WEFT__UNLIKELY(weft__sim_proc != NULL)) {
        sim_unwatch(s, s->n);
    } else {
        pthread_mutex_lock(&table_lock);
        forget(s, s->n);
        pthread_mutex_unlock(&table_lock);
    }
    if (s->waiter == NULL) {
        signals_free(s);
        return;
    }
    s->closed = true;
    if (s->waiter->kind == WEFT__FLOW_TASK && s->waiter->wait != NULL)
        weft__wait_abort(s->waiter->wait, -ECANCELED);
}
