/* SPDX-License-Identifier: MIT */
/*
 * Fuzzes the frames of WebSocket, and UTF-8. The first two bytes of the input choose the rules and
 * the size of the pieces, the rest is the stream. Checked for every input:
 * - whole, and in pieces, it gives the same frames, the same payload and the same error;
 * - a frame that was parsed is built again, and parsed as itself;
 * - UTF-8 has the same verdict, at the same byte, whole and in pieces;
 * - what is accepted as a close frame's payload is built again as itself.
 *
 * Input: rules (bit 0: masked, 1: deflate, 2: a maximum of 1,000), piece size less 1, the stream.
 */
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <weft/error.h>

#include "base/base.h"
#include "wire/utf8.h"
#include "wire/ws_frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct seen {
    uint64_t hash;
    ssize_t error;
    size_t at; /* of the byte that was refused */
    size_t frames;
};

static void note(struct seen *s, const void *bytes, size_t len)
{
    const unsigned char *b = bytes;
    for (size_t i = 0; i < len; i++)
        s->hash = (s->hash ^ b[i]) * 0x100000001b3u;
}

static void rebuild(const struct weft__ws_parser *p)
{
    unsigned char head[WEFT__WS_HEAD_MAX];
    struct weft__ws_parser q;
    uint8_t message = p->first || weft__ws_is_control(p->opcode) ? 0 : p->message;
    size_t n = weft__ws_build_head(head, p->opcode, p->fin, p->first && p->compressed, p->len,
                                   p->masked ? p->mask : NULL);
    weft__ws_parser_init(&q, p->masked, p->deflate, p->frame_max);
    q.message = message;
    WEFT__ASSERT(weft__ws_parse_head(&q, head, n) == (ssize_t)n && q.in_frame);
    WEFT__ASSERT(q.len == p->len && q.opcode == p->opcode && q.fin == p->fin);
}

static void look_at_close(const void *payload, size_t len)
{
    struct weft__ws_close c;
    unsigned char out[WEFT__WS_CONTROL_MAX];
    int err = weft__ws_close_parse(&c, payload, len);
    WEFT__ASSERT(err == 0 || err == WEFT_EPROTOCOL || err == -EILSEQ);
    if (err == 0) {
        size_t n = weft__ws_close_build(out, c.code, c.reason, c.reason_len);
        WEFT__ASSERT(n == len && (n == 0 || memcmp(out, payload, n) == 0));
    }
}

static struct seen receive(const uint8_t *stream, size_t len, unsigned rules, size_t piece)
{
    struct seen s = {.hash = 0xcbf29ce484222325u};
    struct weft__ws_parser p;
    unsigned char control[WEFT__WS_CONTROL_MAX];
    unsigned char *copy = malloc(len + 1);
    size_t end = 0, at = 0;
    WEFT__ASSERT(copy != NULL);
    memcpy(copy, stream, len);
    weft__ws_parser_init(&p, rules & 1, rules & 2, rules & 4 ? 1000 : 0);
    while (s.error == 0 && end < len) {
        end = weft__min_size(end + piece, len);
        while (at < end && s.error == 0) {
            if (!p.in_frame) {
                ssize_t n = weft__ws_parse_head(&p, copy + at, end - at);
                WEFT__ASSERT(n == WEFT_EPROTOCOL || n == WEFT_ETOOLONG ||
                             (n > 0 && (size_t)n <= end - at));
                s.error = n < 0 ? n : 0;
                at += n > 0 ? (size_t)n : 0;
                if (p.in_frame) {
                    note(&s, &p.opcode, 1);
                    note(&s, &p.len, sizeof p.len);
                    s.frames++;
                    rebuild(&p);
                }
            } else {
                uint64_t had = p.len - p.left;
                size_t n = weft__ws_payload(&p, copy + at, end - at);
                WEFT__ASSERT(n > 0 && n <= end - at);
                note(&s, copy + at, n);
                if (p.opcode == WEFT__WS_CLOSE)
                    memcpy(control + had, copy + at, n);
                at += n;
            }
            if (p.in_frame && p.left == 0) {
                if (p.opcode == WEFT__WS_CLOSE)
                    look_at_close(control, (size_t)p.len);
                weft__ws_frame_end(&p);
            }
        }
    }
    free(copy);
    return s;
}

static long utf8(const uint8_t *text, size_t len, size_t piece)
{
    struct weft__utf8 u = {0};
    size_t at;
    for (size_t i = 0; i < len; i += piece)
        if (!weft__utf8_check(&u, text + i, weft__min_size(piece, len - i), &at))
            return (long)(i + at);
    return weft__utf8_complete(&u) ? -1 : -2;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    unsigned rules = data[0];
    size_t piece = (size_t)data[1] + 1;
    struct seen a = receive(data + 2, size - 2, rules, size);
    struct seen b = receive(data + 2, size - 2, rules, piece);
    WEFT__ASSERT(a.hash == b.hash && a.error == b.error && a.frames == b.frames);
    WEFT__ASSERT(utf8(data + 2, size - 2, size) == utf8(data + 2, size - 2, piece));
    WEFT__ASSERT(utf8(data + 2, size - 2, size) == utf8(data + 2, size - 2, 1));
    return 0;
}
