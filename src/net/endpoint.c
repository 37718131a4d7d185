/* SPDX-License-Identifier: MIT */
/*
 * Endpoint strings: scheme, host and port, path or descriptor. See <weft/address.h>.
 *
 * Floor 3. Invariants: one grammar for all callers; what is not understood is refused, never
 * guessed at; whatever parse accepts, print gives back in a form that parses to the same.
 */
#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "base/base.h"
#include "base/error.h"
#include "net/address.h"
#include "sys/sim/calls.h"
#include "sys/sim/world.h"

static struct weft__span cut(const struct weft__span *s, size_t from, size_t to)
{
    return (struct weft__span){s->at + from, to - from, s->before + from};
}

static bool is_name_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.' || c == '_';
}

/* A name, which only a simulation knows how to look up. */
static int look_up(struct weft_address *ret, const struct weft__span *host, int port)
{
    struct weft__proc *proc = weft__sim_proc;
    int width = (int)weft__min_size(host->len, 60);
    if (WEFT__LIKELY(proc == NULL))
        return weft__fail(WEFT_ENAME,
                          "host, character %zu: %.*s is a name, and here a host is a number, "
                          "localhost or *",
                          host->before + 1, width, host->at);
    struct weft_address a = {.len = sizeof a.sa};
    int err = -ENOENT;
    for (int i = 0; i < 2 && err < 0; i++)
        err = weft__sim_resolve(proc, host->at, host->len, i == 0 ? AF_INET : AF_INET6,
                                (uint16_t)port, &a.sa, &a.len);
    if (err < 0)
        return weft__fail(WEFT_ENAME, "host, character %zu: the simulation has no host %.*s",
                          host->before + 1, width, host->at);
    *ret = a;
    return 0;
}

/* Nothing but digits and dots can be no name (RFC 1123, section 2.1), so it is meant as IPv4. */
static int parse_plain_host(struct weft_endpoint *e, const struct weft__span *host, int port)
{
    static const struct weft__span localhost = {"127.0.0.1", 9, 0};
    static const struct weft__span any = {"::", 2, 0};
    if (host->len == 9 && strncasecmp(host->at, "localhost", 9) == 0)
        return weft__address_ipv4(&e->address, &localhost, port);
    if (host->len == 0 || (host->len == 1 && host->at[0] == '*')) {
        e->any = true;
        return weft__address_ipv6(&e->address, &any, port);
    }
    bool number = true;
    for (size_t i = 0; i < host->len; i++) {
        char c = host->at[i];
        if (c == ':')
            return weft__span_bad(host, i, "host", "may only stand in an IPv6 address in brackets");
        if (!is_name_char(c))
            return weft__span_bad(host, i, "host", "does not belong into a host");
        number = number && ((c >= '0' && c <= '9') || c == '.');
    }
    return number ? weft__address_ipv4(&e->address, host, port) : look_up(&e->address, host, port);
}

static int parse_host_port(struct weft_endpoint *e, const struct weft__span *rest)
{
    bool bracket = rest->len > 0 && rest->at[0] == '[';
    size_t host_end = 0; /* of the host with its brackets */
    if (bracket) {
        const char *close = memchr(rest->at, ']', rest->len);
        if (close == NULL)
            return weft__span_bad(rest, rest->len, "host", "] is missing");
        host_end = (size_t)(close - rest->at) + 1;
    } else {
        /* The last colon, so that an IPv6 address without brackets is told what it lacks. */
        host_end = rest->len;
        for (size_t i = 0; i < rest->len; i++)
            if (rest->at[i] == ':')
                host_end = i;
    }
    if (host_end == rest->len)
        return weft__span_bad(rest, host_end, "port", ":PORT is missing");
    if (rest->at[host_end] != ':')
        return weft__span_bad(rest, host_end, "port", "stands where :PORT should follow");
    struct weft__span port = cut(rest, host_end + 1, rest->len);
    int number;
    int r = weft__span_number(&number, &port, "port", 65535);
    if (r < 0)
        return r;
    struct weft__span host = bracket ? cut(rest, 1, host_end - 1) : cut(rest, 0, host_end);
    return bracket ? weft__address_ipv6(&e->address, &host, number)
                   : parse_plain_host(e, &host, number);
}

int weft_endpoint_parse(struct weft_endpoint *ret, const char *text)
{
    static const struct {
        const char *prefix;
        enum weft_endpoint_kind kind;
        bool simulated; /* inside a simulation only */
    } schemes[] = {
        {"tcp://", WEFT_ENDPOINT_TCP, false}, {"udp://", WEFT_ENDPOINT_UDP, false},
        {"unix:", WEFT_ENDPOINT_UNIX, false}, {"fd:", WEFT_ENDPOINT_FD, false},
        {"sim://", WEFT_ENDPOINT_TCP, true},
    };
    struct weft_endpoint e = {.fd = -1};
    struct weft__span all = {text, strlen(text), 0};
    struct weft__span rest = all;
    for (size_t i = 0; i < WEFT__ARRAY_LEN(schemes) && e.kind == 0; i++) {
        size_t n = strlen(schemes[i].prefix);
        if (strncmp(text, schemes[i].prefix, n) == 0) {
            if (schemes[i].simulated && weft__sim_proc == NULL)
                return weft__fail(WEFT_EENDPOINT,
                                  "scheme, character 1: sim:// exists inside a simulation only");
            e.kind = schemes[i].kind;
            rest = cut(&all, n, all.len);
        }
    }
    int r = 0;
    switch (e.kind) {
    case WEFT_ENDPOINT_TCP:
    case WEFT_ENDPOINT_UDP:
        r = parse_host_port(&e, &rest);
        break;
    case WEFT_ENDPOINT_UNIX:
        r = weft__address_unix_span(&e.address, &rest, true);
        break;
    case WEFT_ENDPOINT_FD:
        r = weft__span_number(&e.fd, &rest, "descriptor", INT_MAX);
        break;
    default:
        return weft__fail(WEFT_EENDPOINT,
                          "scheme, character 1: it begins with none of tcp://, udp://, unix:, fd:");
    }
    if (r < 0)
        return r;
    *ret = e;
    return 0;
}

/* The family that a kind of endpoint may hold; anything else would not read back. */
static bool family_fits(const struct weft_endpoint *e)
{
    sa_family_t family = e->address.sa.ss_family;
    if (e->kind == WEFT_ENDPOINT_UNIX)
        return family == AF_UNIX;
    return family == AF_INET || family == AF_INET6;
}

int weft_endpoint_print(const struct weft_endpoint *e, char *buf, size_t cap)
{
    char text[WEFT_ENDPOINT_MAX];
    char whole[WEFT_ENDPOINT_MAX + 8];
    const char *scheme = NULL;
    switch (e->kind) {
    case WEFT_ENDPOINT_TCP:
        scheme = "tcp://";
        break;
    case WEFT_ENDPOINT_UDP:
        scheme = "udp://";
        break;
    case WEFT_ENDPOINT_UNIX:
        scheme = "unix:";
        break;
    case WEFT_ENDPOINT_FD:
        if (e->fd < 0)
            return -EINVAL;
        snprintf(text, sizeof(text), "%d", e->fd);
        scheme = "fd:";
        break;
    }
    if (scheme == NULL)
        return -EINVAL;
    if (e->kind != WEFT_ENDPOINT_FD) {
        if (!family_fits(e))
            return -EINVAL;
        int r = weft__address_text(&e->address, true, text);
        if (r < 0)
            return r;
        if (e->any && e->kind != WEFT_ENDPOINT_UNIX)
            snprintf(text, sizeof(text), "*:%d", weft_address_port(&e->address));
    }
    int n = snprintf(whole, sizeof(whole), "%s%s", scheme, text);
    if ((size_t)n >= cap)
        return -ENOSPC;
    memcpy(buf, whole, (size_t)n + 1);
    return n;
}
