/* SPDX-License-Identifier: MIT */
/*
 * What an idle secured connection costs a server, beside what OpenSSL itself needs for one.
 *
 * The clients are a child process with OpenSSL alone, so that this process's heap is the servers'.
 * OpenSSL's floor is measured here, too: its own objects over the same sockets, in blocking style,
 * told to give its buffers back (SSL_MODE_RELEASE_BUFFERS).
 */
#include "tls_protocol_kit.h"

#include <malloc.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <sys/wait.h>

#define CONNS 250 /* so many that a spare block more or less is some 30 bytes of each */
#define WARM 50   /* what is kept as spare, and shared, is there by then */
#define BULK 20000

static char bulk[BULK];

static size_t in_use(void)
{
    return mallinfo2().uordblks;
}

/* --- The clients' process ----------------------------------------------------------------------
 */

static void be_client(SSL_CTX *ctx, int fd)
{
    size_t n = 0, got = 0;
    SSL *ssl = SSL_new(ctx);
    CHECK(ssl != NULL && SSL_set_fd(ssl, fd) == 1 && SSL_connect(ssl) == 1);
    CHECK(SSL_write_ex(ssl, bulk, BULK, &n));
    while (got < BULK && SSL_read_ex(ssl, bulk, sizeof bulk, &n))
        got += n;
    CHECK_EQ(got, BULK);
}

static pid_t clients_start(const int fds[CONNS][2], int until)
{
    char c;
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid != 0)
        return pid;
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    for (int i = 0; i < CONNS; i++) {
        CHECK_EQ(close(fds[i][1]), 0);
        be_client(ctx, fds[i][0]);
    }
    _exit(read(until, &c, 1) == 0 ? 0 : 1);
}

/* --- Servers -----------------------------------------------------------------------------------
 */

/* Each has its connections idle when it returns; what an idle one costs, or -1. */
typedef int (*server_fn)(const int fds[CONNS][2], size_t *each);

static struct weft_tls *context(void)
{
    return tls_kit_server("server");
}

static int floor_of_openssl(const int fds[CONNS][2], size_t *each)
{
    static SSL *all[CONNS];
    size_t n = 0, got;
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    CHECK(SSL_CTX_use_certificate_file(ctx, tls_kit_file("server.pem"), SSL_FILETYPE_PEM) == 1 &&
          SSL_CTX_use_PrivateKey_file(ctx, tls_kit_file("server.key"), SSL_FILETYPE_PEM) == 1);
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    size_t before = 0;
    for (int i = 0; i < CONNS; i++) {
        if (i == WARM)
            before = in_use();
        SSL *ssl = all[i] = SSL_new(ctx);
        CHECK(SSL_set_fd(ssl, fds[i][1]) == 1 && SSL_accept(ssl) == 1);
        for (got = 0; got < BULK && SSL_read_ex(ssl, bulk, sizeof bulk, &n);)
            got += n;
        CHECK(SSL_write_ex(ssl, bulk, BULK, &n));
    }
    *each = (in_use() - before) / (CONNS - WARM);
    for (int i = 0; i < CONNS; i++) {
        SSL_free(all[i]);
        CHECK_EQ(close(fds[i][1]), 0);
    }
    SSL_CTX_free(ctx);
    return 0;
}

static size_t cost; /* of the server under way */

static bool ending; /* no connection is lost before */

static int echo_all(struct weft_stream *t, const void *data, size_t len, void *conn)
{
    (void)conn;
    return weft_transport_write(t, data, len);
}

static void only_at_the_end(struct weft_stream *t, int error, void *conn)
{
    (void)t;
    (void)conn;
    (void)error;
    CHECK(ending);
}

/* Connections one after the other, each until it has echoed all. */
static int in_callbacks(void *arg)
{
    static const struct weft_protocol p = {.data = echo_all, .lost = only_at_the_end};
    const int(*fds)[2] = arg;
    struct weft_tls *tls = context();
    struct weft_group *g = kit_group();
    struct weft__factory_ref *ref = NULL;
    struct weft__transport_secure how = {.tls = tls, .server = true};
    size_t before = 0;
    CHECK_EQ(weft__factory_ref_new(&ref, &(struct weft_factory){.protocol = &p}), 0);
    for (int i = 0; i < CONNS; i++) {
        if (i == WARM)
            before = in_use();
        CHECK_EQ(weft__transport_open_secure(g, ref, fds[i][1], AF_UNIX, NULL, NULL, false, &how),
                 0);
        struct weft_stream *t =
            &WEFT__CONTAINER_OF(weft__list_last(&g->members), struct weft__transport, member.link)
                 ->s;
        while (weft_stream_bytes_out(t) < BULK || weft_transport_queued(t) > 0)
            CHECK_EQ(weft_sleep_ms(0), 0);
    }
    cost = (in_use() - before) / (CONNS - WARM);
    weft__factory_unref(ref);
    ending = true;
    weft_group_cancel(g);
    CHECK_EQ(weft_group_close(&g), 0);
    weft_tls_close(&tls);
    return 0;
}

struct one {
    struct weft_stream *s;
    struct weft_tls *tls;
    struct weft_event idle;
};

static int echo_task(void *arg)
{
    struct one *o = arg;
    const void *data;
    size_t left = BULK;
    CHECK_EQ(weft_tls_accept(&o->s, o->tls, weft_after_s(60)), 0);
    while (left > 0) {
        ssize_t n = weft_peek(o->s, &data, weft_after_s(60));
        CHECK(n > 0);
        CHECK_EQ(weft_write(o->s, data, (size_t)n, WEFT_NEVER), 0);
        weft_consume(o->s, (size_t)n);
        left -= (size_t)n;
    }
    CHECK_EQ(weft_flush(o->s, weft_after_s(60)), 0);
    weft_event_set(&o->idle);
    CHECK_EQ(weft_peek(o->s, &data, WEFT_NEVER), -ECANCELED);
    weft_abort(&o->s);
    return 0;
}

static int in_tasks(void *arg)
{
    static struct one ones[CONNS];
    const int(*fds)[2] = arg;
    struct weft_tls *tls = context();
    struct weft_group *g = kit_group();
    size_t before = 0;
    for (int i = 0; i < CONNS; i++) {
        if (i == WARM)
            before = in_use();
        ones[i] = (struct one){.tls = tls};
        CHECK_EQ(weft_stream_from_fd(&ones[i].s, fds[i][1]), 0);
        kit_go(g, "idle", echo_task, &ones[i]);
        CHECK_EQ(weft_event_wait(&ones[i].idle, weft_after_s(60)), 0);
        kit_settle();
    }
    cost = (in_use() - before) / (CONNS - WARM);
    weft_group_cancel(g);
    CHECK_EQ(weft_group_close(&g), 0);
    weft_tls_close(&tls);
    return 0;
}

static int callbacks(const int fds[CONNS][2], size_t *each)
{
    int err = weft_run(NULL, in_callbacks, (void *)(uintptr_t)fds);
    *each = cost;
    return err;
}

static int tasks(const int fds[CONNS][2], size_t *each)
{
    int err = weft_run(NULL, in_tasks, (void *)(uintptr_t)fds);
    *each = cost;
    return err;
}

/* What an idle connection of a server costs. */
static size_t measure(server_fn server)
{
    static int fds[CONNS][2];
    int until[2], status = 0;
    size_t each = 0;
    CHECK_EQ(pipe(until), 0);
    for (int i = 0; i < CONNS; i++)
        CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds[i]), 0);
    pid_t pid = clients_start(fds, until[0]);
    for (int i = 0; i < CONNS; i++)
        CHECK_EQ(close(fds[i][0]), 0);
    CHECK_EQ(server(fds, &each), 0);
    CHECK_EQ(close(until[0]), 0);
    CHECK_EQ(kill(pid, SIGKILL), 0);
    CHECK_EQ(close(until[1]), 0);
    CHECK(waitpid(pid, &status, 0) == pid);
    return each;
}

static void an_idle_connection(void **state)
{
    (void)state;
    size_t floor = measure(floor_of_openssl);
    size_t in_callback_mode = measure(callbacks), in_a_task = measure(tasks);
    print_message("an idle TLS 1.3 connection of a server: OpenSSL %zu bytes of heap, in callback "
                  "mode %zd more, in a task %zd more\n",
                  floor, (ssize_t)(in_callback_mode - floor), (ssize_t)(in_a_task - floor));
    if (KIT_SLOW) /* other allocators tell nothing */
        return;
    assert_true(in_callback_mode <= floor + 1024);
    assert_true(in_a_task <= floor + 1024);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(an_idle_connection)};
    (void)tls_kit_file("ca.pem");
    return cmocka_run_group_tests_name("tls memory", tests, NULL, NULL);
}
