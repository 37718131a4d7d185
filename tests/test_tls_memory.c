/* SPDX-License-Identifier: MIT */
/*
 * What a secured connection costs when it is idle.
 */
#include "tls_kit.h"

#include <malloc.h>

#define PAIRS 50

static size_t in_use(void)
{
    return mallinfo2().uordblks;
}

/* A pair over sockets that has talked both ways, in pieces and in bulk. */
static void pair_open(struct weft_stream **a, struct weft_stream **b, struct weft_tls *client,
                      struct weft_tls *server)
{
    static char bulk[20000];
    CHECK_EQ(weft_socketpair(a, b), 0);
    tls_kit_secure(a, b, client, server);
    CHECK_EQ(weft_write(*a, bulk, sizeof bulk, WEFT_NEVER), 0);
    CHECK_EQ(weft_read_full(*b, bulk, sizeof bulk, weft_after_s(60)), 0);
    CHECK_EQ(weft_write(*b, bulk, sizeof bulk, WEFT_NEVER), 0);
    CHECK_EQ(weft_read_full(*a, bulk, sizeof bulk, weft_after_s(60)), 0);
}

static int wait_in_peek(void *arg)
{
    const void *data;
    CHECK_EQ(weft_peek(arg, &data, WEFT_NEVER), -ECANCELED);
    return 0;
}

/* most: what an end may cost, on the average of client and server. */
static void idle_memory(bool tickets, size_t most)
{
    struct weft_stream *a[PAIRS], *b[PAIRS];
    struct weft_tls_certificate cert = tls_kit_cert("server.pem", "server.key");
    struct weft_tls *server = tls_kit_open(&(struct weft_tls_options){
        .certificates = &cert, .n_certificates = 1, .no_resumption = !tickets});
    struct weft_tls *client = tls_kit_open(
        &(struct weft_tls_options){.ca = tls_kit_file("ca.pem"), .no_resumption = true});
    pair_open(&a[0], &b[0], client, server); /* what is kept for the process is there now */
    size_t before = in_use();
    for (size_t i = 1; i < PAIRS; i++)
        pair_open(&a[i], &b[i], client, server);
    struct weft_group *g = kit_group();
    for (size_t i = 1; i < PAIRS; i++) {
        kit_go(g, "idle", wait_in_peek, a[i]);
        kit_go(g, "idle", wait_in_peek, b[i]);
    }
    kit_settle();
    size_t each = (in_use() - before) / (2 * (PAIRS - 1));
    print_message("an idle end, %s tickets: %zu bytes of heap\n", tickets ? "with" : "without",
                  each);
    if (!KIT_SANITIZED) /* their allocator tells nothing */
        CHECK(each < most);
    weft_group_cancel(g);
    CHECK_EQ(weft_group_close(&g), 0);
    for (size_t i = 0; i < PAIRS; i++) {
        CHECK_EQ(weft_close(&a[i], WEFT_NEVER), 0);
        CHECK_EQ(weft_close(&b[i], WEFT_NEVER), 0);
    }
    weft_tls_close(&client);
    weft_tls_close(&server);
}

static int without_tickets(void *arg)
{
    (void)arg;
    idle_memory(false, 20000);
    return 0;
}

/* OpenSSL's client keeps the buffer in which it read one, of 16 KiB. */
static int with_tickets(void *arg)
{
    (void)arg;
    idle_memory(true, 30000);
    return 0;
}

static const struct kit_case cases[] = {IN_TASK(without_tickets), IN_TASK(with_tickets)};
KIT_MAIN(cases)
