/* SPDX-License-Identifier: MIT */
/*
 * Lists, parameters, media types and quality; see http_field.h.
 *
 * Floor 0. All of it walks a slice from the left; nothing looks twice at a byte but for its part.
 */
#include <string.h>

#include "wire/cursor.h"
#include "wire/http_field.h"

/* The position of the first of two characters outside quotes; s.len when there is none. */
static size_t find_outside_quotes(struct weft__slice s, char a, char b)
{
    bool quoted = false;
    for (size_t i = 0; i < s.len; i++) {
        if (quoted && s.at[i] == '\\')
            i++;
        else if (s.at[i] == '"')
            quoted = !quoted;
        else if (!quoted && (s.at[i] == a || s.at[i] == b))
            return i;
    }
    return s.len;
}

bool weft__http_list_next(struct weft__slice *rest, struct weft__slice *item)
{
    while (rest->len > 0) {
        size_t comma = find_outside_quotes(*rest, ',', ',');
        struct weft__slice part = weft__slice_trim(weft__slice_part(*rest, 0, comma));
        *rest = weft__slice_from(*rest, comma + 1);
        if (part.len > 0) {
            *item = part;
            return true;
        }
    }
    return false;
}

bool weft__http_list_has(struct weft__slice list, const char *token)
{
    struct weft__slice item;
    while (weft__http_list_next(&list, &item))
        if (weft__slice_is_nocase(item, token))
            return true;
    return false;
}

/* The length of a token at the beginning. */
static size_t token_length(struct weft__slice s)
{
    size_t n = 0;
    while (n < s.len && weft__http_is(s.at[n], WEFT__HC_TOKEN))
        n++;
    return n;
}

/* A quoted string at the beginning: its length with both quotes, 0 when it is not valid. */
static size_t quoted_length(struct weft__slice s)
{
    for (size_t i = 1; i < s.len; i++) {
        if (s.at[i] == '"')
            return i + 1;
        bool escaped = s.at[i] == '\\';
        if (escaped && ++i == s.len)
            return 0;
        if (!weft__http_is(s.at[i], escaped ? WEFT__HC_VALUE : WEFT__HC_QDTEXT))
            return 0;
    }
    return 0;
}

int weft__http_param_next(struct weft__slice *rest, struct weft__http_param *param)
{
    struct weft__slice s = weft__slice_trim(*rest);
    while (s.len > 0 && s.at[0] == ';') /* RFC 9110 section 5.6.6: parameters may be empty */
        s = weft__slice_trim(weft__slice_from(s, 1));
    if (s.len == 0) {
        *rest = s;
        return 0;
    }
    size_t name = token_length(s);
    if (name == 0 || name == s.len || s.at[name] != '=')
        return -1;
    struct weft__slice value = weft__slice_from(s, name + 1);
    bool quoted = value.len > 0 && value.at[0] == '"';
    size_t n = quoted ? quoted_length(value) : token_length(value);
    struct weft__slice after = weft__slice_trim(weft__slice_from(value, n));
    if (n == 0 || (after.len > 0 && after.at[0] != ';'))
        return -1;
    param->name = weft__slice_part(s, 0, name);
    param->value = quoted ? weft__slice_part(value, 1, n - 1) : weft__slice_part(value, 0, n);
    param->quoted = quoted;
    *rest = after;
    return 1;
}

bool weft__http_param_find(struct weft__slice params, const char *name,
                           struct weft__http_param *param)
{
    struct weft__http_param p;
    struct weft__http_param found;
    bool have = false;
    int r;
    while ((r = weft__http_param_next(&params, &p)) > 0) {
        if (!have && weft__slice_is_nocase(p.name, name)) {
            found = p;
            have = true;
        }
    }
    if (r < 0 || !have)
        return false;
    *param = found;
    return true;
}

ssize_t weft__http_unquote(struct weft__slice raw, char *buf, size_t cap)
{
    struct weft__writer w = weft__writer_of(buf, cap);
    for (size_t i = 0; i < raw.len; i++) {
        if (raw.at[i] == '\\' && i + 1 < raw.len)
            i++;
        weft__writer_u8(&w, (unsigned char)raw.at[i]);
    }
    return w.full ? -1 : (ssize_t)w.pos;
}

bool weft__http_media_type(struct weft__slice value, struct weft__http_media_type *m)
{
    struct weft__slice s = weft__slice_trim(value);
    size_t semicolon = weft__slice_find(s, ';', 0);
    struct weft__slice name = weft__slice_trim(weft__slice_part(s, 0, semicolon));
    size_t slash = weft__slice_find(name, '/', 0);
    struct weft__slice type = weft__slice_part(name, 0, slash);
    struct weft__slice subtype = weft__slice_from(name, slash + 1);
    if (!weft__http_token(type) || !weft__http_token(subtype))
        return false;
    m->type = type;
    m->subtype = subtype;
    m->params = weft__slice_from(s, semicolon);
    return true;
}

/* "0.5" as 500; false for what is no weight (RFC 9110 section 12.4.2). */
static bool weight(struct weft__slice s, unsigned *q)
{
    unsigned value = 0;
    unsigned scale = 100;
    if (s.len == 0 || s.len > 5 || (s.at[0] != '0' && s.at[0] != '1') ||
        (s.len > 1 && s.at[1] != '.'))
        return false;
    value = s.at[0] == '1' ? 1000 : 0;
    for (size_t i = 2; i < s.len; i++) {
        if (!weft__http_is(s.at[i], WEFT__HC_DIGIT))
            return false;
        value += (unsigned)(s.at[i] - '0') * scale;
        scale /= 10;
    }
    if (value > 1000)
        return false;
    *q = value;
    return true;
}

/*
 * Splits "name;params;q=0.5". *params is how many other parameters there are. False when it is not
 * valid; such an element is skipped by whoever asks.
 */
static bool element(struct weft__slice item, struct weft__slice *name, unsigned *params,
                    unsigned *q)
{
    struct weft__http_param p;
    size_t semicolon = weft__slice_find(item, ';', 0);
    struct weft__slice rest = weft__slice_from(item, semicolon);
    int r;
    *name = weft__slice_trim(weft__slice_part(item, 0, semicolon));
    *params = 0;
    *q = 1000;
    while ((r = weft__http_param_next(&rest, &p)) > 0) {
        if (weft__slice_is_nocase(p.name, "q")) {
            if (p.quoted || !weight(p.value, q))
                return false;
        } else {
            ++*params;
        }
    }
    return r == 0 && name->len > 0;
}

unsigned weft__http_coding_quality(struct weft__slice accept_encoding, const char *coding)
{
    struct weft__slice item;
    struct weft__slice name;
    unsigned params;
    unsigned q;
    int own = -1;
    int any = -1;
    bool identity = strcmp(coding, "identity") == 0;

    if (accept_encoding.at == NULL)
        return 1000;
    while (weft__http_list_next(&accept_encoding, &item)) {
        if (!element(item, &name, &params, &q))
            continue;
        /* "x-gzip" is another word for gzip, section 8.4.1.3 */
        if (weft__slice_is_nocase(name, coding) ||
            (weft__slice_is_nocase(name, "x-gzip") && strcmp(coding, "gzip") == 0))
            own = (int)q;
        else if (weft__slice_is(name, "*"))
            any = (int)q;
    }
    if (own >= 0)
        return (unsigned)own;
    if (identity) /* acceptable unless excluded, but rather last: other codings were asked for */
        return any == 0 ? 0 : 1;
    return any > 0 ? (unsigned)any : 0;
}

int weft__http_coding_choose(struct weft__slice accept_encoding, const char *const *offers,
                             size_t count)
{
    int best = -1;
    unsigned best_quality = 0;
    for (size_t i = 0; i < count; i++) {
        unsigned q = weft__http_coding_quality(accept_encoding, offers[i]);
        if (q > best_quality) {
            best = (int)i;
            best_quality = q;
        }
    }
    return best;
}

/* How closely a range of Accept names a type: 0 not at all, 1 any, 2 by its first half, 3. */
static unsigned closeness(struct weft__slice range, struct weft__slice type)
{
    size_t slash = weft__slice_find(range, '/', 0);
    size_t type_slash = weft__slice_find(type, '/', 0);
    if (weft__slice_is(range, "*/*"))
        return 1;
    if (weft__slice_equal_nocase(range, type))
        return 3;
    if (weft__slice_is(weft__slice_from(range, slash), "/*") &&
        weft__slice_equal_nocase(weft__slice_part(range, 0, slash),
                                 weft__slice_part(type, 0, type_slash)))
        return 2;
    return 0;
}

unsigned weft__http_type_quality(struct weft__slice accept, const char *type)
{
    struct weft__slice item;
    struct weft__slice range;
    unsigned params;
    unsigned q;
    unsigned best = 0;
    unsigned quality = 0;

    if (accept.at == NULL)
        return 1000;
    while (weft__http_list_next(&accept, &item)) {
        /* "text/html;level=1" is another type than "text/html" */
        if (!element(item, &range, &params, &q) || params > 0)
            continue;
        unsigned close = closeness(range, weft__slice_text(type));
        if (close > best) {
            best = close;
            quality = q;
        }
    }
    return quality;
}

int weft__http_type_choose(struct weft__slice accept, const char *const *offers, size_t count)
{
    int best = -1;
    unsigned best_quality = 0;
    for (size_t i = 0; i < count; i++) {
        unsigned q = weft__http_type_quality(accept, offers[i]);
        if (q > best_quality) {
            best = (int)i;
            best_quality = q;
        }
    }
    return best;
}
