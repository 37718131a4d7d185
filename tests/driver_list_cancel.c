/* SPDX-License-Identifier: MIT */
/*
 * The driver tests about cancelling.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "driver_kit.h"

#define SA(s) ((struct sockaddr *)(void *)(s))

/* A descriptor on which the kind waits for ever, and what else is needed for that. */
struct stuck {
    int fd;
    int other[10];
    int others;
    struct sockaddr_storage sa;
    socklen_t len;
    char buf[64];
    struct iovec iov;
    struct msghdr msg;
};

static char megabytes[8u << 20];

static void add_other(struct stuck *s, int fd)
{
    s->other[s->others++] = fd;
}

static void stuck_connect(struct stuck *s)
{
    int l = kit_listener(KIT_TCP4, 0, &s->sa, &s->len);
    add_other(s, l);
    for (int i = 0; i < 6; i++) { /* more than the backlog takes: the next SYN is dropped */
        int c = kit_socket(KIT_TCP4);
        raw_set_nonblock(c, true);
        (void)raw_connect(c, SA(&s->sa), s->len);
        add_other(s, c);
    }
    s->fd = kit_socket(KIT_TCP4);
}

static void stuck_pipe(struct stuck *s, bool full)
{
    int p[2];
    KIT_CHECK(raw_pipe(p) == 0);
    int room = full ? raw_pipe_room(p[1]) : 0;
    for (int i = 0; i < room; i += 4096)
        kit_put(p[1], megabytes, 4096);
    s->fd = p[full];
    add_other(s, p[!full]);
}

static void stuck_open(struct stuck *s, struct top *t, struct kit *k, enum weft__op_kind kind)
{
    memset(s, 0, sizeof(*s));
    if (kind == WEFT__OP_ACCEPT) {
        s->fd = kit_listener(KIT_TCP4, 4, &s->sa, &s->len);
    } else if (kind == WEFT__OP_CONNECT) {
        stuck_connect(s);
    } else if (kind == WEFT__OP_READ || kind == WEFT__OP_WRITE) {
        stuck_pipe(s, kind == WEFT__OP_WRITE);
    } else {
        int fds[2];
        kit_pair(KIT_PAIR, fds);
        s->fd = fds[0];
        add_other(s, fds[1]);
        if (kind == WEFT__OP_SENDMSG)
            kit_fill(s->fd);
    }
    top_init(t, k, kind, s->fd);
    s->iov = (struct iovec){s->buf, sizeof(s->buf)};
    s->msg = (struct msghdr){.msg_iov = &s->iov, .msg_iovlen = 1};
    if (kind == WEFT__OP_CONNECT) {
        top_connect(t, k, s->fd, SA(&s->sa), s->len);
    } else if (kind == WEFT__OP_SENDMSG || kind == WEFT__OP_RECVMSG) {
        t->op.u.msg.msg = &s->msg;
    } else if (kind == WEFT__OP_POLL) {
        t->op.u.poll.events = POLLIN;
    } else if (kind == WEFT__OP_SEND) {
        t->op.u.io.buf = megabytes;
        t->op.u.io.len = sizeof(megabytes);
    } else if (kind != WEFT__OP_ACCEPT) {
        t->op.u.io.buf = s->buf;
        t->op.u.io.len = sizeof(s->buf);
    }
}

static void stuck_close(struct stuck *s, struct kit *k)
{
    kit_close_fd(k, s->fd);
    for (int i = 0; i < s->others; i++)
        raw_close(s->other[i]);
}

/* At each stage of its life: in the turn of its submit, and one and two turns later. */
static void cancel_each_kind(struct kit *k)
{
    for (int kind = WEFT__OP_ACCEPT; kind < WEFT__OP_KINDS; kind++) {
        for (int turns = 0; turns < 3; turns++) {
            struct stuck s;
            struct top t;
            stuck_open(&s, &t, k, (enum weft__op_kind)kind);
            top_start(&t);
            for (int i = 0; i < turns && !k->block; i++)
                kit_turn(k);
            assert_false(t.ended);
            top_cancel(&t);
            assert_int_equal(t.results, 0); /* done comes from within wait */
            int r = top_finish(&t);
            if (r != -ECANCELED)
                print_error("kind %d after %d turns: %d\n", kind, turns, r);
            assert_int_equal(r, -ECANCELED);
            assert_int_equal(t.results, 1);
            assert_false(t.op.more);
            if (kind == WEFT__OP_SEND)
                assert_int_equal(t.op.moved, kit_drain(s.other[0]));
            if (kind != WEFT__OP_ACCEPT)
                assert_false(kit_is_nonblock(s.fd));
            stuck_close(&s, k);
        }
    }
}

/* A write to a full pipe may be with a kernel thread that is just about to wait: the request to
 * cancel then comes at the worst of times, which is what many tries are for. */
static void cancel_writes(struct kit *k)
{
    for (int i = 0; i < 300; i++) {
        struct stuck s;
        struct top t;
        stuck_open(&s, &t, k, WEFT__OP_WRITE);
        top_start(&t);
        if (!k->block)
            kit_turn(k);
        for (volatile int spin = 0; spin < (i % 30) * 1000; spin++) {
        }
        top_cancel(&t);
        assert_int_equal(top_finish(&t), -ECANCELED);
        stuck_close(&s, k);
    }
}

/* What had gone is what the peer gets, byte for byte. */
static void cancel_partial_send(struct kit *k)
{
    for (int f = 0; f < KIT_FAMILIES; f++) {
        int fds[2];
        struct top t;
        kit_pair((enum kit_family)f, fds);
        top_send(&t, k, fds[0], megabytes, sizeof(megabytes));
        top_start(&t);
        char byte;
        if (!k->block)
            kit_turn(k);
        kit_get(fds[1], &byte, 1);
        top_cancel(&t);
        assert_int_equal(top_finish(&t), -ECANCELED);
        assert_in_range(t.op.moved, 1, sizeof(megabytes) - 1);
        size_t got = 1;
        assert_int_equal(raw_shutdown(fds[0], SHUT_WR), 0);
        for (;;) {
            static char junk[65536];
            ssize_t n = raw_read(fds[1], junk, sizeof(junk));
            assert_true(n >= 0);
            if (n == 0)
                break;
            got += (size_t)n;
        }
        assert_int_equal(got, t.op.moved);
        kit_close_fd(k, fds[0]);
        raw_close(fds[1]);
    }
}

/*
 * Cancel against completion, in many orders: the result is one or the other, and bytes that were
 * not reported are still in the socket.
 */
static void cancel_race(struct kit *k)
{
    uint64_t seed = 20;
    int canceled = 0, rounds = k->block ? 200 : 3000;
    for (int i = 0; i < rounds; i++) {
        int fds[2];
        char buf[16];
        struct top t;
        uint32_t dice = kit_random(&seed);
        kit_pair(dice % 4 ? KIT_PAIR : KIT_TCP4, fds);
        if (dice & 16)
            top_recv(&t, k, fds[0], buf, sizeof(buf));
        else
            top_recv_pool(&t, k, fds[0]);
        if (dice & 32)
            t.op.flags = WEFT__OP_POLL_FIRST;
        top_start(&t);
        if (dice & 64 && !k->block)
            kit_turn(k);
        bool sent = dice & 128;
        if (sent)
            kit_put(fds[1], "abc", 3);
        if (dice & 256 && !k->block)
            kit_turn(k);
        if (dice & 512 || !sent)
            top_cancel(&t);
        if (!(dice & 512) && sent && dice & 1024)
            kit_put(fds[1], "def", 3);
        int r = top_finish(&t);
        if (r == -ECANCELED) {
            canceled++;
            assert_int_equal(raw_recv(fds[0], buf, sizeof(buf), MSG_DONTWAIT), sent ? 3 : -1);
        } else {
            assert_true(r == 3 || r == 6);
            assert_true(sent);
            if (t.op.kind == WEFT__OP_RECV_POOL) {
                assert_memory_equal(t.op.rbuf->data, "abcdef", r);
                top_put(&t);
            } else {
                assert_memory_equal(buf, "abcdef", r);
            }
        }
        assert_int_equal(t.results, 1);
        kit_close_fd(k, fds[0]);
        raw_close(fds[1]);
    }
    assert_in_range(canceled, 1, rounds - 1);
}

/* An accept that is cancelled loses no connection. */
static void cancel_race_accept(struct kit *k)
{
    uint64_t seed = 5;
    struct sockaddr_storage sa;
    socklen_t len;
    int l = kit_listener(KIT_TCP4, 16, &sa, &len);
    for (int i = 0; i < 200; i++) {
        struct top t;
        uint32_t dice = kit_random(&seed);
        top_accept(&t, k, l);
        top_start(&t);
        if (dice & 1 && !k->block)
            kit_turn(k);
        int c = kit_socket(KIT_TCP4);
        assert_int_equal(raw_connect(c, SA(&sa), len), 0);
        if (dice & 2 && !k->block)
            kit_turn(k);
        top_cancel(&t);
        int fd = top_finish(&t);
        if (fd == -ECANCELED)
            fd = raw_accept(l);
        assert_true(fd >= 0);
        kit_close_fd(k, fd);
        raw_close(c);
    }
    kit_close_fd(k, l);
}

struct victim {
    struct top *t;
    int count;
};

static void cancel_victims(struct top *t)
{
    struct victim *v = t->arg;
    for (int i = 0; i < v->count; i++) {
        if (!v->t[i].ended)
            weft__sys_cancel(t->kit->sys, &v->t[i].op);
    }
}

/* done cancels operations whose own events may be in the batch that is being taken. */
static void cancel_from_done(struct kit *k)
{
    enum { COUNT = 16 };
    for (int round = 0; round < 50; round++) {
        int fds[COUNT][2];
        struct top t[COUNT];
        char buf[COUNT];
        struct victim v = {t, COUNT};
        for (int i = 0; i < COUNT; i++) {
            kit_pair(KIT_PAIR, fds[i]);
            top_recv(&t[i], k, fds[i][0], &buf[i], 1);
            top_start(&t[i]);
        }
        t[round % COUNT].then = cancel_victims;
        t[round % COUNT].arg = &v;
        kit_turn(k);
        for (int i = 0; i < COUNT; i++)
            kit_put(fds[i][1], "x", 1);
        for (int i = 0; i < COUNT; i++) {
            int r = top_finish(&t[i]);
            assert_true(r == 1 || r == -ECANCELED);
            assert_int_equal(raw_recv(fds[i][0], &buf[i], 1, MSG_DONTWAIT), r == 1 ? -1 : 1);
        }
        for (int i = 0; i < COUNT; i++) {
            kit_close_fd(k, fds[i][0]);
            raw_close(fds[i][1]);
        }
    }
}

/* The cancelled one of several that wait for the same leaves the others alone. */
static void cancel_in_the_middle(struct kit *k)
{
    for (int which = 0; which < 3; which++) {
        int fds[2], sum = 0;
        char buf[3] = "";
        struct top t[3];
        kit_pair(KIT_PAIR, fds);
        for (int i = 0; i < 3; i++) {
            top_recv(&t[i], k, fds[0], &buf[i], 1);
            top_start(&t[i]);
        }
        kit_turn(k);
        top_cancel(&t[which]);
        assert_int_equal(top_finish(&t[which]), -ECANCELED);
        kit_put(fds[1], "ab", 2);
        for (int i = 0; i < 3; i++) {
            if (i != which)
                assert_int_equal(top_finish(&t[i]), 1);
            sum += buf[i];
        }
        assert_int_equal(sum, 'a' + 'b');
        kit_close_fd(k, fds[0]);
        raw_close(fds[1]);
    }
}

static void cancel_nop(struct kit *k)
{
    struct top t;
    top_init(&t, k, WEFT__OP_NOP, -1);
    top_start(&t);
    assert_false(t.ended);
    top_cancel(&t);
    int r = top_finish(&t);
    assert_true(r == 0 || r == -ECANCELED);
}

/* ---- the block driver's own ways of giving up ---- */

static struct weft__sys *open_block(int cancel_fd)
{
    struct weft__sys *sys = NULL;
    struct weft__sys_options o = {.cancel_fd = cancel_fd};
    assert_int_equal(weft__driver_block.open(&sys, &o), 0);
    return sys;
}

static void block_timeouts(struct kit *k)
{
    for (int kind = WEFT__OP_ACCEPT; kind < WEFT__OP_KINDS; kind++) {
        for (int i = 0; i < 3; i++) {
            struct stuck s;
            struct top t;
            stuck_open(&s, &t, k, (enum weft__op_kind)kind);
            int64_t now = weft__clock_ns();
            t.op.until_ns = i == 0 ? 0 : i == 1 ? now - 5 : now + 3000000;
            assert_true(weft__sys_submit(k->sys, &t.op));
            assert_int_equal(t.op.res, -ETIMEDOUT);
            assert_true(weft__clock_ns() >= t.op.until_ns);
            if (kind == WEFT__OP_SEND)
                assert_int_equal(t.op.moved, kit_drain(s.other[0]));
            if (kind != WEFT__OP_ACCEPT)
                assert_false(kit_is_nonblock(s.fd));
            stuck_close(&s, k);
        }
    }
    /* A time that has passed still means one try. */
    int fds[2];
    char buf[4];
    struct top t;
    kit_pair(KIT_PAIR, fds);
    for (int i = 0; i < 2; i++) {
        kit_put(fds[1], "x", 1);
        top_recv(&t, k, fds[0], buf, sizeof(buf));
        t.op.flags = i ? WEFT__OP_POLL_FIRST : 0;
        t.op.until_ns = 0;
        assert_true(weft__sys_submit(k->sys, &t.op));
        assert_int_equal(t.op.res, 1);
    }
    kit_close_fd(k, fds[0]);
    raw_close(fds[1]);
}

static void block_cancel_fd(struct kit *k)
{
    int cancel_fd = eventfd(1, EFD_CLOEXEC);
    struct weft__sys *own = open_block(cancel_fd);
    for (int round = 0; round < 2; round++) { /* it is level, and not drained */
        for (int kind = WEFT__OP_ACCEPT; kind < WEFT__OP_KINDS; kind++) {
            struct stuck s;
            struct top t;
            stuck_open(&s, &t, k, (enum weft__op_kind)kind);
            t.op.until_ns = INT64_MAX;
            assert_true(weft__sys_submit(own, &t.op));
            assert_int_equal(t.op.res, -ECANCELED);
            own->driver->forget(own, s.fd, false);
            stuck_close(&s, k);
        }
    }
    assert_int_equal(own->driver->wait(own, INT64_MAX), -ECANCELED);
    /* A thread that never has to wait hears of it, too. */
    int fds[2], i, last = 0;
    kit_pair(KIT_PAIR, fds);
    for (i = 0; i < 1000 && last >= 0; i++) {
        char byte = 'x';
        struct top t;
        top_send(&t, k, fds[0], &byte, 1);
        assert_true(weft__sys_submit(own, &t.op));
        last = t.op.res;
        assert_true(last < 0 || raw_recv(fds[1], &byte, 1, 0) == 1);
    }
    assert_int_equal(last, -ECANCELED);
    uint64_t count;
    kit_get(cancel_fd, &count, sizeof(count));
    assert_int_equal(count, 1);
    own->driver->close(own);
    raw_close(cancel_fd);
    raw_close(fds[0]);
    raw_close(fds[1]);
}

/* A shielded operation waits as if there were no cancel descriptor, and only that one. */
static void block_shielded(struct kit *k)
{
    int cancel_fd = eventfd(1, EFD_CLOEXEC);
    struct weft__sys *own = open_block(cancel_fd);
    struct stuck s;
    struct top t;
    stuck_open(&s, &t, k, WEFT__OP_RECV);
    for (int i = 0; i < 2; i++) {
        int64_t until = weft__clock_ns() + 2000000;
        t.op.flags = WEFT__OP_SHIELDED;
        t.op.shield_ns = INT64_MAX;
        t.op.until_ns = until;
        assert_true(weft__sys_submit(own, &t.op));
        assert_int_equal(t.op.res, -ETIMEDOUT);
        assert_true(weft__clock_ns() >= until);
        t.op.shield_ns = until = weft__clock_ns() + 2000000; /* it ends first */
        t.op.until_ns = i == 0 ? INT64_MAX : until + 60000000000;
        assert_true(weft__sys_submit(own, &t.op));
        assert_int_equal(t.op.res, -ECANCELED);
        assert_true(weft__clock_ns() >= until);
        t.op.flags = 0;
        assert_true(weft__sys_submit(own, &t.op));
        assert_int_equal(t.op.res, -ECANCELED);
    }
    own->driver->close(own);
    raw_close(cancel_fd);
    stuck_close(&s, k);
}

static void *send_late(void *arg)
{
    int fd = *(int *)arg;
    char c;
    kit_get(fd, &c, 1);
    for (int i = 0; i < 50; i++) {
        kit_put(fd, "x", 1);
        kit_get(fd, &c, 1);
    }
    return NULL;
}

/* Without a time and a cancel descriptor the kernel waits itself, in either mode. */
static void block_for_ever(struct kit *k)
{
    for (int mode = 0; mode < 2; mode++) {
        int fds[2];
        pthread_t thread;
        struct top t;
        char byte = 0;
        kit_pair(KIT_PAIR, fds);
        if (mode)
            raw_set_nonblock(fds[0], true);
        assert_int_equal(pthread_create(&thread, NULL, send_late, &fds[1]), 0);
        for (int i = 0; i < 51; i++) {
            top_send(&t, k, fds[0], "g", 1);
            t.op.until_ns = INT64_MAX;
            assert_true(weft__sys_submit(k->sys, &t.op));
            assert_int_equal(t.op.res, 1);
            if (i == 50)
                break;
            if (i % 2)
                top_recv(&t, k, fds[0], &byte, 1);
            else
                top_recv_pool(&t, k, fds[0]);
            t.op.until_ns = INT64_MAX;
            assert_true(weft__sys_submit(k->sys, &t.op));
            assert_int_equal(t.op.res, 1);
            if (i % 2 == 0)
                weft__rbuf_put(k->sys, t.op.rbuf);
        }
        pthread_join(thread, NULL);
        kit_close_fd(k, fds[0]);
        raw_close(fds[1]);
    }
}

static void block_open_is_cheap(struct kit *k)
{
    int before = kit_count_fds();
    struct weft__sys *own[100];
    (void)k;
    for (int i = 0; i < 100; i++)
        own[i] = open_block(-1);
    assert_int_equal(kit_count_fds(), before);
    for (int i = 0; i < 100; i++)
        own[i]->driver->close(own[i]);
    weft__driver_block.close(NULL);
}

const struct driver_test driver_tests_cancel[] = {
    {"cancel each kind", cancel_each_kind, ON_ALL},
    {"cancel writes", cancel_writes, ON_ALL},
    {"cancel partial send", cancel_partial_send, ON_ALL},
    {"cancel race", cancel_race, ON_ALL},
    {"cancel race accept", cancel_race_accept, ON_ALL},
    {"cancel from done", cancel_from_done, ON_LOOP},
    {"cancel in the middle", cancel_in_the_middle, ON_LOOP},
    {"cancel nop", cancel_nop, ON_LOOP},
    {"block: timeouts", block_timeouts, ON_BLOCK},
    {"block: cancel descriptor", block_cancel_fd, ON_BLOCK},
    {"block: shielded", block_shielded, ON_BLOCK},
    {"block: for ever", block_for_ever, ON_BLOCK},
    {"block: open is cheap", block_open_is_cheap, ON_BLOCK},
    {NULL, NULL, 0},
};
