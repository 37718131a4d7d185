/* SPDX-License-Identifier: MIT */
/*
 * Waiting for a descriptor that is not Weft's (floor 3).
 *
 * Nothing is kept about the descriptor when the call has returned, so its owner may close it.
 */
#include "net/stream.h"
#include "sys/call.h"

int weft_poll(int fd, int events, weft_deadline d)
{
    struct weft__io io;
    int err = weft__wait_check();
    if (err < 0)
        return err;
    if (fd < 0)
        return weft__fail(-EBADF, "descriptor %d", fd);
    err = weft__call_inside(fd, "weft_poll");
    if (err < 0)
        return err;
    io.op = (struct weft__op){.kind = WEFT__OP_POLL, .fd = fd, .u.poll = {.events = (short)events}};
    return weft__await(&io, "poll", d);
}
