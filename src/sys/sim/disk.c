/* SPDX-License-Identifier: MIT */
/*
 * The disk of a simulated host: its options, and the calls that take a path; see disk.h, calls.h.
 *
 * Floor 1. There are no links beside the one name of each file, neither hard nor symbolic.
 */
#include "sys/sim/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "sys/sim/calls.h"
#include "sys/sim/disk_inode.h"
#include "sys/sim/driver.h"
#include "sys/sim/memory.h"

#define LATENCY_DEFAULT_NS INT64_C(100000)
#define UMASK 022

/* --- The disk --------------------------------------------------------------------------------- */

static int add_directory(struct weft__disk *d, struct weft__inode *parent, const char *name,
                         struct weft__inode **ret)
{
    struct weft__entry *e = weft__entry_get(parent, name, strlen(name), true);
    struct weft__inode *i = e != NULL ? weft__inode_new(d, S_IFDIR | 0755) : NULL;
    if (i != NULL) {
        weft__entry_see(e, i);
        weft__entry_store(e, i);
        weft__inode_unref(i);
        *ret = i;
    } else if (e != NULL) {
        weft__entry_check(e);
    }
    return i != NULL ? 0 : -ENOMEM;
}

static int add_directories(struct weft__disk *d)
{
    static const char *const top[] = {"etc", "home", "run", "srv", "tmp"};
    static const char *const in_var[] = {"lib", "log", "tmp"};
    struct weft__inode *dev, *var, *other;
    int err = add_directory(d, d->root, "dev", &dev);
    if (err == 0)
        err = add_directory(d, dev, "shm", &other);
    if (err == 0)
        err = add_directory(d, d->root, "var", &var);
    for (size_t i = 0; i < WEFT__ARRAY_LEN(in_var) && err == 0; i++)
        err = add_directory(d, var, in_var[i], &other);
    for (size_t i = 0; i < WEFT__ARRAY_LEN(top) && err == 0; i++)
        err = add_directory(d, d->root, top[i], &other);
    return err;
}

static int disk_open(struct weft__host *h)
{
    struct weft__disk *d = weft__calloc(1, sizeof *d);
    if (d == NULL)
        return -ENOMEM;
    d->host = h;
    d->options.latency_ns = LATENCY_DEFAULT_NS;
    weft__list_init(&d->inodes);
    weft__list_init(&d->namings);
    d->root = weft__inode_new(d, S_IFDIR | 0755);
    if (d->root == NULL) {
        weft__free(d);
        return -ENOMEM;
    }
    d->root->parent = d->root;
    d->root->links = 1;
    h->disk = d;
    int err = add_directories(d);
    if (err < 0)
        weft__disk_close(h);
    return err;
}

int weft__disk_set(struct weft__host *h, const struct weft__disk_options *o)
{
    int err = h->disk == NULL ? disk_open(h) : 0;
    if (err == 0)
        h->disk->options = *o;
    return err;
}

static int64_t latency(struct weft__proc *p, const struct weft__disk_options *o)
{
    int64_t ns = o->latency_ns;
    if (o->jitter_ns > 0)
        ns += (int64_t)weft__world_below(p->world, (uint64_t)o->jitter_ns + 1);
    return ns;
}

int64_t weft__sim_sync_begins(void)
{
    struct weft__proc *p = weft__sim_proc;
    if (p == NULL || p->ghost || p->host->disk == NULL)
        return 0;
    int64_t ns = latency(p, &p->host->disk->options);
    return ns > 0 ? (int64_t)weft__world_below(p->world, (uint64_t)ns + 1) : 0;
}

void weft__sim_sync_goes_on(int64_t slept_ns)
{
    if (weft__sim_proc != NULL)
        weft__sim_proc->sync_slept_ns = slept_ns;
}

int weft__disk_begin(struct weft__disk **ret, struct weft__proc *p)
{
    struct weft__host *h = p->host;
    if (p->ghost)
        return -EIO;
    int err = h->disk == NULL ? disk_open(h) : 0;
    if (err < 0)
        return err;
    const struct weft__disk_options *o = &h->disk->options;
    p->disk_delay_ns += weft__max_i64(latency(p, o) - p->sync_slept_ns, 0);
    p->sync_slept_ns = 0;
    *ret = h->disk;
    return 0;
}

int64_t weft__sim_take_delay(void)
{
    struct weft__proc *p = weft__sim_proc;
    if (p == NULL)
        return 0;
    int64_t ns = p->disk_delay_ns;
    p->disk_delay_ns = 0;
    return ns;
}

/* --- Paths ------------------------------------------------------------------------------------ */

/* Where a path leads: a name in a directory, and what is there. */
struct place {
    struct weft__inode *dir;
    const char *name; /* len 0: the path is of dir itself (/, . or ..) */
    size_t len;
    struct weft__inode *inode; /* NULL: nothing */
    bool slash;                /* it ends with one: a directory is meant */
};

static struct weft__inode *seen(struct weft__inode *dir, const char *name, size_t len)
{
    struct weft__entry *e = weft__entry_get(dir, name, len, false);
    return e != NULL ? e->now : NULL;
}

static bool is(const char *name, size_t len, const char *what)
{
    return len == strlen(what) && memcmp(name, what, len) == 0;
}

/* Goes one name further. */
static int step(struct place *at, const char *name, size_t len)
{
    if (len > NAME_MAX)
        return -ENAMETOOLONG;
    if (at->inode == NULL)
        return -ENOENT;
    if (!S_ISDIR(at->inode->mode))
        return -ENOTDIR;
    at->dir = at->inode;
    at->name = name;
    at->len = len;
    if (is(name, len, ".") || is(name, len, "..")) {
        at->dir = len == 2 ? at->dir->parent : at->dir;
        at->len = 0;
        at->inode = at->dir;
    } else {
        at->inode = seen(at->dir, name, len);
    }
    return 0;
}

static int walk(struct weft__disk *d, const char *path, struct place *at)
{
    *at = (struct place){.dir = d->root, .inode = d->root};
    size_t left = strnlen(path, PATH_MAX);
    if (left == 0)
        return -ENOENT;
    if (left == PATH_MAX)
        return -ENAMETOOLONG;
    at->slash = path[left - 1] == '/';
    while (*path != '\0') {
        size_t len = strcspn(path, "/");
        int err = len > 0 ? step(at, path, len) : 0;
        if (err < 0)
            return err;
        path += len;
        path += strspn(path, "/");
    }
    return at->slash && at->inode != NULL && !S_ISDIR(at->inode->mode) ? -ENOTDIR : 0;
}

static int begin(struct weft__proc *p, const char *path, struct weft__disk **d, struct place *at)
{
    int err = weft__disk_begin(d, p);
    return err == 0 ? walk(*d, path, at) : err;
}

static void tell_made(const struct weft__inode *i, const struct place *at)
{
    char text[120];
    const struct weft__host *h = i->disk->host;
    (void)snprintf(text, sizeof text, "disk: makes '%.*s', inode %" PRIu64,
                   (int)weft__min_size(at->len, 60), at->name, i->number);
    weft__trace_note(h->world, h, text);
}

/* A new inode at a place where nothing is. */
static int make(struct weft__proc *p, struct weft__disk *d, struct place *at, mode_t mode)
{
    struct weft__entry *e = weft__entry_get(at->dir, at->name, at->len, true);
    struct weft__inode *i = e != NULL ? weft__inode_new(d, mode) : NULL;
    int err = i != NULL ? weft__disk_name(d, NULL, e, i) : -ENOMEM;
    if (err == 0) {
        i->changed_ns = weft__sim_wall_ns(p);
        at->inode = i;
        tell_made(i, at);
    } else if (e != NULL) {
        weft__entry_check(e);
    }
    weft__inode_unref(i);
    return err;
}

/* --- Calls ------------------------------------------------------------------------------------ */

static bool writes(int flags)
{
    return (flags & O_ACCMODE) != O_RDONLY;
}

/* The inode is, or will be, there: may it be opened so? */
static int may_open(const struct place *at, int flags)
{
    if (at->inode == NULL) {
        if (!(flags & O_CREAT))
            return -ENOENT;
        if (flags & O_DIRECTORY)
            return -EINVAL;
        return at->slash ? -EISDIR : 0;
    }
    if ((flags & O_CREAT) && (flags & O_EXCL))
        return -EEXIST;
    if (S_ISSOCK(at->inode->mode))
        return -ENXIO;
    if (S_ISDIR(at->inode->mode))
        return writes(flags) || (flags & (O_CREAT | O_TRUNC)) ? -EISDIR : 0;
    return flags & O_DIRECTORY ? -ENOTDIR : 0;
}

int weft__sim_open(struct weft__proc *p, const char *path, int flags, mode_t mode)
{
    struct weft__disk *d;
    struct place at;
    int err = begin(p, path, &d, &at);
    if (err == 0)
        err = weft__sim_refuse_file(p);
    if (err == 0)
        err = may_open(&at, flags);
    if (err < 0)
        return err;
    int fd = weft__file_open(p, flags);
    if (fd < 0)
        return fd;
    if (at.inode == NULL)
        err = make(p, d, &at, S_IFREG | (mode & 07777 & ~(mode_t)UMASK));
    else if ((flags & O_TRUNC) && at.inode->now.size > 0)
        err = weft__inode_truncate(at.inode, 0);
    if (err < 0) {
        (void)weft__desc_close(p, fd);
        return err;
    }
    weft__file_attach(p, fd, at.inode);
    weft__trace(p->world, p->host, NULL, "disk: opens inode %" PRIi64 ", %" PRIi64 " bytes",
                (int64_t)at.inode->number, at.inode->now.size, 0, 0);
    return fd;
}

int weft__sim_mkdir(struct weft__proc *p, const char *path, mode_t mode)
{
    struct weft__disk *d;
    struct place at;
    int err = begin(p, path, &d, &at);
    if (err < 0)
        return err;
    if (at.inode != NULL)
        return -EEXIST;
    if (weft__world_chance(p->world, p->host->faults.no_memory))
        return -ENOMEM;
    return make(p, d, &at, S_IFDIR | (mode & 01777 & ~(mode_t)UMASK));
}

int weft__disk_put_socket(struct weft__proc *p, const char *path, uint64_t *inode)
{
    struct weft__disk *d;
    struct place at;
    int err = begin(p, path, &d, &at);
    if (err < 0)
        return err;
    if (at.inode != NULL)
        return -EADDRINUSE;
    if (at.slash)
        return -ENOENT;
    err = make(p, d, &at, S_IFSOCK | (0777 & ~(mode_t)UMASK));
    if (err == 0)
        *inode = at.inode->number;
    return err;
}

static int take_away(struct weft__disk *d, const struct place *at)
{
    return weft__disk_name(d, weft__entry_get(at->dir, at->name, at->len, false), NULL, at->inode);
}

int weft__sim_unlink(struct weft__proc *p, const char *path)
{
    struct weft__disk *d;
    struct place at;
    int err = begin(p, path, &d, &at);
    if (err < 0)
        return err;
    if (at.inode == NULL)
        return -ENOENT;
    return S_ISDIR(at.inode->mode) ? -EISDIR : take_away(d, &at);
}

static bool is_empty(const struct weft__inode *dir)
{
    for (size_t i = 0; i < dir->n_entries; i++)
        if (dir->entries[i]->now != NULL)
            return false;
    return true;
}

int weft__sim_rmdir(struct weft__proc *p, const char *path)
{
    struct weft__disk *d;
    struct place at;
    int err = begin(p, path, &d, &at);
    if (err < 0)
        return err;
    if (at.inode == NULL)
        return -ENOENT;
    if (!S_ISDIR(at.inode->mode))
        return -ENOTDIR;
    if (at.len == 0)
        return -EBUSY;
    return is_empty(at.inode) ? take_away(d, &at) : -ENOTEMPTY;
}

static bool is_within(const struct weft__inode *dir, const struct weft__inode *outer)
{
    for (; dir != outer; dir = dir->parent)
        if (dir->parent == dir)
            return false;
    return true;
}

static int may_rename(const struct place *from, const struct place *to)
{
    if (from->inode == NULL)
        return -ENOENT;
    if (from->len == 0 || to->len == 0)
        return -EBUSY;
    bool dir = S_ISDIR(from->inode->mode);
    if (dir && is_within(to->dir, from->inode))
        return -EINVAL;
    if (to->inode == NULL)
        return to->slash && !dir ? -ENOTDIR : 0;
    if (!S_ISDIR(to->inode->mode))
        return dir ? -ENOTDIR : 0;
    if (!dir)
        return -EISDIR;
    return is_empty(to->inode) || to->inode == from->inode ? 0 : -ENOTEMPTY;
}

int weft__sim_rename(struct weft__proc *p, const char *from, const char *to)
{
    struct weft__disk *d;
    struct place source, target;
    int err = begin(p, from, &d, &source);
    if (err == 0)
        err = walk(d, to, &target);
    if (err == 0)
        err = may_rename(&source, &target);
    if (err < 0 || source.inode == target.inode)
        return err;
    if (weft__world_chance(p->world, p->host->faults.no_memory))
        return -ENOMEM;
    struct weft__entry *made = weft__entry_get(target.dir, target.name, target.len, true);
    if (made == NULL)
        return -ENOMEM;
    struct weft__entry *gone = weft__entry_get(source.dir, source.name, source.len, false);
    err = weft__disk_name(d, gone, made, source.inode);
    if (err < 0)
        weft__entry_check(made);
    return err;
}

int weft__sim_lstat(struct weft__proc *p, const char *path, struct stat *st)
{
    struct weft__disk *d;
    struct place at;
    int err = begin(p, path, &d, &at);
    if (err < 0)
        return err;
    if (at.inode == NULL)
        return -ENOENT;
    weft__inode_stat(at.inode, st);
    return 0;
}

int weft__sim_chmod(struct weft__proc *p, const char *path, mode_t mode)
{
    struct weft__disk *d;
    struct place at;
    int err = begin(p, path, &d, &at);
    if (err < 0)
        return err;
    if (at.inode == NULL)
        return -ENOENT;
    at.inode->mode = (at.inode->mode & S_IFMT) | (mode & 07777);
    return 0;
}
