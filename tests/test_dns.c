/* SPDX-License-Identifier: MIT */
/*
 * Names, asked of a real server: every kind of record, search domains, the files.
 */
#include "dns_kit.h"

static const char *const records[] = {
    "--host-record=www.test,192.0.2.1,2001:db8::1,77",
    "--host-record=four.test,192.0.2.4",
    "--host-record=six.test,2001:db8::6",
    "--host-record=inner.corp,192.0.2.9",
    "--host-record=two.dots.corp,192.0.2.22",
    "--cname=alias.test,www.test",
    "--txt-record=txt.test,one two,three",
    "--mx-host=mail.test,mx2.test,20",
    "--mx-host=mail.test,mx1.test,10",
    "--srv-host=_chat._tcp.test,low.test,5222,20,0",
    "--srv-host=_chat._tcp.test,light.test,5223,10,1",
    "--srv-host=_chat._tcp.test,heavy.test,5224,10,65535",
    "--ptr-record=7.2.0.192.in-addr.arpa,seven.test",
    NULL,
};

static void use(const char *search)
{
    char servers[40];
    (void)snprintf(servers, sizeof servers, "127.0.0.1:%d", real.port);
    struct weft_dns_options o = {
        .servers = servers, .search = search, .resolv_conf = "", .hosts = "", .timeout_ms = 20000};
    CHECK_EQ(weft_dns_configure(&o), 0);
}

static int addresses(void *arg)
{
    struct weft_addresses *a = NULL;
    (void)arg;
    use("");
    CHECK_EQ(weft_resolve(&a, "WWW.Test", 8080, NULL, DNS_SOON), 0);
    CHECK_EQ(a->n, 2);
    CHECK(dns_has(a, "192.0.2.1:8080") && dns_has(a, "[2001:db8::1]:8080"));
    CHECK(a->ttl_s >= 76 && a->ttl_s <= 77);
    CHECK(strcmp(a->name, "www.test") == 0);
    weft_addresses_free(&a);
    CHECK(a == NULL);
    weft_addresses_free(&a);
    CHECK_EQ(weft_resolve(&a, "alias.test.", 1, NULL, DNS_SOON), 0);
    CHECK(a->n == 2 && strcmp(a->name, "www.test") == 0);
    weft_addresses_free(&a);
    CHECK_EQ(dns_look("www.test", AF_INET), 1);
    CHECK_EQ(dns_look("www.test", AF_INET6), 1);
    CHECK_EQ(dns_look("four.test", 0), 1);
    CHECK_EQ(dns_look("six.test", 0), 1);
    CHECK_EQ(dns_look("four.test", AF_INET6), WEFT_ENAME);
    dns_detail_has("four.test: the name exists");
    CHECK_EQ(dns_look("none.test", 0), WEFT_ENAME);
    dns_detail_has("none.test: no such name");
    return 0;
}
DNS_ON_THREAD(addresses)

static int asked(const char *name, enum weft_dns_type type, struct weft_dns_answer **ret)
{
    *ret = NULL;
    return weft_dns_query(ret, name, type, DNS_SOON);
}

static int queries(void *arg)
{
    struct weft_dns_answer *a;
    char text[WEFT_ENDPOINT_MAX];
    (void)arg;
    use("");
    CHECK_EQ(asked("www.test", WEFT_DNS_A, &a), 0);
    CHECK_EQ(a->n, 1);
    dns_print(text, sizeof text, &a->at[0].address);
    CHECK(strcmp(text, "192.0.2.1:0") == 0 && a->at[0].ttl_s >= 76);
    weft_dns_answer_free(&a);
    CHECK_EQ(asked("alias.test", WEFT_DNS_AAAA, &a), 0);
    CHECK(a->n == 1 && strcmp(a->name, "www.test") == 0);
    weft_dns_answer_free(&a);
    CHECK_EQ(asked("txt.test", WEFT_DNS_TXT, &a), 0);
    CHECK_EQ(a->n, 1);
    CHECK_EQ(a->at[0].text_len, 12);
    CHECK(strcmp(a->at[0].text, "one twothree") == 0 && a->at[0].name == NULL);
    weft_dns_answer_free(&a);
    CHECK_EQ(asked("mail.test", WEFT_DNS_MX, &a), 0);
    CHECK_EQ(a->n, 2);
    CHECK(a->at[0].priority == 10 && strcmp(a->at[0].name, "mx1.test") == 0);
    CHECK(a->at[1].priority == 20 && strcmp(a->at[1].name, "mx2.test") == 0);
    weft_dns_answer_free(&a);
    int heavy_first = 0;
    for (int i = 0; i < 20; i++) {
        CHECK_EQ(asked("_chat._tcp.test", WEFT_DNS_SRV, &a), 0);
        CHECK_EQ(a->n, 3);
        CHECK(a->at[0].priority == 10 && a->at[1].priority == 10 && a->at[2].priority == 20);
        CHECK(a->at[2].port == 5222 && strcmp(a->at[2].name, "low.test") == 0);
        heavy_first += a->at[0].port == 5224 && a->at[0].weight == 65535;
        weft_dns_answer_free(&a);
    }
    CHECK(heavy_first >= 19); /* the light one comes first once in 32,768 draws */
    CHECK_EQ(asked("7.2.0.192.in-addr.arpa", WEFT_DNS_PTR, &a), 0);
    CHECK(a->n == 1 && strcmp(a->at[0].name, "seven.test") == 0);
    weft_dns_answer_free(&a);
    struct weft_address seven, nobody;
    CHECK_EQ(weft_address_ip(&seven, "192.0.2.7", 99), 0);
    CHECK_EQ(weft_address_ip(&nobody, "192.0.2.99", 0), 0);
    CHECK_EQ(weft_dns_reverse(&a, &seven, DNS_SOON), 0);
    CHECK(a->n == 1 && strcmp(a->at[0].name, "seven.test") == 0);
    weft_dns_answer_free(&a);
    CHECK_EQ(weft_dns_reverse(&a, &nobody, DNS_SOON), WEFT_ENAME);
    CHECK_EQ(asked("www.test", WEFT_DNS_SRV, &a), WEFT_ENAME);
    CHECK_EQ(asked("www.test", (enum weft_dns_type)99, &a), -EINVAL);
    CHECK_EQ(weft_dns_query(NULL, "www.test", WEFT_DNS_A, DNS_SOON), -EINVAL);
    CHECK(a == NULL);
    return 0;
}
DNS_ON_THREAD(queries)

static int search(void *arg)
{
    struct weft_addresses *a = NULL;
    (void)arg;
    use("nothing.test, corp");
    CHECK_EQ(weft_resolve(&a, "inner", 1, NULL, DNS_SOON), 0);
    CHECK(strcmp(a->name, "inner.corp") == 0);
    weft_addresses_free(&a);
    CHECK_EQ(dns_look("two.dots", 0), 1); /* as it is first, and then completed */
    CHECK_EQ(dns_look("www.test", 0), 2);
    CHECK_EQ(dns_look("inner.", 0), WEFT_ENAME);
    struct weft_resolve_options no = {.no_search = true};
    CHECK_EQ(weft_resolve(&a, "inner", 1, &no, DNS_SOON), WEFT_ENAME);
    struct weft_dns_answer *q = NULL;
    CHECK_EQ(asked("inner", WEFT_DNS_A, &q), WEFT_ENAME);
    CHECK_EQ(dns_look("outer", 0), WEFT_ENAME);
    dns_detail_has("outer:");
    return 0;
}
DNS_ON_THREAD(search)

/* RFC 6761, section 6.3: addresses, and of other types none. */
static void localhost_records(void)
{
    static const struct {
        enum weft_dns_type type;
        const char *address;
    } known[] = {{WEFT_DNS_A, "127.0.0.1:0"}, {WEFT_DNS_AAAA, "[::1]:0"}};
    struct weft_dns_answer *q = NULL;
    char text[WEFT_ENDPOINT_MAX];
    for (size_t i = 0; i < WEFT__ARRAY_LEN(known); i++) {
        CHECK_EQ(weft_dns_query(&q, "Db.LocalHost.", known[i].type, WEFT_NOW), 0);
        CHECK(q->n == 1 && strcmp(q->name, "db.localhost") == 0 && q->ttl_s == 0);
        dns_print(text, sizeof text, &q->at[0].address);
        CHECK(strcmp(text, known[i].address) == 0);
        weft_dns_answer_free(&q);
    }
    CHECK_EQ(weft_dns_query(&q, "localhost", WEFT_DNS_MX, WEFT_NOW), WEFT_ENAME);
    dns_detail_has("localhost: the name exists");
}

static int without_asking(void *arg)
{
    struct weft_addresses *a = NULL;
    (void)arg;
    /* Whoever asks this one is told nothing: it is where nobody listens. */
    struct weft_dns_options o = {.servers = "127.0.0.1:1", .hosts = "", .resolv_conf = ""};
    CHECK_EQ(weft_dns_configure(&o), 0);
    CHECK_EQ(weft_resolve(&a, "192.0.2.200", 7, NULL, WEFT_NOW), 0);
    CHECK(a->n == 1 && dns_has(a, "192.0.2.200:7") && strcmp(a->name, "192.0.2.200") == 0);
    weft_addresses_free(&a);
    CHECK_EQ(weft_resolve(&a, "::1", 7, NULL, WEFT_NOW), 0);
    CHECK(dns_has(a, "[::1]:7"));
    weft_addresses_free(&a);
    CHECK_EQ(weft_resolve(&a, "LocalHost", 7, NULL, WEFT_NOW), 0);
    CHECK(a->n == 2 && dns_has(a, "127.0.0.1:7") && dns_has(a, "[::1]:7"));
    weft_addresses_free(&a);
    CHECK_EQ(dns_look("db.localhost.", AF_INET), 1);
    localhost_records();
    o.search = "localhost";
    CHECK_EQ(weft_dns_configure(&o), 0);
    CHECK_EQ(weft_resolve(&a, "db", 7, NULL, WEFT_NOW), 0);
    CHECK(a->n == 2 && dns_has(a, "127.0.0.1:7") && dns_has(a, "[::1]:7"));
    CHECK(strcmp(a->name, "db.localhost") == 0 && a->ttl_s == 0);
    weft_addresses_free(&a);
    o.search = "";
    CHECK_EQ(weft_dns_configure(&o), 0);
    CHECK_EQ(dns_look("::1", AF_INET), WEFT_ENAME);
    CHECK_EQ(dns_look("1.2.3", 0), WEFT_ENAME);
    dns_detail_has("1.2.3: neither");
    CHECK_EQ(dns_look("somewhere.test", 0), WEFT_ENAME);
    dns_detail_has("somewhere.test: no server could be reached");
    return 0;
}
DNS_ON_THREAD(without_asking)

static int bad_names(void *arg)
{
    char label[70], name[300] = "";
    (void)arg;
    use("");
    memset(label, 'x', 64);
    label[64] = '\0';
    CHECK_EQ(dns_look(label, 0), WEFT_ENAME);
    dns_detail_has("63 bytes");
    strcat(name, "yy.");
    for (int i = 0; i < 123; i++)
        strcat(name, "y.");
    strcat(name, "test.");
    CHECK_EQ(dns_look(name, 0), WEFT_ENAME); /* 253 bytes and a dot: may be asked for */
    dns_detail_has("no such name");
    strcat(name, "y");
    CHECK_EQ(dns_look(name, 0), WEFT_ENAME);
    dns_detail_has("at most 253");
    static const char *const bad[] = {"", ".", "..", "a..b", ".a", "a b", "a\\b", "b\xc3\xbc"};
    for (size_t i = 0; i < WEFT__ARRAY_LEN(bad); i++) {
        CHECK_EQ(dns_look(bad[i], 0), WEFT_ENAME);
        dns_detail_has("not a name");
    }
    struct weft_addresses *a = NULL;
    CHECK_EQ(weft_resolve(&a, NULL, 1, NULL, DNS_SOON), -EINVAL);
    CHECK_EQ(weft_resolve(&a, "www.test", 65536, NULL, DNS_SOON), -EINVAL);
    CHECK_EQ(weft_resolve(&a, "www.test", -1, NULL, DNS_SOON), -EINVAL);
    CHECK_EQ(weft_resolve(NULL, "www.test", 1, NULL, DNS_SOON), -EINVAL);
    CHECK_EQ(dns_look("www.test", AF_UNIX), -EINVAL);
    return 0;
}
DNS_ON_THREAD(bad_names)

static void reverse_is(const char *number, const char *name)
{
    struct weft_dns_answer *q = NULL;
    struct weft_address a;
    CHECK_EQ(weft_address_ip(&a, number, 0), 0);
    CHECK_EQ(weft_dns_reverse(&q, &a, DNS_SOON), 0);
    CHECK(strcmp(q->at[0].name, name) == 0);
    weft_dns_answer_free(&q);
}

static int files(void *arg)
{
    char folder[] = "/tmp/weft-dns-XXXXXX", resolv[64], hosts[64], text[200];
    struct weft_dns_answer *q = NULL;
    struct weft_address nine;
    (void)arg;
    CHECK(mkdtemp(folder) != NULL);
    (void)snprintf(resolv, sizeof resolv, "%s/resolv.conf", folder);
    (void)snprintf(hosts, sizeof hosts, "%s/hosts", folder);
    struct weft_dns_options o = {.resolv_conf = resolv, .hosts = hosts, .timeout_ms = 20000};
    CHECK_EQ(weft_dns_configure(&o), 0);
    dns_write(hosts, "# comment\n192.0.2.9 nine.hosts Nine\n2001:db8::9\tnine # six\nbad line\n"
                     "::ffff:192.0.2.11 eleven\n");
    dns_write(resolv, "nameserver 127.0.0.1:1\n");
    CHECK_EQ(dns_look("nine", 0), 2);
    CHECK_EQ(dns_look("NINE.hosts.", 0), 1);
    CHECK_EQ(weft_address_ip(&nine, "192.0.2.9", 5), 0);
    CHECK_EQ(weft_dns_reverse(&q, &nine, DNS_SOON), 0);
    CHECK_EQ(q->n, 2);
    CHECK(strcmp(q->at[0].name, "nine.hosts") == 0 && strcmp(q->at[1].name, "nine") == 0);
    weft_dns_answer_free(&q);
    /* An IPv4 address is the same host in its IPv6 form, here and in the file. */
    reverse_is("::ffff:192.0.2.9", "nine.hosts");
    reverse_is("::ffff:192.0.2.11", "eleven");
    reverse_is("192.0.2.11", "eleven");
    CHECK_EQ(dns_look("four.test", 0), WEFT_ENAME);
    dns_detail_has("no server could be reached");
    /* Another server: what was learned from the first is forgotten. */
    CHECK_EQ(weft_yield(), 0);
    (void)snprintf(text, sizeof text, "nameserver 127.0.0.1:%d\nsearch corp\n", real.port);
    dns_write(resolv, text);
    CHECK_EQ(weft_sleep_ms(0), 0); /* a turn of the loop */
    CHECK_EQ(dns_look("four.test", 0), 1);
    CHECK_EQ(dns_look("inner", 0), 1);
    CHECK_EQ(dns_look("ten", 0), WEFT_ENAME);
    dns_write(hosts, "192.0.2.10 ten\n");
    CHECK_EQ(weft_sleep_ms(0), 0);
    CHECK_EQ(dns_look("ten", 0), 1);
    CHECK_EQ(dns_look("nine", 0), WEFT_ENAME);
    CHECK_EQ(unlink(hosts), 0);
    CHECK_EQ(weft_sleep_ms(0), 0);
    CHECK_EQ(dns_look("ten", 0), WEFT_ENAME);
    CHECK_EQ(unlink(resolv), 0);
    CHECK_EQ(rmdir(folder), 0);
    return 0;
}
DNS_ON_THREAD(files)

static int options(void *arg)
{
    static const struct {
        struct weft_dns_options o;
        const char *what;
    } bad[] = {
        {{.servers = "nowhere"}, "servers"},
        {{.servers = "1.2.3.4:0"}, "servers"},
        {{.servers = "[::1"}, "servers"},
        {{.servers = " , "}, "servers"},
        {{.servers = "1.1.1.1 1.1.1.1 1.1.1.1 1.1.1.1 1.1.1.1 1.1.1.1 1.1.1.1 1.1.1.1 1.1.1.1"},
         "more than 8"},
        {{.search = "a..b"}, "search"},
        {{.ndots = -1}, "ndots"},
        {{.timeout_ms = 60001}, "timeout_ms"},
        {{.tries = 11}, "tries"},
        {{.cache_entries = 65537}, "cache_entries"},
        {{.ttl_max_ms = -1}, "ttl_max_ms"},
    };
    (void)arg;
    for (size_t i = 0; i < WEFT__ARRAY_LEN(bad); i++) {
        CHECK_EQ(weft_dns_configure(&bad[i].o), -EINVAL);
        dns_detail_has(bad[i].what);
    }
    CHECK_EQ(weft_dns_configure(&(struct weft_dns_options){.servers = "[::1]:53, ::2 1.2.3.4"}), 0);
    CHECK_EQ(weft_dns_configure(NULL), 0);
    return 0;
}
DNS_ON_THREAD(options)

static void in_callback(void *arg)
{
    struct weft_addresses *a = NULL;
    *(int *)arg = weft_resolve(&a, "localhost", 1, NULL, WEFT_NOW);
}

static int callbacks(void *arg)
{
    int err = 0;
    (void)arg;
    kit_as_callback(in_callback, &err);
    CHECK_EQ(err, -EDEADLK);
    return 0;
}

int main(void)
{
    static const struct kit_case cases[] = {
        IN_TASK(addresses),      ON_THREAD(addresses_thread),
        IN_TASK(queries),        ON_THREAD(queries_thread),
        IN_TASK(search),         ON_THREAD(search_thread),
        IN_TASK(without_asking), ON_THREAD(without_asking_thread),
        IN_TASK(bad_names),      ON_THREAD(bad_names_thread),
        IN_TASK(files),          ON_THREAD(files_thread),
        IN_TASK(options),        ON_THREAD(options_thread),
        IN_TASK(callbacks),
    };
    real_start(records);
    int failed = kit_main(cases, WEFT__ARRAY_LEN(cases));
    real_end();
    return failed;
}
