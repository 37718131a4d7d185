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
};

#endif
