/* SPDX-License-Identifier: MIT */
/* The counter in a simulation: what it has answered it does not forget when the power fails. */
#ifndef COUNTER
#define COUNTER "counter.c"
#endif
int counter_main(int argc, char **argv);
#define main counter_main
#include COUNTER
#undef main

static unsigned long long answered; /* the highest sum that the client has seen */

static int server(void *arg)
{
    char *argv[] = {"counter", "tcp://0.0.0.0:80", NULL};
    (void)arg;
    return counter_main(2, argv);
}

static int client(void *arg)
{
    char text[32];
    (void)arg;
    for (int i = 0; i < 20; i++) {
        weft_deadline d = weft_after_s(1);
        struct weft_stream *s = NULL;
        if (weft_dial(&s, "tcp://counter:80", NULL, d) == 0 && weft_write(s, "1\n", 2, d) == 0 &&
            weft_read_until(s, text, sizeof text, '\n', d) > 0) {
            unsigned long long now = strtoull(text, NULL, 10);
            if (now <= answered)
                return weft_sim_fail(NULL, "the sum was %llu, now it is %llu", answered, now);
            answered = now;
        }
        weft_abort(&s);
        int err = weft_sleep_ms((int64_t)weft_random_below(50));
        if (err < 0)
            return err;
    }
    return 0;
}

static void power_fails(struct weft_sim *sim, void *arg)
{
    *(int *)arg = weft_sim_crash(sim, "counter") || weft_sim_restart(sim, "counter");
}

int main(void)
{
    struct weft_link link = {.latency_us = 1000, .jitter_us = 1000};
    struct weft_sim_host_options service = {.service = true};
    struct weft_sim *sim = NULL;
    int bad = weft_sim_open(&sim, NULL) ||
              weft_sim_host_with(sim, "counter", &service, server, NULL) ||
              weft_sim_host(sim, "client", client, NULL) || weft_sim_link(sim, "*", "*", &link);
    for (int i = 0; i < 3 && !bad; i++)
        bad = weft_sim_at(sim, weft_ms((int64_t)(weft_sim_random(sim) % 500)), power_fails, &bad);
    bad = bad || weft_sim_run(sim, weft_s(60));
    return weft_sim_close(&sim) || bad;
}
