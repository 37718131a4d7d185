/* SPDX-License-Identifier: MIT */
/* A server that stops while peers connect as fast as they can: whoever got a connection is served.
 */
#include "sim_host_kit.h"

#include "net/server.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define PEERS 4
#define ROUNDS 3
#define BEFORE 20 /* connections that are served before the server stops */

struct peer {
    pthread_t thread;
    struct sockaddr_storage to;
    socklen_t len;
    _Atomic int *served;
    int error; /* what ended it, other than not being let in */
};

static int echo(struct weft_stream *s, void *arg)
{
    char c;
    (void)arg;
    ssize_t n = weft_read(s, &c, 1, WEFT_NEVER);
    return n <= 0 ? (int)n : weft_write(s, &c, 1, WEFT_NEVER);
}

/* One connection: 1 served, 0 not let in, < 0 let in and lost. */
static int visit(const struct peer *peer)
{
    int fd = socket(peer->to.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    struct linger now = {.l_onoff = 1}; /* no port is left waiting */
    int err = 0, result = 0;
    socklen_t len = sizeof err;
    char c = 'x';
    CHECK(fd >= 0);
    CHECK_EQ(setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now), 0);
    if (connect(fd, (const struct sockaddr *)&peer->to, peer->len) < 0 && errno != EINPROGRESS)
        goto out;
    /* A SYN that was dropped is sent again after a second: not let in, either. */
    if (poll(&p, 1, 150) != 1 || getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0 || err != 0)
        goto out;
    if (send(fd, &c, 1, MSG_NOSIGNAL) != 1) {
        result = -errno;
        goto out;
    }
    p.events = POLLIN;
    CHECK_EQ(poll(&p, 1, 60000), 1);
    ssize_t n = recv(fd, &c, 1, 0);
    result = n == 1 ? 1 : n == 0 ? -ENODATA : -errno;
out:
    close(fd);
    return result;
}

static void *peer_main(void *arg)
{
    struct peer *p = arg;
    int res;
    while ((res = visit(p)) > 0)
        (*p->served)++;
    p->error = res;
    return NULL;
}

static void find(struct peer *p, const struct weft_server *s)
{
    char at[WEFT_ENDPOINT_MAX];
    CHECK(weft_server_endpoint(s, at, sizeof at) > 0);
    if (strncmp(at, "unix:@", 6) == 0) {
        struct sockaddr_un *un = (struct sockaddr_un *)&p->to;
        un->sun_family = AF_UNIX;
        memcpy(un->sun_path + 1, at + 6, strlen(at) - 6);
        p->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(at) - 5);
    } else {
        struct sockaddr_in *in = (struct sockaddr_in *)&p->to;
        in->sin_family = AF_INET;
        in->sin_port = htons((uint16_t)atoi(strrchr(at, ':') + 1));
        in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        p->len = sizeof *in;
    }
}

static void stop_once(const char *endpoint, struct weft_server_options o)
{
    struct weft_group *g = kit_group();
    struct weft_server *s = NULL;
    _Atomic int served = 0;
    struct peer peers[PEERS];
    CHECK_EQ(weft_server_open(&s, g, endpoint, &o, echo, NULL, NULL), 0);
    for (int i = 0; i < PEERS; i++) {
        peers[i] = (struct peer){.served = &served};
        find(&peers[i], s);
        CHECK_EQ(pthread_create(&peers[i].thread, NULL, peer_main, &peers[i]), 0);
    }
    while (served < BEFORE)
        CHECK_EQ(weft_sleep_ms(1), 0);
    if (o.drain_ms == 0)
        CHECK_EQ(weft_server_drain(s, weft_after_s(60)), 0);
    else
        weft_group_cancel(g);
    CHECK(weft_group_close(&g) <= 0);
    for (int i = 0; i < PEERS; i++) {
        CHECK_EQ(pthread_join(peers[i].thread, NULL), 0);
        CHECK_EQ(peers[i].error, 0);
    }
}

static void stop_under_connects(struct weft_server_options o)
{
    static _Atomic int serial;
    char name[64];
    for (int i = 0; i < ROUNDS; i++) {
        stop_once("tcp://127.0.0.1:0", o);
        (void)snprintf(name, sizeof name, "unix:@weft-stop-%d-%d", (int)getpid(), serial++);
        stop_once(name, o);
    }
}

static int tasks(void *arg)
{
    (void)arg;
    stop_under_connects((struct weft_server_options){0});
    return 0;
}

static int workers(void *arg)
{
    (void)arg;
    stop_under_connects((struct weft_server_options){.workers = 2});
    return 0;
}

static int threads(void *arg)
{
    (void)arg;
    stop_under_connects((struct weft_server_options){.model = WEFT_THREADS});
    return 0;
}

static int canceled(void *arg)
{
    (void)arg;
    stop_under_connects((struct weft_server_options){.drain_ms = 60000});
    stop_under_connects((struct weft_server_options){.model = WEFT_THREADS, .drain_ms = 60000});
    return 0;
}

/* --- A listening socket that goes on elsewhere ------------------------------------------------ */

#define SHARED 8

static int connect_to(const struct sockaddr_in *at)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    char c = 'x';
    CHECK(fd >= 0);
    CHECK_EQ(connect(fd, (const struct sockaddr *)at, sizeof *at), 0);
    CHECK_EQ(send(fd, &c, 1, MSG_NOSIGNAL), 1);
    return fd;
}

static in_port_t port_of(int fd)
{
    struct sockaddr_in at;
    socklen_t len = sizeof at;
    CHECK_EQ(getsockname(fd, (struct sockaddr *)&at, &len), 0);
    return at.sin_port;
}

/* Takes the place of the server that stopped: every peer has been answered, or is in the queue. */
static void take_over(int listener, const int *peers, int n)
{
    struct pollfd p[SHARED + 1] = {{.fd = listener, .events = POLLIN}};
    char c;
    for (int i = 0; i < n; i++)
        p[i + 1] = (struct pollfd){.fd = peers[i], .events = POLLIN};
    for (int left = n; left > 0;) {
        struct sockaddr_in from;
        socklen_t len = sizeof from;
        CHECK(poll(p, (nfds_t)n + 1, 60000) > 0);
        for (int i = 1; i <= n; i++) {
            if (p[i].fd < 0 || p[i].revents == 0)
                continue;
            CHECK_EQ(recv(p[i].fd, &c, 1, 0), 1); /* not reset, not ended without an answer */
            p[i].fd = -1;
            left--;
        }
        int fd = accept4(listener, (struct sockaddr *)&from, &len, SOCK_CLOEXEC);
        for (int i = 1; i <= n && fd >= 0; i++) {
            if (p[i].fd < 0 || port_of(p[i].fd) != from.sin_port)
                continue;
            p[i].fd = -1;
            left--;
        }
        if (fd >= 0)
            close(fd);
    }
}

/* A server with an inherited listener stops within the turn in which peers have come: each is
 * served or left to the next server, and who comes later finds the socket listening. */
static void stop_shared(int listener, const struct sockaddr_in *at, struct weft_server_options o,
                        int turns)
{
    struct weft_group *g = kit_group();
    struct weft_server *s = NULL;
    char endpoint[32];
    int peers[SHARED];
    (void)snprintf(endpoint, sizeof endpoint, "fd:%d", fcntl(listener, F_DUPFD_CLOEXEC, 3));
    CHECK_EQ(weft_server_open(&s, g, endpoint, &o, echo, NULL, NULL), 0);
    CHECK_EQ(weft_yield(), 0);
    for (int i = 0; i < SHARED; i++)
        peers[i] = connect_to(at);
    for (int i = 0; i < turns; i++)
        CHECK_EQ(weft_yield(), 0);
    if (o.drain_ms == 0)
        CHECK_EQ(weft_server_drain(s, weft_after_s(60)), 0);
    else
        weft_group_cancel(g); /* at once, while the accept operation may have more to tell */
    CHECK(weft_group_close(&g) <= 0);
    take_over(listener, peers, SHARED);
    for (int i = 0; i < SHARED; i++)
        close(peers[i]);
    int late = connect_to(at);
    take_over(listener, &late, 1);
    close(late);
}

static int shared(void *arg)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    (void)arg;
    CHECK(listener >= 0);
    CHECK_EQ(bind(listener, (const struct sockaddr *)&at, sizeof at), 0);
    CHECK_EQ(listen(listener, 100), 0);
    CHECK_EQ(getsockname(listener, (struct sockaddr *)&at, &len), 0);
    for (int turns = 0; turns < 4; turns++) {
        stop_shared(listener, &at, (struct weft_server_options){0}, turns);
        stop_shared(listener, &at, (struct weft_server_options){.drain_ms = 60000}, turns);
        stop_shared(listener, &at, (struct weft_server_options){.workers = 2}, turns);
        stop_shared(listener, &at, (struct weft_server_options){.model = WEFT_THREADS}, turns);
    }
    close(listener);
    return 0;
}

/* --- A worker that is about to leave ---------------------------------------------------------- */

/* On its loop: it stops with nothing to do; before it is gone, another worker hands it a
 * connection. */
struct leaver {
    struct weft__remote remote;
    struct weft__worker *w;
    _Atomic bool stopped;
};

static void leaver_run(struct weft__remote *r)
{
    struct leaver *l = WEFT__CONTAINER_OF(r, struct leaver, remote);
    weft__worker_drain(l->w, weft_after_s(60).ns);
    l->stopped = true;
    while (atomic_load(&l->w->live) == 0)
        (void)sched_yield();
}

static int echo_data(struct weft_stream *t, const void *data, size_t len, void *conn)
{
    (void)conn;
    return weft_transport_write(t, data, len);
}

static void ask(const char *endpoint, struct weft_stream **c)
{
    char back;
    CHECK_EQ(weft_dial(c, endpoint, NULL, weft_after_s(20)), 0);
    CHECK_EQ(weft_write(*c, "x", 1, weft_after_s(20)), 0);
    CHECK_EQ(weft_read(*c, &back, 1, weft_after_s(20)), 1);
}

static int handed_to_a_leaver(void *arg)
{
    static const struct weft_protocol p = {.data = echo_data};
    static const struct weft_factory f = {.protocol = &p};
    struct weft_server_options o = {.model = WEFT_PROTOCOLS, .workers = 2};
    struct weft_group *g = kit_group();
    struct weft_server *s = NULL;
    struct weft_stream *first = NULL, *second = NULL;
    struct leaver l = {.remote.fn = leaver_run};
    char name[64];
    (void)arg;
    (void)snprintf(name, sizeof name, "unix:@weft-leaver-%d", (int)getpid());
    CHECK_EQ(weft_server_open(&s, g, name, &o, NULL, NULL, &f), 0);
    ask(name, &first); /* the first worker's own */
    CHECK_EQ(atomic_load(&s->workers[0].live), 1);
    l.w = &s->workers[1];
    weft__loop_remote(l.w->loop, &l.remote);
    while (!l.stopped)
        CHECK_EQ(weft_yield(), 0);
    ask(name, &second);
    CHECK_EQ(weft_close(&first, weft_after_s(20)), 0);
    CHECK_EQ(weft_close(&second, weft_after_s(20)), 0);
    CHECK_EQ(weft_server_drain(s, weft_after_s(60)), 0);
    CHECK_EQ(weft_group_close(&g), 0);
    return 0;
}

/* --- In simulation: the end falls into a handshake ------------------------------------------- */

static int server_main(void *arg)
{
    struct weft_group *g = kit_group();
    struct weft_server *s = NULL;
    CHECK_EQ(weft_server_open(&s, g, "tcp://*:80", NULL, echo, NULL, NULL), 0);
    CHECK_EQ(weft_sleep_ms(100 + (int64_t)(weft_sim_seed(arg) % 40)), 0);
    CHECK_EQ(weft_server_drain(s, weft_after_s(60)), 0);
    return weft_group_close(&g);
}

static int client_main(void *arg)
{
    int served = 0;
    (void)arg;
    for (;; served++) {
        struct weft_stream *s = NULL;
        char c = 'x';
        if (weft_dial(&s, "tcp://server:80", NULL, weft_after_ms(200)) < 0) {
            if (served > 0)
                return 0;
            CHECK_EQ(weft_sleep_ms(5), 0); /* it does not listen yet */
            continue;
        }
        CHECK_EQ(weft_write(s, &c, 1, WEFT_NEVER), 0);
        CHECK_EQ(weft_read(s, &c, 1, WEFT_NEVER), 1);
        CHECK_EQ(weft_close(&s, WEFT_NEVER), 0);
    }
}

static void within_a_handshake(const char *driver)
{
    static const struct weft_link l = {.latency_us = 10000};
    (void)driver;
    for (uint64_t seed = 1; seed <= 80; seed++) {
        struct weft_sim *sim = sim_open(seed, false);
        CHECK_EQ(weft_sim_host(sim, "server", server_main, sim), 0);
        CHECK_EQ(weft_sim_host(sim, "client", client_main, NULL), 0);
        CHECK_EQ(weft_sim_link(sim, "*", "*", &l), 0);
        sim_end(sim);
    }
}

int main(void)
{
    static const struct kit_case cases[] = {IN_TASK(tasks),
                                            IN_TASK(workers),
                                            IN_TASK(threads),
                                            IN_TASK(canceled),
                                            IN_TASK(shared),
                                            IN_TASK(handed_to_a_leaver),
                                            ON_THREAD(within_a_handshake)};
    return kit_main(cases, sizeof cases / sizeof cases[0]);
}
