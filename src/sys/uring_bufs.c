/* SPDX-License-Identifier: MIT */
/*
 * The ring of receive buffers of the io_uring driver (floor 1).
 *
 * The kernel picks a buffer from the ring when bytes have come. It is lent out with them, and its
 * place is filled from the pool at the next round. The kernel takes the buffers in turn, and a
 * long turn leaves the cache, so only about twice as many are kept in the ring as one round has
 * used lately. If that was too few, the operations that found none go again at the next round,
 * and count as used.
 *
 * Invariants: slots[id] is the buffer that the kernel knows by that id; the first entries - filled
 * of free_ids are the ids that it knows nothing by.
 */
#include <errno.h>
#include <sys/mman.h>

#include "base/alloc.h"
#include "base/base.h"
#include "sys/call.h"
#include "sys/uring.h"

#define DEFAULT 256u
#define MIN 16u
#define MAX 32768u    /* what the kernel allows in one ring */
#define DECAY_SHIFT 9 /* the peak is forgotten in some 2^9 rounds */

/* Takes the buffer that a completion names out of the ring. */
struct weft__rbuf *weft__uring_bufs_take(struct uring_sys *s, uint32_t cqe_flags)
{
    struct uring_bufs *b = &s->bufs;
    uint32_t bid = cqe_flags >> IORING_CQE_BUFFER_SHIFT;
    WEFT__ASSERT(bid < b->entries && b->slots[bid] != NULL);
    struct weft__rbuf *rb = b->slots[bid];
    b->slots[bid] = NULL;
    b->free_ids[b->entries - b->filled] = (uint16_t)bid;
    b->filled--;
    b->used++;
    return rb;
}

/* Puts up to n buffers of the pool, or `first`, into the ring. */
static void fill(struct uring_sys *s, uint32_t n, struct weft__rbuf *first)
{
    struct uring_bufs *b = &s->bufs;
    int added = 0;
    int mask = io_uring_buf_ring_mask(b->entries);
    for (; n > 0; n--) {
        struct weft__rbuf *rb = first != NULL ? first : weft__rpool_get(&s->pool);
        first = NULL;
        if (rb == NULL)
            break;
        uint16_t bid = b->free_ids[b->entries - b->filled - 1];
        rb->bid = bid;
        b->slots[bid] = rb;
        b->filled++;
        io_uring_buf_ring_add(b->ring, rb->data, WEFT__RBUF_SIZE, bid, mask, added++);
    }
    if (added > 0)
        io_uring_buf_ring_advance(b->ring, added);
}

void weft__uring_bufs_refill(struct uring_sys *s)
{
    struct uring_bufs *b = &s->bufs;
    uint32_t used = b->used << 8;
    if (used > b->peak)
        b->peak = used;
    else
        b->peak -= (b->peak - used) >> DECAY_SHIFT;
    b->used = 0;
    uint32_t target = 2 * (b->peak >> 8);
    target = target < MIN ? MIN : target > b->entries ? b->entries : target;
    if (b->filled < target)
        fill(s, target - b->filled, NULL);
}

void weft__uring_bufs_close(struct uring_sys *s)
{
    struct uring_bufs *b = &s->bufs;
    if (b->ring != NULL) {
        (void)io_uring_unregister_buf_ring(&s->ring, WEFT__URING_GROUP);
        munmap(b->ring, b->bytes);
    }
    for (uint32_t i = 0; b->slots != NULL && i < b->entries; i++)
        weft__rpool_put(&s->pool, b->slots[i]);
    weft__free(b->slots);
    weft__free(b->free_ids);
}

int weft__uring_bufs_open(struct uring_sys *s, unsigned rbufs)
{
    struct uring_bufs *b = &s->bufs;
    uint32_t n = MIN;
    while (n < (rbufs == 0 ? DEFAULT : rbufs) && n < MAX)
        n *= 2;
    b->entries = n;
    b->slots = weft__calloc(n, sizeof b->slots[0]);
    b->free_ids = weft__calloc(n, sizeof b->free_ids[0]);
    if (b->slots == NULL || b->free_ids == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < n; i++)
        b->free_ids[i] = (uint16_t)(n - 1 - i);

    int err = weft__fault();
    if (err < 0)
        return err;
    b->bytes = n * sizeof(struct io_uring_buf);
    void *map = mmap(NULL, b->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED)
        return -errno;
    struct io_uring_buf_reg reg = {
        .ring_addr = (uintptr_t)map, .ring_entries = n, .bgid = WEFT__URING_GROUP};
    err = io_uring_register_buf_ring(&s->ring, &reg, 0);
    if (err < 0) {
        munmap(map, b->bytes);
        return err;
    }
    b->ring = map;
    io_uring_buf_ring_init(b->ring);
    return 0;
}

void weft__uring_bufs_untake(struct uring_sys *s, struct weft__rbuf *rb)
{
    fill(s, 1, rb);
}
