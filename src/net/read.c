/* SPDX-License-Identifier: MIT */
/*
 * Reading: into the caller's buffer, or by looking at what is buffered.
 *
 * Floor 3. Invariant: a reading call that fails or is cut off loses no byte: what came stays in the
 * read-ahead.
 */
#include <errno.h>
#include <string.h>

#include "net/stream.h"

static ssize_t take(struct weft_stream *s, void *buf, size_t cap)
{
    size_t n = weft__min_size(cap, weft__in_left(s));
    memcpy(buf, s->in->data + s->in->used, n);
    s->in->used += (uint32_t)n;
    weft__in_release(s);
    return (ssize_t)n;
}

static ssize_t read_some(struct weft_stream *s, void *buf, size_t cap, weft_deadline d)
{
    if (weft__in_left(s) > 0)
        return take(s, buf, cap);
    weft__in_release(s);
    return s->end ? 0 : s->cls->read(s, buf, cap, d);
}

/* Enters as the reader; a record that the last call showed is taken off first. */
static int enter(struct weft_stream *s)
{
    int err = weft__stream_enter(s, &s->reader);
    if (WEFT__UNLIKELY(err == 0 && s->record_len > 0)) {
        weft_consume(s, s->record_len);
        s->record_len = 0;
    }
    return err;
}

ssize_t weft_read(struct weft_stream *s, void *buf, size_t cap, weft_deadline d)
{
    int err = enter(s);
    if (WEFT__UNLIKELY(err < 0))
        return err;
    ssize_t n = cap > 0 ? read_some(s, buf, cap, d) : -EINVAL;
    return weft__stream_leave_with(s, &s->reader, n);
}

/* With at least one byte buffered, waits for more behind it, contiguously. */
static ssize_t extend(struct weft_stream *s, size_t min, weft_deadline d)
{
    uint8_t *at;
    size_t cap;
    int err = weft__in_room(s, min, &at, &cap);
    if (err < 0)
        return err;
    ssize_t n = s->end ? 0 : s->cls->read(s, at, cap, d);
    if (n > 0)
        s->in->len += (uint32_t)n;
    return n;
}

/* Waits for min buffered bytes: how many there are, 0 at the end, WEFT_EEOF before min. */
static ssize_t peek_min(struct weft_stream *s, size_t min, weft_deadline d)
{
    while (weft__in_left(s) < min) {
        ssize_t n;
        bool some = weft__in_left(s) > 0;
        if (some) {
            n = extend(s, min, d);
        } else {
            weft__in_release(s);
            n = s->end ? 0 : s->cls->fill(s, d);
        }
        if (n < 0)
            return n;
        if (n == 0)
            return some ? WEFT_EEOF : 0;
    }
    return (ssize_t)weft__in_left(s);
}

#define PEEK_MAX ((size_t)64 * 1024)

ssize_t weft_peek_min(struct weft_stream *s, const void **data, size_t min, weft_deadline d)
{
    if (min == 0 || min > PEEK_MAX)
        return weft__fail(-EINVAL, "weft_peek_min of %zu bytes; 1 to %zu can be had", min,
                          PEEK_MAX);
    int err = enter(s);
    if (WEFT__UNLIKELY(err < 0))
        return err;
    ssize_t n = peek_min(s, min, d);
    if (n > 0)
        *data = s->in->data + s->in->used;
    return weft__stream_leave_with(s, &s->reader, n);
}

ssize_t weft_peek(struct weft_stream *s, const void **data, weft_deadline d)
{
    return weft_peek_min(s, data, 1, d);
}

void weft_consume(struct weft_stream *s, size_t n)
{
    WEFT__ASSERT(n <= weft__in_left(s));
    if (n == 0)
        return;
    s->in->used += (uint32_t)n;
    weft__in_release(s);
}

static int read_full(struct weft_stream *s, uint8_t *buf, size_t len, weft_deadline d)
{
    size_t done = 0;
    while (done < len) {
        ssize_t n = read_some(s, buf + done, len - done, d);
        if (n == 0)
            return WEFT_EEOF;
        if (n < 0) {
            /* Cut off: the caller cannot know how much came, so it is there to be read again. */
            int err = done > 0 && !s->closed ? weft__in_prepend(s, buf, done) : 0;
            return err < 0 ? err : (int)n;
        }
        done += (size_t)n;
    }
    return 0;
}

int weft_read_full(struct weft_stream *s, void *buf, size_t len, weft_deadline d)
{
    int err = enter(s);
    if (WEFT__UNLIKELY(err < 0))
        return err;
    return (int)weft__stream_leave_with(s, &s->reader, read_full(s, buf, len, d));
}

static ssize_t read_until(struct weft_stream *s, void *buf, size_t cap, char delim, weft_deadline d)
{
    size_t seen = 0;
    for (;;) {
        size_t left = weft__in_left(s);
        const uint8_t *at = left > 0 ? s->in->data + s->in->used : NULL;
        size_t look = weft__min_size(left, cap);
        const uint8_t *hit = look > seen ? memchr(at + seen, delim, look - seen) : NULL;
        if (hit != NULL)
            return take(s, buf, (size_t)(hit - at) + 1);
        if (left >= cap)
            return weft__fail(WEFT_ETOOLONG, "no delimiter within %zu bytes", cap);
        seen = left;
        ssize_t n = peek_min(s, left + 1, d);
        if (n <= 0)
            return n;
    }
}

ssize_t weft_read_until(struct weft_stream *s, void *buf, size_t cap, char delim, weft_deadline d)
{
    int err = enter(s);
    if (WEFT__UNLIKELY(err < 0))
        return err;
    ssize_t n = cap > 0 ? read_until(s, buf, cap, delim, d) : -EINVAL;
    return weft__stream_leave_with(s, &s->reader, n);
}

static int read_record(struct weft_stream *s, const struct weft_framing *f, const void **record,
                       size_t *len, weft_deadline d)
{
    size_t scanned = 0;
    for (;;) {
        size_t left = weft__in_left(s);
        if (left > 0) {
            ssize_t used =
                weft_framing_decode(f, s->in->data + s->in->used, left, &scanned, record, len);
            if (used < 0)
                return (int)used;
            if (used > 0) {
                s->record_len = (uint32_t)used;
                return 1;
            }
        }
        size_t need = left > 0 ? weft_framing_need(f, s->in->data + s->in->used, left) : 1;
        ssize_t n = peek_min(s, need, d);
        if (n <= 0)
            return (int)n;
    }
}

int weft_read_record(struct weft_stream *s, const struct weft_framing *f, const void **record,
                     size_t *len, weft_deadline d)
{
    int err = enter(s);
    if (WEFT__UNLIKELY(err < 0))
        return err;
    return (int)weft__stream_leave_with(s, &s->reader, read_record(s, f, record, len, d));
}
