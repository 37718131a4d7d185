/* SPDX-License-Identifier: MIT */
/*
 * Values of HTTP's fields: lists, parameters, quality, dates, entity tags, ranges, cookies,
 * credentials, and what goes with them (percent-encoding, forms).
 *
 * Floor 0. All parsers take slices and give slices into them, or write into a buffer of the
 * caller's; none allocates, waits, or sets a detail unless it says so. A value that a client sends
 * and that HTTP lets a server ignore gives "not there" rather than an error. Out-parameters are
 * untouched on failure. Everything may be called from any thread.
 */
#ifndef WEFT__WIRE_HTTP_FIELD_H
#define WEFT__WIRE_HTTP_FIELD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "wire/http.h"
#include "wire/slice.h"

/* ---- lists and parameters: http_list.c ---- */

/* Takes the next element off *rest: trimmed, empty ones skipped, commas within quotes kept (RFC
   9110 section 5.6.1). False at the end. */
bool weft__http_list_next(struct weft__slice *rest, struct weft__slice *item);

/* True when a list has that token, whatever its case: "keep-alive, Upgrade" has "upgrade". */
bool weft__http_list_has(struct weft__slice list, const char *token);

struct weft__http_param {
    struct weft__slice name;
    struct weft__slice value; /* within quotes: raw, without the quotes */
    bool quoted;              /* weft__http_unquote() takes the backslashes out */
};

/* Takes the next ";name=value" off *rest. 1, 0 at the end, -1 when it is not valid. */
int weft__http_param_next(struct weft__slice *rest, struct weft__http_param *param);

/* Writes a quoted string's content. Returns its length, or -1 when it does not fit. */
ssize_t weft__http_unquote(struct weft__slice raw, char *buf, size_t cap);

/* "type/subtype; params". `params` goes to weft__http_param_next(). */
struct weft__http_media_type {
    struct weft__slice type;
    struct weft__slice subtype;
    struct weft__slice params;
};
bool weft__http_media_type(struct weft__slice value, struct weft__http_media_type *m);

/* A parameter by its name; false when it is not there or the parameters are not valid. */
bool weft__http_param_find(struct weft__slice params, const char *name,
                           struct weft__http_param *param);

/*
 * Quality of a content coding by Accept-Encoding, 0 to 1000 (RFC 9110 section 12.5.3). An absent
 * field (at == NULL) accepts everything; identity is accepted unless it is excluded.
 */
unsigned weft__http_coding_quality(struct weft__slice accept_encoding, const char *coding);

/*
 * The best of `count` codings that the server offers, in its own order of preference where quality
 * is equal; "identity" may be among them. -1 when none is acceptable.
 */
int weft__http_coding_choose(struct weft__slice accept_encoding, const char *const *offers,
                             size_t count);

/* The same for Accept and media types without parameters ("text/html"): section 12.5.1. */
unsigned weft__http_type_quality(struct weft__slice accept, const char *type);
int weft__http_type_choose(struct weft__slice accept, const char *const *offers, size_t count);

/* "attachment; filename=...". Names are decoded to UTF-8, filename* before filename (RFC 6266),
   without folders: what is before the last '/' or '\' is dropped; "" when there is none. */
struct weft__http_disposition {
    struct weft__slice type; /* "attachment", "form-data" */
    bool has_name;
    bool has_filename;
    char name[256];
    char filename[256]; /* longer ones make the value invalid, as do NUL and control characters */
};
bool weft__http_disposition(struct weft__slice value, struct weft__http_disposition *d);

/* ---- dates: http_date.c, RFC 9110 section 5.6.7 ---- */

/* Writes "Sun, 06 Nov 1994 08:49:37 GMT" and a NUL: 30 bytes. False outside the years 0-9999
   (buf is then untouched). */
bool weft__http_date_format(int64_t unix_s, char buf[30]);

/* Reads any of the three formats. now_s decides the century of a year of two digits. */
bool weft__http_date_parse(struct weft__slice value, int64_t now_s, int64_t *unix_s);

/* The seconds of a date, its month from 1; false when there is no such date from 0 to 9999. */
bool weft__http_date_of(int64_t year, unsigned month, unsigned day, unsigned hour, unsigned minute,
                        unsigned second, int64_t *unix_s);

/* ---- entity tags and conditions: http_etag.c, RFC 9110 sections 8.8 and 13 ---- */

struct weft__http_etag {
    bool weak;
    struct weft__slice opaque; /* without the quotes */
};
bool weft__http_etag_parse(struct weft__slice value, struct weft__http_etag *tag);
bool weft__http_etag_equal(struct weft__http_etag a, struct weft__http_etag b, bool strong);

/* True when a list of tags has `tag`, or is "*". An invalid list has none. */
bool weft__http_etag_listed(struct weft__slice list, struct weft__http_etag tag, bool strong);

/* What is known of the thing asked for. */
struct weft__http_validators {
    bool exists;
    const struct weft__http_etag *etag; /* NULL: has none */
    int64_t modified_s;                 /* unless no_modified */
    bool no_modified;
};

/* The fields of a request; absent ones have at == NULL. */
struct weft__http_conditions {
    struct weft__slice if_match;
    struct weft__slice if_none_match;
    struct weft__slice if_modified_since;
    struct weft__slice if_unmodified_since;
    struct weft__slice if_range;
    int64_t now_s;
};

/* In the order of section 13.2.2: 0 = go on, 304 or 412. */
int weft__http_preconditions(const struct weft__http_conditions *c,
                             const struct weft__http_validators *v, enum weft__http_method method);

/* True when a Range field is to be heeded: no If-Range, or one that names what is there. */
bool weft__http_if_range(const struct weft__http_conditions *c,
                         const struct weft__http_validators *v);

/* ---- ranges: http_range.c, RFC 9110 section 14 ---- */

#define WEFT__HTTP_RANGES_MAX 16

struct weft__http_range {
    uint64_t first;
    uint64_t last; /* included */
};

/*
 * Reads a Range field for something of `size` bytes. At most WEFT__HTTP_RANGES_MAX ranges may be
 * asked for; of those, ranges that overlap or touch are joined and unsatisfiable ones dropped; the
 * order is that of the request, but the joined ones, which stand where the first of them stood.
 * Returns how many there are; 0 when the field is to be ignored (another unit, not valid, too many
 * ranges); -ERANGE when none is satisfiable: answer 416.
 */
int weft__http_range_parse(struct weft__slice value, uint64_t size,
                           struct weft__http_range out[WEFT__HTTP_RANGES_MAX]);

/* Content-Range. Writing gives "bytes 0-9/100", or "bytes * /100" (without the space) for r ==
   NULL, and a NUL, and returns its length. */
#define WEFT__HTTP_CONTENT_RANGE_CAP 72
size_t weft__http_content_range_format(const struct weft__http_range *r, uint64_t size,
                                       char buf[WEFT__HTTP_CONTENT_RANGE_CAP]);

struct weft__http_content_range {
    bool unsatisfied; /* "*" instead of a range */
    bool size_known;
    struct weft__http_range range;
    uint64_t size;
};
bool weft__http_content_range_parse(struct weft__slice value, struct weft__http_content_range *r);

/* ---- cookies: http_cookie.c, RFC 6265bis ---- */

#define WEFT__HTTP_COOKIE_PAIR_MAX 4096      /* bytes of name and value together */
#define WEFT__HTTP_COOKIE_ATTRIBUTE_MAX 1024 /* bytes of an attribute's value */

/* Takes the next pair off *rest. Pairs without '=' and with control characters are skipped, as are
   pairs that are too long; quotes around a value are kept off. False at the end. */
bool weft__http_cookie_next(struct weft__slice *rest, struct weft__slice *name,
                            struct weft__slice *value);

/* The first cookie of that name. */
bool weft__http_cookie_find(struct weft__slice cookies, const char *name,
                            struct weft__slice *value);

enum weft__http_same_site {
    WEFT__HTTP_SAME_SITE_UNSET,
    WEFT__HTTP_SAME_SITE_STRICT,
    WEFT__HTTP_SAME_SITE_LAX,
    WEFT__HTTP_SAME_SITE_NONE
};

struct weft__http_set_cookie {
    struct weft__slice name;
    struct weft__slice value;
    struct weft__slice domain; /* without a leading dot; empty: only the host itself */
    struct weft__slice path;   /* empty: the default-path of the request's URL */
    bool has_max_age;
    bool has_expires;
    bool secure;
    bool http_only;
    enum weft__http_same_site same_site;
    int64_t max_age_s;    /* 0 or less: at once; at most 400 days */
    int64_t expires_unix; /* Max-Age comes before it */
};

/* Reads a Set-Cookie field as browsers do (section 5.6); false when the cookie is to be ignored:
   too long, no name and no value, control characters, "__Secure-", "__Host-" or SameSite=None whose
   rules are not kept. now_s bounds Expires by 400 days. */
bool weft__http_set_cookie_parse(struct weft__slice value, int64_t now_s,
                                 struct weft__http_set_cookie *c);

/* Writes a Set-Cookie value, strictly (section 4.1). Returns its length, -EINVAL with a detail, or
   -ENOBUFS. */
ssize_t weft__http_set_cookie_build(const struct weft__http_set_cookie *c, char *buf, size_t cap);

/* ---- credentials and encodings: http_text.c ---- */

/* "Basic dXNlcjpwYXNz" (RFC 7617) into buf; both slices point into it. False when it is not that
   or does not fit. */
bool weft__http_basic_parse(struct weft__slice value, char *buf, size_t cap,
                            struct weft__slice *user, struct weft__slice *password);
/* -1: a colon in the user's name, more than 511 bytes together, or it does not fit. */
ssize_t weft__http_basic_build(struct weft__slice user, struct weft__slice password, char *buf,
                               size_t cap);

/* Base64, RFC 4648 section 4. Decoding wants the padding and no white space. -1: not valid or does
   not fit. */
ssize_t weft__base64_encode(const void *data, size_t len, char *buf, size_t cap);
ssize_t weft__base64_decode(struct weft__slice text, void *buf, size_t cap);

/* Decodes %XX; with plus, '+' is a space. -1: a '%' without two digits, or does not fit; buf may be
   the text itself. Whoever decodes a path looks at the result for NUL, "/" and "..". */
ssize_t weft__percent_decode(struct weft__slice text, bool plus, char *buf, size_t cap);

/* Encodes all but unreserved characters (RFC 3986 section 2.3) and those in `keep`. */
ssize_t weft__percent_encode(struct weft__slice text, const char *keep, char *buf, size_t cap);

/*
 * Takes the next "name=value" off a query or an application/x-www-form-urlencoded body. Both are
 * still encoded: weft__form_decode() decodes one, in which a '%' without two digits stands for
 * itself (WHATWG URL section 5.1). Empty pairs are skipped. False at the end.
 */
bool weft__form_next(struct weft__slice *rest, struct weft__slice *name, struct weft__slice *value);
ssize_t weft__form_decode(struct weft__slice text, char *buf, size_t cap);
/* Where what is a NUL when decoded stands in a query or body; its length: nowhere. */
size_t weft__form_find_nul(struct weft__slice text);

/* ---- media types of files: mime.c ---- */

/*
 * The type of a file by the extension of its name, whatever its case: "text/html" for
 * "a/index.HTML". "application/octet-stream" for an extension that is not known. The built-in
 * table; the string is static.
 */
const char *weft__mime_builtin(struct weft__slice file_name);

/*
 * A table from the text of a file like Debian's /etc/mime.types, which the caller has read; what it
 * does not know falls back to the built-in one. At most 1 MiB of text and 8,192 extensions, the
 * rest is left out. -ENOMEM. free takes NULL.
 */
struct weft__mime;
int weft__mime_open(struct weft__mime **ret, struct weft__slice text);
void weft__mime_free(struct weft__mime *m);

/* m may be NULL. The string lives as long as m. */
const char *weft__mime_type(const struct weft__mime *m, struct weft__slice file_name);

#endif
