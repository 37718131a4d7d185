/* SPDX-License-Identifier: MIT */
/*
 * Keep-alive: whether the peer is there. Both ways of reading (read.c, protocol.c) wait until
 * due_ns, and then ask here.
 *
 * Floor 5. A peer is asked by a ping, and its silence counts from when that went out and while
 * somebody listens. Where a ping does not get past what is being written, or nothing is received
 * because writing is paused, the peer is asked by those bytes: it has to take of them. So it is
 * where a ping has gone to the kernel, and stands there behind much that waits for the peer.
 *
 * Invariant: each look either ends the connection or puts off the next, so a peer that sends
 * nothing and takes nothing is found within twice ping_ms + pong_ms, whoever writes.
 */
#include <errno.h>

#include "base/error.h"
#include "ws/ws.h"

void weft__ws_heard(struct weft_ws *ws)
{
    ws->due_ns = ws->set.ping_ns > 0 ? weft__ws_now(ws) + ws->set.ping_ns : INT64_MAX;
    ws->pinged = ws->stuck = false;
}

/* The ping could not go out: does the peer take what is in its way? */
static int look_at_writing(struct weft_ws *ws, int64_t now)
{
    uint64_t out = ws->s->bytes_out;
    int64_t limit = ws->set.ping_ns + ws->set.pong_ns;
    if (!ws->stuck || out != ws->taken) {
        ws->stuck = true;
        ws->taken = out;
        ws->taken_ns = now;
    } else if (now - ws->taken_ns >= limit) {
        return weft__fail(-EHOSTDOWN, "the peer has sent and taken nothing for %lld ms",
                          (long long)((now - ws->taken_ns) / 1000000));
    }
    ws->due_ns = weft__min_i64(now + ws->set.pong_ns, ws->taken_ns + limit);
    return 0;
}

/* A ping has no answer in time: is that because the peer is still taking what lies before it? */
static bool is_taking(struct weft_ws *ws)
{
    uint64_t acked = 0;
    bool more = weft__socket_unacked(ws->s, &acked) && acked != ws->taken;
    ws->taken = acked;
    return more;
}

int weft__ws_look(struct weft_ws *ws)
{
    int64_t now = weft_now_ns();
    if (now < ws->due_ns)
        return 0;
    if (ws->pinged && !ws->paused && is_taking(ws)) {
        ws->due_ns = now + ws->set.pong_ns;
        return 0;
    }
    if (ws->pinged && !ws->paused)
        return weft__fail(-EHOSTDOWN, "the peer did not answer a ping for %lld ms",
                          (long long)(ws->set.pong_ns / 1000000));
    int err = ws->paused ? -EAGAIN : weft__ws_send_control(ws, WEFT__WS_PING, NULL, 0, WEFT_NOW);
    if (ws->gone)
        return WEFT_ECLOSED;
    if (err < 0)
        return look_at_writing(ws, now);
    ws->pinged = true;
    ws->stuck = false;
    (void)is_taking(ws); /* from here on */
    ws->due_ns = now + ws->set.pong_ns;
    return 0;
}
