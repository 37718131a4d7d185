/* SPDX-License-Identifier: MIT */
/* Listening sockets: options, inherited descriptors, accepting. */
#include "listener_kit.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "net/server.h"
#include "net/stream.h"
#include "sys/call.h"

static int option(int fd, int level, int name)
{
    int value = -1;
    socklen_t len = sizeof value;
    CHECK_EQ(getsockopt(fd, level, name, &value, &len), 0);
    return value;
}

/* --- TCP ------------------------------------------------------------------------------------- */

static void tcp_options(void)
{
    struct weft_listener *l = listen_at("tcp://127.0.0.1:0", NULL);
    struct weft_stream *a = NULL, *b = NULL;
    int fd = weft_listener_fd(l);
    CHECK_EQ(option(fd, SOL_SOCKET, SO_ACCEPTCONN), 1);
    CHECK_EQ(option(fd, SOL_SOCKET, SO_REUSEADDR), 1);
    CHECK_EQ(option(fd, SOL_SOCKET, SO_REUSEPORT), 0);
    CHECK(strncmp(endpoint_of(l), "tcp://127.0.0.1:", 16) == 0);
    CHECK(strcmp(endpoint_of(l), "tcp://127.0.0.1:0") != 0);
    CHECK_EQ(weft_dial(&a, endpoint_of(l), NULL, WEFT_NEVER), 0);
    CHECK_EQ(weft_accept(l, &b, WEFT_NEVER), 0);
    /* Set once on the listener, and inherited. */
    CHECK_EQ(option(weft_stream_fd(b), IPPROTO_TCP, TCP_NODELAY), 1);
    CHECK_EQ(fcntl(weft_stream_fd(b), F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    CHECK_EQ(fcntl(weft_stream_fd(b), F_GETFL) & O_NONBLOCK, 0);
    CHECK_EQ(fcntl(weft_listener_fd(l), F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    weft_abort(&a);
    weft_abort(&b);
    weft_listener_close(&l);
    CHECK(l == NULL);
    weft_listener_close(&l);
}

static void port_in_use(void)
{
    struct weft_listener *l = listen_at("tcp://127.0.0.1:0", NULL), *other = NULL;
    CHECK_EQ(weft_listen(&other, endpoint_of(l), NULL), -EADDRINUSE);
    CHECK(other == NULL);
    CHECK(strstr(weft_error_detail(), endpoint_of(l)) != NULL);
    CHECK(strstr(weft_error_detail(), "bind") != NULL || strstr(weft_error_detail(), "listen"));
    weft_listener_close(&l);
}

static void port_is_shared(void)
{
    struct weft_listen_options o = {.reuse_port = true, .backlog = 5, .write_buffer = 100000};
    struct weft_listener *l = listen_at("tcp://127.0.0.1:0", &o);
    struct weft_listener *other = listen_at(endpoint_of(l), &o);
    struct weft_stream *a = NULL, *b = NULL;
    CHECK_EQ(option(weft_listener_fd(l), SOL_SOCKET, SO_REUSEPORT), 1);
    CHECK_EQ(weft_dial(&a, endpoint_of(l), NULL, WEFT_NEVER), 0);
    int err = weft_accept(l, &b, weft_after_ms(20));
    if (err == -ETIMEDOUT)
        err = weft_accept(other, &b, weft_after_s(30));
    CHECK_EQ(err, 0);
    CHECK_EQ(b->out_max, 100000);
    weft_abort(&a);
    weft_abort(&b);
    weft_listener_close(&l);
    weft_listener_close(&other);
}

/* Whether IPv4 is answered on an endpoint's port. */
static void check_v4(struct weft_listener *l, bool answered)
{
    char text[64];
    struct weft_stream *s = NULL;
    const char *port = strrchr(endpoint_of(l), ':');
    (void)snprintf(text, sizeof text, "tcp://127.0.0.1%s", port);
    if (answered)
        check_answers(l, text);
    else
        CHECK_EQ(weft_dial(&s, text, NULL, WEFT_NEVER), -ECONNREFUSED);
}

static void dual_stack(void)
{
    struct weft_listen_options only = {.v6_only = true};
    struct weft_listener *l = listen_at("tcp://:0", NULL);
    CHECK(strncmp(endpoint_of(l), "tcp://*:", 8) == 0);
    check_v4(l, true);
    check_answers(l, endpoint_of(l));
    weft_listener_close(&l);

    l = listen_at("tcp://[::]:0", NULL);
    check_v4(l, true);
    weft_listener_close(&l);
    l = listen_at("tcp://[::]:0", &only);
    CHECK_EQ(option(weft_listener_fd(l), IPPROTO_IPV6, IPV6_V6ONLY), 1);
    check_v4(l, false);
    weft_listener_close(&l);
    l = listen_at("tcp://[::1]:0", NULL);
    CHECK_EQ(option(weft_listener_fd(l), IPPROTO_IPV6, IPV6_V6ONLY), 1);
    weft_listener_close(&l);
}

static void bad_endpoints(void)
{
    struct weft_listener *l = NULL;
    CHECK_EQ(weft_listen(&l, "tcp://nowhere.example:1", NULL), WEFT_ENAME);
    CHECK_EQ(weft_listen(&l, "tcp:127.0.0.1", NULL), WEFT_EENDPOINT);
    CHECK_EQ(weft_listen(&l, "udp://127.0.0.1:0", NULL), WEFT_EENDPOINT);
    CHECK_EQ(weft_listen(&l, "tcp://203.0.113.1:0", NULL), -EADDRNOTAVAIL);
    CHECK(strstr(weft_error_detail(), "tcp://203.0.113.1:0") != NULL);
    CHECK_EQ(weft_listen(&l, "unix:/nonexistent/directory/x", NULL), -ENOENT);
    CHECK(strstr(weft_error_detail(), "unix:/nonexistent/directory/x") != NULL);
    CHECK(l == NULL);
}

/* --- Inherited descriptors ------------------------------------------------------------------- */

static void inherited(void)
{
    struct weft_listener *first = listen_at("tcp://127.0.0.1:0", NULL), *l = NULL;
    struct place p = place_make();
    struct weft_listener *un = listen_at(p.endpoint, NULL);
    char text[32], real[WEFT_ENDPOINT_MAX];
    int fd = dup(weft_listener_fd(first)), unix_fd = dup(weft_listener_fd(un));
    strcpy(real, endpoint_of(first));
    weft_listener_close(&first);
    (void)snprintf(text, sizeof text, "fd:%d", fd);
    CHECK_EQ(weft_listen(&l, text, NULL), 0);
    CHECK_EQ(weft_listener_fd(l), fd);
    CHECK(strcmp(endpoint_of(l), real) == 0);
    CHECK_EQ(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    check_answers(l, real);
    weft_listener_close(&l);
    CHECK_EQ(fcntl(fd, F_GETFD), -1);

    /* The path of an inherited one belongs to whoever made it. */
    (void)snprintf(text, sizeof text, "fd:%d", unix_fd);
    CHECK_EQ(weft_listen(&l, text, NULL), 0);
    CHECK(strcmp(endpoint_of(l), p.endpoint) == 0);
    check_answers(l, p.endpoint);
    weft_listener_close(&l);
    CHECK(exists(p.path));
    weft_listener_close(&un);
    place_end(&p);
}

static void not_a_listener(void)
{
    static const struct {
        int domain, type;
    } sockets[] = {{AF_INET, SOCK_STREAM}, {AF_INET, SOCK_DGRAM}, {AF_UNIX, SOCK_STREAM}};
    struct weft_listener *l = NULL;
    char text[32];
    int fds[2];
    for (size_t i = 0; i < 3; i++) {
        int fd = socket(sockets[i].domain, sockets[i].type, 0);
        (void)snprintf(text, sizeof text, "fd:%d", fd);
        CHECK_EQ(weft_listen(&l, text, NULL), -EINVAL);
        CHECK(strstr(weft_error_detail(), text) != NULL);
        CHECK_EQ(close(fd), 0); /* still ours */
    }
    CHECK_EQ(pipe(fds), 0);
    (void)snprintf(text, sizeof text, "fd:%d", fds[0]);
    CHECK_EQ(weft_listen(&l, text, NULL), -EINVAL);
    close(fds[0]);
    close(fds[1]);
    CHECK_EQ(weft_listen(&l, text, NULL), -EINVAL); /* it is not even open */
}

static void inherited_count(void)
{
    char pid[16];
    (void)snprintf(pid, sizeof pid, "%d", (int)getpid());
    CHECK_EQ(weft_inherited_fds(), 0);
    CHECK_EQ(setenv("LISTEN_FDS", "1", 1), 0);
    CHECK_EQ(weft_inherited_fds(), 0);
    CHECK_EQ(setenv("LISTEN_PID", "1", 1), 0);
    CHECK_EQ(weft_inherited_fds(), 0);
    CHECK_EQ(setenv("LISTEN_PID", pid, 1), 0);
    CHECK_EQ(setenv("LISTEN_FDS", "many", 1), 0);
    CHECK_EQ(weft_inherited_fds(), -EINVAL);
    CHECK_EQ(setenv("LISTEN_FDS", "1x", 1), 0);
    CHECK_EQ(weft_inherited_fds(), -EINVAL);
    CHECK_EQ(setenv("LISTEN_FDS", "0", 1), 0);
    CHECK_EQ(weft_inherited_fds(), 0);
    bool free_place = fcntl(3, F_GETFD) < 0;
    if (free_place)
        CHECK_EQ(dup2(0, 3), 3);
    CHECK_EQ(setenv("LISTEN_FDS", "1", 1), 0);
    CHECK_EQ(weft_inherited_fds(), 1);
    CHECK_EQ(fcntl(3, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    if (free_place)
        close(3);
    CHECK_EQ(setenv("LISTEN_FDS", "4000", 1), 0);
    CHECK_EQ(weft_inherited_fds(), -EBADF);
    (void)unsetenv("LISTEN_FDS");
    (void)unsetenv("LISTEN_PID");
}

/* --- Accepting ------------------------------------------------------------------------------- */

static void accept_times_out(void)
{
    struct weft_listener *l = listen_at("tcp://127.0.0.1:0", NULL);
    struct weft_stream *s = NULL;
    CHECK_EQ(weft_accept(l, &s, weft_after_ms(3)), -ETIMEDOUT);
    CHECK_EQ(weft_accept(l, &s, WEFT_NOW), -ETIMEDOUT);
    CHECK(s == NULL);
    check_answers(l, endpoint_of(l));
    weft_listener_close(&l);
    /* The next listener has the same descriptor, of which nothing must be remembered. */
    l = listen_at("tcp://127.0.0.1:0", NULL);
    CHECK_EQ(weft_accept(l, &s, weft_after_ms(3)), -ETIMEDOUT);
    weft_listener_close(&l);
}

/* Connections that died in the queue are passed over, or come as streams that fail at once. */
static void dead_connections(void)
{
    struct weft_listener *l = listen_at("tcp://127.0.0.1:0", NULL);
    for (int i = 0; i < 3; i++) {
        struct weft_stream *s = NULL;
        CHECK_EQ(weft_dial(&s, endpoint_of(l), NULL, WEFT_NEVER), 0);
        weft_abort(&s);
    }
    struct weft_stream *s = NULL;
    char c;
    int err;
    while ((err = weft_accept(l, &s, weft_after_ms(20))) == 0) {
        CHECK_EQ(weft_read(s, &c, 1, weft_after_s(30)), -ECONNRESET);
        CHECK(weft_close(&s, WEFT_NEVER) == 0);
    }
    CHECK_EQ(err, -ETIMEDOUT);
    check_answers(l, endpoint_of(l));
    weft_listener_close(&l);
}

static void no_descriptors_left(void)
{
    if (RUNNING_ON_VALGRIND)
        return; /* it keeps the limit itself, and closes what the kernel has accepted */
    struct weft_listener *l = listen_at("tcp://127.0.0.1:0", NULL);
    struct weft_stream *a = NULL, *b = NULL;
    int fds[4096], n = 0;
    struct rlimit before, few;
    CHECK_EQ(weft_accept(l, &b, WEFT_NOW), -ETIMEDOUT);
    CHECK_EQ(weft_dial(&a, endpoint_of(l), NULL, WEFT_NEVER), 0);
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
    few = before;
    few.rlim_cur = weft__min_u64(few.rlim_cur, 256);
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &few), 0);
    while ((fds[n] = dup(0)) >= 0)
        n++;
    CHECK_EQ(weft_accept(l, &b, weft_after_s(30)), -EMFILE);
    CHECK_EQ(weft_accept(l, &b, weft_after_s(30)), -EMFILE);
    struct weft_stream *c = NULL;
    CHECK_EQ(weft_dial(&c, endpoint_of(l), NULL, WEFT_NEVER), -EMFILE);
    struct weft_listener *other = NULL;
    CHECK_EQ(weft_listen(&other, "tcp://127.0.0.1:0", NULL), -EMFILE);
    while (n > 0)
        close(fds[--n]);
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
    CHECK_EQ(weft_accept(l, &b, weft_after_s(30)), 0); /* it waited in the queue */
    weft_abort(&a);
    weft_abort(&b);
    weft_listener_close(&l);
}

static int accept_canceled(void *arg)
{
    struct weft_stream *s = NULL;
    CHECK_EQ(weft_accept(arg, &s, WEFT_NEVER), -ECANCELED);
    CHECK_EQ(weft_accept(arg, &s, WEFT_NEVER), -ECANCELED);
    return 0;
}

static void accept_is_canceled(void)
{
    struct weft_listener *l = listen_at("tcp://127.0.0.1:0", NULL);
    struct weft_group *g = kit_group();
    kit_go(g, "accepts", accept_canceled, l);
    if (weft_loop_current() != NULL)
        kit_settle();
    weft_group_cancel(g);
    CHECK_EQ(weft_group_close(&g), 0);
    check_answers(l, endpoint_of(l));
    weft_listener_close(&l);
}

/* --- On a loop: several acceptors, closing under them ---------------------------------------- */

static int accept_closed(void *arg)
{
    struct weft_stream *s = NULL;
    CHECK_EQ(weft_accept(arg, &s, WEFT_NEVER), WEFT_ECLOSED);
    return 0;
}

static int closed_while_accepting(void *arg)
{
    (void)arg;
    struct weft_listener *l = listen_at("tcp://127.0.0.1:0", NULL);
    struct weft_group *g = kit_group();
    for (int i = 0; i < 3; i++)
        kit_go(g, "accepts", accept_closed, l);
    kit_settle();
    weft_listener_close(&l);
    CHECK_EQ(weft_group_wait(g, WEFT_NEVER), 0);
    CHECK_EQ(weft_group_close(&g), 0);
    return 0;
}

static int accept_one(void *arg)
{
    struct weft_stream *s = NULL;
    CHECK_EQ(weft_accept(arg, &s, WEFT_NEVER), 0);
    return weft_close(&s, WEFT_NEVER);
}

static int several_acceptors(void *arg)
{
    (void)arg;
    struct weft_listener *l = listen_at("tcp://127.0.0.1:0", NULL);
    struct weft_group *g = kit_group();
    for (int i = 0; i < 10; i++)
        kit_go(g, "accepts", accept_one, l);
    kit_settle();
    for (int i = 0; i < 10; i++) {
        struct weft_stream *s = NULL;
        CHECK_EQ(weft_dial(&s, endpoint_of(l), NULL, weft_after_s(30)), 0);
        CHECK_EQ(weft_close(&s, WEFT_NEVER), 0);
    }
    CHECK_EQ(weft_group_wait(g, WEFT_NEVER), 0);
    CHECK_EQ(weft_group_close(&g), 0);
    weft_listener_close(&l);
    return 0;
}

static int other_loop(void *arg)
{
    struct weft_stream *s = NULL;
    CHECK_EQ(weft_accept(arg, &s, WEFT_NOW), WEFT_ETHREAD);
    return 0;
}

static void in_callback(void *arg)
{
    struct weft_stream *s = NULL;
    CHECK_EQ(weft_accept(arg, &s, WEFT_NOW), -EDEADLK);
}

static int wrong_place(void *arg)
{
    (void)arg;
    struct weft_listener *l = listen_at("tcp://127.0.0.1:0", NULL);
    CHECK_EQ(weft_run(NULL, other_loop, l), 0);
    kit_as_callback(in_callback, l);
    weft_listener_close(&l);
    return 0;
}

/* --- Each system call and each allocation fails in turn -------------------------------------- */

static int once(const char *endpoint)
{
    struct weft_listener *l = NULL;
    int err = weft_listen(&l, endpoint, NULL);
    CHECK_EQ(err == 0, l != NULL);
    weft_listener_close(&l);
    return err;
}

static void faults(void)
{
    struct place p = place_make();
    const char *const endpoints[] = {"tcp://127.0.0.1:0", "tcp://:0", p.endpoint};
    for (size_t i = 0; i < 3; i++) {
        int err = -1;
        for (uint64_t n = 1; n < 20; n++) {
            weft__fault_at(n, EIO);
            err = once(endpoints[i]);
            uint64_t passed = weft__fault_count();
            weft__fault_at(0, 0);
            CHECK(err == 0 || err == -EIO);
            CHECK(!exists(p.path));
            if (passed < n) {
                CHECK_EQ(err, 0);
                break;
            }
        }
        CHECK_EQ(err, 0);
        weft__alloc_fail_at(1);
        CHECK_EQ(once(endpoints[i]), -ENOMEM);
        weft__alloc_fail_at(0);
        weft__alloc_hooks = false;
    }
    place_end(&p);
}

/* --- All of these in a task and on a plain thread -------------------------------------------- */

static void (*const anywhere[])(void) = {
    tcp_options,         port_in_use,        port_is_shared,  dual_stack,       bad_endpoints,
    inherited,           not_a_listener,     inherited_count, accept_times_out, dead_connections,
    no_descriptors_left, accept_is_canceled, faults,
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
    if (strcmp(driver, "epoll") != 0)
        return; /* it is the same for all */
    in_a_task(NULL);
}

static const struct kit_case cases[] = {
    IN_TASK(in_a_task),         ON_THREAD(on_a_thread), IN_TASK(closed_while_accepting),
    IN_TASK(several_acceptors), IN_TASK(wrong_place),
};
KIT_MAIN(cases)
