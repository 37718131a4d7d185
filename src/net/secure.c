/* SPDX-License-Identifier: MIT */
/*
 * When a server's handshake begins: what has to have come of the peer; then the bounds, how many at
 * once, how many a second, and the line of those that wait.
 *
 * Floor 3. Who begins a handshake and stops before there is anything to do for it costs no more
 * than who says nothing.
 *
 * The rate is a bucket that holds one second's worth, so that a burst after a quiet time
 * need not wait. Only the first in line may begin; it is told when it is the first or a place has
 * become free, and asks again, so that one wakes for one place and nobody overtakes.
 *
 * Invariants: now <= max, 0 <= tokens_ns <= one second; a connection stands in line once at most,
 * so the line is no longer than the server's connections; `listening` is seen by who tells, and a
 * remote is posted once until it has run.
 */
#include <errno.h>

#include "net/secure.h"

#define SECOND_NS INT64_C(1000000000)

/* --- The first bytes -------------------------------------------------------------------------- */

int weft__secure_await(struct weft_stream *s, const struct weft_tls *tls, bool *costly,
                       weft_deadline d)
{
    const struct weft__secure_class *cls = weft__secure_of(tls);
    size_t need = 1;
    for (;;) {
        const void *first;
        ssize_t n = weft_peek_min(s, &first, need, d);
        if (n <= 0)
            return (int)n;
        need = cls->need(first, (size_t)n);
        if (need <= (size_t)n) {
            *costly = cls->is_costly(tls, first, (size_t)n);
            return 1;
        }
        struct weft__rbuf *fits = weft__rbuf_fit(s->loop, s->in, need);
        if (fits == NULL)
            return -ENOMEM;
        s->in = fits;
    }
}

/* --- Bounds of handshakes --------------------------------------------------------------------- */

void weft__handshakes_init(struct weft__handshakes *h, size_t max, int64_t rate)
{
    *h = (struct weft__handshakes){.max = max, .rate = rate, .tokens_ns = SECOND_NS};
    weft__list_init(&h->line);
    pthread_mutex_init(&h->lock, NULL);
}

void weft__handshakes_fini(struct weft__handshakes *h)
{
    WEFT__ASSERT(h->now == 0 && weft__list_empty(&h->line));
    pthread_mutex_destroy(&h->lock);
}

static bool full(const struct weft__handshakes *h)
{
    return h->max > 0 && h->now >= h->max;
}

/* Has the first in line ask again. */
static void tell_first(struct weft__handshakes *h)
{
    struct weft__node *n = weft__list_first(&h->line);
    if (n == NULL || full(h))
        return;
    struct weft__in_line *e = WEFT__CONTAINER_OF(n, struct weft__in_line, link);
    if (!e->listening)
        return;
    e->listening = false;
    if (e->loop == NULL) {
        weft__wait_trigger(e->wait, 0);
    } else if (!e->posted) {
        e->posted = true;
        weft__loop_remote(e->loop, &e->remote); /* under the lock: it has not left, so neither has
                                                   its loop */
    }
}

/* What the rate says: 0, and one is taken, or how long to wait. */
static int64_t take_token(struct weft__handshakes *h, int64_t now_ns)
{
    if (h->rate == 0)
        return 0;
    int64_t each = weft__max_i64(SECOND_NS / h->rate, 1);
    if (h->at_ns == 0 || now_ns - h->at_ns >= SECOND_NS)
        h->tokens_ns = SECOND_NS;
    else if (now_ns > h->at_ns)
        h->tokens_ns = weft__min_i64(h->tokens_ns + now_ns - h->at_ns, SECOND_NS);
    h->at_ns = weft__max_i64(now_ns, h->at_ns);
    if (h->tokens_ns < each)
        return each - h->tokens_ns;
    h->tokens_ns -= each;
    return 0;
}

int64_t weft__handshakes_begin(struct weft__handshakes *h, struct weft__in_line *e, int64_t now_ns)
{
    pthread_mutex_lock(&h->lock);
    bool in_line = weft__node_linked(&e->link);
    const struct weft__node *first = weft__list_first(&h->line);
    bool behind = first != NULL && first != &e->link;
    int64_t wait = behind || full(h) ? -EAGAIN : take_token(h, now_ns);
    if (wait == 0) {
        h->now++;
        e->listening = false;
        if (in_line) {
            weft__list_remove(&e->link);
            tell_first(h);
        }
    } else {
        e->listening = true;
        if (!in_line)
            weft__list_push_back(&h->line, &e->link);
    }
    pthread_mutex_unlock(&h->lock);
    return wait;
}

bool weft__handshakes_mute(struct weft__handshakes *h, struct weft__in_line *e)
{
    pthread_mutex_lock(&h->lock);
    bool was = e->listening;
    e->listening = false;
    pthread_mutex_unlock(&h->lock);
    return was;
}

void weft__handshakes_told(struct weft__handshakes *h, struct weft__in_line *e)
{
    pthread_mutex_lock(&h->lock);
    e->posted = false;
    pthread_mutex_unlock(&h->lock);
}

bool weft__handshakes_leave(struct weft__handshakes *h, struct weft__in_line *e)
{
    pthread_mutex_lock(&h->lock);
    if (weft__node_linked(&e->link)) {
        bool was_first = weft__list_first(&h->line) == &e->link;
        weft__list_remove(&e->link);
        if (was_first)
            tell_first(h);
    }
    e->listening = false;
    bool free = !e->posted;
    pthread_mutex_unlock(&h->lock);
    return free;
}

void weft__handshakes_end(struct weft__handshakes *h)
{
    pthread_mutex_lock(&h->lock);
    WEFT__ASSERT(h->now > 0);
    h->now--;
    tell_first(h);
    pthread_mutex_unlock(&h->lock);
}
