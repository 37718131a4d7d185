/* SPDX-License-Identifier: MIT */
/* Tests of select over channels of both kinds, within one loop. */
#include "channel_kit.h"

/* --- Select -------------------------------------------------------------------------------- */

static int select_wants_proper_arms(void *arg)
{
    struct weft_channel *c = plain(sizeof(int), 1);
    int v = 0;
    struct weft_select many[65];
    struct weft_select s = {.channel = c};
    (void)arg;
    CHECK_EQ(weft_select(&s, 0, WEFT_NOW), -EINVAL);
    CHECK_EQ(weft_select(NULL, 1, WEFT_NOW), -EINVAL);
    CHECK_EQ(weft_select(&s, 1, WEFT_NOW), -EINVAL);
    s.recv = &v;
    s.send = &v;
    CHECK_EQ(weft_select(&s, 1, WEFT_NOW), -EINVAL);
    s.send = NULL;
    s.channel = NULL;
    CHECK_EQ(weft_select(&s, 1, WEFT_NOW), -EINVAL);
    for (size_t i = 0; i < 65; i++)
        many[i] = (struct weft_select){.channel = c, .recv = &v};
    CHECK_EQ(weft_select(many, 65, WEFT_NOW), -EINVAL);
    CHECK_EQ(weft_select(many, 64, WEFT_NOW), -ETIMEDOUT);
    CHECK_EQ(weft_select(many, 64, soon()), -ETIMEDOUT);
    CHECK_EQ(weft_channel_send_nowait(c, &(int){4}), 0);
    CHECK_EQ(weft_channel_count(c), 1); /* and nobody of the 64 is left in the channel */
    CHECK_EQ(weft_select(many, 64, WEFT_NOW), 0);
    CHECK_EQ(v, 4);
    weft_channel_close(&c);
    return 0;
}

static int select_over_many_locks(void *arg)
{
    /* TSan's own list of locks that are held ends at 64. */
    enum { N = WEFT__TSAN ? 40 : 64 };
    struct weft_channel *c[N];
    struct weft_select s[N];
    int v = 0;
    (void)arg;
    for (int i = 0; i < N; i++) {
        c[i] = mt(sizeof(int), 1);
        s[i] = (struct weft_select){.channel = c[i], .recv = &v};
    }
    CHECK_EQ(weft_select(s, N, soon()), -ETIMEDOUT);
    for (int i = 0; i < N; i++)
        CHECK_EQ(weft_channel_send_nowait(c[i], &i), 0);
    for (int i = 0; i < N; i++) {
        int chosen = weft_select(s, N, WEFT_NEVER);
        CHECK(chosen >= 0);
        CHECK_EQ(v, chosen);
    }
    CHECK_EQ(weft_select(s, N, WEFT_NOW), -ETIMEDOUT);
    for (int i = 0; i < N; i++)
        weft_channel_close(&c[i]);
    return 0;
}

/* Every mixture of kinds for three channels: bit i of kinds says whether the i-th is _mt. */
static void open_three(struct weft_channel *c[3], unsigned kinds, size_t capacity)
{
    for (int i = 0; i < 3; i++)
        c[i] = openers[(kinds >> i) & 1](sizeof(int), capacity);
}

static void close_three(struct weft_channel *c[3])
{
    for (int i = 0; i < 3; i++)
        weft_channel_close(&c[i]);
}

static int select_takes_what_is_ready_in_turn(void *arg)
{
    (void)arg;
    for (unsigned kinds = 0; kinds < 8; kinds++) {
        struct weft_channel *c[3];
        int v[3] = {0}, taken[3] = {0};
        open_three(c, kinds, 40);
        struct weft_select s[3];
        for (int i = 0; i < 3; i++) {
            s[i] = (struct weft_select){.channel = c[i], .recv = &v[i]};
            for (int k = 0; k < 30; k++)
                CHECK_EQ(weft_channel_send_nowait(c[i], &(int){i * 100 + k}), 0);
        }
        int before = -1;
        for (int k = 0; k < 90; k++) {
            int i = weft_select(s, 3, WEFT_NOW);
            CHECK(i >= 0 && i < 3);
            CHECK_EQ(s[i].result, 0);
            CHECK_EQ(v[i], i * 100 + taken[i]++);
            if (before >= 0)
                CHECK_EQ(i, (before + 1) % 3);
            before = i;
        }
        CHECK_EQ(weft_select(s, 3, WEFT_NOW), -ETIMEDOUT);
        close_three(c);
    }
    return 0;
}

struct selecting {
    struct weft_channel *c[3];
    int v[3];
    int way[3]; /* 1: sends v */
    int chosen;
    int result; /* of the arm */
    weft_deadline d;
};

static int selector(void *arg)
{
    struct selecting *x = arg;
    struct weft_select s[3] = {{0}};
    for (int i = 0; i < 3; i++) {
        s[i].channel = x->c[i];
        if (x->way[i])
            s[i].send = &x->v[i];
        else
            s[i].recv = &x->v[i];
        s[i].result = 77;
    }
    x->chosen = weft_select(s, 3, x->d);
    if (x->chosen >= 0) {
        x->result = s[x->chosen].result;
        for (int i = 0; i < 3; i++)
            CHECK(i == x->chosen || s[i].result == 77);
    }
    return 0;
}

static int select_waits_for_one(void *arg)
{
    (void)arg;
    for (unsigned kinds = 0; kinds < 8; kinds++) {
        for (int which = 0; which < 3; which++) {
            struct selecting x = {.d = WEFT_NEVER, .v = {-1, -2, -3}, .way = {0, 0, 1}};
            struct weft_group *g = kit_group();
            int v = 50;
            open_three(x.c, kinds, 0);
            kit_go(g, "selector", selector, &x);
            kit_settle();
            if (which == 2)
                CHECK_EQ(weft_channel_recv_nowait(x.c[2], &v), 0);
            else
                CHECK_EQ(weft_channel_send_nowait(x.c[which], &v), 0);
            /* It was settled, though it has not run: no other arm of it is to be had. */
            for (int i = 0; i < 2; i++)
                CHECK_EQ(weft_channel_send_nowait(x.c[i], &v), -EAGAIN);
            CHECK_EQ(weft_channel_recv_nowait(x.c[2], &(int){0}), -EAGAIN);
            CHECK_EQ(weft_group_wait(g, WEFT_NEVER), 0);
            CHECK_EQ(x.chosen, which);
            CHECK_EQ(x.result, 0);
            CHECK_EQ(which == 2 ? v : x.v[which], which == 2 ? -3 : 50);
            for (int i = 0; i < 3; i++)
                CHECK(i == which || x.v[i] == -1 - i);
            CHECK_EQ(weft_group_close(&g), 0);
            close_three(x.c);
        }
    }
    return 0;
}

static int select_times_out_and_is_canceled(void *arg)
{
    (void)arg;
    for (unsigned kinds = 0; kinds < 8; kinds++) {
        struct selecting x = {.d = soon()};
        struct weft_group *g = kit_group();
        open_three(x.c, kinds, 0);
        CHECK_EQ(selector(&x), 0);
        CHECK_EQ(x.chosen, -ETIMEDOUT);
        CHECK(weft_now_ns() >= x.d.ns);
        x.d = WEFT_NEVER;
        struct weft_task *t = kit_spawn(g, "selector", selector, &x);
        kit_settle();
        weft_task_cancel(t);
        CHECK_EQ(weft_channel_send_nowait(x.c[1], &(int){1}), -EAGAIN);
        CHECK_EQ(weft_task_join(&t, NULL, WEFT_NEVER), 0);
        CHECK_EQ(x.chosen, -ECANCELED);
        t = kit_spawn(g, "selector", selector, &x);
        weft_task_cancel(t);
        CHECK_EQ(weft_task_join(&t, NULL, WEFT_NEVER), 0);
        CHECK_EQ(x.chosen, -ECANCELED);
        CHECK_EQ(weft_group_close(&g), 0);
        close_three(x.c);
    }
    return 0;
}

static int select_sees_the_shut_one(void *arg)
{
    (void)arg;
    for (unsigned kinds = 0; kinds < 8; kinds++) {
        struct selecting x = {.d = WEFT_NEVER, .way = {0, 1, 0}};
        struct weft_group *g = kit_group();
        open_three(x.c, kinds, 0);
        kit_go(g, "selector", selector, &x);
        kit_settle();
        weft_channel_shut(x.c[1]);
        weft_channel_shut(x.c[0]); /* too late to be the one */
        CHECK_EQ(weft_group_wait(g, WEFT_NEVER), 0);
        CHECK_EQ(x.chosen, 1);
        CHECK_EQ(x.result, WEFT_ECLOSED);
        /* Two are ready now: the choice goes round among them. */
        CHECK_EQ(selector(&x), 0);
        int first = x.chosen;
        CHECK(first == 0 || first == 1);
        CHECK_EQ(selector(&x), 0);
        CHECK_EQ(x.chosen, 1 - first);
        CHECK_EQ(x.result, WEFT_ECLOSED);
        CHECK_EQ(weft_group_close(&g), 0);
        close_three(x.c);
    }
    return 0;
}

static int select_meets_select(void *arg)
{
    (void)arg;
    for (unsigned kinds = 0; kinds < 8; kinds++) {
        /* Each both sends and receives on each channel: one pair forms, and never with itself. */
        struct weft_channel *c[3];
        struct weft_group *g = kit_group();
        open_three(c, kinds, 0);
        struct selecting a = {.c = {c[0], c[0], c[1]}, .v = {1, 0, 2}, .way = {1, 0, 1}};
        struct selecting b = {.c = {c[1], c[0], c[0]}, .v = {0, 3, 0}, .way = {0, 1, 0}};
        a.d = b.d = WEFT_NEVER;
        kit_go(g, "a", selector, &a);
        kit_settle();
        CHECK_EQ(weft_group_count(g), 1);
        kit_go(g, "b", selector, &b);
        CHECK_EQ(weft_group_wait(g, WEFT_NEVER), 0);
        if (a.chosen == 0)
            CHECK(b.chosen == 2 && b.v[2] == 1);
        else if (a.chosen == 1)
            CHECK(b.chosen == 1 && a.v[1] == 3);
        else
            CHECK(a.chosen == 2 && b.chosen == 0 && b.v[0] == 2);
        CHECK_EQ(weft_group_close(&g), 0);
        close_three(c);
    }
    return 0;
}

static int closing_after_a_select(void *arg)
{
    struct selecting x = {.d = WEFT_NEVER};
    struct weft_group *g = kit_group();
    (void)arg;
    open_three(x.c, 0, 0);
    kit_go(g, "selector", selector, &x);
    kit_settle();
    CHECK_EQ(weft_channel_send_nowait(x.c[0], &(int){1}), 0);
    close_three(x.c); /* it is settled, and has no business in any of them */
    CHECK_EQ(weft_group_wait(g, WEFT_NEVER), 0);
    CHECK_EQ(x.chosen, 0);
    CHECK_EQ(weft_group_close(&g), 0);
    return 0;
}

static const struct kit_case cases[] = {
    IN_TASK(select_wants_proper_arms),
    IN_TASK(select_over_many_locks),
    IN_TASK(select_takes_what_is_ready_in_turn),
    IN_TASK(select_waits_for_one),
    IN_TASK(select_times_out_and_is_canceled),
    IN_TASK(select_sees_the_shut_one),
    IN_TASK(select_meets_select),
    IN_TASK(closing_after_a_select),
};

KIT_MAIN(cases)
