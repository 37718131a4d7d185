/* SPDX-License-Identifier: MIT */
/*
 * Planted: a lost wake-up. A workshop takes orders from its connections; its one worker makes them,
 * notes in a log when it has nothing to do, and sleeps until it is woken.
 *
 * The mistake: between the look at the queue and the wait for the event the worker writes its log,
 * and who writes a file waits. An order that comes in then sets an event that is cleared before
 * anybody waits for it. With -DFIXED the event is cleared before the look.
 */
#include "scenario.h"

#define ORDERS 6
#define QUEUE 16

static struct {
    struct weft_sim *sim;
    struct weft_stream *customers[QUEUE]; /* who has ordered and not been served */
    int waiting;
    struct weft_event filled;
    struct weft_file *log;
} shop;

/* Makes what was ordered first; takes its time. */
static int make_one(void)
{
    struct weft_stream *customer = shop.customers[0];
    int err = weft_sleep_ms(pick(shop.sim, 0, 8));
    shop.waiting--;
    memmove(shop.customers, shop.customers + 1, (size_t)shop.waiting * sizeof shop.customers[0]);
    return err < 0 ? err : weft_write(customer, "*", 1, WEFT_NEVER);
}

static int worker(void *arg)
{
    int err = 0;
    (void)arg;
    while (err == 0) {
#ifdef FIXED
        weft_event_clear(&shop.filled);
#endif
        if (shop.waiting > 0) {
            err = make_one();
            continue;
        }
        err = weft_file_append(shop.log, "idle\n", 5, WEFT_NEVER);
#ifndef FIXED
        weft_event_clear(&shop.filled);
#endif
        if (err == 0)
            err = weft_event_wait(&shop.filled, WEFT_NEVER);
    }
    return err;
}

/* A byte is an order. */
static int counter(struct weft_stream *s, void *arg)
{
    char order;
    ssize_t n;
    (void)arg;
    while ((n = weft_read(s, &order, 1, WEFT_NEVER)) > 0) {
        if (shop.waiting == QUEUE)
            return WEFT_ELIMIT;
        shop.customers[shop.waiting++] = s;
        weft_event_set(&shop.filled);
    }
    return (int)n;
}

static int workshop(void *arg)
{
    struct weft_group *g = NULL;
    (void)arg;
    int err = weft_file_open(&shop.log, "/var/log/workshop", WEFT_FILE_APPEND | WEFT_FILE_CREATE, 0,
                             WEFT_NEVER);
    if (err == 0)
        err = weft_group_open(&g);
    if (err == 0)
        err = weft_group_go(g, "worker", worker, NULL);
    if (err == 0)
        err = weft_serve(g, "tcp://*:80", NULL, counter, NULL);
    if (err == 0)
        err = weft_group_wait(g, WEFT_NEVER);
    int closed = weft_group_close(&g);
    (void)weft_file_close(&shop.log, WEFT_NEVER);
    return err < 0 ? err : closed;
}

/* Orders now and then, then waits for all that it has ordered. */
static int customer(void *arg)
{
    struct weft_stream *s = NULL;
    char goods[ORDERS];
    (void)arg;
    int err = weft_sleep_ms(10);
    if (err == 0)
        err = weft_dial(&s, "tcp://workshop:80", NULL, WEFT_NEVER);
    for (int i = 0; err == 0 && i < ORDERS; i++) {
        err = weft_write(s, "?", 1, WEFT_NEVER);
        if (err == 0)
            err = weft_sleep_ms(pick(shop.sim, 0, 20));
    }
    if (err == 0)
        err = weft_read_full(s, goods, sizeof goods, WEFT_NEVER);
    int closed = weft_close(&s, WEFT_NEVER);
    return err < 0 ? err : closed;
}

int main(void)
{
    struct weft_sim *sim = scene();
    shop.sim = sim;
    service(sim, "workshop", workshop, NULL);
    MUST(weft_sim_host(sim, "customer", customer, NULL));
    MUST(weft_sim_link(sim, "*", "*", &(struct weft_link){.jitter_us = 1000}));
    MUST(weft_sim_disk(sim, "workshop", &(struct weft_sim_disk){.latency_us = 500}));
    return play(sim, weft_s(100000), NULL);
}
