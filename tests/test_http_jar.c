/* SPDX-License-Identifier: MIT */
/* A client's cookies: who may set which, and which go where (RFC 6265bis). */
#include "base/alloc.h"
#include "http/jar.h"
#include "rt_kit.h"

static struct weft_url *url_of(const char *text)
{
    struct weft_url *u = NULL;
    assert_int_equal(weft_url_parse(&u, text, strlen(text)), 0);
    return u;
}

static int set(struct weft__jar *j, const char *url, const char *cookie)
{
    struct weft_url *u = url_of(url);
    int err = weft__jar_set(j, u, weft__slice_text(cookie));
    weft_url_free(u);
    return err;
}

static void sends(struct weft__jar *j, const char *url, const char *want)
{
    char buf[4096];
    struct weft_url *u = url_of(url);
    size_t n = weft__jar_get(j, u, buf, sizeof buf - 1);
    buf[n] = '\0';
    weft_url_free(u);
    assert_string_equal(buf, want);
}

static void domains(void **state)
{
    struct weft__jar j;
    (void)state;
    weft__jar_init(&j);
    assert_int_equal(set(&j, "http://a.example.org/", "own=1"), 0);
    assert_int_equal(set(&j, "http://a.example.org/", "wide=2; Domain=example.org"), 0);
    assert_int_equal(set(&j, "http://a.example.org/", "dot=3; Domain=.Example.ORG"), 0);
    sends(&j, "http://a.example.org/", "own=1; wide=2; dot=3");
    sends(&j, "http://b.example.org/", "wide=2; dot=3");
    sends(&j, "http://example.org/", "wide=2; dot=3");
    sends(&j, "http://notexample.org/", "");
    sends(&j, "http://sub.a.example.org/", "wide=2; dot=3");
    /* not theirs */
    assert_int_equal(set(&j, "http://a.example.org/", "x=1; Domain=b.example.org"), -EINVAL);
    assert_int_equal(set(&j, "http://a.example.org/", "x=1; Domain=other.org"), -EINVAL);
    assert_int_equal(set(&j, "http://example.org/", "x=1; Domain=a.example.org"), -EINVAL);
    weft__jar_fini(&j);
}

static void public_suffixes(void **state)
{
    struct weft__jar j;
    (void)state;
    weft__jar_init(&j);
    assert_int_equal(set(&j, "http://shop.co.uk/", "x=1; Domain=co.uk"), -EINVAL);
    assert_int_equal(set(&j, "http://a.org/", "x=1; Domain=org"), -EINVAL);
    assert_int_equal(set(&j, "http://a.github.io/", "x=1; Domain=github.io"), -EINVAL);
    assert_int_equal(set(&j, "http://a.b.co.uk/", "x=1; Domain=b.co.uk"), 0);
    sends(&j, "http://c.b.co.uk/", "x=1");
    /* A suffix may set one for itself. */
    assert_int_equal(set(&j, "http://github.io/", "self=1; Domain=github.io"), 0);
    sends(&j, "http://github.io/", "self=1");
    sends(&j, "http://a.github.io/", "");
    /* The same names, with the dot of the root. */
    assert_int_equal(set(&j, "http://shop.co.uk./", "x=1; Domain=co.uk."), -EINVAL);
    sends(&j, "http://other.co.uk./", "");
    assert_int_equal(set(&j, "http://a.b.co.uk./", "y=1; Domain=.B.co.uk."), 0);
    sends(&j, "http://c.b.co.uk./", "y=1");
    sends(&j, "http://c.b.co.uk/", "x=1");
    weft__jar_fini(&j);
}

static void addresses(void **state)
{
    struct weft__jar j;
    (void)state;
    weft__jar_init(&j);
    assert_int_equal(set(&j, "http://127.0.0.1/", "a=1; Domain=127.0.0.1"), 0);
    assert_int_equal(set(&j, "http://127.0.0.1/", "b=1; Domain=0.0.1"), -EINVAL);
    sends(&j, "http://127.0.0.1:8080/", "a=1"); /* ports do not tell cookies apart */
    sends(&j, "http://1.127.0.0.1.example.org/", "");
    weft__jar_fini(&j);
}

static void paths(void **state)
{
    struct weft__jar j;
    (void)state;
    weft__jar_init(&j);
    assert_int_equal(set(&j, "http://a.org/x/y", "d=1"), 0); /* /x */
    assert_int_equal(set(&j, "http://a.org/", "r=2"), 0);
    assert_int_equal(set(&j, "http://a.org/", "p=3; Path=/x/y"), 0);
    assert_int_equal(set(&j, "http://a.org/", "bad=4; Path=x"), 0); /* the default path */
    sends(&j, "http://a.org/x/y/z", "p=3; d=1; r=2; bad=4");
    sends(&j, "http://a.org/x", "d=1; r=2; bad=4");
    sends(&j, "http://a.org/xy", "r=2; bad=4");
    sends(&j, "http://a.org/x/yz", "d=1; r=2; bad=4");
    weft__jar_fini(&j);
}

static void secure(void **state)
{
    struct weft__jar j;
    (void)state;
    weft__jar_init(&j);
    assert_int_equal(set(&j, "http://a.org/", "s=1; Secure"), -EINVAL);
    assert_int_equal(set(&j, "https://a.org/", "s=1; Secure"), 0);
    sends(&j, "http://a.org/", "");
    sends(&j, "https://a.org/", "s=1");
    assert_int_equal(set(&j, "http://a.org/", "s=evil"), -EINVAL); /* it stays */
    sends(&j, "https://a.org/", "s=1");
    assert_int_equal(set(&j, "http://a.org/", "__Secure-x=1; Secure"), -EINVAL);
    assert_int_equal(set(&j, "https://a.org/", "__Secure-x=1"), -EINVAL);
    assert_int_equal(set(&j, "https://a.org/", "__Host-x=1; Secure; Path=/a"), -EINVAL);
    assert_int_equal(set(&j, "https://a.org/", "__Host-x=1; Secure; Path=/"), 0);
    weft__jar_fini(&j);
}

/* What is Secure stays whole: no cookie of a plain connection stands before it, or pushes it out.
 */
static void secure_alone(void **state)
{
    struct weft__jar j;
    char cookie[64];
    (void)state;
    weft__jar_init(&j);
    assert_int_equal(set(&j, "https://a.b.org/", "s=1; Secure; Path=/in"), 0);
    assert_int_equal(set(&j, "http://a.b.org/", "s=x; Domain=b.org; Path=/in"), -EINVAL);
    assert_int_equal(set(&j, "http://c.a.b.org/", "s=x; Domain=a.b.org; Path=/in/deep"), -EINVAL);
    assert_int_equal(set(&j, "http://d.a.b.org/", "s=x; Path=/in"), -EINVAL); /* and below */
    sends(&j, "https://a.b.org/in/deep", "s=1");
    /* Another name, another host, a path that does not lie in its own: nobody's harm. */
    assert_int_equal(set(&j, "http://a.b.org/", "t=2; Domain=b.org; Path=/in"), 0);
    assert_int_equal(set(&j, "http://e.b.org/", "s=3; Path=/in"), 0);
    assert_int_equal(set(&j, "http://a.b.org/", "s=4; Path=/inside"), 0);
    assert_int_equal(set(&j, "http://a.b.org/", "s=5; Path=/"), 0);
    assert_int_equal(set(&j, "https://a.b.org/", "s=6; Domain=b.org; Path=/in"), 0);
    sends(&j, "https://a.b.org/in", "s=1; t=2; s=6; s=5");
    for (int i = 0; i < 200; i++) {
        (void)snprintf(cookie, sizeof cookie, "c%d=%d; Path=/c", i, i);
        assert_int_equal(set(&j, "http://a.b.org/", cookie), 0);
    }
    sends(&j, "https://a.b.org/in", "s=1; t=2; s=6");
    weft__jar_fini(&j);
}

static void ends(void **state)
{
    struct weft__jar j;
    (void)state;
    weft__jar_init(&j);
    assert_int_equal(set(&j, "http://a.org/", "a=1; Max-Age=3600"), 0);
    assert_int_equal(set(&j, "http://a.org/", "b=2; Expires=Thu, 01 Jan 1970 00:00:10 GMT"), 0);
    assert_int_equal(set(&j, "http://a.org/", "c=3"), 0);
    sends(&j, "http://a.org/", "a=1; c=3");
    assert_int_equal(set(&j, "http://a.org/", "a=; Max-Age=0"), 0);
    assert_int_equal(set(&j, "http://a.org/", "c=4"), 0); /* replaced */
    sends(&j, "http://a.org/", "c=4");
    assert_int_equal(j.n, 1);
    weft__jar_clear(&j);
    sends(&j, "http://a.org/", "");
    weft__jar_fini(&j);
}

/* Nobody fills a jar without end: the longest unused go. */
static void bounded(void **state)
{
    struct weft__jar j;
    char url[64], cookie[64];
    (void)state;
    weft__jar_init(&j);
    for (int i = 0; i < 200; i++) {
        (void)snprintf(cookie, sizeof cookie, "c%d=%d", i, i);
        assert_int_equal(set(&j, "http://one.org/", cookie), 0);
    }
    assert_int_equal(j.n, WEFT__JAR_HOST_MAX);
    for (int i = 0; i < 3000; i++) {
        (void)snprintf(url, sizeof url, "http://h%d.org/", i);
        assert_int_equal(set(&j, url, "x=1"), 0);
    }
    assert_int_equal(j.n, WEFT__JAR_MAX);
    sends(&j, "http://one.org/", "");
    sends(&j, "http://h2999.org/", "x=1");
    weft__jar_fini(&j);
}

static void allocations(void **state)
{
    struct weft__jar j;
    (void)state;
    for (unsigned i = 1; i < 20; i++) {
        weft__jar_init(&j);
        struct weft_url *u = url_of("http://a.org/");
        weft__alloc_fail_at(i);
        int err = weft__jar_set(&j, u, weft__slice_text("a=1; Path=/"));
        weft__alloc_fail_at(0);
        assert_true(err == 0 || err == -ENOMEM);
        assert_int_equal(j.n, err == 0);
        weft_url_free(u);
        weft__jar_fini(&j);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(domains),     cmocka_unit_test(public_suffixes),
        cmocka_unit_test(addresses),   cmocka_unit_test(paths),
        cmocka_unit_test(secure),      cmocka_unit_test(secure_alone),
        cmocka_unit_test(ends),        cmocka_unit_test(bounded),
        cmocka_unit_test(allocations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
