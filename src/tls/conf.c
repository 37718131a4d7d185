/* SPDX-License-Identifier: MIT */
/*
 * What handshakes use of a context's options: an SSL_CTX, and the certificates to choose from.
 *
 * Floor 4. Invariant: a conf never changes once it is made, so any thread may use it; it is freed
 * with the last handshake or stream that holds it.
 */
#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <string.h>

#include "base/alloc.h"
#include "sys/call_file.h"
#include "tls/tls.h"

void weft__tls_conf_unref(struct weft__tls_conf *c)
{
    if (c == NULL || atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) != 1)
        return;
    SSL_CTX_free(c->ctx);
    for (size_t i = 0; i < c->n_certs; i++)
        weft__tls_free_cert(&c->certs[i]);
    weft__free(c->certs);
    weft__free(c);
    weft__tls_errors_clear();
}

/* --- A server's choices ---------------------------------------------------------------------- */

/* Gives ssl every certificate with that name (there may be one for each kind of key): how many. A
 * name that begins with a dot, which to OpenSSL is every name below, is none. */
static int use_matching(SSL *ssl, const struct weft__tls_conf *c, const char *name, unsigned flags)
{
    int found = 0;
    for (size_t i = 0; name[0] != '.' && i < c->n_certs; i++) {
        const struct weft__tls_cert *cert = &c->certs[i];
        if (X509_check_host(cert->leaf, name, 0, flags, NULL) != 1)
            continue;
        if (found++ == 0)
            SSL_certs_clear(ssl);
        if (!SSL_use_cert_and_key(ssl, cert->leaf, cert->key, cert->chain, 1))
            return -1;
    }
    return found;
}

static int on_servername(SSL *ssl, int *alert, void *arg)
{
    const struct weft__tls_conf *c = arg;
    const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    if (name == NULL)
        return SSL_TLSEXT_ERR_NOACK;
    int found = use_matching(ssl, c, name, X509_CHECK_FLAG_NO_WILDCARDS);
    if (found == 0)
        found = use_matching(ssl, c, name, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    if (found < 0) {
        *alert = SSL_AD_INTERNAL_ERROR;
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    }
    if (found == 0 && c->tls->options.strict_sni) {
        *alert = SSL_AD_UNRECOGNIZED_NAME;
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    }
    return found > 0 ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_NOACK;
}

/* RFC 7301, 3.2: the server's preference, and an alert when nothing is in common. */
static int on_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len,
                   const unsigned char *in, unsigned in_len, void *arg)
{
    const struct weft_tls *tls = arg;
    unsigned char *chosen = NULL;
    (void)ssl;
    if (SSL_select_next_proto(&chosen, out_len, tls->alpn, (unsigned)tls->alpn_len, in, in_len) !=
        OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

static void on_secret(const SSL *ssl, const char *line)
{
    struct weft_tls *tls = weft__tls_of_ssl(ssl)->tls;
    size_t len = strlen(line);
    char *text = weft__alloc(len + 1);
    if (text == NULL)
        return;
    memcpy(text, line, len);
    text[len] = '\n';
    pthread_mutex_lock(&tls->lock);
    int64_t at = weft__call_fstat_size(tls->keylog_fd);
    ssize_t n = at >= 0 ? weft__call_pwrite(tls->keylog_fd, text, len + 1, at) : at;
    pthread_mutex_unlock(&tls->lock);
    (void)n; /* the connection does not depend on it */
    OPENSSL_cleanse(text, len);
    weft__free(text);
}

/* The value has the alert's level and its number. */
static void on_info(const SSL *ssl, int where, int value)
{
    if (where == SSL_CB_WRITE_ALERT && value >> 8 == SSL3_AL_FATAL)
        weft__tls_of_ssl(ssl)->alerted = true;
}

/* --- Making ---------------------------------------------------------------------------------- */

/* A handshake may refuse a certificate that could be read (its key is too small, its chain is
 * signed in a way that is too weak), and most are first used when a client asks for their name. So
 * each is tried as handshakes do it. */
static int try_cert(SSL_CTX *ctx, const struct weft__tls_cert *cert)
{
    SSL *ssl = SSL_new(ctx);
    if (ssl == NULL)
        return -ENOMEM;
    SSL_certs_clear(ssl);
    int ok = SSL_use_cert_and_key(ssl, cert->leaf, cert->key, cert->chain, 1);
    SSL_free(ssl);
    return ok == 1 ? 0 : -EINVAL;
}

static int load_certs(struct weft__tls_conf *c, const struct weft_tls_options *o)
{
    if (o->n_certificates == 0)
        return 0;
    c->certs = weft__calloc(o->n_certificates, sizeof *c->certs);
    if (c->certs == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < o->n_certificates; i++) {
        int err = weft__tls_load_cert(&c->certs[i], &o->certificates[i]);
        if (err < 0)
            return err;
        c->n_certs++;
        err = try_cert(c->ctx, &c->certs[i]);
        if (err == -EINVAL)
            err = weft__tls_fail_setup("certificate %s",
                                       weft__tls_source_name(o->certificates[i].chain));
        if (err < 0)
            return err;
    }
    const struct weft__tls_cert *first = &c->certs[0];
    if (!SSL_CTX_use_cert_and_key(c->ctx, first->leaf, first->key, first->chain, 1))
        return -ENOMEM; /* it has been tried */
    return 0;
}

/* A list for every issuer: one that is missing would make its certificates irrevocable. */
static int load_crls(struct weft__tls_conf *c, const struct weft_tls_options *o)
{
    X509_STORE *store = SSL_CTX_get_cert_store(c->ctx);
    if (o->crl == NULL)
        return 0;
    if (!X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL))
        return -ENOMEM;
    return weft__tls_load_crls(store, o->crl);
}

static int load_trust(struct weft__tls_conf *c, const struct weft_tls_options *o)
{
    int err = 0;
    if (o->ca == NULL && o->ca_dir == NULL) {
        if (o->insecure_no_verify)
            return 0; /* nobody would ask it, and parsing it takes 100 ms */
        return SSL_CTX_set_default_verify_paths(c->ctx)
                   ? 0
                   : weft__tls_fail_setup("the system's trust store");
    }
    if (o->ca != NULL) {
        STACK_OF(X509_NAME) *names = sk_X509_NAME_new_null();
        if (names == NULL)
            return -ENOMEM;
        err = weft__tls_load_trust(SSL_CTX_get_cert_store(c->ctx), o->ca, names);
        if (err == 0 && o->client != WEFT_TLS_CLIENT_ANY)
            SSL_CTX_set_client_CA_list(c->ctx, names); /* takes them */
        else
            sk_X509_NAME_pop_free(names, X509_NAME_free);
    }
    if (err == 0 && o->ca_dir != NULL && !SSL_CTX_load_verify_dir(c->ctx, o->ca_dir))
        err = weft__tls_fail_setup("ca_dir %s", o->ca_dir);
    return err;
}

static int set_up(struct weft__tls_conf *c, struct weft_tls *tls)
{
    const struct weft_tls_options *o = &tls->options;
    int least = o->min_version != 0 ? (int)o->min_version : WEFT_TLS_1_2;
    int most = o->max_version != 0 ? (int)o->max_version : WEFT_TLS_1_3;
    SSL_CTX_set_options(c->ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_clear_options(c->ctx, SSL_OP_IGNORE_UNEXPECTED_EOF | SSL_OP_ENABLE_KTLS);
    SSL_CTX_set_mode(c->ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_read_ahead(c->ctx, 0);
    SSL_CTX_set_info_callback(c->ctx, on_info);
    if (!SSL_CTX_set_min_proto_version(c->ctx, least) ||
        !SSL_CTX_set_max_proto_version(c->ctx, most))
        return weft__tls_fail_setup("versions");
    int err = weft__tls_set_ciphers(c->ctx, o->ciphers);
    if (err < 0)
        return err;
    if (tls->alpn_len > 0) {
        if (SSL_CTX_set_alpn_protos(c->ctx, tls->alpn, (unsigned)tls->alpn_len) != 0)
            return -ENOMEM;
        SSL_CTX_set_alpn_select_cb(c->ctx, on_alpn, tls);
    }
    SSL_CTX_set_tlsext_servername_callback(c->ctx, on_servername);
    SSL_CTX_set_tlsext_servername_arg(c->ctx, c);
    if (tls->keylog_fd >= 0)
        SSL_CTX_set_keylog_callback(c->ctx, on_secret);
    return weft__tls_session_setup(tls, c->ctx);
}

int weft__tls_conf_open(struct weft__tls_conf **ret, struct weft_tls *tls)
{
    struct weft__tls_conf *c = weft__calloc(1, sizeof *c);
    if (c == NULL)
        return -ENOMEM;
    atomic_init(&c->refs, 1);
    c->tls = tls;
    weft__tls_errors_clear();
    c->ctx = SSL_CTX_new(TLS_method());
    int err = c->ctx != NULL ? set_up(c, tls) : -ENOMEM;
    if (err == 0)
        err = load_certs(c, &tls->options);
    if (err == 0)
        err = load_trust(c, &tls->options);
    if (err == 0)
        err = load_crls(c, &tls->options);
    weft__tls_errors_clear();
    if (err < 0) {
        weft__tls_conf_unref(c);
        return err;
    }
    *ret = c;
    return 0;
}
