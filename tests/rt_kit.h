/* SPDX-License-Identifier: MIT */
/*
 * What the tests of the runtime share: a case is run on every loop driver that this machine has,
 * or once where that says it all, and must leave no descriptor behind.
 *
 * CHECK is for code that runs in tasks, callbacks and other threads, from where a test framework
 * cannot jump out: it says what failed and where, and ends the program.
 */
#ifndef RT_KIT_H
#define RT_KIT_H

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <weft/channel.h>
#include <weft/error.h>
#include <weft/group.h>
#include <weft/run.h>
#include <weft/sync.h>
#include <weft/time.h>

#include "rt/rt.h"

#if WEFT_HAVE_VALGRIND
#include <valgrind/valgrind.h>
#else
#define RUNNING_ON_VALGRIND 0
#endif

#define KIT_SANITIZED (WEFT__ASAN || WEFT__TSAN)
/* Everything takes much longer there, and clocks jump; likewise in an emulator of another machine,
 * of which the environment tells, and which lacks system calls besides. */
#define KIT_SLOW (KIT_SANITIZED || RUNNING_ON_VALGRIND || KIT_EMULATED)
#define KIT_EMULATED (kit_emulator()[0] != '\0')

/* What starts a program that is built as this one is, with a space after it; or "". */
static inline const char *kit_emulator(void)
{
    const char *command = getenv("WEFT_TEST_EMULATOR");
    return command != NULL ? command : "";
}

#define CHECK(cond)                                                                                \
    do {                                                                                           \
        if (!(cond))                                                                               \
            kit_failed(__FILE__, __LINE__, #cond, 0, 0);                                           \
    } while (0)
#define CHECK_EQ(got, want)                                                                        \
    do {                                                                                           \
        long long got_ = (long long)(got), want_ = (long long)(want);                              \
        if (got_ != want_)                                                                         \
            kit_failed(__FILE__, __LINE__, #got " == " #want, got_, want_);                        \
    } while (0)

_Noreturn static inline void kit_failed(const char *file, int line, const char *what, long long got,
                                        long long want)
{
    (void)fprintf(stderr, "%s:%d: in '%s': not so: %s (%lld, %lld)\n", file, line, weft_task_name(),
                  what, got, want);
    abort();
}

/* --- Cases --------------------------------------------------------------------------------- */

struct kit_case {
    const char *name;
    weft_fn body;                      /* runs as the first task, and is to return 0; or */
    void (*plain)(const char *driver); /* runs on a plain thread; or */
    void (*once)(void);                /* the same, on the first driver only */
};
#define IN_TASK(fn)                                                                                \
    {                                                                                              \
#fn, fn, NULL, NULL                                                                        \
    }
#define ON_THREAD(fn)                                                                              \
    {                                                                                              \
#fn, NULL, fn, NULL                                                                        \
    }
/* Uses no driver: all is simulated, say. */
#define ONCE(fn)                                                                                   \
    {                                                                                              \
#fn, NULL, NULL, fn                                                                        \
    }

struct kit_run {
    const struct kit_case *c;
    const char *driver;
    char name[120];
};

static inline size_t kit_count_fds(void)
{
    size_t n = 0;
    DIR *dir = opendir("/proc/self/fd");
    assert_non_null(dir);
    while (readdir(dir) != NULL)
        n++;
    (void)closedir(dir);
    return n;
}

/* Where other threads of the test open descriptors, too: waits until they have none that come and
 * go, so that those of the case can be counted. */
static void (*kit_quiet)(void);

static inline size_t kit_count_own_fds(void)
{
    if (kit_quiet != NULL)
        kit_quiet();
    return kit_count_fds();
}

static inline void kit_one(void **state)
{
    const struct kit_run *r = *state;
    size_t fds = kit_count_own_fds();
    if (r->c->plain != NULL) {
        r->c->plain(r->driver);
    } else if (r->c->once != NULL) {
        r->c->once();
    } else {
        struct weft_options o = {.driver = r->driver};
        int result = weft_run(&o, r->c->body, NULL);
        if (result < 0)
            print_error("%s: %s\n", weft_error_name(result), weft_error_detail());
        assert_int_equal(result, 0);
    }
    assert_int_equal(kit_count_own_fds(), fds);
}

static inline int kit_nothing(void *arg)
{
    (void)arg;
    return 0;
}

/* Runs the cases on every driver, or only on the one that WEFT_DRIVER names. */
static inline int kit_main(const struct kit_case *cases, size_t n)
{
    static const char *const drivers[] = {"epoll", "uring"};
    struct CMUnitTest *tests = test_calloc(2 * n, sizeof *tests);
    struct kit_run *runs = test_calloc(2 * n, sizeof *runs);
    const char *only = getenv("WEFT_DRIVER");
    size_t total = 0;
    bool first = true;
    for (size_t i = 0; i < 2; i++) {
        struct weft_options o = {.driver = drivers[i]};
        if (only != NULL && only[0] != '\0' && strcmp(only, drivers[i]) != 0)
            continue;
        if (weft_run(&o, kit_nothing, NULL) == -ENOSYS) {
            print_message("not on %s: %s\n", drivers[i], weft_error_detail());
            continue;
        }
        for (size_t k = 0; k < n; k++) {
            if (cases[k].once != NULL && !first)
                continue;
            runs[total] = (struct kit_run){.c = &cases[k], .driver = drivers[i]};
            (void)snprintf(runs[total].name, sizeof runs[total].name, "%s: %s", drivers[i],
                           cases[k].name);
            tests[total] = (struct CMUnitTest){
                .name = runs[total].name, .test_func = kit_one, .initial_state = &runs[total]};
            total++;
        }
        first = false;
    }
    (void)weft_now_ns();
    int failed = _cmocka_run_group_tests("runtime", tests, total, NULL, NULL);
    test_free(tests);
    test_free(runs);
    return failed;
}
#define KIT_MAIN(cases)                                                                            \
    int main(void)                                                                                 \
    {                                                                                              \
        return kit_main(cases, sizeof(cases) / sizeof((cases)[0]));                                \
    }

/* --- Helpers ------------------------------------------------------------------------------- */

struct kit_callback {
    struct weft__run run;
    void (*fn)(void *arg);
    void *arg;
    struct weft_event done;
};

static inline void kit_callback_run(struct weft__run *r)
{
    struct kit_callback *c = WEFT__CONTAINER_OF(r, struct kit_callback, run);
    c->fn(c->arg);
    weft_event_set(&c->done);
}

/* Runs fn(arg) as a callback on the calling task's loop and waits for it. */
static inline void kit_as_callback(void (*fn)(void *arg), void *arg)
{
    struct kit_callback c = {.run.fn = kit_callback_run, .fn = fn, .arg = arg};
    weft__loop_ready(weft_loop_current(), &c.run);
    CHECK_EQ(weft_event_wait(&c.done, WEFT_NEVER), 0);
}

/* Lets every task that is ready run, and what they make ready, a few times over. */
static inline void kit_settle(void)
{
    for (int i = 0; i < 8; i++)
        CHECK_EQ(weft_yield(), 0);
}

static inline struct weft_group *kit_group(void)
{
    struct weft_group *g = NULL;
    CHECK_EQ(weft_group_open(&g), 0);
    return g;
}

static inline void kit_go(struct weft_group *g, const char *name, weft_fn fn, void *arg)
{
    CHECK_EQ(weft_group_go(g, name, fn, arg), 0);
}

static inline struct weft_task *kit_spawn(struct weft_group *g, const char *name, weft_fn fn,
                                          void *arg)
{
    struct weft_task *t = NULL;
    struct weft_task_options o = {.name = name, .site = WEFT_SITE};
    CHECK_EQ(weft_group_spawn(g, &o, fn, arg, &t), 0);
    return t;
}

static inline int kit_sleep_long(void *arg)
{
    (void)arg;
    return weft_sleep_until(WEFT_NEVER);
}

#endif
