/* SPDX-License-Identifier: MIT */
/*
 * Heads of HTTP/1 requests: what is read, what is refused and why, limits; each whole, a byte at a
 * time and at every split point.
 */
#include "http1_kit.h"

#define HOST "Host: a\r\n"

static const struct kit_feed plain = {0};
static char text[KIT_TEXT];

/* What is wanted is a part of the text, so that each case says only what it is about. */
static const struct {
    const char *bytes;
    const char *wanted;
} good[] = {
    {"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
     "head 27 1.1 GET [GET] origin target[/] scheme[] host[a|a|-1] path[/] query[]- body none 0 "
     "length -0 keep"},
    {"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "head 29 1.1 GET"},
    {"GET /p/q?x=1?y|\\ HTTP/1.1\r\nHost: a.example:8080\r\n\r\n",
     "host[a.example:8080|a.example|8080] path[/p/q] query[x=1?y|\\]+"},
    {"GET /? HTTP/1.1\r\n" HOST "\r\n", "path[/] query[]+"},
    {"GET //x/../%2e HTTP/1.1\r\n" HOST "\r\n", "path[//x/../%2e] query[]-"},
    {"GET / HTTP/1.1\r\nhOsT:\t [::1]:80 \t\r\n\r\n", "host[[::1]:80|[::1]|80]"},
    {"GET / HTTP/1.1\r\nHost:\r\n\r\n", "host[||-1]"},
    {"GET / HTTP/1.1\r\nHost: a:\r\n\r\n", "host[a:|a|-1]"},
    {"GET / HTTP/1.1\r\nHost: %41b!$&'()*+,;=~\r\n\r\n", "|%41b!$&'()*+,;=~|-1]"},
    {"GET / HTTP/1.0\r\n\r\n", "1.0 GET [GET] origin target[/] scheme[] host[||-1]"},
    {"GET / HTTP/1.0\r\n\r\n", "body none 0 length -0 seen 0"},
    {"GET / HTTP/1.9\r\n" HOST "\r\n", "1.1 GET"},
    {"get / HTTP/1.1\r\n" HOST "\r\n", "OTHER [get]"},
    {"PURGE* / HTTP/1.1\r\n" HOST "\r\n", "OTHER [PURGE*]"},
    {"PATCH / HTTP/1.1\r\n" HOST "\r\n", "PATCH [PATCH]"},
    {"OPTIONS * HTTP/1.1\r\n" HOST "\r\n", "OPTIONS [OPTIONS] asterisk target[*] scheme[] "
                                           "host[a|a|-1] path[*] query[]-"},
    {"CONNECT b.example:443 HTTP/1.1\r\n" HOST "\r\n",
     "CONNECT [CONNECT] authority target[b.example:443] scheme[] "
     "host[b.example:443|b.example|443] path[] query[]-"},
    {"CONNECT [::1]:443 HTTP/1.1\r\n" HOST "Content-Length: 0\r\n\r\n",
     "host[[::1]:443|[::1]|443]"},
    /* RFC 9112 section 3.2.2: the target's host, not the field's */
    {"GET http://b:81/x?y HTTP/1.1\r\n" HOST "\r\n",
     "absolute target[http://b:81/x?y] scheme[http] host[b:81|b|81] path[/x] query[y]+"},
    {"GET HTTP://b HTTP/1.1\r\n" HOST "\r\n", "scheme[HTTP] host[b|b|-1] path[] query[]-"},
    {"GET h+1.2-://b? HTTP/1.1\r\n" HOST "\r\n", "scheme[h+1.2-] host[b|b|-1] path[] query[]+"},
    {"POST / HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nhello", "body length 5 length 5 keep"},
    {"POST / HTTP/1.1\r\n" HOST "Content-Length: 0\r\n\r\n", "body none 0 length 0 keep"},
    {"POST / HTTP/1.1\r\n" HOST "Content-Length: 00012\r\n\r\n", "body length 12 length 12"},
    {"POST / HTTP/1.1\r\n" HOST "Content-Length: 9223372036854775807\r\n\r\n",
     "body length 9223372036854775807"},
    {"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: CHUNKED\r\n\r\n", "body chunked 0 length -0"},
    {"POST / HTTP/1.1\r\n" HOST "Expect: 100-Continue\r\nContent-Length: 1\r\n\r\n",
     " continue body length 1"},
    {"POST / HTTP/1.1\r\n" HOST "Expect: 100-continue\r\n\r\n", "query[]- body none"},
    {"POST / HTTP/1.0\r\n" HOST "Expect: 100-continue\r\nContent-Length: 1\r\n\r\n",
     "query[]- body length 1"},
    {"POST / HTTP/1.1\r\n" HOST "Expect: more\r\nContent-Length: 1\r\n\r\n", "- expects body"},
    {"GET / HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n", "length -0 close seen"},
    {"GET / HTTP/1.1\r\n" HOST "Connection: , keep-alive ,,CLOSE\r\n\r\n", "length -0 close seen"},
    {"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", "length -0 keep seen"},
    {"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\nConnection: close\r\n\r\n", "-0 close seen"},
    {"GET / HTTP/1.1\r\n" HOST "Connection: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
     "length -0 keep upgrade seen"},
    {"GET / HTTP/1.1\r\n" HOST "Upgrade: websocket\r\n\r\n", "length -0 keep seen"},
    {"GET / HTTP/1.1\r\n" HOST "Connection: upgrade\r\n\r\n", "length -0 keep seen"},
    {"GET / HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n", "length -0 seen"},
    {"GET / HTTP/1.1\r\n" HOST "X-1:\r\nX-2: \t \r\nx-3:a \t b\t\r\n~: \xff\x80\r\n\r\n",
     "\n0 [X-1]=[]\n0 [X-2]=[]\n0 [x-3]=[a \t b]\n0 [~]=[\xff\x80]"},
};

static void test_good(void **state)
{
    (void)state;
    for (size_t i = 0; i < WEFT__ARRAY_LEN(good); i++) {
        ssize_t n = kit_feed_all(&plain, good[i].bytes, strlen(good[i].bytes), text);
        if (n <= 0 || strstr(text, good[i].wanted) == NULL)
            fail_msg("%s\ngave: %s\nwanted: %s", good[i].bytes, text, good[i].wanted);
        /* What follows does not matter, and each shorter piece needs more. */
        char longer[1024];
        snprintf(longer, sizeof(longer), "%.*s\x01\n\r\n\r\n", (int)n, good[i].bytes);
        size_t len = (size_t)n + 6;
        assert_int_equal(kit_feed_pieces(&plain, longer, &len, 1, text), n);
        for (size_t short_len = 0; short_len < (size_t)n; short_len++)
            assert_int_equal(kit_feed_pieces(&plain, longer, &short_len, 1, text), 0);
    }
}

/* Bytes, length when there is a NUL in them, the status to answer, the position of the byte. */
#define BAD(bytes, status, at)                                                                     \
    {                                                                                              \
        bytes, sizeof(bytes) - 1, status, at                                                       \
    }
static const struct {
    const char *bytes;
    size_t len;
    int status;
    size_t at;
} bad[] = {
    /* the request line */
    BAD("\r\n\r\nGET / HTTP/1.1\r\n\r\n", 400, 2), BAD("\nGET / HTTP/1.1\r\n\r\n", 400, 0),
    BAD(" GET / HTTP/1.1\r\n" HOST "\r\n", 400, 0), BAD("G@T / HTTP/1.1\r\n" HOST "\r\n", 400, 1),
    BAD("G\tT / HTTP/1.1\r\n" HOST "\r\n", 400, 1), BAD("GET\r\n" HOST "\r\n", 400, 3),
    BAD("GET /\r\n" HOST "\r\n", 400, 5), /* HTTP/0.9 */
    BAD("GET / \r\n" HOST "\r\n", 400, 6), BAD("GET  / HTTP/1.1\r\n" HOST "\r\n", 400, 4),
    BAD("GET /  HTTP/1.1\r\n" HOST "\r\n", 400, 6), BAD("GET / HTTP/1.1 \r\n" HOST "\r\n", 400, 6),
    BAD("GET\t/ HTTP/1.1\r\n" HOST "\r\n", 400, 3), BAD("GET / http/1.1\r\n" HOST "\r\n", 400, 6),
    BAD("GET / HTTP/1.x\r\n" HOST "\r\n", 400, 6), BAD("GET / HTTP/11.1\r\n" HOST "\r\n", 400, 6),
    BAD("GET / HTTP/1,1\r\n" HOST "\r\n", 400, 6), BAD("GET / HTTP/+1.1\r\n" HOST "\r\n", 400, 6),
    BAD("GET / HTTP/2.0\r\n" HOST "\r\n", 505, 6), BAD("GET / HTTP/0.9\r\n" HOST "\r\n", 505, 6),
    BAD("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, 6),
    BAD("AVERYLONGMETHODAVERYLONGMETHOD123 / HTTP/1.1\r\n" HOST "\r\n", 501, 32),
    BAD("GET /\x01 HTTP/1.1\r\n" HOST "\r\n", 400, 5),
    BAD("GET /\x7f HTTP/1.1\r\n" HOST "\r\n", 400, 5),
    BAD("GET /\0 HTTP/1.1\r\n" HOST "\r\n", 400, 5),
    BAD("GET /\xc3\xa4 HTTP/1.1\r\n" HOST "\r\n", 400, 5),
    BAD("GET /a\" HTTP/1.1\r\n" HOST "\r\n", 400, 6),
    BAD("GET /<> HTTP/1.1\r\n" HOST "\r\n", 400, 5),
    BAD("GET /#a HTTP/1.1\r\n" HOST "\r\n", 400, 5),
    BAD("GET /a\\b HTTP/1.1\r\n" HOST "\r\n", 400, 6),
    BAD("GET a HTTP/1.1\r\n" HOST "\r\n", 400, 4), BAD("GET * HTTP/1.1\r\n" HOST "\r\n", 400, 4),
    BAD("OPTIONS ** HTTP/1.1\r\n" HOST "\r\n", 400, 8),
    BAD("GET a:80 HTTP/1.1\r\n" HOST "\r\n", 400, 4),
    BAD("GET http:/b HTTP/1.1\r\n" HOST "\r\n", 400, 4),
    BAD("GET ://b/ HTTP/1.1\r\n" HOST "\r\n", 400, 4),
    BAD("GET 1h://b/ HTTP/1.1\r\n" HOST "\r\n", 400, 4),
    BAD("GET http:///x HTTP/1.1\r\n" HOST "\r\n", 400, 11),
    BAD("GET http://u@b/ HTTP/1.1\r\n" HOST "\r\n", 400, 11),
    BAD("GET http://b:x/ HTTP/1.1\r\n" HOST "\r\n", 400, 11),
    BAD("GET http://b/\\ HTTP/1.1\r\n" HOST "\r\n", 400, 13),
    BAD("CONNECT / HTTP/1.1\r\n" HOST "\r\n", 400, 8),
    BAD("CONNECT b HTTP/1.1\r\n" HOST "\r\n", 400, 8),
    BAD("CONNECT b: HTTP/1.1\r\n" HOST "\r\n", 400, 8),
    BAD("CONNECT b:0 HTTP/1.1\r\n" HOST "\r\n", 400, 8),
    BAD("CONNECT b:65536 HTTP/1.1\r\n" HOST "\r\n", 400, 8),
    BAD("CONNECT http://b:1/ HTTP/1.1\r\n" HOST "\r\n", 400, 8),
    /* line ends */
    BAD("GET / HTTP/1.1\n" HOST "\r\n", 400, 14), BAD("GET / HTTP/1.1\r" HOST "\r\n", 400, 14),
    BAD("GET / HTTP/1.1\r\r\n" HOST "\r\n", 400, 14),
    BAD("GET / HTTP/1.1\r\nHost: a\n\r\n", 400, 23),
    BAD("GET / HTTP/1.1\r\nHost: a\rX: y\r\n\r\n", 400, 23),
    BAD("GET / HTTP/1.1\r\n" HOST "\n", 400, 25), BAD("GET / HTTP/1.1\r\n" HOST "\rx", 400, 25),
    /* field lines */
    BAD("GET / HTTP/1.1\r\n X: y\r\n" HOST "\r\n", 400, 16),
    BAD("GET / HTTP/1.1\r\nX: y\r\n z\r\n" HOST "\r\n", 400, 22),
    BAD("GET / HTTP/1.1\r\nX: y\r\n\tz: a\r\n" HOST "\r\n", 400, 22),
    BAD("GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400, 20),
    BAD("GET / HTTP/1.1\r\nHost\t: a\r\n\r\n", 400, 20),
    BAD("GET / HTTP/1.1\r\nHo st: a\r\n\r\n", 400, 18),
    BAD("GET / HTTP/1.1\r\n: a\r\n\r\n", 400, 16), BAD("GET / HTTP/1.1\r\nHost\r\n\r\n", 400, 20),
    BAD("GET / HTTP/1.1\r\nNope\r\n\r\n", 400, 20), BAD("GET / HTTP/1.1\r\nX(: a\r\n\r\n", 400, 17),
    BAD("GET / HTTP/1.1\r\nX\xe4: a\r\n\r\n", 400, 17),
    BAD("GET / HTTP/1.1\r\nX: a\0b\r\n\r\n", 400, 20),
    BAD("GET / HTTP/1.1\r\nX: a\x1b\r\n\r\n", 400, 20),
    BAD("GET / HTTP/1.1\r\nX: a\x7f\r\n\r\n", 400, 20),
    BAD("GET / HTTP/1.1\r\nX\0: a\r\n\r\n", 400, 17),
    /* Host */
    BAD("GET / HTTP/1.1\r\nX: y\r\n\r\n", 400, 22), BAD("GET http://b/ HTTP/1.1\r\n\r\n", 400, 24),
    BAD("GET / HTTP/1.1\r\n" HOST HOST "\r\n", 400, 31),
    BAD("GET / HTTP/1.0\r\n" HOST HOST "\r\n", 400, 31),
    BAD("GET http://b/ HTTP/1.1\r\n" HOST HOST "\r\n", 400, 39),
    BAD("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400, 22),
    BAD("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400, 22),
    BAD("GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", 400, 22),
    BAD("GET / HTTP/1.1\r\nHost: a%4\r\n\r\n", 400, 22),
    BAD("GET / HTTP/1.1\r\nHost: :80\r\n\r\n", 400, 22),
    BAD("GET / HTTP/1.1\r\nHost: a:80:80\r\n\r\n", 400, 22),
    BAD("GET / HTTP/1.1\r\nHost: a:-1\r\n\r\n", 400, 22),
    BAD("GET / HTTP/1.1\r\nHost: a:99999\r\n\r\n", 400, 22),
    BAD("GET / HTTP/1.1\r\nHost: ::1\r\n\r\n", 400, 22),
    BAD("GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", 400, 22),
    BAD("GET / HTTP/1.1\r\nHost: [::1]80\r\n\r\n", 400, 22),
    BAD("GET / HTTP/1.1\r\nHost: [::g]\r\n\r\n", 400, 22),
    BAD("GET / HTTP/1.1\r\nHost: [fe80::1%25eth0]\r\n\r\n", 400, 22),
    BAD("GET / HTTP/1.1\r\nHost: \xc3\xa4\r\n\r\n", 400, 22),
    /* Content-Length */
    BAD("POST / HTTP/1.1\r\n" HOST "Content-Length:\r\n\r\n", 400, 41),
    BAD("POST / HTTP/1.1\r\n" HOST "Content-Length: +5\r\n\r\n", 400, 42),
    BAD("POST / HTTP/1.1\r\n" HOST "Content-Length: -5\r\n\r\n", 400, 42),
    BAD("POST / HTTP/1.1\r\n" HOST "Content-Length: 5 5\r\n\r\n", 400, 42),
    BAD("POST / HTTP/1.1\r\n" HOST "Content-Length: 0x5\r\n\r\n", 400, 42),
    BAD("POST / HTTP/1.1\r\n" HOST "Content-Length: 5, 5\r\n\r\n", 400, 42),
    BAD("POST / HTTP/1.1\r\n" HOST "Content-Length: 5,\r\n\r\n", 400, 42),
    BAD("POST / HTTP/1.1\r\n" HOST "Content-Length: 5.0\r\n\r\n", 400, 42),
    BAD("POST / HTTP/1.1\r\n" HOST "Content-Length: 9223372036854775808\r\n\r\n", 400, 42),
    BAD("POST / HTTP/1.1\r\n" HOST "Content-Length: 18446744073709551621\r\n\r\n", 400, 42),
    BAD("POST / HTTP/1.1\r\n" HOST "Content-Length: 5\r\nContent-Length: 5\r\n\r\n", 400, 61),
    BAD("POST / HTTP/1.1\r\n" HOST "Content-Length: 5\r\nContent-Length: 6\r\n\r\n", 400, 61),
    BAD("POST / HTTP/1.1\r\n" HOST "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 400,
        64),
    BAD("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", 400,
        70),
    /* Transfer-Encoding */
    BAD("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400, 36),
    BAD("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: gzip, chunked\r\n\r\n", 501, 45),
    BAD("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: gzip;a=b , chunked\r\n\r\n", 501, 45),
    BAD("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked, gzip\r\n\r\n", 400, 45),
    BAD("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked, chunked\r\n\r\n", 400, 45),
    BAD("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: identity\r\n\r\n", 400, 45),
    BAD("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding:\r\n\r\n", 400, 44),
    BAD("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: \"chunked\"\r\n\r\n", 400, 45),
    BAD("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: xchunked\r\n\r\n", 400, 45),
    BAD("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked;a=b\r\n\r\n", 400, 45),
    BAD("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"
        "\r\n",
        400, 73),
    BAD("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chun\x0bked\r\n\r\n", 400, 49),
    /* the rest */
    BAD("GET / HTTP/1.1\r\n" HOST "Connection: a b\r\n\r\n", 400, 37),
    BAD("CONNECT b:1 HTTP/1.1\r\n" HOST "Content-Length: 1\r\n\r\n", 400, 50),
    BAD("TRACE / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n", 400, 55),
    BAD("\x16\x03\x01\x02", 400, 0), /* the beginning of TLS */
};

static void test_bad(void **state)
{
    (void)state;
    for (size_t i = 0; i < WEFT__ARRAY_LEN(bad); i++) {
        char wanted[64];
        ssize_t n = kit_feed_all(&plain, bad[i].bytes, bad[i].len, text);
        snprintf(wanted, sizeof(wanted), "refused %d %d at %zu: ", WEFT_EPROTOCOL, bad[i].status,
                 bad[i].at);
        if (n >= 0 || strncmp(text, wanted, strlen(wanted)) != 0)
            fail_msg("%s\ngave: %s\nwanted: %s", bad[i].bytes, text, wanted);
    }
}

/* A message of `before`, n times `c`, and `after`. */
static size_t filled(char *out, const char *before, char c, size_t n, const char *after)
{
    size_t len = strlen(before);
    memcpy(out, before, len);
    memset(out + len, c, n);
    memcpy(out + len + n, after, strlen(after) + 1);
    return len + n + strlen(after);
}

static void check_limit(const struct kit_feed *feed, const char *bytes, size_t len, int status,
                        size_t at)
{
    char wanted[64];
    ssize_t n = kit_feed_all(feed, bytes, len, text);
    if (status == 0) {
        if (n != (ssize_t)len)
            fail_msg("%s\nis within its limits, but: %s", bytes, text);
        return;
    }
    snprintf(wanted, sizeof(wanted), "refused %d %d at %zu: ", WEFT_ETOOLONG, status, at);
    if (n >= 0 || strncmp(text, wanted, strlen(wanted)) != 0)
        fail_msg("%s\ngave: %s\nwanted: %s", bytes, text, wanted);
}

static void test_limits(void **state)
{
    static char bytes[4096];
    struct kit_feed feed = {.limits = {.start_line = 100, .field_line = 50, .head = 300}};
    (void)state;

    size_t len = filled(bytes, "GET /", 'x', 86, " HTTP/1.1\r\n" HOST "\r\n");
    check_limit(&feed, bytes, len, 0, 0);
    len = filled(bytes, "GET /", 'x', 87, " HTTP/1.1\r\n" HOST "\r\n");
    check_limit(&feed, bytes, len, 414, 100);
    len = filled(bytes, "GET /", 'x', 1000, "");
    check_limit(&feed, bytes, len, 414, 100);
    /* exactly so many bytes without an end: more may come */
    assert_int_equal(kit_feed_all(&feed, bytes, 100, text), 0);
    assert_int_equal(kit_feed_all(&feed, bytes, 101, text), WEFT_ETOOLONG);

    len = filled(bytes, "GET / HTTP/1.1\r\n" HOST "X: ", 'y', 47, "\r\n\r\n");
    check_limit(&feed, bytes, len, 0, 0);
    len = filled(bytes, "GET / HTTP/1.1\r\n" HOST "X: ", 'y', 48, "\r\n\r\n");
    check_limit(&feed, bytes, len, 431, 75);

    feed.limits = (struct weft__http1_limits){.head = 64};
    len = filled(bytes, "GET / HTTP/1.1\r\n" HOST "X: ", 'y', 32, "\r\n\r\n");
    assert_int_equal(len, 64);
    check_limit(&feed, bytes, len, 0, 0);
    len = filled(bytes, "GET / HTTP/1.1\r\n" HOST "X: ", 'y', 33, "\r\n\r\n");
    check_limit(&feed, bytes, len, 431, 62);
    feed.limits.head = 1;
    check_limit(&feed, "GET", 3, 414, 0);
    for (feed.limits.head = 18; feed.limits.head < 27; feed.limits.head++)
        check_limit(&feed, "GET / HTTP/1.1\r\n" HOST "\r\n", 27, 431, feed.limits.head - 2);
    check_limit(&feed, "GET / HTTP/1.1\r\n" HOST "\r\n", 27, 0, 0);

    feed = (struct kit_feed){.fields_cap = 2};
    check_limit(&feed, "GET / HTTP/1.1\r\n" HOST "X: y\r\n\r\n", 33, 0, 0);
    check_limit(&feed, "GET / HTTP/1.1\r\n" HOST "X: y\r\nZ: z\r\n\r\n", 39, 431, 31);
}

/* The defaults, and a limit above the highest. */
static void test_default_limits(void **state)
{
    struct kit_feed feed = {0};
    size_t size = 70000;
    char *bytes = malloc(size);
    size_t len;
    (void)state;
    assert_non_null(bytes);
    len = filled(bytes, "GET /", 'x', 8192 - 14, " HTTP/1.1\r\n" HOST "\r\n");
    assert_true(kit_feed_pieces(&feed, bytes, &len, 1, text) > 0);
    len = filled(bytes, "GET /", 'x', 8192 - 13, " HTTP/1.1\r\n" HOST "\r\n");
    assert_int_equal(kit_feed_pieces(&feed, bytes, &len, 1, text), WEFT_ETOOLONG);
    len = filled(bytes, "GET / HTTP/1.1\r\n" HOST "X:", 'x', 16382, "\r\n\r\n");
    assert_true(kit_feed_pieces(&feed, bytes, &len, 1, text) > 0);
    len = filled(bytes, "GET / HTTP/1.1\r\n" HOST "X:", 'x', 16383, "\r\n\r\n");
    assert_int_equal(kit_feed_pieces(&feed, bytes, &len, 1, text), WEFT_ETOOLONG);
    feed.limits = (struct weft__http1_limits){
        .head = UINT32_MAX, .field_line = UINT32_MAX, .start_line = UINT32_MAX};
    len = filled(bytes, "GET / HTTP/1.1\r\n" HOST "X:", 'x', 65000, "\r\n\r\n");
    assert_true(kit_feed_pieces(&feed, bytes, &len, 1, text) > 0);
    free(bytes);
}

/* A head that is used again says nothing of the message before. */
static void test_used_again(void **state)
{
    static const char first[] = "POST http://b:1/x?y HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
                                "Expect: 100-continue\r\nContent-Length: 7\r\n\r\n";
    static const char second[] = "GET / HTTP/1.0\r\n\r\n";
    static char fresh[KIT_TEXT];
    struct weft__http1_field fields[KIT_FIELDS];
    struct weft__http1_head h = {.fields = fields, .fields_cap = KIT_FIELDS};
    struct weft__http1_scan scan = {0};
    size_t len = strlen(second);
    (void)state;
    kit_feed_pieces(&plain, second, &len, 1, fresh);
    assert_true(weft__http1_parse_request(&h, &scan, first, strlen(first)) > 0);
    scan = (struct weft__http1_scan){0};
    ssize_t n = weft__http1_parse_request(&h, &scan, second, len);
    kit_head_text(text, &plain, &h, second, n);
    assert_string_equal(text, fresh);
}

/* A head that is used again knows the last Host: it says of the next one what a fresh one says. */
static void test_host_again(void **state)
{
    static const char *const hosts[] = {
        "a.example:80", "a.example:80", "a.example:8", "a.example", "A.example", "[::1]:443",
        "[::1]:443", "[::1]:44a", "[::1]:443", "", "", "a.example", "a.example\r\nHost: a.example",
        /* 56 bytes are remembered, 57 are not */
        "a123456789b123456789c123456789d123456789e123456789f123:7",
        "a123456789b123456789c123456789d123456789e123456789f123:7",
        "a123456789b123456789c123456789d123456789e123456789f1234:7",
        "a123456789b123456789c123456789d123456789e123456789f1234:7",
        "a123456789b123456789c123456789d123456789e123456789f1234:x",
        "a123456789b123456789c123456789d123456789e123456789f123:7", "a", "%", "a"};
    static char fresh[KIT_TEXT], bytes[256];
    struct weft__http1_field fields[KIT_FIELDS];
    struct weft__http1_head h = {.fields = fields, .fields_cap = KIT_FIELDS};
    (void)state;
    for (size_t i = 0; i < WEFT__ARRAY_LEN(hosts); i++) {
        struct weft__http1_scan scan = {0};
        snprintf(bytes, sizeof bytes, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n",
                 i % 4 == 3 ? "http://b:1/" : "/", hosts[i]);
        size_t len = strlen(bytes), all = len;
        ssize_t wanted = kit_feed_pieces(&plain, bytes, &all, 1, fresh);
        ssize_t n = weft__http1_parse_request(&h, &scan, bytes, len);
        assert_int_equal(n, wanted);
        if (n < 0)
            continue;
        kit_head_text(text, &plain, &h, bytes, n);
        assert_string_equal(text, fresh);
    }
}

static void test_find(void **state)
{
    static const char bytes[] =
        "GET / HTTP/1.1\r\nHost: a\r\nCookie: a=1\r\nX-Y: 1\r\nAccept: t/h\r\n"
        "cookie: b=2\r\nx-y: 2\r\nACCEPT: */*\r\n\r\n";
    struct weft__http1_field fields[KIT_FIELDS];
    struct weft__http1_head h = {.fields = fields, .fields_cap = KIT_FIELDS};
    struct weft__http1_scan scan = {0};
    struct weft__slice v;
    char buf[11];
    (void)state;
    assert_true(weft__http1_parse_request(&h, &scan, bytes, strlen(bytes)) > 0);
    assert_true(weft__slice_is(weft__http1_value(&h, bytes, WEFT__HN_HOST), "a"));
    assert_null(weft__http1_value(&h, bytes, WEFT__HN_RANGE).at);
    assert_null(weft__http1_find(&h, WEFT__HN_RANGE, NULL));
    const struct weft__http1_field *f = weft__http1_find_text(&h, bytes, "X-y", NULL);
    assert_non_null(f);
    assert_true(weft__slice_is(weft__http_slice(bytes, f->value), "1"));
    f = weft__http1_find_text(&h, bytes, "x-Y", f);
    assert_non_null(f);
    assert_true(weft__slice_is(weft__http_slice(bytes, f->value), "2"));
    assert_null(weft__http1_find_text(&h, bytes, "x-y", f));
    assert_true(weft__http1_joined(&h, bytes, WEFT__HN_COOKIE, buf, sizeof(buf), &v));
    assert_true(weft__slice_is(v, "a=1; b=2"));
    assert_true(weft__http1_joined(&h, bytes, WEFT__HN_ACCEPT, buf, sizeof(buf), &v));
    assert_true(weft__slice_is(v, "t/h, */*"));
    assert_false(weft__http1_joined(&h, bytes, WEFT__HN_ACCEPT, buf, 7, &v));
    assert_true(weft__http1_joined(&h, bytes, WEFT__HN_HOST, NULL, 0, &v));
    assert_true(weft__slice_is(v, "a"));
    assert_true(weft__http1_joined(&h, bytes, WEFT__HN_RANGE, NULL, 0, &v));
    assert_null(v.at);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),       cmocka_unit_test(test_bad),
        cmocka_unit_test(test_limits),     cmocka_unit_test(test_default_limits),
        cmocka_unit_test(test_used_again), cmocka_unit_test(test_host_again),
        cmocka_unit_test(test_find),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
