/* SPDX-License-Identifier: MIT */
/*
 * A protocol's callbacks run by a task or thread for each connection, where they may wait.
 *
 * Floor 3. The transport's calls mean the same, but a write waits instead of growing a queue, so
 * `paused` and `resumed` are never called and pausing reading is not needed.
 */
#include <errno.h>

#include "net/server.h"

struct weft__pull *weft__pull_of(const struct weft_stream *s)
{
    WEFT__ASSERT(s->conn != NULL && s->conn->pull != NULL); /* not a protocol's connection */
    return s->conn->pull;
}

int weft__pull_writev(struct weft_stream *s, const struct iovec *iov, int n)
{
    struct weft__pull *p = weft__pull_of(s);
    return p->closing || p->aborting ? WEFT_ECLOSED : weft_writev(s, iov, n, WEFT_NEVER);
}

int weft__pull_produce(struct weft_stream *s, weft_producer fn, void *arg)
{
    struct weft__pull *p = weft__pull_of(s);
    int res = 1;
    while (res > 0 && !p->closing && !p->aborting) {
        uint64_t before = s->bytes_out + weft__out_queued(s);
        res = fn(s, arg);
        if (res > 0 && s->bytes_out + weft__out_queued(s) == before)
            return weft__fail(-EDEADLK, "a producer that has nothing to write may wait here");
    }
    return res < 0 ? res : 0;
}

static int receive(struct weft__conn *c, struct weft__pull *p, const struct weft_protocol *proto)
{
    while (!p->closing && !p->aborting) {
        const void *data;
        ssize_t n = weft_peek(c->stream, &data, WEFT_NEVER);
        if (n < 0)
            return (int)n;
        if (n == 0) {
            int keep = proto->eof != NULL ? proto->eof(c->stream, p->user) : 0;
            return keep < 0 ? keep : 0;
        }
        int err = proto->data(c->stream, data, (size_t)n, p->user);
        if (c->stream == NULL)
            return err; /* given away */
        if (err < 0)
            return err;
        weft_consume(c->stream, (size_t)n);
    }
    return p->error;
}

int weft__pull_run(struct weft__conn *c, const struct weft_factory *f)
{
    const struct weft_protocol *proto = f->protocol;
    struct weft__pull p = {.factory = f};
    c->pull = &p;
    int err = proto->made != NULL ? proto->made(c->stream, f->arg) : 0;
    if (err >= 0)
        err = receive(c, &p, proto);
    if (c->stream != NULL && proto->lost != NULL)
        proto->lost(c->stream, err, p.user);
    c->pull = NULL;
    return err;
}
