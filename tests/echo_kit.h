/* SPDX-License-Identifier: MIT */
#ifndef WEFT_TEST_ECHO_KIT_H
#define WEFT_TEST_ECHO_KIT_H
/* For tests of clients: a server that sends back what comes, and a place where there is none. */
#include <weft/weft.h>

#include "rt_kit.h"

static int echo_data(struct weft_stream *t, const void *data, size_t len, void *conn)
{
    (void)conn;
    return weft_transport_write(t, data, len);
}
static const struct weft_protocol echo = {.data = echo_data};

/* In callbacks, in a group of its own, whose close ends it. */
static struct weft_group *serve(const char *at, char *endpoint)
{
    struct weft_group *g = kit_group();
    struct weft_server *s;
    struct weft_server_options o = {.model = WEFT_PROTOCOLS};
    struct weft_factory f = {.protocol = &echo};
    CHECK_EQ(weft_server_open(&s, g, at, &o, NULL, NULL, &f), 0);
    CHECK(weft_server_endpoint(s, endpoint, WEFT_ENDPOINT_MAX) > 0);
    return g;
}

/* An endpoint where nobody listens: it was bound a moment ago. */
static void nobody(char *endpoint)
{
    struct weft_group *g = serve("tcp://127.0.0.1:0", endpoint);
    CHECK_EQ(weft_group_close(&g), 0);
}

#endif
