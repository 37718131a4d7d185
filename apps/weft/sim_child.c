/* SPDX-License-Identifier: MIT */
/*
 * Shows: a child process with two captured outputs and a time limit, as three tasks that read like
 * plain calls. See sim.h.
 *
 * A child is `weft sim --in-own-group PROGRAM`, which becomes the program once it has a process
 * group of its own: so that a program that does not end goes with all it has started, and Ctrl-C
 * on the terminal reaches the search alone. It costs a second exec, a millisecond at most. The
 * children die with the search, however that ends; what they have started does not, if it was
 * killed.
 *
 * Floor 6.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <weft/group.h>
#include <weft/signal.h>

#include "sim.h"

/* How long the outputs of a child that has ended are read on. They end with it, unless something
 * that it started left its process group and holds them open. */
#define DRAIN_MS 1000

/* --- In the child -------------------------------------------------------------------------- */

int sim_become(char **argv)
{
    struct rlimit cores;
    (void)setpgid(0, 0);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    /* One seed is enough for a core: `weft sim --seed` leaves the limit alone. */
    if (getrlimit(RLIMIT_CORE, &cores) == 0) {
        cores.rlim_cur = 0;
        (void)setrlimit(RLIMIT_CORE, &cores);
    }
    execvp(argv[0], argv + 1);
    return -errno;
}

/* --- Capturing ----------------------------------------------------------------------------- */

static void line_ended(struct sim_capture *c)
{
    size_t len = strlen(SIM_FAILED);
    if (c->failure[0] == '\0' && c->line_len > len && memcmp(c->line, SIM_FAILED, len) == 0) {
        for (size_t i = 0; i < c->line_len; i++) /* it goes to terminals */
            c->failure[i] = (unsigned char)c->line[i] < ' ' ? '?' : c->line[i];
        c->failure[c->line_len] = '\0';
        c->failure_from = c->line_from;
    }
    c->line_len = 0;
}

static void capture_lines(struct sim_capture *c, const char *data, size_t len)
{
    uint64_t at = c->total;
    while (len > 0) {
        const char *end = memchr(data, '\n', len);
        size_t piece = end != NULL ? (size_t)(end - data) : len;
        size_t room = SIM_LINE - 1 - c->line_len;
        memcpy(c->line + c->line_len, data, piece < room ? piece : room);
        c->line_len += piece < room ? piece : room;
        if (end != NULL) {
            line_ended(c);
            piece++;
            c->line_from = at + piece;
        }
        data += piece;
        len -= piece;
        at += piece;
    }
}

static void capture(struct sim_capture *c, const char *data, size_t len)
{
    capture_lines(c, data, len);
    while (len > 0) {
        size_t at = c->total % SIM_CAPTURE;
        size_t piece = SIM_CAPTURE - at < len ? SIM_CAPTURE - at : len;
        memcpy(c->ring + at, data, piece);
        c->total += piece;
        data += piece;
        len -= piece;
    }
}

static void capture_clear(struct sim_capture *c)
{
    *c = (struct sim_capture){.ring = c->ring};
}

size_t sim_capture_copy(const struct sim_capture *c, uint64_t from, char *buf)
{
    uint64_t kept = c->total < SIM_CAPTURE ? 0 : c->total - SIM_CAPTURE;
    size_t len = 0;
    if (from < kept)
        from = kept;
    for (uint64_t i = from; i < c->total; i++)
        buf[len++] = c->ring[i % SIM_CAPTURE];
    return len;
}

struct reader {
    struct weft_stream *stream;
    struct sim_capture *capture;
};

static int read_all(void *arg)
{
    struct reader *r = arg;
    const void *data;
    ssize_t n;
    while ((n = weft_peek(r->stream, &data, WEFT_NEVER)) > 0) {
        capture(r->capture, data, (size_t)n);
        weft_consume(r->stream, (size_t)n);
    }
    return 0; /* of a pipe, an error is its end, too */
}

/* --- A run --------------------------------------------------------------------------------- */

static bool is_variable(const char *entry, const char *name)
{
    size_t len = strlen(name);
    return strncmp(entry, name, len) == 0 && entry[len] == '=';
}

/* The environment, without what this search sets: with a trace of the caller's, all children would
 * write one file. */
static const char **copy_env(void)
{
    size_t n = 0;
    while (environ[n] != NULL)
        n++;
    const char **env = calloc(n + 3, sizeof(*env));
    size_t kept = 0;
    for (size_t i = 0; i < n && env != NULL; i++)
        if (!is_variable(environ[i], "WEFT_SIM_SEED") && !is_variable(environ[i], "WEFT_SIM_TRACE"))
            env[kept++] = environ[i];
    return env;
}

static const char **child_argv(const struct sim_options *o)
{
    size_t n = 0;
    while (o->argv[n] != NULL)
        n++;
    const char **argv = calloc(n + 5, sizeof(*argv));
    if (argv == NULL)
        return NULL;
    argv[0] = "/proc/self/exe"; /* this program, also if its file was replaced meanwhile */
    argv[1] = "sim";
    argv[2] = SIM_IN_OWN_GROUP;
    argv[3] = o->path;
    for (size_t i = 0; i < n; i++)
        argv[4 + i] = o->argv[i];
    return argv;
}

struct sim_run *sim_run_open(const struct sim_options *o)
{
    struct sim_run *r = calloc(1, sizeof(*r));
    if (r == NULL)
        return NULL;
    r->o = o;
    r->out.ring = malloc(SIM_CAPTURE);
    r->err.ring = malloc(SIM_CAPTURE);
    r->env = copy_env();
    r->argv = child_argv(o);
    if (r->out.ring == NULL || r->err.ring == NULL || r->env == NULL || r->argv == NULL)
        sim_run_close(&r);
    return r;
}

void sim_run_close(struct sim_run **r)
{
    if (*r == NULL)
        return;
    free((*r)->out.ring);
    free((*r)->err.ring);
    free((*r)->env);
    free((*r)->argv);
    free((*r)->trace_env);
    free(*r);
    *r = NULL;
}

static int set_env(struct sim_run *r, uint64_t seed, const char *trace)
{
    size_t n = 0;
    while (r->env[n] != NULL && !is_variable(r->env[n], "WEFT_SIM_SEED"))
        n++;
    free(r->trace_env);
    r->trace_env = NULL;
    if (trace != NULL && asprintf(&r->trace_env, "WEFT_SIM_TRACE=%s", trace) < 0) {
        r->trace_env = NULL;
        return -ENOMEM;
    }
    snprintf(r->seed_env, sizeof(r->seed_env), "WEFT_SIM_SEED=%llu", (unsigned long long)seed);
    r->env[n] = r->seed_env;
    r->env[n + 1] = r->trace_env;
    return 0;
}

/* Reads both outputs while the process runs, and what is left in them when it has ended. */
static int attend(struct sim_run *r, struct weft_process *p)
{
    struct reader readers[] = {{weft_process_out(p), &r->out}, {weft_process_err(p), &r->err}};
    struct weft_group *g;
    int err = weft_group_open(&g);
    if (err < 0)
        return err;
    for (int i = 0; i < 2 && err == 0; i++)
        err = weft_group_go(g, "output", read_all, &readers[i]);
    if (err == 0)
        err = weft_process_wait(p, &r->status, weft_after_ns((int64_t)(r->o->timeout * 1e9)));
    if (err == -ETIMEDOUT) {
        r->timed_out = true;
        err = 0;
    }
    /* With whatever it has started. Its number may be free by now; the kernel goes round all of
     * them before it gives one out again. */
    (void)kill(-weft_process_id(p), SIGKILL);
    if (err == 0 && weft_group_wait(g, weft_after_ms(DRAIN_MS)) == -ECANCELED)
        err = -ECANCELED;
    weft_group_close(&g);
    line_ended(&r->out); /* a last line without its end */
    line_ended(&r->err);
    return err;
}

int sim_run_seed(struct sim_run *r, uint64_t seed, const char *trace)
{
    struct weft_process *p;
    struct weft_process_options o = {
        .argv = r->argv,
        .env = r->env,
        .in = WEFT_PIPE_NULL,
        .out = WEFT_PIPE_STREAM,
        .err = WEFT_PIPE_STREAM,
        .kill_signal = SIGKILL,
    };
    capture_clear(&r->out);
    capture_clear(&r->err);
    r->seed = seed;
    r->timed_out = false;
    r->status = 0;
    int err = set_env(r, seed, trace);
    if (err == 0)
        err = weft_process_open(&p, &o);
    if (err < 0)
        return err;
    err = attend(r, p);
    weft_process_close(&p);
    return err;
}

bool sim_run_failed(const struct sim_run *r)
{
    return r->timed_out || r->status != 0;
}

const char *sim_run_first_line(const struct sim_run *r, char *buf)
{
    const char *told = r->err.failure[0] != '\0' ? r->err.failure : r->out.failure;
    if (r->timed_out)
        snprintf(buf, SIM_LINE, "no end within %g s", r->o->timeout);
    else if (r->status == 0)
        snprintf(buf, SIM_LINE, "it passed");
    else if (told[0] != '\0')
        snprintf(buf, SIM_LINE, "%s", told);
    else if (WIFSIGNALED(r->status) && sigabbrev_np(WTERMSIG(r->status)) != NULL)
        snprintf(buf, SIM_LINE, "killed by SIG%s", sigabbrev_np(WTERMSIG(r->status)));
    else if (WIFSIGNALED(r->status))
        snprintf(buf, SIM_LINE, "killed by signal %d", WTERMSIG(r->status));
    else
        snprintf(buf, SIM_LINE, "exit status %d", WEXITSTATUS(r->status));
    return buf;
}
