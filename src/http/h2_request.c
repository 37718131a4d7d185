/* SPDX-License-Identifier: MIT */
/*
 * Requests of HTTP/2: see h2_request.h.
 *
 * Floor 5. The head is written anew into the exchange's arena as one text with a NUL behind each
 * piece, so that everything above finds it as it finds that of HTTP/1. nghttp2 has checked the
 * pseudo-fields, the names and the values (RFC 9113 section 8).
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"
#include "http/h2_request.h"
#include "http/site.h"
#include "net/stream.h"
#include "wire/http_field.h"

#define FD_PIECE 16384u
#define DROP_MAX 65536u /* of a body that no handler wanted */
#define DROP_MS 2000
#define NS_PER_MS INT64_C(1000000)

static struct weft__h2_exchange *of(struct weft__http_exchange *x)
{
    return WEFT__CONTAINER_OF(x, struct weft__h2_exchange, x);
}

struct weft__h2_exchange *weft__h2_exchange_new(struct weft__http_site *site, struct weft_stream *s,
                                                struct weft__h2_stream *st)
{
    struct weft__h2_exchange *e = weft__alloc(sizeof *e);
    if (e == NULL)
        return NULL;
    memset(e, 0, offsetof(struct weft__h2_exchange, first));
    e->x.cls = &weft__h2_class;
    e->x.site = site;
    e->x.stream = s;
    e->st = st;
    e->left = -1;
    weft__arena_init(&e->x.arena, e->first, sizeof e->first,
                     WEFT__HTTP_ARENA_BASE + 3 * site->conf->o.body_max);
    weft__http_exchange_reset(&e->x);
    return e;
}

void weft__h2_exchange_free(struct weft__h2_exchange *e)
{
    weft__h2_tunnel_cut(e);
    weft__http_exchange_done(&e->x);
    weft__h2_let_go(e->st);
    weft__free(e);
}

/* --- The head --------------------------------------------------------------------------------- */

struct writer {
    char *text;
    uint32_t len;
};

static struct weft__http_span put(struct writer *w, struct weft__slice s)
{
    struct weft__http_span at = {w->len, (uint32_t)s.len};
    if (s.len > 0)
        memcpy(w->text + w->len, s.at, s.len);
    w->text[w->len + s.len] = '\0';
    w->len += (uint32_t)s.len + 1;
    return at;
}

static struct weft__http_span part(struct weft__http_span all, size_t from, size_t to)
{
    return (struct weft__http_span){all.at + (uint32_t)from, (uint32_t)(to - from)};
}

/* :authority, or else Host; where there are both they say the same (RFC 9113 section 8.3.1). */
static int set_host(struct weft__http1_head *h, const char *base)
{
    struct weft__slice authority = weft__http_slice(base, h->authority);
    struct weft__slice field = weft__http1_value(h, base, WEFT__HN_HOST), host;
    int port;
    if (h->authority.len > 0 && field.at != NULL && !weft__slice_equal_nocase(authority, field))
        return 400;
    if (h->authority.len == 0 && field.at != NULL)
        h->authority = (struct weft__http_span){(uint32_t)(field.at - base), (uint32_t)field.len};
    authority = weft__http_slice(base, h->authority);
    if (!weft__http_host_split(authority, &host, &port))
        return 400;
    h->host = (struct weft__http_span){(uint32_t)(host.at - base), (uint32_t)host.len};
    h->port = port;
    return 0;
}

static int set_target(struct weft__http1_head *h, const char *base)
{
    struct weft__slice t = weft__http_slice(base, h->target);
    if (h->method == WEFT__HTTP_CONNECT && t.len == 0) {
        h->form = WEFT__HTTP1_AUTHORITY;
        return 0;
    }
    if (weft__slice_is(t, "*")) {
        h->form = WEFT__HTTP1_ASTERISK;
        h->path = h->target;
        return h->method == WEFT__HTTP_OPTIONS ? 0 : 400;
    }
    if (t.len == 0 || t.at[0] != '/' || !weft__http_all(t, WEFT__HC_TARGET))
        return 400;
    size_t mark = weft__slice_find(t, '?', 0);
    h->form = WEFT__HTTP1_ORIGIN;
    h->path = part(h->target, 0, mark);
    h->has_query = mark < t.len;
    h->query = part(h->target, h->has_query ? mark + 1 : t.len, t.len);
    return 0;
}

static void set_pseudo(struct weft__h2_exchange *e, struct weft__slice name,
                       struct weft__http_span value)
{
    struct weft__http1_head *h = &e->x.q.head;
    const char *base = e->x.q.base;
    if (weft__slice_is(name, ":method")) {
        h->method_name = value;
        h->method = weft__http_method_of(weft__http_slice(base, value));
    } else if (weft__slice_is(name, ":path")) {
        h->target = value;
    } else if (weft__slice_is(name, ":scheme")) {
        h->scheme = value;
    } else if (weft__slice_is(name, ":authority")) {
        h->authority = value;
    } else if (weft__slice_is(name, ":protocol")) {
        e->x.protocol = weft__http_slice(base, value);
    }
}

/* An extended CONNECT is answered by the route that answers a GET: there the handler stands that
 * would upgrade a connection of HTTP/1.1. */
static int set_tunnel(struct weft__h2_exchange *e)
{
    struct weft__http1_head *h = &e->x.q.head;
    if (e->x.protocol.at == NULL)
        return 0;
    if (h->method != WEFT__HTTP_CONNECT)
        return 400;
    h->method = WEFT__HTTP_GET;
    h->body = WEFT__HTTP1_NO_BODY; /* what follows is the tunnel's */
    h->length = 0;
    return 0;
}

static int set_body(struct weft__h2_exchange *e)
{
    struct weft__http1_head *h = &e->x.q.head;
    struct weft__slice length = weft__http1_value(h, e->x.q.base, WEFT__HN_CONTENT_LENGTH);
    h->has_length = length.at != NULL && weft__http_decimal(length, &h->content_length);
    h->body = WEFT__HTTP1_CHUNKED; /* of a length that is not known */
    if (e->st->end_in && weft__buffer_len(&e->st->in) == 0) {
        h->body = WEFT__HTTP1_NO_BODY;
    } else if (h->has_length) {
        h->body = WEFT__HTTP1_LENGTH;
        h->length = h->content_length;
    }
    struct weft__slice expect = weft__http1_value(h, e->x.q.base, WEFT__HN_EXPECT);
    h->expect_continue = expect.at != NULL && weft__slice_is_nocase(expect, "100-continue");
    h->expect_other = expect.at != NULL && !h->expect_continue;
    e->continue_due = h->expect_continue && h->body != WEFT__HTTP1_NO_BODY;
    return h->expect_other ? 417 : 0;
}

static int make_head(struct weft__h2_exchange *e)
{
    const struct weft__h2_fields *f = &e->st->head;
    struct weft__http1_head *h = &e->x.q.head;
    struct writer w = {.text = weft__arena_alloc(&e->x.arena, f->len + 2 * f->n + 1)};
    struct weft__http1_field *fields = weft__arena_alloc(&e->x.arena, (f->n + 1) * sizeof *fields);
    if (w.text == NULL || fields == NULL)
        return -ENOMEM;
    memset(h, 0, sizeof *h);
    h->fields = fields;
    h->minor = 1;
    h->keep_alive = true;
    h->port = -1;
    e->x.q.base = w.text;
    for (uint32_t i = 0; i < f->n; i++) {
        struct weft__slice name = weft__http_slice(f->text, f->at[i].name);
        struct weft__http_span at = put(&w, name);
        struct weft__http_span value = put(&w, weft__http_slice(f->text, f->at[i].value));
        if (name.len > 0 && name.at[0] == ':') {
            set_pseudo(e, name, value);
            continue;
        }
        fields[h->field_count++] = (struct weft__http1_field){at, value, f->at[i].id};
        h->seen |= UINT64_C(1) << f->at[i].id;
    }
    h->fields_cap = h->field_count;
    return 0;
}

static bool serves_host(const struct weft_http_options *o, struct weft__slice host)
{
    for (size_t i = 0; o->hosts != NULL && o->hosts[i] != NULL; i++)
        if (weft__slice_is_nocase(host, o->hosts[i]))
            return true;
    return o->hosts == NULL;
}

int weft__h2_prepare(struct weft__h2_exchange *e)
{
    struct weft__http_exchange *x = &e->x;
    const struct weft_http_options *o = &x->site->conf->o;
    bool too_large = e->st->head.too_large;
    int err = make_head(e);
    if (err < 0)
        return err;
    weft__h2_fields_fini(&e->st->head);
    x->version = 20;
    x->until = o->request_ms > 0 ? weft_after_ms(o->request_ms) : WEFT_NEVER;
    x->begin_ns = o->log_format != WEFT_HTTP_LOG_NONE ? weft_now_ns() : 0;
    if (too_large)
        return 431;
    int status = set_target(&x->q.head, x->q.base);
    if (status == 0)
        status = set_host(&x->q.head, x->q.base);
    if (status == 0)
        status = set_body(e);
    if (status == 0)
        status = set_tunnel(e);
    if (status == 0 && !serves_host(o, weft__http_slice(x->q.base, x->q.head.host)))
        status = 421;
    if (status == 0 && !weft__http_route_request(x))
        status = 400;
    if (status == 0 && x->q.head.length > x->stream_max)
        status = 413;
    return status;
}

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
        return "the request's path or host is not one that can be served";
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
    int status = weft__h2_prepare(e);
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

static weft_deadline patience(const struct weft__http_exchange *x, weft_deadline d)
{
    int64_t gap_ms = x->site->conf->o.body_ms;
    d = weft_earlier(d, x->until);
    return gap_ms > 0 ? weft_earlier(d, weft_after_ns(gap_ms * NS_PER_MS)) : d;
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
    d = patience(x, d);
    int err = e->continue_due ? ask_for_body(e, d) : 0;
    ssize_t n = err < 0 ? err : weft__h2_peek(e->st, data, d);
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

/* Fields of a connection do not exist here (RFC 9113 section 8.2.2). */
static bool is_of_connection(struct weft__slice name)
{
    return weft__slice_is_nocase(name, "connection") || weft__slice_is_nocase(name, "keep-alive") ||
           weft__slice_is_nocase(name, "transfer-encoding") ||
           weft__slice_is_nocase(name, "upgrade") ||
           weft__slice_is_nocase(name, "proxy-connection");
}

static int lower_fields(struct weft__http_exchange *x, const struct weft_http_field *f, size_t n,
                        nghttp2_nv *nv, size_t *count)
{
    for (size_t i = 0; i < n; i++) {
        if (is_of_connection(weft__slice_of(f[i].name, f[i].name_len)))
            continue;
        char *name = weft__arena_text(&x->arena, f[i].name, f[i].name_len);
        if (name == NULL)
            return -ENOMEM;
        for (size_t k = 0; k < f[i].name_len; k++)
            name[k] = weft__ascii_lower(name[k]);
        nv[(*count)++] = pair(name, f[i].name_len, f[i].value, f[i].value_len);
    }
    return 0;
}

/* "Server: x\r\nDate: y\r\n", as HTTP/1 says it, taken apart. */
static void stamp_fields(struct weft__http_exchange *x, char *buf, nghttp2_nv *nv, size_t *count)
{
    size_t len;
    const char *text = weft__http_stamp(x->site, x->stream->loop, buf, &len);
    struct weft__slice rest = weft__slice_of(text, len);
    while (rest.len > 0) {
        size_t end = weft__slice_find(rest, '\r', 0), colon = weft__slice_find(rest, ':', 0);
        struct weft__slice value = weft__slice_trim(weft__slice_part(rest, colon + 1, end));
        bool date = rest.at[0] == 'D';
        nv[(*count)++] = pair(date ? "date" : "server", date ? 4 : 6, value.at, value.len);
        rest = weft__slice_from(rest, end + 2);
    }
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
    nv[(*count)++] = pair(":status", 7, text, w.pos);
    if (stamp)
        stamp_fields(x, text + 64, nv, count);
    int err = lower_fields(x, r->fields, r->n_fields, nv, count);
    if (err == 0 && length >= 0) {
        size_t from = w.pos;
        weft__writer_decimal(&w, (uint64_t)length);
        nv[(*count)++] = pair("content-length", 14, text + from, w.pos - from);
    }
    *ret = nv;
    return err;
}

static int too_much(const struct weft__h2_exchange *e, size_t len)
{
    if (e->left < 0 || len <= (size_t)e->left)
        return 0;
    return weft__fail(-EMSGSIZE, "%zu bytes of a body of which %lld were left", len,
                      (long long)e->left);
}

static int h2_write(struct weft__http_exchange *x, const void *data, size_t len, weft_deadline d)
{
    struct weft__h2_exchange *e = of(x);
    int err = e->bodiless || len == 0 ? 0 : too_much(e, len);
    if (err < 0 || e->bodiless || len == 0)
        return err;
    err = weft__h2_write(e->st, data, len, false, weft_earlier(d, x->until));
    if (err == 0 && e->left >= 0)
        e->left -= (int64_t)len;
    return err;
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
    d = weft_earlier(d, x->until);
    if (r->n_trailers == 0)
        return weft__h2_write(e->st, "", 0, true, d);
    nghttp2_nv *nv = weft__arena_alloc(&x->arena, r->n_trailers * sizeof *nv);
    size_t n = 0;
    int err = nv == NULL ? -ENOMEM : lower_fields(x, r->trailers, r->n_trailers, nv, &n);
    return err < 0 ? err : weft__h2_write_trailers(e->st, nv, n, d);
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
    d = weft_earlier(d, x->until);
    if (e->bodiless)
        return weft__h2_flush(e->st->h2, d);
    bool at_once = last && x->r.n_trailers == 0;
    err = weft__h2_write(e->st, data, len, at_once, d);
    if (err == 0 && e->left >= 0)
        e->left -= (int64_t)len;
    if (err == 0 && at_once)
        e->bodiless = true; /* nothing follows */
    return err == 0 && last && !at_once ? h2_end(x, d) : err;
}

static int h2_send_fd(struct weft__http_exchange *x, int fd, off_t *offset, size_t len,
                      weft_deadline d)
{
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
    return weft__h2_flush(of(x)->st->h2, weft_earlier(d, x->until));
}

static int h2_interim(struct weft__http_exchange *x, int status)
{
    struct weft__h2_exchange *e = of(x);
    nghttp2_nv *nv;
    size_t n;
    int err = head_of(e, status, false, -1, &nv, &n);
    if (err == 0)
        err = weft__h2_interim(e->st, nv, n);
    return err < 0 ? err : weft__h2_flush(e->st->h2, x->until);
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
