/* SPDX-License-Identifier: MIT */
#ifndef WEFT_FILE_H
#define WEFT_FILE_H
/*
 * Files on disk, for tasks and threads: read and write at a place, append, make durable, replace as
 * a whole. (asyncio has none of it; aiofiles, and os.pread, os.pwrite, os.fdatasync.)
 *
 * Every call here may wait and is a cancellation point. In a task of a loop the work is done on a
 * thread of the loop's work pool (offload.h), so that the loop goes on while the disk is slow; a
 * plain thread does it itself. Inside a simulated host (sim.h) the file is one of the host's own
 * simulated disk, which loses what was not synced when the host crashes.
 *
 * Deadlines and cancels: a call that the pool has not begun is taken back. One that has begun
 * cannot be, and is waited for; then its own result counts. So after -ETIMEDOUT and -ECANCELED
 * nothing was done, and after any result nothing of the call is under way: it touches neither
 * buffer nor file any more. (weft_file_load and weft_file_store look between their steps, and give
 * up where nothing is seen of what they did.) A deadline that has passed is -ETIMEDOUT at once.
 *
 * Thread rule: a file belongs to no loop: any thread may use it, several tasks and threads at once,
 * too, but for its close. Buffers and paths are borrowed for the call. Paths are those of open(2).
 * Units: bytes; offsets from 0.
 *
 * Errors, beside those named at each call: -ETIMEDOUT, -ECANCELED; -EDEADLK in a callback; of the
 * pool WEFT_ELIMIT, -EAGAIN, -ENOMEM (nothing was done then); and what the system says, see
 * open(2), pread(2), pwrite(2), fsync(2), rename(2): -ENOENT, -EACCES, -ENOSPC, -EIO ... The detail
 * names the path. On failure out-parameters are untouched; the bytes of a read's buffer are not
 * known then.
 */
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <weft/time.h>

WEFT_BEGIN_DECLS

struct weft_file;

enum weft_file_flags {
    WEFT_FILE_READ = 1,
    WEFT_FILE_WRITE = 2,
    WEFT_FILE_CREATE = 4,    /* when there is none; to be durable: weft_file_sync_dir */
    WEFT_FILE_EXCLUSIVE = 8, /* with CREATE: -EEXIST when there is one */
    WEFT_FILE_TRUNCATE = 16, /* to 0 bytes */
    WEFT_FILE_APPEND = 32,   /* as WRITE, but by weft_file_append only */
};

/*
 * Opens a file. flags: enum weft_file_flags; all but READ and APPEND go with WRITE or APPEND.
 * mode: of a file that is made, less the umask; 0: 0666. *ret is the caller's until
 * weft_file_close. Returns 0; -EINVAL (flags that do not go together) ...
 */
WEFT_API WEFT_MUST_CHECK int weft_file_open(struct weft_file **ret, const char *path,
                                            unsigned flags, mode_t mode, weft_deadline d);

/*
 * Closes and frees it, always: in a task that is cancelled, where no wait is allowed, and when the
 * pool is full, the calling thread does it itself. *f becomes NULL; NULL is fine. Does not sync.
 * No other call on it may be under way: then it is -EBUSY, and nothing has happened.
 * Returns 0, or what close(2) said of earlier writes (-EIO, -EDQUOT ...).
 */
WEFT_API int weft_file_close(struct weft_file **f, weft_deadline d);

/* The descriptor, which stays the file's: for fstat(2), weft_sendfile ... */
WEFT_API int weft_file_fd(const struct weft_file *f);

/*
 * Reads at offset until buf is full or the file ends. Returns the count, less than len only at the
 * end of the file: 0 at or beyond it. -EINVAL (an offset below 0, a len above SSIZE_MAX), -EBADF
 * (opened without READ), -EISDIR ...
 */
WEFT_API WEFT_MUST_CHECK ssize_t weft_file_read_at(struct weft_file *f, void *buf, size_t len,
                                                   int64_t offset, weft_deadline d);

/*
 * Writes all of it at offset; a gap before it reads as zeros. Returns 0, or an error (a part may
 * have been written then). -EINVAL (as of read_at; or opened with APPEND), -EBADF (opened without
 * WRITE), -ENOSPC, -EFBIG ...
 */
WEFT_API WEFT_MUST_CHECK int weft_file_write_at(struct weft_file *f, const void *buf, size_t len,
                                                int64_t offset, weft_deadline d);

/*
 * Writes all of it at the end of a file that was opened with APPEND. What several tasks append at
 * once by one struct weft_file does not mix. Returns 0, or an error as of write_at: a part may be
 * at the end then, which weft_file_truncate takes away.
 */
WEFT_API WEFT_MUST_CHECK int weft_file_append(struct weft_file *f, const void *buf, size_t len,
                                              weft_deadline d);

/* Its size now, or an error. */
WEFT_API WEFT_MUST_CHECK int64_t weft_file_size(struct weft_file *f, weft_deadline d);

/* Cuts it, or fills it up with zeros, to size. 0; -EINVAL (below 0, opened without WRITE) ... */
WEFT_API WEFT_MUST_CHECK int weft_file_truncate(struct weft_file *f, int64_t size, weft_deadline d);

/*
 * Makes its bytes and its size durable: after 0 they outlive a loss of power (fdatasync(2)). That
 * the file has its name is another matter: weft_file_sync_dir. After an error nobody knows what is
 * durable of what was written since the last sync, and a later sync that succeeds says nothing
 * about it: write it anew.
 */
WEFT_API WEFT_MUST_CHECK int weft_file_sync(struct weft_file *f, weft_deadline d);

/* --- Names ------------------------------------------------------------------------------------ */

/* Makes durable what was made, renamed and removed in the directory of that path. */
WEFT_API WEFT_MUST_CHECK int weft_file_sync_dir(const char *path, weft_deadline d);

/* rename(2): at any time `to` is the old file or the new one. Durable after weft_file_sync_dir. */
WEFT_API WEFT_MUST_CHECK int weft_file_rename(const char *from, const char *to, weft_deadline d);

/* Removes a file or an empty directory. -ENOENT, -ENOTEMPTY ... */
WEFT_API WEFT_MUST_CHECK int weft_file_remove(const char *path, weft_deadline d);

/* mkdir(2). mode less the umask; 0: 0777. -EEXIST ... */
WEFT_API WEFT_MUST_CHECK int weft_file_make_dir(const char *path, mode_t mode, weft_deadline d);

/* --- Whole files ------------------------------------------------------------------------------ */

/*
 * Reads the whole file: *buf has its *len bytes and a NUL behind them, and is the caller's, to be
 * freed by free(3). Returns 0; -EFBIG when it has more than max bytes; -ENOMEM ...
 */
WEFT_API WEFT_MUST_CHECK int weft_file_load(const char *path, void **buf, size_t *len, size_t max,
                                            weft_deadline d);

/*
 * Writes the whole file, so that after 0 the new content is durable, and at any time, also after a
 * loss of power, the old or the new one is there, whole: to path.N.tmp (N random) in the same
 * directory, which is synced, renamed, and the directory synced. A file that was there gives its
 * mode to the new one, but not its owner; a symbolic link at path is replaced, not followed.
 * Returns 0, or an error: after one of the last sync the new content is there and may not be
 * durable, after all others the old one is. A crash may leave path.N.tmp behind.
 */
WEFT_API WEFT_MUST_CHECK int weft_file_store(const char *path, const void *buf, size_t len,
                                             weft_deadline d);

WEFT_END_DECLS
#endif
