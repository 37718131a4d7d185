/* SPDX-License-Identifier: MIT */
/*
 * permessage-deflate's compression, over zlib.
 *
 * Floor 5. State without context take-over is lent: a loop keeps a few of each kind, cleared, and a
 * message has one while it is worked on. An inflater takes up to 40 KiB, a deflater up to 256 KiB
 * (zlib.h, deflateInit2). Plain threads have no spares in common; there a connection keeps its own.
 *
 * Invariant: a spare has been reset; all memory comes from the library's allocator.
 */
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "ws/ws.h"

#define SPARES_MAX 4

const unsigned char weft__ws_tail[WEFT__WS_TAIL_LEN] = {0, 0, 0xff, 0xff};

/* --- Spares ---------------------------------------------------------------------------------- */

struct spares {
    struct weft__service service;
    struct weft__ws_inflater *inflaters;
    struct weft__ws_deflater *deflaters;
    size_t n_inflaters, n_deflaters;
};

static void inflater_free(struct weft__ws_inflater *i)
{
    (void)inflateEnd(&i->z);
    weft__free(i);
}

static void deflater_free(struct weft__ws_deflater *x)
{
    (void)deflateEnd(&x->z);
    weft__free(x);
}

static void spares_close(struct weft__service *service)
{
    struct spares *sp = WEFT__CONTAINER_OF(service, struct spares, service);
    while (sp->inflaters != NULL) {
        struct weft__ws_inflater *i = sp->inflaters;
        sp->inflaters = i->next;
        inflater_free(i);
    }
    while (sp->deflaters != NULL) {
        struct weft__ws_deflater *x = sp->deflaters;
        sp->deflaters = x->next;
        deflater_free(x);
    }
    weft__free(sp);
}

/* The loop's; NULL: it has none so far (and with make: there is no memory). */
static struct spares *spares_of(struct weft_loop *l, bool make)
{
    WEFT__LIST_EACH(&l->services, n) {
        struct weft__service *s = WEFT__CONTAINER_OF(n, struct weft__service, link);
        if (s->close == spares_close)
            return WEFT__CONTAINER_OF(s, struct spares, service);
    }
    struct spares *sp = make ? weft__calloc(1, sizeof *sp) : NULL;
    if (sp != NULL) {
        sp->service.close = spares_close;
        weft__list_push_back(&l->services, &sp->service.link);
    }
    return sp;
}

static void *z_alloc(void *arg, unsigned count, unsigned size)
{
    (void)arg;
    return weft__calloc(count, size);
}

static void z_free(void *arg, void *at)
{
    (void)arg;
    weft__free(at);
}

int weft__ws_inflater_get(struct weft__ws_inflater **ret, struct weft_loop *l, int bits)
{
    struct spares *sp = l != NULL ? spares_of(l, false) : NULL;
    for (struct weft__ws_inflater **at = sp != NULL ? &sp->inflaters : NULL;
         at != NULL && *at != NULL; at = &(*at)->next) {
        struct weft__ws_inflater *i = *at;
        if (i->bits != bits)
            continue;
        *at = i->next;
        sp->n_inflaters--;
        *ret = i;
        return 0;
    }
    struct weft__ws_inflater *i = weft__calloc(1, sizeof *i);
    if (i == NULL)
        return -ENOMEM;
    i->z.zalloc = z_alloc;
    i->z.zfree = z_free;
    i->loop = l;
    i->bits = bits;
    if (inflateInit2(&i->z, -bits) != Z_OK) {
        weft__free(i);
        return -ENOMEM;
    }
    *ret = i;
    return 0;
}

int weft__ws_deflater_get(struct weft__ws_deflater **ret, struct weft_loop *l, int bits, int level,
                          int memory)
{
    struct spares *sp = l != NULL ? spares_of(l, false) : NULL;
    for (struct weft__ws_deflater **at = sp != NULL ? &sp->deflaters : NULL;
         at != NULL && *at != NULL; at = &(*at)->next) {
        struct weft__ws_deflater *x = *at;
        if (x->bits != bits || x->level != level || x->memory != memory)
            continue;
        *at = x->next;
        sp->n_deflaters--;
        *ret = x;
        return 0;
    }
    struct weft__ws_deflater *x = weft__calloc(1, sizeof *x);
    if (x == NULL)
        return -ENOMEM;
    x->z.zalloc = z_alloc;
    x->z.zfree = z_free;
    x->loop = l;
    x->bits = bits;
    x->level = level;
    x->memory = memory;
    if (deflateInit2(&x->z, level, Z_DEFLATED, -bits, memory, Z_DEFAULT_STRATEGY) != Z_OK) {
        weft__free(x);
        return -ENOMEM;
    }
    *ret = x;
    return 0;
}

void weft__ws_inflater_put(struct weft__ws_inflater *i)
{
    if (i == NULL)
        return;
    struct spares *sp = i->loop != NULL ? spares_of(i->loop, true) : NULL;
    if (sp == NULL || sp->n_inflaters == SPARES_MAX || inflateReset(&i->z) != Z_OK) {
        inflater_free(i);
        return;
    }
    i->ended = i->within = false;
    i->next = sp->inflaters;
    sp->inflaters = i;
    sp->n_inflaters++;
}

void weft__ws_deflater_put(struct weft__ws_deflater *x)
{
    if (x == NULL)
        return;
    struct spares *sp = x->loop != NULL ? spares_of(x->loop, true) : NULL;
    if (sp == NULL || sp->n_deflaters == SPARES_MAX || deflateReset(&x->z) != Z_OK) {
        deflater_free(x);
        return;
    }
    x->next = sp->deflaters;
    sp->deflaters = x;
    sp->n_deflaters++;
}

/* --- Inflating ------------------------------------------------------------------------------- */

/*
 * A final block ends a stream for zlib, and for a message it does not (RFC 7692, 7.2.3.4): what
 * follows is another stream that looks back into the same window. It may come with every second
 * byte, so the window stays where it is and nothing is allocated or copied for it.
 */
static void begin_anew(struct weft__ws_inflater *i)
{
    int res = inflateResetKeep(&i->z);
    WEFT__ASSERT(res == Z_OK);
    i->ended = false;
}

/* Inflates once, and notes where that has ended: zlib says so of a call that got on, and no longer
 * of one behind it that did not (zlib.h, data_type). */
static int inflate_once(struct weft__ws_inflater *i)
{
    unsigned in = i->z.avail_in, out = i->z.avail_out;
    int res = inflate(&i->z, Z_SYNC_FLUSH);
    i->ended = res == Z_STREAM_END;
    if (i->ended || i->z.avail_in != in || i->z.avail_out != out)
        i->within = !i->ended && (i->z.data_type & 0x9f) != 0x80;
    return res;
}

int weft__ws_inflate(struct weft__ws_inflater *i, const void *in, size_t len, size_t *used,
                     void *out, size_t cap, size_t *made)
{
    int err = 0;
    i->z.next_in = (unsigned char *)(uintptr_t)in;
    i->z.avail_in = (unsigned)weft__min_size(len, UINT32_MAX);
    i->z.next_out = out;
    i->z.avail_out = (unsigned)weft__min_size(cap, UINT32_MAX);
    size_t had_in = i->z.avail_in, had_out = i->z.avail_out;
    while (err == 0 && i->z.avail_out > 0) {
        if (i->ended && i->z.avail_in == 0)
            break;
        if (i->ended)
            begin_anew(i);
        int res = inflate_once(i);
        if (res == Z_STREAM_END)
            continue;
        if (res == Z_BUF_ERROR)
            break; /* it wants more */
        else if (res == Z_MEM_ERROR)
            err = -ENOMEM;
        else if (res != Z_OK)
            err = weft__fail(WEFT_EPROTOCOL, "a message is not deflated: %s",
                             i->z.msg != NULL ? i->z.msg : "a dictionary is asked for");
        else if (i->z.avail_in == 0 && i->z.avail_out > 0)
            break;
    }
    *used = had_in - i->z.avail_in;
    *made = had_out - i->z.avail_out;
    return err;
}

/* --- Deflating ------------------------------------------------------------------------------- */

size_t weft__ws_deflate_bound(struct weft__ws_deflater *x, size_t len)
{
    return deflateBound(&x->z, len) + 16; /* and an empty block that ends at a byte */
}

size_t weft__ws_deflate(struct weft__ws_deflater *x, const void *in, size_t len, bool last,
                        void *out, size_t cap)
{
    x->z.next_in = (unsigned char *)(uintptr_t)in;
    x->z.next_out = out;
    x->z.avail_out = (unsigned)cap;
    x->z.avail_in = (unsigned)len;
    WEFT__ASSERT(len <= UINT32_MAX && cap <= UINT32_MAX);
    int res = deflate(&x->z, Z_SYNC_FLUSH);
    size_t n = cap - x->z.avail_out;
    WEFT__ASSERT(x->z.avail_in == 0 && x->z.avail_out > 0); /* there was room for the bound */
    if (n == 0) { /* nothing to do since the last flush: an empty message (7.2.3.6) */
        WEFT__ASSERT(res == Z_BUF_ERROR && cap > 0);
        if (!last)
            return 0;
        ((unsigned char *)out)[0] = 0;
        return 1;
    }
    WEFT__ASSERT(res == Z_OK && n >= WEFT__WS_TAIL_LEN);
    WEFT__ASSERT(memcmp((unsigned char *)out + n - WEFT__WS_TAIL_LEN, weft__ws_tail,
                        WEFT__WS_TAIL_LEN) == 0);
    if (!last)
        return n;
    n -= WEFT__WS_TAIL_LEN;
    return n;
}
