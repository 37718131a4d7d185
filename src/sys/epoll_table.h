/* SPDX-License-Identifier: MIT */
#ifndef WEFT__EPOLL_TABLE_H
#define WEFT__EPOLL_TABLE_H
/*
 * The epoll driver's table of descriptors (floor 1): for each the operations that are parked on it,
 * its registration, and what is believed of it.
 *
 * Invariants:
 * - an entry never moves while the table lives; its generation only grows, and an event carries it;
 * - `in_ready` false means that an edge is still to come for anything that can be read; true is
 * only a guess. The same holds for out_ready;
 * - POLL may be about a descriptor that is closed behind our back. A registration made only for
 *   POLL (`foreign`) is verified with EPOLL_CTL_MOD before anything else relies on it, and is
 *   removed with the last POLL.
 */
#include <sys/epoll.h>

#include "base/base.h"
#include "sys/sys.h"
#include "sys/try.h"

#define WEFT__EPOLL_CHUNK 256 /* entries allocated together */

struct weft__epoll_entry {
    struct weft__slink *in;  /* parked operations, in the order of submission */
    struct weft__slink *out; /* SEND, SENDMSG, WRITE, CONNECT; POLL for writing only */
    uint32_t gen;
    bool registered : 1;
    bool foreign : 1; /* registered only for POLL so far */
    bool writes : 1;  /* registered for EPOLLOUT, too */
    bool polled : 1;  /* there may be POLL operations in the lists */
    bool in_ready : 1;
    bool out_ready : 1;
    bool over : 1;        /* RDHUP, HUP or ERR was seen: reading ends by itself, do not guess */
    bool trust : 1;       /* TCP or Unix stream without urgent data: a short read has emptied it */
    bool unix_stream : 1; /* for weft__try_how */
    bool nonblock : 1;    /* a listener that has O_NONBLOCK */
    bool learnt : 1;      /* trust and unix_stream are known before a registration */
};

struct weft__epoll_table {
    int ep;
    struct weft__epoll_entry **chunks;
    size_t chunk_count;
};

/* NULL: nothing is known of the descriptor. */
static inline struct weft__epoll_entry *weft__epoll_find(const struct weft__epoll_table *t, int fd)
{
    size_t chunk = (unsigned)fd / WEFT__EPOLL_CHUNK;
    if (chunk >= t->chunk_count || t->chunks[chunk] == NULL)
        return NULL;
    return &t->chunks[chunk][(unsigned)fd % WEFT__EPOLL_CHUNK];
}

/* Makes the entry where there is none. 0, -EBADF or -ENOMEM. */
int weft__epoll_get(struct weft__epoll_table *t, int fd, struct weft__epoll_entry **ret);

/* Before the first attempt at an accept: sets O_NONBLOCK (see try.h), and learns what kind of
 * sockets come of it. 0, or an error of either. */
int weft__epoll_prepare(struct weft__epoll_table *t, int listener);
/* It gave that socket, which is of its kind and so need not be asked. */
void weft__epoll_accepted(struct weft__epoll_table *t, int listener, int fd);

/*
 * Sees to it that events come for what the operation, which is to be parked, waits for. Both
 * commands of epoll_ctl report what is ready already as an edge, so nothing is lost that came
 * before. EPOLLOUT is not asked for until an operation waits for it: a Unix socket makes an edge
 * of it whenever its peer reads, and every new registration would begin with one.
 */
int weft__epoll_register(struct weft__epoll_table *t, struct weft__epoll_entry *e,
                         const struct weft__op *op);

/* After a POLL left the lists: ends the registration if it was for POLL only and this the last. */
void weft__epoll_release(struct weft__epoll_table *t, struct weft__epoll_entry *e, int fd);

/*
 * Forgets everything about the descriptor but its generation. Nothing may be parked on it. only: as
 * of the driver's forget. close(2) ends the registration then; and should somebody hold the file
 * for a while nevertheless, as a child does between fork and exec, events of it are stale.
 */
void weft__epoll_forget(struct weft__epoll_table *t, int fd, bool only);

/* Frees the table, not ep. */
void weft__epoll_table_fini(struct weft__epoll_table *t);

/* ---- the lists: few operations share a side of a descriptor, so they are walked ---- */

static inline struct weft__op *weft__epoll_op(struct weft__slink *l)
{
    return WEFT__CONTAINER_OF(l, struct weft__op, link);
}

/* The side of a descriptor on which an operation waits. */
static inline bool weft__epoll_is_out(const struct weft__op *op)
{
    return (weft__try_events(op) & ~(POLLOUT | POLLWRNORM | POLLWRBAND)) == 0;
}

static inline struct weft__slink **weft__epoll_list(struct weft__epoll_entry *e, bool out)
{
    return out ? &e->out : &e->in;
}

/* Where the first operation that is (or is not) a POLL is linked; *place is NULL: there is none. */
static inline struct weft__slink **weft__epoll_first(struct weft__slink **place, bool poll)
{
    while (*place != NULL && (weft__epoll_op(*place)->kind == WEFT__OP_POLL) != poll)
        place = &(*place)->next;
    return place;
}

/*
 * Operations of many connections are rarely in the cache. The system call of one event is the time
 * in which those of the next come: evs[0] is about to be served, n are left with it.
 */
static inline void weft__epoll_fetch_ahead(const struct weft__epoll_table *t,
                                           const struct epoll_event *evs, int n)
{
    for (int i = 1; i < 3 && i < n; i++) {
        const struct weft__epoll_entry *e = weft__epoll_find(t, (int)(uint32_t)evs[i].data.u64);
        if (e == NULL || e->in == NULL)
            continue;
        if (i == 2)
            weft__op_fetch(weft__epoll_op(e->in));
        else
            weft__op_fetch_near(weft__epoll_op(e->in));
    }
}

static inline struct weft__op *weft__epoll_take(struct weft__slink **place)
{
    struct weft__op *op = weft__epoll_op(*place);
    *place = op->link.next;
    return op;
}

static inline void weft__epoll_append(struct weft__slink **place, struct weft__op *op)
{
    while (*place != NULL)
        place = &(*place)->next;
    op->link.next = NULL;
    *place = &op->link;
}

static inline void weft__epoll_prepend(struct weft__slink **place, struct weft__op *op)
{
    op->link.next = *place;
    *place = &op->link;
}

/* Takes op out of the list that begins at *place. */
static inline void weft__epoll_remove(struct weft__slink **place, struct weft__op *op)
{
    while (*place != &op->link) {
        WEFT__ASSERT(*place != NULL); /* else it is not under way */
        place = &(*place)->next;
    }
    *place = op->link.next;
}

#endif
