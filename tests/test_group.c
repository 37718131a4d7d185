/* SPDX-License-Identifier: MIT */
/* Tests of groups of tasks: the first error, waiting, deadlines, closing, depth and number. */
#include <sys/resource.h>

#include "rt_kit.h"

static int fails_at_once(void *arg)
{
    return weft__fail(*(int *)arg, "cause %d", *(int *)arg);
}

static int fails_when_canceled(void *arg)
{
    CHECK_EQ(weft_sleep_until(WEFT_NEVER), -ECANCELED);
    return weft__fail(*(int *)arg, "a consequence");
}

static int counts_its_cancel(void *arg)
{
    int err = weft_sleep_until(WEFT_NEVER);
    CHECK_EQ(err, -ECANCELED);
    ++*(int *)arg;
    return err;
}

/* --- Waiting and errors -------------------------------------------------------------------- */

static int empty_groups(void *arg)
{
    struct weft_group *g = NULL;
    (void)arg;
    CHECK_EQ(weft_group_close(&g), 0);
    g = kit_group();
    CHECK_EQ(weft_group_count(g), 0);
    CHECK_EQ(weft_group_wait(g, WEFT_NOW), 0);
    CHECK_EQ(weft_group_wait(g, WEFT_NEVER), 0);
    CHECK_EQ(weft_group_close(&g), 0);
    CHECK(g == NULL);
    return 0;
}

static int waits_for_every_member(void *arg)
{
    struct weft_group *g = kit_group();
    (void)arg;
    for (int i = 0; i < 5; i++)
        kit_go(g, "nothing", kit_nothing, NULL);
    CHECK_EQ(weft_group_wait(g, WEFT_NOW), -ETIMEDOUT);
    CHECK_EQ(weft_group_wait(g, WEFT_NEVER), 0);
    CHECK_EQ(weft_group_count(g), 0);
    kit_go(g, "parked", kit_sleep_long, NULL);
    weft_deadline d = weft_after_ms(3);
    CHECK_EQ(weft_group_wait(g, d), -ETIMEDOUT);
    CHECK(weft_now_ns() >= d.ns);
    CHECK_EQ(weft_group_count(g), 1); /* it lives on */
    CHECK_EQ(weft_group_go(g, "nothing", kit_nothing, NULL), 0);
    CHECK_EQ(weft_group_close(&g), 0);
    return 0;
}

static int first_error_wins(void *arg)
{
    struct weft_group *g = kit_group();
    int canceled = 0, eio = -EIO, enoent = -ENOENT, limit = WEFT_ELIMIT;
    (void)arg;
    kit_go(g, "waits", counts_its_cancel, &canceled);
    kit_go(g, "consequence", fails_when_canceled, &enoent);
    kit_go(g, "cause", fails_at_once, &eio);
    kit_go(g, "second", fails_at_once, &limit); /* ready already when the first one fails */
    kit_go(g, "waits", counts_its_cancel, &canceled);
    weft__error_detail_clear();
    CHECK_EQ(weft_group_wait(g, WEFT_NEVER), -EIO);
    CHECK(strcmp(weft_error_detail(), "cause -5") == 0);
    CHECK_EQ(weft_group_count(g), 0); /* the others have been joined */
    CHECK_EQ(canceled, 2);
    CHECK_EQ(weft_group_go(g, "x", kit_nothing, NULL), -ECANCELED);
    CHECK_EQ(weft_group_wait(g, WEFT_NOW), -EIO); /* and again */
    weft__error_detail_clear();
    CHECK_EQ(weft_group_close(&g), -EIO);
    CHECK(g == NULL);
    CHECK(strcmp(weft_error_detail(), "cause -5") == 0);
    return 0;
}

static int canceled_members_are_no_errors(void *arg)
{
    struct weft_group *g = kit_group();
    int ecanceled = -ECANCELED, n = 0;
    (void)arg;
    kit_go(g, "gives up", fails_at_once, &ecanceled);
    kit_go(g, "nothing", kit_nothing, NULL);
    CHECK_EQ(weft_group_wait(g, WEFT_NEVER), 0);
    kit_go(g, "counts", counts_its_cancel, &n);
    kit_settle();
    weft_group_cancel(g);
    weft_group_cancel(g);
    CHECK_EQ(n, 0); /* it does not wait */
    CHECK_EQ(weft_group_wait(g, WEFT_NEVER), 0);
    CHECK_EQ(n, 1);
    CHECK_EQ(weft_group_go(g, "x", kit_nothing, NULL), -ECANCELED);
    return weft_group_close(&g);
}

static int kept_errors_cancel_nobody(void *arg)
{
    struct weft_group *g = kit_group();
    struct weft_task_options o = {.name = "kept", .keep_errors = true};
    struct weft_task *t[3];
    int codes[3] = {-EIO, -ENOENT, 5};
    (void)arg;
    for (int i = 0; i < 3; i++)
        CHECK_EQ(weft_group_spawn(g, &o, fails_at_once, &codes[i], &t[i]), 0);
    CHECK_EQ(weft_group_spawn(g, &o, fails_at_once, &codes[0], NULL), 0);
    kit_go(g, "parked", kit_sleep_long, NULL);
    CHECK_EQ(weft_group_wait(g, weft_after_ms(2)), -ETIMEDOUT);
    for (int i = 0; i < 3; i++) {
        int result;
        CHECK_EQ(weft_task_join(&t[i], &result, WEFT_NEVER), 0);
        CHECK_EQ(result, codes[i]);
    }
    return weft_group_close(&g);
}

struct outer {
    int result;
    bool closes;
    int member_canceled;
};

static int waits_in_a_group(void *arg)
{
    struct outer *o = arg;
    struct weft_group *g = kit_group();
    kit_go(g, "member", counts_its_cancel, &o->member_canceled);
    o->result = weft_group_wait(g, WEFT_NEVER);
    CHECK_EQ(weft_group_count(g), 1); /* may still live */
    CHECK_EQ(weft_group_wait(g, WEFT_NEVER), -ECANCELED);
    CHECK_EQ(weft_group_close(&g), 0);
    return 0;
}

static int canceled_waiter(void *arg)
{
    struct weft_group *g = kit_group();
    struct outer o = {.result = 1};
    (void)arg;
    struct weft_task *t = kit_spawn(g, "outer", waits_in_a_group, &o);
    kit_settle();
    weft_task_cancel(t);
    CHECK_EQ(weft_task_join(&t, NULL, WEFT_NEVER), 0);
    CHECK_EQ(o.result, -ECANCELED);
    CHECK_EQ(o.member_canceled, 1);
    return weft_group_close(&g);
}

/* A member that takes its time to end, under a shield. */
static int ends_slowly(void *arg)
{
    int err = weft_sleep_until(WEFT_NEVER);
    CHECK_EQ(err, -ECANCELED);
    weft_shield(0);
    CHECK_EQ(weft_sleep_ms(5), 0);
    weft_unshield();
    ++*(int *)arg;
    return 0;
}

static int closes_a_slow_group(void *arg)
{
    struct weft_group *g = kit_group();
    kit_go(g, "slow", ends_slowly, arg);
    CHECK_EQ(weft_yield(), 0);
    CHECK_EQ(weft_group_close(&g), 0);
    CHECK_EQ(*(int *)arg, 1); /* no member outlives its group, also when the closer is cancelled */
    return 0;
}

static int close_is_not_cut_short(void *arg)
{
    struct weft_group *g = kit_group();
    int n = 0;
    (void)arg;
    struct weft_task *t = kit_spawn(g, "closes", closes_a_slow_group, &n);
    kit_settle();
    weft_task_cancel(t);
    CHECK_EQ(n, 0);
    CHECK_EQ(weft_task_join(&t, NULL, WEFT_NEVER), 0);
    CHECK_EQ(n, 1);
    return weft_group_close(&g);
}

struct sibling {
    struct weft_group *g;
    int result;
};

static int spawns_a_sibling(void *arg)
{
    struct sibling *s = arg;
    CHECK_EQ(weft_sleep_until(WEFT_NEVER), -ECANCELED);
    s->result = weft_group_go(s->g, "sibling", kit_nothing, NULL);
    return 0;
}

static int nobody_enters_a_closing_group(void *arg)
{
    struct sibling s = {.g = kit_group()};
    (void)arg;
    kit_go(s.g, "member", spawns_a_sibling, &s);
    kit_settle();
    CHECK_EQ(weft_group_close(&s.g), 0);
    CHECK_EQ(s.result, -ECANCELED);
    return 0;
}

static void in_callback(void *arg)
{
    struct weft_group **g = arg;
    CHECK_EQ(weft_group_wait(*g, WEFT_NOW), -EDEADLK);
    CHECK_EQ(weft_group_close(g), -EDEADLK);
    CHECK(*g != NULL); /* it stays open */
}

static void in_callback_too(void *arg)
{
    struct weft_group **g = arg;
    CHECK_EQ(weft_group_wait(*g, WEFT_NOW), 0);
    CHECK_EQ(weft_group_close(g), 0); /* without live members it need not wait */
    CHECK(*g == NULL);
    CHECK_EQ(weft_group_open(g), 0);
    CHECK_EQ(weft_group_go(*g, "from a callback", kit_nothing, NULL), 0);
}

static int callbacks_do_not_wait(void *arg)
{
    struct weft_group *g = kit_group();
    (void)arg;
    kit_go(g, "parked", kit_sleep_long, NULL);
    kit_as_callback(in_callback, &g);
    CHECK_EQ(weft_group_wait(g, WEFT_NEVER), 0); /* the close has cancelled it */
    kit_as_callback(in_callback_too, &g);
    return weft_group_close(&g);
}

/* --- Deadlines ----------------------------------------------------------------------------- */

static int deadline_ends_the_group(void *arg)
{
    struct weft_group *g = kit_group();
    int canceled = 0;
    (void)arg;
    kit_go(g, "a", counts_its_cancel, &canceled);
    kit_go(g, "b", counts_its_cancel, &canceled);
    weft_deadline d = weft_after_ms(4);
    CHECK_EQ(weft_group_deadline(g, d), 0);
    CHECK_EQ(weft_group_wait(g, WEFT_NEVER), -ETIMEDOUT);
    CHECK(weft_now_ns() >= d.ns);
    CHECK_EQ(canceled, 2);
    CHECK_EQ(weft_group_count(g), 0);
    CHECK_EQ(weft_group_go(g, "x", kit_nothing, NULL), -ECANCELED);
    CHECK_EQ(weft_group_wait(g, WEFT_NEVER), -ETIMEDOUT);
    CHECK_EQ(weft_group_close(&g), 0);

    /* It has passed already. */
    g = kit_group();
    canceled = 0;
    kit_go(g, "a", counts_its_cancel, &canceled);
    CHECK_EQ(weft_group_deadline(g, WEFT_NOW), 0);
    CHECK_EQ(weft_group_wait(g, WEFT_NEVER), -ETIMEDOUT);
    CHECK_EQ(canceled, 1);
    return weft_group_close(&g);
}

static int sleeps_10(void *arg)
{
    (void)arg;
    return weft_sleep_ms(10);
}

static int a_later_deadline_replaces_it(void *arg)
{
    struct weft_group *g = kit_group();
    (void)arg;
    kit_go(g, "sleeps", sleeps_10, NULL);
    CHECK_EQ(weft_group_deadline(g, weft_after_ms(3)), 0);
    CHECK_EQ(weft_group_deadline(g, WEFT_NEVER), 0);
    CHECK_EQ(weft_group_wait(g, WEFT_NEVER), 0);
    CHECK_EQ(weft_group_deadline(g, weft_after_s(1000)), 0);
    kit_go(g, "sleeps", sleeps_10, NULL);
    CHECK_EQ(weft_group_deadline(g, weft_after_ms(2)), 0);
    CHECK_EQ(weft_group_wait(g, WEFT_NEVER), -ETIMEDOUT);
    CHECK_EQ(weft_group_close(&g), 0);
    g = kit_group(); /* one that is closed with its deadline still to come */
    CHECK_EQ(weft_group_deadline(g, weft_after_ms(1)), 0);
    CHECK_EQ(weft_group_close(&g), 0);
    CHECK_EQ(weft_sleep_ms(3), 0);
    return 0;
}

static int an_error_comes_before_the_deadline(void *arg)
{
    struct weft_group *g = kit_group();
    int eio = -EIO;
    (void)arg;
    CHECK_EQ(weft_group_deadline(g, weft_after_ms(2)), 0);
    kit_go(g, "cause", fails_at_once, &eio);
    CHECK_EQ(weft_group_wait(g, WEFT_NEVER), -EIO);
    CHECK_EQ(weft_sleep_ms(4), 0);
    CHECK_EQ(weft_group_wait(g, WEFT_NEVER), -EIO);
    CHECK_EQ(weft_group_close(&g), -EIO);
    return 0;
}

/* What encloses a task's group bounds it, too, and there it is a cancel. */
struct nested {
    int inner, outer;
};

static int waits_with_an_inner_deadline(void *arg)
{
    struct nested *n = arg;
    struct weft_group *g = kit_group();
    kit_go(g, "parked", kit_sleep_long, NULL);
    CHECK_EQ(weft_group_deadline(g, weft_after_s(1000)), 0);
    n->inner = weft_group_wait(g, weft_after_s(1000));
    return weft_group_close(&g);
}

static int the_earliest_deadline_counts(void *arg)
{
    struct nested n = {0, 0};
    struct weft_group *g = kit_group();
    (void)arg;
    kit_go(g, "inner", waits_with_an_inner_deadline, &n);
    CHECK_EQ(weft_group_deadline(g, weft_after_ms(3)), 0);
    n.outer = weft_group_wait(g, WEFT_NEVER);
    CHECK_EQ(n.inner, -ECANCELED);
    CHECK_EQ(n.outer, -ETIMEDOUT);
    return weft_group_close(&g);
}

/* --- Orphans ------------------------------------------------------------------------------- */

static int leaves_a_group(void *arg)
{
    struct weft_group *g = kit_group();
    kit_go(g, "orphan", counts_its_cancel, arg);
    CHECK_EQ(weft_yield(), 0);
    return 0;
}

static int leaves_a_group_and_fails(void *arg)
{
    CHECK_EQ(leaves_a_group(arg), 0);
    return -EIO;
}

static int orphans_are_reported(void *arg)
{
    struct weft_group *g = kit_group();
    struct weft_task *t;
    struct weft_task_options o = {.name = "leaver", .site = WEFT_SITE, .keep_errors = true};
    int n = 0, result = 0;
    (void)arg;
    CHECK_EQ(weft_group_spawn(g, &o, leaves_a_group, &n, &t), 0);
    CHECK_EQ(weft_task_join(&t, &result, WEFT_NEVER), 0);
    CHECK_EQ(result, WEFT_EORPHAN);
    CHECK_EQ(n, 1); /* cancelled and joined */
    CHECK(strstr(weft_error_detail(), "'leaver'") != NULL);
    CHECK(strstr(weft_error_detail(), "test_group.c:") != NULL);
    CHECK(strstr(weft_error_detail(), "1 live") != NULL);
    CHECK_EQ(weft_group_spawn(g, &o, leaves_a_group_and_fails, &n, &t), 0);
    CHECK_EQ(weft_task_join(&t, &result, WEFT_NEVER), 0);
    CHECK_EQ(result, -EIO);
    CHECK_EQ(n, 2);
    kit_go(g, "leaver", leaves_a_group, &n);
    CHECK_EQ(weft_group_wait(g, WEFT_NEVER), WEFT_EORPHAN);
    CHECK_EQ(weft_group_close(&g), WEFT_EORPHAN);
    return 0;
}

/* --- Depth and number ---------------------------------------------------------------------- */

struct depth {
    int left;
    int *reached;
    int *unwound;
};

static int digs(void *arg)
{
    struct depth *d = arg, below = {d->left - 1, d->reached, d->unwound};
    struct weft_group *g = kit_group();
    ++*d->reached;
    kit_go(g, "level", d->left > 0 ? digs : kit_sleep_long, d->left > 0 ? &below : NULL);
    CHECK_EQ(weft_group_wait(g, WEFT_NEVER), -ECANCELED);
    CHECK_EQ(weft_group_close(&g), 0);
    ++*d->unwound;
    return -ECANCELED;
}

static int deep_nesting(void *arg)
{
    const int levels = WEFT__TSAN ? 100 : KIT_SLOW ? 500 : 10000;
    int reached = 0, unwound = 0;
    struct depth top = {levels - 1, &reached, &unwound};
    struct weft_group *g = kit_group();
    (void)arg;
    kit_go(g, "top", digs, &top);
    while (reached < levels)
        CHECK_EQ(weft_yield(), 0);
    kit_settle();
    CHECK_EQ(unwound, 0);
    weft_group_cancel(g);
    CHECK_EQ(weft_group_wait(g, WEFT_NEVER), 0);
    CHECK_EQ(unwound, levels);
    return weft_group_close(&g);
}

/* The cancel itself must not need a deep stack of the loop's or a task's, either. */
static void deep_nesting_on_a_small_stack(const char *driver)
{
    struct weft_options o = {.driver = driver};
    if (!KIT_SLOW)
        o.stack_size = 16 * 1024;
    CHECK_EQ(weft_run(&o, deep_nesting, NULL), 0);
}

static int many_tasks(void *arg)
{
    const int count = WEFT__TSAN ? 300 : KIT_SLOW ? 2000 : 100000;
    int canceled = 0;
    struct weft_loop_stats stats;
    struct weft_group *g = kit_group();
    (void)arg;
    for (int i = 0; i < count; i++)
        kit_go(g, "parked", counts_its_cancel, &canceled);
    CHECK_EQ(weft_group_count(g), count);
    CHECK_EQ(weft_sleep_ms(1), 0); /* after all that became ready before */
    kit_settle();
    CHECK_EQ(weft_loop_stats(weft_loop_current(), &stats), 0);
    CHECK_EQ(stats.tasks_live, count + 1);
    CHECK_EQ(canceled, 0);
    weft_group_cancel(g);
    CHECK_EQ(weft_group_wait(g, WEFT_NEVER), 0);
    CHECK_EQ(canceled, count);
    return weft_group_close(&g);
}

/* A task per level and several groups in each: the walk visits all. */
static int bushy(void *arg)
{
    struct depth *d = arg, below = {d->left - 1, d->reached, d->unwound};
    struct weft_group *g[3];
    ++*d->reached;
    for (int i = 0; i < 3; i++) {
        g[i] = kit_group();
        for (int k = 0; k < 2; k++)
            kit_go(g[i], "twig", d->left > 0 ? bushy : kit_sleep_long, d->left > 0 ? &below : NULL);
    }
    CHECK_EQ(weft_sleep_until(WEFT_NEVER), -ECANCELED);
    for (int i = 0; i < 3; i++)
        CHECK_EQ(weft_group_close(&g[i]), 0);
    ++*d->unwound;
    return 0;
}

static int wide_nesting(void *arg)
{
    int reached = 0, unwound = 0;
    struct depth top = {3, &reached, &unwound};
    struct weft_group *g = kit_group();
    (void)arg;
    kit_go(g, "top", bushy, &top);
    for (int i = 0; i < 200; i++)
        CHECK_EQ(weft_yield(), 0);
    CHECK_EQ(reached, 1 + 6 + 36 + 216);
    CHECK_EQ(weft_group_close(&g), 0);
    CHECK_EQ(unwound, reached);
    return 0;
}

static const struct kit_case cases[] = {
    IN_TASK(empty_groups),
    IN_TASK(waits_for_every_member),
    IN_TASK(first_error_wins),
    IN_TASK(canceled_members_are_no_errors),
    IN_TASK(kept_errors_cancel_nobody),
    IN_TASK(canceled_waiter),
    IN_TASK(close_is_not_cut_short),
    IN_TASK(nobody_enters_a_closing_group),
    IN_TASK(callbacks_do_not_wait),
    IN_TASK(deadline_ends_the_group),
    IN_TASK(a_later_deadline_replaces_it),
    IN_TASK(an_error_comes_before_the_deadline),
    IN_TASK(the_earliest_deadline_counts),
    IN_TASK(orphans_are_reported),
    IN_TASK(deep_nesting),
    ON_THREAD(deep_nesting_on_a_small_stack),
    IN_TASK(many_tasks),
    IN_TASK(wide_nesting),
};

KIT_MAIN(cases)
