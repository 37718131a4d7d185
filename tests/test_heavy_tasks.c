/* SPDX-License-Identifier: MIT */
/*
 * A million tasks in one loop, each parked on a stack of its own: they fit in 4.6 GiB, all of them
 * end when their group is cancelled, and the memory is given back.
 */
#include <unistd.h>

#include "rt_kit.h"

#define TASKS 1000000
#define MOST_KIB (46ll * 1024 * 1024 / 10)

static long long kib_of(const char *file, const char *key)
{
    FILE *f = fopen(file, "re");
    char line[256];
    long long kib = -1;
    assert_non_null(f);
    while (kib < 0 && fgets(line, sizeof line, f) != NULL)
        if (strncmp(line, key, strlen(key)) == 0)
            kib = strtoll(line + strlen(key), NULL, 10);
    (void)fclose(f);
    assert_true(kib >= 0);
    return kib;
}

struct crowd {
    struct weft_event go; /* never set */
    size_t parked, canceled;
};

static int member(void *arg)
{
    struct crowd *c = arg;
    c->parked++;
    int err = weft_event_wait(&c->go, WEFT_NEVER);
    c->canceled += err == -ECANCELED;
    return err;
}

static int sleeper(void *arg)
{
    struct crowd *c = arg;
    c->parked++;
    int err = weft_sleep_ms(3600 * 1000);
    c->canceled += err == -ECANCELED;
    return err;
}

static int park(void *arg)
{
    struct crowd c = {.go = WEFT_EVENT_INIT};
    struct weft_group *g = kit_group();
    int64_t began = weft_now_ns();
    (void)arg;
    for (size_t i = 0; i < TASKS; i++) {
        int err = weft_group_go(g, "parked", i % 2 == 0 ? member : sleeper, &c);
        if (err < 0)
            print_error("task %zu: %s %s\n", i, weft_error_name(err), weft_error_detail());
        CHECK_EQ(err, 0);
    }
    while (c.parked < TASKS)
        CHECK_EQ(weft_yield(), 0);
    long long kib = kib_of("/proc/self/status", "VmRSS:");
    int64_t parked = weft_now_ns();
    CHECK_EQ(weft_group_count(g), TASKS);
    weft_group_cancel(g);
    CHECK_EQ(weft_group_wait(g, WEFT_NEVER), 0);
    CHECK_EQ(c.canceled, TASKS);
    CHECK_EQ(weft_group_close(&g), 0);
    print_message("%d tasks: %lld MiB, parked in %.1f s, cancelled in %.1f s\n", TASKS, kib / 1024,
                  (double)(parked - began) / 1e9, (double)(weft_now_ns() - parked) / 1e9);
    CHECK(kib <= MOST_KIB);
    return 0;
}

static void a_million_tasks(const char *driver)
{
    if (KIT_SLOW) {
        print_message("skipped: a million tasks: sanitizers and valgrind need more memory\n");
        skip();
    }
    if (kib_of("/proc/meminfo", "MemAvailable:") < MOST_KIB + (1 << 19)) {
        print_message("skipped: a million tasks: less than 5.1 GiB of memory are available\n");
        skip();
    }
    struct weft_options o = {.driver = driver};
    assert_int_equal(weft_run(&o, park, NULL), 0);
    assert_true(kib_of("/proc/self/status", "VmRSS:") < 200 * 1024);
}

static const struct kit_case cases[] = {
    ON_THREAD(a_million_tasks),
};
KIT_MAIN(cases)
