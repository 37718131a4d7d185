/* SPDX-License-Identifier: MIT */
/* Which cipher two ends come to, and which lists of ciphers are refused with which words. */
#include "tls_meet.h"

#define A128 "TLS_AES_128_GCM_SHA256"
#define A256 "TLS_AES_256_GCM_SHA384"
#define CHACHA "TLS_CHACHA20_POLY1305_SHA256"
#define OLD_A256 "ECDHE-ECDSA-AES256-GCM-SHA384"
#define OLD_A128 "ECDHE-ECDSA-AES128-GCM-SHA256"
#define OLD_CHACHA "ECDHE-ECDSA-CHACHA20-POLY1305"

static struct meeting met(const char *client, const char *server, enum weft_tls_version most)
{
    struct weft_tls_certificate c = tls_kit_cert("server.pem", "server.key");
    struct weft_tls_options s_o = {.certificates = &c, .n_certificates = 1, .ciphers = server};
    struct weft_tls_options c_o = {
        .ca = tls_kit_file("ca.pem"), .ciphers = client, .max_version = most};
    struct weft_tls *s_tls = tls_kit_open(&s_o), *c_tls = tls_kit_open(&c_o);
    struct meeting m = meet(c_tls, s_tls, "server.test");
    weft_tls_close(&s_tls);
    weft_tls_close(&c_tls);
    return m;
}

static int agreed(void *arg)
{
    static const struct {
        const char *client, *server, *cipher;
        enum weft_tls_version most;
    } all[] = {
        {NULL, NULL, A128, WEFT_TLS_1_3},
        {A256 ":" A128, NULL, A128, WEFT_TLS_1_3},     /* the server's order */
        {NULL, A256 ":" A128, A256, WEFT_TLS_1_3},     /* which can be another */
        {CHACHA ":" A128, NULL, CHACHA, WEFT_TLS_1_3}, /* no AES in its hardware */
        {A128 ":" CHACHA, NULL, A128, WEFT_TLS_1_3},   /* it can, if need be */
        {A256, NULL, A256, WEFT_TLS_1_3},              /* it has nothing else */
        {NULL, NULL, OLD_A128, WEFT_TLS_1_2},          /* the same with TLS 1.2 */
        {OLD_A256 ":" OLD_A128, NULL, OLD_A128, WEFT_TLS_1_2},
        {OLD_CHACHA ":" OLD_A128, NULL, OLD_CHACHA, WEFT_TLS_1_2},
        {NULL, OLD_A256, OLD_A256, WEFT_TLS_1_3},                   /* then 1.3 is not spoken */
        {OLD_A256 ":" A256, OLD_A128 ":" A256, A256, WEFT_TLS_1_3}, /* versions, then ciphers */
    };
    (void)arg;
    for (size_t i = 0; i < WEFT__ARRAY_LEN(all); i++) {
        struct meeting m = met(all[i].client, all[i].server, all[i].most);
        CHECK_EQ(m.client.result, 0);
        CHECK_EQ(m.server.result, 0);
        talk(&m);
        CHECK(has(info_of(m.client.s).cipher, all[i].cipher));
        CHECK(has(info_of(m.server.s).cipher, all[i].cipher));
        part(&m);
    }
    return 0;
}

static int nothing_in_common(void *arg)
{
    (void)arg;
    struct meeting m = met(A128, A256, WEFT_TLS_1_3);
    CHECK_EQ(m.client.result, WEFT_ETLS);
    CHECK_EQ(m.server.result, WEFT_ETLS);
    CHECK(has(m.server.detail, "no cipher in common"));
    m = met(NULL, A256, WEFT_TLS_1_2); /* a server that names none for TLS 1.2 */
    CHECK_EQ(m.client.result, WEFT_ETLS);
    CHECK_EQ(m.server.result, WEFT_ETLS);
    CHECK(has(m.server.detail, "version"));
    return 0;
}

static int refused(void *arg)
{
    static const struct {
        struct weft_tls_options o;
        const char *detail;
    } all[] = {
        {{.ciphers = ""}, "ciphers: ''"},
        {{.ciphers = A128 ":"}, "ciphers: ''"},
        {{.ciphers = A128 ":TLS_NO"}, "'TLS_NO' is not one"},
        {{.ciphers = A128 " " A256}, "is not one"},
        {{.ciphers = "AES128-SHA"}, "'AES128-SHA' is not one"}, /* no forward secrecy */
        {{.ciphers = "ECDHE-RSA-AES128-SHA"}, "is not one"}, /* does not authenticate all of it */
        {{.ciphers = "ALL"}, "'ALL' is not one"},            /* names only */
        {{.ciphers = OLD_A128, .min_version = WEFT_TLS_1_3}, "TLS 1.3"},
        {{.ciphers = A128, .max_version = WEFT_TLS_1_2}, "TLS 1.2"},
    };
    (void)arg;
    for (size_t i = 0; i < WEFT__ARRAY_LEN(all); i++) {
        struct weft_tls *tls = NULL;
        CHECK_EQ(weft_tls_open(&tls, &all[i].o), -EINVAL);
        CHECK(tls == NULL);
        CHECK(has(weft_error_detail(), all[i].detail));
    }
    return 0;
}

static const struct kit_case cases[] = {
    IN_TASK(agreed),
    IN_TASK(nothing_in_common),
    IN_TASK(refused),
};
KIT_MAIN(cases)
