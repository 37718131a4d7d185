/* SPDX-License-Identifier: MIT */
/*
 * The pool of receive buffers; see rbuf.h (floor 1).
 *
 * Invariants: a slab is in pool->partial exactly while it has cold buffers; cold buffers have had
 * the pages given back to the kernel that no other buffer uses.
 */
#include "sys/rbuf.h"

#include <sys/mman.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/base.h"
#include "sys/call.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WEFT__RPOOL_ASAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define WEFT__RPOOL_ASAN 1
#endif
#ifdef WEFT__RPOOL_ASAN
#include <sanitizer/asan_interface.h>
#endif
#if WEFT_HAVE_VALGRIND
#include <valgrind/memcheck.h>
#endif

#define CACHE_LINE 64u
#define STRIDE (WEFT__RBUF_SIZE + CACHE_LINE)

struct weft__rslab;

struct item {
    struct weft__rbuf rb;
    struct weft__node node; /* in pool->warm_list or slab->cold; unlinked while lent */
    struct weft__rslab *slab;
    bool cold; /* in slab->cold */
};

struct weft__rslab {
    struct weft__node node; /* in pool->partial while there are cold buffers */
    struct weft__list cold;
    uint32_t n_cold;
    uint32_t n;
    uint8_t *map;
    size_t map_len;
    struct item items[];
};

static inline struct item *item_of(struct weft__node *n)
{
    return WEFT__CONTAINER_OF(n, struct item, node);
}

static inline void poison(void *p, size_t len)
{
#ifdef WEFT__RPOOL_ASAN
    ASAN_POISON_MEMORY_REGION(p, len);
#endif
#if WEFT_HAVE_VALGRIND
    VALGRIND_MAKE_MEM_NOACCESS(p, len);
#endif
    (void)p;
    (void)len;
}

static inline void unpoison(void *p, size_t len)
{
#ifdef WEFT__RPOOL_ASAN
    ASAN_UNPOISON_MEMORY_REGION(p, len);
#endif
#if WEFT_HAVE_VALGRIND
    VALGRIND_MAKE_MEM_UNDEFINED(p, len);
#endif
    (void)p;
    (void)len;
}

void weft__rpool_init(struct weft__rpool *p, uint32_t slab_bufs)
{
    *p = (struct weft__rpool){.slab_bufs = slab_bufs == 0 ? WEFT__RPOOL_SLAB : slab_bufs};
    weft__list_init(&p->warm_list);
    weft__list_init(&p->partial);
}

static void slab_free(struct weft__rpool *p, struct weft__rslab *s)
{
    weft__list_remove(&s->node);
    unpoison(s->map, s->map_len);
    munmap(s->map, s->map_len);
    weft__free(s);
    p->slabs--;
}

/* A new slab, all of its buffers cold. */
static struct weft__rslab *slab_new(struct weft__rpool *p)
{
    uint32_t n = p->slab_bufs;
    struct weft__rslab *s = weft__calloc(1, sizeof *s + n * sizeof s->items[0]);
    if (s == NULL)
        return NULL;
    s->map_len = (size_t)n * STRIDE;
    s->map = weft__fault() != 0 ? MAP_FAILED
                                : mmap(NULL, s->map_len, PROT_READ | PROT_WRITE,
                                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (s->map == MAP_FAILED) {
        weft__free(s);
        return NULL;
    }
    /* A huge page would make one touched buffer cost as much as a hundred. */
    (void)madvise(s->map, s->map_len, MADV_NOHUGEPAGE);
    poison(s->map, s->map_len);
    weft__list_init(&s->cold);
    s->n = s->n_cold = n;
    for (uint32_t i = 0; i < n; i++) {
        s->items[i].slab = s;
        s->items[i].cold = true;
        s->items[i].rb.data = s->map + (size_t)i * STRIDE;
        weft__list_push_back(&s->cold, &s->items[i].node);
    }
    weft__list_push_back(&p->partial, &s->node);
    p->slabs++;
    return s;
}

/* Takes a cold buffer; from the slab that has had some for longest, so that late slabs empty. */
static struct item *take_cold(struct weft__rpool *p)
{
    struct weft__node *n = weft__list_first(&p->partial);
    struct weft__rslab *s =
        n != NULL ? WEFT__CONTAINER_OF(n, struct weft__rslab, node) : slab_new(p);
    if (s == NULL)
        return NULL;
    struct item *it = item_of(weft__list_pop_front(&s->cold));
    it->cold = false;
    if (--s->n_cold == 0)
        weft__list_remove(&s->node);
    return it;
}

/* A buffer that is in no list becomes a cold one. False: its slab went with it. */
static bool give_to_slab(struct weft__rpool *p, struct item *it)
{
    struct weft__rslab *s = it->slab;
    it->cold = true;
    weft__list_push_front(&s->cold, &it->node);
    if (s->n_cold++ == 0)
        weft__list_push_front(&p->partial, &s->node);
    if (s->n_cold == s->n) {
        slab_free(p, s);
        return false;
    }
    return true;
}

/* The same, and gives its pages back to the kernel. */
static void make_cold(struct weft__rpool *p, struct item *it)
{
    if (!give_to_slab(p, it))
        return;
    /* The page at either end is shared with a neighbour, which may be in use. */
    const struct weft__rslab *s = it->slab;
    size_t i = (size_t)(it - s->items);
    bool low = i > 0 && !s->items[i - 1].cold;
    bool high = i + 1 < s->n && !s->items[i + 1].cold;
    uintptr_t in_page = (uintptr_t)sysconf(_SC_PAGESIZE) - 1;
    uintptr_t from = ((uintptr_t)it->rb.data + (low ? in_page : 0)) & ~in_page;
    uintptr_t to = ((uintptr_t)it->rb.data + STRIDE + (high ? 0 : in_page)) & ~in_page;
    if (from < to)
        (void)madvise((void *)from, to - from, MADV_DONTNEED);
}

void weft__rpool_fini(struct weft__rpool *p)
{
    WEFT__ASSERT(p->lent == 0);
    struct weft__node *n;
    while ((n = weft__list_pop_front(&p->warm_list)) != NULL)
        (void)give_to_slab(p, item_of(n));
    p->warm = 0;
    WEFT__ASSERT(p->slabs == 0);
}

struct weft__rbuf *weft__rpool_get(struct weft__rpool *p)
{
    struct weft__node *n = weft__list_pop_front(&p->warm_list);
    struct item *it;
    if (WEFT__LIKELY(n != NULL)) {
        it = item_of(n);
        if (--p->warm < p->warm_min)
            p->warm_min = p->warm;
    } else {
        it = take_cold(p);
        if (it == NULL)
            return NULL;
    }
    p->lent++;
    unpoison(it->rb.data, WEFT__RBUF_SIZE);
    it->rb.next = NULL;
    it->rb.len = it->rb.used = 0;
    return &it->rb;
}

void weft__rpool_put(struct weft__rpool *p, struct weft__rbuf *rb)
{
    if (rb == NULL)
        return;
    struct item *it = WEFT__CONTAINER_OF(rb, struct item, rb);
    WEFT__ASSERT(!weft__node_linked(&it->node)); /* put twice */
    poison(rb->data, WEFT__RBUF_SIZE);
    weft__list_push_front(&p->warm_list, &it->node);
    p->warm++;
    p->lent--;
}

int64_t weft__rpool_tidy(struct weft__rpool *p, int64_t now_ns)
{
    if (now_ns < p->tidy_ns)
        return p->tidy_ns;
    /* The first time after a quiet spell only opens the window that is looked at. */
    bool stale = now_ns - p->tidy_ns > 2 * WEFT__RPOOL_TIDY_NS;
    uint32_t spare = p->warm_min > WEFT__RPOOL_KEEP ? p->warm_min - WEFT__RPOOL_KEEP : 0;
    if (stale)
        spare = 0;
    for (spare = spare / 2 + spare % 2; spare > 0; spare--) {
        make_cold(p, item_of(weft__list_pop_back(&p->warm_list)));
        p->warm--;
    }
    p->warm_min = p->warm;
    p->tidy_ns = now_ns + WEFT__RPOOL_TIDY_NS;
    return weft__rpool_untidy(p) ? p->tidy_ns : INT64_MAX;
}
