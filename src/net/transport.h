/* SPDX-License-Identifier: MIT */
#ifndef WEFT__NET_TRANSPORT_H
#define WEFT__NET_TRANSPORT_H
/* Streams in callback mode, seen from the rest of floor 3. See transport.c. */
#include <weft/protocol.h>

#include "net/stream.h"

struct weft__worker;
struct weft__peer;

/* A server's or client's copy of a factory, shared by its connections; of one loop. */
struct weft__factory_ref {
    struct weft_factory factory; /* with defaults filled in */
    size_t refs;
};
int weft__factory_ref_new(struct weft__factory_ref **ret, const struct weft_factory *f);
void weft__factory_unref(struct weft__factory_ref *ref);

/* What few connections have, made when first needed. */
struct weft__transport_extra {
    struct weft__peer *peer; /* with max_per_peer */
    weft_producer produce;   /* NULL: none */
    void *arg;
    bool waiting; /* the producer said that it will resume by itself */
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

/* Made when first asked for; NULL: no memory. */
struct weft__transport_extra *weft__transport_extra(struct weft__transport *t);
/* Some of the write queue went, or it failed (s->error). May run callbacks and free the stream. */
void weft__transport_progress(struct weft_stream *s);
void weft__transport_op_done(struct weft__op *op);
/* The receive of a connection that a task has claimed (detached) is over. */
void weft__transport_wake_heir(struct weft__transport *t);
/* Has the connection looked at in the loop's next turn (made is called then, if it was not). */
void weft__transport_later(struct weft__transport *t);

/*
 * Starts callbacks on a connected descriptor: a member of g, its `made` called at once when now,
 * else in the next turn. On failure fd is the caller's.
 */
int weft__transport_open(struct weft_group *g, struct weft__factory_ref *ref, int fd, int family,
                         struct weft__worker *worker, struct weft__peer *peer, bool now);

#endif
