/* SPDX-License-Identifier: MIT */
#ifndef WEFT_APP_ECHO_H
#define WEFT_APP_ECHO_H
/*
 * The echo service in all its forms.
 *
 * Floor 6. Invariants: a peer that never reads costs a bounded amount, because no form reads on
 * while its writing waits; an idle connection holds no buffer.
 */
#include <weft/protocol.h>
#include <weft/udp.h>

/* A handler for tasks and for threads. */
int echo_stream(struct weft_stream *s, void *arg);

/* The same as callbacks. */
extern const struct weft_protocol echo_protocol;

/* Datagrams: one task for all peers. */
struct echo_udp {
    struct weft_udp *socket;
    uint64_t messages, bytes;
};

/* arg: a struct echo_udp; runs until it is cancelled. */
int echo_udp_run(void *arg);

#endif
