/* SPDX-License-Identifier: MIT */
#ifndef WEFT_FUZZ_CHECK_H
#define WEFT_FUZZ_CHECK_H
/* What a fuzzer finds: says what is wrong, and ends the process so that libFuzzer keeps the input.
 */
#include <stdio.h>
#include <stdlib.h>

static inline void check(int ok, const char *what)
{
    if (ok)
        return;
    (void)fprintf(stderr, "%s\n", what);
    abort();
}

#endif
