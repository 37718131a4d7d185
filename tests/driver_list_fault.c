/* SPDX-License-Identifier: MIT */
/*
 * The driver tests about faults: each fault point and each allocation on the way of an operation
 * fails in turn.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/alloc.h"
#include "driver_kit.h"
#include "sys/call.h"

#define SA(s) ((struct sockaddr *)(void *)(s))

enum { FAULT_CALL, FAULT_ALLOC };

static void arm(int what, uint64_t n)
{
    if (what == FAULT_CALL)
        weft__fault_at(n, EIO);
    else
        weft__alloc_fail_at(n);
}

static void disarm(void)
{
    weft__fault_at(0, 0);
    weft__alloc_fail_at(0);
    weft__alloc_hooks = false;
}

/*
 * One operation that waits and then ends, under a fault at the n-th point. Returns its result; a
 * fault of wait itself is passed over, as a loop could, and *hit says that there was one.
 */
static int run_faulty(struct kit *k, struct top *t, int what, uint64_t n, int peer, bool *hit)
{
    arm(what, n);
    if (k->block) {
        t->op.until_ns = weft__clock_ns() + KIT_PATIENCE;
        kit_put(peer, "abcd", 4);
        bool at_once = weft__sys_submit(k->sys, &t->op);
        disarm();
        KIT_CHECK(at_once);
        t->ended = true;
        return t->op.res;
    }
    top_start(t);
    for (int i = 0; i < 2 && !t->ended; i++)
        *hit |= weft__sys_wait(k->sys, 0) < 0;
    kit_put(peer, "abcd", 4);
    for (int i = 0; i < 3 && !t->ended; i++)
        *hit |= weft__sys_wait(k->sys, weft__clock_ns() + 1000000) < 0;
    disarm();
    return top_finish(t);
}

static void check_kind(struct kit *k, enum weft__op_kind kind, int what)
{
    int failures = 0;
    for (uint64_t n = 1; n < 30; n++) {
        int fds[2], before = kit_count_fds();
        char buf[16];
        struct iovec iov = {buf, sizeof(buf)};
        struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
        struct top t;
        bool hit = false;
        kit_pair(KIT_PAIR, fds);
        top_init(&t, k, kind, fds[0]);
        if (kind == WEFT__OP_RECVMSG || kind == WEFT__OP_SENDMSG) {
            t.op.u.msg.msg = &msg;
        } else if (kind == WEFT__OP_POLL) {
            t.op.u.poll.events = POLLIN;
        } else {
            t.op.u.io.buf = memset(buf, 'b', sizeof(buf));
            t.op.u.io.len = sizeof(buf);
        }
        int r = run_faulty(k, &t, what, n, fds[1], &hit);
        if (r < 0) {
            failures++;
            assert_true(what == FAULT_CALL ? r == -EIO || r == -ENOBUFS
                                           : r == -ENOMEM || r == -ENOBUFS);
            /* The descriptor goes on as if nothing had been. */
            top_recv(&t, k, fds[0], buf, sizeof(buf));
            assert_int_equal(top_run(&t), 4);
            assert_memory_equal(buf, "abcd", 4);
        } else if (kind == WEFT__OP_RECV_POOL) {
            assert_memory_equal(t.op.rbuf->data, "abcd", 4);
            top_put(&t);
        }
        assert_int_equal(k->sys->in_flight, 0);
        kit_close_fd(k, fds[0]);
        raw_close(fds[1]);
        assert_int_equal(kit_count_fds(), before);
    }
    if (what == FAULT_CALL)
        assert_in_range(failures, 1, 25);
}

static void fault_each_kind(struct kit *k)
{
    static const uint8_t kinds[] = {WEFT__OP_RECV,    WEFT__OP_RECV_POOL, WEFT__OP_SEND,
                                    WEFT__OP_RECVMSG, WEFT__OP_SENDMSG,   WEFT__OP_READ,
                                    WEFT__OP_WRITE,   WEFT__OP_POLL};
    for (size_t i = 0; i < sizeof(kinds); i++)
        check_kind(k, (enum weft__op_kind)kinds[i], FAULT_CALL);
}

/* Each time with a driver of its own, whose pool and tables are empty. */
static void fault_each_allocation(struct kit *k)
{
    static const uint8_t kinds[] = {WEFT__OP_RECV, WEFT__OP_RECV_POOL, WEFT__OP_POLL};
    for (size_t i = 0; i < sizeof(kinds); i++) {
        struct kit own = *k;
        struct weft__sys_options o = {.cancel_fd = -1};
        if (k->sim) /* a simulated process has one loop at a time */
            k->drv->close(k->sys);
        assert_int_equal(k->drv->open(&own.sys, &o), 0);
        check_kind(&own, (enum weft__op_kind)kinds[i], FAULT_ALLOC);
        k->drv->close(own.sys);
        if (k->sim)
            assert_int_equal(k->drv->open(&k->sys, &o), 0);
    }
}

struct accepted {
    int fd[8];
    int count;
};

static void on_accept(struct top *t)
{
    struct accepted *a = t->arg;
    if (t->op.res >= 0)
        a->fd[a->count++] = t->op.res;
}

static void fault_accept(struct kit *k)
{
    for (int multi = 0; multi < (k->block ? 1 : 2); multi++) {
        for (uint64_t n = 1; n < 20; n++) {
            struct sockaddr_storage sa;
            socklen_t len;
            struct top t;
            int before = kit_count_fds();
            int l = kit_listener(KIT_TCP4, 4, &sa, &len), c = kit_socket(KIT_TCP4);
            assert_int_equal(raw_connect(c, SA(&sa), len), 0);
            top_accept(&t, k, l);
            t.op.flags = multi ? WEFT__OP_MULTI : 0;
            struct accepted a = {.count = 0};
            t.then = on_accept;
            t.arg = &a;
            arm(FAULT_CALL, n);
            if (k->block) {
                assert_true(weft__sys_submit(k->sys, &t.op));
                t.ended = true;
                on_accept(&t);
            } else {
                top_start(&t);
                for (int i = 0; i < 20 && t.results == 0; i++)
                    (void)weft__sys_wait(k->sys, weft__clock_ns() + 1000000);
            }
            disarm();
            if (t.ended && t.op.res < 0)
                assert_int_equal(t.op.res, -EIO);
            if (!t.ended) {
                top_cancel(&t);
                assert_int_equal(top_finish(&t), -ECANCELED);
            }
            assert_in_range(a.count, 0, 1);
            if (a.count > 0)
                kit_close_fd(k, a.fd[0]);
            kit_close_fd(k, l);
            raw_close(c);
            assert_int_equal(kit_count_fds(), before);
        }
    }
}

static void fault_connect(struct kit *k)
{
    for (uint64_t n = 1; n < 20; n++) {
        struct sockaddr_storage sa;
        socklen_t len;
        struct top t;
        int before = kit_count_fds();
        int l = kit_listener(KIT_TCP4, 4, &sa, &len), c = kit_socket(KIT_TCP4);
        top_connect(&t, k, c, SA(&sa), len);
        arm(FAULT_CALL, n);
        if (k->block) {
            assert_true(weft__sys_submit(k->sys, &t.op));
            t.ended = true;
        } else {
            top_start(&t);
            for (int i = 0; i < 20 && !t.ended; i++)
                (void)weft__sys_wait(k->sys, weft__clock_ns() + 1000000);
        }
        disarm();
        int r = top_finish(&t);
        assert_true(r == 0 || r == -EIO);
        assert_false(kit_is_nonblock(c));
        kit_close_fd(k, c);
        raw_close(l);
        assert_int_equal(kit_count_fds(), before);
    }
}

static void fault_open(struct kit *k)
{
    struct weft__sys_options again = {.cancel_fd = -1};
    if (k->sim)
        k->drv->close(k->sys);
    for (int what = FAULT_CALL; what <= FAULT_ALLOC; what++) {
        int failures = 0;
        for (uint64_t n = 1; n < 20; n++) {
            int before = kit_count_fds();
            struct weft__sys *sys = NULL;
            struct weft__sys_options o = {.cancel_fd = -1};
            arm(what, n);
            int r = k->drv->open(&sys, &o);
            disarm();
            if (r < 0) {
                failures++;
                assert_null(sys);
                assert_int_equal(r, what == FAULT_CALL ? -EIO : -ENOMEM);
            } else {
                k->drv->close(sys);
            }
            assert_int_equal(kit_count_fds(), before);
        }
        if ((!k->block && !k->sim) || what == FAULT_ALLOC)
            assert_in_range(failures, 1, 18);
        else
            assert_int_equal(failures, 0);
    }
    k->drv->close(NULL);
    if (k->sim)
        assert_int_equal(k->drv->open(&k->sys, &again), 0);
}

static void fault_wait(struct kit *k)
{
    int failures = 0;
    for (uint64_t n = 1; n < 10; n++) {
        arm(FAULT_CALL, n);
        int r = weft__sys_wait(k->sys, weft__clock_ns() + 100000);
        disarm();
        assert_true(r == 0 || r == -EIO);
        failures += r < 0;
    }
    assert_in_range(failures, 0, 8);
    /* It still works. */
    weft__sys_wake(k->sys);
    assert_int_equal(weft__sys_wait(k->sys, INT64_MAX), 0);
}

const struct driver_test driver_tests_fault[] = {
    {"fault in each kind", fault_each_kind, ON_ALL},
    {"fault in each allocation", fault_each_allocation, ON_ALL},
    {"fault in accept", fault_accept, ON_ALL},
    {"fault in connect", fault_connect, ON_ALL},
    {"fault in open", fault_open, ON_ALL},
    {"fault in wait", fault_wait, ON_ALL},
    {NULL, NULL, 0},
};
