/* SPDX-License-Identifier: MIT */
/*
 * Files of the real system for handlers: opened and read at once where memory has what is asked
 * for, else on a thread of the work pool, so that the disk does not hold up the loop.
 *
 * Floor 5. Who asks for what is cached pays one system call, as before: RESOLVE_CACHED (Linux 5.12)
 * and RWF_NOWAIT (4.14) do the same work and give up where they would wait. Where the kernel or the
 * file system does not know them, or there is no pool (a callback, all its places taken), the call
 * is made in place.
 *
 * Invariant: a job lies on the stack of a flow that waits for its end; what it opened is closed
 * when the wait ended otherwise.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <weft/offload.h>

#include "http/static.h"

#ifndef RESOLVE_CACHED
#define RESOLVE_CACHED 0x20
#endif

/* So much is asked of the disk ahead of a file that is sent. */
#define AHEAD ((size_t)2 << 20)
/* Renames that may race with ".." in a row. */
#define RACES_MAX 100

struct disk_job {
    int fd; /* opening: the directory */
    const char *path;
    uint64_t resolve;
    void *buf;
    size_t len;
    off_t at;
    ssize_t res;
};

/* True when fn has run, on another thread. */
static bool ran(weft_job_fn fn, struct disk_job *j, weft_deadline d, int *err)
{
    j->res = -EAGAIN;
    *err = weft_offload(fn, j, d);
    return *err == 0 || *err == -ECANCELED || *err == -ETIMEDOUT;
}

/* --- Opening ---------------------------------------------------------------------------------- */

static int open_with(int dirfd, const char *path, uint64_t resolve)
{
    struct open_how how = {.flags = O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK,
                           .resolve = resolve};
    int fd = (int)syscall(SYS_openat2, dirfd, path, &how, sizeof how);
    if (fd < 0 && errno == ENOSYS && (resolve & RESOLVE_BENEATH) == 0)
        fd = openat(dirfd, path, (int)how.flags);
    return fd < 0 ? -errno : fd;
}

/* For as long as the disk takes. -EAGAIN: another program has a lease on the file (fcntl(2)), which
 * is being taken from it and may be for many seconds. */
static int open_waiting(int dirfd, const char *path, uint64_t resolve)
{
    int fd = -EAGAIN;
    for (int i = 0; i < RACES_MAX && fd == -EAGAIN; i++)
        fd = open_with(dirfd, path, resolve);
    return fd;
}

static int open_job(struct weft_job *job, void *arg)
{
    struct disk_job *j = arg;
    (void)job;
    j->res = open_waiting(j->fd, j->path, j->resolve);
    return 0;
}

int weft__http_open_works(int dirfd)
{
    int fd = open_waiting(dirfd, ".", RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS);
    if (fd < 0)
        return fd;
    close(fd);
    return 0;
}

int weft__http_open(struct weft__http_exchange *x, int dirfd, const char *path, bool beneath)
{
    struct disk_job j = {.fd = dirfd, .path = path};
    int err;
    if (beneath)
        j.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
    int fd = open_with(dirfd, path, j.resolve | RESOLVE_CACHED);
    if (WEFT__LIKELY(fd != -EAGAIN && fd != -EINVAL))
        return fd;
    if (fd == -EINVAL || !ran(open_job, &j, x->until, &err))
        return open_waiting(dirfd, path, j.resolve);
    if (err == 0)
        return (int)j.res;
    if (j.res >= 0)
        close((int)j.res);
    return err;
}

/* --- Reading ---------------------------------------------------------------------------------- */

ssize_t weft__http_read_now(int fd, void *buf, size_t len, off_t at)
{
    struct iovec iov = {.iov_base = buf, .iov_len = len};
    ssize_t n = preadv2(fd, &iov, 1, at, RWF_NOWAIT);
    return n < 0 ? -errno : n;
}

static ssize_t read_now(const struct disk_job *j)
{
    return weft__http_read_now(j->fd, j->buf, j->len, j->at);
}

static ssize_t read_waiting(const struct disk_job *j)
{
    ssize_t n;
    do
        n = pread(j->fd, j->buf, j->len, j->at);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

static int read_job(struct weft_job *job, void *arg)
{
    struct disk_job *j = arg;
    (void)job;
    j->res = read_waiting(j);
    return 0;
}

ssize_t weft__http_read_file(struct weft__http_exchange *x, int fd, void *buf, size_t len, off_t at)
{
    struct disk_job j = {.fd = fd, .buf = buf, .len = len, .at = at};
    int err;
    ssize_t n = read_now(&j);
    if (WEFT__LIKELY(n >= 0))
        return n;
    if (n != -EAGAIN || !ran(read_job, &j, x->until, &err))
        return read_waiting(&j);
    return err < 0 ? err : j.res;
}

/* Reads its first bytes, and has the disk bring what follows. */
static int ahead_job(struct weft_job *job, void *arg)
{
    struct disk_job *j = arg;
    char byte;
    (void)job;
    (void)posix_fadvise(j->fd, j->at, (off_t)j->len, POSIX_FADV_WILLNEED);
    j->res = pread(j->fd, &byte, 1, j->at);
    return 0;
}

int weft__http_read_ahead(struct weft__http_exchange *x, int fd, off_t at, size_t len)
{
    char byte;
    struct disk_job j = {.fd = fd, .buf = &byte, .len = 1, .at = at};
    int err;
    if (WEFT__LIKELY(read_now(&j) != -EAGAIN))
        return 0;
    j.len = weft__min_size(len, AHEAD);
    return ran(ahead_job, &j, x->until, &err) ? err : 0;
}
