/* SPDX-License-Identifier: MIT */
/* Writing: what is joined, how much may wait, in which order it goes, and sending of files. */
#include "stream_kit.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "driver_call.h"
#include "net/stream.h"

#define MIB ((size_t)1 << 20)

static uint64_t completions(void)
{
    struct weft_loop_stats st;
    CHECK_EQ(weft_loop_stats(weft_loop_current(), &st), 0);
    return st.completions;
}

static void expect_from(struct weft_stream *s, uint64_t from, size_t total)
{
    stream_kit_receive(s, from, total, 5);
}

/* --- Joined writes --------------------------------------------------------------------------- */

/* A thousand small writes in one turn are one operation a chunk. */
static void small_writes_are_joined(const struct stream_kit *k)
{
    struct stream_pair p = stream_kit_pair(k);
    char piece[10];
    uint64_t before = completions();
    for (size_t i = 0; i < 1000; i++) {
        stream_kit_fill(piece, i * sizeof piece, sizeof piece);
        CHECK_EQ(weft_write(p.a, piece, sizeof piece, WEFT_NEVER), 0);
    }
    CHECK_EQ(completions(), before);
    CHECK_EQ(weft__out_queued(p.a), 10000);
    CHECK_EQ(weft_flush(p.a, WEFT_NEVER), 0);
    CHECK_EQ(weft__out_queued(p.a), 0);
    CHECK(completions() - before <= 2);
    CHECK_EQ(weft_stream_bytes_out(p.a), 10000);
    expect_from(p.b, 0, 10000);
    stream_kit_close(&p);
}

/* Nobody flushes: the end of the loop's turn does. */
static void joined_writes_go_by_themselves(const struct stream_kit *k)
{
    struct stream_pair p = stream_kit_pair(k);
    char text[3000];
    for (size_t i = 0; i < 15; i++) { /* several chunks */
        stream_kit_fill(text, i * sizeof text, sizeof text);
        CHECK_EQ(weft_write(p.a, text, sizeof text, WEFT_NEVER), 0);
    }
    expect_from(p.b, 0, 15 * sizeof text);
    CHECK_EQ(weft_stream_bytes_out(p.a), 15 * sizeof text);
    stream_kit_close(&p);
}

/* The steady state of joined writes allocates nothing. */
static void joined_writes_do_not_allocate(const struct stream_kit *k)
{
    struct stream_pair p = stream_kit_pair(k);
    char buf[100];
    uint64_t before = 0;
    weft__alloc_hooks = true;
    for (int i = 0; i < 100; i++) {
        if (i == 10)
            before = weft__alloc_count();
        CHECK_EQ(weft_write(p.a, "0123456789", 10, WEFT_NEVER), 0);
        CHECK_EQ(weft_read(p.b, buf, sizeof buf, weft_after_s(60)), 10);
    }
    CHECK_EQ(weft__alloc_count(), before);
    weft__alloc_hooks = false;
    stream_kit_close(&p);
}

/* Small and large writes by turns keep their order. */
static int by_turns(void *arg)
{
    struct weft_stream *s = arg;
    static char text[100000];
    uint64_t at = 0;
    for (size_t i = 0; i < 60; i++) {
        size_t len = i % 3 == 0 ? 10 : i % 3 == 1 ? 9000 + 1000 * i : 8191;
        stream_kit_fill(text, at, len);
        CHECK_EQ(weft_write(s, text, len, WEFT_NEVER), 0);
        at += len;
    }
    return weft_shutdown(s, WEFT_NEVER);
}

static size_t by_turns_total(void)
{
    size_t at = 0;
    for (size_t i = 0; i < 60; i++)
        at += i % 3 == 0 ? 10 : i % 3 == 1 ? 9000 + 1000 * i : 8191;
    return at;
}

static int read_turns(void *arg)
{
    char c;
    expect_from(arg, 0, by_turns_total());
    CHECK_EQ(weft_read(arg, &c, 1, WEFT_NEVER), 0);
    return 0;
}

static void small_and_large_by_turns(const struct stream_kit *k)
{
    struct stream_pair p = stream_kit_pair(k);
    stream_kit_both(&p, by_turns, read_turns);
    stream_kit_close(&p);
}

/* --- Bounds ---------------------------------------------------------------------------------- */

#define PIECE 4000

/* Writes pieces until no more is taken; returns how many bytes were. */
static uint64_t write_until_stuck(struct weft_stream *s)
{
    char piece[PIECE];
    uint64_t at = 0;
    int err;
    do {
        do {
            stream_kit_fill(piece, at, sizeof piece);
            err = weft_write(s, piece, sizeof piece, weft_after_ms(20));
            at += err == 0 ? sizeof piece : 0;
        } while (err == 0);
        CHECK_EQ(err, -ETIMEDOUT);
    } while (weft_flush(s, weft_after_ms(20)) == 0); /* only the machine was slow */
    return at;
}

static void small_buffers(struct weft_stream *a, struct weft_stream *b)
{
    int size = 100000;
    CHECK_EQ(raw_setsockopt(weft_stream_fd(a), SOL_SOCKET, SO_SNDBUF, &size, sizeof size), 0);
    CHECK_EQ(raw_setsockopt(weft_stream_fd(b), SOL_SOCKET, SO_RCVBUF, &size, sizeof size), 0);
}

/*
 * A writer against a peer that never reads stops, with the queue within its bound; what it was told
 * of as written, and nothing else, arrives in the end.
 */
static void writers_are_bounded(const struct stream_kit *k)
{
    struct stream_pair p = stream_kit_pair(k);
    if (!k->maker->memory)
        small_buffers(p.a, p.b);
    uint64_t total = write_until_stuck(p.a);
    uint64_t in_kernel = total - weft__out_queued(p.a);
    if (k->maker->memory) {
        CHECK(total <= 65536);
        CHECK_EQ(p.a->error, WEFT_EPOISONED); /* the last piece had gone in part */
        total = weft_stream_bytes_out(p.a);
        CHECK(k->maker->tls ? total <= 65536 : total == 65536);
    } else {
        CHECK(weft__out_queued(p.a) <= p.a->out_max);
        CHECK(in_kernel < MIB);
        CHECK_EQ(p.a->error, 0);
        CHECK_EQ(weft_write(p.a, "", 0, WEFT_NOW), 0);
    }
    expect_from(p.b, 0, total);
    if (p.a->error == 0)
        CHECK_EQ(weft_flush(p.a, WEFT_NEVER), 0);
    CHECK_EQ(weft_stream_bytes_out(p.a), total);
    stream_kit_close(&p);
}

static int flush_it(void *arg)
{
    return weft_flush(arg, WEFT_NEVER);
}

static void flush_waits(const struct stream_kit *k)
{
    struct stream_pair p = stream_kit_pair(k);
    small_buffers(p.a, p.b);
    uint64_t total = write_until_stuck(p.a);
    struct weft_group *g = kit_group();
    kit_go(g, "flush", flush_it, p.a);
    kit_settle();
    if (!k->maker->tcp) { /* TCP's windows may still open a little by themselves */
        CHECK(weft__out_queued(p.a) > 0);
        CHECK_EQ(weft_group_count(g), 1);
    }
    expect_from(p.b, 0, total);
    CHECK_EQ(weft_group_wait(g, weft_after_s(60)), 0);
    CHECK_EQ(weft__out_queued(p.a), 0);
    CHECK_EQ(weft_group_close(&g), 0);
    stream_kit_close(&p);
}

static int close_it(void *arg)
{
    struct weft_stream *s = arg;
    return weft_close(&s, weft_after_s(60));
}

static void close_sends_what_waits(const struct stream_kit *k)
{
    struct stream_pair p = stream_kit_pair(k);
    char c;
    small_buffers(p.a, p.b);
    uint64_t total = write_until_stuck(p.a);
    struct weft_group *g = kit_group();
    kit_go(g, "close", close_it, p.a);
    p.a = NULL;
    expect_from(p.b, 0, total);
    CHECK_EQ(weft_read(p.b, &c, 1, weft_after_s(60)), 0);
    CHECK_EQ(weft_group_wait(g, weft_after_s(60)), 0);
    CHECK_EQ(weft_group_close(&g), 0);
    stream_kit_close(&p);
}

static int write_for_ever(void *arg)
{
    char text[100] = "";
    int err = 0;
    while (err == 0)
        err = weft_write(arg, text, sizeof text, WEFT_NEVER);
    return err == -ECANCELED ? 0 : err;
}

static int read_for_ever(void *arg)
{
    static char buf[1 << 20];
    ssize_t n = 1;
    while (n > 0)
        n = weft_read(arg, buf, sizeof buf, WEFT_NEVER);
    return n == -ECANCELED ? 0 : (int)n;
}

/* A writer and a reader that never have to wait still let others run. */
static void busy_streams_are_fair(const struct stream_kit *k)
{
    struct stream_pair p = stream_kit_pair(k);
    struct weft_group *g = kit_group();
    kit_go(g, "writes", write_for_ever, p.a);
    kit_go(g, "reads", read_for_ever, p.b);
    for (int i = 0; i < 100; i++)
        CHECK_EQ(weft_yield(), 0);
    if (!k->sim || k->maker->link) /* else nothing there takes time, and none passes */
        CHECK_EQ(weft_sleep_ms(5), 0);
    weft_group_cancel(g);
    CHECK_EQ(weft_group_close(&g), 0);
    weft_abort(&p.a);
    stream_kit_close(&p);
}

/* --- Files ----------------------------------------------------------------------------------- */

#define FILE_BYTES (3 * MIB)

static int file_of(size_t len)
{
    static _Atomic int serial;
    char name[64];
    (void)snprintf(name, sizeof name, "/tmp/weft-test-%d-%d", (int)getpid(), serial++);
    int fd = raw_open(name, O_RDWR | O_CREAT | O_EXCL);
    CHECK(fd >= 0);
    CHECK_EQ(raw_unlink(name), 0);
    uint8_t *text = malloc(len);
    CHECK(text != NULL);
    stream_kit_fill(text, 0, len);
    for (size_t at = 0; at < len;) {
        ssize_t n = raw_write(fd, text + at, len - at);
        CHECK(n > 0);
        at += (size_t)n;
    }
    free(text);
    return fd;
}

static int send_the_file(void *arg)
{
    struct weft_stream *s = arg;
    int fd = file_of(FILE_BYTES);
    off_t offset = 100, position = raw_position(fd);
    CHECK_EQ(weft_write(s, "head", 4, WEFT_NEVER), 0); /* stays in front */
    CHECK_EQ(weft_sendfile(s, fd, &offset, FILE_BYTES - 200, WEFT_NEVER), 0);
    CHECK_EQ(offset, FILE_BYTES - 100);
    CHECK_EQ(weft_write(s, "tail", 4, WEFT_NEVER), 0);
    CHECK_EQ(weft_sendfile(s, fd, &offset, 0, WEFT_NEVER), 0);
    CHECK_EQ(weft_sendfile(s, fd, &offset, 200, WEFT_NEVER), WEFT_EEOF);
    CHECK_EQ(offset, FILE_BYTES);
    CHECK_EQ(weft_sendfile(s, fd, &offset, 1, WEFT_NEVER), WEFT_EEOF);
    CHECK_EQ(raw_position(fd), position);
    offset = -1;
    CHECK_EQ(weft_sendfile(s, fd, &offset, 1, WEFT_NEVER), -EINVAL);
    raw_close(fd);
    CHECK_EQ(weft_stream_bytes_out(s), FILE_BYTES - 200 + 4 + 4 + 100);
    CHECK_EQ(weft_shutdown(s, WEFT_NEVER), 0);
    offset = 0;
    CHECK_EQ(weft_sendfile(s, 0, &offset, 1, WEFT_NEVER), WEFT_ECLOSED);
    return 0;
}

static int receive_the_file(void *arg)
{
    struct weft_stream *s = arg;
    char buf[4];
    CHECK_EQ(weft_read_full(s, buf, 4, WEFT_NEVER), 0);
    CHECK(memcmp(buf, "head", 4) == 0);
    expect_from(s, 100, FILE_BYTES - 200);
    CHECK_EQ(weft_read_full(s, buf, 4, WEFT_NEVER), 0);
    CHECK(memcmp(buf, "tail", 4) == 0);
    expect_from(s, FILE_BYTES - 100, 100);
    CHECK_EQ(weft_read(s, buf, 1, WEFT_NEVER), 0);
    return 0;
}

static void files(const struct stream_kit *k)
{
    struct stream_pair p = stream_kit_pair(k);
    stream_kit_both(&p, send_the_file, receive_the_file);
    stream_kit_close(&p);
}

static void file_into_a_pipe(const struct stream_kit *k)
{
    int fds[2];
    struct stream_pair p = {NULL, NULL};
    (void)k;
    CHECK_EQ(raw_pipe(fds), 0);
    CHECK_EQ(weft_stream_from_fd(&p.b, fds[0]), 0);
    CHECK_EQ(weft_stream_from_fd(&p.a, fds[1]), 0);
    int fd = file_of(1000);
    off_t offset = 0;
    CHECK_EQ(weft_sendfile(p.a, fd, &offset, 1000, WEFT_NEVER), 0);
    CHECK_EQ(offset, 1000);
    expect_from(p.b, 0, 1000);
    /* What cannot be sent by sendfile(2) nor be read at an offset. */
    int other[2];
    CHECK_EQ(raw_pipe(other), 0);
    offset = 0;
    CHECK_EQ(weft_sendfile(p.a, other[0], &offset, 10, WEFT_NEVER), -ESPIPE);
    CHECK_EQ(weft_sendfile(p.a, -1, &offset, 10, WEFT_NEVER), -EBADF);
    CHECK_EQ(offset, 0);
    CHECK_EQ(weft_write(p.a, "x", 1, WEFT_NEVER), 0); /* no error of the stream */
    raw_close(other[0]);
    raw_close(other[1]);
    raw_close(fd);
    stream_kit_close(&p);
}

static void file_errors(const struct stream_kit *k)
{
    struct stream_pair p = stream_kit_pair(k);
    off_t offset = 0;
    int fd = file_of(FILE_BYTES);
    CHECK_EQ(weft_sendfile(p.a, -1, &offset, 10, WEFT_NEVER), -EBADF);
    CHECK_EQ(weft_write(p.a, "x", 1, WEFT_NEVER), 0);
    CHECK_EQ(weft_flush(p.a, WEFT_NEVER), 0);
    if (!k->maker->memory)
        small_buffers(p.a, p.b);
    /* The peer does not read: cut off after a part, and then nothing may follow. */
    CHECK_EQ(weft_sendfile(p.a, fd, &offset, FILE_BYTES, weft_after_ms(10)), -ETIMEDOUT);
    CHECK(offset > 0 && offset < (off_t)FILE_BYTES);
    CHECK_EQ(weft_stream_bytes_out(p.a), offset + 1);
    CHECK_EQ(weft_write(p.a, "x", 1, WEFT_NEVER), WEFT_EPOISONED);
    CHECK_EQ(weft_sendfile(p.a, fd, &offset, 1, WEFT_NEVER), WEFT_EPOISONED);
    stream_kit_close(&p);

    p = stream_kit_pair(k);
    CHECK_EQ(weft_close(&p.b, WEFT_NEVER), 0);
    int err = 0;
    for (int i = 0; i < 100 && err == 0; i++) {
        offset = 0;
        err = weft_sendfile(p.a, fd, &offset, 1000, WEFT_NEVER);
        if (err == 0 && k->maker->link) /* the news comes later there */
            err = weft_sleep_ms(1);
    }
    CHECK(err == -EPIPE || err == -ECONNRESET);
    CHECK_EQ(weft_write(p.a, "x", 1, WEFT_NEVER), err);
    stream_kit_close(&p);
    raw_close(fd);
}

/* The kernel sends a file piece by piece: a peer that has gone answers the first with a reset, and
 * what is left of the same call finds the connection broken. That is an error, and no signal. */
static void a_long_file_for_who_has_gone(const struct stream_kit *k)
{
    struct stream_pair p = stream_kit_pair(k);
    int fd = file_of(FILE_BYTES);
    off_t offset = 0;
    CHECK_EQ(weft_close(&p.b, WEFT_NEVER), 0);
    int err = weft_sendfile(p.a, fd, &offset, FILE_BYTES, WEFT_NEVER);
    CHECK(err == -EPIPE || err == -ECONNRESET);
    CHECK(offset < (off_t)FILE_BYTES);
    stream_kit_close(&p);
    raw_close(fd);
}

static const struct stream_case cases[] = {
    STREAM_CASE(small_writes_are_joined, STREAM_KIT_LOOP | STREAM_KIT_SOCKET | STREAM_KIT_PLAIN),
    STREAM_CASE(joined_writes_go_by_themselves, STREAM_KIT_LOOP),
    /* A simulated kernel takes its memory from where the library does. */
    STREAM_CASE(joined_writes_do_not_allocate,
                STREAM_KIT_LOOP | STREAM_KIT_REAL | STREAM_KIT_PLAIN),
    STREAM_CASE(small_and_large_by_turns, 0),
    STREAM_CASE(writers_are_bounded, STREAM_KIT_LOOP),
    STREAM_CASE(flush_waits, STREAM_KIT_LOOP | STREAM_KIT_SOCKET),
    STREAM_CASE(close_sends_what_waits, STREAM_KIT_LOOP | STREAM_KIT_SOCKET),
    STREAM_CASE(busy_streams_are_fair, STREAM_KIT_LOOP),
    STREAM_CASE(files, 0),
    STREAM_CASE(file_into_a_pipe, STREAM_KIT_ONCE),
    STREAM_CASE(file_errors, 0),
    STREAM_CASE(a_long_file_for_who_has_gone, 0),
};
STREAM_KIT_MAIN(cases)
