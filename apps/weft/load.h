/* SPDX-License-Identifier: MIT */
#ifndef WEFT_APP_LOAD_H
#define WEFT_APP_LOAD_H
/*
 * What the load generator's kinds of client share: the run, the pattern of the bytes, the results.
 *
 * Floor 6. Invariants: a worker is a thread with a loop, and owns all it counts; workers meet only
 * in struct load_run's atomics and when they have ended. A message counts if its answer came within
 * the measured time; errors count always.
 */
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <weft/address.h>
#include <weft/stream.h>

#include "hist.h"

struct load_options {
    const char *endpoint, *driver;
    int64_t connections, size, pipeline, threads, per_source, connect_ms;
    double seconds, warmup;
    bool json, reconnect, insecure;
    const char *ca;
    bool internet;        /* tcp:// or tls://: a connection has a source address */
    struct weft_tls *tls; /* of tls:// endpoints; NULL: the system's trust */
};

/* --- Errors by kind ------------------------------------------------------------------------ */

#define LOAD_ERROR_KINDS 24

struct load_errors {
    struct {
        const char *name; /* static */
        uint64_t count;
    } kinds[LOAD_ERROR_KINDS]; /* the last one takes what has no other place */
    uint64_t total;
    int first; /* the first code, for the sentence when nothing worked */
};

void load_errors_add(struct load_errors *e, const char *name, uint64_t count);
void load_errors_code(struct load_errors *e, int code);
void load_errors_merge(struct load_errors *into, const struct load_errors *from);

/* The two kinds that are no code. */
#define LOAD_MISMATCH "mismatch"     /* bytes came back that were not sent */
#define LOAD_UNANSWERED "unanswered" /* a message had no answer until the end */

/* --- The pattern --------------------------------------------------------------------------- */

/*
 * Byte i of a stream is a function of i alone, with a period that is prime, so that a piece that is
 * lost, doubled or moved shows. Every stream begins elsewhere in it, so that mixed up streams show.
 */
#define LOAD_PERIOD 65521u
#define LOAD_SLICE 65536u

void load_pattern_init(void); /* once, before the workers start */

/* Where in the pattern the given stream's byte `position` stands: at least LOAD_SLICE bytes. */
const uint8_t *load_pattern(uint32_t stream, uint64_t position);

/* Whether data is what the stream has from position on. */
bool load_pattern_matches(uint32_t stream, uint64_t position, const void *data, size_t len);

/* --- The run ------------------------------------------------------------------------------- */

struct load_run {
    const struct load_options *o;
    _Atomic int ready;        /* workers that have connected all they could */
    _Atomic int64_t start_ns; /* 0 until the last of them has */
};

struct load_worker {
    struct load_run *run;
    uint32_t first;         /* number of its first connection */
    uint32_t count;         /* connections */
    int64_t from_ns, to_ns; /* measured time */
    struct load_errors errors;
    uint64_t messages; /* within the measured time */
    uint32_t connected;
    bool ready;       /* it was counted in run->ready */
    int result;       /* of the loop itself: 0 or a negative code */
    struct hist hist; /* nanoseconds */
};

/* Tells the others that this one keeps them waiting no longer. */
void load_ready(struct load_worker *w);

/* Waits until all workers are ready, then sets from_ns and to_ns. In a task. */
int load_start_together(struct load_worker *w);

/* The endpoint to bind connection i to, or NULL: each source address has some 28,000 ports. */
const char *load_source(const struct load_options *o, uint32_t i, char *buf, size_t cap);

static inline void load_answer(struct load_worker *w, int64_t sent_ns, int64_t now_ns)
{
    if (now_ns >= w->from_ns && now_ns < w->to_ns) {
        w->messages++;
        hist_record(&w->hist, (uint64_t)(now_ns - sent_ns));
    }
}

/* What a worker's first task does; arg: its struct load_worker. */
int load_streams_run(void *arg);   /* connections that stay */
int load_reconnect_run(void *arg); /* a connection a message */
int load_udp_run(void *arg);       /* datagrams */

#endif
