/* SPDX-License-Identifier: MIT */
/*
 * Tests of the work pool: results, bounds, its threads; on both loop drivers and on plain threads.
 * What a cancel or time-out does is in test_offload_cancel.c.
 */
#include "base/alloc.h"
#include "base/error.h"
#include "offload_kit.h"
#include "sys/call.h"

/* --- Results */

static int fails(struct weft_job *j, void *arg)
{
    (void)j;
    (void)arg;
    return weft__fail(-EBADF, "the %s of it", "detail");
}

static int results(void *arg)
{
    struct plain p = {.value = 1};
    (void)arg;
    CHECK_EQ(weft_offload(note_thread, &p, WEFT_NEVER), 42);
    CHECK(!pthread_equal(p.thread, pthread_self()));
    CHECK(strcmp(p.driver, "block") == 0);
    CHECK_EQ(p.value, 2);
    CHECK_EQ(weft_offload_copy(note_thread, &p, sizeof p, clean, weft_after_s(60)), 42);
    CHECK_EQ(p.value, 3); /* copied back, and clean was not called: it would crash */

    CHECK_EQ(weft_offload(fails, NULL, WEFT_NEVER), -EBADF);
    CHECK(strcmp(weft_error_detail(), "the detail of it") == 0);
    CHECK_EQ(weft_offload_copy(fails, &p, sizeof p, NULL, WEFT_NEVER), -EBADF);
    CHECK(strcmp(weft_error_detail(), "the detail of it") == 0);
    CHECK_EQ(weft_offload(NULL, NULL, WEFT_NEVER), -EINVAL);
    return 0;
}

static void test_results(void **state)
{
    (void)state;
    on_loops((struct weft_options){0}, results);
}

struct letter {
    struct gate *gate;
    int turns;
};

static int let_go(void *arg)
{
    struct letter *l = arg;
    until(&l->gate->begun, 1);
    for (l->turns = 0; l->turns < 10; l->turns++)
        CHECK_EQ(weft_yield(), 0);
    sem_post(&l->gate->go);
    return 0;
}

/* The loop goes round while a job runs: another task is what ends it. */
static int loop_lives(void *arg)
{
    struct weft_group *g = NULL;
    struct gate gate;
    (void)arg;
    gate_init(&gate);
    struct letter letter = {&gate, 0};
    struct load l = {&gate, 5};
    CHECK_EQ(weft_group_open(&g), 0);
    CHECK_EQ(weft_group_go(g, "let go", let_go, &letter), 0);
    CHECK_EQ(weft_offload(gated, &l, weft_after_s(60)), 7);
    CHECK_EQ(letter.turns, 10);
    CHECK_EQ(l.value, 105);
    CHECK_EQ(gate.saw_cancel, 0);
    CHECK_EQ(weft_group_close(&g), 0);
    return 0;
}

static void test_loop_lives(void **state)
{
    (void)state;
    on_loops((struct weft_options){0}, loop_lives);
}

struct sized {
    _Alignas(max_align_t) unsigned char bytes[65537];
};

static int invert(struct weft_job *j, void *arg)
{
    unsigned char *b = arg;
    (void)j;
    b[0] ^= 0xff;
    return (uintptr_t)arg % _Alignof(max_align_t) == 0 ? 0 : -EFAULT;
}

static int sizes(void *arg)
{
    struct sized *s = calloc(1, sizeof *s);
    (void)arg;
    CHECK(s != NULL);
    CHECK_EQ(weft_offload_copy(invert, s, 0, NULL, WEFT_NEVER), -EINVAL);
    CHECK_EQ(weft_offload_copy(invert, s, 65537, NULL, WEFT_NEVER), -EINVAL);
    CHECK_EQ(s->bytes[0], 0);
    CHECK_EQ(weft_offload_copy(invert, s, 1, NULL, WEFT_NEVER), 0);
    CHECK_EQ(s->bytes[0], 0xff);
    CHECK_EQ(weft_offload_copy(invert, s, 65536, NULL, WEFT_NEVER), 0);
    CHECK_EQ(s->bytes[0], 0);
    free(s);
    return 0;
}

static void test_sizes(void **state)
{
    (void)state;
    on_loops((struct weft_options){0}, sizes);
    CHECK_EQ(sizes(NULL), 0); /* and on this plain thread */
}

/* --- Bounds ----------------------------------------------------------------------------------- */

static int capacity(void *arg)
{
    struct weft_group *g = NULL;
    struct gate gate;
    struct caller c[4];
    (void)arg;
    gate_init(&gate);
    CHECK_EQ(weft_group_open(&g), 0);
    for (int i = 0; i < 4; i++) { /* two run, two wait */
        c[i] = (struct caller){
            .load = {&gate, 0}, .copy = i == 1, .cleanup = clean, .deadline = WEFT_NEVER};
        CHECK_EQ(weft_group_go(g, "caller", call, &c[i]), 0);
    }
    until(&gate.begun, 2);
    struct load l = {&gate, 0};
    CHECK_EQ(weft_offload(gated, &l, WEFT_NEVER), WEFT_ELIMIT);
    CHECK(strcmp(weft_error_detail(), "offload_capacity: 2 jobs wait for a thread of the pool") ==
          0);
    CHECK_EQ(weft_offload_copy(gated, &l, sizeof l, clean, WEFT_NEVER), WEFT_ELIMIT);
    CHECK_EQ(gate.cleaned, 0); /* refused: still the caller's */
    for (int i = 0; i < 4; i++)
        sem_post(&gate.go);
    CHECK_EQ(weft_group_wait(g, WEFT_NEVER), 0);
    CHECK_EQ(weft_group_close(&g), 0);
    for (int i = 0; i < 4; i++)
        CHECK_EQ(c[i].result, 7);
    sem_post(&gate.go);
    CHECK_EQ(weft_offload(gated, &l, WEFT_NEVER), 7);
    return 0;
}

static void test_capacity(void **state)
{
    (void)state;
    on_loops((struct weft_options){.offload_threads = 2, .offload_capacity = 2}, capacity);
}

/* A task whose job was abandoned gives its place back only when that has been cleaned up. */
static int abandoned_count(void *arg)
{
    struct busy b;
    struct gate gate;
    (void)arg;
    gate_init(&gate);
    busy_open(&b);
    struct load l = {&gate, 0};
    for (int i = 0; i < 2; i++)
        CHECK_EQ(weft_offload_copy(gated, &l, sizeof l, clean, weft_after_ms(1)), -ETIMEDOUT);
    CHECK_EQ(weft_offload_copy(gated, &l, sizeof l, clean, weft_after_ms(1)), WEFT_ELIMIT);
    busy_close(&b);
    until(&gate.cleaned, 2);
    return 0;
}

static void test_abandoned_count(void **state)
{
    (void)state;
    on_loops((struct weft_options){.offload_threads = 1, .offload_capacity = 2}, abandoned_count);
}

static int one_thread_is_reused(void *arg)
{
    struct plain first = {0}, p = {0};
    (void)arg;
    CHECK_EQ(weft_offload(note_thread, &first, WEFT_NEVER), 42);
    for (int i = 0; i < 200; i++) {
        CHECK_EQ(weft_offload(note_thread, &p, WEFT_NEVER), 42);
        CHECK(pthread_equal(p.thread, first.thread));
    }
    return 0;
}

static void test_one_thread_is_reused(void **state)
{
    (void)state;
    on_loops((struct weft_options){0}, one_thread_is_reused);
}

enum { MANY_TASKS = 50, MANY_EACH = 200 };

static int square(struct weft_job *j, void *arg)
{
    (void)j;
    *(long *)arg *= *(long *)arg;
    return 0;
}

static int square_many(void *arg)
{
    long *sum = arg;
    for (long i = 0; i < MANY_EACH; i++) {
        long n = i;
        int err = i % 2 == 0 ? weft_offload(square, &n, WEFT_NEVER)
                             : weft_offload_copy(square, &n, sizeof n, NULL, WEFT_NEVER);
        if (err < 0)
            return err;
        *sum += n;
    }
    return 0;
}

static int ten_thousand(void *arg)
{
    struct weft_group *g = NULL;
    long sum = 0;
    (void)arg;
    CHECK_EQ(weft_group_open(&g), 0);
    for (int i = 0; i < MANY_TASKS; i++)
        CHECK_EQ(weft_group_go(g, "squares", square_many, &sum), 0);
    CHECK_EQ(weft_group_wait(g, WEFT_NEVER), 0);
    CHECK_EQ(weft_group_close(&g), 0);
    CHECK_EQ(sum, MANY_TASKS * (199L * 200 * 399 / 6));
    return 0;
}

static void test_ten_thousand(void **state)
{
    (void)state;
    on_loops((struct weft_options){0}, ten_thousand);
}

/* --- The pool's threads, the loop's close ----------------------------------------------------- */

static int masks(struct weft_job *j, void *arg)
{
    sigset_t set;
    (void)j;
    (void)arg;
    pthread_sigmask(SIG_SETMASK, NULL, &set);
    return sigismember(&set, SIGINT) && sigismember(&set, SIGUSR1) && sigismember(&set, SIGALRM) &&
                   !sigismember(&set, SIGSEGV) && !sigismember(&set, SIGPROF)
               ? 0
               : -EPROTO;
}

static int inner(void *arg)
{
    struct plain *p = arg;
    return weft_offload(note_thread, p, WEFT_NEVER);
}

/* Waiting calls in a job wait on its thread; even a loop may run there. */
static int waits(struct weft_job *j, void *arg)
{
    (void)j;
    int err = weft_sleep_ms(1);
    if (err < 0)
        return err;
    return weft_run(NULL, inner, arg);
}

static int in_jobs(void *arg)
{
    struct plain p = {0};
    sigset_t before, after;
    (void)arg;
    pthread_sigmask(SIG_SETMASK, NULL, &before);
    CHECK_EQ(weft_offload(masks, NULL, WEFT_NEVER), 0);
    pthread_sigmask(SIG_SETMASK, NULL, &after);
    CHECK_EQ(sigismember(&before, SIGINT), sigismember(&after, SIGINT));
    CHECK_EQ(weft_offload(waits, &p, WEFT_NEVER), 42);
    return 0;
}

static void test_in_jobs(void **state)
{
    (void)state;
    on_loops((struct weft_options){0}, in_jobs);
}

static _Atomic int callback_result;

static void in_callback(void *arg)
{
    struct load l = {arg, 0};
    int a = weft_offload(gated, &l, WEFT_NEVER);
    int b = weft_offload_copy(gated, &l, sizeof l, clean, WEFT_NEVER);
    atomic_store(&callback_result, a == b ? a : 1);
}

static int callbacks(void *arg)
{
    struct gate gate;
    (void)arg;
    gate_init(&gate);
    atomic_store(&callback_result, 0);
    CHECK_EQ(weft_post_mt(weft_loop_current(), in_callback, &gate), 0);
    while (atomic_load(&callback_result) == 0)
        CHECK_EQ(weft_yield(), 0);
    CHECK_EQ(callback_result, -EDEADLK);
    CHECK_EQ(gate.begun + gate.cleaned, 0);
    return 0;
}

static void test_callback(void **state)
{
    (void)state;
    on_loops((struct weft_options){0}, callbacks);
}

/* --- Plain threads ---------------------------------------------------------------------------- */

static int stop_early(struct weft_job *j, void *arg)
{
    struct load *l = arg;
    add_one(&l->gate->begun);
    while (!weft_job_canceled_mt(j))
        pause_a_little();
    return -ECANCELED;
}

static int thread_call(void *arg)
{
    struct caller *c = arg;
    c->result = weft_offload_copy(stop_early, &c->load, sizeof c->load, c->cleanup, c->deadline);
    return 0;
}

static void test_plain_threads(void **state)
{
    struct plain p = {0};
    struct gate gate;
    struct weft_group *g = NULL;
    (void)state;
    gate_init(&gate);
    CHECK_EQ(weft_offload(note_thread, &p, WEFT_NEVER), 42);
    CHECK(pthread_equal(p.thread, pthread_self()));
    CHECK_EQ(weft_offload_copy(note_thread, &p, sizeof p, clean, WEFT_NEVER), 42);
    CHECK_EQ(p.value, 2);
    CHECK_EQ(weft_offload(fails, NULL, WEFT_NEVER), -EBADF);
    CHECK(strcmp(weft_error_detail(), "the detail of it") == 0);

    struct caller c = {.load = {&gate, 0}, .cleanup = clean, .deadline = weft_after_ms(2)};
    CHECK_EQ(thread_call(&c), 0); /* its time is up, and it looks */
    CHECK_EQ(c.result, -ECANCELED);
    CHECK_EQ(gate.cleaned, 1);

    c.deadline = WEFT_NEVER;
    CHECK_EQ(weft_group_open(&g), 0);
    CHECK_EQ(weft_group_go(g, "thread", thread_call, &c), 0);
    until(&gate.begun, 2);
    cancel_and_wait(&g);
    CHECK_EQ(c.result, -ECANCELED);
    CHECK_EQ(gate.cleaned, 2);
}

/* --- Want */

static int no_memory(void *arg)
{
    struct plain p = {0};
    (void)arg;
    weft__alloc_fail_at(1); /* the pool */
    CHECK_EQ(weft_offload(note_thread, &p, WEFT_NEVER), -ENOMEM);
    for (uint64_t n = 1; n <= 2; n++) { /* the copy, then the pool */
        weft__alloc_fail_at(n);
        CHECK_EQ(weft_offload_copy(note_thread, &p, sizeof p, clean, WEFT_NEVER), -ENOMEM);
    }
    weft__alloc_fail_at(0);
    CHECK_EQ(p.value, 0);
    CHECK_EQ(weft_offload(note_thread, &p, WEFT_NEVER), 42);
    return 0;
}

static void test_no_memory(void **state)
{
    (void)state;
    on_loops((struct weft_options){0}, no_memory);
}

/* No thread to be had: an error for the first job, and a wait for those that find some at work. */
static int no_thread(void *arg)
{
    struct plain p = {0};
    struct busy b;
    (void)arg;
    weft__fault_at(1, EAGAIN);
    CHECK_EQ(weft_offload(note_thread, &p, WEFT_NEVER), -EAGAIN);
    weft__fault_at(0, 0);
    CHECK(strlen(weft_error_detail()) > 0);
    CHECK_EQ(p.value, 0);

    busy_open(&b);
    weft__fault_at(1, EAGAIN);
    CHECK_EQ(weft_offload(note_thread, &p, weft_after_ms(1)), -ETIMEDOUT);
    weft__fault_at(0, 0);
    CHECK_EQ(p.value, 0);
    CHECK_EQ(weft_offload(note_thread, &p, WEFT_NEVER), 42); /* now there is a second one */
    CHECK_EQ(p.value, 1);
    busy_close(&b);
    return 0;
}

static void test_no_thread(void **state)
{
    (void)state;
    on_loops((struct weft_options){0}, no_thread);
}

int main(void)
{
    kit_open();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_results),         cmocka_unit_test(test_loop_lives),
        cmocka_unit_test(test_sizes),           cmocka_unit_test(test_capacity),
        cmocka_unit_test(test_abandoned_count), cmocka_unit_test(test_one_thread_is_reused),
        cmocka_unit_test(test_ten_thousand),    cmocka_unit_test(test_in_jobs),
        cmocka_unit_test(test_callback),        cmocka_unit_test(test_plain_threads),
        cmocka_unit_test(test_no_memory),       cmocka_unit_test(test_no_thread),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
