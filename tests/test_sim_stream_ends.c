/* SPDX-License-Identifier: MIT */
/* How connections of the simulated TCP end when they do not end well: resets, crashes of the peer,
 * partitions, and what the options say about waiting. */
#include <netinet/in.h>
#include <netinet/tcp.h>

#include "sim_stream_kit.h"
#include "stream_kit.h"

#define SLACK (100 * MILLI) /* timers are not exact to the nanosecond, nor do they need to be */
#define GIVE_UP (INT64_C(924600) * MILLI)

/* Waits for the end of whatever may come. */
static int sees_the_end(struct duo *d, struct weft_stream **s)
{
    d->result = duo_read_all(d, s);
    return 0;
}

/* Until so much simulated time has passed since the start. */
static void sleep_to(int64_t when_ns)
{
    CHECK_EQ(weft_sleep_until(weft_after_ns(when_ns - now())), 0);
}

static int writes_at_2_s(struct duo *d, struct weft_stream **s)
{
    sleep_to(2 * SECOND);
    CHECK_EQ(weft_write(*s, "x", 1, WEFT_NEVER), 0);
    CHECK_EQ(weft_flush(*s, WEFT_NEVER), 0);
    return sees_the_end(d, s);
}

static int stays(struct duo *d, struct weft_stream **s)
{
    (void)duo_read_all(d, s);
    return 0;
}

/* --- Resets ---------------------------------------------------------------------------------- */

static int aborts(struct duo *d, struct weft_stream **s)
{
    CHECK_EQ(weft_write(*s, "last words", 10, WEFT_NEVER), 0);
    CHECK_EQ(weft_flush(*s, WEFT_NEVER), 0);
    CHECK_EQ(weft_sleep_ms(100), 0);
    d->accepted_ns = now();
    weft_abort(s);
    return 0;
}

/* What came before the reset can be read; the reset is as far away as everything else. */
static void abort_is_a_reset(void **state)
{
    (void)state;
    struct duo d = {.server = aborts, .client = sees_the_end};
    duo_run(&d, (struct weft_link){0});
    assert_int_equal(d.result, -ECONNRESET);
    assert_int_equal(d.bytes, 10);
    assert_int_equal(d.done_ns[0] - d.accepted_ns, LATENCY);
}

static int closes_unread(struct duo *d, struct weft_stream **s)
{
    CHECK_EQ(weft_poll(weft_stream_fd(*s), POLLIN, WEFT_NEVER), POLLIN);
    d->accepted_ns = now();
    return raw_shutdown(weft_stream_fd(*s), SHUT_WR) | weft_close(s, WEFT_NEVER);
}

static int writes_at_once(struct duo *d, struct weft_stream **s)
{
    CHECK_EQ(weft_write(*s, "unread", 6, WEFT_NEVER), 0);
    CHECK_EQ(weft_flush(*s, WEFT_NEVER), 0);
    int err = duo_read_all(d, s);
    CHECK_EQ(weft_sleep_ms(100), 0); /* where the end came first, the reset comes behind it */
    d->result = weft_write(*s, "x", 1, WEFT_NEVER);
    if (d->result == 0)
        d->result = weft_flush(*s, WEFT_NEVER);
    return err == 0 || err == -ECONNRESET ? 0 : err;
}

static void close_with_unread_bytes_resets(void **state)
{
    (void)state;
    struct duo d = {.server = closes_unread, .client = writes_at_once};
    duo_run(&d, (struct weft_link){0});
    assert_true(d.result == -ECONNRESET || d.result == -EPIPE);
    assert_int_equal(d.bytes, 0);
}

/* A host whose main has ended still has power: it resets and refuses, and is not silent. */
static int leaves(struct duo *d, struct weft_stream **s)
{
    (void)d;
    return weft_close(s, WEFT_NEVER);
}

static int writes_and_dials_again(struct duo *d, struct weft_stream **s)
{
    struct weft_stream *second = NULL;
    sleep_to(2 * SECOND);
    CHECK_EQ(weft_write(*s, "x", 1, WEFT_NEVER), 0);
    CHECK_EQ(weft_flush(*s, WEFT_NEVER), 0);
    CHECK_EQ(weft_sleep_ms(100), 0); /* there and back again */
    d->result = weft_write(*s, "x", 1, WEFT_NEVER);
    if (d->result == 0)
        d->result = weft_flush(*s, WEFT_NEVER);
    int64_t before = now();
    CHECK_EQ(weft_dial(&second, "tcp://10.0.0.1:80", NULL, WEFT_NEVER), -ECONNREFUSED);
    CHECK_EQ(now() - before, 2 * LATENCY);
    return 0;
}

static void host_that_has_ended(void **state)
{
    (void)state;
    struct duo d = {.server = leaves, .client = writes_and_dials_again};
    duo_run(&d, (struct weft_link){0});
    assert_int_equal(d.result, -EPIPE); /* the end had come before the reset */
}

/* Writes to one who has closed: its answer takes the way there and back. */
static int closes_in_peace(struct duo *d, struct weft_stream **s)
{
    (void)d;
    CHECK_EQ(weft_close(s, WEFT_NEVER), 0);
    return weft_sleep_until(WEFT_NEVER);
}

static int writes_after_the_end(struct duo *d, struct weft_stream **s)
{
    CHECK_EQ(duo_read_all(d, s), 0);
    CHECK_EQ(weft_sleep_ms(1000), 0);
    int64_t begin = now();
    CHECK_EQ(weft_write(*s, "x", 1, WEFT_NEVER), 0);
    CHECK_EQ(weft_flush(*s, WEFT_NEVER), 0);
    int events = weft_poll(weft_stream_fd(*s), 0, WEFT_NEVER);
    CHECK(events & (POLLHUP | POLLERR));
    d->accepted_ns = now() - begin;
    d->result = weft_write(*s, "x", 1, WEFT_NEVER);
    if (d->result == 0)
        d->result = weft_flush(*s, WEFT_NEVER);
    return 0;
}

static void writes_after_the_end_meet_a_reset(void **state)
{
    (void)state;
    struct duo d = {.server = closes_in_peace, .client = writes_after_the_end, .service = true};
    duo_run(&d, (struct weft_link){0});
    assert_int_equal(d.result, -EPIPE);
    assert_int_equal(d.accepted_ns, 2 * LATENCY);
}

static int reads_after_a_reset(struct duo *d, struct weft_stream **s)
{
    char byte;
    CHECK_EQ(weft_sleep_ms(1000), 0);
    CHECK_EQ(weft_write(*s, "x", 1, WEFT_NEVER), 0);
    CHECK_EQ(weft_flush(*s, WEFT_NEVER), 0);
    CHECK_EQ(weft_sleep_ms(1000), 0);
    CHECK_EQ(weft_read(*s, &byte, 1, WEFT_NEVER), 0);
    d->result = weft_write(*s, "x", 1, WEFT_NEVER);
    if (d->result == 0)
        d->result = weft_flush(*s, WEFT_NEVER);
    return 0;
}

/* Whoever had told its end and resets later has still ended in peace for those who read. */
static void reset_behind_the_end(void **state)
{
    (void)state;
    struct duo d = {.server = closes_in_peace, .client = reads_after_a_reset, .service = true};
    duo_run(&d, (struct weft_link){0});
    assert_int_equal(d.result, -EPIPE);
}

/* Both have told their end: as on Linux, nobody is at the other side any more. */
static int ends_both_ways(struct duo *d, struct weft_stream **s)
{
    struct weft_address peer;
    CHECK_EQ(weft_shutdown(*s, WEFT_NEVER), 0);
    CHECK_EQ(duo_read_all(d, s), 0);
    CHECK_EQ(weft_sleep_ms(1000), 0);
    int fd = weft_stream_fd(*s);
    CHECK_EQ(raw_shutdown(fd, SHUT_WR), -1);
    CHECK_EQ(errno, ENOTCONN);
    CHECK_EQ(weft_stream_peer(*s, &peer), -ENOTCONN);
    return 0;
}

static void ends_of_both_disconnect(void **state)
{
    (void)state;
    struct duo d = {.server = ends_both_ways, .client = ends_both_ways};
    duo_run(&d, (struct weft_link){0});
}

/* --- Crashes --------------------------------------------------------------------------------- */

/* A machine without power says nothing; when it is up again it knows of no connection. */
static void crash_and_restart(void **state)
{
    (void)state;
    struct duo d = {.server = stays, .client = writes_at_2_s, .service = true};
    static const struct duo_event events[DUO_EVENTS] = {{SECOND, duo_crash_server},
                                                        {5 * SECOND, duo_restart_server}};
    duo_run_with(&d, (struct weft_link){0}, events);
    assert_int_equal(d.result, -ECONNRESET);
    assert_in_range(d.done_ns[0], 5 * SECOND, 6 * SECOND); /* the next retransmission */
}

static void crash_for_good(void **state)
{
    (void)state;
    struct duo d = {.server = stays, .client = writes_at_2_s, .service = true};
    static const struct duo_event events[DUO_EVENTS] = {{SECOND, duo_crash_server}};
    duo_run_with(&d, (struct weft_link){0}, events);
    assert_int_equal(d.result, -ETIMEDOUT);
    assert_in_range(d.done_ns[0], 2 * SECOND + GIVE_UP, 2 * SECOND + GIVE_UP + SLACK);
}

/* The reset of the restarted one has to find its way back, too. */
static void reset_does_not_pass_a_cut(void **state)
{
    (void)state;
    struct duo d = {.server = stays, .client = writes_at_2_s, .service = true};
    static const struct duo_event events[DUO_EVENTS] = {{SECOND, duo_crash_server},
                                                        {SECOND + MILLI, duo_restart_server},
                                                        {SECOND + 2 * MILLI, duo_mute_server},
                                                        {20 * SECOND, duo_heal}};
    duo_run_with(&d, (struct weft_link){0}, events);
    assert_int_equal(d.result, -ECONNRESET);
    assert_in_range(d.done_ns[0], 20 * SECOND, 40 * SECOND);
}

/* Half-closed before the crash: the end of ours is sent again and again, until it is answered. */
static int shuts_at_2_s(struct duo *d, struct weft_stream **s)
{
    sleep_to(2 * SECOND);
    CHECK_EQ(weft_shutdown(*s, WEFT_NEVER), 0);
    return sees_the_end(d, s);
}

static void end_meets_a_crash(void **state)
{
    (void)state;
    struct duo d = {.server = stays, .client = shuts_at_2_s, .service = true};
    static const struct duo_event events[DUO_EVENTS] = {{SECOND, duo_crash_server},
                                                        {5 * SECOND, duo_restart_server}};
    duo_run_with(&d, (struct weft_link){0}, events);
    assert_int_equal(d.result, -ECONNRESET);
    assert_in_range(d.done_ns[0], 5 * SECOND, 6 * SECOND);
    static const struct duo_event for_good[DUO_EVENTS] = {{SECOND, duo_crash_server}};
    d = (struct duo){.server = stays, .client = shuts_at_2_s, .service = true};
    duo_run_with(&d, (struct weft_link){0}, for_good);
    assert_int_equal(d.result, -ETIMEDOUT);
}

/* In the middle of the handshake: as if nobody had been there. */
static void crash_in_the_handshake(void **state)
{
    (void)state;
    struct duo d = {
        .server = duo_nothing, .client = duo_nothing, .from_ns = SECOND, .service = true};
    static const struct duo_event events[DUO_EVENTS] = {
        {SECOND + 3 * LATENCY / 2, duo_crash_server}, {SECOND + 3 * LATENCY, duo_restart_server}};
    duo_run_with(&d, (struct weft_link){0}, events);
    assert_int_equal(d.connected_ns - d.begun_ns, SECOND + 2 * LATENCY);
}

/* --- Partitions ------------------------------------------------------------------------------ */

static int sends_much(struct duo *d, struct weft_stream **s)
{
    stream_kit_send(*s, 0, MIB, 1);
    return sees_the_end(d, s);
}

static int takes_much(struct duo *d, struct weft_stream **s)
{
    uint8_t *buf = malloc(MIB);
    CHECK(buf != NULL);
    CHECK_EQ(weft_read_full(*s, buf, MIB, WEFT_NEVER), 0);
    stream_kit_expect(buf, 0, MIB);
    free(buf);
    d->accepted_ns = now();
    return weft_close(s, WEFT_NEVER);
}

static void partition_stalls_and_heals(void **state)
{
    (void)state;
    struct duo d = {.server = takes_much, .client = sends_much};
    static const struct duo_event events[DUO_EVENTS] = {{50 * MILLI, duo_part},
                                                        {20 * SECOND, duo_heal}};
    duo_run_with(&d, (struct weft_link){0}, events);
    assert_int_equal(d.result, 0);
    assert_in_range(d.accepted_ns, 20 * SECOND, 40 * SECOND);
}

static void partition_is_given_up(void **state)
{
    (void)state;
    struct duo d = {.server = stays, .client = writes_at_2_s, .service = true};
    static const struct duo_event events[DUO_EVENTS] = {{SECOND, duo_part}};
    duo_run_with(&d, (struct weft_link){0}, events);
    assert_int_equal(d.result, -ETIMEDOUT);
    assert_in_range(d.done_ns[0], 2 * SECOND + GIVE_UP, 2 * SECOND + GIVE_UP + SLACK);
}

/* --- Options --------------------------------------------------------------------------------- */

static void user_timeout(void **state)
{
    (void)state;
    struct duo d = {.server = stays,
                    .client = writes_at_2_s,
                    .dial = {.user_timeout_ms = 5000},
                    .service = true};
    static const struct duo_event events[DUO_EVENTS] = {{SECOND, duo_part}};
    duo_run_with(&d, (struct weft_link){0}, events);
    assert_int_equal(d.result, -ETIMEDOUT);
    assert_in_range(d.done_ns[0], 7 * SECOND, 7 * SECOND + SLACK);
}

/* Nothing is written, so only probes find out: after 10 s, and then nine more, 10 s apart. */
static void keepalive(void **state)
{
    (void)state;
    static const struct {
        struct duo_event events[DUO_EVENTS];
        int error;
        int64_t from_ns, to_ns;
    } cases[] = {
        {{{5 * SECOND, duo_part}}, -ETIMEDOUT, 99 * SECOND, 101 * SECOND},
        {{{5 * SECOND, duo_crash_server}}, -ETIMEDOUT, 99 * SECOND, 101 * SECOND},
        {{{5 * SECOND, duo_crash_server}, {25 * SECOND, duo_restart_server}},
         -ECONNRESET,
         29 * SECOND,
         31 * SECOND},
        {{{5 * SECOND, duo_part}, {85 * SECOND, duo_heal}, {120 * SECOND, duo_crash_server}},
         -ETIMEDOUT,
         180 * SECOND,
         230 * SECOND},
    };
    for (size_t i = 0; i < WEFT__ARRAY_LEN(cases); i++) {
        struct duo d = {
            .server = stays, .client = sees_the_end, .dial = {.keepalive_s = 10}, .service = true};
        duo_run_with(&d, (struct weft_link){0}, cases[i].events);
        assert_int_equal(d.result, cases[i].error);
        assert_in_range(d.done_ns[0], cases[i].from_ns, cases[i].to_ns);
    }
}

/* Set before there is a connection it counts as well. */
static int connects_by_hand(void *arg)
{
    struct duo *d = arg;
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons(80)};
    struct weft_stream *s = NULL;
    int on = 1, idle = 20, interval = 3, count = 4;
    sa.sin_addr.s_addr = htonl(0x0a000001); /* the first host */
    int fd = raw_socket(AF_INET, SOCK_STREAM);
    CHECK_EQ(raw_setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on), 0);
    CHECK_EQ(raw_setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle), 0);
    CHECK_EQ(raw_setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof interval), 0);
    CHECK_EQ(raw_setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof count), 0);
    CHECK_EQ(raw_set_nonblock(fd, true), 0);
    CHECK_EQ(raw_connect(fd, (struct sockaddr *)(void *)&sa, sizeof sa), -1);
    CHECK_EQ(errno, EINPROGRESS);
    CHECK_EQ(weft_poll(fd, POLLOUT, WEFT_NEVER), POLLOUT);
    CHECK_EQ(weft_stream_from_fd(&s, fd), 0);
    d->result = duo_read_all(d, &s);
    d->done_ns[0] = now();
    weft_abort(&s);
    return 0;
}

static void keepalive_before_connect(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 4; seed++) {
        struct duo d = {.server = stays};
        struct weft_sim_host_options o = {.service = true};
        sim_kit_open(&d.k, seed);
        assert_int_equal(weft_sim_host_with(d.k.sim, "server", &o, duo_server, &d), 0);
        assert_int_equal(weft_sim_host(d.k.sim, "client", connects_by_hand, &d), 0);
        assert_int_equal(weft_sim_at(d.k.sim, 5 * SECOND, duo_part, NULL), 0);
        duo_close(&d);
        assert_int_equal(d.result, -ETIMEDOUT);
        assert_in_range(d.done_ns[0], 32 * SECOND, 32 * SECOND + SLACK);
    }
}

/* The writer's window is closed, and what would open it does not come through. */
static int writes_against_a_wall(struct duo *d, struct weft_stream **s)
{
    static char much[MIB];
    (void)duo_fill(weft_stream_fd(*s));
    CHECK(now() < 5 * SECOND);
    d->result = weft_write(*s, much, sizeof much, WEFT_NEVER);
    return 0;
}

static int reads_in_vain(struct duo *d, struct weft_stream **s)
{
    sleep_to(6 * SECOND);
    return stays(d, s);
}

static void window_does_not_pass_a_cut(void **state)
{
    (void)state;
    static const struct duo_event events[DUO_EVENTS] = {{5 * SECOND, duo_part}};
    struct duo d = {.server = reads_in_vain,
                    .client = writes_against_a_wall,
                    .dial = {.user_timeout_ms = 10000},
                    .service = true};
    duo_run_with(&d, (struct weft_link){0}, events);
    assert_int_equal(d.result, -ETIMEDOUT);
    assert_in_range(d.done_ns[0], 16 * SECOND, 16 * SECOND + 3 * SLACK);
}

/* One side has given up; what the other says once the network is whole again meets a reset. */
static int gives_up_and_stays(struct duo *d, struct weft_stream **s)
{
    CHECK_EQ(writes_at_2_s(d, s), 0);
    CHECK_EQ(d->result, -ETIMEDOUT);
    sleep_to(60 * SECOND); /* its descriptor is open still */
    return 0;
}

static int writes_at_30_s(struct duo *d, struct weft_stream **s)
{
    const void *data;
    sleep_to(30 * SECOND);
    CHECK_EQ(weft_write(*s, "there?", 6, WEFT_NEVER), 0);
    CHECK_EQ(weft_flush(*s, WEFT_NEVER), 0);
    d->accepted_ns = -now();
    CHECK_EQ(weft_peek(*s, &data, WEFT_NEVER), -ECONNRESET);
    d->accepted_ns += now();
    return 0;
}

static void who_has_given_up_resets(void **state)
{
    (void)state;
    static const struct duo_event events[DUO_EVENTS] = {{SECOND, duo_part},
                                                        {20 * SECOND, duo_heal}};
    struct duo d = {
        .server = writes_at_30_s, .client = gives_up_and_stays, .dial = {.user_timeout_ms = 3000}};
    duo_run_with(&d, (struct weft_link){0}, events);
    assert_int_equal(d.accepted_ns, 2 * LATENCY);
}

/* Without it nobody ever hears of the other's end: the deadline is the reader's own. */
static int reads_for_a_day(struct duo *d, struct weft_stream **s)
{
    char c;
    d->result = (int)weft_read(*s, &c, 1, weft_after_s(5000));
    return 0;
}

static void without_keepalive(void **state)
{
    (void)state;
    struct duo d = {.server = stays, .client = reads_for_a_day, .service = true};
    static const struct duo_event events[DUO_EVENTS] = {{SECOND, duo_crash_server},
                                                        {5 * SECOND, duo_restart_server}};
    duo_run_with(&d, (struct weft_link){0}, events);
    assert_int_equal(d.result, -ETIMEDOUT);
    assert_in_range(d.done_ns[0], 5000 * SECOND, 5001 * SECOND);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(abort_is_a_reset),
        cmocka_unit_test(close_with_unread_bytes_resets),
        cmocka_unit_test(host_that_has_ended),
        cmocka_unit_test(writes_after_the_end_meet_a_reset),
        cmocka_unit_test(reset_behind_the_end),
        cmocka_unit_test(ends_of_both_disconnect),
        cmocka_unit_test(crash_and_restart),
        cmocka_unit_test(crash_for_good),
        cmocka_unit_test(reset_does_not_pass_a_cut),
        cmocka_unit_test(end_meets_a_crash),
        cmocka_unit_test(crash_in_the_handshake),
        cmocka_unit_test(partition_stalls_and_heals),
        cmocka_unit_test(partition_is_given_up),
        cmocka_unit_test(user_timeout),
        cmocka_unit_test(keepalive),
        cmocka_unit_test(without_keepalive),
        cmocka_unit_test(keepalive_before_connect),
        cmocka_unit_test(window_does_not_pass_a_cut),
        cmocka_unit_test(who_has_given_up_resets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
