/* SPDX-License-Identifier: MIT */
/*
 * Entity tags and conditional requests (RFC 9110 sections 8.8 and 13); see http_field.h.
 *
 * Floor 0.
 */
#include "wire/http_field.h"

/* A tag at the beginning of s: its length, 0 when there is none. */
static size_t tag_at(struct weft__slice s, struct weft__http_etag *tag)
{
    size_t from = 0;
    bool weak = s.len >= 2 && s.at[0] == 'W' && s.at[1] == '/'; /* case-sensitive */
    if (weak)
        from = 2;
    if (from >= s.len || s.at[from] != '"')
        return 0;
    size_t to = from + 1;
    while (to < s.len && (unsigned char)s.at[to] > 0x20 && s.at[to] != 0x7f && s.at[to] != '"')
        to++; /* a backslash is a character like any other here, section 8.8.3 */
    if (to == s.len || s.at[to] != '"')
        return 0;
    tag->weak = weak;
    tag->opaque = weft__slice_part(s, from + 1, to);
    return to + 1;
}

bool weft__http_etag_parse(struct weft__slice value, struct weft__http_etag *tag)
{
    struct weft__http_etag t;
    struct weft__slice v = weft__slice_trim(value);
    size_t n = tag_at(v, &t);
    if (n == 0 || n != v.len)
        return false;
    *tag = t;
    return true;
}

bool weft__http_etag_equal(struct weft__http_etag a, struct weft__http_etag b, bool strong)
{
    return weft__slice_equal(a.opaque, b.opaque) && !(strong && (a.weak || b.weak));
}

static bool is_any(struct weft__slice list)
{
    return weft__slice_is(weft__slice_trim(list), "*");
}

bool weft__http_etag_listed(struct weft__slice list, struct weft__http_etag tag, bool strong)
{
    struct weft__slice rest = weft__slice_trim(list);
    struct weft__http_etag t;
    bool found = false;
    if (is_any(list))
        return true;
    while (rest.len > 0) {
        if (rest.at[0] == ',') {
            rest = weft__slice_trim(weft__slice_from(rest, 1));
            continue;
        }
        size_t n = tag_at(rest, &t);
        if (n == 0)
            return false;
        found = found || weft__http_etag_equal(t, tag, strong);
        rest = weft__slice_trim(weft__slice_from(rest, n));
        if (rest.len > 0 && rest.at[0] != ',')
            return false;
    }
    return found;
}

/* If-Match and If-None-Match: "*" is whatever there is. */
static bool matches(struct weft__slice list, const struct weft__http_validators *v, bool strong)
{
    if (is_any(list))
        return v->exists;
    return v->exists && v->etag != NULL && weft__http_etag_listed(list, *v->etag, strong);
}

/* 1: changed since then, 0: not, -1: the field says nothing (no date, or none known). */
static int changed_since(struct weft__slice field, const struct weft__http_conditions *c,
                         const struct weft__http_validators *v)
{
    int64_t date;
    if (field.at == NULL || !v->exists || v->no_modified ||
        !weft__http_date_parse(weft__slice_trim(field), c->now_s, &date))
        return -1;
    return v->modified_s > date;
}

int weft__http_preconditions(const struct weft__http_conditions *c,
                             const struct weft__http_validators *v, enum weft__http_method method)
{
    bool read = method == WEFT__HTTP_GET || method == WEFT__HTTP_HEAD;
    if (c->if_match.at != NULL) {
        if (!matches(c->if_match, v, true))
            return 412;
    } else if (changed_since(c->if_unmodified_since, c, v) == 1) {
        return 412;
    }
    if (c->if_none_match.at != NULL) {
        if (matches(c->if_none_match, v, false))
            return read ? 304 : 412;
    } else if (read && changed_since(c->if_modified_since, c, v) == 0) {
        return 304;
    }
    return 0;
}

bool weft__http_if_range(const struct weft__http_conditions *c,
                         const struct weft__http_validators *v)
{
    struct weft__http_etag tag;
    int64_t date;
    if (c->if_range.at == NULL)
        return true;
    if (weft__http_etag_parse(c->if_range, &tag))
        return v->exists && v->etag != NULL && weft__http_etag_equal(tag, *v->etag, true);
    /* Section 13.1.5: a date has to be the very one, and old enough to be a strong validator: a
       second later nothing of that second can still have changed (section 8.8.2.2). */
    return v->exists && !v->no_modified && v->modified_s < c->now_s &&
           weft__http_date_parse(weft__slice_trim(c->if_range), c->now_s, &date) &&
           date == v->modified_s;
}
