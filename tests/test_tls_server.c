/* SPDX-License-Identifier: MIT */
/*
 * Secured servers in every model: what they count and tell, how many handshakes they let begin,
 * peers that say nothing or too little, sessions across workers, certificates changed under load.
 */
#include <sys/socket.h>

#include <weft/protocol.h>
#include <weft/server.h>

#include "tls_meet.h"

struct failure {
    int n, error, n_blames_others;
    char detail[200];
};

static struct failure failure;
static pthread_mutex_t failure_lock = PTHREAD_MUTEX_INITIALIZER; /* each connection has a thread */

/* What was told so far. */
static struct failure told(void)
{
    pthread_mutex_lock(&failure_lock);
    struct failure f = failure;
    pthread_mutex_unlock(&failure_lock);
    return f;
}

static void forget(void)
{
    pthread_mutex_lock(&failure_lock);
    failure = (struct failure){0};
    pthread_mutex_unlock(&failure_lock);
}

static void on_failed(void *arg, const struct weft_address *peer, int error)
{
    (void)arg;
    (void)peer; /* a socket that the peer has reset has none */
    pthread_mutex_lock(&failure_lock);
    failure.error = error;
    (void)snprintf(failure.detail, sizeof failure.detail, "%s", weft_error_detail());
    failure.n++;
    failure.n_blames_others += strstr(failure.detail, "too many handshakes") != NULL;
    pthread_mutex_unlock(&failure_lock);
}

static _Atomic int made;

static int on_made(struct weft_stream *t, void *arg)
{
    (void)arg;
    CHECK(info_of(t).server);
    made++;
    return 0;
}

static int echo(struct weft_stream *t, const void *data, size_t len, void *conn)
{
    (void)conn;
    return weft_transport_write(t, data, len);
}

static const struct weft_protocol echo_protocol = {.made = on_made, .data = echo};

struct site {
    struct weft_group *g;
    struct weft_server *server;
    struct weft_tls *tls, *client;
    char endpoint[WEFT_ENDPOINT_MAX], plain[WEFT_ENDPOINT_MAX];
};

static void site_open(struct site *s, enum weft_model model, struct weft_server_options o)
{
    struct weft_factory f = {.protocol = &echo_protocol};
    made = 0;
    forget();
    s->g = kit_group();
    if (s->tls == NULL)
        s->tls = tls_kit_server("server");
    s->client = tls_kit_client();
    o.model = model;
    o.tls = s->tls;
    o.failed = on_failed;
    if (KIT_SLOW && o.handshake_ms == 0)
        o.handshake_ms = 60000;
    int err = weft_server_open(&s->server, s->g, "tls://127.0.0.1:0", &o, NULL, NULL, &f);
    if (err < 0)
        (void)fprintf(stderr, "%s\n", weft_error_detail());
    CHECK_EQ(err, 0);
    CHECK(weft_server_endpoint(s->server, s->endpoint, sizeof s->endpoint) > 0);
    (void)snprintf(s->plain, sizeof s->plain, "tcp%.90s", s->endpoint + 3);
}

static void site_close(struct site *s)
{
    CHECK_EQ(weft_group_close(&s->g), 0);
    weft_tls_close(&s->tls);
    weft_tls_close(&s->client);
}

/* A connection with TCP alone. */
static struct weft_stream *plain_to(const struct site *s)
{
    struct weft_stream *c = NULL;
    CHECK_EQ(weft_dial(&c, s->plain, NULL, weft_after_s(60)), 0);
    return c;
}

static int dial_with(const struct site *s, struct weft_tls *tls, struct weft_stream **ret)
{
    *ret = plain_to(s);
    int err = weft_tls_connect(ret, tls, "server.test", weft_after_s(60));
    if (err < 0)
        CHECK_EQ(weft_close(ret, weft_after_s(60)), WEFT_EPOISONED); /* the alert goes out */
    return err;
}

static struct weft_tls_info ask(const struct site *s, struct weft_tls *tls)
{
    struct weft_stream *c = NULL;
    static struct weft_tls_info i;
    char back[5];
    CHECK_EQ(dial_with(s, tls, &c), 0);
    CHECK_EQ(weft_write(c, "hello", 5, WEFT_NEVER), 0);
    CHECK_EQ(weft_read_full(c, back, 5, weft_after_s(60)), 0);
    CHECK(memcmp(back, "hello", 5) == 0);
    i = info_of(c);
    i.version = i.cipher = i.alpn = i.sni = i.subject = i.names = i.chain = NULL;
    CHECK_EQ(weft_close(&c, weft_after_s(60)), 0);
    return i;
}

static struct weft_server_stats stats_of(const struct site *s)
{
    struct weft_server_stats st;
    weft_server_stats_mt(s->server, &st);
    return st;
}

static void wait_idle(const struct site *s)
{
    while (stats_of(s).live > 0)
        CHECK_EQ(weft_sleep_ms(1), 0);
}

/* --- Every model -------------------------------------------------------------------------------
 */

static int every_model(void *arg)
{
    (void)arg;
    for (int m = 0; m < 3; m++) {
        struct site s = {0};
        site_open(&s, (enum weft_model)m, (struct weft_server_options){0});
        for (int i = 0; i < 3; i++)
            CHECK_EQ(ask(&s, s.client).resumed, i > 0);
        wait_idle(&s);
        struct weft_server_stats st = stats_of(&s);
        CHECK_EQ(st.handshakes, 3);
        CHECK_EQ(st.handshakes_failed, 0);
        CHECK_EQ(st.failed, 0);
        CHECK_EQ(made, 3);
        site_close(&s);
    }
    return 0;
}

static int a_handshake_that_fails(void *arg)
{
    (void)arg;
    for (int m = 0; m < 3; m++) {
        struct site s = {.tls = tls_kit_server("stranger")};
        struct weft_stream *c = NULL;
        site_open(&s, (enum weft_model)m, (struct weft_server_options){0});
        CHECK_EQ(dial_with(&s, s.client, &c), WEFT_ECERTIFICATE);
        wait_idle(&s);
        CHECK_EQ(told().n, 1);
        CHECK_EQ(told().error, WEFT_ECERTIFICATE);
        CHECK(has(told().detail, "the peer refused our certificate"));
        struct weft_server_stats st = stats_of(&s);
        CHECK_EQ(st.handshakes, 0);
        CHECK_EQ(st.handshakes_failed, 1);
        CHECK_EQ(st.failed, 1);
        CHECK_EQ(made, 0);
        site_close(&s);
    }
    return 0;
}

/* What is wrong after the handshake is told to the peer, though the handler's error resets. */
static int alerts_go_out(void *arg)
{
    static const struct {
        const char *bytes, *detail;
        size_t len;
    } cases[] = {
        {"\x17\x03\x03\x00\x14twenty wrong bytes..", "(alert 20)", 25},
        {"\x17\x03\x03\xff\xff", "(alert 22)", 5},
        {"\x14\x03\x03\x00\x01\x01", "(alert 10)", 6},
    };
    (void)arg;
    for (int m = 0; m < 3; m++) {
        struct site s = {0};
        site_open(&s, (enum weft_model)m, (struct weft_server_options){0});
        for (size_t i = 0; i < WEFT__ARRAY_LEN(cases); i++) {
            struct weft_stream *c = NULL;
            char back[8];
            CHECK_EQ(dial_with(&s, s.client, &c), 0);
            CHECK_EQ(weft_write(c, "hello", 5, WEFT_NEVER), 0);
            CHECK_EQ(weft_read_full(c, back, 5, weft_after_s(60)), 0);
            CHECK_EQ(send(weft_stream_fd(c), cases[i].bytes, cases[i].len, MSG_NOSIGNAL),
                     cases[i].len);
            CHECK_EQ(weft_read(c, back, sizeof back, weft_after_s(60)), WEFT_ETLS);
            CHECK(has(weft_error_detail(), cases[i].detail));
            weft_abort(&c);
        }
        wait_idle(&s);
        site_close(&s);
    }
    return 0;
}

/* --- Bounds ------------------------------------------------------------------------------------
 */

#define HALF_HELLO "\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03" /* and then no more */

static int silence_and_half_hellos_end(void *arg)
{
    (void)arg;
    for (int m = 0; m < 3; m++) {
        struct site s = {0};
        char c;
        site_open(&s, (enum weft_model)m, (struct weft_server_options){.handshake_ms = 60});
        struct weft_stream *silent = plain_to(&s), *half = plain_to(&s);
        CHECK_EQ(weft_write(half, HALF_HELLO, 11, WEFT_NEVER), 0);
        CHECK_EQ(weft_flush(half, WEFT_NEVER), 0);
        CHECK(weft_read(silent, &c, 1, weft_after_s(60)) <= 0);
        CHECK(weft_read(half, &c, 1, weft_after_s(60)) <= 0);
        wait_idle(&s);
        struct weft_server_stats st = stats_of(&s);
        CHECK_EQ(st.handshakes_failed, 2);
        CHECK_EQ(st.timed_out, 2);
        CHECK_EQ(told().error, -ETIMEDOUT);
        CHECK_EQ(told().n_blames_others, 0);
        weft_abort(&silent);
        weft_abort(&half);
        site_close(&s);
    }
    return 0;
}

static int connect_later(void *arg)
{
    struct site *s = arg;
    (void)ask(s, s->client);
    return 0;
}

static struct weft_stream *saying(const struct site *s, const char *what, size_t len)
{
    struct weft_stream *c = plain_to(s);
    if (len > 0) {
        CHECK_EQ(weft_write(c, what, len, WEFT_NEVER), 0);
        CHECK_EQ(weft_flush(c, WEFT_NEVER), 0);
    }
    return c;
}

#define FIRST_RECORD "\x16\x03\x01\x00\x06\x01\x00\x00\xc4\x03\x03" /* the hello has more */

/* One handshake at once: who is silent or begins a record takes no place, who ends one does. */
static int no_more_at_once_than_allowed(void *arg)
{
    (void)arg;
    for (int m = 0; m < 3; m++) {
        struct site s = {0};
        struct weft_stream *silent[12];
        site_open(&s, (enum weft_model)m,
                  (struct weft_server_options){.max_handshakes = 1, .handshake_ms = 60000});
        for (int i = 0; i < 12; i++)
            silent[i] = saying(&s, HALF_HELLO, (size_t)i);
        while (stats_of(&s).reads < 11)
            CHECK_EQ(weft_sleep_ms(1), 0);
        (void)ask(&s, s.client);
        while (stats_of(&s).live > 12) /* its goodbye is a read, too */
            CHECK_EQ(weft_sleep_ms(1), 0);
        uint64_t reads = stats_of(&s).reads;
        struct weft_stream *half = saying(&s, FIRST_RECORD, 11);
        while (stats_of(&s).reads == reads)
            CHECK_EQ(weft_sleep_ms(1), 0);
        struct weft_group *g = kit_group();
        kit_go(g, "later", connect_later, &s);
        CHECK_EQ(weft_group_wait(g, weft_after_ms(50)), -ETIMEDOUT);
        CHECK_EQ(made, 1);
        weft_abort(&half);
        CHECK_EQ(weft_group_wait(g, weft_after_s(60)), 0); /* its turn has come */
        CHECK_EQ(made, 2);
        CHECK_EQ(weft_group_close(&g), 0);
        for (int i = 0; i < 12; i++)
            weft_abort(&silent[i]);
        site_close(&s);
    }
    return 0;
}

struct crumbs {
    struct weft_stream *from, *to;
    bool small;
};

static int relay(void *arg)
{
    struct crumbs *c = arg;
    char buf[4096];
    ssize_t n;
    int err = 0;
    while (err == 0 && (n = weft_read(c->from, buf, c->small ? 1 : sizeof buf, WEFT_NEVER)) > 0) {
        err = weft_write(c->to, buf, (size_t)n, WEFT_NEVER);
        if (err == 0)
            err = weft_flush(c->to, WEFT_NEVER);
    }
    (void)!weft_shutdown(c->to, WEFT_NEVER);
    return 0; /* the other side may be closed by now */
}

/* A hello that comes byte for byte, in one record, is put together. */
static int a_hello_in_crumbs(void *arg)
{
    (void)arg;
    for (int m = 0; m < 3; m++) {
        struct site s = {0};
        struct weft_stream *c = NULL, *end = NULL;
        char back[5];
        site_open(&s, (enum weft_model)m, (struct weft_server_options){0});
        CHECK_EQ(weft_pipe_open(&c, &end, 65536), 0);
        struct weft_group *g = kit_group();
        struct weft_stream *tcp = plain_to(&s);
        struct crumbs up = {.from = end, .to = tcp, .small = true}, down = {.from = tcp, .to = end};
        kit_go(g, "up", relay, &up);
        kit_go(g, "down", relay, &down);
        CHECK_EQ(weft_tls_connect(&c, s.client, "server.test", weft_after_s(60)), 0);
        CHECK_EQ(weft_write(c, "hello", 5, WEFT_NEVER), 0);
        CHECK_EQ(weft_read_full(c, back, 5, weft_after_s(60)), 0);
        CHECK(memcmp(back, "hello", 5) == 0);
        CHECK_EQ(weft_close(&c, weft_after_s(60)), 0);
        CHECK_EQ(weft_group_wait(g, weft_after_s(60)), 0);
        CHECK_EQ(weft_group_close(&g), 0);
        weft_abort(&tcp);
        weft_abort(&end);
        wait_idle(&s);
        CHECK_EQ(stats_of(&s).handshakes, 1);
        CHECK_EQ(stats_of(&s).failed, 0);
        site_close(&s);
    }
    return 0;
}

/* Who hangs up is told apart by whether it has said anything; what is no record is refused at once,
 * however short. */
static int hang_up_and_nonsense(void *arg)
{
    static const struct {
        const char *says, *detail;
        size_t len;
        bool stays;
        int error;
    } all[] = {
        {"", "hung up during the handshake, without a word", 0, false, WEFT_EEOF},
        {HALF_HELLO, "hung up during the handshake", 1, false, WEFT_EEOF},
        {HALF_HELLO, "hung up during the handshake", 11, false, WEFT_EEOF},
        {"GET /", "does not speak TLS: it began with", 5, true, WEFT_ETLS},
        {"\x16\x02 no TLS", "", 9, true, WEFT_ETLS},
        {"\x16\x03\x01\xff\xff", "", 5, true, WEFT_ETLS},
    };
    (void)arg;
    for (int m = 0; m < 3; m++) {
        struct site s = {0};
        site_open(&s, (enum weft_model)m, (struct weft_server_options){.handshake_ms = 60000});
        for (size_t i = 0; i < WEFT__ARRAY_LEN(all); i++) {
            char c[64];
            forget();
            struct weft_stream *peer = saying(&s, all[i].says, all[i].len);
            if (!all[i].stays)
                CHECK_EQ(weft_shutdown(peer, WEFT_NEVER), 0);
            while (weft_read(peer, c, sizeof c, weft_after_s(60)) > 0)
                ;
            while (told().n == 0)
                CHECK_EQ(weft_sleep_ms(1), 0);
            if (told().error != all[i].error || !has(told().detail, all[i].detail))
                print_message("%zu: %d %s\n", i, told().error, told().detail);
            CHECK_EQ(told().error, all[i].error);
            CHECK(has(told().detail, all[i].detail));
            CHECK_EQ(has(told().detail, "without a word"), i == 0);
            weft_abort(&peer);
        }
        wait_idle(&s);
        site_close(&s);
    }
    return 0;
}

static int no_more_in_a_second_than_allowed(void *arg)
{
    (void)arg;
    for (int m = 0; m < 3; m++) {
        struct site s = {0};
        site_open(&s, (enum weft_model)m, (struct weft_server_options){.handshake_rate = 10});
        int64_t began = weft_now_ns();
        for (int i = 0; i < 13; i++)
            (void)ask(&s, s.client);
        CHECK(weft_now_ns() - began >= INT64_C(200000000)); /* 10 at once, then one in 100 ms */
        site_close(&s);
    }
    return 0;
}

/* What a handler has queued is sent while it reads: when the peer takes none of it, that counts as
 * a blocked write, though no flow waits in one. */
static int says_much_and_listens(struct weft_stream *s, void *arg)
{
    static char piece[8000];
    char c;
    for (int i = 0; i < 1500; i++) /* more than the kernel takes */
        CHECK_EQ(weft_write(s, piece, sizeof piece, WEFT_NEVER), 0);
    *(int *)arg = (int)weft_read(s, &c, 1, weft_after_s(60));
    return 0;
}

static int queued_writes_stall(void *arg)
{
    struct site s = {.g = kit_group(), .tls = tls_kit_server("server"), .client = tls_kit_client()};
    struct weft_server_options o = {.tls = s.tls,
                                    .write_buffer = 16 << 20,
                                    .write_ms = KIT_SANITIZED || !KIT_SLOW ? 100 : 2000};
    struct weft_stream *c = NULL;
    int result = 0;
    (void)arg;
    CHECK_EQ(weft_server_open(&s.server, s.g, "tls://127.0.0.1:0", &o, says_much_and_listens,
                              &result, NULL),
             0);
    CHECK(weft_server_endpoint(s.server, s.endpoint, sizeof s.endpoint) > 0);
    (void)snprintf(s.plain, sizeof s.plain, "tcp%.90s", s.endpoint + 3);
    CHECK_EQ(dial_with(&s, s.client, &c), 0);
    while (stats_of(&s).accepted == 0)
        CHECK_EQ(weft_sleep_ms(1), 0);
    wait_idle(&s);
    CHECK_EQ(result, -ETIMEDOUT);
    CHECK_EQ(stats_of(&s).timed_out, 1);
    weft_abort(&c);
    site_close(&s);
    return 0;
}

/* --- Workers and reload ------------------------------------------------------------------------
 */

static int sessions_go_from_worker_to_worker(void *arg)
{
    (void)arg;
    for (int m = 0; m < 3; m++) {
        struct site s = {0};
        site_open(&s, (enum weft_model)m, (struct weft_server_options){.workers = 2});
        for (int i = 0; i < 12; i++)
            CHECK_EQ(ask(&s, s.client).resumed, i > 0);
        site_close(&s);
    }
    return 0;
}

struct load {
    struct site *s;
    bool *stop;
    int n;
};

static int connect_on_and_on(void *arg)
{
    struct load *l = arg;
    struct weft_tls *tls = tls_kit_client(); /* a new one: no sessions of the others */
    while (!*l->stop) {
        (void)ask(l->s, tls);
        l->n++;
    }
    weft_tls_close(&tls);
    return 0;
}

static int certificates_change_under_load(void *arg)
{
    (void)arg;
    for (int m = 0; m < 3; m++) {
        struct site s = {0};
        bool stop = false;
        struct load loads[4];
        struct weft_stream *old = NULL;
        char c;
        site_open(&s, (enum weft_model)m, (struct weft_server_options){.workers = 2});
        CHECK_EQ(dial_with(&s, s.client, &old), 0);
        struct weft_group *g = kit_group();
        for (size_t i = 0; i < 4; i++) {
            loads[i] = (struct load){.s = &s, .stop = &stop};
            kit_go(g, "load", connect_on_and_on, &loads[i]);
        }
        for (int i = 0; i < (WEFT__TSAN ? 4 : 10); i++) {
            CHECK_EQ(weft_tls_reload(s.tls), 0);
            CHECK_EQ(weft_tls_rotate(s.tls), 0);
            CHECK_EQ(weft_sleep_ms(5), 0);
        }
        stop = true;
        CHECK_EQ(weft_group_wait(g, weft_after_s(60)), 0);
        CHECK_EQ(weft_group_close(&g), 0);
        CHECK_EQ(weft_write(old, "x", 1, WEFT_NEVER), 0); /* none was dropped */
        CHECK_EQ(weft_read(old, &c, 1, weft_after_s(60)), 1);
        CHECK_EQ(weft_close(&old, weft_after_s(60)), 0);
        wait_idle(&s);
        CHECK_EQ(stats_of(&s).failed, 0);
        for (size_t i = 0; i < 4; i++)
            CHECK(loads[i].n > 0);
        site_close(&s);
    }
    return 0;
}

static const struct kit_case cases[] = {
    IN_TASK(every_model),
    IN_TASK(a_handshake_that_fails),
    IN_TASK(alerts_go_out),
    IN_TASK(queued_writes_stall),
    IN_TASK(silence_and_half_hellos_end),
    IN_TASK(a_hello_in_crumbs),
    IN_TASK(hang_up_and_nonsense),
    IN_TASK(no_more_at_once_than_allowed),
    IN_TASK(no_more_in_a_second_than_allowed),
    IN_TASK(sessions_go_from_worker_to_worker),
    IN_TASK(certificates_change_under_load),
};
KIT_MAIN(cases)
