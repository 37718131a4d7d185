/* SPDX-License-Identifier: MIT */
#ifndef WEFT__HTTP_H1_SERVER_H
#define WEFT__HTTP_H1_SERVER_H
/*
 * HTTP/1 as a server speaks it (floor 5): a connection in a flow of its own (h1_server.c), heads of
 * responses (h1_response.c), connections without a flow (h1_park.c).
 *
 * Invariants: requests of a connection are answered one at a time, in order; after anything that
 * makes its framing doubtful it carries no further request; a connection that waits for a request
 * and is parked holds neither a task nor this struct.
 */
#include "http/exchange.h"
#include "http/h1_body.h"
#include "http/h1_head.h"
#include "http/site.h"

#define WEFT__H1_FIELDS 100u /* without an allocation */
#define WEFT__H1_FIRST_BLOCK 4096u

/* In a drain: who has been idle for so long is not about to ask, and is hung up on. Long enough for
 * a client that has to share its cores. */
#define WEFT__H1_DRAIN_IDLE_MS 500

/* In place of the number of requests that a connection has carried: it has had its last answer, and
 * what its peer may still be sending is to be read before it is closed. */
#define WEFT__H1_ENDS UINT32_MAX

struct weft__h1_conn {
    struct weft__http_exchange x;
    struct weft__h1_conn *next; /* in the site's spares */
    struct weft__h1_body body;
    struct weft__h1_out out;
    struct weft__http1_scan scan;
    uint32_t requests;                /* that were begun */
    bool keep;                        /* another request may follow */
    bool closing;                     /* whatever follows, this is the last one */
    bool continue_due;                /* the client waits for 100 */
    bool linger;                      /* the peer may still be sending */
    bool at_once;                     /* what was asked last could be answered without a task */
    struct weft__http1_field *fields; /* own_fields, or more of them */
    struct weft__http1_field own_fields[WEFT__H1_FIELDS];
    char first[WEFT__H1_FIRST_BLOCK] __attribute__((aligned(16)));
};

static inline struct weft__h1_conn *weft__h1_of(struct weft__http_exchange *x)
{
    return WEFT__CONTAINER_OF(x, struct weft__h1_conn, x);
}

/* Memory for a connection that has a request to read; NULL: none. */
struct weft__h1_conn *weft__h1_conn_get(struct weft__http_site *site, struct weft_stream *s);
void weft__h1_conn_put(struct weft__h1_conn *c);

/*
 * Serves a stream to its end, or until it is parked or given away, when *s is NULL. requests: that
 * it has carried before, or WEFT__H1_ENDS. Returns 0, or what ended it: the stream is then to be
 * aborted.
 */
int weft__h1_serve(struct weft__http_site *site, struct weft_stream **s, uint32_t requests);

/* Gives the parser what it needs of ours; the rest of the head it sets itself. */
void weft__h1_head_init(struct weft__h1_conn *c);
/* A request whose head lies in arena memory at base: sets the exchange up and routes it. Returns 0,
 * or the status with which it is to be refused. */
int weft__h1_prepare(struct weft__h1_conn *c, char *base);
/* Settles whether the connection goes on behind this response. */
void weft__h1_decide_keep(struct weft__h1_conn *c);
/* How the body of the response goes, and how its head is written: into buf if that has room (cap),
 * else into the arena. *head is where; NULL: no memory. Sets c->out. */
int weft__h1_build_head(struct weft__h1_conn *c, int64_t length, char *buf, size_t cap,
                        const char **head, size_t *head_len);

/* The response's trailers with the empty line behind them, in the arena, for clients that say they
 * take them (RFC 9110 section 6.5.1); *ret == NULL: none are to be sent. 0 or -ENOMEM. */
int weft__h1_build_trailers(struct weft__h1_conn *c, const char **ret, size_t *len);

/* A whole response, written at once where it leaves from: false, and nothing is done, where that
 * cannot be (it is large, the stream is no socket's, or its queue is full). */
bool weft__h1_send_whole(struct weft__h1_conn *c, const void *data, size_t len);

extern const struct weft__http_exchange_class weft__h1_class;

/* Gives the connection to the loop until its next byte: 0, and *s is NULL; or an error, and all is
 * as before. -EOPNOTSUPP: this stream cannot. */
int weft__h1_park(struct weft__http_site *site, struct weft_stream **s, uint32_t requests);
void weft__h1_park_init(struct weft__http_site *site);

#endif
