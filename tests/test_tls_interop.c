/* SPDX-License-Identifier: MIT */
/*
 * TLS with other people's programs on the loopback: openssl, curl, gnutls-cli, Python's ssl.
 *
 * A server of ours is a thread that takes one connection, reads a line and answers with what was
 * agreed on; the peer is a command whose output is looked at. Programs that are not installed are
 * left out, and named.
 */
#include "tls_kit.h"

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
    int result;
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

static int serve_one(void *arg)
{
    struct server *v = arg;
    struct weft_stream *s = NULL;
    v->result = weft_accept(v->l, &s, weft_after_s(20));
    if (v->result == 0)
        v->result = weft_tls_accept(&s, v->tls, weft_after_s(20));
    if (v->result == 0)
        v->result = answer(s);
    (void)snprintf(v->detail, sizeof v->detail, "%s", weft_error_detail());
    (void)weft_close(&s, weft_after_s(20));
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
    kit_go(v->g, "server", serve_one, v);
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
    text = visit(&v, "curl -sS https://localhost:%d/"); /* which does not know the root */
    expect_in(text, "curl: (60)");
    assert_int_equal(v.result, WEFT_ECERTIFICATE);
    expect_in(v.detail, "the peer refused our certificate");
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

/* --- Our client ------------------------------------------------------------------------------ */

/* A server that prints its port behind `mark`, and what our client sees of it. */
static void call(const char *command, const char *mark, const struct weft_tls_options *o,
                 int rounds, void (*use)(struct weft_stream *s, int round))
{
    char line[2048], endpoint[64], text[512] = "";
    const char *at = NULL;
    struct weft_tls *tls = tls_kit_open(o);
    (void)snprintf(line, sizeof line, "cd %s && exec timeout 20 %s 2>/dev/null </dev/null",
                   tls_kit_dir, command);
    FILE *f = popen(line, "r");
    assert_non_null(f);
    while (at == NULL && fgets(text, sizeof text, f) != NULL)
        at = strstr(text, mark);
    assert_non_null(at);
    int port = atoi(at + strlen(mark));
    (void)snprintf(endpoint, sizeof endpoint, "tcp://127.0.0.1:%d", port);
    for (int i = 0; i < rounds; i++) {
        struct weft_stream *s = NULL;
        assert_int_equal(weft_dial(&s, endpoint, NULL, weft_after_s(20)), 0);
        int err = weft_tls_connect(&s, tls, "server.test", weft_after_s(20));
        if (err != 0)
            print_error("%s\n", weft_error_detail());
        assert_int_equal(err, 0);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(curl),          cmocka_unit_test(s_client),
        cmocka_unit_test(gnutls_cli),    cmocka_unit_test(s_client_refused),
        cmocka_unit_test(python_client), cmocka_unit_test(s_server),
        cmocka_unit_test(python_server),
    };
    (void)tls_kit_file("ca.pem");
    return cmocka_run_group_tests_name("tls with others", tests, NULL, NULL);
}
