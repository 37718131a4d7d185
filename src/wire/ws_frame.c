/* SPDX-License-Identifier: MIT */
/* Frames of WebSocket; see ws_frame.h. Floor 0. */
#include "wire/ws_frame.h"

#include <errno.h>
#include <string.h>

#include "base/base.h"
#include "base/error.h"
#include "wire/cursor.h"
#include "wire/utf8.h"

/* --- Masking --------------------------------------------------------------------------------- */

/* 16 bytes, which the compiler makes SSE2 or NEON of. */
typedef uint8_t lane __attribute__((vector_size(16), aligned(1), may_alias));

void weft__ws_mask(void *to, const void *from, size_t len, const unsigned char mask[4], size_t turn)
{
    unsigned char *out = to;
    const unsigned char *in = from;
    unsigned char key[16];
    size_t i = 0;
    for (size_t k = 0; k < sizeof key; k++)
        key[k] = mask[(turn + k) & 3];
    if (len >= sizeof key) {
        lane m;
        memcpy(&m, key, sizeof m);
        for (; len - i >= 4 * sizeof m; i += 4 * sizeof m) {
            const lane *a = (const lane *)(const void *)(in + i);
            lane *b = (lane *)(void *)(out + i);
            lane x0 = a[0] ^ m, x1 = a[1] ^ m, x2 = a[2] ^ m, x3 = a[3] ^ m;
            b[0] = x0;
            b[1] = x1;
            b[2] = x2;
            b[3] = x3;
        }
        for (; len - i >= sizeof m; i += sizeof m)
            *(lane *)(void *)(out + i) = *(const lane *)(const void *)(in + i) ^ m;
    }
    for (; i < len; i++)
        out[i] = in[i] ^ key[i & 15];
}

/* --- Parsing --------------------------------------------------------------------------------- */

void weft__ws_parser_init(struct weft__ws_parser *p, bool masked, bool deflate, uint64_t frame_max)
{
    *p = (struct weft__ws_parser){.masked = masked, .deflate = deflate, .frame_max = frame_max};
}

/* How many bytes the head has, as far as its first two say. */
static size_t head_size(const struct weft__ws_parser *p)
{
    if (p->head_len < 2)
        return 2;
    size_t size = 2 + (p->masked ? 4 : 0);
    unsigned len = p->head[1] & 0x7f;
    return size + (len == 127 ? 8 : len == 126 ? 2 : 0);
}

static int check_first(const struct weft__ws_parser *p)
{
    unsigned char c = p->head[0];
    uint8_t opcode = c & 15;
    bool fin = (c & 0x80) != 0;
    if ((c & 0x30) != 0 || ((c & 0x40) != 0 && !p->deflate))
        return weft__fail(WEFT_EPROTOCOL, "a frame has reserved bits set: 0x%02x", c); /* 5.2 */
    if ((opcode > WEFT__WS_BINARY && opcode < WEFT__WS_CLOSE) || opcode > WEFT__WS_PONG)
        return weft__fail(WEFT_EPROTOCOL, "a frame has the unknown opcode %u", opcode);
    if (weft__ws_is_control(opcode)) {
        if (!fin) /* 5.4 */
            return weft__fail(WEFT_EPROTOCOL, "a control frame is fragmented");
        if ((c & 0x40) != 0) /* RFC 7692, 6.1 */
            return weft__fail(WEFT_EPROTOCOL, "a control frame is compressed");
    } else if (opcode == WEFT__WS_CONTINUATION) {
        if (p->message == 0)
            return weft__fail(WEFT_EPROTOCOL, "a continuation of no message");
        if ((c & 0x40) != 0)
            return weft__fail(WEFT_EPROTOCOL, "a continuation has RSV1 set");
    } else if (p->message != 0) {
        return weft__fail(WEFT_EPROTOCOL, "a message begins within another");
    }
    return 0;
}

static int check_second(const struct weft__ws_parser *p)
{
    unsigned char c = p->head[1];
    bool masked = (c & 0x80) != 0;
    if (masked != p->masked) /* 5.1 */
        return weft__fail(WEFT_EPROTOCOL, "%s",
                          masked ? "a server's frame is masked" : "a client's frame is not masked");
    if (weft__ws_is_control(p->head[0] & 15) && (c & 0x7f) > WEFT__WS_CONTROL_MAX)
        return weft__fail(WEFT_EPROTOCOL, "a control frame is longer than 125 bytes");
    return 0;
}

/* The length, with 2 + its own bytes of the head there. */
static int check_length(const struct weft__ws_parser *p, uint64_t *ret)
{
    struct weft__reader r = weft__reader_of(p->head + 2, p->head_len - 2u);
    uint64_t len = p->head[1] & 0x7f;
    if (len == 126) {
        bool there = weft__reader_number(&r, 2, &len);
        WEFT__ASSERT(there);
        if (len < 126)
            return weft__fail(WEFT_EPROTOCOL, "a length of %u takes two bytes", (unsigned)len);
    } else if (len == 127) {
        bool there = weft__reader_number(&r, 8, &len);
        WEFT__ASSERT(there);
        if (len > WEFT__WS_LEN_MAX)
            return weft__fail(WEFT_EPROTOCOL, "a length has its highest bit set");
        if (len < 65536)
            return weft__fail(WEFT_EPROTOCOL, "a length of %u takes eight bytes", (unsigned)len);
    }
    if (!weft__ws_is_control(p->head[0] & 15) && p->frame_max > 0 && len > p->frame_max)
        return weft__fail(WEFT_ETOOLONG, "a frame of %llu bytes is longer than %llu",
                          (unsigned long long)len, (unsigned long long)p->frame_max);
    *ret = len;
    return 0;
}

static void begin_frame(struct weft__ws_parser *p, uint64_t len)
{
    p->in_frame = true;
    p->opcode = p->head[0] & 15;
    p->fin = (p->head[0] & 0x80) != 0;
    p->first = p->opcode == WEFT__WS_TEXT || p->opcode == WEFT__WS_BINARY;
    if (p->first) {
        p->message = p->opcode;
        p->compressed = (p->head[0] & 0x40) != 0;
    }
    p->len = p->left = len;
    p->turn = 0;
    if (p->masked)
        memcpy(p->mask, p->head + p->head_len - 4, 4);
    p->head_len = 0;
}

ssize_t weft__ws_parse_head(struct weft__ws_parser *p, const void *data, size_t len)
{
    struct weft__reader r = weft__reader_of(data, len);
    uint64_t size = 0;
    WEFT__ASSERT(!p->in_frame);
    while (!p->in_frame && weft__reader_u8(&r, &p->head[p->head_len])) {
        size_t n = ++p->head_len;
        size_t of_length = n < 2 ? 0 : head_size(p) - (p->masked ? 4 : 0);
        int err = 0;
        if (n == 1)
            err = check_first(p);
        else if (n == 2)
            err = check_second(p);
        if (err == 0 && n == of_length)
            err = check_length(p, &size);
        if (err < 0)
            return err;
        if (n >= 2 && n == head_size(p)) {
            err = check_length(p, &size);
            WEFT__ASSERT(err == 0);
            begin_frame(p, size);
        }
    }
    return (ssize_t)r.pos;
}

size_t weft__ws_payload(struct weft__ws_parser *p, void *data, size_t len)
{
    size_t n = (size_t)weft__min_u64(len, p->left);
    WEFT__ASSERT(p->in_frame);
    if (p->masked)
        weft__ws_mask(data, data, n, p->mask, p->turn);
    p->turn = (uint8_t)((p->turn + n) & 3);
    p->left -= n;
    return n;
}

void weft__ws_frame_end(struct weft__ws_parser *p)
{
    WEFT__ASSERT(p->in_frame && p->left == 0);
    p->in_frame = false;
    if (p->fin && !weft__ws_is_control(p->opcode)) {
        p->message = 0;
        p->compressed = false;
    }
}

/* --- Building -------------------------------------------------------------------------------- */

size_t weft__ws_build_head(unsigned char out[WEFT__WS_HEAD_MAX], uint8_t opcode, bool fin,
                           bool compressed, uint64_t len, const unsigned char mask[4])
{
    struct weft__writer w = weft__writer_of(out, WEFT__WS_HEAD_MAX);
    unsigned char masked = mask != NULL ? 0x80 : 0;
    weft__writer_u8(&w, (unsigned char)((fin ? 0x80 : 0) | (compressed ? 0x40 : 0) | opcode));
    if (len < 126) {
        weft__writer_u8(&w, (unsigned char)(masked | len));
    } else if (len < 65536) {
        weft__writer_u8(&w, masked | 126);
        weft__writer_number(&w, 2, len);
    } else {
        weft__writer_u8(&w, masked | 127);
        weft__writer_number(&w, 8, len);
    }
    if (mask != NULL)
        weft__writer_bytes(&w, mask, 4);
    WEFT__ASSERT(!w.full);
    return w.pos;
}

/* --- Close frames ---------------------------------------------------------------------------- */

bool weft__ws_close_code_ok(unsigned code)
{
    if (code >= 3000 && code <= 4999) /* 7.4.2: libraries and applications */
        return true;
    return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014);
}

int weft__ws_close_parse(struct weft__ws_close *ret, const void *payload, size_t len)
{
    struct weft__reader r = weft__reader_of(payload, len);
    struct weft__ws_close c = {.code = WEFT__WS_NO_CODE, .reason = ""};
    uint64_t code;
    const void *reason;
    if (len > 0) {
        if (!weft__reader_number(&r, 2, &code))
            return weft__fail(WEFT_EPROTOCOL, "a close frame with one byte");
        if (!weft__ws_close_code_ok((unsigned)code))
            return weft__fail(WEFT_EPROTOCOL, "a close frame with the code %u", (unsigned)code);
        c.code = (uint16_t)code;
        c.reason_len = weft__reader_left(&r);
        (void)weft__reader_bytes(&r, c.reason_len, &reason);
        c.reason = reason;
        if (!weft__utf8_valid(c.reason, c.reason_len))
            return weft__fail(-EILSEQ, "the reason of a close frame is not UTF-8");
    }
    *ret = c;
    return 0;
}

size_t weft__ws_close_build(unsigned char out[WEFT__WS_CONTROL_MAX], unsigned code,
                            const char *reason, size_t reason_len)
{
    struct weft__writer w = weft__writer_of(out, WEFT__WS_CONTROL_MAX);
    if (code == WEFT__WS_NO_CODE)
        return 0;
    if (reason_len > WEFT__WS_REASON_MAX) {
        reason_len = WEFT__WS_REASON_MAX;
        while (reason_len > 0 && ((unsigned char)reason[reason_len] & 0xc0) == 0x80)
            reason_len--;
    }
    weft__writer_number(&w, 2, code);
    weft__writer_bytes(&w, reason, reason_len);
    return w.pos;
}

unsigned weft__ws_close_code_of(int error)
{
    switch (error) {
    case WEFT_EPROTOCOL:
        return WEFT__WS_PROTOCOL_ERROR;
    case -EILSEQ:
        return WEFT__WS_BAD_TEXT;
    case WEFT_ETOOLONG:
        return WEFT__WS_TOO_LONG;
    default:
        return WEFT__WS_INTERNAL;
    }
}
