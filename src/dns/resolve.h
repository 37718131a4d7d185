/* SPDX-License-Identifier: MIT */
#ifndef WEFT__DNS_RESOLVE_H
#define WEFT__DNS_RESOLVE_H
/*
 * Addresses of a host, for those who wait and for callbacks (floor 4).
 */
#include "dns/dns.h"

struct weft__resolve {
    struct weft__dns_lookup k;
    int port;
    int family;
};

/*
 * Begins. 1: *ret is set, nobody was asked; 0: w->k waits, or is done; or an error, and then
 * nothing is left of it. w->k.told is the caller's to have set.
 */
int weft__resolve_begin(struct weft__resolve *w, struct weft_addresses **ret, const char *host,
                        int port, const struct weft_resolve_options *o);
/* What w->k has come to when it is done, or the addresses so far when it was told early. */
int weft__resolve_finish(struct weft__resolve *w, struct weft_addresses **ret);
/* The same for a failure alone, which was seen before. */
static inline int weft__resolve_failed(const struct weft__resolve *w)
{
    return weft__dns_failed(&w->k);
}
/* Ends it, done or not. A thread keeps what it has learned, but no sockets. */
void weft__resolve_end(struct weft__resolve *w);
/* How long an answer takes inside a simulation. */
int64_t weft__resolve_sim_ns(void);

/* Digits and dots alone can be no name (RFC 1123, section 2.1), and no name has a colon: such a
 * host is an address, or nothing. */
bool weft__resolve_is_number(const char *host);

#endif
