/* SPDX-License-Identifier: MIT */
#ifndef WEFT__SIM_DISK_H
#define WEFT__SIM_DISK_H
/*
 * The disk of a simulated host, for the rest of the simulated kernel (floor 1): what belongs to no
 * single process. The calls on files are in calls.h.
 *
 * A new disk has the directories /dev/shm, /etc, /home, /run, /srv, /tmp, /var/lib, /var/log and
 * /var/tmp, and those above them. Everybody there is the superuser; the working directory is /.
 *
 * What a crash does, beside what calls.h says: of the changes to files that were not synced each is
 * by chance kept, lost, or torn at a 512-byte sector, whatever their order; of the changes to
 * directories each is by chance kept or lost, but none is kept without those that it rests on, as
 * on file systems with a journal. Whatever was synced is there afterwards.
 */
#include <stdint.h>
#include <sys/types.h>

#include "sys/sim/world.h"

struct weft__disk_options {
    int64_t latency_ns;                           /* of each call */
    int64_t jitter_ns;                            /* up to so much more */
    uint32_t read_error, write_error, sync_error; /* chances of 2^32 that it is -EIO */
    int64_t capacity;                             /* bytes of all files; 0: no bound */
};

/* 0 or -ENOMEM. A capacity that is below what is used already only refuses more. */
int weft__disk_set(struct weft__host *h, const struct weft__disk_options *o);
/* The host has no power any more, and no descriptors. */
void weft__disk_crash(struct weft__host *h);
/* Frees it. No descriptor refers to a file of it. A host without a disk is fine. */
void weft__disk_close(struct weft__host *h);

/* Makes the file of a Unix socket; *inode: its number, that no other file of the host ever has.
 * Found by weft__sim_lstat, removed by weft__sim_unlink. -EADDRINUSE (something is there already),
 * -ENOENT, -ENOTDIR, -ENOMEM, -EIO (a ghost) ... */
int weft__disk_put_socket(struct weft__proc *p, const char *path, uint64_t *inode);

/* rmdir(2). */
int weft__sim_rmdir(struct weft__proc *p, const char *path);

/* What the process's calls on files have taken since this was last called, in nanoseconds. */
int64_t weft__sim_take_delay(void);
/* Before a sync: how long it is under way until it takes effect, for the caller to sleep, and then
 * to say, so that the call itself takes so much less. 0 and nothing outside a simulation. */
int64_t weft__sim_sync_begins(void);
void weft__sim_sync_goes_on(int64_t slept_ns);

#endif
