/* SPDX-License-Identifier: MIT */
#ifndef WEFT_TREE_H
#define WEFT_TREE_H
/*
 * Seeing what runs: groups, tasks, threads, servers and connections, each with name, spawn site,
 * what it waits for, descriptor, peer, time left, stack high-water mark and backtrace.
 *
 * A loop opened with options.visible answers `weft tree PID` over a Unix socket of mode 0600 (in
 * $XDG_RUNTIME_DIR/weft or /tmp/weft-UID, a directory of mode 0700).
 */
#include <weft/run.h>

WEFT_BEGIN_DECLS

/* Receives the tree's text in pieces. */
typedef void (*weft_tree_sink)(void *arg, const char *text, size_t len);

enum weft_tree_flags {
    WEFT_TREE_BACKTRACE = 1, /* with each task's backtrace */
};

/*
 * Prints the tree of one loop; on the loop's own thread. Called in a task, it lets ready tasks run
 * first, and is no cancellation point. Returns 0, WEFT_ETHREAD, -EDEADLK (a nested loop runs).
 */
WEFT_API WEFT_MUST_CHECK int weft_loop_tree(struct weft_loop *l, unsigned flags,
                                            weft_tree_sink sink, void *arg);

/*
 * Asks the process with that id for its trees. Waits. Returns 0, -ENOENT (no such process, or it
 * has no visible loop), -EACCES, -ETIMEDOUT.
 */
WEFT_API WEFT_MUST_CHECK int weft_tree_fetch(int pid, unsigned flags, weft_tree_sink sink,
                                             void *arg, weft_deadline d);

WEFT_END_DECLS
#endif
