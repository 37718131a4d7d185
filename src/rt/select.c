/* SPDX-License-Identifier: MIT */
/*
 * Select over several channels, plain and _mt ones mixed. See channel.h for the scheme.
 *
 * Floor 2. A select locks all its _mt channels, in the order of their addresses, before it looks at
 * any. While they are locked nobody can settle it, so it either takes one arm at once, or enters
 * all of them; there is no state between. Invariants: `arms` is sorted by channel from the
 * start to the end of a call; among the arms that can go on, the one is taken whose channel and
 * direction a select took longest ago.
 */
#include <errno.h>

#include "rt/channel.h"

#define ARMS_MAX 64
#define ARMS_FEW 8

/* Counts selects that took an arm, in the whole process: channels may meet any thread's selects. */
static _Atomic uint64_t sequence;

static int check_arms(const struct weft_select *in, size_t n)
{
    if (in == NULL || n == 0 || n > ARMS_MAX)
        return weft__fail(-EINVAL, "a select of %zu arms; 1 to %d", n, ARMS_MAX);
    for (size_t i = 0; i < n; i++) {
        if (in[i].channel == NULL || (in[i].recv == NULL) == (in[i].send == NULL))
            return weft__fail(-EINVAL, "arm %zu: a channel and either recv or send are needed", i);
    }
    return 0;
}

/* Enters the arms, sorted by the address of their channel. *mt, *plain: whether there are such. */
static void sort_arms(struct weft__arm *arms, const struct weft_select *in, size_t n, bool *mt,
                      bool *plain)
{
    *mt = false;
    *plain = false;
    for (size_t i = 0; i < n; i++) {
        struct weft__arm a = {
            .channel = in[i].channel,
            .item = in[i].recv != NULL ? in[i].recv : (void *)in[i].send,
            .way = in[i].recv != NULL ? WEFT__RECV : WEFT__SEND,
            .index = (uint8_t)i,
        };
        size_t at = i;
        for (; at > 0 && (uintptr_t)arms[at - 1].channel > (uintptr_t)a.channel; at--)
            arms[at] = arms[at - 1];
        arms[at] = a;
        if (a.channel->mt)
            *mt = true;
        else
            *plain = true;
    }
}

/* One channel may stand in several arms: they are neighbours, and the first one locks. */
static bool locks(const struct weft__arm *arms, size_t i)
{
    return arms[i].channel->mt && (i == 0 || arms[i - 1].channel != arms[i].channel);
}

static void lock_all(struct weft__arm *arms, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (locks(arms, i))
            pthread_mutex_lock(&arms[i].channel->lock);
    }
}

static void unlock_all(struct weft__arm *arms, size_t n)
{
    for (size_t i = n; i-- > 0;) {
        if (locks(arms, i))
            pthread_mutex_unlock(&arms[i].channel->lock);
    }
}

/* False when it surely has to wait. */
static bool looks_ready(const struct weft__arm *a)
{
    const struct weft_channel *c = a->channel;
    if (c->shut || !weft__list_empty(&c->waiting[a->way == WEFT__SEND ? WEFT__RECV : WEFT__SEND]))
        return true;
    return a->way == WEFT__SEND ? c->count < c->capacity : c->count > 0;
}

static bool comes_before(const struct weft__arm *a, const struct weft__arm *b)
{
    uint64_t as = a->channel->stamp[a->way];
    uint64_t bs = b->channel->stamp[b->way];
    return as != bs ? as < bs : a->index < b->index;
}

static void stamp(const struct weft__arm *a)
{
    a->channel->stamp[a->way] = atomic_fetch_add_explicit(&sequence, 1, memory_order_relaxed) + 1;
}

/* Takes one arm that can go on at once: sets *chosen and *result. False: none can. */
static bool try_all(struct weft__arm *arms, size_t n, struct weft__arm **chosen, int *result,
                    struct weft__parley **peer)
{
    uint64_t left = 0;
    for (size_t i = 0; i < n; i++) {
        if (looks_ready(&arms[i]))
            left |= UINT64_C(1) << i;
    }
    while (left != 0) {
        size_t best = (size_t)__builtin_ctzll(left);
        for (uint64_t rest = left & (left - 1); rest != 0; rest &= rest - 1) {
            size_t i = (size_t)__builtin_ctzll(rest);
            if (comes_before(&arms[i], &arms[best]))
                best = i;
        }
        struct weft__arm *a = &arms[best];
        *result = weft__channel_try(a->channel, a->way, a->item, peer);
        if (*result != -EAGAIN) {
            stamp(a);
            *chosen = a;
            return true;
        }
        left &= ~(UINT64_C(1) << best); /* whoever stood there was claimed elsewhere */
    }
    return false;
}

/* After a peer chose one arm: the others leave their channels. */
static void leave_others(struct weft__parley *p)
{
    if (!p->mt)
        return; /* the peer has seen to it */
    for (size_t i = 0; i < p->n; i++) {
        struct weft__arm *a = &p->arms[i];
        if (a == p->chosen)
            continue;
        if (a->channel->mt)
            pthread_mutex_lock(&a->channel->lock);
        weft__list_remove(&a->link);
        if (a->channel->mt)
            pthread_mutex_unlock(&a->channel->lock);
    }
}

static int run(struct weft_select *in, struct weft__arm *arms, size_t n, weft_deadline d)
{
    struct weft__parley p;
    struct weft__parley *peer = NULL;
    struct weft__arm *chosen = NULL;
    bool mt, plain;
    int result = 0, err = 0;

    sort_arms(arms, in, n, &mt, &plain);
    lock_all(arms, n);
    if (!try_all(arms, n, &chosen, &result, &peer)) {
        err = weft__parley_may_wait(plain, d);
        if (err == 0) {
            weft__parley_init(&p, "select", arms, n, mt);
            for (size_t i = 0; i < n; i++)
                weft__list_push_back(&arms[i].channel->waiting[arms[i].way], &arms[i].link);
        }
    }
    unlock_all(arms, n);
    if (peer != NULL)
        weft__parley_wake(peer);
    if (chosen != NULL || err < 0) {
        weft__charge();
    } else {
        err = weft__wait_block(&p.wait, d);
        chosen = p.chosen;
        result = p.result;
        if (chosen == NULL)
            return err; /* aborted */
        leave_others(&p);
    }
    if (chosen == NULL)
        return err;
    in[chosen->index].result = result;
    return chosen->index;
}

/* Two frames, so that a select of a few arms does not take 3 KiB of a task's stack. */
__attribute__((noinline)) static int run_few(struct weft_select *in, size_t n, weft_deadline d)
{
    struct weft__arm arms[ARMS_FEW];
    return run(in, arms, n, d);
}

__attribute__((noinline)) static int run_many(struct weft_select *in, size_t n, weft_deadline d)
{
    struct weft__arm arms[ARMS_MAX];
    return run(in, arms, n, d);
}

int weft_select(struct weft_select *arms, size_t n, weft_deadline d)
{
    int err = check_arms(arms, n);
    if (err == 0)
        err = weft__wait_check();
    if (err < 0)
        return err;
    return n <= ARMS_FEW ? run_few(arms, n, d) : run_many(arms, n, d);
}
