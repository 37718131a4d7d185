/* SPDX-License-Identifier: MIT */
/*
 * A chat: each guest has a bounded channel at the server and a task that writes from it. Some
 * guests read slowly, some leave and come back.
 *
 * Holds: the lines of a speaker arrive in order and whole, none twice; a line that does not arrive
 * was dropped at a full channel and counted, or its guest had gone; the server holds at most a
 * channel's worth of lines for each guest.
 */
#include "scenario.h"

#define GUESTS 6
#define LINES 25
#define BACKLOG 4 /* lines */

struct line {
    char text[64];
    size_t len;
};

struct guest {
    int number;
    int visits, said;
    bool slow;
    int heard[GUESTS]; /* the number of the last line from each */
    uint64_t lines;    /* heard in all */
};

static struct {
    struct weft_sim *sim;
    struct guest guests[GUESTS];
    struct weft_channel *seats[GUESTS];
    uint64_t queued, dropped;
    bool quiet; /* nobody leaves early and nothing is dropped: each hears all */
} chat;

/* --- The server ---------------------------------------------------------------------------- */

struct seat {
    struct weft_stream *s;
    struct weft_channel *mine;
};

static int writer(void *arg)
{
    struct seat *seat = arg;
    struct line line;
    int err;
    while ((err = weft_channel_recv(seat->mine, &line, WEFT_NEVER)) == 0 &&
           (err = weft_write(seat->s, line.text, line.len, weft_after_s(60))) == 0)
        ;
    return err == WEFT_ECLOSED ? 0 : err;
}

static void to_all_but(int speaker, const struct line *line)
{
    for (int i = 0; i < GUESTS; i++) {
        if (chat.seats[i] == NULL || i == speaker)
            continue;
        if (weft_channel_send_nowait(chat.seats[i], line) == 0)
            chat.queued++;
        else
            chat.dropped++;
    }
}

/* "3 hello\n": the number is the guest's. A guest that comes back before we know that it has gone
 * takes its seat over. */
static int guest(struct weft_stream *s, void *arg)
{
    struct seat seat = {.s = s};
    struct weft_group *g = NULL;
    struct line line;
    int number = -1;
    (void)arg;
    int err = weft_channel_open(&seat.mine, sizeof line, BACKLOG);
    if (err == 0)
        err = weft_group_open(&g);
    if (err == 0)
        err = weft_group_go(g, "writer", writer, &seat);
    while (err == 0) {
        ssize_t n = weft_read_until(s, line.text, sizeof line.text, '\n', WEFT_NEVER);
        if (n <= 0) {
            err = (int)n;
            break;
        }
        line.len = (size_t)n;
        number = line.text[0] - '0';
        if (number < 0 || number >= GUESTS)
            err = WEFT_EPROTOCOL;
        else if (strncmp(line.text + 1, " hello", 6) == 0)
            chat.seats[number] = seat.mine;
        else
            to_all_but(number, &line);
    }
    if (number >= 0 && number < GUESTS && chat.seats[number] == seat.mine)
        chat.seats[number] = NULL;
    if (seat.mine != NULL)
        weft_channel_shut(seat.mine);
    if (g != NULL && err == 0 && weft_group_wait(g, weft_after_s(60)) < 0)
        weft_sim_note("guest %d does not take the rest", number);
    int wrote = weft_group_close(&g);
    weft_channel_close(&seat.mine);
    return err < 0 ? err : wrote;
}

static int server(void *arg)
{
    struct weft_group *g = NULL;
    (void)arg;
    memset(chat.seats, 0, sizeof chat.seats);
    int err = weft_group_open(&g);
    if (err == 0)
        err = weft_serve(g, "tcp://*:80", NULL, guest, NULL);
    if (err == 0)
        err = weft_group_wait(g, WEFT_NEVER);
    int closed = weft_group_close(&g);
    return err < 0 ? err : closed;
}

/* --- Guests -------------------------------------------------------------------------------- */

struct talk {
    struct guest *who;
    struct weft_stream *s;
};

static int listen_to_others(void *arg)
{
    struct talk *t = arg;
    char text[64];
    ssize_t n;
    while ((n = weft_read_until(t->s, text, sizeof text, '\n', WEFT_NEVER)) > 0) {
        int speaker, number, end = 0;
        text[n - 1] = '\0';
        if (sscanf(text, "%d says line %d%n", &speaker, &number, &end) != 2 || end != n - 1 ||
            speaker < 0 || speaker >= GUESTS)
            return weft_sim_fail(NULL, "a line that nobody said: '%s'", text);
        if (speaker == t->who->number || number <= t->who->heard[speaker])
            return weft_sim_fail(NULL, "guest %d hears '%s' after line %d", t->who->number, text,
                                 t->who->heard[speaker]);
        t->who->heard[speaker] = number;
        t->who->lines++;
        if (t->who->slow && weft_sleep_ms(pick(chat.sim, 1, 500)) < 0)
            return -ECANCELED;
    }
    return (int)n;
}

/* A look into the server that only a simulation can take. */
static int count_seats(void)
{
    int n = 0;
    for (int i = 0; i < GUESTS; i++)
        n += chat.seats[i] != NULL;
    return n;
}

static int visit(struct guest *who)
{
    struct talk t = {.who = who};
    struct weft_group *g = NULL;
    int64_t lines = chat.quiet ? LINES : pick(chat.sim, 1, LINES);
    int err = weft_group_open(&g);
    if (err == 0)
        err = weft_dial(&t.s, "tcp://server:80", NULL, weft_after_s(30));
    if (err == 0)
        err = weft_printf(t.s, weft_after_s(30), "%d hello\n", who->number);
    /* Who is to hear all waits for all. */
    while (err == 0 && chat.quiet && count_seats() < GUESTS)
        err = weft_sleep_ms(100);
    if (err == 0)
        err = weft_group_go(g, "listen", listen_to_others, &t);
    who->visits++;
    for (; err == 0 && lines > 0 && who->said < LINES; lines--) {
        err = weft_printf(t.s, weft_after_s(30), "%d says line %d\n", who->number, ++who->said);
        if (err == 0)
            err = weft_sleep_ms(pick(chat.sim, 50, 300));
    }
    if (err == 0 && chat.quiet)
        err = weft_sleep_ms(20000);
    if (err == 0)
        err = weft_shutdown(t.s, weft_after_s(30));
    if (err == 0)
        err = weft_group_wait(g, weft_after_s(120));
    int closed = weft_group_close(&g);
    (void)weft_close(&t.s, weft_after_s(30));
    return err < 0 ? err : closed;
}

static int come_and_go(void *arg)
{
    struct guest *who = arg;
    int err = 0;
    while (who->said < LINES && err != WEFT_ECHECK && err != -ECANCELED) {
        err = visit(who);
        if (err < 0)
            weft_sim_note("guest %d: %s", who->number, weft_error_name(err));
    }
    return err == WEFT_ECHECK ? err : 0;
}

/* --- The scene ----------------------------------------------------------------------------- */

static int at_each_step(struct weft_sim *sim, void *arg)
{
    (void)arg;
    for (int i = 0; i < GUESTS; i++)
        if (chat.seats[i] != NULL && weft_channel_count(chat.seats[i]) > BACKLOG)
            return weft_sim_fail(sim, "%zu lines wait for guest %d",
                                 weft_channel_count(chat.seats[i]), i);
    return 0;
}

static int at_the_end(struct weft_sim *sim)
{
    uint64_t lines = 0;
    for (int i = 0; i < GUESTS; i++) {
        lines += chat.guests[i].lines;
        if (chat.guests[i].said != LINES)
            return weft_sim_fail(sim, "guest %d said %d lines", i, chat.guests[i].said);
    }
    if (lines > chat.queued)
        return weft_sim_fail(sim, "%llu lines were heard, %llu queued", (unsigned long long)lines,
                             (unsigned long long)chat.queued);
    if (chat.quiet && lines + chat.dropped != (uint64_t)GUESTS * LINES * (GUESTS - 1))
        return weft_sim_fail(sim, "%llu lines were heard and %llu dropped",
                             (unsigned long long)lines, (unsigned long long)chat.dropped);
    return 0;
}

static void trouble(struct weft_sim *sim, void *arg)
{
    (void)arg;
    char name[24];
    snprintf(name, sizeof name, "guest-%d", (int)pick(sim, 0, GUESTS - 1));
    MUST(weft_sim_partition(sim, "server", name));
}

static void relief(struct weft_sim *sim, void *arg)
{
    (void)arg;
    MUST(weft_sim_heal(sim, "*", "*"));
}

int main(void)
{
    struct weft_sim *sim = scene();
    char name[24];
    chat.sim = sim;
    chat.quiet = one_in(sim, 2);
    service(sim, "server", server, NULL);
    for (int i = 0; i < GUESTS; i++) {
        chat.guests[i].number = i;
        chat.guests[i].slow = one_in(sim, 3);
        snprintf(name, sizeof name, "guest-%d", i);
        MUST(weft_sim_host(sim, name, come_and_go, &chat.guests[i]));
    }
    rough_links(sim);
    MUST(weft_sim_faults(sim, "*", &(struct weft_sim_faults){.short_io = 0.1, .again = 0.05}));
    if (!chat.quiet)
        for (int i = 0; i < 3; i++) {
            int64_t when = weft_ms(pick(sim, 500, 8000));
            MUST(weft_sim_at(sim, when, trouble, NULL));
            MUST(weft_sim_at(sim, when + weft_ms(pick(sim, 100, 3000)), relief, NULL));
        }
    MUST(weft_sim_check(sim, "backlog", at_each_step, NULL));
    return play(sim, weft_s(3600), at_the_end);
}
