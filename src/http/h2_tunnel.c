/* SPDX-License-Identifier: MIT */
/*
 * A stream of an HTTP/2 connection as a stream of bytes: what an extended CONNECT opens, which is
 * how WebSocket goes over HTTP/2 (RFC 8441).
 *
 * Floor 5. While its request is answered the HTTP/2 stream is the exchange's; behind that it is the
 * tunnel's, until whoever has the tunnel closes it. Invariants: a tunnel ends no later than its
 * connection, and on a plain thread no later than its request: whoever still holds it then is told
 * with the next call; nobody waits for the HTTP/2 stream any more when that is let go.
 */
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "http/h2_request.h"
#include "net/stream.h"

#define JOINED_MAX 1024u           /* bytes */
#define AGAIN_NS INT64_C(10000000) /* between two interruptions of who sends */

struct weft__h2_tunnel {
    struct weft_stream s;        /* first: the two are one block */
    struct weft__node link;      /* in its connection's list, once the request is over */
    struct weft__h2_exchange *e; /* NULL: the request is over */
    struct weft__h2_stream *st;  /* NULL: the tunnel is */
};

static struct weft__h2_tunnel *of(const struct weft_stream *s)
{
    return WEFT__CONTAINER_OF((struct weft_stream *)(uintptr_t)s, struct weft__h2_tunnel, s);
}

static struct weft__h2_stream *below(const struct weft_stream *s)
{
    return of(s)->st;
}

static int is_over(void)
{
    return weft__fail(-ECONNRESET, "the HTTP/2 connection has ended, or on a plain thread the "
                                   "request");
}

/* What a wait came to, as streams tell it. At the connection's end waits are cut short. */
static ssize_t told(const struct weft__h2_stream *st, ssize_t res)
{
    if (res >= 0 || res == -ETIMEDOUT || (res == -ECANCELED && weft_canceled() < 0))
        return res;
    if (st->h2->error < 0)
        return is_over();
    return res == WEFT_EEOF ? -ECONNRESET : res; /* the peer has reset the stream */
}

/* While somebody is inside the connection stays. */
static void enter(struct weft__h2_stream *st)
{
    st->h2->inside++;
}

static ssize_t leave(struct weft__h2_stream *st, ssize_t res)
{
    struct weft__wait *w = st->h2->leaver;
    if (--st->h2->inside == 0 && w != NULL) {
        st->h2->leaver = NULL;
        weft__wait_trigger(w, 0);
    }
    return told(st, res);
}

static ssize_t await_bytes(struct weft_stream *s, const void **data, weft_deadline d)
{
    struct weft__h2_stream *st = below(s);
    if (st == NULL)
        return is_over();
    enter(st);
    ssize_t n = weft__h2_peek(st, data, d);
    if (n == 0)
        s->end = true;
    return leave(st, n);
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

/* Short pieces are made one, a frame's head and what it has: that can go as a whole, or not. */
static bool join(struct iovec *iov, int n, uint8_t room[JOINED_MAX])
{
    size_t total = 0;
    for (int i = 0; i < n; i++) {
        if (iov[i].iov_len > JOINED_MAX - total)
            return false;
        if (iov[i].iov_len > 0)
            memcpy(room + total, iov[i].iov_base, iov[i].iov_len);
        total += iov[i].iov_len;
    }
    iov[0] = (struct iovec){.iov_base = room, .iov_len = total};
    return true;
}

static int tunnel_write(struct weft_stream *s, struct iovec *iov, int n, size_t *moved,
                        weft_deadline d)
{
    struct weft__h2_stream *st = below(s);
    uint8_t joined[JOINED_MAX];
    int err = 0;
    if (st == NULL)
        return is_over();
    n = n > 1 && join(iov, n, joined) ? 1 : n;
    enter(st);
    bool at_once = n == 1 && d.ns == WEFT_NOW.ns && iov[0].iov_len <= WEFT__H2_AT_ONCE_MAX;
    for (int i = 0; i < n && err == 0; i++) {
        size_t len = iov[i].iov_len;
        err = at_once ? weft__h2_write_at_once(st, iov[i].iov_base, len)
                      : weft__h2_write(st, iov[i].iov_base, len, false, d);
        *moved += err == 0 ? len : len - weft__min_size(len, st->unsent);
    }
    return (int)leave(st, err);
}

static int tunnel_flush(struct weft_stream *s, weft_deadline d)
{
    struct weft__h2_stream *st = below(s);
    if (st == NULL)
        return is_over();
    enter(st);
    return (int)leave(st, weft__h2_flush(st->h2, d));
}

/* The end is submitted; what waits for it is flush, or finish. */
static int tunnel_shutdown(struct weft_stream *s)
{
    struct weft__h2_stream *st = below(s);
    if (st == NULL)
        return is_over();
    enter(st);
    int err = weft__h2_write(st, "", 0, true, WEFT_NOW);
    bool submitted = err == -ETIMEDOUT || err == -ECANCELED || err == -EPIPE;
    return (int)leave(st, submitted ? 0 : err);
}

static int tunnel_finish(struct weft_stream *s, weft_deadline d)
{
    struct weft__h2_stream *st = below(s);
    if (st == NULL)
        return 0;
    enter(st);
    int err = s->shut || s->error < 0 ? 0 : weft__h2_write(st, "", 0, true, d);
    s->shut = true;
    return (int)leave(st, err == -EPIPE ? 0 : err); /* the peer has ended it, too */
}

/* The stream is nobody's any more. */
static void let_go(struct weft__h2_tunnel *t)
{
    struct weft__h2_stream *st = t->st;
    weft__list_remove(&t->link);
    t->st = NULL;
    weft__h2_let_go(st);
}

/* On a loop the connection may end while this flow would send, and nothing of it would wait for
 * that: who reads for it sends. On a plain thread there is only this flow. */
static void tunnel_release(struct weft_stream *s, bool abrupt)
{
    struct weft__h2_tunnel *t = of(s);
    if (t->st == NULL)
        return;
    struct weft__h2 *h2 = t->st->h2;
    if (abrupt)
        weft__h2_reset(t->st, NGHTTP2_CANCEL);
    if (t->e == NULL)
        let_go(t);
    else
        t->e->tunnel = NULL;
    weft__h2_poke(h2);
    int err = s->loop == NULL ? weft__h2_flush(h2, WEFT_NOW) : 0;
    (void)err; /* who reads for the connection sends what could not be sent */
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
    t->st = e->st;
    e->tunnel = t;
    *ret = &t->s;
    return 0;
}

/* --- The ends of what is around it ------------------------------------------------------------ */

bool weft__h2_tunnel_goes_on(struct weft__h2_exchange *e)
{
    struct weft__h2_tunnel *t = e->tunnel;
    if (t == NULL)
        return false;
    e->tunnel = NULL;
    t->e = NULL;
    if (t->s.loop == NULL) { /* the one flow that reads for the connection goes on to others */
        t->st = NULL;
        return false;
    }
    weft__list_push_back(&t->st->h2->tunnels, &t->link);
    return true;
}

struct ending {
    struct weft__wait wait;
    struct weft__alarm again;
    struct weft__h2 *h2;
};

/* Who waits for a stream has been woken; one of them may send instead, and he may be between two
 * waits of his write: hence again. */
static void interrupt(struct weft__alarm *a)
{
    struct ending *e = WEFT__CONTAINER_OF(a, struct ending, again);
    struct weft_stream *s = e->h2->s;
    if (s->writer != NULL && s->writer->wait != NULL)
        weft__wait_abort(s->writer->wait, -ECANCELED);
    weft__loop_alarm(s->loop, a, weft_now_ns() + AGAIN_NS);
}

/* They have the connection's memory, so no cancel and no end of a shield cuts this short. */
static void await_leaving(struct weft__h2 *h2)
{
    struct ending e = {.again.fn = interrupt, .h2 = h2};
    if (h2->inside == 0)
        return;
    weft__wait_init(&e.wait, "tunnels", -1, NULL);
    h2->leaver = &e.wait;
    interrupt(&e.again);
    (void)weft__wait_block(&e.wait, WEFT_NEVER);
    weft__loop_alarm_del(h2->s->loop, &e.again);
}

void weft__h2_tunnels_end(struct weft__h2 *h2)
{
    WEFT__ASSERT(h2->error < 0);
    await_leaving(h2);
    WEFT__LIST_EACH_SAFE(&h2->tunnels, n, tmp)
        let_go(WEFT__CONTAINER_OF(n, struct weft__h2_tunnel, link));
}
