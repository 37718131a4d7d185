/* SPDX-License-Identifier: MIT */
/*
 * Failures: the first one is kept, with what belongs to it, and told once, outside the hosts.
 *
 * Floor 4. Invariants: nothing is written while a task runs, whose stack is small; the first line
 * of a report has one form, which programs read.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/text.h"
#include "rt/printer.h"
#include "sim/sim.h"
#include "sys/sim/memory.h"

#define LEAKS_TOLD 20
#define NOTE_MAX 200
#define COMMAND_MAX 4096

/* --- What fails ------------------------------------------------------------------------------- */

/* `checking`: the sentence is that check's own word. */
static void failed(struct weft_sim *sim, int code, const struct weft__sim_checker *checking,
                   const char *fmt, va_list ap) __attribute__((format(printf, 4, 0)));
static void failed(struct weft_sim *sim, int code, const struct weft__sim_checker *checking,
                   const char *fmt, va_list ap)
{
    size_t cap = sizeof sim->sentence, at = 0;
    if (checking != NULL)
        at = (size_t)snprintf(sim->sentence, cap, "check '%.63s': ", checking->name);
    (void)vsnprintf(sim->sentence + at, cap - at, fmt, ap);
    weft__text_make_printable(sim->sentence);
    sim->code = code;
}

void weft__sim_failed(struct weft_sim *sim, int code, char *body, const char *fmt, ...)
{
    va_list ap;
    if (sim->code < 0) {
        free(body);
        return;
    }
    va_start(ap, fmt);
    failed(sim, code, NULL, fmt, ap);
    va_end(ap);
    sim->body = body;
}

int weft_sim_fail(struct weft_sim *sim, const char *fmt, ...)
{
    int err = weft__sim_of(&sim);
    if (err < 0)
        return err;
    if (sim->code < 0 || sim->closing || weft__sim_by_ghost())
        return WEFT_ECHECK;
    va_list ap;
    va_start(ap, fmt);
    failed(sim, WEFT_ECHECK, sim->checking, fmt, ap);
    va_end(ap);
    return WEFT_ECHECK;
}

void weft_sim_note(const char *fmt, ...)
{
    char text[NOTE_MAX];
    struct weft_sim *sim = weft__sim_running;
    const struct weft__proc *p = weft__sim_proc;
    if (sim == NULL || weft__sim_by_ghost())
        return;
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    weft__text_make_printable(text);
    weft__trace_note(sim->world, p != NULL ? p->host : NULL, text);
}

/* --- Trees and leaks -------------------------------------------------------------------------- */

static void to_file(void *arg, const char *text, size_t len)
{
    (void)fwrite(text, 1, len, arg);
}

void weft__sim_print_tree(struct weft__sim_host *h, FILE *to)
{
    struct weft__proc *before = weft__sim_proc;
    fprintf(to, "host %s, incarnation %" PRIu32 "%s:\n", h->host->name, h->proc->incarnation,
            h->host->paused ? ", paused" : "");
    weft__sim_proc = h->proc;
    struct weft__printer p = {
        .sink = to_file, .arg = to, .depth = 1, .now_ns = weft__proc_clock_ns(h->proc)};
    weft__print_loop(&p, h->loop);
    weft__sim_proc = before;
}

static void print_leak(const struct weft__desc *d, FILE *to)
{
    char text[200] = "";
    if (d->cls->describe != NULL)
        d->cls->describe(d, text, sizeof text);
    fprintf(to, "  %s, opened by %s at %" PRId64 ".%06" PRId64 " s\n",
            text[0] != '\0' ? text : d->cls->kind, d->opened_by != NULL ? d->opened_by : "?",
            d->opened_ns / 1000000000, d->opened_ns % 1000000000 / 1000);
}

size_t weft__sim_print_leaks(struct weft__sim_host *h, FILE *to)
{
    size_t n = 0;
    for (size_t i = 0; i < h->proc->n_fds; i++) {
        if (h->proc->fds[i] == NULL)
            continue;
        if (to != NULL && n < LEAKS_TOLD)
            print_leak(h->proc->fds[i], to);
        n++;
    }
    if (to != NULL && n > LEAKS_TOLD)
        fprintf(to, "  ... and %zu more\n", n - LEAKS_TOLD);
    if (h->pipe_ends > 0) {
        if (to != NULL)
            fprintf(to, "  %" PRId64 " ends of pipes in memory\n", h->pipe_ends);
        n += (size_t)h->pipe_ends;
    }
    return n;
}

/* --- Who opened it ---------------------------------------------------------------------------- */

static uint64_t text_hash(const char *text)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    for (; *text != '\0'; text++)
        h = (h ^ (uint8_t)*text) * UINT64_C(0x100000001b3);
    return h ^ (h >> 31);
}

/* Names of tasks may not outlive them, and what they open does: each text is kept once. */
const char *weft__sim_who(void)
{
    char text[128];
    struct weft_sim *sim = weft__sim_running;
    const struct weft__flow *f = weft__flow_current;
    if (sim == NULL || f == NULL)
        return NULL;
    (void)snprintf(text, sizeof text, f->site[0] != '\0' ? "%s (%s)" : "%s", f->name, f->site);
    for (size_t i = (size_t)text_hash(text);; i++) {
        char **place = &sim->places[i & (WEFT__SIM_PLACES - 1)];
        if (*place != NULL && strcmp(*place, text) == 0)
            return *place;
        if (*place != NULL)
            continue;
        if (sim->n_places == WEFT__SIM_PLACES_MAX)
            return NULL;
        *place = weft__strdup(text);
        sim->n_places += *place != NULL;
        return *place;
    }
}

/* --- The report ------------------------------------------------------------------------------- */

/* A word as a shell takes it. */
static void print_word(const char *word, FILE *to)
{
    static const char plain[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./=:,+@%";
    if (word[0] != '\0' && strspn(word, plain) == strlen(word)) {
        fputs(word, to);
        return;
    }
    fputc('\'', to);
    for (; *word != '\0'; word++) {
        if (*word == '\'')
            fputs("'\\''", to);
        else
            fputc(*word, to);
    }
    fputc('\'', to);
}

static void print_replay(const struct weft_sim *sim, FILE *to)
{
    char command[COMMAND_MAX + 1];
    int fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    ssize_t len = fd >= 0 ? read(fd, command, COMMAND_MAX) : 0;
    if (fd >= 0)
        close(fd);
    command[len > 0 ? len : 0] = '\0';
    fprintf(to, "replay: WEFT_SIM_SEED=%" PRIu64, sim->world->seed);
    for (const char *word = command; word < command + len; word += strlen(word) + 1) {
        fputc(' ', to);
        print_word(word, to);
    }
    if (sim->trace_file != NULL)
        fprintf(to, "\nall events: %s\n", getenv("WEFT_SIM_TRACE"));
    else
        fputs("\n(WEFT_SIM_TRACE=FILE writes all events to a file)\n", to);
}

void weft__sim_tell(struct weft_sim *sim)
{
    FILE *to = sim->report;
    int64_t now = sim->world->now_ns;
    if (sim->code == 0 || sim->told)
        return;
    sim->told = true;
    if (sim->world->trace != NULL)
        (void)fflush(sim->world->trace);
    if (sim->quiet)
        return;
    fprintf(to,
            "simulation failed: seed %" PRIu64 ", after %" PRId64 ".%06" PRId64 " s (%" PRIu64
            " steps): %s: %s\n",
            sim->world->seed, now / 1000000000, now % 1000000000 / 1000, sim->steps,
            weft_error_name(sim->code), sim->sentence);
    if (sim->body != NULL)
        fputs(sim->body, to);
    fprintf(to, "the last %" PRIu64 " events:\n",
            weft__min_u64(sim->world->last_n, sim->world->last_cap));
    weft__trace_print(sim->world, to);
    print_replay(sim, to);
    (void)fflush(to);
}
