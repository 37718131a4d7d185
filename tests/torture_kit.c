/* SPDX-License-Identifier: MIT */
/*
 * The engine of the torture tests; see torture_kit.h.
 *
 * Invariants: a run starts with nothing armed and the hooks of the allocator on; a scene on plain
 * threads runs in a thread of its own, so that what the library keeps for a thread is opened
 * and freed in each run.
 */
#include "torture_kit.h"

#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "sys/call.h"

#define HANG_SECONDS (KIT_SLOW ? 120 : 20)
/* The part of its time that a scene gets: as many places as there are are tried without sanitizers,
 * with them those samples that show what only they see. */
#define TIME_SCALE (WEFT__TSAN ? 0.25 : KIT_SLOW ? 0.5 : 1)

enum kind { KIND_NONE, KIND_ALLOC, KIND_FAULT, KIND_CANCEL };
static const char *const kind_names[] = {"none", "alloc", "fault", "cancel"};

/* What a failed call says, in turn. */
static const int fault_errors[] = {ENOMEM, EMFILE, ECONNRESET, EINTR};

static struct {
    const struct torture_scene *scene;
    const char *driver;
    enum kind kind;
    uint64_t n;
    char text[160]; /* of the run under way, for the handlers */
} now;

static double seconds_left; /* for all that is to come */
static size_t series_left;
static bool everything;

int torture_run(const char *driver, weft_fn body, void *arg)
{
    struct weft_options o = {.driver = driver};
    struct weft_task_options body_options = {.name = "body", .keep_errors = true};
    struct weft_group *g = NULL;
    struct weft_task *t = NULL;
    int result = 0;
    if (driver != NULL)
        return weft_run(&o, body, arg);
    int err = weft_group_open(&g);
    if (err == 0)
        err = weft_group_spawn(g, &body_options, body, arg, &t);
    if (err == 0)
        err = weft_task_join(&t, &result, WEFT_NEVER);
    err = torture_first(err, weft_group_close(&g));
    return torture_first(err, result);
}

int64_t torture_soon_ms(void)
{
    return now.kind == KIND_NONE ? HANG_SECONDS * 500 : KIT_SLOW ? 2000 : 400;
}

/* --- When it goes wrong ----------------------------------------------------------------------- */

static void say_where(int sig)
{
    (void)!write(STDERR_FILENO, now.text, strlen(now.text));
    if (sig == SIGALRM)
        abort();
    signal(sig, SIG_DFL);
    raise(sig);
}

static void watch(void)
{
    struct sigaction sa = {.sa_handler = say_where};
    sigaction(SIGALRM, &sa, NULL);
    sigaction(SIGABRT, &sa, NULL);
    if (!KIT_SANITIZED) /* it reports those itself */
        sigaction(SIGSEGV, &sa, NULL);
}

/* --- Cancelling at the n-th wait -------------------------------------------------------------- */

/*
 * Three ways: the call is refused at once; the wait is aborted as soon as it has begun, when the
 * driver has it and the kernel not yet; and when the loop has waited once with it.
 */
static _Atomic uint64_t waits;
static uint64_t cancel_target;

static struct {
    struct weft__run run;
    struct weft__alarm alarm;
    struct weft__flow *flow;
    struct weft__wait *wait;
    struct weft_loop *loop;
    _Atomic bool armed; /* the waits of other threads look at it */
} later;

static void cancel_flow(struct weft__flow *f)
{
    struct weft_group *g = f->member.group;
    if (g == NULL)
        return;
    if (f->kind == WEFT__FLOW_THREAD && g->loop != NULL)
        weft__flow_cancel(f); /* the group is the loop's, which is another thread */
    else
        weft_group_cancel(g);
}

static void cancel_by_run(struct weft__run *r)
{
    (void)r;
    cancel_flow(later.flow);
}

static void cancel_by_alarm(struct weft__alarm *a)
{
    (void)a;
    later.armed = false;
    cancel_flow(later.flow);
}

static void on_wait(struct weft__flow *f, struct weft__wait *w, bool begins)
{
    if (!begins) {
        if (later.armed && later.wait == w) {
            weft__loop_alarm_del(later.loop, &later.alarm);
            later.armed = false;
        }
        return;
    }
    /* A wait that nothing may cut short is not a place to cancel at. */
    if (w != NULL && w->abort == NULL)
        return;
    uint64_t places = w == NULL ? 1 : 2;
    uint64_t before = atomic_fetch_add(&waits, places);
    if (cancel_target <= before || cancel_target > before + places)
        return;
    if (w == NULL) {
        cancel_flow(f);
    } else if (cancel_target == before + 1) {
        if (w->ended)
            return; /* the task could be gone before it is cancelled */
        later.run.fn = cancel_by_run;
        later.flow = f;
        weft__loop_ready(f->loop, &later.run);
    } else {
        later.alarm.fn = cancel_by_alarm;
        later.flow = f;
        later.wait = w;
        later.loop = f->loop;
        later.armed = true;
        weft__loop_alarm(f->loop, &later.alarm, weft_now_ns() + 200000);
    }
}

/* --- One run ---------------------------------------------------------------------------------- */

struct counts {
    uint64_t allocs, faults, waits;
    int64_t ns;
};

static void arm(enum kind kind, uint64_t n, int error)
{
    atomic_store(&waits, 0);
    cancel_target = kind == KIND_CANCEL ? n : 0;
    weft__wait_hook = kind == KIND_CANCEL || kind == KIND_NONE ? on_wait : NULL;
    weft__alloc_fail_at(kind == KIND_ALLOC ? n : 0);
    weft__fault_at(kind == KIND_FAULT ? n : UINT64_MAX, error);
}

static void disarm(void)
{
    weft__fault_at(0, 0);
    weft__alloc_fail_at(0);
    weft__wait_hook = NULL;
}

struct launch {
    enum kind kind;
    uint64_t n;
    int error, result;
};

static void *launch(void *arg)
{
    struct launch *l = arg;
    CHECK_EQ(weft_canceled(), 0); /* the thread is known now: the one thing that must not fail */
    arm(l->kind, l->n, l->error);
    l->result = now.scene->run(now.driver);
    disarm();
    return NULL;
}

/* Runs the scene with one thing going wrong; its result, and what it leaves behind. */
static struct counts run_once(enum kind kind, uint64_t n, int error, int *result)
{
    struct launch l = {.kind = kind, .n = n, .error = error};
    pthread_t thread;
    now.kind = kind;
    now.n = n;
    (void)snprintf(now.text, sizeof now.text, "in: TORTURE=\"%s %s %llu\" on %s with %s\n",
                   now.scene->name, kind_names[kind], (unsigned long long)n,
                   now.driver != NULL ? now.driver : "threads",
                   error != 0 ? weft_error_name(-error) : "no error");
    size_t fds = kit_count_fds();
    int64_t live = weft__alloc_live();
    uint64_t allocs = weft__alloc_count();
    int64_t began = weft_now_ns();
    alarm(HANG_SECONDS);
    CHECK_EQ(pthread_create(&thread, NULL, launch, &l), 0);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    alarm(0);
    if (l.result > 0 || (l.result < -4095 && l.result > -10000))
        print_error("%sthe result is %d\n", now.text, l.result);
    if (kit_count_fds() != fds)
        print_error("%s%zd descriptors are left\n", now.text, (ssize_t)(kit_count_fds() - fds));
    if (weft__alloc_live() != live)
        print_error("%s%lld blocks are left\n", now.text, (long long)(weft__alloc_live() - live));
    assert_int_equal(weft__alloc_live(), live);
    assert_int_equal(kit_count_fds(), fds);
    assert_true(l.result <= 0);
    assert_true(waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD);
    *result = l.result;
    return (struct counts){.allocs = weft__alloc_count() - allocs,
                           .faults = weft__fault_count(),
                           .waits = atomic_load(&waits),
                           .ns = weft_now_ns() - began};
}

/* Every place of one kind, or as many as there is time for. */
static void every(enum kind kind, uint64_t places, int64_t each_ns)
{
    size_t errors = kind == KIND_FAULT ? WEFT__ARRAY_LEN(fault_errors) : 1;
    double budget = seconds_left / (double)(series_left > 0 ? series_left : 1);
    double cost = (double)places * (double)errors * (double)each_ns / 1e9;
    uint64_t step = everything || cost <= budget ? 1 : (uint64_t)(cost / budget) + 1;
    int64_t first = weft_now_ns(), began = first;
    uint64_t runs = 0, failed = 0, slow = 0;
    uint64_t all = places * errors;
    int result;
    for (uint64_t i = 0; i < all; i += step) {
        int error = kind == KIND_FAULT ? fault_errors[i / places] : 0;
        struct counts c = run_once(kind, i % places + 1, error, &result);
        runs++;
        failed += result < 0;
        slow += c.ns > 100000000;
        if (everything && c.ns > 100000000)
            print_message("  slow: %s", now.text);
        double spent = (double)(weft_now_ns() - began) / 1e9;
        if (!everything && spent > 1.5 * budget && step < all / 4) {
            step *= 2; /* dearer than thought */
            began = weft_now_ns();
        }
    }
    seconds_left -= (double)(weft_now_ns() - first) / 1e9;
    seconds_left = seconds_left < 1 ? 1 : seconds_left;
    series_left--;
    print_message("  %s: %llu places, %llu runs%s, %llu of them with an error, %llu slow, %.1f s\n",
                  kind_names[kind], (unsigned long long)places, (unsigned long long)runs,
                  runs < all ? " (a sample)" : "", (unsigned long long)failed,
                  (unsigned long long)slow, (double)(weft_now_ns() - first) / 1e9);
}

struct torment {
    const struct torture_scene *scene;
    const char *driver;
    char name[96];
};

static void torment(void **state)
{
    const struct torment *t = *state;
    const char *one = getenv("TORTURE");
    char scene[64], kind[16];
    unsigned long long n;
    int result;
    now.scene = t->scene;
    now.driver = t->driver;
    weft__alloc_hooks = true;
    watch(); /* here, since cmocka's own handlers come before each test */
    if (one != NULL && sscanf(one, "%63s %15s %llu", scene, kind, &n) == 3) {
        if (strcmp(scene, t->scene->name) != 0)
            skip();
        for (enum kind k = KIND_ALLOC; k <= KIND_CANCEL; k++)
            for (size_t e = 0; strcmp(kind, kind_names[k]) == 0 && e < 4; e++) {
                (void)run_once(k, n, fault_errors[e], &result);
                print_message("%s%s\n", now.text, weft_error_name(result));
            }
        return;
    }
    (void)run_once(KIND_NONE, 0, 0, &result); /* what is kept for the process is there now */
    struct counts c = run_once(KIND_NONE, 0, 0, &result);
    if (result != 0)
        print_error("%s: %s %s\n", t->scene->name, weft_error_name(result), weft_error_detail());
    assert_int_equal(result, 0);
    every(KIND_ALLOC, c.allocs, c.ns);
    every(KIND_FAULT, c.faults, c.ns);
    every(KIND_CANCEL, c.waits, c.ns);
}

int torture_main(const struct torture_scene *on_loops, size_t n_loops,
                 const struct torture_scene *on_threads, size_t n_threads, double seconds)
{
    static const char *const drivers[] = {"epoll", "uring"};
    size_t most = 2 * n_loops + n_threads, total = 0;
    struct CMUnitTest *tests = test_calloc(most, sizeof *tests);
    struct torment *torments = test_calloc(most, sizeof *torments);
    const char *only = getenv("WEFT_DRIVER");
    const char *mode = getenv("TORTURE");
    everything = mode != NULL && strcmp(mode, "all") == 0;
    for (size_t i = 0; i < 3; i++) {
        bool threads = i == 2;
        struct weft_options o = {.driver = threads ? NULL : drivers[i]};
        if (!threads && only != NULL && only[0] != '\0' && strcmp(only, drivers[i]) != 0)
            continue;
        if (!threads && weft_run(&o, kit_nothing, NULL) == -ENOSYS) {
            print_message("not on %s: %s\n", drivers[i], weft_error_detail());
            continue;
        }
        for (size_t k = 0; k < (threads ? n_threads : n_loops); k++, total++) {
            struct torment *t = &torments[total];
            t->scene = threads ? &on_threads[k] : &on_loops[k];
            t->driver = threads ? NULL : drivers[i];
            (void)snprintf(t->name, sizeof t->name, "%s: %s", threads ? "threads" : drivers[i],
                           t->scene->name);
            tests[total] =
                (struct CMUnitTest){.name = t->name, .test_func = torment, .initial_state = t};
        }
    }
    seconds_left = seconds * TIME_SCALE;
    series_left = 3 * total;
    int failed = _cmocka_run_group_tests("torture", tests, total, NULL, NULL);
    test_free(tests);
    test_free(torments);
    return failed;
}
