/* SPDX-License-Identifier: MIT */
/*
 * Names in certificates, as a peer may have them who is out to be taken for another: which of them
 * count, and how they are shown. The certificates are made here, since no command makes such ones.
 */
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "tls_meet.h"

/* --- Certificates ---------------------------------------------------------------------------- */

struct name {
    int type; /* GEN_DNS ..., 0: there are no more */
    const char *bytes;
    size_t len;
};

#define NAME(type, text)                                                                           \
    {                                                                                              \
        type, text, sizeof(text) - 1                                                               \
    }

static void add_name(GENERAL_NAMES *to, const struct name *n)
{
    GENERAL_NAME *g = GENERAL_NAME_new();
    ASN1_STRING *value =
        ASN1_STRING_type_new(n->type == GEN_IPADD ? V_ASN1_OCTET_STRING : V_ASN1_IA5STRING);
    CHECK(g != NULL && value != NULL);
    CHECK_EQ(ASN1_STRING_set(value, n->bytes, (int)n->len), 1);
    GENERAL_NAME_set0_value(g, n->type, value);
    CHECK(sk_GENERAL_NAME_push(to, g) > 0);
}

/* A certificate that vouches for itself, with its key: the PEM text of both. */
static char *made_for(X509_NAME *subject, const struct name *names, EVP_PKEY *key)
{
    GENERAL_NAMES *all = sk_GENERAL_NAME_new_null();
    BASIC_CONSTRAINTS *authority = BASIC_CONSTRAINTS_new();
    BIO *bio = BIO_new(BIO_s_mem());
    X509 *x = X509_new();
    char *data, *text;
    CHECK(all != NULL && authority != NULL && bio != NULL && x != NULL && key != NULL);
    authority->ca = 1;
    for (; names != NULL && names->type != 0; names++)
        add_name(all, names);
    CHECK_EQ(X509_set_version(x, 2), 1);
    CHECK(X509_gmtime_adj(X509_getm_notBefore(x), -3600) != NULL);
    CHECK(X509_gmtime_adj(X509_getm_notAfter(x), 86400) != NULL);
    CHECK_EQ(X509_set_subject_name(x, subject), 1);
    CHECK_EQ(X509_set_issuer_name(x, subject), 1);
    CHECK_EQ(X509_set_pubkey(x, key), 1);
    CHECK_EQ(X509_add1_ext_i2d(x, NID_basic_constraints, authority, 1, 0), 1);
    if (sk_GENERAL_NAME_num(all) > 0)
        CHECK_EQ(X509_add1_ext_i2d(x, NID_subject_alt_name, all, 0, 0), 1);
    CHECK(X509_sign(x, key, EVP_sha256()) > 0);
    CHECK_EQ(PEM_write_bio_X509(bio, x), 1);
    CHECK_EQ(PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL), 1);
    long len = BIO_get_mem_data(bio, &data);
    CHECK(len > 0 && (text = calloc(1, (size_t)len + 1)) != NULL);
    memcpy(text, data, (size_t)len);
    GENERAL_NAMES_free(all);
    BASIC_CONSTRAINTS_free(authority);
    BIO_free(bio);
    X509_free(x);
    EVP_PKEY_free(key);
    X509_NAME_free(subject);
    return text;
}

static void add_part(X509_NAME *to, const char *kind, const char *bytes, int len)
{
    CHECK_EQ(X509_NAME_add_entry_by_txt(to, kind, MBSTRING_UTF8, (const unsigned char *)bytes, len,
                                        -1, 0),
             1);
}

static char *certificate(const char *common_name, const struct name *names)
{
    X509_NAME *subject = X509_NAME_new();
    CHECK(subject != NULL);
    if (common_name != NULL)
        add_part(subject, "CN", common_name, -1);
    return made_for(subject, names, EVP_EC_gen("P-256"));
}

/* A server with that certificate, and a client that trusts whoever made it. */
struct pair {
    struct weft_tls *client, *server;
};

static struct pair pair_open(char *text)
{
    struct weft_tls_certificate c = {.chain = text};
    struct pair p = {
        .client = tls_kit_open(&(struct weft_tls_options){.ca = text, .no_resumption = true}),
        .server =
            tls_kit_open(&(struct weft_tls_options){.certificates = &c, .n_certificates = 1})};
    free(text);
    return p;
}

static void pair_close(struct pair *p)
{
    weft_tls_close(&p->client);
    weft_tls_close(&p->server);
}

/* --- Which names count ------------------------------------------------------------------------ */

/* RFC 9525, 2: a common name is no name of a host, whatever else the certificate has. */
static int a_common_name_does_not_count(void *arg)
{
    static const struct name mail[] = {NAME(GEN_EMAIL, "a@server.test"), {0}};
    static const struct name host[] = {NAME(GEN_DNS, "server.test"), {0}};
    static const struct {
        const struct name *names;
        const char *words; /* NULL: it is let in */
    } cases[] = {
        {NULL, "'server.test': that of CN=server.test has no alternative names"},
        {mail, "not for 'server.test': it is for email:a@server.test"},
        {host, NULL},
    };
    (void)arg;
    for (size_t i = 0; i < WEFT__ARRAY_LEN(cases); i++) {
        struct pair p = pair_open(certificate("server.test", cases[i].names));
        struct meeting m = meet(p.client, p.server, "server.test");
        CHECK_EQ(m.client.result, cases[i].words != NULL ? WEFT_ECERTIFICATE : 0);
        if (cases[i].words != NULL)
            CHECK(has(m.client.detail, cases[i].words));
        part(&m);
        pair_close(&p);
    }
    return 0;
}

/* To OpenSSL, ".test" is whatever ends so. */
static int a_dot_does_not_stand_for_every_host(void *arg)
{
    struct weft_tls *client = tls_kit_client(), *server = NULL;
    struct weft_stream *a = NULL, *b = NULL;
    char hello[4096];
    (void)arg;
    CHECK_EQ(weft_socketpair(&a, &b), 0);
    CHECK_EQ(weft_tls_connect(&a, client, ".test", weft_after_s(60)), -EINVAL);
    CHECK(has(weft_error_detail(), "'.test' begins with a dot"));
    CHECK_EQ(weft_tls_connect(&a, client, ".", weft_after_s(60)), -EINVAL);
    struct weft_tls_certificate c = tls_kit_cert("server.pem", "server.key");
    server = tls_kit_open(
        &(struct weft_tls_options){.certificates = &c, .n_certificates = 1, .strict_sni = true});
    int len = hello_for(".test", hello, sizeof hello);
    CHECK_EQ(weft_write(a, hello, (size_t)len, weft_after_s(60)), 0);
    CHECK_EQ(weft_shutdown(a, weft_after_s(60)), 0); /* so that the server waits for nothing */
    CHECK_EQ(weft_tls_accept(&b, server, weft_after_s(60)), WEFT_ETLS);
    CHECK(has(weft_error_detail(), "a name that no certificate here has"));
    weft_abort(&a);
    weft_abort(&b);
    weft_tls_close(&client);
    weft_tls_close(&server);
    return 0;
}

/* --- How they are shown ----------------------------------------------------------------------- */

static char *line_of(char c, size_t len)
{
    static char buf[4096];
    memset(buf, c, len);
    buf[len] = '\0';
    return buf;
}

/* The peer's names are where many look who it is. */
static int a_name_cannot_look_like_others(void *arg)
{
    static const struct {
        struct name names[3];
        const char *shown;
    } cases[] = {
        {{NAME(GEN_DNS, "a.test"), NAME(GEN_DNS, "b.test")}, "DNS:a.test, DNS:b.test"},
        {{NAME(GEN_DNS, "a.test, DNS:b.test")}, "DNS:a.test\\x2C DNS:b.test"},
        {{NAME(GEN_DNS, "a.test\0.evil.test")}, "DNS:a.test\\x00.evil.test"},
        {{NAME(GEN_EMAIL, "me\\x2C\n\x7f")}, "email:me\\x5Cx2C\\x0A\\x7F"},
        {{NAME(GEN_URI, "http://\xc3\xa4/")}, "URI:http://\\xC3\\xA4/"},
        {{NAME(GEN_IPADD, "\x0a\0\0\1"), NAME(GEN_IPADD, "\x0a\0\0")}, "IP:10.0.0.1, other"},
        {{NAME(GEN_DNS, "")}, "DNS:"},
    };
    (void)arg;
    struct weft_tls *client = tls_kit_open(&(struct weft_tls_options){.insecure_no_verify = true});
    for (size_t i = 0; i < WEFT__ARRAY_LEN(cases); i++) {
        struct pair p = pair_open(certificate("x", cases[i].names));
        struct meeting m = meet(client, p.server, "server.test");
        CHECK_EQ(m.client.result, 0);
        CHECK(has(info_of(m.client.s).names, cases[i].shown));
        CHECK_EQ(strlen(info_of(m.client.s).names), strlen(cases[i].shown));
        part(&m);
        pair_close(&p);
    }
    weft_tls_close(&client);
    return 0;
}

static int no_name_is_shown_in_part(void *arg)
{
    static char longest[3000];
    memset(longest, 'x', sizeof longest);
    const struct name names[] = {NAME(GEN_DNS, "server.test"),
                                 {GEN_DNS, longest, sizeof longest},
                                 NAME(GEN_DNS, "b.test"),
                                 {GEN_DNS, longest, 2018}, /* "DNS:" and all: one too long */
                                 {0}};
    (void)arg;
    struct pair p = pair_open(certificate("x", names));
    struct meeting m = meet(p.client, p.server, "server.test");
    CHECK_EQ(m.client.result, 0);
    CHECK(strcmp(info_of(m.client.s).names, "DNS:server.test, DNS:b.test, ...") == 0);
    part(&m);
    pair_close(&p);
    p = pair_open(certificate("x", &names[1]));
    struct weft_tls *client = tls_kit_open(&(struct weft_tls_options){.insecure_no_verify = true});
    m = meet(client, p.server, "server.test");
    const char *shown = info_of(m.client.s).names;
    CHECK(strncmp(shown, "DNS:b.test, DNS:xxx", 19) == 0);
    CHECK(strcmp(shown + strlen(shown) - 6, "x, ...") == 0); /* here there is room for it */
    part(&m);
    pair_close(&p);
    weft_tls_close(&client);
    return 0;
}

/* Neither is a part of a subject; and a peer with a long one is verified as any other. */
static int no_part_of_a_subject_is_shown_in_part(void *arg)
{
    static const struct name host[] = {NAME(GEN_DNS, "server.test"), {0}};
    (void)arg;
    for (int i = 0; i < 3; i++) {
        X509_NAME *subject = X509_NAME_new();
        if (i == 1)
            add_part(subject, "DC", line_of('d', 600), -1);
        if (i == 2)
            for (int n = 0; n < 10; n++)
                add_part(subject, "OU", line_of(',', 30), -1);
        if (i > 0)
            add_part(subject, "CN", "a", -1);
        struct pair p = pair_open(made_for(subject, host, EVP_EC_gen("P-256")));
        struct meeting m = meet(p.client, p.server, "server.test");
        CHECK_EQ(m.client.result, 0);
        struct weft_tls_info info = info_of(m.client.s);
        CHECK(info.verified);
        if (i == 0)
            CHECK_EQ(info.subject[0], '\0');
        if (i == 1)
            CHECK(strcmp(info.subject, "CN=a,...") == 0);
        if (i == 2) {
            const char *at = info.subject + 5;
            CHECK(strncmp(info.subject, "CN=a,OU=", 8) == 0);
            while (strncmp(at, "OU=", 3) == 0) /* each of 30 commas, escaped, and its own */
                at += 3 + 60 + 1;
            CHECK(strcmp(at, "...") == 0);
        }
        part(&m);
        pair_close(&p);
    }
    return 0;
}

static const struct kit_case cases[] = {
    IN_TASK(a_common_name_does_not_count),          IN_TASK(a_dot_does_not_stand_for_every_host),
    IN_TASK(a_name_cannot_look_like_others),        IN_TASK(no_name_is_shown_in_part),
    IN_TASK(no_part_of_a_subject_is_shown_in_part),
};
KIT_MAIN(cases)
