/* SPDX-License-Identifier: MIT */
#ifndef WEFT_STREAM_H
#define WEFT_STREAM_H
/*
 * Streams: bytes both ways, in order, over TCP, a Unix socket, a pipe in memory.
 *
 * The same calls work in a task (the task waits, others run) and on a plain thread (the thread
 * blocks). In a protocol callback a call that would wait returns -EDEADLK: see protocol.h.
 *
 * Thread rule: a stream belongs to the loop, or the thread, that made or adopted it; see
 * weft_stream_detach for moving one. One reader and one writer at a time: a second gets -EBUSY.
 * All waiting calls are cancellation points and take a deadline: -ETIMEDOUT when it passes,
 * -ECANCELED when the task is cancelled. Neither hurts reading; a write that was cut off leaves
 * the peer with an unknown part of it, so the stream then refuses more (WEFT_EPOISONED).
 */
#include <stddef.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <weft/address.h>
#include <weft/framing.h>
#include <weft/time.h>

WEFT_BEGIN_DECLS

struct weft_stream;
struct weft_tls; /* tls.h */

/* --- Making streams ------------------------------------------------------------------------ */

/* What the endpoint says itself, in its options (address.h), goes before these. */
struct weft_dial_options {
    const char *bind;      /* endpoint to bind the local side to; NULL: the system chooses */
    int family;            /* of a name's addresses: AF_INET, AF_INET6; 0: both */
    int attempt_delay_ms;  /* a name's next address is tried after so long; 0: 250; at least 10 */
    const char *interface; /* SO_BINDTODEVICE, socket(7): "eth0"; needs Linux 5.7 or privileges */
    /* A proxy to go through, which looks names up itself: "socks5://host:port" (RFC 1928) or
     * "http://host:port" (CONNECT), before the host "user:password@" with %HH in them. The port
     * may be left out (1080 for socks5, 80 for http), and a slash may end the text. */
    const char *proxy;
    int send_proxy; /* 1, 2: tells the peer first, by that version of the PROXY protocol, ... */
    const struct weft_address *proxy_from, *proxy_to; /* ... of these; NULL: the connection's own */
    bool fast_open; /* TCP_FASTOPEN_CONNECT, tcp(7), where it can be had: then the first write may
                       meet what connecting would have */
    bool no_delay_off;   /* leave Nagle's algorithm on; TCP_NODELAY is set otherwise */
    int keepalive_s;     /* > 0: TCP keep-alive after so many idle seconds */
    int user_timeout_ms; /* > 0: TCP_USER_TIMEOUT, tcp(7) */
    size_t write_buffer; /* bytes of joined writes that may wait; 0: 64 KiB */
    /* Of tls:// endpoints, and of unix: ones that are to be secured, which these say. */
    struct weft_tls *tls;    /* NULL: the system's trust store, no certificate of one's own */
    const char *server_name; /* that the peer's certificate must have, and that the peer is told;
                                NULL: the endpoint's host */
};

/*
 * Connects to an endpoint (o: borrowed, may be NULL): looks its name up, connects, and shakes hands
 * on tls://, all by the deadline. The addresses of a name race, families by turns (Happy Eyeballs,
 * RFC 8305); when none connects, the error is the one that came nearest, and the detail lists what
 * each has met. *ret: owned by the caller. Returns 0, -ETIMEDOUT, -ECANCELED,
 * -ECONNREFUSED, -ENETUNREACH and others of connect(2), WEFT_EENDPOINT, WEFT_ENAME, WEFT_ETLS and
 * WEFT_ECERTIFICATE (tls.h), -EINVAL (options that do not go together), -EMFILE, -ENOMEM, -EDEADLK.
 */
WEFT_API WEFT_MUST_CHECK int weft_dial(struct weft_stream **ret, const char *endpoint,
                                       const struct weft_dial_options *o, weft_deadline d);

/* Two ends of a pipe in memory, each way bounded by capacity bytes (0: 64 KiB). Both of one loop:
 * -EOPNOTSUPP on a plain thread, where nothing could wake the other end. */
WEFT_API WEFT_MUST_CHECK int weft_pipe_open(struct weft_stream **a, struct weft_stream **b,
                                            size_t capacity);

/* Two connected Unix stream sockets, socketpair(2). */
WEFT_API WEFT_MUST_CHECK int weft_socketpair(struct weft_stream **a, struct weft_stream **b);

/* Takes over a connected stream socket, pipe or terminal; the stream owns fd from then on. */
WEFT_API WEFT_MUST_CHECK int weft_stream_from_fd(struct weft_stream **ret, int fd);

/* --- Reading ------------------------------------------------------------------------------- */

/* Some bytes, at least 1 and at most cap; 0 at the clean end of the stream. -EBUSY, -ECONNRESET...
 */
WEFT_API WEFT_MUST_CHECK ssize_t weft_read(struct weft_stream *s, void *buf, size_t cap,
                                           weft_deadline d);

/* Exactly len bytes. WEFT_EEOF when the stream ends before; what was read is then in buf. */
WEFT_API WEFT_MUST_CHECK int weft_read_full(struct weft_stream *s, void *buf, size_t len,
                                            weft_deadline d);

/*
 * Up to and including the first delim. Returns the length; WEFT_ETOOLONG when cap bytes hold none;
 * WEFT_EEOF when the stream ends within a piece, 0 when it ends before one. On an error nothing is
 * lost: the bytes stay in the stream.
 */
WEFT_API WEFT_MUST_CHECK ssize_t weft_read_until(struct weft_stream *s, void *buf, size_t cap,
                                                 char delim, weft_deadline d);

/*
 * Without a copy and without a buffer of the caller's: waits until at least one byte is there,
 * points *data at what is buffered and returns how much, 0 at the end. The bytes are valid until
 * the next reading call; weft_consume takes n of them off. An idle stream in weft_peek holds no
 * buffer.
 */
WEFT_API WEFT_MUST_CHECK ssize_t weft_peek(struct weft_stream *s, const void **data,
                                           weft_deadline d);
/* As weft_peek, but waits for at least min bytes (at most 64 KiB). WEFT_EEOF when the end comes
 * first. */
WEFT_API WEFT_MUST_CHECK ssize_t weft_peek_min(struct weft_stream *s, const void **data, size_t min,
                                               weft_deadline d);
WEFT_API void weft_consume(struct weft_stream *s, size_t n);

/*
 * The next record of a framing (line, netstring, length prefix), without its frame. *record points
 * into the stream's buffer, valid until the next reading call. Returns 1 with a record, 0 at the
 * clean end, WEFT_EEOF within a record, WEFT_ETOOLONG, WEFT_EPROTOCOL.
 */
WEFT_API WEFT_MUST_CHECK int weft_read_record(struct weft_stream *s, const struct weft_framing *f,
                                              const void **record, size_t *len, weft_deadline d);

/* --- Writing ------------------------------------------------------------------------------- */

/*
 * All of it, or an error. On a loop small writes (below 8 KiB) are joined: they go to the kernel at
 * the end of the loop's turn, and the writer waits only above the stream's bound. So 0 says that
 * the bytes are in order and on their way, not that the kernel has them: that is what weft_flush
 * says. When a joined write fails later, nobody is in the call any more; the error stays with the
 * stream, and is the result of every write, weft_flush, weft_shutdown and weft_close after it (of
 * weft_close alone, if that comes next: look at its result). Reading goes on. Returns 0, -EPIPE,
 * -ECONNRESET, WEFT_EPOISONED, WEFT_ECLOSED (shut down on this side), -EBUSY.
 */
WEFT_API WEFT_MUST_CHECK int weft_write(struct weft_stream *s, const void *buf, size_t len,
                                        weft_deadline d);
WEFT_API WEFT_MUST_CHECK int weft_writev(struct weft_stream *s, const struct iovec *iov, int n,
                                         weft_deadline d);
WEFT_API WEFT_MUST_CHECK int weft_write_record(struct weft_stream *s, const struct weft_framing *f,
                                               const void *record, size_t len, weft_deadline d);
WEFT_API WEFT_PRINTF(3, 4) WEFT_MUST_CHECK
    int weft_printf(struct weft_stream *s, weft_deadline d, const char *fmt, ...);

/* len bytes of the file fd from *offset on (advanced by what was sent), sendfile(2). WEFT_EEOF when
 * the file is shorter. On streams without a socket it reads and writes. */
WEFT_API WEFT_MUST_CHECK int weft_sendfile(struct weft_stream *s, int fd, off_t *offset, size_t len,
                                           weft_deadline d);

/* Waits until the kernel has taken every joined write. */
WEFT_API WEFT_MUST_CHECK int weft_flush(struct weft_stream *s, weft_deadline d);

/* --- Ending -------------------------------------------------------------------------------- */

/* Half-close: flushes, then tells the peer that no more will come. Reading goes on. */
WEFT_API WEFT_MUST_CHECK int weft_shutdown(struct weft_stream *s, weft_deadline d);

/*
 * Graceful: flushes, then closes. The stream is gone in any case and *s is NULL; NULL is fine.
 * Returns 0 or what flushing met (-ETIMEDOUT when d passed first: the rest was then dropped).
 * WEFT_ETHREAD from another loop: then the stream stays open, and *s as it is.
 */
WEFT_API int weft_close(struct weft_stream **s, weft_deadline d);

/* Abrupt: drops what waits and resets the connection (RST on TCP). Never waits. NULL is fine. */
WEFT_API void weft_abort(struct weft_stream **s);

/* --- Facts --------------------------------------------------------------------------------- */

/* 0, or -ENOTCONN and the like; a pipe has no address: -EOPNOTSUPP. */
WEFT_API WEFT_MUST_CHECK int weft_stream_peer(const struct weft_stream *s,
                                              struct weft_address *ret);
WEFT_API WEFT_MUST_CHECK int weft_stream_local(const struct weft_stream *s,
                                               struct weft_address *ret);
WEFT_API uint64_t weft_stream_bytes_in(const struct weft_stream *s);
WEFT_API uint64_t weft_stream_bytes_out(const struct weft_stream *s);
/*
 * The descriptor for setsockopt(2) and the like, still owned by the stream; -1 when it has none.
 * From the first call on nothing is taken from it but by reading calls, so that poll(2) tells of
 * what they have not had; a stream that has been read for some time may hold bytes from before.
 */
WEFT_API int weft_stream_fd(const struct weft_stream *s);
/* A note for `weft tree`; copied, at most 31 bytes are kept. */
WEFT_API WEFT_MUST_CHECK int weft_stream_label(struct weft_stream *s, const char *label);

/* --- Moving between models and loops ------------------------------------------------------- */

/*
 * Takes the descriptor out of a stream and frees the stream: for handing it to another thread or
 * loop, which makes a stream of it with weft_stream_from_fd. Flushes first. Bytes that were
 * read ahead are copied to unread (cap bytes; may be NULL with 0); -EMSGSIZE, with the stream
 * intact, when they do not fit. Returns the descriptor or a negative code. In a simulation the
 * descriptor is a simulated one: for weft_stream_from_fd, not for close(2).
 */
WEFT_API WEFT_MUST_CHECK int weft_stream_detach(struct weft_stream **s, void *unread, size_t cap,
                                                size_t *unread_len, weft_deadline d);

/* Sends one byte with n descriptors over a Unix socket (SCM_RIGHTS, unix(7)); n at most 64. */
WEFT_API WEFT_MUST_CHECK int weft_send_fds(struct weft_stream *s, const int *fds, size_t n,
                                           weft_deadline d);
/* Receives them; *n: room in, number out. They are close-on-exec and owned by the caller. Returns
 * 1, or 0 at the end of the stream. When more come than there is room for, all are closed:
 * -EMSGSIZE. -EINVAL when bytes were read ahead (with which descriptors may have been lost),
 * WEFT_EPROTOCOL for a byte without descriptors, which stays in the stream; -EOPNOTSUPP off Unix
 * sockets. */
WEFT_API WEFT_MUST_CHECK int weft_recv_fds(struct weft_stream *s, int *fds, size_t *n,
                                           weft_deadline d);

/* --- Foreign descriptors ------------------------------------------------------------------- */

/*
 * Inside a simulated host (sim.h) this and weft_stream_from_fd take the host's own descriptors;
 * those of the real kernel give WEFT_EOUTSIDE.
 *
 * Waits until any descriptor is ready: events and result are POLLIN, POLLOUT ... of poll(2).
 * Returns the ready events (> 0); -ETIMEDOUT, -ECANCELED, -EDEADLK, -EBADF.
 */
WEFT_API WEFT_MUST_CHECK int weft_poll(int fd, int events, weft_deadline d);

WEFT_END_DECLS
#endif
