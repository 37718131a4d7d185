/* SPDX-License-Identifier: MIT */
/*
 * Through a proxy: reading what it is, asking it for the connection, and telling a peer on whose
 * behalf one comes (the PROXY protocol).
 *
 * Floor 4. Invariant: bytes that the peer sends behind a proxy's answer stay in the stream.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "dial/dial.h"
#include "net/query.h"
#include "wire/proxy_protocol.h"

/* --- "socks5://user:password@host:port" ------------------------------------------------------- */

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* A part of it, in which %HH stands for a byte, on the heap. */
static int decode(char **ret, const char *at, size_t len, size_t before)
{
    size_t n = 0;
    char *text = weft__alloc(len + 1);
    if (text == NULL)
        return -ENOMEM;
    *ret = text;
    for (size_t i = 0; i < len; i++) {
        char c = at[i];
        if (c == '%') {
            if (len - i < 3 || hex_value(at[i + 1]) < 0 || hex_value(at[i + 2]) < 0 ||
                (at[i + 1] == '0' && at[i + 2] == '0'))
                return weft__fail(WEFT_EENDPOINT, "proxy, character %zu: '%%' begins no %%HH",
                                  before + i + 1);
            c = (char)(hex_value(at[i + 1]) << 4 | hex_value(at[i + 2]));
            i += 2;
        }
        text[n++] = c;
    }
    text[n] = '\0';
    return n <= WEFT__PROXY_TEXT_MAX
               ? 0
               : weft__fail(WEFT_EENDPOINT, "proxy, character %zu: over %u characters", before + 1,
                            WEFT__PROXY_TEXT_MAX);
}

/* "host:port"; a slash may end it, and without a port that is the scheme's. */
static int read_place(struct weft__via *v, const char *text, const char *port)
{
    char at[WEFT_ENDPOINT_MAX], was[sizeof(struct weft__detail)] = "";
    size_t len = strlen(text);
    if (len > 0 && text[len - 1] == '/')
        len--;
    const char *close = text[0] == '[' ? memchr(text, ']', len) : NULL;
    size_t host_len = close != NULL ? (size_t)(close - text) : 0;
    bool given = memchr(text + host_len, ':', len - host_len) != NULL;
    (void)snprintf(at, sizeof at, "tcp://%.*s%s%s", (int)weft__min_size(len, sizeof at), text,
                   given ? "" : ":", given ? "" : port);
    int err = weft_endpoint_parse(&v->at, at);
    if (err < 0) {
        (void)strncpy(was, weft_error_detail(), sizeof was - 1);
        return weft__fail(err, "proxy %.80s: %s", at, was);
    }
    if (v->at.port == 0 || v->at.any || v->at.query[0] != '\0')
        return weft__fail(WEFT_EENDPOINT, "proxy %.80s: no host and port of a proxy", at);
    return 0;
}

int weft__via_read(struct weft__via *v, const char *text)
{
    bool socks = strncmp(text, "socks5://", 9) == 0;
    *v = (struct weft__via){.kind = socks ? WEFT__PROXY_SOCKS5 : WEFT__PROXY_HTTP};
    if (!socks && strncmp(text, "http://", 7) != 0)
        return weft__fail(WEFT_EENDPOINT,
                          "proxy, character 1: it begins with none of socks5://, http://");
    size_t start = socks ? 9 : 7;
    const char *user = text + start, *host = strrchr(user, '@');
    int err = 0;
    if (host != NULL) {
        size_t len = (size_t)(host - user), n = strcspn(user, ":");
        n = n < len ? n : len;
        err = decode(&v->user, user, n, start);
        if (err == 0 && n < len)
            err = decode(&v->password, user + n + 1, len - n - 1, start + n + 1);
    }
    if (err < 0)
        return err;
    return read_place(v, host != NULL ? host + 1 : user, socks ? "1080" : "80");
}

void weft__via_fini(struct weft__via *v)
{
    weft__free(v->user);
    weft__free(v->password);
    *v = (struct weft__via){.kind = WEFT__PROXY_NONE};
}

int weft__plan_proxy(struct weft__plan *p, const struct weft_dial_options *o)
{
    char buf[WEFT_QUERY_MAX + 1];
    const char *text = o->proxy;
    if (weft_endpoint_option(&p->to, "proxy", buf, sizeof buf) > 0)
        text = buf;
    p->send_proxy = weft__query_number(&p->to, "send-proxy", o->send_proxy);
    if (p->send_proxy < 0 || p->send_proxy > 2)
        return weft__fail(-EINVAL, "send_proxy %d: versions 1 and 2 can be had", p->send_proxy);
    if (o->proxy_from != NULL)
        p->proxy_from = *o->proxy_from;
    if (o->proxy_to != NULL)
        p->proxy_to = *o->proxy_to;
    if (text == NULL)
        return 0;
    if (p->to.kind == WEFT_ENDPOINT_UNIX || p->to.any)
        return weft__fail(-EINVAL, "%s cannot be reached through a proxy", p->text);
    return weft__via_read(&p->via, text);
}

/* --- Asking it -------------------------------------------------------------------------------- */

static int converse(struct weft__proxy *x, struct weft_stream *s, weft_deadline d)
{
    int err = weft__proxy_start(x);
    for (;;) {
        const void *data;
        size_t used;
        if (err == 0 && x->out_len > 0) {
            err = weft_write(s, x->out, x->out_len, d);
            x->out_len = 0;
        }
        if (err != 0)
            return err < 0 ? err : 0;
        ssize_t n = weft_peek(s, &data, d);
        if (n == 0)
            return weft__fail(WEFT_EEOF, "the proxy hung up");
        if (n < 0)
            return (int)n;
        err = weft__proxy_feed(x, data, (size_t)n, &used);
        weft_consume(s, used);
    }
}

int weft__proxy_ask(const struct weft__plan *p, struct weft_stream *s, weft_deadline d)
{
    char number[INET6_ADDRSTRLEN] = "";
    const struct weft_address *a = &p->to.address;
    if (p->to.host[0] == '\0' && a->sa.ss_family == AF_INET)
        (void)inet_ntop(AF_INET, &((const struct sockaddr_in *)&a->sa)->sin_addr, number,
                        sizeof number);
    else if (p->to.host[0] == '\0')
        (void)inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)&a->sa)->sin6_addr, number,
                        sizeof number);
    struct weft__proxy *x = weft__calloc(1, sizeof *x); /* large for a task's stack */
    if (x == NULL)
        return -ENOMEM;
    x->kind = p->via.kind;
    x->host = number[0] != '\0' ? number : p->to.host;
    x->port = p->to.port;
    x->user = p->via.user;
    x->password = p->via.password;
    int err = converse(x, s, d);
    weft__free(x);
    return err;
}

int weft__proxy_tell(const struct weft__plan *p, struct weft_stream *s, weft_deadline d)
{
    uint8_t buf[WEFT__PP_WRITE_MAX];
    struct weft_address from = p->proxy_from, to = p->proxy_to;
    int err = 0;
    if (from.len == 0)
        err = weft_stream_local(s, &from);
    if (err == 0 && to.len == 0)
        err = weft_stream_peer(s, &to);
    if (err < 0)
        return err;
    return weft_write(s, buf, weft__pp_write(buf, p->send_proxy, &from, &to), d);
}
