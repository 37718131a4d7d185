/* SPDX-License-Identifier: MIT */
/*
 * 17: a chat over WebSocket, 17_websocket_chat ENDPOINT. What one guest says is encoded once and
 * sent to all. Who does not read misses messages, and nobody waits for him. (Python:
 * websockets.broadcast.)
 */
#include "http_serve.h"

#define GUESTS 256
struct guest {
    struct weft_ws *ws;
    struct weft_channel *mine; /* encoded messages on their way to him */
};
static struct guest *guests[GUESTS]; /* of one loop: no lock */

static int writer(void *arg)
{
    struct guest *g = arg;
    struct weft_ws_encoded *m;
    int err = 0;
    while (err == 0 && (err = weft_channel_recv(g->mine, &m, WEFT_NEVER)) == 0) {
        err = weft_ws_send_encoded(g->ws, m, weft_after_s(60));
        weft_ws_encoded_unref(m);
    }
    return 0; /* the reader sees what ended the connection */
}

static int say_to_all(const struct weft_ws_message *said)
{
    struct weft_ws_encoded *m = NULL;
    int err = weft_ws_encode(&m, said->type, said->data, said->len, NULL);
    for (int i = 0; err == 0 && i < GUESTS; i++) {
        struct weft_ws_encoded *his = guests[i] != NULL ? weft_ws_encoded_ref(m) : NULL;
        if (his != NULL && weft_channel_send_nowait(guests[i]->mine, &his) < 0)
            weft_ws_encoded_unref(his); /* he does not read: he misses it */
    }
    weft_ws_encoded_unref(m);
    return err;
}

static int chat(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    struct guest me = {0};
    struct weft_ws_message said;
    struct weft_ws_encoded *left;
    struct weft_group *group = NULL;
    int seat = 0, err = weft_http_websocket(q, r, &me.ws, arg);
    if (err != 0)
        return err; /* a refusal, which the server answers */
    while (seat < GUESTS - 1 && guests[seat] != NULL)
        seat++;
    err = guests[seat] != NULL ? WEFT_ELIMIT : weft_channel_open(&me.mine, sizeof left, 64);
    if (err == 0 && (err = weft_group_open(&group)) == 0)
        err = weft_group_go(group, "writer", writer, &me);
    if (err == 0) {
        guests[seat] = &me;
        while (err == 0 && weft_ws_read(me.ws, &said, WEFT_NEVER) > 0)
            err = say_to_all(&said);
        guests[seat] = NULL;
    }
    (void)weft_group_close(&group);
    while (me.mine != NULL && weft_channel_recv_nowait(me.mine, &left) == 0)
        weft_ws_encoded_unref(left);
    weft_channel_close(&me.mine);
    return weft_ws_close(&me.ws, err == WEFT_ELIMIT ? 1013 : 1000, NULL, weft_after_s(1));
}

static int run(void *arg)
{
    struct weft_http_app *app = NULL;
    int err = weft_http_app_open(&app);
    err = err < 0 ? err : weft_http_route(app, "GET /chat", chat, NULL);
    return serve_app(err, app, ((char **)arg)[1], NULL);
}

int main(int argc, char **argv)
{
    return argc < 2 ? 2 : weft_run(NULL, run, argv);
}
