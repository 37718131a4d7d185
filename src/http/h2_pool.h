/* SPDX-License-Identifier: MIT */
#ifndef WEFT__HTTP_H2_POOL_H
#define WEFT__HTTP_H2_POOL_H
/*
 * Spare memory of a worker's HTTP/2 connections (floor 5): what one request gives back the next one
 * takes, so that the steady state asks malloc for nothing.
 *
 * It serves nghttp2, which allocates a dozen small pieces a request, and keeps the structs of
 * streams and exchanges. A block belongs to a class of sizes, and has its size in front of it.
 *
 * Invariants: one thread's alone; no more is kept than the maxima below; what is longer than the
 * longest class is malloc's.
 */
#include <nghttp2/nghttp2.h>

#include "rt/ctx.h"

#define WEFT__H2_POOL_STEP 32u    /* bytes between two classes */
#define WEFT__H2_POOL_CLASSES 24u /* up to 768 bytes */
#define WEFT__H2_POOL_MAX (256u << 10)
#define WEFT__H2_POOL_STREAMS 128u
#define WEFT__H2_POOL_EXCHANGES 32u
#define WEFT__H2_POOL_KEEPS (!WEFT__ASAN) /* which is to see who uses what was given back */

struct weft__h2_pool_block;
struct weft__h2_stream;
struct weft__h2_exchange;

struct weft__h2_pool {
    nghttp2_mem mem; /* nghttp2's way to it */
    struct weft__h2_pool_block *spare[WEFT__H2_POOL_CLASSES];
    size_t kept;                         /* bytes in these */
    struct weft__h2_stream *streams;     /* with room for a head; h2_stream.c */
    struct weft__h2_exchange *exchanges; /* h2_request.c */
    size_t n_streams, n_exchanges;
};

int weft__h2_pool_open(struct weft__h2_pool **ret);
/* All blocks have come back. NULL is fine. */
void weft__h2_pool_close(struct weft__h2_pool **p);
/* NULL: no memory. */
void *weft__h2_pool_get(struct weft__h2_pool *p, size_t size);
/* NULL is fine. */
void weft__h2_pool_put(struct weft__h2_pool *p, void *at);

#endif
