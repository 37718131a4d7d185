/* SPDX-License-Identifier: MIT */
/* See stream_kit.h. */
#include "stream_kit.h"

#include <unistd.h>

#include <weft/listener.h>
#include <weft/sim.h>

#include "sys/sim/world.h"
#include "tls_kit.h"

#define SIM_SEEDS (WEFT__TSAN ? 1 : KIT_SLOW ? 3 : 6) /* one thread: no races there */
#define SIM_SPAN (INT64_C(3600) * 1000000000)         /* nobody waits for it */

/* --- Makers ---------------------------------------------------------------------------------- */

static void connect_through(const char *endpoint, struct weft_stream **a, struct weft_stream **b)
{
    struct weft_listener *l = NULL;
    char at[WEFT_ENDPOINT_MAX];
    CHECK_EQ(weft_listen(&l, endpoint, NULL), 0);
    CHECK(weft_listener_endpoint(l, at, sizeof at) > 0);
    CHECK_EQ(weft_dial(a, at, NULL, weft_after_s(30)), 0);
    CHECK_EQ(weft_accept(l, b, weft_after_s(30)), 0);
    weft_listener_close(&l);
}

static void make_tcp4(struct weft_stream **a, struct weft_stream **b)
{
    connect_through("tcp://127.0.0.1:0", a, b);
}

static void make_tcp6(struct weft_stream **a, struct weft_stream **b)
{
    connect_through("tcp://[::1]:0", a, b);
}

static void make_unix(struct weft_stream **a, struct weft_stream **b)
{
    static _Atomic int serial;
    char endpoint[64];
    (void)snprintf(endpoint, sizeof endpoint, "unix:@weft-stream-kit-%d-%d", (int)getpid(),
                   serial++);
    connect_through(endpoint, a, b);
}

static void make_socketpair(struct weft_stream **a, struct weft_stream **b)
{
    CHECK_EQ(weft_socketpair(a, b), 0);
}

static void make_memory(struct weft_stream **a, struct weft_stream **b)
{
    CHECK_EQ(weft_pipe_open(a, b, 0), 0);
}

/* Opened once, since that takes longer than all of a case. */
static struct weft_tls *tls_client, *tls_server;
static pthread_once_t tls_once = PTHREAD_ONCE_INIT;

static void close_tls(void)
{
    weft_tls_close(&tls_client);
    weft_tls_close(&tls_server);
}

static void open_tls(void)
{
    tls_client = tls_kit_client();
    tls_server = tls_kit_server("server");
    (void)atexit(close_tls);
}

static void secure(struct weft_stream **a, struct weft_stream **b)
{
    pthread_once(&tls_once, open_tls);
    tls_kit_secure(a, b, tls_client, tls_server);
}

static void make_tls(struct weft_stream **a, struct weft_stream **b)
{
    make_tcp4(a, b);
    secure(a, b);
}

static void make_tls_pipe(struct weft_stream **a, struct weft_stream **b)
{
    make_memory(a, b);
    secure(a, b);
}

static const struct stream_maker makers[] = {
    {.name = "tcp4", .make = make_tcp4, .tcp = true},
    {.name = "tcp6", .make = make_tcp6, .tcp = true},
    {.name = "unix", .make = make_unix},
    {.name = "socketpair", .make = make_socketpair},
    {.name = "memory", .make = make_memory, .memory = true},
    {.name = "tls", .make = make_tls, .tcp = true, .tls = true},
    {.name = "tls over a pipe", .make = make_tls_pipe, .memory = true, .tls = true},
    {.name = "link4", .make = make_tcp4, .tcp = true, .link = true},
    {.name = "link6", .make = make_tcp6, .tcp = true, .link = true},
};
#define MAKERS (sizeof makers / sizeof makers[0])
#define DRIVERS 4

struct stream_pair stream_kit_pair(const struct stream_kit *k)
{
    struct stream_pair p = {NULL, NULL};
    k->maker->make(&p.a, &p.b);
    return p;
}

void stream_kit_close(struct stream_pair *p)
{
    (void)weft_close(&p->a, weft_after_s(30));
    (void)weft_close(&p->b, weft_after_s(30));
}

void stream_kit_both(struct stream_pair *p, weft_fn fa, weft_fn fb)
{
    struct weft_group *g = kit_group();
    kit_go(g, "a", fa, p->a);
    kit_go(g, "b", fb, p->b);
    CHECK_EQ(weft_group_wait(g, weft_after_s(120)), 0);
    CHECK_EQ(weft_group_close(&g), 0);
}

/* --- Running --------------------------------------------------------------------------------- */

struct run {
    const struct stream_case *c;
    struct stream_kit kit;
    char name[120];
};

static int body(void *arg)
{
    const struct run *r = arg;
    r->c->fn(&r->kit);
    return 0;
}

size_t stream_kit_count_fds(void)
{
    const struct weft__proc *p = weft__sim_proc;
    size_t n = kit_count_fds();
    for (size_t i = 0; p != NULL && i < p->n_fds; i++)
        n += p->fds[i] != NULL;
    return n;
}

/* A way from the host to itself that is one, so that both ends can be in one task's hands. */
static void add_link(struct weft_sim *sim)
{
    static const struct weft_link l = {
        .latency_us = 5000, .jitter_us = 2000, .bytes_per_s = 64 << 20};
    assert_int_equal(weft_sim_link(sim, "*", "*", &l), 0);
}

static void one_seed(struct run *r, uint64_t seed)
{
    struct weft_sim *sim = NULL;
    struct weft_sim_options o = {.seed = seed};
    assert_int_equal(weft_sim_open(&sim, &o), 0);
    assert_int_equal(weft_sim_host(sim, "host", body, r), 0);
    if (r->kit.maker->link)
        add_link(sim);
    int err = weft_sim_run(sim, SIM_SPAN);
    if (err != 0)
        print_error("seed %llu: %s\n", (unsigned long long)seed, weft_sim_failure(sim));
    assert_int_equal(err, 0);
    assert_true(weft_sim_host_ended(sim, "host", NULL));
    assert_int_equal(weft_sim_close(&sim), 0); /* it tells of what was left open, too */
}

static void one(void **state)
{
    struct run *r = *state;
    size_t fds = kit_count_fds();
    if (r->kit.driver == NULL) {
        body(r);
    } else if (r->kit.sim) {
        for (uint64_t seed = 1; seed <= SIM_SEEDS; seed++)
            one_seed(r, seed);
    } else {
        struct weft_options o = {.driver = r->kit.driver};
        assert_int_equal(weft_run(&o, body, r), 0);
    }
    assert_int_equal(kit_count_fds(), fds);
}

static bool usable(const struct stream_case *c, const struct stream_kit *k)
{
    bool loop = k->driver != NULL;
    if (!loop && ((c->needs & STREAM_KIT_LOOP) || k->maker->memory))
        return false;
    if ((c->needs & STREAM_KIT_SOCKET) && k->maker->memory)
        return false;
    if (k->maker->tls && (k->sim || (c->needs & STREAM_KIT_PLAIN)))
        return false; /* OpenSSL's random numbers are not the simulation's */
    if (k->sim ? (c->needs & STREAM_KIT_REAL) != 0 : k->maker->link)
        return false;
    return !(c->needs & STREAM_KIT_ONCE) || k->maker == &makers[0];
}

static bool has_driver(const char *driver)
{
    const char *only = getenv("WEFT_DRIVER");
    struct weft_options o = {.driver = driver};
    if (driver == NULL)
        return true;
    if (only != NULL && only[0] != '\0' && strcmp(only, driver) != 0)
        return false;
    if (strcmp(driver, "sim") == 0 || weft_run(&o, kit_nothing, NULL) != -ENOSYS)
        return true;
    print_message("not on %s: %s\n", driver, weft_error_detail());
    return false;
}

int stream_kit_main(const struct stream_case *cases, size_t n)
{
    static const char *const drivers[] = {"epoll", "uring", "sim", NULL};
    const char *only = getenv("STREAM_KIT_ONLY"); /* a part of the names of cases, for debugging */
    size_t max = DRIVERS * MAKERS * n, total = 0;
    struct CMUnitTest *tests = test_calloc(max, sizeof *tests);
    struct run *runs = test_calloc(max, sizeof *runs);
    for (size_t d = 0; d < DRIVERS; d++) {
        if (!has_driver(drivers[d]))
            continue;
        for (size_t m = 0; m < MAKERS * n; m++) {
            struct run *r = &runs[total];
            *r = (struct run){.c = &cases[m / MAKERS],
                              .kit = {.maker = &makers[m % MAKERS], .driver = drivers[d]}};
            r->kit.sim = drivers[d] != NULL && strcmp(drivers[d], "sim") == 0;
            (void)snprintf(r->name, sizeof r->name, "%s, %s: %s", r->c->name,
                           drivers[d] != NULL ? drivers[d] : "threads", r->kit.maker->name);
            if (!usable(r->c, &r->kit) || (only != NULL && strstr(r->name, only) == NULL))
                continue;
            tests[total++] =
                (struct CMUnitTest){.name = r->name, .test_func = one, .initial_state = r};
        }
    }
    (void)weft_now_ns();
    int failed = _cmocka_run_group_tests("streams", tests, total, NULL, NULL);
    test_free(tests);
    test_free(runs);
    return failed;
}

/* --- Bytes ----------------------------------------------------------------------------------- */

static uint8_t tile[STREAM_KIT_TILE];
static pthread_once_t tile_once = PTHREAD_ONCE_INIT;

static void tile_make(void)
{
    uint64_t seed = 1;
    size_t line = 0;
    for (size_t i = 0; i < sizeof tile; i++, line++) {
        bool ends = line + 1 >= STREAM_KIT_LINE_MAX / 2 || stream_kit_random(&seed) % 100 == 0;
        tile[i] = ends ? '\n' : (uint8_t)('!' + stream_kit_random(&seed) % 90);
        if (ends)
            line = 0;
    }
}

void stream_kit_fill(void *buf, uint64_t from, size_t len)
{
    uint8_t *to = buf;
    pthread_once(&tile_once, tile_make);
    while (len > 0) {
        size_t at = (size_t)(from % sizeof tile);
        size_t n = weft__min_size(len, sizeof tile - at);
        memcpy(to, tile + at, n);
        to += n;
        from += n;
        len -= n;
    }
}

void stream_kit_expect(const void *data, uint64_t from, size_t len)
{
    const uint8_t *is = data;
    pthread_once(&tile_once, tile_make);
    while (len > 0) {
        size_t at = (size_t)(from % sizeof tile);
        size_t n = weft__min_size(len, sizeof tile - at);
        CHECK(memcmp(is, tile + at, n) == 0);
        is += n;
        from += n;
        len -= n;
    }
}

size_t stream_kit_line(uint64_t from)
{
    size_t n = 0;
    pthread_once(&tile_once, tile_make);
    while (tile[(from + n) % sizeof tile] != '\n')
        n++;
    return n + 1;
}

size_t stream_kit_size(uint64_t *state, size_t max)
{
    size_t limit = (size_t)1 << (stream_kit_random(state) % 18);
    return 1 + stream_kit_random(state) % weft__min_size(limit, max);
}

static void send_piece(struct weft_stream *s, const uint8_t *piece, size_t len, uint64_t *seed)
{
    size_t cut = stream_kit_random(seed) % (uint32_t)(len + 1);
    struct iovec iov[3] = {
        {(void *)(uintptr_t)piece, cut}, {NULL, 0}, {(void *)(uintptr_t)(piece + cut), len - cut}};
    switch (stream_kit_random(seed) % 4) {
    case 0:
        CHECK_EQ(weft_writev(s, iov, 3, WEFT_NEVER), 0);
        break;
    case 1:
        CHECK_EQ(weft_printf(s, weft_after_s(60), "%.*s", (int)len, (const char *)piece), 0);
        break;
    default:
        CHECK_EQ(weft_write(s, piece, len, weft_after_s(60)), 0);
        break;
    }
}

void stream_kit_send(struct weft_stream *s, uint64_t from, size_t total, uint64_t seed)
{
    uint8_t *piece = malloc(1 << 17);
    CHECK(piece != NULL);
    while (total > 0) {
        size_t n = stream_kit_size(&seed, total);
        stream_kit_fill(piece, from, n);
        send_piece(s, piece, n, &seed);
        from += n;
        total -= n;
    }
    free(piece);
    CHECK_EQ(weft_flush(s, weft_after_s(60)), 0);
}

void stream_kit_receive(struct weft_stream *s, uint64_t from, size_t total, uint64_t seed)
{
    uint8_t *piece = malloc(1 << 17);
    CHECK(piece != NULL);
    while (total > 0) {
        ssize_t n = weft_read(s, piece, stream_kit_size(&seed, total), weft_after_s(60));
        CHECK(n > 0);
        stream_kit_expect(piece, from, (size_t)n);
        from += (uint64_t)n;
        total -= (size_t)n;
    }
    free(piece);
}
