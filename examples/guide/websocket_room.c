/* SPDX-License-Identifier: MIT */
/* The room of docs/guide/websocket.md: what one member says, all hear; callbacks on the loop. */
#include <errno.h>
#include <stdio.h>
#include <weft/weft.h>

static struct weft_ws *members[1000];
static size_t n;

static int made(struct weft_ws *ws, void *arg)
{
    (void)arg;
    if (n == sizeof members / sizeof members[0])
        return -EUSERS; /* closes with 1011 */
    members[n++] = ws;
    return 0;
}

static int message(struct weft_ws *ws, const struct weft_ws_message *m, void *conn)
{
    struct weft_ws_encoded *e = NULL;
    (void)ws, (void)conn;
    int err = weft_ws_encode(&e, m->type, m->data, m->len, NULL);
    for (size_t i = 0; err == 0 && i < n; i++)
        if (weft_ws_send_encoded(members[i], e, WEFT_NOW) == -ENOBUFS)
            weft_ws_abort(&(struct weft_ws *){members[i]}); /* it reads too slowly */
    weft_ws_encoded_unref(e);
    return err;
}

static void closed(struct weft_ws *ws, int error, void *conn)
{
    (void)error, (void)conn;
    for (size_t i = 0; i < n; i++)
        if (members[i] == ws)
            members[i--] = members[--n];
}

static int serve(void *arg)
{
    static const struct weft_ws_protocol room = {
        .made = made, .message = message, .closed = closed};
    struct weft_server_options options = {.model = WEFT_PROTOCOLS};
    struct weft_ws_factory *f = NULL;
    struct weft_group *g = NULL;
    int err = weft_ws_factory_open(&f, &room, NULL, NULL, 0, 0);
    err = err < 0 ? err : weft_group_open(&g);
    err = err < 0 ? err : weft_serve_protocol(g, arg, &options, weft_ws_factory_of(f));
    err = err < 0 ? err : weft_group_wait(g, WEFT_NEVER);
    weft_group_close(&g);
    weft_ws_factory_close(&f);
    return err;
}

int main(int argc, char **argv)
{
    return weft_run(NULL, serve, argc > 1 ? argv[1] : "tcp://127.0.0.1:8888") < 0;
}
