/* SPDX-License-Identifier: MIT */
/*
 * The class of secured streams: reading, writing, ending.
 *
 * Floor 4. Records are short after a pause (SMALL_RECORD), so that the peer can use the first of
 * them before a whole window has come, and as long as there are after BURST bytes.
 *
 * What reading finds wrong the peer is told by an alert (RFC 8446 section 6.2), behind all that was
 * written before. It goes at once if it can. If not, it is waited for where the connection ends:
 * by weft_close, and by a server after its handler's error (weft__stream_give_up), within bounds. A
 * weft_abort waits for nothing, but what an operation under way has held back is tried once more
 * (out.c). No alert is sent, and none is waited for,
 *  - behind a record that was cut off (WEFT_EPOISONED): nobody waits for the rest of that, either;
 *  - when answers of the protocol have passed their bound (out_error): the peer reads nothing;
 *  - while another flow is writing as the stream is closed: the wait for room is that flow's.
 *
 * Invariants: a write of up to one full record's worth waits for room for all of it before it
 * encrypts anything; an end without close_notify is an error; after a fatal error nothing is read
 * or written any more.
 */
#include <errno.h>
#include <openssl/err.h>
#include <string.h>

#include "base/alloc.h"
#include "sys/call.h"
#include "tls/tls.h"

#define SMALL_RECORD 1360u
#define BURST ((uint64_t)64 * 1024)
#define PAUSE_NS INT64_C(1000000000)
#define CHARGE_MIN 8192u
#define DROP_MAX 32 /* reads of unread bytes before a close */

/* --- Reading --------------------------------------------------------------------------------- */

/* What can be had without waiting: > 0, 0 at the end, -EAGAIN, or what reading has come to. */
static ssize_t take_one(struct weft__tls_stream *t, void *buf, size_t cap)
{
    size_t n = 0;
    if (t->read_error < 0)
        return t->read_error;
    weft__tls_errors_clear();
    if (SSL_read_ex(t->ssl, buf, cap, &n))
        return (ssize_t)n;
    int why = SSL_get_error(t->ssl, 0);
    if (why == SSL_ERROR_WANT_READ) {
        weft__tls_errors_clear();
        return -EAGAIN;
    }
    if (why == SSL_ERROR_ZERO_RETURN) {
        weft__tls_errors_clear();
        t->s.end = true;
        return 0;
    }
    t->read_error = weft__tls_fail(t, false);
    if (t->joins && weft__tls_told(t)) /* before who hears of it resets */
        weft__out_last_words(t->lower);
    if (t->s.error == 0)
        t->s.error = t->read_error;
    return t->read_error;
}

ssize_t weft__tls_take(struct weft__tls_stream *t, void *to, size_t cap)
{
    uint8_t *buf = to;
    ssize_t n = take_one(t, buf, cap);
    size_t done = n > 0 ? (size_t)n : 0;
    while (n > 0 && done < cap && (weft__in_left(t->lower) > 0 || SSL_pending(t->ssl) > 0)) {
        n = take_one(t, buf + done, cap - done);
        done += n > 0 ? (size_t)n : 0;
    }
    if (t->s.writer == NULL)
        weft__tls_push_now(t); /* answers of the protocol itself */
    if (done == 0)
        return n;
    weft__stream_got(&t->s, done);
    return (ssize_t)done;
}

/* Waits for bytes below: 1 or < 0. */
static int await_input(struct weft__tls_stream *t, weft_deadline d)
{
    int n = weft__tls_input(t, d);
    if (n != 0)
        return n;
    t->read_error = WEFT_EEOF;
    return weft__fail(WEFT_EEOF, "the peer ended the connection without close_notify; what it sent "
                                 "last may be missing");
}

static ssize_t tls_read(struct weft_stream *s, void *buf, size_t cap, weft_deadline d)
{
    struct weft__tls_stream *t = weft__tls_of(s);
    ssize_t n = weft__tls_take(t, buf, cap);
    while (n == -EAGAIN) {
        int err = await_input(t, d);
        if (err < 0)
            return err;
        n = weft__tls_take(t, buf, cap);
    }
    return n;
}

static ssize_t tls_fill(struct weft_stream *s, weft_deadline d)
{
    struct weft__tls_stream *t = weft__tls_of(s);
    for (;;) {
        if (t->read_error < 0)
            return t->read_error;
        if (SSL_pending(t->ssl) == 0) {
            int err = await_input(t, d);
            if (err < 0)
                return err;
        }
        struct weft__rbuf *rb = weft__in_alloc(s, WEFT__RBUF_SIZE);
        if (rb == NULL)
            return -ENOMEM;
        ssize_t n = weft__tls_take(t, rb->data, WEFT__RBUF_SIZE);
        if (n > 0) {
            rb->len = (uint32_t)n;
            s->in = rb;
            return n;
        }
        weft__rbuf_release(s->loop, rb);
        if (n != -EAGAIN)
            return n;
    }
}

/* --- Writing --------------------------------------------------------------------------------- */

struct source {
    struct iovec *iov;
    int n;
    uint8_t small[SMALL_RECORD]; /* pieces that are joined to a record */
};

/* The next bytes for one record, at most max. */
static size_t next_piece(struct source *from, size_t max, const uint8_t **at)
{
    while (from->n > 0 && from->iov->iov_len == 0) {
        from->iov++;
        from->n--;
    }
    if (from->n == 0)
        return 0;
    size_t len = weft__min_size(from->iov->iov_len, max);
    bool more = from->iov->iov_len < weft__min_size(max, sizeof from->small) && from->n > 1;
    if (!more) {
        *at = from->iov->iov_base;
        from->iov->iov_base = (uint8_t *)from->iov->iov_base + len;
        from->iov->iov_len -= len;
        return len;
    }
    max = weft__min_size(max, sizeof from->small);
    for (len = 0; from->n > 0 && len < max;) {
        size_t m = weft__min_size(from->iov->iov_len, max - len);
        if (m > 0)
            memcpy(from->small + len, from->iov->iov_base, m);
        len += m;
        from->iov->iov_base = (uint8_t *)from->iov->iov_base + m;
        from->iov->iov_len -= m;
        if (from->iov->iov_len == 0) {
            from->iov++;
            from->n--;
        }
    }
    *at = from->small;
    return len;
}

/* After a pause, records are short again. */
static void note_pause(struct weft__tls_stream *t)
{
    int64_t now = weft__stream_now_ns(&t->s);
    if (now - t->wrote_ns > PAUSE_NS)
        t->burst = 0;
    t->wrote_ns = now;
}

/* How long a record may be now. */
static size_t record_size(struct weft__tls_stream *t)
{
    return t->burst < BURST ? SMALL_RECORD : WEFT__TLS_RECORD_MAX;
}

static int encrypt(struct weft__tls_stream *t, const uint8_t *data, size_t len)
{
    size_t n = 0;
    weft__tls_errors_clear();
    if (!SSL_write_ex(t->ssl, data, len, &n)) {
        (void)SSL_get_error(t->ssl, 0);
        return weft__tls_fail(t, false);
    }
    weft__tls_errors_clear();
    WEFT__ASSERT(n == len); /* the BIO takes everything */
    t->burst += len;
    return t->out_error;
}

int weft__tls_seal(struct weft__tls_stream *t, struct iovec *iov, int n)
{
    struct source from = {.iov = iov, .n = n};
    const uint8_t *at = NULL;
    size_t len;
    int err = 0;
    note_pause(t);
    while (err == 0 && (len = next_piece(&from, record_size(t), &at)) > 0) {
        err = encrypt(t, at, len);
        if (err == 0)
            weft__stream_sent(&t->s, len);
    }
    return err;
}

/* What len bytes become at most. */
static size_t sealed_size(size_t len)
{
    return len + (len / SMALL_RECORD + 2) * WEFT__TLS_RECORD_OVERHEAD;
}

static int write_pieces(struct weft__tls_stream *t, struct source *from, size_t total,
                        size_t *moved, weft_deadline d)
{
    bool whole = total <= WEFT__TLS_RECORD_MAX;
    int err = whole ? weft__tls_room(t, sealed_size(total), d) : 0;
    while (err == 0) {
        const uint8_t *at = NULL;
        if (!whole)
            err = weft__tls_room(t, sealed_size(record_size(t)), d);
        if (err < 0)
            break;
        size_t len = next_piece(from, record_size(t), &at);
        if (len == 0)
            break;
        err = encrypt(t, at, len);
        if (err < 0)
            break;
        err = weft__tls_push(t, d);
        if (err == 0)
            *moved += len;
        else if (err == -ETIMEDOUT || err == -ECANCELED)
            t->s.error = WEFT_EPOISONED; /* a part of the record may have gone */
        if (err == 0 && len >= CHARGE_MIN)
            weft__charge();
    }
    return err;
}

static int tls_write(struct weft_stream *s, struct iovec *iov, int n, size_t *moved,
                     weft_deadline d)
{
    struct weft__tls_stream *t = weft__tls_of(s);
    struct source from = {.iov = iov, .n = n};
    size_t total = 0;
    for (int i = 0; i < n; i++)
        total += iov[i].iov_len;
    if (total == 0)
        return 0;
    note_pause(t);
    int err = write_pieces(t, &from, total, moved, d);
    if (err == 0 && total < CHARGE_MIN && weft__out_queued(t->lower) > t->lower->out_max / 2)
        weft__charge(); /* a writer that always finds room must not keep the loop */
    return err;
}

static int tls_flush(struct weft_stream *s, weft_deadline d)
{
    return weft__tls_flush(weft__tls_of(s), d);
}

/* --- Ending ---------------------------------------------------------------------------------- */

static int tls_shutdown(struct weft_stream *s)
{
    struct weft__tls_stream *t = weft__tls_of(s);
    weft__tls_errors_clear();
    int res = SSL_shutdown(t->ssl);
    if (res < 0)
        return weft__tls_fail(t, false);
    weft__tls_errors_clear();
    return t->lower->error < 0 ? t->lower->error : t->out_error;
}

/*
 * A TCP socket that is closed with unread bytes resets the connection, and what was just sent is
 * lost with it. Tickets and the peer's close_notify are such bytes, and nobody need have read them.
 */
static void drop_unread(struct weft__tls_stream *t)
{
    struct weft_stream *lower = t->lower;
    char buf[2048];
    for (int i = 0; i < DROP_MAX && lower->socket && t->s.reader == NULL; i++)
        if (weft__call_recv_now(lower->fd, buf, sizeof buf) <= 0)
            return;
}

static int tls_finish(struct weft_stream *s, weft_deadline d)
{
    struct weft__tls_stream *t = weft__tls_of(s);
    bool all_sent = weft__tls_unsent(t) == 0;
    int err = s->error;
    if (err == 0 && !s->shut)
        err = tls_shutdown(s);
    s->shut = true;
    weft__tls_push_now(t);
    if (t->joins)
        weft__out_last_try(t->lower);
    if (err == WEFT_EPOISONED)
        return err; /* a message without its end is not worth waiting for */
    int flushed = weft__tls_unsent(t) > 0 ? weft__tls_flush(t, d) : t->lower->error;
    if (flushed == 0)
        drop_unread(t);
    if (all_sent && (flushed == -EPIPE || flushed == -ECONNRESET))
        flushed = 0; /* the peer has gone before our close_notify, and missed nothing else */
    return err < 0 ? err : flushed;
}

static void tls_release(struct weft_stream *s, bool abrupt)
{
    struct weft__tls_stream *t = weft__tls_of(s);
    weft__tls_errors_clear();
    weft__tls_away_close(t);
    SSL_free(t->ssl);
    weft__tls_errors_clear();
    if (t->lower != NULL) {
        t->lower->conn = NULL;
        weft__stream_free(t->lower, abrupt);
    }
    weft__tls_bytes_free(&t->pend);
    weft__tls_bytes_free(&t->sending);
    weft__tls_conf_unref(t->conf);
    weft__tls_unref(t->tls);
    weft__free(t->texts);
    weft__free(t->session_key);
    weft__free(t->host);
    weft__free(t->why);
}

static int tls_address(const struct weft_stream *s, bool peer, struct weft_address *ret)
{
    const struct weft_stream *lower = weft__tls_of(s)->lower;
    return lower->cls->address(lower, peer, ret);
}

const struct weft__stream_class weft__tls_class = {
    .kind = "tls",
    .read = tls_read,
    .fill = tls_fill,
    .write = tls_write,
    .flush = tls_flush,
    .shutdown = tls_shutdown,
    .finish = tls_finish,
    .release = tls_release,
    .address = tls_address,
    .filter = &weft__tls_filter_class,
};
