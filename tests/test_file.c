/* SPDX-License-Identifier: MIT */
/*
 * Tests of files: on both loop drivers, through the work pool, and on plain threads. What happens
 * when each system call fails in turn is in test_file_torture.c, the simulated disk in
 * test_sim_disk.c.
 */
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include <weft/file.h>

#include "offload_kit.h"

static char folder[] = "/tmp/weft-file-XXXXXX";

static const char *in_folder(const char *name)
{
    static _Thread_local char path[4][PATH_MAX];
    static _Thread_local int next;
    char *p = path[next++ % 4];
    (void)snprintf(p, PATH_MAX, "%s/%s", folder, name);
    return p;
}

static struct weft_file *file(const char *name, unsigned flags)
{
    struct weft_file *f = NULL;
    CHECK_EQ(weft_file_open(&f, in_folder(name), flags, 0, WEFT_NEVER), 0);
    return f;
}

static void shut(struct weft_file **f)
{
    CHECK_EQ(weft_file_close(f, WEFT_NEVER), 0);
    CHECK(*f == NULL);
}

static void drop(const char *name)
{
    CHECK_EQ(weft_file_remove(in_folder(name), WEFT_NEVER), 0);
}

static int64_t size_of(const char *name)
{
    struct stat st;
    return stat(in_folder(name), &st) < 0 ? -errno : st.st_size;
}

enum { ALL_NEW = WEFT_FILE_READ | WEFT_FILE_WRITE | WEFT_FILE_CREATE | WEFT_FILE_EXCLUSIVE };

/* --- What the calls do ------------------------------------------------------------------------ */

static int read_and_write(void *arg)
{
    char buf[64];
    (void)arg;
    struct weft_file *f = file("rw", ALL_NEW);
    CHECK(weft_file_fd(f) >= 0);
    CHECK_EQ(fcntl(weft_file_fd(f), F_GETFD), FD_CLOEXEC);
    CHECK_EQ(weft_file_size(f, WEFT_NEVER), 0);
    CHECK_EQ(weft_file_read_at(f, buf, sizeof buf, 0, WEFT_NEVER), 0);
    CHECK_EQ(weft_file_write_at(f, "hello", 5, 3, weft_after_s(60)), 0);
    CHECK_EQ(weft_file_size(f, WEFT_NEVER), 8);
    CHECK_EQ(weft_file_read_at(f, buf, sizeof buf, 0, WEFT_NEVER), 8);
    CHECK(memcmp(buf, "\0\0\0hello", 8) == 0);
    CHECK_EQ(weft_file_read_at(f, buf, 2, 4, WEFT_NEVER), 2);
    CHECK(memcmp(buf, "el", 2) == 0);
    CHECK_EQ(weft_file_read_at(f, buf, 5, 8, WEFT_NEVER), 0);
    CHECK_EQ(weft_file_read_at(f, buf, 5, 1000000, WEFT_NEVER), 0);
    CHECK_EQ(weft_file_read_at(f, NULL, 0, 0, WEFT_NEVER), 0);
    CHECK_EQ(weft_file_write_at(f, NULL, 0, 0, WEFT_NEVER), 0);
    CHECK_EQ(weft_file_sync(f, WEFT_NEVER), 0);
    CHECK_EQ(weft_file_truncate(f, 4, WEFT_NEVER), 0);
    CHECK_EQ(weft_file_truncate(f, 6, WEFT_NEVER), 0);
    CHECK_EQ(weft_file_read_at(f, buf, sizeof buf, 0, WEFT_NEVER), 6);
    CHECK(memcmp(buf, "\0\0\0h\0\0", 6) == 0);
    shut(&f);
    CHECK_EQ(weft_file_close(&f, WEFT_NEVER), 0); /* NULL is fine */
    drop("rw");
    CHECK_EQ(size_of("rw"), -ENOENT);
    return 0;
}

static int flags(void *arg)
{
    char buf[8];
    struct weft_file *f = NULL;
    (void)arg;
    static const unsigned bad[] = {
        0,
        WEFT_FILE_CREATE,
        WEFT_FILE_READ | WEFT_FILE_CREATE,
        WEFT_FILE_READ | WEFT_FILE_TRUNCATE,
        WEFT_FILE_WRITE | WEFT_FILE_EXCLUSIVE,
        WEFT_FILE_READ | 64,
    };
    for (size_t i = 0; i < WEFT__ARRAY_LEN(bad); i++)
        CHECK_EQ(weft_file_open(&f, in_folder("f"), bad[i], 0, WEFT_NEVER), -EINVAL);
    CHECK_EQ(weft_file_open(&f, in_folder("f"), WEFT_FILE_READ, 0, WEFT_NEVER), -ENOENT);
    CHECK(strstr(weft_error_detail(), in_folder("f")) != NULL);
    CHECK(f == NULL);

    mode_t mask = umask(022);
    struct stat st;
    CHECK_EQ(
        weft_file_open(&f, in_folder("f"), WEFT_FILE_WRITE | WEFT_FILE_CREATE, 0640, WEFT_NEVER),
        0);
    (void)umask(mask);
    CHECK_EQ(fstat(weft_file_fd(f), &st), 0);
    CHECK_EQ(st.st_mode & 07777, 0640);
    CHECK_EQ(weft_file_write_at(f, "abc", 3, 0, WEFT_NEVER), 0);
    CHECK_EQ(weft_file_read_at(f, buf, 3, 0, WEFT_NEVER), -EBADF);
    CHECK_EQ(weft_file_append(f, "x", 1, WEFT_NEVER), -EINVAL);
    CHECK_EQ(weft_file_write_at(f, "x", 1, -1, WEFT_NEVER), -EINVAL);
    CHECK_EQ(weft_file_write_at(f, "x", 1, INT64_MAX, WEFT_NEVER), -EINVAL);
    CHECK_EQ(weft_file_truncate(f, -1, WEFT_NEVER), -EINVAL);
    shut(&f);
    struct weft_file *none = NULL;
    CHECK_EQ(weft_file_open(&none, in_folder("f"), ALL_NEW, 0, WEFT_NEVER), -EEXIST);

    f = file("f", WEFT_FILE_READ);
    CHECK_EQ(weft_file_write_at(f, "x", 1, 0, WEFT_NEVER), -EBADF);
    CHECK_EQ(weft_file_read_at(f, buf, (size_t)SSIZE_MAX + 1, 0, WEFT_NEVER), -EINVAL);
    CHECK_EQ(weft_file_read_at(f, buf, 8, -1, WEFT_NEVER), -EINVAL);
    CHECK_EQ(weft_file_truncate(f, 0, WEFT_NEVER), -EINVAL);
    shut(&f);
    f = file("f", WEFT_FILE_WRITE | WEFT_FILE_TRUNCATE);
    CHECK_EQ(weft_file_size(f, WEFT_NEVER), 0);
    shut(&f);
    drop("f");
    return 0;
}

static int append(void *arg)
{
    char buf[8];
    (void)arg;
    struct weft_file *f = file("log", WEFT_FILE_READ | WEFT_FILE_APPEND | WEFT_FILE_CREATE);
    CHECK_EQ(weft_file_append(f, "ab", 2, WEFT_NEVER), 0);
    CHECK_EQ(weft_file_append(f, "cd", 2, WEFT_NEVER), 0);
    CHECK_EQ(weft_file_write_at(f, "x", 1, 0, WEFT_NEVER), -EINVAL);
    CHECK_EQ(weft_file_truncate(f, 3, WEFT_NEVER), 0);
    CHECK_EQ(weft_file_append(f, "ef", 2, WEFT_NEVER), 0);
    CHECK_EQ(weft_file_read_at(f, buf, sizeof buf, 0, WEFT_NEVER), 5);
    CHECK(memcmp(buf, "abcef", 5) == 0);
    shut(&f);
    drop("log");
    return 0;
}

static int names(void *arg)
{
    (void)arg;
    CHECK_EQ(weft_file_make_dir(in_folder("d"), 0700, WEFT_NEVER), 0);
    CHECK_EQ(weft_file_make_dir(in_folder("d"), 0, WEFT_NEVER), -EEXIST);
    struct weft_file *f = file("d/a", ALL_NEW);
    shut(&f);
    CHECK_EQ(weft_file_remove(in_folder("d"), WEFT_NEVER), -ENOTEMPTY);
    CHECK_EQ(weft_file_rename(in_folder("d/a"), in_folder("d/b"), WEFT_NEVER), 0);
    CHECK_EQ(weft_file_rename(in_folder("d/a"), in_folder("d/b"), WEFT_NEVER), -ENOENT);
    CHECK_EQ(weft_file_sync_dir(in_folder("d"), WEFT_NEVER), 0);
    CHECK_EQ(weft_file_sync_dir(in_folder("d/b"), WEFT_NEVER), -ENOTDIR);
    CHECK_EQ(size_of("d/a"), -ENOENT);
    CHECK_EQ(size_of("d/b"), 0);
    drop("d/b");
    drop("d");
    CHECK_EQ(weft_file_remove(in_folder("d"), WEFT_NEVER), -ENOENT);
    f = NULL;
    CHECK_EQ(weft_file_open(&f, folder, WEFT_FILE_WRITE, 0, WEFT_NEVER), -EISDIR);
    CHECK_EQ(weft_file_open(&f, folder, WEFT_FILE_READ, 0, WEFT_NEVER), 0);
    char byte;
    CHECK_EQ(weft_file_read_at(f, &byte, 1, 0, WEFT_NEVER), -EISDIR);
    shut(&f);
    return 0;
}

/* What is no plain file does not hold a thread of the pool for ever. */
static int others(void *arg)
{
    struct weft_file *f = NULL;
    char byte;
    (void)arg;
    CHECK_EQ(mkfifo(in_folder("fifo"), 0600), 0);
    CHECK_EQ(weft_file_open(&f, in_folder("fifo"), WEFT_FILE_WRITE, 0, WEFT_NEVER), -ENXIO);
    CHECK_EQ(weft_file_open(&f, in_folder("fifo"), WEFT_FILE_READ, 0, WEFT_NEVER), 0);
    CHECK_EQ(weft_file_read_at(f, &byte, 1, 0, WEFT_NEVER), -ESPIPE);
    shut(&f);
    drop("fifo");
    CHECK_EQ(weft_file_open(&f, "/dev/full", WEFT_FILE_WRITE, 0, WEFT_NEVER), 0);
    CHECK_EQ(weft_file_write_at(f, "x", 1, 0, WEFT_NEVER), -ENOSPC);
    CHECK(strcmp(weft_error_detail(), "write '/dev/full'") == 0);
    shut(&f);
    return 0;
}

static size_t entries(void)
{
    size_t n = 0;
    DIR *dir = opendir(folder);
    CHECK(dir != NULL);
    for (const struct dirent *e; (e = readdir(dir)) != NULL; n++)
        CHECK(strstr(e->d_name, ".tmp") == NULL);
    (void)closedir(dir);
    return n - 2;
}

static void check_load(const char *name, const char *want, size_t want_len)
{
    void *buf = NULL;
    size_t len = 0;
    CHECK_EQ(weft_file_load(in_folder(name), &buf, &len, want_len, WEFT_NEVER), 0);
    CHECK_EQ(len, want_len);
    CHECK(memcmp(buf, want, len) == 0);
    CHECK_EQ(((char *)buf)[len], 0);
    free(buf);
}

static int whole_files(void *arg)
{
    size_t n = 3000001, len = 0;
    char *big = malloc(n), *none = NULL;
    void *buf = NULL;
    struct stat st;
    (void)arg;
    for (size_t i = 0; i < n; i++)
        big[i] = (char)(i * 2654435761u >> 13);
    CHECK_EQ(weft_file_store(in_folder("s"), big, n, WEFT_NEVER), 0);
    check_load("s", big, n);
    CHECK_EQ(weft_file_load(in_folder("s"), &buf, &len, n - 1, WEFT_NEVER), -EFBIG);
    CHECK(buf == NULL && len == 0);
    CHECK_EQ(chmod(in_folder("s"), 0604), 0);
    CHECK_EQ(weft_file_store(in_folder("s"), "new", 3, WEFT_NEVER), 0);
    check_load("s", "new", 3);
    CHECK_EQ(stat(in_folder("s"), &st), 0);
    CHECK_EQ(st.st_mode & 07777, 0604);
    CHECK_EQ(weft_file_store(in_folder("s"), none, 0, WEFT_NEVER), 0);
    check_load("s", "", 0);
    CHECK_EQ(entries(), 1);

    CHECK_EQ(weft_file_store(in_folder("nowhere/s"), "x", 1, WEFT_NEVER), -ENOENT);
    CHECK_EQ(mkdir(in_folder("dir"), 0700), 0);
    CHECK_EQ(weft_file_store(in_folder("dir"), "x", 1, WEFT_NEVER), -EISDIR);
    CHECK_EQ(weft_file_load(in_folder("dir"), &buf, &len, 100, WEFT_NEVER), -EISDIR);
    CHECK_EQ(rmdir(in_folder("dir")), 0);
    CHECK_EQ(weft_file_load(in_folder("t"), &buf, &len, 100, WEFT_NEVER), -ENOENT);
    /* Of /proc, whose files say that they have no bytes; and one without an end. */
    CHECK_EQ(weft_file_load("/proc/self/status", &buf, &len, 100000, WEFT_NEVER), 0);
    CHECK(len > 100 && memcmp(buf, "Name:", 5) == 0);
    free(buf);
    CHECK_EQ(weft_file_load("/dev/zero", &buf, &len, 70000, WEFT_NEVER), -EFBIG);
    drop("s");
    free(big);
    return 0;
}

/* The longest name that can be stored leaves room for what is added to it for a while. */
static int long_name(void *arg)
{
    char name[236];
    (void)arg;
    memset(name, 'n', sizeof name);
    name[235] = '\0';
    CHECK_EQ(weft_file_store(in_folder(name), "x", 1, WEFT_NEVER), -ENAMETOOLONG);
    name[234] = '\0';
    CHECK_EQ(weft_file_store(in_folder(name), "x", 1, WEFT_NEVER), 0);
    check_load(name, "x", 1);
    drop(name);
    CHECK_EQ(entries(), 0);
    return 0;
}

/* A bare name is in the working directory, which is what is synced then. */
static int bare_name(void *arg)
{
    char before[PATH_MAX];
    (void)arg;
    CHECK(getcwd(before, sizeof before) != NULL);
    CHECK_EQ(chdir(folder), 0);
    int err = weft_file_store("bare", "x", 1, WEFT_NEVER);
    CHECK_EQ(chdir(before), 0);
    CHECK_EQ(err, 0);
    check_load("bare", "x", 1);
    drop("bare");
    return 0;
}

static int (*const all[])(void *) = {read_and_write, flags,       append,    names,
                                     others,         whole_files, bare_name, long_name};

static void on_plain_thread(const char *driver)
{
    (void)driver;
    for (size_t i = 0; i < WEFT__ARRAY_LEN(all); i++)
        CHECK_EQ(all[i](NULL), 0);
}

/* --- Beside one another ----------------------------------------------------------------------- */

enum { WRITERS = 8, RECORDS = 40, RECORD = 100 };

static int append_records(void *arg)
{
    static _Atomic int next;
    struct weft_file *f = arg;
    char record[RECORD];
    memset(record, 'a' + atomic_fetch_add(&next, 1) % 26, sizeof record);
    for (int i = 0; i < RECORDS; i++) {
        int err = weft_file_append(f, record, sizeof record, WEFT_NEVER);
        if (err < 0)
            return err;
    }
    return 0;
}

static int appends_do_not_mix(void *arg)
{
    struct weft_group *g = NULL;
    static char bytes[WRITERS * RECORDS * RECORD + 1];
    (void)arg;
    struct weft_file *f = file("log", WEFT_FILE_READ | WEFT_FILE_APPEND | WEFT_FILE_CREATE);
    CHECK_EQ(weft_group_open(&g), 0);
    for (int i = 0; i < WRITERS; i++)
        CHECK_EQ(weft_group_go(g, "writer", append_records, f), 0);
    CHECK_EQ(weft_group_wait(g, WEFT_NEVER), 0);
    CHECK_EQ(weft_group_close(&g), 0);
    CHECK_EQ(weft_file_read_at(f, bytes, sizeof bytes, 0, WEFT_NEVER), sizeof bytes - 1);
    for (size_t i = 0; i < sizeof bytes - 1; i++)
        CHECK_EQ(bytes[i], bytes[i - i % RECORD]);
    shut(&f);
    drop("log");
    return 0;
}

static void appends_of_threads(const char *driver)
{
    (void)driver;
    CHECK_EQ(appends_do_not_mix(NULL), 0);
}

static int count_turns(void *arg)
{
    int *n = arg;
    while (weft_yield() == 0)
        ++*n;
    return 0;
}

/* The loop goes round while the disk works. */
static int loop_lives(void *arg)
{
    struct weft_group *g = NULL;
    int turns = 0;
    (void)arg;
    struct weft_file *f = file("f", ALL_NEW);
    CHECK_EQ(weft_group_open(&g), 0);
    CHECK_EQ(weft_group_go(g, "turns", count_turns, &turns), 0);
    CHECK_EQ(weft_file_write_at(f, "x", 1, 0, WEFT_NEVER), 0);
    int before = turns;
    CHECK_EQ(weft_file_sync(f, WEFT_NEVER), 0);
    CHECK(turns > before);
    CHECK_EQ(weft_group_close(&g), 0);
    shut(&f);
    drop("f");
    return 0;
}

/* --- Deadlines and cancels -------------------------------------------------------------------- */

static int passed(void *arg)
{
    char byte;
    void *buf = NULL;
    size_t len;
    struct weft_file *f = file("f", ALL_NEW), *none = NULL;
    (void)arg;
    CHECK_EQ(weft_file_write_at(f, "x", 1, 0, WEFT_NOW), -ETIMEDOUT);
    CHECK_EQ(weft_file_size(f, WEFT_NEVER), 0);
    CHECK_EQ(weft_file_read_at(f, &byte, 1, 0, WEFT_NOW), -ETIMEDOUT);
    CHECK_EQ(weft_file_open(&none, in_folder("g"), ALL_NEW, 0, WEFT_NOW), -ETIMEDOUT);
    CHECK_EQ(size_of("g"), -ENOENT);
    CHECK_EQ(weft_file_store(in_folder("g"), "x", 1, WEFT_NOW), -ETIMEDOUT);
    CHECK_EQ(weft_file_load(in_folder("f"), &buf, &len, 9, WEFT_NOW), -ETIMEDOUT);
    CHECK_EQ(weft_file_rename(in_folder("f"), in_folder("g"), WEFT_NOW), -ETIMEDOUT);
    CHECK_EQ(weft_file_remove(in_folder("f"), WEFT_NOW), -ETIMEDOUT);
    CHECK_EQ(weft_file_close(&f, WEFT_NOW), 0); /* never refused */
    CHECK(f == NULL);
    CHECK_EQ(entries(), 1);
    drop("f");
    return 0;
}

static void passed_on_thread(const char *driver)
{
    (void)driver;
    CHECK_EQ(passed(NULL), 0);
}

struct writer {
    struct weft_file *f;
    int result;
};

static int write_one(void *arg)
{
    struct writer *w = arg;
    w->result = weft_file_write_at(w->f, "x", 1, 0, WEFT_NEVER);
    return 0;
}

/* With the pool's only thread busy: what has not begun is taken back, and nothing was done. */
static int while_queued(void *arg)
{
    struct weft_group *g = NULL;
    struct busy b;
    struct writer w = {.result = 1};
    (void)arg;
    w.f = file("f", ALL_NEW);
    busy_open(&b);
    CHECK_EQ(weft_group_open(&g), 0);
    CHECK_EQ(weft_group_go(g, "writer", write_one, &w), 0);
    CHECK_EQ(weft_yield(), 0);
    struct weft_file *same = w.f;
    CHECK_EQ(weft_file_close(&same, WEFT_NEVER), -EBUSY);
    CHECK(same == w.f);
    cancel_and_wait(&g);
    CHECK_EQ(w.result, -ECANCELED);
    CHECK_EQ(weft_file_write_at(w.f, "x", 1, 0, weft_after_ms(2)), -ETIMEDOUT);
    struct weft_file *none = NULL;
    CHECK_EQ(weft_file_open(&none, in_folder("g"), ALL_NEW, 0, weft_after_ms(2)), -ETIMEDOUT);
    CHECK(none == NULL);
    CHECK_EQ(size_of("f"), 0);
    CHECK_EQ(size_of("g"), -ENOENT);
    CHECK_EQ(weft_file_close(&w.f, weft_after_ms(2)), 0); /* by this thread */
    busy_close(&b);
    drop("f");
    return 0;
}

static void queued(const char *driver)
{
    struct weft_options o = {.driver = driver, .offload_threads = 1};
    CHECK_EQ(weft_run(&o, while_queued, NULL), 0);
}

/* A write whose time runs out while it is at work ends, and says what it did. */
static int begun_counts(void *arg)
{
    size_t n = 16 << 20;
    char *bytes = calloc(1, n);
    int late = 0;
    (void)arg;
    CHECK(bytes != NULL);
    for (int i = 0; i < 200 && late == 0; i++) {
        struct weft_file *f = file("f", ALL_NEW);
        weft_deadline d = weft_after_us(300);
        int err = weft_file_write_at(f, bytes, n, 0, d);
        late += err == 0 && weft_left_ns(d) == 0;
        CHECK(err == 0 || err == -ETIMEDOUT);
        CHECK_EQ(size_of("f"), err == 0 ? (int64_t)n : 0);
        shut(&f);
        drop("f");
    }
    CHECK(late > 0);
    free(bytes);
    return 0;
}

/* A store that gives up leaves the old file, and nothing beside it. */
static int store_gives_up(void *arg)
{
    size_t n = 24 << 20;
    char *bytes = calloc(1, n);
    int gave_up = 0;
    (void)arg;
    CHECK(bytes != NULL);
    for (int i = 0; i < 100 && gave_up == 0; i++) {
        CHECK_EQ(weft_file_store(in_folder("f"), "old", 3, WEFT_NEVER), 0);
        int err = weft_file_store(in_folder("f"), bytes, n, weft_after_ms(1));
        CHECK(err == 0 || err == -ETIMEDOUT);
        CHECK_EQ(size_of("f"), err == 0 ? (int64_t)n : 3);
        CHECK_EQ(entries(), 1);
        gave_up += err < 0;
    }
    CHECK(gave_up > 0);
    drop("f");
    free(bytes);
    return 0;
}

static void store_gives_up_on_thread(const char *driver)
{
    (void)driver;
    CHECK_EQ(store_gives_up(NULL), 0);
}

static int cancelled_task(void *arg)
{
    struct writer *w = arg;
    char byte;
    CHECK_EQ(weft_sleep_until(WEFT_NEVER), -ECANCELED);
    CHECK_EQ(weft_file_read_at(w->f, &byte, 1, 0, WEFT_NEVER), -ECANCELED);
    CHECK_EQ(weft_file_sync(w->f, WEFT_NEVER), -ECANCELED);
    CHECK_EQ(weft_file_store(in_folder("g"), "x", 1, WEFT_NEVER), -ECANCELED);
    weft_shield(60000);
    CHECK_EQ(weft_file_write_at(w->f, "shielded", 8, 0, WEFT_NEVER), 0);
    weft_unshield();
    CHECK_EQ(weft_file_close(&w->f, WEFT_NEVER), 0);
    return 0;
}

static int when_cancelled(void *arg)
{
    struct weft_group *g = NULL;
    struct writer w = {.f = file("f", ALL_NEW)};
    (void)arg;
    CHECK_EQ(weft_group_open(&g), 0);
    CHECK_EQ(weft_group_go(g, "cancelled", cancelled_task, &w), 0);
    if (weft_loop_current() != NULL)
        CHECK_EQ(weft_yield(), 0);
    cancel_and_wait(&g);
    CHECK(w.f == NULL);
    CHECK_EQ(size_of("f"), 8);
    CHECK_EQ(entries(), 1);
    drop("f");
    return 0;
}

static void cancelled_thread(const char *driver)
{
    (void)driver;
    CHECK_EQ(when_cancelled(NULL), 0);
}

static void from_callback(void *arg)
{
    struct writer *w = arg;
    w->result = weft_file_write_at(w->f, "x", 1, 0, WEFT_NEVER);
    CHECK_EQ(weft_file_close(&w->f, WEFT_NEVER), 0);
}

static int in_callback(void *arg)
{
    struct writer w = {.f = file("f", ALL_NEW)};
    (void)arg;
    kit_as_callback(from_callback, &w);
    CHECK_EQ(w.result, -EDEADLK);
    CHECK(w.f == NULL);
    CHECK_EQ(size_of("f"), 0);
    drop("f");
    return 0;
}

int main(void)
{
    static const struct kit_case cases[] = {
        IN_TASK(read_and_write),
        IN_TASK(flags),
        IN_TASK(append),
        IN_TASK(names),
        IN_TASK(others),
        IN_TASK(whole_files),
        IN_TASK(bare_name),
        IN_TASK(long_name),
        ON_THREAD(on_plain_thread),
        IN_TASK(appends_do_not_mix),
        ON_THREAD(appends_of_threads),
        IN_TASK(loop_lives),
        IN_TASK(passed),
        ON_THREAD(passed_on_thread),
        ON_THREAD(queued),
        IN_TASK(begun_counts),
        IN_TASK(store_gives_up),
        ON_THREAD(store_gives_up_on_thread),
        IN_TASK(when_cancelled),
        ON_THREAD(cancelled_thread),
        IN_TASK(in_callback),
    };
    kit_open();
    if (mkdtemp(folder) == NULL)
        return 1;
    int failed = kit_main(cases, WEFT__ARRAY_LEN(cases));
    return rmdir(folder) < 0 ? 1 : failed;
}
