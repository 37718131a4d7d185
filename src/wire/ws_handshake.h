/* SPDX-License-Identifier: MIT */
/*
 * The opening handshake of WebSocket (RFC 6455, 4): keys, sub-protocols, and the parameters of
 * permessage-deflate (RFC 7692, 7).
 *
 * Floor 0. It knows values of header fields and no HTTP: where they come from, and in what they go
 * out, is the caller's matter. An absent field is a slice at NULL; one that came several times is
 * passed joined by commas.
 */
#ifndef WEFT__WIRE_WS_HANDSHAKE_H
#define WEFT__WIRE_WS_HANDSHAKE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wire/slice.h"

/* --- Keys (4.2.1, 4.2.2) --------------------------------------------------------------------- */

#define WEFT__WS_KEY_LEN 24
#define WEFT__WS_ACCEPT_LEN 28

/* A key that is the base64 of 16 bytes. */
bool weft__ws_key_ok(struct weft__slice key);
void weft__ws_key_make(const unsigned char random[16], char out[WEFT__WS_KEY_LEN]);
void weft__ws_accept_value(struct weft__slice key, char out[WEFT__WS_ACCEPT_LEN]);

/* --- Sub-protocols --------------------------------------------------------------------------- */

/* A list of one or more tokens and nothing else, none of them twice. More than so many are no list,
 * either: each is compared with each. */
#define WEFT__WS_PROTOCOLS_MAX 100
bool weft__ws_tokens_ok(struct weft__slice list);

/* The first of `ours` that is in `theirs`; sub-protocols are compared by their exact letters. */
bool weft__ws_protocol_choose(struct weft__slice ours, struct weft__slice theirs,
                              struct weft__slice *chosen);

/* --- Extensions (9.1) ------------------------------------------------------------------------ */

/* A list of one or more extensions with their parameters, and nothing else. What is none fails the
 * connection, whether anybody knows the extension or not. */
bool weft__ws_extensions_ok(struct weft__slice list);

/* --- permessage-deflate (RFC 7692) ----------------------------------------------------------- */

#define WEFT__WS_BITS_MIN 8
#define WEFT__WS_BITS_MAX 15

/* What was agreed on, or what one side would like. */
struct weft__ws_deflate {
    bool on;
    bool server_no_takeover, client_no_takeover;
    uint8_t server_bits, client_bits; /* 8 to 15; the largest window that side compresses with */
};

/*
 * The server's side: looks for the first offer that can be met, within its own wishes. True with
 * *ret set; false: no such offer. Extensions that are not known are passed over (RFC 6455, 9.1),
 * and so is an offer with parameters that are wrong.
 */
bool weft__ws_deflate_accept(struct weft__slice offers, const struct weft__ws_deflate *wishes,
                             struct weft__ws_deflate *ret);

/* Room for what the next two write. */
#define WEFT__WS_DEFLATE_TEXT_MAX 160
/* The server's answer (offer false), or a client's offer of its wishes. No zero is
 * written. Returns the length. */
size_t weft__ws_deflate_write(const struct weft__ws_deflate *d, bool offer,
                              char out[WEFT__WS_DEFLATE_TEXT_MAX]);

/* The client's side: reads the answer to its offer of `wishes`. 0, with *ret set (on false: no
 * extension); WEFT_EPROTOCOL with a detail. */
int weft__ws_deflate_answered(struct weft__slice answer, const struct weft__ws_deflate *wishes,
                              struct weft__ws_deflate *ret);

#endif
