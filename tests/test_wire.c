/* SPDX-License-Identifier: MIT */
/*
 * Tests of src/wire: the cursors and the framings. Each framing's input is fed whole, a byte at a
 * time, cut in two at every point, and only when weft_framing_need() asks for more; the records
 * and errors that come out must be the same every time.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <weft/error.h>
#include <weft/framing.h>

#include "base/base.h"
#include "base/error.h"
#include "wire/cursor.h"

/* --- cursor.h --- */

static void test_reader(void **state)
{
    (void)state;
    struct weft__reader r = weft__reader_of("ab\x01\x02\x03\x04tail", 10);
    unsigned char c = 0;
    uint64_t number = 99;
    const void *bytes = NULL;
    size_t at = 77;

    assert_true(weft__reader_peek(&r, &c) && c == 'a');
    assert_false(weft__reader_match(&r, "ax", 2));
    assert_true(weft__reader_match(&r, "a", 1));
    assert_true(weft__reader_u8(&r, &c) && c == 'b');
    assert_true(weft__reader_number(&r, 4, &number) && number == 0x01020304);
    assert_false(weft__reader_number(&r, 8, &number));
    assert_true(number == 0x01020304);
    assert_int_equal(weft__reader_left(&r), 4);
    assert_true(weft__reader_find(&r, 'l', &at) && at == 9);
    assert_false(weft__reader_find(&r, 'b', &at)); /* lies before */
    assert_true(weft__reader_find_bytes(&r, "ai", 2, &at) && at == 7);
    assert_false(weft__reader_find_bytes(&r, "tails", 5, &at));
    assert_false(weft__reader_find_bytes(&r, "", 0, &at));
    assert_int_equal(at, 7);
    assert_true(weft__reader_bytes(&r, 4, &bytes));
    assert_memory_equal(bytes, "tail", 4);
    assert_true(weft__reader_at_end(&r));
    assert_false(weft__reader_peek(&r, &c));
    assert_false(weft__reader_u8(&r, &c));
    assert_false(weft__reader_skip(&r, 1));
    assert_false(weft__reader_bytes(&r, SIZE_MAX, &bytes));
    assert_false(weft__reader_find(&r, 'a', &at));
    assert_true(weft__reader_seek(&r, 10) && !weft__reader_seek(&r, 11));
    assert_true(weft__reader_seek(&r, 0) && weft__reader_skip(&r, 1));
    struct weft__reader part = weft__reader_part(&r, 6, 100);
    assert_int_equal(part.len, 4);
    assert_true(weft__reader_match(&part, "tail", 4));
    part = weft__reader_part(&r, 50, 100);
    assert_true(weft__reader_at_end(&part));

    struct weft__reader none = weft__reader_of(NULL, 0);
    assert_true(weft__reader_bytes(&none, 0, &bytes) && bytes != NULL);
    assert_true(weft__reader_match(&none, "", 0));
    assert_false(weft__reader_find(&none, 0, &at));
    assert_int_equal(weft__reader_part(&none, 0, 5).len, 0);
}

static void test_writer(void **state)
{
    (void)state;
    unsigned char room[32];
    struct weft__writer w = weft__writer_of(room, sizeof(room));

    weft__writer_text(&w, "x=");
    weft__writer_decimal(&w, 0);
    weft__writer_u8(&w, ' ');
    weft__writer_decimal(&w, UINT64_MAX);
    weft__writer_number(&w, 2, 0x4142);
    assert_false(w.full);
    assert_int_equal(w.pos, 26);
    assert_memory_equal(room, "x=0 18446744073709551615AB", 26);
    assert_false(weft__writer_bytes(&w, "1234567", 7));
    assert_true(w.full);
    assert_false(weft__writer_u8(&w, 'y')); /* it would fit, but something is missing before it */
    assert_int_equal(w.pos, 26);
}

/* --- framing.h --- */

/* What a receiver saw, as text. */
struct events {
    char text[4096];
    size_t len;
};

static void say(struct events *e, const char *fmt, ...) WEFT_PRINTF(2, 3);

static void say(struct events *e, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(e->text + e->len, sizeof(e->text) - e->len, fmt, ap);
    va_end(ap);
    assert_true(n >= 0 && (size_t)n < sizeof(e->text) - e->len);
    e->len += (size_t)n;
}

/* A receiver with a buffer of exactly the size that the framing says is enough. */
struct receiver {
    const struct weft_framing *framing;
    struct events events;
    char buffer[512];
    size_t have;
    size_t room;
    size_t scanned;
    size_t need;
    bool wait_for_need;
    bool failed;
};

static void receiver_init(struct receiver *r, const struct weft_framing *f)
{
    memset(r, 0, sizeof(*r));
    r->framing = f;
    r->room = weft_framing_room(f);
    assert_true(r->room > 0 && r->room <= sizeof(r->buffer));
}

/* Decodes what is there until more is needed. */
static void drain(struct receiver *r)
{
    while (!r->failed && r->have > 0 && !(r->wait_for_need && r->have < r->need)) {
        const void *record = "untouched";
        size_t len = 12345;
        ssize_t n = weft_framing_decode(r->framing, r->buffer, r->have, &r->scanned, &record, &len);
        if (n <= 0) {
            assert_string_equal(record, "untouched");
            assert_int_equal(len, 12345);
        }
        if (n < 0) {
            r->failed = true;
            say(&r->events, "%s: %s", weft_error_name((int)n), weft_error_detail());
            return;
        }
        if (n == 0) {
            assert_true(r->have < r->room);
            r->need = weft_framing_need(r->framing, r->buffer, r->have);
            assert_true(r->need > r->have && r->need <= r->room);
            return;
        }
        assert_true((size_t)n <= r->have && len <= (size_t)n);
        assert_int_equal(r->scanned, 0);
        say(&r->events, "[%.*s]", (int)len, (const char *)record);
        r->have -= (size_t)n;
        memmove(r->buffer, r->buffer + n, r->have);
        r->need = 0;
    }
}

static void feed(struct receiver *r, const char *data, size_t len)
{
    while (len > 0 && !r->failed) {
        size_t n = weft__min_size(len, r->room - r->have);
        assert_true(n > 0);
        memcpy(r->buffer + r->have, data, n);
        r->have += n;
        data += n;
        len -= n;
        drain(r);
    }
}

static void finish(struct receiver *r, const char *expected)
{
    if (!r->failed && r->have > 0)
        say(&r->events, "(%zu left)", r->have);
    assert_string_equal(r->events.text, expected);
}

static void expect_of(const struct weft_framing *f, const char *input, size_t len,
                      const char *expected)
{
    static struct receiver r;

    receiver_init(&r, f);
    feed(&r, input, len);
    finish(&r, expected);

    for (int wait = 0; wait < 2; wait++) {
        receiver_init(&r, f);
        r.wait_for_need = wait;
        for (size_t i = 0; i < len; i++)
            feed(&r, input + i, 1);
        finish(&r, expected);
    }
    for (size_t cut = 0; cut <= len; cut++) {
        receiver_init(&r, f);
        feed(&r, input, cut);
        feed(&r, input + cut, len - cut);
        finish(&r, expected);
    }
}

/* A literal, which may hold zeros. */
#define EXPECT(f, input, expected) expect_of(f, input, sizeof(input) - 1, expected)

static void test_lines(void **state)
{
    (void)state;
    const struct weft_framing f = {.kind = WEFT_FRAMING_LINE, .max = 8};
    EXPECT(&f, "", "");
    EXPECT(&f, "one\ntwo\r\n\n\r\nlast", "[one][two][][](4 left)");
    EXPECT(&f, "a\rb\r\r\n", "[a\rb\r]");
    EXPECT(&f, "12345678\n12345678\r\nx\n", "[12345678][12345678][x]");
    EXPECT(&f, "1234567\r\n", "[1234567]");
    EXPECT(&f, "ok\n123456789\nx\n", "[ok]WEFT_ETOOLONG: a line is longer than 8 bytes");
    EXPECT(&f, "12345678\rx\n", "WEFT_ETOOLONG: a line is longer than 8 bytes");
    EXPECT(&f, "123456789", "(9 left)");
    EXPECT(&f, "1234567890", "WEFT_ETOOLONG: a line is longer than 8 bytes");
}

static void test_crlf_lines(void **state)
{
    (void)state;
    const struct weft_framing f = {.kind = WEFT_FRAMING_LINE, .max = 8, .crlf_only = true};
    EXPECT(&f, "one\r\n\r\na\rb\r\n12345678\r\nrest\r", "[one][][a\rb][12345678](5 left)");
    EXPECT(&f, "one\r\ntwo\n", "[one]WEFT_EPROTOCOL: a line ends in LF without CR at byte 3");
    EXPECT(&f, "\n", "WEFT_EPROTOCOL: a line ends in LF without CR at byte 0");
    EXPECT(&f, "123456789\r\n", "WEFT_ETOOLONG: a line is longer than 8 bytes");
    EXPECT(&f, "123456789\n", "WEFT_EPROTOCOL: a line ends in LF without CR at byte 9");
}

static void test_delimiters(void **state)
{
    (void)state;
    const struct weft_framing f = {
        .kind = WEFT_FRAMING_DELIMITER, .max = 6, .delimiter = "aab", .delimiter_len = 3};
    EXPECT(&f, "oneaabaabaaaabxaa", "[one][][aa](3 left)");
    EXPECT(&f, "123456aab12345aaabx", "[123456][12345a](1 left)");
    EXPECT(&f, "1234567aab", "WEFT_ETOOLONG: a delimited record is longer than 6 bytes");
    EXPECT(&f, "12345678", "(8 left)");

    const struct weft_framing zero = {
        .kind = WEFT_FRAMING_DELIMITER, .max = 4, .delimiter = "", .delimiter_len = 1};
    EXPECT(&zero, "a\0bcd\0\0e", "[a][bcd][](1 left)");
}

static void test_netstrings(void **state)
{
    (void)state;
    const struct weft_framing f = {.kind = WEFT_FRAMING_NETSTRING, .max = 12};
    EXPECT(&f, "5:hello,0:,12:hello, world,3:ab", "[hello][][hello, world](4 left)");
    EXPECT(&f, "13:", "WEFT_ETOOLONG: a netstring is longer than 12 bytes");
    EXPECT(&f, "2:hi,99999999999999999999999999:",
           "[hi]WEFT_ETOOLONG: a netstring is longer than 12 bytes");
    EXPECT(&f, "05:hello,", "WEFT_EPROTOCOL: a netstring's length begins with a zero at byte 0");
    EXPECT(&f, ":", "WEFT_EPROTOCOL: a netstring's length has 0x3a at byte 0");
    EXPECT(&f, "-1:x,", "WEFT_EPROTOCOL: a netstring's length has 0x2d at byte 0");
    EXPECT(&f, "1 :x,", "WEFT_EPROTOCOL: a netstring's length has 0x20 at byte 1");
    EXPECT(&f, "0;", "WEFT_EPROTOCOL: a netstring's length has 0x3b at byte 1");
    EXPECT(&f, "5:hello!", "WEFT_EPROTOCOL: a netstring ends in 0x21, not in a comma, at byte 7");

    const struct weft_framing tiny = {.kind = WEFT_FRAMING_NETSTRING, .max = 3};
    EXPECT(&tiny, "3:abc,4:abcd,", "[abc]WEFT_ETOOLONG: a netstring is longer than 3 bytes");
}

static void test_length_prefixes(void **state)
{
    (void)state;
    const struct weft_framing one = {.kind = WEFT_FRAMING_INT8, .max = 6};
    EXPECT(&one,
           "\x03one\0\x06"
           "123456\x02x",
           "[one][][123456](2 left)");
    EXPECT(&one, "\x01x\x07", "[x]WEFT_ETOOLONG: a record of 7 bytes is longer than 6 bytes");

    const struct weft_framing two = {.kind = WEFT_FRAMING_INT16, .max = 300};
    char input[400] = {1, 0x2c};
    char expected[400] = "[";
    memset(input + 2, 'z', 300);
    memset(expected + 1, 'z', 300);
    strcpy(expected + 301, "](1 left)");
    expect_of(&two, input, 303, expected);
    EXPECT(&two, "\0\x01x\x01\x2d",
           "[x]WEFT_ETOOLONG: a record of 301 bytes is longer than "
           "300 bytes");

    const struct weft_framing four = {.kind = WEFT_FRAMING_INT32, .max = 5};
    EXPECT(&four, "\0\0\0\x05hello\0\0\0\0\0\0", "[hello][](2 left)");
    EXPECT(&four, "\xff\xff\xff\xff",
           "WEFT_ETOOLONG: a record of 4294967295 bytes is longer than 5 bytes");
    EXPECT(&four, "\0\0\0\x06", "WEFT_ETOOLONG: a record of 6 bytes is longer than 5 bytes");
}

static void test_defaults_and_limits(void **state)
{
    (void)state;
    struct weft_framing f = {0};
    assert_int_equal(weft_framing_room(&f), 65536 + 2);
    f.kind = WEFT_FRAMING_INT8;
    assert_int_equal(weft_framing_room(&f), 1 + 255);
    f.max = 1000000;
    assert_int_equal(weft_framing_room(&f), 1 + 255);
    f.kind = WEFT_FRAMING_INT16;
    assert_int_equal(weft_framing_room(&f), 2 + 65535);
    f.kind = WEFT_FRAMING_INT32;
    assert_int_equal(weft_framing_room(&f), 4 + 1000000);
    f.kind = WEFT_FRAMING_NETSTRING;
    assert_int_equal(weft_framing_room(&f), 7 + 1 + 1000000 + 1);

    struct weft_framing bad[] = {
        {.kind = (enum weft_framing_kind)6},
        {.kind = (enum weft_framing_kind) - 1},
        {.max = SIZE_MAX},
        {.kind = WEFT_FRAMING_DELIMITER},
        {.kind = WEFT_FRAMING_DELIMITER, .delimiter = "x"},
        {.kind = WEFT_FRAMING_DELIMITER, .delimiter = "x", .delimiter_len = 25},
    };
    for (size_t i = 0; i < WEFT__ARRAY_LEN(bad); i++) {
        char head[WEFT_FRAMING_OVERHEAD];
        char tail[WEFT_FRAMING_OVERHEAD];
        size_t n = 5;
        const void *record = NULL;
        weft__error_detail_clear();
        assert_int_equal(weft_framing_decode(&bad[i], "x", 1, NULL, &record, &n), -EINVAL);
        assert_true(strlen(weft_error_detail()) > 0);
        assert_int_equal(weft_framing_encode(&bad[i], 1, head, &n, tail, &n), -EINVAL);
        assert_int_equal(weft_framing_check(&bad[i], "x", 1), -EINVAL);
        assert_int_equal(weft_framing_room(&bad[i]), 0);
        assert_int_equal(n, 5);
    }
}

/* Repeated calls on a growing buffer look at each byte once, give or take a delimiter. */
static void test_scanned(void **state)
{
    (void)state;
    const struct weft_framing f = {
        .kind = WEFT_FRAMING_DELIMITER, .delimiter = "--", .delimiter_len = 2};
    const void *record;
    size_t len;
    size_t scanned = 0;
    assert_int_equal(weft_framing_decode(&f, "abc-", 4, &scanned, &record, &len), 0);
    assert_int_equal(scanned, 3);
    assert_int_equal(weft_framing_decode(&f, "abc--", 5, &scanned, &record, &len), 5);
    assert_int_equal(scanned, 0);
    assert_int_equal(len, 3);

    /* More than there is: a mistake of the caller that must not read outside the data. */
    scanned = 1000;
    assert_int_equal(weft_framing_decode(&f, "abc", 3, &scanned, &record, &len), 0);
    assert_int_equal(weft_framing_decode(&f, NULL, 0, NULL, &record, &len), 0);
}

static void expect_encoded(const struct weft_framing *f, const char *record, size_t len,
                           const char *expected, size_t expected_len)
{
    char head[WEFT_FRAMING_OVERHEAD];
    char tail[WEFT_FRAMING_OVERHEAD];
    size_t head_len;
    size_t tail_len;
    unsigned char out[128];
    struct weft__writer w = weft__writer_of(out, sizeof(out));
    const void *back;
    size_t back_len;

    assert_int_equal(weft_framing_check(f, record, len), 0);
    assert_int_equal(weft_framing_encode(f, len, head, &head_len, tail, &tail_len), 0);
    weft__writer_bytes(&w, head, head_len);
    weft__writer_bytes(&w, record, len);
    weft__writer_bytes(&w, tail, tail_len);
    assert_false(w.full);
    assert_int_equal(w.pos, expected_len);
    assert_memory_equal(out, expected, expected_len);
    assert_int_equal(weft_framing_decode(f, out, w.pos, NULL, &back, &back_len), w.pos);
    assert_int_equal(back_len, len);
    assert_memory_equal(back, record, len);
}

#define ENCODED(f, record, expected)                                                               \
    expect_encoded(f, record, sizeof(record) - 1, expected, sizeof(expected) - 1)

static void test_encode(void **state)
{
    (void)state;
    const struct weft_framing line = {.kind = WEFT_FRAMING_LINE};
    const struct weft_framing crlf = {.kind = WEFT_FRAMING_LINE, .crlf_only = true};
    const struct weft_framing net = {.kind = WEFT_FRAMING_NETSTRING};
    const struct weft_framing one = {.kind = WEFT_FRAMING_INT8};
    const struct weft_framing two = {.kind = WEFT_FRAMING_INT16};
    const struct weft_framing four = {.kind = WEFT_FRAMING_INT32};
    const struct weft_framing own = {
        .kind = WEFT_FRAMING_DELIMITER, .delimiter = "--", .delimiter_len = 2};
    ENCODED(&line, "hello", "hello\n");
    ENCODED(&line, "", "\n");
    ENCODED(&crlf, "hello\r", "hello\r\r\n");
    ENCODED(&net, "hello world!", "12:hello world!,");
    ENCODED(&net, "", "0:,");
    ENCODED(&one, "hi", "\x02hi");
    ENCODED(&two, "hi", "\0\x02hi");
    ENCODED(&four, "hi", "\0\0\0\x02hi");
    ENCODED(&own, "h-i", "h-i--");

    char head[WEFT_FRAMING_OVERHEAD];
    char tail[WEFT_FRAMING_OVERHEAD];
    size_t n;
    assert_int_equal(weft_framing_encode(&one, 256, head, &n, tail, &n), WEFT_ETOOLONG);
    assert_string_equal(weft_error_detail(), "a record of 256 bytes is longer than 255 bytes");
    assert_int_equal(weft_framing_encode(&line, 65537, head, &n, tail, &n), WEFT_ETOOLONG);
    assert_int_equal(weft_framing_encode(&line, 65536, head, &n, tail, &n), 0);
}

static void expect_refused(const struct weft_framing *f, const char *record, const char *detail)
{
    assert_int_equal(weft_framing_check(f, record, strlen(record)), -EINVAL);
    assert_string_equal(weft_error_detail(), detail);
}

static void test_check(void **state)
{
    (void)state;
    const struct weft_framing line = {.kind = WEFT_FRAMING_LINE, .max = 20};
    const struct weft_framing crlf = {.kind = WEFT_FRAMING_LINE, .crlf_only = true};
    const struct weft_framing own = {
        .kind = WEFT_FRAMING_DELIMITER, .delimiter = "xyx", .delimiter_len = 3};
    expect_refused(&line, "one\ntwo", "the line holds a LF at byte 3");
    expect_refused(&line, "one\r", "the line ends in a CR, which would be taken for its line end");
    expect_refused(&crlf, "one\r\n", "the line holds a LF at byte 4");
    expect_refused(&own, "axyxb", "the record holds its delimiter at byte 1");
    expect_refused(&own, "axy", "the record and its delimiter run together at byte 1");
    assert_int_equal(weft_framing_check(&own, "ax", 2), 0);
    assert_int_equal(weft_framing_check(&own, "x", 1), 0);
    assert_int_equal(weft_framing_check(&own, NULL, 0), 0);
    assert_int_equal(weft_framing_check(&line, NULL, 0), 0);
    assert_int_equal(weft_framing_check(&line, "123456789012345678901", 21), WEFT_ETOOLONG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reader),          cmocka_unit_test(test_writer),
        cmocka_unit_test(test_lines),           cmocka_unit_test(test_crlf_lines),
        cmocka_unit_test(test_delimiters),      cmocka_unit_test(test_netstrings),
        cmocka_unit_test(test_length_prefixes), cmocka_unit_test(test_defaults_and_limits),
        cmocka_unit_test(test_scanned),         cmocka_unit_test(test_encode),
        cmocka_unit_test(test_check),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
