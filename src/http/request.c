/* SPDX-License-Identifier: MIT */
/*
 * What a handler asks of a request.
 *
 * Floor 5. Texts are made when they are first asked for. A field's value stands in the request's
 * own copy of the head, where a NUL takes the place of what was behind it: the parser is through
 * with that.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include <weft/random.h>

#include "base/error.h"
#include "http/exchange.h"
#include "http/site.h"
#include "net/server.h"
#include "wire/http_field.h"
#include "wire/http_name.h"

enum weft_http_method weft_http_method(const struct weft_http_request *q)
{
    return (enum weft_http_method)q->head.method;
}

static const char *copy(struct weft_http_request *q, struct weft__slice s)
{
    return weft__arena_text(&weft__http_of_q(q)->arena, s.at, s.len);
}

const char *weft_http_method_text(const struct weft_http_request *cq)
{
    struct weft_http_request *q = (struct weft_http_request *)(uintptr_t)cq;
    if (q->method_text == NULL)
        q->method_text = copy(q, weft__http_slice(q->base, q->head.method_name));
    return q->method_text;
}

const char *weft_http_target(struct weft_http_request *q)
{
    if (q->target_text == NULL)
        q->target_text = copy(q, weft__http_slice(q->base, q->head.target));
    return q->target_text;
}

const char *weft_http_path(struct weft_http_request *q)
{
    struct weft__arena *a = &weft__http_of_q(q)->arena;
    if (q->path_text != NULL)
        return q->path_text;
    if (q->path.n == 0)
        return q->path_text = copy(q, weft__http_slice(q->base, q->head.path));
    const char *rest = weft__http_path_join(&q->path, 0, a);
    char *text = rest != NULL ? weft__arena_alloc(a, strlen(rest) + 2) : NULL;
    if (text != NULL) {
        text[0] = '/';
        memcpy(text + 1, rest, strlen(rest) + 1);
    }
    return q->path_text = text;
}

const char *weft_http_query(struct weft_http_request *q)
{
    if (!q->head.has_query)
        return NULL;
    if (q->query_text == NULL)
        q->query_text = copy(q, weft__http_slice(q->base, q->head.query));
    return q->query_text;
}

const char *weft_http_pattern(const struct weft_http_request *q)
{
    return q->match.route != NULL ? q->match.route->pattern : NULL;
}

const char *weft__http_param(struct weft_http_request *q, const char *name)
{
    const struct weft__route *route = q->match.route;
    if (route == NULL)
        return "";
    for (size_t i = 0; i < q->match.n_params && i < route->n_params; i++) {
        if (!weft__slice_is(route->params[i], name))
            continue;
        return q->match.rest == q->match.at[i]
                   ? weft__http_path_join(&q->path, q->match.rest, &weft__http_of_q(q)->arena)
                   : copy(q, q->path.segments[q->match.at[i]]);
    }
    return "";
}

const char *weft_http_param(struct weft_http_request *q, const char *name)
{
    const char *text = weft__http_param(q, name);
    return text != NULL ? text : "";
}

/* The decoded value of a name in an urlencoded text; NULL: none, one with a NUL, or no memory. */
static const char *find_value(struct weft_http_request *q, struct weft__slice rest,
                              const char *name)
{
    struct weft__arena *a = &weft__http_of_q(q)->arena;
    struct weft__slice key, value;
    size_t want = strlen(name);
    for (int i = 0; i < 1000 && weft__form_next(&rest, &key, &value); i++) {
        char *buf, few[128];
        if (key.len < want || key.len > 3 * want)
            continue;
        buf = key.len < sizeof few ? few : weft__arena_alloc(a, key.len + 1);
        ssize_t n = buf != NULL ? weft__form_decode(key, buf, key.len + 1) : -1;
        if (n < 0 || (size_t)n != want || memcmp(buf, name, want) != 0)
            continue;
        buf = weft__arena_alloc(a, value.len + 1);
        n = buf != NULL ? weft__form_decode(value, buf, value.len + 1) : -1;
        if (n < 0 || memchr(buf, '\0', (size_t)n) != NULL)
            return NULL;
        buf[n] = '\0';
        return buf;
    }
    return NULL;
}

const char *weft_http_query_param(struct weft_http_request *q, const char *name)
{
    return q->head.has_query ? find_value(q, weft__http_slice(q->base, q->head.query), name) : NULL;
}

const char *weft_http_form_value(struct weft_http_request *q, const char *name)
{
    return q->has_form ? find_value(q, q->form, name) : NULL;
}

/* --- Fields ----------------------------------------------------------------------------------- */

/* Ends the text where it stands: behind it is a line's end or white space. */
static const char *terminated(struct weft_http_request *q, struct weft__http_span s)
{
    char *at = (char *)(uintptr_t)q->base + s.at;
    at[s.len] = '\0';
    return at;
}

static const char *joined(struct weft_http_request *q, const char *name,
                          const struct weft__http1_field *first)
{
    const char *between = weft__slice_is_nocase(weft__slice_text(name), "cookie") ? "; " : ", ";
    size_t room = 1;
    const struct weft__http1_field *f;
    for (f = first; f != NULL; f = weft__http1_find_text(&q->head, q->base, name, f))
        room += f->value.len + 2;
    char *text = weft__arena_alloc(&weft__http_of_q(q)->arena, room), *at = text;
    if (text == NULL)
        return NULL;
    for (f = first; f != NULL; f = weft__http1_find_text(&q->head, q->base, name, f)) {
        if (at != text) {
            memcpy(at, between, 2);
            at += 2;
        }
        memcpy(at, q->base + f->value.at, f->value.len);
        at += f->value.len;
    }
    *at = '\0';
    return text;
}

int weft__http_list_of(const struct weft_http_request *cq, enum weft__http_name id,
                       struct weft__slice *ret)
{
    struct weft_http_request *q = (struct weft_http_request *)(uintptr_t)cq;
    *ret = weft__http_value_of(q, id);
    if (ret->at == NULL)
        return 0;
    const struct weft__http1_field *first = weft__http1_find(&q->head, id, NULL);
    if (weft__http1_find(&q->head, id, first) == NULL)
        return 0;
    const char *text = joined(q, weft__http_names[id].text, first);
    if (text == NULL)
        return -ENOMEM;
    *ret = weft__slice_text(text);
    return 0;
}

const char *weft_http_field(struct weft_http_request *q, const char *name)
{
    const struct weft__http1_field *f = weft__http1_find_text(&q->head, q->base, name, NULL);
    if (f == NULL)
        return NULL;
    if (weft__http1_find_text(&q->head, q->base, name, f) != NULL)
        return joined(q, name, f);
    return terminated(q, f->value);
}

bool weft_http_field_at(const struct weft_http_request *q, size_t i, struct weft_http_field *ret)
{
    if (i >= q->head.field_count)
        return false;
    const struct weft__http1_field *f = &q->head.fields[i];
    *ret = (struct weft_http_field){.name = q->base + f->name.at,
                                    .name_len = f->name.len,
                                    .value = q->base + f->value.at,
                                    .value_len = f->value.len};
    return true;
}

const char *weft_http_cookie(struct weft_http_request *q, const char *name)
{
    struct weft__slice value;
    const char *all = weft_http_field(q, "Cookie");
    if (all == NULL || !weft__http_cookie_find(weft__slice_text(all), name, &value))
        return NULL;
    return copy(q, value);
}

const char *weft_http_host(struct weft_http_request *q)
{
    return copy(q, weft__http_slice(q->base, q->head.authority));
}

int weft_http_version(const struct weft_http_request *q)
{
    return weft__http_of_q(q)->version;
}

/* --- The peer --------------------------------------------------------------------------------- */

int weft_http_peer_address(struct weft_http_request *q, struct weft_address *ret)
{
    return weft_stream_peer(weft__http_of_q(q)->stream, ret);
}

const char *weft_http_peer(struct weft_http_request *q)
{
    struct weft_address a = {0};
    char text[INET6_ADDRSTRLEN];
    if (q->peer_text != NULL)
        return q->peer_text;
    const struct weft_stream *s = weft__http_of_q(q)->stream;
    const char *name = s->cls->kind;
    if (weft_stream_peer(s, &a) == 0 && a.sa.ss_family == AF_INET)
        name = inet_ntop(AF_INET, &((struct sockaddr_in *)&a.sa)->sin_addr, text, sizeof text);
    else if (a.sa.ss_family == AF_INET6)
        name = inet_ntop(AF_INET6, &((struct sockaddr_in6 *)&a.sa)->sin6_addr, text, sizeof text);
    const char *made = weft__arena_text(&weft__http_of_q(q)->arena, name, strlen(name));
    return q->peer_text = made != NULL ? made : "";
}

struct weft_stream *weft_http_stream(struct weft_http_request *q)
{
    return weft__http_of_q(q)->stream;
}

#define ID_MAX 64

/* What a client may put into our logs: letters, digits, and a few marks. */
static bool harmless(struct weft__slice id)
{
    if (id.len == 0 || id.len > ID_MAX)
        return false;
    for (size_t i = 0; i < id.len; i++) {
        char c = id.at[i];
        bool ok = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                  c == '-' || c == '_' || c == '.' || c == ':' || c == '=' || c == '+';
        if (!ok)
            return false;
    }
    return true;
}

const char *weft_http_request_id(struct weft_http_request *q)
{
    struct weft__http_exchange *x = weft__http_of_q(q);
    if (q->id != NULL)
        return q->id;
    const char *given = weft_http_field(q, "X-Request-Id");
    if (given != NULL && harmless(weft__slice_text(given)))
        return q->id = given;
    char *id = weft__arena_alloc(&x->arena, 17);
    if (id == NULL)
        return "0000000000000000";
    /* A walk through all numbers by an odd step, from a place of chance. */
    uint64_t n = x->site->shared
                     ? weft_random_u64()
                     : x->site->id_base + x->site->id_next++ * UINT64_C(0x9E3779B97F4A7C15);
    (void)snprintf(id, 17, "%016llx", (unsigned long long)n);
    return q->id = id;
}

bool weft_http_draining(const struct weft_http_request *q)
{
    const struct weft_stream *s = weft__http_of_q(q)->stream;
    return weft_stream_draining(s);
}

void *weft_http_alloc(struct weft_http_request *q, size_t size)
{
    return weft__arena_alloc(&weft__http_of_q(q)->arena, size);
}

int weft_http_note(struct weft_http_request *q, const char *key, void *p)
{
    if (q->notes == NULL) {
        q->notes = weft_http_alloc(q, WEFT__HTTP_NOTES_MAX * sizeof *q->notes);
        if (q->notes == NULL)
            return -ENOMEM;
        memset(q->notes, 0, WEFT__HTTP_NOTES_MAX * sizeof *q->notes);
    }
    for (size_t i = 0; i < WEFT__HTTP_NOTES_MAX; i++) {
        if (q->notes[i].key != NULL && strcmp(q->notes[i].key, key) != 0)
            continue;
        q->notes[i] = (struct weft__http_note){.key = key, .p = p};
        return 0;
    }
    return weft__fail(WEFT_ELIMIT, "a request has at most %d notes", WEFT__HTTP_NOTES_MAX);
}

void *weft_http_noted(const struct weft_http_request *q, const char *key)
{
    for (size_t i = 0; q->notes != NULL && i < WEFT__HTTP_NOTES_MAX; i++)
        if (q->notes[i].key != NULL && strcmp(q->notes[i].key, key) == 0)
            return q->notes[i].p;
    return NULL;
}

/* --- The body --------------------------------------------------------------------------------- */

int64_t weft_http_length(const struct weft_http_request *q)
{
    switch (q->head.body) {
    case WEFT__HTTP1_NO_BODY:
        return 0;
    case WEFT__HTTP1_LENGTH:
        return (int64_t)q->head.length;
    default:
        return -1;
    }
}

ssize_t weft_http_read(struct weft_http_request *q, void *buf, size_t cap, weft_deadline d)
{
    struct weft__http_exchange *x = weft__http_of_q(q);
    ssize_t n = x->cls->read(x, buf, cap, weft_earlier(d, x->until));
    return n < 0 ? weft__http_body_failed(x, (int)n) : n;
}

#define BODY_FIRST 4096u

static int too_large(struct weft__http_exchange *x)
{
    (void)weft__http_body_failed(x, -EMSGSIZE);
    return weft__fail(-EMSGSIZE, "the body is longer than %llu bytes",
                      (unsigned long long)x->body_max);
}

int weft_http_body(struct weft_http_request *q, const void **data, size_t *len, weft_deadline d)
{
    struct weft__http_exchange *x = weft__http_of_q(q);
    int64_t announced = weft_http_length(q);
    size_t cap = announced >= 0 ? (size_t)announced : BODY_FIRST, got = 0;
    if (announced > 0 && (uint64_t)announced > x->body_max)
        return too_large(x);
    char *buf = weft__arena_alloc(&x->arena, cap + 1);
    while (buf != NULL) {
        char spare;
        ssize_t n = got < cap ? weft_http_read(q, buf + got, cap - got, d)
                              : weft_http_read(q, &spare, 1, d); /* the end, mostly */
        if (n < 0)
            return (int)n;
        if (n == 0)
            break;
        if (got + (size_t)n > x->body_max)
            return too_large(x);
        if (got == cap) {
            cap = weft__min_size(2 * cap, x->body_max);
            char *more = weft__arena_alloc(&x->arena, cap + 1);
            if (more != NULL) {
                memcpy(more, buf, got);
                more[got] = spare;
            }
            buf = more;
        }
        got += (size_t)n;
    }
    if (buf == NULL)
        return -ENOMEM;
    buf[got] = '\0';
    *data = buf;
    *len = got;
    return 0;
}

const char *weft_http_trailer(struct weft_http_request *q, const char *name)
{
    struct weft__http_exchange *x = weft__http_of_q(q);
    return x->cls->trailer(x, name);
}

int weft_http_form(struct weft_http_request *q, weft_deadline d)
{
    struct weft__http_media_type m;
    const void *data;
    size_t len;
    if (!weft__http_media_type(weft__http_value_of(q, WEFT__HN_CONTENT_TYPE), &m) ||
        !weft__slice_is_nocase(m.type, "application") ||
        !weft__slice_is_nocase(m.subtype, "x-www-form-urlencoded"))
        return weft__fail(-EINVAL, "the body is no application/x-www-form-urlencoded");
    int err = weft_http_body(q, &data, &len, d);
    if (err < 0)
        return err;
    struct weft__slice form = weft__slice_of(data, len);
    size_t nul = weft__form_find_nul(form);
    if (nul < len)
        return weft__fail(weft__http_body_failed(weft__http_of_q(q), WEFT_EPROTOCOL),
                          "the form has a NUL in it, at byte %zu", nul);
    q->form = form;
    q->has_form = true;
    return 0;
}
