/* SPDX-License-Identifier: MIT */
/*
 * Tests of the timer wheel (src/base/wheel.h) against a model that keeps its timers in an array
 * and looks at all of them, with random operations from fixed seeds.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/base.h"
#include "base/wheel.h"

#define TICK WEFT__WHEEL_TICK_NS
#define TIMERS 200

/* A timer and what the model knows of it. */
struct entry {
    struct weft__timer timer;
    bool armed;
    int64_t when;
    uint64_t order; /* of insertion */
};

struct world {
    struct weft__wheel wheel;
    struct entry entries[TIMERS];
    int64_t now;
    uint64_t inserted;
    uint64_t random;
};

static uint64_t next_random(struct world *w)
{
    w->random ^= w->random << 13;
    w->random ^= w->random >> 7;
    w->random ^= w->random << 17;
    return w->random;
}

/* A random span of any magnitude: as many of 1 us as of 100 years. */
static int64_t random_span(struct world *w, unsigned int max_bits)
{
    uint64_t bits = next_random(w) % max_bits + 1;
    return (int64_t)(next_random(w) & ((UINT64_C(1) << bits) - 1));
}

static int64_t later(int64_t t, int64_t span)
{
    return span > INT64_MAX - t ? INT64_MAX : t + span;
}

/* When the wheel promises to fire: the deadline rounded up to a tick. */
static int64_t fires_at(int64_t when)
{
    int64_t last = INT64_MAX / TICK * TICK;
    if (when <= 0)
        return 0;
    return when > last ? last : (when - 1) / TICK * TICK + TICK;
}

static void arm(struct world *w, struct entry *e, int64_t when)
{
    weft__wheel_add(&w->wheel, &e->timer, when);
    assert_true(weft__timer_linked(&e->timer));
    e->armed = true;
    e->when = when;
    e->order = w->inserted++;
}

static void check_next(struct world *w)
{
    int64_t next = weft__wheel_next_ns(&w->wheel);
    int64_t first = INT64_MAX;
    uint64_t armed = 0;
    for (size_t i = 0; i < TIMERS; i++) {
        if (w->entries[i].armed) {
            armed++;
            first = weft__min_i64(first, fires_at(w->entries[i].when));
        }
    }
    assert_true(w->wheel.armed == armed);
    if (armed == 0) {
        assert_true(next == INT64_MAX);
        return;
    }
    assert_true(next <= weft__max_i64(first, w->now));
    if (armed == 1 && first > w->now)
        assert_true(next == first);
    if (first > w->now)
        assert_true(next > w->now / TICK * TICK); /* no spinning */
}

/* Advances, and compares what expired with what the model expects, in order. */
static void advance(struct world *w, int64_t now)
{
    struct weft__list expired = WEFT__LIST_INIT(expired);
    struct weft__node *n;
    const struct entry *last = NULL;

    weft__wheel_advance(&w->wheel, now, &expired);
    w->now = now;
    while ((n = weft__list_pop_front(&expired)) != NULL) {
        struct entry *e = WEFT__CONTAINER_OF(weft__timer_of(n), struct entry, timer);
        assert_true(e->armed);
        assert_true(fires_at(e->when) <= now);
        e->armed = false;
        if (last != NULL)
            assert_true(last->when < e->when || (last->when == e->when && last->order < e->order));
        last = e;
        /* Sometimes one that has expired and was not yet taken is removed. */
        if (next_random(w) % 4 == 0 && (n = weft__list_last(&expired)) != NULL) {
            struct entry *other = WEFT__CONTAINER_OF(weft__timer_of(n), struct entry, timer);
            assert_true(weft__timer_linked(&other->timer));
            assert_true(other->armed && fires_at(other->when) <= now);
            weft__wheel_del(&w->wheel, &other->timer);
            other->armed = false;
        }
        assert_false(weft__timer_linked(&e->timer));
    }
    for (size_t i = 0; i < TIMERS; i++) {
        if (w->entries[i].armed)
            assert_true(fires_at(w->entries[i].when) > now / TICK * TICK);
    }
}

static void run_random(uint64_t seed, int64_t start, unsigned int span_bits)
{
    static struct world w;
    memset(&w, 0, sizeof(w));
    w.random = seed * 0x9e3779b97f4a7c15u + 1;
    w.now = start;
    weft__wheel_init(&w.wheel, start);

    for (int step = 0; step < 3000; step++) {
        struct entry *e = &w.entries[next_random(&w) % TIMERS];
        switch (next_random(&w) % 8) {
        case 0:
        case 1:
        case 2:
        case 3:
            weft__wheel_del(&w.wheel, &e->timer);
            arm(&w, e, later(w.now, random_span(&w, span_bits)));
            break;
        case 4: /* equal to another's deadline, or in the past */
            weft__wheel_del(&w.wheel, &e->timer);
            arm(&w, e, w.entries[next_random(&w) % TIMERS].when);
            break;
        case 5:
            weft__wheel_del(&w.wheel, &e->timer);
            e->armed = false;
            weft__wheel_del(&w.wheel, &e->timer);
            break;
        case 6: {
            int64_t next = weft__wheel_next_ns(&w.wheel);
            if (next != INT64_MAX)
                advance(&w, weft__max_i64(next, w.now));
            break;
        }
        default:
            advance(&w, later(w.now, random_span(&w, span_bits - 4)));
            break;
        }
        check_next(&w);
    }
    advance(&w, INT64_MAX);
    assert_true(w.wheel.armed == 0);
    check_next(&w);
}

static void test_random_operations(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 12; seed++) {
        run_random(seed, 0, 22);                               /* within a few ticks */
        run_random(seed, (int64_t)seed * 1234567891011, 36);   /* up to a minute */
        run_random(seed, (int64_t)seed * 987654321012345, 62); /* up to 146 years */
        run_random(seed, INT64_MAX - (INT64_C(1) << 40), 42);  /* the end of time */
    }
}

/* A loop that sleeps exactly until next_ns: each timer fires in time and with few wake-ups. */
static void test_sleeping_loop(void **state)
{
    (void)state;
    static struct weft__wheel w;
    struct weft__timer timers[5] = {0};
    const int64_t spans[5] = {1, TICK, 3 * TICK + 5, 30000000000, 86400000000000};
    int64_t now = 123456789;
    int fired = 0;
    int wakes = 0;

    weft__wheel_init(&w, now);
    for (size_t i = 0; i < 5; i++)
        weft__wheel_add(&w, &timers[i], now + spans[i]);
    for (int64_t next; (next = weft__wheel_next_ns(&w)) != INT64_MAX; wakes++) {
        struct weft__list expired = WEFT__LIST_INIT(expired);
        assert_true(next > now);
        now = next;
        weft__wheel_advance(&w, now, &expired);
        for (struct weft__node *n; (n = weft__list_pop_front(&expired)) != NULL; fired++) {
            int64_t when = weft__timer_of(n)->when_ns;
            assert_ptr_equal(n, &timers[fired].node);
            assert_true(now >= when && now - when < TICK);
        }
    }
    assert_int_equal(fired, 5);
    assert_true(wakes <= 8);
}

static void test_time_does_not_go_back(void **state)
{
    (void)state;
    static struct weft__wheel w;
    struct weft__timer a = {0};
    struct weft__timer b = {0};
    struct weft__list expired = WEFT__LIST_INIT(expired);

    weft__wheel_init(&w, 100 * TICK);
    weft__wheel_add(&w, &a, 101 * TICK);
    weft__wheel_add(&w, &b, -5);
    weft__wheel_advance(&w, 50 * TICK, &expired);
    assert_ptr_equal(weft__list_pop_front(&expired), &b.node);
    assert_true(weft__list_empty(&expired));
    weft__wheel_advance(&w, 101 * TICK - 1, &expired);
    assert_true(weft__list_empty(&expired));
    weft__wheel_advance(&w, 101 * TICK, &expired);
    assert_ptr_equal(weft__list_pop_front(&expired), &a.node);
    assert_true(weft__wheel_next_ns(&w) == INT64_MAX);
}

/* Many timers of one tick, in the worst order: sorted, and stable. */
static void test_order_within_a_tick(void **state)
{
    (void)state;
    enum { COUNT = 5000 };
    static struct weft__wheel w;
    static struct weft__timer timers[COUNT];
    struct weft__list expired = WEFT__LIST_INIT(expired);
    const struct weft__timer *last = NULL;
    int count = 0;

    weft__wheel_init(&w, 0);
    for (int i = 0; i < COUNT; i++)
        weft__wheel_add(&w, &timers[i], 500 * TICK - (i * 7919 % 97));
    weft__wheel_advance(&w, 500 * TICK, &expired);
    for (struct weft__node *n; (n = weft__list_pop_front(&expired)) != NULL; count++) {
        const struct weft__timer *t = weft__timer_of(n);
        if (last != NULL)
            assert_true(last->when_ns < t->when_ns || (last->when_ns == t->when_ns && last < t));
        last = t;
    }
    assert_int_equal(count, COUNT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_operations),
        cmocka_unit_test(test_sleeping_loop),
        cmocka_unit_test(test_time_does_not_go_back),
        cmocka_unit_test(test_order_within_a_tick),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
