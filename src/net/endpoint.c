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
#include "net/query.h"
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

/* A name; whether there is such a host is for the resolver to say. */
static int parse_name(struct weft_endpoint *e, const struct weft__span *host)
{
    if (host->len > WEFT_HOST_MAX)
        return weft__fail(WEFT_EENDPOINT, "host, character %zu: it is longer than %d characters",
                          host->before + WEFT_HOST_MAX + 1, WEFT_HOST_MAX);
    for (size_t i = 0; i < host->len; i++)
        if (host->at[i] == '.' && (i == 0 || host->at[i - 1] == '.'))
            return weft__span_bad(host, i, "host", "stands where a part of the name is missing");
    memcpy(e->host, host->at, host->len);
    e->host[host->len] = '\0';
    return 0;
}

/* Nothing but digits and dots can be no name (RFC 1123, section 2.1), so it is meant as IPv4. */
static int parse_plain_host(struct weft_endpoint *e, const struct weft__span *host)
{
    static const struct weft__span any = {"::", 2, 0};
    if (host->len == 0 || (host->len == 1 && host->at[0] == '*')) {
        e->any = true;
        return weft__address_ipv6(&e->address, &any, e->port);
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
    return number ? weft__address_ipv4(&e->address, host, e->port) : parse_name(e, host);
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
    int r = weft__span_number(&e->port, &port, "port", 65535);
    if (r < 0)
        return r;
    struct weft__span host = bracket ? cut(rest, 1, host_end - 1) : cut(rest, 0, host_end);
    return bracket ? weft__address_ipv6(&e->address, &host, e->port) : parse_plain_host(e, &host);
}

static const struct scheme {
    const char *prefix;
    enum weft_endpoint_kind kind;
    bool simulated; /* inside a simulation only */
} schemes[] = {
    {"tcp://", WEFT_ENDPOINT_TCP, false}, {"tls://", WEFT_ENDPOINT_TLS, false},
    {"udp://", WEFT_ENDPOINT_UDP, false}, {"unix:", WEFT_ENDPOINT_UNIX, false},
    {"fd:", WEFT_ENDPOINT_FD, false},     {"sim://", WEFT_ENDPOINT_TCP, true},
};

static int parse_scheme(struct weft_endpoint *e, const struct weft__span *all,
                        struct weft__span *rest)
{
    for (size_t i = 0; i < WEFT__ARRAY_LEN(schemes); i++) {
        size_t n = strlen(schemes[i].prefix);
        if (strncmp(all->at, schemes[i].prefix, n) != 0)
            continue;
        if (schemes[i].simulated && weft__sim_proc == NULL)
            return weft__fail(WEFT_EENDPOINT,
                              "scheme, character 1: sim:// exists inside a simulation only");
        e->kind = schemes[i].kind;
        *rest = cut(all, n, all->len);
        return 0;
    }
    return weft__fail(
        WEFT_EENDPOINT,
        "scheme, character 1: it begins with none of tcp://, tls://, udp://, unix:, fd:");
}

static bool has_port(const struct weft_endpoint *e)
{
    return e->kind == WEFT_ENDPOINT_TCP || e->kind == WEFT_ENDPOINT_TLS ||
           e->kind == WEFT_ENDPOINT_UDP;
}

int weft_endpoint_parse(struct weft_endpoint *ret, const char *text)
{
    struct weft_endpoint e = {.fd = -1, .port = -1};
    struct weft__span all = {text, strlen(text), 0};
    struct weft__span rest, main;
    int r = parse_scheme(&e, &all, &rest);
    if (r < 0)
        return r;
    const char *question = memchr(rest.at, '?', rest.len);
    main = question != NULL ? cut(&rest, 0, (size_t)(question - rest.at)) : rest;
    if (has_port(&e))
        r = parse_host_port(&e, &main);
    else if (e.kind == WEFT_ENDPOINT_UNIX)
        r = weft__address_unix_span(&e.address, &main, true);
    else
        r = weft__span_number(&e.fd, &main, "descriptor", INT_MAX);
    if (r == 0 && question != NULL) {
        struct weft__span query = cut(&rest, main.len + 1, rest.len);
        r = weft__query_parse(&e, &query);
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

/* All but scheme and options. */
static int print_main(const struct weft_endpoint *e, char text[WEFT_ENDPOINT_MAX])
{
    if (e->kind == WEFT_ENDPOINT_FD)
        return e->fd < 0 ? -EINVAL : snprintf(text, WEFT_ENDPOINT_MAX, "%d", e->fd);
    if (has_port(e) && e->host[0] != '\0')
        return snprintf(text, WEFT_ENDPOINT_MAX, "%.*s:%d", WEFT_HOST_MAX, e->host, e->port);
    if (!family_fits(e))
        return -EINVAL;
    if (e->any && has_port(e))
        return snprintf(text, WEFT_ENDPOINT_MAX, "*:%d", weft_address_port(&e->address));
    return weft__address_text(&e->address, true, text);
}

static int print(const struct weft_endpoint *e, bool query, char *buf, size_t cap)
{
    char text[WEFT_ENDPOINT_MAX];
    const char *scheme = NULL;
    for (size_t i = 0; i < WEFT__ARRAY_LEN(schemes) && scheme == NULL; i++)
        if (schemes[i].kind == e->kind)
            scheme = schemes[i].prefix;
    if (scheme == NULL)
        return -EINVAL;
    int r = print_main(e, text);
    if (r < 0)
        return r;
    size_t first = strlen(scheme), main = strlen(text);
    size_t more = query ? strnlen(e->query, WEFT_QUERY_MAX) : 0;
    size_t len = first + main + (more > 0) + more;
    if (len >= cap)
        return -ENOSPC;
    memcpy(buf, scheme, first);
    memcpy(buf + first, text, main);
    if (more > 0) {
        buf[first + main] = '?';
        memcpy(buf + len - more, e->query, more);
    }
    buf[len] = '\0';
    return (int)len;
}

int weft_endpoint_print(const struct weft_endpoint *e, char *buf, size_t cap)
{
    return print(e, true, buf, cap);
}

int weft__endpoint_plain(const struct weft_endpoint *e, char *buf, size_t cap)
{
    return print(e, false, buf, cap);
}

int weft__endpoint_here(struct weft_endpoint *e)
{
    struct weft_address a = {.len = sizeof a.sa};
    int err = -ENOENT;
    if (e->host[0] == '\0')
        return 0;
    if (strcasecmp(e->host, "localhost") == 0)
        err = weft_address_ip(&a, "127.0.0.1", e->port);
    else if (WEFT__LIKELY(weft__sim_proc == NULL))
        return weft__fail(WEFT_ENAME,
                          "%.100s is a name: to listen takes an address of this machine, "
                          "a number, localhost or *",
                          e->host);
    for (int i = 0; i < 2 && err < 0; i++)
        err = weft__sim_resolve(weft__sim_proc, e->host, strlen(e->host),
                                i == 0 ? AF_INET : AF_INET6, (uint16_t)e->port, &a.sa, &a.len);
    if (err < 0)
        return weft__fail(WEFT_ENAME, "the simulation has no host %.100s", e->host);
    e->address = a;
    e->host[0] = '\0';
    return 0;
}
