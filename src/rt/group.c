/* SPDX-License-Identifier: MIT */
/*
 * Groups: members enter and leave, a cancel walks down, the owner waits.
 *
 * Floor 2. Invariants:
 *  - a group of a loop is touched on the loop's thread only; a group of a plain thread only under
 *    weft__tree_lock (its owner and its members are different threads);
 *  - a cancel walks with a work list, not by recursion, so depth costs no stack;
 *  - once cancelled, a group stays cancelled, and errors that follow are consequences, not causes.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "rt/rt.h"

pthread_mutex_t weft__tree_lock = PTHREAD_MUTEX_INITIALIZER;

static void lock(const struct weft_group *g)
{
    if (g->loop == NULL)
        pthread_mutex_lock(&weft__tree_lock);
}

static void unlock(const struct weft_group *g)
{
    if (g->loop == NULL)
        pthread_mutex_unlock(&weft__tree_lock);
}

/* Whether the caller runs where the group's loop does; threads' groups are guarded by the lock. */
static bool at_home(const struct weft_group *g)
{
    return g->loop == NULL || pthread_equal(g->loop->thread, pthread_self());
}

static int not_at_home(void)
{
    return weft__fail(WEFT_ETHREAD, "the group belongs to another thread's loop");
}

void weft__group_init(struct weft_group *g, struct weft__flow *owner, struct weft_loop *loop)
{
    memset(g, 0, sizeof *g);
    g->loop = loop;
    g->owner = owner;
    g->cancel_fd = -1;
    g->deadline_ns = INT64_MAX;
    weft__list_init(&g->members);
    weft__list_init(&g->attached);
    lock(g);
    g->canceled = weft__flow_canceled(owner);
    g->sheltered = owner->shields > 0;
    weft__list_push_back(&owner->groups, &g->link);
    unlock(g);
}

void weft__group_fini(struct weft_group *g)
{
    WEFT__ASSERT(g->live == 0);
    lock(g);
    weft__list_remove(&g->link);
    bool zombie = g->has_zombie;
    g->has_zombie = false;
    unlock(g);
    if (zombie)
        pthread_join(g->zombie, NULL);
    if (g->loop != NULL)
        weft__loop_alarm_del(g->loop, &g->alarm);
    if (g->cancel_fd >= 0)
        close(g->cancel_fd);
    struct weft__node *n;
    while ((n = weft__list_pop_back(&g->attached)) != NULL) {
        struct weft__attached *a = WEFT__CONTAINER_OF(n, struct weft__attached, link);
        a->free(a);
    }
    weft__free(g->detail);
    g->detail = NULL;
}

int weft_group_open(struct weft_group **ret)
{
    struct weft__flow *f = weft__flow_self();
    struct weft_group *g = weft__alloc(sizeof *g);
    if (g == NULL)
        return -ENOMEM;
    weft__group_init(g, f, f->loop);
    *ret = g;
    return 0;
}

/* --- Members --------------------------------------------------------------------------------- */

int weft__group_enter(struct weft_group *g, struct weft__member *m,
                      const struct weft__member_class *cls)
{
    int err = 0;
    lock(g);
    if (g->canceled || g->closing) {
        err = -ECANCELED;
    } else {
        m->group = g;
        m->cls = cls;
        weft__node_init(&m->link);
        weft__list_push_back(&g->members, &m->link);
        g->live++;
    }
    unlock(g);
    return err;
}

static void cancel_locked(struct weft_group *g)
{
    struct weft__queue more = {NULL, NULL};
    weft__queue_push_back(&more, &g->cancel_link);
    weft__group_cancel_queue(&more);
}

static void keep_error(struct weft_group *g, int error)
{
    g->error = error;
    const char *text = weft_error_detail();
    if (text[0] == '\0')
        return;
    g->detail = weft__alloc(sizeof *g->detail);
    if (g->detail != NULL)
        strcpy(g->detail->text, text); /* same size, and terminated */
}

/* Called with the lock held where there is one. */
static void leave_locked(struct weft__member *m, int result, bool keep_errors)
{
    struct weft_group *g = m->group;
    weft__list_remove(&m->link);
    g->live--;
    /* -ECANCELED is an answer to a cancel, of the group or of the member alone, never a cause. */
    if (result < 0 && result != -ECANCELED && !keep_errors && !g->canceled) {
        keep_error(g, result);
        cancel_locked(g);
    }
    if (g->live == 0 && g->waiter != NULL) {
        struct weft__wait *w = g->waiter;
        g->waiter = NULL;
        weft__wait_trigger(w, 0);
    }
    if (g->live == 0 && g->emptied != NULL)
        g->emptied(g); /* may free the group */
}

void weft__group_leave(struct weft__member *m, int result, bool keep_errors)
{
    WEFT__ASSERT(at_home(m->group));
    leave_locked(m, result, keep_errors); /* a thread's end takes the lock around all of it */
}

void weft__group_attach(struct weft_group *g, struct weft__attached *a)
{
    weft__node_init(&a->link);
    lock(g);
    weft__list_push_back(&g->attached, &a->link);
    unlock(g);
}

/* --- Cancel ----------------------------------------------------------------------------------- */

void weft__group_cancel_queue(struct weft__queue *more)
{
    struct weft__slink *n;
    while ((n = weft__queue_pop_front(more)) != NULL) {
        struct weft_group *g = WEFT__CONTAINER_OF(n, struct weft_group, cancel_link);
        if (g->canceled)
            continue;
        g->canceled = true;
        WEFT__LIST_EACH(&g->members, node) {
            struct weft__member *m = WEFT__CONTAINER_OF(node, struct weft__member, link);
            m->cls->cancel(m, more);
        }
        /* Behind the marks: a thread that it wakes is to find itself cancelled in its next call. */
        if (g->cancel_fd >= 0) {
            ssize_t ignored = write(g->cancel_fd, &(uint64_t){1}, sizeof(uint64_t));
            (void)ignored; /* an eventfd that is full is readable, which is what matters */
        }
    }
}

void weft__flow_push_groups(struct weft__flow *f, struct weft__queue *more)
{
    WEFT__LIST_EACH(&f->groups, node) {
        struct weft_group *g = WEFT__CONTAINER_OF(node, struct weft_group, link);
        /* In the work list already, or cancelled: pushing twice would tie the list in a knot. */
        if (g->canceled || g->by_hand || (g->sheltered && f->shields > 0))
            continue;
        weft__queue_push_back(more, &g->cancel_link);
    }
}

void weft_group_cancel(struct weft_group *g)
{
    WEFT__ASSERT(at_home(g));
    lock(g);
    cancel_locked(g);
    unlock(g);
    if (g->loop != NULL && !g->loop->in_turn)
        weft__loop_arm_embedding(g->loop);
}

static void group_late(struct weft__alarm *a)
{
    struct weft_group *g = WEFT__CONTAINER_OF(a, struct weft_group, alarm);
    g->timed_out = true;
    cancel_locked(g);
}

int weft_group_deadline(struct weft_group *g, weft_deadline d)
{
    if (!at_home(g))
        return not_at_home();
    lock(g);
    g->deadline_ns = d.ns;
    unlock(g);
    if (g->loop == NULL)
        return 0; /* the owner's waits watch it: see wait_until */
    weft__loop_alarm_del(g->loop, &g->alarm);
    g->alarm.fn = group_late;
    if (d.ns != INT64_MAX)
        weft__loop_alarm(g->loop, &g->alarm, weft__max_i64(d.ns, 0));
    if (!g->loop->in_turn)
        weft__loop_arm_embedding(g->loop);
    return 0;
}

/* --- Waiting ---------------------------------------------------------------------------------- */

struct group_wait {
    struct weft__wait wait;
    struct weft_group *group;
};

static void wait_abort(struct weft__wait *w, int why)
{
    struct weft_group *g = WEFT__CONTAINER_OF(w, struct group_wait, wait)->group;
    lock(g);
    bool ours = g->waiter == w;
    if (ours)
        g->waiter = NULL;
    unlock(g);
    if (ours)
        weft__wait_trigger(w, why);
}

/* Waits for the last member to leave. abortable: false in close. */
static int wait_empty(struct weft_group *g, bool abortable, weft_deadline d)
{
    struct group_wait gw = {.group = g};
    weft__wait_init(&gw.wait, abortable ? "group wait" : "group close", -1,
                    abortable ? wait_abort : NULL);
    int err = 0;
    lock(g);
    bool live = g->live > 0;
    if (live && g->waiter != NULL)
        err = -EBUSY;
    else if (live)
        g->waiter = &gw.wait;
    unlock(g);
    return live && err == 0 ? weft__wait_block(&gw.wait, d) : err;
}

/* A thread's group has no loop to watch its deadline: its waiter does. */
static int wait_until(struct weft_group *g, weft_deadline d)
{
    if (g->loop != NULL || g->deadline_ns >= d.ns)
        return wait_empty(g, true, d);
    int err = wait_empty(g, true, (weft_deadline){g->deadline_ns});
    if (err != -ETIMEDOUT)
        return err;
    lock(g);
    g->timed_out = true;
    cancel_locked(g);
    unlock(g);
    return wait_empty(g, true, d);
}

void weft__group_join(struct weft_group *g)
{
    int err = wait_empty(g, false, WEFT_NEVER);
    WEFT__ASSERT(err == 0);
}

static int outcome(struct weft_group *g)
{
    if (g->error < 0) {
        if (g->detail != NULL)
            weft__error_detail("%s", g->detail->text);
        return g->error;
    }
    return g->timed_out ? -ETIMEDOUT : 0;
}

int weft_group_wait(struct weft_group *g, weft_deadline d)
{
    if (!at_home(g))
        return not_at_home();
    if (weft_group_count(g) > 0) {
        int err = weft__wait_check();
        if (err == 0 && g->loop != NULL && weft__flow_late(weft__flow_self(), d)) {
            weft__charge();
            err = -ETIMEDOUT;
        } else if (err == 0) {
            err = wait_until(g, d);
        }
        if (err < 0)
            return err;
    }
    return outcome(g);
}

size_t weft_group_count(const struct weft_group *g)
{
    lock(g);
    size_t n = g->live;
    unlock(g);
    return n;
}

int weft_group_close(struct weft_group **ret)
{
    struct weft_group *g = *ret;
    if (g == NULL)
        return 0;
    if (!at_home(g))
        return not_at_home();
    lock(g);
    bool stuck = g->live > 0 && weft__flow_self()->kind == WEFT__FLOW_CALLBACK;
    if (!stuck)
        g->closing = true;
    cancel_locked(g);
    unlock(g);
    if (stuck)
        return weft__fail(-EDEADLK, "a callback may not wait for the group's live members");
    int err = wait_empty(g, false, WEFT_NEVER);
    if (err < 0)
        return err;
    err = g->error < 0 ? outcome(g) : 0;
    weft__group_fini(g);
    weft__free(g);
    *ret = NULL;
    return err;
}
