/* SPDX-License-Identifier: MIT */
/*
 * The driver tests about what is no stream socket: datagrams, pipes, eventfds, files, terminals.
 * And those about a RECV_POOL of many results.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#if WEFT_HAVE_VALGRIND
#include <valgrind/valgrind.h>
#endif

#include "driver_kit.h"
#include "sys/sim/world.h"

static int udp_socket(int domain, struct sockaddr_storage *sa, socklen_t *len)
{
    int fd = raw_socket(domain, SOCK_DGRAM);
    KIT_CHECK(fd >= 0);
    memset(sa, 0, sizeof(*sa));
    sa->ss_family = (sa_family_t)domain;
    if (domain == AF_INET6)
        ((struct sockaddr_in6 *)(void *)sa)->sin6_addr = in6addr_loopback;
    else
        ((struct sockaddr_in *)(void *)sa)->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    *len = domain == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
    KIT_CHECK(raw_bind(fd, (struct sockaddr *)(void *)sa, *len) == 0);
    KIT_CHECK(raw_getsockname(fd, (struct sockaddr *)(void *)sa, len) == 0);
    return fd;
}

static void udp_messages(struct kit *k)
{
    for (int v6 = 0; v6 < 2; v6++) {
        struct sockaddr_storage sa[2], from;
        socklen_t len[2];
        int fd[2];
        for (int i = 0; i < 2; i++)
            fd[i] = udp_socket(v6 ? AF_INET6 : AF_INET, &sa[i], &len[i]);
        for (int round = 0; round < 6; round++) {
            char in[4], out[] = "abcdefgh";
            struct iovec iov_in = {in, sizeof(in)};
            struct iovec iov_out = {out, round % 2 ? 8 : 3};
            struct msghdr msg_in = {.msg_name = &from, .msg_namelen = sizeof(from)};
            struct msghdr msg_out = {.msg_name = &sa[0], .msg_namelen = len[0]};
            msg_in.msg_iov = &iov_in;
            msg_out.msg_iov = &iov_out;
            msg_in.msg_iovlen = msg_out.msg_iovlen = 1;
            struct top r, s;
            top_msg(&r, k, WEFT__OP_RECVMSG, fd[0], &msg_in);
            top_msg(&s, k, WEFT__OP_SENDMSG, fd[1], &msg_out);
            if (round < 4)
                top_start(&r);
            assert_int_equal(top_run(&s), iov_out.iov_len);
            if (round >= 4)
                top_start(&r);
            assert_int_equal(top_finish(&r), round % 2 ? 4 : 3);
            assert_memory_equal(in, "abcd", 3);
            assert_int_equal(!!(msg_in.msg_flags & MSG_TRUNC), round % 2);
            assert_memory_equal(&from, &sa[1], len[1]);
        }
        kit_close_fd(k, fd[0]);
        kit_close_fd(k, fd[1]);
    }
}

/* A datagram that is shorter than the buffer says nothing about the next one. */
static void udp_short_reads(struct kit *k)
{
    struct sockaddr_storage sa, peer;
    socklen_t len, peer_len;
    int fd = udp_socket(AF_INET, &sa, &len), out = udp_socket(AF_INET, &peer, &peer_len);
    assert_int_equal(raw_connect(out, (struct sockaddr *)(void *)&sa, len), 0);
    for (int round = 0; round < 10; round++) {
        char buf[64];
        struct top t;
        top_recv(&t, k, fd, buf, sizeof(buf));
        top_start(&t);
        if (!k->block)
            kit_turn(k);
        for (int i = 0; i < 3; i++)
            assert_int_equal(raw_send(out, "x", 1, 0), 1);
        assert_int_equal(top_finish(&t), 1);
        for (int i = 0; i < 2; i++) {
            top_recv(&t, k, fd, buf, sizeof(buf));
            t.op.flags = i ? WEFT__OP_POLL_FIRST : 0;
            assert_int_equal(top_run(&t), 1);
        }
    }
    /* An empty datagram is a result of 0, not an end. */
    for (int i = 0; i < 2; i++) {
        char buf[4];
        struct top t;
        assert_int_equal(raw_send(out, "ab", i ? 2 : 0, 0), i ? 2 : 0);
        top_recv(&t, k, fd, buf, sizeof(buf));
        assert_int_equal(top_run(&t), i ? 2 : 0);
    }
    kit_close_fd(k, fd);
    raw_close(out);
}

static void pipes(struct kit *k)
{
    int p[2];
    char buf[64];
    struct top t;
    assert_int_equal(raw_pipe(p), 0);
    for (int round = 0; round < 10; round++) {
        top_read(&t, k, p[0], buf, sizeof(buf));
        if (round % 2)
            kit_put(p[1], "pipe", 4);
        top_start(&t);
        if (!k->block)
            kit_turn(k);
        if (round % 2 == 0)
            kit_put(p[1], "pipe", 4);
        assert_int_equal(top_finish(&t), 4);
        assert_memory_equal(buf, "pipe", 4);
    }
    assert_false(kit_is_nonblock(p[0]));

    /* Until it is full, and then until there is room. */
    static char junk[300000];
    size_t sum = 0, got = 0;
    top_write(&t, k, p[1], junk, sizeof(junk));
    int n = top_run(&t);
    assert_in_range(n, 1, sizeof(junk));
    sum += (size_t)n;
    while (!t.at_once && sum + 1000 <= (size_t)raw_pipe_room(p[1]) && !k->block) {
        top_write(&t, k, p[1], junk, 1000);
        n = top_run(&t);
        assert_in_range(n, 1, 1000);
        sum += (size_t)n;
    }
    while (got < sum) {
        ssize_t r = raw_read(p[0], junk, sizeof(junk));
        assert_true(r > 0);
        got += (size_t)r;
    }
    assert_false(kit_is_nonblock(p[1]));
    kit_close_fd(k, p[1]);
    top_read(&t, k, p[0], buf, sizeof(buf));
    assert_int_equal(top_run(&t), 0);
    kit_close_fd(k, p[0]);
}

static void full_pipe(struct kit *k)
{
    int p[2];
    struct top t;
    char buf[8192] = {0};
    assert_int_equal(raw_pipe(p), 0);
    int room = raw_pipe_room(p[1]);
    for (int i = 0; i < room; i += 4096)
        kit_put(p[1], buf, 4096);
    top_write(&t, k, p[1], buf, sizeof(buf));
    top_start(&t);
    if (!k->block) {
        kit_turn(k);
        assert_false(t.ended);
    }
    kit_get(p[0], buf, 8192);
    assert_in_range(top_finish(&t), 1, sizeof(buf));
    kit_close_fd(k, p[0]);
    kit_close_fd(k, p[1]);
}

/* An error and no SIGPIPE, which would kill this program. */
static void broken_pipe(struct kit *k)
{
    for (int full = 0; full < 2; full++) {
        int p[2];
        char buf[4096] = {0};
        struct top t;
        assert_int_equal(raw_pipe(p), 0);
        int room = full ? raw_pipe_room(p[1]) : 0;
        for (int i = 0; i < room; i += 4096)
            kit_put(p[1], buf, 4096);
        top_write(&t, k, p[1], buf, sizeof(buf));
        if (!full)
            raw_close(p[0]);
        top_start(&t);
        if (!k->block)
            kit_turn(k);
        if (full)
            raw_close(p[0]);
        assert_int_equal(top_finish(&t), -EPIPE);
        kit_close_fd(k, p[1]);
    }
}

static void eventfds(struct kit *k)
{
#if WEFT_HAVE_VALGRIND
    /* There it sleeps on an eventfd, which other eventfds cannot end: see embedded_eventfd. */
    if (RUNNING_ON_VALGRIND && k->drv == &weft__driver_uring)
        return;
#endif
    int fd = eventfd(0, EFD_CLOEXEC);
    uint64_t in = 0, out = 5;
    struct top t;
    for (int round = 0; round < 4; round++) {
        top_read(&t, k, fd, &in, sizeof(in));
        top_start(&t);
        if (!k->block)
            kit_turn(k);
        struct top w;
        top_write(&w, k, fd, &out, sizeof(out));
        assert_int_equal(top_run(&w), sizeof(out));
        assert_int_equal(top_finish(&t), sizeof(in));
        assert_int_equal(in, 5);
    }
    assert_false(kit_is_nonblock(fd));
    kit_close_fd(k, fd);
}

static void regular_files(struct kit *k)
{
    char name[64], buf[64];
    (void)snprintf(name, sizeof(name), "/tmp/weft-driver-file-%d", (int)getpid());
    int fd = raw_open(name, O_RDWR | O_CREAT | O_EXCL);
    int other = raw_open(name, O_RDONLY);
    struct top t;
    assert_true(fd >= 0 && other >= 0);
    for (int i = 0; i < 2; i++) {
        top_write(&t, k, fd, "0123456789", 10);
        assert_int_equal(top_run(&t), 10); /* at the descriptor's own position */
    }
    top_read(&t, k, other, buf, 5);
    assert_int_equal(top_run(&t), 5);
    top_read(&t, k, other, buf, sizeof(buf));
    assert_int_equal(top_run(&t), 15);
    assert_memory_equal(buf, "567890123456789", 15);
    top_read(&t, k, other, buf, sizeof(buf));
    assert_int_equal(top_run(&t), 0);
    kit_close_fd(k, other);
    /* Pages that are not in memory. */
    raw_forget_pages(fd);
    other = raw_open(name, O_RDONLY);
    assert_true(other >= 0);
    assert_int_equal(raw_unlink(name), 0);
    top_read(&t, k, other, buf, sizeof(buf));
    assert_int_equal(top_run(&t), 20);
    assert_memory_equal(buf, "01234567890123456789", 20);
    kit_close_fd(k, fd);
    kit_close_fd(k, other);
}

static void terminals(struct kit *k)
{
    int m = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    char buf[64];
    struct top t;
    if (m < 0)
        skip();
    assert_int_equal(grantpt(m) | unlockpt(m), 0);
    int s = open(ptsname(m), O_RDWR | O_NOCTTY | O_CLOEXEC);
    assert_true(s >= 0);
    for (int i = 0; i < 4; i++) {
        top_read(&t, k, s, buf, sizeof(buf));
        top_start(&t);
        if (!k->block)
            kit_turn(k);
        kit_put(m, "typed\n", 6);
        assert_int_equal(top_finish(&t), 6);
        assert_memory_equal(buf, "typed\n", 6);
        top_write(&t, k, s, "shown", 5);
        assert_int_equal(top_run(&t), 5);
    }
    assert_false(kit_is_nonblock(s));
    kit_close_fd(k, s);
    raw_close(m);
}

static void bad_descriptors(struct kit *k)
{
    char buf[4] = "";
    int p[2];
    struct top t;
    static const uint8_t kinds[] = {WEFT__OP_RECV,  WEFT__OP_RECV_POOL, WEFT__OP_SEND,
                                    WEFT__OP_READ,  WEFT__OP_WRITE,     WEFT__OP_POLL,
                                    WEFT__OP_ACCEPT};
    for (size_t i = 0; i < sizeof(kinds); i++) {
        for (int high = 0; high < 3; high++) {
            int fd = high == 0 ? -1 : high == 1 ? 900 : 1000000;
            if (k->sim && high > 0)
                fd += WEFT__SIM_FD_FIRST;
            top_recv(&t, k, fd, buf, sizeof(buf));
            t.op.kind = kinds[i];
            if (kinds[i] == WEFT__OP_POLL)
                t.op.u.poll.events = POLLIN;
            if (kinds[i] == WEFT__OP_ACCEPT)
                memset(&t.op.u, 0, sizeof(t.op.u));
            if (kinds[i] == WEFT__OP_RECV && high == 1)
                t.op.flags = WEFT__OP_POLL_FIRST;
            int r = top_run(&t);
            /* ppoll passes over -1, so only -1 is told apart by nobody */
            assert_int_equal(r, -EBADF);
        }
    }
    assert_int_equal(raw_pipe(p), 0);
    top_recv(&t, k, p[0], buf, sizeof(buf));
    assert_int_equal(top_run(&t), -ENOTSOCK);
    kit_close_fd(k, p[0]);
    raw_close(p[1]);
}

/* ---- RECV_POOL of many results ---- */

/* What a MULTI receive brought; it is submitted anew where the driver ended it. */
struct multi {
    struct top t;
    struct weft__rbuf *held; /* instead of giving buffers back */
    uint8_t bytes[1u << 20];
    size_t len;
    size_t one_go; /* bytes since it was submitted */
    unsigned starts;
    bool hold, once;
    bool over; /* the end, an error, or (once) any last result */
};

static void multi_start(struct multi *m);

static void multi_then(struct top *t)
{
    struct multi *m = t->arg;
    int n = t->op.res;
    if (n > 0) {
        struct weft__rbuf *rb = t->op.rbuf;
        KIT_CHECK((size_t)n == rb->len && m->len + rb->len <= sizeof(m->bytes));
        memcpy(m->bytes + m->len, rb->data, rb->len);
        m->len += rb->len;
        m->one_go += rb->len;
        KIT_CHECK(m->one_go <= WEFT__RECV_MULTI_MAX);
        if (m->hold) {
            rb->next = m->held;
            m->held = rb;
        } else {
            weft__rbuf_put(t->kit->sys, rb);
        }
    }
    KIT_CHECK(n > 0 || !t->op.more);
    if (t->op.more)
        return;
    if (n <= 0 || m->once)
        m->over = true;
    else
        multi_start(m);
}

static void multi_start(struct multi *m)
{
    struct kit *k = m->t.kit;
    int fd = m->t.op.fd;
    top_recv_pool(&m->t, k, fd);
    m->t.op.flags = WEFT__OP_MULTI | (m->starts % 2 ? WEFT__OP_POLL_FIRST : 0);
    m->t.then = multi_then;
    m->t.arg = m;
    m->one_go = 0;
    m->starts++;
    top_start(&m->t);
}

static struct multi *multi_new(struct kit *k, int fd)
{
    struct multi *m = calloc(1, sizeof(*m));
    assert_non_null(m);
    m->t.kit = k;
    m->t.op.fd = fd;
    return m;
}

/* Every byte comes once and in order, however it is cut; then the end. */
static void multi_recv(struct kit *k)
{
    static uint8_t out[200000];
    uint64_t seed = 11;
    for (size_t i = 0; i < sizeof(out); i++)
        out[i] = (uint8_t)kit_random(&seed);
    for (int f = 0; f < KIT_FAMILIES; f++) {
        for (int nonblock = 0; nonblock < 2; nonblock++) {
            int fds[2];
            kit_pair((enum kit_family)f, fds);
            if (nonblock)
                assert_int_equal(raw_set_nonblock(fds[0], true), 0);
            struct multi *m = multi_new(k, fds[0]);
            multi_start(m);
            for (size_t sent = 0; sent < sizeof(out);) {
                size_t n = 1 + kit_random(&seed) % (kit_random(&seed) % 8 == 0 ? 40000 : 100);
                n = n < sizeof(out) - sent ? n : sizeof(out) - sent;
                kit_put(fds[1], out + sent, n);
                sent += n;
                while (m->len < sent)
                    assert_true(weft__sys_wait(k->sys, weft__clock_ns() + KIT_PATIENCE) > 0);
            }
            raw_close(fds[1]);
            kit_until(k, &m->over);
            assert_int_equal(m->t.op.res, 0);
            assert_int_equal(m->len, sizeof(out));
            assert_memory_equal(m->bytes, out, sizeof(out));
            kit_close_fd(k, fds[0]);
            free(m);
        }
    }
}

/* One submission brings no more than it may, though much more is there. */
static void multi_recv_is_bounded(struct kit *k)
{
    static uint8_t big[4 * WEFT__RECV_MULTI_MAX];
    int fds[2], size = sizeof(big) * 2;
    kit_pair(KIT_TCP4, fds);
    assert_int_equal(raw_setsockopt(fds[1], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)), 0);
    struct multi *m = multi_new(k, fds[0]);
    m->once = m->hold = true;
    multi_start(m);
    kit_put(fds[1], big, sizeof(big));
    kit_until(k, &m->over);
    assert_in_range(m->len, 1, WEFT__RECV_MULTI_MAX);
    while (m->held != NULL) {
        struct weft__rbuf *rb = m->held;
        m->held = rb->next;
        weft__rbuf_put(k->sys, rb);
    }
    kit_close_fd(k, fds[0]);
    raw_close(fds[1]);
    free(m);
}

/* What a cancelled one did not bring is still in the socket. */
static void multi_recv_cancelled(struct kit *k)
{
    uint64_t seed = 29;
    for (int f = 0; f < KIT_FAMILIES; f++) {
        for (int round = 0; round < 40; round++) {
            static uint8_t out[40000], rest[40000];
            int fds[2];
            uint32_t dice = kit_random(&seed);
            size_t sent = 0;
            kit_pair((enum kit_family)f, fds);
            for (size_t i = 0; i < sizeof(out); i++)
                out[i] = (uint8_t)(i * 13 + (size_t)round);
            struct multi *m = multi_new(k, fds[0]);
            m->once = true;
            multi_start(m);
            for (int i = 0; i < 4; i++, dice >>= 2) {
                if (dice & 1) {
                    kit_put(fds[1], out + sent, 10000);
                    sent += 10000;
                }
                if (dice & 2)
                    kit_turn(k);
            }
            if (!m->over)
                top_cancel(&m->t);
            kit_until(k, &m->over);
            kit_get(fds[0], rest, sent - m->len);
            assert_memory_equal(m->bytes, out, m->len);
            assert_memory_equal(rest, out + m->len, sent - m->len);
            kit_close_fd(k, fds[0]);
            raw_close(fds[1]);
            free(m);
        }
    }
}

/* The buffer is ours from within done on; the operation, which goes on, has other uses for it. */
static void take_buffer(struct top *t)
{
    if (t->op.res > 0)
        *(struct weft__rbuf **)t->arg = t->op.rbuf;
}

/* More receive at once than the driver has buffers ready, and nobody gives one back. */
static void multi_recv_of_many(struct kit *k)
{
    enum { MANY = 300 };
    static struct {
        int fds[2];
        struct top t;
        struct weft__rbuf *got;
    } c[MANY];
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < MANY; i++) {
            if (round == 0)
                kit_pair(KIT_PAIR, c[i].fds);
            top_recv_pool(&c[i].t, k, c[i].fds[0]);
            c[i].t.op.flags = WEFT__OP_MULTI;
            c[i].t.then = take_buffer;
            c[i].t.arg = &c[i].got;
            top_start(&c[i].t);
        }
        if (round > 0)
            kit_turn(k);
        for (int i = 0; i < MANY; i++)
            kit_put(c[i].fds[1], &i, sizeof(i));
        for (int i = 0; i < MANY; i++) {
            while (c[i].t.results == 0)
                assert_true(weft__sys_wait(k->sys, weft__clock_ns() + KIT_PATIENCE) > 0);
            assert_int_equal(c[i].t.op.res, sizeof(i));
            assert_memory_equal(c[i].got->data, &i, sizeof(i));
        }
        for (int i = 0; i < MANY; i++) {
            weft__rbuf_put(k->sys, c[i].got);
            top_cancel(&c[i].t);
            kit_until(k, &c[i].t.ended);
        }
    }
    for (int i = 0; i < MANY; i++) {
        kit_close_fd(k, c[i].fds[0]);
        raw_close(c[i].fds[1]);
    }
}

const struct driver_test driver_tests_other[] = {
    {"udp messages", udp_messages, ON_ALL},
    {"udp short reads", udp_short_reads, ON_ALL},
    {"pipes", pipes, ON_ALL},
    {"full pipe", full_pipe, ON_ALL},
    {"broken pipe", broken_pipe, ON_ALL},
    {"eventfds", eventfds, ON_ALL | ON_REAL}, /* a simulated process has none */
    {"regular files", regular_files, ON_ALL},
    {"terminals", terminals, ON_ALL | ON_REAL}, /* nor one of these */
    {"bad descriptors", bad_descriptors, ON_ALL},
    {"multi recv", multi_recv, ON_LOOP},
    {"multi recv is bounded", multi_recv_is_bounded, ON_LOOP},
    {"multi recv cancelled", multi_recv_cancelled, ON_LOOP},
    {"multi recv of many", multi_recv_of_many, ON_LOOP},
    {NULL, NULL, 0},
};
