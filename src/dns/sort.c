/* SPDX-License-Identifier: MIT */
/*
 * The order in which to try addresses (floor 4): RFC 6724, section 6, with its default policy.
 *
 * Rules 3, 4 and 7 (deprecated, home and tunnelled addresses) need what only the kernel knows of
 * its interfaces and are left out, as elsewhere. Rule 9 compares IPv6 addresses only.
 *
 * Invariant: the sort is stable, so that what the rules leave open stays in the servers' order.
 */
#include <netinet/in.h>
#include <string.h>

#include "base/alloc.h"
#include "dns/dns.h"
#include "sys/call.h"

#define SCOPE_LINK 2
#define SCOPE_SITE 5
#define SCOPE_GLOBAL 14

struct rank {
    unsigned char b[16]; /* IPv4: mapped */
    int scope, label, precedence;
};

/* RFC 6724, section 2.1. The longest prefixes first. */
static const struct {
    unsigned char prefix[16];
    int bits, precedence, label;
} policy[] = {
    {{[15] = 1}, 128, 50, 0},                /* ::1 */
    {{[10] = 0xff, [11] = 0xff}, 96, 35, 4}, /* IPv4 */
    {{[15] = 0}, 96, 1, 3},                  /* IPv4-compatible */
    {{0x20, 0x01}, 32, 5, 5},                /* Teredo */
    {{0x20, 0x02}, 16, 30, 2},               /* 6to4 */
    {{0x3f, 0xfe}, 16, 1, 12},               /* 6bone */
    {{0xfe, 0xc0}, 10, 1, 11},               /* site-local */
    {{0xfc}, 7, 3, 13},                      /* unique local */
    {{0}, 0, 40, 1},
};

static int common_bits(const unsigned char *a, const unsigned char *b, int most)
{
    int n = 0;
    while (n < most && ((a[n / 8] ^ b[n / 8]) & (0x80 >> n % 8)) == 0)
        n++;
    return n;
}

static int scope_of(const unsigned char *b, bool four)
{
    if (four) { /* section 3.2 */
        bool near = b[12] == 127 || (b[12] == 169 && b[13] == 254);
        return near ? SCOPE_LINK : SCOPE_GLOBAL;
    }
    if (b[0] == 0xff)
        return b[1] & 15;
    if (b[0] == 0xfe && (b[1] & 0xc0) == 0x80)
        return SCOPE_LINK;
    if (b[0] == 0xfe && (b[1] & 0xc0) == 0xc0)
        return SCOPE_SITE;
    static const unsigned char loopback[16] = {[15] = 1};
    return memcmp(b, loopback, 16) == 0 ? SCOPE_LINK : SCOPE_GLOBAL;
}

static struct rank rank_of(const struct weft_address *a)
{
    struct rank r = {.scope = 0};
    bool four = a->sa.ss_family == AF_INET;
    if (four) {
        struct sockaddr_in in4;
        memcpy(&in4, &a->sa, sizeof in4);
        r.b[10] = r.b[11] = 0xff;
        memcpy(r.b + 12, &in4.sin_addr, 4);
    } else {
        struct sockaddr_in6 in6;
        memcpy(&in6, &a->sa, sizeof in6);
        memcpy(r.b, &in6.sin6_addr, 16);
    }
    r.scope = scope_of(r.b, four || common_bits(r.b, policy[1].prefix, 96) == 96);
    for (size_t i = 0; i < WEFT__ARRAY_LEN(policy); i++) {
        if (common_bits(r.b, policy[i].prefix, policy[i].bits) == policy[i].bits) {
            r.label = policy[i].label;
            r.precedence = policy[i].precedence;
            break;
        }
    }
    return r;
}

/* Whether a is to be tried before b. */
static bool before(const struct weft_address *a, const struct weft_address *source_a,
                   const struct weft_address *b, const struct weft_address *source_b)
{
    bool usable_a = source_a->len > 0, usable_b = source_b->len > 0;
    if (usable_a != usable_b) /* rule 1 */
        return usable_a;
    struct rank ra = rank_of(a), rb = rank_of(b), sa, sb;
    if (usable_a) {
        sa = rank_of(source_a);
        sb = rank_of(source_b);
        bool scope_a = ra.scope == sa.scope, scope_b = rb.scope == sb.scope;
        if (scope_a != scope_b) /* rule 2 */
            return scope_a;
        bool label_a = ra.label == sa.label, label_b = rb.label == sb.label;
        if (label_a != label_b) /* rule 5 */
            return label_a;
    }
    if (ra.precedence != rb.precedence) /* rule 6 */
        return ra.precedence > rb.precedence;
    if (ra.scope != rb.scope) /* rule 8 */
        return ra.scope < rb.scope;
    if (usable_a && a->sa.ss_family == AF_INET6 && b->sa.ss_family == AF_INET6) /* rule 9 */
        return common_bits(ra.b, sa.b, 64) > common_bits(rb.b, sb.b, 64);
    return false;
}

void weft__dns_order(struct weft_address *at, struct weft_address *source, size_t n)
{
    for (size_t i = 1; i < n; i++) {
        struct weft_address a = at[i], s = source[i];
        size_t to = i;
        while (to > 0 && before(&a, &s, &at[to - 1], &source[to - 1]))
            to--;
        memmove(at + to + 1, at + to, (i - to) * sizeof *at);
        memmove(source + to + 1, source + to, (i - to) * sizeof *source);
        at[to] = a;
        source[to] = s;
    }
}

/* The address from which the kernel would send; len 0: it would not. Nothing is sent for that. */
static struct weft_address source_of(const struct weft_address *a)
{
    struct weft_address to = *a, ret = {.len = 0};
    socklen_t len = sizeof ret.sa;
    int fd = weft__call_socket(a->sa.ss_family, SOCK_DGRAM, 0);
    if (fd < 0)
        return ret;
    if (weft_address_port(&to) == 0) { /* which some kernels refuse; the port is in one place */
        struct sockaddr_in in4;
        memcpy(&in4, &to.sa, sizeof in4);
        in4.sin_port = htons(53);
        memcpy(&to.sa, &in4, sizeof in4);
    }
    if (weft__call_connect_now(fd, (const struct sockaddr *)&to.sa, to.len) == 0 &&
        weft__call_getsockname(fd, (struct sockaddr *)&ret.sa, &len) == 0)
        ret.len = len;
    weft__call_close(fd);
    return ret;
}

void weft__dns_sort(struct weft_address *at, size_t n)
{
    struct weft_address *source = n > 1 ? weft__alloc(n * sizeof *source) : NULL;
    if (source == NULL)
        return;
    for (size_t i = 0; i < n; i++)
        source[i] = source_of(&at[i]);
    weft__dns_order(at, source, n);
    weft__free(source);
}
