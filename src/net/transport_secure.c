/* SPDX-License-Identifier: MIT */
/*
 * Secured connections in callback mode.
 *
 * Floor 3. The transport's own stream carries the records, and is what the user holds; beside it
 * stands a filter (secure.h), through which bytes go on their way from the held buffers (s.in) to
 * the data callback, and from a write to the queue. A server's filter is made when so much of the
 * peer has come that there is something to do; less is put aside (`first`), so that one that says
 * nothing, or too little, costs no more than a plain one.
 *
 * A handshake that has to wait for its turn stands in its server's line (secure.c), and is told by
 * whichever thread has come to the end of another; what is freed meanwhile stays until then.
 *
 * A part of the handshake may be done by the work pool. The transport does not end meanwhile: as of
 * an operation under way, it waits until it is told.
 *
 * After a fatal error the peer is told why, by an alert. Where that has to wait behind other bytes,
 * the connection, which has failed and does nothing else any more, waits with it (`last_words`):
 * until they are sent, WEFT__LAST_WORDS_MS have passed, or it is aborted or cancelled.
 *
 * Invariants: `shake` is there exactly while `shaking`, and holds the context; `more` is true
 * unless the filter has used up all that came; while `away` the filter is not called; with
 * `last_words` it is `aborting`, and `lost` is still to be called.
 */
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "net/secure.h"
#include "net/server.h"
#include "net/transport.h"
#include "sys/call.h"

/* Beyond write_max: what the records add to it, and answers of the protocol itself. */
#define BOUND_MORE ((size_t)128 * 1024)
#define IOV_AT_ONCE 16
#define DROP_MAX 32 /* reads of unread bytes before a close */

struct weft__shake {
    struct weft__alarm alarm;
    struct weft__transport *t;
    struct weft_tls *tls;     /* counted */
    struct weft__rbuf *first; /* what came before s.in, but is to be read yet */
    int (*done)(struct weft_stream *t, void *conn);
    int64_t until_ns;
    bool server;
    bool counted;                /* as one of its server's handshakes */
    struct weft__handshakes *of; /* its server's; NULL: not bounded */
    struct weft__in_line line;
    char host[]; /* "": none */
};

/* --- Begin ------------------------------------------------------------------------------------ */

static void shake_free(struct weft__transport *t)
{
    struct weft__shake *h = t->extra->shake;
    if (h == NULL)
        return;
    bool left = true;
    weft__loop_alarm_del(t->s.loop, &h->alarm);
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

/* Keeps the detail for `lost`, which may come turns later. */
static void note(struct weft__transport *t)
{
    const char *text = weft_error_detail();
    if (t->extra->why == NULL && text[0] != '\0')
        t->extra->why = weft__strdup(text);
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
    if (!t->s.in_line)
        return;
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
        weft__error_detail("%s", t->s.in_line
                                     ? "too many handshakes: this one could not begin in its time"
                                     : "the handshake has taken too long");
        note(t);
        t->s.timed_out = true;
        weft__transport_fail(t, -ETIMEDOUT);
    }
    weft__transport_settle(t);
}

/*
 * A server's handshake begins with the peer's first bytes, when there is room for one more. Until
 * then it waits in line and is not read from.
 */
static bool may_begin(struct weft__transport *t)
{
    struct weft__shake *h = t->extra->shake;
    struct weft__worker *w = t->s.worker;
    int64_t now = t->s.loop->now_ns;
    if (w == NULL || !h->server || h->counted)
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

static size_t bound(const struct weft__transport *t)
{
    size_t max = t->s.shared->factory.write_max, sum;
    if (__builtin_add_overflow(max, max / 8 + BOUND_MORE, &sum))
        sum = SIZE_MAX;
    return sum;
}

static int filter_open(struct weft__transport *t)
{
    struct weft__transport_extra *x = t->extra;
    struct weft__shake *h = x->shake;
    int err = weft__secure_of(h->tls)->filter(&x->filter, h->tls, &t->s, h->server,
                                              h->host[0] != '\0' ? h->host : NULL);
    if (err == 0)
        x->filter->cls->filter->bind(x->filter, &t->s, bound(t));
    return err;
}

struct weft__last_words {
    struct weft__alarm alarm;
    struct weft__transport *t;
};

static void waited_enough(struct weft__alarm *a)
{
    struct weft__transport *t = WEFT__CONTAINER_OF(a, struct weft__last_words, alarm)->t;
    (void)weft__transport_hush(t);
    weft__transport_settle(t);
}

/* The peer is being told why the connection ends. Without memory it is told what goes at once. */
static void speak(struct weft__transport *t)
{
    struct weft__last_words *p = NULL;
    weft__out_last_words(&t->s);
    if (t->s.error == 0 && weft__out_queued(&t->s) > 0)
        p = weft__calloc(1, sizeof *p);
    if (p == NULL)
        return;
    p->t = t;
    p->alarm.fn = waited_enough;
    t->extra->last_words = p;
    if (t->extra->shake != NULL) /* it has failed, and cannot be late any more */
        weft__loop_alarm_del(t->s.loop, &t->extra->shake->alarm);
    weft__loop_alarm(t->s.loop, &p->alarm,
                     t->s.loop->now_ns + WEFT__LAST_WORDS_MS * INT64_C(1000000));
}

bool weft__transport_hush(struct weft__transport *t)
{
    struct weft__last_words *p = t->extra != NULL ? t->extra->last_words : NULL;
    if (p == NULL)
        return false;
    weft__loop_alarm_del(t->s.loop, &p->alarm);
    weft__free(p);
    t->extra->last_words = NULL;
    return true;
}

bool weft__transport_speaks(struct weft__transport *t)
{
    if (t->extra == NULL || t->extra->last_words == NULL)
        return false;
    if (t->s.error == 0 && weft__out_queued(&t->s) > 0)
        return true;
    (void)weft__transport_hush(t);
    return false;
}

/* The filter has failed. It has queued what the peer is to know. */
static void broken(struct weft__transport *t, int error)
{
    struct weft_stream *f = t->extra->filter;
    if (t->s.aborting)
        return;
    note(t);
    if (f != NULL && f->cls->filter->last_words(f))
        speak(t);
    t->extra->gentle = true;
    weft__transport_fail(t, error);
}

static void shaken(struct weft__transport *t)
{
    if (t->s.worker != NULL)
        atomic_fetch_add(&t->s.worker->server->shaken, 1);
    int (*done)(struct weft_stream * s, void *conn) = t->extra->shake->done;
    shake_free(t);
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
        t->s.in = rb->next;
        weft__rbuf_release(t->s.loop, rb);
    }
    return 0;
}

/* Whether so much of a server's peer has come that the handshake is worth beginning. */
static bool worth(struct weft__transport *t)
{
    struct weft__shake *h = t->extra->shake;
    for (;;) {
        const struct weft__rbuf *rb = h->first != NULL ? h->first : t->s.in;
        size_t n = rb != NULL ? rb->len - rb->used : 0;
        size_t need = n > 0 ? weft__secure_of(h->tls)->need(rb->data + rb->used, n) : 1;
        if (need <= n)
            return true;
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

static void shake_step(struct weft__transport *t)
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
        broken(t, res);
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

/* --- Bytes ------------------------------------------------------------------------------------ */

static void take(struct weft__transport *t)
{
    struct weft_stream *f = t->extra->filter;
    struct weft__rbuf *rb = f->in;
    if (rb != NULL) { /* read ahead by the task that had the stream before */
        f->in = NULL;
        weft__transport_data(t, rb);
        return;
    }
    rb = weft__in_alloc(f, WEFT__RBUF_SIZE);
    if (rb == NULL) {
        weft__transport_fail(t, -ENOMEM);
        return;
    }
    ssize_t n = f->cls->filter->take(f, rb->data, WEFT__RBUF_SIZE);
    if (n > 0) {
        rb->len = (uint32_t)n;
        t->s.more = t->s.in != NULL || f->cls->filter->more(f);
        weft__transport_data(t, rb);
        return;
    }
    weft__rbuf_release(t->s.loop, rb);
    t->s.more = false;
    if (n == 0)
        weft__transport_eof(t);
    else if (n != -EAGAIN)
        broken(t, (int)n);
}

void weft__transport_secure_step(struct weft__transport *t)
{
    if (t->s.shaking)
        shake_step(t);
    else
        take(t);
}

void weft__transport_secure_ended(struct weft__transport *t, int how)
{
    if (how > 0 && t->s.shaking)
        how = weft__fail(WEFT_EEOF, "the peer hung up during the handshake%s",
                         t->s.first_byte ? "" : ", without a word");
    else if (how > 0)
        how = weft__fail(WEFT_EEOF, "the peer ended the connection without close_notify; what it "
                                    "sent last may be missing");
    if (how == WEFT_EEOF)
        note(t);
    weft__transport_fail(t, how);
}

int weft__transport_seal(struct weft__transport *t, const struct iovec *iov, int n)
{
    struct weft_stream *f = t->extra->filter;
    int err = 0;
    for (int i = 0; i < n && err == 0; i += IOV_AT_ONCE) {
        struct iovec some[IOV_AT_ONCE];
        int m = n - i < IOV_AT_ONCE ? n - i : IOV_AT_ONCE;
        memcpy(some, iov + i, (size_t)m * sizeof *iov);
        err = f->cls->filter->seal(f, some, m);
    }
    if (err < 0) {
        weft__transport_fail(t, err);
        weft__transport_stir(t);
    }
    return err;
}

uint64_t weft__transport_bytes(const struct weft_stream *s, bool in)
{
    const struct weft_stream *f = s->proto->extra->filter;
    if (f == NULL)
        return 0;
    return in ? f->bytes_in : f->bytes_out;
}

/* --- Between the models ----------------------------------------------------------------------- */

void weft__transport_adopt(struct weft__transport *t, struct weft_stream *f)
{
    t->extra->filter = f;
    t->s.secured = t->s.more = true;
    t->s.ended = t->s.end ? 1 : 0;
    t->s.end = f->end;
    t->s.shut = f->shut;
    t->s.first_byte = f->first_byte;
    if (t->s.in != NULL)
        t->s.in->next = NULL;
    weft__free(t->s.label);
    t->s.label = f->label;
    f->label = NULL;
    f->conn = NULL;
    f->fd = -1;
    f->cls->filter->bind(f, &t->s, bound(t));
}

void weft__transport_disown(struct weft__transport *t, struct weft_stream *lower)
{
    struct weft_stream *f = t->extra->filter;
    f->fd = lower->fd;
    f->end = lower->end;
    f->first_byte = lower->first_byte;
    f->active_ms = lower->active_ms;
    f->sent_ms = lower->sent_ms;
    f->label = lower->label;
    lower->label = NULL;
    lower->end = lower->shut = false;
    f->cls->filter->bind(f, lower, 0);
    t->extra->filter = NULL;
}

/* --- End -------------------------------------------------------------------------------------- */

void weft__transport_goodbye(struct weft__transport *t)
{
    struct weft_stream *f = t->extra->filter;
    t->s.shut = true;
    t->extra->all_sent = t->s.closing && weft__out_queued(&t->s) == 0;
    int err = t->s.shaking || f == NULL ? 0 : f->cls->shutdown(f);
    if (err < 0)
        weft__transport_fail(t, err);
}

void weft__transport_secure_lost(struct weft__transport *t)
{
    const struct weft_protocol *p = weft__transport_protocol(t);
    struct weft__shake *h = t->extra->shake;
    bool was;
    if (h != NULL && t->s.worker != NULL)
        atomic_fetch_add(&t->s.worker->server->unshaken, 1);
    if (t->extra->why != NULL)
        weft__error_detail("%s", t->extra->why);
    if (!t->s.starting || h == NULL || h->server || p->lost == NULL)
        return;
    struct weft__flow *f = weft__transport_enter(t, &was);
    p->lost(NULL, t->s.reason, t->s.shared->factory.arg);
    weft__transport_leave(t, f, was);
}

/*
 * A TCP socket that is closed with unread bytes resets the connection, and what was just sent is
 * lost with it. The peer's close_notify may be such bytes.
 */
static void drop_unread(struct weft__transport *t)
{
    char buf[2048];
    for (int i = 0; i < DROP_MAX && t->s.socket && t->s.fd >= 0; i++)
        if (weft__call_recv_now(t->s.fd, buf, sizeof buf) <= 0)
            return;
}

void weft__transport_secure_free(struct weft__transport *t, bool abrupt)
{
    struct weft__transport_extra *x = t->extra;
    shake_free(t);
    if (!abrupt)
        drop_unread(t);
    if (x->filter != NULL) {
        x->filter->cls->filter->bind(x->filter, NULL, 0);
        weft__stream_free(x->filter, abrupt);
    }
    weft__free(x->why);
}
