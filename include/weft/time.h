/* SPDX-License-Identifier: MIT */
#ifndef WEFT_TIME_H
#define WEFT_TIME_H
/*
 * Deadlines: absolute points on the monotonic clock, as the last parameter of every call that may
 * wait. A struct, so that a bare number of milliseconds does not compile.
 *
 * Unit: nanoseconds of CLOCK_MONOTONIC (clock_gettime(2)). Thread rule: any thread.
 * A deadline that has passed means "try, but do not wait".
 * Inside a simulation (sim.h) both clocks here are those of the host.
 */
#include <stdint.h>
#include <weft/base.h>

WEFT_BEGIN_DECLS

typedef struct weft_deadline {
    int64_t ns;
} weft_deadline;

#ifdef __cplusplus
#define WEFT_NEVER (weft_deadline{INT64_MAX})
#define WEFT_NOW (weft_deadline{0})
#else
#define WEFT_NEVER ((weft_deadline){INT64_MAX}) /* wait as long as it takes */
#define WEFT_NOW ((weft_deadline){0})           /* do not wait at all */
#endif

/* The clock that deadlines are measured on, in nanoseconds. */
WEFT_API int64_t weft_now_ns(void);

/*
 * The wall clock: nanoseconds since 1970-01-01 00:00 UTC (CLOCK_REALTIME), for dates in logs and
 * messages. It is set now and then, also backwards, so no deadline is measured on it.
 */
WEFT_API int64_t weft_wall_ns(void);

/* So many seconds, milliseconds, microseconds in nanoseconds; the product must fit. */
static inline int64_t weft_s(int64_t s)
{
    return s * 1000000000;
}
static inline int64_t weft_ms(int64_t ms)
{
    return ms * 1000000;
}
static inline int64_t weft_us(int64_t us)
{
    return us * 1000;
}

/* A deadline so far from now; negative spans have passed already, huge ones saturate to never. */
WEFT_API weft_deadline weft_after_ns(int64_t ns);
WEFT_API weft_deadline weft_after_us(int64_t us);
WEFT_API weft_deadline weft_after_ms(int64_t ms);
WEFT_API weft_deadline weft_after_s(int64_t s);

/* The earlier of the two. */
WEFT_API weft_deadline weft_earlier(weft_deadline a, weft_deadline b);

/* Nanoseconds left: 0 when it has passed, INT64_MAX for WEFT_NEVER. */
WEFT_API int64_t weft_left_ns(weft_deadline d);

/*
 * Sleeps until d. Waits; a cancellation point. In a task it lets others run, on a plain thread it
 * blocks the thread.
 * Returns 0 once d has passed; -ECANCELED; -EDEADLK in a protocol callback.
 */
WEFT_API WEFT_MUST_CHECK int weft_sleep_until(weft_deadline d);
WEFT_API WEFT_MUST_CHECK int weft_sleep_ms(int64_t ms);

/*
 * A periodic ticker: the n-th tick is due at start + n * period, so that a late one does not shift
 * the rest (asyncio has none; Twisted's LoopingCall is weft_looping_call in protocol.h).
 * The caller owns the struct; there is nothing to free.
 */
struct weft_ticker {
    int64_t period_ns;
    int64_t next_ns;
};

WEFT_API void weft_ticker_init(struct weft_ticker *t, int64_t period_ms);

/*
 * Waits for the next tick. Ticks that were missed meanwhile are skipped, not delivered in a burst.
 * Returns how many ticks have passed since the last call (1 when on time), or a negative code as
 * weft_sleep_until does.
 */
WEFT_API WEFT_MUST_CHECK int64_t weft_ticker_wait(struct weft_ticker *t);

WEFT_END_DECLS
#endif
