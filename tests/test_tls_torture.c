/* SPDX-License-Identifier: MIT */
/*
 * TLS under failures: every allocation, of the library and of OpenSSL, every call and every wait of
 * a handshake, an exchange and its end fails in turn.
 *
 * OpenSSL's allocations are made to fail by the same counter; they are not counted as live, because
 * it keeps some for the process.
 */
#include "torture_kit.h"

#include <openssl/crypto.h>
#include <openssl/err.h>

#include "base/alloc.h"
#include "tls_kit.h"

#define LARGE 40000u

static struct weft_tls *server_context, *client_context;

struct end {
    struct weft_stream *s;
    bool server;
};

/* Secures it, sends much and little, receives the same, says good-bye. */
static int converse(void *arg)
{
    struct end *e = arg;
    static const char text[LARGE];
    static _Thread_local char got[4096];
    size_t left = sizeof text;
    int err = e->server ? weft_tls_accept(&e->s, server_context, TORTURE_SOON)
                        : weft_tls_connect(&e->s, client_context, "server.test", TORTURE_SOON);
    if (err == 0 && e->server)
        err = weft_write(e->s, text, sizeof text, TORTURE_SOON);
    while (err == 0 && !e->server && left > 0) {
        ssize_t n = weft_read(e->s, got, weft__min_size(left, sizeof got), TORTURE_SOON);
        err = n > 0 ? 0 : n < 0 ? (int)n : WEFT_EEOF;
        left -= n > 0 ? (size_t)n : 0;
    }
    if (err == 0 && !e->server)
        err = weft_write(e->s, "thanks\n", 7, TORTURE_SOON);
    if (err == 0 && e->server)
        err = torture_first(0, weft_read_until(e->s, got, sizeof got, '\n', TORTURE_SOON));
    if (err == 0)
        err = weft_shutdown(e->s, TORTURE_SOON);
    if (err == 0)
        err = torture_first(0, weft_read(e->s, got, 1, TORTURE_SOON));
    CHECK_EQ(ERR_peek_error(), 0);
    err = torture_first(err, err < 0 ? 0 : weft_close(&e->s, TORTURE_SOON));
    weft_abort(&e->s);
    return err;
}

static int both_ends(void *arg)
{
    struct end a = {0}, b = {.server = true};
    struct weft_group *g = NULL;
    (void)arg;
    int err = weft_socketpair(&a.s, &b.s);
    if (err == 0)
        err = weft_group_open(&g);
    if (err == 0)
        err = weft_group_go(g, "server", converse, &b);
    if (err == 0)
        err = weft_group_go(g, "client", converse, &a);
    if (err == 0)
        err = weft_group_wait(g, weft_after_s(30));
    err = torture_first(err, weft_group_close(&g));
    weft_abort(&a.s);
    weft_abort(&b.s);
    return err;
}

static int exchange(const char *driver)
{
    return torture_run(driver, both_ends, NULL);
}

static int contexts(const char *driver)
{
    struct weft_tls *tls = NULL;
    struct weft_tls_certificate c = tls_kit_cert("deep_chain.pem", "deep.key");
    struct weft_tls_options o = {.certificates = &c,
                                 .n_certificates = 1,
                                 .ca = tls_kit_file("ca.pem"),
                                 .alpn = "h2,http/1.1",
                                 .client = WEFT_TLS_CLIENT_OPTIONAL};
    (void)driver;
    int err = weft_tls_open(&tls, &o);
    if (err == 0)
        err = weft_tls_reload(tls);
    weft_tls_close(&tls);
    CHECK_EQ(ERR_peek_error(), 0);
    return err;
}

/* True when the allocation that OpenSSL asks for has to fail. */
static bool fails(void)
{
    void *probe = weft__alloc(1);
    weft__free(probe);
    return probe == NULL;
}

static void *ssl_malloc(size_t size, const char *file, int line)
{
    (void)file;
    (void)line;
    return fails() ? NULL : malloc(size);
}

static void *ssl_realloc(void *ptr, size_t size, const char *file, int line)
{
    (void)file;
    (void)line;
    return fails() ? NULL : realloc(ptr, size);
}

static void ssl_free(void *ptr, const char *file, int line)
{
    (void)file;
    (void)line;
    free(ptr);
}

int main(void)
{
    static const struct torture_scene scenes[] = {{"exchange", exchange}, {"contexts", contexts}};
    if (getenv("TORTURE_OPENSSL") != NULL)
        CHECK(CRYPTO_set_mem_functions(ssl_malloc, ssl_realloc, ssl_free));
    server_context = tls_kit_server("server");
    client_context = tls_kit_open(
        &(struct weft_tls_options){.ca = tls_kit_file("ca.pem"), .no_resumption = true});
    int failed = torture_main(scenes, 2, scenes, 2, 25);
    weft_tls_close(&client_context);
    weft_tls_close(&server_context);
    return failed;
}
