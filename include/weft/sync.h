/* SPDX-License-Identifier: MIT */
#ifndef WEFT_SYNC_H
#define WEFT_SYNC_H
/*
 * Locks and signals between the tasks of one loop: mutex, semaphore, event, barrier, once.
 * (Between threads and loops: channels opened with weft_channel_open_mt, and weft_post_mt.)
 *
 * The structs live in the caller's memory; a zeroed one or WEFT_..._INIT is ready; there is nothing
 * to free, and one must not be moved or dropped while a task waits in it. Waiters are served first
 * come, first served. Waiting calls are cancellation points and return 0, -ETIMEDOUT, -ECANCELED,
 * or -EDEADLK (in a callback; or on a plain thread when they would have to wait).
 */
#include <weft/time.h>

WEFT_BEGIN_DECLS

struct weft_waiters { /* opaque: who waits */
    void *first, *last;
};

struct weft_mutex {
    struct weft_waiters waiters;
    void *owner;
};
#define WEFT_MUTEX_INIT                                                                            \
    {                                                                                              \
        {0, 0}, 0                                                                                  \
    }
/* Not recursive: a second lock by the owner is -EDEADLK. */
WEFT_API WEFT_MUST_CHECK int weft_mutex_lock(struct weft_mutex *m, weft_deadline d);
WEFT_API WEFT_MUST_CHECK int weft_mutex_trylock(struct weft_mutex *m); /* -EAGAIN when held */
WEFT_API void weft_mutex_unlock(struct weft_mutex *m); /* by the owner, else an assertion fails */

struct weft_semaphore {
    struct weft_waiters waiters;
    size_t count;
};
#define WEFT_SEMAPHORE_INIT(n)                                                                     \
    {                                                                                              \
        {0, 0}, (n)                                                                                \
    }
WEFT_API void weft_semaphore_init(struct weft_semaphore *s, size_t count);
WEFT_API WEFT_MUST_CHECK int weft_semaphore_acquire(struct weft_semaphore *s, weft_deadline d);
WEFT_API WEFT_MUST_CHECK int weft_semaphore_tryacquire(struct weft_semaphore *s); /* or -EAGAIN */
WEFT_API void weft_semaphore_release(struct weft_semaphore *s);

struct weft_event {
    struct weft_waiters waiters;
    bool set;
};
#define WEFT_EVENT_INIT                                                                            \
    {                                                                                              \
        {0, 0}, false                                                                              \
    }
WEFT_API WEFT_MUST_CHECK int weft_event_wait(struct weft_event *e, weft_deadline d);
WEFT_API void weft_event_set(struct weft_event *e); /* wakes all, stays set */
WEFT_API void weft_event_clear(struct weft_event *e);

struct weft_barrier {
    struct weft_waiters waiters;
    size_t parties; /* how many must arrive */
    size_t arrived;
};
#define WEFT_BARRIER_INIT(n)                                                                       \
    {                                                                                              \
        {0, 0}, (n), 0                                                                             \
    }
WEFT_API void weft_barrier_init(struct weft_barrier *b, size_t parties);
/* Returns 1 to the last to arrive, 0 to the others. One that gives up no longer counts. */
WEFT_API WEFT_MUST_CHECK int weft_barrier_wait(struct weft_barrier *b, weft_deadline d);

struct weft_once {
    struct weft_waiters waiters;
    int state;
};
#define WEFT_ONCE_INIT                                                                             \
    {                                                                                              \
        {0, 0}, 0                                                                                  \
    }
/*
 * The first caller runs fn(arg), others wait for it. When fn fails, its caller gets the error and
 * the next caller tries again.
 */
WEFT_API WEFT_MUST_CHECK int weft_once(struct weft_once *o, int (*fn)(void *arg), void *arg,
                                       weft_deadline d);

WEFT_END_DECLS
#endif
