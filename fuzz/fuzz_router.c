/* SPDX-License-Identifier: MIT */
/* Fuzzes paths against routes. See router_fuzz.h. */
#include "replay.h"
#include "router_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    router_fuzz_one(data, size);
    return 0;
}
