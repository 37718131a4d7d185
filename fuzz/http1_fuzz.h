/* SPDX-License-Identifier: MIT */
/*
 * What the fuzzers of src/wire/http share: a copy of exactly the input's size, so that a sanitizer
 * sees a read past the end; a hash of what came out; and main() for replaying inputs without
 * libFuzzer (-DWEFT_FUZZ_REPLAY).
 */
#ifndef WEFT__FUZZ_HTTP1_FUZZ_H
#define WEFT__FUZZ_HTTP1_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <weft/error.h>

#include "base/alloc.h"
#include "base/base.h"
#include "replay.h"
#include "wire/slice.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The caller frees it. */
static inline char *fuzz_copy(const void *data, size_t len)
{
    char *copy = weft__alloc(len);
    WEFT__ASSERT(copy != NULL);
    if (len > 0)
        memcpy(copy, data, len);
    return copy;
}

static inline void fuzz_note(uint64_t *hash, const void *bytes, size_t len)
{
    const unsigned char *p = bytes;
    for (size_t i = 0; i < len; i++)
        *hash = (*hash ^ p[i]) * 0x100000001b3u;
}

/* The bytes and their number, so that "a", "bc" differs from "ab", "c". */
static inline void fuzz_note_slice(uint64_t *hash, struct weft__slice s)
{
    fuzz_note(hash, &s.len, sizeof(s.len));
    fuzz_note(hash, s.at, s.len);
}

static inline void fuzz_note_number(uint64_t *hash, uint64_t n)
{
    fuzz_note(hash, &n, sizeof(n));
}

static inline void fuzz_inside(const char *data, size_t len, struct weft__slice s)
{
    WEFT__ASSERT(s.len == 0 || (s.at >= data && s.at + s.len <= data + len));
}

#endif
