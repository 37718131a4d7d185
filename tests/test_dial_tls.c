/* SPDX-License-Identifier: MIT */
/*
 * tls:// end to end: dialling and serving, in tasks of each driver and on threads; what fails on
 * the way and who is told of it; that a slow handshake holds up nobody.
 */
#include "tls_kit.h"

#include <sys/inotify.h>

#include <weft/server.h>

#define SOON weft_after_s(KIT_SLOW ? 60 : 20)

/* --- A server -------------------------------------------------------------------------------- */

struct failures {
    pthread_mutex_t lock;
    int count, last;
    bool peer;
    char detail[200];
};

static void failed(void *arg, const struct weft_address *peer, int error)
{
    struct failures *f = arg;
    pthread_mutex_lock(&f->lock);
    f->count++;
    f->last = error;
    f->peer = peer->len > 0;
    (void)snprintf(f->detail, sizeof f->detail, "%s", weft_error_detail());
    pthread_mutex_unlock(&f->lock);
}

static int echo(struct weft_stream *s, void *arg)
{
    const void *data;
    ssize_t n;
    (void)arg;
    while ((n = weft_peek(s, &data, WEFT_NEVER)) > 0) {
        int err = weft_write(s, data, (size_t)n, WEFT_NEVER);
        if (err < 0)
            return err;
        weft_consume(s, (size_t)n);
    }
    return (int)n;
}

struct served {
    struct weft_group *group;
    struct weft_server *server;
    struct failures failures;
    char endpoint[WEFT_ENDPOINT_MAX];
    int port;
};

static void serve(struct served *s, const char *endpoint, enum weft_model model,
                  struct weft_server_options o)
{
    struct weft_endpoint e;
    *s = (struct served){.group = kit_group()};
    pthread_mutex_init(&s->failures.lock, NULL);
    o.model = model;
    o.failed = failed;
    o.failed_arg = &s->failures;
    int err = weft_server_open(&s->server, s->group, endpoint, &o, echo, NULL, NULL);
    if (err < 0)
        (void)fprintf(stderr, "%s\n", weft_error_detail());
    CHECK_EQ(err, 0);
    CHECK(weft_server_endpoint(s->server, s->endpoint, sizeof s->endpoint) > 0);
    CHECK_EQ(weft_endpoint_parse(&e, s->endpoint), 0);
    s->port = e.port;
}

static void end(struct served *s)
{
    CHECK_EQ(weft_server_drain(s->server, SOON), 0);
    CHECK_EQ(weft_group_close(&s->group), 0);
    pthread_mutex_destroy(&s->failures.lock);
}

static struct weft_server_stats stats(const struct served *s)
{
    struct weft_server_stats st;
    weft_server_stats_mt(s->server, &st);
    return st;
}

/* Waits until so many failures have been told. */
static void until_failed(struct served *s, int n)
{
    int count = 0;
    for (int i = 0; i < 20000 && count < n; i++) {
        CHECK_EQ(weft_sleep_ms(1), 0);
        pthread_mutex_lock(&s->failures.lock);
        count = s->failures.count;
        pthread_mutex_unlock(&s->failures.lock);
    }
    CHECK_EQ(count, n);
    CHECK_EQ(stats(s).handshakes_failed, n);
    CHECK_EQ(stats(s).failed, n);
}

static void exchange(struct weft_stream *c, const char *text)
{
    char back[64];
    size_t len = strlen(text);
    CHECK_EQ(weft_write(c, text, len, SOON), 0);
    CHECK_EQ(weft_read_full(c, back, len, SOON), 0);
    CHECK(memcmp(back, text, len) == 0);
}

static struct weft_server_options with_cert(void)
{
    return (struct weft_server_options){.cert = tls_kit_file("server.pem"),
                                        .key = tls_kit_file("server.key")};
}

/* An endpoint with a P where the port is to be. */
static int dial(struct weft_stream **ret, const char *host, int port,
                const struct weft_dial_options *o)
{
    char at[WEFT_ENDPOINT_MAX];
    const char *place = strstr(host, ":P");
    CHECK(place != NULL);
    (void)snprintf(at, sizeof at, "%.*s:%d%s", (int)(place - host), host, port, place + 2);
    return weft_dial(ret, at, o, SOON);
}

/* --- What goes well --------------------------------------------------------------------------- */

static void meets(const struct served *s, const char *host, const struct weft_dial_options *o,
                  const char *sni)
{
    struct weft_stream *c = NULL;
    struct weft_tls_info i;
    int err = dial(&c, host, s->port, o);
    if (err < 0)
        (void)fprintf(stderr, "%s\n", weft_error_detail());
    CHECK_EQ(err, 0);
    exchange(c, "hello");
    CHECK_EQ(weft_tls_info(c, &i), 0);
    CHECK(i.verified && strcmp(i.sni, sni) == 0);
    CHECK_EQ(weft_close(&c, SOON), 0);
}

static void works(enum weft_model model)
{
    struct weft_tls *client = tls_kit_client(), *server = tls_kit_server("server");
    struct weft_dial_options o = {.tls = client};
    struct served s;
    char at[WEFT_ENDPOINT_MAX + 200];
    serve(&s, "tls://127.0.0.1:0", model, with_cert());
    CHECK(strncmp(s.endpoint, "tls://127.0.0.1:", 16) == 0);
    meets(&s, "tls://localhost:P", &o, "localhost");
    meets(&s, "tls://127.0.0.1:P", &o, "");
    o.server_name = "server.test";
    meets(&s, "tls://127.0.0.1:P", &o, "server.test");
    (void)snprintf(at, sizeof at, "tls://127.0.0.1:P?server-name=localhost&ca=%s",
                   tls_kit_file("ca.pem"));
    meets(&s, at, NULL, "localhost");
    CHECK_EQ(stats(&s).handshakes, 4);
    CHECK_EQ(stats(&s).handshakes_failed, 0);
    end(&s);
    serve(&s, "tls://[::]:0", model, (struct weft_server_options){.tls = server});
    weft_tls_close(&server); /* the server holds it */
    meets(&s, "tls://:P", &(struct weft_dial_options){.tls = client}, "localhost");
    end(&s);
    (void)snprintf(at, sizeof at, "tls://127.0.0.1:0?cert=%s&key=%s", tls_kit_file("server.pem"),
                   tls_kit_file("server.key"));
    serve(&s, at, model, (struct weft_server_options){.backlog = 5});
    meets(&s, "tls://127.0.0.1:P", &(struct weft_dial_options){.tls = client}, "");
    end(&s);
    weft_tls_close(&client);
}

/* A Unix socket is secured when a context, a certificate or a name says so. */
static void unix_works(enum weft_model model)
{
    struct weft_tls *client = tls_kit_client();
    struct weft_stream *c = NULL;
    struct served s;
    struct weft_dial_options o = {.tls = client, .server_name = "server.test"};
    char at[64];
    (void)snprintf(at, sizeof at, "unix:@weft-dial-tls-%d", (int)getpid());
    struct weft_server_options so = with_cert();
    so.model = model;
    so.failed = failed;
    s = (struct served){.group = kit_group()};
    pthread_mutex_init(&s.failures.lock, NULL);
    so.failed_arg = &s.failures;
    CHECK_EQ(weft_server_open(&s.server, s.group, at, &so, echo, NULL, NULL), 0);
    CHECK_EQ(weft_dial(&c, at, &o, SOON), 0);
    exchange(c, "hello");
    CHECK_EQ(weft_close(&c, SOON), 0);
    o.server_name = NULL;
    CHECK_EQ(weft_dial(&c, at, &o, SOON), -EINVAL); /* whose certificate? */
    end(&s);
    weft_tls_close(&client);
}

static void agrees_on_protocols(enum weft_model model)
{
    struct weft_tls_certificate own = tls_kit_cert("server.pem", "server.key");
    struct weft_tls *server = tls_kit_open(&(struct weft_tls_options){
        .certificates = &own, .n_certificates = 1, .alpn = "h2,http/1.1"});
    struct weft_stream *c = NULL;
    struct weft_tls_info i;
    struct served s;
    char at[300];
    serve(&s, "tls://127.0.0.1:0", model, (struct weft_server_options){.tls = server});
    (void)snprintf(at, sizeof at, "tls://127.0.0.1:P?ca=%s&alpn=http/1.1", tls_kit_file("ca.pem"));
    CHECK_EQ(dial(&c, at, s.port, NULL), 0);
    CHECK_EQ(weft_tls_info(c, &i), 0);
    CHECK(strcmp(i.alpn, "http/1.1") == 0);
    CHECK_EQ(weft_close(&c, SOON), 0);
    end(&s);
    weft_tls_close(&server);
}

static void detail_has(const char *part)
{
    if (strstr(weft_error_detail(), part) == NULL)
        (void)fprintf(stderr, "'%s' is not in '%s'\n", part, weft_error_detail());
    CHECK(strstr(weft_error_detail(), part) != NULL);
}

/* The lists stand in the endpoints; the server's certificate does not. */
static void agrees_on_ciphers(enum weft_model model)
{
    struct weft_stream *c = NULL;
    struct weft_tls_info i;
    struct served s;
    char at[300];
    serve(&s, "tls://127.0.0.1:0?ciphers=TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256",
          model,
          (struct weft_server_options){.cert = tls_kit_file("server.pem"),
                                       .key = tls_kit_file("server.key")});
    (void)snprintf(at, sizeof at, "tls://127.0.0.1:P?ca=%s", tls_kit_file("ca.pem"));
    CHECK_EQ(dial(&c, at, s.port, NULL), 0);
    CHECK_EQ(weft_tls_info(c, &i), 0);
    CHECK(strcmp(i.cipher, "TLS_AES_256_GCM_SHA384") == 0);
    CHECK_EQ(weft_close(&c, SOON), 0);
    (void)snprintf(at, sizeof at, "tls://127.0.0.1:P?ca=%s&ciphers=TLS_CHACHA20_POLY1305_SHA256",
                   tls_kit_file("ca.pem"));
    CHECK_EQ(dial(&c, at, s.port, NULL), 0);
    CHECK_EQ(weft_tls_info(c, &i), 0);
    CHECK(strcmp(i.cipher, "TLS_CHACHA20_POLY1305_SHA256") == 0);
    CHECK_EQ(weft_close(&c, SOON), 0);
    CHECK_EQ(dial(&c, "tls://127.0.0.1:P?ciphers=AES128-SHA", s.port, NULL), -EINVAL);
    detail_has("'AES128-SHA' is not one");
    end(&s);
}

/* --- What fails ------------------------------------------------------------------------------- */

static void handshakes_fail(enum weft_model model)
{
    struct weft_tls *client = tls_kit_client();
    struct weft_dial_options o = {.tls = client, .server_name = "other.test"};
    struct weft_stream *c = NULL;
    struct served s;
    char plain[WEFT_ENDPOINT_MAX], buf[64];
    serve(&s, "tls://127.0.0.1:0", model, with_cert());
    CHECK_EQ(dial(&c, "tls://127.0.0.1:P", s.port, &o), WEFT_ECERTIFICATE);
    detail_has(s.endpoint);
    until_failed(&s, 1);
    CHECK_EQ(s.failures.last, WEFT_ECERTIFICATE);
    CHECK(s.failures.peer);
    CHECK_EQ(dial(&c, "tls://127.0.0.1:P", s.port, NULL), WEFT_ECERTIFICATE);
    until_failed(&s, 2);
    /* One who does not speak TLS gets an end, and no reset that would hide an alert. */
    (void)snprintf(plain, sizeof plain, "tcp://127.0.0.1:%d", s.port);
    CHECK_EQ(weft_dial(&c, plain, NULL, SOON), 0);
    CHECK_EQ(weft_write(c, "GET / HTTP/1.0\r\n\r\n", 18, SOON), 0);
    ssize_t n = weft_read(c, buf, sizeof buf, SOON);
    CHECK(n == 0 || (n > 0 && buf[0] == 21)); /* RFC 8446, section 6 */
    CHECK_EQ(weft_close(&c, SOON), 0);
    until_failed(&s, 3);
    CHECK_EQ(s.failures.last, WEFT_ETLS);
    if (strstr(s.failures.detail, "GET") == NULL)
        (void)fprintf(stderr, "the detail is: %s\n", s.failures.detail);
    CHECK(strstr(s.failures.detail, "GET") != NULL);
    o.server_name = NULL;
    meets(&s, "tls://127.0.0.1:P", &o, "");
    CHECK_EQ(stats(&s).handshakes, 1);
    end(&s);
    weft_tls_close(&client);
}

/* A peer that says nothing: its handshake fails after a while, and others do not wait for it. */
static void slow_ones(enum weft_model model)
{
    struct weft_tls *client = tls_kit_client();
    struct weft_dial_options o = {.tls = client};
    struct weft_stream *slow[4] = {NULL};
    struct served s;
    struct weft_server_options so = with_cert();
    char plain[WEFT_ENDPOINT_MAX], c;
    so.handshake_ms = KIT_SLOW ? 3000 : 300;
    serve(&s, "tls://127.0.0.1:0", model, so);
    (void)snprintf(plain, sizeof plain, "tcp://127.0.0.1:%d", s.port);
    for (int i = 0; i < 4; i++)
        CHECK_EQ(weft_dial(&slow[i], plain, NULL, SOON), 0);
    for (int i = 0; i < 5; i++)
        meets(&s, "tls://127.0.0.1:P", &o, "");
    until_failed(&s, 4);
    CHECK_EQ(s.failures.last, -ETIMEDOUT);
    CHECK_EQ(stats(&s).timed_out, 4);
    for (int i = 0; i < 4; i++) {
        CHECK(weft_read(slow[i], &c, 1, SOON) <= 0);
        weft_abort(&slow[i]);
    }
    end(&s);
    weft_tls_close(&client);
}

/* With one handshake at a time the second waits for the first, or gives up. */
static void bounded(enum weft_model model)
{
    struct weft_tls *client = tls_kit_client();
    struct weft_stream *slow = NULL;
    struct served s;
    struct weft_server_options so = with_cert();
    char plain[WEFT_ENDPOINT_MAX];
    so.handshake_ms = KIT_SLOW ? 3000 : 300;
    so.max_handshakes = 1;
    so.handshake_rate = 1000;
    serve(&s, "tls://127.0.0.1:0", model, so);
    (void)snprintf(plain, sizeof plain, "tcp://127.0.0.1:%d", s.port);
    CHECK_EQ(weft_dial(&slow, plain, NULL, SOON), 0);
    struct weft_server_stats st;
    do {
        CHECK_EQ(weft_sleep_ms(1), 0);
        weft_server_stats_mt(s.server, &st);
    } while (st.live < 1);
    weft_abort(&slow); /* its place becomes free */
    meets(&s, "tls://127.0.0.1:P", &(struct weft_dial_options){.tls = client}, "");
    until_failed(&s, 1);
    end(&s);
    weft_tls_close(&client);
}

/* One deadline is for all of it: who connects and says nothing uses it up. */
static void deadline(void)
{
    struct weft_listener *l = NULL;
    struct weft_stream *s = NULL, *taken = NULL;
    char at[WEFT_ENDPOINT_MAX];
    CHECK_EQ(weft_listen(&l, "tcp://127.0.0.1:0", NULL), 0);
    CHECK(weft_listener_endpoint(l, at, sizeof at) > 0);
    memcpy(at, "tls", 3);
    CHECK_EQ(weft_dial(&s, at, NULL, weft_after_ms(50)), -ETIMEDOUT);
    CHECK(s == NULL);
    CHECK_EQ(weft_accept(l, &taken, SOON), 0);
    weft_abort(&taken);
    weft_listener_close(&l);
}

static int dials(void *arg)
{
    struct weft_stream *s = NULL;
    CHECK_EQ(weft_dial(&s, arg, NULL, WEFT_NEVER), -ECANCELED);
    CHECK(s == NULL);
    return 0;
}

static void canceled(void)
{
    struct weft_listener *l = NULL;
    struct weft_stream *taken = NULL;
    struct weft_group *g = kit_group();
    const void *data;
    char at[WEFT_ENDPOINT_MAX];
    CHECK_EQ(weft_listen(&l, "tcp://127.0.0.1:0", NULL), 0);
    CHECK(weft_listener_endpoint(l, at, sizeof at) > 0);
    memcpy(at, "tls", 3);
    kit_go(g, "dials", dials, at);
    CHECK_EQ(weft_accept(l, &taken, SOON), 0);
    CHECK(weft_peek(taken, &data, SOON) > 0); /* in its handshake */
    weft_group_cancel(g);
    CHECK_EQ(weft_group_close(&g), 0);
    weft_abort(&taken);
    weft_listener_close(&l);
}

static void server_refuses(struct weft_group *g, const char *at, struct weft_server_options o,
                           int err)
{
    CHECK_EQ(weft_serve(g, at, &o, echo, NULL), err);
    CHECK(weft_error_detail()[0] != '\0');
}

static void options(void)
{
    struct weft_group *g = kit_group();
    struct weft_tls *client = tls_kit_client();
    struct weft_server_options o = with_cert();
    CHECK_EQ(weft_serve(g, "tls://127.0.0.1:0", NULL, echo, NULL), -EINVAL);
    server_refuses(g, "tls://127.0.0.1:0", (struct weft_server_options){.tls = client}, -EINVAL);
    server_refuses(g, "tls://127.0.0.1:0", (struct weft_server_options){.cert = "/nowhere/x"},
                   -ENOENT);
    server_refuses(g, "tls://127.0.0.1:0?key=/nowhere/x",
                   (struct weft_server_options){.backlog = 1}, -EINVAL);
    server_refuses(g, "tls://127.0.0.1:0?ca=/nowhere/x", o, WEFT_EENDPOINT);
    server_refuses(g, "tls://192.0.2.1:0", o, -EADDRNOTAVAIL);
    server_refuses(g, "tcp://127.0.0.1:0", o, -EINVAL);
    server_refuses(g, "udp://127.0.0.1:0", o, -EINVAL);
    o.max_handshakes = -1;
    server_refuses(g, "tls://127.0.0.1:0", o, -EINVAL);
    o.tls = client;
    server_refuses(g, "tls://127.0.0.1:0", o, -EINVAL);
    weft_tls_close(&client);
    CHECK_EQ(weft_group_close(&g), 0);
}

/* --- Everywhere ------------------------------------------------------------------------------- */

/* How often a file was opened since the last call. */
static int opened(int watch)
{
    _Alignas(struct inotify_event) char buf[4096];
    ssize_t n = read(watch, buf, sizeof buf);
    CHECK(n > 0 || errno == EAGAIN);
    return n > 0 ? (int)(n / (ssize_t)sizeof(struct inotify_event)) : 0;
}

/* The system's trust store is read for who may verify by it, and not for a server that asks nobody
 * for a certificate. */
static void store_is_left_alone(const char *driver)
{
    const struct weft_server_options o = {.cert = tls_kit_file("server.pem"),
                                          .key = tls_kit_file("server.key")};
    int watch = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    struct weft_group *g = kit_group();
    struct weft_tls *client = NULL;
    char endpoint[400];
    (void)driver;
    CHECK(watch >= 0);
    const char *ca = tls_kit_file("ca.pem");
    CHECK_EQ(setenv("SSL_CERT_FILE", ca, 1), 0); /* OpenSSL's name of it */
    CHECK(inotify_add_watch(watch, ca, IN_OPEN) >= 0);
    CHECK_EQ(weft_tls_open(&client, NULL), 0);
    CHECK(opened(watch) > 0);
    CHECK_EQ(weft_serve(g, "tls://127.0.0.1:0", &o, echo, NULL), 0);
    (void)snprintf(endpoint, sizeof endpoint, "tls://127.0.0.1:0?cert=%s&key=%s", o.cert, o.key);
    CHECK_EQ(weft_serve(g, endpoint, NULL, echo, NULL), 0);
    CHECK_EQ(opened(watch), 0);
    weft_group_cancel(g);
    (void)!weft_group_close(&g);
    weft_tls_close(&client);
    CHECK_EQ(unsetenv("SSL_CERT_FILE"), 0);
    close(watch);
}

static void (*const of_models[])(enum weft_model) = {
    works, unix_works, agrees_on_protocols, agrees_on_ciphers, handshakes_fail, slow_ones, bounded,
};

static int in_tasks(void *arg)
{
    (void)arg;
    for (size_t i = 0; i < sizeof of_models / sizeof of_models[0]; i++) {
        of_models[i](WEFT_TASKS);
        of_models[i](WEFT_THREADS);
    }
    deadline();
    canceled();
    options();
    return 0;
}

static void on_threads(const char *driver)
{
    if (strcmp(driver, "epoll") != 0)
        return;
    for (size_t i = 0; i < sizeof of_models / sizeof of_models[0]; i++) {
        of_models[i](WEFT_TASKS);
        of_models[i](WEFT_THREADS);
    }
    deadline();
    canceled();
    options();
}

static const struct kit_case cases[] = {IN_TASK(in_tasks), ON_THREAD(on_threads),
                                        ON_THREAD(store_is_left_alone)};

int main(void)
{
    (void)tls_kit_file("ca.pem");
    struct weft_tls *tls = NULL;
    if (weft_tls_open(&tls, NULL) == 0) /* what OpenSSL opens once is not a leak */
        weft_tls_close(&tls);
    return kit_main(cases, sizeof cases / sizeof cases[0]);
}
