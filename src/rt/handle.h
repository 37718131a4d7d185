/* SPDX-License-Identifier: MIT */
#ifndef WEFT__RT_HANDLE_H
#define WEFT__RT_HANDLE_H
/* The handle of a task or thread (floor 2): what weft_group_spawn gives out. See flow.c. */
#include "rt/rt.h"

struct weft_task {
    struct weft__flow *flow; /* NULL once it has ended */
    struct weft__wait *waiter;
    int result;
    struct weft__detail *detail; /* of an error result */
    bool released;               /* nobody will join: the flow frees it */
    bool locked;                 /* of a plain thread's group: under weft__tree_lock */
    struct weft_task *next;      /* among its loop's spare ones */
};

/* A handle for a task of the loop, cleared: a spare one, if there is one. NULL: no memory. */
struct weft_task *weft__handle_new(struct weft_loop *l);

/* Frees the loop's spare handles. */
void weft__handle_free_spares(struct weft_loop *l);

#endif
