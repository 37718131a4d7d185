/* SPDX-License-Identifier: MIT */
/*
 * A client of HTTP/2 whose frames are bytes by hand: for what no library would send.
 */
#ifndef HTTP2_PEER_KIT_H
#define HTTP2_PEER_KIT_H

#include "http_kit.h"

#define SOON weft_after_s(600)
#define GOAWAY 7
#define RST_STREAM 3

struct place; /* the test's own */

struct client {
    struct place *place;
    struct weft_stream *s;
    uint8_t status; /* the first byte of the last head: HPACK's index of a status */
};

static inline void put(struct client *c, const void *data, size_t len)
{
    CHECK_EQ(weft_write(c->s, data, len, SOON), 0);
}

static inline size_t frame(uint8_t *to, uint8_t type, uint8_t flags, uint32_t id, const void *body,
                           size_t len)
{
    const uint8_t head[] = {
        0,          (uint8_t)(len >> 8), (uint8_t)len,        type,
        flags,      (uint8_t)(id >> 24), (uint8_t)(id >> 16), (uint8_t)(id >> 8),
        (uint8_t)id};
    memcpy(to, head, sizeof head);
    if (len > 0)
        memcpy(to + sizeof head, body, len);
    return sizeof head + len;
}

static inline void put_frame(struct client *c, uint8_t type, uint8_t flags, uint32_t id,
                             const void *body, size_t len)
{
    uint8_t buf[256];
    put(c, buf, frame(buf, type, flags, id, body, len));
}

/* A head in one frame, :method by its index in HPACK's static table (2: GET, 3: POST). */
static inline size_t head(uint8_t *to, uint8_t flags, uint32_t id, uint8_t method, const char *path)
{
    uint8_t block[64] = {(uint8_t)(0x80 | method), 0x86, 0x04, (uint8_t)strlen(path)};
    size_t len = 4 + strlen(path);
    memcpy(block + 4, path, strlen(path));
    memcpy(block + len, "\x01\x01h", 3);
    return frame(to, 1, flags, id, block, len + 3);
}

static inline void ask(struct client *c, uint32_t id, const char *path)
{
    uint8_t buf[128];
    put(c, buf, head(buf, 5, id, 2, path)); /* END_STREAM, END_HEADERS */
}

/* window: of each stream. */
static inline void begin(struct client *c, uint32_t window)
{
    static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    const uint8_t setting[] = {0,
                               4,
                               (uint8_t)(window >> 24),
                               (uint8_t)(window >> 16),
                               (uint8_t)(window >> 8),
                               (uint8_t)window};
    put(c, preface, sizeof preface - 1);
    put_frame(c, 4, 0, 0, setting, sizeof setting);
}

static inline void open_window(struct client *c, uint32_t id, uint8_t by)
{
    const uint8_t body[] = {0, 0, 0, by};
    put_frame(c, 8, 0, id, body, sizeof body);
}

static inline uint32_t number_of(const uint8_t b[4])
{
    return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

/*
 * Reads until that stream ends (0), is reset (RST_STREAM), or the connection is to end (GOAWAY);
 * *code: of these two. WEFT_EEOF: it has just ended.
 */
static inline int await(struct client *c, uint32_t id, uint32_t *code)
{
    uint8_t h[9], body[16384];
    for (;;) {
        int err = weft_read_full(c->s, h, sizeof h, SOON);
        CHECK(err == 0 || err == WEFT_EEOF);
        if (err < 0)
            return err;
        size_t len = (size_t)h[0] << 16 | (size_t)h[1] << 8 | h[2];
        CHECK(len <= sizeof body);
        if (len > 0)
            CHECK_EQ(weft_read_full(c->s, body, len, SOON), 0);
        size_t at = h[3] == GOAWAY ? 4 : 0;
        *code = len >= at + 4 ? number_of(body + at) : 0;
        if (h[3] == 1)
            c->status = body[0];
        if (h[3] == GOAWAY || (h[3] == RST_STREAM && number_of(h + 5) == id))
            return h[3];
        if (h[3] < 2 && number_of(h + 5) == id && (h[4] & 1) != 0)
            return 0;
    }
}

#endif
