/* SPDX-License-Identifier: MIT */
/* The ends of HTTP/2's frames: see http2_frames.h. Floor 0. */
#include "wire/http2_frames.h"

#include <string.h>

#include "base/base.h"

#define TYPE_DATA 0x0
#define TYPE_HEADERS 0x1
#define TYPE_PUSH_PROMISE 0x5
#define TYPE_CONTINUATION 0x9
#define END_HEADERS 0x4

void weft__http2_frames_init(struct weft__http2_frames *f)
{
    *f = (struct weft__http2_frames){.left = WEFT__HTTP2_PREFACE_LEN, .preface = true};
}

static void head_came(struct weft__http2_frames *f)
{
    uint8_t type = f->head[3];
    f->have = 0;
    f->left = (uint32_t)f->head[0] << 16 | (uint32_t)f->head[1] << 8 | f->head[2];
    if (type == TYPE_HEADERS || type == TYPE_PUSH_PROMISE || type == TYPE_CONTINUATION)
        f->block = (f->head[4] & END_HEADERS) == 0;
    f->preface = f->preface && f->left > 0;
}

void weft__http2_frames_see(struct weft__http2_frames *f, const uint8_t *data, size_t len)
{
    while (len > 0) {
        size_t n;
        if (f->left > 0) {
            n = weft__min_size(len, f->left);
            f->left -= (uint32_t)n;
            if (f->left == 0 && f->at + n > WEFT__HTTP2_PREFACE_LEN)
                f->preface = false;
        } else {
            if (f->have == 0 && !f->block && !f->preface)
                f->from = f->at;
            n = weft__min_size(len, WEFT__HTTP2_FRAME_HEAD - f->have);
            memcpy(f->head + f->have, data, n);
            f->have = (uint8_t)(f->have + n);
            if (f->have == WEFT__HTTP2_FRAME_HEAD)
                head_came(f);
        }
        f->at += n;
        data += n;
        len -= n;
    }
}

enum weft__http2_open weft__http2_frames_open(const struct weft__http2_frames *f)
{
    if (f->left == 0 && f->have == 0 && !f->block && !f->preface)
        return WEFT__HTTP2_NOTHING;
    bool data = f->left > 0 && !f->block && !f->preface && f->head[3] == TYPE_DATA;
    return data ? WEFT__HTTP2_DATA : WEFT__HTTP2_FRAME;
}
