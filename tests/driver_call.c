/* SPDX-License-Identifier: MIT */
/* The system calls of the driver tests, on either kernel; see driver_call.h. */
#include "driver_call.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "sys/sim/calls.h"
#include "sys/sim/driver.h"

#define PIPE_ROOM 65536 /* two halves: sys/sim/sock.c */

/* A simulated result as libc has it. */
static ssize_t libc_result(ssize_t r)
{
    if (r >= 0)
        return r;
    errno = (int)-r;
    return -1;
}

static int libc_int(int r)
{
    return (int)libc_result(r);
}

/* A test that has an allocation fail means the library's, not those of the machine around it: the
 * second attempt works. */
#define SURE(call)                                                                                 \
    __extension__({                                                                                \
        __typeof__(call) r_ = (call);                                                              \
        r_ == -ENOMEM ? (call) : r_;                                                               \
    })

/* Something else has to happen first. */
static void let_time_pass(const char *call, int fd)
{
    if (weft__world_step(weft__sim_proc->world))
        return;
    (void)fprintf(stderr, "%s of %d waits for ever\n", call, fd);
    abort();
}

int raw_is_nonblock(int fd)
{
    if (weft__sim_proc != NULL) {
        const struct weft__desc *d = weft__desc_of(weft__sim_proc, fd);
        return d != NULL ? d->nonblock : libc_int(-EBADF);
    }
    int mode = fcntl(fd, F_GETFL);
    return mode < 0 ? -1 : (mode & O_NONBLOCK) != 0;
}

/* True when a call that has no answer yet is to wait for it. */
static bool waits(ssize_t r, int fd, int flags)
{
    return r == -EAGAIN && !(flags & MSG_DONTWAIT) && raw_is_nonblock(fd) == 0;
}

/* --- Making ----------------------------------------------------------------------------------- */

int raw_socket(int domain, int type)
{
    if (weft__sim_proc != NULL)
        return libc_int(SURE(weft__sim_socket(weft__sim_proc, domain, type, 0)));
    return socket(domain, type | SOCK_CLOEXEC, 0);
}

int raw_socketpair(int fds[2])
{
    if (weft__sim_proc != NULL)
        return libc_int(SURE(weft__sim_socketpair(weft__sim_proc, AF_UNIX, SOCK_STREAM, fds)));
    return socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds);
}

int raw_pipe(int fds[2])
{
    if (weft__sim_proc != NULL)
        return libc_int(SURE(weft__sim_pipe(weft__sim_proc, fds)));
    return pipe2(fds, O_CLOEXEC);
}

int raw_pipe_room(int fd)
{
    return weft__sim_proc != NULL ? PIPE_ROOM : fcntl(fd, F_GETPIPE_SZ);
}

bool raw_is_cloexec(int fd)
{
    if (weft__sim_proc != NULL)
        return weft__desc_of(weft__sim_proc, fd) != NULL;
    return (fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0;
}

int raw_open(const char *path, int flags)
{
    if (weft__sim_proc != NULL)
        return libc_int(SURE(weft__sim_open(weft__sim_proc, path, flags, 0600)));
    return open(path, flags | O_CLOEXEC, 0600);
}

void raw_forget_pages(int fd)
{
    if (weft__sim_proc != NULL) {
        (void)weft__sim_fsync(weft__sim_proc, fd);
        return;
    }
    fsync(fd);
    posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
}

off_t raw_position(int fd)
{
    return weft__sim_proc != NULL ? 0 : lseek(fd, 0, SEEK_CUR);
}

/* --- On descriptors --------------------------------------------------------------------------- */

int raw_bind(int fd, const struct sockaddr *sa, socklen_t len)
{
    if (weft__sim_proc != NULL)
        return libc_int(SURE(weft__sim_bind(weft__sim_proc, fd, sa, len)));
    return bind(fd, sa, len);
}

int raw_listen(int fd, int backlog)
{
    if (weft__sim_proc != NULL)
        return libc_int(SURE(weft__sim_listen(weft__sim_proc, fd, backlog)));
    return listen(fd, backlog);
}

static int sim_connect(struct weft__proc *p, int fd, const struct sockaddr *sa, socklen_t len)
{
    int r = SURE(weft__sim_connect_now(p, fd, sa, len));
    if (r != -EINPROGRESS || raw_is_nonblock(fd) != 0)
        return r;
    struct weft__desc *d = weft__desc_of(p, fd);
    while ((d->cls->ready(d) & (POLLOUT | POLLERR | POLLHUP)) == 0)
        let_time_pass("connect", fd);
    socklen_t n = sizeof r;
    (void)weft__sim_getsockopt(p, fd, SOL_SOCKET, SO_ERROR, &r, &n);
    return -r;
}

int raw_connect(int fd, const struct sockaddr *sa, socklen_t len)
{
    if (weft__sim_proc != NULL)
        return libc_int(sim_connect(weft__sim_proc, fd, sa, len));
    return connect(fd, sa, len);
}

int raw_accept(int fd)
{
    int r;
    if (weft__sim_proc == NULL)
        return accept4(fd, NULL, NULL, SOCK_CLOEXEC);
    while (waits(r = weft__sim_accept_now(weft__sim_proc, fd), fd, 0))
        let_time_pass("accept", fd);
    return libc_int(r);
}

int raw_shutdown(int fd, int how)
{
    if (weft__sim_proc != NULL)
        return libc_int(weft__sim_shutdown(weft__sim_proc, fd, how));
    return shutdown(fd, how);
}

int raw_close(int fd)
{
    if (weft__sim_proc != NULL)
        return libc_int(weft__sim_close(weft__sim_proc, fd));
    return close(fd);
}

int raw_getsockname(int fd, struct sockaddr *sa, socklen_t *len)
{
    if (weft__sim_proc != NULL)
        return libc_int(weft__sim_address(weft__sim_proc, fd, false, sa, len));
    return getsockname(fd, sa, len);
}

int raw_setsockopt(int fd, int level, int name, const void *value, socklen_t len)
{
    if (weft__sim_proc != NULL)
        return libc_int(weft__sim_setsockopt(weft__sim_proc, fd, level, name, value, len));
    return setsockopt(fd, level, name, value, len);
}

int raw_getsockopt(int fd, int level, int name, void *value, socklen_t *len)
{
    if (weft__sim_proc != NULL)
        return libc_int(weft__sim_getsockopt(weft__sim_proc, fd, level, name, value, len));
    return getsockopt(fd, level, name, value, len);
}

int raw_set_nonblock(int fd, bool on)
{
    if (weft__sim_proc != NULL)
        return libc_int(weft__sim_set_nonblock(weft__sim_proc, fd, on));
    int mode = fcntl(fd, F_GETFL);
    return mode < 0 ? -1 : fcntl(fd, F_SETFL, on ? mode | O_NONBLOCK : mode & ~O_NONBLOCK);
}

int raw_unlink(const char *path)
{
    if (weft__sim_proc != NULL)
        return libc_int(weft__sim_unlink(weft__sim_proc, path));
    return unlink(path);
}

/* --- Bytes ------------------------------------------------------------------------------------ */

/* read(2) and write(2): pipes and files have no sendmsg. */
static ssize_t sim_io(enum weft__op_kind kind, int fd, void *buf, size_t len)
{
    struct weft__op op = {.kind = (uint8_t)kind, .fd = fd};
    int err = -EBADF;
    op.u.io.buf = buf;
    op.u.io.len = (uint32_t)len;
    struct weft__desc *d = weft__desc_for(weft__sim_proc, fd, "read or write", &err);
    if (d == NULL)
        return libc_result(err);
    for (;;) {
        ssize_t r = -EAGAIN;
        if (weft__desc_attempt(d, &op) == WEFT__SIM_ENDED)
            r = op.res;
        if (r == -ENOMEM)
            continue; /* see SURE */
        if (!waits(r, fd, 0))
            return libc_result(r);
        let_time_pass("read or write", fd);
    }
}

ssize_t raw_read(int fd, void *buf, size_t len)
{
    return weft__sim_proc != NULL ? sim_io(WEFT__OP_READ, fd, buf, len) : read(fd, buf, len);
}

ssize_t raw_write(int fd, const void *buf, size_t len)
{
    if (weft__sim_proc != NULL)
        return sim_io(WEFT__OP_WRITE, fd, (void *)(uintptr_t)buf, len);
    return write(fd, buf, len);
}

ssize_t raw_sendmsg(int fd, const struct msghdr *msg, int flags)
{
    ssize_t r;
    if (weft__sim_proc == NULL)
        return sendmsg(fd, msg, flags);
    while (waits(r = SURE(weft__sim_sendmsg_now(weft__sim_proc, fd, msg, flags)), fd, flags))
        let_time_pass("sendmsg", fd);
    return libc_result(r);
}

ssize_t raw_send(int fd, const void *buf, size_t len, int flags)
{
    struct iovec iov = {(void *)(uintptr_t)buf, len};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    return weft__sim_proc != NULL ? raw_sendmsg(fd, &msg, flags) : send(fd, buf, len, flags);
}

ssize_t raw_recv(int fd, void *buf, size_t len, int flags)
{
    struct iovec iov = {buf, len};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    ssize_t r;
    if (weft__sim_proc == NULL)
        return recv(fd, buf, len, flags);
    while (waits(r = weft__sim_recvmsg_now(weft__sim_proc, fd, &msg, flags), fd, flags))
        let_time_pass("recv", fd);
    return libc_result(r);
}
