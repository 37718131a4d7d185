/* SPDX-License-Identifier: MIT */
/*
 * The HTTP client: opening and closing it, and one request with all that it may lead to.
 *
 * Floor 5. Invariant: whatever a request comes to, it holds neither a connection nor a host behind
 * its reply.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "http/client.h"
#include "tls/tls.h"
#include "wire/http_field.h"

#define DEFAULT_CONNECTIONS 256
#define DEFAULT_PER_HOST 16
#define DEFAULT_IDLE_MS 60000
#define DEFAULT_REDIRECTS 10
#define DEFAULT_BODY_MAX (INT64_C(16) << 20)
#define DEFAULT_DECODED_MAX (INT64_C(1) << 30)

/* --- Opening and closing ---------------------------------------------------------------------- */

static int check_options(const struct weft_http_client_options *o)
{
    if (o->max_connections < 0 || o->max_per_host < 0)
        return weft__fail(-EINVAL, "max_connections and max_per_host are 0 or more");
    if (o->idle_ms < 0)
        return weft__fail(-EINVAL, "idle_ms is 0 or more");
    if (o->body_max < 0 || o->decoded_max < 0)
        return weft__fail(-EINVAL, "body_max and decoded_max are 0 or more");
    if (o->user_agent != NULL && !weft__http_value(weft__slice_text(o->user_agent)))
        return weft__fail(-EINVAL, "user_agent has a character that no field may have");
    return 0;
}

static void fill_in(struct weft_http_client_options *o)
{
    o->max_connections = o->max_connections > 0 ? o->max_connections : DEFAULT_CONNECTIONS;
    o->max_per_host = o->max_per_host > 0 ? o->max_per_host : DEFAULT_PER_HOST;
    o->idle_ms = o->idle_ms > 0 ? o->idle_ms : DEFAULT_IDLE_MS;
    o->redirects_max = o->redirects_max == 0 ? DEFAULT_REDIRECTS : o->redirects_max;
    o->body_max = o->body_max > 0 ? o->body_max : DEFAULT_BODY_MAX;
    o->decoded_max = o->decoded_max > 0 ? o->decoded_max : DEFAULT_DECODED_MAX;
}

/* "Basic ..." of what the proxy's text says, when that has a user. */
static int set_proxy_auth(struct weft_http_client *c)
{
    char value[768];
    const struct weft__via *v = &c->via;
    if (v->user == NULL)
        return 0;
    ssize_t n = weft__http_basic_build(weft__slice_text(v->user),
                                       weft__slice_text(v->password != NULL ? v->password : ""),
                                       value, sizeof value - 1);
    if (n < 0)
        return weft__fail(-EINVAL, "proxy: user and password are too long, or not valid");
    value[n] = '\0';
    c->proxy_auth = weft__strdup(value);
    return c->proxy_auth == NULL ? -ENOMEM : 0;
}

static int set_proxy(struct weft_http_client *c, const char *proxy)
{
    if (proxy == NULL)
        return 0;
    c->options.proxy = weft__strdup(proxy);
    if (c->options.proxy == NULL)
        return -ENOMEM;
    int err = weft__via_read(&c->via, proxy);
    if (err < 0)
        return err == WEFT_EENDPOINT ? -EINVAL : err; /* an option's error; the detail stays */
    return c->via.kind == WEFT__PROXY_HTTP ? set_proxy_auth(c) : 0;
}

int weft_http_client_open(struct weft_http_client **ret, const struct weft_http_client_options *o)
{
    static const struct weft_http_client_options defaults;
    if (o == NULL)
        o = &defaults;
    int err = check_options(o);
    if (err == 0 && o->no_http2 && o->tls != NULL && weft__tls_offers(o->tls, "h2"))
        err =
            weft__fail(-EINVAL, "no_http2, and the alpn of tls offers h2: servers would choose it");
    if (err < 0)
        return err;
    struct weft_http_client *c = weft__calloc(1, sizeof *c);
    if (c == NULL)
        return -ENOMEM;
    c->options = *o;
    c->options.proxy = c->options.user_agent = NULL;
    c->tls = o->tls;
    fill_in(&c->options);
    c->loop = weft_loop_current();
    for (size_t i = 0; i < WEFT__HTTP_HOST_BUCKETS; i++)
        weft__list_init(&c->hosts[i]);
    weft__list_init(&c->waiters);
    weft__jar_init(&c->jar);
    c->options.user_agent =
        weft__strdup(o->user_agent != NULL ? o->user_agent : "weft/" WEFT_VERSION);
    err = c->options.user_agent == NULL ? -ENOMEM : set_proxy(c, o->proxy);
    if (err < 0) {
        weft_http_client_close(&c);
        return err;
    }
    *ret = c;
    return 0;
}

void weft_http_client_close(struct weft_http_client **ret)
{
    struct weft_http_client *c = *ret;
    if (c == NULL)
        return;
    WEFT__ASSERT(c->replies == 0); /* close them first: they are of this client */
    weft__http_pool_close(c);
    weft__jar_fini(&c->jar);
    if (c->tls != c->options.tls)
        weft_tls_close(&c->tls);
    weft__via_fini(&c->via);
    weft__free(c->proxy_auth);
    weft__free((char *)(uintptr_t)c->options.proxy);
    weft__free((char *)(uintptr_t)c->options.user_agent);
    weft__free(c);
    *ret = NULL;
}

void weft_http_client_stats(const struct weft_http_client *c, struct weft_http_client_stats *ret)
{
    *ret = c->stats;
    ret->open = c->open;
    ret->idle = c->idle;
}

/* --- Cookies ---------------------------------------------------------------------------------- */

int weft_http_client_cookie(struct weft_http_client *c, const char *url, const char *set_cookie)
{
    struct weft_url *u;
    int err = weft_url_parse(&u, url, strlen(url));
    if (err < 0)
        return err;
    err = weft__jar_set(&c->jar, u, weft__slice_text(set_cookie));
    weft_url_free(u);
    return err;
}

void weft_http_client_forget(struct weft_http_client *c)
{
    weft__jar_clear(&c->jar);
}

static void keep_cookies(struct weft_http_client *c, const struct weft__http_ask *a,
                         const struct weft_http_reply *r)
{
    for (size_t i = 0; i < r->n_fields && !c->options.no_cookies; i++) {
        const struct weft_http_field *f = &r->fields[i];
        if (!weft__slice_is_nocase(weft__slice_of(f->name, f->name_len), "set-cookie"))
            continue;
        int err = weft__jar_set(&c->jar, a->url, weft__slice_of(f->value, f->value_len));
        if (err < 0)
            weft__http_trace(a->call, '*', "cookie ignored: %s", weft_error_detail());
    }
}

/* --- One exchange ----------------------------------------------------------------------------- */

static bool repeatable(const struct weft__http_ask *a, int err)
{
    bool hung_up = err == WEFT_EEOF || err == -ECONNRESET || err == -EPIPE;
    if (a->given_up)
        return false;
    if (a->refused)
        return !a->sent_body || a->call->rewind != NULL;
    return hung_up && a->untouched && weft__http_method_idempotent(a->method_id) &&
           (!a->sent_body || a->call->rewind != NULL);
}

static int exchange_on(struct weft_http_client *c, struct weft__http_host *h,
                       struct weft__http_ask *a, bool fresh, bool *reused,
                       struct weft_http_reply **ret, weft_deadline d)
{
    struct weft__http_conn *conn;
    struct weft_http_reply *r;
    int err = weft__http_conn_take(c, h, a->url, fresh, &conn, reused, d);
    if (err < 0)
        return err;
    weft__http_trace(a->call, '*', "%s connection to %s", *reused ? "kept" : "new", h->key);
    err = weft__http_reply_new(c, a->url, &r);
    if (err < 0) {
        if (conn->cls->shared)
            weft__http_conn_unshare(conn);
        else
            weft__http_conn_end(conn, false);
        return err;
    }
    c->stats.requests++;
    r->conn = conn;
    a->refused = a->untouched = a->given_up = false;
    err = conn->cls->exchange(conn, a, r, d);
    if (err == 0)
        err = weft__http_reply_begin(r, a->method_id);
    if (err < 0) {
        if (r->conn != NULL)
            conn->cls->release(r, false);
        r->conn = NULL;
        weft_http_reply_close(&r);
        return err;
    }
    *ret = r;
    return 0;
}

/* Back to the body's beginning, if any of it was asked for. */
static int rewind_body(struct weft__http_ask *a)
{
    if (!a->sent_body || !a->body)
        return 0;
    if (a->call->rewind == NULL)
        return weft__fail(-ESPIPE, "the request has to be sent again, and its body cannot be");
    a->sent_body = false;
    return a->call->rewind(a->call->produce_arg);
}

static int exchange_once(struct weft_http_client *c, struct weft__http_ask *a,
                         struct weft_http_reply **ret, weft_deadline d)
{
    struct weft__http_host *h;
    bool reused;
    int err = weft__http_host_hold(c, a->url, &h);
    if (err < 0)
        return err;
    err = exchange_on(c, h, a, false, &reused, ret, d);
    if (err < 0 && (reused || a->refused) && repeatable(a, err)) {
        weft__http_trace(a->call, '*',
                         "the kept connection had ended, or refused the request; once more");
        c->stats.retries++;
        err = rewind_body(a);
        if (err == 0)
            err = exchange_on(c, h, a, true, &reused, ret, d);
    }
    weft__http_host_drop(c, h);
    return err;
}

/* --- Redirects -------------------------------------------------------------------------------- */

static bool redirects(int status)
{
    return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

/* RFC 9110 section 15.4: what the next request is. */
static void change_method(struct weft__http_ask *a, int status)
{
    bool post = a->method_id == WEFT__HTTP_POST && (status == 301 || status == 302);
    bool see_other =
        status == 303 && a->method_id != WEFT__HTTP_GET && a->method_id != WEFT__HTTP_HEAD;
    if (!post && !see_other)
        return;
    a->method = weft__slice_text("GET");
    a->method_id = WEFT__HTTP_GET;
    a->body = false;
}

/*
 * RFC 9110 section 10.2.2: where a Location names no fragment, that of the URL before goes along.
 * Replaces *to on success.
 */
static int inherit_fragment(struct weft_url **to, const struct weft_url *from)
{
    struct weft_url *whole;
    if ((*to)->fragment != NULL || from->fragment == NULL)
        return 0;
    size_t len = strlen(from->fragment);
    char *text = weft__alloc(len + 1);
    if (text == NULL)
        return -ENOMEM;
    text[0] = '#';
    memcpy(text + 1, from->fragment, len);
    int err = weft_url_resolve(&whole, *to, text, len + 1);
    weft__free(text);
    if (err < 0)
        return err;
    weft_url_free(*to);
    *to = whole;
    return 0;
}

static int follow(struct weft_http_client *c, struct weft__http_ask *a, struct weft_url **url,
                  const struct weft_http_reply *r)
{
    struct weft_url *to;
    const char *location = weft_http_reply_field(r, "Location");
    int err = weft_url_resolve(&to, *url, location, strlen(location));
    if (err < 0)
        return err;
    if (!to->web || strncmp(to->scheme, "http", 4) != 0)
        err = weft__fail(WEFT_EURL, "redirected to %.60s, which is not HTTP", to->text);
    else
        err = inherit_fragment(&to, *url);
    if (err < 0) {
        weft_url_free(to);
        return err;
    }
    if (!weft_url_same_origin(*url, to))
        a->credentials = false;
    weft__http_trace(a->call, '*', "redirected to %s", to->text);
    change_method(a, r->status);
    weft_url_free(*url);
    a->url = *url = to;
    c->stats.redirects++;
    return rewind_body(a);
}

static int fetch(struct weft_http_client *c, struct weft__http_ask *a, struct weft_url **url,
                 struct weft_http_reply **ret, weft_deadline d)
{
    int max = a->call->no_redirects ? -1 : c->options.redirects_max;
    for (int i = 0;; i++) {
        struct weft_http_reply *r;
        a->absolute = weft__http_by_proxy(c, *url);
        int err = exchange_once(c, a, &r, d);
        if (err < 0)
            return err;
        keep_cookies(c, a, r);
        if (max < 0 || !redirects(r->status) || weft_http_reply_field(r, "Location") == NULL) {
            *ret = r;
            return 0;
        }
        err = i < max ? follow(c, a, url, r)
                      : weft__fail(WEFT_ELIMIT, "more than %d redirects, the last from %.80s", max,
                                   r->url);
        if (err == 0) /* mostly the next request goes the same way */
            (void)weft__http_reply_drain(r, weft_earlier(d, weft_after_ms(WEFT__HTTP_DRAIN_MS)));
        weft_http_reply_close(&r);
        if (err < 0)
            return err;
    }
}

int weft_http_fetch(struct weft_http_client *c, const struct weft_http_call *call,
                    struct weft_http_reply **ret, weft_deadline d)
{
    struct weft_url *url;
    if (c->loop != weft_loop_current())
        return weft__fail(WEFT_ETHREAD, "the client is of another loop or thread");
    int err = weft__wait_check();
    if (err == 0)
        err = weft__http_call_check(call);
    if (err == 0)
        err = weft_url_parse(&url, call->url, strlen(call->url));
    if (err < 0)
        return err;
    bool body = call->body != NULL || call->produce != NULL;
    const char *method = call->method != NULL ? call->method : body ? "POST" : "GET";
    struct weft__http_ask a = {.call = call,
                               .url = url,
                               .method = weft__slice_text(method),
                               .body = body,
                               .credentials = true};
    a.method_id = weft__http_method_of(a.method);
    if (url->web && strncmp(url->scheme, "http", 4) == 0)
        err = fetch(c, &a, &url, ret, d);
    else
        err = weft__fail(WEFT_EURL, "%.60s: http:// and https:// only", url->text);
    weft_url_free(url);
    return err;
}

int weft_http_get(struct weft_http_client *c, const char *url, struct weft_http_reply **ret,
                  weft_deadline d)
{
    return weft_http_fetch(c, &(struct weft_http_call){.url = url}, ret, d);
}

int weft_http_post(struct weft_http_client *c, const char *url, const char *type, const void *body,
                   size_t len, struct weft_http_reply **ret, weft_deadline d)
{
    struct weft_http_field field = {.name = "Content-Type", .value = type};
    return weft_http_fetch(c,
                           &(struct weft_http_call){.url = url,
                                                    .fields = &field,
                                                    .n_fields = 1,
                                                    .body = len > 0 ? body : "",
                                                    .body_len = len},
                           ret, d);
}
