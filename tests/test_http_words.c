/* SPDX-License-Identifier: MIT */
/*
 * The tables of HTTP's words against each other, hosts, dates, NULs of forms, and heads that are
 * built.
 */
#include "http1_kit.h"

#include <errno.h>
#include <time.h>

#include "wire/http_field.h"
#include "wire/http_name.h"

static void test_names(void **state)
{
    (void)state;
    assert_true(WEFT__HTTP_NAMES <= 64);
    for (unsigned id = 1; id < WEFT__HTTP_NAMES; id++) {
        const char *name = weft__http_name_text((enum weft__http_name)id);
        char other[64];
        size_t len = strlen(name);
        assert_true(len > 0 && len < sizeof(other) - 1);
        assert_int_equal(weft__http_name_of(weft__slice_text(name)), id);
        for (size_t i = 0; i <= len; i++) {
            other[i] = name[i] >= 'a' && name[i] <= 'z' ? (char)(name[i] - 32)
                                                        : weft__ascii_lower(name[i]);
        }
        assert_int_equal(weft__http_name_of(weft__slice_text(other)), id);
        assert_int_equal(weft__http_name_find(other, len), id);
        /* Any byte changed to any other makes it another name, but for the case of a letter. */
        for (size_t i = 0; i < len; i++) {
            for (int c = 0; c < 256; c++) {
                char kept = other[i];
                other[i] = (char)c;
                bool same = weft__ascii_lower((char)c) == weft__ascii_lower(kept);
                if ((weft__http_name_of(weft__slice_text(other)) == id) != same && c != 0)
                    fail_msg("%s with 0x%02x at %zu", name, c, i);
                other[i] = kept;
            }
        }
        assert_int_equal(weft__http_name_of(weft__slice_of(name, len - 1)), WEFT__HN_OTHER);
        strcat(other, "x");
        assert_int_equal(weft__http_name_of(weft__slice_text(other)), WEFT__HN_OTHER);
    }
    assert_int_equal(weft__http_name_of(weft__slice_of(NULL, 0)), WEFT__HN_OTHER);
    assert_string_equal(weft__http_name_text(WEFT__HN_OTHER), "");
    assert_string_equal(weft__http_name_text(WEFT__HTTP_NAMES), "");
}

static void test_methods(void **state)
{
    (void)state;
    for (unsigned m = 1; m < WEFT__HTTP_METHODS; m++)
        assert_int_equal(weft__http_method_of(
                             weft__slice_text(weft__http_method_name((enum weft__http_method)m))),
                         m);
    assert_int_equal(weft__http_method_of(weft__slice_text("OTHER")), WEFT__HTTP_OTHER);
    assert_int_equal(weft__http_method_of(weft__slice_text("GETS")), WEFT__HTTP_OTHER);
    assert_string_equal(weft__http_method_name(WEFT__HTTP_METHODS), "OTHER");
    assert_true(weft__http_method_safe(WEFT__HTTP_HEAD));
    assert_false(weft__http_method_safe(WEFT__HTTP_PUT));
    assert_true(weft__http_method_idempotent(WEFT__HTTP_PUT));
    assert_false(weft__http_method_idempotent(WEFT__HTTP_PATCH));
    assert_string_equal(weft__http_reason(404), "Not Found");
    assert_string_equal(weft__http_reason(299), "Unknown");
}

/* The classes of characters against the RFCs' own lists. */
static void test_characters(void **state)
{
    static const struct {
        unsigned cls;
        const char *others; /* besides letters and digits */
    } classes[] = {
        {WEFT__HC_TOKEN, "!#$%&'*+-.^_`|~"},
        {WEFT__HC_HOST, "-._~!$&'()*+,;="},
        {WEFT__HC_COOKIE, "!#$%&'()*+-./:<=>?@[]^_`{|}~"},
        {WEFT__HC_QDTEXT, "\t !#$%&'()*+,-./:;<=>?@[]^_`{|}~"},
        {WEFT__HC_VALUE, "\t !\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"},
        {WEFT__HC_TARGET, "!$%&'()*+,-./:;=?@[\\]^_`{|}~"},
        {WEFT__HC_PATH, "!$%&'()*+,-./:;=@[]^_`{|}~"},
    };
    (void)state;
    for (size_t i = 0; i < WEFT__ARRAY_LEN(classes); i++) {
        for (int c = 0; c < 256; c++) {
            bool alnum = (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z' && c < 128);
            bool high = c >= 0x80 &&
                        (classes[i].cls == WEFT__HC_QDTEXT || classes[i].cls == WEFT__HC_VALUE);
            bool other = c != 0 && c < 128 && strchr(classes[i].others, c) != NULL;
            if (weft__http_is((char)c, classes[i].cls) != (alnum || other || high))
                fail_msg("class %u, character 0x%02x", classes[i].cls, c);
        }
    }
    for (int c = 0; c < 256; c++) {
        bool digit = c >= '0' && c <= '9';
        bool hex = digit || ((c | 32) >= 'a' && (c | 32) <= 'f' && c < 128);
        assert_int_equal(weft__http_is((char)c, WEFT__HC_DIGIT), digit);
        assert_int_equal(weft__http_is((char)c, WEFT__HC_HEX), hex);
    }
    assert_true(weft__http_value(weft__slice_text("a b\t\xff")));
    assert_true(weft__http_value(weft__slice_text("")));
    assert_false(weft__http_value(weft__slice_text("a ")));
    assert_false(weft__http_value(weft__slice_text("a\r")));
}

/* Words of eight bytes are looked at together, and overlap at the end: each byte at each place of
 * each length counts, with a plain one, a tab and a high one around it. */
static void test_values(void **state)
{
    static const char around[] = "x\t\xff";
    (void)state;
    for (size_t len = 1; len <= 33; len++) {
        for (size_t at = 0; at < len; at++) {
            for (int c = 0; c < 256; c++) {
                for (size_t k = 0; k < 3; k++) {
                    char text[33];
                    memset(text, around[k], len);
                    text[0] = text[len - 1] = 'x';
                    text[at] = (char)c;
                    bool end = at == 0 || at == len - 1;
                    bool good = (c >= 0x20 && c != 0x7f) || c == '\t';
                    if (end && (c == ' ' || c == '\t'))
                        good = false;
                    if (weft__http_value(weft__slice_of(text, len)) != good)
                        fail_msg("byte 0x%02x at %zu of %zu", c, at, len);
                }
            }
        }
    }
}

static void test_decimal(void **state)
{
    uint64_t v = 7;
    (void)state;
    assert_true(weft__http_decimal(weft__slice_text("18446744073709551615"), &v));
    assert_true(v == UINT64_MAX);
    v = 7;
    assert_false(weft__http_decimal(weft__slice_text("18446744073709551616"), &v));
    assert_false(weft__http_decimal(weft__slice_text("184467440737095516150"), &v));
    assert_false(weft__http_decimal(weft__slice_text(""), &v));
    assert_false(weft__http_decimal(weft__slice_text("1 "), &v));
    assert_int_equal(v, 7);
}

static void test_dates(void **state)
{
    static const struct {
        const char *text;
        int64_t unix_s;
    } good[] = {
        {"Sun, 06 Nov 1994 08:49:37 GMT", 784111777},
        {"Sunday, 06-Nov-94 08:49:37 GMT", 784111777},
        {"Sun Nov  6 08:49:37 1994", 784111777},
        {"Thu, 01 Jan 1970 00:00:00 GMT", 0},
        {"Tue, 29 Feb 2000 23:59:60 GMT", 951868800}, /* a leap second */
        {"Fri, 31 Dec 9999 23:59:59 GMT", 253402300799},
        {"Sat, 01 Jan 0000 00:00:00 GMT", -62167219200},
        {"Monday, 01-Jan-76 00:00:00 GMT", 3345062400}, /* 50 years ahead of 2026: still ahead */
        {"Monday, 01-Jan-77 00:00:00 GMT", 220924800},  /* 51: in the past */
    };
    static const char *const bad[] = {
        "",
        "Sun",
        "Sun,",
        "Sun, 06 Nov 1994 08:49:37",
        "Sun, 06 Nov 1994 08:49:37 UTC",
        "Sun, 6 Nov 1994 08:49:37 GMT",
        "Sun, 06 nov 1994 08:49:37 GMT",
        "Sun, 31 Nov 1994 08:49:37 GMT",
        "Sun, 29 Feb 1900 08:49:37 GMT",
        "Sun, 00 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 24:49:37 GMT",
        "Sun, 06 Nov 1994 08:60:37 GMT",
        "Sun, 06 Nov 1994 08:49:61 GMT",
        "Sun, 06 Nov 1994 08:49:37 GMT ",
        "Sun, 06-Nov-94 08:49:37 GMT",
        "Sunday, 06 Nov 1994 08:49:37 GMT",
        "Sunday Nov  6 08:49:37 1994",
        "Sun Nov 6 08:49:37 1994",
        "Xxx, 06 Nov 1994 08:49:37 GMT",
        "784111777",
        "Sun, 06 Nov 19941 08:49:37 GMT",
        "Sun, +6 Nov 1994 08:49:37 GMT",
    };
    const int64_t now = 1790000000; /* 2026 */
    int64_t t;
    (void)state;
    for (size_t i = 0; i < WEFT__ARRAY_LEN(good); i++) {
        assert_true(weft__http_date_parse(weft__slice_text(good[i].text), now, &t));
        if (t != good[i].unix_s)
            fail_msg("%s is %lld", good[i].text, (long long)t);
    }
    for (size_t i = 0; i < WEFT__ARRAY_LEN(bad); i++)
        if (weft__http_date_parse(weft__slice_text(bad[i]), now, &t))
            fail_msg("%s was read", bad[i]);
    /* Against the C library, over all centuries. */
    for (int64_t s = -62167219200; s <= 253402300799; s += 86400 * 97 + 12345) {
        char ours[30];
        char theirs[64];
        struct tm tm;
        time_t at = (time_t)s;
        assert_true(weft__http_date_format(s, ours));
        gmtime_r(&at, &tm);
        size_t n = strftime(theirs, sizeof(theirs), "%a, %d %b ", &tm);
        n += (size_t)snprintf(theirs + n, sizeof(theirs) - n, "%04d", tm.tm_year + 1900);
        strftime(theirs + n, sizeof(theirs) - n, " %H:%M:%S GMT", &tm);
        assert_string_equal(ours, theirs);
        assert_true(weft__http_date_parse(weft__slice_text(ours), now, &t));
        assert_true(t == s);
    }
    char kept[30] = "kept";
    assert_false(weft__http_date_format(253402300800, kept));
    assert_false(weft__http_date_format(-62167219201, kept));
    assert_string_equal(kept, "kept");
}

static void test_date_cache(void **state)
{
    struct weft__http_date_cache c = {0};
    (void)state;
    assert_string_equal(weft__http_date_cached(&c, 0), "Thu, 01 Jan 1970 00:00:00 GMT");
    assert_string_equal(weft__http_date_cached(&c, 784111777), "Sun, 06 Nov 1994 08:49:37 GMT");
    assert_string_equal(weft__http_date_cached(&c, 784111777), "Sun, 06 Nov 1994 08:49:37 GMT");
}

static void test_build(void **state)
{
    static const char wanted[] = "HTTP/1.1 404 Not Found\r\nContent-Length: 12\r\nX-A: b c\r\n"
                                 "Server: weft\r\n\r\n";
    char buf[128];
    struct weft__http1_builder b;
    (void)state;
    weft__http1_build_init(&b, buf, sizeof(buf));
    weft__http1_build_status(&b, 1, 404, NULL);
    weft__http1_build_number(&b, "Content-Length", 12);
    weft__http1_build_text(&b, "X-A", " b c\t");
    weft__http1_build_known(&b, WEFT__HN_SERVER, weft__slice_text("weft"));
    assert_int_equal(weft__http1_build_end(&b), strlen(wanted));
    assert_memory_equal(buf, wanted, strlen(wanted));
    for (size_t cap = 0; cap < strlen(wanted); cap++) {
        weft__http1_build_init(&b, buf, cap);
        weft__http1_build_status(&b, 1, 404, NULL);
        weft__http1_build_number(&b, "Content-Length", 12);
        weft__http1_build_text(&b, "X-A", "b c");
        weft__http1_build_known(&b, WEFT__HN_SERVER, weft__slice_text("weft"));
        assert_int_equal(weft__http1_build_end(&b), -ENOBUFS);
    }
    weft__http1_build_init(&b, buf, sizeof(buf));
    weft__http1_build_request(&b, weft__slice_text("GET"), weft__slice_text("/a?b"), 0);
    assert_int_equal(weft__http1_build_end(&b), 21);
    assert_memory_equal(buf, "GET /a?b HTTP/1.0\r\n\r\n", 21);
}

/* What could be taken for the end of a line gets nowhere. */
static void test_build_refuses(void **state)
{
    static const char *const evil[] = {"a\r\nb: c", "a\nb", "a\rb", "\x01", "\x7f"};
    char buf[256];
    (void)state;
    for (size_t i = 0; i < WEFT__ARRAY_LEN(evil) + 1; i++) {
        struct weft__slice s =
            i < WEFT__ARRAY_LEN(evil) ? weft__slice_text(evil[i]) : weft__slice_of("a\0b", 3);
        for (int place = 0; place < 5; place++) {
            struct weft__http1_builder b;
            weft__http1_build_init(&b, buf, sizeof(buf));
            if (place == 0 && i == WEFT__ARRAY_LEN(evil))
                continue; /* a reason is a string */
            if (place == 0)
                weft__http1_build_status(&b, 1, 200, s.at);
            else if (place == 1)
                weft__http1_build_request(&b, s, weft__slice_text("/"), 1);
            else if (place == 2)
                weft__http1_build_request(&b, weft__slice_text("GET"), s, 1);
            else if (place == 3)
                weft__http1_build_field(&b, s, weft__slice_text("x"));
            else
                weft__http1_build_field(&b, weft__slice_text("x"), s);
            weft__http1_build_text(&b, "A", "b"); /* the first failure stays */
            assert_int_equal(weft__http1_build_end(&b), -EINVAL);
            assert_true(strlen(weft_error_detail()) > 0);
        }
    }
    struct weft__http1_builder b;
    weft__http1_build_init(&b, buf, sizeof(buf));
    weft__http1_build_status(&b, 1, 99, NULL);
    assert_int_equal(weft__http1_build_end(&b), -EINVAL);
    weft__http1_build_init(&b, buf, sizeof(buf));
    weft__http1_build_request(&b, weft__slice_text("GET"), weft__slice_text("/a b"), 1);
    assert_int_equal(weft__http1_build_end(&b), -EINVAL);
    weft__http1_build_init(&b, buf, sizeof(buf));
    weft__http1_build_text(&b, "", "b");
    assert_int_equal(weft__http1_build_end(&b), -EINVAL);
}

/* Every short text of these letters has a NUL where, and only where, decoding gives one. */
static void test_form_nul(void **state)
{
    static const char letters[] = {'%', '0', '2', 'a', '\0'};
    char text[6], buf[8];
    size_t found = 0;
    (void)state;
    assert_int_equal(weft__form_find_nul(weft__slice_text("")), 0);
    assert_int_equal(weft__form_find_nul(weft__slice_text("a=%2500&b=%0")), 12);
    assert_int_equal(weft__form_find_nul(weft__slice_text("a=%%00&b")), 3);
    for (unsigned i = 0; i < 5 * 5 * 5 * 5 * 5 * 5; i++) {
        for (unsigned k = 0, n = i; k < sizeof text; k++, n /= 5)
            text[k] = letters[n % 5];
        struct weft__slice s = weft__slice_of(text, sizeof text);
        size_t at = weft__form_find_nul(s);
        ssize_t n = weft__form_decode(s, buf, sizeof buf);
        assert_true(n > 0 && at <= s.len);
        assert_int_equal(memchr(buf, '\0', (size_t)n) != NULL, at < s.len);
        n = weft__form_decode(weft__slice_part(s, 0, at), buf, sizeof buf);
        assert_null(memchr(buf, '\0', (size_t)n));
        found += at < s.len;
    }
    assert_true(found > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),      cmocka_unit_test(test_methods),
        cmocka_unit_test(test_characters), cmocka_unit_test(test_decimal),
        cmocka_unit_test(test_dates),      cmocka_unit_test(test_date_cache),
        cmocka_unit_test(test_build),      cmocka_unit_test(test_build_refuses),
        cmocka_unit_test(test_form_nul),   cmocka_unit_test(test_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
