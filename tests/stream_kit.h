/* SPDX-License-Identifier: MIT */
/*
 * The conformance kit of streams: cases are run for every maker of a pair of connected streams,
 * in tasks on each loop driver, in plain threads, and in the main task of a simulated host with
 * several seeds; and must leave no descriptor behind.
 *
 * A case is written once. What it starts with stream_kit_go is a task in one world and a thread in
 * the other; there a stream is used by one thread at a time.
 */
#ifndef STREAM_KIT_H
#define STREAM_KIT_H

#include "rt_kit.h"

#include <weft/stream.h>

struct stream_maker {
    const char *name;
    void (*make)(struct weft_stream **a, struct weft_stream **b);
    bool tcp;
    bool memory; /* no descriptor; only on a loop */
    bool tls;    /* secured, over one of the others */
    bool link;   /* bytes are on their way for some time: simulation only */
};

/* Where and on what a case runs. */
struct stream_kit {
    const struct stream_maker *maker;
    const char *driver; /* NULL: plain threads */
    bool sim;           /* driver is "sim" */
};

enum {
    STREAM_KIT_LOOP = 1,   /* needs tasks */
    STREAM_KIT_SOCKET = 2, /* needs a descriptor */
    STREAM_KIT_ONCE = 4,   /* with one maker is enough: TCP over IPv4 */
    STREAM_KIT_REAL = 8,   /* says nothing of a simulation */
    STREAM_KIT_PLAIN = 16, /* looks at what carries the bytes: not through a filter */
};

struct stream_case {
    const char *name;
    void (*fn)(const struct stream_kit *k);
    unsigned needs;
};
#define STREAM_CASE(fn, needs)                                                                     \
    {                                                                                              \
#fn, fn, needs                                                                             \
    }

int stream_kit_main(const struct stream_case *cases, size_t n);
#define STREAM_KIT_MAIN(cases)                                                                     \
    int main(void)                                                                                 \
    {                                                                                              \
        return stream_kit_main(cases, sizeof(cases) / sizeof((cases)[0]));                         \
    }

/* A pair from the kit's maker. */
struct stream_pair {
    struct weft_stream *a, *b;
};
struct stream_pair stream_kit_pair(const struct stream_kit *k);
void stream_kit_close(struct stream_pair *p);
static inline bool stream_kit_on_loop(const struct stream_kit *k)
{
    return k->driver != NULL;
}

/* Open descriptors, real and simulated ones. */
size_t stream_kit_count_fds(void);

/* Runs two bodies beside each other, each with one end, and wants 0 of both. Closes nothing. */
void stream_kit_both(struct stream_pair *p, weft_fn fa, weft_fn fb);

/* --- Bytes that can be told apart: the i-th of an endless text with line ends ---------------- */

#define STREAM_KIT_TILE 65521u /* a prime, so that pieces and tiles never fall together */
#define STREAM_KIT_LINE_MAX 900u

void stream_kit_fill(void *buf, uint64_t from, size_t len);
/* Ends the program when they are not those. */
void stream_kit_expect(const void *data, uint64_t from, size_t len);
/* The length of the line at `from`, with its line end. */
size_t stream_kit_line(uint64_t from);

/* A small random generator: the same numbers from the same seed. */
static inline uint32_t stream_kit_random(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 33);
}
/* 1 to max; small numbers as likely as large ones. */
size_t stream_kit_size(uint64_t *state, size_t max);

/* Writes total bytes of the text in random pieces by all the writing calls; then flushes. */
void stream_kit_send(struct weft_stream *s, uint64_t from, size_t total, uint64_t seed);
/* Reads them by weft_read of random sizes. */
void stream_kit_receive(struct weft_stream *s, uint64_t from, size_t total, uint64_t seed);

#endif
