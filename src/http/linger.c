/* SPDX-License-Identifier: MIT */
/*
 * The end of a connection whose peer may still be sending (floor 5).
 *
 * RFC 9112 section 9.6: what arrives at a closed socket is answered with a reset, and the reset
 * takes along what is still on its way to the peer: the rest of a response, a GOAWAY. HTTP/2's
 * peers always have something to say (windows, pings). So our side is ended first, and what comes
 * is read and dropped, until the peer ends, too, or has had its time with all that we sent.
 */
#include <errno.h>

#include <weft/time.h>

#include "http/site.h"
#include "net/stream.h"

#define LINGER_MS 2000 /* after the peer has acknowledged everything */
#define LINGER_BYTES ((size_t)1 << 20)
#define LOOK_MS 500 /* between two looks at what it has acknowledged */

/* True while something is on its way; *until moves on as long as it gets there. */
static bool on_its_way(const struct weft_stream *s, int64_t stall_ms, uint64_t *acked,
                       weft_deadline *until)
{
    uint64_t now;
    if (!weft__socket_unacked(s, &now))
        return false;
    if (now != *acked) {
        *acked = now;
        *until = weft_after_ms(stall_ms);
    }
    return true;
}

int weft__http_linger(const struct weft__http_site *site, struct weft_stream *s)
{
    int64_t write_ms = site->conf->o.write_ms;
    int64_t stall_ms = write_ms > 0 ? write_ms : LINGER_MS;
    weft_deadline until = weft_after_ms(stall_ms);
    const void *data;
    uint64_t acked = 0;
    size_t seen = 0;
    int err = weft_shutdown(s, until);
    bool sending = err == 0 && on_its_way(s, stall_ms, &acked, &until);
    if (!sending)
        until = weft_after_ms(LINGER_MS);
    while (err == 0 && seen < LINGER_BYTES && weft_left_ns(until) > 0) {
        weft_deadline look = sending ? weft_earlier(until, weft_after_ms(LOOK_MS)) : until;
        ssize_t n = weft_peek(s, &data, look);
        if (n > 0) {
            weft_consume(s, (size_t)n);
            seen += (size_t)n;
        } else if (n != -ETIMEDOUT || s->timed_out) {
            return n == -ECANCELED ? (int)n : 0;
        }
        if (sending && !on_its_way(s, stall_ms, &acked, &until)) {
            sending = false;
            until = weft_after_ms(LINGER_MS);
        }
    }
    return err == -ECANCELED ? err : 0;
}
