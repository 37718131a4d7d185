/* SPDX-License-Identifier: MIT */
/*
 * WebSocket over a stream of HTTP/2 (RFC 8441) that outlives the handler which has opened it, in
 * all the ways in which it can end then. Mostly in simulation.
 */
#include "ws_h2_kit.h"

/* --- Who outlives his handler ----------------------------------------------------------------- */

static int talks(struct client *c)
{
    uint32_t code = 1;
    begin(c, 65535);
    open_ws(c, 1);
    ask_well(c, 3);
    for (int i = 0; i < 3; i++) {
        say(c, 1, 0x81, "hello", 5);
        hears(c, 1, "\x81\5hello", 7);
    }
    SAYS_BYE(c, 1);
    hears(c, 1, BYE, 4);
    CHECK_EQ(await(c, 1, &code), 0); /* END_STREAM; we have not ended our side, so */
    CHECK_EQ(await(c, 1, &code), RST_STREAM);
    CHECK_EQ(code, 0);
    ask_well(c, 5);
    return 0;
}

/* The handler returns when the other has begun. */
static int leave_it_later(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    int err = leave_it(q, r, arg);
    if (err == 0)
        kit_settle();
    return err;
}

static void lives_on(const char *driver)
{
    (void)driver;
    for (int i = 0; i < 2; i++) {
        struct scene x = {
            .p.client = talks, .hold = echo, .handler = i == 0 ? leave_it : leave_it_later};
        play(&x);
        CHECK_EQ(x.result, 0);
        CHECK_EQ(x.after, 0);
    }
}

/* While it lives its connection is not idle, and it takes one of the places for streams. */
static int stays_long(struct client *c)
{
    static const uint8_t pong[] = {0x8a, 0x80, 0, 0, 0, 0};
    uint32_t code = 0;
    begin(c, 65535);
    open_ws(c, 1);
    for (int i = 0; i < 3; i++) {
        hears(c, 1, "\x89\0", 2); /* a ping, after 30 s */
        put_frame(c, DATA, 0, 1, pong, sizeof pong);
    }
    ask_for_ws(c, 3);
    CHECK_EQ(await(c, 3, &code), RST_STREAM);
    CHECK_EQ(code, 7); /* REFUSED_STREAM */
    SAYS_BYE(c, 1);
    hears(c, 1, BYE, 4);
    CHECK_EQ(await(c, 1, &code), 0);
    put_frame(c, DATA, 1, 1, NULL, 0);
    ask_well(c, 5);
    CHECK_EQ(await(c, 99, &code), GOAWAY); /* now it is idle */
    return 0;
}

static void is_not_idle(const char *driver)
{
    struct scene x = {
        .p.client = stays_long, .hold = echo, .p.o.idle_ms = 5000, .p.o.streams_max = 1};
    (void)driver;
    play(&x);
    CHECK_EQ(x.result, 0);
}

/* A drain waits for it, as it does for requests. */
static int is_drained(struct client *c)
{
    uint32_t code = 1;
    begin(c, 65535);
    open_ws(c, 1);
    weft_event_set(&c->place->over);
    CHECK_EQ(await(c, 99, &code), GOAWAY);
    CHECK_EQ(await(c, 99, &code), GOAWAY);
    say(c, 1, 0x81, "hello", 5);
    hears(c, 1, "\x81\5hello", 7);
    SAYS_BYE(c, 1);
    hears(c, 1, BYE, 4);
    CHECK_EQ(await(c, 99, &code), WEFT_EEOF);
    return 0;
}

static void drains(const char *driver)
{
    struct scene x = {.p.client = is_drained, .hold = echo, .drains = true};
    (void)driver;
    play(&x);
    CHECK_EQ(x.result, 0);
}

/* --- Its connection ends ---------------------------------------------------------------------- */

static int opens_and_goes(struct client *c)
{
    begin(c, 65535);
    open_ws(c, 1);
    say(c, 1, 0x81, "hello", 5);
    hears(c, 1, "\x81\5hello", 7);
    return 0;
}

static int opens_and_is_left(struct client *c)
{
    CHECK_EQ(opens_and_goes(c), 0);
    weft_event_set(&c->place->over);
    CHECK_EQ(weft_sleep_ms(30000), 0);
    return 0;
}

static int opens_and_resets(struct client *c)
{
    static const uint8_t cancel[] = {0, 0, 0, 8};
    CHECK_EQ(opens_and_goes(c), 0);
    put_frame(c, RST_STREAM, 0, 1, cancel, sizeof cancel);
    ask_well(c, 3);
    return 0;
}

/* Holds it without being inside, and comes back when all is over. */
static int look_late(void *arg)
{
    struct scene *x = arg;
    struct weft_ws_message m;
    CHECK_EQ(weft_ws_read(x->ws, &m, SOON), 1);
    CHECK_EQ(weft_ws_write(x->ws, m.type, m.data, m.len, SOON), 0);
    CHECK_EQ(weft_event_wait(&x->go_on, SOON), 0);
    x->result = weft_ws_read(x->ws, &m, WEFT_NEVER);
    CHECK_EQ(weft_ws_write(x->ws, WEFT_WS_TEXT, "hello", 5, WEFT_NEVER), -ECONNRESET);
    struct weft_address a;
    CHECK_EQ(weft_stream_peer(weft_ws_stream(x->ws), &a), -ENOTCONN);
    x->after = weft_ws_close(&x->ws, 0, NULL, SOON);
    return 0;
}

static void connection_ends(const char *driver)
{
    int (*const clients[])(struct client *) = {opens_and_goes, opens_and_is_left, opens_and_resets};
    int (*const holders[])(void *) = {echo, look_late};
    (void)driver;
    for (size_t i = 0; i < WEFT__ARRAY_LEN(clients); i++)
        for (size_t k = 0; k < WEFT__ARRAY_LEN(holders); k++) {
            struct scene x = {.p.client = clients[i], .hold = holders[k]};
            play(&x);
            CHECK_EQ(x.result, -ECONNRESET);
            CHECK(x.after < 0);
        }
}

/* Who writes to one who takes nothing waits for his windows, or for the stream below. */
static int write_on(void *arg)
{
    static char much[200000];
    struct scene *x = arg;
    int err = 0;
    while (err == 0)
        err = weft_ws_write(x->ws, WEFT_WS_BINARY, much, sizeof much, WEFT_NEVER);
    x->result = err;
    weft_ws_abort(&x->ws);
    return 0;
}

static int takes_nothing(struct client *c, uint32_t window)
{
    begin(c, window);
    if (window > 65535)
        widen(c, 0, WIDE - 65535);
    ask_for_ws(c, 1);
    CHECK_EQ(weft_sleep_ms(20000), 0);
    weft_event_set(&c->place->over);
    CHECK_EQ(weft_sleep_ms(30000), 0);
    return 0;
}

static int opens_no_window(struct client *c)
{
    return takes_nothing(c, 0);
}

static int opens_wide(struct client *c)
{
    return takes_nothing(c, WIDE);
}

static void ends_below_a_writer(const char *driver)
{
    int (*const clients[])(struct client *) = {opens_no_window, opens_wide};
    (void)driver;
    for (size_t i = 0; i < WEFT__ARRAY_LEN(clients); i++) {
        struct scene x = {.p.client = clients[i], .hold = write_on};
        play(&x);
        CHECK_EQ(x.result, -ECONNRESET);
        CHECK(x.ws == NULL);
    }
}

/* The same where the kernel has the operation that the writer waits for. */
static int ends_below_a_real_writer(void *arg)
{
    struct scene x = {.hold = write_on, .holders = kit_group()};
    struct client c = {.place = &x.p};
    struct http_kit k;
    struct weft_http_app *app = http_kit_app();
    (void)arg;
    CHECK_EQ(weft_http_route(app, "GET /ws", leave_it, &x), 0);
    http_kit_open(&k, app, NULL);
    c.s = http_kit_dial(&k);
    begin(&c, WIDE);
    widen(&c, 0, WIDE - 65535);
    ask_for_ws(&c, 1);
    for (int i = 0; i < 2000; i++)
        CHECK_EQ(weft_yield(), 0);
    CHECK_EQ(x.result, 0);
    http_kit_close(&k);
    CHECK_EQ(weft_group_wait(x.holders, SOON), 0);
    CHECK_EQ(weft_group_close(&x.holders), 0);
    CHECK_EQ(x.result, -ECONNRESET);
    weft_abort(&c.s);
    return 0;
}

/* --- The handler closes it while another waits ------------------------------------------------ */

static int write_to_him(void *arg)
{
    struct scene *x = arg;
    x->result = weft_ws_write(x->ws, WEFT_WS_TEXT, "hello", 5, WEFT_NEVER);
    return 0;
}

static int close_it(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    struct scene *x = arg;
    struct weft_ws_message m;
    int err = weft_http_websocket(q, r, &x->ws, NULL);
    if (err != 0)
        return err;
    kit_go(x->holders, "writes to him", write_to_him, x);
    kit_settle();
    err = weft_ws_read(x->ws, &m, WEFT_NEVER);
    if (err == 0)
        x->after = weft_ws_close(&x->ws, 0, NULL, WEFT_NEVER);
    else
        weft_ws_abort(&x->ws);
    return 0;
}

static int says_bye(struct client *c)
{
    uint32_t code = 0;
    begin(c, 0);
    open_ws(c, 1);
    SAYS_BYE(c, 1);
    CHECK_EQ(await(c, 1, &code), RST_STREAM); /* after 10 s */
    ask_well(c, 3);
    return 0;
}

static int resets(struct client *c)
{
    static const uint8_t cancel[] = {0, 0, 0, 8};
    begin(c, 0);
    open_ws(c, 1);
    put_frame(c, RST_STREAM, 0, 1, cancel, sizeof cancel);
    ask_well(c, 3);
    return 0;
}

static int goes(struct client *c)
{
    begin(c, 0);
    open_ws(c, 1);
    return 0;
}

static void closed_below_a_writer(const char *driver)
{
    int (*const clients[])(struct client *) = {says_bye, resets, goes};
    (void)driver;
    for (size_t i = 0; i < WEFT__ARRAY_LEN(clients); i++) {
        struct scene x = {.p.client = clients[i], .handler = close_it};
        play(&x);
        CHECK(x.result < 0);
        CHECK_EQ(x.after, i == 0 ? -ETIMEDOUT : 0);
    }
}

/* --- On plain threads ------------------------------------------------------------------------- */

/* The one flow of the connection goes on to the next request, which finds that it is over. */
static int look_after(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    struct scene *x = arg;
    struct weft_ws_message m;
    (void)q;
    x->result = weft_ws_read(x->ws, &m, WEFT_NEVER);
    x->after = weft_ws_close(&x->ws, 0, NULL, SOON);
    return weft_http_text(r, 200, "small");
}

static int leave_it_alone(struct weft_http_request *q, struct weft_http_response *r, void *arg)
{
    struct scene *x = arg;
    return weft_http_websocket(q, r, &x->ws, NULL);
}

static int in_threads(void *arg)
{
    struct scene x = {.result = 0};
    struct client c = {.place = &x.p};
    struct http_kit k;
    uint32_t code = 0;
    const struct weft_http_options o = {.server.model = WEFT_THREADS};
    struct weft_http_app *app = http_kit_app();
    (void)arg;
    CHECK_EQ(weft_http_route(app, "GET /ws", leave_it_alone, &x), 0);
    CHECK_EQ(weft_http_route(app, "GET /small", look_after, &x), 0);
    http_kit_open(&k, app, &o);
    c.s = http_kit_dial(&k);
    begin(&c, 65535);
    open_ws(&c, 1);
    CHECK_EQ(await(&c, 1, &code), RST_STREAM);
    CHECK_EQ(code, 8); /* CANCEL */
    ask_well(&c, 3);
    CHECK_EQ(x.result, -ECONNRESET);
    CHECK(x.after < 0);
    CHECK(x.ws == NULL);
    CHECK_EQ(weft_close(&c.s, SOON), 0);
    http_kit_close(&k);
    return 0;
}

static const struct kit_case cases[] = {
    ON_THREAD(lives_on),
    ON_THREAD(is_not_idle),
    ON_THREAD(drains),
    ON_THREAD(connection_ends),
    ON_THREAD(ends_below_a_writer),
    ON_THREAD(closed_below_a_writer),
    IN_TASK(in_threads),
    IN_TASK(ends_below_a_real_writer),
};
KIT_MAIN(cases)
