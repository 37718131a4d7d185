/* SPDX-License-Identifier: MIT */
/*
 * Fuzzes ranges. Input: the size as two bytes (the second is how far it is shifted), the value.
 * Checked for every input: ranges lie within the size, none overlap or touch another, so that what
 * is sent is never more than there is; each can be written as a Content-Range and read again; for
 * small sizes each byte is in a range exactly when one that was asked for holds it.
 */
#include <errno.h>

#include "http1_fuzz.h"
#include "wire/http_field.h"

/* Asks for the byte alone, by the grammar of RFC 9110 section 14.1.2, in the simplest way. */
static bool asked_for(struct weft__slice value, uint64_t size, uint64_t at)
{
    struct weft__slice rest = weft__slice_from(weft__slice_trim(value), 6);
    struct weft__slice item;
    bool found = false;
    while (weft__http_list_next(&rest, &item)) {
        size_t dash = weft__slice_find(item, '-', 0);
        uint64_t first = 0;
        uint64_t last = UINT64_MAX;
        bool has_first = weft__http_decimal(weft__slice_part(item, 0, dash), &first);
        bool has_last = weft__http_decimal(weft__slice_from(item, dash + 1), &last);
        if (!has_first && dash > 0)
            first = UINT64_MAX; /* too large for a number */
        if (dash > 0)
            found = found || (at >= first && (!has_last || at <= last));
        else
            found = found || !has_last || at + last >= size;
    }
    return found;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct weft__http_range r[WEFT__HTTP_RANGES_MAX];
    char buf[WEFT__HTTP_CONTENT_RANGE_CAP];
    struct weft__http_content_range c;
    if (size < 2)
        return 0;
    uint64_t of = (uint64_t)data[0] << data[1] % 57;
    size_t len = weft__min_size(size - 2, 2048);
    char *copy = fuzz_copy(data + 2, len);
    struct weft__slice value = weft__slice_of(copy, len);
    int n = weft__http_range_parse(value, of, r);
    WEFT__ASSERT((n >= 0 && n <= WEFT__HTTP_RANGES_MAX) || n == -ERANGE);
    uint64_t sum = 0;
    for (int i = 0; i < n; i++) {
        WEFT__ASSERT(r[i].first <= r[i].last && r[i].last < of);
        sum += r[i].last - r[i].first + 1;
        for (int k = 0; k < i; k++)
            WEFT__ASSERT(r[i].first > r[k].last + 1 || r[k].first > r[i].last + 1);
        weft__http_content_range_format(&r[i], of, buf);
        WEFT__ASSERT(weft__http_content_range_parse(weft__slice_text(buf), &c));
        WEFT__ASSERT(c.range.first == r[i].first && c.range.last == r[i].last && c.size == of);
    }
    WEFT__ASSERT(sum <= of);
    for (uint64_t at = 0; n > 0 && of <= 255 && at < of; at++) {
        bool in = false;
        for (int i = 0; i < n; i++)
            in = in || (at >= r[i].first && at <= r[i].last);
        WEFT__ASSERT(in == asked_for(value, of, at));
    }
    if (weft__http_content_range_parse(value, &c))
        WEFT__ASSERT(c.unsatisfied || c.range.first <= c.range.last);
    weft__free(copy);
    return 0;
}
