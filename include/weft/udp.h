/* SPDX-License-Identifier: MIT */
#ifndef WEFT_UDP_H
#define WEFT_UDP_H
/*
 * UDP sockets: datagrams, one at a time or in batches. Connected (weft_udp_dial) or not
 * (weft_udp_open). Thread rule and cancellation as for streams; one receiver and one sender at a
 * time.
 */
#include <weft/stream.h>

WEFT_BEGIN_DECLS

struct weft_udp;

struct weft_udp_options {
    bool reuse_port;
    bool broadcast;
    int receive_buffer; /* bytes, SO_RCVBUF; 0: the system's */
    int send_buffer;    /* bytes, SO_SNDBUF; 0: the system's */
    bool segment; /* join equal datagrams to one peer by UDP_SEGMENT and UDP_GRO where the kernel
                     can */
    int64_t resolve_ms; /* how long a name is looked up at most; 0: 10,000 */
};

/* Bound to an endpoint (udp://127.0.0.1:0 for any port). A name is looked up, which waits as for
 * weft_udp_dial, and its first address taken. Errors as weft_udp_dial. */
WEFT_API WEFT_MUST_CHECK int weft_udp_open(struct weft_udp **ret, const char *endpoint,
                                           const struct weft_udp_options *o);
/*
 * Connected to a peer: only its datagrams arrive, and its refusals are reported. A name is looked
 * up (dns.h; the endpoint's option family=4|6 says which addresses), which waits and is a
 * cancellation point, and the first of its addresses that there is a way to is taken; numbers and
 * localhost, which is 127.0.0.1, do not wait. Errors as weft_listen and, of a name, weft_resolve;
 * WEFT_EENDPOINT for options that a UDP socket cannot have.
 */
WEFT_API WEFT_MUST_CHECK int weft_udp_dial(struct weft_udp **ret, const char *endpoint,
                                           const struct weft_udp_options *o);

/*
 * The next datagram. Returns its length, which may be 0; *from (may be NULL) is its sender.
 * -EMSGSIZE when it is longer than cap (the rest is lost, as recvfrom(2) says).
 */
WEFT_API WEFT_MUST_CHECK ssize_t weft_udp_recv(struct weft_udp *u, void *buf, size_t cap,
                                               struct weft_address *from, weft_deadline d);
/* One datagram; to is NULL on a connected socket. Returns 0, -EMSGSIZE, -ECONNREFUSED ... */
WEFT_API WEFT_MUST_CHECK int weft_udp_send(struct weft_udp *u, const void *buf, size_t len,
                                           const struct weft_address *to, weft_deadline d);

struct weft_datagram {
    void *data;                  /* the caller's memory */
    size_t cap;                  /* room, for receiving */
    size_t len;                  /* length */
    struct weft_address address; /* sender or receiver; len 0 on a connected socket */
    bool truncated;
};

/* At most this many datagrams a call. */
#define WEFT_UDP_BATCH_MAX 64

/* Waits for at least one, takes what is there up to n: recvmmsg(2). Returns how many. */
WEFT_API WEFT_MUST_CHECK int weft_udp_recv_batch(struct weft_udp *u, struct weft_datagram *dg,
                                                 int n, weft_deadline d);
/* Sends all n, sendmmsg(2). Returns how many went out before the first error, or that error if
 * none. */
WEFT_API WEFT_MUST_CHECK int weft_udp_send_batch(struct weft_udp *u, struct weft_datagram *dg,
                                                 int n, weft_deadline d);

/* Joins or leaves a multicast group; interface by name, NULL: the system's choice, and the only one
 * inside a simulated host. */
WEFT_API WEFT_MUST_CHECK int weft_udp_join(struct weft_udp *u, const char *group,
                                           const char *interface);
WEFT_API WEFT_MUST_CHECK int weft_udp_leave(struct weft_udp *u, const char *group,
                                            const char *interface);
/* Hop limit and loopback of multicast sent from here; the interface it leaves by (NULL: default).
 */
WEFT_API WEFT_MUST_CHECK int weft_udp_multicast(struct weft_udp *u, int hops, bool loop,
                                                const char *interface);

WEFT_API WEFT_MUST_CHECK int weft_udp_local(const struct weft_udp *u, struct weft_address *ret);
/* "udp://127.0.0.1:4711"; the length or a negative code. */
WEFT_API int weft_udp_endpoint(const struct weft_udp *u, char *buf, size_t cap);
WEFT_API int weft_udp_fd(const struct weft_udp *u);
WEFT_API void weft_udp_close(struct weft_udp **u);

WEFT_END_DECLS
#endif
