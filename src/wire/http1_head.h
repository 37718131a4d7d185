/* SPDX-License-Identifier: MIT */
/*
 * What the files of the HTTP/1 head parser share: http1.c (lines), http1_start.c (request and
 * status line), http1_frame.c (fields that decide about the body and the connection).
 *
 * Floor 0. All return 0 or what weft__http1_refuse() returned.
 */
#ifndef WEFT__WIRE_HTTP1_HEAD_H
#define WEFT__WIRE_HTTP1_HEAD_H

#include "wire/http1.h"

#define WEFT__HTTP1_BIT(name) (UINT64_C(1) << (name))

/* The fields that weft__http1_frame_field() wants to see. */
#define WEFT__HTTP1_FRAMING                                                                        \
    (WEFT__HTTP1_BIT(WEFT__HN_HOST) | WEFT__HTTP1_BIT(WEFT__HN_CONTENT_LENGTH) |                   \
     WEFT__HTTP1_BIT(WEFT__HN_TRANSFER_ENCODING) | WEFT__HTTP1_BIT(WEFT__HN_CONNECTION) |          \
     WEFT__HTTP1_BIT(WEFT__HN_EXPECT))

/* The request line in [from, to), and the status line. */
int weft__http1_request_line(struct weft__http1_head *h, const char *data, size_t from, size_t to);
int weft__http1_status_line(struct weft__http1_head *h, const char *data, size_t from, size_t to);

/* One of the fields above; h->seen does not have it yet. */
int weft__http1_frame_field(struct weft__http1_head *h, const char *data,
                            const struct weft__http1_field *f, bool response);

/* At the end of the head, `at`. */
int weft__http1_frame_request(struct weft__http1_head *h, size_t at);
void weft__http1_frame_response(struct weft__http1_head *h, enum weft__http_method method);

#endif
