/* SPDX-License-Identifier: MIT */
/*
 * Fuzzes what proxies answer, SOCKS5 and HTTP, and PROXY headers. The first byte chooses. Whatever
 * comes: no crash, the same result whole and a byte at a time, a detail with each refusal.
 *
 * Floor 0.
 */
#include <stdint.h>
#include <string.h>

#include <weft/error.h>

#include "check.h"
#include "replay.h"
#include "wire/proxy.h"
#include "wire/proxy_protocol.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int answer(int how, const uint8_t *data, size_t size, size_t step, size_t *at)
{
    struct weft__proxy p = {.kind = how & 1 ? WEFT__PROXY_HTTP : WEFT__PROXY_SOCKS5,
                            .host = how & 2 ? "::1" : "a.example",
                            .port = 443,
                            .user = how & 4 ? "user" : NULL,
                            .password = "password"};
    int res = weft__proxy_start(&p);
    check(res == 0 && p.out_len > 0, "it does not start");
    *at = 0;
    while (res == 0 && *at < size) {
        size_t n = size - *at < step ? size - *at : step, used;
        p.out_len = 0;
        res = weft__proxy_feed(&p, data + *at, n, &used);
        check(used <= n && (res != 0 || used == n), "it takes too much or too little");
        *at += used;
    }
    check(res >= 0 || weft_error_detail()[0] != '\0', "refused without a reason");
    return res;
}

static void header(const uint8_t *data, size_t size)
{
    struct weft__pp pp;
    int whole = weft__pp_parse(&pp, data, size);
    check(whole <= (int)size && whole <= (int)WEFT__PP_MAX, "a header longer than there is");
    for (size_t n = 0; whole > 0 && n < (size_t)whole; n++)
        check(weft__pp_parse(&pp, data, n) == 0, "a header is taken before it is complete");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t whole, one;
    if (size == 0)
        return 0;
    if (data[0] & 8) {
        header(data + 1, size - 1);
        return 0;
    }
    int res = answer(data[0], data + 1, size - 1, size, &whole);
    check(answer(data[0], data + 1, size - 1, 1, &one) == res && one == whole,
          "whole and a byte at a time differ");
    return 0;
}
