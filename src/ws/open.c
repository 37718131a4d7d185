/* SPDX-License-Identifier: MIT */
/*
 * Connections: options, making and freeing, who is inside, facts.
 *
 * Floor 5.
 */
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "ws/ws.h"

#define PING_MS 30000
#define PONG_MS 20000
#define CLOSE_MS 10000
#define PROTOCOLS_MAX 512u
#define DEFLATE_MIN 256u
#define DEFLATE_LEVEL 6u
#define DEFLATE_MEMORY 8u
#define MS_MAX (INT64_MAX / 4000000)

/* --- Options --------------------------------------------------------------------------------- */

static int check_range(const char *what, int64_t value, int64_t min, int64_t max)
{
    if (value == 0 || (value >= min && value <= max))
        return 0;
    return weft__fail(-EINVAL, "%s of %lld, it has %lld to %lld", what, (long long)value,
                      (long long)min, (long long)max);
}

/* Whole lines "Name: value CR LF" and nothing that could end a head. */
static int check_fields(const char *fields)
{
    struct weft__slice rest = weft__slice_text(fields);
    while (rest.len > 0) {
        size_t end = weft__slice_find(rest, '\n', 0);
        size_t colon = weft__slice_find(rest, ':', 0);
        if (end == rest.len || end < 2 || rest.at[end - 1] != '\r' || colon == 0 || colon > end ||
            weft__slice_find(weft__slice_part(rest, 0, end - 1), '\r', 0) < end - 1)
            return weft__fail(-EINVAL, "header fields are lines 'Name: value' with CR LF");
        rest = weft__slice_from(rest, end + 1);
    }
    return 0;
}

int weft__ws_options_check(const struct weft_ws_options *o)
{
    static const struct weft_ws_options none;
    o = o != NULL ? o : &none;
    struct weft__slice protocols = weft__slice_text(o->protocols);
    int err = 0;
    if (protocols.len > PROTOCOLS_MAX)
        err = weft__fail(-EINVAL, "a list of sub-protocols of more than %u bytes", PROTOCOLS_MAX);
    else if (protocols.len > 0 && !weft__ws_tokens_ok(protocols))
        err = weft__fail(-EINVAL, "'%s' is no list of sub-protocols", o->protocols);
    if (err == 0 && o->protocol_required && protocols.len == 0)
        err = weft__fail(-EINVAL, "a sub-protocol is required, and none is given");
    if (err == 0 && o->fields != NULL)
        err = check_fields(o->fields);
    if (err == 0)
        err = check_range("head_max", (int64_t)weft__min_u64(o->head_max, INT64_MAX), 512, 65536);
    if (err == 0)
        err = check_range("message_max", (int64_t)weft__min_u64(o->message_max, INT64_MAX), 1,
                          PTRDIFF_MAX / 4);
    if (err == 0)
        err = check_range("ping_ms", o->ping_ms, -1, MS_MAX);
    if (err == 0)
        err = check_range("pong_ms", o->pong_ms, 1, MS_MAX);
    if (err == 0)
        err = check_range("close_ms", o->close_ms, 1, MS_MAX);
    if (err == 0)
        err = check_range("handshake_ms", o->handshake_ms, 1, MS_MAX);
    if (err == 0)
        err = check_range("deflate_bits", o->deflate_bits, 9, 15);
    if (err == 0)
        err = check_range("deflate_peer_bits", o->deflate_peer_bits, 8, 15);
    if (err == 0)
        err = check_range("deflate_level", o->deflate_level, 1, 9);
    if (err == 0)
        err = check_range("deflate_memory", o->deflate_memory, 1, 9);
    return err;
}

static int64_t ns_or(int64_t ms, int64_t otherwise_ms)
{
    return (ms != 0 ? ms : otherwise_ms) * 1000000;
}

void weft__ws_settings_of(struct weft__ws_settings *ret, const struct weft_ws_options *o)
{
    *ret = (struct weft__ws_settings){
        .message_max = o->message_max > 0 ? o->message_max : WEFT__WS_MESSAGE_MAX,
        .ping_ns = o->ping_ms < 0 ? 0 : ns_or(o->ping_ms, PING_MS),
        .pong_ns = ns_or(o->pong_ms, PONG_MS),
        .close_ns = ns_or(o->close_ms, CLOSE_MS),
        .deflate_min = o->deflate_min > 0 ? o->deflate_min : DEFLATE_MIN,
        .level = o->deflate_level > 0 ? o->deflate_level : DEFLATE_LEVEL,
        .memory = o->deflate_memory > 0 ? o->deflate_memory : DEFLATE_MEMORY,
    };
}

/* --- Making and freeing ---------------------------------------------------------------------- */

int64_t weft__ws_now(const struct weft_ws *ws)
{
    return weft__stream_now_ns(ws->s);
}

void weft__ws_init(struct weft_ws *ws, struct weft_stream *s, const struct weft_ws_options *o)
{
    memset(ws, 0, sizeof *ws);
    ws->s = s;
    weft__ws_settings_of(&ws->set, o);
    ws->pong_len = WEFT__WS_NO_PONG;
    weft_semaphore_init(&ws->frames, 1);
    weft_semaphore_init(&ws->messages, 1);
}

int weft__ws_apply(struct weft_ws *ws, const struct weft__ws_agreed *a,
                   const struct weft_ws_options *o)
{
    if (a->protocol.len > 0) {
        ws->subprotocol = weft__alloc(a->protocol.len + 1);
        if (ws->subprotocol == NULL)
            return -ENOMEM;
        memcpy(ws->subprotocol, a->protocol.at, a->protocol.len);
        ws->subprotocol[a->protocol.len] = '\0';
    }
    ws->server = a->server;
    ws->deflate = a->deflate;
    weft__ws_parser_init(&ws->in, a->server, a->deflate.on, o->frame_max);
    weft__ws_heard(ws);
    return 0;
}

int weft__ws_open(struct weft_ws **ret, struct weft_stream **s, const struct weft__ws_agreed *a,
                  const struct weft_ws_options *o)
{
    static const struct weft_ws_options none;
    struct weft_ws *ws = weft__alloc(sizeof *ws);
    if (ws == NULL)
        return -ENOMEM;
    o = o != NULL ? o : &none;
    weft__ws_init(ws, *s, o);
    int err = weft__ws_apply(ws, a, o);
    if (err < 0) {
        weft__ws_free(ws);
        return err;
    }
    *s = NULL;
    *ret = ws;
    return 0;
}

void weft__ws_free(struct weft_ws *ws)
{
    weft__ws_buf_free(ws);
    weft__ws_inflater_put(ws->inflater);
    weft__ws_deflater_put(ws->deflater);
    weft__free(ws->close_reason);
    weft__free(ws->subprotocol);
    weft__free(ws->later);
    weft__free(ws);
}

/* --- Who is inside --------------------------------------------------------------------------- */

int weft__ws_enter(struct weft_ws *ws)
{
    if (ws->gone)
        return WEFT_ECLOSED;
    struct weft_loop *l = weft_loop_current();
    if (WEFT__UNLIKELY(l != ws->s->loop))
        return weft__fail(WEFT_ETHREAD, "the connection belongs to another loop");
    ws->users++;
    return 0;
}

void weft__ws_leave(struct weft_ws *ws)
{
    ws->users--;
    if (ws->gone && ws->users == 0)
        weft__ws_free(ws);
}

/* --- Facts ----------------------------------------------------------------------------------- */

const char *weft_ws_subprotocol(const struct weft_ws *ws)
{
    return ws->subprotocol != NULL ? ws->subprotocol : "";
}

bool weft_ws_deflates(const struct weft_ws *ws)
{
    return ws->deflate.on;
}

unsigned weft_ws_close_code(const struct weft_ws *ws)
{
    return ws->close_code;
}

const char *weft_ws_close_reason(const struct weft_ws *ws)
{
    return ws->close_reason != NULL ? ws->close_reason : "";
}

struct weft_stream *weft_ws_stream(const struct weft_ws *ws)
{
    return ws->s;
}

void weft_ws_set(struct weft_ws *ws, void *conn)
{
    ws->user = conn;
}

void *weft_ws_get(const struct weft_ws *ws)
{
    return ws->user;
}
