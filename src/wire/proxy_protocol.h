/* SPDX-License-Identifier: MIT */
#ifndef WEFT__WIRE_PROXY_PROTOCOL_H
#define WEFT__WIRE_PROXY_PROTOCOL_H
/*
 * The PROXY protocol, versions 1 and 2 (haproxy's doc/proxy-protocol.txt): what a proxy says first
 * about whose connection it forwards.
 *
 * Floor 0, without I/O. Invariant: a header is taken as a whole or not at all; nothing is read
 * behind it.
 */
#include <stdint.h>

#include <weft/address.h>

/* The longest header that is read, with what version 2 may add to addresses. */
#define WEFT__PP_MAX 4096u
/* The longest that is written. */
#define WEFT__PP_WRITE_MAX 128u

struct weft__pp {
    struct weft_address from, to; /* len 0: the proxy's own, or of an unknown kind */
};

/* > 0: the length of the header at the front; 0: more bytes are needed; WEFT_EPROTOCOL. */
int weft__pp_parse(struct weft__pp *ret, const void *data, size_t len);
/* Writes a header, of TCP addresses of one family, else of unknown ones; returns its length. */
size_t weft__pp_write(uint8_t buf[WEFT__PP_WRITE_MAX], int version, const struct weft_address *from,
                      const struct weft_address *to);

#endif
