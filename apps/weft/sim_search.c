/* SPDX-License-Identifier: MIT */
/*
 * The search of `weft sim`: workers that take seeds from a counter, a line of progress, a signal
 * that stops it all, and the replay of the shortest failure. See sim.h.
 *
 * Shows: a group of workers that ends by itself, by the first one that returns an error, or by a
 * cancel from another task; plain variables are shared, as all tasks are of one loop.
 *
 * Floor 6.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include <weft/group.h>
#include <weft/signal.h>

#include "cli.h"
#include "sim.h"

/* What a worker returns to end the others. */
enum { STOPPED = -EINTR };

/* --- The tasks ----------------------------------------------------------------------------- */

static int start_failed(struct sim_search *s, int code)
{
    if (code != -ECANCELED && !s->told)
        (void)cli_failed_code("sim", code, "cannot start %s", s->o->argv[0]);
    s->told = s->told || code != -ECANCELED;
    return code;
}

static bool note(struct sim_search *s, const struct sim_run *run)
{
    struct sim_failure f;
    char line[SIM_LINE];
    s->done++;
    if (!sim_run_failed(run))
        return false;
    sim_failure_parse(&f, run->seed, sim_run_first_line(run, line));
    sim_failures_add(&s->failures, &f);
    return true;
}

static int take_seeds(void *arg)
{
    struct sim_search *s = arg;
    struct sim_run *run = sim_run_open(s->o);
    int err = run != NULL ? 0 : start_failed(s, -ENOMEM);
    while (err == 0 && s->taken < (uint64_t)s->o->seeds) {
        uint64_t seed = (uint64_t)s->o->first + s->taken++;
        err = sim_run_seed(run, seed, NULL);
        if (err < 0)
            (void)start_failed(s, err);
        else if (note(s, run) && s->o->stop_on_first)
            err = STOPPED;
    }
    sim_run_close(&run);
    return err;
}

static int replay(void *arg)
{
    struct sim_search *s = arg;
    struct sim_run *run = sim_run_open(s->o);
    int err = run != NULL ? sim_run_seed(run, sim_failures_shortest(&s->failures)->seed, s->trace)
                          : -ENOMEM;
    if (err == 0)
        s->replay = run;
    else
        sim_run_close(&run);
    return err < 0 ? start_failed(s, err) : 0;
}

static int wait_for_signal(void *arg)
{
    static const int stop[] = {SIGINT, SIGTERM, 0};
    struct sim_search *s = arg;
    struct weft_signals *signals;
    int r = weft_signals_open(&signals, stop);
    if (r < 0)
        return r;
    r = weft_signals_wait(signals, WEFT_NEVER);
    if (r > 0) {
        s->signal = r;
        if (s->work != NULL)
            weft_group_cancel(s->work);
    }
    weft_signals_close(&signals);
    return 0;
}

/* --- Progress ------------------------------------------------------------------------------ */

static void print_progress(const struct sim_search *s, bool terminal)
{
    double seconds = (double)(weft_now_ns() - s->started_ns) / 1e9;
    double rate = seconds > 0 ? (double)s->done / seconds : 0;
    fprintf(stderr, "%s%llu/%lld seeds, %llu failed, %.4g seeds/s", terminal ? "\r\033[K" : "",
            (unsigned long long)s->done, (long long)s->o->seeds,
            (unsigned long long)s->failures.total, rate);
    if (s->done > 0)
        fprintf(stderr, ", %.0f s left", (double)((uint64_t)s->o->seeds - s->done) / rate);
    if (!terminal)
        fputc('\n', stderr);
    fflush(stderr);
}

static int show_progress(void *arg)
{
    const struct sim_search *s = arg;
    bool terminal = isatty(STDERR_FILENO);
    struct weft_ticker ticker;
    int64_t ticks;
    weft_ticker_init(&ticker, terminal ? 200 : 10000);
    while ((ticks = weft_ticker_wait(&ticker)) > 0)
        print_progress(s, terminal);
    if (terminal)
        fputs("\r\033[K", stderr);
    return (int)ticks;
}

/* --- All of it ----------------------------------------------------------------------------- */

/* Runs so many tasks of a kind until all have ended; a signal cancels them. */
static int work(struct sim_search *s, const char *name, int64_t tasks, weft_fn fn)
{
    int err = weft_group_open(&s->work);
    if (err < 0)
        return start_failed(s, err);
    for (int64_t i = 0; i < tasks && err == 0; i++)
        err = weft_group_go(s->work, name, fn, s);
    if (err == 0)
        err = weft_group_wait(s->work, WEFT_NEVER);
    weft_group_close(&s->work);
    return s->signal != 0 || err == STOPPED ? 0 : err;
}

int sim_search(void *arg)
{
    struct sim_search *s = arg;
    struct weft_group *progress = NULL;
    int64_t workers = s->o->jobs < s->o->seeds ? s->o->jobs : s->o->seeds;
    s->started_ns = weft_now_ns();
    int err = weft_group_open(&s->watch);
    if (err == 0)
        err = weft_group_open(&progress);
    if (err == 0)
        err = weft_group_go(s->watch, "signal", wait_for_signal, s);
    if (err == 0)
        err = weft_group_go(progress, "progress", show_progress, s);
    if (err < 0)
        (void)start_failed(s, err);
    else
        err = work(s, "worker", workers, take_seeds);
    weft_group_close(&progress);
    s->took_ns = weft_now_ns() - s->started_ns;
    sim_failures_sort(&s->failures);
    if (err == 0 && s->signal == 0 && s->failures.total > 0)
        err = work(s, "replay", 1, replay);
    weft_group_close(&s->watch);
    return err;
}
