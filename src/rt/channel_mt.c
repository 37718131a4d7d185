/* SPDX-License-Identifier: MIT */
/*
 * Calls on channels that join tasks of any loops and plain threads. See channel.h for the scheme.
 *
 * Floor 2. Invariant: a waiter is woken after the lock was given back; it cannot be gone by then,
 * because it was claimed, and a claimed waiter stands still until it is woken.
 */
#include <errno.h>

#include "rt/channel.h"

int weft__channel_mt_nowait(struct weft_channel *c, int way, void *item)
{
    struct weft__parley *peer = NULL;
    pthread_mutex_lock(&c->lock);
    int err = weft__channel_try(c, way, item, &peer);
    pthread_mutex_unlock(&c->lock);
    if (peer != NULL)
        weft__parley_wake(peer);
    return err;
}

int weft__channel_mt_call(struct weft_channel *c, int way, void *item, weft_deadline d)
{
    struct weft__parley *peer = NULL;
    struct weft__parley p;
    struct weft__arm a = {.channel = c, .item = item, .way = (uint8_t)way};
    int err = weft__wait_check();
    if (err < 0)
        return err;
    pthread_mutex_lock(&c->lock);
    err = weft__channel_try(c, way, item, &peer);
    bool wait = false;
    if (err == -EAGAIN) {
        err = weft__parley_may_wait(false, d);
        wait = err == 0;
    }
    if (wait) {
        weft__parley_init(&p, way == WEFT__SEND ? "channel send" : "channel recv", &a, 1, true);
        weft__list_push_back(&c->waiting[way], &a.link);
    }
    pthread_mutex_unlock(&c->lock);
    if (wait)
        return weft__wait_block(&p.wait, d);
    if (peer != NULL)
        weft__parley_wake(peer);
    weft__charge();
    return err;
}

void weft__channel_mt_shut(struct weft_channel *c)
{
    struct weft__queue settled = {NULL, NULL};
    struct weft__slink *n;
    pthread_mutex_lock(&c->lock);
    c->shut = true;
    for (int way = WEFT__RECV; way <= WEFT__SEND; way++) {
        struct weft__arm *a;
        while ((a = weft__channel_claim(c, way)) != NULL) {
            weft__parley_settle(a, WEFT_ECLOSED);
            weft__queue_push_back(&settled, &a->parley->remote.link);
        }
    }
    pthread_mutex_unlock(&c->lock);
    while ((n = weft__queue_pop_front(&settled)) != NULL) {
        struct weft__remote *r = WEFT__CONTAINER_OF(n, struct weft__remote, link);
        weft__parley_wake(WEFT__CONTAINER_OF(r, struct weft__parley, remote));
    }
}
