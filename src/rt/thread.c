/* SPDX-License-Identifier: MIT */
/*
 * Plain threads as flows: a group's threads, and threads that the program made itself.
 *
 * Floor 2. A thread waits for an operation in its block driver, which polls the descriptor together
 * with a cancel_fd; it waits for anything else on a condition variable. Its waits are aborted by
 * itself, when it finds that it was cancelled or that time is up, so that nobody touches its stack.
 *
 * The cancel_fd is the group's, one for all of its threads, which a cancel of the group makes
 * readable. A thread with a handle can be cancelled alone, so it has one of its own instead, and
 * every cancel that reaches it writes to that.
 *
 * Invariants: lock order is weft__tree_lock, then a thread's own lock. A group's thread touches its
 * group for the last time when it leaves it; each joins the one that ended before it, so at
 * most one ended thread is not joined.
 */
#include <errno.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "rt/handle.h"
#include "sys/call.h"
#include "sys/sim/calls.h"
#include "sys/sim/world.h"

#define THREAD_STACK ((size_t)1 << 20)

/* What a thread that Weft did not start keeps, freed when it ends. */
static _Thread_local struct weft__thread *adopted;
static pthread_key_t adopted_key;
static pthread_once_t adopted_once = PTHREAD_ONCE_INIT;

static void thread_init(struct weft__thread *t)
{
    pthread_condattr_t attr;
    weft__flow_init(&t->flow, WEFT__FLOW_THREAD, NULL);
    t->flow.name = "thread";
    t->cancel_fd = -1;
    t->id = pthread_self();
    pthread_mutex_init(&t->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&t->wake, &attr);
    pthread_condattr_destroy(&attr);
}

static void thread_fini(struct weft__thread *t)
{
    if (t->block != NULL)
        t->block->driver->close(t->block);
    if (t->spare != NULL)
        t->spare_free(t->spare);
    if (t->own_cancel_fd)
        close(t->cancel_fd);
    pthread_cond_destroy(&t->wake);
    pthread_mutex_destroy(&t->lock);
}

static void adopted_free(void *arg)
{
    struct weft__thread *t = arg;
    if (weft__flow_current == &t->flow)
        weft__flow_current = NULL;
    adopted = NULL;
    thread_fini(t);
    weft__free(t);
}

static void adopted_key_make(void)
{
    (void)pthread_key_create(&adopted_key, adopted_free);
}

/* The main thread runs no key destructors when main returns. */
__attribute__((destructor)) static void adopted_at_exit(void)
{
    if (adopted != NULL) {
        struct weft__thread *t = adopted;
        pthread_setspecific(adopted_key, NULL);
        adopted_free(t);
    }
}

struct weft__flow *weft__flow_adopt(void)
{
    pthread_once(&adopted_once, adopted_key_make);
    struct weft__thread *t = weft__calloc(1, sizeof *t);
    /* A few hundred bytes, once a thread, in calls that have no way to say that they failed. */
    WEFT__ASSERT(t != NULL);
    thread_init(t);
    adopted = t;
    pthread_setspecific(adopted_key, t);
    weft__flow_current = &t->flow;
    return &t->flow;
}

/* --- Waiting ---------------------------------------------------------------------------------- */

static bool must_stop(const struct weft__thread *t, struct weft__wait *w, int *why)
{
    if (w->abort == NULL || w->why != 0)
        return false;
    if (atomic_load_explicit(&t->flow.canceled, memory_order_relaxed)) {
        if (t->flow.shields == 0) {
            *why = -ECANCELED;
            return true;
        }
        if (t->flow.shield_ns < w->until_ns) { /* cancelled meanwhile: not beyond the shield */
            w->until_ns = t->flow.shield_ns;
            w->late = -ECANCELED;
        }
    }
    *why = w->late;
    return w->until_ns != INT64_MAX && weft__clock_ns() >= w->until_ns;
}

int weft__thread_block(struct weft__thread *t, struct weft__wait *w)
{
    int why = 0;
    pthread_mutex_lock(&t->lock);
    t->flow.wait = w;
    while (!w->ended) {
        if (must_stop(t, w, &why)) {
            w->why = why;
            pthread_mutex_unlock(&t->lock);
            w->abort(w, why);
            pthread_mutex_lock(&t->lock);
            continue;
        }
        if (w->abort == NULL || w->why != 0 || w->until_ns == INT64_MAX) {
            pthread_cond_wait(&t->wake, &t->lock);
        } else {
            struct timespec ts = {.tv_sec = (time_t)(w->until_ns / 1000000000),
                                  .tv_nsec = (long)(w->until_ns % 1000000000)};
            pthread_cond_timedwait(&t->wake, &t->lock, &ts);
        }
    }
    t->flow.wait = NULL;
    pthread_mutex_unlock(&t->lock);
    return w->result;
}

void weft__thread_trigger(struct weft__thread *t, struct weft__wait *w, int result)
{
    pthread_mutex_lock(&t->lock);
    WEFT__ASSERT(!w->ended);
    w->ended = true;
    w->result = result;
    pthread_cond_signal(&t->wake);
    pthread_mutex_unlock(&t->lock);
}

struct weft__sys *weft__thread_sys(struct weft__thread *t, int *err)
{
    if (t->block == NULL) {
        struct weft__sys_options o = {.cancel_fd = t->cancel_fd};
        *err = weft__driver_block.open(&t->block, &o);
    }
    return t->block;
}

int weft__thread_await(struct weft__thread *t, struct weft__io *io, const char *what,
                       weft_deadline d)
{
    int err = 0;
    struct weft__sys *sys = weft__thread_sys(t, &err);
    struct weft__op *op = &io->op;
    if (sys == NULL)
        return err;
    op->until_ns = d.ns;
    op->flags &= (uint8_t)~WEFT__OP_SHIELDED;
    if (t->flow.shields > 0) {
        op->flags |= WEFT__OP_SHIELDED;
        op->shield_ns = t->flow.shield_ns;
    }
    weft__wait_init(&io->wait, what, op->fd, NULL);
    io->wait.until_ns = d.ns;
    pthread_mutex_lock(&t->lock);
    t->flow.wait = &io->wait; /* for the tree only */
    pthread_mutex_unlock(&t->lock);
    bool ended = weft__sys_submit(sys, op);
    WEFT__ASSERT(ended);
    pthread_mutex_lock(&t->lock);
    t->flow.wait = NULL;
    pthread_mutex_unlock(&t->lock);
    return op->res;
}

/* --- A group's threads ------------------------------------------------------------------------ */

/* Makes an eventfd readable, for good: nobody reads it. */
static void set_event(int fd)
{
    ssize_t ignored = write(fd, &(uint64_t){1}, sizeof(uint64_t));
    (void)ignored; /* one that is full is readable, which is what matters */
}

void weft__flow_cancel_locked(struct weft__flow *f)
{
    struct weft__thread *t = weft__thread_of(f);
    struct weft__queue more = {NULL, NULL};
    atomic_store_explicit(&f->canceled, true, memory_order_relaxed);
    pthread_mutex_lock(&t->lock);
    pthread_cond_signal(&t->wake);
    pthread_mutex_unlock(&t->lock);
    if (t->own_cancel_fd)
        set_event(t->cancel_fd);
    bool shielded = f->shields > 0 && weft__clock_ns() < f->shield_ns; /* see loop.c for its end */
    if (t->inner != NULL && !shielded && !atomic_exchange(&t->inner->cancel_posted, true))
        weft__loop_remote(t->inner, &t->inner->cancel_root);
    weft__flow_push_groups(f, &more);
    weft__group_cancel_queue(&more);
}

/* In a thread's group the caller holds the lock; a loop's group takes it for what lies below. */
static void thread_cancel(struct weft__member *m, struct weft__queue *more)
{
    struct weft__flow *f = WEFT__CONTAINER_OF(m, struct weft__flow, member);
    (void)more; /* threads nest a few deep at most */
    if (m->group->loop != NULL)
        weft__flow_cancel(f);
    else
        weft__flow_cancel_locked(f);
}

static const struct weft__member_class thread_class = {
    .kind = "thread",
    .cancel = thread_cancel,
    .tree = weft__tree_flow,
};

/* On the group's loop, or (loop NULL) on the thread itself under the lock. */
static void thread_left(struct weft__thread *t)
{
    weft__flow_ended(&t->flow, t->result);
}

static void thread_gone(struct weft__remote *r)
{
    struct weft__thread *t = WEFT__CONTAINER_OF(r, struct weft__thread, gone);
    thread_left(t);
    thread_fini(t);
    weft__free(t);
}

static void *thread_main(void *arg)
{
    struct weft__thread *t = arg;
    struct weft_group *g = t->flow.member.group;
    struct weft_loop *l = g->loop;
    struct weft__sys *block;
    pthread_t zombie;

    weft__flow_current = &t->flow;
    weft__detail_slot = &t->flow.detail;
    t->result = weft__flow_run(&t->flow);
    weft__flow_current = NULL;
    weft__detail_slot = NULL;
    block = t->block;
    t->block = NULL;
    if (block != NULL)
        block->driver->close(block); /* here: a driver is closed by the thread that opened it */

    pthread_mutex_lock(&weft__tree_lock);
    bool reap = g->has_zombie;
    zombie = g->zombie;
    g->zombie = pthread_self();
    g->has_zombie = true;
    if (l == NULL) {
        weft__detail_slot = &t->flow.detail; /* leaving keeps the error's detail */
        thread_left(t);
    }
    pthread_mutex_unlock(&weft__tree_lock);
    if (l == NULL) {
        thread_fini(t);
        weft__free(t);
    } else {
        weft__loop_remote(l, &t->gone); /* the last touch of t and of the group's loop */
    }
    if (reap)
        pthread_join(zombie, NULL);
    return NULL;
}

static int start(struct weft__thread *t)
{
    pthread_attr_t attr;
    sigset_t all, before;
    int err = pthread_attr_init(&attr);
    if (err != 0)
        return -err;
    pthread_attr_setstacksize(&attr, THREAD_STACK);
    sigfillset(&all); /* signals are for the program's own threads, but for a thread's own faults */
    static const int faults[] = {SIGSEGV, SIGBUS,  SIGFPE, SIGILL,
                                 SIGTRAP, SIGABRT, SIGSYS, SIGPROF};
    for (size_t i = 0; i < WEFT__ARRAY_LEN(faults); i++)
        sigdelset(&all, faults[i]);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    err = pthread_create(&t->id, &attr, thread_main, t);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attr);
    return -err;
}

/* The group's cancel_fd, made with its first thread, which any member may start. */
static int cancel_fd(struct weft_group *g)
{
    pthread_mutex_lock(&weft__tree_lock);
    if (g->cancel_fd < 0) {
        int fd = weft__call_eventfd();
        if (fd >= 0 && g->canceled)
            set_event(fd); /* a cancel that came before it is to be seen */
        g->cancel_fd = fd >= 0 ? fd : -1;
        pthread_mutex_unlock(&weft__tree_lock);
        return fd;
    }
    int fd = g->cancel_fd;
    pthread_mutex_unlock(&weft__tree_lock);
    return fd;
}

int weft__thread_spawn(struct weft_group *g, const struct weft__spawn *s, struct weft_task **ret)
{
    if (weft__sim_proc != NULL)
        return weft__sim_refuse("a thread of a group");
    struct weft__thread *t = weft__calloc(1, sizeof *t + s->copy + 16);
    struct weft_task *h = ret != NULL ? weft__calloc(1, sizeof *h) : NULL;
    int err = -ENOMEM;
    if (t == NULL || (ret != NULL && h == NULL))
        goto fail;
    err = h != NULL ? weft__call_eventfd() : cancel_fd(g);
    if (err < 0)
        goto fail;
    thread_init(t);
    t->cancel_fd = err;
    t->own_cancel_fd = h != NULL;
    t->gone.fn = thread_gone;
    t->flow.fn = s->fn;
    t->flow.arg = s->arg;
    if (s->copy > 0) {
        t->flow.arg = (void *)(((uintptr_t)(t + 1) + 15) & ~(uintptr_t)15);
        memcpy(t->flow.arg, s->arg, s->copy);
    }
    t->flow.name = s->name != NULL ? s->name : "thread";
    t->flow.site = s->site != NULL ? s->site : "?";
    t->flow.keep_errors = s->keep_errors;
    t->flow.handle = h;
    err = weft__group_enter(g, &t->flow.member, &thread_class);
    if (err < 0)
        goto fail_init;
    if (h != NULL) {
        h->flow = &t->flow;
        h->locked = g->loop == NULL;
    }
    err = start(t);
    if (err == 0) {
        if (h != NULL)
            *ret = h;
        return 0;
    }
    t->flow.handle = NULL;
    if (g->loop == NULL)
        pthread_mutex_lock(&weft__tree_lock);
    weft__group_leave(&t->flow.member, 0, true);
    if (g->loop == NULL)
        pthread_mutex_unlock(&weft__tree_lock);
    err = weft__fail(err, "no thread to be had: %s", weft_error_text(err));
fail_init:
    thread_fini(t);
fail:
    weft__free(h);
    weft__free(t);
    return err;
}
