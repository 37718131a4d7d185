/* SPDX-License-Identifier: MIT */
/*
 * What the tests of the simulated TCP share: two hosts, "server" and "client", with a link between
 * them; the server's end of the one connection and the client's are each in a task's hands. The
 * server is the first host, so its address is known; a name would take some time to be found.
 */
#ifndef SIM_STREAM_KIT_H
#define SIM_STREAM_KIT_H

#include "driver_call.h"
#include "sim_run_kit.h"
#include "sys/sim/world.h"

#define LATENCY (10 * MILLI) /* one way, if a test says nothing else */
#define SPAN (INT64_C(10000) * SECOND)
#define KIB ((size_t)1024)
#define MIB (KIB * 1024)

struct duo {
    struct sim_kit k;
    /* What the two do with their ends; they leave them to be closed, or set them to NULL. */
    int (*server)(struct duo *d, struct weft_stream **s);
    int (*client)(struct duo *d, struct weft_stream **s);
    struct weft_dial_options dial;
    int backlog;
    bool service;         /* the server's main may wait for ever */
    int64_t begun_ns;     /* out, of the world: before dial */
    int64_t connected_ns; /* dial came back */
    int64_t accepted_ns;
    int64_t done_ns[2]; /* out: of the client, of the server */
    int64_t from_ns;    /* the client starts then */
    uint64_t bytes;     /* for the test */
    int result;
};

/* Simulated time, in a host's task. */
static inline int64_t now(void)
{
    return weft__sim_proc->world->now_ns;
}

static inline int duo_server(void *arg)
{
    struct duo *d = arg;
    struct weft_listener *l = NULL;
    struct weft_stream *s = NULL;
    struct weft_listen_options o = {.backlog = d->backlog};
    CHECK_EQ(weft_listen(&l, "tcp://*:80", &o), 0);
    int err = weft_accept(l, &s, WEFT_NEVER);
    if (err == 0) {
        d->accepted_ns = now();
        err = d->server(d, &s);
        d->done_ns[1] = now();
        weft_abort(&s);
    }
    weft_listener_close(&l);
    return err;
}

static inline int duo_client(void *arg)
{
    struct duo *d = arg;
    struct weft_stream *s = NULL;
    CHECK_EQ(weft_sleep_until(weft_after_ns(d->from_ns)), 0);
    d->begun_ns = now();
    int err = weft_dial(&s, "tcp://10.0.0.1:80", &d->dial, WEFT_NEVER);
    d->connected_ns = now();
    if (err == 0) {
        err = d->client(d, &s);
        d->done_ns[0] = now();
        weft_abort(&s);
    }
    return err;
}

static inline void duo_link(struct duo *d, struct weft_link l)
{
    if (l.latency_us == 0)
        l.latency_us = LATENCY / 1000;
    assert_int_equal(weft_sim_link(d->k.sim, "server", "client", &l), 0);
}

static inline void duo_open(struct duo *d, uint64_t seed, struct weft_link l)
{
    struct weft_sim_host_options o = {.service = d->service};
    sim_kit_open(&d->k, seed);
    assert_int_equal(weft_sim_host_with(d->k.sim, "server", &o, duo_server, d), 0);
    assert_int_equal(weft_sim_host(d->k.sim, "client", duo_client, d), 0);
    duo_link(d, l);
}

static inline void duo_close(struct duo *d)
{
    sim_kit_run(&d->k, SPAN, 0);
    sim_kit_close(&d->k, 0);
}

/* Something that happens to the network or the server at a time of the world. */
struct duo_event {
    int64_t when_ns;
    weft_sim_action fn; /* NULL: there is no more */
};
#define DUO_EVENTS 4

/* All of it with each of a few seeds: a process is lazy or not by its seed. */
static inline void duo_run_with(struct duo *d, struct weft_link l, const struct duo_event *events)
{
    struct duo fresh = *d;
    for (uint64_t seed = 1; seed <= 6; seed++) {
        *d = fresh;
        duo_open(d, seed, l);
        for (int i = 0; i < DUO_EVENTS && events[i].fn != NULL; i++)
            assert_int_equal(weft_sim_at(d->k.sim, events[i].when_ns, events[i].fn, NULL), 0);
        duo_close(d);
    }
}

static inline void duo_run(struct duo *d, struct weft_link l)
{
    static const struct duo_event nothing[DUO_EVENTS];
    duo_run_with(d, l, nothing);
}

/* --- Events ---------------------------------------------------------------------------------- */

static inline void duo_part(struct weft_sim *sim, void *arg)
{
    (void)arg;
    CHECK_EQ(weft_sim_partition(sim, "server", "client"), 0);
}

static inline void duo_mute_server(struct weft_sim *sim, void *arg)
{
    (void)arg;
    CHECK_EQ(weft_sim_partition_oneway(sim, "server", "client"), 0);
}

static inline void duo_heal(struct weft_sim *sim, void *arg)
{
    (void)arg;
    CHECK_EQ(weft_sim_heal(sim, "server", "client"), 0);
}

static inline void duo_crash_server(struct weft_sim *sim, void *arg)
{
    (void)arg;
    CHECK_EQ(weft_sim_crash(sim, "server"), 0);
}

static inline void duo_restart_server(struct weft_sim *sim, void *arg)
{
    (void)arg;
    CHECK_EQ(weft_sim_restart(sim, "server"), 0);
}

/* --- What ends do ---------------------------------------------------------------------------- */

static inline int duo_nothing(struct duo *d, struct weft_stream **s)
{
    (void)d;
    (void)s;
    return 0;
}

/* Writes until the kernel takes no more, and nothing changes that for a second. */
static inline uint64_t duo_fill(int fd)
{
    static const char junk[100000];
    uint64_t sum = 0;
    for (int quiet = 0; quiet < 2;) {
        ssize_t n = raw_send(fd, junk, sizeof junk, MSG_DONTWAIT);
        CHECK(n > 0 || errno == EAGAIN);
        sum += n > 0 ? (uint64_t)n : 0;
        quiet = n > 0 ? 0 : quiet + 1;
        if (n < 0)
            CHECK_EQ(weft_sleep_ms(1000), 0);
    }
    return sum;
}

/* Reads until there is no more; counts into d->bytes. Returns 0 at the end, or the error. */
static inline int duo_read_all(struct duo *d, struct weft_stream **s)
{
    const void *data;
    ssize_t n;
    while ((n = weft_peek(*s, &data, WEFT_NEVER)) > 0) {
        d->bytes += (uint64_t)n;
        weft_consume(*s, (size_t)n);
    }
    return (int)n;
}

#endif
