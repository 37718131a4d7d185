/* SPDX-License-Identifier: MIT */
#ifndef WEFT__HTTP_EXCHANGE_H
#define WEFT__HTTP_EXCHANGE_H
/*
 * One request and its response, whatever version of HTTP carries them (floor 5).
 *
 * What a version does is a class: it reads bodies, begins, writes and ends responses. All that is
 * the same for all versions (routing, fields, conditions, compression, files, forms, events, logs)
 * uses this header alone.
 *
 * Invariants: an exchange belongs to the flow that runs its handler; what it gives as text is in
 * its arena; a response goes from fresh to begun to ended and never back.
 */
#include <weft/http_server.h>

#include "http/arena.h"
#include "http/router.h"
#include "wire/http1.h"

struct weft__http_exchange;
struct weft__http_site;
struct weft__http_multipart;
struct weft__http_coder;

struct weft__http_exchange_class {
    /* As weft__h1_body_peek, _consume and _read. The first one asks for the body where the client
     * waits to be asked (100 Continue). */
    ssize_t (*peek)(struct weft__http_exchange *x, const void **data, weft_deadline d);
    void (*consume)(struct weft__http_exchange *x, size_t n);
    ssize_t (*read)(struct weft__http_exchange *x, void *buf, size_t cap, weft_deadline d);
    /* The trailer of that name, in the arena; NULL: none. */
    const char *(*trailer)(struct weft__http_exchange *x, const char *name);
    /*
     * Sends status and fields of the response, with the first bytes of the body. length: of the
     * body, -1: not known. last: the body ends here. Fields of the connection and of framing are
     * the class's, and so is what a response without a body (HEAD, 204, 304) leaves out.
     */
    int (*begin)(struct weft__http_exchange *x, int64_t length, const void *data, size_t len,
                 bool last, weft_deadline d);
    int (*write)(struct weft__http_exchange *x, const void *data, size_t len, weft_deadline d);
    int (*send_fd)(struct weft__http_exchange *x, int fd, off_t *offset, size_t len,
                   weft_deadline d);
    int (*end)(struct weft__http_exchange *x, weft_deadline d);
    int (*flush)(struct weft__http_exchange *x, weft_deadline d);
    /* An interim response with the response's fields (103). */
    int (*interim)(struct weft__http_exchange *x, int status);
    /* 101, and the stream. NULL: the version has no such thing. */
    int (*upgrade)(struct weft__http_exchange *x, const char *protocol, struct weft_stream **ret);
};

struct weft_http_response {
    int status;
    bool begun, ended;
    bool no_compress;
    bool logged_only; /* nothing was sent for it: the status is for the log */
    uint8_t n_notes;
    uint16_t n_fields, fields_cap;
    uint16_t n_trailers;
    int error;                        /* of sending */
    struct weft_http_field *fields;   /* in the exchange or the arena; what they point to: there */
    struct weft_http_field *trailers; /* likewise */
    int64_t length;                   /* Content-Length that was set; -1: none */
    uint64_t sent;                    /* bytes of the body */
    struct weft__http_coder *coder;   /* compresses what is written; NULL: none */
};

#define WEFT__HTTP_NOTES_MAX 8
#define WEFT__HTTP_FIRST_FIELDS 4 /* of a response, without taking memory for them */
/* A request's memory: so much, and three times its body's maximum. */
#define WEFT__HTTP_ARENA_BASE ((size_t)512 * 1024)
#define WEFT__HTTP_RESPONSE_FIELDS_MAX 64

struct weft__http_note {
    const char *key;
    void *p;
};

/* What was prepared for a handler, in the arena; put when the request is over. */
struct weft__http_ahead {
    void (*put)(struct weft__http_ahead *a);
};

struct weft_http_request {
    struct weft__http1_head head; /* method, target, fields, framing */
    const char *base;             /* what its spans count from */
    struct weft__http_path path;
    struct weft__route_match match;
    bool routed;   /* path and match are set */
    uint8_t stage; /* the middleware that is next */
    const char *path_text, *query_text, *target_text, *peer_text, *id, *method_text;
    struct weft__slice form;
    bool has_form;
    struct weft__http_note *notes; /* WEFT__HTTP_NOTES_MAX, in the arena */
    struct weft__http_multipart *multipart;
};

struct weft__http_exchange {
    const struct weft__http_exchange_class *cls;
    struct weft__http_site *site; /* app, options, counters */
    struct weft_stream *stream;   /* below */
    struct weft_http_request q;
    struct weft_http_response r;
    struct weft_http_field first_fields[WEFT__HTTP_FIRST_FIELDS]; /* the response's, if so few */
    struct weft__arena arena;
    struct weft__http_ahead *ahead; /* NULL: none */
    int64_t begin_ns;               /* when the head had come, when it is logged or bounded; 0 */
    weft_deadline until;
    uint64_t body_max, stream_max;
    int version;                 /* 10, 11, 20 */
    struct weft__slice protocol; /* HTTP/2: that an extended CONNECT asks for (RFC 8441) */
    bool upgraded;
    bool draining;
    int body_error; /* what reading the request's body came to; 0 */
};

static inline struct weft__http_exchange *weft__http_of_q(const struct weft_http_request *q)
{
    return WEFT__CONTAINER_OF((struct weft_http_request *)(uintptr_t)q, struct weft__http_exchange,
                              q);
}
static inline struct weft__http_exchange *weft__http_of_r(const struct weft_http_response *r)
{
    return WEFT__CONTAINER_OF((struct weft_http_response *)(uintptr_t)r, struct weft__http_exchange,
                              r);
}
/* Notes what reading the body came to: that, and no other error of its kind, is the client's. */
static inline int weft__http_body_failed(struct weft__http_exchange *x, int err)
{
    x->body_error = err;
    return err;
}
static inline struct weft__slice weft__http_value_of(const struct weft_http_request *q,
                                                     enum weft__http_name id)
{
    return (q->head.seen >> id & 1) != 0 ? weft__http1_value(&q->head, q->base, id)
                                         : (struct weft__slice){0};
}

/* The whole of a field that is a list: its lines are joined (RFC 9110 section 5.3), in the arena
 * where there are several. 0, with at == NULL where there is none, or -ENOMEM (request.c). */
int weft__http_list_of(const struct weft_http_request *q, enum weft__http_name id,
                       struct weft__slice *ret);

/* As weft_http_param; NULL: no memory (request.c). */
const char *weft__http_param(struct weft_http_request *q, const char *name);

/* Makes request and response fresh; head and base are set after it. */
void weft__http_exchange_reset(struct weft__http_exchange *x);
/* Frees what is not in the arena, and resets that. */
void weft__http_exchange_done(struct weft__http_exchange *x);

/* Routes and answers a request whose head is set, to the end of its response (dispatch.c). What
 * went wrong after the response had begun is returned: the version has to cut it off. */
int weft__http_dispatch(struct weft__http_exchange *x);
/* Routing alone: false when the path is one that is answered with 400. */
bool weft__http_route_request(struct weft__http_exchange *x);
/* Whether nothing that a routed request runs into may wait: its route and the middleware above. */
bool weft__http_is_at_once(struct weft__http_exchange *x);
/* The same of its route for this one request alone, which is prepared then. */
bool weft__http_is_ready(struct weft__http_exchange *x);
/* Answers with an error page for a request that no handler sees. */
int weft__http_refuse(struct weft__http_exchange *x, int status, const char *why);
/* Counts and logs a request that is over. */
void weft__http_account(struct weft__http_exchange *x);

/* Takes all of the response's fields of that name out (response.c). */
void weft__http_response_drop(struct weft_http_response *r, const char *name);
/* Takes out what tells of a representation that is not to be sent: something else answers in its
 * place (response.c). */
void weft__http_response_other(struct weft_http_response *r);
/* The response's field of that name; NULL: none (response.c). */
struct weft_http_field *weft__http_response_field(const struct weft_http_response *r,
                                                  const char *name);
/* Sets a field whose value need not be checked or copied: a literal, or in the arena. */
int weft__http_set_field(struct weft_http_response *r, const char *name, size_t name_len,
                         const char *value, size_t len);
static inline int weft__http_set_known(struct weft_http_response *r, const char *name,
                                       const char *value, size_t len)
{
    return weft__http_set_field(r, name, strlen(name), value, len); /* mostly of a literal */
}
/* As weft_http_send: conditions, compression and all; status is r's. */
int weft__http_send_whole(struct weft__http_exchange *x, const void *body, size_t len);
/* The class has switched the connection over. */
void weft__http_upgraded(struct weft__http_exchange *x);
/* The fields by which a request has conditions, as bits of its head's `seen`. */
#define WEFT__HTTP_CONDITIONS                                                                      \
    (UINT64_C(1) << WEFT__HN_IF_MATCH | UINT64_C(1) << WEFT__HN_IF_NONE_MATCH |                    \
     UINT64_C(1) << WEFT__HN_IF_MODIFIED_SINCE | UINT64_C(1) << WEFT__HN_IF_UNMODIFIED_SINCE)
/* Whether the conditions of a GET or HEAD are answered by the validators that were set: 0: go on,
 * 304 or 412, for which the fields that tell of a body are taken out, or < 0 (conditional.c). len:
 * of the body, as coder_choose has it. */
int weft__http_conditions(struct weft__http_exchange *x, int64_t len);

/* Compression (compress.c). Chooses a coding for a body of that length (-1: not known) and sets
 * the fields that tell of it; r->coder is set when one was chosen. */
int weft__http_coder_choose(struct weft__http_exchange *x, int64_t len);
/* Adds Accept-Encoding to what the response's Vary says already. */
int weft__http_vary_by_coding(struct weft_http_response *r);
/* Sets what tells of the choice in a response that says the same without a body: Vary, ETag. */
int weft__http_coder_tell(struct weft__http_exchange *x, int64_t len);
/* Compresses a whole body into the arena; the coding was chosen. 1: there is no room for it in the
 * request's memory, and nothing is done: it can go in pieces. */
int weft__http_coder_whole(struct weft__http_exchange *x, const void **body, size_t *len);
/* Compresses a piece and writes what comes out. flush: 0 none, 1 what came so far, 2 the end. */
int weft__http_coder_write(struct weft__http_exchange *x, const void *data, size_t len, int flush,
                           weft_deadline d);
void weft__http_coder_free(struct weft__http_coder *c);

void weft__http_multipart_free(struct weft__http_multipart *m);

#endif
