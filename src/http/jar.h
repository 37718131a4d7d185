/* SPDX-License-Identifier: MIT */
#ifndef WEFT__HTTP_JAR_H
#define WEFT__HTTP_JAR_H
/*
 * A client's cookies (RFC 6265bis section 5). Which names are nobody's to set cookies for, such as
 * "co.uk", the public suffix list says (libpsl).
 *
 * Floor 5. Invariants: at most WEFT__JAR_MAX cookies, and WEFT__JAR_HOST_MAX of one domain; beyond,
 * those that have expired and then the longest unused go. Nothing here waits.
 */
#include <libpsl.h>
#include <stdbool.h>

#include "base/list.h"
#include "wire/slice.h"
#include "wire/url.h"

#define WEFT__JAR_MAX 1000u
#define WEFT__JAR_HOST_MAX 50u

struct weft__jar {
    struct weft__list cookies; /* the longest unused first */
    size_t n;
    const psl_ctx_t *psl; /* NULL: no list; then only hosts themselves can set cookies */
    uint64_t made;        /* counts cookies, for their order */
};

void weft__jar_init(struct weft__jar *j);
void weft__jar_fini(struct weft__jar *j);
/* Forgets all. */
void weft__jar_clear(struct weft__jar *j);

/*
 * Takes what a Set-Cookie field of that URL says. Returns 0 (kept, or removed as it said), -EINVAL
 * with a detail: ignored, by the rules; -ENOMEM.
 */
int weft__jar_set(struct weft__jar *j, const struct weft_url *url, struct weft__slice set_cookie);

/* The Cookie field for a request to that URL, cut to whole cookies within cap; its length, 0 for
 * none. */
size_t weft__jar_get(struct weft__jar *j, const struct weft_url *url, char *buf, size_t cap);

#endif
