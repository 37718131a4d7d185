/* SPDX-License-Identifier: MIT */
/*
 * One request and its reply by HTTP/2 (RFC 9113): the other connection class of the client.
 *
 * Floor 5. Requests of several flows share the connection; whoever waits reads for all.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "http/client.h"
#include "http/h2.h"

#define PIECE 16384u
#define PSEUDO 4
#define TARGET_CAP (WEFT_URL_MAX + 1)

/* --- The request ------------------------------------------------------------------------------ */

struct request {
    struct weft__h2_fields fields;
    struct weft__slice authority;
    char host[400];
    char *target;
    nghttp2_nv *nv;
    size_t n;
};

static int too_long(void)
{
    return weft__fail(-EINVAL, "the head of the request has more than %u bytes",
                      WEFT__HTTP_HEAD_MAX);
}

/* Names are in lower case (RFC 9113 section 8.2.1); Host is the authority. */
static int put_field(void *arg, struct weft__slice name, struct weft__slice value)
{
    struct request *q = arg;
    if (weft__slice_is_nocase(name, "host")) {
        if (value.len > sizeof q->host)
            return weft__fail(-EINVAL, "a Host of %zu bytes", value.len);
        memcpy(q->host, value.at, value.len);
        q->authority = weft__slice_of(q->host, value.len);
        return 0;
    }
    uint32_t from = q->fields.len;
    int err = weft__h2_fields_add(&q->fields, WEFT__HTTP_HEAD_MAX, (const uint8_t *)name.at,
                                  name.len, (const uint8_t *)value.at, value.len);
    if (err == 0 && q->fields.too_large)
        err = too_long();
    for (size_t i = 0; err == 0 && i < name.len; i++)
        q->fields.text[from + i] = weft__ascii_lower(name.at[i]);
    return err;
}

static nghttp2_nv pair(struct weft__slice name, struct weft__slice value)
{
    return (nghttp2_nv){.name = (uint8_t *)(uintptr_t)name.at,
                        .namelen = name.len,
                        .value = (uint8_t *)(uintptr_t)value.at,
                        .valuelen = value.len};
}

static int add_length(struct request *q, const struct weft__http_ask *a)
{
    char text[24];
    int64_t len = a->call->produce != NULL ? a->call->produce_len : (int64_t)a->call->body_len;
    if (!a->body || len < 0)
        return 0;
    int n = snprintf(text, sizeof text, "%lld", (long long)len);
    return put_field(q, weft__slice_text("content-length"), weft__slice_of(text, (size_t)n));
}

static int build(struct weft_http_client *c, const struct weft__http_ask *a, struct request *q)
{
    q->target = weft__alloc(TARGET_CAP);
    if (q->target == NULL)
        return -ENOMEM;
    ssize_t len = weft_url_target(a->url, q->target, TARGET_CAP);
    if (len < 0)
        return weft__fail(WEFT_EURL, "the URL is too long");
    int err = weft__http_ask_fields(c, a, put_field, q);
    if (err == 0)
        err = add_length(q, a);
    if (err == 0 && a->body && a->call->expect_continue)
        err = put_field(q, weft__slice_text("expect"), weft__slice_text("100-continue"));
    if (err < 0)
        return err;
    q->nv = weft__calloc(q->fields.n + PSEUDO, sizeof *q->nv);
    if (q->nv == NULL)
        return -ENOMEM;
    q->nv[0] = pair(weft__slice_text(":method"), a->method);
    q->nv[1] = pair(weft__slice_text(":scheme"), weft__slice_text(a->url->scheme));
    q->nv[2] = pair(weft__slice_text(":authority"), q->authority);
    q->nv[3] = pair(weft__slice_text(":path"), weft__slice_of(q->target, (size_t)len));
    q->n = PSEUDO;
    for (size_t i = 0; i < q->fields.n; i++)
        q->nv[q->n++] = pair(weft__http_slice(q->fields.text, q->fields.at[i].name),
                             weft__http_slice(q->fields.text, q->fields.at[i].value));
    size_t all = 0; /* as RFC 9113 section 6.5.2 counts, which is more than nghttp2 reckons with */
    for (size_t i = 0; i < q->n; i++)
        all += q->nv[i].namelen + q->nv[i].valuelen + 32;
    return all > WEFT__HTTP_HEAD_MAX ? too_long() : 0;
}

static void request_fini(struct request *q)
{
    weft__h2_fields_fini(&q->fields);
    weft__free(q->target);
    weft__free(q->nv);
}

static void trace_fields(const struct weft_http_call *call, char kind, const nghttp2_nv *nv,
                         size_t n)
{
    for (size_t i = 0; i < n && call->trace != NULL; i++)
        weft__http_trace(call, kind, "%.*s: %.*s", (int)nv[i].namelen, nv[i].name,
                         (int)nv[i].valuelen, nv[i].value);
}

/* *own: it is the producer that has failed. */
static int send_produced(struct weft__h2_stream *st, struct weft__http_ask *a, bool *own,
                         weft_deadline d)
{
    const struct weft_http_call *call = a->call;
    uint64_t total = 0;
    ssize_t n;
    int err = 0;
    char *buf = weft__alloc(PIECE);
    if (buf == NULL)
        return -ENOMEM;
    a->sent_body = true;
    while (err == 0 && (n = call->produce(call->produce_arg, buf, PIECE, d)) != 0) {
        total += n > 0 ? (uint64_t)n : 0;
        *own = n < 0;
        if (n < 0)
            err = (int)n;
        else if (call->produce_len >= 0 && total > (uint64_t)call->produce_len)
            err = weft__fail(-EMSGSIZE, "the body is longer than its length");
        else
            err = weft__h2_write(st, buf, (size_t)n, false, d);
    }
    if (err == 0 && call->produce_len >= 0 && total < (uint64_t)call->produce_len)
        err = weft__fail(-EMSGSIZE, "the body ended %llu bytes before its length",
                         (unsigned long long)((uint64_t)call->produce_len - total));
    if (err == 0)
        err = weft__h2_write(st, "", 0, true, d);
    weft__free(buf);
    return err;
}

static bool is_answered(void *arg)
{
    const struct weft__h2_stream *st = arg;
    return st->continued || st->head_done || st->closed;
}

/* Waits for a 100, or another answer: 1 when the body is to be sent, 0 when it is not. A 2xx that
 * has not ended yet may wait for it: servers need say no 100 then. */
static int may_continue(struct weft__h2_stream *st, weft_deadline d)
{
    weft_deadline patience = weft_earlier(d, weft_after_ms(WEFT__HTTP_CONTINUE_MS));
    int err = weft__h2_flush(st->h2, d);
    if (err == 0)
        err = weft__h2_wait(st->h2, st, is_answered, st, false, patience);
    if (err == -ETIMEDOUT && weft_left_ns(d) > 0)
        return 1; /* some servers do not know it */
    bool refused = st->closed || st->unwanted || (st->head_done && st->end_in);
    return err < 0 ? err : !refused;
}

static int send_body(struct weft__h2_stream *st, struct weft__http_ask *a, bool *own,
                     weft_deadline d)
{
    if (!a->body)
        return weft__h2_flush(st->h2, d);
    int go = a->call->expect_continue ? may_continue(st, d) : 1;
    if (go <= 0)
        return go; /* the answer is there, or what has become of the stream */
    if (a->call->produce != NULL)
        return send_produced(st, a, own, d);
    return weft__h2_write(st, a->call->body, a->call->body_len, true, d);
}

/* --- The reply -------------------------------------------------------------------------------- */

/* The pseudo-field :status comes first, and is the only one (nghttp2 has checked). */
static int take_head(struct weft_http_reply *r, const struct weft__h2_fields *f,
                     const struct weft_http_call *call)
{
    uint64_t status = 0, length;
    if (f->too_large)
        return weft__fail(WEFT_ETOOLONG, "the head of the reply has more than %u bytes",
                          WEFT__HTTP_HEAD_MAX);
    if (f->n == 0 || !weft__http_decimal(weft__http_slice(f->text, f->at[0].value), &status) ||
        status < 100 || status > 999)
        return weft__fail(WEFT_EPROTOCOL, "the reply has no status");
    int err = weft__http_reply_copy(f->text, f->at + 1, f->n - 1, &r->text, &r->fields);
    if (err < 0)
        return err;
    r->n_fields = f->n - 1;
    r->status = (int)status;
    r->version = 20;
    weft__http_trace(call, '<', "HTTP/2 %d", r->status);
    for (size_t i = 0; i < r->n_fields; i++) {
        if (f->at[i + 1].id == WEFT__HN_CONTENT_LENGTH &&
            weft__http_decimal(weft__http_slice(f->text, f->at[i + 1].value), &length) &&
            length <= INT64_MAX)
            r->length = (int64_t)length;
        weft__http_trace(call, '<', "%s: %s", r->fields[i].name, r->fields[i].value);
    }
    return 0;
}

static int take_trailers(struct weft_http_reply *r)
{
    struct weft__h2_stream *st = r->stream;
    if (st->trailers.n == 0 || r->trailers != NULL)
        return 0;
    int err = weft__http_reply_copy(st->trailers.text, st->trailers.at, st->trailers.n,
                                    &r->trailer_text, &r->trailers);
    r->n_trailers = err == 0 ? st->trailers.n : 0;
    return err;
}

static void let_go(struct weft_http_reply *r)
{
    struct weft__h2_stream *st = r->stream;
    struct weft__h2 *h2 = r->conn->h2;
    r->stream = NULL;
    if (st == NULL)
        return;
    weft__h2_let_go(st);
    int err = weft__h2_flush(h2, WEFT_NOW); /* what was not read is told; the next one says it, too
                                             */
    (void)err;
}

/* What the failure means for sending the request again. */
static void judge(struct weft__http_ask *a, const struct weft__h2_stream *st, int err)
{
    bool broken = st->h2->error < 0;
    a->refused = st->closed && st->code == NGHTTP2_REFUSED_STREAM && !st->head_done;
    a->untouched = a->refused || (broken && !st->head_done);
    if (err != WEFT_EEOF && err != -ECONNRESET && err != -EPIPE)
        a->refused = a->untouched = false;
}

static int exchange(struct weft__http_conn *conn, struct weft__http_ask *a,
                    struct weft_http_reply *r, weft_deadline d)
{
    struct request q = {.nv = NULL};
    struct weft__h2_stream *st = NULL;
    int err = build(conn->client, a, &q);
    if (err == 0)
        err = weft__h2_request(conn->h2, q.nv, q.n, a->body, &st);
    if (err == 0)
        trace_fields(a->call, '>', q.nv, q.n);
    request_fini(&q);
    if (err < 0)
        return err;
    r->stream = st;
    conn->requests++;
    bool own = false;
    int sent = send_body(st, a, &own, d);
    if (own)
        return sent; /* tells nothing of the connection */
    err = sent < 0 && sent != -EPIPE ? sent : weft__h2_head(st, d);
    if (err < 0) {
        judge(a, st, err);
        return sent == -EPIPE && !a->untouched ? sent : err;
    }
    err = take_head(r, &st->head, a->call);
    weft__h2_fields_fini(&st->head);
    r->ended = st->end_in && weft__buffer_len(&st->in) == 0;
    return err == 0 && r->ended ? take_trailers(r) : err; /* nobody reads to the end of nothing */
}

static ssize_t h2_peek(struct weft_http_reply *r, const void **data, weft_deadline d)
{
    ssize_t n = weft__h2_peek(r->stream, data, d);
    return n == 0 ? take_trailers(r) : n;
}

static void h2_consume(struct weft_http_reply *r, size_t n)
{
    weft__h2_consume(r->stream, n);
}

static void h2_release(struct weft_http_reply *r, bool whole)
{
    (void)whole; /* what is left of a reply is its stream's affair, not the connection's */
    let_go(r);
    weft__http_conn_unshare(r->conn);
}

static bool never(void *arg)
{
    (void)arg;
    return false;
}

/* Hears what the server has said meanwhile. */
static bool h2_alive(struct weft__http_conn *conn)
{
    int err = weft__h2_wait(conn->h2, NULL, never, NULL, false, WEFT_NOW);
    return err == -ETIMEDOUT && weft__h2_usable(conn->h2);
}

static void h2_end(struct weft__http_conn *conn, bool abrupt)
{
    if (conn->h2 != NULL && weft__h2_goaway(conn->h2, -1, NGHTTP2_NO_ERROR) == 0) {
        int err = weft__h2_flush(conn->h2, WEFT_NOW);
        (void)err; /* a courtesy */
    }
    weft__h2_close(&conn->h2);
    weft__http_conn_close(conn, abrupt);
}

static bool h2_room(struct weft__http_conn *conn)
{
    uint32_t max =
        nghttp2_session_get_remote_settings(conn->h2->ng, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
    return weft__h2_usable(conn->h2) && conn->h2->n_streams < max;
}

int weft__http_conn_begin_h2(struct weft__http_conn *conn)
{
    const struct weft__h2_options o = {.head_max = WEFT__HTTP_HEAD_MAX};
    int err = weft__h2_open(&conn->h2, conn->s, false, &o);
    if (err == 0)
        conn->cls = &weft__http_conn_h2;
    return err;
}

const struct weft__http_conn_class weft__http_conn_h2 = {
    .version = 20,
    .shared = true,
    .exchange = exchange,
    .peek = h2_peek,
    .consume = h2_consume,
    .release = h2_release,
    .alive = h2_alive,
    .room = h2_room,
    .end = h2_end,
};
