/* SPDX-License-Identifier: MIT */
/* Heads of HTTP/1 on a stream. Floor 5. See h1_head.h. */
#include "http/h1_head.h"

#include <weft/error.h>

static ssize_t parse(struct weft__http1_head *h, struct weft__http1_scan *scan, bool request,
                     enum weft__http_method method, const char *data, size_t len)
{
    return request ? weft__http1_parse_request(h, scan, data, len)
                   : weft__http1_parse_response(h, scan, method, data, len);
}

static ssize_t read_head(struct weft_stream *s, struct weft__http1_head *h,
                         struct weft__http1_scan *scan, bool request, enum weft__http_method method,
                         const char **ret, weft_deadline d)
{
    const void *data;
    size_t want = 1;
    if (h->limits.head == 0 || h->limits.head > WEFT__H1_HEAD_MAX)
        h->limits.head = WEFT__H1_HEAD_MAX;
    for (;;) {
        ssize_t have = weft_peek_min(s, &data, want, d);
        if (have <= 0)
            return have;
        ssize_t n = parse(h, scan, request, method, data, (size_t)have);
        if (n != 0) {
            *ret = data;
            return n;
        }
        want = (size_t)have + 1; /* at most head's limit, where the parser refuses */
    }
}

ssize_t weft__h1_read_request(struct weft_stream *s, struct weft__http1_head *h,
                              struct weft__http1_scan *scan, const char **data, weft_deadline d)
{
    return read_head(s, h, scan, true, WEFT__HTTP_OTHER, data, d);
}

ssize_t weft__h1_read_response(struct weft_stream *s, struct weft__http1_head *h,
                               struct weft__http1_scan *scan, enum weft__http_method method,
                               const char **data, weft_deadline d)
{
    return read_head(s, h, scan, false, method, data, d);
}

int weft__h1_send(struct weft_stream *s, const void *head, size_t head_len, const void *body,
                  size_t body_len, weft_deadline d)
{
    if (body_len == 0)
        return weft_write(s, head, head_len, d);
    struct iovec iov[2] = {{(void *)(uintptr_t)head, head_len},
                           {(void *)(uintptr_t)body, body_len}};
    return weft_writev(s, iov, 2, d);
}
