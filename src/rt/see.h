/* SPDX-License-Identifier: MIT */
#ifndef WEFT__RT_SEE_H
#define WEFT__RT_SEE_H
/*
 * Seeing loops from outside their threads (floor 2): the tree server, the watchdog, the report of
 * stack overflows. What the parts share.
 *
 * Each part is a service of the loops that ask for it and has, besides, something of the process:
 * a thread, a socket's file, a signal's disposition. That comes with the first such loop and goes
 * with the last one. A fork has none of it: its own loops begin anew.
 */
#include <sys/types.h>

#include "rt/rt.h"

int weft__see_serve(struct weft_loop *l);     /* see.c */
int weft__watchdog_open(struct weft_loop *l); /* watchdog.c */
int weft__overflow_open(struct weft_loop *l); /* overflow.c */

/* Starts a thread in which only the signals of faults are open. */
int weft__see_thread(pthread_t *ret, const char *name, void *(*fn)(void *));

/* --- What holds a loop (see_hold.c) --------------------------------------------------------- */

/* How far a loop has come; equal ones at two times: it did nothing else in between. */
struct weft__spot {
    uint64_t turns, switches, completions;
    const struct weft__task *task; /* not to be followed */
    uint64_t place;
};

/* Where a loop is stuck, as far as those who look now and then can tell. */
struct weft__hold {
    struct weft__spot spot;
    int64_t since_ns; /* when it was first seen there */
};

enum weft__hold_state {
    WEFT__HOLD_NONE,    /* it waits for something to do */
    WEFT__HOLD_NOT_RUN, /* nobody runs it now: an embedded one between two steps */
    WEFT__HOLD_BUSY,    /* at work, at the same thing since hold->since_ns */
};

/*
 * Any thread; the loop is watched, and the caller sees to it that it stays. One thread at a time
 * uses a hold.
 */
enum weft__hold_state weft__hold_look(struct weft_loop *l, struct weft__hold *h, int64_t now_ns);

/* Who is at work: "task NAME (SITE)" or "a callback". False: it has gone on meanwhile. */
bool weft__hold_who(struct weft_loop *l, const struct weft__hold *h, char *buf, size_t cap);

/* --- Asking loops to print themselves (see_ask.c) ------------------------------------------- */

struct weft__asking;

/* A loop that can be asked: one for each visible loop, in a list that weft__ask_lock guards. */
struct weft__seen {
    struct weft__service service;
    struct weft__node link;
    struct weft_loop *loop;
    struct weft__remote remote; /* has the loop look at `ask` */
    bool posted;
    bool quits;            /* it counts for SIGQUIT */
    struct weft__ask *ask; /* what it is asked now; NULL: nothing */
    struct weft__hold hold;
    pid_t pid; /* of the process that opened it */
};

void weft__ask_enter(struct weft__seen *s);
/* On the loop's thread. Afterwards nobody asks it, and nobody waits for it. */
void weft__ask_leave(struct weft__seen *s);

/* Asks all loops and waits until they have answered or do not look as if they would. */
int weft__asking_open(struct weft__asking **ret, unsigned flags);
/* The answers, piece by piece: false when there is no more. Valid until the close. */
bool weft__asking_next(struct weft__asking *a, const char **text, size_t *len);
size_t weft__asking_size(const struct weft__asking *a);
void weft__asking_close(struct weft__asking *a);
/* Has weft__asking_open, now and later, wait for nothing more. */
void weft__asking_stop(bool stop);
/* In the child of a fork. */
void weft__ask_forget_all(void);

/* --- Where sockets are (see_path.c) --------------------------------------------------------- */

#define WEFT__SEE_PATH_MAX 108 /* what a Unix socket's address has room for */

/*
 * The n-th place for the socket of process pid of user uid. 0, -ENOENT (there is no n-th place),
 * -EINVAL (this one cannot be used).
 */
int weft__see_place(int n, uid_t uid, pid_t pid, char path[WEFT__SEE_PATH_MAX]);
/* A listening socket of mode 0600 in a directory that is ours alone; path: which one. */
int weft__see_listen(char path[WEFT__SEE_PATH_MAX]);

/* --- What client and server say (see.c, see_fetch.c) ---------------------------------------- */

/* "weft-tree 1 FLAGS\n"; the answer is "weft-tree 1 LENGTH\n" and the text, or "... denied\n". */
#define WEFT__SEE_HEAD "weft-tree 1 "
#define WEFT__SEE_HEAD_MAX 64
#define WEFT__SEE_DENIED "denied"

#endif
