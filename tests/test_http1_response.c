/* SPDX-License-Identifier: MIT */
/*
 * Heads of HTTP/1 responses: what is read, where the body ends (RFC 9112 section 6.3), what is
 * refused; each whole, a byte at a time and at every split point.
 */
#include "http1_kit.h"

static char text[KIT_TEXT];

#define GET WEFT__HTTP_GET
#define HEAD WEFT__HTTP_HEAD
#define CONNECT WEFT__HTTP_CONNECT

static const struct {
    enum weft__http_method method;
    const char *bytes;
    const char *wanted;
} good[] = {
    {GET, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
     "head 38 1.1 200 [OK] body length 5 length 5 keep seen"},
    {GET, "HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n", "200 [] body none 0 length 0 keep"},
    {GET, "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", "200 [] body none 0 length 0 keep"},
    {GET, "HTTP/1.0 200 a  b\t\xff\r\n\r\n", "1.0 200 [a  b\t\xff] body close 0 length -0 seen 0"},
    {GET, "HTTP/1.1 200 OK\r\n\r\n", "body close 0 length -0 seen 0"},
    {GET, "HTTP/1.1 999 ?\r\n\r\n", "999 [?] body close"},
    {GET, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "body chunked 0 length -0 keep"},
    {GET, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n",
     "body chunked 0 length -0 close"},
    {GET, "HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\n",
     "1.0 200 [OK] body length 5 length 5 keep"},
    {GET, "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n", "body length 5 length 5 seen"},
    {HEAD, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "body none 0 length 5 keep"},
    {HEAD, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "body none 0 length -0 keep"},
    {HEAD, "HTTP/1.1 200 OK\r\n\r\n", "body none 0 length -0 keep"},
    {GET, "HTTP/1.1 100 Continue\r\nContent-Length: 5\r\n\r\n", "100 [Continue] body none 0"},
    {GET, "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n",
     "103 [Early Hints] body none 0 length -0 keep"},
    {GET, "HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\n", "204 [No] body none 0 length 5 keep"},
    {GET, "HTTP/1.1 204 No\r\nTransfer-Encoding: chunked\r\n\r\n", "204 [No] body none 0"},
    {GET, "HTTP/1.1 304 No\r\nContent-Length: 5\r\n\r\n", "304 [No] body none 0 length 5 keep"},
    {GET, "HTTP/1.1 101 Up\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
     "101 [Up] tunnel body none 0 length -0 upgrade"},
    {CONNECT, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "tunnel body none 0 length 5 seen"},
    {CONNECT, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "tunnel body none 0"},
    {CONNECT, "HTTP/1.1 407 No\r\nContent-Length: 5\r\n\r\n", "407 [No] body length 5"},
    {GET, "HTTP/1.1 200 OK\r\nHost: a\r\nHost: a\r\nContent-Length: 1\r\n\r\n", "body length 1"},
    {GET, "HTTP/1.1 200 OK\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nContent-Length: 0\r\n\r\n",
     "[Set-Cookie]=[a]\n46 [Set-Cookie]=[b]"},
};

static void test_good(void **state)
{
    (void)state;
    for (size_t i = 0; i < WEFT__ARRAY_LEN(good); i++) {
        struct kit_feed feed = {.response = true, .method = good[i].method};
        ssize_t n = kit_feed_all(&feed, good[i].bytes, strlen(good[i].bytes), text);
        if (n <= 0 || strstr(text, good[i].wanted) == NULL)
            fail_msg("%s\ngave: %s\nwanted: %s", good[i].bytes, text, good[i].wanted);
    }
}

static const struct {
    const char *bytes;
    size_t at;
} bad[] = {
    {"\r\nHTTP/1.1 200 OK\r\n\r\n", 0}, /* the empty line is for requests */
    {" HTTP/1.1 200 OK\r\n\r\n", 0},
    {"HTTP/2 200 OK\r\n\r\n", 0},
    {"HTTP/2.0 200 OK\r\n\r\n", 0},
    {"http/1.1 200 OK\r\n\r\n", 0},
    {"ICY 200 OK\r\n\r\n", 0},
    {"HTTP/1.1\r\n\r\n", 8},
    {"HTTP/1.1  200 OK\r\n\r\n", 8},
    {"HTTP/1.1\t200 OK\r\n\r\n", 8},
    {"HTTP/1.1 20 OK\r\n\r\n", 8},
    {"HTTP/1.1 099 OK\r\n\r\n", 8},
    {"HTTP/1.1 2000 OK\r\n\r\n", 12},
    {"HTTP/1.1 200OK\r\n\r\n", 12},
    {"HTTP/1.1 200 O\x01K\r\n\r\n", 14},
    {"HTTP/1.1 200 OK\n\r\n", 15},
    {"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", 23},
    {"HTTP/1.1 200 OK\r\nA : b\r\n\r\n", 18},
    {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n", 52},
    {"HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\n", 33},
    {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 55},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 36},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", 36},
    {"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 36},
    {"HTTP/1.1 204 OK\r\nContent-Length: x\r\n\r\n", 33},
};

static void test_bad(void **state)
{
    (void)state;
    for (size_t i = 0; i < WEFT__ARRAY_LEN(bad); i++) {
        struct kit_feed feed = {.response = true, .method = GET};
        char wanted[64];
        ssize_t n = kit_feed_all(&feed, bad[i].bytes, strlen(bad[i].bytes), text);
        snprintf(wanted, sizeof(wanted), "refused %d 502 at %zu: ", WEFT_EPROTOCOL, bad[i].at);
        if (n >= 0 || strncmp(text, wanted, strlen(wanted)) != 0)
            fail_msg("%s\ngave: %s\nwanted: %s", bad[i].bytes, text, wanted);
    }
}

static void test_limits(void **state)
{
    struct kit_feed feed = {.response = true, .limits = {.start_line = 20, .head = 40}};
    (void)state;
    assert_true(kit_feed_all(&feed, "HTTP/1.1 200 1234567\r\n\r\n", 24, text) > 0);
    assert_int_equal(kit_feed_all(&feed, "HTTP/1.1 200 12345678\r\n\r\n", 25, text), WEFT_ETOOLONG);
    assert_non_null(strstr(text, " 431 at 20: "));
    assert_int_equal(
        kit_feed_all(&feed, "HTTP/1.1 200 OK\r\nA: 3456789012345678\r\n\r\n", 40, text), 40);
    assert_int_equal(kit_feed_all(&feed, "HTTP/1.1 200 OK\r\nA: 345678901234567\r\n\r\n", 39, text),
                     39);
    assert_int_equal(
        kit_feed_all(&feed, "HTTP/1.1 200 OK\r\nA: 34567890123456789\r\n\r\n", 41, text),
        WEFT_ETOOLONG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_bad),
        cmocka_unit_test(test_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
