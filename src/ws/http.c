/* SPDX-License-Identifier: MIT */
/*
 * WebSocket on a route of an HTTP server.
 *
 * Floor 5. What is refused is left to the handler's return: the fields that belong to the refusal
 * are set, and the status is its error page.
 */
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "http/exchange.h"
#include "ws/ws.h"

/* One field; own: of the handshake, and not the user's. Upgrade and Connection come by themselves
 * in a 101; a 426 must have them, too (RFC 9110, 15.5.22). */
static int set_field(struct weft_http_response *r, bool own, bool agreed, const char *name,
                     const char *value)
{
    enum weft__http_name id = weft__http_name_of(weft__slice_text(name));
    if (id == WEFT__HN_UPGRADE || id == WEFT__HN_CONNECTION)
        return own && !agreed ? weft__http_set_field(r, name, strlen(name), value, strlen(value))
                              : 0;
    return own ? weft_http_set(r, name, value) : weft_http_add(r, name, value);
}

/* Lines "Name: value\r\n" become fields of the response. */
static int set_fields(struct weft_http_request *q, struct weft_http_response *r, bool own,
                      bool agreed, struct weft__slice lines)
{
    struct weft__arena *a = &weft__http_of_q(q)->arena;
    int err = 0;
    while (lines.len > 0 && err == 0) {
        size_t end = weft__slice_find(lines, '\r', 0), colon = weft__slice_find(lines, ':', 0);
        struct weft__slice value = weft__slice_trim(weft__slice_part(lines, colon + 1, end));
        const char *name = weft__arena_text(a, lines.at, colon);
        const char *text = weft__arena_text(a, value.at, value.len);
        if (name == NULL || text == NULL)
            err = -ENOMEM;
        else
            err = set_field(r, own, agreed, name, text);
        lines = weft__slice_from(lines, end + 2);
    }
    return err;
}

/* What a handshake needs beside the request; not on the stack that a task waits on after it. */
struct scratch {
    struct weft__ws_request rq;
    struct weft__ws_agreed agreed;
    char joined[WEFT__WS_JOINED_MAX], fields[WEFT__WS_FIELDS_MAX];
};

static int shake_hands(struct weft_http_request *q, struct weft_http_response *r,
                       struct weft_ws **ret, const struct weft_ws_options *o, struct scratch *x)
{
    struct weft_stream *s = NULL;
    if (!weft__ws_request_of(&x->rq, &q->head, q->base, x->joined))
        return 400;
    if (weft__http_of_q(q)->version >= 20) {
        if (!weft_http_wants_upgrade(q, "websocket"))
            return 400; /* a GET; over HTTP/2 it is asked for otherwise (RFC 8441) */
        x->rq.http2 = true;
    }
    if (!x->rq.http2 && q->head.body != WEFT__HTTP1_NO_BODY)
        return 400; /* what follows the head is the other protocol's */
    bool ok = weft__ws_agree(&x->agreed, &x->rq, o);
    size_t len = weft__ws_agreed_fields(&x->agreed, x->fields);
    int err = set_fields(q, r, true, ok, weft__slice_of(x->fields, len));
    if (err == 0 && ok && o != NULL && o->fields != NULL)
        err = set_fields(q, r, false, ok, weft__slice_text(o->fields));
    if (err < 0)
        return err;
    if (!ok) {
        weft__error_detail("%s", x->agreed.why);
        return x->agreed.status;
    }
    err = weft_http_upgrade(q, r, "websocket", &s);
    if (err < 0)
        return err;
    err = weft__ws_open(ret, &s, &x->agreed, o);
    if (err < 0)
        weft_abort(&s);
    return err;
}

int weft_http_websocket(struct weft_http_request *q, struct weft_http_response *r,
                        struct weft_ws **ret, const struct weft_ws_options *o)
{
    int err = weft__ws_options_check(o);
    if (err < 0)
        return err;
    struct scratch *x = weft__alloc(sizeof *x);
    if (x == NULL)
        return -ENOMEM;
    err = shake_hands(q, r, ret, o, x);
    weft__free(x);
    return err;
}
