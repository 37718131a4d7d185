/* SPDX-License-Identifier: MIT */
/*
 * Chunked bodies (RFC 9112 section 7.1); see http1.h.
 *
 * Floor 0. A machine over bytes for the sizes, spans for the data, lines for the trailers.
 *
 * Invariants: body_bytes + left <= body_max; the trailers' scan counts from their first byte, which
 * is the first of the next call's data, because nothing of them is used before their end.
 */
#include <weft/error.h>

#include "base/base.h"
#include "base/error.h"
#include "wire/http1_head.h"
#include "wire/http1_line.h"

enum { SIZE, EXTENSION, SIZE_LF, DATA, DATA_CR, DATA_LF, TRAILERS, ENDED };

/* Where in an extension: *( BWS ";" BWS name [ BWS "=" BWS value ] ), RFC 9112 section 7.1.1. Its
 * text has to be read although it is dropped: a reader that goes by the quotes, and one that does
 * not, are to find the same end. */
enum { AT_SEMICOLON, AT_NAME, NAME, AT_EQUALS, AT_VALUE, TOKEN, QUOTED, ESCAPED, CLOSED, BAD };

#define SIZE_DIGITS 16u

void weft__http1_chunked_init(struct weft__http1_chunked *c,
                              const struct weft__http1_chunked_limits *limits,
                              struct weft__http1_field *fields, uint32_t fields_cap)
{
    *c = (struct weft__http1_chunked){
        .limits = *limits,
        .fields = fields,
        .fields_cap = fields_cap,
    };
}

static uint32_t limit(uint32_t set, uint32_t otherwise)
{
    return set == 0 ? otherwise : set;
}

static int refuse(struct weft__http1_chunked *c, int status, size_t at, const char *why)
{
    return weft__http1_refuse(&c->error, status, (size_t)(c->consumed + at), why);
}

/* The value of a hexadecimal digit, 16 for what is none. */
static unsigned hex(char ch)
{
    unsigned char u = (unsigned char)ch;
    if (u >= '0' && u <= '9')
        return (unsigned)(u - '0');
    u |= 0x20;
    return u >= 'a' && u <= 'f' ? (unsigned)(u - 'a' + 10) : 16;
}

/* One byte of a size line, up to its CR. */
static int size_byte(struct weft__http1_chunked *c, char ch, size_t at)
{
    unsigned digit = hex(ch);
    if (digit < 16) {
        if (c->line_bytes == SIZE_DIGITS)
            return refuse(c, 400, at, "a chunk's size has more than 16 digits");
        c->left = c->left << 4 | digit;
        c->line_bytes++;
        return 0;
    }
    if (c->line_bytes == 0)
        return refuse(c, 400, at, "a chunk's size does not begin with a digit");
    bool blank = ch == ' ' || ch == '\t'; /* BWS: no more than before a semicolon */
    if (ch != ';' && ch != '\r' && !blank)
        return refuse(c, 400, at, "a chunk's size has a character that is no digit");
    if (c->left > c->limits.body_max - c->body_bytes)
        return refuse(c, 413, at, "the body is too large");
    c->line_bytes++;
    c->state = ch == '\r' ? SIZE_LF : EXTENSION;
    c->extension = blank ? AT_SEMICOLON : AT_NAME;
    return 0;
}

/* From one place of an extension to the next; BAD where that byte has none. */
static uint8_t extension_next(uint8_t at, char ch)
{
    bool blank = ch == ' ' || ch == '\t';
    bool token = weft__http_is(ch, WEFT__HC_TOKEN);
    switch (at) {
    case AT_SEMICOLON:
        return ch == ';' ? AT_NAME : blank ? AT_SEMICOLON : BAD;
    case AT_NAME:
        return token ? NAME : blank ? AT_NAME : BAD;
    case NAME:
    case AT_EQUALS:
        if (token && at == NAME)
            return NAME;
        return ch == ';' ? AT_NAME : ch == '=' ? AT_VALUE : blank ? AT_EQUALS : BAD;
    case AT_VALUE:
        return token ? TOKEN : ch == '"' ? QUOTED : blank ? AT_VALUE : BAD;
    case QUOTED:
        return ch == '"' ? CLOSED : ch == '\\' ? ESCAPED : QUOTED;
    case ESCAPED:
        return QUOTED;
    default: /* TOKEN, CLOSED */
        if (token && at == TOKEN)
            return TOKEN;
        return ch == ';' ? AT_NAME : blank ? AT_SEMICOLON : BAD;
    }
}

static int extension_byte(struct weft__http1_chunked *c, char ch, size_t at)
{
    if (ch == '\r' && (c->extension == NAME || c->extension == TOKEN || c->extension == CLOSED)) {
        c->state = SIZE_LF;
        return 0;
    }
    if (weft__http1_is_control(ch) && ch != '\r')
        return refuse(c, 400, at, "there is a control character in a chunk's extension");
    if (ch == '\r' || (c->extension = extension_next(c->extension, ch)) == BAD)
        return refuse(c, 400, at, "a chunk's extension is not of a name and a value");
    if (++c->line_bytes > limit(c->limits.size_line, WEFT__HTTP1_SIZE_LINE) ||
        ++c->extension_bytes > limit(c->limits.extensions, WEFT__HTTP1_EXTENSIONS))
        return refuse(c, 400, at, "the extensions of chunks are too long");
    return 0;
}

/* A byte that must be this one. */
static int expect(struct weft__http1_chunked *c, char ch, char wanted, uint8_t next, size_t at)
{
    if (ch != wanted)
        return refuse(c, 400, at,
                      c->state == SIZE_LF   ? "a chunk's size line has CR without LF"
                      : c->state == DATA_CR ? "a chunk does not end after its size"
                                            : "there is CR without LF after a chunk");
    c->state = next;
    return 0;
}

/* One byte of what is around the data. */
static int framing_byte(struct weft__http1_chunked *c, char ch, size_t at)
{
    switch (c->state) {
    case SIZE:
        return size_byte(c, ch, at);
    case EXTENSION:
        return extension_byte(c, ch, at);
    case SIZE_LF:
        c->line_bytes = 0;
        return expect(c, ch, '\n', c->left == 0 ? TRAILERS : DATA, at);
    case DATA_CR:
        return expect(c, ch, '\r', DATA_LF, at);
    default:
        return expect(c, ch, '\n', SIZE, at);
    }
}

/* RFC 9110 section 6.5.1: what decides about framing and routing has no place after the body. */
static bool allowed(enum weft__http_name name)
{
    return name != WEFT__HN_CONTENT_LENGTH && name != WEFT__HN_TRANSFER_ENCODING &&
           name != WEFT__HN_HOST && name != WEFT__HN_CONNECTION;
}

/* The trailers begin at data[0], `base` bytes into the call's. Returns their length, 0, an error.
 */
static ssize_t trailers(struct weft__http1_chunked *c, const char *data, size_t len, size_t base)
{
    struct weft__http1_error e;
    struct weft__http1_field dropped;
    uint32_t line_max = limit(c->limits.trailer_line, WEFT__HTTP1_TRAILER_LINE);
    size_t all_max = weft__max_size(limit(c->limits.trailers, WEFT__HTTP1_TRAILERS), 2);
    uint32_t count_max = c->fields == NULL ? WEFT__HTTP1_TRAILER_COUNT : c->fields_cap;

    for (;;) {
        size_t end = 0;
        size_t from = c->scan.line;
        int r = weft__http1_line(&c->scan, data, len, weft__min_size(from + line_max, all_max - 2),
                                 &e, &end);
        if (r == -1)
            return refuse(c, 431, base + end, "the trailers are too long");
        if (r == 0)
            return 0;
        if (r == 1 && end == from)
            return (ssize_t)end + 2;
        if (r == 1 && c->field_count == count_max)
            return refuse(c, 431, base + from, "there are too many trailers");
        struct weft__http1_field *f = c->fields == NULL ? &dropped : &c->fields[c->field_count];
        if (r == 1)
            r = weft__http1_field_line(f, &e, data, from, end);
        if (r < 0)
            return refuse(c, e.status, base + e.at, e.why);
        if (!allowed(f->id))
            return refuse(c, 400, base + from, "there is a field that must not be a trailer");
        c->field_count++;
        c->scan.line = c->scan.looked = (uint32_t)end + 2;
    }
}

/* Trailers in a call that had other bytes before them: the spans count from the call's first. */
static void shift(struct weft__http1_chunked *c, size_t by)
{
    if (c->fields == NULL)
        c->field_count = 0;
    for (uint32_t i = 0; i < c->field_count; i++) {
        c->fields[i].name.at += (uint32_t)by;
        c->fields[i].value.at += (uint32_t)by;
    }
}

int weft__http1_chunked_next(struct weft__http1_chunked *c, const char *data, size_t len,
                             size_t *used, struct weft__slice *body)
{
    size_t at = 0;
    int result = WEFT__HTTP1_MORE;

    WEFT__ASSERT(c->state != ENDED);
    while (at < len && c->state != DATA && c->state != TRAILERS) {
        int r = framing_byte(c, data[at], at);
        if (r < 0)
            return r;
        at++;
    }
    if (c->state == TRAILERS) {
        ssize_t n = trailers(c, data + at, len - at, at);
        if (n < 0)
            return (int)n;
        if (n > 0) {
            shift(c, at);
            at += (size_t)n;
            c->state = ENDED;
            result = WEFT__HTTP1_END;
        }
    } else if (c->state == DATA && at < len) {
        size_t n = (size_t)weft__min_u64(c->left, len - at);
        *body = weft__slice_of(data + at, n);
        at += n;
        c->left -= n;
        c->body_bytes += n;
        if (c->left == 0)
            c->state = DATA_CR;
        result = WEFT__HTTP1_DATA;
    }
    c->consumed += at;
    *used = at;
    return result;
}

size_t weft__http1_chunk_head(char out[WEFT__HTTP1_CHUNK_HEAD], uint64_t n)
{
    struct weft__writer w = weft__writer_of(out, WEFT__HTTP1_CHUNK_HEAD);
    unsigned digits = 1;
    while (digits < SIZE_DIGITS && n >> (4 * digits) != 0)
        digits++;
    while (digits-- > 0)
        weft__writer_u8(&w, (unsigned char)"0123456789abcdef"[n >> (4 * digits) & 15]);
    weft__writer_text(&w, "\r\n");
    WEFT__ASSERT(!w.full);
    return w.pos;
}
