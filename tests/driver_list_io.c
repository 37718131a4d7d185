/* SPDX-License-Identifier: MIT */
/*
 * The driver tests about bytes: recv, send, msg, read and write.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
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
        close(fds[1]);
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
        close(fds[1]);
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
        close(fds[1]);
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
                close(fds[1]);
            top_start(&t);
            if (!k->block)
                kit_turn(k);
            if (!early)
                close(fds[1]);
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
        close(fds[1]);
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
        assert_int_equal(shutdown(fds[1], SHUT_WR), 0);
        assert_int_equal(top_finish(&t), 0);
        top_send(&t, k, fds[0], "still", 5);
        assert_int_equal(top_run(&t), 5);
        kit_get(fds[1], buf, 5);
        assert_memory_equal(buf, "still", 5);
        assert_int_equal(shutdown(fds[0], SHUT_WR), 0);
        assert_int_equal(read(fds[1], buf, 1), 0);
        kit_close_fd(k, fds[0]);
        close(fds[1]);
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

struct slow {
    int fd;
    uint64_t sum;
    size_t len;
};

static uint64_t checksum(const uint8_t *p, size_t len, size_t at)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < len; i++)
        sum += (at + i + 1) * p[i];
    return sum;
}

static void *slow_reader(void *arg)
{
    struct slow *s = arg;
    static uint8_t buf[8192];
    ssize_t n;
    while ((n = read(s->fd, buf, sizeof(buf))) > 0) {
        s->sum += checksum(buf, (size_t)n, s->len);
        s->len += (size_t)n;
    }
    KIT_CHECK(n == 0);
    return NULL;
}

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
        pthread_t thread;
        kit_pair((enum kit_family)f, fds);
        struct slow slow = {.fd = fds[1]};
        assert_int_equal(pthread_create(&thread, NULL, slow_reader, &slow), 0);
        top_send(&t, k, fds[0], big, BIG);
        assert_int_equal(top_run(&t), BIG);
        assert_int_equal(shutdown(fds[0], SHUT_WR), 0);
        pthread_join(thread, NULL);
        assert_int_equal(slow.len, BIG);
        assert_true(slow.sum == checksum(big, BIG, 0));
        kit_close_fd(k, fds[0]);
        close(fds[1]);
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
        pthread_t thread;
        struct slow slow = {.fd = fds[1]};
        assert_int_equal(pthread_create(&thread, NULL, slow_reader, &slow), 0);
        assert_int_equal(top_finish(&out), sizeof(big));
        shutdown(fds[0], SHUT_WR);
        pthread_join(thread, NULL);
        assert_int_equal(slow.len, sizeof(big));
        kit_close_fd(k, fds[0]);
        close(fds[1]);
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
    close(fds[1]);
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
    close(fds[1]);
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
    close(fds[1]);
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
        close(fds[1]);
    }
}

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
                ssize_t n = send(fds[1], "U", 1, MSG_OOB); /* Unix: not in every kernel */
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
                assert_int_equal(sendmsg(fds[1], &msg, 0), 3);
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
            recv(fds[0], buf, 1, MSG_OOB | MSG_DONTWAIT);
        }
        kit_close_fd(k, fds[0]);
        close(fds[1]);
    }
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

static void eventfds(struct kit *k)
{
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

/* Descriptors that come with O_NONBLOCK wait all the same, and keep it. */
static void nonblocking_descriptors(struct kit *k)
{
    for (int f = 0; f < KIT_FAMILIES; f++) {
        static uint8_t big[2u << 20];
        int fds[2];
        char buf[16];
        struct top t;
        kit_pair((enum kit_family)f, fds);
        assert_int_equal(fcntl(fds[0], F_SETFL, O_RDWR | O_NONBLOCK), 0);
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
        pthread_t thread;
        struct slow slow = {.fd = fds[1]};
        assert_int_equal(pthread_create(&thread, NULL, slow_reader, &slow), 0);
        top_send(&t, k, fds[0], big, sizeof(big));
        assert_int_equal(top_run(&t), sizeof(big));
        shutdown(fds[0], SHUT_WR);
        pthread_join(thread, NULL);
        assert_int_equal(slow.len, sizeof(big));
        assert_true(kit_is_nonblock(fds[0]));
        kit_close_fd(k, fds[0]);
        close(fds[1]);
    }
    int p[2];
    char buf[4];
    struct top t;
    assert_int_equal(pipe2(p, O_CLOEXEC | O_NONBLOCK), 0);
    top_read(&t, k, p[0], buf, sizeof(buf));
    top_start(&t);
    if (!k->block)
        kit_turn(k);
    kit_put(p[1], "p", 1);
    assert_int_equal(top_finish(&t), 1);
    kit_close_fd(k, p[0]);
    close(p[1]);
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
    {"pool lends", pool_lends, ON_ALL},
    {"pool brings much", pool_brings_much, ON_ALL},
    {"udp messages", udp_messages, ON_ALL},
    {"udp short reads", udp_short_reads, ON_ALL},
    {"short reads with more behind", short_reads_with_more_behind, ON_ALL},
    {"pipes", pipes, ON_ALL},
    {"full pipe", full_pipe, ON_ALL},
    {"eventfds", eventfds, ON_ALL},
    {"regular files", regular_files, ON_ALL},
    {"terminals", terminals, ON_ALL},
    {"nonblocking descriptors", nonblocking_descriptors, ON_ALL},
    {"bad descriptors", bad_descriptors, ON_ALL},
    {NULL, NULL, 0},
};
