/* SPDX-License-Identifier: MIT */
/* Which addresses and ports datagram sockets of simulated hosts get, and which one takes what comes
 * in. */
#include "sim_udp_kit.h"

static void binding(void **state)
{
    (void)state;
    struct net n;
    net_open(&n, 1);
    struct weft__proc *p = n.p[0];
    int a = udp_bound(p, "0.0.0.0", 0), b = udp_socket(p, AF_INET), v6 = udp_socket(p, AF_INET6);
    int port = port_of(p, a);
    assert_in_range(port, 32768, 60999);
    assert_int_equal(try_bind(p, a, "0.0.0.0", 1), -EINVAL);
    assert_int_equal(try_bind(p, b, "0.0.0.0", port), -EADDRINUSE);
    assert_int_equal(try_bind(p, b, "127.0.0.1", port), -EADDRINUSE);
    assert_int_equal(try_bind(p, b, "10.0.0.2", 7), -EADDRNOTAVAIL);
    assert_int_equal(try_bind(p, b, "::1", 7), -EAFNOSUPPORT);
    assert_int_equal(try_bind(p, v6, "127.0.0.1", 7), -EINVAL); /* too short */
    assert_int_equal(try_bind(p, v6, "::", port), -EADDRINUSE);
    assert_int_equal(try_bind(p, v6, "::ffff:10.0.0.1", port), -EADDRINUSE);
    assert_int_equal(try_bind(p, v6, "fd00::1", port), 0);
    assert_int_equal(try_bind(p, b, "127.0.0.1", 7), 0);
    assert_string_equal(address_of(p, b, false), "127.0.0.1:7");
    assert_string_equal(address_of(p, b, true), "ENOTCONN");
    /* Another address, another process: no conflict. */
    (void)udp_bound(p, "127.0.0.2", 7);
    (void)udp_bound(p, "10.0.0.1", 7);
    (void)udp_bound(n.p[1], "0.0.0.0", port);

    int only = udp_socket(p, AF_INET6);
    assert_int_equal(set_int(p, only, IPPROTO_IPV6, IPV6_V6ONLY, 1), 0);
    assert_int_equal(try_bind(p, only, "::ffff:10.0.0.1", 9), -EINVAL);
    assert_int_equal(try_bind(p, only, "::", 7), 0);
    assert_int_equal(set_int(p, only, IPPROTO_IPV6, IPV6_V6ONLY, 0), -EINVAL);

    /* The port is free once its socket is closed. */
    assert_int_equal(weft__sim_close(p, a), 0);
    (void)udp_bound(p, "0.0.0.0", port);
    net_close(&n);
}

static void reusing(void **state)
{
    (void)state;
    struct net n;
    net_open(&n, 1);
    const int names[] = {SO_REUSEADDR, SO_REUSEPORT};
    int u[3];
    for (int i = 0; i < 2; i++) {
        int a = udp_socket(n.p[0], AF_INET), b = udp_socket(n.p[0], AF_INET);
        assert_int_equal(set_int(n.p[0], a, SOL_SOCKET, names[i], 1), 0);
        assert_int_equal(try_bind(n.p[0], a, "0.0.0.0", 100 + i), 0);
        assert_int_equal(try_bind(n.p[0], b, "0.0.0.0", 100 + i), -EADDRINUSE);
        assert_int_equal(set_int(n.p[0], b, SOL_SOCKET, names[1 - i], 1), 0);
        assert_int_equal(try_bind(n.p[0], b, "0.0.0.0", 100 + i), -EADDRINUSE);
        assert_int_equal(set_int(n.p[0], b, SOL_SOCKET, names[i], 1), 0);
        assert_int_equal(try_bind(n.p[0], b, "0.0.0.0", 100 + i), 0);
    }
    /* Linux looks no further than to the newest that shares its port, so the oldest of these is no
     * hindrance; were it the newest, it would be one. */
    const char *const where[] = {"127.0.0.2", "127.0.0.1", "0.0.0.0"};
    for (int i = 0; i < 3; i++) {
        u[i] = udp_socket(n.p[0], AF_INET);
        assert_int_equal(set_int(n.p[0], u[i], SOL_SOCKET, SO_REUSEPORT, i > 0), 0);
        assert_int_equal(try_bind(n.p[0], u[i], where[i], 200), 0);
    }
    for (int i = 0; i < 3; i++) {
        u[i] = udp_socket(n.p[1], AF_INET);
        assert_int_equal(set_int(n.p[1], u[i], SOL_SOCKET, SO_REUSEPORT, i != 1), 0);
        assert_int_equal(try_bind(n.p[1], u[i], where[i], 200), i < 2 ? 0 : -EADDRINUSE);
    }
    net_close(&n);
}

/* All ports: each is given once, and then there is none; bind and send say so. */
static void ports_run_out(void **state)
{
    (void)state;
    struct net n;
    enum { PORTS = 60999 - 32768 + 1 };
    static bool seen[65536];
    memset(seen, 0, sizeof seen);
    net_open(&n, 1);
    n.h[0]->max_fds = 50000;
    for (int i = 0; i < PORTS; i++) {
        int port = port_of(n.p[0], udp_bound(n.p[0], "0.0.0.0", 0));
        assert_false(seen[port]);
        seen[port] = true;
    }
    int more = udp_socket(n.p[0], AF_INET);
    assert_int_equal(try_bind(n.p[0], more, "0.0.0.0", 0), -EADDRINUSE);
    assert_int_equal(udp_send(n.p[0], more, "10.0.0.2", 7, "x", 1), -EADDRINUSE);
    assert_int_equal(weft__sim_close(n.p[0], WEFT__SIM_FD_FIRST), 0);
    assert_int_equal(udp_send(n.p[0], more, "10.0.0.2", 7, "x", 1), 1);
    net_close(&n);
}

/* An exact address before a wildcard, a connected socket before both, IPv4 before dual stack. */
static void who_takes_it(void **state)
{
    (void)state;
    struct net n;
    net_open(&n, 1);
    struct weft__proc *p = n.p[1];
    int from = udp_bound(n.p[0], "0.0.0.0", 1000), other = udp_bound(n.p[0], "0.0.0.0", 1001);
    int s[4] = {udp_socket(p, AF_INET6), udp_socket(p, AF_INET), udp_socket(p, AF_INET),
                udp_socket(p, AF_INET)};
    const char *const where[] = {"::", "0.0.0.0", "10.0.0.2", "10.0.0.2"};
    for (int i = 0; i < 4; i++) {
        assert_int_equal(set_int(p, s[i], SOL_SOCKET, SO_REUSEADDR, 1), 0);
        assert_int_equal(try_bind(p, s[i], where[i], 7), 0);
        if (i == 3)
            assert_int_equal(udp_connect(p, s[i], "10.0.0.1", 1000), 0);
        assert_int_equal(udp_send(n.p[0], from, "10.0.0.2", 7, "x", 1), 1);
        net_run(&n);
        for (int k = 0; k < 4; k++)
            assert_int_equal(udp_drain(p, s[k]), k == i);
    }
    assert_int_equal(udp_send(n.p[0], other, "10.0.0.2", 7, "x", 1), 1);
    assert_int_equal(udp_send(n.p[0], other, "fd00::2", 7, "x", 1), -EAFNOSUPPORT);
    assert_int_equal(udp_send(p, s[1], "127.0.0.1", 7, "x", 1), 1);
    net_run(&n);
    assert_int_equal(udp_drain(p, s[2]), 1);
    assert_int_equal(udp_drain(p, s[1]), 1);
    assert_int_equal(udp_drain(p, s[3]), 0);
    net_close(&n);
}

static void shared_port(void **state)
{
    (void)state;
    struct net n;
    enum { SOCKETS = 4, SENDERS = 400 };
    int s[SOCKETS], got[SOCKETS] = {0};
    net_open(&n, 1);
    for (int i = 0; i < SOCKETS; i++) {
        s[i] = udp_socket(n.p[1], AF_INET);
        assert_int_equal(set_int(n.p[1], s[i], SOL_SOCKET, SO_REUSEPORT, 1), 0);
        assert_int_equal(try_bind(n.p[1], s[i], "0.0.0.0", 7), 0);
    }
    for (int i = 0; i < SENDERS; i++) {
        int from = udp_bound(n.p[0], "0.0.0.0", 0);
        for (int k = 0; k < 3; k++) /* one sender, one receiver */
            assert_int_equal(udp_send(n.p[0], from, "10.0.0.2", 7, "x", 1), 1);
        net_run(&n);
        for (int k = 0; k < SOCKETS; k++) {
            int here = udp_drain(n.p[1], s[k]);
            assert_true(here == 0 || here == 3);
            got[k] += here / 3;
        }
    }
    int sum = 0;
    for (int k = 0; k < SOCKETS; k++) {
        assert_in_range(got[k], SENDERS / 8, SENDERS / 2);
        sum += got[k];
    }
    assert_int_equal(sum, SENDERS);
    net_close(&n);
}

static void dual_stack(void **state)
{
    (void)state;
    struct net n;
    char c;
    net_open(&n, 1);
    int all = udp_bound(n.p[1], "::", 7), v4 = udp_bound(n.p[0], "0.0.0.0", 1000);
    int v6 = udp_bound(n.p[0], "::", 1001), only = udp_socket(n.p[2], AF_INET6);
    assert_int_equal(udp_send(n.p[0], v4, "10.0.0.2", 7, "x", 1), 1);
    net_run(&n);
    assert_int_equal(udp_recv(n.p[1], all, &c, 1, 0), 1);
    assert_string_equal(kit_from, "[::ffff:10.0.0.1]:1000");
    assert_int_equal(udp_send(n.p[1], all, "::ffff:10.0.0.1", 1000, "y", 1), 1);
    assert_int_equal(udp_send(n.p[1], all, "10.0.0.1", 1000, "y", 1), 1);
    assert_int_equal(udp_send(n.p[1], all, "fd00::1", 1001, "z", 1), 1);
    net_run(&n);
    assert_int_equal(udp_recv(n.p[0], v4, &c, 1, 0), 1);
    assert_string_equal(kit_from, "10.0.0.2:7");
    assert_int_equal(udp_drain(n.p[0], v4), 1);
    assert_int_equal(udp_recv(n.p[0], v6, &c, 1, 0), 1);
    assert_string_equal(kit_from, "[fd00::2]:7");

    assert_int_equal(set_int(n.p[2], only, IPPROTO_IPV6, IPV6_V6ONLY, 1), 0);
    assert_int_equal(try_bind(n.p[2], only, "::", 7), 0);
    assert_int_equal(udp_send(n.p[2], only, "::ffff:10.0.0.1", 1000, "y", 1), -ENETUNREACH);
    assert_int_equal(udp_send(n.p[0], v4, "10.0.0.3", 7, "x", 1), 1);
    assert_int_equal(udp_send(n.p[0], v6, "fd00::3", 7, "x", 1), 1);
    net_run(&n);
    assert_int_equal(udp_drain(n.p[2], only), 1);
    /* A connected one shows mapped addresses on both ends. */
    assert_int_equal(udp_connect(n.p[1], all, "::ffff:10.0.0.1", 1000), 0);
    assert_string_equal(address_of(n.p[1], all, false), "[::ffff:10.0.0.2]:7");
    assert_string_equal(address_of(n.p[1], all, true), "[::ffff:10.0.0.1]:1000");
    assert_int_equal(udp_send(n.p[0], v4, "10.0.0.2", 7, "x", 1), 1);
    net_run(&n);
    assert_int_equal(udp_drain(n.p[1], all), 1);
    net_close(&n);
}

/* Where a datagram comes from, by where it goes. */
static void sources(void **state)
{
    (void)state;
    struct net n;
    net_open(&n, 1);
    char c;
    int all = udp_bound(n.p[0], "0.0.0.0", 7), local = udp_bound(n.p[0], "127.0.0.1", 8);
    int own = udp_bound(n.p[0], "10.0.0.1", 9);
    assert_int_equal(udp_send(n.p[0], all, "127.0.0.1", 7, "x", 1), 1);
    assert_int_equal(udp_recv(n.p[0], all, &c, 1, 0), 1);
    assert_string_equal(kit_from, "127.0.0.1:7");
    assert_int_equal(udp_send(n.p[0], all, "10.0.0.1", 7, "x", 1), 1);
    assert_int_equal(udp_recv(n.p[0], all, &c, 1, 0), 1);
    assert_string_equal(kit_from, "10.0.0.1:7");
    assert_int_equal(udp_send(n.p[0], all, "0.0.0.0", 8, "x", 1), 1);
    assert_int_equal(udp_recv(n.p[0], local, &c, 1, 0), 1);
    assert_int_equal(udp_send(n.p[0], own, "127.0.0.1", 7, "x", 1), 1);
    assert_int_equal(udp_recv(n.p[0], all, &c, 1, 0), 1);
    assert_string_equal(kit_from, "10.0.0.1:9");
    assert_int_equal(udp_send(n.p[0], local, "10.0.0.2", 7, "x", 1), -EINVAL);
    assert_int_equal(udp_send(n.p[0], all, "10.0.0.77", 7, "x", 1), -ENETUNREACH);
    assert_int_equal(udp_send(n.p[0], all, "192.0.2.1", 7, "x", 1), -ENETUNREACH);
    net_close(&n);
}

/* The order in which Linux asks sockets that are alike. */
static void alike(void **state)
{
    (void)state;
    struct net n;
    net_open(&n, 1);
    struct weft__proc *p = n.p[0];
    static const struct {
        const char *ip;
        bool reuse_port;
    } cases[] = {{"0.0.0.0", false}, {"::ffff:127.0.0.1", true}, {"::1", true}, {"::1", false},
                 {"::1", true},      {"::ffff:127.0.0.1", false}};
    int s[WEFT__ARRAY_LEN(cases)];
    for (size_t i = 0; i < WEFT__ARRAY_LEN(cases); i++) {
        s[i] = udp_socket(p, strchr(cases[i].ip, ':') != NULL ? AF_INET6 : AF_INET);
        assert_int_equal(set_int(p, s[i], SOL_SOCKET, SO_REUSEADDR, 1), 0);
        assert_int_equal(set_int(p, s[i], SOL_SOCKET, SO_REUSEPORT, cases[i].reuse_port), 0);
        assert_int_equal(try_bind(p, s[i], cases[i].ip, 7), 0);
    }
    int from = udp_bound(p, "::", 0);
    assert_int_equal(udp_send(p, from, "::1", 7, "x", 1), 1);
    assert_int_equal(udp_drain(p, s[3]), 1);
    assert_int_equal(udp_send(p, from, "127.0.0.1", 7, "x", 1), 1);
    assert_int_equal(udp_drain(p, s[5]), 1);
    assert_int_equal(udp_send(p, from, "127.0.0.2", 7, "x", 1), 1);
    assert_int_equal(udp_drain(p, s[0]), 1);
    /* Without those two it is the groups' turn. */
    assert_int_equal(weft__sim_close(p, s[3]), 0);
    assert_int_equal(weft__sim_close(p, s[5]), 0);
    assert_int_equal(udp_send(p, from, "127.0.0.1", 7, "x", 1), 1);
    assert_int_equal(udp_drain(p, s[1]), 1);
    int got[2] = {0};
    for (int i = 0; i < 200; i++) {
        int one = udp_bound(p, "::", 0);
        assert_int_equal(udp_send(p, one, "::1", 7, "x", 1), 1);
        got[0] += udp_drain(p, s[2]);
        got[1] += udp_drain(p, s[4]);
    }
    assert_int_equal(got[0] + got[1], 200);
    assert_in_range(got[0], 60, 140);
    net_close(&n);
}

/* The rules that only TCP has: reuse_addr shares a port until somebody listens. */
static void listening(void **state)
{
    (void)state;
    struct net n;
    net_open(&n, 1);
    union weft__sa any = at("0.0.0.0", 80), local = at("127.0.0.1", 80), from = at("10.0.0.2", 9);
    struct weft__port a = {.b.proto = IPPROTO_TCP, .domain = AF_INET, .reuse_addr = true};
    struct weft__port b = a, c = a;
    assert_int_equal(weft__port_bind(n.p[0], &a, &any.sa, sizeof any.in4), 0);
    assert_int_equal(weft__port_bind(n.p[0], &b, &any.sa, sizeof any.in4), 0);
    assert_int_equal(weft__port_can_listen(n.p[0], &a), 0);
    assert_null(weft__port_find(n.p[0], IPPROTO_TCP, &local.sa, &from.sa));
    a.listens = true;
    assert_int_equal(weft__port_can_listen(n.p[0], &b), -EADDRINUSE);
    assert_int_equal(weft__port_bind(n.p[0], &c, &local.sa, sizeof local.in4), -EADDRINUSE);
    assert_ptr_equal(weft__port_find(n.p[0], IPPROTO_TCP, &local.sa, &from.sa), &a);
    assert_null(weft__port_find(n.p[0], IPPROTO_UDP, &local.sa, &from.sa));
    assert_null(weft__port_find(n.p[1], IPPROTO_TCP, &local.sa, &from.sa));
    any = at("239.1.2.3", 81);
    assert_int_equal(weft__port_bind(n.p[0], &c, &any.sa, sizeof any.in4), -EADDRNOTAVAIL);
    weft__port_release(&a);
    assert_null(weft__port_find(n.p[0], IPPROTO_TCP, &local.sa, &from.sa));
    assert_int_equal(weft__port_can_listen(n.p[0], &b), 0);
    weft__port_release(&b);
    weft__port_release(&b);
    net_close(&n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(binding),       cmocka_unit_test(reusing),
        cmocka_unit_test(ports_run_out), cmocka_unit_test(who_takes_it),
        cmocka_unit_test(shared_port),   cmocka_unit_test(dual_stack),
        cmocka_unit_test(sources),       cmocka_unit_test(alike),
        cmocka_unit_test(listening),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
