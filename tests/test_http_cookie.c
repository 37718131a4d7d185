/* SPDX-License-Identifier: MIT */
/*
 * Cookies: the Cookie field, Set-Cookie read as browsers do and written strictly.
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
#include "wire/http_field.h"

#define S(text) weft__slice_text(text)
#define NOW INT64_C(1790000000)
#define AGE_MAX INT64_C(34560000)

static void test_pairs(void **state)
{
    static const struct {
        const char *field, *pairs;
    } cases[] = {
        {"a=1; b=2", "a:1|b:2|"},
        {"", ""},
        {";;", ""},
        {"a", ""},
        {"=1", ""},
        {"a=", "a:|"},
        {" a = 1 ;b=\"2\"", "a:1|b:2|"},
        {"a=1=2", "a:1=2|"},
        {"a=\"", "a:\"|"},
        {"a=\x01;b=2", "b:2|"},
        {"a=1;a=2", "a:1|a:2|"},
        {"a=x y", "a:x y|"},
    };
    struct weft__slice v;
    char longest[5000];
    (void)state;
    for (size_t i = 0; i < WEFT__ARRAY_LEN(cases); i++) {
        struct weft__slice rest = S(cases[i].field);
        struct weft__slice name;
        char all[64] = "";
        while (weft__http_cookie_next(&rest, &name, &v))
            sprintf(all + strlen(all), "%.*s:%.*s|", (int)name.len, name.at, (int)v.len, v.at);
        assert_string_equal(all, cases[i].pairs);
    }
    assert_true(weft__http_cookie_find(S("a=1; b=2; b=3"), "b", &v));
    assert_true(weft__slice_is(v, "2"));
    assert_false(weft__http_cookie_find(S("a=1; b=2"), "B", &v));
    memset(longest, 'x', sizeof(longest));
    longest[1] = '=';
    assert_true(weft__http_cookie_find(weft__slice_of(longest, 4097), "x", &v));
    assert_false(weft__http_cookie_find(weft__slice_of(longest, 4098), "x", &v));
}

/* A Set-Cookie as it was read, as text. */
static const char *read_text(const char *value)
{
    static char out[512];
    static const char *const same_site[] = {"", " Strict", " Lax", " None"};
    struct weft__http_set_cookie c;
    if (!weft__http_set_cookie_parse(S(value), NOW, &c))
        return "ignored";
    int n = snprintf(out, sizeof(out), "[%.*s=%.*s] [%.*s] [%.*s]%s%s%s", (int)c.name.len,
                     c.name.at, (int)c.value.len, c.value.at, (int)c.domain.len, c.domain.at,
                     (int)c.path.len, c.path.at, c.secure ? " Secure" : "",
                     c.http_only ? " HttpOnly" : "", same_site[c.same_site]);
    if (c.has_max_age)
        n += snprintf(out + n, sizeof(out) - (size_t)n, " age %lld", (long long)c.max_age_s);
    if (c.has_expires)
        snprintf(out + n, sizeof(out) - (size_t)n, " until %lld", (long long)c.expires_unix);
    return out;
}

static void test_read(void **state)
{
    static const struct {
        const char *value, *text;
    } cases[] = {
        {"SID=31d4d96e407aad42", "[SID=31d4d96e407aad42] [] []"},
        {"SID=x; Path=/; Domain=.Example.com; Secure; HttpOnly; SameSite=lax",
         "[SID=x] [Example.com] [/] Secure HttpOnly Lax"},
        {" a = b ; path = /x ; secure=no", "[a=b] [] [/x] Secure"},
        {"a=b=c", "[a=b=c] [] []"},
        {"a=\"b\"", "[a=\"b\"] [] []"},
        {"a", "[=a] [] []"},
        {"=a", "[=a] [] []"},
        {"a=", "[a=] [] []"},
        {"", "ignored"},
        {"=", "ignored"},
        {"; Secure", "ignored"},
        {"a=b\x01", "ignored"},
        {"a=b; c=\x7f", "ignored"},
        {"a=b\t; Path=/", "[a=b] [] [/]"},
        {"a=b; Path=x", "[a=b] [] []"},
        {"a=b; Path=/x; Path=/y", "[a=b] [] [/y]"},
        {"a=b; Domain=; Domain=x", "[a=b] [x] []"},
        {"a=b; Max-Age=10", "[a=b] [] [] age 10"},
        {"a=b; Max-Age=0", "[a=b] [] [] age 0"},
        {"a=b; Max-Age=-5", "[a=b] [] [] age 0"},
        {"a=b; Max-Age=999999999999999999999999", "[a=b] [] [] age 34560000"},
        {"a=b; Max-Age=1x", "[a=b] [] []"},
        {"a=b; Max-Age=+1", "[a=b] [] []"},
        {"a=b; Max-Age=", "[a=b] [] []"},
        {"a=b; Expires=Sun, 06 Nov 1994 08:49:37 GMT", "[a=b] [] [] until 784111777"},
        {"a=b; Expires=Sunday, 06-Nov-94 08:49:37 GMT", "[a=b] [] [] until 784111777"},
        {"a=b; Expires=Sun Nov  6 08:49:37 1994", "[a=b] [] [] until 784111777"},
        {"a=b; Expires=8:49:37 6 NOVember 94", "[a=b] [] [] until 784111777"},
        {"a=b; Expires=Sun, 06 Nov 2094 08:49:37 GMT", "[a=b] [] [] until 1824560000"},
        {"a=b; Expires=Sun, 31 Feb 1994 08:49:37 GMT", "[a=b] [] []"},
        {"a=b; Expires=Sun, 06 Nov 1600 08:49:37 GMT", "[a=b] [] []"},
        {"a=b; Expires=Sun, 06 Nov 1994 08:49:60 GMT", "[a=b] [] []"},
        {"a=b; Expires=Sun, 06 Nov 1994", "[a=b] [] []"},
        {"a=b; Expires=tomorrow", "[a=b] [] []"},
        {"a=b; SameSite=None", "ignored"},
        {"a=b; SameSite=None; Secure", "[a=b] [] [] Secure None"},
        {"a=b; SameSite=odd", "[a=b] [] []"},
        {"__Secure-a=b", "ignored"},
        {"__secure-a=b; Secure", "[__secure-a=b] [] [] Secure"},
        {"__Host-a=b; Secure", "ignored"},
        {"__Host-a=b; Secure; Path=/", "[__Host-a=b] [] [/] Secure"},
        {"__Host-a=b; Secure; Path=/; Domain=x", "ignored"},
        {"=__Host-a=b; Secure; Path=/", "ignored"},
        {"__Host-a; Secure; Path=/", "ignored"},
    };
    char longest[6000];
    struct weft__http_set_cookie c;
    (void)state;
    for (size_t i = 0; i < WEFT__ARRAY_LEN(cases); i++)
        if (strcmp(read_text(cases[i].value), cases[i].text) != 0)
            fail_msg("%s\ngave %s", cases[i].value, read_text(cases[i].value));
    memset(longest, 'x', sizeof(longest));
    longest[1] = '=';
    assert_true(weft__http_set_cookie_parse(weft__slice_of(longest, 4097), NOW, &c));
    assert_false(weft__http_set_cookie_parse(weft__slice_of(longest, 4098), NOW, &c));
    memcpy(longest, "a=b; Path=/", 11);
    assert_true(weft__http_set_cookie_parse(weft__slice_of(longest, 10 + 1024), NOW, &c));
    assert_int_equal(c.path.len, 1024);
    assert_true(weft__http_set_cookie_parse(weft__slice_of(longest, 10 + 1025), NOW, &c));
    assert_int_equal(c.path.len, 0);
}

static void builds(const struct weft__http_set_cookie *c, const char *wanted)
{
    char buf[512];
    ssize_t n = weft__http_set_cookie_build(c, buf, sizeof(buf));
    if (wanted == NULL) {
        assert_int_equal(n, -EINVAL);
        assert_true(strlen(weft_error_detail()) > 0);
        return;
    }
    assert_int_equal(n, strlen(wanted));
    assert_memory_equal(buf, wanted, strlen(wanted));
    assert_int_equal(weft__http_set_cookie_build(c, buf, strlen(wanted)), n);
    assert_int_equal(weft__http_set_cookie_build(c, buf, strlen(wanted) - 1), -ENOBUFS);
}

static void test_write(void **state)
{
    struct weft__http_set_cookie c = {.name = S("a"), .value = S("b")};
    char longest[5000];
    (void)state;
    builds(&c, "a=b");
    c = (struct weft__http_set_cookie){.name = S("__Host-a"),
                                       .value = S(""),
                                       .path = S("/"),
                                       .secure = true,
                                       .http_only = true,
                                       .same_site = WEFT__HTTP_SAME_SITE_NONE,
                                       .has_max_age = true,
                                       .max_age_s = -3,
                                       .has_expires = true,
                                       .expires_unix = 784111777};
    builds(&c,
           "__Host-a=; Expires=Sun, 06 Nov 1994 08:49:37 GMT; Max-Age=0; Path=/; Secure; HttpOnly; "
           "SameSite=None");
    c.secure = false;
    builds(&c, NULL);
    c = (struct weft__http_set_cookie){.name = S("a"), .value = S("b"), .domain = S("x.example")};
    builds(&c, "a=b; Domain=x.example");
    static const char *const bad_names[] = {"", "a b", "a=", "a;", "a\r\n"};
    for (size_t i = 0; i < WEFT__ARRAY_LEN(bad_names); i++) {
        c = (struct weft__http_set_cookie){.name = S(bad_names[i]), .value = S("b")};
        builds(&c, NULL);
    }
    static const char *const bad_values[] = {"a b",  "a;b",  "a,b",     "\"a\"",
                                             "a\\b", "\r\n", "\xc3\xa4"};
    for (size_t i = 0; i < WEFT__ARRAY_LEN(bad_values); i++) {
        c = (struct weft__http_set_cookie){.name = S("a"), .value = S(bad_values[i])};
        builds(&c, NULL);
        c = (struct weft__http_set_cookie){
            .name = S("a"), .value = S("b"), .domain = S(bad_values[i])};
        if (i != 2) /* a comma may stand in a reg-name */
            builds(&c, NULL);
    }
    static const char *const bad_paths[] = {"x", "/;", "/\r\n", "/\x01"};
    for (size_t i = 0; i < WEFT__ARRAY_LEN(bad_paths); i++) {
        c = (struct weft__http_set_cookie){
            .name = S("a"), .value = S("b"), .path = S(bad_paths[i])};
        builds(&c, NULL);
    }
    memset(longest, 'x', sizeof(longest));
    c = (struct weft__http_set_cookie){.name = S("a"), .value = weft__slice_of(longest, 4096)};
    builds(&c, NULL);
    c = (struct weft__http_set_cookie){
        .name = S("a"), .value = S("b"), .has_expires = true, .expires_unix = INT64_MAX};
    builds(&c, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pairs),
        cmocka_unit_test(test_read),
        cmocka_unit_test(test_write),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
