/* SPDX-License-Identifier: MIT */
/*
 * Planted: a retry without a bound. A front end asks a cache that runs beside it on the same host;
 * the cache starts anew now and then and is away for a moment.
 *
 * The mistake: the front end dials again at once when it is refused, and again, until the cache is
 * back; on one host that takes no time, only a processor. With -DFIXED it waits between, and at
 * last goes without the cache.
 */
#include "scenario.h"

#define PAGES 20
#define TRIES 5

static struct weft_sim *simulation;
static int from_cache, without;

/* --- The cache ----------------------------------------------------------------------------- */

static int look_up(struct weft_stream *s, void *arg)
{
    char line[64];
    ssize_t n = weft_read_until(s, line, sizeof line, '\n', weft_after_s(1));
    (void)arg;
    return n > 0 ? weft_write(s, line, (size_t)n, weft_after_s(1)) : (int)n;
}

/* One life of it. */
static int cache_once(void)
{
    struct weft_server *server = NULL;
    struct weft_group *g = NULL;
    int err = weft_group_open(&g);
    if (err == 0)
        err = weft_server_open(&server, g, "tcp://127.0.0.1:11211", NULL, look_up, NULL, NULL);
    if (err == 0)
        err = weft_sleep_ms(pick(simulation, 500, 1500));
    if (err == 0)
        err = weft_server_drain(server, weft_after_ms(100));
    (void)weft_group_close(&g);
    return err;
}

static int cache(void *arg)
{
    int err = 0;
    (void)arg;
    while (err == 0 || err == -ETIMEDOUT) {
        err = cache_once();
        if (err == 0)
            err = weft_sleep_ms(2);
    }
    return err;
}

/* --- The front end ------------------------------------------------------------------------- */

static int dial_cache(struct weft_stream **ret)
{
    int err;
#ifdef FIXED
    int tries = 0;
    while ((err = weft_dial(ret, "tcp://127.0.0.1:11211", NULL, weft_after_s(1))) ==
               -ECONNREFUSED &&
           ++tries < TRIES)
        if ((err = weft_sleep_ms(tries)) < 0)
            break;
#else
    do
        err = weft_dial(ret, "tcp://127.0.0.1:11211", NULL, weft_after_s(1));
    while (err == -ECONNREFUSED);
#endif
    return err;
}

static int page(int number)
{
    struct weft_stream *s = NULL;
    char answer[16];
    int err = dial_cache(&s);
    if (err == 0)
        err = weft_printf(s, weft_after_s(1), "page-%05d\n", number);
    if (err == 0)
        err = weft_read_full(s, answer, 11, weft_after_s(1));
    (void)weft_close(&s, weft_after_s(1));
    if (err < 0)
        without++; /* made from the database then */
    else
        from_cache++;
    return weft_canceled();
}

static int front_end(void *arg)
{
    struct weft_group *g = NULL;
    (void)arg;
    int err = weft_group_open(&g);
    if (err == 0)
        err = weft_group_go(g, "cache", cache, NULL);
    if (err == 0)
        err = weft_sleep_ms(10);
    for (int i = 0; err == 0 && i < PAGES; i++) {
        err = page(i);
        if (err == 0)
            err = weft_sleep_ms(pick(simulation, 0, 200));
    }
    (void)weft_group_close(&g);
    if (err == 0 && from_cache + without != PAGES)
        return weft_sim_fail(NULL, "%d pages", from_cache + without);
    return err;
}

int main(void)
{
    simulation = scene();
    MUST(weft_sim_host(simulation, "front-end", front_end, NULL));
    return play(simulation, weft_s(600), NULL);
}
