/* SPDX-License-Identifier: MIT */
/*
 * An HTTP/2 connection: pumping, flushing, and what nghttp2 tells. See h2.h.
 *
 * Floor 5. nghttp2 checks what the RFC asks of messages (section 8), keeps count of settings,
 * pings, resets and CONTINUATION frames, and ends a connection that floods. Its callbacks never
 * wait.
 */
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "http/h2.h"
#include "http/h2_pool.h"
#include "net/stream.h"

#define PIECE 8000u /* sent whole or not at all by every stream below */
#define OUT_MAX (64u << 10)
#define OUT_FIRST 1000u
#define OUT_NEXT (18u << 10) /* a little more than a server gathers before it sends */
#define STREAMS_MAX 100u
#define WINDOW (256u << 10)
#define SESSION_WINDOW (1u << 20)
#define ACKS_MAX 1000u       /* answers to pings and settings that wait */
#define SETTINGS_MAX 32u     /* of one frame */
#define RESETS_BURST 200u    /* of the peer, at once, and then */
#define RESETS_PER_S 40u     /* so many a second */
#define CONTINUATIONS_MAX 8u /* frames of one head */
#define GOODBYE_MS 1000      /* for the GOAWAY that says what the peer did wrong */

struct wait {
    struct weft__node link, of_stream;
    struct weft_event event;
};

/* --- Waiting ---------------------------------------------------------------------------------- */

void weft__h2_wake(struct weft__h2_stream *st)
{
    WEFT__LIST_EACH(&st->waits, n)
        weft_event_set(&WEFT__CONTAINER_OF(n, struct wait, of_stream)->event);
}

static void wake_all(struct weft__h2 *h2)
{
    WEFT__LIST_EACH(&h2->waits, n)
        weft_event_set(&WEFT__CONTAINER_OF(n, struct wait, link)->event);
}

/* Nobody reads any more: the one that has waited longest goes on with it. */
static void hand_over(struct weft__h2 *h2)
{
    struct weft__node *n = weft__list_first(&h2->waits);
    if (n != NULL && !h2->pumping && !h2->kept)
        weft_event_set(&WEFT__CONTAINER_OF(n, struct wait, link)->event);
}

void weft__h2_break(struct weft__h2 *h2, int error)
{
    if (h2->error == 0)
        h2->error = error;
    wake_all(h2);
}

static int follow(struct weft__h2 *h2, struct weft__h2_stream *st, weft_deadline d)
{
    struct wait w = {.event = WEFT_EVENT_INIT};
    weft__list_push_back(&h2->waits, &w.link);
    if (st != NULL)
        weft__list_push_back(&st->waits, &w.of_stream);
    int err = weft_event_wait(&w.event, d);
    weft__list_remove(&w.link);
    weft__list_remove(&w.of_stream);
    if (err < 0 && w.event.set)
        hand_over(h2); /* it may have been our turn */
    return err;
}

/* --- Bytes ------------------------------------------------------------------------------------ */

static bool cut_off(const struct weft__h2 *h2, int err)
{
    (void)h2;
    return err == -ETIMEDOUT || err == -ECANCELED || err == -EDEADLK;
}

/* Its memory is given back after each turn. One answer finds room in what malloc has at hand; for
 * many it is made at once, and not in steps, which would copy what is there each time. */
static int put(struct weft__buffer *out, const uint8_t *data, size_t len)
{
    void *room;
    int err = 0;
    if (weft__buffer_spare(out) < len)
        err = weft__buffer_reserve(
            out, weft__max_size(len, out->memory == NULL ? OUT_FIRST : OUT_NEXT), &room);
    return err < 0 ? err : weft__buffer_append(out, data, len);
}

/* Whether the writer's piece is with nghttp2 no more, and there is no need to ask for frames. */
static bool taken(const struct weft__h2_stream *st)
{
    return st != NULL && st->out_left == 0 && (!st->out_end || st->out_done);
}

/* Moves frames from nghttp2 to the buffer, up to its half, or until that stream's piece is there;
 * NULL: all. 1 when there is something to send. */
static int collect(struct weft__h2 *h2, const struct weft__h2_stream *st)
{
    if (h2->error < 0)
        return h2->error; /* while the last piece was written: streams are gone since */
    while (weft__buffer_len(&h2->out) < OUT_MAX / 2 && !taken(st)) {
        const uint8_t *data;
        ssize_t n = nghttp2_session_mem_send(h2->ng, &data);
        if (n < 0)
            return n == NGHTTP2_ERR_NOMEM
                       ? -ENOMEM
                       : weft__fail(WEFT_EPROTOCOL, "HTTP/2: %s", nghttp2_strerror((int)n));
        if (n == 0)
            break;
        int err = put(&h2->out, data, (size_t)n);
        if (err < 0)
            return err;
    }
    return weft__buffer_len(&h2->out) > 0;
}

int weft__h2_collect(struct weft__h2 *h2, const struct weft__h2_stream *st)
{
    if (h2->error < 0)
        return h2->error;
    if (h2->flushing)
        return 0; /* who sends takes it along, and has the buffer now */
    int err = collect(h2, st);
    if (err < 0)
        weft__h2_break(h2, err);
    return err < 0 ? err : 0;
}

static int send_all(struct weft__h2 *h2, weft_deadline d)
{
    int err = h2->gathering ? collect(h2, NULL) : 0;
    if (err < 0 || (h2->gathering && weft__buffer_len(&h2->out) < OUT_MAX / 2))
        return err < 0 ? err : 0;
    while ((err = collect(h2, NULL)) > 0) {
        while (weft__buffer_len(&h2->out) > 0 && h2->error == 0) {
            size_t len = weft__min_size(weft__buffer_len(&h2->out), PIECE);
            err = weft_write(h2->s, weft__buffer_data(&h2->out), len, d);
            if (err < 0)
                return err;
            weft__buffer_consume(&h2->out, len);
        }
    }
    weft__buffer_trim(&h2->out);
    return err;
}

void weft__h2_poke(struct weft__h2 *h2)
{
    struct weft__flow *f = h2->s->reader;
    if (h2->error < 0 || !h2->pumping || h2->s->loop == NULL || f == NULL || f->wait == NULL)
        return; /* it sends before it reads again */
    h2->poked = true;
    weft__wait_abort(f->wait, -ETIMEDOUT);
}

int weft__h2_flush(struct weft__h2 *h2, weft_deadline d)
{
    if (h2->error < 0)
        return h2->error;
    if (h2->flushing)
        return 0;
    h2->flushing = true;
    int err = send_all(h2, d);
    h2->flushing = false;
    if (h2->leaving || (err < 0 && cut_off(h2, err)))
        wake_all(h2); /* the rest is for the others to send */
    if (err < 0 && cut_off(h2, err))
        weft__h2_poke(h2); /* of whom one may read, and not look up for long */
    if (err < 0 && !cut_off(h2, err))
        weft__h2_break(h2, err);
    return err;
}

/* The GOAWAY that says what was wrong goes behind what is on its way, by whoever sends that. */
static void last_words(struct weft__h2 *h2)
{
    weft_deadline until = weft_after_ms(GOODBYE_MS);
    int err = 0;
    h2->leaving = true;
    while (err == 0 && h2->flushing)
        err = follow(h2, NULL, until);
    if (err == 0)
        (void)weft__h2_flush(h2, until);
}

/*
 * While somebody waits for a client to take bytes the others are read for, and what they cause is
 * queued. An honest client causes one answer a stream, and what nghttp2 counts itself.
 */
static size_t most_answers(const struct weft__h2 *h2)
{
    return 2 * ACKS_MAX + 4 * (size_t)h2->options.streams_max;
}

/* What has been read goes to nghttp2, which tells its callbacks. Where it gives up at once it sends
 * no GOAWAY itself (RFC 9113 section 5.4.1). */
static int give(struct weft__h2 *h2, const uint8_t *data, size_t len)
{
    ssize_t n = nghttp2_session_mem_recv(h2->ng, data, len);
    if (n >= 0)
        return 0;
    if (n == NGHTTP2_ERR_NOMEM || n == NGHTTP2_ERR_CALLBACK_FAILURE)
        return -ENOMEM;
    uint32_t code =
        n == NGHTTP2_ERR_BAD_CLIENT_MAGIC ? NGHTTP2_PROTOCOL_ERROR : NGHTTP2_ENHANCE_YOUR_CALM;
    if (nghttp2_session_terminate_session(h2->ng, code) != 0)
        return -ENOMEM;
    return weft__fail(WEFT_EPROTOCOL, "HTTP/2: %s", nghttp2_strerror((int)n));
}

/* The same of a client's; but each frame of data is looked at before nghttp2 has it. */
static int give_frames(struct weft__h2 *h2, const uint8_t *data, size_t len)
{
    uint64_t from = h2->frames.from;
    size_t given = 0;
    int err = 0;
    for (size_t at = 0; at < len && err == 0;) {
        bool head;
        at += weft__http2_frames_see(&h2->frames, data + at, len - at, &head);
        if (!head || !weft__http2_frames_is_data(&h2->frames))
            continue;
        size_t begin = at - weft__min_size(at, WEFT__HTTP2_FRAME_HEAD);
        if (begin > given)
            err = give(h2, data + given, begin - given);
        given = begin;
        if (err == 0)
            err = weft__h2_past_data(h2, weft__http2_frames_stream(&h2->frames));
    }
    weft__h2_heard(h2, from);
    return err == 0 ? give(h2, data + given, len - given) : err;
}

static int feed(struct weft__h2 *h2, const uint8_t *data, size_t len)
{
    int err = h2->server ? give_frames(h2, data, len) : give(h2, data, len);
    h2->received += len;
    if (err < 0)
        return err;
    if (!h2->server || nghttp2_session_get_outbound_queue_size(h2->ng) <= most_answers(h2))
        return 0;
    if (nghttp2_session_terminate_session(h2->ng, NGHTTP2_ENHANCE_YOUR_CALM) != 0)
        return -ENOMEM;
    return weft__fail(WEFT_EPROTOCOL, "HTTP/2: the client takes none of what it causes");
}

/* One round of reading for all. What it gives to send is sent at its end, or, where the flow always
 * comes back for the next round, at the beginning of that: with the answers to what came. */
static int pump(struct weft__h2 *h2, bool keep, weft_deadline d)
{
    const void *data;
    int err = weft__h2_flush(h2, d);
    if (err < 0)
        return err;
    if (!nghttp2_session_want_read(h2->ng) && !nghttp2_session_want_write(h2->ng)) {
        weft__h2_break(h2, weft__fail(WEFT_EEOF, "the HTTP/2 connection has ended"));
        return 0;
    }
    h2->poked = false;
    ssize_t n = weft__h2_next(h2, &data, d);
    if (n == -ETIMEDOUT && h2->poked && !h2->s->timed_out)
        return 0;
    if (n < 0 && cut_off(h2, (int)n))
        return (int)n;
    if (n > 0) {
        err = feed(h2, data, (size_t)n);
        weft_consume(h2->s, (size_t)n);
    } else {
        err = n == 0 ? weft__fail(WEFT_EEOF, "the peer ended the HTTP/2 connection") : (int)n;
    }
    if (err < 0) {
        last_words(h2);
        weft__h2_break(h2, err);
        return 0;
    }
    return keep ? 0 : weft__h2_flush(h2, d);
}

int weft__h2_wait(struct weft__h2 *h2, struct weft__h2_stream *st, bool (*done)(void *arg),
                  void *arg, bool keep, weft_deadline d)
{
    h2->kept = h2->kept || keep;
    int err = 0;
    while (!done(arg) && err == 0) {
        if (h2->error < 0)
            return h2->error;
        if (h2->pumping || (h2->kept && !keep)) {
            err = weft__h2_flush(h2, d);
            if (err == 0 && !done(arg))
                err = follow(h2, st, d);
            continue;
        }
        h2->pumping = true;
        err = pump(h2, keep, d);
        h2->pumping = false;
        if (err == 0 && weft__flow_late(weft__flow_self(), d) && !done(arg))
            err = -ETIMEDOUT; /* also of who always finds something to read */
    }
    hand_over(h2);
    return err;
}

/* --- What nghttp2 tells ----------------------------------------------------------------------- */

static struct weft__h2_stream *stream_of(nghttp2_session *ng, int32_t id)
{
    return nghttp2_session_get_stream_user_data(ng, id);
}

/* Mostly the fields come right behind, and the end of the frame behind them. */
static inline struct weft__h2_stream *recent_or(struct weft__h2 *h2, int32_t id)
{
    return h2->recent != NULL && h2->recent_id == id ? h2->recent : stream_of(h2->ng, id);
}

static int on_begin_headers(nghttp2_session *ng, const nghttp2_frame *frame, void *arg)
{
    struct weft__h2 *h2 = arg;
    bool fresh = frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST;
    struct weft__h2_stream *st = fresh ? NULL : stream_of(ng, frame->hd.stream_id);
    if (st != NULL) {
        st->in_trailers = st->head_done;
        return 0;
    }
    if (!h2->server || frame->hd.type != NGHTTP2_HEADERS)
        return 0;
    st = weft__h2_stream_new(h2, frame->hd.stream_id);
    if (st == NULL)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    if (nghttp2_session_set_stream_user_data(ng, frame->hd.stream_id, st) != 0) {
        weft__h2_stream_free(st);
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    }
    st->let_go = true; /* until a user has it */
    h2->recent = st;
    h2->recent_id = frame->hd.stream_id;
    return 0;
}

static int on_header(nghttp2_session *ng, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                     void *arg)
{
    struct weft__h2 *h2 = arg;
    struct weft__h2_stream *st = recent_or(h2, frame->hd.stream_id);
    (void)ng;
    (void)flags;
    if (st == NULL)
        return 0;
    int err = weft__h2_fields_add(st->in_trailers ? &st->trailers : &st->head, h2->options.head_max,
                                  name, name_len, value, value_len);
    return err < 0 ? NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE : 0;
}

/* The status of a reply; "" where there is none. Of a 1xx before it (RFC 9113 section 8.1) the
 * fields are dropped. */
static struct weft__slice status_of(const struct weft__h2 *h2, const struct weft__h2_stream *st)
{
    if (h2->server || st->head.n == 0)
        return weft__slice_text("");
    return weft__http_slice(st->head.text, st->head.at[0].value);
}

static void head_came(struct weft__h2 *h2, struct weft__h2_stream *st)
{
    if (st->in_trailers)
        return;
    struct weft__slice status = status_of(h2, st);
    char class = status.len == 3 ? status.at[0] : '\0';
    if (class == '1') {
        st->continued = st->continued || weft__slice_is(status, "100");
        st->head.n = 0;
        st->head.len = 0;
        st->head.too_large = false;
        if (++st->interims > WEFT__H2_INTERIM_MAX)
            weft__h2_reset(st, NGHTTP2_ENHANCE_YOUR_CALM);
        return;
    }
    st->head_done = true;
    st->unwanted = class > '2';
    if (!h2->server)
        return;
    /* Those count whose client has given them up, or has made nghttp2 reset them: who answers them
     * has yet to notice. */
    if (h2->n_streams > 2 * (size_t)h2->options.streams_max) {
        weft__h2_reset(st, NGHTTP2_REFUSED_STREAM);
        return;
    }
    st->let_go = false;
    h2->options.request(h2->options.arg, st);
}

static int on_frame(nghttp2_session *ng, const nghttp2_frame *frame, void *arg)
{
    struct weft__h2 *h2 = arg;
    if (frame->hd.type == NGHTTP2_GOAWAY)
        h2->peer_goaway = true;
    if (frame->hd.type == NGHTTP2_RST_STREAM)
        weft__h2_past_add(h2, frame->hd.stream_id);
    if (frame->hd.type == NGHTTP2_PING && (frame->hd.flags & NGHTTP2_FLAG_ACK) != 0)
        h2->ping_acked = true;
    if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA)
        return 0;
    struct weft__h2_stream *st = recent_or(h2, frame->hd.stream_id);
    (void)ng;
    if (st == NULL)
        return 0;
    st->end_in = st->end_in || (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    if (frame->hd.type == NGHTTP2_HEADERS)
        head_came(h2, st);
    weft__h2_wake(st);
    return 0;
}

static int on_data(nghttp2_session *ng, uint8_t flags, int32_t id, const uint8_t *data, size_t len,
                   void *arg)
{
    struct weft__h2_stream *st = stream_of(ng, id);
    (void)flags;
    (void)arg;
    if (st == NULL || st->let_go) {
        (void)nghttp2_session_consume(ng, id, len); /* nobody wants it */
        return 0;
    }
    if (weft__buffer_append(&st->in, data, len) < 0)
        return NGHTTP2_ERR_CALLBACK_FAILURE; /* no memory: the windows bound it */
    weft__h2_wake(st);
    return 0;
}

static int on_close(nghttp2_session *ng, int32_t id, uint32_t code, void *arg)
{
    struct weft__h2_stream *st = stream_of(ng, id);
    (void)arg;
    if (st == NULL)
        return 0;
    st->closed = true;
    st->code = code;
    if (st->end_in)
        weft__h2_past_add(st->h2, id);
    st->h2->recent = NULL;
    if (st->let_go)
        weft__h2_stream_free(st);
    else
        weft__h2_wake(st);
    return 0;
}

/* --- Opening and closing ---------------------------------------------------------------------- */

static int make_session(struct weft__h2 *h2)
{
    nghttp2_session_callbacks *cb = NULL;
    nghttp2_option *o = NULL;
    int err = -ENOMEM;
    if (nghttp2_session_callbacks_new(&cb) != 0 || nghttp2_option_new(&o) != 0)
        goto out;
    nghttp2_session_callbacks_set_on_begin_frame_callback(cb, weft__h2_past_check);
    nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_close);
    nghttp2_option_set_no_auto_window_update(o, 1);
    nghttp2_option_set_max_outbound_ack(o, ACKS_MAX);
    nghttp2_option_set_max_settings(o, SETTINGS_MAX);
    nghttp2_option_set_max_continuations(o, CONTINUATIONS_MAX);
    nghttp2_option_set_stream_reset_rate_limit(o, RESETS_BURST, RESETS_PER_S);
    nghttp2_option_set_no_closed_streams(o, 1);
    nghttp2_option_set_max_send_header_block_length(o, WEFT__H2_SEND_HEAD_MAX);
    nghttp2_mem *mem = h2->options.pool != NULL ? &h2->options.pool->mem : NULL;
    int res = h2->server ? nghttp2_session_server_new3(&h2->ng, cb, h2, o, mem)
                         : nghttp2_session_client_new3(&h2->ng, cb, h2, o, mem);
    err = res == 0 ? 0 : -ENOMEM;
out:
    nghttp2_session_callbacks_del(cb);
    nghttp2_option_del(o);
    return err;
}

static int submit_settings(struct weft__h2 *h2)
{
    nghttp2_settings_entry e[5];
    size_t n = 0;
    e[n++] = (nghttp2_settings_entry){NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, h2->options.window};
    e[n++] = (nghttp2_settings_entry){NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, h2->options.head_max};
    if (h2->server)
        e[n++] = (nghttp2_settings_entry){NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS,
                                          h2->options.streams_max};
    else
        e[n++] = (nghttp2_settings_entry){NGHTTP2_SETTINGS_ENABLE_PUSH, 0};
    if (h2->server && h2->options.connect_protocol)
        e[n++] = (nghttp2_settings_entry){NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1};
    if (nghttp2_submit_settings(h2->ng, NGHTTP2_FLAG_NONE, e, n) != 0)
        return -ENOMEM;
    int err = nghttp2_session_set_local_window_size(h2->ng, NGHTTP2_FLAG_NONE, 0,
                                                    (int32_t)h2->options.session_window);
    return err == 0 ? 0 : -ENOMEM;
}

int weft__h2_open(struct weft__h2 **ret, struct weft_stream *s, bool server,
                  const struct weft__h2_options *o)
{
    struct weft__h2 *h2 = weft__calloc(1, sizeof *h2);
    if (h2 == NULL)
        return -ENOMEM;
    h2->s = s;
    h2->server = server;
    h2->newest = -1;
    weft__http2_frames_init(&h2->frames);
    h2->options = *o;
    h2->options.streams_max = o->streams_max > 0 ? o->streams_max : STREAMS_MAX;
    h2->options.window = o->window > 0 ? o->window : WINDOW;
    h2->options.session_window = o->session_window > 0 ? o->session_window : SESSION_WINDOW;
    h2->options.head_max = o->head_max > 0 ? o->head_max : WEFT__H2_HEAD_MAX;
    weft__list_init(&h2->streams);
    weft__list_init(&h2->waits);
    weft__list_init(&h2->tunnels);
    weft__buffer_init(&h2->out, OUT_MAX * 2);
    int err = make_session(h2);
    if (err == 0)
        err = submit_settings(h2);
    if (err < 0) {
        weft__h2_close(&h2);
        return err;
    }
    *ret = h2;
    return 0;
}

void weft__h2_close(struct weft__h2 **ret)
{
    struct weft__h2 *h2 = *ret;
    if (h2 == NULL)
        return;
    WEFT__ASSERT(weft__list_empty(&h2->waits) && !h2->flushing && h2->inside == 0);
    h2->error = h2->error < 0 ? h2->error : WEFT_ECLOSED;
    WEFT__LIST_EACH_SAFE(&h2->streams, n, tmp) {
        struct weft__h2_stream *st = WEFT__CONTAINER_OF(n, struct weft__h2_stream, link);
        WEFT__ASSERT(st->let_go);
        weft__h2_stream_free(st);
    }
    nghttp2_session_del(h2->ng);
    weft__buffer_fini(&h2->out);
    weft__free(h2);
    *ret = NULL;
}

int weft__h2_goaway(struct weft__h2 *h2, int32_t last_id, uint32_t code)
{
    if (h2->error < 0)
        return h2->error;
    if (last_id < 0)
        last_id = nghttp2_session_get_last_proc_stream_id(h2->ng);
    int err = nghttp2_submit_goaway(h2->ng, NGHTTP2_FLAG_NONE, last_id, code, NULL, 0);
    return err == 0 ? 0 : -ENOMEM;
}

bool weft__h2_usable(const struct weft__h2 *h2)
{
    return h2->error == 0 && !h2->peer_goaway && nghttp2_session_check_request_allowed(h2->ng) != 0;
}
