/* SPDX-License-Identifier: MIT */
/*
 * civetweb: a pool of threads, one for each connection that is open; blocking writes under each
 * connection's lock. Floor 6.
 */
#include "common.h"

#include <civetweb.h>
#include <pthread.h>
#include <stdbool.h>

#define GUESTS 16384

static bool broadcast;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct mg_connection *guests[GUESTS];
static int n_guests;

static void on_ready(struct mg_connection *c, void *arg)
{
    (void)arg;
    pthread_mutex_lock(&mutex);
    guests[n_guests++] = c;
    pthread_mutex_unlock(&mutex);
}

static int on_data(struct mg_connection *c, int bits, char *data, size_t len, void *arg)
{
    (void)arg;
    int opcode = bits & 15;
    if (opcode > MG_WEBSOCKET_OPCODE_BINARY)
        return opcode != MG_WEBSOCKET_OPCODE_CONNECTION_CLOSE;
    if (!broadcast) {
        mg_websocket_write(c, opcode, data, len);
        return 1;
    }
    pthread_mutex_lock(&mutex);
    for (int i = 0; i < n_guests; i++)
        mg_websocket_write(guests[i], opcode, data, len);
    pthread_mutex_unlock(&mutex);
    return 1;
}

static void on_close(const struct mg_connection *c, void *arg)
{
    (void)arg;
    pthread_mutex_lock(&mutex);
    for (int i = 0; i < n_guests; i++)
        if (guests[i] == c)
            guests[i--] = guests[--n_guests];
    pthread_mutex_unlock(&mutex);
}

int main(int argc, char **argv)
{
    char where[64];
    const char *options[] = {"listening_ports",
                             where,
                             "num_threads",
                             "1100",
                             "tcp_nodelay",
                             "1",
                             "websocket_timeout_ms",
                             "3600000",
                             "listen_backlog",
                             "2000",
                             "connection_queue",
                             "1200",
                             NULL};
    struct mg_callbacks callbacks = {0};
    struct mg_server_port port;
    snprintf(where, sizeof where, "127.0.0.1:%u", (unsigned)peer_begin(argc, argv));
    broadcast = strcmp(peer_option(argc, argv, "--mode", "echo"), "broadcast") == 0;
    mg_init_library(0);
    struct mg_context *context = mg_start(&callbacks, NULL, options);
    if (context == NULL || mg_get_server_ports(context, 1, &port) != 1)
        return 1;
    mg_set_websocket_handler(context, "/ws", NULL, on_ready, on_data, on_close, NULL);
    printf("listening tcp://127.0.0.1:%d\n", port.port);
    fflush(stdout);
    for (;;)
        pause();
}
