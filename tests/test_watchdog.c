/* SPDX-License-Identifier: MIT */
/*
 * Tests of the watchdog: what holds a loop is reported, by name, once a stretch and at each
 * doubling; what does not hold it is not.
 */
#include <sched.h>
#include <unistd.h>

#include <weft/offload.h>
#include <weft/protocol.h>

#include "rt_kit.h"

#define LIMIT_MS 20

/* The watchdog's thread writes, whoever holds the loop reads. */
static struct {
    pthread_mutex_t lock;
    _Atomic int lines;
    char text[8][512];
} seen = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void keep(void *arg, enum weft_log_level level, const char *text)
{
    (void)arg;
    CHECK_EQ(level, WEFT_LOG_WARNING);
    pthread_mutex_lock(&seen.lock);
    int n = atomic_load(&seen.lines);
    if (n < 8)
        (void)snprintf(seen.text[n], sizeof seen.text[n], "%s", text);
    atomic_store(&seen.lines, n + 1);
    pthread_mutex_unlock(&seen.lock);
}

static void forget(void)
{
    atomic_store(&seen.lines, 0);
    memset(seen.text, 0, sizeof seen.text);
}

static struct weft_options watched(const char *driver)
{
    return (struct weft_options){
        .driver = driver, .watchdog_ms = LIMIT_MS, .name = "guarded", .log = keep};
}

/* Holds the loop until so many lines were logged. */
static void hold(int lines)
{
    while (atomic_load(&seen.lines) < lines)
        sched_yield();
}

/* Line i begins so, and says for how long: that many milliseconds. */
static long said(int i, const char *begin)
{
    char *end = NULL;
    size_t len = strlen(begin);
    if (strncmp(seen.text[i], begin, len) != 0)
        (void)fprintf(stderr, "%s\n", seen.text[i]);
    CHECK(strncmp(seen.text[i], begin, len) == 0);
    const char *tail = " holds loop guarded for ";
    CHECK(strncmp(seen.text[i] + len, tail, strlen(tail)) == 0);
    long ms = strtol(seen.text[i] + len + strlen(tail), &end, 10);
    CHECK(strcmp(end, " ms") == 0);
    return ms;
}

/* --- What is reported ------------------------------------------------------------------------- */

static int hog(void *arg)
{
    hold(*(int *)arg);
    return 0;
}

static int runs_hog(void *arg)
{
    int lines = 1;
    struct weft_group *g = kit_group();
    (void)arg;
    CHECK_EQ(weft_group_go_at(g, "hog", hog, &lines, "hog.c:7"), 0);
    CHECK_EQ(weft_group_wait(g, WEFT_NEVER), 0);
    return weft_group_close(&g);
}

static void names_the_task(const char *driver)
{
    struct weft_options o = watched(driver);
    forget();
    CHECK_EQ(weft_run(&o, runs_hog, NULL), 0);
    CHECK(said(0, "task hog (hog.c:7)") >= LIMIT_MS);
}

static int holds_by_itself(void *arg)
{
    hold(*(int *)arg);
    return 0;
}

static void reports_again_when_doubled(const char *driver)
{
    struct weft_options o = watched(driver);
    int lines = 3;
    forget();
    CHECK_EQ(weft_run(&o, holds_by_itself, &lines), 0);
    long first = said(0, "task main (weft_run)"), second = said(1, "task main (weft_run)");
    CHECK(first >= LIMIT_MS);
    CHECK(second >= 2L * LIMIT_MS && second > first);
    CHECK(said(2, "task main (weft_run)") >= 4L * LIMIT_MS);
}

static int holds_twice(void *arg)
{
    (void)arg;
    hold(1);
    CHECK_EQ(weft_yield(), 0);
    hold(2); /* another stretch, reported at the limit again */
    return 0;
}

static void tells_stretches_apart(const char *driver)
{
    struct weft_options o = watched(driver);
    forget();
    CHECK_EQ(weft_run(&o, holds_twice, NULL), 0);
    CHECK(said(0, "task main (weft_run)") >= LIMIT_MS);
    CHECK(said(1, "task main (weft_run)") >= LIMIT_MS);
}

static void hold_one(void *arg)
{
    (void)arg;
    hold(1);
}

static int calls_back(void *arg)
{
    (void)arg;
    kit_as_callback(hold_one, NULL);
    return 0;
}

static int posts(void *arg)
{
    (void)arg;
    CHECK_EQ(weft_post_mt(weft_loop_current(), hold_one, NULL), 0);
    return weft_sleep_ms(1);
}

struct ended {
    struct weft__op op;
    struct weft_event event;
};

static void op_ended(struct weft__op *op)
{
    hold(1);
    weft_event_set(&WEFT__CONTAINER_OF(op, struct ended, op)->event);
}

/* A callback that the driver makes, from within its wait. */
static int ends_an_operation(void *arg)
{
    struct ended e = {.op = {.kind = WEFT__OP_NOP, .fd = -1, .done = op_ended}};
    (void)arg;
    CHECK(!weft__sys_submit(weft_loop_current()->sys, &e.op));
    CHECK_EQ(weft_event_wait(&e.event, WEFT_NEVER), 0);
    return 0;
}

static void names_callbacks(const char *driver)
{
    struct weft_options o = watched(driver);
    const weft_fn ways[] = {calls_back, posts, ends_an_operation};
    for (size_t i = 0; i < 3; i++) {
        forget();
        CHECK_EQ(weft_run(&o, ways[i], NULL), 0);
        CHECK(said(0, "a callback") >= LIMIT_MS);
    }
}

static int runs_inner(void *arg)
{
    int lines = 1;
    struct weft_options o = {.driver = arg};
    return weft_run(&o, holds_by_itself, &lines);
}

/* While a loop runs in a task of another, the outer one stands still. */
static void names_the_task_that_nests(const char *driver)
{
    struct weft_options o = watched(driver);
    forget();
    CHECK_EQ(weft_run(&o, runs_inner, (void *)driver), 0);
    CHECK(said(0, "task main (weft_run)") >= LIMIT_MS);
}

/* --- What is not ------------------------------------------------------------------------------ */

static int yields_a_while(void *arg)
{
    int64_t end = *(int64_t *)arg;
    while (weft_now_ns() < end)
        CHECK_EQ(weft_yield(), 0);
    return 0;
}

static int sleeps_and_yields(void *arg)
{
    struct weft_group *g = kit_group();
    (void)arg;
    CHECK_EQ(weft_sleep_ms(5L * LIMIT_MS), 0); /* a loop that waits is not held */
    int64_t end = weft_after_ms(5L * LIMIT_MS).ns;
    kit_go(g, "one", yields_a_while, &end);
    kit_go(g, "two", yields_a_while, &end); /* nor one that is busy with many */
    CHECK_EQ(weft_group_wait(g, WEFT_NEVER), 0);
    return weft_group_close(&g);
}

static void leaves_others_in_peace(const char *driver)
{
    struct weft_options o = watched(driver);
    struct weft_loop *l = NULL;
    o.watchdog_ms = 20 * LIMIT_MS; /* of a busy machine, too: nobody is to be late by that much */
    forget();
    if (KIT_SLOW)
        return;
    CHECK_EQ(weft_run(&o, sleeps_and_yields, NULL), 0);
    CHECK_EQ(atomic_load(&seen.lines), 0);
    o.watchdog_ms = 1;
    o.name = "embedded";
    CHECK_EQ(weft_loop_open(&l, &o), 0);
    struct weft_options other = watched(driver);
    int lines = 1;
    CHECK_EQ(weft_run(&other, holds_by_itself, &lines), 0); /* the embedded one is not run */
    weft_loop_close(&l);
    for (int i = 0; i < 8 && i < atomic_load(&seen.lines); i++) /* of the other, and if late two */
        CHECK(said(i, "task main (weft_run)") >= (long)LIMIT_MS << i);
}

/* --- Names that go ---------------------------------------------------------------------------- */

static int busy_for_a_moment(void *arg)
{
    int64_t end = weft_now_ns() + 3000000;
    (void)arg;
    while (weft_now_ns() < end) {
    }
    return 0;
}

static int short_lives(void *arg)
{
    struct weft_group *g = kit_group();
    (void)arg;
    for (int i = 0; i < 50 || atomic_load(&seen.lines) == 0; i++) {
        struct weft_task *t = NULL;
        char *name = strdup("name on the heap"), *site = strdup("heap.c:1");
        struct weft_task_options o = {.name = name, .site = site};
        CHECK_EQ(weft_group_spawn(g, &o, busy_for_a_moment, NULL, &t), 0);
        CHECK_EQ(weft_task_join(&t, NULL, WEFT_NEVER), 0);
        memset(name, '#', strlen(name));
        memset(site, '#', strlen(site));
        free(name);
        free(site);
    }
    return weft_group_close(&g);
}

static void follows_no_task_beyond_its_end(const char *driver)
{
    struct weft_options o = watched(driver);
    o.watchdog_ms = 1;
    forget();
    CHECK_EQ(weft_run(&o, short_lives, NULL), 0);
    for (int i = 0; i < 8; i++)
        CHECK(strchr(seen.text[i], '#') == NULL);
}

/* --- Loops that come and go ------------------------------------------------------------------- */

static void *comes_and_goes(void *arg)
{
    struct weft_options o = watched(arg);
    o.watchdog_ms = 1;
    for (int i = 0; i < (KIT_SLOW ? 20 : 200); i++)
        CHECK_EQ(weft_run(&o, i % 10 == 0 ? busy_for_a_moment : kit_nothing, NULL), 0);
    return NULL;
}

static void loops_come_and_go(const char *driver)
{
    pthread_t threads[3];
    forget();
    for (int i = 0; i < 3; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, comes_and_goes, (void *)driver), 0);
    for (int i = 0; i < 3; i++)
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
}

static const struct kit_case cases[] = {
    ON_THREAD(names_the_task),
    ON_THREAD(reports_again_when_doubled),
    ON_THREAD(tells_stretches_apart),
    ON_THREAD(names_callbacks),
    ON_THREAD(names_the_task_that_nests),
    ON_THREAD(leaves_others_in_peace),
    ON_THREAD(follows_no_task_beyond_its_end),
    ON_THREAD(loops_come_and_go),
};

KIT_MAIN(cases)
