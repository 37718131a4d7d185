/* SPDX-License-Identifier: MIT */
/*
 * Frames of WebSocket (RFC 6455, 5): a strict parser that takes bytes as they come, a builder,
 * masking, and the payload of a close frame.
 *
 * Floor 0. Used so: weft__ws_parse_head until it has a head (in_frame), weft__ws_payload until
 * nothing is `left`, weft__ws_frame_end, and again.
 *
 * Invariants: a frame that RFC 6455 does not allow is refused at the first byte that shows it,
 * whatever the pieces; the parser holds no payload; after an error it is not used any more.
 */
#ifndef WEFT__WIRE_WS_FRAME_H
#define WEFT__WIRE_WS_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum weft__ws_opcode {
    WEFT__WS_CONTINUATION = 0,
    WEFT__WS_TEXT = 1,
    WEFT__WS_BINARY = 2,
    WEFT__WS_CLOSE = 8,
    WEFT__WS_PING = 9,
    WEFT__WS_PONG = 10,
};

#define WEFT__WS_HEAD_MAX 14
#define WEFT__WS_CONTROL_MAX 125 /* RFC 6455, 5.5 */
#define WEFT__WS_REASON_MAX 123
#define WEFT__WS_LEN_MAX ((uint64_t)INT64_MAX)

static inline bool weft__ws_is_control(uint8_t opcode)
{
    return (opcode & 8) != 0;
}

/* --- Parsing --------------------------------------------------------------------------------- */

struct weft__ws_parser {
    /* Rules, set once. */
    uint64_t frame_max; /* bytes of a data frame's payload; 0: what the protocol carries */
    bool masked;        /* frames come from a client */
    bool deflate;       /* permessage-deflate was agreed on: messages may have RSV1 */
    /* State. */
    bool in_frame;   /* a head is complete, and its frame not ended */
    bool fin;        /* of the frame */
    bool first;      /* the frame begins a message */
    bool compressed; /* the message that is under way is */
    uint8_t opcode;  /* of the frame */
    uint8_t message; /* opcode of the data message under way; 0: none */
    uint8_t turn;    /* payload bytes that came, modulo 4: which byte of the mask is next */
    uint8_t head_len;
    unsigned char mask[4];
    unsigned char head[WEFT__WS_HEAD_MAX];
    uint64_t len;  /* of the frame's payload */
    uint64_t left; /* of it, what has not come */
};

void weft__ws_parser_init(struct weft__ws_parser *p, bool masked, bool deflate, uint64_t frame_max);

/*
 * Takes bytes of a head, at most as many as it has. Returns how many it took; WEFT_EPROTOCOL or
 * WEFT_ETOOLONG with a detail. The head is complete when p->in_frame is set.
 */
ssize_t weft__ws_parse_head(struct weft__ws_parser *p, const void *data, size_t len);

/* Takes payload, unmasked in place: how many of the bytes belong to the frame. */
size_t weft__ws_payload(struct weft__ws_parser *p, void *data, size_t len);

/* Nothing of the frame is left; the next bytes are a head. */
void weft__ws_frame_end(struct weft__ws_parser *p);

/* --- Building -------------------------------------------------------------------------------- */

/* The head of a frame; mask NULL: unmasked, as servers send. Returns its length. */
size_t weft__ws_build_head(unsigned char out[WEFT__WS_HEAD_MAX], uint8_t opcode, bool fin,
                           bool compressed, uint64_t len, const unsigned char mask[4]);

/* XOR with the mask (5.3), from its byte `turn` on; to and from are the same or do not overlap. */
void weft__ws_mask(void *to, const void *from, size_t len, const unsigned char mask[4],
                   size_t turn);

/* --- Close frames (5.5.1, 7.4) --------------------------------------------------------------- */

enum {
    WEFT__WS_NORMAL = 1000,
    WEFT__WS_PROTOCOL_ERROR = 1002,
    WEFT__WS_NO_CODE = 1005,  /* never on the wire: a close frame without a code */
    WEFT__WS_NO_CLOSE = 1006, /* never on the wire: no close frame came */
    WEFT__WS_BAD_TEXT = 1007,
    WEFT__WS_TOO_LONG = 1009,
    WEFT__WS_INTERNAL = 1011,
};

/* A code that may be on the wire. */
bool weft__ws_close_code_ok(unsigned code);

struct weft__ws_close {
    uint16_t code; /* WEFT__WS_NO_CODE when there was none */
    const char *reason;
    size_t reason_len;
};
/* 0; WEFT_EPROTOCOL, -EILSEQ (a reason that is not UTF-8). *ret points into the payload. */
int weft__ws_close_parse(struct weft__ws_close *ret, const void *payload, size_t len);

/* The payload for a code and a reason, which is cut to what fits, between characters. code
 * WEFT__WS_NO_CODE: an empty one. Returns its length. */
size_t weft__ws_close_build(unsigned char out[WEFT__WS_CONTROL_MAX], unsigned code,
                            const char *reason, size_t reason_len);

/* The code that tells the peer of an error of this parser. */
unsigned weft__ws_close_code_of(int error);

#endif
