/* SPDX-License-Identifier: MIT */
/*
 * libev: a watcher per connection, recv into one buffer of the loop's and send at once; only
 * what the socket did not take is copied, and the same watcher then waits for EV_WRITE instead
 * of EV_READ. Floor 6.
 */
#define _GNU_SOURCE
#include "common.h"

#include <errno.h>
#include <ev.h>

struct conn {
    ev_io io;
    size_t off;
    size_t len;
    char *rest;
};

static char buffer[65536];

static void conn_close(struct ev_loop *loop, struct conn *c)
{
    ev_io_stop(loop, &c->io);
    close(c->io.fd);
    free(c->rest);
    free(c);
}

static void wait_for(struct ev_loop *loop, struct conn *c, int events)
{
    ev_io_stop(loop, &c->io);
    ev_io_set(&c->io, c->io.fd, events);
    ev_io_start(loop, &c->io);
}

static void write_rest(struct ev_loop *loop, struct conn *c)
{
    ssize_t n = send(c->io.fd, c->rest + c->off, c->len - c->off, MSG_NOSIGNAL);
    if (n < 0) {
        if (errno != EAGAIN) {
            conn_close(loop, c);
        }
        return;
    }
    c->off += (size_t)n;
    if (c->off == c->len) {
        free(c->rest);
        c->rest = NULL;
        wait_for(loop, c, EV_READ);
    }
}

static void on_ready(struct ev_loop *loop, ev_io *io, int events)
{
    struct conn *c = (struct conn *)io;
    if (events & EV_WRITE) {
        write_rest(loop, c);
        return;
    }
    ssize_t n = recv(io->fd, buffer, sizeof(buffer), 0);
    if (n <= 0) {
        if (n == 0 || errno != EAGAIN) {
            conn_close(loop, c);
        }
        return;
    }
    ssize_t sent = send(io->fd, buffer, (size_t)n, MSG_NOSIGNAL);
    if (sent == n) {
        return;
    }
    if (sent < 0 && errno != EAGAIN) {
        conn_close(loop, c);
        return;
    }
    c->off = 0;
    c->len = (size_t)(n - (sent > 0 ? sent : 0));
    c->rest = malloc(c->len);
    if (!c->rest) {
        conn_close(loop, c);
        return;
    }
    memcpy(c->rest, buffer + n - c->len, c->len);
    wait_for(loop, c, EV_WRITE);
}

static void on_accept(struct ev_loop *loop, ev_io *io, int events)
{
    (void)events;
    for (;;) {
        int fd = accept4(io->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            return;
        }
        struct conn *c = calloc(1, sizeof(*c));
        if (!c) {
            close(fd);
            return;
        }
        ev_io_init(&c->io, on_ready, fd, EV_READ);
        ev_io_start(loop, &c->io);
    }
}

int main(int argc, char **argv)
{
    uint16_t port = peer_begin(argc, argv);
    struct ev_loop *loop = ev_default_loop(EVBACKEND_EPOLL | EVFLAG_NOENV);
    if (!loop) {
        peer_die("ev_default_loop");
    }
    ev_io listener;
    ev_io_init(&listener, on_accept, peer_listen(port, SOCK_NONBLOCK), EV_READ);
    ev_io_start(loop, &listener);
    return ev_run(loop, 0);
}
