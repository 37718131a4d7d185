/* SPDX-License-Identifier: MIT */
/*
 * A log is a callback that is handed down in options; there is none for the process.
 *
 * Floor 0. Invariants: a NULL log and a log without a callback are legal and cost one branch; a
 * line never allocates and is cut to 499 bytes.
 */
#ifndef WEFT__BASE_LOG_H
#define WEFT__BASE_LOG_H

#include <weft/log.h>

struct weft__log {
    weft_log_fn fn;
    void *arg;
};

void weft__log_printf(const struct weft__log *log, enum weft_log_level level, const char *fmt, ...)
    WEFT_PRINTF(3, 4);

#endif
