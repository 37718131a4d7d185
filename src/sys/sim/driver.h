/* SPDX-License-Identifier: MIT */
#ifndef WEFT__SIM_DRIVER_H
#define WEFT__SIM_DRIVER_H
/*
 * What the files of the simulated kernel ask of one another beside world.h (floor 1).
 */
#include "sys/sim/world.h"

/* True for those that take what is there only when they can hand it out, in the driver's wait: many
 * results, or one that lies in the link's place. */
static inline bool weft__sim_in_wait(const struct weft__op *op)
{
    return (op->flags & WEFT__OP_MULTI) != 0 || op->kind == WEFT__OP_RECV_POOL;
}

/* Ends everything under way with -ECANCELED, for a crash. */
void weft__sim_cancel_all(struct weft__proc *p);
/* Takes op out of d's waiting operations; false: it is not there. */
bool weft__desc_withdraw(struct weft__desc *d, struct weft__op *op);
/* Has op wait for a change of d, behind those that wait already. */
void weft__desc_park(struct weft__desc *d, struct weft__op *op);
/* One attempt at any kind of operation that refers to d. */
enum weft__sim_tried weft__desc_attempt(struct weft__desc *d, struct weft__op *op);
/* From now on it ends as its host does: without a word. */
void weft__desc_crash(struct weft__desc *d);
/* Forgets who listens for signals (calls.c). */
void weft__sim_signals_close(struct weft__proc *p);
/* -EMFILE or -ENOMEM by chance; else 0. */
int weft__sim_refuse_file(struct weft__proc *p);

/* Stream sockets and pipes (tcp.c). */
int weft__sim_stream_open(struct weft__proc *p, int domain, struct weft__desc **ret);
int weft__sim_stream_pair(struct weft__proc *p, bool pipe, struct weft__desc *ret[2]);
/* Writes one int to the writing end of a pipe or pair; dropped when that is full, as signals are.
 */
void weft__sim_write_number(struct weft__desc *d, int number);

#endif
