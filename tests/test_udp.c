/* SPDX-License-Identifier: MIT */
/* UDP sockets: datagrams, batches, joined datagrams, multicast; in tasks and on a plain thread. */
#include "rt_kit.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <weft/udp.h>

#include "base/alloc.h"
#include "net/udp.h"
#include "sys/call.h"

static struct weft_udp *open_at(const char *endpoint, const struct weft_udp_options *o)
{
    struct weft_udp *u = NULL;
    CHECK_EQ(weft_udp_open(&u, endpoint, o), 0);
    return u;
}

static struct weft_udp *v4(void)
{
    return open_at("udp://127.0.0.1:0", NULL);
}

static const char *endpoint_of(const struct weft_udp *u)
{
    static _Thread_local char text[WEFT_ENDPOINT_MAX];
    CHECK(weft_udp_endpoint(u, text, sizeof text) > 0);
    return text;
}

static struct weft_address address_of(const struct weft_udp *u)
{
    struct weft_address a;
    CHECK_EQ(weft_udp_local(u, &a), 0);
    return a;
}

static weft_deadline late(void)
{
    return weft_after_s(30);
}

/* --- One at a time -------------------------------------------------------------------------------
 */

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
    CHECK_EQ(weft_udp_open(&again, "udp://somewhere:1", NULL), WEFT_ENAME);
    CHECK_EQ(weft_udp_open(&again, "udp://203.0.113.1:0", NULL), -EADDRNOTAVAIL);
    CHECK_EQ(weft_udp_dial(&again, "udp://127.0.0.1:0", NULL), WEFT_EENDPOINT);
    CHECK(again == NULL);
    weft_udp_close(&u);
}

/* --- Waiting
 * ----------------------------------------------------------------------------------------- */

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

/* --- Batches
 * ------------------------------------------------------------------------------------------ */

#define ROOM 2048

struct batch {
    struct weft_datagram dg[WEFT_UDP_BATCH_MAX];
    uint8_t data[WEFT_UDP_BATCH_MAX][ROOM];
};

static struct batch *batch_new(void)
{
    struct batch *b = calloc(1, sizeof *b);
    CHECK(b != NULL);
    for (int i = 0; i < WEFT_UDP_BATCH_MAX; i++) {
        b->dg[i].data = b->data[i];
        b->dg[i].cap = ROOM;
    }
    return b;
}

static void fill(struct batch *b, int i, int number, size_t len, const struct weft_address *to)
{
    memset(b->data[i], number, len);
    b->dg[i].len = len;
    b->dg[i].address = to != NULL ? *to : (struct weft_address){0};
}

/* Receives n datagrams, numbered from 0 on, by batches of `size`. */
static void expect_numbers(struct weft_udp *u, int n, int size, const size_t *len,
                           const struct weft_address *from)
{
    struct batch *b = batch_new();
    for (int at = 0; at < n;) {
        int got = weft_udp_recv_batch(u, b->dg, size, late());
        CHECK(got > 0 && got <= size && at + got <= n);
        for (int i = 0; i < got; i++, at++) {
            CHECK_EQ(b->dg[i].len, len[at]);
            CHECK(!b->dg[i].truncated);
            CHECK(len[at] == 0 || b->data[i][0] == at);
            CHECK(len[at] == 0 || b->data[i][len[at] - 1] == at);
            CHECK(weft_address_equal(&b->dg[i].address, from));
        }
    }
    CHECK_EQ(weft_udp_recv_batch(u, b->dg, 1, WEFT_NOW), -ETIMEDOUT);
    free(b);
}

/* Sizes that make runs of all kinds: equal, with a shorter end, with longer and empty ones between.
 */
static size_t size_of(int shape, int i)
{
    switch (shape) {
    case 0:
        return 1000;
    case 1:
        return i == 63 ? 10 : 1000;
    case 2:
        return i % 7 == 6 ? 1 : 100;
    case 3:
        return i % 5 == 0 ? 0 : 50;
    case 4:
        return (size_t)(i + 1);
    case 5:
        return (size_t)(64 - i);
    default:
        return 1400; /* 64 of them are more than one message may hold */
    }
}
#define SHAPES 7

static void batches(bool segment, bool dial, int receive)
{
    struct weft_udp_options o = {.segment = segment, .receive_buffer = 1 << 20};
    struct weft_udp *b = open_at("udp://127.0.0.1:0", &o), *a = NULL;
    struct batch *out = batch_new();
    size_t len[64];
    if (dial)
        CHECK_EQ(weft_udp_dial(&a, endpoint_of(b), &o), 0);
    else
        a = open_at("udp://127.0.0.1:0", &o);
    struct weft_address to = address_of(b), from = address_of(a);
    for (int shape = 0; shape < SHAPES; shape++) {
        for (int i = 0; i < 64; i++)
            fill(out, i, i, len[i] = size_of(shape, i), dial ? NULL : &to);
        CHECK_EQ(weft_udp_send_batch(a, out->dg, 64, late()), 64);
        expect_numbers(b, 64, receive, len, &from);
    }
    free(out);
    weft_udp_close(&a);
    weft_udp_close(&b);
}

static void batches_of_all_kinds(void)
{
    for (int i = 0; i < 4; i++) {
        batches(i & 1, i & 2, 64);
        batches(i & 1, i & 2, 7);
        batches(i & 1, i & 2, 1);
    }
}

/* Runs end where the receiver changes. */
static void batch_to_several(bool segment)
{
    struct weft_udp_options o = {.segment = segment};
    struct weft_udp *a = open_at("udp://127.0.0.1:0", &o);
    struct weft_udp *to[3];
    struct weft_address at[3];
    struct batch *b = batch_new();
    char buf[8];
    for (int i = 0; i < 3; i++) {
        to[i] = v4();
        at[i] = address_of(to[i]);
    }
    for (int i = 0; i < 30; i++)
        fill(b, i, i, 8, &at[i < 15 ? i % 3 : i / 5 - 3]);
    CHECK_EQ(weft_udp_send_batch(a, b->dg, 30, late()), 30);
    for (int i = 0; i < 30; i++) {
        CHECK_EQ(weft_udp_recv(to[i < 15 ? i % 3 : i / 5 - 3], buf, sizeof buf, NULL, late()), 8);
        CHECK_EQ(buf[0], i);
    }
    for (int i = 0; i < 3; i++)
        weft_udp_close(&to[i]);
    weft_udp_close(&a);
    free(b);
}

static void bounds_of_batches(void)
{
    struct weft_udp *a = v4(), *b = v4();
    struct weft_address to = address_of(b);
    struct batch *x = batch_new();
    CHECK_EQ(weft_udp_send_batch(a, x->dg, 0, late()), -EINVAL);
    CHECK_EQ(weft_udp_send_batch(a, x->dg, 65, late()), -EINVAL);
    CHECK_EQ(weft_udp_recv_batch(a, x->dg, 0, late()), -EINVAL);
    CHECK_EQ(weft_udp_recv_batch(a, x->dg, 65, late()), -EINVAL);
    CHECK_EQ(weft_udp_send_batch(a, x->dg, 1, late()), -EDESTADDRREQ);
    fill(x, 0, 1, 10, &to);
    fill(x, 1, 2, 20, &to);
    fill(x, 2, 3, 10, NULL);
    CHECK_EQ(weft_udp_send_batch(a, x->dg, 3, late()), 2); /* how many, before the first error */
    x->dg[0].cap = 5;
    CHECK_EQ(weft_udp_recv_batch(b, x->dg, 64, late()), 2);
    CHECK(x->dg[0].truncated);
    CHECK_EQ(x->dg[0].len, 5);
    CHECK(!x->dg[1].truncated);
    CHECK_EQ(x->dg[1].len, 20);
    weft_udp_close(&a);
    weft_udp_close(&b);
    free(x);
}

/* A socket that joins: one at a time, truncation, and what does not fit into a batch is kept. */
static void joined(void)
{
    struct weft_udp_options o = {.segment = true};
    struct weft_udp *a = open_at("udp://127.0.0.1:0", &o), *b = open_at("udp://127.0.0.1:0", &o);
    struct weft_address to = address_of(b), mine = address_of(a), from;
    struct batch *x = batch_new();
    char buf[100];
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 20; i++)
            fill(x, i, i, 50, &to);
        CHECK_EQ(weft_udp_send_batch(a, x->dg, 20, late()), 20);
        for (int i = 0; i < 20; i++) {
            size_t cap = round == 1 && i % 2 ? 49 : sizeof buf;
            CHECK_EQ(weft_udp_recv(b, buf, cap, &from, late()), cap == 49 ? -EMSGSIZE : 50);
            CHECK(cap == 49 || (buf[0] == i && weft_address_equal(&from, &mine)));
        }
        CHECK_EQ(weft_udp_recv(b, buf, sizeof buf, NULL, WEFT_NOW), -ETIMEDOUT);
    }
    weft_udp_close(&a);
    for (int i = 0; i < 20; i++) /* kept ones go with the socket */
        fill(x, i, i, 50, &to);
    a = open_at("udp://127.0.0.1:0", &o);
    CHECK_EQ(weft_udp_send_batch(a, x->dg, 20, late()), 20);
    CHECK_EQ(weft_udp_recv(b, buf, sizeof buf, NULL, late()), 50);
    weft_udp_close(&a);
    weft_udp_close(&b);
    free(x);
}

static void joined_to_several(void)
{
    batch_to_several(false);
    batch_to_several(true);
}

/* A kernel that cannot segment is not told of: datagrams go one by one. */
static void segmenting_fails(void)
{
    struct weft_udp_options o = {.segment = true};
    struct weft_udp *a = open_at("udp://127.0.0.1:0", &o), *b = v4();
    struct weft_address to = address_of(b), from = address_of(a);
    struct batch *x = batch_new();
    size_t len[10];
    for (int i = 0; i < 10; i++)
        fill(x, i, i, len[i] = 30, &to);
    CHECK(a->segments);
    weft__fault_at(1, EIO);
    CHECK_EQ(weft_udp_send_batch(a, x->dg, 10, late()), 10);
    weft__fault_at(0, 0);
    CHECK(!a->segments);
    expect_numbers(b, 10, 64, len, &from);
    weft_udp_close(&a);
    weft_udp_close(&b);
    free(x);
}

/* --- Multicast
 * ---------------------------------------------------------------------------------------- */

static void multicast(const char *endpoint, const char *group)
{
    struct weft_udp_options o = {.reuse_port = true};
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

/* --- On a loop
 * ------------------------------------------------------------------------------------------- */

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

/* --- Failures
 * ------------------------------------------------------------------------------------------------
 */

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
    one_at_a_time,     dual_stack,           connected,         options,
    cut_short,         batches_of_all_kinds, bounds_of_batches, joined,
    joined_to_several, segmenting_fails,     multicasts,        faults,
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
