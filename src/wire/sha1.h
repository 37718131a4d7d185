/* SPDX-License-Identifier: MIT */
/*
 * SHA-1 (RFC 3174) of what is there as a whole, for the opening handshake of WebSocket. It protects
 * nothing there, and is to protect nothing elsewhere.
 *
 * Floor 0.
 */
#ifndef WEFT__WIRE_SHA1_H
#define WEFT__WIRE_SHA1_H

#include <stddef.h>
#include <stdint.h>

#define WEFT__SHA1_SIZE 20

void weft__sha1(const void *data, size_t len, unsigned char digest[WEFT__SHA1_SIZE]);

#endif
