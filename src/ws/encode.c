/* SPDX-License-Identifier: MIT */
/*
 * Messages that are encoded once and sent to many.
 *
 * Floor 5. Invariant: an encoded message never changes, so connections of any loop and thread send
 * it side by side; the frames are as a server sends them, and the compressed one looks back to
 * nothing before it, so that it fits every connection whose window is large enough.
 */
#include <errno.h>
#include <stdatomic.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "ws/encoded.h"

static uint8_t *build(struct weft_ws_encoded *e, bool compressed, const void *data, size_t len,
                      size_t *total)
{
    unsigned char head[WEFT__WS_HEAD_MAX];
    size_t n = weft__ws_build_head(head, e->type, true, compressed, len, NULL);
    uint8_t *frame = weft__alloc(n + len);
    if (frame == NULL)
        return NULL;
    memcpy(frame, head, n);
    if (len > 0)
        memcpy(frame + n, data, len);
    *total = n + len;
    return frame;
}

static int compress_into(struct weft_ws_encoded *e, const void *data, size_t len,
                         const struct weft__ws_settings *set, uint8_t bits)
{
    struct weft__ws_deflater *x = NULL;
    uint8_t *buf = NULL;
    int err = weft__ws_deflater_get(&x, weft_loop_current(), bits, set->level, set->memory);
    if (err < 0)
        return err;
    size_t cap = weft__ws_deflate_bound(x, len);
    buf = weft__alloc(cap);
    if (buf != NULL) {
        size_t n = weft__ws_deflate(x, data, len, true, buf, cap);
        e->deflated = build(e, true, buf, n, &e->deflated_len);
        e->bits = bits;
    }
    weft__free(buf);
    weft__ws_deflater_put(x);
    return e->deflated != NULL ? 0 : -ENOMEM;
}

static void encoded_free(struct weft__shared *sh)
{
    struct weft_ws_encoded *e = WEFT__CONTAINER_OF(sh, struct weft_ws_encoded, shared);
    weft__free(e->frame);
    weft__free(e->deflated);
    weft__free(e);
}

int weft_ws_encode(struct weft_ws_encoded **ret, enum weft_ws_type type, const void *data,
                   size_t len, const struct weft_ws_options *o)
{
    static const struct weft_ws_options none;
    struct weft__ws_settings set;
    int err = o != NULL ? weft__ws_options_check(o) : 0;
    o = o != NULL ? o : &none;
    if (err == 0 && type != WEFT_WS_TEXT && type != WEFT_WS_BINARY)
        err = weft__fail(-EINVAL, "a message of type %d", (int)type);
    if (err == 0 && len > UINT32_MAX / 2)
        err = weft__fail(-EINVAL, "a message of %zu bytes is too long to encode", len);
    if (err == 0 && type == WEFT_WS_TEXT)
        err = weft__ws_check_utf8(data, len);
    if (err < 0)
        return err;
    struct weft_ws_encoded *e = weft__calloc(1, sizeof *e);
    if (e == NULL)
        return -ENOMEM;
    atomic_init(&e->shared.refs, 1);
    e->shared.free = encoded_free;
    e->type = (uint8_t)type;
    e->frame = build(e, false, data, len, &e->frame_len);
    e->payload_len = len;
    err = e->frame != NULL ? 0 : -ENOMEM;
    weft__ws_settings_of(&set, o);
    if (err == 0 && o->deflate && len >= set.deflate_min)
        err = compress_into(e, data, len, &set,
                            o->deflate_bits > 0 ? o->deflate_bits : WEFT__WS_BITS_MAX);
    if (err < 0) {
        weft_ws_encoded_unref(e);
        return err;
    }
    *ret = e;
    return 0;
}

struct weft_ws_encoded *weft_ws_encoded_ref(struct weft_ws_encoded *e)
{
    weft__shared_ref(&e->shared);
    return e;
}

void weft_ws_encoded_unref(struct weft_ws_encoded *e)
{
    if (e != NULL)
        weft__shared_unref(&e->shared);
}
