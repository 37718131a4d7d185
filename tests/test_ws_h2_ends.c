/* SPDX-License-Identifier: MIT */
/*
 * WebSocket over a stream of HTTP/2 (RFC 8441), and the flow that reads for its connection: what
 * one leaves to the other, and who goes first when both end. In simulation.
 */
#include "ws_h2_kit.h"

/* Writes until the stream below takes no more: how many. */
static int fill(struct scene *x, size_t len, int64_t ms)
{
    static char much[200000];
    for (int n = 0;; n++) {
        int err = weft_ws_write(x->ws, WEFT_WS_BINARY, much, len, weft_after_ms(ms));
        if (err == 0)
            continue;
        CHECK_EQ(err, -ETIMEDOUT);
        return n;
    }
}

/* --- Both end together ------------------------------------------------------------------------ */

struct race {
    struct scene x; /* first */
    int yields;     /* between the connection's end and the tunnel's */
    bool abrupt;
};

static int fill_and_end(void *arg)
{
    struct race *r = arg;
    (void)fill(&r->x, 200000, 20);
    weft_event_set(&r->x.p.over);
    for (int i = 0; i < r->yields; i++)
        CHECK_EQ(weft_yield(), 0);
    if (r->abrupt)
        weft_ws_abort(&r->x.ws);
    else
        (void)weft_ws_close(&r->x.ws, 0, NULL, SOON);
    r->x.result = 1;
    return 0;
}

static int takes_nothing(struct client *c)
{
    begin(c, WIDE);
    widen(c, 0, WIDE - 65535);
    ask_for_ws(c, 1);
    CHECK_EQ(weft_sleep_ms(30000), 0);
    return 0;
}

static void both_end(const char *driver)
{
    (void)driver;
    for (int yields = 0; yields < 20; yields++) {
        struct race r = {.x.p.client = takes_nothing,
                         .x.hold = fill_and_end,
                         .yields = yields / 2,
                         .abrupt = yields % 2 == 0};
        play(&r.x);
        CHECK_EQ(r.x.result, 1);
    }
}

static const struct kit_case cases[] = {
    ON_THREAD(both_end),
};
KIT_MAIN(cases)
