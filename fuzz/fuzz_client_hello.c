/* SPDX-License-Identifier: MIT */
/*
 * Fuzzes what is read of a TLS client's first record. Whatever comes: no crash; no session is seen
 * in what has not come to it; and how long the record is does not depend on how much of it has
 * come.
 *
 * Floor 0.
 */
#include <stdint.h>

#include "check.h"
#include "replay.h"
#include "wire/client_hello.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    size_t need = weft__client_hello_need(data, size);
    for (size_t n = 1; n < size && n < 8; n++) {
        size_t so_far = weft__client_hello_need(data, n);
        check(n < 5 ? so_far == 5 || (so_far == 0 && need == 0) : so_far == need,
              "the length changes with what has come");
    }
    check(need == 0 || (need >= 5 && need <= 5 + 16384), "a record of no length or too long");
    check(!weft__client_hello_resumes(data, size) || size > 5 + 4 + 2 + 32 + 1,
          "a session of a hello that has not come to it");
    return 0;
}
