/* SPDX-License-Identifier: MIT */
/*
 * TLS under failures: every allocation, every call and every wait of a handshake, an exchange and
 * its end fails in turn.
 *
 * In test_heavy_tls_torture.c, which is this program with a switch, the allocations of OpenSSL are
 * made to fail, too, by the same counter. They are not counted as live, because it keeps some for
 * the process.
 */
#include "torture_kit.h"

#include <openssl/crypto.h>
#include <openssl/err.h>

#include <sys/socket.h>

#include "base/alloc.h"
#include "net/secure.h"
#include "net/transport.h"
#include "tls_kit.h"

#define LARGE 40000u
#ifndef TLS_TORTURE_OPENSSL
#define TLS_TORTURE_OPENSSL 0
#endif

static struct weft_tls *server_context, *client_context;
static struct weft_tls *on_the_loop, *on_the_pool; /* what server_context is by turns */

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

/* --- The same in callback mode ---------------------------------------------------------------- */

struct conn {
    struct weft_group *tasks; /* where the server goes on, in a task */
    bool server;
    size_t got;
    int made, lost, error;
};

static int conn_made(struct weft_stream *t, void *arg)
{
    struct conn *c = arg;
    static const char text[LARGE];
    c->made++;
    weft_transport_set(t, c);
    return c->server ? 0 : weft_transport_write(t, text, sizeof text);
}

static int say_thanks(struct weft_stream *s, void *arg)
{
    (void)arg;
    int err = weft_write(s, "thanks\n", 7, TORTURE_SOON);
    return err == 0 ? weft_flush(s, TORTURE_SOON) : err;
}

static int conn_data(struct weft_stream *t, const void *data, size_t len, void *arg)
{
    struct conn *c = arg;
    (void)data;
    c->got += len;
    if (!c->server || c->got < LARGE)
        return 0;
    int err = weft_protocol_detach(c->tasks, t, 0, say_thanks, NULL);
    c->lost += err == 0;
    return err;
}

static void conn_lost(struct weft_stream *t, int error, void *arg)
{
    struct conn *c = arg;
    CHECK_EQ(ERR_peek_error(), 0);
    c->lost += t != NULL;
    c->error = error;
}

static int conn_open(struct weft_group *g, struct weft_stream **s, struct conn *c)
{
    static const struct weft_protocol p = {.made = conn_made, .data = conn_data, .lost = conn_lost};
    struct weft_factory f = {.protocol = &p, .arg = c};
    struct weft__transport_secure how = {.tls = c->server ? server_context : client_context,
                                         .host = c->server ? NULL : "server.test",
                                         .server = c->server,
                                         .handshake_ms = KIT_SLOW ? 2000 : 400};
    struct weft__factory_ref *ref = NULL;
    int fd = weft_stream_detach(s, NULL, 0, NULL, TORTURE_SOON);
    int err = fd < 0 ? fd : weft__factory_ref_new(&ref, &f);
    if (err == 0)
        err = weft__transport_open_secure(g, ref, fd, AF_UNIX, NULL, NULL, c->server, &how);
    weft__factory_unref(ref);
    if (err < 0 && fd >= 0)
        (void)close(fd);
    return err;
}

static int both_conns(void *arg)
{
    struct conn a = {.server = false}, b = {.server = true};
    struct weft_stream *c = NULL, *s = NULL;
    struct weft_group *g = NULL, *tasks = NULL;
    (void)arg;
    int err = weft_socketpair(&c, &s);
    if (err == 0)
        err = weft_group_open(&tasks);
    if (err == 0)
        err = weft_group_open(&g);
    b.tasks = tasks;
    if (err == 0)
        err = conn_open(g, &s, &b);
    if (err == 0)
        err = conn_open(g, &c, &a);
    if (err == 0)
        err = weft_group_wait(g, weft_after_s(30));
    if (err == 0)
        err = weft_group_wait(tasks, weft_after_s(30));
    err = torture_first(err, weft_group_close(&g));
    err = torture_first(err, weft_group_close(&tasks));
    weft_abort(&c);
    weft_abort(&s);
    CHECK_EQ(a.made, a.lost); /* as many ends as beginnings */
    CHECK_EQ(b.made, b.lost);
    if (err == 0)
        err = a.error < 0 ? a.error : a.got < 7 ? WEFT_EEOF : 0;
    return err;
}

static int callbacks(const char *driver)
{
    return torture_run(driver, both_conns, NULL);
}

/* --- With the work pool ----------------------------------------------------------------------- */

static int on_pool(const char *driver, weft_fn body)
{
    server_context = on_the_pool;
    int err = torture_run(driver, body, NULL);
    server_context = on_the_loop;
    return err;
}

static int exchange_on_pool(const char *driver)
{
    return on_pool(driver, both_ends);
}

static int callbacks_on_pool(const char *driver)
{
    return on_pool(driver, both_conns);
}

/* --- Contexts ----------------------------------------------------------------------------------
 */

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
    static const struct torture_scene scenes[] = {{"exchange", exchange},
                                                  {"callbacks", callbacks},
                                                  {"exchange on the pool", exchange_on_pool},
                                                  {"callbacks on the pool", callbacks_on_pool},
                                                  {"contexts", contexts}};
    static const struct torture_scene on_threads[] = {{"exchange", exchange},
                                                      {"contexts", contexts}};
    bool heavy = TLS_TORTURE_OPENSSL;
    if (heavy)
        CHECK(CRYPTO_set_mem_functions(ssl_malloc, ssl_realloc, ssl_free));
    struct weft_tls_certificate own = tls_kit_cert("server.pem", "server.key");
    on_the_pool = tls_kit_open(&(struct weft_tls_options){
        .certificates = &own, .n_certificates = 1, .handshake_offload = true});
    on_the_loop = server_context = tls_kit_server("server");
    client_context = tls_kit_open(
        &(struct weft_tls_options){.ca = tls_kit_file("ca.pem"), .no_resumption = true});
    int failed =
        heavy ? torture_main(scenes, 2, scenes, 1, 20) : torture_main(scenes, 5, on_threads, 2, 25);
    weft_tls_close(&client_context);
    weft_tls_close(&on_the_loop);
    weft_tls_close(&on_the_pool);
    return failed;
}
