/* SPDX-License-Identifier: MIT */
/*
 * Connecting to one address.
 *
 * Floor 3. Invariants: only weft__dial_fd waits, and only in the connect; until a descriptor is
 * handed out it is closed on every way out.
 */
#include "net/dial.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>

#include "net/stream.h"
#include "sys/call.h"

static int set_int(int fd, int level, int name, int value)
{
    return weft__call_setsockopt(fd, level, name, &value, sizeof value);
}

static int bind_local(int fd, const struct weft__dial_how *h, int family)
{
    int err = 0;
    if (family != AF_UNIX && weft_address_port(&h->local) == 0)
        /* The kernel then picks the port at connect, so one address serves many peers. */
        (void)set_int(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
    else if (family != AF_UNIX)
        err = set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (err < 0)
        return err;
    return weft__call_bind(fd, (const struct sockaddr *)&h->local.sa, h->local.len);
}

int weft__dial_socket(const struct weft__dial_how *h, int family)
{
    int fd = weft__call_socket(family, SOCK_STREAM, 0);
    if (fd < 0)
        return fd;
    int err = 0;
    if (family != AF_UNIX && h->interface[0] != '\0')
        err = weft__call_setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, h->interface,
                                    (socklen_t)strlen(h->interface) + 1);
    if (err == 0 && h->local.len > 0)
        err = bind_local(fd, h, family);
    if (err == 0 && family != AF_UNIX && h->fast_open)
        (void)set_int(fd, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1); /* where it can be had */
    if (err == 0 && family != AF_UNIX && h->user_timeout_ms > 0)
        err = set_int(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, h->user_timeout_ms);
    if (err < 0) {
        weft__call_close(fd);
        return err;
    }
    return fd;
}

/*
 * Where nobody listens on a local port of the range that the kernel takes ports from, it may give
 * the same port to our side, and TCP then connects the socket to itself (RFC 9293, section 3.5:
 * simultaneous open).
 */
static bool is_own_peer(int fd, const struct weft__dial_how *h, const struct weft_address *to)
{
    struct weft_address local;
    return h->local.len == 0 && weft__socket_local(fd, &local) == 0 &&
           weft_address_equal(&local, to);
}

int weft__dial_settle(int fd, const struct weft__dial_how *h, const struct weft_address *to)
{
    int err = 0;
    if (to->sa.ss_family == AF_UNIX)
        return 0;
    if (is_own_peer(fd, h, to))
        return -ECONNREFUSED;
    if (!h->no_delay_off)
        err = weft__socket_no_delay(fd);
    if (err == 0 && h->keepalive_s > 0) {
        err = set_int(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
        if (err == 0)
            err = set_int(fd, IPPROTO_TCP, TCP_KEEPIDLE, h->keepalive_s);
        if (err == 0)
            err = set_int(fd, IPPROTO_TCP, TCP_KEEPINTVL, h->keepalive_s);
    }
    return err;
}

int weft__dial_fd(const struct weft__dial_how *h, const struct weft_address *to, weft_deadline d)
{
    struct weft__io io;
    int fd = weft__dial_socket(h, to->sa.ss_family);
    if (fd < 0)
        return fd;
    io.op = (struct weft__op){
        .kind = WEFT__OP_CONNECT,
        .fd = fd,
        .u.connect = {.addr = (const struct sockaddr *)&to->sa, .addrlen = to->len}};
    int err = weft__await(&io, "connect", d);
    if (err == 0)
        err = weft__dial_settle(fd, h, to);
    if (err < 0) {
        /* Abrupt: a connection to oneself must not linger, either. */
        weft__fd_close(weft_loop_current(), fd, true);
        return err;
    }
    return fd;
}
