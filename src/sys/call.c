/* SPDX-License-Identifier: MIT */
/*
 * System calls that do not wait, as functions that return -errno, and the fault points; see call.h
 * (floor 1).
 *
 * Invariants: errno is not part of any result; each function asks weft__fault exactly once, before
 * its call, and a fault leaves out-parameters untouched; a call that cannot wait is still repeated
 * after EINTR, since some file systems and drivers interrupt where POSIX does not.
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
#include <unistd.h>

#include "base/base.h"

/*
 * Evaluates to the call's result, or to -errno, after a fault point; repeats after EINTR.
 */
#define CALL(expr)                                                                                 \
    __extension__({                                                                                \
        __typeof__(expr) r_ = (__typeof__(expr))weft__fault();                                     \
        if (r_ == 0) {                                                                             \
            do {                                                                                   \
                r_ = (expr);                                                                       \
            } while (r_ < 0 && errno == EINTR);                                                    \
            if (r_ < 0)                                                                            \
                r_ = -errno;                                                                       \
        }                                                                                          \
        r_;                                                                                        \
    })

int weft__call_socket(int domain, int type, int protocol)
{
    return CALL(socket(domain, type | SOCK_CLOEXEC, protocol));
}

int weft__call_socketpair(int domain, int type, int fds[2])
{
    return CALL(socketpair(domain, type | SOCK_CLOEXEC, 0, fds));
}

int weft__call_bind(int fd, const struct sockaddr *sa, socklen_t len)
{
    return CALL(bind(fd, sa, len));
}

int weft__call_listen(int fd, int backlog)
{
    return CALL(listen(fd, backlog));
}

int weft__call_shutdown(int fd, int how)
{
    return CALL(shutdown(fd, how));
}

int weft__call_setsockopt(int fd, int level, int name, const void *value, socklen_t len)
{
    return CALL(setsockopt(fd, level, name, value, len));
}

int weft__call_getsockopt(int fd, int level, int name, void *value, socklen_t *len)
{
    return CALL(getsockopt(fd, level, name, value, len));
}

int weft__call_getsockname(int fd, struct sockaddr *sa, socklen_t *len)
{
    return CALL(getsockname(fd, sa, len));
}

int weft__call_getpeername(int fd, struct sockaddr *sa, socklen_t *len)
{
    return CALL(getpeername(fd, sa, len));
}

int weft__call_pipe(int fds[2])
{
    return CALL(pipe2(fds, O_CLOEXEC));
}

int weft__call_eventfd(void)
{
    return CALL(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
}

int weft__call_pidfd_open(pid_t pid)
{
    return CALL((int)syscall(SYS_pidfd_open, pid, 0));
}

int weft__call_sendmmsg(int fd, struct mmsghdr *msgs, unsigned n, int flags)
{
    return CALL(sendmmsg(fd, msgs, n, flags | MSG_DONTWAIT | MSG_NOSIGNAL));
}

int weft__call_recvmmsg(int fd, struct mmsghdr *msgs, unsigned n, int flags)
{
    return CALL(recvmmsg(fd, msgs, n, flags | MSG_DONTWAIT, NULL));
}

ssize_t weft__call_sendmsg_now(int fd, const struct msghdr *msg)
{
    return CALL(sendmsg(fd, msg, MSG_DONTWAIT | MSG_NOSIGNAL));
}

ssize_t weft__call_recv_now(int fd, void *buf, size_t len)
{
    return CALL(recv(fd, buf, len, MSG_DONTWAIT));
}

int weft__call_accept_now(int fd)
{
    return CALL(accept4(fd, NULL, NULL, SOCK_CLOEXEC));
}

int weft__call_set_nonblock(int fd, bool on)
{
    int flags = CALL(fcntl(fd, F_GETFL));
    if (flags < 0)
        return flags;
    int want = on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK;
    return want == flags ? 0 : CALL(fcntl(fd, F_SETFL, want));
}

void weft__sigpipe_hold(sigset_t *before)
{
    sigset_t pipe_signal;
    sigemptyset(&pipe_signal);
    sigaddset(&pipe_signal, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe_signal, before);
}

void weft__sigpipe_release(const sigset_t *before, bool broken)
{
    static const struct timespec now;
    sigset_t pipe_signal;
    if (sigismember(before, SIGPIPE))
        return;
    if (broken) { /* it is pending now, for this thread */
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
    ssize_t n = CALL(sendfile(out_fd, in_fd, offset, len));
    weft__sigpipe_release(&before, n == -EPIPE);
    return n;
}

/*
 * sendfile has no flag for one call, only the socket's O_NONBLOCK counts, so it is set around the
 * call. Whoever else has the socket could see that for a moment, but no operation under way does:
 * io_uring looks at it when it takes an operation, the other drivers not at all.
 */
ssize_t weft__call_sendfile(int out_fd, int in_fd, off_t *offset, size_t len)
{
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
