/* SPDX-License-Identifier: MIT */
#ifndef WEFT__NET_STREAM_H
#define WEFT__NET_STREAM_H
/*
 * Streams from the inside (floor 3).
 *
 * A stream is a class (what carries the bytes), read-ahead, and a queue of joined writes. The
 * classes are descriptors (fd_stream.c) and pipes in memory (mem_pipe.c); filters, whose bytes are
 * moved by another stream, are in floor 4 (tls/stream.c).
 *
 * Invariants:
 *  - one reader and one writer at a time, by `reader` and `writer`; the stream is freed by the last
 * to leave it;
 *  - read-ahead is at most one buffer, and none once it is consumed, and what a feed holds; the
 * queue of joined writes is bounded by out_max and none once it is sent;
 *  - the first failed or cut-off write is kept in `error`, and nothing is written after it.
 */
#include <weft/stream.h>

#include "rt/rt.h"
#include "sys/sys.h"

struct weft__out;
struct weft__feed;
struct weft__transport;
struct weft__conn;
struct weft__factory_ref;
struct weft__worker;

/* A stream that has been read so often is expected to be read on. */
#define WEFT__FEED_AFTER 3

/* What streams of a server add up to, written by one thread, read by any. */
struct weft__counters {
    _Atomic uint64_t bytes_in, bytes_out, reads;
};

static inline void weft__count(_Atomic uint64_t *c, uint64_t n)
{
    atomic_store_explicit(c, atomic_load_explicit(c, memory_order_relaxed) + n,
                          memory_order_relaxed);
}

/* Bytes that never change and are sent to many, from any loop and thread. */
struct weft__shared {
    _Atomic size_t refs;
    void (*free)(struct weft__shared *sh);
};

static inline struct weft__shared *weft__shared_ref(struct weft__shared *sh)
{
    atomic_fetch_add_explicit(&sh->refs, 1, memory_order_relaxed);
    return sh;
}

static inline void weft__shared_unref(struct weft__shared *sh)
{
    if (atomic_fetch_sub_explicit(&sh->refs, 1, memory_order_acq_rel) == 1)
        sh->free(sh);
}

/* weft_write of them: what can be queued, within the stream's bound, is not copied. */
int weft__write_shared(struct weft_stream *s, struct weft__shared *sh, const void *data, size_t len,
                       weft_deadline d);

struct weft__stream_class {
    const char *kind; /* "tcp", "unix", "pipe" ... */
    /* At least one byte into buf, 0 at the end. Waits. Called with read-ahead empty. */
    ssize_t (*read)(struct weft_stream *s, void *buf, size_t cap, weft_deadline d);
    /* Replaces an empty read-ahead by one with bytes: > 0, 0 at the end. Waits. */
    ssize_t (*fill)(struct weft_stream *s, weft_deadline d);
    /* All of iov (which it may change), or an error; *moved is what went. Waits. */
    int (*write)(struct weft_stream *s, struct iovec *iov, int n, size_t *moved, weft_deadline d);
    /* Tells the peer that no more comes. Does not wait. */
    int (*shutdown)(struct weft_stream *s);
    /* Filters only, else NULL: waits until all that was written has gone from the streams below. */
    int (*flush)(struct weft_stream *s, weft_deadline d);
    /* Filters only, else NULL: before a graceful close, tells the peer of it and flushes. What need
     * not wait is done in a cancelled flow, too. */
    int (*finish)(struct weft_stream *s, weft_deadline d);
    /* Releases what carries the bytes; abrupt: with a reset. Nobody is inside. Does not wait. */
    void (*release)(struct weft_stream *s, bool abrupt);
    int (*address)(const struct weft_stream *s, bool peer, struct weft_address *ret);
    bool joins; /* small writes on a loop go through the queue of out.c */
    /* Of filters that can work in callback mode, else NULL; see secure.h. */
    const struct weft__filter_class *filter;
};

struct weft_stream {
    const struct weft__stream_class *cls;
    struct weft_loop *loop; /* NULL: plain threads */
    union {
        struct {
            struct weft__flow *reader; /* who is in a reading call */
            struct weft__flow *writer;
        };
        struct {                              /* in callback mode (proto) nobody is inside */
            void *user;                       /* weft_transport_set */
            struct weft__factory_ref *shared; /* the factory, counted */
        };
    };
    struct weft__rbuf *in;         /* read-ahead: [used, len) of data */
    struct weft__feed *feed;       /* what goes on receiving between reads (feed.h); or NULL */
    struct weft__out *out;         /* joined writes; NULL: none */
    struct weft__transport *proto; /* in callback mode */
    struct weft__counters *counters;
    union {
        struct weft__conn *conn;     /* its server's record, on the stack of its task; or NULL */
        struct weft__worker *worker; /* in callback mode; or NULL */
    };
    uint64_t bytes_in, bytes_out;
    char *label;
    int fd;
    int error; /* of writing; 0: none */
    union {
        uint32_t out_max; /* bytes that may be queued */
        int reason; /* in callback mode (the factory has the maxima): what lost will be told */
    };
    uint32_t record_len; /* of the record that the reader looks at, with its frame */
    uint32_t active_ms;  /* of the loop's clock (weft__loop_ms): last byte in or out */
    uint32_t sent_ms;    /* last byte out, or since when more would go if it could */
    bool drained : 1;    /* the last read was short: nothing more is there yet */
    bool end : 1;        /* the peer has ended its side */
    bool shut : 1;       /* we have ended ours */
    bool closed : 1;     /* by close or abort, while someone was inside */
    bool abrupt : 1;
    bool socket : 1; /* recv and send work on fd */
    bool tcp : 1;
    bool first_byte : 1; /* something has been read */
    bool timed_out : 1;  /* a server's time limit has struck */
    bool exposed : 1;    /* others may read from the descriptor: no feed */
    bool aliased : 1;    /* the socket may have other descriptors, in other processes, too */
    unsigned fills : 2;  /* how many reads have brought a buffer, up to WEFT__FEED_AFTER */
    /* In callback mode; see transport.c. They are here because they fit. */
    bool busy : 1;     /* the transport's operation is under way */
    bool starting : 1; /* made has not been called yet */
    bool inside : 1;   /* in a callback */
    bool held : 1;     /* reading is paused by the user */
    bool paused : 1;   /* writing is */
    bool shutting : 1;
    bool closing : 1;  /* once the queue is sent */
    bool aborting : 1; /* now */
    bool lent : 1;     /* the buffer being delivered went to the write queue */
    bool progressing : 1;
    bool detached : 1;   /* goes on in a task: ends without lost */
    bool canceling : 1;  /* the operation is being cancelled */
    bool delivering : 1; /* in the data callback */
    bool claimed : 1;    /* detached, and the task that goes on has not taken the rest yet */
    bool secured : 1;    /* its bytes go through a filter: see transport_secure.c */
    bool shaking : 1;    /* ... which shakes hands */
    bool in_line : 1;    /* ... or waits until it may */
    bool away : 1;       /* ... or is on the work pool */
    bool more : 1;       /* ... and has, or may have, bytes that it has not given out */
    int ended; /* what receiving came to while bytes were held back: 1 the end, < 0; 0: nothing */
};

/* --- Making and ending (stream.c) ------------------------------------------------------------ */

/* A zeroed stream of the calling flow's loop, or of plain threads. */
struct weft_stream *weft__stream_new(const struct weft__stream_class *cls);
void weft__stream_init(struct weft_stream *s, const struct weft__stream_class *cls,
                       struct weft_loop *loop);
/* Releases everything but the struct. Nobody is inside. */
void weft__stream_fini(struct weft_stream *s, bool abrupt);
void weft__stream_free(struct weft_stream *s, bool abrupt);

/* Ends a stream that is not in callback mode, now or when the last flow inside leaves; *ret is NULL
 * then. What is queued is dropped. */
void weft__stream_end(struct weft_stream **ret, bool abrupt);
/*
 * Ends a stream on which something has failed: by a reset, as weft_abort. But where the peer is
 * being told why, it ends gracefully once that has been sent, or cannot be sent within
 * WEFT__LAST_WORDS_MS, or until d; this waits, and a cancel cuts it short. NULL is fine.
 */
void weft__stream_give_up(struct weft_stream **ret, weft_deadline d);
/* No alert of TLS holds a connection that has failed for longer. */
#define WEFT__LAST_WORDS_MS 1000
/* The peer's address for a report; len 0 when it cannot be had. */
struct weft_address weft__stream_peer_or_none(const struct weft_stream *s);

/* Takes the place of the reader or writer: -EBUSY, WEFT_ECLOSED, WEFT_ETHREAD, -EDEADLK,
 * -ECANCELED. */
int weft__stream_enter(struct weft_stream *s, struct weft__flow **place);
/* Leaves it; true when the stream was closed meanwhile (and may now be gone). */
bool weft__stream_leave(struct weft_stream *s, struct weft__flow **place);
/* What a call returns whose wait ended with res: turns the cancel of a closing into WEFT_ECLOSED.
 */
ssize_t weft__stream_leave_with(struct weft_stream *s, struct weft__flow **place, ssize_t res);

/* The monotonic clock: on a loop as of the turn's beginning, for which nobody asks the kernel. */
static inline int64_t weft__stream_now_ns(const struct weft_stream *s)
{
    return s->loop != NULL ? s->loop->now_ns : weft_now_ns();
}

static inline uint32_t weft__loop_ms(const struct weft_loop *l)
{
    return (uint32_t)((uint64_t)l->now_ns >> 20);
}

static inline void weft__stream_got(struct weft_stream *s, size_t n)
{
    s->bytes_in += n;
    s->first_byte = true;
    if (s->loop != NULL)
        s->active_ms = weft__loop_ms(s->loop);
    if (s->counters != NULL) {
        weft__count(&s->counters->bytes_in, n);
        weft__count(&s->counters->reads, 1);
    }
}

/* A write begins that may wait for the peer: what its time limit counts from. */
static inline void weft__stream_begins(struct weft_stream *s)
{
    if (s->loop != NULL)
        s->sent_ms = weft__loop_ms(s->loop);
}

/* A write that goes on has moved bytes, which are counted at its end. */
static inline void weft__stream_moves(struct weft_stream *s)
{
    if (s->loop != NULL)
        s->active_ms = s->sent_ms = weft__loop_ms(s->loop);
}

static inline void weft__stream_sent(struct weft_stream *s, size_t n)
{
    s->bytes_out += n;
    if (s->loop != NULL)
        s->active_ms = s->sent_ms = weft__loop_ms(s->loop);
    if (s->counters != NULL)
        weft__count(&s->counters->bytes_out, n);
}

/* --- Read-ahead (inbuf.c) -------------------------------------------------------------------- */

static inline size_t weft__in_left(const struct weft_stream *s)
{
    return s->in != NULL ? s->in->len - s->in->used : 0;
}

bool weft__rbuf_on_heap(const struct weft__rbuf *rb);
/* Takes the first buffer off a list that has one. */
static inline struct weft__rbuf *weft__rbuf_pop(struct weft__rbuf **list)
{
    struct weft__rbuf *rb = *list;
    *list = rb->next;
    rb->next = NULL;
    return rb;
}
/* Gives a buffer that is in no list back to where it came from; l is NULL on plain threads. */
void weft__rbuf_release(struct weft_loop *l, struct weft__rbuf *rb);
/* One of exactly cap bytes, on the heap, in place of rb (NULL: none) and with what is left in it:
 * what is held for long need not hold more. NULL: rb stays. */
struct weft__rbuf *weft__rbuf_fit(struct weft_loop *l, struct weft__rbuf *rb, size_t cap);
/* Drops an empty read-ahead. */
void weft__in_release(struct weft_stream *s);
/* A read-ahead on the heap with room for cap bytes. */
struct weft__rbuf *weft__in_alloc(struct weft_stream *s, size_t cap);
/* Makes room for at least one byte more, and for min bytes in all, behind what is there. */
int weft__in_room(struct weft_stream *s, size_t min, uint8_t **at, size_t *cap);
/* Puts bytes before what is read next (attach, detach). -ENOMEM. */
int weft__in_prepend(struct weft_stream *s, const void *data, size_t len);

/* --- Joined writes (out.c): descriptor streams on a loop ------------------------------------- */

size_t weft__out_queued(const struct weft_stream *s);
/* Queues a copy, to be sent before the loop waits next. -ENOMEM, and then nothing was queued. */
int weft__out_append(struct weft_stream *s, const struct iovec *iov, int n);
/*
 * Where len bytes can be written that are to be queued, in one piece; NULL: not here, append does
 * better. The caller writes at least one byte and tells how many, before anything else happens on
 * the loop.
 */
char *weft__out_room(struct weft_stream *s, size_t len);
void weft__out_filled(struct weft_stream *s, size_t len);
/* As append of one piece, that lies in rb, which the queue then owns. */
int weft__out_lend(struct weft_stream *s, struct weft__rbuf *rb, const void *data, size_t len);
/* The same of bytes that are sent from where they lie, with a reference until they are; short ones
 * are copied. len > 0. */
int weft__out_share(struct weft_stream *s, struct weft__shared *sh, const void *data, size_t len);
/* As weft__out_room and weft__out_filled, for a stream of any kind and with the checks of a write
 * (write.c): NULL also where a write would fail or wait, which it is then to find out. */
char *weft__write_room(struct weft_stream *s, size_t len);
void weft__write_filled(struct weft_stream *s, size_t len);
/* Begins to send now. */
void weft__out_kick(struct weft_stream *s);
/* Waits until at most `below` bytes are queued; the stream's writing error, if there is one. */
int weft__out_wait(struct weft_stream *s, size_t below, weft_deadline d);
/* Tries to send without waiting, for a close that may not wait. */
void weft__out_last_try(struct weft_stream *s);
/* The same where more follows at once, so that it goes in the same segment: else TCP may keep it
   for 200 ms (tcp(7), TCP_CORK). */
void weft__out_try_with_more(struct weft_stream *s);
/* weft__out_last_try of a queue that ends with why the stream ends. What an operation under way
 * holds back is tried again when the stream is gone, be it by a reset, and the operation has ended.
 */
void weft__out_last_words(struct weft_stream *s);
/* The stream's struct was copied to s: its queue follows. */
void weft__out_move(struct weft_stream *s);
/* Forgets what is queued; an operation under way is cancelled, and frees the queue when it ends.
 * abrupt: as of weft__stream_fini. */
void weft__out_drop(struct weft_stream *s, bool abrupt);
/* The write error becomes the stream's; told to whoever waits. */
void weft__stream_fail(struct weft_stream *s, int error);

/* --- Descriptor streams (fd_stream.c) -------------------------------------------------------- */

extern const struct weft__stream_class weft__tcp_class, weft__unix_class, weft__fd_class;

/* Makes a stream of a connected descriptor; family as of socket(2), or -1 when it is no socket. On
 * failure the descriptor is still the caller's. */
int weft__fd_stream_open(struct weft_stream **ret, int fd, int family, size_t out_max);
void weft__fd_stream_init(struct weft_stream *s, int fd, int family, struct weft_loop *loop,
                          size_t out_max);

/* weft__await for one round of a reading or writing call, within a server's time limits. */
int weft__fd_await(struct weft_stream *s, struct weft__io *io, bool writing, weft_deadline d);

#define WEFT__OUT_MAX_DEFAULT 65536u
#define WEFT__OUT_MAX_MIN 16384u

/* Closes a descriptor that a driver may have used; abrupt: with a reset. l may be NULL. */
void weft__fd_close(struct weft_loop *l, int fd, bool abrupt);

/* --- Sockets (socket.c) ---------------------------------------------------------------------- */

int weft__socket_no_delay(int fd);
/* A listener that is about to close takes no new connections; what it has can still be accepted.
 * TCP handshakes that are under way go on: see WEFT__HANDSHAKE_MS. */
void weft__socket_no_more(int fd, bool tcp);
/* The address family of a connected or listening stream socket; -ENOTSOCK, -EINVAL. */
int weft__socket_family(int fd);
int weft__socket_local(int fd, struct weft_address *ret);
int weft__socket_peer(int fd, struct weft_address *ret);
/* True while the peer's kernel has not acknowledged all that was sent, our end included; *acked:
 * bytes that it has. False where that cannot be known: other streams than TCP, simulation. */
bool weft__socket_unacked(const struct weft_stream *s, uint64_t *acked);

#endif
