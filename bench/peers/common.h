/* SPDX-License-Identifier: MIT */
/*
 * What every C and C++ peer of the benchmark shares: the command line, the listening socket
 * and the first line of output. Floor 6 (a benchmark program; no Weft header at all).
 *
 * A peer binds 127.0.0.1 only, prints `listening tcp://127.0.0.1:PORT` as its first line and
 * runs until SIGTERM, whose default action ends it. TCP_NODELAY is set on the listener, from
 * which Linux hands it to accepted sockets, so that no peer pays a system call for it.
 */
#ifndef PEERS_COMMON_H
#define PEERS_COMMON_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define PEER_BUFFER 16384
#define PEER_BACKLOG 4096

static inline void peer_die(const char *what)
{
    perror(what);
    exit(1);
}

/* The value of option `name` on the command line, or `fallback`. */
static inline const char *peer_option(int argc, char **argv, const char *name, const char *fallback)
{
    for (int i = 1; i + 1 < argc; i++) {
        if (strcmp(argv[i], name) == 0) {
            return argv[i + 1];
        }
    }
    return fallback;
}

/* SIGPIPE off, file limit up; returns the port asked for with --port (0: any free one). */
static inline uint16_t peer_begin(int argc, char **argv)
{
    struct rlimit lim;
    if (getrlimit(RLIMIT_NOFILE, &lim) == 0) {
        lim.rlim_cur = lim.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &lim);
    }
    signal(SIGPIPE, SIG_IGN);
    return (uint16_t)atoi(peer_option(argc, argv, "--port", "0"));
}

static inline void peer_announce(int listener)
{
    struct sockaddr_in addr;
    socklen_t len = sizeof(addr);
    if (getsockname(listener, (struct sockaddr *)&addr, &len) < 0) {
        peer_die("getsockname");
    }
    printf("listening tcp://127.0.0.1:%u\n", (unsigned)ntohs(addr.sin_port));
    fflush(stdout);
}

/* A listening socket on 127.0.0.1, announced; `type_flags` is SOCK_NONBLOCK or 0. */
static inline int peer_listen(uint16_t port, int type_flags)
{
    int one = 1;
    struct sockaddr_in addr;
    memset(&addr, 0, sizeof(addr));
    addr.sin_family = AF_INET;
    addr.sin_port = htons(port);
    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | type_flags, 0);
    if (fd < 0) {
        peer_die("socket");
    }
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) < 0) {
        peer_die("setsockopt");
    }
    if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
        peer_die("bind");
    }
    if (listen(fd, PEER_BACKLOG) < 0) {
        peer_die("listen");
    }
    peer_announce(fd);
    return fd;
}

#endif
