/* SPDX-License-Identifier: MIT */
/*
 * Which fields decide where a message ends and whether another may follow (RFC 9112 sections 6, 7
 * and 9, RFC 9110 section 7.2); see http1_head.h.
 *
 * Floor 0. This is where request smuggling is kept out: what leaves any doubt about the length of a
 * body is refused.
 */
#include <weft/error.h>

#include "wire/http1_head.h"
#include "wire/http1_line.h"
#include "wire/http_field.h"

static int refuse(struct weft__http1_head *h, const struct weft__http1_field *f, int status,
                  const char *why)
{
    return weft__http1_refuse(&h->error, status, f->value.at, why);
}

static bool seen(const struct weft__http1_head *h, enum weft__http_name name)
{
    return (h->seen >> name & 1) != 0;
}

/* Checks a Host that is not the one of the head before, and remembers it. */
static __attribute__((noinline)) bool learn_host(struct weft__http1_host *known,
                                                 struct weft__slice value)
{
    struct weft__slice host;
    int port;
    if (!weft__http_host_split(value, &host, &port))
        return false;
    known->len = (uint8_t)(value.len <= sizeof known->text ? value.len : 0);
    if (known->len > 0)
        memcpy(known->text, value.at, value.len);
    known->host_len = (uint8_t)host.len; /* <= WEFT__HTTP_HOST_MAX */
    known->port = port;
    return true;
}

/* RFC 9112 section 3.2: one, valid; what an absolute target says comes before it. */
static int host_field(struct weft__http1_head *h, const char *data,
                      const struct weft__http1_field *f)
{
    struct weft__http1_host *known = &h->known;
    struct weft__slice value = weft__http_slice(data, f->value);
    if (seen(h, WEFT__HN_HOST))
        return refuse(h, f, 400, "there are two Host fields");
    bool same =
        value.len > 0 && value.len == known->len && memcmp(value.at, known->text, value.len) == 0;
    if (!same && !learn_host(known, value))
        return refuse(h, f, 400, "the Host field is not valid");
    if (h->authority.len == 0) {
        h->authority = f->value;
        h->host = (struct weft__http_span){f->value.at, known->host_len};
        h->port = known->port;
    }
    return 0;
}

/* RFC 9112 section 6.3 would let a list of equal numbers pass; nobody honest sends one. */
static int length_field(struct weft__http1_head *h, const char *data,
                        const struct weft__http1_field *f)
{
    uint64_t n;
    if (h->has_length)
        return refuse(h, f, 400, "there are two Content-Length fields");
    if (seen(h, WEFT__HN_TRANSFER_ENCODING))
        return refuse(h, f, 400, "there are both Transfer-Encoding and Content-Length");
    if (!weft__http_decimal(weft__http_slice(data, f->value), &n) || n > INT64_MAX)
        return refuse(h, f, 400, "the Content-Length is not a number below 2^63");
    h->has_length = true;
    h->content_length = n;
    return 0;
}

/* True for a list of codings, with or without parameters, the last of which is chunked. */
static bool ends_in_chunked(struct weft__slice list)
{
    struct weft__slice item;
    struct weft__slice last = {NULL, 0};
    while (weft__http_list_next(&list, &item)) {
        if (last.at != NULL && weft__slice_is_nocase(last, "chunked"))
            return false;
        if (!weft__http_token(
                weft__slice_trim(weft__slice_part(item, 0, weft__slice_find(item, ';', 0)))))
            return false;
        last = item;
    }
    return last.at != NULL && weft__slice_is_nocase(last, "chunked");
}

/* RFC 9112 sections 6.1 and 6.3. */
static int transfer_field(struct weft__http1_head *h, const char *data,
                          const struct weft__http1_field *f)
{
    struct weft__slice value = weft__http_slice(data, f->value);
    if (seen(h, WEFT__HN_TRANSFER_ENCODING))
        return refuse(h, f, 400, "there are two Transfer-Encoding fields");
    if (h->has_length)
        return refuse(h, f, 400, "there are both Content-Length and Transfer-Encoding");
    if (h->minor == 0)
        return refuse(h, f, 400, "there is Transfer-Encoding in HTTP/1.0");
    if (weft__slice_is_nocase(value, "chunked"))
        return 0;
    if (ends_in_chunked(value))
        return refuse(h, f, 501, "there is a transfer coding besides chunked");
    return refuse(h, f, 400, "the Transfer-Encoding does not end in chunked");
}

/* RFC 9110 section 7.6.1. Until the head ends, keep_alive and upgrade say what the field lists. */
static int connection_field(struct weft__http1_head *h, const char *data,
                            const struct weft__http1_field *f)
{
    struct weft__slice rest = weft__http_slice(data, f->value);
    struct weft__slice item;
    /* nearly always it is one of these; a value holds no control character, see http_name.h */
    if (rest.len == 10 && weft__http_name_same(rest.at, "keep-alive", 10)) {
        h->keep_alive = true;
        return 0;
    }
    if (rest.len == 5 && weft__http_name_same(rest.at, "close", 5)) {
        h->close = true;
        return 0;
    }
    while (weft__http_list_next(&rest, &item)) {
        if (!weft__http_token(item))
            return refuse(h, f, 400, "the Connection field is not a list of tokens");
        if (weft__slice_is_nocase(item, "close"))
            h->close = true;
        else if (weft__slice_is_nocase(item, "keep-alive"))
            h->keep_alive = true;
        else if (weft__slice_is_nocase(item, "upgrade"))
            h->upgrade = true;
    }
    return 0;
}

int weft__http1_frame_field(struct weft__http1_head *h, const char *data,
                            const struct weft__http1_field *f, bool response)
{
    switch (f->id) {
    case WEFT__HN_HOST:
        return response ? 0 : host_field(h, data, f);
    case WEFT__HN_CONTENT_LENGTH:
        return length_field(h, data, f);
    case WEFT__HN_TRANSFER_ENCODING:
        return transfer_field(h, data, f);
    case WEFT__HN_CONNECTION:
        return connection_field(h, data, f);
    case WEFT__HN_EXPECT: /* RFC 9110 section 10.1.1 */
        if (weft__slice_is_nocase(weft__http_slice(data, f->value), "100-continue"))
            h->expect_continue = true;
        else
            h->expect_other = true;
        return 0;
    default:
        return 0;
    }
}

/* RFC 9112 section 9.3. */
static void persistence(struct weft__http1_head *h)
{
    h->keep_alive = !h->close && (h->minor > 0 || h->keep_alive);
    h->upgrade = h->upgrade && h->minor > 0 && seen(h, WEFT__HN_UPGRADE);
}

/* What the fields say about the body, where the kind of message lets it have one. */
static void body_of(struct weft__http1_head *h)
{
    if (seen(h, WEFT__HN_TRANSFER_ENCODING))
        h->body = WEFT__HTTP1_CHUNKED;
    else if (h->content_length > 0) {
        h->body = WEFT__HTTP1_LENGTH;
        h->length = h->content_length;
    }
}

int weft__http1_frame_request(struct weft__http1_head *h, size_t at)
{
    if (h->minor > 0 && !seen(h, WEFT__HN_HOST))
        return weft__http1_refuse(&h->error, 400, at, "there is no Host field");
    body_of(h);
    /* RFC 9110 sections 9.3.6 and 9.3.8: there is none, and what comes next is not to be guessed */
    if (h->body != WEFT__HTTP1_NO_BODY &&
        (h->method == WEFT__HTTP_CONNECT || h->method == WEFT__HTTP_TRACE))
        return weft__http1_refuse(&h->error, 400, at, "there is a body with CONNECT or TRACE");
    persistence(h);
    /* RFC 9110 section 10.1.1: not from a 1.0 client, and not without a body */
    if (h->minor == 0) {
        h->expect_continue = false;
        h->expect_other = false;
    }
    if (h->body == WEFT__HTTP1_NO_BODY)
        h->expect_continue = false;
    return 0;
}

/* In the order of RFC 9112 section 6.3. */
void weft__http1_frame_response(struct weft__http1_head *h, enum weft__http_method method)
{
    bool success = h->status >= 200 && h->status < 300;
    h->tunnel = h->status == 101 || (method == WEFT__HTTP_CONNECT && success);
    persistence(h);
    if (h->tunnel) {
        h->keep_alive = false;
        return;
    }
    if (method == WEFT__HTTP_HEAD || h->status < 200 || h->status == 204 || h->status == 304)
        return;
    body_of(h);
    if (h->body == WEFT__HTTP1_NO_BODY && !h->has_length) {
        h->body = WEFT__HTTP1_CLOSE;
        h->keep_alive = false;
    }
}
