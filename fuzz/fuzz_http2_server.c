/* SPDX-License-Identifier: MIT */
/* Fuzzes the HTTP/2 server, from a client's bytes to its handlers. See http2_server_fuzz.h. */
#include "http2_server_fuzz.h"
#include "replay.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    h2_fuzz_one(data, size);
    return 0;
}
