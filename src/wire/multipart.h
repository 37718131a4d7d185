/* SPDX-License-Identifier: MIT */
/*
 * multipart/form-data (RFC 7578) and other multipart bodies (RFC 2046 section 5.1), without I/O:
 * bytes in, parts out, as they come.
 *
 * Floor 0. Strict: a line that begins with the boundary is a boundary and nothing else, or the body
 * is refused; fields of parts obey the rules of HTTP/1's.
 *
 * Invariants: the result depends on the bytes alone, not on the pieces in which they arrive;
 * nothing is allocated; the window that the parser asks to be given again is at most
 * weft__multipart_window() bytes, so a part's size does not matter. Does not wait; any thread.
 *
 *     while ((r = weft__multipart_next(&m, data, len, &used)) > 0 && r != END)
 *         use the event, then drop `used` bytes from the front of data
 *     r = 0: drop `used` bytes, add bytes behind the rest, and call again
 */
#ifndef WEFT__WIRE_MULTIPART_H
#define WEFT__WIRE_MULTIPART_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wire/http1.h"
#include "wire/http_field.h"
#include "wire/slice.h"

/* Zero takes the default. */
struct weft__multipart_limits {
    uint32_t parts;    /* 128 */
    uint32_t head;     /* bytes of a part's fields with their line ends: 8 KiB */
    uint32_t line;     /* bytes of one field: 4 KiB */
    uint32_t preamble; /* bytes before the first boundary: 1 KiB */
    uint64_t part;     /* bytes of one part's content: no limit of its own */
};
#define WEFT__MULTIPART_PARTS 128u
#define WEFT__MULTIPART_HEAD 8192u
#define WEFT__MULTIPART_LINE 4096u
#define WEFT__MULTIPART_PREAMBLE 1024u
#define WEFT__MULTIPART_FIELDS 16u   /* of one part */
#define WEFT__MULTIPART_BOUNDARY 70u /* RFC 2046 section 5.1.1 */
#define WEFT__MULTIPART_PADDING 64u  /* white space behind a boundary */

enum weft__multipart_event {
    WEFT__MULTIPART_MORE = 0, /* add bytes */
    WEFT__MULTIPART_PART = 1, /* a part begins: fields, and of a form: disposition */
    WEFT__MULTIPART_DATA = 2, /* a piece of its content, 1 byte or more */
    WEFT__MULTIPART_DONE = 3, /* the part has ended */
    WEFT__MULTIPART_END = 4   /* the body has ended; what follows it means nothing */
};

/* Private but for the groups at its end. */
struct weft__multipart {
    struct weft__multipart_limits limits;
    bool form;
    char delimiter[2 + 2 + WEFT__MULTIPART_BOUNDARY]; /* CR LF "--" boundary */
    size_t delimiter_len;
    uint8_t state;
    uint32_t parts;
    uint64_t consumed;
    uint64_t content; /* bytes of the part so far */
    struct weft__http1_scan scan;

    /* With PART. The spans count from the first byte of the call that returned it. */
    struct weft__http1_field fields[WEFT__MULTIPART_FIELDS];
    uint32_t field_count;
    struct weft__http_disposition disposition; /* of a form; name is always there */

    /* With DATA: points into the call's data. */
    struct weft__slice data;

    struct weft__http1_error error; /* status 400 or 413 */
};

/*
 * The boundary of a Content-Type "multipart/...; boundary=..." into buf; false when it is not that.
 * *form: it is multipart/form-data.
 */
bool weft__multipart_boundary(struct weft__slice content_type, bool *form,
                              char buf[WEFT__MULTIPART_BOUNDARY], size_t *len);

/*
 * Prepares for one body. `form`: each part must have a Content-Disposition "form-data" with a name.
 * -EINVAL with a detail for a boundary that none may be: empty, too long, or with characters
 * outside RFC 2046's bchars.
 */
int weft__multipart_init(struct weft__multipart *m, struct weft__slice boundary, bool form,
                         const struct weft__multipart_limits *limits);

/*
 * Decodes from data[0 .. len), which follows what earlier calls used. Returns an event, or
 * WEFT_EPROTOCOL or WEFT_ETOOLONG with m->error and a detail; *used is untouched then. After END
 * and after an error it must not be called again.
 */
int weft__multipart_next(struct weft__multipart *m, const char *data, size_t len, size_t *used);

/* 0 when the end of the body has been read, else WEFT_EPROTOCOL with a detail: to be asked when no
   more bytes come. */
int weft__multipart_complete(const struct weft__multipart *m);

/* A buffer of so many bytes always makes progress. */
size_t weft__multipart_window(const struct weft__multipart *m);

#endif
