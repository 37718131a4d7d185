/* SPDX-License-Identifier: MIT */
/*
 * The server that bench/ws.py measures: WebSocket, an echo to whoever sent a message or the message
 * to all, in tasks or in callbacks.
 *
 * Floor 6. usage: bench-ws ENDPOINT task|protocol echo|broadcast; the driver is what WEFT_DRIVER
 * says. Prints `listening ENDPOINT`, ends on SIGTERM. Who does not keep up misses messages.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include <weft/weft.h>

#define GUESTS 16384

static struct weft_ws *guests[GUESTS]; /* of one loop: no lock */
static int n_guests;

static void join(struct weft_ws *ws)
{
    if (n_guests < GUESTS)
        guests[n_guests++] = ws;
}

static void leave(const struct weft_ws *ws)
{
    for (int i = 0; i < n_guests; i++)
        if (guests[i] == ws) {
            guests[i] = guests[--n_guests];
            return;
        }
}

static int say_to_all(const struct weft_ws_message *m)
{
    struct weft_ws_encoded *e = NULL;
    int err = weft_ws_encode(&e, m->type, m->data, m->len, NULL);
    for (int i = 0; err == 0 && i < n_guests; i++) {
        int missed = weft_ws_send_encoded(guests[i], e, WEFT_NOW);
        (void)missed;
    }
    weft_ws_encoded_unref(e);
    return err;
}

/* --- Tasks ----------------------------------------------------------------------------------- */

static int serve(struct weft_stream *s, bool echo)
{
    struct weft_ws *ws = NULL;
    struct weft_ws_message m;
    int err = weft_ws_accept(&ws, &s, NULL, weft_after_s(10));
    if (ws != NULL)
        join(ws);
    while (err == 0 && weft_ws_read(ws, &m, WEFT_NEVER) > 0)
        err = echo ? weft_ws_write(ws, m.type, m.data, m.len, weft_after_s(60)) : say_to_all(&m);
    weft_close(&s, weft_after_s(10)); /* is ours only if no connection came of it */
    leave(ws);
    return ws != NULL ? weft_ws_close(&ws, 0, NULL, weft_after_s(10)) : err;
}

static int serve_echo(struct weft_stream *s, void *arg)
{
    (void)arg;
    return serve(s, true);
}

static int serve_broadcast(struct weft_stream *s, void *arg)
{
    (void)arg;
    return serve(s, false);
}

/* --- Callbacks ------------------------------------------------------------------------------- */

static int on_made(struct weft_ws *ws, void *arg)
{
    (void)arg;
    join(ws);
    return 0;
}

static int on_echo(struct weft_ws *ws, const struct weft_ws_message *m, void *conn)
{
    (void)conn;
    return weft_ws_write(ws, m->type, m->data, m->len, WEFT_NOW);
}

static int on_broadcast(struct weft_ws *ws, const struct weft_ws_message *m, void *conn)
{
    (void)ws, (void)conn;
    return say_to_all(m);
}

static void on_closed(struct weft_ws *ws, int error, void *conn)
{
    (void)error, (void)conn;
    leave(ws);
}

static const struct weft_ws_protocol echo_protocol = {
    .made = on_made, .message = on_echo, .closed = on_closed};
static const struct weft_ws_protocol broadcast_protocol = {
    .made = on_made, .message = on_broadcast, .closed = on_closed};

/* --- Serving --------------------------------------------------------------------------------- */

static int run(void *arg)
{
    static const int stop[] = {SIGINT, SIGTERM, 0};
    char **argv = arg;
    bool tasks = strcmp(argv[2], "task") == 0, echo = strcmp(argv[3], "echo") == 0;
    struct weft_group *g = NULL;
    struct weft_signals *signals = NULL;
    struct weft_ws_factory *f = NULL;
    struct weft_server *server = NULL;
    weft_handler handler = echo ? serve_echo : serve_broadcast;
    struct weft_server_options o = {.model = tasks ? WEFT_TASKS : WEFT_PROTOCOLS,
                                    .max_connections = GUESTS};
    char endpoint[WEFT_ENDPOINT_MAX];
    int r = weft_group_open(&g);
    if (r == 0)
        r = weft_signals_open(&signals, stop);
    if (r == 0 && !tasks)
        r = weft_ws_factory_open(&f, echo ? &echo_protocol : &broadcast_protocol, NULL, NULL, 0, 0);
    if (r == 0)
        r = weft_server_open(&server, g, argv[1], &o, f == NULL ? handler : NULL, NULL,
                             f != NULL ? weft_ws_factory_of(f) : NULL);
    if (r == 0)
        r = weft_server_endpoint(server, endpoint, sizeof endpoint);
    if (r < 0) {
        (void)fprintf(stderr, "bench-ws: %s: %s\n", weft_error_text(r), weft_error_detail());
    } else {
        printf("listening %s\n", endpoint);
        fflush(stdout);
        r = weft_signals_wait(signals, WEFT_NEVER);
    }
    (void)weft_group_close(&g);
    weft_ws_factory_close(&f);
    weft_signals_close(&signals);
    return r < 0 ? 1 : 0;
}

int main(int argc, char **argv)
{
    if (argc < 4)
        return 2;
    return weft_run(NULL, run, argv);
}
