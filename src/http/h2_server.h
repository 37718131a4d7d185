/* SPDX-License-Identifier: MIT */
#ifndef WEFT__HTTP_H2_SERVER_H
#define WEFT__HTTP_H2_SERVER_H
/*
 * HTTP/2 as a server speaks it (floor 5): a connection's flow reads for all its streams, and each
 * request has a task of its own. On a plain thread requests are answered one after the other.
 *
 * Invariants: a connection ends when all its requests have, and the tunnels that these have opened;
 * at most options.streams_max of both are under way; nothing of either outlives it.
 */
#include "http/site.h"

/*
 * Serves a stream that speaks HTTP/2, and whose first byte came at since_ns, to its end. The stream
 * stays the caller's. Returns 0, or what ended it: the stream is then to be aborted.
 */
int weft__h2_serve(struct weft__http_site *site, struct weft_stream *s, int64_t since_ns);

/*
 * Whether a new connection speaks HTTP/2: by ALPN, or by its first bytes (RFC 9113 section 3.3),
 * for which it waits, up to d. 1, 0, or as weft_peek.
 */
int weft__h2_is_spoken(struct weft_stream *s, weft_deadline d);

#endif
