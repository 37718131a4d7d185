/* SPDX-License-Identifier: MIT */
/*
 * TLS between two ends in one process: what is agreed on, what is refused and with which words,
 * clients' certificates, several certificates, reload. The conformance of secured streams is in the
 * stream tests, by the kit's makers.
 */
#include <openssl/ssl.h>

#include "net/stream.h"
#include "tls_meet.h"

/* --- Facts ----------------------------------------------------------------------------------- */

static int facts(void *arg)
{
    (void)arg;
    struct weft_tls *server = tls_kit_server("server"), *client = tls_kit_client();
    struct meeting m = meet(client, server, "server.test");
    CHECK_EQ(m.client.result, 0);
    CHECK_EQ(m.server.result, 0);
    talk(&m);
    struct weft_tls_info c = info_of(m.client.s), s = info_of(m.server.s);
    CHECK(strcmp(c.version, "TLSv1.3") == 0 && strcmp(s.version, "TLSv1.3") == 0);
    CHECK(strncmp(c.cipher, "TLS_", 4) == 0 && strcmp(c.cipher, s.cipher) == 0);
    CHECK(strcmp(c.sni, "server.test") == 0 && strcmp(s.sni, "server.test") == 0);
    CHECK(c.verified && !s.verified && !c.server && s.server && !c.resumed);
    CHECK(strcmp(c.subject, "CN=server.test") == 0 && s.subject[0] == '\0');
    CHECK(strcmp(c.names, "DNS:server.test, DNS:localhost, IP:127.0.0.1") == 0);
    CHECK(has(c.chain, "CN=server.test; issuer CN=Weft test root; from 20"));
    CHECK(c.alpn[0] == '\0' && s.chain[0] == '\0');
    struct weft_stream *plain = NULL, *other = NULL;
    CHECK_EQ(weft_socketpair(&plain, &other), 0);
    CHECK_EQ(weft_tls_info(plain, &c), -EOPNOTSUPP);
    weft_abort(&plain);
    weft_abort(&other);
    size_t n;
    CHECK_EQ(weft_stream_detach(&m.client.s, NULL, 0, &n, WEFT_NEVER), -EOPNOTSUPP);
    CHECK(m.client.s != NULL);
    weft_tls_close(&client); /* the streams hold what they need */
    weft_tls_close(&server);
    CHECK(client == NULL);
    talk(&m);
    part(&m);
    return 0;
}

static int versions(void *arg)
{
    (void)arg;
    struct weft_tls_certificate cert = tls_kit_cert("server.pem", "server.key");
    struct weft_tls_options so = {.certificates = &cert, .n_certificates = 1};
    struct weft_tls_options co = {.ca = tls_kit_file("ca.pem")};
    so.max_version = WEFT_TLS_1_2;
    struct weft_tls *server = tls_kit_open(&so), *client = tls_kit_open(&co);
    struct meeting m = meet(client, server, "localhost");
    CHECK_EQ(m.client.result, 0);
    CHECK(strcmp(info_of(m.client.s).version, "TLSv1.2") == 0);
    talk(&m);
    part(&m);
    weft_tls_close(&client);
    co.min_version = WEFT_TLS_1_3;
    client = tls_kit_open(&co);
    m = meet(client, server, "localhost");
    CHECK_EQ(m.client.result, WEFT_ETLS);
    CHECK_EQ(m.server.result, WEFT_ETLS);
    CHECK(has(m.client.detail, "no version in common"));
    CHECK(has(m.server.detail, "no version in common: this side speaks TLS 1.2 to TLS 1.2"));
    part(&m);
    weft_tls_close(&client);
    weft_tls_close(&server);
    co.min_version = WEFT_TLS_1_3;
    co.max_version = WEFT_TLS_1_2;
    CHECK_EQ(weft_tls_open(&client, &co), -EINVAL);
    co.min_version = (enum weft_tls_version)0x0301;
    CHECK_EQ(weft_tls_open(&client, &co), -EINVAL);
    CHECK(client == NULL);
    return 0;
}

static int alpn(void *arg)
{
    static const struct {
        const char *client, *server, *agreed; /* NULL: refused */
    } cases[] = {
        {"h2,http/1.1", "http/1.1", "http/1.1"},
        {"h2,http/1.1", "http/1.1,h2", "http/1.1"},
        {"h2", "http/1.1", NULL},
        {"h2", "", ""},
        {"", "h2", ""},
    };
    (void)arg;
    struct weft_tls_certificate cert = tls_kit_cert("server.pem", "server.key");
    for (size_t i = 0; i < WEFT__ARRAY_LEN(cases); i++) {
        struct weft_tls_options so = {
            .certificates = &cert, .n_certificates = 1, .alpn = cases[i].server};
        struct weft_tls_options co = {.ca = tls_kit_file("ca.pem"), .alpn = cases[i].client};
        struct weft_tls *server = tls_kit_open(&so), *client = tls_kit_open(&co);
        struct meeting m = meet(client, server, "server.test");
        if (cases[i].agreed != NULL) {
            CHECK_EQ(m.client.result, 0);
            CHECK(strcmp(info_of(m.client.s).alpn, cases[i].agreed) == 0);
            CHECK(strcmp(info_of(m.server.s).alpn, cases[i].agreed) == 0);
        } else {
            CHECK_EQ(m.client.result, WEFT_ETLS);
            CHECK(has(m.client.detail, "ALPN"));
            CHECK_EQ(m.server.result, WEFT_ETLS);
            CHECK(has(m.server.detail, "ALPN"));
        }
        part(&m);
        weft_tls_close(&client);
        weft_tls_close(&server);
    }
    struct weft_tls *none = NULL;
    CHECK_EQ(weft_tls_open(&none, &(struct weft_tls_options){.alpn = "h2,,x"}), -EINVAL);
    return 0;
}

/* --- Refusals -------------------------------------------------------------------------------- */

static int refusals(void *arg)
{
    static const struct {
        const char *server, *host, *words;
    } cases[] = {
        {"server", "wrong.test",
         "not for 'wrong.test': it is for DNS:server.test, DNS:localhost, IP:127.0.0.1"},
        {"server", "127.0.0.2", "not for '127.0.0.2'"},
        {"expired", "server.test", "the certificate of CN=server.test expired on 20"},
        {"self", "server.test", "CN=server.test is self-signed"},
        {"stranger", "server.test", "unknown issuer: CN=Another root issued"},
        {"deep", "deep.test",
         "unknown issuer: CN=Weft test intermediate issued the certificate of "
         "CN=deep.test, and is neither trusted nor among the 1"},
    };
    (void)arg;
    struct weft_tls *client = tls_kit_client();
    for (size_t i = 0; i < WEFT__ARRAY_LEN(cases); i++) {
        struct weft_tls *server = tls_kit_server(cases[i].server);
        struct meeting m = meet(client, server, cases[i].host);
        CHECK_EQ(m.client.result, WEFT_ECERTIFICATE);
        CHECK(has(m.client.detail, cases[i].words));
        CHECK_EQ(m.server.result, WEFT_ECERTIFICATE);
        CHECK(has(m.server.detail, "the peer refused our certificate"));
        part(&m);
        weft_tls_close(&server);
    }
    struct weft_tls *server = tls_kit_server("server");
    struct meeting m = meet(client, server, NULL);
    CHECK_EQ(m.client.result, -EINVAL);
    part(&m);
    m = meet(client, server, "127.0.0.1"); /* an address that the certificate has */
    CHECK_EQ(m.client.result, 0);
    CHECK(info_of(m.server.s).sni[0] == '\0'); /* RFC 6066, 3: no addresses there */
    part(&m);
    weft_tls_close(&client);
    client = tls_kit_open(&(struct weft_tls_options){.insecure_no_verify = true});
    m = meet(client, server, "wrong.test");
    CHECK_EQ(m.client.result, 0);
    CHECK(!info_of(m.client.s).verified);
    part(&m);
    weft_tls_close(&client);
    client = tls_kit_open(
        &(struct weft_tls_options){.ca = tls_kit_file("ca.pem"), .insecure_any_host = true});
    m = meet(client, server, NULL);
    CHECK_EQ(m.client.result, 0);
    CHECK(info_of(m.client.s).verified);
    part(&m);
    weft_tls_close(&client);
    weft_tls_close(&server);
    return 0;
}

/* A failed handshake leaves the plain stream, to be closed; the system's store knows no test root.
 */
static int failed_handshake(void *arg)
{
    (void)arg;
    struct weft_tls *server = tls_kit_server("server");
    struct meeting m = {.client = {.host = "server.test", .keep = true},
                        .server = {.tls = server, .keep = true}};
    CHECK_EQ(weft_socketpair(&m.client.s, &m.server.s), 0);
    struct weft_stream *before = m.client.s;
    tls_kit_shake(&m.client, &m.server);
    CHECK_EQ(m.client.result, WEFT_ECERTIFICATE);
    CHECK(has(m.client.detail, "unknown issuer"));
    CHECK(m.client.s == before);
    CHECK_EQ(weft_write(m.client.s, "x", 1, WEFT_NEVER), WEFT_EPOISONED);
    CHECK_EQ(weft_close(&m.client.s, WEFT_NEVER), WEFT_EPOISONED);
    weft_abort(&m.server.s);
    struct weft_stream *a = NULL, *b = NULL;
    CHECK_EQ(weft_socketpair(&a, &b), 0);
    CHECK_EQ(weft_tls_accept(&a, NULL, WEFT_NEVER), -EINVAL);
    CHECK_EQ(weft_tls_accept(&a, server, weft_after_ms(10)), -ETIMEDOUT);
    CHECK_EQ(weft_write(a, "x", 1, WEFT_NEVER), 0); /* nothing had been said */
    CHECK_EQ(weft_close(&b, WEFT_NEVER), 0);
    CHECK_EQ(weft_tls_accept(&a, server, weft_after_s(60)), WEFT_EEOF);
    CHECK(has(weft_error_detail(), "hung up during the handshake, without a word"));
    weft_abort(&a);
    weft_tls_close(&server);
    return 0;
}

/* A peer that says goodbye instead of shaking hands hangs up, too. */
static int goodbye(void *arg)
{
    static const char close_notify[] = "\x15\x03\x03\x00\x02\x01\x00";
    char hello[4096];
    (void)arg;
    struct weft_tls *server = tls_kit_server("server"), *client = tls_kit_client();
    for (int i = 0; i < 2; i++) {
        struct weft_stream *s = NULL, *peer = NULL;
        CHECK_EQ(weft_socketpair(&s, &peer), 0);
        if (i == 1)
            CHECK_EQ(weft_write(peer, hello, (size_t)hello_for("server.test", hello, sizeof hello),
                                WEFT_NEVER),
                     0);
        CHECK_EQ(weft_write(peer, close_notify, 7, WEFT_NEVER), 0);
        CHECK_EQ(weft_flush(peer, WEFT_NEVER), 0);
        int err = i == 0 ? weft_tls_connect(&s, client, "server.test", weft_after_s(60))
                         : weft_tls_accept(&s, server, weft_after_s(60));
        CHECK_EQ(err, WEFT_EEOF);
        CHECK(has(weft_error_detail(), "the peer ended the connection during the handshake"));
        CHECK_EQ(ERR_peek_error(), 0);
        weft_abort(&s);
        weft_abort(&peer);
    }
    weft_tls_close(&client);
    weft_tls_close(&server);
    return 0;
}

struct babbler {
    struct weft_stream *s;
    const char *text;
};

static int babble(void *arg)
{
    struct babbler *b = arg;
    char buf[512];
    CHECK_EQ(weft_write(b->s, b->text, strlen(b->text), WEFT_NEVER), 0);
    CHECK_EQ(weft_flush(b->s, WEFT_NEVER), 0);
    while (weft_read(b->s, buf, sizeof buf, weft_after_s(60)) > 0) {
    }
    weft_abort(&b->s);
    return 0;
}

static int not_tls(void *arg)
{
    (void)arg;
    struct weft_tls *server = tls_kit_server("server"), *client = tls_kit_client();
    for (int i = 0; i < 2; i++) {
        struct weft_stream *s = NULL;
        struct babbler b = {.text = i == 0 ? "220 mail.test ESMTP ready\r\n"
                                           : "GET / HTTP/1.1\r\n\r\n"};
        struct weft_group *g = kit_group();
        CHECK_EQ(weft_socketpair(&s, &b.s), 0);
        kit_go(g, "plain", babble, &b);
        int err = i == 0 ? weft_tls_connect(&s, client, "server.test", weft_after_s(60))
                         : weft_tls_accept(&s, server, weft_after_s(60));
        CHECK_EQ(err, WEFT_ETLS);
        CHECK(has(weft_error_detail(), i == 0 ? "does not speak TLS: it began with \"220 "
                                              : "does not speak TLS: it began with \"GET "));
        weft_abort(&s);
        CHECK_EQ(weft_group_close(&g), 0);
    }
    weft_tls_close(&client);
    weft_tls_close(&server);
    return 0;
}

/* An end without close_notify is an error, and stays one. */
static int truncated(void *arg)
{
    (void)arg;
    struct weft_tls *server = tls_kit_server("server"), *client = tls_kit_client();
    struct meeting m = meet(client, server, "server.test");
    char buf[8];
    CHECK_EQ(weft_write(m.server.s, "half", 4, WEFT_NEVER), 0);
    CHECK_EQ(weft_flush(m.server.s, WEFT_NEVER), 0);
    weft_abort(&m.server.s); /* on a Unix socket: an end, and no reset */
    CHECK_EQ(weft_read(m.client.s, buf, sizeof buf, weft_after_s(60)), 4);
    CHECK_EQ(weft_read(m.client.s, buf, sizeof buf, weft_after_s(60)), WEFT_EEOF);
    CHECK(has(weft_error_detail(), "without close_notify"));
    CHECK_EQ(weft_read(m.client.s, buf, sizeof buf, weft_after_s(60)), WEFT_EEOF);
    part(&m);
    weft_tls_close(&client);
    weft_tls_close(&server);
    return 0;
}

/* Bytes on the wire that were changed: both directions end. */
static int damaged(void *arg)
{
    (void)arg;
    struct weft_tls *server = tls_kit_server("server"), *client = tls_kit_client();
    struct meeting m = meet(client, server, "server.test");
    static const char record[] = "\x17\x03\x03\x00\x14twenty wrong bytes..";
    char buf[8];
    talk(&m);
    CHECK_EQ(send(weft_stream_fd(m.server.s), record, 25, MSG_NOSIGNAL), 25);
    CHECK_EQ(weft_read(m.client.s, buf, sizeof buf, weft_after_s(60)), WEFT_ETLS);
    CHECK(has(weft_error_detail(), "bad record"));
    CHECK_EQ(weft_write(m.client.s, "x", 1, WEFT_NEVER), WEFT_ETLS);
    CHECK_EQ(weft_close(&m.client.s, weft_after_s(60)), WEFT_ETLS);
    CHECK_EQ(weft_read(m.server.s, buf, sizeof buf, weft_after_s(60)), WEFT_ETLS);
    CHECK(has(weft_error_detail(), "bad record mac (alert 20)"));
    part(&m);
    weft_tls_close(&client);
    weft_tls_close(&server);
    return 0;
}

/* --- Clients' certificates ------------------------------------------------------------------- */

static struct meeting with_client(enum weft_tls_client want, const char *name)
{
    char chain[32], key[32];
    struct weft_tls_certificate cert = tls_kit_cert("server.pem", "server.key"), own;
    struct weft_tls_options so = {
        .certificates = &cert, .n_certificates = 1, .ca = tls_kit_file("ca.pem"), .client = want};
    struct weft_tls_options co = {.ca = tls_kit_file("ca.pem")};
    if (name != NULL) {
        (void)snprintf(chain, sizeof chain, "%s.pem", name);
        (void)snprintf(key, sizeof key, "%s.key", name);
        own = tls_kit_cert(chain, key);
        co.certificates = &own;
        co.n_certificates = 1;
    }
    struct weft_tls *server = tls_kit_open(&so), *client = tls_kit_open(&co);
    struct meeting m = meet(client, server, "server.test");
    weft_tls_close(&client);
    weft_tls_close(&server);
    return m;
}

static int client_certificates(void *arg)
{
    char buf[8];
    (void)arg;
    struct meeting m = with_client(WEFT_TLS_CLIENT_REQUIRED, "client");
    CHECK_EQ(m.server.result, 0);
    struct weft_tls_info i = info_of(m.server.s);
    CHECK(i.verified && strcmp(i.subject, "CN=a client") == 0);
    CHECK(strcmp(i.names, "DNS:client.test, email:client@client.test") == 0);
    talk(&m);
    part(&m);
    m = with_client(WEFT_TLS_CLIENT_OPTIONAL, NULL);
    CHECK_EQ(m.server.result, 0);
    CHECK(!info_of(m.server.s).verified);
    part(&m);
    m = with_client(WEFT_TLS_CLIENT_REQUIRED, NULL);
    CHECK_EQ(m.server.result, WEFT_ECERTIFICATE);
    CHECK(has(m.server.detail, "the client has shown no certificate"));
    CHECK_EQ(m.client.result, 0); /* in TLS 1.3 it cannot know yet */
    CHECK_EQ(weft_read(m.client.s, buf, sizeof buf, weft_after_s(60)), WEFT_ECERTIFICATE);
    CHECK(has(weft_error_detail(), "or the lack of one"));
    part(&m);
    m = with_client(WEFT_TLS_CLIENT_OPTIONAL, "bad_client");
    CHECK_EQ(m.server.result, WEFT_ECERTIFICATE);
    CHECK(has(m.server.detail, "unknown issuer: CN=Another root"));
    part(&m);
    struct weft_tls *none = NULL;
    CHECK_EQ(weft_tls_open(&none, &(struct weft_tls_options){.client = WEFT_TLS_CLIENT_REQUIRED}),
             -EINVAL);
    return 0;
}

/* --- Revocation ------------------------------------------------------------------------------ */

static int revoked(void *arg)
{
    static const struct {
        const char *crl, *server, *host, *words; /* words NULL: it is let in */
    } cases[] = {
        {"ca.crl", "server", "server.test", NULL},
        {"ca.crl", "revoked", "server.test",
         "the certificate of CN=server.test is revoked by CN=Weft test root"},
        {"ca.crl", "deep_chain", "deep.test",
         "no revocation list of CN=Weft test intermediate, who issued the certificate of "
         "CN=deep.test"},
        {"both.crl", "deep_chain", "deep.test", NULL},
        {"old.crl", "server", "server.test",
         "the revocation list of CN=Weft test root, who issued the certificate of CN=server.test, "
         "is out of date"},
    };
    (void)arg;
    for (size_t i = 0; i < WEFT__ARRAY_LEN(cases); i++) {
        char chain[32], key[32];
        (void)snprintf(chain, sizeof chain, "%s.pem", cases[i].server);
        (void)snprintf(key, sizeof key, "%s.key", i == 2 || i == 3 ? "deep" : cases[i].server);
        struct weft_tls_certificate cert = tls_kit_cert(chain, key);
        struct weft_tls *server =
            tls_kit_open(&(struct weft_tls_options){.certificates = &cert, .n_certificates = 1});
        struct weft_tls *client = tls_kit_open(&(struct weft_tls_options){
            .ca = tls_kit_file("ca.pem"), .crl = tls_kit_file(cases[i].crl)});
        struct meeting m = meet(client, server, cases[i].host);
        CHECK_EQ(m.client.result, cases[i].words == NULL ? 0 : WEFT_ECERTIFICATE);
        if (cases[i].words != NULL)
            CHECK(has(m.client.detail, cases[i].words));
        part(&m);
        weft_tls_close(&client);
        weft_tls_close(&server);
    }
    struct weft_tls *none = NULL;
    CHECK_EQ(weft_tls_open(&none, &(struct weft_tls_options){.crl = tls_kit_file("ca.pem")}),
             -EINVAL);
    CHECK(has(weft_error_detail(), "no revocation list in"));
    return 0;
}

/* --- Several certificates, reload ------------------------------------------------------------ */

static const char *subject_for(struct weft_tls *client, struct weft_tls *server, const char *host)
{
    static char subject[512];
    struct meeting m = meet(client, server, host);
    (void)snprintf(subject, sizeof subject, "%s",
                   m.client.result == 0 ? info_of(m.client.s).subject : m.client.detail);
    part(&m);
    return subject;
}

static int by_name(void *arg)
{
    (void)arg;
    struct weft_tls_certificate certs[] = {
        tls_kit_cert("server.pem", "server.key"), tls_kit_cert("wild.pem", "wild.key"),
        tls_kit_cert("exact.pem", "exact.key"), tls_kit_cert("deep_chain.pem", "deep.key")};
    struct weft_tls_options o = {.certificates = certs, .n_certificates = 4};
    struct weft_tls *server = tls_kit_open(&o), *client = tls_kit_client();
    CHECK(strcmp(subject_for(client, server, "server.test"), "CN=server.test") == 0);
    CHECK(strcmp(subject_for(client, server, "b.wild.test"), "CN=wild.test") == 0);
    CHECK(strcmp(subject_for(client, server, "a.wild.test"), "CN=exact") == 0);
    CHECK(strcmp(subject_for(client, server, "exact.test."), "CN=wild.test") == 0);
    CHECK(strcmp(subject_for(client, server, "deep.test"), "CN=deep.test") == 0);
    CHECK(
        has(subject_for(client, server, "none.test"), "not for 'none.test': it is for DNS:server"));
    weft_tls_close(&server);
    o.strict_sni = true;
    server = tls_kit_open(&o);
    CHECK(strcmp(subject_for(client, server, "deep.test"), "CN=deep.test") == 0);
    struct meeting m = meet(client, server, "none.test");
    CHECK_EQ(m.client.result, WEFT_ETLS);
    CHECK(has(m.client.detail, "it has no certificate for that name"));
    CHECK_EQ(m.server.result, WEFT_ETLS);
    CHECK(has(m.server.detail, "a name that no certificate here has"));
    part(&m);
    weft_tls_close(&server);
    weft_tls_close(&client);
    return 0;
}

static void copy_file(const char *from, const char *to)
{
    char command[400];
    (void)snprintf(command, sizeof command, "cp %s/%s %s/%s", tls_kit_dir, from, tls_kit_dir, to);
    CHECK_EQ(system(command), 0);
}

static int reload(void *arg)
{
    (void)arg;
    (void)tls_kit_file("ca.pem");
    copy_file("server.pem", "live.pem");
    copy_file("server.key", "live.key");
    struct weft_tls *server = tls_kit_server("live"), *client = tls_kit_client();
    struct meeting m = meet(client, server, "server.test");
    CHECK_EQ(m.client.result, 0);
    copy_file("wild.pem", "live.pem"); /* the key is still the old one's */
    CHECK_EQ(weft_tls_reload(server), -EINVAL);
    CHECK(has(weft_error_detail(), "is not that of the certificate"));
    CHECK(strcmp(subject_for(client, server, "localhost"), "CN=server.test") == 0);
    copy_file("wild.key", "live.key");
    CHECK_EQ(weft_tls_reload(server), 0);
    CHECK(strcmp(subject_for(client, server, "b.wild.test"), "CN=wild.test") == 0);
    talk(&m); /* what was there before goes on */
    part(&m);
    weft_tls_close(&server);
    weft_tls_close(&client);
    return 0;
}

static int (*const bodies[])(void *) = {facts, refusals, client_certificates, damaged, truncated};

/* All of it on plain threads, too. */
static void on_threads(const char *driver)
{
    if (strcmp(driver, "epoll") != 0)
        return;
    for (size_t i = 0; i < WEFT__ARRAY_LEN(bodies); i++)
        assert_int_equal(bodies[i](NULL), 0);
}

static const struct kit_case cases[] = {
    IN_TASK(facts),
    IN_TASK(versions),
    IN_TASK(alpn),
    IN_TASK(refusals),
    IN_TASK(failed_handshake),
    IN_TASK(goodbye),
    IN_TASK(not_tls),
    IN_TASK(truncated),
    IN_TASK(damaged),
    IN_TASK(client_certificates),
    IN_TASK(revoked),
    IN_TASK(by_name),
    IN_TASK(reload),
    ON_THREAD(on_threads),
};
KIT_MAIN(cases)
