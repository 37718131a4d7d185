/* SPDX-License-Identifier: MIT */
/*
 * How long a client takes for what it has begun: a frame, a head in several frames, the preface.
 *
 * Floor 5. While one is unfinished nothing else can come on the connection, so it is the connection
 * that ends. What counts is the time for which somebody waited for the client's bytes, and found
 * none: not what a flow took that could not read because the client took nothing.
 */
#include <errno.h>
#include <string.h>

#include "base/error.h"
#include "http/h2.h"
#include "net/stream.h"

#define NS_PER_MS INT64_C(1000000)

void weft__h2_heard(struct weft__h2 *h2, uint64_t from)
{
    if (h2->frames.from != from || weft__http2_frames_open(&h2->frames) == WEFT__HTTP2_DATA)
        h2->slow_ns = 0;
}

static int too_slow(struct weft__h2 *h2, bool body)
{
    const char *why = body ? "nothing came within a frame of a body"
                           : "a frame or the head of a request took too long";
    h2->slow_head = !body;
    int32_t last = nghttp2_session_get_last_proc_stream_id(h2->ng);
    if (nghttp2_submit_goaway(h2->ng, NGHTTP2_FLAG_NONE, last, NGHTTP2_ENHANCE_YOUR_CALM,
                              (const uint8_t *)why, strlen(why)) != 0)
        return -ENOMEM;
    return weft__fail(WEFT_EPROTOCOL, "HTTP/2: %s", why);
}

ssize_t weft__h2_next(struct weft__h2 *h2, const void **data, weft_deadline d)
{
    enum weft__http2_open open =
        h2->server ? weft__http2_frames_open(&h2->frames) : WEFT__HTTP2_NOTHING;
    bool body = open == WEFT__HTTP2_DATA;
    int64_t max_ms = body ? h2->options.body_ms : h2->options.header_ms;
    if (open == WEFT__HTTP2_NOTHING || max_ms <= 0)
        return weft_peek(h2->s, data, d);
    int64_t now = weft_now_ns();
    weft_deadline limit = {now + max_ms * NS_PER_MS - h2->slow_ns};
    ssize_t n = weft_peek(h2->s, data, weft_earlier(d, limit));
    h2->slow_ns += weft_now_ns() - now;
    if (n != -ETIMEDOUT || h2->poked || h2->s->timed_out || d.ns < limit.ns)
        return n;
    return too_slow(h2, body);
}
