/* SPDX-License-Identifier: MIT */
/* Links of the simulated network: which rule counts, and what a packet meets on its way. */
#include "rt_kit.h"

#include "base/alloc.h"
#include "sys/sim/world.h"

#define MS INT64_C(1000000)
#define US INT64_C(1000)

static struct weft__world *world(uint64_t seed)
{
    struct weft__world *w = NULL;
    assert_int_equal(weft__world_open(&w, seed), 0);
    return w;
}

static struct weft__host *host(struct weft__world *w, const char *name)
{
    struct weft__host *h = NULL;
    assert_int_equal(weft__host_open(&h, w, name), 0);
    return h;
}

static struct weft__path *path(struct weft__host *from, struct weft__host *to)
{
    struct weft__path *p = weft__path_get(from->world, from, to);
    assert_non_null(p);
    return p;
}

static void set(struct weft__world *w, const char *from, const char *to, struct weft__link l)
{
    assert_int_equal(weft__link_set(w, from, to, &l), 0);
}

static int64_t latency(struct weft__host *from, struct weft__host *to)
{
    return path(from, to)->latency_ns;
}

static void rules(void **state)
{
    (void)state;
    struct weft__world *w = world(1);
    struct weft__host *a = host(w, "client-1"), *b = host(w, "client-2"), *s = host(w, "server");
    struct weft__path *p = path(a, s);
    assert_int_equal(p->latency_ns, 500 * US);
    assert_int_equal(p->mtu, 1500);
    assert_int_equal(latency(a, a), 0);
    assert_ptr_equal(path(a, s), p);
    assert_ptr_not_equal(path(s, a), p);

    set(w, "client-*", "server", (struct weft__link){.latency_ns = 3 * MS, .mtu = 9000});
    assert_int_equal(p->latency_ns, 500 * US); /* not looked at again yet */
    weft__path_refresh(p);
    assert_int_equal(p->latency_ns, 3 * MS);
    assert_int_equal(p->mtu, 9000);
    assert_int_equal(latency(s, a), 500 * US); /* one way */
    assert_int_equal(latency(a, b), 500 * US);

    /* The last that matches counts, and none of what the one before said is left. */
    set(w, "client-[2-9]", "*", (struct weft__link){.latency_ns = 7 * MS});
    assert_int_equal(latency(b, s), 7 * MS);
    assert_int_equal(path(b, s)->mtu, 1500);
    assert_int_equal(latency(a, s), 3 * MS);
    assert_int_equal(latency(b, b), 7 * MS); /* matches on both sides */
    assert_int_equal(latency(s, s), 0);
    set(w, "client-*", "server", (struct weft__link){.latency_ns = 1 * MS});
    assert_int_equal(latency(b, s), 1 * MS);
    set(w, "*", "*", (struct weft__link){.latency_ns = 2 * MS});
    assert_int_equal(latency(a, s), 2 * MS);
    assert_int_equal(latency(b, s), 2 * MS);

    struct weft__link bad = {.latency_ns = -1};
    assert_int_equal(weft__link_set(w, "*", "*", &bad), -EINVAL);
    weft__world_close(w);
}

static bool passes(struct weft__host *from, struct weft__host *to)
{
    return weft__path_send(path(from, to), 100) >= 0;
}

static void cuts(void **state)
{
    (void)state;
    struct weft__world *w = world(1);
    struct weft__host *a = host(w, "a-1"), *b = host(w, "b-1"), *c = host(w, "b-2");
    struct weft__path *held = path(a, b);
    assert_int_equal(weft__link_cut(w, "a-*", "b-*", true), 0);
    assert_false(passes(a, b));
    assert_int_equal(weft__path_send(held, 1), -1);
    assert_false(passes(a, c));
    assert_true(passes(b, a)); /* one way */
    assert_true(passes(b, c));
    assert_int_equal(weft__link_cut(w, "*", "b-2", false), 0);
    assert_true(passes(a, c));
    assert_false(passes(a, b));
    assert_int_equal(weft__link_cut(w, "a-1", "b-2", true), 0);
    assert_false(passes(a, c));
    /* Links say nothing about cuts, and cuts nothing about links. */
    set(w, "*", "*", (struct weft__link){.latency_ns = 9 * MS});
    assert_false(passes(a, c));
    assert_int_equal(weft__link_cut(w, "*", "*", false), 0);
    assert_true(passes(a, b));
    assert_true(passes(a, c));
    assert_int_equal(latency(a, c), 9 * MS);
    /* Who is cut off from all still reaches itself. */
    assert_int_equal(weft__link_cut(w, "*", "*", true), 0);
    assert_false(passes(b, c));
    assert_true(passes(a, a));
    weft__world_close(w);
}

/* However often a scenario cuts and mends, the rules stay few. */
static void rules_stay_few(void **state)
{
    (void)state;
    struct weft__world *w = world(1);
    struct weft__host *a = host(w, "a"), *b = host(w, "b");
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(weft__link_cut(w, "a", "b", true), 0);
        assert_int_equal(weft__link_cut(w, "a", "*", false), 0);
        set(w, "a", "b", (struct weft__link){.latency_ns = i});
    }
    size_t n = 0;
    WEFT__LIST_EACH(&w->rules, node)
        n++;
    assert_true(n <= 4);
    assert_true(passes(a, b));
    assert_int_equal(latency(a, b), 999);
    weft__world_close(w);
}

static void times(void **state)
{
    (void)state;
    struct weft__world *w = world(5);
    struct weft__host *a = host(w, "a"), *b = host(w, "b");
    set(w, "a", "b", (struct weft__link){.latency_ns = 2 * MS});
    struct weft__path *p = path(a, b);
    for (int i = 0; i < 100; i++)
        assert_int_equal(weft__path_send(p, 1500), 2 * MS);

    set(w, "a", "b", (struct weft__link){.latency_ns = 2 * MS, .jitter_ns = 9});
    unsigned seen = 0;
    for (int i = 0; i < 10000; i++) {
        int64_t at = weft__path_send(p, 1500);
        assert_in_range(at, 2 * MS, 2 * MS + 9);
        seen |= 1u << (at - 2 * MS);
    }
    assert_int_equal(seen, 0x3ff); /* both ends, and all between */

    /* 1,000,000 bytes a second: one of 1,500 takes 1.5 ms, and the next waits for it. */
    set(w, "a", "b", (struct weft__link){.latency_ns = MS, .bytes_per_s = 1000000});
    for (int i = 1; i <= 1000; i++)
        assert_int_equal(weft__path_send(p, 1500), i * 1500 * US + MS);
    weft__world_advance(w, 2000 * MS);
    assert_int_equal(weft__path_send(p, 10), 2000 * MS + 10 * US + MS);
    /* Rounded up, never down to nothing. */
    set(w, "a", "b", (struct weft__link){.bytes_per_s = INT64_C(3000000000)});
    weft__world_advance(w, 3000 * MS);
    assert_int_equal(weft__path_send(p, 1), 3000 * MS + 1);
    weft__world_close(w);
}

static void loss(void **state)
{
    (void)state;
    struct weft__world *w = world(11);
    struct weft__host *a = host(w, "a"), *b = host(w, "b");
    const int n = 200000;
    const double rates[] = {0, 0.01, 0.3, 1};
    for (size_t k = 0; k < WEFT__ARRAY_LEN(rates); k++) {
        int lost = 0;
        set(w, "*", "*", (struct weft__link){.loss = weft__probability(rates[k])});
        for (int i = 0; i < n; i++)
            lost += !passes(a, b);
        /* Five standard deviations: sqrt(n p (1 - p)) is 205 at most. */
        double off = lost - rates[k] * n;
        double sd2 = n * rates[k] * (1 - rates[k]);
        assert_true(off * off <= 25 * sd2);
    }
    weft__world_close(w);
}

/* 450 x 450 paths, found again, and looked up anew when a rule comes. */
static void many(void **state)
{
    (void)state;
    enum { N = KIT_SANITIZED ? 100 : 450 };
    static struct weft__host *h[N];
    static struct weft__path *first[N];
    struct weft__world *w = world(3);
    char name[24];
    assert_true(sizeof(struct weft__path) < 128);
    for (int i = 0; i < N; i++) {
        (void)snprintf(name, sizeof name, "host-%d", i);
        h[i] = host(w, name);
    }
    for (int i = 0; i < N; i++)
        for (int k = 0; k < N; k++)
            assert_non_null(weft__path_get(w, h[i], h[k]));
    assert_int_equal(w->n_paths, N * N);
    for (int i = 0; i < N; i++)
        first[i] = path(h[i], h[0]);
    set(w, "host-?", "*", (struct weft__link){.latency_ns = 77});
    for (int i = 0; i < N; i++) {
        assert_ptr_equal(path(h[i], h[0]), first[i]);
        assert_ptr_equal(first[i]->from, h[i]);
        assert_int_equal(first[i]->latency_ns, i < 10 ? 77 : 500 * US);
    }
    assert_int_equal(w->n_paths, N * N);
    weft__world_close(w);
}

/* A rule for which there is no memory is none. */
static void no_memory(void **state)
{
    (void)state;
    struct weft__world *w = world(3);
    struct weft__host *a = host(w, "a"), *b = host(w, "b");
    struct weft__link l = {.latency_ns = 7};
    for (uint64_t i = 1; i <= 3; i++) {
        weft__alloc_fail_at(i);
        assert_int_equal(weft__link_set(w, "*", "*", &l), -ENOMEM);
        weft__alloc_fail_at(i);
        assert_int_equal(weft__link_cut(w, "a", "b", true), -ENOMEM);
        weft__alloc_fail_at(0);
        assert_true(passes(a, b));
        assert_int_equal(latency(a, b), 500 * US);
    }
    weft__world_close(w);
}

/* No packet allocates; only a new path does. */
static void no_allocation(void **state)
{
    (void)state;
    struct weft__world *w = world(3);
    struct weft__host *a = host(w, "a"), *b = host(w, "b");
    set(w, "a*", "?", (struct weft__link){.latency_ns = 5, .jitter_ns = 5, .loss = 1u << 30});
    (void)passes(a, b);
    weft__alloc_fail_at(1);
    for (int i = 0; i < 1000; i++)
        (void)passes(a, b);
    assert_int_equal(weft__alloc_count(), 0);
    assert_null(weft__path_get(w, b, a));
    weft__alloc_fail_at(0);
    assert_non_null(weft__path_get(w, b, a));
    weft__world_close(w);
}

static void seeds(void **state)
{
    (void)state;
    int64_t got[3][64];
    for (int k = 0; k < 3; k++) {
        struct weft__world *w = world(k == 2 ? 43 : 42);
        struct weft__host *a = host(w, "a"), *b = host(w, "b");
        set(w, "*", "*", (struct weft__link){.jitter_ns = MS, .loss = weft__probability(0.2)});
        for (int i = 0; i < 64; i++)
            got[k][i] = weft__path_send(path(a, b), 100);
        weft__world_close(w);
    }
    assert_memory_equal(got[0], got[1], sizeof got[0]);
    assert_memory_not_equal(got[0], got[2], sizeof got[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rules),          cmocka_unit_test(cuts),
        cmocka_unit_test(rules_stay_few), cmocka_unit_test(times),
        cmocka_unit_test(loss),           cmocka_unit_test(many),
        cmocka_unit_test(no_allocation),  cmocka_unit_test(no_memory),
        cmocka_unit_test(seeds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
