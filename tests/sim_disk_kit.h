/* SPDX-License-Identifier: MIT */
/*
 * What the tests of simulated disks share: a host with a process, and files as a whole.
 */
#ifndef SIM_DISK_KIT_H
#define SIM_DISK_KIT_H

#include <fcntl.h>

#include "rt_kit.h"

#include "sys/sim/calls.h"
#include "sys/sim/disk.h"
#include "sys/sim/world.h"

struct machine {
    struct weft__world *w;
    struct weft__host *h;
    struct weft__proc *p;
};

static inline struct machine machine(uint64_t seed)
{
    struct machine m;
    assert_int_equal(weft__world_open(&m.w, seed), 0);
    assert_int_equal(weft__host_open(&m.h, m.w, "machine"), 0);
    assert_int_equal(weft__proc_open(&m.p, m.h), 0);
    return m;
}

static inline void end(struct machine *m)
{
    weft__proc_close(m->p);
    weft__world_close(m->w);
}

/* Takes the power away, and starts it again. */
static inline void crash(struct machine *m)
{
    weft__proc_crash(m->p);
    weft__proc_close(m->p);
    assert_int_equal(weft__proc_open(&m->p, m->h), 0);
}

static inline void disk(struct machine *m, struct weft__disk_options o)
{
    assert_int_equal(weft__disk_set(m->h, &o), 0);
}

static inline void sync_dir(struct machine *m, const char *path)
{
    int fd = weft__sim_open(m->p, path, O_RDONLY | O_DIRECTORY, 0);
    assert_true(fd >= 0);
    assert_int_equal(weft__sim_fsync(m->p, fd), 0);
    assert_int_equal(weft__sim_close(m->p, fd), 0);
}

/* Makes the file with this content, durable but for its name. */
static inline void put(struct machine *m, const char *path, const char *text)
{
    int fd = weft__sim_open(m->p, path, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    assert_true(fd >= 0);
    assert_int_equal(weft__sim_pwrite(m->p, fd, text, strlen(text), 0), strlen(text));
    assert_int_equal(weft__sim_fsync(m->p, fd), 0);
    assert_int_equal(weft__sim_close(m->p, fd), 0);
}

/* Its length; buf gets as much as it takes. -ENOENT ... */
static inline ssize_t get(struct machine *m, const char *path, char *buf, size_t cap)
{
    int fd = weft__sim_open(m->p, path, O_RDONLY, 0);
    if (fd < 0)
        return fd;
    ssize_t n = weft__sim_pread(m->p, fd, buf, cap, 0);
    assert_int_equal(weft__sim_close(m->p, fd), 0);
    return n;
}

static inline bool holds(struct machine *m, const char *path, const char *text)
{
    char buf[256];
    ssize_t n = get(m, path, buf, sizeof buf);
    return n == (ssize_t)strlen(text) && memcmp(buf, text, (size_t)n) == 0;
}

static inline bool is_there(struct machine *m, const char *path)
{
    struct stat st;
    return weft__sim_lstat(m->p, path, &st) == 0;
}

static inline void expect(struct machine *m, const char *path, const char *text)
{
    assert_true(holds(m, path, text));
}

#endif
