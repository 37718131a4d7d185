/* SPDX-License-Identifier: MIT */
/*
 * Files, for tasks and threads; see <weft/file.h>.
 *
 * Floor 2. Each call is a job of the work pool that lies on the caller's stack. It is borrowed by
 * the job, as offload.c has it: a job that has begun is waited for, and here its result then
 * counts, though the waiter was cancelled, as otherwise nobody could know what is in the file.
 *
 * In a simulation the calling task makes the system calls itself, and sleeps as long as the disk
 * takes after each, so that the others run and the host can crash in between. A cancel cuts only
 * the sleep short: the call was made.
 *
 * Invariants: after a job that gave up (GAVE_UP) nothing is to be seen of it; users counts the
 * calls under way, so that a close in the middle of them is refused.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>

#include <weft/file.h>
#include <weft/offload.h>
#include <weft/random.h>

#include "base/alloc.h"
#include "rt/rt.h"
#include "sys/call.h"
#include "sys/call_file.h"
#include "sys/sim/disk.h"

/* Of a store or load between two looks for a cancel. */
#define PIECE ((size_t)1 << 20)
#define LOAD_FIRST ((size_t)4095)
#define NAME_TRIES 100
#define ALL_FLAGS 63u

/* No code of anybody's. */
#define GAVE_UP INT64_MIN

struct weft_file {
    int fd;
    unsigned flags;
    _Atomic unsigned users;
    pthread_mutex_t append; /* not in a simulation, where nobody runs beside */
    char path[];
};

struct call {
    int64_t (*fn)(struct call *c);
    const char *what; /* "open", "read" ... */
    const char *path, *to;
    struct weft_file *file;
    void *buf;
    const void *bytes;
    size_t len;
    int64_t offset; /* or size */
    int flags;
    mode_t mode;
    weft_deadline deadline;
    int64_t result;
    struct weft_job *job; /* NULL in a simulation */
    bool ended;
};

/* --- Making calls ----------------------------------------------------------------------------- */

static bool passed(weft_deadline d)
{
    return weft_left_ns(d) == 0;
}

/* A system call of a job has been made. */
static void made(void)
{
    int64_t ns = weft__sim_take_delay();
    if (ns > 0 && weft_sleep_until(weft_after_ns(ns)) < 0)
        return; /* cancelled, and the next step will see that */
}

/* A sync takes effect somewhere in the time that it takes, and not as it begins: a simulated crash
 * before that finds nothing synced. */
static void before_sync(void)
{
    int64_t ns = weft__sim_sync_begins();
    if (ns > 0 && weft_sleep_until(weft_after_ns(ns)) < 0)
        ns = 0; /* cancelled: it has begun all the same */
    weft__sim_sync_goes_on(ns);
}

static bool to_give_up(const struct call *c)
{
    if (c->job != NULL)
        return weft_job_canceled_mt(c->job);
    return weft__flow_canceled(weft__flow_self()) || passed(c->deadline);
}

static int job_main(struct weft_job *j, void *arg)
{
    struct call *c = arg;
    c->job = j;
    c->result = c->fn(c);
    c->ended = c->result != GAVE_UP;
    return c->ended ? 0 : -ECANCELED;
}

/* Where no pool says why it is given up; a shield's end is a cancel. */
static int reason(const struct call *c)
{
    bool late = passed(c->deadline) && !weft__flow_canceled(weft__flow_self());
    return late ? -ETIMEDOUT : -ECANCELED;
}

static int64_t run_in_host(struct call *c)
{
    (void)weft__sim_take_delay(); /* of calls that were not made here */
    c->result = c->fn(c);
    return c->result != GAVE_UP ? c->result : reason(c);
}

static int64_t run_job(struct call *c, weft_deadline d)
{
    int err = weft__wait_check();
    if (err == 0 && passed(d))
        err = -ETIMEDOUT;
    if (err < 0)
        return err;
    c->deadline = d;
    if (WEFT__UNLIKELY(weft__sim_proc != NULL))
        return run_in_host(c);
    err = weft_offload(job_main, c, d);
    if (c->ended)
        return c->result;
    return c->job != NULL && weft_loop_current() == NULL ? reason(c) : err;
}

/* Runs the call, and puts the path into the detail of an error. */
static int64_t run(struct call *c, weft_deadline d)
{
    weft__error_detail_clear();
    if (c->file != NULL)
        atomic_fetch_add(&c->file->users, 1);
    int64_t result = run_job(c, d);
    if (c->file != NULL)
        atomic_fetch_sub(&c->file->users, 1);
    if (result >= 0 || weft_error_detail()[0] != '\0')
        return result;
    return weft__fail((int)result, "%s '%s'", c->what, c->file != NULL ? c->file->path : c->path);
}

/* --- Opening and closing ---------------------------------------------------------------------- */

static int64_t do_open(struct call *c)
{
    int fd = weft__call_open(c->path, c->flags, c->mode);
    made();
    return fd;
}

static int open_flags(unsigned flags)
{
    static const int modes[] = {-EINVAL, O_RDONLY, O_WRONLY, O_RDWR};
    bool append = flags & WEFT_FILE_APPEND;
    bool writes = append || (flags & WEFT_FILE_WRITE);
    int how = modes[(flags & WEFT_FILE_READ ? 1 : 0) + (writes ? 2 : 0)];
    bool makes = flags & (WEFT_FILE_CREATE | WEFT_FILE_TRUNCATE);
    if ((flags & ~ALL_FLAGS) != 0 || how < 0 || (makes && !writes) ||
        ((flags & WEFT_FILE_EXCLUSIVE) && !(flags & WEFT_FILE_CREATE)))
        return weft__fail(-EINVAL, "file flags 0x%x do not go together", flags);
    return how | (append ? O_APPEND : 0) | (flags & WEFT_FILE_CREATE ? O_CREAT : 0) |
           (flags & WEFT_FILE_EXCLUSIVE ? O_EXCL : 0) | (flags & WEFT_FILE_TRUNCATE ? O_TRUNC : 0);
}

int weft_file_open(struct weft_file **ret, const char *path, unsigned flags, mode_t mode,
                   weft_deadline d)
{
    int how = open_flags(flags);
    if (how < 0)
        return how;
    size_t len = strlen(path);
    struct weft_file *f = weft__calloc(1, sizeof *f + len + 1);
    if (f == NULL)
        return -ENOMEM;
    memcpy(f->path, path, len);
    f->flags = flags;
    struct call c = {
        .fn = do_open, .what = "open", .path = path, .flags = how, .mode = mode ? mode : 0666};
    f->fd = (int)run(&c, d);
    if (f->fd < 0) {
        int err = f->fd;
        weft__free(f);
        return err;
    }
    pthread_mutex_init(&f->append, NULL);
    *ret = f;
    return 0;
}

static int64_t do_close(struct call *c)
{
    int err = weft__call_close_file((int)c->offset);
    made();
    return err;
}

int weft_file_close(struct weft_file **f, weft_deadline d)
{
    struct weft_file *file = *f;
    if (file == NULL)
        return 0;
    if (atomic_load(&file->users) > 0)
        return weft__fail(-EBUSY, "close '%s': another call on it is under way", file->path);
    *f = NULL;
    struct call c = {
        .fn = do_close, .what = "close", .path = file->path, .offset = file->fd, .deadline = d};
    bool may_wait = weft__sim_proc == NULL && !passed(d) && weft__wait_check() == 0;
    int64_t err = may_wait ? run(&c, d) : do_close(&c);
    if (may_wait && !c.ended)
        err = do_close(&c);
    if (err < 0)
        err = weft__fail((int)err, "close '%s'", file->path);
    pthread_mutex_destroy(&file->append);
    weft__free(file);
    return (int)err;
}

int weft_file_fd(const struct weft_file *f)
{
    return f->fd;
}

/* --- Reading and writing ---------------------------------------------------------------------- */

static int64_t do_read(struct call *c)
{
    size_t done = 0;
    while (done < c->len) {
        ssize_t n = weft__call_pread(c->file->fd, (char *)c->buf + done, c->len - done,
                                     c->offset + (int64_t)done);
        made();
        if (n < 0)
            return n;
        if (n == 0)
            break;
        done += (size_t)n;
    }
    return (int64_t)done;
}

static int check_range(const struct weft_file *f, size_t len, int64_t offset, const char *what)
{
    if (offset >= 0 && len <= SSIZE_MAX && (uint64_t)len <= (uint64_t)(INT64_MAX - offset))
        return 0;
    return weft__fail(-EINVAL, "%s '%s': %zu bytes at %" PRId64, what, f->path, len, offset);
}

ssize_t weft_file_read_at(struct weft_file *f, void *buf, size_t len, int64_t offset,
                          weft_deadline d)
{
    int err = check_range(f, len, offset, "read");
    if (err < 0)
        return err;
    struct call c = {
        .fn = do_read, .what = "read", .file = f, .buf = buf, .len = len, .offset = offset};
    return (ssize_t)run(&c, d);
}

/* All of it. Without a pause between its parts in a simulation when `whole`. */
static int write_all(int fd, const void *bytes, size_t len, int64_t offset, bool whole)
{
    for (size_t done = 0; done < len;) {
        ssize_t n =
            weft__call_pwrite(fd, (const char *)bytes + done, len - done, offset + (int64_t)done);
        if (!whole)
            made();
        if (n <= 0)
            return n < 0 ? (int)n : -EIO;
        done += (size_t)n;
    }
    return 0;
}

static int64_t do_write(struct call *c)
{
    return write_all(c->file->fd, c->bytes, c->len, c->offset, false);
}

int weft_file_write_at(struct weft_file *f, const void *buf, size_t len, int64_t offset,
                       weft_deadline d)
{
    int err = check_range(f, len, offset, "write");
    if (err < 0)
        return err;
    if (f->flags & WEFT_FILE_APPEND)
        return weft__fail(-EINVAL, "write '%s': it was opened for appending", f->path);
    struct call c = {
        .fn = do_write, .what = "write", .file = f, .bytes = buf, .len = len, .offset = offset};
    return (int)run(&c, d);
}

static int64_t do_append(struct call *c)
{
    bool alone = weft__sim_proc != NULL;
    if (!alone)
        pthread_mutex_lock(&c->file->append);
    int err = write_all(c->file->fd, c->bytes, c->len, 0, true); /* the offset does not count */
    if (!alone)
        pthread_mutex_unlock(&c->file->append);
    made();
    return err;
}

int weft_file_append(struct weft_file *f, const void *buf, size_t len, weft_deadline d)
{
    int err = check_range(f, len, 0, "append to");
    if (err < 0)
        return err;
    if (!(f->flags & WEFT_FILE_APPEND))
        return weft__fail(-EINVAL, "append to '%s': it was not opened for that", f->path);
    struct call c = {.fn = do_append, .what = "append to", .file = f, .bytes = buf, .len = len};
    return (int)run(&c, d);
}

static int64_t do_size(struct call *c)
{
    return weft__call_fstat_size(c->file->fd);
}

int64_t weft_file_size(struct weft_file *f, weft_deadline d)
{
    struct call c = {.fn = do_size, .what = "size of", .file = f};
    return run(&c, d);
}

static int64_t do_truncate(struct call *c)
{
    int err = weft__call_ftruncate(c->file->fd, c->offset);
    made();
    return err;
}

int weft_file_truncate(struct weft_file *f, int64_t size, weft_deadline d)
{
    struct call c = {.fn = do_truncate, .what = "truncate", .file = f, .offset = size};
    return (int)run(&c, d);
}

static int64_t do_sync(struct call *c)
{
    before_sync();
    int err = weft__call_fdatasync(c->file->fd);
    made();
    return err;
}

int weft_file_sync(struct weft_file *f, weft_deadline d)
{
    struct call c = {.fn = do_sync, .what = "sync", .file = f};
    return (int)run(&c, d);
}

/* --- Names ------------------------------------------------------------------------------------ */

static int sync_dir(const char *path)
{
    int fd = weft__call_open(path, O_RDONLY | O_DIRECTORY, 0);
    made();
    if (fd < 0)
        return fd;
    before_sync();
    int err = weft__call_fsync(fd);
    made();
    weft__call_close(fd);
    return err;
}

static int64_t do_sync_dir(struct call *c)
{
    return sync_dir(c->path);
}

int weft_file_sync_dir(const char *path, weft_deadline d)
{
    struct call c = {.fn = do_sync_dir, .what = "sync directory", .path = path};
    return (int)run(&c, d);
}

static int64_t do_rename(struct call *c)
{
    int err = weft__call_rename(c->path, c->to);
    made();
    return err;
}

int weft_file_rename(const char *from, const char *to, weft_deadline d)
{
    struct call c = {.fn = do_rename, .what = "rename", .path = from, .to = to};
    return (int)run(&c, d);
}

static int64_t do_remove(struct call *c)
{
    int err = weft__call_remove(c->path);
    made();
    return err;
}

int weft_file_remove(const char *path, weft_deadline d)
{
    struct call c = {.fn = do_remove, .what = "remove", .path = path};
    return (int)run(&c, d);
}

static int64_t do_make_dir(struct call *c)
{
    int err = weft__call_mkdir(c->path, c->mode);
    made();
    return err;
}

int weft_file_make_dir(const char *path, mode_t mode, weft_deadline d)
{
    struct call c = {
        .fn = do_make_dir, .what = "make directory", .path = path, .mode = mode ? mode : 0777};
    return (int)run(&c, d);
}

/* --- Whole files ------------------------------------------------------------------------------ */

/* Reads to the end of fd, of which `guess` bytes are likely. Returns the length, or an error. */
static int64_t load_all(struct call *c, int fd, size_t guess, char **ret)
{
    /* One more than can be tells whether it ends there. Some files (of /proc) say that they are
     * empty and are not. */
    size_t room = weft__min_size(weft__max_size(guess, LOAD_FIRST), c->len) + 1, done = 0;
    char *buf = weft__alloc(room);
    int64_t n = buf != NULL ? 1 : -ENOMEM;
    while (n > 0 && done <= c->len) {
        if (done == room) {
            size_t more = room <= c->len / 2 ? 2 * room : c->len + 1;
            char *larger = weft__realloc(buf, more);
            if (larger == NULL) {
                n = -ENOMEM;
                break;
            }
            buf = larger;
            room = more;
        }
        n = to_give_up(c) ? GAVE_UP
                          : weft__call_pread(fd, buf + done, weft__min_size(room - done, PIECE),
                                             (int64_t)done);
        made();
        done += n > 0 ? (size_t)n : 0;
    }
    if (n > 0)
        n = -EFBIG;
    if (n < 0) {
        weft__free(buf);
        return n;
    }
    buf[done] = '\0'; /* it was read up to its end, and so into less than the room */
    *ret = buf;
    return (int64_t)done;
}

static int64_t do_load(struct call *c)
{
    int fd = weft__call_open(c->path, O_RDONLY, 0);
    made();
    if (fd < 0)
        return fd;
    char *buf = NULL;
    struct stat st;
    int64_t n = weft__call_fstat(fd, &st);
    size_t guess = n == 0 && S_ISREG(st.st_mode) ? (size_t)st.st_size : 0;
    if (guess > c->len)
        n = -EFBIG;
    if (n == 0)
        n = load_all(c, fd, guess, &buf);
    weft__call_close(fd);
    c->buf = buf;
    return n;
}

int weft_file_load(const char *path, void **buf, size_t *len, size_t max, weft_deadline d)
{
    if (max >= SSIZE_MAX)
        return weft__fail(-EINVAL, "load '%s': a maximum of %zu bytes", path, max);
    struct call c = {.fn = do_load, .what = "load", .path = path, .len = max};
    int64_t n = run(&c, d);
    if (n < 0)
        return (int)n;
    *buf = c.buf;
    *len = (size_t)n;
    return 0;
}

/* Makes the file beside c->path that is to replace it, and names it in `name`. */
static int open_beside(const struct call *c, char *name, size_t cap)
{
    int fd = -EEXIST;
    for (int i = 0; i < NAME_TRIES && fd == -EEXIST; i++) {
        (void)snprintf(name, cap, "%s.%016" PRIx64 ".tmp", c->path, weft_random_u64());
        fd = weft__call_open(name, O_WRONLY | O_CREAT | O_EXCL, c->mode);
        made();
    }
    return fd;
}

/* Fills it and makes it durable. */
static int64_t fill(struct call *c, int fd)
{
    for (size_t done = 0; done < c->len;) {
        if (to_give_up(c))
            return GAVE_UP;
        size_t n = weft__min_size(c->len - done, PIECE);
        int err = write_all(fd, (const char *)c->bytes + done, n, (int64_t)done, false);
        if (err < 0)
            return err;
        done += n;
    }
    if (to_give_up(c))
        return GAVE_UP;
    before_sync();
    int err = weft__call_fsync(fd);
    made();
    return err;
}

/* The directory of c->path, in `name`. */
static void cut_to_dir(const struct call *c, char *name)
{
    const char *slash = strrchr(c->path, '/');
    size_t len = slash == NULL ? 0 : slash == c->path ? 1 : (size_t)(slash - c->path);
    memcpy(name, len > 0 ? c->path : ".", len > 0 ? len : 1);
    name[weft__max_size(len, 1)] = '\0';
}

static int64_t replace(struct call *c, char *name, size_t cap)
{
    struct stat st;
    bool old = weft__call_lstat(c->path, &st) == 0 && S_ISREG(st.st_mode);
    made();
    c->mode = old ? 0600 : 0666; /* nobody reads in it who could not before */
    int fd = open_beside(c, name, cap);
    if (fd < 0)
        return fd;
    int64_t err = old ? weft__call_chmod(name, st.st_mode & 07777) : 0;
    if (err == 0)
        err = fill(c, fd);
    int closed = weft__call_close_file(fd);
    made();
    err = err == 0 ? closed : err;
    if (err == 0 && to_give_up(c))
        err = GAVE_UP;
    if (err == 0)
        err = weft__call_rename(name, c->path);
    made();
    if (err != 0) {
        (void)weft__call_unlink(name);
        made();
        return err;
    }
    cut_to_dir(c, name);
    return sync_dir(name);
}

static int64_t do_store(struct call *c)
{
    size_t cap = strlen(c->path) + sizeof ".0123456789abcdef.tmp";
    char *name = weft__alloc(cap);
    if (name == NULL)
        return -ENOMEM;
    int64_t err = replace(c, name, cap);
    weft__free(name);
    return err;
}

int weft_file_store(const char *path, const void *buf, size_t len, weft_deadline d)
{
    if (len > SSIZE_MAX)
        return weft__fail(-EINVAL, "store '%s': %zu bytes", path, len);
    struct call c = {.fn = do_store, .what = "store", .path = path, .bytes = buf, .len = len};
    return (int)run(&c, d);
}
