/* SPDX-License-Identifier: MIT */
/*
 * Tests of weft_process: in tasks on both loop drivers and on plain threads. The children are
 * programs that every system has: sh, cat, true, ls. Waiting and killing is in test_process_end.c.
 */
#include <fcntl.h>

#include "base/alloc.h"
#include "process_kit.h"

/* --- What a child does and says --------------------------------------------------------------- */

static int echo(void *arg)
{
    struct weft_process *p = NULL;
    char buf[100];
    (void)arg;
    CHECK_EQ(weft_process_open(&p, &(struct weft_process_options){.argv = ARGV("cat"),
                                                                  .in = WEFT_PIPE_STREAM,
                                                                  .out = WEFT_PIPE_STREAM}),
             0);
    CHECK(weft_process_id(p) > 0);
    CHECK(weft_process_in(p) != NULL);
    CHECK(weft_process_err(p) == NULL);
    CHECK_EQ(weft_write(weft_process_in(p), "hello ", 6, WEFT_NEVER), 0);
    CHECK_EQ(weft_read_full(weft_process_out(p), buf, 6, weft_after_s(60)), 0);
    CHECK(memcmp(buf, "hello ", 6) == 0);
    CHECK_EQ(weft_write(weft_process_in(p), "world", 5, WEFT_NEVER), 0);
    weft_process_close_in(p);
    CHECK(weft_process_in(p) == NULL);
    read_all(weft_process_out(p), buf, sizeof buf);
    CHECK(strcmp(buf, "world") == 0);
    CHECK_EQ(end_status(p), 0);
    CHECK_EQ(end_status(p), 0); /* may be asked again */
    CHECK_EQ(weft_process_kill(p, SIGTERM), -ESRCH);
    weft_process_close(&p);
    weft_process_close(&p); /* NULL is fine */
    return 0;
}

static void test_echo(void **state)
{
    (void)state;
    everywhere(echo);
    CHECK(no_children());
}

static int status_of(const char *script)
{
    return run(&(struct weft_process_options){.argv = ARGV("sh", "-c", script)}, NULL, 0);
}

static int statuses(void *arg)
{
    (void)arg;
    CHECK_EQ(run(&(struct weft_process_options){.argv = ARGV("true")}, NULL, 0), 0);
    int status = status_of("exit 3");
    CHECK(WIFEXITED(status));
    CHECK_EQ(WEXITSTATUS(status), 3);
    status = status_of("kill -KILL $$");
    CHECK(WIFSIGNALED(status));
    CHECK_EQ(WTERMSIG(status), SIGKILL);
    status = status_of("kill -TERM $$");
    CHECK(WIFSIGNALED(status));
    CHECK_EQ(WTERMSIG(status), SIGTERM);
    return 0;
}

static void test_statuses(void **state)
{
    (void)state;
    everywhere(statuses);
    CHECK(no_children());
}

static int surroundings(void *arg)
{
    char buf[4096];
    (void)arg;
    struct weft_process_options o = {
        .argv = ARGV("sh", "-c", "echo $WEFT_A $WEFT_B; pwd; echo error >&2; echo no >/dev/stderr"),
        .env = ARGV("WEFT_A=one", "WEFT_B=two"),
        .directory = "/",
        .out = WEFT_PIPE_STREAM,
        .err = WEFT_PIPE_NULL,
    };
    CHECK_EQ(run(&o, buf, sizeof buf), 0);
    CHECK(strcmp(buf, "one two\n/\n") == 0);

    CHECK_EQ(setenv("WEFT_TEST_CHILD", "of ours", 1), 0);
    o = (struct weft_process_options){.argv = ARGV("sh", "-c", "echo $WEFT_TEST_CHILD"),
                                      .out = WEFT_PIPE_STREAM};
    CHECK_EQ(run(&o, buf, sizeof buf), 0);
    CHECK(strcmp(buf, "of ours\n") == 0);
    return 0;
}

static void test_surroundings(void **state)
{
    (void)state;
    everywhere(surroundings);
}

static int modes(void *arg)
{
    struct weft_process *p = NULL;
    char buf[100];
    (void)arg;
    /* /dev/null is at its end at once. */
    struct weft_process_options o = {
        .argv = ARGV("cat"), .in = WEFT_PIPE_NULL, .out = WEFT_PIPE_STREAM};
    CHECK_EQ(run(&o, buf, sizeof buf), 0);
    CHECK(strcmp(buf, "") == 0);

    /* Both outputs, opened by name, too. */
    o = (struct weft_process_options){
        .argv =
            ARGV("sh", "-c", "echo out; echo err >&2; echo o >/dev/stdout; echo e >/dev/stderr"),
        .out = WEFT_PIPE_STREAM,
        .err = WEFT_PIPE_STREAM};
    CHECK_EQ(weft_process_open(&p, &o), 0);
    CHECK(weft_process_in(p) == NULL);
    read_all(weft_process_out(p), buf, sizeof buf);
    CHECK(strcmp(buf, "out\no\n") == 0);
    read_all(weft_process_err(p), buf, sizeof buf);
    CHECK(strcmp(buf, "err\ne\n") == 0);
    CHECK_EQ(end_status(p), 0);
    weft_process_close(&p);
    return 0;
}

static void test_modes(void **state)
{
    (void)state;
    everywhere(modes);
}

static unsigned long long mask_of(const char *status, const char *name)
{
    const char *line = strstr(status, name);
    CHECK(line != NULL);
    return strtoull(line + strlen(name), NULL, 16);
}

/* The child has 0, 1 and 2 (and what ls opens itself), no blocked and no ignored signal. */
static int clean_child(void *arg)
{
    char buf[8192];
    (void)arg;
    int open_here = open("/dev/null", O_RDONLY); /* not close-on-exec */
    CHECK(open_here >= 0);
    struct weft_process_options o = {.argv = ARGV("ls", "/proc/self/fd"),
                                     .in = WEFT_PIPE_STREAM,
                                     .out = WEFT_PIPE_STREAM,
                                     .err = WEFT_PIPE_STREAM};
    CHECK_EQ(run(&o, buf, sizeof buf), 0);
    if (!RUNNING_ON_VALGRIND)
        CHECK(strcmp(buf, "0\n1\n2\n3\n") == 0);
    close(open_here);

    sigset_t set, before;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGCHLD);
    pthread_sigmask(SIG_BLOCK, &set, &before);
    void (*pipe_before)(int) = signal(SIGPIPE, SIG_IGN);
    struct weft_signals *s = NULL;
    CHECK_EQ(weft_signals_open(&s, (int[]){SIGTERM, 0}), 0);
    o = (struct weft_process_options){.argv = ARGV("cat", "/proc/self/status"),
                                      .out = WEFT_PIPE_STREAM};
    CHECK_EQ(run(&o, buf, sizeof buf), 0);
    CHECK_EQ(mask_of(buf, "SigBlk:"), 0);
    /* 32 and 33 are the C library's own; an emulator's guest has 34 and 35 for them. */
    CHECK_EQ(mask_of(buf, "SigIgn:") & ~(KIT_EMULATED ? 0x780000000ull : 0x180000000ull), 0);
    weft_signals_close(&s);
    signal(SIGPIPE, pipe_before);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return 0;
}

static void test_clean_child(void **state)
{
    (void)state;
    everywhere(clean_child);
}

/* A program that runs with standard descriptors closed: new ones get their numbers. */
static void test_closed_stdio(void **state)
{
    (void)state;
    for (int fd = 0; fd < 3; fd++) {
        int kept = fcntl(fd, F_DUPFD_CLOEXEC, 10);
        CHECK(kept >= 0);
        close(fd);
        int bad = echo(NULL);
        char buf[10] = "";
        struct weft_process_options o = {.argv = ARGV("sh", "-c", "echo out; echo err >&2"),
                                         .in = WEFT_PIPE_NULL,
                                         .out = WEFT_PIPE_STREAM,
                                         .err = WEFT_PIPE_NULL};
        int status = run(&o, buf, sizeof buf);
        CHECK_EQ(dup2(kept, fd), fd);
        close(kept);
        CHECK_EQ(bad, 0);
        CHECK_EQ(status, 0);
        CHECK(strcmp(buf, "out\n") == 0);
    }
}

/* --- Errors ----------------------------------------------------------------------------------- */

static int try_open(const struct weft_process_options *o)
{
    struct weft_process *p = (struct weft_process *)(uintptr_t)1;
    int err = weft_process_open(&p, o);
    CHECK(err < 0);
    CHECK(p == (struct weft_process *)(uintptr_t)1); /* untouched */
    return err;
}

static int errors(void *arg)
{
    size_t fds = kit_count_fds();
    struct weft_process_options o = {.in = WEFT_PIPE_STREAM, .out = WEFT_PIPE_STREAM};
    (void)arg;
    CHECK_EQ(try_open(&o), -EINVAL);
    CHECK_EQ(try_open(NULL), -EINVAL);
    o.argv = ARGV(NULL);
    CHECK_EQ(try_open(&o), -EINVAL);
    o.argv = ARGV("true");
    o.kill_signal = 65;
    CHECK_EQ(try_open(&o), -EINVAL);
    o.kill_signal = 0;
    o.kill_after_ms = -1;
    CHECK_EQ(try_open(&o), -EINVAL);
    o.kill_after_ms = 0;
    o.err = (enum weft_pipe_mode)7;
    CHECK_EQ(try_open(&o), -EINVAL);
    o.err = WEFT_PIPE_INHERIT;
    CHECK_EQ(kit_count_fds(), fds);
    CHECK(no_children());

    if (RUNNING_ON_VALGRIND || KIT_EMULATED)
        return 0; /* it makes vfork a fork, and the child's answer is lost */
    o.argv = ARGV("weft-no-such-program");
    CHECK_EQ(try_open(&o), -ENOENT);
    CHECK(strstr(weft_error_detail(), "weft-no-such-program") != NULL);
    o.argv = ARGV("/etc/passwd");
    CHECK_EQ(try_open(&o), -EACCES);
    CHECK(strstr(weft_error_detail(), "/etc/passwd") != NULL);
    o.argv = ARGV("true");
    o.directory = "/weft-no-such-directory";
    CHECK_EQ(try_open(&o), -ENOENT);
    CHECK(strstr(weft_error_detail(), "directory /weft-no-such-directory") != NULL);
    CHECK_EQ(kit_count_fds(), fds);
    CHECK(no_children());
    return 0;
}

static void test_errors(void **state)
{
    (void)state;
    everywhere(errors);
}

/* Each allocation, then each system call that Weft makes, fails in turn. */
static int want(void *arg)
{
    struct weft_process_options o = {.argv = ARGV("true"),
                                     .in = WEFT_PIPE_STREAM,
                                     .out = WEFT_PIPE_STREAM,
                                     .err = WEFT_PIPE_NULL};
    (void)arg;
    for (int round = 0; round < 2; round++) {
        int failed = 0;
        int err;
        do {
            struct weft_process *p = NULL;
            size_t fds = kit_count_fds();
            if (round == 0)
                weft__alloc_fail_at((uint64_t)failed + 1);
            else
                weft__fault_at((uint64_t)failed + 1, EMFILE);
            err = weft_process_open(&p, &o);
            weft__alloc_fail_at(0);
            weft__fault_at(0, 0);
            if (err < 0) {
                CHECK_EQ(err, round == 0 ? -ENOMEM : -EMFILE);
                CHECK(p == NULL);
                CHECK_EQ(kit_count_fds(), fds);
                CHECK(no_children());
                failed++;
            } else {
                CHECK_EQ(end_status(p), 0);
                weft_process_close(&p);
            }
        } while (err < 0);
        CHECK(failed >= 3 && failed <= 12);
    }
    return 0;
}

static void test_want(void **state)
{
    (void)state;
    everywhere(want);
}

static int sigchld_ignored(void *arg)
{
    struct weft_process *p = NULL;
    int status = 4711;
    void (*before)(int) = signal(SIGCHLD, SIG_IGN);
    (void)arg;
    CHECK_EQ(weft_process_open(&p, &(struct weft_process_options){.argv = ARGV("true")}), 0);
    CHECK_EQ(weft_process_wait(p, &status, weft_after_s(60)), -ECHILD);
    CHECK_EQ(status, 4711);
    weft_process_close(&p);
    signal(SIGCHLD, before);
    return 0;
}

static void test_sigchld_ignored(void **state)
{
    (void)state;
    everywhere(sigchld_ignored);
}

/* A child that does not read what we write: an error, no SIGPIPE. */
static int broken_pipe(void *arg)
{
    static char block[65536];
    struct weft_process *p = NULL;
    int err = 0;
    (void)arg;
    CHECK(signal(SIGPIPE, SIG_DFL) == SIG_DFL);
    CHECK_EQ(weft_process_open(
                 &p, &(struct weft_process_options){.argv = ARGV("true"), .in = WEFT_PIPE_STREAM}),
             0);
    CHECK_EQ(end_status(p), 0);
    for (int i = 0; i < 10 && err == 0; i++)
        err = weft_write(weft_process_in(p), block, sizeof block, weft_after_s(60));
    CHECK(err == -EPIPE || err == -ECONNRESET);
    weft_process_close(&p);
    return 0;
}

static void test_broken_pipe(void **state)
{
    (void)state;
    everywhere(broken_pipe);
}

/* --- Much */

enum { LOTS = 1 << 20 };

static int feed(void *arg)
{
    struct weft_process *p = arg;
    char *block = malloc(LOTS);
    if (block == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < LOTS; i++)
        block[i] = (char)(i * 31 >> 3);
    int err = weft_write(weft_process_in(p), block, LOTS, weft_after_s(60));
    free(block);
    weft_process_close_in(p);
    return err;
}

struct eaten {
    struct weft_process *process;
    size_t len;
};

static int eat(void *arg)
{
    struct eaten *e = arg;
    char buf[4096];
    ssize_t n;
    while ((n = weft_read(weft_process_out(e->process), buf, sizeof buf, weft_after_s(60))) > 0) {
        for (ssize_t i = 0; i < n; i++, e->len++)
            if (buf[i] != (char)(e->len * 31 >> 3))
                return -EPROTO;
    }
    return (int)n;
}

static int lots(void *arg)
{
    struct weft_process *p = NULL;
    struct weft_group *g = NULL;
    (void)arg;
    CHECK_EQ(weft_process_open(&p, &(struct weft_process_options){.argv = ARGV("cat"),
                                                                  .in = WEFT_PIPE_STREAM,
                                                                  .out = WEFT_PIPE_STREAM}),
             0);
    struct eaten e = {p, 0};
    CHECK_EQ(weft_group_open(&g), 0);
    CHECK_EQ(weft_group_go(g, "feed", feed, p), 0);
    CHECK_EQ(weft_group_go(g, "eat", eat, &e), 0);
    CHECK_EQ(weft_group_wait(g, WEFT_NEVER), 0);
    CHECK_EQ(weft_group_close(&g), 0);
    CHECK_EQ(e.len, LOTS);
    CHECK_EQ(end_status(p), 0);
    weft_process_close(&p);
    return 0;
}

static void test_lots(void **state)
{
    (void)state;
    everywhere(lots);
}

static int many(void *arg)
{
    char buf[10];
    struct weft_process_options o = {
        .argv = ARGV("true"), .in = WEFT_PIPE_NULL, .out = WEFT_PIPE_STREAM};
    (void)arg;
    CHECK_EQ(run(&o, buf, sizeof buf), 0);
    size_t fds = kit_count_fds();
    for (int i = 0; i < 200; i++)
        CHECK_EQ(run(&o, buf, sizeof buf), 0);
    CHECK_EQ(kit_count_fds(), fds);
    CHECK(no_children());
    return 0;
}

static void test_many(void **state)
{
    (void)state;
    everywhere(many);
}

static int one_of_many(void *arg)
{
    struct weft_process_options o = {.argv = ARGV("cat"), .in = WEFT_PIPE_NULL};
    (void)arg;
    struct weft_process *p = NULL;
    int status = 0;
    int err = weft_process_open(&p, &o);
    if (err == 0)
        err = weft_process_wait(p, &status, WEFT_NEVER);
    weft_process_close(&p);
    return err < 0 ? err : -status;
}

static int at_once(void *arg)
{
    struct weft_group *g = NULL;
    size_t fds = kit_count_fds();
    (void)arg;
    CHECK_EQ(weft_group_open(&g), 0);
    for (int i = 0; i < 20; i++)
        CHECK_EQ(weft_group_go(g, "one", one_of_many, NULL), 0);
    CHECK_EQ(weft_group_wait(g, WEFT_NEVER), 0);
    CHECK_EQ(weft_group_close(&g), 0);
    CHECK_EQ(kit_count_fds(), fds);
    CHECK(no_children());
    return 0;
}

static void test_at_once(void **state)
{
    (void)state;
    everywhere(at_once);
}

int main(void)
{
    if (!has_pidfd())
        return 77;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_echo),
        cmocka_unit_test(test_statuses),
        cmocka_unit_test(test_surroundings),
        cmocka_unit_test(test_modes),
        cmocka_unit_test(test_clean_child),
        cmocka_unit_test(test_closed_stdio),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_want),
        cmocka_unit_test(test_sigchld_ignored),
        cmocka_unit_test(test_broken_pipe),
        cmocka_unit_test(test_lots),
        cmocka_unit_test(test_many),
        cmocka_unit_test(test_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
