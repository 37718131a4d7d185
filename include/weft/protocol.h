/* SPDX-License-Identifier: MIT */
#ifndef WEFT_PROTOCOL_H
#define WEFT_PROTOCOL_H
/*
 * Protocols: callbacks on the loop, made by a factory (Twisted, asyncio.Protocol). No task, no
 * stack: the smallest memory a connection.
 *
 * The transport is the weft_stream itself. In callbacks the calls of this header are used for it;
 * a call that would wait returns -EDEADLK. All callbacks of a connection run on its loop, one at a
 * time; `lost` is the last, exactly once for each `made`, and the stream is gone after it.
 * Thread rule: the loop's thread.
 */
#include <weft/group.h>
#include <weft/stream.h>

WEFT_BEGIN_DECLS

/* All but `data` may be NULL. conn: what `made` stored with weft_transport_set. */
struct weft_protocol {
    /* The connection is there. An error ends it (and is its `lost` reason). */
    int (*made)(struct weft_stream *t, void *factory_arg);
    /* Bytes came; valid during the call. An error aborts the connection. */
    int (*data)(struct weft_stream *t, const void *data, size_t len, void *conn);
    /* The peer has shut down its writing side. NULL, or returning 0: what is queued is sent, then
     * the connection is closed. Returning 1 keeps our writing side open. */
    int (*eof)(struct weft_stream *t, void *conn);
    /* The write buffer passed its mark; it drained below a quarter of it. */
    void (*paused)(struct weft_stream *t, void *conn);
    void (*resumed)(struct weft_stream *t, void *conn);
    /* The end: 0 for a clean one, else the error. Free conn here. The group is not told: the end of
     * a connection is not a failure of the others. */
    void (*lost)(struct weft_stream *t, int error, void *conn);
};

struct weft_factory {
    const struct weft_protocol *protocol; /* borrowed for the server's life */
    void *arg;                            /* borrowed; what `made` gets */
    size_t write_mark;                    /* bytes: `paused` above; 0: 64 KiB */
    size_t write_max;    /* bytes: a write beyond is refused with -ENOBUFS; 0: 16 x write_mark */
    bool read_on_paused; /* keep reading while writing is paused (default: reading pauses with it,
                            so that a peer that never reads costs a bounded amount) */
};

/* --- The transport: calls for callbacks, that never wait ------------------------------------ */

/* The connection's own pointer, handed to each callback as conn; before `made` sets it, NULL. */
WEFT_API void weft_transport_set(struct weft_stream *t, void *conn);
WEFT_API void *weft_transport_get(const struct weft_stream *t);

/* Queues bytes (copied). 0; -ENOBUFS above write_max (nothing is queued), WEFT_ECLOSED, -ENOMEM. */
WEFT_API WEFT_MUST_CHECK int weft_transport_write(struct weft_stream *t, const void *buf,
                                                  size_t len);
WEFT_API WEFT_MUST_CHECK int weft_transport_writev(struct weft_stream *t, const struct iovec *iov,
                                                   int n);
/* Bytes queued and not yet taken by the kernel; of a secured connection, as they go over the wire.
 */
WEFT_API size_t weft_transport_queued(const struct weft_stream *t);

WEFT_API void weft_transport_pause_reading(struct weft_stream *t);
WEFT_API void weft_transport_resume_reading(struct weft_stream *t);

/* Sends what is queued, then shuts down the writing side. */
WEFT_API void weft_transport_shutdown(struct weft_stream *t);
/* Sends what is queued, then closes; `lost` follows later with 0. */
WEFT_API void weft_transport_close(struct weft_stream *t);
/* Drops what is queued and resets; `lost` follows later with error. */
WEFT_API void weft_transport_abort(struct weft_stream *t, int error);

/*
 * A producer that fills the transport as it drains (Twisted's IPullProducer): produce is called
 * whenever the queue is below the mark, until it returns 0 (finished) or an error (aborts);
 * 1 means that it wrote something, or will call weft_transport_resume_producer when it has more.
 */
typedef int (*weft_producer)(struct weft_stream *t, void *arg);
WEFT_API WEFT_MUST_CHECK int weft_transport_produce(struct weft_stream *t, weft_producer produce,
                                                    void *arg);
WEFT_API void weft_transport_resume_producer(struct weft_stream *t);

/* --- Between the models -------------------------------------------------------------------- */

/*
 * Hands a stream that a task owns to a protocol of the group: made, then data for what was read
 * ahead, then eof if the task has seen the peer's end already. The stream belongs to the protocol
 * from then on (*s is NULL). Returns 0 or a negative code, with the stream still the caller's;
 * -EBUSY when someone reads or writes it.
 */
WEFT_API WEFT_MUST_CHECK int weft_protocol_attach(struct weft_group *g, struct weft_stream **s,
                                                  const struct weft_factory *f);

/*
 * In a callback: takes the connection out of callback mode (no more callbacks, not even lost) and
 * hands the stream to a new task of group g, which runs handler(stream, arg) and closes it. Bytes
 * of the current `data` call that were not used (the last `unread`) are read first by the handler,
 * then what had come and was not delivered yet. A client (weft_protocol_dial,
 * weft_reconnector_open) whose connection is taken has done its work: it leaves its group, with no
 * error.
 */
WEFT_API WEFT_MUST_CHECK int weft_protocol_detach(struct weft_group *g, struct weft_stream *t,
                                                  size_t unread,
                                                  int (*handler)(struct weft_stream *s, void *arg),
                                                  void *arg);

/* --- Receivers: records instead of bytes --------------------------------------------------- */

/*
 * Splits a connection's bytes into records of a framing (LineReceiver, NetstringReceiver,
 * Int16StringReceiver). Embed one in the connection's struct, init it in `made`, feed it from
 * `data`, fini it in `lost`. Memory: at most framing.max and its frame; none while no record is
 * partly there.
 */
struct weft_receiver {
    struct weft_framing framing;
    int (*record)(struct weft_stream *t, const void *record, size_t len, void *conn);
    void *partial; /* opaque */
    size_t partial_len, partial_cap, scanned;
};
WEFT_API void weft_receiver_init(struct weft_receiver *r, const struct weft_framing *f,
                                 int (*record)(struct weft_stream *t, const void *record,
                                               size_t len, void *conn));
/* Returns 0, what record returned when not 0, WEFT_ETOOLONG, WEFT_EPROTOCOL, -ENOMEM. */
WEFT_API WEFT_MUST_CHECK int weft_receiver_feed(struct weft_receiver *r, struct weft_stream *t,
                                                const void *data, size_t len, void *conn);
WEFT_API void weft_receiver_fini(struct weft_receiver *r);
/* Queues one record in its frame. */
WEFT_API WEFT_MUST_CHECK int weft_transport_write_record(struct weft_stream *t,
                                                         const struct weft_framing *f,
                                                         const void *record, size_t len);

/* --- Calls that repeat, clients that return ------------------------------------------------- */

struct weft_looping_call;
/* Calls fn(arg) on the loop every period (no drift, missed ones are skipped), as a callback, until
 * it returns nonzero (a negative code reaches the group) or the group is cancelled. Member of g. */
WEFT_API WEFT_MUST_CHECK int weft_looping_call_open(struct weft_looping_call **ret,
                                                    struct weft_group *g, int64_t period_ms,
                                                    int (*fn)(void *arg), void *arg);
WEFT_API void weft_looping_call_close(struct weft_looping_call **c);

/*
 * Connects a protocol once, to any endpoint that weft_dial takes, as a member of g: `made`, or on
 * failure `lost` with the error, t NULL and the factory's arg as conn. Neither that nor the
 * connection's end is an error of the group. timeout_ms: of connecting; 0: 10,000.
 */
WEFT_API WEFT_MUST_CHECK int weft_protocol_dial(struct weft_group *g, const char *endpoint,
                                                const struct weft_dial_options *o,
                                                const struct weft_factory *f, int64_t timeout_ms);

struct weft_reconnect_options {
    int64_t first_ms;   /* delay before the first retry; 0: 100 */
    double factor;      /* growth; 0: 2.0 */
    int64_t max_ms;     /* longest delay; 0: 30,000 */
    double jitter;      /* share of the delay that is random, 0 to 1; 0: 0.2; negative: none */
    int max_retries;    /* in a row; 0: no limit. Then the error reaches the group */
    int64_t connect_ms; /* time-out of one attempt; 0: 10,000 */
    int64_t steady_ms;  /* a connection that lived so long resets the delay; 0: 1,000 */
    /* Told of each change: connected (error 0) or down (error, delay until the next try; -1: there
     * is none). May be NULL. */
    void (*state)(void *arg, bool connected, int error, int64_t delay_ms);
    void *state_arg;
    const struct weft_dial_options *dial; /* borrowed during the call; NULL: none */
    size_t queue_max; /* bytes that may wait for a connection (weft_reconnector_send); 0: 64 KiB */
};
struct weft_reconnector;
/*
 * A client that connects again when it is refused or lost (ReconnectingClientFactory). Member of g.
 * A connection that a callback detaches (weft_protocol_detach) is its last one, as nobody tells it
 * when that ends: from then on it is over, and what still waited to be sent is dropped.
 * *ret: the group's, good for calls until that is closed; ret may be NULL.
 */
WEFT_API WEFT_MUST_CHECK int weft_reconnector_open(struct weft_reconnector **ret,
                                                   struct weft_group *g, const char *endpoint,
                                                   const struct weft_reconnect_options *o,
                                                   const struct weft_factory *f);
/*
 * Sends by the connection, or, while there is none, with the next one, behind what `made` writes
 * and what waits already. What does not fit then waits until the connection has room again; until
 * hands have been shaken when `made` has it secured; or, when `made` closes it, for another. The
 * bytes are copied; those that a connection had when it was lost are lost with it. 0; -ENOBUFS when
 * more than queue_max would wait, for more than write_max at once, and as weft_transport_write
 * says; WEFT_ECLOSED when there will be no further connection; -ENOMEM.
 */
WEFT_API WEFT_MUST_CHECK int weft_reconnector_send(struct weft_reconnector *r, const void *buf,
                                                   size_t len);
/* No more attempts; a live connection goes on until it ends. In the client's callbacks, too. */
WEFT_API void weft_reconnector_stop(struct weft_reconnector *r);

WEFT_END_DECLS
#endif
