/* SPDX-License-Identifier: MIT */
/*
 * The raw epoll echo server: the yardstick of the epoll driver. Floor 6.
 *
 *   --buffer own     one 16 KiB buffer per connection
 *   --buffer shared  one for all; what the socket does not take at once is copied out of it
 *
 * Edge-triggered, one epoll_ctl per connection for its whole life. A read that does not fill the
 * buffer has emptied the socket (epoll(7)), so the usual message costs its share of an
 * epoll_wait, one recv and one send. The exception is a peer that has shut down its sending
 * side: then the end of the stream must be read too.
 *
 * Invariants: bytes [off, len) of `buf` are owed to the peer; nothing is read while any are. No
 * connection owes bytes of the shared buffer when conn_run returns.
 */
#define _GNU_SOURCE
#include "common.h"

#include <errno.h>
#include <stdbool.h>
#include <sys/epoll.h>

#define EVENTS 1024

struct conn {
    int fd;
    bool eof_ahead;
    uint32_t off;
    uint32_t len;
    struct conn *next_free;
    char *buf;
};

static struct conn *free_conns;
static bool shared;
static char shared_buf[PEER_BUFFER];

static struct conn *conn_new(int fd)
{
    struct conn *c = free_conns;
    if (c) {
        free_conns = c->next_free;
    } else {
        c = malloc(sizeof(*c) + (shared ? 0 : PEER_BUFFER));
        if (!c) {
            peer_die("malloc");
        }
        c->buf = shared ? shared_buf : (char *)(c + 1);
    }
    c->fd = fd;
    c->eof_ahead = false;
    c->off = c->len = 0;
    return c;
}

/* Shared buffer only: the bytes still owed get a place of their own. */
static bool rest_keep(struct conn *c)
{
    if (c->buf != shared_buf) {
        return true;
    }
    char *rest = malloc(c->len - c->off);
    if (!rest) {
        return false;
    }
    c->len -= c->off;
    memcpy(rest, shared_buf + c->off, c->len);
    c->off = 0;
    c->buf = rest;
    return true;
}

static void rest_drop(struct conn *c)
{
    if (shared && c->buf != shared_buf) {
        free(c->buf);
        c->buf = shared_buf;
        c->len = 0;
    }
}

static void conn_close(struct conn *c)
{
    close(c->fd);
    rest_drop(c);
    c->next_free = free_conns;
    free_conns = c;
}

/* Echoes until the socket would block; false when the connection is over. */
static bool conn_run(struct conn *c)
{
    for (;;) {
        while (c->off < c->len) {
            ssize_t n = send(c->fd, c->buf + c->off, c->len - c->off, MSG_NOSIGNAL);
            if (n < 0) {
                return errno == EAGAIN && rest_keep(c);
            }
            c->off += (uint32_t)n;
        }
        rest_drop(c);
        if (c->len > 0 && c->len < PEER_BUFFER && !c->eof_ahead) {
            c->off = c->len = 0;
            return true;
        }
        ssize_t n = recv(c->fd, c->buf, PEER_BUFFER, 0);
        if (n <= 0) {
            c->off = c->len = 0;
            return n < 0 && errno == EAGAIN;
        }
        c->off = 0;
        c->len = (uint32_t)n;
    }
}

static void accept_all(int epoll, int listener)
{
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            return;
        }
        struct epoll_event ev = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
                                 .data.ptr = conn_new(fd)};
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &ev) < 0) {
            conn_close(ev.data.ptr);
        }
    }
}

int main(int argc, char **argv)
{
    shared = strcmp(peer_option(argc, argv, "--buffer", "own"), "shared") == 0;
    int listener = peer_listen(peer_begin(argc, argv), SOCK_NONBLOCK);
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = NULL};
    if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &ev) < 0) {
        peer_die("epoll");
    }
    static struct epoll_event evs[EVENTS];
    for (;;) {
        int n = epoll_wait(epoll, evs, EVENTS, -1);
        for (int i = 0; i < n; i++) {
            struct conn *c = evs[i].data.ptr;
            if (!c) {
                accept_all(epoll, listener);
                continue;
            }
            c->eof_ahead |= (evs[i].events & EPOLLRDHUP) != 0;
            if ((evs[i].events & (EPOLLHUP | EPOLLERR)) || !conn_run(c)) {
                conn_close(c);
            }
        }
    }
}
