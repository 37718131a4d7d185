/* SPDX-License-Identifier: MIT */
#ifndef WEFT_LISTENER_H
#define WEFT_LISTENER_H
/*
 * Listening sockets, for programs that accept by themselves; server.h does it for you.
 * Thread rule: a listener belongs to the loop or thread that made it.
 */
#include <weft/stream.h>

WEFT_BEGIN_DECLS

struct weft_listener;

struct weft_listen_options {
    int backlog;         /* listen(2); 0: 4,096 (the kernel's somaxconn caps it) */
    bool reuse_port;     /* SO_REUSEPORT: several listeners share the port */
    bool v6_only;        /* IPV6_V6ONLY; otherwise [::] takes IPv4, too */
    int unix_mode;       /* permissions of a Unix socket's file; 0: 0600 */
    size_t write_buffer; /* of accepted streams; 0: 64 KiB */
};

/*
 * Binds and listens (o: borrowed, may be NULL). A Unix path that a dead server left behind is
 * replaced; a live one is -EADDRINUSE. The path is removed on close.
 * Returns 0, -EADDRINUSE, -EACCES, -EADDRNOTAVAIL, -EMFILE, -ENOMEM, WEFT_EENDPOINT, WEFT_ENAME,
 * -EINVAL (fd:N is not a listening stream socket).
 */
WEFT_API WEFT_MUST_CHECK int weft_listen(struct weft_listener **ret, const char *endpoint,
                                         const struct weft_listen_options *o);

/* The next connection; *ret owned by the caller. At the descriptor limit: -EMFILE or -ENFILE.
 * Connections that died in the queue are passed over. Waits; a cancellation point. */
WEFT_API WEFT_MUST_CHECK int weft_accept(struct weft_listener *l, struct weft_stream **ret,
                                         weft_deadline d);

/* The bound endpoint with its real port, as text. Returns the length or a negative code. */
WEFT_API int weft_listener_endpoint(const struct weft_listener *l, char *buf, size_t cap);
WEFT_API int weft_listener_fd(const struct weft_listener *l);
WEFT_API void weft_listener_close(struct weft_listener **l);

/* Descriptors inherited through LISTEN_FDS and LISTEN_PID, sd_listen_fds(3): how many, from 3 on. A
 * simulated host inherits none; where the real process has some, it gets WEFT_EOUTSIDE. */
WEFT_API int weft_inherited_fds(void);

WEFT_END_DECLS
#endif
