/* SPDX-License-Identifier: MIT */
/*
 * The streams that a client cannot open any more. See h2.h.
 *
 * Floor 5. nghttp2 forgets streams that are closed, and passes over what comes for them: it may
 * have been on its way when we reset them. But where the client itself has ended or reset a stream,
 * or has passed its number over, a head for it has no such excuse, and is an error of the
 * connection (RFC 9113 sections 5.1 and 5.1.1), and data for it one of the stream (section 6.1).
 * nghttp2 counts that against the connection's window and tells nobody, so it is looked at before.
 *
 * Invariant: what is remembered is certain. What has been forgotten, for the spans have a maximum,
 * is passed over.
 */
#include <errno.h>

#include "http/h2.h"

static struct weft__h2_span *span_of(struct weft__h2 *h2, int32_t id)
{
    for (size_t i = 0; i < WEFT__H2_PAST_MAX; i++)
        if (id >= h2->past[i].from && id <= h2->past[i].to)
            return &h2->past[i];
    return NULL;
}

/* Streams end mostly in the order of their numbers, so most of them lengthen a span. */
static void add(struct weft__h2 *h2, int32_t from, int32_t to, uint32_t code)
{
    for (size_t i = 0; i < WEFT__H2_PAST_MAX; i++) {
        struct weft__h2_span *s = &h2->past[(h2->past_at + i) % WEFT__H2_PAST_MAX];
        if (s->code == code && s->to == from - 2) {
            s->to = to;
            return;
        }
        if (s->code == code && s->from - 2 == to) { /* to may be the largest there is */
            s->from = from;
            return;
        }
    }
    h2->past_at = (h2->past_at + 1) % WEFT__H2_PAST_MAX;
    h2->past[h2->past_at] = (struct weft__h2_span){from, to, code};
}

void weft__h2_past_add(struct weft__h2 *h2, int32_t id)
{
    if (h2->server && span_of(h2, id) == NULL)
        add(h2, id, id, NGHTTP2_STREAM_CLOSED);
}

int weft__h2_past_data(struct weft__h2 *h2, int32_t id)
{
    if (id % 2 == 0 || id > h2->newest || span_of(h2, id) == NULL ||
        nghttp2_session_get_stream_user_data(h2->ng, id) != NULL)
        return 0;
    int err = nghttp2_submit_rst_stream(h2->ng, NGHTTP2_FLAG_NONE, id, NGHTTP2_STREAM_CLOSED);
    return err != 0 ? -ENOMEM : 0;
}

int weft__h2_past_check(nghttp2_session *ng, const nghttp2_frame_hd *hd, void *arg)
{
    struct weft__h2 *h2 = arg;
    int32_t id = hd->stream_id;
    if (!h2->server || hd->type != NGHTTP2_HEADERS || id % 2 == 0)
        return 0;
    if (id > h2->newest) {
        if (id > h2->newest + 2)
            add(h2, h2->newest + 2, id - 2, NGHTTP2_PROTOCOL_ERROR);
        h2->newest = id;
        return 0;
    }
    if (nghttp2_session_get_stream_user_data(ng, id) != NULL)
        return 0;
    const struct weft__h2_span *s = span_of(h2, id);
    if (s != NULL && nghttp2_session_terminate_session(ng, s->code) != 0)
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    return 0;
}
