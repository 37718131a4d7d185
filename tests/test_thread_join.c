/* SPDX-License-Identifier: MIT */
/* Tests of handles of plain threads that two threads join at once. */
#include "rt/handle.h"
#include "rt_kit.h"

struct joined {
    struct weft_task *target;
    struct weft__flow *second; /* whose join the first overtakes */
    _Atomic bool overtake;
    int result;
};
static struct joined *under_test;

static int joins_first(void *arg)
{
    struct joined *j = arg;
    struct weft_task *t = j->target;
    while (!j->overtake)
        CHECK_EQ(weft_yield(), 0);
    return weft_task_join(&t, &j->result, weft_after_s(60));
}

/* The second one has seen that nobody joins, and is about to wait. */
static void be_overtaken(struct weft__flow *f, struct weft__wait *w, bool begins)
{
    struct joined *j = under_test;
    if (f != j->second || w != NULL || !begins || j->overtake)
        return;
    j->overtake = true;
    for (bool waits = false; !waits; sched_yield()) {
        pthread_mutex_lock(&weft__tree_lock);
        waits = j->target->waiter != NULL;
        pthread_mutex_unlock(&weft__tree_lock);
    }
}

static void one_of_two_joins(const char *driver)
{
    struct weft_group *g = kit_group();
    struct joined j = {.second = weft__flow_self(), .result = 1};
    (void)driver;
    under_test = &j;
    weft__wait_hook = be_overtaken;
    j.target = kit_spawn(g, "target", kit_sleep_long, NULL);
    struct weft_task *first = kit_spawn(g, "first", joins_first, &j);
    struct weft_task *t = j.target;
    int result = 1;
    CHECK_EQ(weft_task_join(&t, NULL, weft_after_s(20)), -EBUSY);
    CHECK(j.overtake);
    weft_task_cancel(t);
    CHECK_EQ(weft_task_join(&first, &result, WEFT_NEVER), 0);
    CHECK_EQ(result, 0);
    CHECK_EQ(j.result, -ECANCELED);
    CHECK_EQ(weft_group_close(&g), 0);
    weft__wait_hook = NULL;
}

static const struct kit_case cases[] = {
    ON_THREAD(one_of_two_joins),
};

KIT_MAIN(cases)
