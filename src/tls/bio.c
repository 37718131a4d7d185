/* SPDX-License-Identifier: MIT */
/*
 * Between OpenSSL and the lower stream: a BIO that never waits, and the waiting beside it.
 *
 * Floor 4. Input is the lower stream's read-ahead, taken to its last byte before more is waited
 * for. Output goes to the lower stream's queue of joined writes, or to `pend`, of which the writer
 * takes what it is sending (`sending`), since the reader may add to pend while the writer waits.
 *
 * Invariants: to OpenSSL output never fails (what was lost is kept in out_error, and told by the
 * next write); output that nobody waits for is bounded; buffers are freed when they are empty.
 */
#include <errno.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <poll.h>
#include <string.h>

#include "base/alloc.h"
#include "sys/call.h"
#include "tls/tls.h"

#define BYTES_MIN 1024u

static BIO_METHOD *method;

/* --- Buffers --------------------------------------------------------------------------------- */

static size_t bytes_left(const struct weft__tls_bytes *b)
{
    return b->end - b->start;
}

void weft__tls_bytes_free(struct weft__tls_bytes *b)
{
    weft__free(b->data);
    *b = (struct weft__tls_bytes){0};
}

static int bytes_append(struct weft__tls_bytes *b, const void *data, size_t len)
{
    if (b->cap - b->end < len) {
        size_t cap = weft__max_size(weft__max_size(2 * b->cap, BYTES_MIN), b->end + len);
        uint8_t *grown = weft__realloc(b->data, cap);
        if (grown == NULL)
            return -ENOMEM;
        b->data = grown;
        b->cap = cap;
    }
    memcpy(b->data + b->end, data, len);
    b->end += len;
    return 0;
}

static void bytes_took(struct weft__tls_bytes *b, size_t n)
{
    b->start += n;
    if (b->start == b->end)
        weft__tls_bytes_free(b);
}

size_t weft__tls_unsent(const struct weft__tls_stream *t)
{
    return t->joins ? weft__out_queued(t->lower) : bytes_left(&t->pend) + bytes_left(&t->sending);
}

/* --- The BIO --------------------------------------------------------------------------------- */

static int put(struct weft__tls_stream *t, const void *data, size_t len)
{
    struct iovec iov = {.iov_base = (void *)(uintptr_t)data, .iov_len = len};
    int err = t->out_error < 0 ? t->out_error : t->lower->error;
    if (err == 0 && weft__tls_unsent(t) > t->bound)
        err = WEFT_ETLS;
    if (t->joins && t->lower->out == NULL)
        t->lower->sent_ms = weft__loop_ms(t->lower->loop); /* from now on it may stall */
    if (err == 0)
        err = t->joins ? weft__out_append(t->lower, &iov, 1) : bytes_append(&t->pend, data, len);
    return err;
}

/* On the work pool, where the lower stream is out of bounds. */
static int put_aside(struct weft__tls_stream *t, const void *data, size_t len)
{
    if (t->out_error < 0)
        return t->out_error;
    return bytes_left(&t->pend) > t->bound ? WEFT_ETLS : bytes_append(&t->pend, data, len);
}

static int bio_write(BIO *bio, const char *data, size_t len, size_t *written)
{
    struct weft__tls_stream *t = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    t->out_error = weft__tls_is_away(t) ? put_aside(t, data, len) : put(t, data, len);
    t->any_out = true;
    *written = len;
    return 1;
}

void weft__tls_bytes_home(struct weft__tls_stream *t)
{
    struct weft__tls_bytes all = t->pend;
    if (!t->joins || bytes_left(&all) == 0)
        return; /* on its way already */
    t->pend = (struct weft__tls_bytes){0};
    t->out_error = put(t, all.data + all.start, bytes_left(&all));
    weft__tls_bytes_free(&all);
}

/* In callback mode read-ahead is a list. */
static void consume_held(struct weft_stream *lower, size_t n)
{
    struct weft__rbuf *rb = lower->in;
    rb->used += (uint32_t)n;
    if (rb->used < rb->len)
        return;
    weft__rbuf_release(lower->loop, weft__rbuf_pop(&lower->in));
}

static int bio_read(BIO *bio, char *buf, size_t cap, size_t *got)
{
    struct weft__tls_stream *t = BIO_get_data(bio);
    struct weft_stream *lower = weft__tls_is_away(t) ? NULL : t->lower;
    size_t n = weft__min_size(cap, lower != NULL ? weft__in_left(lower) : 0);
    BIO_clear_retry_flags(bio);
    if (n == 0) {
        BIO_set_retry_read(bio);
        return 0;
    }
    memcpy(buf, lower->in->data + lower->in->used, n);
    if (lower->proto != NULL)
        consume_held(lower, n);
    else
        weft_consume(lower, n);
    for (size_t i = 0; i < n && t->n_first_in < sizeof t->first_in; i++)
        t->first_in[t->n_first_in++] = (uint8_t)buf[i];
    t->any_in = true;
    *got = n;
    return 1;
}

static long bio_ctrl(BIO *bio, int cmd, long num, void *ptr)
{
    (void)bio;
    (void)num;
    (void)ptr;
    return cmd == BIO_CTRL_FLUSH;
}

/* Called once, before there are filters. */
static int make_method(void)
{
    BIO_METHOD *m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "weft stream");
    if (m == NULL || !BIO_meth_set_write_ex(m, bio_write) || !BIO_meth_set_read_ex(m, bio_read) ||
        !BIO_meth_set_ctrl(m, bio_ctrl)) {
        BIO_meth_free(m);
        return -ENOMEM;
    }
    method = m;
    return 0;
}

static pthread_mutex_t init_lock = PTHREAD_MUTEX_INITIALIZER;

int weft__tls_init(void)
{
    int err = 0;
    pthread_mutex_lock(&init_lock);
    if (method == NULL) {
        /* Whoever else uses OpenSSL in this process may do so to its last line. */
        if (!OPENSSL_init_ssl(OPENSSL_INIT_NO_ATEXIT, NULL))
            err = -ENOMEM;
        if (err == 0)
            err = make_method();
        weft__tls_errors_clear();
    }
    pthread_mutex_unlock(&init_lock);
    return err;
}

int weft__tls_bio_attach(struct weft__tls_stream *t)
{
    BIO *bio = BIO_new(method);
    if (bio == NULL)
        return -ENOMEM;
    BIO_set_data(bio, t);
    BIO_set_init(bio, 1);
    SSL_set_bio(t->ssl, bio, bio);
    return 0;
}

/* --- Input ----------------------------------------------------------------------------------- */

/* The lower stream's server limits are the filter's. */
static void lend_limits(struct weft__tls_stream *t)
{
    t->lower->conn = t->s.conn;
}

int weft__tls_input(struct weft__tls_stream *t, weft_deadline d)
{
    struct weft_stream *lower = t->lower;
    if (t->s.closed)
        return WEFT_ECLOSED;
    if (weft__in_left(lower) > 0)
        return 1;
    weft__in_release(lower);
    if (lower->end)
        return 0;
    lend_limits(t);
    ssize_t n = lower->cls->fill(lower, d);
    t->s.timed_out |= lower->timed_out;
    return n > 0 ? 1 : (int)n;
}

/* --- Output ---------------------------------------------------------------------------------- */

/* Takes what is to be sent next; false: nothing. */
static bool next(struct weft__tls_stream *t)
{
    if (bytes_left(&t->sending) == 0) {
        t->sending = t->pend;
        t->pend = (struct weft__tls_bytes){0};
    }
    return bytes_left(&t->sending) > 0;
}

static void sent(struct weft__tls_stream *t, size_t n)
{
    weft__stream_sent(t->lower, n);
    bytes_took(&t->sending, n);
}

void weft__tls_push_now(struct weft__tls_stream *t)
{
    struct weft_stream *lower = t->lower;
    while (!t->joins && lower->socket && lower->error == 0 && next(t)) {
        struct iovec iov = {.iov_base = t->sending.data + t->sending.start,
                            .iov_len = bytes_left(&t->sending)};
        struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
        ssize_t n = weft__call_sendmsg_now(lower->fd, &msg, 0);
        if (n < 0 && n != -EAGAIN)
            lower->error = (int)n;
        if (n <= 0)
            return;
        sent(t, (size_t)n);
    }
}

int weft__tls_push(struct weft__tls_stream *t, weft_deadline d)
{
    struct weft_stream *lower = t->lower;
    int err = 0;
    while (err == 0 && lower->error == 0 && !t->joins && next(t)) {
        size_t moved = 0;
        struct iovec iov = {.iov_base = t->sending.data + t->sending.start,
                            .iov_len = bytes_left(&t->sending)};
        if (t->s.closed)
            return WEFT_ECLOSED;
        lend_limits(t);
        err = lower->cls->write(lower, &iov, 1, &moved, d);
        t->s.timed_out |= lower->timed_out;
        if (moved > 0)
            sent(t, moved);
        if (err < 0 && err != -ETIMEDOUT && err != -ECANCELED && err != -EDEADLK)
            lower->error = err;
    }
    if (err == 0)
        err = lower->error < 0 ? lower->error : t->out_error;
    return err;
}

int weft__tls_flush(struct weft__tls_stream *t, weft_deadline d)
{
    int err = weft__tls_push(t, d);
    if (err == 0 && t->joins && weft__tls_unsent(t) > 0) {
        err = weft__wait_check();
        if (err == 0)
            err = weft__out_wait(t->lower, 0, d);
    }
    if (err == 0 && t->lower->cls->flush != NULL)
        err = t->lower->cls->flush(t->lower, d);
    return err;
}

/* On a thread: until the socket takes something, so that a write that is cut off before its first
 * byte has encrypted nothing, either. */
static int await_socket(struct weft__tls_stream *t, weft_deadline d)
{
    struct weft__io io;
    io.op =
        (struct weft__op){.kind = WEFT__OP_POLL, .fd = t->lower->fd, .u.poll = {.events = POLLOUT}};
    lend_limits(t);
    int events = weft__fd_await(t->lower, &io, true, d);
    t->s.timed_out |= t->lower->timed_out;
    return events < 0 ? events : 0;
}

int weft__tls_room(struct weft__tls_stream *t, size_t len, weft_deadline d)
{
    struct weft_stream *lower = t->lower;
    if (t->s.closed)
        return WEFT_ECLOSED;
    if (!t->joins) {
        int err = weft__tls_push(t, d);
        return err == 0 && lower->socket ? await_socket(t, d) : err;
    }
    if (lower->error < 0 || t->out_error < 0)
        return lower->error < 0 ? lower->error : t->out_error;
    size_t queued = weft__out_queued(lower);
    if (queued == 0 || queued + len <= lower->out_max)
        return 0;
    int err = weft__wait_check(); /* it may have been cancelled while it let others run */
    if (err < 0)
        return err;
    size_t below = lower->out_max > len ? lower->out_max - len : 0;
    return weft__out_wait(lower, weft__min_size(below, lower->out_max / 2), d);
}
