/* SPDX-License-Identifier: MIT */
/*
 * Through real proxies (microsocks, tinyproxy, haproxy), in a task of each driver and on a plain
 * thread; and PROXY headers from them and to them.
 */
#include "dial/dial.h"
#include "tls_kit.h"

#include <arpa/inet.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <weft/dns.h>
#include <weft/server.h>

#define SOON weft_after_s(KIT_SLOW ? 60 : 20)

/* --- Programs --------------------------------------------------------------------------------- */

static pid_t started[8];
static int n_started;

static int free_port(void)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof sa;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_EQ(bind(fd, (struct sockaddr *)&sa, len), 0);
    CHECK_EQ(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
    close(fd);
    return ntohs(sa.sin_port);
}

/* Runs a program and waits until it listens; false: it is not installed, or did not start. */
static bool start(int port, const char *const *argv)
{
    struct sockaddr_in sa = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void)!freopen("/dev/null", "w", stdout);
        (void)!freopen("/dev/null", "w", stderr);
        (void)setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin", 1);
        execvp(argv[0], (char **)(uintptr_t)argv);
        _exit(127);
    }
    for (int i = 0; i < 10000; i++) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        bool up = connect(fd, (struct sockaddr *)&sa, sizeof sa) == 0;
        close(fd);
        if (up) {
            started[n_started++] = pid;
            return true;
        }
        if (waitpid(pid, NULL, WNOHANG) == pid)
            return false;
        (void)usleep(1000);
    }
    kill(pid, SIGKILL);
    CHECK_EQ(waitpid(pid, NULL, 0), pid);
    return false;
}

static void stop_all(void)
{
    while (n_started > 0) {
        pid_t pid = started[--n_started];
        kill(pid, SIGKILL);
        CHECK_EQ(waitpid(pid, NULL, 0), pid);
    }
}

static void write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    CHECK(f != NULL && fputs(text, f) >= 0 && fclose(f) == 0);
}

/* --- Servers to reach ------------------------------------------------------------------------- */

/* Says who the peer is. */
static int say_peer(struct weft_stream *s, void *arg)
{
    struct weft_address a;
    char text[WEFT_ENDPOINT_MAX];
    (void)arg;
    int err = weft_stream_peer(s, &a);
    if (err == 0)
        err = weft_address_print(&a, text, sizeof text);
    return err < 0 ? err : weft_printf(s, SOON, "%s\n", text);
}

/* The same in callback mode; and on the way to it, and out of it. */
static int say_made(struct weft_stream *t, void *arg)
{
    struct weft_address a;
    char text[WEFT_ENDPOINT_MAX];
    (void)arg;
    int err = weft_stream_peer(t, &a);
    if (err == 0)
        err = weft_address_print(&a, text, sizeof text - 1);
    if (err < 0)
        return err;
    (void)strcat(text, "\n");
    err = weft_transport_write(t, text, strlen(text));
    weft_transport_close(t);
    return err;
}

static int no_data(struct weft_stream *t, const void *data, size_t len, void *conn)
{
    (void)t, (void)data, (void)len, (void)conn;
    return 0;
}

static struct weft_group *others; /* for what a server gives away */
static const struct weft_protocol say_protocol = {.made = say_made, .data = no_data};
static const struct weft_factory say_factory = {.protocol = &say_protocol};

static int attach(struct weft_stream *s, void *arg)
{
    (void)arg;
    return weft_protocol_attach(others, &s, &say_factory);
}

static int detach_made(struct weft_stream *t, void *arg)
{
    (void)arg;
    return weft_protocol_detach(others, t, 0, say_peer, NULL);
}
static const struct weft_protocol detach_protocol = {.made = detach_made, .data = no_data};
static const struct weft_factory detach_factory = {.protocol = &detach_protocol};

struct served {
    struct weft_group *g;
    struct weft_server *server;
    int port;
};

static struct served serve_with(const char *endpoint, struct weft_server_options o,
                                weft_handler handler, const struct weft_factory *f)
{
    struct served s = {.g = kit_group()};
    char at[WEFT_ENDPOINT_MAX];
    struct weft_endpoint e;
    int err = weft_server_open(&s.server, s.g, endpoint, &o, handler, NULL, f);
    if (err < 0)
        (void)fprintf(stderr, "%s\n", weft_error_detail());
    CHECK_EQ(err, 0);
    CHECK(weft_server_endpoint(s.server, at, sizeof at) > 0);
    CHECK_EQ(weft_endpoint_parse(&e, at), 0);
    s.port = e.port;
    return s;
}

static struct served serve(const char *endpoint, struct weft_server_options o)
{
    bool callbacks = o.model == WEFT_PROTOCOLS;
    return serve_with(endpoint, o, callbacks ? NULL : say_peer, callbacks ? &say_factory : NULL);
}

/* Dials, and reads what the server says; 0 or what dialling came to. */
static int ask(const char *scheme, int port, const struct weft_dial_options *o, char line[128])
{
    struct weft_stream *s = NULL;
    char at[WEFT_ENDPOINT_MAX];
    (void)snprintf(at, sizeof at, "%s:%d", scheme, port);
    int err = weft_dial(&s, at, o, SOON);
    if (err < 0) {
        CHECK(s == NULL);
        return err;
    }
    ssize_t n = weft_read_until(s, line, 127, '\n', SOON);
    if (n <= 0) {
        weft_abort(&s);
        return n < 0 ? (int)n : WEFT_EEOF;
    }
    line[n] = '\0';
    CHECK(weft_close(&s, SOON) <= 0);
    return 0;
}

static int socks_port, socks_auth_port, http_port, haproxy_port[2], behind_port;
static bool have_socks, have_http, have_haproxy;
static struct weft_tls *client;

static void through(const char *proxy)
{
    struct served plain = serve("tcp://127.0.0.1:0", (struct weft_server_options){.backlog = 0});
    struct served secure =
        serve("tls://127.0.0.1:0", (struct weft_server_options){.cert = tls_kit_file("server.pem"),
                                                                .key = tls_kit_file("server.key")});
    struct weft_dial_options o = {.proxy = proxy};
    char line[128];
    int err = ask("tcp://127.0.0.1", plain.port, &o, line);
    if (err < 0)
        (void)fprintf(stderr, "%s: %s\n", proxy, weft_error_detail());
    CHECK_EQ(err, 0);
    CHECK(strncmp(line, "127.0.0.1:", 10) == 0);
    CHECK_EQ(ask("tcp://localhost", plain.port, &o, line), 0); /* the proxy looks it up */
    o.tls = client;
    CHECK_EQ(ask("tls://localhost", secure.port, &o, line), 0);
    o.server_name = "other.test";
    CHECK_EQ(ask("tls://localhost", secure.port, &o, line), WEFT_ECERTIFICATE);
    CHECK_EQ(weft_group_close(&plain.g), 0);
    CHECK_EQ(weft_group_close(&secure.g), 0);
    o = (struct weft_dial_options){.proxy = proxy};
    CHECK(ask("tcp://127.0.0.1", plain.port, &o, line) < 0); /* nobody is there any more */
}

static void socks(void)
{
    char proxy[128], line[128];
    if (!have_socks)
        return;
    (void)snprintf(proxy, sizeof proxy, "socks5://127.0.0.1:%d", socks_port);
    through(proxy);
    (void)snprintf(proxy, sizeof proxy, "socks5://localhost:%d", socks_port);
    through(proxy);
    (void)snprintf(proxy, sizeof proxy, "socks5://m%%65:se:cr@t@127.0.0.1:%d", socks_auth_port);
    through(proxy);
    (void)snprintf(proxy, sizeof proxy, "socks5://me:wrong@127.0.0.1:%d", socks_auth_port);
    struct weft_dial_options o = {.proxy = proxy};
    CHECK_EQ(ask("tcp://127.0.0.1", 1, &o, line), -EACCES);
    (void)snprintf(proxy, sizeof proxy, "socks5://127.0.0.1:%d", socks_auth_port);
    CHECK_EQ(ask("tcp://127.0.0.1", 1, &o, line), -EACCES);
    CHECK(strstr(weft_error_detail(), "the proxy wants a user") != NULL);
}

static void http(void)
{
    char proxy[128];
    if (!have_http)
        return;
    (void)snprintf(proxy, sizeof proxy, "http://127.0.0.1:%d", http_port);
    through(proxy);
}

/* A port that is not written is the scheme's, and a slash may end it. */
static void texts(void)
{
    static const struct {
        const char *text, *at;
    } cases[] = {
        {"http://x", "tcp://x:80"},
        {"http://x/", "tcp://x:80"},
        {"http://u:p@x:3128/", "tcp://x:3128"},
        {"http://[::1]", "tcp://[::1]:80"},
        {"socks5://x", "tcp://x:1080"},
        {"socks5://u:1@[::1]/", "tcp://[::1]:1080"},
        {"socks5://[::1]:1", "tcp://[::1]:1"},
        {"socks5://127.0.0.1", "tcp://127.0.0.1:1080"},
    };
    char at[WEFT_ENDPOINT_MAX];
    for (size_t i = 0; i < WEFT__ARRAY_LEN(cases); i++) {
        struct weft__via via;
        CHECK_EQ(weft__via_read(&via, cases[i].text), 0);
        CHECK(weft_endpoint_print(&via.at, at, sizeof at) > 0);
        CHECK(strcmp(at, cases[i].at) == 0);
        weft__via_fini(&via);
    }
}

/* In the endpoint's own options, and what is not understood. */
static void options(void)
{
    struct weft_stream *s = NULL;
    struct weft_dial_options o = {.proxy = "ftp://x:1"};
    CHECK_EQ(weft_dial(&s, "tcp://a:1", &o, SOON), WEFT_EENDPOINT);
    CHECK(strncmp(weft_error_detail(), "proxy, character 1:", 19) == 0);
    o.proxy = "socks5://u%zz@x:1";
    CHECK_EQ(weft_dial(&s, "tcp://a:1", &o, SOON), WEFT_EENDPOINT);
    CHECK(strstr(weft_error_detail(), "character 11") != NULL);
    o.proxy = "socks5://user:secret@x:1:2";
    CHECK_EQ(weft_dial(&s, "tcp://a:1", &o, SOON), WEFT_EENDPOINT);
    CHECK(strncmp(weft_error_detail(), "proxy tcp://x:1:2: host, character 8", 36) == 0);
    o.proxy = "socks5://:1";
    CHECK_EQ(weft_dial(&s, "tcp://a:1", &o, SOON), WEFT_EENDPOINT);
    o.proxy = "socks5://x:1";
    CHECK_EQ(weft_dial(&s, "unix:/x", &o, SOON), -EINVAL);
    CHECK_EQ(weft_dial(&s, "tcp://a:1?send-proxy=3", NULL, SOON), WEFT_EENDPOINT);
    CHECK_EQ(weft_dial(&s, "tcp://a:1?interface=0123456789012345", NULL, SOON), -EINVAL);
    /* A proxy that is not there: it is what cannot be connected to. */
    o.proxy = "socks5://127.0.0.1:1";
    CHECK_EQ(weft_dial(&s, "tcp://nowhere.invalid:1", &o, SOON), -ECONNREFUSED);
}

static void headers(enum weft_model model, const char *scheme, struct weft_server_options so)
{
    struct weft_address from;
    char line[128], host[64];
    so.proxy_from = "10.0.0.0/8, 127.0.0.1/32,::1";
    so.model = model;
    (void)snprintf(host, sizeof host, "%s127.0.0.1", scheme);
    char listen[80];
    (void)snprintf(listen, sizeof listen, "%s:0", host);
    struct served s = serve(listen, so);
    struct weft_dial_options o = {.tls = so.cert != NULL ? client : NULL, .proxy_from = &from};
    CHECK_EQ(weft_address_ip(&from, "203.0.113.9", 1234), 0);
    for (o.send_proxy = 1; o.send_proxy <= 2; o.send_proxy++) {
        o.proxy_from = &from;
        CHECK_EQ(ask(host, s.port, &o, line), 0);
        CHECK(strcmp(line, "203.0.113.9:1234\n") == 0);
        o.proxy_from = NULL; /* our own */
        CHECK_EQ(ask(host, s.port, &o, line), 0);
        CHECK(strncmp(line, "127.0.0.1:", 10) == 0);
    }
    o.send_proxy = 0; /* who is trusted must send one: our first bytes are none, or do not come */
    struct weft_stream *c = NULL;
    char at[80], b;
    (void)snprintf(at, sizeof at, "tcp://127.0.0.1:%d", s.port);
    CHECK_EQ(weft_dial(&c, at, NULL, SOON), 0);
    CHECK_EQ(weft_write(c, "hello", 5, SOON), 0);
    CHECK(weft_read(c, &b, 1, SOON) <= 0);
    weft_abort(&c);
    /* One who is not: as it comes. */
    o.bind = "tcp://127.0.0.2:0";
    CHECK_EQ(ask(host, s.port, &o, line), 0);
    CHECK(strncmp(line, "127.0.0.2:", 10) == 0);
    CHECK_EQ(weft_group_close(&s.g), 0);
}

static void sends_headers(void)
{
    static const enum weft_model models[] = {WEFT_TASKS, WEFT_THREADS, WEFT_PROTOCOLS};
    for (int i = 0; i < 3; i++) {
        headers(models[i], "tcp://", (struct weft_server_options){.backlog = 0});
        headers(models[i], "tls://",
                (struct weft_server_options){.cert = tls_kit_file("server.pem"),
                                             .key = tls_kit_file("server.key")});
    }
    static const char *const bad[] = {"", "1.2.3", "1.2.3.4/33", "1.2.3.4/", "1.2.3.4,", "::1 ::2"};
    struct weft_group *g = kit_group();
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct weft_server_options o = {.proxy_from = bad[i]};
        CHECK_EQ(weft_serve(g, "tcp://127.0.0.1:0", &o, say_peer, NULL), -EINVAL);
    }
    CHECK_EQ(weft_group_close(&g), 0);
}

/* What was told goes along from one model to the other. */
static void told_for_good(void)
{
    struct weft_address from;
    char line[128];
    struct weft_dial_options o = {.send_proxy = 2, .proxy_from = &from};
    CHECK_EQ(weft_address_ip(&from, "203.0.113.9", 1234), 0);
    if (weft_loop_current() == NULL)
        return;
    for (int i = 0; i < 4; i++) {
        bool callbacks = i % 2 != 0;
        struct weft_server_options so = {.proxy_from = "127.0.0.1",
                                         .model = callbacks ? WEFT_PROTOCOLS : WEFT_TASKS};
        if (i >= 2) {
            so.cert = tls_kit_file("server.pem");
            so.key = tls_kit_file("server.key");
            o.tls = client;
        }
        others = kit_group();
        struct served s = serve_with(i < 2 ? "tcp://127.0.0.1:0" : "tls://127.0.0.1:0", so,
                                     callbacks ? NULL : attach, callbacks ? &detach_factory : NULL);
        CHECK_EQ(ask(i < 2 ? "tcp://127.0.0.1" : "tls://127.0.0.1", s.port, &o, line), 0);
        CHECK(strcmp(line, "203.0.113.9:1234\n") == 0);
        CHECK_EQ(weft_group_close(&s.g), 0);
        CHECK_EQ(weft_group_close(&others), 0);
    }
}

static int until_told_to_end(struct weft_stream *s, void *arg)
{
    char c;
    int err = say_peer(s, arg);
    return err < 0 ? err : (int)weft_read(s, &c, 1, WEFT_NEVER);
}

static int say_and_stay(struct weft_stream *t, void *arg)
{
    (void)arg;
    return weft_transport_write(t, "here\n", 5);
}
static const struct weft_protocol stay_protocol = {.made = say_and_stay, .data = no_data};
static const struct weft_factory stay_factory = {.protocol = &stay_protocol};

/* Dials as connection n of three hosts that come by turns; whether it was let in. */
static bool let_in(const struct served *s, int n, struct weft_stream **c)
{
    static const char *const hosts[] = {"203.0.113.1", "203.0.113.2", "203.0.113.3"};
    struct weft_address from;
    struct weft_dial_options o = {.send_proxy = 1 + n % 2, .proxy_from = &from};
    char at[80], line[64];
    (void)snprintf(at, sizeof at, "tcp://127.0.0.1:%d", s->port);
    CHECK_EQ(weft_address_ip(&from, hosts[n % 3], 1234), 0);
    CHECK_EQ(weft_dial(c, at, &o, SOON), 0);
    return weft_read_until(*c, line, sizeof line, '\n', SOON) > 0;
}

/* Those behind a proxy are counted one by one, and neither together nor as the proxy; and no longer
 * than they are there. */
static void counts_whom_the_proxy_tells(void)
{
    static const enum weft_model models[] = {WEFT_TASKS, WEFT_THREADS, WEFT_PROTOCOLS};
    for (int i = 0; i < 3; i++) {
        struct weft_server_options so = {
            .proxy_from = "127.0.0.1", .model = models[i], .max_per_peer = 2};
        bool callbacks = models[i] == WEFT_PROTOCOLS;
        struct served s = serve_with("tcp://127.0.0.1:0", so, callbacks ? NULL : until_told_to_end,
                                     callbacks ? &stay_factory : NULL);
        struct weft_server_stats st = {0};
        struct weft_stream *c[8] = {NULL};
        for (int n = 0; n < 7; n++) /* the last one is the third of the first host */
            CHECK_EQ(let_in(&s, n, &c[n]), n < 6);
        weft_server_stats_mt(s.server, &st);
        CHECK_EQ(st.refused, 1);
        CHECK_EQ(st.failed, 0);
        weft_abort(&c[0]);
        weft_deadline until = weft_after_s(20);
        while (!let_in(&s, 6, &c[7])) { /* its server may not have seen the end yet */
            weft_abort(&c[7]);
            CHECK(weft_left_ns(until) > 0);
        }
        for (int n = 0; n < 8; n++)
            weft_abort(&c[n]);
        CHECK_EQ(weft_group_close(&s.g), 0);
    }
}

/* haproxy before our server, with each version, and our client before haproxy. */
static void behind_haproxy(void)
{
    char line[128], at[64];
    if (!have_haproxy)
        return;
    (void)snprintf(at, sizeof at, "tcp://127.0.0.1:%d?proxy-from=127.0.0.0/8", behind_port);
    struct served s = serve(at, (struct weft_server_options){.backlog = 0});
    struct weft_dial_options o = {.bind = "tcp://127.0.0.7:0"};
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(ask("tcp://127.0.0.1", haproxy_port[i], &o, line), 0);
        CHECK(strncmp(line, "127.0.0.7:", 10) == 0);
    }
    CHECK_EQ(weft_group_close(&s.g), 0);
}

static void (*const all[])(void) = {
    socks,         http, texts, options, sends_headers, told_for_good, counts_whom_the_proxy_tells,
    behind_haproxy};

static int in_a_task(void *arg)
{
    (void)arg;
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        all[i]();
    return 0;
}

static void on_a_thread(const char *driver)
{
    if (strcmp(driver, "epoll") == 0)
        in_a_task(NULL);
}

static const struct kit_case cases[] = {IN_TASK(in_a_task), ON_THREAD(on_a_thread)};

static void start_all(void)
{
    char p[4][16], path[128], text[1024];
    int ports[4];
    for (int i = 0; i < 4; i++) {
        ports[i] = free_port();
        (void)snprintf(p[i], sizeof p[i], "%d", ports[i]);
    }
    socks_port = ports[0];
    socks_auth_port = ports[1];
    http_port = ports[2];
    have_socks =
        start(socks_port, (const char *[]){"microsocks", "-i", "127.0.0.1", "-p", p[0], NULL}) &&
        start(socks_auth_port, (const char *[]){"microsocks", "-i", "127.0.0.1", "-p", p[1], "-u",
                                                "me", "-P", "se:cr@t", NULL});
    (void)snprintf(path, sizeof path, "%s/tinyproxy.conf", tls_kit_dir);
    (void)snprintf(text, sizeof text, "Port %d\nListen 127.0.0.1\nTimeout 60\nMaxClients 50\n",
                   http_port);
    write_file(path, text);
    have_http = start(http_port, (const char *[]){"tinyproxy", "-d", "-c", path, NULL});
    behind_port = ports[3];
    haproxy_port[0] = free_port();
    haproxy_port[1] = free_port();
    (void)snprintf(path, sizeof path, "%s/haproxy.cfg", tls_kit_dir);
    (void)snprintf(text, sizeof text,
                   "defaults\n mode tcp\n timeout connect 5s\n timeout client 60s\n"
                   " timeout server 60s\n"
                   "listen one\n bind 127.0.0.1:%d\n server s 127.0.0.1:%d send-proxy\n"
                   "listen two\n bind 127.0.0.1:%d\n server s 127.0.0.1:%d send-proxy-v2\n",
                   haproxy_port[0], behind_port, haproxy_port[1], behind_port);
    write_file(path, text);
    have_haproxy = start(haproxy_port[0], (const char *[]){"haproxy", "-db", "-f", path, NULL});
    print_message("microsocks: %s, tinyproxy: %s, haproxy: %s\n", have_socks ? "yes" : "no",
                  have_http ? "yes" : "no", have_haproxy ? "yes" : "no");
}

int main(void)
{
    (void)tls_kit_file("ca.pem");
    start_all();
    client = tls_kit_client();
    int failed = kit_main(cases, sizeof cases / sizeof cases[0]);
    weft_tls_close(&client);
    stop_all();
    return failed;
}
