/* SPDX-License-Identifier: MIT */
/*
 * System calls on files; see call_file.h (floor 1).
 *
 * Invariants: as of call.c. A fault at a close is told after the descriptor was closed.
 */
#include "sys/call_file.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sys/call_macro.h"
#include "sys/sim/calls.h"
#include "sys/sim/disk.h"

int weft__call_open(const char *path, int flags, mode_t mode)
{
    flags |= O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
    return WEFT__CALL(WEFT__SIM(open, path, flags, mode), open(path, flags, mode));
}

ssize_t weft__call_pread(int fd, void *buf, size_t len, int64_t offset)
{
    return WEFT__CALL(WEFT__SIM(pread, fd, buf, len, offset), pread(fd, buf, len, (off_t)offset));
}

ssize_t weft__call_pwrite(int fd, const void *buf, size_t len, int64_t offset)
{
    return WEFT__CALL(WEFT__SIM(pwrite, fd, buf, len, offset), pwrite(fd, buf, len, (off_t)offset));
}

int weft__call_fsync(int fd)
{
    return WEFT__CALL(WEFT__SIM(fsync, fd), fsync(fd));
}

int weft__call_fdatasync(int fd)
{
    return WEFT__CALL(WEFT__SIM(fsync, fd), fdatasync(fd));
}

int weft__call_ftruncate(int fd, int64_t size)
{
    return WEFT__CALL(WEFT__SIM(ftruncate, fd, size), ftruncate(fd, (off_t)size));
}

int64_t weft__call_fstat_size(int fd)
{
    struct stat st;
    int err = weft__call_fstat(fd, &st);
    return err < 0 ? err : st.st_size;
}

int weft__call_rename(const char *from, const char *to)
{
    return WEFT__CALL(WEFT__SIM(rename, from, to), rename(from, to));
}

int weft__call_mkdir(const char *path, mode_t mode)
{
    return WEFT__CALL(WEFT__SIM(mkdir, path, mode), mkdir(path, mode));
}

static int sim_remove(struct weft__proc *proc, const char *path)
{
    int err = weft__sim_unlink(proc, path);
    return err == -EISDIR ? weft__sim_rmdir(proc, path) : err;
}

int weft__call_remove(const char *path)
{
    return WEFT__CALL(sim_remove(proc_, path), remove(path));
}

int weft__call_close_file(int fd)
{
    struct weft__proc *proc = weft__sim_proc;
    int err;
    if (WEFT__UNLIKELY(proc != NULL))
        err = weft__sim_close(proc, fd);
    else
        /* After EINTR the descriptor is gone all the same on Linux, so there is no second try. */
        err = close(fd) < 0 && errno != EINTR ? -errno : 0;
    int fault = weft__fault();
    return err < 0 ? err : fault;
}
