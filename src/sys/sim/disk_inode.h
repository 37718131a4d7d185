/* SPDX-License-Identifier: MIT */
#ifndef WEFT__SIM_DISK_INODE_H
#define WEFT__SIM_DISK_INODE_H
/*
 * The inside of a simulated disk (floor 1). Everything is there twice: as the running system sees
 * it (`now`), and as it would be found after a loss of power (`disk`), with a log of the changes
 * that make one out of the other.
 *
 * Invariants:
 *  - `now` is `disk` with all changes of the logs applied in order, but for those that a failed
 *    sync has dropped: then `disk` lacks them until they are written anew;
 *  - neither a sync nor a crash allocates: room for the bytes on disk is had with the write, and an
 *    entry lives while it is seen, on disk, or in the log;
 *  - beyond their size, images are zero up to their room;
 *  - inodes are counted: by entries (now, disk, each), changes in the log, descriptors, and entries
 *    within a directory.
 */
#include "sys/sim/disk.h"

#define WEFT__SECTOR 512
/* Of one file: contents lie in memory. */
#define WEFT__SIM_FILE_MAX (INT64_C(256) << 20)
/* What a file's log, and the directories', hold at most; then the oldest changes reach the disk, as
 * by the kernel's own write-back. */
#define WEFT__SIM_WRITES_MAX 1024
#define WEFT__SIM_WRITE_BYTES_MAX (INT64_C(4) << 20)
#define WEFT__SIM_NAMES_MAX 256

struct weft__entry;

/* A change of a file's content that is not synced. */
struct weft__change {
    struct weft__node link; /* in inode->changes */
    int64_t offset;         /* of a truncation: the new size */
    int64_t len;            /* -1: a truncation */
    uint8_t bytes[];
};

struct weft__image {
    uint8_t *bytes;
    int64_t size;
};

struct weft__inode {
    struct weft__disk *disk;
    struct weft__node link; /* in disk->inodes */
    uint64_t number;
    mode_t mode; /* with the type */
    unsigned refs;
    unsigned links; /* entries that are seen */
    unsigned opens; /* descriptors */
    int64_t charged;
    int64_t changed_ns; /* wall clock */
    /* Of files. */
    struct weft__image now, stored;
    int64_t room; /* of both images */
    struct weft__list changes;
    size_t n_changes;
    int64_t change_bytes;
    /* Of directories. */
    struct weft__inode *parent;   /* not counted; the root is its own */
    struct weft__entry **entries; /* by name */
    size_t n_entries, entries_cap;
};

/* A name in a directory. */
struct weft__entry {
    struct weft__inode *dir;
    struct weft__inode *now, *stored; /* NULL: none of that name */
    unsigned pending;                 /* changes in the log that name it */
    char name[];
};

/* A change of directories that is not synced: a name that is gone, one that was made, or both. */
struct weft__naming {
    struct weft__node link;          /* in disk->namings */
    struct weft__entry *gone, *made; /* NULL: none */
    struct weft__inode *inode;       /* that it is about */
    bool moves_dir;
    bool chosen; /* while a sync or crash decides */
};

struct weft__disk {
    struct weft__host *host;
    struct weft__disk_options options;
    struct weft__inode *root;
    uint64_t next_number;
    int64_t used;
    struct weft__list inodes;
    struct weft__list namings;
    size_t n_namings;
};

/* --- Calls' beginning (disk.c) ---------------------------------------------------------------- */

/* The disk for a call, which takes its time from here on. Made if need be. -EIO for a ghost,
 * -ENOMEM. */
int weft__disk_begin(struct weft__disk **ret, struct weft__proc *p);

/* --- Inodes (disk_inode.c) -------------------------------------------------------------------- */

struct weft__inode *weft__inode_new(struct weft__disk *d, mode_t mode);
void weft__inode_ref(struct weft__inode *i);
void weft__inode_unref(struct weft__inode *i); /* NULL is fine */
/* What it takes of the disk, after its size or its users have changed. */
void weft__inode_charge(struct weft__inode *i);
/* The entry of that name, made if `make`. NULL: there is none, or no memory. */
struct weft__entry *weft__entry_get(struct weft__inode *dir, const char *name, size_t len,
                                    bool make);
/* What it names for the running system, and on the disk. */
void weft__entry_see(struct weft__entry *e, struct weft__inode *i);
void weft__entry_store(struct weft__entry *e, struct weft__inode *i);
/* Frees it when nothing needs it any more. */
void weft__entry_check(struct weft__entry *e);

/* --- The logs (disk_log.c) -------------------------------------------------------------------- */

/* Notes, and makes seen, a change of names. `gone`, `made`: one of them may be NULL. -ENOMEM:
 * nothing has changed. */
int weft__disk_name(struct weft__disk *d, struct weft__entry *gone, struct weft__entry *made,
                    struct weft__inode *i);
/* Makes everything durable that is about this directory, and what that rests on. */
void weft__disk_sync_dir(struct weft__inode *dir);
/* Room for so many bytes. -ENOMEM, -EFBIG. */
int weft__inode_reserve(struct weft__inode *i, int64_t size);
/* Write and truncate, noted and seen. -ENOMEM, -EFBIG: nothing has changed. */
int weft__inode_write(struct weft__inode *i, const void *buf, int64_t len, int64_t offset);
int weft__inode_truncate(struct weft__inode *i, int64_t size);
/* Makes its content durable; failed: what was not is kept or dropped by chance. */
void weft__inode_sync(struct weft__inode *i, bool failed);

/* --- Descriptors (disk_file.c) ---------------------------------------------------------------- */

/* A descriptor that refers to nothing yet, so that nothing is made when there is none to be had;
 * and its file. */
int weft__file_open(struct weft__proc *p, int flags);
void weft__file_attach(struct weft__proc *p, int fd, struct weft__inode *i);
void weft__inode_stat(const struct weft__inode *i, struct stat *st);

#endif
