/* SPDX-License-Identifier: MIT */
/*
 * Shows: the same service as a handler, which reads top to bottom and runs in a task or a thread,
 * as callbacks, and over datagrams. See echo.h.
 *
 * Floor 6.
 */
#include "echo.h"

#include <errno.h>
#include <stdlib.h>

/* --- A handler ----------------------------------------------------------------------------- */

/* peek lends the bytes where they are, so there is no buffer here; all are written before more
 * are asked for. At the peer's end of sending the handler returns, and the stream is flushed
 * and closed. */
int echo_stream(struct weft_stream *s, void *arg)
{
    const void *data;
    ssize_t n;
    (void)arg;
    while ((n = weft_peek(s, &data, WEFT_NEVER)) > 0) {
        int r = weft_write(s, data, (size_t)n, WEFT_NEVER);
        if (r < 0)
            return r;
        weft_consume(s, (size_t)n);
    }
    return (int)n;
}

/* --- Callbacks ----------------------------------------------------------------------------- */

/* Reading pauses by itself while too much waits to be written. */
static int on_data(struct weft_stream *t, const void *data, size_t len, void *conn)
{
    (void)conn;
    return weft_transport_write(t, data, len);
}

const struct weft_protocol echo_protocol = {.data = on_data};

/* --- Datagrams ----------------------------------------------------------------------------- */

enum { BATCH = 16, DATAGRAM_MAX = 65536 };

/* What cannot be sent back is dropped, as the network would. */
static int echo_batch(struct echo_udp *u, struct weft_datagram *dg, int n)
{
    int done = 0;
    while (done < n) {
        int r = weft_udp_send_batch(u->socket, dg + done, n - done, WEFT_NEVER);
        if (r == -ECANCELED)
            return r;
        for (int i = done; i < done + (r > 0 ? r : 0); i++) {
            u->messages++;
            u->bytes += dg[i].len;
        }
        done += r > 0 ? r : 1;
    }
    return 0;
}

int echo_udp_run(void *arg)
{
    struct echo_udp *u = arg;
    struct weft_datagram dg[BATCH];
    char *memory = malloc((size_t)BATCH * DATAGRAM_MAX);
    int r = memory != NULL ? 0 : -ENOMEM;
    while (r == 0) {
        for (int i = 0; i < BATCH; i++)
            dg[i] = (struct weft_datagram){.data = memory + (size_t)i * DATAGRAM_MAX,
                                           .cap = DATAGRAM_MAX};
        int n = weft_udp_recv_batch(u->socket, dg, BATCH, WEFT_NEVER);
        /* A refusal is about an answer sent earlier, to a peer that is gone. */
        if (n == -ECONNREFUSED)
            continue;
        r = n < 0 ? n : echo_batch(u, dg, n);
    }
    free(memory);
    return r;
}
