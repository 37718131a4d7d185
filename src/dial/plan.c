/* SPDX-License-Identifier: MIT */
/*
 * What is asked for by an endpoint string and options, checked and kept.
 *
 * Floor 4. Invariants: nothing here waits; what a plan holds is its own; options of the endpoint go
 * before those of the struct.
 */
#include "dial/dial.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#include "base/alloc.h"
#include "dial/race.h"
#include "net/address.h"
#include "net/query.h"
#include "tls/tls.h"

/* --- TLS -------------------------------------------------------------------------------------- */

/* A text of an endpoint's options, on the heap; NULL when it is not given. */
static int text_of(char **ret, const struct weft_endpoint *e, const char *key)
{
    char buf[WEFT_QUERY_MAX + 1];
    *ret = NULL;
    if (weft_endpoint_option(e, key, buf, sizeof buf) < 0)
        return 0;
    *ret = weft__strdup(buf);
    return *ret != NULL ? 0 : -ENOMEM;
}

int weft__tls_of_query(struct weft_tls **ret, const struct weft_endpoint *e, bool server,
                       const struct weft_tls_certificate *given, const char *alpn)
{
    enum { CA, CERT, KEY, ALPN, CIPHERS, COUNT };
    static const char *const keys[COUNT] = {"ca", "cert", "key", "alpn", "ciphers"};
    char *texts[COUNT] = {NULL};
    bool any = given != NULL;
    int err = 0;
    for (int i = 0; i < COUNT && err == 0; i++) {
        err = text_of(&texts[i], e, keys[i]);
        any = any || texts[i] != NULL;
    }
    if (err == 0 && texts[KEY] != NULL && texts[CERT] == NULL)
        err = weft__fail(-EINVAL, "a key without a certificate: option cert is missing");
    if (err == 0 && any) {
        struct weft_tls_certificate own = {.chain = texts[CERT], .key = texts[KEY]};
        if (texts[CERT] == NULL && given != NULL)
            own = *given;
        struct weft_tls_options o = {.ca = texts[CA],
                                     .alpn = texts[ALPN] != NULL ? texts[ALPN] : alpn,
                                     .ciphers = texts[CIPHERS],
                                     .certificates = &own,
                                     .insecure_no_verify = server,
                                     .n_certificates = texts[CERT] != NULL || given != NULL};
        err = weft_tls_open(ret, &o);
    }
    for (int i = 0; i < COUNT; i++)
        weft__free(texts[i]);
    return err;
}

/* The name to ask for when none is given: the host, or its number. */
static int host_name(char **ret, const struct weft_endpoint *e)
{
    char text[INET6_ADDRSTRLEN] = "";
    const char *name = e->host[0] != '\0' ? e->host : text;
    if (e->any)
        name = "localhost";
    else if (e->address.sa.ss_family == AF_INET)
        (void)inet_ntop(AF_INET, &((const struct sockaddr_in *)&e->address.sa)->sin_addr, text,
                        sizeof text);
    else if (e->address.sa.ss_family == AF_INET6)
        (void)inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)&e->address.sa)->sin6_addr, text,
                        sizeof text);
    if (name[0] == '\0')
        return 0; /* a Unix socket's: then weft_tls_connect says what is missing */
    *ret = weft__strdup(name);
    return *ret != NULL ? 0 : -ENOMEM;
}

static int plan_tls(struct weft__plan *p, const struct weft_dial_options *o)
{
    int err = weft__tls_of_query(&p->tls, &p->to, false, NULL, NULL);
    if (err == 0)
        err = text_of(&p->server_name, &p->to, "server-name");
    if (err < 0)
        return err;
    if (p->to.kind == WEFT_ENDPOINT_TCP && (o->tls != NULL || o->server_name != NULL))
        return weft__fail(-EINVAL, "%s is not secured, and has options of TLS: write tls://",
                          p->text);
    if (p->tls == NULL && o->tls != NULL)
        p->tls = weft__tls_ref(o->tls);
    p->secure = p->to.kind == WEFT_ENDPOINT_TLS || p->tls != NULL || p->server_name != NULL ||
                o->server_name != NULL;
    if (!p->secure || p->server_name != NULL)
        return 0;
    if (o->server_name == NULL)
        return host_name(&p->server_name, &p->to);
    p->server_name = weft__strdup(o->server_name);
    return p->server_name != NULL ? 0 : -ENOMEM;
}

/* --- Addresses -------------------------------------------------------------------------------- */

static int plan_local(struct weft__plan *p, const struct weft_dial_options *o)
{
    char buf[WEFT_QUERY_MAX + 1];
    struct weft_endpoint local;
    const char *text = o->bind;
    if (weft_endpoint_option(&p->to, "bind", buf, sizeof buf) > 0)
        text = buf;
    if (text == NULL)
        return 0;
    int err = weft_endpoint_parse(&local, text);
    if (err == 0)
        err = weft__endpoint_here(&local);
    if (err < 0)
        return err;
    int family = local.address.sa.ss_family;
    const struct weft_endpoint *hop = weft__plan_hop(p);
    bool named = hop->host[0] != '\0' && family != AF_UNIX && local.address.len > 0;
    if (!named && (local.address.len == 0 || family != hop->address.sa.ss_family))
        return weft__fail(-EINVAL, "bind %s does not go with %s", text, p->text);
    if (named && p->family != 0 && p->family != family)
        return weft__fail(-EINVAL, "bind %s is not of the family asked for", text);
    p->how.local = local.address;
    if (named)
        p->family = family;
    return 0;
}

static int plan_family(struct weft__plan *p, const struct weft_dial_options *o)
{
    static const int families[] = {AF_INET, AF_INET6};
    int place = weft__query_number(&p->to, "family", -1);
    p->family = place >= 0 ? families[place] : o->family;
    if (p->family != 0 && p->family != AF_INET && p->family != AF_INET6)
        return weft__fail(-EINVAL, "family %d is neither AF_INET nor AF_INET6", p->family);
    const struct weft_endpoint *hop = weft__plan_hop(p);
    if (p->family != 0 && hop->kind != WEFT_ENDPOINT_UNIX && hop->host[0] == '\0' &&
        hop->address.sa.ss_family != p->family)
        return weft__fail(-EINVAL, "%s is not of the family asked for", p->text);
    return 0;
}

static int plan_interface(struct weft__plan *p, const struct weft_dial_options *o)
{
    char buf[WEFT_QUERY_MAX + 1];
    const char *name = o->interface;
    if (weft_endpoint_option(&p->to, "interface", buf, sizeof buf) > 0)
        name = buf;
    if (name == NULL)
        return 0;
    if (name[0] == '\0' || strlen(name) >= sizeof p->how.interface)
        return weft__fail(-EINVAL, "interface '%.40s': a name of 1 to %zu bytes", name,
                          sizeof p->how.interface - 1);
    strcpy(p->how.interface, name); /* measured above */
    return 0;
}

/* --- All of it -------------------------------------------------------------------------------- */

static int read_endpoint(struct weft__plan *p, const char *endpoint)
{
    int err = weft_endpoint_parse(&p->to, endpoint);
    if (err == 0)
        err = weft__query_only(&p->to, WEFT__QUERY_DIAL);
    if (err == 0)
        err = weft__endpoint_plain(&p->to, p->text, sizeof p->text);
    if (err < 0)
        return err;
    if (p->to.kind == WEFT_ENDPOINT_FD || p->to.kind == WEFT_ENDPOINT_UDP)
        return weft__fail(-EINVAL, "%s: only tcp://, tls:// and unix: can be dialled as streams",
                          p->text);
    if (p->to.port == 0)
        return weft__fail(WEFT_EENDPOINT, "%s: port 0 cannot be connected to", p->text);
    return 0;
}

static int fill(struct weft__plan *p, const char *endpoint, const struct weft_dial_options *o)
{
    int err = read_endpoint(p, endpoint);
    if (err == 0)
        err = weft__plan_proxy(p, o);
    if (err == 0)
        err = plan_family(p, o);
    if (err == 0)
        err = plan_local(p, o);
    if (err == 0)
        err = plan_tls(p, o);
    if (err == 0)
        err = plan_interface(p, o);
    p->how.fast_open = weft__query_number(&p->to, "fast-open", o->fast_open) != 0;
    p->write_buffer = o->write_buffer;
    p->attempt_delay_ms =
        weft__query_number(&p->to, "attempt-delay",
                           o->attempt_delay_ms > 0 ? o->attempt_delay_ms : WEFT__RACE_ATTEMPT_MS);
    if (err == 0 && (p->attempt_delay_ms < WEFT__RACE_ATTEMPT_MIN_MS ||
                     p->attempt_delay_ms > WEFT__RACE_ATTEMPT_MAX_MS))
        err = weft__fail(-EINVAL, "attempt_delay_ms %d: %d to %d can be had", p->attempt_delay_ms,
                         WEFT__RACE_ATTEMPT_MIN_MS, WEFT__RACE_ATTEMPT_MAX_MS);
    p->how.keepalive_s = weft__query_number(&p->to, "keepalive", o->keepalive_s);
    p->how.user_timeout_ms = weft__query_number(&p->to, "user-timeout", o->user_timeout_ms);
    p->how.no_delay_off = weft__query_number(&p->to, "nagle", o->no_delay_off) != 0;
    return err;
}

int weft__plan_make(struct weft__plan **ret, const char *endpoint,
                    const struct weft_dial_options *o)
{
    static const struct weft_dial_options none;
    struct weft__plan *p = weft__calloc(1, sizeof *p);
    if (p == NULL)
        return -ENOMEM;
    int err = fill(p, endpoint, o != NULL ? o : &none);
    if (err < 0) {
        weft__plan_free(p);
        return err;
    }
    *ret = p;
    return 0;
}

void weft__plan_free(struct weft__plan *p)
{
    if (p == NULL)
        return;
    weft__tls_unref(p->tls);
    weft__free(p->server_name);
    weft__via_fini(&p->via);
    weft__free(p);
}
