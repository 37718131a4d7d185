/* SPDX-License-Identifier: MIT */
/*
 * Multipart bodies in pieces; see multipart.h.
 *
 * Floor 0. The CR LF before a boundary belongs to the boundary (RFC 2046 section 5.1.1), so the
 * parser works with the delimiter CR LF "--" boundary, and begins as if a CR LF stood before the
 * body. The empty line that ends a part's fields stays in the window until it is known whether its
 * CR LF is that of a delimiter: a part may end right there, without content.
 */
#include "wire/multipart.h"

#include <errno.h>

#include <weft/error.h>

#include "base/base.h"
#include "base/error.h"
#include "wire/http1_line.h"

enum { START, PREAMBLE, BOUNDARY, FIELDS, BODY_START, BODY, ENDED };

static int refuse(struct weft__multipart *m, int status, size_t at, const char *why)
{
    return weft__http1_refuse(&m->error, status, (size_t)(m->consumed + at), why);
}

static uint32_t limit(uint32_t set, uint32_t otherwise)
{
    return set == 0 ? otherwise : set;
}

/* bchars, RFC 2046 section 5.1.1. */
static bool is_boundary(struct weft__slice s)
{
    if (s.len == 0 || s.len > WEFT__MULTIPART_BOUNDARY || s.at[s.len - 1] == ' ')
        return false;
    for (size_t i = 0; i < s.len; i++) {
        char c = s.at[i];
        bool alnum = weft__http_is(c, WEFT__HC_DIGIT) ||
                     (weft__ascii_lower(c) >= 'a' && weft__ascii_lower(c) <= 'z');
        if (!alnum && (c == '\0' || strchr("'()+_,-./:=? ", c) == NULL))
            return false;
    }
    return true;
}

bool weft__multipart_boundary(struct weft__slice content_type, bool *form,
                              char buf[WEFT__MULTIPART_BOUNDARY], size_t *len)
{
    struct weft__http_media_type type;
    struct weft__http_param p;
    char text[WEFT__MULTIPART_BOUNDARY];
    if (!weft__http_media_type(content_type, &type) ||
        !weft__slice_is_nocase(type.type, "multipart") ||
        !weft__http_param_find(type.params, "boundary", &p))
        return false;
    ssize_t n = weft__http_unquote(p.value, text, sizeof(text));
    if (n < 0 || !is_boundary(weft__slice_of(text, (size_t)n)))
        return false;
    memcpy(buf, text, (size_t)n);
    *len = (size_t)n;
    *form = weft__slice_is_nocase(type.subtype, "form-data");
    return true;
}

int weft__multipart_init(struct weft__multipart *m, struct weft__slice boundary, bool form,
                         const struct weft__multipart_limits *limits)
{
    if (!is_boundary(boundary))
        return weft__fail(-EINVAL, "a boundary has 1 to %u characters of RFC 2046's bchars",
                          WEFT__MULTIPART_BOUNDARY);
    memset(m, 0, sizeof(*m));
    if (limits != NULL)
        m->limits = *limits;
    m->form = form;
    struct weft__writer w = weft__writer_of(m->delimiter, sizeof(m->delimiter));
    weft__writer_text(&w, "\r\n--");
    weft__writer_bytes(&w, boundary.at, boundary.len);
    m->delimiter_len = w.pos;
    return 0;
}

/* The bytes at the end of data that may begin a delimiter. */
static size_t beginning_at_end(const struct weft__multipart *m, const char *data, size_t len)
{
    size_t n = weft__min_size(len, m->delimiter_len - 1);
    while (n > 0 && memcmp(data + len - n, m->delimiter, n) != 0)
        n--;
    return n;
}

/* -1: data does not begin with the delimiter's bytes from `skip` on; 0: it may yet; 1: it does. */
static int at_delimiter(const struct weft__multipart *m, const char *data, size_t len, size_t skip)
{
    size_t n = weft__min_size(len, m->delimiter_len - skip);
    if (n > 0 && memcmp(data, m->delimiter + skip, n) != 0)
        return -1;
    return n == m->delimiter_len - skip;
}

/* Where the next delimiter begins, len when it is not there. */
static size_t find_delimiter(const struct weft__multipart *m, const char *data, size_t len)
{
    struct weft__reader r = weft__reader_of(data, len);
    size_t at;
    return weft__reader_find_bytes(&r, m->delimiter, m->delimiter_len, &at) ? at : len;
}

/* The first boundary, which may be the body's first bytes. */
static int preamble(struct weft__multipart *m, const char *data, size_t len, size_t *at)
{
    if (m->state == START) {
        int is = at_delimiter(m, data, len, 2);
        if (is == 0)
            return 0;
        m->state = is > 0 ? BOUNDARY : PREAMBLE;
        if (is > 0)
            *at = m->delimiter_len - 2;
        return is > 0;
    }
    size_t found = find_delimiter(m, data, len);
    size_t skipped = found < len ? found : len - beginning_at_end(m, data, len);
    if (m->consumed + skipped > limit(m->limits.preamble, WEFT__MULTIPART_PREAMBLE))
        return weft__http1_refuse(&m->error, 400,
                                  limit(m->limits.preamble, WEFT__MULTIPART_PREAMBLE),
                                  "there is no boundary where the first one is to be");
    *at = skipped;
    if (found == len)
        return 0;
    *at += m->delimiter_len;
    m->state = BOUNDARY;
    return 1;
}

/* What follows a boundary: "--", or white space and a line's end. */
static int after_boundary(struct weft__multipart *m, const char *data, size_t len, size_t *at)
{
    size_t i = 0;
    if (len >= 1 && data[0] == '-') {
        if (len < 2)
            return 0;
        if (data[1] != '-')
            return refuse(m, 400, 1, "a boundary is followed by something");
        *at = 2;
        m->state = ENDED;
        return WEFT__MULTIPART_END;
    }
    while (i < len && (data[i] == ' ' || data[i] == '\t')) {
        if (i == WEFT__MULTIPART_PADDING)
            return refuse(m, 400, i, "there is too much white space behind a boundary");
        i++;
    }
    if (i < len && data[i] != '\r')
        return refuse(m, 400, i, "a boundary is followed by something");
    if (i + 1 < len && data[i + 1] != '\n')
        return refuse(m, 400, i + 1, "there is CR without LF behind a boundary");
    if (i + 1 >= len)
        return 0;
    if (m->parts == limit(m->limits.parts, WEFT__MULTIPART_PARTS))
        return refuse(m, 413, 0, "there are too many parts");
    *at = i + 2;
    m->parts++;
    m->state = FIELDS;
    m->scan = (struct weft__http1_scan){0};
    m->field_count = 0;
    m->content = 0;
    return 1;
}

/* RFC 7578 section 4.2. */
static int form_part(struct weft__multipart *m, const char *data)
{
    const struct weft__http1_field *found = NULL;
    for (uint32_t i = 0; i < m->field_count; i++) {
        const struct weft__http1_field *f = &m->fields[i];
        if (f->id != WEFT__HN_CONTENT_DISPOSITION)
            continue;
        if (found != NULL)
            return refuse(m, 400, f->name.at, "a part has two Content-Disposition fields");
        found = f;
    }
    if (found == NULL)
        return refuse(m, 400, 0, "a part has no Content-Disposition");
    if (!weft__http_disposition(weft__http_slice(data, found->value), &m->disposition) ||
        !weft__slice_is_nocase(m->disposition.type, "form-data") || !m->disposition.has_name)
        return refuse(m, 400, found->value.at, "a part's Content-Disposition names no form field");
    return 0;
}

/* The fields of a part, up to their empty line, whose CR LF is left. */
static int part_fields(struct weft__multipart *m, const char *data, size_t len, size_t *at)
{
    size_t all_max = weft__max_size(limit(m->limits.head, WEFT__MULTIPART_HEAD), 2);
    for (;;) {
        struct weft__http1_error e;
        size_t end = 0;
        size_t from = m->scan.line;
        size_t line_max = limit(m->limits.line, WEFT__MULTIPART_LINE);
        int r = weft__http1_line(&m->scan, data, len, weft__min_size(from + line_max, all_max - 2),
                                 &e, &end);
        if (r == -1)
            return refuse(m, 413, end, "a part's fields are too long");
        if (r == 0)
            return 0;
        if (r == 1 && end == from) {
            *at = end;
            m->state = BODY_START;
            r = m->form ? form_part(m, data) : 0;
            return r < 0 ? r : WEFT__MULTIPART_PART;
        }
        if (r == 1 && m->field_count == WEFT__MULTIPART_FIELDS)
            return refuse(m, 413, from, "a part has too many fields");
        if (r == 1)
            r = weft__http1_field_line(&m->fields[m->field_count], &e, data, from, end);
        if (r < 0)
            return refuse(m, e.status, e.at, e.why);
        m->field_count++;
        m->scan.line = m->scan.looked = (uint32_t)end + 2;
    }
}

/* The content, of which all is given but what may belong to a delimiter. */
static int body(struct weft__multipart *m, const char *data, size_t len, size_t *at)
{
    if (m->state == BODY_START) {
        int is = at_delimiter(m, data, len, 0);
        if (is == 0)
            return 0;
        m->state = BODY;
        if (is < 0) {
            *at = 2; /* it was the empty line */
            return 1;
        }
    }
    size_t found = find_delimiter(m, data, len);
    if (found == 0 && len > 0) {
        *at = m->delimiter_len;
        m->state = BOUNDARY;
        return WEFT__MULTIPART_DONE;
    }
    size_t n = found < len ? found : len - beginning_at_end(m, data, len);
    if (m->limits.part > 0) {
        size_t room = (size_t)weft__min_u64(n, m->limits.part - m->content);
        if (n > 0 && room == 0)
            return refuse(m, 413, 0, "a part is too large");
        n = room;
    }
    if (n == 0)
        return 0;
    m->content += n;
    m->data = weft__slice_of(data, n);
    *at = n;
    return WEFT__MULTIPART_DATA;
}

/* One step. 0: more bytes are needed; with *event, an event; else 1: go on behind *at. */
static int step(struct weft__multipart *m, const char *data, size_t len, size_t *at, bool *event)
{
    int r;
    *at = 0;
    *event = false;
    switch (m->state) {
    case START:
    case PREAMBLE:
        return preamble(m, data, len, at);
    case BOUNDARY:
        r = after_boundary(m, data, len, at);
        *event = r == WEFT__MULTIPART_END;
        return r;
    case FIELDS:
        r = part_fields(m, data, len, at);
        *event = r == WEFT__MULTIPART_PART;
        return r;
    default:
        r = body(m, data, len, at);
        *event = r >= WEFT__MULTIPART_DATA;
        return r;
    }
}

int weft__multipart_next(struct weft__multipart *m, const char *data, size_t len, size_t *used)
{
    size_t done = 0;
    for (;;) {
        size_t at = 0;
        bool event;
        WEFT__ASSERT(m->state != ENDED);
        uint8_t before = m->state;
        int r = step(m, data + done, len - done, &at, &event);
        if (r < 0)
            return r;
        if (r == WEFT__MULTIPART_PART && event) {
            for (uint32_t i = 0; i < m->field_count; i++) {
                m->fields[i].name.at += (uint32_t)done;
                m->fields[i].value.at += (uint32_t)done;
            }
        }
        m->consumed += at;
        done += at;
        /* START may become PREAMBLE without a byte being used */
        if (event || (r == 0 && m->state == before)) {
            *used = done;
            return event ? r : WEFT__MULTIPART_MORE;
        }
    }
}

int weft__multipart_complete(const struct weft__multipart *m)
{
    if (m->state == ENDED)
        return 0;
    return weft__fail(WEFT_EPROTOCOL, "a multipart body ends %s, at byte %llu",
                      m->parts == 0 ? "before its first part" : "within a part",
                      (unsigned long long)m->consumed);
}

size_t weft__multipart_window(const struct weft__multipart *m)
{
    size_t head = weft__max_size(limit(m->limits.head, WEFT__MULTIPART_HEAD), 2);
    return weft__max_size(head, m->delimiter_len + WEFT__MULTIPART_PADDING) + 2;
}
