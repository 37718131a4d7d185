/* SPDX-License-Identifier: MIT */
/*
 * Reading of tasks and threads: whole messages, and pieces.
 *
 * Floor 5. A message that is one frame and fits into the read-ahead is shown where it lies; all
 * else is put together in a buffer. Every step can be cut off and made again.
 */
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "ws/ws.h"

/* A frame of up to so much is waited for in the read-ahead. */
#define VIEW_MAX (WEFT__RBUF_SIZE - 64u)
/* Where less is missing, other frames may come with the same read. */
#define PEEK_BELOW 4096u
#define PIECE_MAX 16384u

/* What a step came to. */
enum { AGAIN = 0, MESSAGE = 1, CLOSED = 2 };

/* --- Waiting, and keeping alive -------------------------------------------------------------- */

/* When to look whether the peer is there, if nothing comes. Once a close frame has gone, no ping
 * may follow it, and whoever closes bounds the wait. */
static weft_deadline due(const struct weft_ws *ws)
{
    return ws->close_sent ? WEFT_NEVER : (weft_deadline){ws->due_ns};
}

/* A wait has timed out: -ETIMEDOUT when that was the caller's deadline, 0 to go on. */
static int keep_alive(struct weft_ws *ws, weft_deadline d)
{
    if (ws->gone)
        return WEFT_ECLOSED;
    if (weft_now_ns() >= d.ns || ws->s->timed_out)
        return -ETIMEDOUT;
    return ws->close_sent ? 0 : weft__ws_look(ws);
}

/* min bytes of the read-ahead: > 0, 0 at the stream's end, < 0. */
static ssize_t await(struct weft_ws *ws, uint8_t **data, size_t min, weft_deadline d)
{
    for (;;) {
        const void *at = NULL;
        weft__ws_send_pong(ws, d);
        if (ws->gone)
            return WEFT_ECLOSED;
        ssize_t n = weft_peek_min(ws->s, &at, min, weft_earlier(d, due(ws)));
        if (n > 0) {
            weft__ws_heard(ws);
            *data = (uint8_t *)(uintptr_t)at;
        }
        int err = n == -ETIMEDOUT ? keep_alive(ws, d) : 0;
        if (n != -ETIMEDOUT || err < 0)
            return err < 0 ? err : n;
    }
}

/* At most cap bytes straight into a buffer. */
static ssize_t await_into(struct weft_ws *ws, void *buf, size_t cap, weft_deadline d)
{
    for (;;) {
        weft__ws_send_pong(ws, d);
        if (ws->gone)
            return WEFT_ECLOSED;
        ssize_t n = weft_read(ws->s, buf, cap, weft_earlier(d, due(ws)));
        if (n > 0)
            weft__ws_heard(ws);
        int err = n == -ETIMEDOUT ? keep_alive(ws, d) : 0;
        if (n != -ETIMEDOUT || err < 0)
            return err < 0 ? err : n;
    }
}

/* Whether only the call has come to nothing, and the connection may go on. */
static bool may_go_on(ssize_t err)
{
    return err == -ETIMEDOUT || err == -ECANCELED || err == -EDEADLK || err == -EBUSY ||
           err == -ENOMEM || err == WEFT_ECLOSED || err == WEFT_ETHREAD;
}

/* n <= 0 of the above, as an error: the stream may not end here. */
static int ended(struct weft_ws *ws, ssize_t n)
{
    if (!may_go_on(n))
        ws->close_code = WEFT__WS_NO_CLOSE; /* RFC 6455, 7.1.5 */
    if (n < 0)
        return (int)n;
    return weft__fail(WEFT_EEOF, "the peer ended the connection without a close frame");
}

/* --- Steps ----------------------------------------------------------------------------------- */

static int read_head(struct weft_ws *ws, bool whole, weft_deadline d)
{
    while (!ws->in.in_frame) {
        uint8_t *data;
        ssize_t n = await(ws, &data, 1, d);
        if (n <= 0)
            return ended(ws, n);
        ssize_t used = weft__ws_parse_head(&ws->in, data, (size_t)n);
        if (used < 0)
            return (int)used;
        weft_consume(ws->s, (size_t)used);
    }
    return weft__ws_frame_begins(ws, whole);
}

/* Unmasks what has come of the frame behind what is unmasked already; n bytes lie at data. */
static size_t unmask(struct weft_ws *ws, uint8_t *data, size_t n)
{
    size_t more = weft__ws_payload(&ws->in, data + ws->ahead, n - ws->ahead);
    ws->ahead += more;
    return more;
}

static int step_control(struct weft_ws *ws, weft_deadline d)
{
    while (ws->in.left > 0) {
        uint8_t *data;
        ssize_t n = await(ws, &data, 1, d);
        if (n <= 0)
            return ended(ws, n);
        size_t got = weft__ws_payload(&ws->in, data, (size_t)n);
        memcpy(ws->control + ws->control_len, data, got);
        ws->control_len = (uint8_t)(ws->control_len + got);
        weft_consume(ws->s, got);
    }
    int err = weft__ws_control_ends(ws);
    weft__ws_frame_end(&ws->in);
    if (err < 0)
        return err;
    if (ws->close_got) { /* who says good-bye and takes nothing is not waited for without end */
        d = weft_earlier(d, weft_after_ns(ws->set.close_ns));
        (void)weft__ws_send_close(ws, ws->close_code, "", 0, d);
        return ws->gone ? WEFT_ECLOSED : CLOSED;
    }
    return AGAIN;
}

static void show(struct weft_ws *ws, struct weft_ws_message *m, const void *data, size_t len,
                 bool last)
{
    *m = (struct weft_ws_message){.type = (enum weft_ws_type)ws->in.message,
                                  .last = last,
                                  .data = data != NULL ? data : "",
                                  .len = len};
}

/* A frame that is a message, in the read-ahead. */
static int step_view(struct weft_ws *ws, struct weft_ws_message *m, weft_deadline d)
{
    uint8_t *data = NULL;
    while (ws->in.left > 0 || (data == NULL && ws->ahead > 0)) {
        ssize_t n = await(ws, &data, ws->in.left > 0 ? ws->ahead + 1 : ws->ahead, d);
        if (n <= 0)
            return ended(ws, n);
        size_t before = ws->ahead;
        int err = weft__ws_check_text(ws, data + before, unmask(ws, data, (size_t)n));
        if (err < 0)
            return err;
    }
    int err = weft__ws_message_ends(ws);
    if (err < 0)
        return err;
    show(ws, m, data, ws->ahead, true);
    ws->shown = ws->ahead;
    ws->ahead = 0;
    weft__ws_frame_end(&ws->in);
    return MESSAGE;
}

/* The frame is complete, and its payload in the buffer. */
static int frame_ends(struct weft_ws *ws, struct weft_ws_message *m)
{
    bool fin = ws->in.fin;
    int err = 0;
    if (fin && ws->in.compressed)
        err = weft__ws_inflate_end(ws);
    if (fin && err == 0)
        err = weft__ws_message_ends(ws);
    if (err < 0)
        return err;
    if (fin) {
        show(ws, m, ws->buf, ws->len, true);
        ws->buf_shown = true;
    }
    weft__ws_frame_end(&ws->in);
    return fin ? MESSAGE : AGAIN;
}

/* Plain payload, to the buffer. */
static int step_collect(struct weft_ws *ws, struct weft_ws_message *m, weft_deadline d)
{
    while (ws->in.left > 0) {
        int err = weft__ws_room(ws, (size_t)weft__min_u64(ws->in.left, SIZE_MAX));
        if (err < 0)
            return err;
        uint8_t *to = ws->buf + ws->len, *data;
        size_t cap = (size_t)weft__min_u64(ws->cap - ws->len, ws->in.left);
        ssize_t n = weft__in_left(ws->s) == 0 && ws->in.left < PEEK_BELOW ? await(ws, &data, 1, d)
                                                                          : (ssize_t)cap;
        if (n > 0)
            n = await_into(ws, to, cap, d);
        if (n <= 0)
            return ended(ws, n);
        (void)weft__ws_payload(&ws->in, to, (size_t)n);
        err = weft__ws_added(ws, (size_t)n);
        if (err < 0)
            return err;
    }
    return frame_ends(ws, m);
}

/* Compressed payload: inflated to the buffer. */
static int step_inflate(struct weft_ws *ws, struct weft_ws_message *m, weft_deadline d)
{
    int err = weft__ws_need_inflater(ws);
    if (err < 0)
        return err;
    while (ws->in.left > 0 || ws->ahead > 0) {
        uint8_t *data;
        ssize_t n = await(ws, &data, weft__max_size(ws->ahead, 1), d);
        if (n <= 0)
            return ended(ws, n);
        (void)unmask(ws, data, (size_t)n);
        n = (ssize_t)ws->ahead;
        err = weft__ws_inflate_all(ws, data, ws->ahead);
        if (err < 0)
            return err;
        ws->ahead = 0;
        weft_consume(ws->s, (size_t)n);
    }
    return frame_ends(ws, m);
}

static int step_whole(struct weft_ws *ws, struct weft_ws_message *m, weft_deadline d)
{
    bool begun = ws->in.in_frame; /* and perhaps in pieces */
    int err = begun ? 0 : read_head(ws, true, d);
    if (err < 0)
        return err;
    if (weft__ws_is_control(ws->in.opcode))
        return step_control(ws, d);
    err = begun ? weft__ws_may_be_whole(ws) : 0;
    if (err < 0)
        return err;
    if (ws->in.compressed)
        return step_inflate(ws, m, d);
    if (ws->in.first && ws->in.fin && ws->in.len <= VIEW_MAX && ws->len == 0)
        return step_view(ws, m, d);
    return step_collect(ws, m, d);
}

/* --- Pieces ---------------------------------------------------------------------------------- */

/* A piece of plain payload, where it lies. */
static int piece_plain(struct weft_ws *ws, struct weft_ws_message *m, weft_deadline d)
{
    uint8_t *data = NULL;
    if (ws->in.left > 0 || ws->ahead > 0) {
        ssize_t n = await(ws, &data, weft__max_size(ws->ahead, 1), d);
        if (n <= 0)
            return ended(ws, n);
        size_t before = ws->ahead;
        int err = weft__ws_check_text(ws, data + before, unmask(ws, data, (size_t)n));
        if (err < 0)
            return err;
    }
    bool last = ws->in.fin && ws->in.left == 0;
    int err = last ? weft__ws_message_ends(ws) : 0;
    if (err < 0)
        return err;
    show(ws, m, data, ws->ahead, last);
    ws->shown = ws->ahead;
    ws->ahead = 0;
    if (ws->in.left == 0)
        weft__ws_frame_end(&ws->in);
    return m->len > 0 || last ? MESSAGE : AGAIN;
}

/* Inflates of the bytes what fits into the piece; *used went. */
static int inflate_piece(struct weft_ws *ws, const void *in, size_t len, size_t *used)
{
    size_t made = 0;
    int err =
        weft__ws_inflate(ws->inflater, in, len, used, ws->buf + ws->len, ws->cap - ws->len, &made);
    return err < 0 ? err : weft__ws_added(ws, made);
}

/* Inflates what is there, until the piece is full or more would have to be waited for. */
static int fill_piece(struct weft_ws *ws, weft_deadline d)
{
    while (ws->len < ws->cap && (ws->in.left > 0 || ws->ahead > 0)) {
        uint8_t *data;
        size_t used = 0;
        if (ws->len > 0 && ws->ahead == 0 && weft__in_left(ws->s) == 0)
            break;
        ssize_t n = await(ws, &data, weft__max_size(ws->ahead, 1), d);
        if (n <= 0)
            return ended(ws, n);
        (void)unmask(ws, data, (size_t)n);
        int err = inflate_piece(ws, data, ws->ahead, &used);
        ws->ahead -= used;
        weft_consume(ws->s, used);
        if (err < 0)
            return err;
    }
    return 0;
}

/* The payload has been used: what is still to come out of the inflater. 1 when that was all. */
static int finish_piece(struct weft_ws *ws)
{
    size_t used = 0;
    int err = inflate_piece(ws, weft__ws_tail, 0, &used);
    bool complete = ws->tail == 0 && !ws->inflater->within;
    if (err == 0 && ws->len < ws->cap && !complete)
        err = inflate_piece(ws, weft__ws_tail + ws->tail, WEFT__WS_TAIL_LEN - ws->tail, &used);
    ws->tail = (uint8_t)(ws->tail + used);
    if (err < 0 || ws->len == ws->cap)
        return err;
    WEFT__ASSERT(complete || ws->tail == WEFT__WS_TAIL_LEN);
    ws->tail = 0;
    err = weft__ws_inflate_whole(ws);
    if (err == 0)
        err = weft__ws_message_ends(ws);
    return err < 0 ? err : 1;
}

/* A piece of what compressed payload inflates to, at most PIECE_MAX. */
static int piece_inflated(struct weft_ws *ws, struct weft_ws_message *m, weft_deadline d)
{
    int res = weft__ws_need_inflater(ws);
    if (res < 0)
        return res;
    if (ws->buf == NULL) {
        ws->buf = weft__alloc(PIECE_MAX);
        if (ws->buf == NULL)
            return -ENOMEM;
        ws->cap = PIECE_MAX;
    }
    enum weft_ws_type type = (enum weft_ws_type)ws->in.message;
    res = fill_piece(ws, d);
    bool used = res == 0 && ws->len < ws->cap && ws->in.left == 0 && ws->ahead == 0;
    if (used && ws->in.fin)
        res = finish_piece(ws);
    if (res < 0)
        return res;
    if (used && (res == 1 || !ws->in.fin))
        weft__ws_frame_end(&ws->in);
    if (ws->len == 0 && res == 0)
        return AGAIN;
    *m = (struct weft_ws_message){.type = type, .last = res == 1, .data = ws->buf, .len = ws->len};
    ws->buf_shown = true;
    return MESSAGE;
}

static int step_piece(struct weft_ws *ws, struct weft_ws_message *m, weft_deadline d)
{
    if (ws->len > 0 && !ws->pieces) { /* begun by a whole read that was cut off */
        show(ws, m, ws->buf, ws->len, false);
        ws->buf_shown = true;
        return MESSAGE;
    }
    int err = ws->in.in_frame ? 0 : read_head(ws, false, d);
    if (err < 0)
        return err;
    if (weft__ws_is_control(ws->in.opcode))
        return step_control(ws, d);
    return ws->in.compressed ? piece_inflated(ws, m, d) : piece_plain(ws, m, d);
}

/* --- Calls ----------------------------------------------------------------------------------- */

/* What the last call has shown is over. */
static void drop_shown(struct weft_ws *ws)
{
    if (ws->shown > 0)
        weft_consume(ws->s, ws->shown);
    ws->shown = 0;
    if (ws->buf_shown) {
        ws->len = 0;
        ws->buf_shown = false;
        if (ws->cap > WEFT__RBUF_SIZE || weft__in_left(ws->s) == 0)
            weft__ws_buf_free(ws); /* nobody knows how long the next one takes to come */
    }
}

/* Whether nothing more can be read after an error. */
static bool is_final(const struct weft_ws *ws, int err)
{
    if (err == -ENOMEM) /* what was inflated so far cannot be again */
        return ws->in.in_frame && ws->in.compressed;
    return err == WEFT_EPROTOCOL || err == -EILSEQ || err == WEFT_ETOOLONG || err == WEFT_EEOF ||
           err == -EHOSTDOWN;
}

static int failed(struct weft_ws *ws, int err)
{
    if (ws->gone)
        return WEFT_ECLOSED;
    if (is_final(ws, err)) {
        char detail[200];
        (void)strcpy(detail, weft_error_detail());
        ws->read_error = err;
        weft__ws_buf_free(ws);
        if (err != WEFT_EEOF)
            weft__ws_tell_error(ws, err);
        weft__error_detail("%s", detail); /* and not that of telling the peer */
        if (ws->gone)
            return WEFT_ECLOSED;
    }
    return err;
}

static int enter(struct weft_ws *ws)
{
    if (ws->callbacks)
        return weft__fail(-EBUSY, "the connection is driven by callbacks");
    if (ws->reading)
        return weft__fail(-EBUSY, "another task is already reading this connection");
    int err = weft__ws_enter(ws);
    if (err < 0)
        return err;
    ws->reading = true;
    return 0;
}

static void leave(struct weft_ws *ws)
{
    ws->reading = false;
    weft_event_set(&ws->left);
    weft__ws_leave(ws);
}

/* 1 with a message or piece, 0 at the peer's close, < 0. */
static int read_next(struct weft_ws *ws, struct weft_ws_message *m, bool whole, weft_deadline d)
{
    struct weft_ws_message got = {.last = false};
    int res = AGAIN;
    drop_shown(ws);
    if (ws->read_error < 0)
        return ws->read_error;
    if (ws->close_got)
        return 0;
    if (whole && ws->pieces)
        return weft__fail(-EBUSY, "a message is being read in pieces");
    while (res == AGAIN)
        res = whole ? step_whole(ws, &got, d) : step_piece(ws, &got, d);
    if (res < 0)
        return failed(ws, res);
    if (res == CLOSED)
        return 0;
    ws->pieces = !got.last;
    *m = got;
    return 1;
}

int weft_ws_read(struct weft_ws *ws, struct weft_ws_message *m, weft_deadline d)
{
    int res = enter(ws);
    if (res < 0)
        return res;
    res = read_next(ws, m, true, d);
    leave(ws);
    return res;
}

int weft_ws_read_some(struct weft_ws *ws, struct weft_ws_message *m, weft_deadline d)
{
    int res = enter(ws);
    if (res < 0)
        return res;
    res = read_next(ws, m, false, d);
    leave(ws);
    return res;
}

int weft__ws_drain(struct weft_ws *ws, weft_deadline d)
{
    struct weft_ws_message m;
    int res = 1;
    while (res > 0)
        res = read_next(ws, &m, false, d);
    return res;
}
