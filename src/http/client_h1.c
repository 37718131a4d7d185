/* SPDX-License-Identifier: MIT */
/*
 * One request and its reply by HTTP/1.1 (RFC 9112): the connection class of the client.
 *
 * Floor 5. A connection carries one request at a time. A server that answers before it has the
 * whole body (413, 401) is heard while the body is sent, if that is long, and when sending fails:
 * what has come is read.
 */
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "http/client.h"
#include "http/h1_head.h"

#define HEAD_FIRST 2048u
#define PIECE 16384u /* of a producer's body */
#define TRAILERS_MAX 32u
#define LENIENT UINT64_MAX /* bodies have no maximum here: they are read piece by piece */

static int put_field(void *arg, struct weft__slice name, struct weft__slice value)
{
    struct weft__http1_builder *b = arg;
    weft__http1_build_field(b, name, value);
    return 0;
}

/* What follows the head. Bodies of no bytes are said to be so where one is expected. */
static void put_framing(struct weft__http1_builder *b, const struct weft__http_ask *a)
{
    const struct weft_http_call *call = a->call;
    bool wants_body = a->method_id == WEFT__HTTP_POST || a->method_id == WEFT__HTTP_PUT ||
                      a->method_id == WEFT__HTTP_PATCH;
    if (a->body && call->produce != NULL && call->produce_len < 0)
        weft__http1_build_text(b, "Transfer-Encoding", "chunked");
    else if (a->body && call->produce != NULL)
        weft__http1_build_number(b, "Content-Length", (uint64_t)call->produce_len);
    else if (a->body || wants_body)
        weft__http1_build_number(b, "Content-Length", a->body ? call->body_len : 0);
    if (a->body && call->expect_continue)
        weft__http1_build_text(b, "Expect", "100-continue");
}

static ssize_t build(struct weft_http_client *c, const struct weft__http_ask *a, char *buf,
                     size_t cap, char *target)
{
    struct weft__http1_builder b;
    ssize_t len = a->absolute ? 0 : weft_url_target(a->url, target, WEFT_URL_MAX + 1);
    if (a->absolute) { /* without user and password, and without what comes behind # */
        ssize_t origin = weft_url_origin(a->url, target, WEFT_URL_MAX + 1);
        len = origin < 0
                  ? origin
                  : weft_url_target(a->url, target + origin, WEFT_URL_MAX + 1 - (size_t)origin);
        len = len < 0 ? len : len + origin;
    }
    if (len < 0)
        return weft__fail(WEFT_EURL, "the URL is too long");
    weft__http1_build_init(&b, buf, cap);
    weft__http1_build_request(&b, a->method, weft__slice_of(target, (size_t)len), 1);
    int err = weft__http_ask_fields(c, a, put_field, &b);
    if (err < 0)
        return err;
    put_framing(&b, a);
    return weft__http1_build_end(&b);
}

/* The head on the heap: few are larger than HEAD_FIRST, none may be larger than the maximum. */
static ssize_t build_head(struct weft_http_client *c, const struct weft__http_ask *a, char **ret)
{
    char *target = weft__alloc(WEFT_URL_MAX + 1);
    if (target == NULL)
        return -ENOMEM;
    ssize_t n = -ENOBUFS;
    char *buf = NULL;
    for (size_t cap = 0; n == -ENOBUFS && cap < WEFT__HTTP_HEAD_MAX;) {
        cap = cap == 0 ? HEAD_FIRST : weft__min_size(cap * 4, WEFT__HTTP_HEAD_MAX);
        weft__free(buf);
        buf = weft__alloc(cap);
        n = buf == NULL ? -ENOMEM : build(c, a, buf, cap, target);
    }
    weft__free(target);
    if (n < 0) {
        weft__free(buf);
        return n != -ENOBUFS ? n
                             : weft__fail(-EINVAL, "the head of the request has more than %u bytes",
                                          WEFT__HTTP_HEAD_MAX);
    }
    *ret = buf;
    return n;
}

/* --- Sending ---------------------------------------------------------------------------------- */

static int send_produced(struct weft__http_conn *conn, struct weft__http_ask *a,
                         struct weft__http_early *e, weft_deadline d)
{
    const struct weft_http_call *call = a->call;
    struct weft__h1_out out;
    char *buf = weft__alloc(PIECE);
    if (buf == NULL)
        return -ENOMEM;
    weft__h1_out_init(&out, conn->s,
                      call->produce_len < 0 ? WEFT__HTTP1_CHUNKED : WEFT__HTTP1_LENGTH,
                      call->produce_len < 0 ? 0 : (uint64_t)call->produce_len);
    ssize_t n = 1;
    int err = 0;
    a->sent_body = true;
    while (err == 0 && n > 0) {
        n = call->produce(call->produce_arg, buf, weft__http_early_most(e, PIECE), d);
        a->given_up = n < 0;
        err = n < 0 ? (int)n : weft__http_early_enter(e);
        if (err == 0)
            err = weft__http_early_leave(e, n > 0 ? weft__h1_out_write(&out, buf, (size_t)n, d)
                                                  : weft__h1_out_end(&out, NULL, 0, d));
    }
    weft__free(buf);
    return err;
}

/* With the head before it, unless that has no bytes. */
static int send_whole(struct weft__http_conn *conn, const struct weft_http_call *call,
                      struct weft__http_early *e, const char *head, size_t head_len,
                      weft_deadline d)
{
    const char *at = call->body;
    size_t left = call->body_len;
    int err = 0;
    while (err == 0 && left > 0) {
        size_t n = weft__http_early_most(e, left);
        err = weft__http_early_enter(e);
        if (err == 0)
            err = weft__http_early_leave(e, head_len > 0
                                                ? weft__h1_send(conn->s, head, head_len, at, n, d)
                                                : weft_write(conn->s, at, n, d));
        head_len = 0;
        at += n;
        left -= n;
    }
    return err;
}

/* A body for which the kernel may have no room, so that the server may answer meanwhile. */
static int send_long(struct weft__http_conn *conn, struct weft__http_ask *a, const char *head,
                     size_t len, weft_deadline d)
{
    struct weft__http_early e;
    int err = weft__http_early_begin(&e, conn->s, conn->client->loop != NULL, d);
    if (err < 0)
        return err;
    err = a->call->produce != NULL ? send_produced(conn, a, &e, d)
                                   : send_whole(conn, a->call, &e, head, len, d);
    weft__http_early_end(&e);
    return err;
}

static int send_all(struct weft__http_conn *conn, struct weft__http_ask *a, const char *head,
                    size_t len, bool *withheld, weft_deadline d)
{
    const struct weft_http_call *call = a->call;
    bool ask_first = a->body && call->expect_continue;
    bool given = a->body && call->produce == NULL, is_long = given && call->body_len > PIECE;
    bool at_once = given && !ask_first;
    weft__http_trace(call, '>', "%.*s", (int)len, head);
    if (at_once && is_long)
        return send_long(conn, a, head, len, d);
    int err = weft__h1_send(conn->s, head, len, at_once ? call->body : NULL,
                            at_once ? call->body_len : 0, d);
    if (err < 0 || at_once || !a->body)
        return err;
    if (ask_first) {
        int go = weft__http_may_continue(conn->s, d);
        if (go <= 0) {
            *withheld = true;
            return go;
        }
    }
    return given && !is_long ? weft_write(conn->s, call->body, call->body_len, d)
                             : send_long(conn, a, NULL, 0, d);
}

/* --- The reply's head ------------------------------------------------------------------------- */

static int take_head(struct weft_http_reply *r, const struct weft__http1_head *h, const char *data)
{
    int err = weft__http_reply_copy(data, h->fields, h->field_count, &r->text, &r->fields);
    if (err < 0)
        return err;
    r->n_fields = h->field_count;
    r->status = h->status;
    r->version = 10 + h->minor;
    r->keep_alive = h->keep_alive;
    r->length = h->has_length ? (int64_t)h->content_length : -1;
    r->ended = h->body == WEFT__HTTP1_NO_BODY;
    return 0;
}

static int begin_body(struct weft__http_conn *conn, struct weft_http_reply *r,
                      const struct weft__http1_head *h)
{
    const struct weft__h1_body_limits limits = {.max = LENIENT};
    if (h->body == WEFT__HTTP1_CHUNKED) {
        r->trailer_spans = weft__calloc(TRAILERS_MAX, sizeof *r->trailer_spans);
        if (r->trailer_spans == NULL)
            return -ENOMEM;
    }
    weft__h1_body_init(&r->body, conn->s, h, &limits, r->trailer_spans, TRAILERS_MAX);
    return 0;
}

static int read_reply(struct weft__http_conn *conn, struct weft__http_ask *a,
                      struct weft_http_reply *r, weft_deadline d)
{
    struct weft__http1_field fields[WEFT__HTTP_FIELDS_MAX];
    for (int i = 0; i < WEFT__HTTP_INTERIM_MAX; i++) {
        struct weft__http1_head h = {.fields = fields, .fields_cap = WEFT__HTTP_FIELDS_MAX};
        struct weft__http1_scan scan = {0};
        const char *data;
        ssize_t n = weft__h1_read_response(conn->s, &h, &scan, a->method_id, &data, d);
        if (n == 0)
            return weft__fail(WEFT_EEOF, "the server hung up without a reply");
        if (n < 0) {
            /* A secured connection that ends without close_notify has no clean end (n == 0). */
            bool begun = weft__in_left(conn->s) > 0;
            a->untouched = a->untouched && !begun;
            if (n == WEFT_EEOF)
                return weft__fail(WEFT_EEOF, begun
                                                 ? "the server hung up within the head of its reply"
                                                 : "the server hung up without a reply");
            return (int)n;
        }
        a->untouched = false;
        weft__http_trace(a->call, '<', "%.*s", (int)n, data);
        bool interim = h.status < 200 && h.status != 101;
        if (h.status == 101)
            return weft__fail(WEFT_EPROTOCOL, "the server changes to another protocol, unasked");
        int err = interim ? 0 : take_head(r, &h, data);
        weft_consume(conn->s, (size_t)n);
        if (err < 0 || !interim)
            return err < 0 ? err : begin_body(conn, r, &h);
    }
    return weft__fail(WEFT_EPROTOCOL, "more than %d interim replies", WEFT__HTTP_INTERIM_MAX);
}

static int exchange(struct weft__http_conn *conn, struct weft__http_ask *a,
                    struct weft_http_reply *r, weft_deadline d)
{
    char *head = NULL;
    bool withheld = false;
    ssize_t len = build_head(conn->client, a, &head);
    if (len < 0)
        return (int)len;
    a->untouched = true;
    conn->requests++;
    int err = send_all(conn, a, head, (size_t)len, &withheld, d);
    weft__free(head);
    bool hung_up = (err == -EPIPE || err == -ECONNRESET) && !a->given_up;
    if (err < 0 && !hung_up)
        return err;
    int got = read_reply(conn, a, r, d);
    if (got < 0)
        return hung_up && a->untouched ? err : got;
    if (hung_up || withheld)
        r->keep_alive = false; /* what the server makes of the half request is not known */
    return 0;
}

/* --- The reply's body ------------------------------------------------------------------------- */

static int take_trailers(struct weft_http_reply *r)
{
    size_t n = r->body.trailers == NULL ? 0 : r->body.chunked.field_count;
    if (n == 0)
        return 0;
    int err = weft__http_reply_copy(r->body.trailers, r->body.chunked.fields, n, &r->trailer_text,
                                    &r->trailers);
    r->n_trailers = err == 0 ? n : 0;
    return err;
}

static ssize_t h1_peek(struct weft_http_reply *r, const void **data, weft_deadline d)
{
    ssize_t n = weft__h1_body_peek(&r->body, data, d);
    if (n == WEFT_EEOF)
        return weft__fail(WEFT_EEOF, "the connection ended before the body did, after %llu bytes",
                          (unsigned long long)r->body.got);
    return n == 0 ? take_trailers(r) : n;
}

static void h1_consume(struct weft_http_reply *r, size_t n)
{
    weft__h1_body_consume(&r->body, n);
}

static void h1_release(struct weft_http_reply *r, bool whole)
{
    if (whole && r->keep_alive)
        weft__http_conn_keep(r->conn);
    else
        weft__http_conn_end(r->conn, !whole);
}

/* Nothing may have come while nothing was asked: neither the end nor bytes. */
static bool h1_alive(struct weft__http_conn *conn)
{
    const void *data;
    return weft_peek(conn->s, &data, WEFT_NOW) == -ETIMEDOUT;
}

static void h1_end(struct weft__http_conn *conn, bool abrupt)
{
    weft__http_conn_close(conn, abrupt);
}

const struct weft__http_conn_class weft__http_conn_h1 = {
    .version = 11,
    .exchange = exchange,
    .peek = h1_peek,
    .consume = h1_consume,
    .release = h1_release,
    .alive = h1_alive,
    .end = h1_end,
};
