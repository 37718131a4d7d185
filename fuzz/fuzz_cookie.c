/* SPDX-License-Identifier: MIT */
/*
 * Fuzzes cookies, and the other values that are lists or have parameters. Input: the value. Checked
 * for every input: parts lie within it; a Set-Cookie that was read and can be written is read again
 * as itself; names that are decoded are safe; what is encoded decodes to itself.
 */
#include "http1_fuzz.h"
#include "wire/http_field.h"
#include "wire/utf8.h"

#define NOW INT64_C(1790000000)

static void cookies(struct weft__slice v)
{
    struct weft__slice rest = v;
    struct weft__slice name;
    struct weft__slice value;
    size_t left = v.len + 1;
    while (weft__http_cookie_next(&rest, &name, &value)) {
        fuzz_inside(v.at, v.len, name);
        fuzz_inside(v.at, v.len, value);
        WEFT__ASSERT(name.len > 0 && name.len + value.len <= WEFT__HTTP_COOKIE_PAIR_MAX);
        WEFT__ASSERT(rest.len < left);
        left = rest.len;
    }
}

static void set_cookie(struct weft__slice v)
{
    struct weft__http_set_cookie c;
    struct weft__http_set_cookie again;
    char buf[8192];
    if (!weft__http_set_cookie_parse(v, NOW, &c))
        return;
    fuzz_inside(v.at, v.len, c.name);
    fuzz_inside(v.at, v.len, c.value);
    fuzz_inside(v.at, v.len, c.domain);
    fuzz_inside(v.at, v.len, c.path);
    WEFT__ASSERT(!c.has_max_age || (c.max_age_s >= 0 && c.max_age_s <= 400 * 86400));
    ssize_t n = weft__http_set_cookie_build(&c, buf, sizeof(buf));
    if (n < 0)
        return;
    WEFT__ASSERT(weft__http_value(weft__slice_of(buf, (size_t)n)));
    WEFT__ASSERT(weft__http_set_cookie_parse(weft__slice_of(buf, (size_t)n), NOW, &again));
    WEFT__ASSERT(weft__slice_equal(again.name, c.name) && weft__slice_equal(again.value, c.value));
    /* a leading dot of a domain may be there again: it is left out once in each reading */
    WEFT__ASSERT(weft__slice_equal(again.path, c.path) && again.domain.len <= c.domain.len);
    WEFT__ASSERT(again.secure == c.secure && again.http_only == c.http_only);
    WEFT__ASSERT(again.same_site == c.same_site && again.has_max_age == c.has_max_age);
    WEFT__ASSERT(again.has_expires == c.has_expires && again.expires_unix == c.expires_unix);
}

static void dispositions(struct weft__slice v)
{
    struct weft__http_disposition d;
    if (!weft__http_disposition(v, &d))
        return;
    WEFT__ASSERT(weft__utf8_valid(d.name, strlen(d.name)));
    WEFT__ASSERT(weft__utf8_valid(d.filename, strlen(d.filename)));
    WEFT__ASSERT(strpbrk(d.filename, "/\\") == NULL && strcmp(d.filename, "..") != 0);
    for (const char *c = d.filename; *c != '\0'; c++)
        WEFT__ASSERT((unsigned char)*c >= 0x20 && *c != 0x7f);
}

static void others(struct weft__slice v)
{
    static const char *const offers[] = {"br", "gzip", "identity"};
    struct weft__http_etag tag;
    struct weft__http_media_type m;
    struct weft__slice user;
    struct weft__slice password;
    char buf[512];
    char date[30];
    int64_t t;
    int64_t t2;
    int best = weft__http_coding_choose(v, offers, 3);
    WEFT__ASSERT(best >= -1 && best < 3);
    WEFT__ASSERT(best < 0 || weft__http_coding_quality(v, offers[best]) > 0);
    WEFT__ASSERT(weft__http_type_quality(v, "text/html") <= 1000);
    if (weft__http_etag_parse(v, &tag)) {
        fuzz_inside(v.at, v.len, tag.opaque);
        WEFT__ASSERT(weft__http_etag_listed(v, tag, tag.weak ? false : true));
    }
    if (weft__http_media_type(v, &m))
        WEFT__ASSERT(weft__http_token(m.type) && weft__http_token(m.subtype));
    if (weft__http_date_parse(v, NOW, &t) && weft__http_date_format(t, date)) {
        WEFT__ASSERT(weft__http_date_parse(weft__slice_text(date), NOW, &t2));
        WEFT__ASSERT(t == t2);
    }
    if (weft__http_basic_parse(v, buf, sizeof(buf), &user, &password))
        fuzz_inside(buf, sizeof(buf), password);
}

static void encodings(struct weft__slice v)
{
    size_t cap = 3 * v.len + 4;
    char *buf = weft__alloc(cap);
    char *back = weft__alloc(v.len);
    WEFT__ASSERT(buf != NULL && back != NULL);
    ssize_t n = weft__percent_encode(v, "/", buf, cap);
    WEFT__ASSERT(n >= 0);
    WEFT__ASSERT(weft__percent_decode(weft__slice_of(buf, (size_t)n), false, back, v.len) ==
                 (ssize_t)v.len);
    WEFT__ASSERT(v.len == 0 || memcmp(back, v.at, v.len) == 0);
    n = weft__base64_encode(v.at, v.len, buf, cap);
    WEFT__ASSERT(n >= 0);
    WEFT__ASSERT(weft__base64_decode(weft__slice_of(buf, (size_t)n), back, v.len) ==
                 (ssize_t)v.len);
    WEFT__ASSERT(v.len == 0 || memcmp(back, v.at, v.len) == 0);
    n = weft__base64_decode(v, buf, cap);
    if (n >= 0 && weft__base64_encode(buf, (size_t)n, back, v.len) >= 0)
        WEFT__ASSERT(v.len == 0 || memcmp(back, v.at, v.len) == 0);
    weft__free(buf);
    weft__free(back);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t len = weft__min_size(size, 6000);
    char *copy = fuzz_copy(data, len);
    struct weft__slice v = weft__slice_of(copy, len);
    cookies(v);
    set_cookie(v);
    dispositions(v);
    others(v);
    encodings(v);
    weft__free(copy);
    return 0;
}
