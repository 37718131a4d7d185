/* SPDX-License-Identifier: MIT */
#ifndef SCENARIO_H
#define SCENARIO_H
/*
 * What the scenarios of this folder share: to open and end a simulation, choices, times. A scenario
 * is one program; it takes its seed from WEFT_SIM_SEED and exits with 0 if all held.
 *
 * Floor 6: public headers only.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <weft/sim.h>
#include <weft/weft.h>

/* What may not fail: to set the scene. Not for hosts' tasks, which report by weft_sim_fail. */
#define MUST(call)                                                                                 \
    do {                                                                                           \
        int must_ = (call);                                                                        \
        if (must_ < 0) {                                                                           \
            fprintf(stderr, "%s: %s %s\n", #call, weft_error_name(must_), weft_error_detail());    \
            exit(2);                                                                               \
        }                                                                                          \
    } while (0)

/* From low to high, both may come. One draw a statement: of two in one expression C does not say
 * which is first, and compilers differ. */
static inline int64_t pick(struct weft_sim *sim, int64_t low, int64_t high)
{
    return low + (int64_t)(weft_sim_random(sim) % (uint64_t)(high - low + 1));
}

/* True once in so many times. */
static inline bool one_in(struct weft_sim *sim, uint64_t n)
{
    return weft_sim_random(sim) % n == 0;
}

static inline struct weft_sim *scene(void)
{
    struct weft_sim *sim = NULL;
    MUST(weft_sim_open(&sim, NULL));
    return sim;
}

/* A host that waits for others' calls. */
static inline void service(struct weft_sim *sim, const char *name, weft_fn main, void *arg)
{
    struct weft_sim_host_options o = {.service = true};
    MUST(weft_sim_host_with(sim, name, &o, main, arg));
}

/* Between all hosts: up to 5 ms there and as much jitter, now and then a loss. */
static inline void rough_links(struct weft_sim *sim)
{
    struct weft_link l = {0};
    l.latency_us = pick(sim, 100, 5000);
    l.jitter_us = pick(sim, 0, 5000);
    l.loss = one_in(sim, 2) ? (double)pick(sim, 1, 50) / 1000 : 0;
    MUST(weft_sim_link(sim, "*", "*", &l));
}

/* Runs; then `ended` (may be NULL) looks at what is left: 0, or what weft_sim_fail returned. The
 * exit status. */
static inline int play(struct weft_sim *sim, int64_t span_ns, int (*ended)(struct weft_sim *sim))
{
    int err = weft_sim_run(sim, span_ns);
    if (err == 0 && ended != NULL && ended(sim) < 0)
        err = weft_sim_run(sim, 0); /* tells it */
    int closed = weft_sim_close(&sim);
    return err < 0 || closed < 0;
}

#endif
