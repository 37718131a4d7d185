/* SPDX-License-Identifier: MIT */
/*
 * Requests and answers by UDP over a network that loses, doubles, reorders and cuts.
 *
 * Holds: a request is carried out at most once, however often it comes; the client gets the answer
 * to its own request, not that of an earlier one; with retries all are answered in the end.
 */
#include "scenario.h"

#define CLIENTS 4
#define REQUESTS 20
#define TRIES_MAX 200

struct message {
    uint32_t client, request, try;
    uint32_t sum;      /* of the answer */
    char filler[2900]; /* some are larger than a packet */
};
#define SHORT offsetof(struct message, filler)

static struct {
    struct weft_sim *sim;
    uint32_t last[CLIENTS]; /* the newest request carried out, from 1 */
    uint32_t sums[CLIENTS]; /* its answer, kept for those who ask again */
    int carried[CLIENTS][REQUESTS + 1];
    int answered[CLIENTS];
} all;

/* --- The server ---------------------------------------------------------------------------- */

/* Its answer to a message; false: an old one, which nobody waits for. */
static bool carry_out(struct message *m)
{
    if (m->request < all.last[m->client])
        return false;
    if (m->request > all.last[m->client]) {
        all.last[m->client] = m->request;
        all.carried[m->client][m->request]++;
        all.sums[m->client] += m->request;
    }
    m->sum = all.sums[m->client];
    return true;
}

static int server(void *arg)
{
    struct weft_udp *u = NULL;
    struct weft_address from;
    struct message m;
    (void)arg;
    int err = weft_udp_open(&u, "udp://*:53", NULL);
    while (err == 0) {
        ssize_t n = weft_udp_recv(u, &m, sizeof m, &from, WEFT_NEVER);
        if (n == -ECANCELED)
            err = (int)n;
        if (n < (ssize_t)SHORT)
            continue; /* a sender's port is closed, no buffers */
        if (m.client >= CLIENTS || m.request == 0 || m.request > REQUESTS) {
            err = weft_sim_fail(NULL, "a datagram that nobody sent");
        } else if (carry_out(&m)) {
            err = weft_udp_send(u, &m, (size_t)n, &from, WEFT_NEVER);
            err = err == -ECANCELED ? err : 0; /* what is not sent is asked for again */
        }
    }
    weft_udp_close(&u);
    return err;
}

/* --- Clients ------------------------------------------------------------------------------- */

/* Waits for the answer to this request, past those to earlier ones. */
static int await_answer(struct weft_udp *u, const struct message *asked, weft_deadline d)
{
    struct message m;
    for (;;) {
        ssize_t n = weft_udp_recv(u, &m, sizeof m, NULL, d);
        if (n == -ETIMEDOUT || n == -ECANCELED)
            return (int)n;
        if (n < (ssize_t)SHORT || m.request < asked->request)
            continue;
        if (m.client != asked->client || m.request != asked->request || m.try > asked->try)
            return weft_sim_fail(NULL, "an answer to another request");
        if (m.sum != asked->request * (asked->request + 1) / 2)
            return weft_sim_fail(NULL, "client %u: the sum after request %u is %u", m.client,
                                 m.request, m.sum);
        return 0;
    }
}

static int client(void *arg)
{
    struct message m = {.client = *(uint32_t *)arg};
    struct weft_udp *u = NULL;
    int err = weft_udp_dial(&u, "udp://server:53", NULL);
    memset(m.filler, 'x', sizeof m.filler);
    for (m.request = 1; err == 0 && m.request <= REQUESTS; m.request++) {
        size_t len = one_in(all.sim, 3) ? sizeof m : SHORT;
        int64_t patience_ms = 20;
        err = -ETIMEDOUT;
        for (m.try = 1; err == -ETIMEDOUT && m.try < TRIES_MAX; m.try++) {
            (void)!weft_udp_send(u, &m, len, NULL, WEFT_NEVER); /* lost or not: wait, ask again */
            err = await_answer(u, &m, weft_after_ms(patience_ms + pick(all.sim, 0, 10)));
            patience_ms = patience_ms < 1000 ? 2 * patience_ms : patience_ms;
        }
        all.answered[m.client] += err == 0;
    }
    weft_udp_close(&u);
    return err;
}

/* --- The scene ----------------------------------------------------------------------------- */

static int at_each_step(struct weft_sim *sim, void *arg)
{
    (void)arg;
    for (int i = 0; i < CLIENTS; i++)
        if (all.last[i] > 0 && all.carried[i][all.last[i]] != 1)
            return weft_sim_fail(sim, "request %u of client %d was carried out %d times",
                                 all.last[i], i, all.carried[i][all.last[i]]);
    return 0;
}

static int at_the_end(struct weft_sim *sim)
{
    for (int i = 0; i < CLIENTS; i++)
        for (int n = 1; n <= REQUESTS; n++)
            if (all.carried[i][n] != 1 || all.answered[i] != REQUESTS)
                return weft_sim_fail(sim, "request %d of client %d was carried out %d times", n, i,
                                     all.carried[i][n]);
    return 0;
}

static void cut(struct weft_sim *sim, void *arg)
{
    (void)arg;
    MUST(weft_sim_partition_oneway(sim, one_in(sim, 2) ? "server" : "client-*", "*"));
}

static void heal(struct weft_sim *sim, void *arg)
{
    (void)arg;
    MUST(weft_sim_heal(sim, "*", "*"));
}

int main(void)
{
    static uint32_t numbers[CLIENTS];
    struct weft_sim *sim = scene();
    char name[16];
    all.sim = sim;
    service(sim, "server", server, NULL);
    for (uint32_t i = 0; i < CLIENTS; i++) {
        numbers[i] = i;
        snprintf(name, sizeof name, "client-%u", i);
        MUST(weft_sim_host(sim, name, client, &numbers[i]));
    }
    struct weft_link l = {0};
    l.latency_us = pick(sim, 100, 20000);
    l.jitter_us = pick(sim, 0, 20000);
    l.loss = (double)pick(sim, 0, 40) / 100;
    l.duplicate = (double)pick(sim, 0, 40) / 100;
    l.reorder = (double)pick(sim, 0, 40) / 100;
    MUST(weft_sim_link(sim, "*", "*", &l));
    MUST(weft_sim_faults(sim, "*", &(struct weft_sim_faults){.again = 0.1, .no_buffers = 0.05}));
    int64_t when = weft_ms(pick(sim, 0, 2000));
    MUST(weft_sim_at(sim, when, cut, NULL));
    MUST(weft_sim_at(sim, when + weft_ms(pick(sim, 0, 5000)), heal, NULL));
    MUST(weft_sim_check(sim, "at most once", at_each_step, NULL));
    return play(sim, weft_s(3600), at_the_end);
}
