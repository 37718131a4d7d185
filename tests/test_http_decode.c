/* SPDX-License-Identifier: MIT */
/*
 * Content codings taken off: gzip, zlib, raw deflate and brotli, whole, a byte at a time and at
 * every split; damaged, cut off and followed by more; bombs.
 */
#include <brotli/encode.h>
#include <zlib.h>

#include "base/alloc.h"
#include "http/decode.h"
#include "rt_kit.h"

#define TEXT_LEN 5000u

static char text[TEXT_LEN];

static void fill(void)
{
    uint32_t state = 1;
    for (size_t i = 0; i < TEXT_LEN; i++) {
        state = state * 1664525 + 1013904223;
        text[i] = (char)('a' + (state >> 24) % 23);
    }
}

/* window: as of deflateInit2. */
static size_t deflated(int window, const void *in, size_t len, uint8_t *out, size_t cap)
{
    z_stream z = {0};
    assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, window, 8, Z_DEFAULT_STRATEGY), Z_OK);
    z.next_in = (z_const Bytef *)in;
    z.avail_in = (uInt)len;
    z.next_out = out;
    z.avail_out = (uInt)cap;
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    size_t n = cap - z.avail_out;
    (void)deflateEnd(&z);
    return n;
}

static size_t brotlied(const void *in, size_t len, uint8_t *out, size_t cap)
{
    size_t n = cap;
    assert_true(BrotliEncoderCompress(9, 22, BROTLI_MODE_GENERIC, len, in, &n, out));
    return n;
}

/* Feeds it in two pieces, the first of `split` bytes, with room for `room` at a time. */
static int decode(const char *coding, const uint8_t *in, size_t len, size_t split, size_t room,
                  char *out, size_t cap, size_t *made)
{
    struct weft__decoder *d = NULL;
    size_t at = 0;
    assert_int_equal(weft__decoder_open(&d, weft__slice_text(coding)), 0);
    *made = 0;
    int res = 0;
    for (;;) {
        size_t end = at < split ? split : len;
        size_t used, got;
        res = weft__decoder_run(d, in + at, end - at, &used, out + *made,
                                weft__min_size(room, cap - *made), &got);
        if (res < 0)
            break;
        at += used;
        *made += got;
        if (used == 0 && got == 0 && at == len) {
            res = weft__decoder_end(d);
            break;
        }
        assert_true(used > 0 || got > 0);
    }
    weft__decoder_close(&d);
    assert_null(d);
    return res;
}

static const struct {
    const char *coding;
    int window; /* 0: brotli */
} kinds[] = {{"gzip", 31}, {"X-GZIP", 31}, {"deflate", 15}, {"deflate", -15}, {"br", 0}};

static size_t encode(size_t kind, const void *in, size_t len, uint8_t *out, size_t cap)
{
    return kinds[kind].window != 0 ? deflated(kinds[kind].window, in, len, out, cap)
                                   : brotlied(in, len, out, cap);
}

static void every_split(void **state)
{
    uint8_t coded[2 * TEXT_LEN];
    static char out[2 * TEXT_LEN];
    (void)state;
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
        size_t made, len = encode(k, text, 700, coded, sizeof coded);
        for (size_t split = 0; split <= len; split++)
            for (size_t room = 1; room < 2000; room += 999) {
                memset(out, 0, sizeof out);
                assert_int_equal(
                    decode(kinds[k].coding, coded, len, split, room, out, sizeof out, &made), 0);
                assert_int_equal(made, 700);
                assert_memory_equal(out, text, 700);
            }
    }
}

static void cut_off(void **state)
{
    uint8_t coded[2 * TEXT_LEN];
    static char out[2 * TEXT_LEN];
    (void)state;
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
        size_t made, len = encode(k, text, TEXT_LEN, coded, sizeof coded);
        for (size_t cut = 1; cut < len; cut += 97)
            assert_int_equal(
                decode(kinds[k].coding, coded, cut, 0, sizeof out, out, sizeof out, &made),
                WEFT_EEOF);
        assert_int_equal(decode(kinds[k].coding, coded, 0, 0, 10, out, sizeof out, &made), 0);
        assert_int_equal(made, 0);
    }
}

static void damaged(void **state)
{
    uint8_t coded[2 * TEXT_LEN];
    static char out[4 * TEXT_LEN];
    size_t made, caught = 0;
    (void)state;
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
        size_t len = encode(k, text, TEXT_LEN, coded, sizeof coded);
        for (size_t i = 0; i < len; i += 13) {
            coded[i] ^= 0x55;
            int res = decode(kinds[k].coding, coded, len, 0, sizeof out, out, sizeof out, &made);
            assert_true(res == 0 || res == WEFT_EPROTOCOL || res == WEFT_EEOF);
            caught += res == WEFT_EPROTOCOL;
            coded[i] ^= 0x55;
        }
    }
    assert_true(caught > 100);
}

static void followed(void **state)
{
    uint8_t coded[4 * TEXT_LEN];
    static char out[4 * TEXT_LEN];
    size_t made;
    (void)state;
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
        size_t len = encode(k, text, 500, coded, sizeof coded);
        size_t both = len + encode(k, text + 500, 500, coded + len, sizeof coded - len);
        int res = decode(kinds[k].coding, coded, both, 0, sizeof out, out, sizeof out, &made);
        if (kinds[k].window == 31) { /* members of gzip follow each other */
            assert_int_equal(res, 0);
            assert_int_equal(made, 1000);
            assert_memory_equal(out, text, 1000);
        } else {
            assert_int_equal(res, WEFT_EPROTOCOL);
        }
    }
}

static void unknown(void **state)
{
    struct weft__decoder *d = (struct weft__decoder *)text;
    (void)state;
    assert_int_equal(weft__decoder_open(&d, weft__slice_text("zstd")), WEFT_EPROTOCOL);
    assert_ptr_equal(d, text);
    assert_int_equal(weft__decoder_open(&d, weft__slice_text("identity")), 0);
    assert_null(d);
}

/* What a small body becomes takes no more memory than its window, however large it gets. */
static void bombs(void **state)
{
    static uint8_t zeros[1 << 20], coded[1 << 16];
    static char out[65536];
    (void)state;
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
        struct weft__decoder *d = NULL;
        size_t len = encode(k, zeros, sizeof zeros, coded, sizeof coded), at = 0, total = 0;
        assert_int_equal(weft__decoder_open(&d, weft__slice_text(kinds[k].coding)), 0);
        while (total < sizeof zeros) {
            size_t used, made;
            assert_true(weft__decoder_run(d, coded + at, len - at, &used, out, sizeof out, &made) >=
                        0);
            assert_true(made <= sizeof out);
            at += used;
            total += made;
        }
        assert_int_equal(total, sizeof zeros);
        weft__decoder_close(&d);
    }
}

static void allocations(void **state)
{
    uint8_t coded[2 * TEXT_LEN];
    static char out[2 * TEXT_LEN];
    (void)state;
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
        size_t len = encode(k, text, TEXT_LEN, coded, sizeof coded);
        for (unsigned i = 1; i < 30; i++) {
            struct weft__decoder *d = NULL;
            size_t used, made = 0, at = 0;
            weft__alloc_fail_at(i);
            int res = weft__decoder_open(&d, weft__slice_text(kinds[k].coding));
            while (res == 0 && at < len) {
                res = weft__decoder_run(d, coded + at, len - at, &used, out, sizeof out, &made);
                at += used;
            }
            weft__alloc_fail_at(0);
            assert_true(res == 1 || res == -ENOMEM);
            weft__decoder_close(&d);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_split), cmocka_unit_test(cut_off), cmocka_unit_test(damaged),
        cmocka_unit_test(followed),    cmocka_unit_test(unknown), cmocka_unit_test(bombs),
        cmocka_unit_test(allocations),
    };
    fill();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
