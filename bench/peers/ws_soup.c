/* SPDX-License-Identifier: MIT */
/*
 * libsoup 3 on GLib's main loop, one thread, no extensions. A message for all is one GBytes, which
 * the library copies into the frame of each receiver. Floor 6.
 */
#include "common.h"

#include <libsoup/soup.h>
#include <stdbool.h>

static bool broadcast;
static GHashTable *guests;

static void on_message(SoupWebsocketConnection *c, gint type, GBytes *m, gpointer user)
{
    GHashTableIter i;
    gpointer g;
    (void)user;
    if (!broadcast) {
        soup_websocket_connection_send_message(c, type, m);
        return;
    }
    g_hash_table_iter_init(&i, guests);
    while (g_hash_table_iter_next(&i, &g, NULL))
        if (soup_websocket_connection_get_state(g) == SOUP_WEBSOCKET_STATE_OPEN)
            soup_websocket_connection_send_message(g, type, m);
}

static void on_closed(SoupWebsocketConnection *c, gpointer user)
{
    (void)user;
    g_hash_table_remove(guests, c);
}

static void on_open(SoupServer *s, SoupServerMessage *msg, const char *path,
                    SoupWebsocketConnection *c, gpointer user)
{
    (void)s, (void)msg, (void)path, (void)user;
    g_hash_table_add(guests, g_object_ref(c));
    g_signal_connect(c, "message", G_CALLBACK(on_message), NULL);
    g_signal_connect(c, "closed", G_CALLBACK(on_closed), NULL);
}

int main(int argc, char **argv)
{
    GError *error = NULL;
    guint port = peer_begin(argc, argv);
    broadcast = strcmp(peer_option(argc, argv, "--mode", "echo"), "broadcast") == 0;
    guests = g_hash_table_new_full(NULL, NULL, g_object_unref, NULL);
    SoupServer *server = soup_server_new(NULL, NULL);
    soup_server_remove_websocket_extension(server, SOUP_TYPE_WEBSOCKET_EXTENSION_DEFLATE);
    soup_server_add_websocket_handler(server, "/ws", NULL, NULL, on_open, NULL, NULL);
    if (!soup_server_listen_local(server, port, SOUP_SERVER_LISTEN_IPV4_ONLY, &error)) {
        fprintf(stderr, "%s\n", error->message);
        return 1;
    }
    GSList *uris = soup_server_get_uris(server);
    printf("listening tcp://127.0.0.1:%d\n", g_uri_get_port(uris->data));
    fflush(stdout);
    g_main_loop_run(g_main_loop_new(NULL, FALSE));
    return 0;
}
