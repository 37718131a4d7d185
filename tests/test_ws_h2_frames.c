/* SPDX-License-Identifier: MIT */
/*
 * What frames of WebSocket become over a stream of HTTP/2.
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

static const struct kit_case cases[] = {ON_THREAD(whole_or_not)};
KIT_MAIN(cases)
