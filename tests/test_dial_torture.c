/* SPDX-License-Identifier: MIT */
/*
 * Dialling under failures: every allocation, every call and every wait on the way from a name to a
 * stream fails in turn.
 */
#include "torture_kit.h"

#include <fcntl.h>
#include <sys/wait.h>

#include <weft/dns.h>

#include "net/stream.h"
#include "tls_kit.h"

static struct weft_tls *client_context;
static int plain_port, secure_port;

static int echo_one(struct weft_stream *s, void *arg)
{
    char c;
    ssize_t n = weft_read(s, &c, 1, weft_after_s(30));
    (void)arg;
    return n > 0 ? weft_write(s, &c, 1, weft_after_s(30)) : (int)n;
}

/* Dials, and talks a little. */
static int talk(const char *at, const struct weft_dial_options *o)
{
    struct weft_stream *s = NULL;
    char c = 'x';
    int err = weft_dial(&s, at, o, TORTURE_SOON);
    CHECK_EQ(err == 0, s != NULL);
    if (err == 0)
        err = weft_write(s, &c, 1, TORTURE_SOON);
    if (err == 0)
        err = torture_first(0, weft_read_full(s, &c, 1, TORTURE_SOON));
    err = torture_first(err, err < 0 ? 0 : weft_close(&s, TORTURE_SOON));
    weft_abort(&s);
    return err;
}

/* IPv6 is refused, IPv4 answers. */
static int names(void *arg)
{
    char at[WEFT_ENDPOINT_MAX];
    (void)arg;
    (void)snprintf(at, sizeof at, "tcp://localhost:%d?keepalive=5&bind=tcp://127.0.0.1:0",
                   plain_port);
    int err = talk(at, NULL);
    (void)snprintf(at, sizeof at, "tcp://localhost:%d", plain_port);
    return torture_first(err, err < 0 ? 0 : talk(at, NULL));
}

static int secured(void *arg)
{
    char at[WEFT_ENDPOINT_MAX];
    struct weft_dial_options o = {.tls = client_context};
    (void)arg;
    (void)snprintf(at, sizeof at, "tls://localhost:%d", secure_port);
    return talk(at, &o);
}

static int run_names(const char *driver)
{
    return torture_run(driver, names, NULL);
}

static int run_secured(const char *driver)
{
    return torture_run(driver, secured, NULL);
}

/* --- Servers, in a process of their own, which nothing is counted in and made to fail ----------
 */

static int port_of(struct weft_server *s)
{
    char at[WEFT_ENDPOINT_MAX];
    struct weft_endpoint e;
    CHECK(weft_server_endpoint(s, at, sizeof at) > 0);
    CHECK_EQ(weft_endpoint_parse(&e, at), 0);
    return e.port;
}

/* Until the other end of `until` is closed. */
static _Noreturn void serve(int to, int until)
{
    struct weft_group *g = kit_group();
    struct weft_server *plain = NULL, *secure = NULL;
    struct weft_server_options o = {.model = WEFT_THREADS,
                                    .cert = tls_kit_file("server.pem"),
                                    .key = tls_kit_file("server.key")};
    CHECK_EQ(weft_server_open(&secure, g, "tls://127.0.0.1:0", &o, echo_one, NULL, NULL), 0);
    o.cert = o.key = NULL;
    CHECK_EQ(weft_server_open(&plain, g, "tcp://127.0.0.1:0", &o, echo_one, NULL, NULL), 0);
    int ports[] = {port_of(plain), port_of(secure)};
    CHECK_EQ(write(to, ports, sizeof ports), sizeof ports);
    char c;
    (void)!read(until, &c, 1);
    _exit(0);
}

int main(void)
{
    static const struct torture_scene scenes[] = {{"names", run_names}, {"secured", run_secured}};
    int fds[2], life[2], ports[2];
    (void)tls_kit_file("ca.pem"); /* made, and removed at the end, by this process */
    CHECK_EQ(pipe(fds), 0);
    CHECK_EQ(pipe2(life, O_CLOEXEC), 0);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0 && fork() == 0) { /* nobody's child, as the kit wants it */
        close(life[1]);
        serve(fds[1], life[0]);
    }
    if (pid == 0)
        _exit(0);
    CHECK_EQ(waitpid(pid, NULL, 0), pid);
    CHECK_EQ(read(fds[0], ports, sizeof ports), sizeof ports);
    close(fds[0]);
    close(fds[1]);
    close(life[0]);
    plain_port = ports[0];
    secure_port = ports[1];
    client_context = tls_kit_open(
        &(struct weft_tls_options){.ca = tls_kit_file("ca.pem"), .no_resumption = true});
    int failed = torture_main(scenes, 2, scenes, 2, 20);
    weft_tls_close(&client_context);
    close(life[1]);
    return failed;
}
