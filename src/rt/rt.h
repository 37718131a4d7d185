/* SPDX-License-Identifier: MIT */
#ifndef WEFT__RT_H
#define WEFT__RT_H
/*
 * The inside of the runtime (floor 2): flows, waits, tasks, groups, loops.
 *
 * A flow is whoever can call: a task, a plain thread, or the loop's callbacks. A wait is one flow
 * standing still, on its own stack. Four verbs are all that channels, locks, joins and I/O use:
 *
 *   weft__wait_check    may this flow wait now? (-EDEADLK, -ECANCELED)
 *   weft__wait_block    stand still until triggered, timed out or cancelled
 *   weft__wait_trigger  let it go on, with a result
 *   weft__wait_abort    ask it to give up: calls its abort function, which must see to a trigger
 *
 * Invariants:
 *  - a wait ends by exactly one trigger; abort only leads to it, so that whoever owned the waiter
 * (the kernel, a channel's list) has let go of its memory by then;
 *  - a task's wait is triggered and aborted on its loop's thread; a thread's wait is triggered from
 *    any thread and aborted by the thread itself;
 *  - runnables run on the loop's thread, first in, first out (in a simulation mostly in an order
 * that the seed decides);
 *  - a member's cancel never waits and never runs user code of a task.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>

#include <weft/error.h>
#include <weft/group.h>
#include <weft/run.h>

#include "base/base.h"
#include "base/error.h"
#include "base/list.h"
#include "base/log.h"
#include "base/mpsc.h"
#include "base/wheel.h"
#include "rt/ctx.h"
#include "rt/stack.h"
#include "sys/sys.h"

struct weft__flow;
struct weft__wait;
struct weft__printer;

/* --- Timers --------------------------------------------------------------------------------- */

/* A timer with what it does; fn runs on the loop's thread, as a callback. */
struct weft__alarm {
    struct weft__timer timer;
    void (*fn)(struct weft__alarm *a);
};

/* --- Waits ---------------------------------------------------------------------------------- */

struct weft__wait {
    struct weft__flow *flow;
    /* Withdraws it; why is -ETIMEDOUT or -ECANCELED. NULL: nothing cuts this wait short. */
    void (*abort)(struct weft__wait *w, int why);
    const char *what; /* for the tree: "read", "lock" ... */
    int64_t until_ns; /* for the tree, and the alarm */
    struct weft__alarm alarm;
    int fd; /* for the tree; -1 */
    int result;
    int late; /* what a time-out means: -ETIMEDOUT, or -ECANCELED at the end of a shield */
    int why;  /* the abort's reason; 0: not aborting */
    bool ended;
};

static inline struct weft__flow *weft__flow_self(void);

static inline void weft__wait_init(struct weft__wait *w, const char *what, int fd,
                                   void (*abort)(struct weft__wait *w, int why))
{
    *w = (struct weft__wait){.flow = weft__flow_self(), .what = what, .fd = fd, .abort = abort};
}

/* 0 when the calling flow may wait, else -EDEADLK or -ECANCELED. */
int weft__wait_check(void);

/*
 * The caller has entered w somewhere from which it will be triggered. Returns the trigger's result.
 * To be preceded by weft__wait_check (unless abort is NULL: those waits are never refused).
 */
int weft__wait_block(struct weft__wait *w, weft_deadline d);

void weft__wait_trigger(struct weft__wait *w, int result);
/* The same of a task, by its loop outside of tasks: it runs, and this returns when it waits again
 * or has ended. */
void weft__wait_go_on(struct weft__wait *w, int result);
/* Arms the wait's time-out on a loop. */
void weft__wait_alarm(struct weft_loop *l, struct weft__wait *w);

/* On the loop's thread, for tasks; does nothing when it is ended or aborting already. */
void weft__wait_abort(struct weft__wait *w, int why);

/* An operation that a flow waits for. Fill in op, leave the rest. */
struct weft__io {
    struct weft__op op;
    struct weft__wait wait;
};

/*
 * Runs one operation to its end in the calling flow: a task switches away, a thread blocks. Returns
 * op.res, or -ETIMEDOUT, -ECANCELED, -EDEADLK. When it returns, the kernel has let go.
 */
int weft__await(struct weft__io *io, const char *what, weft_deadline d);

/*
 * For tests, that cancel at every waiting point in turn: called at each weft__wait_check (w is
 * NULL), and when a task has begun to stand still in w and when that has ended. NULL: off.
 */
extern void (*weft__wait_hook)(struct weft__flow *f, struct weft__wait *w, bool begins);

/* Has the processor fetch what a task that goes on soon looks at first. */
void weft__flow_warm(const struct weft__flow *f);

/* A task that got its result at once spends budget, and yields when it is used up. */
void weft__charge(void);

/* --- Flows ---------------------------------------------------------------------------------- */

/* A member of a group: a task, a thread, a server ... */
struct weft__member;
struct weft__member_class {
    const char *kind;
    /* Marks and wakes it. Never ends it within the call. Groups that it opened are pushed on
     * `more`. */
    void (*cancel)(struct weft__member *m, struct weft__queue *more);
    void (*tree)(struct weft__member *m, struct weft__printer *p);
};
struct weft__member {
    struct weft__node link; /* in group->members */
    struct weft_group *group;
    const struct weft__member_class *cls;
};

enum weft__flow_kind { WEFT__FLOW_TASK, WEFT__FLOW_THREAD, WEFT__FLOW_CALLBACK };

struct weft__flow {
    struct weft_loop *loop;  /* NULL: a plain thread */
    struct weft__wait *wait; /* the innermost one under way */
    const void *near;        /* what it looks at when it goes on: a hint, never followed */
    uint8_t kind;            /* enum weft__flow_kind */
    bool finishing;          /* fn has returned, clean-up runs */
    uint8_t shields;         /* how many are open */
    _Alignas(4) _Atomic bool canceled; /* in a word of its own: gcc reads those above in one */
    uint32_t refused;                  /* waits refused since the cancel: does it spin? */
    int64_t shield_ns;                 /* when the innermost shield ends */
    int64_t shield_outer_ns[3];        /* and those around it; deeper ones are not told apart */
    struct weft__list groups;          /* opened by this flow and not closed */
    struct weft__defer *defers;        /* last in first */
    struct weft__detail *detail;
    const char *name;
    const char *site;
    weft_fn fn;
    void *arg;
    struct weft_task *handle;   /* NULL: nobody holds one */
    struct weft__member member; /* of its group; group NULL: a main flow */
    /* What the tree says of it beside this; on its loop's thread. NULL: nothing. */
    void (*note)(const struct weft__flow *f, char *buf, size_t cap);
    uint64_t id;
    bool keep_errors;
};

extern _Thread_local struct weft__flow *weft__flow_current
    __attribute__((tls_model("initial-exec"), visibility("hidden")));

/* The calling flow; a plain thread that Weft sees for the first time gets one. */
struct weft__flow *weft__flow_adopt(void);
static inline struct weft__flow *weft__flow_self(void)
{
    struct weft__flow *f = weft__flow_current;
    return WEFT__LIKELY(f != NULL) ? f : weft__flow_adopt();
}

static inline bool weft__flow_canceled(const struct weft__flow *f)
{
    return atomic_load_explicit(&f->canceled, memory_order_relaxed) && f->shields == 0;
}

void weft__flow_init(struct weft__flow *f, enum weft__flow_kind kind, struct weft_loop *loop);
/* Runs fn and the clean-up, in the flow itself; returns fn's result. */
int weft__flow_run(struct weft__flow *f);
/* Tells handle and group that it has ended. */
void weft__flow_ended(struct weft__flow *f, int result);

/* --- Runnables ------------------------------------------------------------------------------- */

/* Something for the loop to do in its turn. */
struct weft__run {
    struct weft__slink link;
    void (*fn)(struct weft__run *r);
};

/* Something for the loop to do before it waits next: joined writes. In at most one loop's list. */
struct weft__before_wait {
    struct weft__slink link;
    void (*fn)(struct weft__before_wait *b);
};

/* Something for the loop to do when nothing else of the turn is left: see later.c. Not linked while
 * fn runs. */
struct weft__later {
    struct weft__node link;
    void (*fn)(struct weft__later *x);
    bool pooled; /* it will leave work to the pool, and rests while that has enough */
};

/* --- Tasks ----------------------------------------------------------------------------------- */

/*
 * Lives at the top of its own stack, at the start of a cache line. What a switch needs comes first,
 * and what a wait needs is first in the flow: together they are one line.
 */
struct weft__task {
    struct weft__run run;
    struct weft__ctx ctx;
    uint16_t spent; /* of the fairness budget since it was resumed */
    bool begun;     /* it has run, so that its stack is worth a look */
    bool peeked;    /* it is resumed to run `peek`, and nothing else */
    struct weft__flow flow;
    struct weft__stack *stack;
    void (*peek)(struct weft__task *t); /* the tree's backtrace, run on the task's own stack */
};

static inline struct weft__task *weft__task_of(struct weft__flow *f)
{
    return WEFT__CONTAINER_OF(f, struct weft__task, flow);
}

struct weft__spawn {
    weft_fn fn;
    void *arg;
    const char *name;
    const char *site;
    void (*note)(const struct weft__flow *f, char *buf, size_t cap); /* flow.note */
    size_t copy;
    bool keep_errors;
    bool first; /* runs before what is ready already */
};
int weft__task_spawn(struct weft_group *g, const struct weft__spawn *s, struct weft_task **ret);
int weft__thread_spawn(struct weft_group *g, const struct weft__spawn *s, struct weft_task **ret);

/* --- Groups ---------------------------------------------------------------------------------- */

struct weft_group {
    struct weft_loop *loop; /* NULL: of a plain thread; then all of it is under weft__tree_lock */
    struct weft__flow *owner;
    struct weft__node link; /* in owner->groups */
    struct weft__slink cancel_link;
    struct weft__list members;
    size_t live;                 /* members, including threads that have not reported their end */
    struct weft__wait *waiter;   /* the owner in wait or close */
    int error;                   /* the first */
    struct weft__detail *detail; /* of the first error */
    bool canceled;
    bool sheltered; /* opened within a shield of a cancelled flow */
    bool timed_out;
    bool closing;
    bool by_hand;                          /* a cancel of the owner does not reach it */
    void (*emptied)(struct weft_group *g); /* called when the last member has left; may be NULL */
    struct weft__list attached;            /* struct weft__attached: freed with the group */
    int cancel_fd;            /* eventfd that its threads poll; -1 until there is one */
    struct weft__alarm alarm; /* its deadline */
    int64_t deadline_ns;      /* INT64_MAX: none */
    bool has_zombie;          /* a thread of it that has ended and is not joined yet */
    pthread_t zombie;
};

/* Guards the trees of plain threads' groups; held for a few instructions, never while waiting. */
extern pthread_mutex_t weft__tree_lock;

/* Something that lives as long as a group. */
struct weft__attached {
    struct weft__node link;
    void (*free)(struct weft__attached *a);
};
void weft__group_attach(struct weft_group *g, struct weft__attached *a);

/* Enters m; -ECANCELED when the group is cancelled or closing. Loop groups: on the loop's thread.
 */
int weft__group_enter(struct weft_group *g, struct weft__member *m,
                      const struct weft__member_class *cls);
/* The member has ended. Its first error cancels the rest, unless kept. */
void weft__group_leave(struct weft__member *m, int result, bool keep_errors);
void weft__group_cancel_queue(struct weft__queue *more);
/* Pushes the groups that f opened, for a cancel. */
void weft__flow_push_groups(struct weft__flow *f, struct weft__queue *more);
void weft__group_init(struct weft_group *g, struct weft__flow *owner, struct weft_loop *loop);
void weft__group_fini(struct weft_group *g);
/* Cancel of one flow (task or thread) with all it opened; _locked: a thread, under the lock. */
void weft__flow_cancel(struct weft__flow *f);
void weft__flow_cancel_locked(struct weft__flow *f);

/* Waits until its last member has left; no cancel cuts it short. By the owner, a task. */
void weft__group_join(struct weft_group *g);

/* A message to a loop from another thread; the sender's memory until fn was called. */
struct weft__remote {
    struct weft__slink link;
    void (*fn)(struct weft__remote *r); /* on the loop's thread, as a callback */
};

/* --- Threads --------------------------------------------------------------------------------- */

struct weft__thread {
    struct weft__flow flow;
    pthread_mutex_t lock; /* guards flow.wait's end */
    pthread_cond_t wake;
    struct weft__sys *block;  /* its driver, opened when first needed */
    struct weft__rbuf *spare; /* a read buffer for reuse, on the heap; freed by spare_free */
    void (*spare_free)(struct weft__rbuf *rb);
    struct weft_loop *inner;  /* the loop that it runs, under weft__tree_lock */
    struct weft__remote gone; /* posts its end to the group's loop */
    int result;
    pthread_t id;
    int cancel_fd;      /* of its group, or its own, which a handle needs; -1: none */
    bool own_cancel_fd; /* then each cancel of it writes to it */
};

static inline struct weft__thread *weft__thread_of(struct weft__flow *f)
{
    return WEFT__CONTAINER_OF(f, struct weft__thread, flow);
}

/* The calling thread's block driver, opened on first use; NULL and *err on failure. */
struct weft__sys *weft__thread_sys(struct weft__thread *t, int *err);
int weft__thread_block(struct weft__thread *t, struct weft__wait *w);
void weft__thread_trigger(struct weft__thread *t, struct weft__wait *w, int result);
int weft__thread_await(struct weft__thread *t, struct weft__io *io, const char *what,
                       weft_deadline d);

/* --- Work beside the loop (offload.c) -------------------------------------------------------- */

/*
 * A computation that the work pool does while its owner is about something else. It lies in the
 * owner's memory, and stays there until it is done or withdrawn, as the loop does. Fill in run and
 * done.
 */
struct weft__work {
    struct weft__node link;
    struct weft__remote told;
    struct weft_loop *loop;
    void (*run)(struct weft__work *w);  /* on a thread of the pool */
    void (*done)(struct weft__work *w); /* on the loop's thread, as a callback; w is free again */
    bool begun;
};
/* Both on the loop's thread. -EOPNOTSUPP: in a simulation there is no pool; -EAGAIN: no thread to
 * be had; -ENOMEM. */
int weft__work_post(struct weft_loop *l, struct weft__work *w);
/* Of what was posted and is not done. True: it had not begun, and nothing will be heard of it. */
bool weft__work_withdraw(struct weft__work *w);

/* --- Loops ----------------------------------------------------------------------------------- */

/* Services that live on a loop and are opened when first used (the work pool ...). */
struct weft__service {
    struct weft__node link;
    void (*close)(struct weft__service *s); /* at the loop's close, with no task left */
};

struct weft_loop {
    struct weft__sys *sys;
    struct weft__queue ready;       /* struct weft__run */
    unsigned runs_left;             /* of this turn */
    struct weft__queue before_wait; /* struct weft__before_wait */
    struct weft__list later;        /* struct weft__later; */
    struct weft__list later_pooled; /* likewise, of those that may rest; */
    bool pooled_next;               /* where both are due, one of these is next */
    int64_t later_ns; /* the thread's CPU time when one was done last and one was due; or 0 */
    size_t works;     /* struct weft__work that are posted and not done */
    size_t works_max; /* so many of them are enough */
    struct weft__task *running;
    int64_t now_ns; /* when the last wait ended */
    struct weft__ctx main;
    struct weft__flow callback; /* the flow of callbacks */
    struct weft__flow *outer;   /* the flow that runs the loop, while it runs */
    struct weft__detail **outer_detail;
    struct weft__stack_pool *stacks;
    struct weft__task *dead; /* ended; its stack is given back from outside it */
    struct weft__mpsc remotes;
    struct weft__remote cancel_root; /* posted by a cancel of the thread that runs the loop */
    _Atomic bool cancel_posted;
    _Atomic int remote_users; /* threads inside weft__loop_remote */
    pthread_t thread;
    struct weft_group root;
    struct weft_task *main_task; /* whose end ends weft_run */
    struct weft__list services;
    struct weft__list connections; /* protocol connections, for the tree */
    size_t tasks_live, tasks_max;
    uint64_t turns, switches, tasks_started, posts, next_id;
    size_t posts_max;
    _Atomic size_t posts_waiting;
    bool watched;           /* from its opening on, other threads look at these three: */
    _Atomic uint64_t place; /* what it is about: see weft__loop_mark */
    _Atomic(struct weft__task *) busy_task; /* that runs; NULL: none */
    _Atomic int onlookers;        /* who read what busy_task points to: it does not end meanwhile */
    struct weft__node debug_link; /* in the list that debuggers walk: see_debug.c */
    bool in_turn;
    bool ending;   /* it was cancelled */
    bool shuffled; /* in a simulation: what is ready runs in the order of chance; see shuffle.c */
    struct weft_options options; /* with defaults filled in */
    struct weft__log log;
    struct weft__wheel wheel;
    struct weft__service *offload; /* the work pool, once used */
    void *out_spares;              /* chunks for joined writes, a service of floor 3 */
    struct weft__rbuf *in_spare;   /* likewise: a buffer on the heap */
    struct weft_task *handles;     /* spare ones; see flow.c */
    unsigned handles_spare;
    struct weft__service in_service;
    int embed_fd; /* epoll of sys' fd and embed_timer; -1 until asked for */
    int embed_timer;
};

/*
 * Whether d has passed, so that a call may try, but not wait. A task asks the clock of its loop's
 * turn, which costs nothing: what that says has passed, has.
 */
static inline bool weft__flow_late(const struct weft__flow *f, weft_deadline d)
{
    if (d.ns == INT64_MAX)
        return false;
    return d.ns <= 0 || d.ns <= (f->loop != NULL ? f->loop->now_ns : weft__clock_ns());
}

/* tree of one flow: tree.c */
void weft__tree_flow(struct weft__member *m, struct weft__printer *p);

/* Opens what the options ask for: visible, sigquit_tree, watchdog_ms, report_overflow. See see.h.
 */
int weft__see_open(struct weft_loop *l);
/* Every open loop is in the debuggers' list. */
void weft__debug_enter(struct weft_loop *l);
void weft__debug_leave(struct weft_loop *l);

/*
 * Tells other threads where a watched loop is: in the driver's wait (then the value is the number
 * of completions before it, which the driver counts on before it calls anybody), at work, or not
 * being run. Off, it costs a branch.
 */
#define WEFT__AT_WORK UINT64_MAX
#define WEFT__NOT_RUN (UINT64_MAX - 1)
static inline void weft__loop_mark(struct weft_loop *l, uint64_t place)
{
    if (WEFT__UNLIKELY(l->watched))
        atomic_store_explicit(&l->place, place, memory_order_release);
}
/* Tells them that t runs (NULL: no task). */
static inline void weft__loop_busy(struct weft_loop *l, struct weft__task *t)
{
    if (WEFT__UNLIKELY(l->watched))
        atomic_store_explicit(&l->busy_task, t, memory_order_release);
}
/* The running task of a watched loop ends: its name and site may go with it. */
void weft__loop_unbusy(struct weft_loop *l);

static inline void weft__loop_ready(struct weft_loop *l, struct weft__run *r)
{
    weft__queue_push_back(&l->ready, &r->link);
}

static inline void weft__loop_before_wait(struct weft_loop *l, struct weft__before_wait *b)
{
    weft__queue_push_back(&l->before_wait, &b->link);
}

/* What is linked may be removed by its owner. */
static inline void weft__loop_later(struct weft_loop *l, struct weft__later *x)
{
    weft__list_push_back(x->pooled ? &l->later_pooled : &l->later, &x->link);
}

/* Whether there is something for later; and whether it, or some of it, is not to rest. */
static inline bool weft__loop_later_any(const struct weft_loop *l)
{
    return !weft__list_empty(&l->later) || !weft__list_empty(&l->later_pooled);
}

static inline bool weft__loop_pooled_due(const struct weft_loop *l)
{
    return !weft__list_empty(&l->later_pooled) && l->works < l->works_max;
}

static inline bool weft__loop_later_due(const struct weft_loop *l)
{
    return !weft__list_empty(&l->later) || weft__loop_pooled_due(l);
}

/* Whether it has to do before it may wait. */
static inline bool weft__loop_has_more(const struct weft_loop *l)
{
    return !weft__queue_empty(&l->ready) || !weft__queue_empty(&l->before_wait) ||
           weft__loop_later_due(l);
}

static inline void weft__loop_alarm(struct weft_loop *l, struct weft__alarm *a, int64_t when_ns)
{
    weft__wheel_add(&l->wheel, &a->timer, when_ns);
}

static inline void weft__loop_alarm_del(struct weft_loop *l, struct weft__alarm *a)
{
    if (weft__timer_linked(&a->timer))
        weft__wheel_del(&l->wheel, &a->timer);
}

/* Some are due. */
void weft__loop_run_later(struct weft_loop *l);
/* A task goes on when its turn among them has come, a thread at once: 0, -ETIMEDOUT, -ECANCELED. */
int weft__later_wait(const char *what, bool pooled, weft_deadline d);

/* Any thread; the loop must be kept alive by the caller's means. */
void weft__loop_remote(struct weft_loop *l, struct weft__remote *r);

/* Switches the running task away; it is on some list or waits. */
void weft__task_switch_away(struct weft_loop *l, struct weft__task *t);
void weft__task_resume(struct weft__run *r);
void weft__task_reap(struct weft_loop *l);

/* weft_loop_open for the library itself, which has loops inside simulations, too. */
int weft__loop_open(struct weft_loop **ret, const struct weft_options *o);
/* For a loop with `shuffled`: mixes what is ready, and sets how much of it runs in this turn. */
void weft__loop_shuffle(struct weft_loop *l);

/* The loop's side of a turn: false when nothing is left alive. */
bool weft__loop_turn(struct weft_loop *l, int64_t until_ns);
/* Cancels the root group and, when nothing lives in that any more, as its servers have drained,
 * the groups that callbacks have opened. On the loop's thread. */
void weft__loop_cancel(struct weft_loop *l);
/* Something became ready, or an alarm was set, outside the loop's turn: whoever is above it,
 * another event loop or a simulation, is to give it a turn in time. */
void weft__loop_arm_embedding(struct weft_loop *l);
/* Makes the loop's callback flow current, and back. */
void weft__loop_enter(struct weft_loop *l);
void weft__loop_leave(struct weft_loop *l);

#endif
