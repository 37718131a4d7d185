/* SPDX-License-Identifier: MIT */
/*
 * Names as callers write them (floor 4): checks, one form for comparing, reverse names.
 */
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "dns/dns.h"

#define LABEL_MAX 63
#define NAME_MAX_LEN 253 /* as text, without the dot at its end */

static int bad(const char *name, size_t at, const char *what)
{
    return weft__fail(WEFT_ENAME, "%.80s: not a name: %s, at character %zu", name, what, at + 1);
}

int weft__dns_name(char ret[WEFT__DNS_NAME], const char *name, bool *absolute)
{
    size_t len = strlen(name), label = 0;
    bool dot = len > 1 && name[len - 1] == '.';
    if (dot)
        len--;
    if (len == 0)
        return weft__fail(WEFT_ENAME, "not a name: it is empty");
    if (len > NAME_MAX_LEN)
        return weft__fail(WEFT_ENAME, "%.80s...: not a name: %zu bytes, and at most %d can be",
                          name, len, NAME_MAX_LEN);
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)name[i];
        if (c == '.') {
            if (label == 0)
                return bad(name, i, "an empty label");
            label = 0;
        } else if (c <= ' ' || c >= 0x7f || c == '\\') {
            return bad(name, i, "a byte that does not belong into one");
        } else if (++label > LABEL_MAX) {
            return bad(name, i, "a label of more than 63 bytes");
        }
        ret[i] = (char)(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
    }
    if (label == 0)
        return bad(name, len, "an empty label");
    ret[len] = '\0';
    *absolute = dot;
    return 0;
}

/* RFC 6761, section 6.3: never asked for. */
bool weft__dns_is_localhost(const char *name)
{
    size_t len = strlen(name);
    return strcmp(name, "localhost") == 0 ||
           (len > 10 && strcmp(name + len - 10, ".localhost") == 0);
}

size_t weft__dns_dots(const char *name)
{
    size_t n = 0;
    for (; *name != '\0'; name++)
        n += *name == '.';
    return n;
}

struct weft_address weft__dns_unmapped(const struct weft_address *a)
{
    struct weft_address plain = *a;
    struct sockaddr_in in4 = {.sin_family = AF_INET};
    struct sockaddr_in6 in6;
    if (a->len < sizeof in6 || a->sa.ss_family != AF_INET6)
        return plain;
    memcpy(&in6, &a->sa, sizeof in6);
    if (!IN6_IS_ADDR_V4MAPPED(&in6.sin6_addr))
        return plain;
    in4.sin_port = in6.sin6_port;
    memcpy(&in4.sin_addr, in6.sin6_addr.s6_addr + 12, 4);
    plain = (struct weft_address){.len = sizeof in4};
    memcpy(&plain.sa, &in4, sizeof in4);
    return plain;
}

int weft__dns_reverse_name(char ret[WEFT__DNS_NAME], const struct weft_address *a)
{
    struct weft_address plain = {.len = 0};
    struct sockaddr_in in4;
    struct sockaddr_in6 in6;
    unsigned char b[16];
    if (a != NULL)
        plain = weft__dns_unmapped(a);
    if (plain.len >= sizeof in4 && plain.sa.ss_family == AF_INET) {
        memcpy(&in4, &plain.sa, sizeof in4);
        memcpy(b, &in4.sin_addr, 4);
        (void)snprintf(ret, WEFT__DNS_NAME, "%u.%u.%u.%u.in-addr.arpa", b[3], b[2], b[1], b[0]);
        return 0;
    }
    if (plain.len < sizeof in6 || plain.sa.ss_family != AF_INET6)
        return weft__fail(-EINVAL, "only an IP address has names");
    memcpy(&in6, &plain.sa, sizeof in6);
    memcpy(b, &in6.sin6_addr, 16);
    for (int i = 15; i >= 0; i--)
        ret += sprintf(ret, "%x.%x.", b[i] & 15u, b[i] >> 4);
    strcpy(ret, "ip6.arpa");
    return 0;
}
