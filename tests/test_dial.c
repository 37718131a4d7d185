/* SPDX-License-Identifier: MIT */
/* Dialling: options, errors, time-outs, cancels; in a task of each driver and on a plain thread. */
#include "rt_kit.h"

#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <weft/dns.h>
#include <weft/listener.h>

#include "base/alloc.h"
#include "net/stream.h"
#include "sys/call.h"

struct target {
    struct weft_listener *l;
    char at[WEFT_ENDPOINT_MAX];
};

static struct target target_of(const char *endpoint, int backlog)
{
    struct target t = {0};
    struct weft_listen_options o = {.backlog = backlog};
    CHECK_EQ(weft_listen(&t.l, endpoint, &o), 0);
    CHECK(weft_listener_endpoint(t.l, t.at, sizeof t.at) > 0);
    return t;
}

static struct target tcp(void)
{
    return target_of("tcp://127.0.0.1:0", 0);
}

/* A TCP port that nobody listens on. */
static struct target nobody(void)
{
    struct target t = tcp();
    weft_listener_close(&t.l);
    return t;
}

static int option(const struct weft_stream *s, int level, int name)
{
    int value = -1;
    socklen_t len = sizeof value;
    CHECK_EQ(getsockopt(weft_stream_fd(s), level, name, &value, &len), 0);
    return value;
}

static void options(void)
{
    struct target t = tcp();
    struct weft_stream *s = NULL;
    struct weft_dial_options o = {
        .no_delay_off = true, .keepalive_s = 77, .user_timeout_ms = 4321, .write_buffer = 50000};
    CHECK_EQ(weft_dial(&s, t.at, NULL, WEFT_NEVER), 0);
    CHECK_EQ(option(s, IPPROTO_TCP, TCP_NODELAY), 1);
    CHECK_EQ(option(s, SOL_SOCKET, SO_KEEPALIVE), 0);
    CHECK_EQ(s->out_max, 65536);
    CHECK_EQ(fcntl(weft_stream_fd(s), F_GETFL) & O_NONBLOCK, 0);
    CHECK_EQ(fcntl(weft_stream_fd(s), F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    weft_abort(&s);
    char at[WEFT_ENDPOINT_MAX + 64];
    (void)snprintf(at, sizeof at, "%s?keepalive=78&user-timeout=1234&nagle=on", t.at);
    CHECK_EQ(weft_dial(&s, at, &(struct weft_dial_options){.keepalive_s = 5}, WEFT_NEVER), 0);
    CHECK_EQ(option(s, IPPROTO_TCP, TCP_NODELAY), 0);
    CHECK_EQ(option(s, IPPROTO_TCP, TCP_KEEPIDLE), 78);
    CHECK_EQ(option(s, IPPROTO_TCP, TCP_USER_TIMEOUT), 1234);
    weft_abort(&s);
    CHECK_EQ(weft_dial(&s, t.at, &o, WEFT_NEVER), 0);
    CHECK_EQ(option(s, IPPROTO_TCP, TCP_NODELAY), 0);
    CHECK_EQ(option(s, SOL_SOCKET, SO_KEEPALIVE), 1);
    CHECK_EQ(option(s, IPPROTO_TCP, TCP_KEEPIDLE), 77);
    CHECK_EQ(option(s, IPPROTO_TCP, TCP_USER_TIMEOUT), 4321);
    CHECK_EQ(s->out_max, 50000);
    weft_abort(&s);
    o = (struct weft_dial_options){.interface = "lo", .fast_open = true};
    CHECK_EQ(weft_dial(&s, t.at, &o, WEFT_NEVER), 0);
    CHECK_EQ(option(s, IPPROTO_TCP, TCP_FASTOPEN_CONNECT), 1);
    char name[IF_NAMESIZE] = "";
    socklen_t len = sizeof name;
    if (!KIT_EMULATED) { /* it takes the option for a number, and can set but not read it */
        CHECK_EQ(getsockopt(weft_stream_fd(s), SOL_SOCKET, SO_BINDTODEVICE, name, &len), 0);
        CHECK(strcmp(name, "lo") == 0);
    }
    weft_abort(&s);
    (void)snprintf(at, sizeof at, "%s?interface=nosuch0", t.at);
    CHECK_EQ(weft_dial(&s, at, NULL, WEFT_NEVER), -ENODEV);
    weft_listener_close(&t.l);
}

static void local_side(void)
{
    struct target t = tcp();
    struct weft_stream *s = NULL;
    struct weft_dial_options o = {.bind = "tcp://127.0.0.2:0"};
    struct weft_address a;
    char text[WEFT_ENDPOINT_MAX];
    CHECK_EQ(weft_dial(&s, t.at, &o, WEFT_NEVER), 0);
    CHECK_EQ(weft_stream_local(s, &a), 0);
    CHECK(weft_address_print(&a, text, sizeof text) > 0);
    CHECK(strncmp(text, "127.0.0.2:", 10) == 0);
    weft_abort(&s);
    char with[WEFT_ENDPOINT_MAX + 64];
    (void)snprintf(with, sizeof with, "%s?bind=tcp://127.0.0.3:0", t.at);
    CHECK_EQ(weft_dial(&s, with, &o, WEFT_NEVER), 0);
    CHECK_EQ(weft_stream_local(s, &a), 0);
    CHECK(weft_address_print(&a, text, sizeof text) > 0);
    CHECK(strncmp(text, "127.0.0.3:", 10) == 0);
    weft_abort(&s);
    o.bind = "tcp://[::1]:0";
    CHECK_EQ(weft_dial(&s, t.at, &o, WEFT_NEVER), -EINVAL);
    o.bind = "nonsense";
    CHECK_EQ(weft_dial(&s, t.at, &o, WEFT_NEVER), WEFT_EENDPOINT);
    o.bind = "tcp://203.0.113.1:0";
    CHECK_EQ(weft_dial(&s, t.at, &o, WEFT_NEVER), -EADDRNOTAVAIL);
    o.bind = t.at; /* the listener has it */
    CHECK_EQ(weft_dial(&s, t.at, &o, WEFT_NEVER), -EADDRINUSE);
    CHECK(s == NULL);
    weft_listener_close(&t.l);

    char mine[64], theirs[64];
    (void)snprintf(mine, sizeof mine, "unix:@weft-dial-%d-mine", (int)getpid());
    (void)snprintf(theirs, sizeof theirs, "unix:@weft-dial-%d", (int)getpid());
    t = target_of(theirs, 0);
    o.bind = mine;
    CHECK_EQ(weft_dial(&s, t.at, &o, WEFT_NEVER), 0);
    CHECK_EQ(weft_stream_local(s, &a), 0);
    CHECK(weft_address_print(&a, text, sizeof text) > 0);
    CHECK(strcmp(text, mine + 5) == 0);
    weft_abort(&s);
    weft_listener_close(&t.l);
}

static void errors(void)
{
    struct target t = nobody();
    struct weft_stream *s = NULL;
    CHECK_EQ(weft_dial(&s, t.at, NULL, WEFT_NEVER), -ECONNREFUSED);
    CHECK(strstr(weft_error_detail(), t.at) != NULL);
    CHECK_EQ(weft_dial(&s, "unix:/nonexistent/x", NULL, WEFT_NEVER), -ENOENT);
    CHECK_EQ(weft_dial(&s, "unix:@weft-nobody-is-here", NULL, WEFT_NEVER), -ECONNREFUSED);
    CHECK_EQ(weft_dns_configure(&(struct weft_dns_options){.servers = "127.0.0.1:9"}), 0);
    CHECK_EQ(weft_dial(&s, "tcp://nowhere.invalid:80", NULL, weft_after_s(30)), WEFT_ENAME);
    CHECK(strncmp(weft_error_detail(), "tcp://nowhere.invalid:80: nowhere.invalid: ", 43) == 0);
    CHECK_EQ(weft_dns_configure(NULL), 0);
    CHECK_EQ(weft_dial(&s, "tcp://127.0.0.1:9?family=6", NULL, WEFT_NEVER), -EINVAL);
    CHECK_EQ(weft_dial(&s, "tcp://127.0.0.1:9?server-name=x", NULL, WEFT_NEVER), WEFT_EENDPOINT);
    CHECK_EQ(weft_dial(&s, "fd:3?cert=x", NULL, WEFT_NEVER), -EINVAL);
    struct weft_dial_options o = {.server_name = "x"};
    CHECK_EQ(weft_dial(&s, "tcp://127.0.0.1:9", &o, WEFT_NEVER), -EINVAL);
    CHECK(strstr(weft_error_detail(), "write tls://") != NULL);
    CHECK_EQ(weft_dial(&s, "tcp://127.0.0.1", NULL, WEFT_NEVER), WEFT_EENDPOINT);
    CHECK_EQ(weft_dial(&s, "tcp://127.0.0.1:0", NULL, WEFT_NEVER), WEFT_EENDPOINT);
    CHECK(weft_dial(&s, "udp://127.0.0.1:9", NULL, WEFT_NEVER) < 0);
    CHECK(s == NULL);
}

/* An IPv4 listener, reached by the address of every address, and a dual one likewise. */
static void any_address(void)
{
    struct target t = target_of("tcp://:0", 0);
    struct weft_stream *s = NULL;
    CHECK_EQ(weft_dial(&s, t.at, NULL, WEFT_NEVER), 0);
    weft_abort(&s);
    weft_listener_close(&t.l);
}

/* --- Waiting --------------------------------------------------------------------------------- */

/* A listener whose queue is full, so that a further connect waits. */
struct full {
    struct target t;
    int fds[16];
    int n;
};

static struct full full_listener(void)
{
    struct full f = {.t = target_of("tcp://127.0.0.1:0", 1)};
    struct weft_endpoint e;
    CHECK_EQ(weft_endpoint_parse(&e, f.t.at), 0);
    for (f.n = 0; f.n < 16; f.n++) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        CHECK(fd >= 0);
        (void)connect(fd, (struct sockaddr *)&e.address.sa, e.address.len);
        f.fds[f.n] = fd;
    }
    return f;
}

static void full_close(struct full *f)
{
    while (f->n > 0)
        close(f->fds[--f->n]);
    weft_listener_close(&f->t.l);
}

static void times_out(void)
{
    struct full f = full_listener();
    struct weft_stream *s = NULL;
    CHECK_EQ(weft_dial(&s, f.t.at, NULL, weft_after_ms(10)), -ETIMEDOUT);
    CHECK_EQ(weft_dial(&s, f.t.at, NULL, WEFT_NOW), -ETIMEDOUT);
    CHECK(s == NULL);
    full_close(&f);
}

static int dial_canceled(void *arg)
{
    struct weft_stream *s = NULL;
    CHECK_EQ(weft_dial(&s, arg, NULL, WEFT_NEVER), -ECANCELED);
    CHECK_EQ(weft_dial(&s, arg, NULL, WEFT_NEVER), -ECANCELED);
    CHECK(s == NULL);
    return 0;
}

static void is_canceled(void)
{
    struct full f = full_listener();
    struct weft_group *g = kit_group();
    for (int i = 0; i < 3; i++)
        kit_go(g, "dials", dial_canceled, f.t.at);
    if (weft_loop_current() != NULL)
        kit_settle();
    weft_group_cancel(g);
    CHECK_EQ(weft_group_close(&g), 0);
    full_close(&f);
}

/* A Unix listener with a full queue wakes nobody: the drivers ask again. */
static void unix_queue_full(void)
{
    char at[64];
    struct weft_stream *s[8] = {NULL}, *taken = NULL;
    (void)snprintf(at, sizeof at, "unix:@weft-dial-full-%d", (int)getpid());
    struct target t = target_of(at, 1);
    int n = 0;
    while (n < 7 && weft_dial(&s[n], at, NULL, weft_after_ms(10)) == 0)
        n++;
    CHECK(n >= 1 && n < 7);
    CHECK_EQ(weft_dial(&s[n], at, NULL, weft_after_ms(5)), -ETIMEDOUT);
    CHECK_EQ(weft_accept(t.l, &taken, WEFT_NEVER), 0);
    CHECK_EQ(weft_dial(&s[n], at, NULL, weft_after_s(30)), 0);
    for (; n >= 0; n--)
        weft_abort(&s[n]);
    weft_abort(&taken);
    weft_listener_close(&t.l);
}

/* --- Each system call and each allocation fails in turn -------------------------------------- */

static void faults(void)
{
    struct target t = tcp();
    struct weft_dial_options o = {.bind = "tcp://127.0.0.1:0", .keepalive_s = 5};
    struct weft_stream *s = NULL;
    int err = -1;
    for (uint64_t n = 1; err < 0 && n < 40; n++) {
        weft__fault_at(n, ENOBUFS);
        err = weft_dial(&s, t.at, &o, weft_after_s(30));
        uint64_t passed = weft__fault_count();
        weft__fault_at(0, 0);
        CHECK(err == 0 || err == -ENOBUFS);
        CHECK_EQ(err == 0, s != NULL);
        if (err == 0 && passed >= n) { /* one whose failure does not matter */
            weft_abort(&s);
            err = -1;
        }
    }
    CHECK_EQ(err, 0);
    weft_abort(&s);
    weft__alloc_fail_at(1);
    CHECK_EQ(weft_dial(&s, t.at, &o, weft_after_s(30)), -ENOMEM);
    weft__alloc_fail_at(0);
    weft__alloc_hooks = false;
    CHECK(s == NULL);
    weft_listener_close(&t.l);
}

static void (*const anywhere[])(void) = {
    options, local_side, errors, any_address, times_out, is_canceled, unix_queue_full, faults,
};

static int in_a_task(void *arg)
{
    (void)arg;
    for (size_t i = 0; i < sizeof anywhere / sizeof anywhere[0]; i++)
        anywhere[i]();
    return 0;
}

static void on_a_thread(const char *driver)
{
    if (strcmp(driver, "epoll") == 0) /* it is the same for all */
        in_a_task(NULL);
}

static void in_callback(void *arg)
{
    struct weft_stream *s = NULL;
    CHECK_EQ(weft_dial(&s, arg, NULL, WEFT_NOW), -EDEADLK);
}

static int not_in_a_callback(void *arg)
{
    struct target t = tcp();
    (void)arg;
    kit_as_callback(in_callback, t.at);
    weft_listener_close(&t.l);
    return 0;
}

static const struct kit_case cases[] = {
    IN_TASK(in_a_task),
    ON_THREAD(on_a_thread),
    IN_TASK(not_in_a_callback),
};
KIT_MAIN(cases)
