/* SPDX-License-Identifier: MIT */
/*
 * Handshakes of secured connections in callback mode.
 *
 * Floor 3. A server's filter is made when so much of the peer has come that there is something to
 * do; less is put aside (`first`), so that one that says nothing, or too little, costs no more than
 * a plain one.
 *
 * A handshake that has to wait for its turn stands in its server's line (secure.c), and is told by
 * whichever thread has come to the end of another; what is freed meanwhile stays until then. Then
 * it waits until the loop has done what else it had to (rt/later.c), for its first step is long.
 *
 * A part of the handshake may be done by the work pool. The transport does not end meanwhile: as of
 * an operation under way, it waits until it is told.
 *
 * Invariants: `shake` is there exactly while `shaking`, and holds the context; while `away` the
 * filter is not called.
 */
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "net/server.h"
#include "net/transport_shake.h"

/* --- Begin ------------------------------------------------------------------------------------ */

void weft__transport_shake_free(struct weft__transport *t)
{
    struct weft__shake *h = t->extra->shake;
    if (h == NULL)
        return;
    bool left = true;
    weft__loop_alarm_del(t->s.loop, &h->alarm);
    weft__list_remove(&h->later.link);
    if (h->of != NULL) /* also where it has begun: it may have been told besides */
        left = weft__handshakes_leave(h->of, &h->line);
    if (h->counted)
        weft__handshakes_end(h->of);
    if (h->first != NULL)
        weft__rbuf_release(t->s.loop, h->first);
    weft__secure_unref(h->tls);
    h->t = NULL;
    if (left)
        weft__free(h); /* else by what is on its way */
    t->extra->shake = NULL;
    t->s.shaking = false;
}

/* It may ask again whether it may begin. */
static void ask_again(struct weft__transport *t)
{
    struct weft__shake *h = t->extra->shake;
    t->s.in_line = false;
    t->s.more = true;
    weft__loop_alarm_del(t->s.loop, &h->alarm);
    weft__loop_alarm(t->s.loop, &h->alarm, h->until_ns);
}

/* By who ended a handshake, or stood before it. */
static void told(struct weft__remote *r)
{
    struct weft__shake *h = WEFT__CONTAINER_OF(r, struct weft__shake, line.remote);
    struct weft__transport *t = h->t;
    if (t == NULL) {
        weft__free(h); /* it has left */
        return;
    }
    weft__handshakes_told(h->of, &h->line);
    if (!t->s.in_line || h->counted)
        return; /* told besides */
    ask_again(t);
    weft__transport_settle(t);
}

/* Its time is over, or it may ask again whether it may begin. */
static void alarmed(struct weft__alarm *a)
{
    struct weft__shake *h = WEFT__CONTAINER_OF(a, struct weft__shake, alarm);
    struct weft__transport *t = h->t;
    if (t->s.loop->now_ns < h->until_ns) {
        ask_again(t);
    } else {
        weft__error_detail("%s", t->s.in_line ? WEFT__TOO_MANY_HANDSHAKES
                                              : "the handshake has taken too long");
        weft__transport_note(t);
        t->s.timed_out = true;
        weft__transport_fail(t, -ETIMEDOUT);
    }
    weft__transport_settle(t);
}

/* The loop has done what else it had to. */
static void late_enough(struct weft__later *x)
{
    struct weft__shake *h = WEFT__CONTAINER_OF(x, struct weft__shake, later);
    struct weft__transport *t = h->t;
    h->its_turn = true;
    t->s.in_line = false;
    t->s.more = true;
    weft__transport_settle(t);
}

/* Whether its server has room for one more. */
static bool has_room(struct weft__transport *t)
{
    struct weft__shake *h = t->extra->shake;
    struct weft__worker *w = t->s.worker;
    int64_t now = t->s.loop->now_ns;
    if (w == NULL || h->counted)
        return true;
    h->of = &w->server->handshakes;
    h->line.loop = t->s.loop;
    h->line.remote.fn = told;
    int64_t wait = weft__handshakes_begin(h->of, &h->line, now);
    h->counted = wait == 0;
    if (h->counted)
        return true;
    t->s.in_line = true;
    if (wait > 0) {
        weft__loop_alarm_del(t->s.loop, &h->alarm);
        weft__loop_alarm(t->s.loop, &h->alarm, weft__min_i64(now + wait, h->until_ns));
    }
    return false;
}

/*
 * A server's handshake begins when there is room for one more, and then behind what else the loop
 * has to do. Until then it is not read from.
 */
static bool may_begin(struct weft__transport *t)
{
    struct weft__shake *h = t->extra->shake;
    if (!h->server || h->its_turn)
        return true;
    if (!has_room(t) || weft__node_linked(&h->later.link))
        return false;
    t->s.in_line = true;
    h->later.fn = late_enough;
    weft__loop_later(t->s.loop, &h->later);
    return false;
}

static int shake_new(struct weft__transport *t, const struct weft__transport_secure *how,
                     struct weft__shake **ret)
{
    size_t len = how->host != NULL ? strlen(how->host) : 0;
    struct weft__shake *h = weft__calloc(1, sizeof *h + len + 1);
    if (h == NULL)
        return -ENOMEM;
    h->t = t;
    h->tls = weft__secure_of(how->tls)->ref(how->tls);
    h->server = how->server;
    h->done = how->done;
    h->alarm.fn = alarmed;
    if (len > 0)
        memcpy(h->host, how->host, len);
    *ret = h;
    return 0;
}

static void begin(struct weft__transport *t, struct weft__shake *h, int64_t ms)
{
    t->extra->shake = h;
    t->s.secured = t->s.shaking = true;
    t->s.more = !h->server || t->s.in != NULL || h->first != NULL;
    if (ms <= 0)
        ms = weft__secure_of(h->tls)->handshake_ms(h->tls);
    h->until_ns = t->s.loop->now_ns + ms * 1000000;
    weft__loop_alarm(t->s.loop, &h->alarm, h->until_ns);
}

int weft__transport_open_secure(struct weft_group *g, struct weft__factory_ref *ref, int fd,
                                int family, struct weft__worker *worker, struct weft__peer *peer,
                                bool now, const struct weft__transport_secure *how)
{
    struct weft__shake *h = NULL;
    struct weft__transport *t = NULL;
    int err = shake_new(NULL, how, &h);
    if (err < 0)
        return err;
    err = weft__transport_new(&t, g, ref, fd, family, worker, peer, true);
    if (err < 0) {
        weft__secure_unref(h->tls);
        weft__free(h);
        return err;
    }
    h->t = t;
    begin(t, h, how->handshake_ms);
    if (now)
        weft__transport_settle(t);
    else
        weft__transport_later(t);
    return 0;
}

int weft__transport_upgrade(struct weft__transport *t, size_t unread,
                            const struct weft__transport_secure *how)
{
    struct weft__rbuf *rb = t->s.delivering ? t->s.in : NULL;
    struct weft__shake *h = NULL;
    if (t->s.secured)
        return weft__fail(-EBUSY, "the connection is secured already");
    if (t->s.closing || t->s.aborting || t->s.shutting || t->s.end || t->s.detached)
        return WEFT_ECLOSED;
    if (unread > 0 && (rb == NULL || unread > rb->len - rb->used))
        return weft__fail(-EINVAL, "%zu unread bytes of a smaller piece", unread);
    if (weft__transport_extra(t) == NULL)
        return -ENOMEM;
    int err = shake_new(t, how, &h);
    if (err < 0)
        return err;
    if (unread > 0) {
        h->first = weft__in_alloc(&t->s, unread);
        if (h->first == NULL) {
            weft__secure_unref(h->tls);
            weft__free(h);
            return -ENOMEM;
        }
        memcpy(h->first->data, rb->data + rb->len - unread, unread);
        h->first->len = (uint32_t)unread;
    }
    begin(t, h, how->handshake_ms);
    if (!t->s.delivering)
        t->s.more = true;
    weft__transport_stir(t);
    return 0;
}

/* --- The handshake ---------------------------------------------------------------------------- */

static int filter_open(struct weft__transport *t)
{
    struct weft__transport_extra *x = t->extra;
    struct weft__shake *h = x->shake;
    int err = weft__secure_of(h->tls)->filter(&x->filter, h->tls, &t->s, h->server,
                                              h->host[0] != '\0' ? h->host : NULL);
    if (err == 0)
        x->filter->cls->filter->bind(x->filter, &t->s, weft__transport_bound(t));
    return err;
}

static void shaken(struct weft__transport *t)
{
    if (t->s.worker != NULL)
        atomic_fetch_add(&t->s.worker->server->shaken, 1);
    int (*done)(struct weft_stream * s, void *conn) = t->extra->shake->done;
    weft__transport_shake_free(t);
    if (t->s.starting) {
        weft__transport_made(t);
    } else if (done != NULL) {
        bool was;
        struct weft__flow *f = weft__transport_enter(t, &was);
        int err = done(&t->s, t->s.user);
        weft__transport_leave(t, f, was);
        if (err < 0)
            weft__transport_fail(t, err);
    }
    weft__transport_tell_room(t);
}

/* Moves held bytes behind `first`, until that has as many as are needed or there are no more. */
static int put_aside(struct weft__transport *t, size_t need)
{
    struct weft__shake *h = t->extra->shake;
    struct weft__rbuf *first = weft__rbuf_fit(t->s.loop, h->first, need);
    if (first == NULL)
        return -ENOMEM;
    h->first = first;
    while (t->s.in != NULL && first->len < need) {
        struct weft__rbuf *rb = t->s.in;
        size_t n = weft__min_size(need - first->len, rb->len - rb->used);
        memcpy(first->data + first->len, rb->data + rb->used, n);
        first->len += (uint32_t)n;
        rb->used += (uint32_t)n;
        if (rb->used < rb->len)
            break;
        weft__rbuf_release(t->s.loop, weft__rbuf_pop(&t->s.in));
    }
    return 0;
}

/* Whether so much of a server's peer has come that the handshake is worth beginning. */
static bool worth(struct weft__transport *t)
{
    struct weft__shake *h = t->extra->shake;
    const struct weft__secure_class *cls = weft__secure_of(h->tls);
    for (;;) {
        const struct weft__rbuf *rb = h->first != NULL ? h->first : t->s.in;
        size_t n = rb != NULL ? rb->len - rb->used : 0;
        size_t need = n > 0 ? cls->need(rb->data + rb->used, n) : 1;
        if (need <= n) {
            h->later.pooled = cls->is_costly(h->tls, rb->data + rb->used, n);
            return true;
        }
        t->s.more = t->s.in != NULL;
        if (!t->s.more)
            return false;
        int err = put_aside(t, need);
        if (err < 0) {
            weft__transport_fail(t, err);
            return false;
        }
    }
}

void weft__transport_shake_step(struct weft__transport *t)
{
    struct weft__transport_extra *x = t->extra;
    if ((x->shake->server && x->filter == NULL && !worth(t)) || !may_begin(t))
        return;
    struct weft__rbuf *first = x->shake->first;
    if (first != NULL) {
        first->next = t->s.in;
        t->s.in = first;
        x->shake->first = NULL;
    }
    int res = x->filter == NULL ? filter_open(t) : 0;
    if (res == 0)
        res = x->filter->cls->filter->shake(x->filter);
    t->s.away = res == WEFT__SHAKE_AWAY;
    if (res == 0 || t->s.away)
        t->s.more = false;
    else if (res < 0)
        weft__transport_broken(t, res);
    else
        shaken(t);
}

void weft__transport_shake_back(struct weft__transport *t)
{
    t->s.away = false;
    t->s.more = true;
    weft__transport_settle(t);
}

bool weft__transport_shake_rests(struct weft__transport *t)
{
    if (t->s.away)
        t->s.away = !t->extra->filter->cls->filter->withdraw(t->extra->filter);
    return !t->s.away;
}
