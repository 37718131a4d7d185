/* SPDX-License-Identifier: MIT */
/*
 * Look-ups that are given up, in every state in which they can be: by a cancel, a deadline, a
 * close. Nobody is told afterwards, and nothing is left in the resolver or in the loop.
 */
#include <weft/weft.h>

#include "dns/dns.h"
#include "dns_kit.h"

enum way { BY_CANCEL, BY_DEADLINE, BY_CLOSE, WAYS };

/* What is asked for, and how often the server has seen it when the state is reached. */
static const struct state {
    const char *what, *host;
    size_t seen;
    bool crowded; /* 256 other questions are in front of it */
    bool again;   /* time-outs are short */
} states[] = {
    {"before anything is sent", "silent-first.test", 0, false, false},
    {"waiting for its turn", "silent-queued.test", 0, true, false},
    {"asked by UDP", "silent-asked.test", 2, false, false},
    {"asked by UDP, again", "silent-again.test", 4, false, true},
    {"asked by TCP", "mute.test", 3, false, false},
    {"half an answer came by TCP", "torn.test", 3, false, false},
    {"at the next candidate", "silent-next", 4, false, false},
    {"one family is known, the other is not", "sixless.test", 2, false, false},
};

struct told {
    int times, result;
};

static void tell(void *arg, int result, struct weft_addresses *a)
{
    struct told *t = arg;
    t->times++;
    t->result = result;
    weft_addresses_free(&a);
}

static struct weft__dns *resolver(void)
{
    return weft__dns_of_flow(weft__flow_self(), false);
}

static void use(const struct state *s)
{
    wild_use(&(struct weft_dns_options){
        .timeout_ms = s->again ? 30 : 20000, .tries = 10, .search = "gone.test"});
}

static struct weft_group *crowd(const struct state *s)
{
    struct weft_group *g = s->crowded ? kit_group() : NULL;
    static struct told nobody;
    char name[40];
    for (int i = 0; g != NULL && i < WEFT__DNS_ASKED / 2; i++) {
        (void)snprintf(name, sizeof name, "silent.crowd%d.test", i);
        CHECK_EQ(weft_lookup_open(NULL, g, name, 1, NULL, WEFT_NEVER, tell, &nobody), 0);
    }
    return g;
}

/* What was cancelled comes back from the kernel in the loop's next turns. */
static void until_empty(uint64_t in_flight)
{
    struct weft__dns *n = resolver();
    const struct weft__sys *sys = weft_loop_current()->sys;
    for (int i = 0; i < 1000 && (n->n_asked > 0 || sys->in_flight != in_flight); i++)
        CHECK_EQ(weft_sleep_ms(1), 0);
    CHECK_EQ(sys->in_flight, in_flight);
    CHECK_EQ(n->n_asked, 0);
    CHECK_EQ(n->n_lookups, 0);
    CHECK(weft__list_empty(&n->queued) && weft__list_empty(&n->ready));
}

static void one_callback(const struct state *s, enum way way)
{
    struct told t = {.times = 0};
    struct weft_lookup *l = NULL;
    use(s);
    uint64_t before = weft_loop_current()->sys->in_flight;
    struct weft_group *others = crowd(s), *g = kit_group();
    weft_deadline d = way == BY_DEADLINE ? weft_after_ms(s->again ? 100 : 60) : WEFT_NEVER;
    CHECK_EQ(weft_lookup_open(way == BY_CLOSE ? &l : NULL, g, s->host, 1, NULL, d, tell, &t), 0);
    if (way != BY_DEADLINE && s->seen > 0) {
        uint64_t seen;
        while (wild_queries() < s->seen) {
            CHECK(weft_poll(wild.seen, POLLIN, DNS_SOON) > 0);
            (void)!read(wild.seen, &seen, 8);
        }
    }
    if (way == BY_CANCEL)
        weft_group_cancel(g);
    weft_lookup_close(&l);
    CHECK_EQ(t.times, 0); /* never within the call that gave it up */
    if (way != BY_CLOSE)
        (void)!weft_group_wait(g, DNS_SOON);
    CHECK_EQ(t.times, way == BY_CLOSE ? 0 : 1);
    if (way != BY_CLOSE)
        CHECK_EQ(t.result, way == BY_CANCEL ? -ECANCELED : -ETIMEDOUT);
    if (others != NULL)
        weft_group_cancel(others);
    (void)!weft_group_close(&others);
    until_empty(before);
    CHECK_EQ(dns_look("plain.test", AF_INET), 1); /* the resolver goes on */
    CHECK_EQ(t.times, way == BY_CLOSE ? 0 : 1);
    (void)!weft_group_close(&g);
}

struct asking {
    const struct state *s;
    weft_deadline d;
    int result;
};

static int asks(void *arg)
{
    struct asking *a = arg;
    struct weft_addresses *found = NULL;
    a->result = weft_resolve(&found, a->s->host, 1, NULL, a->d);
    CHECK(found == NULL);
    return 0;
}

static void one_task(const struct state *s, enum way way)
{
    struct asking a = {.s = s, .d = WEFT_NEVER};
    use(s);
    uint64_t before = weft_loop_current()->sys->in_flight;
    struct weft_group *others = crowd(s), *g = kit_group();
    if (way == BY_DEADLINE)
        a.d = weft_after_ms(s->again ? 100 : 60);
    kit_go(g, "asks", asks, &a);
    if (way == BY_CANCEL) {
        uint64_t seen;
        CHECK_EQ(weft_yield(), 0);
        while (wild_queries() < s->seen) {
            CHECK(weft_poll(wild.seen, POLLIN, DNS_SOON) > 0);
            (void)!read(wild.seen, &seen, 8);
        }
        weft_group_cancel(g);
    }
    (void)!weft_group_wait(g, DNS_SOON);
    CHECK_EQ(a.result, way == BY_CANCEL ? -ECANCELED : -ETIMEDOUT);
    if (others != NULL)
        weft_group_cancel(others);
    (void)!weft_group_close(&others);
    until_empty(before);
    CHECK_EQ(dns_look("plain.test", AF_INET), 1);
    (void)!weft_group_close(&g);
}

static int in_callbacks(void *arg)
{
    (void)arg;
    for (size_t i = 0; i < WEFT__ARRAY_LEN(states); i++)
        for (int way = 0; way < WAYS; way++)
            one_callback(&states[i], (enum way)way);
    return 0;
}

static int in_tasks(void *arg)
{
    (void)arg;
    for (size_t i = 0; i < WEFT__ARRAY_LEN(states); i++)
        for (int way = 0; way < BY_CLOSE; way++)
            one_task(&states[i], (enum way)way);
    return 0;
}

/* --- Plain threads ---------------------------------------------------------------------------- */

static int thread_asks(void *arg)
{
    use(((struct asking *)arg)->s);
    return asks(arg);
}

static void in_threads(const char *driver)
{
    (void)driver;
    for (size_t i = 0; i < WEFT__ARRAY_LEN(states); i++)
        for (int way = 0; way < BY_CLOSE && !states[i].crowded; way++) {
            struct asking a = {.s = &states[i], .d = WEFT_NEVER};
            struct weft_group *g = kit_group();
            if (way == BY_DEADLINE)
                a.d = weft_after_ms(60);
            wild_reset();
            kit_go(g, "asks", thread_asks, &a);
            uint64_t seen;
            while (way == BY_CANCEL && wild_queries() < states[i].seen) {
                CHECK(weft_poll(wild.seen, POLLIN, DNS_SOON) > 0);
                (void)!read(wild.seen, &seen, 8);
            }
            if (way == BY_CANCEL)
                weft_group_cancel(g);
            (void)!weft_group_wait(g, DNS_SOON);
            CHECK_EQ(a.result, way == BY_CANCEL ? -ECANCELED : -ETIMEDOUT);
            (void)!weft_group_close(&g);
        }
}

int main(void)
{
    static const struct kit_case cases[] = {
        IN_TASK(in_callbacks),
        IN_TASK(in_tasks),
        ON_THREAD(in_threads),
    };
    wild_start();
    int failed = kit_main(cases, WEFT__ARRAY_LEN(cases));
    wild_end();
    return failed;
}
