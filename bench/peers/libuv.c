/* SPDX-License-Identifier: MIT */
/*
 * libuv, as its experts write it: one read buffer for the whole loop (the data is used up
 * before the callback returns), uv_try_write first, and only what the socket did not take is
 * copied into a write request, during which reading is stopped. Floor 6.
 */
#define _GNU_SOURCE
#include "common.h"

#include <uv.h>

struct pending {
    uv_write_t req;
    char data[];
};

static char read_buffer[65536];

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    (void)handle;
    (void)suggested;
    *buf = uv_buf_init(read_buffer, sizeof(read_buffer));
}

static void on_close(uv_handle_t *handle)
{
    free(handle);
}

static void on_read(uv_stream_t *stream, ssize_t nread, const uv_buf_t *buf);

static void on_written(uv_write_t *req, int status)
{
    uv_stream_t *stream = req->handle;
    free(req);
    if (status == 0) {
        uv_read_start(stream, on_alloc, on_read);
    } else if (!uv_is_closing((uv_handle_t *)stream)) {
        uv_close((uv_handle_t *)stream, on_close);
    }
}

static void on_read(uv_stream_t *stream, ssize_t nread, const uv_buf_t *buf)
{
    if (nread < 0) {
        uv_close((uv_handle_t *)stream, on_close);
        return;
    }
    if (nread == 0) {
        return;
    }
    uv_buf_t out = uv_buf_init(buf->base, (unsigned)nread);
    int sent = uv_try_write(stream, &out, 1);
    if (sent == nread) {
        return;
    }
    size_t rest = (size_t)(nread - (sent > 0 ? sent : 0));
    struct pending *p = malloc(sizeof(*p) + rest);
    if (!p) {
        uv_close((uv_handle_t *)stream, on_close);
        return;
    }
    memcpy(p->data, buf->base + nread - rest, rest);
    out = uv_buf_init(p->data, (unsigned)rest);
    uv_read_stop(stream);
    if (uv_write(&p->req, stream, &out, 1, on_written) < 0) {
        free(p);
        uv_close((uv_handle_t *)stream, on_close);
    }
}

static void on_connection(uv_stream_t *server, int status)
{
    if (status < 0) {
        return;
    }
    uv_tcp_t *client = malloc(sizeof(*client));
    if (!client) {
        return;
    }
    uv_tcp_init(server->loop, client);
    if (uv_accept(server, (uv_stream_t *)client) == 0) {
        uv_read_start((uv_stream_t *)client, on_alloc, on_read);
    } else {
        uv_close((uv_handle_t *)client, on_close);
    }
}

int main(int argc, char **argv)
{
    uint16_t port = peer_begin(argc, argv);
    uv_loop_t *loop = uv_default_loop();
    uv_tcp_t server;
    uv_tcp_init(loop, &server);
    if (uv_tcp_open(&server, peer_listen(port, SOCK_NONBLOCK)) < 0 ||
        uv_listen((uv_stream_t *)&server, PEER_BACKLOG, on_connection) < 0) {
        peer_die("uv_listen");
    }
    return uv_run(loop, UV_RUN_DEFAULT);
}
