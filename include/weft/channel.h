/* SPDX-License-Identifier: MIT */
#ifndef WEFT_CHANNEL_H
#define WEFT_CHANNEL_H
/*
 * Bounded channels of fixed-size items, closable, with select over several.
 *
 * A plain channel joins tasks of one loop. A channel opened with weft_channel_open_mt joins tasks
 * of any loops and plain threads; all calls below work on both kinds (the _mt names in this header
 * are calls that any thread may make on such a channel).
 * Send and receive wait and are cancellation points; a cancelled or timed-out call has moved no
 * item. Items are copied in and out.
 */
#include <weft/time.h>

WEFT_BEGIN_DECLS

struct weft_channel;

/*
 * capacity: items that may wait in it; 0 is a rendezvous: send returns when a receiver has taken
 * it. *ret: owned by the caller. Returns 0, -ENOMEM, -EINVAL (item_size 0 or over 64 KiB).
 */
WEFT_API WEFT_MUST_CHECK int weft_channel_open(struct weft_channel **ret, size_t item_size,
                                               size_t capacity);
WEFT_API WEFT_MUST_CHECK int weft_channel_open_mt(struct weft_channel **ret, size_t item_size,
                                                  size_t capacity);

/* Returns 0; -ETIMEDOUT (full; with WEFT_NOW: at once), -ECANCELED, WEFT_ECLOSED, -EDEADLK (a
 * callback, or a plain thread on a plain channel, which nothing could wake). */
WEFT_API WEFT_MUST_CHECK int weft_channel_send(struct weft_channel *c, const void *item,
                                               weft_deadline d);

/* Returns 0 with *item set; WEFT_ECLOSED once closed and empty; else as send. */
WEFT_API WEFT_MUST_CHECK int weft_channel_recv(struct weft_channel *c, void *item, weft_deadline d);

/* Without waiting; also from protocol callbacks. -EAGAIN when it would wait. */
WEFT_API WEFT_MUST_CHECK int weft_channel_send_nowait(struct weft_channel *c, const void *item);
WEFT_API WEFT_MUST_CHECK int weft_channel_recv_nowait(struct weft_channel *c, void *item);

/* No more sends; what is queued can still be received; every waiter wakes. May be repeated. */
WEFT_API void weft_channel_shut(struct weft_channel *c);

/* Shuts and frees it. Nobody may wait in it or use it any more. NULL is fine. */
WEFT_API void weft_channel_close(struct weft_channel **c);

WEFT_API size_t weft_channel_count(const struct weft_channel *c);

/* One arm of a select. */
struct weft_select {
    struct weft_channel *channel;
    void *recv;       /* where a received item goes; or */
    const void *send; /* the item to send: exactly one of the two is set */
    int result;       /* of the chosen arm: 0 or WEFT_ECLOSED */
};

/*
 * Waits until one arm can go on, does that one and no other. When several can, the choice rotates.
 * Returns the chosen arm's index; -ETIMEDOUT, -ECANCELED, -EDEADLK, -EINVAL (no arms, over 64).
 */
WEFT_API WEFT_MUST_CHECK int weft_select(struct weft_select *arms, size_t n, weft_deadline d);

WEFT_END_DECLS
#endif
