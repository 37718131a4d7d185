/* SPDX-License-Identifier: MIT */
/*
 * The contract of sys.h: one list of tests, run on every driver that can be used here. And how a
 * driver is chosen.
 */
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <weft/error.h>

#include "base/base.h"
#include "driver_kit.h"
#include "rt/ctx.h"

#define CASES_MAX 1024
#define SIM_SEEDS (WEFT__TSAN ? 1 : 4)

struct driver_case {
    const struct weft__driver *drv;
    const struct driver_test *test;
    uint64_t seed;
    char name[80];
};

static struct driver_case cases[CASES_MAX];
static struct CMUnitTest tests[CASES_MAX];
static size_t case_count;

static void run_case(void **state)
{
    const struct driver_case *c = *state;
    struct kit k;
    kit_open(&k, c->drv, c->seed);
    c->test->fn(&k);
    kit_close(&k);
}

static void add_cases(const struct weft__driver *drv, const struct driver_test *list, uint64_t seed)
{
    unsigned on = drv == &weft__driver_block ? ON_BLOCK : ON_LOOP;
    for (; list->fn != NULL; list++) {
        if (!(list->on & on) || ((list->on & ON_REAL) && drv == &weft__driver_sim))
            continue;
        WEFT__ASSERT(case_count < CASES_MAX);
        struct driver_case *c = &cases[case_count];
        c->drv = drv;
        c->test = list;
        c->seed = seed;
        if (seed > 0)
            snprintf(c->name, sizeof(c->name), "%s: %s (%d)", drv->name, list->name, (int)seed);
        else
            snprintf(c->name, sizeof(c->name), "%s: %s", drv->name, list->name);
        tests[case_count] = (struct CMUnitTest){c->name, run_case, NULL, NULL, c};
        case_count++;
    }
}

static void add_driver(const struct weft__driver *drv, uint64_t seed)
{
    static const struct driver_test *const lists[] = {
        driver_tests_io,     driver_tests_other, driver_tests_connect, driver_tests_poll,
        driver_tests_cancel, driver_tests_wait,  driver_tests_stress,  driver_tests_fault,
    };
    for (size_t i = 0; i < WEFT__ARRAY_LEN(lists); i++)
        add_cases(drv, lists[i], seed);
}

/* ---- choosing ---- */

static bool have_uring;

static void choose_by_name(void **state)
{
    (void)state;
    const struct weft__driver *d = NULL;
    assert_int_equal(weft__driver_choose(&d, "epoll"), 0);
    assert_ptr_equal(d, &weft__driver_epoll);
    d = NULL;
    assert_int_equal(weft__driver_choose(&d, "uring"), have_uring ? 0 : -ENOSYS);
    assert_ptr_equal(d, have_uring ? &weft__driver_uring : NULL);
    if (!have_uring)
        assert_string_not_equal(weft_error_detail(), "");
    d = NULL;
    assert_int_equal(weft__driver_choose(&d, "kqueue"), -EINVAL);
    assert_non_null(strstr(weft_error_detail(), "kqueue"));
    assert_null(d);
    assert_int_equal(weft__driver_choose(&d, "block"), -EINVAL); /* it is no loop driver */
    assert_null(d);
}

static void choose_by_environment(void **state)
{
    (void)state;
    const struct weft__driver *d = NULL;
    const struct weft__driver *best = have_uring ? &weft__driver_uring : &weft__driver_epoll;
    unsetenv("WEFT_DRIVER");
    assert_int_equal(weft__driver_choose(&d, NULL), 0);
    assert_ptr_equal(d, best);
    setenv("WEFT_DRIVER", "epoll", 1);
    assert_int_equal(weft__driver_choose(&d, NULL), 0);
    assert_ptr_equal(d, &weft__driver_epoll);
    setenv("WEFT_DRIVER", "uring", 1);
    d = NULL;
    assert_int_equal(weft__driver_choose(&d, NULL), have_uring ? 0 : -ENOSYS);
    assert_int_equal(weft__driver_choose(&d, "epoll"), 0); /* the argument is stronger */
    assert_ptr_equal(d, &weft__driver_epoll);
    setenv("WEFT_DRIVER", "nonsense", 1);
    d = NULL;
    assert_int_equal(weft__driver_choose(&d, NULL), -EINVAL);
    assert_non_null(strstr(weft_error_detail(), "nonsense"));
    assert_null(d);
    unsetenv("WEFT_DRIVER");
}

/* From here on this process has neither io_uring nor the newest of the calls that epoll uses. */
static bool forbid_new_calls(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 1, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_epoll_pwait2, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog prog = {.len = WEFT__ARRAY_LEN(code), .filter = code};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog) == 0;
}

enum { CHILD_GOOD, CHILD_BAD, CHILD_CANNOT };

static int filtered_child(void)
{
    const struct weft__driver *d = NULL;
    struct weft__sys *sys = NULL;
    struct weft__sys_options o = {.cancel_fd = -1};
    if (!forbid_new_calls())
        return CHILD_CANNOT;
    unsetenv("WEFT_DRIVER");
    if (weft__driver_choose(&d, NULL) != 0 || d != &weft__driver_epoll)
        return CHILD_BAD;
    if (d->open(&sys, &o) != 0)
        return CHILD_BAD;
    struct kit k = {.drv = d, .sys = sys};
    struct top t;
    char buf[8];
    int fds[2];
    kit_pair(KIT_TCP4, fds);
    top_recv(&t, &k, fds[0], buf, sizeof(buf));
    top_start(&t);
    kit_turn(&k);
    kit_put(fds[1], "works", 5);
    if (top_finish(&t) != 5)
        return CHILD_BAD;
    kit_close_fd(&k, fds[0]);
    close(fds[1]);
    int64_t until = weft__clock_ns() + 1500000;
    if (d->wait(sys, until) != 0 || weft__clock_ns() < until)
        return CHILD_BAD;
    d->close(sys);
    d = NULL;
    if (weft__driver_choose(&d, "uring") != -ENOSYS || d != NULL)
        return CHILD_BAD;
    return strstr(weft_error_detail(), "forbid") != NULL ? CHILD_GOOD : CHILD_BAD;
}

static void choose_under_seccomp(void **state)
{
    (void)state;
    int status;
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        _exit(filtered_child());
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == CHILD_CANNOT)
        skip();
    assert_int_equal(WEXITSTATUS(status), CHILD_GOOD);
}

static void close_fd_without_a_driver(void **state)
{
    (void)state;
    int before = kit_count_fds();
    weft__sys_close_fd(NULL, dup(0));
    assert_int_equal(kit_count_fds(), before);
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest choosing[] = {
        cmocka_unit_test(choose_by_name),
        cmocka_unit_test(choose_by_environment),
        cmocka_unit_test(choose_under_seccomp),
        cmocka_unit_test(close_fd_without_a_driver),
    };
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) { /* thousands of connections at once */
        files.rlim_cur = files.rlim_max < 8192 ? files.rlim_max : 8192;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    const char *text = "";
    have_uring = weft__driver_uring.probe(&text) == 0;
    if (have_uring)
        add_driver(&weft__driver_uring, 0);
    else
        printf("uring is left out: %s\n", text);
    add_driver(&weft__driver_epoll, 0);
    add_driver(&weft__driver_block, 0);
    for (uint64_t seed = 1; seed <= SIM_SEEDS; seed++)
        add_driver(&weft__driver_sim, seed);
    if (argc > 1) /* by hand: "epoll:*", "*accept*" */
        cmocka_set_test_filter(argv[1]);
    int failed = _cmocka_run_group_tests("drivers", tests, case_count, NULL, NULL);
    return failed + cmocka_run_group_tests_name("choosing", choosing, NULL, NULL);
}
