/* SPDX-License-Identifier: MIT */
/*
 * 10: the work pool and signals. 10_pool_and_signals [N] counts the primes below N on a thread of
 * the pool while a ticker shows that the loop is free; SIGINT or SIGTERM ends both early, with what
 * was counted by then. (Python: run_in_executor, add_signal_handler.)
 */
#include <stdio.h>
#include <stdlib.h>
#include <weft/weft.h>

static int count_primes(struct weft_job *job, void *arg)
{
    long *n = arg, found = 0;
    for (long d, i = 2; i < *n && !weft_job_canceled_mt(job); i++) {
        for (d = 2; d * d <= i && i % d != 0;)
            d++;
        found += d * d > i;
    }
    *n = found;
    return 0;
}

static int show_time(void *arg)
{
    (void)arg;
    while (weft_sleep_ms(100) == 0)
        fputs("the loop is free\n", stderr);
    return 0;
}

static int stop_on_signal(void *everything)
{
    struct weft_signals *signals = NULL;
    int err = weft_signals_open(&signals, (int[]){SIGINT, SIGTERM, 0});
    if (err == 0 && (err = weft_signals_wait(signals, WEFT_NEVER)) > 0)
        weft_group_cancel(everything);
    weft_signals_close(&signals);
    return err < 0 ? err : 0;
}

static int work(void *arg)
{
    struct weft_group *group = NULL, *everything = weft_loop_group(weft_loop_current());
    int err = weft_group_open(&group);
    if (err == 0 && (err = weft_group_go(group, "ticker", show_time, NULL)) == 0)
        err = weft_group_go(group, "signals", stop_on_signal, everything);
    if (err == 0)
        err = weft_offload(count_primes, arg, WEFT_NEVER); /* a cancel ends this, too */
    (void)weft_group_close(&group);
    return err;
}

int main(int argc, char **argv)
{
    long n = argc > 1 ? atol(argv[1]) : 1000000;
    int err = weft_run(NULL, work, &n);
    printf("%ld primes\n", n);
    return err < 0;
}
