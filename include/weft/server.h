/* SPDX-License-Identifier: MIT */
#ifndef WEFT_SERVER_H
#define WEFT_SERVER_H
/*
 * Servers: accept connections at an endpoint and run a handler for each, in tasks or threads, or a
 * protocol's callbacks on the loop (socketserver, asyncio.start_server, Tornado's TCPServer,
 * gevent's StreamServer, Twisted's endpoint.listen).
 *
 * A server is a member of a group: cancelling or closing the group ends it. Thread rule: its calls
 * belong to the flow that opened the group.
 *
 * Inside a simulated host (sim.h) every server has one worker, on the host's loop, and WEFT_THREADS
 * is WEFT_TASKS.
 */
#include <weft/group.h>
#include <weft/protocol.h>
#include <weft/stream.h>

WEFT_BEGIN_DECLS

enum weft_model {
    WEFT_TASKS = 0, /* a task a connection, one loop a worker */
    WEFT_THREADS,   /* a thread a connection, no loop */
    WEFT_PROTOCOLS, /* callbacks on the loop: weft_serve_protocol only */
};

/* What a connection's end with an error does. */
enum weft_error_policy {
    WEFT_ERRORS_LOG = 0, /* told to `failed`, the server goes on */
    WEFT_ERRORS_STOP,    /* the first error ends the server, and is its result in the group */
};

struct weft_server_options {
    enum weft_model model;
    int workers;         /* loops, each with a thread of its own; 0: the current loop (1 on a plain
                            thread). At most 256. With WEFT_THREADS: accepting threads */
    int max_connections; /* at once, in all; 0: 10,000. Beyond, accept waits */
    int max_per_peer;    /* at once from one IP address; 0: no limit. Beyond: closed at once */
    int backlog;         /* 0: 4,096 */
    int64_t first_byte_ms; /* a connection that sends nothing so long is aborted; 0: never */
    int64_t idle_ms;       /* no byte in or out so long: aborted; 0: never */
    int64_t write_ms;    /* a write, or the next 256 KiB of a long one, is blocked so long: aborted;
                            0: 60,000 */
    int64_t drain_ms;    /* on a cancel of the group connections may go on so long before they are
                            cancelled, too; 0: at once. weft_server_drain has its own deadline */
    size_t write_buffer; /* a connection's bound for joined writes; 0: 64 KiB */
    bool v6_only;
    bool reuse_port; /* other servers, also of other processes, may listen at the same TCP port:
                        a successor begins before this one ends */
    int unix_mode;   /* 0: 0600 */
    enum weft_error_policy errors;
    /* Called on the connection's loop or thread when its handler returned an error. May be NULL. */
    void (*failed)(void *arg, const struct weft_address *peer, int error);
    void *failed_arg;
    const struct weft_options *loop; /* of the workers' loops; NULL: defaults, the current driver */
    /* Of tls:// endpoints, and of unix: and fd: ones that are to be secured, which these say. */
    struct weft_tls *tls;   /* a context with a certificate; the server holds it as long as it lives
                             */
    const char *cert, *key; /* instead of it: file or PEM text, as in struct weft_tls_certificate */
    int64_t handshake_ms;   /* a handshake that takes longer fails; 0: as the context says */
    /* Proxies before this server, as "10.0.0.0/8, ::1" or "*": what they connect begins with a
     * PROXY header (haproxy's PROXY protocol, 1 or 2), and weft_stream_peer then says what it
     * tells, in whichever model the connection goes on. max_per_peer counts whom it tells of.
     * Others are served as they come. */
    const char *proxy_from;
    /* Under way at once, others wait; 0: as many as connections. A handshake begins with the first
     * whole record of a peer. */
    int max_handshakes;
    int handshake_rate; /* begun in a second, others wait; 0: no limit */
};

/*
 * Serves one connection. The stream is closed after it returns: gracefully, or with a reset when it
 * returned an error. The handler may also close it, detach it or attach a protocol to it itself.
 */
typedef int (*weft_handler)(struct weft_stream *s, void *arg);

/*
 * Listens and serves as a member of g; returns once it listens and every worker runs, errors as
 * weft_listen (and of weft_resolve: a host that is a name, but for localhost and in a simulation,
 * is looked up, which waits 10 s at most and is a cancellation point, and is served at its first
 * address; an address never waits), of a worker's loop or thread, and, with a certificate,
 * weft_tls_open (and -EINVAL: WEFT_PROTOCOLS needs weft_serve_protocol). Then nothing of it is left
 * but what ends by itself, and g is as before. Runs until g is cancelled.
 *
 * On tls:// each connection shakes hands in its own task or thread before the handler is called, so
 * a slow peer holds up nobody; one that fails counts as a connection that failed, and is told to
 * `failed` with what was wrong in weft_error_detail().
 */
WEFT_API WEFT_MUST_CHECK int weft_serve(struct weft_group *g, const char *endpoint,
                                        const struct weft_server_options *o, weft_handler handler,
                                        void *arg);

/*
 * The same with a protocol factory (f: copied). With WEFT_PROTOCOLS, and no handler would do, its
 * callbacks run on the loop; with WEFT_TASKS or WEFT_THREADS the same callbacks are run by a task
 * or thread for each connection, where they may also wait.
 */
WEFT_API WEFT_MUST_CHECK int weft_serve_protocol(struct weft_group *g, const char *endpoint,
                                                 const struct weft_server_options *o,
                                                 const struct weft_factory *f);

/* --- With a handle ------------------------------------------------------------------------- */

struct weft_server;

/* As the two above (one of handler and f is NULL). *ret is borrowed: it lives as long as its group.
 */
WEFT_API WEFT_MUST_CHECK int weft_server_open(struct weft_server **ret, struct weft_group *g,
                                              const char *endpoint,
                                              const struct weft_server_options *o,
                                              weft_handler handler, void *arg,
                                              const struct weft_factory *f);

/* The bound endpoint with its real port: "tcp://127.0.0.1:40123". The length or a negative code. */
WEFT_API int weft_server_endpoint(const struct weft_server *s, char *buf, size_t cap);

struct weft_server_stats {
    uint64_t accepted; /* ever: those that are live, were refused, or have ended */
    uint64_t live;     /* now */
    uint64_t refused;  /* closed at once for max_per_peer */
    uint64_t failed;   /* ended with an error */
    uint64_t timed_out;
    uint64_t backoffs;            /* times that accept paused for want of descriptors or memory */
    uint64_t bytes_in, bytes_out; /* as they are on the wire */
    uint64_t handshakes;          /* that succeeded */
    uint64_t handshakes_failed;   /* of `failed` */
    uint64_t reads; /* reading operations that brought bytes: messages, for an echo at one a time */
};
/* May be called from any thread. */
WEFT_API void weft_server_stats_mt(const struct weft_server *s, struct weft_server_stats *ret);

/*
 * Stops accepting, serves what the kernel has accepted already (over TCP also peers that are in the
 * middle of their handshake, for which it stays 64 ms at most, as after a cancel with drain_ms),
 * lets connections go on until they end or d passes, then cancels the rest and ends the server.
 * Waits. Returns 0, or -ETIMEDOUT when some had to be cut off.
 */
WEFT_API WEFT_MUST_CHECK int weft_server_drain(struct weft_server *s, weft_deadline d);

/* In a handler: true once the server drains, so that a long conversation can end at a good point.
 */
WEFT_API bool weft_stream_draining(const struct weft_stream *s);

WEFT_END_DECLS
#endif
