/* SPDX-License-Identifier: MIT */
/*
 * The driver tests about many operations, reused descriptors, and what done may do.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "driver_kit.h"

/*
 * A number is closed and opened again at once, a thousand times, in all states of readiness.
 * Whatever was known or under way of the old one must not leak to the new one.
 */
static void number_again(struct kit *k)
{
    uint64_t seed = 11;
    int number = -1;
    for (int i = 0; i < 1000; i++) {
        int fds[2];
        char buf[8];
        struct top t;
        uint32_t dice = kit_random(&seed);
        kit_pair(dice % 8 ? KIT_PAIR : KIT_TCP4, fds);
        if (number < 0)
            number = fds[0];
        if (dice & 16)
            kit_put(fds[1], "now", 3);
        top_recv(&t, k, fds[0], buf, sizeof(buf));
        if (dice & 32)
            t.op.flags = WEFT__OP_POLL_FIRST;
        top_start(&t);
        if (!(dice & 16)) {
            if (!k->block) {
                kit_turn(k);
                assert_false(t.ended);
            }
            kit_put(fds[1], "now", 3);
        }
        assert_int_equal(top_finish(&t), 3);
        if (dice & 64) /* readable when it is closed */
            kit_put(fds[1], "more", 4);
        if (dice & 128) { /* or at its end */
            raw_close(fds[1]);
            fds[1] = -1;
        }
        if (dice & 256 && fds[1] >= 0) { /* or not writable */
            kit_fill(fds[0]);
            top_send(&t, k, fds[0], "x", 1);
            top_start(&t);
            top_cancel(&t);
            (void)top_finish(&t);
        }
        if (dice & 512 && !k->block) /* with its events taken, or still to come */
            kit_turn(k);
        kit_close_fd(k, fds[0]);
        raw_close(fds[1]);
    }
}

struct chain {
    int left;
    int fd;
    bool over;
};

static void again(struct top *t)
{
    struct chain *c = t->arg;
    struct kit *k = t->kit;
    if (--c->left == 0) {
        c->over = true;
        free(t);
        return;
    }
    /* Frees this one, and starts its successor in its place. */
    struct top *next = malloc(sizeof(*next));
    KIT_CHECK(next != NULL);
    memset(t, 0xaa, sizeof(*t));
    free(t);
    top_poll(next, k, c->fd, POLLOUT);
    if (c->left % 3 == 0)
        top_init(next, k, WEFT__OP_NOP, -1);
    next->then = again;
    next->arg = c;
    top_start(next);
}

static void done_frees_and_submits(struct kit *k)
{
    int fds[2];
    kit_pair(KIT_PAIR, fds);
    struct chain c = {.left = 300, .fd = fds[0]};
    struct top *first = malloc(sizeof(*first));
    assert_non_null(first);
    top_init(first, k, WEFT__OP_NOP, -1);
    first->then = again;
    first->arg = &c;
    top_start(first);
    kit_until(k, &c.over);
    kit_close_fd(k, fds[0]);
    raw_close(fds[1]);
}

struct field {
    struct kit *k;
    int (*fds)[2];
    struct top *recv;
    int count;
    int open;
    int next; /* the pair that the next done closes */
    char *buf;
};

/* Closes the pair whose turn it is, after its RECV was cancelled, and opens another in its place.
 */
static void replace(struct top *t)
{
    struct field *f = t->arg;
    if (f->next >= f->count)
        return;
    int i = f->next++;
    struct top *r = &f->recv[i];
    if (!r->ended) {
        weft__sys_cancel(f->k->sys, &r->op);
        return;
    }
    kit_close_fd(f->k, f->fds[i][0]);
    raw_close(f->fds[i][1]);
    kit_pair(KIT_PAIR, f->fds[i]);
    top_recv(r, f->k, f->fds[i][0], &f->buf[i], 1);
    top_start(r);
}

/* done closes descriptors whose events are in the batch being taken; others get their numbers. */
static void done_closes_others(struct kit *k)
{
    enum { COUNT = 64 };
    for (int round = 0; round < 20; round++) {
        int fds[COUNT][2];
        struct top t[COUNT];
        char buf[COUNT];
        struct field f = {.k = k, .fds = fds, .recv = t, .count = COUNT, .buf = buf};
        for (int i = 0; i < COUNT; i++) {
            kit_pair(KIT_PAIR, fds[i]);
            top_recv(&t[i], k, fds[i][0], &buf[i], 1);
            t[i].then = replace;
            t[i].arg = &f;
            top_start(&t[i]);
        }
        kit_turn(k);
        for (int i = 0; i < COUNT; i++)
            kit_put(fds[i][1], "x", 1);
        for (int i = 0; i < 10; i++)
            kit_turn(k);
        f.next = COUNT;
        for (int i = 0; i < COUNT; i++) {
            /* The new ones have nothing to read: stale events must not have ended them. */
            if (!t[i].ended) {
                top_cancel(&t[i]);
                assert_int_equal(top_finish(&t[i]), -ECANCELED);
            } else {
                assert_true(t[i].op.res == 1 || t[i].op.res == -ECANCELED);
            }
            kit_close_fd(k, fds[i][0]);
            raw_close(fds[i][1]);
        }
    }
}

/* Two thousand operations under way at once, ended in another order than begun. */
static void many(struct kit *k)
{
    int count = k->block ? 100 : 2000;
    struct top *t = calloc((size_t)count, sizeof(*t));
    int(*fds)[2] = calloc((size_t)count, sizeof(*fds));
    char *buf = calloc((size_t)count, 1);
    assert_true(t != NULL && fds != NULL && buf != NULL);
    for (int i = 0; i < count; i++) {
        kit_pair(KIT_PAIR, fds[i]);
        top_recv(&t[i], k, fds[i][0], &buf[i], 1);
        top_start(&t[i]);
    }
    if (!k->block) {
        assert_int_equal(k->sys->in_flight, count);
        kit_turn(k);
        assert_int_equal(k->sys->in_flight, count);
    }
    for (int i = 0; i < count; i++) {
        int j = i * 7 % count;
        if (j % 3 == 0)
            top_cancel(&t[j]);
        else
            kit_put(fds[j][1], &(char){(char)j}, 1);
    }
    for (int i = 0; i < count; i++) {
        assert_int_equal(top_finish(&t[i]), i % 3 ? 1 : -ECANCELED);
        assert_int_equal(buf[i], i % 3 ? (char)i : 0);
        assert_int_equal(t[i].results, 1);
        kit_close_fd(k, fds[i][0]);
        raw_close(fds[i][1]);
    }
    free(t);
    free(fds);
    free(buf);
}

/* More operations than any queue holds, without a wait between. */
static void many_in_one_turn(struct kit *k)
{
    enum { COUNT = 6000 };
    struct top *t = calloc(COUNT, sizeof(*t));
    assert_non_null(t);
    int fds[2];
    kit_pair(KIT_PAIR, fds);
    for (int i = 0; i < COUNT; i++) {
        if (i % 2)
            top_init(&t[i], k, WEFT__OP_NOP, -1);
        else
            top_poll(&t[i], k, fds[0], POLLOUT);
        top_start(&t[i]);
        if (i % 10 == 0 && !t[i].ended)
            top_cancel(&t[i]);
    }
    for (int i = 0; i < COUNT; i++) {
        int r = top_finish(&t[i]);
        assert_true(r == 0 || r == POLLOUT || (i % 10 == 0 && r == -ECANCELED));
        assert_int_equal(t[i].results, 1);
    }
    kit_close_fd(k, fds[0]);
    raw_close(fds[1]);
    free(t);
}

struct echo {
    struct top recv, send;
    char buf[64];
    int rounds;
    bool over;
};

static void echo_step(struct top *t)
{
    struct echo *e = t->arg;
    KIT_CHECK(t->op.res > 0);
    if (t == &e->send) {
        if (--e->rounds <= 0) {
            e->over = true;
            return;
        }
        top_recv(&e->recv, t->kit, t->op.fd, e->buf, sizeof(e->buf));
        e->recv.op.flags = WEFT__OP_POLL_FIRST;
        e->recv.then = echo_step;
        e->recv.arg = e;
        top_start(&e->recv);
    } else {
        top_send(&e->send, t->kit, t->op.fd, e->buf, (size_t)t->op.res);
        e->send.then = echo_step;
        e->send.arg = e;
        top_start(&e->send);
    }
}

/* Both ends of connections on one loop play ping-pong: no edge may be lost. */
static void ping_pong(struct kit *k)
{
    enum { PAIRS = 20, ROUNDS = 400 };
    static struct echo e[PAIRS][2];
    int fds[PAIRS][2];
    for (int i = 0; i < PAIRS; i++) {
        kit_pair((enum kit_family)(i % KIT_FAMILIES), fds[i]);
        for (int j = 0; j < 2; j++) {
            struct echo *one = &e[i][j];
            memset(one, 0, sizeof(*one));
            one->rounds = ROUNDS;
            top_recv(&one->recv, k, fds[i][j], one->buf, sizeof(one->buf));
            one->recv.then = echo_step;
            one->recv.arg = one;
        }
        top_start(&e[i][0].recv);
        e[i][1].rounds++;
        top_send(&e[i][1].send, k, fds[i][1], "ball", 4);
        e[i][1].send.then = echo_step;
        e[i][1].send.arg = &e[i][1];
        top_start(&e[i][1].send);
    }
    for (int i = 0; i < PAIRS; i++) {
        kit_until(k, &e[i][0].over);
        kit_until(k, &e[i][1].recv.ended);
        assert_int_equal(e[i][1].recv.op.res, 4);
    }
    /* The last ball is echoed by no one: e[i][1] sends it once more. */
    for (int i = 0; i < PAIRS; i++) {
        kit_until(k, &e[i][1].over);
        kit_close_fd(k, fds[i][0]);
        kit_close_fd(k, fds[i][1]);
    }
}

const struct driver_test driver_tests_stress[] = {
    {"number again", number_again, ON_ALL},
    {"done frees and submits", done_frees_and_submits, ON_LOOP},
    {"done closes others", done_closes_others, ON_LOOP},
    {"many", many, ON_ALL},
    {"many in one turn", many_in_one_turn, ON_LOOP},
    {"ping-pong", ping_pong, ON_LOOP},
    {NULL, NULL, 0},
};
