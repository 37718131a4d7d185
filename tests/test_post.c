/* SPDX-License-Identifier: MIT */
/*
 * Tests of weft_post_mt: order, bound, what a posted function may do, posts from many threads while
 * the loop does other things.
 */
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>

#include <weft/weft.h>

#include "base/alloc.h"
#include "rt_kit.h"

/* Runs fn in a loop of each driver that this machine has, or of the one that WEFT_DRIVER names. */
static void on_loops(struct weft_options o, weft_fn fn)
{
    static const char *const drivers[] = {"epoll", "uring"};
    const char *only = getenv("WEFT_DRIVER");
    for (size_t i = 0; i < WEFT__ARRAY_LEN(drivers); i++) {
        if (only != NULL && only[0] != '\0' && strcmp(only, drivers[i]) != 0)
            continue;
        o.driver = drivers[i];
        int result = weft_run(&o, fn, NULL);
        if (result != -ENOSYS)
            CHECK_EQ(result, 0);
    }
}

static void count(void *arg)
{
    ++*(int *)arg;
}

/* --- One thread ------------------------------------------------------------------------------- */

static int later_not_now(void *arg)
{
    int n = 0;
    (void)arg;
    CHECK_EQ(weft_post_mt(weft_loop_current(), count, &n), 0);
    CHECK_EQ(n, 0); /* in its turn, not in the call */
    while (n == 0)
        CHECK_EQ(weft_yield(), 0);
    CHECK_EQ(n, 1);
    CHECK_EQ(weft_post_mt(NULL, count, &n), -EINVAL);
    CHECK_EQ(weft_post_mt(weft_loop_current(), NULL, &n), -EINVAL);
    return 0;
}

static void test_later_not_now(void **state)
{
    (void)state;
    on_loops((struct weft_options){0}, later_not_now);
}

static int bound(void *arg)
{
    struct weft_loop *l = weft_loop_current();
    int n = 0;
    (void)arg;
    for (int round = 0; round < 3; round++) {
        n = 0;
        for (int i = 0; i < 10; i++)
            CHECK_EQ(weft_post_mt(l, count, &n), 0);
        CHECK_EQ(weft_post_mt(l, count, &n), WEFT_ELIMIT);
        CHECK(strcmp(weft_error_detail(), "post_capacity: 10 posts wait") == 0);
        while (n < 10)
            CHECK_EQ(weft_yield(), 0);
    }
    CHECK_EQ(n, 10);
    return 0;
}

static void test_bound(void **state)
{
    (void)state;
    on_loops((struct weft_options){.post_capacity = 10}, bound);
}

/* --- What a posted function may do ------------------------------------------------------------ */

struct may {
    struct weft_loop *loop;
    struct weft_group *group;
    int sleeps, yields, goes, posts, tasks;
    bool on_loop;
};

static int posted_task(void *arg)
{
    struct may *m = arg;
    int err = weft_sleep_ms(1); /* a task may wait */
    m->tasks++;
    return err;
}

static void posted_again(void *arg)
{
    struct may *m = arg;
    m->posts++;
}

static void tries(void *arg)
{
    struct may *m = arg;
    m->on_loop = weft_loop_current() == m->loop;
    m->sleeps = weft_sleep_ms(1);
    m->yields = weft_yield();
    m->goes = weft_group_go(m->group, "posted", posted_task, m);
    /* The place of the post that runs is free again, also at a capacity of one. */
    m->posts = weft_post_mt(m->loop, posted_again, m) == 0 ? 1 : -1;
}

static int may(void *arg)
{
    struct may m = {.loop = weft_loop_current()};
    (void)arg;
    CHECK_EQ(weft_group_open(&m.group), 0);
    CHECK_EQ(weft_post_mt(m.loop, tries, &m), 0);
    while (m.posts < 2)
        CHECK_EQ(weft_yield(), 0);
    CHECK(m.on_loop);
    CHECK_EQ(m.sleeps, -EDEADLK);
    CHECK_EQ(m.yields, -EDEADLK);
    CHECK_EQ(m.goes, 0);
    CHECK_EQ(weft_group_wait(m.group, WEFT_NEVER), 0);
    CHECK_EQ(m.tasks, 1);
    CHECK_EQ(weft_group_close(&m.group), 0);
    return 0;
}

static void test_may(void **state)
{
    (void)state;
    on_loops((struct weft_options){.post_capacity = 1}, may);
}

/* --- Many threads ----------------------------------------------------------------------------- */

enum { THREADS = 4, EACH = 100000 };

/* Of each thread; valgrind runs one thread at a time, and slowly. */
static int each(void)
{
    return RUNNING_ON_VALGRIND ? EACH / 50 : EACH;
}

struct poster;
struct message {
    struct poster *from;
    int n;
};

struct poster {
    pthread_t id;
    struct weft_loop *loop;
    struct message messages[EACH];
    int next; /* on the loop's thread: which message should come */
    int disorder;
    _Atomic int failed; /* codes that no post should return */
};

static struct poster posters[THREADS];

static void take(void *arg)
{
    const struct message *m = arg;
    if (m->n != m->from->next)
        m->from->disorder++;
    m->from->next = m->n + 1;
}

static void *post_all(void *arg)
{
    struct poster *p = arg;
    for (int i = 0; i < each(); i++) {
        p->messages[i] = (struct message){p, i};
        for (;;) {
            int err = weft_post_mt(p->loop, take, &p->messages[i]);
            if (err == 0)
                break;
            if (err != WEFT_ELIMIT)
                atomic_fetch_add(&p->failed, 1);
            sched_yield();
        }
    }
    return NULL;
}

static bool all_taken(void)
{
    for (int i = 0; i < THREADS; i++)
        if (posters[i].next < each())
            return false;
    return true;
}

/* The loop lives meanwhile: a ticker ticks, tasks run. */
static int many_threads(void *arg)
{
    struct weft_loop_stats stats;
    struct weft_ticker ticker;
    int ticks = 0;
    (void)arg;
    memset(posters, 0, sizeof posters);
    for (int i = 0; i < THREADS; i++) {
        posters[i].loop = weft_loop_current();
        CHECK_EQ(pthread_create(&posters[i].id, NULL, post_all, &posters[i]), 0);
    }
    weft_ticker_init(&ticker, 1);
    while (!all_taken()) {
        CHECK(weft_ticker_wait(&ticker) > 0);
        ticks++;
    }
    CHECK(ticks > 1);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(posters[i].id, NULL);
        CHECK_EQ(posters[i].next, each());
        CHECK_EQ(posters[i].disorder, 0);
        CHECK_EQ(posters[i].failed, 0);
    }
    CHECK_EQ(weft_loop_stats(weft_loop_current(), &stats), 0);
    CHECK_EQ(stats.posts, THREADS * each());
    return 0;
}

static void test_many_threads(void **state)
{
    (void)state;
    on_loops((struct weft_options){0}, many_threads);
}

struct ping {
    struct weft_loop *loop;
    struct weft_group *sleepers;
    sem_t got;
    int count, failed;
};

static void got(void *arg)
{
    struct ping *p = arg;
    p->count++;
    sem_post(&p->got);
}

static void finish(void *arg)
{
    struct ping *p = arg;
    weft_group_cancel(p->sleepers);
}

static void *one_by_one(void *arg)
{
    struct ping *p = arg;
    for (int i = 0; i < 2000; i++) {
        if (weft_post_mt(p->loop, got, p) != 0)
            p->failed++;
        while (sem_wait(&p->got) < 0)
            ;
    }
    if (weft_post_mt(p->loop, finish, p) != 0)
        p->failed++;
    return NULL;
}

static int sleeper(void *arg)
{
    (void)arg;
    return weft_sleep_until(WEFT_NEVER);
}

/* Each post wakes a loop that waits for nothing else. */
static int wakes(void *arg)
{
    struct ping p = {.loop = weft_loop_current()};
    pthread_t id;
    (void)arg;
    sem_init(&p.got, 0, 0);
    CHECK_EQ(weft_group_open(&p.sleepers), 0);
    CHECK_EQ(weft_group_go(p.sleepers, "sleeper", sleeper, NULL), 0);
    CHECK_EQ(pthread_create(&id, NULL, one_by_one, &p), 0);
    CHECK_EQ(weft_group_wait(p.sleepers, WEFT_NEVER), 0);
    pthread_join(id, NULL);
    CHECK_EQ(p.failed, 0);
    CHECK_EQ(p.count, 2000);
    sem_destroy(&p.got);
    CHECK_EQ(weft_group_close(&p.sleepers), 0);
    return 0;
}

static void test_wakes(void **state)
{
    (void)state;
    on_loops((struct weft_options){0}, wakes);
}

/* What was posted before the last task ended is called before the loop is closed. */
static int left_over;

static int leaves_some(void *arg)
{
    (void)arg;
    for (int i = 0; i < 5; i++)
        CHECK_EQ(weft_post_mt(weft_loop_current(), count, &left_over), 0);
    return 0;
}

static void test_left_over(void **state)
{
    struct weft_loop *l = NULL;
    (void)state;
    left_over = 0;
    CHECK_EQ(weft_run(NULL, leaves_some, NULL), 0);
    CHECK_EQ(left_over, 5);

    /* With a loop that another one drives. */
    CHECK_EQ(weft_loop_open(&l, NULL), 0);
    CHECK_EQ(weft_post_mt(l, count, &left_over), 0);
    CHECK_EQ(left_over, 5);
    CHECK_EQ(weft_loop_step(l, WEFT_NOW), 0);
    CHECK_EQ(left_over, 6);
    weft_loop_close(&l);
}

static int no_memory(void *arg)
{
    int n = 0;
    (void)arg;
    weft__alloc_fail_at(1);
    CHECK_EQ(weft_post_mt(weft_loop_current(), count, &n), -ENOMEM);
    weft__alloc_fail_at(0);
    /* The place that it had taken is free again. */
    CHECK_EQ(weft_post_mt(weft_loop_current(), count, &n), 0);
    while (n == 0)
        CHECK_EQ(weft_yield(), 0);
    return 0;
}

static void test_no_memory(void **state)
{
    (void)state;
    on_loops((struct weft_options){.post_capacity = 1}, no_memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_later_not_now), cmocka_unit_test(test_bound),
        cmocka_unit_test(test_may),           cmocka_unit_test(test_many_threads),
        cmocka_unit_test(test_wakes),         cmocka_unit_test(test_left_over),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
