/* SPDX-License-Identifier: MIT */
/*
 * A flood of peers that begin a handshake and never end it, beside live connections: these go on,
 * memory stays bounded, the slow ones are cut off in time, and afterwards all is as before.
 */
#include <arpa/inet.h>
#include <inttypes.h>
#include <poll.h>
#include <unistd.h>

#include <weft/random.h>
#include <weft/server.h>

#include "tls_kit.h"

enum {
    LIVE = 1000,
    FLOOD = 5000,
    HANDSHAKE_MS = 2000, /* and more on a slow machine: both phases beside the flood are shorter */
    TRIAL = 64,
    PINGS = 2,
    APART_MS = 150,
    MOST_MIB = KIT_SANITIZED ? 600 : 300 /* by all that wait, and those that have begun */
};

static struct {
    struct weft_tls *server, *client;
    char endpoint[WEFT_ENDPOINT_MAX];
    int port, next, n_live, failed;
    int64_t handshake_ms;
    struct weft_stream *live[LIVE];
    int64_t took_us[LIVE * PINGS];
    size_t n_took;
    int flood[FLOOD];
} all;

static long rss_mib(void)
{
    FILE *f = fopen("/proc/self/status", "re");
    char line[256];
    long kib = -1;
    CHECK(f != NULL);
    while (fgets(line, sizeof line, f) != NULL)
        if (strncmp(line, "RssAnon:", 8) == 0)
            kib = strtol(line + 8, NULL, 10);
    (void)fclose(f);
    CHECK(kib > 0);
    return kib / 1024;
}

static int echo(struct weft_stream *s, void *arg)
{
    char buf[64];
    ssize_t n;
    (void)arg;
    while ((n = weft_read(s, buf, sizeof buf, WEFT_NEVER)) > 0) {
        int err = weft_write(s, buf, (size_t)n, WEFT_NEVER);
        if (err < 0)
            return err;
    }
    return (int)n;
}

/* --- Live connections ------------------------------------------------------------------------- */

static int dial(struct weft_stream **s)
{
    struct weft_dial_options o = {.tls = all.client, .server_name = "server.test"};
    return weft_dial(s, all.endpoint, &o, weft_after_s(60));
}

static int dials(void *arg)
{
    (void)arg;
    while (all.next < all.n_live)
        CHECK_EQ(dial(&all.live[all.next++]), 0);
    return 0;
}

static int pings(void *arg)
{
    struct weft_stream *s = arg;
    char c = 'x';
    for (int i = 0; i < PINGS; i++) {
        CHECK_EQ(weft_sleep_ms((int64_t)weft_random_below(2 * APART_MS)), 0);
        int64_t began = weft_now_ns();
        int err = weft_write(s, &c, 1, weft_after_s(30));
        if (err == 0)
            err = weft_read_full(s, &c, 1, weft_after_s(30));
        all.failed += err < 0;
        all.took_us[all.n_took++] = (weft_now_ns() - began) / 1000;
    }
    return 0;
}

static int by_size(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

struct figures {
    int64_t median_us, p99_us;
    long mib;
};

static void measure(const char *what, struct figures *f)
{
    struct weft_group *g = kit_group();
    all.n_took = 0;
    for (int i = 0; i < LIVE; i++)
        kit_go(g, "pings", pings, all.live[i]);
    CHECK_EQ(weft_group_wait(g, WEFT_NEVER), 0);
    CHECK_EQ(weft_group_close(&g), 0);
    qsort(all.took_us, all.n_took, sizeof *all.took_us, by_size);
    f->median_us = all.took_us[all.n_took / 2];
    f->p99_us = all.took_us[all.n_took * 99 / 100];
    f->mib = rss_mib();
    print_message("%s: %zu round trips of %d connections: median %" PRId64 " us, 99 %% %" PRId64
                  " us, RssAnon %ld MiB\n",
                  what, all.n_took, LIVE, f->median_us, f->p99_us, f->mib);
    CHECK_EQ(all.failed, 0);
}

/* --- The flood -------------------------------------------------------------------------------- */

/* Nothing; the head of a record; a record that is said to be longer than what comes; a whole one
 * that is the first of a hello's, with which a handshake begins. */
static void begin_handshake(int fd, int i)
{
    static const char head[] = "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 and so on";
    static const char first[] = "\x16\x03\x01\x00\x06\x01\x00\x01\xfc\x03\x03";
    static const size_t most[] = {0, 3, 5, sizeof head - 1, sizeof first - 1};
    size_t n = most[i % 5];
    CHECK(n == 0 || send(fd, i % 5 == 4 ? first : head, n, MSG_NOSIGNAL) == (ssize_t)n);
}

static void *flood(void *arg)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    sa.sin_port = htons((uint16_t)all.port);
    (void)arg;
    for (int i = 0; i < FLOOD; i++) {
        all.flood[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        CHECK(all.flood[i] >= 0);
        CHECK_EQ(connect(all.flood[i], (struct sockaddr *)&sa, sizeof sa), 0);
        begin_handshake(all.flood[i], i);
    }
    return NULL;
}

/* Each is cut off: an end, an alert and an end, or a reset. */
static void all_cut(void)
{
    char buf[64];
    for (int i = 0; i < FLOOD; i++) {
        struct pollfd p = {.fd = all.flood[i], .events = POLLIN};
        while (poll(&p, 1, 60000) == 1 && recv(p.fd, buf, sizeof buf, 0) > 0)
            ;
        CHECK_EQ(poll(&p, 1, 0), 1);
        close(p.fd);
    }
}

static void until_live(const struct weft_server *s, uint64_t n)
{
    struct weft_server_stats stats = {.live = n + 1};
    while (weft_server_stats_mt(s, &stats), stats.live != n)
        CHECK_EQ(weft_sleep_ms(1), 0);
}

static struct weft_server *serve(struct weft_group *g, int max_handshakes)
{
    struct weft_server *s = NULL;
    struct weft_server_options o = {.tls = all.server,
                                    .workers = 1,
                                    .handshake_ms = all.handshake_ms,
                                    .max_handshakes = max_handshakes};
    struct weft_endpoint e;
    CHECK_EQ(weft_server_open(&s, g, "tls://127.0.0.1:0", &o, echo, NULL, NULL), 0);
    CHECK(weft_server_endpoint(s, all.endpoint, sizeof all.endpoint) > 0);
    CHECK_EQ(weft_endpoint_parse(&e, all.endpoint), 0);
    all.port = e.port;
    return s;
}

static void dial_many(int n)
{
    struct weft_group *g = kit_group();
    all.failed = all.next = 0;
    all.n_live = n;
    for (int i = 0; i < 16; i++)
        kit_go(g, "dials", dials, NULL);
    CHECK_EQ(weft_group_wait(g, WEFT_NEVER), 0);
    CHECK_EQ(weft_group_close(&g), 0);
}

/* How fast this machine shakes hands, with all that runs beside. */
static void choose_time(void)
{
    struct weft_group *g = kit_group();
    all.handshake_ms = 60000;
    (void)serve(g, 0);
    int64_t began = weft_now_ns();
    dial_many(TRIAL);
    all.handshake_ms = HANDSHAKE_MS + 20 * (weft_now_ns() - began) / 1000000;
    for (int i = 0; i < TRIAL; i++)
        weft_abort(&all.live[i]);
    weft_group_cancel(g);
    (void)!weft_group_close(&g);
}

static void run(int max_handshakes)
{
    struct weft_group *g = kit_group();
    struct weft_server *s = serve(g, max_handshakes);
    struct weft_server_stats stats;
    struct weft_stream *one = NULL;
    struct figures before, coming, standing, after;
    pthread_t thread;
    dial_many(LIVE);
    measure("before", &before);
    int64_t began = weft_now_ns();
    CHECK_EQ(pthread_create(&thread, NULL, flood, NULL), 0);
    measure("while they come", &coming);
    until_live(s, LIVE + FLOOD);
    measure("while they stand", &standing);
    weft_server_stats_mt(s, &stats);
    CHECK_EQ(stats.live, LIVE + FLOOD); /* all that time */
    CHECK_EQ(pthread_join(thread, NULL), 0);
    print_message("%d peers that never end their handshake%s: median x %.2f while they come, x "
                  "%.2f while they stand; %ld MiB more\n",
                  FLOOD, max_handshakes > 0 ? ", at most 500 begun" : "",
                  (double)coming.median_us / (double)before.median_us,
                  (double)standing.median_us / (double)before.median_us, standing.mib - before.mib);
    CHECK(standing.mib - before.mib <= MOST_MIB);
    CHECK(coming.median_us <= 4 * before.median_us + 20000);
    CHECK(standing.median_us <= 4 * before.median_us + 20000);
    all_cut();
    CHECK(weft_now_ns() - began >= weft_ms(all.handshake_ms));
    until_live(s, LIVE);
    weft_server_stats_mt(s, &stats);
    CHECK_EQ(stats.handshakes, LIVE);
    CHECK_EQ(stats.handshakes_failed, FLOOD);
    CHECK_EQ(dial(&one), 0); /* there is room again */
    weft_abort(&one);
    measure("after", &after);
    for (int i = 0; i < LIVE; i++)
        weft_abort(&all.live[i]);
    weft_group_cancel(g);
    (void)!weft_group_close(&g);
}

static int unbounded(void *arg)
{
    (void)arg;
    choose_time();
    run(0);
    return 0;
}

static int bounded(void *arg)
{
    (void)arg;
    choose_time();
    run(500);
    return 0;
}

int main(void)
{
    static const struct kit_case cases[] = {IN_TASK(unbounded), IN_TASK(bounded)};
    all.server = tls_kit_server("server");
    all.client = tls_kit_client();
    int failed = kit_main(cases, WEFT__ARRAY_LEN(cases));
    weft_tls_close(&all.client);
    weft_tls_close(&all.server);
    return failed;
}
