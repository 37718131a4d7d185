/* SPDX-License-Identifier: MIT */
/*
 * Clients with one deadline over a name, a connect, a handshake and a read, toward hosts of which
 * each hangs at another of these: one that is cut off, one that accepts and says nothing, one that
 * takes every byte and answers none, one that answers late. Links lose and delay.
 *
 * Holds: each client is back at its deadline to the millisecond, or before that with an answer; and
 * nothing of it is left.
 */
#include "scenario.h"

#define CLIENTS 6
#define ROUNDS 20
#define LATE_US 1000 /* a turn of the loop takes its time, there as here */

static struct {
    struct weft_sim *sim;
    struct weft_tls *tls;
    int in_time, too_late;
} all;

/* --- Those who hang --------------------------------------------------------------------------- */

static int says_nothing(struct weft_stream *s, void *arg)
{
    (void)s;
    (void)arg;
    return weft_sleep_until(WEFT_NEVER);
}

static int answers_nothing(struct weft_stream *s, void *arg)
{
    char buf[64];
    ssize_t n;
    (void)arg;
    do
        n = weft_read(s, buf, sizeof buf, WEFT_NEVER);
    while (n > 0);
    return (int)n;
}

static int answers_late(struct weft_stream *s, void *arg)
{
    char c;
    (void)arg;
    int err = weft_read_full(s, &c, 1, WEFT_NEVER);
    if (err == 0)
        err = weft_sleep_ms(pick(all.sim, 0, 400));
    return err < 0 ? err : weft_write(s, &c, 1, WEFT_NEVER);
}

static int server(void *arg)
{
    const char *name = weft_sim_host_name();
    weft_handler h = strcmp(name, "deaf") == 0   ? says_nothing
                     : strcmp(name, "mute") == 0 ? answers_nothing
                                                 : answers_late;
    struct weft_group *g = NULL;
    (void)arg;
    int err = weft_group_open(&g);
    if (err == 0)
        err = weft_serve(g, "tcp://*:80", NULL, h, NULL);
    if (err == 0)
        err = weft_group_wait(g, WEFT_NEVER);
    int closed = weft_group_close(&g);
    return err < 0 ? err : closed;
}

/* --- Clients ---------------------------------------------------------------------------------- */

static int exchange(const char *endpoint, bool secured, weft_deadline d)
{
    struct weft_stream *s = NULL;
    struct weft_dial_options o = {.tls = secured ? all.tls : NULL};
    char c = 'x';
    int err = weft_dial(&s, endpoint, &o, d);
    if (err == 0)
        err = weft_write(s, &c, 1, d);
    if (err == 0)
        err = weft_read_full(s, &c, 1, d);
    weft_abort(&s);
    return err;
}

static int one(void)
{
    static const struct {
        const char *endpoint;
        bool secured, hangs;
    } peers[] = {
        {"tcp://gone:80", false, true}, {"tls://gone:80", true, true},
        {"tls://deaf:80", true, true},  {"tcp://mute:80", false, true},
        {"tls://mute:80", true, true},  {"tcp://late:80", false, false},
    };
    int64_t i = pick(all.sim, 0, 5), us = pick(all.sim, 0, 300000);
    if (one_in(all.sim, 4))
        us = pick(all.sim, 0, 1500); /* shorter than what a name takes */
    weft_deadline d = weft_after_us(us);
    int err = exchange(peers[i].endpoint, peers[i].secured, d);
    int64_t late_ns = weft_now_ns() - d.ns;
    all.in_time += err == 0;
    all.too_late += err == -ETIMEDOUT;
    bool in_turn = late_ns <= weft_us(LATE_US); /* an answer may come in the deadline's own turn */
    if (in_turn && ((err == -ETIMEDOUT && late_ns >= 0) || (err == 0 && !peers[i].hangs)))
        return 0;
    return weft_sim_fail(NULL, "%s: %s, %lld us after the deadline", peers[i].endpoint,
                         weft_error_name(err), (long long)late_ns / 1000);
}

static int client(void *arg)
{
    int err = weft_sleep_ms(50); /* all listen by now, unless a fault was in the way */
    (void)arg;
    for (int i = 0; i < ROUNDS && err == 0; i++)
        err = one();
    return err;
}

static void cut(struct weft_sim *sim, void *arg)
{
    (void)arg;
    MUST(weft_sim_partition(sim, "gone", "*"));
}

static int at_the_end(struct weft_sim *sim)
{
    if (all.in_time + all.too_late != CLIENTS * ROUNDS)
        return weft_sim_fail(sim, "%d answers and %d time-outs", all.in_time, all.too_late);
    return 0;
}

int main(void)
{
    static const struct weft_tls_options o = {.insecure_no_verify = true,
                                              .insecure_any_host = true};
    static char names[CLIENTS][20];
    MUST(weft_tls_open(&all.tls, &o));
    struct weft_sim *sim = all.sim = scene();
    service(sim, "gone", server, NULL);
    service(sim, "deaf", server, NULL);
    service(sim, "mute", server, NULL);
    service(sim, "late", server, NULL);
    for (int i = 0; i < CLIENTS; i++) {
        (void)snprintf(names[i], sizeof names[i], "client%d", i);
        MUST(weft_sim_host(sim, names[i], client, NULL));
    }
    rough_links(sim);
    MUST(weft_sim_at(sim, 0, cut, NULL));
    MUST(weft_sim_faults(sim, "client*", &(struct weft_sim_faults){.short_io = 0.1, .again = 0.1}));
    int failed = play(sim, weft_s(3600), at_the_end);
    weft_tls_close(&all.tls);
    return failed;
}
