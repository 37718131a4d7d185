/* SPDX-License-Identifier: MIT */
/*
 * Child processes: start, streams to them, wait, kill.
 *
 * Floor 3. The child is made by posix_spawn(3), which in glibc is a vfork that tells us why an exec
 * failed (and has then reaped the child), and holds the loop until the exec: about a millisecond.
 * Its end is awaited on a pidfd, an operation like any other; there is no SIGCHLD handler and
 * other children of the program are not touched.
 *
 * What the child finds: an empty signal mask, every disposition at its default (also those that the
 * parent ignored), descriptors 0, 1, 2 and no other. argv[0] is looked up in the parent's PATH; if
 * it has a slash and is relative it is taken from the child's directory.
 *
 * Its standard input is one end of a Unix socket pair, not of a pipe: a write to a pipe whose
 * reader has gone raises SIGPIPE, a send with MSG_NOSIGNAL does not. (The child cannot open it
 * again by /dev/stdin.) We only ever read its standard output and error, so these are pipes, and
 * /dev/stdout and /dev/stderr work in it.
 *
 * Invariants:
 *  - a process is reaped at most once, by whoever finds it ended; signals go through its pidfd, so
 *    none reaches a stranger that was given the same number;
 *  - weft_process_open has started a process, or it has left neither a process nor a descriptor;
 *  - the struct is freed by the last flow to leave it.
 */
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <weft/signal.h>

#include "base/alloc.h"
#include "rt/rt.h"
#include "sys/call.h"
#include "sys/sim/calls.h"
#include "sys/sim/world.h"

#define KILL_AFTER_MS 2000

struct weft_process {
    struct weft_loop *loop;
    pid_t pid;
    int pidfd;
    int kill_signal;
    int64_t kill_after_ms;
    struct weft_stream *stream[3];
    struct weft__flow *waiter;
    int users;  /* flows inside a waiting call */
    int status; /* once reaped */
    int lost;   /* why there is no status, once reaped; 0: there is */
    bool reaped;
    bool closed; /* freed by the last user */
};

/* --- Starting --------------------------------------------------------------------------------- */

/* The ends that are meant for the child; -1: as the parent's. */
struct ends {
    int fd[3];
};

/* A program may run with descriptor 0, 1 or 2 closed; then a new one may get that number, and
 * dup2(2) to it would overwrite one that is still needed. */
static int above_stdio(int *fd)
{
    if (*fd > STDERR_FILENO)
        return 0;
    int moved = fcntl(*fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    if (moved < 0)
        return -errno;
    close(*fd);
    *fd = moved;
    return 0;
}

static int open_null(int *ret)
{
    int err = weft__fault();
    if (err < 0)
        return err;
    int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (fd < 0) {
        err = -errno; /* must not be taken for the program's own */
        return weft__fail(err == -ENOENT ? -ENODEV : err, "/dev/null: %s", weft_error_text(err));
    }
    *ret = fd;
    return 0;
}

static int open_stream(struct weft_process *p, int i, int *child)
{
    int fds[2]; /* ours, the child's */
    int err =
        i == STDIN_FILENO ? weft__call_socketpair(AF_UNIX, SOCK_STREAM, fds) : weft__call_pipe(fds);
    if (err < 0)
        return err;
    if (i == STDIN_FILENO)
        err = weft__call_shutdown(fds[1], SHUT_WR);
    if (err == 0)
        err = weft_stream_from_fd(&p->stream[i], fds[0]);
    if (err < 0) {
        close(fds[0]);
        close(fds[1]);
        return err;
    }
    *child = fds[1];
    return 0;
}

static int open_end(struct weft_process *p, int i, enum weft_pipe_mode mode, int *child)
{
    int err = 0;
    switch (mode) {
    case WEFT_PIPE_INHERIT:
        return 0;
    case WEFT_PIPE_STREAM:
        err = open_stream(p, i, child);
        break;
    case WEFT_PIPE_NULL:
        err = open_null(child);
        break;
    default:
        return weft__fail(-EINVAL, "%d is no mode of a pipe", (int)mode);
    }
    return err < 0 ? err : above_stdio(child);
}

static int prepare(posix_spawn_file_actions_t *fa, posix_spawnattr_t *at, const struct ends *child,
                   const struct weft_process_options *o)
{
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    int err = posix_spawnattr_setsigmask(at, &none);
    if (err == 0)
        err = posix_spawnattr_setsigdefault(at, &all);
    if (err == 0)
        err = posix_spawnattr_setflags(at, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    for (int i = 0; i < 3 && err == 0; i++)
        if (child->fd[i] >= 0)
            err = posix_spawn_file_actions_adddup2(fa, child->fd[i], i);
    if (err == 0)
        err = posix_spawn_file_actions_addclosefrom_np(fa, STDERR_FILENO + 1);
    if (err == 0 && o->directory != NULL)
        err = posix_spawn_file_actions_addchdir_np(fa, o->directory);
    return -err;
}

/* Which of the two names was wrong. */
static int start_failed(const struct weft_process_options *o, int err)
{
    struct stat st;
    const char *text = weft_error_text(err);
    if (o->directory != NULL && (stat(o->directory, &st) < 0 || !S_ISDIR(st.st_mode)))
        return weft__fail(err, "%s: directory %s: %s", o->argv[0], o->directory, text);
    return weft__fail(err, "%s: %s", o->argv[0], text);
}

static int start(struct weft_process *p, const struct ends *child,
                 const struct weft_process_options *o)
{
    posix_spawn_file_actions_t fa;
    posix_spawnattr_t at;
    int err = weft__fault();
    if (err < 0)
        return err;
    if (posix_spawn_file_actions_init(&fa) != 0)
        return -ENOMEM;
    if (posix_spawnattr_init(&at) != 0) {
        posix_spawn_file_actions_destroy(&fa);
        return -ENOMEM;
    }
    err = prepare(&fa, &at, child, o);
    if (err == 0)
        err = -posix_spawnp(&p->pid, o->argv[0], &fa, &at, (char *const *)(uintptr_t)o->argv,
                            o->env != NULL ? (char *const *)(uintptr_t)o->env : environ);
    posix_spawnattr_destroy(&at);
    posix_spawn_file_actions_destroy(&fa);
    if (err < 0)
        return start_failed(o, err);
    err = weft__call_pidfd_open(p->pid);
    if (err == -ESRCH) { /* it has ended, and with SIGCHLD ignored there is nothing left of it */
        p->reaped = true;
        p->lost = -ECHILD;
        return 0;
    }
    if (err < 0) {
        (void)kill(p->pid, SIGKILL);
        while (waitpid(p->pid, NULL, 0) < 0 && errno == EINTR)
            ;
        return err;
    }
    p->pidfd = err;
    return 0;
}

static int check(const struct weft_process_options *o)
{
    if (o == NULL || o->argv == NULL || o->argv[0] == NULL)
        return weft__fail(-EINVAL, "no program to start: argv is empty");
    if (o->kill_signal < 0 || o->kill_signal >= _NSIG)
        return weft__fail(-EINVAL, "kill_signal %d is no signal", o->kill_signal);
    if (o->kill_after_ms < 0)
        return weft__fail(-EINVAL, "kill_after_ms is negative");
    return 0;
}

static void process_free(struct weft_process *p)
{
    for (int i = 0; i < 3; i++)
        weft_abort(&p->stream[i]);
    if (p->pidfd >= 0)
        weft__sys_close_fd(p->loop != NULL ? p->loop->sys : NULL, p->pidfd);
    weft__free(p);
}

int weft_process_open(struct weft_process **ret, const struct weft_process_options *o)
{
    struct ends child = {{-1, -1, -1}};
    if (weft__sim_proc != NULL)
        return weft__sim_refuse("weft_process_open");
    int err = check(o);
    if (err < 0)
        return err;
    struct weft_process *p = weft__calloc(1, sizeof *p);
    if (p == NULL)
        return -ENOMEM;
    const enum weft_pipe_mode modes[3] = {o->in, o->out, o->err};
    p->loop = weft__flow_self()->loop;
    p->pidfd = -1;
    p->kill_signal = o->kill_signal > 0 ? o->kill_signal : SIGTERM;
    p->kill_after_ms = o->kill_after_ms > 0 ? o->kill_after_ms : KILL_AFTER_MS;
    for (int i = 0; i < 3 && err == 0; i++)
        err = open_end(p, i, modes[i], &child.fd[i]);
    if (err == 0)
        err = start(p, &child, o);
    for (int i = 0; i < 3; i++)
        if (child.fd[i] >= 0)
            close(child.fd[i]);
    if (err < 0) {
        process_free(p);
        return err;
    }
    *ret = p;
    return 0;
}

/* --- Its streams ------------------------------------------------------------------------------ */

pid_t weft_process_id(const struct weft_process *p)
{
    return p->pid;
}

struct weft_stream *weft_process_in(struct weft_process *p)
{
    return p->stream[STDIN_FILENO];
}

struct weft_stream *weft_process_out(struct weft_process *p)
{
    return p->stream[STDOUT_FILENO];
}

struct weft_stream *weft_process_err(struct weft_process *p)
{
    return p->stream[STDERR_FILENO];
}

/* As weft_close: what was written goes first, if need be waiting until the child reads it. */
void weft_process_close_in(struct weft_process *p)
{
    (void)weft_close(&p->stream[STDIN_FILENO], WEFT_NEVER);
}

/* --- Its end ---------------------------------------------------------------------------------- */

static int status_of(const siginfo_t *si)
{
    if (si->si_code == CLD_EXITED)
        return __W_EXITCODE(si->si_status, 0);
    return __W_EXITCODE(0, si->si_status) | (si->si_code == CLD_DUMPED ? WCOREFLAG : 0);
}

/* Takes its status, waiting for its end if that has not come; with WNOHANG, if it has come. */
static void reap(struct weft_process *p, int how)
{
    siginfo_t si = {0};
    if (p->reaped)
        return;
    int n;
    do {
        n = waitid(P_PIDFD, (id_t)p->pidfd, &si, WEXITED | how);
    } while (n < 0 && errno == EINTR);
    if (n == 0 && si.si_pid == 0)
        return; /* it runs */
    p->reaped = true;
    if (n < 0)
        p->lost = -errno;
    else
        p->status = status_of(&si);
}

static int send_signal(const struct weft_process *p, int signal)
{
    if (p->reaped)
        return -ESRCH;
    int err = weft__fault();
    if (err < 0)
        return err;
    return syscall(SYS_pidfd_send_signal, p->pidfd, signal, NULL, 0) < 0 ? -errno : 0;
}

static int await_end(struct weft_process *p, weft_deadline d)
{
    struct weft__io io;
    io.op = (struct weft__op){.kind = WEFT__OP_POLL, .fd = p->pidfd, .u.poll = {.events = POLLIN}};
    int n = weft__await(&io, "process", d);
    return n < 0 ? n : 0;
}

static void ended(struct weft__op *op)
{
    weft__wait_trigger(&WEFT__CONTAINER_OF(op, struct weft__io, op)->wait, op->res);
}

/*
 * Kills and reaps, whatever shields and cancels say: the kernel ends a killed process in a moment,
 * if no device holds it. A task lets others run meanwhile; a thread, and a callback, sit in waitid.
 * A child that has become another user's (sudo) may not be killed: it is not waited for, runs on,
 * and is as it was to whoever waits for it later.
 */
static void kill_now(struct weft_process *p)
{
    struct weft__flow *f = weft__flow_self();
    if (p->reaped)
        return;
    int err = send_signal(p, SIGKILL);
    if (err < 0 && err != -ESRCH) {
        reap(p, WNOHANG);
        return;
    }
    if (f->kind == WEFT__FLOW_TASK && f->loop == p->loop) {
        struct weft__io io;
        io.op = (struct weft__op){
            .kind = WEFT__OP_POLL, .done = ended, .fd = p->pidfd, .u.poll = {.events = POLLIN}};
        weft__wait_init(&io.wait, "killed process", p->pidfd, NULL);
        if (!weft__sys_submit(p->loop->sys, &io.op))
            (void)weft__wait_block(&io.wait, WEFT_NEVER);
    }
    reap(p, 0);
}

/* The waiter was cancelled: asks the process to end, and makes it end. */
static void stop(struct weft_process *p)
{
    (void)send_signal(p, p->kill_signal);
    weft_shield(p->kill_after_ms);
    int err = await_end(p, weft_after_ms(p->kill_after_ms));
    weft_unshield();
    if (err == 0)
        reap(p, 0);
    else
        kill_now(p);
}

static void leave(struct weft_process *p)
{
    if (--p->users == 0 && p->closed)
        process_free(p);
}

int weft_process_wait(struct weft_process *p, int *status, weft_deadline d)
{
    struct weft__flow *f = weft__flow_self();
    if (f->loop != p->loop)
        return weft__fail(WEFT_ETHREAD, "the process belongs to another loop");
    if (p->waiter != NULL)
        return weft__fail(-EBUSY, "'%s' is waiting for this process", p->waiter->name);
    int err = 0;
    p->waiter = f;
    p->users++;
    if (!p->reaped)
        err = await_end(p, d);
    if (err == 0)
        reap(p, 0);
    else if (err == -ECANCELED)
        stop(p);
    p->waiter = NULL;
    if (p->closed) {
        leave(p);
        return WEFT_ECLOSED;
    }
    p->users--;
    if (err == 0 && p->lost < 0)
        err = weft__fail(p->lost, "no status of process %d: %s", (int)p->pid,
                         p->lost == -ECHILD ? "reaped by someone else, or SIGCHLD is ignored"
                                            : weft_error_text(p->lost));
    if (err == 0 && status != NULL)
        *status = p->status;
    return err;
}

int weft_process_kill(struct weft_process *p, int signal)
{
    return send_signal(p, signal);
}

void weft_process_close(struct weft_process **ret)
{
    struct weft_process *p = *ret;
    if (p == NULL)
        return;
    *ret = NULL;
    p->closed = true;
    p->users++;
    kill_now(p);
    if (!p->reaped && p->loop != NULL && p->waiter != NULL && p->waiter->wait != NULL)
        weft__wait_abort(p->waiter->wait, WEFT_ECLOSED); /* its end would not come by itself */
    leave(p);
}
