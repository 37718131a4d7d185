/* SPDX-License-Identifier: MIT */
/* Datagram sockets of simulated hosts: messages, refusals, buffers, operations. Addresses and ports
 * are in test_sim_ports.c; what links and groups do to datagrams is in test_sim_udp_way.c. */
#include "sim_udp_kit.h"

#include <netinet/udp.h>

#include "base/alloc.h"
#include "sys/rbuf.h"

static char huge[70000];

/* --- Messages --------------------------------------------------------------------------------- */

static void there_and_back(const char *ip0, const char *ip1)
{
    struct net n;
    char buf[16], want[64];
    net_open(&n, 1);
    int a = udp_bound(n.p[0], ip0, 0), b = udp_bound(n.p[1], ip1, 53);
    assert_int_equal(udp_send(n.p[0], a, ip1, 53, "hello", 5), 5);
    assert_int_equal(udp_recv(n.p[1], b, buf, sizeof buf, 0), -EAGAIN);
    assert_true(weft__world_step(n.w));
    assert_int_equal(n.w->now_ns, 500 * US);
    assert_int_equal(udp_recv(n.p[1], b, buf, sizeof buf, MSG_PEEK), 5);
    assert_int_equal(udp_recv(n.p[1], b, buf, sizeof buf, 0), 5);
    assert_memory_equal(buf, "hello", 5);
    assert_int_equal(kit_flags, 0);
    (void)snprintf(want, sizeof want, strchr(ip0, ':') ? "[%s]:%d" : "%s:%d", ip0,
                   port_of(n.p[0], a));
    assert_string_equal(kit_from, want);
    assert_int_equal(udp_recv(n.p[1], b, buf, sizeof buf, 0), -EAGAIN);

    assert_int_equal(udp_send(n.p[1], b, ip0, port_of(n.p[0], a), "", 0), 0);
    net_run(&n);
    assert_int_equal(udp_recv(n.p[0], a, buf, sizeof buf, 0), 0);
    assert_int_equal(udp_recv(n.p[0], a, buf, sizeof buf, 0), -EAGAIN);

    for (int i = 0; i < 2; i++)
        assert_int_equal(udp_send(n.p[0], a, ip1, 53, "12345", 5), 5);
    net_run(&n);
    assert_int_equal(udp_recv(n.p[1], b, buf, 4, 0), 4);
    assert_int_equal(kit_flags, MSG_TRUNC);
    assert_int_equal(udp_recv(n.p[1], b, buf, 1, MSG_TRUNC), 5);
    assert_int_equal(n.w->stats.datagrams, 4);

    assert_int_equal(udp_send(n.p[0], a, NULL, 0, "x", 1), -EDESTADDRREQ);
    assert_int_equal(udp_send(n.p[0], a, ip1, 0, "x", 1), -EINVAL);
    size_t most = strchr(ip0, ':') ? 65527 : 65507;
    assert_int_equal(udp_send(n.p[0], a, ip1, 53, huge, most + 1), -EMSGSIZE);
    assert_int_equal(udp_send(n.p[0], a, ip1, 53, huge, sizeof huge), -EMSGSIZE);
    assert_int_equal(udp_send(n.p[0], a, ip1, 53, huge, most), most);
    net_close(&n); /* with a datagram on its way */
}

static void messages(void **state)
{
    (void)state;
    there_and_back("10.0.0.1", "10.0.0.2");
    there_and_back("fd00::1", "fd00::2");
}

/* More than one piece, on both sides. */
static void pieces(void **state)
{
    (void)state;
    struct net n;
    net_open(&n, 1);
    int a = udp_bound(n.p[0], "0.0.0.0", 0), b = udp_bound(n.p[0], "127.0.0.1", 0);
    assert_int_equal(udp_connect(n.p[0], a, "127.0.0.1", port_of(n.p[0], b)), 0);
    struct iovec out[] = {{(void *)(uintptr_t) "abc", 3}, {NULL, 0}, {(void *)(uintptr_t) "de", 2}};
    struct msghdr msg = {.msg_iov = out, .msg_iovlen = 3};
    assert_int_equal(weft__sim_sendmsg_now(n.p[0], a, &msg, 0), 5);
    char x[2] = {0}, y[8] = {0};
    struct iovec in[] = {{x, 1}, {NULL, 0}, {y, sizeof y}};
    struct msghdr got = {.msg_iov = in, .msg_iovlen = 3, .msg_controllen = 0};
    assert_int_equal(weft__sim_recvmsg_now(n.p[0], b, &got, 0), 5);
    assert_string_equal(x, "a");
    assert_string_equal(y, "bcde");
    /* Segments are for others. */
    union {
        char buf[CMSG_SPACE(sizeof(uint16_t))];
        struct cmsghdr align;
    } control = {0};
    msg.msg_control = control.buf;
    msg.msg_controllen = sizeof control.buf;
    assert_int_equal(weft__sim_sendmsg_now(n.p[0], a, &msg, 0), -EINVAL);
    net_close(&n);
}

/* --- Connected -------------------------------------------------------------------------------- */

static void connected(void **state)
{
    (void)state;
    struct net n;
    char buf[8];
    net_open(&n, 1);
    int server = udp_bound(n.p[1], "0.0.0.0", 7), stranger = udp_bound(n.p[1], "0.0.0.0", 8);
    int c = udp_socket(n.p[0], AF_INET);
    assert_string_equal(address_of(n.p[0], c, false), "0.0.0.0:0");
    assert_int_equal(udp_connect(n.p[0], c, "10.9.9.9", 7), -ENETUNREACH);
    assert_int_equal(udp_connect(n.p[0], c, "10.0.0.2", 7), 0);
    assert_string_equal(address_of(n.p[0], c, true), "10.0.0.2:7");
    assert_memory_equal(address_of(n.p[0], c, false), "10.0.0.1:", 9);
    int port = port_of(n.p[0], c);
    assert_int_equal(udp_send(n.p[1], stranger, "10.0.0.1", port, "no", 2), 2);
    assert_int_equal(udp_send(n.p[1], server, "10.0.0.1", port, "yes", 3), 3);
    assert_int_equal(udp_send(n.p[0], c, NULL, 0, "out", 3), 3);
    net_run(&n);
    assert_int_equal(udp_recv(n.p[0], c, buf, sizeof buf, 0), 3);
    assert_int_equal(udp_recv(n.p[0], c, buf, sizeof buf, 0), -EAGAIN);
    assert_int_equal(udp_drain(n.p[1], server), 1);
    /* The stranger asked for no peer, and hears of nothing. */
    assert_int_equal(udp_recv(n.p[1], stranger, buf, sizeof buf, 0), -EAGAIN);

    struct sockaddr none = {.sa_family = AF_UNSPEC};
    assert_int_equal(weft__sim_connect_now(n.p[0], c, &none, sizeof none), 0);
    assert_string_equal(address_of(n.p[0], c, true), "ENOTCONN");
    assert_string_equal(address_of(n.p[0], c, false), "0.0.0.0:0");
    assert_int_equal(weft__sim_connect_now(n.p[1], server, &none, sizeof none), 0);
    assert_string_equal(address_of(n.p[1], server, false), "0.0.0.0:7");
    assert_int_equal(udp_send(n.p[0], c, NULL, 0, "out", 3), -EDESTADDRREQ);

    /* An address that bind gave stays; a port that it chose does not. */
    int fixed = udp_bound(n.p[0], "10.0.0.1", 0);
    assert_int_equal(udp_connect(n.p[0], fixed, "10.0.0.2", 7), 0);
    assert_int_equal(weft__sim_connect_now(n.p[0], fixed, &none, sizeof none), 0);
    assert_int_equal(udp_send(n.p[0], fixed, "127.0.0.1", 7, "x", 1), 1);
    assert_memory_equal(address_of(n.p[0], fixed, false), "10.0.0.1:", 9);
    /* For leak reports. */
    struct weft__desc *d = weft__desc_of(n.p[1], server);
    char text[128];
    d->cls->describe(d, text, sizeof text);
    assert_string_equal(text, "udp 0.0.0.0:7");
    assert_int_equal(udp_connect(n.p[1], server, "10.0.0.1", port), 0);
    d->cls->describe(d, text, sizeof text);
    (void)snprintf(buf, sizeof buf, "%d", port);
    assert_memory_equal(text, "udp 10.0.0.2:7 - 10.0.0.1:", 26);
    assert_string_equal(text + 26, buf);
    net_close(&n);
}

/* Nobody listens: the next call of a connected sender says so, whatever it is, and once. */
static void refused(void **state)
{
    (void)state;
    struct net n;
    char c;
    net_open(&n, 1);
    int u = udp_socket(n.p[0], AF_INET), free_one = udp_bound(n.p[0], "0.0.0.0", 0);
    assert_int_equal(udp_connect(n.p[0], u, "10.0.0.2", 7), 0);
    assert_int_equal(udp_send(n.p[0], u, NULL, 0, "x", 1), 1);
    assert_true(weft__world_step(n.w));
    assert_int_equal(udp_recv(n.p[0], u, &c, 1, 0), -EAGAIN); /* half way */
    net_run(&n);
    assert_int_equal(n.w->now_ns, 1000 * US);
    assert_int_equal(udp_recv(n.p[0], u, &c, 1, 0), -ECONNREFUSED);
    assert_int_equal(udp_recv(n.p[0], u, &c, 1, 0), -EAGAIN);
    assert_int_equal(udp_send(n.p[0], u, NULL, 0, "x", 1), 1);
    net_run(&n);
    assert_int_equal(udp_send(n.p[0], u, NULL, 0, "x", 1), -ECONNREFUSED);
    assert_int_equal(udp_send(n.p[0], u, NULL, 0, "x", 1), 1);
    net_run(&n);
    assert_int_equal(get_int(n.p[0], u, SOL_SOCKET, SO_ERROR), ECONNREFUSED);
    assert_int_equal(get_int(n.p[0], u, SOL_SOCKET, SO_ERROR), 0);
    assert_int_equal(udp_send(n.p[0], free_one, "10.0.0.2", 7, "x", 1), 1);
    net_run(&n);
    assert_int_equal(udp_send(n.p[0], free_one, "10.0.0.2", 7, "x", 1), 1);
    net_run(&n);

    /* Within the host nothing has to be waited for. */
    int here = udp_socket(n.p[0], AF_INET6);
    assert_int_equal(udp_connect(n.p[0], here, "::1", 7), 0);
    assert_int_equal(udp_send(n.p[0], here, NULL, 0, "x", 1), 1);
    assert_int_equal(udp_send(n.p[0], here, NULL, 0, "x", 1), -ECONNREFUSED);

    /* A machine on which the program has ended refuses, one without power says nothing. */
    weft__proc_close(n.p[1]);
    assert_int_equal(udp_send(n.p[0], u, NULL, 0, "x", 1), 1);
    net_run(&n);
    assert_int_equal(udp_recv(n.p[0], u, &c, 1, 0), -ECONNREFUSED);
    assert_int_equal(weft__proc_open(&n.p[1], n.h[1]), 0);
    uint64_t dropped = n.w->stats.dropped;
    weft__proc_crash(n.p[1]);
    weft__proc_close(n.p[1]);
    n.p[1] = NULL;
    assert_int_equal(udp_send(n.p[0], u, NULL, 0, "x", 1), 1);
    net_run(&n);
    assert_int_equal(udp_recv(n.p[0], u, &c, 1, 0), -EAGAIN);
    assert_int_equal(n.w->stats.dropped, dropped + 1);
    net_close(&n);
}

static void shut(void **state)
{
    (void)state;
    struct net n;
    char c;
    net_open(&n, 1);
    int u = udp_socket(n.p[0], AF_INET);
    assert_int_equal(weft__sim_shutdown(n.p[0], u, 7), -EINVAL);
    assert_int_equal(udp_connect(n.p[0], u, "10.0.0.2", 7), 0);
    assert_int_equal(weft__sim_shutdown(n.p[0], u, SHUT_WR), 0);
    assert_int_equal(udp_send(n.p[0], u, NULL, 0, "x", 1), -EPIPE);
    assert_int_equal(udp_recv(n.p[0], u, &c, 1, 0), -EAGAIN);
    assert_int_equal(weft__sim_shutdown(n.p[0], u, SHUT_RD), 0);
    assert_int_equal(udp_recv(n.p[0], u, &c, 1, 0), 0);
    struct weft__desc *d = weft__desc_of(n.p[0], u);
    assert_int_equal(d->cls->ready(d),
                     POLLIN | POLLRDNORM | POLLRDHUP | POLLHUP | POLLOUT | POLLWRNORM | POLLWRBAND);
    net_close(&n);
}

/* --- Buffers and options ---------------------------------------------------------------------- */

static void overflow(void **state)
{
    (void)state;
    struct net n;
    net_open(&n, 1);
    int a = udp_bound(n.p[0], "0.0.0.0", 0), b = udp_bound(n.p[1], "0.0.0.0", 7);
    assert_int_equal(get_int(n.p[1], b, SOL_SOCKET, SO_RCVBUF), 212992);
    assert_int_equal(set_int(n.p[1], b, SOL_SOCKET, SO_RCVBUF, 5000), 0);
    for (int round = 0; round < 2; round++) {
        n.w->stats.dropped = 0;
        for (int i = 0; i < 100; i++)
            assert_int_equal(udp_send(n.p[0], a, "10.0.0.2", 7, huge, 1000), 1000);
        net_run(&n);
        /* 10,000 bytes, and each costs 1,000 and 256. */
        assert_int_equal(n.w->stats.dropped, 93);
        assert_int_equal(udp_drain(n.p[1], b), 7);
    }
    /* One that is larger than all of it comes in where nothing else is. */
    assert_int_equal(udp_send(n.p[0], a, "10.0.0.2", 7, huge, 60000), 60000);
    assert_int_equal(udp_send(n.p[0], a, "10.0.0.2", 7, huge, 0), 0);
    net_run(&n);
    assert_int_equal(udp_recv(n.p[1], b, huge, sizeof huge, 0), 60000);
    assert_int_equal(udp_drain(n.p[1], b), 0);
    /* Empty ones fill it as well. */
    for (int i = 0; i < 100; i++)
        assert_int_equal(udp_send(n.p[0], a, "10.0.0.2", 7, "", 0), 0);
    net_run(&n);
    assert_int_equal(udp_drain(n.p[1], b), 39);
    net_close(&n);
}

static void options(void **state)
{
    (void)state;
    static const struct {
        int level, name, value, want;
    } cases[] = {
        {SOL_SOCKET, SO_RCVBUF, 50000, 100000},
        {SOL_SOCKET, SO_RCVBUF, 1, 2304},
        {SOL_SOCKET, SO_RCVBUF, 1000000000, 425984},
        {SOL_SOCKET, SO_SNDBUF, 40000, 80000},
        {SOL_SOCKET, SO_BROADCAST, 7, 1},
        {SOL_SOCKET, SO_REUSEADDR, 1, 1},
        {SOL_SOCKET, SO_REUSEPORT, 1, 1},
        {IPPROTO_IP, IP_MULTICAST_TTL, 9, 9},
        {IPPROTO_IP, IP_MULTICAST_LOOP, 0, 0},
        {IPPROTO_IP, IP_TTL, 200, 200},
        {IPPROTO_IPV6, IPV6_V6ONLY, 1, 1},
        {IPPROTO_IPV6, IPV6_MULTICAST_HOPS, 3, 3},
        {IPPROTO_IPV6, IPV6_MULTICAST_LOOP, 0, 0},
        {IPPROTO_IPV6, IPV6_MULTICAST_IF, 1, 1},
    };
    struct net n;
    net_open(&n, 1);
    struct weft__proc *p = n.p[0];
    int v4 = udp_socket(p, AF_INET), v6 = udp_socket(p, AF_INET6);
    for (size_t i = 0; i < WEFT__ARRAY_LEN(cases); i++) {
        assert_int_equal(set_int(p, v6, cases[i].level, cases[i].name, cases[i].value), 0);
        assert_int_equal(get_int(p, v6, cases[i].level, cases[i].name), cases[i].want);
    }
    assert_int_equal(get_int(p, v4, SOL_SOCKET, SO_TYPE), SOCK_DGRAM);
    assert_int_equal(get_int(p, v4, SOL_SOCKET, SO_DOMAIN), AF_INET);
    assert_int_equal(get_int(p, v6, SOL_SOCKET, SO_DOMAIN), AF_INET6);
    assert_int_equal(get_int(p, v4, IPPROTO_UDP, UDP_SEGMENT), -ENOPROTOOPT);
    assert_int_equal(set_int(p, v4, IPPROTO_UDP, UDP_GRO, 1), -ENOPROTOOPT);
    assert_int_equal(set_int(p, v4, IPPROTO_IPV6, IPV6_V6ONLY, 1), -ENOPROTOOPT);
    assert_int_equal(set_int(p, v4, SOL_SOCKET, 9999, 1), -ENOPROTOOPT);
    assert_int_equal(set_int(p, v4, IPPROTO_IP, IP_TTL, 0), -EINVAL);
    assert_int_equal(weft__sim_setsockopt(p, v4, SOL_SOCKET, SO_RCVBUF, huge, 2), -EINVAL);
    assert_int_equal(weft__sim_setsockopt(p, v4, IPPROTO_IP, IP_MULTICAST_TTL, "\x05", 1), 0);
    assert_int_equal(get_int(p, v4, IPPROTO_IP, IP_MULTICAST_TTL), 5);
    net_close(&n);
}

static void faults(void **state)
{
    (void)state;
    struct net n;
    char c;
    net_open(&n, 1);
    int a = udp_bound(n.p[0], "0.0.0.0", 7);
    n.h[0]->faults.no_buffers = weft__probability(0.5);
    int failed = 0;
    for (int i = 0; i < 1000; i++)
        failed += udp_send(n.p[0], a, "10.0.0.2", 7, "x", 1) == -ENOBUFS;
    assert_in_range(failed, 400, 600);
    n.h[0]->faults.no_buffers = 0;
    n.h[0]->faults.no_memory = weft__probability(1);
    assert_int_equal(udp_send(n.p[0], a, "10.0.0.2", 7, "x", 1), -ENOMEM);
    n.h[0]->faults.no_memory = 0;
    n.h[0]->faults.again = weft__probability(1);
    assert_int_equal(udp_send(n.p[0], a, "10.0.0.2", 7, "x", 1), -EAGAIN);
    n.h[0]->faults.again = 0;
    assert_int_equal(udp_send(n.p[0], a, "127.0.0.1", 7, "x", 1), 1);
    n.h[0]->faults.again = weft__probability(1);
    assert_int_equal(udp_recv(n.p[0], a, &c, 1, 0), -EAGAIN);
    n.h[0]->faults.again = 0;
    assert_int_equal(udp_recv(n.p[0], a, &c, 1, 0), 1);
    net_close(&n);
}

/* --- Operations ------------------------------------------------------------------------------- */

static struct weft__op *ended[4];
static int n_ended;

static void note_end(struct weft__op *op)
{
    ended[n_ended++] = op;
}

static void wait_for(struct weft__sys *sys, struct weft__op *op)
{
    n_ended = 0;
    assert_int_equal(weft__sys_wait(sys, INT64_MAX), 1);
    assert_int_equal(n_ended, 1);
    assert_ptr_equal(ended[0], op);
}

static struct weft__sys *driver_open(struct weft__proc *p)
{
    struct weft__sys *sys = NULL;
    struct weft__sys_options o = {.cancel_fd = -1};
    weft__sim_proc = p;
    assert_int_equal(weft__driver_sim.open(&sys, &o), 0);
    return sys;
}

static void driver_close(struct weft__sys *sys)
{
    sys->driver->close(sys);
    weft__sim_proc = NULL;
}

/* Each kind waits for the datagram, and has it. */
static void operations(void **state)
{
    (void)state;
    struct net n;
    net_open(&n, 1);
    int a = udp_bound(n.p[0], "0.0.0.0", 7), b = udp_bound(n.p[1], "0.0.0.0", 7);
    assert_int_equal(udp_connect(n.p[1], b, "10.0.0.1", 7), 0);
    struct weft__sys *sys = driver_open(n.p[1]);
    static const uint8_t kinds[] = {WEFT__OP_RECV, WEFT__OP_READ, WEFT__OP_RECVMSG,
                                    WEFT__OP_RECV_POOL, WEFT__OP_POLL};
    char buf[8];
    struct iovec iov = {buf, sizeof buf};
    for (size_t i = 0; i < sizeof kinds; i++) {
        struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
        struct weft__op op = {.kind = kinds[i], .fd = b, .done = note_end};
        if (kinds[i] == WEFT__OP_RECVMSG)
            op.u.msg.msg = &msg;
        else if (kinds[i] == WEFT__OP_POLL)
            op.u.poll.events = POLLIN;
        else
            op.u.io.buf = buf, op.u.io.len = sizeof buf;
        assert_false(weft__sys_submit(sys, &op));
        assert_int_equal(udp_send(n.p[0], a, "10.0.0.2", 7, "abc", 3), 3);
        wait_for(sys, &op);
        assert_int_equal(op.res, kinds[i] == WEFT__OP_POLL ? POLLIN : 3);
        if (kinds[i] == WEFT__OP_RECV_POOL) {
            assert_int_equal(op.rbuf->len, 3);
            assert_memory_equal(op.rbuf->data, "abc", 3);
            weft__rbuf_put(sys, op.rbuf);
        }
    }
    assert_int_equal(udp_drain(n.p[1], b), 1); /* POLL takes nothing */

    /* SEND and WRITE go to the peer; a refusal ends a receive that waits. */
    struct weft__op out = {.kind = WEFT__OP_SEND, .fd = b, .done = note_end};
    out.u.io.buf = buf;
    out.u.io.len = 3;
    for (int i = 0; i < 2; i++, out.kind = WEFT__OP_WRITE) {
        if (!weft__sys_submit(sys, &out))
            wait_for(sys, &out);
        assert_int_equal(out.res, 3);
        net_run(&n);
        assert_int_equal(udp_drain(n.p[0], a), 1);
    }
    assert_int_equal(weft__sim_close(n.p[0], a), 0);
    struct weft__op in = {.kind = WEFT__OP_RECV, .fd = b, .done = note_end};
    in.u.io.buf = buf;
    in.u.io.len = sizeof buf;
    assert_false(weft__sys_submit(sys, &in));
    assert_int_equal(udp_send(n.p[1], b, NULL, 0, "x", 1), 1);
    wait_for(sys, &in);
    assert_int_equal(in.res, -ECONNREFUSED);
    driver_close(sys);
    net_close(&n);
}

/* Those that have nothing to wait for. */
static void operations_at_once(void **state)
{
    (void)state;
    struct net n;
    net_open(&n, 1);
    int b = udp_bound(n.p[1], "0.0.0.0", 7);
    assert_int_equal(udp_connect(n.p[1], b, "10.0.0.1", 7), 0);
    struct weft__sys *sys = driver_open(n.p[1]);
    char buf[8] = {0};
    struct iovec iov = {buf, sizeof buf};
    union weft__sa to = at("10.0.0.3", 9);
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    struct weft__op now[] = {
        {.kind = WEFT__OP_SENDMSG, .u.msg = {.msg = &msg}},
        {.kind = WEFT__OP_CONNECT, .u.connect = {&to.sa, sizeof to.in4}},
        {.kind = WEFT__OP_READ, .u.io = {.buf = buf}},
        {.kind = WEFT__OP_ACCEPT},
    };
    const int want[] = {sizeof buf, 0, 0, -EOPNOTSUPP};
    for (size_t i = 0; i < WEFT__ARRAY_LEN(now); i++) {
        now[i].fd = b;
        now[i].done = note_end;
        if (!weft__sys_submit(sys, &now[i]))
            wait_for(sys, &now[i]);
        assert_int_equal(now[i].res, want[i]);
    }
    assert_string_equal(address_of(n.p[1], b, true), "10.0.0.3:9");
    driver_close(sys);
    net_close(&n);
}

/* A sender that is quicker than its link waits until the buffer has room again. */
static void full_send_buffer(void **state)
{
    (void)state;
    struct net n;
    net_open(&n, 1);
    int a = udp_bound(n.p[0], "0.0.0.0", 7), b = udp_bound(n.p[1], "0.0.0.0", 7);
    net_link(&n, (struct weft__link){.latency_ns = MS, .bytes_per_s = 1000000});
    assert_int_equal(set_int(n.p[0], a, SOL_SOCKET, SO_SNDBUF, 5000), 0);
    assert_int_equal(udp_connect(n.p[0], a, "10.0.0.2", 7), 0);
    int sent = 0;
    while (udp_send(n.p[0], a, NULL, 0, huge, 972) == 972)
        sent++;
    assert_int_equal(sent, 10); /* 1,000 bytes each on the wire, and the eleventh found 10,000 */
    struct weft__sys *sys = driver_open(n.p[0]);
    struct weft__op out = {.kind = WEFT__OP_SEND, .fd = a, .done = note_end};
    out.u.io.buf = huge;
    out.u.io.len = 972;
    assert_false(weft__sys_submit(sys, &out));
    struct weft__op poll = {.kind = WEFT__OP_POLL, .fd = a, .done = note_end};
    poll.u.poll.events = POLLOUT;
    assert_false(weft__sys_submit(sys, &poll));
    n_ended = 0;
    while (n_ended < 2)
        assert_true(weft__sys_wait(sys, INT64_MAX) > 0);
    assert_int_equal(out.res, 972);
    assert_int_equal(n.w->now_ns, 972 * US);
    driver_close(sys);
    net_run(&n);
    assert_int_equal(n.w->now_ns, 12 * MS); /* eleven milliseconds on the wire */
    assert_int_equal(udp_drain(n.p[1], b), 11);
    net_close(&n);
}

/* --- Crashes ---------------------------------------------------------------------------------- */

static void crash(void **state)
{
    (void)state;
    struct net n;
    char c;
    net_open(&n, 1);
    int a = udp_bound(n.p[0], "0.0.0.0", 7), b = udp_bound(n.p[1], "0.0.0.0", 7);
    assert_int_equal(udp_send(n.p[0], a, "10.0.0.2", 7, "one", 3), 3);
    assert_int_equal(udp_send(n.p[1], b, "10.0.0.1", 7, "two", 3), 3);
    struct weft__proc *ghost = n.p[1];
    weft__proc_crash(ghost);
    assert_true(udp_send(ghost, b, "10.0.0.1", 7, "no", 2) < 0);
    assert_int_equal(weft__sim_socket(ghost, AF_INET, SOCK_DGRAM, 0), -ENETDOWN);
    net_run(&n);
    /* What had left arrives; what was to come finds nobody. */
    assert_int_equal(udp_drain(n.p[0], a), 1);
    assert_int_equal(n.w->stats.dropped, 1);
    weft__proc_close(ghost);
    assert_int_equal(udp_send(n.p[0], a, "10.0.0.2", 7, "three", 5), 5);
    assert_int_equal(weft__proc_open(&n.p[1], n.h[1]), 0);
    b = udp_bound(n.p[1], "0.0.0.0", 7); /* in time */
    net_run(&n);
    assert_int_equal(udp_recv(n.p[1], b, &c, 1, 0), 1);
    net_close(&n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages),
        cmocka_unit_test(pieces),
        cmocka_unit_test(connected),
        cmocka_unit_test(refused),
        cmocka_unit_test(shut),
        cmocka_unit_test(overflow),
        cmocka_unit_test(options),
        cmocka_unit_test(faults),
        cmocka_unit_test(operations),
        cmocka_unit_test(operations_at_once),
        cmocka_unit_test(full_send_buffer),
        cmocka_unit_test(crash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
