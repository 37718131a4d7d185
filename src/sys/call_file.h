/* SPDX-License-Identifier: MIT */
#ifndef WEFT__CALL_FILE_H
#define WEFT__CALL_FILE_H
/*
 * System calls on files, as functions that return -errno (floor 1). They wait, for as long as the
 * disk takes, and so are made where that holds up no loop. In a simulated process they do not, and
 * what they took is asked of weft__sim_take_delay (sys/sim/disk.h).
 *
 * Each has one fault point; see call.h.
 */
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Close-on-exec, never a controlling terminal, and without waiting for the other end of a FIFO. */
int weft__call_open(const char *path, int flags, mode_t mode);
ssize_t weft__call_pread(int fd, void *buf, size_t len, int64_t offset);
ssize_t weft__call_pwrite(int fd, const void *buf, size_t len, int64_t offset);
int weft__call_fsync(int fd);
int weft__call_fdatasync(int fd);
int weft__call_ftruncate(int fd, int64_t size);
int64_t weft__call_fstat_size(int fd);
int weft__call_rename(const char *from, const char *to);
int weft__call_mkdir(const char *path, mode_t mode);
/* A file, or an empty directory. */
int weft__call_remove(const char *path);
/* The descriptor is gone, whatever it returns. */
int weft__call_close_file(int fd);

#endif
