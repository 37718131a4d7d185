/* SPDX-License-Identifier: MIT */
/*
 * Fuzzes permessage-deflate: inflating what anybody may send, deflating what it came to, and its
 * negotiation. Checked for every input:
 * - inflated at once and in pieces, with room that comes in pieces, too, it gives the same bytes
 * and the same verdict, also of whether it is complete;
 * - what was deflated, with any window, level and memory, inflates to itself, message after
 * message;
 * - an offer that is accepted is answered with what a client that made it takes;
 * - an answer that is taken is a list of extensions.
 *
 * Input: choices (bits 0-2: window less 8, bit 3: with take-over, bits 4-7: level), piece, room,
 * the message.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <weft/error.h>

#include "base/base.h"
#include "ws/ws.h"

#define OUT_MAX 65536u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct result {
    uint8_t *out;
    size_t len;
    int err;
};

/* A message and its tail. */
static struct result inflate_all(struct weft__ws_inflater *i, const uint8_t *in, size_t len,
                                 size_t piece, size_t room)
{
    struct result r = {.out = malloc(OUT_MAX)};
    WEFT__ASSERT(r.out != NULL);
    for (int tail = 0; tail < 2 && r.err == 0; tail++) {
        const uint8_t *from = tail != 0 ? weft__ws_tail : in;
        size_t left = tail != 0 ? WEFT__WS_TAIL_LEN : len, at = 0;
        bool pending = true;
        while (r.err == 0 && (at < left || pending) && r.len < OUT_MAX) {
            size_t n = weft__min_size(piece, left - at),
                   cap = weft__min_size(room, OUT_MAX - r.len);
            size_t used = 0, made = 0;
            uint8_t *exact = malloc(cap); /* so that a byte too many is seen */
            WEFT__ASSERT(exact != NULL);
            r.err = weft__ws_inflate(i, from + at, n, &used, exact, cap, &made);
            WEFT__ASSERT(used <= n && made <= cap);
            WEFT__ASSERT(r.err < 0 || made == cap || used == n);
            memcpy(r.out + r.len, exact, made);
            free(exact);
            at += used;
            r.len += made;
            pending = made == cap;
        }
    }
    return r;
}

static void any_input(const uint8_t *data, size_t size, size_t piece, size_t room)
{
    struct weft__ws_inflater *a = NULL, *b = NULL;
    WEFT__ASSERT(weft__ws_inflater_get(&a, NULL, 15) == 0);
    WEFT__ASSERT(weft__ws_inflater_get(&b, NULL, 15) == 0);
    struct result x = inflate_all(a, data, size, size + 4, OUT_MAX);
    struct result y = inflate_all(b, data, size, piece, room);
    WEFT__ASSERT(x.err == 0 || x.err == WEFT_EPROTOCOL);
    if (x.len < OUT_MAX && y.len < OUT_MAX) { /* else only so much was looked at */
        WEFT__ASSERT(x.err == y.err);
        WEFT__ASSERT(x.err < 0 || (x.len == y.len && memcmp(x.out, y.out, x.len) == 0));
        WEFT__ASSERT(x.err < 0 || a->within == b->within);
    }
    free(x.out);
    free(y.out);
    weft__ws_inflater_put(a);
    weft__ws_inflater_put(b);
}

static void round_trip(const uint8_t *data, size_t size, unsigned choices, size_t piece)
{
    struct weft__ws_inflater *i = NULL;
    struct weft__ws_deflater *x = NULL;
    int bits = (int)weft__max_size(9, 8 + (choices & 7)), level = (int)(choices >> 4) % 9 + 1;
    WEFT__ASSERT(weft__ws_inflater_get(&i, NULL, bits) == 0);
    WEFT__ASSERT(weft__ws_deflater_get(&x, NULL, bits, level, level) == 0);
    for (int message = 0; message < 2; message++) {
        size_t half = message == 0 ? size / 2 : 0, cap = weft__ws_deflate_bound(x, size) + 64,
               n = 0;
        uint8_t *out = malloc(cap);
        WEFT__ASSERT(out != NULL);
        if (half > 0)
            n = weft__ws_deflate(x, data, half, false, out, cap);
        n += weft__ws_deflate(x, data + half, size - half, true, out + n, cap - n);
        struct result r = inflate_all(i, out, n, piece, OUT_MAX);
        WEFT__ASSERT(r.err == 0);
        WEFT__ASSERT(r.len == weft__min_size(size, OUT_MAX) && memcmp(r.out, data, r.len) == 0);
        WEFT__ASSERT(r.len == OUT_MAX || !i->within);
        free(r.out);
        free(out);
        if ((choices & 8) == 0) {
            (void)inflateReset(&i->z);
            (void)deflateReset(&x->z);
            i->ended = i->within = false;
        }
    }
    weft__ws_inflater_put(i);
    weft__ws_deflater_put(x);
}

static void negotiation(const uint8_t *data, size_t size, unsigned choices)
{
    struct weft__ws_deflate server = {.on = true,
                                      .server_no_takeover = (choices & 1) != 0,
                                      .client_no_takeover = (choices & 2) != 0,
                                      .server_bits = (uint8_t)(9 + (choices >> 2) % 7),
                                      .client_bits = (uint8_t)(8 + (choices >> 4) % 8)};
    struct weft__ws_deflate agreed, seen;
    char text[WEFT__WS_DEFLATE_TEXT_MAX];
    struct weft__slice input = weft__slice_of(data, size);
    if (weft__ws_deflate_accept(input, &server, &agreed)) {
        WEFT__ASSERT(agreed.on && agreed.server_bits <= server.server_bits);
        WEFT__ASSERT(agreed.server_bits >= 8 && agreed.client_bits >= 8);
        struct weft__ws_deflate any = {.on = true, .server_bits = 15, .client_bits = 15};
        struct weft__slice answer =
            weft__slice_of(text, weft__ws_deflate_write(&agreed, false, text));
        WEFT__ASSERT(weft__ws_deflate_answered(answer, &any, &seen) == 0);
        WEFT__ASSERT(memcmp(&seen, &agreed, sizeof seen) == 0);
    }
    int err = weft__ws_deflate_answered(input, &server, &seen);
    WEFT__ASSERT(err == 0 || err == WEFT_EPROTOCOL);
    WEFT__ASSERT(err < 0 || weft__ws_extensions_ok(input));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 3)
        return 0;
    unsigned choices = data[0];
    size_t piece = (size_t)data[1] + 1, room = (size_t)data[2] + 1;
    any_input(data + 3, size - 3, piece, room);
    round_trip(data + 3, size - 3, choices, piece);
    negotiation(data + 3, size - 3, choices);
    return 0;
}
