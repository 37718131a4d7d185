/* SPDX-License-Identifier: MIT */
#ifndef WEFT_APP_PROGRESS_H
#define WEFT_APP_PROGRESS_H
/*
 * A progress bar of one line on standard error, drawn anew ten times a second at most; only where
 * that is a terminal.
 *
 * Floor 6.
 */
#include <stdbool.h>
#include <stdint.h>

struct progress {
    bool shown;
    uint64_t from, done; /* there at the beginning; now */
    int64_t total;       /* -1: not known */
    int64_t began_ns, drawn_ns;
};

/* from: bytes that are there; more: how many are to come, -1 when that is not known. */
void progress_open(struct progress *p, bool wanted, uint64_t from, int64_t more);
void progress_add(struct progress *p, uint64_t n);
/* Draws the last state and ends the line. */
void progress_close(struct progress *p);

#endif
