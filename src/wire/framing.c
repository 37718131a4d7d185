/* SPDX-License-Identifier: MIT */
/*
 * Decoders and encoders of framings; see <weft/framing.h>.
 *
 * Floor 0. Invariants: every decoder's verdict on a prefix of the stream is final: it answers
 * "more" until the first byte that decides, and then always the same, so the pieces in which bytes
 * arrive change nothing. For framings that end in a delimiter this means that the window in which
 * the end is looked for has a fixed size, max + the delimiter, and that a record counts as too
 * long only when the window is full.
 */
#include <weft/framing.h>

#include <errno.h>
#include <stdint.h>

#include "base/base.h"
#include "base/error.h"
#include "wire/cursor.h"

/* Below this, max + overhead cannot overflow, nor the ssize_t result. */
#define MAX_LIMIT ((size_t)PTRDIFF_MAX - 2 * (size_t)WEFT_FRAMING_OVERHEAD)

/* The bytes of a length prefix, 0 for other kinds. */
static size_t prefix_size(enum weft_framing_kind kind)
{
    switch (kind) {
    case WEFT_FRAMING_INT8:
        return 1;
    case WEFT_FRAMING_INT16:
        return 2;
    case WEFT_FRAMING_INT32:
        return 4;
    default:
        return 0;
    }
}

/* The maximum that is in force. */
static size_t max_of(const struct weft_framing *f)
{
    size_t max = f->max == 0 ? WEFT_FRAMING_DEFAULT_MAX : f->max;
    size_t prefix = prefix_size(f->kind);
    if (prefix > 0)
        max = (size_t)weft__min_u64(max, (UINT64_C(1) << (8 * prefix)) - 1);
    return max;
}

/* 0, or -EINVAL with a detail. */
static int validate(const struct weft_framing *f)
{
    unsigned int kind = (unsigned int)f->kind;
    if (WEFT__UNLIKELY(kind > WEFT_FRAMING_DELIMITER))
        return weft__fail(-EINVAL, "framing kind %u does not exist", kind);
    if (WEFT__UNLIKELY(f->max > MAX_LIMIT))
        return weft__fail(-EINVAL, "a framing's maximum of %zu bytes is too large", f->max);
    if (kind == WEFT_FRAMING_DELIMITER &&
        (f->delimiter == NULL || f->delimiter_len == 0 || f->delimiter_len > WEFT_FRAMING_OVERHEAD))
        return weft__fail(-EINVAL, "a delimiter has 1 to %d bytes", WEFT_FRAMING_OVERHEAD);
    return 0;
}

static int too_long(const char *what, size_t max)
{
    return weft__fail(WEFT_ETOOLONG, "%s is longer than %zu bytes", what, max);
}

/* Sets the record to [from, from + len) of the data. It is there: the caller looked. */
static void set_record(const struct weft__reader *r, size_t from, size_t len, const void **record,
                       size_t *record_len)
{
    struct weft__reader part = *r;
    bool there = weft__reader_seek(&part, from) && weft__reader_bytes(&part, len, record);
    WEFT__ASSERT(there);
    *record_len = len;
}

static ssize_t decode_line(const struct weft_framing *f, const struct weft__reader *r,
                           size_t *scanned, const void **record, size_t *record_len)
{
    size_t max = max_of(f);
    size_t window = max + 2; /* CR LF */
    struct weft__reader w = weft__reader_part(r, 0, window);
    size_t lf;
    size_t len;
    unsigned char before = 0;

    (void)weft__reader_seek(&w, weft__min_size(*scanned, w.len));
    if (!weft__reader_find(&w, '\n', &lf)) {
        *scanned = w.len;
        return w.len == window ? too_long("a line", max) : 0;
    }
    if (lf > 0 && weft__reader_seek(&w, lf - 1))
        (void)weft__reader_peek(&w, &before);
    if (f->crlf_only && before != '\r')
        return weft__fail(WEFT_EPROTOCOL, "a line ends in LF without CR at byte %zu", lf);
    len = before == '\r' ? lf - 1 : lf;
    if (len > max)
        return too_long("a line", max);
    set_record(r, 0, len, record, record_len);
    return (ssize_t)(lf + 1);
}

static ssize_t decode_delimiter(const struct weft_framing *f, const struct weft__reader *r,
                                size_t *scanned, const void **record, size_t *record_len)
{
    size_t max = max_of(f);
    size_t window = max + f->delimiter_len;
    struct weft__reader w = weft__reader_part(r, 0, window);
    size_t at;

    (void)weft__reader_seek(&w, weft__min_size(*scanned, w.len));
    if (!weft__reader_find_bytes(&w, f->delimiter, f->delimiter_len, &at)) {
        /* The last bytes may be the beginning of a delimiter. */
        size_t tail = f->delimiter_len - 1;
        *scanned = w.len > tail ? w.len - tail : 0;
        return w.len == window ? too_long("a delimited record", max) : 0;
    }
    set_record(r, 0, at, record, record_len);
    return (ssize_t)(at + f->delimiter_len);
}

/*
 * Reads the "5:" of a netstring, strictly: no sign, no leading zero, no empty length.
 * Returns 1 with *len set and r after the colon; 0 when more bytes are needed; an error.
 */
static int netstring_length(struct weft__reader *r, size_t max, size_t *len)
{
    unsigned char c;
    size_t value = 0;
    size_t at = r->pos;
    for (; weft__reader_u8(r, &c); at = r->pos) {
        if (c == ':' && at > 0) {
            *len = value;
            return 1;
        }
        if (c < '0' || c > '9')
            return weft__fail(WEFT_EPROTOCOL, "a netstring's length has 0x%02x at byte %zu", c, at);
        if (at == 1 && value == 0)
            return weft__fail(WEFT_EPROTOCOL, "a netstring's length begins with a zero at byte 0");
        size_t digit = (size_t)(c - '0');
        if (value > max / 10 || value * 10 + digit > max)
            return too_long("a netstring", max);
        value = value * 10 + digit;
    }
    return 0;
}

static ssize_t decode_netstring(const struct weft_framing *f, const struct weft__reader *data,
                                const void **record, size_t *record_len)
{
    struct weft__reader r = *data;
    size_t len;
    unsigned char comma;
    int known = netstring_length(&r, max_of(f), &len);
    if (known <= 0)
        return known;
    size_t start = r.pos;
    if (!weft__reader_skip(&r, len) || !weft__reader_u8(&r, &comma))
        return 0;
    if (comma != ',')
        return weft__fail(WEFT_EPROTOCOL, "a netstring ends in 0x%02x, not in a comma, at byte %zu",
                          comma, start + len);
    set_record(data, start, len, record, record_len);
    return (ssize_t)r.pos;
}

static ssize_t decode_prefix(const struct weft_framing *f, const struct weft__reader *data,
                             const void **record, size_t *record_len)
{
    struct weft__reader r = *data;
    size_t max = max_of(f);
    size_t prefix = prefix_size(f->kind);
    uint64_t len;
    if (!weft__reader_number(&r, prefix, &len))
        return 0;
    if (len > max)
        return weft__fail(WEFT_ETOOLONG, "a record of %llu bytes is longer than %zu bytes",
                          (unsigned long long)len, max);
    if (!weft__reader_skip(&r, (size_t)len))
        return 0;
    set_record(data, prefix, (size_t)len, record, record_len);
    return (ssize_t)r.pos;
}

ssize_t weft_framing_decode(const struct weft_framing *f, const void *data, size_t len,
                            size_t *scanned, const void **record, size_t *record_len)
{
    struct weft__reader r = weft__reader_of(data, len);
    size_t from_start = 0;
    ssize_t n = validate(f);
    if (n < 0)
        return n;
    if (scanned == NULL)
        scanned = &from_start;
    switch (f->kind) {
    case WEFT_FRAMING_LINE:
        n = decode_line(f, &r, scanned, record, record_len);
        break;
    case WEFT_FRAMING_DELIMITER:
        n = decode_delimiter(f, &r, scanned, record, record_len);
        break;
    case WEFT_FRAMING_NETSTRING:
        n = decode_netstring(f, &r, record, record_len);
        break;
    default:
        n = decode_prefix(f, &r, record, record_len);
        break;
    }
    if (n > 0)
        *scanned = 0;
    return n;
}

size_t weft_framing_need(const struct weft_framing *f, const void *data, size_t len)
{
    struct weft__reader r = weft__reader_of(data, len);
    size_t room = weft_framing_room(f);
    size_t prefix = prefix_size(f->kind);
    size_t need = len + 1;
    uint64_t value;
    size_t length;

    if (prefix > 0)
        need = weft__reader_number(&r, prefix, &value) ? prefix + (size_t)value : prefix;
    else if (f->kind == WEFT_FRAMING_NETSTRING && netstring_length(&r, max_of(f), &length) > 0)
        need = r.pos + length + 1;
    return weft__min_size(need, room);
}

size_t weft_framing_room(const struct weft_framing *f)
{
    if (validate(f) < 0)
        return 0;
    size_t max = max_of(f);
    switch (f->kind) {
    case WEFT_FRAMING_LINE:
        return max + 2;
    case WEFT_FRAMING_DELIMITER:
        return max + f->delimiter_len;
    case WEFT_FRAMING_NETSTRING: {
        size_t digits = 1;
        for (size_t v = max; v >= 10; v /= 10)
            digits++;
        return digits + 1 + max + 1;
    }
    default:
        return prefix_size(f->kind) + max;
    }
}

int weft_framing_encode(const struct weft_framing *f, size_t record_len,
                        char head[WEFT_FRAMING_OVERHEAD], size_t *head_len,
                        char tail[WEFT_FRAMING_OVERHEAD], size_t *tail_len)
{
    struct weft__writer h = weft__writer_of(head, WEFT_FRAMING_OVERHEAD);
    struct weft__writer t = weft__writer_of(tail, WEFT_FRAMING_OVERHEAD);
    int r = validate(f);
    if (r < 0)
        return r;
    if (record_len > max_of(f))
        return weft__fail(WEFT_ETOOLONG, "a record of %zu bytes is longer than %zu bytes",
                          record_len, max_of(f));
    switch (f->kind) {
    case WEFT_FRAMING_LINE:
        weft__writer_text(&t, f->crlf_only ? "\r\n" : "\n");
        break;
    case WEFT_FRAMING_DELIMITER:
        weft__writer_bytes(&t, f->delimiter, f->delimiter_len);
        break;
    case WEFT_FRAMING_NETSTRING:
        weft__writer_decimal(&h, record_len);
        weft__writer_u8(&h, ':');
        weft__writer_u8(&t, ',');
        break;
    default:
        weft__writer_number(&h, prefix_size(f->kind), record_len);
        break;
    }
    WEFT__ASSERT(!h.full && !t.full);
    *head_len = h.pos;
    *tail_len = t.pos;
    return 0;
}

static int check_line(const struct weft_framing *f, struct weft__reader *r)
{
    size_t at;
    unsigned char last;
    if (weft__reader_find(r, '\n', &at))
        return weft__fail(-EINVAL, "the line holds a LF at byte %zu", at);
    if (!f->crlf_only && r->len > 0 && weft__reader_seek(r, r->len - 1) &&
        weft__reader_peek(r, &last) && last == '\r')
        return weft__fail(-EINVAL, "the line ends in a CR, which would be taken for its line end");
    return 0;
}

/* A delimiter can also be found across the record's end: "x" and then "xx" reads as "" and "x". */
static int check_delimiter(const struct weft_framing *f, const struct weft__reader *r)
{
    unsigned char joint[2 * WEFT_FRAMING_OVERHEAD];
    struct weft__writer w = weft__writer_of(joint, sizeof(joint));
    size_t kept = weft__min_size(r->len, f->delimiter_len - 1);
    struct weft__reader end = weft__reader_part(r, r->len - kept, r->len);
    const void *bytes = NULL;
    size_t at = 0;

    if (weft__reader_find_bytes(r, f->delimiter, f->delimiter_len, &at))
        return weft__fail(-EINVAL, "the record holds its delimiter at byte %zu", at);
    (void)weft__reader_bytes(&end, kept, &bytes);
    weft__writer_bytes(&w, bytes, kept);
    weft__writer_bytes(&w, f->delimiter, f->delimiter_len);
    struct weft__reader both = weft__reader_of(joint, w.pos);
    bool found = weft__reader_find_bytes(&both, f->delimiter, f->delimiter_len, &at);
    WEFT__ASSERT(!w.full && found);
    if (at < kept)
        return weft__fail(-EINVAL, "the record and its delimiter run together at byte %zu",
                          r->len - kept + at);
    return 0;
}

int weft_framing_check(const struct weft_framing *f, const void *record, size_t record_len)
{
    struct weft__reader r = weft__reader_of(record, record_len);
    int v = validate(f);
    if (v < 0)
        return v;
    if (record_len > max_of(f))
        return weft__fail(WEFT_ETOOLONG, "a record of %zu bytes is longer than %zu bytes",
                          record_len, max_of(f));
    if (f->kind == WEFT_FRAMING_LINE)
        return check_line(f, &r);
    if (f->kind == WEFT_FRAMING_DELIMITER)
        return check_delimiter(f, &r);
    return 0;
}
