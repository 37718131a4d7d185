/* SPDX-License-Identifier: MIT */
/*
 * Formats log lines; see log.h.
 *
 * Floor 0. Invariants: errno is kept, so a line may be logged between a failure and its report.
 */
#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/base.h"
#include "base/text.h"

static const char *const level_names[] = {
    [WEFT_LOG_ERROR] = "error",
    [WEFT_LOG_WARNING] = "warning",
    [WEFT_LOG_INFO] = "info",
    [WEFT_LOG_DEBUG] = "debug",
};

const char *weft_log_level_name(enum weft_log_level level)
{
    unsigned int i = (unsigned int)level;
    return i < WEFT__ARRAY_LEN(level_names) ? level_names[i] : "unknown";
}

void weft__log_printf(const struct weft__log *log, enum weft_log_level level, const char *fmt, ...)
{
    if (log == NULL || log->fn == NULL)
        return;
    int saved = errno;
    char line[500];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(line, sizeof(line), fmt, ap);
    va_end(ap);
    if (n >= 0) {
        weft__text_make_printable(line);
        log->fn(log->arg, level, line);
    }
    errno = saved;
}
