/* SPDX-License-Identifier: MIT */
/*
 * A call that repeats (Twisted's LoopingCall): an alarm as a member of a group.
 *
 * Floor 3. Invariant: the struct lives until the program closes it or, when it has ended by itself
 * or by a cancel, until then too; a handle never dangles before weft_looping_call_close.
 */
#include <errno.h>

#include <weft/protocol.h>

#include "base/alloc.h"
#include "rt/printer.h"
#include "rt/rt.h"

struct weft_looping_call {
    struct weft__member member;
    struct weft__alarm alarm;
    struct weft__attached attached; /* freed with the group when nobody closes it */
    struct weft_loop *loop;
    int64_t period_ns, next_ns;
    int (*fn)(void *arg);
    void *arg;
    bool ended;
    bool inside;
    bool closed; /* within its own call */
    bool canceled;
};

static void ended(struct weft_looping_call *c, int result)
{
    if (c->ended)
        return;
    c->ended = true;
    weft__loop_alarm_del(c->loop, &c->alarm);
    weft__group_leave(&c->member, result, false);
}

static void call_free(struct weft_looping_call *c)
{
    weft__list_remove(&c->attached.link);
    weft__free(c);
}

static void fire(struct weft__alarm *a)
{
    struct weft_looping_call *c = WEFT__CONTAINER_OF(a, struct weft_looping_call, alarm);
    if (c->canceled) {
        ended(c, -ECANCELED);
        return;
    }
    c->inside = true;
    int res = c->fn(c->arg);
    c->inside = false;
    if (res != 0 || c->closed) {
        bool closed = c->closed;
        ended(c, res < 0 ? res : 0);
        if (closed)
            call_free(c);
        return;
    }
    if (c->canceled) { /* within its own call */
        ended(c, -ECANCELED);
        return;
    }
    int64_t missed = weft__max_i64((weft_now_ns() - c->next_ns) / c->period_ns, 0);
    c->next_ns += (missed + 1) * c->period_ns;
    weft__loop_alarm(c->loop, &c->alarm, c->next_ns);
}

/* A cancel never ends a member within itself: the alarm does, at once, or has just called it. */
static void cancel(struct weft__member *m, struct weft__queue *more)
{
    struct weft_looping_call *c = WEFT__CONTAINER_OF(m, struct weft_looping_call, member);
    (void)more;
    c->canceled = true;
    if (c->inside)
        return;
    weft__loop_alarm_del(c->loop, &c->alarm);
    weft__loop_alarm(c->loop, &c->alarm, 0);
}

static void tree(struct weft__member *m, struct weft__printer *p)
{
    struct weft_looping_call *c = WEFT__CONTAINER_OF(m, struct weft_looping_call, member);
    weft__print(p, "looping call every %.3f s, next in %.3f s", (double)c->period_ns / 1e9,
                (double)(c->next_ns - p->now_ns) / 1e9);
}

static const struct weft__member_class looping_call_class = {
    .kind = "looping call",
    .cancel = cancel,
    .tree = tree,
};

static void attached_free(struct weft__attached *a)
{
    weft__free(WEFT__CONTAINER_OF(a, struct weft_looping_call, attached));
}

int weft_looping_call_open(struct weft_looping_call **ret, struct weft_group *g, int64_t period_ms,
                           int (*fn)(void *arg), void *arg)
{
    if (g->loop == NULL || g->loop != weft_loop_current())
        return weft__fail(WEFT_ETHREAD, "a looping call needs a group of the loop that runs this");
    if (period_ms <= 0 || period_ms > INT64_MAX / 2000000 || fn == NULL)
        return weft__fail(-EINVAL, "a looping call needs a period of at least 1 ms and a function");
    struct weft_looping_call *c = weft__calloc(1, sizeof *c);
    if (c == NULL)
        return -ENOMEM;
    c->loop = g->loop;
    c->period_ns = period_ms * 1000000;
    c->fn = fn;
    c->arg = arg;
    c->alarm.fn = fire;
    c->attached.free = attached_free;
    int err = weft__group_enter(g, &c->member, &looping_call_class);
    if (err < 0) {
        weft__free(c);
        return err;
    }
    weft__group_attach(g, &c->attached);
    c->next_ns = weft_now_ns() + c->period_ns;
    weft__loop_alarm(c->loop, &c->alarm, c->next_ns);
    if (ret != NULL)
        *ret = c;
    return 0;
}

void weft_looping_call_close(struct weft_looping_call **ret)
{
    struct weft_looping_call *c = *ret;
    if (c == NULL)
        return;
    *ret = NULL;
    if (c->inside) {
        c->closed = true;
        return;
    }
    ended(c, 0);
    call_free(c);
}
