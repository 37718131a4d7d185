/* SPDX-License-Identifier: MIT */
/*
 * Planted: an acknowledged record that is lost by a crash. A journal takes records from many
 * connections, writes them to its log at once, and now and then syncs for all that wait, as a sync
 * costs the same for one and for a hundred.
 *
 * The mistake: when a sync has ended, everything written by then counts as durable, also what was
 * written while the sync was under way. With -DFIXED it is what had been written when it began.
 */
#include "scenario.h"

#define CLIENTS 4
#define RECORDS 15
#define SYNC_MS 2
#define FALLS 3

static struct {
    struct weft_sim *sim;
    uint32_t acked[CLIENTS]; /* the newest record of each that is acknowledged */
} all;

/* --- The journal --------------------------------------------------------------------------- */

struct record {
    uint32_t client, number, sum;
};

static struct {
    struct weft_file *log;
    int64_t written, durable; /* bytes */
    struct weft_mutex lock;   /* of the log's end */
    struct weft_event done;
    uint32_t newest[CLIENTS];
} journal;

static uint32_t sum_of(const struct record *r)
{
    return (r->client * 2654435761u ^ r->number) * 2246822519u + 1;
}

/* Durable after 0. */
static int append(struct record r)
{
    r.sum = sum_of(&r);
    int err = weft_mutex_lock(&journal.lock, WEFT_NEVER);
    if (err < 0)
        return err;
    err = weft_file_write_at(journal.log, &r, sizeof r, journal.written, WEFT_NEVER);
    if (err == 0)
        journal.written += (int64_t)sizeof r;
    int64_t upto = journal.written;
    weft_mutex_unlock(&journal.lock);
    while (err == 0 && journal.durable < upto) {
        weft_event_clear(&journal.done);
        err = weft_event_wait(&journal.done, WEFT_NEVER);
    }
    return err;
}

static int sync_for_all(void *arg)
{
    int err = 0;
    (void)arg;
    while (err == 0) {
        err = weft_sleep_ms(SYNC_MS);
        if (err < 0 || journal.durable == journal.written)
            continue;
#ifdef FIXED
        int64_t upto = journal.written;
        err = weft_file_sync(journal.log, WEFT_NEVER);
#else
        err = weft_file_sync(journal.log, WEFT_NEVER);
        int64_t upto = journal.written;
#endif
        if (err == 0)
            journal.durable = upto;
        weft_event_set(&journal.done);
    }
    return err;
}

/* Reads the log; a record that is not whole is no record. */
static int recover(void)
{
    struct record r;
    ssize_t n;
    int err = weft_file_open(&journal.log, "/var/lib/journal",
                             WEFT_FILE_READ | WEFT_FILE_WRITE | WEFT_FILE_CREATE, 0, WEFT_NEVER);
    if (err == 0)
        err = weft_file_sync_dir("/var/lib", WEFT_NEVER);
    if (err < 0)
        return err;
    while ((n = weft_file_read_at(journal.log, &r, sizeof r, journal.written, WEFT_NEVER)) > 0) {
        journal.written += (int64_t)sizeof r;
        if (n == (ssize_t)sizeof r && r.client < CLIENTS && r.sum == sum_of(&r) &&
            r.number > journal.newest[r.client])
            journal.newest[r.client] = r.number;
    }
    journal.durable = journal.written;
    return n < 0 ? (int)n : weft_file_sync(journal.log, WEFT_NEVER);
}

/* The client's newest record first, then an acknowledgement for each that it sends. */
static int serve(struct weft_stream *s, void *arg)
{
    struct record r;
    uint32_t client;
    (void)arg;
    int err = weft_read_full(s, &client, sizeof client, WEFT_NEVER);
    if (err == 0 && client >= CLIENTS)
        err = WEFT_EPROTOCOL;
    if (err == 0)
        err = weft_write(s, &journal.newest[client], sizeof(uint32_t), WEFT_NEVER);
    while (err == 0 && (err = weft_read_full(s, &r, sizeof r, WEFT_NEVER)) == 0) {
        err = append(r);
        if (err == 0)
            err = weft_write(s, &r.number, sizeof r.number, WEFT_NEVER);
    }
    return err == WEFT_EEOF ? 0 : err;
}

static int server(void *arg)
{
    struct weft_group *g = NULL;
    (void)arg;
    memset(&journal, 0, sizeof journal);
    int err = recover();
    if (err == 0)
        err = weft_group_open(&g);
    if (err == 0)
        err = weft_group_go(g, "sync", sync_for_all, NULL);
    if (err == 0)
        err = weft_serve(g, "tcp://*:80", NULL, serve, NULL);
    if (err == 0)
        err = weft_group_wait(g, WEFT_NEVER);
    int closed = weft_group_close(&g);
    (void)weft_file_close(&journal.log, WEFT_NEVER);
    return err < 0 ? err : closed;
}

/* --- Clients ------------------------------------------------------------------------------- */

static int send_records(uint32_t client, uint32_t *newest)
{
    struct record r = {.client = client};
    struct weft_stream *s = NULL;
    uint32_t acked;
    int err = weft_dial(&s, "tcp://journal:80", NULL, weft_after_s(1));
    if (err == 0)
        err = weft_write(s, &client, sizeof client, weft_after_s(1));
    if (err == 0)
        err = weft_read_full(s, newest, sizeof *newest, weft_after_s(1));
    if (err == 0 && *newest < all.acked[client])
        err = weft_sim_fail(NULL, "record %u of client %u was acknowledged, and the newest is %u",
                            all.acked[client], client, *newest);
    while (err == 0 && *newest < RECORDS) {
        r.number = *newest + 1;
        err = weft_write(s, &r, sizeof r, weft_after_s(1));
        if (err == 0)
            err = weft_read_full(s, &acked, sizeof acked, weft_after_s(1));
        if (err == 0)
            *newest = all.acked[client] = acked;
        if (err == 0)
            err = weft_sleep_ms(pick(all.sim, 0, 30));
    }
    weft_abort(&s);
    return err;
}

static int client(void *arg)
{
    uint32_t newest = 0;
    int err = 0;
    while (err != WEFT_ECHECK && newest < RECORDS && weft_canceled() == 0) {
        err = send_records(*(uint32_t *)arg, &newest);
        if (err < 0 && err != WEFT_ECHECK)
            err = weft_sleep_ms(pick(all.sim, 1, 100));
    }
    return err;
}

static void fall(struct weft_sim *sim, void *arg)
{
    (void)arg;
    MUST(weft_sim_crash(sim, "journal"));
    MUST(weft_sim_restart(sim, "journal"));
}

int main(void)
{
    static uint32_t numbers[CLIENTS];
    struct weft_sim *sim = scene();
    char name[16];
    all.sim = sim;
    service(sim, "journal", server, NULL);
    for (uint32_t i = 0; i < CLIENTS; i++) {
        numbers[i] = i;
        snprintf(name, sizeof name, "client-%u", i);
        MUST(weft_sim_host(sim, name, client, &numbers[i]));
    }
    MUST(weft_sim_link(sim, "*", "*", &(struct weft_link){.jitter_us = 500}));
    MUST(weft_sim_disk(sim, "journal",
                       &(struct weft_sim_disk){.latency_us = 300, .jitter_us = 600}));
    for (int i = 0; i < FALLS; i++)
        MUST(weft_sim_at(sim, weft_ms(pick(sim, 20, 400)), fall, NULL));
    return play(sim, weft_s(600), NULL);
}
