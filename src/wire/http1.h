/* SPDX-License-Identifier: MIT */
/*
 * HTTP/1.0 and HTTP/1.1 without I/O (RFC 9112): heads of requests and responses in, chunked bodies
 * in and out, heads out.
 *
 * Floor 0. It is strict: what two readers could understand differently is refused, never repaired.
 *
 * Invariants:
 * - the result depends on the bytes alone, not on the pieces in which they arrive: a line is judged
 *   when it is whole, a control character in it, and that it is too long, at once;
 * - the end of a line is looked for in each byte once, however the bytes arrive;
 * - results are spans, positions in the caller's buffer, so the buffer may grow and move between
 *   calls as long as the bytes of the message stay in front of it;
 * - nothing is allocated; every length, count and number has a maximum;
 * - a refusal carries the status to answer, a sentence and the position of the byte.
 *
 * How a server reads one request:
 *
 *     struct weft__http1_field fields[100];
 *     struct weft__http1_head h = {.fields = fields, .fields_cap = 100};
 *     struct weft__http1_scan scan = {0};
 *     ssize_t n = weft__http1_parse_request(&h, &scan, data, len);
 *     n > 0: a request; its body begins at data[n]
 *     n = 0: add bytes behind data[len] and call again, with the same h and scan
 *     n < 0: answer h.error.status and close
 */
#ifndef WEFT__WIRE_HTTP1_H
#define WEFT__WIRE_HTTP1_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "wire/cursor.h"
#include "wire/http.h"
#include "wire/slice.h"

/* Bytes [at, at + len) of the buffer that the head was parsed from. */
struct weft__http_span {
    uint32_t at;
    uint32_t len;
};

static inline struct weft__slice weft__http_slice(const char *data, struct weft__http_span s)
{
    return weft__slice_of(data + s.at, s.len);
}

struct weft__http1_field {
    struct weft__http_span name;  /* a token, as it was sent */
    struct weft__http_span value; /* without white space at its ends; may be empty */
    enum weft__http_name id;      /* WEFT__HN_OTHER for a name that is not in the table */
};

/* Zero takes the default. More than WEFT__HTTP1_HEAD_MAX counts as that. */
struct weft__http1_limits {
    uint32_t start_line; /* bytes of the request or status line: 8 KiB; answers 414 */
    uint32_t field_line; /* bytes of one field line: 16 KiB; answers 431 */
    uint32_t head;       /* bytes of the whole head with its line ends: 64 KiB; answers 431 */
};
#define WEFT__HTTP1_START_LINE 8192u
#define WEFT__HTTP1_FIELD_LINE 16384u
#define WEFT__HTTP1_HEAD 65536u
#define WEFT__HTTP1_HEAD_MAX (16u << 20)
#define WEFT__HTTP1_METHOD_MAX 32u /* bytes of a method; a longer one answers 501 */

/* Why a head or body was refused. */
struct weft__http1_error {
    int status;      /* what a server answers: 400, 413, 414, 417, 431, 501, 505 */
    const char *why; /* a static sentence without a full stop: "a line ends in LF without CR" */
    size_t at;       /* position of the byte, from the beginning of the head or body */
};

enum weft__http1_target {
    WEFT__HTTP1_ORIGIN,    /* "/path?query" */
    WEFT__HTTP1_ABSOLUTE,  /* "http://host/path?query" */
    WEFT__HTTP1_AUTHORITY, /* "host:port", of CONNECT and of nothing else */
    WEFT__HTTP1_ASTERISK   /* "*", of OPTIONS and of nothing else */
};

enum weft__http1_body {
    WEFT__HTTP1_NO_BODY, /* the next byte is that of the next message (or of the tunnel) */
    WEFT__HTTP1_LENGTH,  /* `length` bytes, 1 or more */
    WEFT__HTTP1_CHUNKED, /* weft__http1_chunked_next() finds its end */
    WEFT__HTTP1_CLOSE    /* up to the end of the stream; responses only */
};

/* A Host that was found valid: who asks again mostly asks the same host. */
#define WEFT__HTTP1_HOST_KNOWN 56u
struct weft__http1_host {
    uint8_t len, host_len; /* of text; of the host in it. 0: none is known */
    int32_t port;
    char text[WEFT__HTTP1_HOST_KNOWN];
};

/*
 * A head. The caller zeroes it and sets the first group; parsing sets the rest, all of which is
 * defined only after a result > 0, but for `error`, which is defined after a result < 0.
 */
struct weft__http1_head {
    /* the caller's */
    struct weft__http1_field *fields;
    uint32_t fields_cap; /* more fields than this are answered with 431 */
    struct weft__http1_limits limits;

    /* both kinds */
    uint32_t field_count;
    uint64_t seen;   /* bit N: a field with the known name N is there */
    uint8_t minor;   /* of the version: 0 or 1; 1.2 and later count as 1.1 */
    bool keep_alive; /* the connection may carry another message after this one */
    bool close;      /* Connection lists "close" */
    bool upgrade;    /* Connection lists "upgrade" and there is an Upgrade field */
    bool has_length; /* there is a Content-Length; its number is content_length */
    enum weft__http1_body body;
    uint64_t length;         /* of the body, when body is LENGTH; else 0 */
    uint64_t content_length; /* what the field says, also where there is no body (HEAD, 304) */

    /* requests */
    enum weft__http_method method;
    struct weft__http_span method_name;
    enum weft__http1_target form;
    struct weft__http_span target;    /* all of it, as it was sent */
    struct weft__http_span scheme;    /* ABSOLUTE; else empty */
    struct weft__http_span authority; /* host and port that the request is for: the target's if it
                                         has them, else the Host field's; empty if that is */
    struct weft__http_span host;      /* of the authority, with the brackets of IPv6 */
    int32_t port;                     /* of the authority; -1 = the scheme's default */
    struct weft__http_span path;      /* "/..." before "?"; "*" for ASTERISK; empty for AUTHORITY,
                                         and for an ABSOLUTE without one, which means "/" */
    struct weft__http_span query;     /* after "?", without it */
    bool has_query;                   /* there is a "?" */
    bool expect_continue;             /* the client waits for 100 before it sends its body */
    bool expect_other;                /* Expect says something else: a server may answer 417 */

    /* responses */
    int status;
    struct weft__http_span reason;
    bool tunnel; /* what follows is not HTTP: 101, or 2xx to CONNECT */

    struct weft__http1_error error;
    struct weft__http1_host known; /* private: kept from one head to the next */
};

/* How far a head was looked at. Zeroed before the first byte of each; otherwise private. */
struct weft__http1_scan {
    uint32_t line;   /* where the line begins that is being looked at */
    uint32_t looked; /* up to where no end of it was found */
    uint8_t state;
};

/*
 * Parses the head of a request that begins at data[0]. Does not wait; any thread.
 * One empty line before it is skipped (RFC 9112 section 2.2) and counted in the result.
 * Returns the length of the head, > 0; 0 when it needs more bytes; WEFT_EPROTOCOL or WEFT_ETOOLONG
 * with h->error set, and a detail that says the same.
 *
 * What is refused, with 400 unless another status stands here: a method that is no token (501: a
 * long one); a target with a character that none may have (controls, space, '"', '<', '>', '#',
 * '\' in the path, bytes from 0x80 up), or in a form that its method does not have; another
 * version than 1.x (505); LF without CR, CR without LF; a line that begins with white space
 * (obs-fold); white space before a colon, a name that is no token; control characters in a value;
 * no Host in HTTP/1.1, two of them, or one that is not valid; two Content-Length, even if equal, or
 * one that is not a number below 2^63; Transfer-Encoding that is not exactly "chunked" (501: a
 * list of codings that ends in chunked), together with Content-Length, twice, or in HTTP/1.0; a
 * body with CONNECT or TRACE; too long a target (414); too many, too long fields (431).
 */
ssize_t weft__http1_parse_request(struct weft__http1_head *h, struct weft__http1_scan *scan,
                                  const char *data, size_t len);

/*
 * The same for a response. `method` is that of the request it answers, for the body's rules (RFC
 * 9112 section 6.3): none after HEAD, none in 1xx, 204 and 304, a tunnel after CONNECT and 101. A
 * response of 1xx but 101 is not the last one to its request.
 * The reason phrase may be missing together with its space. A coding other than chunked cannot be
 * read here and is refused. error.status is 502, or 431 for what is too large: what a gateway
 * would answer to its own client, and a client only reads as a kind.
 */
ssize_t weft__http1_parse_response(struct weft__http1_head *h, struct weft__http1_scan *scan,
                                   enum weft__http_method method, const char *data, size_t len);

/*
 * The first field with a known name, or the next one after `after`; NULL when there is none.
 */
const struct weft__http1_field *weft__http1_find(const struct weft__http1_head *h,
                                                 enum weft__http_name id,
                                                 const struct weft__http1_field *after);

/* The same for any name, whatever its case. */
const struct weft__http1_field *weft__http1_find_text(const struct weft__http1_head *h,
                                                      const char *data, const char *name,
                                                      const struct weft__http1_field *after);

/* The value of the first field with that known name; an empty slice with at == NULL for none. */
struct weft__slice weft__http1_value(const struct weft__http1_head *h, const char *data,
                                     enum weft__http_name id);

/*
 * All values of a known name joined by ", ", for fields that are lists (RFC 9110 section 5.3; never
 * Set-Cookie; Cookie is joined by "; "). Where there is one field the slice points into data,
 * else into buf. False when buf is too small.
 */
bool weft__http1_joined(const struct weft__http1_head *h, const char *data, enum weft__http_name id,
                        char *buf, size_t cap, struct weft__slice *value);

/* ------------------------------------------------------------------------------------------ */
/* Chunked bodies, RFC 9112 section 7.1 */

/* Zero takes the default, but for body_max, in which zero means that nothing may come. */
struct weft__http1_chunked_limits {
    uint64_t body_max;     /* bytes of the body without its framing; answers 413 */
    uint32_t size_line;    /* bytes of a chunk's size line: 256; answers 400 */
    uint32_t extensions;   /* bytes of all extensions of a body: 8 KiB; answers 400 */
    uint32_t trailers;     /* bytes of the trailer section: 8 KiB; answers 431 */
    uint32_t trailer_line; /* bytes of a line in it: 4 KiB; answers 431 */
};
#define WEFT__HTTP1_SIZE_LINE 256u
#define WEFT__HTTP1_EXTENSIONS 8192u
#define WEFT__HTTP1_TRAILERS 8192u
#define WEFT__HTTP1_TRAILER_LINE 4096u
#define WEFT__HTTP1_TRAILER_COUNT 64u

/* The state of a body that is being read. Private but for the group at its end. */
struct weft__http1_chunked {
    struct weft__http1_chunked_limits limits;
    uint64_t left;       /* bytes of the chunk that are still to come */
    uint64_t consumed;   /* of the stream, for positions of errors */
    uint32_t line_bytes; /* of the size line so far */
    uint32_t extension_bytes;
    struct weft__http1_scan scan;
    uint8_t state;
    uint8_t extension; /* where in one */

    uint64_t body_bytes; /* of the body so far */
    /* The trailers: room for them is the caller's (NULL and 0: they are checked and dropped). The
       spans count from the first byte of the call that returned END. */
    struct weft__http1_field *fields;
    uint32_t fields_cap;
    uint32_t field_count;
    struct weft__http1_error error;
};

/* Zeroed memory with limits, fields and fields_cap set does the same. */
void weft__http1_chunked_init(struct weft__http1_chunked *c,
                              const struct weft__http1_chunked_limits *limits,
                              struct weft__http1_field *fields, uint32_t fields_cap);

enum {
    WEFT__HTTP1_MORE = 0, /* add bytes; data[*used .. len) has to be given again, in front */
    WEFT__HTTP1_DATA = 1, /* *body is a piece of the body, 1 byte or more */
    WEFT__HTTP1_END = 2   /* the body and its trailers are complete */
};

/*
 * Decodes from data[0 .. len), which follows what earlier calls used. Does not wait; any thread.
 * *used is how many of the bytes are done with: drop them, and go on behind them. With DATA, *body
 * points into data, within the used bytes, so use it before dropping them. Until the trailers all
 * bytes are used; trailers are used as a whole, at their end.
 * Returns one of the three above, WEFT_EPROTOCOL or WEFT_ETOOLONG with c->error and a detail; then
 * *used is untouched. After END and after an error the decoder must not be called again.
 *
 * Refused: a size that is empty, has a sign, white space other than before a semicolon, "0x",
 * another character, or more than 16 digits; extensions that are not names with tokens or quoted
 * strings; control characters in them; CR and LF that are not a pair; in trailers what is
 * refused in heads, and the names Content-Length, Transfer-Encoding, Host and Connection.
 * Extensions are dropped (RFC 9112 section 7.1.1).
 */
int weft__http1_chunked_next(struct weft__http1_chunked *c, const char *data, size_t len,
                             size_t *used, struct weft__slice *body);

/* The longest size line that is written: 16 digits, CR, LF. */
#define WEFT__HTTP1_CHUNK_HEAD 18
#define WEFT__HTTP1_CHUNK_TAIL "\r\n"
#define WEFT__HTTP1_CHUNK_LAST "0\r\n\r\n" /* the end of a body without trailers */

/* The size line of a chunk of n bytes, n > 0; returns its length. The data and TAIL follow it. */
size_t weft__http1_chunk_head(char out[WEFT__HTTP1_CHUNK_HEAD], uint64_t n);

/* ------------------------------------------------------------------------------------------ */
/* Heads out */

/*
 * Builds a head into a buffer of the caller's. The first failure stays; weft__http1_build_end()
 * tells it. Names must be tokens, values must have no control character but HTAB and lose white
 * space at their ends, so nothing can be injected. It is the caller who keeps framing fields true.
 * Whoever builds trailers calls init, fields, end.
 */
struct weft__http1_builder {
    struct weft__writer w;
    int error; /* 0, -EINVAL or -ENOBUFS */
};

void weft__http1_build_init(struct weft__http1_builder *b, void *buf, size_t cap);

/* "HTTP/1.minor status reason"; reason NULL takes the usual one. status is 100 to 999. */
void weft__http1_build_status(struct weft__http1_builder *b, unsigned minor, int status,
                              const char *reason);

/* "method target HTTP/1.minor". */
void weft__http1_build_request(struct weft__http1_builder *b, struct weft__slice method,
                               struct weft__slice target, unsigned minor);

void weft__http1_build_field(struct weft__http1_builder *b, struct weft__slice name,
                             struct weft__slice value);
void weft__http1_build_text(struct weft__http1_builder *b, const char *name, const char *value);
void weft__http1_build_number(struct weft__http1_builder *b, const char *name, uint64_t value);

/* A field whose name and value the caller knows to be valid: they are copied, not looked at. */
void weft__http1_build_known(struct weft__http1_builder *b, enum weft__http_name name,
                             struct weft__slice value);

/* Writes the empty line. Returns the length of the head, -EINVAL with a detail (what is not
   valid), or -ENOBUFS (the buffer is too small). */
ssize_t weft__http1_build_end(struct weft__http1_builder *b);

/*
 * The Date field's value, made once a second. Zeroed memory is an empty cache. unix_s is the
 * caller's clock, in seconds since 1970, from 0 to the end of the year 9999; the text has
 * WEFT__HTTP_DATE_LEN bytes and a NUL, and lives until the next call.
 */
#define WEFT__HTTP_DATE_LEN 29
struct weft__http_date_cache {
    int64_t unix_s;
    bool set;
    char text[WEFT__HTTP_DATE_LEN + 1];
};
const char *weft__http_date_cached(struct weft__http_date_cache *c, int64_t unix_s);

#endif
