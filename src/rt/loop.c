/* SPDX-License-Identifier: MIT */
/*
 * The event loop: one turn runs what is ready, sends joined writes, does what nobody is to wait for
 * (later.c), waits in the driver, then hands out messages from other threads and timers.
 *
 * Floor 2. Invariants: the loop belongs to the thread that opened it; between turns nothing of it
 * runs; a turn with work left over never blocks; when the loop is freed it has no member, no
 * operation under way, and no other thread is inside weft__loop_remote.
 */
#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/alloc.h"
#include "rt/handle.h"
#include "sys/call.h"
#include "sys/sim/calls.h"
#include "sys/sim/world.h"

#define RUNS_PER_TURN 512
#define TASKS_DEFAULT 1100000
#define POSTS_DEFAULT 4096

/* --- A turn ----------------------------------------------------------------------------------- */

void weft__loop_enter(struct weft_loop *l)
{
    l->outer = weft__flow_current;
    l->outer_detail = weft__detail_slot;
    weft__flow_current = &l->callback;
    weft__detail_slot = &l->callback.detail;
}

void weft__loop_leave(struct weft_loop *l)
{
    weft__flow_current = l->outer;
    weft__detail_slot = l->outer_detail;
}

void weft__loop_remote(struct weft_loop *l, struct weft__remote *r)
{
    /* Counted, so that the loop is not freed between the push, which may end its last member, and
     * the wake. The caller vouches for the loop until the push. */
    atomic_fetch_add(&l->remote_users, 1);
    if (weft__mpsc_push(&l->remotes, &r->link))
        weft__sys_wake(l->sys);
    atomic_fetch_sub(&l->remote_users, 1);
}

static void run_ready(struct weft_loop *l)
{
    l->runs_left = RUNS_PER_TURN;
    if (WEFT__UNLIKELY(l->shuffled))
        weft__loop_shuffle(l);
    while (l->runs_left > 0) {
        l->runs_left--; /* here, as tasks that pass on to one another count it down, too */
        struct weft__slink *n = weft__queue_pop_front(&l->ready);
        if (n == NULL)
            return;
        struct weft__run *r = WEFT__CONTAINER_OF(n, struct weft__run, link);
        r->fn(r);
    }
}

static void run_before_wait(struct weft_loop *l)
{
    struct weft__queue q = l->before_wait;
    struct weft__slink *n;
    weft__queue_init(&l->before_wait);
    while ((n = weft__queue_pop_front(&q)) != NULL) {
        struct weft__before_wait *b = WEFT__CONTAINER_OF(n, struct weft__before_wait, link);
        b->fn(b);
    }
}

static void run_remotes(struct weft_loop *l)
{
    struct weft__queue q = {NULL, NULL};
    struct weft__slink *n;
    if (weft__mpsc_empty(&l->remotes))
        return;
    weft__mpsc_take(&l->remotes, &q);
    while ((n = weft__queue_pop_front(&q)) != NULL) {
        struct weft__remote *r = WEFT__CONTAINER_OF(n, struct weft__remote, link);
        l->posts++;
        r->fn(r);
    }
}

static void run_alarms(struct weft_loop *l)
{
    struct weft__list expired;
    struct weft__node *n;
    if (weft__wheel_next_ns(&l->wheel) > l->now_ns)
        return;
    weft__list_init(&expired);
    weft__wheel_advance(&l->wheel, l->now_ns, &expired);
    while ((n = weft__list_pop_front(&expired)) != NULL) {
        struct weft__alarm *a = WEFT__CONTAINER_OF(weft__timer_of(n), struct weft__alarm, timer);
        a->fn(a);
    }
}

/* Whether anything lives in the root group, or in one that a callback has opened. */
static bool alive(const struct weft_loop *l)
{
    if (WEFT__LIKELY(l->root.live > 0))
        return true;
    WEFT__LIST_EACH(&l->callback.groups, node)
        if (WEFT__CONTAINER_OF(node, struct weft_group, link)->live > 0)
            return true;
    return false;
}

static void turn(struct weft_loop *l, int64_t until_ns)
{
    l->turns++;
    run_ready(l);
    run_before_wait(l);
    if (WEFT__UNLIKELY(weft__loop_later_due(l))) {
        weft__loop_run_later(l);
        run_before_wait(l);
    }
    if (weft__loop_has_more(l) || !alive(l) || (l->main_task != NULL && l->main_task->flow == NULL))
        until_ns = 0; /* more to do, or what the loop was run for has ended */
    else
        until_ns = weft__min_i64(until_ns, weft__max_i64(weft__wheel_next_ns(&l->wheel), 0));
    weft__loop_mark(l, l->sys->completions);
    int err = weft__sys_wait(l->sys, until_ns);
    weft__loop_mark(l, WEFT__AT_WORK);
    if (err < 0)
        weft__log_printf(&l->log, WEFT_LOG_ERROR, "driver %s: wait failed: %s",
                         l->sys->driver->name, weft_error_text(err));
    l->now_ns = weft__clock_ns();
    run_remotes(l);
    run_alarms(l);
}

bool weft__loop_turn(struct weft_loop *l, int64_t until_ns)
{
    WEFT__ASSERT(!l->in_turn);
    l->in_turn = true;
    weft__loop_mark(l, WEFT__AT_WORK);
    weft__loop_enter(l);
    if (WEFT__UNLIKELY(l->ending) && l->root.live == 0 && !weft__flow_canceled(&l->callback))
        weft__flow_cancel(&l->callback); /* what callbacks have opened, and will open */
    turn(l, alive(l) ? until_ns : 0);
    weft__loop_leave(l);
    weft__loop_mark(l, WEFT__NOT_RUN);
    l->in_turn = false;
    return alive(l) || !weft__queue_empty(&l->ready);
}

/* --- Opening and closing ---------------------------------------------------------------------- */

void weft__loop_cancel(struct weft_loop *l)
{
    l->ending = true;
    weft_group_cancel(&l->root);
    if (!l->in_turn)
        weft__loop_arm_embedding(l);
}

static void cancel_by_thread(struct weft__remote *r)
{
    weft__loop_cancel(WEFT__CONTAINER_OF(r, struct weft_loop, cancel_root));
}

static void defaults(struct weft_loop *l, const struct weft_options *o)
{
    if (o != NULL)
        l->options = *o;
    if (l->options.name == NULL)
        l->options.name = "loop";
    if (l->options.sigquit_tree)
        l->options.visible = true;
    l->log = (struct weft__log){l->options.log, l->options.log_arg};
    l->tasks_max = l->options.max_tasks > 0 ? l->options.max_tasks : TASKS_DEFAULT;
    l->posts_max = l->options.post_capacity > 0 ? l->options.post_capacity : POSTS_DEFAULT;
}

/* A group that a callback opened and nobody closed, or NULL. */
static struct weft_group *left_open(struct weft_loop *l)
{
    WEFT__LIST_EACH(&l->callback.groups, node) {
        struct weft_group *g = WEFT__CONTAINER_OF(node, struct weft_group, link);
        if (g != &l->root && !g->by_hand)
            return g;
    }
    return NULL;
}

/* The same is done for a task when it ends. Their members have ended. */
static void close_orphans(struct weft_loop *l)
{
    struct weft_group *g;
    while ((g = left_open(l)) != NULL) {
        weft__log_printf(&l->log, WEFT_LOG_WARNING,
                         "a callback opened a group that was open still when the loop ended");
        (void)weft_group_close(&g);
    }
}

static void loop_free(struct weft_loop *l)
{
    struct weft__node *n;
    weft__debug_leave(l);
    while ((n = weft__list_pop_back(&l->services)) != NULL) {
        struct weft__service *s = WEFT__CONTAINER_OF(n, struct weft__service, link);
        s->close(s);
    }
    while (atomic_load(&l->remote_users) > 0)
        sched_yield(); /* someone is between push and wake: a few instructions */
    weft__group_fini(&l->root);
    if (l->embed_timer >= 0)
        close(l->embed_timer);
    if (l->embed_fd >= 0)
        close(l->embed_fd);
    weft__stack_pool_close(l->stacks);
    weft__handle_free_spares(l);
    if (l->sys != NULL)
        l->sys->driver->close(l->sys);
    weft__ctx_fini(&l->main);
    weft__free(l->callback.detail);
    weft__free(l);
}

/* What looks at a loop from outside, and acts on the real process, is not for a simulated one. */
static bool wants_see(const struct weft_loop *l)
{
    const struct weft_options *o = &l->options;
    return weft__sim_proc == NULL && (o->visible || o->watchdog_ms > 0 || o->report_overflow);
}

int weft__loop_open(struct weft_loop **ret, const struct weft_options *o)
{
    const struct weft__driver *driver;
    struct weft_loop *l = weft__calloc(1, sizeof *l);
    int err;
    if (l == NULL)
        return -ENOMEM;
    defaults(l, o);
    l->embed_fd = -1;
    l->embed_timer = -1;
    l->thread = pthread_self();
    l->cancel_root.fn = cancel_by_thread;
    weft__list_init(&l->later);
    weft__list_init(&l->later_pooled);
    l->works_max = SIZE_MAX;
    weft__list_init(&l->services);
    weft__list_init(&l->connections);
    weft__mpsc_init(&l->remotes);
    weft__ctx_adopt(&l->main);
    weft__flow_init(&l->callback, WEFT__FLOW_CALLBACK, l);
    l->callback.name = "callback";
    weft__group_init(&l->root, &l->callback, l);
    l->now_ns = weft__clock_ns();
    weft__wheel_init(&l->wheel, l->now_ns);
    weft__debug_enter(l);

    err = weft__driver_choose(&driver, l->options.driver);
    if (err == 0)
        err = driver->open(&l->sys, &(struct weft__sys_options){.cancel_fd = -1});
    if (err == 0)
        err = weft__stack_pool_open(&l->stacks, l->options.stack_size, 0);
    if (err == 0 && wants_see(l))
        err = weft__see_open(l);
    if (err < 0) {
        loop_free(l);
        return err;
    }
    *ret = l;
    return 0;
}

int weft_loop_open(struct weft_loop **ret, const struct weft_options *o)
{
    if (weft__sim_proc != NULL)
        return weft__sim_refuse("weft_loop_open");
    return weft__loop_open(ret, o);
}

void weft_loop_close(struct weft_loop **ret)
{
    struct weft_loop *l = *ret;
    if (l == NULL)
        return;
    weft__loop_cancel(l);
    while (weft__loop_turn(l, INT64_MAX)) {
    }
    /* Ends that members left for the next turn: closes of connections, last messages. */
    while (l->sys->in_flight > 0 || !weft__queue_empty(&l->ready))
        (void)weft__loop_turn(l, 0);
    close_orphans(l);
    loop_free(l);
    *ret = NULL;
}

/* --- weft_run --------------------------------------------------------------------------------- */

/*
 * The thread of a group that runs a loop passes its own cancel on to it; one within a shield that
 * was open before passes it on when the shield ends.
 */
struct link {
    struct weft__alarm shield_end;
    struct weft__thread *thread; /* NULL: not a group's */
    struct weft_loop *loop;
};

/* Whether a cancel of the thread is to reach its loop now. Under the lock. */
static bool passes_on(const struct weft__flow *f)
{
    return atomic_load_explicit(&f->canceled, memory_order_relaxed) &&
           (f->shields == 0 || weft__clock_ns() >= f->shield_ns);
}

static void shield_ended(struct weft__alarm *a)
{
    struct link *k = WEFT__CONTAINER_OF(a, struct link, shield_end);
    pthread_mutex_lock(&weft__tree_lock);
    bool canceled = passes_on(&k->thread->flow); /* from here on a cancel comes by itself */
    pthread_mutex_unlock(&weft__tree_lock);
    if (canceled)
        weft__loop_cancel(k->loop);
}

static void link_to_thread(struct link *k, struct weft__flow *outer, struct weft_loop *l)
{
    *k = (struct link){.shield_end.fn = shield_ended, .loop = l};
    if (outer->kind != WEFT__FLOW_THREAD || outer->member.group == NULL)
        return;
    k->thread = weft__thread_of(outer);
    pthread_mutex_lock(&weft__tree_lock);
    k->thread->inner = l;
    bool canceled = passes_on(outer);
    pthread_mutex_unlock(&weft__tree_lock);
    if (canceled)
        weft__loop_cancel(l);
    else if (outer->shields > 0)
        weft__loop_alarm(l, &k->shield_end, outer->shield_ns);
}

static void unlink_from_thread(struct link *k)
{
    if (k->thread == NULL)
        return;
    weft__loop_alarm_del(k->loop, &k->shield_end);
    pthread_mutex_lock(&weft__tree_lock);
    k->thread->inner = NULL;
    pthread_mutex_unlock(&weft__tree_lock);
}

/* What the main task has left; its handle is given back. */
static int take_result(struct weft_task **main_task, struct weft__detail **detail)
{
    int result = (*main_task)->result;
    *detail = (*main_task)->detail;
    (*main_task)->detail = NULL;
    weft_task_release(main_task);
    return result;
}

static void tell_detail(struct weft__detail *detail)
{
    if (detail != NULL)
        weft__error_detail("%s", detail->text);
    weft__free(detail);
}

/* A simulated host has one loop; on it the task stands in for one of its own. */
static int run_in_host(struct weft__flow *outer, weft_fn fn, void *arg)
{
    struct weft_group *g = NULL;
    struct weft_task *main_task = NULL;
    struct weft__detail *detail = NULL;
    int err = weft_group_open(&g);
    if (err < 0)
        return err;
    g->canceled = false; /* also when it is cancelled, fn begins, as it would elsewhere */
    err = weft__task_spawn(
        g,
        &(struct weft__spawn){
            .fn = fn, .arg = arg, .name = "main", .site = "weft_run", .keep_errors = true},
        &main_task);
    if (err == 0) {
        if (weft__flow_canceled(outer))
            weft_group_cancel(g);
        weft__group_join(g);
        err = take_result(&main_task, &detail);
    }
    int closed = weft_group_close(&g);
    WEFT__ASSERT(closed == 0);
    tell_detail(detail);
    return err;
}

int weft_run(const struct weft_options *o, weft_fn fn, void *arg)
{
    struct weft__flow *outer = weft__flow_self();
    struct weft_loop *l = NULL;
    struct weft_task *main_task = NULL;
    struct weft__detail *detail;
    struct link to_thread;
    int result;

    if (fn == NULL)
        return weft__fail(-EINVAL, "no function to run");
    if (outer->kind == WEFT__FLOW_CALLBACK)
        return weft__fail(-EDEADLK, "weft_run in a callback would stop the loop");
    if (WEFT__UNLIKELY(weft__sim_proc != NULL) && outer->kind == WEFT__FLOW_TASK)
        return run_in_host(outer, fn, arg);
    int err = weft_loop_open(&l, o);
    if (err < 0)
        return err;
    err = weft__task_spawn(
        &l->root,
        &(struct weft__spawn){
            .fn = fn, .arg = arg, .name = "main", .site = "weft_run", .keep_errors = true},
        &main_task);
    if (err < 0) {
        loop_free(l);
        return err;
    }
    l->main_task = main_task;
    link_to_thread(&to_thread, outer, l);
    while (main_task->flow != NULL)
        (void)weft__loop_turn(l, INT64_MAX);
    l->main_task = NULL;
    unlink_from_thread(&to_thread);
    result = take_result(&main_task, &detail);
    weft_loop_close(&l);
    tell_detail(detail);
    return result;
}

/* --- Embedding -------------------------------------------------------------------------------- */

int weft_loop_fd(struct weft_loop *l)
{
    if (l->embed_fd >= 0)
        return l->embed_fd;
    if (weft__sim_proc != NULL)
        return weft__sim_refuse("weft_loop_fd");
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    int fd = weft__poll_set_open(l->sys->driver->fd(l->sys), timer);
    if (timer < 0 || fd < 0) {
        int err = fd < 0 ? fd : -errno;
        if (timer >= 0)
            close(timer);
        if (fd >= 0)
            close(fd);
        return err;
    }
    l->embed_timer = timer;
    l->embed_fd = fd;
    weft__loop_arm_embedding(l);
    return fd;
}

void weft__loop_arm_embedding(struct weft_loop *l)
{
    if (l->embed_timer < 0) {
        if (WEFT__UNLIKELY(l->sys->driver == &weft__driver_sim))
            weft__sys_wake(l->sys);
        return;
    }
    int64_t next = weft__wheel_next_ns(&l->wheel);
    struct itimerspec it = {0};
    if (weft__loop_has_more(l))
        next = 1; /* long past: readable at once */
    if (next != INT64_MAX) {
        next = weft__max_i64(next, 1); /* 0 would disarm it */
        it.it_value.tv_sec = (time_t)(next / 1000000000);
        it.it_value.tv_nsec = (long)(next % 1000000000);
    }
    (void)timerfd_settime(l->embed_timer, TFD_TIMER_ABSTIME, &it, NULL);
}

int weft_loop_step(struct weft_loop *l, weft_deadline d)
{
    if (!pthread_equal(l->thread, pthread_self()))
        return weft__fail(WEFT_ETHREAD, "the loop belongs to another thread");
    if (l->in_turn)
        return weft__fail(-EDEADLK, "weft_loop_step inside the loop's own task or callback");
    bool live = weft__loop_turn(l, d.ns);
    /* What the wait brought runs in this step, not the next. */
    if (!weft__queue_empty(&l->ready))
        live = weft__loop_turn(l, 0);
    weft__loop_arm_embedding(l);
    return live ? 1 : 0;
}

struct weft_group *weft_loop_group(struct weft_loop *l)
{
    return &l->root;
}

/* --- Facts ------------------------------------------------------------------------------------ */

struct weft_loop *weft_loop_current(void)
{
    return weft__flow_current != NULL ? weft__flow_current->loop : NULL;
}

const char *weft_driver_name(void)
{
    struct weft_loop *l = weft_loop_current();
    return l != NULL ? l->sys->driver->name : weft__driver_block.name;
}

int weft_loop_stats(struct weft_loop *l, struct weft_loop_stats *ret)
{
    if (!pthread_equal(l->thread, pthread_self()))
        return weft__fail(WEFT_ETHREAD, "the loop belongs to another thread");
    *ret = (struct weft_loop_stats){
        .turns = l->turns,
        .completions = l->sys->completions,
        .switches = l->switches,
        .tasks_started = l->tasks_started,
        .tasks_live = l->tasks_live,
        .posts = l->posts,
        .allocations = weft__alloc_count(),
    };
    return 0;
}
