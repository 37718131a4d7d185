/* SPDX-License-Identifier: MIT */
/* Spare memory of HTTP/2: see h2_pool.h. Floor 5. */
#include "http/h2_pool.h"

#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/base.h"
#include "http/h2.h"
#include "http/h2_request.h"

struct weft__h2_pool_block {
    struct weft__h2_pool_block *next; /* while it is spare */
    size_t size;                      /* that can be used */
    char data[] __attribute__((aligned(16)));
};

static struct weft__h2_pool_block *block_of(void *at)
{
    return WEFT__CONTAINER_OF(at, struct weft__h2_pool_block, data);
}

static size_t class_of(size_t size)
{
    return size == 0 ? 0 : (size - 1) / WEFT__H2_POOL_STEP;
}

void *weft__h2_pool_get(struct weft__h2_pool *p, size_t size)
{
    size_t k = class_of(size);
    struct weft__h2_pool_block *b = k < WEFT__H2_POOL_CLASSES ? p->spare[k] : NULL;
    if (WEFT__LIKELY(b != NULL)) {
        p->spare[k] = b->next;
        p->kept -= b->size;
        return b->data;
    }
    if (k < WEFT__H2_POOL_CLASSES)
        size = (k + 1) * WEFT__H2_POOL_STEP;
    if (size > SIZE_MAX - sizeof *b)
        return NULL;
    b = weft__alloc(sizeof *b + size);
    if (b == NULL)
        return NULL;
    b->size = size;
    return b->data;
}

void weft__h2_pool_put(struct weft__h2_pool *p, void *at)
{
    if (at == NULL)
        return;
    struct weft__h2_pool_block *b = block_of(at);
    size_t k = class_of(b->size);
    if (!WEFT__H2_POOL_KEEPS || k >= WEFT__H2_POOL_CLASSES ||
        p->kept + b->size > WEFT__H2_POOL_MAX) {
        weft__free(b);
        return;
    }
    b->next = p->spare[k];
    p->spare[k] = b;
    p->kept += b->size;
}

static void *mem_malloc(size_t size, void *arg)
{
    return weft__h2_pool_get(arg, size);
}

static void mem_free(void *at, void *arg)
{
    weft__h2_pool_put(arg, at);
}

static void *mem_calloc(size_t n, size_t size, void *arg)
{
    size_t sum;
    if (__builtin_mul_overflow(n, size, &sum))
        return NULL;
    void *at = weft__h2_pool_get(arg, sum);
    if (at != NULL)
        memset(at, 0, sum);
    return at;
}

static void *mem_realloc(void *at, size_t size, void *arg)
{
    if (at == NULL)
        return weft__h2_pool_get(arg, size);
    size_t old = block_of(at)->size;
    if (size <= old && size > 0)
        return at;
    void *more = weft__h2_pool_get(arg, size);
    if (more == NULL)
        return NULL;
    memcpy(more, at, weft__min_size(old, size));
    weft__h2_pool_put(arg, at);
    return more;
}

int weft__h2_pool_open(struct weft__h2_pool **ret)
{
    struct weft__h2_pool *p = weft__calloc(1, sizeof *p);
    if (p == NULL)
        return -ENOMEM;
    p->mem = (nghttp2_mem){.mem_user_data = p,
                           .malloc = mem_malloc,
                           .free = mem_free,
                           .calloc = mem_calloc,
                           .realloc = mem_realloc};
    *ret = p;
    return 0;
}

void weft__h2_pool_close(struct weft__h2_pool **ret)
{
    struct weft__h2_pool *p = *ret;
    if (p == NULL)
        return;
    for (size_t i = 0; i < WEFT__H2_POOL_CLASSES; i++)
        while (p->spare[i] != NULL) {
            struct weft__h2_pool_block *b = p->spare[i];
            p->spare[i] = b->next;
            weft__free(b);
        }
    weft__h2_streams_drop(p);
    weft__h2_exchanges_drop(p);
    weft__free(p);
    *ret = NULL;
}
