/* SPDX-License-Identifier: MIT */
/*
 * TLS with other people's programs on the loopback: openssl, curl, gnutls-cli, Python's ssl.
 *
 * A server of ours is a thread that takes one connection, reads a line and answers with what was
 * agreed on; the peer is a command whose output is looked at. Programs that are not installed are
 * left out, and named.
 */
#include "tls_kit.h"

#include <signal.h>

#define OUTPUT_MAX 65536

static bool have(const char *program)
{
    char command[128];
    (void)snprintf(command, sizeof command, "command -v %s >/dev/null", program);
    bool found = system(command) == 0;
    if (!found)
        print_message("%s is not installed: left out\n", program);
    return found;
}

/* What a command prints, both ways; at most OUTPUT_MAX bytes. */
static const char *output(const char *command)
{
    static char buf[OUTPUT_MAX];
    char line[4096];
    (void)snprintf(line, sizeof line, "cd %s && { timeout 20 %s; } 2>&1", tls_kit_dir, command);
    FILE *f = popen(line, "r");
    assert_non_null(f);
    size_t n = fread(buf, 1, sizeof buf - 1, f);
    buf[n] = '\0';
    (void)pclose(f);
    return buf;
}

static void expect_in(const char *text, const char *part)
{
    if (strstr(text, part) == NULL)
        print_error("'%s' is not in: %s\n", part, text);
    assert_non_null(strstr(text, part));
}

/* --- Our server ------------------------------------------------------------------------------ */

struct server {
    struct weft_listener *l;
    struct weft_tls *tls;
    struct weft_group *g;
    int port;
    int rounds; /* connections of a visit; 0: 1 */
    int result; /* of the last */
    char detail[200];
};

static int answer(struct weft_stream *s)
{
    struct weft_tls_info i;
    char line[1024];
    ssize_t n = weft_read_until(s, line, sizeof line, '\n', weft_after_s(20));
    int err = n > 0 ? weft_tls_info(s, &i) : n < 0 ? (int)n : WEFT_EEOF;
    if (err == 0)
        err = weft_printf(s, weft_after_s(20),
                          "HTTP/1.0 200 OK\r\n\r\nweft: %s alpn=%s sni=%s resumed=%d peer=%s\n",
                          i.version, i.alpn, i.sni, i.resumed, i.subject);
    return err;
}

static void serve_connection(struct server *v)
{
    struct weft_stream *s = NULL;
    v->result = weft_accept(v->l, &s, weft_after_s(20));
    if (v->result == 0)
        v->result = weft_tls_accept(&s, v->tls, weft_after_s(20));
    if (v->result == 0)
        v->result = answer(s);
    (void)snprintf(v->detail, sizeof v->detail, "%s", weft_error_detail());
    (void)weft_close(&s, weft_after_s(20));
}

static int serve(void *arg)
{
    struct server *v = arg;
    for (int i = 0; i < (v->rounds > 0 ? v->rounds : 1); i++)
        serve_connection(v);
    return 0;
}

static struct server server_open(const struct weft_tls_options *more)
{
    struct server v = {0};
    char at[WEFT_ENDPOINT_MAX];
    struct weft_tls_certificate cert = tls_kit_cert("server.pem", "server.key");
    struct weft_tls_options o = *more;
    o.certificates = &cert;
    o.n_certificates = 1;
    v.tls = tls_kit_open(&o);
    assert_int_equal(weft_listen(&v.l, "tcp://127.0.0.1:0", NULL), 0);
    assert_true(weft_listener_endpoint(v.l, at, sizeof at) > 0);
    v.port = atoi(strrchr(at, ':') + 1);
    return v;
}

static void server_close(struct server *v)
{
    weft_listener_close(&v->l);
    weft_tls_close(&v->tls);
}

/* One connection from a command, in which %d is the port; what the command printed. */
static const char *visit(struct server *v, const char *format)
{
    char command[1024], port[16];
    const char *mark = strstr(format, "%d");
    assert_non_null(mark);
    (void)snprintf(port, sizeof port, "%d", v->port);
    (void)snprintf(command, sizeof command, "%.*s%s%s", (int)(mark - format), format, port,
                   mark + 2);
    v->g = kit_group();
    kit_go(v->g, "server", serve, v);
    const char *text = output(command);
    assert_int_equal(weft_group_wait(v->g, weft_after_s(60)), 0);
    assert_int_equal(weft_group_close(&v->g), 0);
    return text;
}

static void curl(void **state)
{
    (void)state;
    struct weft_tls_options o = {.alpn = "http/1.1"};
    if (!have("curl"))
        skip();
    struct server v = server_open(&o);
    const char *text = visit(&v, "curl -sS --http1.1 --cacert ca.pem https://localhost:%d/");
    expect_in(text, "weft: TLSv1.3 alpn=http/1.1 sni=localhost resumed=0 peer=\n");
    text = visit(&v, "curl -sS --tls-max 1.2 --cacert ca.pem https://localhost:%d/");
    expect_in(text, "weft: TLSv1.2 ");
    v.rounds = 2; /* a second connection goes on with the first one's session */
    text = visit(&v, "sh -c 'curl -sS --http1.1 --cacert ca.pem "
                     "https://localhost:%d/[1-2]'");
    expect_in(text, "resumed=0 ");
    expect_in(text, "resumed=1 ");
    v.rounds = 1;
    text = visit(&v, "curl -sS https://localhost:%d/"); /* which does not know the root */
    expect_in(text, "curl: (60)");
    assert_int_equal(v.result, WEFT_ECERTIFICATE);
    expect_in(v.detail, "the peer refused our certificate");
    server_close(&v);
}

static void curl_with_a_certificate(void **state)
{
    (void)state;
    struct weft_tls_options o = {.ca = tls_kit_file("ca.pem"),
                                 .crl = tls_kit_file("ca.crl"),
                                 .client = WEFT_TLS_CLIENT_REQUIRED};
    if (!have("curl"))
        skip();
    struct server v = server_open(&o);
    const char *text = visit(&v, "curl -sS --cacert ca.pem --cert client.pem --key client.key "
                                 "https://localhost:%d/");
    expect_in(text, " peer=CN=a client\n");
    text = visit(&v, "curl -sS --cacert ca.pem https://localhost:%d/");
    expect_in(text, "certificate required");
    assert_int_equal(v.result, WEFT_ECERTIFICATE);
    expect_in(v.detail, "the client has shown no certificate");
    text = visit(&v, "curl -sS --cacert ca.pem --cert bad_client.pem --key bad_client.key "
                     "https://localhost:%d/");
    expect_in(text, "unknown ca");
    assert_int_equal(v.result, WEFT_ECERTIFICATE);
    expect_in(v.detail, "unknown issuer: CN=Another root issued the certificate of CN=a stranger");
    text = visit(&v, "curl -sS --cacert ca.pem --cert bad_guest.pem --key bad_guest.key "
                     "https://localhost:%d/");
    expect_in(text, "certificate revoked");
    assert_int_equal(v.result, WEFT_ECERTIFICATE);
    expect_in(v.detail, "the certificate of CN=a guest is revoked by CN=Weft test root");
    server_close(&v);
}

#define S_CLIENT "sh -c 'echo hello | openssl s_client -connect 127.0.0.1:%d -CAfile ca.pem "

static void s_client(void **state)
{
    (void)state;
    struct weft_tls_options o = {
        .alpn = "h2,x", .ca = tls_kit_file("ca.pem"), .client = WEFT_TLS_CLIENT_OPTIONAL};
    struct server v = server_open(&o);
    const char *text =
        visit(&v, S_CLIENT "-ign_eof -servername server.test -alpn x,y -cert client.pem "
                           "-key client.key -verify_return_error -sess_out ticket'");
    expect_in(text, "weft: TLSv1.3 alpn=x sni=server.test resumed=0 peer=CN=a client\n");
    expect_in(text, "Verify return code: 0 (ok)");
    text = visit(&v, S_CLIENT "-ign_eof -servername server.test -sess_in ticket'");
    expect_in(text, "resumed=1 peer=CN=a client\n");
    text = visit(&v, S_CLIENT "-ign_eof -tls1_2 -sess_out ticket2'");
    expect_in(text, "weft: TLSv1.2 alpn= sni= resumed=0 peer=\n");
    text = visit(&v, S_CLIENT "-ign_eof -tls1_2 -sess_in ticket2'");
    expect_in(text, "resumed=1 ");
    server_close(&v);
}

static void s_client_refused(void **state)
{
    static const struct {
        const char *options, *words;
    } cases[] = {
        {"-tls1 -cipher ALL:@SECLEVEL=0'", "no version in common: this side speaks TLS 1.2 to TLS "
                                           "1.3, the peer at most TLS 1.0"},
        {"-tls1_1 -cipher ALL:@SECLEVEL=0'", "the peer at most TLS 1.1"},
        {"-tls1_2 -cipher AES128-SHA'", "no cipher in common"},
        {"-alpn z'", "no application protocol (ALPN) in common"},
    };
    (void)state;
    struct weft_tls_options o = {.alpn = "h2"};
    struct server v = server_open(&o);
    for (size_t i = 0; i < WEFT__ARRAY_LEN(cases); i++) {
        char command[512];
        (void)snprintf(command, sizeof command, "%s%s", S_CLIENT, cases[i].options);
        expect_in(visit(&v, command), "alert");
        assert_int_equal(v.result, WEFT_ETLS);
        expect_in(v.detail, cases[i].words);
    }
    /* Renegotiation is refused, and the connection goes on. */
    const char *text = visit(&v, "sh -c '(sleep 0.3; echo R; sleep 0.3; echo hello; sleep 1) | "
                                 "openssl s_client -connect 127.0.0.1:%d -CAfile ca.pem -tls1_2'");
    expect_in(text, "no renegotiation");
    server_close(&v);
}

static void gnutls_cli(void **state)
{
    (void)state;
    struct weft_tls_options o = {.alpn = "h2"};
    if (!have("gnutls-cli"))
        skip();
    struct server v = server_open(&o);
    const char *text = visit(&v, "sh -c '(echo hello; sleep 1) | gnutls-cli --x509cafile ca.pem "
                                 "--alpn h2 -p %d localhost'");
    expect_in(text, "weft: TLSv1.3 alpn=h2 sni=localhost resumed=0");
    text = visit(&v, "sh -c '(echo hello; sleep 1) | gnutls-cli --x509cafile ca.pem --priority "
                     "NORMAL:-VERS-TLS1.3 -p %d localhost'");
    expect_in(text, "weft: TLSv1.2 ");
    v.rounds = 2;
    text = visit(&v, "sh -c '(echo hello; sleep 1; echo hello; sleep 1) | gnutls-cli --resume "
                     "--x509cafile ca.pem --alpn h2 -p %d localhost'");
    expect_in(text, "resumed=1 ");
    v.rounds = 1;
    server_close(&v);
    o = (struct weft_tls_options){.ca = tls_kit_file("ca.pem"), .client = WEFT_TLS_CLIENT_REQUIRED};
    v = server_open(&o);
    text = visit(&v, "sh -c '(echo hello; sleep 1) | gnutls-cli --x509cafile ca.pem "
                     "--x509certfile client.pem --x509keyfile client.key -p %d localhost'");
    expect_in(text, " peer=CN=a client\n");
    server_close(&v);
}

static void python_client(void **state)
{
    (void)state;
    struct weft_tls_options o = {.alpn = NULL};
    struct server v = server_open(&o);
    const char *text = visit(&v, "/usr/bin/python3 -c 'import socket, ssl\n"
                                 "c = ssl.create_default_context(cafile=\"ca.pem\")\n"
                                 "s = c.wrap_socket(socket.create_connection((\"127.0.0.1\", %d)),"
                                 " server_hostname=\"server.test\")\n"
                                 "s.sendall(b\"hello\\n\")\n"
                                 "print(s.makefile().read())'");
    expect_in(text, "weft: TLSv1.3 alpn= sni=server.test");
    server_close(&v);
}

/* TLS 1.2 and 1.3, with a client's certificate, ALPN, and a session that goes on. */
static void python_client_resumes(void **state)
{
    (void)state;
    struct weft_tls_options o = {
        .alpn = "b,a", .ca = tls_kit_file("ca.pem"), .client = WEFT_TLS_CLIENT_REQUIRED};
    struct server v = server_open(&o);
    v.rounds = 4;
    const char *text =
        visit(&v, "/usr/bin/python3 -c 'import socket, ssl\n"
                  "for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):\n"
                  "  c = ssl.create_default_context(cafile=\"ca.pem\")\n"
                  "  c.maximum_version = version\n"
                  "  c.load_cert_chain(\"client.pem\", \"client.key\")\n"
                  "  c.set_alpn_protocols([\"a\"])\n"
                  "  session = None\n"
                  "  for i in range(2):\n"
                  "    s = c.wrap_socket(socket.create_connection((\"127.0.0.1\", %d)),\n"
                  "                      server_hostname=\"server.test\", session=session)\n"
                  "    s.sendall(b\"hello\\n\")\n"
                  "    print(s.makefile().read())\n"
                  "    session = s.session'");
    expect_in(text, "weft: TLSv1.2 alpn=a sni=server.test resumed=0 peer=CN=a client\n");
    expect_in(text, "weft: TLSv1.2 alpn=a sni=server.test resumed=1 peer=CN=a client\n");
    expect_in(text, "weft: TLSv1.3 alpn=a sni=server.test resumed=0 peer=CN=a client\n");
    expect_in(text, "weft: TLSv1.3 alpn=a sni=server.test resumed=1 peer=CN=a client\n");
    server_close(&v);
}

/* --- Our client ------------------------------------------------------------------------------ */

static int started; /* its process id */

/* Starts a server that prints its port behind `mark`. */
static FILE *start(const char *command, const char *mark, char endpoint[64])
{
    char line[2048], text[512] = "";
    const char *at = NULL;
    (void)snprintf(line, sizeof line,
                   "cd %s && echo $$ && exec timeout 20 %s 2>/dev/null </dev/null", tls_kit_dir,
                   command);
    FILE *f = popen(line, "r");
    assert_non_null(f);
    assert_non_null(fgets(text, sizeof text, f));
    started = atoi(text);
    while (at == NULL && fgets(text, sizeof text, f) != NULL)
        at = strstr(text, mark);
    assert_non_null(at);
    (void)snprintf(endpoint, 64, "tcp://127.0.0.1:%d", atoi(at + strlen(mark)));
    return f;
}

static struct weft_stream *connect_to(const char *endpoint, struct weft_tls *tls)
{
    struct weft_stream *s = NULL;
    assert_int_equal(weft_dial(&s, endpoint, NULL, weft_after_s(20)), 0);
    int err = weft_tls_connect(&s, tls, "server.test", weft_after_s(20));
    if (err != 0)
        print_error("%s\n", weft_error_detail());
    assert_int_equal(err, 0);
    return s;
}

/* What our client sees of a server, over so many connections. */
static void call(const char *command, const char *mark, const struct weft_tls_options *o,
                 int rounds, void (*use)(struct weft_stream *s, int round))
{
    char endpoint[64];
    struct weft_tls *tls = tls_kit_open(o);
    FILE *f = start(command, mark, endpoint);
    for (int i = 0; i < rounds; i++) {
        struct weft_stream *s = connect_to(endpoint, tls);
        use(s, i);
        assert_int_equal(weft_close(&s, weft_after_s(20)), 0);
    }
    (void)pclose(f);
    weft_tls_close(&tls);
}

/* s_server -rev sends each line back, reversed. */
static void use_rev(struct weft_stream *s, int round)
{
    char line[16];
    struct weft_tls_info i;
    assert_int_equal(weft_write(s, "hello\n", 6, weft_after_s(20)), 0);
    assert_int_equal(weft_flush(s, weft_after_s(20)), 0);
    assert_int_equal(weft_read_until(s, line, sizeof line, '\n', weft_after_s(20)), 6);
    assert_memory_equal(line, "olleh\n", 6);
    assert_int_equal(weft_tls_info(s, &i), 0);
    assert_true(i.verified);
    assert_int_equal(i.resumed, round > 0);
    assert_string_equal(i.alpn, "x");
}

static void s_server(void **state)
{
    (void)state;
    struct weft_tls_certificate own = tls_kit_cert("client.pem", "client.key");
    struct weft_tls_options o = {
        .ca = tls_kit_file("ca.pem"), .alpn = "y,x", .certificates = &own, .n_certificates = 1};
    call("openssl s_server -accept 127.0.0.1:0 -cert server.pem -key server.key -rev -alpn x "
         "-CAfile ca.pem -Verify 2 -verify_return_error -naccept 2",
         "ACCEPT 127.0.0.1:", &o, 2, use_rev);
    call("openssl s_server -accept 127.0.0.1:0 -cert server.pem -key server.key -rev -alpn x "
         "-CAfile ca.pem -Verify 2 -verify_return_error -naccept 2 -tls1_2",
         "ACCEPT 127.0.0.1:", &o, 2, use_rev);
}

static void use_python(struct weft_stream *s, int round)
{
    char text[8];
    (void)round;
    assert_int_equal(weft_read_full(s, text, 5, weft_after_s(20)), 0);
    assert_memory_equal(text, "hello", 5);
    assert_int_equal(weft_read(s, text, 1, weft_after_s(20)), 0); /* unwrap: close_notify */
}

static void python_server(void **state)
{
    (void)state;
    struct weft_tls_options o = {.ca = tls_kit_file("ca.pem")};
    call("/usr/bin/python3 -u -c 'import socket, ssl\n"
         "c = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)\n"
         "c.load_cert_chain(\"server.pem\", \"server.key\")\n"
         "l = socket.create_server((\"127.0.0.1\", 0))\n"
         "print(\"port\", l.getsockname()[1])\n"
         "s = c.wrap_socket(l.accept()[0], server_side=True)\n"
         "s.sendall(b\"hello\")\n"
         "s.unwrap()'",
         "port ", &o, 1, use_python);
}

#define S_SERVER "openssl s_server -accept 127.0.0.1:0 -naccept 1 -rev "

/* Servers that our client refuses, and its words. */
static void refused(void **state)
{
    static const struct {
        const char *command, *host, *words;
        const char *crl;
    } cases[] = {
        {S_SERVER "-cert server.pem -key server.key", "wrong.test",
         "the certificate is not for 'wrong.test': it is for DNS:server.test", NULL},
        {S_SERVER "-cert expired.pem -key expired.key", "server.test",
         "the certificate of CN=server.test expired on 20", NULL},
        {S_SERVER "-cert self.pem -key self.key", "server.test",
         "the certificate of CN=server.test is self-signed", NULL},
        {S_SERVER "-cert deep.pem -key deep.key", "deep.test",
         "CN=Weft test intermediate issued the certificate of CN=deep.test, and is neither trusted "
         "nor among the 1 that were sent",
         NULL},
        {S_SERVER "-cert stranger.pem -key stranger.key -cert_chain other.pem", "server.test",
         "unknown issuer: the chain ends at CN=Another root", NULL},
        {S_SERVER "-cert revoked.pem -key revoked.key", "server.test",
         "the certificate of CN=server.test is revoked", "ca.crl"},
        {S_SERVER "-cert revoked.pem -key revoked.key -tls1_2", "server.test",
         "the certificate of CN=server.test is revoked", "ca.crl"},
    };
    (void)state;
    for (size_t i = 0; i < WEFT__ARRAY_LEN(cases); i++) {
        struct weft_tls *tls = tls_kit_open(&(struct weft_tls_options){
            .ca = tls_kit_file("ca.pem"),
            .crl = cases[i].crl != NULL ? tls_kit_file(cases[i].crl) : NULL});
        struct weft_stream *s = NULL;
        char endpoint[64];
        FILE *f = start(cases[i].command, "ACCEPT 127.0.0.1:", endpoint);
        assert_int_equal(weft_dial(&s, endpoint, NULL, weft_after_s(20)), 0);
        assert_int_equal(weft_tls_connect(&s, tls, cases[i].host, weft_after_s(20)),
                         WEFT_ECERTIFICATE);
        expect_in(weft_error_detail(), cases[i].words);
        assert_int_equal(weft_close(&s, weft_after_s(20)), WEFT_EPOISONED);
        (void)pclose(f);
        weft_tls_close(&tls);
    }
}

/* One that ends in the middle of what it had to say. */
static void truncated(void **state)
{
    (void)state;
    struct weft_tls *tls = tls_kit_client();
    char endpoint[64], text[8];
    FILE *f = start("/usr/bin/python3 -u -c 'import socket, ssl\n"
                    "c = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)\n"
                    "c.load_cert_chain(\"server.pem\", \"server.key\")\n"
                    "l = socket.create_server((\"127.0.0.1\", 0))\n"
                    "print(\"port\", l.getsockname()[1])\n"
                    "s = c.wrap_socket(l.accept()[0], server_side=True)\n"
                    "s.sendall(b\"hello\")\n"
                    "s.shutdown(socket.SHUT_WR)'",
                    "port ", endpoint);
    struct weft_stream *s = connect_to(endpoint, tls);
    assert_int_equal(weft_read_full(s, text, 5, weft_after_s(20)), 0);
    assert_int_equal(weft_read(s, text, 1, weft_after_s(20)), WEFT_EEOF);
    expect_in(weft_error_detail(), "without close_notify; what it sent last may be missing");
    (void)weft_close(&s, weft_after_s(20));
    (void)pclose(f);
    weft_tls_close(&tls);
}

/* A port that was free a moment ago. */
static int free_port(void)
{
    struct weft_listener *l = NULL;
    char at[WEFT_ENDPOINT_MAX];
    assert_int_equal(weft_listen(&l, "tcp://127.0.0.1:0", NULL), 0);
    assert_true(weft_listener_endpoint(l, at, sizeof at) > 0);
    weft_listener_close(&l);
    return atoi(strrchr(at, ':') + 1);
}

static void use_gnutls(struct weft_stream *s, const char *version, int round)
{
    char line[16];
    struct weft_tls_info i;
    assert_int_equal(weft_write(s, "hello\n", 6, weft_after_s(20)), 0);
    assert_int_equal(weft_flush(s, weft_after_s(20)), 0);
    assert_int_equal(weft_read_until(s, line, sizeof line, '\n', weft_after_s(20)), 6);
    assert_memory_equal(line, "hello\n", 6);
    assert_int_equal(weft_tls_info(s, &i), 0);
    assert_string_equal(i.version, version);
    assert_string_equal(i.alpn, "x");
    assert_true(i.verified);
    assert_int_equal(i.resumed, round > 0);
}

static void gnutls_serv(void **state)
{
    static const char *const priorities[] = {"NORMAL", "NORMAL:-VERS-TLS1.3"};
    (void)state;
    if (!have("gnutls-serv"))
        skip();
    for (int k = 0; k < 2; k++) {
        char command[512], endpoint[64];
        int port = free_port();
        struct weft_tls_certificate own = tls_kit_cert("client.pem", "client.key");
        struct weft_tls *tls = tls_kit_open(&(struct weft_tls_options){.ca = tls_kit_file("ca.pem"),
                                                                       .alpn = "y,x",
                                                                       .certificates = &own,
                                                                       .n_certificates = 1});
        (void)snprintf(
            command, sizeof command,
            "sh -c 'exec stdbuf -oL gnutls-serv --echo --require-client-cert --verify-client-cert "
            "--x509cafile ca.pem --x509certfile server.pem --x509keyfile server.key "
            "--alpn x --priority %s -p %d 2>&1'",
            priorities[k], port);
        FILE *f = start(command, "IPv4 0.0.0.0 port ", endpoint);
        for (int i = 0; i < 2; i++) {
            struct weft_stream *s = connect_to(endpoint, tls);
            use_gnutls(s, k == 0 ? "TLSv1.3" : "TLSv1.2", i);
            assert_int_equal(weft_close(&s, weft_after_s(20)), 0);
        }
        assert_int_equal(kill(started, SIGTERM), 0); /* it does not end by itself */
        (void)pclose(f);
        weft_tls_close(&tls);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(curl),
        cmocka_unit_test(s_client),
        cmocka_unit_test(curl_with_a_certificate),
        cmocka_unit_test(python_client_resumes),
        cmocka_unit_test(refused),
        cmocka_unit_test(truncated),
        cmocka_unit_test(gnutls_serv),
        cmocka_unit_test(gnutls_cli),
        cmocka_unit_test(s_client_refused),
        cmocka_unit_test(python_client),
        cmocka_unit_test(s_server),
        cmocka_unit_test(python_server),
    };
    (void)tls_kit_file("ca.pem");
    return cmocka_run_group_tests_name("tls with others", tests, NULL, NULL);
}
