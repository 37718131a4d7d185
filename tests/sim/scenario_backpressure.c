/* SPDX-License-Identifier: MIT */
/*
 * A producer, a relay and a slow consumer on three hosts; channels and streams between them.
 *
 * Holds: everything that was produced is consumed, once and in order; however slow the consumer, no
 * more is under way than channels, write buffers and sockets hold, so the producer waits.
 */
#include "scenario.h"

#define ITEMS 1500
#define ITEM_SIZE 1024
#define CHANNEL 8
#define WRITE_BUFFER 4096
#define SOCKET_BUFFERS (2 * 128 * 1024) /* of sender and receiver */
#define SLACK (2 * 64 * 1024)           /* buffers of a read under way */
/* Of both streams, both channels, and what a task holds in its hand. */
#define UNDER_WAY_MAX ((2 * (WRITE_BUFFER + SOCKET_BUFFERS + SLACK)) / ITEM_SIZE + 2 * CHANNEL + 8)

struct item {
    uint32_t number;
    char filler[ITEM_SIZE - sizeof(uint32_t)];
};

static struct {
    struct weft_sim *sim;
    uint32_t produced, consumed;
    uint32_t most; /* under way at once */
} all;

struct ends {
    struct weft_stream *in, *out;
    struct weft_channel *between;
};

/* --- Two halves joined by a channel -------------------------------------------------------- */

static int stream_to_channel(void *arg)
{
    struct ends *e = arg;
    struct item item;
    int err;
    while ((err = weft_read_full(e->in, &item, sizeof item, WEFT_NEVER)) == 0)
        if ((err = weft_channel_send(e->between, &item, WEFT_NEVER)) < 0)
            break;
    weft_channel_shut(e->between);
    return err == WEFT_EEOF ? 0 : err;
}

static int channel_to_stream(void *arg)
{
    struct ends *e = arg;
    struct item item;
    int err;
    while ((err = weft_channel_recv(e->between, &item, WEFT_NEVER)) == 0)
        if ((err = weft_write(e->out, &item, sizeof item, WEFT_NEVER)) < 0)
            break;
    return err == WEFT_ECLOSED ? weft_shutdown(e->out, WEFT_NEVER) : err;
}

static int produce(void *arg)
{
    struct ends *e = arg;
    struct item item = {0};
    int err = 0;
    while (err == 0 && all.produced < ITEMS) {
        item.number = all.produced + 1;
        err = weft_channel_send(e->between, &item, WEFT_NEVER);
        all.produced += err == 0;
    }
    weft_channel_shut(e->between);
    return err;
}

static int consume(struct weft_stream *s)
{
    struct item item;
    int err = 0;
    while (err == 0) {
        if (one_in(all.sim, 100))
            err = weft_sleep_ms(pick(all.sim, 1, 3000));
        if (err == 0 && (err = weft_read_full(s, &item, sizeof item, WEFT_NEVER)) == 0 &&
            item.number != ++all.consumed)
            err = weft_sim_fail(NULL, "item %u comes after %u", item.number, all.consumed - 1);
    }
    if (err == WEFT_EEOF && all.consumed != ITEMS)
        err = weft_sim_fail(NULL, "the end comes after %u items", all.consumed);
    return err == WEFT_EEOF ? 0 : err;
}

/* --- Hosts --------------------------------------------------------------------------------- */

/* The other host may not listen yet. */
static int dial(struct weft_stream **ret, const char *endpoint)
{
    struct weft_dial_options o = {.write_buffer = WRITE_BUFFER};
    int err;
    while ((err = weft_dial(ret, endpoint, &o, WEFT_NEVER)) == -ECONNREFUSED)
        if ((err = weft_sleep_ms(10)) < 0)
            break;
    return err;
}

static int accept_one(struct weft_stream **ret)
{
    struct weft_listener *l = NULL;
    int err = weft_listen(&l, "tcp://*:80", NULL);
    if (err == 0)
        err = weft_accept(l, ret, WEFT_NEVER);
    weft_listener_close(&l);
    return err;
}

static int run_both(struct ends *e, weft_fn first, int err)
{
    struct weft_group *g = NULL;
    if (err == 0)
        err = weft_channel_open(&e->between, sizeof(struct item), CHANNEL);
    if (err == 0)
        err = weft_group_open(&g);
    if (err == 0)
        err = weft_group_go(g, "first", first, e);
    if (err == 0)
        err = weft_group_go(g, "second", channel_to_stream, e);
    if (err == 0)
        err = weft_group_wait(g, WEFT_NEVER);
    (void)weft_group_close(&g);
    weft_channel_close(&e->between);
    int closed = weft_close(&e->out, WEFT_NEVER);
    (void)weft_close(&e->in, WEFT_NEVER);
    return err < 0 ? err : closed;
}

static int producer(void *arg)
{
    struct ends e = {.in = NULL};
    (void)arg;
    return run_both(&e, produce, dial(&e.out, "tcp://relay:80"));
}

static int relay(void *arg)
{
    struct ends e = {.in = NULL};
    (void)arg;
    int err = accept_one(&e.in);
    if (err == 0)
        err = dial(&e.out, "tcp://consumer:80");
    return run_both(&e, stream_to_channel, err);
}

static int consumer(void *arg)
{
    struct weft_stream *s = NULL;
    (void)arg;
    int err = accept_one(&s);
    if (err == 0)
        err = consume(s);
    (void)weft_close(&s, WEFT_NEVER);
    return err;
}

/* --- The scene ----------------------------------------------------------------------------- */

static int at_each_step(struct weft_sim *sim, void *arg)
{
    uint32_t n = all.produced - all.consumed;
    (void)arg;
    all.most = n > all.most ? n : all.most;
    if (n > UNDER_WAY_MAX)
        return weft_sim_fail(sim, "%u items of 1 KiB are under way", n);
    return 0;
}

static void hold(struct weft_sim *sim, void *arg)
{
    (void)arg;
    MUST(weft_sim_pause(sim, "consumer"));
}

static void let_go(struct weft_sim *sim, void *arg)
{
    (void)arg;
    MUST(weft_sim_resume(sim, "consumer"));
}

static int at_the_end(struct weft_sim *sim)
{
    if (all.consumed != ITEMS)
        return weft_sim_fail(sim, "%u items were consumed", all.consumed);
    return 0;
}

int main(void)
{
    struct weft_sim *sim = scene();
    all.sim = sim;
    MUST(weft_sim_host(sim, "producer", producer, NULL));
    MUST(weft_sim_host(sim, "relay", relay, NULL));
    MUST(weft_sim_host(sim, "consumer", consumer, NULL));
    struct weft_link l = {0};
    l.latency_us = pick(sim, 100, 5000);
    l.jitter_us = pick(sim, 0, 3000);
    l.loss = one_in(sim, 2) ? 0.01 : 0;
    l.bytes_per_s = one_in(sim, 2) ? pick(sim, 100000, 10000000) : 0;
    MUST(weft_sim_link(sim, "*", "*", &l));
    MUST(weft_sim_faults(sim, "*", &(struct weft_sim_faults){.short_io = 0.05, .again = 0.05}));
    int64_t when = weft_ms(pick(sim, 0, 1000));
    MUST(weft_sim_at(sim, when, hold, NULL));
    MUST(weft_sim_at(sim, when + weft_ms(pick(sim, 0, 20000)), let_go, NULL));
    MUST(weft_sim_check(sim, "bounded", at_each_step, NULL));
    return play(sim, weft_s(3600), at_the_end);
}
