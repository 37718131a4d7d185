/* SPDX-License-Identifier: MIT */
/*
 * The first line of a request and of a response (RFC 9112 sections 3 and 4); see http1_head.h.
 *
 * Floor 0. The line holds no control character but HTAB.
 */
#include <weft/error.h>

#include "wire/http1_head.h"
#include "wire/http1_line.h"

static struct weft__http_span span(size_t from, size_t to)
{
    return (struct weft__http_span){(uint32_t)from, (uint32_t)(to - from)};
}

/* "HTTP/1.1" in 8 bytes; false when it is not of that form. */
static inline bool version(const char *at, unsigned *major, unsigned *minor)
{
    if (WEFT__LIKELY(memcmp(at, "HTTP/1.1", 8) == 0)) {
        *major = 1;
        *minor = 1;
        return true;
    }
    if (memcmp(at, "HTTP/", 5) != 0 || at[6] != '.' || !weft__http_is(at[5], WEFT__HC_DIGIT) ||
        !weft__http_is(at[7], WEFT__HC_DIGIT))
        return false;
    *major = (unsigned)(at[5] - '0');
    *minor = (unsigned)(at[7] - '0');
    return true;
}

/* RFC 9110 section 2.5: a higher minor version is read as the highest that is known. */
static uint8_t minor_of(unsigned minor)
{
    return minor == 0 ? 0 : 1;
}

/* "/path?query" in [from, to), of which the characters have been looked at: those before `at` are
   of the path, and that one is not. */
static int path_and_query(struct weft__http1_head *h, const char *data, size_t from, size_t at,
                          size_t to)
{
    if (at < to && data[at] != '?')
        return weft__http1_refuse(&h->error, 400, at, "there is a backslash in a path");
    h->path = span(from, at);
    h->has_query = at < to;
    h->query = span(h->has_query ? at + 1 : to, to);
    return 0;
}

/* scheme "://" authority [path] ["?" query]; without user information (RFC 9110 section 4.2.4). */
static int absolute_form(struct weft__http1_head *h, const char *data, size_t from, size_t to)
{
    size_t at = from;
    struct weft__slice host;
    int port;
    while (at < to &&
           (weft__http_is(data[at], WEFT__HC_DIGIT) || data[at] == '+' || data[at] == '-' ||
            data[at] == '.' || ((unsigned)(data[at] | 0x20) - 'a') < 26))
        at++;
    if (((unsigned)(data[from] | 0x20) - 'a') >= 26 || to - at < 3 ||
        memcmp(data + at, "://", 3) != 0)
        return weft__http1_refuse(&h->error, 400, from, "a target has none of the four forms");
    h->scheme = span(from, at);
    size_t authority = at + 3;
    for (at = authority; at < to && data[at] != '/' && data[at] != '?';)
        at++;
    if (at == authority ||
        !weft__http_host_split(weft__slice_of(data + authority, at - authority), &host, &port))
        return weft__http1_refuse(&h->error, 400, authority, "a target has no valid host");
    h->form = WEFT__HTTP1_ABSOLUTE;
    h->authority = span(authority, at);
    h->host = span(authority, authority + host.len);
    h->port = port;
    size_t path = at;
    while (at < to && weft__http_is(data[at], WEFT__HC_PATH))
        at++;
    return path_and_query(h, data, path, at, to);
}

/* "host:port", both of which must be there (RFC 9112 section 3.2.3). */
static int authority_form(struct weft__http1_head *h, const char *data, size_t from, size_t to)
{
    struct weft__slice host;
    int port;
    if (!weft__http_host_split(weft__slice_of(data + from, to - from), &host, &port) || port <= 0)
        return weft__http1_refuse(&h->error, 400, from, "CONNECT has no valid host and port");
    h->form = WEFT__HTTP1_AUTHORITY;
    h->authority = span(from, to);
    h->host = span(from, from + host.len);
    h->port = port;
    return 0;
}

/* The four forms of section 3.2. `mark`: the first character that is not of a path. */
static int target_form(struct weft__http1_head *h, const char *data, size_t from, size_t mark,
                       size_t to)
{
    if (WEFT__UNLIKELY(h->method == WEFT__HTTP_CONNECT))
        return authority_form(h, data, from, to);
    if (WEFT__LIKELY(data[from] == '/')) {
        h->form = WEFT__HTTP1_ORIGIN;
        return path_and_query(h, data, from, mark, to);
    }
    if (to - from == 1 && data[from] == '*') {
        if (h->method != WEFT__HTTP_OPTIONS)
            return weft__http1_refuse(&h->error, 400, from, "the target * is for OPTIONS alone");
        h->form = WEFT__HTTP1_ASTERISK;
        h->path = h->target;
        return 0;
    }
    return absolute_form(h, data, from, to);
}

int weft__http1_request_line(struct weft__http1_head *h, const char *data, size_t from, size_t to)
{
    struct weft__http1_error *e = &h->error;
    unsigned major;
    unsigned minor;
    size_t at = from;

    if (to - from > 4 && memcmp(data + from, "GET ", 4) == 0) { /* most are */
        h->method = WEFT__HTTP_GET;
        at = from + 3;
    } else {
        while (at < to && weft__http_is(data[at], WEFT__HC_TOKEN))
            at++;
        h->method = weft__http_method_of(weft__slice_of(data + from, at - from));
    }
    if (at == to)
        return weft__http1_refuse(e, 400, at, "a request line ends after its method");
    if (data[at] != ' ' || at == from)
        return weft__http1_refuse(e, 400, at, "a method has a character that none may have");
    if (at - from > WEFT__HTTP1_METHOD_MAX) /* RFC 9112 section 3 */
        return weft__http1_refuse(e, 501, from + WEFT__HTTP1_METHOD_MAX, "the method is too long");
    h->method_name = span(from, at);

    size_t target = ++at;
    while (at < to && weft__http_is(data[at], WEFT__HC_PATH))
        at++;
    size_t mark = at;
    while (at < to && weft__http_is(data[at], WEFT__HC_TARGET))
        at++;
    if (at == to)
        return weft__http1_refuse(e, 400, at, "a request line ends after its target");
    if (data[at] != ' ' || at == target)
        return weft__http1_refuse(e, 400, at, "a target has a character that none may have");
    h->target = span(target, at);

    if (to - at != 9 || !version(data + at + 1, &major, &minor))
        return weft__http1_refuse(e, 400, at + 1, "a request line has no version at its end");
    if (major != 1)
        return weft__http1_refuse(e, 505, at + 1, "the version is not 1.0 or 1.1");
    h->minor = minor_of(minor);
    return target_form(h, data, target, mark, at);
}

int weft__http1_status_line(struct weft__http1_head *h, const char *data, size_t from, size_t to)
{
    struct weft__http1_error *e = &h->error;
    unsigned major;
    unsigned minor;
    size_t at = from + 8;

    if (to - from < 8 || !version(data + from, &major, &minor))
        return weft__http1_refuse(e, 400, from, "a status line has no version at its beginning");
    if (major != 1)
        return weft__http1_refuse(e, 505, from, "the version is not 1.0 or 1.1");
    h->minor = minor_of(minor);
    if (to - at < 4 || data[at] != ' ' ||
        !weft__http_all(weft__slice_of(data + at + 1, 3), WEFT__HC_DIGIT) || data[at + 1] == '0')
        return weft__http1_refuse(e, 400, at, "a status line has no status of three digits");
    h->status = (data[at + 1] - '0') * 100 + (data[at + 2] - '0') * 10 + (data[at + 3] - '0');
    at += 4;
    if (at < to && data[at] != ' ')
        return weft__http1_refuse(e, 400, at, "a status does not end after three digits");
    h->reason = span(at < to ? at + 1 : to, to);
    return 0;
}
