/* SPDX-License-Identifier: MIT */
/*
 * Planted: a race between a cancel and a completion. A gauge reads sensors over the network: it
 * asks the first of a pair and, when that is slow, cancels the question and asks the second. Each
 * value is written to a journal and added to the tally.
 *
 * The mistake: a question that is cancelled is taken for one that has come to nothing. But when the
 * cancel comes while the value is written, that goes through, and the value is counted. With
 * -DFIXED the result of the join is looked at.
 */
#include "scenario.h"

#define READINGS 10
#define PATIENCE_MS 10

static struct {
    struct weft_sim *sim;
    struct weft_file *journal;
    uint64_t tally;
    int counted;
} gauge;

/* --- Sensors ------------------------------------------------------------------------------- */

/* "7\n" asks for reading 7, which has the value 7; some take longer than others. */
static int answer(struct weft_stream *s, void *arg)
{
    char line[16];
    ssize_t n = weft_read_until(s, line, sizeof line, '\n', weft_after_s(5));
    (void)arg;
    int err = n < 0 ? (int)n : weft_sleep_ms(pick(gauge.sim, 0, 20));
    return err < 0 ? err : weft_write(s, line, (size_t)n, weft_after_s(5));
}

static int sensor(void *arg)
{
    struct weft_group *g = NULL;
    (void)arg;
    int err = weft_group_open(&g);
    if (err == 0)
        err = weft_serve(g, "tcp://*:80", NULL, answer, NULL);
    if (err == 0)
        err = weft_group_wait(g, WEFT_NEVER);
    int closed = weft_group_close(&g);
    return err < 0 ? err : closed;
}

/* --- The gauge ----------------------------------------------------------------------------- */

struct question {
    const char *sensor;
    int reading;
};

/* Asks, writes down, counts. 0 exactly when it has counted. */
static int ask(void *arg)
{
    const struct question *q = arg;
    struct weft_stream *s = NULL;
    char line[16] = "";
    int err = weft_dial(&s, q->sensor, NULL, weft_after_s(5));
    if (err == 0)
        err = weft_printf(s, weft_after_s(5), "%d\n", q->reading);
    ssize_t n = err < 0 ? err : weft_read_until(s, line, sizeof line - 1, '\n', weft_after_s(5));
    (void)weft_close(&s, weft_after_s(5));
    if (n <= 0)
        return n < 0 ? (int)n : WEFT_EEOF;
    err = weft_file_append(gauge.journal, line, (size_t)n, weft_after_s(5));
    if (err < 0)
        return err;
    gauge.tally += (uint64_t)atoi(line);
    gauge.counted++;
    return 0;
}

static int take_reading(struct weft_group *g, int reading)
{
    struct weft_task_options o = {.name = "ask", .keep_errors = true};
    struct question first = {"tcp://sensor-a:80", reading}, second = {"tcp://sensor-b:80", reading};
    struct weft_task *t = NULL;
    int result = 0;
    int err = weft_group_spawn(g, &o, ask, &first, &t);
    if (err < 0)
        return err;
    err = weft_task_join(&t, &result, weft_after_ms(PATIENCE_MS));
    if (err == 0 && result == 0)
        return 0;
    if (t != NULL) {
        weft_task_cancel(t);
        err = weft_task_join(&t, &result, WEFT_NEVER);
        if (err < 0)
            return err;
#ifdef FIXED
        if (result == 0)
            return 0;
#endif
    }
    return ask(&second);
}

static int read_all(void *arg)
{
    struct weft_group *g = NULL;
    (void)arg;
    int err = weft_file_open(&gauge.journal, "/var/lib/readings",
                             WEFT_FILE_APPEND | WEFT_FILE_CREATE, 0, WEFT_NEVER);
    if (err == 0)
        err = weft_group_open(&g);
    if (err == 0)
        err = weft_sleep_ms(10); /* the sensors begin to listen */
    for (int i = 1; err == 0 && i <= READINGS; i++)
        err = take_reading(g, i);
    (void)weft_group_close(&g);
    (void)weft_file_close(&gauge.journal, WEFT_NEVER);
    if (err == 0 && gauge.tally != READINGS * (READINGS + 1) / 2)
        err = weft_sim_fail(NULL, "%d readings of %d were counted: the tally is %llu",
                            gauge.counted, READINGS, (unsigned long long)gauge.tally);
    return err;
}

int main(void)
{
    struct weft_sim *sim = scene();
    gauge.sim = sim;
    service(sim, "sensor-a", sensor, NULL);
    service(sim, "sensor-b", sensor, NULL);
    MUST(weft_sim_host(sim, "gauge", read_all, NULL));
    MUST(weft_sim_link(sim, "*", "*", &(struct weft_link){.jitter_us = 1000}));
    MUST(weft_sim_disk(sim, "gauge", &(struct weft_sim_disk){.latency_us = 20, .jitter_us = 20}));
    return play(sim, weft_s(600), NULL);
}
