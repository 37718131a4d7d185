/* SPDX-License-Identifier: MIT */
/*
 * 16: an echo over WebSocket. The handler's ten lines are all of it: pings are answered, messages
 * put together and the connection kept alive below them. (Python's websockets.serve, Tornado's
 * WebSocketHandler.)
 *
 *   16_websocket [ENDPOINT]      until it is killed; try it with guide_websocket_client URL hello
 */
#include <stdio.h>
#include <weft/weft.h>

static int echo(struct weft_stream *s, void *arg)
{
    struct weft_ws *ws = NULL;
    struct weft_ws_message m;
    int err = weft_ws_accept(&ws, &s, arg, weft_after_s(10));
    while (err == 0 && weft_ws_read(ws, &m, WEFT_NEVER) > 0)
        err = weft_ws_write(ws, m.type, m.data, m.len, weft_after_s(60));
    weft_close(&s, weft_after_s(10)); /* is ours only if no connection came of it */
    return ws != NULL ? weft_ws_close(&ws, 0, NULL, weft_after_s(10)) : err;
}

#define HANDLER echo
#include "serve.h"
