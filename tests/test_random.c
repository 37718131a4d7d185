/* SPDX-License-Identifier: MIT */
/*
 * Random numbers of the kernel, the wall clock and spans of time. In simulations: test_sim_route.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <weft/random.h>
#include <weft/time.h>

/* Every byte gets both values of each of its bits, also where more than one call is needed. */
static void fills_it_all(void **state)
{
    static uint8_t seen_set[5000], seen_clear[5000], buf[5000];
    (void)state;
    for (int round = 0; round < 64; round++) {
        weft_random(buf, sizeof buf);
        for (size_t i = 0; i < sizeof buf; i++) {
            seen_set[i] |= buf[i];
            seen_clear[i] |= (uint8_t)~buf[i];
        }
    }
    for (size_t i = 0; i < sizeof buf; i++) {
        assert_int_equal(seen_set[i], 0xff);
        assert_int_equal(seen_clear[i], 0xff);
    }
}

static void fills_no_more(void **state)
{
    char buf[3] = {'a', 'b', 'c'};
    (void)state;
    weft_random(buf, 0);
    assert_memory_equal(buf, "abc", 3);
    for (int round = 0; round < 100; round++)
        weft_random(buf + 1, 1);
    assert_int_equal(buf[0], 'a');
    assert_int_equal(buf[2], 'c');
}

static void differs_in_a_fork(void **state)
{
    uint64_t theirs = 0;
    int fds[2];
    (void)state;
    assert_int_equal(pipe(fds), 0);
    pid_t pid = fork();
    if (pid == 0) {
        uint64_t n = weft_random_u64();
        _exit(write(fds[1], &n, sizeof n) == sizeof n ? 0 : 1);
    }
    assert_true(pid > 0);
    uint64_t ours = weft_random_u64();
    assert_int_equal(read(fds[0], &theirs, sizeof theirs), sizeof theirs);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    assert_true(ours != theirs);
    close(fds[0]);
    close(fds[1]);
}

static void below_is_even(void **state)
{
    int count[6] = {0};
    (void)state;
    assert_int_equal(weft_random_below(0), 0);
    assert_int_equal(weft_random_below(1), 0);
    for (int i = 0; i < 60000; i++) {
        uint64_t n = weft_random_below(6);
        assert_true(n < 6);
        count[n]++;
    }
    for (int i = 0; i < 6; i++) /* 10,000 each; a thousand off is more than ten deviations */
        assert_in_range(count[i], 9000, 11000);
    /* Here the remainder alone would give results below 2^62 twice as often as the rest. */
    uint64_t three_quarters = UINT64_C(3) << 62;
    int low = 0;
    for (int i = 0; i < 3000; i++)
        low += weft_random_below(three_quarters) < UINT64_C(1) << 62;
    assert_in_range(low, 800, 1200);
}

static void wall_clock(void **state)
{
    (void)state;
    int64_t before = (int64_t)time(NULL);
    int64_t wall = weft_wall_ns();
    int64_t after = (int64_t)time(NULL);
    /* time(2) is of the last tick, so it may be a little behind. */
    assert_true(wall >= weft_s(before) - weft_ms(100) && wall < weft_s(after + 1) + weft_ms(100));
}

static void spans(void **state)
{
    (void)state;
    assert_int_equal(weft_s(3), INT64_C(3000000000));
    assert_int_equal(weft_ms(3), 3000000);
    assert_int_equal(weft_us(-3), -3000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fills_it_all),      cmocka_unit_test(fills_no_more),
        cmocka_unit_test(differs_in_a_fork), cmocka_unit_test(below_is_even),
        cmocka_unit_test(wall_clock),        cmocka_unit_test(spans),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
