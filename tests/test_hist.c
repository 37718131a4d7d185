/* SPDX-License-Identifier: MIT */
/*
 * The latency histogram of `weft load`: every percentile within 1 % of the true one, over all
 * magnitudes; merging; the ends of the range.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "../apps/weft/hist.c"

static uint64_t next_random(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void every_value_falls_into_its_cell(void **state)
{
    (void)state;
    uint64_t seed = 1;
    for (int i = 0; i < 200000; i++) {
        uint64_t value = next_random(&seed) >> (i % 64);
        size_t cell = cell_of(value);
        assert_true(cell < HIST_CELLS);
        uint64_t middle = middle_of(cell);
        assert_int_equal(cell_of(middle), cell);
        uint64_t away = middle > value ? middle - value : value - middle;
        assert_true(away <= value / 250);
    }
    assert_true(cell_of(UINT64_MAX) == HIST_CELLS - 1);
    for (uint64_t v = 0; v < 256; v++)
        assert_int_equal(middle_of(cell_of(v)), v);
    for (uint64_t v = 0; v < 100000; v++)
        assert_true(cell_of(v + 1) - cell_of(v) <= 1); /* no cell is skipped or out of order */
}

static void percentiles_are_within_one_percent(void **state)
{
    (void)state;
    static const double percents[] = {0, 0.1, 1, 25, 50, 90, 99, 99.9, 99.99, 100};
    enum { N = 100000 };
    uint64_t *values = malloc(N * sizeof(*values));
    struct hist *h = malloc(sizeof(*h));
    assert_non_null(values);
    assert_non_null(h);
    for (int spread = 1; spread < 60; spread += 7) {
        uint64_t seed = (uint64_t)spread;
        memset(h, 0, sizeof(*h));
        for (int i = 0; i < N; i++) {
            values[i] = (next_random(&seed) >> (63 - spread)) >> (next_random(&seed) % 8);
            hist_record(h, values[i]);
        }
        qsort(values, N, sizeof(*values), compare);
        for (size_t p = 0; p < sizeof(percents) / sizeof(percents[0]); p++) {
            size_t rank = (size_t)(percents[p] / 100.0 * N + 0.5); /* N of them: it is whole */
            uint64_t want = values[rank > 0 ? rank - 1 : 0];
            uint64_t got = hist_percentile(h, percents[p]);
            uint64_t away = got > want ? got - want : want - got;
            assert_true(away <= want / 100);
        }
        assert_int_equal(h->min, values[0]);
        assert_int_equal(h->max, values[N - 1]);
    }
    free(h);
    free(values);
}

static void a_rank_is_exact(void **state)
{
    (void)state;
    struct hist *h = calloc(1, sizeof(*h));
    assert_non_null(h);
    /* One in a thousand is long: 99.9 % are not, to the last one. */
    for (int thousands = 1; thousands <= 300; thousands++) {
        for (int i = 0; i < 999; i++)
            hist_record(h, 1);
        hist_record(h, 200);
        assert_int_equal(hist_percentile(h, 99.9), 1);
        assert_int_equal(hist_percentile(h, 99.901), 200);
    }
    free(h);
}

static void merging_equals_recording_all(void **state)
{
    (void)state;
    struct hist *h = calloc(3, sizeof(*h));
    assert_non_null(h);
    uint64_t seed = 7;
    for (int i = 0; i < 10000; i++) {
        uint64_t value = next_random(&seed) >> 30;
        hist_record(&h[i % 2], value);
        hist_record(&h[2], value);
    }
    struct hist *merged = calloc(1, sizeof(*merged));
    assert_non_null(merged);
    hist_merge(merged, merged); /* empty into empty */
    hist_merge(merged, &h[0]);
    hist_merge(merged, &h[1]);
    assert_memory_equal(merged, &h[2], sizeof(*merged));
    free(merged);
    free(h);
}

static void takes_the_ends_of_the_range(void **state)
{
    (void)state;
    struct hist *h = calloc(1, sizeof(*h));
    assert_non_null(h);
    assert_int_equal(hist_percentile(h, 50), 0);
    hist_record(h, 0);
    assert_int_equal(hist_percentile(h, 100), 0);
    hist_record(h, UINT64_MAX);
    assert_true(hist_percentile(h, 100) == UINT64_MAX);
    assert_int_equal(hist_percentile(h, 50), 0);
    free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_value_falls_into_its_cell),
        cmocka_unit_test(percentiles_are_within_one_percent),
        cmocka_unit_test(a_rank_is_exact),
        cmocka_unit_test(merging_equals_recording_all),
        cmocka_unit_test(takes_the_ends_of_the_range),
    };
    return cmocka_run_group_tests_name("hist", tests, NULL, NULL);
}
