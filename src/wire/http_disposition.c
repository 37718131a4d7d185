/* SPDX-License-Identifier: MIT */
/*
 * Content-Disposition (RFC 6266) and the extended values of parameters (RFC 8187); see
 * http_field.h.
 *
 * Floor 0. Invariant: names that are given are valid UTF-8 without control characters, and a file's
 * name has no folder, whatever the peer sent.
 */
#include <string.h>

#include "wire/cursor.h"
#include "wire/http_field.h"
#include "wire/utf8.h"

/* Latin-1 as UTF-8. */
static void latin1(struct weft__writer *w, struct weft__slice s)
{
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.at[i];
        if (c < 0x80) {
            weft__writer_u8(w, c);
        } else {
            weft__writer_u8(w, (unsigned char)(0xc0 | c >> 6));
            weft__writer_u8(w, (unsigned char)(0x80 | (c & 0x3f)));
        }
    }
}

/* What was decoded into buf, as UTF-8 and with a NUL. False when it may not be a name. */
static bool finish(char name[256], struct weft__slice decoded, bool is_latin1)
{
    char buf[256];
    struct weft__writer w = weft__writer_of(buf, sizeof(buf) - 1);
    if (is_latin1)
        latin1(&w, decoded);
    else
        weft__writer_bytes(&w, decoded.at, decoded.len);
    if (w.full || !weft__utf8_valid(buf, w.pos))
        return false;
    for (size_t i = 0; i < w.pos; i++)
        if ((unsigned char)buf[i] < 0x20 || buf[i] == 0x7f)
            return false;
    memcpy(name, buf, w.pos);
    name[w.pos] = '\0';
    return true;
}

/*
 * Browsers escape nothing but quotes, by percent-encoding (HTML's multipart/form-data), so "C:\x\y"
 * is what it looks like: a backslash that escapes neither a quote nor a backslash is one.
 */
static ssize_t unquote(struct weft__slice s, char *buf, size_t cap)
{
    struct weft__writer w = weft__writer_of(buf, cap);
    for (size_t i = 0; i < s.len; i++) {
        if (s.at[i] == '\\' && i + 1 < s.len && (s.at[i + 1] == '"' || s.at[i + 1] == '\\'))
            i++;
        weft__writer_u8(&w, (unsigned char)s.at[i]);
    }
    return w.full ? -1 : (ssize_t)w.pos;
}

/* A token or a quoted string. Bytes that are no UTF-8 are Latin-1 (RFC 6266 section 4.3). */
static bool plain_value(const struct weft__http_param *p, char name[256])
{
    char raw[256];
    ssize_t n = p->quoted                     ? unquote(p->value, raw, sizeof(raw))
                : p->value.len <= sizeof(raw) ? (ssize_t)p->value.len
                                              : -1;
    if (n < 0)
        return false;
    if (!p->quoted)
        memcpy(raw, p->value.at, (size_t)n);
    return finish(name, weft__slice_of(raw, (size_t)n), !weft__utf8_valid(raw, (size_t)n));
}

/* "UTF-8'en'%e2%82%ac" (RFC 8187 section 3.2.1). */
static bool extended_value(const struct weft__http_param *p, char name[256])
{
    char raw[256];
    size_t first = weft__slice_find(p->value, '\'', 0);
    size_t second = weft__slice_find(p->value, '\'', first + 1);
    struct weft__slice charset = weft__slice_part(p->value, 0, first);
    bool is_latin1 = weft__slice_is_nocase(charset, "ISO-8859-1");
    if (p->quoted || second >= p->value.len ||
        !(is_latin1 || weft__slice_is_nocase(charset, "UTF-8")))
        return false;
    ssize_t n =
        weft__percent_decode(weft__slice_from(p->value, second + 1), false, raw, sizeof(raw));
    return n >= 0 && finish(name, weft__slice_of(raw, (size_t)n), is_latin1);
}

/* Only what is behind the last separator of any system; "." and ".." are no files. */
static void without_folder(char name[256])
{
    size_t from = strlen(name);
    while (from > 0 && name[from - 1] != '/' && name[from - 1] != '\\')
        from--;
    memmove(name, name + from, strlen(name + from) + 1);
    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        name[0] = '\0';
}

bool weft__http_disposition(struct weft__slice value, struct weft__http_disposition *ret)
{
    struct weft__http_disposition d;
    struct weft__http_param p;
    struct weft__slice v = weft__slice_trim(value);
    size_t semicolon = weft__slice_find(v, ';', 0);
    struct weft__slice rest = weft__slice_from(v, semicolon);
    bool extended = false;
    int r;
    memset(&d, 0, sizeof(d));
    d.type = weft__slice_trim(weft__slice_part(v, 0, semicolon));
    if (!weft__http_token(d.type))
        return false;
    while ((r = weft__http_param_next(&rest, &p)) > 0) {
        bool valid = true;
        if (weft__slice_is_nocase(p.name, "name")) {
            valid = !d.has_name && plain_value(&p, d.name); /* twice: which one is meant? */
            d.has_name = true;
        } else if (weft__slice_is_nocase(p.name, "filename*")) {
            /* one that cannot be read does not spoil the other, RFC 6266 section 4.3 */
            char name[256];
            if (!extended && extended_value(&p, name)) {
                memcpy(d.filename, name, sizeof(name));
                extended = d.has_filename = true;
            }
        } else if (weft__slice_is_nocase(p.name, "filename") && !extended) {
            valid = !d.has_filename && plain_value(&p, d.filename);
            d.has_filename = true;
        }
        if (!valid)
            return false;
    }
    if (r < 0)
        return false;
    without_folder(d.filename);
    *ret = d;
    return true;
}
