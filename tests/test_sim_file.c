/* SPDX-License-Identifier: MIT */
/*
 * Programs that use files, inside simulated hosts that crash: what was reported as durable is there
 * afterwards, whenever the crash came.
 */
#include <weft/sim.h>
#include <weft/weft.h>

#include "rt_kit.h"

#include "base/alloc.h"

#define SEEDS (RUNNING_ON_VALGRIND ? 15 : 60)
enum { CRASHES = 12 };

/* What the outside world was told, over all crashes. */
struct told {
    int stored;  /* numbers that were stored */
    int records; /* that were synced */
    int cut;     /* starts that found a torn end */
    int tries, errors;
};

/* --- A number in a file ----------------------------------------------------------------------- */

enum { NUMBER = 3000 }; /* bytes, all alike, so that a torn one is seen */

static int load_number(void)
{
    void *buf = NULL;
    size_t len;
    int err = weft_file_load("/srv/number", &buf, &len, NUMBER, WEFT_NEVER);
    if (err == -ENOENT)
        return 0;
    if (err < 0)
        return err;
    const unsigned char *at = buf;
    CHECK_EQ(len, NUMBER);
    int number = at[0] + 256 * at[1];
    for (size_t i = 0; i < len; i++)
        CHECK_EQ(at[i], at[i % 2]);
    free(buf);
    return number;
}

static int count_up(void *arg)
{
    struct told *told = arg;
    unsigned char buf[NUMBER];
    int number = load_number();
    if (number < 0)
        return number;
    CHECK(number == told->stored || number == told->stored + 1);
    told->stored = number; /* found behind a crash, so it stays */
    for (;;) {
        number++;
        for (size_t i = 0; i < sizeof buf; i++)
            buf[i] = (unsigned char)(i % 2 == 0 ? number : number >> 8);
        told->tries++;
        int err = weft_file_store("/srv/number", buf, sizeof buf, WEFT_NEVER);
        if (err < 0)
            return err;
        told->stored = number;
    }
}

/* --- A log ------------------------------------------------------------------------------------ */

enum { RECORD = 700 };

static void fill_record(unsigned char record[RECORD], int n)
{
    for (int i = 0; i < RECORD; i++)
        record[i] = (unsigned char)(n * 31 + i % 251 + 1); /* differs from its neighbours */
    memcpy(record, &n, sizeof n);
}

/*
 * How many whole records there are. They are written anew, without what is behind them: after a
 * sync that failed the system shows bytes that are not on the disk and never will be.
 */
static int recover(struct told *told)
{
    unsigned char want[RECORD];
    void *buf = NULL;
    size_t len = 0;
    int n = 0, err = weft_file_load("/srv/log", &buf, &len, 1 << 24, WEFT_NEVER);
    if (err < 0 && err != -ENOENT)
        return err;
    for (; (size_t)(n + 1) * RECORD <= len; n++) {
        fill_record(want, n);
        if (memcmp((unsigned char *)buf + (size_t)n * RECORD, want, RECORD) != 0)
            break;
    }
    told->cut += len > (size_t)n * RECORD;
    err = weft_file_store("/srv/log", buf, (size_t)n * RECORD, WEFT_NEVER);
    free(buf);
    return err < 0 ? err : n;
}

static int append_all(struct weft_file *f, struct told *told, int n)
{
    unsigned char record[RECORD];
    for (int err = 0;; n++) {
        fill_record(record, n);
        told->tries++;
        err = weft_file_append(f, record, RECORD, WEFT_NEVER);
        if (err == 0 && n % 4 == 3)
            err = weft_file_sync(f, WEFT_NEVER);
        if (err < 0)
            return err;
        if (n % 4 == 3)
            told->records = n + 1;
    }
}

static int keep_log(void *arg)
{
    struct told *told = arg;
    struct weft_file *f = NULL;
    int n = recover(told);
    if (n >= 0) {
        CHECK(n >= told->records);
        told->records = n;
    }
    int err = n < 0 ? n : weft_file_open(&f, "/srv/log", WEFT_FILE_APPEND, 0, WEFT_NEVER);
    if (err == 0)
        err = append_all(f, told, n);
    told->errors += err == -EIO;
    (void)weft_file_close(&f, WEFT_NEVER);
    return err;
}

/* --- Running them ----------------------------------------------------------------------------- */

static void power_off(struct weft_sim *sim, void *arg)
{
    (void)arg;
    CHECK_EQ(weft_sim_crash(sim, "host"), 0);
}

static void power_on(struct weft_sim *sim, void *arg)
{
    (void)arg;
    CHECK_EQ(weft_sim_restart(sim, "host"), 0);
}

static struct weft_sim *open_sim(uint64_t seed, weft_fn main, void *arg)
{
    struct weft_sim *sim = NULL;
    struct weft_sim_options o = {.seed = seed};
    struct weft_sim_host_options h = {.may_fail = true, .service = true};
    CHECK_EQ(weft_sim_open(&sim, &o), 0);
    CHECK_EQ(weft_sim_host_with(sim, "host", &h, main, arg), 0);
    return sim;
}

/* Crashes at any moment, also one in which it starts. Returns the hash of all events. */
static uint64_t with_crashes(uint64_t seed, weft_fn main, struct told *told)
{
    struct weft_sim *sim = open_sim(seed, main, told);
    int64_t at = 0;
    for (int i = 0; i < CRASHES; i++) {
        at += (int64_t)(weft_sim_random(sim) % (uint64_t)weft_ms(i % 3 == 0 ? 2 : 30));
        CHECK_EQ(weft_sim_at(sim, at, power_off, NULL), 0);
        CHECK_EQ(weft_sim_at(sim, at + weft_ms(1), power_on, NULL), 0);
        at += weft_ms(1);
    }
    CHECK_EQ(weft_sim_run(sim, at + weft_ms(10)), 0);
    uint64_t hash = weft_sim_hash(sim);
    CHECK_EQ(weft_sim_close(&sim), 0);
    return hash;
}

static void stored(void **state)
{
    (void)state;
    int all = 0;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct told told = {0}, again = {0};
        uint64_t hash = with_crashes(seed, count_up, &told);
        assert_true(told.stored > 0 && told.stored <= told.tries);
        assert_true(hash == with_crashes(seed, count_up, &again));
        assert_memory_equal(&told, &again, sizeof told);
        all += told.stored;
    }
    assert_true(all > SEEDS * 20);
}

static void logged(void **state)
{
    (void)state;
    int cut = 0, records = 0;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct told told = {0}, again = {0};
        uint64_t hash = with_crashes(seed, keep_log, &told);
        assert_true(hash == with_crashes(seed, keep_log, &again));
        assert_memory_equal(&told, &again, sizeof told);
        cut += told.cut;
        records += told.records;
    }
    assert_true(cut > SEEDS && records > SEEDS * 20);
}

/* With a disk that fails now and then: an error ends main, and the next start recovers. */
static void on_a_bad_disk(void **state)
{
    (void)state;
    int errors = 0;
    struct weft_sim_disk bad = {
        .jitter_us = 300, .read_error = 0.002, .write_error = 0.01, .sync_error = 0.05};
    struct weft_sim_faults faults = {.short_io = 0.2};
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct told told = {0};
        struct weft_sim *sim = open_sim(seed, keep_log, &told);
        CHECK_EQ(weft_sim_disk(sim, "host", &bad), 0);
        CHECK_EQ(weft_sim_faults(sim, "host", &faults), 0);
        for (int i = 1; i <= 40; i++) {
            if (i % 5 == 0)
                CHECK_EQ(weft_sim_at(sim, weft_ms(10) * i - 1, power_off, NULL), 0);
            CHECK_EQ(weft_sim_at(sim, weft_ms(10) * i, power_on, NULL), 0);
        }
        CHECK_EQ(weft_sim_run(sim, weft_ms(405)), 0);
        CHECK_EQ(weft_sim_close(&sim), 0);
        errors += told.errors;
    }
    assert_true(errors > SEEDS);
}

/* --- Time ------------------------------------------------------------------------------------- */

/* So many calls since `begin`; timers are a little late. */
static void check_calls(int64_t begin, int calls)
{
    int64_t ns = weft_now_ns() - begin;
    CHECK(ns >= weft_us(700) * calls && ns < weft_us(800) * calls);
}

static int turn(void *arg)
{
    int *n = arg;
    while (weft_sleep_until(weft_after_us(100)) == 0)
        ++*n;
    return 0;
}

static int take_time(void *arg)
{
    struct weft_file *f = NULL;
    struct weft_group *g = NULL;
    int turns = 0;
    (void)arg;
    CHECK_EQ(weft_group_open(&g), 0);
    CHECK_EQ(weft_group_go(g, "turn", turn, &turns), 0);
    int64_t begin = weft_now_ns();
    CHECK_EQ(weft_file_open(&f, "/f", WEFT_FILE_WRITE | WEFT_FILE_CREATE, 0, WEFT_NEVER), 0);
    check_calls(begin, 1);
    CHECK_EQ(weft_file_write_at(f, "x", 1, 0, WEFT_NEVER), 0);
    check_calls(begin, 2);
    /* One that has begun ends, and its result counts; one that has not is not begun. */
    CHECK_EQ(weft_file_write_at(f, "y", 1, 1, weft_after_us(10)), 0);
    check_calls(begin, 3);
    CHECK(turns >= 12); /* the disk holds up nobody */
    CHECK_EQ(weft_group_close(&g), 0);
    CHECK_EQ(weft_file_write_at(f, "z", 1, 2, WEFT_NOW), -ETIMEDOUT);
    CHECK_EQ(weft_file_size(f, WEFT_NEVER), 2);
    CHECK_EQ(weft_file_close(&f, WEFT_NEVER), 0);
    CHECK_EQ(weft_file_make_dir("/d", 0, WEFT_NEVER), 0);
    CHECK_EQ(weft_file_rename("/f", "/d/g", WEFT_NEVER), 0);
    CHECK_EQ(weft_file_remove("/d", WEFT_NEVER), -ENOTEMPTY);
    CHECK_EQ(weft_file_remove("/d/g", WEFT_NEVER), 0);
    CHECK_EQ(weft_file_remove("/d", WEFT_NEVER), 0);
    CHECK_EQ(weft_file_open(&f, "/f", WEFT_FILE_READ, 0, WEFT_NEVER), -ENOENT);
    CHECK(strcmp(weft_error_detail(), "open '/f'") == 0);
    return 0;
}

static void time_passes(void **state)
{
    (void)state;
    struct weft_sim *sim = NULL;
    struct weft_sim_options o = {.seed = 1};
    struct weft_sim_disk slow = {.latency_us = 700};
    CHECK_EQ(weft_sim_open(&sim, &o), 0);
    CHECK_EQ(weft_sim_host(sim, "host", take_time, NULL), 0);
    CHECK_EQ(weft_sim_disk(sim, "host", &slow), 0);
    CHECK_EQ(weft_sim_run(sim, weft_s(1)), 0);
    CHECK_EQ(weft_sim_close(&sim), 0);
}

/* --- Beside streams --------------------------------------------------------------------------- */

enum { SENT = 50000 };

struct ends {
    struct weft_stream *to, *from;
};

static int send_file(void *arg)
{
    struct ends *e = arg;
    struct weft_file *f = NULL;
    off_t offset = 0;
    int err = weft_file_open(&f, "/f", WEFT_FILE_READ, 0, WEFT_NEVER);
    if (err == 0)
        err = weft_sendfile(e->to, weft_file_fd(f), &offset, SENT, WEFT_NEVER);
    (void)weft_file_close(&f, WEFT_NEVER);
    int closed = weft_close(&e->to, WEFT_NEVER);
    return err < 0 ? err : closed;
}

static int receive_file(void *arg)
{
    struct weft_group *g = NULL;
    struct ends e = {NULL, NULL};
    bool in_memory = *(const bool *)arg;
    char *bytes = malloc(SENT), *got = malloc(SENT);
    char more;
    for (int i = 0; i < SENT; i++)
        bytes[i] = (char)(i * 7 + i / 256);
    CHECK_EQ(weft_file_store("/f", bytes, SENT, WEFT_NEVER), 0);
    CHECK_EQ(in_memory ? weft_pipe_open(&e.to, &e.from, 0) : weft_socketpair(&e.to, &e.from), 0);
    CHECK_EQ(weft_group_open(&g), 0);
    CHECK_EQ(weft_group_go(g, "sender", send_file, &e), 0);
    CHECK_EQ(weft_read_full(e.from, got, SENT, WEFT_NEVER), 0);
    CHECK(memcmp(got, bytes, SENT) == 0);
    CHECK_EQ(weft_read(e.from, &more, 1, WEFT_NEVER), 0);
    CHECK_EQ(weft_group_wait(g, WEFT_NEVER), 0);
    CHECK_EQ(weft_group_close(&g), 0);
    CHECK_EQ(weft_close(&e.from, WEFT_NEVER), 0);
    free(bytes);
    free(got);
    return 0;
}

static void sent(void **state)
{
    (void)state;
    struct weft_sim_faults faults = {.short_io = 0.2, .again = 0.2};
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct weft_sim *sim = NULL;
        struct weft_sim_options o = {.seed = seed};
        bool in_memory = seed % 2 == 0;
        CHECK_EQ(weft_sim_open(&sim, &o), 0);
        CHECK_EQ(weft_sim_host(sim, "host", receive_file, &in_memory), 0);
        CHECK_EQ(weft_sim_faults(sim, "host", &faults), 0);
        CHECK_EQ(weft_sim_run(sim, weft_s(60)), 0);
        CHECK_EQ(weft_sim_close(&sim), 0);
    }
}

/* A file that is left open is told. */
static int forget(void *arg)
{
    struct weft_file **f = arg;
    return weft_file_open(f, "/f", WEFT_FILE_WRITE | WEFT_FILE_CREATE, 0, WEFT_NEVER);
}

static void left_open(void **state)
{
    (void)state;
    struct weft_sim *sim = NULL;
    struct weft_file *f = NULL;
    struct weft_sim_options o = {.seed = 1, .quiet = true};
    CHECK_EQ(weft_sim_open(&sim, &o), 0);
    CHECK_EQ(weft_sim_host(sim, "host", forget, &f), 0);
    CHECK_EQ(weft_sim_run(sim, weft_s(1)), WEFT_ELEAK);
    CHECK_EQ(weft_sim_close(&sim), WEFT_ELEAK);
    weft__free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stored),      cmocka_unit_test(logged), cmocka_unit_test(on_a_bad_disk),
        cmocka_unit_test(time_passes), cmocka_unit_test(sent),   cmocka_unit_test(left_open),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
