/* SPDX-License-Identifier: MIT */
/*
 * Two ends of a secured connection in one process: what the tests of TLS do with them.
 */
#ifndef TLS_MEET_H
#define TLS_MEET_H

#include <openssl/err.h>
#include <openssl/ssl.h>

#include "tls_kit.h"

static inline bool has(const char *text, const char *part)
{
    bool found = strstr(text, part) != NULL;
    if (!found)
        (void)fprintf(stderr, "'%s' is not in '%s'\n", part, text);
    return found;
}

static inline struct weft_tls_info info_of(struct weft_stream *s)
{
    struct weft_tls_info i;
    CHECK_EQ(weft_tls_info(s, &i), 0);
    return i;
}

/* A handshake over a socketpair between two contexts; both results in the sides. */
struct meeting {
    struct tls_kit_side client, server;
};

static inline struct meeting meet(struct weft_tls *client, struct weft_tls *server,
                                  const char *host)
{
    struct meeting m = {.client = {.tls = client, .host = host}, .server = {.tls = server}};
    CHECK_EQ(weft_socketpair(&m.client.s, &m.server.s), 0);
    tls_kit_shake(&m.client, &m.server);
    CHECK_EQ(ERR_peek_error(), 0);
    return m;
}

/* One byte each way, so that tickets have come, too. */
static inline void talk(struct meeting *m)
{
    char c = 0;
    CHECK_EQ(weft_write(m->server.s, "s", 1, WEFT_NEVER), 0);
    CHECK_EQ(weft_flush(m->server.s, WEFT_NEVER), 0);
    CHECK_EQ(weft_read(m->client.s, &c, 1, weft_after_s(60)), 1);
    CHECK_EQ(c, 's');
    CHECK_EQ(weft_write(m->client.s, "c", 1, WEFT_NEVER), 0);
    CHECK_EQ(weft_flush(m->client.s, WEFT_NEVER), 0);
    CHECK_EQ(weft_read(m->server.s, &c, 1, weft_after_s(60)), 1);
    CHECK_EQ(c, 'c');
}

static inline void part(struct meeting *m)
{
    CHECK(weft_close(&m->client.s, weft_after_s(60)) <= 0);
    CHECK(weft_close(&m->server.s, weft_after_s(60)) <= 0);
    CHECK_EQ(ERR_peek_error(), 0);
}

/* What a client says first that asks for that name. */
static inline int hello_for(const char *name, char *buf, size_t cap)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    SSL *ssl = SSL_new(ctx);
    CHECK(ssl != NULL);
    SSL_set_bio(ssl, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
    SSL_set_connect_state(ssl);
    CHECK_EQ(SSL_set_tlsext_host_name(ssl, name), 1);
    CHECK(SSL_do_handshake(ssl) < 0);
    int len = BIO_read(SSL_get_wbio(ssl), buf, (int)cap);
    CHECK(len > 0 && (size_t)len < cap);
    SSL_free(ssl);
    SSL_CTX_free(ctx);
    ERR_clear_error();
    return len;
}

#endif
