/* SPDX-License-Identifier: MIT */
/*
 * Base64, percent-encoding, forms and Basic credentials; see http_field.h.
 *
 * Floor 0. Decoders may write over what they read: what they give is never longer.
 */
#include <errno.h>
#include <string.h>

#include "base/base.h"
#include "wire/cursor.h"
#include "wire/http_field.h"

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

ssize_t weft__base64_encode(const void *data, size_t len, char *buf, size_t cap)
{
    struct weft__reader r = weft__reader_of(data, len);
    struct weft__writer w = weft__writer_of(buf, cap);
    while (!weft__reader_at_end(&r)) {
        uint64_t v = 0;
        size_t n = weft__min_size(3, weft__reader_left(&r));
        (void)weft__reader_number(&r, n, &v);
        v <<= 8 * (3 - n);
        for (size_t i = 0; i < 4; i++)
            weft__writer_u8(&w, i <= n ? (unsigned char)alphabet[v >> (18 - 6 * i) & 63] : '=');
    }
    return w.full ? -1 : (ssize_t)w.pos;
}

/* The value of a character, 64 for one that is none. */
static unsigned sextet(char c)
{
    if (c >= 'A' && c <= 'Z')
        return (unsigned)(c - 'A');
    if (c >= 'a' && c <= 'z')
        return (unsigned)(c - 'a' + 26);
    if (c >= '0' && c <= '9')
        return (unsigned)(c - '0' + 52);
    return c == '+' ? 62 : c == '/' ? 63 : 64;
}

ssize_t weft__base64_decode(struct weft__slice text, void *buf, size_t cap)
{
    struct weft__writer w = weft__writer_of(buf, cap);
    size_t padding = 0;
    if (text.len % 4 != 0)
        return -1;
    while (padding < 2 && padding < text.len && text.at[text.len - 1 - padding] == '=')
        padding++;
    for (size_t i = 0; i < text.len; i += 4) {
        uint64_t v = 0;
        size_t n = i + 4 == text.len ? 4 - padding : 4; /* characters that are none of padding */
        for (size_t k = 0; k < 4; k++) {
            unsigned s = k < n ? sextet(text.at[i + k]) : 0;
            if (s == 64)
                return -1;
            v = v << 6 | s;
        }
        /* RFC 4648 section 3.5: bits that mean nothing are zero, so each value has one text */
        if ((n == 3 && (v & 0xff) != 0) || (n == 2 && (v & 0xffff) != 0))
            return -1;
        weft__writer_number(&w, n - 1, v >> (8 * (4 - n)));
    }
    return w.full ? -1 : (ssize_t)w.pos;
}

static unsigned hex(char c)
{
    return c <= '9' ? (unsigned)(c - '0') : (unsigned)((c | 0x20) - 'a' + 10);
}

/* True when two digits follow the '%' at i. */
static bool is_percent(struct weft__slice text, size_t i)
{
    return i + 2 < text.len && weft__http_is(text.at[i + 1], WEFT__HC_HEX) &&
           weft__http_is(text.at[i + 2], WEFT__HC_HEX);
}

static ssize_t decode(struct weft__slice text, bool plus, bool strict, char *buf, size_t cap)
{
    struct weft__writer w = weft__writer_of(buf, cap);
    for (size_t i = 0; i < text.len; i++) {
        char c = text.at[i];
        if (c == '%' && is_percent(text, i)) {
            c = (char)(hex(text.at[i + 1]) << 4 | hex(text.at[i + 2]));
            i += 2;
        } else if (c == '%' && strict) {
            return -1;
        } else if (c == '+' && plus) {
            c = ' ';
        }
        weft__writer_u8(&w, (unsigned char)c);
    }
    return w.full ? -1 : (ssize_t)w.pos;
}

ssize_t weft__percent_decode(struct weft__slice text, bool plus, char *buf, size_t cap)
{
    return decode(text, plus, true, buf, cap);
}

ssize_t weft__percent_encode(struct weft__slice text, const char *keep, char *buf, size_t cap)
{
    static const char digits[] = "0123456789ABCDEF";
    struct weft__writer w = weft__writer_of(buf, cap);
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.at[i];
        bool unreserved = (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
        unreserved =
            unreserved || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_' || c == '~';
        if (unreserved || (c != '\0' && strchr(keep, c) != NULL)) {
            weft__writer_u8(&w, c);
        } else {
            weft__writer_u8(&w, '%');
            weft__writer_u8(&w, (unsigned char)digits[c >> 4]);
            weft__writer_u8(&w, (unsigned char)digits[c & 15]);
        }
    }
    return w.full ? -1 : (ssize_t)w.pos;
}

bool weft__form_next(struct weft__slice *rest, struct weft__slice *name, struct weft__slice *value)
{
    while (rest->len > 0) {
        size_t end = weft__slice_find(*rest, '&', 0);
        struct weft__slice pair = weft__slice_part(*rest, 0, end);
        *rest = weft__slice_from(*rest, end + 1);
        if (pair.len == 0)
            continue;
        size_t equals = weft__slice_find(pair, '=', 0);
        *name = weft__slice_part(pair, 0, equals);
        *value = weft__slice_from(pair, equals + 1);
        return true;
    }
    return false;
}

ssize_t weft__form_decode(struct weft__slice text, char *buf, size_t cap)
{
    return decode(text, true, false, buf, cap);
}

/* A '%' is no digit, so "%00" never begins within another escape. */
size_t weft__form_find_nul(struct weft__slice text)
{
    size_t raw = weft__slice_find(text, '\0', 0);
    for (size_t i = 0; (i = weft__slice_find(text, '%', i)) < raw; i++)
        if (text.len - i > 2 && text.at[i + 1] == '0' && text.at[i + 2] == '0')
            return i;
    return raw;
}

bool weft__http_basic_parse(struct weft__slice value, char *buf, size_t cap,
                            struct weft__slice *user, struct weft__slice *password)
{
    struct weft__slice v = weft__slice_trim(value);
    if (v.len < 6 || !weft__slice_is_nocase(weft__slice_part(v, 0, 6), "Basic "))
        return false;
    ssize_t n = weft__base64_decode(weft__slice_trim(weft__slice_from(v, 6)), buf, cap);
    if (n < 0)
        return false;
    struct weft__slice pair = weft__slice_of(buf, (size_t)n);
    size_t colon = weft__slice_find(pair, ':', 0);
    if (colon == pair.len)
        return false;
    for (size_t i = 0; i < pair.len; i++) /* RFC 7617 section 2: no control characters */
        if ((unsigned char)pair.at[i] < 0x20 || pair.at[i] == 0x7f)
            return false;
    *user = weft__slice_part(pair, 0, colon);
    *password = weft__slice_from(pair, colon + 1);
    return true;
}

ssize_t weft__http_basic_build(struct weft__slice user, struct weft__slice password, char *buf,
                               size_t cap)
{
    char pair[512];
    struct weft__writer p = weft__writer_of(pair, sizeof(pair));
    struct weft__writer w = weft__writer_of(buf, cap);
    if (weft__slice_find(user, ':', 0) < user.len) /* RFC 7617 section 2 */
        return -1;
    weft__writer_bytes(&p, user.at, user.len);
    weft__writer_u8(&p, ':');
    weft__writer_bytes(&p, password.at, password.len);
    weft__writer_text(&w, "Basic ");
    if (p.full || w.full)
        return -1;
    ssize_t n = weft__base64_encode(pair, p.pos, buf + w.pos, cap - w.pos);
    explicit_bzero(pair, sizeof(pair));
    return n < 0 ? -1 : (ssize_t)w.pos + n;
}
