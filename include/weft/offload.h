/* SPDX-License-Identifier: MIT */
#ifndef WEFT_OFFLOAD_H
#define WEFT_OFFLOAD_H
/*
 * The work pool and calls from other threads (asyncio's run_in_executor and call_soon_threadsafe).
 *
 * Each loop has a pool of a few threads, started on first use, for work that would hold the loop:
 * a long computation, a library that blocks.
 *
 * Inside a simulated host (sim.h) there is no pool: the job runs in the calling task, on its stack,
 * after other tasks had a turn. What it takes of real time takes none of simulated time. Whether a
 * cancel or time-out finds it queued or running is chance's choice.
 */
#include <weft/run.h>

WEFT_BEGIN_DECLS

/* True once the job's waiter has given up: a long job looks now and then and returns early. */
struct weft_job;
WEFT_API bool weft_job_canceled_mt(const struct weft_job *j);

typedef int (*weft_job_fn)(struct weft_job *j, void *arg);

/*
 * Runs fn(job, arg) on a thread of the pool and waits for it. arg is borrowed: on a cancel or
 * time-out a job that has begun is told (weft_job_canceled_mt) and waited for, so arg may live on
 * the caller's stack; one that has not begun is dropped. On a plain thread fn runs at once on that
 * thread. fn must not call waiting weft functions of the loop's objects. Returns what fn returned;
 * -ETIMEDOUT, -ECANCELED (and fn's work is then not known to be done), WEFT_ELIMIT
 * (offload_capacity), -EAGAIN (no thread), -ENOMEM, -EINVAL (no function), -EDEADLK (in a
 * callback).
 */
WEFT_API WEFT_MUST_CHECK int weft_offload(weft_job_fn fn, void *arg, weft_deadline d);

/*
 * The same with a copy of size bytes of *arg that belongs to the job: on a cancel or time-out the
 * caller goes on at once and the job is abandoned; when it ends, cleanup(arg copy) (may be NULL)
 * runs on the pool's thread. After every -ETIMEDOUT or -ECANCELED cleanup runs exactly once, and
 * nothing is copied back: also when it was fn that returned the code (on the pool's thread, before
 * return), and when the task was cancelled before the job could be handed over (in the caller, on
 * *arg). After every other result cleanup does not run, and the copy, with what fn wrote to it, was
 * copied back to *arg. On a plain thread there is no copy: both work on *arg. Returns as
 * weft_offload; -EINVAL when size is 0 or over 64 KiB.
 */
WEFT_API WEFT_MUST_CHECK int weft_offload_copy(weft_job_fn fn, void *arg, size_t size,
                                               void (*cleanup)(void *arg), weft_deadline d);

/*
 * From any thread: has fn(arg) called on the loop's thread, in its turn, as a callback (it may not
 * wait; it may start tasks). Returns 0, WEFT_ELIMIT (post_capacity are waiting), -ENOMEM, -EINVAL.
 * The loop must not be closed meanwhile: hold it with a group member that outlives the posters.
 */
WEFT_API WEFT_MUST_CHECK int weft_post_mt(struct weft_loop *l, void (*fn)(void *arg), void *arg);

WEFT_END_DECLS
#endif
