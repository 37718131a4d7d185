/* SPDX-License-Identifier: MIT */
/*
 * What came, without waiting: checks of frames, putting messages together, inflating, control
 * frames. Both ways of reading (read.c, protocol.c) stand on it.
 *
 * Floor 5. Invariants: what is put together never takes more than message_max bytes, inflated, and
 * the buffer grows with what has come, not with what a head announces; text is refused at the first
 * byte that cannot be.
 */
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "ws/ws.h"

#define BUF_MIN 1024u

static int too_long(const struct weft_ws *ws)
{
    return weft__fail(WEFT_ETOOLONG, "a message is longer than %zu bytes", ws->set.message_max);
}

int weft__ws_may_be_whole(struct weft_ws *ws)
{
    const struct weft__ws_parser *in = &ws->in;
    size_t max = ws->set.message_max;
    ws->cap = weft__min_size(ws->cap, max); /* what has held a piece may be larger */
    if (ws->len > max || (!in->compressed && in->left + ws->ahead > max - ws->len))
        return too_long(ws);
    return 0;
}

int weft__ws_frame_begins(struct weft_ws *ws, bool whole)
{
    const struct weft__ws_parser *in = &ws->in;
    if (weft__ws_is_control(in->opcode)) {
        ws->control_len = 0;
        return 0;
    }
    if (in->first)
        ws->text = (struct weft__utf8){0};
    return whole ? weft__ws_may_be_whole(ws) : 0;
}

int weft__ws_check_text(struct weft_ws *ws, const void *data, size_t len)
{
    size_t at;
    if (ws->in.message != WEFT__WS_TEXT || weft__utf8_check(&ws->text, data, len, &at))
        return 0;
    return weft__fail(-EILSEQ, "a text message is not UTF-8: 0x%02x",
                      ((const unsigned char *)data)[at]);
}

int weft__ws_added(struct weft_ws *ws, size_t len)
{
    int err = weft__ws_check_text(ws, ws->buf + ws->len, len);
    ws->len += len;
    return err;
}

int weft__ws_room(struct weft_ws *ws, size_t want)
{
    size_t left = ws->set.message_max - ws->len;
    if (ws->cap > ws->len)
        return 0;
    if (left == 0)
        return too_long(ws);
    size_t more = weft__min_size(
        weft__max_size(weft__min_size(want, WEFT__RBUF_SIZE), weft__max_size(ws->cap, BUF_MIN)),
        left);
    uint8_t *larger = weft__realloc(ws->buf, ws->cap + more);
    if (larger == NULL)
        return -ENOMEM;
    ws->buf = larger;
    ws->cap += more;
    return 0;
}

void weft__ws_buf_free(struct weft_ws *ws)
{
    weft__free(ws->buf);
    ws->buf = NULL;
    ws->len = ws->cap = 0;
    ws->buf_shown = false;
}

/* --- Inflating ------------------------------------------------------------------------------- */

int weft__ws_need_inflater(struct weft_ws *ws)
{
    if (ws->inflater != NULL)
        return 0;
    uint8_t bits = ws->server ? ws->deflate.client_bits : ws->deflate.server_bits;
    return weft__ws_inflater_get(&ws->inflater, ws->s->loop, bits);
}

int weft__ws_inflate_all(struct weft_ws *ws, const void *in, size_t len)
{
    struct weft__slice rest = weft__slice_of(in, len);
    for (;;) {
        unsigned char extra;
        bool full = ws->len == ws->set.message_max; /* then one byte more is too many */
        int err = full ? 0 : weft__ws_room(ws, 2 * rest.len);
        size_t used, made;
        if (err == 0)
            err = weft__ws_inflate(ws->inflater, rest.at, rest.len, &used,
                                   full ? &extra : ws->buf + ws->len, full ? 1 : ws->cap - ws->len,
                                   &made);
        if (err < 0)
            return err;
        if (full && made > 0)
            return too_long(ws);
        rest = weft__slice_from(rest, used);
        err = full ? 0 : weft__ws_added(ws, made);
        if (err < 0)
            return err;
        if (full ? rest.len == 0 : ws->cap > ws->len)
            return 0; /* there was room, so that was all */
    }
}

int weft__ws_inflate_whole(const struct weft_ws *ws)
{
    if (!ws->inflater->within)
        return 0;
    return weft__fail(WEFT_EPROTOCOL, "a compressed message ends within a block");
}

int weft__ws_inflate_end(struct weft_ws *ws)
{
    if (!ws->inflater->within)
        return 0; /* it has its tail, or needs none */
    int err = weft__ws_inflate_all(ws, weft__ws_tail, WEFT__WS_TAIL_LEN);
    return err < 0 ? err : weft__ws_inflate_whole(ws);
}

int weft__ws_message_ends(struct weft_ws *ws)
{
    bool text = ws->in.message == WEFT__WS_TEXT;
    bool peer_no_takeover =
        ws->server ? ws->deflate.client_no_takeover : ws->deflate.server_no_takeover;
    if (ws->inflater != NULL && peer_no_takeover) {
        if (ws->s->loop != NULL) {
            weft__ws_inflater_put(ws->inflater);
            ws->inflater = NULL;
        } else {
            (void)inflateReset(&ws->inflater->z);
            ws->inflater->ended = ws->inflater->within = false;
        }
    }
    if (text && !weft__utf8_complete(&ws->text))
        return weft__fail(-EILSEQ, "a text message ends within a character");
    return 0;
}

/* --- Control frames -------------------------------------------------------------------------- */

static int got_close(struct weft_ws *ws)
{
    struct weft__ws_close c;
    int err = weft__ws_close_parse(&c, ws->control, ws->control_len);
    if (err < 0)
        return err;
    ws->close_got = true;
    ws->close_code = c.code;
    if (c.reason_len > 0) {
        ws->close_reason = weft__alloc(c.reason_len + 1);
        if (ws->close_reason != NULL) { /* without memory it has no reason */
            memcpy(ws->close_reason, c.reason, c.reason_len);
            ws->close_reason[c.reason_len] = '\0';
        }
    }
    return 0;
}

int weft__ws_control_ends(struct weft_ws *ws)
{
    if (ws->in.opcode == WEFT__WS_CLOSE)
        return got_close(ws);
    if (ws->in.opcode == WEFT__WS_PING) { /* only the last one need be answered (5.5.3) */
        memcpy(ws->pong, ws->control, ws->control_len);
        ws->pong_len = ws->control_len;
    }
    return 0;
}
