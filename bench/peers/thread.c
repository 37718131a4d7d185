/* SPDX-License-Identifier: MIT */
/*
 * A thread per connection with blocking calls: what socketserver's ThreadingTCPServer is, in C.
 * Floor 6. Detached threads with 64 KiB stacks; each owns its socket and a 16 KiB buffer.
 */
#define _GNU_SOURCE
#include "common.h"

#include <pthread.h>

static void *serve(void *arg)
{
    int fd = (int)(intptr_t)arg;
    char buf[PEER_BUFFER];
    ssize_t n;
    while ((n = recv(fd, buf, sizeof(buf), 0)) > 0) {
        for (ssize_t off = 0; off < n;) {
            ssize_t sent = send(fd, buf + off, (size_t)(n - off), MSG_NOSIGNAL);
            if (sent < 0) {
                goto out;
            }
            off += sent;
        }
    }
out:
    close(fd);
    return NULL;
}

int main(int argc, char **argv)
{
    int listener = peer_listen(peer_begin(argc, argv), 0);
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attr, 65536);
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0) {
            continue;
        }
        pthread_t thread;
        if (pthread_create(&thread, &attr, serve, (void *)(intptr_t)fd) != 0) {
            close(fd);
        }
    }
}
