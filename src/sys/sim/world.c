/* SPDX-License-Identifier: MIT */
/*
 * The simulated world's clock, events and chance; see world.h.
 *
 * Floor 1. Events lie in a binary heap by (time, number of making), and know their place in it, so
 * that setting one anew or deleting it is O(log n). Chance is xoshiro256** (Blackman and Vigna),
 * seeded through splitmix64, so that neighbouring seeds have nothing in common.
 */
#include "sys/sim/world.h"

#include <errno.h>

#include "sys/sim/disk.h"
#include "sys/sim/memory.h"

/* --- Chance ----------------------------------------------------------------------------------- */

static uint64_t rotate(uint64_t x, int k)
{
    return (x << k) | (x >> (64 - k));
}

void weft__random_seed(uint64_t state[4], uint64_t seed)
{
    for (int i = 0; i < 4; i++) {
        seed += UINT64_C(0x9e3779b97f4a7c15);
        uint64_t z = seed;
        z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
        z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
        state[i] = z ^ (z >> 31);
    }
}

uint64_t weft__random_next(uint64_t s[4])
{
    uint64_t result = rotate(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate(s[3], 45);
    return result;
}

uint64_t weft__world_random(struct weft__world *w)
{
    return weft__random_next(w->random);
}

/* By multiplication (Lemire); the bias of n / 2^64 does not matter here. */
uint64_t weft__world_below(struct weft__world *w, uint64_t n)
{
    WEFT__ASSERT(n > 0);
    return (uint64_t)(((unsigned __int128)weft__world_random(w) * n) >> 64);
}

uint32_t weft__probability(double p)
{
    if (!(p > 0))
        return 0;
    if (p >= 1)
        return UINT32_MAX;
    uint32_t n = (uint32_t)(p * 4294967296.0);
    return n > 0 ? n : 1;
}

/* --- Events ----------------------------------------------------------------------------------- */

static bool before(const struct weft__event *a, const struct weft__event *b)
{
    return a->when_ns != b->when_ns ? a->when_ns < b->when_ns : a->seq < b->seq;
}

static void put(struct weft__world *w, size_t place, struct weft__event *e)
{
    w->heap[place] = e;
    e->place = place;
}

static void sift_up(struct weft__world *w, size_t i, struct weft__event *e)
{
    while (i > 1 && before(e, w->heap[i / 2])) {
        put(w, i, w->heap[i / 2]);
        i /= 2;
    }
    put(w, i, e);
}

static void sift_down(struct weft__world *w, size_t i, struct weft__event *e)
{
    for (;;) {
        size_t child = 2 * i;
        if (child > w->heap_n)
            break;
        if (child < w->heap_n && before(w->heap[child + 1], w->heap[child]))
            child++;
        if (!before(w->heap[child], e))
            break;
        put(w, i, w->heap[child]);
        i = child;
    }
    put(w, i, e);
}

/* e, at i, has another time than before. */
static void settle(struct weft__world *w, size_t i, struct weft__event *e)
{
    if (i > 1 && before(e, w->heap[i / 2]))
        sift_up(w, i, e);
    else
        sift_down(w, i, e);
}

static int grow(struct weft__world *w)
{
    size_t cap = weft__max_size(2 * w->heap_cap, 64);
    struct weft__event **heap = weft__realloc(w->heap, (cap + 1) * sizeof(struct weft__event *));
    if (heap == NULL)
        return -ENOMEM;
    w->heap = heap;
    w->heap_cap = cap;
    return 0;
}

/* Twice what was asked for, so that those that never reserve have as much. */
int weft__event_reserve(struct weft__world *w, int n)
{
    size_t reserved = n < 0 ? w->reserved - (size_t)-n : w->reserved + (size_t)n;
    while (w->heap_cap < 2 * reserved)
        if (grow(w) < 0)
            return -ENOMEM;
    w->reserved = reserved;
    return 0;
}

int weft__event_set(struct weft__world *w, struct weft__event *e, int64_t when_ns)
{
    if (e->place == 0 && w->heap_n == w->heap_cap && grow(w) < 0)
        return -ENOMEM;
    e->when_ns = weft__max_i64(when_ns, w->now_ns);
    e->seq = w->next_seq++;
    if (e->place != 0)
        settle(w, e->place, e);
    else
        sift_up(w, ++w->heap_n, e);
    return 0;
}

void weft__event_del(struct weft__world *w, struct weft__event *e)
{
    size_t i = e->place;
    if (i == 0)
        return;
    e->place = 0;
    struct weft__event *last = w->heap[w->heap_n--];
    if (last != e)
        settle(w, i, last);
}

int64_t weft__world_next_ns(const struct weft__world *w)
{
    return w->heap_n > 0 ? w->heap[1]->when_ns : INT64_MAX;
}

bool weft__world_step(struct weft__world *w)
{
    if (w->heap_n == 0)
        return false;
    struct weft__event *e = w->heap[1];
    WEFT__ASSERT(e->when_ns >= w->now_ns);
    w->now_ns = e->when_ns;
    weft__event_del(w, e);
    w->stats.events++;
    e->fn(e);
    return true;
}

void weft__world_advance(struct weft__world *w, int64_t now_ns)
{
    WEFT__ASSERT(now_ns <= weft__world_next_ns(w));
    w->now_ns = weft__max_i64(w->now_ns, now_ns);
}

/* --- Opening and closing ---------------------------------------------------------------------- */

int weft__world_open(struct weft__world **ret, uint64_t seed)
{
    struct weft__world *w = weft__calloc(1, sizeof *w);
    if (w == NULL)
        return -ENOMEM;
    w->seed = seed;
    weft__random_seed(w->random, seed);
    weft__list_init(&w->runnable);
    weft__list_init(&w->procs);
    weft__list_init(&w->rules);
    weft__rpool_init(&w->pool, 0);
    *ret = w;
    return 0;
}

void weft__world_close(struct weft__world *w)
{
    if (w == NULL)
        return;
    WEFT__ASSERT(weft__list_empty(&w->procs));
    /* What is still on its way arrives nowhere, and its memory goes with its event. */
    while (weft__world_step(w)) {
    }
    weft__links_close(w);
    for (size_t i = 0; i < w->n_hosts; i++) {
        weft__disk_close(w->hosts[i]);
        weft__free(w->hosts[i]->name);
        weft__free(w->hosts[i]);
    }
    weft__trace_close(w);
    weft__rpool_fini(&w->pool);
    weft__free(w->hosts);
    weft__free(w->by_name);
    weft__free(w->heap);
    weft__free(w);
}
