/* SPDX-License-Identifier: MIT */
/*
 * A client's cookies: see jar.h.
 *
 * Floor 5. SameSite is kept out: a client has no page whose site a request could be of.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "http/jar.h"
#include "wire/http_field.h"
#include <weft/time.h>

#define SENT_MAX 150 /* cookies of one request */
#define NS_PER_S INT64_C(1000000000)

struct cookie {
    struct weft__node link;
    int64_t expires_s; /* INT64_MAX: with the client */
    uint64_t order;
    bool host_only, secure;
    const char *domain, *path, *name, *value; /* in text */
    size_t name_len, value_len;
    char text[];
};

static int64_t now_s(void)
{
    return weft_wall_ns() / NS_PER_S;
}

static struct cookie *cookie_of(struct weft__node *n)
{
    return WEFT__CONTAINER_OF(n, struct cookie, link);
}

void weft__jar_init(struct weft__jar *j)
{
    *j = (struct weft__jar){.psl = psl_builtin()};
    weft__list_init(&j->cookies);
}

static void drop(struct weft__jar *j, struct cookie *c)
{
    weft__list_remove(&c->link);
    j->n--;
    weft__free(c);
}

void weft__jar_clear(struct weft__jar *j)
{
    WEFT__LIST_EACH_SAFE(&j->cookies, n, tmp)
        drop(j, cookie_of(n));
}

void weft__jar_fini(struct weft__jar *j)
{
    weft__jar_clear(j);
}

/* --- Matching (RFC 6265bis, 5.1.3 and 5.1.4) -------------------------------------------------- */

/* True for a name and what is below it, "a.example.org" and "example.org". */
static bool lies_in(struct weft__slice name, struct weft__slice domain)
{
    if (weft__slice_equal_nocase(name, domain))
        return true;
    return name.len > domain.len && name.at[name.len - domain.len - 1] == '.' &&
           weft__slice_equal_nocase(weft__slice_from(name, name.len - domain.len), domain);
}

static bool domain_matches(const struct weft_url *url, struct weft__slice domain)
{
    struct weft__slice host = weft__slice_text(url->host);
    return url->host_kind == WEFT_URL_NAME ? lies_in(host, domain)
                                           : weft__slice_equal_nocase(host, domain);
}

static bool path_matches(const char *request, const char *path)
{
    size_t len = strlen(path);
    if (strncmp(request, path, len) != 0)
        return false;
    return request[len] == '\0' || request[len] == '/' || path[len - 1] == '/';
}

static bool same_name(const struct cookie *a, const struct cookie *b)
{
    return a->name_len == b->name_len && memcmp(a->name, b->name, a->name_len) == 0;
}

static bool same_cookie(const struct cookie *a, const struct cookie *b)
{
    return same_name(a, b) && a->host_only == b->host_only && strcmp(a->domain, b->domain) == 0 &&
           strcmp(a->path, b->path) == 0;
}

/*
 * Whether a cookie from a connection that is not secured would stand before or in the place of a
 * Secure one (RFC 6265bis, 5.7: "leave secure cookies alone").
 */
static bool shadows(const struct cookie *c, const struct cookie *old)
{
    struct weft__slice a = weft__slice_text(c->domain), b = weft__slice_text(old->domain);
    return old->secure && same_name(c, old) && (lies_in(a, b) || lies_in(b, a)) &&
           path_matches(c->path, old->path);
}

/* --- Keeping ---------------------------------------------------------------------------------- */

static void expire(struct weft__jar *j, int64_t now)
{
    WEFT__LIST_EACH_SAFE(&j->cookies, n, tmp)
        if (cookie_of(n)->expires_s <= now)
            drop(j, cookie_of(n));
}

/*
 * Makes room for one more of that domain. Secure ones go last there (RFC 6265bis, 5.7): who is on
 * the way of a plain connection cannot push them out.
 */
static void make_room(struct weft__jar *j, const char *domain)
{
    struct cookie *oldest = NULL;
    struct cookie *plain = NULL;
    size_t n_domain = 0;
    WEFT__LIST_EACH(&j->cookies, n) {
        struct cookie *c = cookie_of(n);
        if (strcmp(c->domain, domain) != 0)
            continue;
        n_domain++;
        oldest = oldest == NULL ? c : oldest;
        plain = plain == NULL && !c->secure ? c : plain;
    }
    if (n_domain >= WEFT__JAR_HOST_MAX)
        drop(j, plain != NULL ? plain : oldest);
    else if (j->n >= WEFT__JAR_MAX)
        drop(j, cookie_of(weft__list_first(&j->cookies)));
}

static const char *put(char **at, const char *from, size_t len, bool lower)
{
    char *to = *at;
    for (size_t i = 0; i < len; i++)
        to[i] = lower ? weft__ascii_lower(from[i]) : from[i];
    to[len] = '\0';
    *at = to + len + 1;
    return to;
}

/* The path of a URL without its last segment (RFC 6265bis, 5.1.4). */
static struct weft__slice default_path(const struct weft_url *url)
{
    const char *last = strrchr(url->path, '/');
    if (last == NULL || last == url->path)
        return weft__slice_text("/");
    return weft__slice_of(url->path, (size_t)(last - url->path));
}

static struct cookie *make(const struct weft_url *url, const struct weft__http_set_cookie *s,
                           bool host_only, int64_t now)
{
    struct weft__slice domain = host_only ? weft__slice_text(url->host) : s->domain;
    struct weft__slice path = s->path.len > 0 && s->path.at[0] == '/' ? s->path : default_path(url);
    struct cookie *c =
        weft__alloc(sizeof *c + domain.len + path.len + s->name.len + s->value.len + 4);
    if (c == NULL)
        return NULL;
    char *at = c->text;
    *c = (struct cookie){.host_only = host_only,
                         .secure = s->secure,
                         .expires_s = INT64_MAX,
                         .name_len = s->name.len,
                         .value_len = s->value.len};
    c->domain = put(&at, domain.at, domain.len, true);
    c->path = put(&at, path.at, path.len, false);
    c->name = put(&at, s->name.at, s->name.len, false);
    c->value = put(&at, s->value.at, s->value.len, false);
    if (s->has_max_age)
        c->expires_s = s->max_age_s > 0 ? now + s->max_age_s : 0;
    else if (s->has_expires)
        c->expires_s = s->expires_unix;
    return c;
}

/* A name as the list of suffixes has it: in lower case, and without the dot that may end it. */
static bool without_dot(char to[WEFT__URL_HOST_MAX + 1], struct weft__slice name)
{
    if (name.len > 0 && name.at[name.len - 1] == '.')
        name.len--;
    if (name.len > WEFT__URL_HOST_MAX)
        return false;
    (void)put(&to, name.at, name.len, true);
    return true;
}

/* Whether that URL may set a cookie for the domain that it names: 0 or -EINVAL. */
static int may_set(const struct weft__jar *j, const struct weft_url *url,
                   const struct weft__http_set_cookie *s, bool *host_only)
{
    if (s->secure && !url->secure)
        return weft__fail(-EINVAL, "a Secure cookie from a connection that is not");
    *host_only = s->domain.len == 0;
    if (*host_only)
        return 0;
    if (!domain_matches(url, s->domain))
        return weft__fail(-EINVAL, "%s may not set a cookie for %.*s", url->host,
                          (int)weft__min_size(s->domain.len, 80), s->domain.at);
    char domain[WEFT__URL_HOST_MAX + 1], host[WEFT__URL_HOST_MAX + 1];
    if (!without_dot(domain, s->domain) || !without_dot(host, weft__slice_text(url->host)))
        return weft__fail(-EINVAL, "a domain of %zu bytes", s->domain.len);
    if (strcmp(domain, host) == 0 &&
        (url->host_kind != WEFT_URL_NAME || j->psl == NULL || psl_is_public_suffix(j->psl, domain)))
        *host_only = true; /* a suffix may set cookies for itself alone */
    else if (url->host_kind != WEFT_URL_NAME || j->psl == NULL ||
             !psl_is_cookie_domain_acceptable(j->psl, host, domain))
        return weft__fail(-EINVAL, "%s is a public suffix, and no host's to set cookies for",
                          domain);
    return 0;
}

int weft__jar_set(struct weft__jar *j, const struct weft_url *url, struct weft__slice set_cookie)
{
    struct weft__http_set_cookie s;
    int64_t now = now_s();
    bool host_only = false;
    if (!weft__http_set_cookie_parse(set_cookie, now, &s))
        return weft__fail(-EINVAL, "not a cookie, or one that breaks the rules of its name");
    int err = may_set(j, url, &s, &host_only);
    if (err < 0)
        return err;
    struct cookie *c = make(url, &s, host_only, now);
    if (c == NULL)
        return -ENOMEM;
    c->order = j->made++;
    expire(j, now);
    WEFT__LIST_EACH(&j->cookies, n)
        if (!url->secure && shadows(c, cookie_of(n))) {
            weft__free(c);
            return weft__fail(-EINVAL, "a connection that is not secured may not replace a Secure "
                                       "cookie");
        }
    WEFT__LIST_EACH_SAFE(&j->cookies, n, tmp) {
        struct cookie *old = cookie_of(n);
        if (!same_cookie(old, c))
            continue;
        c->order = old->order; /* it keeps its place */
        drop(j, old);
    }
    if (c->expires_s <= now) {
        weft__free(c);
        return 0;
    }
    make_room(j, c->domain);
    weft__list_push_back(&j->cookies, &c->link);
    j->n++;
    return 0;
}

/* --- Sending ---------------------------------------------------------------------------------- */

/* Longer paths first, then older cookies (RFC 6265bis, 5.7.3). */
static int by_path(const void *pa, const void *pb)
{
    const struct cookie *a = *(struct cookie *const *)pa, *b = *(struct cookie *const *)pb;
    size_t la = strlen(a->path), lb = strlen(b->path);
    if (la != lb)
        return la > lb ? -1 : 1;
    return a->order < b->order ? -1 : a->order > b->order;
}

static bool goes(const struct cookie *c, const struct weft_url *url, int64_t now)
{
    struct weft__slice domain = weft__slice_text(c->domain);
    if (c->expires_s <= now || (c->secure && !url->secure) || !path_matches(url->path, c->path))
        return false;
    return c->host_only ? weft__slice_is(domain, url->host) : domain_matches(url, domain);
}

size_t weft__jar_get(struct weft__jar *j, const struct weft_url *url, char *buf, size_t cap)
{
    struct cookie *sent[SENT_MAX];
    size_t n = 0, len = 0;
    int64_t now = now_s();
    WEFT__LIST_EACH_SAFE(&j->cookies, node, tmp)
        if (n < SENT_MAX && goes(cookie_of(node), url, now)) {
            sent[n++] = cookie_of(node);
        }
    qsort(sent, n, sizeof sent[0], by_path);
    for (size_t i = 0; i < n; i++) {
        struct cookie *c = sent[i];
        weft__list_remove(&c->link); /* used */
        weft__list_push_back(&j->cookies, &c->link);
        bool nameless = c->name_len == 0;
        size_t need = c->name_len + c->value_len + !nameless + (len > 0 ? 2 : 0);
        if (need > cap - len)
            continue;
        if (len > 0) {
            memcpy(buf + len, "; ", 2);
            len += 2;
        }
        memcpy(buf + len, c->name, c->name_len);
        len += c->name_len;
        if (!nameless)
            buf[len++] = '=';
        memcpy(buf + len, c->value, c->value_len);
        len += c->value_len;
    }
    return len;
}
