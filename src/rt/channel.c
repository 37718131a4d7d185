/* SPDX-License-Identifier: MIT */
/*
 * Channels: opening and closing, the calls on plain ones, and what waiting calls of all kinds have
 * in common. See channel.h for the scheme.
 *
 * Floor 2. Invariant: a plain channel is touched by one thread only, so nothing here locks, and a
 * call that can go on at once does nothing but copy.
 */
#include <errno.h>

#include "base/alloc.h"
#include "rt/channel.h"

#define ITEM_MAX (64 * 1024)

#if WEFT_DEBUG
#define CHECK_HOME(c) WEFT__ASSERT(pthread_equal((c)->thread, pthread_self()))
#else
#define CHECK_HOME(c) ((void)(c))
#endif

static int channel_open(struct weft_channel **ret, size_t item_size, size_t capacity, bool mt)
{
    size_t bytes;
    if (item_size == 0 || item_size > ITEM_MAX)
        return weft__fail(-EINVAL, "channel items of %zu bytes; 1 to %d", item_size, ITEM_MAX);
    if (__builtin_mul_overflow(item_size, capacity, &bytes) ||
        __builtin_add_overflow(bytes, sizeof(struct weft_channel), &bytes))
        return weft__fail(-ENOMEM, "a channel of %zu items of %zu bytes", capacity, item_size);
    struct weft_channel *c = weft__alloc(bytes);
    if (c == NULL)
        return weft__fail(-ENOMEM, "a channel of %zu items of %zu bytes", capacity, item_size);
    *c = (struct weft_channel){
        .item_size = item_size, .capacity = capacity, .mt = mt, .thread = pthread_self()};
    weft__list_init(&c->waiting[WEFT__RECV]);
    weft__list_init(&c->waiting[WEFT__SEND]);
    c->items = (uint8_t *)(c + 1);
    if (mt)
        pthread_mutex_init(&c->lock, NULL);
    *ret = c;
    return 0;
}

int weft_channel_open(struct weft_channel **ret, size_t item_size, size_t capacity)
{
    return channel_open(ret, item_size, capacity, false);
}

int weft_channel_open_mt(struct weft_channel **ret, size_t item_size, size_t capacity)
{
    return channel_open(ret, item_size, capacity, true);
}

void weft_channel_shut(struct weft_channel *c)
{
    if (c->mt) {
        weft__channel_mt_shut(c);
        return;
    }
    CHECK_HOME(c);
    c->shut = true;
    for (int way = WEFT__RECV; way <= WEFT__SEND; way++) {
        struct weft__arm *a;
        while ((a = weft__channel_claim(c, way)) != NULL) {
            struct weft__parley *p = a->parley;
            weft__parley_settle(a, WEFT_ECLOSED);
            weft__wait_trigger(&p->wait, WEFT_ECLOSED);
        }
    }
}

void weft_channel_close(struct weft_channel **ret)
{
    struct weft_channel *c = *ret;
    if (c == NULL)
        return;
    weft_channel_shut(c);
    if (c->mt)
        pthread_mutex_destroy(&c->lock);
    weft__free(c);
    *ret = NULL;
}

size_t weft_channel_count(const struct weft_channel *c)
{
    if (!c->mt)
        return c->count;
    pthread_mutex_t *lock = (pthread_mutex_t *)&c->lock;
    pthread_mutex_lock(lock);
    size_t n = c->count;
    pthread_mutex_unlock(lock);
    return n;
}

/* --- Waiting -------------------------------------------------------------------------------- */

static void remote_wake(struct weft__remote *r)
{
    struct weft__parley *p = WEFT__CONTAINER_OF(r, struct weft__parley, remote);
    weft__wait_trigger(&p->wait, p->result);
}

void weft__parley_wake(struct weft__parley *p)
{
    struct weft_loop *l = p->wait.flow->loop;
    if (l == NULL || pthread_equal(l->thread, pthread_self()))
        weft__wait_trigger(&p->wait, p->result);
    else
        weft__loop_remote(l, &p->remote);
}

void weft__parley_settle(struct weft__arm *a, int result)
{
    struct weft__parley *p = a->parley;
    p->chosen = a;
    p->result = result;
    if (WEFT__LIKELY(p->n == 1 || p->mt)) {
        weft__list_remove(&a->link); /* the waiter itself leaves the others, with their locks */
        return;
    }
    for (size_t i = 0; i < p->n; i++)
        weft__list_remove(&p->arms[i].link);
}

static void parley_abort(struct weft__wait *w, int why)
{
    struct weft__parley *p = WEFT__CONTAINER_OF(w, struct weft__parley, wait);
    /* Claimed by a peer: the item has moved, and that peer's trigger is under way. */
    if (p->mt && atomic_exchange(&p->claimed, true))
        return;
    for (size_t i = 0; i < p->n; i++) {
        struct weft_channel *c = p->arms[i].channel;
        if (c->mt)
            pthread_mutex_lock(&c->lock);
        weft__list_remove(&p->arms[i].link);
        if (c->mt)
            pthread_mutex_unlock(&c->lock);
    }
    weft__wait_trigger(w, why);
}

void weft__parley_init(struct weft__parley *p, const char *what, struct weft__arm *arms, size_t n,
                       bool mt)
{
    weft__wait_init(&p->wait, what, -1, parley_abort);
    p->remote.fn = remote_wake;
    p->arms = arms;
    p->n = n;
    p->chosen = NULL;
    p->result = 0;
    p->mt = mt;
    atomic_init(&p->claimed, false);
    for (size_t i = 0; i < n; i++)
        arms[i].parley = p;
}

int weft__parley_may_wait(bool plain, weft_deadline d)
{
    struct weft__flow *f = weft__flow_self();
    if (weft__flow_late(f, d))
        return -ETIMEDOUT;
    if (plain && f->kind == WEFT__FLOW_THREAD)
        return weft__fail(-EDEADLK, "a plain thread would wait in a plain channel for ever; "
                                    "weft_channel_open_mt makes one for threads");
    return 0;
}

__attribute__((noinline)) static int plain_wait(struct weft_channel *c, int way, void *item,
                                                weft_deadline d)
{
    int err = weft__parley_may_wait(true, d);
    if (err < 0) {
        weft__charge();
        return err;
    }
    struct weft__parley p;
    struct weft__arm a = {.channel = c, .item = item, .way = (uint8_t)way};
    weft__parley_init(&p, way == WEFT__SEND ? "channel send" : "channel recv", &a, 1, false);
    weft__list_push_back(&c->waiting[way], &a.link);
    return weft__wait_block(&p.wait, d);
}

/* --- Calls ---------------------------------------------------------------------------------- */

int weft_channel_send(struct weft_channel *c, const void *item, weft_deadline d)
{
    struct weft__parley *peer = NULL;
    if (WEFT__UNLIKELY(c->mt))
        return weft__channel_mt_call(c, WEFT__SEND, (void *)item, d);
    CHECK_HOME(c);
    int err = weft__wait_check();
    if (WEFT__UNLIKELY(err < 0))
        return err;
    err = weft__channel_try_send(c, item, &peer);
    if (err == -EAGAIN)
        return plain_wait(c, WEFT__SEND, (void *)item, d);
    if (peer != NULL)
        weft__wait_trigger(&peer->wait, 0);
    weft__charge();
    return err;
}

int weft_channel_recv(struct weft_channel *c, void *item, weft_deadline d)
{
    struct weft__parley *peer = NULL;
    if (WEFT__UNLIKELY(c->mt))
        return weft__channel_mt_call(c, WEFT__RECV, item, d);
    CHECK_HOME(c);
    int err = weft__wait_check();
    if (WEFT__UNLIKELY(err < 0))
        return err;
    err = weft__channel_try_recv(c, item, &peer);
    if (err == -EAGAIN)
        return plain_wait(c, WEFT__RECV, item, d);
    if (peer != NULL)
        weft__wait_trigger(&peer->wait, 0);
    weft__charge();
    return err;
}

static int nowait(struct weft_channel *c, int way, void *item)
{
    struct weft__parley *peer = NULL;
    if (c->mt)
        return weft__channel_mt_nowait(c, way, item);
    CHECK_HOME(c);
    int err = weft__channel_try(c, way, item, &peer);
    if (peer != NULL)
        weft__wait_trigger(&peer->wait, 0);
    return err;
}

int weft_channel_send_nowait(struct weft_channel *c, const void *item)
{
    return nowait(c, WEFT__SEND, (void *)item);
}

int weft_channel_recv_nowait(struct weft_channel *c, void *item)
{
    return nowait(c, WEFT__RECV, item);
}
