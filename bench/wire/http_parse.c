/* SPDX-License-Identifier: MIT */
/*
 * What reading a head of HTTP/1 costs: nanoseconds a message and GB/s, for a small GET as load
 * generators send it, a browser's, one with a long URL and cookie, a response, and a chunked body.
 *
 * Not a program like the others of bench/: it measures a part of the library that is not public,
 * so it is linked with the internals. The thread's CPU time is measured; each figure is the median
 * of nine runs, and the fastest stands behind it.
 *
 * usage: http_parse [MILLISECONDS a run]
 *
 * Invariants: exit 0 when the bar for the small GET is met, 1 when it is missed, 2 for wrong usage.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "wire/http1.h"

#define RUNS 9
#define FIELDS 64
#define BAR_NS 150.0

static const char small_get[] = "GET /plaintext HTTP/1.1\r\n"
                                "Host: localhost:8080\r\n"
                                "Connection: keep-alive\r\n\r\n";

static const char browser_get[] =
    "GET /wp-content/uploads/2010/03/hello-kitty-darth-vader-pink.jpg HTTP/1.1\r\n"
    "Host: www.kittyhell.com\r\n"
    "User-Agent: Mozilla/5.0 (Macintosh; U; Intel Mac OS X 10.6; ja-JP-mac; rv:1.9.2.3) "
    "Gecko/20100401 Firefox/3.6.3 Pathtraq/0.9\r\n"
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n"
    "Accept-Language: ja,en-us;q=0.7,en;q=0.3\r\n"
    "Accept-Encoding: gzip,deflate\r\n"
    "Accept-Charset: Shift_JIS,utf-8;q=0.7,*;q=0.7\r\n"
    "Keep-Alive: 115\r\n"
    "Connection: keep-alive\r\n"
    "Cookie: wp_ozh_wsa_visits=2; wp_ozh_wsa_visit_lasttime=xxxxxxxxxx; "
    "__utma=xxxxxxxxx.xxxxxxxxxx.xxxxxxxxxx.xxxxxxxxxx.xxxxxxxxxx.x; "
    "__utmz=xxxxxxxxx.xxxxxxxxxx.x.x.utmccn=(referral)|utmcsr=reader.livedoor.com|"
    "utmcct=/reader/|utmcmd=referral\r\n\r\n";

static const char response[] = "HTTP/1.1 200 OK\r\n"
                               "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
                               "Server: weft\r\n"
                               "Content-Type: application/json\r\n"
                               "Content-Length: 27\r\n"
                               "ETag: \"33a64df5\"\r\n"
                               "Cache-Control: no-cache\r\n\r\n";

static int64_t cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void must(bool holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "http_parse: %s\n", what);
        exit(2);
    }
}

static void parse(const char *data, size_t len, bool is_response)
{
    static struct weft__http1_field fields[FIELDS];
    static struct weft__http1_head h = {.fields = fields, .fields_cap = FIELDS};
    struct weft__http1_scan scan = {0};
    ssize_t n = is_response ? weft__http1_parse_response(&h, &scan, WEFT__HTTP_GET, data, len)
                            : weft__http1_parse_request(&h, &scan, data, len);
    must(n == (ssize_t)len, "a head was not read as a whole");
}

static void chunks(const char *data, size_t len, bool unused)
{
    struct weft__http1_chunked c = {.limits = {.body_max = UINT64_MAX}};
    struct weft__slice body;
    size_t at = 0;
    int r;
    (void)unused;
    do {
        size_t used = 0;
        r = weft__http1_chunked_next(&c, data + at, len - at, &used, &body);
        must(r > 0, "a chunked body was not read");
        at += used;
    } while (r != WEFT__HTTP1_END);
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The median of the runs, in nanoseconds a message. */
static double measure(const char *name, void (*fn)(const char *, size_t, bool), const char *data,
                      size_t len, bool is_response, int64_t run_ns)
{
    double ns[RUNS];
    for (size_t run = 0; run < RUNS; run++) {
        int64_t start = cpu_ns();
        int64_t now = start;
        uint64_t count = 0;
        while (now - start < run_ns) {
            for (int i = 0; i < 1000; i++)
                fn(data, len, is_response);
            count += 1000;
            now = cpu_ns();
        }
        ns[run] = (double)(now - start) / (double)count;
    }
    qsort(ns, RUNS, sizeof(ns[0]), compare);
    printf("%-22s %6zu bytes  %8.1f ns (%.1f)  %6.2f GB/s\n", name, len, ns[RUNS / 2], ns[0],
           (double)len / ns[RUNS / 2]);
    return ns[RUNS / 2];
}

int main(int argc, char **argv)
{
    static char long_get[8192];
    static char body[65536];
    long ms = argc > 1 ? strtol(argv[1], NULL, 10) : 100;
    if (argc > 2 || ms < 1 || ms > 10000) {
        fprintf(stderr, "usage: http_parse [MILLISECONDS a run]\n");
        return 2;
    }
    size_t n = (size_t)snprintf(long_get, sizeof(long_get), "GET /search?q=");
    memset(long_get + n, 'a', 1500);
    n += 1500;
    n += (size_t)snprintf(long_get + n, sizeof(long_get) - n,
                          " HTTP/1.1\r\nHost: example.org\r\nX-Long-And-Unknown: ");
    memset(long_get + n, 'b', 4000);
    n += 4000;
    n += (size_t)snprintf(long_get + n, sizeof(long_get) - n, "\r\n\r\n");

    size_t b = 0;
    for (int i = 0; i < 100; i++) {
        b += weft__http1_chunk_head(body + b, 512);
        memset(body + b, 'x', 512);
        b += 512;
        memcpy(body + b, "\r\n", 2);
        b += 2;
    }
    memcpy(body + b, WEFT__HTTP1_CHUNK_LAST, 5);
    b += 5;

    int64_t run_ns = (int64_t)ms * 1000000;
    double ns = measure("small GET", parse, small_get, strlen(small_get), false, run_ns);
    measure("a browser's GET", parse, browser_get, strlen(browser_get), false, run_ns);
    measure("long URL and field", parse, long_get, n, false, run_ns);
    measure("response", parse, response, strlen(response), true, run_ns);
    measure("100 chunks of 512", chunks, body, b, false, run_ns);
    if (ns > BAR_NS)
        printf("the bar for a small GET, %.0f ns, is missed\n", BAR_NS);
    return ns > BAR_NS ? 1 : 0;
}
