/* SPDX-License-Identifier: MIT */
/*
 * Posts: calls that any thread has made on a loop's thread.
 *
 * Floor 2. Invariants: at most posts_max posts wait, however many threads post at once; posts of
 * one thread are called in the order in which it made them; a post is counted until just before its
 * function is called, so a callback of a full loop may post again.
 */
#include <errno.h>

#include <weft/offload.h>

#include "base/alloc.h"
#include "rt/rt.h"

struct post {
    struct weft__remote remote;
    struct weft_loop *loop;
    void (*fn)(void *arg);
    void *arg;
};

static void post_run(struct weft__remote *r)
{
    struct post *p = WEFT__CONTAINER_OF(r, struct post, remote);
    void (*fn)(void *) = p->fn;
    void *arg = p->arg;
    atomic_fetch_sub_explicit(&p->loop->posts_waiting, 1, memory_order_relaxed);
    weft__free(p);
    fn(arg);
}

/* Takes one of the posts_max places; exact, so that a crowd at the limit is not refused in vain. */
static bool take_place(struct weft_loop *l)
{
    size_t n = atomic_load_explicit(&l->posts_waiting, memory_order_relaxed);
    do {
        if (n >= l->posts_max)
            return false;
    } while (!atomic_compare_exchange_weak_explicit(&l->posts_waiting, &n, n + 1,
                                                    memory_order_relaxed, memory_order_relaxed));
    return true;
}

int weft_post_mt(struct weft_loop *l, void (*fn)(void *arg), void *arg)
{
    if (l == NULL || fn == NULL)
        return weft__fail(-EINVAL, l == NULL ? "no loop to post to" : "no function to post");
    if (!take_place(l))
        return weft__fail(WEFT_ELIMIT, "post_capacity: %zu posts wait", l->posts_max);
    struct post *p = weft__alloc(sizeof *p);
    if (p == NULL) {
        atomic_fetch_sub_explicit(&l->posts_waiting, 1, memory_order_relaxed);
        return -ENOMEM;
    }
    *p = (struct post){.remote = {.fn = post_run}, .loop = l, .fn = fn, .arg = arg};
    weft__loop_remote(l, &p->remote);
    return 0;
}
