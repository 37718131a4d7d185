/* SPDX-License-Identifier: MIT */
/*
 * The server's side of the opening handshake (RFC 6455, 4.2).
 *
 * Floor 5. weft__ws_agree judges a request and knows no HTTP; what stands around it reads and
 * answers HTTP/1.1 where no HTTP server does.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "http/h1_head.h"
#include "wire/cursor.h"
#include "wire/http_field.h"
#include "ws/ws.h"

static const struct weft_ws_options no_options;

/* --- Judging --------------------------------------------------------------------------------- */

/* Host and port of an origin, without a default port; false when it is not "scheme://host". */
static bool origin_authority(struct weft__slice origin, struct weft__slice *ret)
{
    size_t colon = weft__slice_find(origin, ':', 0);
    struct weft__slice scheme = weft__slice_part(origin, 0, colon);
    struct weft__slice rest = weft__slice_from(origin, colon);
    if (rest.len < 4 || memcmp(rest.at, "://", 3) != 0)
        return false;
    *ret = weft__slice_from(rest, 3);
    const char *port = weft__slice_is_nocase(scheme, "https") ? ":443" : ":80";
    size_t n = strlen(port);
    if (ret->len > n && weft__slice_is(weft__slice_from(*ret, ret->len - n), port))
        ret->len -= n;
    return true;
}

/* The Host field speaks of the same port as the origin's scheme does when it names it or none. */
static struct weft__slice host_authority(struct weft__slice host, struct weft__slice origin)
{
    bool https = origin.len > 5 && weft__slice_is_nocase(weft__slice_part(origin, 0, 5), "https");
    const char *port = https ? ":443" : ":80";
    size_t n = strlen(port);
    if (host.len > n && weft__slice_is(weft__slice_from(host, host.len - n), port))
        host.len -= n;
    return host;
}

static bool origin_ok(const struct weft__ws_request *rq, const struct weft_ws_options *o)
{
    struct weft__slice list = weft__slice_text(o->origins), e, authority;
    if (rq->origin.at == NULL)
        return true; /* no browser */
    if (o->origins == NULL)
        return origin_authority(rq->origin, &authority) &&
               weft__slice_equal_nocase(authority, host_authority(rq->host, rq->origin));
    while (weft__http_list_next(&list, &e)) {
        if (weft__slice_is(e, "*") || weft__slice_equal_nocase(e, rq->origin))
            return true;
    }
    return false;
}

static struct weft__ws_deflate wishes(const struct weft_ws_options *o)
{
    return (struct weft__ws_deflate){
        .on = o->deflate,
        .server_no_takeover = !o->deflate_takeover,
        .client_no_takeover = !o->deflate_takeover,
        .server_bits = o->deflate_bits > 0 ? o->deflate_bits : WEFT__WS_BITS_MAX,
        .client_bits = o->deflate_peer_bits > 0 ? o->deflate_peer_bits : WEFT__WS_BITS_MAX,
    };
}

static bool refuse(struct weft__ws_agreed *a, int status, const char *why)
{
    a->status = status;
    a->why = why;
    return false;
}

/* What only HTTP/1.1 has: 4.2.1. */
static bool agree_upgrade(struct weft__ws_agreed *a, const struct weft__ws_request *rq)
{
    if (!rq->http11)
        return refuse(a, 400, "WebSocket needs HTTP/1.1");
    if (!weft__http_list_has(rq->upgrade, "websocket") ||
        !weft__http_list_has(rq->connection, "upgrade"))
        return refuse(a, 426, "this address speaks WebSocket");
    if (!weft__slice_is(rq->version, "13"))
        return refuse(a, 426, "the version of WebSocket is 13");
    if (!weft__ws_key_ok(rq->key))
        return refuse(a, 400, "Sec-WebSocket-Key is not 16 bytes in base64");
    return true;
}

bool weft__ws_agree(struct weft__ws_agreed *ret, const struct weft__ws_request *rq,
                    const struct weft_ws_options *o)
{
    o = o != NULL ? o : &no_options;
    *ret = (struct weft__ws_agreed){.server = true, .http2 = rq->http2};
    if (!rq->get)
        return refuse(ret, 405, "WebSocket is asked for by GET");
    if (!rq->http2 && !agree_upgrade(ret, rq))
        return false;
    if (rq->http2 && !weft__slice_is(rq->version, "13")) /* RFC 8441, 5: as in HTTP/1.1 */
        return refuse(ret, 426, "the version of WebSocket is 13");
    if (!origin_ok(rq, o))
        return refuse(ret, 403, "pages of this origin may not connect");
    if (rq->protocols.at != NULL && !weft__ws_tokens_ok(rq->protocols))
        return refuse(ret, 400, "Sec-WebSocket-Protocol is not a list of tokens");
    if (rq->extensions.at != NULL && !weft__ws_extensions_ok(rq->extensions))
        return refuse(ret, 400, "Sec-WebSocket-Extensions is no list of extensions"); /* 9.1 */
    bool chosen =
        weft__ws_protocol_choose(weft__slice_text(o->protocols), rq->protocols, &ret->protocol);
    if (!chosen && o->protocol_required)
        return refuse(ret, 400, "no sub-protocol in common");
    struct weft__ws_deflate w = wishes(o);
    if (!weft__ws_deflate_accept(rq->extensions, &w, &ret->deflate))
        ret->deflate = (struct weft__ws_deflate){.on = false};
    if (!rq->http2)
        weft__ws_accept_value(rq->key, ret->accept);
    ret->status = rq->http2 ? 200 : 101;
    return true;
}

/* --- Answering ------------------------------------------------------------------------------- */

static void field(struct weft__writer *w, const char *name, struct weft__slice value)
{
    weft__writer_text(w, name);
    weft__writer_text(w, ": ");
    weft__writer_bytes(w, value.at, value.len);
    weft__writer_text(w, "\r\n");
}

size_t weft__ws_agreed_fields(const struct weft__ws_agreed *a, char out[WEFT__WS_FIELDS_MAX])
{
    struct weft__writer w = weft__writer_of(out, WEFT__WS_FIELDS_MAX);
    char deflate[WEFT__WS_DEFLATE_TEXT_MAX];
    bool agreed = a->status == 101 || a->status == 200;
    if (a->status == 101) {
        weft__writer_text(&w, "Upgrade: websocket\r\nConnection: Upgrade\r\n");
        field(&w, "Sec-WebSocket-Accept", weft__slice_of(a->accept, sizeof a->accept));
    }
    if (agreed && a->protocol.len > 0)
        field(&w, "Sec-WebSocket-Protocol", a->protocol);
    if (agreed && a->deflate.on)
        field(&w, "Sec-WebSocket-Extensions",
              weft__slice_of(deflate, weft__ws_deflate_write(&a->deflate, false, deflate)));
    if (a->status == 405)
        weft__writer_text(&w, "Allow: GET\r\n");
    if (a->status == 426) {
        if (!a->http2)
            weft__writer_text(&w, "Upgrade: websocket\r\nConnection: Upgrade\r\n");
        weft__writer_text(&w, "Sec-WebSocket-Version: 13\r\n");
    }
    WEFT__ASSERT(!w.full); /* sub-protocols have a maximum */
    return w.pos;
}

size_t weft__ws_answer(const struct weft__ws_agreed *a, char out[WEFT__WS_ANSWER_MAX],
                       char body[WEFT__WS_BODY_MAX])
{
    struct weft__writer w = weft__writer_of(out, WEFT__WS_ANSWER_MAX);
    weft__writer_text(&w, "HTTP/1.1 ");
    weft__writer_decimal(&w, (uint64_t)a->status);
    weft__writer_text(&w, " ");
    weft__writer_text(&w, weft__http_reason(a->status));
    weft__writer_text(&w, "\r\n");
    WEFT__ASSERT(w.cap - w.pos >= WEFT__WS_FIELDS_MAX);
    w.pos += weft__ws_agreed_fields(a, out + w.pos);
    body[0] = '\0';
    if (a->status != 101) {
        (void)snprintf(body, WEFT__WS_BODY_MAX, "%s\n", a->why);
        weft__writer_text(&w, "Connection: close\r\nContent-Type: text/plain\r\nContent-Length: ");
        weft__writer_decimal(&w, strlen(body));
        weft__writer_text(&w, "\r\n");
    }
    WEFT__ASSERT(!w.full);
    return w.pos;
}

/* --- Requests of HTTP/1 ---------------------------------------------------------------------- */

bool weft__ws_request_of(struct weft__ws_request *rq, const struct weft__http1_head *h,
                         const char *data, char joined[WEFT__WS_JOINED_MAX])
{
    *rq = (struct weft__ws_request){.get = h->method == WEFT__HTTP_GET, .http11 = h->minor >= 1};
    const struct {
        enum weft__http_name name;
        struct weft__slice *to;
    } wanted[] = {
        {WEFT__HN_ORIGIN, &rq->origin},
        {WEFT__HN_UPGRADE, &rq->upgrade},
        {WEFT__HN_CONNECTION, &rq->connection},
        {WEFT__HN_SEC_WEBSOCKET_VERSION, &rq->version},
        {WEFT__HN_SEC_WEBSOCKET_KEY, &rq->key},
        {WEFT__HN_SEC_WEBSOCKET_PROTOCOL, &rq->protocols},
        {WEFT__HN_SEC_WEBSOCKET_EXTENSIONS, &rq->extensions},
    };
    size_t used = 0;
    rq->host = weft__http_slice(data, h->authority);
    for (size_t i = 0; i < WEFT__ARRAY_LEN(wanted); i++) {
        char *room = joined + used;
        if (!weft__http1_joined(h, data, wanted[i].name, room, WEFT__WS_JOINED_MAX - used,
                                wanted[i].to))
            return false;
        if (wanted[i].to->at == room)
            used += wanted[i].to->len;
    }
    return true;
}

struct weft__ws_asking *weft__ws_asking_new(const struct weft_ws_options *o)
{
    struct weft__ws_asking *q = weft__calloc(1, sizeof *q);
    if (q == NULL)
        return NULL;
    q->h.fields = q->fields;
    q->h.fields_cap = WEFT__ARRAY_LEN(q->fields);
    q->h.limits.head = o->head_max > 0 ? (uint32_t)o->head_max : WEFT__WS_HEAD_DEFAULT;
    return q;
}

void weft__ws_asking_free(struct weft__ws_asking *q)
{
    if (q == NULL)
        return;
    weft__free(q->bytes);
    weft__free(q);
}

size_t weft__ws_judge(struct weft__ws_asking *q, ssize_t n, const char *data,
                      const struct weft_ws_options *o)
{
    struct weft__ws_request rq;
    q->agreed = (struct weft__ws_agreed){.server = true};
    if (n < 0)
        (void)refuse(&q->agreed, q->h.error.status, q->h.error.why);
    else if (q->h.body != WEFT__HTTP1_NO_BODY)
        (void)refuse(&q->agreed, 400, "a request to upgrade has no body");
    else if (!weft__ws_request_of(&rq, &q->h, data, q->joined))
        (void)refuse(&q->agreed, 400, "the fields of WebSocket are too long");
    else
        (void)weft__ws_agree(&q->agreed, &rq, o);
    return weft__ws_answer(&q->agreed, q->answer, q->body);
}

/* --- On a stream ----------------------------------------------------------------------------- */

static int send_answer(struct weft_stream *s, struct weft__ws_asking *q, size_t len,
                       const struct weft_ws_options *o, weft_deadline d)
{
    const char *more = q->agreed.status == 101 && o->fields != NULL ? o->fields : "";
    struct iovec iov[4] = {{q->answer, len},
                           {(void *)(uintptr_t)more, strlen(more)},
                           {(void *)(uintptr_t) "\r\n", 2},
                           {q->body, strlen(q->body)}};
    return weft_writev(s, iov, 4, d);
}

int weft__ws_refused(const struct weft__ws_agreed *a)
{
    return weft__fail(a->status == 403 ? -EACCES : WEFT_EPROTOCOL, "answered %d: %s", a->status,
                      a->why);
}

static int answer_refusal(struct weft_stream *s, struct weft__ws_asking *q, size_t len,
                          weft_deadline d)
{
    int err = send_answer(s, q, len, &no_options, d);
    if (err == 0)
        err = weft_shutdown(s, d);
    return err == 0 || err == -EPIPE || err == -ECONNRESET ? weft__ws_refused(&q->agreed) : err;
}

static int answer(struct weft_ws **ret, struct weft_stream **s, struct weft__ws_asking *q,
                  ssize_t n, const char *data, const struct weft_ws_options *o, weft_deadline d)
{
    struct weft_ws *ws = NULL;
    size_t len = weft__ws_judge(q, n, data, o);
    if (q->agreed.status != 101) {
        weft_consume(*s, n > 0 ? (size_t)n : 0);
        return answer_refusal(*s, q, len, d);
    }
    int err = weft__ws_open(&ws, s, &q->agreed, o);
    if (err < 0)
        return err;
    weft_consume(ws->s, (size_t)n);
    err = send_answer(ws->s, q, len, o, d);
    if (err < 0) {
        *s = ws->s;
        weft__ws_free(ws);
        return err;
    }
    *ret = ws;
    return 0;
}

int weft_ws_accept(struct weft_ws **ret, struct weft_stream **s, const struct weft_ws_options *o,
                   weft_deadline d)
{
    const char *data = NULL;
    o = o != NULL ? o : &no_options;
    int err = weft__ws_options_check(o);
    if (err < 0)
        return err;
    struct weft__ws_asking *q = weft__ws_asking_new(o);
    if (q == NULL)
        return -ENOMEM;
    ssize_t n = weft__h1_read_request(*s, &q->h, &q->scan, &data, d);
    if (n == 0)
        err = weft__fail(WEFT_EEOF, "the peer hung up without a request");
    else if (n < 0 && n != WEFT_EPROTOCOL && n != WEFT_ETOOLONG)
        err = (int)n;
    else
        err = answer(ret, s, q, n, data, o, d);
    weft__ws_asking_free(q);
    return err;
}
