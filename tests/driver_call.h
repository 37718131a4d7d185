/* SPDX-License-Identifier: MIT */
#ifndef DRIVER_CALL_H
#define DRIVER_CALL_H
/*
 * The system calls that the driver tests make beside the driver, on the real kernel or, where the
 * calling thread acts for a simulated process, on the simulated one. Results are libc's: -1 with
 * errno. A simulated call that waits lets the world go on, and ends the program where it would wait
 * for ever.
 */
#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "sys/sys.h"

int raw_socket(int domain, int type);
int raw_socketpair(int fds[2]); /* Unix streams */
int raw_pipe(int fds[2]);
int raw_bind(int fd, const struct sockaddr *sa, socklen_t len);
int raw_listen(int fd, int backlog);
int raw_connect(int fd, const struct sockaddr *sa, socklen_t len);
int raw_accept(int fd);
int raw_shutdown(int fd, int how);
int raw_close(int fd);
int raw_getsockname(int fd, struct sockaddr *sa, socklen_t *len);
int raw_setsockopt(int fd, int level, int name, const void *value, socklen_t len);
int raw_getsockopt(int fd, int level, int name, void *value, socklen_t *len);
int raw_set_nonblock(int fd, bool on);
int raw_is_nonblock(int fd);
int raw_unlink(const char *path);
ssize_t raw_read(int fd, void *buf, size_t len);
ssize_t raw_write(int fd, const void *buf, size_t len);
ssize_t raw_recv(int fd, void *buf, size_t len, int flags);
ssize_t raw_send(int fd, const void *buf, size_t len, int flags);
ssize_t raw_sendmsg(int fd, const struct msghdr *msg, int flags);

/* Bytes that a pipe holds. */
int raw_pipe_room(int fd);
/* True for what is closed on exec, which a simulated descriptor always is: there is no exec. */
bool raw_is_cloexec(int fd);
/* A regular file: open(2) with mode 0600, and what has the kernel read it from the disk again. */
int raw_open(const char *path, int flags);
void raw_forget_pages(int fd);
/* Where the next read(2) begins; a simulated process has no call that tells: 0. */
off_t raw_position(int fd);

#endif
