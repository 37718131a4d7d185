/* SPDX-License-Identifier: MIT */
/* Fuzzes heads of requests; see http1_fuzz_head.h. Input: unused, piece and limits, the bytes. */
#include "http1_fuzz_head.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_head(data, size, false);
    return 0;
}
