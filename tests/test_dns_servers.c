/* SPDX-License-Identifier: MIT */
/*
 * Names, asked of knot, which has the zones, and of unbound, which asks knot: all records, what
 * there is not, answers too long for UDP, refusals, servers that are down, and many at once.
 */
#include <inttypes.h>

#include <weft/weft.h>

#include "dns_servers_kit.h"

enum { LONG = 60, STRING = 120 }; /* TXT records, and bytes of each: more than UDP takes */

static struct name_server knot, unbound, refusing, lost;
static char zone_text[LONG * (STRING + 40) + 2000];

static void write_zone(void)
{
    static const char fixed[] =
        ZONE_HEAD "ns A 127.0.0.1\n"
                  "www A 192.0.2.1\nwww AAAA 2001:db8::1\n"
                  "four A 192.0.2.4\nsix AAAA 2001:db8::6\n"
                  "a1 CNAME a2\na2 CNAME a3\na3 CNAME www\n"
                  "dangling CNAME nowhere\n"
                  "round1 CNAME round2\nround2 CNAME round1\n"
                  "short 1 A 192.0.2.8\n"
                  "txt TXT \"one two\" \"three\"\n"
                  "mail MX 20 mx2\nmail MX 10 mx1\n"
                  "_chat._tcp SRV 20 0 5222 low\n_chat._tcp SRV 10 5 5223 high\n"
                  "inner.corp A 192.0.2.9\n"
                  "*.wild A 192.0.2.50\n";
    char *at = stpcpy(zone_text, fixed);
    for (int i = 0; i < LONG; i++) {
        at += sprintf(at, "long TXT \"%03d", i);
        memset(at, 'x', STRING - 3);
        at = stpcpy(at + STRING - 3, "\"\n");
    }
    knot_zone = zone_text;
    knot_reverse = ZONE_HEAD "7 PTR seven.test.\n";
}

static void use(const char *servers, const struct weft_dns_options *more)
{
    struct weft_dns_options o = more != NULL ? *more : (struct weft_dns_options){.tries = 0};
    o.servers = servers;
    o.search = o.search != NULL ? o.search : "";
    o.resolv_conf = o.hosts = "";
    o.timeout_ms = o.timeout_ms > 0 ? o.timeout_ms : 20000;
    CHECK_EQ(weft_dns_configure(&o), 0);
}

static const char *at_port(int port)
{
    static char text[32];
    (void)snprintf(text, sizeof text, "127.0.0.1:%d", port);
    return text;
}

static void fails(const char *host, const char *why)
{
    CHECK_EQ(dns_look(host, AF_INET), WEFT_ENAME);
    dns_detail_has(host);
    dns_detail_has(why);
}

/* What both say of the zone. */
static void zone_of(int port)
{
    struct weft_addresses *a = NULL;
    struct weft_dns_answer *q = NULL;
    struct weft_address seven;
    use(at_port(port), &(struct weft_dns_options){.search = "corp.test"});
    CHECK_EQ(weft_resolve(&a, "a1.Test", 8080, NULL, DNS_SOON), 0);
    CHECK(a->n == 2 && dns_has(a, "192.0.2.1:8080") && dns_has(a, "[2001:db8::1]:8080"));
    CHECK(strcmp(a->name, "www.test") == 0 && a->ttl_s <= 77 && a->ttl_s > 0);
    weft_addresses_free(&a);
    CHECK_EQ(dns_look("four.test", 0), 1);
    CHECK_EQ(dns_look("six.test", 0), 1);
    CHECK_EQ(dns_look("inner", 0), 1);
    CHECK_EQ(dns_look("any.wild.test", 0), 1);
    fails("six.test", "not with data");
    fails("none.test", "no such name");
    fails("dangling.test", "no such name");
    CHECK_EQ(weft_dns_query(&q, "txt.test", WEFT_DNS_TXT, DNS_SOON), 0);
    CHECK(q->n == 1 && strcmp(q->at[0].text, "one twothree") == 0);
    weft_dns_answer_free(&q);
    CHECK_EQ(weft_dns_query(&q, "mail.test", WEFT_DNS_MX, DNS_SOON), 0);
    CHECK(q->n == 2 && strcmp(q->at[0].name, "mx1.test") == 0 && q->at[1].priority == 20);
    weft_dns_answer_free(&q);
    CHECK_EQ(weft_dns_query(&q, "_chat._tcp.test", WEFT_DNS_SRV, DNS_SOON), 0);
    CHECK(q->n == 2 && q->at[0].port == 5223 && q->at[0].weight == 5);
    CHECK(strcmp(q->at[1].name, "low.test") == 0);
    weft_dns_answer_free(&q);
    CHECK_EQ(weft_address_ip(&seven, "192.0.2.7", 0), 0);
    CHECK_EQ(weft_dns_reverse(&q, &seven, DNS_SOON), 0);
    CHECK(q->n == 1 && strcmp(q->at[0].name, "seven.test") == 0);
    weft_dns_answer_free(&q);
    /* 60 strings of 120 bytes do not fit into a datagram: it is cut off, and asked for by TCP. */
    CHECK_EQ(weft_dns_query(&q, "long.test", WEFT_DNS_TXT, DNS_SOON), 0);
    CHECK_EQ(q->n, LONG);
    for (size_t i = 0; i < q->n; i++)
        CHECK_EQ(q->at[i].text_len, STRING);
    weft_dns_answer_free(&q);
}

static int zones(void *arg)
{
    (void)arg;
    zone_of(knot.port);
    zone_of(unbound.port);
    return 0;
}
DNS_ON_THREAD(zones)

static int unwilling(void *arg)
{
    (void)arg;
    struct weft_dns_options quick = {.tries = 2, .timeout_ms = 2000};
    use(at_port(knot.port), &quick);
    fails("www.elsewhere", "refused"); /* no zone of knot's */
    use(at_port(refusing.port), &quick);
    fails("www.test", "refused");
    use(at_port(lost.port), &(struct weft_dns_options){.tries = 2, .timeout_ms = 20000});
    fails("www.test", "the server failed"); /* whom it asks refuses */
    use("127.0.0.1:1", &quick);
    fails("www.test", "no server could be reached");
    return 0;
}
DNS_ON_THREAD(unwilling)

/* One server of several is enough, whatever is wrong with the others. */
static int one_of_several(void *arg)
{
    char servers[100];
    const int bad[] = {1, refusing.port, lost.port};
    (void)arg;
    for (size_t i = 0; i < WEFT__ARRAY_LEN(bad); i++) {
        (void)snprintf(servers, sizeof servers, "127.0.0.1:%d 127.0.0.1:%d", bad[i], knot.port);
        use(servers, NULL);
        int64_t began = weft_now_ns();
        CHECK_EQ(dns_look("www.test", 0), 2);
        CHECK(weft_now_ns() - began < weft_s(15)); /* nothing has run into its time-out of 20 s */
    }
    int udp, tcp, silent = dns_bind(&udp, &tcp); /* and nobody reads it */
    (void)snprintf(servers, sizeof servers, "127.0.0.1:%d 127.0.0.1:%d", silent, knot.port);
    use(servers, &(struct weft_dns_options){.timeout_ms = 200, .tries = 2});
    int64_t began = weft_now_ns();
    CHECK_EQ(dns_look("www.test", 0), 2);
    CHECK(weft_now_ns() - began >= weft_ms(200));
    close(udp);
    close(tcp);
    return 0;
}
DNS_ON_THREAD(one_of_several)

/* TTLs of a real server: an answer of 1 s, and a name that there is not, of 2 s by its SOA. */
static int kept(void *arg)
{
    struct weft_addresses *a = NULL;
    (void)arg;
    struct weft_resolve_options v4 = {.family = AF_INET};
    use(at_port(unbound.port), NULL);
    CHECK_EQ(weft_resolve(&a, "short.test", 0, NULL, DNS_SOON), 0);
    CHECK(a->ttl_s <= 1);
    weft_addresses_free(&a);
    use(at_port(knot.port), NULL);
    fails("none.test", "no such name");
    CHECK_EQ(weft_resolve(&a, "none.test", 0, &v4, WEFT_NOW), WEFT_ENAME); /* known */
    CHECK_EQ(dns_look("four.test", 0), 1);
    CHECK_EQ(weft_resolve(&a, "four.test", 0, NULL, WEFT_NOW), 0);
    CHECK(a->ttl_s <= 77);
    weft_addresses_free(&a);
    weft_dns_forget();
    CHECK_EQ(weft_resolve(&a, "four.test", 0, NULL, WEFT_NOW), -ETIMEDOUT);
    return 0;
}
DNS_ON_THREAD(kept)

/* --- Many at once ----------------------------------------------------------------------------- */

struct many {
    int next, ok;
};

static int one_of_many(void *arg)
{
    struct many *m = arg;
    char name[40];
    (void)snprintf(name, sizeof name, "n%d.wild.test", m->next++);
    m->ok += dns_look(name, AF_INET) == 1;
    return 0;
}

static void ten_thousand(const char *what, int port)
{
    struct many m = {.next = 0};
    struct weft_group *g = kit_group();
    int all = KIT_SLOW ? 500 : 10000;
    use(at_port(port), &(struct weft_dns_options){
                           .no_cache = true, .timeout_ms = KIT_SLOW ? 5000 : 1000, .tries = 6});
    int64_t began = weft_now_ns();
    for (int i = 0; i < all; i++)
        kit_go(g, "asks", one_of_many, &m);
    CHECK_EQ(weft_group_wait(g, WEFT_NEVER), 0);
    int64_t took_ns = weft_now_ns() - began;
    CHECK_EQ(m.ok, all);
    CHECK_EQ(weft_group_close(&g), 0);
    print_message("%s: %d look-ups at once, cache off, in %" PRId64 " ms: %.0f a second\n", what,
                  all, took_ns / 1000000, all * 1e9 / (double)took_ns);
}

static int many(void *arg)
{
    (void)arg;
    ten_thousand("knot", knot.port);
    ten_thousand("unbound", unbound.port);
    return 0;
}

int main(void)
{
    static const struct kit_case cases[] = {
        IN_TASK(zones),          ON_THREAD(zones_thread),
        IN_TASK(unwilling),      ON_THREAD(unwilling_thread),
        IN_TASK(one_of_several), ON_THREAD(one_of_several_thread),
        IN_TASK(kept),           ON_THREAD(kept_thread),
        IN_TASK(many),
    };
    write_zone();
    server_start(&knot, knot_attempt);
    unbound_asks = knot.port;
    server_start(&unbound, unbound_attempt);
    unbound_refuses = true;
    server_start(&refusing, unbound_attempt);
    unbound_refuses = false;
    unbound_asks = refusing.port;
    server_start(&lost, unbound_attempt);
    int failed = kit_main(cases, WEFT__ARRAY_LEN(cases));
    server_stop(&refusing);
    server_stop(&lost);
    server_stop(&unbound);
    server_stop(&knot);
    return failed;
}
