/* SPDX-License-Identifier: MIT */
/*
 * Guests that send as fast as they can and read late and slowly, at an echo server in each of the
 * models.
 *
 * Holds: a guest costs the server a bounded number of bytes, however long it does not read; the
 * guest's writes wait meanwhile and nobody is thrown out for it; in the end every byte has come
 * back in its place; another guest, who reads, does not notice.
 */
#include "scenario.h"

#define SLOW 3
#define SIZE 1000000
#define WRITE_BUFFER 16384
/* Sockets of both ends, the server's buffer, pieces in the hands of tasks and loops. */
#define HELD_MAX (2 * 131072 + WRITE_BUFFER + 2 * 65536)

struct guest {
    int number;
    struct weft_stream *s;
    size_t taken; /* by the server */
    size_t back;  /* read by the guest */
};

static struct {
    struct weft_sim *sim;
    enum weft_model model;
    struct guest guests[SLOW];
} all;

static char byte_of(int guest, size_t at)
{
    /* The first byte is the guest's number: so the server knows whose bytes it counts. */
    return at == 0 ? (char)guest : (char)(at * 13 + (at >> 9) + (size_t)guest);
}

/* --- The server ---------------------------------------------------------------------------- */

/* Whose connection it is; NULL: one that nobody counts. */
static struct guest *guest_of(const char *first)
{
    unsigned number = (unsigned char)*first; /* char has no sign on some machines */
    return number < SLOW ? &all.guests[number] : NULL;
}

static int echo(struct weft_stream *s, void *arg)
{
    struct guest *g = NULL;
    char piece[4096];
    ssize_t n;
    (void)arg;
    for (size_t total = 0; (n = weft_read(s, piece, sizeof piece, WEFT_NEVER)) > 0;
         total += (size_t)n) {
        g = total == 0 ? guest_of(piece) : g;
        if (g != NULL)
            g->taken += (size_t)n;
        int err = weft_write(s, piece, (size_t)n, WEFT_NEVER);
        if (err < 0)
            return err;
    }
    return (int)n;
}

static int data(struct weft_stream *t, const void *bytes, size_t len, void *conn)
{
    struct guest *g = conn;
    if (g == NULL) {
        g = guest_of(bytes);
        weft_transport_set(t, g);
    }
    if (g != NULL)
        g->taken += len;
    return weft_transport_write(t, bytes, len);
}

static const struct weft_protocol protocol = {.data = data};

static int server(void *arg)
{
    struct weft_server_options o = {.model = all.model, .write_buffer = WRITE_BUFFER};
    struct weft_factory f = {.protocol = &protocol, .write_mark = WRITE_BUFFER};
    struct weft_group *g = NULL;
    (void)arg;
    int err = weft_group_open(&g);
    if (err == 0)
        err = all.model == WEFT_PROTOCOLS ? weft_serve_protocol(g, "tcp://*:80", &o, &f)
                                          : weft_serve(g, "tcp://*:80", &o, echo, NULL);
    if (err == 0)
        err = weft_group_wait(g, WEFT_NEVER);
    int closed = weft_group_close(&g);
    return err < 0 ? err : closed;
}

/* --- Guests -------------------------------------------------------------------------------- */

static int send_all(void *arg)
{
    struct guest *me = arg;
    char piece[8192];
    int err = 0;
    for (size_t at = 0, n; err == 0 && at < SIZE; at += n) {
        n = (size_t)pick(all.sim, 1, sizeof piece);
        n = n < SIZE - at ? n : SIZE - at;
        for (size_t i = 0; i < n; i++)
            piece[i] = byte_of(me->number, at + i);
        err = weft_write(me->s, piece, n, WEFT_NEVER);
    }
    return err == 0 ? weft_shutdown(me->s, WEFT_NEVER) : err;
}

static int read_slowly(struct guest *me)
{
    const void *piece;
    ssize_t n;
    while ((n = weft_peek(me->s, &piece, WEFT_NEVER)) > 0) {
        for (ssize_t i = 0; i < n; i++)
            if (((const char *)piece)[i] != byte_of(me->number, me->back + (size_t)i))
                return weft_sim_fail(NULL, "byte %zu comes back wrong", me->back + (size_t)i);
        me->back += (size_t)n;
        weft_consume(me->s, (size_t)n);
        int err = one_in(all.sim, 8) ? weft_sleep_ms(pick(all.sim, 1, 500)) : 0;
        if (err < 0)
            return err;
    }
    if (n == 0 && me->back != SIZE)
        return weft_sim_fail(NULL, "the end comes after %zu bytes", me->back);
    return (int)n;
}

static int dial(struct weft_stream **ret)
{
    int err;
    while ((err = weft_dial(ret, "tcp://server:80", NULL, WEFT_NEVER)) == -ECONNREFUSED)
        if ((err = weft_sleep_ms(10)) < 0)
            break;
    return err;
}

static int slow_guest(void *arg)
{
    struct guest *me = arg;
    struct weft_group *g = NULL;
    int err = dial(&me->s);
    if (err == 0)
        err = weft_group_open(&g);
    if (err == 0)
        err = weft_group_go(g, "send", send_all, me);
    if (err == 0)
        err = weft_sleep_ms(pick(all.sim, 0, 40000)); /* within the server's patience of 60 s */
    if (err == 0)
        err = read_slowly(me);
    if (err == 0)
        err = weft_group_wait(g, WEFT_NEVER);
    (void)weft_group_close(&g);
    int closed = weft_close(&me->s, WEFT_NEVER);
    return err < 0 ? err : closed;
}

/* One that asks and reads: it is answered at once, whatever the others do. */
static int quick_guest(void *arg)
{
    struct weft_stream *s = NULL;
    char question = '\x7f', answer = 0;
    (void)arg;
    int err = dial(&s);
    for (int i = 0; err == 0 && i < 100; i++) {
        err = weft_write(s, &question, 1, WEFT_NEVER);
        if (err == 0)
            err = weft_read_full(s, &answer, 1, weft_after_s(5));
        if (err == -ETIMEDOUT)
            err = weft_sim_fail(NULL, "the quick guest has no answer for 5 s");
        if (err == 0)
            err = weft_sleep_ms(pick(all.sim, 0, 500));
    }
    int closed = weft_close(&s, WEFT_NEVER);
    return err < 0 ? err : closed;
}

static int at_each_step(struct weft_sim *sim, void *arg)
{
    (void)arg;
    for (int i = 0; i < SLOW; i++)
        if (all.guests[i].taken - all.guests[i].back > HELD_MAX)
            return weft_sim_fail(sim, "%zu bytes are held for guest %d",
                                 all.guests[i].taken - all.guests[i].back, i);
    return 0;
}

int main(void)
{
    struct weft_sim *sim = scene();
    struct weft_link l = {0};
    char name[24];
    all.sim = sim;
    all.model = (enum weft_model[]){WEFT_TASKS, WEFT_THREADS, WEFT_PROTOCOLS}[pick(sim, 0, 2)];
    service(sim, "server", server, NULL);
    MUST(weft_sim_host(sim, "quick", quick_guest, NULL));
    for (int i = 0; i < SLOW; i++) {
        all.guests[i].number = i;
        snprintf(name, sizeof name, "slow-%d", i);
        MUST(weft_sim_host(sim, name, slow_guest, &all.guests[i]));
    }
    l.latency_us = pick(sim, 100, 3000);
    l.jitter_us = pick(sim, 0, 3000);
    MUST(weft_sim_link(sim, "*", "*", &l));
    MUST(weft_sim_faults(sim, "*", &(struct weft_sim_faults){.short_io = 0.05, .again = 0.05}));
    MUST(weft_sim_check(sim, "bounded", at_each_step, NULL));
    return play(sim, weft_s(3600), NULL);
}
