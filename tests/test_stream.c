/* SPDX-License-Identifier: MIT */
/* What every stream does: bytes in order, all ways of reading, ends, half-closes, facts. */
#include "stream_kit.h"

#include "driver_call.h"

#define MIB ((size_t)1 << 20)

/* --- Bytes in order -------------------------------------------------------------------------- */

#define ORDER_BYTES (RUNNING_ON_VALGRIND ? MIB / 2 : KIT_SLOW ? 2 * MIB : 8 * MIB)

static int send_it(void *arg)
{
    stream_kit_send(arg, 17, ORDER_BYTES, 101);
    return 0;
}

static int receive_it(void *arg)
{
    stream_kit_receive(arg, 17, ORDER_BYTES, 103);
    return 0;
}

static int send_then_receive(void *arg)
{
    send_it(arg);
    return receive_it(arg);
}

static int receive_then_send(void *arg)
{
    receive_it(arg);
    return send_it(arg);
}

static void in_order(const struct stream_kit *k)
{
    struct stream_pair p = stream_kit_pair(k);
    stream_kit_both(&p, send_then_receive, receive_then_send);
    CHECK_EQ(weft_stream_bytes_out(p.a), ORDER_BYTES);
    CHECK_EQ(weft_stream_bytes_in(p.a), ORDER_BYTES);
    CHECK_EQ(weft_stream_bytes_out(p.b), ORDER_BYTES);
    CHECK_EQ(weft_stream_bytes_in(p.b), ORDER_BYTES);
    stream_kit_close(&p);
}

/* Both ways at once: a reader and a writer on each end. */
static void both_ways(const struct stream_kit *k)
{
    struct stream_pair p = stream_kit_pair(k);
    struct weft_group *g = kit_group();
    kit_go(g, "a out", send_it, p.a);
    kit_go(g, "a in", receive_it, p.a);
    kit_go(g, "b out", send_it, p.b);
    kit_go(g, "b in", receive_it, p.b);
    CHECK_EQ(weft_group_wait(g, weft_after_s(120)), 0);
    CHECK_EQ(weft_group_close(&g), 0);
    stream_kit_close(&p);
}

/* --- All ways of reading, mixed -------------------------------------------------------------- */

#define MIX_BYTES (RUNNING_ON_VALGRIND ? MIB / 8 : KIT_SLOW ? MIB / 2 : 2 * MIB)

static size_t by_read_full(struct weft_stream *s, uint64_t at, size_t left, uint64_t *seed)
{
    static _Thread_local uint8_t buf[1 << 17];
    size_t n = stream_kit_size(seed, left);
    uint8_t *to = stream_kit_random(seed) % 2 ? buf : malloc(n);
    CHECK_EQ(weft_read_full(s, to, n, WEFT_NEVER), 0);
    stream_kit_expect(to, at, n);
    if (to != buf)
        free(to);
    return n;
}

static size_t by_peek(struct weft_stream *s, uint64_t at, size_t left, uint64_t *seed)
{
    const void *data = NULL, *again = NULL;
    size_t min = weft__min_size(stream_kit_size(seed, left), 65536);
    bool min_given = stream_kit_random(seed) % 2 == 0;
    ssize_t n = min_given ? weft_peek_min(s, &data, min, weft_after_s(60))
                          : weft_peek(s, &data, weft_after_s(60));
    CHECK(n >= (ssize_t)(min_given ? min : 1));
    CHECK((size_t)n <= left);
    stream_kit_expect(data, at, (size_t)n);
    CHECK_EQ(weft_peek(s, &again, WEFT_NEVER), n);
    CHECK(again == data);
    size_t used = stream_kit_random(seed) % (uint32_t)(n + 1);
    weft_consume(s, used);
    return used;
}

static size_t by_read_until(struct weft_stream *s, uint64_t at, size_t left, uint64_t *seed)
{
    char line[STREAM_KIT_LINE_MAX];
    size_t cap = stream_kit_size(seed, sizeof line);
    size_t want = stream_kit_line(at);
    ssize_t n = weft_read_until(s, line, cap, '\n', weft_after_s(60));
    if (want > left) { /* the text breaks off within this line */
        CHECK_EQ(n, left >= cap ? WEFT_ETOOLONG : WEFT_EEOF);
        return 0;
    }
    if (want > cap) {
        CHECK_EQ(n, WEFT_ETOOLONG);
        return 0;
    }
    CHECK_EQ(n, want);
    stream_kit_expect(line, at, want);
    return want;
}

static size_t by_read_record(struct weft_stream *s, uint64_t at, size_t left, uint64_t *seed)
{
    static const struct weft_framing line = {.kind = WEFT_FRAMING_LINE, .max = STREAM_KIT_LINE_MAX};
    size_t want = stream_kit_line(at), len = 0;
    const void *record = NULL;
    (void)seed;
    int n = weft_read_record(s, &line, &record, &len, weft_after_s(60));
    if (want > left) {
        CHECK_EQ(n, WEFT_EEOF);
        return 0;
    }
    CHECK_EQ(n, 1);
    CHECK_EQ(len, want - 1);
    stream_kit_expect(record, at, len);
    return want;
}

static int read_mixed(void *arg)
{
    struct weft_stream *s = arg;
    uint64_t seed = 7, at = 0;
    while (at < MIX_BYTES) {
        size_t left = MIX_BYTES - (size_t)at, n;
        switch (stream_kit_random(&seed) % 5) {
        case 0:
            n = by_read_full(s, at, left, &seed);
            break;
        case 1:
            n = by_peek(s, at, left, &seed);
            break;
        case 2:
            n = by_read_until(s, at, left, &seed);
            break;
        case 3:
            n = by_read_record(s, at, left, &seed);
            break;
        default:
            n = stream_kit_size(&seed, left);
            stream_kit_receive(s, at, n, seed);
            break;
        }
        at += n;
    }
    char c;
    CHECK_EQ(weft_read(s, &c, 1, weft_after_s(60)), 0);
    return 0;
}

static int send_mixed(void *arg)
{
    struct weft_stream *s = arg;
    stream_kit_send(s, 0, MIX_BYTES, 9);
    return weft_shutdown(s, weft_after_s(60));
}

static void mixed_reading(const struct stream_kit *k)
{
    struct stream_pair p = stream_kit_pair(k);
    stream_kit_both(&p, send_mixed, read_mixed);
    CHECK_EQ(weft_stream_bytes_in(p.b), MIX_BYTES);
    stream_kit_close(&p);
}

/* --- Small things ---------------------------------------------------------------------------- */

static void empty_writes(const struct stream_kit *k)
{
    struct stream_pair p = stream_kit_pair(k);
    struct iovec none[2] = {{NULL, 0}, {NULL, 0}};
    char buf[8];
    CHECK_EQ(weft_write(p.a, "", 0, WEFT_NEVER), 0);
    CHECK_EQ(weft_writev(p.a, NULL, 0, WEFT_NEVER), 0);
    CHECK_EQ(weft_writev(p.a, none, 2, WEFT_NEVER), 0);
    CHECK_EQ(weft_printf(p.a, WEFT_NEVER, "%s", ""), 0);
    CHECK_EQ(weft_flush(p.a, WEFT_NEVER), 0);
    CHECK_EQ(weft_stream_bytes_out(p.a), 0);
    CHECK_EQ(weft_write(p.a, "x", 1, WEFT_NEVER), 0);
    CHECK_EQ(weft_flush(p.a, WEFT_NEVER), 0);
    CHECK_EQ(weft_read(p.b, buf, sizeof buf, weft_after_s(60)), 1);
    CHECK_EQ(weft_read(p.b, buf, 0, WEFT_NEVER), -EINVAL);
    CHECK_EQ(weft_read_full(p.b, buf, 0, WEFT_NEVER), 0);
    CHECK_EQ(weft_read_until(p.b, buf, 0, 'x', WEFT_NEVER), -EINVAL);
    CHECK_EQ(weft_writev(p.a, none, -1, WEFT_NEVER), -EINVAL);
    CHECK_EQ(weft_writev(p.a, none, 2000, WEFT_NEVER), -EINVAL);
    stream_kit_close(&p);
}

/* More pieces than have room on the stack, some of them empty; small and large together. */
static void many_pieces(const struct stream_kit *k)
{
    enum { N = 100 };
    struct stream_pair p = stream_kit_pair(k);
    struct iovec iov[N];
    static uint8_t text[N * 1000], back[N * 1000];
    for (size_t size = 7; size <= 70; size += 63) { /* joined, then direct where there is a loop */
        size_t total = 0;
        stream_kit_fill(text, 0, sizeof text);
        for (size_t i = 0; i < N; i++) {
            size_t len = i % 3 == 1 ? 0 : size + i;
            iov[i] = (struct iovec){text + total, len};
            total += len;
        }
        CHECK_EQ(weft_writev(p.a, iov, N, WEFT_NEVER), 0);
        for (size_t i = 0, at = 0; i < N; at += iov[i++].iov_len)
            CHECK(iov[i].iov_base == text + at); /* the caller's array is not touched */
        CHECK_EQ(weft_flush(p.a, WEFT_NEVER), 0);
        CHECK_EQ(weft_read_full(p.b, back, total, weft_after_s(60)), 0);
        stream_kit_expect(back, 0, total);
    }
    stream_kit_close(&p);
}

static void long_printf(const struct stream_kit *k)
{
    struct stream_pair p = stream_kit_pair(k);
    static char text[5001], back[20000];
    memset(text, 'x', sizeof text - 1);
    for (int len = 500; len <= 520; len++) {
        CHECK_EQ(weft_printf(p.a, WEFT_NEVER, "%.*s|%d", len, text, len), 0);
        CHECK_EQ(weft_flush(p.a, WEFT_NEVER), 0);
        CHECK_EQ(weft_read_full(p.b, back, (size_t)len + 4, weft_after_s(60)), 0);
        CHECK(memcmp(back, text, (size_t)len) == 0);
        CHECK_EQ(back[len], '|');
        CHECK_EQ(strtol(back + len + 1, NULL, 10), len);
        memset(back, 0, sizeof back);
    }
    CHECK_EQ(weft_printf(p.a, WEFT_NEVER, "%s%s%s", text, text, text), 0);
    CHECK_EQ(weft_flush(p.a, WEFT_NEVER), 0);
    CHECK_EQ(weft_read_full(p.b, back, 15000, weft_after_s(60)), 0);
    CHECK(memchr(back, 'y', 15000) == NULL);
    stream_kit_close(&p);
}

static void limits_of_peek(const struct stream_kit *k)
{
    struct stream_pair p = stream_kit_pair(k);
    const void *data = NULL;
    CHECK_EQ(weft_peek_min(p.b, &data, 0, WEFT_NEVER), -EINVAL);
    CHECK_EQ(weft_peek_min(p.b, &data, 65537, WEFT_NEVER), -EINVAL);
    CHECK(data == NULL);
    weft_consume(p.b, 0);
    stream_kit_close(&p);
}

/* --- Ends ------------------------------------------------------------------------------------ */

static void expect_end(struct weft_stream *s)
{
    static const struct weft_framing line = {.kind = WEFT_FRAMING_LINE};
    char buf[8];
    const void *data = NULL;
    size_t len = 99;
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(weft_read(s, buf, sizeof buf, weft_after_s(60)), 0);
        CHECK_EQ(weft_peek(s, &data, weft_after_s(60)), 0);
        CHECK_EQ(weft_peek_min(s, &data, 10, weft_after_s(60)), 0);
        CHECK_EQ(weft_read_until(s, buf, sizeof buf, 'x', weft_after_s(60)), 0);
        CHECK_EQ(weft_read_record(s, &line, &data, &len, weft_after_s(60)), 0);
        CHECK_EQ(weft_read_full(s, buf, 1, weft_after_s(60)), WEFT_EEOF);
    }
    CHECK(data == NULL && len == 99);
}

static void clean_end(const struct stream_kit *k)
{
    struct stream_pair p = stream_kit_pair(k);
    CHECK_EQ(weft_close(&p.a, WEFT_NEVER), 0);
    CHECK(p.a == NULL);
    CHECK_EQ(weft_close(&p.a, WEFT_NEVER), 0);
    weft_abort(&p.a);
    expect_end(p.b);
    stream_kit_close(&p);
}

/* The end within something: told, and what came is still there. */
static void end_within(const struct stream_kit *k)
{
    static const struct weft_framing line = {.kind = WEFT_FRAMING_LINE};
    struct stream_pair p = stream_kit_pair(k);
    const void *data = NULL;
    size_t len;
    char buf[8] = "";
    CHECK_EQ(weft_write(p.a, "abc", 3, WEFT_NEVER), 0);
    CHECK_EQ(weft_close(&p.a, WEFT_NEVER), 0);
    CHECK_EQ(weft_peek_min(p.b, &data, 4, weft_after_s(60)), WEFT_EEOF);
    CHECK_EQ(weft_read_until(p.b, buf, sizeof buf, '\n', weft_after_s(60)), WEFT_EEOF);
    CHECK_EQ(weft_read_record(p.b, &line, &data, &len, weft_after_s(60)), WEFT_EEOF);
    CHECK(data == NULL);
    CHECK_EQ(weft_peek(p.b, &data, weft_after_s(60)), 3);
    CHECK(memcmp(data, "abc", 3) == 0);
    CHECK_EQ(weft_read_full(p.b, buf, 5, weft_after_s(60)), WEFT_EEOF);
    CHECK(memcmp(buf, "abc", 3) == 0); /* documented: what was read is in the buffer */
    expect_end(p.b);
    stream_kit_close(&p);
}

#define HALF_BYTES (4 * MIB)

static int half_close_a(void *arg)
{
    struct weft_stream *s = arg;
    stream_kit_send(s, 3, HALF_BYTES, 5);
    CHECK_EQ(weft_shutdown(s, weft_after_s(60)), 0);
    CHECK_EQ(weft_shutdown(s, weft_after_s(60)), 0);
    CHECK_EQ(weft_write(s, "x", 1, WEFT_NEVER), WEFT_ECLOSED);
    CHECK_EQ(weft_printf(s, WEFT_NEVER, "x"), WEFT_ECLOSED);
    CHECK_EQ(weft_flush(s, WEFT_NEVER), 0);
    stream_kit_receive(s, 11, HALF_BYTES, 6);
    expect_end(s);
    return 0;
}

static int half_close_b(void *arg)
{
    struct weft_stream *s = arg;
    stream_kit_receive(s, 3, HALF_BYTES, 8);
    expect_end(s);
    stream_kit_send(s, 11, HALF_BYTES, 4);
    return weft_shutdown(s, weft_after_s(60));
}

static void half_close(const struct stream_kit *k)
{
    struct stream_pair p = stream_kit_pair(k);
    stream_kit_both(&p, half_close_a, half_close_b);
    stream_kit_close(&p);
}

/* --- Facts ----------------------------------------------------------------------------------- */

static void facts(const struct stream_kit *k)
{
    struct stream_pair p = stream_kit_pair(k);
    struct weft_address peer, local;
    CHECK_EQ(weft_stream_fd(p.a) >= 0, !k->maker->memory);
    CHECK_EQ(weft_stream_label(p.a, "a stream of more than thirty-one bytes"), 0);
    CHECK_EQ(weft_stream_label(p.a, "short"), 0);
    if (k->maker->memory) {
        CHECK_EQ(weft_stream_peer(p.a, &peer), -EOPNOTSUPP);
        CHECK_EQ(weft_stream_local(p.a, &local), -EOPNOTSUPP);
    } else {
        CHECK_EQ(weft_stream_local(p.a, &local), 0);
        CHECK_EQ(weft_stream_peer(p.b, &peer), 0);
        CHECK_EQ(weft_address_equal(&local, &peer), k->maker->tcp);
    }
    if (k->maker->tcp) {
        CHECK_EQ(weft_stream_peer(p.a, &peer), 0);
        CHECK_EQ(weft_stream_local(p.b, &local), 0);
        CHECK(weft_address_equal(&local, &peer));
    }
    stream_kit_close(&p);
}

static void of_two_ends(const struct stream_kit *k)
{
    int fds[2];
    char buf[8];
    const void *data = NULL;
    struct weft_stream *in = NULL, *out = NULL;
    CHECK_EQ(raw_pipe(fds), 0);
    CHECK_EQ(weft_stream_from_fd(&in, fds[0]), 0);
    CHECK_EQ(weft_stream_from_fd(&out, fds[1]), 0);
    CHECK_EQ(weft_read(in, buf, sizeof buf, weft_after_ms(5)), -ETIMEDOUT);
    CHECK_EQ(weft_write(out, "hello", 5, WEFT_NEVER), 0);
    CHECK_EQ(weft_flush(out, WEFT_NEVER), 0);
    CHECK_EQ(weft_peek_min(in, &data, 5, weft_after_s(60)), 5);
    CHECK(memcmp(data, "hello", 5) == 0);
    weft_consume(in, 5);
    CHECK_EQ(weft_shutdown(out, WEFT_NEVER), -ENOTSOCK);
    CHECK_EQ(weft_close(&out, WEFT_NEVER), 0);
    expect_end(in);
    CHECK_EQ(weft_close(&in, WEFT_NEVER), 0);
    CHECK_EQ(weft_stream_from_fd(&in, 1 << 20), k->sim ? WEFT_EOUTSIDE : -EBADF);
    CHECK(in == NULL);
}

static int pipe_writer(void *arg)
{
    stream_kit_send(arg, 1, MIB, 3);
    return 0;
}

static int pipe_reader(void *arg)
{
    stream_kit_receive(arg, 1, MIB, 3);
    return 0;
}

/* A pipe of the kernel, through read(2) and write(2). */
static void over_a_pipe(const struct stream_kit *k)
{
    int fds[2];
    struct stream_pair p = {NULL, NULL};
    (void)k;
    CHECK_EQ(raw_pipe(fds), 0);
    CHECK_EQ(weft_stream_from_fd(&p.b, fds[0]), 0);
    CHECK_EQ(weft_stream_from_fd(&p.a, fds[1]), 0);
    stream_kit_both(&p, pipe_writer, pipe_reader);
    stream_kit_close(&p);
}

static const struct stream_case cases[] = {
    STREAM_CASE(in_order, 0),
    STREAM_CASE(both_ways, STREAM_KIT_LOOP),
    STREAM_CASE(mixed_reading, 0),
    STREAM_CASE(empty_writes, 0),
    STREAM_CASE(many_pieces, 0),
    STREAM_CASE(long_printf, 0),
    STREAM_CASE(limits_of_peek, 0),
    STREAM_CASE(clean_end, 0),
    STREAM_CASE(end_within, 0),
    STREAM_CASE(half_close, 0),
    STREAM_CASE(facts, 0),
    STREAM_CASE(of_two_ends, STREAM_KIT_ONCE),
    STREAM_CASE(over_a_pipe, STREAM_KIT_ONCE),
};
STREAM_KIT_MAIN(cases)
