/* SPDX-License-Identifier: MIT */
/*
 * The driver tests about POLL, which is for any descriptor, also one that the driver does not know.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "driver_kit.h"

static void poll_ready(struct kit *k)
{
    int fds[2];
    struct top t;
    kit_pair(KIT_PAIR, fds);
    top_poll(&t, k, fds[0], POLLOUT);
    assert_int_equal(top_run(&t), POLLOUT);
    top_poll(&t, k, fds[0], POLLIN | POLLOUT);
    assert_int_equal(top_run(&t), POLLOUT);
    kit_put(fds[1], "x", 1);
    for (int i = 0; i < 3; i++) { /* level: it says so each time */
        top_poll(&t, k, fds[0], POLLIN | POLLOUT);
        assert_int_equal(top_run(&t), POLLIN | POLLOUT);
    }
    raw_close(fds[1]);
    top_poll(&t, k, fds[0], POLLIN);
    assert_int_equal(top_run(&t) & (POLLIN | POLLHUP), POLLIN | POLLHUP);
    top_poll(&t, k, fds[0], 0);                          /* HUP comes unasked */
    assert_int_equal(top_run(&t) & ~POLLRDHUP, POLLHUP); /* io_uring: RDHUP, too */
    kit_close_fd(k, fds[0]);

    int file = raw_open("/tmp", O_RDONLY | O_DIRECTORY);
    top_poll(&t, k, file, POLLIN);
    assert_int_equal(top_run(&t), POLLIN);
    kit_close_fd(k, file);
}

static void poll_becomes_ready(struct kit *k)
{
    for (int f = 0; f < KIT_FAMILIES; f++) {
        int fds[2];
        char byte;
        struct top t;
        kit_pair((enum kit_family)f, fds);
        for (int i = 0; i < 10; i++) {
            top_poll(&t, k, fds[0], POLLIN);
            top_start(&t);
            if (!k->block) {
                kit_turn(k);
                assert_false(t.ended);
            }
            kit_put(fds[1], "x", 1);
            assert_int_equal(top_finish(&t), POLLIN);
            kit_get(fds[0], &byte, 1);
        }
        kit_fill(fds[0]);
        top_poll(&t, k, fds[0], POLLOUT);
        top_start(&t);
        /* Not drained at once: TCP takes the time that its acknowledgements take. */
        int64_t limit = weft__clock_ns() + KIT_PATIENCE;
        while (!k->block && !t.ended && weft__clock_ns() < limit) {
            kit_drain(fds[1]);
            kit_turn(k);
        }
        while (k->block && weft__clock_ns() < limit) {
            struct pollfd p = {.fd = fds[0], .events = POLLOUT};
            kit_drain(fds[1]);
            if (poll(&p, 1, 1) > 0)
                break;
        }
        assert_int_equal(top_finish(&t), POLLOUT);
        kit_close_fd(k, fds[0]);
        raw_close(fds[1]);
    }
}

/* Several POLLs of one descriptor, each for its own events. */
static void poll_several(struct kit *k)
{
    int fds[2];
    struct top t[6];
    kit_pair(KIT_PAIR, fds);
    kit_fill(fds[0]);
    static const short events[6] = {POLLIN, POLLOUT, POLLIN | POLLOUT, POLLPRI, POLLIN, POLLRDHUP};
    for (int i = 0; i < 6; i++) {
        top_poll(&t[i], k, fds[0], events[i]);
        top_start(&t[i]);
    }
    if (!k->block)
        kit_turn(k);
    kit_put(fds[1], "x", 1);
    assert_int_equal(top_finish(&t[0]), POLLIN);
    assert_int_equal(top_finish(&t[2]), POLLIN);
    assert_int_equal(top_finish(&t[4]), POLLIN);
    if (!k->block) {
        kit_turn(k);
        assert_false(t[1].ended || t[3].ended || t[5].ended);
    }
    kit_drain(fds[1]);
    assert_int_equal(top_finish(&t[1]), POLLOUT);
    assert_int_equal(raw_shutdown(fds[1], SHUT_WR), 0);
    assert_int_equal(top_finish(&t[5]), POLLRDHUP);
    top_cancel(&t[3]);
    int r = top_finish(&t[3]);
    assert_true(r == -ECANCELED || r == POLLRDHUP); /* which io_uring reports unasked */
    kit_close_fd(k, fds[0]);
    raw_close(fds[1]);
}

/* POLL and RECV wait for the same bytes: both end, in whatever order. */
static void poll_beside_recv(struct kit *k)
{
    for (int round = 0; round < 8; round++) {
        int fds[2];
        char buf[8];
        struct top p, r;
        kit_pair(KIT_PAIR, fds);
        top_poll(&p, k, fds[0], POLLIN);
        top_recv(&r, k, fds[0], buf, 1);
        top_start(round % 2 ? &p : &r);
        if (round & 4 && !k->block)
            kit_turn(k);
        top_start(round % 2 ? &r : &p);
        if (!k->block)
            kit_turn(k);
        kit_put(fds[1], "xyz", 3); /* RECV takes one, so there is something to see in any case */
        if (round & 2) {
            assert_int_equal(top_finish(&p), POLLIN);
            assert_int_equal(top_finish(&r), 1);
        } else {
            assert_int_equal(top_finish(&r), 1);
            assert_int_equal(top_finish(&p), POLLIN);
        }
        top_recv(&r, k, fds[0], buf, sizeof(buf));
        assert_int_equal(top_run(&r), 2);
        kit_close_fd(k, fds[0]);
        raw_close(fds[1]);
    }
}

/*
 * Another library closes its descriptor between two POLLs and opens another of the same number;
 * then the number becomes one of ours. Nothing of the old one may be believed of the new one.
 */
static void poll_foreign_number_again(struct kit *k)
{
    for (int round = 0; round < 50; round++) {
        int a[2], b[2], c[2];
        struct top t;
        char buf[8];
        kit_pair(KIT_PAIR, a);
        int number = a[0], alive = round % 2 ? dup(a[0]) : -1;
        top_poll(&t, k, number, POLLIN);
        top_start(&t);
        if (!k->block)
            kit_turn(k);
        kit_put(a[1], "x", 1);
        assert_int_equal(top_finish(&t), POLLIN);

        kit_pair(KIT_PAIR, b);
        assert_int_equal(dup2(b[0], number), number); /* closes a[0] behind our back */
        top_poll(&t, k, number, POLLIN);
        top_start(&t);
        if (!k->block) {
            kit_turn(k);
            assert_false(t.ended);
        }
        if (alive >= 0) /* what the old one hears is of no concern any more */
            kit_put(a[1], "y", 1);
        kit_put(b[1], "x", 1);
        assert_int_equal(top_finish(&t), POLLIN);

        kit_pair(KIT_PAIR, c);
        assert_int_equal(dup2(c[0], number), number);
        top_recv(&t, k, number, buf, sizeof(buf));
        top_start(&t);
        if (!k->block) {
            kit_turn(k);
            assert_false(t.ended);
        }
        kit_put(c[1], "ours", 4);
        assert_int_equal(top_finish(&t), 4);
        kit_close_fd(k, number);
        raw_close(alive);
        for (int i = 0; i < 2; i++)
            raw_close(b[i]), raw_close(c[i]);
        raw_close(a[1]);
    }
}

/*
 * What was said to be the only descriptor of a file is closed, and was not: a child has the file
 * for a while. What comes for it is of no concern to the next of that number, whatever that one
 * waits for; and should the same file come back under its number, that works, too.
 */
static void closed_but_held(struct kit *k)
{
    for (int round = 0; round < 20; round++) {
        int a[2], b[2], held;
        struct top t;
        char buf[8];
        kit_pair(KIT_PAIR, a);
        held = dup(a[0]);
        top_recv(&t, k, a[0], buf, sizeof(buf));
        top_start(&t);
        kit_turn(k);
        kit_put(a[1], "x", 1);
        assert_int_equal(top_finish(&t), 1);
        weft__sys_close_only_fd(k->sys, a[0]);
        kit_put(a[1], "y", 1);

        if (round % 2) {
            assert_int_equal(dup2(held, a[0]), a[0]);
            top_recv(&t, k, a[0], buf, sizeof(buf));
            assert_int_equal(top_run(&t), 1);
            assert_int_equal(buf[0], 'y');
            top_recv(&t, k, a[0], buf, sizeof(buf));
            top_start(&t);
            kit_turn(k);
            kit_put(a[1], "z", 1);
        } else {
            kit_pair(KIT_PAIR, b);
            assert_int_equal(b[0], a[0]);
            top_recv(&t, k, b[0], buf, sizeof(buf));
            top_start(&t);
            for (int i = 0; i < 3; i++) {
                kit_put(a[1], "y", 1);
                kit_turn(k);
                assert_false(t.ended);
            }
            kit_put(b[1], "z", 1);
        }
        assert_int_equal(top_finish(&t), 1);
        assert_int_equal(buf[0], 'z');
        kit_close_fd(k, a[0]);
        raw_close(held);
        raw_close(a[1]);
        if (round % 2 == 0)
            raw_close(b[1]);
    }
}

static void poll_eventfd(struct kit *k)
{
    struct top t;
    int fd = eventfd(0, EFD_CLOEXEC);
    top_poll(&t, k, fd, POLLIN);
    top_start(&t);
    if (!k->block)
        kit_turn(k);
    kit_put(fd, &(uint64_t){1}, 8);
    assert_int_equal(top_finish(&t), POLLIN);
    kit_close_fd(k, fd);
}

static void poll_pipe(struct kit *k)
{
    struct top t;
    int p[2];
    assert_int_equal(raw_pipe(p), 0);
    top_poll(&t, k, p[0], POLLIN);
    top_start(&t);
    if (!k->block)
        kit_turn(k);
    raw_close(p[1]);
    assert_int_equal(top_finish(&t), POLLHUP);
    kit_close_fd(k, p[0]);

    assert_int_equal(raw_pipe(p), 0);
    int room = raw_pipe_room(p[1]);
    char junk[4096] = {0};
    for (int i = 0; i < room; i += 4096)
        kit_put(p[1], junk, 4096);
    top_poll(&t, k, p[1], POLLOUT);
    top_start(&t);
    if (!k->block)
        kit_turn(k);
    raw_close(p[0]);
    assert_true(top_finish(&t) & POLLERR);
    kit_close_fd(k, p[1]);
}

const struct driver_test driver_tests_poll[] = {
    {"poll ready", poll_ready, ON_ALL},
    {"poll becomes ready", poll_becomes_ready, ON_ALL},
    {"poll several", poll_several, ON_ALL},
    {"poll beside recv", poll_beside_recv, ON_ALL},
    {"poll foreign number again", poll_foreign_number_again, ON_ALL | ON_REAL}, /* dup2(2) */
    {"closed but held", closed_but_held, ON_LOOP | ON_REAL},                    /* dup(2) */
    {"poll eventfd", poll_eventfd, ON_ALL | ON_REAL}, /* no such descriptor */
    {"poll pipe", poll_pipe, ON_ALL},
    {NULL, NULL, 0},
};
