/* SPDX-License-Identifier: MIT */
/*
 * Messages cost no allocation: once a connection is warm, an echo over loopback takes nothing from
 * malloc in any model, on any driver. Counted twice: by the library's own hooks, and by malloc
 * itself, which this program replaces by one that counts and passes on.
 */
#include <weft/weft.h>

#include "base/alloc.h"
#include "rt_kit.h"

#define WARM_UP 500
#define MESSAGES 10000

static _Atomic uint64_t mallocs;

#if !KIT_SANITIZED /* those replace it themselves; the library's own count is enough there */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *ptr, size_t size);

void *malloc(size_t size)
{
    atomic_fetch_add_explicit(&mallocs, 1, memory_order_relaxed);
    return __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    atomic_fetch_add_explicit(&mallocs, 1, memory_order_relaxed);
    return __libc_calloc(count, size);
}

void *realloc(void *ptr, size_t size)
{
    atomic_fetch_add_explicit(&mallocs, 1, memory_order_relaxed);
    return __libc_realloc(ptr, size);
}
#endif

static int echo(struct weft_stream *s, void *arg)
{
    const void *data;
    ssize_t n;
    (void)arg;
    while ((n = weft_peek(s, &data, weft_after_s(60))) > 0) {
        int err = weft_write(s, data, (size_t)n, weft_after_s(60));
        if (err < 0)
            return err;
        weft_consume(s, (size_t)n);
    }
    return (int)n;
}

static int echo_records(struct weft_stream *s, void *arg)
{
    const struct weft_framing *f = arg;
    const void *record;
    size_t len;
    int got;
    while ((got = weft_read_record(s, f, &record, &len, weft_after_s(60))) > 0) {
        int err = weft_write_record(s, f, record, len, weft_after_s(60));
        if (err < 0)
            return err;
    }
    return got;
}

static int echo_data(struct weft_stream *t, const void *data, size_t len, void *conn)
{
    (void)conn;
    return weft_transport_write(t, data, len);
}
static const struct weft_protocol echo_protocol = {.data = echo_data};
static const struct weft_factory echo_factory = {.protocol = &echo_protocol};

static const struct weft_framing int16_framing = {.kind = WEFT_FRAMING_INT16};

/* n messages there and back, of changing sizes, on each of two connections. */
static void exchange(struct weft_stream **c, size_t n)
{
    static const size_t sizes[] = {1, 64, 1000, 4000, 17};
    static unsigned char out[4002], in[4002];
    for (size_t i = 0; i < n; i++) {
        size_t len = sizes[i % WEFT__ARRAY_LEN(sizes)] + 2;
        out[0] = (unsigned char)((len - 2) >> 8); /* a record of the framing, in each case */
        out[1] = (unsigned char)(len - 2);
        out[2] = (unsigned char)i;
        CHECK_EQ(weft_write(c[i % 2], out, len, weft_after_s(60)), 0);
        CHECK_EQ(weft_read_full(c[i % 2], in, len, weft_after_s(60)), 0);
        CHECK(memcmp(in, out, len) == 0);
    }
}

struct way {
    enum weft_model model;
    bool protocol;
    weft_handler handler;
    const struct weft_framing *framing;
};

static int measure(void *arg)
{
    const struct way *w = arg;
    struct weft_server_options o = {.model = w->model, .idle_ms = 60000};
    struct weft_server *server = NULL;
    struct weft_group *g = kit_group();
    struct weft_stream *c[2] = {NULL, NULL};
    char at[WEFT_ENDPOINT_MAX];
    CHECK_EQ(weft_server_open(&server, g, "tcp://127.0.0.1:0", &o, w->handler,
                              (void *)(uintptr_t)w->framing, w->protocol ? &echo_factory : NULL),
             0);
    CHECK(weft_server_endpoint(server, at, sizeof at) > 0);
    for (int i = 0; i < 2; i++)
        CHECK_EQ(weft_dial(&c[i], at, NULL, weft_after_s(60)), 0);
    exchange(c, WARM_UP);

    weft__alloc_hooks = true;
    uint64_t own = weft__alloc_count(), all = mallocs;
    exchange(c, MESSAGES);
    own = weft__alloc_count() - own;
    all = mallocs - all;
    weft__alloc_hooks = false;

    for (int i = 0; i < 2; i++)
        CHECK_EQ(weft_close(&c[i], weft_after_s(60)), 0);
    CHECK_EQ(weft_server_drain(server, weft_after_s(60)), 0);
    CHECK_EQ(weft_group_close(&g), 0);
    CHECK_EQ(own, 0);
    CHECK_EQ(all, 0);
    return 0;
}

static void run(const char *driver, struct way w)
{
    struct weft_options o = {.driver = driver};
    if (driver == NULL)
        assert_int_equal(measure(&w), 0);
    else
        assert_int_equal(weft_run(&o, measure, &w), 0);
}

static void echo_in_tasks(const char *driver)
{
    run(driver, (struct way){WEFT_TASKS, false, echo, NULL});
}

static void records_in_tasks(const char *driver)
{
    run(driver, (struct way){WEFT_TASKS, false, echo_records, &int16_framing});
}

static void echo_in_protocols(const char *driver)
{
    run(driver, (struct way){WEFT_PROTOCOLS, true, NULL, NULL});
}

static void echo_in_threads_under_a_loop(const char *driver)
{
    run(driver, (struct way){WEFT_THREADS, false, echo, NULL});
}

static void echo_in_threads(const char *driver)
{
    (void)driver;
    run(NULL, (struct way){WEFT_THREADS, false, echo, NULL});
}

static void records_in_threads(const char *driver)
{
    (void)driver;
    run(NULL, (struct way){WEFT_THREADS, false, echo_records, &int16_framing});
}

/* Datagrams, alone and in batches. */
static int datagrams_body(void *arg)
{
    struct weft_udp *a = NULL, *b = NULL;
    char at[WEFT_ENDPOINT_MAX], room[8][64] = {{0}};
    struct weft_datagram dg[8];
    uint64_t own = 0, all = 0;
    (void)arg;
    CHECK_EQ(weft_udp_open(&a, "udp://127.0.0.1:0", NULL), 0);
    CHECK(weft_udp_endpoint(a, at, sizeof at) > 0);
    CHECK_EQ(weft_udp_dial(&b, at, NULL), 0);
    for (size_t i = 0; i < WARM_UP + MESSAGES; i++) {
        struct weft_address from;
        if (i == WARM_UP) {
            weft__alloc_hooks = true;
            own = weft__alloc_count();
            all = mallocs;
        }
        CHECK_EQ(weft_udp_send(b, "hello", 5, NULL, weft_after_s(60)), 0);
        CHECK_EQ(weft_udp_recv(a, room[0], 64, &from, weft_after_s(60)), 5);
        CHECK_EQ(weft_udp_send(a, "hello", 5, &from, weft_after_s(60)), 0);
        CHECK_EQ(weft_udp_recv(b, room[0], 64, NULL, weft_after_s(60)), 5);
        if (i % 8 != 0)
            continue;
        for (int k = 0; k < 8; k++)
            dg[k] = (struct weft_datagram){.data = room[k], .cap = 64, .len = 9};
        CHECK_EQ(weft_udp_send_batch(b, dg, 8, weft_after_s(60)), 8);
        for (int got = 0; got < 8;) {
            int n = weft_udp_recv_batch(a, dg, 8 - got, weft_after_s(60));
            CHECK(n > 0);
            got += n;
        }
    }
    own = weft__alloc_count() - own;
    all = mallocs - all;
    weft__alloc_hooks = false;
    weft_udp_close(&a);
    weft_udp_close(&b);
    CHECK_EQ(own, 0);
    CHECK_EQ(all, 0);
    return 0;
}

static void datagrams(const char *driver)
{
    struct weft_options o = {.driver = driver};
    assert_int_equal(weft_run(&o, datagrams_body, NULL), 0);
}

/* Channels, locks and timers between tasks. */
static int partner(void *arg)
{
    struct weft_channel **c = arg;
    int err, i;
    while ((err = weft_channel_recv(c[0], &i, weft_after_s(60))) == 0)
        if ((err = weft_channel_send(c[1], &i, weft_after_s(60))) < 0)
            break;
    return err == WEFT_ECLOSED ? 0 : err;
}

static int channels_body(void *arg)
{
    struct weft_channel *c[2];
    struct weft_group *g = kit_group();
    uint64_t own = 0, all = 0;
    (void)arg;
    CHECK_EQ(weft_channel_open(&c[0], sizeof(int), 0), 0);
    CHECK_EQ(weft_channel_open_mt(&c[1], sizeof(int), 4), 0);
    kit_go(g, "partner", partner, c);
    for (int i = 0; i < WARM_UP + MESSAGES; i++) {
        int back = -1;
        if (i == WARM_UP) {
            weft__alloc_hooks = true;
            own = weft__alloc_count();
            all = mallocs;
        }
        CHECK_EQ(weft_channel_send(c[0], &i, weft_after_s(60)), 0);
        CHECK_EQ(weft_channel_recv(c[1], &back, weft_after_s(60)), 0);
        CHECK_EQ(back, i);
    }
    own = weft__alloc_count() - own;
    all = mallocs - all;
    weft__alloc_hooks = false;
    weft_channel_shut(c[0]);
    CHECK_EQ(weft_group_close(&g), 0);
    weft_channel_close(&c[0]);
    weft_channel_close(&c[1]);
    CHECK_EQ(own, 0);
    CHECK_EQ(all, 0);
    return 0;
}

static void channels(const char *driver)
{
    struct weft_options o = {.driver = driver};
    assert_int_equal(weft_run(&o, channels_body, NULL), 0);
}

/* Tasks that are spawned, and joined by their handles, one after the other. */
static int seven(void *arg)
{
    (void)arg;
    return 7;
}

static int joined_body(void *arg)
{
    struct weft_group *g = kit_group();
    uint64_t own = 0, all = 0;
    (void)arg;
    for (int i = 0; i < WARM_UP + MESSAGES; i++) {
        struct weft_task *t[2];
        int result = 0;
        if (i == WARM_UP) {
            weft__alloc_hooks = true;
            own = weft__alloc_count();
            all = mallocs;
        }
        for (int k = 0; k < 2; k++)
            CHECK_EQ(weft_group_spawn(g, NULL, seven, NULL, &t[k]), 0);
        CHECK_EQ(weft_task_join(&t[0], &result, weft_after_s(60)), 0);
        CHECK_EQ(result, 7);
        weft_task_release(&t[1]);
    }
    own = weft__alloc_count() - own;
    all = mallocs - all;
    weft__alloc_hooks = false;
    CHECK_EQ(weft_group_close(&g), 0);
    if (!KIT_SANITIZED) { /* else no handle is used twice, so that a use after its end is seen */
        CHECK_EQ(own, 0);
        CHECK_EQ(all, 0);
    }
    return 0;
}

static void joined_tasks(const char *driver)
{
    struct weft_options o = {.driver = driver};
    assert_int_equal(weft_run(&o, joined_body, NULL), 0);
}

/* What counts, counts. */
static void the_counters(const char *driver)
{
    (void)driver;
    weft__alloc_hooks = true;
    uint64_t own = weft__alloc_count(), all = mallocs;
    weft__free(weft__alloc(1));
    weft__alloc_hooks = false;
    assert_int_equal(weft__alloc_count() - own, 1);
    if (!KIT_SLOW) /* a sanitizer's or valgrind's own malloc is not counted */
        assert_int_equal(mallocs - all, 1);
}

static const struct kit_case cases[] = {
    ON_THREAD(the_counters),
    ON_THREAD(echo_in_tasks),
    ON_THREAD(records_in_tasks),
    ON_THREAD(echo_in_protocols),
    ON_THREAD(echo_in_threads_under_a_loop),
    ON_THREAD(echo_in_threads),
    ON_THREAD(records_in_threads),
    ON_THREAD(datagrams),
    ON_THREAD(channels),
    ON_THREAD(joined_tasks),
};
KIT_MAIN(cases)
