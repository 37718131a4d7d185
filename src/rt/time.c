/* SPDX-License-Identifier: MIT */
/*
 * Clocks, deadlines, sleep and tickers.
 *
 * Floor 2. Invariant: arithmetic on deadlines saturates; it never wraps.
 */
#include <errno.h>

#include "rt/rt.h"
#include "sys/call.h"

int64_t weft_now_ns(void)
{
    return weft__clock_ns();
}

int64_t weft_wall_ns(void)
{
    return weft__call_wall_ns();
}

weft_deadline weft_after_ns(int64_t ns)
{
    int64_t now = weft_now_ns();
    if (ns > INT64_MAX - now)
        return WEFT_NEVER;
    return (weft_deadline){ns < 0 ? 0 : now + ns};
}

static weft_deadline after(int64_t count, int64_t unit_ns)
{
    int64_t ns;
    if (__builtin_mul_overflow(count, unit_ns, &ns))
        return count > 0 ? WEFT_NEVER : WEFT_NOW;
    return weft_after_ns(ns);
}

weft_deadline weft_after_us(int64_t us)
{
    return after(us, 1000);
}

weft_deadline weft_after_ms(int64_t ms)
{
    return after(ms, 1000000);
}

weft_deadline weft_after_s(int64_t s)
{
    return after(s, 1000000000);
}

weft_deadline weft_earlier(weft_deadline a, weft_deadline b)
{
    return a.ns < b.ns ? a : b;
}

int64_t weft_left_ns(weft_deadline d)
{
    if (d.ns == INT64_MAX)
        return INT64_MAX;
    int64_t now = weft_now_ns();
    return d.ns > now ? d.ns - now : 0; /* the difference of a deadline far past would overflow */
}

static void sleep_abort(struct weft__wait *w, int why)
{
    weft__wait_trigger(w, why);
}

int weft_sleep_until(weft_deadline d)
{
    struct weft__wait w;
    int err = weft__wait_check();
    if (err < 0)
        return err;
    weft__wait_init(&w, "sleep", -1, sleep_abort);
    err = weft__wait_block(&w, d);
    return err == -ETIMEDOUT ? 0 : err;
}

int weft_sleep_ms(int64_t ms)
{
    return weft_sleep_until(weft_after_ms(ms));
}

/* That much later, or never. Negative spans are not for it. */
static int64_t later(int64_t ns, int64_t span_ns)
{
    return ns > INT64_MAX - span_ns ? INT64_MAX : ns + span_ns;
}

void weft_ticker_init(struct weft_ticker *t, int64_t period_ms)
{
    WEFT__ASSERT(period_ms > 0 && period_ms < INT64_MAX / 1000000);
    t->period_ns = period_ms * 1000000;
    t->next_ns = later(weft_now_ns(), t->period_ns);
}

int64_t weft_ticker_wait(struct weft_ticker *t)
{
    int err = weft_sleep_until((weft_deadline){t->next_ns});
    if (err < 0)
        return err;
    int64_t missed = (weft_now_ns() - t->next_ns) / t->period_ns;
    t->next_ns = later(t->next_ns + missed * t->period_ns, t->period_ns);
    return 1 + missed;
}
