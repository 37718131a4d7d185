/* SPDX-License-Identifier: MIT */
/* Bodies of HTTP/1 messages on a stream. Floor 5. Invariants as in h1_body.h. */
#include "http/h1_body.h"

#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "net/stream.h"

/* --- In -------------------------------------------------------------------------------------- */

void weft__h1_body_init(struct weft__h1_body *b, struct weft_stream *s,
                        const struct weft__http1_head *h, const struct weft__h1_body_limits *limits,
                        struct weft__http1_field *fields, uint32_t fields_cap)
{
    b->s = s;
    b->kind = h->body;
    b->done = h->body == WEFT__HTTP1_NO_BODY;
    b->begun = false;
    b->error = 0;
    b->left = h->length;
    b->got = 0;
    b->trailers = NULL;
    b->piece = b->tail = 0;
    if (b->done)
        return;
    b->limits = *limits;
    b->waited_ns = 0;
    if (h->body == WEFT__HTTP1_LENGTH && h->length > limits->max)
        b->error = -EMSGSIZE;
    if (h->body == WEFT__HTTP1_CHUNKED) {
        struct weft__http1_chunked_limits l = {.body_max = limits->max};
        weft__http1_chunked_init(&b->chunked, &l, fields, fields_cap);
    }
}

void weft__h1_body_fini(struct weft__h1_body *b)
{
    weft__free(b->trailers);
    b->trailers = NULL;
}

/* The point at which one of the limits strikes a wait that begins now. The rate is that of the
 * peer: what the reader takes its time for does not count. */
static weft_deadline limit_of(const struct weft__h1_body *b, int64_t now)
{
    const struct weft__h1_body_limits *l = &b->limits;
    weft_deadline until = l->until.ns > 0 ? l->until : WEFT_NEVER;
    if (l->gap_ns > 0)
        until.ns = weft__min_i64(until.ns, now + l->gap_ns);
    if (l->min_rate > 0) {
        uint64_t due_s = b->got / (uint64_t)l->min_rate;
        if (due_s < 1000000)
            until.ns =
                weft__min_i64(until.ns, now - b->waited_ns + l->grace_ns + weft_s((int64_t)due_s));
    }
    return until;
}

/* What a wait for more came to. */
static ssize_t waited(struct weft__h1_body *b, ssize_t n, weft_deadline d, weft_deadline limit)
{
    if (n > 0 || n == -ECANCELED)
        return n;
    if (n == -ETIMEDOUT && d.ns <= limit.ns)
        return n; /* the caller's own: it may try again */
    if (n == -ETIMEDOUT)
        return b->error = weft__fail(-ETIMEDOUT, "the body came too slowly: %llu bytes so far",
                                     (unsigned long long)b->got);
    if (n == 0 && b->kind == WEFT__HTTP1_CLOSE) {
        b->done = true;
        return 0;
    }
    return b->error = n == 0 ? WEFT_EEOF : (int)n;
}

/* Waits for at least min bytes of the stream. */
static ssize_t look(struct weft__h1_body *b, const void **data, size_t min, weft_deadline d)
{
    if (weft__in_left(b->s) >= min)
        return weft_peek_min(b->s, data, min, d);
    int64_t now = weft_now_ns();
    weft_deadline limit = limit_of(b, now);
    ssize_t n = weft_peek_min(b->s, data, min, weft_earlier(d, limit));
    b->waited_ns += weft_now_ns() - now;
    return waited(b, n, d, limit);
}

static int too_long(struct weft__h1_body *b)
{
    return b->error = weft__fail(-EMSGSIZE, "the body is longer than %llu bytes",
                                 (unsigned long long)b->limits.max);
}

static int begin(struct weft__h1_body *b)
{
    b->begun = true;
    if (b->error == -EMSGSIZE)
        return too_long(b);
    return b->error;
}

/* The trailers are complete in data[0 .. used): they are kept. */
static int keep_trailers(struct weft__h1_body *b, const void *data, size_t used)
{
    if (b->chunked.fields == NULL || b->chunked.field_count == 0)
        return 0;
    b->trailers = weft__alloc(used);
    if (b->trailers == NULL)
        return b->error = -ENOMEM;
    memcpy(b->trailers, data, used);
    return 0;
}

static ssize_t chunked_peek(struct weft__h1_body *b, const void **ret, weft_deadline d)
{
    const void *data;
    size_t want = 1;
    if (b->piece > 0) { /* is in the read-ahead still */
        ssize_t n = weft_peek(b->s, ret, d);
        return n < 0 ? n : (ssize_t)b->piece;
    }
    for (;;) {
        size_t used;
        struct weft__slice piece;
        ssize_t n = look(b, &data, want, d);
        if (n <= 0)
            return n;
        int what = weft__http1_chunked_next(&b->chunked, data, (size_t)n, &used, &piece);
        if (what < 0) {
            b->error = b->chunked.error.status == 413 ? -EMSGSIZE : WEFT_EPROTOCOL;
            return b->error == -EMSGSIZE ? too_long(b) : b->error;
        }
        if (what == WEFT__HTTP1_DATA) {
            size_t before = (size_t)(piece.at - (const char *)data);
            weft_consume(b->s, before);
            b->piece = piece.len;
            b->tail = used - before - piece.len;
            *ret = piece.at;
            return (ssize_t)piece.len;
        }
        if (what == WEFT__HTTP1_END) {
            int err = keep_trailers(b, data, used);
            weft_consume(b->s, used);
            b->done = err == 0;
            return err;
        }
        weft_consume(b->s, used);
        want = (size_t)n - used + 1;
    }
}

ssize_t weft__h1_body_peek(struct weft__h1_body *b, const void **data, weft_deadline d)
{
    if (b->error < 0)
        return b->begun ? b->error : begin(b);
    b->begun = true;
    if (b->done)
        return 0;
    if (b->kind == WEFT__HTTP1_CHUNKED)
        return chunked_peek(b, data, d);
    ssize_t n = look(b, data, 1, d);
    if (n > 0 && b->kind == WEFT__HTTP1_LENGTH)
        n = (ssize_t)weft__min_u64((uint64_t)n, b->left);
    if (n > 0 && b->kind == WEFT__HTTP1_CLOSE && b->got + (uint64_t)n > b->limits.max)
        return too_long(b);
    return n;
}

static void took(struct weft__h1_body *b, size_t n)
{
    b->got += n;
    if (b->kind == WEFT__HTTP1_LENGTH) {
        b->left -= n;
        b->done = b->left == 0;
    }
}

void weft__h1_body_consume(struct weft__h1_body *b, size_t n)
{
    if (n == 0)
        return;
    weft_consume(b->s, n);
    if (b->kind == WEFT__HTTP1_CHUNKED) {
        WEFT__ASSERT(n <= b->piece);
        b->piece -= n;
        if (b->piece == 0) {
            weft_consume(b->s, b->tail);
            b->tail = 0;
        }
    }
    took(b, n);
}

ssize_t weft__h1_body_read(struct weft__h1_body *b, void *buf, size_t cap, weft_deadline d)
{
    const void *data;
    if (cap == 0)
        return -EINVAL;
    if (b->kind == WEFT__HTTP1_LENGTH && b->error == 0 && !b->done && weft__in_left(b->s) == 0) {
        b->begun = true;
        int64_t now = weft_now_ns();
        weft_deadline limit = limit_of(b, now);
        ssize_t n =
            weft_read(b->s, buf, (size_t)weft__min_u64(cap, b->left), weft_earlier(d, limit));
        b->waited_ns += weft_now_ns() - now;
        n = waited(b, n, d, limit);
        if (n > 0)
            took(b, (size_t)n);
        return n;
    }
    ssize_t n = weft__h1_body_peek(b, &data, d);
    if (n <= 0)
        return n;
    size_t len = weft__min_size((size_t)n, cap);
    memcpy(buf, data, len);
    weft__h1_body_consume(b, len);
    return (ssize_t)len;
}

int weft__h1_body_drop(struct weft__h1_body *b, uint64_t max, weft_deadline d)
{
    const void *data;
    uint64_t dropped = 0;
    while (dropped < max || b->done) {
        ssize_t n = weft__h1_body_peek(b, &data, d);
        if (n <= 0)
            return n < 0 ? (int)n : 1;
        weft__h1_body_consume(b, (size_t)n);
        dropped += (uint64_t)n;
    }
    return 0;
}

/* --- Out ------------------------------------------------------------------------------------- */

void weft__h1_out_init(struct weft__h1_out *o, struct weft_stream *s, enum weft__http1_body kind,
                       uint64_t length)
{
    *o = (struct weft__h1_out){.s = s, .kind = kind, .left = length};
}

static struct iovec piece_of(const void *data, size_t len)
{
    return (struct iovec){(void *)(uintptr_t)data, len};
}

int weft__h1_out_begin(struct weft__h1_out *o, const void *head, size_t head_len, const void *data,
                       size_t len, weft_deadline d)
{
    char size[WEFT__HTTP1_CHUNK_HEAD];
    struct iovec iov[4];
    int n = 0;
    if (o->done)
        return WEFT_ECLOSED;
    if (o->kind == WEFT__HTTP1_LENGTH && len > o->left)
        return weft__fail(-EMSGSIZE, "%zu bytes of a body of which %llu were left", len,
                          (unsigned long long)o->left);
    if (head_len > 0)
        iov[n++] = piece_of(head, head_len);
    if (len > 0 && o->kind == WEFT__HTTP1_CHUNKED)
        iov[n++] = piece_of(size, weft__http1_chunk_head(size, len));
    if (len > 0 && o->kind != WEFT__HTTP1_NO_BODY)
        iov[n++] = piece_of(data, len);
    if (len > 0 && o->kind == WEFT__HTTP1_CHUNKED)
        iov[n++] = piece_of(WEFT__HTTP1_CHUNK_TAIL, 2);
    int err = n == 0   ? 0
              : n == 1 ? weft_write(o->s, iov[0].iov_base, iov[0].iov_len, d)
                       : weft_writev(o->s, iov, n, d);
    if (err == 0 && o->kind == WEFT__HTTP1_LENGTH)
        o->left -= len;
    return err;
}

int weft__h1_out_write(struct weft__h1_out *o, const void *data, size_t len, weft_deadline d)
{
    return len > 0 || o->done ? weft__h1_out_begin(o, NULL, 0, data, len, d) : 0;
}

int weft__h1_out_end(struct weft__h1_out *o, const void *trailers, size_t len, weft_deadline d)
{
    if (o->done)
        return 0;
    o->done = true;
    if (o->kind == WEFT__HTTP1_LENGTH && o->left > 0)
        return weft__fail(-EMSGSIZE, "the body ended %llu bytes before the length it announced",
                          (unsigned long long)o->left);
    if (o->kind != WEFT__HTTP1_CHUNKED)
        return 0;
    if (trailers == NULL || len == 0)
        return weft_write(o->s, WEFT__HTTP1_CHUNK_LAST, strlen(WEFT__HTTP1_CHUNK_LAST), d);
    struct iovec iov[2] = {piece_of("0\r\n", 3), piece_of(trailers, len)};
    return weft_writev(o->s, iov, 2, d);
}
