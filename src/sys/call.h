/* SPDX-License-Identifier: MIT */
#ifndef WEFT__CALL_H
#define WEFT__CALL_H
/*
 * System calls that do not wait (floor 1): socket, bind, listen ... as functions that return
 * -errno, and the place where tests make them fail. The drivers ask weft__fault, too, before each
 * operation and each call of their own.
 *
 * When the calling thread acts for a simulated process (weft__sim_proc in sim/world.h), each of
 * them is answered by the simulated kernel, or refused with WEFT_EOUTSIDE.
 */
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>

int weft__call_socket(int domain, int type, int protocol); /* adds SOCK_CLOEXEC */
int weft__call_socketpair(int domain, int type, int fds[2]);
int weft__call_bind(int fd, const struct sockaddr *sa, socklen_t len);
int weft__call_listen(int fd, int backlog);
/* connect(2) of a datagram socket, or of one in O_NONBLOCK mode. */
int weft__call_connect_now(int fd, const struct sockaddr *sa, socklen_t len);
int weft__call_shutdown(int fd, int how);
int weft__call_setsockopt(int fd, int level, int name, const void *value, socklen_t len);
int weft__call_getsockopt(int fd, int level, int name, void *value, socklen_t *len);
int weft__call_getsockname(int fd, struct sockaddr *sa, socklen_t *len);
int weft__call_getpeername(int fd, struct sockaddr *sa, socklen_t *len);
int weft__call_pipe(int fds[2]); /* O_CLOEXEC */
int weft__call_eventfd(void);    /* EFD_CLOEXEC | EFD_NONBLOCK */
int weft__call_pidfd_open(pid_t pid);
/* 0, or WEFT_EOUTSIDE for a descriptor of the real kernel in a simulated process. */
int weft__call_inside(int fd, const char *call);
/* Of a descriptor that no driver knows: weft__sys_close_fd is for the others. No fault point. */
void weft__call_close(int fd);
int weft__call_fstat(int fd, struct stat *st);
int weft__call_cloexec(int fd);
/* The files of Unix sockets. lstat and unlink, which clean up, have no fault points. */
int weft__call_lstat(const char *path, struct stat *st);
int weft__call_chmod(const char *path, mode_t mode);
int weft__call_unlink(const char *path);
/* sendfile(2) that never blocks on the socket: -EAGAIN when its buffer is full. */
ssize_t weft__call_sendfile(int out_fd, int in_fd, off_t *offset, size_t len);
/* Both with MSG_DONTWAIT. */
int weft__call_sendmmsg(int fd, struct mmsghdr *msgs, unsigned n, int flags);
int weft__call_recvmmsg(int fd, struct mmsghdr *msgs, unsigned n, int flags);
/* sendmsg(2) with MSG_DONTWAIT | MSG_NOSIGNAL; flags: 0 or MSG_MORE. */
ssize_t weft__call_sendmsg_now(int fd, const struct msghdr *msg, int flags);
/* recv(2) with MSG_DONTWAIT. */
ssize_t weft__call_recv_now(int fd, void *buf, size_t len);
/* accept4(2) on a listener that is in O_NONBLOCK mode; close-on-exec, blocking mode. */
int weft__call_accept_now(int fd);
int weft__call_set_nonblock(int fd, bool on);
/*
 * Around a write(2) or the like that has no MSG_NOSIGNAL: holds SIGPIPE off for this thread, and
 * takes away the one that a broken pipe has raised. whole: the call has done all that was asked. If
 * not, what it returns does not tell: sendfile(2) that finds the connection broken after its first
 * piece returns that piece's bytes, and raises the signal.
 */
void weft__sigpipe_hold(sigset_t *before);
void weft__sigpipe_release(const sigset_t *before, bool whole);
/* An epoll descriptor that polls readable when a or b does (pollset.c). */
int weft__poll_set_open(int a, int b);
/* CLOCK_REALTIME in nanoseconds. */
int64_t weft__call_wall_ns(void);

/*
 * Fault injection for tests. weft__fault_at(n, err): the n-th fault point from now in this process
 * fails with -err (n = 0: off). weft__fault_count: points passed since it was last armed with n =
 * UINT64_MAX, which only counts. Off, a point costs one load of a flag.
 */
void weft__fault_at(uint64_t n, int err);
uint64_t weft__fault_count(void);
extern bool weft__fault_armed;
int weft__fault_slow(void);
static inline int weft__fault(void)
{
    return __builtin_expect(__atomic_load_n(&weft__fault_armed, __ATOMIC_RELAXED), 0)
               ? weft__fault_slow()
               : 0;
}

#endif
