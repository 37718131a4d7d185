/* SPDX-License-Identifier: MIT */
#ifndef WEFT_SIM_H
#define WEFT_SIM_H
/*
 * Simulation: servers and clients, unchanged, as hosts of a simulated network inside one process
 * and one thread. Time is virtual, every choice comes from one seed, and a seed that fails fails
 * again in the same way. (FoundationDB's simulator, Tokio's turmoil, Trio's MockClock,
 * TigerBeetle's VOPR.) docs/guide/simulation.md shows it at work.
 *
 * Thread rule: a simulation belongs to the thread that opened it, and all its hosts run there;
 * from another thread: WEFT_ETHREAD. Calls here do not wait, and may be made between open and
 * close, in actions, checks and hosts' tasks, if nothing else is said; while a simulation runs, sim
 * may be NULL for it. What ends or starts hosts is done at once outside their tasks, and after the
 * turn of the task that asks.
 *
 * Where a parameter is called `hosts`, `from` or `to` it is a pattern of fnmatch(3); one that
 * matches no host is -ENOENT. Values out of range are -EINVAL. Every call may be -ENOMEM.
 *
 * Units: nanoseconds of simulated time from the start, unless the name says otherwise. Chances are
 * from 0 to 1.
 *
 * What hosts can do: everything of the library but what would leave the simulation, which gives
 * WEFT_EOUTSIDE and names the call in weft_error_detail(): child processes, descriptors of the real
 * kernel, loops of their own by weft_loop_open. Threads and workers become tasks of the host's one
 * loop, weft_run inside a host runs on that loop, jobs of weft_offload run in place.
 */
#include <stdio.h>
#include <weft/run.h>

WEFT_BEGIN_DECLS

struct weft_sim;

struct weft_sim_options {
    uint64_t seed;     /* 0: WEFT_SIM_SEED of the environment; 1 without it */
    FILE *report;      /* where a failure is told; NULL: stderr */
    FILE *trace;       /* every event, a line each; NULL: to the file WEFT_SIM_TRACE, if set */
    size_t trace_last; /* lines told with a failure; 0: 60 */
    bool quiet;        /* tell nothing: the caller reads weft_sim_failure */
    bool in_order;     /* ready tasks run first in, first out, not shuffled */
    uint64_t max_steps_at_once; /* turns of hosts without time moving that are a livelock; 0:
                                   100,000, and 100 more a host */
    size_t stack_size;          /* of tasks; 0: as weft_options */
};

/*
 * *ret: owned by the caller until weft_sim_close; o: borrowed, may be NULL, but the files are used
 * until the close. Returns 0, -ENOMEM, -EDEADLK inside a simulation or a loop's task, -EINVAL when
 * WEFT_SIM_SEED is no number above 0, or why the file of WEFT_SIM_TRACE cannot be written.
 */
WEFT_API WEFT_MUST_CHECK int weft_sim_open(struct weft_sim **ret, const struct weft_sim_options *o);

/*
 * Ends every host that still runs and frees it all: their tasks are cancelled and run to their end,
 * for at most 60 simulated seconds; what is left then, or after a failure, is crashed. What mains
 * return now is of no interest. Returns 0, or the failure of the simulation: what weft_sim_run
 * returned, or one that came to light now (a leak). -EDEADLK, and nothing is done, inside a
 * simulation or a loop's task. NULL is fine.
 */
WEFT_API int weft_sim_close(struct weft_sim **sim);

/* --- Hosts --------------------------------------------------------------------------------- */

struct weft_sim_host_options {
    bool service;           /* may wait for ever: the run ends without it, and it is no deadlock */
    bool may_fail;          /* a negative result of main is no failure of the simulation */
    size_t max_fds;         /* 0: 20,000 */
    int64_t drift_ppm;      /* its clocks run so many millionths faster (slower: negative) */
    int64_t wall_offset_ns; /* its wall clock is so much ahead of the others' */
};

/*
 * A host with its own address, disk and main task; main starts with the run, or now if it runs
 * already. When main returns, what else runs there is cancelled, and what is then still open is a
 * leak. name (at most 63 letters, digits, '-', '.', '_') is copied; arg is borrowed, and given
 * again after a restart. Returns 0, -EEXIST, -EINVAL, -ENOSPC (1,000,000 hosts), -ENOMEM.
 */
WEFT_API WEFT_MUST_CHECK int weft_sim_host(struct weft_sim *sim, const char *name, weft_fn main,
                                           void *arg);
WEFT_API WEFT_MUST_CHECK int weft_sim_host_with(struct weft_sim *sim, const char *name,
                                                const struct weft_sim_host_options *o, weft_fn main,
                                                void *arg);

/* Its name and how often it was started (1: the first time): in a host's task. "" and 0 elsewhere.
 */
WEFT_API const char *weft_sim_host_name(void);
WEFT_API unsigned weft_sim_incarnation(void);

/* True once main has returned and all else has ended; *result (may be NULL) is what it returned.
 * Not for a host that crashed or was killed. */
WEFT_API bool weft_sim_host_ended(struct weft_sim *sim, const char *name, int *result);

/* --- The network --------------------------------------------------------------------------- */

struct weft_link {
    int64_t latency_us;  /* one way; 0: 500 */
    int64_t jitter_us;   /* up to so much more, each packet anew */
    double loss;         /* TCP sends again and is late; UDP loses */
    double duplicate;    /* UDP only */
    double reorder;      /* UDP only: a packet is held back by up to another latency + 1 ms */
    int64_t bytes_per_s; /* 0: no bound */
    uint32_t mtu;        /* bytes; 0: 1,500. A larger datagram travels in parts, all or nothing */
};

/* l: copied. Both directions; the last rule that matches a pair counts. Between hosts that no rule
 * names:
 * 500 us and nothing else. Within a host: no delay, unless a rule matches it on both sides. */
WEFT_API WEFT_MUST_CHECK int weft_sim_link(struct weft_sim *sim, const char *from, const char *to,
                                           const struct weft_link *l);
WEFT_API WEFT_MUST_CHECK int weft_sim_link_oneway(struct weft_sim *sim, const char *from,
                                                  const char *to, const struct weft_link *l);

/* Nothing passes any more, in both directions or one; connections notice as they would. heal takes
 * back both for the pairs that match. */
WEFT_API WEFT_MUST_CHECK int weft_sim_partition(struct weft_sim *sim, const char *from,
                                                const char *to);
WEFT_API WEFT_MUST_CHECK int weft_sim_partition_oneway(struct weft_sim *sim, const char *from,
                                                       const char *to);
WEFT_API WEFT_MUST_CHECK int weft_sim_heal(struct weft_sim *sim, const char *from, const char *to);

/* --- Faults of hosts ----------------------------------------------------------------------- */

/* Takes the power away. Peers hear nothing; the disk keeps what was synced, and chance decides over
 * the rest. The tasks of the host are cancelled and run to their end at once, so that memory is
 * given back, but nothing they do is seen any more: their calls fail, those of this header with
 * -ECANCELED or without an effect. */
WEFT_API WEFT_MUST_CHECK int weft_sim_crash(struct weft_sim *sim, const char *hosts);
/* Runs main anew on hosts that are down (crashed, killed, or ended), paused or not; others are left
 * alone. */
WEFT_API WEFT_MUST_CHECK int weft_sim_restart(struct weft_sim *sim, const char *hosts);
/* Its process stands still, its kernel does not: packets and connections are taken. A task that
 * pauses its own host stops at the end of its turn. */
WEFT_API WEFT_MUST_CHECK int weft_sim_pause(struct weft_sim *sim, const char *hosts);
WEFT_API WEFT_MUST_CHECK int weft_sim_resume(struct weft_sim *sim, const char *hosts);
/* What weft_signals_wait hears there. Without one that listens, SIGTERM and SIGINT, and SIGKILL in
 * any case, end the process as a kernel does: its sockets are closed, its files keep what was
 * written; others are ignored. Its tasks run to their end as after a crash. */
WEFT_API WEFT_MUST_CHECK int weft_sim_signal(struct weft_sim *sim, const char *hosts, int signal);
/* Sets the wall clock forward or back (20 years at most); and how fast the clocks run from now on:
 * drift_ppm above -1,000,000 and at most 1,000,000. */
WEFT_API WEFT_MUST_CHECK int weft_sim_clock(struct weft_sim *sim, const char *hosts,
                                            int64_t jump_ns, int64_t drift_ppm);

/* Chances, each call anew. */
struct weft_sim_faults {
    double short_io;   /* a read or write moves less than it could */
    double again;      /* -EAGAIN without need, and operations that take a turn longer */
    double no_buffers; /* -ENOBUFS of datagrams */
    double no_files;   /* -EMFILE */
    double no_memory;  /* -ENOMEM, of system calls and of the library's allocations */
};
WEFT_API WEFT_MUST_CHECK int weft_sim_faults(struct weft_sim *sim, const char *hosts,
                                             const struct weft_sim_faults *f);

struct weft_sim_disk {
    int64_t latency_us; /* of each call; 0: 100 */
    int64_t jitter_us;
    double read_error, write_error, sync_error; /* -EIO */
    int64_t capacity;                           /* bytes; beyond: -ENOSPC; 0: no bound */
};
WEFT_API WEFT_MUST_CHECK int weft_sim_disk(struct weft_sim *sim, const char *hosts,
                                           const struct weft_sim_disk *d);

/* --- What happens, and what must hold ------------------------------------------------------ */

/* Actions and checks must return: an assertion that jumps out of them leaves the simulation
 * running.
 */

/* Does something at a time; in the past is now. It may call everything here but run and close. */
typedef void (*weft_sim_action)(struct weft_sim *sim, void *arg);
WEFT_API WEFT_MUST_CHECK int weft_sim_at(struct weft_sim *sim, int64_t when_ns,
                                         weft_sim_action action, void *arg);

/* Called after each step of any host: 0, or a negative code (with weft_sim_fail's sentence, if it
 * likes) when what must hold does not. That ends the run. name is copied. */
typedef int (*weft_sim_checker)(struct weft_sim *sim, void *arg);
WEFT_API WEFT_MUST_CHECK int weft_sim_check(struct weft_sim *sim, const char *name,
                                            weft_sim_checker check, void *arg);

/* Ends the run, after the turn, with a failure and a sentence that says what is wrong (399 bytes).
 * Returns WEFT_ECHECK, so that a task or check can return it; -EINVAL where nothing runs and sim is
 * NULL. From hosts whose tasks only run to their end (they are down, or the simulation is being
 * closed) it does nothing. */
WEFT_API WEFT_PRINTF(2, 3) int weft_sim_fail(struct weft_sim *sim, const char *fmt, ...);

/* A line in the trace (119 bytes); in a host's task it begins with the host's name. While no
 * simulation runs it does nothing, so it may stay in the program. */
WEFT_API WEFT_PRINTF(1, 2) void weft_sim_note(const char *fmt, ...);

/* --- Running ------------------------------------------------------------------------------- */

/*
 * Runs until span_ns of simulated time have passed, or every host that is no service has ended (by
 * itself, by a crash, by a signal) and no action is left; with services only, all of the span. May
 * be called again to go on: an action holds the run until its time.
 *
 * Returns 0, -EDEADLK inside a simulation or a loop's task, -EINVAL, or the first failure, which
 * every later run returns again. It is told in full to options.report (seed, time, who waits for
 * what or is left open, last events, the command that replays it):
 *   WEFT_ECHECK     a check, or weft_sim_fail
 *   WEFT_EDEADLOCK  nothing can happen any more, and a host that is no service has not ended; or
 *                   for an hour nothing has happened but timers of services, and it waits for no
 *                   time
 *   WEFT_ELIVELOCK  hosts run on, and time stands still
 *   WEFT_ELEAK      a host has ended and left descriptors or pipes in memory open
 *   WEFT_EORPHAN and whatever else a host's main returned, if it may not fail
 */
WEFT_API WEFT_MUST_CHECK int weft_sim_run(struct weft_sim *sim, int64_t span_ns);

/* The sentence of the failure; "" when there was none. Lives as long as sim. */
WEFT_API const char *weft_sim_failure(const struct weft_sim *sim);

WEFT_API uint64_t weft_sim_seed(const struct weft_sim *sim);
WEFT_API int64_t weft_sim_now_ns(const struct weft_sim *sim);
/* For the scenario's own choices: from the seed, and apart from the hosts' numbers. */
WEFT_API uint64_t weft_sim_random(struct weft_sim *sim);
/* Of every event and every turn so far: equal for equal runs. */
WEFT_API uint64_t weft_sim_hash(const struct weft_sim *sim);

struct weft_sim_stats {
    uint64_t steps;       /* turns of hosts' loops */
    uint64_t events;      /* of the simulated kernel and network */
    uint64_t segments;    /* of streams, delivered */
    uint64_t datagrams;   /* delivered */
    uint64_t dropped;     /* lost on the way, of both */
    uint64_t connections; /* made */
};
WEFT_API void weft_sim_stats(const struct weft_sim *sim, struct weft_sim_stats *ret);

WEFT_END_DECLS
#endif
