/* SPDX-License-Identifier: MIT */
#ifndef WEFT__NET_QUERY_H
#define WEFT__NET_QUERY_H
/*
 * The options of an endpoint string (floor 3): "key=value&key=value" behind a '?'.
 */
#include "net/address.h"

/* What an option is for. */
enum weft__query_role { WEFT__QUERY_DIAL = 1, WEFT__QUERY_SERVE = 2 };

/* Checks the options of e, which s holds, and keeps them in e. */
int weft__query_parse(struct weft_endpoint *e, const struct weft__span *s);
/* Refuses options of e that are for none of the roles. */
int weft__query_only(const struct weft_endpoint *e, unsigned roles);
/* The value of a number, of on (1) and off (0), or of a list of words (their place in it);
 * `otherwise` when it is not given. */
int weft__query_number(const struct weft_endpoint *e, const char *key, int otherwise);

#endif
