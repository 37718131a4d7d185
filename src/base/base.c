/* SPDX-License-Identifier: MIT */
/*
 * The assertion's slow path, and the library's version.
 *
 * Floor 0. Invariants: this is the one place in the library that writes to stderr, and it does so
 * only on the way to abort().
 */
#include "base/base.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

_Noreturn void weft__assert_failed(const char *file, int line, const char *expr)
{
    dprintf(STDERR_FILENO, "%s:%d: assertion failed: %s\n", file, line, expr);
    abort();
}

const char *weft_version(void)
{
    return WEFT_VERSION;
}
