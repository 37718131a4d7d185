/* SPDX-License-Identifier: MIT */
/*
 * Responses in HTTP/1: the head, the framing of the body, the class that handlers' calls end in.
 *
 * Floor 5. Invariant: what follows the head is exactly as long as the head says, or the connection
 * ends with it.
 */
#include <errno.h>
#include <string.h>

#include "base/error.h"
#include "http/h1_server.h"
#include "net/server.h"
#include "net/stream.h"
#include "wire/http_field.h"

/* More of a request's body than this is not read for the sake of the connection. */
#define DROP_MAX 65536u

/* --- The head --------------------------------------------------------------------------------- */

void weft__h1_decide_keep(struct weft__h1_conn *c)
{
    const struct weft_http_options *o = &c->x.site->conf->o;
    c->keep = c->x.q.head.keep_alive && !c->closing;
    if (o->requests_max > 0 && c->requests >= (uint32_t)o->requests_max)
        c->keep = false;
    if (c->keep && !c->body.done) {
        /* A client that was not asked for its body may send it or not: nobody can tell. */
        bool long_rest = c->body.kind == WEFT__HTTP1_LENGTH && c->body.left > DROP_MAX;
        if (c->continue_due || long_rest || c->body.error < 0 || c->x.r.status >= 400)
            c->keep = false;
    }
    if (c->keep && weft_stream_draining(c->x.stream))
        c->keep = false;
}

static size_t fields_size(const struct weft_http_field *f, size_t n)
{
    size_t total = 0;
    for (size_t i = 0; i < n; i++)
        total += f[i].name_len + f[i].value_len + 4;
    return total;
}

/* These write behind `at`, where there is room, and return where they ended. */
static inline char *put(char *at, const char *text, size_t len)
{
    uint64_t head;
    uint64_t tail;
    if (__builtin_constant_p(len) || len < sizeof head || len > 2 * sizeof head) {
        memcpy(at, text, len);
        return at + len;
    }
    /* Names and values mostly are of such a length: two words, that may overlap, and no call. */
    memcpy(&head, text, sizeof head);
    memcpy(&tail, text + len - sizeof tail, sizeof tail);
    memcpy(at, &head, sizeof head);
    memcpy(at + len - sizeof tail, &tail, sizeof tail);
    return at + len;
}

static inline char *put_field(char *at, const struct weft_http_field *f)
{
    at = put(at, f->name, f->name_len);
    at = put(at, ": ", 2);
    at = put(at, f->value, f->value_len);
    return put(at, "\r\n", 2);
}

/* Each digit goes where it stays: digits that are copied right after they were written one by one
 * are waited for. */
static char *put_number(char *at, uint64_t n)
{
    char *end = at + 1;
    for (uint64_t most = 9; n > most && end - at < 20; most = 10 * most + 9)
        end++;
    at = end;
    do {
        *--at = (char)('0' + n % 10);
        n /= 10;
    } while (n != 0);
    return end;
}

static char *put_status(char *at, int status)
{
    const char *reason = weft__http_reason(status);
    at = put(at, "HTTP/1.1 ", 9);
    at = put_number(at, (uint64_t)status);
    *at++ = ' ';
    at = put(at, reason, strlen(reason));
    return put(at, "\r\n", 2);
}

/* How the body is framed (RFC 9112 section 6). */
static enum weft__http1_body framing(struct weft__h1_conn *c, int64_t length)
{
    int status = c->x.r.status;
    if (c->x.q.head.method == WEFT__HTTP_HEAD || status < 200 || status == 204 || status == 304)
        return WEFT__HTTP1_NO_BODY;
    if (length >= 0)
        return WEFT__HTTP1_LENGTH;
    return c->x.version >= 11 ? WEFT__HTTP1_CHUNKED : WEFT__HTTP1_CLOSE;
}

/* The lines about body and connection, and the end of the head. */
static char *put_framing(char *at, const struct weft__h1_conn *c, int64_t length)
{
    int status = c->x.r.status;
    bool none = status < 200 || status == 204 || status == 304;
    if (!none && length >= 0) {
        at = put(at, "Content-Length: ", 16);
        at = put_number(at, (uint64_t)length);
        at = put(at, "\r\n", 2);
    } else if (!none && c->x.version >= 11) {
        at = put(at, "Transfer-Encoding: chunked\r\n", 28);
    }
    if (WEFT__UNLIKELY(!c->keep))
        at = put(at, "Connection: close\r\n", 19);
    else if (c->x.version == 10)
        at = put(at, "Connection: keep-alive\r\n", 24);
    return put(at, "\r\n", 2);
}

/* More than a head takes beside its fields: the status line and what stands with it, some 64; the
 * stamp, at most 160; "Content-Length: ", 20 digits, "Connection: keep-alive", their line ends and
 * the empty line, 66. */
#define HEAD_BESIDE 320

/* More than a head takes: status line, stamp, fields, framing. */
static size_t head_most(const struct weft_http_response *r)
{
    return fields_size(r->fields, r->n_fields) + HEAD_BESIDE;
}

/* Into at least head_most() bytes; returns the head's length. */
static size_t build(struct weft__h1_conn *c, int64_t length, char *buf)
{
    const struct weft_http_response *r = &c->x.r;
    char stamp_buf[160];
    size_t stamp_len;
    const char *stamp = weft__http_stamp(c->x.site, c->x.stream->loop, stamp_buf, &stamp_len);
    char *at = buf;
    weft__h1_decide_keep(c);
    enum weft__http1_body kind = framing(c, length);
    if (kind == WEFT__HTTP1_CLOSE)
        c->keep = false;
    if (WEFT__LIKELY(r->status == 200)) { /* its line stands before the stamp */
        at = put(at, stamp - WEFT__HTTP_OK_LEN, WEFT__HTTP_OK_LEN + stamp_len);
    } else {
        at = put_status(at, r->status);
        at = put(at, stamp, stamp_len);
    }
    for (size_t i = 0; i < r->n_fields; i++)
        at = put_field(at, &r->fields[i]);
    at = put_framing(at, c, length);
    weft__h1_out_init(&c->out, c->x.stream, kind, length >= 0 ? (uint64_t)length : 0);
    return (size_t)(at - buf);
}

int weft__h1_build_head(struct weft__h1_conn *c, int64_t length, char *buf, size_t cap,
                        const char **head, size_t *head_len)
{
    size_t most = head_most(&c->x.r);
    if (most > cap) {
        buf = weft__arena_alloc(&c->x.arena, most);
        if (buf == NULL)
            return -ENOMEM;
    }
    *head_len = build(c, length, buf);
    WEFT__ASSERT(*head_len <= most);
    *head = buf;
    return 0;
}

/* A whole response up to so much is written where it leaves from. */
#define WHOLE_MAX 4096u

bool weft__h1_send_whole(struct weft__h1_conn *c, const void *data, size_t len)
{
    size_t most = head_most(&c->x.r);
    if (len > WHOLE_MAX || most > WHOLE_MAX)
        return false;
    char *room = weft__write_room(c->x.stream, most + len);
    if (room == NULL)
        return false;
    size_t n = build(c, (int64_t)len, room);
    WEFT__ASSERT(n <= most);
    if (c->out.kind == WEFT__HTTP1_LENGTH && len > 0)
        n = (size_t)(put(room + n, data, len) - room);
    c->out.left = 0;
    c->out.done = true;
    weft__write_filled(c->x.stream, n);
    return true;
}

/* --- The class -------------------------------------------------------------------------------- */

/* RFC 9110 section 10.1.1: who expects it is told to go on before its body is waited for. */
static int ask_for_body(struct weft__h1_conn *c, weft_deadline d)
{
    static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
    c->continue_due = false;
    if (c->x.r.begun || weft__in_left(c->x.stream) > 0 || c->body.done)
        return 0; /* it did not wait */
    int err = weft_write(c->x.stream, text, sizeof text - 1, d);
    return err < 0 ? err : weft_flush(c->x.stream, d);
}

static ssize_t h1_peek(struct weft__http_exchange *x, const void **data, weft_deadline d)
{
    struct weft__h1_conn *c = weft__h1_of(x);
    int err = c->continue_due ? ask_for_body(c, d) : 0;
    return err < 0 ? err : weft__h1_body_peek(&c->body, data, d);
}

static void h1_consume(struct weft__http_exchange *x, size_t n)
{
    weft__h1_body_consume(&weft__h1_of(x)->body, n);
}

static ssize_t h1_read(struct weft__http_exchange *x, void *buf, size_t cap, weft_deadline d)
{
    struct weft__h1_conn *c = weft__h1_of(x);
    int err = c->continue_due ? ask_for_body(c, d) : 0;
    return err < 0 ? err : weft__h1_body_read(&c->body, buf, cap, d);
}

static const char *h1_trailer(struct weft__http_exchange *x, const char *name)
{
    struct weft__h1_conn *c = weft__h1_of(x);
    const struct weft__http1_chunked *k = &c->body.chunked;
    if (c->body.kind != WEFT__HTTP1_CHUNKED || c->body.trailers == NULL)
        return NULL;
    for (size_t i = 0; i < k->field_count; i++)
        if (weft__slice_is_nocase(weft__http_slice(c->body.trailers, k->fields[i].name), name)) {
            struct weft__slice v = weft__http_slice(c->body.trailers, k->fields[i].value);
            return weft__arena_text(&x->arena, v.at, v.len);
        }
    return NULL;
}

static int h1_begin(struct weft__http_exchange *x, int64_t length, const void *data, size_t len,
                    bool last, weft_deadline d)
{
    struct weft__h1_conn *c = weft__h1_of(x);
    char buf[1024];
    const char *head;
    size_t head_len;
    if (last && length == (int64_t)len && weft__h1_send_whole(c, data, len))
        return 0;
    int err = weft__h1_build_head(c, length, buf, sizeof buf, &head, &head_len);
    if (err == 0)
        err = weft__h1_out_begin(&c->out, head, head_len, data, len, d);
    if (err == 0 && last)
        err = weft__h1_out_end(&c->out, NULL, 0, d);
    return err;
}

static int h1_write(struct weft__http_exchange *x, const void *data, size_t len, weft_deadline d)
{
    return weft__h1_out_write(&weft__h1_of(x)->out, data, len, d);
}

static int h1_send_fd(struct weft__http_exchange *x, int fd, off_t *offset, size_t len,
                      weft_deadline d)
{
    struct weft__h1_conn *c = weft__h1_of(x);
    if (c->out.kind == WEFT__HTTP1_NO_BODY)
        return 0;
    if (c->out.kind == WEFT__HTTP1_LENGTH && len > c->out.left)
        return weft__fail(-EMSGSIZE, "more of a file than the length that was announced");
    if (c->out.kind == WEFT__HTTP1_CHUNKED) {
        char size[WEFT__HTTP1_CHUNK_HEAD];
        int err = weft_write(x->stream, size, weft__http1_chunk_head(size, len), d);
        if (err == 0)
            err = weft_sendfile(x->stream, fd, offset, len, d);
        return err < 0 ? err : weft_write(x->stream, WEFT__HTTP1_CHUNK_TAIL, 2, d);
    }
    int err = weft_sendfile(x->stream, fd, offset, len, d);
    if (err == 0 && c->out.kind == WEFT__HTTP1_LENGTH)
        c->out.left -= len;
    return err;
}

int weft__h1_build_trailers(struct weft__h1_conn *c, const char **ret, size_t *len)
{
    const struct weft_http_response *r = &c->x.r;
    struct weft__slice te;
    size_t most = fields_size(r->trailers, r->n_trailers) + 2;
    *ret = NULL;
    *len = 0;
    if (r->n_trailers == 0 || c->out.kind != WEFT__HTTP1_CHUNKED)
        return 0;
    if (weft__http_list_of(&c->x.q, WEFT__HN_TE, &te) < 0)
        return -ENOMEM;
    if (!weft__http_list_has(te, "trailers"))
        return 0;
    char *buf = weft__arena_alloc(&c->x.arena, most);
    if (buf == NULL)
        return -ENOMEM;
    char *at = buf;
    for (size_t i = 0; i < r->n_trailers; i++)
        at = put_field(at, &r->trailers[i]);
    at = put(at, "\r\n", 2);
    *ret = buf;
    *len = (size_t)(at - buf);
    return 0;
}

static int h1_end(struct weft__http_exchange *x, weft_deadline d)
{
    struct weft__h1_conn *c = weft__h1_of(x);
    const char *trailers;
    size_t len;
    int err = weft__h1_build_trailers(c, &trailers, &len);
    return err < 0 ? err : weft__h1_out_end(&c->out, trailers, len, d);
}

static int h1_flush(struct weft__http_exchange *x, weft_deadline d)
{
    return weft_flush(x->stream, d);
}

/* Status line and fields, without framing: for 101 and 103. */
static int send_bare(struct weft__h1_conn *c, int status, const char *more, const char *value)
{
    const struct weft_http_response *r = &c->x.r;
    size_t more_len = strlen(more), value_len = strlen(value);
    size_t most = fields_size(r->fields, r->n_fields) + HEAD_BESIDE + more_len + value_len;
    char *buf = weft__arena_alloc(&c->x.arena, most);
    if (buf == NULL)
        return -ENOMEM;
    char *at = put_status(buf, status);
    for (size_t i = 0; i < r->n_fields; i++)
        at = put_field(at, &r->fields[i]);
    at = put(at, more, more_len);
    at = put(at, value, value_len);
    at = more_len > 0 ? put(at, "\r\n\r\n", 4) : put(at, "\r\n", 2);
    WEFT__ASSERT((size_t)(at - buf) <= most);
    int err = weft_write(c->x.stream, buf, (size_t)(at - buf), c->x.until);
    return err < 0 ? err : weft_flush(c->x.stream, c->x.until);
}

static int h1_interim(struct weft__http_exchange *x, int status)
{
    return x->version >= 11 ? send_bare(weft__h1_of(x), status, "", "") : 0;
}

/* RFC 9110 section 7.8: after the blank line the connection speaks the other protocol. */
static int h1_upgrade(struct weft__http_exchange *x, const char *protocol, struct weft_stream **ret)
{
    struct weft__h1_conn *c = weft__h1_of(x);
    if (!c->body.done)
        return weft__fail(-EBUSY, "the request's body has not been read to its end");
    int err = send_bare(c, 101, "Connection: Upgrade\r\nUpgrade: ", protocol);
    if (err < 0) {
        x->r.error = err;
        return err;
    }
    x->r.status = 101;
    c->keep = false;
    *ret = x->stream;
    return 0;
}

const struct weft__http_exchange_class weft__h1_class = {
    .peek = h1_peek,
    .consume = h1_consume,
    .read = h1_read,
    .trailer = h1_trailer,
    .begin = h1_begin,
    .write = h1_write,
    .send_fd = h1_send_fd,
    .end = h1_end,
    .flush = h1_flush,
    .interim = h1_interim,
    .upgrade = h1_upgrade,
};
