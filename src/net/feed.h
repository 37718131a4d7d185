/* SPDX-License-Identifier: MIT */
#ifndef WEFT__NET_FEED_H
#define WEFT__NET_FEED_H
/*
 * The standing receive of a task's TCP stream (floor 3): one operation of many results, that goes
 * on between the reading calls, where the driver has such. It saves an entry of the submission
 * queue and a poll for each message.
 *
 * A stream that is read for some time gets one (fill in fd_stream.c). What comes while nobody reads
 * is kept here: the receive is cancelled at WEFT__FEED_HOLD bytes, and what the kernel brings until
 * that has taken effect is bounded by WEFT__RECV_MULTI_MAX. No byte is lost by a time-out, a
 * cancel, or a change of owner.
 *
 * Invariants:
 *  - the feed is freed by its last completion, or with none under way; its stream, or heir, is told
 *    of nothing after it let go;
 *  - a reading call that is cut short cancels the receive and waits for its end, so that it has
 *    what had come by then, as a receive of its own would.
 */
#include "net/stream.h"

#define WEFT__FEED_HOLD 32768u

/* Whether the stream should have one by now. */
static inline bool weft__feed_due(const struct weft_stream *s)
{
    return s->feed == NULL && s->fills == WEFT__FEED_AFTER && !s->exposed;
}

/* NULL stays NULL without memory: reading goes on without. */
void weft__feed_open(struct weft_stream *s);
/* As the stream class' fill and read. Waits. -EAGAIN: nothing is under way, and a receive of the
 * caller's own is to find out: the stream has no feed any more, or the time was over. */
ssize_t weft__feed_fill(struct weft_stream *s, weft_deadline d);
ssize_t weft__feed_read(struct weft_stream *s, void *buf, size_t cap, weft_deadline d);
/* Whether there are bytes, or the end, that no reading call has had. */
bool weft__feed_holds(const struct weft__feed *f);
/* Receives no more; what has come can still be read. Does not wait. */
void weft__feed_pause(struct weft__feed *f);
/*
 * Ends it, with what it has in the stream's read-ahead: somebody else will receive. The caller is
 * the stream's reader. Waits for the kernel to let go, which no cancel cuts short. -ENOMEM: nothing
 * is lost, it can be called again.
 */
int weft__feed_settle(struct weft_stream *s);
/* The stream ends; its descriptor is about to be closed. */
void weft__feed_drop(struct weft__feed *f, bool abrupt);
/* The stream became t, which has no operation under way: what the feed has and still gets goes
 * there, and its end stands for that of t's NOP. */
void weft__feed_bequeath(struct weft__feed *f, struct weft__transport *t);

#endif
