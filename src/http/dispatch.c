/* SPDX-License-Identifier: MIT */
/*
 * From a request's head to the end of its response: routing, middleware, handlers, and what they
 * return.
 *
 * Floor 5. Invariant: when weft__http_dispatch returns 0 the response has been sent whole; when it
 * returns an error, it has begun and cannot be completed.
 */
#include <errno.h>
#include <string.h>

#include "base/error.h"
#include "http/exchange.h"
#include "http/site.h"
#include "wire/http_field.h"

void weft__http_exchange_reset(struct weft__http_exchange *x)
{
    struct weft_http_request *q = &x->q;
    struct weft_http_response *r = &x->r;
    q->routed = false;
    q->stage = 0;
    q->path_text = q->query_text = q->target_text = q->id = q->method_text = NULL;
    q->peer_text = NULL;
    q->has_form = false;
    q->notes = NULL;
    q->multipart = NULL;
    q->match.route = NULL;
    q->match.n_params = 0;
    memset(r, 0, sizeof *r);
    r->status = 200;
    r->length = -1;
    r->fields = x->first_fields;
    r->fields_cap = WEFT__HTTP_FIRST_FIELDS;
    x->upgraded = false;
    x->body_error = 0;
    x->ahead = NULL;
}

void weft__http_exchange_done(struct weft__http_exchange *x)
{
    if (WEFT__UNLIKELY(x->q.multipart != NULL)) {
        weft__http_multipart_free(x->q.multipart);
        x->q.multipart = NULL;
    }
    if (WEFT__UNLIKELY(x->r.coder != NULL)) {
        weft__http_coder_free(x->r.coder);
        x->r.coder = NULL;
    }
    if (WEFT__UNLIKELY(x->ahead != NULL)) {
        x->ahead->put(x->ahead);
        x->ahead = NULL;
    }
    weft__arena_reset(&x->arena);
}

/* --- Routing ---------------------------------------------------------------------------------- */

/* A value with a NUL in it would be given to the handler as a text that ends there. */
static bool is_text(const struct weft_http_request *q)
{
    const struct weft__route *route = q->match.route;
    struct weft__slice query = weft__http_slice(q->base, q->head.query);
    return !q->head.has_query || (route != NULL && route->options.raw_query) ||
           weft__form_find_nul(query) == query.len;
}

bool weft__http_route_request(struct weft__http_exchange *x)
{
    const struct weft_http_options *o = &x->site->conf->o;
    struct weft_http_request *q = &x->q;
    struct weft__slice path = weft__http_slice(q->base, q->head.path);
    q->routed = true;
    x->body_max = o->body_max;
    x->stream_max = o->stream_max;
    if (path.len == 0 || path.at[0] != '/') {
        q->path.n = 0;
        q->match.any_path = false;
        q->match.allow = 0;
        if (q->head.form != WEFT__HTTP1_ABSOLUTE)
            return true; /* OPTIONS * and CONNECT have no path */
        path = weft__slice_text("/");
    }
    const struct weft__router *router = &x->site->conf->app->router;
    enum weft_http_method method = (enum weft_http_method)q->head.method;
    struct weft__slice method_name = weft__http_slice(q->base, q->head.method_name);
    if (q->head.path.len > 0 &&
        weft__router_match_literal(router, path, method, method_name, &q->match)) {
        q->path.n = 0; /* nobody asks for its parts */
    } else {
        if (weft__http_path_split(&q->path, path, &x->arena) < 0)
            return false;
        weft__router_match(router, &q->path, method, method_name, &q->match);
    }
    const struct weft__route *route = q->match.route;
    if (route != NULL && route->options.body_max > 0)
        x->body_max = route->options.body_max;
    if (route != NULL && route->options.stream_max > 0)
        x->stream_max = route->options.stream_max;
    x->arena.max = WEFT__HTTP_ARENA_BASE + 3 * x->body_max;
    return is_text(q);
}

/* The methods that a path has routes for, all that can be told by bits of `allow`. Returns how many
 * bytes that takes, with a comma and a blank before each; *at moves behind them, if it is there. */
static size_t list_methods(const struct weft__router *router, uint64_t allow, char **at)
{
    static const enum weft_http_method all[] = {
        WEFT_HTTP_GET,     WEFT_HTTP_HEAD,  WEFT_HTTP_POST,  WEFT_HTTP_PUT,     WEFT_HTTP_DELETE,
        WEFT_HTTP_OPTIONS, WEFT_HTTP_PATCH, WEFT_HTTP_TRACE, WEFT_HTTP_CONNECT,
    };
    size_t total = 0;
    for (size_t i = 0; i < WEFT__ARRAY_LEN(all) + router->n_others; i++) {
        size_t other = i - WEFT__ARRAY_LEN(all);
        bool numbered = i < WEFT__ARRAY_LEN(all);
        size_t bit = numbered ? (size_t)all[i] : WEFT__ROUTE_OTHER_BIT + other;
        struct weft__slice name =
            numbered ? weft__slice_text(weft_http_method_name(all[i])) : router->others[other];
        if ((allow >> bit & 1) == 0)
            continue;
        if (*at != NULL) {
            memcpy(*at, ", ", 2);
            memcpy(*at + 2, name.at, name.len);
            *at += name.len + 2;
        }
        total += name.len + 2;
    }
    return total;
}

/* Says Allow (RFC 9110 section 10.2.1). */
static int set_allow(struct weft_http_response *r, const struct weft__router *router,
                     uint64_t allow)
{
    char *none = NULL;
    if ((allow >> WEFT_HTTP_GET & 1) != 0)
        allow |= UINT64_C(1) << WEFT_HTTP_HEAD;
    allow |= UINT64_C(1) << WEFT_HTTP_OPTIONS;
    size_t len = list_methods(router, allow, &none);
    char *text = weft__arena_alloc(&weft__http_of_r(r)->arena, len), *at = text;
    if (text == NULL)
        return -ENOMEM;
    (void)list_methods(router, allow, &at);
    return weft__http_set_known(r, "Allow", text + 2, len - 2);
}

/* No route: 404, 405, 501, or OPTIONS answered for the handlers. */
static int answer_without_route(struct weft_http_request *q, struct weft_http_response *r)
{
    const struct weft__router *router = &weft__http_of_q(q)->site->conf->app->router;
    enum weft_http_method method = weft_http_method(q);
    if (q->head.form == WEFT__HTTP1_ASTERISK) /* of the server as a whole */
        return weft_http_send(r, 204, NULL, NULL, 0);
    if (method == WEFT_HTTP_CONNECT)
        return weft_http_error(r, 501, "this server is no proxy");
    if (!q->match.any_path)
        return weft_http_error(r, 404, "nothing is served at this path");
    int err = set_allow(r, router, q->match.allow);
    if (err < 0)
        return err;
    if (method == WEFT_HTTP_OPTIONS)
        return weft_http_send(r, 204, NULL, NULL, 0);
    if (method == WEFT_HTTP_OTHER &&
        !weft__router_knows(router, weft__http_slice(q->base, q->head.method_name)))
        return weft_http_error(r, 501, "this method is not known here");
    return weft_http_error(r, 405, "this path does not take that method");
}

/* --- Middleware ------------------------------------------------------------------------------- */

/* 1 or 0; -ENOMEM: nobody can tell, and who might have to be asked is not passed by. */
static int covers(const struct weft__http_middleware *m, struct weft_http_request *q)
{
    if (m->prefix_len == 0)
        return 1;
    const char *path = weft_http_path(q);
    if (path == NULL)
        return -ENOMEM;
    return strncmp(path, m->prefix, m->prefix_len) == 0 &&
           (path[m->prefix_len] == '\0' || path[m->prefix_len] == '/');
}

static __attribute__((noinline)) bool waits_in(const struct weft_http_app *app,
                                               struct weft_http_request *q)
{
    for (size_t i = 0; i < app->n_middleware; i++)
        if (!app->middleware[i].at_once && covers(&app->middleware[i], q) != 0)
            return true;
    return false;
}

static inline bool waits_before(struct weft__http_exchange *x)
{
    const struct weft_http_app *app = x->site->conf->app;
    return app->n_waiting > 0 && waits_in(app, &x->q);
}

bool weft__http_is_at_once(struct weft__http_exchange *x)
{
    const struct weft__route *route = x->q.match.route;
    return route != NULL && route->options.at_once && !waits_before(x);
}

bool weft__http_is_ready(struct weft__http_exchange *x)
{
    const struct weft__route *route = x->q.match.route;
    return route != NULL && route->ready != NULL && !waits_before(x) && route->ready(x, route->arg);
}

int weft_http_next(struct weft_http_request *q, struct weft_http_response *r)
{
    struct weft__http_exchange *x = weft__http_of_q(q);
    const struct weft_http_app *app = x->site->conf->app;
    while (q->stage < app->n_middleware) {
        const struct weft__http_middleware *m = &app->middleware[q->stage++];
        int here = covers(m, q);
        if (here != 0)
            return here < 0 ? here : m->fn(q, r, m->arg);
    }
    const struct weft__route *route = q->match.route;
    return route != NULL ? route->handler(q, r, route->arg) : answer_without_route(q, r);
}

/* --- Results ---------------------------------------------------------------------------------- */

/* The status for what a handler failed with before it answered: what reading the body gave is the
 * client's fault, the same code from elsewhere is not. */
static int status_for(const struct weft__http_exchange *x, int err)
{
    if (err == WEFT_EDRAINING)
        return 503;
    switch (err == x->body_error ? err : 0) {
    case -EMSGSIZE:
        return 413;
    case WEFT_EPROTOCOL:
    case WEFT_EEOF:
        return 400;
    case -ETIMEDOUT:
        return 408;
    default:
        return 500;
    }
}

static bool is_status(int result)
{
    return result >= 400 && result <= 599;
}

/* The connection is gone, or is to go: nothing more can be told. */
static bool is_final(const struct weft__http_exchange *x, int err)
{
    bool gone = err == -EPIPE || err == -ECONNRESET || err == WEFT_EPOISONED;
    return err == -ECANCELED || (gone && err == x->body_error) || x->r.error < 0;
}

static int finish(struct weft__http_exchange *x)
{
    if (x->upgraded)
        return 0;
    return weft_http_end(&x->r);
}

int weft__http_dispatch(struct weft__http_exchange *x)
{
    struct weft_http_request *q = &x->q;
    struct weft_http_response *r = &x->r;
    int result = weft_http_next(q, r);
    if (q->head.method != WEFT__HTTP_GET && q->head.method != WEFT__HTTP_HEAD && !x->site->shared)
        x->site->unsafe++;
    if (WEFT__LIKELY(result == 0 && r->begun))
        return finish(x);
    if (r->ended && r->error == 0)
        return 0; /* what went wrong then is none of the client's business */
    if (result == 0 || is_status(result)) {
        if (r->begun)
            return result == 0 ? finish(x) : WEFT_EPROTOCOL; /* an answer and a status: neither */
        result = is_status(result) ? weft_http_error(r, result, NULL)
                                   : weft_http_error(r, 500, "no answer was given");
    } else if (result < 0 && !r->begun && !is_final(x, result)) {
        weft__http_response_other(r);
        result = weft_http_error(r, status_for(x, result), NULL);
    } else if (result > 0) {
        result = r->begun ? -EINVAL : weft_http_error(r, 500, "no answer was given");
    }
    return result < 0 ? result : finish(x);
}

int weft__http_refuse(struct weft__http_exchange *x, int status, const char *why)
{
    int err = weft_http_error(&x->r, status, "%s", why);
    return err < 0 ? err : finish(x);
}
