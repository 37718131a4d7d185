/* SPDX-License-Identifier: MIT */
#ifndef WEFT__WIRE_CLIENT_HELLO_H
#define WEFT__WIRE_CLIENT_HELLO_H
/*
 * What a TLS client's first record says, before anything is made to answer it (RFC 8446, 4.1.2 and
 * 5.1; RFC 5246, 7.4.1.2; RFC 5077, 3.2). It is a glance, to decide when an answer is worth
 * beginning: whether the record is right is for the TLS library to say, which reads all of it.
 *
 * Floor 0.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How many bytes make the record that begins with these n > 0: 0 where it is none that a client
 * begins with, or is longer than records may be. Up to its five bytes of header: five. */
size_t weft__client_hello_need(const uint8_t *p, size_t n);

/* Whether the record, of n bytes, offers to go on with a session. False where it cannot be told. */
bool weft__client_hello_resumes(const uint8_t *p, size_t n);

#endif
