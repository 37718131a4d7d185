/* SPDX-License-Identifier: MIT */
/*
 * What a handler says in answer: fields, whole bodies, pieces, errors.
 *
 * Floor 5. Invariant: nothing that could break the framing or add a field of its own gets into a
 * response: names are tokens, values have no control characters, and the fields that frame the
 * message are the library's.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "http/exchange.h"
#include "http/site.h"
#include "net/stream.h"
#include "wire/http_field.h"

void weft_http_status(struct weft_http_response *r, int status)
{
    if (!r->begun && status >= 200 && status <= 999)
        r->status = status;
}

int weft_http_status_of(const struct weft_http_response *r)
{
    return r->status;
}

/* --- Fields ----------------------------------------------------------------------------------- */

static struct weft_http_field *find(const struct weft_http_response *r, struct weft__slice want)
{
    for (size_t i = 0; i < r->n_fields; i++)
        if (r->fields[i].name_len == want.len &&
            weft__slice_equal_nocase(weft__slice_of(r->fields[i].name, want.len), want))
            return &r->fields[i];
    return NULL;
}

struct weft_http_field *weft__http_response_field(const struct weft_http_response *r,
                                                  const char *name)
{
    return find(r, weft__slice_text(name));
}

void weft__http_response_drop(struct weft_http_response *r, const char *name)
{
    uint16_t kept = 0;
    for (uint16_t i = 0; i < r->n_fields; i++) {
        const struct weft_http_field *f = &r->fields[i];
        if (!weft__slice_is_nocase(weft__slice_of(f->name, f->name_len), name))
            r->fields[kept++] = *f;
    }
    r->n_fields = kept;
}

void weft__http_response_other(struct weft_http_response *r)
{
    static const char *const fields[] = {"ETag",          "Last-Modified", "Content-Encoding",
                                         "Content-Range", "Cache-Control", "Expires",
                                         "Accept-Ranges"};
    for (size_t i = 0; i < WEFT__ARRAY_LEN(fields); i++)
        weft__http_response_drop(r, fields[i]);
}

static __attribute__((noinline)) int more_room(struct weft_http_response *r)
{
    struct weft__http_exchange *x = weft__http_of_r(r);
    if (r->n_fields >= WEFT__HTTP_RESPONSE_FIELDS_MAX)
        return weft__fail(WEFT_ELIMIT, "a response has at most %d fields",
                          WEFT__HTTP_RESPONSE_FIELDS_MAX);
    size_t cap = (size_t)4 * r->fields_cap;
    struct weft_http_field *more = weft__arena_alloc(&x->arena, cap * sizeof *more);
    if (more == NULL)
        return -ENOMEM;
    memcpy(more, r->fields, r->n_fields * sizeof *more);
    r->fields = more;
    r->fields_cap = (uint16_t)cap;
    return 0;
}

static inline int room(struct weft_http_response *r)
{
    return r->n_fields < r->fields_cap ? 0 : more_room(r);
}

int weft__http_set_field(struct weft_http_response *r, const char *name, size_t name_len,
                         const char *value, size_t len)
{
    struct weft_http_field *f = r->n_fields > 0 ? find(r, weft__slice_of(name, name_len)) : NULL;
    int err = f == NULL ? room(r) : 0;
    if (err < 0)
        return err;
    if (f == NULL)
        f = &r->fields[r->n_fields++];
    *f = (struct weft_http_field){
        .name = name, .name_len = name_len, .value = value, .value_len = len};
    return 0;
}

/* Names that frame a message or belong to the connection (RFC 9110 section 7.6.1). */
static bool is_ours(const char *name)
{
    static const char *const ours[] = {"Transfer-Encoding", "Connection", "Keep-Alive",
                                       "Proxy-Connection",  "Upgrade",    "Trailer"};
    for (size_t i = 0; i < WEFT__ARRAY_LEN(ours); i++)
        if (weft__slice_is_nocase(weft__slice_text(name), ours[i]))
            return true;
    return false;
}

static int check(const char *name, const char *value)
{
    if (!weft__http_token(weft__slice_text(name)))
        return weft__fail(-EINVAL, "'%s' is no name of a field", name);
    if (!weft__http_value(weft__slice_trim(weft__slice_text(value))))
        return weft__fail(-EINVAL, "the value of %s has characters that no field may have", name);
    if (is_ours(name))
        return weft__fail(-EINVAL, "%s is set by the library alone", name);
    return 0;
}

static int set_length(struct weft_http_response *r, const char *value)
{
    uint64_t n;
    if (!weft__http_decimal(weft__slice_text(value), &n) || n > INT64_MAX)
        return weft__fail(-EINVAL, "Content-Length '%s' is no number", value);
    r->length = (int64_t)n;
    return 0;
}

static int put(struct weft_http_response *r, const char *name, const char *value, bool replace)
{
    struct weft__http_exchange *x = weft__http_of_r(r);
    if (r->begun)
        return weft__fail(-EALREADY, "the response has begun; %s comes too late", name);
    int err = check(name, value);
    if (err < 0)
        return err;
    if (weft__slice_is_nocase(weft__slice_text(name), "Content-Length"))
        return set_length(r, value);
    struct weft__slice v = weft__slice_trim(weft__slice_text(value));
    char *name_copy = weft__arena_text(&x->arena, name, strlen(name));
    char *value_copy = weft__arena_text(&x->arena, v.at, v.len);
    if (name_copy == NULL || value_copy == NULL)
        return -ENOMEM;
    if (replace)
        return weft__http_set_known(r, name_copy, value_copy, v.len);
    err = room(r);
    if (err == 0)
        r->fields[r->n_fields++] = (struct weft_http_field){
            .name = name_copy, .name_len = strlen(name), .value = value_copy, .value_len = v.len};
    return err;
}

int weft_http_set(struct weft_http_response *r, const char *name, const char *value)
{
    return put(r, name, value, true);
}

int weft_http_add(struct weft_http_response *r, const char *name, const char *value)
{
    return put(r, name, value, false);
}

int weft_http_set_cookie(struct weft_http_response *r, const char *name, const char *value,
                         const struct weft_http_cookie_options *o)
{
    static const struct weft_http_cookie_options none;
    char buf[WEFT__HTTP_COOKIE_PAIR_MAX + 1024];
    if (o == NULL)
        o = &none;
    const char *site = o->same_site != NULL ? o->same_site : "Lax";
    struct weft__http_set_cookie c = {.name = weft__slice_text(name),
                                      .value = weft__slice_text(value),
                                      .domain = weft__slice_text(o->domain),
                                      .path = weft__slice_text(o->path != NULL ? o->path : "/"),
                                      .has_max_age = o->max_age_s != 0,
                                      .max_age_s = weft__max_i64(o->max_age_s, 0),
                                      .secure = !o->not_secure,
                                      .http_only = !o->not_http_only};
    if (weft__slice_is_nocase(weft__slice_text(site), "Lax"))
        c.same_site = WEFT__HTTP_SAME_SITE_LAX;
    else if (weft__slice_is_nocase(weft__slice_text(site), "Strict"))
        c.same_site = WEFT__HTTP_SAME_SITE_STRICT;
    else if (weft__slice_is_nocase(weft__slice_text(site), "None"))
        c.same_site = WEFT__HTTP_SAME_SITE_NONE;
    else if (site[0] != '\0')
        return weft__fail(-EINVAL, "SameSite is Lax, Strict or None, not '%s'", site);
    ssize_t n = weft__http_set_cookie_build(&c, buf, sizeof buf - 1);
    if (n < 0)
        return (int)n;
    buf[n] = '\0';
    return weft_http_add(r, "Set-Cookie", buf);
}

int weft_http_set_trailer(struct weft_http_response *r, const char *name, const char *value)
{
    struct weft__http_exchange *x = weft__http_of_r(r);
    int err = check(name, value);
    if (err < 0)
        return err;
    if (r->ended)
        return weft__fail(-EALREADY, "the response has ended");
    if (r->trailers == NULL) {
        r->trailers = weft__arena_alloc(&x->arena, 16 * sizeof *r->trailers);
        if (r->trailers == NULL)
            return -ENOMEM;
    }
    if (r->n_trailers == 16)
        return weft__fail(WEFT_ELIMIT, "a response has at most 16 trailers");
    struct weft__slice v = weft__slice_trim(weft__slice_text(value));
    struct weft_http_field f = {.name = weft__arena_text(&x->arena, name, strlen(name)),
                                .name_len = strlen(name),
                                .value = weft__arena_text(&x->arena, v.at, v.len),
                                .value_len = v.len};
    if (f.name == NULL || f.value == NULL)
        return -ENOMEM;
    r->trailers[r->n_trailers++] = f;
    return 0;
}

/* --- Whole responses -------------------------------------------------------------------------- */

/* A status whose response has no body (RFC 9110 section 6.4.1). */
static bool bodiless(int status)
{
    return status < 200 || status == 204 || status == 304;
}

static int begin(struct weft__http_exchange *x, int64_t length, const void *data, size_t len,
                 bool last)
{
    struct weft_http_response *r = &x->r;
    r->begun = true;
    int err = x->cls->begin(x, length, data, len, last, x->until);
    r->ended = err == 0 && last;
    if (err < 0 && r->error == 0)
        r->error = err;
    else if (x->q.head.method != WEFT__HTTP_HEAD)
        r->sent += len;
    return err;
}

/* A response that fails before it has begun is not in the coding that was chosen for it: another
 * one takes its place. */
static int uncoded(struct weft_http_response *r, int err)
{
    if (err < 0 && !r->begun && r->coder != NULL) {
        weft__http_coder_free(r->coder);
        r->coder = NULL;
        weft__http_response_drop(r, "Content-Encoding");
    }
    return err;
}

/* A body that is too large to be held in its coding, too. */
static int send_coded(struct weft__http_exchange *x, const void *body, size_t len)
{
    int err = begin(x, -1, NULL, 0, false);
    if (err == 0)
        err = weft_http_write(&x->r, body, len, x->until);
    return err < 0 ? err : weft_http_end(&x->r);
}

int weft__http_send_whole(struct weft__http_exchange *x, const void *body, size_t len)
{
    struct weft_http_response *r = &x->r;
    if (r->begun)
        return weft__fail(-EALREADY, "the request has been answered already");
    if (r->status == 200 && r->n_fields > 0 && (x->q.head.seen & WEFT__HTTP_CONDITIONS) != 0) {
        int status = weft__http_conditions(x, (int64_t)len);
        if (status < 0)
            return status;
        if (status != 0) {
            r->status = status;
            return begin(x, 0, NULL, 0, true);
        }
    }
    if (bodiless(r->status))
        return begin(x, 0, NULL, 0, true);
    int err = 0;
    if (len >= x->site->conf->o.compress_min)
        err = weft__http_coder_choose(x, (int64_t)len);
    if (err == 0 && r->coder != NULL)
        err = weft__http_coder_whole(x, &body, &len);
    if (err == 1)
        return send_coded(x, body, len);
    return err < 0 ? uncoded(r, err) : begin(x, (int64_t)len, body, len, true);
}

int weft_http_send(struct weft_http_response *r, int status, const char *type, const void *body,
                   size_t len)
{
    struct weft__http_exchange *x = weft__http_of_r(r);
    if (WEFT__UNLIKELY(r->begun))
        return weft__fail(-EALREADY, "the request has been answered already");
    weft_http_status(r, status);
    if (type != NULL) {
        struct weft__slice value = weft__slice_text(type);
        if (WEFT__UNLIKELY(!weft__http_value(value)))
            return weft__fail(-EINVAL, "the type has characters that no field may have");
        int err = weft__http_set_known(r, "Content-Type", value.at, value.len);
        if (err < 0)
            return err;
    }
    return weft__http_send_whole(x, body, len);
}

#define TEXT_FIRST 512

WEFT_PRINTF(2, 0)
static int format(struct weft__http_exchange *x, const char *fmt, va_list ap, char **ret)
{
    va_list again;
    va_copy(again, ap);
    char *text = weft__arena_alloc(&x->arena, TEXT_FIRST);
    int n = text != NULL ? vsnprintf(text, TEXT_FIRST, fmt, ap) : -1;
    if (n >= TEXT_FIRST) {
        text = weft__arena_alloc(&x->arena, (size_t)n + 1);
        n = text != NULL ? vsnprintf(text, (size_t)n + 1, fmt, again) : -1;
    }
    va_end(again);
    *ret = text;
    return text == NULL ? -ENOMEM : n < 0 ? -EINVAL : n;
}

int weft_http_text(struct weft_http_response *r, int status, const char *fmt, ...)
{
    char *text;
    va_list ap;
    va_start(ap, fmt);
    int n = format(weft__http_of_r(r), fmt, ap, &text);
    va_end(ap);
    return n < 0 ? n : weft_http_send(r, status, "text/plain; charset=utf-8", text, (size_t)n);
}

int weft_http_redirect(struct weft_http_response *r, int status, const char *location)
{
    if (status < 300 || status > 399)
        return weft__fail(-EINVAL, "a redirect of status %d", status);
    int err = weft_http_set(r, "Location", location);
    return err < 0 ? err : weft_http_text(r, status, "%s\n", location);
}

/* --- Errors ----------------------------------------------------------------------------------- */

/* A JSON string's content; what does not fit is left out. */
static void json_text(const char *text, char *buf, size_t cap)
{
    size_t n = 0;
    for (; *text != '\0' && n + 7 < cap; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\') {
            buf[n++] = '\\';
            buf[n++] = (char)c;
        } else if (c < 0x20) {
            n += (size_t)snprintf(buf + n, 7, "\\u%04x", c);
        } else {
            buf[n++] = (char)c;
        }
    }
    buf[n] = '\0';
}

static int plain_page(struct weft_http_request *q, struct weft_http_response *r, int status,
                      const char *message)
{
    static const char *const offers[] = {"text/plain", "application/json"};
    char text[512], quoted[384];
    int n;
    const char *accept = q->head.field_count > 0 ? weft_http_field(q, "Accept") : NULL;
    int pick = accept != NULL ? weft__http_type_choose(weft__slice_text(accept), offers, 2) : 0;
    if (pick == 1) {
        json_text(message, quoted, sizeof quoted);
        n = snprintf(text, sizeof text, "{\"status\": %d, \"error\": \"%s\"}\n", status, quoted);
    } else {
        n = snprintf(text, sizeof text, "%d %s%s%s\n", status, weft_http_reason(status),
                     message[0] != '\0' ? ": " : "", message);
    }
    if ((size_t)n >= sizeof text)
        n = sizeof text - 1;
    return weft_http_send(r, status, pick == 1 ? "application/json" : "text/plain; charset=utf-8",
                          text, (size_t)n);
}

int weft_http_error(struct weft_http_response *r, int status, const char *fmt, ...)
{
    struct weft__http_exchange *x = weft__http_of_r(r);
    const struct weft_http_app *app = x->site->conf->app;
    char *text = NULL;
    if (r->begun)
        return weft__fail(-EALREADY, "the response has begun; an error comes too late");
    if (status < 400 || status > 599)
        return weft__fail(-EINVAL, "an error of status %d", status);
    if (fmt != NULL) {
        va_list ap;
        va_start(ap, fmt);
        int n = format(x, fmt, ap, &text);
        va_end(ap);
        if (n < 0)
            text = NULL;
    }
    const char *message = text != NULL ? text : "";
    weft_http_status(r, status);
    weft__http_response_drop(r, "Content-Encoding"); /* the page is not what was to be sent */
    if (app->page != NULL) {
        int err = app->page(&x->q, r, status, message, app->page_arg);
        if (r->begun)
            return err;
        r->status = status; /* it made none: ours */
    }
    return plain_page(&x->q, r, status, message);
}

/* --- In pieces -------------------------------------------------------------------------------- */

static int begin_pieces(struct weft_http_response *r, const void *data, size_t len)
{
    struct weft__http_exchange *x = weft__http_of_r(r);
    if (r->begun)
        return weft__fail(-EALREADY, "the response has begun already");
    if (bodiless(r->status))
        return begin(x, 0, NULL, 0, true);
    int err = weft__http_coder_choose(x, r->length >= 0 ? r->length : -1);
    if (err < 0)
        return uncoded(r, err);
    if (r->coder == NULL)
        return begin(x, r->length, data, len, false);
    err = begin(x, -1, NULL, 0, false);
    return err < 0 || len == 0 ? err : weft__http_coder_write(x, data, len, 0, x->until);
}

int weft_http_begin(struct weft_http_response *r)
{
    return begin_pieces(r, NULL, 0);
}

int weft_http_write(struct weft_http_response *r, const void *buf, size_t len, weft_deadline d)
{
    struct weft__http_exchange *x = weft__http_of_r(r);
    int err;
    if (!r->begun)
        return begin_pieces(r, buf, len);
    if (r->error < 0)
        return r->error;
    if (r->ended)
        return bodiless(r->status) || x->q.head.method == WEFT__HTTP_HEAD
                   ? 0
                   : weft__fail(WEFT_ECLOSED, "the response has ended");
    d = weft_earlier(d, x->until);
    if (r->coder != NULL) {
        err = weft__http_coder_write(x, buf, len, 0, d);
    } else {
        err = x->cls->write(x, buf, len, d);
        r->sent += err == 0 && x->q.head.method != WEFT__HTTP_HEAD ? len : 0;
    }
    /* A time-out or a cancel before a byte went is not the end of the response. */
    if (err < 0 && (r->coder != NULL || (err != -ETIMEDOUT && err != -ECANCELED)))
        r->error = err;
    return err;
}

int weft_http_flush(struct weft_http_response *r, weft_deadline d)
{
    struct weft__http_exchange *x = weft__http_of_r(r);
    int err = r->begun ? r->error : weft_http_begin(r);
    d = weft_earlier(d, x->until);
    if (err == 0 && r->coder != NULL && !r->ended)
        err = weft__http_coder_write(x, NULL, 0, 1, d);
    return err < 0 ? err : x->cls->flush(x, d);
}

int weft_http_end(struct weft_http_response *r)
{
    struct weft__http_exchange *x = weft__http_of_r(r);
    int err = r->begun ? r->error : weft__http_send_whole(x, NULL, 0);
    if (err < 0 || r->ended)
        return err;
    if (r->coder != NULL)
        err = weft__http_coder_write(x, NULL, 0, 2, x->until);
    if (err == 0)
        err = x->cls->end(x, x->until);
    r->ended = true;
    if (err < 0)
        r->error = err;
    return err;
}

int weft_http_send_fd(struct weft_http_response *r, int fd, off_t offset, size_t len)
{
    struct weft__http_exchange *x = weft__http_of_r(r);
    if (r->begun)
        return weft__fail(-EALREADY, "the request has been answered already");
    int err = begin(x, (int64_t)len, NULL, 0, len == 0);
    if (err == 0 && len > 0 && !r->ended && x->q.head.method != WEFT__HTTP_HEAD) {
        err = x->cls->send_fd(x, fd, &offset, len, x->until);
        if (err < 0)
            r->error = err;
        else
            r->sent += len;
    }
    return err;
}

/* --- Upgrade ---------------------------------------------------------------------------------- */

bool weft_http_wants_upgrade(struct weft_http_request *q, const char *protocol)
{
    struct weft__slice rest, item;
    if (weft__http_of_q(q)->version >= 20)
        return weft__slice_is_nocase(weft__http_of_q(q)->protocol, protocol);
    if (!q->head.upgrade)
        return false;
    const char *list = weft_http_field(q, "Upgrade");
    rest = weft__slice_text(list);
    while (weft__http_list_next(&rest, &item))
        if (weft__slice_is_nocase(item, protocol))
            return true;
    return false;
}

void weft__http_upgraded(struct weft__http_exchange *x)
{
    x->r.begun = x->r.ended = true;
    x->upgraded = true;
    weft__http_count(x->site, &x->site->counters.upgrades);
}

int weft_http_upgrade(struct weft_http_request *q, struct weft_http_response *r,
                      const char *protocol, struct weft_stream **ret)
{
    struct weft__http_exchange *x = weft__http_of_q(q);
    if (r->begun)
        return weft__fail(-EALREADY, "the request has been answered already");
    if (x->cls->upgrade == NULL)
        return weft__fail(-EOPNOTSUPP, "HTTP/%d has no Upgrade", x->version / 10);
    if (!weft_http_wants_upgrade(q, protocol))
        return weft__fail(-EINVAL, "the client does not ask for %s", protocol);
    int err = x->cls->upgrade(x, protocol, ret);
    if (err == 0)
        weft__http_upgraded(x);
    return err;
}
