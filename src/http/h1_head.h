/* SPDX-License-Identifier: MIT */
#ifndef WEFT__HTTP_H1_HEAD_H
#define WEFT__HTTP_H1_HEAD_H
/*
 * Heads of HTTP/1 on a stream, for server and client (floor 5). wire/http1.h knows what they look
 * like; this brings the bytes.
 *
 * Invariants: a head is parsed where it lies in the stream's read-ahead, and stays there until the
 * caller consumes it; a call that is cut off may be made again with the same head and scan.
 */
#include <weft/stream.h>

#include "wire/http1.h"

/* weft_peek_min can give so much at once. */
#define WEFT__H1_HEAD_MAX 65536u

/*
 * Waits for the whole head of a request and parses it. h: as for weft__http1_parse_request; scan:
 * zeroed before a new head. *data: where it lies, valid until the stream is read again; the spans
 * of h count from there. Waits; a cancellation point.
 * Returns its length, which the caller is to consume; 0 when the stream ends before its first byte;
 * WEFT_EEOF within it; WEFT_EPROTOCOL and WEFT_ETOOLONG with h->error; else as weft_peek_min.
 */
ssize_t weft__h1_read_request(struct weft_stream *s, struct weft__http1_head *h,
                              struct weft__http1_scan *scan, const char **data, weft_deadline d);

/* The same for a response to a request of that method. Interim responses (1xx) are returned, too.
 */
ssize_t weft__h1_read_response(struct weft_stream *s, struct weft__http1_head *h,
                               struct weft__http1_scan *scan, enum weft__http_method method,
                               const char **data, weft_deadline d);

/* Writes a head that was built, and a body (or its beginning) with it, as one write. */
int weft__h1_send(struct weft_stream *s, const void *head, size_t head_len, const void *body,
                  size_t body_len, weft_deadline d);

#endif
