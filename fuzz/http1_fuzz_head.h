/* SPDX-License-Identifier: MIT */
/*
 * Heads of HTTP/1 in pieces, for the fuzzers of requests and of responses. Checked for every input:
 * whole, in pieces and once more it gives the same; no span lies outside the head; a refusal has a
 * status, a sentence and a position within the bytes; what is kept of framing is one thing and no
 * other.
 */
#ifndef WEFT__FUZZ_HTTP1_FUZZ_HEAD_H
#define WEFT__FUZZ_HTTP1_FUZZ_HEAD_H

#include "http1_fuzz.h"
#include "wire/http1.h"

#define FUZZ_FIELDS 12

struct fuzz_head {
    uint64_t hash;
    ssize_t result;
    struct weft__http1_head h;
    struct weft__http1_field fields[FUZZ_FIELDS];
};

static inline void fuzz_span(struct fuzz_head *f, const char *data, struct weft__http_span s)
{
    WEFT__ASSERT((size_t)s.at + s.len <= (size_t)f->result);
    fuzz_note_slice(&f->hash, weft__http_slice(data, s));
}

/* What holds of every head that was read. */
static inline void fuzz_head_check(struct fuzz_head *f, const char *data, bool response)
{
    const struct weft__http1_head *h = &f->h;
    bool te = weft__http1_find(h, WEFT__HN_TRANSFER_ENCODING, NULL) != NULL;
    WEFT__ASSERT(data[f->result - 1] == '\n' && data[f->result - 2] == '\r');
    WEFT__ASSERT(!(te && h->has_length) && !(te && h->minor == 0));
    WEFT__ASSERT((h->body == WEFT__HTTP1_LENGTH) == (h->length > 0));
    WEFT__ASSERT(h->body != WEFT__HTTP1_CHUNKED || te);
    WEFT__ASSERT(h->body != WEFT__HTTP1_CLOSE || (response && !h->keep_alive));
    WEFT__ASSERT(!(h->close && h->keep_alive));
    if (!response) {
        const struct weft__http1_field *host = weft__http1_find(h, WEFT__HN_HOST, NULL);
        WEFT__ASSERT(host != NULL || h->minor == 0);
        WEFT__ASSERT(host == NULL || weft__http1_find(h, WEFT__HN_HOST, host) == NULL);
        WEFT__ASSERT((h->form == WEFT__HTTP1_AUTHORITY) == (h->method == WEFT__HTTP_CONNECT));
    }
    for (uint32_t i = 0; i < h->field_count; i++) {
        struct weft__slice name = weft__http_slice(data, h->fields[i].name);
        struct weft__slice value = weft__http_slice(data, h->fields[i].value);
        WEFT__ASSERT(weft__http_token(name) && weft__http_value(value));
        WEFT__ASSERT(weft__http_name_of(name) == h->fields[i].id);
        fuzz_span(f, data, h->fields[i].name);
        fuzz_span(f, data, h->fields[i].value);
    }
}

/* Feeds the message in pieces; each comes in a block of its own. The head keeps what it knew. */
static inline void fuzz_head_feed(struct fuzz_head *f, const char *bytes, size_t len, size_t piece,
                                  bool response, enum weft__http_method method,
                                  const struct weft__http1_limits *limits)
{
    struct weft__http1_scan scan = {0};
    struct weft__http1_host known = f->h.known;
    size_t end = 0;
    memset(f, 0, sizeof(*f));
    f->h.known = known;
    f->h.fields = f->fields;
    f->h.fields_cap = FUZZ_FIELDS;
    f->h.limits = *limits;
    f->hash = 0xcbf29ce484222325u;
    for (;;) {
        end += weft__min_size(piece, len - end);
        char *block = fuzz_copy(bytes, end);
        f->result = response ? weft__http1_parse_response(&f->h, &scan, method, block, end)
                             : weft__http1_parse_request(&f->h, &scan, block, end);
        WEFT__ASSERT(f->result <= (ssize_t)end);
        if (f->result > 0) {
            const struct weft__http1_head *h = &f->h;
            const struct weft__http_span spans[] = {h->method_name, h->target, h->scheme,
                                                    h->authority,   h->host,   h->path,
                                                    h->query,       h->reason};
            fuzz_head_check(f, block, response);
            for (size_t i = 0; i < WEFT__ARRAY_LEN(spans); i++)
                fuzz_span(f, block, spans[i]);
            const uint64_t numbers[] = {
                h->seen,           h->minor,           h->keep_alive,   h->close,
                h->upgrade,        h->has_length,      h->body,         h->length,
                h->content_length, h->method,          h->form,         (uint64_t)h->port,
                h->has_query,      h->expect_continue, h->expect_other, (uint64_t)h->status,
                h->tunnel};
            fuzz_note(&f->hash, numbers, sizeof(numbers));
        } else if (f->result < 0) {
            const struct weft__http1_error *e = &f->h.error;
            WEFT__ASSERT(f->result == WEFT_EPROTOCOL || f->result == WEFT_ETOOLONG);
            WEFT__ASSERT(e->status >= 400 && e->status < 600 && e->why != NULL && e->at <= end);
            fuzz_note_number(&f->hash, (uint64_t)e->status);
            fuzz_note_number(&f->hash, e->at);
            fuzz_note(&f->hash, e->why, strlen(e->why));
        }
        weft__free(block);
        if (f->result != 0 || end == len)
            return;
    }
}

static inline void fuzz_head(const uint8_t *data, size_t size, bool response)
{
    if (size < 2)
        return;
    struct weft__http1_limits limits = {0};
    struct fuzz_head whole = {0};
    struct fuzz_head pieces = {0};
    enum weft__http_method method = (enum weft__http_method)(data[0] % WEFT__HTTP_METHODS);
    size_t piece = (size_t)data[1] % 16 + 1;
    if (data[1] & 0x10)
        limits = (struct weft__http1_limits){.start_line = 40, .field_line = 30, .head = 120};
    const char *bytes = (const char *)data + 2;
    size_t len = weft__min_size(size - 2, 4096);
    fuzz_head_feed(&whole, bytes, len, len + 1, response, method, &limits);
    fuzz_head_feed(&pieces, bytes, len, piece, response, method, &limits);
    WEFT__ASSERT(whole.result == pieces.result && whole.hash == pieces.hash);
    /* Again, with what the head knows from before. */
    fuzz_head_feed(&pieces, bytes, len, len + 1, response, method, &limits);
    WEFT__ASSERT(whole.result == pieces.result && whole.hash == pieces.hash);
}

#endif
