/* SPDX-License-Identifier: MIT */
/*
 * Addresses and endpoint strings: what is accepted and how it prints back, what is refused and what
 * the refusal says, comparison.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <weft/address.h>
#include <weft/error.h>

#define LEN(a) (sizeof(a) / sizeof((a)[0]))

/* Reads text, expects it to print as `print` (NULL: as it came) and that to read back the same. */
static void accepts(const char *text, const char *print)
{
    struct weft_endpoint e;
    struct weft_endpoint back;
    char buf[WEFT_ENDPOINT_MAX];
    int r = weft_endpoint_parse(&e, text);
    if (r != 0)
        print_error("%s: %s\n", text, weft_error_detail());
    assert_int_equal(r, 0);
    int n = weft_endpoint_print(&e, buf, sizeof(buf));
    assert_string_equal(buf, print != NULL ? print : text);
    assert_int_equal(n, strlen(buf));
    assert_int_equal(weft_endpoint_parse(&back, buf), 0);
    assert_int_equal(back.kind, e.kind);
    assert_int_equal(back.fd, e.fd);
    assert_int_equal(back.any, e.any);
    assert_int_equal(back.port, e.port);
    assert_string_equal(back.host, e.host);
    assert_string_equal(back.query, e.query);
    assert_int_equal(back.address.len, e.address.len);
    assert_memory_equal(&back.address.sa, &e.address.sa, sizeof(e.address.sa));
    /* One byte too few: refused, nothing written. */
    memset(buf, 'x', sizeof(buf));
    assert_int_equal(weft_endpoint_print(&e, buf, (size_t)n), -ENOSPC);
    assert_int_equal(buf[0], 'x');
    assert_int_equal(weft_endpoint_print(&e, buf, 0), -ENOSPC);
}

static void refuses(const char *text, int code, const char *detail)
{
    struct weft_endpoint e = {.fd = -77};
    int r = weft_endpoint_parse(&e, text);
    if (r != code || strcmp(weft_error_detail(), detail) != 0)
        print_error("%s: %d %s\n", text, r, weft_error_detail());
    assert_int_equal(r, code);
    assert_string_equal(weft_error_detail(), detail);
    assert_int_equal(e.fd, -77);
}

static void accepts_what_it_prints(void **state)
{
    (void)state;
    accepts("tcp://127.0.0.1:80", NULL);
    accepts("udp://255.255.255.255:65535", NULL);
    accepts("tcp://0.0.0.0:0", NULL);
    accepts("tcp://[::1]:1", NULL);
    accepts("tcp://[::]:1", NULL);
    accepts("tcp://[0:0:0:0:0:0:0:1]:1", "tcp://[::1]:1");
    accepts("tcp://[2001:DB8::A]:9", "tcp://[2001:db8::a]:9");
    accepts("tcp://[::ffff:1.2.3.4]:9", NULL);
    accepts("tcp://localhost:80", NULL);
    accepts("tcp://LocalHost:80", NULL);
    accepts("tls://example.org:443", NULL);
    accepts("tls://_sip._tcp.Example-1.org.:0", NULL);
    accepts("udp://a:65535", NULL);
    accepts("tls://[::1]:443", NULL);
    accepts("tls://*:443", NULL);
    accepts("tls://10.0.0.1:443", NULL);
    accepts("tcp://1.2.3.4.example:1", NULL);
    accepts("tcp://:80", "tcp://*:80");
    accepts("udp://*:80", NULL);
    accepts("unix:/run/x.sock", NULL);
    accepts("unix:x.sock", NULL);
    accepts("unix:///run/x.sock", NULL);
    accepts("unix:/tmp/with space:and@more", NULL);
    accepts("unix:/tmp/\xc3\xa4", NULL);
    accepts("unix:/tmp/what\\x3f", NULL);
    accepts("unix:@name", NULL);
    accepts("unix:@@", NULL);
    accepts("unix:@a\\x00b", NULL);
    accepts("unix:@\\x00", NULL);
    accepts("unix:\\x40x", NULL);
    accepts("unix:/a\\x5cb\\x0A\\x41", "unix:/a\\x5cb\\x0aA");
    accepts("fd:0", NULL);
    accepts("fd:3", NULL);
    accepts("fd:2147483647", NULL);
}

static void reads_scopes(void **state)
{
    (void)state;
    struct weft_endpoint e;
    char text[64];
    unsigned lo = if_nametoindex("lo");
    assert_true(lo > 0);
    accepts("tcp://[fe80::1%lo]:80", NULL);
    assert_int_equal(weft_endpoint_parse(&e, "tcp://[fe80::1%lo]:80"), 0);
    assert_int_equal(((struct sockaddr_in6 *)&e.address.sa)->sin6_scope_id, lo);
    /* An index prints as its name where there is one. */
    snprintf(text, sizeof(text), "udp://[ff02::1%%%u]:80", lo);
    accepts(text, "udp://[ff02::1%lo]:80");
    accepts("tcp://[fe80::1%2147483647]:80", NULL);
    refuses("tcp://[fe80::1%]:80", WEFT_EENDPOINT,
            "IPv6 scope, character 16: an interface is missing");
    refuses("tcp://[fe80::1%0]:80", WEFT_EENDPOINT,
            "IPv6 scope, character 16: '0' is no interface's index");
    refuses("tcp://[fe80::1%nosuch0]:80", WEFT_EENDPOINT,
            "IPv6 scope, character 16: no interface is called nosuch0");
    refuses("tcp://[fe80::1%4294967296]:80", WEFT_EENDPOINT,
            "IPv6 scope, character 16: the number is over 2147483647");
}

static void refuses_with_part_and_character(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *detail;
    } cases[] = {
        {"", "scheme, character 1: it begins with none of tcp://, tls://, udp://, unix:, fd:"},
        {"http://x:1",
         "scheme, character 1: it begins with none of tcp://, tls://, udp://, unix:, fd:"},
        {"TCP://x:1",
         "scheme, character 1: it begins with none of tcp://, tls://, udp://, unix:, fd:"},
        {"sim://x:1", "scheme, character 1: sim:// exists inside a simulation only"},
        {" tcp://:1",
         "scheme, character 1: it begins with none of tcp://, tls://, udp://, unix:, fd:"},
        {"tcp:/:1",
         "scheme, character 1: it begins with none of tcp://, tls://, udp://, unix:, fd:"},
        {"tcp://", "port, character 7: :PORT is missing"},
        {"tcp://1.2.3.4", "port, character 14: :PORT is missing"},
        {"tcp://1.2.3.4:", "port, character 15: a number is missing"},
        {"tcp://1.2.3.4:x", "port, character 15: 'x' is not a digit"},
        {"tcp://1.2.3.4:8\n", "port, character 16: byte 0x0a is not a digit"},
        {"tcp://1.2.3.4:+8", "port, character 15: '+' is not a digit"},
        {"tcp://1.2.3.4:-1", "port, character 15: '-' is not a digit"},
        {"tcp://1.2.3.4:80/", "port, character 17: '/' is not a digit"},
        {"tcp://1.2.3.4:080", "port, character 15: '0' is a leading zero"},
        {"tcp://1.2.3.4:00", "port, character 15: '0' is a leading zero"},
        {"tcp://1.2.3.4:65536", "port, character 15: the number is over 65535"},
        {"tcp://1.2.3.4:18446744073709551617", "port, character 15: the number is over 65535"},
        {"tcp://1.2.3:1", "IPv4 address, character 12: it has fewer than four numbers"},
        {"tcp://1.2.3.4.5:1", "IPv4 address, character 14: '.' follows the fourth number"},
        {"tcp://1.2.3.256:1", "IPv4 address, character 13: the number is over 255"},
        {"tcp://1.2..4:1", "IPv4 address, character 11: a number is missing"},
        {"tcp://1.2.3.:1", "IPv4 address, character 13: a number is missing"},
        {"tcp://01.2.3.4:1", "IPv4 address, character 7: '0' is a leading zero"},
        {"tcp://::1:80", "host, character 7: ':' may only stand in an IPv6 address in brackets"},
        {"tcp://a b:80", "host, character 8: ' ' does not belong into a host"},
        {"tcp://.a:80", "host, character 7: '.' stands where a part of the name is missing"},
        {"tcp://a..b:80", "host, character 9: '.' stands where a part of the name is missing"},
        {"tls://example.org", "port, character 18: :PORT is missing"},
        {"tcp://[::1:80", "host, character 14: ] is missing"},
        {"tcp://[::1]", "port, character 12: :PORT is missing"},
        {"tcp://[::1]80", "port, character 12: '8' stands where :PORT should follow"},
        {"tcp://[::g]:80", "IPv6 address, character 10: 'g' does not belong into it"},
        {"tcp://[1.2.3.4]:80", "IPv6 address, character 8: 1.2.3.4 is not eight groups of "
                               "hexadecimal digits, or fewer with one ::"},
        {"tcp://[1::2::3]:80", "IPv6 address, character 8: 1::2::3 is not eight groups of "
                               "hexadecimal digits, or fewer with one ::"},
        {"tcp://[]:80", "IPv6 address, character 8:  is not eight groups of hexadecimal digits, "
                        "or fewer with one ::"},
        {"unix:", "Unix path, character 6: it is empty"},
        {"unix:@", "Unix path, character 7: it is empty"},
        {"unix:/a\\b", "Unix path, character 8: '\\' begins no \\xHH"},
        {"unix:/a\\x4", "Unix path, character 8: '\\' begins no \\xHH"},
        {"unix:/a\\x00", "Unix path, character 8: '\\' stands for NUL, which no path has"},
        {"fd:", "descriptor, character 4: a number is missing"},
        {"fd:-1", "descriptor, character 4: '-' is not a digit"},
        {"fd:3 ", "descriptor, character 5: ' ' is not a digit"},
        {"fd:2147483648", "descriptor, character 4: the number is over 2147483647"},
    };
    for (size_t i = 0; i < LEN(cases); i++)
        refuses(cases[i].text, WEFT_EENDPOINT, cases[i].detail);
}

static void says_options(const char *text, const char *key, int n, const char *value)
{
    struct weft_endpoint e;
    char buf[WEFT_QUERY_MAX];
    assert_int_equal(weft_endpoint_parse(&e, text), 0);
    assert_int_equal(weft_endpoint_option(&e, key, buf, sizeof buf), n);
    if (n >= 0)
        assert_string_equal(buf, value);
    memset(buf, 'x', sizeof buf);
    if (n >= 0)
        assert_int_equal(weft_endpoint_option(&e, key, buf, (size_t)n), -ENOSPC);
    assert_int_equal(buf[0], 'x');
}

static void reads_options(void **state)
{
    (void)state;
    char text[WEFT_ENDPOINT_MAX];
    accepts("tcp://example.org:80?family=4&keepalive=60&nagle=on", NULL);
    accepts("tls://example.org:80?server-name=other&ca=/etc/ca.pem", NULL);
    accepts("unix:/run/x.sock?server-name=other", NULL);
    accepts("fd:3?cert=a%20b&key=%25", NULL);
    says_options("fd:3?cert=a%20b&key=%25%C3%a4", "cert", 3, "a b");
    says_options("fd:3?cert=a%20b&key=%25%C3%a4", "key", 3, "%\xc3\xa4");
    says_options("fd:3?cert=a%20b&key=%25%C3%a4", "ca", -ENOENT, NULL);
    says_options("fd:3", "cert", -ENOENT, NULL);
    says_options("tcp://a:1?bind=tcp://10.0.0.1:0", "bind", 16, "tcp://10.0.0.1:0");
    /* As long as they may be, and longer. */
    strcpy(text, "tls://a:1?ca=");
    memset(text + strlen(text), 'x', WEFT_QUERY_MAX - 3);
    text[10 + WEFT_QUERY_MAX] = '\0';
    accepts(text, NULL);
    strcat(text, "x");
    refuses(text, WEFT_EENDPOINT, "options, character 331: they are longer than 320 bytes");
}

static void refuses_options(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *detail;
    } cases[] = {
        {"tcp://a:1?", "option, character 11: a name is missing"},
        {"tcp://a:1?family=4&", "option, character 20: a name is missing"},
        {"tcp://a:1?=4", "option, character 11: a name is missing"},
        {"tcp://a:1?colour=red", "option, character 11: there is none called colour"},
        {"tcp://a:1?family=4&colour=red", "option, character 20: there is none called colour"},
        {"tcp://a:1?fam ily=4", "option, character 14: ' ' does not belong into a name"},
        {"tcp://a:1?family", "option, character 17: =VALUE is missing"},
        {"tcp://a:1?family=", "option, character 18: the value is empty"},
        {"tcp://a:1?family=5", "option family, character 18: it is none of 4|6"},
        {"tcp://a:1?family=4|6", "option family, character 18: it is none of 4|6"},
        {"tcp://a:1?family=4&keepalive=1&family=6", "option, character 32: family is there twice"},
        {"tcp://a:1?keepalive=0", "option keepalive, character 21: the number is below 1"},
        {"tcp://a:1?keepalive=32768", "option, character 21: the number is over 32767"},
        {"tcp://a:1?keepalive=1s", "option, character 22: 's' is not a digit"},
        {"tcp://a:1?ca=x", "option, character 11: this kind of endpoint has no ca"},
        {"tls://a:1?ca=a b", "option, character 15: ' ' is to be written %HH"},
        {"tls://a:1?ca=a%2", "option, character 15: '%' begins no %HH"},
        {"tls://a:1?ca=a%2g", "option, character 15: '%' begins no %HH"},
        {"tls://a:1?ca=a%00", "option, character 15: '%' stands for NUL, which no value has"},
        {"unix:/x?family=4", "option, character 9: this kind of endpoint has no family"},
        {"unix:?ca=x", "Unix path, character 6: it is empty"},
        {"tls://a:1?insecure-no-verify=1",
         "option, character 11: there is none called insecure-no-verify"},
    };
    for (size_t i = 0; i < LEN(cases); i++)
        refuses(cases[i].text, WEFT_EENDPOINT, cases[i].detail);
}

static void keeps_length_limits(void **state)
{
    (void)state;
    char text[512];
    char path[256];
    struct weft_address a;
    struct weft_endpoint e;
    for (size_t n = 100; n < 120; n++) {
        memset(path, 'x', n);
        path[n] = '\0';
        snprintf(text, sizeof(text), "unix:%s", path);
        assert_int_equal(weft_endpoint_parse(&e, text), n <= 107 ? 0 : WEFT_EENDPOINT);
        assert_int_equal(weft_address_unix(&a, path), n <= 107 ? 0 : WEFT_EENDPOINT);
        snprintf(text, sizeof(text), "unix:@%s", path);
        assert_int_equal(weft_endpoint_parse(&e, text), n <= 107 ? 0 : WEFT_EENDPOINT);
        if (n <= 107)
            accepts(text, NULL);
        else
            assert_string_equal(weft_error_detail(),
                                "Unix path, character 114: it is longer than 107 bytes");
    }
    /* The longest text there is: 107 bytes, each escaped. */
    strcpy(text, "unix:@");
    for (int i = 0; i < 107; i++)
        strcat(text, "\\x01");
    accepts(text, NULL);
    assert_true(strlen(text) < WEFT_ENDPOINT_MAX);
    /* A host as long as can be, and one longer. */
    memset(text, 'a', 400);
    memcpy(text, "tcp://", 6);
    strcpy(text + 6 + WEFT_HOST_MAX, ":1");
    accepts(text, NULL);
    memset(text + 6 + WEFT_HOST_MAX, 'a', 40);
    strcpy(text + 7 + WEFT_HOST_MAX, ":1");
    refuses(text, WEFT_EENDPOINT, "host, character 261: it is longer than 254 characters");
    memset(text, 'a', 400);
    memcpy(text, "tcp://[", 7);
    strcpy(text + 400, "]:1");
    assert_int_equal(weft_endpoint_parse(&e, text), WEFT_EENDPOINT);
}

static void makes_addresses(void **state)
{
    (void)state;
    struct weft_address a = {0};
    struct weft_address b;
    char buf[WEFT_ENDPOINT_MAX];
    assert_int_equal(weft_address_ip(&a, "127.0.0.1", 80), 0);
    assert_int_equal(weft_address_print(&a, buf, sizeof(buf)), 12);
    assert_string_equal(buf, "127.0.0.1:80");
    assert_int_equal(weft_address_port(&a), 80);
    assert_int_equal(weft_address_ip(&b, "fe80::1%lo", 443), 0);
    weft_address_print(&b, buf, sizeof(buf));
    assert_string_equal(buf, "[fe80::1%lo]:443");
    assert_int_equal(weft_address_print(&b, buf, strlen(buf)), -ENOSPC);

    b = a;
    assert_int_equal(weft_address_ip(&b, "127.0.0.1", 65536), WEFT_EENDPOINT);
    assert_string_equal(weft_error_detail(), "port: 65536 is not in 0 to 65535");
    assert_int_equal(weft_address_ip(&b, "127.0.0.1", -1), WEFT_EENDPOINT);
    assert_int_equal(weft_address_ip(&b, "localhost", 1), WEFT_EENDPOINT);
    assert_int_equal(weft_address_ip(&b, "", 1), WEFT_EENDPOINT);
    assert_int_equal(weft_address_ip(&b, "[::1]", 1), WEFT_EENDPOINT);
    assert_memory_equal(&a, &b, sizeof(a)); /* untouched by all of these */

    assert_int_equal(weft_address_unix(&a, "/a\\b"), 0); /* no escapes here */
    weft_address_print(&a, buf, sizeof(buf));
    assert_string_equal(buf, "/a\\x5cb");
    assert_int_equal(weft_address_port(&a), -1);
    assert_int_equal(weft_address_unix(&a, ""), WEFT_EENDPOINT);

    a = (struct weft_address){0};
    weft_address_print(&a, buf, sizeof(buf));
    assert_string_equal(buf, "none");
    assert_int_equal(weft_address_port(&a), -1);
    a.len = 20;
    a.sa.ss_family = AF_PACKET;
    weft_address_print(&a, buf, sizeof(buf));
    assert_string_equal(buf, "family 17");
}

/* What the kernel reports must print, too. */
static void prints_kernel_addresses(void **state)
{
    (void)state;
    struct weft_endpoint e = {.kind = WEFT_ENDPOINT_UNIX, .fd = -1};
    struct weft_endpoint back;
    char buf[WEFT_ENDPOINT_MAX];
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    e.address.len = sizeof(e.address.sa);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&e.address.sa, &e.address.len), 0);
    weft_address_print(&e.address, buf, sizeof(buf));
    assert_string_equal(buf, "unnamed");
    assert_int_equal(weft_endpoint_print(&e, buf, sizeof(buf)), -EINVAL);
    assert_false(weft_address_equal(&e.address, &e.address));

    /* Autobind: an abstract name of the kernel's choice. */
    sa_family_t family = AF_UNIX;
    assert_int_equal(bind(fd, (struct sockaddr *)&family, sizeof(family)), 0);
    e.address.len = sizeof(e.address.sa);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&e.address.sa, &e.address.len), 0);
    assert_int_equal(weft_endpoint_print(&e, buf, sizeof(buf)), 5 + 1 + 5);
    assert_int_equal(weft_endpoint_parse(&back, buf), 0);
    assert_true(weft_address_equal(&e.address, &back.address));
    close(fd);
}

static void prints_only_what_reads_back(void **state)
{
    (void)state;
    struct weft_endpoint e = {.fd = -1};
    char buf[WEFT_ENDPOINT_MAX];
    assert_int_equal(weft_endpoint_print(&e, buf, sizeof(buf)), -EINVAL);
    e.kind = WEFT_ENDPOINT_FD;
    assert_int_equal(weft_endpoint_print(&e, buf, sizeof(buf)), -EINVAL);
    e.kind = WEFT_ENDPOINT_TCP;
    assert_int_equal(weft_endpoint_print(&e, buf, sizeof(buf)), -EINVAL);
    assert_int_equal(weft_address_unix(&e.address, "/x"), 0);
    assert_int_equal(weft_endpoint_print(&e, buf, sizeof(buf)), -EINVAL);
    e.kind = WEFT_ENDPOINT_UNIX;
    assert_int_equal(weft_endpoint_print(&e, buf, sizeof(buf)), 7);
    assert_int_equal(weft_address_ip(&e.address, "::1", 1), 0);
    assert_int_equal(weft_endpoint_print(&e, buf, sizeof(buf)), -EINVAL);
}

static void compares(void **state)
{
    (void)state;
    static const char *const groups[] = {
        "tcp://1.2.3.4:1",
        "tcp://1.2.3.5:1",
        "tcp://[::1]:1",
        "tcp://[fe80::1]:1",
        "tcp://[fe80::1%lo]:1",
        "tcp://[::ffff:1.2.3.4]:1",
        "unix:/a",
        "unix:@/a",
        "unix:/ab",
        "unix:@a",
        "unix:@a\\x00",
    };
    struct weft_endpoint x;
    struct weft_endpoint y;
    for (size_t i = 0; i < LEN(groups); i++) {
        for (size_t j = 0; j < LEN(groups); j++) {
            assert_int_equal(weft_endpoint_parse(&x, groups[i]), 0);
            assert_int_equal(weft_endpoint_parse(&y, groups[j]), 0);
            bool both_unix = x.kind == WEFT_ENDPOINT_UNIX && y.kind == WEFT_ENDPOINT_UNIX;
            assert_int_equal(weft_address_equal(&x.address, &y.address), i == j);
            assert_int_equal(weft_address_same_host(&x.address, &y.address), i == j || both_unix);
        }
    }
    assert_int_equal(weft_endpoint_parse(&x, "tcp://[::1]:1"), 0);
    assert_int_equal(weft_endpoint_parse(&y, "tcp://[::1]:2"), 0);
    assert_false(weft_address_equal(&x.address, &y.address));
    assert_true(weft_address_same_host(&x.address, &y.address));
    struct weft_address none = {0};
    assert_false(weft_address_equal(&none, &none));
    assert_false(weft_address_same_host(&none, &x.address));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accepts_what_it_prints),
        cmocka_unit_test(reads_scopes),
        cmocka_unit_test(refuses_with_part_and_character),
        cmocka_unit_test(reads_options),
        cmocka_unit_test(refuses_options),
        cmocka_unit_test(keeps_length_limits),
        cmocka_unit_test(makes_addresses),
        cmocka_unit_test(prints_kernel_addresses),
        cmocka_unit_test(prints_only_what_reads_back),
        cmocka_unit_test(compares),
    };
    return cmocka_run_group_tests_name("address", tests, NULL, NULL);
}
