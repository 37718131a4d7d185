/* SPDX-License-Identifier: MIT */
/*
 * Dialling names: a real name server on loopback says where they are; in a task of each driver and
 * on a plain thread.
 */
#include "dns_kit.h"

#include <weft/listener.h>
#include <weft/server.h>
#include <weft/udp.h>

static const char *const records[] = {
    "--host-record=one.test,127.0.0.1", "--host-record=dual.test,127.0.0.1,::1",
    "--host-record=two.test,127.0.0.1", "--host-record=two.test,127.0.0.2", NULL};

struct target {
    struct weft_listener *l;
    int port;
    int other; /* alone_at: a socket that has the port in the other family, and does not listen */
};

static struct target listen_at(const char *endpoint)
{
    struct target t = {.other = -1};
    char at[WEFT_ENDPOINT_MAX];
    struct weft_endpoint e;
    CHECK_EQ(weft_listen(&t.l, endpoint, NULL), 0);
    CHECK(weft_listener_endpoint(t.l, at, sizeof at) > 0);
    CHECK_EQ(weft_endpoint_parse(&e, at), 0);
    t.port = e.port;
    return t;
}

/* On the other loopback address nobody listens at this port, whatever else runs on this machine. */
static struct target alone_at(const char *host, const char *other)
{
    struct weft_endpoint e;
    char at[WEFT_ENDPOINT_MAX];
    for (;;) {
        (void)snprintf(at, sizeof at, "tcp://%s:0", host);
        struct target t = listen_at(at);
        (void)snprintf(at, sizeof at, "tcp://%s:%d", other, t.port);
        CHECK_EQ(weft_endpoint_parse(&e, at), 0);
        t.other = socket(e.address.sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        CHECK(t.other >= 0);
        if (bind(t.other, (struct sockaddr *)&e.address.sa, e.address.len) == 0)
            return t;
        CHECK_EQ(errno, EADDRINUSE);
        close(t.other);
        weft_listener_close(&t.l);
    }
}

static void target_close(struct target *t)
{
    weft_listener_close(&t->l);
    if (t->other >= 0)
        close(t->other);
}

static int dial(struct weft_stream **s, const char *host, int port,
                const struct weft_dial_options *o, weft_deadline d)
{
    char at[WEFT_ENDPOINT_MAX];
    (void)snprintf(at, sizeof at, "tcp://%s:%d", host, port);
    return weft_dial(s, at, o, d);
}

static void arrives(const char *host, int port, const char *peer, const struct weft_dial_options *o)
{
    struct weft_stream *s = NULL;
    struct weft_address a;
    char text[WEFT_ENDPOINT_MAX], want[WEFT_ENDPOINT_MAX];
    int err = dial(&s, host, port, o, DNS_SOON);
    if (err < 0)
        (void)fprintf(stderr, "%s\n", weft_error_detail());
    CHECK_EQ(err, 0);
    CHECK_EQ(weft_stream_peer(s, &a), 0);
    dns_print(text, sizeof text, &a);
    (void)snprintf(want, sizeof want, "%s:%d", peer, port);
    CHECK(strcmp(text, want) == 0);
    weft_abort(&s);
}

static void use_real(void)
{
    char servers[40];
    (void)snprintf(servers, sizeof servers, "127.0.0.1:%d", real.port);
    struct weft_dns_options o = {
        .servers = servers, .search = "", .resolv_conf = "", .hosts = "", .timeout_ms = 20000};
    CHECK_EQ(weft_dns_configure(&o), 0);
}

static int finds_hosts(void *arg)
{
    struct target four = alone_at("127.0.0.1", "[::1]"), six = alone_at("[::1]", "127.0.0.1");
    struct weft_stream *s = NULL;
    (void)arg;
    use_real();
    arrives("one.test", four.port, "127.0.0.1", NULL);
    arrives("two.test", four.port, "127.0.0.1", NULL);
    arrives("dual.test", four.port, "127.0.0.1", NULL); /* nobody listens on the other */
    arrives("dual.test", six.port, "[::1]", NULL);
    arrives("localhost", four.port, "127.0.0.1", NULL);
    arrives("localhost", six.port, "[::1]", NULL);
    struct weft_dial_options o = {.family = AF_INET6};
    CHECK_EQ(dial(&s, "dual.test", four.port, &o, DNS_SOON), -ECONNREFUSED);
    CHECK_EQ(dial(&s, "one.test", four.port, &o, DNS_SOON), WEFT_ENAME);
    o.family = 5;
    CHECK_EQ(dial(&s, "one.test", four.port, &o, DNS_SOON), -EINVAL);
    /* An address to send from chooses the family. */
    o = (struct weft_dial_options){.bind = "tcp://127.0.0.5:0"};
    arrives("dual.test", four.port, "127.0.0.1", &o);
    CHECK_EQ(dial(&s, "dual.test", six.port, &o, DNS_SOON), -ECONNREFUSED);
    o.family = AF_INET6;
    CHECK_EQ(dial(&s, "dual.test", six.port, &o, DNS_SOON), -EINVAL);
    CHECK_EQ(dial(&s, "nobody.test", four.port, NULL, DNS_SOON), WEFT_ENAME);
    dns_detail_has("nobody.test: no such name");
    CHECK_EQ(dial(&s, "dual.test", four.port == 1 ? 2 : 1, NULL, DNS_SOON), -ECONNREFUSED);
    dns_detail_has("dual.test");
    CHECK(s == NULL);
    target_close(&four);
    target_close(&six);
    return 0;
}

static int silent_server(void *arg)
{
    struct weft_stream *s = NULL;
    (void)arg;
    wild_use(NULL);
    CHECK_EQ(dial(&s, "silent.test", 1, NULL, weft_after_ms(20)), -ETIMEDOUT);
    CHECK_EQ(dial(&s, "silent.test", 1, NULL, WEFT_NOW), -ETIMEDOUT);
    CHECK(s == NULL);
    return 0;
}

static int dials_silent(void *arg)
{
    struct weft_stream *s = NULL;
    (void)arg;
    wild_use(NULL);
    CHECK_EQ(dial(&s, "silent.test", 1, NULL, WEFT_NEVER), -ECANCELED);
    CHECK(s == NULL);
    return 0;
}

static int is_canceled(void *arg)
{
    struct weft_group *g = kit_group();
    (void)arg;
    kit_go(g, "dials", dials_silent, NULL);
    if (weft_loop_current() != NULL)
        kit_settle();
    weft_group_cancel(g);
    CHECK_EQ(weft_group_close(&g), 0);
    return 0;
}

/* --- Races ------------------------------------------------------------------------------------ */

/* A listener whose queue is full: who connects to it gets no answer. */
struct dead {
    struct weft_listener *l;
    int fds[8], n, port;
};

static struct dead dead_at(const char *host, int port)
{
    struct dead d = {.port = port};
    struct weft_listen_options o = {.backlog = 1};
    struct weft_endpoint e;
    char at[WEFT_ENDPOINT_MAX];
    (void)snprintf(at, sizeof at, "tcp://%s:%d", host, port);
    CHECK_EQ(weft_listen(&d.l, at, &o), 0);
    CHECK_EQ(weft_endpoint_parse(&e, at), 0);
    for (d.n = 0; d.n < 8; d.n++) {
        d.fds[d.n] = socket(e.address.sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        CHECK(d.fds[d.n] >= 0);
        (void)connect(d.fds[d.n], (struct sockaddr *)&e.address.sa, e.address.len);
    }
    return d;
}

static void dead_close(struct dead *d)
{
    while (d->n > 0)
        close(d->fds[--d->n]);
    weft_listener_close(&d->l);
}

/* A port that is free for both families. */
static struct target both_free(void)
{
    for (;;) {
        struct target t = listen_at("tcp://127.0.0.1:0");
        struct weft_listener *six = NULL;
        char at[64];
        (void)snprintf(at, sizeof at, "tcp://[::1]:%d", t.port);
        if (weft_listen(&six, at, NULL) == 0) {
            weft_listener_close(&six);
            return t;
        }
        weft_listener_close(&t.l);
    }
}

static int64_t ms_since(int64_t began_ns)
{
    return (weft_now_ns() - began_ns) / 1000000;
}

/* IPv6 goes first and gets no answer; IPv4 is tried after the delay, and wins. */
static int dead_family(void *arg)
{
    struct target four = both_free();
    struct dead six = dead_at("[::1]", four.port);
    struct weft_stream *s = NULL;
    (void)arg;
    use_real();
    int64_t began = weft_now_ns();
    arrives("localhost", four.port, "127.0.0.1", NULL);
    CHECK(ms_since(began) >= 250);
    struct weft_dial_options o = {.attempt_delay_ms = 20};
    began = weft_now_ns();
    arrives("localhost", four.port, "127.0.0.1", &o);
    CHECK(ms_since(began) >= 20 && (KIT_SLOW || ms_since(began) < 250));
    o.attempt_delay_ms = 9;
    CHECK_EQ(dial(&s, "localhost", four.port, &o, DNS_SOON), -EINVAL);
    o = (struct weft_dial_options){.family = AF_INET6};
    CHECK_EQ(dial(&s, "localhost", four.port, &o, weft_after_ms(20)), -ETIMEDOUT);
    weft_listener_close(&four.l);
    /* Refused by one, no answer from the other: the whole time is waited for. */
    o = (struct weft_dial_options){.attempt_delay_ms = 10};
    CHECK_EQ(dial(&s, "localhost", six.port, &o, weft_after_ms(100)), -ETIMEDOUT);
    dns_detail_has("[::1] no answer, 127.0.0.1 ECONNREFUSED");
    dead_close(&six);
    CHECK_EQ(dial(&s, "localhost", six.port, NULL, DNS_SOON), -ECONNREFUSED);
    dns_detail_has("[::1] ECONNREFUSED, 127.0.0.1 ECONNREFUSED");
    CHECK(s == NULL);
    return 0;
}

/* One family's answer does not come: the other one is used, IPv4 after a moment's patience. */
static int half_an_answer(void *arg)
{
    struct target four = alone_at("127.0.0.1", "[::1]"), six = alone_at("[::1]", "127.0.0.1");
    struct weft_stream *s = NULL;
    (void)arg;
    wild_use(NULL);
    int64_t began = weft_now_ns();
    arrives("sixless-near.test", four.port, "127.0.0.1", NULL);
    CHECK(ms_since(began) >= 50 && ms_since(began) < 15000);
    arrives("fourless-near.test", six.port, "[::1]", NULL);
    /* From the cache: only the answer that there is. */
    arrives("fourless-near.test", six.port, "[::1]", NULL);
    /* It is refused, and there may be more addresses yet. */
    CHECK_EQ(dial(&s, "fourless-near.test", four.port, NULL, weft_after_ms(100)), -ETIMEDOUT);
    dns_detail_has("[::1] ECONNREFUSED");
    /* Both answers come. */
    arrives("dual-near.test", four.port, "127.0.0.1", NULL);
    CHECK(s == NULL);
    target_close(&four);
    target_close(&six);
    return 0;
}

static int dials_dead(void *arg)
{
    struct weft_stream *s = NULL;
    struct weft_dial_options o = {.attempt_delay_ms = 10};
    CHECK_EQ(dial(&s, "localhost", *(int *)arg, &o, WEFT_NEVER), -ECANCELED);
    CHECK(s == NULL);
    return 0;
}

static int race_is_canceled(void *arg)
{
    struct target four = both_free();
    int port = four.port;
    (void)arg;
    weft_listener_close(&four.l);
    struct dead d4 = dead_at("127.0.0.1", port), d6 = dead_at("[::1]", port);
    struct weft_group *g = kit_group();
    kit_go(g, "dials", dials_dead, &port);
    CHECK_EQ(weft_sleep_ms(30), 0); /* both are under way by then, or it makes no difference */
    weft_group_cancel(g);
    CHECK_EQ(weft_group_close(&g), 0);
    dead_close(&d4);
    dead_close(&d6);
    return 0;
}

/* More addresses than a detail has room for. */
static int many_addresses(void *arg)
{
    struct target t = both_free();
    struct weft_stream *s = NULL;
    struct weft_dial_options o = {.family = AF_INET};
    (void)arg;
    weft_listener_close(&t.l);
    wild_use(NULL);
    CHECK_EQ(dial(&s, "many-near.test", t.port, &o, DNS_SOON), -ECONNREFUSED);
    dns_detail_has("127.0.0.1 ECONNREFUSED, 127.0.0.2 ECONNREFUSED");
    dns_detail_has(" more");
    CHECK(s == NULL);
    return 0;
}

/* A listener has no time to ask anybody. */
static int serving_names(void *arg)
{
    struct weft_listener *l = NULL;
    struct target t = listen_at("tcp://localhost:0");
    (void)arg;
    arrives("localhost", t.port, "127.0.0.1", NULL);
    weft_listener_close(&t.l);
    CHECK_EQ(weft_listen(&l, "tcp://one.test:0", NULL), WEFT_ENAME);
    dns_detail_has("one.test is a name");
    CHECK_EQ(weft_listen(&l, "tls://127.0.0.1:0", NULL), WEFT_EENDPOINT);
    CHECK_EQ(weft_listen(&l, "fd:0?cert=x", NULL), WEFT_EENDPOINT);
    CHECK(l == NULL);
    return 0;
}

static int one_byte(struct weft_stream *s, void *arg)
{
    (void)arg;
    return weft_write(s, "x", 1, DNS_SOON);
}

/* A server's own name is looked up, and so are a UDP socket's and its peer's; with what a UDP
 * socket cannot have. */
static int serving_and_datagrams_by_name(void *arg)
{
    struct weft_group *g = kit_group();
    struct weft_server *server = NULL;
    struct weft_stream *s = NULL;
    struct weft_udp *here = NULL, *there = NULL;
    struct weft_address a;
    char at[WEFT_ENDPOINT_MAX], text[WEFT_ENDPOINT_MAX], c;
    (void)arg;
    wild_use(NULL);
    CHECK_EQ(weft_server_open(&server, g, "tcp://dual-near.test:0", NULL, one_byte, NULL, NULL), 0);
    CHECK(weft_server_endpoint(server, at, sizeof at) > 0);
    CHECK(strncmp(at, "tcp://127.0.0.1:", 16) == 0 || strncmp(at, "tcp://[::1]:", 12) == 0);
    CHECK_EQ(weft_dial(&s, at, NULL, DNS_SOON), 0);
    CHECK_EQ(weft_read(s, &c, 1, DNS_SOON), 1);
    weft_abort(&s);
    CHECK_EQ(weft_server_open(&server, g, "tcp://nx.test:0", NULL, one_byte, NULL, NULL),
             WEFT_ENAME);
    CHECK_EQ(weft_group_close(&g), 0);

    CHECK_EQ(weft_udp_open(&here, "udp://dual-near.test:0", NULL), 0);
    CHECK(weft_udp_endpoint(here, at, sizeof at) > 0);
    CHECK(strncmp(at, "udp://127.0.0.1:", 16) == 0 || strncmp(at, "udp://[::1]:", 12) == 0);
    /* Where that is taken, its other address is not taken in its stead. */
    CHECK_EQ(weft_udp_local(here, &a), 0);
    (void)snprintf(at, sizeof at, "udp://dual-near.test:%d", weft_address_port(&a));
    CHECK_EQ(weft_udp_open(&there, at, NULL), -EADDRINUSE);
    weft_udp_close(&here);
    CHECK_EQ(weft_udp_open(&here, "udp://nx.test:0", NULL), WEFT_ENAME);

    CHECK_EQ(weft_udp_open(&here, "udp://127.0.0.1:0", NULL), 0);
    CHECK_EQ(weft_udp_local(here, &a), 0);
    (void)snprintf(at, sizeof at, "udp://dual-near.test:%d?family=4", weft_address_port(&a));
    CHECK_EQ(weft_udp_dial(&there, at, NULL), 0);
    for (int err = -ETIMEDOUT; err == -ETIMEDOUT;
         err = (int)weft_udp_recv(here, &c, 1, NULL, weft_after_s(1)))
        CHECK_EQ(weft_udp_send(there, "x", 1, NULL, DNS_SOON), 0);
    weft_udp_close(&there);
    weft_udp_close(&here);
    (void)snprintf(at, sizeof at, "udp://dual-near.test:%d?family=6", weft_address_port(&a));
    CHECK_EQ(weft_udp_dial(&there, at, NULL), 0);
    CHECK_EQ(weft_udp_local(there, &a), 0);
    dns_print(text, sizeof text, &a);
    CHECK(strncmp(text, "[::1]:", 6) == 0);
    weft_udp_close(&there);
    CHECK_EQ(weft_udp_dial(&there, "udp://127.0.0.1:9?keepalive=3", NULL), WEFT_EENDPOINT);
    CHECK_EQ(weft_udp_dial(&there, "udp://127.0.0.1:9?family=6", NULL), -EINVAL);
    CHECK_EQ(weft_udp_open(&there, "udp://127.0.0.1:0?family=4", NULL), WEFT_EENDPOINT);
    CHECK_EQ(weft_udp_dial(&there, "udp://nx.test:9", NULL), WEFT_ENAME);
    CHECK(there == NULL);
    return 0;
}

DNS_ON_THREAD(finds_hosts)
DNS_ON_THREAD(silent_server)
DNS_ON_THREAD(is_canceled)
DNS_ON_THREAD(serving_names)
DNS_ON_THREAD(serving_and_datagrams_by_name)
DNS_ON_THREAD(dead_family)
DNS_ON_THREAD(half_an_answer)
DNS_ON_THREAD(race_is_canceled)
DNS_ON_THREAD(many_addresses)

static const struct kit_case cases[] = {
    IN_TASK(finds_hosts),
    ON_THREAD(finds_hosts_thread),
    IN_TASK(silent_server),
    IN_TASK(is_canceled),
    ON_THREAD(silent_server_thread),
    ON_THREAD(is_canceled_thread),
    IN_TASK(serving_names),
    ON_THREAD(serving_names_thread),
    IN_TASK(serving_and_datagrams_by_name),
    ON_THREAD(serving_and_datagrams_by_name_thread),
    IN_TASK(dead_family),
    ON_THREAD(dead_family_thread),
    IN_TASK(half_an_answer),
    ON_THREAD(half_an_answer_thread),
    IN_TASK(race_is_canceled),
    ON_THREAD(race_is_canceled_thread),
    IN_TASK(many_addresses),
    ON_THREAD(many_addresses_thread),
};

int main(void)
{
    real_start(records);
    wild_start();
    int failed = kit_main(cases, sizeof cases / sizeof cases[0]);
    wild_end();
    real_end();
    return failed;
}
