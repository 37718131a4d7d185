/* SPDX-License-Identifier: MIT */
/*
 * Options of simulated stream sockets: those of socket(7), tcp(7), ip(7), ipv6(7) that programs
 * set, and the keep-alive that some of them are about. What has no meaning here is refused with
 * -ENOPROTOOPT, not ignored (floor 1).
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>

#include "sys/sim/sock.h"

#define BUFFER_MIN 4608

/* --- Keep-alive ------------------------------------------------------------------------------- */

static void keepalive_due(struct weft__event *e)
{
    struct weft__sock *s = WEFT__CONTAINER_OF(e, struct weft__sock, timer);
    weft__path_refresh(s->out);
    weft__path_refresh(s->in);
    if (s->out->cut || s->in->cut || s->out->to->dark) {
        if (s->tries++ >= s->keep_count)
            weft__sock_fail(s, -ETIMEDOUT);
        else
            (void)weft__event_set(s->desc.world, &s->timer,
                                  s->desc.world->now_ns + s->keep_interval_s * INT64_C(1000000000));
        return;
    }
    if (s->peer == NULL || s->peer->desc.crashed) {
        weft__sock_fail(s, -ECONNRESET);
        return;
    }
    weft__sock_keepalive(s);
}

void weft__sock_keepalive(struct weft__sock *s)
{
    if (s->state != WEFT__SOCK_CONNECTED || s->out == NULL)
        return;
    s->tries = 0;
    if (!s->keepalive) {
        weft__event_del(s->desc.world, &s->timer);
        return;
    }
    s->timer.fn = keepalive_due;
    (void)weft__event_set(s->desc.world, &s->timer,
                          s->desc.world->now_ns + s->keep_idle_s * INT64_C(1000000000));
}

/* --- Setting ---------------------------------------------------------------------------------- */

static int buffer_size(int value, uint32_t *to)
{
    /* Doubled, as socket(7) says, and never less than Linux's minimum. */
    int64_t bytes = weft__max_i64(2 * (int64_t)value, BUFFER_MIN);
    *to = (uint32_t)weft__min_i64(bytes, 64 << 20);
    return 0;
}

static int flag(int value, bool *to)
{
    *to = value != 0;
    return 0;
}

static int number(int value, int32_t *to)
{
    if (value < 0)
        return -EINVAL;
    *to = value;
    return 0;
}

static int set_socket(struct weft__sock *s, int name, int value)
{
    uint32_t before = s->rcvbuf;
    switch (name) {
    case SO_REUSEADDR:
        return flag(value, &s->reuse_addr);
    case SO_REUSEPORT:
        return flag(value, &s->reuse_port);
    case SO_KEEPALIVE:
        s->keepalive = value != 0;
        weft__sock_keepalive(s);
        return 0;
    case SO_SNDBUF:
        return buffer_size(value, &s->sndbuf);
    case SO_RCVBUF:
        buffer_size(value, &s->rcvbuf);
        if (s->state != WEFT__SOCK_FRESH && s->state != WEFT__SOCK_LISTENING)
            s->rcvbuf = before; /* the window was told already */
        return 0;
    default:
        return -ENOPROTOOPT;
    }
}

static int set_tcp(struct weft__sock *s, int name, int value)
{
    int err;
    switch (name) {
    case TCP_NODELAY:
        return flag(value, &s->no_delay);
    case TCP_KEEPIDLE:
        err = number(value, &s->keep_idle_s);
        break;
    case TCP_KEEPINTVL:
        err = number(value, &s->keep_interval_s);
        break;
    case TCP_KEEPCNT:
        err = number(value, &s->keep_count);
        break;
    case TCP_USER_TIMEOUT:
        return number(value, &s->user_timeout_ms);
    default:
        return -ENOPROTOOPT;
    }
    if (err == 0)
        weft__sock_keepalive(s);
    return err;
}

int weft__sock_set(struct weft__desc *d, int level, int name, const void *value, socklen_t len)
{
    struct weft__sock *s = weft__sock_of(d);
    int number_value = 0;
    if (s->pipe_in || s->pipe_out)
        return -ENOTSOCK;
    if (level == SOL_SOCKET && name == SO_LINGER) {
        struct linger l;
        if (len < sizeof l)
            return -EINVAL;
        memcpy(&l, value, sizeof l);
        s->linger_reset = l.l_onoff != 0 && l.l_linger == 0;
        return 0;
    }
    if (level == SOL_SOCKET && (name == SO_ATTACH_FILTER || name == SO_DETACH_FILTER)) {
        /* The one filter that the library has: it keeps SYNs from a listener. */
        if (s->backlog == NULL)
            return -ENOPROTOOPT;
        s->backlog->drop_syn = name == SO_ATTACH_FILTER;
        return 0;
    }
    if (len < sizeof number_value)
        return -EINVAL;
    memcpy(&number_value, value, sizeof number_value);
    if (level == SOL_SOCKET)
        return set_socket(s, name, number_value);
    if (s->domain == AF_UNIX)
        return -EOPNOTSUPP;
    if (level == IPPROTO_TCP)
        return set_tcp(s, name, number_value);
    if (level == IPPROTO_IPV6 && name == IPV6_V6ONLY && s->domain == AF_INET6)
        return s->port != NULL ? -EINVAL : flag(number_value, &s->v6only);
    if (level == IPPROTO_IP && name == IP_BIND_ADDRESS_NO_PORT)
        return 0; /* ports are chosen at connect in any case */
    return -ENOPROTOOPT;
}

/* --- Asking ----------------------------------------------------------------------------------- */

static int get_socket(struct weft__sock *s, int name, int *value)
{
    switch (name) {
    case SO_TYPE:
        *value = SOCK_STREAM;
        return 0;
    case SO_DOMAIN:
        *value = s->domain;
        return 0;
    case SO_PROTOCOL:
        *value = s->domain == AF_UNIX ? 0 : IPPROTO_TCP;
        return 0;
    case SO_ACCEPTCONN:
        *value = s->state == WEFT__SOCK_LISTENING;
        return 0;
    case SO_ERROR:
        *value = -s->error;
        s->error = 0;
        return 0;
    case SO_REUSEADDR:
        *value = s->reuse_addr;
        return 0;
    case SO_REUSEPORT:
        *value = s->reuse_port;
        return 0;
    case SO_KEEPALIVE:
        *value = s->keepalive;
        return 0;
    case SO_SNDBUF:
        *value = (int)s->sndbuf;
        return 0;
    case SO_RCVBUF:
        *value = (int)s->rcvbuf;
        return 0;
    default:
        return -ENOPROTOOPT;
    }
}

static int get_tcp(const struct weft__sock *s, int name, int *value)
{
    switch (name) {
    case TCP_NODELAY:
        *value = s->no_delay;
        return 0;
    case TCP_KEEPIDLE:
        *value = s->keep_idle_s;
        return 0;
    case TCP_KEEPINTVL:
        *value = s->keep_interval_s;
        return 0;
    case TCP_KEEPCNT:
        *value = s->keep_count;
        return 0;
    case TCP_USER_TIMEOUT:
        *value = s->user_timeout_ms;
        return 0;
    default:
        return -ENOPROTOOPT;
    }
}

int weft__sock_get(struct weft__desc *d, int level, int name, void *value, socklen_t *len)
{
    struct weft__sock *s = weft__sock_of(d);
    int n = 0, err = -ENOPROTOOPT;
    if (s->pipe_in || s->pipe_out)
        return -ENOTSOCK;
    if (level == SOL_SOCKET && name == SO_LINGER) {
        struct linger l = {.l_onoff = s->linger_reset};
        if (*len < sizeof l)
            return -EINVAL;
        memcpy(value, &l, sizeof l);
        *len = sizeof l;
        return 0;
    }
    if (level == SOL_SOCKET)
        err = get_socket(s, name, &n);
    else if (level == IPPROTO_TCP && s->domain != AF_UNIX)
        err = get_tcp(s, name, &n);
    else if (level == IPPROTO_IPV6 && name == IPV6_V6ONLY && s->domain == AF_INET6) {
        n = s->v6only;
        err = 0;
    }
    if (err < 0)
        return err;
    *len = (socklen_t)weft__min_size(*len, sizeof n);
    memcpy(value, &n, *len);
    return 0;
}
