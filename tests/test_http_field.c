/* SPDX-License-Identifier: MIT */
/*
 * Values of HTTP's fields: lists, parameters, quality, entity tags, conditions, ranges,
 * credentials, forms, media types.
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

#include "base/alloc.h"
#include "base/base.h"
#include "wire/http_field.h"

#define S(text) weft__slice_text(text)

static void equals(struct weft__slice s, const char *wanted)
{
    if (!weft__slice_is(s, wanted))
        fail_msg("\"%.*s\", not \"%s\"", (int)s.len, s.at, wanted);
}

static void test_lists(void **state)
{
    static const struct {
        const char *list;
        const char *items; /* each followed by a bar */
    } cases[] = {
        {"", ""},
        {",", ""},
        {" , ,, ", ""},
        {"a", "a|"},
        {" a\t,b ,, c,", "a|b|c|"},
        {"\"a,b\",c", "\"a,b\"|c|"},
        {"a=\"x\\\",y\", b", "a=\"x\\\",y\"|b|"},
        {"\"open, b", "\"open, b|"},
        {"a b,c", "a b|c|"},
        {"\"\\", "\"\\|"},
    };
    (void)state;
    for (size_t i = 0; i < WEFT__ARRAY_LEN(cases); i++) {
        struct weft__slice rest = S(cases[i].list);
        struct weft__slice item;
        char all[64] = "";
        while (weft__http_list_next(&rest, &item)) {
            strncat(all, item.at, item.len);
            strcat(all, "|");
        }
        assert_string_equal(all, cases[i].items);
    }
    assert_true(weft__http_list_has(S("keep-alive, Upgrade"), "upgrade"));
    assert_false(weft__http_list_has(S("keep-alive, Upgrades"), "upgrade"));
}

static void test_params(void **state)
{
    struct weft__slice rest = S(" ; a=b;;c=\"d;\\\"e\\\\\" ; F=\"\"");
    struct weft__http_param p;
    struct weft__http_media_type m;
    char buf[16];
    (void)state;
    assert_int_equal(weft__http_param_next(&rest, &p), 1);
    equals(p.name, "a");
    equals(p.value, "b");
    assert_false(p.quoted);
    assert_int_equal(weft__http_param_next(&rest, &p), 1);
    equals(p.value, "d;\\\"e\\\\");
    assert_true(p.quoted);
    assert_int_equal(weft__http_unquote(p.value, buf, sizeof(buf)), 5);
    assert_memory_equal(buf, "d;\"e\\", 5);
    assert_int_equal(weft__http_unquote(p.value, buf, 4), -1);
    assert_int_equal(weft__http_param_next(&rest, &p), 1);
    equals(p.name, "F");
    equals(p.value, "");
    assert_int_equal(weft__http_param_next(&rest, &p), 0);
    static const char *const bad[] = {
        "a",     "=b",       "a=",         "a =b",         "a= b",           "a=b c",
        "a=\"b", "a=\"b\"c", "a=\"\x01\"", "a=\"\\\x01\"", "a=\"\\\\\x01\"", "a=\"\\"};
    for (size_t i = 0; i < WEFT__ARRAY_LEN(bad); i++) {
        rest = S(bad[i]);
        assert_int_equal(weft__http_param_next(&rest, &p), -1);
    }
    assert_true(weft__http_media_type(S(" Text/HTML ; Charset=\"utf-8\"; q=1 "), &m));
    equals(m.type, "Text");
    equals(m.subtype, "HTML");
    assert_true(weft__http_param_find(m.params, "charset", &p));
    equals(p.value, "utf-8");
    assert_false(weft__http_param_find(m.params, "x", &p));
    assert_false(weft__http_param_find(S(";charset=a;x"), "charset", &p));
    assert_false(weft__http_media_type(S("text"), &m));
    assert_false(weft__http_media_type(S("text/"), &m));
    assert_false(weft__http_media_type(S("/html"), &m));
    assert_false(weft__http_media_type(S("text/a/b"), &m));
    assert_false(weft__http_media_type(S("text/a b"), &m));
    assert_false(weft__http_media_type(S(""), &m));
}

static void test_quality(void **state)
{
    static const char *const offers[] = {"br", "gzip", "identity"};
    static const char *const types[] = {"text/html", "application/json"};
    static const struct {
        const char *accept;
        int best;
    } codings[] = {
        {NULL, 0},
        {"", 2},
        {"gzip", 1},
        {"gzip, br", 0},
        {"gzip;q=1, br;q=0.9", 1},
        {"*", 0},
        {"*;q=0", -1},
        {"identity;q=0", -1},
        {"identity;q=0, gzip;q=0.001", 1},
        {"gzip;q=0", 2},
        {"br;q=0, *", 1},
        {"*;q=0, identity", 2},
        {"GZIP", 1},
        {"x-gzip", 1},
        {"deflate", 2},
        {"gzip;q=2", 2},
        {"gzip;q=0.1234", 2},
        {"gzip;q=1.001", 2},
        {"gzip;q=.5", 2},
        {"gzip;q=1.000", 1},
        {"gzip;q=0.", 2},
        {"gzip ; q=0.5 , identity;q=0.6", 2},
        {"gzip;Q=0.5", 1},
    };
    static const struct {
        const char *accept;
        int best;
    } accepts[] = {
        {NULL, 0},
        {"*/*", 0},
        {"application/json", 1},
        {"text/*;q=0.5, application/*", 1},
        {"text/html;q=0.1, */*;q=0.2", 1},
        {"text/html;q=0, */*", 1},
        {"image/*", -1},
        {"TEXT/HTML", 0},
        {"text/html;level=1", -1},
        {"text/*;q=0.3, text/html;q=0.7, */*;q=0.5", 0},
        {"text", -1},
        {"tex/*", -1},
        {"", -1},
    };
    (void)state;
    for (size_t i = 0; i < WEFT__ARRAY_LEN(codings); i++) {
        int best = weft__http_coding_choose(S(codings[i].accept), offers, 3);
        if (best != codings[i].best)
            fail_msg("Accept-Encoding: %s gave %d", codings[i].accept, best);
    }
    for (size_t i = 0; i < WEFT__ARRAY_LEN(accepts); i++) {
        int best = weft__http_type_choose(S(accepts[i].accept), types, 2);
        if (best != accepts[i].best)
            fail_msg("Accept: %s gave %d", accepts[i].accept, best);
    }
    assert_int_equal(weft__http_coding_quality(S("gzip;q=0.25"), "gzip"), 250);
    assert_int_equal(weft__http_type_quality(S("text/*;q=0.3"), "text/html"), 300);
}

static void test_disposition(void **state)
{
    static const struct {
        const char *value;
        const char *type, *name, *file; /* NULL: not there; type NULL: not valid */
    } cases[] = {
        {"inline", "inline", NULL, NULL},
        {"form-data; name=\"a\"", "form-data", "a", NULL},
        {"form-data; name=a; filename=\"b.txt\"", "form-data", "a", "b.txt"},
        {"attachment; filename=b", "attachment", NULL, "b"},
        {"attachment; filename=\"\\\"a\\\\b\"", "attachment", NULL, "b"},
        {"form-data; name=\"a\\b\"; filename=\"C:\\dir\\f\"", "form-data", "a\\b", "f"},
        {"attachment; filename=\"../../etc/passwd\"", "attachment", NULL, "passwd"},
        {"attachment; filename=\"..\"", "attachment", NULL, ""},
        {"attachment; filename=\"a/\"", "attachment", NULL, ""},
        {"attachment; filename=\"\xc3\xa4\"", "attachment", NULL, "\xc3\xa4"},
        {"attachment; filename=\"\xe4\"", "attachment", NULL, "\xc3\xa4"},
        {"attachment; filename*=UTF-8''%e2%82%ac%20x", "attachment", NULL, "\xe2\x82\xac x"},
        {"attachment; filename*=iso-8859-1'en'%A3", "attachment", NULL, "\xc2\xa3"},
        {"attachment; filename=a; filename*=UTF-8''b", "attachment", NULL, "b"},
        {"attachment; filename*=UTF-8''b; filename=a", "attachment", NULL, "b"},
        {"attachment; filename*=UTF-8''%2e%2e%2fb", "attachment", NULL, "b"},
        {"attachment; filename=a; filename*=KOI8-R''b", "attachment", NULL, "a"},
        {"attachment; filename=a; filename*=UTF-8''%ff", "attachment", NULL, "a"},
        {"attachment; filename=a; filename*=UTF-8''b%0d", "attachment", NULL, "a"},
        {"attachment; filename=a; filename*=UTF-8'b", "attachment", NULL, "a"},
        {"attachment; filename*=UTF-8''%f", "attachment", NULL, NULL},
        {"", NULL, NULL, NULL},
        {"form-data; name=\"a", NULL, NULL, NULL},
        {"form-data; name", NULL, NULL, NULL},
        {"form-data; name=a; name=b", NULL, NULL, NULL},
        {"form-data; filename=a; filename=b", NULL, NULL, NULL},
        {"form data; name=a", NULL, NULL, NULL},
        {"form-data; name=\"a\x01\"", NULL, NULL, NULL},
        {"form-data; name=\"a\tb\"", NULL, NULL, NULL},
    };
    char longest[400] = "form-data; name=\"";
    struct weft__http_disposition d;
    (void)state;
    for (size_t i = 0; i < WEFT__ARRAY_LEN(cases); i++) {
        bool valid = weft__http_disposition(S(cases[i].value), &d);
        if (valid != (cases[i].type != NULL))
            fail_msg("%s is %s", cases[i].value, valid ? "valid" : "not valid");
        if (!valid)
            continue;
        equals(d.type, cases[i].type);
        if (d.has_name != (cases[i].name != NULL) || d.has_filename != (cases[i].file != NULL))
            fail_msg("%s: name %d, file %d", cases[i].value, d.has_name, d.has_filename);
        assert_string_equal(d.name, cases[i].name == NULL ? "" : cases[i].name);
        assert_string_equal(d.filename, cases[i].file == NULL ? "" : cases[i].file);
    }
    size_t start = strlen(longest);
    memset(longest + start, 'x', 256);
    strcpy(longest + start + 255, "\"");
    assert_true(weft__http_disposition(S(longest), &d));
    assert_int_equal(strlen(d.name), 255);
    strcpy(longest + start + 255, "x\"");
    assert_false(weft__http_disposition(S(longest), &d));
}

static void test_etags(void **state)
{
    struct weft__http_etag a;
    struct weft__http_etag b;
    static const char *const bad[] = {"",       "a",       "\"a",       "a\"", "w/\"a\"", "W/a",
                                      "\"a\"b", "\"a b\"", "\"a\x7f\"", "W/",  "\"\"\""};
    (void)state;
    assert_true(weft__http_etag_parse(S(" \"a\\\xff\" "), &a));
    equals(a.opaque, "a\\\xff");
    assert_false(a.weak);
    assert_true(weft__http_etag_parse(S("W/\"\""), &b));
    assert_true(b.weak && b.opaque.len == 0);
    for (size_t i = 0; i < WEFT__ARRAY_LEN(bad); i++)
        assert_false(weft__http_etag_parse(S(bad[i]), &a));
    weft__http_etag_parse(S("\"1\""), &a);
    weft__http_etag_parse(S("W/\"1\""), &b); /* the table of section 8.8.3.2 */
    assert_false(weft__http_etag_equal(b, b, true));
    assert_true(weft__http_etag_equal(b, b, false));
    assert_false(weft__http_etag_equal(a, b, true));
    assert_true(weft__http_etag_equal(a, b, false));
    assert_true(weft__http_etag_equal(a, a, true));
    assert_true(weft__http_etag_listed(S("\"x,y\" , W/\"1\""), a, false));
    assert_false(weft__http_etag_listed(S("\"x,y\" , W/\"1\""), a, true));
    assert_true(weft__http_etag_listed(S(",\"1\",,"), a, true));
    assert_true(weft__http_etag_listed(S(" * "), a, true));
    assert_false(weft__http_etag_listed(S("\"1\" \"2\""), a, true));
    assert_false(weft__http_etag_listed(S("\"1\", x"), a, true));
    assert_false(weft__http_etag_listed(S("*, \"1\""), a, true));
    assert_false(weft__http_etag_listed(S(""), a, true));
    weft__http_etag_parse(S("\"x\\\""), &a); /* the backslash escapes nothing */
    assert_true(weft__http_etag_listed(S("\"x\\\", \"1\""), a, true));
}

#define BEFORE "Sat, 05 Nov 1994 08:49:37 GMT"
#define AT "Sun, 06 Nov 1994 08:49:37 GMT"
#define AFTER "Mon, 07 Nov 1994 08:49:37 GMT"

static void test_preconditions(void **state)
{
    static const struct weft__http_etag tag = {.opaque = {"1", 1}};
    static const struct {
        const char *match, *unmodified, *none_match, *modified;
        int get, put, missing; /* answers to GET, to PUT, and to GET where there is nothing */
    } cases[] = {
        {NULL, NULL, NULL, NULL, 0, 0, 0},
        {"\"1\"", NULL, NULL, NULL, 0, 0, 412},
        {"\"2\"", NULL, NULL, NULL, 412, 412, 412},
        {"W/\"1\"", NULL, NULL, NULL, 412, 412, 412},
        {"*", NULL, NULL, NULL, 0, 0, 412},
        {NULL, BEFORE, NULL, NULL, 412, 412, 0},
        {NULL, AT, NULL, NULL, 0, 0, 0},
        {NULL, "tomorrow", NULL, NULL, 0, 0, 0},
        {"\"1\"", BEFORE, NULL, NULL, 0, 0, 412}, /* If-Match comes first */
        {NULL, NULL, "\"1\"", NULL, 304, 412, 0},
        {NULL, NULL, "W/\"1\"", NULL, 304, 412, 0},
        {NULL, NULL, "\"2\"", NULL, 0, 0, 0},
        {NULL, NULL, "*", NULL, 304, 412, 0},
        {NULL, NULL, NULL, AT, 304, 0, 0},
        {NULL, NULL, NULL, AFTER, 304, 0, 0},
        {NULL, NULL, NULL, BEFORE, 0, 0, 0},
        {NULL, NULL, "\"2\"", AFTER, 0, 0, 0}, /* If-None-Match comes first */
        {"\"1\"", NULL, "\"1\"", NULL, 304, 412, 412},
    };
    (void)state;
    for (size_t i = 0; i < WEFT__ARRAY_LEN(cases); i++) {
        struct weft__http_conditions c = {
            .if_match = S(cases[i].match),
            .if_unmodified_since = S(cases[i].unmodified),
            .if_none_match = S(cases[i].none_match),
            .if_modified_since = S(cases[i].modified),
            .now_s = 1790000000,
        };
        struct weft__http_validators there = {
            .exists = true, .etag = &tag, .modified_s = 784111777};
        struct weft__http_validators missing = {0};
        int get = weft__http_preconditions(&c, &there, WEFT__HTTP_GET);
        int put = weft__http_preconditions(&c, &there, WEFT__HTTP_PUT);
        int none = weft__http_preconditions(&c, &missing, WEFT__HTTP_GET);
        if (get != cases[i].get || put != cases[i].put || none != cases[i].missing)
            fail_msg("case %zu: %d %d %d", i, get, put, none);
    }
}

static void test_if_range(void **state)
{
    static const struct weft__http_etag tag = {.opaque = {"1", 1}};
    static const struct weft__http_etag weak = {.weak = true, .opaque = {"1", 1}};
    struct weft__http_validators v = {.exists = true, .etag = &tag, .modified_s = 784111777};
    struct weft__http_conditions c = {.now_s = 1790000000};
    (void)state;
    assert_true(weft__http_if_range(&c, &v));
    c.if_range = S("\"1\"");
    assert_true(weft__http_if_range(&c, &v));
    c.if_range = S("\"2\"");
    assert_false(weft__http_if_range(&c, &v));
    c.if_range = S("W/\"1\"");
    v.etag = &weak;
    assert_false(weft__http_if_range(&c, &v));
    c.if_range = S(AT);
    assert_true(weft__http_if_range(&c, &v));
    c.now_s = 784111777; /* it may still change in this second */
    assert_false(weft__http_if_range(&c, &v));
    c.now_s = 1790000000;
    c.if_range = S(AFTER);
    assert_false(weft__http_if_range(&c, &v));
    c.if_range = S("x");
    assert_false(weft__http_if_range(&c, &v));
}

static void test_ranges(void **state)
{
    static const struct {
        const char *value;
        uint64_t size;
        const char *wanted; /* "" = ignored, "416" */
    } cases[] = {
        {"bytes=0-0", 10, "0-0 "},
        {"bytes=0-499", 10, "0-9 "},
        {"bytes=5-", 10, "5-9 "},
        {"bytes=-3", 10, "7-9 "},
        {"bytes=-30", 10, "0-9 "},
        {"Bytes=1-2", 10, "1-2 "},
        {"bytes=0-0,-1", 10, "0-0 9-9 "},
        {"bytes= 0-1 , 5-6 ,", 10, "0-1 5-6 "},
        {"bytes=5-6,0-1", 10, "5-6 0-1 "},
        {"bytes=0-5,3-8", 10, "0-8 "},
        {"bytes=0-1,2-3", 10, "0-3 "},
        {"bytes=0-1,4-5,2-3", 10, "0-5 "},
        {"bytes=8-9,0-1,4-5,1-4", 10, "8-9 0-5 "},
        {"bytes=0-1,8-9,20-30", 10, "0-1 8-9 "},
        {"bytes=4-5,0-0,2-8", 10, "2-8 0-0 "},
        {"bytes=0-,-5", 10, "0-9 "},
        {"bytes=10-", 10, "416"},
        {"bytes=-0", 10, "416"},
        {"bytes=20-30", 10, "416"},
        {"bytes=0-", 0, "416"},
        {"bytes=-5", 0, ""}, /* satisfiable, and no Content-Range can say it */
        {"bytes=10-20,30-40", 10, "416"},
        {"bytes=0-99999999999999999999999", 10, "0-9 "},
        {"bytes=99999999999999999999999-", 10, "416"},
        {"bytes=18446744073709551614-", UINT64_MAX, "18446744073709551614-18446744073709551614 "},
        {"", 10, ""},
        {"bytes", 10, ""},
        {"bytes=", 10, ""},
        {"bytes=,", 10, ""},
        {"bytes=-", 10, ""},
        {"bytes=a-b", 10, ""},
        {"bytes=5-4", 10, ""},
        {"bytes=1-2,x", 10, ""},
        {"bytes=1", 10, ""},
        {"bytes=1-2-3", 10, ""},
        {"bytes=+1-2", 10, ""},
        {"bytes=1 -2", 10, ""},
        {"bytes =1-2", 10, ""},
        {"items=0-1", 10, ""},
        {"bytes=0-0,2-2,4-4,6-6,8-8,10-10,12-12,14-14,16-16,18-18,20-20,22-22,24-24,26-26,28-28,30-30",
         99,
         "0-0 2-2 4-4 6-6 8-8 10-10 12-12 14-14 16-16 18-18 20-20 22-22 24-24 26-26 28-28 30-30 "},
        {"bytes=0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0", 99, ""},
    };
    (void)state;
    for (size_t i = 0; i < WEFT__ARRAY_LEN(cases); i++) {
        struct weft__http_range r[WEFT__HTTP_RANGES_MAX];
        char all[256] = "";
        int n = weft__http_range_parse(S(cases[i].value), cases[i].size, r);
        if (n == -ERANGE)
            strcpy(all, "416");
        for (int k = 0; k < n; k++)
            sprintf(all + strlen(all), "%llu-%llu ", (unsigned long long)r[k].first,
                    (unsigned long long)r[k].last);
        if (strcmp(all, cases[i].wanted) != 0)
            fail_msg("%s gave \"%s\"", cases[i].value, all);
    }
}

static void test_content_range(void **state)
{
    static const char *const bad[] = {
        "",          "bytes",     "bytes 0-1",   "bytes 0-1/", "bytes 1-0/5", "bytes 0-5/5",
        "bytes */*", "bytes 0/5", "items 0-1/5", "bytes -1/5", "bytes 0-1/x", "bytes=0-1/5"};
    struct weft__http_range r = {3, UINT64_MAX - 1};
    struct weft__http_content_range c;
    char buf[WEFT__HTTP_CONTENT_RANGE_CAP];
    (void)state;
    assert_int_equal(weft__http_content_range_format(&r, UINT64_MAX, buf), 49);
    assert_string_equal(buf, "bytes 3-18446744073709551614/18446744073709551615");
    assert_true(weft__http_content_range_parse(S(buf), &c));
    assert_true(c.size_known && !c.unsatisfied && c.range.first == 3 && c.size == UINT64_MAX);
    weft__http_content_range_format(NULL, 7, buf);
    assert_string_equal(buf, "bytes */7");
    assert_true(weft__http_content_range_parse(S(buf), &c));
    assert_true(c.unsatisfied && c.size_known && c.size == 7);
    assert_true(weft__http_content_range_parse(S("bytes 0-1/*"), &c));
    assert_true(!c.size_known && c.range.last == 1);
    for (size_t i = 0; i < WEFT__ARRAY_LEN(bad); i++)
        if (weft__http_content_range_parse(S(bad[i]), &c))
            fail_msg("%s was read", bad[i]);
}

static void test_base64(void **state)
{
    static const struct {
        const char *plain, *text;
    } cases[] = {/* RFC 4648 section 10 */
                 {"", ""},
                 {"f", "Zg=="},
                 {"fo", "Zm8="},
                 {"foo", "Zm9v"},
                 {"foob", "Zm9vYg=="},
                 {"fooba", "Zm9vYmE="},
                 {"foobar", "Zm9vYmFy"},
                 {"\xff\xfe\xfb", "//77"}};
    static const char *const bad[] = {"Z",    "Zg",     "Zg=",  "Zg===",    "Z===", "====", "Zh==",
                                      "Zm9=", "Zm9v\n", "Zm 9", "Zg==Zg==", "Z=g=", "-_-_"};
    char buf[16];
    (void)state;
    for (size_t i = 0; i < WEFT__ARRAY_LEN(cases); i++) {
        size_t plain = strlen(cases[i].plain);
        size_t text = strlen(cases[i].text);
        assert_int_equal(weft__base64_encode(cases[i].plain, plain, buf, text), text);
        assert_memory_equal(buf, cases[i].text, text);
        assert_int_equal(weft__base64_decode(S(cases[i].text), buf, plain), plain);
        assert_memory_equal(buf, cases[i].plain, plain);
        if (plain > 0) {
            assert_int_equal(weft__base64_encode(cases[i].plain, plain, buf, text - 1), -1);
            assert_int_equal(weft__base64_decode(S(cases[i].text), buf, plain - 1), -1);
        }
    }
    for (size_t i = 0; i < WEFT__ARRAY_LEN(bad); i++)
        if (weft__base64_decode(S(bad[i]), buf, sizeof(buf)) >= 0)
            fail_msg("%s was read", bad[i]);
}

static void test_basic(void **state)
{
    char buf[64];
    struct weft__slice user;
    struct weft__slice password;
    (void)state;
    assert_true(weft__http_basic_parse(S("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="), buf, sizeof(buf),
                                       &user, &password));
    equals(user, "Aladdin");
    equals(password, "open sesame");
    assert_true(weft__http_basic_parse(S("bAsIc  Og=="), buf, sizeof(buf), &user, &password));
    assert_true(user.len == 0 && password.len == 0);
    assert_true(weft__http_basic_parse(S("Basic YTpiOmM="), buf, sizeof(buf), &user, &password));
    equals(password, "b:c");
    assert_false(weft__http_basic_parse(S("Basic"), buf, sizeof(buf), &user, &password));
    assert_false(weft__http_basic_parse(S("Basic !"), buf, sizeof(buf), &user, &password));
    assert_false(weft__http_basic_parse(S("Bearer Og=="), buf, sizeof(buf), &user, &password));
    assert_false(weft__http_basic_parse(S("Basic YWI="), buf, sizeof(buf), &user, &password));
    assert_false(weft__http_basic_parse(S("Basic YToK"), buf, sizeof(buf), &user, &password));
    assert_false(weft__http_basic_parse(S("Basic QWxhZGRpbjpvcGVu"), buf, 4, &user, &password));
    assert_int_equal(weft__http_basic_build(S("Aladdin"), S("open sesame"), buf, sizeof(buf)), 34);
    assert_memory_equal(buf, "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", 34);
    assert_int_equal(weft__http_basic_build(S("Aladdin"), S("open sesame"), buf, 33), -1);
    assert_int_equal(weft__http_basic_build(S("a:b"), S("c"), buf, sizeof(buf)), -1);
}

static void test_percent(void **state)
{
    char buf[32] = "%41+%2f%zz";
    struct weft__slice rest = S("&a=1&&b=%20+&c&=d&e=f=g&");
    struct weft__slice name;
    struct weft__slice value;
    char all[64] = "";
    (void)state;
    assert_int_equal(weft__percent_decode(S("%41+%2f"), false, buf, sizeof(buf)), 3);
    assert_memory_equal(buf, "A+/", 3);
    assert_int_equal(weft__percent_decode(S("%41+%00"), true, buf, sizeof(buf)), 3);
    assert_memory_equal(buf, "A \0", 3);
    assert_int_equal(weft__percent_decode(S("%"), false, buf, sizeof(buf)), -1);
    assert_int_equal(weft__percent_decode(S("%4"), false, buf, sizeof(buf)), -1);
    assert_int_equal(weft__percent_decode(S("%4g"), false, buf, sizeof(buf)), -1);
    assert_int_equal(weft__percent_decode(S("abc"), false, buf, 2), -1);
    strcpy(buf, "%41%42c");
    assert_int_equal(weft__percent_decode(S(buf), false, buf, 7), 3); /* in place */
    assert_memory_equal(buf, "ABc", 3);
    assert_int_equal(weft__form_decode(S("a%zz+%41%"), buf, sizeof(buf)), 7);
    assert_memory_equal(buf, "a%zz A%", 7);
    assert_int_equal(weft__percent_encode(S("a-/ \xc3%"), "/", buf, sizeof(buf)), 12);
    assert_memory_equal(buf, "a-/%20%C3%25", 12);
    assert_int_equal(weft__percent_encode(weft__slice_of("\0", 1), "/", buf, 3), 3);
    assert_int_equal(weft__percent_encode(S("/"), "", buf, 2), -1);
    while (weft__form_next(&rest, &name, &value))
        sprintf(all + strlen(all), "%.*s:%.*s|", (int)name.len, name.at, (int)value.len, value.at);
    assert_string_equal(all, "a:1|b:%20+|c:|:d|e:f=g|");
}

static void test_mime(void **state)
{
    static const char types[] = "# a remark\n"
                                "text/x-mine\tmine MINE2 html # another\r\n"
                                "\n"
                                "text/none\n"
                                "not-a-type bad\n"
                                "text/second mine\n"
                                "text/last last";
    struct weft__mime *m = NULL;
    (void)state;
    assert_string_equal(weft__mime_builtin(S("a/b.c/index.HTML")), "text/html");
    assert_string_equal(weft__mime_builtin(S("x.tar.gz")), "application/gzip");
    assert_string_equal(weft__mime_builtin(S("x.js")), "text/javascript");
    assert_string_equal(weft__mime_builtin(S("x.wasm")), "application/wasm");
    assert_string_equal(weft__mime_builtin(S(".css")), "text/css");
    assert_string_equal(weft__mime_builtin(S("7z.7z")), "application/x-7z-compressed");
    assert_string_equal(weft__mime_builtin(S("x.zst")), "application/zstd");
    static const char *const unknown[] = {
        "",         "html", "a.html/b", "a.",
        "a.nosuch", ".",    "/",        "a.012345678901234567890123456789012345678901"};
    for (size_t i = 0; i < WEFT__ARRAY_LEN(unknown); i++)
        assert_string_equal(weft__mime_builtin(S(unknown[i])), "application/octet-stream");
    assert_int_equal(weft__mime_open(&m, S(types)), 0);
    assert_string_equal(weft__mime_type(m, S("a.mine")), "text/x-mine");
    assert_string_equal(weft__mime_type(m, S("a.Mine2")), "text/x-mine");
    assert_string_equal(weft__mime_type(m, S("a.html")), "text/x-mine");
    assert_string_equal(weft__mime_type(m, S("a.css")), "text/css");
    assert_string_equal(weft__mime_type(m, S("a.last")), "text/last");
    assert_string_equal(weft__mime_type(m, S("a.bad")), "application/octet-stream");
    weft__mime_free(m);
    m = NULL;
    for (uint64_t n = 1; n <= 3; n++) {
        weft__alloc_fail_at(n);
        assert_int_equal(weft__mime_open(&m, S(types)), -ENOMEM);
        assert_null(m);
    }
    weft__alloc_fail_at(0);
    weft__mime_free(NULL);
    assert_int_equal(weft__mime_open(&m, S("")), 0);
    assert_string_equal(weft__mime_type(m, S("a.png")), "image/png");
    weft__mime_free(m);
}

/* Too many extensions and too much text: the rest is left out, nothing else happens. */
static void test_mime_limits(void **state)
{
    size_t cap = (size_t)3 << 20;
    char *text = malloc(cap);
    struct weft__mime *m = NULL;
    size_t len = 0;
    (void)state;
    assert_non_null(text);
    for (unsigned i = 0; i < 10000; i++)
        len += (size_t)sprintf(text + len, "text/t%u e%u\n", i, i);
    assert_int_equal(weft__mime_open(&m, weft__slice_of(text, len)), 0);
    assert_string_equal(weft__mime_type(m, S("a.e8191")), "text/t8191");
    assert_string_equal(weft__mime_type(m, S("a.e8192")), "application/octet-stream");
    weft__mime_free(m);
    memset(text, '#', cap);
    memcpy(text + cap - 9, "\na/b cc\n", 8);
    assert_int_equal(weft__mime_open(&m, weft__slice_of(text, cap)), 0);
    assert_string_equal(weft__mime_type(m, S("a.cc")), "text/x-c++src");
    weft__mime_free(m);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lists),         cmocka_unit_test(test_params),
        cmocka_unit_test(test_quality),       cmocka_unit_test(test_disposition),
        cmocka_unit_test(test_etags),         cmocka_unit_test(test_preconditions),
        cmocka_unit_test(test_if_range),      cmocka_unit_test(test_ranges),
        cmocka_unit_test(test_content_range), cmocka_unit_test(test_base64),
        cmocka_unit_test(test_basic),         cmocka_unit_test(test_percent),
        cmocka_unit_test(test_mime),          cmocka_unit_test(test_mime_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
