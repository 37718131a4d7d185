/* SPDX-License-Identifier: MIT */
/* What the tests of channels share. */
#ifndef CHANNEL_KIT_H
#define CHANNEL_KIT_H

#include "rt_kit.h"

static inline weft_deadline soon(void)
{
    return weft_after_ms(5);
}

static inline struct weft_channel *plain(size_t item_size, size_t capacity)
{
    struct weft_channel *c = NULL;
    CHECK_EQ(weft_channel_open(&c, item_size, capacity), 0);
    return c;
}

static inline struct weft_channel *mt(size_t item_size, size_t capacity)
{
    struct weft_channel *c = NULL;
    CHECK_EQ(weft_channel_open_mt(&c, item_size, capacity), 0);
    return c;
}

/* Each case that is the same for both kinds takes one of these. */
typedef struct weft_channel *(*opener)(size_t item_size, size_t capacity);
static const opener openers[] = {plain, mt};

#endif
