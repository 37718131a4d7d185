/* SPDX-License-Identifier: MIT */
/*
 * Bounds of handshakes: how many at once, how many a second.
 *
 * Floor 3. The rate is a bucket that holds one second's worth, so that a burst after a quiet time
 * need not wait. Invariant: now <= max, 0 <= tokens_ns <= one second.
 */
#include <errno.h>

#include "net/secure.h"

#define SECOND_NS INT64_C(1000000000)
#define RETRY_NS INT64_C(5000000) /* until one asks again whether another has ended */
#define STEP_NS INT64_C(200000)   /* between two that ask again */

void weft__handshakes_init(struct weft__handshakes *h, size_t max, int64_t rate)
{
    *h = (struct weft__handshakes){.max = max, .rate = rate, .tokens_ns = SECOND_NS};
    pthread_mutex_init(&h->lock, NULL);
}

void weft__handshakes_fini(struct weft__handshakes *h)
{
    WEFT__ASSERT(h->now == 0);
    pthread_mutex_destroy(&h->lock);
}

/*
 * When one that has to wait may ask again: not before least_ns, and each at a time of its own, or
 * thousands would wake for one place. The line is at most a second long, then it begins anew: those
 * in it may have gone, and who comes now is not to be behind them all.
 */
static int64_t in_line(struct weft__handshakes *h, int64_t now_ns, int64_t least_ns, int64_t step)
{
    h->line_ns += step;
    if (h->line_ns < now_ns + least_ns || h->line_ns > now_ns + least_ns + SECOND_NS)
        h->line_ns = now_ns + least_ns;
    return h->line_ns - now_ns;
}

static int64_t ask(struct weft__handshakes *h, int64_t now_ns, bool take)
{
    if (h->max > 0 && h->now >= h->max)
        return take ? in_line(h, now_ns, RETRY_NS, STEP_NS) : -EAGAIN;
    if (h->rate > 0) {
        int64_t each = weft__max_i64(SECOND_NS / h->rate, 1);
        if (h->at_ns == 0 || now_ns - h->at_ns >= SECOND_NS)
            h->tokens_ns = SECOND_NS;
        else if (now_ns > h->at_ns)
            h->tokens_ns = weft__min_i64(h->tokens_ns + now_ns - h->at_ns, SECOND_NS);
        h->at_ns = weft__max_i64(now_ns, h->at_ns);
        if (h->tokens_ns < each && take)
            return in_line(h, now_ns, each - h->tokens_ns, weft__max_i64(each, STEP_NS));
        if (h->tokens_ns < each)
            return each - h->tokens_ns;
        h->tokens_ns -= take ? each : 0;
    }
    h->now += take;
    return 0;
}

int64_t weft__handshakes_begin(struct weft__handshakes *h, int64_t now_ns)
{
    pthread_mutex_lock(&h->lock);
    int64_t wait = ask(h, now_ns, true);
    h->waited += wait != 0;
    pthread_mutex_unlock(&h->lock);
    return wait;
}

int64_t weft__handshakes_room(struct weft__handshakes *h, int64_t now_ns)
{
    pthread_mutex_lock(&h->lock);
    int64_t wait = ask(h, now_ns, false);
    pthread_mutex_unlock(&h->lock);
    return wait;
}

void weft__handshakes_end(struct weft__handshakes *h)
{
    pthread_mutex_lock(&h->lock);
    WEFT__ASSERT(h->now > 0);
    h->now--;
    pthread_mutex_unlock(&h->lock);
}
