/* SPDX-License-Identifier: MIT */
/*
 * A host where one task accepts and hands each connection, as a descriptor over a Unix socket, to
 * one of several workers, which answer. Workers come and go.
 *
 * Holds: each connection is served by exactly one worker, with the bytes that came before the
 * handover; a connection whose worker has gone ends with an error, not in silence; no descriptor is
 * left behind (the simulation looks).
 */
#include "scenario.h"

#define WORKERS 3
#define CLIENTS 6
#define REQUESTS 8

static struct {
    struct weft_sim *sim;
    int served[CLIENTS]; /* requests, in all */
    int answered[CLIENTS];
    int handed, taken; /* descriptors */
} all;

/* --- Workers ------------------------------------------------------------------------------- */

static int serve(void *arg)
{
    struct weft_stream *s = arg;
    char line[64];
    ssize_t n;
    int err = 0;
    while (err == 0 && (n = weft_read_until(s, line, sizeof line, '\n', weft_after_s(300))) > 0) {
        int client = line[0] - '0';
        if (client < 0 || client >= CLIENTS)
            err = weft_sim_fail(NULL, "a worker reads '%.*s'", (int)n, line);
        else
            all.served[client]++;
        if (err == 0)
            err = weft_write(s, line, (size_t)n, weft_after_s(60));
    }
    int closed = weft_close(&s, weft_after_s(60));
    return err < 0 ? err : closed;
}

/* Takes descriptors until it is told to go or the other end closes; what it has it serves to its
 * end. */
static int work(struct weft_stream *s)
{
    struct weft_task_options o = {.name = "served", .keep_errors = true};
    int64_t lives = pick(all.sim, 1, 8);
    struct weft_group *g = NULL;
    int err = weft_group_open(&g);
    while (err == 0 && lives-- > 0) {
        struct weft_stream *client = NULL;
        size_t n = 1;
        int fd, got = weft_recv_fds(s, &fd, &n, WEFT_NEVER);
        if (got <= 0 || n != 1) {
            err = got;
            break;
        }
        all.taken++;
        err = weft_stream_from_fd(&client, fd);
        if (err == 0)
            err = weft_group_spawn(g, &o, serve, client, NULL);
        if (err < 0)
            weft_abort(&client);
    }
    int waited = err == 0 ? weft_group_wait(g, WEFT_NEVER) : err;
    (void)weft_group_close(&g);
    return waited == WEFT_ECHECK ? waited : err;
}

static int worker(void *arg)
{
    int err = 0;
    (void)arg;
    while (err == 0) {
        struct weft_stream *s = NULL;
        err = weft_dial(&s, "unix:/run/workers", NULL, weft_after_s(60));
        if (err == 0) {
            err = work(s);
            weft_abort(&s);
        } else if (weft_error_class(err) == WEFT_CLASS_PEER || err == -ENOENT || err == -EAGAIN) {
            err = weft_sleep_ms(10); /* it does not listen yet, or is full */
        }
    }
    return err;
}

/* --- The acceptor -------------------------------------------------------------------------- */

/* The next worker that takes it; one that has gone is forgotten. */
static int hand_over(struct weft_listener *workers, struct weft_stream **worker,
                     struct weft_stream **client)
{
    int fd = weft_stream_detach(client, NULL, 0, NULL, weft_after_s(60));
    int err = fd;
    while (err >= 0) {
        if (*worker == NULL)
            err = weft_accept(workers, worker, WEFT_NEVER);
        if (err < 0)
            break;
        err = weft_send_fds(*worker, &fd, 1, weft_after_s(60));
        if (err == 0) {
            all.handed++;
            break;
        }
        weft_abort(worker);
        err = weft_canceled();
    }
    struct weft_stream *mine = NULL; /* what was sent is a copy */
    if (fd >= 0 && weft_stream_from_fd(&mine, fd) == 0)
        (void)weft_close(&mine, WEFT_NOW);
    return err;
}

static int accept_all(struct weft_listener *clients, struct weft_listener *workers)
{
    struct weft_stream *hands[WORKERS] = {NULL};
    int err = 0;
    for (size_t next = 0; err == 0; next = (next + 1) % WORKERS) {
        struct weft_stream *client = NULL;
        err = weft_accept(clients, &client, WEFT_NEVER);
        if (err == 0)
            err = hand_over(workers, &hands[next], &client);
        weft_abort(&client);
    }
    for (size_t i = 0; i < WORKERS; i++)
        weft_abort(&hands[i]);
    return err;
}

static int server(void *arg)
{
    struct weft_listener *clients = NULL, *workers = NULL;
    struct weft_group *g = NULL;
    (void)arg;
    int err = weft_group_open(&g);
    if (err == 0)
        err = weft_listen(&workers, "unix:/run/workers", NULL);
    if (err == 0)
        err = weft_listen(&clients, "tcp://*:80", NULL);
    /* One more than there are hands: a worker that goes is replaced at once. */
    for (int i = 0; err == 0 && i < WORKERS + 1; i++)
        err = weft_group_go(g, "worker", worker, NULL);
    if (err == 0)
        err = accept_all(clients, workers);
    weft_listener_close(&clients);
    weft_listener_close(&workers);
    int closed = weft_group_close(&g);
    return closed == WEFT_ECHECK ? closed : err;
}

/* --- Clients ------------------------------------------------------------------------------- */

static int ask(int number, int64_t requests)
{
    struct weft_stream *s = NULL;
    char asked[64], line[64];
    int err = weft_dial(&s, "tcp://server:80", NULL, weft_after_s(60));
    for (; err == 0 && requests > 0 && all.answered[number] < REQUESTS; requests--) {
        int len = snprintf(asked, sizeof asked, "%d asks for %d\n", number, all.answered[number]);
        err = weft_write(s, asked, (size_t)len, weft_after_s(60));
        if (err == 0)
            err = weft_read_full(s, line, (size_t)len, weft_after_s(60));
        if (err == 0 && memcmp(asked, line, (size_t)len) != 0)
            err =
                weft_sim_fail(NULL, "'%.*s' is answered by '%.*s'", len - 1, asked, len - 1, line);
        all.answered[number] += err == 0;
        if (err == 0)
            err = weft_sleep_ms(pick(all.sim, 0, 50));
    }
    int closed = weft_close(&s, weft_after_s(60));
    return err < 0 ? err : closed;
}

static int client(void *arg)
{
    int number = *(int *)arg;
    int err = 0, failures = 0;
    while (err == 0 && all.answered[number] < REQUESTS) {
        err = ask(number, pick(all.sim, 1, 5));
        if (err < 0 && err != WEFT_ECHECK && err != -ECANCELED) {
            weft_sim_note("%s", weft_error_name(err));
            err = ++failures < 1000 ? weft_sleep_ms(20) : err;
        }
    }
    return err;
}

static int at_each_step(struct weft_sim *sim, void *arg)
{
    (void)arg;
    if (all.taken > all.handed)
        return weft_sim_fail(sim, "%d descriptors were sent and %d came", all.handed, all.taken);
    for (int i = 0; i < CLIENTS; i++)
        if (all.answered[i] > all.served[i])
            return weft_sim_fail(sim, "client %d has %d answers to %d requests", i, all.answered[i],
                                 all.served[i]);
    return 0;
}

int main(void)
{
    static int numbers[CLIENTS];
    struct weft_sim *sim = scene();
    char name[24];
    all.sim = sim;
    service(sim, "server", server, NULL);
    for (int i = 0; i < CLIENTS; i++) {
        numbers[i] = i;
        snprintf(name, sizeof name, "client-%d", i);
        MUST(weft_sim_host(sim, name, client, &numbers[i]));
    }
    rough_links(sim);
    MUST(weft_sim_faults(sim, "*", &(struct weft_sim_faults){.short_io = 0.1, .again = 0.1}));
    MUST(weft_sim_check(sim, "descriptors", at_each_step, NULL));
    return play(sim, weft_s(3600), NULL);
}
