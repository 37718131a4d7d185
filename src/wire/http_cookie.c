/* SPDX-License-Identifier: MIT */
/*
 * Cookies (RFC 6265 as revised, "6265bis"); see http_field.h.
 *
 * Floor 0. Reading is lenient where browsers are, writing is strict.
 */
#include <errno.h>
#include <string.h>

#include "base/error.h"
#include "wire/cursor.h"
#include "wire/http_field.h"

#define DAY INT64_C(86400)
#define AGE_MAX (400 * DAY) /* section 5.5 */

static bool has_control(struct weft__slice s)
{
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.at[i];
        if ((c < 0x20 && c != '\t') || c == 0x7f)
            return true;
    }
    return false;
}

static bool has_prefix(struct weft__slice s, const char *prefix)
{
    return weft__slice_is_nocase(weft__slice_part(s, 0, strlen(prefix)), prefix);
}

static struct weft__slice without_quotes(struct weft__slice s)
{
    if (s.len >= 2 && s.at[0] == '"' && s.at[s.len - 1] == '"')
        return weft__slice_part(s, 1, s.len - 1);
    return s;
}

/* Takes what stands before the next ';' off *rest. */
static struct weft__slice piece(struct weft__slice *rest)
{
    size_t end = weft__slice_find(*rest, ';', 0);
    struct weft__slice s = weft__slice_part(*rest, 0, end);
    *rest = weft__slice_from(*rest, end + 1);
    return s;
}

bool weft__http_cookie_next(struct weft__slice *rest, struct weft__slice *name,
                            struct weft__slice *value)
{
    while (rest->len > 0) {
        struct weft__slice pair = piece(rest);
        size_t equals = weft__slice_find(pair, '=', 0);
        struct weft__slice n = weft__slice_trim(weft__slice_part(pair, 0, equals));
        struct weft__slice v = weft__slice_trim(weft__slice_from(pair, equals + 1));
        if (equals == pair.len || n.len == 0 || has_control(pair) ||
            n.len + v.len > WEFT__HTTP_COOKIE_PAIR_MAX)
            continue;
        *name = n;
        *value = without_quotes(v);
        return true;
    }
    return false;
}

bool weft__http_cookie_find(struct weft__slice cookies, const char *name, struct weft__slice *value)
{
    struct weft__slice n;
    struct weft__slice v;
    while (weft__http_cookie_next(&cookies, &n, &v)) {
        if (weft__slice_is(n, name)) {
            *value = v;
            return true;
        }
    }
    return false;
}

/* ---- cookie dates, section 5.1.1 ---- */

struct cookie_date {
    bool time, day, month, year;
    unsigned hour, minute, second, of_month, month_number, year_number;
};

static bool delimits(char c)
{
    unsigned char u = (unsigned char)c;
    return u == 0x09 || (u >= 0x20 && u <= 0x2f) || (u >= 0x3b && u <= 0x40) ||
           (u >= 0x5b && u <= 0x60) || (u >= 0x7b && u <= 0x7e);
}

/* Reads min to max digits at *at that no further digit follows. */
static bool some_digits(struct weft__slice s, size_t *at, unsigned min, unsigned max,
                        unsigned *value)
{
    unsigned v = 0;
    unsigned n = 0;
    while (*at + n < s.len && n < max && weft__http_is(s.at[*at + n], WEFT__HC_DIGIT)) {
        v = v * 10 + (unsigned)(s.at[*at + n] - '0');
        n++;
    }
    if (n < min || (*at + n < s.len && weft__http_is(s.at[*at + n], WEFT__HC_DIGIT)))
        return false;
    *at += n;
    *value = v;
    return true;
}

static bool take(struct weft__slice s, size_t *at, char c)
{
    if (*at >= s.len || s.at[*at] != c)
        return false;
    ++*at;
    return true;
}

static bool date_time(struct weft__slice s, struct cookie_date *d)
{
    size_t at = 0;
    return some_digits(s, &at, 1, 2, &d->hour) && take(s, &at, ':') &&
           some_digits(s, &at, 1, 2, &d->minute) && take(s, &at, ':') &&
           some_digits(s, &at, 1, 2, &d->second);
}

static bool date_month(struct weft__slice s, struct cookie_date *d)
{
    static const char months[] = "janfebmaraprmayjunjulaugsepoctnovdec";
    for (unsigned m = 0; m < 12 && s.len >= 3; m++) {
        if (weft__slice_equal_nocase(weft__slice_part(s, 0, 3),
                                     weft__slice_of(&months[3 * m], 3))) {
            d->month_number = m + 1;
            return true;
        }
    }
    return false;
}

static bool cookie_date(struct weft__slice s, int64_t *unix_s)
{
    struct cookie_date d = {0};
    size_t at = 0;
    while (at < s.len) {
        size_t from = at;
        while (at < s.len && !delimits(s.at[at]))
            at++;
        struct weft__slice token = weft__slice_part(s, from, at);
        size_t zero = 0;
        if (at == from)
            at++;
        else if (!d.time && date_time(token, &d))
            d.time = true;
        else if (!d.day && some_digits(token, &zero, 1, 2, &d.of_month))
            d.day = true;
        else if (!d.month && date_month(token, &d))
            d.month = true;
        else if (!d.year && some_digits(token, &zero, 2, 4, &d.year_number))
            d.year = true;
    }
    if (d.year_number >= 70 && d.year_number <= 99)
        d.year_number += 1900;
    else if (d.year_number <= 69)
        d.year_number += 2000;
    return d.time && d.day && d.month && d.year && d.year_number >= 1601 && d.second <= 59 &&
           weft__http_date_of((int64_t)d.year_number, d.month_number, d.of_month, d.hour, d.minute,
                              d.second, unix_s);
}

/* ---- Set-Cookie, section 5.6 ---- */

static void max_age(struct weft__slice value, struct weft__http_set_cookie *c)
{
    uint64_t n = 0;
    bool negative = value.len > 0 && value.at[0] == '-';
    struct weft__slice digits = weft__slice_from(value, negative ? 1 : 0);
    if (value.len == 0 || (digits.len == 0 && !negative) || !weft__http_all(digits, WEFT__HC_DIGIT))
        return;
    if (digits.len > 0 && !weft__http_decimal(digits, &n))
        n = UINT64_MAX;
    c->has_max_age = true;
    c->max_age_s = negative ? 0 : (int64_t)weft__min_u64(n, (uint64_t)AGE_MAX);
}

static void attribute(struct weft__slice name, struct weft__slice value, int64_t now_s,
                      struct weft__http_set_cookie *c)
{
    int64_t date;
    if (value.len > WEFT__HTTP_COOKIE_ATTRIBUTE_MAX)
        return;
    if (weft__slice_is_nocase(name, "expires")) {
        if (cookie_date(value, &date)) {
            c->has_expires = true;
            c->expires_unix = weft__min_i64(date, now_s + AGE_MAX);
        }
    } else if (weft__slice_is_nocase(name, "max-age")) {
        max_age(value, c);
    } else if (weft__slice_is_nocase(name, "domain")) {
        c->domain = weft__slice_from(value, value.len > 0 && value.at[0] == '.' ? 1 : 0);
    } else if (weft__slice_is_nocase(name, "path")) {
        c->path = value.len > 0 && value.at[0] == '/' ? value : weft__slice_of(NULL, 0);
    } else if (weft__slice_is_nocase(name, "secure")) {
        c->secure = true;
    } else if (weft__slice_is_nocase(name, "httponly")) {
        c->http_only = true;
    } else if (weft__slice_is_nocase(name, "samesite")) {
        c->same_site = weft__slice_is_nocase(value, "none")     ? WEFT__HTTP_SAME_SITE_NONE
                       : weft__slice_is_nocase(value, "strict") ? WEFT__HTTP_SAME_SITE_STRICT
                       : weft__slice_is_nocase(value, "lax")    ? WEFT__HTTP_SAME_SITE_LAX
                                                                : WEFT__HTTP_SAME_SITE_UNSET;
    }
}

/* What a name or an attribute promises has to be true: sections 4.1.3 and 5.7. */
static bool promises_kept(const struct weft__http_set_cookie *c)
{
    if (c->name.len == 0 && (has_prefix(c->value, "__Secure-") || has_prefix(c->value, "__Host-")))
        return false;
    if (has_prefix(c->name, "__Secure-") && !c->secure)
        return false;
    if (has_prefix(c->name, "__Host-") &&
        (!c->secure || c->domain.len > 0 || !weft__slice_is(c->path, "/")))
        return false;
    return c->same_site != WEFT__HTTP_SAME_SITE_NONE || c->secure;
}

bool weft__http_set_cookie_parse(struct weft__slice value, int64_t now_s,
                                 struct weft__http_set_cookie *cookie)
{
    struct weft__http_set_cookie c = {0};
    struct weft__slice rest = value;
    if (has_control(value))
        return false;
    struct weft__slice pair = piece(&rest);
    size_t equals = weft__slice_find(pair, '=', 0);
    bool named = equals < pair.len;
    c.name = named ? weft__slice_trim(weft__slice_part(pair, 0, equals)) : weft__slice_of(NULL, 0);
    c.value = weft__slice_trim(named ? weft__slice_from(pair, equals + 1) : pair);
    if (c.name.len + c.value.len == 0 || c.name.len + c.value.len > WEFT__HTTP_COOKIE_PAIR_MAX)
        return false;
    while (rest.len > 0) {
        pair = piece(&rest);
        equals = weft__slice_find(pair, '=', 0);
        attribute(weft__slice_trim(weft__slice_part(pair, 0, equals)),
                  weft__slice_trim(weft__slice_from(pair, equals + 1)), now_s, &c);
    }
    if (!promises_kept(&c))
        return false;
    *cookie = c;
    return true;
}

static int check_built(const struct weft__http_set_cookie *c)
{
    if (!weft__http_token(c->name))
        return weft__fail(-EINVAL, "a cookie's name is not a token");
    if (!weft__http_all(c->value, WEFT__HC_COOKIE))
        return weft__fail(-EINVAL, "a cookie's value has a character that none may have");
    if (c->name.len + c->value.len > WEFT__HTTP_COOKIE_PAIR_MAX ||
        c->path.len > WEFT__HTTP_COOKIE_ATTRIBUTE_MAX ||
        c->domain.len > WEFT__HTTP_COOKIE_ATTRIBUTE_MAX)
        return weft__fail(-EINVAL, "a cookie is too long");
    if (!weft__http_all(c->domain, WEFT__HC_HOST) ||
        weft__slice_find(c->domain, ';', 0) < c->domain.len)
        return weft__fail(-EINVAL, "a cookie's domain is not a host's name");
    if (!weft__http_all(c->path, WEFT__HC_VALUE) ||
        weft__slice_find(c->path, ';', 0) < c->path.len ||
        (c->path.len > 0 && c->path.at[0] != '/'))
        return weft__fail(-EINVAL, "a cookie's path is not a path");
    if (!promises_kept(c))
        return weft__fail(-EINVAL, "a cookie is not as secure as its name or SameSite=None wants");
    return 0;
}

static void text_attribute(struct weft__writer *w, const char *name, struct weft__slice value)
{
    if (value.len == 0)
        return;
    weft__writer_text(w, name);
    weft__writer_bytes(w, value.at, value.len);
}

ssize_t weft__http_set_cookie_build(const struct weft__http_set_cookie *c, char *buf, size_t cap)
{
    static const char *const same_site[] = {"", "; SameSite=Strict", "; SameSite=Lax",
                                            "; SameSite=None"};
    struct weft__writer w = weft__writer_of(buf, cap);
    char date[30];
    int r = check_built(c);
    if (r < 0)
        return r;
    weft__writer_bytes(&w, c->name.at, c->name.len);
    weft__writer_u8(&w, '=');
    weft__writer_bytes(&w, c->value.at, c->value.len);
    if (c->has_expires) {
        if (!weft__http_date_format(c->expires_unix, date))
            return weft__fail(-EINVAL, "a cookie's date is outside the years 0 to 9999");
        text_attribute(&w, "; Expires=", weft__slice_text(date));
    }
    if (c->has_max_age) {
        weft__writer_text(&w, "; Max-Age=");
        weft__writer_decimal(&w, (uint64_t)weft__max_i64(c->max_age_s, 0));
    }
    text_attribute(&w, "; Domain=", c->domain);
    text_attribute(&w, "; Path=", c->path);
    weft__writer_text(&w, c->secure ? "; Secure" : "");
    weft__writer_text(&w, c->http_only ? "; HttpOnly" : "");
    weft__writer_text(&w, same_site[(unsigned)c->same_site & 3]);
    if (w.full)
        return weft__fail(-ENOBUFS, "a cookie does not fit into %zu bytes", cap);
    return (ssize_t)w.pos;
}
