/* SPDX-License-Identifier: MIT */
#ifndef WEFT__SIM_SOCK_H
#define WEFT__SIM_SOCK_H
/*
 * Simulated stream sockets and pipes (floor 1): TCP, Unix streams, pipe(2).
 *
 * A connection is two socks that know each other. Bytes go from the writer's `tx` (its send buffer)
 * through `flight` (on their way) into the reader's `rx`; `credit` is what the reader's window has
 * room for. Within a host there is no way to go, and bytes arrive as they are sent.
 *
 *   written -> tx -> [credit] -> flight -> [latency, loss, cut] -> peer's rx -> read
 *
 * Life: a sock belongs to its descriptor until that is closed, and lives on as an orphan until what
 * it had to say (the rest of its bytes and FIN, or RST) has arrived or given up. `peer` is NULL
 * once the other one is gone.
 *
 * Invariants:
 *  - credit + flight.bytes + peer's rx.bytes + window updates on their way == the peer's rcvbuf;
 *  - bytes arrive in order: a segment that is lost holds back those behind it;
 *  - a sock in a listener's queue has no descriptor, and its refs are the queue's one.
 */
#include "sys/sim/driver.h"
#include "sys/sim/ports.h"

/* Bytes on their way, or the end of them. */
struct weft__seg {
    struct weft__seg *next;
    int64_t arrive_ns; /* -1: it was lost, and is sent again at `retry_ns` */
    int64_t retry_ns;
    uint32_t len, used;
    bool fin, rst;
    bool bounced; /* it has met nobody, and the RST that answers it is on its way back */
    uint8_t n_rights;
    struct weft__desc **rights; /* SCM_RIGHTS: descriptors that go with its first byte */
    uint8_t data[];
};

struct weft__segs {
    struct weft__seg *first, *last;
    uint32_t bytes;
};

enum weft__sock_state {
    WEFT__SOCK_FRESH,
    WEFT__SOCK_LISTENING,
    WEFT__SOCK_CONNECTING,
    WEFT__SOCK_CONNECTED,
    WEFT__SOCK_DEAD, /* reset, timed out, refused */
};

struct weft__sock;

struct weft__backlog {
    struct weft__sock *first, *last; /* by next_waiting */
    int n;                           /* with those whose handshake is under way */
    int max;
    bool drop_syn;
};

struct weft__sock {
    struct weft__desc desc; /* first */
    struct weft__sock *peer;
    struct weft__path *out, *in; /* NULL: within the host */
    struct weft__segs rx, tx, flight;
    uint32_t rcvbuf, sndbuf;
    uint32_t credit;
    uint32_t unreported;    /* taken by the reader, not told to the peer yet */
    uint32_t reported;      /* told, on its way */
    int64_t last_arrive_ns; /* of what was sent last */
    int64_t lost_since_ns; /* when the first segment was lost that has not arrived since; 0: none */
    int64_t rto_ns;
    int64_t syn_ns;               /* when the last SYN left */
    int64_t window_lost_ns;       /* since then window updates have been lost */
    struct weft__event arrive;    /* the head of flight arrives, or is sent again */
    struct weft__event window;    /* a window update arrives at the peer */
    struct weft__event timer;     /* handshake; later keep-alive */
    union weft__sa local, remote; /* plain; family 0: none */
    struct weft__port *port;      /* of a bound one; NULL */
    char *path;     /* AF_UNIX: of a bound one, with 'a' (abstract) or 'f' (file) before it; NULL */
    uint64_t inode; /* of that file */
    struct weft__backlog *backlog;   /* of a listener */
    struct weft__sock *listener;     /* while in its backlog */
    struct weft__sock *next_waiting; /* there */
    int error;                       /* to be told once */
    uint8_t state;                   /* enum weft__sock_state */
    uint8_t domain;
    uint8_t tries;
    uint8_t phase;          /* of the handshake: connect.c */
    bool pipe_in, pipe_out; /* of pipe(2): reads, writes */
    bool pair;              /* of socketpair(2) or pipe(2): has no address */
    bool window_lost;       /* the update is to be sent again */
    bool arrived;           /* in the backlog: its handshake is over */
    bool fin_sent;          /* shutdown of our side is in tx or beyond */
    bool fin_arrived;       /* the peer's bytes have ended */
    bool rx_shut;           /* shutdown(SHUT_RD) */
    bool orphan;            /* its descriptor is closed */
    bool linger_reset;      /* SO_LINGER of 0 seconds */
    bool no_delay, keepalive, reuse_addr, reuse_port, v6only;
    int32_t keep_idle_s, keep_interval_s, keep_count;
    int32_t user_timeout_ms;
};

/* The window of one whose peer, on the same host, is gone: whatever it still has to send goes, and
 * meets nobody. */
#define WEFT__CREDIT_OPEN (UINT32_C(1) << 30)

static inline struct weft__sock *weft__sock_of(struct weft__desc *d)
{
    return WEFT__CONTAINER_OF(d, struct weft__sock, desc);
}

extern const struct weft__desc_class weft__sock_class;

/* --- Making and ending (sock.c) -------------------------------------------------------------- */

struct weft__sock *weft__sock_new(struct weft__proc *p, int domain);
/* Frees it when nothing holds it any more: no descriptor, no backlog, nothing left to say. */
void weft__sock_check(struct weft__sock *s);
void weft__sock_join(struct weft__sock *a, struct weft__sock *b);

/* --- Bytes (tcp.c) --------------------------------------------------------------------------- */

/* Copies up to len bytes of iov into tx, whole segments. Returns how many had room; -ENOMEM. */
ssize_t weft__sock_write(struct weft__sock *s, const struct iovec *iov, size_t n, size_t skip,
                         struct weft__desc **rights, uint8_t n_rights);
/* Takes from rx: what is there, at most the room of iov. With `seg`, the rights of the first byte
 * are the caller's to take from *seg, else dropped; stops before a segment with rights. */
struct weft__taken {
    struct weft__desc **rights;
    uint8_t n_rights;
    bool cut; /* stopped before descriptors, or dropped some */
};
size_t weft__sock_read(struct weft__sock *s, const struct iovec *iov, size_t n, bool peek,
                       struct weft__taken *taken);
static inline uint32_t weft__sock_room(const struct weft__sock *s)
{
    return s->tx.bytes < s->sndbuf ? s->sndbuf - s->tx.bytes : 0;
}
/* Says what its events do. */
void weft__sock_events(struct weft__sock *s);
/* Sends what the window allows. */
void weft__sock_push(struct weft__sock *s);
void weft__sock_send_fin(struct weft__sock *s);
/* Drops what was not sent and tells the peer. The sock is dead. */
void weft__sock_send_rst(struct weft__sock *s);
/* The connection has ended with an error on this side. */
void weft__sock_fail(struct weft__sock *s, int error);
/* Drops what a host that has no power any more cannot send (again); what is on its way goes on. */
void weft__sock_crash(struct weft__sock *s);
void weft__segs_drop(struct weft__segs *q);

/* --- Connections (connect.c) ----------------------------------------------------------------- */

/* One attempt: begins, or looks how far it is. */
enum weft__sim_tried weft__sock_connect(struct weft__sock *s, struct weft__op *op);
int weft__sock_connect_begin(struct weft__sock *s, const struct sockaddr *sa, socklen_t len);
int weft__sock_bind(struct weft__desc *d, const struct sockaddr *sa, socklen_t len);
int weft__sock_listen(struct weft__desc *d, int backlog);
/* The next connection as a descriptor, or -EAGAIN ... */
int weft__sock_accept(struct weft__sock *s, struct sockaddr *sa, socklen_t *len);
/* A listener is closed: who waits in its queue is reset. */
void weft__backlog_close(struct weft__sock *s, bool crash);
/* The timer of a connecting or arriving sock. */
void weft__sock_handshake_due(struct weft__event *e);

/* --- Options (sockopt.c) --------------------------------------------------------------------- */

int weft__sock_set(struct weft__desc *d, int level, int name, const void *value, socklen_t len);
int weft__sock_get(struct weft__desc *d, int level, int name, void *value, socklen_t *len);
/* (Re)starts keep-alive as the options say. */
void weft__sock_keepalive(struct weft__sock *s);

#endif
