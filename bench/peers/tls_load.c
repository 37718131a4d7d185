/* SPDX-License-Identifier: MIT */
/*
 * The load for the benchmark of TLS servers, over OpenSSL alone. Floor 6.
 *
 *   tls_load PORT SECONDS echo CONNECTIONS BYTES
 *   tls_load PORT SECONDS full|resumed send|wait
 *
 * echo: messages on connections that are made first, one in flight on each. Prints "ready" when
 * they are there, then the number of messages, and that of the connections.
 *
 * full, resumed: connect, shake hands, one byte, close, one after the other. send: an echo server,
 * which gets a byte and sends it back; wait: a server that speaks first. The byte that comes has
 * the tickets before it, with which the next connection goes on where that is asked for. Prints the
 * number of handshakes, and how many of them were resumed.
 *
 * TLS 1.3 with X25519. Connections end with a reset, so that no port stays in TIME_WAIT.
 */
#define _GNU_SOURCE
#include "common.h"

#include <fcntl.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <sys/epoll.h>
#include <time.h>

static SSL_SESSION *kept;

static int on_session(SSL *ssl, SSL_SESSION *session)
{
    (void)ssl;
    SSL_SESSION_free(kept);
    kept = session;
    return 1;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int connect_to(uint16_t port)
{
    struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct linger reset = {.l_onoff = 1};
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset) < 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) < 0 ||
        connect(fd, (struct sockaddr *)&to, sizeof to) < 0) {
        peer_die("connect");
    }
    return fd;
}

/* Whether it was resumed. */
static bool one(SSL_CTX *ctx, uint16_t port, bool resume, bool send_first)
{
    int fd = connect_to(port);
    char c = 'x';
    SSL *ssl = SSL_new(ctx);
    if (resume && kept) {
        SSL_set_session(ssl, kept);
    }
    if (!ssl || !SSL_set_fd(ssl, fd) || SSL_connect(ssl) != 1 ||
        (send_first && SSL_write(ssl, &c, 1) != 1) || SSL_read(ssl, &c, 1) != 1) {
        fprintf(stderr, "a handshake failed\n");
        exit(1);
    }
    bool resumed = SSL_session_reused(ssl);
    SSL_set_shutdown(ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN); /* else it is thrown away */
    SSL_free(ssl);
    close(fd);
    return resumed;
}

/* --- Echo ---------------------------------------------------------------------------------------
 */

struct talker {
    SSL *ssl;
    int fd, sent, got;
};

static char message[PEER_BUFFER], answer[PEER_BUFFER];

/* Goes on with one connection as far as it goes: how many messages came back. */
static long talk(struct talker *t, int size)
{
    long n = 0;
    for (;;) {
        int res = t->sent < size ? SSL_write(t->ssl, message + t->sent, size - t->sent)
                                 : SSL_read(t->ssl, answer, size - t->got);
        if (res <= 0) {
            int why = SSL_get_error(t->ssl, res);
            if (why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE) {
                fprintf(stderr, "a connection ended\n");
                exit(1);
            }
            return n;
        }
        *(t->sent < size ? &t->sent : &t->got) += res;
        if (t->got == size) {
            t->sent = t->got = 0;
            n++;
        }
    }
}

static struct talker *talkers_open(SSL_CTX *ctx, uint16_t port, int count, int epoll)
{
    struct talker *all = calloc((size_t)count, sizeof *all);
    for (int i = 0; all && i < count; i++) {
        struct talker *t = &all[i];
        struct epoll_event ev = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = t};
        t->fd = connect_to(port);
        t->ssl = SSL_new(ctx);
        if (!t->ssl || !SSL_set_fd(t->ssl, t->fd) || SSL_connect(t->ssl) != 1 ||
            fcntl(t->fd, F_SETFL, O_NONBLOCK) < 0 ||
            epoll_ctl(epoll, EPOLL_CTL_ADD, t->fd, &ev) < 0) {
            peer_die("talker");
        }
    }
    return all;
}

static void echo(SSL_CTX *ctx, uint16_t port, double seconds, int count, int size)
{
    static struct epoll_event evs[1024];
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    long messages = 0;
    SSL_CTX_set_read_ahead(ctx, 1);
    SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    struct talker *all = talkers_open(ctx, port, count, epoll);
    puts("ready");
    fflush(stdout);
    double until = now() + seconds;
    while (all && now() < until) {
        int n = epoll_wait(epoll, evs, 1024, 1000);
        for (int i = 0; i < n; i++) {
            messages += talk(evs[i].data.ptr, size);
        }
    }
    printf("%ld %d\n", messages, count);
}

int main(int argc, char **argv)
{
    if (argc != 5 && argc != 6) {
        fprintf(stderr, "usage: see the file's head\n");
        return 2;
    }
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    uint16_t port = (uint16_t)atoi(argv[1]);
    long n = 0, resumed = 0;
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(ctx, on_session);
    SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION);
    SSL_CTX_set1_groups_list(ctx, "X25519");
    peer_begin(argc, argv); /* no SIGPIPE, many descriptors */
    double until = now() + atof(argv[2]);
    if (strcmp(argv[3], "echo") == 0) {
        echo(ctx, port, atof(argv[2]), atoi(argv[4]), atoi(argv[5]));
        return 0;
    }
    for (; now() < until; n++) {
        resumed += one(ctx, port, strcmp(argv[3], "resumed") == 0, strcmp(argv[4], "send") == 0);
    }
    printf("%ld %ld\n", n, resumed);
    return 0;
}
