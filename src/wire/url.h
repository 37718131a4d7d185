/* SPDX-License-Identifier: MIT */
/*
 * What the files of the URL parser share; see <weft/url.h>.
 *
 * Floor 0.
 */
#ifndef WEFT__WIRE_URL_H
#define WEFT__WIRE_URL_H

#include <weft/url.h>

#include "wire/cursor.h"
#include "wire/slice.h"

/* Bytes of a host's name: 253 and a dot at its end (RFC 1035 section 2.3.4). */
#define WEFT__URL_HOST_MAX 254

/* What is percent-encoded where, besides controls, spaces, '"', '<', '>' and bytes from 0x7f up. */
enum weft__url_set {
    WEFT__URL_FRAGMENT,  /* '`' */
    WEFT__URL_QUERY,     /* '#' */
    WEFT__URL_WEB_QUERY, /* '#', '\'' */
    WEFT__URL_PATH,      /* '#', '?', '^', '`', '{', '}' */
    WEFT__URL_USER,      /* as PATH, and '/', ':', ';', '=', '@', '[', '\\', ']', '|' */
    WEFT__URL_OPAQUE     /* of an opaque path or host: nothing more */
};

/* Writes s normalised: encoded by the set, what is percent-encoded already is put in order. */
void weft__url_encode(struct weft__writer *w, struct weft__slice s, enum weft__url_set set);

/*
 * Reads a host and writes it as it is printed, but for the brackets of IPv6. `web` takes the
 * browsers' rules. Returns 0 with *kind set, WEFT_EURL with a detail, or -ENOMEM.
 */
int weft__url_host(struct weft__writer *w, struct weft__slice host, bool web,
                   enum weft_url_host *kind);

#endif
