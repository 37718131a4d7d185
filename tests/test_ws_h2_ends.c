/* SPDX-License-Identifier: MIT */
/*
 * WebSocket over a stream of HTTP/2 (RFC 8441), and the flow that reads for its connection: what
 * one leaves to the other, and who goes first when both end. In simulation.
 */
#include <weft/run.h>

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

/* --- What could not be sent at once ----------------------------------------------------------- */

static int fill_at_once(void *arg)
{
    struct scene *x = arg;
    x->after = fill(x, 1000, 0);
    weft_event_set(&x->p.go);
    CHECK_EQ(weft_event_wait(&x->go_on, SOON), 0);
    weft_ws_abort(&x->ws);
    return 0;
}

/* All of it comes as soon as there is room, without anything else that happens. */
static int takes_late(struct client *c)
{
    static uint8_t body[16384];
    struct scene *x = (struct scene *)c->place;
    begin(c, WIDE);
    widen(c, 0, WIDE - 65535);
    ask_for_ws(c, 1);
    CHECK_EQ(weft_event_wait(&c->place->go, SOON), 0);
    int64_t from = weft_now_ns();
    for (int i = 0; i < x->after; i++)
        CHECK_EQ(frame_of(c, DATA, 1, body), 4 + 1000);
    CHECK(weft_now_ns() - from < INT64_C(300000000));
    return 0;
}

static void goes_soon(const char *driver)
{
    struct scene x = {.p.client = takes_late, .hold = fill_at_once};
    (void)driver;
    play(&x);
    CHECK(x.after > 10);
}

/* --- A drain waits for it --------------------------------------------------------------------- */

static uint64_t switches(void)
{
    struct weft_loop_stats st;
    CHECK_EQ(weft_loop_stats(weft_loop_current(), &st), 0);
    return st.switches;
}

static int wait_long(void *arg)
{
    struct scene *x = arg;
    struct weft_ws_message m;
    CHECK_EQ(weft_ws_read(x->ws, &m, SOON), 1);
    uint64_t before = switches();
    CHECK_EQ(weft_ws_read(x->ws, &m, SOON), 1);
    x->result = (int)(switches() - before);
    x->after = weft_ws_close(&x->ws, 0, NULL, SOON);
    return 0;
}

static int wait_within(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    struct scene *x = arg;
    int err = weft_http_websocket(q, r, &x->ws, NULL);
    if (err == 0)
        (void)wait_long(arg);
    return err;
}

/* It costs little until then, and the connection ends with it. */
static int is_drained(struct client *c)
{
    uint32_t code = 1;
    begin(c, 65535);
    open_ws(c, 1);
    weft_event_set(&c->place->over);
    CHECK_EQ(await(c, 99, &code), GOAWAY);
    CHECK_EQ(await(c, 99, &code), GOAWAY);
    say(c, 1, 0x81, "hello", 5);
    CHECK_EQ(weft_sleep_ms(25000), 0);
    say(c, 1, 0x81, "hello", 5);
    hears(c, 1, BYE, 4);
    SAYS_BYE(c, 1);
    int64_t from = weft_now_ns();
    CHECK_EQ(await(c, 99, &code), WEFT_EEOF);
    CHECK(weft_now_ns() - from < INT64_C(300000000));
    return 0;
}

static void drains(const char *driver)
{
    (void)driver;
    for (int i = 0; i < 2; i++) {
        struct scene x = {.p.client = is_drained,
                          .hold = wait_long,
                          .handler = i == 0 ? leave_it : wait_within,
                          .drains = true};
        play(&x);
        CHECK(x.result > 0 && x.result < 100);
        CHECK_EQ(x.after, 0);
    }
}

static const struct kit_case cases[] = {
    ON_THREAD(both_end),
    ON_THREAD(goes_soon),
    ON_THREAD(drains),
};
KIT_MAIN(cases)
