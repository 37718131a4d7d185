/* SPDX-License-Identifier: MIT */
/*
 * The streams of an HTTP/2 connection: heads, bodies in and out, their ends.
 *
 * Floor 5. A stream is freed when both its user has let go of it and nghttp2 has forgotten it.
 */
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "http/h2.h"
#include "http/h2_pool.h"
#include "wire/http_name.h"

#define TEXT_FIRST 512u
#define FIELDS_FIRST 16u
#define NS_PER_MS INT64_C(1000000)

/* --- Fields ----------------------------------------------------------------------------------- */

static int grow(void **at, uint32_t *cap, uint32_t want, uint32_t first, size_t size)
{
    uint32_t n = *cap > 0 ? *cap : first;
    while (n < want)
        n *= 2;
    void *more = weft__realloc(*at, n * size);
    if (more == NULL)
        return -ENOMEM;
    *at = more;
    *cap = n;
    return 0;
}

/* For one field more, and text up to that length. */
static __attribute__((noinline)) int more_room(struct weft__h2_fields *f, uint32_t want)
{
    void *text = f->text, *at = f->at;
    int err = 0;
    if (want > f->cap)
        err = grow(&text, &f->cap, want, TEXT_FIRST, 1);
    f->text = text;
    if (err == 0 && f->n == f->n_cap)
        err = grow(&at, &f->n_cap, f->n + 1, FIELDS_FIRST, sizeof *f->at);
    f->at = at;
    return err;
}

int weft__h2_fields_add(struct weft__h2_fields *f, uint32_t max, const uint8_t *name,
                        size_t name_len, const uint8_t *value, size_t value_len)
{
    int err;
    /* RFC 9113 section 6.5.2: a field counts 32 bytes more than its text. */
    if (f->too_large || f->n >= WEFT__H2_FIELDS_MAX ||
        f->len - 2 * f->n + name_len + value_len + (f->n + 1) * UINT32_C(32) > max) {
        f->too_large = true;
        return 0;
    }
    uint32_t want = f->len + (uint32_t)(name_len + value_len) + 2;
    if (WEFT__UNLIKELY(want > f->cap || f->n == f->n_cap) && (err = more_room(f, want)) < 0)
        return err;
    struct weft__http1_field *to = &f->at[f->n++];
    to->name = (struct weft__http_span){f->len, (uint32_t)name_len};
    to->value = (struct weft__http_span){f->len + (uint32_t)name_len + 1, (uint32_t)value_len};
    /* nghttp2 has looked at its characters, so it is looked up in the short way. */
    to->id = name_len > 0 && name[0] == ':' ? WEFT__HN_OTHER
                                            : weft__http_name_find((const char *)name, name_len);
    char *end = f->text + f->len;
    memcpy(end, name, name_len);
    end[name_len] = '\0';
    memcpy(end + name_len + 1, value, value_len);
    end[name_len + 1 + value_len] = '\0';
    f->len = want;
    return 0;
}

void weft__h2_fields_fini(struct weft__h2_fields *f)
{
    weft__free(f->text);
    weft__free(f->at);
    *f = (struct weft__h2_fields){0};
}

/* --- Making and ending ------------------------------------------------------------------------ */

struct weft__h2_stream *weft__h2_stream_new(struct weft__h2 *h2, int32_t id)
{
    struct weft__h2_pool *p = h2->options.pool;
    struct weft__h2_stream *st = p != NULL ? p->streams : NULL;
    if (st != NULL) {
        p->streams = st->next;
        p->n_streams--;
        *st = (struct weft__h2_stream){.head = st->head};
    } else if ((st = weft__calloc(1, sizeof *st)) == NULL) {
        return NULL;
    }
    st->h2 = h2;
    st->id = id;
    weft__list_init(&st->waits);
    weft__buffer_init(&st->in, h2->options.window);
    weft__buffer_init(&st->held, WEFT__H2_HELD_MAX);
    weft__list_push_back(&h2->streams, &st->link);
    h2->n_streams++;
    return st;
}

static void free_trailers(struct weft__h2_stream *st)
{
    weft__free(st->out_trailers);
    st->out_trailers = NULL;
    st->n_out_trailers = 0;
}

/* Keeps it, with the memory of its head, for the next request: true when there is room. */
static bool spare(struct weft__h2_stream *st)
{
    struct weft__h2_pool *p = st->h2->options.pool;
    struct weft__h2_fields *f = &st->head;
    if (!WEFT__H2_POOL_KEEPS || p == NULL || p->n_streams >= WEFT__H2_POOL_STREAMS ||
        f->cap > TEXT_FIRST || f->n_cap > FIELDS_FIRST)
        return false;
    f->len = f->n = 0;
    f->too_large = false;
    st->next = p->streams;
    p->streams = st;
    p->n_streams++;
    return true;
}

void weft__h2_stream_free(struct weft__h2_stream *st)
{
    struct weft__h2 *h2 = st->h2;
    WEFT__ASSERT(weft__list_empty(&st->waits));
    weft__list_remove(&st->link);
    h2->n_streams--;
    h2->recent = NULL;
    h2->held -= weft__buffer_len(&st->held);
    weft__h2_fields_fini(&st->trailers);
    weft__buffer_fini(&st->in);
    weft__buffer_fini(&st->held);
    free_trailers(st);
    if (spare(st))
        return;
    weft__h2_fields_fini(&st->head);
    weft__free(st);
}

void weft__h2_streams_drop(struct weft__h2_pool *p)
{
    while (p->streams != NULL) {
        struct weft__h2_stream *st = p->streams;
        p->streams = st->next;
        weft__h2_fields_fini(&st->head);
        weft__free(st);
    }
    p->n_streams = 0;
}

static void drop_held(struct weft__h2_stream *st)
{
    st->h2->held -= weft__buffer_len(&st->held);
    weft__buffer_fini(&st->held);
}

void weft__h2_reset(struct weft__h2_stream *st, uint32_t code)
{
    st->out_left = 0;
    st->out = NULL;
    drop_held(st);
    if (st->closed || st->h2->error < 0)
        return;
    if (nghttp2_submit_rst_stream(st->h2->ng, NGHTTP2_FLAG_NONE, st->id, code) != 0)
        weft__h2_break(st->h2, -ENOMEM);
}

void weft__h2_let_go(struct weft__h2_stream *st)
{
    struct weft__h2 *h2 = st->h2;
    size_t unread = weft__buffer_len(&st->in);
    st->user = NULL;
    st->let_go = true;
    if (unread > 0 && h2->error == 0) /* its bytes no longer count against the connection */
        (void)nghttp2_session_consume_connection(h2->ng, unread);
    weft__buffer_fini(&st->in);
    if (st->closed || h2->error < 0) {
        nghttp2_session_set_stream_user_data(h2->ng, st->id, NULL);
        weft__h2_stream_free(st);
        return;
    }
    bool body_sent = st->out_done || (st->queued && st->out_end); /* or will be */
    bool sent = (!h2->server || st->responded) && (!st->out_submitted || body_sent);
    bool whole = st->end_in && sent;
    if (!whole) {
        /* RFC 9113 section 8.1: a server that has answered wants no more of the request. */
        weft__h2_reset(st, h2->server && sent ? NGHTTP2_NO_ERROR : NGHTTP2_CANCEL);
    }
}

/* --- Sending ---------------------------------------------------------------------------------- */

static ssize_t read_body(nghttp2_session *ng, int32_t id, uint8_t *buf, size_t len, uint32_t *flags,
                         nghttp2_data_source *source, void *arg)
{
    struct weft__h2_stream *st = source->ptr;
    (void)arg;
    size_t held = weft__buffer_len(&st->held);
    size_t n = weft__min_size(len, held > 0 ? held : st->out_left);
    if (st->unwanted || (st->whole && n < st->out_left))
        n = 0;
    st->h2->sent += n;
    if (held > 0) {
        memcpy(buf, weft__buffer_data(&st->held), n);
        weft__buffer_consume(&st->held, n);
        weft__buffer_trim(&st->held);
        st->h2->held -= n;
        st->held_ns = 0;
        held -= n;
    } else if (n > 0) {
        memcpy(buf, st->out, n);
        st->out += n;
        st->out_left -= n;
    }
    if (held == 0 && st->out_left == 0 && st->out_end) {
        *flags |= NGHTTP2_DATA_FLAG_EOF;
        if (st->n_out_trailers > 0) {
            *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
            if (nghttp2_submit_trailer(ng, id, st->out_trailers, st->n_out_trailers) != 0)
                return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
        }
        st->out_done = true;
    } else if (n == 0) {
        st->out_deferred = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    if (st->out_left == 0)
        weft__h2_wake(st);
    return (ssize_t)n;
}

static nghttp2_data_provider provider(struct weft__h2_stream *st)
{
    return (nghttp2_data_provider){.source = {.ptr = st}, .read_callback = read_body};
}

static int submit_error(int code)
{
    if (code == NGHTTP2_ERR_NOMEM)
        return -ENOMEM;
    return weft__fail(WEFT_EPROTOCOL, "HTTP/2: %s", nghttp2_strerror(code));
}

/* nghttp2 drops a head that may be longer than this, and nobody who waits for it would learn of it.
 * It reckons with 12 bytes more for each field, and for the whole, and a priority. */
static int head_fits(const nghttp2_nv *nv, size_t n)
{
    size_t len = 12 + 5;
    for (size_t i = 0; i < n; i++)
        len += nv[i].namelen + nv[i].valuelen + 12;
    if (len <= WEFT__H2_SEND_HEAD_MAX)
        return 0;
    return weft__fail(WEFT_ELIMIT, "a head of %zu bytes, where HTTP/2 takes %u", len,
                      WEFT__H2_SEND_HEAD_MAX);
}

int weft__h2_request(struct weft__h2 *h2, const nghttp2_nv *nv, size_t n, bool body,
                     struct weft__h2_stream **ret)
{
    int err = head_fits(nv, n);
    struct weft__h2_stream *st = err == 0 ? weft__h2_stream_new(h2, 0) : NULL;
    if (st == NULL)
        return err < 0 ? err : -ENOMEM;
    nghttp2_data_provider p = provider(st);
    int32_t id = nghttp2_submit_request(h2->ng, NULL, nv, n, body ? &p : NULL, st);
    if (id < 0) {
        weft__h2_stream_free(st);
        return submit_error(id);
    }
    st->id = id;
    st->out_submitted = body;
    *ret = st;
    return 0;
}

int weft__h2_respond(struct weft__h2_stream *st, const nghttp2_nv *nv, size_t n, bool body)
{
    nghttp2_data_provider p = provider(st);
    if (st->h2->error < 0)
        return st->h2->error;
    if (st->closed)
        return -EPIPE;
    int err = head_fits(nv, n);
    if (err < 0)
        return err;
    err = nghttp2_submit_response(st->h2->ng, st->id, nv, n, body ? &p : NULL);
    if (err != 0)
        return submit_error(err);
    st->out_submitted = body;
    st->responded = true;
    return 0;
}

int weft__h2_interim(struct weft__h2_stream *st, const nghttp2_nv *nv, size_t n)
{
    if (st->h2->error < 0 || st->closed)
        return st->h2->error < 0 ? st->h2->error : -EPIPE;
    int err = head_fits(nv, n);
    if (err < 0)
        return err;
    err = nghttp2_submit_headers(st->h2->ng, NGHTTP2_FLAG_NONE, st->id, NULL, nv, n, NULL);
    return err < 0 ? submit_error(err) : 0;
}

/* The piece is nghttp2's: whoever sends next takes it along. */
static bool is_taken(const struct weft__h2_stream *st)
{
    return st->out_left == 0 && (!st->out_end || st->out_done);
}

static bool piece_sent(void *arg)
{
    const struct weft__h2_stream *st = arg;
    return st->closed || st->unwanted || is_taken(st);
}

static int may_write(const struct weft__h2_stream *st)
{
    if (st->h2->error < 0)
        return st->h2->error;
    if (st->closed)
        return st->code == NGHTTP2_NO_ERROR ? -EPIPE
                                            : weft__fail(-EPIPE, "the peer reset the stream: %s",
                                                         nghttp2_http2_strerror(st->code));
    if (st->unwanted)
        return weft__fail(-EPIPE, "the peer has replied before it had the whole body");
    return 0;
}

static int offer(struct weft__h2_stream *st, const void *data, size_t len, bool end)
{
    st->out = data;
    st->out_left = len;
    st->out_end = end;
    if (!st->out_deferred)
        return 0;
    st->out_deferred = false;
    return nghttp2_session_resume_data(st->h2->ng, st->id) != 0 ? -EPIPE : 0;
}

int weft__h2_queue(struct weft__h2_stream *st, const void *data, size_t len, bool end)
{
    struct weft__h2 *h2 = st->h2;
    int err = may_write(st);
    if (err < 0 || (len == 0 && !end))
        return err;
    if (len > WEFT__H2_HELD_MAX - weft__min_size(h2->held, WEFT__H2_HELD_MAX))
        return weft__fail(-ENOBUFS,
                          "%zu bytes wait for the client's windows, and %zu more pass the"
                          " maximum of %u",
                          h2->held, len, WEFT__H2_HELD_MAX);
    st->queued = true;
    err = offer(st, data, len, end);
    if (err == 0 && weft__buffer_len(&st->held) == 0)
        err = weft__h2_collect(h2, st);
    if (err == 0 && st->out_left > 0 && !st->closed) {
        err = weft__buffer_append(&st->held, st->out, st->out_left);
        h2->held += err == 0 ? st->out_left : 0;
    }
    st->out = NULL;
    st->out_left = 0;
    return err;
}

/* Whether that is what holds the body up since h2->sent was `sent`. Where it is the stream below,
 * it has its own limit; and streams take turns at the connection's window. */
static bool waits_for_windows(const struct weft__h2_stream *st, uint64_t sent)
{
    struct weft__h2 *h2 = st->h2;
    if (nghttp2_session_get_stream_remote_window_size(h2->ng, st->id) <= 0)
        return true;
    return nghttp2_session_get_remote_window_size(h2->ng) <= 0 && h2->sent == sent;
}

void weft__h2_drop_stuck(struct weft__h2 *h2)
{
    int64_t now = weft_now_ns();
    if (h2->held == 0 || h2->options.write_ms <= 0)
        return;
    WEFT__LIST_EACH(&h2->streams, n) {
        struct weft__h2_stream *st = WEFT__CONTAINER_OF(n, struct weft__h2_stream, link);
        if (weft__buffer_len(&st->held) == 0)
            continue;
        if (st->held_ns > 0 && now - st->held_ns < h2->options.write_ms * NS_PER_MS)
            continue;
        if (st->held_ns > 0 && waits_for_windows(st, st->held_sent))
            weft__h2_reset(st, NGHTTP2_CANCEL);
        st->held_ns = now;
        st->held_sent = h2->sent;
    }
}

/* Until the piece is sent, or the windows have not moved for as long as they may. */
static int await_sent(struct weft__h2_stream *st, weft_deadline d)
{
    int64_t write_ms = st->h2->options.write_ms;
    int err = 0;
    while (err == 0 && !piece_sent(st)) {
        size_t left = st->out_left;
        uint64_t sent = st->h2->sent;
        weft_deadline stuck = write_ms > 0 ? weft_after_ns(write_ms * NS_PER_MS) : WEFT_NEVER;
        err = weft__h2_wait(st->h2, st, piece_sent, st, false, weft_earlier(d, stuck));
        if (err != -ETIMEDOUT || d.ns <= stuck.ns)
            continue; /* the caller's own */
        err = 0;
        if (st->out_left == left && waits_for_windows(st, sent))
            err = weft__fail(-ETIMEDOUT, "the peer's windows have not moved");
    }
    return err;
}

int weft__h2_write(struct weft__h2_stream *st, const void *data, size_t len, bool end,
                   weft_deadline d)
{
    struct weft__h2 *h2 = st->h2;
    int err = may_write(st);
    st->unsent = len;
    if (err < 0 || (len == 0 && !end))
        return err;
    err = offer(st, data, len, end);
    if (err < 0)
        return err;
    err = weft__h2_flush(h2, d);
    if (err == 0)
        err = await_sent(st, d);
    if ((err == -ETIMEDOUT || err == -ECANCELED) && is_taken(st))
        err = 0;
    if (err == 0 && !is_taken(st))
        err = -EPIPE; /* closed meanwhile */
    st->unsent = st->out_left;
    if (st->out_left > 0)
        st->out_end = false; /* without this piece the body is not whole */
    st->out = NULL;
    st->out_left = 0;
    return err;
}

int weft__h2_write_at_once(struct weft__h2_stream *st, const void *data, size_t len)
{
    st->whole = true;
    int err = weft__h2_write(st, data, len, false, WEFT_NOW);
    st->whole = false;
    return err;
}

int weft__h2_set_trailers(struct weft__h2_stream *st, const nghttp2_nv *nv, size_t n)
{
    size_t size = n * sizeof *nv;
    for (size_t i = 0; i < n; i++)
        size += nv[i].namelen + nv[i].valuelen;
    int err = head_fits(nv, n);
    free_trailers(st);
    if (err < 0 || n == 0)
        return err;
    nghttp2_nv *copy = weft__alloc(size);
    if (copy == NULL)
        return -ENOMEM;
    uint8_t *at = (uint8_t *)(copy + n);
    for (size_t i = 0; i < n; i++) {
        copy[i] = nv[i];
        copy[i].flags = NGHTTP2_NV_FLAG_NONE;
        copy[i].name = memcpy(at, nv[i].name, nv[i].namelen);
        at += nv[i].namelen;
        copy[i].value = memcpy(at, nv[i].value, nv[i].valuelen);
        at += nv[i].valuelen;
    }
    st->out_trailers = copy;
    st->n_out_trailers = n;
    return 0;
}

/* --- Receiving -------------------------------------------------------------------------------- */

static int reset_error(const struct weft__h2_stream *st)
{
    if (st->h2->error < 0)
        return st->h2->error;
    if (st->interims > WEFT__H2_INTERIM_MAX)
        return weft__fail(WEFT_EPROTOCOL, "more than %u interim replies", WEFT__H2_INTERIM_MAX);
    return weft__fail(WEFT_EEOF, "the peer reset the stream: %s", nghttp2_http2_strerror(st->code));
}

static bool has_head(void *arg)
{
    const struct weft__h2_stream *st = arg;
    return st->head_done || st->closed;
}

int weft__h2_head(struct weft__h2_stream *st, weft_deadline d)
{
    int err = weft__h2_wait(st->h2, st, has_head, st, false, d);
    if (err == 0 && !st->head_done)
        err = reset_error(st);
    return err;
}

bool weft__h2_has_bytes(const struct weft__h2_stream *st)
{
    return weft__buffer_len(&st->in) > 0 || st->end_in || st->closed;
}

static bool has_bytes(void *arg)
{
    return weft__h2_has_bytes(arg);
}

ssize_t weft__h2_peek(struct weft__h2_stream *st, const void **data, weft_deadline d)
{
    if (!has_bytes(st)) {
        int err = weft__h2_wait(st->h2, st, has_bytes, st, false, d);
        if (err < 0)
            return err;
    }
    if (weft__buffer_len(&st->in) > 0) {
        *data = weft__buffer_data(&st->in);
        return (ssize_t)weft__buffer_len(&st->in);
    }
    return st->end_in ? 0 : reset_error(st);
}

void weft__h2_consume(struct weft__h2_stream *st, size_t n)
{
    struct weft__h2 *h2 = st->h2;
    weft__buffer_consume(&st->in, n);
    weft__buffer_trim(&st->in);
    if (h2->error < 0)
        return;
    int err = st->closed ? nghttp2_session_consume_connection(h2->ng, n)
                         : nghttp2_session_consume(h2->ng, st->id, n);
    if (err == NGHTTP2_ERR_NOMEM)
        weft__h2_break(h2, -ENOMEM);
}
