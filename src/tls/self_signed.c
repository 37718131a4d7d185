/* SPDX-License-Identifier: MIT */
/*
 * Certificates made on the spot, for tests and for trying things out on one machine.
 *
 * Floor 4. Invariant: the key is new each time and is nowhere but in the text that is handed out.
 */
#include <errno.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "tls/tls.h"

#define DAY_S (24L * 3600)
#define SLACK_S 3600L /* for clocks that are a little behind */

static bool add_extension(X509 *cert, int nid, const char *text)
{
    X509V3_CTX ctx;
    X509V3_set_ctx_nodb(&ctx);
    X509V3_set_ctx(&ctx, cert, cert, NULL, NULL, 0);
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &ctx, nid, text);
    bool ok = e != NULL && X509_add_ext(cert, e, -1);
    X509_EXTENSION_free(e);
    return ok;
}

/* RFC 5280, 4.1.2.2: positive, of at most 20 octets; this one is 8 and random. */
static bool set_serial(X509 *cert)
{
    uint64_t n = 0;
    return RAND_bytes((unsigned char *)&n, sizeof n) == 1 &&
           ASN1_INTEGER_set_uint64(X509_get_serialNumber(cert), n >> 1 | 1);
}

static bool fill(X509 *cert, EVP_PKEY *key, const char *names, int days)
{
    X509_NAME *name = X509_get_subject_name(cert);
    return X509_set_version(cert, 2) && set_serial(cert) &&
           X509_gmtime_adj(X509_getm_notBefore(cert), -SLACK_S) != NULL &&
           X509_gmtime_adj(X509_getm_notAfter(cert), days * DAY_S) != NULL &&
           X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
                                      (const unsigned char *)"made on the spot by Weft", -1, -1,
                                      0) &&
           X509_set_issuer_name(cert, name) && X509_set_pubkey(cert, key) &&
           add_extension(cert, NID_basic_constraints, "critical,CA:TRUE") &&
           add_extension(cert, NID_subject_alt_name, names) &&
           X509_sign(cert, key, EVP_sha256()) > 0;
}

/* The contents of a memory BIO as a text of ours. */
static char *text_of(BIO *bio)
{
    char *data, *text;
    long len = BIO_get_mem_data(bio, &data);
    if (len <= 0 || (text = weft__alloc((size_t)len + 1)) == NULL)
        return NULL;
    memcpy(text, data, (size_t)len);
    text[len] = '\0';
    return text;
}

int weft_tls_self_signed(char **ret, const char *names, int days)
{
    if (names == NULL)
        names = "DNS:localhost,IP:127.0.0.1,IP:::1";
    if (days < 0 || days > 3650)
        return weft__fail(-EINVAL, "%d days; 0 (for 30) to 3650 can be had", days);
    int err = weft__tls_init();
    if (err < 0)
        return err;
    weft__tls_errors_clear();
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *cert = X509_new();
    BIO *bio = BIO_new(BIO_s_mem());
    char *text = NULL;
    bool made = key != NULL && cert != NULL && bio != NULL;
    bool ok = made && fill(cert, key, names, days > 0 ? days : 30);
    if (made && !ok)
        err = weft__tls_fail_setup("a certificate for '%.80s'", names);
    else if (!made || !PEM_write_bio_X509(bio, cert) ||
             !PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) ||
             (text = text_of(bio)) == NULL)
        err = -ENOMEM;
    BIO_free(bio);
    X509_free(cert);
    EVP_PKEY_free(key);
    weft__tls_errors_clear();
    if (err < 0)
        return err;
    *ret = text;
    return 0;
}

void weft_tls_text_free(char **text)
{
    if (*text != NULL)
        OPENSSL_cleanse(*text, strlen(*text)); /* a key is in it */
    weft__free(*text);
    *text = NULL;
}
