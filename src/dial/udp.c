/* SPDX-License-Identifier: MIT */
/*
 * UDP sockets by names: of the peer that they are connected to, or of where they are bound.
 *
 * Floor 4: floor 3 opens a socket for an address. Connecting sends nothing, so addresses do not
 * race: the first one that there is a way to is taken. To be bound there is only the first, as for
 * servers: where its port is taken, another address would be a place that nobody asked for.
 */
#include <errno.h>
#include <netinet/in.h>
#include <strings.h>

#include <weft/dns.h>

#include "dial/dial.h"
#include "net/address.h"
#include "net/query.h"
#include "net/udp.h"
#include "sys/sim/world.h"

int weft__resolve_here(struct weft_endpoint *e, int family, int64_t ms, struct weft_addresses **ret)
{
    struct weft_resolve_options o = {.family = family};
    if (weft__sim_proc != NULL || strcasecmp(e->host, "localhost") == 0)
        return weft__endpoint_here(e);
    if (e->host[0] == '\0')
        return 0;
    return weft_resolve(ret, e->host, e->port, &o, weft_after_ms(ms > 0 ? ms : WEFT__RESOLVE_MS));
}

static int open_first(struct weft_udp **ret, struct weft_endpoint *e, const char *endpoint,
                      const struct weft_udp_options *o, const struct weft_addresses *all, bool dial)
{
    int err = -EADDRNOTAVAIL;
    size_t n = dial || all->n == 0 ? all->n : 1;
    e->host[0] = '\0';
    for (size_t i = 0; i < n && err < 0 && err != -ENOMEM && err != -EMFILE; i++) {
        e->address = all->at[i];
        err = weft__udp_open(ret, e, endpoint, o, dial);
    }
    return err;
}

static int open_at(struct weft_udp **ret, const char *endpoint, const struct weft_udp_options *o,
                   bool dial)
{
    static const struct weft_udp_options none;
    static const int families[] = {AF_INET, AF_INET6};
    struct weft_addresses *all = NULL;
    struct weft_endpoint e;
    if (o == NULL)
        o = &none;
    int err = weft_endpoint_parse(&e, endpoint);
    if (err == 0 && e.kind != WEFT_ENDPOINT_UDP)
        err = weft__fail(WEFT_EENDPOINT, "%s is not a udp:// endpoint", endpoint);
    if (err == 0 && dial && e.port == 0)
        err = weft__fail(WEFT_EENDPOINT, "%s: port 0 cannot be sent to", endpoint);
    if (err == 0)
        err = weft__query_only(&e, dial ? WEFT__QUERY_DIAL : WEFT__QUERY_SERVE);
    if (err < 0)
        return err;
    int place = weft__query_number(&e, "family", -1);
    int family = place >= 0 ? families[place] : 0;
    err = weft__resolve_here(&e, family, o->resolve_ms, &all);
    if (err < 0)
        return err;
    if (all == NULL && family != 0 && e.address.sa.ss_family != family)
        return weft__fail(-EINVAL, "%s is not of the family asked for", endpoint);
    err = all != NULL ? open_first(ret, &e, endpoint, o, all, dial)
                      : weft__udp_open(ret, &e, endpoint, o, dial);
    weft_addresses_free(&all);
    if (err == 0)
        weft__error_detail_clear(); /* of addresses that there was no way to */
    return err;
}

int weft_udp_open(struct weft_udp **ret, const char *endpoint, const struct weft_udp_options *o)
{
    return open_at(ret, endpoint, o, false);
}

int weft_udp_dial(struct weft_udp **ret, const char *endpoint, const struct weft_udp_options *o)
{
    return open_at(ret, endpoint, o, true);
}
