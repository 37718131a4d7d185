/* SPDX-License-Identifier: MIT */
#ifndef WEFT__HTTP_H2_REQUEST_H
#define WEFT__HTTP_H2_REQUEST_H
/*
 * One request of an HTTP/2 connection, on the server's side (floor 5): its head made of the
 * stream's fields, and the class by which handlers read and answer.
 */
#include "http/exchange.h"
#include "http/h2.h"

#define WEFT__H2_FIRST_BLOCK 4096u

struct weft__h2_tunnel;

struct weft__h2_exchange {
    struct weft__http_exchange x;
    struct weft__h2_exchange *next; /* while it is spare */
    void *conn;
    int status; /* as weft__h2_prepare said */
    struct weft__h2_stream *st;
    struct weft__h2_tunnel *tunnel; /* what an extended CONNECT has opened; NULL: nothing */
    bool direct;                    /* runs in its connection's flow, and may not wait */
    bool continue_due;
    bool bodiless;     /* the response has none */
    int64_t left;      /* of the response's body; -1: not known */
    uint64_t got;      /* of the request's body */
    int64_t waited_ns; /* for it */
    char first[WEFT__H2_FIRST_BLOCK] __attribute__((aligned(16)));
};

extern const struct weft__http_exchange_class weft__h2_class;

/* Memory for a request of that stream, which it holds; NULL: none. */
struct weft__h2_exchange *weft__h2_exchange_new(struct weft__http_site *site, struct weft_stream *s,
                                                struct weft__h2_stream *st);
/* Lets go of the stream, unless a tunnel goes on with it. */
void weft__h2_exchange_free(struct weft__h2_exchange *e);
/* Frees the spare ones. */
void weft__h2_exchanges_drop(struct weft__h2_pool *p);
/* A stream of bytes over the exchange's; the caller's (h2_tunnel.c). */
int weft__h2_tunnel_open(struct weft__h2_exchange *e, struct weft_stream **ret);
/* The request is over: true when there is a tunnel that goes on, and the exchange's stream is its
 * own from now on. */
bool weft__h2_tunnel_goes_on(struct weft__h2_exchange *e);
/* Ends those that have outlived their requests, as the connection has ended: lets go of their
 * streams, when those who are inside have left. Waits for that, and no longer. */
void weft__h2_tunnels_end(struct weft__h2 *h2);
/* Makes the head and finds the route (h2_head.c). Returns 0, or the status with which it is to be
 * refused. */
int weft__h2_prepare(struct weft__h2_exchange *e);
/* Answers what was prepared, to the end of the response or the stream. */
void weft__h2_answer(struct weft__h2_exchange *e);

#endif
