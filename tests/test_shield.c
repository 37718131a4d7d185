/* SPDX-License-Identifier: MIT */
/* Tests of shields: what a cancelled task or thread may still wait for, and for how long. */
#include "rt_kit.h"

/* --- Tasks --------------------------------------------------------------------------------- */

static int waits_shielded(void *arg)
{
    (void)arg;
    CHECK_EQ(weft_sleep_until(WEFT_NEVER), -ECANCELED);
    weft_shield(0);
    CHECK_EQ(weft_canceled(), 0);
    CHECK_EQ(weft_yield(), 0);
    CHECK_EQ(weft_sleep_ms(2), 0);
    struct weft_event e = WEFT_EVENT_INIT;
    weft_deadline d = weft_after_ms(2);
    CHECK_EQ(weft_event_wait(&e, d), -ETIMEDOUT); /* its own deadline counts as ever */
    weft_unshield();
    CHECK_EQ(weft_canceled(), -ECANCELED);
    CHECK_EQ(weft_yield(), -ECANCELED);
    CHECK_EQ(weft_sleep_until(WEFT_NEVER), -ECANCELED);
    return 0;
}

static int shield_allows_waiting(void *arg)
{
    struct weft_group *g = kit_group();
    (void)arg;
    kit_go(g, "shielded", waits_shielded, NULL);
    kit_settle();
    return weft_group_close(&g);
}

static int waits_beyond_its_shield(void *arg)
{
    (void)arg;
    CHECK_EQ(weft_sleep_until(WEFT_NEVER), -ECANCELED);
    int64_t start = weft_now_ns();
    weft_shield(4);
    CHECK_EQ(weft_sleep_until(WEFT_NEVER), -ECANCELED); /* at the shield's end */
    CHECK(weft_now_ns() >= start + 4000000);
    CHECK_EQ(weft_sleep_until(WEFT_NEVER), -ECANCELED); /* at once */
    CHECK_EQ(weft_yield(), -ECANCELED);
    weft_unshield();
    CHECK_EQ(weft_yield(), -ECANCELED);
    return 0;
}

static int shield_is_bounded(void *arg)
{
    struct weft_group *g = kit_group();
    (void)arg;
    kit_go(g, "shielded", waits_beyond_its_shield, NULL);
    kit_settle();
    return weft_group_close(&g);
}

struct shielded {
    weft_deadline d;
    int64_t start;
    int result;
    int ms;
};

static int is_canceled_within_a_shield(void *arg)
{
    struct shielded *s = arg;
    s->start = weft_now_ns();
    weft_shield(s->ms);
    s->result = weft_sleep_until(s->d);
    CHECK_EQ(weft_canceled(), 0); /* still within */
    weft_unshield();
    CHECK_EQ(weft_yield(), -ECANCELED);
    return 0;
}

static int cancel_during_a_shielded_wait(void *arg)
{
    struct weft_group *g = kit_group();
    struct shielded s = {.d = WEFT_NEVER, .ms = 6};
    (void)arg;
    struct weft_task *t = kit_spawn(g, "shielded", is_canceled_within_a_shield, &s);
    kit_settle();
    weft_task_cancel(t);
    CHECK_EQ(weft_task_join(&t, NULL, WEFT_NEVER), 0);
    CHECK_EQ(s.result, -ECANCELED);
    CHECK(weft_now_ns() >= s.start + 6000000); /* it waited to the end of the shield */

    /* Its own deadline comes first, and is met: nothing was cut short. */
    s = (struct shielded){.d = weft_after_ms(40), .ms = 100000};
    t = kit_spawn(g, "shielded", is_canceled_within_a_shield, &s);
    kit_settle();
    weft_task_cancel(t);
    CHECK_EQ(weft_task_join(&t, NULL, WEFT_NEVER), 0);
    CHECK_EQ(s.result, 0);

    /* A deadline beyond the shield's end: the shield's end comes first. */
    s = (struct shielded){.d = weft_after_s(1000), .ms = 3};
    t = kit_spawn(g, "shielded", is_canceled_within_a_shield, &s);
    kit_settle();
    weft_task_cancel(t);
    CHECK_EQ(weft_task_join(&t, NULL, WEFT_NEVER), 0);
    CHECK_EQ(s.result, -ECANCELED);
    return weft_group_close(&g);
}

static int shields_within_shields(void *arg)
{
    (void)arg;
    CHECK_EQ(weft_sleep_until(WEFT_NEVER), -ECANCELED);
    int64_t start = weft_now_ns();
    weft_shield(60);
    weft_shield(1000000); /* the inner one cannot outlast the outer */
    CHECK_EQ(weft_sleep_ms(1), 0);
    weft_unshield();
    CHECK_EQ(weft_canceled(), 0);
    CHECK_EQ(weft_sleep_ms(1), 0);
    weft_shield(1000000);
    CHECK_EQ(weft_sleep_until(WEFT_NEVER), -ECANCELED);
    CHECK(weft_now_ns() >= start + 60000000);
    CHECK(KIT_SLOW || weft_now_ns() < start + 900000000);
    weft_unshield();
    weft_unshield();
    CHECK_EQ(weft_canceled(), -ECANCELED);

    /* An inner one that ends sooner. */
    weft_shield(100000);
    weft_shield(3);
    CHECK_EQ(weft_sleep_until(WEFT_NEVER), -ECANCELED);
    weft_unshield();
    weft_unshield();
    return 0;
}

static int shields_nest(void *arg)
{
    struct weft_group *g = kit_group();
    (void)arg;
    kit_go(g, "shielded", shields_within_shields, NULL);
    kit_settle();
    return weft_group_close(&g);
}

static int the_outer_shield_goes_on(void *arg)
{
    (void)arg;
    CHECK_EQ(weft_sleep_until(WEFT_NEVER), -ECANCELED);
    weft_shield(100000);
    weft_shield(1);
    CHECK_EQ(weft_sleep_until(WEFT_NEVER), -ECANCELED);
    weft_unshield();
    CHECK_EQ(weft_sleep_ms(1), 0); /* the outer one has long not ended */
    weft_unshield();
    return 0;
}

static int an_inner_shield_ends_alone(void *arg)
{
    struct weft_group *g = kit_group();
    (void)arg;
    kit_go(g, "shielded", the_outer_shield_goes_on, NULL);
    kit_settle();
    return weft_group_close(&g);
}

struct farewell {
    struct weft_group *before, *within;
    int before_result, within_result;
    bool work_done;
};

static int notes(void *arg)
{
    int *result = arg;
    *result = weft_sleep_until(WEFT_NEVER);
    return *result;
}

static int works(void *arg)
{
    struct farewell *f = arg;
    CHECK_EQ(weft_sleep_ms(1), 0);
    f->work_done = true;
    return 0;
}

static int shelters_a_group(void *arg)
{
    struct farewell *f = arg;
    f->before = kit_group();
    kit_go(f->before, "before", notes, &f->before_result);
    CHECK_EQ(weft_sleep_until(WEFT_NEVER), -ECANCELED);
    weft_shield(0);
    f->within = kit_group();
    kit_go(f->within, "works", works, f); /* a clean-up may have tasks of its own */
    CHECK_EQ(weft_group_wait(f->within, WEFT_NEVER), 0);
    CHECK(f->work_done);
    kit_go(f->within, "within", notes, &f->within_result);
    kit_settle();
    CHECK_EQ(f->before_result, -ECANCELED);
    CHECK_EQ(f->within_result, 1);
    weft_unshield(); /* what is still open hears of the cancel now */
    CHECK_EQ(weft_group_wait(f->within, WEFT_NEVER), -ECANCELED);
    CHECK_EQ(weft_group_close(&f->within), 0);
    CHECK_EQ(f->within_result, -ECANCELED);
    CHECK_EQ(weft_group_close(&f->before), 0);
    return 0;
}

static int shield_shelters_groups(void *arg)
{
    struct weft_group *g = kit_group();
    struct farewell f = {.within_result = 1, .before_result = 1};
    (void)arg;
    kit_go(g, "farewell", shelters_a_group, &f);
    kit_settle();
    return weft_group_close(&g);
}

/* A group that was opened in a shield before the cancel came. */
static int shelters_a_group_early(void *arg)
{
    struct farewell *f = arg;
    weft_shield(0);
    f->within = kit_group();
    kit_go(f->within, "within", notes, &f->within_result);
    CHECK_EQ(weft_sleep_ms(5), 0); /* cancelled meanwhile */
    CHECK_EQ(f->within_result, 1);
    weft_unshield();
    CHECK_EQ(weft_group_close(&f->within), 0);
    CHECK_EQ(f->within_result, -ECANCELED);
    return 0;
}

static int shield_shelters_groups_opened_before_the_cancel(void *arg)
{
    struct weft_group *g = kit_group();
    struct farewell f = {.within_result = 1};
    (void)arg;
    kit_go(g, "farewell", shelters_a_group_early, &f);
    kit_settle();
    return weft_group_close(&g);
}

/* --- Threads ------------------------------------------------------------------------------- */

struct shielded_thread {
    weft_deadline d;
    int ms;
    _Atomic bool within;
    int result;
    int64_t took;
};

static int thread_is_canceled_within_a_shield(void *arg)
{
    struct shielded_thread *s = arg;
    int64_t start = weft_now_ns();
    weft_shield(s->ms);
    s->within = true;
    s->result = weft_sleep_until(s->d);
    CHECK_EQ(weft_canceled(), 0);
    s->took = weft_now_ns() - start;
    weft_unshield();
    CHECK_EQ(weft_canceled(), -ECANCELED);
    return 0;
}

static void cancel_during_a_threads_shielded_wait(const char *driver)
{
    (void)driver;
    for (int far = 0; far < 3; far++) {
        struct weft_group *g = kit_group();
        struct shielded_thread s = {.ms = far == 2 ? 100000 : 40};
        s.d = far == 2 ? weft_after_ms(60) : far == 1 ? weft_after_s(1000) : WEFT_NEVER;
        kit_go(g, "shielded", thread_is_canceled_within_a_shield, &s);
        while (!s.within)
            CHECK_EQ(weft_yield(), 0);
        CHECK_EQ(weft_sleep_ms(2), 0);
        CHECK_EQ(weft_group_close(&g), 0);
        CHECK_EQ(s.result, far == 2 ? 0 : -ECANCELED);
        CHECK(s.took >= 40000000);
    }
}

struct sheltering {
    _Atomic bool within;
    int in_group;
};

static int notes_in_thread(void *arg)
{
    struct sheltering *s = arg;
    s->in_group = weft_sleep_ms(5); /* not cancelled, as its group is sheltered */
    CHECK_EQ(weft_sleep_until(WEFT_NEVER), -ECANCELED);
    return 0;
}

static int thread_shelters_a_group(void *arg)
{
    struct sheltering *s = arg;
    weft_shield(0);
    struct weft_group *g = kit_group();
    kit_go(g, "below", notes_in_thread, s);
    s->within = true;
    CHECK_EQ(weft_group_wait(g, weft_after_ms(60)), -ETIMEDOUT);
    weft_unshield();
    CHECK_EQ(weft_group_close(&g), 0);
    return 0;
}

/* Shields open and close while others cancel: no cancel is lost, nobody waits for ever. */
static int shields_often(void *arg)
{
    ((struct sheltering *)arg)->within = true;
    while (weft_canceled() == 0) {
        struct weft_group *g;
        weft_shield(0);
        CHECK_EQ(weft_group_open(&g), 0);
        int err = weft_group_go(g, "below", kit_sleep_long, NULL);
        weft_unshield();
        CHECK(err == 0 || err == -ECANCELED);
        err = weft_group_wait(g, weft_after_us(30));
        CHECK(err == 0 || err == -ETIMEDOUT || err == -ECANCELED);
        CHECK_EQ(weft_group_close(&g), 0);
    }
    return 0;
}

static void shields_shelter_groups_of_threads(const char *driver)
{
    struct weft_group *g = kit_group();
    struct sheltering s = {.in_group = 1};
    (void)driver;
    kit_go(g, "shelters", thread_shelters_a_group, &s);
    while (!s.within)
        CHECK_EQ(weft_yield(), 0);
    CHECK_EQ(weft_group_close(&g), 0);
    CHECK_EQ(s.in_group, 0);
    for (int i = 0; i < 20; i++) {
        struct sheltering x[2] = {{.in_group = 0}, {.in_group = 0}};
        g = kit_group();
        kit_go(g, "often", shields_often, &x[0]);
        kit_go(g, "often", shields_often, &x[1]);
        while (!x[0].within || !x[1].within)
            CHECK_EQ(weft_yield(), 0);
        CHECK_EQ(weft_sleep_until(weft_after_us(20 * i)), 0);
        CHECK_EQ(weft_group_close(&g), 0);
    }
}

static const struct kit_case cases[] = {
    IN_TASK(shield_allows_waiting),
    IN_TASK(shield_is_bounded),
    IN_TASK(cancel_during_a_shielded_wait),
    IN_TASK(shields_nest),
    IN_TASK(an_inner_shield_ends_alone),
    IN_TASK(shield_shelters_groups),
    IN_TASK(shield_shelters_groups_opened_before_the_cancel),
    ON_THREAD(cancel_during_a_threads_shielded_wait),
    ON_THREAD(shields_shelter_groups_of_threads),
};

KIT_MAIN(cases)
