/* SPDX-License-Identifier: MIT */
/*
 * Dialling: connects to an endpoint and makes a stream of the connection.
 *
 * Floor 3. What goes before and behind the one wait is in dial_target.c. Invariant: until the
 * stream is handed out, the descriptor is closed on every way out.
 */
#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#include "base/alloc.h"
#include "net/dial.h"
#include "net/stream.h"
#include "sys/call.h"

static int connect_to(int fd, const struct weft__dial_target *t, weft_deadline d)
{
    struct weft__io io;
    io.op = (struct weft__op){
        .kind = WEFT__OP_CONNECT,
        .fd = fd,
        .u.connect = {.addr = (const struct sockaddr *)&t->address.sa, .addrlen = t->address.len}};
    return weft__await(&io, "connect", d);
}

/*
 * Where nobody listens on a local port of the range that the kernel takes ports from, it may give
 * the same port to our side, and TCP then connects the socket to itself (RFC 9293, section 3.5:
 * simultaneous open).
 */
static bool is_own_peer(int fd, const struct weft__dial_target *t)
{
    struct weft_address local;
    return t->family != AF_UNIX && weft__socket_local(fd, &local) == 0 &&
           weft_address_equal(&local, &t->address);
}

int weft_dial(struct weft_stream **ret, const char *endpoint, const struct weft_dial_options *o,
              weft_deadline d)
{
    struct weft__dial_target t;
    int err = weft__wait_check();
    if (err < 0)
        return err;
    err = weft__dial_target(&t, endpoint, o);
    if (err < 0)
        return err;
    struct weft_loop *l = weft_loop_current();
    struct weft_stream *s = weft__alloc(sizeof *s);
    if (s == NULL)
        return -ENOMEM;
    int fd = weft__dial_socket(&t);
    if (fd < 0) {
        err = weft__fail(fd, "no socket for %s: %s", t.text, weft_error_text(fd));
        goto fail;
    }
    err = connect_to(fd, &t, d);
    if (err == 0 && t.local.len == 0 && is_own_peer(fd, &t))
        err = -ECONNREFUSED;
    if (err == 0)
        err = weft__dial_settle(fd, &t);
    if (err < 0) {
        weft__fd_close(l, fd, true); /* a connection to oneself must not linger, either */
        err = weft__fail(err, "connecting to %s: %s", t.text, weft_error_text(err));
        goto fail;
    }
    weft__fd_stream_init(s, fd, t.family, l, t.options.write_buffer);
    *ret = s;
    return 0;
fail:
    weft__free(s);
    return err;
}
