/* SPDX-License-Identifier: MIT */
/*
 * Names, asked of a server that misbehaves: failures, deadlines, time to live, questions that are
 * joined, cancelled, and many.
 */
#include <weft/weft.h>

#include "dns_kit.h"

static int fails(const char *host, const char *why)
{
    CHECK_EQ(dns_look(host, AF_INET), WEFT_ENAME);
    dns_detail_has(host);
    dns_detail_has(why);
    return 0;
}

static int failures(void *arg)
{
    (void)arg;
    wild_use(&(struct weft_dns_options){.tries = 2, .timeout_ms = 300});
    fails("servfail.test", "the server failed");
    CHECK_EQ(wild_count("servfail.test", 1), 2);
    fails("refused.test", "refused");
    fails("notimp.test", "does not do");
    fails("nx.test", "no such name");
    fails("nodata.test", "not with data");
    fails("cut.test", "malformed");
    fails("loop.test", "malformed");
    /* What answers another question is no answer, whoever sent it. */
    fails("lieid.test", "no server answered");
    fails("liename.test", "no server answered");
    fails("silent.test", "no server answered");
    CHECK_EQ(wild_count("silent.test", 1), 2);
    CHECK_EQ(dns_look("v4.test", 0), 1);
    CHECK_EQ(dns_look("v6.test", 0), 1);
    CHECK_EQ(dns_look("half.test", 0), 1); /* one family is enough */
    CHECK_EQ(dns_look("half.test", AF_INET6), WEFT_ENAME);
    CHECK_EQ(dns_look("old.test", AF_INET), 1);
    CHECK_EQ(wild_count("old.test", 0), 2);
    CHECK_EQ(dns_look("plain.test", 0), 2);
    CHECK_EQ(dns_look("zero.test", 0), 2);
    CHECK_EQ(dns_look("stray.test", AF_INET), 1); /* not the address of another name */
    struct weft_addresses *a = NULL;
    CHECK_EQ(weft_resolve(&a, "stray.other.test", 0, NULL, DNS_SOON), 0);
    CHECK(dns_has(a, "10.0.0.1:0") && !dns_has(a, "127.0.0.99:0"));
    weft_addresses_free(&a);
    CHECK_EQ(weft_resolve(&a, "forged.test", 0, NULL, DNS_SOON), 0);
    CHECK(dns_has(a, "10.0.0.1:0") && !dns_has(a, "10.0.0.66:0"));
    weft_addresses_free(&a);
    return 0;
}
DNS_ON_THREAD(failures)

/* Refusals that do not repeat the question: as unbound's, and those of servers without EDNS. */
static int bare(void *arg)
{
    (void)arg;
    wild_use(NULL); /* whoever takes them for none waits for 20 s */
    int64_t began = weft_now_ns();
    fails("bare.test", "refused");
    CHECK_EQ(wild_count("bare.test", 1), 2);
    CHECK_EQ(dns_look("oldbare.test", AF_INET), 1);
    CHECK_EQ(wild_count("oldbare.test", 1), 2);
    CHECK(weft_now_ns() - began < weft_s(15));
    return 0;
}
DNS_ON_THREAD(bare)

/* A server without EDNS, which is told both questions before it has said so. */
static int old(void *arg)
{
    static const char *const both[] = {"old.test", "oldbare.test"};
    (void)arg;
    for (size_t i = 0; i < 2; i++) {
        wild_use(NULL);
        CHECK_EQ(dns_look(both[i], 0), 2);
        CHECK_EQ(wild_count(both[i], 0), 4);
    }
    wild_use(NULL);
    CHECK_EQ(dns_look("oldsix.test", 0), 1);
    return 0;
}
DNS_ON_THREAD(old)

/* No further name is taken for one that nobody could tell about; but one type can tell enough. */
static int search_ends(void *arg)
{
    (void)arg;
    wild_use(&(struct weft_dns_options){
        .timeout_ms = 50, .tries = 1, .search = "gone.test one.test two.test"});
    fails("silent-x", "no server answered");
    CHECK_EQ(wild_count("silent-x.gone.test", 1), 1);
    CHECK_EQ(wild_count("silent-x.one.test", 1), 1);
    CHECK_EQ(wild_count("silent-x.two.test", 0), 0);
    CHECK_EQ(wild_count("silent-x", 0), 0);
    CHECK_EQ(dns_look("sixless", 0), 1);
    CHECK_EQ(wild_count("sixless.one.test", 1), 1);
    return 0;
}
DNS_ON_THREAD(search_ends)

static int by_tcp(void *arg)
{
    (void)arg;
    wild_use(NULL);
    CHECK_EQ(dns_look("trunc.test", AF_INET), 1);
    CHECK_EQ(wild_by_tcp(), 1);
    CHECK_EQ(dns_look("many.test", AF_INET), WEFT_DNS_RECORDS_MAX);
    CHECK_EQ(dns_look("many.test", 0), WEFT_DNS_RECORDS_MAX);
    return 0;
}
DNS_ON_THREAD(by_tcp)

static int deadlines(void *arg)
{
    struct weft_addresses *a = NULL;
    (void)arg;
    wild_use(NULL);
    int64_t began = weft_now_ns();
    CHECK_EQ(weft_resolve(&a, "silent.test", 0, NULL, weft_after_ms(30)), -ETIMEDOUT);
    dns_detail_has("silent.test");
    CHECK(weft_now_ns() - began >= weft_ms(30));
    wild_until("silent.test", 2);
    CHECK_EQ(weft_resolve(&a, "plain.test", 0, NULL, WEFT_NOW), -ETIMEDOUT);
    CHECK_EQ(wild_count("plain.test", 0), 0);
    CHECK_EQ(dns_look("plain.test", 0), 2);
    CHECK_EQ(weft_resolve(&a, "plain.test", 0, NULL, WEFT_NOW), 0); /* known */
    weft_addresses_free(&a);
    return 0;
}
DNS_ON_THREAD(deadlines)

static int cache(void *arg)
{
    (void)arg;
    wild_use(&(struct weft_dns_options){.cache_entries = 3});
    for (int i = 0; i < 5; i++)
        CHECK_EQ(dns_look("plain.test", 0), 2);
    CHECK_EQ(wild_count("plain.test", 0), 2);
    /* The one used longest ago makes room: A and AAAA of plain, and one more, are three. */
    CHECK_EQ(dns_look("other.test", AF_INET), 1);
    CHECK_EQ(dns_look("plain.test", 0), 2);
    CHECK_EQ(dns_look("third.test", AF_INET), 1);
    CHECK_EQ(dns_look("plain.test", 0), 2);
    CHECK_EQ(wild_count("plain.test", 0), 2);
    CHECK_EQ(dns_look("other.test", AF_INET), 1);
    CHECK_EQ(wild_count("other.test", 0), 2);
    weft_dns_forget();
    CHECK_EQ(dns_look("plain.test", AF_INET), 1);
    CHECK_EQ(wild_count("plain.test", 1), 2);
    CHECK_EQ(dns_look("ttl0.test", AF_INET), 1);
    CHECK_EQ(dns_look("ttl0.test", AF_INET), 1);
    CHECK_EQ(wild_count("ttl0.test", 0), 2);
    /* Failures are not kept, nor what nobody said how long to keep it. */
    CHECK_EQ(dns_look("servfail.test", AF_INET), WEFT_ENAME);
    size_t n = wild_count("servfail.test", 0);
    CHECK_EQ(dns_look("servfail.test", AF_INET), WEFT_ENAME);
    CHECK(wild_count("servfail.test", 0) > n);
    CHECK_EQ(dns_look("nxbare.test", AF_INET), WEFT_ENAME);
    CHECK_EQ(dns_look("nxbare.test", AF_INET), WEFT_ENAME);
    CHECK_EQ(wild_count("nxbare.test", 0), 2);
    wild_use(&(struct weft_dns_options){.no_cache = true});
    CHECK_EQ(dns_look("plain.test", 0), 2);
    CHECK_EQ(dns_look("plain.test", 0), 2);
    CHECK_EQ(wild_count("plain.test", 0), 4);
    return 0;
}
DNS_ON_THREAD(cache)

static int lifetimes(void *arg)
{
    (void)arg;
    wild_use(&(struct weft_dns_options){.ttl_max_ms = 400, .negative_max_ms = 300});
    int64_t began = weft_now_ns();
    static const char *const names[] = {"plain.test", "nx.test", "nodata.test"};
    for (int turn = 0; turn < 2; turn++)
        for (size_t i = 0; i < 3; i++)
            CHECK_EQ(dns_look(names[i], AF_INET), i == 0 ? 1 : WEFT_ENAME);
    if (weft_now_ns() - began < weft_ms(300)) /* else the machine was too slow to tell */
        for (size_t i = 0; i < 3; i++)
            CHECK_EQ(wild_count(names[i], 0), 1);
    CHECK_EQ(weft_sleep_ms(410), 0);
    for (size_t i = 0; i < 3; i++) {
        size_t n = wild_count(names[i], 0);
        CHECK_EQ(dns_look(names[i], AF_INET), i == 0 ? 1 : WEFT_ENAME);
        CHECK_EQ(wild_count(names[i], 0), n + 1);
    }
    /* As the TTL itself says, and the SOA; what is left of it is told. */
    wild_use(NULL);
    struct weft_addresses *a = NULL;
    struct weft_resolve_options v4 = {.family = AF_INET};
    CHECK_EQ(weft_resolve(&a, "ttl1.test", 0, &v4, DNS_SOON), 0);
    CHECK_EQ(a->ttl_s, 1);
    weft_addresses_free(&a);
    CHECK_EQ(dns_look("nx.test", AF_INET), WEFT_ENAME);
    CHECK_EQ(weft_sleep_ms(1010), 0);
    CHECK_EQ(dns_look("ttl1.test", AF_INET), 1);
    CHECK_EQ(dns_look("nx.test", AF_INET), WEFT_ENAME);
    CHECK_EQ(wild_count("ttl1.test", 0), 2);
    CHECK_EQ(wild_count("nx.test", 0), 2);
    wild_use(&(struct weft_dns_options){.ttl_min_ms = 60000});
    CHECK_EQ(dns_look("ttl0.test", AF_INET), 1);
    CHECK_EQ(dns_look("ttl0.test", AF_INET), 1);
    CHECK_EQ(wild_count("ttl0.test", 0), 1);
    return 0;
}
DNS_ON_THREAD(lifetimes)

/* --- Many at once ----------------------------------------------------------------------------- */

struct many {
    const char *host; /* NULL: each its own */
    const char *own;  /* with what that begins */
    int ok, canceled, other, next;
};

static int one_of_many(void *arg)
{
    struct many *m = arg;
    char own[40];
    (void)snprintf(own, sizeof own, "%s%d.test", m->own, m->next++);
    int n = dns_look(m->host != NULL ? m->host : own, 0);
    m->ok += n == 2;
    m->canceled += n == -ECANCELED;
    m->other += n != 2 && n != -ECANCELED;
    return 0;
}

static int joined(void *arg)
{
    struct many m = {.host = "hold.test"};
    struct weft_group *g = kit_group(), *h = kit_group();
    (void)arg;
    wild_use(NULL);
    for (int i = 0; i < 1000; i++)
        kit_go(i % 2 ? g : h, "asks", one_of_many, &m);
    wild_until("hold.test", 2);
    weft_group_cancel(h); /* half of them; the others are not disturbed */
    (void)!weft_group_wait(h, DNS_SOON);
    CHECK_EQ(m.canceled, 500);
    wild_release();
    CHECK_EQ(weft_group_wait(g, DNS_SOON), 0);
    CHECK_EQ(m.ok, 500);
    CHECK_EQ(wild_count("hold.test", 1), 1);
    CHECK_EQ(wild_count("hold.test", 28), 1);
    CHECK_EQ(weft_group_close(&g), 0);
    (void)!weft_group_close(&h);
    return 0;
}

static int ten_thousand(void *arg)
{
    struct many m = {.own = "n"};
    struct weft_group *g = kit_group();
    int all = KIT_SLOW ? 1000 : 10000;
    (void)arg;
    wild_use(&(struct weft_dns_options){.no_cache = true, .timeout_ms = 1000, .tries = 5});
    for (int i = 0; i < all; i++)
        kit_go(g, "asks", one_of_many, &m);
    CHECK_EQ(weft_group_wait(g, WEFT_NEVER), 0);
    CHECK_EQ(m.ok, all);
    CHECK(wild_queries() >= 2 * (size_t)all);
    /* Not all by the same port, or who forges answers would have to guess 16 bits only. */
    CHECK(wild.n_ports >= (size_t)all / 256 - 1);
    CHECK_EQ(weft_group_close(&g), 0);
    return 0;
}

/* More than one channel asks: each learns anew that the server knows no EDNS. */
static int many_old(void *arg)
{
    struct many m = {.own = "old-"};
    struct weft_group *g = kit_group();
    (void)arg;
    wild_use(&(struct weft_dns_options){.no_cache = true, .timeout_ms = 1000, .tries = 5});
    for (int i = 0; i < 1000; i++)
        kit_go(g, "asks", one_of_many, &m);
    CHECK_EQ(weft_group_wait(g, WEFT_NEVER), 0);
    CHECK_EQ(m.ok, 1000);
    CHECK_EQ(weft_group_close(&g), 0);
    return 0;
}

/* --- Cancel ----------------------------------------------------------------------------------- */

struct asking {
    const char *host;
    bool both;  /* families */
    int result; /* and 1000 */
};

static int asks_for(void *arg)
{
    struct asking *a = arg;
    a->result = dns_look(a->host, a->both ? 0 : AF_INET) + 1000;
    return 0;
}

/* Nothing is sent any more for a question that nobody waits for, and the others go on. */
static int stopped(void *arg)
{
    struct asking gone = {.host = "silent-gone.test"}, stays = {.host = "silent-stays.test"};
    struct asking first = {.host = "hold-again.test"}, second = first;
    struct weft_group *g = kit_group(), *h = kit_group();
    (void)arg;
    wild_use(&(struct weft_dns_options){.timeout_ms = 100, .tries = 4});
    kit_go(g, "gone", asks_for, &gone);
    kit_go(h, "stays", asks_for, &stays);
    wild_until(gone.host, 1);
    wild_until(stays.host, 1);
    weft_group_cancel(g);
    (void)!weft_group_close(&g);
    CHECK_EQ(gone.result, 1000 - ECANCELED);
    wild_until(stays.host, 2); /* what was sent before the cancel has been counted by then */
    size_t sent = wild_count(gone.host, 0);
    CHECK(sent <= 2);
    CHECK_EQ(weft_group_wait(h, DNS_SOON), 0);
    CHECK_EQ(weft_group_close(&h), 0);
    CHECK_EQ(stays.result, 1000 + WEFT_ENAME);
    CHECK_EQ(wild_count(stays.host, 0), 4);
    CHECK_EQ(wild_count(gone.host, 0), sent);
    /* A name whose question was stopped is asked for anew, and nothing is left in the loop. */
    wild_use(NULL);
    g = kit_group();
    kit_go(g, "first", asks_for, &first);
    wild_until(first.host, 1);
    weft_group_cancel(g);
    (void)!weft_group_close(&g);
    CHECK_EQ(first.result, 1000 - ECANCELED);
    CHECK_EQ(weft_sleep_ms(1), 0);
    uint64_t left = weft_loop_current()->sys->in_flight;
    g = kit_group();
    kit_go(g, "second", asks_for, &second);
    wild_until(second.host, 2);
    wild_release();
    CHECK_EQ(weft_group_wait(g, DNS_SOON), 0);
    CHECK_EQ(weft_group_close(&g), 0);
    CHECK_EQ(second.result, 1001);
    CHECK_EQ(weft_sleep_ms(1), 0);
    CHECK_EQ(weft_loop_current()->sys->in_flight, left);
    return 0;
}

/* A thread of a group, cancelled while it waits; then within a shield. */
static int shielded(void *arg)
{
    struct weft_addresses *a = NULL;
    CHECK_EQ(weft_resolve(&a, "silent.test", 0, NULL, WEFT_NEVER), -ECANCELED);
    weft_shield(60000);
    *(int *)arg = dns_look("plain.test", AF_INET);
    weft_unshield();
    return -ECANCELED;
}

static int thread_body(void *arg)
{
    wild_use(NULL);
    return shielded(arg);
}

static void cancel_thread(const char *driver)
{
    struct weft_group *g = kit_group();
    int found = 0;
    (void)driver;
    wild_reset();
    kit_go(g, "thread", thread_body, &found);
    wild_until("silent.test", 2);
    weft_group_cancel(g);
    (void)!weft_group_wait(g, DNS_SOON);
    CHECK_EQ(found, 1);
    (void)!weft_group_close(&g);
}

/* --- Callbacks -------------------------------------------------------------------------------- */

struct told {
    struct weft_event event;
    struct weft_lookup *other, *self;
    int times, result, n;
    char detail[200];
    bool again;
};

static void tell(void *arg, int result, struct weft_addresses *a)
{
    struct told *t = arg;
    t->times++;
    t->result = result;
    t->n = a != NULL ? (int)a->n : 0;
    (void)snprintf(t->detail, sizeof t->detail, "%s", weft_error_detail());
    weft_addresses_free(&a);
    weft_lookup_close(&t->other);
    weft_lookup_close(&t->self);
    if (t->again) {
        t->again = false;
        CHECK_EQ(weft_lookup_open(NULL, weft_loop_group(weft_loop_current()), "again.test", 1, NULL,
                                  DNS_SOON, tell, t),
                 0);
        return;
    }
    weft_event_set(&t->event);
}

static void look(struct told *t, const char *host, weft_deadline d, int want)
{
    struct weft_group *g = kit_group();
    *t = (struct told){.event = WEFT_EVENT_INIT};
    CHECK_EQ(weft_lookup_open(&t->self, g, host, 1, NULL, d, tell, t), 0);
    CHECK_EQ(t->times, 0);
    CHECK_EQ(weft_event_wait(&t->event, DNS_SOON), 0);
    CHECK_EQ(t->times, 1);
    CHECK_EQ(t->result, want);
    CHECK_EQ(weft_group_close(&g), 0);
}

static int in_callbacks(void *arg)
{
    struct told t, u = {.event = WEFT_EVENT_INIT};
    (void)arg;
    wild_use(&(struct weft_dns_options){.timeout_ms = 20000, .tries = 1});
    look(&t, "plain.test", DNS_SOON, 0);
    CHECK_EQ(t.n, 2);
    look(&t, "plain.test", WEFT_NEVER, 0); /* from the cache */
    CHECK_EQ(t.n, 2);
    look(&t, "127.0.0.1", WEFT_NEVER, 0);
    look(&t, "nx.test", DNS_SOON, WEFT_ENAME);
    CHECK(strstr(t.detail, "nx.test: no such name") != NULL);
    look(&t, "silent.test", weft_after_ms(20), -ETIMEDOUT);
    CHECK(strstr(t.detail, "silent.test") != NULL);
    struct weft_group *g = kit_group();
    CHECK_EQ(weft_lookup_open(NULL, g, "a..b", 1, NULL, DNS_SOON, tell, &t), WEFT_ENAME);
    CHECK_EQ(weft_lookup_open(NULL, g, "a.b", 1, NULL, DNS_SOON, NULL, &t), -EINVAL);
    /* Closed: nobody is called any more. */
    t = (struct told){.event = WEFT_EVENT_INIT};
    CHECK_EQ(weft_lookup_open(&t.self, g, "hold.test", 1, NULL, DNS_SOON, tell, &t), 0);
    wild_until("hold.test", 2);
    weft_lookup_close(&t.self);
    wild_release();
    /* From within a callback: one that is ready in the same turn is closed, another is begun. */
    u.again = true;
    CHECK_EQ(weft_lookup_open(NULL, g, "both.test", 1, NULL, DNS_SOON, tell, &u), 0);
    CHECK_EQ(weft_lookup_open(&u.other, g, "both.test", 1, NULL, DNS_SOON, tell, &t), 0);
    CHECK_EQ(weft_event_wait(&u.event, DNS_SOON), 0);
    CHECK_EQ(u.times, 2);
    CHECK_EQ(t.times, 0);
    CHECK_EQ(weft_group_close(&g), 0);
    /* A cancel of its group. */
    g = kit_group();
    CHECK_EQ(weft_lookup_open(NULL, g, "silent.test", 1, NULL, WEFT_NEVER, tell, &t), 0);
    weft_group_cancel(g);
    CHECK_EQ(t.times, 0);
    (void)!weft_group_close(&g);
    CHECK_EQ(t.times, 1);
    CHECK_EQ(t.result, -ECANCELED);
    /* Left to the end of the loop, which is now. */
    static struct told last = {.event = WEFT_EVENT_INIT};
    CHECK_EQ(weft_lookup_open(NULL, weft_loop_group(weft_loop_current()), "silent.test", 1, NULL,
                              weft_after_ms(50), tell, &last),
             0);
    return 0;
}

static int limit(void *arg)
{
    enum { ALL = 10000 };
    static struct weft_lookup *lookups[ALL];
    struct weft_addresses *a = NULL;
    struct weft_group *g = kit_group();
    struct told t = {.event = WEFT_EVENT_INIT};
    char name[40];
    (void)arg;
    wild_use(&(struct weft_dns_options){.tries = 1});
    for (int i = 0; i < ALL; i++) {
        (void)snprintf(name, sizeof name, "silent.n%d.test", i % 5000);
        CHECK_EQ(weft_lookup_open(&lookups[i], g, name, 1, NULL, WEFT_NEVER, tell, &t), 0);
    }
    CHECK_EQ(weft_lookup_open(NULL, g, "more.test", 1, NULL, WEFT_NEVER, tell, &t), WEFT_ELIMIT);
    CHECK_EQ(weft_resolve(&a, "more.test", 0, NULL, DNS_SOON), WEFT_ELIMIT);
    dns_detail_has("10000 look-ups");
    wild_until("silent.n0.test", 2);
    for (int i = 0; i < ALL - 1; i++)
        weft_lookup_close(&lookups[i]);
    CHECK_EQ(dns_look("more.test", 0), 2); /* those that waited in front of it are gone */
    weft_lookup_close(&lookups[ALL - 1]);
    CHECK_EQ(t.times, 0);
    CHECK_EQ(weft_group_close(&g), 0);
    return 0;
}

/* A resolver whose options change while it asks: the old questions end by the old servers. */
static int reconfigured(void *arg)
{
    static const struct weft_dns_options nowhere = {
        .servers = "127.0.0.1:1", .resolv_conf = "", .hosts = "", .tries = 1};
    struct asking held = {.host = "hold-conf.test"};
    struct weft_group *g = kit_group();
    (void)arg;
    wild_use(NULL);
    kit_go(g, "asks", asks_for, &held);
    wild_until(held.host, 1);
    CHECK_EQ(weft_dns_configure(&nowhere), 0);
    CHECK_EQ(dns_look(held.host, AF_INET), WEFT_ENAME); /* not joined to the old question */
    wild_release();
    CHECK_EQ(weft_group_wait(g, DNS_SOON), 0);
    CHECK_EQ(weft_group_close(&g), 0);
    CHECK_EQ(held.result, 1001);
    CHECK_EQ(dns_look(held.host, AF_INET), WEFT_ENAME); /* nor was its answer kept */
    /* So do those that have to be asked again. */
    held = (struct asking){.host = "hold-old.test", .both = true};
    g = kit_group();
    wild_use(NULL);
    kit_go(g, "asks", asks_for, &held);
    wild_until(held.host, 2);
    CHECK_EQ(weft_dns_configure(&nowhere), 0);
    wild_release();
    wild_until(held.host, 4);
    wild_release();
    CHECK_EQ(weft_group_wait(g, DNS_SOON), 0);
    CHECK_EQ(weft_group_close(&g), 0);
    CHECK_EQ(held.result, 1002);
    return 0;
}

int main(void)
{
    static const struct kit_case cases[] = {
        IN_TASK(failures),
        ON_THREAD(failures_thread),
        IN_TASK(bare),
        ON_THREAD(bare_thread),
        IN_TASK(old),
        ON_THREAD(old_thread),
        IN_TASK(search_ends),
        ON_THREAD(search_ends_thread),
        IN_TASK(by_tcp),
        ON_THREAD(by_tcp_thread),
        IN_TASK(deadlines),
        ON_THREAD(deadlines_thread),
        IN_TASK(cache),
        ON_THREAD(cache_thread),
        IN_TASK(lifetimes),
        ON_THREAD(lifetimes_thread),
        IN_TASK(joined),
        IN_TASK(ten_thousand),
        IN_TASK(many_old),
        IN_TASK(stopped),
        ON_THREAD(cancel_thread),
        IN_TASK(in_callbacks),
        IN_TASK(reconfigured),
        IN_TASK(limit),
    };
    wild_start();
    int failed = kit_main(cases, WEFT__ARRAY_LEN(cases));
    wild_end();
    return failed;
}
