/* SPDX-License-Identifier: MIT */
/*
 * Names inside simulations: those of the hosts, and nothing of the machine's.
 */
#include "dns_kit.h"
#include "sim_host_kit.h"

static void tell(void *arg, int result, struct weft_addresses *a)
{
    *(int *)arg = result == 0 ? (int)a->n : result;
    weft_addresses_free(&a);
}

static int client(void *arg)
{
    struct weft_addresses *a = NULL;
    struct weft_dns_answer *q = NULL;
    struct weft_group *g = kit_group();
    char text[WEFT_ENDPOINT_MAX];
    int found = 0;
    (void)arg;
    CHECK_EQ(weft_dns_configure(&(struct weft_dns_options){.servers = "192.0.2.1"}), 0);
    CHECK_EQ(weft_dns_configure(&(struct weft_dns_options){.servers = "x"}), -EINVAL);
    int64_t began = weft_now_ns();
    CHECK_EQ(weft_resolve(&a, "Server", 80, NULL, WEFT_NEVER), 0);
    CHECK(weft_now_ns() > began);
    CHECK_EQ(a->n, 2);
    CHECK(a->at[0].sa.ss_family == AF_INET && a->at[1].sa.ss_family == AF_INET6);
    CHECK_EQ(weft_address_port(&a->at[0]), 80);
    CHECK_EQ(weft_address_port(&a->at[1]), 80);
    weft_addresses_free(&a);
    /* Both can be dialled. */
    for (int family = 0; family < 2; family++) {
        struct weft_resolve_options o = {.family = family == 0 ? AF_INET : AF_INET6};
        CHECK_EQ(weft_resolve(&a, "server", 80, &o, WEFT_NEVER), 0);
        CHECK_EQ(a->n, 1);
        struct weft_endpoint e = {.kind = WEFT_ENDPOINT_TCP, .fd = -1, .address = a->at[0]};
        CHECK(weft_endpoint_print(&e, text, sizeof text) > 0);
        weft_addresses_free(&a);
        struct weft_stream *s = NULL;
        CHECK_EQ(weft_dial(&s, text, NULL, weft_after_s(10)), 0);
        CHECK_EQ(weft_close(&s, weft_after_s(10)), 0);
    }
    CHECK_EQ(weft_resolve(&a, "www.debian.org", 80, NULL, WEFT_NEVER), WEFT_ENAME);
    dns_detail_has("no such name");
    CHECK_EQ(weft_resolve(&a, "server", 80, NULL, weft_after_us(1)), -ETIMEDOUT);
    CHECK_EQ(dns_look("localhost", 0), 2);
    CHECK_EQ(weft_dns_query(&q, "server", WEFT_DNS_AAAA, WEFT_NEVER), 0);
    CHECK(q->n == 1 && q->at[0].address.sa.ss_family == AF_INET6);
    weft_dns_answer_free(&q);
    CHECK_EQ(weft_dns_query(&q, "server", WEFT_DNS_SRV, WEFT_NEVER), WEFT_EOUTSIDE);
    dns_detail_has("weft_dns_query of SRV");
    struct weft_address one;
    CHECK_EQ(weft_address_ip(&one, "192.0.2.1", 0), 0);
    CHECK_EQ(weft_dns_reverse(&q, &one, WEFT_NEVER), WEFT_EOUTSIDE);
    CHECK_EQ(weft_lookup_open(NULL, g, "server", 1, NULL, WEFT_NEVER, tell, &found), 0);
    CHECK_EQ(found, 0);
    CHECK_EQ(weft_group_wait(g, WEFT_NEVER), 0);
    CHECK_EQ(found, 2);
    CHECK_EQ(weft_lookup_open(NULL, g, "nobody", 1, NULL, WEFT_NEVER, tell, &found), 0);
    CHECK_EQ(found, 2);
    CHECK_EQ(weft_group_wait(g, WEFT_NEVER), 0);
    CHECK_EQ(found, WEFT_ENAME); /* told as outside */
    CHECK_EQ(weft_lookup_open(NULL, g, "no..body", 1, NULL, WEFT_NEVER, tell, &found), WEFT_ENAME);
    CHECK_EQ(weft_group_close(&g), 0);
    return 0;
}

static int server(void *arg)
{
    struct weft_listener *l = NULL;
    (void)arg;
    CHECK_EQ(weft_listen(&l, "tcp://*:80", NULL), 0);
    for (int i = 0; i < 2; i++) {
        struct weft_stream *s = NULL;
        char c;
        CHECK_EQ(weft_accept(l, &s, WEFT_NEVER), 0);
        CHECK_EQ(weft_read(s, &c, 1, weft_after_s(30)), 0);
        CHECK_EQ(weft_close(&s, weft_after_s(10)), 0);
    }
    weft_listener_close(&l);
    return 0;
}

static void names_of_hosts(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct weft_sim *sim = sim_open(seed, false);
        CHECK_EQ(weft_sim_host(sim, "server", server, NULL), 0);
        CHECK_EQ(weft_sim_host(sim, "client", client, NULL), 0);
        sim_end(sim);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(names_of_hosts)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
