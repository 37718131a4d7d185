/* SPDX-License-Identifier: MIT */
/*
 * What a crash leaves on the disk of a simulated host: what was synced always, and of the rest
 * what chance decides, over many seeds.
 */
#include <inttypes.h>

#include "base/alloc.h"
#include "sim_disk_kit.h"
#include "sys/sim/disk_inode.h"

enum { SEEDS = 200, SECTOR = 512, SPAN = 4 * SECTOR };

/* --- Contents --------------------------------------------------------------------------------- */

enum fate { KEPT, LOST, TORN, FATES };

/* Of a write of SPAN bytes `now` over bytes `before`: whole, not at all, or in part, up to a border
 * of sectors. */
static enum fate fate_of(const char *bytes, char before, char now)
{
    int changes = 0;
    for (int i = 0; i < SPAN; i++) {
        assert_true(bytes[i] == before || bytes[i] == now);
        if (i > 0 && bytes[i] != bytes[i - 1]) {
            assert_int_equal(i % SECTOR, 0);
            changes++;
        }
    }
    assert_true(changes <= 1);
    return changes == 1 ? TORN : bytes[0] == now ? KEPT : LOST;
}

enum { WRITES = 5 };

static void contents(void **state)
{
    (void)state;
    int count[FATES] = {0}, later_alone = 0, earlier_alone = 0;
    static char bytes[(WRITES + 1) * SPAN], span[SPAN];
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct machine m = machine(seed);
        enum fate fate[WRITES];
        memset(bytes, 's', sizeof bytes);
        int fd = weft__sim_open(m.p, "/tmp/f", O_RDWR | O_CREAT, 0666);
        assert_int_equal(weft__sim_pwrite(m.p, fd, bytes, sizeof bytes, 0), sizeof bytes);
        assert_int_equal(weft__sim_fsync(m.p, fd), 0);
        sync_dir(&m, "/tmp");
        for (int i = 0; i < WRITES; i++) {
            memset(span, 'a' + i, sizeof span);
            assert_int_equal(weft__sim_pwrite(m.p, fd, span, sizeof span, (int64_t)i * SPAN), SPAN);
        }
        crash(&m);
        assert_int_equal(get(&m, "/tmp/f", bytes, sizeof bytes), sizeof bytes);
        for (int i = 0; i < WRITES; i++) {
            fate[i] = fate_of(bytes + i * SPAN, 's', (char)('a' + i));
            count[fate[i]]++;
        }
        for (size_t i = WRITES * SPAN; i < sizeof bytes; i++)
            assert_int_equal(bytes[i], 's');
        later_alone += fate[0] == LOST && fate[WRITES - 1] == KEPT;
        earlier_alone += fate[0] == KEPT && fate[WRITES - 1] == LOST;
        end(&m);
    }
    assert_true(count[KEPT] > SEEDS / 2 && count[LOST] > SEEDS / 2 && count[TORN] > SEEDS / 4);
    assert_true(later_alone > 0 && earlier_alone > 0);
}

/* A log: what was synced is its beginning, whatever became of the records behind. */
static void appended(void **state)
{
    (void)state;
    int sizes = 0, gaps = 0;
    char bytes[8000];
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct machine m = machine(seed);
        put(&m, "/tmp/f", "begin");
        sync_dir(&m, "/tmp");
        int fd = weft__sim_open(m.p, "/tmp/f", O_WRONLY | O_APPEND, 0);
        memset(bytes, 'x', sizeof bytes);
        assert_int_equal(weft__sim_pwrite(m.p, fd, bytes, 700, 0), 700);
        assert_int_equal(weft__sim_fsync(m.p, fd), 0);
        assert_int_equal(weft__sim_pwrite(m.p, fd, bytes, 2000, 0), 2000);
        assert_int_equal(weft__sim_pwrite(m.p, fd, bytes, 10, 0), 10);
        crash(&m);
        ssize_t n = get(&m, "/tmp/f", bytes, sizeof bytes);
        assert_in_range(n, 705, 2715);
        assert_memory_equal(bytes, "begin", 5);
        bool gap = false;
        for (ssize_t i = 5; i < n; i++) {
            assert_true(bytes[i] == 'x' || (bytes[i] == '\0' && i >= 705));
            gap = gap || bytes[i] == '\0';
        }
        gaps += gap;
        sizes += n > 705 && n < 2715;
        end(&m);
    }
    assert_true(sizes > 0 && gaps > 0);
}

static void truncated(void **state)
{
    (void)state;
    int kept = 0;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct machine m = machine(seed);
        put(&m, "/tmp/f", "0123456789");
        sync_dir(&m, "/tmp");
        int fd = weft__sim_open(m.p, "/tmp/f", O_RDWR, 0);
        assert_int_equal(weft__sim_ftruncate(m.p, fd, 4), 0);
        bool synced = seed % 2 == 0;
        if (synced)
            assert_int_equal(weft__sim_fsync(m.p, fd), 0);
        crash(&m);
        bool cut = holds(&m, "/tmp/f", "0123");
        assert_true(cut || (!synced && holds(&m, "/tmp/f", "0123456789")));
        kept += cut && !synced;
        /* What was cut off does not come back when it grows. */
        fd = weft__sim_open(m.p, "/tmp/f", O_RDWR, 0);
        assert_int_equal(weft__sim_ftruncate(m.p, fd, 4), 0);
        assert_int_equal(weft__sim_ftruncate(m.p, fd, 6), 0);
        char six[6];
        assert_int_equal(weft__sim_pread(m.p, fd, six, 6, 0), 6);
        assert_memory_equal(six, "0123\0\0", 6);
        end(&m);
    }
    assert_in_range(kept, 20, 80);
}

/* Of the bytes of a sync that failed nothing is known, even after one that did not. */
static void failed_sync(void **state)
{
    (void)state;
    int lost = 0, kept = 0;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct machine m = machine(seed);
        put(&m, "/tmp/f", "old");
        sync_dir(&m, "/tmp");
        int fd = weft__sim_open(m.p, "/tmp/f", O_RDWR, 0);
        assert_int_equal(weft__sim_pwrite(m.p, fd, "new", 3, 0), 3);
        disk(&m, (struct weft__disk_options){.sync_error = UINT32_MAX});
        assert_int_equal(weft__sim_fsync(m.p, fd), -EIO);
        disk(&m, (struct weft__disk_options){.sync_error = 0});
        assert_int_equal(weft__sim_fsync(m.p, fd), 0);
        assert_true(holds(&m, "/tmp/f", "new")); /* the running system sees it */
        bool anew = seed % 4 == 0;
        if (anew) {
            assert_int_equal(weft__sim_pwrite(m.p, fd, "new", 3, 0), 3);
            assert_int_equal(weft__sim_fsync(m.p, fd), 0);
        }
        crash(&m);
        bool is_new = holds(&m, "/tmp/f", "new");
        assert_true(is_new || (!anew && holds(&m, "/tmp/f", "old")));
        kept += is_new && !anew;
        lost += !is_new;
        end(&m);
    }
    assert_in_range(lost, 40, 110);
    assert_in_range(kept, 40, 110);
}

/* --- Names ------------------------------------------------------------------------------------ */

static void made(void **state)
{
    (void)state;
    int kept = 0;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct machine m = machine(seed);
        put(&m, "/tmp/durable", "d");
        sync_dir(&m, "/tmp");
        put(&m, "/tmp/f", "content"); /* that is synced, but the name is not */
        crash(&m);
        expect(&m, "/tmp/durable", "d");
        bool there = is_there(&m, "/tmp/f");
        if (there)
            expect(&m, "/tmp/f", "content");
        kept += there;
        end(&m);
    }
    assert_in_range(kept, 50, 150);
}

/* The way to replace a file: at any time, the old one or the new one. */
static void replaced(void **state)
{
    (void)state;
    int count[2] = {0};
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct machine m = machine(seed);
        put(&m, "/tmp/f", "old");
        sync_dir(&m, "/tmp");
        put(&m, "/tmp/f.tmp", "new");
        assert_int_equal(weft__sim_rename(m.p, "/tmp/f.tmp", "/tmp/f"), 0);
        bool synced = seed % 2 == 0;
        if (synced)
            sync_dir(&m, "/tmp");
        crash(&m);
        bool is_new = holds(&m, "/tmp/f", "new");
        assert_true(is_new || (!synced && holds(&m, "/tmp/f", "old")));
        assert_true(!is_new || !is_there(&m, "/tmp/f.tmp"));
        count[is_new] += !synced;
        end(&m);
    }
    assert_true(count[0] > 20 && count[1] > 20);
}

/* Renamed without a sync of its content: the name may be there before the bytes are. */
static void replaced_carelessly(void **state)
{
    (void)state;
    int empty = 0;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct machine m = machine(seed);
        put(&m, "/tmp/f", "old");
        sync_dir(&m, "/tmp");
        int fd = weft__sim_open(m.p, "/tmp/g", O_WRONLY | O_CREAT, 0666);
        assert_int_equal(weft__sim_pwrite(m.p, fd, "new", 3, 0), 3);
        assert_int_equal(weft__sim_rename(m.p, "/tmp/g", "/tmp/f"), 0);
        sync_dir(&m, "/tmp");
        crash(&m);
        assert_true(holds(&m, "/tmp/f", "new") || holds(&m, "/tmp/f", ""));
        empty += holds(&m, "/tmp/f", "");
        end(&m);
    }
    assert_true(empty > 20);
}

/* A log is put aside and begun anew: what was synced is under one of its names. */
static void put_aside(void **state)
{
    (void)state;
    int count[3] = {0};
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct machine m = machine(seed);
        put(&m, "/tmp/log", "records");
        sync_dir(&m, "/tmp");
        assert_int_equal(weft__sim_rename(m.p, "/tmp/log", "/tmp/log.1"), 0);
        put(&m, "/tmp/log", "fresh");
        crash(&m);
        bool aside = holds(&m, "/tmp/log.1", "records");
        assert_true(aside != holds(&m, "/tmp/log", "records"));
        count[!aside ? 0 : holds(&m, "/tmp/log", "fresh") ? 2 : 1]++;
        end(&m);
    }
    assert_true(count[0] > 0 && count[1] > 0 && count[2] > 0);
}

/* Removed, and moved between directories, of which one is synced. */
static void moved(void **state)
{
    (void)state;
    int back = 0;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct machine m = machine(seed);
        assert_int_equal(weft__sim_mkdir(m.p, "/tmp/a", 0777), 0);
        assert_int_equal(weft__sim_mkdir(m.p, "/tmp/b", 0777), 0);
        put(&m, "/tmp/a/f", "moved");
        put(&m, "/tmp/a/g", "removed");
        sync_dir(&m, "/tmp/a");
        assert_int_equal(weft__sim_rename(m.p, "/tmp/a/f", "/tmp/b/f"), 0);
        sync_dir(&m, "/tmp/b"); /* and with it what that rests on */
        assert_int_equal(weft__sim_unlink(m.p, "/tmp/a/g"), 0);
        crash(&m);
        expect(&m, "/tmp/b/f", "moved");
        assert_false(is_there(&m, "/tmp/a/f"));
        back += holds(&m, "/tmp/a/g", "removed");
        end(&m);
    }
    assert_in_range(back, 50, 150);
}

/* A directory moves out of one that then moves into it: when only the second move is there, each is
 * within the other, and what they hold is lost. */
static void moved_into_each_other(void **state)
{
    (void)state;
    static const char *const dirs[] = {"/tmp/p", "/tmp/p/q", "/tmp/p/q/x", "/tmp/p/q/x/y"};
    int count[3] = {0};
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct machine m = machine(seed);
        for (size_t i = 0; i < WEFT__ARRAY_LEN(dirs); i++)
            assert_int_equal(weft__sim_mkdir(m.p, dirs[i], 0777), 0);
        put(&m, "/tmp/p/q/x/y/f", "kept");
        sync_dir(&m, "/tmp/p/q/x/y");
        assert_int_equal(weft__sim_rename(m.p, "/tmp/p/q/x", "/tmp/x"), 0);
        assert_int_equal(weft__sim_rename(m.p, "/tmp/p", "/tmp/x/y/p"), 0);
        crash(&m);
        bool out = is_there(&m, "/tmp/x"), in = is_there(&m, "/tmp/x/y/p");
        assert_true(holds(&m, out ? "/tmp/x/y/f" : "/tmp/p/q/x/y/f", "kept"));
        assert_true(in != is_there(&m, "/tmp/p"));
        count[out + in]++;
        end(&m);
    }
    assert_true(count[0] > 20 && count[1] > 5 && count[2] > 20);
}

/* --- Much of it ------------------------------------------------------------------------------- */

static void name_of(struct machine *m, char *to, int deep)
{
    static const char *const names[] = {"a", "b", "c"};
    to += sprintf(to, "/tmp");
    for (int i = 0; i < deep; i++)
        to += sprintf(to, "/%s", names[weft__world_below(m->w, 3)]);
}

static void any_change(struct machine *m)
{
    char from[40], to[40];
    uint64_t inode;
    name_of(m, from, 1 + (int)weft__world_below(m->w, 3));
    name_of(m, to, 1 + (int)weft__world_below(m->w, 3));
    int fd, err = 0;
    switch (weft__world_below(m->w, 8)) {
    case 0:
    case 1:
        err = weft__sim_mkdir(m->p, from, 0777);
        break;
    case 2:
        err = weft__sim_rename(m->p, from, to);
        break;
    case 3:
        err = weft__sim_unlink(m->p, from);
        break;
    case 4:
        err = weft__sim_rmdir(m->p, from);
        break;
    case 5:
        err = weft__disk_put_socket(m->p, from, &inode);
        break;
    case 6:
        fd = weft__sim_open(m->p, from, O_RDONLY | O_DIRECTORY, 0);
        err = fd >= 0 && weft__world_below(m->w, 4) == 0 ? weft__sim_fsync(m->p, fd) : fd;
        break;
    default:
        fd = weft__sim_open(m->p, from, O_RDWR | O_CREAT, 0666);
        if (fd >= 0)
            err = (int)weft__sim_pwrite(m->p, fd, from, strlen(from), 0);
    }
    assert_true(err >= 0 || err == -ENOENT || err == -EEXIST || err == -EISDIR || err == -ENOTDIR ||
                err == -ENOTEMPTY || err == -EINVAL || err == -EADDRINUSE || err == -ENXIO);
}

/* After a crash: every inode has its name, in a directory that can be reached, and nothing waits to
 * be synced. Returns their number. */
static int check_disk(const struct weft__disk *d)
{
    int n = 0;
    assert_int_equal(d->n_namings, 0);
    WEFT__LIST_EACH(&d->inodes, l) {
        const struct weft__inode *i = WEFT__CONTAINER_OF(l, struct weft__inode, link);
        unsigned steps = 0;
        assert_int_equal(i->links, 1);
        assert_int_equal(i->opens + i->n_changes, 0);
        for (; S_ISDIR(i->mode) && i != d->root && steps < 1000; i = i->parent)
            steps++;
        assert_true(steps < 1000); /* no directory is within itself */
        n++;
    }
    return n;
}

/* One run: several crashes, in the middle of many changes. Returns a hash of all that happened. */
static uint64_t much(uint64_t seed)
{
    struct machine m = machine(seed);
    put(&m, "/srv/keep", "synced");
    sync_dir(&m, "/srv");
    for (int round = 0; round < 4; round++) {
        int changes = 1 + (int)weft__world_below(m.w, 400);
        for (int i = 0; i < changes; i++)
            any_change(&m);
        crash(&m);
        weft__trace(m.w, m.h, NULL, "%" PRIi64 " left", check_disk(m.h->disk), 0, 0, 0);
        expect(&m, "/srv/keep", "synced");
    }
    uint64_t hash = m.w->hash;
    end(&m);
    return hash;
}

static void same_again(void **state)
{
    (void)state;
    uint64_t before = 0;
    weft__alloc_hooks = true;
    int64_t live = weft__alloc_live();
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        uint64_t hash = much(seed);
        assert_true(hash == much(seed));
        assert_true(hash != before);
        before = hash;
    }
    assert_int_equal(weft__alloc_live(), live);
    weft__alloc_hooks = false;
}

/* What is never synced does not pile up: the oldest of it reaches the disk in the end. */
static void written_back(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct machine m = machine(seed);
        char name[40], byte = 'x';
        for (int i = 0; i < 500; i++) {
            (void)snprintf(name, sizeof name, "/tmp/%d", i);
            assert_int_equal(weft__sim_mkdir(m.p, name, 0777), 0);
        }
        put(&m, "/f", "");
        sync_dir(&m, "/");
        int fd = weft__sim_open(m.p, "/f", O_RDWR, 0);
        for (int i = 0; i < 3000; i++)
            assert_int_equal(weft__sim_pwrite(m.p, fd, &byte, 1, i), 1);
        crash(&m);
        for (int i = 0; i < 500 - 256; i++) {
            (void)snprintf(name, sizeof name, "/tmp/%d", i);
            assert_true(is_there(&m, name));
        }
        static char bytes[3000];
        assert_true(get(&m, "/f", bytes, sizeof bytes) >= 3000 - 1024);
        for (int i = 0; i < 3000 - 1024; i++)
            assert_int_equal(bytes[i], 'x');
        end(&m);
    }
}

/* --- Processes -------------------------------------------------------------------------------- */

static void ghosts(void **state)
{
    (void)state;
    struct machine m = machine(1);
    put(&m, "/tmp/f", "x");
    sync_dir(&m, "/tmp");
    int fd = weft__sim_open(m.p, "/tmp/f", O_RDWR, 0);
    weft__proc_crash(m.p);
    char byte;
    struct stat st;
    uint64_t inode;
    assert_int_equal(weft__sim_pread(m.p, fd, &byte, 1, 0), -EIO);
    assert_int_equal(weft__sim_pwrite(m.p, fd, "y", 1, 0), -EIO);
    assert_int_equal(weft__sim_fsync(m.p, fd), -EIO);
    assert_int_equal(weft__sim_open(m.p, "/tmp/f", O_RDWR, 0), -EIO);
    assert_int_equal(weft__sim_unlink(m.p, "/tmp/f"), -EIO);
    assert_int_equal(weft__sim_rename(m.p, "/tmp/f", "/tmp/g"), -EIO);
    assert_int_equal(weft__sim_lstat(m.p, "/tmp/f", &st), -EIO);
    assert_int_equal(weft__disk_put_socket(m.p, "/tmp/s", &inode), -EIO);
    /* While the next one is at work already. */
    struct weft__proc *ghost = m.p;
    assert_int_equal(weft__proc_open(&m.p, m.h), 0);
    expect(&m, "/tmp/f", "x");
    assert_int_equal(weft__sim_unlink(ghost, "/tmp/f"), -EIO);
    weft__proc_close(ghost);
    expect(&m, "/tmp/f", "x");
    end(&m);
}

/* The end of a process is no loss of power: the system goes on, and with it its cache. */
static void exits(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct machine m = machine(seed);
        int fd = weft__sim_open(m.p, "/tmp/f", O_WRONLY | O_CREAT, 0666);
        assert_int_equal(weft__sim_pwrite(m.p, fd, "not synced", 10, 0), 10);
        weft__proc_close(m.p);
        assert_int_equal(weft__proc_open(&m.p, m.h), 0);
        expect(&m, "/tmp/f", "not synced");
        end(&m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(contents),   cmocka_unit_test(appended),
        cmocka_unit_test(truncated),  cmocka_unit_test(failed_sync),
        cmocka_unit_test(made),       cmocka_unit_test(replaced),
        cmocka_unit_test(put_aside),  cmocka_unit_test(replaced_carelessly),
        cmocka_unit_test(moved),      cmocka_unit_test(moved_into_each_other),
        cmocka_unit_test(same_again), cmocka_unit_test(written_back),
        cmocka_unit_test(ghosts),     cmocka_unit_test(exits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
