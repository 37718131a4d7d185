/* SPDX-License-Identifier: MIT */
/* Tests of single tasks: spawn, join, cancel, yield, clean-up, sleep, ticker, deadlines. */
#include "rt_kit.h"

static int return_value(void *arg)
{
    return *(int *)arg;
}

static int add_one(void *arg)
{
    ++*(int *)arg;
    return 0;
}

/* --- Spawn --------------------------------------------------------------------------------- */

static int begins_when_the_caller_waits(void *arg)
{
    struct weft_group *g = kit_group();
    int n = 0;
    (void)arg;
    kit_go(g, "one", add_one, &n);
    kit_go(g, "two", add_one, &n);
    CHECK_EQ(n, 0);
    CHECK_EQ(weft_group_count(g), 2);
    CHECK_EQ(weft_yield(), 0);
    CHECK_EQ(n, 2);
    CHECK_EQ(weft_group_count(g), 0);
    return weft_group_close(&g);
}

static int wants_proper_arguments(void *arg)
{
    struct weft_group *g = kit_group();
    struct weft_task *t = (struct weft_task *)&g;
    char big[1025] = {0};
    struct weft_task_options o = {.copy = sizeof big};
    (void)arg;
    CHECK_EQ(weft_group_go(NULL, "x", kit_nothing, NULL), -EINVAL);
    CHECK_EQ(weft_group_go(g, "x", NULL, NULL), -EINVAL);
    CHECK_EQ(weft_group_spawn(g, &o, kit_nothing, big, &t), -EINVAL);
    CHECK(strstr(weft_error_detail(), "1025") != NULL);
    CHECK(t == (struct weft_task *)&g);
    CHECK_EQ(weft_group_count(g), 0);
    CHECK_EQ(weft_group_go(g, NULL, kit_nothing, NULL), 0);
    CHECK_EQ(weft_group_spawn(g, NULL, kit_nothing, NULL, NULL), 0);
    return weft_group_close(&g);
}

struct copied {
    char bytes[1024];
};

static int sees_copy(void *arg)
{
    struct copied *c = arg;
    CHECK_EQ((uintptr_t)arg % 16, 0);
    for (size_t i = 0; i < sizeof c->bytes; i++)
        CHECK_EQ(c->bytes[i], (char)(i * 7));
    memset(c, 0, sizeof *c); /* its own */
    return 0;
}

static int copies_the_argument(void *arg)
{
    struct weft_group *g = kit_group();
    struct copied c;
    (void)arg;
    for (size_t i = 0; i < sizeof c.bytes; i++)
        c.bytes[i] = (char)(i * 7);
    struct weft_task_options o = {.name = "copy", .copy = sizeof c};
    for (int i = 0; i < 3; i++)
        CHECK_EQ(weft_group_spawn(g, &o, sees_copy, &c, NULL), 0);
    memset(&c, 1, sizeof c);
    CHECK_EQ(weft_group_wait(g, WEFT_NEVER), 0);
    CHECK_EQ(c.bytes[0], 1);
    return weft_group_close(&g);
}

static int spawns_to_the_limit(void *arg)
{
    struct weft_group *g = kit_group();
    int n = 0, err;
    (void)arg;
    while ((err = weft_group_go(g, "parked", kit_sleep_long, NULL)) == 0)
        n++;
    CHECK_EQ(err, WEFT_ELIMIT);
    CHECK_EQ(n, 9); /* and the one that runs */
    CHECK_EQ(weft_group_close(&g), 0);
    g = kit_group();
    CHECK_EQ(weft_group_go(g, "parked", kit_sleep_long, NULL), 0);
    return weft_group_close(&g);
}

static void max_tasks(const char *driver)
{
    struct weft_options o = {.driver = driver, .max_tasks = 10};
    CHECK_EQ(weft_run(&o, spawns_to_the_limit, NULL), 0);
}

static void *foreign_thread(void *arg)
{
    struct weft_group *g = arg;
    CHECK_EQ(weft_group_go(g, "x", kit_nothing, NULL), WEFT_ETHREAD);
    CHECK_EQ(weft_group_wait(g, WEFT_NOW), WEFT_ETHREAD);
    CHECK_EQ(weft_group_deadline(g, WEFT_NEVER), WEFT_ETHREAD);
    CHECK_EQ(weft_group_close(&g), WEFT_ETHREAD);
    return NULL;
}

static int belongs_to_its_thread(void *arg)
{
    struct weft_group *g = kit_group();
    pthread_t t;
    (void)arg;
    CHECK_EQ(pthread_create(&t, NULL, foreign_thread, g), 0);
    CHECK_EQ(pthread_join(t, NULL), 0);
    return weft_group_close(&g);
}

static int has_a_name(void *arg)
{
    const char *name = arg;
    CHECK(strcmp(weft_task_name(), name) == 0);
    return 0;
}

static int names(void *arg)
{
    struct weft_group *g = kit_group();
    (void)arg;
    CHECK(strcmp(weft_task_name(), "main") == 0);
    kit_go(g, "Anna", has_a_name, "Anna");
    kit_go(g, NULL, has_a_name, "task");
    CHECK_EQ(weft_group_wait(g, WEFT_NEVER), 0);
    return weft_group_close(&g);
}

/* --- Join, release, cancel ----------------------------------------------------------------- */

static int fails_with_detail(void *arg)
{
    (void)arg;
    CHECK_EQ(weft_yield(), 0);
    return weft__fail(-EIO, "block %d is bad", 7);
}

static int join_brings_the_result(void *arg)
{
    struct weft_group *g = kit_group();
    int value = 42, got = 0;
    (void)arg;
    struct weft_task *t = kit_spawn(g, "value", return_value, &value);
    CHECK_EQ(weft_task_join(&t, &got, WEFT_NEVER), 0);
    CHECK(t == NULL && got == 42);
    t = kit_spawn(g, "value", return_value, &value);
    CHECK_EQ(weft_task_join(&t, NULL, WEFT_NEVER), 0);

    /* Ended long ago; a deadline that has passed does not matter then. */
    t = kit_spawn(g, "value", return_value, &value);
    kit_settle();
    got = 0;
    CHECK_EQ(weft_task_join(&t, &got, WEFT_NOW), 0);
    CHECK_EQ(got, 42);
    CHECK_EQ(weft_group_close(&g), 0);

    g = kit_group();
    struct weft_task_options o = {.name = "fails", .keep_errors = true};
    CHECK_EQ(weft_group_spawn(g, &o, fails_with_detail, NULL, &t), 0);
    CHECK_EQ(weft_task_join(&t, &got, WEFT_NEVER), 0);
    CHECK_EQ(got, -EIO);
    CHECK(strcmp(weft_error_detail(), "block 7 is bad") == 0);
    CHECK_EQ(weft_group_wait(g, WEFT_NEVER), 0); /* kept from the group */
    return weft_group_close(&g);
}

struct joiner {
    struct weft_task **t;
    int result;
};

static int joins(void *arg)
{
    struct joiner *j = arg;
    j->result = weft_task_join(j->t, NULL, WEFT_NEVER);
    return 0;
}

static void join_in_callback(void *arg)
{
    struct weft_task **t = arg;
    CHECK_EQ(weft_task_join(t, NULL, WEFT_NOW), -EDEADLK);
    CHECK(*t != NULL);
}

static int join_can_fail(void *arg)
{
    struct weft_group *g = kit_group();
    struct weft_task *t = kit_spawn(g, "parked", kit_sleep_long, NULL);
    struct weft_task *self = NULL, *joining;
    struct joiner j = {.t = &t}, k = {.t = &self};
    weft_deadline d = weft_after_ms(3);
    int result = 1;
    (void)arg;
    CHECK_EQ(weft_task_join(&t, &result, WEFT_NOW), -ETIMEDOUT);
    CHECK_EQ(weft_task_join(&t, &result, d), -ETIMEDOUT);
    CHECK(t != NULL && result == 1 && weft_now_ns() >= d.ns);
    joining = kit_spawn(g, "joiner", joins, &j);
    kit_settle();
    CHECK_EQ(weft_task_join(&t, &result, WEFT_NEVER), -EBUSY);
    weft_task_cancel(joining);
    CHECK_EQ(weft_task_join(&joining, NULL, WEFT_NEVER), 0);
    CHECK_EQ(j.result, -ECANCELED);
    CHECK(t != NULL);
    kit_as_callback(join_in_callback, &t);
    self = kit_spawn(g, "self", joins, &k);
    kit_settle();
    CHECK_EQ(k.result, -EDEADLK);
    CHECK_EQ(weft_task_join(&self, NULL, WEFT_NEVER), 0);
    weft_task_cancel(t);
    CHECK_EQ(weft_task_join(&t, &result, WEFT_NEVER), 0);
    CHECK_EQ(result, -ECANCELED);
    CHECK_EQ(weft_group_wait(g, WEFT_NEVER), 0); /* a cancel is no error of the group */
    return weft_group_close(&g);
}

static int cancels_one_alone(void *arg)
{
    struct weft_group *g = kit_group();
    struct weft_task *a = kit_spawn(g, "a", kit_sleep_long, NULL);
    struct weft_task *b = kit_spawn(g, "b", kit_sleep_long, NULL);
    int result = 0;
    (void)arg;
    kit_settle();
    weft_task_cancel(NULL);
    weft_task_cancel(a);
    weft_task_cancel(a);
    CHECK_EQ(weft_task_join(&a, &result, WEFT_NEVER), 0);
    CHECK_EQ(result, -ECANCELED);
    kit_settle();
    CHECK_EQ(weft_group_count(g), 1);
    CHECK_EQ(weft_group_wait(g, WEFT_NOW), -ETIMEDOUT);
    weft_task_release(&b);
    CHECK(b == NULL);
    a = kit_spawn(g, "ended", kit_nothing, NULL);
    kit_settle();
    weft_task_cancel(a); /* nothing to cancel */
    weft_task_release(&a);
    weft_task_release(&a);
    return weft_group_close(&g);
}

/* --- Yield and fairness -------------------------------------------------------------------- */

struct turns {
    char text[16];
    size_t len;
};

static int takes_turns(void *arg)
{
    struct turns *t = arg;
    for (int i = 0; i < 3; i++) {
        t->text[t->len++] = weft_task_name()[0];
        CHECK_EQ(weft_yield(), 0);
    }
    return 0;
}

static int yield_takes_turns(void *arg)
{
    struct turns t = {.len = 0};
    struct weft_group *g = kit_group();
    (void)arg;
    kit_go(g, "a", takes_turns, &t);
    kit_go(g, "b", takes_turns, &t);
    kit_go(g, "c", takes_turns, &t);
    CHECK_EQ(weft_group_wait(g, WEFT_NEVER), 0);
    CHECK(strcmp(t.text, "abcabcabc") == 0);
    return weft_group_close(&g);
}

static void waits_in_callback(void *arg)
{
    struct weft_ticker t;
    (void)arg;
    weft_ticker_init(&t, 1);
    CHECK_EQ(weft_yield(), -EDEADLK);
    CHECK_EQ(weft_sleep_ms(1), -EDEADLK);
    CHECK_EQ(weft_sleep_until(WEFT_NOW), -EDEADLK);
    CHECK_EQ(weft_ticker_wait(&t), -EDEADLK);
    CHECK_EQ(weft_canceled(), 0);
    CHECK_EQ(weft_run(NULL, kit_nothing, NULL), -EDEADLK);
    CHECK_EQ(weft_defer(free, NULL), -EINVAL);
    CHECK(weft_task_alloc(1) == NULL);
}

static int callbacks_do_not_wait(void *arg)
{
    (void)arg;
    kit_as_callback(waits_in_callback, NULL);
    return 0;
}

static int yields_for_ever(void *arg)
{
    int err;
    while ((err = weft_yield()) == 0)
        ++*(int *)arg;
    return err;
}

/* Timers and other threads get their turn beside tasks that are always ready. */
static int ready_tasks_do_not_stop_the_clock(void *arg)
{
    struct weft_group *g = kit_group();
    int turns = 0;
    (void)arg;
    for (int i = 0; i < 3; i++)
        kit_go(g, "busy", yields_for_ever, &turns);
    CHECK_EQ(weft_sleep_ms(2), 0);
    CHECK(turns > 0);
    return weft_group_close(&g);
}

/* --- Clean-up ------------------------------------------------------------------------------ */

struct cleanup {
    struct turns t;
    int waited;
    unsigned char *memory;
};

static void defer_a(void *arg)
{
    struct cleanup *c = arg;
    c->t.text[c->t.len++] = 'a';
}

static void defer_nested(void *arg)
{
    struct cleanup *c = arg;
    c->t.text[c->t.len++] = 'n';
    CHECK_EQ(weft_defer(defer_a, c), 0); /* runs next */
}

static void defer_waits(void *arg)
{
    struct cleanup *c = arg;
    c->t.text[c->t.len++] = 'w';
    CHECK_EQ(weft_canceled(), 0);
    c->waited = weft_sleep_ms(1);
    for (int i = 0; i < 100; i++)
        CHECK_EQ(c->memory[i], 0x5A); /* freed after all deferred calls */
}

static int deferring(void *arg)
{
    struct cleanup *c = arg;
    c->memory = weft_task_alloc(100);
    CHECK(c->memory != NULL);
    CHECK_EQ((uintptr_t)c->memory % _Alignof(max_align_t), 0);
    memset(c->memory, 0x5A, 100);
    CHECK(weft_task_alloc(0) != NULL);
    CHECK(weft_task_alloc(SIZE_MAX) == NULL);
    CHECK_EQ(weft_defer(NULL, c), -EINVAL);
    CHECK_EQ(weft_defer(defer_a, c), 0);
    CHECK_EQ(weft_defer(defer_waits, c), 0);
    CHECK_EQ(weft_defer(defer_nested, c), 0);
    return weft_sleep_until(WEFT_NEVER);
}

static int defers_run_last_in_first_out(void *arg)
{
    struct weft_group *g = kit_group();
    struct cleanup c = {.waited = 1};
    int result;
    (void)arg;
    struct weft_task *t = kit_spawn(g, "deferring", deferring, &c);
    kit_settle();
    CHECK_EQ(c.t.len, 0);
    weft_task_cancel(t);
    CHECK_EQ(weft_task_join(&t, &result, WEFT_NEVER), 0);
    CHECK_EQ(result, -ECANCELED);
    CHECK(strcmp(c.t.text, "nawa") == 0);
    CHECK_EQ(c.waited, 0);

    c = (struct cleanup){.waited = 1};
    kit_go(g, "deferring", deferring, &c);
    kit_settle();
    CHECK_EQ(weft_group_close(&g), 0); /* the group waits for the clean-up */
    CHECK(strcmp(c.t.text, "nawa") == 0);
    return 0;
}

static int defer_in_main(void *arg)
{
    return weft_defer(defer_a, arg);
}

static void defer_in_a_main_task(const char *driver)
{
    struct cleanup c = {.waited = 0};
    struct weft_options o = {.driver = driver};
    CHECK_EQ(weft_run(&o, defer_in_main, &c), 0);
    CHECK_EQ(c.t.len, 1);
    CHECK_EQ(weft_defer(defer_a, &c), -EINVAL); /* a plain thread of its own */
    CHECK(weft_task_alloc(1) == NULL);
}

/* --- Time ---------------------------------------------------------------------------------- */

static int deadlines(void *arg)
{
    int64_t now = weft_now_ns();
    (void)arg;
    CHECK(weft_after_ns(5).ns >= now + 5);
    CHECK(weft_after_us(5).ns >= now + 5000);
    CHECK(weft_after_ms(5).ns >= now + 5000000);
    CHECK(weft_after_s(5).ns >= now + 5000000000);
    CHECK(weft_after_s(5).ns < now + 10000000000);
    CHECK_EQ(weft_after_ns(-1).ns, 0);
    CHECK_EQ(weft_after_s(-1).ns, 0);
    CHECK_EQ(weft_after_s(INT64_MIN).ns, 0);
    CHECK_EQ(weft_after_ns(INT64_MIN).ns, 0);
    CHECK_EQ(weft_after_ns(INT64_MAX).ns, INT64_MAX);
    CHECK_EQ(weft_after_us(INT64_MAX).ns, INT64_MAX);
    CHECK_EQ(weft_after_ms(INT64_MAX).ns, INT64_MAX);
    CHECK_EQ(weft_after_s(INT64_MAX / 1000000000).ns, INT64_MAX);
    CHECK_EQ(weft_earlier(WEFT_NOW, WEFT_NEVER).ns, 0);
    CHECK_EQ(weft_earlier(WEFT_NEVER, WEFT_NOW).ns, 0);
    CHECK_EQ(weft_left_ns(WEFT_NEVER), INT64_MAX);
    CHECK_EQ(weft_left_ns(WEFT_NOW), 0);
    CHECK_EQ(weft_left_ns((weft_deadline){INT64_MIN}), 0);
    int64_t left = weft_left_ns(weft_after_s(60));
    CHECK(left > 0 && left <= 60000000000);
    return 0;
}

struct sleeper {
    weft_deadline d;
    int *order;
    int place;
};

static int sleeps(void *arg)
{
    struct sleeper *s = arg;
    CHECK_EQ(weft_sleep_until(s->d), 0);
    int64_t now = weft_now_ns();
    CHECK(now >= s->d.ns); /* never early */
    if (!KIT_SLOW)
        CHECK(now < s->d.ns + 500 * 1000000LL);
    s->place = (*s->order)++;
    return 0;
}

static int sleep_order(void *arg)
{
    static const int ms[] = {7, 1, 5, 3, 9, 0, -3, 2};
    enum { N = sizeof ms / sizeof ms[0] };
    struct weft_group *g = kit_group();
    struct sleeper s[N];
    int order = 0;
    int64_t start = weft_now_ns();
    (void)arg;
    for (int i = 0; i < N; i++) {
        s[i] = (struct sleeper){.d = {start + ms[i] * 1000000}, .order = &order};
        kit_go(g, "sleeper", sleeps, &s[i]);
    }
    CHECK_EQ(weft_group_wait(g, WEFT_NEVER), 0);
    for (int i = 0; i < N; i++) {
        int before = 0;
        for (int k = 0; k < N; k++)
            before += ms[k] < ms[i];
        CHECK_EQ(s[i].place, before);
    }
    CHECK_EQ(weft_sleep_until(WEFT_NOW), 0);
    CHECK_EQ(weft_sleep_until((weft_deadline){INT64_MIN}), 0);
    CHECK_EQ(weft_sleep_ms(-5), 0);
    return weft_group_close(&g);
}

static int sleep_precision(void *arg)
{
    int64_t worst = INT64_MAX;
    (void)arg;
    for (int i = 0; i < 20; i++) {
        weft_deadline d = weft_after_us(700);
        CHECK_EQ(weft_sleep_until(d), 0);
        int64_t late = weft_now_ns() - d.ns;
        CHECK(late >= 0);
        if (late < worst)
            worst = late;
    }
    /* At its best within a tick of the wheel and what the machine takes to wake. */
    if (!KIT_SLOW)
        CHECK(worst < 1000000);
    return 0;
}

static int ticker(void *arg)
{
    struct weft_ticker t;
    (void)arg;
    int64_t start = weft_now_ns();
    weft_ticker_init(&t, 4);
    int64_t due = t.next_ns;
    CHECK(due >= start + 4000000);
    int64_t n = weft_ticker_wait(&t);
    CHECK(n >= 1 && weft_now_ns() >= due);
    CHECK_EQ(t.next_ns, due + n * 4000000); /* the phase is kept */
    CHECK_EQ(weft_sleep_until((weft_deadline){t.next_ns + 9000000}), 0);
    n = weft_ticker_wait(&t);
    CHECK(n >= 3); /* at once, and those that were missed are counted */
    CHECK_EQ((t.next_ns - due) % 4000000, 0);
    CHECK(t.next_ns > weft_now_ns() || KIT_SLOW);
    return 0;
}

/* The next tick of the longest period lies beyond the last moment there is. */
static int ticker_of_ages(void *arg)
{
    struct weft_ticker t;
    (void)arg;
    weft_ticker_init(&t, INT64_MAX / 1000000 - 1);
    CHECK_EQ(t.next_ns, INT64_MAX);
    t.next_ns = weft_now_ns();
    CHECK_EQ(weft_ticker_wait(&t), 1);
    CHECK_EQ(t.next_ns, INT64_MAX);
    return 0;
}

static void plain_thread(const char *driver)
{
    struct weft_ticker t;
    weft_deadline d = weft_after_ms(2);
    (void)driver;
    CHECK(weft_loop_current() == NULL);
    CHECK(strcmp(weft_driver_name(), "block") == 0);
    CHECK_EQ(weft_yield(), 0);
    CHECK_EQ(weft_canceled(), 0);
    CHECK_EQ(weft_sleep_until(d), 0);
    CHECK(weft_now_ns() >= d.ns);
    CHECK_EQ(weft_sleep_ms(-1), 0);
    weft_ticker_init(&t, 1);
    CHECK(weft_ticker_wait(&t) >= 1);
    CHECK(weft_task_name() != NULL);
}

static const struct kit_case cases[] = {
    IN_TASK(begins_when_the_caller_waits),
    IN_TASK(wants_proper_arguments),
    IN_TASK(copies_the_argument),
    ON_THREAD(max_tasks),
    IN_TASK(belongs_to_its_thread),
    IN_TASK(names),
    IN_TASK(join_brings_the_result),
    IN_TASK(join_can_fail),
    IN_TASK(cancels_one_alone),
    IN_TASK(yield_takes_turns),
    IN_TASK(callbacks_do_not_wait),
    IN_TASK(ready_tasks_do_not_stop_the_clock),
    IN_TASK(defers_run_last_in_first_out),
    ON_THREAD(defer_in_a_main_task),
    IN_TASK(deadlines),
    IN_TASK(sleep_order),
    IN_TASK(sleep_precision),
    IN_TASK(ticker),
    IN_TASK(ticker_of_ages),
    ON_THREAD(plain_thread),
};

KIT_MAIN(cases)
