/* SPDX-License-Identifier: MIT */
/*
 * The heads of HTTP/2 requests, as everything above finds those of HTTP/1.
 *
 * Floor 5. nghttp2 has checked the pseudo-fields, the names and the values (RFC 9113 section 8).
 * Invariant: a head's text is its stream's, one text with a NUL behind each piece; it lives until
 * the exchange lets go of the stream.
 */
#include <string.h>

#include "http/h2_request.h"
#include "http/site.h"
#include "wire/http_field.h"

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
    if (!weft__http_all(weft__slice_part(t, 0, mark), WEFT__HC_PATH))
        return 400; /* a backslash in a path, as over HTTP/1 */
    h->form = WEFT__HTTP1_ORIGIN;
    h->path = part(h->target, 0, mark);
    h->has_query = mark < t.len;
    h->query = part(h->target, h->has_query ? mark + 1 : t.len, t.len);
    return 0;
}

static void set_pseudo(struct weft__h2_exchange *e, const struct weft__http1_field *f)
{
    struct weft__http1_head *h = &e->x.q.head;
    const char *base = e->x.q.base;
    switch (base[f->name.at + 1]) { /* nghttp2 lets these pass, and no others */
    case 'm':
        h->method_name = f->value;
        h->method = weft__http_method_of(weft__http_slice(base, f->value));
        break;
    case 's':
        h->scheme = f->value;
        break;
    case 'a':
        h->authority = f->value;
        break;
    case 'p':
        if (f->name.len == sizeof ":path" - 1)
            h->target = f->value;
        else
            e->x.protocol = weft__http_slice(base, f->value);
        break;
    default:
        break;
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

/* The stream's fields are those of the head as they lie; pseudo-fields come before the others (RFC
 * 9113 section 8.3). */
static void make_head(struct weft__h2_exchange *e)
{
    const struct weft__h2_fields *f = &e->st->head;
    struct weft__http1_head *h = &e->x.q.head;
    uint32_t i = 0;
    memset(h, 0, sizeof *h);
    h->minor = 1;
    h->keep_alive = true;
    h->port = -1;
    e->x.q.base = f->n > 0 ? f->text : "";
    for (; i < f->n && f->text[f->at[i].name.at] == ':'; i++)
        set_pseudo(e, &f->at[i]);
    h->fields = f->at + i;
    h->fields_cap = h->field_count = f->n - i;
    for (; i < f->n; i++)
        h->seen |= UINT64_C(1) << f->at[i].id;
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
    make_head(e);
    x->version = 20;
    x->until = o->request_ms > 0 ? weft_after_ms(o->request_ms) : WEFT_NEVER;
    x->begin_ns = o->log_format != WEFT_HTTP_LOG_NONE ? weft_now_ns() : 0;
    if (e->st->head.too_large)
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
