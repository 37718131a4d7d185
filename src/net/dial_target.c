/* SPDX-License-Identifier: MIT */
/*
 * What dialling needs before and behind its one wait, the connect.
 *
 * Floor 3. Invariant: nothing here waits.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <unistd.h>

#include "net/dial.h"
#include "net/stream.h"
#include "sys/call.h"

int weft__dial_target(struct weft__dial_target *ret, const char *endpoint,
                      const struct weft_dial_options *o)
{
    struct weft__dial_target t = {0};
    struct weft_endpoint e;
    int err = weft_endpoint_parse(&e, endpoint);
    if (err < 0)
        return err;
    if (e.kind != WEFT_ENDPOINT_TCP && e.kind != WEFT_ENDPOINT_UNIX)
        return weft__fail(-EINVAL, "%s: only tcp:// and unix: can be dialled as streams", endpoint);
    t.address = e.address;
    t.family = e.address.sa.ss_family;
    if (e.kind == WEFT_ENDPOINT_TCP && weft_address_port(&e.address) == 0)
        return weft__fail(WEFT_EENDPOINT, "%s: port 0 cannot be connected to", endpoint);
    if (o != NULL)
        t.options = *o;
    if (t.options.bind != NULL) {
        struct weft_endpoint local;
        err = weft_endpoint_parse(&local, t.options.bind);
        if (err < 0)
            return err;
        if (local.address.sa.ss_family != e.address.sa.ss_family)
            return weft__fail(-EINVAL, "bind %s does not go with %s", t.options.bind, endpoint);
        t.local = local.address;
        t.options.bind = NULL; /* the caller's text; read now */
    }
    err = weft_endpoint_print(&e, t.text, sizeof t.text);
    if (err < 0)
        return err;
    *ret = t;
    return 0;
}

static int set_int(int fd, int level, int name, int value)
{
    return weft__call_setsockopt(fd, level, name, &value, sizeof value);
}

static int before_connect(int fd, const struct weft__dial_target *t)
{
    int err = 0;
    if (t->local.len > 0) {
        if (t->family != AF_UNIX && weft_address_port(&t->local) == 0)
            /* The kernel then picks the port at connect, so one address serves many peers. */
            (void)set_int(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
        else if (t->family != AF_UNIX)
            err = set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1);
        if (err == 0)
            err = weft__call_bind(fd, (const struct sockaddr *)&t->local.sa, t->local.len);
    }
    if (err == 0 && t->family != AF_UNIX && t->options.user_timeout_ms > 0)
        err = set_int(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, t->options.user_timeout_ms);
    return err;
}

int weft__dial_socket(const struct weft__dial_target *t)
{
    int fd = weft__call_socket(t->family, SOCK_STREAM, 0);
    if (fd < 0)
        return fd;
    int err = before_connect(fd, t);
    if (err < 0) {
        weft__call_close(fd);
        return err;
    }
    return fd;
}

int weft__dial_settle(int fd, const struct weft__dial_target *t)
{
    int err = 0;
    if (t->family == AF_UNIX)
        return 0;
    if (!t->options.no_delay_off)
        err = weft__socket_no_delay(fd);
    if (err == 0 && t->options.keepalive_s > 0) {
        err = set_int(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
        if (err == 0)
            err = set_int(fd, IPPROTO_TCP, TCP_KEEPIDLE, t->options.keepalive_s);
        if (err == 0)
            err = set_int(fd, IPPROTO_TCP, TCP_KEEPINTVL, t->options.keepalive_s);
    }
    return err;
}
