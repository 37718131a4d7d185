/* SPDX-License-Identifier: MIT */
/*
 * What the tests of programs inside simulated hosts share: a case runs with many seeds.
 */
#ifndef SIM_HOST_KIT_H
#define SIM_HOST_KIT_H

#include <weft/sim.h>
#include <weft/weft.h>

#include "rt_kit.h"

#define SEEDS 20
#define SPAN weft_s(60)

static inline struct weft_sim *sim_open(uint64_t seed, bool in_order)
{
    struct weft_sim *sim = NULL;
    struct weft_sim_options o = {.seed = seed, .in_order = in_order};
    CHECK_EQ(weft_sim_open(&sim, &o), 0);
    return sim;
}

static inline void sim_end(struct weft_sim *sim)
{
    int err = weft_sim_run(sim, SPAN);
    if (err < 0)
        (void)fprintf(stderr, "seed %llu: %s\n", (unsigned long long)weft_sim_seed(sim),
                      weft_sim_failure(sim));
    CHECK_EQ(err, 0);
    CHECK_EQ(weft_sim_close(&sim), 0);
}

/* Runs main on a host of its own with each seed, beside a host "other" that has nothing to do;
 * every second time with these faults, if any. */
static inline void alone_with(weft_fn main, const struct weft_sim_faults *f)
{
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct weft_sim *sim = sim_open(seed, false);
        CHECK_EQ(weft_sim_host(sim, "here", main, sim), 0);
        CHECK_EQ(weft_sim_host(sim, "other", kit_nothing, NULL), 0);
        if (f != NULL && seed % 2 == 0)
            CHECK_EQ(weft_sim_faults(sim, "*", f), 0);
        sim_end(sim);
    }
}

static inline void alone(weft_fn main)
{
    alone_with(main, NULL);
}

#endif
