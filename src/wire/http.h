/* SPDX-License-Identifier: MIT */
/*
 * The words that all versions of HTTP share: methods, status codes, names of fields, and which
 * characters stand where.
 *
 * Floor 0. Nothing here allocates or fails with a detail; everything may be called from any thread.
 */
#ifndef WEFT__WIRE_HTTP_H
#define WEFT__WIRE_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wire/slice.h"

enum weft__http_method {
    WEFT__HTTP_OTHER, /* a valid token that is none of these: a server answers 501 or 405 */
    WEFT__HTTP_GET,
    WEFT__HTTP_HEAD,
    WEFT__HTTP_POST,
    WEFT__HTTP_PUT,
    WEFT__HTTP_DELETE,
    WEFT__HTTP_CONNECT,
    WEFT__HTTP_OPTIONS,
    WEFT__HTTP_TRACE,
    WEFT__HTTP_PATCH,
    WEFT__HTTP_METHODS /* how many there are */
};

/* The method of a token, which is case-sensitive (RFC 9110 section 9.1). */
enum weft__http_method weft__http_method_of(struct weft__slice token);

/* "GET"; "OTHER" for WEFT__HTTP_OTHER and for a number that is no method. */
const char *weft__http_method_name(enum weft__http_method m);

/* RFC 9110 sections 9.2.1 and 9.2.2; false for OTHER. */
bool weft__http_method_safe(enum weft__http_method m);
bool weft__http_method_idempotent(enum weft__http_method m);

/* The reason phrase of a status, "Not Found"; "Unknown" for one that has none. Never NULL. */
const char *weft__http_reason(int status);

/*
 * Names of fields that are looked at often. A field with another name is WEFT__HN_OTHER. There are
 * at most 64, so that a set of them is one word.
 */
enum weft__http_name {
    WEFT__HN_OTHER,
    WEFT__HN_ACCEPT,
    WEFT__HN_ACCEPT_ENCODING,
    WEFT__HN_ACCEPT_LANGUAGE,
    WEFT__HN_ACCEPT_RANGES,
    WEFT__HN_AGE,
    WEFT__HN_ALLOW,
    WEFT__HN_AUTHORIZATION,
    WEFT__HN_CACHE_CONTROL,
    WEFT__HN_CONNECTION,
    WEFT__HN_CONTENT_DISPOSITION,
    WEFT__HN_CONTENT_ENCODING,
    WEFT__HN_CONTENT_LENGTH,
    WEFT__HN_CONTENT_RANGE,
    WEFT__HN_CONTENT_TYPE,
    WEFT__HN_COOKIE,
    WEFT__HN_DATE,
    WEFT__HN_ETAG,
    WEFT__HN_EXPECT,
    WEFT__HN_EXPIRES,
    WEFT__HN_FORWARDED,
    WEFT__HN_HOST,
    WEFT__HN_HTTP2_SETTINGS,
    WEFT__HN_IF_MATCH,
    WEFT__HN_IF_MODIFIED_SINCE,
    WEFT__HN_IF_NONE_MATCH,
    WEFT__HN_IF_RANGE,
    WEFT__HN_IF_UNMODIFIED_SINCE,
    WEFT__HN_KEEP_ALIVE,
    WEFT__HN_LAST_EVENT_ID,
    WEFT__HN_LAST_MODIFIED,
    WEFT__HN_LOCATION,
    WEFT__HN_MAX_FORWARDS,
    WEFT__HN_ORIGIN,
    WEFT__HN_PROXY_AUTHENTICATE,
    WEFT__HN_PROXY_AUTHORIZATION,
    WEFT__HN_PROXY_CONNECTION,
    WEFT__HN_RANGE,
    WEFT__HN_REFERER,
    WEFT__HN_RETRY_AFTER,
    WEFT__HN_SEC_WEBSOCKET_ACCEPT,
    WEFT__HN_SEC_WEBSOCKET_EXTENSIONS,
    WEFT__HN_SEC_WEBSOCKET_KEY,
    WEFT__HN_SEC_WEBSOCKET_PROTOCOL,
    WEFT__HN_SEC_WEBSOCKET_VERSION,
    WEFT__HN_SERVER,
    WEFT__HN_SET_COOKIE,
    WEFT__HN_TE,
    WEFT__HN_TRAILER,
    WEFT__HN_TRANSFER_ENCODING,
    WEFT__HN_UPGRADE,
    WEFT__HN_USER_AGENT,
    WEFT__HN_VARY,
    WEFT__HN_VIA,
    WEFT__HN_WWW_AUTHENTICATE,
    WEFT__HN_X_FORWARDED_FOR,
    WEFT__HN_X_FORWARDED_PROTO,
    WEFT__HTTP_NAMES /* how many there are */
};

/* The name of a field's name, whatever its case. */
enum weft__http_name weft__http_name_of(struct weft__slice name);

/* "Content-Length"; "" for WEFT__HN_OTHER and for a number that is no name. */
const char *weft__http_name_text(enum weft__http_name name);

/*
 * Classes of characters, as bits of weft__http_chars[byte].
 */
enum {
    WEFT__HC_TOKEN = 1,  /* tchar, RFC 9110 section 5.6.2 */
    WEFT__HC_VALUE = 2,  /* what a field's value may hold: VCHAR, SP, HTAB, obs-text */
    WEFT__HC_TARGET = 4, /* what a request's target may hold; see http1.h */
    WEFT__HC_HOST = 8,   /* unreserved and sub-delims, RFC 3986 section 3.2.2 */
    WEFT__HC_HEX = 16,
    WEFT__HC_DIGIT = 32,
    WEFT__HC_COOKIE = 64,  /* cookie-octet, RFC 6265 section 4.1.1 */
    WEFT__HC_QDTEXT = 128, /* within quotes, but not the quote and the backslash */
    WEFT__HC_PATH = 256    /* what a target may hold before its query: neither '?' nor '\\' */
};
extern const uint16_t weft__http_chars[256];

static inline bool weft__http_is(char c, unsigned classes)
{
    return (weft__http_chars[(unsigned char)c] & classes) != 0;
}

/* True when all bytes are of one of the classes; true for none at all. */
bool weft__http_all(struct weft__slice s, unsigned classes);

/* True for a token: one tchar or more. */
bool weft__http_token(struct weft__slice s);

/* True for what may be sent as a field's value: no control character but HTAB, no SP or HTAB at
   its ends. */
bool weft__http_value(struct weft__slice s);

/*
 * Splits and checks "host" or "host:port" (RFC 3986 section 3.2, without user information). *host
 * includes the brackets of an IPv6 address; *port is -1 when there is none (also for "host:", which
 * the RFC allows). An empty host is accepted only where the whole is empty.
 * False when it is not valid; outputs are then untouched.
 */
bool weft__http_host_split(struct weft__slice s, struct weft__slice *host, int *port);

#define WEFT__HTTP_HOST_MAX 255 /* bytes of a host's name */

/* A number in decimal digits, all of them; false for no digit, another character or overflow. */
bool weft__http_decimal(struct weft__slice s, uint64_t *value);

#endif
