/* SPDX-License-Identifier: MIT */
/* Tests of mutex, semaphore, event, barrier and once. */
#include "rt_kit.h"

static weft_deadline soon(void)
{
    return weft_after_ms(5);
}

/* What one waiting task has met. */
struct waiter {
    void *on;
    int result;
    int place;
    int *order;
    weft_deadline d;
    bool release; /* gives back what it got */
};

static void note(struct waiter *w, int result)
{
    w->result = result;
    w->place = (*w->order)++;
}

/* --- Mutex --------------------------------------------------------------------------------- */

static int locker(void *arg)
{
    struct waiter *w = arg;
    note(w, weft_mutex_lock(w->on, w->d));
    if (w->result == 0 && w->release)
        weft_mutex_unlock(w->on);
    return 0;
}

static int mutex_alone(void *arg)
{
    struct weft_mutex m = WEFT_MUTEX_INIT, zero;
    (void)arg;
    memset(&zero, 0, sizeof zero);
    CHECK_EQ(weft_mutex_lock(&zero, WEFT_NOW), 0);
    weft_mutex_unlock(&zero);
    CHECK_EQ(weft_mutex_lock(&m, WEFT_NEVER), 0);
    CHECK_EQ(weft_mutex_lock(&m, WEFT_NEVER), -EDEADLK);
    CHECK_EQ(weft_mutex_trylock(&m), -EAGAIN);
    weft_mutex_unlock(&m);
    CHECK_EQ(weft_mutex_trylock(&m), 0);
    weft_mutex_unlock(&m);
    return 0;
}

static int mutex_is_handed_over_in_order(void *arg)
{
    struct weft_mutex m = WEFT_MUTEX_INIT;
    struct weft_group *g = kit_group();
    struct waiter w[4];
    int order = 0;
    (void)arg;
    CHECK_EQ(weft_mutex_lock(&m, WEFT_NEVER), 0);
    for (int i = 0; i < 4; i++) {
        w[i] = (struct waiter){.on = &m, .order = &order, .d = WEFT_NEVER, .release = true};
        kit_go(g, "locker", locker, &w[i]);
    }
    kit_settle();
    CHECK_EQ(order, 0);
    weft_mutex_unlock(&m);
    /* It has an owner again before that one runs: nobody steps in. */
    CHECK_EQ(weft_mutex_trylock(&m), -EAGAIN);
    CHECK_EQ(weft_mutex_lock(&m, WEFT_NEVER), 0);
    CHECK_EQ(order, 4);
    for (int i = 0; i < 4; i++)
        CHECK(w[i].result == 0 && w[i].place == i);
    weft_mutex_unlock(&m);
    CHECK(m.owner == NULL && m.waiters.first == NULL && m.waiters.last == NULL);
    CHECK_EQ(weft_group_close(&g), 0);
    return 0;
}

static int mutex_waits_no_longer_than_told(void *arg)
{
    struct weft_mutex m = WEFT_MUTEX_INIT;
    struct weft_group *g = kit_group();
    int order = 0;
    struct waiter w = {.on = &m, .order = &order, .d = WEFT_NOW};
    (void)arg;
    CHECK_EQ(weft_mutex_lock(&m, WEFT_NEVER), 0);
    kit_go(g, "locker", locker, &w);
    CHECK_EQ(weft_group_wait(g, WEFT_NEVER), 0);
    CHECK_EQ(w.result, -ETIMEDOUT);
    w.d = soon();
    kit_go(g, "locker", locker, &w);
    CHECK_EQ(weft_group_wait(g, WEFT_NEVER), 0);
    CHECK_EQ(w.result, -ETIMEDOUT);
    CHECK(weft_now_ns() >= w.d.ns);
    weft_mutex_unlock(&m);
    CHECK_EQ(weft_mutex_lock(&m, (weft_deadline){1}), 0);
    weft_mutex_unlock(&m);
    CHECK_EQ(weft_group_close(&g), 0);
    return 0;
}

static int mutex_passes_the_canceled_by(void *arg)
{
    struct weft_mutex m = WEFT_MUTEX_INIT;
    struct weft_group *g = kit_group();
    struct waiter w[4];
    struct weft_task *t[4];
    int order = 0;
    (void)arg;
    CHECK_EQ(weft_mutex_lock(&m, WEFT_NEVER), 0);
    for (int i = 0; i < 4; i++) {
        w[i] = (struct waiter){.on = &m, .order = &order, .d = WEFT_NEVER, .release = true};
        t[i] = kit_spawn(g, "locker", locker, &w[i]);
    }
    kit_settle();
    weft_task_cancel(t[0]); /* the first */
    weft_task_cancel(t[2]); /* one in the middle */
    weft_mutex_unlock(&m);  /* t[1] has it now ... */
    weft_task_cancel(t[1]); /* ... and keeps it, though it is cancelled before it runs */
    for (int i = 0; i < 4; i++)
        CHECK_EQ(weft_task_join(&t[i], NULL, WEFT_NEVER), 0);
    CHECK_EQ(w[0].result, -ECANCELED);
    CHECK_EQ(w[1].result, 0);
    CHECK_EQ(w[2].result, -ECANCELED);
    CHECK_EQ(w[3].result, 0);
    CHECK(m.owner == NULL);
    CHECK_EQ(weft_group_close(&g), 0);
    return 0;
}

/* --- Semaphore ----------------------------------------------------------------------------- */

static int acquirer(void *arg)
{
    struct waiter *w = arg;
    note(w, weft_semaphore_acquire(w->on, w->d));
    if (w->result == 0 && w->release)
        weft_semaphore_release(w->on);
    return 0;
}

static int semaphore_counts(void *arg)
{
    struct weft_semaphore s = WEFT_SEMAPHORE_INIT(2);
    (void)arg;
    CHECK_EQ(weft_semaphore_acquire(&s, WEFT_NEVER), 0);
    CHECK_EQ(weft_semaphore_tryacquire(&s), 0);
    CHECK_EQ(weft_semaphore_tryacquire(&s), -EAGAIN);
    CHECK_EQ(weft_semaphore_acquire(&s, WEFT_NOW), -ETIMEDOUT);
    CHECK_EQ(weft_semaphore_acquire(&s, soon()), -ETIMEDOUT);
    weft_semaphore_release(&s);
    weft_semaphore_release(&s);
    weft_semaphore_release(&s);
    CHECK_EQ(s.count, 3);
    weft_semaphore_init(&s, 1);
    CHECK_EQ(weft_semaphore_tryacquire(&s), 0);
    CHECK_EQ(weft_semaphore_tryacquire(&s), -EAGAIN);
    return 0;
}

static int semaphore_serves_in_order(void *arg)
{
    struct weft_semaphore s;
    struct weft_group *g = kit_group();
    struct waiter w[6];
    struct weft_task *t[6];
    int order = 0;
    (void)arg;
    memset(&s, 0, sizeof s);
    for (int i = 0; i < 6; i++) {
        w[i] = (struct waiter){.on = &s, .order = &order, .d = WEFT_NEVER};
        t[i] = kit_spawn(g, "acquirer", acquirer, &w[i]);
    }
    kit_settle();
    weft_semaphore_release(&s);
    CHECK_EQ(weft_semaphore_tryacquire(&s), -EAGAIN); /* it is the first one's */
    weft_task_cancel(t[0]);                           /* who keeps it */
    weft_task_cancel(t[1]);
    weft_task_cancel(t[5]); /* the last one: the list ends before it now */
    for (int i = 0; i < 3; i++)
        weft_semaphore_release(&s);
    CHECK_EQ(s.count, 0);
    weft_semaphore_release(&s);
    CHECK_EQ(s.count, 1);
    static const int wanted[] = {0, -ECANCELED, 0, 0, 0, -ECANCELED};
    for (int i = 0; i < 6; i++) {
        CHECK_EQ(weft_task_join(&t[i], NULL, WEFT_NEVER), 0);
        CHECK_EQ(w[i].result, wanted[i]);
    }
    CHECK(w[0].place < w[2].place && w[2].place < w[3].place && w[3].place < w[4].place);
    CHECK_EQ(weft_group_close(&g), 0);
    return 0;
}

struct few {
    struct weft_semaphore s;
    int inside, most, done;
};

static int one_of_few(void *arg)
{
    struct few *f = arg;
    for (int i = 0; i < 20; i++) {
        CHECK_EQ(weft_semaphore_acquire(&f->s, WEFT_NEVER), 0);
        if (++f->inside > f->most)
            f->most = f->inside;
        CHECK_EQ(weft_yield(), 0);
        f->inside--;
        weft_semaphore_release(&f->s);
    }
    f->done++;
    return 0;
}

static int semaphore_lets_few_in(void *arg)
{
    struct few f = {.s = WEFT_SEMAPHORE_INIT(3)};
    struct weft_group *g = kit_group();
    (void)arg;
    for (int i = 0; i < 10; i++)
        kit_go(g, "one of few", one_of_few, &f);
    CHECK_EQ(weft_group_wait(g, WEFT_NEVER), 0);
    CHECK_EQ(f.done, 10);
    CHECK_EQ(f.most, 3);
    CHECK_EQ(f.s.count, 3);
    CHECK_EQ(weft_group_close(&g), 0);
    return 0;
}

/* --- Event --------------------------------------------------------------------------------- */

static int event_waiter(void *arg)
{
    struct waiter *w = arg;
    note(w, weft_event_wait(w->on, w->d));
    return 0;
}

static int event_wakes_all(void *arg)
{
    struct weft_event e = WEFT_EVENT_INIT;
    struct weft_group *g = kit_group();
    struct waiter w[4];
    struct weft_task *t[4];
    int order = 0;
    (void)arg;
    CHECK_EQ(weft_event_wait(&e, WEFT_NOW), -ETIMEDOUT);
    CHECK_EQ(weft_event_wait(&e, soon()), -ETIMEDOUT);
    for (int i = 0; i < 4; i++) {
        w[i] = (struct waiter){.on = &e, .order = &order, .d = WEFT_NEVER};
        t[i] = kit_spawn(g, "waiter", event_waiter, &w[i]);
    }
    kit_settle();
    weft_task_cancel(t[2]);
    weft_event_set(&e);
    weft_event_set(&e);
    weft_event_clear(&e); /* those who waited are free all the same */
    CHECK_EQ(weft_event_wait(&e, WEFT_NOW), -ETIMEDOUT);
    weft_event_set(&e);
    CHECK_EQ(weft_event_wait(&e, WEFT_NOW), 0);
    CHECK_EQ(weft_event_wait(&e, WEFT_NEVER), 0); /* it stays set */
    for (int i = 0; i < 4; i++) {
        CHECK_EQ(weft_task_join(&t[i], NULL, WEFT_NEVER), 0);
        CHECK_EQ(w[i].result, i == 2 ? -ECANCELED : 0);
    }
    CHECK(w[0].place < w[1].place && w[1].place < w[3].place);
    CHECK_EQ(weft_group_close(&g), 0);
    return 0;
}

/* --- Barrier ------------------------------------------------------------------------------- */

static int arriver(void *arg)
{
    struct waiter *w = arg;
    note(w, weft_barrier_wait(w->on, w->d));
    return 0;
}

static int barrier_opens_for_all(void *arg)
{
    struct weft_barrier b = WEFT_BARRIER_INIT(3);
    struct weft_group *g = kit_group();
    struct waiter w[6];
    int order = 0, ones = 0;
    (void)arg;
    for (int i = 0; i < 6; i++) {
        w[i] = (struct waiter){.on = &b, .order = &order, .d = WEFT_NEVER};
        kit_go(g, "arriver", arriver, &w[i]);
    }
    CHECK_EQ(weft_group_wait(g, WEFT_NEVER), 0);
    for (int i = 0; i < 6; i++)
        ones += w[i].result;
    CHECK_EQ(ones, 2); /* two rounds, one last each */
    CHECK_EQ(w[2].result, 1);
    CHECK_EQ(w[5].result, 1);
    CHECK_EQ(b.arrived, 0);

    weft_barrier_init(&b, 1);
    CHECK_EQ(weft_barrier_wait(&b, WEFT_NOW), 1);
    CHECK_EQ(weft_group_close(&g), 0);
    return 0;
}

static int barrier_forgets_who_gives_up(void *arg)
{
    struct weft_barrier b;
    struct weft_group *g = kit_group();
    struct waiter w[3];
    struct weft_task *t[3];
    int order = 0;
    (void)arg;
    weft_barrier_init(&b, 3);
    CHECK_EQ(weft_barrier_wait(&b, WEFT_NOW), -ETIMEDOUT);
    CHECK_EQ(weft_barrier_wait(&b, soon()), -ETIMEDOUT);
    CHECK_EQ(b.arrived, 0);
    for (int i = 0; i < 3; i++)
        w[i] = (struct waiter){.on = &b, .order = &order, .d = WEFT_NEVER};
    t[0] = kit_spawn(g, "arriver", arriver, &w[0]);
    t[1] = kit_spawn(g, "arriver", arriver, &w[1]);
    kit_settle();
    CHECK_EQ(b.arrived, 2);
    weft_task_cancel(t[0]);
    CHECK_EQ(weft_task_join(&t[0], NULL, WEFT_NEVER), 0);
    CHECK_EQ(w[0].result, -ECANCELED);
    CHECK_EQ(b.arrived, 1);
    t[2] = kit_spawn(g, "arriver", arriver, &w[2]);
    kit_settle();
    CHECK_EQ(weft_group_count(g), 2); /* still one short */
    CHECK_EQ(weft_barrier_wait(&b, WEFT_NEVER), 1);
    weft_task_cancel(t[1]); /* too late to give up */
    for (int i = 1; i < 3; i++) {
        CHECK_EQ(weft_task_join(&t[i], NULL, WEFT_NEVER), 0);
        CHECK_EQ(w[i].result, 0);
    }
    CHECK_EQ(weft_group_close(&g), 0);
    return 0;
}

/* --- Once ---------------------------------------------------------------------------------- */

struct once {
    struct weft_once once;
    int runs;
    int fail; /* so many times */
    struct weft_event go;
    int order;
};

static int once_body(void *arg)
{
    struct once *o = arg;
    o->runs++;
    int err = weft_event_wait(&o->go, WEFT_NEVER);
    if (err < 0)
        return err;
    return o->fail-- > 0 ? -EIO : 0;
}

struct once_caller {
    struct once *o;
    int result, place;
    weft_deadline d;
};

static int once_call(void *arg)
{
    struct once_caller *c = arg;
    c->result = weft_once(&c->o->once, once_body, c->o, c->d);
    c->place = c->o->order++;
    return 0;
}

static int once_runs_once(void *arg)
{
    struct once o = {.once = WEFT_ONCE_INIT};
    struct once_caller c[4];
    struct weft_group *g = kit_group();
    (void)arg;
    for (int i = 0; i < 4; i++) {
        c[i] = (struct once_caller){.o = &o, .d = i == 3 ? soon() : WEFT_NEVER};
        kit_go(g, "caller", once_call, &c[i]);
    }
    kit_settle();
    CHECK_EQ(weft_once(&o.once, once_body, &o, WEFT_NOW), -ETIMEDOUT);
    while (weft_group_count(g) == 4)
        CHECK_EQ(weft_sleep_ms(1), 0);
    CHECK_EQ(c[3].result, -ETIMEDOUT);
    weft_event_set(&o.go);
    CHECK_EQ(weft_group_wait(g, WEFT_NEVER), 0);
    for (int i = 0; i < 3; i++)
        CHECK_EQ(c[i].result, 0);
    CHECK_EQ(weft_once(&o.once, once_body, &o, WEFT_NOW), 0);
    CHECK_EQ(o.runs, 1);
    CHECK_EQ(weft_group_close(&g), 0);
    return 0;
}

static int once_is_tried_again(void *arg)
{
    struct once o = {.fail = 2};
    struct once_caller c[4];
    struct weft_group *g = kit_group();
    (void)arg;
    for (int i = 0; i < 4; i++) {
        c[i] = (struct once_caller){.o = &o, .d = WEFT_NEVER};
        kit_go(g, "caller", once_call, &c[i]);
    }
    kit_settle();
    weft_event_set(&o.go);
    CHECK_EQ(weft_group_wait(g, WEFT_NEVER), 0);
    CHECK_EQ(c[0].result, -EIO);
    CHECK_EQ(c[1].result, -EIO);
    CHECK_EQ(c[2].result, 0);
    CHECK_EQ(c[3].result, 0);
    CHECK_EQ(o.runs, 3);

    /* Failed with nobody waiting: the next caller finds it as new. */
    struct once alone = {.fail = 1};
    weft_event_set(&alone.go);
    CHECK_EQ(weft_once(&alone.once, once_body, &alone, WEFT_NEVER), -EIO);
    CHECK_EQ(weft_once(&alone.once, once_body, &alone, WEFT_NEVER), 0);
    CHECK_EQ(alone.runs, 2);
    CHECK_EQ(weft_group_close(&g), 0);
    return 0;
}

static int once_survives_a_cancel(void *arg)
{
    struct once o = {.fail = 0};
    struct once_caller c[3];
    struct weft_task *t[3];
    struct weft_group *g = kit_group();
    (void)arg;
    for (int i = 0; i < 3; i++) {
        c[i] = (struct once_caller){.o = &o, .d = WEFT_NEVER};
        t[i] = kit_spawn(g, "caller", once_call, &c[i]);
    }
    kit_settle();
    weft_task_cancel(t[0]); /* who runs it: its wait fails, the next one runs it */
    kit_settle();
    CHECK_EQ(o.runs, 2);
    CHECK_EQ(c[0].result, -ECANCELED);
    weft_event_set(&o.go);
    for (int i = 0; i < 3; i++)
        CHECK_EQ(weft_task_join(&t[i], NULL, WEFT_NEVER), 0);
    CHECK(c[1].result == 0 && c[2].result == 0);
    CHECK_EQ(weft_group_close(&g), 0);
    return 0;
}

/* --- Callbacks, threads, cancelled tasks --------------------------------------------------- */

static int succeed(void *arg)
{
    (void)arg;
    return 0;
}

static void callback(void *arg)
{
    struct weft_mutex m = WEFT_MUTEX_INIT;
    struct weft_semaphore s = WEFT_SEMAPHORE_INIT(1);
    struct weft_event e = WEFT_EVENT_INIT;
    struct weft_barrier b = WEFT_BARRIER_INIT(1);
    struct weft_once o = WEFT_ONCE_INIT;
    (void)arg;
    CHECK_EQ(weft_mutex_lock(&m, WEFT_NOW), -EDEADLK);
    CHECK_EQ(weft_semaphore_acquire(&s, WEFT_NOW), -EDEADLK);
    CHECK_EQ(weft_event_wait(&e, WEFT_NOW), -EDEADLK);
    CHECK_EQ(weft_barrier_wait(&b, WEFT_NOW), -EDEADLK);
    CHECK_EQ(weft_once(&o, succeed, NULL, WEFT_NOW), -EDEADLK);
    CHECK_EQ(weft_mutex_trylock(&m), 0);
    weft_mutex_unlock(&m);
    CHECK_EQ(weft_semaphore_tryacquire(&s), 0);
    weft_semaphore_release(&s);
}

static int callbacks_do_not_wait(void *arg)
{
    (void)arg;
    kit_as_callback(callback, NULL);
    return 0;
}

static void plain_thread(const char *driver)
{
    struct weft_mutex m = WEFT_MUTEX_INIT;
    struct weft_semaphore s = WEFT_SEMAPHORE_INIT(1);
    struct weft_event e = WEFT_EVENT_INIT;
    struct weft_barrier b = WEFT_BARRIER_INIT(2);
    struct weft_once o = WEFT_ONCE_INIT;
    (void)driver;
    CHECK_EQ(weft_mutex_lock(&m, WEFT_NEVER), 0);
    CHECK_EQ(weft_mutex_lock(&m, WEFT_NEVER), -EDEADLK);
    weft_mutex_unlock(&m);
    CHECK_EQ(weft_semaphore_acquire(&s, WEFT_NEVER), 0);
    CHECK_EQ(weft_semaphore_acquire(&s, WEFT_NEVER), -EDEADLK);
    CHECK_EQ(weft_semaphore_acquire(&s, WEFT_NOW), -ETIMEDOUT);
    CHECK_EQ(weft_event_wait(&e, WEFT_NEVER), -EDEADLK);
    weft_event_set(&e);
    CHECK_EQ(weft_event_wait(&e, WEFT_NEVER), 0);
    CHECK_EQ(weft_barrier_wait(&b, WEFT_NEVER), -EDEADLK);
    CHECK_EQ(b.arrived, 0);
    CHECK_EQ(weft_once(&o, succeed, NULL, WEFT_NEVER), 0);
}

static int refused(void *arg)
{
    struct weft_mutex m = WEFT_MUTEX_INIT;
    struct weft_semaphore s = WEFT_SEMAPHORE_INIT(1);
    struct weft_event e = {.set = true};
    struct weft_barrier b = WEFT_BARRIER_INIT(1);
    struct weft_once o = WEFT_ONCE_INIT;
    (void)arg;
    CHECK_EQ(weft_mutex_lock(&m, WEFT_NEVER), -ECANCELED);
    CHECK_EQ(weft_semaphore_acquire(&s, WEFT_NEVER), -ECANCELED);
    CHECK_EQ(weft_event_wait(&e, WEFT_NEVER), -ECANCELED);
    CHECK_EQ(weft_barrier_wait(&b, WEFT_NEVER), -ECANCELED);
    CHECK_EQ(weft_once(&o, succeed, NULL, WEFT_NEVER), -ECANCELED);
    CHECK(m.owner == NULL && s.count == 1 && b.arrived == 0 && o.state == 0);
    return 0;
}

static int canceled_task_is_refused(void *arg)
{
    struct weft_group *g = kit_group();
    (void)arg;
    kit_go(g, "refused", refused, NULL);
    return weft_group_close(&g);
}

struct hog {
    struct weft_mutex m;
    struct weft_event e;
};

static int hog(void *arg)
{
    struct hog *h = arg;
    for (;;) {
        int err = weft_mutex_lock(&h->m, WEFT_NEVER);
        if (err < 0)
            return err;
        weft_mutex_unlock(&h->m);
    }
}

static int hog_in_vain(void *arg)
{
    struct hog *h = arg;
    while (weft_event_wait(&h->e, WEFT_NOW) != -ECANCELED) {
    }
    return 0;
}

static int hogs_starve_nobody(void *arg)
{
    struct hog h = {.m = WEFT_MUTEX_INIT};
    struct weft_group *g = kit_group();
    (void)arg;
    kit_go(g, "hog", hog, &h);
    kit_go(g, "hog in vain", hog_in_vain, &h);
    for (int i = 0; i < 100; i++)
        CHECK_EQ(weft_yield(), 0);
    return weft_group_close(&g);
}

static const struct kit_case cases[] = {
    IN_TASK(mutex_alone),
    IN_TASK(mutex_is_handed_over_in_order),
    IN_TASK(mutex_waits_no_longer_than_told),
    IN_TASK(mutex_passes_the_canceled_by),
    IN_TASK(semaphore_counts),
    IN_TASK(semaphore_serves_in_order),
    IN_TASK(semaphore_lets_few_in),
    IN_TASK(event_wakes_all),
    IN_TASK(barrier_opens_for_all),
    IN_TASK(barrier_forgets_who_gives_up),
    IN_TASK(once_runs_once),
    IN_TASK(once_is_tried_again),
    IN_TASK(once_survives_a_cancel),
    IN_TASK(callbacks_do_not_wait),
    ON_THREAD(plain_thread),
    IN_TASK(canceled_task_is_refused),
    IN_TASK(hogs_starve_nobody),
};

KIT_MAIN(cases)
