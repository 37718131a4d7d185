/* SPDX-License-Identifier: MIT */
/* What the tests of UDP share. */
#ifndef UDP_KIT_H
#define UDP_KIT_H

#include "rt_kit.h"

#include <weft/udp.h>

static inline struct weft_udp *open_at(const char *endpoint, const struct weft_udp_options *o)
{
    struct weft_udp *u = NULL;
    CHECK_EQ(weft_udp_open(&u, endpoint, o), 0);
    return u;
}

static inline struct weft_udp *v4(void)
{
    return open_at("udp://127.0.0.1:0", NULL);
}

static inline const char *endpoint_of(const struct weft_udp *u)
{
    static _Thread_local char text[WEFT_ENDPOINT_MAX];
    CHECK(weft_udp_endpoint(u, text, sizeof text) > 0);
    return text;
}

static inline struct weft_address address_of(const struct weft_udp *u)
{
    struct weft_address a;
    CHECK_EQ(weft_udp_local(u, &a), 0);
    return a;
}

static inline weft_deadline late(void)
{
    return weft_after_s(30);
}

#endif
