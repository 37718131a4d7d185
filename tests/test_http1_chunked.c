/* SPDX-License-Identifier: MIT */
/*
 * Chunked bodies: decoding whole, a byte at a time and at every split point, what is refused, its
 * limits; and the size lines that are written.
 */
#include "http1_kit.h"

static char text[KIT_TEXT];

struct setup {
    struct weft__http1_chunked_limits limits;
    uint32_t fields_cap; /* 0: trailers are dropped */
};

static const struct setup plain = {.limits = {.body_max = UINT64_MAX}, .fields_cap = KIT_FIELDS};

/*
 * Decodes what arrives up to each of `ends`; bytes that were not used are given again, at the
 * front of the next block. Writes down the body, the trailers and how much was used.
 */
static int decode(const struct setup *s, const char *bytes, const size_t *ends, size_t count,
                  char *out)
{
    struct weft__http1_field fields[KIT_FIELDS];
    struct weft__http1_chunked c;
    char body_text[2048];
    struct weft__writer body = weft__writer_of(body_text, sizeof(body_text));
    size_t start = 0;
    int r = WEFT__HTTP1_MORE;

    memset(fields, 0xa5, sizeof(fields));
    weft__http1_chunked_init(&c, &s->limits, s->fields_cap == 0 ? NULL : fields, s->fields_cap);
    for (size_t i = 0; i < count && r >= 0 && r != WEFT__HTTP1_END; i++) {
        do {
            size_t len = ends[i] - start;
            char *block = malloc(len + (len == 0));
            struct weft__slice piece = {0};
            size_t used = 0;
            assert_non_null(block);
            memcpy(block, bytes + start, len);
            r = weft__http1_chunked_next(&c, block, len, &used, &piece);
            assert_true(used <= len);
            if (r == WEFT__HTTP1_DATA) {
                assert_true(piece.len > 0 && piece.at >= block &&
                            piece.at + piece.len <= block + used);
                weft__writer_bytes(&body, piece.at, piece.len);
            }
            if (r == WEFT__HTTP1_END) {
                assert_false(body.full);
                int n = snprintf(out, KIT_TEXT, "end %zu [%.*s] %llu", start + used, (int)body.pos,
                                 body_text, (unsigned long long)c.body_bytes);
                for (uint32_t f = 0; f < c.field_count; f++)
                    n += snprintf(out + n, (size_t)(KIT_TEXT - n), " %.*s=%.*s",
                                  (int)fields[f].name.len, block + fields[f].name.at,
                                  (int)fields[f].value.len, block + fields[f].value.at);
            } else if (r < 0) {
                assert_int_equal(used, 0);
                snprintf(out, KIT_TEXT, "refused %d %d at %zu: %s [%.*s]", r, c.error.status,
                         c.error.at, c.error.why, (int)body.pos, body_text);
            } else {
                snprintf(out, KIT_TEXT, "more [%.*s]", (int)body.pos, body_text);
            }
            start += used;
            free(block);
        } while (r == WEFT__HTTP1_DATA);
    }
    return r;
}

static int decode_all(const struct setup *s, const char *bytes, size_t len, char *whole)
{
    static char other[KIT_TEXT];
    size_t *ends = calloc(len + 1, sizeof(*ends));
    assert_non_null(ends);
    int r = decode(s, bytes, &len, 1, whole);
    for (size_t i = 0; i <= len; i++)
        ends[i] = i;
    decode(s, bytes, ends, len + 1, other);
    assert_string_equal(other, whole);
    free(ends);
    for (size_t split = 0; split < len; split++) {
        size_t two[] = {split, len};
        decode(s, bytes, two, 2, other);
        assert_string_equal(other, whole);
    }
    return r;
}

static void check(const struct setup *s, const char *bytes, size_t len, const char *wanted)
{
    decode_all(s, bytes, len, text);
    if (strncmp(text, wanted, strlen(wanted)) != 0)
        fail_msg("%s\ngave: %s\nwanted: %s", bytes, text, wanted);
}

static void test_good(void **state)
{
    static const struct {
        const char *bytes;
        const char *wanted;
    } cases[] = {
        {"0\r\n\r\n", "end 5 [] 0"},
        {"5\r\nhello\r\n0\r\n\r\nGET", "end 15 [hello] 5"},
        {"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", "end 26 [hello world] 11"},
        {"00000000000000A\r\n0123456789\r\n0000000000000000\r\n\r\n", "end 49 [0123456789] 10"},
        {"a\r\n\r\n\r\n\r\n\r\n\r\n\r\n0\r\n\r\n", "end 20 [\r\n\r\n\r\n\r\n\r\n] 10"},
        {"5;a\r\nhello\r\n0;b=c;d=\"e;\\\"f\"\r\n\r\n", "end 31 [hello] 5"},
        /* RFC 9112 section 7.1.1: what may stand between size, names and values */
        {"5 \t; \t a \t= \t b;c\r\nhello\r\n0 ;d\r\n\r\n", "end 34 [hello] 5"},
        {"5;a=\"\xff\t \\\xff\\\"\" ;b\r\nhello\r\n0;c=\"\"\r\n\r\n", "end 35 [hello] 5"},
        {"0\r\nA: b\r\nc:  d e \r\n\r\n", "end 21 [] 0 A=b c=d e"},
        {"5\r\nhello\r\n0\r\nA: b\r\n\r\n\r\n", "end 21 [hello] 5 A=b"},
        {"5\r\nhel", "more [hel]"},
        {"5\r\nhello\r\n0\r\n", "more [hello]"},
    };
    static const struct setup dropped = {.limits = {.body_max = UINT64_MAX}};
    (void)state;
    for (size_t i = 0; i < WEFT__ARRAY_LEN(cases); i++)
        check(&plain, cases[i].bytes, strlen(cases[i].bytes), cases[i].wanted);
    check(&dropped, "0\r\nA: b\r\nc: d\r\n\r\n", 17, "end 17 [] 0");
    assert_null(strstr(text, "A="));
}

static void test_bad(void **state)
{
#define BAD(bytes, status, at)                                                                     \
    {                                                                                              \
        bytes, sizeof(bytes) - 1, status, at                                                       \
    }
    static const struct {
        const char *bytes;
        size_t len;
        int status;
        size_t at;
    } cases[] = {
        BAD("\r\n", 400, 0),
        BAD(";a\r\n", 400, 0),
        BAD("+5\r\n", 400, 0),
        BAD("-5\r\n", 400, 0),
        BAD(" 5\r\n", 400, 0),
        BAD("g\r\n", 400, 0),
        BAD("0x5\r\n", 400, 1),
        BAD("5 \r\n", 400, 2),
        BAD("5 \t\r\n", 400, 3),
        BAD("5 5\r\n", 400, 2),
        BAD("5;\r\n", 400, 2),
        BAD("5;a;\r\n", 400, 4),
        BAD("5;a b\r\n", 400, 4),
        BAD("5;a \r\n", 400, 4),
        BAD("5;a=\r\n", 400, 4),
        BAD("5;=b\r\n", 400, 2),
        BAD("5;a=b \r\n", 400, 6),
        BAD("5;a=b=c\r\n", 400, 5),
        BAD("5;a=\xff\r\n", 400, 4),
        /* a line's end within quotes is one for some readers, and none for others */
        BAD("5;a=\"\r\nhello\r\n", 400, 5),
        BAD("5;a=\"\\\r\n\"\r\n", 400, 6),
        BAD("5;a=\"b\"c\r\n", 400, 7),
        BAD("5;a=b\"\r\n\"\r\n", 400, 5),
        BAD("5h\r\n", 400, 1),
        BAD("5\nhello", 400, 1),
        BAD("5\rhello", 400, 2),
        BAD("5\r\r\nhello", 400, 2),
        BAD("5\0\r\nhello", 400, 1),
        BAD("00000000000000005\r\n", 400, 16),
        BAD("10000000000000000\r\n", 400, 16),
        BAD("5;a\nhello", 400, 3),
        BAD("5;a\rhello", 400, 4),
        BAD("5;a\0\r\n", 400, 3),
        BAD("5\r\nhello!\r\n", 400, 8),
        BAD("5\r\nhello\n0\r\n\r\n", 400, 8),
        BAD("5\r\nhello\r0\r\n\r\n", 400, 9),
        BAD("5\r\nhello\r\n\r\n", 400, 10),
        BAD("5\r\nhello0\r\n\r\n", 400, 8),
        BAD("0\r\nA\r\n\r\n", 400, 4),
        BAD("0\r\n A: b\r\n\r\n", 400, 3),
        BAD("0\r\nA : b\r\n\r\n", 400, 4),
        BAD("0\r\nA: b\n\r\n", 400, 7),
        BAD("0\r\nA: b\r\n\rx", 400, 9),
        BAD("0\r\nContent-Length: 5\r\n\r\n", 400, 3),
        BAD("0\r\nA: b\r\ntransfer-encoding: chunked\r\n\r\n", 400, 9),
        BAD("0\r\nHost: b\r\n\r\n", 400, 3),
        BAD("0\r\nConnection: close\r\n\r\n", 400, 3),
        BAD("0\r\nGET / HTTP/1.1\r\n\r\n", 400, 6),
    };
    (void)state;
    for (size_t i = 0; i < WEFT__ARRAY_LEN(cases); i++) {
        char wanted[64];
        snprintf(wanted, sizeof(wanted), "refused %d %d at %zu: ", WEFT_EPROTOCOL, cases[i].status,
                 cases[i].at);
        check(&plain, cases[i].bytes, cases[i].len, wanted);
    }
}

static void test_limits(void **state)
{
    struct setup s = {.limits = {.body_max = 5,
                                 .size_line = 8,
                                 .extensions = 10,
                                 .trailers = 20,
                                 .trailer_line = 10},
                      .fields_cap = 2};
    (void)state;
    check(&s, "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", 20, "end 20 [abcde] 5");
    check(&s, "3\r\nabc\r\n3\r\nabc\r\n", 16,
          "refused -10003 413 at 9: the body is too large [abc]");
    check(&s, "ffffffffffffffff\r\n", 18, "refused -10003 413 at 16");
    s.limits.body_max = 0;
    check(&s, "0\r\n\r\n", 5, "end 5 [] 0");
    check(&s, "1\r\na\r\n", 6, "refused -10003 413 at 1");
    s.limits.body_max = UINT64_MAX - 1;
    check(&s, "1\r\na\r\nfffffffffffffffe\r\n", 24, "refused -10003 413 at 22");
    check(&s, "1;123456\r\na\r\n0\r\n\r\n", 18, "end 18 [a] 1");
    check(&s, "1;1234567\r\na\r\n0\r\n\r\n", 19, "refused -10004 400 at 8");
    check(&s, "1;12345\r\na\r\n1;12345\r\na\r\n0\r\n\r\n", 29, "end 29 [aa] 2");
    check(&s, "1;12345\r\na\r\n1;123456\r\na\r\n0\r\n\r\n", 30, "refused -10004 400 at 19");
    check(&s, "0\r\nA: 4567890\r\n\r\n", 17, "end 17 [] 0 A=4567890");
    check(&s, "0\r\nA: 45678901\r\n\r\n", 18, "refused -10003 431 at 13");
    check(&s, "0\r\nA: 456\r\nB: 3\r\n\r\n", 19, "end 19 [] 0 A=456 B=3");
    check(&s, "0\r\nA: 45\r\nB: 3\r\nC: \r\n\r\n", 23,
          "refused -10003 431 at 16: there are too many");
    check(&s, "0\r\nA: 45678\r\nB: 45678\r\n\r\n", 25, "refused -10003 431 at 21");
    for (s.limits.trailers = 1; s.limits.trailers < 14; s.limits.trailers++) {
        check(&s, "0\r\nA: b\r\nC: d\r\n\r\n", 17, "refused -10003 431");
    }
    check(&s, "0\r\nA: b\r\nC: d\r\n\r\n", 17, "end 17 [] 0 A=b C=d");
    s.fields_cap = 0; /* dropped, but counted */
    s.limits = (struct weft__http1_chunked_limits){.body_max = 1};
    char many[1024] = "0\r\n";
    for (int i = 0; i < 64; i++)
        strcat(many, "A: b\r\n");
    strcat(many, "\r\n");
    check(&s, many, strlen(many), "end 389 [] 0");
    many[strlen(many) - 2] = '\0';
    strcat(many, "A: b\r\n\r\n");
    check(&s, many, strlen(many), "refused -10003 431 at 387");
}

static void test_encode(void **state)
{
    static const struct {
        uint64_t n;
        const char *text;
    } cases[] = {{1, "1\r\n"},
                 {15, "f\r\n"},
                 {16, "10\r\n"},
                 {4096, "1000\r\n"},
                 {0xabcdef, "abcdef\r\n"},
                 {UINT64_MAX, "ffffffffffffffff\r\n"}};
    (void)state;
    for (size_t i = 0; i < WEFT__ARRAY_LEN(cases); i++) {
        char head[WEFT__HTTP1_CHUNK_HEAD];
        size_t n = weft__http1_chunk_head(head, cases[i].n);
        assert_int_equal(n, strlen(cases[i].text));
        assert_memory_equal(head, cases[i].text, n);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_bad),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_encode),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
