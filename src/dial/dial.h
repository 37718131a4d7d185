/* SPDX-License-Identifier: MIT */
#ifndef WEFT__DIAL_H
#define WEFT__DIAL_H
/*
 * Dialling from the inside (floor 4): what an endpoint string and options ask for, as a plan, and
 * the steps of carrying it out: names, addresses, TLS.
 *
 * A plan holds copies, so it may be carried out again and again, by one flow at a time.
 */
#include <weft/server.h>
#include <weft/tls.h>

#include "net/dial.h"
#include "net/stream.h"
#include "wire/proxy.h"

/* A proxy as options name it. */
struct weft__via {
    enum weft__proxy_kind kind; /* WEFT__PROXY_NONE: none */
    struct weft_endpoint at;
    char *user, *password; /* NULL: none */
};

struct weft__plan {
    struct weft_endpoint to;
    struct weft__dial_how how;
    int family; /* of addresses: AF_INET, AF_INET6; 0: both */
    size_t write_buffer;
    int attempt_delay_ms; /* between the attempts of a race */
    struct weft__via via;
    int send_proxy;                           /* version of a PROXY header to send; 0: none */
    struct weft_address proxy_from, proxy_to; /* what it says; len 0: the connection's own */
    bool secure;
    struct weft_tls *tls;         /* counted; NULL: the system's trust store */
    char *server_name;            /* NULL: none is known */
    char text[WEFT_ENDPOINT_MAX]; /* where to, for reports: without options */
};

/* Reads endpoint and options (o may be NULL). Errors as weft_dial. */
int weft__plan_make(struct weft__plan **ret, const char *endpoint,
                    const struct weft_dial_options *o);
void weft__plan_free(struct weft__plan *p);
/* Carries it out in the calling flow; waits. Errors as weft_dial. */
int weft__plan_dial(struct weft__plan *p, struct weft_stream **ret, weft_deadline d);

/* Says in front of an error's detail where it was met; returns the code. */
int weft__plan_fail(const struct weft__plan *p, int err);

/* proxy.c: "http://user:password@host:port", "socks5://..."; *ret has to be ended in any case.
 * WEFT_EENDPOINT with a detail that begins with "proxy", -ENOMEM. */
int weft__via_read(struct weft__via *ret, const char *text);
void weft__via_fini(struct weft__via *v);

/* proxy.c: the options about proxies; asking one for the connection; the PROXY header. */
int weft__plan_proxy(struct weft__plan *p, const struct weft_dial_options *o);
int weft__proxy_ask(const struct weft__plan *p, struct weft_stream *s, weft_deadline d);
int weft__proxy_tell(const struct weft__plan *p, struct weft_stream *s, weft_deadline d);

/* Where the first connection goes. */
static inline const struct weft_endpoint *weft__plan_hop(const struct weft__plan *p)
{
    return p->via.kind != WEFT__PROXY_NONE ? &p->via.at : &p->to;
}

/* A context as the options ca, cert, key, alpn and ciphers of an endpoint describe it, with the
 * given certificate and alpn (each may be NULL) where they say none; *ret stays NULL when there are
 * none of them, and no certificate. server: it is for nothing else, so nobody is verified. */
int weft__tls_of_query(struct weft_tls **ret, const struct weft_endpoint *e, bool server,
                       const struct weft_tls_certificate *given, const char *alpn);

/* weft_server_open; a context that it makes of a certificate, of the options or of the endpoint,
 * offers that alpn (RFC 7301) unless the endpoint says another. NULL: none. */
int weft__server_open_offering(struct weft_server **ret, struct weft_group *g, const char *endpoint,
                               const struct weft_server_options *o, weft_handler handler, void *arg,
                               const struct weft_factory *f, const char *alpn);

/* How long a name is looked up where nobody says it. */
#define WEFT__RESOLVE_MS 10000

struct weft_addresses;
/* The addresses of a host that is a name, within ms (0: WEFT__RESOLVE_MS); waits then. For numbers,
 * localhost and in a simulation e has the address, and *ret stays NULL. Errors as weft_resolve. */
int weft__resolve_here(struct weft_endpoint *e, int family, int64_t ms,
                       struct weft_addresses **ret);

#endif
