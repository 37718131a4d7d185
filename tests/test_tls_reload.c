/* SPDX-License-Identifier: MIT */
/*
 * Certificates are changed while clients connect without a pause: no connection fails, and whoever
 * comes after the change sees the new certificate.
 */
#include <sys/stat.h>

#include <weft/server.h>

#include "tls_kit.h"

enum { CLIENTS = 8, RELOADS = KIT_SANITIZED ? 6 : 20 };

static struct {
    char chain[160], key[160], roots[160], endpoint[WEFT_ENDPOINT_MAX];
    struct weft_tls *server, *client;
    bool stop;
    int issuer; /* which one's certificates are in the files: 0 or 1 */
    int seen[2];
} load;

static const char *const issuers[] = {"Weft test root", "Another root"};

/* Copies by a rename, so that nobody reads half of it. */
static void put(const char *to, const char *const *from, size_t n)
{
    char other[200], buf[8192];
    (void)snprintf(other, sizeof other, "%s.new", to);
    FILE *out = fopen(other, "w");
    CHECK(out != NULL);
    for (size_t i = 0; i < n; i++) {
        FILE *in = fopen(tls_kit_file(from[i]), "r");
        CHECK(in != NULL);
        size_t len = fread(buf, 1, sizeof buf, in);
        CHECK(len > 0 && len < sizeof buf);
        CHECK_EQ(fwrite(buf, 1, len, out), len);
        (void)fclose(in);
    }
    CHECK_EQ(fclose(out), 0);
    CHECK_EQ(rename(other, to), 0);
}

/* Both are for server.test, each by another root, and clients trust both. */
static void use_issuer(int which)
{
    const char *chain = which == 0 ? "server.pem" : "stranger.pem";
    const char *key = which == 0 ? "server.key" : "stranger.key";
    put(load.chain, &chain, 1);
    put(load.key, &key, 1);
    load.issuer = which;
}

/* Which issuer's certificate a new connection sees. */
static int connect_once(void)
{
    struct weft_stream *s = NULL;
    struct weft_dial_options o = {.tls = load.client, .server_name = "server.test"};
    struct weft_tls_info info;
    char c = 'x';
    int err = weft_dial(&s, load.endpoint, &o, weft_after_s(60));
    if (err < 0)
        (void)fprintf(stderr, "%s\n", weft_error_detail());
    CHECK_EQ(err, 0);
    CHECK_EQ(weft_tls_info(s, &info), 0);
    bool other = strstr(info.chain, issuers[1]) != NULL;
    CHECK(other || strstr(info.chain, issuers[0]) != NULL);
    CHECK_EQ(weft_write(s, &c, 1, weft_after_s(60)), 0);
    CHECK_EQ(weft_read_full(s, &c, 1, weft_after_s(60)), 0);
    CHECK_EQ(weft_close(&s, weft_after_s(60)), 0);
    return other;
}

static int keeps_connecting(void *arg)
{
    (void)arg;
    while (!load.stop)
        load.seen[connect_once()]++;
    return 0;
}

static int echo(struct weft_stream *s, void *arg)
{
    char c;
    (void)arg;
    ssize_t n = weft_read(s, &c, 1, WEFT_NEVER);
    return n == 1 ? weft_write(s, &c, 1, WEFT_NEVER) : (int)n;
}

static void failed(void *arg, const struct weft_address *peer, int error)
{
    (void)arg;
    (void)peer;
    (void)fprintf(stderr, "%s: %s\n", weft_error_name(error), weft_error_detail());
    CHECK(!"a connection failed");
}

static void reloads(enum weft_model model)
{
    struct weft_group *servers = kit_group(), *clients = kit_group();
    struct weft_server *s = NULL;
    struct weft_server_options o = {.model = model, .tls = load.server, .failed = failed};
    struct weft_server_stats stats;
    o.workers = 1;
    CHECK_EQ(weft_server_open(&s, servers, "tls://127.0.0.1:0", &o, echo, NULL, NULL), 0);
    CHECK(weft_server_endpoint(s, load.endpoint, sizeof load.endpoint) > 0);
    load.stop = false;
    load.seen[0] = load.seen[1] = 0;
    for (int i = 0; i < CLIENTS; i++)
        kit_go(clients, "client", keeps_connecting, NULL);
    for (int i = 0; i < RELOADS; i++) {
        int before = load.seen[load.issuer];
        while (load.seen[load.issuer] == before) /* there is load */
            CHECK_EQ(weft_sleep_ms(1), 0);
        use_issuer(!load.issuer);
        CHECK_EQ(weft_tls_reload(load.server), 0);
        CHECK_EQ(connect_once(), load.issuer);
    }
    /* A file that is no certificate changes nothing. */
    const char *nonsense = "log";
    put(load.chain, &nonsense, 1);
    CHECK(weft_tls_reload(load.server) < 0);
    CHECK_EQ(connect_once(), load.issuer);
    load.stop = true;
    CHECK_EQ(weft_group_wait(clients, weft_after_s(60)), 0);
    weft_server_stats_mt(s, &stats);
    print_message("%d and %d connections during %d reloads\n", load.seen[0], load.seen[1], RELOADS);
    CHECK_EQ(stats.handshakes_failed, 0);
    CHECK_EQ(stats.failed, 0);
    use_issuer(load.issuer);
    CHECK_EQ(weft_group_close(&clients), 0);
    weft_group_cancel(servers);
    (void)!weft_group_close(&servers);
}

static int of_tasks(void *arg)
{
    (void)arg;
    reloads(WEFT_TASKS);
    return 0;
}

static int of_threads(void *arg)
{
    (void)arg;
    reloads(WEFT_THREADS);
    return 0;
}

int main(void)
{
    static const struct kit_case cases[] = {IN_TASK(of_tasks), IN_TASK(of_threads)};
    static const char *const roots[] = {"ca.pem", "other.pem"};
    (void)tls_kit_file("ca.pem");
    (void)snprintf(load.chain, sizeof load.chain, "%s/now.pem", tls_kit_dir);
    (void)snprintf(load.key, sizeof load.key, "%s/now.key", tls_kit_dir);
    (void)snprintf(load.roots, sizeof load.roots, "%s/roots.pem", tls_kit_dir);
    put(load.roots, roots, 2);
    use_issuer(0);
    struct weft_tls_certificate own = {.chain = load.chain, .key = load.key};
    load.server =
        tls_kit_open(&(struct weft_tls_options){.certificates = &own, .n_certificates = 1});
    load.client = tls_kit_open(&(struct weft_tls_options){.ca = load.roots, .no_resumption = true});
    int result = kit_main(cases, WEFT__ARRAY_LEN(cases));
    weft_tls_close(&load.client);
    weft_tls_close(&load.server);
    return result;
}
