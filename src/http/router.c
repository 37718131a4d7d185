/* SPDX-License-Identifier: MIT */
/* Routes: adding and matching. Floor 5. Invariants as in router.h. */
#include "http/router.h"

#include <errno.h>

#include "base/alloc.h"
#include "base/error.h"
#include "wire/http.h"
#include "wire/http_field.h"

struct weft__route_node {
    struct weft__slice text; /* of a literal child; owned */
    struct weft__route_node **literals;
    size_t n_literals; /* in the order of compare() */
    struct weft__route_node *param, *rest;
    struct weft__route *routes;
};

/* --- Paths ------------------------------------------------------------------------------------ */

static int decode(struct weft__slice *s, struct weft__arena *a)
{
    char *buf = weft__arena_alloc(a, s->len + 1);
    if (buf == NULL)
        return -ENOMEM;
    ssize_t n = weft__percent_decode(*s, false, buf, s->len + 1);
    if (n < 0 || memchr(buf, '\0', (size_t)n) != NULL)
        return -EINVAL;
    buf[n] = '\0';
    *s = weft__slice_of(buf, (size_t)n);
    return 0;
}

static bool is_dots(struct weft__slice s)
{
    return (s.len == 1 && s.at[0] == '.') || (s.len == 2 && s.at[0] == '.' && s.at[1] == '.');
}

int weft__http_path_split(struct weft__http_path *p, struct weft__slice path, struct weft__arena *a)
{
    p->n = 0;
    p->decoded = false;
    if (path.len == 0 || path.at[0] != '/')
        return -EINVAL;
    bool encoded = memchr(path.at, '%', path.len) != NULL;
    p->raw = weft__slice_from(path, 1);
    for (size_t from = 0;;) {
        size_t to = weft__slice_find(p->raw, '/', from);
        struct weft__slice s = weft__slice_part(p->raw, from, to);
        if (p->n == WEFT__ROUTE_SEGMENTS_MAX)
            return WEFT_ELIMIT;
        if (encoded && memchr(s.at, '%', s.len) != NULL) {
            int err = decode(&s, a);
            if (err < 0)
                return err;
            p->decoded = true;
        }
        if (is_dots(s))
            return -EINVAL;
        p->segments[p->n++] = s;
        if (to == p->raw.len)
            return 0;
        from = to + 1;
    }
}

static void join_segment(struct weft__slice s, char **at)
{
    for (size_t i = 0; i < s.len; i++) {
        if (s.at[i] == '/') {
            memcpy(*at, "%2F", 3);
            *at += 3;
        } else {
            *(*at)++ = s.at[i];
        }
    }
}

const char *weft__http_path_join(const struct weft__http_path *p, size_t from,
                                 struct weft__arena *a)
{
    if (from >= p->n)
        return "";
    if (!p->decoded) { /* it stands in the request as it is wanted */
        const char *begin = p->segments[from].at;
        return weft__arena_text(a, begin, (size_t)(p->raw.at + p->raw.len - begin));
    }
    size_t room = 1;
    for (size_t i = from; i < p->n; i++)
        room += 3 * p->segments[i].len + 1;
    char *text = weft__arena_alloc(a, room), *at = text;
    if (text == NULL)
        return NULL;
    for (size_t i = from; i < p->n; i++) {
        if (i > from)
            *at++ = '/';
        join_segment(p->segments[i], &at);
    }
    *at = '\0';
    return text;
}

/* --- Adding ----------------------------------------------------------------------------------- */

static int compare(struct weft__slice a, struct weft__slice b)
{
    if (a.len != b.len)
        return a.len < b.len ? -1 : 1;
    return a.len == 0 ? 0 : memcmp(a.at, b.at, a.len);
}

/* The place of a literal child, or where it would be. */
static size_t place_of(const struct weft__route_node *n, struct weft__slice text)
{
    size_t low = 0, high = n->n_literals;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (compare(n->literals[middle]->text, text) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct weft__route_node *literal_of(const struct weft__route_node *n,
                                           struct weft__slice text)
{
    size_t at = place_of(n, text);
    return at < n->n_literals && compare(n->literals[at]->text, text) == 0 ? n->literals[at] : NULL;
}

static struct weft__route_node *add_literal(struct weft__route_node *n, struct weft__slice text)
{
    struct weft__route_node *child = literal_of(n, text);
    if (child != NULL)
        return child;
    struct weft__route_node **more =
        weft__realloc(n->literals, (n->n_literals + 1) * sizeof(struct weft__route_node *));
    if (more == NULL)
        return NULL;
    n->literals = more;
    child = weft__calloc(1, sizeof *child);
    char *copy = child != NULL ? weft__alloc(text.len + 1) : NULL;
    if (copy == NULL) {
        weft__free(child);
        return NULL;
    }
    if (text.len > 0)
        memcpy(copy, text.at, text.len);
    child->text = weft__slice_of(copy, text.len);
    size_t at = place_of(n, text);
    memmove(more + at + 1, more + at, (n->n_literals - at) * sizeof(struct weft__route_node *));
    more[at] = child;
    n->n_literals++;
    return child;
}

static int bad(const char *pattern, const char *why)
{
    return weft__fail(-EINVAL, "route '%s': %s", pattern, why);
}

static int add_param(struct weft__route *route, struct weft__slice name)
{
    if (name.len == 0)
        return bad(route->pattern, "a name is missing behind ':' or '*'");
    if (route->n_params == WEFT__ROUTE_PARAMS_MAX)
        return bad(route->pattern, "it has more than 16 names");
    for (size_t i = 0; i < route->n_params; i++)
        if (weft__slice_equal(route->params[i], name))
            return bad(route->pattern, "a name stands in it twice");
    route->params[route->n_params++] = name;
    return 0;
}

/* Goes to the node of one segment of a pattern, making it when it is not there. */
static int descend(struct weft__route_node **node, struct weft__route *route, struct weft__slice s,
                   bool last)
{
    struct weft__route_node **child = NULL, *literal = NULL;
    int err = 0;
    if (s.len > 0 && s.at[0] == ':')
        child = &(*node)->param;
    else if (s.len > 0 && s.at[0] == '*')
        child = &(*node)->rest;
    if (child == NULL) {
        literal = add_literal(*node, s);
    } else {
        if (s.at[0] == '*' && !last)
            return bad(route->pattern, "'*' stands before its end");
        err = add_param(route, weft__slice_from(s, 1));
        if (err < 0)
            return err;
        if (*child == NULL)
            *child = weft__calloc(1, sizeof **child);
        literal = *child;
    }
    if (literal == NULL)
        return -ENOMEM;
    *node = literal;
    return 0;
}

static int put(struct weft__route_node *node, struct weft__route *route)
{
    for (const struct weft__route *other = node->routes; other != NULL; other = other->next)
        if (other->any == route->any &&
            (route->any || weft__slice_equal(other->method_name, route->method_name)))
            return weft__fail(-EEXIST, "route '%s' takes the same requests as '%s'", route->pattern,
                              other->pattern);
    /* A method's own route is looked at before that of every method. */
    struct weft__route **at = &node->routes;
    while (route->any && *at != NULL)
        at = &(*at)->next;
    route->next = *at;
    *at = route;
    return 0;
}

static int parse_method(struct weft__route *route, struct weft__slice *path)
{
    struct weft__slice all = weft__slice_text(route->pattern);
    size_t space = weft__slice_find(all, ' ', 0);
    route->method_name = weft__slice_part(all, 0, space);
    *path = weft__slice_from(all, space + 1);
    route->any = weft__slice_is(route->method_name, "*");
    if (!route->any && !weft__http_token(route->method_name))
        return bad(route->pattern, "it begins with no method");
    if (path->len == 0 || path->at[0] != '/')
        return bad(route->pattern, "its path does not begin with '/'");
    route->method = weft_http_method_of(route->method_name.at, route->method_name.len);
    return 0;
}

/* The place of a method without a number, or where it would be. */
static size_t other_of(const struct weft__router *r, struct weft__slice name)
{
    size_t i = 0;
    while (i < r->n_others && !weft__slice_equal(r->others[i], name))
        i++;
    return i;
}

static int number_method(const struct weft__router *r, struct weft__route *route)
{
    size_t bit = (size_t)route->method;
    if (!route->any && route->method == WEFT_HTTP_OTHER) {
        size_t i = other_of(r, route->method_name);
        if (i == WEFT__ROUTE_OTHERS_MAX)
            return weft__fail(WEFT_ELIMIT, "route '%s': there are %d methods of that kind already",
                              route->pattern, WEFT__ROUTE_OTHERS_MAX);
        bit = WEFT__ROUTE_OTHER_BIT + i;
    }
    route->bit = (uint8_t)bit;
    return 0;
}

/* --- Paths of text alone ---------------------------------------------------------------------- */

struct weft__route_literal {
    struct weft__slice path; /* in a pattern; at NULL: a free place */
    const struct weft__route_node *node;
};

/* Routes are few and the operator's own, so the hash need not withstand anybody. */
static inline size_t hash_of(struct weft__slice s)
{
    uint64_t h = s.len, word;
    size_t i = 0;
    for (; i + 8 <= s.len; i += 8) {
        memcpy(&word, s.at + i, 8);
        h = (h ^ word) * UINT64_C(0x9e3779b97f4a7c15);
        h ^= h >> 32;
    }
    for (word = 0; i < s.len; i++)
        word = word << 8 | (unsigned char)s.at[i];
    h = (h ^ word) * UINT64_C(0x9e3779b97f4a7c15);
    return (size_t)(h ^ h >> 32);
}

/* The place of a path, or a free one for it. The table is never full. */
static inline struct weft__route_literal *literal_place(struct weft__route_literal *table,
                                                        size_t cap, struct weft__slice path)
{
    size_t at = hash_of(path) & (cap - 1);
    while (table[at].path.at != NULL && !weft__slice_equal(table[at].path, path))
        at = (at + 1) & (cap - 1);
    return &table[at];
}

/* Whether a request's path of these very bytes is the only one that leads to the pattern's node. */
static bool is_literal(const struct weft__route *route, struct weft__slice path)
{
    size_t segments = 1;
    if (route->n_params > 0 || memchr(path.at, '%', path.len) != NULL)
        return false;
    for (size_t from = 1; from <= path.len; segments++) {
        size_t to = weft__slice_find(path, '/', from);
        if (is_dots(weft__slice_part(path, from, to)))
            return false;
        from = to + 1;
    }
    return segments <= WEFT__ROUTE_SEGMENTS_MAX;
}

static int literal_add(struct weft__router *r, struct weft__slice path,
                       const struct weft__route_node *node)
{
    if (2 * (r->n_literals + 1) > r->literals_cap) {
        size_t cap = r->literals_cap == 0 ? 16 : 2 * r->literals_cap;
        struct weft__route_literal *more = weft__calloc(cap, sizeof *more);
        if (more == NULL)
            return -ENOMEM;
        for (size_t i = 0; i < r->literals_cap; i++)
            if (r->literals[i].path.at != NULL)
                *literal_place(more, cap, r->literals[i].path) = r->literals[i];
        weft__free(r->literals);
        r->literals = more;
        r->literals_cap = cap;
    }
    struct weft__route_literal *at = literal_place(r->literals, r->literals_cap, path);
    if (at->path.at == NULL) {
        *at = (struct weft__route_literal){.path = path, .node = node};
        r->n_literals++;
    }
    return 0;
}

static int add(struct weft__router *r, struct weft__route *route)
{
    struct weft__slice path;
    int err = parse_method(route, &path);
    if (err == 0)
        err = number_method(r, route);
    struct weft__route_node *node = r->root;
    struct weft__slice whole = path;
    path = err == 0 ? weft__slice_from(path, 1) : path;
    for (size_t from = 0; err == 0 && from <= path.len;) {
        size_t to = weft__slice_find(path, '/', from);
        err = descend(&node, route, weft__slice_part(path, from, to), to == path.len);
        from = to + 1;
    }
    bool first = err == 0 && node->routes == NULL && is_literal(route, whole);
    if (err == 0)
        err = put(node, route);
    if (err == 0 && first && (err = literal_add(r, whole, node)) < 0)
        node->routes = NULL;
    return err;
}

static void route_free(struct weft__route *route)
{
    if (route != NULL)
        weft__free(route->pattern);
    weft__free(route);
}

int weft__router_add(struct weft__router *r, const char *pattern,
                     const struct weft_http_route_options *o, weft_http_handler handler, void *arg)
{
    if (pattern == NULL || handler == NULL)
        return weft__fail(-EINVAL, "a route needs a pattern and a handler");
    if (r->count >= WEFT__ROUTES_MAX)
        return weft__fail(WEFT_ELIMIT, "there are %u routes already", WEFT__ROUTES_MAX);
    if (r->root == NULL && (r->root = weft__calloc(1, sizeof *r->root)) == NULL)
        return -ENOMEM;
    struct weft__route *route = weft__calloc(1, sizeof *route);
    if (route == NULL)
        return -ENOMEM;
    route->handler = handler;
    route->arg = arg;
    if (o != NULL)
        route->options = *o;
    route->pattern = weft__strdup(pattern);
    int err = route->pattern != NULL ? add(r, route) : -ENOMEM;
    if (err < 0)
        route_free(route);
    if (err == 0) {
        if (route->bit == WEFT__ROUTE_OTHER_BIT + r->n_others)
            r->others[r->n_others++] = route->method_name;
        r->count++;
        r->last = route;
        r->at_once = r->at_once || (o != NULL && o->at_once);
    }
    return err;
}

static void node_free(struct weft__route_node *n)
{
    if (n == NULL)
        return;
    for (size_t i = 0; i < n->n_literals; i++)
        node_free(n->literals[i]);
    node_free(n->param);
    node_free(n->rest);
    while (n->routes != NULL) {
        struct weft__route *route = n->routes;
        n->routes = route->next;
        route_free(route);
    }
    weft__free(n->literals);
    weft__free((char *)(uintptr_t)n->text.at);
    weft__free(n);
}

void weft__router_fini(struct weft__router *r)
{
    node_free(r->root);
    weft__free(r->literals);
    r->root = NULL;
    r->literals = NULL;
    r->n_literals = r->literals_cap = 0;
    r->count = r->n_others = 0;
}

/* --- Matching --------------------------------------------------------------------------------- */

struct look {
    const struct weft__http_path *path;
    enum weft_http_method method;
    struct weft__slice method_name;
    struct weft__route_match *m;
    unsigned steps; /* nodes that may still be looked at */
};

static bool takes(const struct weft__route *route, const struct look *k)
{
    if (route->any || (route->method == k->method && k->method != WEFT_HTTP_OTHER))
        return true;
    if (k->method == WEFT_HTTP_HEAD && route->method == WEFT_HTTP_GET)
        return true;
    return k->method == WEFT_HTTP_OTHER && weft__slice_equal(route->method_name, k->method_name);
}

/* HEAD's own route goes before that of GET. */
static const struct weft__route *pick(const struct weft__route_node *n, struct look *k)
{
    const struct weft__route *found = NULL;
    for (const struct weft__route *route = n->routes; route != NULL; route = route->next) {
        k->m->any_path = true;
        k->m->allow |= route->any ? UINT64_MAX : UINT64_C(1) << route->bit;
        if (takes(route, k) && (found == NULL || (found->any && !route->any) ||
                                (route->method == k->method && !route->any)))
            found = route;
    }
    return found;
}

static const struct weft__route *walk(const struct weft__route_node *n, struct look *k, size_t i,
                                      size_t params)
{
    const struct weft__route *found = NULL;
    if (k->steps == 0)
        return NULL;
    k->steps--;
    if (i == k->path->n) {
        found = pick(n, k);
        if (found != NULL)
            k->m->n_params = params;
        return found;
    }
    struct weft__slice s = k->path->segments[i];
    const struct weft__route_node *literal = n->n_literals > 0 ? literal_of(n, s) : NULL;
    if (literal != NULL)
        found = walk(literal, k, i + 1, params);
    if (found == NULL && n->param != NULL && s.len > 0) {
        k->m->at[params] = (uint16_t)i;
        found = walk(n->param, k, i + 1, params + 1);
    }
    if (found == NULL && n->rest != NULL && (found = pick(n->rest, k)) != NULL) {
        k->m->at[params] = (uint16_t)i;
        k->m->n_params = params + 1;
        k->m->rest = i;
    }
    return found;
}

bool weft__router_knows(const struct weft__router *r, struct weft__slice method_name)
{
    return other_of(r, method_name) < r->n_others;
}

#define STEPS_MAX 4096u /* a tree of ':' beside text could be walked in very many ways */

void weft__router_match(const struct weft__router *r, const struct weft__http_path *p,
                        enum weft_http_method method, struct weft__slice method_name,
                        struct weft__route_match *ret)
{
    struct look k = {
        .path = p, .method = method, .method_name = method_name, .m = ret, .steps = STEPS_MAX};
    ret->route = NULL;
    ret->allow = 0;
    ret->any_path = false;
    ret->n_params = 0;
    ret->rest = SIZE_MAX;
    if (r->root != NULL)
        ret->route = walk(r->root, &k, 0, 0);
}

bool weft__router_match_literal(const struct weft__router *r, struct weft__slice path,
                                enum weft_http_method method, struct weft__slice method_name,
                                struct weft__route_match *ret)
{
    struct look k = {.method = method, .method_name = method_name, .m = ret};
    if (r->n_literals == 0)
        return false;
    const struct weft__route_literal *at = literal_place(r->literals, r->literals_cap, path);
    if (at->path.at == NULL)
        return false;
    ret->allow = 0;
    ret->any_path = false;
    ret->n_params = 0;
    ret->rest = SIZE_MAX;
    ret->route = at->node->routes;
    if (ret->route->method != method || method == WEFT_HTTP_OTHER || ret->route->any)
        ret->route = pick(at->node, &k); /* nearly always it is the first and only one */
    return ret->route != NULL;
}
