/* SPDX-License-Identifier: MIT */
/*
 * A request as it goes out: which fields it has, and what a caller may not say.
 *
 * Floor 5. The caller's fields replace the client's own ones of the same name; those that frame the
 * message are the client's alone, so that nobody can make it lie about its length.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "http/client.h"
#include "wire/http_field.h"

#define COOKIES_CAP 8192 /* bytes of a Cookie field */
#define TRACE_MAX 512
#define AUTHORITY_CAP 400

static struct weft__slice name_of(const struct weft_http_field *f)
{
    return f->name_len > 0 ? weft__slice_of(f->name, f->name_len) : weft__slice_text(f->name);
}

static struct weft__slice value_of(const struct weft_http_field *f)
{
    return f->value_len > 0 ? weft__slice_of(f->value, f->value_len) : weft__slice_text(f->value);
}

static bool has(const struct weft_http_call *call, enum weft__http_name id)
{
    for (size_t i = 0; i < call->n_fields; i++)
        if (weft__http_name_of(name_of(&call->fields[i])) == id)
            return true;
    return false;
}

/* Said by the client, from what it does. */
static bool is_framing(enum weft__http_name id)
{
    switch (id) {
    case WEFT__HN_CONTENT_LENGTH:
    case WEFT__HN_TRANSFER_ENCODING:
    case WEFT__HN_CONNECTION:
    case WEFT__HN_KEEP_ALIVE:
    case WEFT__HN_PROXY_CONNECTION:
    case WEFT__HN_UPGRADE:
    case WEFT__HN_TE:
    case WEFT__HN_TRAILER:
    case WEFT__HN_EXPECT:
    case WEFT__HN_HTTP2_SETTINGS:
        return true;
    default:
        return false;
    }
}

/* Not for another origin, and not for a server that a redirect names. */
static bool is_credential(enum weft__http_name id)
{
    return id == WEFT__HN_AUTHORIZATION || id == WEFT__HN_COOKIE ||
           id == WEFT__HN_PROXY_AUTHORIZATION || id == WEFT__HN_HOST;
}

int weft__http_call_check(const struct weft_http_call *call)
{
    if (call->url == NULL)
        return weft__fail(-EINVAL, "no URL");
    if (call->method != NULL && !weft__http_token(weft__slice_text(call->method)))
        return weft__fail(-EINVAL, "\"%s\" is no method", call->method);
    if (call->method != NULL && strcmp(call->method, "CONNECT") == 0)
        return weft__fail(-EINVAL, "CONNECT is for proxies: see the options' proxy");
    if (call->body != NULL && call->produce != NULL)
        return weft__fail(-EINVAL, "a request has a body or a producer, not both");
    if (call->produce_len < -1)
        return weft__fail(-EINVAL, "a body of %lld bytes", (long long)call->produce_len);
    for (size_t i = 0; i < call->n_fields; i++) {
        struct weft__slice name = name_of(&call->fields[i]);
        int width = (int)weft__min_size(name.len, 60);
        if (!weft__http_token(name))
            return weft__fail(-EINVAL, "\"%.*s\" is no name of a field", width, name.at);
        if (!weft__http_value(weft__slice_trim(value_of(&call->fields[i]))))
            return weft__fail(-EINVAL, "the value of %.*s has a control character", width, name.at);
        if (is_framing(weft__http_name_of(name)))
            return weft__fail(-EINVAL, "%.*s is said by the client itself", width, name.at);
    }
    return 0;
}

static int put_host(const struct weft__http_ask *a, weft__http_put put, void *arg)
{
    char buf[AUTHORITY_CAP];
    if (a->credentials && has(a->call, WEFT__HN_HOST))
        return 0;
    ssize_t len = weft_url_authority(a->url, buf, sizeof buf);
    if (len < 0)
        return weft__fail(WEFT_EURL, "a host of more than %d bytes", AUTHORITY_CAP);
    return put(arg, weft__slice_text("Host"), weft__slice_of(buf, (size_t)len));
}

static int put_cookies(struct weft_http_client *c, const struct weft__http_ask *a,
                       weft__http_put put, void *arg)
{
    char buf[COOKIES_CAP];
    if (c->options.no_cookies || (a->credentials && has(a->call, WEFT__HN_COOKIE)))
        return 0;
    size_t len = weft__jar_get(&c->jar, a->url, buf, sizeof buf);
    return len == 0 ? 0 : put(arg, weft__slice_text("Cookie"), weft__slice_of(buf, len));
}

/* User and password of the URL (RFC 7617), unless the caller says something of his own. */
static int put_basic(const struct weft__http_ask *a, weft__http_put put, void *arg)
{
    char user[256], password[256], value[768];
    if (a->url->username[0] == '\0' && a->url->password[0] == '\0')
        return 0;
    if (a->credentials && has(a->call, WEFT__HN_AUTHORIZATION))
        return 0;
    ssize_t u = weft__percent_decode(weft__slice_text(a->url->username), false, user, sizeof user);
    ssize_t p =
        weft__percent_decode(weft__slice_text(a->url->password), false, password, sizeof password);
    ssize_t n = u < 0 || p < 0 ? -1
                               : weft__http_basic_build(weft__slice_of(user, (size_t)u),
                                                        weft__slice_of(password, (size_t)p), value,
                                                        sizeof value);
    if (n < 0)
        return weft__fail(-EINVAL, "user and password of the URL are too long, or not valid");
    return put(arg, weft__slice_text("Authorization"), weft__slice_of(value, (size_t)n));
}

int weft__http_ask_fields(struct weft_http_client *c, const struct weft__http_ask *a,
                          weft__http_put put, void *arg)
{
    const struct weft_http_call *call = a->call;
    const char *agent = c->options.user_agent;
    int err = put_host(a, put, arg);
    if (err == 0 && agent[0] != '\0' && !has(call, WEFT__HN_USER_AGENT))
        err = put(arg, weft__slice_text("User-Agent"), weft__slice_text(agent));
    if (err == 0 && !has(call, WEFT__HN_ACCEPT))
        err = put(arg, weft__slice_text("Accept"), weft__slice_text("*/*"));
    if (err == 0 && !c->options.no_decode && !has(call, WEFT__HN_ACCEPT_ENCODING) &&
        !has(call, WEFT__HN_RANGE)) /* a part of a compressed body is of no use */
        err = put(arg, weft__slice_text("Accept-Encoding"), weft__slice_text("gzip, deflate, br"));
    if (err == 0)
        err = put_basic(a, put, arg);
    if (err == 0)
        err = put_cookies(c, a, put, arg);
    if (err == 0 && a->absolute && c->proxy_auth != NULL &&
        !(a->credentials && has(call, WEFT__HN_PROXY_AUTHORIZATION)))
        err = put(arg, weft__slice_text("Proxy-Authorization"), weft__slice_text(c->proxy_auth));
    for (size_t i = 0; i < call->n_fields && err == 0; i++) {
        struct weft__slice name = name_of(&call->fields[i]);
        enum weft__http_name id = weft__http_name_of(name);
        /* RFC 9110 section 15.4: what tells of a content goes with it */
        bool of_body = weft__slice_is_nocase(weft__slice_part(name, 0, 8), "content-");
        if ((is_credential(id) && !a->credentials) ||
            (of_body && !a->body && (call->body != NULL || call->produce != NULL)))
            continue; /* left behind by a redirect */
        err = put(arg, name, weft__slice_trim(value_of(&call->fields[i])));
    }
    return err;
}

void weft__http_trace(const struct weft_http_call *call, char kind, const char *fmt, ...)
{
    char text[TRACE_MAX];
    va_list ap;
    if (call->trace == NULL)
        return;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (n > 0)
        call->trace(call->trace_arg, kind, text, weft__min_size((size_t)n, sizeof text - 1));
}
