/* SPDX-License-Identifier: MIT */
#ifndef WEFT__WS_ENCODED_H
#define WEFT__WS_ENCODED_H
/* A message that was encoded for many (floor 5); see encode.c. */
#include "ws/ws.h"

struct weft_ws_encoded {
    struct weft__shared shared; /* first: queues hold references to it */
    uint8_t type;
    uint8_t bits;              /* of the window that `deflated` needs */
    uint8_t *frame, *deflated; /* whole frames of a server; deflated NULL: there is none */
    size_t frame_len, deflated_len, payload_len;
};

#endif
