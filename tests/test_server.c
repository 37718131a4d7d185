/* SPDX-License-Identifier: MIT */
/*
 * Servers: every model serves the same handler; limits, time-outs, errors and draining do what
 * server.h says.
 */
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

#include <weft/weft.h>

#include "rt_kit.h"
#include "sys/sys.h"

static const enum weft_model handler_models[] = {WEFT_TASKS, WEFT_THREADS};

static int echo(struct weft_stream *s, void *arg)
{
    const void *data;
    ssize_t n;
    (void)arg;
    while ((n = weft_peek(s, &data, WEFT_NEVER)) > 0) {
        int err = weft_write(s, data, (size_t)n, WEFT_NEVER);
        if (err < 0)
            return err;
        weft_consume(s, (size_t)n);
    }
    return (int)n;
}

static int echo_data(struct weft_stream *t, const void *data, size_t len, void *conn)
{
    (void)conn;
    return weft_transport_write(t, data, len);
}
static const struct weft_protocol echo_protocol = {.data = echo_data};
static const struct weft_factory echo_factory = {.protocol = &echo_protocol};

struct served {
    struct weft_group *group;
    struct weft_server *server;
    char endpoint[WEFT_ENDPOINT_MAX];
};

/* An echo server of that model; o->model is set here. Protocols where factory is true. */
static struct served serve(const char *endpoint, enum weft_model model, bool factory,
                           struct weft_server_options o, weft_handler handler, void *arg)
{
    struct served s = {.group = kit_group()};
    o.model = model;
    int err = weft_server_open(&s.server, s.group, endpoint, &o, factory ? NULL : handler, arg,
                               factory ? &echo_factory : NULL);
    if (err < 0)
        print_error("%s: %s\n", weft_error_name(err), weft_error_detail());
    CHECK_EQ(err, 0);
    CHECK(weft_server_endpoint(s.server, s.endpoint, sizeof s.endpoint) > 0);
    return s;
}

static struct weft_stream *dial(const struct served *s)
{
    struct weft_stream *c = NULL;
    CHECK_EQ(weft_dial(&c, s->endpoint, NULL, weft_after_s(20)), 0);
    return c;
}

static void exchange(struct weft_stream *c, const char *text)
{
    char back[64];
    size_t len = strlen(text);
    CHECK_EQ(weft_write(c, text, len, weft_after_s(20)), 0);
    CHECK_EQ(weft_read_full(c, back, len, weft_after_s(20)), 0);
    CHECK(memcmp(back, text, len) == 0);
}

static void wait_stat(const struct served *s, size_t offset, uint64_t want)
{
    struct weft_server_stats st;
    for (int i = 0; i < 20000; i++) {
        weft_server_stats_mt(s->server, &st);
        uint64_t got;
        memcpy(&got, (const char *)&st + offset, sizeof got);
        if (got >= want && (want > 0 || got == 0))
            return;
        CHECK_EQ(weft_sleep_ms(1), 0);
    }
    kit_failed(__FILE__, __LINE__, "the counter came to that", 0, (long long)want);
}
#define WAIT_STAT(s, field, want) wait_stat((s), offsetof(struct weft_server_stats, field), (want))

static void once(enum weft_model model, bool factory, int workers, const char *endpoint)
{
    struct served s = serve(endpoint, model, factory,
                            (struct weft_server_options){.workers = workers}, echo, NULL);
    struct weft_stream *c[16];
    for (size_t i = 0; i < 16; i++) {
        c[i] = dial(&s);
        exchange(c[i], "hello");
    }
    for (size_t i = 0; i < 16; i++)
        CHECK_EQ(weft_close(&c[i], weft_after_s(20)), 0);
    WAIT_STAT(&s, live, 0);
    struct weft_server_stats st;
    weft_server_stats_mt(s.server, &st);
    CHECK_EQ(st.accepted, 16);
    CHECK_EQ(st.failed, 0);
    CHECK_EQ(st.bytes_in, 16 * 5);
    CHECK_EQ(st.bytes_out, 16 * 5);
    CHECK_EQ(weft_group_close(&s.group), 0);
}

static int every_model_echoes(void *arg)
{
    (void)arg;
    for (int workers = 0; workers < 3; workers++) {
        for (int m = 0; m < 3; m++)
            once((enum weft_model)m, true, workers, "tcp://127.0.0.1:0");
        once(WEFT_TASKS, false, workers, "tcp://[::1]:0");
        once(WEFT_THREADS, false, workers, "tcp://127.0.0.1:0");
    }
    return 0;
}

static int unix_connections_are_handed_over(void *arg)
{
    char path[WEFT_ENDPOINT_MAX];
    (void)arg;
    (void)snprintf(path, sizeof path, "unix:@weft-test-%d-%llx", (int)getpid(),
                   (unsigned long long)weft_now_ns());
    once(WEFT_TASKS, false, 3, path);
    once(WEFT_PROTOCOLS, true, 3, path);
    once(WEFT_THREADS, false, 2, path);
    return 0;
}

static void on_a_plain_thread(const char *driver)
{
    struct weft_options loop = {.driver = driver};
    for (int m = 0; m < 3; m++) {
        struct weft_server_options o = {.loop = &loop, .workers = m};
        struct served s = serve("tcp://127.0.0.1:0", (enum weft_model)m, m == 2, o, echo, NULL);
        struct weft_stream *c = dial(&s);
        exchange(c, "plain");
        CHECK_EQ(weft_close(&c, weft_after_s(20)), 0);
        WAIT_STAT(&s, live, 0);
        CHECK_EQ(weft_server_drain(s.server, weft_after_s(20)), 0);
        CHECK_EQ(weft_group_wait(s.group, weft_after_s(20)), 0);
        CHECK_EQ(weft_group_close(&s.group), 0);
    }
}

static int wrong_options(void *arg)
{
    struct weft_group *g = kit_group();
    struct weft_server_options o = {.model = WEFT_PROTOCOLS};
    (void)arg;
    CHECK_EQ(weft_serve(g, "tcp://127.0.0.1:0", &o, echo, NULL), -EINVAL);
    CHECK(strstr(weft_error_detail(), "weft_serve_protocol") != NULL);
    CHECK_EQ(weft_serve(g, "udp://127.0.0.1:0", NULL, echo, NULL), -EINVAL);
    CHECK_EQ(weft_serve(g, "tcp://127.0.0.1:x", NULL, echo, NULL), WEFT_EENDPOINT);
    CHECK_EQ(weft_serve(g, "tcp://127.0.0.1:0", NULL, NULL, NULL), -EINVAL);
    o = (struct weft_server_options){.workers = 257};
    CHECK_EQ(weft_serve(g, "tcp://127.0.0.1:0", &o, echo, NULL), -EINVAL);
    struct served s =
        serve("tcp://127.0.0.1:0", WEFT_TASKS, false, (struct weft_server_options){0}, echo, NULL);
    CHECK_EQ(weft_serve(g, s.endpoint, NULL, echo, NULL), -EADDRINUSE);
    CHECK_EQ(weft_group_close(&s.group), 0);
    CHECK_EQ(weft_group_close(&g), 0);
    return 0;
}

/* A worker whose loop cannot be had: the call says so, and the group is none the worse for it. */
static int a_worker_that_cannot_begin(void *arg)
{
    struct weft_options loop = {.driver = "none such"};
    struct weft_group *g = kit_group();
    struct weft_server *s = NULL;
    char at[WEFT_ENDPOINT_MAX];
    (void)arg;
    for (int workers = 1; workers <= 3; workers++) {
        struct weft_server_options o = {.loop = &loop, .workers = workers};
        CHECK_EQ(weft_server_open(&s, g, "tcp://127.0.0.1:0", &o, echo, NULL, NULL), -EINVAL);
        CHECK(strstr(weft_error_detail(), "none such") != NULL);
        CHECK(s == NULL);
    }
    struct weft_server_options o = {.workers = 2};
    CHECK_EQ(weft_server_open(&s, g, "tcp://127.0.0.1:0", &o, echo, NULL, NULL), 0);
    CHECK(weft_server_endpoint(s, at, sizeof at) > 0);
    struct served good = {.group = g, .server = s};
    memcpy(good.endpoint, at, sizeof at);
    struct weft_stream *c = dial(&good);
    exchange(c, "after all");
    CHECK_EQ(weft_close(&c, weft_after_s(20)), 0);
    CHECK_EQ(weft_server_drain(s, weft_after_s(20)), 0);
    CHECK_EQ(weft_group_wait(g, weft_after_s(20)), 0);
    CHECK_EQ(weft_group_close(&g), 0);
    return 0;
}

static int max_connections_makes_accept_wait(void *arg)
{
    (void)arg;
    for (int m = 0; m < 3; m++) {
        struct served s = serve("tcp://127.0.0.1:0", (enum weft_model)m, m == 2,
                                (struct weft_server_options){.max_connections = 2}, echo, NULL);
        struct weft_stream *a = dial(&s), *b = dial(&s), *c = dial(&s);
        char byte;
        exchange(a, "a");
        exchange(b, "b");
        CHECK_EQ(weft_write(c, "c", 1, weft_after_s(20)), 0);
        CHECK_EQ(weft_read(c, &byte, 1, weft_after_ms(50)), -ETIMEDOUT); /* in the backlog */
        CHECK_EQ(weft_close(&a, weft_after_s(20)), 0);
        CHECK_EQ(weft_read(c, &byte, 1, weft_after_s(20)), 1); /* its turn has come */
        CHECK_EQ(weft_close(&b, weft_after_s(20)), 0);
        CHECK_EQ(weft_close(&c, weft_after_s(20)), 0);
        CHECK_EQ(weft_group_close(&s.group), 0);
    }
    return 0;
}

/* Who comes with many others does not hold up what is ready: between two turns of a task no more
 * than a round of them is accepted. */
static int accepts_by_rounds(void *arg)
{
    enum { BURST = 8 * WEFT__ACCEPT_ROUND };
    struct weft_server_stats st = {0};
    struct weft_endpoint e;
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fds[BURST];
    (void)arg;
    for (int many = 0; many < 2; many++) { /* with little room, and with much */
        struct weft_server_options o = {.max_connections = many ? 0 : 2 * BURST};
        struct served s = serve("tcp://127.0.0.1:0", WEFT_TASKS, false, o, echo, NULL);
        CHECK_EQ(weft_endpoint_parse(&e, s.endpoint), 0);
        sa.sin_port = htons((uint16_t)e.port);
        CHECK_EQ(weft_yield(), 0);
        for (int i = 0; i < BURST; i++) {
            fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
            CHECK_EQ(connect(fds[i], (struct sockaddr *)&sa, sizeof sa), 0);
        }
        for (uint64_t before = 0; before < BURST; before = st.accepted) {
            CHECK_EQ(weft_yield(), 0);
            weft_server_stats_mt(s.server, &st);
            CHECK(st.accepted - before <= WEFT__ACCEPT_ROUND);
        }
        for (int i = 0; i < BURST; i++)
            close(fds[i]);
        CHECK_EQ(weft_group_close(&s.group), 0);
    }
    return 0;
}

/* Who reads the counts at any moment finds each connection that was accepted. */
struct watcher {
    const struct weft_server *server;
    _Atomic bool stop;
    uint64_t lost;
};

static void *watch_counts(void *arg)
{
    struct watcher *w = arg;
    while (!w->stop) {
        struct weft_server_stats st;
        weft_server_stats_mt(w->server, &st);
        w->lost += st.accepted > st.live + st.refused;
    }
    return NULL;
}

static int counts_lose_nobody(void *arg)
{
    enum { MANY = 300 };
    (void)arg;
    for (int m = 0; m < 3; m++) {
        struct weft_server_options o = {.max_per_peer = MANY - 50};
        struct served s = serve("tcp://127.0.0.1:0", (enum weft_model)m, m == 2, o, echo, NULL);
        struct weft_stream *c[MANY];
        struct watcher w = {.server = s.server};
        pthread_t thread;
        CHECK_EQ(pthread_create(&thread, NULL, watch_counts, &w), 0);
        for (size_t i = 0; i < MANY; i++) {
            c[i] = NULL;
            int err = weft_dial(&c[i], s.endpoint, NULL, weft_after_s(20));
            CHECK(err == 0 || err == -ECONNRESET); /* one that is refused */
        }
        WAIT_STAT(&s, accepted, MANY);
        w.stop = true;
        CHECK_EQ(pthread_join(thread, NULL), 0);
        CHECK_EQ(w.lost, 0);
        WAIT_STAT(&s, refused, 50);
        for (size_t i = 0; i < MANY; i++)
            weft_abort(&c[i]);
        CHECK_EQ(weft_group_close(&s.group), 0);
    }
    return 0;
}

static int max_per_peer_refuses(void *arg)
{
    (void)arg;
    for (int m = 0; m < 3; m++) {
        struct served s = serve("tcp://127.0.0.1:0", (enum weft_model)m, m == 2,
                                (struct weft_server_options){.max_per_peer = 2}, echo, NULL);
        struct weft_dial_options other = {.bind = "tcp://127.0.0.2:0"};
        struct weft_stream *a = dial(&s), *b = dial(&s), *c = NULL, *d = NULL;
        char byte;
        exchange(a, "a");
        exchange(b, "b");
        if (weft_dial(&c, s.endpoint, NULL, weft_after_s(20)) == 0) /* closed at once */
            CHECK(weft_read(c, &byte, 1, weft_after_s(20)) <= 0);
        CHECK_EQ(weft_dial(&d, s.endpoint, &other, weft_after_s(20)), 0);
        exchange(d, "another host");
        WAIT_STAT(&s, refused, 1);
        weft_abort(&c);
        CHECK_EQ(weft_close(&a, weft_after_s(20)), 0);
        CHECK_EQ(weft_close(&b, weft_after_s(20)), 0);
        CHECK_EQ(weft_close(&d, weft_after_s(20)), 0);
        WAIT_STAT(&s, live, 0);
        a = dial(&s);
        exchange(a, "again");
        CHECK_EQ(weft_close(&a, weft_after_s(20)), 0);
        CHECK_EQ(weft_group_close(&s.group), 0);
    }
    return 0;
}

static int time_limits_strike(void *arg)
{
    (void)arg;
    for (int m = 0; m < 3; m++) {
        struct weft_server_options o = {.first_byte_ms = 200, .idle_ms = 300};
        struct served s = serve("tcp://127.0.0.1:0", (enum weft_model)m, m == 2, o, echo, NULL);
        struct weft_stream *mute = dial(&s), *idle = dial(&s);
        char byte;
        exchange(idle, "x");
        int64_t start = weft_now_ns();
        CHECK(weft_read(mute, &byte, 1, weft_after_s(20)) <= 0);
        CHECK(weft_now_ns() - start < 10000000000);
        CHECK(weft_read(idle, &byte, 1, weft_after_s(20)) <= 0);
        WAIT_STAT(&s, timed_out, 2);
        weft_abort(&mute);
        weft_abort(&idle);
        CHECK_EQ(weft_group_close(&s.group), 0);
    }
    return 0;
}

static int a_blocked_write_is_cut(void *arg)
{
    static char flood[65536];
    (void)arg;
    for (int m = 0; m < 3; m++) {
        struct weft_server_options o = {.write_ms = 100};
        struct served s = serve("tcp://127.0.0.1:0", (enum weft_model)m, m == 2, o, echo, NULL);
        struct weft_stream *c = dial(&s);
        int err = 0;
        while (err == 0) /* never reads: at last the server gives up */
            err = weft_write(c, flood, sizeof flood, weft_after_s(30));
        CHECK(err == -ECONNRESET || err == -EPIPE);
        WAIT_STAT(&s, timed_out, 1);
        weft_abort(&c);
        CHECK_EQ(weft_group_close(&s.group), 0);
    }
    return 0;
}

static int broken(struct weft_stream *s, void *arg)
{
    char byte;
    (void)arg;
    return weft_read(s, &byte, 1, WEFT_NEVER) == 1 ? WEFT_EPROTOCOL : 0;
}

struct failures {
    _Atomic int n;
    _Atomic int last;
    _Atomic bool had_peer;
};

static void failed(void *arg, const struct weft_address *peer, int error)
{
    struct failures *f = arg;
    atomic_store(&f->had_peer, peer->len > 0);
    atomic_store(&f->last, error);
    atomic_fetch_add(&f->n, 1);
}

static int errors_are_told(void *arg)
{
    (void)arg;
    for (size_t m = 0; m < 2; m++) {
        struct failures f = {0};
        struct weft_server_options o = {.failed = failed, .failed_arg = &f};
        struct served s = serve("tcp://127.0.0.1:0", handler_models[m], false, o, broken, NULL);
        for (int i = 1; i <= 3; i++) {
            struct weft_stream *c = dial(&s);
            CHECK_EQ(weft_write(c, "x", 1, weft_after_s(20)), 0);
            WAIT_STAT(&s, failed, (uint64_t)i);
            weft_abort(&c);
        }
        CHECK_EQ(atomic_load(&f.last), WEFT_EPROTOCOL);
        CHECK(atomic_load(&f.had_peer));
        CHECK_EQ(weft_group_close(&s.group), 0);
        CHECK_EQ(atomic_load(&f.n), 3);
    }
    return 0;
}

static int the_first_error_can_stop_the_server(void *arg)
{
    (void)arg;
    for (size_t m = 0; m < 2; m++) {
        struct weft_server_options o = {.errors = WEFT_ERRORS_STOP};
        struct served s = serve("tcp://127.0.0.1:0", handler_models[m], false, o, broken, NULL);
        struct weft_stream *c = dial(&s);
        CHECK_EQ(weft_write(c, "x", 1, weft_after_s(20)), 0);
        CHECK_EQ(weft_group_wait(s.group, weft_after_s(20)), WEFT_EPROTOCOL);
        weft_abort(&c);
        CHECK_EQ(weft_group_close(&s.group), WEFT_EPROTOCOL);
    }
    return 0;
}

/* --- Draining --------------------------------------------------------------------------------- */

static int drainer(void *arg)
{
    return weft_server_drain(((struct served *)arg)->server, weft_after_s(20));
}

static int drain_lets_connections_end(void *arg)
{
    (void)arg;
    for (int m = 0; m < 3; m++)
        for (int workers = 0; workers < 2; workers++) {
            struct served s = serve("tcp://127.0.0.1:0", (enum weft_model)m, m == 2,
                                    (struct weft_server_options){.workers = workers}, echo, NULL);
            struct weft_stream *c = dial(&s), *late = NULL;
            struct weft_group *g = kit_group();
            exchange(c, "before");
            kit_go(g, "drain", drainer, &s);
            int err;
            do { /* the listener goes, the connection stays */
                CHECK_EQ(weft_sleep_ms(1), 0);
                err = weft_dial(&late, s.endpoint, NULL, weft_after_s(20));
                weft_abort(&late);
            } while (err == 0);
            exchange(c, "during");
            CHECK_EQ(weft_close(&c, weft_after_s(20)), 0);
            CHECK_EQ(weft_group_wait(g, weft_after_s(20)), 0);
            CHECK_EQ(weft_group_close(&g), 0);
            CHECK_EQ(weft_group_wait(s.group, weft_after_s(20)), 0);
            CHECK_EQ(weft_group_close(&s.group), 0);
        }
    return 0;
}

static int drain_cuts_off_at_its_deadline(void *arg)
{
    (void)arg;
    for (int m = 0; m < 3; m++) {
        struct served s = serve("tcp://127.0.0.1:0", (enum weft_model)m, m == 2,
                                (struct weft_server_options){0}, echo, NULL);
        struct weft_stream *c = dial(&s);
        char byte;
        exchange(c, "stays");
        CHECK_EQ(weft_server_drain(s.server, weft_after_ms(30)), -ETIMEDOUT);
        CHECK(weft_read(c, &byte, 1, weft_after_s(20)) <= 0);
        weft_abort(&c);
        CHECK_EQ(weft_group_close(&s.group), 0);
    }
    return 0;
}

static int drain_serves_the_backlog(void *arg)
{
    enum { N = 50 };
    (void)arg;
    for (int m = 0; m < 3; m++) {
        struct served s = serve("tcp://127.0.0.1:0", (enum weft_model)m, m == 2,
                                (struct weft_server_options){.workers = 1}, echo, NULL);
        struct weft_stream *c[N];
        for (int i = 0; i < N; i++) {
            c[i] = dial(&s);
            CHECK_EQ(weft_write(c[i], "hello", 5, weft_after_s(20)), 0);
            CHECK_EQ(weft_flush(c[i], weft_after_s(20)), 0);
        }
        struct weft_group *g = kit_group();
        kit_go(g, "drain", drainer, &s);
        for (int i = 0; i < N; i++) { /* what the kernel had taken is served */
            char back[5];
            CHECK_EQ(weft_read_full(c[i], back, 5, weft_after_s(20)), 0);
            CHECK_EQ(weft_close(&c[i], weft_after_s(20)), 0);
        }
        CHECK_EQ(weft_group_wait(g, weft_after_s(20)), 0);
        CHECK_EQ(weft_group_close(&g), 0);
        CHECK_EQ(weft_group_close(&s.group), 0);
    }
    return 0;
}

static int cancel_waits_for_drain_ms(void *arg)
{
    (void)arg;
    for (int m = 0; m < 3; m++) {
        struct served s = serve("tcp://127.0.0.1:0", (enum weft_model)m, m == 2,
                                (struct weft_server_options){.drain_ms = 20000}, echo, NULL);
        struct weft_stream *c = dial(&s);
        exchange(c, "before");
        weft_group_cancel(s.group);
        exchange(c, "after the cancel");
        CHECK_EQ(weft_close(&c, weft_after_s(20)), 0);
        CHECK_EQ(weft_group_wait(s.group, weft_after_s(20)), 0);
        CHECK_EQ(weft_group_close(&s.group), 0);
    }
    return 0;
}

static int an_inherited_socket_is_served(void *arg)
{
    struct weft_listener *l = NULL;
    char endpoint[WEFT_ENDPOINT_MAX], text[32];
    (void)arg;
    CHECK_EQ(weft_listen(&l, "tcp://127.0.0.1:0", NULL), 0);
    CHECK(weft_listener_endpoint(l, endpoint, sizeof endpoint) > 0);
    (void)snprintf(text, sizeof text, "fd:%d", dup(weft_listener_fd(l)));
    struct served s =
        serve(text, WEFT_TASKS, false, (struct weft_server_options){.workers = 2}, echo, NULL);
    weft_listener_close(&l);
    memcpy(s.endpoint, endpoint, sizeof endpoint);
    struct weft_stream *c = dial(&s);
    exchange(c, "inherited");
    CHECK_EQ(weft_close(&c, weft_after_s(20)), 0);
    WAIT_STAT(&s, live, 0);
    CHECK_EQ(weft_group_close(&s.group), 0);
    return 0;
}

static const struct kit_case cases[] = {
    IN_TASK(every_model_echoes),
    IN_TASK(unix_connections_are_handed_over),
    ON_THREAD(on_a_plain_thread),
    IN_TASK(wrong_options),
    IN_TASK(a_worker_that_cannot_begin),
    IN_TASK(max_connections_makes_accept_wait),
    IN_TASK(accepts_by_rounds),
    IN_TASK(counts_lose_nobody),
    IN_TASK(max_per_peer_refuses),
    IN_TASK(time_limits_strike),
    IN_TASK(a_blocked_write_is_cut),
    IN_TASK(errors_are_told),
    IN_TASK(the_first_error_can_stop_the_server),
    IN_TASK(drain_lets_connections_end),
    IN_TASK(drain_cuts_off_at_its_deadline),
    IN_TASK(drain_serves_the_backlog),
    IN_TASK(cancel_waits_for_drain_ms),
    IN_TASK(an_inherited_socket_is_served),
};
KIT_MAIN(cases)
