/* SPDX-License-Identifier: MIT */
/*
 * What frames of WebSocket become over a stream of HTTP/2, and how they are counted.
 */
#include "ws_h2_kit.h"

/* There is room for three bytes: a pong that is longer waits until there is enough for all of it,
 * and what is shorter passes it by. */
static int opens_a_slit(struct client *c)
{
    uint8_t ping[125], pong[127] = {0x8a, 125};
    memset(ping, 'p', sizeof ping);
    memset(pong + 2, 'p', sizeof ping);
    begin(c, 3);
    open_ws(c, 1);
    say(c, 1, 0x89, ping, sizeof ping);
    say(c, 1, 0x81, "x", 1);
    hears(c, 1, "\x81\1x", 3);
    widen(c, 1, 200);
    say(c, 1, 0x81, "y", 1);
    hears(c, 1, pong, sizeof pong);
    hears(c, 1, "\x81\1y", 3);
    SAYS_BYE(c, 1);
    hears(c, 1, BYE, 4);
    return 0;
}

static void whole_or_not(const char *driver)
{
    struct scene x = {.p.client = opens_a_slit, .hold = echo};
    (void)driver;
    play(&x);
    CHECK_EQ(x.result, 0);
}

static int count(void *arg)
{
    struct scene *x = arg;
    struct weft_ws_message m;
    const struct weft_stream *s = weft_ws_stream(x->ws);
    for (uint64_t i = 1; i <= 2; i++) {
        CHECK_EQ(weft_ws_read(x->ws, &m, WEFT_NEVER), 1);
        CHECK_EQ(weft_ws_write(x->ws, m.type, m.data, m.len, WEFT_NEVER), 0);
        CHECK_EQ(weft_stream_bytes_in(s), i * (6 + 100));
        CHECK_EQ(weft_stream_bytes_out(s), i * (2 + 100));
    }
    return echo(arg);
}

static int says_twice(struct client *c)
{
    uint8_t text[102] = {0x81, 100};
    static uint8_t body[16384];
    memset(text + 2, 't', 100);
    begin(c, 65535);
    open_ws(c, 1);
    for (int i = 0; i < 2; i++) {
        say(c, 1, 0x81, text + 2, 100);
        CHECK_EQ(frame_of(c, DATA, 1, body), sizeof text); /* one frame is one frame */
        CHECK_EQ(memcmp(body, text, sizeof text), 0);
    }
    SAYS_BYE(c, 1);
    hears(c, 1, BYE, 4);
    return 0;
}

static void counted(const char *driver)
{
    struct scene x = {.p.client = says_twice, .hold = count};
    (void)driver;
    play(&x);
    CHECK_EQ(x.result, 0);
}

static const struct kit_case cases[] = {ON_THREAD(whole_or_not), ON_THREAD(counted)};
KIT_MAIN(cases)
