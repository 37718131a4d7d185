/* SPDX-License-Identifier: MIT */
/*
 * A simulation that fails with some seeds: a host throws a die thirty times, and three sixes in a
 * row must not come. For the tests of `weft sim`.
 *
 * Floor 6. `sample_sixes` with any argument puts up with the sixes and passes.
 */
#include <weft/sim.h>

#define THROWS 30

static struct {
    unsigned throws[THROWS];
    bool tolerant;
} game;

static int play(void *arg)
{
    int sixes = 0;
    (void)arg;
    for (int i = 0; i < THROWS; i++) {
        int r = weft_sleep_ms(100);
        if (r < 0)
            return r;
        weft_sim_note("threw %u", game.throws[i]);
        sixes = game.throws[i] == 6 ? sixes + 1 : 0;
        if (sixes == 3 && !game.tolerant)
            return weft_sim_fail(NULL, "three sixes in a row, the last one throw %d", i + 1);
    }
    return 0;
}

int main(int argc, char **argv)
{
    struct weft_sim *sim;
    (void)argv;
    game.tolerant = argc > 1;
    if (weft_sim_open(&sim, NULL) < 0)
        return 2;
    for (int i = 0; i < THROWS; i++)
        game.throws[i] = (unsigned)(weft_sim_random(sim) % 6 + 1);
    int r = weft_sim_host(sim, "player", play, NULL);
    if (r == 0)
        r = weft_sim_run(sim, INT64_C(60000000000));
    int closed = weft_sim_close(&sim);
    return r < 0 || closed < 0 ? 1 : 0;
}
