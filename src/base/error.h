/* SPDX-License-Identifier: MIT */
/*
 * The detail text of the last failure: how calls set it, and how the scheduler gives each task its
 * own. The codes themselves are in <weft/error.h>.
 *
 * Floor 0. How it works: weft__detail_slot points at the place where the running flow keeps its
 * pointer to a detail buffer. A plain thread leaves the slot NULL and uses one static buffer of
 * the thread. A scheduler sets it at each switch, which is one store:
 *
 *     weft__detail_slot = &task->detail;      (struct weft__detail *detail, NULL at first)
 *     weft__detail_slot = NULL;               (back on the thread's own stack)
 *
 * and calls weft__free(task->detail) when the task ends. The buffer is allocated at the flow's
 * first detail; if that allocation fails, the detail is lost and reads as "".
 *
 * Invariants: a task that never fails with a detail costs 8 bytes; setting a detail never fails.
 */
#ifndef WEFT__BASE_ERROR_H
#define WEFT__BASE_ERROR_H

#include <weft/error.h>

struct weft__detail {
    char text[200];
};

extern _Thread_local struct weft__detail **weft__detail_slot
    __attribute__((tls_model("initial-exec"), visibility("hidden")));

/* Sets the detail; cut to 199 bytes, control characters become '?'. Keeps errno. */
void weft__error_detail(const char *fmt, ...) WEFT_PRINTF(1, 2);

/* Sets the detail and returns the code: return weft__fail(WEFT_ENAME, "no address for %s", h); */
int weft__fail(int code, const char *fmt, ...) WEFT_PRINTF(2, 3);

/* Forgets the detail. A public call that may fail without a detail of its own begins with this. */
void weft__error_detail_clear(void);

#endif
