/* SPDX-License-Identifier: MIT */
/*
 * What the addresses of a host are: numbers, localhost, the hosts file, the simulation's hosts, and
 * the records of both families (floor 4).
 */
#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#include <weft/random.h>

#include "base/alloc.h"
#include "dns/resolve.h"
#include "sys/sim/calls.h"
#include "sys/sim/world.h"

/* Addresses as they come in, each family up to the maximum. */
struct gather {
    size_t n;
    int port, family;
    uint16_t type; /* of the records */
    bool in_order; /* not to be sorted */
    struct weft_address at[2 * WEFT_DNS_RECORDS_MAX];
};

static void set_port(struct weft_address *a, int port)
{
    struct sockaddr_in in4; /* the port is where that of IPv6 is */
    memcpy(&in4, &a->sa, sizeof in4);
    in4.sin_port = htons((uint16_t)port);
    memcpy(&a->sa, &in4, sizeof in4);
}

static void add(void *arg, const struct weft_address *a)
{
    struct gather *g = arg;
    if (g->n == WEFT__ARRAY_LEN(g->at) || (g->family != 0 && g->family != a->sa.ss_family))
        return;
    g->at[g->n] = *a;
    set_port(&g->at[g->n], g->port);
    g->n++;
}

static void add_record(void *arg, const struct weft__dns_rr *rr)
{
    const struct gather *g = arg;
    struct weft_address a;
    if (weft__dns_rr_address(&a, rr, g->type))
        add(arg, &a);
}

static void add_number(struct gather *g, const char *host)
{
    struct weft_address a;
    if (weft_address_ip(&a, host, 0) == 0)
        add(g, &a);
}

static int result_of(struct weft_addresses **ret, struct gather *g, const char *name,
                     uint32_t ttl_s)
{
    if (!g->in_order)
        weft__dns_sort(g->at, g->n);
    size_t n = weft__min_size(g->n, WEFT_DNS_RECORDS_MAX);
    struct weft_addresses *a = weft__alloc(sizeof *a + n * sizeof *a->at + strlen(name) + 1);
    if (a == NULL)
        return -ENOMEM;
    struct weft_address *at = (struct weft_address *)(void *)(a + 1);
    memcpy(at, g->at, n * sizeof *at);
    char *text = (char *)(at + n);
    strcpy(text, name); /* measured above */
    *a = (struct weft_addresses){.n = n, .at = at, .name = text, .ttl_s = ttl_s};
    *ret = a;
    return 0;
}

void weft_addresses_free(struct weft_addresses **a)
{
    weft__free(*a);
    *a = NULL;
}

/* --- Known without asking --------------------------------------------------------------------- */

bool weft__resolve_is_number(const char *host)
{
    return strchr(host, ':') != NULL ||
           (host[0] != '\0' && host[0] != '.' && strspn(host, "0123456789.") == strlen(host));
}

static int number(struct gather *g, struct weft_addresses **ret, const char *host)
{
    struct weft_address a;
    if (!weft__resolve_is_number(host))
        return 0;
    if (weft_address_ip(&a, host, 0) < 0)
        return weft__fail(WEFT_ENAME, "%.80s: neither an address nor a name", host);
    add(g, &a);
    if (g->n == 0)
        return weft__fail(WEFT_ENAME, "%.80s: not an address of the family asked for", host);
    int err = result_of(ret, g, host, 0);
    return err < 0 ? err : 1;
}

static void simulated(struct gather *g, const char *name)
{
    static const int families[] = {AF_INET, AF_INET6};
    for (size_t i = 0; i < 2; i++) {
        struct weft_address a = {.len = sizeof a.sa};
        if (weft__sim_resolve(weft__sim_proc, name, strlen(name), families[i], 0, &a.sa, &a.len) ==
            0)
            add(g, &a);
    }
    g->in_order = true;
}

/* 1: found and *ret set; 0: not known here. */
static int known(struct gather *g, struct weft_addresses **ret, const char *name,
                 const struct weft__dns_hosts *hosts)
{
    if (weft__dns_is_localhost(name)) {
        add_number(g, "127.0.0.1");
        add_number(g, "::1");
        g->in_order = weft__sim_proc != NULL;
    } else if (weft__sim_proc != NULL) {
        simulated(g, name);
    } else if (hosts != NULL) {
        weft__dns_hosts_find(hosts, name, add, g);
    }
    if (g->n == 0)
        return 0;
    int err = result_of(ret, g, name, 0);
    return err < 0 ? err : 1;
}

static int begin(struct weft__resolve *w, struct gather *g, struct weft_addresses **ret,
                 const char *host, bool search)
{
    static const uint16_t types[] = {WEFT_DNS_A, WEFT_DNS_AAAA};
    char name[WEFT__DNS_NAME];
    bool absolute;
    int err = number(g, ret, host);
    if (err == 0)
        err = weft__dns_name(name, host, &absolute);
    if (err == 0)
        err = known(g, ret, name, NULL);
    if (err != 0)
        return err;
    if (WEFT__UNLIKELY(weft__sim_proc != NULL)) { /* no host of the world has that name */
        memcpy(w->k.host, name, sizeof name);
        w->k.status = WEFT__DNS_NO_NAME;
        w->k.err = WEFT_ENAME;
        w->k.done = true;
        return 0;
    }
    struct weft__dns *n = weft__dns_of_flow(weft__flow_self(), true);
    if (n == NULL)
        return -ENOMEM;
    err = weft__dns_refresh(n);
    if (err == 0)
        err = known(g, ret, name, n->hosts);
    if (err != 0)
        return err;
    return weft__dns_begin(n, &w->k, host, search, types + (w->family == AF_INET6),
                           w->family == 0 ? 2 : 1);
}

int weft__resolve_begin(struct weft__resolve *w, struct weft_addresses **ret, const char *host,
                        int port, const struct weft_resolve_options *o)
{
    int family = o != NULL ? o->family : 0;
    if (host == NULL || port < 0 || port > 65535)
        return weft__fail(-EINVAL, host == NULL ? "no host" : "port %d; 0 to 65535 can be had",
                          port);
    if (family != 0 && family != AF_INET && family != AF_INET6)
        return weft__fail(-EINVAL, "family %d is neither AF_INET nor AF_INET6", family);
    struct gather *g = weft__calloc(1, sizeof *g);
    if (g == NULL)
        return -ENOMEM;
    w->port = g->port = port;
    w->family = g->family = family;
    int err = begin(w, g, ret, host, o == NULL || !o->no_search);
    weft__free(g);
    return err;
}

int64_t weft__resolve_sim_ns(void)
{
    return 200000 + (int64_t)weft_random_below(800000);
}

/* --- From records ----------------------------------------------------------------------------- */

int weft__resolve_finish(struct weft__resolve *w, struct weft_addresses **ret)
{
    const struct weft__dns_lookup *k = &w->k;
    if (k->err < 0)
        return weft__dns_failed(k);
    struct gather *g = weft__calloc(1, sizeof *g);
    if (g == NULL)
        return -ENOMEM;
    g->port = w->port;
    uint32_t ttl_s = UINT32_MAX;
    const char *name = k->name;
    struct weft__dns_scan s;
    for (size_t i = 0; i < k->n_asks; i++) {
        const struct weft__dns_reply *r = k->asks[i].reply;
        if (r == NULL)
            continue;
        g->type = k->asks[i].type;
        weft__dns_scan(&s, r->msg, r->len, k->name, g->type, add_record, g);
        int64_t left = s.ttl_s - (weft__clock_ns() - r->when_ns) / 1000000000;
        ttl_s = (uint32_t)weft__min_i64(ttl_s, weft__max_i64(left, 0));
        name = s.name;
    }
    int err = result_of(ret, g, name, ttl_s);
    weft__free(g);
    return err;
}
