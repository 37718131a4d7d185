/* SPDX-License-Identifier: MIT */
/* A client's first record. See client_hello.h. Floor 0. */
#include "wire/client_hello.h"

#include <string.h>

#include "base/base.h"
#include "wire/cursor.h"

#define RECORD_HEADER 5u
#define RECORD_MAX 16384u

enum { SESSION_TICKET = 35, PRE_SHARED_KEY = 41, SUPPORTED_VERSIONS = 43 };

size_t weft__client_hello_need(const uint8_t *p, size_t n)
{
    static const uint8_t head[] = {22, 3}; /* handshake, major version */
    if (memcmp(p, head, weft__min_size(n, sizeof head)) != 0)
        return 0;
    if (n < RECORD_HEADER)
        return RECORD_HEADER;
    size_t len = (size_t)p[3] << 8 | p[4];
    return len > RECORD_MAX ? 0 : RECORD_HEADER + len;
}

/* Takes a vector with a length of `size` bytes off r. */
static bool vector(struct weft__reader *r, size_t size, struct weft__reader *ret)
{
    uint64_t len;
    const void *bytes;
    if (!weft__reader_number(r, size, &len) || !weft__reader_bytes(r, (size_t)len, &bytes))
        return false;
    *ret = weft__reader_of(bytes, (size_t)len);
    return true;
}

bool weft__client_hello_resumes(const uint8_t *p, size_t n)
{
    static const uint8_t client_hello = 1;
    struct weft__reader record = weft__reader_of(p, n), r, session, skipped, extensions, data;
    bool known = weft__reader_skip(&record, RECORD_HEADER) &&
                 weft__reader_match(&record, &client_hello, 1) &&
                 vector(&record, 3, &r) &&        /* else it goes on in another record */
                 weft__reader_skip(&r, 2 + 32) && /* version, random */
                 vector(&r, 1, &session) && vector(&r, 2, &skipped) && vector(&r, 1, &skipped);
    if (!known)
        return false;
    bool by_id = session.len > 0; /* from version 1.3 on it says nothing */
    if (weft__reader_at_end(&r))
        return by_id;
    if (!vector(&r, 2, &extensions))
        return false;
    uint64_t type;
    while (weft__reader_number(&extensions, 2, &type) && vector(&extensions, 2, &data)) {
        if (type == PRE_SHARED_KEY || (type == SESSION_TICKET && data.len > 0))
            return true;
        by_id = by_id && type != SUPPORTED_VERSIONS;
    }
    return by_id && weft__reader_at_end(&extensions);
}
