/* SPDX-License-Identifier: MIT */
#ifndef WEFT__NET_ADDRESS_H
#define WEFT__NET_ADDRESS_H
/*
 * What address.c and endpoint.c share: reading and printing pieces of a longer text.
 *
 * Floor 3. Invariant: a span remembers where it stood in what the user wrote, so that every
 * complaint can name the character, counted from 1.
 */
#include <stddef.h>

#include <weft/address.h>

struct weft__span {
    const char *at;
    size_t len;
    size_t before; /* characters of the whole text before it */
};

/* Fails with "PART, character N: 'c' WHAT" about byte i of the span, or "... missing" at its end.
 */
int weft__span_bad(const struct weft__span *s, size_t i, const char *part, const char *what);

/* A decimal number without sign or leading zeros, at most max. */
int weft__span_number(int *ret, const struct weft__span *s, const char *part, int max);

int weft__address_ipv4(struct weft_address *ret, const struct weft__span *host, int port);
/* With %scope, without brackets. */
int weft__address_ipv6(struct weft_address *ret, const struct weft__span *host, int port);
/* A Unix path or abstract name; escaped: \xHH stands for a byte. */
int weft__address_unix_span(struct weft_address *ret, const struct weft__span *path, bool escaped);

static inline bool weft__endpoint_is_tcp(const struct weft_endpoint *e)
{
    return e->kind == WEFT_ENDPOINT_TCP || e->kind == WEFT_ENDPOINT_TLS;
}

/* Text of any address; 0 to 447 bytes. raw: an unnamed or unknown one gives -EINVAL, not words. */
int weft__address_text(const struct weft_address *a, bool raw, char out[WEFT_ENDPOINT_MAX]);

/* Prints it without its options, for reports: those may hold passwords. As weft_endpoint_print. */
int weft__endpoint_plain(const struct weft_endpoint *e, char *buf, size_t cap);

/*
 * Gives an endpoint whose host is a name an address, if that is known without asking anybody:
 * localhost, and a simulation's hosts. The name goes. Else WEFT_ENAME.
 */
int weft__endpoint_here(struct weft_endpoint *e);

#endif
