/* SPDX-License-Identifier: MIT */
#ifndef WEFT__HTTP_ROUTER_H
#define WEFT__HTTP_ROUTER_H
/*
 * Routes: a tree of path segments (floor 5). Made by one thread, then only read.
 *
 * A path that stands in a pattern as it is, without names, is found by its text; every other one by
 * walking the tree, which gives text the preference, so that both find the same.
 *
 * Invariants: a path is split at its slashes first and decoded segment by segment then, so what was
 * encoded never becomes a separator; no two routes take the same method at the same node; matching
 * allocates nothing and looks at most at every node of the tree's paths once.
 */
#include <weft/http_server.h>

#include "http/arena.h"
#include "wire/slice.h"

#define WEFT__ROUTE_PARAMS_MAX 16
#define WEFT__ROUTE_SEGMENTS_MAX 128
#define WEFT__ROUTES_MAX 10000
#define WEFT__ROUTE_OTHERS_MAX 48 /* methods that have no number */
#define WEFT__ROUTE_OTHER_BIT 16  /* of the first of them, behind those that have one */

struct weft__http_exchange;

struct weft__route {
    struct weft__route *next; /* at the same node */
    char *pattern;            /* "GET /a/:b" */
    struct weft__slice method_name;
    enum weft_http_method method;
    uint8_t bit; /* of the method, in what a path takes */
    bool any;    /* every method */
    weft_http_handler handler;
    void *arg;
    /* Whether the handler will not wait for this request; prepares what it needs. NULL: as the
     * options say. */
    bool (*ready)(struct weft__http_exchange *x, void *arg);
    struct weft_http_route_options options;
    size_t n_params;
    struct weft__slice params[WEFT__ROUTE_PARAMS_MAX]; /* their names, in the pattern */
};

struct weft__route_node;
struct weft__route_literal;
struct weft__router {
    struct weft__route_node *root;
    /* The nodes of paths without names, by their text: a hash table, at most half full. */
    struct weft__route_literal *literals;
    size_t n_literals, literals_cap;
    struct weft__slice others[WEFT__ROUTE_OTHERS_MAX]; /* methods without a number, in patterns */
    size_t n_others;
    size_t count;
    struct weft__route *last; /* added */
    bool at_once;             /* one of them is */
};

/* A path split and decoded. */
struct weft__http_path {
    size_t n;
    struct weft__slice raw; /* what follows the first slash */
    struct weft__slice segments[WEFT__ROUTE_SEGMENTS_MAX];
    bool decoded; /* some segment was encoded */
};

struct weft__route_match {
    const struct weft__route *route; /* NULL: none */
    uint64_t allow;                  /* bits of routes at this path: the methods that it takes */
    bool any_path;                   /* some route takes this path, with some method */
    size_t rest;                     /* the segment where the rest begins; SIZE_MAX: none */
    size_t n_params;
    uint16_t at[WEFT__ROUTE_PARAMS_MAX]; /* the segments of the parameters */
};

/*
 * Splits a path ("/a/b%20c"), which holds only what a path may hold: parsers see to it. Segments
 * point into it, or into the arena where they were encoded. Returns 0; -EINVAL: not a path that can
 * be served (a '%' without two digits, an encoded NUL, a segment "." or ".."); WEFT_ELIMIT: too
 * many segments; -ENOMEM.
 */
int weft__http_path_split(struct weft__http_path *p, struct weft__slice path,
                          struct weft__arena *a);

/* The segments from `from` on, joined by slashes, with a NUL; a slash within one stands there as
 * "%2F". NULL: no memory. */
const char *weft__http_path_join(const struct weft__http_path *p, size_t from,
                                 struct weft__arena *a);

/* Errors as of weft_http_route. */
int weft__router_add(struct weft__router *r, const char *pattern,
                     const struct weft_http_route_options *o, weft_http_handler handler, void *arg);
void weft__router_match(const struct weft__router *r, const struct weft__http_path *p,
                        enum weft_http_method method, struct weft__slice method_name,
                        struct weft__route_match *ret);
/* The same for a path of text alone, before it is split: false, and *ret is undefined, when the
 * path is not one of those, or has no route for the method; then it is to be split and matched. */
bool weft__router_match_literal(const struct weft__router *r, struct weft__slice path,
                                enum weft_http_method method, struct weft__slice method_name,
                                struct weft__route_match *ret);
/* Whether some route, at whatever path, is for a method that has no number. */
bool weft__router_knows(const struct weft__router *r, struct weft__slice method_name);
void weft__router_fini(struct weft__router *r);

#endif
