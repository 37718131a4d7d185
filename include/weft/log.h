/* SPDX-License-Identifier: MIT */
/*
 * Logs: the library prints nothing. Whoever wants to hear of accept back-off, slow tasks or failed
 * connections puts a callback of this type into the options that have one.
 */
#ifndef WEFT_LOG_H
#define WEFT_LOG_H

#include <weft/base.h>

WEFT_BEGIN_DECLS

enum weft_log_level {
    WEFT_LOG_ERROR,   /* something was lost: a connection, a job, a listener */
    WEFT_LOG_WARNING, /* the program runs on with less: back-off, a task that holds its loop */
    WEFT_LOG_INFO,    /* start, drain, stop */
    WEFT_LOG_DEBUG    /* single connections and decisions */
};

/*
 * Takes one line of at most 499 bytes, without a newline and without control characters. `text`
 * is valid during the call only. It must not wait, must not call back into the object that logs,
 * and may be called from every thread that the options' owner starts, at the same time.
 */
typedef void (*weft_log_fn)(void *arg, enum weft_log_level level, const char *text);

/*
 * "error", "warning", "info", "debug"; "unknown" for a number that is no level.
 * Never waits; any thread; the string is static.
 */
WEFT_API const char *weft_log_level_name(enum weft_log_level level);

WEFT_END_DECLS

#endif
