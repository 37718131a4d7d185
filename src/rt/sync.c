/* SPDX-License-Identifier: MIT */
/*
 * Mutex, semaphore, event, barrier and once, between the tasks of one loop.
 *
 * Floor 2. What is waited for is handed over: unlock makes the first waiter the owner before it
 * runs, release gives it the unit. So nobody overtakes, and there is no wake-up that could be lost:
 * a waiter that was handed something returns 0 with it, even when it is cancelled before it runs
 * (trigger and abort exclude each other: see wait.c); its next wait then says so. One that was
 * aborted has left the list and is handed nothing.
 *
 * Invariants: a list of waiters is in the order of arrival; a waiter is in a list exactly from
 * its entry to its trigger.
 */
#include <errno.h>

#include <weft/sync.h>

#include "rt/rt.h"

/* A place in a list of waiters, in the waiting call's frame. */
struct place {
    struct weft__wait wait;
    struct place *prev;
    struct place *next;
    struct weft_waiters *in;
};

static void enter(struct weft_waiters *ws, struct place *p)
{
    p->in = ws;
    p->next = NULL;
    p->prev = ws->last;
    if (p->prev != NULL)
        p->prev->next = p;
    else
        ws->first = p;
    ws->last = p;
}

static void leave(struct place *p)
{
    struct weft_waiters *ws = p->in;
    if (p->prev != NULL)
        p->prev->next = p->next;
    else
        ws->first = p->next;
    if (p->next != NULL)
        p->next->prev = p->prev;
    else
        ws->last = p->prev;
}

static void place_abort(struct weft__wait *w, int why)
{
    leave(WEFT__CONTAINER_OF(w, struct place, wait));
    weft__wait_trigger(w, why);
}

/* Lets the first waiter go on with a result; the flow that it is, NULL when nobody waits. */
static struct weft__flow *hand_over(struct weft_waiters *ws, int result)
{
    struct place *p = ws->first;
    if (p == NULL)
        return NULL;
    leave(p);
    weft__wait_trigger(&p->wait, result);
    return p->wait.flow;
}

/* Nothing to be had at once: what a call that may not wait for it returns, else 0. */
static int may_wait(weft_deadline d)
{
    struct weft__flow *f = weft__flow_self();
    int err = 0;
    if (weft__flow_late(f, d))
        err = -ETIMEDOUT;
    else if (f->kind != WEFT__FLOW_TASK)
        err = weft__fail(-EDEADLK, "a plain thread would wait for a task for ever");
    if (err < 0)
        weft__charge();
    return err;
}

/* Waits its turn; the hand-over's result, or why it was aborted. */
static int queue_up(struct weft_waiters *ws, const char *what, weft_deadline d)
{
    struct place p;
    weft__wait_init(&p.wait, what, -1, place_abort);
    enter(ws, &p);
    return weft__wait_block(&p.wait, d);
}

/* --- Mutex ---------------------------------------------------------------------------------- */

static int lock_held(struct weft_mutex *m, weft_deadline d)
{
    if (m->owner == weft__flow_self())
        return weft__fail(-EDEADLK, "the task holds this mutex already");
    int err = may_wait(d);
    return err < 0 ? err : queue_up(&m->waiters, "lock", d);
}

int weft_mutex_lock(struct weft_mutex *m, weft_deadline d)
{
    int err = weft__wait_check();
    if (WEFT__UNLIKELY(err < 0))
        return err;
    if (WEFT__UNLIKELY(m->owner != NULL))
        return lock_held(m, d);
    m->owner = weft__flow_self();
    weft__charge();
    return 0;
}

int weft_mutex_trylock(struct weft_mutex *m)
{
    if (m->owner != NULL)
        return -EAGAIN;
    m->owner = weft__flow_self();
    return 0;
}

void weft_mutex_unlock(struct weft_mutex *m)
{
    WEFT__ASSERT(m->owner == weft__flow_self());
    m->owner = hand_over(&m->waiters, 0);
}

/* --- Semaphore ------------------------------------------------------------------------------ */

void weft_semaphore_init(struct weft_semaphore *s, size_t count)
{
    *s = (struct weft_semaphore){.count = count};
}

int weft_semaphore_acquire(struct weft_semaphore *s, weft_deadline d)
{
    int err = weft__wait_check();
    if (err == 0 && s->count == 0) {
        err = may_wait(d);
        return err < 0 ? err : queue_up(&s->waiters, "acquire", d);
    }
    if (err == 0) {
        s->count--;
        weft__charge();
    }
    return err;
}

int weft_semaphore_tryacquire(struct weft_semaphore *s)
{
    if (s->count == 0)
        return -EAGAIN;
    s->count--;
    return 0;
}

void weft_semaphore_release(struct weft_semaphore *s)
{
    if (hand_over(&s->waiters, 0) == NULL)
        s->count++;
}

/* --- Event ---------------------------------------------------------------------------------- */

int weft_event_wait(struct weft_event *e, weft_deadline d)
{
    int err = weft__wait_check();
    if (err == 0 && !e->set) {
        err = may_wait(d);
        return err < 0 ? err : queue_up(&e->waiters, "event", d);
    }
    if (err == 0)
        weft__charge();
    return err;
}

void weft_event_set(struct weft_event *e)
{
    e->set = true;
    while (hand_over(&e->waiters, 0) != NULL) {
    }
}

void weft_event_clear(struct weft_event *e)
{
    e->set = false;
}

/* --- Barrier -------------------------------------------------------------------------------- */

void weft_barrier_init(struct weft_barrier *b, size_t parties)
{
    *b = (struct weft_barrier){.parties = parties};
}

struct barrier_place {
    struct place place;
    struct weft_barrier *barrier;
};

static void barrier_abort(struct weft__wait *w, int why)
{
    struct place *p = WEFT__CONTAINER_OF(w, struct place, wait);
    WEFT__CONTAINER_OF(p, struct barrier_place, place)->barrier->arrived--;
    place_abort(w, why);
}

int weft_barrier_wait(struct weft_barrier *b, weft_deadline d)
{
    int err = weft__wait_check();
    if (err < 0)
        return err;
    if (b->arrived + 1 >= b->parties) {
        b->arrived = 0; /* the next round's count begins before anyone of this round runs */
        while (hand_over(&b->waiters, 0) != NULL) {
        }
        weft__charge();
        return 1;
    }
    err = may_wait(d);
    if (err < 0)
        return err;
    struct barrier_place p = {.barrier = b};
    weft__wait_init(&p.place.wait, "barrier", -1, barrier_abort);
    b->arrived++;
    enter(&b->waiters, &p.place);
    return weft__wait_block(&p.place.wait, d);
}

/* --- Once ----------------------------------------------------------------------------------- */

enum { ONCE_NEW, ONCE_RUNS, ONCE_DONE };

/* What a waiter is told: done, or that the one before it failed and it is to run fn. */
enum { TOLD_DONE = 0, TOLD_TO_RUN = 1 };

int weft_once(struct weft_once *o, int (*fn)(void *arg), void *arg, weft_deadline d)
{
    int err = weft__wait_check();
    if (err < 0)
        return err;
    if (o->state == ONCE_DONE) {
        weft__charge();
        return 0;
    }
    if (o->state == ONCE_RUNS) {
        err = may_wait(d);
        if (err == 0)
            err = queue_up(&o->waiters, "once", d);
        if (err != TOLD_TO_RUN)
            return err;
    }
    o->state = ONCE_RUNS;
    err = fn(arg);
    if (err < 0) {
        if (hand_over(&o->waiters, TOLD_TO_RUN) == NULL)
            o->state = ONCE_NEW; /* else the next one's turn has begun: no newcomer may step in */
        return err;
    }
    o->state = ONCE_DONE;
    while (hand_over(&o->waiters, TOLD_DONE) != NULL) {
    }
    return 0;
}
