/* SPDX-License-Identifier: MIT */
#ifndef WEFT__NET_PARK_H
#define WEFT__NET_PARK_H
/*
 * Parking: a connection of a server in the task model, while it waits for its peer, is handed to
 * the loop without a task, and gets one again with its next byte (floor 3).
 *
 * It is the server's connection all the time: it has its place among max_connections and
 * max_per_peer, its bytes are counted, a drain and a cancel reach it.
 */
#include <weft/protocol.h>

#include "net/stream.h"

/* Of a server; static for as long as it runs. */
struct weft__parking {
    struct weft_factory factory; /* data: as it likes; made is not called; `lost` is, also after
                                    weft__unpark has failed, but not after it has succeeded */
    int64_t idle_ms; /* a parked connection with no byte for so long is closed; 0: none */
    /* The server drains: true lets it close the connection, false keeps it for another look in
     * 50 ms. */
    bool (*drain)(struct weft_stream *t);
};

/*
 * By the connection's own task: takes its stream, *s is then NULL. user: what the callbacks get.
 * Returns 0; -EOPNOTSUPP: no server's connection in a task, or one that cannot run callbacks;
 * -EBUSY, -ENOMEM, -ECANCELED: all is as before.
 */
int weft__park(struct weft_stream **s, const struct weft__parking *p, void *user);

/*
 * In its data callback: the server's handler is called for the connection in a new task, which
 * reads the last `unread` bytes of the call first, with carried in its record. Errors as of
 * weft_protocol_detach.
 */
int weft__unpark(struct weft_stream *t, size_t unread, uint32_t carried);

/* --- For the worker --------------------------------------------------------------------------- */

struct weft__worker;
bool weft__is_parked(const struct weft__worker *w, const struct weft_stream *s);
/* Has parked connections end in a drain; false: some are left for another look. */
bool weft__park_drain(struct weft__worker *w);

#endif
