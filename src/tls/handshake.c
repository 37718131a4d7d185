/* SPDX-License-Identifier: MIT */
/*
 * Upgrading: the handshake on a live stream, and the change of what the caller's pointer means.
 *
 * Floor 4. While it runs the calling flow is the lower stream's reader and its writer, so nobody
 * else can be inside. Only success replaces the stream.
 *
 * Invariant: when it fails, the lower stream is the caller's as before, and once a byte of TLS has
 * gone either way no more can be written to it. An alert has been sent then, unless the peer takes
 * nothing, the caller's time is over, or it is cancelled.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "net/server.h"
#include "tls/tls.h"

/* --- Making a filter ------------------------------------------------------------------------- */

static struct weft__tls_stream *filter_open(struct weft_stream *lower, struct weft_tls *tls,
                                            bool server)
{
    struct weft__tls_stream *t = weft__calloc(1, sizeof *t);
    if (t == NULL)
        return NULL;
    weft__stream_init(&t->s, &weft__tls_class, lower->loop);
    t->s.out_max = lower->proto == NULL ? lower->out_max : WEFT__OUT_MAX_DEFAULT;
    t->lower = lower;
    t->bound = t->s.out_max + WEFT__TLS_ANSWERS_MAX;
    t->joins = lower->loop != NULL && lower->cls->joins;
    t->server = server;
    t->tls = weft__tls_ref(tls);
    t->conf = weft__tls_conf_ref(tls);
    return t;
}

/* Frees a filter whose handshake did not succeed; the lower stream stays. */
static void filter_drop(struct weft__tls_stream *t)
{
    t->lower = NULL;
    t->s.conn = NULL;
    weft__stream_free(&t->s, true);
}

static int start_ssl(struct weft__tls_stream *t)
{
    weft__tls_errors_clear();
    t->ssl = SSL_new(t->conf->ctx);
    t->why = weft__calloc(1, WEFT__TLS_DETAIL_MAX);
    if (t->ssl == NULL || t->why == NULL || !SSL_set_app_data(t->ssl, t))
        return -ENOMEM;
    return weft__tls_bio_attach(t);
}

static bool is_ip(const char *host)
{
    unsigned char buf[16];
    return inet_pton(AF_INET, host, buf) == 1 || inet_pton(AF_INET6, host, buf) == 1;
}

/* Where a client's sessions with this peer are kept: host and port. */
static int set_session_key(struct weft__tls_stream *t)
{
    struct weft_address a = weft__stream_peer_or_none(t->lower);
    size_t cap = strlen(t->host) + 16;
    t->session_key = weft__alloc(cap);
    if (t->session_key == NULL)
        return -ENOMEM;
    (void)snprintf(t->session_key, cap, "%s %d", t->host, weft_address_port(&a));
    return 0;
}

/* The name without a last dot (RFC 6066, 3), copied. */
static int set_host(struct weft__tls_stream *t, const char *host)
{
    size_t len = strlen(host);
    if (len > 0 && host[len - 1] == '.')
        len--;
    if (len == 0 || len > WEFT__TLS_HOST_MAX)
        return weft__fail(-EINVAL, "a host name of %zu bytes", len);
    if (host[0] == '.') /* to OpenSSL that is every host below */
        return weft__fail(-EINVAL, "the host name '%s' begins with a dot", host);
    t->host = weft__alloc(len + 1);
    if (t->host == NULL)
        return -ENOMEM;
    memcpy(t->host, host, len);
    t->host[len] = '\0';
    return 0;
}

int weft__tls_check_host(const struct weft_tls *tls, const char *host)
{
    const struct weft_tls_options *o = &tls->options;
    if (host == NULL && !o->insecure_no_verify && !o->insecure_any_host)
        return weft__fail(-EINVAL, "no host: whose certificate is it to be?");
    return 0;
}

static int prepare_client(struct weft__tls_stream *t, const char *host)
{
    const struct weft_tls_options *o = &t->tls->options;
    bool any = o->insecure_no_verify || o->insecure_any_host;
    int err = weft__tls_check_host(t->tls, host);
    if (err < 0)
        return err;
    SSL_set_connect_state(t->ssl);
    SSL_set_verify(t->ssl, o->insecure_no_verify ? SSL_VERIFY_NONE : SSL_VERIFY_PEER,
                   weft__tls_verify);
    err = host != NULL ? set_host(t, host) : 0;
    if (err < 0 || host == NULL)
        return err;
    X509_VERIFY_PARAM *param = SSL_get0_param(t->ssl);
    bool ip = is_ip(t->host), ok = true;
    /* A common name is no host name, also where there is no other (RFC 9525, 2 and 6.3). */
    X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS |
                                               X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
    if (!any)
        ok = ip ? X509_VERIFY_PARAM_set1_ip_asc(param, t->host)
                : X509_VERIFY_PARAM_set1_host(param, t->host, 0);
    if (ok && !ip)
        ok = SSL_set_tlsext_host_name(t->ssl, t->host);
    if (!ok)
        return weft__tls_fail_setup("host '%s'", t->host);
    if (o->no_resumption)
        return 0;
    err = set_session_key(t);
    if (err == 0)
        weft__tls_session_use(t);
    return err;
}

static int prepare_server(struct weft__tls_stream *t)
{
    enum weft_tls_client client = t->tls->options.client;
    int mode = client == WEFT_TLS_CLIENT_ANY ? SSL_VERIFY_NONE : SSL_VERIFY_PEER;
    if (client == WEFT_TLS_CLIENT_REQUIRED)
        mode |= SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
    SSL_set_accept_state(t->ssl);
    SSL_set_verify(t->ssl, mode, weft__tls_verify);
    return t->tls->options.handshake_offload && t->s.loop != NULL ? weft__tls_away_open(t) : 0;
}

/* --- Shaking hands --------------------------------------------------------------------------- */

int weft__tls_shake_step(struct weft__tls_stream *t)
{
    weft__tls_errors_clear();
    int res = SSL_do_handshake(t->ssl);
    int why = res == 1 ? SSL_ERROR_NONE : SSL_get_error(t->ssl, res);
    bool away = why == SSL_ERROR_WANT_X509_LOOKUP;
    if (why == SSL_ERROR_ZERO_RETURN && t->out_error == 0) /* close_notify: OpenSSL says no more */
        return weft__fail(WEFT_EEOF, "the peer ended the connection during the handshake");
    if (why != SSL_ERROR_NONE && why != SSL_ERROR_WANT_READ && !away)
        return weft__tls_fail(t, true);
    weft__tls_errors_clear();
    return away ? WEFT__SHAKE_AWAY : why == SSL_ERROR_NONE ? 1 : 0;
}

static int shake(struct weft__tls_stream *t, weft_deadline d)
{
    for (;;) {
        int res = weft__tls_shake_step(t);
        if (res == WEFT__SHAKE_AWAY)
            res = weft__tls_away_wait(t, d);
        if (res < 0)
            return res;
        int err = weft__tls_push(t, d);
        if (err < 0 || res == 1)
            return err;
        if (t->lower->closed)
            return WEFT_ECLOSED;
        int n = weft__tls_input(t, d);
        if (n < 0)
            return n;
        if (n == 0)
            return weft__fail(WEFT_EEOF, "the peer hung up during the handshake%s",
                              t->any_in ? "" : ", without a word");
    }
}

/* The alert goes out, if that can be within WEFT__LAST_WORDS_MS. It is the last of our side, which
 * then ends: see weft__stream_give_up. */
static void send_alert(struct weft__tls_stream *t, weft_deadline d)
{
    struct weft_stream *lower = t->lower;
    int err = 0;
    if (t->joins)
        weft__out_last_words(lower);
    if (weft__tls_unsent(t) > 0 && !lower->closed)
        err = weft__tls_flush(t, weft_earlier(d, weft_after_ms(WEFT__LAST_WORDS_MS)));
    if (err == 0 && weft__tls_unsent(t) == 0 && lower->error == 0 && lower->socket)
        lower->shut = lower->cls->shutdown(lower) == 0;
}

/* The handshake has failed. */
static void say_why(struct weft__tls_stream *t, weft_deadline d)
{
    weft__tls_push_now(t);
    if (weft__tls_told(t))
        send_alert(t, d);
    if ((t->any_in || t->any_out) && t->lower->error == 0)
        t->lower->error = WEFT_EPOISONED;
}

/* From now on the filter stands where the lower stream stood. */
static void take_over(struct weft__tls_stream *t)
{
    struct weft_stream *lower = t->lower;
    t->s.fd = lower->fd;
    t->s.first_byte = lower->first_byte;
    t->s.active_ms = lower->active_ms;
    t->s.sent_ms = lower->sent_ms;
    t->s.label = lower->label;
    lower->label = NULL;
    if (t->s.conn != NULL)
        t->s.conn->stream = &t->s;
    weft__tls_away_close(t);
    weft__free(t->why);
    t->why = NULL;
}

/* Takes both places of the lower stream, or neither. */
static int enter(struct weft_stream *lower)
{
    int err = weft__stream_enter(lower, &lower->reader);
    if (err < 0)
        return err;
    err = weft__stream_enter(lower, &lower->writer);
    if (err == 0 && lower->error < 0)
        err = lower->error;
    if (err == 0 && lower->shut)
        err = WEFT_ECLOSED;
    if (err < 0) {
        if (lower->writer == lower->reader)
            lower->writer = NULL;
        lower->reader = NULL;
        return err;
    }
    if (lower->record_len > 0) {
        weft_consume(lower, lower->record_len);
        lower->record_len = 0;
    }
    return 0;
}

static int leave(struct weft_stream *lower, int res)
{
    lower->writer = NULL;
    return (int)weft__stream_leave_with(lower, &lower->reader, res);
}

int weft__tls_filter(struct weft_stream **ret, struct weft_tls *tls, struct weft_stream *lower,
                     bool server, const char *host)
{
    struct weft__tls_stream *t = filter_open(lower, tls, server);
    int err = t != NULL ? start_ssl(t) : -ENOMEM;
    if (err == 0)
        err = server ? prepare_server(t) : prepare_client(t, host);
    if (err < 0) {
        if (t != NULL)
            filter_drop(t);
        weft__tls_errors_clear();
        return err;
    }
    *ret = &t->s;
    return 0;
}

static int upgrade(struct weft_stream **s, struct weft_tls *tls, const char *host, bool server,
                   weft_deadline d)
{
    struct weft_stream *lower = *s;
    int err = enter(lower);
    if (err < 0)
        return err;
    struct weft_stream *f = NULL;
    err = weft__tls_filter(&f, tls, lower, server, host);
    struct weft__tls_stream *t = err == 0 ? weft__tls_of(f) : NULL;
    if (err == 0) {
        t->s.conn = lower->conn;
        err = shake(t, d);
        if (err < 0)
            say_why(t, d);
    }
    if (err == 0 && !lower->closed) {
        lower->reader = lower->writer = NULL;
        take_over(t);
        *s = &t->s;
        return 0;
    }
    if (t != NULL)
        filter_drop(t);
    weft__tls_errors_clear();
    return leave(lower, err);
}

int weft_tls_connect(struct weft_stream **s, struct weft_tls *tls, const char *host,
                     weft_deadline d)
{
    int err = tls == NULL ? weft__secure_default(&tls) : 0;
    return err < 0 ? err : upgrade(s, tls, host, false, d);
}

int weft_tls_accept(struct weft_stream **s, struct weft_tls *tls, weft_deadline d)
{
    if (tls == NULL)
        return weft__fail(-EINVAL, "a server needs a context");
    int err = tls->secure.cls->check_server(tls);
    return err < 0 ? err : upgrade(s, tls, NULL, true, d);
}
