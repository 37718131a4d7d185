/* SPDX-License-Identifier: MIT */
/*
 * permessage-deflate where it is not a matter of whole messages (test_ws_conformance.c): the
 * inflater by itself, and messages that are read and written in pieces.
 */
#include "ws_kit.h"

#include <weft/random.h>

#include "base/alloc.h"

static const struct weft__ws_deflate takeover = {.on = true, .server_bits = 15, .client_bits = 15};

/* Final blocks without end: each costs two bytes, and is not to cost much more than that here. What
 * comes behind them looks back past them all. */
static int final_blocks(void *arg)
{
    static const unsigned char hello[] = {0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00};
    static const unsigned char none[] = {0x03, 0x00}, again[] = {0xf2, 0x00, 0x11, 0x00, 0x00};
    struct weft__ws_inflater *i = NULL;
    char out[16] = "";
    size_t used, made, total;
    (void)arg;
    CHECK_EQ(weft__ws_inflater_get(&i, NULL, 15), 0);
    CHECK_EQ(weft__ws_inflate(i, hello, sizeof hello, &used, out, sizeof out, &made), 0);
    CHECK(made == 5 && !i->within);
    weft__alloc_hooks = true;
    uint64_t before = weft__alloc_count();
    for (int n = 0; n < 1000; n++) {
        CHECK_EQ(weft__ws_inflate(i, none, sizeof none, &used, out + 5, 1, &made), 0);
        CHECK(used == sizeof none && made == 0);
    }
    CHECK(weft__alloc_count() - before < 10);
    weft__alloc_hooks = false;
    CHECK_EQ(weft__ws_inflate(i, again, sizeof again, &used, out + 5, sizeof out - 5, &made), 0);
    total = 5 + made;
    CHECK(i->within); /* its tail is missing */
    CHECK_EQ(weft__ws_inflate(i, weft__ws_tail, WEFT__WS_TAIL_LEN, &used, out + total,
                              sizeof out - total, &made),
             0);
    CHECK(!i->within);
    CHECK(total == 10 && made == 0 && memcmp(out, "HelloHello", 10) == 0);
    weft__ws_inflater_put(i);
    return 0;
}

/* --- In pieces ------------------------------------------------------------------------------- */

static struct weft_ws *reader_of(struct weft_stream **peer, const void *bytes, size_t len)
{
    struct weft_stream *s = NULL;
    CHECK_EQ(weft_socketpair(peer, &s), 0);
    CHECK_EQ(weft_write(*peer, bytes, len, WS_SOON), 0);
    return ws_kit_open(s, true, &takeover, NULL);
}

/* Masked with zeros: "Hello" cut off within a block that is stored. What there is of it is shown,
 * and then the error. */
static int cut_off(void *arg)
{
    static const unsigned char frame[] = {0xc2, 0x87, 0,    0,    0,   0,  0x00,
                                          0x09, 0x00, 0xf6, 0xff, 'H', 'e'};
    struct weft_stream *peer = NULL;
    struct weft_ws_message m;
    size_t len = 0;
    int err;
    (void)arg;
    struct weft_ws *ws = reader_of(&peer, frame, sizeof frame);
    while ((err = weft_ws_read_some(ws, &m, WS_SOON)) > 0) {
        CHECK(!m.last);
        len += m.len;
    }
    CHECK_EQ(err, WEFT_EPROTOCOL);
    CHECK(len <= 2 && strstr(weft_error_detail(), "within a block") != NULL);
    weft_ws_abort(&ws);
    (void)weft_close(&peer, WS_SOON);
    return 0;
}

/* Without a tail, and so long that the last piece is full: the next message is read, too. */
static int rests_at_a_full_piece(void *arg)
{
    static const unsigned char hello[] = {0xc1, 0x87, 0,    0,    0,    0,   0xf2,
                                          0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00};
    static const size_t lengths[] = {16383, 16384, 16385, 32768};
    static unsigned char zeros[32768], frame[200];
    (void)arg;
    for (size_t i = 0; i < WEFT__ARRAY_LEN(lengths); i++) {
        struct weft_stream *peer = NULL;
        struct weft_ws_message m = {.last = false};
        z_stream z = {.next_in = zeros, .avail_in = (unsigned)lengths[i]};
        size_t total = 0;
        CHECK_EQ(deflateInit2(&z, 9, Z_DEFLATED, -15, 9, Z_DEFAULT_STRATEGY), Z_OK);
        z.next_out = frame + 6;
        z.avail_out = 125;
        CHECK_EQ(deflate(&z, Z_FINISH), Z_STREAM_END);
        memcpy(frame,
               (const unsigned char[]){0xc2, (unsigned char)(0x80 | z.total_out), 0, 0, 0, 0}, 6);
        memcpy(frame + 6 + z.total_out, hello, sizeof hello);
        struct weft_ws *ws = reader_of(&peer, frame, 6 + z.total_out + sizeof hello);
        (void)deflateEnd(&z);
        while (!m.last) {
            CHECK_EQ(weft_ws_read_some(ws, &m, WS_SOON), 1);
            total += m.len;
        }
        CHECK_EQ(total, lengths[i]);
        CHECK_EQ(weft_ws_read_some(ws, &m, WS_SOON), 1);
        CHECK(m.type == WEFT_WS_TEXT && m.len == 5 && memcmp(m.data, "Hello", 5) == 0);
        weft_ws_abort(&ws);
        (void)weft_close(&peer, WS_SOON);
    }
    return 0;
}

/* --- A long fragment ---------------------------------------------------------------------------
 */

static int write_long(void *arg)
{
    struct weft_ws *ws = arg;
    static char text[300000];
    weft_random(text, sizeof text);
    CHECK_EQ(weft_ws_write_part(ws, WEFT_WS_BINARY, text, sizeof text, false, WS_SOON), 0);
    CHECK_EQ(weft_ws_write_part(ws, WEFT_WS_BINARY, text, 0, true, WS_SOON), 0);
    CHECK_EQ(weft_ws_flush(ws, WS_SOON), 0);
    (void)weft_ws_close(&ws, 0, NULL, WEFT_NOW);
    return 0;
}

/* Goes out as several frames: to compress it takes no memory of its length. */
static int long_fragment(void *arg)
{
    struct weft_stream *peer = NULL, *s = NULL;
    struct weft_group *g = kit_group();
    static unsigned char frame[80000];
    unsigned char head[2];
    int frames = 0;
    (void)arg;
    CHECK_EQ(weft_socketpair(&peer, &s), 0);
    kit_go(g, "writes", write_long, ws_kit_open(s, true, &takeover, NULL));
    do {
        uint64_t len;
        CHECK_EQ(weft_read_full(peer, head, 2, WS_SOON), 0);
        CHECK_EQ(head[0] & 0x7f, frames == 0 ? 0x42 : 0); /* RSV1 and the opcode: the first alone */
        size_t more = head[1] == 127 ? 8 : head[1] == 126 ? 2 : 0;
        CHECK_EQ(weft_read_full(peer, frame, more, WS_SOON), 0);
        len = more == 0 ? head[1] : 0;
        for (size_t i = 0; i < more; i++)
            len = len << 8 | frame[i];
        CHECK(len <= sizeof frame);
        CHECK_EQ(weft_read_full(peer, frame, (size_t)len, WS_SOON), 0);
        frames++;
    } while ((head[0] & 0x80) == 0);
    CHECK(frames >= 5);
    (void)weft_close(&peer, WS_SOON);
    CHECK_EQ(weft_group_close(&g), 0);
    return 0;
}

static const struct kit_case cases[] = {
    IN_TASK(long_fragment),
    IN_TASK(final_blocks),
    IN_TASK(cut_off),
    IN_TASK(rests_at_a_full_piece),
};
KIT_MAIN(cases)
