/* SPDX-License-Identifier: MIT */
/*
 * Servers behind proxies: who is trusted to send PROXY headers, and taking them off.
 *
 * Floor 3. Invariant: only those who are named are believed; they must send a header, and nothing
 * is guessed of others.
 */
#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#include "base/alloc.h"
#include "net/server.h"
#include "wire/proxy_protocol.h"

#define PROXIES_MAX 64

struct weft__proxies {
    bool all;
    size_t n;
    struct {
        struct weft_address address;
        int bits;
    } of[PROXIES_MAX];
};

/* The bytes of an address; IPv4 within IPv6 as IPv4. */
static size_t bytes_of(const struct weft_address *a, uint8_t b[16])
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
    if (a->sa.ss_family == AF_INET) {
        memcpy(&in, &a->sa, sizeof in);
        memcpy(b, &in.sin_addr, 4);
        return 4;
    }
    if (a->sa.ss_family != AF_INET6)
        return 0;
    memcpy(&in6, &a->sa, sizeof in6);
    memcpy(b, &in6.sin6_addr, 16);
    if (memcmp(b, mapped, sizeof mapped) != 0)
        return 16;
    memmove(b, b + 12, 4);
    return 4;
}

static int read_one(struct weft__proxies *p, const char *at, size_t len)
{
    char text[80];
    struct weft_address a;
    if (len == 1 && at[0] == '*') {
        p->all = true;
        return 0;
    }
    if (len == 0 || len >= sizeof text || p->n == PROXIES_MAX)
        return weft__fail(-EINVAL, "proxy_from: %s",
                          len == 0 ? "an address is missing" : "too many, or too long an address");
    memcpy(text, at, len);
    text[len] = '\0';
    char *slash = strchr(text, '/');
    if (slash != NULL)
        *slash++ = '\0';
    if (weft_address_ip(&a, text, 0) < 0)
        return weft__fail(-EINVAL, "proxy_from: '%s' is no address", text);
    int most = a.sa.ss_family == AF_INET ? 32 : 128, bits = slash != NULL ? 0 : most;
    for (const char *c = slash; c != NULL && (*c != '\0' || c == slash); c++) {
        bits = *c >= '0' && *c <= '9' ? bits * 10 + (*c - '0') : most + 1;
        if (bits > most)
            return weft__fail(-EINVAL, "proxy_from: %s/%s: 0 to %d bits", text, slash, most);
    }
    uint8_t bytes[16];
    if (most == 128 && bytes_of(&a, bytes) == 4) { /* IPv4 within IPv6 */
        if (bits < 96)
            return weft__fail(-EINVAL, "proxy_from: %s/%d: 96 to 128 bits", text, bits);
        bits -= 96;
    }
    p->of[p->n].address = a;
    p->of[p->n++].bits = bits;
    return 0;
}

int weft__proxies_open(struct weft__proxies **ret, const char *text)
{
    struct weft__proxies *p = weft__calloc(1, sizeof *p);
    int err = p != NULL ? 0 : -ENOMEM;
    while (err == 0) {
        text += strspn(text, " ");
        size_t n = strcspn(text, ", ");
        err = read_one(p, text, n);
        text += n;
        text += strspn(text, " ");
        if (*text == '\0')
            break;
        if (err == 0 && *text++ != ',')
            err = weft__fail(-EINVAL, "proxy_from: a comma is missing");
    }
    if (err < 0) {
        weft__free(p);
        return err;
    }
    *ret = p;
    return 0;
}

bool weft__proxies_trust(const struct weft__proxies *p, const struct weft_address *peer)
{
    uint8_t a[16], b[16];
    size_t n = bytes_of(peer, a);
    for (size_t i = 0; i < p->n && !p->all; i++) {
        int bits = p->of[i].bits, whole = bits / 8, rest = bits % 8;
        if (n == 0 || bytes_of(&p->of[i].address, b) != n || memcmp(a, b, (size_t)whole) != 0)
            continue;
        if (rest == 0 || ((a[whole] ^ b[whole]) & (0xff00 >> rest) & 0xff) == 0)
            return true;
    }
    return p->all;
}

int weft__proxies_meet(const struct weft__proxies *p, struct weft__conn *c, weft_deadline d)
{
    struct weft_address peer = {.len = 0};
    struct weft__pp pp;
    const void *data;
    size_t need = 1;
    if (weft_stream_peer(c->stream, &peer) < 0 || !weft__proxies_trust(p, &peer))
        return 0;
    for (;;) {
        ssize_t n = weft_peek_min(c->stream, &data, need, d);
        if (n == 0)
            return weft__fail(WEFT_EEOF, "the proxy hung up without a PROXY header");
        if (n < 0)
            return (int)n;
        int len = weft__pp_parse(&pp, data, (size_t)n);
        if (len < 0)
            return len;
        if (len > 0) {
            weft_consume(c->stream, (size_t)len);
            c->told = pp.from;
            return 0;
        }
        need = (size_t)n + 1;
    }
}
