/* SPDX-License-Identifier: MIT */
/*
 * Writing: frames, whole messages, fragments, control frames.
 *
 * Floor 5. `messages` orders messages, `frames` frames; a control frame takes only the latter, so
 * it goes out between the fragments of a message. In callbacks nobody waits and both are left
 * alone.
 *
 * Invariants: whoever holds `frames` sends the pong that waits before it lets go; a frame of which
 * a part has gone and the rest has not is the last.
 */
#include <errno.h>
#include <string.h>

#include <weft/random.h>

#include "base/alloc.h"
#include "base/error.h"
#include "net/transport.h"
#include "ws/encoded.h"

/* A client masks a frame of up to so much on the stack. */
#define ON_STACK 1024u
/* and longer ones in pieces of so much. */
#define MASK_PIECE ((size_t)64 * 1024)
/* A server's long frame is handed on in pieces of so much, for keep-alive to see that they go. */
#define SEND_PIECE ((size_t)256 * 1024)
/* A long message is compressed in fragments of so much. */
#define DEFLATE_PIECE ((size_t)64 * 1024)

/* --- Bytes ----------------------------------------------------------------------------------- */

static int emit(struct weft_ws *ws, struct iovec *iov, int n, weft_deadline d)
{
    if (ws->callbacks)
        return weft_transport_writev(ws->s, iov, n);
    int err = weft_writev(ws->s, iov, n, d);
    if (ws->gone)
        return WEFT_ECLOSED;
    if (err < 0 && ws->write_error == 0)
        ws->write_error = ws->s->error; /* nothing follows what was cut off */
    return err;
}

static const unsigned char *next_mask(struct weft_ws *ws)
{
    if (ws->masks_left == 0) {
        weft_random(ws->masks, sizeof ws->masks);
        ws->masks_left = WEFT__ARRAY_LEN(ws->masks);
    }
    return ws->masks[--ws->masks_left];
}

/* A frame of a client, masked in a buffer of cap bytes, piece after piece. */
static int send_masked(struct weft_ws *ws, uint8_t *buf, size_t cap, uint8_t opcode, bool fin,
                       bool compressed, const uint8_t *data, size_t len, weft_deadline d)
{
    const unsigned char *mask = next_mask(ws);
    size_t at = weft__ws_build_head(buf, opcode, fin, compressed, len, mask), done = 0;
    do {
        size_t n = weft__min_size(cap - at, len - done);
        weft__ws_mask(buf + at, data + done, n, mask, done & 3);
        struct iovec iov = {.iov_base = buf, .iov_len = at + n};
        int err = emit(ws, &iov, 1, d);
        if (err < 0) {
            if (done > 0)
                ws->write_error = WEFT_EPOISONED;
            return err;
        }
        done += n;
        at = 0;
    } while (done < len);
    return 0;
}

/* What is to follow the beginning of a frame that has gone, all of it. */
static int emit_rest(struct weft_ws *ws, const uint8_t *data, size_t len, weft_deadline d)
{
    int err = 0;
    while (err == 0 && len > 0) {
        size_t n = weft__min_size(len, SEND_PIECE);
        struct iovec iov = {(void *)(uintptr_t)data, n};
        err = emit(ws, &iov, 1, d);
        data += n;
        len -= n;
    }
    if (err < 0 && ws->write_error == 0)
        ws->write_error = WEFT_EPOISONED;
    return err;
}

/* A frame of a server: where nobody waits it goes at once or not at all. */
static int send_plain(struct weft_ws *ws, uint8_t opcode, bool fin, bool compressed,
                      const uint8_t *data, size_t len, weft_deadline d)
{
    unsigned char head[WEFT__WS_HEAD_MAX];
    size_t n = weft__min_size(len, ws->callbacks ? len : SEND_PIECE);
    struct iovec iov[2] = {{head, weft__ws_build_head(head, opcode, fin, compressed, len, NULL)},
                           {(void *)(uintptr_t)data, n}};
    int err = emit(ws, iov, n > 0 ? 2 : 1, d);
    return err == 0 && n < len ? emit_rest(ws, data + n, len - n, d) : err;
}

/* One frame. `frames` is held. */
static int send_frame(struct weft_ws *ws, uint8_t opcode, bool fin, bool compressed,
                      const void *data, size_t len, weft_deadline d)
{
    unsigned char few[WEFT__WS_HEAD_MAX + ON_STACK];
    if (ws->server)
        return send_plain(ws, opcode, fin, compressed, data, len, d);
    if (len <= ON_STACK)
        return send_masked(ws, few, sizeof few, opcode, fin, compressed, data, len, d);
    size_t cap = WEFT__WS_HEAD_MAX + (ws->callbacks ? len : weft__min_size(len, MASK_PIECE));
    uint8_t *buf = weft__alloc(cap);
    if (buf == NULL)
        return -ENOMEM;
    int err = send_masked(ws, buf, cap, opcode, fin, compressed, data, len, d);
    weft__free(buf);
    return err;
}

/* --- Taking turns ---------------------------------------------------------------------------- */

/* Whether more may be sent: 0, or why not. */
static int may_send(const struct weft_ws *ws)
{
    if (ws->gone)
        return WEFT_ECLOSED;
    if (ws->write_error < 0)
        return ws->write_error;
    if (ws->close_sent)
        return weft__fail(WEFT_ECLOSED, "the close frame has been sent");
    if (ws->read_error < 0)
        return weft__fail(WEFT_ECLOSED, "the connection has failed: %s",
                          weft_error_name(ws->read_error));
    return 0;
}

/* The calling flow has a message in fragments that is not over. */
static bool has_begun(const struct weft_ws *ws)
{
    const struct weft__flow *self = weft__flow_self();
    return ws->part_owner == self && ws->part_id == self->id;
}

static int take(struct weft_ws *ws, struct weft_semaphore *sem, weft_deadline d)
{
    if (ws->callbacks)
        return may_send(ws);
    int err = weft_semaphore_acquire(sem, d);
    if (err < 0)
        return ws->gone ? WEFT_ECLOSED : err;
    err = may_send(ws);
    if (err < 0)
        weft_semaphore_release(sem);
    return err;
}

/* Whether a small frame can go out without waiting, or at worst by *d without harm. */
static bool can_send(const struct weft_ws *ws, weft_deadline *d)
{
    const struct weft_stream *s = ws->s;
    if (ws->callbacks)
        return true;
    if (s->loop != NULL && (s->cls->joins || s->cls->flush != NULL)) {
        *d = WEFT_NOW; /* a write that finds no room there has sent nothing */
        return true;
    }
    /* Elsewhere only a write that begins with room ends at once. */
    return s->fd < 0 || weft_poll(s->fd, POLLOUT, WEFT_NOW) > 0;
}

/* Sends the pong that waits, if there is one. `frames` is held. */
static void send_pong(struct weft_ws *ws, weft_deadline d)
{
    unsigned char copy[WEFT__WS_CONTROL_MAX];
    size_t len = ws->pong_len;
    if (len == WEFT__WS_NO_PONG || may_send(ws) < 0 || !can_send(ws, &d))
        return;
    memcpy(copy, ws->pong, len); /* another ping may come meanwhile */
    ws->pong_len = WEFT__WS_NO_PONG;
    int err = send_frame(ws, WEFT__WS_PONG, true, false, copy, len, d);
    if (err < 0 && !ws->gone && ws->pong_len == WEFT__WS_NO_PONG) {
        memcpy(ws->pong, copy, len);
        ws->pong_len = (uint8_t)len;
    }
}

static void give(struct weft_ws *ws, struct weft_semaphore *sem, weft_deadline d)
{
    if (ws->callbacks)
        return;
    if (sem == &ws->frames && !ws->gone)
        send_pong(ws, d);
    weft_semaphore_release(sem);
}

void weft__ws_send_pong(struct weft_ws *ws, weft_deadline d)
{
    if (WEFT__LIKELY(ws->pong_len == WEFT__WS_NO_PONG))
        return;
    if (ws->callbacks) {
        send_pong(ws, WEFT_NOW);
        ws->pong_len = WEFT__WS_NO_PONG; /* who does not read answers gets none */
    } else if (weft_semaphore_tryacquire(&ws->frames) == 0) {
        give(ws, &ws->frames, d);
    }
}

static int send_one(struct weft_ws *ws, uint8_t opcode, bool fin, bool compressed, const void *data,
                    size_t len, weft_deadline d)
{
    int err = take(ws, &ws->frames, d);
    if (err < 0)
        return err;
    err = send_frame(ws, opcode, fin, compressed, data, len, d);
    give(ws, &ws->frames, d);
    return err;
}

/* --- Control frames -------------------------------------------------------------------------- */

int weft__ws_send_control(struct weft_ws *ws, uint8_t opcode, const void *data, size_t len,
                          weft_deadline d)
{
    if (d.ns == WEFT_NOW.ns && !ws->callbacks) {
        weft_deadline bound = weft_after_s(1);
        if (ws->frames.count == 0 || !can_send(ws, &bound))
            return -EAGAIN;
        d = bound;
    }
    return send_one(ws, opcode, true, false, data, len, d);
}

int weft__ws_send_close(struct weft_ws *ws, unsigned code, const char *reason, size_t len,
                        weft_deadline d)
{
    unsigned char payload[WEFT__WS_CONTROL_MAX];
    if (ws->close_sent)
        return 0;
    size_t n = weft__ws_close_build(payload, code, reason, len);
    int err = weft__ws_send_control(ws, WEFT__WS_CLOSE, payload, n, d);
    if (err == 0)
        ws->close_sent = true;
    return err;
}

void weft__ws_tell_error(struct weft_ws *ws, int error)
{
    char reason[200];
    int err = ws->read_error;
    unsigned code = weft__ws_close_code_of(error);
    /* What is wrong inside is not the peer's business. */
    (void)strcpy(reason, code != WEFT__WS_INTERNAL ? weft_error_detail() : "");
    ws->read_error = 0; /* this one frame may go */
    (void)weft__ws_send_close(ws, code, reason, strlen(reason), WEFT_NOW);
    ws->read_error = err;
}

int weft_ws_ping(struct weft_ws *ws, const void *data, size_t len, weft_deadline d)
{
    if (len > WEFT__WS_CONTROL_MAX)
        return weft__fail(-EINVAL, "a ping of %zu bytes, at most 125", len);
    int err = weft__ws_enter(ws);
    if (err < 0)
        return err;
    err = send_one(ws, WEFT__WS_PING, true, false, data, len, d);
    weft__ws_leave(ws);
    return err;
}

/* --- Messages -------------------------------------------------------------------------------- */

static bool own_no_takeover(const struct weft_ws *ws)
{
    return ws->server ? ws->deflate.server_no_takeover : ws->deflate.client_no_takeover;
}

static uint8_t own_bits(const struct weft_ws *ws)
{
    return ws->server ? ws->deflate.server_bits : ws->deflate.client_bits;
}

static bool compresses(const struct weft_ws *ws, size_t len)
{
    /* zlib has no window of 256 bytes */
    return ws->deflate.on && len >= ws->set.deflate_min && own_bits(ws) > WEFT__WS_BITS_MIN;
}

/* After a message: what was written must not be looked back to, or nobody may look at all. */
static void deflater_done(struct weft_ws *ws, bool failed)
{
    if (ws->deflater == NULL)
        return;
    if (own_no_takeover(ws) && ws->s != NULL && ws->s->loop != NULL) {
        weft__ws_deflater_put(ws->deflater);
        ws->deflater = NULL;
    } else if (own_no_takeover(ws) || failed) {
        (void)deflateReset(&ws->deflater->z);
    }
}

/* What was sent beside the deflater must not be looked back past. */
static void forget_window(struct weft_ws *ws)
{
    if (ws->deflater != NULL)
        (void)deflateReset(&ws->deflater->z);
}

/* One fragment, compressed. `messages` is held. */
static int send_deflated(struct weft_ws *ws, uint8_t opcode, const void *data, size_t len,
                         bool last, weft_deadline d)
{
    int err = 0;
    if (ws->deflater == NULL)
        err = weft__ws_deflater_get(&ws->deflater, ws->s->loop, own_bits(ws), ws->set.level,
                                    ws->set.memory);
    if (err < 0)
        return err;
    size_t cap = weft__ws_deflate_bound(ws->deflater, len);
    uint8_t *buf = weft__alloc(cap);
    if (buf == NULL)
        return -ENOMEM;
    size_t n = weft__ws_deflate(ws->deflater, data, len, last, buf, cap);
    err = send_one(ws, opcode, last, opcode != WEFT__WS_CONTINUATION, buf, n, d);
    weft__free(buf);
    return err;
}

/* The same of any length, so that what is compressed of it needs no more room than a piece; *some:
 * a part of it has gone. */
static int send_pieces(struct weft_ws *ws, uint8_t opcode, const uint8_t *data, size_t len,
                       bool last, bool *some, weft_deadline d)
{
    size_t piece = ws->callbacks ? UINT32_MAX / 2 : DEFLATE_PIECE, done = 0;
    int err = 0;
    *some = false;
    do {
        size_t n = weft__min_size(piece, len - done);
        err = send_deflated(ws, *some ? WEFT__WS_CONTINUATION : opcode, n > 0 ? data + done : data,
                            n, last && done + n == len, d);
        *some = *some || err == 0;
        done += n;
    } while (err == 0 && done < len);
    return err;
}

static int send_message(struct weft_ws *ws, uint8_t type, const uint8_t *data, size_t len,
                        weft_deadline d)
{
    bool some;
    if (!compresses(ws, len))
        return send_one(ws, type, true, false, data, len, d);
    int err = send_pieces(ws, type, data, len, true, &some, d);
    if (err < 0 && some && !ws->gone)
        ws->write_error = WEFT_EPOISONED; /* a message without its end */
    deflater_done(ws, err < 0);
    return err;
}

static int check_write(const struct weft_ws *ws, enum weft_ws_type type)
{
    if (type != WEFT_WS_TEXT && type != WEFT_WS_BINARY)
        return weft__fail(-EINVAL, "a message of type %d", (int)type);
    if (ws->callbacks && ws->phase == WEFT__WS_ASKED)
        return weft__fail(-EINVAL, "the handshake is not done");
    return 0;
}

int weft__ws_check_utf8(const void *data, size_t len)
{
    struct weft__utf8 u = {0};
    size_t at = len;
    if (weft__utf8_check(&u, data, len, &at) && weft__utf8_complete(&u))
        return 0;
    return weft__fail(-EILSEQ, "a text message to send is not UTF-8 at byte %zu", at);
}

/* For a whole message. Behind its own, in fragments, a flow would wait for itself. */
static int take_messages(struct weft_ws *ws, weft_deadline d)
{
    if (ws->callbacks || !has_begun(ws))
        return take(ws, &ws->messages, d);
    int err = may_send(ws);
    return err < 0 ? err : weft__fail(-EBUSY, "the last fragment of a message is yet to be sent");
}

int weft_ws_write(struct weft_ws *ws, enum weft_ws_type type, const void *data, size_t len,
                  weft_deadline d)
{
    int err = check_write(ws, type);
    if (err == 0 && type == WEFT_WS_TEXT)
        err = weft__ws_check_utf8(data, len);
    if (err == 0)
        err = weft__ws_enter(ws);
    if (err < 0)
        return err;
    err = take_messages(ws, d);
    if (err == 0) {
        err = send_message(ws, (uint8_t)type, data, len, d);
        give(ws, &ws->messages, d);
    }
    weft__ws_leave(ws);
    return err;
}

/* The frame of an encoded message that this connection can send. */
static struct weft__slice choose_frame(struct weft_ws *ws, const struct weft_ws_encoded *e)
{
    if (e->deflated == NULL || !ws->deflate.on || own_bits(ws) < e->bits)
        return weft__slice_of(e->frame, e->frame_len);
    forget_window(ws);
    return weft__slice_of(e->deflated, e->deflated_len);
}

static int send_encoded(struct weft_ws *ws, struct weft_ws_encoded *e, weft_deadline d)
{
    if (!ws->server)
        return send_message(ws, e->type, e->frame + e->frame_len - e->payload_len, e->payload_len,
                            d);
    int err = take(ws, &ws->frames, d);
    if (err < 0)
        return err;
    struct weft__slice frame = choose_frame(ws, e);
    if (ws->callbacks) {
        err = weft__transport_share(ws->s, &e->shared, frame.at, frame.len);
    } else if (frame.len > weft__max_size(SEND_PIECE, ws->s->out_max)) { /* it is not queued */
        struct iovec iov = {(void *)(uintptr_t)frame.at, SEND_PIECE};
        err = emit(ws, &iov, 1, d);
        if (err == 0)
            err = emit_rest(ws, (const uint8_t *)frame.at + SEND_PIECE, frame.len - SEND_PIECE, d);
    } else {
        err = weft__write_shared(ws->s, &e->shared, frame.at, frame.len, d);
        err = ws->gone ? WEFT_ECLOSED : err;
    }
    give(ws, &ws->frames, d);
    return err;
}

int weft_ws_send_encoded(struct weft_ws *ws, struct weft_ws_encoded *e, weft_deadline d)
{
    int err = check_write(ws, WEFT_WS_BINARY);
    if (err == 0)
        err = weft__ws_enter(ws);
    if (err < 0)
        return err;
    err = take_messages(ws, d);
    if (err == 0) {
        err = send_encoded(ws, e, d);
        give(ws, &ws->messages, d);
    }
    weft__ws_leave(ws);
    return err;
}

/* The fragment's text, with that of those before it. *after: the state that follows it. */
static int check_part(const struct weft_ws *ws, bool first, const void *data, size_t len, bool last,
                      struct weft__utf8 *after)
{
    size_t at = len;
    *after = first ? (struct weft__utf8){0} : ws->part_text;
    if (weft__utf8_check(after, data, len, &at) && (!last || weft__utf8_complete(after)))
        return 0;
    return weft__fail(-EILSEQ, "a fragment of text to send is not UTF-8 at byte %zu", at);
}

static int write_part(struct weft_ws *ws, enum weft_ws_type type, const void *data, size_t len,
                      bool last, weft_deadline d)
{
    const struct weft__flow *self = weft__flow_self();
    bool first = !has_begun(ws);
    struct weft__utf8 after = {0};
    int err = type == WEFT_WS_TEXT ? check_part(ws, first, data, len, last, &after) : 0;
    if (err == 0 && first)
        err = take(ws, &ws->messages, d);
    if (err < 0)
        return err;
    if (first) {
        ws->part_owner = self;
        ws->part_id = self->id;
        ws->part_compressed = compresses(ws, len);
    }
    uint8_t opcode = first ? (uint8_t)type : WEFT__WS_CONTINUATION;
    bool some = false;
    err = may_send(ws);
    if (err == 0)
        err = ws->part_compressed ? send_pieces(ws, opcode, data, len, last, &some, d)
                                  : send_one(ws, opcode, last, false, data, len, d);
    if (ws->gone)
        return WEFT_ECLOSED;
    /* What has not gone can be sent again, and until then the message goes on; unless nothing can
     * go any more, which who waits behind it is to know. */
    bool over = err == 0 ? last : first;
    if (err == 0) {
        ws->part_text = after;
    } else if (may_send(ws) < 0) {
        over = true;
    } else if (ws->part_compressed && (!first || some)) {
        ws->write_error = WEFT_EPOISONED; /* the window has what the peer does not */
        over = true;
    }
    if (over) {
        deflater_done(ws, err < 0);
        ws->part_owner = NULL;
        give(ws, &ws->messages, d);
    }
    return err;
}

int weft_ws_write_part(struct weft_ws *ws, enum weft_ws_type type, const void *data, size_t len,
                       bool last, weft_deadline d)
{
    int err = check_write(ws, type);
    if (err == 0 && ws->callbacks)
        err = weft__fail(-EINVAL, "in callbacks messages are written whole");
    if (err == 0)
        err = weft__ws_enter(ws);
    if (err < 0)
        return err;
    err = write_part(ws, type, data, len, last, d);
    weft__ws_leave(ws);
    return err;
}

int weft_ws_flush(struct weft_ws *ws, weft_deadline d)
{
    int err = weft__ws_enter(ws);
    if (err < 0)
        return err;
    if (!ws->callbacks) {
        err = weft_semaphore_acquire(&ws->frames, d);
        if (err == 0) {
            err = ws->gone ? WEFT_ECLOSED : weft_flush(ws->s, d);
            give(ws, &ws->frames, d);
        }
        if (ws->gone)
            err = WEFT_ECLOSED;
    }
    weft__ws_leave(ws);
    return err;
}
