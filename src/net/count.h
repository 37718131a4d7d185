/* SPDX-License-Identifier: MIT */
#ifndef WEFT__NET_COUNT_H
#define WEFT__NET_COUNT_H
/*
 * What lives on this thread and has no descriptor by which it could be found (floor 3): a
 * simulation looks for leaks by it. Loops do not migrate, so the count is exact for each thread.
 */
#include <stdint.h>

extern _Thread_local int64_t weft__pipe_ends /* of pipes in memory */
    __attribute__((tls_model("initial-exec"), visibility("hidden")));

#endif
