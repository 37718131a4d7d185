/* SPDX-License-Identifier: MIT */
/*
 * Certificates and keys out of PEM: from files, by the library's own calls, or from text.
 *
 * Floor 4. Invariants: nobody is ever asked for a password on the terminal; a file is at most
 * FILE_MAX bytes; what was read of a key is wiped before its memory is given back.
 */
#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <string.h>

#include "base/alloc.h"
#include "sys/call_file.h"
#include "tls/tls.h"

#define FILE_MAX ((size_t)4 << 20)

struct text {
    char *data; /* allocated, or the caller's */
    size_t len;
    bool owned;
    const char *name; /* for the detail */
};

static void text_free(struct text *t)
{
    if (t->owned) {
        OPENSSL_cleanse(t->data, t->len);
        weft__free(t->data);
    }
}

static int text_read(struct text *ret, int fd, const char *path)
{
    int64_t size = weft__call_fstat_size(fd);
    if (size < 0)
        return (int)size;
    if ((uint64_t)size > FILE_MAX)
        return weft__fail(-EFBIG, "%s has %lld bytes; %zu are the most", path, (long long)size,
                          FILE_MAX);
    struct text t = {.data = weft__alloc((size_t)size), .owned = true, .name = path};
    ssize_t n = t.data != NULL ? 1 : -ENOMEM;
    while (n > 0 && t.len < (size_t)size) {
        n = weft__call_pread(fd, t.data + t.len, (size_t)size - t.len, (int64_t)t.len);
        t.len += n > 0 ? (size_t)n : 0;
    }
    if (n < 0) {
        text_free(&t);
        return (int)n;
    }
    *ret = t;
    return 0;
}

static bool is_text(const char *source)
{
    return strncmp(source, "-----BEGIN", 10) == 0;
}

const char *weft__tls_source_name(const char *source)
{
    return is_text(source) ? "the text given" : source;
}

static int text_open(struct text *ret, const char *source, const char *what)
{
    if (is_text(source)) {
        *ret = (struct text){.data = (char *)(uintptr_t)source,
                             .len = strlen(source),
                             .name = weft__tls_source_name(source)};
        return 0;
    }
    int fd = weft__call_open(source, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0)
        return weft__fail(fd, "%s: cannot open %s", what, source);
    int err = text_read(ret, fd, source);
    int closed = weft__call_close_file(fd);
    (void)closed; /* it was only read */
    return err;
}

static BIO *text_bio(const struct text *t)
{
    return BIO_new_mem_buf(t->data, (int)t->len);
}

/* Gives the password of the options; without one, decrypting fails. */
static int password(char *buf, int cap, int writing, void *arg)
{
    const char *text = arg;
    size_t len = text != NULL ? strlen(text) : 0;
    (void)writing;
    if (text == NULL || len > (size_t)cap)
        return -1;
    memcpy(buf, text, len);
    return (int)len;
}

/* Whether reading stopped because there is no more. */
static bool at_end(void)
{
    unsigned long e = ERR_peek_last_error();
    return ERR_GET_LIB(e) == ERR_LIB_PEM && ERR_GET_REASON(e) == PEM_R_NO_START_LINE;
}

static int read_chain(struct weft__tls_cert *c, const struct text *t)
{
    BIO *bio = text_bio(t);
    int err = bio != NULL ? 0 : -ENOMEM;
    weft__tls_errors_clear();
    if (err == 0 && (c->chain = sk_X509_new_null()) == NULL)
        err = -ENOMEM;
    while (err == 0) {
        X509 *x = PEM_read_bio_X509_AUX(bio, NULL, password, NULL);
        if (x == NULL) {
            if (c->leaf == NULL || !at_end())
                err = weft__tls_fail_setup("no certificate in %s", t->name);
            break;
        }
        if (c->leaf == NULL) {
            c->leaf = x;
        } else if (!sk_X509_push(c->chain, x)) {
            X509_free(x);
            err = -ENOMEM;
        }
    }
    weft__tls_errors_clear();
    BIO_free(bio);
    return err;
}

static int read_key(struct weft__tls_cert *c, const struct text *t, const char *secret)
{
    BIO *bio = text_bio(t);
    if (bio == NULL)
        return -ENOMEM;
    weft__tls_errors_clear();
    c->key = PEM_read_bio_PrivateKey(bio, NULL, password, (void *)(uintptr_t)secret);
    BIO_free(bio);
    if (c->key == NULL)
        return weft__tls_fail_setup("no key in %s%s", t->name,
                                    secret == NULL ? " that needs no password" : "");
    weft__tls_errors_clear();
    if (!X509_check_private_key(c->leaf, c->key))
        return weft__tls_fail_setup("the key in %s is not that of the certificate", t->name);
    weft__tls_errors_clear();
    return 0;
}

int weft__tls_load_cert(struct weft__tls_cert *ret, const struct weft_tls_certificate *from)
{
    struct weft__tls_cert c = {0};
    struct text chain = {0}, key = {0};
    if (from->chain == NULL)
        return weft__fail(-EINVAL, "a certificate without a chain");
    int err = text_open(&chain, from->chain, "certificate");
    if (err == 0)
        err = read_chain(&c, &chain);
    if (err == 0 && from->key != NULL)
        err = text_open(&key, from->key, "key");
    if (err == 0)
        err = read_key(&c, from->key != NULL ? &key : &chain, from->password);
    text_free(&chain);
    text_free(&key);
    if (err < 0) {
        weft__tls_free_cert(&c);
        return err;
    }
    *ret = c;
    return 0;
}

void weft__tls_free_cert(struct weft__tls_cert *c)
{
    X509_free(c->leaf);
    EVP_PKEY_free(c->key);
    sk_X509_pop_free(c->chain, X509_free);
    *c = (struct weft__tls_cert){0};
}

static int add_trusted(X509_STORE *store, X509 *x, STACK_OF(X509_NAME) * names)
{
    X509_NAME *name = X509_NAME_dup(X509_get_subject_name(x));
    if (name == NULL || !sk_X509_NAME_push(names, name)) {
        X509_NAME_free(name);
        return -ENOMEM;
    }
    return X509_STORE_add_cert(store, x) ? 0 : weft__tls_fail_setup("a certificate to trust");
}

int weft__tls_load_trust(X509_STORE *store, const char *source, STACK_OF(X509_NAME) * names)
{
    struct text t = {0};
    size_t n = 0;
    int err = text_open(&t, source, "certificates to trust");
    if (err < 0)
        return err;
    BIO *bio = text_bio(&t);
    err = bio != NULL ? 0 : -ENOMEM;
    weft__tls_errors_clear();
    while (err == 0) {
        X509 *x = PEM_read_bio_X509_AUX(bio, NULL, password, NULL);
        if (x == NULL) {
            if (n == 0 || !at_end())
                err = weft__tls_fail_setup("no certificate to trust in %s", t.name);
            break;
        }
        err = add_trusted(store, x, names);
        X509_free(x);
        n++;
    }
    weft__tls_errors_clear();
    BIO_free(bio);
    text_free(&t);
    return err;
}

int weft__tls_load_crls(X509_STORE *store, const char *source)
{
    struct text t = {0};
    size_t n = 0;
    int err = text_open(&t, source, "revocation list");
    if (err < 0)
        return err;
    BIO *bio = text_bio(&t);
    err = bio != NULL ? 0 : -ENOMEM;
    weft__tls_errors_clear();
    while (err == 0) {
        X509_CRL *list = PEM_read_bio_X509_CRL(bio, NULL, password, NULL);
        if (list == NULL) {
            if (n == 0 || !at_end())
                err = weft__tls_fail_setup("no revocation list in %s", t.name);
            break;
        }
        if (!X509_STORE_add_crl(store, list))
            err = weft__tls_fail_setup("a revocation list");
        X509_CRL_free(list);
        n++;
    }
    weft__tls_errors_clear();
    BIO_free(bio);
    text_free(&t);
    return err;
}
