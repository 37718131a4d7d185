/* SPDX-License-Identifier: MIT */
/* The ends of HTTP/2's frames: see http2_frames.h. Floor 0. */
#include "wire/http2_frames.h"

#include <string.h>

#include "base/base.h"

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

/* Bytes of the preface or of a payload. */
static size_t pass(struct weft__http2_frames *f, size_t len)
{
    size_t n = weft__min_size(len, f->left);
    f->left -= (uint32_t)n;
    f->at += n;
    if (f->left == 0 && f->at > WEFT__HTTP2_PREFACE_LEN)
        f->preface = false;
    return n;
}

/* Bytes of a frame's head. */
static size_t take(struct weft__http2_frames *f, const uint8_t *data, size_t len)
{
    size_t n = weft__min_size(len, WEFT__HTTP2_FRAME_HEAD - f->have);
    if (f->have == 0 && !f->block && !f->preface)
        f->from = f->at;
    memcpy(f->head + f->have, data, n);
    f->have = (uint8_t)(f->have + n);
    f->at += n;
    return n;
}

size_t weft__http2_frames_see(struct weft__http2_frames *f, const uint8_t *data, size_t len,
                              bool *head)
{
    size_t at = 0;
    *head = false;
    while (at < len && !*head) {
        if (f->left > 0) {
            at += pass(f, len - at);
        } else {
            at += take(f, data + at, len - at);
            *head = f->have == WEFT__HTTP2_FRAME_HEAD;
        }
    }
    if (*head)
        head_came(f);
    return at;
}

enum weft__http2_open weft__http2_frames_open(const struct weft__http2_frames *f)
{
    if (f->left == 0 && f->have == 0 && !f->block && !f->preface)
        return WEFT__HTTP2_NOTHING;
    bool data = f->left > 0 && !f->block && !f->preface && weft__http2_frames_is_data(f);
    return data ? WEFT__HTTP2_DATA : WEFT__HTTP2_FRAME;
}
