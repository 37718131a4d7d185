/* SPDX-License-Identifier: MIT */
/* Memory of simulations: stacks that loops share, allocations that are refused on request. */
#include "base/alloc.h"
#include "rt/stack.h"
#include "sim_run_kit.h"

/* --- Stack pools --------------------------------------------------------------------------- */

static void pools_of_one_size_are_shared(void **state)
{
    struct weft__stack_pool *p = NULL, *same = NULL, *other = NULL, *limited = NULL, *after = NULL;
    struct weft__stack *s = NULL;
    struct weft__stack_stats stats;
    (void)state;
    assert_int_equal(weft__stack_pool_open(&p, 65536, 0), 0);
    assert_null(weft__stack_pool_share(p));
    assert_int_equal(weft__stack_pool_open(&same, 65536, 0), 0);
    assert_int_equal(weft__stack_pool_open(&other, 131072, 0), 0);
    assert_int_equal(weft__stack_pool_open(&limited, 65536, 10), 0);
    assert_ptr_equal(weft__stack_pool_share(NULL), p);
    assert_int_equal(weft__stack_pool_open(&after, 65536, 0), 0);
    assert_ptr_equal(same, p);
    assert_ptr_not_equal(other, p);
    assert_ptr_not_equal(limited, p);
    assert_ptr_not_equal(after, p);
    /* It lives as long as anyone has it. */
    assert_int_equal(weft__stack_get(same, &s), 0);
    weft__stack_pool_close(p);
    weft__stack_pool_stats(same, &stats);
    assert_int_equal(stats.live, 1);
    weft__stack_put(same, s);
    weft__stack_pool_close(same);
    weft__stack_pool_close(other);
    weft__stack_pool_close(limited);
    weft__stack_pool_close(after);
}

static void *open_a_pool(void *arg)
{
    struct weft__stack_pool *own = NULL;
    CHECK_EQ(weft__stack_pool_open(&own, 65536, 0), 0);
    CHECK(own != arg);
    weft__stack_pool_close(own);
    return NULL;
}

static void other_threads_have_their_own(void **state)
{
    struct weft__stack_pool *p = NULL;
    pthread_t t;
    (void)state;
    assert_int_equal(weft__stack_pool_open(&p, 65536, 0), 0);
    assert_null(weft__stack_pool_share(p));
    assert_int_equal(pthread_create(&t, NULL, open_a_pool, p), 0);
    assert_int_equal(pthread_join(t, NULL), 0);
    assert_ptr_equal(weft__stack_pool_share(NULL), p);
    weft__stack_pool_close(p);
}

static int use_a_stack(void *arg)
{
    struct weft__stack_stats stats;
    struct weft_group *g = kit_group();
    for (int i = 0; i < 20; i++)
        kit_go(g, "sleeper", kit_sleep_long, NULL);
    CHECK_EQ(weft_yield(), 0);
    weft__stack_pool_stats(weft_loop_current()->stacks, &stats);
    *(struct weft__stack_stats *)arg = stats;
    CHECK_EQ(weft_group_close(&g), 0);
    return 0;
}

/* A hundred hosts take their stacks from one slab or two, not from one each. */
static void hosts_share_their_stacks(void **state)
{
    struct sim_kit k;
    struct weft__stack_stats stats[100];
    size_t slabs = 0;
    (void)state;
    sim_kit_open(&k, 1);
    for (int i = 0; i < 100; i++) {
        char name[32];
        (void)snprintf(name, sizeof name, "host-%d", i);
        assert_int_equal(weft_sim_host(k.sim, name, use_a_stack, &stats[i]), 0);
    }
    sim_kit_run(&k, SECOND, 0);
    for (int i = 0; i < 100; i++)
        slabs = stats[i].slabs > slabs ? stats[i].slabs : slabs;
    assert_true(slabs >= 1 && slabs < 10);
    sim_kit_close(&k, 0);
}

/* --- Allocations ----------------------------------------------------------------------------- */

static int asked;
static bool answer;

static bool refuse(void)
{
    asked++;
    return answer;
}

static bool can_allocate(void)
{
    void *p = weft__alloc(1);
    weft__free(p);
    return p != NULL;
}

static void allocations_are_refused_on_request(void **state)
{
    (void)state;
    assert_false(atomic_load(&weft__alloc_hooks));
    weft__alloc_refuse_by(refuse);
    assert_true(can_allocate());
    assert_int_equal(asked, 1);
    answer = true;
    assert_false(can_allocate());
    assert_null(weft__calloc(1, 1));
    assert_null(weft__realloc(NULL, 1));
    assert_null(weft__strdup("x"));
    assert_int_equal(asked, 5);
    weft__alloc_sure++;
    assert_true(can_allocate());
    weft__alloc_sure--;
    assert_int_equal(asked, 5);
    weft__alloc_refuse_by(refuse); /* a second simulation */
    weft__alloc_refuse_by(NULL);
    assert_false(can_allocate());
    weft__alloc_refuse_by(NULL);
    assert_true(can_allocate());
    assert_int_equal(asked, 6);
    assert_false(atomic_load(&weft__alloc_hooks));
    /* Whoever counts goes on counting. */
    atomic_store(&weft__alloc_hooks, true);
    weft__alloc_refuse_by(refuse);
    weft__alloc_refuse_by(NULL);
    assert_true(atomic_load(&weft__alloc_hooks));
    atomic_store(&weft__alloc_hooks, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pools_of_one_size_are_shared),
        cmocka_unit_test(other_threads_have_their_own),
        cmocka_unit_test(hosts_share_their_stacks),
        cmocka_unit_test(allocations_are_refused_on_request),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
