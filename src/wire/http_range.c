/* SPDX-License-Identifier: MIT */
/*
 * Ranges (RFC 9110 section 14); see http_field.h.
 *
 * Floor 0. Invariants of what is given: 0 <= first <= last < size, and no two ranges overlap or
 * touch, so their sum is at most the size however they were asked for (section 17.15).
 */
#include <errno.h>

#include "wire/cursor.h"
#include "wire/http_field.h"

/* Digits at the beginning; a number too large counts as the largest. Their count. */
static size_t number(struct weft__slice s, uint64_t *value)
{
    uint64_t v = 0;
    size_t n = 0;
    for (; n < s.len && weft__http_is(s.at[n], WEFT__HC_DIGIT); n++) {
        uint64_t digit = (uint64_t)(s.at[n] - '0');
        v = v > (UINT64_MAX - digit) / 10 ? UINT64_MAX : v * 10 + digit;
    }
    *value = v;
    return n;
}

/* 1 with a range, 0 when it is not satisfiable, -1 when it is none. */
static int one_range(struct weft__slice item, uint64_t size, struct weft__http_range *r)
{
    uint64_t first;
    uint64_t last = UINT64_MAX;
    size_t n = number(item, &first);
    if (n == item.len || item.at[n] != '-')
        return -1;
    struct weft__slice end = weft__slice_from(item, n + 1);
    size_t m = number(end, &last);
    if (m != end.len || (n == 0 && m == 0))
        return -1;
    if (n == 0 && last > 0 && size == 0)
        return -1; /* all of nothing can be sent, but not be told of (section 14.4) */
    if (n == 0) {  /* the last so many bytes */
        first = last > size ? 0 : size - last;
        last = UINT64_MAX;
    } else if (m == 0) {
        last = UINT64_MAX;
    } else if (last < first) {
        return -1;
    }
    if (first >= size)
        return 0;
    r->first = first;
    r->last = last < size ? last : size - 1;
    return 1;
}

static bool touch(const struct weft__http_range *a, const struct weft__http_range *b)
{
    return a->first <= b->last + 1 && b->first <= a->last + 1;
}

/* Adds a range to those that there are; what it overlaps becomes one with it. Their new count. */
static int add(struct weft__http_range *out, int count, struct weft__http_range r)
{
    int place = count;
    for (int i = count - 1; i >= 0; i--) {
        if (!touch(&out[i], &r))
            continue;
        r.first = weft__min_u64(r.first, out[i].first);
        r.last = weft__max_u64(r.last, out[i].last);
        for (int k = i; k + 1 < count; k++)
            out[k] = out[k + 1];
        count--;
        place = i < place ? i : place;
        i = count; /* it has grown: look at all of them again */
    }
    for (int k = count; k > place; k--)
        out[k] = out[k - 1];
    out[place] = r;
    return count + 1;
}

int weft__http_range_parse(struct weft__slice value, uint64_t size,
                           struct weft__http_range out[WEFT__HTTP_RANGES_MAX])
{
    struct weft__http_range kept[WEFT__HTTP_RANGES_MAX];
    struct weft__http_range r;
    struct weft__slice item;
    struct weft__slice v = weft__slice_trim(value);
    int count = 0;
    unsigned asked = 0;

    if (v.len < 6 || !weft__slice_is_nocase(weft__slice_part(v, 0, 6), "bytes="))
        return 0;
    v = weft__slice_from(v, 6);
    while (weft__http_list_next(&v, &item)) {
        if (++asked > WEFT__HTTP_RANGES_MAX)
            return 0;
        int is = one_range(item, size, &r);
        if (is < 0)
            return 0;
        if (is > 0)
            count = add(kept, count, r);
    }
    if (asked == 0)
        return 0;
    for (int i = 0; i < count; i++)
        out[i] = kept[i];
    return count > 0 ? count : -ERANGE;
}

size_t weft__http_content_range_format(const struct weft__http_range *r, uint64_t size,
                                       char buf[WEFT__HTTP_CONTENT_RANGE_CAP])
{
    struct weft__writer w = weft__writer_of(buf, WEFT__HTTP_CONTENT_RANGE_CAP);
    weft__writer_text(&w, "bytes ");
    if (r == NULL) {
        weft__writer_u8(&w, '*');
    } else {
        weft__writer_decimal(&w, r->first);
        weft__writer_u8(&w, '-');
        weft__writer_decimal(&w, r->last);
    }
    weft__writer_u8(&w, '/');
    weft__writer_decimal(&w, size);
    weft__writer_u8(&w, '\0');
    WEFT__ASSERT(!w.full);
    return w.pos - 1;
}

bool weft__http_content_range_parse(struct weft__slice value, struct weft__http_content_range *r)
{
    struct weft__http_content_range c = {0};
    struct weft__slice v = weft__slice_trim(value);
    if (v.len < 6 || !weft__slice_is_nocase(weft__slice_part(v, 0, 6), "bytes "))
        return false;
    v = weft__slice_from(v, 6);
    size_t slash = weft__slice_find(v, '/', 0);
    struct weft__slice range = weft__slice_part(v, 0, slash);
    struct weft__slice size = weft__slice_from(v, slash + 1);
    size_t dash = weft__slice_find(range, '-', 0);
    c.size_known = !weft__slice_is(size, "*");
    c.unsatisfied = weft__slice_is(range, "*");
    if (slash == v.len || (c.size_known && !weft__http_decimal(size, &c.size)))
        return false;
    if (c.unsatisfied && !c.size_known)
        return false;
    if (!c.unsatisfied) {
        if (!weft__http_decimal(weft__slice_part(range, 0, dash), &c.range.first) ||
            !weft__http_decimal(weft__slice_from(range, dash + 1), &c.range.last) ||
            c.range.last < c.range.first || (c.size_known && c.range.last >= c.size))
            return false; /* section 14.4: not valid, not to be combined */
    }
    *r = c;
    return true;
}
