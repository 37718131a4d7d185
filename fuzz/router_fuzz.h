/* SPDX-License-Identifier: MIT */
#ifndef WEFT_FUZZ_ROUTER_FUZZ_H
#define WEFT_FUZZ_ROUTER_FUZZ_H
/*
 * Paths against a tree of routes, for the fuzzer and for the test that replays its corpus.
 *
 * Input: a path, in which bytes that no path may hold are replaced. Checked: no segment is "." or
 * ".." or holds a NUL, however it was written; decoding is what a plain decoder makes of the
 * segment; the route that is found is the one that a search over all patterns finds by the rules of
 * http_server.h (a literal before ":name", ":name" before "*rest").
 */
#include <errno.h>
#include <string.h>

#include <weft/error.h>

#include "base/base.h"
#include "http/router.h"
#include "wire/http.h"

static int router_fuzz_handler(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    (void)q, (void)r, (void)arg;
    return 0;
}

static const char *const router_fuzz_routes[] = {
    "GET /",     "GET /a",      "GET /a/b",       "GET /a/:x",     "GET /a/:x/c", "GET /a/:x/:y",
    "GET /a/*r", "GET /:x/b/c", "GET /:x/b/:y/d", "GET /files/*r", "GET /b/c/d/", "GET /:x/q//z",
};

static int router_fuzz_hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 32);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* A segment decoded by the shortest code; false: it cannot be served. */
static bool router_fuzz_decode(struct weft__slice raw, char *out, size_t *len)
{
    *len = 0;
    for (size_t i = 0; i < raw.len; i++) {
        char c = raw.at[i];
        if (c == '%') {
            int a = i + 2 < raw.len + 0 ? router_fuzz_hex(raw.at[i + 1]) : -1;
            int b = i + 2 < raw.len + 0 ? router_fuzz_hex(raw.at[i + 2]) : -1;
            if (a < 0 || b < 0 || (a == 0 && b == 0))
                return false;
            c = (char)(a << 4 | b);
            i += 2;
        }
        if (c == '\0')
            return false;
        out[(*len)++] = c;
    }
    return !(*len == 1 && out[0] == '.') && !(*len == 2 && out[0] == '.' && out[1] == '.');
}

static void router_fuzz_split(const struct weft__http_path *p, struct weft__slice path, int res)
{
    static char out[8192];
    struct weft__slice left = weft__slice_from(path, 1);
    bool good = true;
    for (size_t i = 0; good; i++) {
        size_t slash = weft__slice_find(left, '/', 0), len;
        good = router_fuzz_decode(weft__slice_part(left, 0, slash), out, &len);
        if (good && res == 0) {
            WEFT__ASSERT(i < p->n && p->segments[i].len == len);
            WEFT__ASSERT(memcmp(p->segments[i].at, out, len) == 0);
        }
        if (slash == left.len) {
            WEFT__ASSERT(res != 0 || !good || i + 1 == p->n);
            break;
        }
        left = weft__slice_from(left, slash + 1);
    }
    WEFT__ASSERT(good || res != 0);
    WEFT__ASSERT(!good || res == 0 || res == WEFT_ELIMIT);
}

/* How a pattern goes with the path, a letter a segment: 'a' text, 'b' a name, 'c' the rest; false:
 * not at all. */
static bool router_fuzz_goes(const char *pattern, const struct weft__http_path *p, char *how)
{
    struct weft__slice left = weft__slice_from(weft__slice_text(pattern), strlen("GET /"));
    for (size_t i = 0;; i++) {
        size_t slash = weft__slice_find(left, '/', 0);
        struct weft__slice s = weft__slice_part(left, 0, slash);
        if (i == p->n)
            return false;
        how[i] = s.len > 0 && s.at[0] == ':' ? 'b' : s.len > 0 && s.at[0] == '*' ? 'c' : 'a';
        how[i + 1] = '\0';
        if (how[i] == 'c')
            return true;
        if (how[i] == 'b' ? p->segments[i].len == 0 : !weft__slice_equal(s, p->segments[i]))
            return false;
        if (slash == left.len)
            return i + 1 == p->n;
        left = weft__slice_from(left, slash + 1);
    }
}

/* The pattern whose letters come first of all those that go. */
static const char *router_fuzz_best(const struct weft__http_path *p)
{
    char how[WEFT__ROUTE_SEGMENTS_MAX + 2], best[WEFT__ROUTE_SEGMENTS_MAX + 2] = "z";
    const char *found = NULL;
    for (size_t i = 0; i < WEFT__ARRAY_LEN(router_fuzz_routes); i++) {
        if (!router_fuzz_goes(router_fuzz_routes[i], p, how) || strcmp(how, best) >= 0)
            continue;
        found = router_fuzz_routes[i];
        memcpy(best, how, sizeof best);
    }
    return found;
}

static void router_fuzz_one(const uint8_t *data, size_t size)
{
    struct weft__router router = {0};
    struct weft__http_path p;
    struct weft__arena a;
    struct weft__route_match m;
    char first[4096] __attribute__((aligned(16)));
    char path[4096];
    size_t len = weft__min_size(size, sizeof path - 1);
    path[0] = '/';
    for (size_t i = 0; i < len; i++) { /* the parsers let nothing else through */
        struct weft__slice c = weft__slice_of(data + i, 1);
        path[i + 1] = weft__http_all(c, WEFT__HC_PATH) ? c.at[0] : "/%.:a"[data[i] % 5];
    }
    weft__arena_init(&a, first, sizeof first, 1 << 20);
    for (size_t i = 0; i < WEFT__ARRAY_LEN(router_fuzz_routes); i++) {
        int err = weft__router_add(&router, router_fuzz_routes[i], NULL, router_fuzz_handler, NULL);
        WEFT__ASSERT(err == 0);
    }
    struct weft__slice text = weft__slice_of(path, len + 1);
    int res = weft__http_path_split(&p, text, &a);
    WEFT__ASSERT(res == 0 || res == -EINVAL || res == WEFT_ELIMIT);
    router_fuzz_split(&p, text, res);
    if (res == 0) {
        struct weft__route_match short_cut;
        weft__router_match(&router, &p, WEFT_HTTP_GET, weft__slice_text("GET"), &m);
        if (weft__router_match_literal(&router, text, WEFT_HTTP_GET, weft__slice_text("GET"),
                                       &short_cut))
            WEFT__ASSERT(short_cut.route == m.route && m.n_params == 0);
        const char *best = router_fuzz_best(&p);
        WEFT__ASSERT((best == NULL) == (m.route == NULL));
        WEFT__ASSERT(best == NULL || (m.any_path && strcmp(best, m.route->pattern) == 0));
        WEFT__ASSERT(m.n_params <= p.n);
        for (size_t i = 0; i < m.n_params; i++)
            WEFT__ASSERT(m.at[i] < p.n);
        const char *joined = weft__http_path_join(&p, 0, &a);
        WEFT__ASSERT(joined != NULL);
        WEFT__ASSERT(strlen(joined) <= 3 * len + p.n);
    }
    weft__router_fini(&router);
    weft__arena_reset(&a);
}

#endif
