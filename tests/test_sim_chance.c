/* SPDX-License-Identifier: MIT */
/*
 * What chance decides for a simulated host, and that a seed decides it: the order of tasks, the
 * moment of a cancel, random numbers. And its clocks, which nothing but waiting moves.
 */
#include "sim_host_kit.h"

/* --- The work pool -----------------------------------------------------------------------------
 */

struct job {
    struct weft_loop *loop;
    int runs, stopped, cleaned, in, out;
};

static int work(struct weft_job *j, void *arg)
{
    struct job *w = arg;
    w->runs++;
    w->stopped += weft_job_canceled_mt(j);
    w->out = 2 * w->in;
    if (w->in == 1000)
        return -ETIMEDOUT;
    return w->in < 0 ? weft__fail(-EDOM, "below zero") : w->in;
}

static int cleaned;

static void clean(void *arg)
{
    struct job *w = arg;
    (void)w;
    cleaned++;
}

static int note(void *arg)
{
    *(bool *)arg = true;
    return 0;
}

static int offloads_in_place(void *arg)
{
    struct job w = {.in = 21};
    struct weft_group *g = kit_group();
    bool ran = false;
    (void)arg;
    kit_go(g, "note", note, &ran);
    CHECK_EQ(weft_offload(work, &w, WEFT_NEVER), 21);
    CHECK(w.out == 42 && w.runs == 1 && w.stopped == 0);
    CHECK_EQ(weft_offload_copy(work, &w, sizeof w, clean, weft_after_s(1)), 21);
    CHECK(w.runs == 2 && w.out == 42 && cleaned == 0);
    w.in = -1;
    CHECK_EQ(weft_offload(work, &w, WEFT_NEVER), -EDOM);
    CHECK(strcmp(weft_error_detail(), "below zero") == 0);
    CHECK_EQ(weft_offload_copy(work, &w, sizeof w, clean, WEFT_NEVER), -EDOM);
    CHECK(w.runs == 4 && cleaned == 0);
    w = (struct job){.in = 1000};
    CHECK_EQ(weft_offload_copy(work, &w, sizeof w, clean, WEFT_NEVER), -ETIMEDOUT);
    CHECK(w.runs == 0 && cleaned == 1); /* the job's own code reads like one of the call */
    cleaned = 0;
    w.in = -1;
    for (int i = 0; i < 10 && !ran; i++)
        CHECK_EQ(weft_offload(work, &w, WEFT_NEVER), -EDOM); /* others have their turns */
    CHECK(ran);
    return weft_group_close(&g);
}

struct late {
    struct job w;
    int result;
    bool copy;
};

static int offload_late(void *arg)
{
    struct late *l = arg;
    l->result = l->copy ? weft_offload_copy(work, &l->w, sizeof l->w, clean, WEFT_NEVER)
                        : weft_offload(work, &l->w, WEFT_NEVER);
    return l->result;
}

static int told, dropped;

/* A cancel while the job is on its way: it was queued still, or it runs and sees it. */
static int offload_is_cancelled(void *arg)
{
    (void)arg;
    for (int i = 0; i < 8; i++) {
        struct late l = {.w = {.in = 3}, .copy = i % 2 == 1};
        struct weft_group *g = kit_group();
        struct weft_task *t = kit_spawn(g, "late", offload_late, &l);
        int before = cleaned, result = 0;
        while (weft_random_below(2) == 0)
            CHECK_EQ(weft_yield(), 0);
        weft_task_cancel(t);
        CHECK_EQ(weft_task_join(&t, &result, WEFT_NEVER), 0);
        CHECK_EQ(weft_group_close(&g), 0);
        if (result >= 0) { /* it was quicker */
            CHECK(result == 3 && l.w.out == 6 && l.w.stopped == 0 && cleaned == before);
            continue;
        }
        CHECK_EQ(result, -ECANCELED);
        CHECK_EQ(cleaned, before + (l.copy ? 1 : 0));
        CHECK(!l.copy || l.w.out == 0); /* what was done to the copy is not seen */
        CHECK(l.w.runs == l.w.stopped);
        told += l.w.stopped;
        dropped += l.w.stopped == 0;
    }
    cleaned = 0;
    /* A deadline that has passed. */
    struct job w = {.in = 1};
    CHECK_EQ(weft_offload(work, &w, WEFT_NOW), -ETIMEDOUT);
    CHECK(w.runs == w.stopped);
    CHECK_EQ(weft_offload_copy(work, &w, sizeof w, clean, WEFT_NOW), -ETIMEDOUT);
    CHECK_EQ(cleaned, 1);
    cleaned = 0;
    return 0;
}

static void test_offload(void **state)
{
    (void)state;
    alone(offloads_in_place);
    alone(offload_is_cancelled);
    assert_true(told > 0);
    assert_true(dropped > 0);
}

/* --- The end -----------------------------------------------------------------------------------
 */

static void opens_a_group(void *arg)
{
    struct weft_group *g = kit_group();
    kit_go(g, "below", kit_sleep_long, NULL);
    *(struct weft_group **)arg = g;
}

/* Main returns, and what a callback has started ends with it. */
static int leaves_a_callbacks_group(void *arg)
{
    struct weft_group *g = NULL;
    (void)arg;
    kit_as_callback(opens_a_group, &g);
    CHECK_EQ(weft_group_count(g), 1);
    return weft_sleep_ms(1);
}

static void test_callbacks_groups(void **state)
{
    (void)state;
    alone(leaves_a_callbacks_group);
}

/* --- Chance and clocks -------------------------------------------------------------------------
 */

static int draw(void *arg)
{
    uint64_t *n = arg;
    weft_random(n, 3 * sizeof *n);
    n[3] = weft_random_u64();
    for (int i = 0; i < 100; i++)
        CHECK(weft_random_below(10) < 10);
    return 0;
}

static void draw_with(uint64_t seed, uint64_t n[4], uint64_t other[4])
{
    struct weft_sim *sim = sim_open(seed, false);
    CHECK_EQ(weft_sim_host(sim, "a", draw, n), 0);
    CHECK_EQ(weft_sim_host(sim, "b", draw, other), 0);
    sim_end(sim);
}

static void test_random(void **state)
{
    uint64_t n[3][4], other[3][4];
    (void)state;
    draw_with(5, n[0], other[0]);
    draw_with(5, n[1], other[1]);
    draw_with(6, n[2], other[2]);
    assert_memory_equal(n[0], n[1], sizeof n[0]);
    assert_memory_equal(other[0], other[1], sizeof n[0]);
    for (int i = 0; i < 4; i++) {
        assert_true(n[0][i] != n[2][i]);
        assert_true(n[0][i] != other[0][i]); /* each host has its own */
        assert_true(n[0][i] != n[0][(i + 1) % 4]);
    }
}

static int reads_clocks(void *arg)
{
    int64_t now = weft_now_ns(), wall = weft_wall_ns();
    (void)arg;
    CHECK_EQ(weft_now_ns(), now); /* nothing but waiting takes time */
    CHECK_EQ(weft_sleep_ms(86400 * 1000), 0);
    int64_t slept = weft_now_ns() - now;
    CHECK(slept >= weft_s(86400) && slept < weft_s(86400) + weft_ms(1)); /* a timer's tick */
    CHECK_EQ(weft_wall_ns() - wall, slept);
    return 0;
}

static void test_clocks(void **state)
{
    struct weft_sim *sim = sim_open(1, false);
    int64_t real = weft_now_ns();
    (void)state;
    CHECK_EQ(weft_sim_host(sim, "a", reads_clocks, NULL), 0);
    CHECK_EQ(weft_sim_run(sim, weft_s(100000)), 0);
    CHECK_EQ(weft_sim_close(&sim), 0);
    assert_true(weft_now_ns() - real < weft_s(3600));
}

/* --- The order of tasks ------------------------------------------------------------------------
 */

#define RUNNERS 4

struct order {
    char text[RUNNERS * 2 + 1];
    size_t n;
};

struct runner {
    struct order *order;
    char letter;
};

static int runner(void *arg)
{
    struct runner *r = arg;
    for (int i = 0; i < 2; i++) {
        r->order->text[r->order->n++] = r->letter;
        CHECK_EQ(weft_yield(), 0);
    }
    return 0;
}

static int run_them(void *arg)
{
    struct order *o = arg;
    struct runner r[RUNNERS];
    struct weft_group *g = kit_group();
    for (int i = 0; i < RUNNERS; i++) {
        r[i] = (struct runner){.order = o, .letter = (char)('a' + i)};
        kit_go(g, "runner", runner, &r[i]);
    }
    CHECK_EQ(weft_group_wait(g, WEFT_NEVER), 0);
    return weft_group_close(&g);
}

static void order_with(uint64_t seed, bool in_order, struct order *ret)
{
    struct weft_sim *sim = sim_open(seed, in_order);
    *ret = (struct order){.n = 0};
    CHECK_EQ(weft_sim_host(sim, "a", run_them, ret), 0);
    sim_end(sim);
    assert_int_equal(ret->n, RUNNERS * 2);
}

static void test_order(void **state)
{
    struct order o, again, first;
    int different = 0, last_first = 0;
    (void)state;
    order_with(1, false, &first);
    for (uint64_t seed = 1; seed <= 10 * SEEDS; seed++) {
        order_with(seed, true, &o);
        assert_string_equal(o.text, "abcdabcd");
        order_with(seed, false, &o);
        order_with(seed, false, &again);
        assert_string_equal(o.text, again.text);
        different += strcmp(o.text, first.text) != 0;
        last_first += o.text[0] == 'a' + RUNNERS - 1;
    }
    assert_true(different > 9 * SEEDS);
    assert_in_range(last_first, 10 * SEEDS / 8, 10 * SEEDS / 2); /* a fourth of them, about */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_offload), cmocka_unit_test(test_callbacks_groups),
        cmocka_unit_test(test_random),  cmocka_unit_test(test_clocks),
        cmocka_unit_test(test_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
