/* SPDX-License-Identifier: MIT */
/*
 * Heads out; see http1.h.
 *
 * Floor 0. Invariant: whatever the arguments are, the bytes written are lines that end in CRLF and
 * hold no other control character but HTAB.
 */
#include <errno.h>
#include <string.h>

#include "base/base.h"
#include "base/error.h"
#include "wire/http1.h"
#include "wire/http_field.h"

void weft__http1_build_init(struct weft__http1_builder *b, void *buf, size_t cap)
{
    *b = (struct weft__http1_builder){.w = weft__writer_of(buf, cap)};
}

/* The first failure stays, with its detail. */
static void fail(struct weft__http1_builder *b, const char *what, struct weft__slice shown)
{
    if (b->error == 0)
        b->error = weft__fail(-EINVAL, "%s: \"%.*s\"", what, (int)weft__min_size(shown.len, 100),
                              shown.len == 0 ? "" : shown.at);
}

static void version(struct weft__http1_builder *b, unsigned minor)
{
    weft__writer_text(&b->w, minor == 0 ? "HTTP/1.0" : "HTTP/1.1");
}

void weft__http1_build_status(struct weft__http1_builder *b, unsigned minor, int status,
                              const char *reason)
{
    struct weft__slice text = weft__slice_text(reason == NULL ? weft__http_reason(status) : reason);
    if (status < 100 || status > 999)
        fail(b, "a status has three digits", weft__slice_text("status"));
    if (!weft__http_all(text, WEFT__HC_VALUE))
        fail(b, "a reason phrase has a character that none may have", text);
    if (b->error != 0)
        return;
    version(b, minor);
    weft__writer_u8(&b->w, ' ');
    weft__writer_decimal(&b->w, (uint64_t)status);
    weft__writer_u8(&b->w, ' ');
    weft__writer_bytes(&b->w, text.at, text.len);
    weft__writer_text(&b->w, "\r\n");
}

void weft__http1_build_request(struct weft__http1_builder *b, struct weft__slice method,
                               struct weft__slice target, unsigned minor)
{
    if (!weft__http_token(method))
        fail(b, "a method is not a token", method);
    if (target.len == 0 || !weft__http_all(target, WEFT__HC_TARGET))
        fail(b, "a target is empty or has a character that none may have", target);
    if (b->error != 0)
        return;
    weft__writer_bytes(&b->w, method.at, method.len);
    weft__writer_u8(&b->w, ' ');
    weft__writer_bytes(&b->w, target.at, target.len);
    weft__writer_u8(&b->w, ' ');
    version(b, minor);
    weft__writer_text(&b->w, "\r\n");
}

static void line(struct weft__http1_builder *b, struct weft__slice name, struct weft__slice value)
{
    weft__writer_bytes(&b->w, name.at, name.len);
    weft__writer_bytes(&b->w, ": ", 2);
    weft__writer_bytes(&b->w, value.at, value.len);
    weft__writer_bytes(&b->w, "\r\n", 2);
}

void weft__http1_build_field(struct weft__http1_builder *b, struct weft__slice name,
                             struct weft__slice value)
{
    value = weft__slice_trim(value);
    if (!weft__http_token(name))
        fail(b, "a field's name is not a token", name);
    if (!weft__http_all(value, WEFT__HC_VALUE))
        fail(b, "a field's value has a control character", name);
    if (b->error == 0)
        line(b, name, value);
}

void weft__http1_build_text(struct weft__http1_builder *b, const char *name, const char *value)
{
    weft__http1_build_field(b, weft__slice_text(name), weft__slice_text(value));
}

void weft__http1_build_number(struct weft__http1_builder *b, const char *name, uint64_t value)
{
    char digits[20];
    struct weft__writer w = weft__writer_of(digits, sizeof(digits));
    weft__writer_decimal(&w, value);
    weft__http1_build_field(b, weft__slice_text(name), weft__slice_of(digits, w.pos));
}

void weft__http1_build_known(struct weft__http1_builder *b, enum weft__http_name name,
                             struct weft__slice value)
{
    if (b->error == 0)
        line(b, weft__slice_text(weft__http_name_text(name)), value);
}

ssize_t weft__http1_build_end(struct weft__http1_builder *b)
{
    weft__writer_bytes(&b->w, "\r\n", 2);
    if (b->error == 0 && b->w.full)
        b->error = weft__fail(-ENOBUFS, "a head does not fit into %zu bytes", b->w.cap);
    return b->error < 0 ? b->error : (ssize_t)b->w.pos;
}

const char *weft__http_date_cached(struct weft__http_date_cache *c, int64_t unix_s)
{
    if (WEFT__UNLIKELY(!c->set || c->unix_s != unix_s)) {
        bool valid = weft__http_date_format(unix_s, c->text);
        WEFT__ASSERT(valid);
        c->unix_s = unix_s;
        c->set = true;
    }
    return c->text;
}
