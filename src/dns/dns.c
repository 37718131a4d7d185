/* SPDX-License-Identifier: MIT */
/*
 * The calls of <weft/dns.h> that wait, and the options (floor 4).
 *
 * Invariant: when a call returns, nothing of its look-up is left in the resolver, and of a thread's
 * resolver no descriptor.
 */
#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#include "base/alloc.h"
#include "dns/resolve.h"
#include "sys/sim/calls.h"
#include "sys/sim/world.h"

/* --- Waiting ---------------------------------------------------------------------------------- */

struct call {
    struct weft__wait wait;
    struct weft__resolve w;
};

static void call_told(struct weft__dns_lookup *k)
{
    struct call *c = WEFT__CONTAINER_OF(k, struct call, w.k);
    weft__wait_trigger(&c->wait, 0);
}

/* What is known already stands, and the pump tells it soon. */
static void call_abort(struct weft__wait *w, int why)
{
    struct call *c = WEFT__CONTAINER_OF(w, struct call, wait);
    if (c->w.k.done)
        return;
    weft__dns_end(&c->w.k);
    weft__wait_trigger(w, why);
}

static void nobody_told(struct weft__dns_lookup *k)
{
    (void)k; /* a thread looks itself */
}

static int wait_in_thread(struct weft__dns_lookup *k, struct weft__thread *t, weft_deadline d)
{
    struct weft__wait w;
    int err = 0;
    weft__wait_init(&w, "resolve", -1, NULL);
    w.until_ns = d.ns;
    pthread_mutex_lock(&t->lock);
    t->flow.wait = &w; /* for the tree only */
    pthread_mutex_unlock(&t->lock);
    weft__dns_pump(k->dns);
    while (err == 0 && !k->done) {
        err = weft__dns_thread_wait(k->dns, t, d, NULL, 0);
        if (err == 0)
            weft__dns_pump(k->dns);
    }
    pthread_mutex_lock(&t->lock);
    t->flow.wait = NULL;
    pthread_mutex_unlock(&t->lock);
    return err;
}

/* Waits until the look-up is done; the caller ends it in any case. */
static int await(struct call *c, weft_deadline d)
{
    struct weft__dns_lookup *k = &c->w.k;
    struct weft__flow *f = weft__flow_self();
    int err = 0;
    if (k->done) {
        weft__charge();
        return 0;
    }
    if (weft__flow_late(f, d)) {
        err = -ETIMEDOUT;
    } else if (f->kind == WEFT__FLOW_THREAD) {
        k->told = nobody_told;
        err = wait_in_thread(k, weft__thread_of(f), d);
    } else {
        k->told = call_told;
        weft__wait_init(&c->wait, "resolve", -1, call_abort);
        err = weft__wait_block(&c->wait, d);
    }
    if (err == -ETIMEDOUT)
        return weft__fail(err, "%.150s: no answer in the time given", k->host);
    return err;
}

void weft__resolve_end(struct weft__resolve *w)
{
    struct weft__dns *n = w->k.dns;
    weft__dns_end(&w->k);
    if (n != NULL && n->loop == NULL) {
        weft__dns_channels_close(n);
        weft__dns_pump(n); /* what was under way has ended by that */
    }
}

static int sim_wait(weft_deadline d, const char *name)
{
    int64_t when_ns = weft__clock_ns() + weft__resolve_sim_ns();
    int err = weft_sleep_until((weft_deadline){weft__min_i64(when_ns, d.ns)});
    if (err == 0 && d.ns < when_ns)
        return weft__fail(-ETIMEDOUT, "%.150s: no answer in the time given", name);
    return err;
}

static int check(const void *ret, const char *what)
{
    int err = weft__wait_check();
    if (err < 0)
        return err;
    weft__error_detail_clear();
    return ret != NULL ? 0 : weft__fail(-EINVAL, "no place for %s", what);
}

/* --- Calls ------------------------------------------------------------------------------------ */

int weft_resolve(struct weft_addresses **ret, const char *host, int port,
                 const struct weft_resolve_options *o, weft_deadline d)
{
    struct call c = {.w.port = port};
    struct weft_addresses *a = NULL;
    int err = check(ret, "the addresses");
    if (err < 0)
        return err;
    err = weft__resolve_begin(&c.w, &a, host, port, o);
    if (err == 1) {
        weft__charge();
        err = 0;
    } else if (err == 0) {
        err = await(&c, d);
        if (err == 0)
            err = weft__resolve_finish(&c.w, &a);
        weft__resolve_end(&c.w);
    }
    if (WEFT__UNLIKELY(weft__sim_proc != NULL) && (err == 0 || err == WEFT_ENAME) &&
        !weft__resolve_is_number(host)) {
        int late = sim_wait(d, host);
        if (late < 0)
            err = late;
        else if (err < 0)
            err = weft__fail(err, "%.150s: no such name in the simulation", host);
    }
    if (err < 0) {
        weft_addresses_free(&a);
        return err;
    }
    *ret = a;
    return 0;
}

static const char *type_name(enum weft_dns_type type)
{
    switch (type) {
    case WEFT_DNS_A:
        return "weft_dns_query of A";
    case WEFT_DNS_PTR:
        return "weft_dns_query of PTR";
    case WEFT_DNS_MX:
        return "weft_dns_query of MX";
    case WEFT_DNS_TXT:
        return "weft_dns_query of TXT";
    case WEFT_DNS_AAAA:
        return "weft_dns_query of AAAA";
    case WEFT_DNS_SRV:
        return "weft_dns_query of SRV";
    }
    return NULL;
}

/* An answer that no server gave; the texts are borrowed and copied. */
static struct weft_dns_answer *make_answer(enum weft_dns_type type, const char *name,
                                           const struct weft_dns_record *records, size_t n)
{
    size_t bytes = strlen(name) + 1;
    for (size_t i = 0; i < n; i++)
        bytes += records[i].name != NULL ? strlen(records[i].name) + 1 : 0;
    struct weft_dns_answer *a = weft__alloc(sizeof *a + n * sizeof *records + bytes);
    if (a == NULL)
        return NULL;
    struct weft_dns_record *at = (struct weft_dns_record *)(void *)(a + 1);
    char *text = (char *)(at + n);
    *a = (struct weft_dns_answer){.type = type, .name = text, .n = n, .at = at};
    text = stpcpy(text, name) + 1;
    for (size_t i = 0; i < n; i++) {
        at[i] = records[i];
        if (at[i].name != NULL) {
            at[i].name = text;
            text = stpcpy(text, records[i].name) + 1;
        }
    }
    return a;
}

/* Of a host of the simulation. */
static int sim_query(struct weft_dns_answer **ret, const char *name, enum weft_dns_type type,
                     weft_deadline d)
{
    struct weft_addresses *found = NULL;
    struct weft_resolve_options o = {.family = type == WEFT_DNS_A ? AF_INET : AF_INET6};
    struct weft_dns_record r = {.ttl_s = 0};
    char plain[WEFT__DNS_NAME];
    bool absolute;
    if (type != WEFT_DNS_A && type != WEFT_DNS_AAAA)
        return weft__sim_refuse(type_name(type));
    int err = weft__dns_name(plain, name, &absolute);
    if (err == 0)
        err = weft_resolve(&found, plain, 0, &o, d);
    if (err < 0)
        return err;
    r.address = found->at[0];
    *ret = make_answer(type, plain, &r, 1);
    weft_addresses_free(&found);
    return *ret != NULL ? 0 : -ENOMEM;
}

static int query(struct weft_dns_answer **ret, const char *name, enum weft_dns_type type,
                 weft_deadline d)
{
    struct call c = {.w.port = 0};
    struct weft__dns_lookup *k = &c.w.k;
    struct weft_dns_answer *a = NULL;
    uint16_t types[] = {(uint16_t)type};
    struct weft__dns *n = weft__dns_of_flow(weft__flow_self(), true);
    int err = n != NULL ? weft__dns_refresh(n) : -ENOMEM;
    if (err == 0)
        err = weft__dns_begin(n, k, name, false, types, 1);
    if (err < 0)
        return err;
    err = await(&c, d);
    if (err == 0 && k->err < 0)
        err = weft__dns_failed(k);
    if (err == 0) {
        const struct weft__dns_reply *r = k->asks[0].reply;
        int64_t age_s = (weft__clock_ns() - r->when_ns) / 1000000000;
        a = weft__dns_build(r->msg, r->len, k->name, types[0], (uint32_t)age_s);
        err = a != NULL ? 0 : -ENOMEM;
    }
    weft__resolve_end(&c.w);
    if (err == 0)
        *ret = a;
    return err;
}

int weft_dns_query(struct weft_dns_answer **ret, const char *name, enum weft_dns_type type,
                   weft_deadline d)
{
    int err = check(ret, "the answer");
    if (err < 0)
        return err;
    if (name == NULL || type_name(type) == NULL)
        return weft__fail(-EINVAL, name == NULL ? "no name" : "type %d is not one of those known",
                          (int)type);
    if (WEFT__UNLIKELY(weft__sim_proc != NULL))
        return sim_query(ret, name, type, d);
    return query(ret, name, type, d);
}

/* 1: the hosts file has names for it. */
static int reverse_by_hosts(struct weft_dns_answer **ret, const char *name,
                            const struct weft_address *a)
{
    struct weft_dns_record records[WEFT_DNS_RECORDS_MAX / 4];
    struct weft__dns *n = weft__dns_of_flow(weft__flow_self(), true);
    size_t count = 0;
    int err = n != NULL ? weft__dns_refresh(n) : -ENOMEM;
    if (err < 0)
        return err;
    for (; count < WEFT__ARRAY_LEN(records); count++) {
        records[count] = (struct weft_dns_record){.ttl_s = 0};
        records[count].name = weft__dns_hosts_name(n->hosts, a, count);
        if (records[count].name == NULL)
            break;
    }
    if (count == 0)
        return 0;
    *ret = make_answer(WEFT_DNS_PTR, name, records, count);
    return *ret != NULL ? 1 : -ENOMEM;
}

int weft_dns_reverse(struct weft_dns_answer **ret, const struct weft_address *a, weft_deadline d)
{
    char name[WEFT__DNS_NAME];
    struct weft_dns_answer *answer = NULL;
    int err = check(ret, "the answer");
    if (err == 0)
        err = weft__dns_reverse_name(name, a);
    if (err < 0)
        return err;
    if (WEFT__UNLIKELY(weft__sim_proc != NULL))
        return weft__sim_refuse("weft_dns_reverse");
    err = reverse_by_hosts(&answer, name, a);
    if (err == 0)
        err = query(&answer, name, WEFT_DNS_PTR, d);
    if (err < 0)
        return err;
    *ret = answer;
    return 0;
}

/* --- Options ---------------------------------------------------------------------------------- */

int weft_dns_configure(const struct weft_dns_options *o)
{
    struct weft__dns_settings *s = NULL;
    weft__error_detail_clear();
    int err = weft__dns_settings_make(&s, o);
    if (err < 0 || weft__sim_proc != NULL) {
        weft__free(s);
        return err;
    }
    struct weft__dns *n = weft__dns_of_flow(weft__flow_self(), true);
    if (n == NULL) {
        weft__free(s);
        return -ENOMEM;
    }
    weft__free(n->settings);
    n->settings = s;
    n->conf_read = false; /* all is read again, and a new channel opened, by the next look-up */
    n->channel = NULL;
    weft__dns_hosts_free(n->hosts);
    n->hosts = NULL;
    weft__dns_forget_all(n);
    return 0;
}

void weft_dns_forget(void)
{
    struct weft__dns *n =
        weft__sim_proc == NULL ? weft__dns_of_flow(weft__flow_self(), false) : NULL;
    if (n != NULL)
        weft__dns_forget_all(n);
}
