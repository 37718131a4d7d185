/* SPDX-License-Identifier: MIT */
/*
 * Live connections beside a storm of handshakes: a load for servers that echo over TLS. Floor 6.
 *
 *   tls_storm PORT SECONDS LIVE PEERS [part | whole]
 *
 * LIVE connections are made first. Then, at PINGS_A_SECOND over all of them whatever the answers
 * do, a byte goes out on one and comes back; for SECONDS in quiet, and for SECONDS beside a second
 * thread in which PEERS at a time connect, say one and the same whole hello, and hang up at the
 * first byte of the answer: the server has made its keys and its signature then, and the storm has
 * computed nothing. Prints "ready", then one line: median and 99th percentile of the round trips in
 * quiet, the same and the longest in the storm, all in microseconds; answered hellos a second.
 *
 * With `part` or `whole` PEERS in all come, as fast as they can, and stay half open: they say
 * nothing or a part of a hello, by turns, or a whole hello, and then no more. The pings beside go
 * on until all have come, and for SECONDS beside them. The line is median and 99th percentile in
 * quiet, the same and the longest while they come, the same three while they stand.
 *
 * A round trip that has no answer at the end counts as long as it has taken until then.
 */
#define _GNU_SOURCE
#include "common.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/epoll.h>
#include <time.h>

#define PINGS_A_SECOND 1000
#define ROUNDS_MAX 200000

struct live {
    SSL *ssl;
    int64_t asked_ns; /* 0: no ping is under way */
};

static uint16_t port;
static char hello[2048];
static size_t hello_len;
static const char *half_open; /* "part", "whole"; NULL: they hang up */
static _Atomic bool stop, all_came;
static _Atomic long answered;

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int connect_to(int flags)
{
    struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct linger reset = {.l_onoff = 1};
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset) < 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) < 0 ||
        (connect(fd, (struct sockaddr *)&to, sizeof to) < 0 && errno != EINPROGRESS)) {
        peer_die("connect");
    }
    return fd;
}

/* --- The storm -------------------------------------------------------------------------------- */

static void make_hello(SSL_CTX *ctx)
{
    SSL *ssl = SSL_new(ctx);
    BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
    SSL_set_bio(ssl, in, out);
    SSL_set_connect_state(ssl);
    (void)SSL_do_handshake(ssl);
    int n = BIO_read(out, hello, sizeof hello);
    if (n <= 0) {
        peer_die("hello");
    }
    hello_len = (size_t)n;
    SSL_free(ssl);
}

static void begin_one(int epoll)
{
    int fd = connect_to(SOCK_NONBLOCK);
    struct epoll_event ev = {.events = EPOLLOUT, .data.fd = fd};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &ev) < 0) {
        peer_die("epoll_ctl");
    }
}

static void *storm(void *arg)
{
    struct epoll_event evs[256];
    int epoll = epoll_create1(EPOLL_CLOEXEC), peers = *(int *)arg;
    for (int i = 0; i < peers; i++) {
        begin_one(epoll);
    }
    while (!stop) {
        int n = epoll_wait(epoll, evs, 256, 100);
        for (int i = 0; i < n; i++) {
            int fd = evs[i].data.fd;
            char byte;
            if (evs[i].events & EPOLLOUT) {
                struct epoll_event ev = {.events = EPOLLIN, .data.fd = fd};
                (void)!send(fd, hello, hello_len, MSG_NOSIGNAL);
                (void)epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &ev);
                continue;
            }
            answered += recv(fd, &byte, 1, 0) == 1;
            close(fd);
            begin_one(epoll);
        }
    }
    return NULL; /* what is open ends with the process */
}

/* What they share with the pings, a core, is to be theirs only when those have had it. */
static void *come(void *arg)
{
    static const size_t parts[] = {0, 3, 5, 21};
    int peers = *(int *)arg;
    struct sched_param none = {0};
    if (pthread_setschedparam(pthread_self(), SCHED_IDLE, &none) != 0) {
        peer_die("SCHED_IDLE");
    }
    for (int i = 0; i < peers; i++) {
        size_t n = half_open[0] == 'p' ? parts[i % 4] : hello_len;
        int fd = connect_to(0);
        if (n > 0 && send(fd, hello, n, MSG_NOSIGNAL) != (ssize_t)n) {
            peer_die("send");
        }
    }
    all_came = true;
    return NULL;
}

/* --- Live connections ------------------------------------------------------------------------- */

static int64_t rounds[ROUNDS_MAX];
static size_t n_rounds;

static void note(const struct live *l)
{
    if (n_rounds < ROUNDS_MAX) {
        rounds[n_rounds++] = (now_ns() - l->asked_ns) / 1000;
    }
}

static struct live *open_live(SSL_CTX *ctx, int count, int epoll)
{
    struct live *all = calloc((size_t)count, sizeof *all);
    for (int i = 0; all && i < count; i++) {
        struct epoll_event ev = {.events = EPOLLIN | EPOLLET, .data.ptr = &all[i]};
        int fd = connect_to(0);
        char c = 'x';
        all[i].ssl = SSL_new(ctx);
        if (!all[i].ssl || !SSL_set_fd(all[i].ssl, fd) || SSL_connect(all[i].ssl) != 1 ||
            SSL_write(all[i].ssl, &c, 1) != 1 || SSL_read(all[i].ssl, &c, 1) != 1 ||
            fcntl(fd, F_SETFL, O_NONBLOCK) < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &ev) < 0) {
            peer_die("live connection");
        }
    }
    return all;
}

static void answers(int epoll, int64_t until)
{
    struct epoll_event evs[256];
    int64_t left = until - now_ns();
    struct timespec wait = {.tv_nsec = left > 0 ? left : 0};
    int n = epoll_pwait2(epoll, evs, 256, &wait, NULL);
    for (int i = 0; i < n; i++) {
        struct live *l = evs[i].data.ptr;
        char c;
        int got;
        while ((got = SSL_read(l->ssl, &c, 1)) == 1 && l->asked_ns > 0) {
            note(l);
            l->asked_ns = 0;
        }
        if (got <= 0 && SSL_get_error(l->ssl, got) != SSL_ERROR_WANT_READ) {
            fprintf(stderr, "a live connection ended\n");
            exit(1);
        }
    }
}

/* One connection after the other is asked at its time; one that has not answered is left out. */
static void ping(struct live *all, int count, int epoll, double seconds, bool until_come)
{
    int64_t began = now_ns(), until = began + (int64_t)(seconds * 1e9), due = began;
    n_rounds = 0;
    for (int at = 0; now_ns() < until && !(until_come && all_came);) {
        for (; due <= now_ns(); due += 1000000000 / PINGS_A_SECOND, at = (at + 1) % count) {
            if (all[at].asked_ns > 0) {
                continue;
            }
            all[at].asked_ns = due;
            if (SSL_write(all[at].ssl, "x", 1) != 1) {
                peer_die("ping");
            }
        }
        answers(epoll, due);
    }
    for (int i = 0; i < count; i++) {
        if (all[i].asked_ns > 0) {
            note(&all[i]);
        }
    }
    for (int64_t more = now_ns() + 5000000000; now_ns() < more;) { /* to a quiet begin */
        bool any = false;
        for (int i = 0; i < count; i++) {
            any |= all[i].asked_ns > 0;
        }
        size_t keep = n_rounds;
        if (!any) {
            break;
        }
        answers(epoll, now_ns() + 10000000);
        n_rounds = keep;
    }
}

static int by_size(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

static long at(int percent)
{
    return n_rounds > 0 ? (long)rounds[(n_rounds - 1) * (size_t)percent / 100] : 0;
}

/* The figures of a phase, in the order of the line. */
static void tell(bool longest)
{
    qsort(rounds, n_rounds, sizeof *rounds, by_size);
    printf(" %ld %ld", at(50), at(99));
    if (longest) {
        printf(" %ld", at(100));
    }
}

int main(int argc, char **argv)
{
    pthread_t thread;
    half_open = argc == 6 ? argv[5] : NULL;
    if (argc < 5 || argc > 6 ||
        (half_open && strcmp(half_open, "part") && strcmp(half_open, "whole"))) {
        fprintf(stderr, "usage: see the file's head\n");
        return 2;
    }
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    double seconds = atof(argv[2]);
    int live = atoi(argv[3]), peers = atoi(argv[4]), epoll = epoll_create1(EPOLL_CLOEXEC);
    port = (uint16_t)atoi(argv[1]);
    SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION);
    SSL_CTX_set1_groups_list(ctx, "X25519");
    peer_begin(argc, argv);
    make_hello(ctx);
    struct live *all = open_live(ctx, live, epoll);
    puts("ready");
    fflush(stdout);
    ping(all, live, epoll, seconds, false);
    tell(false);
    if (pthread_create(&thread, NULL, half_open ? come : storm, &peers) != 0) {
        peer_die("thread");
    }
    int64_t began = now_ns();
    ping(all, live, epoll, half_open ? 60 : seconds, half_open != NULL);
    long n = answered;
    double took = (double)(now_ns() - began) / 1e9;
    stop = true;
    (void)pthread_join(thread, NULL);
    tell(true);
    if (half_open) {
        ping(all, live, epoll, seconds, false);
        tell(true);
        puts("");
    } else {
        printf(" %ld\n", (long)((double)n / took));
    }
    return 0;
}
