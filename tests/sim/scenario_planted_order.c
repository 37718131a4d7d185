/* SPDX-License-Identifier: MIT */
/*
 * Planted: an order that is placed twice. Customers order from a shop over HTTP, with connections
 * that are kept, and for a while the network is cut.
 *
 * The mistake: who has no answer by his deadline sends the POST again, and the shop takes it for
 * another order, though the first one had arrived and only its answer was lost. With -DFIXED the
 * shop knows an order by its number, and answers what it has as it did before.
 */
#include "scenario.h"

#define CUSTOMERS 2
#define ORDERS 4
#define TRIES 50

static struct {
    struct weft_sim *sim;
    int placed[CUSTOMERS * ORDERS];
} all;

/* --- The shop ------------------------------------------------------------------------------ */

static int order(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    int number = atoi(weft_http_param(q, "number"));
    const void *what;
    size_t len;
    (void)arg;
    int err = weft_http_body(q, &what, &len, weft_after_s(5));
    if (err < 0)
        return err;
#ifdef FIXED
    if (all.placed[number] > 0)
        return weft_http_text(r, 200, "placed %d", number);
#endif
    all.placed[number]++;
    err = weft_sleep_ms(pick(all.sim, 0, 20)); /* the stock is asked, and the bank */
    return err < 0 ? err : weft_http_text(r, 200, "placed %d", number);
}

static int shop(void *arg)
{
    struct weft_http_app *app = NULL;
    struct weft_group *g = NULL;
    (void)arg;
    int err = weft_http_app_open(&app);
    if (err == 0)
        err = weft_http_route(app, "POST /order/:number", order, NULL);
    if (err == 0)
        err = weft_group_open(&g);
    if (err == 0)
        err = weft_http_serve(g, "tcp://*:80", app, NULL);
    if (err == 0)
        err = weft_sleep_until(WEFT_NEVER);
    (void)weft_group_close(&g);
    weft_http_app_close(&app);
    return err;
}

/* --- Customers ----------------------------------------------------------------------------- */

static int place(struct weft_http_client *c, int number)
{
    static const char what[] = "a loom";
    struct weft_http_reply *r = NULL;
    char url[64];
    snprintf(url, sizeof url, "http://shop/order/%d", number);
    int err = weft_http_post(c, url, "text/plain", what, strlen(what), &r, weft_after_ms(500));
    if (err == 0 && weft_http_reply_status(r) != 200)
        err = weft_sim_fail(NULL, "order %d: status %d", number, weft_http_reply_status(r));
    weft_http_reply_close(&r);
    return err;
}

static int customer(void *arg)
{
    int first = *(const int *)arg, err = 0;
    struct weft_http_client *c = NULL;
    MUST(weft_http_client_open(&c, NULL));
    for (int i = 0; err == 0 && i < ORDERS; i++) {
        for (int tries = 0; (err = place(c, first + i)) < 0 && ++tries < TRIES;) {
            if (err == WEFT_ECHECK || weft_sleep_ms(100) < 0)
                break;
        }
        if (err == 0)
            err = weft_sleep_ms(pick(all.sim, 0, 300));
    }
    weft_http_client_close(&c);
    return err;
}

static void cut(struct weft_sim *sim, void *arg)
{
    (void)arg;
    MUST(weft_sim_partition(sim, "shop", "*"));
}

static void heal(struct weft_sim *sim, void *arg)
{
    (void)arg;
    MUST(weft_sim_heal(sim, "*", "*"));
}

static int ended(struct weft_sim *sim)
{
    for (int i = 0; i < CUSTOMERS * ORDERS; i++)
        if (all.placed[i] != 1)
            return weft_sim_fail(sim, "order %d was placed %d times", i, all.placed[i]);
    return 0;
}

int main(void)
{
    static int first[CUSTOMERS];
    struct weft_sim *sim = scene();
    int64_t when;
    char name[24];
    all.sim = sim;
    service(sim, "shop", shop, NULL);
    for (int i = 0; i < CUSTOMERS; i++) {
        first[i] = i * ORDERS;
        snprintf(name, sizeof name, "customer-%d", i);
        MUST(weft_sim_host(sim, name, customer, &first[i]));
    }
    rough_links(sim);
    when = weft_ms(pick(sim, 10, 2000));
    MUST(weft_sim_at(sim, when, cut, NULL));
    when += weft_ms(pick(sim, 100, 2000));
    MUST(weft_sim_at(sim, when, heal, NULL));
    return play(sim, weft_s(600), ended);
}
