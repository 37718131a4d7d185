/* SPDX-License-Identifier: MIT */
/*
 * Secured connections in callback mode, but for their handshakes (transport_shake.c).
 *
 * Floor 3. The transport's own stream carries the records, and is what the user holds; beside it
 * stands a filter (secure.h), through which bytes go on their way from the held buffers (s.in) to
 * the data callback, and from a write to the queue.
 *
 * After a fatal error the peer is told why, by an alert. Where that has to wait behind other bytes,
 * the connection, which has failed and does nothing else any more, waits with it (`last_words`):
 * until they are sent, WEFT__LAST_WORDS_MS have passed, or it is aborted or cancelled.
 *
 * Invariants: `more` is true unless the filter has used up all that came; with `last_words` it is
 * `aborting`, and `lost` is still to be called.
 */
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "net/server.h"
#include "net/transport_shake.h"
#include "sys/call.h"

/* Beyond write_max: what the records add to it, and answers of the protocol itself. */
#define BOUND_MORE ((size_t)128 * 1024)
#define IOV_AT_ONCE 16
#define DROP_MAX 32 /* reads of unread bytes before a close */

/* --- Errors ----------------------------------------------------------------------------------- */

void weft__transport_note(struct weft__transport *t)
{
    const char *text = weft_error_detail();
    if (t->extra->why == NULL && text[0] != '\0')
        t->extra->why = weft__strdup(text);
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

void weft__transport_broken(struct weft__transport *t, int error)
{
    struct weft_stream *f = t->extra->filter;
    if (t->s.aborting)
        return;
    weft__transport_note(t);
    if (f != NULL && f->cls->filter->last_words(f))
        speak(t);
    t->extra->gentle = true;
    weft__transport_fail(t, error);
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
        weft__transport_broken(t, (int)n);
}

void weft__transport_secure_step(struct weft__transport *t)
{
    if (t->s.shaking)
        weft__transport_shake_step(t);
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
        weft__transport_note(t);
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

size_t weft__transport_bound(const struct weft__transport *t)
{
    size_t max = t->s.shared->factory.write_max, sum;
    if (__builtin_add_overflow(max, max / 8 + BOUND_MORE, &sum))
        sum = SIZE_MAX;
    return sum;
}

void weft__transport_adopt(struct weft__transport *t, struct weft_stream *f)
{
    t->extra->filter = f;
    t->s.secured = t->s.more = true;
    t->s.shut = f->shut;
    t->s.first_byte = f->first_byte;
    weft__free(t->s.label);
    t->s.label = f->label;
    f->label = NULL;
    f->conn = NULL;
    f->fd = -1;
    f->cls->filter->bind(f, &t->s, weft__transport_bound(t));
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
    weft__transport_shake_free(t);
    if (!abrupt)
        drop_unread(t);
    if (x->filter != NULL) {
        x->filter->cls->filter->bind(x->filter, NULL, 0);
        weft__stream_free(x->filter, abrupt);
    }
    weft__free(x->why);
}
