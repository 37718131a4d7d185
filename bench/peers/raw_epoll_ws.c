/* SPDX-License-Identifier: MIT */
/*
 * The reference of the WebSocket benchmark: level-triggered epoll, a shared receive buffer, frames
 * unmasked in place, one send for what one receive brought. No fragments, no control frames, no
 * queue, no timers: what is left out here is what a server has to do besides. Floor 6.
 *
 * To all: one frame is built for a batch of messages and sent to each; who does not take it whole
 * is cut off.
 */
#define _GNU_SOURCE
#include "common.h"

#include <openssl/evp.h>
#include <openssl/sha.h>
#include <stdbool.h>
#include <sys/epoll.h>

#define BUF (256 * 1024)
#define EVENTS 64
#define FDS 32768

static unsigned char in[BUF + 16], out[BUF];
static struct conn {
    bool open;
    unsigned char *rest;
    size_t rest_len;
} conns[FDS];
static int guests[FDS], n_guests;
static bool broadcast;

static void end(int fd)
{
    for (int i = 0; i < n_guests; i++) {
        if (guests[i] == fd)
            guests[i--] = guests[--n_guests];
    }
    free(conns[fd].rest);
    memset(&conns[fd], 0, sizeof conns[fd]);
    close(fd);
}

static bool shake_hands(int fd, const char *request)
{
    char key[128], text[256];
    unsigned char digest[SHA_DIGEST_LENGTH], code[32];
    const char *at = strcasestr(request, "sec-websocket-key: ");
    if (at == NULL || sscanf(at + 19, "%24s", key) != 1)
        return false;
    strcat(key, "258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    SHA1((unsigned char *)key, strlen(key), digest);
    EVP_EncodeBlock(code, digest, sizeof digest);
    int n = snprintf(text, sizeof text,
                     "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                     "Connection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
                     code);
    conns[fd].open = true;
    guests[n_guests++] = fd;
    return send(fd, text, (size_t)n, MSG_NOSIGNAL) == n;
}

static void unmask(unsigned char *to, const unsigned char *from, size_t len, uint32_t key)
{
    uint64_t k = (uint64_t)key << 32 | key, w;
    size_t i = 0;
    for (; i + 8 <= len; i += 8) {
        memcpy(&w, from + i, 8);
        w ^= k;
        memcpy(to + i, &w, 8);
    }
    for (; i < len; i++)
        to[i] = from[i] ^ (unsigned char)(key >> (8 * (i & 3)));
}

/* The frames of a client at data become a server's at out; *made bytes. Returns the bytes used. */
static size_t turn_round(const unsigned char *data, size_t len, size_t *made)
{
    size_t at = 0, o = 0;
    while (len - at >= 6) {
        const unsigned char *f = data + at;
        size_t n = f[1] & 127, head = 2;
        if (n == 126) {
            n = (size_t)f[2] << 8 | f[3];
            head = 4;
        }
        if (len - at < head + 4 + n)
            break;
        uint32_t key;
        memcpy(&key, f + head, 4);
        out[o] = f[0];
        out[o + 1] = f[1] & 127;
        memcpy(out + o + 2, f + 2, head - 2);
        unmask(out + o + head, f + head + 4, n, key);
        o += head + n;
        at += head + 4 + n;
    }
    *made = o;
    return at;
}

static void serve(int fd)
{
    struct conn *c = &conns[fd];
    size_t len = c->rest_len, made;
    if (len > 0)
        memcpy(in, c->rest, len);
    ssize_t n = recv(fd, in + len, BUF / 2 - len, MSG_DONTWAIT);
    if (n <= 0) {
        end(fd);
        return;
    }
    len += (size_t)n;
    if (!c->open) {
        in[len] = '\0';
        if (strstr((char *)in, "\r\n\r\n") == NULL || !shake_hands(fd, (char *)in))
            end(fd);
        return;
    }
    size_t used = turn_round(in, len, &made);
    c->rest_len = len - used;
    if (c->rest_len > 0) {
        c->rest = c->rest != NULL ? c->rest : malloc(BUF / 2);
        memcpy(c->rest, in + used, c->rest_len);
    }
    if (made == 0)
        return;
    for (int i = broadcast ? n_guests - 1 : -1; i >= 0; i--)
        if (send(guests[i], out, made, MSG_DONTWAIT | MSG_NOSIGNAL) != (ssize_t)made)
            end(guests[i]);
    if (!broadcast && send(fd, out, made, MSG_DONTWAIT | MSG_NOSIGNAL) != (ssize_t)made)
        end(fd);
}

int main(int argc, char **argv)
{
    static struct epoll_event evs[EVENTS];
    uint16_t port = peer_begin(argc, argv);
    broadcast = strcmp(peer_option(argc, argv, "--mode", "echo"), "broadcast") == 0;
    int epoll = epoll_create1(EPOLL_CLOEXEC), listener = peer_listen(port, 0);
    struct epoll_event ev = {.events = EPOLLIN, .data.fd = listener};
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &ev);
    for (;;) {
        int n = epoll_wait(epoll, evs, EVENTS, -1);
        for (int i = 0; i < n; i++) {
            int fd = evs[i].data.fd;
            if (fd != listener) {
                serve(fd);
                continue;
            }
            fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
            if (fd < 0 || fd >= FDS)
                continue;
            ev.data.fd = fd;
            epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &ev);
        }
    }
}
