/* SPDX-License-Identifier: MIT */
#ifndef WEFT_WEBSOCKET_H
#define WEFT_WEBSOCKET_H
/*
 * WebSocket (RFC 6455) with permessage-deflate (RFC 7692), over any stream, as server and as
 * client.
 *
 *     while ((r = weft_ws_read(ws, &m, d)) > 0)
 *         err = weft_ws_write(ws, m.type, m.data, m.len, d);
 *
 * The same calls work in a task and on a plain thread. In callbacks (struct weft_ws_protocol) the
 * writing calls queue and never wait, and the deadline is not looked at.
 *
 * Reading also does what the protocol asks for beside messages: it answers pings, takes the peer's
 * close frame and answers it, and keeps the connection alive by pings of its own. So somebody
 * should always be reading; who does not, stops the peer by back-pressure.
 *
 * Thread rule: as streams. One reader at a time (a second gets -EBUSY); any number of tasks may
 * write: whole messages go out one after the other, first come, first served.
 * All waiting calls are cancellation points, and give -ETIMEDOUT or -ECANCELED; neither hurts
 * reading. A message that was cut off before its first byte went has not been sent; one that was
 * cut off later leaves the connection of no more use for writing (WEFT_EPOISONED).
 */
#include <weft/protocol.h>
#include <weft/stream.h>

WEFT_BEGIN_DECLS

struct weft_ws;

enum weft_ws_type { WEFT_WS_TEXT = 1, WEFT_WS_BINARY = 2 };

struct weft_ws_message {
    enum weft_ws_type type;
    bool last;        /* the message ends here: always true but for weft_ws_read_some */
    const void *data; /* not NULL; belongs to the connection, valid until the next reading call */
    size_t len;
};

/* Zero means the default everywhere. Texts are borrowed during the call that takes the options; a
 * factory copies them. */
struct weft_ws_options {
    /* Sub-protocols, the preferred first: "v2.chat, v1.chat". A server chooses the first that the
     * client offers, too; a client offers them. */
    const char *protocols;
    bool protocol_required; /* without one in common: a server answers 400, a client gives up */
    /* Servers: whose pages may connect, "https://example.org, https://example.com"; "*": anyone's.
     * NULL: those of the same host as the request's. Requests that name no origin are not from
     * browsers and pass. */
    const char *origins;
    const char *origin; /* clients: to be sent as Origin */
    const char *fields; /* more header fields, of the request or the 101: "Name: value\r\n..." */
    size_t head_max;    /* bytes of the handshake's head; 0: 16 KiB, at most 64 KiB */

    size_t message_max; /* bytes of a message, inflated; 0: 1 MiB. weft_ws_read_some has no such */
    uint64_t frame_max; /* bytes of a frame, as sent; 0: no maximum of its own */

    /* When nothing has come for ping_ms, whoever reads sends a ping. When nothing has come pong_ms
     * after that (what lies unread has come), the connection has failed (-EHOSTDOWN). If the ping
     * cannot go out because of what is being written, the peer has ping_ms + pong_ms, from when it
     * was due, to take some of that. If it has gone out behind much else, pong_ms begins anew as
     * long as TCP sees the peer take some of that. 0: 30 s and 20 s. ping_ms negative: never. */
    int64_t ping_ms, pong_ms;
    int64_t close_ms; /* bounds the close handshake beside the caller's deadline; 0: 10 s */

    bool deflate;          /* speak permessage-deflate with whoever does */
    bool deflate_takeover; /* keep windows between messages: smaller messages, for up to 300 KiB a
                              connection. Off: state is there only while a message is worked on */
    uint8_t deflate_bits;  /* our own window, 9 to 15; 0: 15 */
    uint8_t deflate_peer_bits; /* the peer's, 8 to 15; 0: 15 */
    uint8_t deflate_level;     /* of zlib, 1 to 9; 0: 6 */
    uint8_t deflate_memory;    /* zlib's memLevel, 1 to 9; 0: 8 */
    size_t deflate_min;        /* bytes: shorter messages go as they are; 0: 256 */

    int64_t handshake_ms; /* WEFT_PROTOCOLS: how long a client may take to ask; 0: 10 s. In the
                             other models the server's own limits count, and nothing pings */
};

/* --- Opening ------------------------------------------------------------------------------- */

/*
 * Reads a request to upgrade (HTTP/1.1) from a stream and answers it: 101, or what is wrong with it
 * (400, 403 for the origin, 405, 426 with Sec-WebSocket-Version: 13, 431, 505). Waits; a
 * cancellation point. On success *ret is the caller's and owns the stream, *s is NULL; on failure
 * *s is still the caller's, and fit for nothing but closing. Returns 0; WEFT_EPROTOCOL (the detail
 * says what was refused, and with which status), -EACCES (403), WEFT_EEOF, -EINVAL (options that
 * make no sense), -ENOMEM and the errors of streams.
 */
WEFT_API WEFT_MUST_CHECK int weft_ws_accept(struct weft_ws **ret, struct weft_stream **s,
                                            const struct weft_ws_options *o, weft_deadline d);

/*
 * The same in a handler of an HTTP server (http_server.h), on whatever route it stands:
 *
 *     struct weft_ws *ws;
 *     int err = weft_http_websocket(q, r, &ws, NULL);
 *     if (err != 0)
 *         return err;
 *
 * Returns 0, with *ret the handler's, who may leave it to others and return, as weft_http_upgrade
 * has it; the status of a refusal (400 to 599), whose fields are set and which the handler returns,
 * to have it answered; or a negative code, as above.
 */
struct weft_http_request;
struct weft_http_response;
WEFT_API WEFT_MUST_CHECK int weft_http_websocket(struct weft_http_request *q,
                                                 struct weft_http_response *r, struct weft_ws **ret,
                                                 const struct weft_ws_options *o);

/*
 * The client's side of the handshake on a connected stream. host: as for the Host field, with the
 * port where it is not the default; path: with its query, NULL: "/". Otherwise as weft_ws_accept.
 * Returns 0; -ECONNREFUSED (the server answered with another status: it is in the detail),
 * WEFT_EPROTOCOL (it answered wrongly) and as above.
 */
WEFT_API WEFT_MUST_CHECK int weft_ws_connect(struct weft_ws **ret, struct weft_stream **s,
                                             const char *host, const char *path,
                                             const struct weft_ws_options *o, weft_deadline d);

/*
 * Dials and shakes hands, all by d: "ws://host:port/path?query", or "wss://" by TLS. dial: of
 * weft_dial, with what TLS needs; may be NULL. Without o->origin no origin is sent.
 * Returns as weft_dial and weft_ws_connect; WEFT_EURL.
 */
WEFT_API WEFT_MUST_CHECK int weft_ws_dial(struct weft_ws **ret, const char *url,
                                          const struct weft_ws_options *o,
                                          const struct weft_dial_options *dial, weft_deadline d);

/* --- Reading ------------------------------------------------------------------------------- */

/*
 * The next whole message. Waits; a cancellation point. A message that lies in one frame in the
 * read-ahead is not copied. An idle connection holds no buffer.
 * Returns 1 with a message; 0 when the peer has closed (weft_ws_close_code says how); WEFT_EEOF
 * when the connection ended without a close frame; WEFT_EPROTOCOL, -EILSEQ (text that is not
 * UTF-8), WEFT_ETOOLONG: the peer has been told by a close frame, and the connection is to be
 * closed; -EHOSTDOWN (no answer to a ping), -EBUSY, -ENOMEM and the errors of streams.
 */
WEFT_API WEFT_MUST_CHECK int weft_ws_read(struct weft_ws *ws, struct weft_ws_message *m,
                                          weft_deadline d);

/*
 * The next piece of a message, as it comes, for messages of any length: m->last is set with the
 * last one, which may be empty. Text is checked piece by piece; a piece may end within a character.
 * Returns as weft_ws_read, which gives -EBUSY while a message is read in pieces.
 */
WEFT_API WEFT_MUST_CHECK int weft_ws_read_some(struct weft_ws *ws, struct weft_ws_message *m,
                                               weft_deadline d);

/* --- Writing ------------------------------------------------------------------------------- */

/*
 * One message. Waits only for room (and for other writers); a cancellation point. data: borrowed.
 * Returns 0; -EILSEQ (WEFT_WS_TEXT that is not UTF-8: nothing was sent), WEFT_ECLOSED (a close
 * frame was sent or has come), WEFT_EPOISONED, -EBUSY (the task has begun a message in fragments),
 * -EINVAL, -ENOMEM and the errors of streams; in callbacks -ENOBUFS.
 */
WEFT_API WEFT_MUST_CHECK int weft_ws_write(struct weft_ws *ws, enum weft_ws_type type,
                                           const void *data, size_t len, weft_deadline d);

/*
 * A message in fragments: each call sends one (compressed, one for each 64 KiB), the first begins
 * the message, `last` ends it. Other writers wait meanwhile; pings and answers to them go in
 * between. A fragment of text may end within a character. One that gave -ETIMEDOUT, -ECANCELED or
 * -ENOMEM before its first byte went can be sent again, also the last; of a compressed message only
 * the first can (WEFT_EPOISONED). Until the last has gone whole messages of the same task get
 * -EBUSY. Not in callbacks. Returns as weft_ws_write.
 */
WEFT_API WEFT_MUST_CHECK int weft_ws_write_part(struct weft_ws *ws, enum weft_ws_type type,
                                                const void *data, size_t len, bool last,
                                                weft_deadline d);

/* Sends a ping of at most 125 bytes; the answer is taken by the reader. */
WEFT_API WEFT_MUST_CHECK int weft_ws_ping(struct weft_ws *ws, const void *data, size_t len,
                                          weft_deadline d);

/* Waits until the kernel has taken everything. */
WEFT_API WEFT_MUST_CHECK int weft_ws_flush(struct weft_ws *ws, weft_deadline d);

/* --- One message to many ------------------------------------------------------------------- */

struct weft_ws_encoded;

/*
 * Encodes (and with o->deflate compresses) a message once, for any number of connections, loops and
 * threads. o: borrowed, may be NULL; its deflate options count. *ret: one reference, the caller's.
 * Does not wait; any thread. Returns 0, -EILSEQ, -EINVAL, -ENOMEM.
 */
WEFT_API WEFT_MUST_CHECK int weft_ws_encode(struct weft_ws_encoded **ret, enum weft_ws_type type,
                                            const void *data, size_t len,
                                            const struct weft_ws_options *o);
/* Any thread. */
WEFT_API struct weft_ws_encoded *weft_ws_encoded_ref(struct weft_ws_encoded *e);
/* NULL is fine; any thread. */
WEFT_API void weft_ws_encoded_unref(struct weft_ws_encoded *e);

/* As weft_ws_write. On a client's side, which masks each message anew, it is copied. */
WEFT_API WEFT_MUST_CHECK int weft_ws_send_encoded(struct weft_ws *ws, struct weft_ws_encoded *e,
                                                  weft_deadline d);

/* --- Ending -------------------------------------------------------------------------------- */

/*
 * Graceful: sends a close frame (unless one was sent), drops messages until the peer's comes,
 * closes the stream. The connection is gone in any case and *ws is NULL; NULL is fine. A task that
 * reads gets 0, or WEFT_ECLOSED when d passes first. code: 1000 to 1014 without 1004 to 1006, 3000
 * to 4999; 0: 1000. reason: UTF-8, may be NULL; what is longer than 123 bytes is cut. Returns 0
 * when both sides have closed, else what was met. WEFT_ETHREAD, -EINVAL (the code, the reason):
 * then it stays open.
 */
WEFT_API int weft_ws_close(struct weft_ws **ws, unsigned code, const char *reason, weft_deadline d);

/* Abrupt: no close frame, resets the connection. Never waits. NULL is fine. */
WEFT_API void weft_ws_abort(struct weft_ws **ws);

/* --- Facts --------------------------------------------------------------------------------- */

/* The sub-protocol agreed on; "" when there is none. Lives as long as the connection. */
WEFT_API const char *weft_ws_subprotocol(const struct weft_ws *ws);
/* True when permessage-deflate was agreed on. */
WEFT_API bool weft_ws_deflates(const struct weft_ws *ws);
/* The peer's close frame: its code, 1005 for one without; 0 before it came; 1006 when the
 * connection has ended without one. */
WEFT_API unsigned weft_ws_close_code(const struct weft_ws *ws);
/* Its reason, "" for none; at most 123 bytes, a peer's bytes, UTF-8. */
WEFT_API const char *weft_ws_close_reason(const struct weft_ws *ws);
/* What carries it, for its facts (weft_stream_peer, weft_tls_info): still owned by ws, and not to
 * be read or written. */
WEFT_API struct weft_stream *weft_ws_stream(const struct weft_ws *ws);

/* --- Callbacks ----------------------------------------------------------------------------- */

/* Run as a protocol's are (protocol.h). All but `message` may be NULL. conn: what weft_ws_set has
 * stored. */
struct weft_ws_protocol {
    /* The handshake is done. An error (< 0, whichever) closes with 1011 and without a reason; what
     * is not negative is none. */
    int (*made)(struct weft_ws *ws, void *factory_arg);
    /* One message, valid during the call. Its result is taken as that of `made`. */
    int (*message)(struct weft_ws *ws, const struct weft_ws_message *m, void *conn);
    /* The write queue passed its mark, and no message is delivered; it drained below a quarter of
     * it, and they are again. */
    void (*paused)(struct weft_ws *ws, void *conn);
    void (*resumed)(struct weft_ws *ws, void *conn);
    /* The end, once for each `made` (and for a client that failed): 0 when both sides have closed,
     * else the error. ws is gone afterwards. */
    void (*closed)(struct weft_ws *ws, int error, void *conn);
};

struct weft_ws_factory;

/*
 * Makes a factory of connections, for weft_serve_protocol and weft_ws_protocol_dial:
 *
 *     err = weft_serve_protocol(g, endpoint, NULL, weft_ws_factory_of(f));
 *
 * p: borrowed for the factory's life; o: copied, may be NULL; arg: borrowed, what `made` gets.
 * write_mark, write_max as in weft_factory, 0 for its defaults; write_max is then at least what a
 * message of message_max takes.
 * Returns 0, -EINVAL, -ENOMEM. Does not wait.
 */
WEFT_API WEFT_MUST_CHECK int weft_ws_factory_open(struct weft_ws_factory **ret,
                                                  const struct weft_ws_protocol *p,
                                                  const struct weft_ws_options *o, void *arg,
                                                  size_t write_mark, size_t write_max);
WEFT_API const struct weft_factory *weft_ws_factory_of(const struct weft_ws_factory *f);
/* Gives it back, when the server that it was made for has ended; what is left of its connections
 * goes on. NULL is fine. */
WEFT_API void weft_ws_factory_close(struct weft_ws_factory **f);

/*
 * Hands a connection that a task owns to the callbacks of a factory, in group g: `made` is called,
 * then `message` as they come. *ws becomes NULL. Returns 0, or an error of weft_protocol_attach
 * with the connection still the caller's; -EBUSY within a message.
 */
WEFT_API WEFT_MUST_CHECK int weft_ws_attach(struct weft_group *g, struct weft_ws **ws,
                                            struct weft_ws_factory *f);

/*
 * Connects a client once, as a member of g: dials url, shakes hands with the factory's options,
 * then `made`; or on failure `closed` with the error, ws NULL and the factory's arg as conn.
 * Neither that nor the connection's end is an error of the group. Does not wait. url: copied; o:
 * copied, may be NULL, what it points to is borrowed until one of the two is called. timeout_ms: of
 * all of it; 0: 10 s. Returns 0, and what weft_group_go does.
 */
WEFT_API WEFT_MUST_CHECK int weft_ws_protocol_dial(struct weft_group *g, const char *url,
                                                   const struct weft_dial_options *o,
                                                   struct weft_ws_factory *f, int64_t timeout_ms);

/* The connection's own pointer, handed to each callback as conn. */
WEFT_API void weft_ws_set(struct weft_ws *ws, void *conn);
WEFT_API void *weft_ws_get(const struct weft_ws *ws);

WEFT_END_DECLS
#endif
