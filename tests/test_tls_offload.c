/* SPDX-License-Identifier: MIT */
/*
 * Handshakes on the work pool: in every model, what is done there and what is not; live connections
 * meanwhile; and a connection that ends while its handshake waits for the pool or is there.
 *
 * The server has a loop of its own, whose pool has one thread, and a gate stands before each part
 * of a handshake there. So the first one is in the pool until it is let go, and the next one waits.
 */
#include <openssl/ssl.h>
#include <semaphore.h>
#include <sys/socket.h>

#include <weft/protocol.h>
#include <weft/server.h>

#include "tls/tls.h"
#include "tls_meet.h"

/* --- The gate --------------------------------------------------------------------------------- */

static sem_t entered, let_go;
static _Atomic int parts;
static _Atomic bool gated;

static void gate(void)
{
    parts++;
    if (!gated)
        return;
    sem_post(&entered);
    while (sem_wait(&let_go) < 0)
        CHECK_EQ(errno, EINTR);
}

static void gate_close(void)
{
    CHECK_EQ(sem_init(&entered, 0, 0), 0);
    CHECK_EQ(sem_init(&let_go, 0, 0), 0);
    gated = true;
}

static void gate_await(void)
{
    while (sem_wait(&entered) < 0)
        CHECK_EQ(errno, EINTR);
}

/* Whoever is in it goes on, and nobody has to wait again. */
static void gate_open(void)
{
    gated = false;
    CHECK_EQ(sem_post(&let_go), 0);
}

/* --- The server ------------------------------------------------------------------------------- */

static int echo(struct weft_stream *t, const void *data, size_t len, void *conn)
{
    (void)conn;
    return weft_transport_write(t, data, len);
}

static struct {
    _Atomic int error;
    char detail[200];
} failure;

static void on_failed(void *arg, const struct weft_address *peer, int error)
{
    (void)arg;
    (void)peer;
    (void)snprintf(failure.detail, sizeof failure.detail, "%s", weft_error_detail());
    failure.error = error;
}

struct site {
    struct weft_group *g;
    struct weft_server *server;
    struct weft_tls *tls, *client;
    char endpoint[WEFT_ENDPOINT_MAX];
};

static const char *groups; /* for the exchange of keys; NULL: as OpenSSL has them */

static void site_open(struct site *s, enum weft_model model, enum weft_tls_version most,
                      struct weft_server_options o)
{
    static const struct weft_protocol protocol = {.data = echo};
    struct weft_factory f = {.protocol = &protocol};
    struct weft_tls_certificate c = tls_kit_cert("server.pem", "server.key");
    struct weft_options loop = {.driver = weft_loop_current()->options.driver,
                                .offload_threads = 1};
    struct weft_endpoint e;
    s->g = kit_group();
    s->client = tls_kit_client();
    s->tls = tls_kit_open(&(struct weft_tls_options){.certificates = &c,
                                                     .n_certificates = 1,
                                                     .ca = tls_kit_file("ca.pem"), /* reading the
                                                                                      system's takes
                                                                                      long */

                                                     .max_version = most,
                                                     .alpn = "h2",
                                                     .handshake_offload = true});
    if (groups != NULL)
        CHECK_EQ(SSL_CTX_set1_groups_list(s->tls->conf->ctx, groups), 1);
    o.model = model;
    o.tls = s->tls;
    o.workers = 1;
    o.failed = on_failed;
    o.loop = &loop;
    if (o.handshake_ms == 0)
        o.handshake_ms = 60000;
    CHECK_EQ(weft_server_open(&s->server, s->g, "tls://127.0.0.1:0", &o, NULL, NULL, &f), 0);
    CHECK(weft_server_endpoint(s->server, s->endpoint, sizeof s->endpoint) > 0);
    CHECK_EQ(weft_endpoint_parse(&e, s->endpoint), 0);
    failure.error = parts = 0;
}

static void site_close(struct site *s)
{
    CHECK_EQ(weft_group_close(&s->g), 0);
    weft_tls_close(&s->tls);
    weft_tls_close(&s->client);
}

static struct weft_server_stats stats_of(const struct site *s)
{
    struct weft_server_stats st;
    weft_server_stats_mt(s->server, &st);
    return st;
}

static void until_live(const struct site *s, uint64_t n)
{
    while (stats_of(s).live != n)
        CHECK_EQ(weft_sleep_ms(1), 0);
}

static struct weft_stream *dial(const struct site *s)
{
    struct weft_stream *c = NULL;
    struct weft_dial_options o = {.tls = s->client, .server_name = "server.test"};
    int err = weft_dial(&c, s->endpoint, &o, weft_after_s(60));
    if (err < 0)
        (void)fprintf(stderr, "%s\n", weft_error_detail());
    CHECK_EQ(err, 0);
    return c;
}

static void ping(struct weft_stream *c)
{
    char back[5];
    CHECK_EQ(weft_write(c, "hello", 5, WEFT_NEVER), 0);
    CHECK_EQ(weft_read_full(c, back, 5, weft_after_s(60)), 0);
    CHECK(memcmp(back, "hello", 5) == 0);
}

/* --- Clients that know one word of TLS ---------------------------------------------------------
 */

/* The first flight of a client. */
static size_t first_flight(char *buf, size_t cap)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    SSL *ssl = SSL_new(ctx);
    BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
    CHECK(ssl != NULL && in != NULL && out != NULL);
    SSL_set_bio(ssl, in, out);
    SSL_set_connect_state(ssl);
    CHECK_EQ(SSL_do_handshake(ssl), -1);
    int n = BIO_read(out, buf, (int)cap);
    CHECK(n > 0);
    SSL_free(ssl);
    SSL_CTX_free(ctx);
    weft__tls_errors_clear();
    return (size_t)n;
}

static struct weft_stream *say_hello(const struct site *s)
{
    struct weft_stream *c = NULL;
    char plain[WEFT_ENDPOINT_MAX], hello[2048];
    (void)snprintf(plain, sizeof plain, "tcp%.90s", s->endpoint + 3);
    size_t n = first_flight(hello, sizeof hello);
    CHECK_EQ(weft_dial(&c, plain, NULL, weft_after_s(60)), 0);
    CHECK_EQ(weft_write(c, hello, n, WEFT_NEVER), 0);
    CHECK_EQ(weft_flush(c, weft_after_s(60)), 0);
    return c;
}

/* --- Handshakes ------------------------------------------------------------------------------- */

static int every_model(void *arg)
{
    static const enum weft_tls_version versions[] = {WEFT_TLS_1_3, WEFT_TLS_1_2};
    (void)arg;
    for (int i = 0; i < 6; i++) {
        enum weft_model model = (enum weft_model)(i / 2);
        struct site s;
        site_open(&s, model, versions[i % 2], (struct weft_server_options){0});
        for (int j = 0; j < 3; j++) {
            struct weft_stream *c = dial(&s);
            ping(c);
            CHECK_EQ(info_of(c).resumed, j > 0);
            CHECK_EQ(weft_close(&c, weft_after_s(60)), 0);
        }
        /* The new session; those that go on with it make no signature. A thread has no loop. */
        CHECK_EQ(parts, model == WEFT_THREADS ? 0 : 1);
        until_live(&s, 0);
        CHECK_EQ(stats_of(&s).handshakes, 3);
        CHECK_EQ(stats_of(&s).failed, 0);
        site_close(&s);
    }
    return 0;
}

/* A group that the client had not guessed: it is told, and says hello again. */
static int a_second_hello(void *arg)
{
    (void)arg;
    for (int m = 0; m < 3; m += 2) {
        struct site s;
        groups = "P-384";
        site_open(&s, (enum weft_model)m, WEFT_TLS_1_3, (struct weft_server_options){0});
        groups = NULL;
        struct weft_stream *c = dial(&s);
        ping(c);
        CHECK_EQ(parts, 2);
        CHECK_EQ(weft_close(&c, weft_after_s(60)), 0);
        until_live(&s, 0);
        site_close(&s);
    }
    return 0;
}

/* What goes wrong in the pool is told as elsewhere, to both sides. */
static int a_failure_in_the_pool(void *arg)
{
    (void)arg;
    for (int m = 0; m < 3; m += 2) {
        struct site s;
        struct weft_stream *c = NULL;
        struct weft_tls_options client = {.ca = tls_kit_file("ca.pem"), .alpn = "http/1.1"};
        site_open(&s, (enum weft_model)m, WEFT_TLS_1_2, (struct weft_server_options){0});
        weft_tls_close(&s.client);
        s.client = tls_kit_open(&client);
        struct weft_dial_options o = {.tls = s.client, .server_name = "server.test"};
        CHECK_EQ(weft_dial(&c, s.endpoint, &o, weft_after_s(60)), WEFT_ETLS);
        CHECK(has(weft_error_detail(), "no application protocol (ALPN) in common"));
        until_live(&s, 0);
        while (failure.error == 0)
            CHECK_EQ(weft_sleep_ms(1), 0);
        CHECK_EQ(failure.error, WEFT_ETLS);
        CHECK(has(failure.detail, "no application protocol (ALPN) in common with the peer"));
        CHECK_EQ(parts, 1);
        site_close(&s);
    }
    return 0;
}

/* A hello that comes in two pieces, and one that is none, need no thread to see what they are. */
static int half_a_hello_goes_nowhere(void *arg)
{
    (void)arg;
    for (int m = 0; m < 3; m += 2) {
        struct site s;
        struct weft_stream *c = NULL;
        char plain[WEFT_ENDPOINT_MAX], byte;
        site_open(&s, (enum weft_model)m, WEFT_TLS_1_3, (struct weft_server_options){0});
        (void)snprintf(plain, sizeof plain, "tcp%.90s", s.endpoint + 3);
        CHECK_EQ(weft_dial(&c, plain, NULL, weft_after_s(60)), 0);
        CHECK_EQ(weft_write(c, "\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03", 11, WEFT_NEVER), 0);
        CHECK_EQ(weft_shutdown(c, weft_after_s(60)), 0);
        while (weft_read(c, &byte, 1, weft_after_s(60)) > 0)
            ;
        weft_abort(&c);
        until_live(&s, 0);
        CHECK_EQ(stats_of(&s).handshakes_failed, 1);
        CHECK_EQ(parts, 0);
        site_close(&s);
    }
    return 0;
}

/* With the gate closed, a loop that waited for a handshake would not answer. */
static int live_connections_go_on(void *arg)
{
    (void)arg;
    for (int m = 0; m < 3; m += 2) {
        struct site s;
        site_open(&s, (enum weft_model)m, WEFT_TLS_1_3, (struct weft_server_options){0});
        struct weft_stream *live = dial(&s), *resumed;
        ping(live);
        gate_close();
        struct weft_stream *hello[6]; /* one in the pool, one in its line, and some before it */
        for (size_t i = 0; i < WEFT__ARRAY_LEN(hello); i++)
            hello[i] = say_hello(&s);
        gate_await();
        for (int i = 0; i < 3; i++)
            ping(live);
        resumed = dial(&s);
        CHECK(info_of(resumed).resumed);
        ping(resumed);
        gate_open();
        char byte;
        for (size_t i = 0; i < WEFT__ARRAY_LEN(hello); i++)
            CHECK_EQ(weft_read(hello[i], &byte, 1, weft_after_s(60)), 1);
        CHECK_EQ(parts, 1 + WEFT__ARRAY_LEN(hello));
        for (size_t i = 0; i < WEFT__ARRAY_LEN(hello); i++)
            weft_abort(&hello[i]);
        CHECK_EQ(weft_close(&resumed, weft_after_s(60)), 0);
        CHECK_EQ(weft_close(&live, weft_after_s(60)), 0);
        until_live(&s, 0);
        site_close(&s);
    }
    return 0;
}

/* What a peer sends while its handshake is in the pool is read when that is done, and no sooner. */
static int impatient_peers_are_bounded(void *arg)
{
    (void)arg;
    for (int m = 0; m < 3; m += 2) {
        struct site s;
        static char much[1 << 20];
        site_open(&s, (enum weft_model)m, WEFT_TLS_1_3, (struct weft_server_options){0});
        gate_close();
        struct weft_stream *c = say_hello(&s);
        gate_await();
        int err = 0;
        for (int i = 0; i < 64 && err == 0; i++) /* until the kernel's buffers are full */
            err = weft_write(c, much, sizeof much, weft_after_ms(200));
        CHECK_EQ(err, -ETIMEDOUT);
        CHECK(stats_of(&s).bytes_in < 4 << 20);
        gate_open();
        until_live(&s, 0); /* it was no TLS */
        CHECK_EQ(stats_of(&s).handshakes_failed, 1);
        weft_abort(&c);
        site_close(&s);
    }
    return 0;
}

/* --- Ends ------------------------------------------------------------------------------------- */

enum end { RESET, LATE, CANCEL, DRAIN };

static int drain(void *arg)
{
    struct site *s = arg;
    CHECK_EQ(weft_server_drain(s->server, weft_after_ms(1)), -ETIMEDOUT);
    return 0;
}

/* Two handshakes, one in the pool and one that waits for it; then something ends them. */
static void end_both(enum weft_model model, enum end how)
{
    struct site s;
    struct weft_group *g = kit_group();
    site_open(&s, model, WEFT_TLS_1_3,
              (struct weft_server_options){.handshake_ms = how == LATE ? 200 : 0});
    gate_close();
    struct weft_stream *first = say_hello(&s);
    gate_await();
    struct weft_stream *second = say_hello(&s);
    while (stats_of(&s).reads < 2)
        CHECK_EQ(weft_sleep_ms(1), 0);
    if (how == CANCEL)
        weft_group_cancel(s.g);
    else if (how == DRAIN)
        kit_go(g, "drain", drain, &s);
    else if (how == RESET)
        weft_abort(&second);
    if (how != RESET) /* the one that waits goes at once, the other one when it can */
        until_live(&s, 1);
    CHECK_EQ(parts, 1);
    weft_abort(&first);
    gate_open();
    until_live(&s, 0);
    CHECK_EQ(stats_of(&s).handshakes, 0);
    if (how == LATE)
        CHECK_EQ(stats_of(&s).timed_out, 2);
    weft_abort(&second);
    CHECK_EQ(weft_group_wait(g, weft_after_s(60)), 0);
    CHECK_EQ(weft_group_close(&g), 0);
    (void)!weft_group_close(&s.g);
    weft_tls_close(&s.tls);
    weft_tls_close(&s.client);
}

static int ends(void *arg)
{
    (void)arg;
    for (int m = 0; m < 3; m += 2)
        for (enum end how = RESET; how <= DRAIN; how++)
            end_both((enum weft_model)m, how);
    return 0;
}

static const struct kit_case cases[] = {
    IN_TASK(every_model),
    IN_TASK(a_second_hello),
    IN_TASK(a_failure_in_the_pool),
    IN_TASK(half_a_hello_goes_nowhere),
    IN_TASK(live_connections_go_on),
    IN_TASK(impatient_peers_are_bounded),
    IN_TASK(ends),
};

int main(void)
{
    weft__tls_away_hook = gate;
    return kit_main(cases, WEFT__ARRAY_LEN(cases));
}
