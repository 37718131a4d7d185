/* SPDX-License-Identifier: MIT */
/*
 * The resolver of a loop or thread: look-ups, and the pump that moves them on (floor 4).
 *
 * A look-up takes its candidates (the name as it is, and completed by each search domain) one after
 * the other, and asks for all its types of one candidate at once. It ends with the first candidate
 * that has a record of any of them, or of which no server would tell whether it has.
 *
 * Invariants:
 *  - an ask is in its entry's list until it is answered or taken back;
 *  - a look-up that is done is in `ready` until it was told, unless it was done when it began.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include <weft/random.h>

#include "base/alloc.h"
#include "dns/dns.h"

#define RESOLV_CONF_MAX 65536

static void pump_run(struct weft__run *r)
{
    struct weft__dns *n = WEFT__CONTAINER_OF(r, struct weft__dns, pump);
    n->pump_queued = false;
    weft__dns_pump(n);
}

void weft__dns_want_pump(struct weft__dns *n)
{
    if (n->loop == NULL || n->pump_queued) /* a thread calls it itself */
        return;
    n->pump_queued = true;
    weft__loop_ready(n->loop, &n->pump);
    if (!n->loop->in_turn)
        weft__loop_arm_embedding(n->loop);
}

/* --- Opening and closing ---------------------------------------------------------------------- */

static void dns_free(struct weft__dns *n)
{
    struct weft__node *node;
    WEFT__ASSERT(n->n_lookups == 0);
    weft__dns_channels_close(n);
    while ((node = weft__list_first(&n->ended)) != NULL)
        weft__dns_entry_free(WEFT__CONTAINER_OF(node, struct weft__dns_entry, link));
    weft__dns_forget_all(n);
    weft__dns_hosts_free(n->hosts);
    weft__free(n->settings);
    weft__free(n);
}

/* The loop has no task, member or operation left, so nobody waits and nothing is under way. */
static void service_close(struct weft__service *s)
{
    dns_free(WEFT__CONTAINER_OF(s, struct weft__dns, service));
}

static struct weft__dns *dns_open(struct weft_loop *l)
{
    struct weft__dns *n = weft__calloc(1, sizeof *n);
    if (n == NULL)
        return NULL;
    if (weft__dns_settings_make(&n->settings, NULL) < 0) {
        weft__free(n);
        return NULL;
    }
    n->loop = l;
    n->pump.fn = pump_run;
    n->service.close = service_close;
    n->seed = (uint32_t)weft_random_u64();
    weft__list_init(&n->channels);
    weft__list_init(&n->queued);
    weft__list_init(&n->ended);
    weft__list_init(&n->kept);
    weft__list_init(&n->ready);
    return n;
}

static _Thread_local struct weft__dns *of_thread;
static pthread_key_t thread_key;
static pthread_once_t thread_once = PTHREAD_ONCE_INIT;

static void thread_ended(void *arg)
{
    of_thread = NULL;
    dns_free(arg);
}

static void thread_key_make(void)
{
    (void)pthread_key_create(&thread_key, thread_ended);
}

/* The main thread runs no key destructors when main returns. */
__attribute__((destructor)) static void at_exit(void)
{
    if (of_thread != NULL) {
        pthread_setspecific(thread_key, NULL);
        thread_ended(of_thread);
    }
}

struct weft__dns *weft__dns_of_flow(struct weft__flow *f, bool open)
{
    if (f->loop == NULL) {
        if (of_thread == NULL && open) {
            (void)pthread_once(&thread_once, thread_key_make);
            of_thread = dns_open(NULL);
            pthread_setspecific(thread_key, of_thread);
        }
        return of_thread;
    }
    WEFT__LIST_EACH(&f->loop->services, node) {
        struct weft__service *s = WEFT__CONTAINER_OF(node, struct weft__service, link);
        if (s->close == service_close)
            return WEFT__CONTAINER_OF(s, struct weft__dns, service);
    }
    struct weft__dns *n = open ? dns_open(f->loop) : NULL;
    if (n != NULL)
        weft__list_push_back(&f->loop->services, &n->service.link);
    return n;
}

/* --- Files ------------------------------------------------------------------------------------ */

/* Another configuration: questions under way go on by the old channel, which goes with the last. */
static int read_conf(struct weft__dns *n)
{
    char *text = NULL;
    int err = weft__dns_load(&text, n->settings->o.resolv_conf, RESOLV_CONF_MAX);
    if (err < 0)
        return err;
    weft__dns_conf_make(&n->conf, n->settings, text);
    weft__error_detail_clear(); /* of what was passed over */
    weft__free(text);
    n->channel = NULL;
    n->conf_read = true;
    weft__dns_forget_all(n);
    return 0;
}

int weft__dns_refresh(struct weft__dns *n)
{
    struct weft__dns_stamp now;
    if (n->loop != NULL && n->conf_read && n->looked_ns == n->loop->now_ns)
        return 0; /* once a turn */
    const struct weft_dns_options *o = &n->settings->o;
    if (weft__dns_changed(o->resolv_conf, &n->resolv_stamp, &now) || !n->conf_read) {
        int err = read_conf(n);
        if (err < 0)
            return err;
        n->resolv_stamp = now;
    }
    if (weft__dns_changed(o->hosts, &n->hosts_stamp, &now) || n->hosts == NULL) {
        struct weft__dns_hosts *hosts = NULL;
        int err = weft__dns_hosts_load(&hosts, o->hosts);
        if (err < 0)
            return err;
        weft__dns_hosts_free(n->hosts);
        n->hosts = hosts;
        n->hosts_stamp = now;
    }
    n->looked_ns = n->loop != NULL ? n->loop->now_ns : 0;
    return 0;
}

/* --- Look-ups --------------------------------------------------------------------------------- */

/* Takes an ask back, if it is not answered. */
static void withdraw(struct weft__dns_ask *a)
{
    struct weft__dns_entry *e = a->entry;
    if (e == NULL)
        return;
    a->entry = NULL;
    weft__list_remove(&a->link);
    if (!weft__list_empty(&e->asks))
        return;
    if (e->state == WEFT__DNS_QUEUED) {
        weft__dns_entry_free(e);
    } else if (e->state == WEFT__DNS_UNDER_WAY) {
        e->dns->abandoned = true;
        weft__dns_want_pump(e->dns);
    }
}

static void finish(struct weft__dns_lookup *k, int err)
{
    for (size_t i = 0; i < k->n_asks; i++)
        withdraw(&k->asks[i]);
    k->unanswered = 0;
    k->done = true;
    k->err = err;
}

/* The next candidate's name; false: it would be too long for a name. */
static bool candidate(struct weft__dns_lookup *k)
{
    const struct weft__dns_conf *c = &k->dns->conf;
    size_t i = k->tried++, last = k->names - 1;
    if (!k->search || i == (k->as_is_first ? 0 : last)) {
        memcpy(k->name, k->host, sizeof k->name);
        return true;
    }
    size_t domain = k->as_is_first ? i - 1 : i;
    if (domain >= c->n_domains) /* the configuration has changed since */
        return false;
    size_t host = strlen(k->host), more = strlen(c->domains[domain]);
    if (host + 1 + more > 253)
        return false;
    memcpy(k->name, k->host, host);
    k->name[host] = '.';
    memcpy(k->name + host + 1, c->domains[domain], more + 1);
    return true;
}

/* RFC 6761, section 6.3: has the loopback addresses and nothing else, whatever a server says. */
static int answer_localhost(struct weft__dns_ask *a, const char *name)
{
    static const unsigned char four[4] = {127, 0, 0, 1}, six[16] = {[15] = 1};
    bool is_four = a->type == WEFT_DNS_A;
    a->status = WEFT__DNS_NO_DATA;
    if (!is_four && a->type != WEFT_DNS_AAAA)
        return 0;
    struct weft__dns_reply *r = weft__alloc(sizeof *r + WEFT__DNS_ADDRESS_LEN);
    if (r == NULL)
        return -ENOMEM;
    *r = (struct weft__dns_reply){.refs = 1, .when_ns = weft__clock_ns()};
    r->len = weft__dns_write_address(r->msg, WEFT__DNS_ADDRESS_LEN, name, a->type,
                                     is_four ? four : six, is_four ? sizeof four : sizeof six);
    WEFT__ASSERT(r->len > 0);
    a->status = WEFT__DNS_OK;
    a->reply = r;
    return 0;
}

static int ask(struct weft__dns_lookup *k, struct weft__dns_ask *a)
{
    struct weft__dns *n = k->dns;
    if (weft__dns_is_localhost(k->name))
        return answer_localhost(a, k->name);
    struct weft__dns_entry *e = weft__dns_entry_find(n, k->name, a->type);
    if (e != NULL && e->state == WEFT__DNS_KEPT) {
        a->status = (enum weft__dns_status)e->status;
        a->reply = e->reply;
        if (a->reply != NULL)
            a->reply->refs++;
        return 0;
    }
    if (e == NULL) {
        e = weft__dns_entry_make(n, k->name, a->type);
        if (e == NULL)
            return -ENOMEM;
        weft__dns_want_pump(n);
    }
    a->entry = e;
    weft__list_push_back(&e->asks, &a->link);
    k->unanswered++;
    return 0;
}

/* All asks of a candidate are answered. What says most about a failure is kept: that there is a
 * name, more than that there is none, and what went wrong more than both. */
static void judge(struct weft__dns_lookup *k)
{
    bool unknown = false, no_name = false;
    for (size_t i = 0; i < k->n_asks; i++) {
        enum weft__dns_status s = k->asks[i].status;
        if (s == WEFT__DNS_OK) {
            finish(k, 0);
            return;
        }
        if (s > k->status)
            k->status = s;
        unknown = unknown || s == WEFT__DNS_SILENT || s == WEFT__DNS_UNREACHABLE;
        no_name = no_name || s == WEFT__DNS_NO_NAME; /* of no type, then */
    }
    /* This candidate may exist; to find a later one, another host, would be worse than none. */
    if (unknown && !no_name)
        k->tried = k->names;
}

static void advance(struct weft__dns_lookup *k)
{
    while (!k->done && k->unanswered == 0) {
        if (k->live)
            judge(k);
        k->live = true;
        if (k->done)
            return;
        do {
            if (k->tried == k->names) {
                finish(k, k->status == WEFT__DNS_NO_MEMORY ? -ENOMEM : WEFT_ENAME);
                return;
            }
        } while (!candidate(k));
        for (size_t i = 0; i < k->n_asks && !k->done; i++)
            if (ask(k, &k->asks[i]) < 0)
                finish(k, -ENOMEM);
    }
}

int weft__dns_begin(struct weft__dns *n, struct weft__dns_lookup *k, const char *host, bool search,
                    const uint16_t *types, size_t n_types)
{
    bool absolute;
    int err = weft__dns_name(k->host, host, &absolute);
    if (err < 0)
        return err;
    if (n->n_lookups >= WEFT__DNS_LOOKUPS)
        return weft__fail(WEFT_ELIMIT, "%s: %d look-ups of this loop wait already", k->host,
                          WEFT__DNS_LOOKUPS);
    n->n_lookups++;
    k->dns = n;
    k->status = WEFT__DNS_NO_NAME;
    k->search = search && !absolute && n->conf.n_domains > 0;
    k->names = k->search ? n->conf.n_domains + 1 : 1;
    k->as_is_first = weft__dns_dots(k->host) >= (size_t)n->conf.ndots;
    k->n_asks = n_types;
    for (size_t i = 0; i < n_types; i++)
        k->asks[i] = (struct weft__dns_ask){.lookup = k, .type = types[i]};
    advance(k);
    return 0;
}

void weft__dns_end(struct weft__dns_lookup *k)
{
    struct weft__dns *n = k->dns;
    if (n == NULL)
        return;
    k->dns = NULL;
    weft__list_remove(&k->link);
    for (size_t i = 0; i < k->n_asks; i++) {
        withdraw(&k->asks[i]);
        weft__dns_reply_unref(k->asks[i].reply);
        k->asks[i].reply = NULL;
    }
    n->n_lookups--;
}

int weft__dns_failed(const struct weft__dns_lookup *k)
{
    static const char *const why[] = {
        [WEFT__DNS_NO_NAME] = "no such name",
        [WEFT__DNS_NO_DATA] = "the name exists, but not with data of this type",
        [WEFT__DNS_SERVER_FAILED] = "the server failed",
        [WEFT__DNS_REFUSED] = "the server refused to answer",
        [WEFT__DNS_NOT_DONE] = "the server does not do such questions",
        [WEFT__DNS_FORMAT] = "the server did not understand the question",
        [WEFT__DNS_MALFORMED] = "the answer was malformed",
        [WEFT__DNS_SILENT] = "no server answered",
        [WEFT__DNS_UNREACHABLE] = "no server could be reached",
        [WEFT__DNS_STOPPED] = "the question was stopped",
    };
    if (k->err != WEFT_ENAME)
        return k->err;
    return weft__fail(WEFT_ENAME, "%.150s: %s", k->host, why[k->status]);
}

/* --- The pump --------------------------------------------------------------------------------- */

static void answer(struct weft__dns_ask *a, enum weft__dns_status status, struct weft__dns_reply *r)
{
    struct weft__dns_lookup *k = a->lookup;
    a->entry = NULL;
    a->status = status;
    a->reply = r;
    if (r != NULL)
        r->refs++;
    k->unanswered--;
    advance(k);
    bool part = k->early && k->unanswered > 0 && a->status == WEFT__DNS_OK;
    if ((k->done || part) && !weft__node_linked(&k->link))
        weft__list_push_back(&k->dns->ready, &k->link);
}

/* One entry has ended: it is kept or goes, and then those who asked are told, as what they do next
 * may look for it again. */
static void entry_ended(struct weft__dns_entry *e)
{
    struct weft__list asks;
    struct weft__node *node;
    struct weft__dns_reply *r = e->reply;
    enum weft__dns_status status = (enum weft__dns_status)e->status;
    weft__list_init(&asks);
    weft__list_splice_back(&asks, &e->asks);
    if (r != NULL)
        r->refs++;
    weft__dns_entry_keep(e);
    while ((node = weft__list_pop_front(&asks)) != NULL)
        answer(WEFT__CONTAINER_OF(node, struct weft__dns_ask, link), status, r);
    weft__dns_reply_unref(r);
}

static void ask_queued(struct weft__dns *n)
{
    struct weft__node *node;
    while (n->n_asked < WEFT__DNS_ASKED && (node = weft__list_first(&n->queued)) != NULL) {
        struct weft__dns_entry *e = WEFT__CONTAINER_OF(node, struct weft__dns_entry, link);
        if (e->channel != NULL) { /* again, by the one that has learned how */
            weft__dns_channel_ask(e->channel, e);
            continue;
        }
        if (n->channel != NULL && weft__dns_channel_worn(n->channel))
            n->channel = NULL; /* it goes when its last question has ended */
        if (n->channel == NULL && weft__dns_channel_open(n) < 0) {
            e->state = WEFT__DNS_ENDED;
            e->status = WEFT__DNS_NO_MEMORY;
            weft__list_remove(&e->link);
            weft__list_push_back(&n->ended, &e->link);
        } else {
            weft__dns_channel_ask(n->channel, e);
        }
    }
}

void weft__dns_pump(struct weft__dns *n)
{
    struct weft__list ready;
    struct weft__node *node;
    weft__list_init(&ready);
    weft__dns_channels_ready(n);
    do {
        while ((node = weft__list_pop_front(&n->ended)) != NULL)
            entry_ended(WEFT__CONTAINER_OF(node, struct weft__dns_entry, link));
        if (n->abandoned) {
            n->abandoned = false;
            weft__dns_channel_stop_abandoned(n);
        }
        ask_queued(n);
        weft__dns_channels_tidy(n);
    } while (!weft__list_empty(&n->ended));
    /* Only those that are ready now: who is told may look up more, and at once have it. */
    weft__list_splice_back(&ready, &n->ready);
    while ((node = weft__list_pop_front(&ready)) != NULL) {
        struct weft__dns_lookup *k = WEFT__CONTAINER_OF(node, struct weft__dns_lookup, link);
        k->told(k);
    }
}
