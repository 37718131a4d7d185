/* SPDX-License-Identifier: MIT */
#ifndef WEFT_APP_SIM_H
#define WEFT_APP_SIM_H
/*
 * What the parts of `weft sim` share: a run of the program, its failures in groups, the search.
 *
 * Floor 6. Invariants: everything that grows with the number of seeds or with what a program prints
 * is bounded; no child outlives the search, nor, unless the search is killed, its process group;
 * what is reported does not depend on the order in which the seeds ended.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sim_options {
    int64_t seed;  /* 0: a search */
    int64_t seeds; /* how many */
    int64_t first;
    int64_t jobs;
    double timeout;
    bool keep_going, stop_on_first, json;
    const char *trace;
    char **argv;      /* the program as it was given, and its arguments */
    const char *path; /* where the program is; with a slash */
};

/* The first argument of `weft sim` when it is about to become a child of itself; see sim_child.c.
 */
#define SIM_IN_OWN_GROUP "--in-own-group"

/* --- One run (sim_child.c) ----------------------------------------------------------------- */

#define SIM_CAPTURE (64u << 10) /* kept of each of standard output and error: the end */
#define SIM_LINE 1024           /* kept of a line */

/* What begins the line that tells a failure. */
#define SIM_FAILED "simulation failed: "

struct sim_capture {
    char *ring;         /* SIM_CAPTURE bytes; byte i of the output is at i modulo that */
    uint64_t total;     /* bytes that came */
    uint64_t line_from; /* where the line that is coming in began */
    char line[SIM_LINE];
    size_t line_len;
    char failure[SIM_LINE]; /* the first line that begins with SIM_FAILED, or "" */
    uint64_t failure_from;  /* where it began */
};

struct sim_run {
    const struct sim_options *o;
    uint64_t seed;
    int status;     /* as of waitpid */
    bool timed_out; /* and was killed */
    struct sim_capture out, err;
    const char **env;
    const char **argv;
    char seed_env[48];
    char *trace_env;
};

/* NULL: no memory. */
struct sim_run *sim_run_open(const struct sim_options *o);
void sim_run_close(struct sim_run **r);

/*
 * Runs the program with a seed, with its trace written to a file unless that is NULL. Waits.
 * Returns 0 when there is a verdict, -ECANCELED, or why the program could not be started.
 */
int sim_run_seed(struct sim_run *r, uint64_t seed, const char *trace);

bool sim_run_failed(const struct sim_run *r);

/* The line that tells the failure, or how else the program ended; buf holds SIM_LINE bytes. */
const char *sim_run_first_line(const struct sim_run *r, char *buf);

/* Copies what was kept of an output from byte `from` of it on; returns the length. */
size_t sim_capture_copy(const struct sim_capture *c, uint64_t from, char *buf);

/* What the child does first. Returns only if that did not work. */
int sim_become(char **argv);

/* --- Failures (sim_failures.c) ------------------------------------------------------------- */

struct sim_failure {
    uint64_t seed;
    char line[SIM_LINE]; /* the first line */
    bool told;           /* it is a simulation's; the next three are from it */
    uint64_t told_seed;
    uint64_t steps;
    double seconds;
    const char *what; /* within line: the code and the sentence */
};

#define SIM_GROUPS 32 /* the last one takes what has no other place */
#define SIM_SEEDS 8   /* seeds told of each group: the lowest */

struct sim_group {
    char key[SIM_LINE]; /* code and sentence with N for each number */
    uint64_t count;
    uint64_t seeds[SIM_SEEDS];
    int seeds_known;
    struct sim_failure shortest;
};

struct sim_failures {
    struct sim_group groups[SIM_GROUPS];
    int count;
    uint64_t total;
};

/* line holds SIM_LINE bytes. */
void sim_failure_parse(struct sim_failure *ret, uint64_t seed, const char *line);
void sim_failures_add(struct sim_failures *all, const struct sim_failure *f);

/* The largest groups first. */
void sim_failures_sort(struct sim_failures *all);

/* The one to look at: fewest steps, least time, lowest seed. NULL: there is none. */
const struct sim_failure *sim_failures_shortest(const struct sim_failures *all);

/* --- The search (sim_search.c) ------------------------------------------------------------- */

struct sim_search {
    const struct sim_options *o;
    uint64_t taken; /* seeds that were given out */
    uint64_t done;
    struct sim_failures failures;
    const char *trace;      /* file for the replay's trace */
    struct sim_run *replay; /* of the shortest failure; NULL: none was made */
    int signal;             /* that stopped it; 0: none */
    bool told;              /* why a child could not be started, by the first of the workers */
    int64_t started_ns;
    int64_t took_ns;          /* of the search alone */
    struct weft_group *work;  /* what a signal cancels */
    struct weft_group *watch; /* progress, and what waits for the signal */
};

/* weft_run's function; arg: a struct sim_search. Returns 0 or a code, which it has told. */
int sim_search(void *arg);

/* Prints the outcome; sim_report.c. */
void sim_report(const struct sim_search *s);

#endif
