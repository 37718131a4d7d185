/* SPDX-License-Identifier: MIT */
/*
 * What the tests of the HTTP/1 parsers share: a message is fed in pieces, each time in a fresh
 * block of exactly the bytes so far (so a sanitizer sees a read past the end, and a pointer into an
 * earlier block is found), and what came of it is written down as text to be compared.
 */
#ifndef HTTP1_KIT_H
#define HTTP1_KIT_H

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
#include "wire/http1.h"

#define KIT_FIELDS 16
#define KIT_TEXT 65536

struct kit_feed {
    bool response;
    enum weft__http_method method; /* of the request that a response answers */
    struct weft__http1_limits limits;
    uint32_t fields_cap; /* 0 = KIT_FIELDS */
};

static const char *kit_span(const char *data, struct weft__http_span s, char *buf, size_t cap)
{
    snprintf(buf, cap, "%.*s", (int)s.len, data + s.at);
    return buf;
}

/* All that a head says, as text. */
static inline void kit_head_text(char *out, const struct kit_feed *feed,
                                 const struct weft__http1_head *h, const char *data, ssize_t n)
{
    static const char *const forms[] = {"origin", "absolute", "authority", "asterisk"};
    static const char *const bodies[] = {"none", "length", "chunked", "close"};
    static char a[KIT_TEXT], b[KIT_TEXT];
    char *end = out + KIT_TEXT;
    char *p = out;
#define SAY(...) p += snprintf(p, (size_t)(end - p), __VA_ARGS__)
    SAY("head %zd 1.%u", n, h->minor);
    if (feed->response)
        SAY(" %d [%s]%s", h->status, kit_span(data, h->reason, a, sizeof(a)),
            h->tunnel ? " tunnel" : "");
    else {
        SAY(" %s [%s] %s", weft__http_method_name(h->method),
            kit_span(data, h->method_name, a, sizeof(a)), forms[h->form]);
        SAY(" target[%s]", kit_span(data, h->target, a, sizeof(a)));
        SAY(" scheme[%s]", kit_span(data, h->scheme, a, sizeof(a)));
        SAY(" host[%s|%s|%d]", kit_span(data, h->authority, a, sizeof(a)),
            kit_span(data, h->host, b, sizeof(b)), h->port);
        SAY(" path[%s]", kit_span(data, h->path, a, sizeof(a)));
        SAY(" query[%s]%s", kit_span(data, h->query, a, sizeof(a)), h->has_query ? "+" : "-");
        SAY("%s%s", h->expect_continue ? " continue" : "", h->expect_other ? " expects" : "");
    }
    SAY(" body %s %llu", bodies[h->body], (unsigned long long)h->length);
    SAY(" length %s%llu", h->has_length ? "" : "-", (unsigned long long)h->content_length);
    SAY("%s%s%s seen %llx", h->keep_alive ? " keep" : "", h->close ? " close" : "",
        h->upgrade ? " upgrade" : "", (unsigned long long)h->seen);
    for (size_t i = 0; i < h->field_count; i++) {
        SAY("\n%d [%s]", h->fields[i].id, kit_span(data, h->fields[i].name, a, sizeof(a)));
        SAY("=[%s]", kit_span(data, h->fields[i].value, a, sizeof(a)));
    }
#undef SAY
}

/*
 * Feeds a head in pieces that end at the positions of `ends`, the last of which is len. Returns
 * what the parser returned last; the text says it all.
 */
static inline ssize_t kit_feed_pieces(const struct kit_feed *feed, const char *bytes,
                                      const size_t *ends, size_t count, char *text)
{
    struct weft__http1_field fields[KIT_FIELDS];
    struct weft__http1_head h = {.fields = fields,
                                 .fields_cap =
                                     feed->fields_cap == 0 ? KIT_FIELDS : feed->fields_cap,
                                 .limits = feed->limits};
    struct weft__http1_scan scan = {0};
    ssize_t n = 0;
    memset(fields, 0xa5, sizeof(fields));
    for (size_t i = 0; i < count && n == 0; i++) {
        char *block = malloc(ends[i] + (ends[i] == 0));
        assert_non_null(block);
        memcpy(block, bytes, ends[i]);
        n = feed->response ? weft__http1_parse_response(&h, &scan, feed->method, block, ends[i])
                           : weft__http1_parse_request(&h, &scan, block, ends[i]);
        if (n > 0) {
            assert_true((size_t)n <= ends[i]);
            kit_head_text(text, feed, &h, block, n);
        } else if (n < 0) {
            snprintf(text, KIT_TEXT, "refused %zd %d at %zu: %s (%s)", n, h.error.status,
                     h.error.at, h.error.why, weft_error_detail());
        } else {
            snprintf(text, KIT_TEXT, "more");
        }
        free(block);
    }
    return n;
}

/* Whole, a byte at a time, and at every split point: the same. Returns the last result. */
static inline ssize_t kit_feed_all(const struct kit_feed *feed, const char *bytes, size_t len,
                                   char *whole)
{
    static char text[KIT_TEXT];
    size_t *ends = calloc(len + 1, sizeof(*ends));
    assert_non_null(ends);
    ssize_t n = kit_feed_pieces(feed, bytes, &len, 1, whole);
    for (size_t i = 0; i <= len; i++)
        ends[i] = i;
    kit_feed_pieces(feed, bytes, ends, len + 1, text);
    assert_string_equal(text, whole);
    free(ends);
    for (size_t split = 0; split < len; split++) {
        size_t two[] = {split, len};
        kit_feed_pieces(feed, bytes, two, 2, text);
        assert_string_equal(text, whole);
    }
    return n;
}

#endif
