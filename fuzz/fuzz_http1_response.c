/* SPDX-License-Identifier: MIT */
/* Fuzzes heads of responses; see http1_fuzz_head.h. Input: method, piece and limits, the bytes. */
#include "http1_fuzz_head.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_head(data, size, true);
    return 0;
}
