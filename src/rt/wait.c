/* SPDX-License-Identifier: MIT */
/*
 * The wait core: how a flow stands still and goes on again, and how an operation is awaited.
 *
 * Floor 2. Invariants as in rt.h. This file knows tasks and threads, and nothing of channels,
 * locks or streams; they know nothing of scheduling.
 */
#include <errno.h>

#include "rt/rt.h"

/* A cancelled task that keeps calling all the same is made to yield after so many refusals. */
#define REFUSALS_BEFORE_YIELD 64
#define REFUSALS_BEFORE_LOG 1024

/* Results at once that a task may have between two switches. */
#define BUDGET 64

void (*weft__wait_hook)(struct weft__flow *f, struct weft__wait *w, bool begins);

static int refuse(struct weft__flow *f)
{
    f->refused++;
    if (f->kind == WEFT__FLOW_TASK && f->refused % REFUSALS_BEFORE_YIELD == 0) {
        struct weft__task *t = weft__task_of(f);
        if (f->refused == REFUSALS_BEFORE_LOG)
            weft__log_printf(&f->loop->log, WEFT_LOG_WARNING,
                             "task '%s' (%s) is cancelled and keeps calling: %u refusals", f->name,
                             f->site, f->refused);
        weft__loop_ready(f->loop, &t->run);
        weft__task_switch_away(f->loop, t);
    }
    return -ECANCELED;
}

int weft__wait_check(void)
{
    struct weft__flow *f = weft__flow_self();
    if (WEFT__UNLIKELY(f->kind == WEFT__FLOW_CALLBACK))
        return weft__fail(-EDEADLK, "a callback on the loop may not wait");
    if (WEFT__UNLIKELY(weft__wait_hook != NULL))
        weft__wait_hook(f, NULL, true);
    if (WEFT__UNLIKELY(atomic_load_explicit(&f->canceled, memory_order_relaxed))) {
        if (f->shields == 0 || weft_now_ns() >= f->shield_ns)
            return refuse(f);
    }
    return 0;
}

static void wait_late(struct weft__alarm *a)
{
    struct weft__wait *w = WEFT__CONTAINER_OF(a, struct weft__wait, alarm);
    weft__wait_abort(w, w->late);
}

void weft__wait_abort(struct weft__wait *w, int why)
{
    if (w->ended || w->why != 0 || w->abort == NULL)
        return;
    w->why = why;
    w->abort(w, why);
}

void weft__wait_alarm(struct weft_loop *l, struct weft__wait *w)
{
    w->alarm.fn = wait_late;
    weft__loop_alarm(l, &w->alarm, weft__max_i64(w->until_ns, 0));
}

int weft__wait_block(struct weft__wait *w, weft_deadline d)
{
    struct weft__flow *f = w->flow;
    w->until_ns = d.ns;
    w->late = -ETIMEDOUT;
    if (WEFT__UNLIKELY(f->shields > 0) && f->shield_ns < w->until_ns &&
        atomic_load_explicit(&f->canceled, memory_order_relaxed)) {
        w->until_ns = f->shield_ns;
        w->late = -ECANCELED;
    }
    if (f->kind == WEFT__FLOW_THREAD)
        return weft__thread_block(weft__thread_of(f), w);

    WEFT__ASSERT(f->kind == WEFT__FLOW_TASK);
    struct weft_loop *l = f->loop;
    struct weft__task *t = weft__task_of(f);
    if (w->abort != NULL && w->until_ns != INT64_MAX)
        weft__wait_alarm(l, w);
    f->wait = w;
    if (WEFT__UNLIKELY(weft__wait_hook != NULL))
        weft__wait_hook(f, w, true);
    weft__task_switch_away(l, t); /* triggered already: then it is in the ready queue */
    WEFT__ASSERT(w->ended);
    if (WEFT__UNLIKELY(weft__wait_hook != NULL))
        weft__wait_hook(f, w, false);
    f->wait = NULL;
    weft__loop_alarm_del(l, &w->alarm);
    return w->result;
}

void weft__wait_trigger(struct weft__wait *w, int result)
{
    struct weft__flow *f = w->flow;
    if (f->kind == WEFT__FLOW_THREAD) {
        weft__thread_trigger(weft__thread_of(f), w, result);
        return;
    }
    WEFT__ASSERT(!w->ended);
    w->ended = true;
    w->result = result;
    weft__loop_ready(f->loop, &weft__task_of(f)->run);
    if (WEFT__UNLIKELY(!f->loop->in_turn))
        weft__loop_arm_embedding(f->loop);
}

void weft__wait_go_on(struct weft__wait *w, int result)
{
    struct weft__flow *f = w->flow;
    WEFT__ASSERT(f->kind == WEFT__FLOW_TASK && f->loop->running == NULL && !w->ended);
    w->ended = true;
    w->result = result;
    weft__task_resume(&weft__task_of(f)->run);
}

void weft__charge(void)
{
    struct weft__flow *f = weft__flow_current;
    if (f == NULL || f->kind != WEFT__FLOW_TASK)
        return;
    struct weft__task *t = weft__task_of(f);
    if (++t->spent < BUDGET)
        return;
    weft__loop_ready(f->loop, &t->run);
    weft__task_switch_away(f->loop, t);
}

/* How much of a parked task's stack is fetched into the cache before it goes on. */
#define WARM_BYTES 512

/*
 * Of a thousand connections none is in the cache when its turn comes. The task runs a little later,
 * behind those that were ready before it: until then its frames and its stream can arrive.
 */
void weft__flow_warm(const struct weft__flow *f)
{
    weft__fetch(weft__task_of((struct weft__flow *)(uintptr_t)f)->ctx.sp, WARM_BYTES);
    weft__fetch(f->near, 3 * (size_t)WEFT__CACHE_LINE);
}

static void io_done(struct weft__op *op)
{
    struct weft__io *io = WEFT__CONTAINER_OF(op, struct weft__io, op);
    weft__flow_warm(io->wait.flow);
    weft__wait_trigger(&io->wait, op->res);
}

static void io_abort(struct weft__wait *w, int why)
{
    struct weft__io *io = WEFT__CONTAINER_OF(w, struct weft__io, wait);
    (void)why; /* kept in the wait */
    weft__sys_cancel(w->flow->loop->sys, &io->op);
}

/*
 * Whether only an attempt is wanted: the alarm strikes in this turn. Of READ and WRITE, which a
 * thread of the kernel may carry out, the clock itself is asked: by that of the turn a deadline of
 * just now would be ahead, and strike before that thread has begun.
 */
static bool at_once(const struct weft__flow *f, const struct weft__op *op, weft_deadline d)
{
    if (WEFT__LIKELY(d.ns == INT64_MAX))
        return false;
    bool file = op->kind == WEFT__OP_READ || op->kind == WEFT__OP_WRITE;
    return weft__flow_late(f, d) || (file && d.ns <= weft_now_ns());
}

int weft__await(struct weft__io *io, const char *what, weft_deadline d)
{
    int err = weft__wait_check();
    if (WEFT__UNLIKELY(err < 0))
        return err;
    struct weft__flow *f = weft__flow_current;
    if (f->kind == WEFT__FLOW_THREAD)
        return weft__thread_await(weft__thread_of(f), io, what, d);
    io->op.flags &= (uint8_t)~WEFT__OP_AT_ONCE;
    if (at_once(f, &io->op, d))
        io->op.flags |= WEFT__OP_AT_ONCE;
    io->op.done = io_done;
    io->op.near = weft__task_of(f);
    if (weft__sys_submit(f->loop->sys, &io->op)) {
        weft__charge();
        return io->op.res;
    }
    weft__wait_init(&io->wait, what, io->op.fd, io_abort);
    int res = weft__wait_block(&io->wait, d);
    if (res == -ECANCELED && io->wait.why != 0)
        res = io->wait.why;
    return res;
}
