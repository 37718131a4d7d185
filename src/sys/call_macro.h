/* SPDX-License-Identifier: MIT */
#ifndef WEFT__CALL_MACRO_H
#define WEFT__CALL_MACRO_H
/*
 * How a system call becomes a function that returns -errno (floor 1); for the files that define
 * such functions.
 */
#include <errno.h>

#include "base/base.h"
#include "sys/call.h"
#include "sys/sim/world.h"

/*
 * Evaluates to the call's result, or to -errno, after a fault point; repeats after EINTR. In a
 * simulated process `simulated` is called in its place, with proc_ for the process.
 */
#define WEFT__CALL(simulated, expr)                                                                \
    __extension__({                                                                                \
        __typeof__(expr) r_ = (__typeof__(expr))weft__fault();                                     \
        struct weft__proc *proc_ = weft__sim_proc;                                                 \
        if (WEFT__UNLIKELY(proc_ != NULL)) {                                                       \
            if (r_ == 0)                                                                           \
                r_ = (simulated);                                                                  \
        } else if (r_ == 0) {                                                                      \
            do {                                                                                   \
                r_ = (expr);                                                                       \
            } while (r_ < 0 && errno == EINTR);                                                    \
            if (r_ < 0)                                                                            \
                r_ = -errno;                                                                       \
        }                                                                                          \
        r_;                                                                                        \
    })
#define WEFT__SIM(name, ...) weft__sim_##name(proc_, __VA_ARGS__)

#endif
