/* SPDX-License-Identifier: MIT */
/*
 * Planted: a write after the close. A meter sends its readings and, in a task of its own, a beat
 * twice a second, so that the collector knows that it lives; at the end it closes its side and
 * waits for the collector's count.
 *
 * The mistake: the beat goes on until the count has come, and so now and then it writes to a
 * direction that is closed. With -DFIXED it is ended first.
 */
#include "scenario.h"

#define READINGS 10
#define BEAT_MS 500

static struct weft_sim *simulation;

/* --- The collector ------------------------------------------------------------------------- */

static int collect(struct weft_stream *s, void *arg)
{
    char line[64];
    int count = 0;
    ssize_t n;
    (void)arg;
    while ((n = weft_read_until(s, line, sizeof line, '\n', weft_after_s(5))) > 0)
        count += line[0] == 'r';
    return n < 0 ? (int)n : weft_printf(s, weft_after_s(5), "%d\n", count);
}

static int collector(void *arg)
{
    struct weft_group *g = NULL;
    (void)arg;
    int err = weft_group_open(&g);
    if (err == 0)
        err = weft_serve(g, "tcp://*:80", NULL, collect, NULL);
    if (err == 0)
        err = weft_group_wait(g, WEFT_NEVER);
    int closed = weft_group_close(&g);
    return err < 0 ? err : closed;
}

/* --- The meter ----------------------------------------------------------------------------- */

static int beat(void *arg)
{
    struct weft_stream *s = arg;
    struct weft_ticker ticker;
    int64_t late;
    weft_ticker_init(&ticker, BEAT_MS);
    while ((late = weft_ticker_wait(&ticker)) > 0) {
        int err = weft_write(s, "beat\n", 5, weft_after_s(5));
        if (err < 0 && err != -EBUSY) /* a reading is being written: as good as a beat */
            return err;
    }
    return (int)late;
}

static int talk(struct weft_stream *s, struct weft_group *g)
{
    char count[16] = "";
    int err = weft_group_go(g, "beat", beat, s);
    for (int i = 0; err == 0 && i < READINGS; i++) {
        err = weft_sleep_ms(pick(simulation, 0, 400));
        if (err == 0)
            err = weft_printf(s, weft_after_s(5), "reading %d\n", i);
    }
#ifdef FIXED
    weft_group_cancel(g);
    if (err == 0 && weft_group_wait(g, WEFT_NEVER) == -ECANCELED)
        err = weft_canceled();
#endif
    if (err == 0)
        err = weft_shutdown(s, weft_after_s(5));
    ssize_t n = err < 0 ? err : weft_read_until(s, count, sizeof count - 1, '\n', weft_after_s(5));
    if (n > 0 && atoi(count) != READINGS)
        return weft_sim_fail(NULL, "%d readings were counted", atoi(count));
    return n > 0 ? 0 : n < 0 ? (int)n : WEFT_EEOF;
}

static int meter(void *arg)
{
    struct weft_stream *s = NULL;
    struct weft_group *g = NULL;
    (void)arg;
    int err = weft_group_open(&g);
    if (err == 0)
        err = weft_sleep_ms(10); /* the collector begins to listen */
    if (err == 0)
        err = weft_dial(&s, "tcp://collector:80", NULL, weft_after_s(5));
    if (err == 0)
        err = talk(s, g);
    int closed = weft_group_close(&g);
    (void)weft_close(&s, weft_after_s(5));
    return closed < 0 ? closed : err;
}

int main(void)
{
    simulation = scene();
    service(simulation, "collector", collector, NULL);
    MUST(weft_sim_host(simulation, "meter", meter, NULL));
    MUST(weft_sim_link(simulation, "*", "*",
                       &(struct weft_link){.latency_us = 2000, .jitter_us = 5000}));
    return play(simulation, weft_s(600), NULL);
}
