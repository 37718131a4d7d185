/* SPDX-License-Identifier: MIT */
#ifndef WEFT__NET_SECURE_H
#define WEFT__NET_SECURE_H
/*
 * What servers and dials ask of a context for secured connections, without knowing what secures
 * them (floor 3). Floor 4 implements it: struct weft_tls begins with a struct weft__secure.
 *
 * Of one object, only what is said here is used on this floor. Who keeps a context beyond a call
 * holds a reference.
 */
#include <pthread.h>

#include "net/stream.h"

struct weft_tls;

/*
 * What a filter's class has for callback mode. Its stream is then the transport's companion, which
 * no user sees: the lower stream is the transport's own, whose held buffers are the input, and
 * whose queue takes the output. None of these waits.
 */
#define WEFT__SHAKE_AWAY 2
struct weft__filter_class {
    /* Goes on with the handshake: 1 it is done, 0 it needs more input, < 0; WEFT__SHAKE_AWAY: the
     * work pool does a part of it, and until weft__transport_shake_back nothing here may be called
     * but withdraw. */
    int (*shake)(struct weft_stream *f);
    /* Takes that part back. False: it has begun, and has to be waited for. */
    bool (*withdraw)(struct weft_stream *f);
    /* Plain text out of the input: > 0, 0 at the peer's end, -EAGAIN: all input is used up, < 0. */
    ssize_t (*take)(struct weft_stream *f, void *buf, size_t cap);
    /* Whether take has something to give or to tell that needs no more input. */
    bool (*more)(struct weft_stream *f);
    /* Queues all of it, or the connection is beyond use. May change iov. */
    int (*seal)(struct weft_stream *f, struct iovec *iov, int n);
    /* Whether it has failed and has written why, to be read by the peer. Tasks and threads, too. */
    bool (*last_words)(const struct weft_stream *f);
    struct weft_stream *(*lower)(struct weft_stream *f);
    /* Puts another in its place, NULL: none. bound: of bytes queued there. */
    void (*bind)(struct weft_stream *f, struct weft_stream *lower, size_t bound);
};

struct weft__secure_class {
    struct weft_tls *(*ref)(struct weft_tls *tls);
    void (*unref)(struct weft_tls *tls);
    /* Whether it can be a server's: 0, or -EINVAL with a detail. */
    int (*check_server)(const struct weft_tls *tls);
    /* How many bytes are to be there before a server's handshake is worth what it costs, by the n
     * > 0 that came first: 0, or n and less: these will do. It is bounded. */
    size_t (*need)(const uint8_t *first, size_t n);
    /* Whether the server's handshake that begins with these bytes will leave work to the pool. */
    bool (*is_costly)(const struct weft_tls *tls, const uint8_t *first, size_t n);
    /* How long one handshake may take where nobody gives a deadline; > 0. */
    int64_t (*handshake_ms)(const struct weft_tls *tls);
    /* weft_tls_accept and weft_tls_connect: tasks and threads. On success *s is replaced, and with
     * it the stream of its server's record (s->conn). */
    int (*accept)(struct weft_stream **s, struct weft_tls *tls, weft_deadline d);
    int (*connect)(struct weft_stream **s, struct weft_tls *tls, const char *host, weft_deadline d);
    /* A filter over lower that has not begun its handshake. host NULL: as the server. */
    int (*filter)(struct weft_stream **ret, struct weft_tls *tls, struct weft_stream *lower,
                  bool server, const char *host);
};

struct weft__secure {
    const struct weft__secure_class *cls;
};

static inline const struct weft__secure_class *weft__secure_of(const struct weft_tls *tls)
{
    return ((const struct weft__secure *)tls)->cls;
}

/* Waits until a server's handshake is worth beginning, and holds no more memory meanwhile than it
 * has to: 1 with *costly as of is_costly, 0 the peer has ended without a word, WEFT_EEOF too soon,
 * or as weft_peek. */
int weft__secure_await(struct weft_stream *s, const struct weft_tls *tls, bool *costly,
                       weft_deadline d);

static inline void weft__secure_unref(struct weft_tls *tls)
{
    if (tls != NULL)
        weft__secure_of(tls)->unref(tls);
}

/* The context of a client that names none: the system's trust store. Kept for the process, not
 * counted for the caller. Defined on floor 4. -EINVAL, -ENOMEM. */
int weft__secure_default(struct weft_tls **ret);

/* --- Bounds of handshakes (secure.c) --------------------------------------------------------- */

/*
 * How many handshakes may be under way at once, and begin in a second: a flood of peers that begin
 * one and stop costs so much and no more. Of a server; any thread.
 */
struct weft__handshakes {
    pthread_mutex_t lock;
    size_t now, max;        /* max 0: no bound */
    int64_t rate;           /* begun in a second; 0: no bound */
    int64_t tokens_ns;      /* what has been saved up, in nanoseconds' worth of the rate */
    int64_t at_ns;          /* when that was */
    struct weft__list line; /* of struct weft__in_line: who waits, first come first */
};

/*
 * A handshake that has to wait for its turn, zeroed but for who is to be told: with loop NULL the
 * wait of a plain thread is triggered, else the remote is posted to the loop. What it is told, in
 * either case, is to ask again. Everything but remote, loop and wait is under the lock.
 */
struct weft__in_line {
    struct weft__node link;
    struct weft__remote remote;
    struct weft_loop *loop;
    struct weft__wait *wait;
    bool listening; /* it will be told */
    bool posted;    /* the remote is on its way */
};

/* Why one ends with -ETIMEDOUT that has not begun. */
#define WEFT__TOO_MANY_HANDSHAKES "too many handshakes: this one could not begin in its time"

void weft__handshakes_init(struct weft__handshakes *h, size_t max, int64_t rate);
void weft__handshakes_fini(struct weft__handshakes *h);
/* 0: one more has begun, out of the line, and weft__handshakes_end belongs to it. Else it stands in
 * line: -EAGAIN: it will be told; > 0: so, too, but it may ask after so many nanoseconds. */
int64_t weft__handshakes_begin(struct weft__handshakes *h, struct weft__in_line *e, int64_t now_ns);
/* It keeps its place, and will not be told. False: it has been told already. */
bool weft__handshakes_mute(struct weft__handshakes *h, struct weft__in_line *e);
/* To be called by the remote. */
void weft__handshakes_told(struct weft__handshakes *h, struct weft__in_line *e);
/* It gives up. False: its remote is on its way, and e has to stay until that has run. */
bool weft__handshakes_leave(struct weft__handshakes *h, struct weft__in_line *e);
void weft__handshakes_end(struct weft__handshakes *h);

#endif
