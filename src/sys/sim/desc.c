/* SPDX-License-Identifier: MIT */
/*
 * Descriptors of simulated processes, and the operations that wait at them; see world.h.
 *
 * Floor 1. Invariants:
 *  - an operation under way is in exactly one place: the waiting queue of what its descriptor
 *    refers to, or its driver's queue of ended ones;
 *  - operations of one side of a descriptor end in the order in which they were submitted; POLL
 *    takes nothing and does not count;
 *  - a wake within a wake of the same object makes the outer one go round again.
 */
#include <errno.h>
#include <string.h>

#include "base/error.h"
#include "sys/sim/calls.h"
#include "sys/sim/driver.h"
#include "sys/sim/memory.h"

void weft__desc_init(struct weft__desc *d, const struct weft__desc_class *cls, struct weft__proc *p)
{
    *d = (struct weft__desc){
        .cls = cls,
        .world = p->world,
        .proc = p,
        .refs = 1,
        .opened_by = p->who != NULL ? p->who() : NULL,
        .opened_ns = p->world->now_ns,
    };
}

/* --- Numbers ---------------------------------------------------------------------------------- */

int weft__sim_refuse_file(struct weft__proc *p)
{
    const struct weft__sim_faults *f = &p->host->faults;
    if (weft__world_chance(p->world, f->no_files))
        return -EMFILE;
    return weft__world_chance(p->world, f->no_memory) ? -ENOMEM : 0;
}

int weft__desc_install(struct weft__proc *p, struct weft__desc *d)
{
    size_t i = p->fd_hint;
    while (i < p->n_fds && p->fds[i] != NULL)
        i++;
    if (i >= p->host->max_fds)
        return -EMFILE;
    if (i == p->fds_cap) {
        size_t cap = weft__max_size(2 * p->fds_cap, 8);
        struct weft__desc **fds = weft__realloc(p->fds, cap * sizeof(struct weft__desc *));
        if (fds == NULL)
            return -ENOMEM;
        p->fds = fds;
        p->fds_cap = cap;
    }
    p->fds[i] = d;
    p->n_fds = weft__max_size(p->n_fds, i + 1);
    p->fd_hint = i + 1;
    return WEFT__SIM_FD_FIRST + (int)i;
}

struct weft__desc *weft__desc_of(struct weft__proc *p, int fd)
{
    size_t i = (size_t)(fd - WEFT__SIM_FD_FIRST);
    return fd >= WEFT__SIM_FD_FIRST && i < p->n_fds ? p->fds[i] : NULL;
}

struct weft__desc *weft__desc_for(struct weft__proc *p, int fd, const char *what, int *err)
{
    struct weft__desc *d = weft__desc_of(p, fd);
    if (WEFT__LIKELY(d != NULL))
        return d;
    if (fd >= 0 && fd < WEFT__SIM_FD_FIRST)
        *err =
            weft__fail(WEFT_EOUTSIDE, "%s on descriptor %d, which is of the real world", what, fd);
    else
        *err = p->ghost ? -ENETDOWN : -EBADF;
    return NULL;
}

void weft__desc_ref(struct weft__desc *d)
{
    d->refs++;
}

void weft__desc_unref(struct weft__desc *d)
{
    WEFT__ASSERT(d->refs > 0);
    if (--d->refs > 0)
        return;
    WEFT__ASSERT(weft__queue_empty(&d->waiting));
    d->cls->release(d, d->crashed);
}

int weft__desc_close(struct weft__proc *p, int fd)
{
    int err;
    struct weft__desc *d = weft__desc_for(p, fd, "close", &err);
    if (d == NULL)
        return err;
    size_t i = (size_t)(fd - WEFT__SIM_FD_FIRST);
    p->fds[i] = NULL;
    p->fd_hint = weft__min_size(p->fd_hint, i);
    weft__desc_unref(d);
    return 0;
}

void weft__desc_crash(struct weft__desc *d)
{
    d->crashed = true;
}

/* --- Attempts --------------------------------------------------------------------------------- */

static enum weft__sim_tried attempt_poll(struct weft__desc *d, struct weft__op *op)
{
    short ready = d->cls->ready(d) & (short)(op->u.poll.events | POLLERR | POLLHUP);
    if (ready == 0)
        return WEFT__SIM_WAIT;
    op->res = ready;
    return WEFT__SIM_ENDED;
}

enum weft__sim_tried weft__desc_attempt(struct weft__desc *d, struct weft__op *op)
{
    return op->kind == WEFT__OP_POLL ? attempt_poll(d, op) : d->cls->attempt(d, op);
}

void weft__desc_park(struct weft__desc *d, struct weft__op *op)
{
    weft__queue_push_back(&d->waiting, &op->link);
}

bool weft__desc_withdraw(struct weft__desc *d, struct weft__op *op)
{
    struct weft__slink *before = NULL;
    for (struct weft__slink *n = d->waiting.first; n != NULL; before = n, n = n->next) {
        if (n != &op->link)
            continue;
        if (before == NULL)
            d->waiting.first = n->next;
        else
            before->next = n->next;
        if (d->waiting.last == n)
            d->waiting.last = before;
        return true;
    }
    return false;
}

/* One round over what waits. What has to wait on keeps its place; what comes meanwhile (there is
 * none: done is not called here) would go behind. */
static void retry(struct weft__desc *d)
{
    struct weft__queue q = d->waiting, rest = {NULL, NULL};
    struct weft__slink *n;
    weft__queue_init(&d->waiting);
    while ((n = weft__queue_pop_front(&q)) != NULL) {
        struct weft__op *op = WEFT__CONTAINER_OF(n, struct weft__op, link);
        bool later =
            weft__sim_in_wait(op) && (d->cls->ready(d) & (POLLIN | POLLHUP | POLLERR)) != 0;
        if (later || weft__desc_attempt(d, op) == WEFT__SIM_ENDED)
            weft__sim_ended(d->proc, op);
        else
            weft__queue_push_back(&rest, n);
    }
    weft__queue_splice_back(&rest, &d->waiting);
    d->waiting = rest;
}

void weft__desc_wake(struct weft__desc *d)
{
    if (weft__queue_empty(&d->waiting) && !d->waking)
        return;
    if (d->waking) {
        d->wake_again = true;
        return;
    }
    d->waking = true;
    d->refs++; /* an attempt may drop the last one but ours */
    do {
        d->wake_again = false;
        retry(d);
    } while (d->wake_again);
    d->waking = false;
    weft__desc_unref(d);
}
