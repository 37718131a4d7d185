/* SPDX-License-Identifier: MIT */
/* One of each: what a scenario can do to its hosts. */
#include <weft/weft.h>

static int beats;

static int heart(void *arg)
{
    int err = 0;
    (void)arg;
    for (int i = 0; i < 100 && err == 0; i++) {
        beats++;
        weft_sim_note("%s beats, incarnation %u", weft_sim_host_name(), weft_sim_incarnation());
        err = weft_sleep_ms((int64_t)weft_random_below(200));
    }
    return err;
}

static int not_too_many(struct weft_sim *sim, void *arg)
{
    (void)arg;
    return beats <= 600 ? 0 : weft_sim_fail(sim, "%d beats", beats);
}

static void trouble(struct weft_sim *sim, void *arg)
{
    struct weft_sim_faults faults = {.short_io = 0.1, .again = 0.1, .no_files = 0.01};
    int *bad = arg;
    *bad |= weft_sim_partition(sim, "east-*", "west-*"); /* until weft_sim_heal */
    *bad |= weft_sim_faults(sim, "east-*", &faults);
    *bad |= weft_sim_pause(sim, "west-1");
    *bad |= weft_sim_clock(sim, "west-2", -weft_s(3600), 50); /* an hour back, and 50 ppm fast */
    *bad |= weft_sim_signal(sim, "east-1", SIGKILL);
    *bad |= weft_sim_crash(sim, "east-2");
}

static void relief(struct weft_sim *sim, void *arg)
{
    *(int *)arg |= weft_sim_heal(sim, "*", "*") | weft_sim_resume(sim, "*") |
                   weft_sim_faults(sim, "*", &(struct weft_sim_faults){0}) |
                   weft_sim_restart(sim, "east-*"); /* those that are down */
}

int main(void)
{
    struct weft_link wide = {.latency_us = 40000, .jitter_us = 5000, .loss = 0.01};
    struct weft_sim_disk slow = {.latency_us = 8000, .sync_error = 0.001, .capacity = 1 << 20};
    const char *const names[] = {"east-1", "east-2", "west-1", "west-2"};
    struct weft_sim *sim = NULL;
    int bad = weft_sim_open(&sim, NULL);
    for (int i = 0; i < 4 && bad == 0; i++)
        bad = weft_sim_host(sim, names[i], heart, NULL);
    bad = bad || weft_sim_link(sim, "east-*", "west-*", &wide) || weft_sim_disk(sim, "*", &slow);
    bad = bad || weft_sim_check(sim, "beats", not_too_many, NULL);
    bad = bad || weft_sim_at(sim, weft_ms((int64_t)(weft_sim_random(sim) % 1000)), trouble, &bad);
    bad = bad || weft_sim_at(sim, weft_s(2), relief, &bad);
    bad = bad || weft_sim_run(sim, weft_s(60));
    return weft_sim_close(&sim) || bad;
}
