/* SPDX-License-Identifier: MIT */
#ifndef WEFT__WIRE_HTTP2_FRAMES_H
#define WEFT__WIRE_HTTP2_FRAMES_H
/*
 * Where the frames of what an HTTP/2 client sends end (RFC 9113 sections 3.4, 4.1, 4.3), for who
 * wants to know whether it has left something unfinished, and since which byte.
 *
 * Floor 0. It looks at lengths and types alone, and refuses nothing: whoever reads the frames does.
 * Invariant: what it says depends on the bytes so far, not on the pieces in which they came.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WEFT__HTTP2_FRAME_HEAD 9u
#define WEFT__HTTP2_PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
#define WEFT__HTTP2_PREFACE_LEN 24u

enum weft__http2_open {
    WEFT__HTTP2_NOTHING, /* the next byte is the first of a frame */
    WEFT__HTTP2_FRAME,   /* a frame, or a head of which CONTINUATION frames are to come, or the
                            preface with the frame behind it */
    WEFT__HTTP2_DATA,    /* the payload of a DATA frame */
};

struct weft__http2_frames {
    uint64_t at;   /* bytes so far */
    uint64_t from; /* how many there were before what is unfinished */
    uint32_t left; /* of the preface, or of a payload */
    uint8_t have;  /* of head */
    uint8_t head[WEFT__HTTP2_FRAME_HEAD];
    bool preface; /* it is to come, or the first frame behind it */
    bool block;   /* a head that CONTINUATION frames go on with */
};

void weft__http2_frames_init(struct weft__http2_frames *f);
/* Looks at the next bytes, up to the end of a frame's head, which is then in f->head (*head), or to
 * their own. Returns how many those are: it has to be called again for the others. */
size_t weft__http2_frames_see(struct weft__http2_frames *f, const uint8_t *data, size_t len,
                              bool *head);
/* Of the head that came last. */
static inline bool weft__http2_frames_is_data(const struct weft__http2_frames *f)
{
    return f->head[3] == 0;
}
static inline int32_t weft__http2_frames_stream(const struct weft__http2_frames *f)
{
    return (int32_t)((uint32_t)(f->head[5] & 0x7f) << 24 | (uint32_t)f->head[6] << 16 |
                     (uint32_t)f->head[7] << 8 | f->head[8]);
}
enum weft__http2_open weft__http2_frames_open(const struct weft__http2_frames *f);

#endif
