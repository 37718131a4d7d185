/* SPDX-License-Identifier: MIT */
/*
 * WebSocket as callbacks on the loop: a protocol under it (protocol.h), one above.
 *
 * Floor 5. Bytes come by the transport's `data`; messages that lie in one piece are shown where
 * they lie, others are put together. An idle connection is a struct weft_ws and the transport's: it
 * has no buffer, no state of compression, and one timer.
 *
 * Invariants:
 *  - `made` is called once the handshake is done, `closed` once for each `made`, and last;
 *  - a timer is armed in every phase, so that a silent peer is not waited for without end;
 *  - after a close frame of ours no message is delivered;
 *  - none is delivered while writing is paused, however many came in one piece: what a message
 *    causes to be written is bounded by the next one that waits.
 */
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "ws/ws.h"

#define HANDSHAKE_MS 10000
#define BYTES_MIN 1024u

/* --- Time ------------------------------------------------------------------------------------ */

static void on_alarm(struct weft__alarm *a);

static void arm(struct weft_ws *ws, int64_t when_ns)
{
    struct weft_loop *l = ws->s->loop;
    if (ws->s->proto == NULL)
        return; /* a task or thread runs the callbacks, and its server has limits of its own */
    weft__loop_alarm_del(l, &ws->alarm);
    ws->alarm.fn = on_alarm;
    weft__loop_alarm(l, &ws->alarm, when_ns);
}

static void disarm(struct weft_ws *ws)
{
    if (ws->s->proto != NULL)
        weft__loop_alarm_del(ws->s->loop, &ws->alarm);
}

/* The connection is open: when to look whether it lives. */
static void arm_alive(struct weft_ws *ws)
{
    if (ws->due_ns != INT64_MAX)
        arm(ws, ws->due_ns);
    else
        disarm(ws);
}

/* --- Ends ------------------------------------------------------------------------------------ */

static void finish(struct weft_ws *ws, int reason)
{
    if (ws->reason == 0)
        ws->reason = reason;
    ws->phase = WEFT__WS_GONE;
    arm(ws, weft_now_ns() + ws->set.close_ns); /* for a peer that takes nothing */
    weft_transport_close(ws->s);
}

void weft__ws_abort_callbacks(struct weft_ws *ws, int error)
{
    if (ws->reason == 0)
        ws->reason = error;
    ws->phase = WEFT__WS_GONE;
    disarm(ws);
    weft_transport_abort(ws->s, error);
}

/* Nothing more is to be said: the peer gets time to read what was, and ends the connection. */
static void leave_slowly(struct weft_ws *ws, int reason)
{
    if (ws->reason == 0)
        ws->reason = reason;
    ws->phase = WEFT__WS_LEAVING;
    arm(ws, weft_now_ns() + ws->set.close_ns);
    weft_transport_shutdown(ws->s);
}

static void fail(struct weft_ws *ws, int err)
{
    if (ws->phase != WEFT__WS_OPEN)
        return;
    weft__ws_buf_free(ws);
    weft__ws_tell_error(ws, err);
    leave_slowly(ws, err);
}

/* A callback's own error, whatever its number and words: they are not the peer's business. */
static void fail_inside(struct weft_ws *ws, int err)
{
    if (ws->phase != WEFT__WS_OPEN)
        return;
    weft__ws_buf_free(ws);
    (void)weft__ws_send_close(ws, WEFT__WS_INTERNAL, "", 0, WEFT_NOW);
    leave_slowly(ws, err);
}

void weft__ws_close_callbacks(struct weft_ws *ws, unsigned code, const char *reason)
{
    if (ws->phase == WEFT__WS_ASKED) {
        finish(ws, -ECONNABORTED);
        return;
    }
    if (ws->phase != WEFT__WS_OPEN || ws->close_sent)
        return;
    int err = weft__ws_send_close(ws, code, reason, strlen(reason), WEFT_NOW);
    if (err < 0)
        weft__ws_abort_callbacks(ws, err); /* nothing can be told to who takes nothing */
    else
        arm(ws, weft_now_ns() + ws->set.close_ns);
}

static void on_alarm(struct weft__alarm *a)
{
    struct weft_ws *ws = WEFT__CONTAINER_OF(a, struct weft_ws, alarm);
    bool waiting = ws->phase != WEFT__WS_OPEN || ws->close_sent;
    if (ws->phase == WEFT__WS_LEAVING) {
        finish(ws, 0);
        return;
    }
    if (waiting) {
        weft__ws_abort_callbacks(ws, -ETIMEDOUT);
        return;
    }
    int err = weft__ws_look(ws);
    if (err < 0)
        weft__ws_abort_callbacks(ws, err);
    else if (ws->phase == WEFT__WS_OPEN && !ws->close_sent) /* `paused` may have ended it */
        arm_alive(ws);
}

/* --- Frames ---------------------------------------------------------------------------------- */

/* An error ends the connection, and not the frame: what came was as it should be. */
static void deliver(struct weft_ws *ws, const void *data, size_t len)
{
    if (ws->close_sent)
        return;
    struct weft_ws_message m = {.type = (enum weft_ws_type)ws->in.message,
                                .last = true,
                                .data = data != NULL ? data : "",
                                .len = len};
    int err = ws->factory->protocol->message(ws, &m, ws->user);
    if (err < 0)
        fail_inside(ws, err);
}

static int got_control(struct weft_ws *ws)
{
    int err = weft__ws_control_ends(ws);
    weft__ws_frame_end(&ws->in);
    if (err < 0)
        return err;
    weft__ws_send_pong(ws, WEFT_NOW);
    if (!ws->close_got)
        return 0;
    err = weft__ws_send_close(ws, ws->close_code, "", 0, WEFT_NOW);
    if (err < 0)
        weft__ws_abort_callbacks(ws, err);
    else if (ws->server)
        finish(ws, 0);
    else
        leave_slowly(ws, 0); /* the server closes first */
    return 0;
}

static int frame_ends(struct weft_ws *ws)
{
    int err = 0;
    if (ws->in.fin && ws->in.compressed)
        err = weft__ws_inflate_end(ws);
    if (err == 0 && ws->in.fin)
        err = weft__ws_message_ends(ws);
    if (err < 0)
        return err;
    if (ws->in.fin) {
        deliver(ws, ws->buf, ws->len);
        ws->len = 0;
    }
    weft__ws_frame_end(&ws->in);
    return 0;
}

static int collect(struct weft_ws *ws, uint8_t *data, size_t len)
{
    while (len > 0) {
        int err = weft__ws_room(ws, (size_t)weft__min_u64(ws->in.left + len, SIZE_MAX));
        if (err < 0)
            return err;
        size_t n = weft__min_size(len, ws->cap - ws->len);
        memcpy(ws->buf + ws->len, data, n);
        err = weft__ws_added(ws, n);
        if (err < 0)
            return err;
        data += n;
        len -= n;
    }
    return 0;
}

/* Payload of the frame under way: n bytes of it were taken. */
static int feed_payload(struct weft_ws *ws, uint8_t *data, size_t len, size_t *n)
{
    bool control = weft__ws_is_control(ws->in.opcode);
    bool whole = ws->in.left == ws->in.len && ws->in.left <= len && ws->in.first && ws->in.fin;
    int err = 0;
    *n = weft__ws_payload(&ws->in, data, len);
    if (control) {
        memcpy(ws->control + ws->control_len, data, *n);
        ws->control_len = (uint8_t)(ws->control_len + *n);
        return ws->in.left == 0 ? got_control(ws) : 0;
    }
    if (whole && !ws->in.compressed) {
        err = weft__ws_check_text(ws, data, *n);
        if (err == 0)
            err = weft__ws_message_ends(ws);
        if (err < 0)
            return err;
        deliver(ws, data, *n);
        weft__ws_frame_end(&ws->in);
        return 0;
    }
    if (ws->in.compressed) {
        err = weft__ws_need_inflater(ws);
        if (err == 0)
            err = weft__ws_inflate_all(ws, data, *n);
    } else {
        err = collect(ws, data, *n);
    }
    return err == 0 && ws->in.left == 0 ? frame_ends(ws) : err;
}

/* Keeps what is not to be looked at before writing goes on. No more is received until then, so it
 * is what one receive brought. */
static void keep_for_later(struct weft_ws *ws, const uint8_t *data, size_t len)
{
    size_t had = ws->later != NULL ? ws->later->len : 0;
    struct weft__ws_later *later = weft__realloc(ws->later, sizeof *later + had + len);
    if (later == NULL) {
        fail(ws, -ENOMEM);
        return;
    }
    memcpy(later->data + had, data, len);
    later->len = had + len;
    ws->later = later;
}

static void feed(struct weft_ws *ws, uint8_t *data, size_t len)
{
    while (len > 0 && ws->phase == WEFT__WS_OPEN && !ws->paused) {
        size_t n = 0;
        int err = 0;
        if (!ws->in.in_frame) {
            ssize_t used = weft__ws_parse_head(&ws->in, data, len);
            err = used < 0 ? (int)used : 0;
            n = used < 0 ? 0 : (size_t)used;
            data += n;
            len -= n;
            if (err == 0 && ws->in.in_frame)
                err = weft__ws_frame_begins(ws, true);
        }
        if (err == 0 && ws->in.in_frame) {
            err = feed_payload(ws, data, len, &n);
            data += n;
            len -= n;
        }
        if (err < 0)
            fail(ws, err);
    }
    if (len > 0 && ws->phase == WEFT__WS_OPEN)
        keep_for_later(ws, data, len);
    if (ws->len == 0)
        weft__ws_buf_free(ws);
}

static void feed_later(struct weft_ws *ws)
{
    struct weft__ws_later *later = ws->later;
    if (later == NULL || ws->phase != WEFT__WS_OPEN || ws->paused)
        return;
    ws->later = NULL;
    feed(ws, later->data, later->len);
    weft__free(later);
}

/* --- The handshake --------------------------------------------------------------------------- */

static void call_made(struct weft_ws *ws)
{
    const struct weft_ws_protocol *p = ws->factory->protocol;
    ws->phase = WEFT__WS_OPEN;
    weft__ws_heard(ws);
    ws->made = true;
    arm_alive(ws);
    int err = p->made != NULL ? p->made(ws, ws->factory->arg) : 0;
    if (err < 0)
        fail_inside(ws, err);
}

static int keep(struct weft__ws_asking *q, const void *data, size_t len)
{
    if (len > q->cap - q->len) {
        size_t cap = weft__max_size(q->len + len, weft__max_size(2 * q->cap, BYTES_MIN));
        uint8_t *larger = weft__realloc(q->bytes, cap);
        if (larger == NULL)
            return -ENOMEM;
        q->bytes = larger;
        q->cap = cap;
    }
    memcpy(q->bytes + q->len, data, len);
    q->len += len;
    return 0;
}

/* The request is there, or no request can become of it. */
static int answer(struct weft_ws *ws, struct weft__ws_asking *q, ssize_t n, const char *data)
{
    const struct weft_ws_options *o = &ws->factory->options;
    size_t len = weft__ws_judge(q, n, data, o);
    bool agreed = q->agreed.status == 101;
    const char *more = agreed && o->fields != NULL ? o->fields : "";
    struct iovec iov[4] = {{q->answer, len},
                           {(void *)(uintptr_t)more, strlen(more)},
                           {(void *)(uintptr_t) "\r\n", 2},
                           {q->body, strlen(q->body)}};
    int err = weft_transport_writev(ws->s, iov, 4);
    if (err == 0 && agreed)
        err = weft__ws_apply(ws, &q->agreed, o);
    if (err == 0 && !agreed)
        leave_slowly(ws, weft__ws_refused(&q->agreed));
    return err;
}

/* Bytes of a request. The first piece mostly is all of it, and then nothing is copied. */
static int asked(struct weft_ws *ws, uint8_t *data, size_t len)
{
    struct weft__ws_asking *q = ws->asking;
    if (q->len > 0 || q->bytes != NULL) {
        int err = keep(q, data, len);
        if (err < 0)
            return err;
        data = q->bytes;
        len = q->len;
    }
    ssize_t n = weft__http1_parse_request(&q->h, &q->scan, (const char *)data, len);
    if (n == 0)
        return q->bytes == NULL ? keep(q, data, len) : 0;
    int err = answer(ws, q, n, (const char *)data);
    if (err == 0 && q->agreed.status == 101) {
        ws->asking = NULL;
        call_made(ws); /* which hears of it */
        feed(ws, data + n, len - (size_t)n);
        weft__ws_asking_free(q);
    }
    return err;
}

/* --- The transport's callbacks --------------------------------------------------------------- */

static int transport_made(struct weft_stream *t, void *arg)
{
    struct weft_ws_factory *f = arg;
    struct weft_ws *ws = weft__alloc(sizeof *ws);
    if (ws == NULL)
        return -ENOMEM;
    weft__ws_init(ws, t, &f->options);
    ws->asking = weft__ws_asking_new(&f->options);
    if (ws->asking == NULL) {
        weft__free(ws);
        return -ENOMEM;
    }
    ws->callbacks = true;
    ws->server = true;
    ws->phase = WEFT__WS_ASKED;
    ws->factory = weft__ws_factory_ref(f);
    weft_transport_set(t, ws);
    int64_t ms = f->options.handshake_ms > 0 ? f->options.handshake_ms : HANDSHAKE_MS;
    arm(ws, weft_now_ns() + ms * 1000000);
    return 0;
}

static int transport_data(struct weft_stream *t, const void *data, size_t len, void *conn)
{
    struct weft_ws *ws = conn;
    uint8_t *bytes = (uint8_t *)(uintptr_t)data; /* the buffer is ours to unmask in */
    (void)t;
    if (ws->phase == WEFT__WS_ASKED)
        return asked(ws, bytes, len);
    if (ws->phase == WEFT__WS_OPEN) {
        weft__ws_heard(ws);
        if (ws->later != NULL)
            keep_for_later(ws, bytes, len);
        else
            feed(ws, bytes, len);
    }
    return 0;
}

static int transport_eof(struct weft_stream *t, void *conn)
{
    struct weft_ws *ws = conn;
    (void)t;
    if (ws->phase == WEFT__WS_OPEN || ws->phase == WEFT__WS_ASKED)
        finish(ws, weft__fail(WEFT_EEOF, "the peer ended the connection without a close frame"));
    return 0;
}

static void transport_paused(struct weft_stream *t, void *conn)
{
    struct weft_ws *ws = conn;
    (void)t;
    ws->paused = true;
    if (ws->made && ws->factory->protocol->paused != NULL)
        ws->factory->protocol->paused(ws, ws->user);
}

static void transport_resumed(struct weft_stream *t, void *conn)
{
    struct weft_ws *ws = conn;
    (void)t;
    ws->paused = false;
    weft__ws_heard(ws); /* nobody has listened meanwhile; and it has taken what was written */
    if (ws->made && ws->factory->protocol->resumed != NULL)
        ws->factory->protocol->resumed(ws, ws->user);
    feed_later(ws);
}

static void transport_lost(struct weft_stream *t, int error, void *conn)
{
    struct weft_ws *ws = conn;
    (void)t;
    if (ws == NULL)
        return;
    disarm(ws);
    ws->phase = WEFT__WS_GONE;
    if (!ws->close_got)
        ws->close_code = WEFT__WS_NO_CLOSE;
    bool both = ws->close_sent && ws->close_got;
    int reason = ws->reason != 0 ? ws->reason : both ? 0 : error != 0 ? error : WEFT_EEOF;
    if (ws->made && ws->factory->protocol->closed != NULL)
        ws->factory->protocol->closed(ws, reason, ws->user);
    weft__ws_asking_free(ws->asking);
    weft__ws_factory_unref(ws->factory);
    weft__ws_free(ws);
}

const struct weft_protocol weft__ws_transport_protocol = {
    .made = transport_made,
    .data = transport_data,
    .eof = transport_eof,
    .paused = transport_paused,
    .resumed = transport_resumed,
    .lost = transport_lost,
};

/* --- From a task to callbacks ---------------------------------------------------------------- */

static int attached_made(struct weft_stream *t, void *arg)
{
    struct weft_ws *ws = arg;
    weft__list_remove(&ws->attached.link);
    ws->s = t;
    weft_transport_set(t, ws);
    call_made(ws);
    return 0;
}

static const struct weft_protocol attached_protocol = {
    .made = attached_made,
    .data = transport_data,
    .eof = transport_eof,
    .paused = transport_paused,
    .resumed = transport_resumed,
    .lost = transport_lost,
};

/* The group ended before the transport began. */
static void attached_free(struct weft__attached *a)
{
    struct weft_ws *ws = WEFT__CONTAINER_OF(a, struct weft_ws, attached);
    if (ws->dialed)
        weft__ws_never_made(ws->factory, -ECANCELED);
    weft__ws_factory_unref(ws->factory);
    weft__ws_free(ws);
}

int weft_ws_attach(struct weft_group *g, struct weft_ws **ret, struct weft_ws_factory *f)
{
    struct weft_ws *ws = *ret;
    struct weft_factory transport = f->transport;
    if (ws->callbacks || ws->users > 0 || ws->part_owner != NULL || ws->in.in_frame ||
        ws->in.message != 0 || ws->ahead > 0)
        return weft__fail(-EBUSY, "someone is inside the connection, or a message is");
    if (ws->close_sent || ws->close_got || ws->read_error < 0)
        return weft__fail(WEFT_ECLOSED, "the connection is closing");
    if (ws->shown > 0)
        weft_consume(ws->s, ws->shown);
    ws->shown = 0;
    weft__ws_buf_free(ws);
    transport.protocol = &attached_protocol;
    transport.arg = ws;
    int err = weft_protocol_attach(g, &ws->s, &transport);
    if (err < 0)
        return err;
    ws->callbacks = true;
    ws->factory = weft__ws_factory_ref(f);
    ws->attached.free = attached_free;
    weft__group_attach(g, &ws->attached);
    *ret = NULL;
    return 0;
}
