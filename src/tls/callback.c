/* SPDX-License-Identifier: MIT */
/*
 * Secured connections in callback mode: the filter as the companion of a transport, and the calls
 * that secure a live connection from a callback.
 *
 * Floor 4. The transport (net/transport_secure.c) says when; nothing here waits. Output goes to the
 * transport's queue through the same BIO as a task's.
 *
 * Invariant: bind is called whenever the lower stream's struct moves, so t->lower is never stale.
 */
#include <errno.h>

#include "base/alloc.h"
#include "net/transport.h"
#include "tls/tls.h"

static int callback_shake(struct weft_stream *f)
{
    struct weft__tls_stream *t = weft__tls_of(f);
    bool told = t->away != NULL && t->away->told;
    int res = told ? weft__tls_away_take(t) : weft__tls_shake_step(t);
    if (res == WEFT__SHAKE_AWAY)
        res = weft__tls_away_start(t);
    if (res == 0 && (t->lower->error < 0 || t->out_error < 0))
        res = t->lower->error < 0 ? t->lower->error : t->out_error;
    if (res == 1) {
        weft__tls_away_close(t);
        weft__free(t->why);
        t->why = NULL;
    }
    return res;
}

static bool callback_withdraw(struct weft_stream *f)
{
    return weft__tls_away_withdraw(weft__tls_of(f));
}

static ssize_t callback_take(struct weft_stream *f, void *buf, size_t cap)
{
    return weft__tls_take(weft__tls_of(f), buf, cap);
}

static bool callback_more(struct weft_stream *f)
{
    struct weft__tls_stream *t = weft__tls_of(f);
    return f->end || t->read_error < 0 || SSL_pending(t->ssl) > 0;
}

static int callback_seal(struct weft_stream *f, struct iovec *iov, int n)
{
    return weft__tls_seal(weft__tls_of(f), iov, n);
}

static bool last_words(const struct weft_stream *f)
{
    return weft__tls_told(weft__tls_of(f));
}

static struct weft_stream *callback_lower(struct weft_stream *f)
{
    return weft__tls_of(f)->lower;
}

static void callback_bind(struct weft_stream *f, struct weft_stream *lower, size_t bound)
{
    struct weft__tls_stream *t = weft__tls_of(f);
    t->lower = lower;
    t->bound = bound > 0 ? bound : f->out_max + WEFT__TLS_ANSWERS_MAX;
}

const struct weft__filter_class weft__tls_filter_class = {
    .shake = callback_shake,
    .withdraw = callback_withdraw,
    .take = callback_take,
    .more = callback_more,
    .seal = callback_seal,
    .last_words = last_words,
    .lower = callback_lower,
    .bind = callback_bind,
};

/* --- Securing a live connection --------------------------------------------------------------- */

static int start(struct weft_stream *s, struct weft_tls *tls, const char *host, bool server,
                 size_t unread, int (*done)(struct weft_stream *s, void *conn))
{
    struct weft__transport_secure how = {.tls = tls, .host = host, .server = server, .done = done};
    if (s->proto == NULL)
        return weft__fail(-EOPNOTSUPP, "a task or thread has weft_tls_connect and weft_tls_accept");
    return weft__transport_upgrade(s->proto, unread, &how);
}

int weft_tls_connect_nowait(struct weft_stream *s, struct weft_tls *tls, const char *host,
                            size_t unread, int (*done)(struct weft_stream *s, void *conn))
{
    int err = tls == NULL ? weft__secure_default(&tls) : 0;
    if (err == 0)
        err = weft__tls_check_host(tls, host);
    return err < 0 ? err : start(s, tls, host, false, unread, done);
}

int weft_tls_accept_nowait(struct weft_stream *s, struct weft_tls *tls, size_t unread,
                           int (*done)(struct weft_stream *s, void *conn))
{
    if (tls == NULL)
        return weft__fail(-EINVAL, "a server needs a context");
    int err = tls->secure.cls->check_server(tls);
    return err < 0 ? err : start(s, tls, NULL, true, unread, done);
}
