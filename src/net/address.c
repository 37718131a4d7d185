/* SPDX-License-Identifier: MIT */
/*
 * Socket addresses: made from text, printed, compared. See <weft/address.h>.
 *
 * Floor 3. Invariants: *ret is written once, at the end, and zeroed beyond what the family uses;
 * nothing here allocates or waits (names of interfaces are asked of the kernel, not of a resolver).
 */
#include "net/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

#include "base/base.h"
#include "base/error.h"
#include "sys/sim/world.h"

/* sun_path keeps a terminating NUL for a path, or the leading one for an abstract name. */
#define PATH_MAX_LEN (sizeof(((struct sockaddr_un *)0)->sun_path) - 1)
#define PATH_OFFSET offsetof(struct sockaddr_un, sun_path)

/* --- Pieces of text ------------------------------------------------------------------------ */

int weft__span_bad(const struct weft__span *s, size_t i, const char *part, const char *what)
{
    size_t position = s->before + i + 1;
    if (i >= s->len)
        return weft__fail(WEFT_EENDPOINT, "%s, character %zu: %s", part, position, what);
    unsigned char c = (unsigned char)s->at[i];
    if (c < 0x20 || c >= 0x7f)
        return weft__fail(WEFT_EENDPOINT, "%s, character %zu: byte 0x%02x %s", part, position, c,
                          what);
    return weft__fail(WEFT_EENDPOINT, "%s, character %zu: '%c' %s", part, position, c, what);
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static int hex_value(char c)
{
    if (is_digit(c))
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

int weft__span_number(int *ret, const struct weft__span *s, const char *part, int max)
{
    int64_t value = 0;
    if (s->len == 0)
        return weft__span_bad(s, 0, part, "a number is missing");
    for (size_t i = 0; i < s->len; i++) {
        if (!is_digit(s->at[i]))
            return weft__span_bad(s, i, part, "is not a digit");
        if (i > 0 && value == 0)
            return weft__span_bad(s, 0, part, "is a leading zero");
        value = value * 10 + (s->at[i] - '0');
        if (value > max)
            return weft__fail(WEFT_EENDPOINT, "%s, character %zu: the number is over %d", part,
                              s->before + 1, max);
    }
    *ret = (int)value;
    return 0;
}

/* --- From text ----------------------------------------------------------------------------- */

int weft__address_ipv4(struct weft_address *ret, const struct weft__span *host, int port)
{
    uint32_t address = 0;
    size_t i = 0;
    for (int part = 0; part < 4; part++) {
        struct weft__span number = {host->at + i, 0, host->before + i};
        while (i < host->len && host->at[i] != '.') {
            i++;
            number.len++;
        }
        int value;
        int r = weft__span_number(&value, &number, "IPv4 address", 255);
        if (r < 0)
            return r;
        address = address << 8 | (uint32_t)value;
        if (part < 3 && i == host->len)
            return weft__span_bad(host, i, "IPv4 address", "it has fewer than four numbers");
        if (part == 3 && i < host->len)
            return weft__span_bad(host, i, "IPv4 address", "follows the fourth number");
        i++;
    }
    struct weft_address a = {.len = sizeof(struct sockaddr_in)};
    struct sockaddr_in *in = (struct sockaddr_in *)&a.sa;
    in->sin_family = AF_INET;
    in->sin_port = htons((uint16_t)port);
    in->sin_addr.s_addr = htonl(address);
    *ret = a;
    return 0;
}

/* A name first, because an interface may be called "7"; the printer keeps to the same order. */
static int parse_scope(uint32_t *ret, const struct weft__span *scope)
{
    char name[IF_NAMESIZE];
    if (scope->len == 0)
        return weft__span_bad(scope, 0, "IPv6 scope", "an interface is missing");
    if (scope->len < sizeof(name) && WEFT__LIKELY(weft__sim_proc == NULL)) {
        memcpy(name, scope->at, scope->len);
        name[scope->len] = '\0';
        unsigned index = if_nametoindex(name);
        if (index != 0) {
            *ret = index;
            return 0;
        }
    }
    if (!is_digit(scope->at[0]))
        return weft__fail(WEFT_EENDPOINT, "IPv6 scope, character %zu: no interface is called %.*s",
                          scope->before + 1, (int)weft__min_size(scope->len, 40), scope->at);
    int index = 0;
    int r = weft__span_number(&index, scope, "IPv6 scope", INT32_MAX);
    if (r == 0 && index == 0)
        r = weft__span_bad(scope, 0, "IPv6 scope", "is no interface's index");
    if (r == 0)
        *ret = (uint32_t)index;
    return r;
}

int weft__address_ipv6(struct weft_address *ret, const struct weft__span *host, int port)
{
    char text[INET6_ADDRSTRLEN];
    struct weft_address a = {.len = sizeof(struct sockaddr_in6)};
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&a.sa;
    size_t n = 0;
    while (n < host->len && host->at[n] != '%') {
        char c = host->at[n];
        if (hex_value(c) < 0 && c != ':' && c != '.')
            return weft__span_bad(host, n, "IPv6 address", "does not belong into it");
        n++;
    }
    memcpy(text, host->at, weft__min_size(n, sizeof(text) - 1));
    text[weft__min_size(n, sizeof(text) - 1)] = '\0';
    if (n >= sizeof(text) || inet_pton(AF_INET6, text, &in6->sin6_addr) != 1)
        return weft__fail(WEFT_EENDPOINT,
                          "IPv6 address, character %zu: %s is not eight groups of hexadecimal "
                          "digits, or fewer with one ::",
                          host->before + 1, text);
    if (n < host->len) {
        struct weft__span scope = {host->at + n + 1, host->len - n - 1, host->before + n + 1};
        int r = parse_scope(&in6->sin6_scope_id, &scope);
        if (r < 0)
            return r;
    }
    in6->sin6_family = AF_INET6;
    in6->sin6_port = htons((uint16_t)port);
    *ret = a;
    return 0;
}

int weft__address_unix_span(struct weft_address *ret, const struct weft__span *path, bool escaped)
{
    struct weft_address a = {0};
    struct sockaddr_un *un = (struct sockaddr_un *)&a.sa;
    bool abstract = path->len > 0 && path->at[0] == '@';
    char *out = un->sun_path + (abstract ? 1 : 0);
    size_t n = 0;
    for (size_t i = abstract ? 1 : 0; i < path->len; n++) {
        char c = path->at[i];
        size_t step = 1;
        if (escaped && c == '\\') {
            if (path->len - i < 4 || path->at[i + 1] != 'x' || hex_value(path->at[i + 2]) < 0 ||
                hex_value(path->at[i + 3]) < 0)
                return weft__span_bad(path, i, "Unix path", "begins no \\xHH");
            c = (char)(hex_value(path->at[i + 2]) << 4 | hex_value(path->at[i + 3]));
            if (c == '\0' && !abstract)
                return weft__span_bad(path, i, "Unix path", "stands for NUL, which no path has");
            step = 4;
        }
        if (n == PATH_MAX_LEN)
            return weft__fail(WEFT_EENDPOINT,
                              "Unix path, character %zu: it is longer than %zu bytes",
                              path->before + i + 1, PATH_MAX_LEN);
        out[n] = c;
        i += step;
    }
    if (n == 0)
        return weft__fail(WEFT_EENDPOINT, "Unix path, character %zu: it is empty",
                          path->before + path->len + 1);
    un->sun_family = AF_UNIX;
    a.len = (socklen_t)(PATH_OFFSET + n + 1);
    *ret = a;
    return 0;
}

int weft_address_ip(struct weft_address *ret, const char *host, int port)
{
    struct weft__span span = {host, strlen(host), 0};
    if (port < 0 || port > 65535)
        return weft__fail(WEFT_EENDPOINT, "port: %d is not in 0 to 65535", port);
    if (strchr(host, ':') != NULL)
        return weft__address_ipv6(ret, &span, port);
    return weft__address_ipv4(ret, &span, port);
}

int weft_address_unix(struct weft_address *ret, const char *path)
{
    struct weft__span span = {path, strlen(path), 0};
    return weft__address_unix_span(ret, &span, false);
}

/* --- To text ------------------------------------------------------------------------------- */

static int print_ipv6(const struct sockaddr_in6 *in6, char out[WEFT_ENDPOINT_MAX])
{
    char host[INET6_ADDRSTRLEN];
    char scope[IF_NAMESIZE + 1] = "";
    WEFT__ASSERT(inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof(host)) != NULL);
    if (in6->sin6_scope_id != 0) {
        char name[IF_NAMESIZE];
        const char *found =
            weft__sim_proc == NULL ? if_indextoname(in6->sin6_scope_id, name) : NULL;
        bool plain = found != NULL;
        for (const char *p = found; plain && *p != '\0'; p++)
            plain = *p > ' ' && *p < 0x7f && *p != ']';
        if (plain)
            snprintf(scope, sizeof(scope), "%%%s", name);
        else
            snprintf(scope, sizeof(scope), "%%%u", in6->sin6_scope_id);
    }
    return snprintf(out, WEFT_ENDPOINT_MAX, "[%s%s]:%u", host, scope, ntohs(in6->sin6_port));
}

static int print_unix(const struct weft_address *a, bool raw, char out[WEFT_ENDPOINT_MAX])
{
    const struct sockaddr_un *un = (const struct sockaddr_un *)&a->sa;
    const char *name = un->sun_path;
    size_t len = a->len > PATH_OFFSET ? a->len - PATH_OFFSET : 0;
    size_t n = 0;
    len = weft__min_size(len, sizeof(un->sun_path));
    bool abstract = len > 1 && name[0] == '\0';
    if (abstract) {
        out[n++] = '@';
        name++;
        len--;
    } else {
        len = strnlen(name, len);
    }
    if (len == 0) {
        if (raw)
            return -EINVAL;
        return snprintf(out, WEFT_ENDPOINT_MAX, "unnamed");
    }
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)name[i];
        bool first_at = c == '@' && i == 0 && !abstract;
        if (c < 0x20 || c == 0x7f || c == '\\' || c == '?' || first_at)
            n += (size_t)snprintf(out + n, WEFT_ENDPOINT_MAX - n, "\\x%02x", c);
        else
            out[n++] = (char)c;
    }
    out[n] = '\0';
    return (int)n;
}

int weft__address_text(const struct weft_address *a, bool raw, char out[WEFT_ENDPOINT_MAX])
{
    char host[INET_ADDRSTRLEN];
    const struct sockaddr_in *in = (const struct sockaddr_in *)&a->sa;
    if (a->len >= sizeof(struct sockaddr_in) && a->sa.ss_family == AF_INET) {
        WEFT__ASSERT(inet_ntop(AF_INET, &in->sin_addr, host, sizeof(host)) != NULL);
        return snprintf(out, WEFT_ENDPOINT_MAX, "%s:%u", host, ntohs(in->sin_port));
    }
    if (a->len >= sizeof(struct sockaddr_in6) && a->sa.ss_family == AF_INET6)
        return print_ipv6((const struct sockaddr_in6 *)&a->sa, out);
    if (a->len >= PATH_OFFSET && a->sa.ss_family == AF_UNIX)
        return print_unix(a, raw, out);
    if (raw)
        return -EINVAL;
    if (a->len == 0)
        return snprintf(out, WEFT_ENDPOINT_MAX, "none");
    return snprintf(out, WEFT_ENDPOINT_MAX, "family %u", a->sa.ss_family);
}

int weft_address_print(const struct weft_address *a, char *buf, size_t cap)
{
    char text[WEFT_ENDPOINT_MAX];
    int n = weft__address_text(a, false, text);
    if ((size_t)n >= cap)
        return -ENOSPC;
    memcpy(buf, text, (size_t)n + 1);
    return n;
}

/* --- Facts --------------------------------------------------------------------------------- */

int weft_address_port(const struct weft_address *a)
{
    if (a->len >= sizeof(struct sockaddr_in) && a->sa.ss_family == AF_INET)
        return ntohs(((const struct sockaddr_in *)&a->sa)->sin_port);
    if (a->len >= sizeof(struct sockaddr_in6) && a->sa.ss_family == AF_INET6)
        return ntohs(((const struct sockaddr_in6 *)&a->sa)->sin6_port);
    return -1;
}

bool weft_address_same_host(const struct weft_address *a, const struct weft_address *b)
{
    if (a->len == 0 || b->len == 0 || a->sa.ss_family != b->sa.ss_family)
        return false;
    if (a->sa.ss_family == AF_INET) {
        const struct sockaddr_in *x = (const struct sockaddr_in *)&a->sa;
        const struct sockaddr_in *y = (const struct sockaddr_in *)&b->sa;
        return x->sin_addr.s_addr == y->sin_addr.s_addr;
    }
    if (a->sa.ss_family == AF_INET6) {
        const struct sockaddr_in6 *x = (const struct sockaddr_in6 *)&a->sa;
        const struct sockaddr_in6 *y = (const struct sockaddr_in6 *)&b->sa;
        return x->sin6_scope_id == y->sin6_scope_id &&
               memcmp(&x->sin6_addr, &y->sin6_addr, sizeof(x->sin6_addr)) == 0;
    }
    return a->sa.ss_family == AF_UNIX;
}

bool weft_address_equal(const struct weft_address *a, const struct weft_address *b)
{
    if (!weft_address_same_host(a, b))
        return false;
    if (a->sa.ss_family != AF_UNIX)
        return weft_address_port(a) == weft_address_port(b);
    /* The text tells paths and abstract names apart and ignores what follows a path's NUL. */
    char x[WEFT_ENDPOINT_MAX];
    char y[WEFT_ENDPOINT_MAX];
    return weft__address_text(a, true, x) > 0 && weft__address_text(b, true, y) > 0 &&
           strcmp(x, y) == 0;
}
