/* SPDX-License-Identifier: MIT */
/*
 * Tests of weft_signals: in tasks on both loop drivers and on plain threads.
 */
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <weft/weft.h>

#include "base/alloc.h"
#include "rt_kit.h"
#include "sys/call.h"

/* Runs fn in a loop of each driver that this machine has, or of the one that WEFT_DRIVER names. */
static void on_loops(weft_fn fn)
{
    static const char *const drivers[] = {"epoll", "uring"};
    const char *only = getenv("WEFT_DRIVER");
    for (size_t i = 0; i < WEFT__ARRAY_LEN(drivers); i++) {
        if (only != NULL && only[0] != '\0' && strcmp(only, drivers[i]) != 0)
            continue;
        struct weft_options o = {.driver = drivers[i]};
        int result = weft_run(&o, fn, NULL);
        if (result != -ENOSYS)
            CHECK_EQ(result, 0);
    }
}

/* The same, and on this plain thread. */
static void everywhere(weft_fn fn)
{
    CHECK_EQ(fn(NULL), 0);
    on_loops(fn);
}

static void (*disposition(int sig))(int)
{
    struct sigaction sa;
    CHECK_EQ(sigaction(sig, NULL, &sa), 0);
    return sa.sa_handler;
}

/* --- What arrives ----------------------------------------------------------------------------- */

static int arrives(void *arg)
{
    struct weft_signals *s = NULL;
    (void)arg;
    CHECK_EQ(weft_signals_open(&s, (int[]){SIGUSR1, SIGTERM, SIGUSR1, 0}), 0);
    CHECK_EQ(weft_signals_wait(s, WEFT_NOW), -ETIMEDOUT);
    CHECK_EQ(weft_signals_wait(s, weft_after_ms(1)), -ETIMEDOUT);
    CHECK_EQ(kill(getpid(), SIGTERM), 0); /* would end us otherwise */
    CHECK_EQ(weft_signals_wait(s, WEFT_NEVER), SIGTERM);
    CHECK_EQ(raise(SIGUSR1), 0);
    CHECK_EQ(weft_signals_wait(s, WEFT_NOW), SIGUSR1); /* is there: no waiting */

    /* In the order of their delivery; one that is queued already is not queued twice. */
    raise(SIGTERM);
    raise(SIGUSR1);
    raise(SIGTERM);
    raise(SIGUSR1);
    CHECK_EQ(weft_signals_wait(s, WEFT_NEVER), SIGTERM);
    CHECK_EQ(weft_signals_wait(s, WEFT_NEVER), SIGUSR1);
    CHECK_EQ(weft_signals_wait(s, WEFT_NOW), -ETIMEDOUT);
    weft_signals_close(&s);
    CHECK(s == NULL);
    weft_signals_close(&s); /* NULL is fine */
    return 0;
}

static void test_arrives(void **state)
{
    (void)state;
    everywhere(arrives);
}

/* A flood of one signal is bounded and crowds no other out. */
static int flood(void *arg)
{
    struct weft_signals *s = NULL;
    int real = 0, sig;
    (void)arg;
    CHECK_EQ(weft_signals_open(&s, (int[]){SIGRTMIN, SIGRTMIN + 1, SIGINT, 0}), 0);
    for (int i = 0; i < 3; i++)
        raise(SIGRTMIN + 1);
    for (int i = 0; i < 1000; i++)
        raise(SIGRTMIN);
    raise(SIGINT);
    for (int i = 0; i < 3; i++) /* real-time signals are counted */
        CHECK_EQ(weft_signals_wait(s, WEFT_NOW), SIGRTMIN + 1);
    while ((sig = weft_signals_wait(s, WEFT_NOW)) == SIGRTMIN)
        real++;
    CHECK_EQ(sig, SIGINT);
    CHECK_EQ(real, 128); /* up to a bound */
    CHECK_EQ(weft_signals_wait(s, WEFT_NOW), -ETIMEDOUT);
    raise(SIGRTMIN);
    CHECK_EQ(weft_signals_wait(s, WEFT_NOW), SIGRTMIN);
    weft_signals_close(&s);
    return 0;
}

static void test_flood(void **state)
{
    (void)state;
    everywhere(flood);
}

static int two_watchers(void *arg)
{
    struct weft_signals *a = NULL, *b = NULL;
    void (*before)(int) = disposition(SIGUSR1);
    (void)arg;
    CHECK_EQ(weft_signals_open(&a, (int[]){SIGUSR1, SIGUSR2, 0}), 0);
    CHECK_EQ(weft_signals_open(&b, (int[]){SIGUSR1, 0}), 0);
    raise(SIGUSR1);
    CHECK_EQ(weft_signals_wait(a, WEFT_NEVER), SIGUSR1);
    CHECK_EQ(weft_signals_wait(b, WEFT_NEVER), SIGUSR1);
    raise(SIGUSR2);
    CHECK_EQ(weft_signals_wait(b, WEFT_NOW), -ETIMEDOUT);
    CHECK_EQ(weft_signals_wait(a, WEFT_NOW), SIGUSR2);

    weft_signals_close(&a); /* the older one: b still watches */
    CHECK(disposition(SIGUSR1) != before);
    raise(SIGUSR1);
    CHECK_EQ(weft_signals_wait(b, WEFT_NOW), SIGUSR1);
    weft_signals_close(&b);
    CHECK(disposition(SIGUSR1) == before);
    return 0;
}

static void test_two_watchers(void **state)
{
    (void)state;
    everywhere(two_watchers);
}

/* --- Dispositions ----------------------------------------------------------------------------- */

static volatile sig_atomic_t other_calls;

static void other(int sig)
{
    (void)sig;
    other_calls++;
}

static void test_restores(void **state)
{
    struct weft_signals *s = NULL;
    struct sigaction sa;
    (void)state;
    CHECK(signal(SIGUSR2, SIG_IGN) == SIG_DFL);
    CHECK_EQ(weft_signals_open(&s, (int[]){SIGUSR1, SIGUSR2, 0}), 0);
    CHECK_EQ(sigaction(SIGUSR1, NULL, &sa), 0);
    CHECK(sa.sa_flags & SA_RESTART);
    CHECK(sa.sa_flags & SA_ONSTACK);
    weft_signals_close(&s);
    CHECK(disposition(SIGUSR2) == SIG_IGN);
    CHECK(disposition(SIGUSR1) == SIG_DFL);

    /* A handler that the program had, with its flags. */
    sa = (struct sigaction){.sa_handler = other, .sa_flags = SA_NODEFER};
    CHECK_EQ(sigaction(SIGUSR2, &sa, NULL), 0);
    CHECK_EQ(weft_signals_open(&s, (int[]){SIGUSR2, 0}), 0);
    raise(SIGUSR2);
    CHECK_EQ(other_calls, 0);
    weft_signals_close(&s); /* with one queued: gone with it */
    raise(SIGUSR2);
    CHECK_EQ(other_calls, 1);
    CHECK_EQ(sigaction(SIGUSR2, NULL, &sa), 0);
    CHECK(sa.sa_flags & SA_NODEFER);

    /* One that the program has set meanwhile is left alone; a new watcher watches all the same. */
    struct weft_signals *late = NULL;
    CHECK(signal(SIGUSR2, SIG_DFL) == other);
    CHECK_EQ(weft_signals_open(&s, (int[]){SIGUSR2, 0}), 0);
    signal(SIGUSR2, other);
    weft_signals_close(&s);
    CHECK(disposition(SIGUSR2) == other);
    CHECK_EQ(weft_signals_open(&s, (int[]){SIGUSR2, 0}), 0);
    signal(SIGUSR2, SIG_IGN);
    CHECK_EQ(weft_signals_open(&late, (int[]){SIGUSR2, 0}), 0);
    raise(SIGUSR2);
    CHECK_EQ(weft_signals_wait(late, WEFT_NOW), SIGUSR2);
    weft_signals_close(&late);
    weft_signals_close(&s);
    CHECK(disposition(SIGUSR2) == SIG_IGN);
    signal(SIGUSR2, SIG_DFL);
}

static void test_refused(void **state)
{
    struct weft_signals *s = (struct weft_signals *)(uintptr_t)1;
    size_t fds = kit_count_fds();
    (void)state;
    const int bad[] = {SIGKILL, SIGSTOP, -1, 65, 1000, 32, SIGSEGV, SIGBUS, SIGFPE, SIGILL};
    for (size_t i = 0; i < WEFT__ARRAY_LEN(bad); i++) {
        /* SIGUSR1 must not be left caught, whether it comes before or after. */
        CHECK_EQ(weft_signals_open(&s, (int[]){SIGUSR1, bad[i], SIGUSR2, 0}), -EINVAL);
        CHECK(strlen(weft_error_detail()) > 0);
        CHECK(disposition(SIGUSR1) == SIG_DFL);
    }
    CHECK_EQ(weft_signals_open(&s, (int[]){0}), -EINVAL);
    int many[18] = {0};
    for (int i = 0; i < 17; i++)
        many[i] = SIGRTMIN + i;
    CHECK_EQ(weft_signals_open(&s, many), -EINVAL);
    CHECK(s == (struct weft_signals *)(uintptr_t)1); /* untouched */
    many[16] = 0;
    CHECK_EQ(weft_signals_open(&s, many), 0);
    weft_signals_close(&s);
    CHECK_EQ(kit_count_fds(), fds);
}

static void test_faults(void **state)
{
    struct weft_signals *s = NULL;
    struct rlimit before, none;
    size_t fds = kit_count_fds();
    (void)state;
    weft__alloc_fail_at(1);
    CHECK_EQ(weft_signals_open(&s, (int[]){SIGUSR1, 0}), -ENOMEM);
    weft__alloc_fail_at(0);
    /* pipe, fcntl twice, two signals; the sixth point is never reached. */
    int failed = 0;
    for (uint64_t n = 1; n <= 20; n++) {
        weft__fault_at(n, EIO);
        int err = weft_signals_open(&s, (int[]){SIGUSR1, SIGUSR2, 0});
        weft__fault_at(0, 0);
        if (err == 0)
            break;
        CHECK_EQ(err, -EIO);
        CHECK(s == NULL);
        CHECK(disposition(SIGUSR1) == SIG_DFL);
        CHECK_EQ(kit_count_fds(), fds);
        failed++;
    }
    CHECK(failed >= 4 && failed <= 8);
    weft_signals_close(&s);

    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = (struct rlimit){0, before.rlim_max};
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
    int err = weft_signals_open(&s, (int[]){SIGUSR1, 0});
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
    CHECK_EQ(err, -EMFILE);
    CHECK_EQ(kit_count_fds(), fds);
}

/* --- Cancel, misuse --------------------------------------------------------------------------- */

struct waiter {
    struct weft_signals *signals;
    _Atomic bool waits;
    int result;
};

static int wait_one(void *arg)
{
    struct waiter *w = arg;
    atomic_store(&w->waits, true);
    w->result = weft_signals_wait(w->signals, WEFT_NEVER);
    return 0;
}

static int open_and_wait(void *arg)
{
    struct waiter *w = arg;
    int err = weft_signals_open(&w->signals, (int[]){SIGUSR1, 0});
    if (err < 0)
        return err;
    (void)wait_one(w);
    weft_signals_close(&w->signals);
    return 0;
}

static int cancel(void *arg)
{
    struct weft_group *g = NULL;
    struct waiter w = {0};
    (void)arg;
    CHECK_EQ(weft_group_open(&g), 0);
    CHECK_EQ(weft_group_go(g, "waiter", open_and_wait, &w), 0);
    while (!atomic_load(&w.waits))
        CHECK_EQ(weft_yield(), 0);
    weft_group_cancel(g);
    CHECK_EQ(weft_group_close(&g), 0);
    CHECK_EQ(w.result, -ECANCELED);
    CHECK(disposition(SIGUSR1) == SIG_DFL);
    return 0;
}

static void test_cancel(void **state)
{
    (void)state;
    everywhere(cancel);
}

static int misuse(void *arg)
{
    struct weft_group *g = NULL;
    struct waiter w = {0};
    (void)arg;
    CHECK_EQ(weft_signals_open(&w.signals, (int[]){SIGUSR1, 0}), 0);
    CHECK_EQ(weft_group_open(&g), 0);
    CHECK_EQ(weft_group_go(g, "waiter", wait_one, &w), 0);
    CHECK_EQ(weft_yield(), 0);
    CHECK_EQ(weft_signals_wait(w.signals, WEFT_NOW), -EBUSY); /* one at a time */
    raise(SIGUSR1);
    CHECK_EQ(weft_group_wait(g, WEFT_NEVER), 0);
    CHECK_EQ(w.result, SIGUSR1);

    /* Closed while somebody waits. */
    CHECK_EQ(weft_group_go(g, "waiter", wait_one, &w), 0);
    CHECK_EQ(weft_yield(), 0);
    weft_signals_close(&w.signals);
    CHECK(disposition(SIGUSR1) == SIG_DFL);
    CHECK_EQ(weft_group_wait(g, WEFT_NEVER), 0);
    CHECK_EQ(w.result, WEFT_ECLOSED);
    CHECK_EQ(weft_group_close(&g), 0);
    return 0;
}

static void test_misuse(void **state)
{
    (void)state;
    on_loops(misuse);
}

static void in_callback(void *arg)
{
    struct waiter *w = arg;
    w->result = weft_signals_wait(w->signals, WEFT_NEVER);
}

static int inner(void *arg)
{
    struct waiter *w = arg;
    return weft_signals_wait(w->signals, WEFT_NOW);
}

static int callback(void *arg)
{
    struct waiter w = {0};
    (void)arg;
    CHECK_EQ(weft_signals_open(&w.signals, (int[]){SIGUSR1, 0}), 0);
    CHECK_EQ(weft_post_mt(weft_loop_current(), in_callback, &w), 0);
    while (w.result == 0)
        CHECK_EQ(weft_yield(), 0);
    CHECK_EQ(w.result, -EDEADLK);
    CHECK_EQ(weft_run(NULL, inner, &w), WEFT_ETHREAD); /* another loop's */
    weft_signals_close(&w.signals);
    return 0;
}

static void test_callback(void **state)
{
    (void)state;
    on_loops(callback);
}

/* --- Threads and forks ------------------------------------------------------------------------ */

static _Atomic bool stop;

static void *shower(void *arg)
{
    (void)arg;
    while (!atomic_load(&stop)) {
        raise(SIGUSR1);
        raise(SIGUSR2);
        sched_yield();
    }
    return NULL;
}

/* Watchers come and go while signals are delivered to several threads. */
static int come_and_go(void *arg)
{
    struct weft_signals *base = NULL, *s[3] = {NULL, NULL, NULL};
    pthread_t id[2];
    (void)arg;
    atomic_store(&stop, false);
    CHECK_EQ(weft_signals_open(&base, (int[]){SIGUSR1, SIGUSR2, 0}), 0);
    for (int i = 0; i < 2; i++)
        CHECK_EQ(pthread_create(&id[i], NULL, shower, NULL), 0);
    for (int i = 0; i < 90; i++) {
        struct weft_signals **one = &s[i % 3];
        weft_signals_close(one);
        CHECK_EQ(weft_signals_open(one, (int[]){SIGUSR2, SIGUSR1, 0}), 0);
        int sig = weft_signals_wait(*one, WEFT_NEVER);
        CHECK(sig == SIGUSR1 || sig == SIGUSR2);
        sig = weft_signals_wait(base, WEFT_NEVER);
        CHECK(sig == SIGUSR1 || sig == SIGUSR2);
    }
    atomic_store(&stop, true);
    for (int i = 0; i < 2; i++)
        pthread_join(id[i], NULL);
    for (int i = 0; i < 3; i++)
        weft_signals_close(&s[i]);
    weft_signals_close(&base);
    return 0;
}

static void test_come_and_go(void **state)
{
    (void)state;
    everywhere(come_and_go);
}

/* A signal to a fork is the fork's: it dies of it, and we hear nothing. */
static void test_fork(void **state)
{
    struct weft_signals *s = NULL;
    int status;
    (void)state;
    CHECK_EQ(weft_signals_open(&s, (int[]){SIGTERM, SIGUSR1, 0}), 0);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        raise(SIGTERM);
        _exit(1);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK(WIFSIGNALED(status));
    CHECK_EQ(WTERMSIG(status), SIGTERM);

    pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) { /* a watcher of its own; the parent's is closed without harm */
        struct weft_signals *own = NULL;
        if (weft_signals_open(&own, (int[]){SIGTERM, 0}) != 0)
            _exit(1);
        raise(SIGTERM);
        if (weft_signals_wait(own, WEFT_NOW) != SIGTERM)
            _exit(2);
        weft_signals_close(&s);
        weft_signals_close(&own);
        _exit(disposition(SIGTERM) == SIG_DFL ? 42 : 3);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK(WIFEXITED(status));
    CHECK_EQ(WEXITSTATUS(status), 42);
    CHECK_EQ(weft_signals_wait(s, WEFT_NOW), -ETIMEDOUT);
    raise(SIGTERM);
    CHECK_EQ(weft_signals_wait(s, WEFT_NOW), SIGTERM);
    weft_signals_close(&s);
}

/* errno of the interrupted code is kept. */
static void test_errno(void **state)
{
    struct weft_signals *s = NULL;
    (void)state;
    CHECK_EQ(weft_signals_open(&s, (int[]){SIGRTMIN, 0}), 0);
    for (int i = 0; i < 200; i++) {
        errno = 4711;
        raise(SIGRTMIN);
        CHECK_EQ(errno, 4711);
    }
    weft_signals_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_arrives),      cmocka_unit_test(test_flood),
        cmocka_unit_test(test_two_watchers), cmocka_unit_test(test_restores),
        cmocka_unit_test(test_refused),      cmocka_unit_test(test_faults),
        cmocka_unit_test(test_cancel),       cmocka_unit_test(test_misuse),
        cmocka_unit_test(test_callback),     cmocka_unit_test(test_come_and_go),
        cmocka_unit_test(test_fork),         cmocka_unit_test(test_errno),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
