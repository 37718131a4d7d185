/* SPDX-License-Identifier: MIT */
/* The simulated TCP between two hosts: handshakes, bytes in order, windows, bandwidth, loss. */
#include "sim_stream_kit.h"
#include "stream_kit.h"

/* --- Connecting ------------------------------------------------------------------------------ */

/* One and a half round trips: the client is through after one, the server half a one later. */
static void handshake(void **state)
{
    (void)state;
    struct duo d = {.server = duo_nothing, .client = duo_nothing, .from_ns = SECOND};
    duo_run(&d, (struct weft_link){0});
    assert_int_equal(d.connected_ns - d.begun_ns, 2 * LATENCY);
    assert_int_equal(d.accepted_ns - d.begun_ns, 3 * LATENCY);
}

static int client_is_told(struct duo *d, const char *endpoint)
{
    struct weft_stream *s = NULL;
    CHECK_EQ(weft_sleep_ms(100), 0);
    int64_t begin = now();
    int err = weft_dial(&s, endpoint, NULL, WEFT_NEVER);
    d->done_ns[0] = now() - begin;
    CHECK(err < 0 && s == NULL);
    return err;
}

static int dials_refused(void *arg)
{
    ((struct duo *)arg)->result = client_is_told(arg, "tcp://10.0.0.1:81");
    return 0;
}

static int dials_silent(void *arg)
{
    ((struct duo *)arg)->result = client_is_told(arg, "tcp://10.0.0.2:80");
    return 0;
}

static int dials_unknown(void *arg)
{
    ((struct duo *)arg)->result = client_is_told(arg, "tcp://10.200.0.1:80");
    return 0;
}

static int dials_unknown6(void *arg)
{
    ((struct duo *)arg)->result = client_is_told(arg, "tcp://[fd00::aaaa]:80");
    return 0;
}

static int dials_abroad(void *arg)
{
    ((struct duo *)arg)->result = client_is_told(arg, "tcp://192.0.2.1:80");
    return 0;
}

static int sleeps(void *arg)
{
    (void)arg;
    return weft_sleep_ms(300000);
}

static void crash(struct weft_sim *sim, void *arg)
{
    CHECK_EQ(weft_sim_crash(sim, arg), 0);
}

/* A host that is up and does not listen, one without power, and addresses of nobody. */
static void nobody_answers(void **state)
{
    (void)state;
    static const struct {
        weft_fn main;
        int error;
        int64_t after_ns;
    } cases[] = {
        {dials_refused, -ECONNREFUSED, 2 * LATENCY},
        {dials_silent, -ETIMEDOUT, 127 * SECOND},
        {dials_unknown, -EHOSTUNREACH, 3 * SECOND},
        {dials_unknown6, -EHOSTUNREACH, 3 * SECOND},
        {dials_abroad, -ENETUNREACH, 0},
    };
    for (size_t i = 0; i < WEFT__ARRAY_LEN(cases); i++) {
        for (uint64_t seed = 1; seed <= 4; seed++) {
            struct duo d = {.result = 0};
            sim_kit_open(&d.k, seed);
            assert_int_equal(weft_sim_host(d.k.sim, "server", sleeps, NULL), 0);
            assert_int_equal(weft_sim_host(d.k.sim, "down", sleeps, NULL), 0);
            assert_int_equal(weft_sim_at(d.k.sim, MILLI, crash, "down"), 0);
            assert_int_equal(weft_sim_host(d.k.sim, "client", cases[i].main, &d), 0);
            duo_link(&d, (struct weft_link){0});
            duo_close(&d);
            assert_int_equal(d.result, cases[i].error);
            assert_int_equal(d.done_ns[0], cases[i].after_ns);
        }
    }
}

/* --- A queue that is full -------------------------------------------------------------------- */

#define GUESTS 6

struct party {
    int64_t in_ns[GUESTS]; /* how long each took to connect */
    int next;
};

static int late_host(void *arg)
{
    struct weft_listener *l = NULL;
    struct weft_listen_options o = {.backlog = 2};
    (void)arg;
    CHECK_EQ(weft_listen(&l, "tcp://*:80", &o), 0);
    CHECK_EQ(weft_sleep_ms(500), 0);
    for (int i = 0; i < GUESTS; i++) {
        struct weft_stream *s = NULL;
        CHECK_EQ(weft_accept(l, &s, weft_after_s(10)), 0);
        CHECK_EQ(weft_write(s, "x", 1, WEFT_NEVER), 0);
        CHECK_EQ(weft_close(&s, WEFT_NEVER), 0);
    }
    weft_listener_close(&l);
    return 0;
}

static int guest(void *arg)
{
    struct party *p = arg;
    struct weft_stream *s = NULL;
    char c;
    CHECK_EQ(weft_sleep_ms(10), 0);
    int64_t begun_ns = now();
    CHECK_EQ(weft_dial(&s, "tcp://10.0.0.1:80", NULL, WEFT_NEVER), 0);
    p->in_ns[p->next++] = now() - begun_ns;
    CHECK_EQ(weft_read(s, &c, 1, weft_after_s(10)), 1);
    return weft_close(&s, WEFT_NEVER);
}

/* Linux takes one more than the backlog; who finds the queue full asks again a second later. */
static void full_backlog(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 4; seed++) {
        struct party p = {.next = 0};
        struct sim_kit k;
        char name[24];
        sim_kit_open(&k, seed);
        assert_int_equal(weft_sim_host(k.sim, "server", late_host, &p), 0);
        for (int i = 0; i < GUESTS; i++) {
            (void)snprintf(name, sizeof name, "guest-%d", i);
            assert_int_equal(weft_sim_host(k.sim, name, guest, &p), 0);
        }
        sim_kit_run(&k, SPAN, 0);
        sim_kit_close(&k, 0);
        for (int i = 0; i < GUESTS; i++)
            assert_int_equal(p.in_ns[i], (i < 3 ? 1 : 1001) * MILLI);
    }
}

/* --- Bytes ----------------------------------------------------------------------------------- */

static int sends_a_mib(struct duo *d, struct weft_stream **s)
{
    (void)d;
    stream_kit_send(*s, 5, MIB, 1);
    return weft_close(s, WEFT_NEVER);
}

static int takes_a_mib(struct duo *d, struct weft_stream **s)
{
    char c;
    stream_kit_receive(*s, 5, MIB, 2);
    d->bytes = MIB;
    return (int)weft_read(*s, &c, 1, WEFT_NEVER);
}

/* Loss costs time and nothing else. Late, too: no length of a connection or of a simulation
 * matters. */
static void loss(void **state)
{
    (void)state;
    int64_t took[3];
    static const double losses[] = {0, 0.1, 0.3};
    for (int i = 0; i < 3; i++) {
        struct duo d = {.server = takes_a_mib, .client = sends_a_mib, .from_ns = 2000 * SECOND};
        duo_run(&d, (struct weft_link){.loss = losses[i], .jitter_us = 500});
        assert_int_equal(d.bytes, MIB);
        took[i] = d.done_ns[1] - d.from_ns;
    }
    assert_in_range(took[0], 2 * LATENCY, SECOND);
    assert_true(took[1] > took[0] + 200 * MILLI); /* a retransmission at least */
    assert_true(took[2] > took[1]);
}

static void bandwidth(void **state)
{
    (void)state;
    struct duo d = {.server = takes_a_mib, .client = sends_a_mib};
    duo_run(&d, (struct weft_link){.latency_us = 1000, .bytes_per_s = MIB});
    assert_in_range(d.done_ns[1], 990 * MILLI, 1010 * MILLI);
}

/* --- Windows --------------------------------------------------------------------------------- */

static int writes_against_a_wall(struct duo *d, struct weft_stream **s)
{
    int fd = weft_stream_fd(*s), sndbuf = 0, rcvbuf = 0;
    socklen_t len = sizeof sndbuf;
    CHECK_EQ(raw_getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &sndbuf, &len), 0);
    CHECK_EQ(raw_getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &rcvbuf, &len), 0); /* the peer's, too */
    uint64_t stuck = duo_fill(fd);
    CHECK_EQ(stuck, sndbuf + rcvbuf);
    d->result = 1; /* now the server reads */
    CHECK_EQ(weft_poll(fd, POLLOUT, weft_after_s(10)), POLLOUT);
    CHECK_EQ(weft_write(*s, "more", 4, WEFT_NEVER), 0);
    CHECK_EQ(weft_close(s, WEFT_NEVER), 0);
    d->connected_ns = (int64_t)stuck + 4;
    return 0;
}

static int reads_late(struct duo *d, struct weft_stream **s)
{
    while (d->result == 0)
        CHECK_EQ(weft_sleep_ms(100), 0);
    return duo_read_all(d, s);
}

/* A writer against a reader that never reads stops; when it reads after all, the rest goes. */
static void window(void **state)
{
    (void)state;
    struct duo d = {.server = reads_late, .client = writes_against_a_wall};
    duo_run(&d, (struct weft_link){0});
    assert_int_equal(d.bytes, d.connected_ns);
    d = (struct duo){.server = reads_late, .client = writes_against_a_wall};
    duo_run(&d, (struct weft_link){.loss = 0.2, .jitter_us = 3000}); /* updates are lost, too */
    assert_int_equal(d.bytes, d.connected_ns);
}

/* --- Half-close ------------------------------------------------------------------------------ */

static int sends_then_reads(struct duo *d, struct weft_stream **s)
{
    stream_kit_send(*s, 7, 4 * MIB, 3);
    CHECK_EQ(weft_shutdown(*s, WEFT_NEVER), 0);
    stream_kit_receive(*s, 9, 4 * MIB, 4);
    return duo_read_all(d, s);
}

static int reads_then_sends(struct duo *d, struct weft_stream **s)
{
    stream_kit_receive(*s, 7, 4 * MIB, 5);
    CHECK_EQ(duo_read_all(d, s), 0);
    stream_kit_send(*s, 9, 4 * MIB, 6);
    return weft_close(s, WEFT_NEVER);
}

static void half_close(void **state)
{
    (void)state;
    struct duo d = {.server = reads_then_sends, .client = sends_then_reads};
    duo_run(&d, (struct weft_link){.jitter_us = 1000, .loss = 0.01});
    assert_int_equal(d.bytes, 0);
}

/* --- One seed, one run ----------------------------------------------------------------------- */

static uint64_t hash_of(uint64_t seed)
{
    struct duo d = {.server = takes_a_mib, .client = sends_a_mib};
    duo_open(&d, seed, (struct weft_link){.loss = 0.05, .jitter_us = 2000});
    sim_kit_run(&d.k, SPAN, 0);
    uint64_t hash = weft_sim_hash(d.k.sim);
    sim_kit_close(&d.k, 0);
    return hash;
}

static void one_seed_one_run(void **state)
{
    (void)state;
    uint64_t before = 0;
    for (uint64_t seed = 1; seed <= 5; seed++) {
        uint64_t hash = hash_of(seed);
        assert_true(hash == hash_of(seed));
        assert_true(hash != before);
        before = hash;
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(handshake),    cmocka_unit_test(nobody_answers),
        cmocka_unit_test(full_backlog), cmocka_unit_test(loss),
        cmocka_unit_test(bandwidth),    cmocka_unit_test(window),
        cmocka_unit_test(half_close),   cmocka_unit_test(one_seed_one_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
