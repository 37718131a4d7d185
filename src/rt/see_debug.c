/* SPDX-License-Identifier: MIT */
/*
 * The list of open loops of the process, for debuggers alone: tools/weft-gdb.py begins here.
 *
 * Floor 2. Nothing in the library reads it. Invariant: a loop is in it from its opening until it
 * is freed.
 */
#include "rt/rt.h"

/* By this name, with debug information, a debugger finds it. */
extern struct weft__list weft__debug_loops __attribute__((visibility("hidden")));
struct weft__list weft__debug_loops __attribute__((used)) = WEFT__LIST_INIT(weft__debug_loops);

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

void weft__debug_enter(struct weft_loop *l)
{
    pthread_mutex_lock(&lock);
    weft__list_push_back(&weft__debug_loops, &l->debug_link);
    pthread_mutex_unlock(&lock);
}

void weft__debug_leave(struct weft_loop *l)
{
    pthread_mutex_lock(&lock);
    weft__list_remove(&l->debug_link);
    pthread_mutex_unlock(&lock);
}
