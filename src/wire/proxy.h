/* SPDX-License-Identifier: MIT */
#ifndef WEFT__WIRE_PROXY_H
#define WEFT__WIRE_PROXY_H
/*
 * How a client asks a proxy for a connection: SOCKS5 (RFC 1928, 1929) and HTTP's CONNECT
 * (RFC 9110, section 9.3.6), without I/O.
 *
 * Floor 0. Bytes to be sent are in `out` after start and after each feed; whoever drives it sends
 * them and sets out_len to 0. Invariant: a feed takes no byte behind the proxy's answer, as those
 * are the peer's already.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WEFT__PROXY_TEXT_MAX 255u  /* of a name, a user, a password */
#define WEFT__PROXY_HEAD_MAX 8192u /* of what an HTTP proxy answers */

enum weft__proxy_kind { WEFT__PROXY_NONE, WEFT__PROXY_SOCKS5, WEFT__PROXY_HTTP };

struct weft__proxy {
    /* To be filled in before start; borrowed. */
    enum weft__proxy_kind kind;
    const char *host; /* where to: a name or a number, without brackets */
    int port;
    const char *user, *password; /* NULL: none */
    /* What is to be sent. */
    uint8_t out[2048];
    size_t out_len;
    /* Its own. */
    int state;
    size_t in_len, in_need, line_len;
    uint8_t in[512]; /* of SOCKS a whole answer, of HTTP the first line */
};

/* 0, or -EINVAL for what cannot be asked for. */
int weft__proxy_start(struct weft__proxy *p);
/* Takes *used of len bytes. 1: the peer is connected; 0: goes on; WEFT_EPROTOCOL, or what the proxy
 * says of the peer (-ECONNREFUSED ...) or of us (-EACCES), with a detail. */
int weft__proxy_feed(struct weft__proxy *p, const void *data, size_t len, size_t *used);

#endif
