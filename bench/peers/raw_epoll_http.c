/* SPDX-License-Identifier: MIT */
/*
 * The floor of an HTTP server: epoll, one thread, a fixed reply for every blank line that comes,
 * answers of one read in one send. Nothing is parsed, so nobody can serve for less by this way.
 *
 * usage: raw_epoll_http PORT
 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

static const char reply[] = "HTTP/1.1 200 OK\r\nServer: raw\r\n"
                            "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Type: text/plain\r\n"
                            "Content-Length: 13\r\n\r\nHello, World!";

int main(int argc, char **argv)
{
    static char in[65536], out[65536 * 4];
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int one = 1, port = argc > 1 ? atoi(argv[1]) : 0;
    int ls = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), ep = epoll_create1(0);
    a.sin_port = htons((unsigned short)port);
    setsockopt(ls, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (ls < 0 || ep < 0 || bind(ls, (struct sockaddr *)&a, sizeof a) < 0 || listen(ls, 4096) < 0)
        return 1;
    socklen_t len = sizeof a;
    getsockname(ls, (struct sockaddr *)&a, &len);
    printf("listening tcp://127.0.0.1:%d\n", ntohs(a.sin_port));
    fflush(stdout);
    signal(SIGPIPE, SIG_IGN);
    struct epoll_event e = {.events = EPOLLIN, .data.fd = ls}, events[256];
    epoll_ctl(ep, EPOLL_CTL_ADD, ls, &e);
    for (;;) {
        int n = epoll_wait(ep, events, 256, -1);
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            if (fd == ls) {
                while ((fd = accept4(ls, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
                    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                    e = (struct epoll_event){.events = EPOLLIN | EPOLLET, .data.fd = fd};
                    epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e);
                }
                continue;
            }
            ssize_t got;
            while ((got = recv(fd, in, sizeof in, 0)) > 0) {
                size_t o = 0;
                for (char *at = in;
                     (at = memmem(at, (size_t)(in + got - at), "\r\n\r\n", 4)) != NULL &&
                     o + sizeof reply <= sizeof out;
                     at += 4) {
                    memcpy(out + o, reply, sizeof reply - 1);
                    o += sizeof reply - 1;
                }
                if (o > 0 && send(fd, out, o, MSG_NOSIGNAL) < 0)
                    break;
                if ((size_t)got < sizeof in)
                    break;
            }
            if (got == 0)
                close(fd);
        }
    }
}
