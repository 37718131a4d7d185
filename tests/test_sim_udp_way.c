/* SPDX-License-Identifier: MIT */
/* What happens to datagrams of simulated hosts between two sockets: losses and delays, parts,
 * groups, and that a seed decides all of it. */
#include "sim_udp_kit.h"

#include "base/alloc.h"

static char data[65507];

/* Host 0 to port 7 of host 1. */
struct pair {
    struct net n;
    int from, to;
};

static void pair_open(struct pair *x, uint64_t seed)
{
    net_open(&x->n, seed);
    x->from = udp_bound(x->n.p[0], "0.0.0.0", 1000);
    x->to = udp_bound(x->n.p[1], "0.0.0.0", 7);
    assert_int_equal(set_int(x->n.p[1], x->to, SOL_SOCKET, SO_RCVBUFFORCE, 500000000), 0);
}

static void pair_send(struct pair *x, size_t len)
{
    assert_int_equal(udp_send(x->n.p[0], x->from, "10.0.0.2", 7, data, len), len);
}

/* n datagrams sent at once; returns how many came. */
static int rush(struct pair *x, int n, size_t len)
{
    for (int i = 0; i < n; i++)
        pair_send(x, len);
    net_run(&x->n);
    return udp_drain(x->n.p[1], x->to);
}

/* Within five standard deviations of n trials with probability p. */
static void assert_near(int got, int n, double p)
{
    double off = got - n * p;
    if (off * off > 25 * n * p * (1 - p))
        fail_msg("%d of %d with probability %g", got, n, p);
}

/* --- Loss, duplicates, order ------------------------------------------------------------------ */

static void loss(void **state)
{
    (void)state;
    struct pair x;
    enum { N = 20000 };
    pair_open(&x, 1);
    net_link(&x.n, (struct weft__link){.loss = weft__probability(0.1)});
    int got = rush(&x, N, 10);
    assert_near(N - got, N, 0.1);
    assert_int_equal(x.n.w->stats.dropped, N - got);
    assert_int_equal(x.n.w->stats.datagrams, got);
    net_link(&x.n, (struct weft__link){.loss = weft__probability(1)});
    assert_int_equal(rush(&x, 1000, 10), 0);
    net_close(&x.n);
}

static void duplicates(void **state)
{
    (void)state;
    struct pair x;
    enum { N = 20000 };
    pair_open(&x, 2);
    net_link(&x.n, (struct weft__link){.duplicate = weft__probability(0.25)});
    assert_near(rush(&x, N, 10) - N, N, 0.25);
    /* The copy has the same bytes. */
    char buf[8];
    net_link(&x.n, (struct weft__link){.duplicate = UINT32_MAX});
    assert_int_equal(udp_send(x.n.p[0], x.from, "10.0.0.2", 7, "twice", 5), 5);
    net_run(&x.n);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(udp_recv(x.n.p[1], x.to, buf, sizeof buf, 0), 5);
        assert_memory_equal(buf, "twice", 5);
    }
    net_close(&x.n);
}

/* Sends numbers, a millisecond apart, and counts those that come before an earlier one. */
static int overtaken(struct pair *x, int n)
{
    int late = 0, highest = -1, got;
    for (int i = 0; i < n; i++) {
        assert_int_equal(udp_send(x->n.p[0], x->from, "10.0.0.2", 7, &i, sizeof i), sizeof i);
        int64_t next = x->n.w->now_ns + MS;
        while (weft__world_next_ns(x->n.w) <= next)
            (void)weft__world_step(x->n.w);
        weft__world_advance(x->n.w, next);
    }
    net_run(&x->n);
    while (udp_recv(x->n.p[1], x->to, &got, sizeof got, 0) == sizeof got) {
        late += got < highest;
        highest = got > highest ? got : highest;
        n--;
    }
    assert_int_equal(n, 0);
    return late;
}

static void reordering(void **state)
{
    (void)state;
    struct pair x;
    pair_open(&x, 3);
    net_link(&x.n, (struct weft__link){.latency_ns = 5 * MS});
    assert_int_equal(overtaken(&x, 1000), 0);
    net_link(&x.n, (struct weft__link){.latency_ns = 5 * MS, .jitter_ns = MS});
    assert_int_equal(overtaken(&x, 1000), 0); /* not across a millisecond */
    net_link(&x.n, (struct weft__link){
                       .latency_ns = 5 * MS, .reorder = UINT32_MAX / 10, .reorder_ns = 6 * MS});
    int late = overtaken(&x, 10000);
    assert_in_range(late, 500, 1000); /* some are held back too little to be overtaken */
    net_close(&x.n);
}

/* --- Time ------------------------------------------------------------------------------------- */

static void arrival(void **state)
{
    (void)state;
    struct pair x;
    pair_open(&x, 4);
    net_link(&x.n, (struct weft__link){.latency_ns = 3 * MS});
    int64_t start = x.n.w->now_ns;
    assert_int_equal(rush(&x, 10, 100), 10);
    assert_int_equal(x.n.w->now_ns - start, 3 * MS);

    net_link(&x.n, (struct weft__link){.latency_ns = 3 * MS, .jitter_ns = 2 * MS});
    bool early = false, late = false;
    for (int i = 0; i < 1000; i++) {
        start = x.n.w->now_ns;
        assert_int_equal(rush(&x, 1, 100), 1);
        int64_t took = x.n.w->now_ns - start;
        assert_in_range(took, 3 * MS, 5 * MS);
        early |= took < 3 * MS + 50 * US;
        late |= took > 5 * MS - 50 * US;
    }
    assert_true(early && late);

    /* A byte a microsecond: 72 and 28 of headers take 100 us, one after another. */
    net_link(&x.n, (struct weft__link){.latency_ns = MS, .bytes_per_s = 1000000});
    start = x.n.w->now_ns;
    assert_int_equal(rush(&x, 50, 72), 50);
    assert_int_equal(x.n.w->now_ns - start, 50 * 100 * US + MS);
    net_close(&x.n);
}

/* What is larger than the mtu takes the wire once for each part, and one lost part loses it all. */
static void parts(void **state)
{
    (void)state;
    struct pair x;
    enum { N = 4000 };
    pair_open(&x, 5);
    static const struct {
        size_t len;
        int parts;
    } cases[] = {{0, 1}, {1472, 1}, {1473, 2}, {2944, 2}, {2945, 3}, {65507, 45}};
    net_link(&x.n, (struct weft__link){.bytes_per_s = 1000000});
    for (size_t i = 0; i < WEFT__ARRAY_LEN(cases); i++) {
        int64_t start = x.n.w->now_ns;
        assert_int_equal(rush(&x, 1, cases[i].len), 1);
        assert_int_equal(x.n.w->now_ns - start, ((int64_t)cases[i].len + 28 * cases[i].parts) * US);
    }
    net_link(&x.n, (struct weft__link){.loss = weft__probability(0.1), .mtu = 128});
    assert_near(rush(&x, N, 100), N, 0.9);
    assert_near(rush(&x, N, 400), N, 0.6561); /* 0.9 to the 4th */
    net_close(&x.n);
}

static void cut(void **state)
{
    (void)state;
    struct pair x;
    pair_open(&x, 6);
    assert_int_equal(weft__link_cut(x.n.w, "h0", "h1", true), 0);
    assert_int_equal(rush(&x, 10, 1), 0);
    assert_int_equal(x.n.w->stats.dropped, 10);
    /* The other way goes on, and within the host. */
    assert_int_equal(udp_send(x.n.p[1], x.to, "10.0.0.1", 1000, "x", 1), 1);
    assert_int_equal(udp_send(x.n.p[1], x.to, "127.0.0.1", 7, "x", 1), 1);
    net_run(&x.n);
    assert_int_equal(udp_drain(x.n.p[0], x.from), 1);
    assert_int_equal(udp_drain(x.n.p[1], x.to), 1);
    assert_int_equal(weft__link_cut(x.n.w, "h?", "h?", false), 0);
    assert_int_equal(rush(&x, 10, 1), 10);
    net_close(&x.n);
}

/* --- Groups ----------------------------------------------------------------------------------- */

/* A socket on port 7 of each host, and one that sends from host 0. */
struct crowd {
    struct net n;
    int s[HOSTS], from;
    const char *group;
};

static void crowd_open(struct crowd *c, const char *any, const char *group)
{
    net_open(&c->n, 1);
    for (int i = 0; i < HOSTS; i++)
        c->s[i] = udp_bound(c->n.p[i], any, 7);
    c->from = udp_bound(c->n.p[0], any, 0);
    c->group = group;
}

static int membership(struct crowd *c, int i, int name, unsigned interface)
{
    struct group_req req = {.gr_interface = interface};
    union weft__sa group = at(c->group, 0);
    int level = group.sa.sa_family == AF_INET ? IPPROTO_IP : IPPROTO_IPV6;
    memcpy(&req.gr_group, &group, sizeof group);
    return weft__sim_setsockopt(c->n.p[i], c->s[i], level, name, &req, sizeof req);
}

/* Who hears one datagram, as bits. */
static unsigned hear(struct crowd *c, const char *to)
{
    unsigned who = 0;
    assert_int_equal(udp_send(c->n.p[0], c->from, to, 7, "all", 3), 3);
    net_run(&c->n);
    for (int i = 0; i < HOSTS; i++) {
        int got = udp_drain(c->n.p[i], c->s[i]);
        assert_in_range(got, 0, 1);
        who |= (unsigned)got << i;
    }
    return who;
}

static void multicast(const char *any, const char *group)
{
    struct crowd c;
    crowd_open(&c, any, group);
    bool v4 = strchr(group, ':') == NULL;
    int level = v4 ? IPPROTO_IP : IPPROTO_IPV6;
    assert_int_equal(hear(&c, group), 0);
    assert_int_equal(membership(&c, 0, MCAST_JOIN_GROUP, 0), 0);
    assert_int_equal(membership(&c, 2, MCAST_JOIN_GROUP, 0), 0);
    assert_int_equal(membership(&c, 2, MCAST_JOIN_GROUP, 0), -EADDRINUSE);
    assert_int_equal(membership(&c, 1, MCAST_LEAVE_GROUP, 0), -EADDRNOTAVAIL);
    assert_int_equal(hear(&c, group), 5);
    /* The sender says whether its own host hears it, and how far it goes. */
    int loop = v4 ? IP_MULTICAST_LOOP : IPV6_MULTICAST_LOOP;
    int hops = v4 ? IP_MULTICAST_TTL : IPV6_MULTICAST_HOPS;
    int interface = v4 ? IP_MULTICAST_IF : IPV6_MULTICAST_IF;
    assert_int_equal(set_int(c.n.p[0], c.from, level, loop, 0), 0);
    assert_int_equal(hear(&c, group), 4);
    assert_int_equal(set_int(c.n.p[0], c.from, level, loop, 1), 0);
    assert_int_equal(set_int(c.n.p[0], c.from, level, hops, 0), 0);
    assert_int_equal(hear(&c, group), 1);
    assert_int_equal(set_int(c.n.p[0], c.from, level, hops, 1), 0);
    /* A group on the loopback interface is another. */
    struct ip_mreqn lo4 = {.imr_ifindex = 1};
    int lo6 = 1;
    const void *lo = v4 ? (const void *)&lo4 : &lo6;
    assert_int_equal(
        weft__sim_setsockopt(c.n.p[0], c.from, level, interface, lo, v4 ? sizeof lo4 : sizeof lo6),
        0);
    assert_int_equal(hear(&c, group), 0);
    assert_int_equal(membership(&c, 0, MCAST_JOIN_GROUP, 1), 0);
    assert_int_equal(membership(&c, 1, MCAST_JOIN_GROUP, 1), 0);
    assert_int_equal(hear(&c, group), 1);
    lo4.imr_ifindex = lo6 = 0;
    assert_int_equal(
        weft__sim_setsockopt(c.n.p[0], c.from, level, interface, lo, v4 ? sizeof lo4 : sizeof lo6),
        0);
    /* Each member has a path of its own. */
    assert_int_equal(weft__link_cut(c.n.w, "h0", "h2", true), 0);
    assert_int_equal(hear(&c, group), 1);
    assert_int_equal(weft__link_cut(c.n.w, "*", "*", false), 0);
    assert_int_equal(membership(&c, 0, MCAST_LEAVE_GROUP, 0), 0);
    assert_int_equal(hear(&c, group), 4);
    assert_int_equal(weft__sim_close(c.n.p[2], c.s[2]), 0);
    c.s[2] = udp_bound(c.n.p[2], any, 7);
    assert_int_equal(hear(&c, group), 0); /* its membership went with the socket */
    net_close(&c.n);
}

static void multicasts(void **state)
{
    (void)state;
    multicast("0.0.0.0", "239.1.2.3");
    multicast("::", "ff02::1:3");
    multicast("::", "239.1.2.3"); /* sockets of IPv6 in a group of IPv4 */
}

/* The older calls, and sockets that want only their own groups. */
static void members(void **state)
{
    (void)state;
    struct crowd c;
    crowd_open(&c, "0.0.0.0", "239.1.2.3");
    struct ip_mreq req = {.imr_multiaddr = at(c.group, 0).in4.sin_addr};
    struct ip_mreqn reqn = {.imr_multiaddr = req.imr_multiaddr, .imr_ifindex = 2};
    struct ip_mreq bad = {.imr_multiaddr = at("10.0.0.2", 0).in4.sin_addr};
    assert_int_equal(
        weft__sim_setsockopt(c.n.p[1], c.s[1], IPPROTO_IP, IP_ADD_MEMBERSHIP, &req, sizeof req), 0);
    assert_int_equal(
        weft__sim_setsockopt(c.n.p[1], c.s[1], IPPROTO_IP, IP_ADD_MEMBERSHIP, &bad, sizeof bad),
        -EINVAL);
    int joined = udp_socket(c.n.p[2], AF_INET);
    assert_int_equal(
        weft__sim_setsockopt(c.n.p[2], joined, IPPROTO_IP, IP_ADD_MEMBERSHIP, &reqn, sizeof reqn),
        0);
    /* On Linux every socket on the port hears what any of the host has joined, by default. */
    assert_int_equal(hear(&c, c.group), 6);
    assert_int_equal(set_int(c.n.p[2], c.s[2], IPPROTO_IP, IP_MULTICAST_ALL, 0), 0);
    assert_int_equal(hear(&c, c.group), 2);
    assert_int_equal(
        weft__sim_setsockopt(c.n.p[1], c.s[1], IPPROTO_IP, IP_DROP_MEMBERSHIP, &reqn, sizeof reqn),
        0);
    assert_int_equal(hear(&c, c.group), 0);

    /* Who leaves while it is on its way does not hear it. */
    assert_int_equal(membership(&c, 1, MCAST_JOIN_GROUP, 0), 0);
    assert_int_equal(udp_send(c.n.p[0], c.from, c.group, 7, "all", 3), 3);
    assert_int_equal(membership(&c, 1, MCAST_LEAVE_GROUP, 0), 0);
    net_run(&c.n);
    assert_int_equal(udp_drain(c.n.p[1], c.s[1]), 0);

    /* igmp_max_memberships */
    char text[24];
    c.group = text;
    for (int i = 0; i < 21; i++) {
        (void)snprintf(text, sizeof text, "239.1.3.%d", i);
        assert_int_equal(membership(&c, 1, MCAST_JOIN_GROUP, 0), i < 20 ? 0 : -ENOBUFS);
    }
    net_close(&c.n);

    crowd_open(&c, "::", "ff02::7");
    struct ipv6_mreq req6 = {.ipv6mr_multiaddr = at(c.group, 0).in6.sin6_addr};
    assert_int_equal(
        weft__sim_setsockopt(c.n.p[1], c.s[1], IPPROTO_IPV6, IPV6_JOIN_GROUP, &req6, sizeof req6),
        0);
    assert_int_equal(hear(&c, c.group), 2);
    assert_int_equal(
        weft__sim_setsockopt(c.n.p[1], c.s[1], IPPROTO_IPV6, IPV6_LEAVE_GROUP, &req6, sizeof req6),
        0);
    assert_int_equal(hear(&c, c.group), 0);
    net_close(&c.n);
}

static void broadcast(void **state)
{
    (void)state;
    struct crowd c;
    crowd_open(&c, "0.0.0.0", "239.1.2.3");
    assert_int_equal(udp_send(c.n.p[0], c.from, "255.255.255.255", 7, "x", 1), -EACCES);
    assert_int_equal(udp_connect(c.n.p[0], c.from, "255.255.255.255", 7), -EACCES);
    assert_int_equal(set_int(c.n.p[0], c.from, SOL_SOCKET, SO_BROADCAST, 1), 0);
    assert_int_equal(hear(&c, "255.255.255.255"), 7);
    assert_int_equal(hear(&c, "10.255.255.255"), 7);
    /* A socket of one address does not hear it. */
    assert_int_equal(weft__sim_close(c.n.p[1], c.s[1]), 0);
    c.s[1] = udp_bound(c.n.p[1], "10.0.0.2", 7);
    assert_int_equal(hear(&c, "255.255.255.255"), 5);
    net_close(&c.n);
}

/* --- Seeds, memory ---------------------------------------------------------------------------- */

/* A bit of everything; returns the world's hash. */
static uint64_t scenario(uint64_t seed)
{
    struct pair x;
    pair_open(&x, seed);
    net_link(&x.n, (struct weft__link){.latency_ns = MS,
                                       .jitter_ns = MS,
                                       .loss = weft__probability(0.1),
                                       .duplicate = weft__probability(0.1),
                                       .reorder = weft__probability(0.1),
                                       .reorder_ns = MS});
    (void)rush(&x, 200, 100);
    uint64_t hash = x.n.w->hash;
    net_close(&x.n);
    return hash;
}

static void seeds(void **state)
{
    (void)state;
    assert_true(scenario(7) == scenario(7));
    assert_true(scenario(7) != scenario(8));
    assert_true(scenario(8) == scenario(8));
}

/* Returns how many came to host 1. */
static int torture_step(struct net *n)
{
    struct group_req req = {0};
    union weft__sa group = at("239.1.2.3", 0);
    int s[2];
    memcpy(&req.gr_group, &group, sizeof group);
    for (int i = 0; i < 2; i++) {
        s[i] = weft__sim_socket(n->p[i], AF_INET, SOCK_DGRAM, 0);
        if (s[i] < 0)
            return 0;
        if (try_bind(n->p[i], s[i], "0.0.0.0", 7) < 0)
            return 0;
        (void)weft__sim_setsockopt(n->p[i], s[i], IPPROTO_IP, MCAST_JOIN_GROUP, &req, sizeof req);
    }
    (void)udp_connect(n->p[0], s[0], "10.0.0.2", 7);
    for (int i = 0; i < 100; i++) /* more than the first events have room for */
        (void)udp_send(n->p[0], s[0], NULL, 0, data, 100);
    (void)udp_send(n->p[1], s[1], "239.1.2.3", 7, data, 100);
    (void)udp_send(n->p[1], s[1], "10.0.0.1", 9, data, 100);
    net_run(n);
    return udp_drain(n->p[1], s[1]);
}

/* Each allocation fails in turn: nothing breaks, nothing leaks. */
static void no_memory(void **state)
{
    (void)state;
    uint64_t total = 0;
    for (uint64_t i = 0; i <= total; i++) {
        struct net n;
        net_open(&n, 1);
        net_link(&n, (struct weft__link){.latency_ns = MS, .duplicate = UINT32_MAX / 2});
        weft__alloc_fail_at(i == 0 ? UINT64_MAX : i);
        uint64_t before = weft__alloc_count();
        int came = torture_step(&n);
        if (i == 0) {
            total = weft__alloc_count() - before;
            assert_in_range(came, 121, 181); /* 101, and half of them twice */
        }
        weft__alloc_fail_at(0);
        net_close(&n);
    }
    assert_true(total > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loss),       cmocka_unit_test(duplicates), cmocka_unit_test(reordering),
        cmocka_unit_test(arrival),    cmocka_unit_test(parts),      cmocka_unit_test(cut),
        cmocka_unit_test(multicasts), cmocka_unit_test(members),    cmocka_unit_test(broadcast),
        cmocka_unit_test(seeds),      cmocka_unit_test(no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
