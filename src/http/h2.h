/* SPDX-License-Identifier: MIT */
#ifndef WEFT__HTTP_H2_H
#define WEFT__HTTP_H2_H
/*
 * HTTP/2 on a stream, for server and client (floor 5): nghttp2 keeps the protocol (RFC 9113), this
 * moves its bytes and lets flows wait for its streams.
 *
 * Nobody needs a task of its own to read. One of the flows that wait for something reads for all of
 * them (it pumps) until what it waits for is there; then it hands over to another that waits. So it
 * works on plain threads, too. A connection that is kept has one flow that always comes back to
 * pump, and then nobody else does. Likewise one flow at a time writes, and takes along what others
 * have submitted meanwhile.
 *
 * Invariants:
 *  - what is received and not read yet is bounded by the windows: `window` a stream,
 * `session_window` a connection. Windows open as the reader consumes;
 *  - what is sent is taken from the writer's memory as the peer's windows open; the writer waits;
 *  - bytes go to the stream below in pieces that are sent whole or not at all, so a flow that is
 * cut off by its deadline does not break the connection for the others;
 *  - once `error` is set nothing is sent or received any more, and every waiting flow has been
 * woken.
 */
#include <nghttp2/nghttp2.h>

#include <weft/stream.h>
#include <weft/sync.h>

#include "base/buffer.h"
#include "base/list.h"
#include "wire/http1.h"
#include "wire/http2_frames.h"

#define WEFT__H2_FIELDS_MAX 128u
#define WEFT__H2_HEAD_MAX 65536u      /* bytes of names and values of a head, and of trailers */
#define WEFT__H2_SEND_HEAD_MAX 65536u /* the same of ours, of the sender's estimate */
#define WEFT__H2_INTERIM_MAX 16u      /* before a reply */
#define WEFT__H2_PAST_MAX 8u          /* spans of streams that are over, which are remembered */

struct weft__h2;
struct weft__h2_pool;
struct weft__h2_stream;

/* Fields of a head or of trailers; spans count from text. */
struct weft__h2_fields {
    char *text; /* with a NUL behind each name and value */
    uint32_t len, cap;
    struct weft__http1_field *at;
    uint32_t n, n_cap;
    bool too_large; /* more than the maxima: the rest is dropped */
};

struct weft__h2_options {
    uint32_t streams_max;       /* that the peer may have open at once; 0: 100 */
    uint32_t window;            /* bytes; 0: 256 KiB */
    uint32_t session_window;    /* bytes; 0: 1 MiB */
    uint32_t head_max;          /* bytes; 0: WEFT__H2_HEAD_MAX */
    int64_t write_ms;           /* that a body waits for windows which do not move; 0: no limit */
    int64_t header_ms;          /* servers: for a frame, or a head in several; 0: no limit */
    int64_t body_ms;            /* servers: between two pieces of a DATA frame; 0: no limit */
    bool connect_protocol;      /* servers: extended CONNECT, RFC 8441 */
    struct weft__h2_pool *pool; /* borrowed, of the same thread; NULL: none */
    /* Servers: a request's head has come; the stream is the callee's. From within a pump: must not
     * wait. */
    void (*request)(void *arg, struct weft__h2_stream *st);
    void *arg;
};

struct weft__h2_stream {
    struct weft__node link;       /* in the connection's list */
    struct weft__node ready;      /* servers: in that of requests that are to be begun */
    struct weft__h2_stream *next; /* while it is spare */
    struct weft__h2 *h2;
    int32_t id;
    struct weft__list waits;
    struct weft__h2_fields head, trailers;
    uint32_t interims; /* clients: 1xx heads so far, which are dropped */
    bool continued;    /* clients: one of these was a 100 */
    bool head_done;
    bool unwanted; /* clients: the reply says that no more of the body is wanted */
    bool in_trailers;
    bool end_in;   /* the peer sends no more */
    bool closed;   /* nghttp2 has forgotten it */
    bool let_go;   /* the user has; freed with `closed` */
    uint32_t code; /* of the peer's RST_STREAM, or ours; with closed */
    struct weft__buffer in;
    const uint8_t *out; /* the writer's */
    size_t out_left;
    bool whole;               /* it goes in one piece, or not at all */
    size_t unsent;            /* of the last piece, when its write failed */
    struct weft__buffer held; /* by weft__h2_queue, for want of a window; before `out` */
    int64_t held_ns;          /* since when nothing of it moves; 0: not known */
    uint64_t held_sent;       /* h2->sent at that time */
    bool queued;              /* the body came by weft__h2_queue: nobody waits for it */
    bool out_end;             /* nothing follows what is there */
    bool responded;           /* servers: the head of the reply is with nghttp2 */
    bool out_submitted;       /* a body was announced and its provider is with nghttp2 */
    bool out_deferred;        /* nghttp2 waits for more of it */
    bool out_done;            /* END_STREAM was handed out */
    nghttp2_nv *out_trailers;
    size_t n_out_trailers;
    void *user;
};

/* Streams of these numbers and those between them: a head for one is answered with the code. */
struct weft__h2_span {
    int32_t from, to;
    uint32_t code;
};

struct weft__h2 {
    nghttp2_session *ng;
    struct weft_stream *s; /* borrowed */
    bool server;
    bool kept;
    bool pumping, flushing;
    bool poked;       /* who reads was sent back to send, and not by its deadline */
    bool leaving;     /* GOAWAY is about to go: whoever flushes tells when it has */
    bool gathering;   /* frames are kept, while there is room, for somebody who will flush soon */
    bool peer_goaway; /* no new streams of ours */
    bool ping_acked;  /* the peer has answered a ping */
    bool slow_head;   /* the client has not finished in time what would have been a request */
    int error;
    struct weft__h2_options options;
    struct weft__list streams;
    struct weft__list waits;   /* of all streams, in the order in which they came */
    struct weft__list tunnels; /* servers: that have outlived their requests (h2_tunnel.c) */
    size_t inside;             /* calls of tunnels that are under way, some of which wait */
    struct weft__wait *leaver; /* of who waits until there are none; NULL: nobody */
    struct weft__buffer out;   /* from nghttp2, and not in the stream below yet */
    size_t n_streams;
    size_t held;       /* bytes that streams hold for want of windows */
    uint64_t received; /* bytes ever */
    struct weft__http2_frames frames;
    int64_t slow_ns;                /* for which the rest of what is unfinished was waited for */
    uint64_t sent;                  /* bytes of bodies that nghttp2 has taken, ever */
    struct weft__h2_stream *recent; /* that of recent_id; NULL: to be looked up */
    int32_t recent_id;
    int32_t newest; /* servers: of the client's streams; -1: none */
    uint32_t past_at;
    struct weft__h2_span past[WEFT__H2_PAST_MAX];
};

/* A connection of a stream, which stays the caller's and is closed after it. Queues the preface and
 * the settings. Does not wait. -ENOMEM. */
int weft__h2_open(struct weft__h2 **ret, struct weft_stream *s, bool server,
                  const struct weft__h2_options *o);
/* Nobody is inside, nor sends; all streams have been let go. NULL is fine. */
void weft__h2_close(struct weft__h2 **h2);

/*
 * Waits until done(arg), or the connection has ended, or d. Only one flow of a kept connection
 * calls it with keep, and goes on pumping. Returns 0; -ETIMEDOUT, -ECANCELED; the connection's
 * error: WEFT_EEOF (the peer hung up), WEFT_EPROTOCOL with a detail, what the stream below said.
 */
int weft__h2_wait(struct weft__h2 *h2, struct weft__h2_stream *st, bool (*done)(void *arg),
                  void *arg, bool keep, weft_deadline d);
/* Takes over from nghttp2 what it has to send, for the next flush, at least until that stream's
 * piece is there. Does not wait. */
int weft__h2_collect(struct weft__h2 *h2, const struct weft__h2_stream *st);
/* Sends what nghttp2 has to send. Another flow may be doing so; then it does it. */
int weft__h2_flush(struct weft__h2 *h2, weft_deadline d);
/* Has the one who reads for all send what there is, and look whether what it waits for has come.
 * Does not wait, so it is also for who may not stay: the connection may end meanwhile. */
void weft__h2_poke(struct weft__h2 *h2);
/* Says that no new streams are taken, last_id the last that is served; -1: those so far. */
int weft__h2_goaway(struct weft__h2 *h2, int32_t last_id, uint32_t code);
/* True while requests can be sent (clients). */
bool weft__h2_usable(const struct weft__h2 *h2);
/* Wakes who waits for the stream. */
void weft__h2_wake(struct weft__h2_stream *st);
/* Ends the connection for that reason; who waits is told. */
void weft__h2_break(struct weft__h2 *h2, int error);

/* The next bytes, as weft_peek (h2_slow.c). WEFT_EPROTOCOL: the client does not finish what it has
 * begun, and a GOAWAY that says so is with nghttp2. */
ssize_t weft__h2_next(struct weft__h2 *h2, const void **data, weft_deadline d);
/* Some of a client's came, before which `from` was where it had begun something. */
void weft__h2_heard(struct weft__h2 *h2, uint64_t from);

/* The client has ended or reset that stream (h2_past.c). */
void weft__h2_past_add(struct weft__h2 *h2, int32_t id);
/* Data comes for that stream, and what came before it is with nghttp2: resets one that the client
 * has ended. 0, -ENOMEM. */
int weft__h2_past_data(struct weft__h2 *h2, int32_t id);
/* A callback of nghttp2's: ends a connection whose client begins such a stream again. */
int weft__h2_past_check(nghttp2_session *ng, const nghttp2_frame_hd *hd, void *arg);

/* --- Streams (h2_stream.c) ------------------------------------------------------------------- */

struct weft__h2_stream *weft__h2_stream_new(struct weft__h2 *h2, int32_t id);
/* A client's request. body: more follows by weft__h2_write. Does not wait. WEFT_ELIMIT: longer than
 * WEFT__H2_SEND_HEAD_MAX. */
int weft__h2_request(struct weft__h2 *h2, const nghttp2_nv *nv, size_t n, bool body,
                     struct weft__h2_stream **ret);
/* A server's reply; interim: 1xx. Does not wait. WEFT_ELIMIT: longer than WEFT__H2_SEND_HEAD_MAX.
 */
int weft__h2_respond(struct weft__h2_stream *st, const nghttp2_nv *nv, size_t n, bool body);
int weft__h2_interim(struct weft__h2_stream *st, const nghttp2_nv *nv, size_t n);
/* Waits for the head. */
int weft__h2_head(struct weft__h2_stream *st, weft_deadline d);
/* Body bytes as they lie: > 0, 0 at the end. Waits. WEFT_EEOF: the peer reset the stream. */
bool weft__h2_has_bytes(const struct weft__h2_stream *st); /* or their end: peek does not wait */
ssize_t weft__h2_peek(struct weft__h2_stream *st, const void **data, weft_deadline d);
void weft__h2_consume(struct weft__h2_stream *st, size_t n);
/* Sends a piece of the body; end: the last. Waits for the peer's windows, for options.write_ms if
 * they do not move. What nghttp2 has taken whole is sent, if need be by another flow: 0. After an
 * error the stream is of no use. -EPIPE: the peer wants no more, or, to a client, has replied with
 * anything but 2xx.
 */
int weft__h2_write(struct weft__h2_stream *st, const void *data, size_t len, bool end,
                   weft_deadline d);
/* The same of a piece for which there is room as a whole; else nothing of it goes (-ETIMEDOUT), and
 * the stream is as before. Does not wait. len: up to WEFT__H2_AT_ONCE_MAX. */
#define WEFT__H2_AT_ONCE_MAX 16384u /* what one frame can always have */
int weft__h2_write_at_once(struct weft__h2_stream *st, const void *data, size_t len);
/*
 * The same for who may not wait: what the windows do not let through yet is copied, and leaves as
 * they open, with or without the user. -ENOBUFS: more than WEFT__H2_HELD_MAX of the connection's
 * streams would be held so.
 */
#define WEFT__H2_HELD_MAX (1u << 20)
int weft__h2_queue(struct weft__h2_stream *st, const void *data, size_t len, bool end);
/* Resets the streams of which nothing that is held so has moved for options.write_ms. To be called
 * now and then. Does not wait. */
void weft__h2_drop_stuck(struct weft__h2 *h2);
/* What follows the body when it ends (copied). */
int weft__h2_set_trailers(struct weft__h2_stream *st, const nghttp2_nv *nv, size_t n);
/* Aborts it; the peer is told the code. Does not wait. */
void weft__h2_reset(struct weft__h2_stream *st, uint32_t code);
/* The user is done with it; what is not complete is reset. Does not wait. */
void weft__h2_let_go(struct weft__h2_stream *st);
void weft__h2_stream_free(struct weft__h2_stream *st);

int weft__h2_fields_add(struct weft__h2_fields *f, uint32_t max, const uint8_t *name,
                        size_t name_len, const uint8_t *value, size_t value_len);
void weft__h2_fields_fini(struct weft__h2_fields *f);
/* Frees the spare ones. */
void weft__h2_streams_drop(struct weft__h2_pool *p);

#endif
