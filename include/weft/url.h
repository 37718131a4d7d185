/* SPDX-License-Identifier: MIT */
/*
 * URLs, one parser for all of Weft: RFC 3986, and for http, https, ws and wss what browsers make of
 * them (the WHATWG's URL standard): "\" for "/", a path that is never empty, default ports left
 * out, hosts in lower case, IPv4 in any of its number forms, IPv6, and names outside ASCII by
 * IDNA. All are normalised as RFC 3986 section 6.2.2 has it: dot segments are gone, percent-encoded
 * letters, digits, '-', '.', '_' and '~' are decoded, other percent-encodings have upper-case
 * digits, what may not stand in a URL is percent-encoded, a '%' without two digits too.
 *
 * Where the WHATWG's standard repairs with a warning what is more often an attack than a slip, it
 * is refused here: control characters, white space at the ends, "http:x" and "http:///x", empty
 * labels in a host's name and names that DNS could not hold, '"', '`', '{' and '}' in a host.
 * International names are those of IDNA 2008 (RFC 5891), as libidn2 has it: browsers take symbols
 * and odd hyphens, too.
 *
 * Invariants: a URL is immutable and normalised: parsing its text again gives the same; all its
 * strings are NUL-terminated and live in one block with it; a URL has at most WEFT_URL_MAX bytes.
 * Nothing here waits; any thread; a URL may be shared between threads.
 */
#ifndef WEFT_URL_H
#define WEFT_URL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <weft/base.h>

WEFT_BEGIN_DECLS

#define WEFT_URL_MAX 65535

enum weft_url_host {
    WEFT_URL_NO_HOST, /* mailto:, data: and the like */
    WEFT_URL_NAME,    /* a domain name, in lower case and ASCII ("xn--...") */
    WEFT_URL_IPV4,    /* "127.0.0.1" */
    WEFT_URL_IPV6,    /* "::1", without its brackets */
    WEFT_URL_OPAQUE   /* of a scheme other than http, https, ws and wss; as it was written */
};

struct weft_url {
    const char *text;     /* all of it, normalised: "http://example.org/a?b#c" */
    const char *scheme;   /* "http", in lower case */
    const char *username; /* percent-encoded; "" when there is none */
    const char *password; /* percent-encoded; "" when there is none */
    const char *host;     /* "" when there is none; IPv6 without brackets */
    const char *path;     /* percent-encoded, without dot segments; "/" at least for http */
    const char *query;    /* after "?"; NULL when there is none */
    const char *fragment; /* after "#"; NULL when there is none */
    enum weft_url_host host_kind;
    int port;      /* in force: the written one, else the scheme's, 0 when that has none */
    bool has_port; /* it is written, so it is not the scheme's */
    bool secure;   /* https or wss */
    bool web;      /* http, https, ws or wss: the browsers' rules were used */
};

/*
 * Parses an absolute URL of len bytes. Does not wait; any thread. The text stays the caller's, *ret
 * is his too: weft_url_free() it.
 * Returns 0, WEFT_EURL with a detail (what is wrong, at which byte), or -ENOMEM.
 */
WEFT_API int weft_url_parse(struct weft_url **ret, const char *text, size_t len);

/*
 * Resolves a reference ("../a", "//host/", "?q", "#f", or a whole URL) against a base, RFC 3986
 * section 5. The base is only read. Otherwise as weft_url_parse().
 */
WEFT_API int weft_url_resolve(struct weft_url **ret, const struct weft_url *base, const char *text,
                              size_t len);

/* Frees a URL; NULL is legal. */
WEFT_API void weft_url_free(struct weft_url *url);

/* True when scheme, host and port are the same, and there is a host (RFC 6454 section 5). */
WEFT_API bool weft_url_same_origin(const struct weft_url *a, const struct weft_url *b);

/*
 * Parts as programs need them, each with a NUL, into buf of cap bytes. They return the length
 * without the NUL, or -ENOBUFS; -EINVAL for a URL without a host; WEFT_EURL for the endpoint of the
 * host "*", which would be this machine.
 *   target:    "/path?query", what a request line asks for
 *   authority: "host", "host:8080", "[::1]:8080": the Host field; no port where it is the default
 *   origin:    "http://host:8080"
 *   endpoint:  "tcp://host:80" or "tls://host:443", for weft_dial()
 */
WEFT_API ssize_t weft_url_target(const struct weft_url *url, char *buf, size_t cap);
WEFT_API ssize_t weft_url_authority(const struct weft_url *url, char *buf, size_t cap);
WEFT_API ssize_t weft_url_origin(const struct weft_url *url, char *buf, size_t cap);
WEFT_API ssize_t weft_url_endpoint(const struct weft_url *url, char *buf, size_t cap);

WEFT_END_DECLS

#endif
