/* SPDX-License-Identifier: MIT */
/* The PROXY protocol. See proxy_protocol.h. Floor 0. */
#include "wire/proxy_protocol.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "base/base.h"
#include "base/error.h"

#define V1_MAX 107u

static const char signature[12] = "\r\n\r\n\0\r\nQUIT\n";

/* Whether the bytes so far are a beginning of `whole`. */
static bool begins(const char *data, size_t len, const char *whole, size_t n)
{
    return memcmp(data, whole, weft__min_size(len, n)) == 0;
}

static void set(struct weft_address *a, int family, const void *host, unsigned port)
{
    *a = (struct weft_address){.len = 0};
    if (family == AF_INET) {
        struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
        memcpy(&in.sin_addr, host, 4);
        memcpy(&a->sa, &in, sizeof in);
        a->len = sizeof in;
    } else {
        struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
        memcpy(&in6.sin6_addr, host, 16);
        memcpy(&a->sa, &in6, sizeof in6);
        a->len = sizeof in6;
    }
}

/* --- Version 1 -------------------------------------------------------------------------------- */

/* A decimal port without sign or leading zeros; -1. */
static int port_of(const char *text)
{
    int port = 0;
    if (text[0] == '\0' || (text[0] == '0' && text[1] != '\0'))
        return -1;
    for (; *text != '\0'; text++) {
        if (*text < '0' || *text > '9')
            return -1;
        port = port * 10 + (*text - '0');
        if (port > 65535)
            return -1;
    }
    return port;
}

/* "TCP4 1.2.3.4 5.6.7.8 80 90", cut up. */
static int parse_words(struct weft__pp *ret, char *line)
{
    char *words[5], *rest = line;
    for (int i = 0; i < 5; i++) {
        words[i] = strsep(&rest, " ");
        if (words[i] == NULL)
            return WEFT_EPROTOCOL;
    }
    int family = strcmp(words[0], "TCP4") == 0 ? AF_INET : AF_INET6;
    int from = port_of(words[3]), to = port_of(words[4]);
    uint8_t a[16], b[16];
    if ((family == AF_INET6 && strcmp(words[0], "TCP6") != 0) || rest != NULL || from < 0 || to < 0)
        return WEFT_EPROTOCOL;
    if (inet_pton(family, words[1], a) != 1 || inet_pton(family, words[2], b) != 1)
        return WEFT_EPROTOCOL;
    set(&ret->from, family, a, (unsigned)from);
    set(&ret->to, family, b, (unsigned)to);
    return 0;
}

static int parse_v1(struct weft__pp *ret, const char *data, size_t len)
{
    char line[V1_MAX + 1];
    size_t limit = weft__min_size(len, V1_MAX);
    const char *end = memchr(data, '\n', limit);
    if (end == NULL)
        return len >= V1_MAX ? weft__fail(WEFT_EPROTOCOL, "PROXY: no end within 107 bytes") : 0;
    size_t n = (size_t)(end - data);
    if (n < 7 || data[n - 1] != '\r' || memchr(data, '\0', n) != NULL)
        return weft__fail(WEFT_EPROTOCOL, "PROXY: the line does not end with CR LF");
    memcpy(line, data + 6, n - 7);
    line[n - 7] = '\0';
    if (strncmp(line, "UNKNOWN", 7) == 0 && (line[7] == '\0' || line[7] == ' '))
        return (int)n + 1;
    if (parse_words(ret, line) < 0)
        return weft__fail(WEFT_EPROTOCOL, "PROXY: not two addresses and two ports");
    return (int)n + 1;
}

/* --- Version 2 -------------------------------------------------------------------------------- */

static unsigned u16(const uint8_t *at)
{
    return (unsigned)at[0] << 8 | at[1];
}

static int parse_v2(struct weft__pp *ret, const uint8_t *data, size_t len)
{
    if (len < 16)
        return 0;
    unsigned command = data[12], family = data[13], n = u16(data + 14);
    if (command != 0x20 && command != 0x21)
        return weft__fail(WEFT_EPROTOCOL, "PROXY: version and command 0x%02x", command);
    if (16 + n > WEFT__PP_MAX)
        return weft__fail(WEFT_EPROTOCOL, "PROXY: a header of %u bytes; at most %u", 16 + n,
                          WEFT__PP_MAX);
    if (len < 16 + n)
        return 0;
    /* what is assigned and not known here falls back to "unknown"; LOCAL ignores it all */
    if (command == 0x21 && (family >> 4 > 3 || (family & 15) > 2))
        return weft__fail(WEFT_EPROTOCOL, "PROXY: family and protocol 0x%02x", family);
    size_t size = family == 0x11 ? 4 : family == 0x21 ? 16 : 0;
    if (command == 0x21 && size > 0) {
        const uint8_t *at = data + 16;
        if (n < 2 * size + 4)
            return weft__fail(WEFT_EPROTOCOL, "PROXY: %u bytes of addresses", n);
        int af = size == 4 ? AF_INET : AF_INET6;
        set(&ret->from, af, at, u16(at + 2 * size));
        set(&ret->to, af, at + size, u16(at + 2 * size + 2));
    }
    return 16 + (int)n;
}

int weft__pp_parse(struct weft__pp *ret, const void *data, size_t len)
{
    struct weft__pp pp = {.from.len = 0};
    int n;
    if (len == 0)
        return 0;
    if (begins(data, len, signature, sizeof signature))
        n = parse_v2(&pp, data, len);
    else if (begins(data, len, "PROXY ", 6))
        n = parse_v1(&pp, data, len);
    else
        return weft__fail(WEFT_EPROTOCOL, "a PROXY header is missing");
    if (n > 0)
        *ret = pp;
    return n;
}

/* --- Writing ---------------------------------------------------------------------------------- */

/* Host and port of an address; the length of the host, 0 for what is not of TCP. */
static size_t parts(const struct weft_address *a, uint8_t host[16], unsigned *port)
{
    if (a->len > 0 && a->sa.ss_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, &a->sa, sizeof in);
        memcpy(host, &in.sin_addr, 4);
        *port = ntohs(in.sin_port);
        return 4;
    }
    if (a->len > 0 && a->sa.ss_family == AF_INET6) {
        struct sockaddr_in6 in6;
        memcpy(&in6, &a->sa, sizeof in6);
        memcpy(host, &in6.sin6_addr, 16);
        *port = ntohs(in6.sin6_port);
        return 16;
    }
    return 0;
}

size_t weft__pp_write(uint8_t buf[WEFT__PP_WRITE_MAX], int version, const struct weft_address *from,
                      const struct weft_address *to)
{
    uint8_t a[16], b[16];
    unsigned from_port = 0, to_port = 0;
    size_t n = parts(from, a, &from_port);
    if (parts(to, b, &to_port) != n)
        n = 0;
    if (version == 1) {
        char x[INET6_ADDRSTRLEN], y[INET6_ADDRSTRLEN];
        int af = n == 4 ? AF_INET : AF_INET6;
        if (n == 0)
            return (size_t)snprintf((char *)buf, WEFT__PP_WRITE_MAX, "PROXY UNKNOWN\r\n");
        return (size_t)snprintf((char *)buf, WEFT__PP_WRITE_MAX, "PROXY TCP%d %s %s %u %u\r\n",
                                n == 4 ? 4 : 6, inet_ntop(af, a, x, sizeof x),
                                inet_ntop(af, b, y, sizeof y), from_port, to_port);
    }
    size_t more = n > 0 ? 2 * n + 4 : 0;
    memcpy(buf, signature, sizeof signature);
    buf[12] = 0x21;
    buf[13] = n == 4 ? 0x11 : n == 16 ? 0x21 : 0;
    buf[14] = 0;
    buf[15] = (uint8_t)more;
    if (n == 0)
        return 16;
    memcpy(buf + 16, a, n);
    memcpy(buf + 16 + n, b, n);
    uint8_t *at = buf + 16 + 2 * n;
    at[0] = (uint8_t)(from_port >> 8);
    at[1] = (uint8_t)from_port;
    at[2] = (uint8_t)(to_port >> 8);
    at[3] = (uint8_t)to_port;
    return 16 + more;
}
