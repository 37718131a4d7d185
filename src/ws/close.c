/* SPDX-License-Identifier: MIT */
/*
 * Ending: the close handshake of tasks and threads, and the abrupt end.
 *
 * Floor 5. A server closes the connection first, a client waits for it to (RFC 6455, 7.1.1). After
 * an error the peer gets time to read the close frame that tells of it: closing with unread bytes
 * would reset the connection, and the frame be lost with it.
 *
 * Invariant: whatever happens, the stream is let go of before the call returns, and every flow that
 * is inside leaves soon.
 */
#include <errno.h>
#include <string.h>

#include "base/error.h"
#include "ws/ws.h"

/* Unread bytes that are dropped before a connection that has failed is closed. */
#define LINGER_MAX ((size_t)1 << 20)
#define LINGER_MS 1000
/* A cancelled flow may say so to the peer. */
#define FAREWELL_MS 50

/* Drops what comes, until the stream's end. */
static void drop(struct weft_ws *ws, weft_deadline d)
{
    const void *data;
    ssize_t n = 1;
    for (size_t dropped = 0; n > 0 && dropped < LINGER_MAX && !ws->gone;) {
        n = weft_peek(ws->s, &data, d);
        if (n > 0 && !ws->gone)
            weft_consume(ws->s, (size_t)n);
        dropped += n > 0 ? (size_t)n : 0;
    }
}

static void linger(struct weft_ws *ws, weft_deadline d)
{
    if (ws->reading || ws->gone)
        return;
    ws->reading = true;
    d = weft_earlier(d, weft_after_ms(LINGER_MS));
    if (weft_shutdown(ws->s, d) == 0 && !ws->gone)
        drop(ws, d);
    ws->reading = false;
}

/* Waits for the peer's close frame, by the task that reads or by reading. */
static int await_close(struct weft_ws *ws, weft_deadline d)
{
    while (!ws->close_got && ws->read_error == 0 && !ws->gone) {
        int err;
        if (ws->reading) {
            weft_event_clear(&ws->left);
            err = weft_event_wait(&ws->left, d);
        } else {
            ws->reading = true;
            err = weft__ws_drain(ws, d);
            ws->reading = false;
        }
        if (err < 0)
            return ws->gone ? WEFT_ECLOSED : err;
    }
    return ws->gone ? WEFT_ECLOSED : ws->close_got ? 0 : ws->read_error;
}

static int shake_hands(struct weft_ws *ws, unsigned code, const char *reason, size_t len,
                       weft_deadline d)
{
    if (ws->read_error < 0) { /* the peer has been told, or is gone */
        if (ws->read_error != WEFT_EEOF)
            linger(ws, d);
        return ws->read_error;
    }
    int err = weft__ws_send_close(ws, code, reason, len, d);
    if (err == -ECANCELED && !ws->gone) {
        weft_shield(FAREWELL_MS);
        (void)weft__ws_send_close(ws, code, reason, len, WEFT_NOW);
        weft_unshield();
        return err;
    }
    if (err == 0)
        err = await_close(ws, d);
    if (err == 0 && !ws->server && !ws->reading) {
        ws->reading = true;
        drop(ws, d);
        ws->reading = false;
    }
    return err;
}

/* Lets go of the stream; flows inside are woken and find `gone`. */
static int let_go(struct weft_ws *ws, bool abrupt, weft_deadline d)
{
    struct weft_stream *s = ws->s;
    int err = 0;
    ws->s = NULL;
    ws->gone = true;
    if (ws->part_owner != NULL) {
        ws->part_owner = NULL;
        weft_semaphore_release(&ws->messages);
    }
    weft_event_set(&ws->left);
    if (abrupt)
        weft_abort(&s);
    else
        err = weft_close(&s, d);
    return err;
}

static int check(const struct weft_ws *ws, unsigned code, const char *reason)
{
    if (ws->s != NULL && ws->s->loop != NULL && ws->s->loop != weft_loop_current())
        return weft__fail(WEFT_ETHREAD, "the connection belongs to another loop; it stays open");
    if (!weft__ws_close_code_ok(code))
        return weft__fail(-EINVAL, "%u is no code for a close frame; the connection stays open",
                          code);
    return reason != NULL ? weft__ws_check_utf8(reason, strlen(reason)) : 0;
}

int weft_ws_close(struct weft_ws **ret, unsigned code, const char *reason, weft_deadline d)
{
    struct weft_ws *ws = *ret;
    if (ws == NULL)
        return 0;
    code = code != 0 ? code : WEFT__WS_NORMAL;
    int err = check(ws, code, reason);
    if (err < 0)
        return err;
    reason = reason != NULL ? reason : "";
    *ret = NULL;
    if (ws->callbacks) {
        weft__ws_close_callbacks(ws, code, reason);
        return 0;
    }
    ws->users++;
    if (ws->gone) {
        weft__ws_leave(ws);
        return WEFT_ECLOSED;
    }
    d = weft_earlier(d, weft_after_ns(ws->set.close_ns));
    err = shake_hands(ws, code, reason, strlen(reason), d);
    if (!ws->gone) {
        /* Where the peer has not gone along, more waiting helps nobody. */
        bool both = ws->close_sent && ws->close_got;
        int closed = let_go(ws, false, both || err == 0 ? d : WEFT_NOW);
        if (err == 0 && !both)
            err = closed;
    }
    weft__ws_leave(ws);
    return err;
}

void weft_ws_abort(struct weft_ws **ret)
{
    struct weft_ws *ws = *ret;
    if (ws == NULL)
        return;
    *ret = NULL;
    if (ws->callbacks) {
        weft__ws_abort_callbacks(ws, -ECONNABORTED);
        return;
    }
    ws->users++;
    if (!ws->gone)
        (void)let_go(ws, true, WEFT_NOW);
    weft__ws_leave(ws);
}
