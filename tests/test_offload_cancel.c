/* SPDX-License-Identifier: MIT */
/*
 * Tests of the work pool: what a cancel or time-out does to a job that is queued, running, ended,
 * and what is left of it when its task, or the loop, is gone.
 */
#include "offload_kit.h"

static int queued_is_dropped(void *arg)
{
    struct weft_group *g;
    struct busy b;
    struct gate gate;
    (void)arg;
    gate_init(&gate);
    busy_open(&b);

    struct caller c = {.load = {&gate, 0}, .deadline = WEFT_NEVER};
    start(&g, &c);
    cancel_and_wait(&g); /* while the pool's only thread is busy */
    CHECK_EQ(c.result, -ECANCELED);

    c.load.value = 0;
    CHECK_EQ(weft_offload(gated, &c.load, weft_after_ms(2)), -ETIMEDOUT);
    CHECK_EQ(weft_offload(gated, &c.load, WEFT_NOW), -ETIMEDOUT);

    busy_close(&b);
    struct plain p = {0};
    CHECK_EQ(weft_offload(note_thread, &p, WEFT_NEVER), 42); /* all before it is done */
    CHECK_EQ(gate.begun, 0);
    CHECK_EQ(c.load.value, 0);
    return 0;
}

static void test_queued_is_dropped(void **state)
{
    (void)state;
    on_loops((struct weft_options){.offload_threads = 1}, queued_is_dropped);
}

static int until_canceled(struct weft_job *j, void *arg)
{
    struct gate *g = arg;
    add_one(&g->begun);
    while (!weft_job_canceled_mt(j))
        pause_a_little();
    add_one(&g->ended);
    return 0;
}

static int call_until_canceled(void *arg)
{
    struct gate *g = arg;
    int r = weft_offload(until_canceled, arg, WEFT_NEVER);
    return atomic_load(&g->ended) == 1 ? r : -EPROTO; /* waited for */
}

static int running_is_told(void *arg)
{
    struct weft_group *g = NULL;
    struct weft_task *t = NULL;
    struct gate gate;
    int result = 0;
    (void)arg;
    gate_init(&gate);
    CHECK_EQ(weft_group_open(&g), 0);
    CHECK_EQ(weft_group_spawn(g, NULL, call_until_canceled, &gate, &t), 0);
    until(&gate.begun, 1);
    weft_task_cancel(t);
    CHECK_EQ(weft_task_join(&t, &result, WEFT_NEVER), 0);
    CHECK_EQ(result, -ECANCELED);
    CHECK_EQ(weft_group_close(&g), 0);

    gate_init(&gate);
    for (int ms = 5; atomic_load(&gate.begun) == 0; ms *= 2) /* one that is queued is dropped */
        CHECK_EQ(weft_offload(until_canceled, &gate, weft_after_ms(ms)), -ETIMEDOUT);
    CHECK_EQ(gate.ended, 1);
    return 0;
}

static void test_running_is_told(void **state)
{
    (void)state;
    on_loops((struct weft_options){0}, running_is_told);
}

/* Leaves a job that has begun by a time-out; how often it was tried, since one that is still queued
 * by then is dropped. */
static int leave_running(struct load *l, void (*cleanup)(void *arg))
{
    int begun = atomic_load(&l->gate->begun);
    for (int tries = 1; tries < 12; tries++) {
        weft_deadline d = weft_after_ms(1 << tries);
        CHECK_EQ(weft_offload_copy(gated, l, sizeof *l, cleanup, d), -ETIMEDOUT);
        for (int i = 0; i < 100; i++) {
            if (atomic_load(&l->gate->begun) > begun)
                return tries;
            CHECK_EQ(weft_sleep_ms(1), 0);
        }
    }
    CHECK(!"it never begins");
    return 0;
}

/* A task that has ended and whose stack is gone, then its job ends and is cleaned up. */
static int running_is_abandoned(void *arg)
{
    struct weft_group *g;
    struct gate gate;
    (void)arg;
    gate_init(&gate);
    struct caller *c = calloc(1, sizeof *c);
    CHECK(c != NULL);
    *c =
        (struct caller){.load = {&gate, 0}, .copy = true, .cleanup = clean, .deadline = WEFT_NEVER};
    start(&g, c);
    until(&gate.begun, 1);
    cancel_and_wait(&g); /* ends although the job does not */
    CHECK(c->returned);
    CHECK_EQ(c->result, -ECANCELED);
    CHECK_EQ(c->load.value, 0);
    free(c);
    CHECK_EQ(gate.ended, 0);
    sem_post(&gate.go);
    until(&gate.cleaned, 1);
    CHECK_EQ(gate.ended, 1);
    CHECK_EQ(gate.saw_cancel, 1);
    CHECK(!pthread_equal(atomic_load(&gate.cleaner), pthread_self()));

    struct load l = {&gate, 0};
    int cleaned = 1 + leave_running(&l, clean);
    CHECK_EQ(l.value, 0);
    sem_post(&gate.go);
    until(&gate.cleaned, cleaned);

    (void)leave_running(&l, NULL);
    sem_post(&gate.go);
    until(&gate.ended, 3);
    CHECK_EQ(gate.cleaned, cleaned);
    return 0;
}

static void test_running_is_abandoned(void **state)
{
    (void)state;
    on_loops((struct weft_options){0}, running_is_abandoned);
}

static int queued_is_abandoned(void *arg)
{
    struct weft_group *g;
    struct busy b;
    struct gate gate;
    (void)arg;
    gate_init(&gate);
    busy_open(&b);
    struct caller c = {.load = {&gate, 0}, .copy = true, .cleanup = clean, .deadline = WEFT_NEVER};
    start(&g, &c);
    cancel_and_wait(&g);
    CHECK_EQ(c.result, -ECANCELED);
    CHECK_EQ(weft_offload_copy(gated, &c.load, sizeof c.load, clean, weft_after_ms(1)), -ETIMEDOUT);
    CHECK_EQ(weft_offload_copy(gated, &c.load, sizeof c.load, NULL, weft_after_ms(1)),
             -ETIMEDOUT); /* nothing to clean up: gone at once */
    CHECK_EQ(gate.cleaned, 0);
    busy_close(&b);
    until(&gate.cleaned, 2);
    CHECK_EQ(gate.begun, 0);
    CHECK(!pthread_equal(atomic_load(&gate.cleaner), pthread_self()));
    return 0;
}

static void test_queued_is_abandoned(void **state)
{
    (void)state;
    on_loops((struct weft_options){.offload_threads = 1}, queued_is_abandoned);
}

/* The copy is the job's after every -ECANCELED, also when the call was refused. */
static int cancelled_before(void *arg)
{
    struct gate gate;
    struct weft_group *g = NULL;
    (void)arg;
    gate_init(&gate);
    struct caller c[2] = {
        {.load = {&gate, 0}, .deadline = WEFT_NEVER},
        {.load = {&gate, 0}, .copy = true, .cleanup = clean, .deadline = WEFT_NEVER},
    };
    CHECK_EQ(weft_group_open(&g), 0);
    CHECK_EQ(weft_group_go(g, "borrowed", call, &c[0]), 0);
    CHECK_EQ(weft_group_go(g, "copied", call, &c[1]), 0);
    cancel_and_wait(&g); /* before they have run at all */
    CHECK_EQ(c[0].result, -ECANCELED);
    CHECK_EQ(c[1].result, -ECANCELED);
    CHECK_EQ(gate.begun, 0);
    CHECK_EQ(gate.cleaned, 1);
    return 0;
}

static void test_cancelled_before(void **state)
{
    (void)state;
    on_loops((struct weft_options){0}, cancelled_before);
}

static int returns_its_value(struct weft_job *j, void *arg)
{
    struct load *l = arg;
    (void)j;
    add_one(&l->gate->begun);
    int result = l->value;
    l->value = 1;
    return result == -EIO ? result : weft__fail(result, "the job's own words");
}

static void clean_loudly(void *arg)
{
    clean(arg);
    CHECK_EQ(weft__fail(-EIO, "other words"), -EIO);
}

/* The caller cannot tell a code of the job's own from one that says that the job was abandoned. */
static int the_jobs_own_code(void *arg)
{
    struct gate gate;
    (void)arg;
    gate_init(&gate);
    struct load l = {&gate, -ETIMEDOUT};
    CHECK_EQ(weft_offload_copy(returns_its_value, &l, sizeof l, clean_loudly, WEFT_NEVER),
             -ETIMEDOUT);
    CHECK(strcmp(weft_error_detail(), "the job's own words") == 0);
    CHECK_EQ(gate.cleaned, 1);
    CHECK_EQ(l.value == 1, weft_loop_current() == NULL); /* on a plain thread there is no copy */
    l.value = -ECANCELED;
    CHECK_EQ(weft_offload_copy(returns_its_value, &l, sizeof l, clean_loudly, weft_after_s(60)),
             -ECANCELED);
    CHECK_EQ(gate.cleaned, 2);
    l.value = -ECANCELED;
    CHECK_EQ(weft_offload_copy(returns_its_value, &l, sizeof l, NULL, WEFT_NEVER), -ECANCELED);
    l.value = -EIO;
    CHECK_EQ(weft_offload_copy(returns_its_value, &l, sizeof l, clean, WEFT_NEVER), -EIO);
    CHECK_EQ(l.value, 1);
    CHECK_EQ(gate.begun, 4);
    CHECK_EQ(gate.cleaned, 2);
    return 0;
}

static void test_the_jobs_own_code(void **state)
{
    (void)state;
    on_loops((struct weft_options){0}, the_jobs_own_code);
    CHECK_EQ(the_jobs_own_code(NULL), 0);
}

static int shielded(void *arg)
{
    struct gate *g = arg;
    weft_shield(60000);
    struct load l = {g, 0};
    int r = weft_offload(gated, &l, WEFT_NEVER);
    weft_unshield();
    return r;
}

static int under_shield(void *arg)
{
    struct weft_group *g = NULL;
    struct weft_task *t = NULL;
    struct gate gate;
    int result = 0;
    (void)arg;
    gate_init(&gate);
    CHECK_EQ(weft_group_open(&g), 0);
    CHECK_EQ(weft_group_spawn(g, NULL, shielded, &gate, &t), 0);
    until(&gate.begun, 1);
    weft_group_cancel(g);
    CHECK_EQ(weft_yield(), 0);
    sem_post(&gate.go);
    CHECK_EQ(weft_task_join(&t, &result, WEFT_NEVER), 0);
    CHECK_EQ(result, 7);
    CHECK_EQ(gate.saw_cancel, 0);
    CHECK_EQ(weft_group_close(&g), 0);
    return 0;
}

static void test_under_shield(void **state)
{
    (void)state;
    on_loops((struct weft_options){0}, under_shield);
}

/* On a plain thread the job itself finds that the shield has ended. */
static int beyond_its_shield(void *arg)
{
    struct gate *g = arg;
    CHECK_EQ(weft_sleep_until(WEFT_NEVER), -ECANCELED);
    int64_t start = weft_now_ns();
    weft_shield(30);
    CHECK_EQ(weft_offload(until_canceled, g, WEFT_NEVER), 0);
    CHECK(weft_now_ns() >= start + weft_ms(30));
    weft_unshield();
    CHECK_EQ(weft_offload(until_canceled, g, WEFT_NEVER), -ECANCELED);
    CHECK_EQ(g->ended, 1);
    return 0;
}

static void test_beyond_a_threads_shield(void **state)
{
    struct weft_group *g = NULL;
    struct gate gate;
    (void)state;
    gate_init(&gate);
    CHECK_EQ(weft_group_open(&g), 0);
    CHECK_EQ(weft_group_go(g, "shielded", beyond_its_shield, &gate), 0);
    weft_group_cancel(g);
    CHECK_EQ(weft_group_wait(g, weft_after_s(60)), 0);
    CHECK_EQ(weft_group_close(&g), 0);
}

/* Time-outs that strike at any moment of a job's life. */
static int race_many(void *arg)
{
    struct gate *g = arg;
    for (int i = 0; i < 300; i++) {
        struct load l = {g, 0};
        sem_post(&g->go);
        int r = weft_offload_copy(gated, &l, sizeof l, clean, weft_after_us(i % 40));
        if (r == 7 ? l.value != 100 : r != -ETIMEDOUT || l.value != 0)
            return -EPROTO;
        if (r == 7)
            add_one(&g->cleaned); /* by us, then */
    }
    return 0;
}

static int race(void *arg)
{
    struct weft_group *g = NULL;
    struct gate gate;
    (void)arg;
    gate_init(&gate);
    CHECK_EQ(weft_group_open(&g), 0);
    for (int i = 0; i < 8; i++)
        CHECK_EQ(weft_group_go(g, "race", race_many, &gate), 0);
    CHECK_EQ(weft_group_wait(g, WEFT_NEVER), 0);
    CHECK_EQ(weft_group_close(&g), 0);
    until(&gate.cleaned, 8 * 300); /* each exactly once */
    CHECK_EQ(gate.cleaned, 8 * 300);
    return 0;
}

static void test_race(void **state)
{
    (void)state;
    on_loops((struct weft_options){.offload_threads = 2}, race);
}

static struct gate last;

static int leave_job_behind(void *arg)
{
    struct load l = {&last, 0};
    (void)arg;
    CHECK_EQ(weft_offload_copy(gated, &l, sizeof l, clean, weft_after_ms(1)), -ETIMEDOUT);
    CHECK_EQ(weft_offload_copy(gated, &l, sizeof l, clean, weft_after_ms(1)), -ETIMEDOUT);
    sem_post(&last.go);
    return 0;
}

static void test_close_waits(void **state)
{
    const char *const drivers[] = {"epoll", "uring"};
    (void)state;
    for (size_t i = 0; i < WEFT__ARRAY_LEN(drivers); i++) {
        struct weft_options o = {.driver = drivers[i], .offload_threads = 1};
        gate_init(&last);
        int err = weft_run(&o, leave_job_behind, NULL);
        if (err == -ENOSYS)
            continue;
        CHECK_EQ(err, 0);
        CHECK_EQ(last.ended, last.begun);
        CHECK_EQ(last.cleaned, 2); /* one never ran, or began too late to be stopped */
    }
}

int main(void)
{
    kit_open();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_queued_is_dropped),
        cmocka_unit_test(test_running_is_told),
        cmocka_unit_test(test_running_is_abandoned),
        cmocka_unit_test(test_queued_is_abandoned),
        cmocka_unit_test(test_cancelled_before),
        cmocka_unit_test(test_the_jobs_own_code),
        cmocka_unit_test(test_under_shield),
        cmocka_unit_test(test_beyond_a_threads_shield),
        cmocka_unit_test(test_race),
        cmocka_unit_test(test_close_waits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
