/* SPDX-License-Identifier: MIT */
#ifndef WEFT_APP_TALK_H
#define WEFT_APP_TALK_H
/*
 * A conversation of the terminal with a peer: what is typed goes one way while the answers come the
 * other.
 *
 * Floor 6. Invariant: whichever way ends it, nothing of the other is left.
 */
#include <errno.h>

#include <weft/run.h>

/* What input or output returns to end both. Nothing fails with it. */
enum { TALK_ENDED = -EINTR };

/* Runs both side by side with arg, until both have returned 0, or one anything else. Returns 0,
 * also for TALK_ENDED, or the first error. */
int talk_both_ways(weft_fn input, weft_fn output, void *arg);

#endif
