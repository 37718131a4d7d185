/* SPDX-License-Identifier: MIT */
#ifndef WEFT__NET_TRANSPORT_H
#define WEFT__NET_TRANSPORT_H
/* Streams in callback mode, seen from the rest of floor 3. See transport.c. */
#include <weft/protocol.h>

#include "net/stream.h"

struct weft__worker;
struct weft__peer;
struct weft__shake;
struct weft__last_words;
struct weft_tls;

/* A server's or client's copy of a factory, shared by its connections; of one loop. */
struct weft__factory_ref {
    struct weft_factory factory; /* with defaults filled in */
    size_t refs;
    /* Instead of `lost`, when a connection ends before it was made. May be NULL. */
    void (*unmade)(struct weft__factory_ref *ref, int error);
    /* Instead of `lost`, when what is left here of a detached connection ends. May be NULL. */
    void (*given)(struct weft__factory_ref *ref);
    /* A write that was refused may fit now: the queue has drained, or hands have been shaken. May
     * be NULL. */
    void (*room)(struct weft_stream *t);
};
/* The maximum of its connections' write queues, defaults filled in. */
size_t weft__factory_write_max(const struct weft_factory *f);
int weft__factory_ref_new(struct weft__factory_ref **ret, const struct weft_factory *f);
void weft__factory_unref(struct weft__factory_ref *ref);

/* What few connections have, made when first needed. */
struct weft__transport_extra {
    struct weft__peer *peer; /* with max_per_peer */
    weft_producer produce;   /* NULL: none */
    void *arg;
    struct weft_stream *filter;          /* of a secured connection: what its bytes go through */
    struct weft__shake *shake;           /* while it shakes hands, else NULL */
    struct weft__last_words *last_words; /* while they wait to be sent, else NULL */
    struct weft_address *told;           /* by a PROXY header; NULL: nothing */
    char *why;                           /* what weft_error_detail will say in `lost` */
    bool waiting;                        /* the producer said that it will resume by itself */
    bool all_sent; /* a secured one's good-bye is all that the peer may miss */
    bool gentle;   /* the error was told to the peer: no reset */
};

/* 232 bytes: what an idle connection costs. */
struct weft__transport {
    struct weft_stream s; /* first: the two are one block; most of the state is there */
    struct weft__op op;
    struct weft__member member;
    struct weft__transport_extra *extra;
};

extern const struct weft__member_class weft__transport_class;

static inline struct weft__transport *weft__transport_of(const struct weft_stream *s)
{
    WEFT__ASSERT(s->proto != NULL);
    return s->proto;
}

static inline const struct weft_protocol *weft__transport_protocol(const struct weft__transport *t)
{
    return t->s.shared->factory.protocol;
}

/* Callbacks see the loop's callback flow, also when a task's call leads to one. */
static inline struct weft__flow *weft__transport_enter(struct weft__transport *t, bool *was_inside)
{
    struct weft__flow *f = weft__flow_current;
    *was_inside = t->s.inside;
    t->s.inside = true;
    weft__flow_current = &t->s.loop->callback;
    return f;
}

static inline void weft__transport_leave(struct weft__transport *t, struct weft__flow *f,
                                         bool was_inside)
{
    weft__flow_current = f;
    t->s.inside = was_inside;
}

/* Made when first asked for; NULL: no memory. */
struct weft__transport_extra *weft__transport_extra(struct weft__transport *t);
void weft__transport_extra_free(struct weft__transport *t);
/* What a PROXY header told of the peer; len 0: nothing. */
struct weft_address weft__transport_told(const struct weft__transport *t);
/* Some of the write queue went, or it failed (s->error). May run callbacks and free the stream. */
void weft__transport_progress(struct weft_stream *s);
void weft__transport_op_done(struct weft__op *op);
/* Tells whoever waits for room; frees nothing. */
static inline void weft__transport_tell_room(struct weft__transport *t)
{
    if (t->s.shared->room != NULL && !t->s.aborting)
        t->s.shared->room(&t->s);
}
/* Looks at what is due; t may be gone afterwards. Does nothing inside a callback of it. */
void weft__transport_settle(struct weft__transport *t);
/* Something happened that settle has to look at. */
void weft__transport_stir(struct weft__transport *t);
/* It ends, with that error; the first one counts. */
void weft__transport_fail(struct weft__transport *t, int error);
/* Callbacks: made; the peer's end; a piece, whose buffer is in no list; paused or resumed. */
void weft__transport_made(struct weft__transport *t);
void weft__transport_eof(struct weft__transport *t);
void weft__transport_data(struct weft__transport *t, struct weft__rbuf *rb);
void weft__transport_mark(struct weft__transport *t, void (*fn)(struct weft_stream *, void *));
/* The receive of a connection that a task has claimed (detached) is over. */
void weft__transport_wake_heir(struct weft__transport *t);
/* weft_transport_write of bytes that many are sent, which are not copied where that can be. */
int weft__transport_share(struct weft_stream *s, struct weft__shared *sh, const void *data,
                          size_t len);
/* From a feed (feed.h): a buffer; and what receiving came to (1 the end, < 0, 0), which is over. */
void weft__transport_inherit(struct weft__transport *t, struct weft__rbuf *rb);
void weft__transport_inherited(struct weft__transport *t, int ended);
/* Has the connection looked at in the loop's next turn (made is called then, if it was not). */
void weft__transport_later(struct weft__transport *t);

/*
 * Attach and detach in their steps, for park.c, too.
 *
 * attach: *s becomes a transport's, which waits for weft__transport_later; checks as of
 * weft_protocol_attach. split: a stream for a task, with the last `unread` bytes of the delivery;
 * it shares the descriptor until part (after which the transport ends without lost) or unsplit.
 * take_over: what the task does before all else.
 */
struct weft__split {
    struct weft_stream *stream;
    struct weft_stream *lower;    /* the same, but of a secured connection */
    struct weft__transport *from; /* claimed; or NULL */
};
int weft__transport_attach(struct weft__transport **ret, struct weft_stream **s,
                           struct weft_group *g, struct weft__factory_ref *ref,
                           struct weft__worker *worker, struct weft__peer *peer);
int weft__transport_split(struct weft__transport *t, size_t unread, struct weft__split *ret);
void weft__transport_unsplit(struct weft__split *p);
void weft__transport_part(struct weft__transport *t, struct weft__split *p);
void weft__transport_take_over(struct weft__split *p);

/*
 * Starts callbacks on a connected descriptor: a member of g, its `made` called at once when now,
 * else in the next turn. On failure fd is the caller's.
 */
int weft__transport_open(struct weft_group *g, struct weft__factory_ref *ref, int fd, int family,
                         struct weft__worker *worker, struct weft__peer *peer, bool now);

/* --- Secured connections (transport_secure.c) ------------------------------------------------- */

struct weft__transport_secure {
    struct weft_tls *tls; /* borrowed */
    const char *host;     /* clients: whose certificate it is to be; copied */
    bool server;
    int64_t handshake_ms; /* 0: the context's */
    /* Called when hands have been shaken, instead of `made`; NULL: made. */
    int (*done)(struct weft_stream *t, void *conn);
};

/* What both begin with: a member of g that nothing has been asked of yet. */
int weft__transport_new(struct weft__transport **ret, struct weft_group *g,
                        struct weft__factory_ref *ref, int fd, int family,
                        struct weft__worker *worker, struct weft__peer *peer, bool extra);
/* Bytes of plain text, in or out. */
uint64_t weft__transport_bytes(const struct weft_stream *s, bool in);

/*
 * As weft__transport_open, with a handshake before `made`. A server's whose handshake fails is
 * counted by its worker as a failed one. For a client's, `lost` is called then, with t NULL and the
 * factory's arg as conn.
 */
int weft__transport_open_secure(struct weft_group *g, struct weft__factory_ref *ref, int fd,
                                int family, struct weft__worker *worker, struct weft__peer *peer,
                                bool now, const struct weft__transport_secure *how);
/* From now on the connection is a secured one; the last `unread` bytes of the current data call are
 * the first of it. */
int weft__transport_upgrade(struct weft__transport *t, size_t unread,
                            const struct weft__transport_secure *how);
/* One step of the handshake, or one piece of plain text, out of what has come. */
void weft__transport_secure_step(struct weft__transport *t);
/* The part of the handshake that the work pool did is done; t may be gone afterwards. */
void weft__transport_shake_back(struct weft__transport *t);
/* Nothing of it is on the work pool any more; false: it will be told. */
bool weft__transport_shake_rests(struct weft__transport *t);
/* The end waits for what tells the peer of it. */
bool weft__transport_speaks(struct weft__transport *t);
/* From now on it does not. False: it did not before, either. */
bool weft__transport_hush(struct weft__transport *t);
/* The bytes below have ended: 1 by an end, < 0. */
void weft__transport_secure_ended(struct weft__transport *t, int how);
/* Tells the peer that nothing more comes. */
void weft__transport_goodbye(struct weft__transport *t);
/* What weft__write_room and weft__write_filled do in callback mode. */
char *weft__transport_room(struct weft_stream *s, size_t len);
void weft__transport_filled(struct weft_stream *s);
int weft__transport_seal(struct weft__transport *t, const struct iovec *iov, int n);
/* Before `lost`: has the detail say what the error was; calls it for a client never made. */
void weft__transport_secure_lost(struct weft__transport *t);
/* Attach: the task's filter f becomes t's. Detach: it leaves t, over lower. */
void weft__transport_adopt(struct weft__transport *t, struct weft_stream *f);
void weft__transport_disown(struct weft__transport *t, struct weft_stream *lower);
void weft__transport_secure_free(struct weft__transport *t, bool abrupt);

#endif
