/* SPDX-License-Identifier: MIT */
#ifndef WEFT__SIM_SIM_H
#define WEFT__SIM_SIM_H
/*
 * The simulation (floor 4): programs as hosts of a simulated world (sys/sim/world.h), run step by
 * step in one thread. A step is one turn of one host's loop.
 *
 * Invariants:
 *  - weft__sim_proc is set exactly while a host's loop turns or is opened, closed, cancelled or
 *    printed; actions, checks and everything else of the user's runs without it;
 *  - a host never turns within another's turn: what a task asks for that would need it (crash,
 *    restart, start, death by a signal) is queued and done after the turn;
 *  - a step allocates nothing, formats nothing and walks no list but that of the checks;
 *  - every choice here comes from the world's chance, in an order that the seed decides;
 *  - the first failure counts, and ends the run; what follows from it is not looked at.
 */
#include <pthread.h>
#include <stdarg.h>

#include <weft/sim.h>

#include "base/list.h"
#include "rt/rt.h"
#include "sys/sim/world.h"

#define WEFT__SIM_SENTENCE_MAX 400

enum weft__sim_state {
    WEFT__HOST_NEW,   /* not started yet */
    WEFT__HOST_UP,    /* its main runs, or what main left is being ended */
    WEFT__HOST_ENDED, /* main has returned, and the loop is gone */
    WEFT__HOST_DOWN,  /* crashed, or killed */
    WEFT__HOST_STUCK, /* crashed, and its tasks would not end: never looked at again */
};

struct weft__sim_host {
    struct weft_sim *sim;
    struct weft__host *host;
    struct weft__proc *proc; /* these three: while it is up */
    struct weft_loop *loop;
    struct weft_task *main_task; /* NULL once main has returned */
    weft_fn main;
    void *arg;
    struct weft__node link;     /* in sim->hosts */
    struct weft__node starting; /* in sim->starting */
    size_t place;               /* in sim->ready, from 1; 0: it is not there */
    uint64_t instant;           /* the last one in which it ran */
    int64_t pipe_ends;          /* of pipes in memory, that live */
    int result;                 /* main's */
    uint8_t state;              /* enum weft__sim_state */
    bool service;
    bool may_fail;
    bool held; /* paused with something to do */
};

struct weft__sim_checker {
    struct weft__node link;
    weft_sim_checker fn;
    void *arg;
    char name[];
};

struct weft__sim_action {
    struct weft__event event;
    struct weft__node link;
    struct weft_sim *sim;
    weft_sim_action fn;
    void *arg;
};

/* Where descriptors were opened, each text once. */
#define WEFT__SIM_PLACES 4096 /* a power of two */
#define WEFT__SIM_PLACES_MAX 2048

struct weft_sim {
    struct weft__world *world;
    pthread_t thread;
    struct weft__stack_pool *stacks; /* of all its loops */
    struct weft__list hosts;
    size_t n_hosts;
    struct weft__list starting;    /* new ones */
    struct weft__sim_host **ready; /* with something to do, and taken off the world's list ... */
    size_t n_ready, ready_cap;
    struct weft__list taken; /* ... on to this one */
    size_t mains;            /* hosts that are no services */
    size_t needed;           /* those of them that have not ended */
    struct weft__list checks;
    struct weft__list actions;
    struct weft__queue commands;
    uint64_t random[4];
    uint64_t steps;
    uint64_t turn_hash;     /* of who turned in which order */
    uint64_t steps_at_once; /* since time last moved */
    uint64_t max_at_once;   /* 0: by the number of hosts */
    uint64_t instant;       /* how often time has moved, and one */
    int64_t stirred_ns;     /* when last something happened but timers of services */
    uint64_t traffic;       /* by the world's count, then */
    size_t stack_size;
    const struct weft__sim_checker *checking;
    FILE *report;
    FILE *trace_file; /* ours to close */
    char *body;       /* lists that belong to the failure; malloc's */
    char *places[WEFT__SIM_PLACES];
    size_t n_places;
    char sentence[WEFT__SIM_SENTENCE_MAX];
    int code; /* of the failure; 0: none */
    bool told;
    bool quiet;
    bool in_order;
    bool running;  /* within weft_sim_run or weft_sim_close */
    bool started;  /* hosts have been started */
    bool in_turn;  /* a host's loop turns */
    bool closing;  /* what hosts return is of no interest any more */
    bool refusing; /* allocations are made to fail: weft__alloc_refuse_by */
    bool stuck;    /* a host could not be ended: the world is not freed */
    struct weft_sim *next_lost;
};

/* The simulation that runs on this thread; NULL: none. */
extern _Thread_local struct weft_sim *weft__sim_running
    __attribute__((tls_model("initial-exec"), visibility("hidden")));

/* sim, or with NULL the running one. 0, -EINVAL, WEFT_ETHREAD. */
int weft__sim_of(struct weft_sim **sim);

/* Whether a task of a host that is down asks: what it does is of no effect. */
static inline bool weft__sim_by_ghost(void)
{
    return weft__sim_proc != NULL && weft__sim_proc->ghost;
}

/* How far a wall clock may be set off: 20 years. */
#define WEFT__SIM_WALL_MAX_NS INT64_C(630720000000000000)
/* 0 or -EINVAL (control.c). */
int weft__sim_check_drift(int64_t drift_ppm);
int weft__sim_check_jump(int64_t jump_ns);

/* --- Hosts (host.c) -------------------------------------------------------------------------- */

/* Starts it, on the thread's own stack. 0, or a failure of the simulation. */
int weft__sim_start(struct weft__sim_host *h);
/* Starts those that wait for it. */
void weft__sim_start_new(struct weft_sim *sim);
/* After a turn: has main returned, has all of it ended? */
void weft__sim_after_turn(struct weft__sim_host *h, bool live);
/* Cancels all that runs there. */
void weft__sim_cancel(struct weft__sim_host *h);
/* Ends it as a crash does; with a signal, as a process that dies of it. Nothing, when it is not up.
 */
void weft__sim_end(struct weft__sim_host *h, int signal);
void weft__sim_restart_host(struct weft__sim_host *h);
/* Out of sim->ready. */
void weft__sim_untake(struct weft__sim_host *h);
static inline struct weft__sim_host *weft__sim_host_of(const struct weft__proc *p)
{
    return p->host->user;
}

/* Something that a task asked for and that is done after its turn. */
enum weft__sim_command_kind { WEFT__SIM_CRASH, WEFT__SIM_RESTART, WEFT__SIM_KILL };
/* Now, or after the turn. 0 or -ENOMEM. */
int weft__sim_command(struct weft__sim_host *h, enum weft__sim_command_kind kind, int signal);
/* Does what is queued. */
void weft__sim_commands(struct weft_sim *sim);
void weft__sim_commands_drop(struct weft_sim *sim);

/* --- Running (run.c) ------------------------------------------------------------------------- */

/* Lets hosts and world go on until then, or until it is enough. */
void weft__sim_go(struct weft_sim *sim, int64_t end_ns, uint64_t max_steps);
void weft__sim_actions_drop(struct weft_sim *sim);

/* --- Failures (report.c) --------------------------------------------------------------------- */

/* The first one is kept, with body (malloc's, taken over; may be NULL). */
void weft__sim_failed(struct weft_sim *sim, int code, char *body, const char *fmt, ...)
    WEFT_PRINTF(4, 5);
/* Writes it to the report, once. */
void weft__sim_tell(struct weft_sim *sim);
/* The tree of a host. */
void weft__sim_print_tree(struct weft__sim_host *h, FILE *to);
/* What is open there: the number of descriptors and pipe ends; `to` gets a list. */
size_t weft__sim_print_leaks(struct weft__sim_host *h, FILE *to);
/* proc->who: names the running task. */
const char *weft__sim_who(void);

#endif
