/* SPDX-License-Identifier: MIT */
#ifndef WEFT_SIGNAL_H
#define WEFT_SIGNAL_H
/*
 * Signals as something to wait for (asyncio's add_signal_handler), and child processes.
 *
 * Inside a simulated host (sim.h) the signals are those of weft_sim_signal, and there are no child
 * processes: weft_process_open gives WEFT_EOUTSIDE.
 */
#include <signal.h>
#include <sys/types.h>
#include <weft/run.h>
#include <weft/stream.h>

WEFT_BEGIN_DECLS

struct weft_signals;

/*
 * From now on the listed signals (0-terminated, at most 16) are queued here instead of taking their
 * default effect; several objects may watch one signal, each gets it. weft_signals_close restores
 * the disposition that was found when the last watcher goes.
 * Returns 0, -EINVAL (a signal that cannot be caught or is a fault; none, or more than 16),
 * -EMFILE, -ENOMEM. See sigaction(2).
 */
WEFT_API WEFT_MUST_CHECK int weft_signals_open(struct weft_signals **ret, const int *signals);
/*
 * Returns the number of the next signal (> 0). Waits. -ETIMEDOUT, -ECANCELED, -EDEADLK, -EBUSY
 * (another waits), WEFT_ETHREAD, WEFT_ECLOSED (closed while waiting).
 */
WEFT_API WEFT_MUST_CHECK int weft_signals_wait(struct weft_signals *s, weft_deadline d);
WEFT_API void weft_signals_close(struct weft_signals **s);

enum weft_pipe_mode {
    WEFT_PIPE_INHERIT = 0, /* as the parent's */
    WEFT_PIPE_STREAM,      /* a stream to the parent */
    WEFT_PIPE_NULL,        /* /dev/null */
};

struct weft_process_options {
    const char *const *argv; /* NULL-terminated; argv[0] is looked up in PATH. Required */
    const char *const *env;  /* NULL: the parent's */
    const char *directory;   /* NULL: the parent's */
    enum weft_pipe_mode in, out, err;
    int kill_signal;       /* sent when the waiter is cancelled; 0: SIGTERM */
    int64_t kill_after_ms; /* then SIGKILL; 0: 2,000 */
};

struct weft_process;

/*
 * Starts a child process. Every descriptor but 0, 1, 2 is closed in it.
 * *ret: owned by the caller. Returns 0, -ENOENT, -EACCES, -EAGAIN, -ENOMEM, -EMFILE, -EINVAL.
 */
WEFT_API WEFT_MUST_CHECK int weft_process_open(struct weft_process **ret,
                                               const struct weft_process_options *o);
WEFT_API pid_t weft_process_id(const struct weft_process *p);

/* The parent's ends; NULL unless asked for. Owned by the process object; `in` may be shut down or
 * closed by setting *s to NULL through weft_process_close_in. */
WEFT_API struct weft_stream *weft_process_in(struct weft_process *p);
WEFT_API struct weft_stream *weft_process_out(struct weft_process *p);
WEFT_API struct weft_stream *weft_process_err(struct weft_process *p);
WEFT_API void weft_process_close_in(struct weft_process *p); /* flushes first, so it may wait */

/*
 * Waits for its end. *status as of waitpid(2). A cancel of the caller sends kill_signal, waits
 * kill_after_ms under a shield, kills, reaps, and returns -ECANCELED; a time-out only returns.
 * A child that has become another user's (sudo) may not be killed: then it runs on after a cancel,
 * and may be waited for again.
 * -EBUSY, WEFT_ETHREAD, WEFT_ECLOSED as weft_signals_wait; -ECHILD when someone else has reaped it.
 */
WEFT_API WEFT_MUST_CHECK int weft_process_wait(struct weft_process *p, int *status,
                                               weft_deadline d);
WEFT_API WEFT_MUST_CHECK int weft_process_kill(struct weft_process *p, int signal);

/* Kills it if it still runs, reaps, closes the pipes, frees. NULL is fine. A child that may not be
 * killed is not waited for: it runs on, and is the system's zombie when it ends before the program
 * does. */
WEFT_API void weft_process_close(struct weft_process **p);

WEFT_END_DECLS
#endif
