/* SPDX-License-Identifier: MIT */
/*
 * The driver tests about what is no stream socket: datagrams, pipes, eventfds, files, terminals.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#if WEFT_HAVE_VALGRIND
#include <valgrind/valgrind.h>
#endif

#include "driver_kit.h"

static int udp_socket(int domain, struct sockaddr_storage *sa, socklen_t *len)
{
    int fd = socket(domain, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    KIT_CHECK(fd >= 0);
    memset(sa, 0, sizeof(*sa));
    sa->ss_family = (sa_family_t)domain;
    if (domain == AF_INET6)
        ((struct sockaddr_in6 *)(void *)sa)->sin6_addr = in6addr_loopback;
    else
        ((struct sockaddr_in *)(void *)sa)->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    *len = domain == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
    KIT_CHECK(bind(fd, (struct sockaddr *)(void *)sa, *len) == 0);
    KIT_CHECK(getsockname(fd, (struct sockaddr *)(void *)sa, len) == 0);
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
    assert_int_equal(connect(out, (struct sockaddr *)(void *)&sa, len), 0);
    for (int round = 0; round < 10; round++) {
        char buf[64];
        struct top t;
        top_recv(&t, k, fd, buf, sizeof(buf));
        top_start(&t);
        if (!k->block)
            kit_turn(k);
        for (int i = 0; i < 3; i++)
            assert_int_equal(send(out, "x", 1, 0), 1);
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
        assert_int_equal(send(out, "ab", i ? 2 : 0, 0), i ? 2 : 0);
        top_recv(&t, k, fd, buf, sizeof(buf));
        assert_int_equal(top_run(&t), i ? 2 : 0);
    }
    kit_close_fd(k, fd);
    close(out);
}

static void pipes(struct kit *k)
{
    int p[2];
    char buf[64];
    struct top t;
    assert_int_equal(pipe2(p, O_CLOEXEC), 0);
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
    while (!t.at_once && sum < 65536 && !k->block) {
        top_write(&t, k, p[1], junk, 1000);
        n = top_run(&t);
        assert_in_range(n, 1, 1000);
        sum += (size_t)n;
    }
    while (got < sum) {
        ssize_t r = read(p[0], junk, sizeof(junk));
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
    assert_int_equal(pipe2(p, O_CLOEXEC), 0);
    int room = fcntl(p[1], F_GETPIPE_SZ);
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
        assert_int_equal(pipe2(p, O_CLOEXEC), 0);
        int room = full ? fcntl(p[1], F_GETPIPE_SZ) : 0;
        for (int i = 0; i < room; i += 4096)
            kit_put(p[1], buf, 4096);
        top_write(&t, k, p[1], buf, sizeof(buf));
        if (!full)
            close(p[0]);
        top_start(&t);
        if (!k->block)
            kit_turn(k);
        if (full)
            close(p[0]);
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
    char name[] = "/tmp/weft-driver-XXXXXX", buf[64];
    int fd = mkstemp(name);
    struct top t;
    assert_true(fd >= 0);
    unlink(name);
    for (int i = 0; i < 2; i++) {
        top_write(&t, k, fd, "0123456789", 10);
        assert_int_equal(top_run(&t), 10); /* at the descriptor's own position */
    }
    assert_int_equal(lseek(fd, 5, SEEK_SET), 5);
    top_read(&t, k, fd, buf, sizeof(buf));
    assert_int_equal(top_run(&t), 15);
    assert_memory_equal(buf, "567890123456789", 15);
    top_read(&t, k, fd, buf, sizeof(buf));
    assert_int_equal(top_run(&t), 0);
    /* Pages that are not in memory. */
    fsync(fd);
    posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    lseek(fd, 0, SEEK_SET);
    top_read(&t, k, fd, buf, sizeof(buf));
    assert_int_equal(top_run(&t), 20);
    kit_close_fd(k, fd);
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
    close(m);
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
    assert_int_equal(pipe2(p, O_CLOEXEC), 0);
    top_recv(&t, k, p[0], buf, sizeof(buf));
    assert_int_equal(top_run(&t), -ENOTSOCK);
    kit_close_fd(k, p[0]);
    close(p[1]);
}

const struct driver_test driver_tests_other[] = {
    {"udp messages", udp_messages, ON_ALL},
    {"udp short reads", udp_short_reads, ON_ALL},
    {"pipes", pipes, ON_ALL},
    {"full pipe", full_pipe, ON_ALL},
    {"broken pipe", broken_pipe, ON_ALL},
    {"eventfds", eventfds, ON_ALL},
    {"regular files", regular_files, ON_ALL},
    {"terminals", terminals, ON_ALL},
    {"bad descriptors", bad_descriptors, ON_ALL},
    {NULL, NULL, 0},
};
