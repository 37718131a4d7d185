/* SPDX-License-Identifier: MIT */
/*
 * Descriptors of files and directories on a simulated disk; see calls.h, disk_inode.h.
 *
 * Floor 1. As on Linux, reads and writes go to the page cache, and a sync that fails gives up what
 * it could not write: the next one succeeds, and the disk lacks it.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "sys/sim/calls.h"
#include "sys/sim/disk_inode.h"
#include "sys/sim/memory.h"

struct file {
    struct weft__desc desc;
    struct weft__inode *inode; /* NULL: not attached yet */
    int flags;                 /* of open(2) */
    int64_t position;          /* of read(2) and write(2) */
};

static struct file *file_of(struct weft__desc *d)
{
    return WEFT__CONTAINER_OF(d, struct file, desc);
}

/* --- Reading and writing ---------------------------------------------------------------------- */

static bool chance(const struct weft__inode *i, uint32_t p)
{
    return weft__world_chance(i->disk->host->world, p);
}

/* A fault that was asked for strikes. */
static bool fails(const struct weft__inode *i, uint32_t p, const char *fmt)
{
    const struct weft__host *h = i->disk->host;
    if (!chance(i, p))
        return false;
    weft__trace(h->world, h, NULL, fmt, (int64_t)i->number, 0, 0, 0);
    return true;
}

/* len, or by chance less. */
static int64_t maybe_short(const struct weft__inode *i, int64_t len)
{
    struct weft__host *h = i->disk->host;
    if (len > 1 && weft__world_chance(h->world, h->faults.short_io))
        return 1 + (int64_t)weft__world_below(h->world, (uint64_t)len - 1);
    return len;
}

static ssize_t read_at(struct file *f, void *buf, size_t len, int64_t offset)
{
    struct weft__inode *i = f->inode;
    if ((f->flags & O_ACCMODE) == O_WRONLY)
        return -EBADF;
    if (S_ISDIR(i->mode))
        return -EISDIR;
    if (offset < 0)
        return -EINVAL;
    if (fails(i, i->disk->options.read_error, "disk: a read of inode %" PRIi64 " fails"))
        return -EIO;
    if (offset >= i->now.size || len == 0)
        return 0;
    int64_t n = maybe_short(i, (int64_t)weft__min_u64(len, (uint64_t)(i->now.size - offset)));
    memcpy(buf, i->now.bytes + offset, (size_t)n);
    return (ssize_t)n;
}

/* How large the file may become now. */
static int64_t room_for(const struct weft__inode *i)
{
    int64_t capacity = i->disk->options.capacity;
    int64_t left = weft__max_i64(capacity - i->disk->used, 0);
    return capacity > 0 ? weft__min_i64(WEFT__SIM_FILE_MAX, i->now.size + left)
                        : WEFT__SIM_FILE_MAX;
}

static ssize_t write_at(struct file *f, const void *buf, size_t len, int64_t offset)
{
    struct weft__inode *i = f->inode;
    if ((f->flags & O_ACCMODE) == O_RDONLY)
        return -EBADF;
    if (offset < 0)
        return -EINVAL;
    if (f->flags & O_APPEND)
        offset = i->now.size;
    if (fails(i, i->disk->options.write_error, "disk: a write to inode %" PRIi64 " fails"))
        return -EIO;
    if (chance(i, i->disk->host->faults.no_memory))
        return -ENOMEM;
    if (len == 0)
        return 0;
    int64_t room = room_for(i) - offset;
    if (room <= 0)
        return offset >= WEFT__SIM_FILE_MAX ? -EFBIG : -ENOSPC;
    int64_t n = maybe_short(i, (int64_t)weft__min_u64(len, (uint64_t)room));
    int err = weft__inode_write(i, buf, n, offset);
    if (err < 0)
        return err;
    i->changed_ns = weft__sim_wall_ns(f->desc.proc);
    return (ssize_t)n;
}

/* --- The class -------------------------------------------------------------------------------- */

static enum weft__sim_tried file_attempt(struct weft__desc *d, struct weft__op *op)
{
    struct file *f = file_of(d);
    ssize_t n = -ENOTSOCK;
    if (op->kind == WEFT__OP_READ)
        n = read_at(f, op->u.io.buf, op->u.io.len, f->position);
    else if (op->kind == WEFT__OP_WRITE)
        n = write_at(f, op->u.io.buf, op->u.io.len, f->position);
    if (n > 0 && op->kind == WEFT__OP_WRITE && (f->flags & O_APPEND))
        f->position = f->inode->now.size;
    else if (n > 0)
        f->position += n;
    op->res = (int)n;
    return WEFT__SIM_ENDED;
}

static short file_ready(struct weft__desc *d)
{
    (void)d;
    return POLLIN | POLLOUT;
}

void weft__inode_stat(const struct weft__inode *i, struct stat *st)
{
    *st = (struct stat){
        .st_ino = i->number,
        .st_mode = i->mode,
        .st_nlink = i->links,
        .st_size = i->now.size,
        .st_blksize = 4096,
        .st_blocks = (i->now.size + WEFT__SECTOR - 1) / WEFT__SECTOR,
        .st_mtim = {.tv_sec = i->changed_ns / 1000000000, .tv_nsec = i->changed_ns % 1000000000},
    };
}

static int file_stat(struct weft__desc *d, struct stat *st)
{
    weft__inode_stat(file_of(d)->inode, st);
    return 0;
}

static void file_release(struct weft__desc *d, bool crash)
{
    struct file *f = file_of(d);
    (void)crash; /* what was not synced, weft__disk_crash decides over */
    if (f->inode != NULL) {
        f->inode->opens--;
        weft__inode_charge(f->inode);
        weft__inode_unref(f->inode);
    }
    weft__free(f);
}

static void file_describe(const struct weft__desc *d, char *buf, size_t cap)
{
    const struct file *f = WEFT__CONTAINER_OF(d, const struct file, desc);
    const struct weft__inode *i = f->inode;
    (void)snprintf(buf, cap, "%s, inode %" PRIu64, S_ISDIR(i->mode) ? "directory" : "file",
                   i->number);
}

static const struct weft__desc_class file_class = {
    .kind = "file",
    .attempt = file_attempt,
    .ready = file_ready,
    .stat = file_stat,
    .release = file_release,
    .describe = file_describe,
};

int weft__file_open(struct weft__proc *p, int flags)
{
    struct file *f = weft__calloc(1, sizeof *f);
    if (f == NULL)
        return -ENOMEM;
    weft__desc_init(&f->desc, &file_class, p);
    f->flags = flags;
    f->desc.nonblock = (flags & O_NONBLOCK) != 0;
    int fd = weft__desc_install(p, &f->desc);
    if (fd < 0)
        weft__desc_unref(&f->desc);
    return fd;
}

void weft__file_attach(struct weft__proc *p, int fd, struct weft__inode *i)
{
    struct file *f = file_of(weft__desc_of(p, fd));
    f->inode = i;
    weft__inode_ref(i);
    i->opens++;
    weft__inode_charge(i);
}

/* --- Calls ------------------------------------------------------------------------------------ */

/* The file of a descriptor, for a call that takes its time from here on. */
static struct file *begin(struct weft__proc *p, int fd, const char *what, int *err)
{
    struct weft__disk *disk;
    *err = weft__disk_begin(&disk, p);
    struct weft__desc *d = *err == 0 ? weft__desc_for(p, fd, what, err) : NULL;
    if (d == NULL)
        return NULL;
    *err = -ESPIPE;
    return d->cls == &file_class ? file_of(d) : NULL;
}

ssize_t weft__sim_pread(struct weft__proc *p, int fd, void *buf, size_t len, int64_t offset)
{
    int err;
    struct file *f = begin(p, fd, "pread", &err);
    return f != NULL ? read_at(f, buf, len, offset) : err;
}

ssize_t weft__sim_pwrite(struct weft__proc *p, int fd, const void *buf, size_t len, int64_t offset)
{
    int err;
    struct file *f = begin(p, fd, "pwrite", &err);
    return f != NULL ? write_at(f, buf, len, offset) : err;
}

int weft__sim_ftruncate(struct weft__proc *p, int fd, int64_t size)
{
    int err;
    struct file *f = begin(p, fd, "ftruncate", &err);
    if (f == NULL)
        return err;
    struct weft__inode *i = f->inode;
    if ((f->flags & O_ACCMODE) == O_RDONLY || size < 0)
        return -EINVAL;
    if (fails(i, i->disk->options.write_error, "disk: a write to inode %" PRIi64 " fails"))
        return -EIO;
    if (size > WEFT__SIM_FILE_MAX)
        return -EFBIG;
    if (size > i->now.size && size > room_for(i))
        return -ENOSPC;
    err = weft__inode_truncate(i, size);
    if (err == 0)
        i->changed_ns = weft__sim_wall_ns(p);
    return err;
}

int weft__sim_fsync(struct weft__proc *p, int fd)
{
    int err;
    struct file *f = begin(p, fd, "fsync", &err);
    if (f == NULL)
        return err;
    struct weft__inode *i = f->inode;
    bool failed = chance(i, i->disk->options.sync_error);
    if (S_ISDIR(i->mode) && !failed)
        weft__disk_sync_dir(i);
    else if (!S_ISDIR(i->mode))
        weft__inode_sync(i, failed);
    return failed ? -EIO : 0;
}
