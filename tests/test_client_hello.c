/* SPDX-License-Identifier: MIT */
/*
 * What a client's first record says, by the hellos of a real client: with every version, and every
 * way to go on with a session.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>

#include "tls_kit.h"
#include "wire/client_hello.h"

struct record {
    uint8_t *data; /* just as large: a byte beyond is a fault under ASan and valgrind */
    size_t len;
};

static struct record record_of(const void *data, size_t len)
{
    struct record r = {malloc(len), len};
    assert_non_null(r.data);
    memcpy(r.data, data, len);
    return r;
}

/* --- A client and a server, in memory --------------------------------------------------------- */

struct pair {
    SSL_CTX *client, *server;
};

static struct pair pair_open(int version, long options)
{
    struct pair p = {SSL_CTX_new(TLS_client_method()), SSL_CTX_new(TLS_server_method())};
    assert_true(p.client != NULL && p.server != NULL);
    assert_int_equal(SSL_CTX_set_max_proto_version(p.client, version), 1);
    SSL_CTX_set_options(p.client, (uint64_t)options);
    SSL_CTX_set_options(p.server, (uint64_t)options);
    SSL_CTX_set_session_cache_mode(p.client, SSL_SESS_CACHE_CLIENT);
    assert_int_equal(SSL_CTX_use_certificate_chain_file(p.server, tls_kit_file("server.pem")), 1);
    assert_int_equal(
        SSL_CTX_use_PrivateKey_file(p.server, tls_kit_file("server.key"), SSL_FILETYPE_PEM), 1);
    return p;
}

static void pair_close(struct pair *p)
{
    SSL_CTX_free(p->client);
    SSL_CTX_free(p->server);
}

static SSL *client_of(const struct pair *p, SSL_SESSION *session)
{
    SSL *c = SSL_new(p->client);
    BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
    assert_true(c != NULL && in != NULL && out != NULL);
    SSL_set_bio(c, in, out);
    SSL_set_connect_state(c);
    assert_int_equal(SSL_set_tlsext_host_name(c, "server.test"), 1);
    if (session != NULL)
        assert_int_equal(SSL_set_session(c, session), 1);
    return c;
}

static struct record hello_of(const struct pair *p, SSL_SESSION *session)
{
    SSL *c = client_of(p, session);
    char *data;
    assert_int_equal(SSL_do_handshake(c), -1);
    long len = BIO_get_mem_data(SSL_get_wbio(c), &data);
    assert_true(len > 0);
    struct record r = record_of(data, (size_t)len);
    SSL_free(c);
    return r;
}

/* A session that a client may go on with. */
static SSL_SESSION *session_of(const struct pair *p)
{
    SSL *c = client_of(p, NULL), *s = SSL_new(p->server);
    assert_non_null(s);
    assert_int_equal(BIO_up_ref(SSL_get_rbio(c)) + BIO_up_ref(SSL_get_wbio(c)), 2);
    SSL_set_bio(s, SSL_get_wbio(c), SSL_get_rbio(c));
    SSL_set_accept_state(s);
    for (int i = 0; i < 4; i++) {
        (void)SSL_do_handshake(c);
        (void)SSL_do_handshake(s);
    }
    assert_true(SSL_is_init_finished(c) && SSL_is_init_finished(s));
    char byte;
    assert_int_equal(SSL_read(c, &byte, 1), -1); /* takes the tickets */
    SSL_SESSION *session = SSL_get1_session(c);
    assert_true(session != NULL && SSL_SESSION_is_resumable(session));
    SSL_set_shutdown(c, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN); /* else it is of no more use */
    SSL_set_shutdown(s, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    SSL_free(c);
    SSL_free(s);
    return session;
}

/* --- Tests ------------------------------------------------------------------------------------ */

static void check(struct record r, bool resumes)
{
    assert_int_equal(weft__client_hello_need(r.data, r.len), r.len);
    for (size_t n = 1; n < r.len; n++) {
        struct record part = record_of(r.data, n);
        assert_int_equal(weft__client_hello_need(part.data, n), n < 5 ? 5 : r.len);
        assert_false(weft__client_hello_resumes(part.data, n)); /* it may go on elsewhere */
        free(part.data);
    }
    assert_int_equal(weft__client_hello_resumes(r.data, r.len), resumes);
    free(r.data);
}

static void real_hellos(void **state)
{
    static const struct {
        int version;
        long options;
    } cases[] = {
        {TLS1_3_VERSION, 0},
        {TLS1_3_VERSION, SSL_OP_NO_TICKET},
        {TLS1_2_VERSION, 0},
        {TLS1_2_VERSION, SSL_OP_NO_TICKET}, /* by the session's number */
    };
    (void)state;
    for (size_t i = 0; i < WEFT__ARRAY_LEN(cases); i++) {
        struct pair p = pair_open(cases[i].version, cases[i].options);
        check(hello_of(&p, NULL), false);
        SSL_SESSION *session = session_of(&p);
        check(hello_of(&p, session), true);
        SSL_SESSION_free(session);
        pair_close(&p);
    }
}

/* From the time before there were extensions, with a session's number of so many bytes. */
static struct record old_hello(size_t id, size_t more)
{
    uint8_t b[128] = {22, 3, 1, 0, 0, 1, 0, 0, 0, 3, 3};
    size_t n = 5 + 4 + 2 + 32;
    b[n++] = (uint8_t)id;
    n += id;
    memcpy(b + n, "\0\2\x13\x01\1\0", 6); /* a cipher, no compression */
    n += 6 + more;
    b[4] = (uint8_t)(n - 5);
    b[8] = (uint8_t)(n - 9);
    return record_of(b, n);
}

static void made_by_hand(void **state)
{
    (void)state;
    check(old_hello(0, 0), false);
    check(old_hello(32, 0), true);
    check(old_hello(32, 1), false); /* half a length of extensions */
    check(old_hello(32, 2), true);  /* no extensions */
    struct record r = old_hello(32, 0);
    r.data[5] = 2; /* what a server says */
    check(r, false);
    static const struct {
        const char *first;
        size_t len, need;
    } cases[] = {
        {"\x16", 1, 5},
        {"\x16\x03", 2, 5},
        {"\x16\x03\x01\x40\x00", 5, 5 + 16384},
        {"\x16\x03\x01\x40\x01", 5, 0}, /* longer than a record may be */
        {"\x16\x03\x01\x00\x00", 5, 5},
        {"\x17\x03\x01\x00\x10", 5, 0},
        {"\x16\x02\x01\x00\x10", 5, 0},
        {"GET / HTTP/1.1\r\n", 16, 0},
        {"\0", 1, 0},
    };
    for (size_t i = 0; i < WEFT__ARRAY_LEN(cases); i++) {
        struct record c = record_of(cases[i].first, cases[i].len);
        assert_int_equal(weft__client_hello_need(c.data, c.len), cases[i].need);
        assert_false(weft__client_hello_resumes(c.data, c.len));
        free(c.data);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(real_hellos),
        cmocka_unit_test(made_by_hand),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
