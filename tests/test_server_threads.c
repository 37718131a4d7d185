/* SPDX-License-Identifier: MIT */
/*
 * The thread model at its limits: a connection that is refused is no reason to stop, and one for
 * which there is no thread is.
 */
#include <arpa/inet.h>
#include <dlfcn.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <weft/weft.h>

#include "rt_kit.h"

static _Atomic bool no_threads;
static _Atomic int refused_threads;

#if !KIT_SANITIZED
/* Before the C library's: the system has no more threads while no_threads is set. */
int pthread_create(pthread_t *id, const pthread_attr_t *attr, void *(*fn)(void *), void *arg)
{
    static int (*next)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    if (no_threads) {
        refused_threads++;
        return EAGAIN;
    }
    if (next == NULL) {
        void *symbol = dlsym(RTLD_NEXT, "pthread_create");
        memcpy(&next, &symbol, sizeof next);
    }
    return next(id, attr, fn, arg);
}
#endif

static int echo(struct weft_stream *s, void *arg)
{
    char c;
    ssize_t n;
    (void)arg;
    while ((n = weft_read(s, &c, 1, WEFT_NEVER)) == 1) {
        int err = weft_write(s, &c, 1, WEFT_NEVER);
        if (err < 0)
            return err;
    }
    return (int)n;
}

struct served {
    struct weft_group *group;
    struct weft_server *server;
    char endpoint[WEFT_ENDPOINT_MAX];
    in_port_t port;
};

static struct served serve(struct weft_server_options o)
{
    struct served s = {.group = kit_group()};
    struct weft_endpoint e;
    o.model = WEFT_THREADS;
    CHECK_EQ(weft_server_open(&s.server, s.group, "tcp://127.0.0.1:0", &o, echo, NULL, NULL), 0);
    CHECK(weft_server_endpoint(s.server, s.endpoint, sizeof s.endpoint) > 0);
    CHECK_EQ(weft_endpoint_parse(&e, s.endpoint), 0);
    s.port = htons((uint16_t)e.port);
    return s;
}

static struct weft_stream *dial(const struct served *s)
{
    struct weft_stream *c = NULL;
    CHECK_EQ(weft_dial(&c, s->endpoint, NULL, weft_after_s(20)), 0);
    return c;
}

static void exchange(struct weft_stream *c)
{
    char back;
    CHECK_EQ(weft_write(c, "x", 1, weft_after_s(20)), 0);
    CHECK_EQ(weft_read(c, &back, 1, weft_after_s(20)), 1);
}

static struct weft_server_stats stats(const struct served *s)
{
    struct weft_server_stats st;
    weft_server_stats_mt(s->server, &st);
    return st;
}

/* Who waits in the queue while there are no threads waits on, or some are lost; not all. */
static int without_threads_accepting_pauses(void *arg)
{
    enum { MANY = 100 };
    struct weft_stream *c[MANY];
    struct served s = serve((struct weft_server_options){0});
    char back;
    (void)arg;
    if (KIT_SANITIZED) { /* they have a pthread_create of their own */
        CHECK_EQ(weft_group_close(&s.group), 0);
        return 0;
    }
    c[0] = dial(&s);
    exchange(c[0]); /* it accepts now */
    CHECK_EQ(weft_close(&c[0], weft_after_s(20)), 0);
    refused_threads = 0;
    no_threads = true;
    for (size_t i = 0; i < MANY; i++) {
        c[i] = NULL;
        int err = weft_dial(&c[i], s.endpoint, NULL, weft_after_s(20));
        CHECK(err == 0 || err == -ECONNRESET); /* one that is lost */
    }
    for (weft_deadline until = weft_after_s(20); refused_threads == 0;) {
        CHECK(weft_left_ns(until) > 0);
        CHECK_EQ(weft_yield(), 0);
    }
    CHECK_EQ(weft_sleep_ms(100), 0); /* pauses of 10 ms, 20 ms, 40 ms ... */
    CHECK(refused_threads < MANY / 2);
    no_threads = false;
    size_t served = 0;
    for (size_t i = 0; i < MANY; i++) {
        served += c[i] != NULL && weft_write(c[i], "x", 1, weft_after_s(20)) == 0 &&
                  weft_read(c[i], &back, 1, weft_after_s(20)) == 1;
        weft_abort(&c[i]);
    }
    CHECK(served >= MANY / 2);
    CHECK(stats(&s).backoffs > 0);
    CHECK_EQ(weft_group_close(&s.group), 0);
    return 0;
}

/* Stopped with a queue in which many stand who are refused: behind them there is somebody else. */
static int connect_from(const char *host)
{
    struct timeval patience = {.tv_sec = 20};
    struct sockaddr_in from = {.sin_family = AF_INET};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(fd >= 0);
    CHECK_EQ(inet_pton(AF_INET, host, &from.sin_addr), 1);
    CHECK_EQ(bind(fd, (const struct sockaddr *)&from, sizeof from), 0);
    CHECK_EQ(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience), 0);
    return fd;
}

static int drainer(void *arg)
{
    return weft_server_drain(((struct served *)arg)->server, weft_after_s(20));
}

static int who_is_refused_holds_up_nobody(void *arg)
{
    enum { REFUSED = 20 };
    if (RUNNING_ON_VALGRIND)
        return 0; /* it keeps the limit itself, and closes what the kernel has accepted */
    struct served s = serve((struct weft_server_options){.max_per_peer = 1, .workers = 1});
    struct weft_group *g = kit_group();
    struct weft_stream *first = dial(&s);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct rlimit before, few;
    int fds[REFUSED + 1], others[256], n = 0;
    char c = 'x';
    (void)arg;
    exchange(first);
    to.sin_port = s.port;
    for (int i = 0; i <= REFUSED; i++)
        fds[i] = connect_from(i < REFUSED ? "127.0.0.1" : "127.0.0.2");
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
    few = before;
    few.rlim_cur = sizeof others / sizeof others[0];
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &few), 0);
    while ((others[n] = dup(fds[0])) >= 0) /* with none left, all stay in the queue */
        n++;
    CHECK_EQ(errno, EMFILE);
    for (int i = 0; i <= REFUSED; i++)
        CHECK_EQ(connect(fds[i], (const struct sockaddr *)&to, sizeof to), 0);
    /* Then it pauses for long enough to be stopped meanwhile. */
    for (weft_deadline until = weft_after_s(20); stats(&s).backoffs < 7;) {
        CHECK(weft_left_ns(until) > 0);
        CHECK_EQ(weft_sleep_ms(1), 0);
    }
    while (n > 0)
        close(others[--n]);
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
    kit_go(g, "drain", drainer, &s);
    kit_settle();
    CHECK_EQ(send(fds[REFUSED], &c, 1, MSG_NOSIGNAL), 1);
    CHECK_EQ(recv(fds[REFUSED], &c, 1, 0), 1);
    CHECK_EQ(stats(&s).refused, REFUSED);
    for (int i = 0; i <= REFUSED; i++)
        close(fds[i]);
    CHECK_EQ(weft_close(&first, weft_after_s(20)), 0);
    CHECK_EQ(weft_group_wait(g, weft_after_s(20)), 0);
    CHECK_EQ(weft_group_close(&g), 0);
    CHECK_EQ(weft_group_close(&s.group), 0);
    return 0;
}

static const struct kit_case cases[] = {
    IN_TASK(without_threads_accepting_pauses),
    IN_TASK(who_is_refused_holds_up_nobody),
};
KIT_MAIN(cases)
