/* SPDX-License-Identifier: MIT */
/*
 * A key-value store with a write-ahead log on a disk that forgets what was not synced. Clients set
 * and get while the store crashes, is killed, and starts again from its log.
 *
 * Holds: what was acknowledged is there after every restart; a value that is read is the one
 * acknowledged last or one that was sent since; a torn record at the end of the log is told from a
 * whole one and cut off; a sync that fails is not believed to have done anything.
 */
#include "scenario.h"

#define KEYS 8
#define CLIENTS 3 /* client i owns keys i, i + 3, ... so that it knows what they hold */
#define WRITES 30
#define CRASHES 4

static struct {
    struct weft_sim *sim;
    uint32_t sent[KEYS], acked[KEYS]; /* values; they only grow */
    int done[CLIENTS];
} all;

/* --- The store ----------------------------------------------------------------------------- */

struct record {
    uint32_t key, value, sum;
};

static const char path[] = "/var/lib/log";

static uint32_t sum_of(const struct record *r)
{
    return (r->key * 2654435761u ^ r->value) * 2246822519u + 1;
}

static struct {
    struct weft_file *log;
    struct weft_mutex lock; /* a record and its sync are one after the other */
    int64_t end;
    uint32_t values[KEYS];
} store;

/*
 * Takes the log up to the first record that is not whole, and writes that much anew. To cut off the
 * rest and to sync would not do: when a sync has failed and then the process has died, what it
 * should have made durable can still be read, is not durable, and no later sync will make it so.
 */
static int recover(void)
{
    void *log = NULL;
    size_t len = 0;
    int err = weft_file_load(path, &log, &len, 1 << 20, WEFT_NEVER);
    if (err < 0 && err != -ENOENT)
        return err;
    for (struct record r; store.end + (int64_t)sizeof r <= (int64_t)len;
         store.end += (int64_t)sizeof r) {
        memcpy(&r, (char *)log + store.end, sizeof r);
        if (r.key >= KEYS || r.sum != sum_of(&r))
            break;
        store.values[r.key] = r.value;
    }
    err = weft_file_store(path, log != NULL ? log : "", (size_t)store.end, WEFT_NEVER);
    free(log);
    return err < 0 ? err : weft_file_open(&store.log, path, WEFT_FILE_WRITE, 0, WEFT_NEVER);
}

/* Durable after 0. A write that fails in the middle is written over by the next. */
static int set(uint32_t key, uint32_t value)
{
    struct record r = {.key = key, .value = value};
    r.sum = sum_of(&r);
    int err = weft_mutex_lock(&store.lock, WEFT_NEVER);
    if (err < 0)
        return err;
    err = weft_file_write_at(store.log, &r, sizeof r, store.end, WEFT_NEVER);
    if (err == 0)
        err = weft_file_sync(store.log, WEFT_NEVER);
    if (err == 0) {
        store.end += (int64_t)sizeof r;
        store.values[key] = value;
    }
    weft_mutex_unlock(&store.lock);
    return err;
}

/* "set KEY VALUE" is answered by "ok" or "no", "get KEY" by the value. */
static int serve(struct weft_stream *s, void *arg)
{
    char line[64];
    ssize_t n;
    (void)arg;
    while ((n = weft_read_until(s, line, sizeof line - 1, '\n', WEFT_NEVER)) > 0) {
        unsigned key, value;
        int err;
        line[n] = '\0';
        if (sscanf(line, "set %u %u", &key, &value) == 2 && key < KEYS)
            err = weft_printf(s, weft_after_s(10), "%s\n", set(key, value) == 0 ? "ok" : "no");
        else if (sscanf(line, "get %u", &key) == 1 && key < KEYS)
            err = weft_printf(s, weft_after_s(10), "%u\n", store.values[key]);
        else
            err = WEFT_EPROTOCOL;
        if (err < 0)
            return err;
    }
    return (int)n;
}

static int server(void *arg)
{
    struct weft_group *g = NULL;
    (void)arg;
    memset(&store, 0, sizeof store); /* the memory of the process before is gone */
    int err = recover();
    while (err == -EIO) { /* the disk has a bad moment */
        (void)weft_file_close(&store.log, WEFT_NEVER);
        memset(&store, 0, sizeof store);
        err = recover();
    }
    weft_sim_note("recovered %lld bytes", (long long)store.end);
    if (err == 0)
        err = weft_group_open(&g);
    if (err == 0)
        err = weft_serve(g, "tcp://*:80", NULL, serve, NULL);
    if (err == 0)
        err = weft_group_wait(g, WEFT_NEVER);
    int closed = weft_group_close(&g);
    (void)weft_file_close(&store.log, WEFT_NEVER);
    return err < 0 ? err : closed;
}

/* --- Clients ------------------------------------------------------------------------------- */

static int ask(struct weft_stream *s, char *answer, size_t cap, const char *what, uint32_t key,
               uint32_t value)
{
    weft_deadline d = weft_after_s(2);
    int err = *what == 's' ? weft_printf(s, d, "set %u %u\n", key, value)
                           : weft_printf(s, d, "get %u\n", key);
    ssize_t n = err < 0 ? err : weft_read_until(s, answer, cap - 1, '\n', d);
    answer[n > 0 ? n : 0] = '\0';
    return n > 0 ? 0 : n == 0 ? WEFT_EEOF : (int)n;
}

static int write_and_read(struct weft_stream *s, uint32_t key)
{
    char answer[64];
    uint32_t value = ++all.sent[key];
    int err = ask(s, answer, sizeof answer, "set", key, value);
    if (err == 0 && strcmp(answer, "ok\n") == 0)
        all.acked[key] = value;
    if (err == 0)
        err = ask(s, answer, sizeof answer, "get", key, 0);
    if (err < 0)
        return err;
    uint32_t got = (uint32_t)strtoul(answer, NULL, 10);
    if (got < all.acked[key] || got > all.sent[key])
        return weft_sim_fail(NULL, "key %u holds %u; %u was acknowledged, %u sent", key, got,
                             all.acked[key], all.sent[key]);
    return 0;
}

static int client(void *arg)
{
    int number = *(int *)arg, err = 0;
    struct weft_stream *s = NULL;
    for (uint32_t key = (uint32_t)number; all.done[number] < WRITES && err != WEFT_ECHECK;) {
        err = s != NULL ? 0 : weft_dial(&s, "tcp://store:80", NULL, weft_after_s(2));
        if (err == 0)
            err = write_and_read(s, key);
        if (err == 0) {
            all.done[number]++;
            key = key + CLIENTS < KEYS ? key + CLIENTS : (uint32_t)number;
        } else {
            weft_abort(&s);
        }
        if (err != WEFT_ECHECK && weft_sleep_ms(pick(all.sim, 0, 100)) < 0)
            break;
    }
    weft_abort(&s);
    return err == WEFT_ECHECK ? err : 0;
}

/* --- The scene ----------------------------------------------------------------------------- */

static void fell(struct weft_sim *sim, void *arg)
{
    (void)arg;
    if (one_in(sim, 4))
        MUST(weft_sim_signal(sim, "store", SIGKILL));
    else
        MUST(weft_sim_crash(sim, "store"));
}

static void raise_again(struct weft_sim *sim, void *arg)
{
    (void)arg;
    MUST(weft_sim_restart(sim, "store"));
}

static int at_the_end(struct weft_sim *sim)
{
    for (int i = 0; i < CLIENTS; i++)
        if (all.done[i] != WRITES)
            return weft_sim_fail(sim, "client %d has written %d times", i, all.done[i]);
    return 0;
}

int main(void)
{
    static int numbers[CLIENTS];
    struct weft_sim *sim = scene();
    char name[24];
    all.sim = sim;
    service(sim, "store", server, NULL);
    for (int i = 0; i < CLIENTS; i++) {
        numbers[i] = i;
        snprintf(name, sizeof name, "client-%d", i);
        MUST(weft_sim_host(sim, name, client, &numbers[i]));
    }
    rough_links(sim);
    struct weft_sim_disk disk = {.write_error = one_in(sim, 3) ? 0.02 : 0};
    disk.sync_error = disk.write_error;
    disk.latency_us = pick(sim, 10, 5000);
    disk.jitter_us = pick(sim, 0, 5000);
    MUST(weft_sim_disk(sim, "store", &disk));
    MUST(weft_sim_faults(sim, "*", &(struct weft_sim_faults){.short_io = 0.05, .again = 0.05}));
    int64_t when = 0;
    for (int i = 0; i < CRASHES; i++) {
        when += weft_ms(pick(sim, 1, 1500));
        MUST(weft_sim_at(sim, when, fell, NULL));
        when += weft_ms(pick(sim, 0, 300));
        MUST(weft_sim_at(sim, when, raise_again, NULL));
    }
    return play(sim, weft_s(3600), at_the_end);
}
