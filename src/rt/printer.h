/* SPDX-License-Identifier: MIT */
#ifndef WEFT__RT_PRINTER_H
#define WEFT__RT_PRINTER_H
/*
 * The writer of trees (floor 2): lines, indented by depth, in pieces to a sink. Classes of members
 * print themselves with it.
 */
#include <weft/tree.h>

#include "rt/rt.h"

struct weft__printer {
    weft_tree_sink sink;
    void *arg;
    unsigned flags; /* enum weft_tree_flags */
    int depth;
    int64_t now_ns;
    uintptr_t stack_floor; /* no deeper on the printing thread's stack than this */
    bool locked;           /* weft__tree_lock is held: what is shown belongs to threads */
    bool cut;              /* set by a sink that takes no more */
};

/* One line at the current depth; control characters become '?'. */
void weft__print(struct weft__printer *p, const char *fmt, ...) WEFT_PRINTF(2, 3);
/* The members of a group, one deeper. */
void weft__print_group(struct weft__printer *p, struct weft_group *g);
/* The groups that a flow has open, one deeper. */
void weft__print_flow_groups(struct weft__printer *p, struct weft__flow *f);
/* A loop with all that runs on it; on its thread, with no task of it running. */
void weft__print_loop(struct weft__printer *p, struct weft_loop *l);

/* " peer ADDRESS:PORT" of a connected socket, "" for anything else. */
void weft__print_peer(char *buf, size_t cap, int fd);
#define WEFT__PRINT_PEER_MAX 72

#endif
