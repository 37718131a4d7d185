/* SPDX-License-Identifier: MIT */
#ifndef WEFT_GROUP_H
#define WEFT_GROUP_H
/*
 * Groups and tasks (Trio's nursery, asyncio's TaskGroup). A task lives in a group; a group cannot
 * be closed with live members; the first error cancels the rest and reaches the group's waiter.
 *
 * Opened in a task, a group holds tasks of the same loop. Opened on a plain thread, it holds
 * threads: weft_group_go then starts one thread a call, and all else reads the same. Opened in a
 * callback, it holds tasks of the loop, whose end cancels it; a later callback or a task closes it.
 *
 * Thread rule: a group belongs to the flow (task or thread) that opened it.
 */
#include <weft/run.h>

WEFT_BEGIN_DECLS

struct weft_task;

/* *ret: owned by the caller until weft_group_close. Returns 0 or -ENOMEM. Does not wait. */
WEFT_API WEFT_MUST_CHECK int weft_group_open(struct weft_group **ret);

/*
 * Starts fn(arg) as a member. The task begins to run when the caller next waits.
 * name: borrowed, must outlive the task (a literal does); arg: borrowed.
 * Returns 0, -ENOMEM, -EAGAIN (no thread to be had), -EMFILE (nor a descriptor, of which a group of
 * threads needs one), WEFT_ELIMIT (max_tasks), -ECANCELED (the group is cancelled), -EINVAL,
 * WEFT_ETHREAD.
 */
#define weft_group_go(g, name, fn, arg) weft_group_go_at((g), (name), (fn), (arg), WEFT_SITE)
WEFT_API WEFT_MUST_CHECK int weft_group_go_at(struct weft_group *g, const char *name, weft_fn fn,
                                              void *arg, const char *site);

struct weft_task_options {
    const char *name; /* borrowed */
    const char *site; /* borrowed; WEFT_SITE gives file:line */
    size_t copy; /* > 0: so many bytes of *arg (at most 1,024) are copied to the task's own stack */
    bool keep_errors; /* an error of this task does not cancel its group (asyncio's
                         return_exceptions) */
};

/*
 * As weft_group_go, with options and a handle. *ret (may be NULL when no handle is wanted): owned
 * by the caller, to be given to weft_task_join or weft_task_release. A thread with a handle needs a
 * descriptor of its own, until it ends.
 */
WEFT_API WEFT_MUST_CHECK int weft_group_spawn(struct weft_group *g,
                                              const struct weft_task_options *o, weft_fn fn,
                                              void *arg, struct weft_task **ret);

/*
 * Waits until the task has ended, stores what fn returned in *result (may be NULL), frees the
 * handle and sets *t to NULL. On a time-out or cancel the handle stays valid. Returns 0,
 * -ETIMEDOUT, -ECANCELED, -EDEADLK (itself, or in a callback), -EBUSY (another joins it).
 */
WEFT_API WEFT_MUST_CHECK int weft_task_join(struct weft_task **t, int *result, weft_deadline d);

/* Cancels that task alone. Does not wait. */
WEFT_API void weft_task_cancel(struct weft_task *t);

/* Gives the handle back without waiting; the task goes on in its group. NULL is fine. */
WEFT_API void weft_task_release(struct weft_task **t);

/*
 * Waits until every member has ended. Returns the first error of a member (the others have then
 * been cancelled and joined), else 0; -ETIMEDOUT when d passes first or the group's own deadline
 * did; -ECANCELED when the caller is cancelled. After the last two the members may still live:
 * weft_group_close ends them.
 */
WEFT_API WEFT_MUST_CHECK int weft_group_wait(struct weft_group *g, weft_deadline d);

/* Cancels every member, and what they opened. Does not wait. */
WEFT_API void weft_group_cancel(struct weft_group *g);

/*
 * At d the group is cancelled and its waiter gets -ETIMEDOUT; a later call replaces an earlier one.
 * A plain thread's group has no loop to watch the time: its owner does, while it is in
 * weft_group_wait.
 */
WEFT_API WEFT_MUST_CHECK int weft_group_deadline(struct weft_group *g, weft_deadline d);

/* Live members now. */
WEFT_API size_t weft_group_count(const struct weft_group *g);

/*
 * Cancels, joins and frees. The join itself is not cut short by a cancel of the caller: no member
 * outlives its group. *g becomes NULL; NULL is fine. Returns the first error of a member that ended
 * by itself, else 0; -EDEADLK in a callback while members live (the group then stays open).
 */
WEFT_API int weft_group_close(struct weft_group **g);

/* --- The calling task ---------------------------------------------------------------------- */

/* 0, or -ECANCELED when the calling task is cancelled and not shielded. Does not wait. */
WEFT_API int weft_canceled(void);

/*
 * Between shield and unshield the calling task's waits are not refused for a cancel, but for at
 * most ms milliseconds (0: 5,000) from now: for a farewell message or a clean-up that must wait.
 * Shields nest; the inner one cannot outlast the outer.
 */
WEFT_API void weft_shield(int64_t ms);
WEFT_API void weft_unshield(void);

/*
 * Calls fn(arg) when the calling task or group thread ends, however it ends; last in, first out.
 * It runs in the task, under a shield of 5 s, so it may wait.
 * Returns 0, -ENOMEM, -EINVAL outside a task or group thread.
 */
typedef void (*weft_defer_fn)(void *arg);
WEFT_API WEFT_MUST_CHECK int weft_defer(weft_defer_fn fn, void *arg);

/* Memory that is freed when the calling task ends; aligned for any type. NULL: no memory. */
WEFT_API void *weft_task_alloc(size_t size);

WEFT_API const char *weft_task_name(void);

WEFT_END_DECLS
#endif
