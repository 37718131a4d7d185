/* SPDX-License-Identifier: MIT */
/*
 * Serving at an endpoint string: what it says is read here, and contexts are made, before floor 3
 * listens.
 *
 * Floor 4. Invariant: nothing here waits but for the disk that certificates are on, and for the
 * addresses of a host that is a name.
 */
#include <errno.h>

#include <weft/dns.h>

#include "dial/dial.h"
#include "net/address.h"
#include "net/query.h"
#include "net/server.h"
#include "tls/tls.h"

static int read_endpoint(struct weft_endpoint *ret, const char *endpoint)
{
    int err = weft_endpoint_parse(ret, endpoint);
    if (err == 0)
        err = weft__query_only(ret, WEFT__QUERY_SERVE);
    if (err == 0 && ret->kind == WEFT_ENDPOINT_UDP)
        err = weft__fail(-EINVAL, "%s: servers accept streams; use weft_udp_open", endpoint);
    struct weft_addresses *all = NULL;
    if (err == 0)
        err = weft__resolve_here(ret, 0, 0, &all);
    if (err == 0 && all != NULL) {
        ret->address = all->at[0];
        ret->host[0] = '\0';
    }
    weft_addresses_free(&all);
    return err;
}

/*
 * The context, counted for the caller; NULL for a plain server. One that is made here offers that
 * alpn, unless the endpoint says it. It verifies nobody, as it is never a client's and asks for no
 * certificate: with that said, the system's trust store is not read, which takes 100 ms.
 */
static int context(struct weft_tls **ret, const struct weft_endpoint *at,
                   const struct weft_server_options *o, const char *alpn)
{
    char text[WEFT_ENDPOINT_MAX] = "?";
    struct weft_tls *tls = NULL;
    (void)weft__endpoint_plain(at, text, sizeof text);
    if (o->tls != NULL && (o->cert != NULL || o->key != NULL))
        return weft__fail(-EINVAL, "%s: tls is a context already: no cert and key beside it", text);
    if (at->kind == WEFT_ENDPOINT_TCP && (o->tls != NULL || o->cert != NULL || o->key != NULL))
        return weft__fail(-EINVAL, "%s is not secured, and has options of TLS: write tls://", text);
    const struct weft_tls_certificate own = {.chain = o->cert, .key = o->key};
    bool given = o->cert != NULL || o->key != NULL;
    int err = weft__tls_of_query(&tls, at, true, given ? &own : NULL, alpn);
    if (err == 0 && tls == NULL && o->tls != NULL)
        tls = weft__tls_ref(o->tls);
    if (err == 0 && tls == NULL && at->kind == WEFT_ENDPOINT_TLS)
        err = weft__fail(-EINVAL, "%s: no certificate to show: cert and key, or tls", text);
    if (err == 0 && tls != NULL)
        err = weft__secure_of(tls)->check_server(tls);
    if (err < 0) {
        weft__tls_unref(tls);
        return err;
    }
    *ret = tls;
    return 0;
}

int weft__server_open_offering(struct weft_server **ret, struct weft_group *g, const char *endpoint,
                               const struct weft_server_options *o, weft_handler handler, void *arg,
                               const struct weft_factory *f, const char *alpn)
{
    static const struct weft_server_options none;
    struct weft__serving w = {.handler = handler, .arg = arg, .factory = f};
    if (o == NULL)
        o = &none;
    int err = read_endpoint(&w.at, endpoint);
    if (err == 0)
        err = context(&w.tls, &w.at, o, alpn);
    struct weft_server_options with = *o;
    char proxies[WEFT_QUERY_MAX + 1];
    if (err == 0 && weft_endpoint_option(&w.at, "proxy-from", proxies, sizeof proxies) > 0)
        with.proxy_from = proxies;
    if (err == 0)
        err = weft__server_open(ret, g, &w, &with);
    weft__tls_unref(w.tls);
    return err;
}

int weft_server_open(struct weft_server **ret, struct weft_group *g, const char *endpoint,
                     const struct weft_server_options *o, weft_handler handler, void *arg,
                     const struct weft_factory *f)
{
    return weft__server_open_offering(ret, g, endpoint, o, handler, arg, f, NULL);
}

int weft_serve(struct weft_group *g, const char *endpoint, const struct weft_server_options *o,
               weft_handler handler, void *arg)
{
    return weft_server_open(NULL, g, endpoint, o, handler, arg, NULL);
}

int weft_serve_protocol(struct weft_group *g, const char *endpoint,
                        const struct weft_server_options *o, const struct weft_factory *f)
{
    return weft_server_open(NULL, g, endpoint, o, NULL, NULL, f);
}
