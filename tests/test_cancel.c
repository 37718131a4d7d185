/* SPDX-License-Identifier: MIT */
/*
 * Tests of cancellation: level-triggered at every waiting point, and those who ignore it.
 * The waiting points of channels, locks and streams have tests of their own beside them, too.
 */
#include "rt_kit.h"

/* --- Every waiting point ------------------------------------------------------------------- */

/* Things that are never ready, so that each call below has to wait, unless it is refused. */
struct world {
    struct weft_channel *empty, *full, *mt_empty, *mt_full;
    struct weft_mutex mutex;
    struct weft_semaphore semaphore;
    struct weft_event event;
    struct weft_barrier barrier;
    struct weft_once once;
    struct weft_group *group; /* with a member that sleeps */
    struct weft_task *task;   /* that member */
};

static int call_sleep(struct world *w, weft_deadline d)
{
    (void)w;
    int err = weft_sleep_until(d);
    return err == 0 ? -ETIMEDOUT : err;
}

static int call_send(struct world *w, weft_deadline d)
{
    return weft_channel_send(w->full, &(int){0}, d);
}

static int call_recv(struct world *w, weft_deadline d)
{
    return weft_channel_recv(w->empty, &(int){0}, d);
}

static int call_mt_send(struct world *w, weft_deadline d)
{
    return weft_channel_send(w->mt_full, &(int){0}, d);
}

static int call_mt_recv(struct world *w, weft_deadline d)
{
    return weft_channel_recv(w->mt_empty, &(int){0}, d);
}

static int call_select(struct world *w, weft_deadline d)
{
    int v;
    struct weft_select s[2] = {{.channel = w->empty, .recv = &v},
                               {.channel = w->full, .send = &(int){0}}};
    return weft_select(s, 2, d);
}

static int call_mt_select(struct world *w, weft_deadline d)
{
    int v;
    struct weft_select s[2] = {{.channel = w->mt_empty, .recv = &v},
                               {.channel = w->full, .send = &(int){0}}};
    return weft_select(s, 2, d);
}

static int call_lock(struct world *w, weft_deadline d)
{
    return weft_mutex_lock(&w->mutex, d);
}

static int call_acquire(struct world *w, weft_deadline d)
{
    return weft_semaphore_acquire(&w->semaphore, d);
}

static int call_event(struct world *w, weft_deadline d)
{
    return weft_event_wait(&w->event, d);
}

static int call_barrier(struct world *w, weft_deadline d)
{
    return weft_barrier_wait(&w->barrier, d);
}

static int call_once(struct world *w, weft_deadline d)
{
    return weft_once(&w->once, kit_nothing, NULL, d);
}

static int call_group_wait(struct world *w, weft_deadline d)
{
    return weft_group_wait(w->group, d);
}

static int call_join(struct world *w, weft_deadline d)
{
    return weft_task_join(&w->task, NULL, d);
}

static int call_ticker(struct world *w, weft_deadline d)
{
    (void)w;
    struct weft_ticker t = {.period_ns = INT64_MAX / 4, .next_ns = d.ns};
    int64_t n = weft_ticker_wait(&t);
    return n > 0 ? -ETIMEDOUT : (int)n;
}

static const struct point {
    const char *name;
    int (*call)(struct world *w, weft_deadline d);
} points[] = {
    {"sleep", call_sleep},           {"send", call_send},       {"recv", call_recv},
    {"mt send", call_mt_send},       {"mt recv", call_mt_recv}, {"select", call_select},
    {"mt select", call_mt_select},   {"lock", call_lock},       {"acquire", call_acquire},
    {"event", call_event},           {"barrier", call_barrier}, {"once", call_once},
    {"group wait", call_group_wait}, {"join", call_join},       {"ticker", call_ticker},
};

#define POINTS (sizeof points / sizeof points[0])

static int hold_mutex(void *arg)
{
    struct world *w = arg;
    CHECK_EQ(weft_mutex_lock(&w->mutex, WEFT_NOW), 0);
    int err = weft_sleep_until(WEFT_NEVER);
    weft_mutex_unlock(&w->mutex);
    return err;
}

static void world_open(struct world *w)
{
    *w = (struct world){.barrier = WEFT_BARRIER_INIT(2), .once = {.state = 1}};
    w->group = kit_group();
    CHECK_EQ(weft_channel_open(&w->empty, sizeof(int), 1), 0);
    CHECK_EQ(weft_channel_open(&w->full, sizeof(int), 0), 0);
    CHECK_EQ(weft_channel_open_mt(&w->mt_empty, sizeof(int), 1), 0);
    CHECK_EQ(weft_channel_open_mt(&w->mt_full, sizeof(int), 0), 0);
    w->task = kit_spawn(w->group, "holds", hold_mutex, w);
    kit_settle();
}

static void world_close(struct world *w)
{
    CHECK_EQ(weft_group_close(&w->group), 0);
    weft_task_release(&w->task);
    CHECK(w->mutex.owner == NULL && w->mutex.waiters.first == NULL);
    CHECK(w->semaphore.waiters.first == NULL && w->event.waiters.first == NULL);
    CHECK(w->barrier.arrived == 0 && w->barrier.waiters.first == NULL);
    weft_channel_close(&w->empty);
    weft_channel_close(&w->full);
    weft_channel_close(&w->mt_empty);
    weft_channel_close(&w->mt_full);
}

struct attempt {
    struct world *w;
    const struct point *p;
    weft_deadline d;
    int first; /* what the call said that was under way at the cancel */
    bool entered, done;
};

static int attempts(void *arg)
{
    struct attempt *a = arg;
    a->entered = true;
    a->first = a->p->call(a->w, a->d);
    CHECK_EQ(weft_canceled(), -ECANCELED);
    for (const struct point *p = points; p < points + POINTS; p++) { /* every call from now on */
        CHECK_EQ(p->call(a->w, WEFT_NEVER), -ECANCELED);
        CHECK_EQ(p->call(a->w, WEFT_NOW), -ECANCELED);
    }
    CHECK_EQ(weft_yield(), -ECANCELED);
    a->done = true;
    return 0;
}

static int cancel_during_each_wait(void *arg)
{
    (void)arg;
    for (const struct point *p = points; p < points + POINTS; p++) {
        for (int far = 0; far < 2; far++) {
            struct world w;
            world_open(&w);
            struct attempt a = {.w = &w, .p = p, .d = far ? weft_after_s(1000) : WEFT_NEVER};
            struct weft_group *g = kit_group();
            kit_go(g, p->name, attempts, &a);
            kit_settle();
            CHECK(a.entered && !a.done);
            CHECK_EQ(weft_group_close(&g), 0);
            CHECK_EQ(a.first, -ECANCELED);
            CHECK(a.done);
            world_close(&w);
        }
    }
    return 0;
}

static int cancel_before_each_wait(void *arg)
{
    (void)arg;
    for (const struct point *p = points; p < points + POINTS; p++) {
        struct world w;
        world_open(&w);
        struct attempt a = {.w = &w, .p = p, .d = WEFT_NEVER};
        struct weft_group *g = kit_group();
        kit_go(g, p->name, attempts, &a);
        weft_group_cancel(g); /* it has not begun; it does begin */
        CHECK_EQ(weft_group_wait(g, WEFT_NEVER), 0);
        CHECK_EQ(a.first, -ECANCELED);
        CHECK(a.done);
        CHECK_EQ(weft_group_close(&g), 0);
        world_close(&w);
    }
    return 0;
}

static int times_out(void *arg)
{
    struct attempt *a = arg;
    a->first = a->p->call(a->w, a->d);
    CHECK(weft_now_ns() >= a->d.ns);
    CHECK_EQ(weft_yield(), 0);
    CHECK_EQ(weft_canceled(), 0);
    return 0;
}

static int each_wait_times_out(void *arg)
{
    (void)arg;
    for (const struct point *p = points; p < points + POINTS; p++) {
        struct world w;
        world_open(&w);
        struct attempt a = {.w = &w, .p = p, .d = weft_after_ms(2)};
        struct weft_group *g = kit_group();
        kit_go(g, p->name, times_out, &a);
        CHECK_EQ(weft_group_wait(g, WEFT_NEVER), 0);
        CHECK_EQ(a.first, -ETIMEDOUT);
        a.d = WEFT_NOW;
        kit_go(g, p->name, times_out, &a);
        CHECK_EQ(weft_group_wait(g, WEFT_NEVER), 0);
        CHECK_EQ(a.first, -ETIMEDOUT);
        CHECK_EQ(weft_group_close(&g), 0);
        world_close(&w);
    }
    return 0;
}

/* The time-out and the cancel of one wait fall into one turn of the loop. */
static int cancel_and_time_out_at_once(void *arg)
{
    (void)arg;
    for (const struct point *p = points; p < points + POINTS; p++) {
        struct world w;
        world_open(&w);
        struct weft_group *g = kit_group();
        weft_deadline d = weft_after_ms(2);
        struct attempt a = {.w = &w, .p = p, .d = d};
        CHECK_EQ(weft_group_deadline(g, d), 0);
        kit_go(g, p->name, attempts, &a);
        CHECK_EQ(weft_group_wait(g, WEFT_NEVER), -ETIMEDOUT);
        CHECK(a.first == -ECANCELED || a.first == -ETIMEDOUT);
        CHECK(a.done);
        CHECK_EQ(weft_group_close(&g), 0);
        world_close(&w);
    }
    return 0;
}

/* --- Reach --------------------------------------------------------------------------------- */

static int cancels_own_group(void *arg)
{
    weft_group_cancel(arg);
    CHECK_EQ(weft_canceled(), -ECANCELED);
    CHECK_EQ(weft_yield(), -ECANCELED);
    return 0;
}

static int a_task_cancels_its_own_group(void *arg)
{
    struct weft_group *g = kit_group();
    (void)arg;
    CHECK_EQ(weft_canceled(), 0);
    kit_go(g, "cancels", cancels_own_group, g);
    kit_go(g, "parked", kit_sleep_long, NULL);
    CHECK_EQ(weft_group_wait(g, WEFT_NEVER), 0);
    CHECK_EQ(weft_canceled(), 0); /* what is above is not touched */
    return weft_group_close(&g);
}

static int opens_groups_when_canceled(void *arg)
{
    struct weft_group *g;
    CHECK_EQ(weft_sleep_until(WEFT_NEVER), -ECANCELED);
    CHECK_EQ(weft_group_open(&g), 0);
    CHECK_EQ(weft_group_go(g, "x", kit_nothing, NULL), -ECANCELED);
    CHECK_EQ(weft_group_close(&g), 0);
    *(bool *)arg = true;
    return 0;
}

static int groups_of_a_canceled_task_are_canceled(void *arg)
{
    struct weft_group *g = kit_group();
    bool done = false;
    (void)arg;
    kit_go(g, "opens", opens_groups_when_canceled, &done);
    kit_settle();
    CHECK_EQ(weft_group_close(&g), 0);
    CHECK(done);
    return 0;
}

/* --- Those who do not listen --------------------------------------------------------------- */

struct log {
    int lines;
    char last[200];
};

static void log_line(void *arg, enum weft_log_level level, const char *line)
{
    struct log *l = arg;
    CHECK_EQ(level, WEFT_LOG_WARNING);
    l->lines++;
    (void)snprintf(l->last, sizeof l->last, "%s", line);
}

struct spinner {
    bool stop;
    uint64_t calls;
};

static int spins(void *arg)
{
    struct spinner *s = arg;
    while (!s->stop) {
        (void)!weft_sleep_ms(1); /* ignores the code */
        s->calls++;
    }
    return 0;
}

static int spinning(void *arg)
{
    struct weft_group *g = kit_group();
    struct spinner s = {.stop = false};
    (void)arg;
    kit_go(g, "spinner", spins, &s);
    kit_settle();
    weft_group_cancel(g);
    while (s.calls < 10000)
        CHECK_EQ(weft_yield(), 0); /* we do get our turn */
    CHECK_EQ(weft_sleep_ms(1), 0);
    s.stop = true;
    return weft_group_close(&g);
}

static void a_spinning_task_is_made_to_yield(const char *driver)
{
    struct log l = {.lines = 0};
    struct weft_options o = {.driver = driver, .log = log_line, .log_arg = &l};
    CHECK_EQ(weft_run(&o, spinning, NULL), 0);
    CHECK_EQ(l.lines, 1); /* once, not ten thousand times */
    CHECK(strstr(l.last, "'spinner'") != NULL);
    CHECK(strstr(l.last, "test_cancel.c:") != NULL || strstr(l.last, "rt_kit.h:") != NULL);
}

static const struct kit_case cases[] = {
    IN_TASK(cancel_during_each_wait),
    IN_TASK(cancel_before_each_wait),
    IN_TASK(each_wait_times_out),
    IN_TASK(cancel_and_time_out_at_once),
    IN_TASK(a_task_cancels_its_own_group),
    IN_TASK(groups_of_a_canceled_task_are_canceled),
    ON_THREAD(a_spinning_task_is_made_to_yield),
};

KIT_MAIN(cases)
