/* SPDX-License-Identifier: MIT */
/*
 * Fuzzes multipart bodies. Input: flags and piece, the length of the boundary and its bytes, the
 * body. Checked for every input: whole and in pieces it gives the same parts and error; a decoder
 * that asks for more holds less than its window; no content holds the delimiter.
 */
#include "http1_fuzz.h"
#include "wire/multipart.h"

struct seen {
    uint64_t hash;
    uint64_t content;
    int result;
};

static void note_part(struct seen *s, const struct weft__multipart *m, const char *block,
                      size_t used, bool form)
{
    for (uint32_t i = 0; i < m->field_count; i++) {
        struct weft__slice name = weft__http_slice(block, m->fields[i].name);
        struct weft__slice value = weft__http_slice(block, m->fields[i].value);
        fuzz_inside(block, used, name);
        fuzz_inside(block, used, value);
        fuzz_note_slice(&s->hash, name);
        fuzz_note_slice(&s->hash, value);
    }
    if (form) {
        WEFT__ASSERT(m->disposition.has_name);
        WEFT__ASSERT(strpbrk(m->disposition.filename, "/\\") == NULL);
        fuzz_note(&s->hash, m->disposition.name, strlen(m->disposition.name) + 1);
        fuzz_note(&s->hash, m->disposition.filename, strlen(m->disposition.filename) + 1);
    }
}

static struct seen feed(const char *bytes, size_t len, size_t piece, struct weft__slice boundary,
                        unsigned flags)
{
    bool small = (flags & 0x10) != 0;
    bool form = (flags & 0x20) != 0;
    struct weft__multipart_limits limits = {.parts = small ? 3 : 0,
                                            .head = small ? 60 : 0,
                                            .line = small ? 50 : 0,
                                            .preamble = small ? 10 : 0,
                                            .part = small ? 20 : 0};
    struct weft__multipart m;
    struct seen s = {0xcbf29ce484222325u, 0, 0};
    size_t start = 0;
    size_t end = 0;

    if (weft__multipart_init(&m, boundary, form, &limits) < 0)
        return s;
    while (s.result >= 0 && s.result != WEFT__MULTIPART_END && !(s.result == 0 && end == len)) {
        if (s.result == WEFT__MULTIPART_MORE)
            end += weft__min_size(piece, len - end);
        size_t used = 0;
        char *block = fuzz_copy(bytes + start, end - start);
        s.result = weft__multipart_next(&m, block, end - start, &used);
        WEFT__ASSERT(used <= end - start);
        if (s.result == WEFT__MULTIPART_DATA) {
            WEFT__ASSERT(m.data.len > 0);
            fuzz_inside(block, used, m.data);
            WEFT__ASSERT(memmem(m.data.at, m.data.len, m.delimiter, m.delimiter_len) == NULL);
            fuzz_note(&s.hash, m.data.at, m.data.len);
            s.content += m.data.len;
        } else if (s.result == WEFT__MULTIPART_MORE) {
            WEFT__ASSERT(end - start - used < weft__multipart_window(&m));
        } else {
            fuzz_note_number(&s.hash, (uint64_t)s.result);
        }
        if (s.result == WEFT__MULTIPART_PART)
            note_part(&s, &m, block, used, form);
        if (s.result == WEFT__MULTIPART_END)
            fuzz_note_number(&s.hash, start + used);
        if (s.result < 0) {
            WEFT__ASSERT(m.error.at <= end);
            fuzz_note_number(&s.hash, m.error.at);
            fuzz_note(&s.hash, m.error.why, strlen(m.error.why));
        }
        start += used;
        weft__free(block);
    }
    return s;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2 || (size_t)data[1] % 72 > size - 2)
        return 0;
    struct weft__slice boundary = weft__slice_of(data + 2, (size_t)data[1] % 72);
    const char *bytes = (const char *)data + 2 + boundary.len;
    size_t len = weft__min_size(size - 2 - boundary.len, 4096);
    struct seen whole = feed(bytes, len, len + 1, boundary, data[0]);
    struct seen pieces = feed(bytes, len, (size_t)data[0] % 16 + 1, boundary, data[0]);
    WEFT__ASSERT(whole.result == pieces.result && whole.hash == pieces.hash);
    WEFT__ASSERT(whole.content == pieces.content);
    return 0;
}
