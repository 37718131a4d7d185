/* SPDX-License-Identifier: MIT */
/*
 * The disk of simulated hosts: what its calls do, and what faults and limits do to them. What is
 * left after a crash is in test_sim_disk_crash.c.
 */
#include <fcntl.h>

#include "base/alloc.h"
#include "sim_disk_kit.h"

/* --- Calls ------------------------------------------------------------------------------------ */

static void contents(void **state)
{
    (void)state;
    struct machine m = machine(1);
    char buf[16];
    int fd = weft__sim_open(m.p, "/tmp/f", O_RDWR | O_CREAT, 0666);
    assert_true(fd >= WEFT__SIM_FD_FIRST);
    assert_int_equal(weft__sim_pread(m.p, fd, buf, sizeof buf, 0), 0);
    assert_int_equal(weft__sim_pwrite(m.p, fd, "hello", 5, 3), 5);
    assert_int_equal(weft__sim_pread(m.p, fd, buf, sizeof buf, 0), 8);
    assert_memory_equal(buf, "\0\0\0hello", 8);
    assert_int_equal(weft__sim_pread(m.p, fd, buf, 2, 4), 2);
    assert_memory_equal(buf, "el", 2);
    assert_int_equal(weft__sim_pread(m.p, fd, buf, 2, 8), 0);
    assert_int_equal(weft__sim_ftruncate(m.p, fd, 4), 0);
    assert_int_equal(weft__sim_ftruncate(m.p, fd, 6), 0);
    assert_int_equal(weft__sim_pread(m.p, fd, buf, sizeof buf, 0), 6);
    assert_memory_equal(buf, "\0\0\0h\0\0", 6);

    /* Another descriptor sees it at once, and one for appending writes at the end only. */
    int other = weft__sim_open(m.p, "tmp/./../tmp//f", O_WRONLY | O_APPEND, 0);
    assert_true(other > fd);
    assert_int_equal(weft__sim_pwrite(m.p, other, "zz", 2, 0), 2);
    assert_int_equal(weft__sim_pread(m.p, fd, buf, 2, 6), 2);
    assert_memory_equal(buf, "zz", 2);
    assert_int_equal(weft__sim_pread(m.p, other, buf, 2, 6), -EBADF);
    struct stat st;
    assert_int_equal(weft__sim_fstat(m.p, other, &st), 0);
    assert_true(S_ISREG(st.st_mode));
    assert_int_equal(st.st_size, 8);
    assert_int_equal(st.st_mode & 07777, 0644);
    uint64_t number = st.st_ino;
    assert_int_equal(weft__sim_lstat(m.p, "/tmp/f", &st), 0);
    assert_int_equal(st.st_ino, number);
    assert_int_equal(weft__sim_chmod(m.p, "/tmp/f", 0600), 0);
    assert_int_equal(weft__sim_lstat(m.p, "/tmp/f", &st), 0);
    assert_int_equal(st.st_mode, S_IFREG | 0600);

    /* Without a name it lives as long as its descriptors. */
    assert_int_equal(weft__sim_unlink(m.p, "/tmp/f"), 0);
    assert_int_equal(weft__sim_close(m.p, other), 0);
    assert_int_equal(weft__sim_pread(m.p, fd, buf, sizeof buf, 0), 8);
    assert_int_equal(weft__sim_fsync(m.p, fd), 0);
    assert_int_equal(weft__sim_close(m.p, fd), 0);
    assert_int_equal(weft__sim_open(m.p, "/tmp/f", O_RDWR, 0), -ENOENT);
    end(&m);
}

static void refusals(void **state)
{
    (void)state;
    struct machine m = machine(1);
    char name[300], byte, path[5000];
    int sockets[2];
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    memset(path, '/', sizeof path - 1);
    path[sizeof path - 1] = '\0';
    assert_int_equal(weft__sim_open(m.p, "", O_RDONLY, 0), -ENOENT);
    assert_int_equal(weft__sim_open(m.p, name, O_RDWR | O_CREAT, 0), -ENAMETOOLONG);
    assert_int_equal(weft__sim_open(m.p, path, O_RDONLY, 0), -ENAMETOOLONG);
    assert_int_equal(weft__sim_open(m.p, "/nowhere/f", O_RDWR | O_CREAT, 0), -ENOENT);
    assert_int_equal(weft__sim_open(m.p, "/tmp", O_RDWR, 0), -EISDIR);
    assert_int_equal(weft__sim_open(m.p, "/tmp/f/", O_RDWR | O_CREAT, 0), -EISDIR);
    int fd = weft__sim_open(m.p, "/tmp/f", O_RDWR | O_CREAT | O_EXCL, 0600);
    assert_true(fd > 0);
    assert_int_equal(weft__sim_open(m.p, "/tmp/f", O_RDWR | O_CREAT | O_EXCL, 0), -EEXIST);
    assert_int_equal(weft__sim_open(m.p, "/tmp/f/g", O_RDWR | O_CREAT, 0), -ENOTDIR);
    assert_int_equal(weft__sim_open(m.p, "/tmp/f/", O_RDONLY, 0), -ENOTDIR);
    assert_int_equal(weft__sim_open(m.p, "/tmp/f", O_RDONLY | O_DIRECTORY, 0), -ENOTDIR);
    assert_int_equal(weft__sim_pread(m.p, fd, &byte, 1, -1), -EINVAL);
    assert_int_equal(weft__sim_pwrite(m.p, fd, "x", 1, -1), -EINVAL);
    assert_int_equal(weft__sim_pwrite(m.p, fd, "x", 1, INT64_C(1) << 40), -EFBIG);
    assert_int_equal(weft__sim_ftruncate(m.p, fd, INT64_C(1) << 40), -EFBIG);
    assert_int_equal(weft__sim_ftruncate(m.p, fd, -1), -EINVAL);
    assert_int_equal(weft__sim_pread(m.p, 0, &byte, 1, 0), WEFT_EOUTSIDE);
    assert_int_equal(weft__sim_pread(m.p, fd + 1, &byte, 1, 0), -EBADF);
    assert_int_equal(weft__sim_socketpair(m.p, AF_UNIX, SOCK_STREAM, sockets), 0);
    assert_int_equal(weft__sim_pread(m.p, sockets[0], &byte, 1, 0), -ESPIPE);
    assert_int_equal(weft__sim_setsockopt(m.p, fd, SOL_SOCKET, SO_REUSEADDR, &fd, sizeof fd),
                     -ENOTSOCK);

    int dir = weft__sim_open(m.p, "/tmp", O_RDONLY | O_DIRECTORY, 0);
    assert_int_equal(weft__sim_pread(m.p, dir, &byte, 1, 0), -EISDIR);
    assert_int_equal(weft__sim_pwrite(m.p, dir, &byte, 1, 0), -EBADF);
    assert_int_equal(weft__sim_fsync(m.p, dir), 0);
    m.h->max_fds = 4;
    assert_int_equal(weft__sim_open(m.p, "/tmp/g", O_RDWR | O_CREAT, 0), -EMFILE);
    struct stat st;
    assert_int_equal(weft__sim_lstat(m.p, "/tmp/g", &st), -ENOENT); /* nothing was made */
    end(&m);
}

static void names(void **state)
{
    (void)state;
    struct machine m = machine(1);
    struct stat st;
    assert_int_equal(weft__sim_mkdir(m.p, "/a", 0777), 0);
    assert_int_equal(weft__sim_mkdir(m.p, "/a/", 0777), -EEXIST);
    assert_int_equal(weft__sim_mkdir(m.p, "/a/b/c", 0777), -ENOENT);
    assert_int_equal(weft__sim_mkdir(m.p, "a/b/", 0777), 0);
    put(&m, "/a/b/f", "f");
    assert_int_equal(weft__sim_rename(m.p, "/a", "/a/b/c"), -EINVAL);
    assert_int_equal(weft__sim_rename(m.p, "/a/b/f", "/a/b"), -EISDIR);
    assert_int_equal(weft__sim_rename(m.p, "/a/b", "/a/b/f"), -EINVAL);
    assert_int_equal(weft__sim_rename(m.p, "/none", "/f"), -ENOENT);
    assert_int_equal(weft__sim_rename(m.p, "/a/b/f", "/none/f"), -ENOENT);
    assert_int_equal(weft__sim_rename(m.p, "/a/b/f", "/a/b/f"), 0);
    assert_int_equal(weft__sim_rename(m.p, "/a/b/f", "/a/b/g/"), -ENOTDIR);
    assert_int_equal(weft__sim_rename(m.p, "/a/b/.", "/c"), -EBUSY);
    assert_int_equal(weft__sim_mkdir(m.p, "/c", 0777), 0);
    assert_int_equal(weft__sim_rename(m.p, "/a", "/c/../c/"), 0); /* in place of an empty one */
    expect(&m, "/c/b/f", "f");
    assert_int_equal(weft__sim_lstat(m.p, "/a", &st), -ENOENT);
    assert_int_equal(weft__sim_mkdir(m.p, "/a", 0777), 0);
    assert_int_equal(weft__sim_rename(m.p, "/a", "/c"), -ENOTEMPTY);
    assert_int_equal(weft__sim_rename(m.p, "/a", "/c/b/f"), -ENOTDIR);
    assert_int_equal(weft__sim_rename(m.p, "/c/b", "/a/b"), 0);
    expect(&m, "/a/b/../b/f", "f");
    put(&m, "/a/g", "g");
    assert_int_equal(weft__sim_rename(m.p, "/a/g", "/a/b/f"), 0);
    expect(&m, "/a/b/f", "g");
    assert_int_equal(weft__sim_unlink(m.p, "/a/b"), -EISDIR);
    assert_int_equal(weft__sim_rmdir(m.p, "/a/b"), -ENOTEMPTY);
    assert_int_equal(weft__sim_rmdir(m.p, "/a/b/f"), -ENOTDIR);
    assert_int_equal(weft__sim_rmdir(m.p, "/"), -EBUSY);
    assert_int_equal(weft__sim_unlink(m.p, "/a/b/f"), 0);
    assert_int_equal(weft__sim_unlink(m.p, "/a/b/f"), -ENOENT);
    assert_int_equal(weft__sim_rmdir(m.p, "/a/b"), 0);
    assert_int_equal(weft__sim_lstat(m.p, "/a/b", &st), -ENOENT);
    end(&m);
}

static void sockets(void **state)
{
    (void)state;
    struct machine m = machine(1);
    uint64_t first = 0, second = 0;
    struct stat st;
    assert_int_equal(weft__disk_put_socket(m.p, "/run/s", &first), 0);
    assert_int_equal(weft__disk_put_socket(m.p, "/run/s", &second), -EADDRINUSE);
    assert_int_equal(weft__disk_put_socket(m.p, "/run", &second), -EADDRINUSE);
    assert_int_equal(weft__disk_put_socket(m.p, "/none/s", &second), -ENOENT);
    assert_int_equal(weft__disk_put_socket(m.p, "/run/s/s", &second), -ENOTDIR);
    assert_int_equal(weft__sim_lstat(m.p, "/run/s", &st), 0);
    assert_true(S_ISSOCK(st.st_mode));
    assert_int_equal(st.st_ino, first);
    assert_int_equal(weft__sim_open(m.p, "/run/s", O_RDWR, 0), -ENXIO);
    assert_int_equal(weft__sim_unlink(m.p, "/run/s"), 0);
    assert_int_equal(weft__disk_put_socket(m.p, "/run/s", &second), 0);
    assert_int_not_equal(first, second);
    end(&m);
}

/* --- Faults and limits ------------------------------------------------------------------------ */

static void errors(void **state)
{
    (void)state;
    struct machine m = machine(3);
    char buf[4];
    int fd = weft__sim_open(m.p, "/tmp/f", O_RDWR | O_CREAT, 0666);
    assert_int_equal(weft__sim_pwrite(m.p, fd, "abcd", 4, 0), 4);
    disk(&m, (struct weft__disk_options){.read_error = UINT32_MAX});
    assert_int_equal(weft__sim_pread(m.p, fd, buf, 4, 0), -EIO);
    assert_int_equal(weft__sim_pwrite(m.p, fd, "x", 1, 0), 1);
    disk(&m, (struct weft__disk_options){.write_error = UINT32_MAX});
    assert_int_equal(weft__sim_pwrite(m.p, fd, "y", 1, 0), -EIO);
    assert_int_equal(weft__sim_ftruncate(m.p, fd, 0), -EIO);
    assert_int_equal(weft__sim_pread(m.p, fd, buf, 4, 0), 4);
    assert_memory_equal(buf, "xbcd", 4);
    disk(&m, (struct weft__disk_options){.sync_error = UINT32_MAX});
    assert_int_equal(weft__sim_fsync(m.p, fd), -EIO);
    disk(&m, (struct weft__disk_options){.sync_error = 0});
    assert_int_equal(weft__sim_fsync(m.p, fd), 0);

    m.h->faults.no_files = UINT32_MAX;
    assert_int_equal(weft__sim_open(m.p, "/tmp/f", O_RDWR, 0), -EMFILE);
    m.h->faults = (struct weft__sim_faults){.no_memory = UINT32_MAX};
    assert_int_equal(weft__sim_open(m.p, "/tmp/f", O_RDWR, 0), -ENOMEM);
    assert_int_equal(weft__sim_mkdir(m.p, "/tmp/d", 0777), -ENOMEM);
    assert_int_equal(weft__sim_pwrite(m.p, fd, "x", 1, 0), -ENOMEM);

    /* Half of the calls are short: none moves nothing, none more than it says. */
    m.h->faults = (struct weft__sim_faults){.short_io = UINT32_MAX / 2};
    int less = 0;
    for (int i = 0; i < 100; i++) {
        char eight[8] = "........";
        ssize_t n = weft__sim_pwrite(m.p, fd, "12345678", 8, 0);
        ssize_t k = weft__sim_pread(m.p, fd, eight, 8, 0);
        assert_true(n >= 1 && n <= 8 && k >= 1 && k <= 8);
        less += n < 8;
        if (k < 8)
            assert_int_equal(eight[k], '.');
    }
    assert_in_range(less, 20, 80);
    end(&m);
}

static void capacity(void **state)
{
    (void)state;
    struct machine m = machine(1);
    char *kib = test_calloc(1, 1024);
    struct stat st;
    disk(&m, (struct weft__disk_options){.capacity = 1000});
    int fd = weft__sim_open(m.p, "/tmp/f", O_RDWR | O_CREAT, 0666);
    assert_int_equal(weft__sim_pwrite(m.p, fd, kib, 600, 0), 600);
    int other = weft__sim_open(m.p, "/tmp/g", O_RDWR | O_CREAT, 0666);
    assert_int_equal(weft__sim_pwrite(m.p, other, kib, 600, 0), 400); /* what fits */
    assert_int_equal(weft__sim_pwrite(m.p, other, kib, 600, 400), -ENOSPC);
    assert_int_equal(weft__sim_pwrite(m.p, other, kib, 400, 0), 400); /* over what is there */
    assert_int_equal(weft__sim_ftruncate(m.p, fd, 601), -ENOSPC);
    assert_int_equal(weft__sim_ftruncate(m.p, fd, 500), 0);
    assert_int_equal(weft__sim_pwrite(m.p, other, kib, 600, 400), 100);
    /* A file without a name takes its room until it is closed. */
    assert_int_equal(weft__sim_unlink(m.p, "/tmp/g"), 0);
    assert_int_equal(weft__sim_pwrite(m.p, fd, kib, 1024, 500), -ENOSPC);
    assert_int_equal(weft__sim_close(m.p, other), 0);
    assert_int_equal(weft__sim_pwrite(m.p, fd, kib, 1024, 500), 500);
    assert_int_equal(weft__sim_fstat(m.p, fd, &st), 0);
    assert_int_equal(st.st_size, 1000);
    /* And so after a crash. */
    assert_int_equal(weft__sim_fsync(m.p, fd), 0);
    sync_dir(&m, "/tmp");
    crash(&m);
    fd = weft__sim_open(m.p, "/tmp/f", O_RDWR, 0);
    assert_int_equal(weft__sim_pwrite(m.p, fd, kib, 1, 1000), -ENOSPC);
    assert_int_equal(weft__sim_ftruncate(m.p, fd, 999), 0);
    assert_int_equal(weft__sim_pwrite(m.p, fd, kib, 1024, 999), 1);
    test_free(kib);
    end(&m);
}

static void delays(void **state)
{
    (void)state;
    struct machine m = machine(1);
    int64_t lowest = INT64_MAX, highest = 0;
    weft__sim_proc = m.p;
    int fd = weft__sim_open(m.p, "/tmp/f", O_RDWR | O_CREAT, 0666);
    assert_int_equal(weft__sim_take_delay(), 100000); /* by default */
    assert_int_equal(weft__sim_take_delay(), 0);
    disk(&m, (struct weft__disk_options){.latency_ns = 1000, .jitter_ns = 500});
    for (int i = 0; i < 200; i++) {
        assert_int_equal(weft__sim_pwrite(m.p, fd, "x", 1, 0), 1);
        int64_t ns = weft__sim_take_delay();
        lowest = weft__min_i64(lowest, ns);
        highest = weft__max_i64(highest, ns);
    }
    assert_in_range(lowest, 1000, 1050);
    assert_in_range(highest, 1450, 1500);
    assert_int_equal(weft__sim_pwrite(m.p, fd, "x", 1, 0), 1);
    assert_int_equal(weft__sim_fsync(m.p, fd), 0);
    assert_in_range(weft__sim_take_delay(), 2000, 3000);
    weft__sim_proc = NULL;
    assert_int_equal(weft__sim_take_delay(), 0);
    assert_int_equal(m.w->now_ns, 0); /* sleeping it is the caller's */
    end(&m);
}

/* --- Want of memory --------------------------------------------------------------------------- */

static int first(int err, ssize_t next)
{
    return err < 0 ? err : next < 0 ? (int)next : 0;
}

/* A life of a disk. The first error, or 0. */
static int life(struct weft__host *h)
{
    struct weft__proc *p;
    uint64_t inode;
    int err = weft__proc_open(&p, h);
    if (err < 0)
        return err;
    int fd = weft__sim_open(p, "/tmp/f", O_RDWR | O_CREAT, 0666);
    err = first(err, fd);
    err = first(err, weft__sim_mkdir(p, "/tmp/d", 0777));
    err = first(err, weft__disk_put_socket(p, "/tmp/d/s", &inode));
    for (int i = 0; i < 3 && fd >= 0; i++)
        err = first(err, weft__sim_pwrite(p, fd, "hello", 5, i * 600));
    if (fd >= 0) {
        err = first(err, weft__sim_ftruncate(p, fd, 5000));
        err = first(err, weft__sim_fsync(p, fd));
        err = first(err, weft__sim_ftruncate(p, fd, 3));
    }
    err = first(err, weft__sim_rename(p, "/tmp/f", "/tmp/d/f"));
    err = first(err, weft__sim_rename(p, "/tmp/d", "/tmp/e"));
    int dir = weft__sim_open(p, "/tmp", O_RDONLY | O_DIRECTORY, 0);
    err = first(err, dir);
    if (dir >= 0)
        err = first(err, weft__sim_fsync(p, dir));
    err = first(err, weft__sim_unlink(p, "/tmp/e/f"));
    weft__proc_crash(p);
    weft__proc_close(p);
    return err;
}

static void no_memory(void **state)
{
    (void)state;
    for (uint64_t n = 1;; n++) {
        struct weft__world *w;
        struct weft__host *h;
        assert_int_equal(weft__world_open(&w, n), 0);
        assert_int_equal(weft__host_open(&h, w, "h"), 0);
        weft__alloc_hooks = true;
        int64_t before = weft__alloc_live();
        weft__alloc_fail_at(n);
        int err = life(h);
        weft__alloc_fail_at(0);
        weft__disk_close(h);
        assert_int_equal(weft__alloc_live(), before);
        weft__world_close(w);
        if (err == 0) {
            assert_true(n > 20);
            break;
        }
        assert_true(err == -ENOMEM || err == -ENOENT); /* what was not made is not found */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(contents), cmocka_unit_test(refusals),  cmocka_unit_test(names),
        cmocka_unit_test(sockets),  cmocka_unit_test(errors),    cmocka_unit_test(capacity),
        cmocka_unit_test(delays),   cmocka_unit_test(no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
