/* SPDX-License-Identifier: MIT */
#ifndef WEFT__DIAL_RACE_H
#define WEFT__DIAL_RACE_H
/*
 * Happy Eyeballs, RFC 8305 (floor 4): the addresses of a name are tried one after another, families
 * by turns, the next one while the last is still under way; the first to connect wins.
 *
 * race.c is the machine, which never waits: it is told what has happened, and says when it wants to
 * be called again. race_run.c is how a task and a thread wait for it.
 *
 * Invariants:
 *  - an attempt's descriptor is open while the attempt is under way, and the winner's afterwards;
 *  - attempts begin in the order of `at`: those before `next` have begun, or could not;
 *  - once `over`, nothing begins any more, and the race has ended when nothing is under way.
 */
#include <weft/dns.h>

#include "dial/dial.h"
#include "dns/resolve.h"

#define WEFT__RACE_RESOLUTION_NS INT64_C(50000000) /* RFC 8305, section 3 */
#define WEFT__RACE_ATTEMPT_MS 250                  /* section 5 */
#define WEFT__RACE_ATTEMPT_MIN_MS 10               /* likewise: MUST NOT be less */
#define WEFT__RACE_ATTEMPT_MAX_MS 60000

#define WEFT__RACE_MAX 16 /* addresses of a host that are tried; further ones are not */

struct weft__race;

struct weft__attempt {
    struct weft__op op; /* in a task */
    struct weft__race *race;
    int fd;  /* -1: none */
    int res; /* < 0: how it has ended */
    bool live;
};

struct weft__race {
    const struct weft__plan *plan;
    struct weft_loop *loop; /* NULL: on a thread */
    struct weft__resolve w;
    bool looking; /* w waits for an answer */
    struct weft_address at[WEFT__RACE_MAX];
    struct weft__attempt attempts[WEFT__RACE_MAX]; /* of at */
    size_t n, next, live;
    int64_t next_ns; /* when the next attempt may begin, while others are under way */
    int64_t hold_ns; /* until then the first one waits for IPv6's answer; 0: it need not */
    bool over;
    int winner;  /* its place; -1: none yet */
    int look_up; /* what the look-up has come to; < 0 */
    struct weft__alarm alarm;
    struct weft__wait wait;
    bool waiting; /* in it */
};

/* Takes addresses in: those that were not tried yet, families by turns. */
void weft__race_add(struct weft__race *r, const struct weft_addresses *a);
/* The look-up has an answer, or a part of it. */
void weft__race_told(struct weft__race *r);
/* Begins what may begin now. INT64_MAX, or when to call it again if nothing happens before. */
int64_t weft__race_step(struct weft__race *r, int64_t now_ns);
/* An attempt has ended with res; the caller calls step. */
void weft__race_ended(struct weft__race *r, struct weft__attempt *a, int res);
/* Nothing is to begin any more; on a loop, what is under way is cancelled. */
void weft__race_stop(struct weft__race *r);
/* Begins an attempt on a's descriptor; true: it has ended at once, with *res (race_run.c). */
bool weft__race_begin(struct weft__race *r, struct weft__attempt *a, int *res);

static inline bool weft__race_done(const struct weft__race *r)
{
    return r->live == 0 && (r->over || (r->next == r->n && !r->looking));
}

/* Connects to the plan's host in the calling flow: a descriptor, or a negative code with a detail
 * that says what each address has met. *peer is the one that it is connected to. */
int weft__race_run(const struct weft__plan *p, const char *host, int port,
                   struct weft_address *peer, weft_deadline d);

#endif
