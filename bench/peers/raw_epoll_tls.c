/* SPDX-License-Identifier: MIT */
/*
 * The raw epoll and OpenSSL echo server: the yardstick of TLS. Floor 6.
 *
 *   raw_epoll_tls --cert FILE --key FILE [--port N]
 *
 * Edge-triggered, OpenSSL on the socket itself, with its read-ahead on: so a usual message costs
 * one recv and one send, and OpenSSL keeps its buffers between messages (no
 * SSL_MODE_RELEASE_BUFFERS). TLS 1.3, tickets as by default.
 *
 * Invariants: bytes [off, len) of `buf` are owed to the peer; nothing is read while any are.
 */
#define _GNU_SOURCE
#include "common.h"

#include <errno.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <sys/epoll.h>

#define EVENTS 1024

struct conn {
    int fd;
    bool shaken;
    SSL *ssl;
    int off, len;
    char buf[PEER_BUFFER];
};

static SSL_CTX *ctx;

static void conn_close(struct conn *c)
{
    SSL_free(c->ssl);
    close(c->fd);
    free(c);
}

static struct conn *conn_new(int fd)
{
    struct conn *c = malloc(sizeof *c);
    if (!c || !(c->ssl = SSL_new(ctx)) || !SSL_set_fd(c->ssl, fd)) {
        peer_die("conn_new");
    }
    c->fd = fd;
    c->shaken = false;
    c->off = c->len = 0;
    SSL_set_accept_state(c->ssl);
    return c;
}

/* Whether the socket will say when it goes on. */
static bool later(struct conn *c, int res)
{
    int why = SSL_get_error(c->ssl, res);
    return why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE;
}

/* Echoes until the socket would block; false when the connection is over. */
static bool conn_run(struct conn *c)
{
    if (!c->shaken) {
        int res = SSL_accept(c->ssl);
        if (res != 1) {
            return later(c, res);
        }
        c->shaken = true;
    }
    for (;;) {
        while (c->off < c->len) {
            int n = SSL_write(c->ssl, c->buf + c->off, c->len - c->off);
            if (n <= 0) {
                return later(c, n);
            }
            c->off += n;
        }
        int n = SSL_read(c->ssl, c->buf, PEER_BUFFER);
        if (n <= 0) {
            c->off = c->len = 0;
            if (later(c, n)) {
                return true;
            }
            if (SSL_get_error(c->ssl, n) == SSL_ERROR_ZERO_RETURN) {
                (void)SSL_shutdown(c->ssl);
            }
            return false;
        }
        c->off = 0;
        c->len = n;
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

static void make_context(int argc, char **argv)
{
    ctx = SSL_CTX_new(TLS_server_method());
    if (!ctx || !SSL_CTX_set_ciphersuites(ctx, "TLS_AES_128_GCM_SHA256") || /* Weft's choice, too */
        !SSL_CTX_use_certificate_chain_file(ctx, peer_option(argc, argv, "--cert", "cert.pem")) ||
        !SSL_CTX_use_PrivateKey_file(ctx, peer_option(argc, argv, "--key", "key.pem"),
                                     SSL_FILETYPE_PEM)) {
        fprintf(stderr, "certificate or key\n");
        exit(1);
    }
    SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_read_ahead(ctx, 1);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
}

int main(int argc, char **argv)
{
    int listener = peer_listen(peer_begin(argc, argv), SOCK_NONBLOCK);
    make_context(argc, argv);
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
            } else if ((evs[i].events & (EPOLLHUP | EPOLLERR)) || !conn_run(c)) {
                conn_close(c);
            }
        }
    }
}
