/* SPDX-License-Identifier: MIT */
/*
 * Hosts of URLs: names, IPv4 in all its forms, IPv6; see url.h.
 *
 * Floor 0. Follows the host parser of the WHATWG's URL standard (section 3.5). Names outside ASCII
 * go through libidn2 (UTS 46, non-transitional, as browsers do).
 *
 * Invariant: what was read is judged in its final form, after percent-decoding and IDNA, because
 * either can make an address or a delimiter of something that looked harmless.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <idn2.h>
#include <string.h>

#include <weft/error.h>

#include "base/base.h"
#include "base/error.h"
#include "wire/http_field.h"
#include "wire/url.h"

#define LABEL_MAX 63

static int invalid(const char *why, struct weft__slice host)
{
    return weft__fail(WEFT_EURL, "%s: \"%.*s\"", why, (int)weft__min_size(host.len, 100),
                      host.len == 0 ? "" : host.at);
}

/* The standard's forbidden host code points. */
static bool forbidden(char c)
{
    unsigned char u = (unsigned char)c;
    return u <= 0x20 || u == 0x7f || strchr("#/:<>?@[\\]^|", c) != NULL;
}

/* Section 3.6 of the standard: the longest run of two or more zeroes is "::". */
static void print_ipv6(struct weft__writer *w, const unsigned char bytes[16])
{
    unsigned groups[8];
    unsigned best = 8;
    unsigned best_len = 1;
    for (unsigned i = 0; i < 8; i++)
        groups[i] = (unsigned)bytes[2 * i] << 8 | bytes[2 * i + 1];
    for (unsigned i = 0; i < 8; i++) {
        unsigned n = 0;
        while (i + n < 8 && groups[i + n] == 0)
            n++;
        if (n > best_len) {
            best = i;
            best_len = n;
        }
    }
    for (unsigned i = 0; i < 8; i++) {
        if (i == best) {
            weft__writer_text(w, i == 0 ? "::" : ":");
            i += best_len - 1;
            continue;
        }
        unsigned shift = 12;
        while (shift > 0 && groups[i] >> shift == 0)
            shift -= 4;
        for (;; shift -= 4) {
            weft__writer_u8(w, (unsigned char)"0123456789abcdef"[groups[i] >> shift & 15]);
            if (shift == 0)
                break;
        }
        if (i < 7)
            weft__writer_u8(w, ':');
    }
}

/* "[...]" */
static int ipv6(struct weft__writer *w, struct weft__slice host)
{
    char text[INET6_ADDRSTRLEN];
    unsigned char bytes[16];
    struct weft__slice inside = weft__slice_part(host, 1, host.len - 1);
    if (host.at[host.len - 1] != ']' || inside.len >= sizeof(text))
        return invalid("a URL's host is not an IPv6 address", host);
    memcpy(text, inside.at, inside.len);
    text[inside.len] = '\0';
    if (strlen(text) != inside.len || inet_pton(AF_INET6, text, bytes) != 1)
        return invalid("a URL's host is not an IPv6 address", host);
    print_ipv6(w, bytes);
    return 0;
}

/* "0x7f", "0177", "127"; "0x" alone is 0. False for what is no number. */
static bool ipv4_number(struct weft__slice s, uint64_t *value)
{
    unsigned base = 10;
    uint64_t v = 0;
    if (s.len == 0)
        return false;
    if (s.len >= 2 && s.at[0] == '0' && (s.at[1] == 'x' || s.at[1] == 'X')) {
        base = 16;
        s = weft__slice_from(s, 2);
    } else if (s.len >= 2 && s.at[0] == '0') {
        base = 8;
        s = weft__slice_from(s, 1);
    }
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)weft__ascii_lower(s.at[i]);
        unsigned digit = c >= '0' && c <= '9'   ? (unsigned)(c - '0')
                         : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a' + 10)
                                                : 16u;
        if (digit >= base)
            return false;
        v = v * base + digit;
        if (v > UINT32_MAX)
            v = UINT64_C(1) << 40; /* a number, and too large for any place */
    }
    *value = v;
    return true;
}

/* The last label, a dot at the end left out. */
static struct weft__slice last_label(struct weft__slice name)
{
    size_t from = 0;
    if (name.len > 0 && name.at[name.len - 1] == '.')
        name.len--;
    for (size_t i = 0; i < name.len; i++)
        if (name.at[i] == '.')
            from = i + 1;
    return weft__slice_from(name, from);
}

/* True for what has to be an IPv4 address or nothing: its last label is a number. */
static bool ends_in_number(struct weft__slice name)
{
    struct weft__slice last = last_label(name);
    uint64_t ignored;
    return (last.len > 0 && weft__http_all(last, WEFT__HC_DIGIT)) ||
           (last.len >= 2 && last.at[0] == '0' && ipv4_number(last, &ignored));
}

/* One to four numbers, the last of which fills what is left. */
static int ipv4(struct weft__writer *w, struct weft__slice name)
{
    struct weft__slice rest = name;
    uint64_t numbers[4];
    unsigned count = 0;
    uint64_t address = 0;
    if (rest.at[rest.len - 1] == '.')
        rest.len--;
    for (bool more = true; more;) {
        size_t dot = weft__slice_find(rest, '.', 0);
        if (count == 4 || !ipv4_number(weft__slice_part(rest, 0, dot), &numbers[count]))
            return invalid("a URL's host is not an IPv4 address", name);
        count++;
        more = dot < rest.len;
        rest = weft__slice_from(rest, dot + 1);
    }
    for (unsigned i = 0; i + 1 < count; i++) {
        if (numbers[i] > 255)
            return invalid("a URL's host is not an IPv4 address", name);
        address |= numbers[i] << (24 - 8 * i);
    }
    if (numbers[count - 1] >> (8 * (5 - count)) != 0)
        return invalid("a URL's host is not an IPv4 address", name);
    address |= numbers[count - 1];
    for (unsigned i = 4; i > 0; i--) {
        weft__writer_decimal(w, address >> (8 * (i - 1)) & 255);
        if (i > 1)
            weft__writer_u8(w, '.');
    }
    return 0;
}

/* Labels of 1 to 63 bytes; one dot may end the name. */
static bool labels_fit(struct weft__slice name)
{
    if (name.len > 0 && name.at[name.len - 1] == '.')
        name.len--;
    if (name.len == 0 || name.len > WEFT__URL_HOST_MAX - 1)
        return false;
    for (bool more = true; more;) {
        size_t dot = weft__slice_find(name, '.', 0);
        if (dot == 0 || dot > LABEL_MAX)
            return false;
        more = dot < name.len;
        name = weft__slice_from(name, dot + 1);
    }
    return true;
}

/* A name in its final form, but for the case of its letters. */
static int domain(struct weft__writer *w, struct weft__slice name, enum weft_url_host *kind)
{
    /* The standard lets '"', '`', '{' and '}' pass; no server takes them as a Host field. */
    if (!weft__http_all(name, WEFT__HC_HOST))
        return invalid("a URL's host has a character that none may have", name);
    if (ends_in_number(name)) {
        int r = ipv4(w, name);
        if (r == 0)
            *kind = WEFT_URL_IPV4;
        return r;
    }
    if (!labels_fit(name))
        return invalid("a URL's host is no name: an empty label, or too long", name);
    for (size_t i = 0; i < name.len; i++)
        weft__writer_u8(w, (unsigned char)weft__ascii_lower(name.at[i]));
    *kind = WEFT_URL_NAME;
    return 0;
}

/* A name with bytes outside ASCII. */
static int international(struct weft__writer *w, const char *name, enum weft_url_host *kind)
{
    uint8_t *ascii = NULL;
    int r = idn2_lookup_u8((const uint8_t *)name, &ascii,
                           IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL | IDN2_NO_ALABEL_ROUNDTRIP);
    if (r == IDN2_MALLOC)
        return -ENOMEM;
    if (r != IDN2_OK)
        return weft__fail(WEFT_EURL, "a URL's host is no international name: %s", idn2_strerror(r));
    r = domain(w, weft__slice_text((const char *)ascii), kind);
    idn2_free(ascii);
    return r;
}

/* A host of another scheme: kept, with what is outside ASCII encoded. */
static int opaque(struct weft__writer *w, struct weft__slice host, enum weft_url_host *kind)
{
    for (size_t i = 0; i < host.len; i++)
        if (forbidden(host.at[i]))
            return invalid("a URL's host has a character that none may have", host);
    weft__url_encode(w, host, WEFT__URL_OPAQUE);
    *kind = host.len == 0 ? WEFT_URL_NO_HOST : WEFT_URL_OPAQUE;
    return 0;
}

int weft__url_host(struct weft__writer *w, struct weft__slice host, bool web,
                   enum weft_url_host *kind)
{
    char name[4 * WEFT__URL_HOST_MAX]; /* of one character outside ASCII IDNA makes fewer bytes */
    bool ascii = true;
    if (host.len > 0 && host.at[0] == '[') {
        int r = ipv6(w, host);
        if (r == 0)
            *kind = WEFT_URL_IPV6;
        return r;
    }
    if (!web)
        return opaque(w, host, kind);
    if (host.len == 0)
        return weft__fail(WEFT_EURL, "a URL has no host");
    ssize_t n = weft__percent_decode(host, false, name, sizeof(name) - 1);
    if (n < 0)
        return invalid("a URL's host is too long, or has a % without two digits", host);
    name[n] = '\0';
    for (ssize_t i = 0; i < n; i++)
        ascii = ascii && (unsigned char)name[i] < 0x80;
    if (strlen(name) != (size_t)n)
        return invalid("a URL's host has a character that none may have", host);
    return ascii ? domain(w, weft__slice_of(name, (size_t)n), kind) : international(w, name, kind);
}
