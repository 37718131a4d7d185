/* SPDX-License-Identifier: MIT */
/* Applications: what is set up before serving. Floor 5. Sealed once a server uses it. */
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "http/exchange.h"
#include "http/site.h"

int weft_http_app_open(struct weft_http_app **ret)
{
    struct weft_http_app *app = weft__calloc(1, sizeof *app);
    if (app == NULL)
        return -ENOMEM;
    *ret = app;
    return 0;
}

void weft_http_app_close(struct weft_http_app **ret)
{
    struct weft_http_app *app = *ret;
    *ret = NULL;
    if (app == NULL)
        return;
    weft__router_fini(&app->router);
    for (size_t i = 0; i < app->n_middleware; i++)
        weft__free(app->middleware[i].prefix);
    while (app->owned != NULL) {
        struct weft__http_owned *o = app->owned;
        app->owned = o->next;
        o->free(o);
    }
    weft__free(app);
}

static int check_open(const struct weft_http_app *app)
{
    if (atomic_load(&app->sealed))
        return weft__fail(-EBUSY, "a server uses this application already");
    return 0;
}

int weft_http_route_with(struct weft_http_app *app, const char *pattern,
                         const struct weft_http_route_options *o, weft_http_handler handler,
                         void *arg)
{
    int err = check_open(app);
    return err < 0 ? err : weft__router_add(&app->router, pattern, o, handler, arg);
}

int weft_http_route(struct weft_http_app *app, const char *pattern, weft_http_handler handler,
                    void *arg)
{
    return weft_http_route_with(app, pattern, NULL, handler, arg);
}

int weft_http_use(struct weft_http_app *app, const char *prefix, weft_http_handler middleware,
                  void *arg)
{
    return weft_http_use_with(app, prefix, NULL, middleware, arg);
}

int weft_http_use_with(struct weft_http_app *app, const char *prefix,
                       const struct weft_http_use_options *o, weft_http_handler middleware,
                       void *arg)
{
    int err = check_open(app);
    if (err < 0)
        return err;
    if (prefix == NULL || prefix[0] != '/' || middleware == NULL)
        return weft__fail(-EINVAL, "middleware needs a function and a prefix that begins with '/'");
    if (app->n_middleware == WEFT__HTTP_MIDDLEWARE_MAX)
        return weft__fail(WEFT_ELIMIT, "there are %d middlewares already",
                          WEFT__HTTP_MIDDLEWARE_MAX);
    struct weft__http_middleware *m = &app->middleware[app->n_middleware];
    m->prefix = weft__strdup(prefix);
    if (m->prefix == NULL)
        return -ENOMEM;
    m->prefix_len = strlen(prefix);
    if (m->prefix[m->prefix_len - 1] == '/')
        m->prefix_len--;
    m->fn = middleware;
    m->arg = arg;
    m->at_once = o != NULL && o->at_once;
    app->n_waiting += !m->at_once;
    app->n_middleware++;
    return 0;
}

void weft_http_error_pages(struct weft_http_app *app, weft_http_error_page page, void *arg)
{
    app->page = page;
    app->page_arg = arg;
}
