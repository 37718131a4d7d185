/* SPDX-License-Identifier: MIT */
/*
 * Parts of URLs as programs need them; see <weft/url.h>.
 *
 * Floor 0.
 */
#include <errno.h>
#include <string.h>

#include "base/base.h"
#include "base/error.h"
#include "wire/url.h"

static ssize_t end(struct weft__writer *w)
{
    weft__writer_u8(w, '\0');
    if (w->full)
        return weft__fail(-ENOBUFS, "a part of a URL does not fit into %zu bytes", w->cap);
    return (ssize_t)w->pos - 1;
}

static int no_host(const struct weft_url *url)
{
    return weft__fail(-EINVAL, "a URL of the scheme %s has no host", url->scheme);
}

static void host(struct weft__writer *w, const struct weft_url *url)
{
    bool brackets = url->host_kind == WEFT_URL_IPV6;
    weft__writer_text(w, brackets ? "[" : "");
    weft__writer_text(w, url->host);
    weft__writer_text(w, brackets ? "]" : "");
}

static void port(struct weft__writer *w, const struct weft_url *url)
{
    weft__writer_u8(w, ':');
    weft__writer_decimal(w, (uint64_t)url->port);
}

bool weft_url_same_origin(const struct weft_url *a, const struct weft_url *b)
{
    return a->host_kind != WEFT_URL_NO_HOST && a->host_kind == b->host_kind && a->port == b->port &&
           strcmp(a->scheme, b->scheme) == 0 && strcmp(a->host, b->host) == 0;
}

ssize_t weft_url_target(const struct weft_url *url, char *buf, size_t cap)
{
    struct weft__writer w = weft__writer_of(buf, cap);
    if (url->host_kind == WEFT_URL_NO_HOST)
        return no_host(url);
    weft__writer_text(&w, url->path[0] == '\0' ? "/" : url->path);
    if (url->query != NULL) {
        weft__writer_u8(&w, '?');
        weft__writer_text(&w, url->query);
    }
    return end(&w);
}

ssize_t weft_url_authority(const struct weft_url *url, char *buf, size_t cap)
{
    struct weft__writer w = weft__writer_of(buf, cap);
    if (url->host_kind == WEFT_URL_NO_HOST)
        return no_host(url);
    host(&w, url);
    if (url->has_port)
        port(&w, url);
    return end(&w);
}

ssize_t weft_url_origin(const struct weft_url *url, char *buf, size_t cap)
{
    struct weft__writer w = weft__writer_of(buf, cap);
    if (url->host_kind == WEFT_URL_NO_HOST)
        return no_host(url);
    weft__writer_text(&w, url->scheme);
    weft__writer_text(&w, "://");
    host(&w, url);
    if (url->has_port)
        port(&w, url);
    return end(&w);
}

ssize_t weft_url_endpoint(const struct weft_url *url, char *buf, size_t cap)
{
    struct weft__writer w = weft__writer_of(buf, cap);
    if (!url->web)
        return weft__fail(-EINVAL, "a URL of the scheme %s has no endpoint", url->scheme);
    /* The one host of a URL that an endpoint reads as something else: as this machine. */
    if (strcmp(url->host, "*") == 0)
        return weft__fail(WEFT_EURL, "\"*\" names no host");
    weft__writer_text(&w, url->secure ? "tls://" : "tcp://");
    host(&w, url);
    port(&w, url);
    return end(&w);
}
