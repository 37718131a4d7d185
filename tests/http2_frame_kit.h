/* SPDX-License-Identifier: MIT */
/*
 * Frames of HTTP/2 (RFC 9113, section 4.1), for peers of either side that are bytes by hand.
 */
#ifndef HTTP2_FRAME_KIT_H
#define HTTP2_FRAME_KIT_H

#include "rt_kit.h"

#include <weft/stream.h>

#define DATA 0
#define HEADERS 1
#define RST_STREAM 3
#define PING 6
#define GOAWAY 7
#define END_STREAM 1

struct h2_frame {
    uint8_t type, flags;
    uint32_t id;
    size_t len;
    uint8_t body[8]; /* as much of it, zeros behind it */
};

static inline uint32_t number_of(const uint8_t b[4])
{
    return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

/* The next frame; a negative code where the connection ends before it. */
static inline int read_frame(struct weft_stream *s, struct h2_frame *f, weft_deadline d)
{
    uint8_t head[9], body[16384];
    int err = weft_read_full(s, head, sizeof head, d);
    if (err < 0)
        return err;
    size_t len = (size_t)head[0] << 16 | (size_t)head[1] << 8 | head[2];
    CHECK(len <= sizeof body);
    memset(body, 0, sizeof f->body);
    if (len > 0)
        CHECK_EQ(weft_read_full(s, body, len, d), 0);
    *f =
        (struct h2_frame){.type = head[3], .flags = head[4], .id = number_of(head + 5), .len = len};
    memcpy(f->body, body, sizeof f->body);
    return 0;
}

#endif
