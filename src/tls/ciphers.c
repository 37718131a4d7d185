/* SPDX-License-Identifier: MIT */
/*
 * Which ciphers a context speaks, and in which order.
 *
 * Floor 4. Invariant: none without forward secrecy, none that does not authenticate what it
 * encrypts, whatever the options say.
 */
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "tls/tls.h"

/* AES-128 first: as strong as the curves that its keys come from, and its handshakes cost less, as
 * SHA-256 costs less than SHA-384. */
#define CIPHERS_1_3 "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
#define CIPHERS_1_2                                                                                \
    "ECDHE+AES128+AESGCM:ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AES128+AESGCM:DHE+AESGCM:DHE+CHACHA20"

/* Names of a list with colons, those of TLS 1.3 and the others apart. */
struct lists {
    char *suites, *older;
};

static const SSL_CIPHER *find(const SSL_CTX *ctx, const char *name, size_t len)
{
    const STACK_OF(SSL_CIPHER) *all = SSL_CTX_get_ciphers(ctx);
    for (int i = 0; i < sk_SSL_CIPHER_num(all); i++) {
        const SSL_CIPHER *c = sk_SSL_CIPHER_value(all, i);
        if (strlen(SSL_CIPHER_get_name(c)) == len && memcmp(SSL_CIPHER_get_name(c), name, len) == 0)
            return c;
    }
    return NULL;
}

/* to: has room for it and a colon. */
static void append(char *to, const char *name, size_t len)
{
    size_t at = strlen(to);
    if (at > 0)
        to[at++] = ':';
    memcpy(to + at, name, len);
    to[at + len] = '\0';
}

/* ctx: has all that can be had. l: each as long as names, and empty. */
static int sort(struct lists *l, const SSL_CTX *ctx, const char *names)
{
    for (const char *at = names;; at++) {
        size_t len = strcspn(at, ":");
        const SSL_CIPHER *c = find(ctx, at, len);
        if (c == NULL)
            return weft__fail(-EINVAL,
                              "ciphers: '%.*s' is not one of OpenSSL's names with forward secrecy "
                              "and authenticated encryption",
                              (int)(len < 80 ? len : 80), at);
        append(strcmp(SSL_CIPHER_get_version(c), "TLSv1.3") == 0 ? l->suites : l->older, at, len);
        at += len;
        if (*at == '\0')
            return 0;
    }
}

/* A version that has none in the lists is not spoken. */
static int use(SSL_CTX *ctx, const struct lists *l)
{
    if (l->suites[0] == '\0' && SSL_CTX_get_min_proto_version(ctx) > WEFT_TLS_1_2)
        return weft__fail(-EINVAL, "ciphers: none is of TLS 1.3, the lowest version asked for");
    if (l->older[0] == '\0' && SSL_CTX_get_max_proto_version(ctx) < WEFT_TLS_1_3)
        return weft__fail(-EINVAL, "ciphers: none is of TLS 1.2, the highest version asked for");
    bool ok = l->suites[0] != '\0' ? SSL_CTX_set_ciphersuites(ctx, l->suites)
                                   : SSL_CTX_set_max_proto_version(ctx, WEFT_TLS_1_2);
    ok = ok && (l->older[0] != '\0' ? SSL_CTX_set_cipher_list(ctx, l->older)
                                    : SSL_CTX_set_min_proto_version(ctx, WEFT_TLS_1_3));
    return ok ? 0 : weft__tls_fail_setup("ciphers");
}

int weft__tls_set_ciphers(SSL_CTX *ctx, const char *names)
{
    SSL_CTX_set_options(ctx, SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
    if (!SSL_CTX_set_cipher_list(ctx, CIPHERS_1_2) || !SSL_CTX_set_ciphersuites(ctx, CIPHERS_1_3))
        return weft__tls_fail_setup("ciphers");
    if (names == NULL)
        return 0;
    size_t size = strlen(names) + 1;
    struct lists l = {.suites = weft__calloc(2, size)};
    if (l.suites == NULL)
        return -ENOMEM;
    l.older = l.suites + size;
    int err = sort(&l, ctx, names);
    if (err == 0)
        err = use(ctx, &l);
    weft__free(l.suites);
    return err;
}
