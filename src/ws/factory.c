/* SPDX-License-Identifier: MIT */
/*
 * Factories of connections in callback mode, and clients that a factory makes.
 *
 * Floor 5. A client dials and shakes hands in a task, whose stack goes when that is done; then its
 * connection is handed to the callbacks (protocol.c).
 *
 * Invariant: of each client that was begun either `made` is called, and `closed` after it, or
 * `closed` alone, with no connection.
 */
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "net/transport.h"
#include "ws/ws.h"

#define CONNECT_MS 10000

struct weft_ws_factory *weft__ws_factory_ref(struct weft_ws_factory *f)
{
    atomic_fetch_add_explicit(&f->refs, 1, memory_order_relaxed);
    return f;
}

void weft__ws_factory_unref(struct weft_ws_factory *f)
{
    if (atomic_fetch_sub_explicit(&f->refs, 1, memory_order_acq_rel) > 1)
        return;
    weft__free((void *)(uintptr_t)f->options.protocols);
    weft__free((void *)(uintptr_t)f->options.origins);
    weft__free((void *)(uintptr_t)f->options.origin);
    weft__free((void *)(uintptr_t)f->options.fields);
    weft__free(f);
}

static bool copy_text(const char **to, const char *from)
{
    *to = from != NULL ? weft__strdup(from) : NULL;
    return from == NULL || *to != NULL;
}

/* The longest message fits into an empty queue: with its head, with what deflating adds to bytes
 * that it cannot make fewer, and with answers to what has come in one piece with its end. */
static size_t longest(const struct weft_ws_options *o)
{
    size_t max = o->message_max > 0 ? o->message_max : WEFT__WS_MESSAGE_MAX;
    return max + max / 16 + 2 * WEFT__RBUF_SIZE;
}

int weft_ws_factory_open(struct weft_ws_factory **ret, const struct weft_ws_protocol *p,
                         const struct weft_ws_options *o, void *arg, size_t write_mark,
                         size_t write_max)
{
    static const struct weft_ws_options none;
    o = o != NULL ? o : &none;
    int err = weft__ws_options_check(o);
    if (err == 0 && p->message == NULL)
        err = weft__fail(-EINVAL, "a protocol without `message`");
    if (err < 0)
        return err;
    struct weft_ws_factory *f = weft__calloc(1, sizeof *f);
    if (f == NULL)
        return -ENOMEM;
    atomic_init(&f->refs, 1);
    f->protocol = p;
    f->arg = arg;
    f->options = *o;
    bool copied = copy_text(&f->options.protocols, o->protocols);
    copied = copy_text(&f->options.origins, o->origins) && copied;
    copied = copy_text(&f->options.origin, o->origin) && copied;
    copied = copy_text(&f->options.fields, o->fields) && copied;
    f->transport = (struct weft_factory){.protocol = &weft__ws_transport_protocol,
                                         .arg = f,
                                         .write_mark = write_mark,
                                         .write_max = write_max};
    if (write_max == 0)
        f->transport.write_max =
            weft__max_size(weft__factory_write_max(&f->transport), longest(&f->options));
    if (!copied) {
        weft__ws_factory_unref(f);
        return -ENOMEM;
    }
    *ret = f;
    return 0;
}

const struct weft_factory *weft_ws_factory_of(const struct weft_ws_factory *f)
{
    return &f->transport;
}

void weft_ws_factory_close(struct weft_ws_factory **f)
{
    if (*f != NULL)
        weft__ws_factory_unref(*f);
    *f = NULL;
}

/* --- Clients --------------------------------------------------------------------------------- */

struct dialing {
    struct weft_ws_factory *factory;
    struct weft_group *group;
    struct weft_dial_options dial;
    bool has_dial;
    weft_deadline until;
    char url[];
};

void weft__ws_never_made(const struct weft_ws_factory *f, int error)
{
    struct weft_loop *l = weft_loop_current();
    struct weft__flow *was = weft__flow_current;
    if (f->protocol->closed == NULL)
        return;
    if (l != NULL)
        weft__flow_current = &l->callback; /* a callback does not wait, in whose place it may be */
    f->protocol->closed(NULL, error, f->arg);
    weft__flow_current = was;
}

static int dial(void *arg)
{
    struct dialing *w = arg;
    struct weft_ws *ws = NULL;
    int err =
        weft_ws_dial(&ws, w->url, &w->factory->options, w->has_dial ? &w->dial : NULL, w->until);
    if (err == 0) {
        ws->dialed = true;
        err = weft_ws_attach(w->group, &ws, w->factory);
    }
    if (err < 0) {
        weft_ws_abort(&ws);
        weft__ws_never_made(w->factory, err);
    }
    weft__ws_factory_unref(w->factory);
    weft__free(w);
    return 0;
}

int weft_ws_protocol_dial(struct weft_group *g, const char *url, const struct weft_dial_options *o,
                          struct weft_ws_factory *f, int64_t timeout_ms)
{
    size_t len = strlen(url) + 1;
    if (g->loop == NULL)
        return weft__fail(-EINVAL, "callbacks need a loop");
    struct dialing *w = weft__alloc(sizeof *w + len);
    if (w == NULL)
        return -ENOMEM;
    w->factory = weft__ws_factory_ref(f);
    w->group = g;
    w->has_dial = o != NULL;
    if (o != NULL)
        w->dial = *o;
    w->until = weft_after_ms(timeout_ms > 0 ? timeout_ms : CONNECT_MS);
    memcpy(w->url, url, len);
    int err = weft_group_go(g, "ws dial", dial, w);
    if (err < 0) {
        weft__ws_factory_unref(f);
        weft__free(w);
    }
    return err;
}
