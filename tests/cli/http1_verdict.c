/* SPDX-License-Identifier: MIT */
/*
 * What Weft's HTTP/1 parser makes of streams of bytes. For test_http_differential.py: reads records
 * from stdin (length in 4 bytes, big endian, then the bytes) and prints a line of JSON for each:
 * the requests that were read to their end, as [method, target, minor version, body in hex], why it
 * stopped ("refused", "more", "end", "closed"), the status and the sentence of a refusal.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "wire/http1.h"

#define FIELDS 100
#define RECORD_MAX (1u << 20)

struct body {
    char *bytes;
    size_t len;
};

static void print_hex(const char *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        printf("%02x", (unsigned char)bytes[i]);
}

/* A text of visible characters; those that JSON escapes are escaped. */
static void print_text(const char *at, size_t len)
{
    for (size_t i = 0; i < len; i++)
        printf(at[i] == '"' || at[i] == '\\' ? "\\%c" : "%c", at[i]);
}

static void print_request(const struct weft__http1_head *h, const char *data,
                          const struct body *body, bool first)
{
    printf("%s[\"", first ? "" : ", ");
    print_text(data + h->method_name.at, h->method_name.len);
    printf("\", \"");
    print_text(data + h->target.at, h->target.len);
    printf("\", %u, \"", h->minor);
    print_hex(body->bytes, body->len);
    printf("\"]");
}

/* Reads the body. Returns its length in the stream, -1 when it is not complete, -2 refused. */
static ssize_t read_body(const struct weft__http1_head *h, const char *data, size_t len,
                         struct body *body, struct weft__http1_error *e)
{
    struct weft__http1_chunked c = {.limits = {.body_max = UINT64_MAX}};
    size_t at = 0;
    body->len = 0;
    if (h->body == WEFT__HTTP1_NO_BODY)
        return 0;
    if (h->body == WEFT__HTTP1_LENGTH) {
        if (h->length > len)
            return -1;
        memcpy(body->bytes, data, (size_t)h->length);
        body->len = (size_t)h->length;
        return (ssize_t)h->length;
    }
    for (;;) {
        struct weft__slice piece;
        size_t used = 0;
        int r = weft__http1_chunked_next(&c, data + at, len - at, &used, &piece);
        if (r < 0) {
            *e = c.error;
            return -2;
        }
        at += used;
        if (r == WEFT__HTTP1_END)
            return (ssize_t)at;
        if (r == WEFT__HTTP1_MORE)
            return -1;
        memcpy(body->bytes + body->len, piece.at, piece.len);
        body->len += piece.len;
    }
}

static void verdict(const char *data, size_t len, struct body *body)
{
    struct weft__http1_field fields[FIELDS];
    struct weft__http1_head h = {.fields = fields, .fields_cap = FIELDS};
    struct weft__http1_error e = {0};
    const char *stopped = "end";
    size_t at = 0;
    printf("{\"requests\": [");
    for (bool first = true; at < len; first = false) {
        struct weft__http1_scan scan = {0};
        ssize_t n = weft__http1_parse_request(&h, &scan, data + at, len - at);
        if (n <= 0) {
            stopped = n == 0 ? "more" : "refused";
            e = n < 0 ? h.error : e;
            break;
        }
        ssize_t b = read_body(&h, data + at + n, len - at - (size_t)n, body, &e);
        if (b < 0) {
            stopped = b == -1 ? "more" : "refused";
            break;
        }
        print_request(&h, data + at, body, first);
        at += (size_t)n + (size_t)b;
        if (!h.keep_alive || h.upgrade || h.method == WEFT__HTTP_CONNECT) {
            stopped = "closed"; /* or what follows need not be HTTP */
            break;
        }
    }
    printf("], \"stopped\": \"%s\", \"status\": %d, \"why\": \"%s\"}\n", stopped, e.status,
           e.why == NULL ? "" : e.why);
}

int main(void)
{
    unsigned char prefix[4];
    char *data = malloc(RECORD_MAX);
    struct body body = {.bytes = malloc(RECORD_MAX)};
    if (data == NULL || body.bytes == NULL)
        return 1;
    while (fread(prefix, 1, sizeof(prefix), stdin) == sizeof(prefix)) {
        struct weft__reader r = weft__reader_of(prefix, sizeof(prefix));
        uint64_t len = 0;
        (void)weft__reader_number(&r, 4, &len);
        if (len > RECORD_MAX || fread(data, 1, (size_t)len, stdin) != len) {
            fprintf(stderr, "http1_verdict: a record is too long or not complete\n");
            return 2;
        }
        verdict(data, (size_t)len, &body);
    }
    free(data);
    free(body.bytes);
    return 0;
}
