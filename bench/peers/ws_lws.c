/* SPDX-License-Identifier: MIT */
/*
 * libwebsockets, its own poll loop, one thread. Floor 6.
 *
 * lws writes only in a "writeable" callback, so an answer waits for one; several are kept in a
 * bounded ring of each connection, and one callback writes all of them (lws buffers what the kernel
 * does not take, and then calls again). A message for all is kept once and counted.
 */
#include "common.h"

#include <libwebsockets.h>
#include <stdbool.h>

#define RING 64

struct message {
    int refs;
    size_t len;
    unsigned char *data; /* behind LWS_PRE bytes of room */
};

struct guest {
    struct lws *wsi;
    struct guest *next, **self;
    struct message *ring[RING];
    unsigned first, count;
    unsigned char *part; /* of a message that comes in pieces */
    size_t part_len;
};

static bool broadcast;
static struct guest *guests;

static struct message *message_new(const void *data, size_t len)
{
    struct message *m = malloc(sizeof *m + LWS_PRE + len);
    if (m == NULL)
        peer_die("malloc");
    m->refs = 0;
    m->len = len;
    m->data = (unsigned char *)(m + 1) + LWS_PRE;
    memcpy(m->data, data, len);
    return m;
}

static void message_unref(struct message *m)
{
    if (--m->refs <= 0)
        free(m);
}

static void give(struct guest *g, struct message *m)
{
    if (g->count == RING)
        return; /* does not keep up: misses it */
    m->refs++;
    g->ring[(g->first + g->count++) % RING] = m;
    lws_callback_on_writable(g->wsi);
}

static void got(struct guest *g, const void *data, size_t len)
{
    struct message *m = message_new(data, len);
    m->refs++;
    if (!broadcast)
        give(g, m);
    for (struct guest *o = broadcast ? guests : NULL; o != NULL; o = o->next)
        give(o, m);
    message_unref(m);
}

/* lws writes the head in front of the payload, the same one for all, so one copy does for many. */
static int write_all(struct guest *g)
{
    while (g->count > 0 && !lws_send_pipe_choked(g->wsi)) {
        struct message *m = g->ring[g->first];
        int n = lws_write(g->wsi, m->data, m->len, LWS_WRITE_BINARY);
        g->first = (g->first + 1) % RING;
        g->count--;
        message_unref(m);
        if (n < 0)
            return -1;
    }
    if (g->count > 0)
        lws_callback_on_writable(g->wsi);
    return 0;
}

static void collect(struct guest *g, const void *in, size_t len, bool last)
{
    if (g->part == NULL && last) {
        got(g, in, len);
        return;
    }
    g->part = realloc(g->part, g->part_len + len);
    if (g->part == NULL)
        peer_die("realloc");
    memcpy(g->part + g->part_len, in, len);
    g->part_len += len;
    if (last) {
        got(g, g->part, g->part_len);
        free(g->part);
        g->part = NULL;
        g->part_len = 0;
    }
}

static int callback(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in,
                    size_t len)
{
    struct guest *g = user;
    switch (reason) {
    case LWS_CALLBACK_ESTABLISHED:
        memset(g, 0, sizeof *g);
        g->wsi = wsi;
        g->next = guests;
        g->self = &guests;
        if (guests != NULL)
            guests->self = &g->next;
        guests = g;
        return 0;
    case LWS_CALLBACK_CLOSED:
        *g->self = g->next;
        if (g->next != NULL)
            g->next->self = g->self;
        while (g->count-- > 0) {
            message_unref(g->ring[g->first]);
            g->first = (g->first + 1) % RING;
        }
        free(g->part);
        return 0;
    case LWS_CALLBACK_RECEIVE:
        collect(g, in, len, lws_is_final_fragment(wsi) && lws_remaining_packet_payload(wsi) == 0);
        return 0;
    case LWS_CALLBACK_SERVER_WRITEABLE:
        return write_all(g);
    default:
        return 0;
    }
}

int main(int argc, char **argv)
{
    static const struct lws_protocols protocols[] = {{.name = "ws",
                                                      .callback = callback,
                                                      .per_session_data_size = sizeof(struct guest),
                                                      .rx_buffer_size = 16384},
                                                     {.name = NULL}};
    struct lws_context_creation_info info = {.protocols = protocols};
    uint16_t port = peer_begin(argc, argv);
    broadcast = strcmp(peer_option(argc, argv, "--mode", "echo"), "broadcast") == 0;
    lws_set_log_level(LLL_ERR, NULL);
    info.port = CONTEXT_PORT_NO_LISTEN_SERVER;
    info.gid = (gid_t)-1;
    info.uid = (uid_t)-1;
    info.pt_serv_buf_size = 32768;
    info.options = LWS_SERVER_OPTION_EXPLICIT_VHOSTS;
    struct lws_context *context = lws_create_context(&info);
    if (context == NULL)
        return 1;
    info.port = port;
    info.iface = "127.0.0.1";
    struct lws_vhost *host = lws_create_vhost(context, &info);
    if (host == NULL)
        return 1;
    printf("listening tcp://127.0.0.1:%d\n", lws_get_vhost_listen_port(host));
    fflush(stdout);
    while (lws_service(context, 0) >= 0)
        continue;
    return 0;
}
