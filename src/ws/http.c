/* SPDX-License-Identifier: MIT */
/*
 * WebSocket on a route of an HTTP server.
 *
 * Floor 5. What is refused is left to the handler's return: the fields that belong to the refusal
 * are set, and the status is its error page.
 */
#include <errno.h>

#include "base/error.h"
#include "http/exchange.h"
#include "ws/ws.h"

/* Sets "Name: value\r\n" lines as fields of the response. */
static int set_fields(struct weft_http_request *q, struct weft_http_response *r,
                      struct weft__slice lines)
{
    struct weft__arena *a = &weft__http_of_q(q)->arena;
    int err = 0;
    while (lines.len > 0 && err == 0) {
        size_t end = weft__slice_find(lines, '\r', 0), colon = weft__slice_find(lines, ':', 0);
        struct weft__slice value = weft__slice_trim(weft__slice_part(lines, colon + 1, end));
        enum weft__http_name id = weft__http_name_of(weft__slice_part(lines, 0, colon));
        if (id == WEFT__HN_UPGRADE || id == WEFT__HN_CONNECTION) { /* the server's own */
            lines = weft__slice_from(lines, end + 2);
            continue;
        }
        const char *name = weft__arena_text(a, lines.at, colon);
        const char *text = weft__arena_text(a, value.at, value.len);
        err = name == NULL || text == NULL ? -ENOMEM : weft_http_set(r, name, text);
        lines = weft__slice_from(lines, end + 2);
    }
    return err;
}

int weft_http_websocket(struct weft_http_request *q, struct weft_http_response *r,
                        struct weft_ws **ret, const struct weft_ws_options *o)
{
    char joined[WEFT__WS_JOINED_MAX], fields[WEFT__WS_FIELDS_MAX];
    struct weft__ws_request rq;
    struct weft__ws_agreed agreed;
    struct weft_stream *s = NULL;
    int err = weft__ws_options_check(o);
    if (err < 0)
        return err;
    if (!weft__ws_request_of(&rq, &q->head, q->base, joined))
        return 400;
    if (weft__http_of_q(q)->version >= 20) {
        if (!weft_http_wants_upgrade(q, "websocket"))
            return 400; /* a GET; over HTTP/2 it is asked for otherwise (RFC 8441) */
        rq.http2 = true;
    }
    bool ok = weft__ws_agree(&agreed, &rq, o);
    err = set_fields(q, r, weft__slice_of(fields, weft__ws_agreed_fields(&agreed, fields)));
    if (err == 0 && ok && o != NULL && o->fields != NULL)
        err = set_fields(q, r, weft__slice_text(o->fields));
    if (err < 0)
        return err;
    if (!ok) {
        weft__error_detail("%s", agreed.why);
        return agreed.status;
    }
    err = weft_http_upgrade(q, r, "websocket", &s);
    if (err < 0)
        return err;
    err = weft__ws_open(ret, &s, &agreed, o);
    if (err < 0)
        weft_abort(&s);
    return err;
}
