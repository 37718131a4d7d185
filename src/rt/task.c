/* SPDX-License-Identifier: MIT */
/*
 * Tasks: stackful coroutines of a loop. Spawn, switch, end, yield, cancel.
 *
 * Floor 2. A task's struct and the copy of its argument lie at the top of its own stack, so a
 * parked task costs one page. Invariants: a task's stack is never given back by the task that
 * stands on it (whoever runs next does); a task is in the ready queue at most once (it is there, or
 * runs, or waits).
 */
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "rt/handle.h"

#define COPY_MAX 1024

static void task_cancel(struct weft__member *m, struct weft__queue *more)
{
    struct weft__flow *f = WEFT__CONTAINER_OF(m, struct weft__flow, member);
    atomic_store_explicit(&f->canceled, true, memory_order_relaxed);
    weft__flow_push_groups(f, more);
    struct weft__wait *w = f->wait;
    if (w == NULL)
        return;
    if (f->shields == 0) {
        weft__wait_abort(w, -ECANCELED);
        return;
    }
    if (w->abort != NULL && !w->ended && w->why == 0 && f->shield_ns < w->until_ns) {
        /* It may go on waiting, but not beyond its shield. */
        w->until_ns = f->shield_ns;
        w->late = -ECANCELED;
        weft__loop_alarm_del(f->loop, &w->alarm);
        weft__wait_alarm(f->loop, w);
    }
}

const struct weft__member_class weft__task_class = {
    .kind = "task",
    .cancel = task_cancel,
    .tree = weft__tree_flow,
};

void weft__flow_cancel(struct weft__flow *f)
{
    struct weft__queue more = {NULL, NULL};
    if (f->kind == WEFT__FLOW_THREAD) {
        pthread_mutex_lock(&weft__tree_lock);
        weft__flow_cancel_locked(f);
        pthread_mutex_unlock(&weft__tree_lock);
        return;
    }
    task_cancel(&f->member, &more);
    weft__group_cancel_queue(&more);
}

/* t is what runs now. */
static inline void enter(struct weft_loop *l, struct weft__task *t)
{
    l->running = t;
    l->switches++;
    weft__loop_busy(l, t);
    t->spent = 0;
    weft__flow_current = &t->flow;
    weft__detail_slot = &t->flow.detail;
}

/* The task that is next in the ready queue, taken out; NULL when something else is next. */
static inline struct weft__task *next_task(struct weft_loop *l)
{
    struct weft__slink *n = l->ready.first;
    if (n == NULL || l->runs_left == 0)
        return NULL;
    struct weft__run *r = WEFT__CONTAINER_OF(n, struct weft__run, link);
    if (r->fn != weft__task_resume)
        return NULL;
    weft__queue_pop_front(&l->ready);
    l->runs_left--;
    return WEFT__CONTAINER_OF(r, struct weft__task, run);
}

/* Gives the stack of a task that ended just before back; called off that stack. */
void weft__task_reap(struct weft_loop *l)
{
    struct weft__task *t = l->dead;
    struct weft__stack *stack = t->stack;
    l->dead = NULL;
    weft__ctx_fini(&t->ctx);
    weft__stack_put(l->stacks, stack);
}

static inline void reap(struct weft_loop *l)
{
    if (WEFT__UNLIKELY(l->dead != NULL))
        weft__task_reap(l);
}

static void task_main(void *arg)
{
    struct weft__task *t = arg;
    struct weft_loop *l = t->flow.loop;
    reap(l);
    t->begun = true;
    int result = weft__flow_run(&t->flow);
    if (WEFT__UNLIKELY(l->watched))
        weft__loop_unbusy(l);
    weft__flow_ended(&t->flow, result);
    l->tasks_live--;
    l->dead = t;
    struct weft__task *next = next_task(l);
    if (next != NULL)
        enter(l, next);
    weft__ctx_switch_final(&t->ctx, next != NULL ? &next->ctx : &l->main);
}

void weft__task_switch_away(struct weft_loop *l, struct weft__task *t)
{
    /* Straight to the next task, if there is one: half the switches of a way over the loop, and
     * returns that the processor predicts. The loop's own context stays in weft__task_resume. */
    struct weft__task *next = next_task(l);
    if (next != NULL) {
        enter(l, next);
        if (next == t)
            return;
        weft__ctx_switch(&t->ctx, &next->ctx);
    } else {
        weft__ctx_switch(&t->ctx, &l->main);
    }
    reap(l);
    while (WEFT__UNLIKELY(t->peeked)) {
        t->peeked = false;
        t->peek(t);
        weft__ctx_switch(&t->ctx, &l->main);
        reap(l); /* the next one to come back here may be a task that ended */
    }
}

/* Returns when a task gives the loop its context back: t, or one that it was passed on to. */
void weft__task_resume(struct weft__run *r)
{
    struct weft__task *t = WEFT__CONTAINER_OF(r, struct weft__task, run);
    struct weft_loop *l = t->flow.loop;
    struct weft__flow *before = weft__flow_current;
    struct weft__detail **detail = weft__detail_slot;
    enter(l, t);
    weft__ctx_switch(&l->main, &t->ctx);
    weft__loop_busy(l, NULL);
    l->running = NULL;
    weft__flow_current = before;
    weft__detail_slot = detail;
    reap(l);
}

/* Room at the top of a stack for the task and a copy of its argument; *top is where calls start. */
static struct weft__task *place(struct weft__stack *stack, const struct weft__spawn *s, void **arg,
                                void **top)
{
    uintptr_t at = (uintptr_t)stack->hi - sizeof(struct weft__task);
    at &= ~(uintptr_t)63;
    struct weft__task *t = (struct weft__task *)at;
    *arg = s->arg;
    if (s->copy > 0) {
        at = (at - s->copy) & ~(uintptr_t)15;
        *arg = (void *)at;
        memcpy(*arg, s->arg, s->copy);
    }
    *top = (void *)(at & ~(uintptr_t)15);
    return t;
}

int weft__task_spawn(struct weft_group *g, const struct weft__spawn *s, struct weft_task **ret)
{
    struct weft_loop *l = g->loop;
    struct weft_task *h = NULL;
    struct weft__stack *stack;
    void *arg, *top;
    int err;

    if (!pthread_equal(l->thread, pthread_self()))
        return weft__fail(WEFT_ETHREAD, "the group belongs to another thread's loop");
    if (l->tasks_live >= l->tasks_max)
        return weft__fail(WEFT_ELIMIT, "max_tasks: %zu tasks live on this loop", l->tasks_live);
    if (ret != NULL) {
        h = weft__handle_new(l);
        if (h == NULL)
            return -ENOMEM;
    }
    err = weft__stack_get(l->stacks, &stack);
    if (err < 0) {
        err = weft__fail(err, "no stack for a task: %s", weft__stack_pool_detail(l->stacks));
        goto fail;
    }
    struct weft__task *t = place(stack, s, &arg, &top);
    weft__flow_init(&t->flow, WEFT__FLOW_TASK, l);
    t->flow.fn = s->fn;
    t->flow.arg = arg;
    t->flow.name = s->name != NULL ? s->name : "task";
    t->flow.site = s->site != NULL ? s->site : "?";
    t->flow.keep_errors = s->keep_errors;
    t->flow.handle = h;
    t->flow.note = s->note;
    t->flow.id = ++l->next_id;
    t->run.fn = weft__task_resume;
    t->stack = stack;
    t->spent = 0;
    t->begun = false;
    t->peeked = false;
    err = weft__group_enter(g, &t->flow.member, &weft__task_class);
    if (err < 0) {
        weft__stack_put(l->stacks, stack);
        goto fail;
    }
    weft__ctx_make(&t->ctx, stack->lo, top, task_main, t);
    if (s->first)
        weft__queue_push_front(&l->ready, &t->run.link);
    else
        weft__loop_ready(l, &t->run);
    l->tasks_live++;
    l->tasks_started++;
    if (!l->in_turn)
        weft__loop_arm_embedding(l);
    if (h != NULL) {
        h->flow = &t->flow;
        *ret = h;
    }
    return 0;
fail:
    weft__free(h);
    return err;
}

static int spawn(struct weft_group *g, const struct weft__spawn *s, struct weft_task **ret)
{
    if (g == NULL || s->fn == NULL)
        return weft__fail(-EINVAL, g == NULL ? "no group" : "no function to run");
    if (s->copy > COPY_MAX)
        return weft__fail(-EINVAL, "an argument of %zu bytes to copy; at most %d", s->copy,
                          COPY_MAX);
    return g->loop != NULL ? weft__task_spawn(g, s, ret) : weft__thread_spawn(g, s, ret);
}

int weft_group_go_at(struct weft_group *g, const char *name, weft_fn fn, void *arg,
                     const char *site)
{
    return spawn(g, &(struct weft__spawn){.fn = fn, .arg = arg, .name = name, .site = site}, NULL);
}

int weft_group_spawn(struct weft_group *g, const struct weft_task_options *o, weft_fn fn, void *arg,
                     struct weft_task **ret)
{
    struct weft__spawn s = {.fn = fn, .arg = arg};
    if (o != NULL) {
        s.name = o->name;
        s.site = o->site;
        s.copy = o->copy;
        s.keep_errors = o->keep_errors;
    }
    return spawn(g, &s, ret);
}

int weft_yield(void)
{
    int err = weft__wait_check();
    if (err < 0)
        return err;
    struct weft__flow *f = weft__flow_current;
    if (f->kind == WEFT__FLOW_THREAD) {
        sched_yield();
        return 0;
    }
    struct weft__task *t = weft__task_of(f);
    weft__loop_ready(f->loop, &t->run);
    weft__task_switch_away(f->loop, t);
    return weft__flow_canceled(f) ? -ECANCELED : 0;
}
