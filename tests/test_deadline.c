/* SPDX-License-Identifier: MIT */
/*
 * One deadline bounds a name, a connect, a handshake and a read: whichever of them hangs, the call
 * is back in time. On a task of each driver and on a plain thread.
 *
 * Back in time: at most 20 ms late. A machine that has much else to do may take longer once; each
 * case may be tried a few times, and one that is late by what it does is late each time.
 */
#include "dns_kit.h"
#include "tls_kit.h"

#include <weft/server.h>

#define BUDGET_MS 120
#define LATE_MS (KIT_SLOW ? 100 : 20)
#define TRIES 6

static struct {
    int hole, deaf, mute; /* ports */
    struct weft_tls *tls;
    struct weft_server *server; /* the mute one */
    char hosts[40];
} net;

/* --- Those who hang --------------------------------------------------------------------------- */

static int raw_listen(int *port, int backlog)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof sa;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_EQ(bind(fd, (struct sockaddr *)&sa, len), 0);
    CHECK_EQ(listen(fd, backlog), 0);
    CHECK_EQ(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
    *port = ntohs(sa.sin_port);
    return fd;
}

static int raw_dial(int port)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    sa.sin_port = htons((uint16_t)port);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int err = connect(fd, (struct sockaddr *)&sa, sizeof sa);
    CHECK(err == 0 || errno == EINPROGRESS);
    return fd;
}

/* A port at which the kernel answers nothing: its queue is full. The sockets stay open. */
static void dig_hole(void)
{
    (void)raw_listen(&net.hole, 0);
    for (int i = 0; i < 8; i++) {
        struct pollfd p = {.fd = raw_dial(net.hole), .events = POLLOUT};
        if (poll(&p, 1, 200) == 0)
            return;
    }
    CHECK(!"the queue is never full");
}

/* Shakes hands, takes what comes and answers nothing. */
static int never_answers(struct weft_stream *s, void *arg)
{
    char buf[64];
    ssize_t n;
    (void)arg;
    do
        n = weft_read(s, buf, sizeof buf, WEFT_NEVER);
    while (n > 0);
    return 0;
}

static void serve_mute(struct weft_group *g, struct weft_tls *tls)
{
    struct weft_server_options o = {.model = WEFT_THREADS, .tls = tls};
    struct weft_endpoint e;
    char at[WEFT_ENDPOINT_MAX];
    CHECK_EQ(weft_server_open(&net.server, g, "tls://127.0.0.1:0", &o, never_answers, NULL, NULL),
             0);
    CHECK(weft_server_endpoint(net.server, at, sizeof at) > 0);
    CHECK_EQ(weft_endpoint_parse(&e, at), 0);
    net.mute = e.port;
}

/* So that its descriptors are not counted as the next case's. */
static void until_idle(void)
{
    struct weft_server_stats stats = {.live = 1};
    while (stats.accepted == 0 || stats.live > 0) {
        CHECK_EQ(weft_sleep_ms(1), 0);
        weft_server_stats_mt(net.server, &stats);
    }
}

/* --- One call --------------------------------------------------------------------------------- */

/* Dials, says something, reads: all by one deadline. */
static int exchange(const char *host, int port, weft_deadline d, const char **where)
{
    struct weft_stream *s = NULL;
    struct weft_dial_options o = {.tls = net.tls};
    char at[WEFT_ENDPOINT_MAX], answer[8];
    (void)snprintf(at, sizeof at, "tls://%s:%d", host, port);
    *where = "dial";
    int err = weft_dial(&s, at, &o, d);
    if (err < 0)
        return err;
    *where = "write";
    err = weft_write(s, "hello", 5, d);
    if (err == 0) {
        *where = "read";
        err = (int)weft_read(s, answer, sizeof answer, d);
    }
    weft_abort(&s);
    return err;
}

/* Where a machine is too slow to come to what hangs, it is given more time. */
static void times_out(const char *host, int port, const char *want)
{
    int64_t best_ns = INT64_MAX, budget_ms = BUDGET_MS;
    for (int i = 0; i < TRIES && best_ns > weft_ms(LATE_MS); i++) {
        const char *where;
        weft_deadline d = weft_after_ms(budget_ms);
        CHECK_EQ(exchange(host, port, d, &where), -ETIMEDOUT);
        int64_t late_ns = weft_now_ns() - d.ns;
        CHECK(late_ns >= 0);
        if (strcmp(where, want) != 0) {
            CHECK(i < TRIES - 1);
            budget_ms *= 3;
            continue;
        }
        best_ns = weft__min_i64(best_ns, late_ns);
    }
    if (best_ns > weft_ms(LATE_MS))
        print_error("%s:%d: late by %lld us\n", host, port, (long long)best_ns / 1000);
    CHECK(best_ns <= weft_ms(LATE_MS));
}

static void use(const char *hosts)
{
    wild_use(&(struct weft_dns_options){.hosts = hosts});
}

static int hangs(void *arg)
{
    (void)arg;
    use(net.hosts);
    times_out("silent.test", 1, "dial");        /* the name */
    times_out("server.test", net.hole, "dial"); /* the connect */
    times_out("127.0.0.1", net.hole, "dial");
    times_out("server.test", net.deaf, "dial"); /* the handshake */
    times_out("server.test", net.mute, "read"); /* the answer */
    until_idle();
    return 0;
}
DNS_ON_THREAD(hangs)

/* A group's deadline and a cancel do the same. */
struct hanging {
    const char *host;
    int port, result;
};

static int hang(void *arg)
{
    struct hanging *h = arg;
    const char *where;
    use(net.hosts);
    h->result = exchange(h->host, h->port, WEFT_NEVER, &where);
    return 0;
}

static int group_ends(void *arg)
{
    const struct hanging all[] = {{"silent.test", 1, 0},
                                  {"server.test", net.hole, 0},
                                  {"server.test", net.deaf, 0},
                                  {"server.test", net.mute, 0}};
    (void)arg;
    for (size_t i = 0; i < WEFT__ARRAY_LEN(all); i++) {
        int64_t best_ns = INT64_MAX;
        for (int t = 0; t < TRIES && best_ns > weft_ms(LATE_MS); t++) {
            struct hanging h = all[i];
            struct weft_group *g = kit_group();
            weft_deadline d = weft_after_ms(BUDGET_MS);
            CHECK_EQ(weft_group_deadline(g, d), 0);
            kit_go(g, "hangs", hang, &h);
            (void)!weft_group_wait(g, WEFT_NEVER);
            best_ns = weft__min_i64(best_ns, weft_now_ns() - d.ns);
            CHECK_EQ(h.result, -ECANCELED);
            (void)!weft_group_close(&g);
        }
        CHECK(best_ns <= weft_ms(LATE_MS));
    }
    until_idle();
    return 0;
}
DNS_ON_THREAD(group_ends)

int main(void)
{
    static const struct kit_case cases[] = {
        IN_TASK(hangs),
        ON_THREAD(hangs_thread),
        IN_TASK(group_ends),
        ON_THREAD(group_ends_thread),
    };
    struct weft_group *g = kit_group();
    struct weft_tls *server = tls_kit_server("server");
    net.tls = tls_kit_client();
    wild_start();
    dig_hole();
    int deaf = raw_listen(&net.deaf, 1024);
    serve_mute(g, server);
    close(raw_dial(net.mute)); /* what a server opens for its first connection is open now */
    until_idle();
    (void)snprintf(net.hosts, sizeof net.hosts, "/tmp/weft-hosts-%d", (int)getpid());
    dns_write(net.hosts, "127.0.0.1 server.test\n");
    int failed = kit_main(cases, WEFT__ARRAY_LEN(cases));
    (void)unlink(net.hosts);
    weft_group_cancel(g);
    (void)!weft_group_close(&g);
    close(deaf);
    weft_tls_close(&net.tls);
    weft_tls_close(&server);
    wild_end();
    return failed;
}
