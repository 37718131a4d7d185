/* SPDX-License-Identifier: MIT */
/*
 * Fuzzes where the frames of an HTTP/2 client end. Checked for every input, behind each piece:
 * - bytes one by one, and in pieces, say the same;
 * - a reader that knows the whole input, and walks from frame to frame, says the same.
 *
 * Input: piece size less 1, what follows the preface.
 */
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "replay.h"
#include "wire/http2_frames.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Walks through the first len bytes behind the preface. */
static enum weft__http2_open walk(const uint8_t *b, size_t len, uint64_t *from)
{
    bool block = false, first = true;
    size_t at = 0;
    *from = 0;
    while (at < len) {
        if (!block && !first)
            *from = WEFT__HTTP2_PREFACE_LEN + at;
        if (len - at < WEFT__HTTP2_FRAME_HEAD)
            return WEFT__HTTP2_FRAME;
        size_t payload = (size_t)b[at] << 16 | (size_t)b[at + 1] << 8 | b[at + 2];
        uint8_t type = b[at + 3];
        if (type == 1 || type == 5 || type == 9)
            block = (b[at + 4] & 4) == 0;
        at += WEFT__HTTP2_FRAME_HEAD;
        if (len - at < payload)
            return type == 0 && !block && !first ? WEFT__HTTP2_DATA : WEFT__HTTP2_FRAME;
        at += payload;
        first = false;
    }
    return block || first ? WEFT__HTTP2_FRAME : WEFT__HTTP2_NOTHING;
}

static void check(const struct weft__http2_frames *f, const uint8_t *b, size_t len)
{
    uint64_t from;
    enum weft__http2_open open = walk(b, len, &from);
    WEFT__ASSERT(f->at == WEFT__HTTP2_PREFACE_LEN + len);
    WEFT__ASSERT(weft__http2_frames_open(f) == open);
    WEFT__ASSERT(open == WEFT__HTTP2_NOTHING || f->from == from);
}

static void see(struct weft__http2_frames *f, const void *data, size_t len)
{
    for (size_t at = 0; at < len;) {
        bool head;
        size_t n = weft__http2_frames_see(f, (const uint8_t *)data + at, len - at, &head);
        WEFT__ASSERT(n > 0 && n <= len - at && (head || at + n == len));
        at += n;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct weft__http2_frames one, pieces;
    if (size == 0)
        return 0;
    size_t piece = (size_t)data[0] + 1;
    data++;
    size--;
    weft__http2_frames_init(&one);
    weft__http2_frames_init(&pieces);
    see(&one, WEFT__HTTP2_PREFACE, WEFT__HTTP2_PREFACE_LEN);
    see(&pieces, WEFT__HTTP2_PREFACE, WEFT__HTTP2_PREFACE_LEN);
    for (size_t at = 0; at < size;) {
        size_t n = weft__min_size(piece, size - at);
        see(&pieces, data + at, n);
        for (size_t i = 0; i < n; i++)
            see(&one, data + at + i, 1);
        at += n;
        check(&pieces, data, at);
        check(&one, data, at);
    }
    return 0;
}
