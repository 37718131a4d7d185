/* SPDX-License-Identifier: MIT */
/* Parking a server's connections. Floor 3. See park.h. */
#include "net/park.h"

#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "net/feed.h"
#include "net/server.h"
#include "net/transport.h"

static int worker_prepare(struct weft__worker *w, const struct weft__parking *p)
{
    if (w->parked != NULL)
        return 0;
    int err = weft__factory_ref_new(&w->parked, &p->factory);
    if (err < 0)
        return err;
    w->parking = p;
    weft__worker_sweep_again(w);
    return 0;
}

bool weft__is_parked(const struct weft__worker *w, const struct weft_stream *s)
{
    return s->proto != NULL && w->parked != NULL && s->shared == w->parked && !s->detached;
}

int weft__park(struct weft_stream **ret, const struct weft__parking *p, void *user)
{
    struct weft_stream *s = *ret;
    struct weft__conn *c = s->conn;
    struct weft__transport *t = NULL;
    if (c == NULL || c->worker == NULL || s->loop == NULL)
        return -EOPNOTSUPP;
    if (s->error < 0 || s->end || weft__in_left(s) > 0 ||
        (s->feed != NULL && weft__feed_holds(s->feed)))
        return -EBUSY;
    struct weft__worker *w = c->worker;
    int err = worker_prepare(w, p);
    if (err == 0)
        err = weft__transport_attach(&t, ret, &w->conns, w->parked, w, c->peer);
    if (err < 0)
        return err;
    c->stream = NULL;
    c->parked = true;
    t->s.counters = &w->counters;
    t->s.user = user;
    t->s.starting = false; /* nothing is made: it has been there all the time */
    weft__transport_later(t);
    return 0;
}

int weft__unpark(struct weft_stream *ts, size_t unread, uint32_t carried)
{
    struct weft__transport *t = weft__transport_of(ts);
    struct weft__worker *w = t->s.worker;
    struct weft__conn c = {.worker = w,
                           .peer = t->extra != NULL ? t->extra->peer : NULL,
                           .told = weft__transport_told(t),
                           .carried = carried};
    int err = weft__transport_split(t, unread, &c.split);
    if (err < 0)
        return err;
    c.stream = c.split.stream;
    c.split.lower->counters = &w->counters;
    err = weft__worker_spawn(w, &c);
    if (err < 0) {
        weft__transport_unsplit(&c.split);
        return err;
    }
    weft__transport_part(t, &c.split);
    t->s.worker = NULL; /* the place is the task's now */
    if (t->extra != NULL)
        t->extra->peer = NULL;
    return 0;
}

bool weft__park_drain(struct weft__worker *w)
{
    bool all = true;
    if (w->parked == NULL)
        return true;
    WEFT__LIST_EACH(&w->conns.members, n) {
        struct weft__member *m = WEFT__CONTAINER_OF(n, struct weft__member, link);
        if (m->cls != &weft__transport_class)
            continue;
        struct weft_stream *s = &WEFT__CONTAINER_OF(m, struct weft__transport, member)->s;
        if (!weft__is_parked(w, s) || s->closing || s->aborting)
            continue;
        if (w->parking->drain(s))
            weft_transport_close(s); /* it ends later, not within this walk */
        else
            all = false;
    }
    return all;
}
