/* SPDX-License-Identifier: MIT */
/*
 * Torture: a scene is run once to count what can fail in it, and then again for each of those
 * places: every allocation, every system call and operation, every point at which a task or thread
 * waits.
 *
 * Whatever fails, the scene returns 0 or a negative code, in time, and leaves nothing behind: no
 * memory, no descriptor, no child. (That no operation is left in flight, the drivers assert when
 * they close.) When there is not the time to try every place, every k-th is tried, and the
 * output says so.
 *
 * TORTURE=all tries every place, however long it takes; TORTURE="scene kind n" runs one of them
 * alone, for a debugger (kind: alloc, fault, cancel; n counts as in the output).
 */
#ifndef TORTURE_KIT_H
#define TORTURE_KIT_H

#include <weft/weft.h>

#include "rt_kit.h"

struct torture_scene {
    const char *name;
    /* Runs it; driver NULL: on a plain thread. 0 or a negative code; 0 when nothing was made to
     * fail. */
    int (*run)(const char *driver);
};

int torture_main(const struct torture_scene *on_loops, size_t n_loops,
                 const struct torture_scene *on_threads, size_t n_threads, double seconds);

/* Bounds a wait whose other side may have been made to fail; ample in a run that nothing fails in.
 */
#define TORTURE_SOON weft_after_ms(torture_soon_ms())
int64_t torture_soon_ms(void);

/* Keeps the first error: err = first(err, f(...)). */
static inline int torture_first(int err, ssize_t next)
{
    CHECK(next >= 0 || next < -10000 || next > -4096);
    return err < 0 ? err : next < 0 ? (int)next : 0;
}

/* Runs body in a loop of that driver, or (driver NULL) in a group's thread, that can be cancelled.
 */
int torture_run(const char *driver, weft_fn body, void *arg);

#endif
