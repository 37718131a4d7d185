/* SPDX-License-Identifier: MIT */
/*
 * Tests of options.report_overflow: each in a child that is to die, or not to.
 */
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "rt_kit.h"

static struct weft_options reporting(const char *driver)
{
    return (struct weft_options){
        .driver = driver, .report_overflow = true, .stack_size = KIT_SANITIZED ? 1 << 19 : 65536};
}

static const char *driver_name;

/* Runs fn in a child; its stderr in text. Returns the status of wait. */
static int in_child(void (*fn)(void), char *text, size_t cap)
{
    int ends[2], status;
    size_t len = 0;
    CHECK_EQ(pipe2(ends, O_CLOEXEC), 0);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        (void)setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
        CHECK_EQ(dup2(ends[1], STDERR_FILENO), STDERR_FILENO);
        fn();
        _exit(0);
    }
    (void)close(ends[1]);
    for (ssize_t n = 1; n > 0 && len<cap - 1; len += n> 0 ? (size_t)n : 0)
        n = read(ends[0], text + len, cap - len - 1);
    text[len] = '\0';
    (void)close(ends[0]);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    return status;
}

static bool killed_by(int status, int sig)
{
    return WIFSIGNALED(status) && WTERMSIG(status) == sig;
}

/* qemu's user mode says yes to every advice to the kernel, so that its guards guard nothing. */
static bool guards_by_madvise(void)
{
    return madvise((void *)65536, 0, 0x7fff) != 0;
}

/* --- Reported --------------------------------------------------------------------------------- */

static __attribute__((noinline)) int recurse(int depth, volatile char *above)
{
    volatile char frame[256];
    frame[0] = above != NULL ? above[0] : 1;
    return depth > 1000000 ? 0 : recurse(depth + 1, frame) + frame[0];
}

static int deep(void *arg)
{
    (void)arg;
    return recurse(0, NULL) & 1;
}

static int runs_deep(void *arg)
{
    struct weft_group *g = kit_group();
    (void)arg;
    CHECK_EQ(weft_group_go_at(g, "deep", deep, NULL, "deep.c:9"), 0);
    CHECK_EQ(weft_group_wait(g, WEFT_NEVER), 0);
    return weft_group_close(&g);
}

static void overflow(void)
{
    struct weft_options o = reporting(driver_name);
    CHECK_EQ(weft_run(&o, runs_deep, NULL), 0);
}

static void overflow_by_mprotect(void)
{
    CHECK_EQ(setenv("WEFT_STACK_GUARD", "mprotect", 1), 0);
    overflow();
}

static int nested(void *arg)
{
    struct weft_options o = reporting(driver_name);
    (void)arg;
    return weft_run(&o, runs_deep, NULL);
}

static void overflow_in_nested_loop(void)
{
    struct weft_options o = reporting(driver_name);
    CHECK_EQ(weft_run(&o, nested, NULL), 0);
}

static int runs_in_thread(void *arg)
{
    (void)arg;
    overflow();
    return 0;
}

/* A group's thread blocks all signals; the report comes all the same. */
static void overflow_in_thread(void)
{
    struct weft_group *g = kit_group();
    kit_go(g, "worker", runs_in_thread, NULL);
    CHECK_EQ(weft_group_wait(g, WEFT_NEVER), 0);
    CHECK_EQ(weft_group_close(&g), 0);
}

static void reports(const char *driver)
{
    void (*const ways[])(void) = {overflow_by_mprotect, overflow, overflow_in_nested_loop,
                                  overflow_in_thread};
    size_t n = guards_by_madvise() ? sizeof ways / sizeof ways[0] : 1;
    char text[8192], want[200];
    if (RUNNING_ON_VALGRIND)
        return; /* which has its own opinion on faults */
    driver_name = driver;
    (void)snprintf(want, sizeof want,
                   "weft: stack overflow in task deep (deep.c:9), stack of %zu bytes; "
                   "raise options.stack_size\n",
                   reporting(driver).stack_size);
    for (size_t i = 0; i < n; i++) {
        int status = in_child(ways[i], text, sizeof text);
        if (strstr(text, want) == NULL)
            (void)fprintf(stderr, "way %zu, status %x: %s\n", i, status, text);
        CHECK(strstr(text, want) != NULL);
        CHECK(killed_by(status, SIGSEGV));
    }
}

/* --- Passed on -------------------------------------------------------------------------------- */

static void *page;

static int write_to_page(void *arg)
{
    (void)arg;
    *(volatile char *)page = 1;
    return 0;
}

static void exit_7(int sig)
{
    (void)sig;
    _exit(7);
}

static void mend(int sig, siginfo_t *info, void *context)
{
    (void)sig;
    (void)context;
    if (info->si_addr != page || mprotect(page, 4096, PROT_READ | PROT_WRITE) != 0)
        _exit(8);
}

static int once_calls;

static void once_only(int sig)
{
    (void)sig;
    once_calls++;
    (void)!write(STDERR_FILENO, "once\n", 5);
}

static void fault(void)
{
    struct weft_options o = reporting(driver_name);
    page = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(page != MAP_FAILED);
    CHECK_EQ(weft_run(&o, write_to_page, NULL), 0);
}

static void with_default(void)
{
    CHECK(signal(SIGSEGV, SIG_DFL) != SIG_ERR); /* a sanitizer has its own */
    fault();
}

static void with_handler(void)
{
    CHECK(signal(SIGSEGV, exit_7) != SIG_ERR);
    fault();
}

static void with_mending_handler(void)
{
    struct sigaction sa = {.sa_sigaction = mend, .sa_flags = SA_SIGINFO};
    CHECK_EQ(sigaction(SIGSEGV, &sa, NULL), 0);
    fault();
    fault(); /* twice: ours stays in place */
    _exit(9);
}

static void with_handler_for_once(void)
{
    struct sigaction sa = {.sa_handler = once_only, .sa_flags = SA_RESETHAND};
    CHECK_EQ(sigaction(SIGSEGV, &sa, NULL), 0);
    fault();
}

static int sends_itself_a_signal(void *arg)
{
    return raise(*(int *)arg);
}

static void with_sent_signal(void)
{
    struct weft_options o = reporting(driver_name);
    int sig = SIGBUS;
    CHECK(signal(SIGBUS, SIG_DFL) != SIG_ERR);
    CHECK_EQ(weft_run(&o, sends_itself_a_signal, &sig), 0);
}

static void passes_on(const char *driver)
{
    char text[8192];
    if (RUNNING_ON_VALGRIND)
        return;
    driver_name = driver;
    CHECK(killed_by(in_child(with_default, text, sizeof text), SIGSEGV));
    CHECK(strstr(text, "overflow in task") == NULL);
    CHECK_EQ(WEXITSTATUS(in_child(with_handler, text, sizeof text)), 7);
    CHECK_EQ(WEXITSTATUS(in_child(with_mending_handler, text, sizeof text)), 9);
    CHECK(killed_by(in_child(with_handler_for_once, text, sizeof text), SIGSEGV));
    CHECK(strstr(text, "once\n") != NULL && strstr(text, "once\nonce\n") == NULL);
    CHECK(killed_by(in_child(with_sent_signal, text, sizeof text), SIGBUS));
}

/* --- Put back --------------------------------------------------------------------------------- */

static void leaves_all_as_it_was(const char *driver)
{
    struct weft_options o = reporting(driver);
    struct weft_loop *a = NULL, *b = NULL;
    struct sigaction before, during, after;
    stack_t stack_before, stack;
    sigset_t mask_before, mask, segv;
    sigemptyset(&segv);
    sigaddset(&segv, SIGSEGV);
    CHECK_EQ(pthread_sigmask(SIG_BLOCK, &segv, &mask_before), 0);
    CHECK_EQ(sigaction(SIGSEGV, NULL, &before), 0);
    CHECK_EQ(sigaltstack(NULL, &stack_before), 0);
    CHECK_EQ(weft_loop_open(&a, &o), 0);
    CHECK_EQ(sigaction(SIGSEGV, NULL, &during), 0);
    CHECK(during.sa_sigaction != before.sa_sigaction);
    CHECK_EQ(sigaltstack(NULL, &stack), 0);
    CHECK((stack.ss_flags & SS_DISABLE) == 0);
    CHECK_EQ(weft_loop_open(&b, &o), 0);
    weft_loop_close(&a); /* not the last in, but the first out */
    CHECK_EQ(sigaction(SIGSEGV, NULL, &after), 0);
    CHECK(after.sa_sigaction == during.sa_sigaction);
    CHECK_EQ(sigaltstack(NULL, &stack), 0);
    CHECK((stack.ss_flags & SS_DISABLE) == 0);
    CHECK_EQ(pthread_sigmask(SIG_SETMASK, NULL, &mask), 0);
    CHECK_EQ(sigismember(&mask, SIGSEGV), 0);
    weft_loop_close(&b);
    CHECK_EQ(sigaction(SIGSEGV, NULL, &after), 0);
    CHECK(after.sa_sigaction == before.sa_sigaction);
    CHECK_EQ(sigaltstack(NULL, &stack), 0);
    CHECK_EQ(stack.ss_flags, stack_before.ss_flags);
    CHECK(stack.ss_sp == stack_before.ss_sp || (stack.ss_flags & SS_DISABLE) != 0);
    CHECK_EQ(pthread_sigmask(SIG_SETMASK, &mask_before, &mask), 0);
    CHECK_EQ(sigismember(&mask, SIGSEGV), 1);

    o.report_overflow = false;
    CHECK_EQ(weft_loop_open(&a, &o), 0);
    CHECK_EQ(sigaction(SIGSEGV, NULL, &after), 0);
    CHECK(after.sa_sigaction == before.sa_sigaction);
    weft_loop_close(&a);
}

static const struct kit_case cases[] = {
    ON_THREAD(reports),
    ON_THREAD(passes_on),
    ON_THREAD(leaves_all_as_it_was),
};

KIT_MAIN(cases)
