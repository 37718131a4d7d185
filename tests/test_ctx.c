/* SPDX-License-Identifier: MIT */
/*
 * The context switch: runs the checks of ctx_check.c, each as a test of its own.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/base.h"
#include "ctx_check.h"

static void run_check(void **state)
{
    const struct ctx_check *check = *state;
    assert_int_equal(check->run(), 0);
}

int main(void)
{
    struct CMUnitTest tests[32];
    WEFT__ASSERT(ctx_check_count <= WEFT__ARRAY_LEN(tests));
    for (size_t i = 0; i < ctx_check_count; i++)
        tests[i] = (struct CMUnitTest){
            .name = ctx_checks[i].name,
            .test_func = run_check,
            .initial_state = (void *)&ctx_checks[i],
        };
    return _cmocka_run_group_tests("ctx", tests, ctx_check_count, NULL, NULL);
}
