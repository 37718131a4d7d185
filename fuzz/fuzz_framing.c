/* SPDX-License-Identifier: MIT */
/*
 * Fuzzes the framings of <weft/framing.h>. The first bytes of the input choose the framing, the
 * rest is the stream. Checked for every input:
 * - whole, and in pieces of a size that the input chooses, it gives the same records and error;
 * - no record is longer than the maximum, and none lies outside the data;
 * - a decoder that asks for more never asks for more than the framing's room;
 * - what weft_framing_check() lets through is decoded, after encoding, as itself.
 *
 * Built with clang -fsanitize=fuzzer; or with -DWEFT_FUZZ_REPLAY as a plain program that runs the
 * files given as arguments.
 *
 * Input: kind (low 3 bits; bit 3: crlf_only), max, piece size, delimiter length, the delimiter's
 * bytes, the stream.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <weft/error.h>
#include <weft/framing.h>

#include "base/alloc.h"
#include "base/base.h"
#include "replay.h"
#include "wire/cursor.h"

/* A hash of all that a receiver saw. */
struct seen {
    uint64_t hash;
    size_t records;
    ssize_t error;
    char detail[200];
    size_t left;
};

static void note(struct seen *s, const unsigned char *bytes, size_t len)
{
    s->hash = (s->hash ^ len) * 0x100000001b3u;
    for (size_t i = 0; i < len; i++)
        s->hash = (s->hash ^ bytes[i]) * 0x100000001b3u;
}

/* Decodes a stream that arrives in pieces; every record in it is passed to `each`. */
static struct seen receive(const struct weft_framing *f, const unsigned char *stream, size_t len,
                           size_t piece,
                           void (*each)(const struct weft_framing *, const void *, size_t))
{
    struct seen s = {.hash = 0xcbf29ce484222325u};
    size_t room = weft_framing_room(f);
    size_t start = 0; /* of the record that is looked for */
    size_t end = 0;   /* of what has arrived */
    size_t scanned = 0;

    WEFT__ASSERT(room > 0);
    while (s.error == 0) {
        const void *record = NULL;
        size_t record_len = 0;
        ssize_t n =
            weft_framing_decode(f, stream + start, end - start, &scanned, &record, &record_len);
        if (n > 0) {
            const unsigned char *bytes = record;
            WEFT__ASSERT((size_t)n <= end - start && (size_t)n <= room);
            WEFT__ASSERT(record_len <= f->max && record_len < (size_t)n);
            WEFT__ASSERT(bytes >= stream + start && bytes + record_len <= stream + start + n);
            note(&s, bytes, record_len);
            s.records++;
            start += (size_t)n;
            each(f, record, record_len);
        } else if (n < 0) {
            WEFT__ASSERT(n == WEFT_ETOOLONG || n == WEFT_EPROTOCOL);
            s.error = n;
            strcpy(s.detail, weft_error_detail());
        } else {
            size_t need = weft_framing_need(f, stream + start, end - start);
            WEFT__ASSERT(end - start < room && need > end - start && need <= room);
            if (end == len)
                break;
            end += weft__min_size(piece, len - end);
        }
    }
    s.left = s.error == 0 ? len - start : 0;
    return s;
}

static void ignore(const struct weft_framing *f, const void *record, size_t len)
{
    (void)f;
    (void)record;
    (void)len;
}

/* Encodes a record, with something after it, and decodes it again. */
static void round_trip(const struct weft_framing *f, const void *record, size_t len)
{
    char head[WEFT_FRAMING_OVERHEAD];
    char tail[WEFT_FRAMING_OVERHEAD];
    size_t head_len;
    size_t tail_len;
    const void *back;
    size_t back_len;

    if (weft_framing_check(f, record, len) < 0)
        return;
    int r = weft_framing_encode(f, len, head, &head_len, tail, &tail_len);
    WEFT__ASSERT(r == 0);
    size_t total = head_len + len + tail_len;
    unsigned char *out = weft__alloc(total);
    WEFT__ASSERT(out != NULL);
    struct weft__writer w = weft__writer_of(out, total);
    weft__writer_bytes(&w, head, head_len);
    weft__writer_bytes(&w, record, len);
    weft__writer_bytes(&w, tail, tail_len);
    WEFT__ASSERT(!w.full && w.pos == total);
    ssize_t n = weft_framing_decode(f, out, total, NULL, &back, &back_len);
    WEFT__ASSERT(n == (ssize_t)total && back_len == len);
    WEFT__ASSERT(len == 0 || memcmp(back, record, len) == 0);
    weft__free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct weft__reader r = weft__reader_of(data, size);
    unsigned char kind;
    unsigned char max;
    unsigned char piece;
    unsigned char delimiter_len;
    const void *delimiter;
    const void *rest;
    if (!weft__reader_u8(&r, &kind) || !weft__reader_u8(&r, &max) || !weft__reader_u8(&r, &piece) ||
        !weft__reader_u8(&r, &delimiter_len))
        return 0;
    delimiter_len = (unsigned char)(delimiter_len % WEFT_FRAMING_OVERHEAD + 1);
    if (!weft__reader_bytes(&r, delimiter_len, &delimiter))
        return 0;
    const struct weft_framing f = {
        .kind = (enum weft_framing_kind)((kind & 7) % 6),
        .max = (size_t)max + 1,
        .crlf_only = (kind & 8) != 0,
        .delimiter = delimiter,
        .delimiter_len = delimiter_len,
    };
    size_t len = weft__reader_left(&r);
    /* A copy of the exact size, so that a sanitizer sees a read past the end. */
    unsigned char *stream = weft__alloc(len);
    WEFT__ASSERT(stream != NULL);
    if (weft__reader_bytes(&r, len, &rest))
        memcpy(stream, rest, len);

    struct seen whole = receive(&f, stream, len, weft__max_size(len, 1), round_trip);
    struct seen pieces = receive(&f, stream, len, (size_t)piece % 16 + 1, ignore);
    WEFT__ASSERT(whole.hash == pieces.hash && whole.records == pieces.records);
    WEFT__ASSERT(whole.error == pieces.error && whole.left == pieces.left);
    WEFT__ASSERT(strcmp(whole.detail, pieces.detail) == 0);
    round_trip(&f, stream, len);
    weft__free(stream);
    return 0;
}
