/* SPDX-License-Identifier: MIT */
/* Streams whose waits are cut short: time-outs, cancels, a second reader, closes and aborts. */
#include "stream_kit.h"

#include <sys/socket.h>

#include "driver_call.h"
#include "net/stream.h"

#define MIB ((size_t)1 << 20)

static const struct weft_framing line = {.kind = WEFT_FRAMING_LINE};

static weft_deadline soon(void)
{
    return weft_after_ms(3);
}

/* --- Every reading call, one after the other, on a stream that holds "ab" or nothing --------- */

static int read_it(struct weft_stream *s, weft_deadline d)
{
    char buf[16];
    return (int)weft_read(s, buf, sizeof buf, d);
}

static int read_full_it(struct weft_stream *s, weft_deadline d)
{
    char buf[16];
    return weft_read_full(s, buf, sizeof buf, d);
}

static int read_until_it(struct weft_stream *s, weft_deadline d)
{
    char buf[16];
    return (int)weft_read_until(s, buf, sizeof buf, '\n', d);
}

static int peek_it(struct weft_stream *s, weft_deadline d)
{
    const void *data;
    return (int)weft_peek(s, &data, d);
}

static int peek_min_it(struct weft_stream *s, weft_deadline d)
{
    const void *data;
    return (int)weft_peek_min(s, &data, 16, d);
}

static int read_record_it(struct weft_stream *s, weft_deadline d)
{
    const void *data;
    size_t len;
    return weft_read_record(s, &line, &data, &len, d);
}

typedef int (*reading)(struct weft_stream *s, weft_deadline d);
/* The first two end with any byte; the rest wait for more than "ab". */
static const reading readings[] = {read_it,       peek_it,     read_full_it,
                                   read_until_it, peek_min_it, read_record_it};
#define READINGS (sizeof readings / sizeof readings[0])
#define ANY_BYTE 2

static void write_now(struct weft_stream *s, const char *text)
{
    CHECK_EQ(weft_write(s, text, strlen(text), WEFT_NEVER), 0);
    CHECK_EQ(weft_flush(s, WEFT_NEVER), 0);
}

static void expect_text(struct weft_stream *s, const char *text)
{
    char buf[64];
    CHECK_EQ(weft_read_full(s, buf, strlen(text), weft_after_s(60)), 0);
    CHECK(memcmp(buf, text, strlen(text)) == 0);
}

static void timeouts(const struct stream_kit *k)
{
    struct stream_pair p = stream_kit_pair(k);
    for (size_t i = 0; i < READINGS; i++) {
        CHECK_EQ(readings[i](p.b, soon()), -ETIMEDOUT);
        CHECK_EQ(readings[i](p.b, WEFT_NOW), -ETIMEDOUT);
        write_now(p.a, "ab");
        if (i >= ANY_BYTE) {
            CHECK_EQ(readings[i](p.b, soon()), -ETIMEDOUT);
            CHECK_EQ(readings[i](p.b, WEFT_NOW), -ETIMEDOUT);
        }
        expect_text(p.b, "ab");
    }
    stream_kit_close(&p);
}

/* All that was written has come. */
static void await(const struct stream_kit *k, struct weft_stream *s)
{
    if (k->maker->tcp)
        CHECK(weft_stream_fd(s) >= 0 && weft_poll(weft_stream_fd(s), POLLIN, WEFT_NEVER));
    if (k->maker->link) /* it may come in pieces, and nobody can see when it is complete */
        CHECK_EQ(weft_sleep_ms(50), 0);
}

/* A deadline that has passed takes what is there already. */
static void now_takes_what_is_there(const struct stream_kit *k)
{
    struct stream_pair p = stream_kit_pair(k);
    char buf[4];
    for (int i = 0; i < 20; i++) {
        if (i % 2)
            CHECK_EQ(read_it(p.b, WEFT_NOW), -ETIMEDOUT);
        write_now(p.a, "abc");
        await(k, p.b);
        CHECK_EQ(weft_read(p.b, buf, sizeof buf, WEFT_NOW), 3);
        write_now(p.a, "abc");
        await(k, p.b);
        CHECK_EQ(peek_it(p.b, WEFT_NOW), 3);
        weft_consume(p.b, 3);
    }
    stream_kit_close(&p);
}

/* And writes what there is room for, at once, though the kernel has a thread of its own for it. */
static void now_writes_where_there_is_room(const struct stream_kit *k)
{
    static char bytes[16384];
    struct weft_stream *in = NULL, *out = NULL;
    int fds[2];
    (void)k;
    CHECK_EQ(raw_pipe(fds), 0);
    CHECK_EQ(weft_stream_from_fd(&in, fds[0]), 0);
    CHECK_EQ(weft_stream_from_fd(&out, fds[1]), 0);
    for (int i = 0; i < 20; i++) {
        weft_deadline d = i % 2 == 0 ? WEFT_NOW : weft_after_ms(0);
        CHECK_EQ(weft_write(out, bytes, sizeof bytes, d), 0);
        CHECK_EQ(weft_read_full(in, bytes, sizeof bytes, weft_after_s(60)), 0);
    }
    int full = 0;
    while (full == 0)
        full = weft_write(out, bytes, sizeof bytes, WEFT_NOW);
    CHECK_EQ(full, -ETIMEDOUT);
    CHECK_EQ(weft_close(&in, WEFT_NEVER), 0);
    (void)weft_close(&out, WEFT_NEVER); /* it may have written a part */
}

/* --- Cancels --------------------------------------------------------------------------------- */

struct cut {
    struct weft_stream *s;
    reading call;
};

static int be_cut(void *arg)
{
    struct cut *c = arg;
    CHECK_EQ(c->call(c->s, WEFT_NEVER), -ECANCELED);
    CHECK_EQ(c->call(c->s, WEFT_NEVER), -ECANCELED);
    return 0;
}

static void cancel_it(struct cut *c, bool settle)
{
    struct weft_group *g = kit_group();
    kit_go(g, "cut", be_cut, c);
    if (settle)
        kit_settle();
    weft_group_cancel(g);
    CHECK_EQ(weft_group_close(&g), 0);
}

static void canceled_reads_lose_nothing(const struct stream_kit *k)
{
    struct stream_pair p = stream_kit_pair(k);
    for (size_t i = 0; i < 2 * READINGS; i++) {
        struct cut c = {p.b, readings[i % READINGS]};
        cancel_it(&c, i < READINGS && stream_kit_on_loop(k));
        if (i % READINGS < ANY_BYTE) {
            write_now(p.a, "ab");
        } else {
            write_now(p.a, "ab");
            cancel_it(&c, i < READINGS && stream_kit_on_loop(k));
        }
        expect_text(p.b, "ab");
    }
    stream_kit_close(&p);
}

static int write_much(struct weft_stream *s, weft_deadline d)
{
    static char much[16 * MIB];
    return weft_write(s, much, sizeof much, d);
}

static int writev_much(struct weft_stream *s, weft_deadline d)
{
    static char much[8 * MIB];
    struct iovec iov[2] = {{much, sizeof much}, {much, sizeof much}};
    return weft_writev(s, iov, 2, d);
}

static int write_and_flush(struct weft_stream *s, weft_deadline d)
{
    static char some[1000];
    int err = 0;
    while (err == 0)
        err = weft_write(s, some, sizeof some, d);
    return err;
}

static void drain(struct weft_stream *s, uint64_t want)
{
    const void *data;
    uint64_t got = 0;
    ssize_t n;
    while ((n = weft_peek(s, &data, weft_after_s(60))) > 0) {
        got += (uint64_t)n;
        weft_consume(s, (size_t)n);
    }
    CHECK_EQ(n, 0);
    CHECK_EQ(got, want);
}

/* A secured stream vouches for an end only when everything before it was sent. */
static void expect_no_clean_end(struct weft_stream *s)
{
    const void *data;
    ssize_t n;
    while ((n = weft_peek(s, &data, weft_after_s(60))) > 0)
        weft_consume(s, (size_t)n);
    CHECK(n == WEFT_EEOF || n == -ECONNRESET);
}

/* A large write that is cut off has gone in part: no more may follow it. */
static void poisoned(const struct stream_kit *k)
{
    static const reading writes[] = {write_much, writev_much};
    for (size_t i = 0; i < 4; i++) {
        struct stream_pair p = stream_kit_pair(k);
        if (i < 2) {
            CHECK_EQ(writes[i](p.a, weft_after_ms(20)), -ETIMEDOUT);
        } else {
            struct weft_group *g = kit_group();
            struct cut c = {p.a, writes[i - 2]};
            kit_go(g, "cut", be_cut, &c);
            while (stream_kit_on_loop(k) && p.a->writer == NULL)
                CHECK_EQ(weft_yield(), 0);
            weft_group_cancel(g);
            CHECK_EQ(weft_group_close(&g), 0);
        }
        if (weft_stream_bytes_out(p.a) > 0) { /* a thread may have been cancelled before */
            CHECK_EQ(weft_write(p.a, "x", 1, WEFT_NEVER), WEFT_EPOISONED);
            CHECK_EQ(weft_flush(p.a, WEFT_NEVER), WEFT_EPOISONED);
            CHECK_EQ(weft_shutdown(p.a, WEFT_NEVER), WEFT_EPOISONED);
        }
        uint64_t sent = weft_stream_bytes_out(p.a);
        int err = weft_close(&p.a, WEFT_NEVER);
        /* A part of a record may have gone that holds no whole byte. */
        CHECK(err == WEFT_EPOISONED || (err == 0 && sent == 0));
        CHECK(k->maker->tls || (err == 0) == (sent == 0));
        if (k->maker->tls && err != 0)
            expect_no_clean_end(p.b);
        else
            drain(p.b, sent);
        stream_kit_close(&p);
    }
}

/* Fills everything between the two, until nothing has moved on by itself for a while, then tries to
 * write; false: on a slow machine some went after all. */
static bool cut_before_the_first_byte(const struct stream_kit *k, int quiet_ms)
{
    struct stream_pair p = stream_kit_pair(k);
    static char much[65536];
    if (k->maker->memory)
        CHECK_EQ(weft_write(p.a, much, sizeof much, WEFT_NEVER), 0);
    else
        do {
            while (raw_send(weft_stream_fd(p.a), much, sizeof much, MSG_DONTWAIT) > 0) {
            }
            CHECK_EQ(weft_sleep_ms(quiet_ms), 0);
        } while (raw_send(weft_stream_fd(p.a), much, sizeof much, MSG_DONTWAIT) > 0);
    uint64_t before = weft_stream_bytes_out(p.a) + weft__out_queued(p.a);
    CHECK_EQ(write_much(p.a, soon()), -ETIMEDOUT);
    bool clean = weft_stream_bytes_out(p.a) + weft__out_queued(p.a) == before;
    if (clean) {
        CHECK_EQ(p.a->error, 0);
        CHECK_EQ(write_much(p.a, WEFT_NOW), -ETIMEDOUT);
        const void *data;
        CHECK(weft_peek(p.b, &data, WEFT_NEVER) > 0);
    }
    weft_abort(&p.a);
    stream_kit_close(&p);
    return clean;
}

/* A cut-off before the first byte does no harm. */
static void not_poisoned(const struct stream_kit *k)
{
    int tries = 0;
    while (!cut_before_the_first_byte(k, 2 + 10 * tries))
        CHECK(++tries < 50);
}

/* --- Two at once ----------------------------------------------------------------------------- */

static int read_for_long(void *arg)
{
    char buf[4];
    CHECK_EQ(weft_read(arg, buf, sizeof buf, WEFT_NEVER), 2);
    return 0;
}

static int write_for_long(void *arg)
{
    CHECK_EQ(write_much(arg, WEFT_NEVER), -ECANCELED);
    return 0;
}

static void second_reader_and_writer(const struct stream_kit *k)
{
    struct stream_pair p = stream_kit_pair(k);
    struct weft_group *readers = kit_group(), *writers = kit_group();
    kit_go(readers, "first reader", read_for_long, p.a);
    kit_go(writers, "first writer", write_for_long, p.a);
    kit_settle();
    for (size_t i = 0; i < READINGS; i++)
        CHECK_EQ(readings[i](p.a, WEFT_NEVER), -EBUSY);
    CHECK(strstr(weft_error_detail(), "first reader") != NULL);
    CHECK_EQ(weft_write(p.a, "x", 1, WEFT_NEVER), -EBUSY);
    CHECK(strstr(weft_error_detail(), "first writer") != NULL);
    CHECK_EQ(weft_flush(p.a, WEFT_NEVER), -EBUSY);
    CHECK_EQ(weft_shutdown(p.a, WEFT_NEVER), -EBUSY);
    write_now(p.b, "ab");
    CHECK_EQ(weft_group_wait(readers, WEFT_NEVER), 0);
    weft_group_cancel(writers);
    CHECK_EQ(weft_group_close(&writers), 0);
    CHECK_EQ(weft_group_close(&readers), 0);
    stream_kit_close(&p);
}

/* --- Closing under somebody's hands ---------------------------------------------------------- */

struct closed {
    struct weft_stream *s;
    reading call;
};

static int see_it_closed(void *arg)
{
    struct closed *c = arg;
    CHECK_EQ(c->call(c->s, WEFT_NEVER), WEFT_ECLOSED);
    return 0;
}

static void closed_while_inside(const struct stream_kit *k)
{
    static const reading writes[] = {write_much, writev_much, write_and_flush};
    for (size_t i = 0; i < 2 * (READINGS + 3); i++) {
        struct stream_pair p = stream_kit_pair(k);
        struct weft_group *g = kit_group();
        size_t at = i / 2;
        struct closed c = {p.a, at < READINGS ? readings[at] : writes[at - READINGS]};
        struct closed other = {p.a, at < READINGS ? write_much : read_it};
        write_now(p.b, at < READINGS && at >= ANY_BYTE ? "ab" : "");
        kit_go(g, "inside", see_it_closed, &c);
        if (at % 2)
            kit_go(g, "inside, too", see_it_closed, &other);
        kit_settle();
        if (i % 2)
            weft_abort(&p.a);
        else
            CHECK(weft_close(&p.a, WEFT_NEVER) <= 0);
        CHECK(p.a == NULL);
        CHECK_EQ(weft_group_close(&g), 0);
        stream_kit_close(&p);
    }
}

/* --- The peer goes --------------------------------------------------------------------------- */

static int write_until_error(const struct stream_kit *k, struct weft_stream *s)
{
    int err = 0;
    for (int i = 0; err == 0 && i < 1000; i++) {
        err = weft_write(s, "0123456789", 10, weft_after_s(60));
        if (err == 0)
            err = weft_flush(s, weft_after_s(60));
        if (err == 0 && k->maker->link) /* the news comes later there */
            err = weft_sleep_ms(1);
    }
    return err;
}

static void abort_resets(const struct stream_kit *k)
{
    char buf[16];
    struct stream_pair p = stream_kit_pair(k);
    write_now(p.b, "unread");
    weft_abort(&p.b);
    CHECK(p.b == NULL);
    /* What had arrived may still be read; a Unix socket knows no reset but for unread bytes. */
    ssize_t n = weft_read(p.a, buf, sizeof buf, weft_after_s(60));
    CHECK(n == 6 || n == -ECONNRESET);
    if (n == 6)
        CHECK_EQ(read_it(p.a, weft_after_s(60)), k->maker->tcp ? -ECONNRESET : 0);
    CHECK(n == 6 || k->maker->tcp || k->maker->memory);
    int err = write_until_error(k, p.a);
    CHECK(err == -EPIPE || err == -ECONNRESET);
    stream_kit_close(&p);
}

static void writes_to_a_closed_peer(const struct stream_kit *k)
{
    struct stream_pair p = stream_kit_pair(k);
    CHECK_EQ(weft_close(&p.b, WEFT_NEVER), 0);
    int err = write_until_error(k, p.a);
    CHECK(err == -EPIPE || err == -ECONNRESET);
    CHECK_EQ(weft_write(p.a, "x", 1, WEFT_NEVER), err); /* it stays */
    CHECK_EQ(weft_flush(p.a, WEFT_NEVER), err);
    CHECK_EQ(weft_shutdown(p.a, WEFT_NEVER), err);
    CHECK_EQ(weft_close(&p.a, WEFT_NEVER), err);

    p = stream_kit_pair(k);
    CHECK_EQ(weft_close(&p.b, WEFT_NEVER), 0);
    err = write_much(p.a, weft_after_s(60));
    CHECK(err == -EPIPE || err == -ECONNRESET);
    CHECK_EQ(weft_write(p.a, "x", 1, WEFT_NEVER), err);
    stream_kit_close(&p);
}

/* What a joined write could not deliver is told by a later call: here by close. */
static void close_tells(const struct stream_kit *k)
{
    struct stream_pair p = stream_kit_pair(k);
    weft_abort(&p.b);
    if (k->maker->tcp)
        CHECK_EQ(read_it(p.a, weft_after_s(60)), -ECONNRESET);
    CHECK_EQ(weft_write(p.a, "x", 1, WEFT_NEVER), 0);
    int err = weft_close(&p.a, WEFT_NEVER);
    CHECK(err == -EPIPE || err == -ECONNRESET);
}

static int blocked_writer(void *arg)
{
    int err = write_much(arg, WEFT_NEVER);
    CHECK(err == -EPIPE || err == -ECONNRESET);
    return 0;
}

static int blocked_small_writer(void *arg)
{
    int err = write_and_flush(arg, WEFT_NEVER);
    CHECK(err == -EPIPE || err == -ECONNRESET);
    return 0;
}

static void peer_goes_while_writing(const struct stream_kit *k)
{
    for (int i = 0; i < 4; i++) {
        struct stream_pair p = stream_kit_pair(k);
        struct weft_group *g = kit_group();
        kit_go(g, "writer", i % 2 ? blocked_writer : blocked_small_writer, p.a);
        if (stream_kit_on_loop(k))
            kit_settle();
        if (i < 2)
            weft_abort(&p.b);
        else
            CHECK_EQ(weft_close(&p.b, WEFT_NEVER), 0);
        CHECK_EQ(weft_group_wait(g, weft_after_s(60)), 0);
        CHECK_EQ(weft_group_close(&g), 0);
        stream_kit_close(&p);
    }
}

/* --- Farewells ------------------------------------------------------------------------------- */

static int say_farewell(void *arg)
{
    struct weft_stream *s = arg;
    CHECK_EQ(weft_write(s, "bye", 3, WEFT_NEVER), 0);
    CHECK_EQ(weft_sleep_until(WEFT_NOW), 0);
    CHECK_EQ(weft_write(s, "bye", 3, WEFT_NEVER), 0); /* in the queue when the cancel comes */
    weft_group_cancel(weft__flow_self()->member.group);
    CHECK_EQ(weft_write(s, "no more", 7, WEFT_NEVER), -ECANCELED);
    CHECK_EQ(weft_close(&s, weft_after_s(1)), 0);
    return 0;
}

static void farewell_of_a_canceled_task(const struct stream_kit *k)
{
    struct stream_pair p = stream_kit_pair(k);
    struct weft_group *g = kit_group();
    kit_go(g, "leaves", say_farewell, p.a);
    expect_text(p.b, "byebye");
    drain(p.b, 0);
    CHECK_EQ(weft_group_close(&g), 0);
    p.a = NULL;
    stream_kit_close(&p);
}

/* Closing with a deadline, against a peer that does not read. */
static void close_gives_up(const struct stream_kit *k)
{
    struct stream_pair p = stream_kit_pair(k);
    do {
        CHECK_EQ(write_and_flush(p.a, weft_after_ms(10)), -ETIMEDOUT);
    } while (weft_flush(p.a, weft_after_ms(20)) == 0);
    CHECK_EQ(weft_close(&p.a, soon()), -ETIMEDOUT);
    CHECK(p.a == NULL);
    stream_kit_close(&p);
}

/* --- Others' streams ------------------------------------------------------------------------- */

static int on_another_loop(void *arg)
{
    struct weft_stream *s = arg;
    for (size_t i = 0; i < READINGS; i++)
        CHECK_EQ(readings[i](s, WEFT_NEVER), WEFT_ETHREAD);
    CHECK_EQ(weft_write(s, "x", 1, WEFT_NEVER), WEFT_ETHREAD);
    CHECK_EQ(weft_flush(s, WEFT_NEVER), WEFT_ETHREAD);
    CHECK_EQ(weft_shutdown(s, WEFT_NEVER), WEFT_ETHREAD);
    return 0;
}

static void in_callback(void *arg)
{
    struct weft_stream *s = arg;
    for (size_t i = 0; i < READINGS; i++)
        CHECK_EQ(readings[i](s, WEFT_NEVER), -EDEADLK);
    CHECK_EQ(weft_write(s, "x", 1, WEFT_NEVER), -EDEADLK);
}

static void of_another_loop(const struct stream_kit *k)
{
    struct stream_pair p = stream_kit_pair(k);
    if (!k->sim) /* there a loop within a loop is the same one */
        CHECK_EQ(weft_run(NULL, on_another_loop, p.a), 0);
    if (stream_kit_on_loop(k))
        kit_as_callback(in_callback, p.a);
    stream_kit_close(&p);
}

static const struct stream_case cases[] = {
    STREAM_CASE(timeouts, 0),
    STREAM_CASE(now_takes_what_is_there, 0),
    STREAM_CASE(now_writes_where_there_is_room, STREAM_KIT_ONCE),
    STREAM_CASE(canceled_reads_lose_nothing, 0),
    STREAM_CASE(poisoned, 0),
    STREAM_CASE(not_poisoned, STREAM_KIT_PLAIN),
    STREAM_CASE(second_reader_and_writer, STREAM_KIT_LOOP),
    STREAM_CASE(closed_while_inside, STREAM_KIT_LOOP),
    STREAM_CASE(abort_resets, 0),
    STREAM_CASE(writes_to_a_closed_peer, 0),
    STREAM_CASE(close_tells, STREAM_KIT_LOOP | STREAM_KIT_SOCKET),
    STREAM_CASE(peer_goes_while_writing, 0),
    STREAM_CASE(farewell_of_a_canceled_task, STREAM_KIT_LOOP),
    STREAM_CASE(close_gives_up, STREAM_KIT_LOOP | STREAM_KIT_SOCKET),
    STREAM_CASE(of_another_loop, 0),
};
STREAM_KIT_MAIN(cases)
