/* SPDX-License-Identifier: MIT */
/*
 * 1 MiB each way at once over a link that loses, each side ending its own direction when it has
 * sent all, and reading on.
 *
 * Holds: every byte arrives, in its place; the end comes after the last byte and not before; a
 * direction that was ended does not end the other.
 */
#include "scenario.h"

#define SIZE (1 << 20)

static struct {
    struct weft_sim *sim;
    size_t received[2];
} all;

struct side {
    int number;
    struct weft_stream *s;
    bool shut; /* its own direction */
};

static char byte_of(int side, size_t at)
{
    return (char)(at * 31 + (at >> 8) * 7 + (size_t)side);
}

static int send_all(void *arg)
{
    struct side *me = arg;
    char piece[20000];
    int err = 0;
    for (size_t at = 0, n; err == 0 && at < SIZE; at += n) {
        n = (size_t)pick(all.sim, 1, sizeof piece);
        n = n < SIZE - at ? n : SIZE - at;
        for (size_t i = 0; i < n; i++)
            piece[i] = byte_of(me->number, at + i);
        err = weft_write(me->s, piece, n, WEFT_NEVER);
        if (err == 0 && one_in(all.sim, 50))
            err = weft_sleep_ms(pick(all.sim, 0, 500));
    }
    if (err == 0)
        err = weft_shutdown(me->s, WEFT_NEVER);
    me->shut = err == 0;
    if (err == 0 && weft_write(me->s, "x", 1, WEFT_NEVER) != WEFT_ECLOSED)
        err = weft_sim_fail(NULL, "a write after the half-close is taken");
    return err;
}

static int receive_all(struct side *me)
{
    size_t *at = &all.received[me->number];
    for (;;) {
        const void *data;
        ssize_t n = weft_peek(me->s, &data, WEFT_NEVER);
        if (n < 0)
            return (int)n;
        if (n == 0)
            return *at == SIZE ? 0 : weft_sim_fail(NULL, "the end comes after %zu bytes", *at);
        if (one_in(all.sim, 4))
            n = pick(all.sim, 1, n);
        for (ssize_t i = 0; i < n; i++)
            if (((const char *)data)[i] != byte_of(!me->number, *at + (size_t)i))
                return weft_sim_fail(NULL, "byte %zu is wrong", *at + (size_t)i);
        weft_consume(me->s, (size_t)n);
        *at += (size_t)n;
    }
}

/* One side of the conversation; closes the stream. */
static int talk(int number, struct weft_stream *s)
{
    struct side me = {.number = number, .s = s};
    struct weft_group *g = NULL;
    int err = weft_group_open(&g);
    if (err == 0)
        err = weft_group_go(g, "send", send_all, &me);
    if (err == 0)
        err = receive_all(&me);
    if (err == 0)
        err = weft_group_wait(g, WEFT_NEVER);
    (void)weft_group_close(&g);
    int closed = weft_close(&me.s, WEFT_NEVER);
    return err < 0 ? err : closed;
}

static int left(void *arg)
{
    struct weft_listener *l = NULL;
    struct weft_stream *s = NULL;
    (void)arg;
    int err = weft_listen(&l, "tcp://*:80", NULL);
    if (err == 0)
        err = weft_accept(l, &s, WEFT_NEVER);
    weft_listener_close(&l);
    return err < 0 ? err : talk(0, s);
}

static int right(void *arg)
{
    struct weft_stream *s = NULL;
    int err;
    (void)arg;
    while ((err = weft_dial(&s, "tcp://left:80", NULL, WEFT_NEVER)) == -ECONNREFUSED)
        if ((err = weft_sleep_ms(10)) < 0)
            break;
    return err < 0 ? err : talk(1, s);
}

static void cut(struct weft_sim *sim, void *arg)
{
    (void)arg;
    MUST(weft_sim_partition_oneway(sim, one_in(sim, 2) ? "left" : "right", "*"));
}

static void heal(struct weft_sim *sim, void *arg)
{
    (void)arg;
    MUST(weft_sim_heal(sim, "*", "*"));
}

static int at_the_end(struct weft_sim *sim)
{
    if (all.received[0] != SIZE || all.received[1] != SIZE)
        return weft_sim_fail(sim, "%zu and %zu bytes came", all.received[0], all.received[1]);
    return 0;
}

int main(void)
{
    struct weft_sim *sim = scene();
    all.sim = sim;
    MUST(weft_sim_host(sim, "left", left, NULL));
    MUST(weft_sim_host(sim, "right", right, NULL));
    struct weft_link l = {0};
    l.latency_us = pick(sim, 50, 20000);
    l.jitter_us = pick(sim, 0, 5000);
    l.loss = (double)pick(sim, 0, 50) / 1000;
    l.bytes_per_s = one_in(sim, 2) ? pick(sim, 1000000, 100000000) : 0;
    MUST(weft_sim_link(sim, "*", "*", &l));
    MUST(weft_sim_faults(sim, "*", &(struct weft_sim_faults){.short_io = 0.1, .again = 0.1}));
    int64_t when = weft_ms(pick(sim, 0, 1000));
    MUST(weft_sim_at(sim, when, cut, NULL));
    MUST(weft_sim_at(sim, when + weft_ms(pick(sim, 0, 2000)), heal, NULL));
    return play(sim, weft_s(3600), at_the_end);
}
