/* SPDX-License-Identifier: MIT */
#ifndef WEFT__SIM_CALLS_H
#define WEFT__SIM_CALLS_H
/*
 * What sys/call.h calls when the calling thread acts for a simulated process (floor 1): the system
 * calls that do not wait, answered by the simulated kernel. Results as of call.h.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>

struct weft__proc;

/* Sockets, pipes, descriptors (calls.c). */
int weft__sim_socket(struct weft__proc *p, int domain, int type, int protocol);
int weft__sim_socketpair(struct weft__proc *p, int domain, int type, int fds[2]);
int weft__sim_pipe(struct weft__proc *p, int fds[2]);
int weft__sim_bind(struct weft__proc *p, int fd, const struct sockaddr *sa, socklen_t len);
int weft__sim_listen(struct weft__proc *p, int fd, int backlog);
int weft__sim_connect_now(struct weft__proc *p, int fd, const struct sockaddr *sa, socklen_t len);
int weft__sim_accept_now(struct weft__proc *p, int fd);
int weft__sim_shutdown(struct weft__proc *p, int fd, int how);
int weft__sim_setsockopt(struct weft__proc *p, int fd, int level, int name, const void *value,
                         socklen_t len);
int weft__sim_getsockopt(struct weft__proc *p, int fd, int level, int name, void *value,
                         socklen_t *len);
int weft__sim_address(struct weft__proc *p, int fd, bool peer, struct sockaddr *sa, socklen_t *len);
ssize_t weft__sim_sendmsg_now(struct weft__proc *p, int fd, const struct msghdr *msg, int flags);
ssize_t weft__sim_recvmsg_now(struct weft__proc *p, int fd, struct msghdr *msg, int flags);
int weft__sim_set_nonblock(struct weft__proc *p, int fd, bool on);
int weft__sim_close(struct weft__proc *p, int fd);
int weft__sim_fstat(struct weft__proc *p, int fd, struct stat *st);

/* Time, chance, names, signals (calls.c). */
int64_t weft__sim_clock_ns(struct weft__proc *p);
int64_t weft__sim_wall_ns(struct weft__proc *p);
void weft__sim_random(struct weft__proc *p, void *buf, size_t len);
/* The address of a host by its name, len bytes long; -ENOENT. */
int weft__sim_resolve(struct weft__proc *p, const char *name, size_t len, int family, uint16_t port,
                      struct sockaddr_storage *sa, socklen_t *salen);
/* Has each `signal` that the simulation sends to the process written to fd as one int, as
 * rt/signal.c has it of the real ones; on == false: no more. */
int weft__sim_signal_listen(struct weft__proc *p, int signal, int fd, bool on);
/* Sends one: what was listened for is written; else the result is -ESRCH and nothing happened. */
int weft__sim_signal_send(struct weft__proc *p, int signal);

/* Files (disk.c). Paths are the host's own; there is one flat directory tree, '/'-separated. */
int weft__sim_open(struct weft__proc *p, const char *path, int flags, mode_t mode);
ssize_t weft__sim_pread(struct weft__proc *p, int fd, void *buf, size_t len, int64_t offset);
ssize_t weft__sim_pwrite(struct weft__proc *p, int fd, const void *buf, size_t len, int64_t offset);
int weft__sim_fsync(struct weft__proc *p, int fd);
int weft__sim_ftruncate(struct weft__proc *p, int fd, int64_t size);
int weft__sim_unlink(struct weft__proc *p, const char *path);
int weft__sim_rename(struct weft__proc *p, const char *from, const char *to);
int weft__sim_mkdir(struct weft__proc *p, const char *path, mode_t mode);
int weft__sim_lstat(struct weft__proc *p, const char *path, struct stat *st);
int weft__sim_chmod(struct weft__proc *p, const char *path, mode_t mode);

/* Refuses a call that a simulation has no answer for: WEFT_EOUTSIDE, with `call` in the detail. */
int weft__sim_refuse(const char *call);

#endif
