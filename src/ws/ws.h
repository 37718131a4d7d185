/* SPDX-License-Identifier: MIT */
#ifndef WEFT__WS_WS_H
#define WEFT__WS_WS_H
/*
 * WebSocket from the inside (floor 5).
 *
 * A connection is a stream, the state of the frame that comes (src/wire/ws_frame.h), and what is
 * put together of a message that does not lie in one frame in the stream's read-ahead. It does not
 * know how bytes move: that may be TCP, TLS, a pipe, or one stream of HTTP/2.
 *
 * Invariants:
 *  - payload is unmasked where it lies, in the read-ahead; `ahead` bytes at its front are unmasked
 *    and not taken off yet, so a reading call that is cut off can be made again;
 *  - a frame goes out as a whole or not at all, under `frames`; a message under `messages`; when a
 *    frame was cut off, nothing follows it (write_error);
 *  - the struct is freed by the last flow that leaves it (users).
 */
#include <stdatomic.h>
#include <zlib.h>

#include <weft/sync.h>
#include <weft/websocket.h>

#include "net/stream.h"
#include "wire/http1.h"
#include "wire/slice.h"
#include "wire/utf8.h"
#include "wire/ws_frame.h"
#include "wire/ws_handshake.h"

/* --- The handshake, for whoever has a request (accept.c) ------------------------------------- */

/*
 * How an HTTP server upgrades: it fills in a request, calls weft__ws_agree, writes what that says,
 * and on success gives its stream to weft__ws_open, which takes over what was read ahead.
 */
struct weft__ws_request {
    bool get;    /* the method is GET; over HTTP/2 CONNECT with :protocol websocket (RFC 8441) */
    bool http11; /* version 1.1 or later */
    bool http2;  /* then upgrade, connection and key are not looked at */
    /* Values of header fields; absent: at NULL. Where one came several times, joined by commas. */
    struct weft__slice host, origin, upgrade, connection, version, key, protocols, extensions;
};

struct weft__ws_agreed {
    bool http2;
    int status;      /* 101 (200 over HTTP/2), or what to answer: 400, 403, 405, 426 */
    const char *why; /* a static sentence for a refusal */
    bool server;
    struct weft__ws_deflate deflate;
    struct weft__slice protocol; /* at NULL: none; points into the request */
    char accept[WEFT__WS_ACCEPT_LEN];
};

/* 0; -EINVAL with a detail for options that make no sense. o may be NULL. */
int weft__ws_options_check(const struct weft_ws_options *o);
/* Never waits. True when it is agreed (status 101 or 200). o may be NULL. */
bool weft__ws_agree(struct weft__ws_agreed *ret, const struct weft__ws_request *rq,
                    const struct weft_ws_options *o);
/* The fields of an answer, each with its CR LF: of a 101 or 200, or what a refusal has beside a
 * body (Sec-WebSocket-Version, Allow). Returns the length; 0 also for none. */
#define WEFT__WS_FIELDS_MAX 1024
size_t weft__ws_agreed_fields(const struct weft__ws_agreed *a, char out[WEFT__WS_FIELDS_MAX]);
/* The same out of a head of HTTP/1 at data. joined: room for fields that came several times, of the
 * caller's and to live as long as rq. False: they do not fit, which is a 400. */
#define WEFT__WS_JOINED_MAX 2048
bool weft__ws_request_of(struct weft__ws_request *rq, const struct weft__http1_head *h,
                         const char *data, char joined[WEFT__WS_JOINED_MAX]);
/* The head of HTTP/1 that answers, without its last CR LF, and without `fields` of the options.
 * Returns its length. body: what follows it, "" for a 101. */
#define WEFT__WS_BODY_MAX 128
#define WEFT__WS_ANSWER_MAX (WEFT__WS_FIELDS_MAX + 256)
size_t weft__ws_answer(const struct weft__ws_agreed *a, char out[WEFT__WS_ANSWER_MAX],
                       char body[WEFT__WS_BODY_MAX]);
/* Makes a connection of a stream on which the handshake is done; *s is NULL then. No I/O. -ENOMEM.
 */
int weft__ws_open(struct weft_ws **ret, struct weft_stream **s, const struct weft__ws_agreed *a,
                  const struct weft_ws_options *o);

/* --- Compression (deflate.c) ----------------------------------------------------------------- */

struct weft__ws_inflater {
    z_stream z;
    struct weft_loop *loop;
    struct weft__ws_inflater *next; /* spare */
    int bits;
    bool ended; /* the last block was the final one: another stream begins with the next byte */
    /*
     * The deflated data may not end here: a block is not complete, or does not end at a byte. A
     * message that was made as it should be (RFC 7692, 7.2.1) is within one until it has got its
     * tail. Where a sender did not cut the tail off, or did not begin the block that has it, the
     * message is complete without.
     */
    bool within;
};
struct weft__ws_deflater {
    z_stream z;
    struct weft_loop *loop;
    struct weft__ws_deflater *next;
    int bits, level, memory;
};

/* From the loop's spares, or new. -ENOMEM. */
int weft__ws_inflater_get(struct weft__ws_inflater **ret, struct weft_loop *l, int bits);
int weft__ws_deflater_get(struct weft__ws_deflater **ret, struct weft_loop *l, int bits, int level,
                          int memory);
/* NULL is fine. */
void weft__ws_inflater_put(struct weft__ws_inflater *i);
void weft__ws_deflater_put(struct weft__ws_deflater *x);

/*
 * Inflates of in what fits into out; *used and *made are what went. 0, WEFT_EPROTOCOL, -ENOMEM.
 * With room left, all of in was used and nothing is pending.
 */
int weft__ws_inflate(struct weft__ws_inflater *i, const void *in, size_t len, size_t *used,
                     void *out, size_t cap, size_t *made);
/* What ends a message and is not sent (RFC 7692, 7.2.2). */
#define WEFT__WS_TAIL_LEN 4
extern const unsigned char weft__ws_tail[WEFT__WS_TAIL_LEN];

/* The most that len bytes become. */
size_t weft__ws_deflate_bound(struct weft__ws_deflater *x, size_t len);
/* Deflates all of in, up to a byte's end; out has room for the bound. last: without the tail. */
size_t weft__ws_deflate(struct weft__ws_deflater *x, const void *in, size_t len, bool last,
                        void *out, size_t cap);

/* --- Connections ----------------------------------------------------------------------------- */

#define WEFT__WS_MESSAGE_MAX ((size_t)1 << 20)
#define WEFT__WS_HEAD_DEFAULT 16384u
#define WEFT__WS_NO_PONG 0xff

struct weft__ws_settings {
    size_t message_max;
    int64_t ping_ns, pong_ns, close_ns; /* ping_ns 0: never */
    size_t deflate_min;
    uint8_t level, memory;
    bool takeover;
};

/* Callback mode: see protocol.c. */
enum weft__ws_phase {
    WEFT__WS_ASKED,   /* the request has not come wholly */
    WEFT__WS_OPEN,    /* made was called */
    WEFT__WS_LEAVING, /* the stream is shut down on this side, what comes is dropped */
    WEFT__WS_GONE,    /* the stream is being closed */
};

struct weft_ws {
    /* What each message that is sent looks at, in one line of the cache. */
    struct weft_stream *s; /* NULL: closed or aborted while flows are inside */
    unsigned users;        /* flows inside */
    int read_error;        /* what reading has come to for good; 0: goes on */
    int write_error;
    bool server;
    bool callbacks;
    uint8_t phase; /* enum weft__ws_phase, in callback mode */
    bool gone;     /* closed or aborted on this side: the last flow inside frees it */
    bool close_sent, close_got;
    uint8_t pong_len; /* of a pong that waits to be sent; WEFT__WS_NO_PONG */
    struct weft__ws_deflate deflate;

    /* Reading. */
    struct weft__ws_parser in;
    struct weft__ws_settings set;
    struct weft__utf8 text;
    struct weft__ws_inflater *inflater;
    uint8_t *buf; /* of a message that is put together; NULL: none */
    size_t len, cap;
    size_t ahead; /* at the front of the read-ahead: unmasked, not taken off */
    size_t shown; /* at the front of the read-ahead: what the last call gave, to be taken off */
    bool buf_shown;
    bool reading; /* a flow is in a reading call */
    bool pieces;  /* a message is read in pieces */
    bool pinged;  /* a ping has gone out, and no byte has come since */
    bool stuck;   /* a ping is due and cannot go out, and no byte has come since */
    uint8_t tail; /* of weft__ws_tail, what the inflater of a piece has had */
    uint8_t control_len;
    unsigned char control[WEFT__WS_CONTROL_MAX];
    int64_t due_ns;   /* when to look whether the peer is there; INT64_MAX: never */
    int64_t taken_ns; /* stuck: when it was first seen that ... */
    uint64_t taken;   /* ... so many bytes have gone out; pinged: so many were acknowledged */

    /* Writing. */
    struct weft_semaphore frames, messages;
    struct weft__ws_deflater *deflater;
    uint64_t part_id;                    /* of the owner: flows come and go at one address */
    const struct weft__flow *part_owner; /* holds `messages` between calls of weft_ws_write_part */
    bool part_compressed;
    struct weft__utf8 part_text;
    unsigned char pong[WEFT__WS_CONTROL_MAX];
    uint8_t masks_left;
    unsigned char masks[8][4]; /* clients: keys to come */

    /* Ending. */
    uint16_t close_code;
    char *close_reason;
    struct weft_event left; /* set when the reader leaves, for who closes */

    char *subprotocol;
    /* Callback mode. */
    struct weft_ws_factory *factory;
    struct weft__ws_asking *asking; /* in the phase ASKED */
    struct weft__attached attached; /* on its way from a task to callbacks */
    void *user;
    struct weft__alarm alarm;
    struct weft__ws_later *later; /* bytes that came before writing was paused; NULL: none */
    bool paused;                  /* writing is, so nothing is delivered */
    bool made;                    /* was called, so that `closed` will be */
    bool dialed; /* by weft_ws_protocol_dial: `closed` is called even if `made` never is */
    int reason;  /* what `closed` will be told, when it is not the transport's */
};

/* Copies and completes options. */
void weft__ws_settings_of(struct weft__ws_settings *ret, const struct weft_ws_options *o);
/* What one receive brought and was not delivered. */
struct weft__ws_later {
    size_t len;
    uint8_t data[];
};
/* A request of HTTP/1 that is being read, and its answer. On the heap: it is gone when that is
 * sent. */
struct weft__ws_asking {
    struct weft__http1_head h;
    struct weft__http1_scan scan;
    struct weft__http1_field fields[64];
    char joined[WEFT__WS_JOINED_MAX];
    char answer[WEFT__WS_ANSWER_MAX];
    char body[WEFT__WS_BODY_MAX];
    struct weft__ws_agreed agreed;
    uint8_t *bytes; /* callback mode: what has come of the request */
    size_t len, cap;
};
/* NULL: no memory. */
struct weft__ws_asking *weft__ws_asking_new(const struct weft_ws_options *o);
void weft__ws_asking_free(struct weft__ws_asking *q);
/* The parser's n > 0, a head at data, or < 0 is judged: q->agreed, q->answer and q->body are set;
 * returns the length of the answer. */
size_t weft__ws_judge(struct weft__ws_asking *q, ssize_t n, const char *data,
                      const struct weft_ws_options *o);

/* What a refusal comes to for the caller. */
int weft__ws_refused(const struct weft__ws_agreed *a);

/* A connection on which the handshake is still to be done, and what it has come to. */
void weft__ws_init(struct weft_ws *ws, struct weft_stream *s, const struct weft_ws_options *o);
int weft__ws_apply(struct weft_ws *ws, const struct weft__ws_agreed *a,
                   const struct weft_ws_options *o);
void weft__ws_free(struct weft_ws *ws);
/* The clock that keep-alive goes by. */
int64_t weft__ws_now(const struct weft_ws *ws);

/* A flow enters, and leaves; leaving may free ws. -> 0, WEFT_ECLOSED. */
int weft__ws_enter(struct weft_ws *ws);
void weft__ws_leave(struct weft_ws *ws);

/* --- Keep-alive (alive.c) -------------------------------------------------------------------- */

/* A byte has come. */
void weft__ws_heard(struct weft_ws *ws);
/* Where due_ns has passed: asks the peer, or judges, and sets the next. 0; -EHOSTDOWN,
 * WEFT_ECLOSED.
 */
int weft__ws_look(struct weft_ws *ws);

/* --- Incoming, without waiting (input.c) ----------------------------------------------------- */

/* Checks that the frame whose head has just come may be there, and prepares for its payload. whole:
 * the message is to be put together, so its maximum counts. */
int weft__ws_frame_begins(struct weft_ws *ws, bool whole);
/* Whether the data frame under way can be put together with what there is of its message: 0,
 * WEFT_ETOOLONG. */
int weft__ws_may_be_whole(struct weft_ws *ws);
/* Adds len bytes of (inflated) payload that lie behind ws->len in ws->buf; checks text. */
int weft__ws_added(struct weft_ws *ws, size_t len);
/* Room for at least one byte behind ws->len, `want` if that can be: at most message_max bytes in
 * all. WEFT_ETOOLONG, -ENOMEM. */
int weft__ws_room(struct weft_ws *ws, size_t want);
/* Text that lies anywhere. */
int weft__ws_check_text(struct weft_ws *ws, const void *data, size_t len);
/* Inflates into buf all of the bytes. */
int weft__ws_inflate_all(struct weft_ws *ws, const void *in, size_t len);
/* The compressed message's last byte has been inflated: its tail. */
int weft__ws_inflate_end(struct weft_ws *ws);
/* Whether that was whole blocks: 0, or WEFT_EPROTOCOL. */
int weft__ws_inflate_whole(const struct weft_ws *ws);
/* The inflater of the message under way. */
int weft__ws_need_inflater(struct weft_ws *ws);
/* The message has ended: text complete? The inflater is given back. */
int weft__ws_message_ends(struct weft_ws *ws);
void weft__ws_buf_free(struct weft_ws *ws);
/* A control frame is complete in ws->control: keeps a pong to be sent, or the peer's close. */
int weft__ws_control_ends(struct weft_ws *ws);

/* --- Outgoing (write.c) ---------------------------------------------------------------------- */

/* Sends a control frame; with WEFT_NOW only if it can go without waiting. */
int weft__ws_send_control(struct weft_ws *ws, uint8_t opcode, const void *data, size_t len,
                          weft_deadline d);
/* Text to send: -EILSEQ with the byte. */
int weft__ws_check_utf8(const void *data, size_t len);
/* Sends a pong that waits, if it can be sent without waiting; d bounds what cannot be known. */
void weft__ws_send_pong(struct weft_ws *ws, weft_deadline d);
/* Sends a close frame, once; what comes back is of no use for the caller. */
int weft__ws_send_close(struct weft_ws *ws, unsigned code, const char *reason, size_t len,
                        weft_deadline d);
/* After an error of the peer's: says so by a close frame, without waiting. */
void weft__ws_tell_error(struct weft_ws *ws, int error);

/* Drops what comes until the peer's close frame, or d; 0 then. By a flow that is the reader. */
int weft__ws_drain(struct weft_ws *ws, weft_deadline d);

/* --- Callback mode (protocol.c) -------------------------------------------------------------- */

/* What connections in callback mode have in common; counted, from any thread. */
struct weft_ws_factory {
    struct weft_factory transport; /* what servers get */
    const struct weft_ws_protocol *protocol;
    struct weft_ws_options options; /* with copies of its texts */
    void *arg;
    _Atomic size_t refs;
};
struct weft_ws_factory *weft__ws_factory_ref(struct weft_ws_factory *f);
void weft__ws_factory_unref(struct weft_ws_factory *f);
/* Calls `closed` for a client that did not come to be. */
void weft__ws_never_made(const struct weft_ws_factory *f, int error);
/* What runs on the transport. */
extern const struct weft_protocol weft__ws_transport_protocol;

void weft__ws_close_callbacks(struct weft_ws *ws, unsigned code, const char *reason);
void weft__ws_abort_callbacks(struct weft_ws *ws, int error);

#endif
