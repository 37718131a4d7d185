/* SPDX-License-Identifier: MIT */
#ifndef WEFT_RUN_H
#define WEFT_RUN_H
/*
 * The event loop: weft_run starts one on the calling thread, runs a function in its first task and
 * returns what it returned (asyncio.run). For programs that have a loop of their own, the second
 * half of this header drives ours in steps.
 */
#include <stddef.h>
#include <weft/base.h>
#include <weft/log.h>
#include <weft/time.h>

WEFT_BEGIN_DECLS

struct weft_loop;
struct weft_group;

/* The body of a task or thread. 0 or a negative code; the code reaches the group's waiter. */
typedef int (*weft_fn)(void *arg);

struct weft_options {
    const char *driver;   /* "uring", "epoll"; NULL: WEFT_DRIVER, else the best that the probe finds
                           */
    size_t stack_size;    /* bytes of a task's stack; 0: 32 KiB */
    size_t max_tasks;     /* tasks at once on this loop; 0: 1,100,000 */
    size_t post_capacity; /* posts from other threads that may wait; 0: 4,096 */
    unsigned offload_threads; /* size of the work pool; 0: 4 */
    size_t offload_capacity;  /* jobs that may wait for a thread of the pool; 0: 1,024 */
    int64_t watchdog_ms;      /* report a task that holds its loop longer; 0: off */
    bool visible;             /* answer `weft tree PID` over a Unix socket of mode 0600 */
    bool sigquit_tree;        /* SIGQUIT prints the tree to stderr (implies visible) */
    bool report_overflow;     /* name the task whose stack overflowed, on SIGSEGV, before dying */
    const char *name;         /* of the loop, for the tree; NULL: "loop" */
    weft_log_fn log;          /* where warnings go; NULL: nowhere. Never stderr by itself */
    void *log_arg;
};

/*
 * Runs fn(arg) in the first task of a new loop on this thread and returns its result when it has
 * ended. Installs no signal handler and prints nothing unless the options ask. May be called in
 * any thread, several times, also inside a task (the outer loop then stands still meanwhile).
 * Inside a group's thread, cancelling the group cancels fn.
 *
 * Inside a simulated host (sim.h) there is no new loop: fn runs in a task "main" on the host's, in
 * a group that a cancel of the caller reaches, other tasks of the host run on meanwhile, and o is
 * not looked at.
 *
 * o: borrowed, may be NULL. Returns fn's result, or -ENOMEM, -EMFILE, -ENOSYS (the named driver is
 * not to be had; the detail says why), -EINVAL, -EDEADLK (in a protocol callback).
 */
WEFT_API WEFT_MUST_CHECK int weft_run(const struct weft_options *o, weft_fn fn, void *arg);

/* The loop of the calling task or callback; NULL on a plain thread. */
WEFT_API struct weft_loop *weft_loop_current(void);

/* "uring", "epoll" or, on a plain thread, "block"; "sim" inside a simulation. */
WEFT_API const char *weft_driver_name(void);

/*
 * Lets other ready tasks run. A cancellation point.
 * Returns 0, -ECANCELED, -EDEADLK in a protocol callback.
 */
WEFT_API WEFT_MUST_CHECK int weft_yield(void);

/* --- Embedding: another event loop drives ours -------------------------------------------- */

/*
 * Makes a loop on this thread without running it. Thread rule: every later call from this thread.
 * *ret: owned by the caller, to be given to weft_loop_close. Errors as weft_run; WEFT_EOUTSIDE in a
 * simulated host, whose loop is the only one.
 */
WEFT_API WEFT_MUST_CHECK int weft_loop_open(struct weft_loop **ret, const struct weft_options *o);

/* A descriptor that polls readable when weft_loop_step has something to do. Owned by the loop. */
WEFT_API int weft_loop_fd(struct weft_loop *l);

/*
 * Does what is ready now, waiting at most until d for something to be; then returns.
 * Returns 1 while the loop has live tasks or connections, 0 when it has none, or a negative code
 * (-EDEADLK inside one of its own tasks or callbacks).
 */
WEFT_API WEFT_MUST_CHECK int weft_loop_step(struct weft_loop *l, weft_deadline d);

/* The loop's root group, for weft_group_go from outside; its tasks run in weft_loop_step. */
WEFT_API struct weft_group *weft_loop_group(struct weft_loop *l);

/*
 * Cancels what is left in the root group and then, when that has ended, in groups that callbacks
 * have opened, runs the loop until all has ended, frees it with those groups. NULL is fine.
 */
WEFT_API void weft_loop_close(struct weft_loop **l);

/* Counters of the calling task's loop since it was opened. */
struct weft_loop_stats {
    uint64_t turns;         /* times round the loop */
    uint64_t completions;   /* operations that ended */
    uint64_t switches;      /* times a task was resumed */
    uint64_t tasks_started; /* ever */
    uint64_t tasks_live;    /* now */
    uint64_t posts;         /* from other threads */
    uint64_t allocations;   /* of the process, when counting is on; else 0 */
};
WEFT_API WEFT_MUST_CHECK int weft_loop_stats(struct weft_loop *l, struct weft_loop_stats *ret);

WEFT_END_DECLS
#endif
