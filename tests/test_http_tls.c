/* SPDX-License-Identifier: MIT */
/*
 * https: our client against our server: who is believed, which version of HTTP is agreed on,
 * connections that are kept and parked, and what a parked one costs.
 */
#include "http_kit.h"

#include <malloc.h>
#include <unistd.h>

#include <weft/http_client.h>
#include <weft/tls.h>

struct secure {
    struct http_kit k;
    char *pem;
    struct weft_tls *trusting, *old; /* of clients; the second one offers no HTTP/2 */
    char url[128];
};

static int hello(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    struct weft_tls_info info;
    (void)arg;
    CHECK_EQ(weft_tls_info(weft_http_stream(q), &info), 0);
    return weft_http_text(r, 200, "hello over '%s'", info.alpn);
}

static int echo(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    const void *data;
    size_t len;
    (void)arg;
    int err = weft_http_body(q, &data, &len, weft_after_s(20));
    return err < 0 ? err : weft_http_send(r, 200, "text/plain", data, len);
}

static void secure_open(struct secure *s, const char *names, struct weft_http_options o)
{
    struct weft_http_app *app = http_kit_app();
    CHECK_EQ(weft_tls_self_signed(&s->pem, names, 0), 0);
    CHECK_EQ(weft_tls_open(&s->trusting,
                           &(struct weft_tls_options){.ca = s->pem, .alpn = "h2,http/1.1"}),
             0);
    CHECK_EQ(weft_tls_open(&s->old, &(struct weft_tls_options){.ca = s->pem, .alpn = "http/1.1"}),
             0);
    http_kit_route(app, "GET /hello", hello);
    http_kit_route(app, "POST /echo", echo);
    s->k.app = app;
    s->k.g = kit_group();
    o.server.cert = s->pem;
    CHECK_EQ(weft_http_server_open(&s->k.server, s->k.g, "tls://127.0.0.1:0", app, &o), 0);
    CHECK(weft_http_server_endpoint(s->k.server, s->k.endpoint, sizeof s->k.endpoint) > 0);
    (void)snprintf(s->url, sizeof s->url, "https://127.0.0.1%s", strrchr(s->k.endpoint, ':'));
}

static void secure_close(struct secure *s)
{
    http_kit_close(&s->k);
    weft_tls_close(&s->trusting);
    weft_tls_close(&s->old);
    weft_tls_text_free(&s->pem);
}

static struct weft_http_client *client_of(struct weft_http_client_options o)
{
    struct weft_http_client *c = NULL;
    CHECK_EQ(weft_http_client_open(&c, &o), 0);
    return c;
}

static void get(struct weft_http_client *c, const struct secure *s, int version, const char *want)
{
    struct weft_http_reply *r = NULL;
    const void *data;
    size_t len;
    char url[160];
    (void)snprintf(url, sizeof url, "%s/hello", s->url);
    CHECK_EQ(weft_http_get(c, url, &r, weft_after_s(30)), 0);
    CHECK_EQ(weft_http_reply_status(r), 200);
    CHECK_EQ(weft_http_reply_version(r), version);
    CHECK_EQ(weft_http_reply_body(r, &data, &len, weft_after_s(30)), 0);
    CHECK(len == strlen(want) && memcmp(data, want, len) == 0);
    weft_http_reply_close(&r);
}

/* Nobody is asked anything whose certificate is not trusted, or is another's. */
static int verification(void *arg)
{
    static const char *const names[] = {NULL, "DNS:other.example"};
    (void)arg;
    for (int i = 0; i < 2; i++) {
        struct secure s;
        struct weft_http_server_stats st;
        struct weft_http_client_stats cst;
        struct weft_http_reply *r = NULL;
        char url[160];
        secure_open(&s, names[i], (struct weft_http_options){0});
        /* First one that trusts the system's store, then one that trusts it under its own name. */
        struct weft_http_client *c =
            client_of((struct weft_http_client_options){.tls = i == 0 ? NULL : s.trusting});
        (void)snprintf(url, sizeof url, "%s/echo", s.url);
        int err = weft_http_post(c, url, "text/plain", "secret", 6, &r, weft_after_s(30));
        CHECK_EQ(err, WEFT_ECERTIFICATE);
        CHECK(weft_error_detail()[0] != '\0');
        CHECK(r == NULL);
        weft_http_client_stats(c, &cst);
        CHECK_EQ(cst.requests, 0);
        CHECK_EQ(cst.open, 0);
        weft_http_client_close(&c);
        weft_http_server_stats_mt(s.k.server, &st);
        CHECK_EQ(st.requests, 0);
        secure_close(&s);
    }
    return 0;
}

/* A context that offers what the client is not to speak could only fail, at every request. */
static int contradiction(void *arg)
{
    struct weft_http_client *c = NULL;
    struct weft_tls *tls = NULL;
    (void)arg;
    CHECK_EQ(weft_tls_open(&tls, &(struct weft_tls_options){.alpn = "http/1.1,h2"}), 0);
    CHECK_EQ(
        weft_http_client_open(&c, &(struct weft_http_client_options){.tls = tls, .no_http2 = true}),
        -EINVAL);
    CHECK(c == NULL && strstr(weft_error_detail(), "h2") != NULL);
    weft_tls_close(&tls);
    return 0;
}

/* HTTP/2 where both sides like it, and one connection for all. */
static int alpn_and_pool(void *arg)
{
    (void)arg;
    for (int i = 0; i < 3; i++) {
        struct secure s;
        struct weft_http_client_stats st;
        secure_open(&s, NULL, (struct weft_http_options){.no_http2 = i == 2});
        struct weft_http_client *c = client_of((struct weft_http_client_options){
            .tls = i == 1 ? s.old : s.trusting, .no_http2 = i == 1});
        for (int n = 0; n < 5; n++)
            get(c, &s, i == 0 ? 20 : 11, i == 0 ? "hello over 'h2'" : "hello over 'http/1.1'");
        weft_http_client_stats(c, &st);
        CHECK_EQ(st.requests, 5);
        CHECK_EQ(st.connections, 1);
        CHECK_EQ(st.reused, 4);
        weft_http_client_close(&c);
        secure_close(&s);
    }
    return 0;
}

/* The certificate stands in the endpoint: the versions are offered all the same, unless the
 * endpoint says what is. */
static int alpn_of_endpoints(void *arg)
{
    static const struct {
        const char *alpn;
        int version;
        bool no_http2;
    } cases[] = {{"", 20, false}, {"", 11, true}, {"&alpn=http/1.1", 11, false}};
    (void)arg;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct secure s;
        char endpoint[WEFT_ENDPOINT_MAX];
        secure_open(&s, NULL, (struct weft_http_options){.no_http2 = cases[i].no_http2});
        char path[] = "/tmp/weft-http-tls-XXXXXX";
        int fd = mkstemp(path);
        CHECK(fd >= 0);
        CHECK_EQ(write(fd, s.pem, strlen(s.pem)), strlen(s.pem));
        close(fd);
        struct weft_http_server *second = NULL;
        const struct weft_http_options o = {.no_http2 = cases[i].no_http2};
        (void)snprintf(endpoint, sizeof endpoint, "tls://127.0.0.1:0?cert=%s%s", path,
                       cases[i].alpn);
        CHECK_EQ(weft_http_server_open(&second, s.k.g, endpoint, s.k.app, &o), 0);
        CHECK_EQ(unlink(path), 0);
        CHECK(weft_http_server_endpoint(second, endpoint, sizeof endpoint) > 0);
        (void)snprintf(s.url, sizeof s.url, "https://127.0.0.1%s", strrchr(endpoint, ':'));
        struct weft_http_client *c =
            client_of((struct weft_http_client_options){.tls = s.trusting});
        get(c, &s, cases[i].version,
            cases[i].version == 20 ? "hello over 'h2'" : "hello over 'http/1.1'");
        weft_http_client_close(&c);
        secure_close(&s);
    }
    return 0;
}

static uint64_t parked_of(const struct secure *s)
{
    struct weft_http_server_stats st;
    weft_http_server_stats_mt(s->k.server, &st);
    return st.parked;
}

static void wait_parked(const struct secure *s, uint64_t n)
{
    while (parked_of(s) != n)
        CHECK_EQ(weft_sleep_ms(2), 0);
}

#define KEPT 40

/* An idle secured connection gives its task back as a plain one does, and goes on when it is asked
 * again; a drain ends it with the good-bye of TLS, so its client connects anew. */
static int parking(void *arg)
{
    struct secure s;
    struct weft_http_client_stats st;
    struct weft_http_client *c[KEPT];
    (void)arg;
    secure_open(&s, NULL, (struct weft_http_options){.park_ms = 20});
    size_t before = 0;
    for (int i = 0; i < KEPT; i++) {
        c[i] = client_of((struct weft_http_client_options){.tls = s.old, .no_http2 = true});
        get(c[i], &s, 11, "hello over 'http/1.1'");
        if (i == KEPT / 2 - 1) {
            wait_parked(&s, KEPT / 2);
            before = mallinfo2().uordblks;
        }
    }
    wait_parked(&s, KEPT);
    if (getenv("WEFT_TEST_TELL") != NULL) /* both sides of a connection */
        (void)fprintf(stderr, "%zu bytes a connection\n",
                      (mallinfo2().uordblks - before) / (KEPT / 2));
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < KEPT; i++)
            get(c[i], &s, 11, "hello over 'http/1.1'");
        wait_parked(&s, KEPT);
    }
    for (int i = 0; i < KEPT; i++) {
        weft_http_client_stats(c[i], &st);
        CHECK_EQ(st.connections, 1);
    }
    CHECK_EQ(weft_http_server_drain(s.k.server, weft_after_s(20)), 0);
    CHECK_EQ(parked_of(&s), 0);
    for (int i = 0; i < KEPT; i++)
        weft_http_client_close(&c[i]);
    secure_close(&s);
    return 0;
}

static const struct kit_case cases[] = {IN_TASK(verification), IN_TASK(contradiction),
                                        IN_TASK(alpn_and_pool), IN_TASK(alpn_of_endpoints),
                                        IN_TASK(parking)};
KIT_MAIN(cases)
