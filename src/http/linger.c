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

#define LINGER_MS 2000       /* after the peer has acknowledged everything, or has sent something */
#define LINGER_BODY_MS 30000 /* in all, where a body comes */
#define LINGER_BYTES ((size_t)1 << 20)
#define LINGER_BODY ((size_t)64 << 20) /* many a client sends all of its body before it looks */
#define LOOK_MS 500                    /* between two looks at what it has acknowledged */

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

int weft__http_linger(const struct weft__http_site *site, struct weft_stream *s, bool body)
{
    size_t most = body ? LINGER_BODY : LINGER_BYTES;
    int64_t most_ms = body && !weft_stream_draining(s) ? LINGER_BODY_MS : LINGER_MS;
    int64_t write_ms = site->conf->o.write_ms;
    int64_t stall_ms = write_ms > 0 ? write_ms : LINGER_MS;
    weft_deadline until = weft_after_ms(stall_ms);
    const void *data;
    uint64_t acked = 0;
    size_t seen = 0;
    int err = weft_shutdown(s, until);
    bool sending = err == 0 && on_its_way(s, stall_ms, &acked, &until);
    if (!sending)
        until = weft_after_ms(most_ms);
    while (err == 0 && seen < most && weft_left_ns(until) > 0) {
        weft_deadline look = weft_earlier(until, weft_after_ms(sending ? LOOK_MS : LINGER_MS));
        ssize_t n = weft_peek(s, &data, look);
        if (n > 0) {
            weft_consume(s, (size_t)n);
            seen += (size_t)n;
        } else if (n != -ETIMEDOUT || s->timed_out || !sending) {
            return n == -ECANCELED ? (int)n : 0;
        }
        if (sending && !on_its_way(s, stall_ms, &acked, &until)) {
            sending = false;
            until = weft_after_ms(most_ms);
        }
        if (!sending && most_ms > LINGER_MS && weft_stream_draining(s)) {
            most_ms = LINGER_MS;
            until = weft_earlier(until, weft_after_ms(most_ms));
        }
    }
    return err == -ECANCELED ? err : 0;
}
