/* SPDX-License-Identifier: MIT */
#ifndef WEFT__RBUF_H
#define WEFT__RBUF_H
/*
 * The pool of receive buffers of one driver instance (floor 1).
 *
 * Buffers of WEFT__RBUF_SIZE bytes are carved from mapped slabs. Their stride is one cache line
 * more than their size, so that the first lines of many buffers do not compete for one cache set;
 * their headers lie apart, so that walking headers does not touch the data's lines.
 *
 * The pool grows on demand and has no maximum of its own: who holds a buffer may keep it, so the
 * number is bounded by the holders. It gives memory back when a burst is over: tidy, called about
 * once a second, releases half of what nobody has needed since the call before, coldest first.
 *
 * Invariants:
 * - a buffer is lent, warm (in the pool's LIFO list, pages kept) or cold (in its slab's list, pages
 *   given back); `warm` and `lent` count the first two;
 * - a slab without lent and warm buffers is unmapped at once, so none such exists between calls;
 * - a buffer that is not lent is poisoned for ASan and valgrind: use after put is caught.
 *
 * It belongs to one thread and must not be moved in memory.
 */
#include "base/list.h"
#include "sys/sys.h"

#define WEFT__RPOOL_SLAB 64 /* buffers in a slab, unless init is told otherwise */
#define WEFT__RPOOL_KEEP 32 /* warm buffers that tidy leaves alone */
#define WEFT__RPOOL_TIDY_NS INT64_C(1000000000)

struct weft__rpool {
    struct weft__list warm_list; /* hottest first */
    struct weft__list partial;   /* slabs that have cold buffers */
    uint32_t warm;
    uint32_t warm_min; /* the lowest `warm` has been since the last tidy */
    uint32_t lent;
    uint32_t slabs;
    uint32_t slab_bufs;
    int64_t tidy_ns; /* when the next tidy is due */
};

/* slab_bufs: buffers in a slab, 0 for the default. Maps nothing yet. */
void weft__rpool_init(struct weft__rpool *p, uint32_t slab_bufs);

/* Unmaps everything. Every buffer must have been put back. */
void weft__rpool_fini(struct weft__rpool *p);

/* A buffer with len and used 0 and undefined contents; NULL when memory is out. */
struct weft__rbuf *weft__rpool_get(struct weft__rpool *p);

/* Gives a buffer back; NULL is fine. */
void weft__rpool_put(struct weft__rpool *p, struct weft__rbuf *rb);

/*
 * Before a wait that may block: when `weft__rpool_untidy`, call tidy with the time, and wake up for
 * it again when it says (INT64_MAX: never).
 */
static inline bool weft__rpool_untidy(const struct weft__rpool *p)
{
    return p->warm > WEFT__RPOOL_KEEP;
}
int64_t weft__rpool_tidy(struct weft__rpool *p, int64_t now_ns);

#endif
