/* SPDX-License-Identifier: MIT */
/*
 * The driver tests about connections: accept and connect.
 */
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "driver_kit.h"

#define SA(s) ((struct sockaddr *)(void *)(s))

static void check_accepted(int fd)
{
    assert_true(fd >= 0);
    assert_false(kit_is_nonblock(fd));
    assert_true(raw_is_cloexec(fd));
}

static void accept_one(struct kit *k)
{
    for (int f = 0; f < KIT_PAIR; f++) {
        struct sockaddr_storage sa, from, self;
        socklen_t len, from_len, self_len = sizeof(self);
        int l = kit_listener((enum kit_family)f, 16, &sa, &len);
        for (int early = 0; early < 4; early++) {
            struct top t;
            int c = kit_socket((enum kit_family)f);
            top_accept(&t, k, l);
            from_len = sizeof(from);
            t.op.u.accept.addr = early < 2 ? SA(&from) : NULL;
            t.op.u.accept.addrlen = early < 2 ? &from_len : NULL;
            if (early % 2)
                assert_int_equal(raw_connect(c, SA(&sa), len), 0);
            top_start(&t);
            if (!k->block)
                kit_turn(k);
            if (early % 2 == 0)
                assert_int_equal(raw_connect(c, SA(&sa), len), 0);
            int fd = top_finish(&t);
            check_accepted(fd);
            assert_false(t.op.more);
            if (early < 2 && f < KIT_UNIX) {
                self_len = sizeof(self);
                assert_int_equal(raw_getsockname(c, SA(&self), &self_len), 0);
                assert_int_equal(from_len, self_len);
                assert_memory_equal(&from, &self, self_len);
            }
            kit_put(c, "x", 1);
            char byte;
            kit_get(fd, &byte, 1);
            kit_close_fd(k, fd);
            raw_close(c);
        }
        kit_close_fd(k, l);
        kit_unlink(&sa);
    }
}

/* Several accepts wait on one listener; each connection ends exactly one of them. */
static void accept_several(struct kit *k)
{
    enum { COUNT = 8 };
    struct sockaddr_storage sa;
    socklen_t len;
    struct top t[COUNT];
    int c[COUNT];
    int l = kit_listener(KIT_TCP4, COUNT, &sa, &len);
    for (int i = 0; i < COUNT; i++) {
        top_accept(&t[i], k, l);
        top_start(&t[i]);
    }
    if (!k->block)
        kit_turn(k);
    for (int i = 0; i < COUNT; i++) {
        c[i] = kit_socket(KIT_TCP4);
        assert_int_equal(raw_connect(c[i], SA(&sa), len), 0);
    }
    for (int i = 0; i < COUNT; i++) {
        int fd = top_finish(&t[i]);
        check_accepted(fd);
        kit_close_fd(k, fd);
    }
    for (int i = 0; i < COUNT; i++)
        raw_close(c[i]);
    kit_close_fd(k, l);
}

struct multi {
    struct top t;
    int fds[300];
    int count;
    int stop_at; /* cancels itself at this many, 0: never */
    bool reached;
    int wanted;
};

static void on_multi(struct top *t)
{
    struct multi *m = t->arg;
    if (t->op.res >= 0) {
        KIT_CHECK(m->count < 300);
        m->fds[m->count++] = t->op.res;
    }
    if (m->count == m->wanted)
        m->reached = true;
    if (m->count == m->stop_at && t->op.more)
        weft__sys_cancel(t->kit->sys, &t->op);
}

static void multi_start(struct multi *m, struct kit *k, int l, int wanted, int stop_at, size_t room)
{
    memset(m, 0, sizeof(*m));
    top_accept(&m->t, k, l);
    m->t.op.flags = WEFT__OP_MULTI;
    m->t.op.u.accept.room = room;
    m->t.then = on_multi;
    m->t.arg = m;
    m->wanted = wanted;
    m->stop_at = stop_at;
    top_start(&m->t);
}

static void accept_multi(struct kit *k)
{
    enum { COUNT = 100 };
    struct sockaddr_storage sa;
    socklen_t len;
    struct multi m;
    int c[2 * COUNT];
    int l = kit_listener(KIT_TCP4, 2 * COUNT, &sa, &len);
    /* Half of them are there before, more than one turn takes. */
    for (int i = 0; i < COUNT; i++) {
        c[i] = kit_socket(KIT_TCP4);
        assert_int_equal(raw_connect(c[i], SA(&sa), len), 0);
    }
    multi_start(&m, k, l, COUNT, 0, COUNT);
    assert_false(m.t.ended);
    kit_until(k, &m.reached);
    m.reached = false;
    m.wanted = 2 * COUNT;
    for (int i = COUNT; i < 2 * COUNT; i++) {
        c[i] = kit_socket(KIT_TCP4);
        assert_int_equal(raw_connect(c[i], SA(&sa), len), 0);
        if (i % 7 == 0)
            kit_turn(k);
    }
    kit_until(k, &m.reached);
    assert_false(m.t.ended);
    top_cancel(&m.t);
    assert_int_equal(top_finish(&m.t), -ECANCELED);
    assert_false(m.t.op.more);
    assert_int_equal(m.count, 2 * COUNT);
    for (int i = 0; i < 2 * COUNT; i++) {
        check_accepted(m.fds[i]);
        kit_close_fd(k, m.fds[i]);
        raw_close(c[i]);
    }
    kit_close_fd(k, l);
}

/* A MULTI that its own done cancels; what is not accepted by it stays for the next. */
static void accept_multi_stops_at(struct kit *k, size_t room)
{
    enum { COUNT = 60 };
    struct sockaddr_storage sa;
    socklen_t len;
    struct multi m;
    int c[COUNT], got = 0;
    int l = kit_listener(KIT_TCP4, COUNT, &sa, &len);
    for (int i = 0; i < COUNT; i++) {
        c[i] = kit_socket(KIT_TCP4);
        assert_int_equal(raw_connect(c[i], SA(&sa), len), 0);
    }
    while (got < COUNT) {
        int left = COUNT - got;
        int stop_at = left < 9 ? left : 9;
        multi_start(&m, k, l, -1, stop_at, room);
        int r = top_finish(&m.t);
        assert_true(r == -ECANCELED || r >= 0);
        assert_in_range(m.count, stop_at, stop_at + (int)room - 1);
        for (int i = 0; i < m.count; i++) {
            check_accepted(m.fds[i]);
            kit_close_fd(k, m.fds[i]);
        }
        got += m.count;
    }
    assert_int_equal(got, COUNT);
    for (int i = 0; i < COUNT; i++)
        raw_close(c[i]);
    kit_close_fd(k, l);
}

static void accept_multi_stops(struct kit *k)
{
    accept_multi_stops_at(k, 1);
    accept_multi_stops_at(k, 20);
}

/* However many wait, one wait takes a round of them, or one: others have their turn in between. */
static void accept_multi_by(struct kit *k, int round)
{
    enum { COUNT = 5 * WEFT__ACCEPT_ROUND };
    struct sockaddr_storage sa;
    socklen_t len;
    struct multi m;
    int c[COUNT], turns = 0;
    int l = kit_listener(KIT_TCP4, COUNT, &sa, &len);
    for (int i = 0; i < COUNT; i++) {
        c[i] = kit_socket(KIT_TCP4);
        assert_int_equal(raw_connect(c[i], SA(&sa), len), 0);
    }
    multi_start(&m, k, l, COUNT, 0, COUNT);
    m.t.op.flags |= round == 1 ? WEFT__OP_SLOWLY : 0;
    for (int before = 0; !m.reached; before = m.count, turns++) {
        kit_turn(k);
        assert_in_range(m.count, before, before + round);
    }
    assert_in_range(turns, COUNT / round, 2 * COUNT / round);
    top_cancel(&m.t);
    assert_int_equal(top_finish(&m.t), -ECANCELED);
    for (int i = 0; i < COUNT; i++) {
        kit_close_fd(k, m.fds[i]);
        raw_close(c[i]);
    }
    kit_close_fd(k, l);
}

static void accept_multi_by_rounds(struct kit *k)
{
    accept_multi_by(k, WEFT__ACCEPT_ROUND);
}

static void accept_multi_slowly(struct kit *k)
{
    accept_multi_by(k, 1);
}

/* What comes out of a listener of packets is a socket of packets: that one is short says nothing
 * about the next. */
static void accept_multi_packets(struct kit *k)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    socklen_t len = sizeof(sa);
    int l = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0), c;
    struct multi m;
    struct top t;
    char buf[8];
    assert_int_equal(bind(l, (struct sockaddr *)&sa, sizeof(sa.sun_family)), 0); /* autobind */
    assert_int_equal(getsockname(l, (struct sockaddr *)&sa, &len), 0);
    assert_int_equal(listen(l, 4), 0);
    for (int i = 0; i < 2; i++) { /* the second time the listener is known */
        c = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        assert_int_equal(connect(c, (struct sockaddr *)&sa, len), 0);
        multi_start(&m, k, l, 1, 1, 1);
        top_finish(&m.t);
        assert_int_equal(m.count, 1);
        top_recv(&t, k, m.fds[0], buf, sizeof(buf));
        top_start(&t);
        kit_turn(k);
        kit_put(c, "ab", 2);
        kit_put(c, "cde", 3);
        assert_int_equal(top_finish(&t), 2);
        top_recv(&t, k, m.fds[0], buf, sizeof(buf));
        assert_int_equal(top_run(&t), 3);
        assert_memory_equal(buf, "cde", 3);
        kit_close_fd(k, m.fds[0]);
        raw_close(c);
    }
    kit_close_fd(k, l);
}

static void accept_multi_refused(struct kit *k)
{
    struct sockaddr_storage sa;
    socklen_t len;
    struct top t;
    int l = kit_listener(KIT_TCP4, 1, &sa, &len);
    top_accept(&t, k, l);
    t.op.flags = WEFT__OP_MULTI;
    assert_int_equal(top_run(&t), -EINVAL);
    assert_false(t.op.more);
    kit_close_fd(k, l);
}

/* Two loops on one listener: whoever is late gets nothing, and does not hang. */
static void accept_shared(struct kit *k)
{
    struct sockaddr_storage sa;
    socklen_t len;
    struct top t;
    struct kit other = {.drv = k->drv, .block = k->block};
    struct weft__sys_options o = {.cancel_fd = -1};
    int l = kit_listener(KIT_TCP4, 16, &sa, &len);
    assert_int_equal(k->drv->open(&other.sys, &o), 0);
    for (int i = 0; i < 10; i++) {
        struct top u;
        top_accept(&t, k, l);
        top_accept(&u, &other, l);
        top_start(&t);
        top_start(&u);
        int c = kit_socket(KIT_TCP4);
        assert_int_equal(raw_connect(c, SA(&sa), len), 0);
        int winners = 0;
        for (int j = 0; !k->block && winners == 0; j++) {
            kit_turn(k);
            kit_turn(&other);
            winners = t.ended + u.ended;
            assert_true(j < 100000);
        }
        assert_in_range(winners, 0, 1);
        top_cancel(&t);
        top_cancel(&u);
        int a = top_finish(&t), b = top_finish(&u);
        if (k->block && a < 0 && b < 0) { /* cancelled before they came to it */
            raw_close(raw_accept(l));
        } else {
            assert_true((a >= 0) != (b >= 0));
            kit_close_fd(a >= 0 ? k : &other, a >= 0 ? a : b);
        }
        raw_close(c);
    }
    other.drv->forget(other.sys, l, false);
    kit_close_fd(k, l);
    other.drv->close(other.sys);
}

static void connect_works(struct kit *k)
{
    for (int f = 0; f < KIT_PAIR; f++) {
        for (int mode = 0; mode < 2; mode++) {
            struct sockaddr_storage sa;
            socklen_t len;
            struct top t;
            int l = kit_listener((enum kit_family)f, 16, &sa, &len);
            int c = kit_socket((enum kit_family)f);
            if (mode == 1)
                assert_int_equal(raw_set_nonblock(c, true), 0);
            top_connect(&t, k, c, SA(&sa), len);
            assert_int_equal(top_run(&t), 0);
            assert_int_equal(kit_is_nonblock(c), mode == 1);
            int s = raw_accept(l);
            assert_true(s >= 0);
            top_send(&t, k, c, "hello", 5);
            assert_int_equal(top_run(&t), 5);
            char buf[8];
            kit_get(s, buf, 5);
            kit_put(s, "back", 4);
            top_recv(&t, k, c, buf, sizeof(buf));
            assert_int_equal(top_run(&t), 4);
            top_connect(&t, k, c, SA(&sa), len);
            assert_int_equal(top_run(&t), -EISCONN);
            kit_close_fd(k, c);
            raw_close(s);
            raw_close(l);
            kit_unlink(&sa);
        }
    }
}

static void connect_refused(struct kit *k)
{
    for (int f = 0; f < KIT_PAIR; f++) {
        struct sockaddr_storage sa;
        socklen_t len;
        struct top t;
        raw_close(kit_listener((enum kit_family)f, 1, &sa, &len));
        int c = kit_socket((enum kit_family)f);
        for (int round = 0; round < 2; round++) { /* the socket stays usable */
            top_connect(&t, k, c, SA(&sa), len);
            assert_int_equal(top_run(&t), -ECONNREFUSED);
            assert_false(kit_is_nonblock(c));
        }
        kit_close_fd(k, c);
        kit_unlink(&sa);
    }
    struct sockaddr_storage sa = {.ss_family = AF_UNIX};
    struct top t;
    int c = kit_socket(KIT_TCP4);
    top_connect(&t, k, c, SA(&sa), sizeof(struct sockaddr_in));
    int r = top_run(&t);
    assert_true(r < 0 && r != -ECANCELED);
    kit_close_fd(k, c);
}

/* An address where nothing answers: the backlog of a listener that does not accept is full. */
static int full_listener(enum kit_family f, struct sockaddr_storage *sa, socklen_t *len,
                         int fill[8])
{
    int l = kit_listener(f, 0, sa, len);
    for (int i = 0; i < 8; i++) {
        fill[i] = kit_socket(f);
        assert_int_equal(raw_set_nonblock(fill[i], true), 0);
        (void)raw_connect(fill[i], SA(sa), *len);
    }
    return l;
}

static void connect_parks(struct kit *k)
{
    for (int f = 0; f < KIT_PAIR; f++) {
        struct sockaddr_storage sa;
        socklen_t len;
        struct top t;
        int fill[8];
        int l = full_listener((enum kit_family)f, &sa, &len, fill);
        int c = kit_socket((enum kit_family)f);
        top_connect(&t, k, c, SA(&sa), len);
        top_start(&t);
        if (!k->block) {
            kit_turn(k);
            assert_false(t.ended);
        }
        if (f == KIT_UNIX) { /* room in the backlog ends it */
            raw_close(raw_accept(l));
            assert_int_equal(top_finish(&t), 0);
        } else {
            top_cancel(&t);
            assert_int_equal(top_finish(&t), -ECANCELED);
        }
        assert_false(kit_is_nonblock(c));
        for (int i = 0; i < 8; i++)
            raw_close(fill[i]);
        kit_close_fd(k, c);
        raw_close(l);
        kit_unlink(&sa);
    }
}

static void connect_udp(struct kit *k)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons(9)};
    struct top t;
    sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = raw_socket(AF_INET, SOCK_DGRAM);
    for (int i = 0; i < 2; i++) {
        top_connect(&t, k, fd, SA(&sa), sizeof(sa));
        assert_int_equal(top_run(&t), 0);
    }
    kit_close_fd(k, fd);
}

/* Accept and connect of one loop meet. */
static void connect_to_self(struct kit *k)
{
    for (int f = 0; f < KIT_PAIR; f++) {
        struct sockaddr_storage sa;
        socklen_t len;
        struct top a, c;
        int l = kit_listener((enum kit_family)f, 16, &sa, &len);
        for (int i = 0; i < 20; i++) {
            int fd = kit_socket((enum kit_family)f);
            top_accept(&a, k, l);
            top_connect(&c, k, fd, SA(&sa), len);
            top_start(&a);
            top_start(&c);
            assert_int_equal(top_finish(&c), 0);
            int s = top_finish(&a);
            check_accepted(s);
            kit_close_fd(k, s);
            kit_close_fd(k, fd);
        }
        kit_close_fd(k, l);
        kit_unlink(&sa);
    }
}

const struct driver_test driver_tests_connect[] = {
    {"accept one", accept_one, ON_ALL},
    {"accept several", accept_several, ON_ALL},
    {"accept multi", accept_multi, ON_LOOP},
    {"accept multi stops", accept_multi_stops, ON_LOOP},
    {"accept multi by rounds", accept_multi_by_rounds, ON_LOOP},
    {"accept multi slowly", accept_multi_slowly, ON_LOOP},
    {"accept multi packets", accept_multi_packets, ON_LOOP | ON_REAL}, /* no such sockets */
    {"accept multi refused", accept_multi_refused, ON_BLOCK},
    {"accept shared", accept_shared, ON_ALL | ON_REAL}, /* a simulated process has one loop */
    {"connect works", connect_works, ON_ALL},
    {"connect refused", connect_refused, ON_ALL},
    {"connect parks", connect_parks, ON_ALL},
    {"connect udp", connect_udp, ON_ALL},
    {"connect to self", connect_to_self, ON_ALL},
    {NULL, NULL, 0},
};
