/* SPDX-License-Identifier: MIT */
/*
 * URLs are split into their parts, joined with those of a base, and normalised into one block; see
 * <weft/url.h>.
 *
 * Floor 0. Invariant: normalising is idempotent, so parts that come from a base, which are
 * normalised already, go the same way as new ones.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <weft/error.h>

#include "base/alloc.h"
#include "base/base.h"
#include "base/error.h"
#include "wire/http.h"
#include "wire/url.h"

/* The public part, what it does not say, and behind it the strings. */
struct url {
    struct weft_url pub;
    bool authority; /* "//" is there, also before an empty host (file:///x) */
    bool opaque;    /* the path is not made of segments (mailto:x) */
    char strings[];
};

/* A URL or reference as it is written; `has` tells an empty part from an absent one. */
struct parts {
    struct weft__slice scheme;
    struct weft__slice authority;
    struct weft__slice folder; /* of the base: stands before the path */
    struct weft__slice path;
    struct weft__slice query;
    struct weft__slice fragment;
    bool has_scheme;
    bool has_authority;
    bool has_query;
    bool has_fragment;
    bool web;
    bool opaque;
};

static const struct {
    const char *scheme;
    int port;
    bool secure;
} web_schemes[] = {
    {"http", 80, false},
    {"https", 443, true},
    {"ws", 80, false},
    {"wss", 443, true},
};

/* The index of a scheme of the web, whatever its case; -1 for another one. */
static int web_scheme(struct weft__slice scheme)
{
    for (size_t i = 0; i < WEFT__ARRAY_LEN(web_schemes); i++)
        if (weft__slice_is_nocase(scheme, web_schemes[i].scheme))
            return (int)i;
    return -1;
}

static bool is_alpha(char c)
{
    return weft__ascii_lower(c) >= 'a' && weft__ascii_lower(c) <= 'z';
}

/* The length of "scheme" before a colon, 0 when there is none. */
static size_t scheme_length(struct weft__slice s)
{
    size_t n = 0;
    if (s.len == 0 || !is_alpha(s.at[0]))
        return 0;
    while (n < s.len && (is_alpha(s.at[n]) || weft__http_is(s.at[n], WEFT__HC_DIGIT) ||
                         s.at[n] == '+' || s.at[n] == '-' || s.at[n] == '.'))
        n++;
    return n < s.len && s.at[n] == ':' ? n : 0;
}

static bool slash(const struct parts *p, char c)
{
    return c == '/' || (p->web && c == '\\');
}

/* Splits what comes after the scheme. `p->web` is set. */
static void split(struct parts *p, struct weft__slice s)
{
    size_t hash = weft__slice_find(s, '#', 0);
    p->has_fragment = hash < s.len;
    p->fragment = weft__slice_from(s, hash + 1);
    s = weft__slice_part(s, 0, hash);
    size_t mark = weft__slice_find(s, '?', 0);
    p->has_query = mark < s.len;
    p->query = weft__slice_from(s, mark + 1);
    s = weft__slice_part(s, 0, mark);
    p->has_authority = s.len >= 2 && slash(p, s.at[0]) && slash(p, s.at[1]);
    if (p->has_authority) {
        size_t end = 2;
        while (end < s.len && !slash(p, s.at[end]))
            end++;
        p->authority = weft__slice_part(s, 2, end);
        s = weft__slice_from(s, end);
    }
    p->path = s;
}

/* What none may have: controls anywhere, white space at the ends. */
static int check_text(struct weft__slice s)
{
    if (s.len > WEFT_URL_MAX)
        return weft__fail(WEFT_EURL, "a URL is longer than %d bytes", WEFT_URL_MAX);
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.at[i];
        if (c < 0x20 || c == 0x7f)
            return weft__fail(WEFT_EURL, "a URL has a control character at byte %zu", i);
    }
    if (s.len > 0 && (s.at[0] == ' ' || s.at[s.len - 1] == ' '))
        return weft__fail(WEFT_EURL, "a URL begins or ends with a space");
    return 0;
}

static void set_bit(uint32_t bits[3], char c)
{
    bits[(unsigned char)c / 32 - 1] |= UINT32_C(1) << (unsigned char)c % 32;
}

/* The characters from 0x20 to 0x7e that a set encodes. */
static void set_of(enum weft__url_set set, uint32_t bits[3])
{
    static const char *const more[] = {
        [WEFT__URL_FRAGMENT] = " \"<>`",
        [WEFT__URL_QUERY] = " \"<>#",
        [WEFT__URL_WEB_QUERY] = " \"<>#'",
        [WEFT__URL_PATH] = " \"<>#?^`{}",
        [WEFT__URL_USER] = " \"<>#?^`{}/:;=@[\\]|",
        [WEFT__URL_OPAQUE] = " \"<>",
    };
    memset(bits, 0, 3 * sizeof(bits[0]));
    for (const char *c = more[set]; *c != '\0'; c++)
        set_bit(bits, *c);
}

static void percent(struct weft__writer *w, unsigned char c)
{
    static const char digits[] = "0123456789ABCDEF";
    const char text[3] = {'%', digits[c >> 4], digits[c & 15]};
    weft__writer_bytes(w, text, sizeof(text));
}

static unsigned hex(char c)
{
    return c <= '9' ? (unsigned)(c - '0') : (unsigned)((c | 0x20) - 'a' + 10);
}

void weft__url_encode(struct weft__writer *w, struct weft__slice s, enum weft__url_set set)
{
    uint32_t bits[3];
    set_of(set, bits);
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.at[i];
        if (c == '%') {
            bool valid = i + 2 < s.len && weft__http_is(s.at[i + 1], WEFT__HC_HEX) &&
                         weft__http_is(s.at[i + 2], WEFT__HC_HEX);
            if (valid) {
                c = (unsigned char)(hex(s.at[i + 1]) << 4 | hex(s.at[i + 2]));
                i += 2;
            }
            /* RFC 3986 section 6.2.2.2: only the unreserved mean the same either way */
            if (valid && (is_alpha((char)c) || weft__http_is((char)c, WEFT__HC_DIGIT) || c == '-' ||
                          c == '.' || c == '_' || c == '~'))
                weft__writer_u8(w, c);
            else
                percent(w, c);
        } else if (c < 0x20 || c > 0x7e || (bits[c / 32 - 1] >> c % 32 & 1) != 0) {
            percent(w, c);
        } else {
            weft__writer_u8(w, c);
        }
    }
}

/* Takes the last segment off, with its slash. */
static void pop_segment(struct weft__writer *w, size_t start)
{
    while (w->pos > start && w->data[w->pos - 1] != '/')
        w->pos--;
    if (w->pos > start)
        w->pos--;
}

/*
 * Writes segments, each with its slash, without dot segments (RFC 3986 section 5.2.4). An encoded
 * dot is a dot by then. `last` tells that no further segments come.
 */
static void segments(struct weft__writer *w, const struct parts *p, struct weft__slice path,
                     size_t start, bool last)
{
    while (path.len > 0) {
        size_t from = slash(p, path.at[0]) ? 1 : 0;
        size_t to = from;
        while (to < path.len && !slash(p, path.at[to]))
            to++;
        size_t before = w->pos;
        weft__writer_u8(w, '/');
        weft__url_encode(w, weft__slice_part(path, from, to), WEFT__URL_PATH);
        if (w->full)
            return;
        bool at_end = last && to == path.len;
        struct weft__slice segment = weft__slice_from(weft__slice_of(w->data, w->pos), before + 1);
        bool one = weft__slice_is(segment, ".");
        bool two = weft__slice_is(segment, "..");
        if (one || two)
            w->pos = before;
        if (two)
            pop_segment(w, start);
        if ((one || two) && at_end)
            weft__writer_u8(w, '/');
        path = weft__slice_from(path, to);
    }
}

static void write_path(struct weft__writer *w, const struct parts *p)
{
    size_t start = w->pos;
    if (p->opaque) {
        weft__url_encode(w, p->path, WEFT__URL_OPAQUE);
        return;
    }
    segments(w, p, p->folder, start, false);
    /* "a/b" after a folder begins a segment without a slash of its own */
    segments(w, p, p->path, start, true);
    if (w->pos == start && p->web)
        weft__writer_u8(w, '/');
}

/* Ends the string that began at *from and moves *from behind it. Gives its place. */
static size_t end_string(struct weft__writer *w, size_t *from)
{
    size_t at = *from;
    weft__writer_u8(w, '\0');
    *from = w->pos;
    return at;
}

/* Where the strings are in the block that is being written. */
struct places {
    size_t scheme, username, password, host, path, query, fragment;
};

/* [userinfo "@"] host [":" port] */
static int write_authority(struct url *u, struct weft__writer *w, const struct parts *p,
                           struct places *at, size_t *from)
{
    struct weft__slice s = p->authority;
    struct weft__slice user = {0};
    size_t sign = s.len;
    uint64_t port = 0;
    int r;
    while (sign > 0 && s.at[sign - 1] != '@') /* the last one: others belong to the user */
        sign--;
    if (sign > 0) {
        user = weft__slice_part(s, 0, sign - 1);
        s = weft__slice_from(s, sign);
    }
    size_t colon = weft__slice_find(user, ':', 0);
    weft__url_encode(w, weft__slice_part(user, 0, colon), WEFT__URL_USER);
    at->username = end_string(w, from);
    weft__url_encode(w, weft__slice_from(user, colon + 1), WEFT__URL_USER);
    at->password = end_string(w, from);

    size_t bracket = s.len > 0 && s.at[0] == '[' ? weft__slice_find(s, ']', 0) : 0;
    colon = weft__slice_find(s, ':', bracket);
    struct weft__slice digits = weft__slice_from(s, colon + 1);
    if (digits.len > 0 && (!weft__http_decimal(digits, &port) || port > 65535))
        return weft__fail(WEFT_EURL, "a URL's port is not a number up to 65535: \"%.*s\"",
                          (int)weft__min_size(digits.len, 40), digits.at);
    r = weft__url_host(w, weft__slice_part(s, 0, colon), p->web, &u->pub.host_kind);
    if (r < 0)
        return r;
    at->host = end_string(w, from);
    if (u->pub.host_kind == WEFT_URL_NO_HOST && (sign > 0 || colon < s.len))
        return weft__fail(WEFT_EURL, "a URL has a user or a port and no host");
    if (digits.len > 0 && (!p->web || u->pub.port != (int)port)) {
        u->pub.port = (int)port;
        u->pub.has_port = true;
    }
    return 0;
}

/* Writes all parts as strings. The block is large enough, or the writer is full at its end. */
static int write_parts(struct url *u, struct weft__writer *w, const struct parts *p,
                       struct places *at)
{
    size_t from = 0;
    int web = web_scheme(p->scheme);
    int r = 0;
    for (size_t i = 0; i < p->scheme.len; i++)
        weft__writer_u8(w, (unsigned char)weft__ascii_lower(p->scheme.at[i]));
    at->scheme = end_string(w, &from);
    u->pub.web = web >= 0;
    u->pub.secure = web >= 0 && web_schemes[web].secure;
    u->pub.port = web >= 0 ? web_schemes[web].port : 0;
    u->authority = p->has_authority;
    u->opaque = p->opaque;
    if (p->has_authority)
        r = write_authority(u, w, p, at, &from);
    else
        at->username = at->password = at->host = end_string(w, &from);
    if (r < 0)
        return r;
    write_path(w, p);
    at->path = end_string(w, &from);
    weft__url_encode(w, p->query, p->web ? WEFT__URL_WEB_QUERY : WEFT__URL_QUERY);
    at->query = end_string(w, &from);
    weft__url_encode(w, p->fragment, WEFT__URL_FRAGMENT);
    at->fragment = end_string(w, &from);
    return 0;
}

/* "//user:password@host:port" */
static void print_authority(struct weft__writer *w, const struct weft_url *u)
{
    weft__writer_text(w, "//");
    if (u->username[0] != '\0' || u->password[0] != '\0') {
        weft__writer_text(w, u->username);
        if (u->password[0] != '\0') {
            weft__writer_u8(w, ':');
            weft__writer_text(w, u->password);
        }
        weft__writer_u8(w, '@');
    }
    weft__writer_text(w, u->host_kind == WEFT_URL_IPV6 ? "[" : "");
    weft__writer_text(w, u->host);
    weft__writer_text(w, u->host_kind == WEFT_URL_IPV6 ? "]" : "");
    if (u->has_port) {
        weft__writer_u8(w, ':');
        weft__writer_decimal(w, (uint64_t)u->port);
    }
}

/* RFC 3986 section 5.3. */
static void print(struct weft__writer *w, const struct url *u)
{
    weft__writer_text(w, u->pub.scheme);
    weft__writer_u8(w, ':');
    if (u->authority)
        print_authority(w, &u->pub);
    else if (!u->opaque && u->pub.path[0] == '/' && u->pub.path[1] == '/')
        weft__writer_text(w, "/."); /* or the path would be read as an authority */
    weft__writer_text(w, u->pub.path);
    if (u->pub.query != NULL) {
        weft__writer_u8(w, '?');
        weft__writer_text(w, u->pub.query);
    }
    if (u->pub.fragment != NULL) {
        weft__writer_u8(w, '#');
        weft__writer_text(w, u->pub.fragment);
    }
    weft__writer_u8(w, '\0');
}

static size_t room_of(const struct parts *p)
{
    size_t raw = p->scheme.len + p->authority.len + p->folder.len + p->path.len + p->query.len +
                 p->fragment.len;
    return 3 * raw + WEFT__URL_HOST_MAX + 64;
}

/* Normalises the parts into a new URL. */
static int build(struct weft_url **ret, const struct parts *p)
{
    size_t cap = room_of(p);
    struct places at = {0};
    struct url *u = weft__calloc(1, sizeof(*u) + 2 * cap);
    if (u == NULL)
        return -ENOMEM;
    struct weft__writer w = weft__writer_of(u->strings, cap);
    int r = write_parts(u, &w, p, &at);
    if (r < 0)
        goto fail;
    WEFT__ASSERT(!w.full);
    u->pub.scheme = &u->strings[at.scheme];
    u->pub.username = &u->strings[at.username];
    u->pub.password = &u->strings[at.password];
    u->pub.host = &u->strings[at.host];
    u->pub.path = &u->strings[at.path];
    u->pub.query = p->has_query ? &u->strings[at.query] : NULL;
    u->pub.fragment = p->has_fragment ? &u->strings[at.fragment] : NULL;
    u->pub.text = &u->strings[w.pos];
    struct weft__writer text = weft__writer_of(&u->strings[w.pos], 2 * cap - w.pos);
    print(&text, u);
    WEFT__ASSERT(!text.full);
    if (text.pos - 1 > WEFT_URL_MAX) {
        r = weft__fail(WEFT_EURL, "a URL is longer than %d bytes", WEFT_URL_MAX);
        goto fail;
    }
    *ret = &u->pub;
    return 0;
fail:
    weft__free(u);
    return r;
}

/* A URL with a scheme of its own. */
static int parse_absolute(struct weft_url **ret, struct weft__slice s, size_t scheme)
{
    struct parts p = {.has_scheme = true, .scheme = weft__slice_part(s, 0, scheme)};
    p.web = web_scheme(p.scheme) >= 0;
    split(&p, weft__slice_from(s, scheme + 1));
    if (p.web && !p.has_authority)
        return weft__fail(WEFT_EURL, "there is no // after %.*s:", (int)scheme, s.at);
    p.opaque = !p.has_authority && (p.path.len == 0 || p.path.at[0] != '/');
    return build(ret, &p);
}

int weft_url_parse(struct weft_url **ret, const char *text, size_t len)
{
    struct weft__slice s = weft__slice_of(text, len);
    size_t scheme = scheme_length(s);
    int r = check_text(s);
    if (r < 0)
        return r;
    if (scheme == 0)
        return weft__fail(WEFT_EURL, "a URL does not begin with a scheme");
    return parse_absolute(ret, s, scheme);
}

/* The base's authority, as it is in its text. */
static struct weft__slice authority_of(const struct url *u)
{
    size_t from = strlen(u->pub.scheme) + 3;
    struct weft__slice s = weft__slice_text(u->pub.text);
    size_t to = from;
    while (to < s.len && strchr("/?#", s.at[to]) == NULL)
        to++;
    return weft__slice_part(s, from, to);
}

/* RFC 3986 section 5.2.3: all of the base's path up to its last slash, without it. */
static struct weft__slice folder_of(const struct url *u)
{
    struct weft__slice path = weft__slice_text(u->pub.path);
    while (path.len > 0 && path.at[path.len - 1] != '/')
        path.len--;
    return weft__slice_part(path, 0, path.len > 0 ? path.len - 1 : 0);
}

int weft_url_resolve(struct weft_url **ret, const struct weft_url *base, const char *text,
                     size_t len)
{
    const struct url *b = WEFT__CONTAINER_OF(base, const struct url, pub);
    struct weft__slice s = weft__slice_of(text, len);
    size_t scheme = scheme_length(s);
    struct parts p = {.web = base->web, .scheme = weft__slice_text(base->scheme)};
    int r = check_text(s);
    if (r < 0)
        return r;
    if (scheme > 0)
        return parse_absolute(ret, s, scheme);
    split(&p, s);
    if (b->opaque && (p.has_authority || p.path.len > 0 || p.has_query))
        return weft__fail(WEFT_EURL, "nothing is relative to %s:", base->scheme);
    p.opaque = b->opaque;
    if (p.has_authority)
        return build(ret, &p);
    p.has_authority = b->authority;
    p.authority = b->authority ? authority_of(b) : weft__slice_of(NULL, 0);
    if (p.path.len == 0) {
        p.path = weft__slice_text(base->path);
        if (!p.has_query && base->query != NULL) {
            p.has_query = true;
            p.query = weft__slice_text(base->query);
        }
    } else if (!slash(&p, p.path.at[0])) {
        p.folder = folder_of(b);
    }
    return build(ret, &p);
}

void weft_url_free(struct weft_url *url)
{
    if (url != NULL)
        weft__free(WEFT__CONTAINER_OF(url, struct url, pub));
}
