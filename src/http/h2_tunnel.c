/* SPDX-License-Identifier: MIT */
/*
 * A stream of an HTTP/2 connection as a stream of bytes: what an extended CONNECT opens, which is
 * how WebSocket goes over HTTP/2 (RFC 8441).
 *
 * Floor 5. Invariant: the tunnel ends no later than its request: whoever still holds it then finds
 * it closed.
 */
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "http/h2_request.h"
#include "net/stream.h"

struct weft__h2_tunnel {
    struct weft_stream s; /* first: the two are one block */
    struct weft__h2_exchange *e;
};

static struct weft__h2_stream *below(const struct weft_stream *s)
{
    const struct weft__h2_tunnel *t = WEFT__CONTAINER_OF(s, struct weft__h2_tunnel, s);
    return t->e != NULL ? t->e->st : NULL;
}

static ssize_t await_bytes(struct weft_stream *s, const void **data, weft_deadline d)
{
    struct weft__h2_stream *st = below(s);
    if (st == NULL)
        return WEFT_ECLOSED;
    ssize_t n = weft__h2_peek(st, data, d);
    if (n == 0)
        s->end = true;
    return n == WEFT_EEOF ? -ECONNRESET : n; /* the peer has reset the stream */
}

static ssize_t tunnel_read(struct weft_stream *s, void *buf, size_t cap, weft_deadline d)
{
    const void *data;
    ssize_t n = await_bytes(s, &data, d);
    if (n <= 0)
        return n;
    size_t len = weft__min_size((size_t)n, cap);
    memcpy(buf, data, len);
    weft__h2_consume(below(s), len);
    weft__stream_got(s, len);
    return (ssize_t)len;
}

static ssize_t tunnel_fill(struct weft_stream *s, weft_deadline d)
{
    const void *data;
    ssize_t n = await_bytes(s, &data, d);
    if (n <= 0)
        return n;
    struct weft__rbuf *rb = weft__in_alloc(s, WEFT__RBUF_SIZE);
    if (rb == NULL)
        return -ENOMEM;
    rb->len = (uint32_t)weft__min_size((size_t)n, WEFT__RBUF_SIZE);
    memcpy(rb->data, data, rb->len);
    weft__h2_consume(below(s), rb->len);
    weft__stream_got(s, rb->len);
    s->in = rb;
    return (ssize_t)rb->len;
}

static int tunnel_write(struct weft_stream *s, struct iovec *iov, int n, size_t *moved,
                        weft_deadline d)
{
    int err = 0;
    for (int i = 0; i < n && err == 0; i++) {
        struct weft__h2_stream *st = below(s);
        if (st == NULL)
            return WEFT_ECLOSED;
        size_t len = iov[i].iov_len;
        err = weft__h2_write(st, iov[i].iov_base, len, false, d);
        size_t sent = err == 0 ? len : len - weft__min_size(len, st->unsent);
        *moved += sent;
        weft__stream_sent(s, sent);
    }
    return err;
}

static int tunnel_flush(struct weft_stream *s, weft_deadline d)
{
    struct weft__h2_stream *st = below(s);
    return st == NULL ? WEFT_ECLOSED : weft__h2_flush(st->h2, d);
}

/* The end is submitted; what waits for it is flush, or finish. */
static int tunnel_shutdown(struct weft_stream *s)
{
    struct weft__h2_stream *st = below(s);
    if (st == NULL)
        return WEFT_ECLOSED;
    int err = weft__h2_write(st, "", 0, true, WEFT_NOW);
    return err == -ETIMEDOUT || err == -ECANCELED || err == -EPIPE ? 0 : err;
}

static int tunnel_finish(struct weft_stream *s, weft_deadline d)
{
    struct weft__h2_stream *st = below(s);
    if (st == NULL)
        return 0;
    int err = s->shut || s->error < 0 ? 0 : weft__h2_write(st, "", 0, true, d);
    s->shut = true;
    return err == -EPIPE ? 0 : err; /* the peer has ended it, too */
}

static void tunnel_release(struct weft_stream *s, bool abrupt)
{
    struct weft__h2_tunnel *t = WEFT__CONTAINER_OF(s, struct weft__h2_tunnel, s);
    if (t->e == NULL)
        return;
    if (abrupt)
        weft__h2_reset(t->e->st, NGHTTP2_CANCEL);
    t->e->tunnel = NULL;
    t->e = NULL;
}

static int tunnel_address(const struct weft_stream *s, bool peer, struct weft_address *ret)
{
    const struct weft__h2_stream *st = below(s);
    if (st == NULL)
        return -ENOTCONN;
    return peer ? weft_stream_peer(st->h2->s, ret) : weft_stream_local(st->h2->s, ret);
}

static const struct weft__stream_class tunnel_class = {
    .kind = "http2",
    .read = tunnel_read,
    .fill = tunnel_fill,
    .write = tunnel_write,
    .flush = tunnel_flush,
    .shutdown = tunnel_shutdown,
    .finish = tunnel_finish,
    .release = tunnel_release,
    .address = tunnel_address,
};

int weft__h2_tunnel_open(struct weft__h2_exchange *e, struct weft_stream **ret)
{
    struct weft__h2_tunnel *t = weft__calloc(1, sizeof *t);
    if (t == NULL)
        return -ENOMEM;
    weft__stream_init(&t->s, &tunnel_class, e->x.stream->loop);
    t->s.fd = -1;
    t->e = e;
    e->tunnel = t;
    *ret = &t->s;
    return 0;
}

void weft__h2_tunnel_cut(struct weft__h2_exchange *e)
{
    if (e->tunnel != NULL)
        e->tunnel->e = NULL;
    e->tunnel = NULL;
}
