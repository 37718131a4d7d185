/* SPDX-License-Identifier: MIT */
/*
 * Tests of weft_process: waiting for a child, time-outs, cancels, killing it.
 */
#include "process_kit.h"

static int time_out(void *arg)
{
    struct weft_process *p = NULL;
    int status = 4711;
    (void)arg;
    open_ready(&p, "echo ready; exec cat", 0, 0);
    CHECK_EQ(weft_process_wait(p, &status, WEFT_NOW), -ETIMEDOUT);
    CHECK_EQ(weft_process_wait(p, &status, weft_after_ms(1)), -ETIMEDOUT);
    CHECK_EQ(status, 4711);
    CHECK_EQ(weft_process_kill(p, 0), 0); /* it lives */
    CHECK_EQ(weft_process_kill(p, 1000), -EINVAL);
    CHECK_EQ(weft_process_kill(p, SIGUSR1), 0);
    CHECK_EQ(WTERMSIG(end_status(p)), SIGUSR1);
    weft_process_close(&p);
    return 0;
}

static void test_time_out(void **state)
{
    (void)state;
    everywhere(time_out);
}

static int close_kills(void *arg)
{
    struct weft_process *p = NULL;
    size_t fds = kit_count_fds();
    (void)arg;
    open_ready(&p, "trap '' TERM; echo ready; exec cat", 0, 0);
    weft_process_close(&p);
    CHECK(no_children());
    CHECK_EQ(kit_count_fds(), fds);
    return 0;
}

static void test_close_kills(void **state)
{
    (void)state;
    everywhere(close_kills);
}

struct waiter {
    struct weft_process *process;
    _Atomic bool waits;
    int result, status;
};

static int wait_for(void *arg)
{
    struct waiter *w = arg;
    atomic_store(&w->waits, true);
    w->result = weft_process_wait(w->process, &w->status, WEFT_NEVER);
    return 0;
}

/* The process is opened, waited for and closed by the member that is cancelled. */
struct cancelled {
    const char *script;
    int kill_signal;
    int64_t kill_after_ms;
    _Atomic bool waits;
    int result, again, status;
};

static int wait_cancelled(void *arg)
{
    struct cancelled *c = arg;
    struct weft_process *p = NULL;
    open_ready(&p, c->script, c->kill_signal, c->kill_after_ms);
    atomic_store(&c->waits, true);
    c->result = weft_process_wait(p, NULL, WEFT_NEVER);
    c->again = weft_process_wait(p, &c->status, WEFT_NEVER); /* it has been reaped: no wait */
    weft_process_close(&p);
    return 0;
}

static int cancel_one(const char *script, int kill_signal, int64_t after)
{
    struct weft_group *g = NULL;
    struct cancelled c = {.script = script, .kill_signal = kill_signal, .kill_after_ms = after};
    CHECK_EQ(weft_group_open(&g), 0);
    CHECK_EQ(weft_group_go(g, "waiter", wait_cancelled, &c), 0);
    while (!atomic_load(&c.waits))
        CHECK_EQ(weft_yield(), 0);
    weft_group_cancel(g);
    CHECK_EQ(weft_group_close(&g), 0);
    CHECK_EQ(c.result, -ECANCELED);
    CHECK_EQ(c.again, 0);
    return c.status;
}

static int cancel(void *arg)
{
    int status;
    (void)arg;
    status = cancel_one("echo ready; exec cat", 0, 60000);
    CHECK(WIFSIGNALED(status));
    CHECK_EQ(WTERMSIG(status), SIGTERM);
    status = cancel_one("echo ready; exec cat", SIGINT, 60000);
    CHECK(WIFSIGNALED(status));
    CHECK_EQ(WTERMSIG(status), SIGINT);
    /* Time to say farewell. */
    status = cancel_one("trap 'exit 5' TERM; echo ready; while :; do read x; done", 0, 60000);
    CHECK(WIFEXITED(status));
    CHECK_EQ(WEXITSTATUS(status), 5);
    /* It does not listen. */
    status = cancel_one("trap '' TERM; echo ready; exec cat", 0, 5);
    CHECK(WIFSIGNALED(status));
    CHECK_EQ(WTERMSIG(status), SIGKILL);
    CHECK(no_children());
    return 0;
}

static void test_cancel(void **state)
{
    (void)state;
    everywhere(cancel);
}

/* A child that may not be killed is one that has become another user's; here a call says so. */
struct untouchable {
    _Atomic bool waits;
    int result, again, status;
    bool survived;
};

static int wait_untouchable(void *arg)
{
    struct untouchable *c = arg;
    struct weft_process *p = NULL;
    open_ready(&p, "trap '' TERM; echo ready; exec cat", 0, 5);
    atomic_store(&c->waits, true);
    c->result = weft_process_wait(p, NULL, WEFT_NEVER);
    weft__fault_at(0, 0);
    weft_shield(60000);
    c->survived = weft_process_kill(p, 0) == 0;
    if (c->survived)
        weft_process_close_in(p); /* then it ends by itself */
    c->again = weft_process_wait(p, &c->status, WEFT_NEVER);
    weft_unshield();
    weft_process_close(&p);
    return 0;
}

/* Each call behind a cancel fails in turn: one of them is the one that kills, and which it is may
 * be another one the next time. */
static int cannot_be_killed(void *arg)
{
    int survived = 0;
    (void)arg;
    for (uint64_t n = 0; n < 16 || (survived == 0 && n < 160); n++) {
        struct weft_group *g = NULL;
        struct untouchable c = {.result = 0};
        CHECK_EQ(weft_group_open(&g), 0);
        CHECK_EQ(weft_group_go(g, "waiter", wait_untouchable, &c), 0);
        while (!atomic_load(&c.waits))
            CHECK_EQ(weft_yield(), 0);
        weft__fault_at(n % 16 + 1, EPERM);
        weft_group_cancel(g);
        CHECK_EQ(weft_group_close(&g), 0);
        CHECK_EQ(c.result, -ECANCELED);
        CHECK_EQ(c.again, 0);
        survived += c.survived;
        CHECK(c.survived ? WIFEXITED(c.status) : WIFSIGNALED(c.status));
        CHECK(no_children());
    }
    CHECK(survived > 0);
    return 0;
}

static void test_cannot_be_killed(void **state)
{
    (void)state;
    on_loops(cannot_be_killed); /* among threads it is left to chance which call is the n-th */
}

/* It is not waited for; but if it has ended it is reaped. */
static int closed_unkilled(void *arg)
{
    struct weft_process *p = NULL;
    size_t fds = kit_count_fds();
    siginfo_t si;
    (void)arg;
    open_ready(&p, "echo ready; exec cat", 0, 0);
    pid_t pid = weft_process_id(p);
    weft__fault_at(1, EPERM);
    weft_process_close(&p);
    weft__fault_at(0, 0);
    CHECK_EQ(waitpid(pid, NULL, 0), pid); /* the end of its input has ended it */
    open_ready(&p, "echo ready", 0, 0);
    CHECK_EQ(waitid(P_PID, (id_t)weft_process_id(p), &si, WEXITED | WNOWAIT), 0);
    weft__fault_at(1, EPERM);
    weft_process_close(&p);
    weft__fault_at(0, 0);
    CHECK(no_children());
    CHECK_EQ(kit_count_fds(), fds);
    return 0;
}

static void test_closed_unkilled(void **state)
{
    (void)state;
    everywhere(closed_unkilled);
}

/* Nor does whoever waits for it wait on. */
static int closed_unkilled_while_awaited(void *arg)
{
    struct weft_group *g = NULL;
    struct waiter w = {0};
    (void)arg;
    open_ready(&w.process, "echo ready; exec sleep 1000", 0, 0);
    pid_t pid = weft_process_id(w.process);
    CHECK_EQ(weft_group_open(&g), 0);
    CHECK_EQ(weft_group_go(g, "waiter", wait_for, &w), 0);
    CHECK_EQ(weft_yield(), 0);
    weft__fault_at(1, EPERM);
    weft_process_close(&w.process);
    weft__fault_at(0, 0);
    CHECK_EQ(weft_group_wait(g, weft_after_s(60)), 0);
    CHECK_EQ(w.result, WEFT_ECLOSED);
    CHECK_EQ(weft_group_close(&g), 0);
    CHECK_EQ(kill(pid, SIGKILL), 0);
    CHECK_EQ(waitpid(pid, NULL, 0), pid);
    return 0;
}

static void test_closed_unkilled_while_awaited(void **state)
{
    (void)state;
    on_loops(closed_unkilled_while_awaited);
}

static int misuse(void *arg)
{
    struct weft_group *g = NULL;
    struct waiter w = {0};
    (void)arg;
    open_ready(&w.process, "echo ready; exec cat", 0, 0);
    CHECK_EQ(weft_group_open(&g), 0);
    CHECK_EQ(weft_group_go(g, "waiter", wait_for, &w), 0);
    CHECK_EQ(weft_yield(), 0);
    CHECK_EQ(weft_process_wait(w.process, NULL, WEFT_NOW), -EBUSY);
    weft_process_close(&w.process); /* while someone waits */
    CHECK_EQ(weft_group_wait(g, WEFT_NEVER), 0);
    CHECK_EQ(w.result, WEFT_ECLOSED);
    CHECK_EQ(weft_group_close(&g), 0);
    CHECK(no_children());
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
    struct weft_process *own = NULL;
    w->result = weft_process_wait(w->process, &w->status, WEFT_NEVER);
    w->status = weft_process_open(
        &own, &(struct weft_process_options){.argv = ARGV("cat"), .in = WEFT_PIPE_STREAM});
    weft_process_close(&own);
    weft_process_close(&w->process);
    atomic_store(&w->waits, true);
}

static int callback(void *arg)
{
    struct waiter w = {0};
    (void)arg;
    open_ready(&w.process, "echo ready; exec cat", 0, 0);
    CHECK_EQ(weft_post_mt(weft_loop_current(), in_callback, &w), 0);
    while (!atomic_load(&w.waits))
        CHECK_EQ(weft_yield(), 0);
    CHECK_EQ(w.result, -EDEADLK);
    CHECK_EQ(w.status, 0);
    CHECK(no_children());
    return 0;
}

static void test_callback(void **state)
{
    (void)state;
    on_loops(callback);
}

static int in_other_loop(void *arg)
{
    return weft_process_wait(arg, NULL, WEFT_NOW);
}

static int other_loop(void *arg)
{
    struct weft_process *p = NULL;
    (void)arg;
    open_ready(&p, "echo ready; exec cat", 0, 0);
    CHECK_EQ(weft_run(NULL, in_other_loop, p), WEFT_ETHREAD);
    weft_process_close(&p);
    return 0;
}

static void test_other_loop(void **state)
{
    (void)state;
    everywhere(other_loop);
}

int main(void)
{
    if (!has_pidfd())
        return 77;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_time_out),
        cmocka_unit_test(test_close_kills),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_misuse),
        cmocka_unit_test(test_callback),
        cmocka_unit_test(test_other_loop),
        cmocka_unit_test(test_cannot_be_killed),
        cmocka_unit_test(test_closed_unkilled),
        cmocka_unit_test(test_closed_unkilled_while_awaited),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
