/* SPDX-License-Identifier: MIT */
/*
 * Receivers: a connection's bytes split into records (LineReceiver and its kin).
 *
 * Floor 3. Whole records are handed over where they lie in the received piece; only a record that
 * arrives in parts is gathered, in a buffer that is freed with it.
 */
#include <errno.h>
#include <string.h>

#include <weft/protocol.h>

#include "base/alloc.h"
#include "base/base.h"

void weft_receiver_init(struct weft_receiver *r, const struct weft_framing *f,
                        int (*record)(struct weft_stream *t, const void *record, size_t len,
                                      void *conn))
{
    *r = (struct weft_receiver){.framing = *f, .record = record};
}

static int keep(struct weft_receiver *r, const void *data, size_t len)
{
    size_t need = r->partial_len + len;
    if (need > r->partial_cap) {
        size_t cap = weft__max_size(need, 2 * r->partial_cap);
        cap = weft__max_size(weft__min_size(cap, weft_framing_room(&r->framing)), need);
        void *larger = weft__realloc(r->partial, cap);
        if (larger == NULL)
            return -ENOMEM;
        r->partial = larger;
        r->partial_cap = cap;
    }
    memcpy((char *)r->partial + r->partial_len, data, len);
    r->partial_len += len;
    return 0;
}

/* Completes the record that is partly there; *took: how much of data that used. */
static int complete(struct weft_receiver *r, struct weft_stream *t, const void *data, size_t len,
                    void *conn, size_t *took)
{
    const void *record;
    size_t record_len;
    for (*took = 0;;) {
        size_t need = weft_framing_need(&r->framing, r->partial, r->partial_len);
        /* Without a known length, look at all that came, up to what a record can take. */
        size_t more = weft__max_size(need - weft__min_size(need, r->partial_len), 1);
        if (need == r->partial_len + 1)
            more = weft__max_size(more, weft_framing_room(&r->framing) - r->partial_len);
        more = weft__min_size(more, len - *took);
        if (more == 0)
            return 0;
        size_t before = r->partial_len;
        int err = keep(r, (const char *)data + *took, more);
        if (err < 0)
            return err;
        *took += more;
        ssize_t n = weft_framing_decode(&r->framing, r->partial, r->partial_len, &r->scanned,
                                        &record, &record_len);
        if (n < 0)
            return (int)n;
        if (n > 0) {
            *took -= r->partial_len - (size_t)n; /* bytes behind the record were only looked at */
            WEFT__ASSERT((size_t)n > before);
            void *mine = r->partial;
            r->partial = NULL; /* record may feed, fini or free the receiver's owner */
            r->partial_len = r->partial_cap = r->scanned = 0;
            err = r->record(t, record, record_len, conn);
            weft__free(mine);
            return err;
        }
    }
}

int weft_receiver_feed(struct weft_receiver *r, struct weft_stream *t, const void *data, size_t len,
                       void *conn)
{
    const char *at = data;
    if (r->partial_len > 0) {
        size_t took;
        int err = complete(r, t, at, len, conn, &took);
        if (err != 0)
            return err;
        at += took;
        len -= took;
    }
    while (len > 0) {
        const void *record;
        size_t record_len;
        ssize_t n = weft_framing_decode(&r->framing, at, len, &r->scanned, &record, &record_len);
        if (n < 0)
            return (int)n;
        if (n == 0)
            return keep(r, at, len);
        at += n;
        len -= (size_t)n;
        int err = r->record(t, record, record_len, conn);
        if (err != 0)
            return err;
    }
    return 0;
}

void weft_receiver_fini(struct weft_receiver *r)
{
    weft__free(r->partial);
    r->partial = NULL;
    r->partial_len = r->partial_cap = r->scanned = 0;
}
