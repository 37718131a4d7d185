/* SPDX-License-Identifier: MIT */
/*
 * What went wrong, as a code and a sentence that a person can act on.
 *
 * Floor 4. OpenSSL says it in a reason, in an alert's number, or (certificates) in a callback; the
 * peer that speaks something else altogether is known by its first bytes.
 *
 * Invariant: each function leaves OpenSSL's error queue empty.
 */
#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "tls/tls.h"

void weft__tls_errors_clear(void)
{
    if (ERR_peek_error() != 0) /* clearing takes long, also when there is nothing */
        ERR_clear_error();
}

int weft__tls_fail_setup(const char *fmt, ...)
{
    char what[WEFT__TLS_DETAIL_MAX];
    va_list ap;
    unsigned long e = ERR_peek_last_error();
    const char *reason = e != 0 ? ERR_reason_error_string(e) : NULL;
    int err = e != 0 && ERR_GET_REASON(e) == ERR_R_MALLOC_FAILURE ? -ENOMEM : -EINVAL;
    va_start(ap, fmt);
    (void)vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    weft__error_detail("%s%s%s", what, reason != NULL ? ": " : "", reason != NULL ? reason : "");
    ERR_clear_error();
    return err;
}

/* --- Certificates ---------------------------------------------------------------------------- */

static void tell(char *why, int error, int depth, X509 *cert, const char *host, int shown)
{
    char subject[96] = "?", issuer[96] = "?", text[120] = "";
    if (cert != NULL) {
        weft__tls_name_text(X509_get_subject_name(cert), subject, sizeof subject);
        weft__tls_name_text(X509_get_issuer_name(cert), issuer, sizeof issuer);
    }
    switch (error) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
        weft__tls_time_text(X509_get0_notAfter(cert), text, sizeof text);
        (void)snprintf(why, WEFT__TLS_DETAIL_MAX, "the certificate of %s expired on %s", subject,
                       text);
        break;
    case X509_V_ERR_CERT_NOT_YET_VALID:
        weft__tls_time_text(X509_get0_notBefore(cert), text, sizeof text);
        (void)snprintf(why, WEFT__TLS_DETAIL_MAX, "the certificate of %s is valid from %s on only",
                       subject, text);
        break;
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
        weft__tls_names_text(cert, text, sizeof text);
        if (text[0] != '\0')
            (void)snprintf(why, WEFT__TLS_DETAIL_MAX,
                           "the certificate is not for '%s': it is for %s", host, text);
        else
            (void)snprintf(why, WEFT__TLS_DETAIL_MAX,
                           "the certificate is not for '%s': that of %s has no alternative names, "
                           "and the common name does not count",
                           host, subject);
        break;
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
        (void)snprintf(why, WEFT__TLS_DETAIL_MAX,
                       "the certificate of %s is self-signed, and not among the trusted ones",
                       subject);
        break;
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
        (void)snprintf(why, WEFT__TLS_DETAIL_MAX,
                       "unknown issuer: the chain ends at %s, which is not among the trusted ones",
                       subject);
        break;
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
        (void)snprintf(
            why, WEFT__TLS_DETAIL_MAX,
            "unknown issuer: %s issued the certificate of %s, and is neither trusted nor "
            "among the %d that were sent (a missing piece of the chain?)",
            issuer, subject, shown);
        break;
    case X509_V_ERR_CERT_REVOKED:
        (void)snprintf(why, WEFT__TLS_DETAIL_MAX, "the certificate of %s is revoked by %s", subject,
                       issuer);
        break;
    case X509_V_ERR_UNABLE_TO_GET_CRL:
        (void)snprintf(why, WEFT__TLS_DETAIL_MAX,
                       "no revocation list of %s, who issued the certificate of %s, was given",
                       issuer, subject);
        break;
    case X509_V_ERR_CRL_HAS_EXPIRED:
        (void)snprintf(
            why, WEFT__TLS_DETAIL_MAX,
            "the revocation list of %s, who issued the certificate of %s, is out of date", issuer,
            subject);
        break;
    default:
        (void)snprintf(why, WEFT__TLS_DETAIL_MAX, "the certificate of %s (number %d): %s", subject,
                       depth, X509_verify_cert_error_string(error));
        break;
    }
}

int weft__tls_verify(int ok, X509_STORE_CTX *store)
{
    SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    struct weft__tls_stream *t = weft__tls_of_ssl(ssl);
    if (ok || t->why == NULL || t->why[0] != '\0')
        return ok;
    STACK_OF(X509) *shown = X509_STORE_CTX_get0_untrusted(store);
    tell(t->why, X509_STORE_CTX_get_error(store), X509_STORE_CTX_get_error_depth(store),
         X509_STORE_CTX_get_current_cert(store), t->host != NULL ? t->host : "",
         shown != NULL ? sk_X509_num(shown) : 0);
    return ok;
}

/* --- Handshakes and records ------------------------------------------------------------------ */

/* Whether the peer began with something that is no TLS record. */
static bool is_foreign(const struct weft__tls_stream *t)
{
    return t->n_first_in > 0 && (t->first_in[0] < 20 || t->first_in[0] > 23 ||
                                 (t->n_first_in > 1 && t->first_in[1] != 3));
}

static int fail_foreign(const struct weft__tls_stream *t)
{
    char text[sizeof t->first_in + 1];
    size_t n = t->n_first_in;
    for (size_t i = 0; i < n; i++)
        text[i] = t->first_in[i] >= 0x20 && t->first_in[i] < 0x7f ? (char)t->first_in[i] : '?';
    text[n] = '\0';
    return weft__fail(WEFT_ETLS, "the peer does not speak TLS: it began with \"%s\"", text);
}

static const char *version_name(int version)
{
    switch (version) {
    case SSL3_VERSION:
        return "SSL 3.0";
    case TLS1_VERSION:
        return "TLS 1.0";
    case TLS1_1_VERSION:
        return "TLS 1.1";
    case TLS1_2_VERSION:
        return "TLS 1.2";
    default:
        return "TLS 1.3";
    }
}

static int fail_version(const struct weft__tls_stream *t)
{
    int least = (int)SSL_get_min_proto_version(t->ssl),
        most = (int)SSL_get_max_proto_version(t->ssl);
    int theirs = t->server ? SSL_client_version(t->ssl) : 0;
    return weft__fail(WEFT_ETLS, "no version in common: this side speaks %s to %s%s%s",
                      version_name(least), version_name(most),
                      theirs != 0 ? ", the peer at most " : "",
                      theirs != 0 ? version_name(theirs) : "");
}

static int fail_alert(int alert)
{
    const char *text = SSL_alert_desc_string_long(alert);
    switch (alert) {
    case SSL_AD_BAD_CERTIFICATE:
    case SSL_AD_UNSUPPORTED_CERTIFICATE:
    case SSL_AD_CERTIFICATE_REVOKED:
    case SSL_AD_CERTIFICATE_EXPIRED:
    case SSL_AD_CERTIFICATE_UNKNOWN:
    case SSL_AD_UNKNOWN_CA:
    case SSL_AD_ACCESS_DENIED:
    case TLS13_AD_CERTIFICATE_REQUIRED:
        return weft__fail(WEFT_ECERTIFICATE,
                          "the peer refused our certificate, or the lack of one:"
                          " %s (alert %d)",
                          text, alert);
    case SSL_AD_PROTOCOL_VERSION:
        return weft__fail(WEFT_ETLS, "the peer refused: no version in common (alert %d)", alert);
    case SSL_AD_HANDSHAKE_FAILURE:
        return weft__fail(WEFT_ETLS,
                          "the peer refused: handshake failure, mostly no cipher in common (alert "
                          "%d)",
                          alert);
    case SSL_AD_NO_APPLICATION_PROTOCOL:
        return weft__fail(WEFT_ETLS,
                          "the peer refused: no application protocol (ALPN) in common (alert %d)",
                          alert);
    case SSL_AD_UNRECOGNIZED_NAME:
        return weft__fail(WEFT_ETLS,
                          "the peer refused: it has no certificate for that name (alert "
                          "%d)",
                          alert);
    default:
        return weft__fail(WEFT_ETLS, "the peer refused: %s (alert %d)", text, alert);
    }
}

static int fail_reason(struct weft__tls_stream *t, int reason, const char *text)
{
    switch (reason) {
    case ERR_R_MALLOC_FAILURE:
        return -ENOMEM;
    case SSL_R_CERTIFICATE_VERIFY_FAILED:
        return weft__fail(WEFT_ECERTIFICATE, "%s",
                          t->why != NULL && t->why[0] != '\0' ? t->why : text);
    case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
        return weft__fail(WEFT_ECERTIFICATE, "the client has shown no certificate");
    case SSL_R_NO_SHARED_CIPHER:
    case SSL_R_NO_CIPHERS_AVAILABLE:
        return weft__fail(WEFT_ETLS, "no cipher in common with the peer");
    case SSL_R_NO_APPLICATION_PROTOCOL:
        return weft__fail(WEFT_ETLS, "no application protocol (ALPN) in common with the peer");
    case SSL_R_UNSUPPORTED_PROTOCOL:
    case SSL_R_WRONG_SSL_VERSION:
    case SSL_R_VERSION_TOO_LOW:
        return fail_version(t);
    case SSL_R_CALLBACK_FAILED: /* the servername callback's, with strict_sni */
        return weft__fail(WEFT_ETLS, "the peer asks for a name that no certificate here has");
    case SSL_R_UNEXPECTED_EOF_WHILE_READING:
        return WEFT_EEOF;
    default:
        if (reason > SSL_AD_REASON_OFFSET && reason < SSL_AD_REASON_OFFSET + 256)
            return fail_alert(reason - SSL_AD_REASON_OFFSET);
        return weft__fail(WEFT_ETLS, "%s", text);
    }
}

int weft__tls_fail(struct weft__tls_stream *t, bool handshake)
{
    unsigned long e = ERR_peek_error();
    const char *text = e != 0 ? ERR_reason_error_string(e) : NULL;
    bool no_memory = false;
    int err = 0;
    for (unsigned long each = ERR_get_error(); each != 0; each = ERR_get_error())
        no_memory |= ERR_GET_REASON(each) == ERR_R_MALLOC_FAILURE;
    if (t->out_error < 0)
        err = t->out_error;
    else if (no_memory)
        err = -ENOMEM;
    else if (handshake && is_foreign(t))
        err = fail_foreign(t);
    else
        err = fail_reason(t, e != 0 ? ERR_GET_REASON(e) : 0,
                          text != NULL ? text : "OpenSSL failed without a reason");
    return err;
}
