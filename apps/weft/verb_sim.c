/* SPDX-License-Identifier: MIT */
/*
 * `weft sim`: the options, what is checked before, and the exit status. See sim.h.
 *
 * With --seed it becomes the program itself, so that a debugger, a terminal and the exit status are
 * the program's alone.
 *
 * Floor 6. Invariant: the exit status is 0 only if every seed was run and passed.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include <weft/run.h>

#include "cli.h"
#include "sim.h"

#define MAX_JOBS 256 /* four descriptors each, below the usual limit of 1,024 */

/* 0 and below: not given. */
static struct sim_options config = {.timeout = -1};

static const struct cli_option options[] = {
    {"seeds", "N", "how many seeds to run (100)", CLI_NUMBER, &config.seeds, 1, 1000000000, NULL},
    {"first", "F", "the first of them (1)", CLI_NUMBER, &config.first, 1, INT64_MAX, NULL},
    {"jobs", "J", "how many side by side (the processors that are online)", CLI_NUMBER,
     &config.jobs, 1, MAX_JOBS, NULL},
    {"seed", "S",
     "run this one seed, in place of this program: output and exit\n"
     "status are PROGRAM's",
     CLI_NUMBER, &config.seed, 1, INT64_MAX, NULL},
    {"timeout", "SECONDS",
     "real time that a seed may take (60), then it is killed and has\n"
     "failed; with --seed only if given, and then by SIGALRM",
     CLI_SECONDS, &config.timeout, 0, 86400, NULL},
    {"keep-going", NULL, "run all seeds, also after a failure (the default)", CLI_FLAG,
     &config.keep_going, 0, 0, NULL},
    {"stop-on-first", NULL, "stop at the first failure", CLI_FLAG, &config.stop_on_first, 0, 0,
     NULL},
    {"trace", "FILE", "keep the trace of the replay there, or of the one seed", CLI_TEXT,
     &config.trace, 0, 0, NULL},
    {"json", NULL, "one JSON object on standard output, the rest on standard error", CLI_FLAG,
     &config.json, 0, 0, NULL},
    {NULL, NULL, NULL, CLI_FLAG, NULL, 0, 0, NULL},
};

static const struct cli_verb verb = {
    .name = "sim",
    .synopsis = "[OPTION...] PROGRAM [ARG...]",
    .about =
        "Runs PROGRAM, a simulation (see weft/sim.h), once for each seed, with the seed in\n"
        "WEFT_SIM_SEED; gathers what fails, and runs the shortest failure again, with a trace.\n"
        "The exit status is 0 if all seeds passed, 1 if not, 130 after Ctrl-C.",
    .operand = "PROGRAM",
    .program = true,
    .options = options,
};

/* --- Finding the program ------------------------------------------------------------------- */

/* Returns 0 or why this is no program. */
static int check_program(const char *path)
{
    struct stat st;
    if (stat(path, &st) < 0)
        return -errno;
    if (S_ISDIR(st.st_mode))
        return -EISDIR;
    return access(path, X_OK) < 0 ? -errno : 0;
}

/* As execvp(3) would, but before the first child. buf holds PATH_MAX bytes. */
static int find_program(const char *name, char *buf)
{
    int err = -ENOENT;
    const char *path = getenv("PATH");
    if (strchr(name, '/') != NULL) {
        if (snprintf(buf, PATH_MAX, "%s", name) >= PATH_MAX)
            return -ENAMETOOLONG;
        return check_program(buf);
    }
    while (path != NULL && name[0] != '\0') {
        int len = (int)strcspn(path, ":");
        if (snprintf(buf, PATH_MAX, "%.*s/%s", len > 0 ? len : 1, len > 0 ? path : ".", name) <
            PATH_MAX) {
            int r = check_program(buf);
            if (r == 0)
                return 0;
            if (r == -EACCES)
                err = r;
        }
        path = path[len] == ':' ? path + len + 1 : NULL;
    }
    return err;
}

/* --- Checks -------------------------------------------------------------------------------- */

static int check_one_seed(void)
{
    if (config.seeds > 0 || config.first > 0 || config.jobs > 0)
        return cli_usage_error(verb.name, "--seed is one seed, so --seeds, --first and --jobs make "
                                          "no sense");
    if (config.keep_going || config.stop_on_first || config.json)
        return cli_usage_error(verb.name, "--seed runs the program alone, so --keep-going, "
                                          "--stop-on-first and --json make no sense");
    return CLI_GO_ON;
}

static void set_defaults(void)
{
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    if (config.seeds == 0)
        config.seeds = 100;
    if (config.first == 0)
        config.first = 1;
    if (config.jobs == 0)
        config.jobs = processors < 1 ? 1 : processors > MAX_JOBS ? MAX_JOBS : processors;
    if (config.timeout < 0)
        config.timeout = 60;
}

static int check(char *path)
{
    if (config.seed > 0) {
        int r = check_one_seed();
        if (r != CLI_GO_ON)
            return r;
    }
    if (config.keep_going && config.stop_on_first)
        return cli_usage_error(verb.name, "--keep-going and --stop-on-first exclude each other");
    if (config.timeout >= 0 && config.timeout < 0.001)
        return cli_usage_error(verb.name, "--timeout must be at least 0.001");
    int err = find_program(config.argv[0], path);
    if (err < 0)
        return cli_usage_error(verb.name, "cannot run '%s': %s", config.argv[0], strerror(-err));
    config.path = path;
    if (config.seed == 0)
        set_defaults();
    if (config.seed == 0 && config.first > INT64_MAX - config.seeds)
        return cli_usage_error(verb.name, "--first and --seeds go beyond the last seed");
    return CLI_GO_ON;
}

/* --- One seed ------------------------------------------------------------------------------ */

static int become_program(void)
{
    char seed[32];
    snprintf(seed, sizeof(seed), "%lld", (long long)config.seed);
    if (setenv("WEFT_SIM_SEED", seed, 1) < 0 ||
        (config.trace != NULL && setenv("WEFT_SIM_TRACE", config.trace, 1) < 0))
        return cli_failed(verb.name, "cannot set the environment: %s", strerror(errno));
    if (config.timeout > 0) { /* a timer outlives exec */
        struct itimerval t = {.it_value.tv_sec = (time_t)config.timeout};
        t.it_value.tv_usec = (suseconds_t)((config.timeout - (double)t.it_value.tv_sec) * 1e6);
        setitimer(ITIMER_REAL, &t, NULL);
    }
    execvp(config.path, config.argv);
    (void)cli_failed(verb.name, "cannot run '%s': %s", config.path, strerror(errno));
    return CLI_USAGE;
}

/* --- Many ---------------------------------------------------------------------------------- */

/* The file for the trace, made anew: what is in it in the end is of this search. */
static int open_trace(char *temporary, size_t cap)
{
    const char *folder = getenv("TMPDIR");
    int fd;
    if (config.trace != NULL) {
        fd = open(config.trace, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    } else {
        snprintf(temporary, cap, "%s/weft-sim-XXXXXX",
                 folder != NULL && folder[0] != '\0' ? folder : "/tmp");
        fd = mkostemp(temporary, O_CLOEXEC);
    }
    if (fd < 0)
        return cli_failed(verb.name, "cannot write %s: %s",
                          config.trace != NULL ? config.trace : temporary, strerror(errno));
    close(fd);
    return CLI_GO_ON;
}

static int search(void)
{
    char temporary[PATH_MAX] = "";
    struct sim_search *s = calloc(1, sizeof(*s));
    if (s == NULL)
        return cli_failed_code(verb.name, -ENOMEM, "cannot start");
    int r = open_trace(temporary, sizeof(temporary));
    if (r == CLI_GO_ON) {
        struct weft_options loop = {.log = cli_log, .name = "sim"};
        s->o = &config;
        s->trace = config.trace != NULL ? config.trace : temporary;
        int err = weft_run(&loop, sim_search, s);
        if (err < 0 && !s->told)
            (void)cli_failed_code(verb.name, err, "cannot run a loop");
        if (err == 0 || s->done > 0)
            sim_report(s);
        r = err < 0 || s->failures.total > 0 ? CLI_FAILED : CLI_OK;
        if (s->signal != 0)
            r = 128 + s->signal;
    }
    if (temporary[0] != '\0')
        unlink(temporary);
    if (s->replay != NULL)
        sim_run_close(&s->replay);
    free(s);
    return r;
}

int sim_main(int argc, char **argv)
{
    const char *program;
    char path[PATH_MAX];
    if (argc > 3 && strcmp(argv[1], SIM_IN_OWN_GROUP) == 0) {
        int err = sim_become(argv + 2);
        (void)cli_failed(verb.name, "cannot run '%s': %s", argv[2], strerror(-err));
        return 127;
    }
    int r = cli_parse(&verb, argc, argv, &program);
    if (r != CLI_GO_ON)
        return r;
    config.argv = argv;
    while (*config.argv != program)
        config.argv++;
    r = check(path);
    if (r != CLI_GO_ON)
        return r;
    return config.seed > 0 ? become_program() : search();
}
