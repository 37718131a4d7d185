/* SPDX-License-Identifier: MIT */
#ifndef WEFT__HTTP_DECODE_H
#define WEFT__HTTP_DECODE_H
/*
 * Content codings taken off (RFC 9110 section 8.4.1): gzip and deflate by zlib, br by brotli.
 *
 * Floor 5, and no I/O. Invariants: memory is what the coding's window takes (32 KiB for gzip, up to
 * 16 MiB for br) and does not depend on the data; output is bounded by the caller's buffer.
 */
#include "wire/slice.h"

struct weft__decoder;

/* 0 and *ret NULL for a coding that changes nothing ("identity", ""); WEFT_EPROTOCOL with a detail
 * for one that is not known here; -ENOMEM. */
int weft__decoder_open(struct weft__decoder **ret, struct weft__slice coding);
void weft__decoder_close(struct weft__decoder **d);

/*
 * Decodes from in to out; *used and *made tell how far it came. Returns 0 (it wants more of one of
 * them), 1 at the end of the data, WEFT_EPROTOCOL with a detail, -ENOMEM.
 */
int weft__decoder_run(struct weft__decoder *d, const void *in, size_t in_len, size_t *used,
                      void *out, size_t cap, size_t *made);
/* The input has ended: 0 when the data has, too, else WEFT_EEOF. */
int weft__decoder_end(const struct weft__decoder *d);

#endif
