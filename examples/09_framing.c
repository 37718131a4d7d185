/* SPDX-License-Identifier: MIT */
/*
 * 09: framing. The first line a client sends names how its records are framed: line, netstring or
 * int16; each record then comes back reversed, in the same frame. (Twisted's LineReceiver,
 * NetstringReceiver, Int16StringReceiver; asyncio's readuntil and readexactly.)
 *
 *   09_framing [ENDPOINT]
 */
#include <stdio.h>
#include <string.h>
#include <weft/weft.h>

static const struct weft_framing line = {.kind = WEFT_FRAMING_LINE, .max = 1000};
static const struct weft_framing netstring = {.kind = WEFT_FRAMING_NETSTRING, .max = 1000};
static const struct weft_framing int16 = {.kind = WEFT_FRAMING_INT16, .max = 1000};

static const struct weft_framing *choose(const char *name, size_t len)
{
    if (len == 4 && memcmp(name, "line", 4) == 0)
        return &line;
    if (len == 9 && memcmp(name, "netstring", 9) == 0)
        return &netstring;
    return len == 5 && memcmp(name, "int16", 5) == 0 ? &int16 : NULL;
}

static int reverse(struct weft_stream *s, void *arg)
{
    const struct weft_framing *f = &line;
    const void *record;
    size_t len;
    (void)arg;
    int got = weft_read_record(s, f, &record, &len, weft_after_s(30));
    if (got <= 0)
        return got;
    f = choose(record, len);
    if (f == NULL)
        return weft_printf(s, weft_after_s(5), "unknown framing '%.*s'\n", (int)len,
                           (const char *)record);
    while ((got = weft_read_record(s, f, &record, &len, weft_after_s(30))) > 0) {
        char reversed[1000];
        for (size_t i = 0; i < len; i++)
            reversed[i] = ((const char *)record)[len - 1 - i];
        int err = weft_write_record(s, f, reversed, len, weft_after_s(5));
        if (err < 0)
            return err;
    }
    return got;
}
#define HANDLER reverse
#include "serve.h"
