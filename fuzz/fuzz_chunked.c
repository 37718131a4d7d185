/* SPDX-License-Identifier: MIT */
/*
 * Fuzzes chunked bodies. Input: flags and piece, the bytes. Checked for every input: whole and in
 * pieces it gives the same body, trailers and error; a body that was read, encoded again in other
 * chunks, is read as itself.
 */
#include "http1_fuzz.h"
#include "wire/http1.h"

#define FIELDS 8

struct seen {
    uint64_t body;  /* a hash of its bytes */
    uint64_t other; /* of all else */
    uint64_t bytes;
    int result;
};

static struct seen feed(const char *bytes, size_t len, size_t piece, bool small, bool keep)
{
    struct weft__http1_chunked_limits limits = {.body_max = small ? 20 : UINT64_MAX,
                                                .size_line = small ? 12 : 0,
                                                .extensions = small ? 30 : 0,
                                                .trailers = small ? 40 : 0,
                                                .trailer_line = small ? 16 : 0};
    struct weft__http1_field fields[FIELDS];
    struct weft__http1_chunked c;
    struct seen s = {0xcbf29ce484222325u, 0xcbf29ce484222325u, 0, WEFT__HTTP1_MORE};
    size_t start = 0;
    size_t end = 0;

    weft__http1_chunked_init(&c, &limits, keep ? fields : NULL, keep ? FIELDS : 0);
    while (s.result == WEFT__HTTP1_DATA || (s.result == WEFT__HTTP1_MORE && end < len)) {
        if (s.result == WEFT__HTTP1_MORE)
            end += weft__min_size(piece, len - end);
        struct weft__slice body = {0};
        size_t used = 0;
        char *block = fuzz_copy(bytes + start, end - start);
        s.result = weft__http1_chunked_next(&c, block, end - start, &used, &body);
        WEFT__ASSERT(used <= end - start);
        if (s.result == WEFT__HTTP1_DATA) {
            WEFT__ASSERT(body.len > 0);
            fuzz_inside(block, used, body);
            fuzz_note(&s.body, body.at, body.len);
            s.bytes += body.len;
            WEFT__ASSERT(s.bytes == c.body_bytes && s.bytes <= limits.body_max);
        } else if (s.result == WEFT__HTTP1_END) {
            for (uint32_t i = 0; i < c.field_count; i++) {
                struct weft__slice name = weft__http_slice(block, fields[i].name);
                struct weft__slice value = weft__http_slice(block, fields[i].value);
                fuzz_inside(block, used, name);
                fuzz_inside(block, used, value);
                WEFT__ASSERT(weft__http_token(name) && weft__http_value(value));
                fuzz_note_slice(&s.other, name);
                fuzz_note_slice(&s.other, value);
            }
            fuzz_note_number(&s.other, start + used);
        } else if (s.result < 0) {
            WEFT__ASSERT(c.error.at <= end && c.error.status >= 400);
            fuzz_note_number(&s.other, c.error.at);
            fuzz_note(&s.other, c.error.why, strlen(c.error.why));
        }
        start += used;
        weft__free(block);
    }
    return s;
}

/* Chunks the input itself and decodes that. */
static void round_trip(const char *bytes, size_t len, size_t chunk)
{
    size_t cap = len * (WEFT__HTTP1_CHUNK_HEAD + 3) + 16;
    char *out = weft__alloc(cap);
    WEFT__ASSERT(out != NULL);
    struct weft__writer w = weft__writer_of(out, cap);
    uint64_t hash = 0xcbf29ce484222325u;
    fuzz_note(&hash, bytes, len);
    for (size_t at = 0; at < len; at += chunk) {
        char head[WEFT__HTTP1_CHUNK_HEAD];
        size_t n = weft__min_size(chunk, len - at);
        weft__writer_bytes(&w, head, weft__http1_chunk_head(head, n));
        weft__writer_bytes(&w, bytes + at, n);
        weft__writer_text(&w, WEFT__HTTP1_CHUNK_TAIL);
    }
    weft__writer_text(&w, WEFT__HTTP1_CHUNK_LAST);
    WEFT__ASSERT(!w.full);
    struct seen s = feed(out, w.pos, 7, false, false);
    WEFT__ASSERT(s.result == WEFT__HTTP1_END && s.bytes == len && s.body == hash);
    weft__free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    size_t piece = (size_t)data[0] % 16 + 1;
    bool small = (data[0] & 0x10) != 0;
    bool keep = (data[0] & 0x20) != 0;
    const char *bytes = (const char *)data + 1;
    size_t len = weft__min_size(size - 1, 4096);
    struct seen whole = feed(bytes, len, len + 1, small, keep);
    struct seen pieces = feed(bytes, len, piece, small, keep);
    WEFT__ASSERT(whole.result == pieces.result && whole.bytes == pieces.bytes);
    WEFT__ASSERT(whole.body == pieces.body && whole.other == pieces.other);
    round_trip(bytes, len, piece);
    return 0;
}
