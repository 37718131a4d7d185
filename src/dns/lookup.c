/* SPDX-License-Identifier: MIT */
/*
 * Look-ups that end in a callback (floor 4).
 *
 * Invariants: fn is called once, from the loop's turn, or never when the look-up was closed before;
 * a look-up leaves its group when fn has returned; its handle lives until the program closes it or
 * its group ends, and without a handle until fn has returned.
 */
#include <errno.h>

#include "base/alloc.h"
#include "dns/resolve.h"
#include "rt/printer.h"
#include "sys/sim/world.h"

struct weft_lookup {
    struct weft__member member;
    struct weft__attached attached; /* freed with the group when nobody closes it */
    struct weft__alarm alarm;       /* the deadline, or that it is to end now */
    struct weft_loop *loop;
    struct weft__resolve w;
    struct weft_addresses *early; /* known from the beginning */
    weft_resolved_fn fn;
    void *arg;
    int when_late; /* what the alarm means: 0: it is known, or why it ends */
    bool ended, inside, closed, kept;
};

static void lookup_free(struct weft_lookup *l)
{
    weft_addresses_free(&l->early);
    weft__list_remove(&l->attached.link);
    weft__free(l);
}

static void leave(struct weft_lookup *l)
{
    l->ended = true;
    weft__loop_alarm_del(l->loop, &l->alarm);
    weft__dns_end(&l->w.k);
    weft__group_leave(&l->member, 0, true);
}

static void tell(struct weft_lookup *l, int result)
{
    struct weft_addresses *a = NULL;
    weft__loop_alarm_del(l->loop, &l->alarm);
    if (result == 0) {
        a = l->early;
        l->early = NULL;
    }
    if (result == 0 && a == NULL)
        result = weft__resolve_finish(&l->w, &a);
    else if (result == -ETIMEDOUT)
        (void)weft__fail(result, "%.150s: no answer in the time given", l->w.k.host);
    weft__dns_end(&l->w.k);
    l->inside = true;
    l->fn(l->arg, result, a);
    l->inside = false;
    leave(l);
    if (l->closed || !l->kept)
        lookup_free(l);
}

static void told(struct weft__dns_lookup *k)
{
    tell(WEFT__CONTAINER_OF(k, struct weft_lookup, w.k), 0);
}

static void late(struct weft__alarm *a)
{
    struct weft_lookup *l = WEFT__CONTAINER_OF(a, struct weft_lookup, alarm);
    tell(l, l->when_late);
}

static void arm(struct weft_lookup *l, int64_t when_ns, int what)
{
    weft__loop_alarm_del(l->loop, &l->alarm);
    l->when_late = what;
    weft__loop_alarm(l->loop, &l->alarm, weft__max_i64(when_ns, 0));
    if (!l->loop->in_turn)
        weft__loop_arm_embedding(l->loop);
}

/* A cancel never ends a member within itself: the alarm does, at once. */
static void cancel(struct weft__member *m, struct weft__queue *more)
{
    struct weft_lookup *l = WEFT__CONTAINER_OF(m, struct weft_lookup, member);
    (void)more;
    if (!l->inside && !l->ended)
        arm(l, 0, -ECANCELED);
}

static void tree(struct weft__member *m, struct weft__printer *p)
{
    struct weft_lookup *l = WEFT__CONTAINER_OF(m, struct weft_lookup, member);
    weft__print(p, "look-up of %.200s", l->w.k.host);
}

static const struct weft__member_class lookup_class = {
    .kind = "look-up",
    .cancel = cancel,
    .tree = tree,
};

static void attached_free(struct weft__attached *a)
{
    lookup_free(WEFT__CONTAINER_OF(a, struct weft_lookup, attached));
}

/* What is known at once is told by the alarm; inside a simulation a little later. */
static void begun(struct weft_lookup *l, const char *host, weft_deadline d)
{
    int64_t when_ns = 0;
    if (l->early == NULL && !l->w.k.done) {
        if (d.ns != INT64_MAX)
            arm(l, d.ns, -ETIMEDOUT);
        return;
    }
    if (weft__sim_proc != NULL && !weft__resolve_is_number(host))
        when_ns = weft__clock_ns() + weft__resolve_sim_ns();
    if (d.ns < when_ns)
        arm(l, d.ns, -ETIMEDOUT);
    else
        arm(l, when_ns, 0);
}

int weft_lookup_open(struct weft_lookup **ret, struct weft_group *g, const char *host, int port,
                     const struct weft_resolve_options *o, weft_deadline d, weft_resolved_fn fn,
                     void *arg)
{
    weft__error_detail_clear();
    if (g == NULL || fn == NULL)
        return weft__fail(-EINVAL, g == NULL ? "no group" : "no function to call");
    if (g->loop == NULL || g->loop != weft__flow_self()->loop)
        return weft__fail(WEFT_ETHREAD, "a look-up needs a group of the loop that runs this");
    struct weft_lookup *l = weft__calloc(1, sizeof *l);
    if (l == NULL)
        return -ENOMEM;
    l->loop = g->loop;
    l->fn = fn;
    l->arg = arg;
    l->alarm.fn = late;
    l->attached.free = attached_free;
    l->kept = ret != NULL;
    l->w.k.told = told;
    int err = weft__group_enter(g, &l->member, &lookup_class);
    if (err < 0) {
        weft__free(l);
        return err;
    }
    weft__group_attach(g, &l->attached);
    err = weft__resolve_begin(&l->w, &l->early, host, port, o);
    if (err < 0) {
        leave(l);
        lookup_free(l);
        return err;
    }
    begun(l, host, d);
    if (ret != NULL)
        *ret = l;
    return 0;
}

void weft_lookup_close(struct weft_lookup **ret)
{
    struct weft_lookup *l = *ret;
    if (l == NULL)
        return;
    *ret = NULL;
    if (l->inside) {
        l->closed = true;
        return;
    }
    if (!l->ended)
        leave(l);
    lookup_free(l);
}
