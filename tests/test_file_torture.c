/* SPDX-License-Identifier: MIT */
/*
 * Torture of files: every allocation, system call and wait goes wrong in turn; see torture_kit.h.
 * Beside leaving nothing behind, a store has to leave the old file or the new one, whole.
 */
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "torture_kit.h"

#define FIRST(err, expr) ((err) = torture_first((err), (expr)))
/* Goes on only while all is well. */
#define THEN(err, expr)                                                                            \
    do {                                                                                           \
        if ((err) == 0)                                                                            \
            (err) = torture_first(0, (expr));                                                      \
    } while (0)

static char folder[] = "/tmp/weft-files-XXXXXX";

static void path_of(char path[PATH_MAX], const char *name)
{
    (void)snprintf(path, PATH_MAX, "%s/%s", folder, name);
}

/* By plain system calls, which nothing makes fail. Returns the length, -1: none. */
static ssize_t read_plainly(const char *name, char *buf, size_t cap)
{
    char path[PATH_MAX];
    path_of(path, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    ssize_t n = read(fd, buf, cap);
    CHECK_EQ(close(fd), 0);
    return n;
}

static void write_plainly(const char *name, const char *text)
{
    char path[PATH_MAX];
    path_of(path, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    CHECK(fd >= 0);
    CHECK_EQ(write(fd, text, strlen(text)), strlen(text));
    CHECK_EQ(close(fd), 0);
}

/* Only these names are there; all go. */
static void clear_folder(void)
{
    static const char *const names[] = {"a", "b", "d", "s"};
    char path[PATH_MAX];
    for (size_t i = 0; i < WEFT__ARRAY_LEN(names); i++) {
        path_of(path, names[i]);
        (void)remove(path);
    }
    CHECK_EQ(rmdir(folder), 0);
    CHECK_EQ(mkdir(folder, 0700), 0);
}

/* --- Files at places -------------------------------------------------------------------------- */

static int use_file(struct weft_file *f)
{
    char buf[16];
    int err = 0;
    THEN(err, weft_file_write_at(f, "hello", 5, 0, TORTURE_SOON));
    ssize_t n = err == 0 ? weft_file_read_at(f, buf, sizeof buf, 0, TORTURE_SOON) : err;
    if (n >= 0)
        CHECK(n == 5 && memcmp(buf, "hello", 5) == 0);
    FIRST(err, n);
    THEN(err, weft_file_sync(f, TORTURE_SOON));
    THEN(err, weft_file_truncate(f, 2, TORTURE_SOON));
    int64_t size = err == 0 ? weft_file_size(f, TORTURE_SOON) : err;
    CHECK(size < 0 || size == 2);
    FIRST(err, (int)size);
    return err;
}

static int files_body(void *arg)
{
    char a[PATH_MAX], b[PATH_MAX], d[PATH_MAX];
    struct weft_file *f = NULL;
    (void)arg;
    path_of(a, "a");
    path_of(b, "b");
    path_of(d, "d");
    int err =
        weft_file_open(&f, a, WEFT_FILE_READ | WEFT_FILE_WRITE | WEFT_FILE_CREATE, 0, TORTURE_SOON);
    CHECK((err == 0) == (f != NULL));
    if (err == 0)
        err = use_file(f);
    FIRST(err, weft_file_close(&f, TORTURE_SOON));
    CHECK(f == NULL);
    THEN(err, weft_file_rename(a, b, TORTURE_SOON));
    THEN(err, weft_file_make_dir(d, 0, TORTURE_SOON));
    THEN(err, weft_file_sync_dir(folder, TORTURE_SOON));
    THEN(err, weft_file_open(&f, b, WEFT_FILE_APPEND, 0, TORTURE_SOON));
    THEN(err, weft_file_append(f, "y", 1, TORTURE_SOON));
    FIRST(err, weft_file_close(&f, TORTURE_SOON));
    THEN(err, weft_file_remove(d, TORTURE_SOON));
    THEN(err, weft_file_remove(b, TORTURE_SOON));
    return err;
}

static int files(const char *driver)
{
    int err = torture_run(driver, files_body, NULL);
    char buf[16];
    ssize_t n = read_plainly("b", buf, sizeof buf);
    /* What an error says to be undone is undone. */
    if (n >= 0)
        CHECK((n == 2 && memcmp(buf, "he", 2) == 0) || (n == 3 && memcmp(buf, "hey", 3) == 0));
    clear_folder();
    return err;
}

/* --- Whole files ------------------------------------------------------------------------------ */

static int store_body(void *arg)
{
    char path[PATH_MAX];
    void *buf = NULL;
    size_t len = 0;
    int *stored = arg;
    path_of(path, "s");
    int err = *stored = weft_file_store(path, "new content", 11, TORTURE_SOON);
    THEN(err, weft_file_load(path, &buf, &len, 100, TORTURE_SOON));
    if (err == 0)
        CHECK(len == 11 && memcmp(buf, "new content", 12) == 0);
    CHECK((err == 0) == (buf != NULL));
    weft__free(buf);
    return err;
}

static int store(const char *driver)
{
    char buf[32];
    int stored = 1;
    write_plainly("s", "old");
    int err = torture_run(driver, store_body, &stored);
    ssize_t n = read_plainly("s", buf, sizeof buf);
    bool old = n == 3 && memcmp(buf, "old", 3) == 0;
    CHECK(old || (n == 11 && memcmp(buf, "new content", 11) == 0));
    CHECK(stored != 0 || !old);
    CHECK((stored != -ECANCELED && stored != -ETIMEDOUT) || old);
    clear_folder();
    return err;
}

int main(void)
{
    static const struct torture_scene scenes[] = {{"files", files}, {"store", store}};
    if (mkdtemp(folder) == NULL)
        return 1;
    int failed = torture_main(scenes, WEFT__ARRAY_LEN(scenes), scenes, WEFT__ARRAY_LEN(scenes), 15);
    return rmdir(folder) < 0 ? 1 : failed;
}
