/* SPDX-License-Identifier: MIT */
#ifndef WEFT__NET_OUT_H
#define WEFT__NET_OUT_H
/*
 * The queue of joined writes from the inside (floor 3): out.c sends it, out_chunk.c keeps its
 * memory.
 *
 * Invariants: chunks are sent in their order; only a chunk that owns its memory is written to, and
 * only behind `end`; by_ref counts the SHARED ones that are queued.
 */
#include <sys/socket.h>
#include <sys/uio.h>

#include "net/stream.h"
#include "rt/rt.h"

enum weft__chunk_kind {
    WEFT__CHUNK_OWN,    /* the one inside a queue */
    WEFT__CHUNK_BLOCK,  /* a block of its own */
    WEFT__CHUNK_LENT,   /* a receive buffer, given back when sent */
    WEFT__CHUNK_SHARED, /* bytes of many queues: one reference */
};

struct weft__chunk {
    struct weft__chunk *next;
    uint8_t *data;
    union {
        struct weft__rbuf *lent;
        struct weft__shared *shared;
    };
    uint32_t start, end, cap;
    uint8_t kind; /* enum weft__chunk_kind */
    bool inside;  /* of the queue itself, whatever kind it is */
};

/* What one operation gathers at most. */
#define WEFT__OUT_GATHER 16

struct weft__out {
    struct weft__before_wait before;
    struct weft__op op;
    struct weft_stream *s; /* NULL: gone */
    struct weft_loop *loop;
    struct weft__wait *waiter;
    size_t below; /* the waiter wants no more than so many bytes queued */
    size_t queued;
    struct weft__chunk *first, *last;
    unsigned by_ref;
    uint8_t size; /* enum weft__out_size */
    bool sending;
    bool scheduled;  /* in the loop's before_wait list */
    bool abrupt;     /* how orphan_fd is closed */
    bool last_words; /* at its end stands why the stream ends: see weft__out_last_words */
    int orphan_fd;   /* to be closed with the queue; -1 */
    struct weft__chunk own;
    /* From here on set when first needed. */
    struct msghdr msg;
    struct iovec iov[WEFT__OUT_GATHER];
};

/* Of the memory that a queue comes with. */
enum weft__out_size {
    WEFT__OUT_BARE,  /* none: its chunk refers to bytes elsewhere */
    WEFT__OUT_SMALL, /* for a message of about a KiB */
    WEFT__OUT_LARGE, /* the longest record of TLS */
    WEFT__OUT_SIZES
};

/* A queue whose own chunk is its only one, and is empty. NULL: no memory. */
struct weft__out *weft__out_new(struct weft_loop *l, size_t first_len);
void weft__out_free(struct weft__out *o);
/* Adds a chunk behind the last: with memory of its own for at least one byte, `want` if that can
 * be; or for bytes elsewhere. */
struct weft__chunk *weft__chunk_add(struct weft__out *o, size_t want);
struct weft__chunk *weft__chunk_add_ref(struct weft__out *o);
/* Takes what was queued, and not begun to be sent, to a larger block, where all that is to come
 * goes out with it in one piece. False: no memory, or it cannot be. */
bool weft__out_grow(struct weft__out *o);
void weft__chunk_free(struct weft__out *o, struct weft__chunk *c);

static inline bool weft__chunk_writable(const struct weft__chunk *c)
{
    return c->kind <= WEFT__CHUNK_BLOCK;
}

#endif
