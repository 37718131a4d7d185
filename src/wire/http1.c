/* SPDX-License-Identifier: MIT */
/*
 * Heads of HTTP/1 messages, line by line; see http1.h.
 *
 * Floor 0. A line is looked at twice: once for its end, which finds control characters on the way,
 * and once for its content, when it is whole. Between calls the state is in the head (what the
 * lines so far have said) and in the scan (where the next one begins).
 */
#include "wire/http1.h"

#include <string.h>

#include <weft/error.h>

#include "base/base.h"
#include "base/error.h"
#include "wire/http1_head.h"
#include "wire/http1_line.h"

/* Of weft__http1_scan.state. */
enum { AT_START, AT_EMPTY_LINE, IN_FIELDS };

int weft__http1_refuse(struct weft__http1_error *e, int status, size_t at, const char *why)
{
    bool size = status == 413 || status == 414 || status == 431;
    *e = (struct weft__http1_error){.status = status, .why = why, .at = at};
    return weft__fail(size ? WEFT_ETOOLONG : WEFT_EPROTOCOL, "%s, at byte %zu", why, at);
}

int weft__http1_bad_name(struct weft__http1_error *e, const char *data, size_t from, size_t colon,
                         size_t to)
{
    size_t at = from;
    if (data[from] == ' ' || data[from] == '\t') /* RFC 9112 section 5.2 */
        return weft__http1_refuse(e, 400, from, "a line begins with white space");
    while (at < colon && weft__http_is(data[at], WEFT__HC_TOKEN))
        at++;
    if (colon == to)
        return weft__http1_refuse(e, 400, at, "a field line has no colon");
    if (colon == from)
        return weft__http1_refuse(e, 400, at, "a field has no name");
    if (data[at] == ' ' || data[at] == '\t') /* RFC 9112 section 5.1 */
        return weft__http1_refuse(e, 400, at, "there is white space in a field's name");
    return weft__http1_refuse(e, 400, at, "a field's name has a character that none may have");
}

/* Limits with their defaults. */
static inline size_t limit(uint32_t set, uint32_t otherwise)
{
    return set == 0 ? otherwise : set;
}

/* Where the CR of a head's last line may stand at most; 2 bytes of the head come after it. */
static inline size_t head_last(const struct weft__http1_head *h)
{
    size_t max = weft__min_size(limit(h->limits.head, WEFT__HTTP1_HEAD), WEFT__HTTP1_HEAD_MAX);
    return max < 2 ? 0 : max - 2;
}

/* The same of the line at scan->line. */
static inline size_t last_of(const struct weft__http1_scan *scan, size_t line_max, size_t last)
{
    return weft__min_size(scan->line + line_max, last);
}

/* Forgets what another message said, one by one: a memset of all this takes twice as long. */
static void begin(struct weft__http1_head *h)
{
    const struct weft__http_span none = {0, 0};
    h->field_count = 0;
    h->seen = 0;
    h->minor = 0;
    h->keep_alive = false;
    h->close = false;
    h->upgrade = false;
    h->has_length = false;
    h->body = WEFT__HTTP1_NO_BODY;
    h->length = 0;
    h->content_length = 0;
    h->method = WEFT__HTTP_OTHER;
    h->method_name = none;
    h->form = WEFT__HTTP1_ORIGIN;
    h->target = none;
    h->scheme = none;
    h->authority = none;
    h->host = none;
    h->port = -1;
    h->path = none;
    h->query = none;
    h->has_query = false;
    h->expect_continue = false;
    h->expect_other = false;
    h->status = 0;
    h->reason = none;
    h->tunnel = false;
}

/* Reads the first line. Returns 1, 0 for more, or an error. */
WEFT__HTTP1_INLINE int start_line(struct weft__http1_head *h, struct weft__http1_scan *scan,
                                  const char *data, size_t len, size_t last, bool response)
{
    size_t line_max = limit(h->limits.start_line, WEFT__HTTP1_START_LINE);
    size_t end = 0;
    int r;
    if (scan->state == AT_START && scan->looked == 0)
        begin(h);
    for (;;) {
        r = weft__http1_line(scan, data, len, last_of(scan, line_max, last), &h->error, &end);
        if (r == -1)
            return weft__http1_refuse(&h->error, 414, end,
                                      response ? "the status line is too long"
                                               : "the request line is too long");
        if (r <= 0)
            return r;
        if (end != scan->line || response || scan->state != AT_START)
            break;
        scan->state = AT_EMPTY_LINE; /* RFC 9112 section 2.2: one is skipped */
        scan->line = scan->looked = (uint32_t)end + 2;
    }
    r = response ? weft__http1_status_line(h, data, scan->line, end)
                 : weft__http1_request_line(h, data, scan->line, end);
    if (r < 0)
        return r;
    scan->state = IN_FIELDS;
    scan->line = scan->looked = (uint32_t)end + 2;
    return 1;
}

/* Reads field lines up to the empty one. Returns the length of the head, 0, or an error. */
WEFT__HTTP1_INLINE ssize_t field_lines(struct weft__http1_head *h, struct weft__http1_scan *scan,
                                       const char *data, size_t len, size_t last, bool response)
{
    size_t line_max = limit(h->limits.field_line, WEFT__HTTP1_FIELD_LINE);
    for (;;) {
        size_t end = scan->line;
        if (end + 2 <= len && end <= last && memcmp(data + end, "\r\n", 2) == 0) {
            scan->looked = (uint32_t)end;
            return (ssize_t)end + 2;
        }
        int r = weft__http1_line(scan, data, len, last_of(scan, line_max, last), &h->error, &end);
        if (r == -1)
            return weft__http1_refuse(&h->error, 431, end,
                                      end == scan->line + line_max ? "a field line is too long"
                                                                   : "the head is too long");
        if (r <= 0)
            return r;
        if (end == scan->line)
            return (ssize_t)end + 2;
        if (WEFT__UNLIKELY(h->field_count == h->fields_cap))
            return weft__http1_refuse(&h->error, 431, scan->line, "there are too many fields");
        struct weft__http1_field *f = &h->fields[h->field_count];
        r = weft__http1_field_line(f, &h->error, data, scan->line, end);
        if (r == 0 && (WEFT__HTTP1_FRAMING >> f->id & 1) != 0)
            r = weft__http1_frame_field(h, data, f, response);
        if (r < 0)
            return r;
        h->seen |= WEFT__HTTP1_BIT(f->id);
        h->field_count++;
        scan->line = scan->looked = (uint32_t)end + 2;
    }
}

ssize_t weft__http1_parse_request(struct weft__http1_head *h, struct weft__http1_scan *scan,
                                  const char *data, size_t len)
{
    size_t last = head_last(h);
    if (scan->state != IN_FIELDS) {
        int r = start_line(h, scan, data, len, last, false);
        if (r <= 0)
            return r;
    }
    ssize_t n = field_lines(h, scan, data, len, last, false);
    if (n <= 0)
        return n;
    int r = weft__http1_frame_request(h, scan->line);
    return r < 0 ? r : n;
}

static ssize_t parse_response(struct weft__http1_head *h, struct weft__http1_scan *scan,
                              enum weft__http_method method, const char *data, size_t len)
{
    size_t last = head_last(h);
    if (scan->state != IN_FIELDS) {
        int r = start_line(h, scan, data, len, last, true);
        if (r <= 0)
            return r;
    }
    ssize_t n = field_lines(h, scan, data, len, last, true);
    if (n <= 0)
        return n;
    weft__http1_frame_response(h, method);
    return n;
}

ssize_t weft__http1_parse_response(struct weft__http1_head *h, struct weft__http1_scan *scan,
                                   enum weft__http_method method, const char *data, size_t len)
{
    ssize_t n = parse_response(h, scan, method, data, len);
    if (n < 0) /* what a gateway would answer: it is not its client who was wrong */
        h->error.status = n == WEFT_ETOOLONG ? 431 : 502;
    return n;
}

const struct weft__http1_field *weft__http1_find(const struct weft__http1_head *h,
                                                 enum weft__http_name id,
                                                 const struct weft__http1_field *after)
{
    size_t i = after == NULL ? 0 : (size_t)(after - h->fields) + 1;
    if ((h->seen >> id & 1) == 0)
        return NULL;
    for (; i < h->field_count; i++)
        if (h->fields[i].id == id)
            return &h->fields[i];
    return NULL;
}

const struct weft__http1_field *weft__http1_find_text(const struct weft__http1_head *h,
                                                      const char *data, const char *name,
                                                      const struct weft__http1_field *after)
{
    size_t i = after == NULL ? 0 : (size_t)(after - h->fields) + 1;
    for (; i < h->field_count; i++)
        if (weft__slice_is_nocase(weft__http_slice(data, h->fields[i].name), name))
            return &h->fields[i];
    return NULL;
}

struct weft__slice weft__http1_value(const struct weft__http1_head *h, const char *data,
                                     enum weft__http_name id)
{
    const struct weft__http1_field *f = weft__http1_find(h, id, NULL);
    return f == NULL ? weft__slice_of(NULL, 0) : weft__http_slice(data, f->value);
}

bool weft__http1_joined(const struct weft__http1_head *h, const char *data, enum weft__http_name id,
                        char *buf, size_t cap, struct weft__slice *value)
{
    const struct weft__http1_field *f = weft__http1_find(h, id, NULL);
    if (f == NULL || weft__http1_find(h, id, f) == NULL) {
        *value = weft__http1_value(h, data, id);
        return true;
    }
    struct weft__writer w = weft__writer_of(buf, cap);
    for (; f != NULL; f = weft__http1_find(h, id, f)) {
        if (w.pos > 0)
            weft__writer_text(&w, id == WEFT__HN_COOKIE ? "; " : ", ");
        struct weft__slice part = weft__http_slice(data, f->value);
        weft__writer_bytes(&w, part.at, part.len);
    }
    if (w.full)
        return false;
    *value = weft__slice_of(buf, w.pos);
    return true;
}
