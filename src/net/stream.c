/* SPDX-License-Identifier: MIT */
/*
 * Streams: making and ending, who is inside, facts about them.
 *
 * Floor 3. Reading is in read.c, writing and closing in write.c. Invariants as in net/stream.h.
 */
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "net/count.h"
#include "net/feed.h"
#include "net/server.h"
#include "net/stream.h"
#include "net/transport.h"

#define LABEL_MAX 32

_Thread_local int64_t weft__pipe_ends;

void weft__stream_init(struct weft_stream *s, const struct weft__stream_class *cls,
                       struct weft_loop *loop)
{
    memset(s, 0, sizeof *s);
    s->cls = cls;
    s->loop = loop;
    s->fd = -1;
    s->out_max = WEFT__OUT_MAX_DEFAULT;
    weft__pipe_ends += !cls->joins; /* what has no descriptor does not join writes */
    if (loop != NULL)
        s->active_ms = s->sent_ms = weft__loop_ms(loop);
}

struct weft_stream *weft__stream_new(const struct weft__stream_class *cls)
{
    struct weft_stream *s = weft__alloc(sizeof *s);
    if (s != NULL)
        weft__stream_init(s, cls, weft_loop_current());
    return s;
}

void weft__stream_fini(struct weft_stream *s, bool abrupt)
{
    if (s->in != NULL) {
        s->in->used = s->in->len;
        weft__in_release(s);
    }
    if (s->feed != NULL)
        weft__feed_drop(s->feed, abrupt || s->out != NULL);
    weft__out_drop(s, abrupt);
    weft__pipe_ends -= !s->cls->joins;
    s->cls->release(s, abrupt);
    weft__free(s->label);
}

void weft__stream_free(struct weft_stream *s, bool abrupt)
{
    weft__stream_fini(s, abrupt);
    weft__free(s);
}

/* --- Who is inside --------------------------------------------------------------------------- */

int weft__stream_enter(struct weft_stream *s, struct weft__flow **place)
{
    struct weft__flow *f = weft__flow_self();
    if (WEFT__UNLIKELY(f->loop != s->loop))
        return weft__fail(WEFT_ETHREAD, "the stream belongs to another loop");
    int err = weft__wait_check();
    if (WEFT__UNLIKELY(err < 0))
        return err;
    if (WEFT__UNLIKELY(s->closed))
        return WEFT_ECLOSED;
    if (WEFT__UNLIKELY(s->timed_out))
        return weft__fail(-ETIMEDOUT, "a time limit of the server was reached");
    if (WEFT__UNLIKELY(*place != NULL || s->proto != NULL)) {
        if (s->proto != NULL)
            return weft__fail(-EBUSY, "the stream is driven by a protocol's callbacks");
        return weft__fail(-EBUSY, "task '%s' is already %s this stream", (*place)->name,
                          place == &s->reader ? "reading" : "writing");
    }
    *place = f;
    return 0;
}

bool weft__stream_leave(struct weft_stream *s, struct weft__flow **place)
{
    *place = NULL;
    if (WEFT__LIKELY(!s->closed))
        return false;
    if (s->reader == NULL && s->writer == NULL)
        weft__stream_free(s, s->abrupt);
    return true;
}

ssize_t weft__stream_leave_with(struct weft_stream *s, struct weft__flow **place, ssize_t res)
{
    bool timed_out = s->timed_out;
    if (weft__stream_leave(s, place))
        return WEFT_ECLOSED;
    return timed_out && res == -ECANCELED && weft_canceled() == 0 ? -ETIMEDOUT : res;
}

/* --- Facts ----------------------------------------------------------------------------------- */

int weft_stream_peer(const struct weft_stream *s, struct weft_address *ret)
{
    struct weft_address told = {0};
    if (s->proto != NULL)
        told = weft__transport_told(s->proto);
    else if (s->conn != NULL)
        told = s->conn->told;
    if (told.len > 0) {
        *ret = told;
        return 0;
    }
    return s->cls->address(s, true, ret);
}

struct weft_address weft__stream_peer_or_none(const struct weft_stream *s)
{
    struct weft_address a = {0};
    return weft_stream_peer(s, &a) == 0 ? a : (struct weft_address){0};
}

int weft_stream_local(const struct weft_stream *s, struct weft_address *ret)
{
    return s->cls->address(s, false, ret);
}

uint64_t weft_stream_bytes_in(const struct weft_stream *s)
{
    return s->proto != NULL && s->secured ? weft__transport_bytes(s, true) : s->bytes_in;
}

uint64_t weft_stream_bytes_out(const struct weft_stream *s)
{
    return s->proto != NULL && s->secured ? weft__transport_bytes(s, false) : s->bytes_out;
}

int weft_stream_fd(const struct weft_stream *s)
{
    struct weft_stream *own = (struct weft_stream *)(uintptr_t)s;
    if (s->proto == NULL && s->cls->filter != NULL)
        own = s->cls->filter->lower(own);
    own->exposed = true; /* who waits until it is readable must not be forestalled */
    own->aliased = true;
    if (own->feed != NULL)
        weft__feed_pause(own->feed);
    return s->fd;
}

int weft_stream_label(struct weft_stream *s, const char *label)
{
    if (s->label == NULL) {
        s->label = weft__alloc(LABEL_MAX);
        if (s->label == NULL)
            return -ENOMEM;
    }
    size_t len = strnlen(label, LABEL_MAX - 1);
    memcpy(s->label, label, len);
    s->label[len] = '\0';
    return 0;
}
