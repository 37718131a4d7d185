/* SPDX-License-Identifier: MIT */
/*
 * Tests of WebSocket's parts in src/wire: SHA-1, UTF-8, masking, frames, close frames. Frames are
 * fed whole, a byte at a time and cut in two at every point; what comes out must be the same.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <weft/error.h>

#include "base/base.h"
#include "wire/sha1.h"
#include "wire/utf8.h"
#include "wire/ws_frame.h"

static uint32_t chance(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 33);
}

/* --- SHA-1 ----------------------------------------------------------------------------------- */

static void sha1_vectors(void **state)
{
    static const struct {
        const char *text;
        size_t times;
        const char *hex;
    } v[] = {
        {"abc", 1, "a9993e364706816aba3e25717850c26c9cd0d89d"},
        {"", 1, "da39a3ee5e6b4b0d3255bfef95601890afd80709"},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 1,
         "84983e441c3bd26ebaae4aa1f95129e5e54670f1"},
        {"0123456701234567012345670123456701234567012345670123456701234567", 10,
         "dea356a2cddd90c7a7ecedc5ebb563934f460452"},
        {"a", 55, "c1c8bbdc22796e28c0e15163d20899b65621d65a"},
        {"a", 56, "c2db330f6083854c99d4b5bfb6e8f29f201be699"},
        {"a", 64, "0098ba824b5c16427bd7a1122a5a442a25ec644d"},
    };
    (void)state;
    for (size_t i = 0; i < WEFT__ARRAY_LEN(v); i++) {
        char text[1024] = "", hex[41];
        unsigned char digest[WEFT__SHA1_SIZE];
        for (size_t k = 0; k < v[i].times; k++)
            strcat(text, v[i].text);
        weft__sha1(text, strlen(text), digest);
        for (size_t k = 0; k < sizeof digest; k++)
            (void)snprintf(hex + 2 * k, 3, "%02x", digest[k]);
        assert_string_equal(hex, v[i].hex);
    }
}

/* --- UTF-8 ----------------------------------------------------------------------------------- */

/* The same question, answered from the definition: the length of the character that the bytes begin
 * with; 0: they may begin one; -1: they do not. */
static int naive_char(const unsigned char *s, size_t len)
{
    static const struct {
        unsigned char lo, hi, lo2, hi2;
        int size;
    } rows[] = {
        {0, 0x7f, 0, 0, 1},          {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3},
        {0xe1, 0xec, 0x80, 0xbf, 3}, {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3},
        {0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4}};
    for (size_t i = 0; i < WEFT__ARRAY_LEN(rows); i++) {
        if (s[0] < rows[i].lo || s[0] > rows[i].hi)
            continue;
        for (int k = 1; k < rows[i].size; k++) {
            if ((size_t)k >= len)
                return 0;
            unsigned char lo = k == 1 ? rows[i].lo2 : 0x80, hi = k == 1 ? rows[i].hi2 : 0xbf;
            if (s[k] < lo || s[k] > hi)
                return -1 - k;
        }
        return rows[i].size;
    }
    return -1;
}

/* -1: valid; -2: valid so far; else the first wrong byte. */
static long naive(const unsigned char *s, size_t len)
{
    for (size_t i = 0; i < len;) {
        int n = naive_char(s + i, len - i);
        if (n == 0)
            return -2;
        if (n < 0)
            return (long)i - n - 1;
        i += (size_t)n;
    }
    return -1;
}

static long checked(const unsigned char *s, size_t len, size_t cut)
{
    struct weft__utf8 u = {0};
    size_t at = 0;
    if (!weft__utf8_check(&u, s, cut, &at))
        return (long)at;
    if (!weft__utf8_check(&u, s + cut, len - cut, &at))
        return (long)(cut + at);
    return weft__utf8_complete(&u) ? -1 : -2;
}

static void utf8_three_bytes(void **state)
{
    (void)state;
    for (unsigned v = 0; v < 1u << 24; v++) {
        unsigned char s[3] = {(unsigned char)(v >> 16), (unsigned char)(v >> 8), (unsigned char)v};
        if (s[0] < 0x80 && (v & 0xffff) != 0)
            continue;
        if (checked(s, 3, 0) != naive(s, 3))
            fail_msg("%02x %02x %02x: %ld, not %ld", s[0], s[1], s[2], checked(s, 3, 0),
                     naive(s, 3));
    }
}

static void utf8_four_bytes(void **state)
{
    (void)state;
    for (unsigned a = 0xee; a < 0x100; a++)
        for (unsigned b = 0; b < 0x100; b++)
            for (unsigned c = 0x7e; c < 0xc2; c++)
                for (unsigned d = 0x7e; d < 0xc2; d++) {
                    unsigned char s[4] = {(unsigned char)a, (unsigned char)b, (unsigned char)c,
                                          (unsigned char)d};
                    if (checked(s, 4, 2) != naive(s, 4))
                        fail_msg("%02x %02x %02x %02x", a, b, c, d);
                }
}

/* Pieces of text that the random text is made of; the first ones are valid. */
static const char *const bits[] = {"a",
                                   "hello world, this is plain",
                                   "\xc3\xa9",
                                   "\xe2\x82\xac",
                                   "\xf0\x9f\x98\x80",
                                   "\xef\xbf\xbf",
                                   "\xf4\x8f\xbf\xbf",
                                   "\xed\x9f\xbf",
                                   "\xee\x80\x80",
                                   "\xc2\x80",
                                   "\xe0\xa0\x80",
                                   "\xf0\x90\x80\x80",
                                   "\x80",
                                   "\xc0\xaf",
                                   "\xed\xa0\x80",
                                   "\xf4\x90\x80\x80",
                                   "\xf5",
                                   "\xe2\x82",
                                   "\xf0\x9f\x98",
                                   "\xff",
                                   "\xe0\x9f\x80",
                                   "\xf0\x8f\x80\x80",
                                   "\xc3",
                                   "\xfe"};
#define VALID_BITS 12

/* Long texts, so that the vectors work, with at most a few faults at any place. */
static void utf8_long(void **state)
{
    uint64_t seed = 1;
    (void)state;
    for (int round = 0; round < 30000; round++) {
        unsigned char s[700];
        size_t len = 0, want = chance(&seed) % 400;
        unsigned ascii = chance(&seed) % 4, faults = chance(&seed) % 3;
        while (len < want) {
            bool bad = faults > 0 && chance(&seed) % 20 == 0;
            size_t k = bad ? VALID_BITS + chance(&seed) % (WEFT__ARRAY_LEN(bits) - VALID_BITS)
                           : chance(&seed) % (ascii > 0 ? 2 : VALID_BITS);
            memcpy(s + len, bits[k], strlen(bits[k]));
            len += strlen(bits[k]);
            faults -= bad;
        }
        size_t start = weft__min_size(chance(&seed) % 3, len);
        size_t cut = chance(&seed) % (len - start + 1);
        long a = naive(s + start, len - start), b = checked(s + start, len - start, cut);
        if (a != b)
            fail_msg("round %d: %ld, not %ld, of %zu bytes cut at %zu", round, b, a, len - start,
                     cut);
    }
}

static void utf8_every_split(void **state)
{
    static const unsigned char good[] =
        "\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xf0\x90\x8d\x88"
        "z\xf4\x8f\xbf\xbf and so on until it is longer than one "
        "block \xf0\x9f\x98\x80\xf0\x9f\x98\x80\xf0\x9f\x98\x80";
    (void)state;
    for (size_t cut = 0; cut < sizeof good; cut++)
        assert_int_equal(checked(good, sizeof good - 1, weft__min_size(cut, sizeof good - 1)), -1);
    for (size_t at = 0; at < sizeof good - 1; at++) {
        unsigned char bad[sizeof good];
        memcpy(bad, good, sizeof good);
        bad[at] = 0xff;
        for (size_t cut = 0; cut < sizeof good; cut++)
            assert_int_equal(checked(bad, sizeof good - 1, cut), (long)at);
    }
}

/* --- Masking --------------------------------------------------------------------------------- */

static void masking(void **state)
{
    static unsigned char in[400], out[400], want[400];
    static const unsigned char mask[4] = {0x37, 0xfa, 0x21, 0x3d};
    (void)state;
    for (size_t i = 0; i < sizeof in; i++)
        in[i] = (unsigned char)(i * 7 + 3);
    for (size_t start = 0; start < 17; start++)
        for (size_t len = 0; len < 200; len++)
            for (size_t turn = 0; turn < 5; turn++) {
                size_t to = (start * 5) % 16;
                memset(out, 0xee, sizeof out);
                memset(want, 0xee, sizeof want);
                for (size_t i = 0; i < len; i++)
                    want[to + i] = in[start + i] ^ mask[(turn + i) % 4];
                weft__ws_mask(out + to, in + start, len, mask, turn);
                assert_memory_equal(out, want, sizeof out);
            }
    memcpy(out, in, sizeof in); /* in place, in pieces of any size */
    for (size_t at = 0, n = 1; at < sizeof out; at += n, n = (n * 3) % 41) {
        n = weft__min_size(n, sizeof out - at);
        weft__ws_mask(out + at, out + at, n, mask, at);
    }
    weft__ws_mask(out, out, sizeof out, mask, 0);
    assert_memory_equal(out, in, sizeof in);
}

/* --- Frames ---------------------------------------------------------------------------------- */

/* What a receiver sees, as text: frames with their payload's hash, and the error. */
struct seen {
    char text[4096];
    size_t len;
};

static void note(struct seen *s, const char *fmt, ...) WEFT_PRINTF(2, 3);
static void note(struct seen *s, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    s->len += (size_t)vsnprintf(s->text + s->len, sizeof s->text - s->len, fmt, ap);
    va_end(ap);
    assert_true(s->len < sizeof s->text);
}

/* Feeds bytes in pieces that end at cut, then of `piece` bytes. */
static struct seen receive(const void *data, size_t len, struct weft__ws_parser rules, size_t cut,
                           size_t piece)
{
    struct seen s = {.len = 0};
    struct weft__ws_parser p = rules;
    unsigned char *copy = malloc(len + 1);
    uint32_t hash = 0;
    ssize_t n = 0;
    memcpy(copy, data, len);
    for (size_t at = 0, end = cut; n >= 0;) {
        while (at < end && n >= 0) {
            if (!p.in_frame) {
                n = weft__ws_parse_head(&p, copy + at, end - at);
                if (p.in_frame)
                    note(&s, "[%u%s%s %llu", p.opcode, p.fin ? "." : "", p.compressed ? "c" : "",
                         (unsigned long long)p.len);
                hash = 0;
            } else {
                n = (ssize_t)weft__ws_payload(&p, copy + at, end - at);
                for (ssize_t i = 0; i < n; i++)
                    hash = hash * 31 + copy[at + (size_t)i];
            }
            at += n > 0 ? (size_t)n : 0;
            if (p.in_frame && p.left == 0) {
                note(&s, " %08x]", hash);
                weft__ws_frame_end(&p);
            }
        }
        if (end == len)
            break;
        end = weft__min_size(end + piece, len);
    }
    if (n < 0)
        note(&s, "%s: %s", weft_error_name((int)n), weft_error_detail());
    free(copy);
    return s;
}

static struct weft__ws_parser rules_of(bool masked, bool deflate, uint64_t max)
{
    struct weft__ws_parser p;
    weft__ws_parser_init(&p, masked, deflate, max);
    return p;
}

static void expect(const void *data, size_t len, struct weft__ws_parser rules, const char *want)
{
    struct seen whole = receive(data, len, rules, len, 1);
    assert_string_equal(whole.text, want);
    struct seen bytes = receive(data, len, rules, 0, 1);
    assert_string_equal(bytes.text, want);
    size_t cuts = weft__min_size(len, 300);
    for (size_t cut = 0; cut <= cuts; cut++) {
        struct seen s = receive(data, len, rules, cut, len);
        assert_string_equal(s.text, want);
    }
}
#define EXPECT(bytes, rules, want) expect(bytes, sizeof(bytes) - 1, rules, want)

/* RFC 6455, 5.7 */
static void rfc_vectors(void **state)
{
    (void)state;
    struct weft__ws_parser client = rules_of(true, false, 0), server = rules_of(false, false, 0);
    EXPECT("\x81\x05Hello", server, "[1. 5 042628b2]");
    EXPECT("\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", client, "[1. 5 042628b2]");
    EXPECT("\x01\x03Hel\x80\x02lo", server, "[1 3 00011aef][0. 2 00000d83]");
    EXPECT("\x89\x05Hello", server, "[9. 5 042628b2]");
    EXPECT("\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", client, "[10. 5 042628b2]");
    static unsigned char large[10 + 65536] = "\x82\x7f\0\0\0\0\0\1\0";
    expect(large, sizeof large, server, "[2. 65536 00000000]");
    static unsigned char medium[4 + 256] = "\x82\x7e\x01";
    expect(medium, sizeof medium, server, "[2. 256 00000000]");
}

static void frame_sequences(void **state)
{
    (void)state;
    struct weft__ws_parser r = rules_of(false, false, 0);
    EXPECT("\x01\x01"
           "a\x89\x01"
           "b\x00\x00\x8a\x00\x80\x01"
           "c\x82\x00",
           r,
           "[1 1 00000061][9. 1 00000062][0 0 00000000][10. 0 00000000][0. 1 00000063]"
           "[2. 0 00000000]");
    EXPECT("\x88\x02\x03\xe8", r, "[8. 2 00000145]");
    struct weft__ws_parser deflate = rules_of(false, true, 0);
    EXPECT("\xc1\x01"
           "a\x41\x01"
           "b\x00\x00\x80\x00\x81\x01"
           "c",
           deflate,
           "[1.c 1 00000061][1c 1 00000062][0c 0 00000000][0.c 0 00000000][1. 1 00000063]");
}

static void frames_refused(void **state)
{
    (void)state;
    struct weft__ws_parser r = rules_of(false, false, 0), d = rules_of(false, true, 0);
    struct weft__ws_parser c = rules_of(true, false, 0), m = rules_of(false, false, 1000);
    EXPECT("\xc1", r, "WEFT_EPROTOCOL: a frame has reserved bits set: 0xc1");
    EXPECT("\xa1", r, "WEFT_EPROTOCOL: a frame has reserved bits set: 0xa1");
    EXPECT("\x91", d, "WEFT_EPROTOCOL: a frame has reserved bits set: 0x91");
    EXPECT("\xe1", d, "WEFT_EPROTOCOL: a frame has reserved bits set: 0xe1");
    EXPECT("\x80", r, "WEFT_EPROTOCOL: a continuation of no message");
    EXPECT("\x81\x00\x80", r, "[1. 0 00000000]WEFT_EPROTOCOL: a continuation of no message");
    EXPECT("\x01\x00\x81", r, "[1 0 00000000]WEFT_EPROTOCOL: a message begins within another");
    EXPECT("\x01\x00\x02", r, "[1 0 00000000]WEFT_EPROTOCOL: a message begins within another");
    EXPECT("\x41\x00\x40", d, "[1c 0 00000000]WEFT_EPROTOCOL: a continuation has RSV1 set");
    EXPECT("\xc9", d, "WEFT_EPROTOCOL: a control frame is compressed");
    EXPECT("\x08", r, "WEFT_EPROTOCOL: a control frame is fragmented");
    EXPECT("\x89\x7e", r, "WEFT_EPROTOCOL: a control frame is longer than 125 bytes");
    EXPECT("\x81\x80", r, "WEFT_EPROTOCOL: a server's frame is masked");
    EXPECT("\x81\x05", c, "WEFT_EPROTOCOL: a client's frame is not masked");
    EXPECT("\x82\x7e\x00\x7d", r, "WEFT_EPROTOCOL: a length of 125 takes two bytes");
    EXPECT("\x82\x7f\x00\x00\x00\x00\x00\x00\xff\xff", r,
           "WEFT_EPROTOCOL: a length of 65535 takes eight bytes");
    EXPECT("\x82\x7f\x80\x00\x00\x00\x00\x00\x00\x00", r,
           "WEFT_EPROTOCOL: a length has its highest bit set");
    EXPECT("\x82\x7f\x7f\xff\xff\xff\xff\xff\xff\xff", r, "[2. 9223372036854775807");
    EXPECT("\x82\x7e\x03\xe9", m, "WEFT_ETOOLONG: a frame of 1001 bytes is longer than 1000");
    EXPECT("\x82\x7e\x03\xe8", m, "[2. 1000");
    for (unsigned op = 3; op < 16; op++) {
        char byte = (char)(0x80 | op), want[100];
        if (op >= 8 && op <= 10)
            continue;
        (void)snprintf(want, sizeof want, "WEFT_EPROTOCOL: a frame has the unknown opcode %u", op);
        expect(&byte, 1, r, want);
    }
}

/* Every head that is built is parsed as itself. */
static void round_trips(void **state)
{
    static const uint64_t lens[] = {0,     1,     125,     126,        127,
                                    65535, 65536, 1 << 20, UINT32_MAX, WEFT__WS_LEN_MAX};
    static const uint8_t ops[] = {1, 2, 8, 9, 10};
    static const unsigned char mask[4] = {1, 2, 3, 4};
    (void)state;
    for (size_t i = 0; i < WEFT__ARRAY_LEN(lens); i++)
        for (size_t k = 0; k < WEFT__ARRAY_LEN(ops); k++)
            for (int how = 0; how < 8; how++) {
                unsigned char head[WEFT__WS_HEAD_MAX];
                bool masked = (how & 1) != 0, fin = (how & 2) != 0 || ops[k] >= 8;
                bool compressed = (how & 4) != 0 && ops[k] < 8;
                if (ops[k] >= 8 && lens[i] > 125)
                    continue;
                size_t n = weft__ws_build_head(head, ops[k], fin, compressed, lens[i],
                                               masked ? mask : NULL);
                struct weft__ws_parser p = rules_of(masked, true, 0);
                assert_int_equal(weft__ws_parse_head(&p, head, n), n);
                assert_true(p.in_frame && p.fin == fin && p.compressed == compressed);
                assert_true(p.opcode == ops[k] && p.len == lens[i]);
                if (masked)
                    assert_memory_equal(p.mask, mask, 4);
            }
}

/* --- Close frames ---------------------------------------------------------------------------- */

static void close_codes(void **state)
{
    (void)state;
    for (unsigned code = 0; code < 65536; code++) {
        unsigned char payload[WEFT__WS_CONTROL_MAX];
        struct weft__ws_close c;
        bool ok = (code >= 1000 && code <= 1014 && code != 1004 && code != 1005 && code != 1006) ||
                  (code >= 3000 && code <= 4999);
        assert_true(weft__ws_close_code_ok(code) == ok);
        if (code == WEFT__WS_NO_CODE)
            continue;
        size_t len = weft__ws_close_build(payload, code, "why", 3);
        assert_int_equal(len, 5);
        assert_int_equal(weft__ws_close_parse(&c, payload, len), ok ? 0 : WEFT_EPROTOCOL);
        if (ok) {
            assert_int_equal(c.code, code);
            assert_int_equal(c.reason_len, 3);
            assert_memory_equal(c.reason, "why", 3);
        }
    }
}

static void close_payloads(void **state)
{
    struct weft__ws_close c;
    unsigned char out[WEFT__WS_CONTROL_MAX];
    char text[200];
    (void)state;
    assert_int_equal(weft__ws_close_parse(&c, "", 0), 0);
    assert_int_equal(c.code, WEFT__WS_NO_CODE);
    assert_int_equal(c.reason_len, 0);
    assert_int_equal(weft__ws_close_parse(&c, "\x03", 1), WEFT_EPROTOCOL);
    assert_int_equal(weft__ws_close_parse(&c, "\x03\xe8\xc3", 3), -EILSEQ);
    assert_int_equal(weft__ws_close_parse(&c, "\x03\xe8\xed\xa0\x80", 5), -EILSEQ);
    assert_int_equal(weft__ws_close_parse(&c, "\x03\xe8\xc3\xa9", 4), 0);
    assert_int_equal(c.reason_len, 2);
    assert_int_equal(weft__ws_close_build(out, WEFT__WS_NO_CODE, "", 0), 0);
    memset(text, 'x', sizeof text);
    assert_int_equal(weft__ws_close_build(out, 1000, text, 123), 125);
    assert_int_equal(weft__ws_close_build(out, 1000, text, 124), 125);
    memcpy(text + 121, "\xe2\x82\xac", 3); /* is cut before it, not within */
    assert_int_equal(weft__ws_close_build(out, 1000, text, 200), 2 + 121);
    assert_int_equal(weft__ws_close_parse(&c, out, 123), 0);
    assert_int_equal(weft__ws_close_code_of(WEFT_EPROTOCOL), 1002);
    assert_int_equal(weft__ws_close_code_of(-EILSEQ), 1007);
    assert_int_equal(weft__ws_close_code_of(WEFT_ETOOLONG), 1009);
    assert_int_equal(weft__ws_close_code_of(-ENOMEM), 1011);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sha1_vectors),     cmocka_unit_test(utf8_three_bytes),
        cmocka_unit_test(utf8_four_bytes),  cmocka_unit_test(utf8_long),
        cmocka_unit_test(utf8_every_split), cmocka_unit_test(masking),
        cmocka_unit_test(rfc_vectors),      cmocka_unit_test(frame_sequences),
        cmocka_unit_test(frames_refused),   cmocka_unit_test(round_trips),
        cmocka_unit_test(close_codes),      cmocka_unit_test(close_payloads),
    };
    return cmocka_run_group_tests_name("ws wire", tests, NULL, NULL);
}
