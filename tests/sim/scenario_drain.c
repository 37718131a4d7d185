/* SPDX-License-Identifier: MIT */
/*
 * A server that is drained and started again under its clients' requests, in each of the models.
 *
 * Holds: an answer is the one to its request, and comes once; whoever gets none sees an error;
 * where nothing is cut off, what the server took it answers; no connection outlives the drain; with
 * retries every request is answered in the end.
 */
#include <inttypes.h>

#include "scenario.h"

#define CLIENTS 5
#define REQUESTS 12
#define DRAINS 2

static const struct weft_framing framing = {.kind = WEFT_FRAMING_INT8};

static struct {
    struct weft_sim *sim;
    enum weft_model model;
    int64_t drain_ms[DRAINS + 1];
    bool faults;        /* memory and descriptors run out now and then */
    int live;           /* connections of the server, as its handlers see it */
    uint64_t taken;     /* requests that a handler has read */
    uint64_t answered;  /* answers that a client has read */
    bool cut_off;       /* a drain was too short for somebody */
    int ended[CLIENTS]; /* requests that a client has an answer to */
    int drains;
} all;

/* --- The server ---------------------------------------------------------------------------- */

/* For tasks and threads: until the client goes, or it drains and the client has asked nothing. */
static int answer(struct weft_stream *s, void *arg)
{
    const void *request;
    size_t len;
    int got = 1;
    (void)arg;
    all.live++;
    while (got > 0 || (got == -ETIMEDOUT && !weft_stream_draining(s))) {
        got = weft_read_record(s, &framing, &request, &len, weft_after_ms(100));
        if (got > 0) {
            char copy[UINT8_MAX];
            memcpy(copy, request, len);
            all.taken++;
            int err = weft_write_record(s, &framing, copy, len, weft_after_s(60));
            if (err < 0)
                got = err;
        }
    }
    all.live--;
    return got == -ETIMEDOUT ? 0 : got;
}

/* For protocols: the same in callbacks. */
static int record(struct weft_stream *t, const void *request, size_t len, void *conn)
{
    (void)conn;
    all.taken++;
    return weft_transport_write_record(t, &framing, request, len);
}

static int made(struct weft_stream *t, void *arg)
{
    struct weft_receiver *r = malloc(sizeof *r);
    (void)arg;
    if (r == NULL)
        return -ENOMEM;
    weft_receiver_init(r, &framing, record);
    weft_transport_set(t, r);
    return 0;
}

static int data(struct weft_stream *t, const void *bytes, size_t len, void *conn)
{
    return weft_receiver_feed(conn, t, bytes, len, conn);
}

static void lost(struct weft_stream *t, int error, void *conn)
{
    (void)t;
    (void)error;
    if (conn != NULL)
        weft_receiver_fini(conn);
    free(conn);
}

static const struct weft_protocol protocol = {.made = made, .data = data, .lost = lost};

/* Serves until SIGTERM, then drains. */
static int serve(void)
{
    struct weft_server_options o = {.model = all.model};
    struct weft_factory f = {.protocol = &protocol};
    bool handler = all.model != WEFT_PROTOCOLS;
    struct weft_signals *signals = NULL;
    struct weft_server_stats stats;
    struct weft_server *s = NULL;
    struct weft_group *g = NULL;
    int err = weft_signals_open(&signals, (int[]){SIGTERM, 0});
    if (err == 0)
        err = weft_group_open(&g);
    if (err == 0)
        err = weft_server_open(&s, g, "tcp://*:80", &o, handler ? answer : NULL, NULL,
                               handler ? NULL : &f);
    if (err == 0)
        err = weft_signals_wait(signals, WEFT_NEVER);
    if (err > 0) {
        weft_deadline d = weft_after_ms(all.drain_ms[all.drains]);
        err = weft_server_drain(s, d);
        if (err == -ETIMEDOUT && weft_left_ns(d) > 0)
            return weft_sim_fail(NULL, "the drain cuts somebody off before its time");
        all.cut_off = all.cut_off || err == -ETIMEDOUT;
        err = err == -ETIMEDOUT ? 0 : err;
        weft_server_stats_mt(s, &stats);
        if (stats.live != 0 || all.live != 0)
            err = weft_sim_fail(NULL, "%" PRIu64 " connections outlive the drain, %d in handlers",
                                stats.live, all.live);
        weft_sim_note("drained, %" PRIu64 " accepted", stats.accepted);
    }
    (void)weft_group_close(&g);
    weft_signals_close(&signals);
    return err;
}

/* What runs out at the start may be there a little later. */
static int server(void *arg)
{
    int err = serve();
    (void)arg;
    while (weft_error_class(err) == WEFT_CLASS_RESOURCE && weft_sleep_ms(10) == 0)
        err = serve();
    return err;
}

/* --- Clients ------------------------------------------------------------------------------- */

/* Asks the next requests over one connection, some of them. */
static int ask(int number, unsigned *attempt)
{
    struct weft_stream *s = NULL;
    int64_t some = pick(all.sim, 1, 4);
    int err = weft_dial(&s, "tcp://server:80", NULL, weft_after_s(30));
    for (; err == 0 && some > 0 && all.ended[number] < REQUESTS; some--) {
        const void *reply;
        char text[64];
        size_t len, size;
        size = (size_t)snprintf(text, sizeof text, "client %d request %d attempt %u", number,
                                all.ended[number], ++*attempt);
        err = weft_write_record(s, &framing, text, size, weft_after_s(60));
        if (err < 0)
            break;
        int got = weft_read_record(s, &framing, &reply, &len, weft_after_s(60));
        if (got <= 0) {
            err = got == 0 ? WEFT_EEOF : got;
        } else if (len != size || memcmp(reply, text, size) != 0) {
            err = weft_sim_fail(NULL, "the answer to '%s' is '%.*s'", text, (int)len,
                                (const char *)reply);
        } else {
            all.answered++;
            all.ended[number]++;
            err = weft_sleep_ms(pick(all.sim, 0, 200));
        }
    }
    int closed = weft_close(&s, weft_after_s(60));
    return err < 0 ? err : closed;
}

static int client(void *arg)
{
    int number = *(int *)arg;
    unsigned attempt = 0;
    while (all.ended[number] < REQUESTS) {
        int err = ask(number, &attempt);
        if (err == WEFT_ECHECK)
            return err;
        if (err < 0) {
            weft_sim_note("tries again after %s", weft_error_name(err));
            err = weft_sleep_ms(pick(all.sim, 1, 100));
        }
        if (err < 0)
            return err;
    }
    return 0;
}

/* --- The scene ----------------------------------------------------------------------------- */

static void end_server(struct weft_sim *sim, void *arg)
{
    (void)arg;
    MUST(weft_sim_signal(sim, "server", SIGTERM));
}

static void start_server(struct weft_sim *sim, void *arg)
{
    (void)arg;
    all.drains += weft_sim_host_ended(sim, "server", NULL);
    MUST(weft_sim_restart(sim, "server"));
}

static int at_each_step(struct weft_sim *sim, void *arg)
{
    (void)arg;
    if (all.answered > all.taken)
        return weft_sim_fail(sim, "%" PRIu64 " answers to %" PRIu64 " requests", all.answered,
                             all.taken);
    return 0;
}

static int at_the_end(struct weft_sim *sim)
{
    if (!all.cut_off && !all.faults && all.answered != all.taken)
        return weft_sim_fail(sim, "%" PRIu64 " requests were taken, %" PRIu64 " answered",
                             all.taken, all.answered);
    for (int i = 0; i < CLIENTS; i++)
        if (all.ended[i] != REQUESTS)
            return weft_sim_fail(sim, "client %d has %d answers", i, all.ended[i]);
    return 0;
}

int main(void)
{
    static int numbers[CLIENTS];
    struct weft_sim *sim = scene();
    char name[24];
    all.sim = sim;
    all.model = (enum weft_model[]){WEFT_TASKS, WEFT_THREADS, WEFT_PROTOCOLS}[pick(sim, 0, 2)];
    service(sim, "server", server, NULL);
    for (int i = 0; i < CLIENTS; i++) {
        numbers[i] = i;
        snprintf(name, sizeof name, "client-%d", i);
        MUST(weft_sim_host(sim, name, client, &numbers[i]));
    }
    rough_links(sim);
    all.faults = one_in(sim, 2);
    MUST(weft_sim_faults(sim, "*", &(struct weft_sim_faults){.short_io = 0.05, .again = 0.05}));
    if (all.faults)
        MUST(weft_sim_faults(
            sim, "*",
            &(struct weft_sim_faults){
                .short_io = 0.05, .again = 0.05, .no_files = 0.01, .no_memory = 0.01}));
    int64_t when = 0;
    for (int i = 0; i < DRAINS; i++) {
        all.drain_ms[i] = pick(sim, 0, 2000);
        when += weft_ms(pick(sim, 50, 1500));
        MUST(weft_sim_at(sim, when, end_server, NULL));
        when += weft_ms(all.drain_ms[i] + pick(sim, 1, 1000));
        MUST(weft_sim_at(sim, when, start_server, NULL));
    }
    MUST(weft_sim_check(sim, "answers", at_each_step, NULL));
    return play(sim, weft_s(3600), at_the_end);
}
