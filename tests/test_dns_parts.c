/* SPDX-License-Identifier: MIT */
/*
 * Parts of the resolver that ask nobody: messages cut and spoilt everywhere, the order of
 * addresses, resolv.conf, names.
 */
#include "base/alloc.h"
#include "dns/dns.h"
#include "dns_kit.h"

/* "_s._tcp.example.test": an alias, and two SRV records of what it leads to. */
static size_t message(unsigned char *buf, size_t cap)
{
    static const unsigned char bytes[] =
        "\x12\x34\x81\x80\0\1\0\3\0\0\0\0"
        "\2_s\4_tcp\7example\4test\0\0\x21\0\1"      /* at 12, 38 bytes with the type */
        "\xc0\x0c\0\5\0\1\0\0\0\x3c\0\5\2_t\xc0\x0f" /* _t._tcp.example.test, 60 s */
        "\xc0\x32\0\x21\0\1\0\0\1\x2c\0\xf\0\2\0\7\x14\x66\2h1\4srv1\0"
        "\xc0\x32\0\x21\0\1\0\0\0\x1e\0\xa\0\1\0\0\x14\x67\1h\xc0\x1c";
    CHECK(sizeof bytes - 1 <= cap);
    memcpy(buf, bytes, sizeof bytes - 1);
    return sizeof bytes - 1;
}

static void is_read(void **state)
{
    unsigned char msg[256];
    size_t len = message(msg, sizeof msg);
    (void)state;
    /* The alias' own name begins behind the fixed part of its record. */
    size_t alias = 12 + 26 + 12;
    assert_int_equal(alias, 0x32);
    struct weft_dns_answer *a = weft__dns_build(msg, len, "_S._tcp.example.test", WEFT_DNS_SRV, 10);
    assert_non_null(a);
    assert_int_equal(a->n, 2);
    assert_string_equal(a->name, "_t._tcp.example.test");
    assert_int_equal(a->ttl_s, 20);
    assert_int_equal(a->at[0].priority, 1);
    assert_string_equal(a->at[0].name, "h.test");
    assert_int_equal(a->at[1].ttl_s, 290);
    assert_int_equal(a->at[1].weight, 7);
    assert_int_equal(a->at[1].port, 5222);
    assert_string_equal(a->at[1].name, "h1.srv1");
    weft_dns_answer_free(&a);
}

static void cut_anywhere(void **state)
{
    unsigned char msg[256];
    size_t len = message(msg, sizeof msg);
    struct weft__dns_scan s;
    (void)state;
    for (size_t n = 0; n < len; n++) {
        unsigned char *exact = malloc(n + 1); /* so that a sanitizer sees what is read behind it */
        assert_non_null(exact);
        unsigned char *tight = realloc(exact, n > 0 ? n : 1);
        assert_non_null(tight);
        memcpy(tight, msg, n);
        weft__dns_scan(&s, tight, n, "_s._tcp.example.test", WEFT_DNS_SRV, NULL, NULL);
        assert_int_equal(s.status, WEFT__DNS_MALFORMED);
        free(tight);
    }
    weft__dns_scan(&s, msg, len, "_s._tcp.example.test", WEFT_DNS_SRV, NULL, NULL);
    assert_int_equal(s.status, WEFT__DNS_OK);
}

static void spoilt_anywhere(void **state)
{
    static const uint16_t types[] = {1, 12, 15, 16, 28, 33};
    unsigned char msg[256];
    size_t len = message(msg, sizeof msg), built = 0;
    (void)state;
    for (size_t at = 0; at < len; at++)
        for (unsigned value = 0; value < 256; value += KIT_SLOW ? 5 : 1) {
            unsigned char *m = malloc(len);
            assert_non_null(m);
            memcpy(m, msg, len);
            m[at] = (unsigned char)value;
            for (size_t t = 0; t < 6; t++) {
                struct weft_dns_answer *a =
                    weft__dns_build(m, len, "_s._tcp.example.test", types[t], 0);
                assert_non_null(a);
                built += a->n;
                weft_dns_answer_free(&a);
            }
            free(m);
        }
    assert_true(built > 0);
}

/* www.test, an alias of new.test, which there is not: neither may be kept beyond its own time. */
static void alias_of_nothing(void **state)
{
    unsigned char msg[] = "\0\1\x81\x83\0\1\0\1\0\1\0\0"
                          "\3www\4test\0\0\1\0\1"
                          "\xc0\x0c\0\5\0\1\0\0\0\5\0\6\3new\xc0\x10"
                          "\xc0\x10\0\6\0\1\0\0\3\x84\0\x16" /* SOA: 900 s, and so its last field */
                          "\0\0\0\0\0\1\0\0\0\1\0\0\0\1\0\0\0\1\0\0\3\x84";
    struct weft__dns_scan s;
    (void)state;
    weft__dns_scan(&s, msg, sizeof msg - 1, "www.test", WEFT_DNS_A, NULL, NULL);
    assert_int_equal(s.status, WEFT__DNS_NO_NAME);
    assert_string_equal(s.name, "new.test");
    assert_true(s.negative_ttl);
    assert_int_equal(s.ttl_s, 5);
    msg[12 + 14 + 8] = 4; /* the alias: 1,029 s */
    weft__dns_scan(&s, msg, sizeof msg - 1, "www.test", WEFT_DNS_A, NULL, NULL);
    assert_true(s.negative_ttl);
    assert_int_equal(s.ttl_s, 900);
}

/* A jump to itself, forwards, and names that grow beyond what a name may be. */
static void names_that_turn(void **state)
{
    struct weft__dns_scan s;
    unsigned char msg[600] = "\0\1\x81\x80\0\1\0\1\0\0\0\0";
    (void)state;
    memcpy(msg + 12, "\xc0\x0c\0\1\0\1", 6);
    weft__dns_scan(&s, msg, 40, "a", 1, NULL, NULL);
    assert_int_equal(s.status, WEFT__DNS_MALFORMED);
    memcpy(msg + 12, "\xc0\x20\0\1\0\1", 6);
    weft__dns_scan(&s, msg, 40, "a", 1, NULL, NULL);
    assert_int_equal(s.status, WEFT__DNS_MALFORMED);
    for (size_t i = 0; i < 5; i++) { /* 5 labels of 63 bytes: longer than 255 */
        msg[12 + 64 * i] = 63;
        memset(msg + 13 + 64 * i, '\1', 63); /* each written as \001 */
    }
    msg[12 + 320] = 0;
    weft__dns_scan(&s, msg, sizeof msg, "a", 1, NULL, NULL);
    assert_int_equal(s.status, WEFT__DNS_MALFORMED);
}

static struct weft_address ip(const char *text)
{
    struct weft_address a = {.len = 0};
    if (text != NULL)
        assert_int_equal(weft_address_ip(&a, text, 0), 0);
    return a;
}

/* RFC 6724, section 10.2, and rule 1; the first of each pair is to be tried first. */
static void order(void **state)
{
    static const struct {
        const char *first, *first_source, *second, *second_source;
    } pairs[] = {
        {"198.51.100.121", "198.51.100.117", "2001:db8:1::1", NULL},
        {"2001:db8:1::1", "2001:db8:1::2", "198.51.100.121", "169.254.13.78"},
        {"198.51.100.121", "198.51.100.117", "2001:db8:1::1", "fe80::1"},
        {"2001:db8:1::1", "2001:db8:1::2", "10.1.2.3", "10.1.2.4"},
        {"fe80::1", "fe80::2", "2001:db8:1::1", "2001:db8:1::2"},
        {"2002:c633:6401::1", "2002:c633:6401::2", "2001:db8:1::1", "2002:c633:6401::2"},
        {"2001:db8:1::1", "2001:db8:1::2", "2002:c633:6401::1", "2002:c633:6401::2"},
        {"2001:db8:1::1", "2001:db8:1::2", "2001:db8:3ffe::1", "2001:db8:3f44::2"},
        {"::1", "::1", "127.0.0.1", "127.0.0.1"},
        {"fd00::1", "fd00::2", "10.0.0.1", NULL},
        {"10.0.0.1", "10.0.0.2", "fd00::1", "2001:db8::1"},
    };
    (void)state;
    for (size_t i = 0; i < WEFT__ARRAY_LEN(pairs); i++)
        for (int turned = 0; turned < 2; turned++) {
            struct weft_address a[2], s[2];
            a[turned] = ip(pairs[i].first);
            s[turned] = ip(pairs[i].first_source);
            a[!turned] = ip(pairs[i].second);
            s[!turned] = ip(pairs[i].second_source);
            weft__dns_order(a, s, 2);
            struct weft_address want = ip(pairs[i].first);
            if (!weft_address_equal(&a[0], &want))
                print_error("pair %zu, turned %d\n", i, turned);
            assert_true(weft_address_equal(&a[0], &want));
        }
    /* What the rules leave open stays as it was. */
    struct weft_address a[3] = {ip("10.0.0.3"), ip("10.0.0.1"), ip("10.0.0.2")};
    struct weft_address s[3] = {ip("10.0.0.9"), ip("10.0.0.9"), ip("10.0.0.9")};
    struct weft_address before[3] = {a[0], a[1], a[2]};
    weft__dns_order(a, s, 3);
    for (int i = 0; i < 3; i++)
        assert_true(weft_address_equal(&a[i], &before[i]));
}

static void resolv_conf(void **state)
{
    struct weft__dns_settings *s = NULL;
    struct weft__dns_conf c;
    char text[] = "# nameserver 1.1.1.1\n; no\n  nameserver\t192.0.2.1 \r\nnameserver nonsense\n"
                  "nameserver 2001:db8::1\nnameserver fe80::1%lo\nnameserver 192.0.2.3\n"
                  "nameserver 192.0.2.4\ndomain old.test\nsearch One.test two.test . a..b\n"
                  "options ndots:20 timeout:0 attempts:3 rotate unknown\nrubbish";
    char none[] = "";
    (void)state;
    assert_int_equal(weft__dns_settings_make(&s, NULL), 0);
    weft__dns_conf_make(&c, s, text);
    struct weft_address want[] = {ip("192.0.2.1"), ip("2001:db8::1"), ip("192.0.2.3")};
    assert_int_equal(c.n_servers, 3);
    for (size_t i = 0; i < 3; i++) {
        assert_true(weft_address_same_host(&c.servers[i], &want[i]));
        assert_int_equal(weft_address_port(&c.servers[i]), 53);
    }
    assert_int_equal(c.n_domains, 2);
    assert_string_equal(c.domains[0], "one.test");
    assert_int_equal(c.ndots, 15);
    assert_int_equal(c.timeout_ms, 1000);
    assert_int_equal(c.tries, 3);
    assert_true(c.rotate);
    weft__dns_conf_make(&c, s, none);
    assert_int_equal(c.n_servers, 1);
    assert_int_equal(c.n_domains, 0);
    assert_int_equal(c.timeout_ms, 5000);
    weft__free(s);
}

static void reverse_names(void **state)
{
    char name[WEFT__DNS_NAME];
    struct weft_address a = ip("192.0.2.10");
    (void)state;
    assert_int_equal(weft__dns_reverse_name(name, &a), 0);
    assert_string_equal(name, "10.2.0.192.in-addr.arpa");
    a = ip("::ffff:192.0.2.10");
    assert_int_equal(weft__dns_reverse_name(name, &a), 0);
    assert_string_equal(name, "10.2.0.192.in-addr.arpa");
    a = ip("2001:db8::567:89ab");
    assert_int_equal(weft__dns_reverse_name(name, &a), 0);
    assert_string_equal(name,
                        "b.a.9.8.7.6.5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa");
    assert_int_equal(weft_address_unix(&a, "/x"), 0);
    assert_int_equal(weft__dns_reverse_name(name, &a), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(is_read),          cmocka_unit_test(cut_anywhere),
        cmocka_unit_test(spoilt_anywhere),  cmocka_unit_test(names_that_turn),
        cmocka_unit_test(alias_of_nothing), cmocka_unit_test(order),
        cmocka_unit_test(resolv_conf),      cmocka_unit_test(reverse_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
