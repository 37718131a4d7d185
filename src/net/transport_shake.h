/* SPDX-License-Identifier: MIT */
#ifndef WEFT__NET_TRANSPORT_SHAKE_H
#define WEFT__NET_TRANSPORT_SHAKE_H
/* Between the two files of secured connections in callback mode (floor 3): transport_shake.c, up to
 * the end of the handshake, and transport_secure.c, from there on. */
#include "net/secure.h"
#include "net/transport.h"

struct weft__shake {
    struct weft__alarm alarm;
    struct weft__transport *t;
    struct weft_tls *tls;     /* counted */
    struct weft__rbuf *first; /* what came before s.in, but is to be read yet */
    int (*done)(struct weft_stream *t, void *conn);
    int64_t until_ns;
    bool server;
    bool counted;                /* as one of its server's handshakes */
    struct weft__handshakes *of; /* its server's; NULL: not bounded */
    struct weft__in_line line;
    struct weft__later later; /* behind what else the loop has to do */
    bool its_turn;            /* it has been that */
    char host[];              /* "": none */
};

/* --- transport_shake.c ------------------------------------------------------------------------ */

void weft__transport_shake_step(struct weft__transport *t);
/* Also where none is under way. */
void weft__transport_shake_free(struct weft__transport *t);

/* --- transport_secure.c ----------------------------------------------------------------------- */

/* Keeps the detail for `lost`, which may come turns later. */
void weft__transport_note(struct weft__transport *t);
/* The filter has failed. It has queued what the peer is to know. */
void weft__transport_broken(struct weft__transport *t, int error);
/* Of bytes that the filter may queue. */
size_t weft__transport_bound(const struct weft__transport *t);

#endif
