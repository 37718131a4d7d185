/* SPDX-License-Identifier: MIT */
/*
 * SOCKS5, CONNECT and the PROXY protocol without I/O: each answer is fed whole, a byte at a time
 * and cut at every place, and comes to the same.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <weft/error.h>

#include "base/alloc.h"
#include "base/base.h"
#include "net/server.h"
#include "wire/proxy.h"
#include "wire/proxy_protocol.h"

struct outcome {
    int res;
    size_t used;
    size_t out_len;
    uint8_t out[4096]; /* all that was to be sent */
    char detail[200];
};

static void collect(struct weft__proxy *p, struct outcome *o)
{
    memcpy(o->out + o->out_len, p->out, p->out_len);
    o->out_len += p->out_len;
    p->out_len = 0;
}

/* Feeds the answer in pieces: of `cut` bytes first, then of `step`. */
static struct outcome feed(const struct weft__proxy *how, const void *answer, size_t len,
                           size_t cut, size_t step)
{
    struct outcome o = {.res = 0};
    struct weft__proxy p = *how;
    assert_int_equal(weft__proxy_start(&p), 0);
    collect(&p, &o);
    for (size_t at = 0; o.res == 0 && at < len;) {
        size_t n = at == 0 && cut > 0 ? cut : step, used = 99999;
        n = n < len - at ? n : len - at;
        o.res = weft__proxy_feed(&p, (const uint8_t *)answer + at, n, &used);
        assert_true(used <= n);
        assert_true(o.res != 0 || used == n);
        at += used;
        o.used = at;
        collect(&p, &o);
    }
    if (o.res < 0)
        (void)snprintf(o.detail, sizeof o.detail, "%s", weft_error_detail());
    return o;
}

static struct outcome same(const struct weft__proxy *how, const void *answer, size_t len)
{
    struct outcome whole = feed(how, answer, len, 0, len), other;
    for (size_t cut = 0; cut <= len; cut++) {
        other = cut == 0 ? feed(how, answer, len, 0, 1) : feed(how, answer, len, cut, len);
        assert_int_equal(other.res, whole.res);
        assert_int_equal(other.used, whole.used);
        assert_int_equal(other.out_len, whole.out_len);
        assert_memory_equal(other.out, whole.out, whole.out_len);
        assert_string_equal(other.detail, whole.detail);
    }
    return whole;
}

#define SAME(how, answer) same(how, answer, sizeof(answer) - 1)
#define SENT(o, text)                                                                              \
    do {                                                                                           \
        assert_int_equal((o).out_len, sizeof(text) - 1);                                           \
        assert_memory_equal((o).out, text, sizeof(text) - 1);                                      \
    } while (0)

static void socks(void **state)
{
    struct weft__proxy p = {.kind = WEFT__PROXY_SOCKS5, .host = "a.example", .port = 258};
    struct outcome o = SAME(&p, "\5\0\5\0\0\1\1\2\3\4\0\0behind");
    (void)state;
    assert_int_equal(o.res, 1);
    assert_int_equal(o.used, 12);
    SENT(o, "\5\1\0\5\1\0\3\011a.example\1\2");
    p.host = "1.2.3.4";
    o = SAME(&p, "\5\0\5\0\0\3\4name\0\0");
    assert_int_equal(o.res, 1);
    SENT(o, "\5\1\0\5\1\0\1\1\2\3\4\1\2");
    p.host = "::1";
    o = SAME(&p, "\5\0\5\0\0\4\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1\0\0");
    assert_int_equal(o.res, 1);
    SENT(o, "\5\1\0\5\1\0\4\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1\1\2");
    p = (struct weft__proxy){
        .kind = WEFT__PROXY_SOCKS5, .host = "a", .port = 80, .user = "me", .password = "secret"};
    o = SAME(&p, "\5\2\1\0\5\0\0\1\0\0\0\0\0\0");
    assert_int_equal(o.res, 1);
    SENT(o, "\5\2\0\2\1\2me\6secret\5\1\0\3\1a\0\120");
    assert_int_equal(SAME(&p, "\5\2\1\1").res, -EACCES);
    assert_int_equal(SAME(&p, "\5\xff").res, -EACCES);
    assert_int_equal(SAME(&p, "\5\1").res, WEFT_EPROTOCOL);
    assert_int_equal(SAME(&p, "HTTP/1.1 400").res, WEFT_EPROTOCOL);
    assert_int_equal(SAME(&p, "\5\0\5\5\0\1\0").res, -ECONNREFUSED);
    assert_int_equal(SAME(&p, "\5\0\5\4\0\1\0").res, -EHOSTUNREACH);
    assert_int_equal(SAME(&p, "\5\0\5\2\0\1\0").res, -EACCES);
    assert_int_equal(SAME(&p, "\5\0\5\x09\0\1\0").res, WEFT_EPROTOCOL);
    assert_int_equal(SAME(&p, "\5\0\5\0\0\2\0").res, WEFT_EPROTOCOL);
    assert_int_equal(SAME(&p, "\5\0\5\0\0\1\0").res, 0); /* more is to come */
    p.user = NULL;
    assert_int_equal(SAME(&p, "\5\2").res, WEFT_EPROTOCOL);
}

static void http(void **state)
{
    struct weft__proxy p = {.kind = WEFT__PROXY_HTTP, .host = "a.example", .port = 443};
    struct outcome o = SAME(&p, "HTTP/1.1 200 OK\r\nVia: x\r\n\r\n\r\nbehind");
    (void)state;
    assert_int_equal(o.res, 1);
    assert_int_equal(o.used, 27);
    SENT(o, "CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n");
    p.host = "fd00::1";
    p.user = "Aladdin";
    p.password = "open sesame"; /* RFC 7617's example */
    o = SAME(&p, "HTTP/1.0 204\n\n");
    assert_int_equal(o.res, 1);
    SENT(o, "CONNECT [fd00::1]:443 HTTP/1.1\r\nHost: [fd00::1]:443\r\nProxy-Authorization: Basic "
            "QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n\r\n");
    o = SAME(&p, "HTTP/1.1 407 Who are you?\r\n\r\n");
    assert_int_equal(o.res, -EACCES);
    assert_string_equal(o.detail, "the proxy answered: 407 Who are you?");
    assert_int_equal(SAME(&p, "HTTP/1.1 502 x\r\nA: b\r\n\r\n").res, -ECONNREFUSED);
    assert_int_equal(SAME(&p, "HTTP/1.1 504 x\r\n\r\n").res, -ETIMEDOUT);
    assert_int_equal(SAME(&p, "HTTP/1.1 302 x\r\n\r\n").res, WEFT_EPROTOCOL);
    o = SAME(&p, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nA: b\r\n\r\n"
                 "HTTP/1.1 200 OK\r\n\r\nbehind");
    assert_int_equal(o.res, 1);
    assert_int_equal(o.used, 25 + 28 + 19);
    assert_int_equal(SAME(&p, "HTTP/1.1 101 x\r\n\r\n").res, WEFT_EPROTOCOL);
    assert_int_equal(SAME(&p, "HTTP/1.1 2000 x\r\n\r\n").res, WEFT_EPROTOCOL);
    assert_int_equal(SAME(&p, "SSH-2.0-x\r\n\r\n").res, WEFT_EPROTOCOL);
    assert_int_equal(SAME(&p, "\r\n").res, WEFT_EPROTOCOL);
    assert_int_equal(SAME(&p, "HTTP/1.1 200 OK\r\nA: b\r\n").res, 0);
    static char endless[WEFT__PROXY_HEAD_MAX + 1];
    memset(endless, 'x', sizeof endless);
    assert_int_equal(feed(&p, endless, sizeof endless - 1, 0, 1000).res, 0);
    assert_int_equal(feed(&p, endless, sizeof endless, 0, 1000).res, WEFT_EPROTOCOL);
}

static void limits(void **state)
{
    static char text[WEFT__PROXY_TEXT_MAX + 2];
    struct weft__proxy p = {.kind = WEFT__PROXY_HTTP, .host = text, .user = text, .password = text};
    (void)state;
    memset(text, 'x', WEFT__PROXY_TEXT_MAX);
    for (int i = 0; i < 2; i++) {
        p.kind = i == 0 ? WEFT__PROXY_HTTP : WEFT__PROXY_SOCKS5;
        assert_int_equal(weft__proxy_start(&p), 0);
        assert_true(p.out_len <= sizeof p.out);
    }
    text[WEFT__PROXY_TEXT_MAX] = 'x';
    assert_int_equal(weft__proxy_start(&p), -EINVAL);
    p.host = "";
    p.user = p.password = NULL;
    assert_int_equal(weft__proxy_start(&p), -EINVAL);
}

/* --- The PROXY protocol ----------------------------------------------------------------------- */

static void parses(const char *bytes, size_t len, int want, const char *from, const char *to)
{
    struct weft__pp pp = {.from.len = 77};
    char text[WEFT_ENDPOINT_MAX];
    for (size_t n = 0; n < (want > 0 ? (size_t)want : len); n++) {
        int r = weft__pp_parse(&pp, bytes, n);
        assert_true(r == 0 || (want < 0 && r == want));
        assert_int_equal(pp.from.len, 77);
    }
    assert_int_equal(weft__pp_parse(&pp, bytes, len), want);
    if (want <= 0)
        return;
    assert_true(weft_address_print(&pp.from, text, sizeof text) > 0);
    assert_string_equal(text, from);
    assert_true(weft_address_print(&pp.to, text, sizeof text) > 0);
    assert_string_equal(text, to);
}

#define PARSES(bytes, want, from, to) parses(bytes, sizeof(bytes) - 1, want, from, to)
#define V2 "\r\n\r\n\0\r\nQUIT\n"

static void headers(void **state)
{
    (void)state;
    PARSES("PROXY TCP4 1.2.3.4 5.6.7.8 1 65535\r\nbehind", 36, "1.2.3.4:1", "5.6.7.8:65535");
    PARSES("PROXY TCP6 ::1 fd00::2 80 90\r\n", 30, "[::1]:80", "[fd00::2]:90");
    PARSES("PROXY UNKNOWN\r\nx", 15, "none", "none");
    PARSES("PROXY UNKNOWN ::1 ::2 1 2\r\nx", 27, "none", "none");
    PARSES("PROXY TCP4 1.2.3.4 5.6.7.8 1 65536\r\n", WEFT_EPROTOCOL, NULL, NULL);
    PARSES("PROXY TCP4 1.2.3.4 5.6.7.8 01 2\r\n", WEFT_EPROTOCOL, NULL, NULL);
    PARSES("PROXY TCP4 1.2.3.4 5.6.7.8 1 2 3\r\n", WEFT_EPROTOCOL, NULL, NULL);
    PARSES("PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n", WEFT_EPROTOCOL, NULL, NULL);
    PARSES("PROXY TCP4 ::1 ::2 1 2\r\n", WEFT_EPROTOCOL, NULL, NULL);
    PARSES("PROXY TCP5 1.2.3.4 5.6.7.8 1 2\r\n", WEFT_EPROTOCOL, NULL, NULL);
    PARSES("PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n", WEFT_EPROTOCOL, NULL, NULL);
    PARSES("GET / HTTP/1.0\r\n", WEFT_EPROTOCOL, NULL, NULL);
    PARSES("PROXY TCP4 1.2.3.4", 0, NULL, NULL);
    PARSES(V2 "\x21\x11\0\x0c\1\2\3\4\5\6\7\x08\0\x50\1\0behind", 28, "1.2.3.4:80", "5.6.7.8:256");
    PARSES(V2 "\x21\x11\0\x0f\1\2\3\4\5\6\7\x08\0\x50\1\0\4\0\0x", 31, "1.2.3.4:80", "5.6.7.8:256");
    PARSES(V2 "\x20\x11\0\x0c\1\2\3\4\5\6\7\x08\0\x50\1\0", 28, "none", "none");
    PARSES(V2 "\x21\0\0\0", 16, "none", "none");
    /* Assigned, and of no use to TCP: unknown. Not assigned: no header, but for who says LOCAL. */
    PARSES(V2 "\x21\x12\0\x0c\1\2\3\4\5\6\7\x08\0\x50\1\0", 28, "none", "none");
    PARSES(V2 "\x21\x32\0\2xx", 18, "none", "none");
    PARSES(V2 "\x21\x01\0\0", 16, "none", "none");
    PARSES(V2 "\x21\x41\0\0", WEFT_EPROTOCOL, NULL, NULL);
    PARSES(V2 "\x21\x13\0\0", WEFT_EPROTOCOL, NULL, NULL);
    PARSES(V2 "\x20\xff\0\0", 16, "none", "none");
    PARSES(V2 "\x21\x11\0\4\1\2\3\4", WEFT_EPROTOCOL, NULL, NULL);
    PARSES(V2 "\x22\x11\0\0", WEFT_EPROTOCOL, NULL, NULL);
    PARSES(V2 "\x21\x11\xff\xff", WEFT_EPROTOCOL, NULL, NULL);
}

static void written_is_read(void **state)
{
    static const char *const hosts[][2] = {{"1.2.3.4", "255.255.255.255"}, {"::1", "fd00::9"}};
    uint8_t buf[WEFT__PP_WRITE_MAX];
    struct weft_address a, b, none = {.len = 0};
    struct weft__pp pp;
    (void)state;
    for (int version = 1; version <= 2; version++) {
        for (int i = 0; i < 2; i++) {
            assert_int_equal(weft_address_ip(&a, hosts[i][0], 1), 0);
            assert_int_equal(weft_address_ip(&b, hosts[i][1], 65535), 0);
            size_t n = weft__pp_write(buf, version, &a, &b);
            assert_int_equal(weft__pp_parse(&pp, buf, n), n);
            assert_true(weft_address_equal(&pp.from, &a) && weft_address_equal(&pp.to, &b));
        }
        size_t n = weft__pp_write(buf, version, &none, &a);
        assert_int_equal(weft__pp_parse(&pp, buf, n), n);
        assert_int_equal(pp.from.len, 0);
    }
}

/* --- Who is believed -------------------------------------------------------------------------- */

static void trusted(void **state)
{
    static const struct {
        const char *from, *peer;
        bool is;
    } cases[] = {
        {"10.0.0.0/8", "10.9.9.9", true},
        {"10.0.0.0/8", "11.0.0.1", false},
        {"10.0.0.0/8", "::ffff:10.9.9.9", true},
        {"10.0.0.0/9", "10.128.0.1", false},
        {"::ffff:10.0.0.0/104", "10.9.9.9", true},
        {"::ffff:10.0.0.0/104", "::ffff:10.9.9.9", true},
        {"::ffff:10.0.0.0/104", "11.0.0.1", false},
        {"::ffff:10.0.0.1", "10.0.0.1", true},
        {"::ffff:10.0.0.1", "10.0.0.2", false},
        {"fd00::/9", "fd7f::1", true},
        {"fd00::/9", "fd80::1", false},
        {"0.0.0.0/0", "::1", false},
        {"::/0", "::1", true},
    };
    (void)state;
    for (size_t i = 0; i < WEFT__ARRAY_LEN(cases); i++) {
        struct weft__proxies *p = NULL;
        struct weft_address peer;
        assert_int_equal(weft__proxies_open(&p, cases[i].from), 0);
        assert_int_equal(weft_address_ip(&peer, cases[i].peer, 1), 0);
        if (weft__proxies_trust(p, &peer) != cases[i].is)
            fail_msg("%s in %s: not %d", cases[i].peer, cases[i].from, cases[i].is);
        weft__free(p);
    }
    struct weft__proxies *none = NULL;
    assert_int_equal(weft__proxies_open(&none, "::ffff:10.0.0.0/95"), -EINVAL);
    assert_null(none);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(socks),           cmocka_unit_test(http),
        cmocka_unit_test(limits),          cmocka_unit_test(headers),
        cmocka_unit_test(written_is_read), cmocka_unit_test(trusted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
