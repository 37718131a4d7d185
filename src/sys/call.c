/* SPDX-License-Identifier: MIT */
/*
 * System calls that do not wait, as functions that return -errno, and the fault points; see call.h
 * (floor 1).
 *
 * Invariants: errno is not part of any result; each function asks weft__fault exactly once, before
 * its call, and a fault leaves out-parameters untouched (those that clean up ask for none, as
 * nobody could do anything about it: close, lstat, unlink); a call that cannot wait is still
 * repeated after EINTR, since some file systems and drivers interrupt where POSIX does not; a
 * thread that acts for a simulated process never comes to the real kernel.
 */
#include "sys/call.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <sys/sendfile.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "sys/call_macro.h"
#include "sys/sim/calls.h"

/* Of a file to a simulated socket at a time; on a task's stack. */
#define SIM_PIECE ((size_t)4096)

int weft__call_socket(int domain, int type, int protocol)
{
    return WEFT__CALL(WEFT__SIM(socket, domain, type, protocol),
                      socket(domain, type | SOCK_CLOEXEC, protocol));
}

int weft__call_socketpair(int domain, int type, int fds[2])
{
    return WEFT__CALL(WEFT__SIM(socketpair, domain, type, fds),
                      socketpair(domain, type | SOCK_CLOEXEC, 0, fds));
}

int weft__call_bind(int fd, const struct sockaddr *sa, socklen_t len)
{
    return WEFT__CALL(WEFT__SIM(bind, fd, sa, len), bind(fd, sa, len));
}

int weft__call_listen(int fd, int backlog)
{
    return WEFT__CALL(WEFT__SIM(listen, fd, backlog), listen(fd, backlog));
}

int weft__call_connect_now(int fd, const struct sockaddr *sa, socklen_t len)
{
    return WEFT__CALL(WEFT__SIM(connect_now, fd, sa, len), connect(fd, sa, len));
}

int weft__call_shutdown(int fd, int how)
{
    return WEFT__CALL(WEFT__SIM(shutdown, fd, how), shutdown(fd, how));
}

int weft__call_setsockopt(int fd, int level, int name, const void *value, socklen_t len)
{
    return WEFT__CALL(WEFT__SIM(setsockopt, fd, level, name, value, len),
                      setsockopt(fd, level, name, value, len));
}

int weft__call_getsockopt(int fd, int level, int name, void *value, socklen_t *len)
{
    return WEFT__CALL(WEFT__SIM(getsockopt, fd, level, name, value, len),
                      getsockopt(fd, level, name, value, len));
}

int weft__call_getsockname(int fd, struct sockaddr *sa, socklen_t *len)
{
    return WEFT__CALL(WEFT__SIM(address, fd, false, sa, len), getsockname(fd, sa, len));
}

int weft__call_getpeername(int fd, struct sockaddr *sa, socklen_t *len)
{
    return WEFT__CALL(WEFT__SIM(address, fd, true, sa, len), getpeername(fd, sa, len));
}

int weft__call_pipe(int fds[2])
{
    return WEFT__CALL(WEFT__SIM(pipe, fds), pipe2(fds, O_CLOEXEC));
}

int weft__call_eventfd(void)
{
    return WEFT__CALL(weft__sim_refuse("eventfd"), eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
}

int weft__call_pidfd_open(pid_t pid)
{
    return WEFT__CALL(weft__sim_refuse("pidfd_open"), (int)syscall(SYS_pidfd_open, pid, 0));
}

int weft__call_inside(int fd, const char *call)
{
    bool outside = weft__sim_proc != NULL && fd >= 0 && fd < WEFT__SIM_FD_FIRST;
    return WEFT__UNLIKELY(outside) ? weft__sim_refuse(call) : 0;
}

void weft__call_close(int fd)
{
    struct weft__proc *proc = weft__sim_proc;
    if (WEFT__UNLIKELY(proc != NULL))
        (void)weft__sim_close(proc, fd);
    else
        /* After EINTR the descriptor is gone all the same on Linux, so there is no second try. */
        (void)close(fd);
}

int weft__call_fstat(int fd, struct stat *st)
{
    return WEFT__CALL(WEFT__SIM(fstat, fd, st), fstat(fd, st));
}

int weft__call_cloexec(int fd)
{
    /* A simulated process executes nothing, so its descriptors have no such mark. */
    return WEFT__CALL(0, fcntl(fd, F_SETFD, FD_CLOEXEC));
}

/* --- Paths of Unix sockets -------------------------------------------------------------------- */

int weft__call_lstat(const char *path, struct stat *st)
{
    struct weft__proc *proc = weft__sim_proc;
    if (WEFT__UNLIKELY(proc != NULL))
        return weft__sim_lstat(proc, path, st);
    return lstat(path, st) < 0 ? -errno : 0;
}

int weft__call_chmod(const char *path, mode_t mode)
{
    return WEFT__CALL(WEFT__SIM(chmod, path, mode), chmod(path, mode));
}

int weft__call_unlink(const char *path)
{
    struct weft__proc *proc = weft__sim_proc;
    if (WEFT__UNLIKELY(proc != NULL))
        return weft__sim_unlink(proc, path);
    return unlink(path) < 0 ? -errno : 0;
}

/* --- Messages --------------------------------------------------------------------------------- */

/* As sendmmsg(2): what has gone counts, and an error behind it is for the next call to find. */
static int sim_sendmmsg(struct weft__proc *proc, int fd, struct mmsghdr *msgs, unsigned n,
                        int flags)
{
    for (unsigned i = 0; i < n; i++) {
        ssize_t sent = weft__sim_sendmsg_now(proc, fd, &msgs[i].msg_hdr, flags);
        if (sent < 0)
            return i > 0 ? (int)i : (int)sent;
        msgs[i].msg_len = (unsigned)sent;
    }
    return (int)n;
}

/* As recvmmsg(2). A socket's own error comes before its messages, so none is lost behind them. */
static int sim_recvmmsg(struct weft__proc *proc, int fd, struct mmsghdr *msgs, unsigned n,
                        int flags)
{
    for (unsigned i = 0; i < n; i++) {
        ssize_t got = weft__sim_recvmsg_now(proc, fd, &msgs[i].msg_hdr, flags);
        if (got < 0)
            return i > 0 ? (int)i : (int)got;
        msgs[i].msg_len = (unsigned)got;
    }
    return (int)n;
}

int weft__call_sendmmsg(int fd, struct mmsghdr *msgs, unsigned n, int flags)
{
    flags |= MSG_DONTWAIT | MSG_NOSIGNAL;
    return WEFT__CALL(sim_sendmmsg(proc_, fd, msgs, n, flags), sendmmsg(fd, msgs, n, flags));
}

int weft__call_recvmmsg(int fd, struct mmsghdr *msgs, unsigned n, int flags)
{
    flags |= MSG_DONTWAIT;
    return WEFT__CALL(sim_recvmmsg(proc_, fd, msgs, n, flags), recvmmsg(fd, msgs, n, flags, NULL));
}

ssize_t weft__call_sendmsg_now(int fd, const struct msghdr *msg, int flags)
{
    flags |= MSG_DONTWAIT | MSG_NOSIGNAL;
    return WEFT__CALL(WEFT__SIM(sendmsg_now, fd, msg, flags), sendmsg(fd, msg, flags));
}

static ssize_t sim_recv(struct weft__proc *proc, int fd, void *buf, size_t len)
{
    struct iovec iov = {.iov_base = buf, .iov_len = len};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    return weft__sim_recvmsg_now(proc, fd, &msg, MSG_DONTWAIT);
}

ssize_t weft__call_recv_now(int fd, void *buf, size_t len)
{
    return WEFT__CALL(sim_recv(proc_, fd, buf, len), recv(fd, buf, len, MSG_DONTWAIT));
}

int weft__call_accept_now(int fd)
{
    return WEFT__CALL(WEFT__SIM(accept_now, fd), accept4(fd, NULL, NULL, SOCK_CLOEXEC));
}

int weft__call_set_nonblock(int fd, bool on)
{
    int flags = WEFT__CALL(WEFT__SIM(set_nonblock, fd, on), fcntl(fd, F_GETFL));
    if (flags < 0 || weft__sim_proc != NULL)
        return flags;
    int want = on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK;
    return want == flags ? 0 : WEFT__CALL(0, fcntl(fd, F_SETFL, want));
}

/* --- Sending files ---------------------------------------------------------------------------- */

void weft__sigpipe_hold(sigset_t *before)
{
    sigset_t pipe_signal;
    sigemptyset(&pipe_signal);
    sigaddset(&pipe_signal, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe_signal, before);
}

void weft__sigpipe_release(const sigset_t *before, bool whole)
{
    static const struct timespec now;
    sigset_t pipe_signal;
    if (sigismember(before, SIGPIPE))
        return;
    if (!whole) { /* it may be pending now, for this thread */
        sigemptyset(&pipe_signal);
        sigaddset(&pipe_signal, SIGPIPE);
        (void)sigtimedwait(&pipe_signal, NULL, &now);
    }
    pthread_sigmask(SIG_SETMASK, before, NULL);
}

/* sendfile(2) without the SIGPIPE that it raises where send has MSG_NOSIGNAL. */
static ssize_t sendfile_quietly(int out_fd, int in_fd, off_t *offset, size_t len)
{
    sigset_t before;
    weft__sigpipe_hold(&before);
    ssize_t n = WEFT__CALL(0, sendfile(out_fd, in_fd, offset, len));
    weft__sigpipe_release(&before, n == (ssize_t)len);
    return n;
}

/* Piece by piece, until one does not go as a whole or the file ends. */
static ssize_t sim_sendfile(struct weft__proc *proc, int out_fd, int in_fd, off_t *offset,
                            size_t len)
{
    char piece[SIM_PIECE];
    size_t moved = 0;
    while (moved < len) {
        size_t want = len - moved < sizeof piece ? len - moved : sizeof piece;
        ssize_t had = weft__sim_pread(proc, in_fd, piece, want, *offset);
        if (had <= 0)
            return moved > 0 ? (ssize_t)moved : had;
        struct iovec iov = {.iov_base = piece, .iov_len = (size_t)had};
        struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
        ssize_t sent = weft__sim_sendmsg_now(proc, out_fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent < 0)
            return moved > 0 ? (ssize_t)moved : sent;
        *offset += sent;
        moved += (size_t)sent;
        if (sent < had)
            break;
    }
    return (ssize_t)moved;
}

/*
 * sendfile has no flag for one call, only the socket's O_NONBLOCK counts, so it is set around the
 * call. Whoever else has the socket could see that for a moment, but no operation under way does:
 * io_uring looks at it when it takes an operation, the other drivers not at all.
 */
ssize_t weft__call_sendfile(int out_fd, int in_fd, off_t *offset, size_t len)
{
    if (WEFT__UNLIKELY(weft__sim_proc != NULL))
        return WEFT__CALL(sim_sendfile(proc_, out_fd, in_fd, offset, len), (ssize_t)0);
    int flags = fcntl(out_fd, F_GETFL);
    if (flags < 0)
        return -errno;
    bool blocking = !(flags & O_NONBLOCK);
    if (blocking && fcntl(out_fd, F_SETFL, flags | O_NONBLOCK) < 0)
        return -errno;
    ssize_t n = sendfile_quietly(out_fd, in_fd, offset, len);
    if (blocking)
        (void)fcntl(out_fd, F_SETFL, flags);
    return n;
}

/* --- Clocks ----------------------------------------------------------------------------------- */

int64_t weft__call_wall_ns(void)
{
    struct weft__proc *proc = weft__sim_proc;
    struct timespec ts;
    if (WEFT__UNLIKELY(proc != NULL))
        return weft__sim_wall_ns(proc);
    (void)clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

/* --- Faults ----------------------------------------------------------------------------------- */

bool weft__fault_armed;

static _Atomic uint64_t fault_points; /* passed since weft__fault_at */
static _Atomic uint64_t fault_target;
static _Atomic int fault_err;

void weft__fault_at(uint64_t n, int err)
{
    /* Off while the rest changes, so that no thread sees half of it. */
    __atomic_store_n(&weft__fault_armed, false, __ATOMIC_RELEASE);
    if (n == 0)
        return; /* the count stays to be read */
    atomic_store(&fault_points, 0);
    atomic_store(&fault_target, n);
    atomic_store(&fault_err, err);
    __atomic_store_n(&weft__fault_armed, true, __ATOMIC_RELEASE);
}

uint64_t weft__fault_count(void)
{
    return atomic_load(&fault_points);
}

int weft__fault_slow(void)
{
    uint64_t n = atomic_fetch_add(&fault_points, 1) + 1;
    return n == atomic_load(&fault_target) ? -atomic_load(&fault_err) : 0;
}
