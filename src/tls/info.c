/* SPDX-License-Identifier: MIT */
/*
 * Facts about a secured stream. Texts are made when they are first asked for.
 *
 * Floor 4. Invariant: they are one block, freed with the stream.
 */
#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "net/transport.h"
#include "tls/tls.h"

#define NAME_MAX_LEN 512
#define NAMES_MAX 2048
#define LINE_MAX_LEN 1536
#define CHAIN_MAX 12

/* Subject, names and chain, one after the other. */
struct texts {
    char subject[NAME_MAX_LEN], names[NAMES_MAX];
    char alpn[256];
    char chain[];
};

static void chain_line(X509 *cert, char *buf, size_t cap)
{
    char subject[NAME_MAX_LEN], issuer[NAME_MAX_LEN], from[32], until[32];
    weft__tls_name_text(X509_get_subject_name(cert), subject, sizeof subject);
    weft__tls_name_text(X509_get_issuer_name(cert), issuer, sizeof issuer);
    weft__tls_time_text(X509_get0_notBefore(cert), from, sizeof from);
    weft__tls_time_text(X509_get0_notAfter(cert), until, sizeof until);
    (void)snprintf(buf, cap, "%s; issuer %s; from %s until %s\n", subject, issuer, from, until);
}

/* The certificates as they were shown, the peer's own first. */
static int shown(const SSL *ssl, bool server, X509 *own, X509 *all[CHAIN_MAX])
{
    STACK_OF(X509) *chain = SSL_get_peer_cert_chain(ssl);
    int n = 0;
    if (own != NULL && (server || sk_X509_num(chain) <= 0))
        all[n++] = own; /* OpenSSL leaves it out there */
    for (int i = 0; i < sk_X509_num(chain) && n < CHAIN_MAX; i++)
        all[n++] = sk_X509_value(chain, i);
    return n;
}

static int make_texts(struct weft__tls_stream *t)
{
    X509 *own = SSL_get0_peer_certificate(t->ssl), *all[CHAIN_MAX];
    const unsigned char *alpn = NULL;
    unsigned alpn_len = 0;
    int n = shown(t->ssl, t->server, own, all);
    struct texts *x = weft__calloc(1, sizeof *x + (size_t)n * LINE_MAX_LEN + 1);
    if (x == NULL)
        return -ENOMEM;
    if (own != NULL) {
        weft__tls_name_text(X509_get_subject_name(own), x->subject, sizeof x->subject);
        weft__tls_names_text(own, x->names, sizeof x->names);
    }
    for (int i = 0; i < n; i++)
        chain_line(all[i], x->chain + strlen(x->chain), LINE_MAX_LEN);
    SSL_get0_alpn_selected(t->ssl, &alpn, &alpn_len);
    if (alpn != NULL && alpn_len < sizeof x->alpn)
        memcpy(x->alpn, alpn, alpn_len);
    t->texts = (char *)x;
    return 0;
}

int weft_tls_info(struct weft_stream *s, struct weft_tls_info *ret)
{
    if (s->proto != NULL && s->secured && s->proto->extra->filter != NULL)
        s = s->proto->extra->filter;
    if (s->cls != &weft__tls_class)
        return weft__fail(-EOPNOTSUPP, "the stream is not secured");
    struct weft__tls_stream *t = weft__tls_of(s);
    if (weft__tls_is_away(t))
        return weft__fail(-EOPNOTSUPP, "the stream is not secured yet");
    weft__tls_errors_clear();
    int err = t->texts == NULL ? make_texts(t) : 0;
    weft__tls_errors_clear();
    if (err < 0)
        return err;
    const struct texts *x = (const struct texts *)t->texts;
    const char *sni = SSL_get_servername(t->ssl, TLSEXT_NAMETYPE_host_name);
    *ret = (struct weft_tls_info){
        .version = SSL_get_version(t->ssl),
        .cipher = SSL_get_cipher_name(t->ssl),
        .alpn = x->alpn,
        .sni = sni != NULL ? sni : "",
        .server = t->server,
        .resumed = SSL_session_reused(t->ssl) == 1,
        .verified = SSL_get0_peer_certificate(t->ssl) != NULL &&
                    SSL_get_verify_mode(t->ssl) != SSL_VERIFY_NONE &&
                    SSL_get_verify_result(t->ssl) == X509_V_OK,
        .subject = x->subject,
        .names = x->names,
        .chain = x->chain,
    };
    return 0;
}
