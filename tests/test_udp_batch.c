/* SPDX-License-Identifier: MIT */
/* Many datagrams a call, and datagrams that the kernel joins and takes apart. */
#include "udp_kit.h"

#include "net/udp.h"
#include "sys/call.h"

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

static void (*const anywhere[])(void) = {
    batches_of_all_kinds, bounds_of_batches, joined, joined_to_several, segmenting_fails,
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
    if (strcmp(driver, "epoll") == 0) /* it is the same for all */
        in_a_task(NULL);
}

static const struct kit_case cases[] = {
    IN_TASK(in_a_task),
    ON_THREAD(on_a_thread),
};
KIT_MAIN(cases)
