/* SPDX-License-Identifier: MIT */
/* TLS contexts between two ends in one process: resumption, where certificates come from, secrets
 * on request, and streams that are secured in the middle of a talk. */
#include <openssl/pem.h>
#include <openssl/ssl.h>

#include "base/alloc.h"
#include "net/secure.h"
#include "net/stream.h"
#include "sim_host_kit.h"
#include "tls/tls.h"
#include "tls_meet.h"

/* --- Resumption ------------------------------------------------------------------------------ */

static bool resumes(struct weft_tls *client, struct weft_tls *server)
{
    struct meeting m = meet(client, server, "server.test");
    CHECK_EQ(m.client.result, 0);
    CHECK_EQ(m.server.result, 0);
    talk(&m);
    bool resumed = info_of(m.client.s).resumed;
    CHECK_EQ(info_of(m.server.s).resumed, resumed);
    CHECK(info_of(m.client.s).verified);
    part(&m);
    return resumed;
}

static int resumption(void *arg)
{
    (void)arg;
    for (int version = WEFT_TLS_1_2; version <= WEFT_TLS_1_3; version++) {
        struct weft_tls_options o = {.ca = tls_kit_file("ca.pem"),
                                     .max_version = (enum weft_tls_version)version};
        struct weft_tls *server = tls_kit_server("server"), *client = tls_kit_open(&o);
        CHECK(!resumes(client, server));
        CHECK(resumes(client, server));
        CHECK_EQ(weft_tls_rotate(server), 0);
        CHECK(resumes(client, server)); /* by the last key but one */
        for (int i = 0; i < 3; i++)
            CHECK_EQ(weft_tls_rotate(server), 0);
        CHECK(!resumes(client, server));
        CHECK_EQ(weft_tls_reload(server), 0);
        CHECK(resumes(client, server)); /* keys outlive a reload */
        CHECK_EQ(weft_tls_reload(client), 0);
        CHECK(!resumes(client, server)); /* sessions do not: whom we trust may have changed */
        weft_tls_close(&client);
        o.no_resumption = true;
        client = tls_kit_open(&o);
        CHECK(!resumes(client, server));
        CHECK(!resumes(client, server));
        weft_tls_close(&client);
        weft_tls_close(&server);
    }
    return 0;
}

/* The sessions that a client keeps are bounded: the longest unused goes. */
static int few_sessions(void *arg)
{
    static const char *const hosts[] = {"server.test", "localhost", "server.test", "127.0.0.1",
                                        "localhost"};
    static const bool resumed[] = {false, false, true, false, false};
    (void)arg;
    struct weft_tls *server = tls_kit_server("server");
    struct weft_tls *client =
        tls_kit_open(&(struct weft_tls_options){.ca = tls_kit_file("ca.pem"), .sessions_max = 2});
    for (size_t i = 0; i < WEFT__ARRAY_LEN(hosts); i++) {
        struct meeting m = meet(client, server, hosts[i]);
        CHECK_EQ(m.client.result, 0);
        talk(&m);
        CHECK_EQ(info_of(m.client.s).resumed, resumed[i]);
        part(&m);
    }
    weft_tls_close(&client);
    weft_tls_close(&server);
    return 0;
}

struct ends {
    struct weft_tls *client, *server;
};

/* Each resumption of TLS 1.3 brings a fresh ticket; however often, three times ticket_key_s after
 * the full handshake it ends. */
static int a_session_gets_old(void *arg)
{
    struct ends *e = arg;
    CHECK_EQ(weft_tls_rotate(e->server), 0); /* the first key was made outside, at another time */
    for (int i = 0; i < 6; i++) {
        CHECK_EQ(resumes(e->client, e->server), i % 4 != 0);
        CHECK_EQ(weft_sleep_ms(900), 0);
    }
    return 0;
}

static void sessions_get_old(const char *driver)
{
    (void)driver; /* a simulation's own, in which the time passes */
    struct weft_tls_certificate c = tls_kit_cert("server.pem", "server.key");
    struct weft_tls_options o = {.certificates = &c, .n_certificates = 1, .ticket_key_s = 1};
    struct ends e = {.client = tls_kit_client(), .server = tls_kit_open(&o)};
    struct weft_sim *sim = sim_open(1, false);
    CHECK_EQ(weft_sim_host(sim, "here", a_session_gets_old, &e), 0);
    sim_end(sim);
    weft_tls_close(&e.client);
    weft_tls_close(&e.server);
}

/* A certificate that expired yesterday and trusts itself; its key is self.key. */
static void make_past(void)
{
    FILE *cert = fopen(tls_kit_file("self.pem"), "r"), *key = fopen(tls_kit_file("self.key"), "r");
    FILE *to = fopen(tls_kit_file("past.pem"), "w");
    CHECK(cert != NULL && key != NULL && to != NULL);
    X509 *x = PEM_read_X509(cert, NULL, NULL, NULL);
    EVP_PKEY *k = PEM_read_PrivateKey(key, NULL, NULL, NULL);
    CHECK(x != NULL && k != NULL);
    CHECK(X509_gmtime_adj(X509_getm_notBefore(x), -48L * 3600) != NULL);
    CHECK(X509_gmtime_adj(X509_getm_notAfter(x), -24L * 3600) != NULL);
    CHECK(X509_sign(x, k, EVP_sha256()) > 0);
    CHECK_EQ(PEM_write_X509(to, x), 1);
    X509_free(x);
    EVP_PKEY_free(k);
    CHECK_EQ(fclose(cert) | fclose(key) | fclose(to), 0);
}

/* Full handshakes are verified as if it were not yet yesterday. */
static void live_in_the_past(struct weft_tls *tls)
{
    X509_VERIFY_PARAM_set_time(SSL_CTX_get0_param(tls->conf->ctx), time(NULL) - 36L * 3600);
}

/* Neither side goes on with a session once what the other showed has expired. */
static int certificates_expire(void *arg)
{
    (void)arg;
    make_past();
    for (int version = WEFT_TLS_1_2; version <= WEFT_TLS_1_3; version++) {
        struct weft_tls_certificate past = tls_kit_cert("past.pem", "self.key");
        struct weft_tls_certificate good = tls_kit_cert("server.pem", "server.key");
        struct weft_tls_options so = {.certificates = &past, .n_certificates = 1};
        struct weft_tls_options co = {.ca = tls_kit_file("past.pem"),
                                      .max_version = (enum weft_tls_version)version};
        struct weft_tls *server = tls_kit_open(&so), *client = tls_kit_open(&co);
        live_in_the_past(client);
        CHECK(!resumes(client, server));
        CHECK(!resumes(client, server));
        weft_tls_close(&client);
        weft_tls_close(&server);
        so = (struct weft_tls_options){.certificates = &good,
                                       .n_certificates = 1,
                                       .ca = tls_kit_file("past.pem"),
                                       .client = WEFT_TLS_CLIENT_REQUIRED};
        co.ca = tls_kit_file("ca.pem");
        co.certificates = &past;
        co.n_certificates = 1;
        server = tls_kit_open(&so);
        client = tls_kit_open(&co);
        live_in_the_past(server);
        CHECK(!resumes(client, server));
        CHECK(!resumes(client, server));
        weft_tls_close(&client);
        weft_tls_close(&server);
    }
    return 0;
}

/* --- Contexts -------------------------------------------------------------------------------- */

static char *contents(const char *name)
{
    static char buf[8192];
    FILE *f = fopen(tls_kit_file(name), "r");
    CHECK(f != NULL);
    size_t n = fread(buf, 1, sizeof buf - 1, f);
    buf[n] = '\0';
    CHECK_EQ(fclose(f), 0);
    return buf;
}

static int sources(void *arg)
{
    (void)arg;
    struct weft_tls *tls = NULL;
    struct weft_tls_certificate c = {.chain = contents("both.pem")};
    struct weft_tls_options o = {.certificates = &c, .n_certificates = 1};
    CHECK_EQ(weft_tls_open(&tls, &o), 0); /* text, with the key in it */
    weft_tls_close(&tls);
    c = tls_kit_cert("server.pem", "locked.key");
    CHECK_EQ(weft_tls_open(&tls, &o), -EINVAL);
    CHECK(has(weft_error_detail(), "no key in"));
    c.password = "secret";
    CHECK_EQ(weft_tls_open(&tls, &o), 0);
    weft_tls_close(&tls);
    c = tls_kit_cert("server.pem", "wild.key");
    CHECK_EQ(weft_tls_open(&tls, &o), -EINVAL);
    CHECK(has(weft_error_detail(), "is not that of the certificate"));
    c = tls_kit_cert("no such file", "server.key");
    CHECK_EQ(weft_tls_open(&tls, &o), -ENOENT);
    CHECK(has(weft_error_detail(), "certificate: cannot open"));
    c = tls_kit_cert("server.key", "server.key");
    CHECK_EQ(weft_tls_open(&tls, &o), -EINVAL);
    CHECK(has(weft_error_detail(), "no certificate in"));
    CHECK_EQ(weft_tls_open(&tls, &(struct weft_tls_options){.ca = tls_kit_file("server.key")}),
             -EINVAL);
    CHECK(has(weft_error_detail(), "no certificate to trust in"));
    CHECK(tls == NULL);
    weft_tls_close(&tls);
    CHECK_EQ(ERR_peek_error(), 0);
    return 0;
}

/* A certificate that no handshake would take is refused at once, also where it is not the first. */
static int weak_certificates(void *arg)
{
    (void)arg;
    struct weft_tls *tls = NULL;
    struct weft_tls_certificate c[] = {tls_kit_cert("server.pem", "server.key"),
                                       tls_kit_cert("weak.pem", "weak.key")};
    struct weft_tls_options o = {.certificates = c, .n_certificates = 2};
    CHECK_EQ(weft_tls_open(&tls, &o), -EINVAL);
    CHECK(has(weft_error_detail(), "weak.pem: ee key too small"));
    c[0] = (struct weft_tls_certificate){.chain = contents("weak_both.pem")};
    CHECK_EQ(weft_tls_open(&tls, &o), -EINVAL);
    CHECK(has(weft_error_detail(), "certificate the text given: ee key")); /* never the key */
    CHECK(tls == NULL);
    CHECK_EQ(ERR_peek_error(), 0);
    return 0;
}

static int keylog(void *arg)
{
    (void)arg;
    struct weft_tls *server = tls_kit_server("server");
    struct weft_tls *client = tls_kit_open(&(struct weft_tls_options){
        .ca = tls_kit_file("ca.pem"), .keylog_file = tls_kit_file("keys.log")});
    struct meeting m = meet(client, server, "server.test");
    CHECK_EQ(m.client.result, 0);
    part(&m);
    const char *text = contents("keys.log");
    CHECK(has(text, "CLIENT_HANDSHAKE_TRAFFIC_SECRET "));
    CHECK(has(text, "\nSERVER_TRAFFIC_SECRET_0 "));
    weft_tls_close(&client);
    weft_tls_close(&server);
    CHECK_EQ(unlink(tls_kit_file("keys.log")), 0);
    return 0;
}

/* --- Two reloads at once ---------------------------------------------------------------------- */

static struct {
    struct weft_tls *tls;
    pthread_t first;
    uint64_t count, last; /* the first one's allocations; before the last it has read all files */
    int results[2];
    bool slow, waits;
    pthread_mutex_t lock;
    pthread_cond_t changed;
} both = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

/* Never refuses; holds the first one up until it is told to go on. */
static bool hold_up(void)
{
    pthread_mutex_lock(&both.lock);
    if (both.slow && pthread_equal(pthread_self(), both.first) && ++both.count == both.last) {
        both.waits = true;
        pthread_cond_broadcast(&both.changed);
        while (both.waits)
            pthread_cond_wait(&both.changed, &both.lock);
    }
    pthread_mutex_unlock(&both.lock);
    return false;
}

static void *reload_first(void *arg)
{
    pthread_mutex_lock(&both.lock);
    both.first = pthread_self();
    both.slow = true;
    both.count = 0;
    pthread_mutex_unlock(&both.lock);
    both.results[0] = weft_tls_reload(both.tls);
    pthread_mutex_lock(&both.lock);
    both.slow = false;
    pthread_mutex_unlock(&both.lock);
    return arg;
}

static void *reload_second(void *arg)
{
    both.results[1] = weft_tls_reload(both.tls);
    return arg;
}

static void use_files_of(const char *name)
{
    char command[400];
    (void)snprintf(command, sizeof command, "cd %s && cp %s.pem live.pem && cp %s.key live.key",
                   tls_kit_dir, name, name);
    CHECK_EQ(system(command), 0);
}

/* The one that reads the files last is the one whose certificates are used. */
static int reloads_at_once(void *arg)
{
    pthread_t threads[2];
    struct timespec soon;
    (void)tls_kit_file("ca.pem");
    use_files_of("server");
    struct weft_tls_certificate c = tls_kit_cert("live.pem", "live.key");
    both.tls = tls_kit_open(&(struct weft_tls_options){
        .certificates = &c, .n_certificates = 1, .ca = tls_kit_file("ca.pem")});
    weft__alloc_refuse_by(hold_up);
    both.last = 0;
    CHECK_EQ(pthread_create(&threads[0], NULL, reload_first, NULL), 0);
    CHECK_EQ(pthread_join(threads[0], NULL), 0);
    both.last = both.count;
    CHECK(both.last > 3);
    CHECK_EQ(pthread_create(&threads[0], NULL, reload_first, NULL), 0);
    pthread_mutex_lock(&both.lock);
    while (!both.waits)
        pthread_cond_wait(&both.changed, &both.lock);
    pthread_mutex_unlock(&both.lock);
    use_files_of("exact");
    CHECK_EQ(pthread_create(&threads[1], NULL, reload_second, NULL), 0);
    CHECK_EQ(clock_gettime(CLOCK_REALTIME, &soon), 0);
    soon.tv_sec++;
    bool early = pthread_timedjoin_np(threads[1], NULL, &soon) == 0;
    pthread_mutex_lock(&both.lock);
    both.waits = false;
    pthread_cond_broadcast(&both.changed);
    pthread_mutex_unlock(&both.lock);
    CHECK_EQ(pthread_join(threads[0], NULL), 0);
    CHECK(!early);
    CHECK_EQ(pthread_join(threads[1], NULL), 0);
    weft__alloc_refuse_by(NULL);
    CHECK_EQ(both.results[0], 0);
    CHECK_EQ(both.results[1], 0);
    struct weft_tls *client = tls_kit_client();
    struct meeting m = meet(client, both.tls, "a.wild.test");
    CHECK_EQ(m.client.result, 0);
    CHECK(strcmp(info_of(m.client.s).subject, "CN=exact") == 0);
    part(&m);
    weft_tls_close(&client);
    weft_tls_close(&both.tls);
    (void)arg;
    return 0;
}

/* A stream that has said something in plain text first, with a record still shown (STARTTLS). */
static int starttls(void *arg)
{
    static const struct weft_framing line = {.kind = WEFT_FRAMING_LINE, .max = 100};
    (void)arg;
    struct weft_tls *server = tls_kit_server("server"), *client = tls_kit_client();
    struct weft_stream *a = NULL, *b = NULL;
    const void *text;
    size_t len;
    CHECK_EQ(weft_socketpair(&a, &b), 0);
    CHECK_EQ(weft_stream_label(b, "mail"), 0);
    CHECK_EQ(weft_write(a, "STARTTLS\n", 9, WEFT_NEVER), 0);
    CHECK_EQ(weft_read_record(b, &line, &text, &len, weft_after_s(60)), 1);
    CHECK_EQ(len, 8);
    CHECK_EQ(weft_write(b, "220\n", 4, WEFT_NEVER), 0);
    CHECK_EQ(weft_read_record(a, &line, &text, &len, weft_after_s(60)), 1);
    tls_kit_secure(&a, &b, client, server);
    CHECK(strcmp(b->label, "mail") == 0);
    CHECK_EQ(weft_write(a, "secret\n", 7, WEFT_NEVER), 0);
    CHECK_EQ(weft_read_record(b, &line, &text, &len, weft_after_s(60)), 1);
    CHECK(len == 6 && memcmp(text, "secret", 6) == 0);
    CHECK_EQ(weft_close(&a, WEFT_NEVER), 0);
    CHECK_EQ(weft_read_record(b, &line, &text, &len, weft_after_s(60)), 0);
    CHECK_EQ(weft_close(&b, WEFT_NEVER), 0);
    weft_tls_close(&client);
    weft_tls_close(&server);
    return 0;
}

/* TLS within TLS: a filter's lower stream may be a filter. */
static int twice(void *arg)
{
    (void)arg;
    struct weft_tls *server = tls_kit_server("server"), *client = tls_kit_client();
    struct meeting m = meet(client, server, "server.test");
    tls_kit_secure(&m.client.s, &m.server.s, client, server);
    talk(&m);
    CHECK_EQ(weft_shutdown(m.client.s, WEFT_NEVER), 0);
    char c;
    CHECK_EQ(weft_read(m.server.s, &c, 1, weft_after_s(60)), 0);
    part(&m);
    weft_tls_close(&client);
    weft_tls_close(&server);
    return 0;
}

/* --- Bounds ---------------------------------------------------------------------------------- */

#define SECOND INT64_C(1000000000)

/* One that waits in line, on a plain thread that nobody has to wake. */
struct place {
    struct weft__in_line line;
    struct weft__wait wait;
};

static int64_t begin(struct weft__handshakes *h, struct place *p, int64_t now)
{
    weft__wait_init(&p->wait, "test", -1, NULL);
    p->line.wait = &p->wait;
    return weft__handshakes_begin(h, &p->line, now);
}

/* Who waits goes in the order in which they came; who gives up is passed over, and one is told for
 * each place. */
static void first_come_first(void)
{
    struct weft__handshakes h;
    struct place p[6] = {0};
    weft__handshakes_init(&h, 2, 0);
    for (int i = 0; i < 6; i++)
        CHECK_EQ(begin(&h, &p[i], SECOND), i < 2 ? 0 : -EAGAIN);
    weft__handshakes_end(&h);
    CHECK(p[2].wait.ended && !p[3].wait.ended);
    CHECK_EQ(begin(&h, &p[4], SECOND), -EAGAIN); /* there is room, but not for it */
    CHECK_EQ(begin(&h, &p[2], SECOND), 0);
    CHECK(!p[3].wait.ended); /* no place is left */
    CHECK(weft__handshakes_leave(&h, &p[4].line));
    CHECK(weft__handshakes_mute(&h, &p[3].line));
    weft__handshakes_end(&h);
    CHECK(!p[3].wait.ended && !weft__handshakes_mute(&h, &p[3].line)); /* it does not listen */
    CHECK(weft__handshakes_leave(&h, &p[3].line)); /* the place is for who comes then */
    CHECK(p[5].wait.ended);
    CHECK_EQ(begin(&h, &p[5], SECOND), 0);
    weft__handshakes_end(&h);
    weft__handshakes_end(&h);
    weft__handshakes_fini(&h);
}

/* How many handshakes a server lets begin in a second. */
static void *on_a_thread(void *arg)
{
    struct weft__handshakes h;
    struct place p[3] = {0};
    first_come_first();
    weft__handshakes_init(&h, 0, 4);
    for (int i = 0; i < 4; i++)
        CHECK_EQ(begin(&h, &p[0], SECOND), 0); /* a second's worth at once */
    CHECK_EQ(begin(&h, &p[0], SECOND), SECOND / 4);
    CHECK_EQ(begin(&h, &p[1], SECOND), -EAGAIN);
    CHECK_EQ(begin(&h, &p[0], SECOND + SECOND / 8), SECOND / 8);
    CHECK_EQ(begin(&h, &p[1], SECOND + SECOND / 4), -EAGAIN); /* not before the first */
    CHECK_EQ(begin(&h, &p[0], SECOND + SECOND / 4), 0);
    CHECK(p[1].wait.ended);
    CHECK_EQ(begin(&h, &p[1], SECOND + SECOND / 4), SECOND / 4);
    CHECK_EQ(begin(&h, &p[1], 100 * SECOND), 0);
    for (int i = 0; i < 3; i++) /* no more is saved up than that */
        CHECK_EQ(begin(&h, &p[2], 100 * SECOND), 0);
    CHECK_EQ(begin(&h, &p[2], 100 * SECOND), SECOND / 4);
    CHECK(weft__handshakes_leave(&h, &p[2].line));
    for (int i = 0; i < 9; i++)
        weft__handshakes_end(&h);
    weft__handshakes_fini(&h);
    return arg;
}

static int bounds(void *arg)
{
    pthread_t thread;
    CHECK_EQ(pthread_create(&thread, NULL, on_a_thread, arg), 0);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    return 0;
}

static int (*const bodies[])(void *) = {resumption, starttls, twice};

/* All of it on plain threads, too. */
static void on_threads(const char *driver)
{
    if (strcmp(driver, "epoll") != 0)
        return;
    for (size_t i = 0; i < WEFT__ARRAY_LEN(bodies); i++)
        assert_int_equal(bodies[i](NULL), 0);
}

static const struct kit_case cases[] = {
    IN_TASK(resumption),
    IN_TASK(few_sessions),
    IN_TASK(certificates_expire),
    ON_THREAD(sessions_get_old),
    IN_TASK(sources),
    IN_TASK(weak_certificates),
    IN_TASK(reloads_at_once),
    IN_TASK(keylog),
    IN_TASK(starttls),
    IN_TASK(twice),
    IN_TASK(bounds),
    ON_THREAD(on_threads),
};
KIT_MAIN(cases)
