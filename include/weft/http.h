/* SPDX-License-Identifier: MIT */
#ifndef WEFT_HTTP_H
#define WEFT_HTTP_H
/*
 * HTTP, as far as server and client share it: methods, status codes, fields, dates (RFC 9110).
 * http_server.h serves, http_client.h asks.
 *
 * Nothing here waits or allocates, and all of it may be called from any thread.
 */
#include <weft/base.h>

WEFT_BEGIN_DECLS

/* --- Methods (RFC 9110 section 9.3, RFC 5789) ----------------------------------------------- */

enum weft_http_method {
    WEFT_HTTP_OTHER = 0, /* one that has no number here; its name says which */
    WEFT_HTTP_GET,
    WEFT_HTTP_HEAD,
    WEFT_HTTP_POST,
    WEFT_HTTP_PUT,
    WEFT_HTTP_DELETE,
    WEFT_HTTP_CONNECT,
    WEFT_HTTP_OPTIONS,
    WEFT_HTTP_TRACE,
    WEFT_HTTP_PATCH,
};

/* "GET" ...; "OTHER" for what has no name here. Static. */
WEFT_API const char *weft_http_method_name(enum weft_http_method m);

/* The method of a name, which is case-sensitive; WEFT_HTTP_OTHER when it is none of the above. */
WEFT_API enum weft_http_method weft_http_method_of(const char *name, size_t len);

/* --- Status codes (RFC 9110 section 15) ------------------------------------------------------ */

/* The phrase that goes with a code: "Not Found". "Unknown" for a code without one. Static. */
WEFT_API const char *weft_http_reason(int status);

/* --- Fields (RFC 9110 section 5) ------------------------------------------------------------- */

/*
 * A header or trailer field. The texts are spans, without a NUL at their end unless the call that
 * gives them says so. The value has no white space around it and no CR, LF or NUL in it.
 */
struct weft_http_field {
    const char *name;
    const char *value;
    size_t name_len;
    size_t value_len;
};

/* --- Dates (RFC 9110 section 5.6.7) ---------------------------------------------------------- */

#define WEFT_HTTP_DATE_SIZE 30 /* "Sun, 06 Nov 1994 08:49:37 GMT" and its NUL */

/* Writes the date of a second since 1970-01-01 00:00 UTC, year 1 to 9999 (others are cut to it). */
WEFT_API void weft_http_date_format(int64_t seconds, char buf[WEFT_HTTP_DATE_SIZE]);

/*
 * Reads a date in any of the three forms that a recipient must accept. A two-digit year that seems
 * more than 50 years ahead of now_s is taken as of the century before.
 * Returns 0, or WEFT_EPROTOCOL with *seconds untouched.
 */
WEFT_API WEFT_MUST_CHECK int weft_http_date_parse(const char *text, size_t len, int64_t now_s,
                                                  int64_t *seconds);

WEFT_END_DECLS
#endif
