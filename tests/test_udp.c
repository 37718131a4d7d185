/* SPDX-License-Identifier: MIT */
/* UDP sockets: datagrams, waiting, multicast; in tasks and on a plain thread. */
#include "udp_kit.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "net/udp.h"
#include "sys/call.h"

/* --- One at a time --------------------------------------------------------------------------- */

static void there_and_back(const char *endpoint)
{
    struct weft_udp *a = open_at(endpoint, NULL), *b = open_at(endpoint, NULL);
    struct weft_address to = address_of(b), mine = address_of(a), from;
    char buf[16];
    CHECK_EQ(weft_udp_send(a, "hello", 5, &to, late()), 0);
    CHECK_EQ(weft_udp_recv(b, buf, sizeof buf, &from, late()), 5);
    CHECK(memcmp(buf, "hello", 5) == 0);
    CHECK(weft_address_equal(&from, &mine));
    CHECK_EQ(weft_udp_send(b, "", 0, &from, late()), 0);
    CHECK_EQ(weft_udp_recv(a, buf, sizeof buf, NULL, late()), 0);
    CHECK_EQ(weft_udp_send(a, "12345", 5, &to, late()), 0);
    CHECK_EQ(weft_udp_recv(b, buf, 4, NULL, late()), -EMSGSIZE);
    CHECK_EQ(weft_udp_send(a, "1234", 4, &to, late()), 0);
    CHECK_EQ(weft_udp_recv(b, buf, 4, NULL, late()), 4);
    CHECK_EQ(weft_udp_send(a, "x", 1, NULL, late()), -EDESTADDRREQ);
    static char huge[70000];
    CHECK_EQ(weft_udp_send(a, huge, sizeof huge, &to, late()), -EMSGSIZE);
    weft_udp_close(&a);
    weft_udp_close(&b);
    CHECK(a == NULL);
    weft_udp_close(&a);
}

static void one_at_a_time(void)
{
    there_and_back("udp://127.0.0.1:0");
    there_and_back("udp://[::1]:0");
}

/* An IPv6 socket of every address takes IPv4, too. */
static void dual_stack(void)
{
    struct weft_udp *all = open_at("udp://:0", NULL), *a = v4();
    struct weft_address to, from;
    char c;
    CHECK_EQ(weft_address_ip(&to, "127.0.0.1", weft_address_port(&all->at.address)), 0);
    CHECK_EQ(weft_udp_send(a, "x", 1, &to, late()), 0);
    CHECK_EQ(weft_udp_recv(all, &c, 1, &from, late()), 1);
    CHECK_EQ(weft_udp_send(all, "y", 1, &from, late()), 0);
    CHECK_EQ(weft_udp_recv(a, &c, 1, NULL, late()), 1);
    CHECK(strncmp(endpoint_of(all), "udp://*:", 8) == 0);
    weft_udp_close(&a);
    CHECK_EQ(weft_udp_dial(&a, endpoint_of(all), NULL), 0);
    CHECK_EQ(weft_udp_send(a, "z", 1, NULL, late()), 0);
    CHECK_EQ(weft_udp_recv(all, &c, 1, NULL, late()), 1);
    weft_udp_close(&a);
    weft_udp_close(&all);
}

static void connected(void)
{
    struct weft_udp *server = v4(), *stranger = v4(), *u = NULL;
    char buf[8], at[WEFT_ENDPOINT_MAX];
    strcpy(at, endpoint_of(server));
    CHECK_EQ(weft_udp_dial(&u, at, NULL), 0);
    struct weft_address to = address_of(u), from;
    CHECK_EQ(weft_udp_send(stranger, "no", 2, &to, late()), 0);
    CHECK_EQ(weft_udp_send(server, "yes", 3, &to, late()), 0);
    CHECK_EQ(weft_udp_recv(u, buf, sizeof buf, &from, late()), 3);
    CHECK_EQ(weft_address_port(&from), weft_address_port(&server->at.address));
    CHECK_EQ(weft_udp_send(u, "out", 3, NULL, late()), 0);
    CHECK_EQ(weft_udp_recv(server, buf, sizeof buf, &from, late()), 3);
    CHECK(weft_address_equal(&from, &to));

    /* Nobody there any more: the refusal is reported, by receive and by send. */
    weft_udp_close(&server);
    CHECK_EQ(weft_udp_send(u, "x", 1, NULL, late()), 0);
    CHECK_EQ(weft_udp_recv(u, buf, sizeof buf, NULL, late()), -ECONNREFUSED);
    CHECK_EQ(weft_udp_recv(u, buf, sizeof buf, NULL, weft_after_ms(3)), -ETIMEDOUT);
    CHECK_EQ(weft_udp_send(u, "x", 1, NULL, late()), 0);
    CHECK_EQ(weft_udp_send(u, "x", 1, NULL, late()), -ECONNREFUSED);
    struct weft_datagram dg = {.data = buf, .cap = sizeof buf};
    CHECK_EQ(weft_udp_send(u, "x", 1, NULL, late()), 0);
    CHECK_EQ(weft_udp_recv_batch(u, &dg, 1, late()), -ECONNREFUSED);
    weft_udp_close(&u);
    weft_udp_close(&stranger);
}

static int option(const struct weft_udp *u, int name)
{
    int value = -1;
    socklen_t len = sizeof value;
    CHECK_EQ(getsockopt(weft_udp_fd(u), SOL_SOCKET, name, &value, &len), 0);
    return value;
}

static void options(void)
{
    struct weft_udp_options o = {
        .reuse_port = true, .broadcast = true, .receive_buffer = 50000, .send_buffer = 40000};
    struct weft_udp *u = open_at("udp://127.0.0.1:0", &o), *again = NULL;
    CHECK_EQ(option(u, SO_REUSEPORT), 1);
    CHECK_EQ(option(u, SO_BROADCAST), 1);
    CHECK_EQ(option(u, SO_RCVBUF), 100000); /* the kernel doubles it */
    CHECK_EQ(option(u, SO_SNDBUF), 80000);
    CHECK_EQ(fcntl(weft_udp_fd(u), F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    CHECK_EQ(weft_udp_open(&again, endpoint_of(u), &o), 0);
    weft_udp_close(&again);
    CHECK_EQ(weft_udp_open(&again, endpoint_of(u), NULL), -EADDRINUSE);
    CHECK(strstr(weft_error_detail(), endpoint_of(u)) != NULL);
    CHECK_EQ(weft_udp_open(&again, "tcp://127.0.0.1:0", NULL), WEFT_EENDPOINT);
    CHECK_EQ(weft_udp_open(&again, "udp://127.0.0.1", NULL), WEFT_EENDPOINT);
    CHECK_EQ(weft_udp_open(&again, "udp://203.0.113.1:0", NULL), -EADDRNOTAVAIL);
    CHECK_EQ(weft_udp_dial(&again, "udp://127.0.0.1:0", NULL), WEFT_EENDPOINT);
    CHECK(again == NULL);
    weft_udp_close(&u);
}

/* --- Waiting --------------------------------------------------------------------------------- */

static int recv_canceled(void *arg)
{
    char c;
    struct weft_datagram dg = {.data = &c, .cap = 1};
    CHECK_EQ(weft_udp_recv(arg, &c, 1, NULL, WEFT_NEVER), -ECANCELED);
    CHECK_EQ(weft_udp_recv_batch(arg, &dg, 1, WEFT_NEVER), -ECANCELED);
    return 0;
}

static int batch_canceled(void *arg)
{
    char c;
    struct weft_datagram dg = {.data = &c, .cap = 1};
    CHECK_EQ(weft_udp_recv_batch(arg, &dg, 1, WEFT_NEVER), -ECANCELED);
    return 0;
}

static void cut_short(void)
{
    struct weft_udp *u = v4();
    struct weft_address to = address_of(u);
    char c;
    struct weft_datagram dg = {.data = &c, .cap = 1};
    CHECK_EQ(weft_udp_recv(u, &c, 1, NULL, weft_after_ms(3)), -ETIMEDOUT);
    CHECK_EQ(weft_udp_recv(u, &c, 1, NULL, WEFT_NOW), -ETIMEDOUT);
    CHECK_EQ(weft_udp_recv_batch(u, &dg, 1, weft_after_ms(3)), -ETIMEDOUT);
    CHECK_EQ(weft_udp_recv_batch(u, &dg, 1, WEFT_NOW), -ETIMEDOUT);
    for (int i = 0; i < 2; i++) {
        struct weft_group *g = kit_group();
        kit_go(g, "receives", i == 0 ? recv_canceled : batch_canceled, u);
        if (weft_loop_current() != NULL)
            kit_settle();
        weft_group_cancel(g);
        CHECK_EQ(weft_group_close(&g), 0);
    }
    CHECK_EQ(weft_udp_send(u, "x", 1, &to, late()), 0);
    CHECK_EQ(weft_udp_recv(u, &c, 1, NULL, late()), 1);
    weft_udp_close(&u);
}

/* --- Multicast ------------------------------------------------------------------------------- */

static void multicast(const char *endpoint, const char *group)
{
    struct weft_udp_options o = {.reuse_port = true};
    if (KIT_EMULATED)
        return; /* it does not know MCAST_JOIN_GROUP */
    struct weft_udp *u = open_at(endpoint, &o), *from = open_at(endpoint, &o);
    struct weft_address to;
    char text[64], c = 0;
    CHECK_EQ(weft_udp_join(u, group, "no-such-if"), -ENODEV);
    CHECK_EQ(weft_udp_join(u, "nonsense", "lo"), WEFT_EENDPOINT);
    CHECK_EQ(weft_udp_join(u, group, "lo"), 0);
    CHECK_EQ(weft_udp_join(u, group, "lo"), -EADDRINUSE);
    CHECK(strstr(weft_error_detail(), group) != NULL);
    CHECK_EQ(weft_udp_multicast(from, -1, true, "lo"), -EINVAL);
    CHECK_EQ(weft_udp_multicast(from, 1, true, "no-such-if"), -ENODEV);
    CHECK_EQ(weft_udp_multicast(from, 1, true, "lo"), 0);
    (void)snprintf(text, sizeof text, "%s%s", group, strchr(group, ':') ? "%lo" : "");
    CHECK_EQ(weft_address_ip(&to, text, weft_address_port(&u->at.address)), 0);
    int err = weft_udp_send(from, "m", 1, &to, late());
    if (err == 0) {
        CHECK_EQ(weft_udp_recv(u, &c, 1, NULL, late()), 1);
        CHECK_EQ(c, 'm');
    } else { /* as a rule there is no route for IPv6 groups by the loopback interface */
        CHECK_EQ(err, -ENETUNREACH);
        CHECK_EQ(weft_udp_leave(u, group, "lo"), 0);
        goto out;
    }
    CHECK_EQ(weft_udp_leave(u, group, "lo"), 0);
    CHECK(weft_udp_leave(u, group, "lo") < 0);
    CHECK_EQ(weft_udp_send(from, "m", 1, &to, late()), 0);
    CHECK_EQ(weft_udp_recv(u, &c, 1, NULL, weft_after_ms(10)), -ETIMEDOUT);
out:
    weft_udp_close(&u);
    weft_udp_close(&from);
}

static void multicasts(void)
{
    multicast("udp://0.0.0.0:0", "239.255.77.77");
    multicast("udp://[::]:0", "239.255.77.78"); /* an IPv6 socket in an IPv4 group */
    multicast("udp://[::]:0", "ff02::77:77");
}

/* --- On a loop ------------------------------------------------------------------------------- */

static int recv_closed(void *arg)
{
    char c;
    CHECK_EQ(weft_udp_recv(arg, &c, 1, NULL, WEFT_NEVER), WEFT_ECLOSED);
    return 0;
}

static int batch_closed(void *arg)
{
    char c;
    struct weft_datagram dg = {.data = &c, .cap = 1};
    CHECK_EQ(weft_udp_recv_batch(arg, &dg, 1, WEFT_NEVER), WEFT_ECLOSED);
    return 0;
}

static int busy_and_closed(void *arg)
{
    (void)arg;
    for (int i = 0; i < 2; i++) {
        struct weft_udp *u = v4();
        struct weft_group *g = kit_group();
        char c;
        kit_go(g, "first receiver", i == 0 ? recv_closed : batch_closed, u);
        kit_settle();
        CHECK_EQ(weft_udp_recv(u, &c, 1, NULL, WEFT_NEVER), -EBUSY);
        CHECK(strstr(weft_error_detail(), "first receiver") != NULL);
        weft_udp_close(&u);
        CHECK_EQ(weft_group_close(&g), 0);
    }
    return 0;
}

static int on_another_loop(void *arg)
{
    char c;
    struct weft_datagram dg = {.data = &c, .cap = 1};
    CHECK_EQ(weft_udp_recv(arg, &c, 1, NULL, WEFT_NOW), WEFT_ETHREAD);
    CHECK_EQ(weft_udp_send(arg, &c, 1, NULL, WEFT_NOW), WEFT_ETHREAD);
    CHECK_EQ(weft_udp_recv_batch(arg, &dg, 1, WEFT_NOW), WEFT_ETHREAD);
    CHECK_EQ(weft_udp_send_batch(arg, &dg, 1, WEFT_NOW), WEFT_ETHREAD);
    return 0;
}

static void in_callback(void *arg)
{
    char c;
    CHECK_EQ(weft_udp_recv(arg, &c, 1, NULL, WEFT_NOW), -EDEADLK);
    CHECK_EQ(weft_udp_send(arg, &c, 1, NULL, WEFT_NOW), -EDEADLK);
}

static int wrong_place(void *arg)
{
    (void)arg;
    struct weft_udp *u = v4();
    CHECK_EQ(weft_run(NULL, on_another_loop, u), 0);
    kit_as_callback(in_callback, u);
    weft_udp_close(&u);
    return 0;
}

#define PINGS 500

static int pong(void *arg)
{
    char buf[16];
    struct weft_address from;
    for (int i = 0; i < PINGS; i++) {
        ssize_t n = weft_udp_recv(arg, buf, sizeof buf, &from, late());
        CHECK(n > 0);
        CHECK_EQ(weft_udp_send(arg, buf, (size_t)n, &from, late()), 0);
    }
    return 0;
}

static int ping(void *arg)
{
    char buf[16];
    for (int i = 0; i < PINGS; i++) {
        CHECK_EQ(weft_udp_send(arg, &i, sizeof i, NULL, late()), 0);
        CHECK_EQ(weft_udp_recv(arg, buf, sizeof buf, NULL, late()), sizeof i);
        CHECK(memcmp(buf, &i, sizeof i) == 0);
    }
    return 0;
}

static int ping_pong(void *arg)
{
    (void)arg;
    struct weft_udp *server = v4(), *client = NULL;
    struct weft_group *g = kit_group();
    CHECK_EQ(weft_udp_dial(&client, endpoint_of(server), NULL), 0);
    kit_go(g, "pong", pong, server);
    kit_go(g, "ping", ping, client);
    CHECK_EQ(weft_group_wait(g, late()), 0);
    CHECK_EQ(weft_group_close(&g), 0);
    weft_udp_close(&client);
    weft_udp_close(&server);
    return 0;
}

/* --- Failures -------------------------------------------------------------------------------- */

static void faults(void)
{
    struct weft_udp_options o = {.segment = true, .reuse_port = true, .send_buffer = 10000};
    int err = -1;
    struct weft_udp *u = NULL;
    for (uint64_t n = 1; n < 20; n++) {
        weft__fault_at(n, ENOBUFS);
        err = weft_udp_open(&u, "udp://[::1]:0", &o);
        uint64_t passed = weft__fault_count();
        weft__fault_at(0, 0);
        CHECK(err == 0 || err == -ENOBUFS);
        CHECK_EQ(err == 0, u != NULL);
        weft_udp_close(&u);
        if (passed < n)
            break;
    }
    CHECK_EQ(err, 0);
    for (uint64_t n = 1; n <= 2; n++) {
        weft__alloc_fail_at(n);
        CHECK_EQ(weft_udp_open(&u, "udp://[::1]:0", &o), -ENOMEM);
        weft__alloc_fail_at(0);
    }
    weft__alloc_hooks = false;
}

static void (*const anywhere[])(void) = {
    one_at_a_time, dual_stack, connected, options, cut_short, multicasts, faults,
};

static int in_a_task(void *arg)
{
    (void)arg;
    for (size_t i = 0; i < sizeof anywhere / sizeof anywhere[0]; i++)
        anywhere[i]();
    return 0;
}

static void on_a_thread(const char *driver)
{
    if (strcmp(driver, "epoll") == 0) { /* it is the same for all */
        in_a_task(NULL);
        ping_pong(NULL);
    }
}

static const struct kit_case cases[] = {
    IN_TASK(in_a_task),   ON_THREAD(on_a_thread), IN_TASK(busy_and_closed),
    IN_TASK(wrong_place), IN_TASK(ping_pong),
};
KIT_MAIN(cases)
