/* SPDX-License-Identifier: MIT */
#ifndef WEFT__HTTP_H1_BODY_H
#define WEFT__HTTP_H1_BODY_H
/*
 * Bodies of HTTP/1 messages on a stream, in and out, for server and client (floor 5): by length,
 * chunked with trailers, up to the end of the connection (RFC 9112 sections 6 and 7).
 *
 * Invariants:
 *  - a body that is read takes from the stream what is its own and nothing more;
 *  - bytes are shown where they lie in the stream's read-ahead, without a copy;
 *  - an error stays, but for a time-out by the caller's own deadline and a cancel, after which the
 *    call may be made again and nothing is lost;
 *  - a body that is written never has another length than was announced: what would be too much is
 *    refused, what is too little is an error of its end.
 */
#include <weft/stream.h>

#include "wire/http1.h"

/* --- In -------------------------------------------------------------------------------------- */

/* Zero means no limit, but for max. */
struct weft__h1_body_limits {
    uint64_t max;        /* bytes of the body */
    int64_t gap_ns;      /* between two pieces */
    int64_t grace_ns;    /* from when on min_rate counts */
    int64_t min_rate;    /* bytes a second */
    weft_deadline until; /* of all of it; ns 0: none */
};

struct weft__h1_body {
    struct weft_stream *s;
    enum weft__http1_body kind;
    bool done;  /* its end was read */
    bool begun; /* the first call has been made */
    int error;
    uint64_t left; /* LENGTH: still to come */
    uint64_t got;  /* bytes that were shown or given */
    struct weft__h1_body_limits limits;
    int64_t waited_ns;  /* spent waiting for the peer */
    size_t piece, tail; /* CHUNKED: of the decoded piece left, and framing behind it */
    struct weft__http1_chunked chunked;
    char *trailers; /* what the spans of chunked.fields count from; owned */
};

/*
 * Begins the body that h announces. limits: copied. fields: room for trailers, the caller's until
 * fini; NULL and 0: they are checked and dropped. A length beyond limits.max is an error of the
 * first reading call: -EMSGSIZE.
 */
void weft__h1_body_init(struct weft__h1_body *b, struct weft_stream *s,
                        const struct weft__http1_head *h, const struct weft__h1_body_limits *limits,
                        struct weft__http1_field *fields, uint32_t fields_cap);
void weft__h1_body_fini(struct weft__h1_body *b);

/*
 * Shows at least one byte, where it lies; 0 at the end. Valid until the next call. Waits.
 * -EMSGSIZE: longer than limits.max; WEFT_EPROTOCOL with chunked.error; WEFT_EEOF: cut off;
 * -ETIMEDOUT: d, or a limit (then it stays).
 */
ssize_t weft__h1_body_peek(struct weft__h1_body *b, const void **data, weft_deadline d);
/* Takes n of the bytes that were shown. */
void weft__h1_body_consume(struct weft__h1_body *b, size_t n);
/* Some bytes into buf, 0 at the end; large pieces come without a copy between. */
ssize_t weft__h1_body_read(struct weft__h1_body *b, void *buf, size_t cap, weft_deadline d);
/* Reads and drops the rest, at most max bytes of it: 1 at the end, 0 when there is more, or < 0. */
int weft__h1_body_drop(struct weft__h1_body *b, uint64_t max, weft_deadline d);

/* --- Out ------------------------------------------------------------------------------------- */

struct weft__h1_out {
    struct weft_stream *s;
    enum weft__http1_body kind; /* NO_BODY: what is written is counted and not sent (HEAD) */
    uint64_t left;              /* LENGTH: still to be written */
    bool done;
};

/* length: of LENGTH. */
void weft__h1_out_init(struct weft__h1_out *o, struct weft_stream *s, enum weft__http1_body kind,
                       uint64_t length);
/* One piece; len 0 does nothing. -EMSGSIZE: more than was announced. Else as weft_write. */
int weft__h1_out_write(struct weft__h1_out *o, const void *data, size_t len, weft_deadline d);
/* The same with something before it, the head, in one write. */
int weft__h1_out_begin(struct weft__h1_out *o, const void *head, size_t head_len, const void *data,
                       size_t len, weft_deadline d);
/* The end. trailers: built fields with their empty line, CHUNKED only; NULL: none. -EMSGSIZE: less
 * than was announced: the connection cannot go on. */
int weft__h1_out_end(struct weft__h1_out *o, const void *trailers, size_t len, weft_deadline d);

#endif
