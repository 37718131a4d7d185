/* SPDX-License-Identifier: MIT */
/*
 * Load by connections: connect, one message, its echo, close; over and over.
 *
 * Shows: a client as a task with one time budget for all that it does. The connection ends by
 * abort: a reset leaves no TIME_WAIT behind, or the ports of this side would run out.
 *
 * Floor 6. Invariant: an attempt ends with an answer or with one error counted.
 */
#include <errno.h>
#include <stdlib.h>

#include <weft/error.h>
#include <weft/group.h>

#include "load.h"

enum { PAUSE_MS = 20 }; /* after a failure: a server that is gone is not asked in a tight loop */

struct visitor {
    struct load_worker *w;
    uint32_t stream;
};

static int write_message(struct weft_stream *s, const struct visitor *v, weft_deadline d)
{
    uint64_t size = (uint64_t)v->w->run->o->size;
    int r = 0;
    for (uint64_t done = 0; done < size && r == 0; done += LOAD_SLICE) {
        uint64_t left = size - done;
        r = weft_write(s, load_pattern(v->stream, done),
                       left < LOAD_SLICE ? (size_t)left : LOAD_SLICE, d);
    }
    return r;
}

static int read_echo(struct weft_stream *s, const struct visitor *v, weft_deadline d)
{
    uint64_t size = (uint64_t)v->w->run->o->size;
    uint64_t done = 0;
    while (done < size) {
        const void *data;
        ssize_t n = weft_peek(s, &data, d);
        if (n < 0)
            return (int)n;
        if (n == 0)
            return WEFT_EEOF;
        if ((uint64_t)n > size - done || !load_pattern_matches(v->stream, done, data, (size_t)n))
            return WEFT_EPROTOCOL;
        weft_consume(s, (size_t)n);
        done += (uint64_t)n;
    }
    return 0;
}

static int visit_once(const struct visitor *v)
{
    const struct load_options *o = v->w->run->o;
    weft_deadline d = weft_after_ms(o->connect_ms);
    char source[64];
    struct weft_dial_options dial = {.bind = load_source(o, v->stream, source, sizeof(source)),
                                     .tls = o->tls};
    struct weft_stream *s = NULL;
    int64_t begin = weft_now_ns();
    int r = weft_dial(&s, o->endpoint, &dial, d);
    if (r < 0)
        return r;
    v->w->connected++;
    r = write_message(s, v, d);
    if (r == 0)
        r = read_echo(s, v, d);
    if (r == 0)
        load_answer(v->w, begin, weft_now_ns());
    weft_abort(&s);
    return r;
}

static int visit(void *arg)
{
    const struct visitor *v = arg;
    struct load_worker *w = v->w;
    while (weft_now_ns() < w->to_ns) {
        int r = visit_once(v);
        if (r == -ECANCELED)
            return r;
        if (r == WEFT_EPROTOCOL)
            load_errors_add(&w->errors, LOAD_MISMATCH, 1);
        else if (r < 0)
            load_errors_code(&w->errors, r);
        if (r < 0 && (r = weft_sleep_ms(PAUSE_MS)) < 0)
            return r;
    }
    return 0;
}

int load_reconnect_run(void *arg)
{
    struct load_worker *w = arg;
    struct weft_group *g = NULL;
    struct visitor *visitors = calloc(w->count, sizeof(*visitors));
    int r = load_start_together(w);
    if (r == 0)
        r = visitors != NULL ? weft_group_open(&g) : -ENOMEM;
    for (uint32_t i = 0; i < w->count && r == 0; i++) {
        visitors[i] = (struct visitor){w, w->first + i};
        r = weft_group_go(g, "visitor", visit, &visitors[i]);
    }
    if (r == 0)
        r = weft_group_wait(g, WEFT_NEVER);
    weft_group_close(&g);
    free(visitors);
    return r;
}
