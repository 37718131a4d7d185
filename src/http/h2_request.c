/* SPDX-License-Identifier: MIT */
/*
 * Requests of HTTP/2: see h2_request.h.
 *
 * Floor 5. An exchange that is `direct` runs within the flow of its connection, which may not wait:
 * what it answers is taken over whole, and leaves with what the connection sends next.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"
#include "http/h2_pool.h"
#include "http/h2_request.h"
#include "http/site.h"
#include "net/stream.h"
#include "wire/http_field.h"
#include "wire/http_name.h"

#define FD_PIECE 16384u
#define DROP_MAX 65536u /* of a body that no handler wanted */
#define DROP_MS 2000
#define NS_PER_MS INT64_C(1000000)
#define BODY_GRACE_NS weft_s(5) /* from when on min_rate counts */

static struct weft__h2_exchange *of(struct weft__http_exchange *x)
{
    return WEFT__CONTAINER_OF(x, struct weft__h2_exchange, x);
}

struct weft__h2_exchange *weft__h2_exchange_new(struct weft__http_site *site, struct weft_stream *s,
                                                struct weft__h2_stream *st)
{
    struct weft__h2_pool *p = st->h2->options.pool;
    struct weft__h2_exchange *e = p != NULL ? p->exchanges : NULL;
    if (e != NULL) {
        p->exchanges = e->next;
        p->n_exchanges--;
    } else if ((e = weft__alloc(sizeof *e)) == NULL) {
        return NULL;
    } else {
        memset(e, 0, offsetof(struct weft__h2_exchange, first));
        e->x.cls = &weft__h2_class;
        e->x.site = site;
    }
    e->x.stream = s;
    e->x.protocol = (struct weft__slice){0};
    e->x.body_max = e->x.stream_max = 0;
    e->x.draining = false;
    e->st = st;
    e->tunnel = NULL;
    e->direct = e->continue_due = e->bodiless = false;
    e->left = -1;
    e->got = 0;
    e->waited_ns = 0;
    weft__arena_init(&e->x.arena, e->first, sizeof e->first,
                     WEFT__HTTP_ARENA_BASE + 3 * site->conf->o.body_max);
    weft__http_exchange_reset(&e->x);
    return e;
}

void weft__h2_exchange_free(struct weft__h2_exchange *e)
{
    struct weft__h2_pool *p = e->st->h2->options.pool;
    weft__http_exchange_done(&e->x);
    if (!weft__h2_tunnel_goes_on(e))
        weft__h2_let_go(e->st);
    if (!WEFT__H2_POOL_KEEPS || p == NULL || p->n_exchanges >= WEFT__H2_POOL_EXCHANGES) {
        weft__free(e);
        return;
    }
    e->next = p->exchanges;
    p->exchanges = e;
    p->n_exchanges++;
}

void weft__h2_exchanges_drop(struct weft__h2_pool *p)
{
    while (p->exchanges != NULL) {
        struct weft__h2_exchange *e = p->exchanges;
        p->exchanges = e->next;
        weft__free(e);
    }
    p->n_exchanges = 0;
}

/* --- One request ------------------------------------------------------------------------------ */

static const char *refusal(int status)
{
    switch (status) {
    case 413:
        return "the body is longer than this server takes";
    case 417:
        return "only 100-continue can be expected";
    case 421:
        return "this server does not serve that host";
    case 431:
        return "the fields of the request are too many or too long";
    default:
        return "the request's path, query or host is not one that can be served";
    }
}

/*
 * What the handler left of the request's body is read for a while. A server may reset the stream
 * instead (RFC 9113 section 8.1), but there are clients that lose the answer with it.
 */
static void pass_body(struct weft__h2_exchange *e)
{
    const void *data;
    size_t dropped = 0;
    weft_deadline until = weft_after_ms(DROP_MS);
    while (dropped < DROP_MAX && !e->st->closed) {
        ssize_t n = weft__h2_peek(e->st, &data, until);
        if (n <= 0)
            return;
        weft__h2_consume(e->st, (size_t)n);
        dropped += (size_t)n;
    }
}

void weft__h2_answer(struct weft__h2_exchange *e)
{
    int status = e->status;
    int err = status;
    if (status > 0) {
        weft__http_count(e->x.site, &e->x.site->counters.bad_requests);
        err = weft__http_refuse(&e->x, status, refusal(status));
    } else if (status == 0) {
        err = weft__http_dispatch(&e->x);
    }
    weft__http_account(&e->x);
    if (err < 0)
        weft__h2_reset(e->st, NGHTTP2_INTERNAL_ERROR);
    else if (!e->st->end_in && !e->x.upgraded && e->x.protocol.at == NULL)
        pass_body(e);
}

/* --- Reading ---------------------------------------------------------------------------------- */

/* The point at which one of the limits strikes a wait that begins now. The rate is that of the
 * client, as over HTTP/1: what the handler takes its time for does not count. */
static weft_deadline limit_of(const struct weft__h2_exchange *e, int64_t now)
{
    const struct weft_http_options *o = &e->x.site->conf->o;
    weft_deadline until = e->x.until;
    if (o->body_ms > 0)
        until.ns = weft__min_i64(until.ns, now + o->body_ms * NS_PER_MS);
    uint64_t due_s = o->min_rate > 0 ? e->got / (uint64_t)o->min_rate : UINT64_MAX;
    if (due_s < 1000000)
        until.ns =
            weft__min_i64(until.ns, now - e->waited_ns + BODY_GRACE_NS + weft_s((int64_t)due_s));
    return until;
}

static ssize_t look(struct weft__h2_exchange *e, const void **data, weft_deadline d)
{
    if (weft__h2_has_bytes(e->st))
        return weft__h2_peek(e->st, data, d);
    int64_t now = weft_now_ns();
    weft_deadline limit = limit_of(e, now);
    ssize_t n = weft__h2_peek(e->st, data, weft_earlier(d, limit));
    e->waited_ns += weft_now_ns() - now;
    if (n == -ETIMEDOUT && limit.ns < d.ns)
        return weft__fail(-ETIMEDOUT, "the body came too slowly: %llu bytes so far",
                          (unsigned long long)e->got);
    return n;
}

static int ask_for_body(struct weft__h2_exchange *e, weft_deadline d)
{
    const nghttp2_nv nv = {.name = (uint8_t *)(uintptr_t) ":status",
                           .namelen = 7,
                           .value = (uint8_t *)(uintptr_t) "100",
                           .valuelen = 3};
    e->continue_due = false;
    if (e->x.r.begun || weft__buffer_len(&e->st->in) > 0 || e->st->end_in)
        return 0;
    int err = weft__h2_interim(e->st, &nv, 1);
    return err < 0 ? err : weft__h2_flush(e->st->h2, d);
}

static ssize_t h2_peek(struct weft__http_exchange *x, const void **data, weft_deadline d)
{
    struct weft__h2_exchange *e = of(x);
    if (x->q.head.body == WEFT__HTTP1_NO_BODY)
        return 0;
    int err = e->continue_due ? ask_for_body(e, weft_earlier(d, x->until)) : 0;
    ssize_t n = err < 0 ? err : look(e, data, d);
    if (n > 0 && e->got + (uint64_t)n > x->stream_max)
        return weft__fail(-EMSGSIZE, "the body is longer than %llu bytes",
                          (unsigned long long)x->stream_max);
    return n;
}

static void h2_consume(struct weft__http_exchange *x, size_t n)
{
    of(x)->got += n;
    weft__h2_consume(of(x)->st, n);
}

static ssize_t h2_read(struct weft__http_exchange *x, void *buf, size_t cap, weft_deadline d)
{
    const void *data;
    ssize_t n = h2_peek(x, &data, d);
    if (n <= 0)
        return n;
    size_t len = weft__min_size((size_t)n, cap);
    memcpy(buf, data, len);
    h2_consume(x, len);
    return (ssize_t)len;
}

static const char *h2_trailer(struct weft__http_exchange *x, const char *name)
{
    const struct weft__h2_fields *f = &of(x)->st->trailers;
    for (uint32_t i = 0; i < f->n; i++)
        if (weft__slice_is_nocase(weft__http_slice(f->text, f->at[i].name), name)) {
            struct weft__slice v = weft__http_slice(f->text, f->at[i].value);
            return weft__arena_text(&x->arena, v.at, v.len);
        }
    return NULL;
}

/* --- Answering -------------------------------------------------------------------------------- */

static nghttp2_nv pair(const char *name, size_t name_len, const char *value, size_t value_len)
{
    return (nghttp2_nv){.name = (uint8_t *)(uintptr_t)name,
                        .namelen = name_len,
                        .value = (uint8_t *)(uintptr_t)value,
                        .valuelen = value_len};
}

/* The same, of a name in lower case that is a literal. */
static nghttp2_nv known(const char *name, size_t name_len, const char *value, size_t value_len)
{
    nghttp2_nv nv = pair(name, name_len, value, value_len);
    nv.flags = NGHTTP2_NV_FLAG_NO_COPY_NAME;
    return nv;
}

/* Fields of a connection do not exist here (RFC 9113 section 8.2.2). */
#define OF_CONNECTION                                                                              \
    (UINT64_C(1) << WEFT__HN_CONNECTION | UINT64_C(1) << WEFT__HN_KEEP_ALIVE |                     \
     UINT64_C(1) << WEFT__HN_TRANSFER_ENCODING | UINT64_C(1) << WEFT__HN_UPGRADE |                 \
     UINT64_C(1) << WEFT__HN_PROXY_CONNECTION)

/* A known name is in lower case already; nghttp2 makes it so of others when it copies them. */
static void put_fields(const struct weft_http_field *f, size_t n, nghttp2_nv *nv, size_t *count)
{
    for (size_t i = 0; i < n; i++) {
        enum weft__http_name id = weft__http_name_find(f[i].name, f[i].name_len);
        if ((OF_CONNECTION >> id & 1) != 0)
            continue;
        nv[(*count)++] =
            id == WEFT__HN_OTHER
                ? pair(f[i].name, f[i].name_len, f[i].value, f[i].value_len)
                : known(weft__http_names[id].lower, f[i].name_len, f[i].value, f[i].value_len);
    }
}

/* The values of "Server: x\r\nDate: y\r\n", as HTTP/1 says it. A worker's text outlives its
 * connections, and is one date or the next whenever it is looked at. */
static void stamp_fields(struct weft__http_exchange *x, char *buf, nghttp2_nv *nv, size_t *count)
{
    const struct weft__http_conf *conf = x->site->conf;
    size_t len, server = conf->server_field_len, first = *count;
    const char *text = weft__http_stamp(x->site, x->stream->loop, buf, &len);
    if (server > 0)
        nv[(*count)++] = known("server", 6, text + 8, server - 10);
    nv[(*count)++] = known("date", 4, text + server + 6, len - server - 8);
    for (size_t i = first; i < *count && text == x->site->stamp + WEFT__HTTP_OK_LEN; i++)
        nv[i].flags |= NGHTTP2_NV_FLAG_NO_COPY_VALUE;
}

static int head_of(struct weft__h2_exchange *e, int status, bool stamp, int64_t length,
                   nghttp2_nv **ret, size_t *count)
{
    struct weft__http_exchange *x = &e->x;
    const struct weft_http_response *r = &x->r;
    nghttp2_nv *nv = weft__arena_alloc(&x->arena, (r->n_fields + 5u) * sizeof *nv);
    char *text = weft__arena_alloc(&x->arena, 256);
    if (nv == NULL || text == NULL)
        return -ENOMEM;
    struct weft__writer w = weft__writer_of(text, 64);
    *count = 0;
    weft__writer_decimal(&w, (uint64_t)status);
    nv[(*count)++] = known(":status", 7, text, w.pos);
    if (stamp)
        stamp_fields(x, text + 64, nv, count);
    put_fields(r->fields, r->n_fields, nv, count);
    if (length >= 0) {
        size_t from = w.pos;
        weft__writer_decimal(&w, (uint64_t)length);
        nv[(*count)++] = known("content-length", 14, text + from, w.pos - from);
    }
    *ret = nv;
    return 0;
}

static int too_much(const struct weft__h2_exchange *e, size_t len)
{
    if (e->left < 0 || len <= (size_t)e->left)
        return 0;
    return weft__fail(-EMSGSIZE, "%zu bytes of a body of which %lld were left", len,
                      (long long)e->left);
}

static int send_body(struct weft__h2_exchange *e, const void *data, size_t len, bool end,
                     weft_deadline d)
{
    return e->direct ? weft__h2_queue(e->st, data, len, end)
                     : weft__h2_write(e->st, data, len, end, weft_earlier(d, e->x.until));
}

static int flush(struct weft__h2_exchange *e, weft_deadline d)
{
    return e->direct ? 0 : weft__h2_flush(e->st->h2, weft_earlier(d, e->x.until));
}

static int h2_write(struct weft__http_exchange *x, const void *data, size_t len, weft_deadline d)
{
    struct weft__h2_exchange *e = of(x);
    int err = e->bodiless || len == 0 ? 0 : too_much(e, len);
    if (err < 0 || e->bodiless || len == 0)
        return err;
    err = send_body(e, data, len, false, d);
    if (err == 0 && e->left >= 0)
        e->left -= (int64_t)len;
    return err;
}

static int set_trailers(struct weft__h2_exchange *e)
{
    const struct weft_http_response *r = &e->x.r;
    nghttp2_nv *nv = weft__arena_alloc(&e->x.arena, r->n_trailers * sizeof *nv);
    size_t n = 0;
    if (nv == NULL)
        return -ENOMEM;
    put_fields(r->trailers, r->n_trailers, nv, &n);
    return weft__h2_set_trailers(e->st, nv, n);
}

static int h2_end(struct weft__http_exchange *x, weft_deadline d)
{
    struct weft__h2_exchange *e = of(x);
    const struct weft_http_response *r = &x->r;
    if (e->bodiless)
        return 0;
    if (e->left > 0)
        return weft__fail(-EMSGSIZE, "the body ended %lld bytes before the length it announced",
                          (long long)e->left);
    int err = r->n_trailers > 0 ? set_trailers(e) : 0;
    return err < 0 ? err : send_body(e, "", 0, true, d);
}

static int h2_begin(struct weft__http_exchange *x, int64_t length, const void *data, size_t len,
                    bool last, weft_deadline d)
{
    struct weft__h2_exchange *e = of(x);
    int status = x->r.status;
    nghttp2_nv *nv;
    size_t n;
    bool none = status == 204 || status == 304;
    int err = head_of(e, status, true, none ? -1 : length, &nv, &n);
    if (err < 0)
        return err;
    if (x->protocol.at != NULL && status < 300) /* a 2xx would open the tunnel */
        return weft__fail(-EINVAL, "an answer to who asks for %.*s",
                          (int)weft__min_size(x->protocol.len, 40), x->protocol.at);
    e->bodiless = none || x->q.head.method == WEFT__HTTP_HEAD || (last && len == 0);
    e->left = length;
    err = e->bodiless ? 0 : too_much(e, len);
    if (err == 0)
        err = weft__h2_respond(e->st, nv, n, !e->bodiless);
    if (err < 0)
        return err;
    if (e->bodiless)
        return flush(e, d);
    bool at_once = last && x->r.n_trailers == 0;
    err = send_body(e, data, len, at_once, d);
    if (err == 0 && e->left >= 0)
        e->left -= (int64_t)len;
    if (err == 0 && at_once)
        e->bodiless = true; /* nothing follows */
    return err == 0 && last && !at_once ? h2_end(x, d) : err;
}

static int h2_send_fd(struct weft__http_exchange *x, int fd, off_t *offset, size_t len,
                      weft_deadline d)
{
    if (of(x)->direct)
        return weft__fail(-EDEADLK, "a route that is marked at_once sends no long files");
    char *buf = weft__arena_alloc(&x->arena, FD_PIECE);
    int err = buf == NULL ? -ENOMEM : 0;
    while (err == 0 && len > 0 && !of(x)->bodiless) {
        ssize_t n = pread(fd, buf, weft__min_size(len, FD_PIECE), *offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : weft__fail(WEFT_EEOF, "the file is shorter than it was");
        err = h2_write(x, buf, (size_t)n, d);
        *offset += n;
        len -= (size_t)n;
    }
    return err;
}

static int h2_flush(struct weft__http_exchange *x, weft_deadline d)
{
    return flush(of(x), d);
}

static int h2_interim(struct weft__http_exchange *x, int status)
{
    struct weft__h2_exchange *e = of(x);
    nghttp2_nv *nv;
    size_t n;
    int err = head_of(e, status, false, -1, &nv, &n);
    if (err == 0)
        err = weft__h2_interim(e->st, nv, n);
    return err < 0 ? err : flush(e, x->until);
}

static int h2_upgrade(struct weft__http_exchange *x, const char *protocol, struct weft_stream **ret)
{
    struct weft__h2_exchange *e = of(x);
    nghttp2_nv *nv;
    size_t n;
    (void)protocol; /* it is that of the request */
    x->r.status = 200;
    int err = head_of(e, 200, true, -1, &nv, &n);
    if (err == 0)
        err = weft__h2_tunnel_open(e, ret);
    if (err == 0)
        err = weft__h2_respond(e->st, nv, n, true);
    if (err == 0)
        err = weft__h2_flush(e->st->h2, x->until);
    if (err < 0 && e->tunnel != NULL)
        weft_abort(ret);
    return err;
}

const struct weft__http_exchange_class weft__h2_class = {
    .peek = h2_peek,
    .consume = h2_consume,
    .read = h2_read,
    .trailer = h2_trailer,
    .begin = h2_begin,
    .write = h2_write,
    .send_fd = h2_send_fd,
    .end = h2_end,
    .flush = h2_flush,
    .interim = h2_interim,
    .upgrade = h2_upgrade,
};
