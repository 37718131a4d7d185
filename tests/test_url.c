/* SPDX-License-Identifier: MIT */
/*
 * URLs: parsing and normalising by RFC 3986 and, for http, https, ws and wss, by the WHATWG's URL
 * standard; resolving with the RFC's own examples; hosts in every form; what is refused.
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
#include <weft/url.h>

#include "base/alloc.h"
#include "base/base.h"

static struct weft_url *parse(const char *text)
{
    struct weft_url *u = NULL;
    /* of the exact size, so that a sanitizer sees a read past the end */
    size_t len = strlen(text);
    char *copy = malloc(len + (len == 0));
    assert_non_null(copy);
    memcpy(copy, text, len);
    int r = weft_url_parse(&u, copy, len);
    free(copy);
    if (r < 0)
        fail_msg("\"%s\" was refused: %s", text, weft_error_detail());
    return u;
}

static void refuses(const char *text)
{
    struct weft_url *u = NULL;
    int r = weft_url_parse(&u, text, strlen(text));
    if (r != WEFT_EURL)
        fail_msg("\"%s\" gave %d, \"%s\"", text, r, r == 0 ? u->text : "");
    assert_null(u);
    assert_true(strlen(weft_error_detail()) > 0);
}

static void test_parts(void **state)
{
    (void)state;
    struct weft_url *u = parse("HTTP://User:p%61ss@Example.ORG:8080/a/b?x=1#f");
    assert_string_equal(u->text, "http://User:pass@example.org:8080/a/b?x=1#f");
    assert_string_equal(u->scheme, "http");
    assert_string_equal(u->username, "User");
    assert_string_equal(u->password, "pass");
    assert_string_equal(u->host, "example.org");
    assert_string_equal(u->path, "/a/b");
    assert_string_equal(u->query, "x=1");
    assert_string_equal(u->fragment, "f");
    assert_int_equal(u->host_kind, WEFT_URL_NAME);
    assert_int_equal(u->port, 8080);
    assert_true(u->has_port && u->web && !u->secure);
    weft_url_free(u);

    u = parse("wss://h");
    assert_string_equal(u->text, "wss://h/");
    assert_string_equal(u->path, "/");
    assert_string_equal(u->username, "");
    assert_null(u->query);
    assert_null(u->fragment);
    assert_int_equal(u->port, 443);
    assert_true(!u->has_port && u->web && u->secure);
    weft_url_free(u);

    u = parse("mailto:a@b.example?subject=x");
    assert_int_equal(u->host_kind, WEFT_URL_NO_HOST);
    assert_string_equal(u->host, "");
    assert_string_equal(u->path, "a@b.example");
    assert_int_equal(u->port, 0);
    assert_false(u->web);
    weft_url_free(u);

    u = parse("http://h/?#");
    assert_string_equal(u->query, "");
    assert_string_equal(u->fragment, "");
    assert_string_equal(u->text, "http://h/?#");
    weft_url_free(u);
    weft_url_free(NULL);
}

static const struct {
    const char *in;
    const char *out;
} normal[] = {
    /* ports */
    {"http://h:80/", "http://h/"},
    {"https://h:443", "https://h/"},
    {"ws://h:80", "ws://h/"},
    {"https://h:80/", "https://h:80/"},
    {"http://h:/", "http://h/"},
    {"http://h:00080/", "http://h/"},
    {"http://h:0/", "http://h:0/"},
    {"http://h:65535/", "http://h:65535/"},
    {"x://h:80/", "x://h:80/"},
    /* slashes */
    {"http:\\\\h\\a\\..\\b", "http://h/b"},
    {"http:/\\h", "http://h/"},
    {"http://h?q", "http://h/?q"},
    {"http://h#f", "http://h/#f"},
    {"http://h/?a\\b", "http://h/?a\\b"},
    {"x://h/a\\b", "x://h/a\\b"},
    /* dot segments */
    {"http://h/a/./b/../c", "http://h/a/c"},
    {"http://h/..", "http://h/"},
    {"http://h/../../x", "http://h/x"},
    {"http://h/a/..", "http://h/"},
    {"http://h/a/b/..", "http://h/a/"},
    {"http://h/a/.", "http://h/a/"},
    {"http://h/a/%2e%2E/b", "http://h/b"},
    {"http://h/a/.%2e", "http://h/"},
    {"http://h/a/...", "http://h/a/..."},
    {"http://h/a/..b/.c", "http://h/a/..b/.c"},
    {"http://h//a//../b//", "http://h//a/b//"},
    {"http://h/a/..//b", "http://h//b"},
    {"x:/a/../b", "x:/b"},
    {"x:/.//b", "x:/.//b"},
    {"x:/a/..//b", "x:/.//b"},
    {"x:a/../b", "x:a/../b"}, /* an opaque path */
    {"file:///etc/../x", "file:///x"},
    {"x://h", "x://h"},
    {"x://h/..", "x://h/"},
    /* percent-encoding */
    {"http://h/%61%7e%2f%2F%3a", "http://h/a~%2F%2F%3A"},
    {"http://h/%zz%1", "http://h/%25zz%251"},
    {"http://h/a b\"<>`{}^|[]", "http://h/a%20b%22%3C%3E%60%7B%7D%5E|[]"},
    {"http://h/\xc3\xa4", "http://h/%C3%A4"},
    {"http://h/?a b\"<>'`{}^|[]", "http://h/?a%20b%22%3C%3E%27`{}^|[]"},
    {"x://h/?'", "x://h/?'"},
    {"http://h/#a b\"<>`{}#?", "http://h/#a%20b%22%3C%3E%60{}#?"},
    {"mailto:a b", "mailto:a%20b"},
    {"data:text/plain,%41\xc3", "data:text/plain,A%C3"},
    /* users */
    {"http://u@h/", "http://u@h/"},
    {"http://u:@h/", "http://u@h/"},
    {"http://:p@h/", "http://:p@h/"},
    {"http://:@h/", "http://h/"},
    {"http://@h/", "http://h/"},
    {"http://a@b:c@d@h/", "http://a%40b:c%40d@h/"},
    {"http://u:a:b/", NULL},
    {"http://u:a:b@h/", "http://u:a%3Ab@h/"},
    /* names */
    {"http://EXAMPLE.org./", "http://example.org./"},
    {"http://%65xample.org/", "http://example.org/"},
    {"http://a_b.c-d/", "http://a_b.c-d/"},
    {"http://a$&+,;=!'()*~b/", "http://a$&+,;=!'()*~b/"},
    {"http://b\xc3\xbc"
     "cher.example/",
     "http://xn--bcher-kva.example/"},
    {"http://B\xc3\x9c"
     "cher.example/",
     "http://xn--bcher-kva.example/"},
    {"http://b%C3%BCcher.example/", "http://xn--bcher-kva.example/"},
    {"http://xn--bcher-kva.example/", "http://xn--bcher-kva.example/"},
    {"http://fa\xc3\x9f.example/", "http://xn--fa-hia.example/"}, /* non-transitional */
    {"http://a\xe3\x80\x82"
     "b/",
     "http://a.b/"}, /* an ideographic full stop */
    {"http://\xef\xbc\x91\xef\xbc\x92\xef\xbc\x97.1/", "http://127.0.0.1/"}, /* wide digits */
    {"x://H%41.b\xc3\xa4/", "x://HA.b%C3%A4/"},
    /* IPv4 */
    {"http://127.0.0.1/", "http://127.0.0.1/"},
    {"http://127.1/", "http://127.0.0.1/"},
    {"http://0x7f.1/", "http://127.0.0.1/"},
    {"http://0177.0.0.01/", "http://127.0.0.1/"},
    {"http://2130706433/", "http://127.0.0.1/"},
    {"http://0x7F000001/", "http://127.0.0.1/"},
    {"http://0x/", "http://0.0.0.0/"},
    {"http://127.0.0.1./", "http://127.0.0.1/"},
    {"http://%31%32%37.1/", "http://127.0.0.1/"},
    {"http://1.2.65535/", "http://1.2.255.255/"},
    {"http://4294967295/", "http://255.255.255.255/"},
    {"http://1.2.3.4.example/", "http://1.2.3.4.example/"},
    {"http://0xg/", "http://0xg/"},
    {"x://127.1/", "x://127.1/"},
    /* IPv6 */
    {"http://[::1]:8080/", "http://[::1]:8080/"},
    {"http://[0:0:0:0:0:0:0:1]/", "http://[::1]/"},
    {"http://[::]/", "http://[::]/"},
    {"http://[1:0:0:2:0:0:0:3]/", "http://[1:0:0:2::3]/"},
    {"http://[1:0:0:2:3:0:0:4]/", "http://[1::2:3:0:0:4]/"},
    {"http://[1:2:3:4:5:6:7:0]/", "http://[1:2:3:4:5:6:7:0]/"},
    {"http://[1:2:3:4:5:6:0:0]/", "http://[1:2:3:4:5:6::]/"},
    {"http://[FE80::ABCD]/", "http://[fe80::abcd]/"},
    {"http://[::ffff:1.2.3.4]/", "http://[::ffff:102:304]/"},
    {"x://[::1]/", "x://[::1]/"},
};

static void test_normal(void **state)
{
    (void)state;
    for (size_t i = 0; i < WEFT__ARRAY_LEN(normal); i++) {
        if (normal[i].out == NULL) {
            refuses(normal[i].in);
            continue;
        }
        struct weft_url *u = parse(normal[i].in);
        if (strcmp(u->text, normal[i].out) != 0)
            fail_msg("\"%s\" is \"%s\", not \"%s\"", normal[i].in, u->text, normal[i].out);
        struct weft_url *again = parse(u->text);
        assert_string_equal(again->text, u->text);
        assert_string_equal(again->host, u->host);
        assert_string_equal(again->path, u->path);
        assert_string_equal(again->username, u->username);
        assert_int_equal(again->host_kind, u->host_kind);
        weft_url_free(again);
        weft_url_free(u);
    }
}

static void test_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "h",
        "/a",
        "//h/a",
        ":",
        "1http://h",
        "ht tp://h",
        "http",
        "http:",
        "http:h",
        "http:/h",
        "http://",
        "http:///",
        "http:///h",
        "http://:80/",
        "http://u@/",
        "http://u@:80/",
        "https://?q",
        " http://h",
        "http://h ",
        "http://h/\n",
        "http://h/a\tb",
        "http://\x7f/",
        "http://h:65536/",
        "http://h:x/",
        "http://h:-1/",
        "http://h:8 0/",
        "http://h:80:80/",
        "http://a b/",
        "http://a%20b/",
        "http://a%2fb/",
        "http://a%00b/",
        "http://a%b/",
        "http://a<b/",
        "http://a^b/",
        "http://a\"b/",
        "http://a`b/",
        "http://a{b/",
        "http://a}b/",
        "http://a|b/",
        "http://a..b/",
        "http://.a/",
        "http://./",
        "http://../",
        "http://256.1.1.1/",
        "http://1.2.3.4.5/",
        "http://1.256.3.4/",
        "http://08/",
        "http://1.08/",
        "http://4294967296/",
        "http://0xffffffffff/",
        "http://1.2.65536/",
        "http://a.1/",
        "http://1..1/",
        "http://[::1/",
        "http://[::1]a/",
        "http://[::g]/",
        "http://[]/",
        "http://[1::2::3]/",
        "http://[fe80::1%25eth0]/",
        "http://[v1.a]/",
        "http://::1/",
        "http://[::1]:x/",
        "http://\xff.example/",
        "http://a\xe2\x80\x8b\xe2\x80\x8b/x\x01",
        "http://\xef\xbc\x85.a/",
        "x://a b/",
        "x://u@/",
        "x://:80/",
        "x://[::g]/",
    };
    (void)state;
    for (size_t i = 0; i < WEFT__ARRAY_LEN(bad); i++)
        refuses(bad[i]);
}

/* Of a label, of a name, of all. */
static void test_lengths(void **state)
{
    char longest[1 << 17];
    struct weft_url *u = NULL;
    (void)state;
    memset(longest, 'a', sizeof(longest));
    memcpy(longest, "http://", 7);
    longest[7 + 63] = '\0';
    weft_url_free(parse(longest));
    longest[7 + 63] = 'a';
    longest[7 + 64] = '\0';
    refuses(longest);
    longest[7 + 64] = 'a';
    for (size_t i = 7 + 50; i < 7 + 300; i += 51)
        longest[i] = '.';
    longest[7 + 253] = '\0';
    weft_url_free(parse(longest));
    longest[7 + 253] = 'a';
    longest[7 + 254] = '\0';
    refuses(longest);
    memset(longest, 'a', sizeof(longest));
    memcpy(longest, "http://h/", 9);
    assert_int_equal(weft_url_parse(&u, longest, WEFT_URL_MAX), 0);
    weft_url_free(u);
    u = NULL;
    assert_int_equal(weft_url_parse(&u, longest, WEFT_URL_MAX + 1), WEFT_EURL);
    memset(longest + 9, ' ', 30000); /* three bytes each when encoded */
    assert_int_equal(weft_url_parse(&u, longest, 30010), WEFT_EURL);
    assert_null(u);
}

static void resolves(const struct weft_url *base, const char *ref, const char *wanted)
{
    struct weft_url *u = NULL;
    int r = weft_url_resolve(&u, base, ref, strlen(ref));
    if (wanted == NULL) {
        if (r != WEFT_EURL)
            fail_msg("%s + \"%s\" gave %d", base->text, ref, r);
        assert_null(u);
        return;
    }
    if (r < 0)
        fail_msg("%s + \"%s\" was refused: %s", base->text, ref, weft_error_detail());
    if (strcmp(u->text, wanted) != 0)
        fail_msg("%s + \"%s\" is \"%s\", not \"%s\"", base->text, ref, u->text, wanted);
    weft_url_free(u);
}

/* RFC 3986 section 5.4, with the path that http has when there is none, and one more scheme. */
static void test_resolve_rfc(void **state)
{
    static const struct {
        const char *ref;
        const char *path; /* after "SCHEME://a" */
    } cases[] = {
        {"g", "/b/c/g"},
        {"./g", "/b/c/g"},
        {"g/", "/b/c/g/"},
        {"/g", "/g"},
        {"?y", "/b/c/d;p?y"},
        {"g?y", "/b/c/g?y"},
        {"#s", "/b/c/d;p?q#s"},
        {"g#s", "/b/c/g#s"},
        {"g?y#s", "/b/c/g?y#s"},
        {";x", "/b/c/;x"},
        {"g;x", "/b/c/g;x"},
        {"g;x?y#s", "/b/c/g;x?y#s"},
        {"", "/b/c/d;p?q"},
        {".", "/b/c/"},
        {"./", "/b/c/"},
        {"..", "/b/"},
        {"../", "/b/"},
        {"../g", "/b/g"},
        {"../..", "/"},
        {"../../", "/"},
        {"../../g", "/g"},
        {"../../../g", "/g"},
        {"../../../../g", "/g"},
        {"/./g", "/g"},
        {"/../g", "/g"},
        {"g.", "/b/c/g."},
        {".g", "/b/c/.g"},
        {"g..", "/b/c/g.."},
        {"..g", "/b/c/..g"},
        {"./../g", "/b/g"},
        {"./g/.", "/b/c/g/"},
        {"g/./h", "/b/c/g/h"},
        {"g/../h", "/b/c/h"},
        {"g;x=1/./y", "/b/c/g;x=1/y"},
        {"g;x=1/../y", "/b/c/y"},
        {"g?y/./x", "/b/c/g?y/./x"},
        {"g?y/../x", "/b/c/g?y/../x"},
        {"g#s/./x", "/b/c/g#s/./x"},
        {"g#s/../x", "/b/c/g#s/../x"},
    };
    static const char *const schemes[] = {"http", "x"};
    (void)state;
    for (size_t s = 0; s < WEFT__ARRAY_LEN(schemes); s++) {
        char wanted[128];
        snprintf(wanted, sizeof(wanted), "%s://a/b/c/d;p?q", schemes[s]);
        struct weft_url *base = parse(wanted);
        for (size_t i = 0; i < WEFT__ARRAY_LEN(cases); i++) {
            snprintf(wanted, sizeof(wanted), "%s://a%s", schemes[s], cases[i].path);
            resolves(base, cases[i].ref, wanted);
        }
        snprintf(wanted, sizeof(wanted), "%s://g%s", schemes[s], s == 0 ? "/" : "");
        resolves(base, "//g", wanted);
        resolves(base, "g:h", "g:h");
        resolves(base, "HTTPS://G", "https://g/");
        weft_url_free(base);
    }
}

static void test_resolve(void **state)
{
    (void)state;
    struct weft_url *base = parse("http://u:p@h:81/a/b?q#f");
    resolves(base, "", "http://u:p@h:81/a/b?q");
    resolves(base, "\\x\\y", "http://u:p@h:81/x/y");
    resolves(base, "c\\..\\d", "http://u:p@h:81/a/d");
    resolves(base, "\\\\g\\x", "http://g/x");
    resolves(base, "/\\g", "http://g/");
    resolves(base, "//v@g:80/x", "http://v@g/x");
    resolves(base, "?", "http://u:p@h:81/a/b?");
    resolves(base, "#", "http://u:p@h:81/a/b?q#");
    resolves(base, "c d", "http://u:p@h:81/a/c%20d");
    resolves(base, "./c:d", "http://u:p@h:81/a/c:d");
    resolves(base, "//", NULL);
    resolves(base, "///x", NULL);
    resolves(base, "http:x", NULL);
    resolves(base, " x", NULL);
    resolves(base, "//a b", NULL);
    weft_url_free(base);

    base = parse("http://h");
    resolves(base, "x", "http://h/x");
    weft_url_free(base);
    base = parse("x://h");
    resolves(base, "y", "x://h/y");
    resolves(base, "", "x://h");
    resolves(base, "?y", "x://h?y");
    weft_url_free(base);
    base = parse("x:/.//a/b");
    resolves(base, "c", "x:/.//a/c");
    resolves(base, "..", "x:/.//");
    resolves(base, "/c", "x:/c");
    resolves(base, "?q", "x:/.//a/b?q");
    weft_url_free(base);
    base = parse("mailto:a@b?c");
    resolves(base, "#x", "mailto:a@b?c#x");
    resolves(base, "", "mailto:a@b?c");
    resolves(base, "x", NULL);
    resolves(base, "/x", NULL);
    resolves(base, "//x", NULL);
    resolves(base, "?x", NULL);
    resolves(base, "http://x", "http://x/");
    weft_url_free(base);
}

static void test_origin(void **state)
{
    static const struct {
        const char *a, *b;
        bool same;
    } cases[] = {
        {"http://h/a", "http://H:80/b?c", true},
        {"http://h/", "https://h/", false},
        {"http://h/", "http://h:81/", false},
        {"http://h/", "http://g/", false},
        {"http://u@h/", "http://h/", true},
        {"http://0x7f.1/", "http://127.0.0.1/", true},
        {"http://[::1]/", "http://[0::1]/", true},
        {"mailto:a", "mailto:a", false},
        {"x://h/", "x://h/", true},
    };
    (void)state;
    for (size_t i = 0; i < WEFT__ARRAY_LEN(cases); i++) {
        struct weft_url *a = parse(cases[i].a);
        struct weft_url *b = parse(cases[i].b);
        if (weft_url_same_origin(a, b) != cases[i].same)
            fail_msg("%s and %s", cases[i].a, cases[i].b);
        weft_url_free(a);
        weft_url_free(b);
    }
}

typedef ssize_t (*print_fn)(const struct weft_url *, char *, size_t);

static void prints(const char *url, print_fn fn, const char *wanted)
{
    char buf[64];
    struct weft_url *u = parse(url);
    assert_int_equal(fn(u, buf, sizeof(buf)), strlen(wanted));
    assert_string_equal(buf, wanted);
    for (size_t cap = 0; cap <= strlen(wanted); cap++)
        assert_int_equal(fn(u, buf, cap), -ENOBUFS);
    assert_int_equal(fn(u, buf, strlen(wanted) + 1), strlen(wanted));
    weft_url_free(u);
}

static void test_print(void **state)
{
    char buf[64];
    (void)state;
    prints("http://u:p@h:81/a?b#c", weft_url_target, "/a?b");
    prints("http://h?b", weft_url_target, "/?b");
    prints("x://h", weft_url_target, "/");
    prints("http://u:p@h:81/a?b#c", weft_url_authority, "h:81");
    prints("http://h:80/", weft_url_authority, "h");
    prints("https://[::1]:8443/", weft_url_authority, "[::1]:8443");
    prints("https://u@h:8443/x", weft_url_origin, "https://h:8443");
    prints("wss://[::1]/x", weft_url_origin, "wss://[::1]");
    prints("http://h/x", weft_url_endpoint, "tcp://h:80");
    prints("https://h/x", weft_url_endpoint, "tls://h:443");
    prints("wss://[::1]:1/x", weft_url_endpoint, "tls://[::1]:1");
    prints("http://*.example/", weft_url_authority, "*.example");
    prints("http://*/", weft_url_authority, "*");
    struct weft_url *u = parse("mailto:x");
    assert_int_equal(weft_url_target(u, buf, sizeof(buf)), -EINVAL);
    assert_int_equal(weft_url_authority(u, buf, sizeof(buf)), -EINVAL);
    assert_int_equal(weft_url_origin(u, buf, sizeof(buf)), -EINVAL);
    assert_int_equal(weft_url_endpoint(u, buf, sizeof(buf)), -EINVAL);
    weft_url_free(u);
    u = parse("x://h:1");
    assert_int_equal(weft_url_endpoint(u, buf, sizeof(buf)), -EINVAL);
    weft_url_free(u);
    u = parse("http://*:81/"); /* to weft_dial that would be this machine */
    assert_int_equal(weft_url_endpoint(u, buf, sizeof(buf)), WEFT_EURL);
    weft_url_free(u);
}

static void test_no_memory(void **state)
{
    struct weft_url *u = NULL;
    (void)state;
    weft__alloc_fail_at(1);
    assert_int_equal(weft_url_parse(&u, "http://h/", 9), -ENOMEM);
    assert_null(u);
    struct weft_url *base = parse("http://h/");
    weft__alloc_fail_at(1);
    assert_int_equal(weft_url_resolve(&u, base, "x", 1), -ENOMEM);
    weft__alloc_fail_at(0);
    assert_null(u);
    weft_url_free(base);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parts),       cmocka_unit_test(test_normal),
        cmocka_unit_test(test_refused),     cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_resolve_rfc), cmocka_unit_test(test_resolve),
        cmocka_unit_test(test_origin),      cmocka_unit_test(test_print),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
