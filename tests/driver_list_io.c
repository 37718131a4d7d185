/* SPDX-License-Identifier: MIT */
/*
 * The driver tests about streams: recv and send.
 */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "driver_kit.h"

#define BIG (16u << 20)

static void recv_what_is_there(struct kit *k)
{
    for (int f = 0; f < KIT_FAMILIES; f++) {
        int fds[2];
        char buf[64];
        struct top t;
        kit_pair((enum kit_family)f, fds);
        kit_put(fds[1], "hello", 5);
        top_recv(&t, k, fds[0], buf, sizeof(buf));
        assert_int_equal(top_run(&t), 5);
        assert_memory_equal(buf, "hello", 5);
        assert_false(t.op.full);
        assert_false(t.op.more);
        assert_int_equal(t.results, k->block ? 0 : 1);
        kit_close_fd(k, fds[0]);
        raw_close(fds[1]);
    }
}

static void recv_what_comes_later(struct kit *k)
{
    for (int f = 0; f < KIT_FAMILIES; f++) {
        int fds[2];
        char buf[64];
        struct top t;
        kit_pair((enum kit_family)f, fds);
        for (int round = 0; round < 20; round++) {
            top_recv(&t, k, fds[0], buf, sizeof(buf));
            /* The hint is to be harmless whether true or false. */
            t.op.flags = round % 3 == 1 ? WEFT__OP_POLL_FIRST : 0;
            if (round % 5 == 4)
                kit_put(fds[1], "now", 3);
            top_start(&t);
            if (!k->block)
                kit_turn(k);
            if (round % 5 != 4)
                kit_put(fds[1], "now", 3);
            assert_int_equal(top_finish(&t), 3);
            assert_memory_equal(buf, "now", 3);
        }
        kit_close_fd(k, fds[0]);
        raw_close(fds[1]);
    }
}

/* A short buffer leaves bytes behind; each of them is read, whatever the driver believes. */
static void recv_in_pieces(struct kit *k)
{
    for (int f = 0; f < KIT_FAMILIES; f++) {
        int fds[2];
        char buf[1000], out[1000];
        uint64_t seed = 7;
        kit_pair((enum kit_family)f, fds);
        for (int i = 0; i < 1000; i++)
            out[i] = (char)i;
        for (int round = 0; round < 50; round++) {
            size_t len = 1 + kit_random(&seed) % sizeof(out), got = 0;
            kit_put(fds[1], out, len);
            while (got < len) {
                struct top t;
                size_t want = 1 + kit_random(&seed) % sizeof(buf);
                top_recv(&t, k, fds[0], buf, want);
                t.op.flags = kit_random(&seed) % 2 ? WEFT__OP_POLL_FIRST : 0;
                int n = top_run(&t);
                assert_in_range(n, 1, want);
                assert_memory_equal(buf, out + got, n);
                /* full is a guess, but a short buffer with more behind it is no guess */
                if ((size_t)n == want && got + (size_t)n < len)
                    assert_true(t.op.full);
                got += (size_t)n;
            }
            assert_int_equal(got, len);
        }
        kit_close_fd(k, fds[0]);
        raw_close(fds[1]);
    }
}

static void recv_end_of_stream(struct kit *k)
{
    for (int f = 0; f < KIT_FAMILIES; f++) {
        for (int early = 0; early < 2; early++) {
            int fds[2];
            char buf[8];
            struct top t;
            kit_pair((enum kit_family)f, fds);
            top_recv(&t, k, fds[0], buf, sizeof(buf));
            if (early)
                raw_close(fds[1]);
            top_start(&t);
            if (!k->block)
                kit_turn(k);
            if (!early)
                raw_close(fds[1]);
            assert_int_equal(top_finish(&t), 0);
            for (int again = 0; again < 3; again++) {
                top_recv(&t, k, fds[0], buf, sizeof(buf));
                t.op.flags = again == 1 ? WEFT__OP_POLL_FIRST : 0;
                assert_int_equal(top_run(&t), 0);
            }
            top_recv_pool(&t, k, fds[0]);
            assert_int_equal(top_run(&t), 0);
            kit_close_fd(k, fds[0]);
        }
    }
}

/* The last bytes and the end arrive together, and both are seen. */
static void recv_bytes_then_end(struct kit *k)
{
    for (int f = 0; f < KIT_FAMILIES; f++) {
        int fds[2];
        char buf[8];
        struct top t;
        kit_pair((enum kit_family)f, fds);
        top_recv(&t, k, fds[0], buf, sizeof(buf));
        top_start(&t);
        if (!k->block)
            kit_turn(k);
        kit_put(fds[1], "bye", 3);
        raw_close(fds[1]);
        assert_int_equal(top_finish(&t), 3);
        top_recv(&t, k, fds[0], buf, sizeof(buf));
        t.op.flags = WEFT__OP_POLL_FIRST;
        assert_int_equal(top_run(&t), 0);
        kit_close_fd(k, fds[0]);
    }
}

static void half_close(struct kit *k)
{
    for (int f = 0; f < KIT_FAMILIES; f++) {
        int fds[2];
        char buf[8];
        struct top t;
        kit_pair((enum kit_family)f, fds);
        top_recv(&t, k, fds[0], buf, sizeof(buf));
        top_start(&t);
        assert_int_equal(raw_shutdown(fds[1], SHUT_WR), 0);
        assert_int_equal(top_finish(&t), 0);
        top_send(&t, k, fds[0], "still", 5);
        assert_int_equal(top_run(&t), 5);
        kit_get(fds[1], buf, 5);
        assert_memory_equal(buf, "still", 5);
        assert_int_equal(raw_shutdown(fds[0], SHUT_WR), 0);
        assert_int_equal(raw_read(fds[1], buf, 1), 0);
        kit_close_fd(k, fds[0]);
        raw_close(fds[1]);
    }
}

static void recv_reset(struct kit *k)
{
    for (int f = KIT_TCP4; f <= KIT_TCP6; f++) {
        for (int early = 0; early < 2; early++) {
            int fds[2];
            char buf[8];
            struct top t;
            kit_pair((enum kit_family)f, fds);
            top_recv(&t, k, fds[0], buf, sizeof(buf));
            if (early)
                kit_reset(fds[1]);
            top_start(&t);
            if (!k->block)
                kit_turn(k);
            if (!early)
                kit_reset(fds[1]);
            assert_int_equal(top_finish(&t), -ECONNRESET);
            top_send(&t, k, fds[0], "x", 1);
            assert_int_equal(top_run(&t), -EPIPE); /* and no SIGPIPE */
            assert_int_equal(t.op.moved, 0);
            kit_close_fd(k, fds[0]);
        }
    }
}

static struct kit_reader slow;

static void send_is_whole(struct kit *k)
{
    uint8_t *big = malloc(BIG);
    assert_non_null(big);
    uint64_t seed = 3;
    for (size_t i = 0; i < BIG; i++)
        big[i] = (uint8_t)kit_random(&seed);
    for (int f = 0; f < KIT_FAMILIES; f++) {
        int fds[2];
        struct top t;
        kit_pair((enum kit_family)f, fds);
        kit_reader_start(&slow, k, fds[1]);
        top_send(&t, k, fds[0], big, BIG);
        assert_int_equal(top_run(&t), BIG);
        assert_int_equal(raw_shutdown(fds[0], SHUT_WR), 0);
        kit_reader_join(&slow);
        assert_int_equal(slow.len, BIG);
        assert_true(slow.sum == kit_checksum(big, BIG, 0));
        kit_close_fd(k, fds[0]);
        raw_close(fds[1]);
    }
    free(big);
}

/* A reader and a writer of one descriptor are under way together; neither hinders the other. */
static void both_directions(struct kit *k)
{
    static uint8_t big[4u << 20];
    for (int f = 0; f < KIT_FAMILIES; f++) {
        int fds[2];
        char buf[8];
        struct top in, out;
        kit_pair((enum kit_family)f, fds);
        top_recv(&in, k, fds[0], buf, sizeof(buf));
        top_send(&out, k, fds[0], big, sizeof(big));
        top_start(&in);
        top_start(&out);
        if (!k->block)
            kit_turn(k);
        kit_put(fds[1], "ping", 4);
        assert_int_equal(top_finish(&in), 4);
        kit_reader_start(&slow, k, fds[1]);
        assert_int_equal(top_finish(&out), sizeof(big));
        raw_shutdown(fds[0], SHUT_WR);
        kit_reader_join(&slow);
        assert_int_equal(slow.len, sizeof(big));
        kit_close_fd(k, fds[0]);
        raw_close(fds[1]);
    }
}

static void send_cut_off(struct kit *k)
{
    static uint8_t big[BIG];
    int fds[2];
    struct top t;
    kit_pair(KIT_PAIR, fds);
    top_send(&t, k, fds[0], big, sizeof(big));
    top_start(&t);
    if (!k->block)
        kit_turn(k);
    char byte;
    kit_get(fds[1], &byte, 1); /* so the first part has gone */
    raw_close(fds[1]);
    int r = top_finish(&t);
    assert_true(r == -EPIPE || r == -ECONNRESET);
    assert_in_range(t.op.moved, 1, sizeof(big) - 1);
    kit_close_fd(k, fds[0]);
}

static void send_nothing(struct kit *k)
{
    int fds[2];
    struct top t;
    kit_pair(KIT_PAIR, fds);
    top_send(&t, k, fds[0], "", 0);
    assert_int_equal(top_run(&t), 0);
    kit_close_fd(k, fds[0]);
    raw_close(fds[1]);
}

static void pool_lends(struct kit *k)
{
    enum { COUNT = 600 };
    struct top *t = calloc(COUNT, sizeof(*t));
    assert_non_null(t);
    int fds[2];
    kit_pair(KIT_PAIR, fds);
    int count = k->block ? 60 : COUNT; /* on block each has a driver of its own */
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < count; i++) {
            uint32_t number = (uint32_t)i;
            top_recv_pool(&t[i], k, fds[0]);
            if (i % 2)
                kit_put(fds[1], &number, sizeof(number));
            top_start(&t[i]);
            if (i % 2 == 0)
                kit_put(fds[1], &number, sizeof(number));
            assert_int_equal(top_finish(&t[i]), sizeof(number));
            assert_int_equal(t[i].op.rbuf->len, sizeof(number));
            assert_int_equal(t[i].op.rbuf->used, 0);
        }
        for (int i = 0; i < count; i++)
            assert_memory_equal(t[i].op.rbuf->data, &(uint32_t){(uint32_t)i}, 4);
        for (int i = 0; i < count; i++)
            top_put(&t[(i * 7) % count]);
    }
    kit_close_fd(k, fds[0]);
    raw_close(fds[1]);
    free(t);
}

static void pool_brings_much(struct kit *k)
{
    for (int f = 0; f < KIT_FAMILIES; f++) {
        static uint8_t big[100000];
        int fds[2];
        size_t got = 0;
        kit_pair((enum kit_family)f, fds);
        for (size_t i = 0; i < sizeof(big); i++)
            big[i] = (uint8_t)(i * 31);
        kit_put(fds[1], big, sizeof(big));
        while (got < sizeof(big)) {
            struct top t;
            top_recv_pool(&t, k, fds[0]);
            int n = top_run(&t);
            assert_in_range(n, 1, WEFT__RBUF_SIZE);
            assert_int_equal(t.op.rbuf->len, n);
            assert_memory_equal(t.op.rbuf->data, big + got, n);
            got += (size_t)n;
            top_put(&t);
        }
        kit_close_fd(k, fds[0]);
        raw_close(fds[1]);
    }
}

/* Many bytes for many at once: all come, in as many waits as that takes, each once. */
static void pool_brings_from_many(struct kit *k)
{
    enum { COUNT = 60, SIZE = 16000 };
    static uint8_t bytes[SIZE];
    struct top *t = calloc(COUNT, sizeof(*t));
    int(*fds)[2] = calloc(COUNT, sizeof(*fds));
    assert_non_null(t);
    assert_non_null(fds);
    for (int i = 0; i < COUNT; i++) {
        kit_pair(KIT_PAIR, fds[i]);
        top_recv_pool(&t[i], k, fds[i][0]);
        top_start(&t[i]);
    }
    kit_turn(k);
    for (int i = 0; i < COUNT; i++) {
        memset(bytes, i, sizeof(bytes));
        kit_put(fds[i][1], bytes, sizeof(bytes));
    }
    int all = 0, turns = 0;
    while (all < COUNT) {
        int n = weft__sys_wait(k->sys, weft__clock_ns() + KIT_PATIENCE);
        assert_true(n > 0);
        all += n;
        turns++;
        if (k->drv == &weft__driver_epoll)
            assert_in_range((size_t)n * SIZE, 1, WEFT__RECV_WAIT_MAX + SIZE);
    }
    assert_int_equal(all, COUNT);
    assert_in_range(turns, 1, COUNT);
    for (int i = 0; i < COUNT; i++) {
        assert_true(t[i].ended);
        assert_int_equal(t[i].op.res, SIZE);
        assert_int_equal(t[i].op.rbuf->data[SIZE - 1], i);
        top_put(&t[i]);
        kit_close_fd(k, fds[i][0]);
        raw_close(fds[i][1]);
    }
    free(fds);
    free(t);
}

/* A read of a Unix stream stops behind passed descriptors, and one of TCP before urgent data. */
static void short_reads_with_more_behind(struct kit *k)
{
    for (int f = 0; f < KIT_FAMILIES; f++) {
        int fds[2], kinds = f < KIT_UNIX ? 2 : 3;
        kit_pair((enum kit_family)f, fds);
        for (int round = 0; round < 4 * kinds; round++) {
            char buf[64];
            struct top t;
            size_t got = 0, want = 6;
            top_recv(&t, k, fds[0], buf, sizeof(buf));
            top_start(&t);
            if (!k->block)
                kit_turn(k);
            if (round % kinds == 0) {
                kit_put(fds[1], "abcdef", 6);
            } else if (round % kinds == 1) {
                kit_put(fds[1], "ab", 2);
                ssize_t n = raw_send(fds[1], "U", 1, MSG_OOB); /* Unix: not in every kernel */
                assert_true(n == 1 || errno == EOPNOTSUPP);
                kit_put(fds[1], "cdef", 4);
            } else {
                char control[CMSG_SPACE(sizeof(int))] = {0};
                struct iovec iov = {(char[]){"abc"}, 3};
                struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
                msg.msg_control = control;
                msg.msg_controllen = sizeof(control);
                struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
                c->cmsg_level = SOL_SOCKET;
                c->cmsg_type = SCM_RIGHTS;
                c->cmsg_len = CMSG_LEN(sizeof(int));
                memcpy(CMSG_DATA(c), &fds[1], sizeof(int));
                assert_int_equal(raw_sendmsg(fds[1], &msg, 0), 3);
                kit_put(fds[1], "def", 3);
            }
            int n = top_finish(&t);
            for (;;) {
                assert_true(n > 0);
                got += (size_t)n;
                if (got >= want)
                    break;
                top_recv(&t, k, fds[0], buf, sizeof(buf));
                n = top_run(&t);
            }
            raw_recv(fds[0], buf, 1, MSG_OOB | MSG_DONTWAIT);
        }
        kit_close_fd(k, fds[0]);
        raw_close(fds[1]);
    }
}

/* Descriptors that come with O_NONBLOCK wait all the same, and keep it. */
static void nonblocking_descriptors(struct kit *k)
{
    for (int f = 0; f < KIT_FAMILIES; f++) {
        static uint8_t big[2u << 20];
        int fds[2];
        char buf[16];
        struct top t;
        kit_pair((enum kit_family)f, fds);
        assert_int_equal(raw_set_nonblock(fds[0], true), 0);
        top_recv(&t, k, fds[0], buf, sizeof(buf));
        top_start(&t);
        if (!k->block)
            kit_turn(k);
        kit_put(fds[1], "abc", 3);
        assert_int_equal(top_finish(&t), 3);
        top_recv_pool(&t, k, fds[0]);
        top_start(&t);
        if (!k->block)
            kit_turn(k);
        kit_put(fds[1], "abc", 3);
        assert_int_equal(top_finish(&t), 3);
        top_put(&t);
        kit_reader_start(&slow, k, fds[1]);
        top_send(&t, k, fds[0], big, sizeof(big));
        assert_int_equal(top_run(&t), sizeof(big));
        raw_shutdown(fds[0], SHUT_WR);
        kit_reader_join(&slow);
        assert_int_equal(slow.len, sizeof(big));
        assert_true(kit_is_nonblock(fds[0]));
        kit_close_fd(k, fds[0]);
        raw_close(fds[1]);
    }
    int p[2];
    char buf[4];
    struct top t;
    assert_int_equal(raw_pipe(p), 0);
    assert_int_equal(raw_set_nonblock(p[0], true) | raw_set_nonblock(p[1], true), 0);
    top_read(&t, k, p[0], buf, sizeof(buf));
    top_start(&t);
    if (!k->block)
        kit_turn(k);
    kit_put(p[1], "p", 1);
    assert_int_equal(top_finish(&t), 1);
    kit_close_fd(k, p[0]);
    raw_close(p[1]);
}

/* What was submitted goes before the wait where that is asked for. */
static void send_pushed(struct kit *k)
{
    for (int f = 0; f < KIT_FAMILIES; f++) {
        int fds[2];
        char buf[8];
        struct top t;
        kit_pair((enum kit_family)f, fds);
        top_send(&t, k, fds[0], "now", 3);
        top_start(&t);
        if (k->drv->push != NULL) {
            assert_int_equal(raw_recv(fds[1], buf, sizeof(buf), MSG_DONTWAIT), -1);
            k->drv->push(k->sys);
            k->drv->push(k->sys); /* nothing is left to be */
        }
        struct pollfd p = {.fd = fds[1], .events = POLLIN};
        assert_int_equal(poll(&p, 1, 20000), 1);
        assert_int_equal(raw_recv(fds[1], buf, sizeof(buf), MSG_DONTWAIT), 3);
        assert_int_equal(top_finish(&t), 3);
        kit_close_fd(k, fds[0]);
        raw_close(fds[1]);
    }
}

/* What has no time left is tried before it is cancelled, whoever carries it out. */
static void files_at_once(struct kit *k)
{
    static char bytes[PIPE_BUF]; /* for which there is room in every empty pipe */
    int p[2];
    struct top t;
    assert_int_equal(raw_pipe(p), 0);
    for (int i = 0; i < 20; i++) {
        top_write(&t, k, p[1], bytes, sizeof(bytes));
        t.op.flags = WEFT__OP_AT_ONCE;
        top_start(&t);
        kit_turn(k);
        top_cancel(&t);
        assert_int_equal(top_finish(&t), sizeof(bytes));
        top_read(&t, k, p[0], bytes, sizeof(bytes));
        t.op.flags = WEFT__OP_AT_ONCE;
        top_start(&t);
        kit_turn(k);
        top_cancel(&t);
        assert_int_equal(top_finish(&t), sizeof(bytes));
    }
    top_read(&t, k, p[0], bytes, sizeof(bytes)); /* and where there is nothing, it goes on */
    t.op.flags = WEFT__OP_AT_ONCE;
    top_start(&t);
    kit_turn(k);
    assert_false(t.ended);
    top_cancel(&t);
    assert_int_equal(top_finish(&t), -ECANCELED);
    kit_close_fd(k, p[0]);
    top_write(&t, k, p[1], bytes, 1);
    t.op.flags = WEFT__OP_AT_ONCE;
    assert_int_equal(top_run(&t), -EPIPE);
    kit_close_fd(k, p[1]);
}

const struct driver_test driver_tests_io[] = {
    {"recv what is there", recv_what_is_there, ON_ALL},
    {"recv what comes later", recv_what_comes_later, ON_ALL},
    {"recv in pieces", recv_in_pieces, ON_ALL},
    {"recv end of stream", recv_end_of_stream, ON_ALL},
    {"recv bytes, then the end", recv_bytes_then_end, ON_ALL},
    {"half close", half_close, ON_ALL},
    {"recv reset", recv_reset, ON_ALL},
    {"send is whole", send_is_whole, ON_ALL},
    {"both directions", both_directions, ON_ALL},
    {"send cut off", send_cut_off, ON_ALL},
    {"send nothing", send_nothing, ON_ALL},
    {"send pushed", send_pushed, ON_LOOP | ON_REAL},
    {"files at once", files_at_once, ON_LOOP},
    {"pool lends", pool_lends, ON_ALL},
    {"pool brings much", pool_brings_much, ON_ALL},
    {"pool brings from many", pool_brings_from_many, ON_LOOP},
    {"short reads with more behind", short_reads_with_more_behind, ON_ALL},
    {"nonblocking descriptors", nonblocking_descriptors, ON_ALL},
    {NULL, NULL, 0},
};
