/* SPDX-License-Identifier: MIT */
/*
 * What `weft sim` prints in the end, for people and as JSON. See sim.h.
 *
 * Floor 6. Invariants: with --json standard output is one JSON object and all else goes to standard
 * error; the last line for people is the count.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli.h"
#include "sim.h"

#define TRACE_LINES 60      /* of a trace */
#define EVENTS " events:\n" /* the end of the line before the last events in a report */
#define CRASH_LINES 100     /* of what a program printed that told no failure */
#define SAFE_CHARACTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./:=@%+,-"

/* --- Pieces -------------------------------------------------------------------------------- */

/* Where the last `lines` lines begin. */
static size_t tail_from(const char *text, size_t len, int lines)
{
    size_t from = len;
    while (from > 0) {
        const char *end = from > 1 ? memrchr(text, '\n', from - 1) : NULL;
        size_t start = end != NULL ? (size_t)(end - text) + 1 : 0;
        if (lines-- == 0)
            break;
        from = start;
    }
    return from;
}

static void print_text(FILE *f, const char *text, size_t len)
{
    fwrite(text, 1, len, f);
    if (len > 0 && text[len - 1] != '\n')
        fputc('\n', f);
}

/* For a shell: quoted where it must be. */
static void print_word(FILE *f, const char *word)
{
    if (word[0] != '\0' && word[strspn(word, SAFE_CHARACTERS)] == '\0') {
        fprintf(f, " %s", word);
        return;
    }
    fputs(" '", f);
    for (; *word != '\0'; word++)
        fputs(*word == '\'' ? "'\\''" : (char[]){*word, '\0'}, f);
    fputc('\'', f);
}

static void print_commands(FILE *f, const struct sim_search *s, uint64_t seed)
{
    fprintf(f, "\nto see it again:\n  WEFT_SIM_SEED=%llu", (unsigned long long)seed);
    for (char **a = s->o->argv; *a != NULL; a++)
        print_word(f, *a);
    fprintf(f, "\n  weft sim --seed %llu", (unsigned long long)seed);
    for (char **a = s->o->argv; *a != NULL; a++)
        print_word(f, *a);
    fputc('\n', f);
}

static void print_group(FILE *f, const struct sim_group *g)
{
    fprintf(f, "  %llu x %s\n      seed%s", (unsigned long long)g->count,
            strcmp(g->key, "and others") == 0 ? g->key : g->shortest.what, g->count > 1 ? "s" : "");
    for (int i = 0; i < g->seeds_known; i++)
        fprintf(f, "%s %llu", i > 0 ? "," : "", (unsigned long long)g->seeds[i]);
    if (g->count > (uint64_t)g->seeds_known)
        fputs(" ...", f);
    if (g->shortest.told)
        fprintf(f, "; the shortest is %llu (%llu steps, %g s)",
                (unsigned long long)g->shortest.seed, (unsigned long long)g->shortest.steps,
                g->shortest.seconds);
    fputc('\n', f);
}

/* --- The replay ---------------------------------------------------------------------------- */

/* True when the last events were among it. */
static bool print_output(FILE *f, const struct sim_run *run)
{
    char *buf = malloc(SIM_CAPTURE);
    if (buf == NULL)
        return false;
    const struct sim_capture *c =
        run->err.failure[0] == '\0' && (run->out.failure[0] != '\0' || run->err.total == 0)
            ? &run->out
            : &run->err;
    bool told = c->failure[0] != '\0';
    size_t len = sim_capture_copy(c, told ? c->failure_from : 0, buf);
    size_t from = told ? 0 : tail_from(buf, len, CRASH_LINES);
    if (told && c->total - c->failure_from > SIM_CAPTURE)
        fprintf(f, "%s\n[...]\n", c->failure);
    print_text(f, buf + from, len - from);
    bool events = memmem(buf, len, EVENTS, strlen(EVENTS)) != NULL;
    free(buf);
    return events;
}

/* told: the program's own report has the last events. */
static void print_trace(FILE *f, const struct sim_search *s, bool told)
{
    struct stat st;
    int fd = open(s->trace, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    char *text = MAP_FAILED;
    if (fstat(fd, &st) == 0 && st.st_size > 0)
        text = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    close(fd);
    if (text == MAP_FAILED) {
        fputs("\nit wrote no trace\n", f);
        return;
    }
    size_t len = (size_t)st.st_size;
    if (!told) {
        size_t from = tail_from(text, len, TRACE_LINES);
        fprintf(f, "\nthe end of its trace%s%s:\n", s->o->trace != NULL ? ", which is in " : "",
                s->o->trace != NULL ? s->o->trace : "");
        print_text(f, text + from, len - from);
    } else if (s->o->trace != NULL) {
        fprintf(f, "\nthe whole trace is in %s\n", s->o->trace);
    }
    munmap(text, len);
}

static bool reproduced(const struct sim_search *s)
{
    char line[SIM_LINE];
    return strcmp(sim_run_first_line(s->replay, line), sim_failures_shortest(&s->failures)->line) ==
           0;
}

static void print_replay(FILE *f, const struct sim_search *s, const struct sim_failure *shortest)
{
    char line[SIM_LINE];
    if (!reproduced(s)) {
        fprintf(f,
                "\nNOT DETERMINISTIC: seed %llu did not fail in the same way again.\n"
                "  first: %s\n  again: %s\n"
                "The run depends on something but its seed: real time, addresses, uninitialised\n"
                "memory, files, other programs ...\n",
                (unsigned long long)shortest->seed, shortest->line,
                sim_run_first_line(s->replay, line));
        if (!sim_run_failed(s->replay))
            return;
    }
    fprintf(f, "\nseed %llu again, with a trace:\n", (unsigned long long)shortest->seed);
    if (strncmp(shortest->line, SIM_FAILED, strlen(SIM_FAILED)) != 0)
        fprintf(f, "%s; what it printed:\n", shortest->line);
    print_trace(f, s, print_output(f, s->replay));
}

/* --- The whole ----------------------------------------------------------------------------- */

static void print_people(FILE *f, const struct sim_search *s, const struct sim_failure *shortest)
{
    if (shortest != NULL) {
        fprintf(f, "what failed:\n");
        for (int i = 0; i < s->failures.count; i++)
            print_group(f, &s->failures.groups[i]);
        if (s->replay != NULL)
            print_replay(f, s, shortest);
        if (shortest->told && shortest->told_seed != shortest->seed)
            fprintf(f,
                    "\nthe program was given seed %llu and tells of seed %llu: it must leave\n"
                    "weft_sim_options.seed at 0 to be run with others\n",
                    (unsigned long long)shortest->seed, (unsigned long long)shortest->told_seed);
        print_commands(f, s, shortest->seed);
        fputc('\n', f);
    }
    if (s->signal != 0)
        fprintf(f, "stopped by SIG%s, of %lld seeds\n", sigabbrev_np(s->signal),
                (long long)s->o->seeds);
    else if (s->done < (uint64_t)s->o->seeds)
        fprintf(f, "stopped %s, of %lld seeds\n",
                s->o->stop_on_first && shortest != NULL ? "at the first failure" : "by an error",
                (long long)s->o->seeds);
    fprintf(f, "%llu seeds, %llu failed\n", (unsigned long long)s->done,
            (unsigned long long)s->failures.total);
}

/* A program may print what is no text; what is not ASCII becomes a question mark. */
static void print_string(const char *key, const char *text)
{
    printf("\"%s\": \"", key);
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\')
            printf("\\%c", *text);
        else
            putchar(*text < ' ' || *text > '~' ? '?' : *text);
    }
    putchar('"');
}

static void print_json(const struct sim_search *s, const struct sim_failure *shortest)
{
    char line[SIM_LINE];
    printf("{\"seeds\": %llu, \"failed\": %llu, \"groups\": [", (unsigned long long)s->done,
           (unsigned long long)s->failures.total);
    for (int i = 0; i < s->failures.count; i++) {
        const struct sim_group *g = &s->failures.groups[i];
        printf("%s{\"count\": %llu, ", i > 0 ? ", " : "", (unsigned long long)g->count);
        print_string("what", g->shortest.what);
        printf(", ");
        print_string("key", g->key);
        printf(", \"shortest_seed\": %llu, \"seeds\": [", (unsigned long long)g->shortest.seed);
        for (int j = 0; j < g->seeds_known; j++)
            printf("%s%llu", j > 0 ? ", " : "", (unsigned long long)g->seeds[j]);
        printf("]}");
    }
    printf("], ");
    if (shortest != NULL) {
        printf("\"shortest_seed\": %llu, ", (unsigned long long)shortest->seed);
        print_string("first_line", shortest->line);
        printf(", ");
    } else {
        printf("\"shortest_seed\": null, \"first_line\": null, ");
    }
    if (s->replay != NULL) {
        printf("\"reproduced\": %s, ", reproduced(s) ? "true" : "false");
        print_string("replay_line", sim_run_first_line(s->replay, line));
        printf(", ");
    } else {
        printf("\"reproduced\": null, \"replay_line\": null, ");
    }
    printf("\"stopped\": %s, \"seconds\": %.3f}\n",
           s->done < (uint64_t)s->o->seeds ? "true" : "false", (double)s->took_ns / 1e9);
}

void sim_report(const struct sim_search *s)
{
    const struct sim_failure *shortest = sim_failures_shortest(&s->failures);
    print_people(s->o->json ? stderr : stdout, s, shortest);
    if (s->o->json)
        print_json(s, shortest);
}
