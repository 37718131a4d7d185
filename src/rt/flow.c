/* SPDX-License-Identifier: MIT */
/*
 * Flows: what tasks and threads have in common. The body with its clean-up, handles, shields.
 *
 * Floor 2. Invariant: a flow's end runs in this order: fn, groups that it left open (a bug, mended
 * and reported), deferred calls (last in first), memory, handle, group.
 */
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "rt/handle.h"
#include "sys/sim/world.h"

_Thread_local struct weft__flow *weft__flow_current;

#define FINISH_SHIELD_MS 5000
#define SHIELD_DEFAULT_MS 5000

/* A deferred call, or (fn NULL) memory of the flow that follows the struct. */
struct weft__defer {
    struct weft__defer *next;
    weft_defer_fn fn;
    void *arg;
};

void weft__flow_init(struct weft__flow *f, enum weft__flow_kind kind, struct weft_loop *loop)
{
    memset(f, 0, sizeof *f);
    f->kind = (uint8_t)kind;
    f->loop = loop;
    f->name = "";
    f->site = "";
    weft__list_init(&f->groups);
}

static int close_orphans(struct weft__flow *f, int result)
{
    struct weft__node *n;
    while ((n = weft__list_first(&f->groups)) != NULL) {
        struct weft_group *g = WEFT__CONTAINER_OF(n, struct weft_group, link);
        size_t live = weft_group_count(g);
        (void)weft_group_close(&g);
        weft__error_detail("'%s' (%s) ended with an open group of %zu live members", f->name,
                           f->site, live);
        if (result >= 0)
            result = WEFT_EORPHAN;
    }
    return result;
}

int weft__flow_run(struct weft__flow *f)
{
    int result = f->fn(f->arg);
    f->finishing = true;
    while (f->shields > 0)
        weft_unshield();
    if (!weft__list_empty(&f->groups))
        result = close_orphans(f, result);
    if (f->defers == NULL)
        return result;
    weft_shield(FINISH_SHIELD_MS);
    struct weft__defer *memory = NULL;
    struct weft__defer *d;
    while ((d = f->defers) != NULL) {
        f->defers = d->next;
        if (d->fn == NULL) { /* calls may use it: freed after all of them */
            d->next = memory;
            memory = d;
            continue;
        }
        weft_defer_fn fn = d->fn;
        void *arg = d->arg;
        weft__free(d);
        fn(arg);
    }
    while ((d = memory) != NULL) {
        memory = d->next;
        weft__free(d);
    }
    weft_unshield();
    return close_orphans(f, result);
}

/* --- Spare handles ---------------------------------------------------------------------------- */

/* Spare handles that a loop keeps: spawning and joining in turn then allocates nothing. None under
 * a sanitizer, which is to see the use of one after its end; and so none in a simulation, where any
 * allocation may be refused by chance, and a seed is one run in every build. */
#define HANDLES_SPARE 64
#define HANDLES_KEPT (!(WEFT__ASAN || WEFT__TSAN))

struct weft_task *weft__handle_new(struct weft_loop *l)
{
    struct weft_task *h = l->handles;
    if (h == NULL)
        return weft__calloc(1, sizeof *h);
    l->handles = h->next;
    l->handles_spare--;
    memset(h, 0, sizeof *h);
    return h;
}

/* l: the loop of whoever lets go of it; NULL: none. */
static void handle_free(struct weft_loop *l, struct weft_task *h)
{
    if (h->detail != NULL)
        weft__free(h->detail);
    if (!HANDLES_KEPT || weft__sim_proc != NULL || l == NULL || l->handles_spare >= HANDLES_SPARE) {
        weft__free(h);
        return;
    }
    h->next = l->handles;
    l->handles = h;
    l->handles_spare++;
}

void weft__handle_free_spares(struct weft_loop *l)
{
    struct weft_task *h;
    while ((h = l->handles) != NULL) {
        l->handles = h->next;
        weft__free(h);
    }
    l->handles_spare = 0;
}

/* --- The end ---------------------------------------------------------------------------------- */

void weft__flow_ended(struct weft__flow *f, int result)
{
    struct weft_task *h = f->handle;
    struct weft__detail **slot = weft__detail_slot;
    weft__detail_slot = &f->detail; /* a thread's end may be told on its group's loop */
    if (f->member.group != NULL)
        weft__group_leave(&f->member, result, f->keep_errors);
    if (h != NULL && !h->released) {
        h->flow = NULL;
        h->result = result;
        h->detail = f->detail;
        f->detail = NULL;
        if (h->waiter != NULL) {
            struct weft__wait *w = h->waiter;
            h->waiter = NULL;
            weft__wait_trigger(w, 0);
        }
    } else if (h != NULL) {
        handle_free(f->kind == WEFT__FLOW_TASK ? f->loop : NULL, h);
    }
    if (WEFT__UNLIKELY(f->detail != NULL)) {
        weft__free(f->detail);
        f->detail = NULL;
    }
    weft__detail_slot = slot == &f->detail ? NULL : slot;
}

int weft_canceled(void)
{
    struct weft__flow *f = weft__flow_self();
    return weft__flow_canceled(f) ? -ECANCELED : 0;
}

/* A cancel of a thread looks at its shields from another thread, under the lock. */
static void shield_lock(const struct weft__flow *f)
{
    if (f->kind == WEFT__FLOW_THREAD)
        pthread_mutex_lock(&weft__tree_lock);
}

static void shield_unlock(const struct weft__flow *f)
{
    if (f->kind == WEFT__FLOW_THREAD)
        pthread_mutex_unlock(&weft__tree_lock);
}

void weft_shield(int64_t ms)
{
    struct weft__flow *f = weft__flow_self();
    int64_t until = weft_after_ms(ms > 0 ? ms : SHIELD_DEFAULT_MS).ns;
    WEFT__ASSERT(f->shields < UINT8_MAX);
    shield_lock(f);
    if (f->shields > 0) {
        until = weft__min_i64(until, f->shield_ns);
        if (f->shields <= WEFT__ARRAY_LEN(f->shield_outer_ns))
            f->shield_outer_ns[f->shields - 1] = f->shield_ns;
    }
    f->shields++;
    f->shield_ns = until;
    shield_unlock(f);
}

void weft_unshield(void)
{
    struct weft__flow *f = weft__flow_self();
    WEFT__ASSERT(f->shields > 0);
    shield_lock(f);
    f->shields--;
    if (f->shields > 0 && f->shields <= WEFT__ARRAY_LEN(f->shield_outer_ns))
        f->shield_ns = f->shield_outer_ns[f->shields - 1];
    bool over = f->shields == 0 && atomic_load_explicit(&f->canceled, memory_order_relaxed);
    shield_unlock(f);
    if (over) /* what the shield kept from the groups that are still open reaches them now */
        weft__flow_cancel(f);
}

int weft_defer(weft_defer_fn fn, void *arg)
{
    struct weft__flow *f = weft__flow_self();
    if (fn == NULL || f->member.group == NULL)
        return weft__fail(-EINVAL, fn == NULL ? "no function to defer"
                                              : "weft_defer outside a task or group thread");
    struct weft__defer *d = weft__alloc(sizeof *d);
    if (d == NULL)
        return -ENOMEM;
    *d = (struct weft__defer){.next = f->defers, .fn = fn, .arg = arg};
    f->defers = d;
    return 0;
}

void *weft_task_alloc(size_t size)
{
    struct weft__flow *f = weft__flow_self();
    struct header {
        struct weft__defer d;
        _Alignas(max_align_t) char memory[];
    } * h;
    if (f->member.group == NULL || size > SIZE_MAX - sizeof *h)
        return NULL;
    h = weft__alloc(sizeof *h + size);
    if (h == NULL)
        return NULL;
    h->d = (struct weft__defer){.next = f->defers};
    f->defers = &h->d;
    return h->memory;
}

const char *weft_task_name(void)
{
    return weft__flow_self()->name;
}

/* --- Handles -------------------------------------------------------------------------------- */

/*
 * A handle outlives its flow. Of a plain thread's group it is touched by two threads: then, and
 * only then, weft__tree_lock guards it.
 */
static void handle_lock(const struct weft_task *h)
{
    if (h->locked)
        pthread_mutex_lock(&weft__tree_lock);
}

static void handle_unlock(const struct weft_task *h)
{
    if (h->locked)
        pthread_mutex_unlock(&weft__tree_lock);
}

struct join {
    struct weft__wait wait;
    struct weft_task *handle;
};

static void join_abort(struct weft__wait *w, int why)
{
    struct join *j = WEFT__CONTAINER_OF(w, struct join, wait);
    struct weft_task *h = j->handle;
    handle_lock(h);
    bool ours = h->waiter == w;
    if (ours)
        h->waiter = NULL;
    handle_unlock(h);
    if (ours)
        weft__wait_trigger(w, why);
}

int weft_task_join(struct weft_task **task, int *result, weft_deadline d)
{
    struct weft_task *h = *task;
    struct join j = {.handle = h};
    int err = 0;

    handle_lock(h);
    bool live = h->flow != NULL;
    if (live && h->waiter != NULL)
        err = -EBUSY;
    else if (live && h->flow == weft__flow_self())
        err = -EDEADLK;
    handle_unlock(h);
    if (err == 0 && live) {
        err = weft__wait_check();
        if (err == 0 && weft__flow_late(weft__flow_self(), d)) {
            weft__charge();
            err = -ETIMEDOUT;
        }
    }
    if (err < 0)
        return err;
    if (live) {
        weft__wait_init(&j.wait, "join", -1, join_abort);
        handle_lock(h);
        live = h->flow != NULL; /* a thread may have ended meanwhile, or another begun to join */
        if (live && h->waiter != NULL)
            err = -EBUSY;
        else if (live)
            h->waiter = &j.wait;
        handle_unlock(h);
        if (live && err == 0)
            err = weft__wait_block(&j.wait, d);
        if (err < 0)
            return err;
    }
    if (result != NULL)
        *result = h->result;
    if (h->detail != NULL)
        weft__error_detail("%s", h->detail->text);
    handle_free(weft__flow_self()->loop, h);
    *task = NULL;
    return 0;
}

void weft_task_cancel(struct weft_task *h)
{
    if (h == NULL)
        return;
    handle_lock(h);
    if (h->flow != NULL) {
        if (h->locked)
            weft__flow_cancel_locked(h->flow);
        else
            weft__flow_cancel(h->flow);
    }
    handle_unlock(h);
}

void weft_task_release(struct weft_task **task)
{
    struct weft_task *h = *task;
    if (h == NULL)
        return;
    *task = NULL;
    bool locked = h->locked;
    if (locked)
        pthread_mutex_lock(&weft__tree_lock);
    bool live = h->flow != NULL;
    h->released = true;
    if (locked)
        pthread_mutex_unlock(&weft__tree_lock);
    if (!live)
        handle_free(weft__flow_self()->loop, h);
}
