/* SPDX-License-Identifier: MIT */
/*
 * Hosts of a simulation: how they start, end, crash, die and start again.
 *
 * Floor 4. A crashed host's process stays as a ghost until its tasks, cancelled, have run to their
 * end: at once, with a clock of its own for the timers that they still wait for, and seen by
 * nobody.
 *
 * Invariant: a host that is up has a process, a loop and, until its main has returned, a main task.
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "net/count.h"
#include "rt/handle.h"
#include "sim/sim.h"
#include "sys/call.h"
#include "sys/sim/driver.h"
#include "sys/sim/memory.h"

#define GHOST_TURNS_MAX 1000000
/* So many turns of a ghost in which nothing was ready and no timer set: it waits for nobody. */
#define GHOST_IDLE_MAX 1000

/* --- Making ----------------------------------------------------------------------------------- */

static int make_room(struct weft_sim *sim)
{
    if (sim->n_hosts < sim->ready_cap)
        return 0;
    size_t cap = weft__max_size(2 * sim->ready_cap, 16);
    struct weft__sim_host **ready =
        weft__realloc(sim->ready, cap * sizeof(struct weft__sim_host *));
    if (ready == NULL)
        return -ENOMEM;
    sim->ready = ready;
    sim->ready_cap = cap;
    return 0;
}

int weft_sim_host_with(struct weft_sim *sim, const char *name,
                       const struct weft_sim_host_options *o, weft_fn main, void *arg)
{
    int err = weft__sim_of(&sim);
    if (err == 0 && (name == NULL || o == NULL || main == NULL))
        err = weft__fail(-EINVAL, "a host without %s",
                         name == NULL ? "a name"
                         : o == NULL  ? "options"
                                      : "a function to run");
    if (err == 0 && weft__sim_by_ghost())
        err = -ECANCELED;
    if (err == 0)
        err = weft__sim_check_drift(o->drift_ppm);
    if (err == 0)
        err = weft__sim_check_jump(o->wall_offset_ns);
    if (err == 0)
        err = make_room(sim);
    if (err < 0)
        return err;
    struct weft__sim_host *h = weft__calloc(1, sizeof *h);
    if (h == NULL)
        return -ENOMEM;
    err = weft__host_open(&h->host, sim->world, name);
    if (err < 0) {
        weft__free(h);
        return err;
    }
    h->sim = sim;
    h->main = main;
    h->arg = arg;
    h->service = o->service;
    h->may_fail = o->may_fail;
    h->host->user = h;
    h->host->drift_ppm = o->drift_ppm;
    h->host->wall_ns += o->wall_offset_ns;
    if (o->max_fds > 0)
        h->host->max_fds = o->max_fds;
    weft__list_push_back(&sim->hosts, &h->link);
    weft__list_push_back(&sim->starting, &h->starting);
    sim->n_hosts++;
    if (!o->service) {
        sim->mains++;
        sim->needed++;
    }
    if (sim->started && !sim->in_turn)
        weft__sim_start_new(sim);
    return 0;
}

int weft_sim_host(struct weft_sim *sim, const char *name, weft_fn main, void *arg)
{
    return weft_sim_host_with(sim, name, &(struct weft_sim_host_options){0}, main, arg);
}

bool weft_sim_host_ended(struct weft_sim *sim, const char *name, int *result)
{
    if (weft__sim_of(&sim) < 0 || name == NULL)
        return false;
    struct weft__host *host = weft__host_by_name(sim->world, name, strlen(name));
    const struct weft__sim_host *h = host != NULL ? host->user : NULL;
    if (h == NULL || h->state != WEFT__HOST_ENDED)
        return false;
    if (result != NULL)
        *result = h->result;
    return true;
}

/* --- Starting --------------------------------------------------------------------------------- */

/* What the library has to say of a host's loop is told in the trace. */
static void log_line(void *arg, enum weft_log_level level, const char *text)
{
    const struct weft__sim_host *h = arg;
    if (level <= WEFT_LOG_WARNING && h->proc != NULL && !h->proc->ghost)
        weft__trace_note(h->sim->world, h->host, text);
}

/* Under the process; takes what was made so far back when it fails. */
static int open_loop(struct weft__sim_host *h)
{
    struct weft_options o = {
        .stack_size = h->sim->stack_size, .name = h->host->name, .log = log_line, .log_arg = h};
    struct weft__stack_pool *before = weft__stack_pool_share(h->sim->stacks);
    int err = weft__loop_open(&h->loop, &o);
    (void)weft__stack_pool_share(before);
    if (err < 0)
        return err;
    h->loop->shuffled = !h->sim->in_order;
    err = weft__task_spawn(&h->loop->root,
                           &(struct weft__spawn){.fn = h->main,
                                                 .arg = h->arg,
                                                 .name = "main",
                                                 .site = h->host->name,
                                                 .keep_errors = true},
                           &h->main_task);
    if (err < 0)
        weft_loop_close(&h->loop);
    else
        h->loop->main_task = h->main_task;
    return err;
}

int weft__sim_start(struct weft__sim_host *h)
{
    struct weft_sim *sim = h->sim;
    WEFT__ASSERT(!sim->in_turn && h->proc == NULL);
    weft__error_detail_clear();
    int err = weft__proc_open(&h->proc, h->host);
    if (err == 0) {
        h->proc->who = weft__sim_who;
        weft__sim_proc = h->proc;
        err = open_loop(h);
        weft__sim_proc = NULL;
        if (err < 0) {
            weft__proc_close(h->proc);
            h->proc = NULL;
        }
    }
    if (err < 0) {
        weft__sim_failed(sim, err, NULL, "host %s cannot start: %s", h->host->name,
                         weft_error_detail());
        return err;
    }
    weft__trace(sim->world, h->host, NULL, "starts, incarnation %" PRIi64, h->proc->incarnation, 0,
                0, 0);
    h->state = WEFT__HOST_UP;
    h->held = false;
    h->result = 0;
    h->pipe_ends = 0;
    weft__proc_ready(h->proc);
    return 0;
}

void weft__sim_start_new(struct weft_sim *sim)
{
    struct weft__node *n;
    while (sim->code == 0 && !sim->closing && (n = weft__list_pop_front(&sim->starting)) != NULL)
        (void)weft__sim_start(WEFT__CONTAINER_OF(n, struct weft__sim_host, starting));
}

void weft__sim_restart_host(struct weft__sim_host *h)
{
    if ((h->state != WEFT__HOST_ENDED && h->state != WEFT__HOST_DOWN) || h->sim->closing)
        return;
    h->host->paused = false;
    if (!h->service)
        h->sim->needed++;
    (void)weft__sim_start(h);
}

/* --- Ending by itself ------------------------------------------------------------------------- */

void weft__sim_untake(struct weft__sim_host *h)
{
    struct weft_sim *sim = h->sim;
    size_t i = h->place;
    if (i == 0)
        return;
    h->place = 0;
    struct weft__sim_host *last = sim->ready[--sim->n_ready];
    if (last != h) {
        sim->ready[i - 1] = last;
        last->place = i;
    }
    weft__list_remove(&h->proc->runnable);
}

void weft__sim_cancel(struct weft__sim_host *h)
{
    if (h->state != WEFT__HOST_UP)
        return;
    weft__sim_proc = h->proc;
    weft__loop_cancel(h->loop);
    weft__sim_proc = NULL;
    weft__proc_ready(h->proc);
}

static void gone(struct weft__sim_host *h, enum weft__sim_state state)
{
    h->state = (uint8_t)state;
    if (state != WEFT__HOST_STUCK) {
        h->proc = NULL;
        h->loop = NULL;
    }
    if (!h->service)
        h->sim->needed--;
}

static void main_has_returned(struct weft__sim_host *h)
{
    struct weft_sim *sim = h->sim;
    struct weft_task *t = h->main_task;
    h->result = t->result;
    h->main_task = NULL;
    h->loop->main_task = NULL;
    weft__trace(sim->world, h->host, NULL, "main returns %" PRIi64, h->result, 0, 0, 0);
    if (h->result < 0 && !h->may_fail && !sim->closing) {
        const char *detail = t->detail != NULL ? t->detail->text : "";
        weft__sim_failed(sim, h->result, NULL, "host %s (incarnation %u): main returned %s%s%s",
                         h->host->name, (unsigned)h->proc->incarnation, weft_error_name(h->result),
                         detail[0] != '\0' ? ": " : "", detail);
    }
    weft_task_release(&t);
    weft__sim_cancel(h);
}

static void look_for_leaks(struct weft__sim_host *h)
{
    char *text = NULL;
    size_t len = 0;
    size_t n = weft__sim_print_leaks(h, NULL);
    if (n == 0 || h->sim->code < 0)
        return;
    FILE *f = open_memstream(&text, &len);
    if (f != NULL) {
        (void)weft__sim_print_leaks(h, f);
        (void)fclose(f);
    }
    weft__sim_failed(h->sim, WEFT_ELEAK, text,
                     "host %s (incarnation %u) has ended and left %zu open", h->host->name,
                     (unsigned)h->proc->incarnation, n);
}

/* Its loop has nothing left. */
static void all_has_ended(struct weft__sim_host *h)
{
    int64_t pipes = weft__pipe_ends;
    weft__sim_untake(h);
    weft__sim_proc = h->proc;
    weft_loop_close(&h->loop);
    weft__sim_proc = NULL;
    h->pipe_ends += weft__pipe_ends - pipes;
    look_for_leaks(h);
    weft__proc_close(h->proc);
    gone(h, WEFT__HOST_ENDED);
}

void weft__sim_after_turn(struct weft__sim_host *h, bool live)
{
    if (h->main_task != NULL) {
        if (h->main_task->flow == NULL)
            main_has_returned(h);
    } else if (!live && h->loop->sys->in_flight == 0) {
        all_has_ended(h);
    }
}

/* --- Ending by force -------------------------------------------------------------------------- */

/* What the kernel does with a process that dies: its descriptors are closed, peers are told, files
 * keep what was written. */
static void kill_process(struct weft__proc *p, int signal)
{
    weft__trace(p->world, p->host, NULL, "dies of signal %" PRIi64, signal, 0, 0, 0);
    weft__sim_cancel_all(p);
    for (size_t i = 0; i < p->n_fds; i++)
        if (p->fds[i] != NULL)
            (void)weft__desc_close(p, WEFT__SIM_FD_FIRST + (int)i);
    p->ghost = true;
    p->host->proc = NULL;
}

/* A ghost whose tasks wait for a time only: its clock goes there. False: they wait for nothing. */
static bool warp(struct weft__sim_host *h)
{
    int64_t next = weft__wheel_next_ns(&h->loop->wheel);
    if (next == INT64_MAX)
        return false;
    int64_t ahead = next - weft__proc_clock_ns(h->proc);
    if (ahead > 0)
        h->proc->warp_ns += ahead;
    return true;
}

/* Under the ghost's process. False: its tasks would not end. */
static bool run_out(struct weft__sim_host *h)
{
    struct weft_loop *l = h->loop;
    int idle = 0;
    weft__loop_cancel(l);
    for (int turns = 0; turns < GHOST_TURNS_MAX && idle < GHOST_IDLE_MAX; turns++) {
        uint64_t ended = l->sys->completions;
        bool live = weft__loop_turn(l, INT64_MAX);
        if (!live && l->sys->in_flight == 0)
            return true;
        bool busy = ended != l->sys->completions || weft__loop_has_more(l);
        idle = busy || warp(h) ? 0 : idle + 1;
    }
    return false;
}

static void would_not_end(struct weft__sim_host *h)
{
    char *text = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);
    if (f != NULL) {
        weft__sim_print_tree(h, f);
        (void)fclose(f);
    }
    weft__sim_failed(h->sim, WEFT_ELIVELOCK, text,
                     "host %s is down, and its cancelled tasks do not end", h->host->name);
    h->sim->stuck = true;
}

void weft__sim_end(struct weft__sim_host *h, int signal)
{
    struct weft_sim *sim = h->sim;
    struct weft__proc *p = h->proc;
    if (h->state != WEFT__HOST_UP)
        return;
    WEFT__ASSERT(!sim->in_turn);
    struct weft_sim *running = weft__sim_running; /* NULL between two runs */
    weft__sim_running = sim;
    weft__sim_untake(h);
    weft__sim_proc = p;
    if (signal != 0)
        kill_process(p, signal);
    else
        weft__proc_crash(p);
    sim->in_turn = true;
    bool ended = run_out(h);
    sim->in_turn = false;
    if (ended) {
        h->loop->main_task = NULL;
        weft_task_release(&h->main_task);
        weft_loop_close(&h->loop);
    }
    weft__sim_proc = NULL;
    weft__event_del(sim->world, &p->wake);
    weft__list_remove(&p->runnable);
    if (ended)
        weft__proc_close(p);
    else
        would_not_end(h);
    gone(h, ended ? WEFT__HOST_DOWN : WEFT__HOST_STUCK);
    weft__sim_running = running;
}

/* --- Commands --------------------------------------------------------------------------------- */

struct command {
    struct weft__slink link;
    struct weft__sim_host *host;
    enum weft__sim_command_kind kind;
    int signal;
};

static void obey(struct weft__sim_host *h, enum weft__sim_command_kind kind, int signal)
{
    switch (kind) {
    case WEFT__SIM_CRASH:
        weft__sim_end(h, 0);
        break;
    case WEFT__SIM_KILL:
        weft__sim_end(h, signal);
        break;
    case WEFT__SIM_RESTART:
        weft__sim_restart_host(h);
        break;
    }
}

int weft__sim_command(struct weft__sim_host *h, enum weft__sim_command_kind kind, int signal)
{
    if (!h->sim->in_turn) {
        obey(h, kind, signal);
        return 0;
    }
    struct command *c = weft__alloc(sizeof *c);
    if (c == NULL)
        return -ENOMEM;
    *c = (struct command){.host = h, .kind = kind, .signal = signal};
    weft__queue_push_back(&h->sim->commands, &c->link);
    return 0;
}

void weft__sim_commands(struct weft_sim *sim)
{
    struct weft__slink *n;
    while ((n = weft__queue_pop_front(&sim->commands)) != NULL) {
        struct command *c = WEFT__CONTAINER_OF(n, struct command, link);
        obey(c->host, c->kind, c->signal);
        weft__free(c);
    }
    if (WEFT__UNLIKELY(!weft__list_empty(&sim->starting)))
        weft__sim_start_new(sim);
}

void weft__sim_commands_drop(struct weft_sim *sim)
{
    struct weft__slink *n;
    while ((n = weft__queue_pop_front(&sim->commands)) != NULL)
        weft__free(WEFT__CONTAINER_OF(n, struct command, link));
}
